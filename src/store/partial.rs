//! A database that is being made: whole, sound and on disk before it has its name, or not there at all.
//!
//! A log beside a file it does not belong to is poison: SQLite would play it into that file. So nothing gets a name beside
//! which a log lies, and nothing loses its log as long as it may be needed.

use super::audit::{self, Report};
use super::open_error::OpenError;
use super::private::{create_private, folder_of, has_that_name, with_ending};
use super::served;
use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use crate::secret;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Told of what is done and how much there is, in the unit of the work.
pub type Progress<'a> = &'a mut dyn FnMut(i64, i64);

/// Why there is no copy.
#[derive(Debug)]
pub enum Failed {
    /// Something stands where the copy is to go.
    InTheWay(PathBuf),
    /// A copy cannot go there, and why.
    NoPlace(PathBuf, &'static str),
    /// A file does not open, or cannot be written.
    Open(PathBuf, OpenError),
    /// What would be copied is not sound: what the audit found, in a sentence.
    Damaged(PathBuf, String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::InTheWay(file) => write!(out, "{} is there already", file.display()),
            Failed::NoPlace(file, why) => write!(out, "{} is no place for it: {why}", file.display()),
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
            Failed::Damaged(_, what) => Error::new(ErrorName::Damaged, what.as_str()),
            Failed::Open(_, why) if why.is_want_of_space() => {
                Error::new(ErrorName::StorageFull, "there is no space left for a copy")
            }
            Failed::Open(..) | Failed::InTheWay(_) | Failed::NoPlace(..) => Error::internal(failed),
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

/// What lies beside a database: part of it, or somebody's hold on it.
const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];
const BESIDE: [&str; 5] = ["-wal", "-shm", "-journal", "-serve", ".partial"];

impl Partial {
    /// Begins if nothing has that name, or what has it may be replaced.
    pub fn begin_unless_there(target: &Path, replace: bool) -> Result<Partial, Failed> {
        let no_place = |why| Err(Failed::NoPlace(target.to_owned(), why));
        let name = target.as_os_str().to_string_lossy();
        if BESIDE.iter().any(|ending| name.ends_with(ending)) {
            return no_place("what is called so lies beside a database and is part of it");
        }
        match target.symlink_metadata() {
            Ok(data) if data.is_dir() => return no_place("it is a folder"),
            Ok(data) if !data.is_file() => return no_place("it is no ordinary file"),
            Ok(_) if !replace => return Err(Failed::InTheWay(target.to_owned())),
            _ => {}
        }
        if let Some(log) = LOGS.map(|ending| with_ending(target, ending)).into_iter().find(|log| log.exists())
            && !replace
        {
            return Err(Failed::InTheWay(log));
        }
        Partial::begin(target)
    }

    pub fn begin(target: &Path) -> Result<Partial, Failed> {
        let path = beside(target, "partial");
        loop {
            let file = create_private(&path, target).map_err(|why| Failed::Open(path.clone(), why))?;
            if !is_soon_ours(&file) {
                return Err(failed_at(&path)(OpenError::new("another command is making it")));
            }
            // Whoever made it before us may have given it its name in between: then it is not ours to empty.
            if has_that_name(&file, &path) {
                let partial = Partial { path, file, named: false };
                partial.file.set_len(0).map_err(failed_at(&partial.path))?; // what stood there was a dead process's
                remove_logs(&partial.path).map_err(failed_at(&partial.path))?;
                return Ok(partial);
            }
        }
    }

    /// Begins a file that will never have a name of its own, for `what`, beside the database: others may make one for the
    /// same at the same time. Those of dead processes go.
    pub fn begin_passing(db: &Path, what: &str) -> Result<Partial, Failed> {
        remove_dead(db, what);
        Partial::begin(&beside(db, &format!("{what}-{}", secret::random_hex::<4>())))
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

    /// On disk, then its name, and that on disk too. What had the name is gone then, its log included; nobody may have it.
    pub fn name(mut self, target: &Path, replace: bool) -> Result<(), Failed> {
        let failed = failed_at(target);
        self.file.sync_all().map_err(&failed)?;
        let _ours = match replace {
            true => Some(served::take_passing(target).map_err(failed_at(target))?),
            false => None,
        };
        if replace {
            settle(target)?;
            remove_logs(target).map_err(&failed)?;
        }
        match give_name(&self.path, target, replace) {
            Ok(()) => self.named = true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(Failed::InTheWay(target.to_owned())),
            Err(error) => return Err(failed(error)),
        }
        sync_folder_of(target).map_err(failed)
    }

    /// In the place of the file that is there, which gets another name, with whatever was beside it; says which. Whoever
    /// calls has the file, so that nobody else does. At every moment one of the two has the name, whole; until the old one
    /// has its other name, it has one that says that something is being replaced, and nobody ever empties what has that.
    pub fn replace(mut self, db: &Path) -> Result<Option<PathBuf>, Failed> {
        let failed = failed_at(db);
        self.file.sync_all().map_err(&failed)?;
        settle(db)?;
        let now = Clock::Machine.wall_ms();
        let (kept, replacing) = (beside(db, &format!("replaced-{now}")), beside(db, &format!("replacing-{now}")));
        let aside = LogsAside::put(db, &kept).map_err(&failed)?;
        fs::rename(&self.path, &replacing).map_err(&failed)?;
        self.path.clone_from(&replacing);
        let swapped = swap(&replacing, db, &kept).map_err(&failed)?;
        self.named = true; // from here on what has our name is the old file, if anything
        aside.stay();
        let kept = match swapped {
            Swapped::WithNothing => None,
            Swapped::AndKept => Some(kept),
            Swapped::InOneStep => Some(fs::rename(&replacing, &kept).map_or(replacing, |()| kept)),
        };
        sync_folder_of(db).map_err(failed)?;
        Ok(kept)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path); // the next one to make it begins with emptying it
        }
    }
}

/// How long a reader is waited for.
const READER_WAIT: Duration = Duration::from_secs(1);

/// Has all that stands in a database's log moved into it, if that can be: then the log is not needed any more.
fn settle(db: &Path) -> Result<(), Failed> {
    if !db.exists() {
        return Ok(());
    }
    match is_read(db) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let why = "another program is reading it, and part of it is in its log; end that program first";
            Err(failed_at(db)(OpenError::new(why)))
        }
        Err(error) if is_damage(&error) => Ok(()), // it is kept, or goes, as it is
        Err(error) => Err(failed_at(db)(error)),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether a reader keeps the log from being moved.
fn is_read(db: &Path) -> rusqlite::Result<bool> {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(READER_WAIT)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?; // plays back what a crash left
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
}

/// Logs that have been put beside another name. They go back, unless they are told to stay.
struct LogsAside {
    moved: Vec<(PathBuf, PathBuf)>,
}

impl LogsAside {
    fn put(db: &Path, kept: &Path) -> io::Result<LogsAside> {
        let mut aside = LogsAside { moved: Vec::new() };
        for ending in LOGS {
            let (from, to) = (with_ending(db, ending), with_ending(kept, ending));
            match fs::rename(&from, &to) {
                Ok(()) => aside.moved.push((from, to)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(aside)
    }

    fn stay(mut self) {
        self.moved.clear();
    }
}

impl Drop for LogsAside {
    fn drop(&mut self) {
        for (from, to) in &self.moved {
            let _ = fs::rename(to, from); // nothing can be done about a way back that fails
        }
    }
}

/// Gives the file its name, in the place of what has it only if that may be.
fn give_name(file: &Path, name: &Path, replace: bool) -> io::Result<()> {
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, file, CWD, name, flags) {
        // A file system that cannot ask: a second name for the file is refused as well if there is one like it.
        Err(error) if !replace && cannot(error) => fs::hard_link(file, name).and_then(|()| fs::remove_file(file)),
        given => Ok(given?),
    }
}

/// Whether the file system knows no such way of renaming.
fn cannot(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// How a file got the name of another.
enum Swapped {
    /// There was none.
    WithNothing,
    /// They have changed names.
    InOneStep,
    /// The other has the name under which it is kept.
    AndKept,
}

/// Gives `new` the name, and what has it another; or fails, and all is as it was.
fn swap(new: &Path, db: &Path, kept: &Path) -> io::Result<Swapped> {
    match renameat_with(CWD, new, CWD, db, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(Swapped::InOneStep),
        Err(Errno::NOENT) => fs::rename(new, db).map(|()| Swapped::WithNothing),
        // A file system that cannot: the old file has two names for a moment or, where it cannot have two, none.
        Err(error) if cannot(error) && !db.exists() => fs::rename(new, db).map(|()| Swapped::WithNothing),
        Err(error) if cannot(error) => {
            let linked = fs::hard_link(db, kept).is_ok();
            if !linked {
                fs::rename(db, kept)?;
            }
            let back = |_: &io::Error| drop(if linked { fs::remove_file(kept) } else { fs::rename(kept, db) });
            fs::rename(new, db).map(|()| Swapped::AndKept).inspect_err(back)
        }
        Err(error) => Err(error.into()),
    }
}

/// How often, and how far apart, a lock is tried: somebody may just be looking whether we are dead.
const TRIES: u32 = 5;
const TRY_EVERY: Duration = Duration::from_millis(10);

fn is_soon_ours(file: &File) -> bool {
    (0..TRIES).any(|tried| {
        std::thread::sleep(TRY_EVERY * tried.min(1));
        file.try_lock().is_ok()
    })
}

fn remove_logs(file: &Path) -> io::Result<()> {
    LOGS.iter().try_for_each(|ending| fs::remove_file(with_ending(file, ending)).or_else(if_there))
}

/// Removes what dead processes have left of the same making.
fn remove_dead(db: &Path, what: &str) {
    let begins = beside(db, &format!("{what}-"));
    let begins = begins.file_name().unwrap_or_default().as_bytes();
    let Ok(files) = fs::read_dir(folder_of(db)) else { return };
    for name in files.flatten().map(|file| file.file_name()) {
        let path = folder_of(db).join(&name);
        if !(name.as_bytes().starts_with(begins) && name.as_bytes().ends_with(b".partial")) {
            continue;
        }
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(&path).and_then(|()| remove_logs(&path)); // it is in nobody's way
        }
    }
}

fn if_there(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

pub fn beside(file: &Path, ending: &str) -> PathBuf {
    with_ending(file, &format!(".{ending}"))
}

pub fn failed_at<E: Into<OpenError>>(file: &Path) -> impl Fn(E) -> Failed + '_ {
    |why| Failed::Open(file.to_owned(), why.into())
}
