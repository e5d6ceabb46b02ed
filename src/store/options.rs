//! Options of an open store, and the reasons why a file cannot be opened.

use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use crate::secret::Randomness;
use crate::tx::StorageFault;
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
    /// Opens a file for tests of other programs, and no other.
    pub for_tests: bool,
    /// The source of codes and secrets.
    pub randomness: Randomness,
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
            for_tests: false,
            randomness: Randomness::System,
        }
    }
}

/// The use of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Some commands, while no server runs.
    Commands,
    /// One call of one thread, while no server runs.
    OneCall,
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
    kind: OpenErrorKind,
    sentence: String,
}

/// Kinds of reasons that are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenErrorKind {
    /// The file holds something else than it should.
    Damaged,
    NotADatabase,
    /// It cannot be written: a full disk, a quota, a limit.
    Full,
    /// Reading or writing failed.
    DiskFailed,
    /// It is for tests and must not be, or the other way round.
    OtherPurpose,
    Other,
}

impl OpenError {
    pub(crate) fn new(sentence: impl Into<String>) -> OpenError {
        OpenError::of_kind(OpenErrorKind::Other, sentence)
    }

    fn of_kind(kind: OpenErrorKind, sentence: impl Into<String>) -> OpenError {
        OpenError { file: None, kind, sentence: sentence.into() }
    }

    /// It is not an SQLite database.
    pub(super) fn not_a_database() -> OpenError {
        OpenError::of_kind(OpenErrorKind::NotADatabase, "it is not an SQLite database")
    }

    /// It was made by `serve --test`, and is opened for real use.
    pub(crate) fn for_tests_only() -> OpenError {
        let why = "it was made by serve --test, whose secrets are known and whose clock is moved: serve it with --test, or name another file";
        OpenError::of_kind(OpenErrorKind::OtherPurpose, why)
    }

    /// It was not made by `serve --test`, which is to open it.
    pub(super) fn not_for_tests() -> OpenError {
        let why = "it was not made by serve --test, which opens no other file: name one that does not exist yet";
        OpenError::of_kind(OpenErrorKind::OtherPurpose, why)
    }

    /// True if the file is for tests and must not be, or the other way round.
    pub(crate) fn is_other_purpose(&self) -> bool {
        self.kind == OpenErrorKind::OtherPurpose
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
        OpenError::of_kind(OpenErrorKind::Full, NO_SPACE).and(detail)
    }

    /// True if the file is damaged.
    pub fn is_damage(&self) -> bool {
        self.kind == OpenErrorKind::Damaged
    }

    /// True if the file is not a database.
    pub fn is_not_a_database(&self) -> bool {
        self.kind == OpenErrorKind::NotADatabase
    }

    /// True if reading or writing it failed.
    pub fn is_disk_failure(&self) -> bool {
        self.kind == OpenErrorKind::DiskFailed
    }

    /// True if there is no space left to write it, or a quota or a limit is reached.
    pub fn is_full_disk(&self) -> bool {
        self.kind == OpenErrorKind::Full
    }
}

const DAMAGED: &str = "it is damaged; restore a backup";
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
        match (StorageFault::of(&error), error.sqlite_error_code()) {
            (Some(StorageFault::Damaged), Some(NotADatabase)) => OpenError::not_a_database(),
            (Some(fault), _) => fault.error(error).into(),
            (_, Some(ReadOnly)) => OpenError::new("it may not be written"),
            (_, Some(CannotOpen | PermissionDenied)) => OpenError::new("no permission, or no such folder"),
            (_, Some(DatabaseBusy | DatabaseLocked)) => OpenError::new("another program has it locked"),
            _ => OpenError::new(error.to_string()),
        }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> OpenError {
        match error.name {
            ErrorName::Damaged => OpenError::of_kind(OpenErrorKind::Damaged, DAMAGED),
            ErrorName::StorageFull => OpenError::of_kind(OpenErrorKind::Full, error.detail),
            _ if error.is_disk_failure() => {
                let cause = error.cause.unwrap_or_default();
                OpenError::of_kind(OpenErrorKind::DiskFailed, format!("the disk failed to read or to write: {cause}"))
            }
            _ => OpenError::new(error.cause.unwrap_or(error.detail)),
        }
    }
}

/// For a client, which does not see the file.
impl From<OpenError> for Error {
    fn from(why: OpenError) -> Error {
        match why.kind {
            OpenErrorKind::Damaged | OpenErrorKind::NotADatabase => Error::damaged(why),
            OpenErrorKind::Full => Error::new(ErrorName::StorageFull, why.sentence),
            OpenErrorKind::DiskFailed => Error::disk_failed(why),
            OpenErrorKind::OtherPurpose | OpenErrorKind::Other => Error::internal(why),
        }
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> OpenError {
        use std::io::ErrorKind::*;
        match error.kind() {
            StorageFull => OpenError::of_kind(OpenErrorKind::Full, NO_SPACE),
            QuotaExceeded | FileTooLarge => OpenError::no_space(&error.to_string()),
            _ => OpenError::new(error.to_string()),
        }
    }
}

pub(super) fn cannot_open(error: std::io::Error) -> OpenError {
    use std::io::ErrorKind::*;
    match error.kind() {
        NotFound => OpenError::new("there is no such folder"),
        PermissionDenied => OpenError::new("no permission to write there"),
        ReadOnlyFilesystem => OpenError::new("it is on a read-only file system"),
        _ => error.into(),
    }
}
