//! `serve --anchor COMMAND`: hands the state of the file, as one line, to a command that keeps it where the file's owner
//! cannot change it. `verify --since LINE` compares the file with it later.

use crate::http::App;
use crate::log;
use crate::store::stats;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest run of the command, and the longest while the server stops.
const RUN_MAX: Duration = Duration::from_secs(60);
const RUN_MAX_AT_STOP: Duration = Duration::from_secs(5);
/// Time between two looks at the command.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The thread that hands lines over.
pub(super) struct Anchor {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Anchor {
    /// Hands a line to the command after each such time.
    pub(super) fn start(app: &Arc<App>, command: &str, every: Duration) -> io::Result<Anchor> {
        let (stop, stopped) = mpsc::channel();
        let (app, command) = (Arc::clone(app), command.to_owned());
        let run = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let is_stopping = || stopped.try_recv() == Err(TryRecvError::Disconnected);
                hand_over(&app, &command, &is_stopping);
            }
            hand_over(&app, &command, &|| true);
        };
        Ok(Anchor { stop, thread: thread::Builder::new().name("anchor".to_owned()).spawn(run)? })
    }

    /// Hands the last line over, once nothing is written any more.
    pub(super) fn finish(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            log::error("the command of --anchor", &"its thread has panicked");
        }
    }
}

fn hand_over(app: &App, command: &str, is_stopping: &dyn Fn() -> bool) {
    let store = app.store();
    let line = store.audit_line();
    match line.map_err(|error| error.to_string()).and_then(|line| run(command, &line, is_stopping)) {
        Ok(()) => stats::add(&store.stats().anchors, 1),
        Err(error) => {
            stats::add(&store.stats().anchor_failures, 1);
            log::warn("no line was handed to the command of --anchor", &error);
        }
    }
}

/// Runs the command with the line on its standard input. Its output goes to the log.
fn run(command: &str, line: &str, is_stopping: &dyn Fn() -> bool) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(io::stderr()).process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("sh cannot be started: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        let _ = writeln!(input, "{line}"); // it may end without reading: its exit code says whether all is well
    }
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) => {}
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
        let most = if is_stopping() { RUN_MAX_AT_STOP } else { RUN_MAX };
        if begun.elapsed() >= most {
            end(&mut child);
            return Err(format!("it was ended after {} s", most.as_secs()));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Ends the command and all that it has started.
fn end(child: &mut Child) {
    let group = Pid::from_child(child);
    if kill_process_group(group, Signal::KILL).is_err() {
        let _ = child.kill(); // it has ended by itself
    }
    let _ = child.wait();
}
