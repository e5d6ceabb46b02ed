//! A server process of the program under test, on a file of its own, and the audit of that file after it.

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
    /// The server stops when this is closed, so it does not outlive this process.
    _input: ChildStdin,
    db: PathBuf,
    /// Its address and its admin.
    pub target: BenchTarget,
    /// The time from starting the process to its `listening on`.
    pub started_in: Duration,
}

impl BenchServer {
    /// Starts `program serve` on the file, on a free port of this machine alone, with more options.
    pub fn start(program: &Path, db: &Path, options: &[&str]) -> io::Result<BenchServer> {
        let mut command = clean_command(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--while-input", "--token-file", "-", "--db"]).arg(db);
        // A group of its own: Ctrl-C reaches this process only, which stops the server after the last response.
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let admin = token::new_secret();
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let mut line = String::new();
        let mut input = child.stdin.take().expect("its input is piped");
        writeln!(input, "{admin}")?;
        BufReader::new(child.stdout.take().expect("its output is piped")).read_line(&mut line)?;
        let started_in = begun.elapsed();
        let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill(); // it may have ended
            return Err(io::Error::other(format!(
                "the server did not start: it printed {line:?} and ended with {}",
                child.wait()?
            )));
        };
        let target = BenchTarget { address, caller: BenchCaller::new(&address.to_string(), "", Some(&admin)) };
        Ok(BenchServer { program: program.to_owned(), child, _input: input, db: db.to_owned(), target, started_in })
    }

    /// A connection for requests that are not measured.
    pub fn connect(&self) -> io::Result<BenchClient> {
        self.target.connect()
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as an operator would; an error if it does not end well.
    pub fn stop(mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let exit = self.child.wait()?;
        if exit.success() { Ok(()) } else { Err(io::Error::other(format!("the server ended with {exit}"))) }
    }

    /// Stops it and audits its file; the findings, for people.
    pub fn stop_and_audit(self) -> io::Result<Vec<String>> {
        let mut verify = clean_command(&self.program);
        verify.args(["verify", "--db"]).arg(&self.db);
        let mut wrong: Vec<String> = self.stop().err().into_iter().map(|error| error.to_string()).collect();
        let verify = verify.output()?;
        if !verify.status.success() {
            let output = [verify.stdout, verify.stderr].concat();
            wrong.push(format!("the audit found: {}", String::from_utf8_lossy(&output).trim()));
        }
        Ok(wrong)
    }
}

impl Drop for BenchServer {
    /// Ends a server that was not stopped, because the run broke off.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of the program without the settings in this process's environment.
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for setting in ["CASHBOX_DB", "CASHBOX_LISTEN", "CASHBOX_TOKEN", "CASHBOX_URL"] {
        command.env_remove(setting);
    }
    command
}
