//! The store: one SQLite file, one writer, a few readers.
//!
//! Only the writer commits, and it answers only after the commit is on disk. Reads take a read-only connection of
//! their own and never touch the writer. Knows nothing of HTTP.

mod age;
pub mod audit;
pub mod backup;
mod checkpoint;
mod desk;
pub mod export;
pub mod idempotency;
pub mod import;
mod parking;
mod partial;
mod private;
pub mod query;
pub mod record;
pub mod schema;
pub mod served;
mod space;
pub mod stats;
mod sweep;
mod ticket;
mod told;
mod waiting;
mod work;
mod writer;

pub use partial::{Failed, Progress};
pub use waiting::Room;
pub use work::{Alive, Envelope, LOCAL, Outcome};

use crate::clock::Clock;
use crate::command::Command;
use crate::error::{Error, Name};
use crate::id::{Fence, LockId};
use crate::lock::clock::LeaseClock;
use crate::tx::ReadTx;
use export::Export;
use private::create_private;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use space::Space;
use stats::Stats;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use waiting::Board;
use writer::Writer;

/// Why a file cannot be opened, in a sentence that follows "cannot open FILE:".
#[derive(Debug)]
pub struct OpenError(String);

impl OpenError {
    fn new(sentence: impl Into<String>) -> OpenError {
        OpenError(sentence.into())
    }

    /// Whether the file is there and broken.
    pub fn is_damage(&self) -> bool {
        self.0 == DAMAGED
    }

    /// Whether there is no space left to write it.
    pub fn is_want_of_space(&self) -> bool {
        self.0 == NO_SPACE
    }
}

const DAMAGED: &str = "it is damaged; restore a backup";
const NO_SPACE: &str = "there is no space left";

impl std::fmt::Display for OpenError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> OpenError {
        use rusqlite::ErrorCode::*;
        let sentence = match error.sqlite_error_code() {
            Some(NotADatabase) => "it is not an SQLite database".to_owned(),
            Some(ReadOnly) => "it may not be written".to_owned(),
            Some(CannotOpen | PermissionDenied) => "no permission, or no such folder".to_owned(),
            Some(DiskFull) => NO_SPACE.to_owned(),
            Some(DatabaseCorrupt) => DAMAGED.to_owned(),
            Some(DatabaseBusy | DatabaseLocked) => "another program has it locked".to_owned(),
            _ => error.to_string(),
        };
        OpenError(sentence)
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> OpenError {
        if error.name == Name::Damaged {
            OpenError(DAMAGED.to_owned())
        } else {
            OpenError(error.cause.unwrap_or(error.detail))
        }
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> OpenError {
        OpenError(if error.kind() == ErrorKind::StorageFull { NO_SPACE.to_owned() } else { error.to_string() })
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where time comes from.
    pub clock: Clock,
    /// How many commands may wait for the writer; one more is refused as `busy`.
    pub queue: usize,
    /// How many requests may wait for locks.
    pub room: Room,
    /// Below this much free space, in bytes, nothing is written. The smaller of 256 MiB and 5 % if not given.
    pub min_free: Option<u64>,
    /// How long idempotency records are kept, in days.
    pub keep_keys_days: i64,
    /// The most pages the file may grow to: a disk of any size to test with.
    pub max_pages: Option<u32>,
    /// Whether this is a server's start, after which every lease is whole again.
    pub restart_leases: bool,
    /// Whether nothing will be changed: then nothing is, not even what is old swept away.
    pub only_looks: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            clock: Clock::Machine,
            queue: 4_096,
            room: Room { total: 768, per_lock: 256 },
            min_free: None,
            keep_keys_days: 30,
            max_pages: None,
            restart_leases: false,
            only_looks: false,
        }
    }
}

const READERS: u32 = 4;
const READER_WAIT: Duration = Duration::from_secs(5);
const READER_CACHE_KIB: i64 = 2 * 1024;
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// How much work one question may make, in steps of SQLite's machine: some seconds.
const READ_STEPS_MAX: i32 = 300_000_000;
/// How long another program's hand on the file is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a watch looks whether its client has gone and whether time has ended the lease.
const WATCH_LOOKS_EVERY: Duration = Duration::from_secs(1);
const STATEMENTS_KEPT: usize = 128;

/// An open file. Dropping it stops the writer after what was accepted is committed.
pub struct Store {
    path: PathBuf,
    clock: Clock,
    lease: LeaseClock,
    readers: r2d2::Pool<SqliteConnectionManager>,
    writer: Writer,
    stats: Arc<Stats>,
    board: Arc<Board>,
    /// How many requests may wait for locks or watch them.
    waiting_max: usize,
    /// As in [`Options`].
    min_free: Option<u64>,
}

impl Store {
    /// Opens the file, creating it (readable by its owner alone) if it is not there.
    pub fn open(path: &Path, options: &Options) -> Result<Store, OpenError> {
        if path.is_dir() {
            return Err(OpenError::new("it is a folder"));
        }
        if !path.exists() {
            create_private(path, path)?;
        }
        let path = path.canonicalize()?;
        if path.metadata()?.nlink() > 1 {
            let why =
                "it has another name too (a hard link), and each name would get a log of its own: remove one of them";
            return Err(OpenError::new(why));
        }
        let mut conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::check(&conn)?;
        if let Some(pages) = options.max_pages {
            conn.pragma_update(None, "max_page_count", pages)?;
        }
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(OpenError::new(format!("SQLite keeps its journal as {mode} here, and cashbox needs wal")));
        }
        schema::prepare(&mut conn, &path)?;
        prepare_writer(&conn)?;
        let stats = Arc::new(Stats::default());
        let lease = LeaseClock::load(&ReadTx::new(&conn), &options.clock)?;
        let board = Arc::default();
        let writer = Writer::start(conn, &path, options, lease.clone(), Arc::clone(&stats), &board)?;
        let readers = readers(&path)?;
        Ok(Store {
            path,
            clock: options.clock.clone(),
            lease,
            readers,
            writer,
            stats,
            board,
            waiting_max: options.room.total,
            min_free: options.min_free,
        })
    }

    /// Has a command carried out; returns when it is on disk, refused, or has waited long enough.
    pub fn submit(&self, envelope: Envelope, command: Command) -> Outcome {
        self.writer.submit(envelope, command)
    }

    /// Has commands carried out in order, each for itself. The writer may spread them over several commits.
    pub fn submit_all(&self, commands: Vec<(Envelope, Command)>) -> Vec<Outcome> {
        self.writer.submit_all(commands)
    }

    /// Reads from one consistent view of the file. Not while anything is sent to a client.
    pub fn read<T>(&self, question: impl FnOnce(&ReadTx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let conn = self.readers.get().map_err(|_| Error::new(Name::Busy, "too much is being read; try again"))?;
        let view = View::begin(&conn)?;
        question(&ReadTx::new(view.conn))
    }

    /// One moment of the file, audited, as a database: a file without a name, gone when it is let go.
    pub fn backup(&self) -> Result<File, Error> {
        self.check_room_for_a_copy()?;
        backup::nameless(&self.path).map_err(Error::from)
    }

    /// One moment of the ledger, ready to be written out.
    pub fn export(&self) -> Result<Export, Error> {
        self.check_room_for_a_copy()?;
        Export::of(&self.path).map_err(Error::from)
    }

    fn check_room_for_a_copy(&self) -> Result<(), Error> {
        let bytes = self.path.metadata().map_err(Error::internal)?.len() + self.stats.wal_bytes.load(Relaxed);
        Space::new(&self.path, self.min_free).check_room_for(bytes)
    }

    /// How many requests wait for that lock.
    pub fn queue(&self, id: &LockId) -> usize {
        self.board.queue(id)
    }

    /// Returns when the lease of that fence has ended, or after `wait_ms`, or when the client has gone.
    pub fn watch(&self, id: &LockId, fence: Fence, wait_ms: i64, alive: &Alive) -> Result<(), Error> {
        let too_many = || Error::new(Name::Busy, "too many requests wait for locks; try again shortly");
        let deadline = self.lease_ms() + wait_ms;
        let mut place = None;
        loop {
            if self.board.is_closed() {
                return Err(Error::new(Name::Busy, "shutting down"));
            }
            let seen = self.board.changes();
            let lock = self.read(|tx| crate::lock::find(tx, id))?;
            let still = lock.is_some_and(|lock| lock.fence == fence && self.lease_ms() < lock.stale_from());
            let left = deadline - self.lease_ms();
            if !still || left <= 0 || alive.as_ref().is_some_and(|alive| !alive()) {
                return Ok(());
            }
            if place.is_none() {
                place = Some(self.board.place(id).ok_or_else(too_many)?);
                if self.board.watching() + self.stats.parked.load(Relaxed) as usize > self.waiting_max {
                    return Err(too_many());
                }
            }
            self.board.sleep(seen, WATCH_LOOKS_EVERY.min(Duration::from_millis(left as u64)));
        }
    }

    /// Lease time now, in milliseconds.
    pub fn lease_ms(&self) -> i64 {
        self.lease.now_ms()
    }

    /// Where time comes from.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The file, symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has been going on.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Makes the writer look at the time again: a manual clock was moved.
    pub fn poke(&self) {
        self.writer.poke();
    }

    /// Says `busy` to everyone who waits for a lock or watches one, and to whoever comes.
    pub fn refuse_waiting(&self) {
        self.board.close();
        self.writer.refuse_waiting();
    }

    /// Commits what was accepted, checkpoints and closes the file for writing.
    pub fn close(&self) {
        self.writer.stop();
    }
}

/// A read transaction: one consistent view of the file, until it is dropped. Its two statements are prepared once.
struct View<'conn> {
    conn: &'conn Connection,
}

impl View<'_> {
    fn begin(conn: &Connection) -> rusqlite::Result<View<'_>> {
        conn.prepare_cached("BEGIN")?.execute([])?;
        Ok(View { conn })
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let ended = self.conn.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
        if let Err(error) = ended {
            crate::log::error("a view of the file did not end", &error);
        }
    }
}

/// Opens a file that must be there, for reading alone: for commands beside a server, and with none.
pub fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    if !path.is_file() {
        return Err(OpenError::new(if path.is_dir() { "it is a folder" } else { "there is no such file" }));
    }
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if schema::check(&conn)? == 0 {
        return Err(OpenError::new("it is empty"));
    }
    Ok(conn)
}

fn cannot_open(error: std::io::Error) -> OpenError {
    use std::io::ErrorKind::*;
    OpenError(match error.kind() {
        NotFound => "there is no such folder".to_owned(),
        PermissionDenied => "no permission to write there".to_owned(),
        ReadOnlyFilesystem => "it is on a read-only file system".to_owned(),
        StorageFull => NO_SPACE.to_owned(),
        _ => error.to_string(),
    })
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    // One thread at a time uses a connection, so SQLite needs no locks of its own.
    let conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare_any(&conn)?;
    Ok(conn)
}

fn prepare_any(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Plans do not depend on parameters. Otherwise a kept statement with a `LIMIT $1` is prepared anew at every use.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
}

/// Above this the write-ahead log file is cut back when it starts anew, whoever waits: only after a long look at the file
/// kept it from starting anew.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;

fn prepare_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "FULL")?; // an answer is a promise that survives the power going out
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "recursive_triggers", true)?; // REPLACE cannot go around what forbids DELETE
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0) // the writer says when: see `writer`
}

fn readers(path: &Path) -> Result<r2d2::Pool<SqliteConnectionManager>, OpenError> {
    let manager = SqliteConnectionManager::file(path)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(|conn| {
            prepare_any(conn)?;
            conn.pragma_update(None, "query_only", true)?;
            conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
            conn.progress_handler(READ_STEPS_MAX, Some(|| true))
        });
    let pool = r2d2::Pool::builder()
        .max_size(READERS)
        .min_idle(Some(0)) // opened when first needed, so that starting does not wait for them
        .test_on_check_out(false)
        .idle_timeout(None) // kept while the file is open; and no timer that outlives it
        .max_lifetime(None)
        .connection_timeout(READER_WAIT)
        .build(manager);
    pool.map_err(|error| OpenError::new(error.to_string()))
}
