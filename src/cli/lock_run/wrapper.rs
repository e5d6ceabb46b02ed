//! The wrapper, `cashbox lock run`: acquires the lock, has its guard run the command, renews the lease meanwhile, and
//! releases it when the command has ended.
//!
//! The wrapper counts each lease from before it sent the request that was granted, so it never takes a lease for longer
//! than the server does. The guard knows the lease by the wrapper's last message. If the guard does not act (it may have
//! been stopped), the wrapper kills the command itself.

use super::acquire::{AcquireResult, LockAcquisition, LockOptions, WantedLocks};
use super::lease::{HeldLease, LeaseLoss, LeaseTimes, RELEASE_TIME, RenewResult};
use super::protocol::{
    ControlFolder, ForwardedSignal, GuardMessage, SIGNAL_EXIT_BASE, WrapperMessage, forward_messages, send,
};
use super::terminal::{Terminal, forward_signals};
use crate::cli::input::{self, CommonOptions};
use crate::cli::output::{self, CliError};
use crate::cli::target::Target;
use crate::clock::Clock;
use crate::lock::IDS_MAX;
use crate::secret;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::spawn;
use std::time::{Duration, Instant};

/// Exit codes that are not the command's own.
pub(super) const NOT_ACQUIRED: u8 = 124;
const LOST: u8 = 123;
/// Used wrongly, too.
pub(crate) const FAILED: u8 = 125;
/// The exit code of a command that SIGKILL has ended.
const KILLED: u8 = 137;

/// The exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: the command's own · 128+n ended by signal n · 124 not acquired in time (-E) · \
    0 it rests (-E) · \
    123 lost while it ran · 125 cashbox itself failed · 126 cannot be executed · 127 not found";

/// Longest label that a lock takes.
const LABEL_CHARS_MAX: usize = 255;
/// Time for the guard to start.
const GUARD_START_TIME: Duration = Duration::from_secs(10);
/// Pause between two looks whether it has ended before.
const GUARD_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time for a message to be written: a stopped guard does not read, and must not block the wrapper.
const SEND_TIME: Duration = Duration::from_millis(50);
/// Longest sleep: after the machine was suspended, the clock is looked at within this time.
const SLEEP_MAX_MS: i64 = 500;
/// A command that ends sooner needs no renewal, and no watch: opening the file for that would take longer than the command.
const KEEP_AFTER_MS: i64 = 100;
/// Pause between two kills of a command that should have ended.
const KILL_EVERY_MS: i64 = 20;

const NOT_STARTED: &str = "the lease was over before the command could start, so it was not started";

/// `cashbox lock run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The locks' names; several are held together
    #[arg(required = true)]
    id: Vec<String>,
    #[command(flatten)]
    options: LockOptions,
    /// Number of holders at a time: the locks are ID/1 to ID/N, and the command gets the number of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=IDS_MAX as i64))]
    slots: Option<u8>,
    /// With --once-per: a command that fails does not count, and the next one may run at once
    #[arg(long, requires = "once_per")]
    retry_failed: bool,
    /// The exit code for a lock that is not acquired in time, or that rests [default: 124, or 0 if it rests and --once-per is given]
    #[arg(short = 'E', long, value_name = "N")]
    conflict_exit_code: Option<u8>,
    /// Say on standard error what is waited for and what was acquired
    #[arg(long)]
    verbose: bool,
    /// Time between TERM and KILL for the command; at most the grace
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::milliseconds("0s", "1d"))]
    kill_after: i64,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// An event that the wrapper handles.
enum WrapperEvent {
    /// A message of the guard, or `None` when it has ended.
    Guard(Option<GuardMessage>),
    /// A signal was sent to this process.
    Signal(ForwardedSignal),
    /// The lease was renewed until this boot time, in milliseconds.
    Renewed(i64),
    /// The lease was lost.
    Lost(LeaseLoss),
    /// Acquiring has ended.
    Acquired(Box<Result<AcquireResult, CliError>>),
}

impl RunArgs {
    /// Runs the command under the lock.
    pub(crate) fn run(&self, common: &CommonOptions) -> ExitCode {
        let code = self.run_locked(common).unwrap_or_else(|error| {
            output::print_error(&error.message);
            FAILED
        });
        ExitCode::from(code)
    }

    fn run_locked(&self, common: &CommonOptions) -> Result<u8, CliError> {
        let (sender, events) = mpsc::channel();
        let signals = sender.clone();
        let handle = move |signal| drop(signals.send(WrapperEvent::Signal(signal)));
        forward_signals(handle).map_err(cannot("watch for signals"))?;
        // Made before the wait for the lock, so that a failure shows at once.
        let (folder, listener) = ControlFolder::new().map_err(no_folder)?;
        let acquired = match self.acquire(common, &sender, &events)? {
            Ok(acquired) => acquired,
            Err(signal) => return Ok((SIGNAL_EXIT_BASE + signal.number()) as u8),
        };
        let (lease, until_ms) = match acquired {
            AcquireResult::Lease(lease, until_ms) => (Arc::new(lease), until_ms),
            AcquireResult::Resting => return Ok(self.conflict_exit_code.unwrap_or(0)),
            AcquireResult::Lost | AcquireResult::NotAcquired => {
                return Ok(self.conflict_exit_code.unwrap_or(NOT_ACQUIRED));
            }
        };
        if self.verbose {
            output::print_error(&format!("got {} under fence {}", lease.name(), lease.fence));
        }
        let code = if Clock::Machine.boot_ms() < self.times().deadlines(until_ms).term_ms {
            let slot = self.slots.and_then(|_| lease.ids[0].rsplit('/').next());
            let guard = GuardProcess::start(&self.command, &lease, slot, self.times(), &folder, &listener);
            let mut guard = guard.map_err(cannot("start the guard"))?;
            let access_token = lease.target.access_token().map(str::to_owned);
            send(&guard.stream, &WrapperMessage::Release { access_token, retry_failed: self.retry_failed });
            // After an error the command may still run, and the lease runs out by itself.
            let code = run_guarded(&mut guard, &lease, until_ms, sender, &events)?;
            let counts = guard.group.is_some() && (code == 0 || !self.retry_failed);
            lease.release(counts, self.release_timeout(counts));
            guard.finish();
            code
        } else {
            output::print_error(NOT_STARTED); // this process was stopped, and another client may have the lock
            lease.release(false, RELEASE_TIME);
            NOT_ACQUIRED
        };
        Ok(code)
    }

    /// The locks to acquire: those named, or the slots of the one named.
    fn locks(&self) -> Result<WantedLocks, CliError> {
        let mut ids = self.id.iter().map(|id| input::argument(id)).collect::<Result<Vec<_>, _>>()?;
        let mut named = BTreeSet::new();
        ids.retain(|id| named.insert(id.clone()));
        let Some(slots) = self.slots else { return Ok(WantedLocks { ids, any: false }) };
        if self.options.once_per.is_some() || ids.len() > 1 {
            return Err(CliError::usage("--slots goes with one name, and not with --once-per"));
        }
        Ok(WantedLocks { ids: (1..=slots).map(|slot| format!("{}/{slot}", ids[0])).collect(), any: true })
    }

    /// Acquires the lock; again with the rest of the wait if it is lost before it was used. A signal ends it.
    fn acquire(
        &self,
        common: &CommonOptions,
        sender: &Sender<WrapperEvent>,
        events: &Receiver<WrapperEvent>,
    ) -> Result<Result<AcquireResult, ForwardedSignal>, CliError> {
        let (target, locks) = (Target::new(common)?, self.locks()?);
        let holder = self.options.holder.clone().or_else(|| Some(self.label()));
        let begun = Instant::now();
        loop {
            let options = LockOptions { holder: holder.clone(), ..self.options.after(begun.elapsed()) };
            let (target, locks, secret) = (target.clone(), locks.clone(), secret::random_hex::<16>());
            let acquisition = Arc::new(LockAcquisition { target, locks, options, secret, verbose: self.verbose });
            match acquire_or_signal(&acquisition, sender, events) {
                Err(signal) => {
                    acquisition.give_up();
                    return Ok(Err(signal)); // the request under way ends with this process
                }
                Ok(result) => match result? {
                    AcquireResult::Lost => {}
                    result => return Ok(Ok(result)),
                },
            }
        }
    }

    /// Time for the release: of a run that counts for its period until the lease is over, or the job would run again.
    fn release_timeout(&self, counts: bool) -> Duration {
        match self.options.once_per {
            Some(_) if counts => Duration::from_millis((self.options.lease_ms() + self.options.grace) as u64),
            _ => RELEASE_TIME,
        }
    }

    fn label(&self) -> String {
        let program = self.command.first().map(|program| program.to_string_lossy().escape_debug().to_string());
        let (user, host, process) = (user_name(), host_name(), std::process::id());
        let label = format!("{} ({user}@{host}, process {process})", program.unwrap_or_default());
        label.chars().rev().take(LABEL_CHARS_MAX).collect::<Vec<_>>().into_iter().rev().collect()
    }

    fn times(&self) -> LeaseTimes {
        LeaseTimes { ttl_ms: self.options.lease_ms(), grace_ms: self.options.grace, kill_after_ms: self.kill_after }
    }
}

/// The result of acquiring, or the signal that ended it.
fn acquire_or_signal(
    acquisition: &Arc<LockAcquisition>,
    sender: &Sender<WrapperEvent>,
    events: &Receiver<WrapperEvent>,
) -> Result<Result<AcquireResult, CliError>, ForwardedSignal> {
    let ends = |signal: ForwardedSignal| signal.ends_by_default().then_some(Err(signal));
    let end_of = |event| match event {
        WrapperEvent::Acquired(result) => Some(Ok(*result)),
        WrapperEvent::Signal(signal) => ends(signal),
        WrapperEvent::Guard(_) | WrapperEvent::Renewed(_) | WrapperEvent::Lost(_) => None,
    };
    if acquisition.options.wait.is_none() && acquisition.target.is_unserved_file() {
        let result = acquisition.run(); // without a thread, as it takes some milliseconds
        return events.try_iter().find_map(end_of).unwrap_or(Ok(result));
    }
    let (acquiring, sender) = (Arc::clone(acquisition), sender.clone());
    spawn(move || sender.send(WrapperEvent::Acquired(Box::new(acquiring.run()))));
    events.iter().find_map(end_of).expect("the caller keeps a sender")
}

/// The name of this process's user, by its number in `/etc/passwd`; else the number.
fn user_name() -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name_of = |line: &str| {
        let mut fields = line.split(':');
        let (name, user) = (fields.next()?, fields.nth(1)?);
        (user == number).then(|| name.to_owned())
    };
    users.lines().find_map(name_of).unwrap_or(number)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().escape_debug().to_string()
}

/// Has the guard run the command, and renews and watches the lease meanwhile; the exit code.
fn run_guarded(
    guard: &mut GuardProcess,
    lease: &Arc<HeldLease>,
    until_ms: i64,
    sender: Sender<WrapperEvent>,
    events: &Receiver<WrapperEvent>,
) -> Result<u8, CliError> {
    forward_messages(&guard.stream, sender.clone(), WrapperEvent::Guard).map_err(cannot("read from the guard"))?;
    guard.set_lease_end(until_ms);
    let (stop, stopped) = mpsc::channel();
    let keeper = LeaseKeeper {
        from_ms: Clock::Machine.boot_ms() + KEEP_AFTER_MS.min(lease.renew_every_ms()),
        until_ms,
        lease: Arc::clone(lease),
        sender,
        stopped,
    };
    let code = guard.handle_events(events, keeper);
    drop(stop);
    code
}

/// The threads that renew and watch a lease, before they are started.
struct LeaseKeeper {
    /// The boot time to start them, in milliseconds.
    from_ms: i64,
    /// The end of the lease.
    until_ms: i64,
    lease: Arc<HeldLease>,
    sender: Sender<WrapperEvent>,
    stopped: Receiver<()>,
}

impl LeaseKeeper {
    fn start(self) {
        let LeaseKeeper { until_ms, lease, sender, stopped, .. } = self;
        for id in lease.ids.clone() {
            let (watching, sender) = (Arc::clone(&lease), sender.clone());
            spawn(move || sender.send(WrapperEvent::Lost(watching.watch(&id))));
        }
        spawn(move || {
            lease.keep(until_ms, &stopped, |result| {
                let _ = match result {
                    RenewResult::Until(until_ms) => sender.send(WrapperEvent::Renewed(until_ms)),
                    RenewResult::Lost(loss) => sender.send(WrapperEvent::Lost(loss)),
                    RenewResult::MaxHold | RenewResult::Unknown => Ok(()),
                };
            });
        });
    }
}

/// The guard as the wrapper sees it.
struct GuardProcess {
    process: Child,
    stream: UnixStream,
    lease: Arc<HeldLease>,
    times: LeaseTimes,
    /// The process group of the command, once it runs.
    group: Option<Pid>,
    /// The boot time at which the command must have ended, in milliseconds.
    kill_ms: i64,
    lost: bool,
    /// Set once this process has killed a command that the guard should have ended.
    has_killed: bool,
}

impl GuardProcess {
    /// Starts the guard, which waits for its first message to start the command.
    fn start(
        command: &[OsString],
        lease: &Arc<HeldLease>,
        slot: Option<&str>,
        times: LeaseTimes,
        folder: &ControlFolder,
        listener: &UnixListener,
    ) -> io::Result<GuardProcess> {
        let token_file = folder.write_token(&lease.token)?;
        listener.set_nonblocking(true)?;
        let mut command_line = Command::new(std::env::current_exe()?);
        command_line
            .args(["lock", "guard"])
            .arg(lease.target.option())
            .arg(folder.path())
            .arg("--")
            .args(command)
            .process_group(0)
            .env("CASHBOX_LOCK_ID", &lease.ids[0])
            .env("CASHBOX_LOCK_IDS", lease.ids.join("\n"))
            .env("CASHBOX_LOCK_FENCE", lease.fence.to_string())
            .env("CASHBOX_LOCK_TOKEN_FILE", token_file)
            .env_remove("CASHBOX_TOKEN") // the command does not get the rights of its caller
            .env_remove("CASHBOX_LOCK_TOKEN")
            .env_remove("CASHBOX_LOCK_SLOT"); // of an outer `lock run`
        slot.iter().for_each(|slot| _ = command_line.env("CASHBOX_LOCK_SLOT", slot));
        let mut process = command_line.spawn()?;
        let begun = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_write_timeout(Some(SEND_TIME))?;
                    let lease = Arc::clone(lease);
                    return Ok(GuardProcess {
                        process,
                        stream,
                        lease,
                        times,
                        group: None,
                        kill_ms: 0,
                        lost: false,
                        has_killed: false,
                    });
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if process.try_wait()?.is_some() || begun.elapsed() > GUARD_START_TIME => {
                    let _ = process.kill();
                    return Err(io::Error::other("it ended before it was ready"));
                }
                Err(_) => {
                    let look_every = Timespec::try_from(GUARD_LOOK_EVERY).expect("some milliseconds");
                    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&look_every));
                }
            }
        }
    }

    /// Lets the guard end: the lock is released.
    fn finish(mut self) {
        send(&self.stream, &WrapperMessage::Released);
        let _ = self.process.wait();
    }

    fn set_lease_end(&mut self, until_ms: i64) {
        let deadlines = self.times.deadlines(until_ms);
        self.kill_ms = deadlines.kill_ms;
        send(&self.stream, &WrapperMessage::Lease(deadlines));
    }

    /// Handles events until the command has ended; the exit code.
    fn handle_events(&mut self, events: &Receiver<WrapperEvent>, keeper: LeaseKeeper) -> Result<u8, CliError> {
        let mut terminal = Terminal::default();
        let mut keeper = Some(keeper);
        loop {
            let now = Clock::Machine.boot_ms();
            keeper.take_if(|keeper| now >= keeper.from_ms).into_iter().for_each(LeaseKeeper::start);
            let left_ms = (self.kill_ms - now).clamp(KILL_EVERY_MS, SLEEP_MAX_MS);
            let left_ms = keeper.as_ref().map_or(left_ms, |keeper| left_ms.min(keeper.from_ms - now));
            match events.recv_timeout(Duration::from_millis(left_ms as u64)) {
                Ok(WrapperEvent::Guard(None)) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(WrapperEvent::Guard(Some(message))) => {
                    if let Some(code) = self.handle_message(message, &mut terminal) {
                        return Ok(code);
                    }
                }
                Ok(event) => self.handle_event(event),
                Err(RecvTimeoutError::Timeout) => self.kill_if_overdue(),
            }
            if let Some(group) = self.group {
                terminal.give(group); // this process may have been brought to the foreground meanwhile
            }
        }
        let had_ended = self.group.is_some_and(has_ended);
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL); // without the guard, nothing else would end it
        }
        let _ = self.process.wait();
        if had_ended {
            output::print_error("the guard was killed when the command had ended, so its exit code is not known");
            return Ok(FAILED); // the run counts for its period
        }
        Err(CliError::usage("the guard was killed, so the command was killed too"))
    }

    fn handle_event(&mut self, event: WrapperEvent) {
        match event {
            WrapperEvent::Renewed(until_ms) if !self.lost => self.set_lease_end(until_ms),
            WrapperEvent::Signal(signal) => send(&self.stream, &WrapperMessage::Signal(signal)),
            WrapperEvent::Lost(loss) => self.end_command(&loss),
            WrapperEvent::Renewed(_) | WrapperEvent::Guard(_) | WrapperEvent::Acquired(_) => {}
        }
    }

    fn end_command(&mut self, loss: &LeaseLoss) {
        if !self.lost {
            output::print_error(&loss.message);
        }
        self.lost = true;
        let after_term_ms = Clock::Machine.boot_ms() + self.times.term_to_kill_ms();
        let before_free_ms = loss.free_ms.map_or(i64::MAX, |free_ms| self.times.kill_before(free_ms));
        self.kill_ms = self.kill_ms.min(after_term_ms).min(before_free_ms);
        send(&self.stream, &WrapperMessage::End(self.kill_ms));
    }

    /// Continues a command that was stopped together with this process, unless its lease was lost meanwhile, while neither
    /// renewed nor watched.
    fn continue_command(&mut self, terminal: &mut Terminal) {
        let now = Clock::Machine.boot_ms();
        match self.lease.renew(now + SLEEP_MAX_MS) {
            RenewResult::Until(until_ms) => self.handle_event(WrapperEvent::Renewed(until_ms)),
            // Another client may have the lock already, so the command is not continued, not even to end.
            RenewResult::Lost(loss) => return self.end_command(&LeaseLoss { free_ms: Some(now), ..loss }),
            RenewResult::MaxHold | RenewResult::Unknown => {}
        }
        if let Some(group) = self.group {
            terminal.give(group);
            let _ = kill_process_group(group, Signal::CONT);
        }
    }

    /// Handles a message of the guard; the exit code, if the command has ended.
    fn handle_message(&mut self, message: GuardMessage, terminal: &mut Terminal) -> Option<u8> {
        match message {
            GuardMessage::Started(group) => self.group = Pid::from_raw(group),
            GuardMessage::WantsTerminal => terminal.set_wanted(),
            GuardMessage::Stopped => {
                if terminal.stop() {
                    self.continue_command(terminal);
                }
            }
            GuardMessage::Failed { exit_code, reason } => {
                output::print_error(&reason);
                return Some(if self.lost { LOST } else { exit_code });
            }
            GuardMessage::TooLate => {
                output::print_error(NOT_STARTED);
                return Some(NOT_ACQUIRED);
            }
            GuardMessage::Expired => {
                self.lost = true;
                output::print_error("the lease ran out, so the command is ended");
            }
            GuardMessage::Exited(KILLED) if self.has_killed && !self.lost => {
                output::print_error("the lease ran out while this process was stopped, so the command was killed");
                return Some(LOST);
            }
            GuardMessage::Exited(code) => return Some(if self.lost { LOST } else { code }),
        }
        None
    }

    /// Kills the command if it should have ended and the guard has not reported that; a guard that was stopped is
    /// continued. A guard that has ended has killed the group itself, and the group's number may be in use again.
    fn kill_if_overdue(&mut self) {
        let guard_runs = matches!(self.process.try_wait(), Ok(None));
        if guard_runs && Clock::Machine.boot_ms() >= self.kill_ms {
            if let Some(group) = self.group {
                let _ = kill_process_group(group, Signal::KILL);
                self.has_killed = true;
            }
            let _ = kill_process(Pid::from_child(&self.process), Signal::CONT);
        }
    }
}

/// True if that process has ended by itself: it is not there any more, or waits to be reaped.
fn has_ended(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    let state = status.as_deref().ok().and_then(|status| status.rsplit_once(") ")?.1.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn no_folder(error: io::Error) -> CliError {
    let folder = std::env::temp_dir();
    let advice = "set TMPDIR to a writable folder whose path is short";
    CliError::usage(format!("cannot make the guard's socket in {}: {error}; {advice}", folder.display()))
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> CliError {
    move |error| CliError::usage(format!("cannot {what}: {error}"))
}
