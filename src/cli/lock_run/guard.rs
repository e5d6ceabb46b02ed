//! The guard: a small process between `lock run` and its command, so that the command cannot outlive its lease. It ends
//! the command's process group when the lease runs out, and when the wrapper ends, even by `kill -9`.
//!
//! It leads a process group of its own, so a signal that a terminal sends to the wrapper's group does not reach it. It has
//! one thread, which reads all its messages before it looks at the clock: a guard that was stopped for a while must see a
//! renewal of that time before it judges that the lease has run out. It stays until the lock is released, and releases it
//! itself if the wrapper is killed or stopped after the command has ended: that run counts for its period. Not covered: a guard that is
//! killed together with the wrapper, and a command that leaves its process group.

use super::lease::{HeldLease, RELEASE_TIME};
use super::protocol::{ControlFolder, Deadlines, GuardMessage, MessageReader, SIGNAL_EXIT_BASE, WrapperMessage, send};
use crate::cli::input::CommonOptions;
use crate::cli::output::CliError;
use crate::cli::target::Target;
use crate::clock::Clock;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, kill_process_group, set_child_subreaper,
    test_kill_process_group, wait,
};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Longest sleep: after the machine was suspended, the clock is looked at within this time.
const SLEEP_MAX_MS: i64 = 500;
/// Pause between two looks at a process group that is to end.
const GROUP_LOOK_EVERY_MS: i64 = 10;
/// Time after KILL in which the guard waits for the group to end: a process that hangs in the kernel dies when it comes
/// out of it, and does nothing before.
const KILLED_WAIT_MS: i64 = 1_000;

/// Longest time for the wrapper to release the lock when the command has ended; half of what is left of the lease, if that is
/// less.
const WRAPPER_RELEASE_MS: i64 = 1_000;

/// The part of a script that is looked at, in bytes.
const SCRIPT_LOOK_BYTES: u64 = 4_096;

/// Exit codes of a command that cannot be started, as shells have them.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `cashbox lock guard`: started by `lock run` only.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    folder: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl GuardArgs {
    /// Runs the command until it has ended.
    pub(crate) fn run(&self, common: &CommonOptions) -> ExitCode {
        match self.guard(common) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE, // the wrapper sees the socket end, and prints the reason
        }
    }

    fn guard(&self, common: &CommonOptions) -> io::Result<()> {
        let parent = getppid();
        let wrapper = UnixStream::connect(ControlFolder::socket(&self.folder))?;
        let folder = ControlFolder::shared(&self.folder); // a wrapper that was killed does not remove it
        let mut inputs = GuardInputs::new(&wrapper)?;
        let started = inputs.first_deadlines().and_then(|deadlines| Ok((self.start()?, deadlines)));
        let (leader, deadlines) = match started {
            Ok(started) => started,
            Err(message) => {
                send(&wrapper, &message);
                return Ok(());
            }
        };
        send(&wrapper, &GuardMessage::Started(leader.as_raw_nonzero().get()));
        let group = inputs.run_until_gone(CommandGroup::new(leader, deadlines), &wrapper);
        send(&wrapper, &GuardMessage::Exited(group.exit_code()));
        if group.has_expired {
            wake(parent);
        }
        let left_ms = |until_ms: i64| (until_ms - Clock::Machine.boot_ms()).max(0);
        let wrapper_ms = (left_ms(group.deadlines.term_ms) / 2).min(WRAPPER_RELEASE_MS);
        if group.has_ended_by_itself && !inputs.released_by_wrapper(wrapper_ms) {
            let token = std::fs::read_to_string(folder.token())?;
            let lease = inputs.release.lease(common, token.trim()).map_err(|error| io::Error::other(error.message))?;
            let counts = group.exit_code() == 0 || !inputs.release.retry_failed; // otherwise it may run again in this period
            // As long as no other client can have the lock. A wrapper that lives waits for the end of this process, and asks
            // again by itself.
            let free_ms = if inputs.messages.is_closed() { left_ms(group.deadlines.kill_ms) } else { 0 };
            lease.release(counts, Duration::from_millis(free_ms as u64).max(RELEASE_TIME));
        }
        Ok(())
    }

    fn start(&self) -> Result<Pid, GuardMessage> {
        // An orphan of the group becomes a child of the guard, which reaps it; or it would stay in the group as a zombie.
        let _ = set_child_subreaper(Some(getpid())); // without it the end of the group is noticed a little later
        let (program, arguments) = self.command.split_first().expect("clap requires one");
        let mut started = Command::new(program).args(arguments).process_group(0).spawn();
        if let (Err(error), Some(script)) = (&started, script_of(program))
            && error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
        {
            started = Command::new("/bin/sh").arg(script).args(arguments).process_group(0).spawn();
        }
        started.map(|child| Pid::from_child(&child)).map_err(|error| {
            let exit_code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_EXECUTE };
            let reason = format!("{}: {error}", program.to_string_lossy()).replace('\n', " ");
            GuardMessage::Failed { exit_code, reason }
        })
    }
}

/// The path of a program that is a script without `#!`, which a shell runs itself. A text has no byte 0.
fn script_of(program: &OsStr) -> Option<PathBuf> {
    let path = if program.as_encoded_bytes().contains(&b'/') {
        PathBuf::from(program)
    } else {
        let folders = std::env::var_os("PATH")?;
        let paths = std::env::split_paths(&folders).map(|folder| folder.join(program));
        paths.into_iter().find(|path| path.is_file())?
    };
    let mut beginning = Vec::new();
    File::open(&path).ok()?.take(SCRIPT_LOOK_BYTES).read_to_end(&mut beginning).ok()?;
    (!beginning.contains(&0)).then_some(path)
}

/// The guard's way to release the lock.
#[derive(Default)]
struct GuardRelease {
    access_token: Option<String>,
    retry_failed: bool,
}

impl GuardRelease {
    /// The lease of that lock token, whose locks are in the environment of the command.
    fn lease(&self, common: &CommonOptions, token: &str) -> Result<HeldLease, CliError> {
        let mut target = Target::new(common)?;
        match &mut target {
            Target::Url { token, .. } | Target::File { token, .. } => token.clone_from(&self.access_token),
        }
        let ids = std::env::var("CASHBOX_LOCK_IDS").unwrap_or_default().lines().map(str::to_owned).collect();
        Ok(HeldLease { target, ids, token: token.to_owned(), fence: 0, ttl_ms: 0 }) // it is only released
    }
}

/// The two inputs that wake the guard: a message, and the end of a child.
struct GuardInputs {
    messages: MessageReader<WrapperMessage>,
    release: GuardRelease,
    /// Readable when a child has ended or was stopped.
    child_signals: UnixStream,
}

impl GuardInputs {
    fn new(wrapper: &UnixStream) -> io::Result<GuardInputs> {
        let (child_signals, sender) = UnixStream::pair()?;
        child_signals.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, sender)?;
        Ok(GuardInputs { messages: MessageReader::new(wrapper)?, release: GuardRelease::default(), child_signals })
    }

    /// Waits until the wrapper has released the lock. False if it was killed before, or does not do it in time: it may have
    /// been stopped. A lock that both release is released once.
    fn released_by_wrapper(&mut self, time_ms: i64) -> bool {
        let until_ms = Clock::Machine.boot_ms() + time_ms;
        loop {
            if self.messages.received().contains(&WrapperMessage::Released) {
                return true;
            }
            let left_ms = until_ms - Clock::Machine.boot_ms();
            if self.messages.is_closed() || left_ms <= 0 {
                return false;
            }
            self.sleep(left_ms.min(SLEEP_MAX_MS));
        }
    }

    /// The deadlines by all messages so far, or the reason why the command must not be started.
    fn first_deadlines(&mut self) -> Result<Deadlines, GuardMessage> {
        let mut deadlines = None;
        loop {
            for message in self.messages.received() {
                match message {
                    WrapperMessage::Lease(later) => deadlines = Some(later),
                    WrapperMessage::Signal(signal) if signal.ends_by_default() => {
                        return Err(GuardMessage::exited_by(signal));
                    }
                    WrapperMessage::Release { access_token, retry_failed } => {
                        self.release = GuardRelease { access_token, retry_failed };
                    }
                    WrapperMessage::Signal(_) | WrapperMessage::Released => {}
                    WrapperMessage::End(_) => return Err(GuardMessage::TooLate),
                }
            }
            match deadlines {
                _ if self.messages.is_closed() => return Err(GuardMessage::TooLate), // the wrapper has ended
                Some(deadlines) if Clock::Machine.boot_ms() < deadlines.term_ms => return Ok(deadlines),
                Some(_) => return Err(GuardMessage::TooLate), // wrapper or guard was stopped, and the lock may be taken
                None => self.sleep(SLEEP_MAX_MS),
            }
        }
    }

    /// Follows messages and deadlines until the group is empty.
    fn run_until_gone(&mut self, mut group: CommandGroup, wrapper: &UnixStream) -> CommandGroup {
        loop {
            for message in self.messages.received() {
                group.follow(message);
            }
            if let Some(message) = group.reap() {
                send(wrapper, &message);
            }
            if self.messages.is_closed() {
                group.end(); // the wrapper has ended
            }
            if group.is_gone() {
                return group;
            }
            if group.expires_now() {
                send(wrapper, &GuardMessage::Expired);
            }
            let sleep_ms = group.kill_if_due();
            self.sleep(sleep_ms.min(SLEEP_MAX_MS));
        }
    }

    /// Sleeps for that time, or until there is a message or a child has ended.
    fn sleep(&mut self, ms: i64) {
        let time = Timespec::try_from(Duration::from_millis(ms.max(0) as u64)).expect("at most SLEEP_MAX_MS");
        let child_signals = PollFd::new(&self.child_signals, PollFlags::IN);
        // A closed stream would wake the guard without end, and brings no more messages.
        let messages = (!self.messages.is_closed()).then(|| PollFd::new(self.messages.stream(), PollFlags::IN));
        let mut inputs: Vec<_> = [child_signals].into_iter().chain(messages).collect();
        let _ = poll(&mut inputs, Some(&time)); // an error is a signal, which wakes as well
        let mut bytes = [0; 64];
        while self.child_signals.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}

/// Continues a wrapper that may have been stopped while it had the file open, so that it lets go of the file.
fn wake(parent: Option<Pid>) {
    if let Some(parent) = parent.filter(|_| getppid() == parent) {
        let _ = kill_process(parent, Signal::CONT);
    }
}

/// The process group of the command.
struct CommandGroup {
    /// Its number, and its leader's. It stays reserved while a process of the group exists.
    id: Pid,
    deadlines: Deadlines,
    term_to_kill_ms: i64,
    /// Set once it was asked to end: the time it is killed, if the lease does not require that sooner.
    end_ms: Option<i64>,
    killed_ms: Option<i64>,
    /// The exit of the leader.
    leader_exit: Option<WaitStatus>,
    /// True if the leader has ended before it was asked to for its lease or its wrapper.
    has_ended_by_itself: bool,
    /// True once the lease has run out while it ran.
    has_expired: bool,
}

impl CommandGroup {
    fn new(leader: Pid, deadlines: Deadlines) -> CommandGroup {
        let term_to_kill_ms = deadlines.kill_ms - deadlines.term_ms;
        CommandGroup {
            id: leader,
            deadlines,
            term_to_kill_ms,
            end_ms: None,
            killed_ms: None,
            leader_exit: None,
            has_ended_by_itself: false,
            has_expired: false,
        }
    }

    fn follow(&mut self, message: WrapperMessage) {
        match message {
            WrapperMessage::Lease(deadlines) => self.deadlines = deadlines,
            WrapperMessage::Signal(signal) if signal.asks_to_end() => self.signal(signal.signal()),
            WrapperMessage::Signal(signal) => drop(kill_process_group(self.id, signal.signal())),
            WrapperMessage::End(kill_ms) => self.end_by(kill_ms),
            WrapperMessage::Release { .. } | WrapperMessage::Released => {} // come before the command and after it
        }
    }

    /// Asks it to end, and gives it the time from TERM to KILL for that.
    fn end(&mut self) {
        if self.end_ms.is_none() {
            self.end_by(Clock::Machine.boot_ms() + self.term_to_kill_ms);
        }
    }

    fn end_by(&mut self, kill_ms: i64) {
        if self.end_ms.is_none() && kill_ms > Clock::Machine.boot_ms() {
            self.signal(Signal::TERM); // otherwise it is killed at once, and a stopped command must not go on
        }
        self.end_ms = Some(self.end_ms.map_or(kill_ms, |sooner| sooner.min(kill_ms)));
    }

    /// Sends a signal; a command that was stopped (Ctrl-Z) is continued, because it could not handle the signal.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.id, signal);
        let _ = kill_process_group(self.id, Signal::CONT);
    }

    /// Reaps children that have ended. When the leader has, the rest of the group is asked to end. The message to send, if
    /// the leader was stopped.
    fn reap(&mut self) -> Option<GuardMessage> {
        let mut message = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            match status.stopping_signal().map(Signal::from_named_raw) {
                _ if pid != self.id => {}
                Some(Some(Signal::TSTP)) => message = Some(GuardMessage::Stopped),
                Some(Some(Signal::TTIN | Signal::TTOU)) => message = Some(GuardMessage::WantsTerminal),
                Some(_) => {} // stopped by another process, which continues it
                None => {
                    self.leader_exit = Some(status);
                    self.has_ended_by_itself = self.end_ms.is_none();
                    self.end();
                }
            }
        }
        message
    }

    /// True if it is empty, or holds only processes that could not be killed in time.
    fn is_gone(&self) -> bool {
        let given_up = self.killed_ms.is_some_and(|at| Clock::Machine.boot_ms() >= at + KILLED_WAIT_MS);
        self.leader_exit.is_some() && (given_up || test_kill_process_group(self.id).is_err())
    }

    /// Asks it to end if the lease has run out; true once.
    fn expires_now(&mut self) -> bool {
        let expires = self.end_ms.is_none() && Clock::Machine.boot_ms() >= self.deadlines.term_ms;
        if expires {
            self.has_expired = true;
            self.end_by(self.deadlines.kill_ms);
        }
        expires
    }

    /// Kills it if that is due; the time until the next look, in milliseconds.
    fn kill_if_due(&mut self) -> i64 {
        let now = Clock::Machine.boot_ms();
        let Some(end_ms) = self.end_ms else { return self.deadlines.term_ms - now };
        let kill_ms = end_ms.min(self.deadlines.kill_ms);
        if now >= kill_ms {
            let _ = kill_process_group(self.id, Signal::KILL);
            self.killed_ms.get_or_insert(now);
        }
        // The rest of the group may not be children of the guard, so their end does not wake it.
        let is_ending = self.leader_exit.is_some() || self.killed_ms.is_some();
        if is_ending { GROUP_LOOK_EVERY_MS } else { kill_ms - now }
    }

    /// The command's own exit code, or 128 and the number of the signal that ended it.
    fn exit_code(&self) -> u8 {
        let code = |status: WaitStatus| {
            let signal = || status.terminating_signal().map(|signal| SIGNAL_EXIT_BASE + signal);
            status.exit_status().or_else(signal)
        };
        self.leader_exit.and_then(code).unwrap_or(SIGNAL_EXIT_BASE) as u8
    }
}
