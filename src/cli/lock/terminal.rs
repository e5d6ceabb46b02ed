//! The terminal, which the command has while it runs: so it may read it, and Ctrl-C reaches it.

use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};
use std::io;

/// Who has the terminal, if there is one. Taken back when dropped.
#[derive(Default)]
pub struct Terminal {
    given: bool,
}

impl Terminal {
    /// Gives it to the command's group, if it is ours.
    pub fn give(&mut self, group: Pid) {
        let stdin = io::stdin();
        let ours = isatty(&stdin) && tcgetpgrp(&stdin).is_ok_and(|front| front == getpgrp());
        if ours {
            self.given = tcsetpgrp(&stdin, group).is_ok();
            let _ = kill_process_group(group, Signal::CONT); // it may have been stopped for reading too early
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.given {
            // Who is not in front is stopped for taking the terminal, unless this signal is blocked.
            let mut blocked = SigSet::empty();
            blocked.add(nix::sys::signal::Signal::SIGTTOU);
            if blocked.thread_block().is_ok() {
                let _ = tcsetpgrp(io::stdin(), getpgrp());
            }
        }
    }
}
