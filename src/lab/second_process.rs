//! A second process on the same file: this program once more, with half of the clients and half of the withdrawals.
//!
//! The processes communicate over its standard input and output: it prints that it is ready, reads a line to begin, and
//! prints its tally as one line of JSON. It stops when its input ends, because then the first process has ended.

use super::client::LabLoad;
use super::load::{self, Tally};
use super::plain_file::{PlainFile, ThreadLock};
use super::strategy::{LabResult, LockStrategy};
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The hidden option that makes `cashbox lab` the second process, on the file that follows it.
pub(crate) const OPTION: &str = "--second-process";

const READY: &str = "ready";

/// Runs half of the load in each process; `strategy` is that of this process.
pub(super) fn drive_both(
    strategy: &dyn LockStrategy,
    load: &LabLoad<'_>,
    file: &Path,
    progress: &dyn Fn(u64),
) -> LabResult<Tally> {
    let second_load =
        LabLoad { clients: (load.clients / 2).max(1), requests: load.requests / 2, seed: !load.seed, ..*load };
    let first_load = LabLoad { clients: load.clients.div_ceil(2), requests: load.requests.div_ceil(2), ..*load };
    let mut second = SecondProcess::start(file, &second_load)?;
    second.begin()?;
    let mut tally = load::drive(strategy, &first_load, progress)?;
    tally.add(second.tally(load.stop.load(Relaxed))?);
    Ok(tally)
}

/// The second process, seen from the first. Killed when dropped.
struct SecondProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl SecondProcess {
    fn start(file: &Path, load: &LabLoad<'_>) -> LabResult<SecondProcess> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("lab").arg(OPTION).arg(file);
        command.args(["--clients", &load.clients.to_string(), "--requests", &load.requests.to_string()]);
        command.args(["--work", &format!("{}ms", load.work.as_millis()), "--seed", &load.seed.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("the second process has no output")?);
        let mut second = SecondProcess { child, input, output: BufReader::new(output) };
        if second.read_line()?.trim_end() != READY {
            return Err("the second process did not start".into());
        }
        Ok(second)
    }

    fn begin(&mut self) -> LabResult<()> {
        let input = self.input.as_mut().ok_or("the second process was stopped")?;
        Ok(writeln!(input)?)
    }

    /// The tally of its clients, once all have ended; `stop` ends them at once.
    fn tally(&mut self, stop: bool) -> LabResult<Tally> {
        if stop {
            self.input = None;
        }
        Ok(serde_json::from_str(&self.read_line()?)?)
    }

    fn read_line(&mut self) -> LabResult<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Runs as the second process.
pub(crate) fn run_second_process(
    file: &Path,
    clients: u32,
    requests: u32,
    work: Duration,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> LabResult<()> {
    let strategy = ThreadLock::new(PlainFile::open(file)?);
    println!("{READY}");
    stdin().lock().read_line(&mut String::new())?;
    std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let _ = stdin().lock().read_to_end(&mut Vec::new()); // only its end matters
            stop.store(true, Relaxed);
        }
    });
    let load = LabLoad { clients, requests, work, stall: None, seed, stop: &stop };
    let tally = load::drive(&strategy, &load, &|_| {})?;
    Ok(writeln!(stdout(), "{}", serde_json::to_string(&tally)?)?)
}
