//! The terminal, which the command has while it runs in front: so it may read it, and Ctrl-C and Ctrl-Z reach it.

use crate::cli::output;
use crate::cli::target::pause_file_access;
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};
use std::io;

/// Who has the terminal, if there is one. Taken back when dropped.
#[derive(Default)]
pub struct Terminal {
    given: bool,
    /// Whether the command was stopped for using it before it had it.
    wanted: bool,
}

impl Terminal {
    /// Gives it to the command's group, if it is ours to give, and continues a command that was stopped for want of it.
    pub fn give(&mut self, group: Pid) {
        let stdin = io::stdin();
        if !self.given && isatty(&stdin) && tcgetpgrp(&stdin).is_ok_and(|front| front == getpgrp()) {
            self.given = tcsetpgrp(&stdin, group).is_ok();
        }
        if self.given && std::mem::take(&mut self.wanted) {
            let _ = kill_process_group(group, Signal::CONT);
        }
    }

    /// The command was stopped for using it.
    pub fn is_wanted(&mut self) {
        self.wanted = true;
    }

    /// When the command was stopped while it had the terminal (Ctrl-Z): stops our own group as well, so that the shell
    /// has its prompt, and returns when that continues us (`fg` or `bg`). False if the command did not have it.
    pub fn stop(&mut self) -> bool {
        let had = self.given;
        if had {
            self.take_back();
            output::print_error(
                "stopped: the lease is not renewed meanwhile, and when it runs out the command is ended",
            );
            let _off = pause_file_access(); // where nobody serves the file, others need it
            let _ = kill_process_group(getpgrp(), Signal::TSTP);
        }
        had
    }

    fn take_back(&mut self) {
        if std::mem::take(&mut self.given) {
            // Who is not in front is stopped for taking the terminal, unless this signal is blocked.
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
