//! Backups: a copy that is one view of the file while it is written to, checked and on disk before it has its name; and
//! putting one back.

use super::audit::Report;
use super::connection::{connect, open_read_only};
use super::open_error::OpenError;
use super::partial::{Failed, Partial, Progress, beside, failed_at};
use super::request::LOCAL;
use super::schema;
use crate::clock::Clock;
use crate::lock::DURATION_MS;
use crate::{log, secret};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Pages copied at once (4 MiB). They are synced before the next ones are copied: a great deal to sync at the end would
/// hold up the commits of whoever serves the file.
const PAGES_AT_ONCE: i32 = 1_024;

/// How far fences jump when a file goes back to what it was: they go on above all that were given since.
pub(super) const FENCES_SKIPPED: i64 = 1 << 32;

/// Copies the file, beside whoever has it, to `target`; says what is in the copy.
pub fn back_up(db: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<Report, Failed> {
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
) -> Result<(Report, Option<PathBuf>), Failed> {
    let partial = Partial::begin_unless_there(db, replace)?;
    copy(backup, &partial.path, progress)?;
    bring_up(&partial.path).map_err(failed_at(backup))?;
    let report = partial.check(backup, progress)?;
    begin_another_history(&partial.path, db).map_err(failed_at(&partial.path))?;
    Ok((report, partial.replace(db)?))
}

/// A backup that comes from elsewhere: `fill` writes it, and it is audited before it has its name; says what is in it.
pub fn receive<E: From<Failed>>(
    target: &Path,
    replace: bool,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    progress: Progress<'_>,
) -> Result<Report, E> {
    let partial = Partial::begin_unless_there(target, replace)?;
    fill(&mut &partial.file)?;
    Ok(partial.finish(target, target, replace, progress)?)
}

/// An audited copy that has no name: it is gone when whoever has it lets it go.
pub fn nameless(db: &Path) -> Result<File, Failed> {
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

fn keep_beside(db: &Path, ending: &str) -> Result<PathBuf, Failed> {
    let usual = beside(db, ending);
    let kept = if usual.exists() { beside(db, &format!("{ending}-{}", Clock::Machine.wall_ms())) } else { usual };
    let partial = Partial::begin(&kept)?;
    copy(db, &partial.path, &mut |_, _| {})?;
    partial.name(&kept, false)?;
    Ok(kept)
}

/// Copies all pages as one view of the file sees them. The copy is a single file, without a log beside it.
pub(super) fn copy(from: &Path, to: &Path, progress: Progress<'_>) -> Result<(), Failed> {
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
