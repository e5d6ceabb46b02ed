//! Options of an open store, and the reasons why a file cannot be opened.

use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Options of an open store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source of time.
    pub clock: Clock,
    /// The most commands that wait for the writer; one more is refused as `busy`.
    pub queue: usize,
    /// The most requests that wait for locks.
    pub wait_limits: WaitLimits,
    /// Below this much free space, in bytes, nothing is written. The smaller of 256 MiB and 5 % if not given.
    pub min_free: Option<u64>,
    /// Time for which idempotency records are kept, in days.
    pub keep_keys_days: i64,
    /// True to take the wall clock as it is, also after a jump.
    pub accept_clock: bool,
    /// The most pages of the file: stands for a small disk in tests.
    pub max_pages: Option<u32>,
    /// Carries out every command in a savepoint of its own: tests compare both ways.
    pub always_savepoints: bool,
    /// The use of the file.
    pub mode: OpenMode,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            clock: Clock::Machine,
            queue: 4_096,
            wait_limits: WaitLimits { total: 768, per_lock: 256 },
            min_free: None,
            keep_keys_days: 30,
            accept_clock: false,
            max_pages: None,
            always_savepoints: false,
            mode: OpenMode::Commands,
        }
    }
}

/// The use of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Some commands, while no server runs.
    Commands,
    /// The start of a server: every lease gets its full time again.
    Server,
}

/// The most requests that wait for locks.
#[derive(Clone, Copy, Debug)]
pub struct WaitLimits {
    /// In all.
    pub total: usize,
    /// For one lock.
    pub per_lock: usize,
}

/// The reason why a file cannot be opened. From [`Cashbox::open`](crate::Cashbox::open) it names the file; elsewhere it is a
/// clause that follows "cannot open FILE:".
#[derive(Debug)]
pub struct OpenError {
    file: Option<PathBuf>,
    sentence: String,
}

impl OpenError {
    pub(crate) fn new(sentence: impl Into<String>) -> OpenError {
        OpenError { file: None, sentence: sentence.into() }
    }

    /// The same error, naming the file.
    pub(crate) fn at(self, file: &Path) -> OpenError {
        OpenError { file: Some(file.to_owned()), ..self }
    }

    /// The same error, with one more clause.
    pub(super) fn and(self, clause: &str) -> OpenError {
        OpenError { sentence: format!("{}; {clause}", self.sentence), ..self }
    }

    /// There is no space; the reason.
    pub(super) fn no_space(detail: &str) -> OpenError {
        OpenError::new(NO_SPACE).and(detail)
    }

    /// True if the file is damaged.
    pub fn is_damage(&self) -> bool {
        self.sentence.starts_with(DAMAGED)
    }

    /// True if the file is not a database.
    pub fn is_not_a_database(&self) -> bool {
        self.sentence.starts_with(NOT_A_DATABASE)
    }

    /// True if there is no space left to write it.
    pub fn is_full_disk(&self) -> bool {
        self.sentence.starts_with(NO_SPACE)
    }
}

const DAMAGED: &str = "it is damaged; restore a backup";
pub(super) const NOT_A_DATABASE: &str = "it is not an SQLite database";
const NO_SPACE: &str = "there is no space left";

impl std::fmt::Display for OpenError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(out, "cannot open {}: {}", file.display(), self.sentence),
            None => out.write_str(&self.sentence),
        }
    }
}

impl std::error::Error for OpenError {}

#[doc(hidden)]
impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> OpenError {
        use rusqlite::ErrorCode::*;
        let sentence = match error.sqlite_error_code() {
            Some(NotADatabase) => NOT_A_DATABASE.to_owned(),
            Some(ReadOnly) => "it may not be written".to_owned(),
            Some(CannotOpen | PermissionDenied) => "no permission, or no such folder".to_owned(),
            Some(DiskFull) => NO_SPACE.to_owned(),
            Some(DatabaseCorrupt) => DAMAGED.to_owned(),
            Some(DatabaseBusy | DatabaseLocked) => "another program has it locked".to_owned(),
            _ => error.to_string(),
        };
        OpenError::new(sentence)
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> OpenError {
        if error.name == ErrorName::Damaged {
            OpenError::new(DAMAGED.to_owned())
        } else {
            OpenError::new(error.cause.unwrap_or(error.detail))
        }
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> OpenError {
        OpenError::new(if error.kind() == ErrorKind::StorageFull { NO_SPACE.to_owned() } else { error.to_string() })
    }
}

pub(super) fn cannot_open(error: std::io::Error) -> OpenError {
    use std::io::ErrorKind::*;
    OpenError::new(match error.kind() {
        NotFound => "there is no such folder".to_owned(),
        PermissionDenied => "no permission to write there".to_owned(),
        ReadOnlyFilesystem => "it is on a read-only file system".to_owned(),
        StorageFull => NO_SPACE.to_owned(),
        _ => error.to_string(),
    })
}
