//! The command's process group as its guard sees it: how long it may live, and how it ends.

use super::control::{Deadlines, SIGNALLED, ToGuard, ToWrapper};
use crate::clock::Clock;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, test_kill_process_group, wait};

/// How often a group that is to end is looked at, in milliseconds.
const LOOK_EVERY_MS: i64 = 10;
/// How long after KILL what does not go is waited for, in milliseconds: a process that hangs in the kernel dies when it
/// comes out of it, and does nothing more before.
const KILLED_GOES_MS: i64 = 1_000;

/// The group of a command.
pub struct CommandGroup {
    /// Its number, and its leader's. Nobody else can have it while anything of the group is there.
    id: Pid,
    until: Deadlines,
    /// The time from TERM to KILL.
    pause_ms: i64,
    /// Once it was told to end: when it is killed, if the lease does not ask for that sooner.
    end_ms: Option<i64>,
    killed_ms: Option<i64>,
    /// How the leader ended.
    ended: Option<WaitStatus>,
    late: bool,
}

impl CommandGroup {
    /// That of the command that was started as its leader.
    pub fn new(leader: Pid, until: Deadlines) -> CommandGroup {
        let pause_ms = until.kill_ms - until.term_ms;
        CommandGroup { id: leader, until, pause_ms, end_ms: None, killed_ms: None, ended: None, late: false }
    }

    /// Does what the wrapper says.
    pub fn follow(&mut self, order: ToGuard) {
        match order {
            ToGuard::Until(until) => self.until = until,
            ToGuard::Signal(signal) => self.tell(signal),
            ToGuard::End(kill_ms) => self.end_by(kill_ms),
        }
    }

    /// Asks it to end, and gives it the pause for that.
    pub fn end(&mut self) {
        if self.end_ms.is_none() {
            self.end_by(Clock::Machine.boot_ms() + self.pause_ms);
        }
    }

    fn end_by(&mut self, kill_ms: i64) {
        if self.end_ms.is_none() && kill_ms > Clock::Machine.boot_ms() {
            self.tell(Signal::TERM); // or it is killed at once, and if it was stopped, does nothing more
        }
        self.end_ms = Some(self.end_ms.map_or(kill_ms, |sooner| sooner.min(kill_ms)));
    }

    /// A command that was stopped (Ctrl-Z) is continued, or it would not hear of it.
    fn tell(&self, signal: Signal) {
        let _ = kill_process_group(self.id, signal);
        let _ = kill_process_group(self.id, Signal::CONT);
    }

    /// Takes note of who has ended. When the leader has, what it leaves in its group is asked to follow. Returns what is
    /// to be told if the leader was stopped.
    pub fn reap(&mut self) -> Option<ToWrapper> {
        let mut news = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            match status.stopping_signal().map(Signal::from_named_raw) {
                _ if pid != self.id => {}
                Some(Some(Signal::TSTP)) => news = Some(ToWrapper::Stopped),
                Some(Some(Signal::TTIN | Signal::TTOU)) => news = Some(ToWrapper::WantsTerminal),
                Some(_) => {} // by somebody who will know when to continue it
                None => {
                    self.ended = Some(status);
                    self.end();
                }
            }
        }
        news
    }

    /// Whether nothing is left of it, or nothing that could be ended.
    pub fn is_gone(&self) -> bool {
        let given_up = self.killed_ms.is_some_and(|at| Clock::Machine.boot_ms() >= at + KILLED_GOES_MS);
        self.ended.is_some() && (given_up || test_kill_process_group(self.id).is_err())
    }

    /// Whether the lease has run out under it, which is true once.
    pub fn runs_late(&mut self) -> bool {
        let late = self.end_ms.is_none() && Clock::Machine.boot_ms() >= self.until.term_ms;
        if late {
            self.late = true;
            self.end_by(self.until.kill_ms);
        }
        late
    }

    /// Kills it if it is time; when to look again, in milliseconds from now.
    pub fn see_to_it(&mut self) -> i64 {
        let now = Clock::Machine.boot_ms();
        let Some(end_ms) = self.end_ms else { return self.until.term_ms - now };
        let kill_ms = end_ms.min(self.until.kill_ms);
        if now >= kill_ms {
            let _ = kill_process_group(self.id, Signal::KILL);
            self.killed_ms.get_or_insert(now);
        }
        // The others of the group may be no children of ours, so their end does not wake us.
        let watched = self.ended.is_some() || self.killed_ms.is_some();
        if watched { LOOK_EVERY_MS } else { kill_ms - now }
    }

    /// Whether the lease ran out under it.
    pub fn was_late(&self) -> bool {
        self.late
    }

    /// The command's own exit code, or 128 and the number of the signal that ended it.
    pub fn exit_code(&self) -> u8 {
        let code = |status: WaitStatus| {
            let signal = || status.terminating_signal().map(|signal| SIGNALLED + signal);
            status.exit_status().or_else(signal)
        };
        self.ended.and_then(code).unwrap_or(SIGNALLED) as u8
    }
}
