//! Possession of the database by one process at a time: an operating system's lock on a companion file beside it.
//!
//! The companion (`FILE-serve`, readable by its owner alone) also holds a server's address and an access token for
//! this run, so that commands find the server. They are valid only while the lock is held.

use crate::store::disk::{create_private, folder_of, has_that_name, with_ending};
use crate::store::options::OpenError;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A server that possesses the file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RunningServer {
    /// Its address: `http://127.0.0.1:8866`.
    pub url: String,
    /// An admin's access token for this run.
    pub token: String,
    /// Its process id.
    pub pid: u32,
}

/// Possession of the file. Ends when dropped, and by the operating system when the process dies.
#[derive(Debug)]
pub(crate) struct Possession {
    companion: File,
    path: PathBuf,
    /// The database. Without it the companion is removed.
    db: PathBuf,
    /// True if the companion was created for this possession only.
    temporary: bool,
    announced: bool,
}

/// The result of an attempt to possess the file.
pub(crate) enum PossessResult {
    /// This process possesses it.
    Possessed(Possession),
    /// A server possesses it.
    ServedBy(RunningServer),
}

/// The longest wait for a command that possesses the file, and the time between two attempts.
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Takes possession of the file, after a command that has it for one operation, or returns the server that has it.
pub(crate) fn possess(db: &Path) -> Result<PossessResult, OpenError> {
    let path = companion_of(db)?;
    let open = || create_private(&path, db).map_err(|why| OpenError::new(format!("{}: {why}", path.display())));
    let mut companion = open()?;
    let begun = Instant::now();
    loop {
        match companion.try_lock() {
            Ok(()) if !has_that_name(&companion, &path) => {
                companion = open()?; // its last possessor has removed it
                continue;
            }
            Ok(()) => {
                companion.set_len(0)?; // a dead process may have left its text
                let possession = Possession { companion, path, db: db.to_owned(), temporary: false, announced: false };
                return Ok(PossessResult::Possessed(possession));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => {}
        }
        match companion.try_lock_shared() {
            Ok(()) => companion.unlock()?, // not possessed: another process was looking at it
            Err(_) => {
                if let Some(server) = read(&mut companion) {
                    return Ok(PossessResult::ServedBy(server));
                }
            }
        }
        if begun.elapsed() > TIMEOUT {
            return Err(OpenError::new("another cashbox command has held it for 5 seconds"));
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// The server that possesses the file now, if one does.
pub(crate) fn server(db: &Path) -> Option<RunningServer> {
    let mut companion = File::open(companion_of(db).ok()?).ok()?;
    match companion.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read(&mut companion),
        _ => None, // not possessed, so its text is a dead process's
    }
}

/// Possesses a file that is about to be replaced, and leaves no companion that was not there before.
pub(crate) fn possess_temporarily(db: &Path) -> Result<Possession, OpenError> {
    let temporary = !companion_of(db)?.exists();
    match possess(db)? {
        PossessResult::Possessed(mut possession) => {
            possession.temporary = temporary;
            Ok(possession)
        }
        PossessResult::ServedBy(_) => Err(OpenError::new("a server has it")),
    }
}

impl Possession {
    /// Writes the address at which this process serves the file.
    pub(crate) fn announce(&mut self, server: &RunningServer) -> std::io::Result<()> {
        self.announced = true;
        let text = format!("{}\n{}\n{}\n", server.pid, server.url, server.token);
        self.companion.seek(SeekFrom::Start(0))?;
        self.companion.write_all(text.as_bytes())
    }

    /// True if this process serves the file.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced
    }

    /// Ends the announcement: this process keeps the file and serves it no longer.
    pub(crate) fn retract(&mut self) -> std::io::Result<()> {
        self.announced = false;
        self.companion.set_len(0)
    }
}

impl Drop for Possession {
    fn drop(&mut self) {
        let _ = self.companion.set_len(0); // the lock ends with the descriptor
        if self.temporary || !self.db.exists() {
            let _ = std::fs::remove_file(&self.path); // a process that waits for it sees that it has lost its name
        }
    }
}

fn read(companion: &mut File) -> Option<RunningServer> {
    let mut text = String::new();
    companion.seek(SeekFrom::Start(0)).ok()?;
    companion.read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let (pid, url, token) = (lines.next()?, lines.next()?, lines.next()?);
    Some(RunningServer { pid: pid.parse().ok()?, url: url.to_owned(), token: token.to_owned() })
}

/// The companion's path, beside the file itself and not beside a symlink to it.
fn companion_of(db: &Path) -> Result<PathBuf, OpenError> {
    let real = match db.canonicalize() {
        Ok(real) => real,
        Err(_) => {
            let folder = folder_of(db).canonicalize().map_err(crate::store::options::cannot_open)?;
            folder.join(db.file_name().ok_or_else(|| OpenError::new("it has no file name"))?)
        }
    };
    Ok(with_ending(&real, "-serve"))
}
