//! A second process on the same file: this program once more, with half of the clients and half of the withdrawals.
//!
//! They talk over its standard input and output: it says that it is ready, is told to begin, and says as one line of
//! JSON what its clients were told. When its input ends it stops: whoever started it has gone.

use super::client::LabLoad;
use super::load::{self, Tally};
use super::naive::Thread;
use super::plain_file::PlainFile;
use super::{LabResult, LockStrategy};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The hidden option that makes a `cashbox lab` the second process, on the file behind it.
pub const OPTION: &str = "--second-process";

const READY: &str = "ready";

/// Has both processes withdraw, half each; `guard` is this one's.
pub(super) fn drive_both(
    guard: &dyn LockStrategy,
    load: &LabLoad<'_>,
    file: &Path,
    watch: &dyn Fn(u64),
) -> LabResult<Tally> {
    let theirs = LabLoad { clients: (load.clients / 2).max(1), requests: load.requests / 2, seed: !load.seed, ..*load };
    let ours = LabLoad { clients: load.clients.div_ceil(2), requests: load.requests.div_ceil(2), ..*load };
    let mut second = SecondProcess::start(file, &theirs)?;
    second.begin()?;
    let mut tally = load::drive(guard, &ours, watch)?;
    tally.add(second.tally(load.stop.load(Relaxed))?);
    Ok(tally)
}

/// The second process, seen from the first. Ended when dropped.
struct SecondProcess {
    child: Child,
    line: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl SecondProcess {
    fn start(file: &Path, load: &LabLoad<'_>) -> LabResult<SecondProcess> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("lab").arg(OPTION).arg(file);
        command.args(["--clients", &load.clients.to_string(), "--requests", &load.requests.to_string()]);
        command.args(["--work", &load.work.as_millis().to_string(), "--seed", &load.seed.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (line, said) = (child.stdin.take(), child.stdout.take().ok_or("a process with nothing to say")?);
        let mut second = SecondProcess { child, line, said: BufReader::new(said) };
        if second.heard()?.trim_end() != READY {
            return Err("the second process did not come up".into());
        }
        Ok(second)
    }

    fn begin(&mut self) -> LabResult<()> {
        let line = self.line.as_mut().ok_or("the second process was told to stop")?;
        Ok(writeln!(line)?)
    }

    /// What its clients were told, once they are through; at once if everybody is to stop.
    fn tally(&mut self, stop: bool) -> LabResult<Tally> {
        if stop {
            self.line = None;
        }
        tally_of(&serde_json::from_str(&self.heard()?)?).ok_or_else(|| "the second process makes no sense".into())
    }

    fn heard(&mut self) -> LabResult<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// The second process, seen from itself.
pub fn serve(
    file: &Path,
    clients: u32,
    requests: u32,
    work: Duration,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> LabResult<()> {
    let guard = Thread::new(PlainFile::open(file)?);
    println!("{READY}");
    stdin().lock().read_line(&mut String::new())?;
    std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let _ = stdin().lock().read_to_end(&mut Vec::new()); // its end is all it says
            stop.store(true, Relaxed);
        }
    });
    let load = LabLoad { clients, requests, work, stall: None, seed, stop: &stop };
    let tally = load::drive(&guard, &load, &|_| {})?;
    Ok(writeln!(stdout(), "{}", json_of(&tally))?)
}

fn json_of(tally: &Tally) -> Value {
    let wall = tally.wall.as_micros() as u64;
    json!({ "took": tally.took, "refusals": tally.refusals, "errors": tally.errors, "error": tally.error, "wall": wall })
}

fn tally_of(said: &Value) -> Option<Tally> {
    Some(Tally {
        took: said["took"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?,
        refusals: said["refusals"].as_u64()?,
        errors: said["errors"].as_u64()?,
        error: said["error"].as_str().map(str::to_owned),
        wall: Duration::from_micros(said["wall"].as_u64()?),
    })
}
