//! Taking possession of a database, and giving it up.

use super::companion::{self, RunningServer, companion_of, real_path};
use crate::store::disk::{BESIDE_DATABASE, FileId, has_that_name, identity_of, is_beside_database};
use crate::store::options::OpenError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest wait for a command that possesses the file, and the time between two attempts.
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Possession of the file. Ends when dropped, and by the operating system when the process dies.
#[derive(Debug)]
pub(crate) struct Possession {
    /// The database, symlinks resolved.
    db: PathBuf,
    /// None once it is given up.
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    companion: File,
    /// The text of the companion while this process serves the file.
    announcement: Option<String>,
    /// True if the companion was created for this possession only.
    temporary: bool,
    /// None while there is no database, or where the file system has no such locks.
    inode: Option<InodeLock>,
}

/// The result of an attempt to possess the file.
pub(crate) enum PossessResult {
    /// This process possesses it.
    Possessed(Possession),
    /// A server possesses it.
    ServedBy(RunningServer),
}

/// Takes possession of the file, after a command that has it for one operation, or returns the server that has it.
pub(crate) fn possess(db: &Path) -> Result<PossessResult, OpenError> {
    match db.metadata() {
        Ok(data) if data.is_dir() => return Err(OpenError::new("it is a folder")),
        Ok(data) if !data.is_file() => return Err(OpenError::new("it is not an ordinary file")),
        _ => {}
    }
    let db = real_path(db)?;
    if is_beside_database(&db) {
        return Err(OpenError::new(BESIDE_DATABASE)); // the other database would overwrite it
    }
    refuse_two_names(&db)?;
    let path = companion_of(&db);
    let mut companion = companion::open(&db)?;
    let begun = Instant::now();
    loop {
        let held_by = match companion.try_lock() {
            Ok(()) if !has_that_name(&companion, &path) => {
                companion = companion::open(&db)?; // its last possessor has removed it
                continue;
            }
            Ok(()) => match InodeLock::take(&db) {
                Ok(inode) => {
                    companion::write(&mut companion, &format!("{}\n", std::process::id())).ok(); // a full disk
                    let held = Held { companion, announcement: None, temporary: false, inode };
                    return Ok(PossessResult::Possessed(Possession { db, held: Mutex::new(Some(held)) }));
                }
                Err(InodeHeld) => {
                    companion.unlock()?; // for that process, which makes its companion anew
                    None
                }
            },
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => match companion.try_lock_shared() {
                Ok(()) => {
                    companion.unlock()?; // not possessed: another process was looking at it
                    None
                }
                Err(_) => match companion::read(&mut companion) {
                    Some(server) => return Ok(PossessResult::ServedBy(server)),
                    None => companion::pid_in(&mut companion),
                },
            },
        };
        if begun.elapsed() > TIMEOUT {
            let process = held_by.map_or(String::new(), |pid| format!(" (process {pid})"));
            return Err(OpenError::new(format!("another program has held it for 5 seconds{process}")));
        }
        if !has_that_name(&companion, &path) {
            companion = companion::open(&db)?;
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// Takes possession of the file, or names the server that has it.
pub(crate) fn possess_unserved(db: &Path) -> Result<Possession, OpenError> {
    match possess(db)? {
        PossessResult::Possessed(possession) => Ok(possession),
        PossessResult::ServedBy(server) => Err(server.has_it()),
    }
}

/// Refuses a file with two names: the log of one of them is not seen under the other.
pub(crate) fn refuse_two_names(db: &Path) -> Result<(), OpenError> {
    has_two_names(db).map_or(Ok(()), Err)
}

/// The error of a file that has another name, if it has one.
pub(crate) fn has_two_names(db: &Path) -> Option<OpenError> {
    let data = db.metadata().ok().filter(Metadata::is_file)?;
    if data.nlink() > 1 {
        let why = "it has another name too (a hard link), and each name would get a log of its own: remove one of them";
        return Some(OpenError::new(why));
    }
    is_mounted_alone(db).then(|| {
        OpenError::new(
            "it is mounted by itself, and under its other name it has a log of its own: mount the folder that it is in, and not the file",
        )
    })
}

/// True if the file is a mount of its own: as a volume of a container it often is. A kernel before Linux 5.8 does not say.
fn is_mounted_alone(db: &Path) -> bool {
    let looked = statx(CWD, db, AtFlags::empty(), StatxFlags::TYPE);
    looked.is_ok_and(|file| file.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// True if a process has the file, under whatever name. Not called while this process may have it open under this one.
pub(crate) fn is_held(db: &Path) -> bool {
    let own = IN_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if db.metadata().is_ok_and(|data| own.contains(&identity_of(&data))) {
        return true;
    }
    let Ok(file) = File::open(db) else { return false };
    let mut byte = locked_byte();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut byte)).is_ok() && i32::from(byte.l_type) != libc::F_UNLCK
}

/// Possesses a file that is about to be replaced, and leaves no companion that was not there before.
pub(crate) fn possess_temporarily(db: &Path) -> Result<Possession, OpenError> {
    let temporary = !companion_of(&real_path(db)?).exists();
    let possession = possess_unserved(db)?;
    possession.held().as_mut().into_iter().for_each(|held| held.temporary = temporary);
    Ok(possession)
}

impl Possession {
    /// That of a file which is only read.
    pub(crate) fn absent(db: &Path) -> Possession {
        Possession { db: db.to_owned(), held: Mutex::new(None) }
    }

    /// The database, symlinks resolved.
    pub(crate) fn db(&self) -> &Path {
        &self.db
    }

    /// Locks the inode of a database that was not there when the possession began.
    pub(crate) fn lock_inode(&self) -> Result<(), OpenError> {
        if let Some(held) = self.held().as_mut()
            && held.inode.is_none()
        {
            let taken = InodeLock::take(&self.db);
            held.inode = taken.map_err(|InodeHeld| OpenError::new("another program has it, under another name"))?;
        }
        Ok(())
    }

    /// Writes the address at which this process serves the file, and the access token of this run.
    pub(crate) fn announce(&self, url: &str, token: &str) -> std::io::Result<()> {
        let text = companion::text_of(&self.db, url, token);
        let mut held = self.held();
        let Some(held) = held.as_mut() else { return Ok(()) };
        let written = companion::write(&mut held.companion, &text);
        held.announcement = Some(text);
        written
    }

    /// True if this process serves the file.
    pub(crate) fn is_announced(&self) -> bool {
        self.held().as_ref().is_some_and(|held| held.announcement.is_some())
    }

    /// Ends the announcement: this process keeps the file and serves it no longer.
    pub(crate) fn retract(&self) -> std::io::Result<()> {
        let mut held = self.held();
        let Some(held) = held.as_mut() else { return Ok(()) };
        held.announcement = None;
        companion::write(&mut held.companion, &format!("{}\n", std::process::id()))
    }

    /// Makes the companion anew if it was deleted or replaced. Returns false if another file stands in its place that
    /// cannot be used.
    pub(super) fn keep_companion(&self) -> bool {
        let path = companion_of(&self.db);
        let mut held = self.held();
        let Some(held) = held.as_mut().filter(|held| !has_that_name(&held.companion, &path)) else { return true };
        let Ok(mut companion) = companion::open(&self.db) else { return false };
        if companion.try_lock().is_err() || !has_that_name(&companion, &path) {
            return false;
        }
        let own = format!("{}\n", std::process::id());
        if companion::write(&mut companion, held.announcement.as_ref().unwrap_or(&own)).is_err() {
            return false;
        }
        held.companion = companion;
        crate::log::warn("the companion file was deleted or replaced, and is made anew", &path.display());
        true
    }

    /// Gives the file up. The caller has no connection to it any more that writes: closing a descriptor of the inode ends
    /// SQLite's own locks on it in this process.
    pub(crate) fn give_up(&self) {
        let Some(held) = self.held().take() else { return };
        let path = companion_of(&self.db);
        let _ = held.companion.set_len(0); // the lock ends with the descriptor
        if (held.temporary || !self.db.exists()) && has_that_name(&held.companion, &path) {
            let _ = std::fs::remove_file(&path); // a process that waits for it sees that it has lost its name
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner) // an announcement is rewritten whole
    }
}

impl Drop for Possession {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A lock on a database's inode, of this open file alone.
#[derive(Debug)]
struct InodeLock {
    id: FileId,
    _file: File,
}

/// Another open file has the inode's lock.
struct InodeHeld;

/// The byte that is locked: behind those that SQLite locks (510 from 1 GiB + 2), and in a page that it never uses.
const LOCKED_BYTE: i64 = 0x4000_0000 + 1_000;

/// A lock on that byte, for one process alone.
fn locked_byte() -> libc::flock {
    libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: LOCKED_BYTE, l_len: 1, l_pid: 0 }
}

/// The inodes that this process has. One that is here is not opened again: closing any descriptor of an inode ends all
/// locks that SQLite has on it in this process.
static IN_THIS_PROCESS: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

impl InodeLock {
    /// None if there is no file that can be locked: then opening it says why, or the companion alone decides.
    fn take(db: &Path) -> Result<Option<InodeLock>, InodeHeld> {
        let mut own = IN_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(data) = db.metadata() else { return Ok(None) };
        let id = identity_of(&data);
        if own.contains(&id) {
            return Err(InodeHeld);
        }
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(db);
        let Ok(file) = opened else { return Ok(None) };
        if !file.metadata().is_ok_and(|data| data.is_file() && identity_of(&data) == id) {
            return Ok(None);
        }
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&locked_byte())) {
            Ok(_) => {
                own.push(id);
                Ok(Some(InodeLock { id, _file: file }))
            }
            Err(Errno::EAGAIN | Errno::EACCES) => Err(InodeHeld),
            Err(_) => Ok(None), // no such locks here
        }
    }
}

impl Drop for InodeLock {
    fn drop(&mut self) {
        let mut own = IN_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|id| *id != self.id);
    }
}
