//! The terminal and the signals that come from it. The command has the terminal while it runs in the foreground, so that
//! it can read from it, and Ctrl-C and Ctrl-Z reach it.

use super::protocol::ForwardedSignal;
use crate::cli::output;
use crate::cli::target::pause_file_access;
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};
use signal_hook::iterator::Signals;
use std::io;
use std::thread::spawn;

/// The state of the terminal, if there is one. Taken back when dropped.
#[derive(Default)]
pub(crate) struct Terminal {
    /// True while the command has it.
    given: bool,
    /// True if the command was stopped for using it before it had it.
    wanted: bool,
}

impl Terminal {
    /// Gives it to the command's group if this process has it, and continues a command that was stopped for using it.
    pub(crate) fn give(&mut self, group: Pid) {
        let stdin = io::stdin();
        if !self.given && isatty(&stdin) && tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp()) {
            self.given = tcsetpgrp(&stdin, group).is_ok();
        }
        if self.given && std::mem::take(&mut self.wanted) {
            let _ = kill_process_group(group, Signal::CONT);
        }
    }

    /// Notes that the command was stopped for using it.
    pub(crate) fn set_wanted(&mut self) {
        self.wanted = true;
    }

    /// Handles Ctrl-Z: stops this process's own group as well, so that the shell has its prompt, and returns when the
    /// shell continues it (`fg` or `bg`). False if the command did not have the terminal.
    pub(crate) fn stop(&mut self) -> bool {
        let given = self.given;
        if given {
            self.take_back();
            output::print_error(
                "stopped: the lease is not renewed meanwhile, and when it runs out the command is ended",
            );
            let _paused = pause_file_access(); // without a server, other processes need the file
            let _ = kill_process_group(getpgrp(), Signal::TSTP);
        }
        given
    }

    fn take_back(&mut self) {
        if std::mem::take(&mut self.given) {
            // A background process that takes the terminal is stopped by SIGTTOU, unless that signal is blocked.
            let mut blocked = SigSet::empty();
            blocked.add(nix::sys::signal::Signal::SIGTTOU);
            if blocked.thread_block().is_ok() {
                let _ = tcsetpgrp(io::stdin(), getpgrp());
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// Calls `handle` for each signal to pass on, on a thread of its own. A signal that was ignored when this process began
/// (as `nohup` does, and a shell for its background jobs) stays ignored, here and in the command.
pub(crate) fn forward_signals(handle: impl Fn(ForwardedSignal) + Send + 'static) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored_signals(&status);
    let handled = ForwardedSignal::ALL.into_iter().filter(|signal| !is_in_set(signal.signal(), ignored));
    let mut signals = Signals::new(handled.map(ForwardedSignal::number))?;
    spawn(move || signals.forever().filter_map(ForwardedSignal::from_number).for_each(handle));
    Ok(())
}

/// The set of ignored signals in `/proc/PID/status`, as a bit mask.
pub(super) fn ignored_signals(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

pub(super) fn is_in_set(signal: Signal, set: u64) -> bool {
    set >> (signal.as_raw() - 1) & 1 == 1
}
