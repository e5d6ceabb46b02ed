//! Control of the time and the contents of a store for tests: its manual clock is moved from one due moment to the next, and
//! whole states of the file are kept in memory and brought back. Done by the writer's thread, between two batches.

use super::connection::{connect, prepare_writer};
use super::disk::folder_of;
use super::expiry::Expiry;
use super::file::transfer::{ImportError, ImportOptions, Source, import};
use super::options::OpenError;
use super::possession::FileWatch;
use super::reply::shutting_down;
use super::request::Deliveries;
use super::wall_jump::WallJump;
use super::writer::WriterState;
use super::{Store, schema, stats};
use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use crate::journal;
use crate::ledger::{entry, hold, report};
use crate::lock;
use crate::secret::Randomness;
use crate::tx::Statements;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::io::Cursor;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

/// A move of a manual clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockMove {
    /// Wall time and lease time go on by that much.
    Advance(i64),
    /// Wall time is set; lease time goes on by the same step if it is forward.
    SetWall(i64),
}

/// The wall times that a manual clock is moved to: the years 1970 to 9998.
const WALL_MS: RangeInclusive<i64> = 0..=253_370_764_799_999;
/// The last lease time: forward and back again and again, wall time takes lease time that far.
const LEASE_MS_MAX: i64 = 1_000_000_000_000_000;

/// Contents that are brought back do not wait for the disk: the next commit of a command does, for all before it.
const UNSYNCED: &str = "NORMAL";

/// The commits that fail one after the other before the clock goes on: the disk may be full.
const FAILURES_MAX: u32 = 3;

/// A state of a store: its file, both times of its clock, and the number of draws of its randomness.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pages: Arc<Mutex<Connection>>,
    wall_ms: i64,
    boot_ms: i64,
    drawn: u64,
    /// The number of its entries.
    pub entries: i64,
}

impl Snapshot {
    /// The wall time.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.wall_ms
    }
}

/// The state of a store that has no contents yet. Its file is made when it is first needed: a start does not wait for it.
pub(crate) struct EmptyState {
    wall_ms: i64,
    boot_ms: i64,
    drawn: u64,
    incarnation: String,
    made: Mutex<Option<Snapshot>>,
}

impl EmptyState {
    /// With the present times of that clock and draws of that randomness.
    pub(crate) fn of(clock: &Clock, randomness: &Randomness, incarnation: String) -> EmptyState {
        let (wall_ms, boot_ms, drawn) = (clock.wall_ms(), clock.boot_ms(), randomness.drawn());
        EmptyState { wall_ms, boot_ms, drawn, incarnation, made: Mutex::default() }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner); // it is set whole
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let mut pages = in_memory()?;
        schema::prepare_for_tests(&mut pages, &Clock::manual_at(self.wall_ms), &self.incarnation)?;
        let EmptyState { wall_ms, boot_ms, drawn, .. } = *self;
        let snapshot = Snapshot { pages: Arc::new(Mutex::new(pages)), wall_ms, boot_ms, drawn, entries: 0 };
        Ok(made.insert(snapshot).clone())
    }
}

/// The answer to a request that came to contents which are not there any more.
pub(crate) fn contents_replaced() -> Error {
    let detail = "the contents of this server were replaced while the request waited, so nothing was done; ask again";
    Error::new(ErrorName::Busy, detail)
}

fn in_memory() -> Result<Connection, OpenError> {
    let conn = Connection::open_in_memory()?;
    conn.pragma_update(None, "cache_size", 16)?; // its pages are in memory already
    Ok(conn)
}

/// Copies all pages in one step.
fn copy_pages(from: &Connection, to: &mut Connection) -> Result<(), OpenError> {
    match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(OpenError::new("another program reads or writes the file")),
    }
}

fn unreadable(error: ImportError) -> Error {
    match error {
        ImportError::At(place, what) => Error::invalid(format!("{place}: {what}")),
        ImportError::Together(what) | ImportError::Unsound(what) => Error::invalid(what),
        ImportError::Unread(_, why) => Error::internal(why),
        ImportError::File(error) => error.into(),
    }
}

impl Store {
    /// Has the writer's thread do that, after all that came before.
    fn on_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut WriterState, &Statements<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = sync_channel(1);
        self.writer.run_task(Box::new(move |writer, statements| _ = done.send(work(writer, statements))));
        result.recv().unwrap_or_else(|_| Err(shutting_down())) // the writer has stopped
    }

    /// Moves the clock from one due moment to the next, in order, and returns when all is done that fell due.
    pub(crate) fn move_clock(&self, by: ClockMove) -> Result<(), Error> {
        self.on_writer(move |writer, statements| writer.move_clock(statements, by))?;
        self.notifier.notify();
        Ok(())
    }

    /// The present state.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        self.on_writer(|writer, statements| {
            let mut pages = in_memory()?;
            let conn = statements.engine.file().ok_or_else(|| Error::internal("only a file has snapshots"))?;
            copy_pages(conn, &mut pages)?;
            Ok(Snapshot {
                pages: Arc::new(Mutex::new(pages)),
                wall_ms: writer.clock.wall_ms(),
                boot_ms: writer.clock.boot_ms(),
                drawn: writer.randomness.drawn(),
                entries: writer.head.id,
            })
        })
    }

    /// Brings a state back that this process has made. Requests that wait for a lock are answered `busy`.
    pub(crate) fn bring_back(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let (snapshot, path) = (snapshot.clone(), self.path.clone());
        let brought = self.on_writer(move |writer, statements| {
            let pages = snapshot.pages.lock().unwrap_or_else(PoisonError::into_inner); // it is only read
            writer.replace_contents(statements, &pages, &path)?;
            writer.clock.set_ms(snapshot.wall_ms, snapshot.boot_ms);
            writer.randomness.go_on_from(snapshot.drawn);
            writer.begin_again(statements)
        });
        self.begin_again(brought)
    }

    /// True before the first entry, wallet or setting.
    pub(crate) fn is_empty(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM entry) OR EXISTS (SELECT 1 FROM wallet WHERE id NOT LIKE '@%')";
        self.read(|tx| Ok(!tx.one(sql, &[], |row| row.get(0))?.unwrap_or(false)))
    }

    /// True before any change at all.
    pub(crate) fn is_as_made(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM journal WHERE seq > 1) OR EXISTS (SELECT 1 FROM lock_event)";
        let has_changes = self.read(|tx| Ok(tx.one(sql, &[], |row| row.get(0))?.unwrap_or(false)))?;
        Ok(!has_changes && self.is_empty()?)
    }

    /// Takes an export as its first contents. The time goes on.
    pub(crate) fn take_export(&self, text: Vec<u8>) -> Result<(), Error> {
        let folder = tempfile::tempdir_in(folder_of(&self.path)).map_err(Error::internal)?;
        let (file, path) = (folder.path().join("seed.db"), self.path.clone());
        let source = Source::open("the body", Box::new(Cursor::new(text))).map_err(unreadable)?;
        let (wall_ms, lease_ms) = (self.clock.wall_ms(), self.lease_ms());
        let options = ImportOptions { wall_ms, lease_ms, ..ImportOptions::default() };
        import(&file, vec![source], options, &mut |_, _| {}).map_err(unreadable)?;
        let of = file.clone();
        let taken = self.on_writer(move |writer, statements| {
            let incarnation = lock::clock::incarnation(&statements.engine.view())?;
            let pages = connect(&of, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            schema::mark_for_tests(&pages, &incarnation)?;
            writer.replace_contents(statements, &pages, &path)?;
            writer.begin_again(statements)
        });
        drop(folder);
        self.begin_again(taken)
    }

    fn begin_again(&self, replaced: Result<(), Error>) -> Result<(), Error> {
        replaced?;
        self.notifier.notify();
        Ok(())
    }
}

impl WriterState {
    fn move_clock(&mut self, statements: &Statements<'_>, by: ClockMove) -> Result<(), Error> {
        let step = match by {
            ClockMove::Advance(ms) => ms,
            ClockMove::SetWall(wall_ms) => wall_ms.saturating_sub(self.clock.wall_ms()),
        };
        if !WALL_MS.contains(&self.clock.wall_ms().saturating_add(step)) {
            return Err(Error::invalid("the clock goes from 1970 to the end of 9998"));
        }
        if self.lease.now_ms().saturating_add(step) > LEASE_MS_MAX {
            return Err(Error::invalid("lease time was moved too far, which only goes forward: POST /test/reset"));
        }
        self.check_writable()?;
        self.do_what_is_due(statements);
        if step < 0 {
            self.clock.step_wall_ms(step);
        } else {
            let end = self.lease.now_ms() + step;
            while let Some(next) = self.next_due(statements)?.filter(|next| *next < end) {
                self.clock.advance_ms(next - self.lease.now_ms());
                self.expiry.look_now();
                self.do_what_is_due(statements);
            }
            self.clock.advance_ms(end - self.lease.now_ms());
        }
        self.expiry.look_now();
        self.do_what_is_due(statements);
        Ok(())
    }

    /// The next lease time at which something is due. (What is only looked at now and then, since a machine's wall clock may
    /// step, is not due: this clock is moved here alone.)
    fn next_due(&self, statements: &Statements<'_>) -> Result<Option<i64>, Error> {
        let tx = statements.engine.view();
        let (now, wall_ms) = (self.lease.now_ms(), self.clock.wall_ms());
        let over = hold::next_until(&tx, wall_ms.max(self.head.at))?.map(|until| now + (until - wall_ms));
        let stale = if self.expiry.is_blocked() { lock::next_stale(&tx, now)? } else { None };
        let moments = [self.executor.waiters.next_timer(), over, self.expiry.due_ms(), stale];
        Ok(moments.into_iter().flatten().filter(|moment| *moment > now).min())
    }

    fn do_what_is_due(&mut self, statements: &Statements<'_>) {
        let (now, mut failures) = (self.lease.now_ms(), 0);
        loop {
            self.commit_batch(statements);
            self.replier.flush();
            let is_failed = self.disk_is_full || self.check_writable().is_err();
            failures = if is_failed { failures + 1 } else { 0 };
            if failures == FAILURES_MAX {
                return; // it stays due
            }
            self.sweep.hurry(now);
            let timers =
                [self.executor.waiters.next_timer().unwrap_or(i64::MAX), self.expiry.next_ms(), self.sweep.next_ms()];
            if timers.into_iter().all(|at| at > now) {
                return;
            }
        }
    }

    /// Replaces all pages of the file, in one transaction of another connection: this one and the readers see its end.
    fn replace_contents(&mut self, statements: &Statements<'_>, pages: &Connection, path: &Path) -> Result<(), Error> {
        self.dismiss_waiters(&contents_replaced());
        self.executor.refuses_waiting = false;
        self.replier.flush();
        let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        prepare_writer(&conn)?;
        conn.pragma_update(None, "synchronous", UNSYNCED)?;
        copy_pages(pages, &mut conn)?;
        drop(conn);
        self.files.iter_mut().for_each(FileWatch::let_it_shrink);
        self.expiry = Expiry::default();
        self.sweep.begin_again();
        self.executor.deliveries = Deliveries::default();
        let tx = statements.engine.view();
        self.head = entry::chain_head(&tx)?;
        self.totals = report::newest(&tx)?;
        stats::set(&self.stats.journal_lines, journal::head(&tx)?.seq as u64);
        Ok(())
    }

    /// Goes on with other contents.
    fn begin_again(&mut self, statements: &Statements<'_>) -> Result<(), Error> {
        self.recent.forget();
        self.notifier.begin_again(self.head.id); // before any commit
        self.wall_jump = WallJump::load(&statements.engine.view(), &self.clock, true)?;
        let lease = self.lease.clone();
        let set =
            |level| statements.engine.file().map_or(Ok(()), |conn| conn.pragma_update(None, "synchronous", level));
        set(UNSYNCED)?;
        let stored = self.write_beside(statements, |tx| lease.store(tx));
        set("FULL")?;
        stored?;
        stats::add(&self.stats.commits, 1); // so that it comes from the log into the file when there is time
        self.do_what_is_due(statements);
        Ok(())
    }
}
