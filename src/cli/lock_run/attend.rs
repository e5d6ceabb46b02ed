//! The wrapper while its guard runs the command: what happens is passed on to the guard, and where the guard does
//! nothing (it may have been stopped), the wrapper ends the command itself.

use super::control::{ControlFolder, ToGuard, ToWrapper, listen};
use super::event::WrapperEvent;
use super::lease::{HeldLease, LeaseLoss, RenewResult};
use super::terminal::Terminal;
use super::times::LeaseTimes;
use super::{LOST, NOT_ACQUIRED};
use crate::cli::output::{self, CliError};
use crate::clock::Clock;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the guard has to come up.
const GUARD_COMES: Duration = Duration::from_secs(10);
/// How long an order may wait for room on the line: a guard that was stopped does not read, and must not stop us.
const TELL_TIME: Duration = Duration::from_millis(50);
/// The longest sleep, in milliseconds: after the machine was suspended, the clock is looked at this soon.
const SLEEP_MAX_MS: i64 = 500;
/// How often a command that should have been dead by now is killed, in milliseconds.
const KILL_EVERY_MS: i64 = 20;

/// The guard as the wrapper sees it.
pub struct GuardHandle {
    process: Child,
    line: UnixStream,
    lease: Arc<HeldLease>,
    group: Option<Pid>,
    times: LeaseTimes,
    /// When nothing of the command may be left.
    kill_ms: i64,
    lost: bool,
}

impl GuardHandle {
    /// Has it started, to run the command under that lease.
    pub fn start(
        command: &[OsString],
        lease: &Arc<HeldLease>,
        times: LeaseTimes,
        folder: &ControlFolder,
        listener: &UnixListener,
    ) -> io::Result<GuardHandle> {
        let token_file = folder.write_token(&lease.token)?;
        listener.set_nonblocking(true)?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["lock", "guard"])
            .arg(folder.path())
            .arg("--")
            .args(command)
            .process_group(0)
            .env("CASHBOX_LOCK_ID", &lease.id)
            .env("CASHBOX_LOCK_FENCE", lease.fence.to_string())
            .env("CASHBOX_LOCK_TOKEN_FILE", token_file)
            .env_remove("CASHBOX_TOKEN") // the command is not everything the caller is
            .env_remove("CASHBOX_LOCK_TOKEN")
            .spawn()?;
        let begun = Instant::now();
        loop {
            match listener.accept() {
                Ok((line, _)) => {
                    line.set_nonblocking(false)?;
                    line.set_write_timeout(Some(TELL_TIME))?;
                    let lease = Arc::clone(lease);
                    return Ok(GuardHandle { process, line, lease, group: None, times, kill_ms: 0, lost: false });
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if process.try_wait()?.is_some() || begun.elapsed() > GUARD_COMES => {
                    let _ = process.kill();
                    return Err(io::Error::other("it ended before it began"));
                }
                Err(_) => sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Has it start the command, whose lease lasts until then; what it says comes as events.
    pub fn begin(&mut self, until_ms: i64, events: &Sender<WrapperEvent>) -> io::Result<()> {
        listen(&self.line, events.clone(), WrapperEvent::Guard)?;
        self.lasts(until_ms);
        Ok(())
    }

    fn lasts(&mut self, until_ms: i64) {
        let until = self.times.until(until_ms);
        self.kill_ms = until.kill_ms;
        ToGuard::Until(until).tell(&self.line);
    }

    /// Tells it what happens until the command has ended; the exit code.
    pub fn attend(&mut self, inbox: &Receiver<WrapperEvent>) -> Result<u8, CliError> {
        let mut terminal = Terminal::default();
        loop {
            let left_ms = (self.kill_ms - Clock::Machine.boot_ms()).clamp(KILL_EVERY_MS, SLEEP_MAX_MS);
            let ended = match inbox.recv_timeout(Duration::from_millis(left_ms as u64)) {
                Ok(WrapperEvent::Guard(None)) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(WrapperEvent::Guard(Some(line))) => {
                    ToWrapper::read(&line).and_then(|news| self.hear(news, &mut terminal))
                }
                Ok(event) => {
                    self.pass_on(event);
                    None
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.see_to_it();
                    None
                }
            };
            if let Some(code) = ended {
                let _ = self.process.wait();
                return Ok(code);
            }
            if let Some(group) = self.group {
                terminal.give(group); // we may have been brought to the front meanwhile
            }
        }
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL); // nobody else would end it
        }
        let _ = self.process.wait();
        Err(CliError::usage("the guard was killed, so the command was, too"))
    }

    fn pass_on(&mut self, event: WrapperEvent) {
        match event {
            WrapperEvent::Renewed(until_ms) if !self.lost => self.lasts(until_ms),
            WrapperEvent::Signal(signal) => ToGuard::Signal(signal).tell(&self.line),
            WrapperEvent::Lost(loss) => self.lose(&loss),
            WrapperEvent::Renewed(_) | WrapperEvent::Guard(_) | WrapperEvent::Asked(_) => {}
        }
    }

    fn lose(&mut self, loss: &LeaseLoss) {
        if !self.lost {
            output::print_error(&loss.why);
        }
        self.lost = true;
        let paused_ms = Clock::Machine.boot_ms() + self.times.pause_ms();
        let free_ms = loss.free_ms.map_or(i64::MAX, |free_ms| self.times.before(free_ms));
        self.kill_ms = self.kill_ms.min(paused_ms).min(free_ms);
        ToGuard::End(self.kill_ms).tell(&self.line);
    }

    /// Continues a command that was stopped together with us, unless its lease was lost meanwhile: nobody has watched it.
    fn go_on(&mut self, terminal: &mut Terminal) {
        let now = Clock::Machine.boot_ms();
        match self.lease.renew(now + SLEEP_MAX_MS) {
            RenewResult::Until(until_ms) => self.pass_on(WrapperEvent::Renewed(until_ms)),
            // Another may have the lock already, so it is not continued even to end.
            RenewResult::Lost(loss) => return self.lose(&LeaseLoss { free_ms: Some(now), ..loss }),
            RenewResult::NoMore | RenewResult::Unknown => {}
        }
        if let Some(group) = self.group {
            terminal.give(group);
            let _ = kill_process_group(group, Signal::CONT);
        }
    }

    /// The exit code, if the news is the end.
    fn hear(&mut self, news: ToWrapper, terminal: &mut Terminal) -> Option<u8> {
        match news {
            ToWrapper::Started(group) => {
                self.group = Pid::from_raw(group);
                None
            }
            ToWrapper::WantsTerminal => {
                terminal.is_wanted();
                None
            }
            ToWrapper::Stopped => {
                if terminal.stop() {
                    self.go_on(terminal);
                }
                None
            }
            ToWrapper::Failed(code, why) => {
                output::print_error(&why);
                Some(if self.lost { LOST } else { code })
            }
            ToWrapper::TooLate => {
                output::print_error("the lease was over before the command could start, so it was not started");
                Some(NOT_ACQUIRED)
            }
            ToWrapper::Late => {
                self.lost = true;
                output::print_error("the lease ran out, so the command is ended");
                None
            }
            ToWrapper::Exited(code) => Some(if self.lost { LOST } else { code }),
        }
    }

    /// The second line: when nothing of the command may be left and the guard has not said so, it is killed from here,
    /// and a guard that was stopped is woken. A guard that has ended has seen to it, and the number of the group may be
    /// another's by now.
    fn see_to_it(&mut self) {
        let guarded = matches!(self.process.try_wait(), Ok(None));
        if guarded && Clock::Machine.boot_ms() >= self.kill_ms {
            if let Some(group) = self.group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = kill_process(Pid::from_child(&self.process), Signal::CONT);
        }
    }
}
