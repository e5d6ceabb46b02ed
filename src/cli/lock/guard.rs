//! The guard: a small process between `lock run` and its command. It is there so that the command cannot outlive its
//! lease: it ends the command's process group when the lease runs out, and when the wrapper dies, even by `kill -9`.
//!
//! It leads a process group of its own, so what a terminal sends to the wrapper's group does not hit it. Not covered: a
//! guard that is killed itself together with the wrapper, and a command that leaves its process group.

use super::control::{Folder, News, Order, Until, listen};
use crate::clock::Clock;
use clap::Args;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process, kill_process_group, test_kill_process_group, waitid,
};
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::sleep;
use std::time::Duration;

/// The longest sleep: after the machine was suspended, the clock is looked at this soon.
const SLEEP_MAX_MS: i64 = 500;
/// How often a group that was told to end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Exit codes of what cannot be started, as shells have them.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `cashbox lock guard`: not for people.
#[derive(Debug, Args)]
pub struct Guard {
    folder: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

enum Event {
    Order(Option<String>),
    Exited,
}

impl Guard {
    /// Runs the command and sees to its end.
    pub fn run(&self) -> ExitCode {
        match self.watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE, // the wrapper sees the socket end, and says what that means
        }
    }

    fn watch(&self) -> io::Result<()> {
        let parent = getppid();
        let wrapper = UnixStream::connect(Folder::socket(&self.folder))?;
        let (events, inbox) = mpsc::channel();
        listen(&wrapper, events.clone(), Event::Order)?;
        let Ok(Event::Order(Some(first))) = inbox.recv() else { return Ok(()) };
        let Some(Order::Until(until)) = Order::read(&first) else { return Ok(()) };
        let mut child = match self.start() {
            Ok(child) => child,
            Err(news) => {
                news.tell(&wrapper);
                return Ok(());
            }
        };
        let group = Pid::from_child(&child);
        News::Started(group.as_raw_nonzero().get()).tell(&wrapper);
        std::thread::spawn(move || {
            // Seen, not reaped: until it is, its number can be nobody else's, and the group is safe to signal.
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            let _ = events.send(Event::Exited);
        });
        let attended = attend(group, until, &inbox, &wrapper);
        let _ = kill_process_group(group, Signal::TERM); // what it left behind in its group goes with it
        let status = child.wait()?;
        end_rest(group, attended.pause_ms);
        News::Exited(code(status)).tell(&wrapper);
        if attended.late {
            wake(parent);
        }
        Ok(())
    }

    fn start(&self) -> Result<Child, News> {
        let (program, arguments) = self.command.split_first().expect("clap asks for one");
        let started = Command::new(program).args(arguments).process_group(0).spawn();
        started.map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_EXECUTE };
            News::Failed(code, format!("{}: {error}", program.to_string_lossy()))
        })
    }
}

/// What is known when the command has exited.
struct Attended {
    /// The time from TERM to KILL.
    pause_ms: i64,
    /// Whether the lease ran out under it.
    late: bool,
}

/// Follows orders and the clock until the command has exited.
fn attend(group: Pid, mut until: Until, inbox: &Receiver<Event>, wrapper: &UnixStream) -> Attended {
    let mut ending = false;
    let mut late = false;
    let mut killed = false;
    loop {
        let now = Clock::Machine.boot_ms();
        let next = if ending { until.kill_ms } else { until.term_ms };
        if now >= next && !ending {
            News::Late.tell(wrapper);
            (late, ending) = (true, true);
            let _ = kill_process_group(group, Signal::TERM);
            continue;
        }
        if now >= next && !killed {
            killed = true;
            let _ = kill_process_group(group, Signal::KILL);
        }
        let sleep_ms = if killed { SLEEP_MAX_MS } else { (next - now).min(SLEEP_MAX_MS) };
        let order = match inbox.recv_timeout(Duration::from_millis(sleep_ms as u64)) {
            Ok(Event::Exited) | Err(RecvTimeoutError::Disconnected) => {
                return Attended { pause_ms: until.kill_ms - until.term_ms, late };
            }
            Err(RecvTimeoutError::Timeout) => continue,
            Ok(Event::Order(None)) => Some(Order::End), // the wrapper is gone
            Ok(Event::Order(Some(line))) => Order::read(&line),
        };
        match order {
            Some(Order::Until(longer)) if !ending => until = longer,
            Some(Order::Signal(signal)) => {
                let _ = kill_process_group(group, signal);
            }
            Some(Order::End) if !ending => {
                ending = true;
                let pause = until.kill_ms - until.term_ms;
                let now = Clock::Machine.boot_ms();
                until = Until { term_ms: now, kill_ms: until.kill_ms.min(now + pause) };
                let _ = kill_process_group(group, Signal::TERM);
            }
            _ => {}
        }
    }
}

/// A wrapper that let its lease run out may have been stopped, and with its hand on the file: it is woken to let go.
fn wake(parent: Option<Pid>) {
    if let Some(parent) = parent.filter(|_| getppid() == parent) {
        let _ = kill_process(parent, Signal::CONT);
    }
}

/// The leader is gone; the others of its group have the pause to follow.
fn end_rest(group: Pid, pause_ms: i64) {
    let deadline = Clock::Machine.boot_ms() + pause_ms;
    while test_kill_process_group(group).is_ok() {
        if Clock::Machine.boot_ms() >= deadline {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        sleep(LOOK_EVERY);
    }
}

/// The command's own exit code, or 128 and the number of the signal that ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    code as u8
}
