//! One batch: what is in hand goes through one transaction, each command in a savepoint of its own, and is answered
//! only after the commit. A refusal, an error or a panic costs its own command.

use super::Options;
use super::attempt::{guarded, own_failure};
use super::idempotency;
use super::parking::LOOK_AGAIN_MS;
use super::space::Space;
use super::stats::{self, Stats};
use super::sweep::Sweep;
use super::told::Told;
use super::waiting::{Board, Waiting, Wish};
use super::work::{Client, Outcome, Work, gone, send, stopped};
use crate::clock::Clock;
use crate::command::{Command, Receipt};
use crate::error::{Error, Name};
use crate::id::LockId;
use crate::ledger::entry;
use crate::lock;
use crate::lock::clock::LeaseClock;
use crate::tx::{Head, Now, ReadTx, WriteTx};
use rusqlite::{Connection, ErrorCode};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The most commands one commit takes: more would only lengthen the wait of the first.
pub const BATCH_MAX: usize = 256;
/// How long the writer is idle before it checkpoints, and rests when nothing can be written.
const IDLE: Duration = Duration::from_millis(200);

/// Everything the writer has in hand but its connection.
pub struct Desk {
    clock: Clock,
    lease: LeaseClock,
    head: Head,
    backlog: VecDeque<Work>,
    pub(super) waiting: Waiting,
    board: Arc<Board>,
    /// Whether the batch in hand changes locks.
    pub(super) locks_changed: bool,
    told: Told,
    space: Space,
    pub(super) sweep: Sweep,
    pub(super) refuses_waiting: bool,
    /// When those were last dropped from the queues whose clients have gone.
    pub(super) dropped_gone_ms: i64,
    /// Whether the last batch was lost for want of space that nobody had foreseen.
    disk_is_full: bool,
    /// Set when a commit's outcome is unknown: nothing is done any more.
    doubt: Option<Error>,
    pub(super) stats: Arc<Stats>,
}

/// Answers that are not sent yet: they hold only if the batch is committed.
pub(super) type Answers = Vec<(Vec<Client>, Outcome)>;

/// A transaction that ended under our hands: no command of the batch was done.
pub(super) struct Lost(pub(super) Error);

impl<E: Into<Error>> From<E> for Lost {
    fn from(error: E) -> Lost {
        Lost(error.into())
    }
}

enum Considered {
    Joins(Wish),
    Tried(Tried),
}

/// What came of trying a command: its answer and the locks that others may try for now, or the lock somebody has.
pub(super) enum Tried {
    Answered(Outcome, Vec<LockId>),
    Held(LockId),
}

impl Desk {
    /// An empty desk, and what a process does first with the file's locks.
    pub fn open(
        conn: &Connection,
        path: &Path,
        options: &Options,
        lease: LeaseClock,
        stats: &Arc<Stats>,
        board: &Arc<Board>,
    ) -> Result<Desk, Error> {
        let mut desk = Desk {
            clock: options.clock.clone(),
            lease,
            head: entry::head(&ReadTx::new(conn))?,
            backlog: VecDeque::new(),
            waiting: Waiting::new(options.room, Arc::clone(board)),
            board: Arc::clone(board),
            locks_changed: false,
            told: Told::default(),
            space: Space::new(path, options.min_free),
            sweep: Sweep::new(options.keep_keys_days),
            refuses_waiting: false,
            dropped_gone_ms: i64::MIN / 2,
            disk_is_full: false,
            doubt: None,
            stats: Arc::clone(stats),
        };
        if options.only_looks {
            desk.sweep.never();
        } else {
            desk.begin_with_locks(conn, options.restart_leases)?;
        }
        Ok(desk)
    }

    fn begin_with_locks(&self, conn: &Connection, restart_leases: bool) -> Result<(), Error> {
        if !self.lease.is_new() && !restart_leases {
            return Ok(()); // whoever only reads changes nothing
        }
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let tx = WriteTx::new(conn, self.now(), self.head);
        self.lease.store(&tx)?;
        if restart_leases {
            lock::clock::restart_leases(&tx)?;
        }
        Ok(conn.execute_batch("COMMIT")?)
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.clock.wall_ms(), lease_ms: self.lease.now_ms() }
    }

    /// How long there is nothing to do; none for as long as nobody comes.
    pub fn patience(&self, checkpoint_is_due: bool) -> Option<Duration> {
        let until = |moment: i64| Duration::from_millis((moment - self.lease.now_ms()).max(0) as u64);
        let moments = [self.waiting.next_moment(), Some(self.sweep.next_ms())];
        let timer = moments.into_iter().flatten().min().map(until);
        let refused = self.stats.storage_full.load(Relaxed) || self.stats.file_is_gone.load(Relaxed);
        let nothing_can_be_written = self.doubt.is_some() || refused;
        let timer = if nothing_can_be_written { timer.map(|timer| timer.max(IDLE)) } else { timer };
        let idle = checkpoint_is_due.then_some(IDLE);
        timer.into_iter().chain(idle).min()
    }

    /// Takes in what has come.
    pub fn take_in(&mut self, work: Vec<Work>) {
        self.stats.queued.fetch_sub(work.len() as u64, Relaxed);
        self.backlog.extend(work);
    }

    /// How many commands are in hand.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Says that there is something to do, for whoever asks how long it takes.
    pub fn take_up_work(&self) {
        stats::set(&self.stats.busy_since_ms, self.clock.boot_ms().max(1) as u64);
    }

    /// Says that it is done.
    pub fn lay_down_work(&self) {
        stats::set(&self.stats.busy_since_ms, 0);
    }

    /// Whether a commit's outcome is unknown.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Says `busy` to everyone who waits, and to whoever would have to.
    pub fn dismiss_waiting(&mut self) {
        self.refuses_waiting = true;
        let parked = self.waiting.drain();
        stats::set(&self.stats.parked, 0);
        for parked in parked {
            send(parked.work.clients, Outcome::from(stopped()));
        }
    }

    /// One transaction for what is in hand: all of it committed and then answered, or none of it.
    pub fn batch(&mut self, conn: &Connection) {
        let now = self.lease.now_ms();
        let something_is_due =
            self.waiting.next_moment().is_some_and(|moment| moment <= now) || self.sweep.next_ms() <= now;
        if self.backlog.is_empty() && !something_is_due {
            return;
        }
        let space = self.space.check(self.clock.boot_ms());
        stats::set(&self.stats.free_bytes, self.space.free);
        self.stats.file_is_gone.store(self.space.file_is_gone, Relaxed);
        let too_little = matches!(&space, Err(error) if error.name == Name::StorageFull);
        self.stats.storage_full.store(too_little || self.disk_is_full, Relaxed);
        if let Some(error) = self.doubt.clone().or(space.err()) {
            for work in std::mem::take(&mut self.backlog) {
                send(work.clients, Outcome::from(error.clone()));
            }
            return self.expire(now);
        }
        let mut answers = Vec::with_capacity(self.backlog.len().min(BATCH_MAX));
        let outcome = self.transact(conn, &mut answers);
        let errors = answers.iter().filter_map(|(_, outcome)| outcome.result.as_ref().err());
        let mut errors = outcome.as_ref().err().map(|Lost(error)| error).into_iter().chain(errors);
        let full = errors.find(|error| error.name == Name::StorageFull).cloned();
        self.note_space(full.as_ref());
        let lost = outcome.err().map(|Lost(error)| {
            if !conn.is_autocommit() {
                let _ = conn.execute_batch("ROLLBACK"); // nothing can be done about a rollback that fails
            }
            if error.name != Name::StorageFull {
                crate::log::error("the batch is lost", &error);
            }
            self.waiting.look_again_at(now + LOOK_AGAIN_MS);
            self.expire(now);
            error
        });
        stats::set(&self.stats.parked, self.waiting.len() as u64); // whoever is answered finds it so
        for (clients, outcome) in answers {
            let outcome = lost.clone().map_or(outcome, Outcome::from);
            let granted =
                if let Ok(Receipt::Granted(grant)) = &outcome.result { Some(grant.token.fence) } else { None };
            let clients = send(clients, outcome);
            if let Some(fence) = granted {
                self.told.tell(fence, clients);
            }
        }
        if std::mem::take(&mut self.locks_changed) {
            self.board.ring();
        }
    }

    /// Says that there is no space left, and that there is again: each once, and not with every batch.
    fn note_space(&mut self, full: Option<&Error>) {
        let was_full = std::mem::replace(&mut self.disk_is_full, full.is_some());
        match full {
            Some(error) if !was_full => crate::log::error("nothing can be written", error),
            None if was_full => crate::log::info("writing goes on", &"there is space again"),
            _ => {}
        }
        self.stats.storage_full.store(full.is_some(), Relaxed);
    }

    fn transact(&mut self, conn: &Connection, answers: &mut Answers) -> Result<(), Lost> {
        if let Err(error) = begin(conn) {
            let none_begun: Vec<Work> = self.backlog.drain(..).collect();
            answers.extend(none_begun.into_iter().map(|work| (work.clients, Outcome::from(stopped()))));
            return Err(Lost(error));
        }
        let tx = WriteTx::new(conn, self.now(), self.head); // begun first, then the clock
        let behind = self.head.at - tx.now().wall_ms;
        self.stats.clock_behind_ms.store(behind.max(0), Relaxed);
        for id in self.waiting.stale_by(tx.now().lease_ms) {
            self.wake(conn, &tx, vec![id], answers)?; // those who wait come before those who come now
        }
        let commands_before = self.stats.commands.load(Relaxed);
        for _ in 0..BATCH_MAX {
            let Some(work) = self.backlog.pop_front() else { break };
            self.take_up(conn, &tx, work, answers)?;
        }
        self.answer_expired(&tx, answers)?;
        if let Err(error) = guarded(|| self.sweep.step(&tx)) {
            own_failure(conn, error)?;
            self.sweep.rest(tx.now().lease_ms);
        }
        let started = Instant::now();
        self.commit(conn)?;
        self.head = tx.head();
        stats::add(&self.stats.commits, 1);
        self.stats.commit_us.add(started.elapsed().as_micros() as u64);
        self.stats.batch.add(self.stats.commands.load(Relaxed) - commands_before);
        Ok(())
    }

    /// A full disk is a known no. After any other error of a commit nobody can know what is on disk.
    fn commit(&mut self, conn: &Connection) -> Result<(), Lost> {
        let Err(error) = conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) else { return Ok(()) };
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            return Err(Lost(error.into()));
        }
        let detail = "the commit failed and nobody knows what is on disk; ask again with the same idempotency key";
        let unknown = Error::new(Name::OutcomeUnknown, detail).caused_by(&error);
        self.doubt = Some(unknown.clone());
        self.stats.outcome_unknown.store(true, Relaxed);
        Err(Lost(unknown))
    }

    /// A command that has just come in. Whatever becomes of it, its clients are told.
    fn take_up(&mut self, conn: &Connection, tx: &WriteTx<'_>, work: Work, answers: &mut Answers) -> Result<(), Lost> {
        stats::add(&self.stats.commands, 1);
        match self.consider(conn, tx, &work) {
            Ok(Considered::Joins(first)) => {
                if let Err(clients) = self.waiting.join(&first, work.clients) {
                    let busy = Error::new(Name::Busy, "too many have asked for the same and wait; try again shortly");
                    answers.push((clients, Outcome::from(busy)));
                }
                Ok(())
            }
            Ok(Considered::Tried(Tried::Answered(outcome, freed))) => {
                answers.push((work.clients, outcome));
                self.wake(conn, tx, freed, answers)
            }
            Ok(Considered::Tried(Tried::Held(id))) => self.park(tx, work, &id, answers),
            Err(Lost(error)) => {
                answers.push((work.clients, Outcome::from(error.clone())));
                Err(Lost(error))
            }
        }
    }

    /// A repeat is answered as before, or joins the first if that still waits; anything else is tried.
    fn consider(&mut self, conn: &Connection, tx: &WriteTx<'_>, work: &Work) -> Result<Considered, Lost> {
        let answered = |outcome| Ok(Considered::Tried(Tried::Answered(outcome, Vec::new())));
        let known =
            work.intention.as_ref().map(|intention| guarded(|| idempotency::look_up(tx, intention, &work.command)));
        match known {
            Some(Ok(Some(result))) => {
                stats::add(&self.stats.replays, 1);
                let replayed = !matches!(&result, Err(error) if error.name == Name::IdempotencyKeyReused);
                return answered(Outcome { result, replayed });
            }
            Some(Err(error)) => return answered(own_failure(conn, error)?),
            Some(Ok(None)) | None => {}
        }
        match &work.command {
            // Somebody knows of the lease: it stays.
            Command::TakeBack(token) if !self.told.is_known_to_nobody(token.fence) => {
                return answered(Outcome { result: Ok(Receipt::Released), replayed: false });
            }
            // Who has gone in the meantime would hold what nobody can give back.
            Command::Acquire(_) if !work.has_a_client() => return answered(Outcome::from(gone())),
            _ => {}
        }
        match self.first_of(work) {
            Some(Ok(wish)) => Ok(Considered::Joins(wish)),
            Some(Err(reused)) => answered(Outcome::from(reused)),
            None => self.attempt(conn, tx, work).map(Considered::Tried),
        }
    }

    /// The wish of the waiting request that this one repeats; an error if it is another under the same name.
    fn first_of(&mut self, work: &Work) -> Option<Result<Wish, Error>> {
        if self.waiting.len() == 0 {
            return None; // the usual case, at no cost
        }
        let wish = work.wish()?;
        let first = self.waiting.with_wish(&wish)?;
        match &work.intention {
            Some(_) if first.work.intention != work.intention => Some(Err(idempotency::reused())),
            None if work.envelope.wait_ms == 0 => None,
            _ => Some(Ok(wish)),
        }
    }
}

fn begin(conn: &Connection) -> Result<(), Error> {
    let begun = conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
    match begun {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            Err(Error::new(Name::Busy, "another program is writing to the file").caused_by(error))
        }
        Err(error) => Err(error.into()),
    }
}
