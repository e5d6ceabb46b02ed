//! Copies of a whole database: backups, restoring one, and the new file that an import makes.
//!
//! A copy is made under a temporary name and gets its own name last, so that a file of that name is always whole:
//!
//! 1. Refuse a target that is a folder, a link, part of another database, or there already (without `replace`), and a
//!    target beside a log: SQLite replays any `-wal` or `-journal` that it finds beside a database, even a foreign one.
//!    On failure nothing was made.
//! 2. Create `TARGET.XXXXXXXX.partial` in the target's folder, readable by its owner alone, and lock it. Partial files
//!    of dead processes, which are not locked, are removed first. On failure nothing was made.
//! 3. Write the pages or records. On failure, as up to step 7, the partial file is removed; if the process is killed it
//!    stays, until the next copy to that target.
//! 4. Audit what was written. If the audit finds anything, the source is reported as damaged.
//! 5. Sync the partial file.
//! 6. If it replaces a file: possess that file, so that no server has it, and move its log into it. Refused while another
//!    program reads it, for then its log is still needed. Without `replace`: look for a log once more.
//! 7. Rename. On failure the target is as it was. `restore` and `import` keep the old file as `TARGET.replaced-TIME`:
//!    the files change names in one step where the file system can do that, and at every moment one of them has the
//!    name. If the process is killed in this step, the other one may be left as `TARGET.replacing-TIME`.
//! 8. Sync the folder. On failure the copy is there, and the error says that it may not be after a power failure.

use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use crate::journal::ChangeKind;
use crate::lock::DURATION_MS;
use crate::store::audit::{self, AuditReport};
use crate::store::connection::connect;
use crate::store::disk::{BESIDE_DATABASE, folder_of, has_that_name, is_beside_database, owner_for, with_ending};
use crate::store::journal_start;
use crate::store::options::{OpenError, cannot_open};
use crate::store::possession::possess_temporarily;
use crate::store::reading::{Reading, read_whole, refuse_unreadable_beside_log};
use crate::store::request::LOCAL;
use crate::store::schema;
use crate::{log, secret};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::NamedTempFile;

/// Receives the progress: work done, and all work, in pages or entries.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(i64, i64);

/// The reason why a copy was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum CopyError {
    /// A file is in the place of the copy.
    TargetExists(PathBuf),
    /// A copy cannot be put there; the reason.
    BadTarget(PathBuf, &'static str),
    /// A file cannot be opened or written.
    Open(PathBuf, OpenError),
    /// The source is damaged: the first finding of the audit.
    Damaged(PathBuf, String),
}

impl std::fmt::Display for CopyError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CopyError::TargetExists(file) => write!(out, "{} is there already", file.display()),
            CopyError::BadTarget(file, why) => write!(out, "a copy cannot be put at {}: {why}", file.display()),
            CopyError::Open(file, why) => write!(out, "cannot open {}: {why}", file.display()),
            CopyError::Damaged(file, what) => {
                write!(out, "{} is damaged, and nothing was changed: {what}", file.display())
            }
        }
    }
}

impl std::error::Error for CopyError {}

/// For a client elsewhere, which does not see the file.
impl From<CopyError> for Error {
    fn from(error: CopyError) -> Error {
        match &error {
            CopyError::Damaged(_, what) => Error::new(ErrorName::Damaged, what.as_str()),
            CopyError::Open(_, why) if why.is_full_disk() => {
                Error::new(ErrorName::StorageFull, "there is no space left for a copy")
            }
            CopyError::Open(_, why) if why.is_disk_failure() => Error::disk_failed(error),
            CopyError::Open(..) | CopyError::TargetExists(_) | CopyError::BadTarget(..) => Error::internal(error),
        }
    }
}

pub(super) fn failed_at<E: Into<OpenError>>(file: &Path) -> impl Fn(E) -> CopyError + '_ {
    |why| CopyError::Open(file.to_owned(), why.into())
}

/// Pages copied at once (4 MiB). They are synced before the next ones are copied: syncing all at the end would delay the
/// commits of a server.
const PAGES_AT_ONCE: i32 = 1_024;

/// Distance from the highest fence of a restored file to its next one, so that fences stay above all that were granted
/// since the backup.
pub(super) const FENCES_SKIPPED: i64 = 1 << 32;

/// Copies the file to `target`, also while it is served. Returns what is in the copy.
pub fn back_up(db: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<AuditReport, CopyError> {
    let partial = Partial::begin_unless_there(target, replace)?;
    copy(db, partial.path(), progress)?;
    partial.finish(db, target, replace, progress)
}

/// Puts a backup in the place of the file, which the caller must possess. Returns what is in it, and the new path of the
/// file that was there. Earlier lock tokens are not valid any more, and fences go on above every one that was granted.
pub fn restore(
    backup: &Path,
    db: &Path,
    replace: bool,
    progress: Progress<'_>,
) -> Result<(AuditReport, Option<PathBuf>), CopyError> {
    let partial = Partial::begin_unless_there(db, replace)?;
    copy(backup, partial.path(), progress)?;
    upgrade_copy(partial.path()).map_err(failed_at(backup))?;
    let report = partial.check(backup, progress)?;
    begin_new_incarnation(partial.path(), db).map_err(failed_at(partial.path()))?;
    Ok((report, partial.replace(db)?))
}

/// Makes a backup of bytes from elsewhere, which `fill` writes. Returns what is in it.
pub(crate) fn receive<E: From<CopyError>>(
    target: &Path,
    replace: bool,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    progress: Progress<'_>,
) -> Result<AuditReport, E> {
    let partial = Partial::begin_unless_there(target, replace)?;
    fill(&mut partial.file.as_file())?;
    Ok(partial.finish(target, target, replace, progress)?)
}

/// An audited copy without a name: its space is free again when it is closed.
pub(crate) fn nameless(db: &Path) -> Result<File, CopyError> {
    let partial = Partial::begin(db)?;
    copy(db, partial.path(), &mut |_, _| {})?;
    partial.check(db, &mut |_, _| {})?;
    File::open(partial.path()).map_err(failed_at(partial.path()))
}

/// Keeps a copy of the file beside it, before its upgrade.
pub(crate) fn keep_version(db: &Path, version: i32) -> Result<(), OpenError> {
    let failed = |why| OpenError::new(format!("it cannot be kept as it is before its upgrade: {why}"));
    let kept = keep_beside(db, &format!("version-{version}")).map_err(failed)?;
    log::info("the file is upgraded; as it was before it is kept as", &kept.display());
    Ok(())
}

fn keep_beside(db: &Path, ending: &str) -> Result<PathBuf, CopyError> {
    let usual = beside(db, ending);
    let kept = if usual.exists() { beside(db, &format!("{ending}-{}", Clock::Machine.wall_ms())) } else { usual };
    let partial = Partial::begin(&kept)?;
    copy(db, partial.path(), &mut |_, _| {})?;
    partial.name(&kept, false)?;
    Ok(kept)
}

/// Copies all pages of one view of the file. The copy is a single file, without a log beside it.
pub(super) fn copy(from: &Path, to: &Path, progress: Progress<'_>) -> Result<(), CopyError> {
    read_whole(from, Reading::of, failed_at(from), |reading| {
        let source = reading.connect().map_err(failed_at(from))?;
        copy_pages(&source, to, progress).map_err(failed_at(to))
    })
}

fn copy_pages(source: &Connection, to: &Path, progress: Progress<'_>) -> Result<(), OpenError> {
    let view = source.unchecked_transaction()?; // without it each commit would start the copy again
    view.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let file = File::open(to)?;
    {
        let mut copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.pragma_update(None, "journal_mode", "OFF")?; // it is not read before it is whole
        copy.pragma_update(None, "synchronous", "OFF")?; // synced here instead
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

/// Upgrades a backup of an earlier version of this program.
fn upgrade_copy(copy: &Path) -> Result<(), OpenError> {
    let conn = Reading::of(copy)?.connect()?;
    if schema::check(&conn)? == 0 {
        return Ok(()); // an empty file stays one
    }
    if schema::is_for_tests(&conn)? {
        return Err(OpenError::for_tests_only());
    }
    drop(conn);
    schema::prepare(&mut connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?, &Clock::Machine, |_| Ok(()))
}

fn begin_new_incarnation(copy: &Path, db: &Path) -> Result<(), OpenError> {
    let before = fence_before(db);
    let mut conn = connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let fence = fence_of(&tx)?.max(before).saturating_add(FENCES_SKIPPED);
    let sql = "UPDATE lock_seq SET incarnation = $1, fence = $2";
    let incarnation = secret::random_hex::<8>();
    tx.execute(sql, (&incarnation, fence))?;
    revoke_leases(&tx)?;
    let restored = json!({ "incarnation": incarnation });
    journal_start::append(&tx, Clock::Machine.wall_ms(), ChangeKind::Restored, None, &restored)?;
    Ok(tx.commit()?)
}

fn fence_of(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT fence FROM lock_seq", [], |row| row.get(0))
}

/// The highest fence of the file that is to be replaced; 0 if there is none or it cannot be read.
pub(super) fn fence_before(db: &Path) -> i64 {
    let fence = |reading: &Reading| Ok::<_, OpenError>(fence_of(&reading.connect()?)?);
    read_whole(db, Reading::of, |why| why, fence).unwrap_or(0)
}

/// Revokes all leases of the backup; each lock is free at its time. Their holders may have released them since the
/// backup, and other clients may have held the locks.
fn revoke_leases(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut leases = tx.prepare("SELECT id, fence FROM lock WHERE secret_hash IS NOT NULL ORDER BY id")?;
    let leases: Vec<(String, i64)> =
        leases.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (id, fence) in leases {
        tx.execute("UPDATE lock_seq SET fence = fence + 1", [])?;
        let revoked = "UPDATE lock SET secret_hash = NULL, fence = (SELECT fence FROM lock_seq), \
                       expire_ms = 0, grace_ms = min(expire_ms + grace_ms, ?2), min_hold_ms = NULL WHERE id = ?1";
        tx.execute(revoked, (&id, DURATION_MS.end()))?;
        tx.execute(
            "INSERT INTO lock_event (lock_id, what, fence, previous_fence, holder, made_by, reason, lease_ms, at) \
             SELECT id, 'revoked', lock.fence, ?2, holder, ?3, 'restored from a backup', clock_ms, ?4 FROM lock, lock_seq WHERE id = ?1",
            (&id, fence, LOCAL, Clock::Machine.wall_ms()),
        )?;
    }
    Ok(())
}

/// A database that is being made, under a temporary name. Removed on drop unless it got its own name.
pub(super) struct Partial {
    /// Locked while it is made: an unlocked one is a dead process's.
    file: NamedTempFile,
    _logs: RemoveLogs,
}

/// Removes the logs of that file on drop: SQLite leaves one when writing fails.
struct RemoveLogs(PathBuf);

impl Drop for RemoveLogs {
    fn drop(&mut self) {
        let _ = remove_logs(&self.0); // the file they belong to is removed or complete
    }
}

/// Endings of the parts of a database beside it.
const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];
const PARTIAL: &str = ".partial";
const RANDOM_CHARS: usize = 8;

/// Attempts to create a partial file: another process may take it for a dead one's before it is locked.
const CREATE_ATTEMPTS: u32 = 5;

impl Partial {
    /// Begins if there is no file of that name, or it may be replaced.
    pub(super) fn begin_unless_there(target: &Path, replace: bool) -> Result<Partial, CopyError> {
        let bad_target = |why| Err(CopyError::BadTarget(target.to_owned(), why));
        if is_beside_database(target) || target.as_os_str().as_bytes().ends_with(PARTIAL.as_bytes()) {
            return bad_target(BESIDE_DATABASE);
        }
        match target.symlink_metadata() {
            Ok(data) if data.is_dir() => return bad_target("it is a folder"),
            Ok(data) if !data.is_file() => return bad_target("it is not an ordinary file"),
            Ok(_) if !replace => return Err(CopyError::TargetExists(target.to_owned())),
            _ => {}
        }
        if !replace {
            refuse_beside_log(target)?;
        }
        Partial::begin(target)
    }

    /// Begins beside `target`, from which the name is made.
    pub(super) fn begin(target: &Path) -> Result<Partial, CopyError> {
        remove_dead(target);
        let folder = folder_of(target);
        let failed = |error| failed_at(target)(cannot_open(error));
        for _ in 0..CREATE_ATTEMPTS {
            let mut prefix = target.file_name().unwrap_or_default().to_owned();
            prefix.push(".");
            let mut builder = tempfile::Builder::new();
            let file =
                builder.prefix(&prefix).suffix(PARTIAL).rand_bytes(RANDOM_CHARS).tempfile_in(folder).map_err(failed)?;
            if let Some((user, group)) = owner_for(target) {
                fchown(&file, Some(user), Some(group)).map_err(failed)?;
            }
            if file.as_file().try_lock().is_ok() && has_that_name(file.as_file(), file.path()) {
                let _logs = RemoveLogs(file.path().to_owned());
                return Ok(Partial { file, _logs });
            }
        }
        Err(failed_at(target)(OpenError::new("another program removes the files that are made beside it")))
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Audits the copy. If it is damaged, so is the file that it was copied from.
    pub(super) fn check(&self, copied: &Path, progress: Progress<'_>) -> Result<AuditReport, CopyError> {
        let damaged = |what: String| CopyError::Damaged(copied.to_owned(), what);
        let report = audit::audit(self.path(), None, progress);
        let report = report.map_err(|error| match error.name {
            ErrorName::StorageFull => failed_at(copied)(OpenError::no_space(&error.detail)),
            _ if error.is_disk_failure() => failed_at(copied)(OpenError::from(error)),
            _ => damaged(error.cause.unwrap_or(error.detail)),
        })?;
        match report.findings.first() {
            None => Ok(report),
            Some(first) => Err(damaged(format!("{}: {}", first.check, first.sentence))),
        }
    }

    /// Steps 4 to 8.
    fn finish(
        self,
        copied: &Path,
        target: &Path,
        replace: bool,
        progress: Progress<'_>,
    ) -> Result<AuditReport, CopyError> {
        let report = self.check(copied, progress)?;
        self.name(target, replace)?;
        Ok(report)
    }

    /// Steps 5 to 8. A file that had the name is removed, with its log.
    fn name(self, target: &Path, replace: bool) -> Result<(), CopyError> {
        let failed = failed_at(target);
        self.file.as_file().sync_all().map_err(&failed)?;
        let named = if replace {
            let _possession = possess_temporarily(target).map_err(failed_at(target))?;
            if target.exists() && refuse_unreadable_beside_log(target).is_err() {
                let why = "its log (-wal) lies beside it and may hold the last copy of what was answered; move both away first";
                return Err(CopyError::BadTarget(target.to_owned(), why));
            }
            empty_log(target)?;
            remove_logs(target).map_err(&failed)?;
            self.file.persist(target)
        } else {
            refuse_beside_log(target)?;
            self.file.persist_noclobber(target)
        };
        match named.map_err(|error| error.error) {
            Ok(_) => sync_folder_of(target).map_err(failed),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(CopyError::TargetExists(target.to_owned())),
            Err(error) => Err(failed(error)),
        }
    }

    /// Steps 5 to 8, in the place of a file that the caller possesses. That file is kept under another name, with its
    /// log; returns that name, or the log's if the file was deleted.
    pub(super) fn replace(self, db: &Path) -> Result<Option<PathBuf>, CopyError> {
        let failed = failed_at(db);
        self.file.as_file().sync_all().map_err(&failed)?;
        empty_log(db)?;
        let now = Clock::Machine.wall_ms();
        let (kept, replacing) = (beside(db, &format!("replaced-{now}")), beside(db, &format!("replacing-{now}")));
        let aside = LogsAside::put(db, &kept).map_err(&failed)?;
        self.file.persist(&replacing).map_err(|error| failed(error.error))?;
        let remove_new = |_: &io::Error| drop(fs::remove_file(&replacing));
        let swapped = swap(&replacing, db, &kept).inspect_err(remove_new).map_err(&failed)?;
        let log = aside.stay(); // the file under `replacing` is the old one now, if any
        let kept = match swapped {
            Swapped::WithNothing => log, // the last copy of what was answered, if the file was deleted
            Swapped::AndKept => Some(kept),
            Swapped::InOneStep => Some(fs::rename(&replacing, &kept).map_or(replacing, |()| kept)),
        };
        sync_folder_of(db).map_err(failed)?;
        Ok(kept)
    }
}

fn refuse_beside_log(target: &Path) -> Result<(), CopyError> {
    match LOGS.map(|ending| with_ending(target, ending)).into_iter().find(|log| log.exists()) {
        Some(log) => Err(CopyError::TargetExists(log)),
        None => Ok(()),
    }
}

/// The longest wait for a reader.
const READER_WAIT: Duration = Duration::from_secs(1);

/// Moves a database's log into it: then the log is not needed any more. The log of a file that cannot be read stays.
fn empty_log(db: &Path) -> Result<(), CopyError> {
    if !db.exists() || refuse_unreadable_beside_log(db).is_err() {
        return Ok(());
    }
    match is_read(db) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let why = "another program is reading it, and part of it is in its log; end that program first";
            Err(failed_at(db)(OpenError::new(why)))
        }
        // It is kept or removed as it is.
        Err(error) if error.is_damage() || error.is_not_a_database() => Ok(()),
        Err(error) => Err(failed_at(db)(error)),
    }
}

/// True if a reader keeps the log from being moved.
fn is_read(db: &Path) -> Result<bool, OpenError> {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(READER_WAIT)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?; // plays back what a crash left
    Ok(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?)
}

/// Logs that have been moved beside another name. Moved back on drop, unless they stay.
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

    /// Leaves them there. Returns the new path of the log, if it holds anything.
    fn stay(mut self) -> Option<PathBuf> {
        let moved = std::mem::take(&mut self.moved);
        let mut to = moved.into_iter().map(|(_, to)| to);
        to.find(|to| {
            to.as_os_str().as_bytes().ends_with(LOGS[0].as_bytes()) && to.metadata().is_ok_and(|log| log.len() > 0)
        })
    }
}

impl Drop for LogsAside {
    fn drop(&mut self) {
        for (from, to) in &self.moved {
            let _ = fs::rename(to, from); // nothing can be done about a way back that fails
        }
    }
}

/// True if the file system has no such way of renaming.
fn cannot(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// The way in which a file got the name of another.
enum Swapped {
    /// There was no other.
    WithNothing,
    /// They have exchanged names.
    InOneStep,
    /// The other has its new name already.
    AndKept,
}

/// Gives `new` the name, and the file that has it another name. On failure all is as it was.
fn swap(new: &Path, db: &Path, kept: &Path) -> io::Result<Swapped> {
    match renameat_with(CWD, new, CWD, db, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(Swapped::InOneStep),
        Err(Errno::NOENT) => fs::rename(new, db).map(|()| Swapped::WithNothing),
        // A file system that cannot exchange: the old file has two names for a moment or, where it cannot have two, none.
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

fn remove_logs(file: &Path) -> io::Result<()> {
    LOGS.iter().try_for_each(|ending| fs::remove_file(with_ending(file, ending)).or_else(if_there))
}

/// Removes the partial files of dead processes.
fn remove_dead(target: &Path) {
    let Ok(files) = fs::read_dir(folder_of(target)) else { return };
    for file in files.flatten() {
        let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
        if is_file
            && is_partial_of(target, file.file_name().as_bytes())
            && let Ok(locked) = File::open(file.path())
            && locked.try_lock().is_ok()
        {
            let _ = remove_logs(&file.path()).and_then(|()| fs::remove_file(file.path())); // tried again next time
        }
    }
}

/// True for `TARGET.XXXXXXXX.partial`, and for the `TARGET.partial` of earlier versions.
fn is_partial_of(target: &Path, name: &[u8]) -> bool {
    let rest = name.strip_prefix(target.file_name().unwrap_or_default().as_bytes());
    let Some(middle) = rest.and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes())) else { return false };
    let random = middle.len().checked_sub(RANDOM_CHARS).map(|start| &middle[start..]);
    middle.is_empty() || middle[0] == b'.' && random.is_some_and(|chars| chars.iter().all(u8::is_ascii_alphanumeric))
}

fn if_there(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Puts the names in the folder of `file` on disk.
pub(crate) fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    with_ending(file, &format!(".{ending}"))
}
