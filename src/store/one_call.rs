//! A store for one call of a command line: it starts no thread. The calling thread commits, and reads through connections
//! that are opened when they are needed.
//!
//! Starting and ending the six threads of a served store, and a commit of the upkeep before the first request came, took
//! half of the time of a short command.

use super::checkpoint::Checkpoint;
use super::connection::{connect_to, prepare_reader};
use super::options::OpenError;
use super::request::Request;
use super::writer::{WriterState, WriterTask};
use crate::error::{Error, ErrorName};
use crate::tx::{Engine, Statements};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The state of a writer without a thread.
pub(super) struct OwnWriter(Mutex<Option<OpenWriter>>);

struct OpenWriter {
    state: WriterState,
    checkpoint: Option<Checkpoint>,
    engine: Engine,
}

impl OwnWriter {
    pub(super) fn new(state: WriterState, checkpoint: Option<Checkpoint>, engine: Engine) -> OwnWriter {
        OwnWriter(Mutex::new(Some(OpenWriter { state, checkpoint, engine })))
    }

    /// Carries the requests out. They come back if the writer has stopped.
    pub(super) fn carry_out(&self, requests: Vec<Request>) -> Result<(), Vec<Request>> {
        match self.open().as_mut() {
            Some(OpenWriter { state, engine, .. }) => {
                let statements = Statements::new(engine, state.randomness.clone());
                state.carry_out(&statements, requests);
                Ok(())
            }
            None => Err(requests),
        }
    }

    /// Does a task. A writer that has stopped drops it.
    pub(super) fn run_task(&self, task: WriterTask) {
        if let Some(OpenWriter { state, engine, .. }) = self.open().as_mut() {
            let statements = Statements::new(engine, state.randomness.clone());
            task(state, &statements);
        }
    }

    /// Moves the log into the file and closes it. Does nothing a second time.
    pub(super) fn stop(&self) {
        if let Some(OpenWriter { mut state, checkpoint, engine }) = self.open().take() {
            let statements = Statements::new(&engine, state.randomness.clone());
            state.finish(&statements, checkpoint);
        }
    }

    /// A panic leaves the transaction open, which ends with the connection.
    fn open(&self) -> MutexGuard<'_, Option<OpenWriter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
                let conn = kept.map_or_else(|| open(target, *access).map_err(OpenError::from), Ok)?;
                Ok(Reader::Own(Some(conn), idle))
            }
            #[cfg(feature = "postgres")]
            Readers::Server(_) => Err(Error::internal("a ledger in PostgreSQL has no connection to a file")),
        }
    }
}

fn open(target: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
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
