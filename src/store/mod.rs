//! The store: one SQLite file, one writer, a few readers.
//!
//! Only the writer commits, and it answers only after the commit is on disk. Reads take a read-only connection of
//! their own and never touch the writer. The store knows nothing of HTTP.

pub(crate) mod audit;
mod backlog;
mod checkpoint;
mod connection;
mod disk;
mod engine;
mod execute;
mod expiry;
mod faults;
pub(crate) mod file;
pub(crate) mod idempotency;
mod journal_start;
mod options;
mod plain;
pub(crate) mod possession;
pub(crate) mod reading;
mod recent;
mod reply;
mod request;
mod retention;
pub(crate) mod schema;
#[cfg(feature = "postgres")]
pub(crate) mod server;
pub(crate) mod stats;
pub(crate) mod test_control;
#[cfg(test)]
mod tests;
mod waiters;
mod wall_jump;
mod writer;
mod writer_handle;

pub use options::{OpenError, OpenMode, Options, WaitLimits};
pub use reading::Reading;
pub use reply::Outcome;
pub(crate) use reply::{Alive, CommitHook};
pub use request::{Envelope, LOCAL};
pub(crate) use waiters::{QueuePlace, WatchPermit};

use crate::clock::Clock;
use crate::command::{Command, NameBatch, TypedCommand};
use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId};
use crate::journal;
use crate::ledger::entry;
use crate::ledger::query::{self, Filter};
use crate::lock::{Lock, clock::LeaseClock};
use crate::tx::{Engine, Now, ReadTx, prepare_read};
use audit::{AuditReport, Since};
use connection::{Readers, connect, prepare_writer, readers};
pub(crate) use disk::is_beside_database;
use disk::{Space, create_private};
use file::copy;
use file::transfer::Exporter;
use possession::{Possession, possess_unserved};
use reading::refuse_unreadable_beside_log;
use recent::{FollowedPage, RecentEntries};
use reply::Respond;
use rusqlite::{Connection, OpenFlags};
#[cfg(feature = "postgres")]
use server::{Lead, ServerAddress};
use stats::Stats;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};
use waiters::{LockNotifier, Watched};
use writer_handle::Writer;

/// The end of a wait for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryWait {
    /// There is one.
    Found,
    /// The deadline has come.
    TimedOut,
    /// The store stops, or the client has disconnected.
    Over,
}

/// Time between two looks of a client that follows entries.
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// Time between two looks of a watch at its client's connection and at the end of the lease.
const WATCH_LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks for a line of the journal.
const LINE_LOOKS_EVERY: Duration = Duration::from_millis(50);

/// An open file. Dropping it stops the writer after what was accepted is committed.
pub struct Store {
    path: PathBuf,
    clock: Clock,
    lease: LeaseClock,
    readers: Readers,
    writer: Writer,
    stats: Arc<Stats>,
    notifier: Arc<LockNotifier>,
    recent: Arc<RecentEntries>,
    /// The most requests that wait for locks or watch them.
    waiting_max: usize,
    /// As in [`Options`].
    min_free: Option<u64>,
    /// The last field, so that it ends after the connections are closed.
    possession: Arc<Possession>,
}

impl Store {
    /// Takes possession of the file and opens it, creating it (readable by its owner alone) if it is not there.
    pub fn open(path: &Path, options: &Options) -> Result<Store, OpenError> {
        Store::open_possessed(possess_unserved(path)?, options)
    }

    /// Opens a file that this process possesses, as [`Store::open`] does.
    pub(crate) fn open_possessed(possession: Possession, options: &Options) -> Result<Store, OpenError> {
        let possession = Arc::new(possession);
        let path = possession.db().to_owned();
        refuse_unreadable_beside_log(&path)?;
        if !path.exists() {
            create_private(&path, &path)?;
            possession.lock_inode()?;
        }
        let mut conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if conn.is_readonly(rusqlite::MAIN_DB)? {
            return Err(OpenError::new("it may not be written"));
        }
        if schema::check(&conn)? != 0 && schema::is_for_tests(&conn)? != options.for_tests {
            return Err(if options.for_tests { OpenError::not_for_tests() } else { OpenError::for_tests_only() });
        }
        if let Some(pages) = options.max_pages {
            conn.pragma_update(None, "max_page_count", pages)?;
        }
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(OpenError::new(format!("SQLite keeps its journal as {mode} here, and cashbox needs wal")));
        }
        if options.for_tests {
            schema::prepare_for_tests(&mut conn, &options.clock, &options.randomness.hex::<8>())?;
        }
        schema::prepare(&mut conn, &options.clock, |version| copy::keep_version(&path, version))?;
        prepare_writer(&conn)?;
        Store::start(Engine::File(conn), possession, options, || match options.mode {
            OpenMode::OneCall => Ok(Readers::own(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)),
            OpenMode::Commands | OpenMode::Server => {
                Ok(Readers::Pool(readers(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?))
            }
        })
    }

    /// Becomes the writer of a ledger in PostgreSQL, and makes its tables in an empty database. Returns whether it did.
    #[cfg(feature = "postgres")]
    pub(crate) fn open_on_server(address: &ServerAddress, options: &Options) -> Result<(Store, bool), OpenError> {
        if options.for_tests {
            return Err(OpenError::new("--test makes a file of its own, and takes no database"));
        }
        let Lead { session, is_new } = Lead::take(address, &options.clock)?;
        let possession = Arc::new(Possession::absent(Path::new(address.name())));
        let readers = || Ok(Readers::Server(server::sessions(address)?));
        Ok((Store::start(Engine::Server(Box::new(session)), possession, options, readers)?, is_new))
    }

    /// Starts the writer on that engine, and then opens the connections for reading.
    fn start(
        engine: Engine,
        possession: Arc<Possession>,
        options: &Options,
        readers: impl FnOnce() -> Result<Readers, OpenError>,
    ) -> Result<Store, OpenError> {
        let stats = Arc::new(Stats::default());
        let lease = LeaseClock::load(&engine.view(), &options.clock)?;
        stats::set(&stats.journal_lines, journal::head(&engine.view())?.seq as u64);
        let (notifier, recent) = (Arc::default(), Arc::default());
        let writer =
            Writer::start(engine, &possession, options, lease.clone(), Arc::clone(&stats), &notifier, &recent)?;
        Ok(Store {
            path: possession.db().to_owned(),
            clock: options.clock.clone(),
            lease,
            readers: readers()?,
            writer,
            stats,
            notifier,
            recent,
            waiting_max: options.wait_limits.total,
            min_free: options.min_free,
            possession,
        })
    }

    /// Opens the file for requests that change nothing. Every command is refused.
    pub(crate) fn open_for_reading(path: &Path, reading: &Reading) -> Result<Store, OpenError> {
        let clock = Clock::Machine;
        let conn = reading.connect()?;
        let lease = LeaseClock::load(&ReadTx::new(&conn), &clock)?;
        let (stats, options) = (Arc::new(Stats::default()), Options::default());
        Ok(Store {
            path: path.to_owned(),
            clock,
            lease,
            readers: reading.readers(),
            writer: Writer::absent(Arc::clone(&stats)),
            stats,
            notifier: Arc::default(),
            recent: Arc::default(),
            waiting_max: options.wait_limits.total,
            min_free: options.min_free,
            possession: Arc::new(Possession::absent(path)),
        })
    }

    /// Carries a command out. Returns when it is on disk or refused, or when its wait for a lock has ended.
    pub fn submit<C: TypedCommand>(&self, envelope: Envelope, command: C) -> Outcome<C::Receipt> {
        self.writer.submit(envelope, command.into()).typed()
    }

    /// Carries a command out, as [`Store::submit`] does.
    pub(crate) fn submit_untyped(&self, envelope: Envelope, command: Command) -> Outcome {
        self.writer.submit(envelope, command)
    }

    /// Carries a command out and gives the outcome to `respond`, from another thread or at once.
    pub(crate) fn submit_later(&self, envelope: Envelope, command: Command, respond: Respond) {
        self.writer.submit_later(envelope, command, respond);
    }

    /// Carries commands out in order, each for itself; those that wait for a lock, and dry runs, after those behind them. The
    /// writer may spread them over several commits.
    pub fn submit_all<C: TypedCommand>(&self, commands: Vec<(Envelope, C)>) -> Vec<Outcome<C::Receipt>> {
        self.writer.submit_all(untyped(commands)).into_iter().map(Outcome::typed).collect()
    }

    /// Carries the items of a batch with a key out, each for itself, if `first` reserves that key; with the first of them,
    /// in one commit. The error is that of `first`: then no item is carried out.
    pub fn submit_batch<C: TypedCommand>(
        &self,
        first: (Envelope, NameBatch),
        items: Vec<(Envelope, C)>,
    ) -> Result<Vec<Outcome<C::Receipt>>, Error> {
        let (envelope, name) = first;
        let outcomes = self.writer.submit_batch((envelope, name.into()), untyped(items))?;
        Ok(outcomes.into_iter().map(Outcome::typed).collect())
    }

    /// Reads from one consistent view of the file. Must not be kept while anything is sent to a client.
    pub fn read<T>(&self, read: impl FnOnce(&ReadTx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        #[cfg(feature = "postgres")]
        if let Readers::Server(sessions) = &self.readers {
            return server::read(sessions, read);
        }
        let conn = self.readers.get()?;
        let view = View::begin(&conn)?;
        read(&ReadTx::new(view.conn))
    }

    /// The same for a question of a single statement, which is a consistent view by itself.
    pub(crate) fn read_by_one_statement<T>(
        &self,
        read: impl FnOnce(&ReadTx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        #[cfg(feature = "postgres")]
        if let Readers::Server(sessions) = &self.readers {
            return server::read(sessions, read);
        }
        read(&ReadTx::new(&*self.readers.get()?))
    }

    /// True if the ledger is in a database that cannot be reached now.
    pub(crate) fn has_lost_database(&self) -> bool {
        #[cfg(feature = "postgres")]
        if let Readers::Server(sessions) = &self.readers {
            return server::read(sessions, |_| Ok(())).is_err();
        }
        false
    }

    /// The size of the file without its log, in bytes; 0 if it cannot be seen.
    pub(crate) fn db_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Logs that the file has tables, indexes or triggers which are not the program's: an audit will find them.
    pub(crate) fn log_schema(&self) {
        let looked = self.readers.get().and_then(|conn| audit::look_at_schema(&conn));
        match looked {
            Ok((findings, notes)) => {
                findings.iter().for_each(|found| crate::log::warn("an audit will report this", &found.sentence));
                notes.iter().for_each(|note| crate::log::info("the file is replicated", note));
            }
            Err(error) => crate::log::warn("the schema cannot be looked at", &error),
        }
    }

    /// An audited copy of one moment of the file: a database without a name, removed when it is closed.
    pub fn backup(&self) -> Result<File, Error> {
        #[cfg(feature = "postgres")]
        if let Readers::Server(_) = &self.readers {
            return Err(Error::invalid(server::NO_BACKUP));
        }
        self.check_room_for_a_copy()?;
        copy::nameless(&self.path).map_err(Error::from)
    }

    /// One moment of the ledger, to be written out as records.
    pub fn export(&self) -> Result<Exporter, Error> {
        #[cfg(feature = "postgres")]
        if let Readers::Server(sessions) = &self.readers {
            let (file, folder) = server::copy(sessions)?;
            return Exporter::of_copy(&file, folder).map_err(Error::from);
        }
        self.check_room_for_a_copy()?;
        Exporter::of(&self.path).map_err(Error::from)
    }

    /// Audits the ledger as it is now.
    pub(crate) fn audit(&self, since: Option<&Since>) -> Result<AuditReport, Error> {
        #[cfg(feature = "postgres")]
        if let Readers::Server(sessions) = &self.readers {
            let (file, _folder) = server::copy(sessions)?;
            return audit::audit(&file, since, &mut |_, _| {});
        }
        audit::audit(&self.path, since, &mut |_, _| {})
    }

    /// The state of the file as the line that an audit would print.
    pub(crate) fn audit_line(&self) -> Result<String, Error> {
        #[cfg(feature = "postgres")]
        if let Readers::Server(sessions) = &self.readers {
            let (file, _folder) = server::copy(sessions)?;
            return Ok(audit::line_of(&connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?)?.to_string());
        }
        let conn = self.readers.get()?;
        let view = View::begin(&conn)?;
        Ok(audit::line_of(view.conn)?.to_string())
    }

    fn check_room_for_a_copy(&self) -> Result<(), Error> {
        let bytes = self.path.metadata().map_err(Error::internal)?.len() + self.stats.wal_bytes.load(Relaxed);
        Space::new(&self.path, self.min_free).check_room_for(bytes)
    }

    /// The requests that wait for that lock, the first first.
    pub(crate) fn places(&self, id: &LockId) -> Vec<QueuePlace> {
        self.notifier.places(id)
    }

    /// The number of requests that wait for that lock.
    pub fn queue(&self, id: &LockId) -> usize {
        self.notifier.queue(id)
    }

    /// Time for which the first in the queue of that lock has waited, in milliseconds.
    pub fn oldest_waited_ms(&self, id: &LockId) -> Option<i64> {
        self.notifier.oldest(id).map(|since| self.lease_ms() - since)
    }

    /// The same for the oldest of all waiting requests.
    pub(crate) fn oldest_wait_ms(&self) -> Option<i64> {
        self.notifier.oldest_of_all().map(|since| self.lease_ms() - since)
    }

    /// Returns when the lease of that fence has ended, after `wait_ms`, or when the client has disconnected.
    pub fn watch(&self, id: &LockId, fence: Fence, wait_ms: i64, alive: &Alive) -> Result<(), Error> {
        let too_many = || Error::new(ErrorName::Busy, "too many requests wait for locks; try again shortly");
        let deadline = self.lease_ms() + wait_ms;
        let mut permit = None;
        loop {
            if self.notifier.is_closed() {
                return Err(Error::new(ErrorName::Busy, "shutting down"));
            }
            let seen = self.notifier.changes();
            let lock = self.read(|tx| crate::lock::find(tx, id))?;
            let is_same = |lock: &Lock| lock.fence == fence && !lock.is_released();
            let still = lock.is_some_and(|lock| is_same(&lock) && self.lease_ms() < lock.stale_from());
            let left = deadline - self.lease_ms();
            if !still || left <= 0 || alive.as_ref().is_some_and(|alive| !alive()) {
                return Ok(());
            }
            if permit.is_none() {
                permit = Some(self.notifier.permit(id).ok_or_else(too_many)?);
                if self.has_too_many_waiting() {
                    return Err(too_many());
                }
            }
            self.notifier.sleep(seen, WATCH_LOOKS_EVERY.min(Duration::from_millis(left as u64)));
        }
    }

    /// A permit to wait for entries, which keeps a connection as waiting for a lock does. `most` requests of one caller
    /// may wait.
    pub(crate) fn permit_to_wait(&self, by: &str, most: usize) -> Result<WatchPermit, Error> {
        let too_many = || Error::new(ErrorName::Busy, "too many requests wait for entries; try again shortly");
        let permit = self.notifier.permit_of(Watched::Entries(by.to_owned()), most).ok_or_else(too_many)?;
        if self.has_too_many_waiting() {
            return Err(too_many());
        }
        Ok(permit)
    }

    /// A permit for a stream of entries, which counts as the same. `most` are open at a time, `most_of_one` to one caller.
    pub(crate) fn permit_to_stream(&self, by: &str, most_of_one: usize, most: usize) -> Result<WatchPermit, Error> {
        let too_many = || Error::new(ErrorName::Busy, "too many event streams are open; try again shortly");
        let permit = self.notifier.permit_of(Watched::EntryStream(by.to_owned()), most_of_one).ok_or_else(too_many)?;
        if self.notifier.entry_streams() > most || self.has_too_many_waiting() {
            return Err(too_many());
        }
        Ok(permit)
    }

    fn has_too_many_waiting(&self) -> bool {
        self.notifier.watching() + self.stats.parked.load(Relaxed) as usize > self.waiting_max
    }

    /// The number of streams of entries that are open.
    pub(crate) fn entry_streams(&self) -> usize {
        self.notifier.entry_streams()
    }

    /// The entries behind the number `after` that pass an ascending filter, at most `limit` of them, for a client that
    /// follows: from memory, if they are there.
    pub(crate) fn entries_behind(&self, filter: &Filter, after: i64, limit: usize) -> Result<FollowedPage, Error> {
        let newest = self.notifier.newest_entry();
        if newest > after {
            let all = Filter { ascending: true, ..Filter::default() };
            let read = |end, count| self.read(|tx| Ok(query::entries(tx, &all, Some(end), count)?.rows));
            if let Some(page) = self.recent.behind((after, newest), Instant::now(), filter, limit, read)? {
                return Ok(page);
            }
        }
        self.read(|tx| FollowedPage::read(tx, filter, after, limit))
    }

    /// Waits for an entry with a number above `behind`, at least until [`LOOKS_EVERY`] after the last look: many commits
    /// are one look, and their writer wakes no follower that looks soon by itself.
    pub(crate) fn wait_for_entry(
        &self,
        behind: i64,
        looked: Option<Instant>,
        deadline: Instant,
        alive: &Alive,
    ) -> EntryWait {
        let next_look = looked.map_or_else(Instant::now, |looked| looked + LOOKS_EVERY).min(deadline);
        sleep(next_look.saturating_duration_since(Instant::now()));
        loop {
            if self.notifier.is_closed() || alive.as_ref().is_some_and(|alive| !alive()) {
                return EntryWait::Over;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return EntryWait::TimedOut;
            }
            if self.notifier.sleep_until_entry(behind, WATCH_LOOKS_EVERY.min(left)) {
                return EntryWait::Found;
            }
        }
    }

    /// Waits for a line of the journal with a number above `behind`.
    pub(crate) fn wait_for_line(&self, behind: i64, deadline: Instant, alive: &Alive) -> EntryWait {
        loop {
            if self.notifier.is_closed() || alive.as_ref().is_some_and(|alive| !alive()) {
                return EntryWait::Over;
            }
            if self.stats.journal_lines.load(Relaxed) as i64 > behind {
                return EntryWait::Found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return EntryWait::TimedOut;
            }
            std::thread::sleep(LINE_LOOKS_EVERY.min(left));
        }
    }

    /// The time by which holds are judged: the wall clock as an entry's `at` would be now.
    pub(crate) fn now(&self, tx: &ReadTx<'_>) -> Result<Now, Error> {
        let newest = entry::chain_head(tx)?.at;
        Ok(Now { wall_ms: self.clock.wall_ms().max(newest), lease_ms: self.lease_ms() })
    }

    /// Lease time now, in milliseconds.
    pub fn lease_ms(&self) -> i64 {
        self.lease.now_ms()
    }

    /// The source of time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The file, symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The possession of the file by this process.
    pub(crate) fn possession(&self) -> &Possession {
        &self.possession
    }

    /// Counters and gauges.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Makes the writer look at the time again: a manual clock was moved.
    pub fn look_at_time(&self) {
        self.writer.look_at_time();
    }

    /// Answers `busy` to requests that wait for locks and have no connected client.
    pub fn drop_disconnected(&self) {
        self.writer.drop_disconnected();
    }

    /// Answers `busy` to all requests that wait for a lock or watch one, now and from now on.
    pub fn refuse_waiting(&self) {
        self.notifier.close();
        self.writer.refuse_waiting();
    }

    /// Commits what was accepted and checkpoints. Nothing is written any more, and the file is still possessed.
    pub(crate) fn stop_writing(&self) {
        self.writer.stop();
    }

    /// Commits what was accepted, checkpoints, closes the file for writing and gives it up.
    pub fn close(&self) {
        self.writer.stop();
        self.possession.give_up();
    }
}

fn untyped<C: TypedCommand>(commands: Vec<(Envelope, C)>) -> Vec<(Envelope, Command)> {
    commands.into_iter().map(|(envelope, command)| (envelope, command.into())).collect()
}

/// A read transaction: one consistent view of the file, until it is dropped. Its two statements are prepared once.
struct View<'conn> {
    conn: &'conn Connection,
}

impl View<'_> {
    fn begin(conn: &Connection) -> rusqlite::Result<View<'_>> {
        prepare_read(conn, "BEGIN")?.execute([])?;
        Ok(View { conn })
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let ended = prepare_read(self.conn, "ROLLBACK").and_then(|mut end| end.execute([]));
        if let Err(error) = ended {
            crate::log::error("a view of the file did not end", &error);
        }
    }
}
