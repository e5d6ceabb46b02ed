//! The companion file `FILE-serve`, readable by its owner alone: the process that has the file, and the address and the
//! access token of this run, so that commands find the server. They count only while the file is locked.

use crate::store::disk::{FileId, create_private, folder_of, identity, owner_for, with_ending};
use crate::store::options::{OpenError, cannot_open};
use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A server that possesses the file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RunningServer {
    /// Its address: `http://127.0.0.1:8866`.
    pub url: String,
    /// An admin's access token for this run.
    pub token: String,
    /// Its process id.
    pub pid: u32,
    /// The log it writes: device and inode.
    log: Option<FileId>,
}

impl RunningServer {
    /// The reason why another process cannot have the file.
    pub(crate) fn has_it(&self) -> OpenError {
        let RunningServer { url, pid, .. } = self;
        OpenError::new(format!("the server at {url} has it (process {pid}); stop that server first"))
    }
}

/// The server that possesses the file now, if one does.
pub(crate) fn server(db: &Path) -> Option<RunningServer> {
    read(&mut held_companion(db)?)
}

/// True if a process has the file now: a server, a command, or a program through the library.
pub(crate) fn is_possessed(db: &Path) -> bool {
    held_companion(db).is_some()
}

/// The companion, if a process holds it now.
fn held_companion(db: &Path) -> Option<File> {
    let db = real_path(db).ok()?;
    // A named pipe must not keep this waiting.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let companion = OpenOptions::new().read(true).custom_flags(flags).open(companion_of(&db)).ok()?;
    let data = companion.metadata().ok()?;
    if !data.is_file() || data.nlink() != 1 || data.mode() & 0o077 != 0 || !is_trusted(&data, &db) {
        return None; // `possess` says why
    }
    match companion.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(companion),
        _ => None, // not possessed, so its text is a dead process's
    }
}

/// Refuses to read a served file whose log is not the one that the server writes: answers would be missing.
pub(crate) fn check_log_of_server(db: &Path) -> Result<(), OpenError> {
    let Some(RunningServer { pid, log: Some(log), .. }) = server(db) else { return Ok(()) };
    if identity(&with_ending(&real_path(db)?, "-wal")) == Some(log) {
        return Ok(());
    }
    Err(OpenError::new(format!(
        "its log (-wal) was deleted or replaced while process {pid} serves it, so the newest entries may be missing here: stop that server, which saves them, and look again"
    )))
}

/// Opens the companion, and creates it if it is not there.
pub(super) fn open(db: &Path) -> Result<File, OpenError> {
    let path = companion_of(db);
    let refused = |why: OpenError| OpenError::new(format!("{}: {why}", path.display()));
    if let Ok(data) = path.symlink_metadata()
        && !data.is_symlink()
        && !is_trusted(&data, db)
    {
        let user = data.uid();
        let why = format!("it belongs to another account (user {user}) than the file: remove it");
        return Err(refused(OpenError::new(why)));
    }
    create_private(&path, db).map_err(refused)
}

/// True if the companion belongs to this account or to that of the database, or of the folder if there is none yet and
/// root made it.
fn is_trusted(companion: &Metadata, db: &Path) -> bool {
    companion.uid() == rustix::process::geteuid().as_raw()
        || db.metadata().is_ok_and(|db| db.uid() == companion.uid())
        || owner_for(db).is_some_and(|(user, _)| user == companion.uid())
}

/// The text of the companion of a server.
pub(super) fn text_of(db: &Path, url: &str, token: &str) -> String {
    let log = identity(&with_ending(db, "-wal")).map_or(String::new(), |(device, inode)| format!("{device}:{inode}\n"));
    format!("{}\n{url}\n{token}\n{log}", std::process::id())
}

/// Writes the text in the place of the one before.
pub(super) fn write(companion: &mut File, text: &str) -> std::io::Result<()> {
    companion.set_len(0)?;
    companion.seek(SeekFrom::Start(0))?;
    companion.write_all(text.as_bytes())
}

/// The server that wrote the text, if a server did.
pub(super) fn read(companion: &mut File) -> Option<RunningServer> {
    let mut text = String::new();
    companion.seek(SeekFrom::Start(0)).ok()?;
    companion.take(TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let (pid, url, token) = (lines.next()?, lines.next()?, lines.next()?);
    let log = lines.next().and_then(|log| log.split_once(':'));
    let log = log.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    Some(RunningServer { pid: pid.parse().ok()?, url: url.to_owned(), token: token.to_owned(), log })
}

/// The process that has the file, if it wrote its number.
pub(super) fn pid_in(companion: &mut File) -> Option<u32> {
    let mut text = String::new();
    companion.seek(SeekFrom::Start(0)).ok()?;
    companion.take(TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.lines().next()?.parse().ok()
}

/// The longest text that is read: a few lines.
const TEXT_BYTES_MAX: u64 = 4_096;

/// The companion's path.
pub(super) fn companion_of(real: &Path) -> PathBuf {
    with_ending(real, "-serve")
}

/// The file itself, not a symlink to it, or where it will be.
pub(super) fn real_path(db: &Path) -> Result<PathBuf, OpenError> {
    match db.canonicalize() {
        Ok(real) => Ok(real),
        Err(_) => {
            let folder = folder_of(db).canonicalize().map_err(cannot_open)?;
            Ok(folder.join(db.file_name().ok_or_else(|| OpenError::new("it has no file name"))?))
        }
    }
}
