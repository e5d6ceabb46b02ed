//! The engine that keeps the ledger, as the writer uses it: transactions, savepoints, and what the end of a commit means.

#[cfg(feature = "postgres")]
use super::server;
use crate::error::{Error, ErrorName};
#[cfg(feature = "postgres")]
use crate::tx::server::CommitFault;
use crate::tx::{Engine, StorageFault, WriteTx};
use rusqlite::{Connection, ErrorCode};

/// A commit that did not succeed.
pub(super) enum CommitError {
    /// Nothing of the transaction is stored.
    NotDone(Error),
    /// Nothing of it is stored, if the log of the file shows that the commit did not get there: the storage is at its limit.
    AtLimit(StorageFault, rusqlite::Error),
    /// It is unknown what is stored.
    Unknown(rusqlite::Error),
    /// The same of a database that is reached over a connection.
    #[cfg(feature = "postgres")]
    Doubtful(String),
}

/// For a transaction that belongs to no command.
impl From<CommitError> for Error {
    fn from(error: CommitError) -> Error {
        match error {
            CommitError::NotDone(error) => error,
            CommitError::AtLimit(fault, error) => fault.error(error),
            CommitError::Unknown(error) => error.into(),
            #[cfg(feature = "postgres")]
            CommitError::Doubtful(cause) => Error::internal(cause),
        }
    }
}

impl Engine {
    /// The connection to the file, if it is one.
    pub(super) fn file(&self) -> Option<&Connection> {
        match self {
            Engine::File(conn) => Some(conn),
            #[cfg(feature = "postgres")]
            Engine::Server(_) => None,
        }
    }

    /// True once another program has become the writer: this one writes nothing any more.
    pub(super) fn is_deposed(&self) -> bool {
        match self {
            Engine::File(_) => false,
            #[cfg(feature = "postgres")]
            Engine::Server(session) => session.is_deposed.get(),
        }
    }

    /// Begins a transaction that can write.
    pub(super) fn begin(&self) -> Result<(), Error> {
        match self {
            Engine::File(conn) => begin_in_file(conn),
            #[cfg(feature = "postgres")]
            Engine::Server(session) => server::begin_batch(session),
        }
    }

    /// Ends the transaction with nothing of it stored.
    pub(super) fn roll_back(&self) -> Result<(), Error> {
        match self {
            Engine::File(conn) => Ok(conn.execute_batch("ROLLBACK")?),
            #[cfg(feature = "postgres")]
            Engine::Server(session) => session.roll_back(),
        }
    }

    /// True if there is no transaction: an error may have ended it, and every savepoint with it.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Engine::File(conn) => conn.is_autocommit(),
            #[cfg(feature = "postgres")]
            Engine::Server(session) => session.is_over(),
        }
    }

    /// Ends the transaction with all of it stored. A broken reference is a definite failure. So is a disk, quota or limit
    /// that is reached, and a failed read, if the log shows that the commit did not get there. After any other error it is
    /// unknown what is stored.
    pub(super) fn commit(&self) -> Result<(), CommitError> {
        match self {
            Engine::File(conn) => commit_to_file(conn),
            #[cfg(feature = "postgres")]
            Engine::Server(session) => session.commit().map_err(|fault| match fault {
                CommitFault::NotDone(error) => CommitError::NotDone(error),
                CommitFault::Unknown(cause) => CommitError::Doubtful(cause),
            }),
        }
    }

    /// Ends the transaction as a full disk would end its commit, for a fault that was asked for.
    pub(super) fn fail_commit(&self) -> Result<(), CommitError> {
        self.roll_back().map_err(CommitError::NotDone)?;
        Err(CommitError::AtLimit(StorageFault::DiskFull, StorageFault::full_disk()))
    }
}

fn begin_in_file(conn: &Connection) -> Result<(), Error> {
    match conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])) {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            Err(Error::new(ErrorName::Busy, "another program is writing to the file").caused_by(error))
        }
        Err(error) => Err(error.into()),
    }
}

fn commit_to_file(conn: &Connection) -> Result<(), CommitError> {
    let committed = conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    committed.map(drop).map_err(|error| match StorageFault::of(&error) {
        _ if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => CommitError::NotDone(error.into()),
        Some(fault @ (StorageFault::DiskFull | StorageFault::LimitReached | StorageFault::ReadFailed)) => {
            CommitError::AtLimit(fault, error)
        }
        _ => CommitError::Unknown(error),
    })
}

/// A part of a transaction that can be taken back alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Savepoint {
    /// A command of a batch.
    Command,
    /// An item of a command.
    Item,
    /// A step of settling holds.
    Settle,
}

impl WriteTx<'_> {
    /// Begins such a part.
    pub(super) fn begin_part(&self, part: Savepoint) -> Result<(), Error> {
        let sql = match part {
            Savepoint::Command => "SAVEPOINT command",
            Savepoint::Item => "SAVEPOINT item",
            Savepoint::Settle => "SAVEPOINT settle",
        };
        self.control(sql)
    }

    /// Takes back all since that part began. It goes on.
    pub(super) fn take_back(&self, part: Savepoint) -> Result<(), Error> {
        let sql = match part {
            Savepoint::Command => "ROLLBACK TO command",
            Savepoint::Item => "ROLLBACK TO item",
            Savepoint::Settle => "ROLLBACK TO settle",
        };
        self.control(sql)
    }

    /// Ends that part.
    pub(super) fn end_part(&self, part: Savepoint) -> Result<(), Error> {
        let sql = match part {
            Savepoint::Command => "RELEASE command",
            Savepoint::Item => "RELEASE item",
            Savepoint::Settle => "RELEASE settle",
        };
        self.control(sql)
    }
}
