//! Checkpoints: moving commits from the write-ahead log into the file. The writer does it when it is idle; a second
//! connection does it when the log has grown. The writer then moves the little that is left, so that the log can start
//! anew.

use super::disk::{FileId, identity, with_ending};
use super::options::OpenError;
use super::stats::{self, Stats};
use rusqlite::Connection;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

/// Growth of the log, in pages, after which it is moved while the writer goes on (48 MiB). The writer moves the last part
/// itself, and meanwhile nothing is committed: with 16 MiB, 4 of 100 requests waited for that, which made the tail. Must be
/// less than `JOURNAL_SIZE_LIMIT` by what is committed during a move, or the log is cut back whenever it starts anew.
const LOG_PAGES: i64 = 12_288;
/// The same of a file for tests (4 MiB), which lies in memory beside those of other tests.
const LOG_PAGES_OF_TESTS: i64 = 1_024;

/// Moves by the second connection, one after another. Each leaves what was committed during it, so the last leaves little
/// to the writer.
const MOVES: usize = 2;

/// A log file above this, in bytes, is cut back; only when no commit waits, for cutting takes as long as many commits.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Time between two attempts to make room.
const MAKE_ROOM_EVERY: Duration = Duration::from_millis(200);

/// The longest wait of the last checkpoint for a reader: commits that stay in the log are on disk too.
const READER_WAIT: Duration = Duration::from_millis(100);

thread_local! {
    /// The pages in the log after this thread's last commit.
    static IN_LOG: Cell<i64> = const { Cell::new(0) };
    /// True if this thread has written to the log since that was last asked.
    static HAS_WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// The second connection's thread, and the time for the next checkpoint.
pub(crate) struct Checkpoint {
    wal: PathBuf,
    ask: Option<SyncSender<()>>,
    moved: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    stats: Arc<Stats>,
    commits: u64,
    /// The growth of the log, in pages, after which it is moved.
    log_pages: i64,
    /// The pages in the log when the thread was last asked.
    asked_at: i64,
    made_room_at: Option<Instant>,
}

impl Checkpoint {
    /// For a writer that moves the log when it stops, and not before.
    pub(super) fn without_thread(conn: &Connection, path: &Path, stats: Arc<Stats>) -> Checkpoint {
        count_pages(conn);
        Checkpoint {
            wal: with_ending(path, "-wal"),
            ask: None,
            moved: Arc::default(),
            thread: None,
            stats,
            commits: 0,
            log_pages: LOG_PAGES,
            asked_at: 0,
            made_room_at: None,
        }
    }

    /// Starts the second connection's thread.
    pub(crate) fn start(
        conn: &Connection,
        path: &Path,
        log: Option<FileId>,
        stats: Arc<Stats>,
        for_tests: bool,
    ) -> Result<Checkpoint, OpenError> {
        let (ask, asked) = mpsc::sync_channel::<()>(1);
        let moved = Arc::new(AtomicBool::new(false));
        let (file, done) = (path.to_owned(), Arc::clone(&moved));
        let wal_of_thread = with_ending(path, "-wal");
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            let mut conn = None; // opened when first needed
            for () in asked {
                if conn.is_none() {
                    conn = super::connection::connect(&file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).ok();
                    // It opens its log by name with its first read, and must never move another log into the file.
                    let read =
                        conn.as_ref().map(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
                    if !matches!(read, Some(Ok(()))) || identity(&wal_of_thread) != log {
                        conn = None;
                    }
                }
                if let Some(conn) = &conn {
                    (0..MOVES).for_each(|_| checkpoint(conn, "PASSIVE"));
                }
                done.store(true, SeqCst);
            }
        })?;
        let without = Checkpoint::without_thread(conn, path, stats);
        let log_pages = if for_tests { LOG_PAGES_OF_TESTS } else { LOG_PAGES };
        Ok(Checkpoint { ask: Some(ask), moved, thread: Some(thread), log_pages, ..without })
    }

    /// True if there are commits that are not in the file yet.
    pub(crate) fn is_due(&self) -> bool {
        self.commits != self.stats.commits.load(SeqCst)
    }

    /// Called by the writer between two batches.
    pub(crate) fn after_commit(&mut self, conn: &Connection, idle: bool) {
        if idle && self.is_due() {
            self.finish(conn);
        } else if self.moved.swap(false, SeqCst) {
            checkpoint(conn, "PASSIVE"); // commits made while the other connection was moving
            self.look();
        } else {
            self.ask_if_grown(IN_LOG.get());
        }
    }

    /// Called by the writer when there is no space: a log that is all in the file starts anew, and takes no more.
    pub(crate) fn make_room(&mut self, conn: &Connection) {
        if self.made_room_at.is_none_or(|at| at.elapsed() >= MAKE_ROOM_EVERY) {
            self.made_room_at = Some(Instant::now());
            checkpoint(conn, "PASSIVE");
            self.look();
        }
    }

    fn ask_if_grown(&mut self, pages: i64) {
        if pages < self.asked_at {
            self.asked_at = 0; // it has started anew
        }
        if pages >= self.asked_at + self.log_pages
            && let Some(ask) = &self.ask
        {
            let _ = ask.try_send(()); // one at a time
            self.asked_at = pages;
        }
    }

    /// The last checkpoint, before the file is closed.
    pub(crate) fn last(mut self, conn: &Connection) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = conn.busy_timeout(READER_WAIT); // or it waits a little longer
        checkpoint(conn, "TRUNCATE");
    }

    fn finish(&mut self, conn: &Connection) {
        self.commits = self.stats.commits.load(SeqCst);
        checkpoint(conn, if self.look() > FILE_BYTES { "TRUNCATE" } else { "PASSIVE" });
        self.look();
    }

    fn look(&self) -> u64 {
        let bytes = std::fs::metadata(&self.wal).map_or(0, |file| file.len());
        stats::set(&self.stats.wal_bytes, bytes);
        bytes
    }
}

/// Has each commit note the pages in the log, for the thread that commits.
fn count_pages(conn: &Connection) {
    IN_LOG.set(0);
    HAS_WRITTEN.set(false);
    conn.wal_hook(Some(|_, pages| {
        IN_LOG.set(pages.into());
        HAS_WRITTEN.set(true);
        Ok(())
    }));
}

/// True if this thread has written to the log since the last call. (A commit that changes nothing writes nothing.)
pub(crate) fn has_written() -> bool {
    HAS_WRITTEN.take()
}

/// The pages in the log after this thread's last commit.
pub(crate) fn pages_in_log() -> u64 {
    IN_LOG.get().unsigned_abs()
}

/// The pages in the log now, as its index has them: fewer than after the last commit if another program has moved them
/// all into the file, so that the log starts anew.
pub(crate) fn pages_in_index(conn: &Connection) -> Option<u64> {
    conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1)).ok().map(i64::unsigned_abs)
}

/// Moves everything from the log into the file, and syncs it. Waits for readers; false if one remains, or on an error.
pub(crate) fn move_all(conn: &Connection) -> bool {
    let moved = conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    match moved {
        Ok((busy, in_log, moved)) => busy == 0 && in_log == moved,
        Err(error) => {
            crate::log::error("the write-ahead log could not be moved into the file", &OpenError::from(error));
            false
        }
    }
}

fn checkpoint(conn: &Connection, how: &str) {
    if let Err(error) = conn.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())) {
        crate::log::warn("the write-ahead log could not be moved into the file", &OpenError::from(error));
    }
}
