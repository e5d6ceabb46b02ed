//! Moving what was committed from the write-ahead log into the file, out of the writer's way: by the writer when it is
//! idle, and by a connection of its own when the log has grown. The writer then finishes the little that is left, so
//! that the log can start anew.

use super::OpenError;
use super::stats::{self, Stats};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, SyncSender};

/// From this size of the log on it is moved while the writer goes on.
const WAL_BYTES: u64 = 16 * 1024 * 1024;

/// Who moves it, and when.
pub struct Checkpoint {
    wal: PathBuf,
    ask: Option<SyncSender<()>>,
    moved: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    stats: Arc<Stats>,
    commits: u64,
    /// The size of the log when it was last moved: it is not tried again before it has grown as much again.
    tried_at: u64,
}

impl Checkpoint {
    /// Starts the second connection's thread.
    pub fn start(path: &Path, stats: Arc<Stats>) -> Result<Checkpoint, OpenError> {
        let (ask, asked) = mpsc::sync_channel::<()>(1);
        let moved = Arc::new(AtomicBool::new(false));
        let (file, done) = (path.to_owned(), Arc::clone(&moved));
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            let mut conn = None; // opened when first needed
            for () in asked {
                if conn.is_none() {
                    conn = super::connect(&file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).ok();
                }
                if let Some(conn) = &conn {
                    checkpoint(conn, "PASSIVE");
                }
                done.store(true, SeqCst);
            }
        })?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Ok(Checkpoint { wal: wal.into(), ask: Some(ask), moved, thread: Some(thread), stats, commits: 0, tried_at: 0 })
    }

    /// Whether something was committed that is not in the file yet.
    pub fn is_due(&self) -> bool {
        self.commits != self.stats.commits.load(SeqCst)
    }

    /// Called by the writer between two batches.
    pub fn after_commit(&mut self, conn: &Connection, idle: bool) {
        if idle && self.is_due() {
            self.finish(conn);
        } else if self.moved.swap(false, SeqCst) {
            checkpoint(conn, "PASSIVE"); // the rest: what was committed while the other was moving
            self.tried_at = self.look();
        } else if self.look() >= self.tried_at.max(WAL_BYTES / 2) + WAL_BYTES / 2
            && let Some(ask) = &self.ask
        {
            let _ = ask.try_send(()); // one at a time
        }
    }

    /// The last one, before the file is closed.
    pub fn last(mut self, conn: &Connection) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        checkpoint(conn, "TRUNCATE");
    }

    fn finish(&mut self, conn: &Connection) {
        self.commits = self.stats.commits.load(SeqCst);
        checkpoint(conn, "PASSIVE");
        self.tried_at = 0;
        self.look();
    }

    fn look(&self) -> u64 {
        let bytes = std::fs::metadata(&self.wal).map_or(0, |file| file.len());
        stats::set(&self.stats.wal_bytes, bytes);
        bytes
    }
}

fn checkpoint(conn: &Connection, how: &str) {
    if let Err(error) = conn.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())) {
        crate::log::warn("the write-ahead log could not be moved into the file", &error);
    }
}
