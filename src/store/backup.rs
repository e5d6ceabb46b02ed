//! Backups: a copy that is one view of the file while it is written to, checked and on disk before it has its name; and
//! putting one back.

use super::audit::{self, Report};
use super::{OpenError, cannot_open, connect, open_read_only, schema};
use crate::clock::Clock;
use crate::secret;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Pages copied at once (4 MiB). They are synced before the next ones are copied: a great deal to sync at the end would
/// hold up the commits of whoever serves the file.
const PAGES_AT_ONCE: i32 = 1_024;

/// How far fences jump when a backup is put back, so that they go on above all that were given since it was made.
const FENCES_SKIPPED: i64 = 1 << 32;

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

/// Copies the file, beside whoever has it, to `target`; says what is in the copy.
pub fn back_up(db: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<Report, Failed> {
    if !replace && target.exists() {
        return Err(Failed::InTheWay(target.to_owned()));
    }
    let partial = Partial::begin(target)?;
    copy(db, &partial.path, progress)?;
    partial.finish(db, target, replace, progress)
}

/// Puts a backup in the place of the file, which nobody may have meanwhile; says what is in it, and where the file that
/// was there is now. Lock tokens of before count no more, and fences go on above every one that was given.
pub fn restore(
    backup: &Path,
    db: &Path,
    replace: bool,
    progress: Progress<'_>,
) -> Result<(Report, Option<PathBuf>), Failed> {
    if !replace && db.exists() {
        return Err(Failed::InTheWay(db.to_owned()));
    }
    let partial = Partial::begin(db)?;
    copy(backup, &partial.path, progress)?;
    bring_up(&partial.path).map_err(failed_at(backup))?;
    let report = partial.check(backup, progress)?;
    begin_another_history(&partial.path, db).map_err(failed_at(&partial.path))?;
    let kept = set_aside(db).map_err(failed_at(db))?;
    partial.name(db, false)?;
    Ok((report, kept))
}

/// A copy of the file as it is, with a name of its own beside it: before an upgrade.
pub fn keep_beside(db: &Path, ending: &str) -> Result<PathBuf, Failed> {
    let kept = beside(db, ending);
    let partial = Partial::begin(&kept)?;
    copy(db, &partial.path, &mut |_, _| {})?;
    partial.name(&kept, true)?;
    Ok(kept)
}

/// A file that is being made, under a name that says so. Removed if it comes to nothing.
struct Partial {
    path: PathBuf,
    /// Locked: two who make the same file would spoil each other's.
    file: File,
    named: bool,
}

impl Partial {
    fn begin(target: &Path) -> Result<Partial, Failed> {
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
    fn check(&self, copied: &Path, progress: Progress<'_>) -> Result<Report, Failed> {
        let damaged = |what: String| Failed::Damaged(copied.to_owned(), what);
        let report = audit::audit(&self.path, None, progress);
        let report = report.map_err(|error| damaged(error.cause.unwrap_or(error.detail)))?;
        match report.findings.first() {
            None => Ok(report),
            Some(first) => Err(damaged(format!("{}: {}", first.check, first.sentence))),
        }
    }

    fn finish(self, copied: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<Report, Failed> {
        let report = self.check(copied, progress)?;
        self.name(target, replace)?;
        Ok(report)
    }

    /// On disk, then its name, and that on disk too.
    fn name(mut self, target: &Path, replace: bool) -> Result<(), Failed> {
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

/// Copies all pages as one view of the file sees them. The copy is a single file, without a log beside it.
fn copy(from: &Path, to: &Path, progress: Progress<'_>) -> Result<(), Failed> {
    let source = open_read_only(from).map_err(|why| Failed::Open(from.to_owned(), why))?;
    copy_pages(&source, to, progress).map_err(failed_at(to))
}

fn copy_pages(source: &Connection, to: &Path, progress: Progress<'_>) -> Result<(), OpenError> {
    let view = source.unchecked_transaction()?; // or whatever is committed meanwhile would start the copy over
    view.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let file = File::open(to)?;
    {
        let mut copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.pragma_update(None, "journal_mode", "OFF")?; // nobody reads it before it is whole
        copy.pragma_update(None, "synchronous", "OFF")?; // we do that
        let backup = Backup::new(&view, &mut copy)?;
        while backup.step(PAGES_AT_ONCE)? != StepResult::Done {
            file.sync_data()?;
            let pages = backup.progress();
            progress((pages.pagecount - pages.remaining).into(), pages.pagecount.into());
        }
    }
    let copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let _: String = copy.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    Ok(())
}

/// A backup may be older than this program.
fn bring_up(copy: &Path) -> Result<(), OpenError> {
    schema::prepare(&mut connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?, copy)
}

fn begin_another_history(copy: &Path, db: &Path) -> Result<(), OpenError> {
    let fence_of = |conn: &Connection| conn.query_row("SELECT fence FROM lock_seq", [], |row| row.get::<_, i64>(0));
    let before = open_read_only(db).ok().and_then(|conn| fence_of(&conn).ok()); // if it still tells
    let conn = connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let fence = fence_of(&conn)?.max(before.unwrap_or(0)).saturating_add(FENCES_SKIPPED);
    let sql = "UPDATE lock_seq SET incarnation = $1, fence = $2";
    conn.execute(sql, (secret::random_hex::<8>(), fence))?;
    Ok(())
}

/// Moves what is there out of the way, its log with it: a log beside a file it does not belong to would be poison.
fn set_aside(db: &Path) -> std::io::Result<Option<PathBuf>> {
    if let Ok(conn) = connect(db, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())); // a damaged one is kept as it is
    }
    let kept = beside(db, &format!("replaced-{}", Clock::Machine.wall_ms()));
    let mut there = None;
    for ending in ["", "-wal", "-shm"] {
        match fs::rename(with_ending(db, ending), with_ending(&kept, ending)) {
            Ok(()) if ending.is_empty() => there = Some(kept.clone()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_folder_of(db)?;
    Ok(there)
}

fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    with_ending(file, &format!(".{ending}"))
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

fn failed_at<E: Into<OpenError>>(file: &Path) -> impl Fn(E) -> Failed + '_ {
    |why| Failed::Open(file.to_owned(), why.into())
}
