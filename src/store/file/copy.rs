//! Backups: a copy that is one view of the file while it is written to, checked and on disk before it has its name; and
//! putting one back.
//! A database that is being made: whole, sound and on disk before it has its name, or not there at all.
//!
//! A log beside a file it does not belong to is poison: SQLite would play it into that file. So nothing gets a name beside
//! which a log lies, and nothing loses its log as long as it may be needed.

use super::companion;
use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use crate::lock::DURATION_MS;
use crate::store::audit::{self, AuditReport};
use crate::store::connection::{connect, open_read_only};
use crate::store::disk::{create_private, folder_of, has_that_name, with_ending};
use crate::store::options::OpenError;
use crate::store::request::LOCAL;
use crate::store::schema;
use crate::{log, secret};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pages copied at once (4 MiB). They are synced before the next ones are copied: a great deal to sync at the end would
/// hold up the commits of whoever serves the file.
const PAGES_AT_ONCE: i32 = 1_024;

/// How far fences jump when a file goes back to what it was: they go on above all that were given since.
pub(super) const FENCES_SKIPPED: i64 = 1 << 32;

/// Copies the file, beside whoever has it, to `target`; says what is in the copy.
pub fn back_up(db: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<AuditReport, CopyError> {
    let partial = Partial::begin_unless_there(target, replace)?;
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
) -> Result<(AuditReport, Option<PathBuf>), CopyError> {
    let partial = Partial::begin_unless_there(db, replace)?;
    copy(backup, &partial.path, progress)?;
    bring_up(&partial.path).map_err(failed_at(backup))?;
    let report = partial.check(backup, progress)?;
    begin_another_history(&partial.path, db).map_err(failed_at(&partial.path))?;
    Ok((report, partial.replace(db)?))
}

/// A backup that comes from elsewhere: `fill` writes it, and it is audited before it has its name; says what is in it.
pub fn receive<E: From<CopyError>>(
    target: &Path,
    replace: bool,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    progress: Progress<'_>,
) -> Result<AuditReport, E> {
    let partial = Partial::begin_unless_there(target, replace)?;
    fill(&mut &partial.file)?;
    Ok(partial.finish(target, target, replace, progress)?)
}

/// An audited copy that has no name: it is gone when whoever has it lets it go.
pub fn nameless(db: &Path) -> Result<File, CopyError> {
    let partial = Partial::begin_passing(db, "backup")?;
    copy(db, &partial.path, &mut |_, _| {})?;
    partial.check(db, &mut |_, _| {})?;
    File::open(&partial.path).map_err(failed_at(&partial.path))
}

/// Keeps the file as it is before its upgrade, under a name of its own beside it.
pub fn keep_version(db: &Path, version: i32) -> Result<(), OpenError> {
    let failed = |why| OpenError::new(format!("it cannot be kept as it is before its upgrade: {why}"));
    let kept = keep_beside(db, &format!("version-{version}")).map_err(failed)?;
    log::info("the file is upgraded; as it was before it is kept as", &kept.display());
    Ok(())
}

fn keep_beside(db: &Path, ending: &str) -> Result<PathBuf, CopyError> {
    let usual = beside(db, ending);
    let kept = if usual.exists() { beside(db, &format!("{ending}-{}", Clock::Machine.wall_ms())) } else { usual };
    let partial = Partial::begin(&kept)?;
    copy(db, &partial.path, &mut |_, _| {})?;
    partial.name(&kept, false)?;
    Ok(kept)
}

/// Copies all pages as one view of the file sees them. The copy is a single file, without a log beside it.
pub(super) fn copy(from: &Path, to: &Path, progress: Progress<'_>) -> Result<(), CopyError> {
    let source = open_read_only(from).map_err(|why| CopyError::Open(from.to_owned(), why))?;
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
    if schema::check(&open_read_only(copy)?)? == 0 {
        return Ok(()); // an empty file stays one
    }
    schema::prepare(&mut connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?, |_| Ok(()))
}

fn begin_another_history(copy: &Path, db: &Path) -> Result<(), OpenError> {
    let before = fence_before(db);
    let mut conn = connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let fence = fence_of(&tx)?.max(before).saturating_add(FENCES_SKIPPED);
    let sql = "UPDATE lock_seq SET incarnation = $1, fence = $2";
    tx.execute(sql, (secret::random_hex::<8>(), fence))?;
    revoke_leases(&tx)?;
    Ok(tx.commit()?)
}

fn fence_of(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT fence FROM lock_seq", [], |row| row.get(0))
}

/// The highest fence of the file that is to be replaced, if there is one and it still tells.
pub(super) fn fence_before(db: &Path) -> i64 {
    open_read_only(db).ok().and_then(|conn| fence_of(&conn).ok()).unwrap_or(0)
}

/// The leases of the history that ends here run out by themselves, and nobody can go on with one: their holders may have
/// given them back since, and others may have had the locks.
fn revoke_leases(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut leases = tx.prepare("SELECT id, fence FROM lock WHERE secret_hash IS NOT NULL ORDER BY id")?;
    let leases: Vec<(String, i64)> =
        leases.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (id, fence) in leases {
        tx.execute("UPDATE lock_seq SET fence = fence + 1", [])?;
        let revoked = "UPDATE lock SET secret_hash = NULL, fence = (SELECT fence FROM lock_seq), \
                       expire_ms = 0, grace_ms = min(expire_ms + grace_ms, ?2) WHERE id = ?1";
        tx.execute(revoked, (&id, DURATION_MS.end()))?;
        tx.execute(
            "INSERT INTO lock_event (lock_id, what, fence, previous_fence, holder, made_by, reason, lease_ms, at) \
             SELECT id, 'revoked', lock.fence, ?2, holder, ?3, 'restored from a backup', clock_ms, ?4 FROM lock, lock_seq WHERE id = ?1",
            (&id, fence, LOCAL, Clock::Machine.wall_ms()),
        )?;
    }
    Ok(())
}

/// Told of what is done and how much there is, in the unit of the work.
pub type Progress<'a> = &'a mut dyn FnMut(i64, i64);

/// Why there is no copy.
#[derive(Debug)]
pub enum CopyError {
    /// Something stands where the copy is to go.
    TargetExists(PathBuf),
    /// A copy cannot go there, and why.
    BadTarget(PathBuf, &'static str),
    /// A file does not open, or cannot be written.
    Open(PathBuf, OpenError),
    /// What would be copied is not sound: what the audit found, in a sentence.
    Damaged(PathBuf, String),
}

impl std::fmt::Display for CopyError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CopyError::TargetExists(file) => write!(out, "{} is there already", file.display()),
            CopyError::BadTarget(file, why) => write!(out, "{} is no place for it: {why}", file.display()),
            CopyError::Open(file, why) => write!(out, "cannot open {}: {why}", file.display()),
            CopyError::Damaged(file, what) => {
                write!(out, "{} is damaged, and nothing was changed: {what}", file.display())
            }
        }
    }
}

impl std::error::Error for CopyError {}

/// Of a copy that somebody asked for who has not got the file at hand.
impl From<CopyError> for Error {
    fn from(failed: CopyError) -> Error {
        match &failed {
            CopyError::Damaged(_, what) => Error::new(ErrorName::Damaged, what.as_str()),
            CopyError::Open(_, why) if why.is_full_disk() => {
                Error::new(ErrorName::StorageFull, "there is no space left for a copy")
            }
            CopyError::Open(..) | CopyError::TargetExists(_) | CopyError::BadTarget(..) => Error::internal(failed),
        }
    }
}

/// A file that is being made, under a name that says so. Removed if it comes to nothing.
pub(super) struct Partial {
    pub(super) path: PathBuf,
    /// Locked: two who make the same file would spoil each other's.
    file: File,
    named: bool,
}

/// What lies beside a database: part of it, or somebody's hold on it.
const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];
const BESIDE: [&str; 5] = ["-wal", "-shm", "-journal", "-serve", ".partial"];

impl Partial {
    /// Begins if nothing has that name, or what has it may be replaced.
    pub(super) fn begin_unless_there(target: &Path, replace: bool) -> Result<Partial, CopyError> {
        let no_place = |why| Err(CopyError::BadTarget(target.to_owned(), why));
        let name = target.as_os_str().to_string_lossy();
        if BESIDE.iter().any(|ending| name.ends_with(ending)) {
            return no_place("what is called so lies beside a database and is part of it");
        }
        match target.symlink_metadata() {
            Ok(data) if data.is_dir() => return no_place("it is a folder"),
            Ok(data) if !data.is_file() => return no_place("it is no ordinary file"),
            Ok(_) if !replace => return Err(CopyError::TargetExists(target.to_owned())),
            _ => {}
        }
        if let Some(log) = LOGS.map(|ending| with_ending(target, ending)).into_iter().find(|log| log.exists())
            && !replace
        {
            return Err(CopyError::TargetExists(log));
        }
        Partial::begin(target)
    }

    pub(super) fn begin(target: &Path) -> Result<Partial, CopyError> {
        let path = beside(target, "partial");
        loop {
            let file = create_private(&path, target).map_err(|why| CopyError::Open(path.clone(), why))?;
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
    pub(super) fn begin_passing(db: &Path, what: &str) -> Result<Partial, CopyError> {
        remove_dead(db, what);
        Partial::begin(&beside(db, &format!("{what}-{}", secret::random_hex::<4>())))
    }

    /// Whether the copy is sound. If not, neither is what it was copied from.
    pub(super) fn check(&self, copied: &Path, progress: Progress<'_>) -> Result<AuditReport, CopyError> {
        let damaged = |what: String| CopyError::Damaged(copied.to_owned(), what);
        let report = audit::audit(&self.path, None, progress);
        let report = report.map_err(|error| damaged(error.cause.unwrap_or(error.detail)))?;
        match report.findings.first() {
            None => Ok(report),
            Some(first) => Err(damaged(format!("{}: {}", first.check, first.sentence))),
        }
    }

    pub(super) fn finish(
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

    /// On disk, then its name, and that on disk too. What had the name is gone then, its log included; nobody may have it.
    pub(super) fn name(mut self, target: &Path, replace: bool) -> Result<(), CopyError> {
        let failed = failed_at(target);
        self.file.sync_all().map_err(&failed)?;
        let _ours = match replace {
            true => Some(companion::take_passing(target).map_err(failed_at(target))?),
            false => None,
        };
        if replace {
            settle(target)?;
            remove_logs(target).map_err(&failed)?;
        }
        match give_name(&self.path, target, replace) {
            Ok(()) => self.named = true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(CopyError::TargetExists(target.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        sync_folder_of(target).map_err(failed)
    }

    /// In the place of the file that is there, which gets another name, with whatever was beside it; says which. Whoever
    /// calls has the file, so that nobody else does. At every moment one of the two has the name, whole; until the old one
    /// has its other name, it has one that says that something is being replaced, and nobody ever empties what has that.
    pub(super) fn replace(mut self, db: &Path) -> Result<Option<PathBuf>, CopyError> {
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
fn settle(db: &Path) -> Result<(), CopyError> {
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

pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    with_ending(file, &format!(".{ending}"))
}

pub(super) fn failed_at<E: Into<OpenError>>(file: &Path) -> impl Fn(E) -> CopyError + '_ {
    |why| CopyError::Open(file.to_owned(), why.into())
}
