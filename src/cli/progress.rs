//! How far a long command is, for whoever watches.

use std::io::{IsTerminal, Write};

const WIDTH: i64 = 30;

/// A bar on standard error, if that is a terminal; cleared when dropped.
pub struct Bar {
    watched: bool,
    shown: bool,
}

impl Bar {
    /// Nothing is shown yet: what is quick needs no bar.
    pub fn new() -> Bar {
        Bar { watched: std::io::stderr().is_terminal(), shown: false }
    }

    /// So many of so many are done.
    pub fn show(&mut self, done: i64, total: i64) {
        if !self.watched || total <= 0 {
            return;
        }
        self.shown = true;
        let full = (done * WIDTH / total).clamp(0, WIDTH) as usize;
        let (full, empty) = ("█".repeat(full), "░".repeat(WIDTH as usize - full));
        let percent = (done * 100 / total).min(100);
        let _ = write!(std::io::stderr(), "\r{full}{empty} {percent:>3} % of {total}"); // only a watcher would miss it
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
