//! Connections to the file: pragmas for all of them, for the writer's, and for the readers'.

use super::options::OpenError;
use crate::error::{Error, ErrorName};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// More than there are processors: a thread that has one may lose the processor while it reads, and others go on.
const READERS: u32 = 8;
const READER_WAIT: Duration = Duration::from_secs(5);
const READER_CACHE_KIB: i64 = 1024;
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// The most work for one query, in steps of SQLite's virtual machine: some seconds.
const READ_STEPS_MAX: i32 = 300_000_000;
/// The longest wait for another program's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENTS_KEPT: usize = 128;

/// Opens a connection of this program alone: a path is never taken for a URI, whatever its first letters.
pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    Ok(connect_to(path, access)?)
}

/// The same, with SQLite's own error. With `SQLITE_OPEN_URI` the path is a URI that says how to read the file.
pub(super) fn connect_to(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
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
    // Nothing of SQLite's needs a writable temporary folder. In memory the copies of pages for a savepoint are a list that is
    // walked at the end of each statement, so commits are bounded (`backlog`) to what the writer's cache holds. Measured
    // with four atomic batches of 3,500 recharges and 2 kB of metadata each (unoptimised build): one after another 3.2 s; at
    // once and unbounded 30.7 s, with a single request beside them waiting 30.2 s; the same with FILE 3.6 s and 3.1 s; at
    // once and bounded 2.9 s and 0.8 s.
    conn.pragma_update(None, "temp_store", "MEMORY")
}

/// A write-ahead log above this, in bytes, is cut back when it starts anew, even while commits wait: it grows so large only
/// when a long read keeps it from starting anew.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;

pub(super) fn prepare_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "FULL")?; // an answer survives a power failure
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "recursive_triggers", true)?; // so that REPLACE fires the triggers that forbid DELETE
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0) // `checkpoint` does that
}

/// Prepares a connection that only reads.
pub(super) fn prepare_reader(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    conn.progress_handler(READ_STEPS_MAX, Some(|| true))
}

/// The pool of connections that requests read through.
pub(super) fn readers(path: &Path, access: OpenFlags) -> Result<r2d2::Pool<SqliteConnectionManager>, OpenError> {
    let manager =
        SqliteConnectionManager::file(path).with_flags(access | OpenFlags::SQLITE_OPEN_NO_MUTEX).with_init(|conn| {
            prepare_any(conn)?;
            prepare_reader(conn)
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

/// The connections for reading.
pub(super) enum Readers {
    /// Of a store that several threads use.
    Pool(r2d2::Pool<SqliteConnectionManager>),
    /// Of a store for one call.
    Own {
        /// The file, or a URI of it.
        target: PathBuf,
        /// The way to open it.
        access: OpenFlags,
        /// Those that no question uses now.
        idle: Mutex<Vec<Connection>>,
    },
    /// Of a ledger in PostgreSQL.
    #[cfg(feature = "postgres")]
    Server(r2d2::Pool<super::server::ReadingSessions>),
}

impl Readers {
    /// Of a store for one call. None is opened yet.
    pub(super) fn own(target: &Path, access: OpenFlags) -> Readers {
        Readers::Own { target: target.to_owned(), access, idle: Mutex::default() }
    }

    /// A connection for one question.
    pub(super) fn get(&self) -> Result<Reader<'_>, Error> {
        match self {
            Readers::Pool(pool) => {
                let pooled = pool.get();
                pooled.map(Reader::Pooled).map_err(|_| Error::new(ErrorName::Busy, "too much is being read; try again"))
            }
            Readers::Own { target, access, idle } => {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let conn = kept.map_or_else(|| open_reader(target, *access).map_err(OpenError::from), Ok)?;
                Ok(Reader::Own(Some(conn), idle))
            }
            #[cfg(feature = "postgres")]
            Readers::Server(_) => Err(Error::internal("a ledger in PostgreSQL has no connection to a file")),
        }
    }
}

fn open_reader(target: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = connect_to(target, access)?;
    prepare_reader(&conn)?;
    Ok(conn)
}

/// A connection in use.
pub(super) enum Reader<'a> {
    /// It goes back to the pool.
    Pooled(r2d2::PooledConnection<SqliteConnectionManager>),
    /// It is kept for the next question.
    Own(Option<Connection>, &'a Mutex<Vec<Connection>>),
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Reader::Pooled(conn) => conn,
            Reader::Own(conn, _) => conn.as_ref().expect("taken only when it is dropped"),
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Reader::Own(conn, idle) = self {
            idle.lock().unwrap_or_else(PoisonError::into_inner).extend(conn.take());
        }
    }
}
