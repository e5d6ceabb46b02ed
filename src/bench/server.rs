//! The program itself, as it is shipped, on a file of its own; and what of it is checked from outside.

use super::client::{BenchCaller, BenchClient, BenchTarget};
use crate::token;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server, which stops when this process ends, however it ends.
#[derive(Debug)]
pub struct BenchServer {
    program: PathBuf,
    child: Child,
    /// It stops when this ends; waiting for the child would end what is still the child's.
    _input: ChildStdin,
    db: PathBuf,
    /// Where it listens, and its admin.
    pub site: BenchTarget,
    /// From starting the process to its `listening on`.
    pub started_in: Duration,
}

impl BenchServer {
    /// Starts `program serve` on the file, on a free port of this machine alone, with more options.
    pub fn start(program: &Path, db: &Path, options: &[&str]) -> io::Result<BenchServer> {
        let mut command = clean_command(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--while-input", "--token-file", "-", "--db"]).arg(db);
        // A group of its own: Ctrl-C is for who measures, who then stops the server when the last answer is in.
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let admin = token::new_secret();
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let mut line = String::new();
        let mut input = child.stdin.take().expect("its input is ours");
        writeln!(input, "{admin}")?;
        BufReader::new(child.stdout.take().expect("so is its output")).read_line(&mut line)?;
        let started_in = begun.elapsed();
        let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill(); // it may have ended
            return Err(io::Error::other(format!("the server did not start, it said {line:?} and {}", child.wait()?)));
        };
        let site = BenchTarget { address, caller: BenchCaller::new(&address.to_string(), "", Some(&admin)) };
        Ok(BenchServer { program: program.to_owned(), child, _input: input, db: db.to_owned(), site, started_in })
    }

    /// A client, for what is not measured.
    pub fn client(&self) -> io::Result<BenchClient> {
        self.site.client()
    }

    /// The process, for what `/proc` says of it.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as an operator would; an error if it does not end well.
    pub fn stop(mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let exit = self.child.wait()?;
        if exit.success() { Ok(()) } else { Err(io::Error::other(format!("the server ended with {exit}"))) }
    }

    /// Stops it and audits what it leaves; what is wrong, if anything.
    pub fn stop_and_audit(self) -> io::Result<Vec<String>> {
        let mut verify = clean_command(&self.program);
        verify.args(["verify", "--db"]).arg(&self.db);
        let mut wrong: Vec<String> = self.stop().err().into_iter().map(|error| error.to_string()).collect();
        let verify = verify.output()?;
        if !verify.status.success() {
            let said = [verify.stdout, verify.stderr].concat();
            wrong.push(format!("the audit found: {}", String::from_utf8_lossy(&said).trim()));
        }
        Ok(wrong)
    }
}

impl Drop for BenchServer {
    /// Where a run broke off. A server that was stopped is gone already, and this says nothing to it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program without the settings of whoever runs this.
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for setting in ["CASHBOX_DB", "CASHBOX_LISTEN", "CASHBOX_TOKEN", "CASHBOX_URL"] {
        command.env_remove(setting);
    }
    command
}
