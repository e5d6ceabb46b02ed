//! SQLite's side of the way to SQL: statements that are kept, and what its errors mean.

use super::stored::RowResult;
use crate::error::{Error, ErrorName};
use nix::errno::Errno;
use rusqlite::{CachedStatement, Connection, ErrorCode, PrepFlags, Statement, StatementStatus};
use std::cell::RefCell;

/// The writer's statements, each prepared once and found by the address of its text: no text is hashed or compared.
pub(super) struct KeptStatements<'conn> {
    conn: &'conn Connection,
    kept: RefCell<Vec<(TextAddress, Statement<'conn>)>>,
}

/// Address and length of a text of the program.
type TextAddress = (usize, usize);

impl<'conn> KeptStatements<'conn> {
    /// None is prepared yet.
    pub(super) fn new(conn: &'conn Connection) -> KeptStatements<'conn> {
        KeptStatements { conn, kept: RefCell::default() }
    }
}

/// Hides the lifetime of the statements.
pub(super) trait KeepStatements {
    fn with(&self, sql: &'static str, call: &mut dyn FnMut(&mut Statement<'_>) -> RowResult<()>) -> RowResult<()>;
}

impl KeepStatements for KeptStatements<'_> {
    /// A statement in use is taken out, so that the call may use others.
    fn with(&self, sql: &'static str, call: &mut dyn FnMut(&mut Statement<'_>) -> RowResult<()>) -> RowResult<()> {
        let address = (sql.as_ptr() as usize, sql.len());
        let found = {
            let mut kept = self.kept.borrow_mut();
            let index = kept.iter().position(|(own, _)| *own == address);
            index.map(|index| kept.swap_remove(index).1)
        };
        let mut statement = match found {
            Some(statement) => statement,
            // Persistent, or it would use up the small memory that SQLite keeps for short-lived ones.
            None => checked(self.conn.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?, sql),
        };
        let done = call(&mut statement);
        self.kept.borrow_mut().push((address, statement));
        done
    }
}

/// A statement that its connection keeps, with no steps counted yet: SQLite holds the steps of all runs of a statement
/// against the bound of one, so that one of many short reads would be refused.
pub(crate) fn prepare_read<'conn>(conn: &'conn Connection, sql: &str) -> RowResult<CachedStatement<'conn>> {
    let statement = conn.prepare_cached(sql)?;
    statement.reset_status(StatementStatus::VmStep);
    Ok(statement)
}

fn checked<'conn>(statement: Statement<'conn>, sql: &str) -> Statement<'conn> {
    debug_assert!(
        (1..=statement.parameter_count()).all(|n| statement.parameter_name(n) == Some(&format!("${n}"))),
        "parameters appear in the order of their numbers: {sql}"
    );
    statement
}

#[doc(hidden)]
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        if let Some(fault) = StorageFault::of(&error) {
            return fault.error(error);
        }
        match error.sqlite_error_code() {
            Some(_) if extended_code(&error) == NO_TEMP_FOLDER => {
                let detail = "there is no folder for temporary files: set TMPDIR to one with space";
                Error::new(ErrorName::StorageFull, detail).caused_by(error)
            }
            Some(ErrorCode::OperationInterrupted) => {
                Error::new(ErrorName::Busy, "this would read too much at once; narrow it down").caused_by(error)
            }
            None if is_unreadable(&error) => Error::damaged(error),
            _ => Error::internal(error),
        }
    }
}

/// The reason for an error of SQLite's that lies in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageFault {
    /// The disk is full.
    DiskFull,
    /// A quota, or the limit on the size of a file (`ulimit -f`), is reached.
    LimitReached,
    /// Reading failed.
    ReadFailed,
    /// Writing failed, or syncing, or another call.
    WriteFailed,
    /// The file holds something else than it should.
    Damaged,
}

impl StorageFault {
    /// The fault that the error is about, if it is one of these. Called right after the call that failed, in its thread:
    /// SQLite does not say why the operating system refused to write, and reports a failed read as damage; `errno` knows.
    pub(crate) fn of(error: &rusqlite::Error) -> Option<StorageFault> {
        match (error.sqlite_error_code()?, extended_code(error)) {
            (ErrorCode::DiskFull, _) => Some(StorageFault::DiskFull),
            (_, NO_TEMP_FOLDER) => None,
            (_, READ_FAILED | SHORT_READ) => Some(StorageFault::ReadFailed),
            (ErrorCode::SystemIoFailure, _) => match Errno::last() {
                Errno::ENOSPC => Some(StorageFault::DiskFull),
                Errno::EDQUOT | Errno::EFBIG => Some(StorageFault::LimitReached),
                _ => Some(StorageFault::WriteFailed),
            },
            (ErrorCode::DatabaseCorrupt, _) if Errno::last() == Errno::EIO => {
                Errno::clear(); // real damage may be found later in this thread
                Some(StorageFault::ReadFailed)
            }
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Some(StorageFault::Damaged),
            _ => None,
        }
    }

    /// SQLite's error for a full disk, for one that is only supposed to be full.
    pub(crate) fn full_disk() -> rusqlite::Error {
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        rusqlite::Error::SqliteFailure(full, Some("a fault that was asked for".to_owned()))
    }

    /// True for an error of such a kind.
    pub(crate) fn is_it(error: &rusqlite::Error) -> bool {
        use ErrorCode::*;
        matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure | DatabaseCorrupt | NotADatabase))
    }

    /// The error for a client.
    pub(crate) fn error(self, cause: rusqlite::Error) -> Error {
        match self {
            StorageFault::DiskFull => Error::new(ErrorName::StorageFull, NO_SPACE).caused_by(cause),
            StorageFault::LimitReached => Error::new(ErrorName::StorageFull, LIMIT_REACHED).caused_by(cause),
            StorageFault::ReadFailed => Error::disk_failed("reading failed"),
            StorageFault::WriteFailed => Error::disk_failed(cause),
            StorageFault::Damaged => Error::damaged(cause),
        }
    }
}

const NO_SPACE: &str = "there is no space left to write; reading goes on";
const LIMIT_REACHED: &str =
    "a quota or the limit on the size of a file (ulimit -f) is reached, so it cannot be written; reading goes on";

// SQLite's extended codes of I/O errors.
const READ_FAILED: i32 = 10 | 1 << 8;
const SHORT_READ: i32 = 10 | 2 << 8;
/// There is no folder for a temporary file.
const NO_TEMP_FOLDER: i32 = 10 | 25 << 8;

/// SQLite's extended code of the error; 0 if it is not SQLite's.
fn extended_code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code)
}

/// Returns whether a column holds a value that this program never writes.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::*;
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}
