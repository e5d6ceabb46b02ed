//! The guard: a small process between `lock run` and its command. It is there so that the command cannot outlive its
//! lease: it ends the command's process group when the lease runs out, and when the wrapper dies, even by `kill -9`.
//!
//! It leads a process group of its own, so what a terminal sends to the wrapper's group does not hit it. It has one
//! thread, which reads its orders to the last before it looks at the clock: a guard that was stopped for a while must
//! not take for over what was renewed meanwhile. Not covered: a guard that is killed itself together with the wrapper,
//! and a command that leaves its process group.

use super::control::{ControlFolder, Deadlines, LineReader, ToGuard, ToWrapper};
use super::group::CommandGroup;
use crate::clock::Clock;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_child_subreaper};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The longest sleep: after the machine was suspended, the clock is looked at this soon.
const SLEEP_MAX_MS: i64 = 500;

/// Exit codes of what cannot be started, as shells have them.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `cashbox lock guard`: not for people.
#[derive(Debug, Args)]
pub struct GuardArgs {
    folder: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl GuardArgs {
    /// Runs the command and sees to its end.
    pub fn run(&self) -> ExitCode {
        match self.watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE, // the wrapper sees the socket end, and says what that means
        }
    }

    fn watch(&self) -> io::Result<()> {
        let parent = getppid();
        let wrapper = UnixStream::connect(ControlFolder::socket(&self.folder))?;
        let _folder = ControlFolder::shared(&self.folder); // a wrapper that was killed does not remove it
        let mut ear = GuardInputs::new(&wrapper)?;
        let begun = ear.leave().and_then(|until| Ok((self.start()?, until)));
        let (leader, until) = match begun {
            Ok(begun) => begun,
            Err(news) => {
                news.tell(&wrapper);
                return Ok(());
            }
        };
        ToWrapper::Started(leader.as_raw_nonzero().get()).tell(&wrapper);
        let group = ear.attend(CommandGroup::new(leader, until), &wrapper);
        ToWrapper::Exited(group.exit_code()).tell(&wrapper);
        if group.was_late() {
            wake(parent);
        }
        Ok(())
    }

    fn start(&self) -> Result<Pid, ToWrapper> {
        // Whoever loses its parent in there becomes ours, and does not stay in the group as a zombie that nobody reaps.
        let _ = set_child_subreaper(Some(getpid())); // without it they are waited for a little longer
        let (program, arguments) = self.command.split_first().expect("clap asks for one");
        let started = Command::new(program).args(arguments).process_group(0).spawn();
        started.map(|child| Pid::from_child(&child)).map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_EXECUTE };
            ToWrapper::Failed(code, format!("{}: {error}", program.to_string_lossy()))
        })
    }
}

/// What wakes the guard: its orders, and the end of a child.
struct GuardInputs {
    orders: LineReader,
    endings: UnixStream,
}

impl GuardInputs {
    fn new(wrapper: &UnixStream) -> io::Result<GuardInputs> {
        let (endings, told) = UnixStream::pair()?;
        endings.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, told)?;
        Ok(GuardInputs { orders: LineReader::new(wrapper)?, endings })
    }

    /// Deadlines when the command may run, by all that was ordered so far; or why it is not even started.
    fn leave(&mut self) -> Result<Deadlines, ToWrapper> {
        let mut until = None;
        loop {
            for order in self.orders() {
                match order {
                    ToGuard::Until(longer) => until = Some(longer),
                    ToGuard::Signal(signal) => return Err(ToWrapper::signalled(signal)),
                    ToGuard::End(_) => return Err(ToWrapper::TooLate),
                }
            }
            match until {
                _ if self.orders.is_over() => return Err(ToWrapper::TooLate), // the wrapper is gone, and nobody hears it
                Some(until) if Clock::Machine.boot_ms() < until.term_ms => return Ok(until),
                Some(_) => return Err(ToWrapper::TooLate), // one of us was stopped, and another may have the lock
                None => self.sleep(SLEEP_MAX_MS),
            }
        }
    }

    /// Follows orders and the clock until nothing is left of the group.
    fn attend(&mut self, mut group: CommandGroup, wrapper: &UnixStream) -> CommandGroup {
        loop {
            for order in self.orders() {
                group.follow(order);
            }
            if self.orders.is_over() {
                group.end(); // the wrapper is gone
            }
            if let Some(news) = group.reap() {
                news.tell(wrapper);
            }
            if group.is_gone() {
                return group;
            }
            if group.runs_late() {
                ToWrapper::Late.tell(wrapper);
            }
            let sleep_ms = group.see_to_it();
            self.sleep(sleep_ms.min(SLEEP_MAX_MS));
        }
    }

    fn orders(&mut self) -> impl Iterator<Item = ToGuard> + use<> {
        self.orders.lines().into_iter().filter_map(|line| ToGuard::read(&line))
    }

    /// Sleeps so long, or until there is an order or an ending.
    fn sleep(&mut self, ms: i64) {
        let time = Timespec::try_from(Duration::from_millis(ms.max(0) as u64)).expect("it is short");
        let endings = PollFd::new(&self.endings, PollFlags::IN);
        // A wrapper that is gone would wake us for ever; then there is nothing more to hear.
        let orders = (!self.orders.is_over()).then(|| PollFd::new(self.orders.stream(), PollFlags::IN));
        let _ = poll(&mut [endings].into_iter().chain(orders).collect::<Vec<_>>(), Some(&time)); // a signal wakes as well
        let mut rung = [0; 64];
        while self.endings.read(&mut rung).is_ok_and(|count| count > 0) {}
    }
}

/// A wrapper that let its lease run out may have been stopped, and with its hand on the file: it is woken to let go.
fn wake(parent: Option<Pid>) {
    if let Some(parent) = parent.filter(|_| getppid() == parent) {
        let _ = kill_process(parent, Signal::CONT);
    }
}
