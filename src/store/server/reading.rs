//! Reads of a ledger in PostgreSQL: each from one consistent view, and copies of a moment in a file.

use super::address::{ReadingSessions, ServerAddress};
use super::rows::copy_to_file;
use crate::error::{Error, ErrorName};
use crate::store::options::OpenError;
use crate::tx::ReadTx;
use crate::tx::server::Session;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// As many as a file has connections for requests that read.
const READERS: u32 = 8;
const READER_WAIT: Duration = Duration::from_secs(5);

/// The reason why a ledger in PostgreSQL is not copied by `backup`.
pub(crate) const NO_BACKUP: &str = "a ledger in PostgreSQL is backed up by PostgreSQL's own tools: pg_basebackup with an \
                                              archive of its log, or pg_dump; `export` writes what is in it";

/// The sessions of the requests that read.
pub(crate) fn sessions(address: &ServerAddress) -> Result<r2d2::Pool<ReadingSessions>, OpenError> {
    let pool = r2d2::Pool::builder()
        .max_size(READERS)
        .min_idle(Some(0)) // opened when first needed
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(READER_WAIT)
        .build(ReadingSessions(address.clone()));
    pool.map_err(|error| OpenError::new(error.to_string()))
}

fn session(sessions: &r2d2::Pool<ReadingSessions>) -> Result<r2d2::PooledConnection<ReadingSessions>, Error> {
    let detail = "too much is being read, or the database cannot be reached; try again";
    sessions.get().map_err(|error| Error::new(ErrorName::Busy, detail).caused_by(error))
}

/// Reads from one consistent view.
pub(crate) fn read<T>(
    sessions: &r2d2::Pool<ReadingSessions>,
    read: impl FnOnce(&ReadTx<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut lost = 0;
    loop {
        let session = session(sessions)?;
        match session.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") {
            // The loss of an idle connection is found at its next use; all that were idle may be lost.
            Err(_) if session.is_closed() && lost < READERS => lost += 1,
            Err(error) => return Err(error),
            Ok(_) => {
                let view = SessionView(&session);
                return read(&ReadTx::of_session(view.0));
            }
        }
    }
}

/// A transaction that ends with this.
struct SessionView<'a>(&'a Session);

impl Drop for SessionView<'_> {
    fn drop(&mut self) {
        let _ = self.0.roll_back(); // a session whose connection is lost is not used again
    }
}

/// One moment of the ledger as a file in a folder of its own, which is removed with the folder's handle.
pub(crate) fn copy(sessions: &r2d2::Pool<ReadingSessions>) -> Result<(PathBuf, TempDir), Error> {
    let session = session(sessions)?;
    copy_through(&session).map_err(Error::from)
}

/// The same of a ledger that this process does not write to.
pub(crate) fn copy_of(address: &ServerAddress) -> Result<(PathBuf, TempDir), OpenError> {
    let session = address.reading()?;
    super::lead::check_is_ledger(&session)?;
    copy_through(&session)
}

fn copy_through(session: &Session) -> Result<(PathBuf, TempDir), OpenError> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ledger.db");
    copy_to_file(session, &file)?;
    Ok((file, folder))
}
