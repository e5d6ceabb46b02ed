//! The one writer: it commits what is in its queue as one batch, on a thread of its own but for a store of one call.
//!
//! A batch forms while the previous one syncs; there is no timer. Money verbs are carried out one after the other
//! (`plain`). Where that would need an undo, and for all other commands, each has a savepoint of its own (`execute`), so a
//! refusal, an error or a panic costs that command alone. All are answered after the one commit.

use super::backlog::{Backlog, Share};
use super::checkpoint::Checkpoint;
use super::disk::Space;
use super::engine::CommitError;
use super::execute::{Batch, BatchLost, Executor, failed, guarded};
use super::expiry::Expiry;
use super::options::{OpenMode, Options};
use super::possession::{FileFault, FileWatch, Possession};
use super::recent::RecentEntries;
use super::reply::{CommitHook, Outcome, Replier, hooks_of, send, shutting_down};
use super::request::{Request, disconnected};
use super::retention::Sweep;
use super::stats::{self, Stats};
use super::waiters::{LockNotifier, Waiters};
use super::wall_jump::WallJump;
use crate::clock::Clock;
use crate::command::Receipt;
use crate::error::{Error, ErrorName};
use crate::ledger::{entry, report};
use crate::lock::{self, clock::LeaseClock};
use crate::secret::Randomness;
use crate::tx::{ChainHead, Engine, Now, RunningTotals, Statements, WriteTx};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Idle time before a checkpoint, and the pause when nothing can be written.
const IDLE: Duration = Duration::from_millis(200);
/// The longest time between two looks at the files of the database.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Before a commit the files are looked at unless that was done this short time ago: after each commit they are too.
const LOOKED_JUST_NOW: Duration = Duration::from_millis(5);

/// A task for the writer's thread, between two batches.
pub(super) type WriterTask = Box<dyn FnOnce(&mut WriterState, &Statements<'_>) + Send>;

/// A message to the writer's thread.
pub(super) enum Message {
    Requests(Vec<Request>),
    Task(WriterTask),
    LookAtTime,
    DropDisconnected,
    RefuseWaiting,
    Stop,
}

/// The writer's thread's own state, besides its connection.
pub(super) struct WriterState {
    pub(super) clock: Clock,
    pub(super) lease: LeaseClock,
    pub(super) wall_jump: WallJump,
    /// The newest committed entry.
    pub(super) head: ChainHead,
    /// The committed totals of the report.
    pub(super) totals: RunningTotals,
    backlog: Backlog,
    pub(super) executor: Executor,
    pub(super) notifier: Arc<LockNotifier>,
    pub(super) recent: Arc<RecentEntries>,
    pub(super) replier: Arc<Replier>,
    /// The disk and the files of a file; a database in a server has its own keeper.
    pub(super) space: Option<Space>,
    pub(super) files: Option<FileWatch>,
    pub(super) looked_at: Instant,
    /// True if commits that a fault endangers are in the file now.
    pub(super) log_is_saved: bool,
    pub(super) sweep: Sweep,
    pub(super) expiry: Expiry,
    /// True if the file is served: then lease time is stored at the stop.
    is_server: bool,
    /// True if no command is carried out without a savepoint.
    always_savepoints: bool,
    /// True if the file is for tests: requests may have hooks.
    pub(super) for_tests: bool,
    pub(super) randomness: Randomness,
    /// True if the last batch failed because the disk is full.
    pub(super) disk_is_full: bool,
    /// Set once the outcome of a commit is unknown: nothing is written any more.
    pub(super) unknown_outcome: Option<Error>,
    pub(super) stats: Arc<Stats>,
}

impl WriterState {
    pub(super) fn open(
        engine: &Engine,
        possession: &Arc<Possession>,
        options: &Options,
        lease: LeaseClock,
        stats: &Arc<Stats>,
        (notifier, recent): (&Arc<LockNotifier>, &Arc<RecentEntries>),
        replier: &Arc<Replier>,
    ) -> Result<WriterState, Error> {
        let state = WriterState {
            clock: options.clock.clone(),
            lease,
            wall_jump: WallJump::load(&engine.view(), &options.clock, options.accept_clock)?,
            head: entry::chain_head(&engine.view())?,
            totals: report::newest(&engine.view())?,
            backlog: Backlog::default(),
            executor: Executor::new(Waiters::new(options.wait_limits, Arc::clone(notifier)), Arc::clone(stats)),
            notifier: Arc::clone(notifier),
            recent: Arc::clone(recent),
            replier: Arc::clone(replier),
            space: engine.file().map(|_| Space::new(possession.db(), options.min_free)),
            files: engine.file().map(|_| FileWatch::start(Arc::clone(possession))),
            looked_at: Instant::now(),
            log_is_saved: false,
            sweep: Sweep::new(options.keep_keys_days),
            expiry: Expiry::default(),
            is_server: options.mode == OpenMode::Server,
            always_savepoints: options.always_savepoints,
            for_tests: options.for_tests,
            randomness: options.randomness.clone(),
            disk_is_full: false,
            unknown_outcome: None,
            stats: Arc::clone(stats),
        };
        if state.lease.is_new() || options.mode == OpenMode::Server {
            engine.begin()?;
            let statements = Statements::new(engine, Randomness::System);
            let tx = WriteTx::new(&statements, state.now(), state.head, state.totals);
            state.lease.store(&tx)?;
            if options.mode == OpenMode::Server {
                lock::clock::restart_leases(&tx)?;
            }
            engine.commit()?;
        }
        Ok(state)
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.clock.wall_ms(), lease_ms: self.lease.now_ms() }
    }

    pub(super) fn run(&mut self, engine: &Engine, mut checkpoint: Option<Checkpoint>, messages: &Receiver<Message>) {
        let statements = Statements::new(engine, self.randomness.clone());
        let mut stopping = false;
        while !(stopping && self.backlog.is_empty()) {
            let timeout = self.timeout(checkpoint.as_ref().is_some_and(Checkpoint::is_due));
            let message = messages.recv_timeout(timeout.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
            let idle = matches!(message, Err(RecvTimeoutError::Timeout));
            let mut just_now = LOOKED_JUST_NOW;
            let (mut next, mut task) = (message.ok(), None);
            while let Some(message) = next {
                match message {
                    Message::Requests(requests) => {
                        self.stats.queued.fetch_sub(requests.len() as u64, Relaxed);
                        self.backlog.push(requests);
                    }
                    Message::Task(given) => task = Some(given),
                    Message::LookAtTime => just_now = Duration::ZERO,
                    Message::DropDisconnected => self.drop_disconnected(),
                    Message::RefuseWaiting => self.dismiss_waiters(&shutting_down()),
                    Message::Stop => stopping = true,
                }
                next = if self.backlog.is_enough() || task.is_some() { None } else { messages.try_recv().ok() };
            }
            stats::set(&self.stats.busy_since_ms, self.clock.boot_ms().max(1) as u64);
            self.look_at_files(engine, just_now);
            self.commit_batch(&statements);
            if let Some(task) = task {
                self.run_after_backlog(&statements, task);
            }
            self.replier.flush();
            if self.unknown_outcome.is_none()
                && !self.has_fault(FileFault::stops_writing)
                && let (Some(checkpoint), Some(conn)) = (&mut checkpoint, engine.file())
            {
                if self.disk_is_full {
                    checkpoint.make_room(conn);
                }
                checkpoint.after_commit(conn, idle && self.backlog.is_empty());
            }
            stats::set(&self.stats.busy_since_ms, 0);
        }
        self.finish(&statements, checkpoint);
    }

    /// The end of a writer: those that wait are refused, and the log is moved into the file.
    pub(super) fn finish(&mut self, statements: &Statements<'_>, checkpoint: Option<Checkpoint>) {
        self.dismiss_waiters(&shutting_down());
        self.replier.flush();
        self.store_lease_time(statements);
        if self.unknown_outcome.is_none()
            && !self.has_fault(FileFault::stops_writing)
            && let (Some(checkpoint), Some(conn)) = (checkpoint, statements.engine.file())
        {
            checkpoint.last(conn);
        }
    }

    /// Carries requests out at once, for a writer without a thread. Those that wait for a lock are refused: no other request
    /// can free it meanwhile.
    pub(super) fn carry_out(&mut self, statements: &Statements<'_>, requests: Vec<Request>) {
        self.backlog.push(requests);
        self.look_at_files(statements.engine, LOOKED_JUST_NOW);
        while !self.backlog.is_empty() {
            self.commit_batch(statements);
        }
        self.dismiss_waiters(&shutting_down());
        self.replier.flush();
    }

    fn look_at_files(&mut self, engine: &Engine, just_now: Duration) {
        if self.looked_at.elapsed() >= just_now {
            self.look_again(engine);
        }
    }

    fn run_after_backlog(&mut self, statements: &Statements<'_>, task: WriterTask) {
        while !self.backlog.is_empty() {
            self.commit_batch(statements);
        }
        task(self, statements);
    }

    /// Stores the lease time of a server that stops: what holds have waited for counts when the machine is off.
    fn store_lease_time(&mut self, statements: &Statements<'_>) {
        if !self.is_server || self.check_writable().is_err() {
            return;
        }
        if let Err(error) = self.write_beside(statements, lock::clock::touch) {
            crate::log::error("the lease time was not stored at the stop", &error);
        }
    }

    /// Writes in a transaction of its own, for no command.
    pub(super) fn write_beside(
        &self,
        statements: &Statements<'_>,
        write: impl FnOnce(&WriteTx<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        statements.engine.begin()?;
        let written = write(&WriteTx::new(statements, self.now(), self.head, self.totals))
            .and_then(|()| Ok(statements.engine.commit()?));
        if written.is_err() {
            let _ = statements.engine.roll_back(); // nothing can be done about a rollback that fails
        }
        written
    }

    /// The longest wait for a message; None: without end.
    fn timeout(&self, checkpoint_is_due: bool) -> Option<Duration> {
        if !self.backlog.is_empty() {
            return Some(Duration::ZERO);
        }
        let timers = [self.executor.waiters.next_timer(), Some(self.sweep.next_ms()), Some(self.expiry.next_ms())];
        let left_ms = timers.into_iter().flatten().min().map(|at| (at - self.lease.now_ms()).max(0) as u64);
        let refused = self.stats.storage_full.load(Relaxed)
            || self.stats.clock_jump().is_some()
            || self.has_fault(FileFault::stops_writing);
        let at_least = if self.unknown_outcome.is_some() || refused { IDLE } else { Duration::ZERO };
        let timer = left_ms.map(|ms| Duration::from_millis(ms).max(at_least));
        timer.into_iter().chain(checkpoint_is_due.then_some(IDLE)).min()
    }

    /// Answers that to every waiter, and `busy` from now on to every request that would have to wait.
    pub(super) fn dismiss_waiters(&mut self, answer: &Error) {
        self.executor.refuses_waiting = true;
        let waiters = self.executor.waiters.drain();
        stats::set(&self.stats.parked, 0);
        waiters.into_iter().for_each(|waiter| _ = send(waiter.request.replies, answer.clone().into()));
    }

    fn drop_disconnected(&mut self) {
        let gone = self.executor.waiters.take_disconnected();
        stats::set(&self.stats.parked, self.executor.waiters.len() as u64);
        gone.into_iter().for_each(|waiter| _ = send(waiter.request.replies, disconnected().into()));
    }

    /// One transaction: all of it committed and then answered, or none of it.
    pub(super) fn commit_batch(&mut self, statements: &Statements<'_>) {
        let engine = statements.engine;
        let now = self.lease.now_ms();
        let timer_is_due = self.executor.waiters.next_timer().is_some_and(|at| at <= now)
            || self.sweep.next_ms() <= now
            || self.expiry.next_ms() <= now;
        if self.backlog.is_empty() && !timer_is_due {
            return;
        }
        let low_space = match self.check_writable() {
            Ok(()) => None,
            Err(error) if error.name == ErrorName::StorageFull && self.backlog.keep_urgent(&error) => Some(error),
            Err(error) => {
                self.expire(now);
                return self.refuse_backlog(&error);
            }
        };
        if let Err(error) = engine.begin() {
            if engine.is_deposed() {
                self.write_no_more(&error);
            }
            self.note_space(Some(&error).filter(|error| error.name == ErrorName::StorageFull));
            self.give_up_batch(engine, &error, now);
            return self.refuse_backlog(&error);
        }
        // The clock is read after the transaction has begun, and may have jumped since it was looked at.
        let begun_at = self.now();
        if let Err(error) = self.wall_jump.check(begun_at.wall_ms) {
            let _ = engine.roll_back(); // nothing can be done about a rollback that fails
            self.expire(now);
            return self.refuse_backlog(&error);
        }
        let tx = WriteTx::new(statements, begun_at, self.head, self.totals);
        let mut batch = Batch::new(engine, tx);
        self.executor.low_space = low_space.clone();
        let before = self.head;
        let lost = self.fill_and_commit(statements, &mut batch).err().map(|BatchLost(error)| error);
        let errors = batch.answers.iter().filter_map(|(_, outcome)| outcome.result.as_ref().err());
        let full = lost.iter().chain(errors).find(|error| error.name == ErrorName::StorageFull).cloned();
        if low_space.is_none() || lost.is_some() {
            self.note_space(full.as_ref()); // otherwise it is the floor, which was noted
        }
        let reservations = std::mem::take(&mut self.executor.reservations);
        if let Some(error) = &lost {
            reservations.iter().for_each(|reservation| reservation.fail(error));
            self.give_up_batch(engine, error, now);
        }
        stats::set(&self.stats.parked, self.executor.waiters.len() as u64); // before any answer
        if lost.is_none() && self.head != before && self.recent.is_followed(before.id) {
            let receipts = batch.answers.iter().filter_map(|(_, outcome)| outcome.result.as_ref().ok());
            self.recent.add(&before, &self.head, receipts.flat_map(Receipt::entries).cloned().collect());
        }
        for (replies, outcome) in batch.answers {
            let outcome = lost.clone().map_or(outcome, Outcome::from);
            let fence = match &outcome.result {
                Ok(Receipt::Granted(grant)) => Some(grant.token.fence),
                _ => None,
            };
            let answered = send(replies, outcome);
            fence.into_iter().for_each(|fence| self.executor.deliveries.sent(fence, answered));
        }
        if std::mem::take(&mut self.executor.locks_changed) {
            self.expiry.note_locks_changed();
            self.notifier.notify();
        }
        self.notifier.notify_of_entry(self.head.id);
    }

    fn give_up_batch(&mut self, engine: &Engine, error: &Error, now: i64) {
        if !engine.is_over() {
            let _ = engine.roll_back(); // nothing can be done about a rollback that fails
        }
        if error.name != ErrorName::StorageFull {
            crate::log::error("the batch is lost", error);
        }
        self.executor.retry(now);
        self.expire(now);
    }

    fn refuse_backlog(&mut self, error: &Error) {
        self.backlog.drain().for_each(|request| _ = send(request.replies, error.clone().into()));
    }

    fn expire(&mut self, now: i64) {
        self.executor.expire(now);
        self.sweep.put_off(now);
        self.expiry.put_off(now);
    }

    fn fill_and_commit<'s>(&mut self, statements: &'s Statements<'_>, batch: &mut Batch<'s>) -> Result<(), BatchLost> {
        self.executor.begin_batch();
        let commands_before = self.stats.commands.load(Relaxed);
        let now = batch.tx.now();
        self.stats.clock_behind_ms.store((self.head.at - now.wall_ms).max(0), Relaxed);
        let has_space = self.executor.low_space.is_none();
        let stale = if has_space { self.executor.waiters.stale_by(now.lease_ms) } else { Vec::new() };
        for id in stale {
            self.executor.wake(batch, vec![id])?; // waiters before newcomers
        }
        match if batch.is_used() { None } else { self.backlog.next_large() } {
            Some(large) => self.executor.handle(batch, large)?,
            None => self.carry_out_share(statements, batch)?,
        }
        self.executor.answer_expired(batch)?;
        if has_space {
            self.keep_up(batch)?;
        } else {
            self.expire(now.lease_ms);
        }
        guarded(|| report::write(&batch.tx))?;
        let (started, hooks) = (Instant::now(), if self.for_tests { hooks_of(&batch.answers) } else { Vec::new() });
        self.commit(batch.engine, &hooks)?;
        let commit_us = started.elapsed().as_micros() as u64;
        let unit = *batch.tx.unit();
        (self.head, self.totals) = (batch.tx.chain_head(), unit.totals);
        self.expiry.note_commit(unit.due_ms, commit_us);
        let commands = self.stats.commands.load(Relaxed) - commands_before;
        self.stats.count_commit(started, commands, unit.journal.map(|line| line.seq));
        self.check_kept(batch.engine)?;
        let is_unknown = hooks.iter().fold(false, |is_unknown, hook| hook.after_commit() | is_unknown);
        if is_unknown { Err(BatchLost(unknown("a fault that was asked for"))) } else { Ok(()) }
    }

    /// Settles holds that are over, and removes old records.
    fn keep_up(&mut self, batch: &mut Batch<'_>) -> Result<(), BatchLost> {
        let now = batch.tx.now();
        if self.expiry.next_ms() <= now.lease_ms {
            self.expiry.settle(&mut self.executor, batch)?;
        }
        let upkeep = || self.wall_jump.store(&batch.tx, self.head.at).and_then(|()| self.sweep.step(&batch.tx));
        if let Err(error) = guarded(upkeep) {
            failed(batch.engine, error)?;
            self.sweep.rest(now.lease_ms);
        }
        Ok(())
    }

    /// Carries out small commands. Those that a lost batch leaves untried are tried in the next one.
    fn carry_out_share<'s>(&mut self, statements: &'s Statements<'_>, batch: &mut Batch<'s>) -> Result<(), BatchLost> {
        let mut share = Share::default();
        let mut requests: VecDeque<Request> = std::iter::from_fn(|| self.backlog.next(&mut share)).collect();
        if self.for_tests {
            self.backlog.put_back_at_hook(&mut requests);
        }
        let mut done = Ok(());
        if !self.always_savepoints && !batch.is_used() {
            done = self.run_plain(statements, batch, &mut requests);
        }
        while done.is_ok() {
            let Some(request) = requests.pop_front() else { return Ok(()) };
            done = self.executor.handle(batch, request);
        }
        self.backlog.put_back(requests);
        done
    }

    /// Carries out the first of these requests, and leaves those that need a savepoint: first those that were set aside.
    fn run_plain<'s>(
        &mut self,
        statements: &'s Statements<'_>,
        batch: &mut Batch<'s>,
        requests: &mut VecDeque<Request>,
    ) -> Result<(), BatchLost> {
        let Ok(outcomes) = self.executor.run_plain(batch, requests) else {
            if !batch.engine.is_over() {
                batch.engine.roll_back()?;
            }
            batch.engine.begin()?;
            let now = Now { wall_ms: batch.tx.now().wall_ms, ..self.now() }; // the wall time that was looked at
            batch.tx = WriteTx::new(statements, now, self.head, self.totals);
            return Ok(());
        };
        batch.set_used();
        let rest = requests.split_off(outcomes.len());
        for (request, outcome) in std::mem::take(requests).into_iter().zip(outcomes) {
            match outcome {
                Some(outcome) => self.executor.answer_plain(batch, request, outcome),
                None => requests.push_back(request),
            }
        }
        requests.extend(rest);
        Ok(())
    }

    fn commit(&mut self, engine: &Engine, hooks: &[Arc<dyn CommitHook>]) -> Result<(), BatchLost> {
        let committed = match hooks.iter().fold(false, |is_full, hook| hook.before_commit() | is_full) {
            false => engine.commit(),
            true => engine.fail_commit(),
        };
        let unknown = match committed {
            Ok(()) => return Ok(()),
            Err(CommitError::NotDone(error)) => return Err(BatchLost(error)),
            Err(CommitError::AtLimit(fault, error)) if self.is_surely_undone(engine) => {
                return Err(BatchLost(fault.error(error)));
            }
            Err(CommitError::AtLimit(_, error) | CommitError::Unknown(error)) => unknown(&error),
            #[cfg(feature = "postgres")]
            Err(CommitError::Doubtful(cause)) => unknown(cause),
        };
        self.write_no_more(&unknown);
        Err(BatchLost(unknown))
    }

    /// Answers that error to every command from now on, and has the process end.
    fn write_no_more(&mut self, error: &Error) {
        self.unknown_outcome = Some(error.clone());
        self.stats.outcome_unknown.store(true, Relaxed);
    }
}

pub(super) fn unknown(cause: impl std::fmt::Display) -> Error {
    let detail = "the commit failed and it is unknown what is on disk; ask again with the same idempotency key";
    Error::new(ErrorName::OutcomeUnknown, detail).caused_by(cause)
}
