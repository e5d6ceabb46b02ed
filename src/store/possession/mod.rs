//! Possession of a database by one process at a time, and the watch over the files that belong to it.
//!
//! One process has a database: a server, a command that works on the file, `restore`, `import`, or a program through the
//! library. It holds two locks of the operating system, and both end with the process:
//!
//! - on the companion file `FILE-serve`, by which other processes find the server;
//! - on one byte of the database's own inode that SQLite does not use, so that a file without its companion, or under
//!   another name, still has one process.
//!
//! The writer looks at the files before each commit, after it and before it is answered, and every half second while it
//! is idle. A difference is a [`FileFault`]: it is logged once, and stands in `/healthz` and `/metrics`.
//!
//! | case | at the start | while a process has the file |
//! |---|---|---|
//! | file moved, also to leave a symlink behind | – | its log is moved into it where it is now; changes are refused (500) until it is back |
//! | file deleted | – | as moved; what was answered is lost with the file, so nothing more is answered yes |
//! | file replaced | – | as moved; the file under the name is not touched |
//! | file emptied or cut | emptied, with a log: refused | the process stops (exit 5); its log is kept as it is |
//! | file linked | refused: each name would have a log of its own | degraded; writing goes on |
//! | file mounted by itself (a volume of a container) | refused, as a link: its log lies elsewhere | – |
//! | file missing, log there | refused: SQLite would delete the log | – |
//! | log deleted or replaced, also by a symlink to it | – | everything in it is moved into the file through the open descriptor; another log under its name is put aside; then changes are refused (500) until a restart |
//! | log emptied, cut, or overwritten with another | – | the commit that finds it is answered 500, and the process stops (exit 5) |
//! | index (`-shm`) deleted or replaced | made anew by SQLite | changes are refused (500) until a restart: another program would not see this one's locks |
//! | companion deleted | made anew | made anew; meanwhile the lock on the inode keeps others out |
//! | companion planted (not a file, a link, another account's) | refused | degraded; writing goes on |
//! | companion readable by others | made private; a server in it is not believed | – |
//! | file read-only | refused for writing, before a log is begun | – |
//! | file in another mount namespace | refused while the file is possessed: both locks are the inode's | – |
//! | server in another network namespace | its address leads elsewhere: no token is sent before it proves that it knows the secret of the run | – |

pub(crate) mod companion;
mod log_frames;
mod possess;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use companion::RunningServer;
pub(crate) use possess::{
    PossessResult, Possession, has_two_names, is_held, possess, possess_temporarily, possess_unserved, refuse_two_names,
};
pub(crate) use watch::{FileFault, FileWatch};
