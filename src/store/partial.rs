//! A database that is being made: whole, sound and on disk before it has its name, or not there at all.

use super::audit::{self, Report};
use super::{OpenError, cannot_open, connect};
use crate::clock::Clock;
use crate::error::{Error, Name};
use rusqlite::OpenFlags;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Told of what is done and how much there is, in the unit of the work.
pub type Progress<'a> = &'a mut dyn FnMut(i64, i64);

/// Why there is no copy.
#[derive(Debug)]
pub enum Failed {
    /// Something stands where the copy is to go.
    InTheWay(PathBuf),
    /// A file does not open, or cannot be written.
    Open(PathBuf, OpenError),
    /// What would be copied is not sound: what the audit found, in a sentence.
    Damaged(PathBuf, String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::InTheWay(file) => write!(out, "{} is there already", file.display()),
            Failed::Open(file, why) => write!(out, "cannot open {}: {why}", file.display()),
            Failed::Damaged(file, what) => {
                write!(out, "{} is damaged, and nothing was changed: {what}", file.display())
            }
        }
    }
}

impl std::error::Error for Failed {}

/// Of a copy that somebody asked for who has not got the file at hand.
impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match &failed {
            Failed::Damaged(_, what) => Error::new(Name::Damaged, what.as_str()),
            Failed::Open(_, why) if why.is_want_of_space() => {
                Error::new(Name::StorageFull, "there is no space left for a copy")
            }
            Failed::Open(..) | Failed::InTheWay(_) => Error::internal(failed),
        }
    }
}

/// A file that is being made, under a name that says so. Removed if it comes to nothing.
pub struct Partial {
    pub path: PathBuf,
    /// Locked: two who make the same file would spoil each other's.
    pub(super) file: File,
    named: bool,
}

impl Partial {
    /// Begins if nothing has that name, or what has it may be replaced.
    pub fn begin_unless_there(target: &Path, replace: bool) -> Result<Partial, Failed> {
        match target.symlink_metadata() {
            Ok(_) if target.is_dir() => Err(Failed::Open(target.to_owned(), OpenError::new("it is a folder"))),
            Ok(_) if !replace => Err(Failed::InTheWay(target.to_owned())),
            _ => Partial::begin(target),
        }
    }

    pub fn begin(target: &Path) -> Result<Partial, Failed> {
        let path = beside(target, "partial");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|error| Failed::Open(path.clone(), cannot_open(error)))?;
        let alone = file.try_lock().map_err(|_| OpenError::new("another command is making it"));
        alone.map_err(|why| Failed::Open(path.clone(), why))?;
        let partial = Partial { path, file, named: false };
        partial.file.set_len(0).map_err(failed_at(&partial.path))?; // what stood there was a dead process's
        Ok(partial)
    }

    /// Whether the copy is sound. If not, neither is what it was copied from.
    pub fn check(&self, copied: &Path, progress: Progress<'_>) -> Result<Report, Failed> {
        let damaged = |what: String| Failed::Damaged(copied.to_owned(), what);
        let report = audit::audit(&self.path, None, progress);
        let report = report.map_err(|error| damaged(error.cause.unwrap_or(error.detail)))?;
        match report.findings.first() {
            None => Ok(report),
            Some(first) => Err(damaged(format!("{}: {}", first.check, first.sentence))),
        }
    }

    pub fn finish(self, copied: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<Report, Failed> {
        let report = self.check(copied, progress)?;
        self.name(target, replace)?;
        Ok(report)
    }

    /// On disk, then its name, and that on disk too.
    pub fn name(mut self, target: &Path, replace: bool) -> Result<(), Failed> {
        let failed = failed_at(target);
        self.file.sync_all().map_err(&failed)?;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.path, CWD, target, flags) {
            Ok(()) => self.named = true,
            Err(rustix::io::Errno::EXIST) => return Err(Failed::InTheWay(target.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
        sync_folder_of(target).map_err(failed)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path); // the next one to make it begins with emptying it
        }
    }
}

/// Gives what is there another name, so that it outlives being replaced; says which. The file itself keeps its own name
/// too until then: whoever serves it in between must not find nothing there and begin anew. Its log goes: a log beside
/// a file it does not belong to would be poison.
pub fn keep(db: &Path) -> std::io::Result<Option<PathBuf>> {
    if let Ok(conn) = connect(db, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())); // a damaged one is kept as it is
    }
    let kept = beside(db, &format!("replaced-{}", Clock::Machine.wall_ms()));
    let none = |error: std::io::Error| if error.kind() == ErrorKind::NotFound { Ok(false) } else { Err(error) };
    let linked = fs::hard_link(db, &kept).or_else(|_| fs::rename(db, &kept)); // where a file can have but one name
    let there = linked.map(|()| true).or_else(none)?;
    for ending in ["-wal", "-shm"] {
        fs::rename(with_ending(db, ending), with_ending(&kept, ending)).map(|()| true).or_else(none)?;
    }
    sync_folder_of(db)?;
    Ok(there.then_some(kept))
}

fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

pub fn beside(file: &Path, ending: &str) -> PathBuf {
    with_ending(file, &format!(".{ending}"))
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

pub fn failed_at<E: Into<OpenError>>(file: &Path) -> impl Fn(E) -> Failed + '_ {
    |why| Failed::Open(file.to_owned(), why.into())
}
