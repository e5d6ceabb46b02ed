//! The one writer: a bounded queue, one transaction for whatever has come in, one sync, and only then the answers.
//!
//! A batch forms while the previous one syncs; there is no timer. A command that must wait for a lock is parked and
//! the writer goes on. A refusal, an error or a panic costs its own command: its savepoint is rolled back.

use super::checkpoint::Checkpoint;
use super::idempotency::{self, Intention};
use super::space::Space;
use super::stats::{self, Stats};
use super::waiting::{Parked, Waiting};
use super::{OpenError, Options};
use crate::clock::Clock;
use crate::command::{self, Applied, Command, Receipt};
use crate::error::{Error, Name};
use crate::id::{IdempotencyKey, LockId, LockToken};
use crate::ledger::entry;
use crate::lock::clock::LeaseClock;
use crate::lock::{self, How};
use crate::tx::{Head, Now, ReadTx, WriteTx};
use rusqlite::{Connection, ErrorCode};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Tells whether the client that wants an answer is still there. None: nobody can leave.
pub type Alive = Option<Arc<dyn Fn() -> bool + Send + Sync>>;

/// What comes with a command: who sends it and under what.
#[derive(Clone)]
pub struct Envelope {
    /// The caller: a user, an access token's id, or `@local`.
    pub by: String,
    /// The client's name for its intention.
    pub key: Option<IdempotencyKey>,
    /// The lock tokens it presents.
    pub tokens: Vec<LockToken>,
    /// How long it may wait for a lock, in milliseconds.
    pub wait_ms: i64,
    /// Whether the client is still there.
    pub alive: Alive,
}

impl Envelope {
    /// A command of this machine's own, which names nothing and waits for nothing.
    pub fn local() -> Envelope {
        Envelope { by: LOCAL.to_owned(), key: None, tokens: Vec::new(), wait_ms: 0, alive: None }
    }
}

/// The caller behind commands on the file, the companion token and `--open`.
pub const LOCAL: &str = "@local";

/// What came of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The receipt, or why not.
    pub result: Result<Receipt, Error>,
    /// Whether this answer was given before, under the same idempotency key.
    pub replayed: bool,
}

/// A command on its way through the writer, and whoever waits for its answer.
pub struct Work {
    envelope: Envelope,
    command: Command,
    intention: Option<Intention>,
    wish: Option<[u8; 16]>,
    clients: Vec<Client>,
}

struct Client {
    reply: Sender<(usize, Outcome)>,
    index: usize,
    alive: Alive,
}

impl Work {
    fn new(envelope: Envelope, command: Command, reply: Sender<(usize, Outcome)>, index: usize) -> Work {
        let key = envelope.key.as_ref().filter(|_| !command.answers_with_a_secret());
        let intention = key.map(|key| Intention::new(&envelope.by, key, &command));
        let wish = intention.map(|intention| intention.id).or_else(|| command.lock_wish());
        let clients = vec![Client { reply, index, alive: envelope.alive.clone() }];
        Work { envelope, command, intention, wish, clients }
    }

    /// What tells a repeat while this waits: the client's name for its intention, or the secret it asks for a lock with.
    pub fn wish(&self) -> Option<[u8; 16]> {
        self.wish
    }

    /// Whether anybody still wants to know.
    pub fn has_a_client(&self) -> bool {
        self.clients.iter().any(|client| client.alive.as_ref().is_none_or(|alive| alive()))
    }
}

enum Message {
    Work(Vec<Work>),
    Poke,
    RefuseWaiting,
    Stop,
}

/// The way to the writer's thread.
pub struct Writer {
    queue: SyncSender<Message>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    stats: Arc<Stats>,
}

impl Writer {
    /// Starts the writer's thread on its connection.
    pub(super) fn start(
        conn: Connection,
        path: &Path,
        options: &Options,
        lease: LeaseClock,
        stats: Arc<Stats>,
    ) -> Result<Writer, OpenError> {
        let (queue, messages) = mpsc::sync_channel(options.queue);
        let mut desk = Desk {
            clock: options.clock.clone(),
            lease,
            head: entry::head(&ReadTx::new(&conn))?,
            backlog: VecDeque::new(),
            waiting: Waiting::new(options.room),
            space: Space::new(path, options.min_free),
            sweep: Sweep::new(options.keep_keys_days),
            refuses_waiting: false,
            dropped_gone_ms: i64::MIN / 2,
            doubt: None,
            stats: Arc::clone(&stats),
        };
        desk.open(&conn, options.restart_leases)?;
        let checkpoint = Checkpoint::start(path, Arc::clone(&stats))?;
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || run(&conn, desk, checkpoint, &messages))?;
        Ok(Writer { queue, thread: Mutex::new(Some(thread)), stats })
    }

    pub(super) fn submit(&self, envelope: Envelope, command: Command) -> Outcome {
        let mut outcomes = self.submit_all(vec![(envelope, command)]);
        outcomes.pop().unwrap_or_else(|| Outcome::from(stopped()))
    }

    pub(super) fn submit_all(&self, commands: Vec<(Envelope, Command)>) -> Vec<Outcome> {
        let count = commands.len();
        let (reply, answers) = mpsc::channel();
        let work = commands.into_iter().enumerate();
        let work =
            work.map(|(index, (envelope, command))| Work::new(envelope, command, reply.clone(), index)).collect();
        drop(reply);
        let mut outcomes = vec![Outcome::from(stopped()); count];
        stats::add(&self.stats.queued, count as u64);
        if let Err(error) = self.queue.try_send(Message::Work(work)) {
            self.stats.queued.fetch_sub(count as u64, Relaxed);
            let error = match error {
                TrySendError::Full(_) => Error::new(Name::Busy, "too many commands are waiting; try again shortly"),
                TrySendError::Disconnected(_) => stopped(),
            };
            return vec![Outcome::from(error); count];
        }
        for (index, outcome) in answers {
            outcomes[index] = outcome;
        }
        outcomes
    }

    pub(super) fn poke(&self) {
        let _ = self.queue.send(Message::Poke);
    }

    pub(super) fn refuse_waiting(&self) {
        let _ = self.queue.send(Message::RefuseWaiting);
    }

    pub(super) fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
        let thread = self.thread.lock().expect("nobody panics holding this").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Outcome {
        Outcome { result: Err(error), replayed: false }
    }
}

fn stopped() -> Error {
    Error::new(Name::Busy, "shutting down")
}

/// The most commands one commit takes: more would only lengthen the wait of the first.
const BATCH_MAX: usize = 256;
/// How soon those who wait try again after a batch that could not be written.
const LOOK_AGAIN_MS: i64 = 250;
/// How often at most those are looked for, when there is no room, whose clients have gone.
const DROP_GONE_EVERY_MS: i64 = 100;
/// How long the writer is idle before it checkpoints.
const IDLE: Duration = Duration::from_millis(200);

fn run(conn: &Connection, mut desk: Desk, mut checkpoint: Checkpoint, messages: &Receiver<Message>) {
    let mut stopping = false;
    loop {
        let patience = if desk.backlog.is_empty() { desk.patience(checkpoint.is_due()) } else { Some(Duration::ZERO) };
        let message = match patience {
            Some(patience) => messages.recv_timeout(patience),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let idle = matches!(message, Err(RecvTimeoutError::Timeout));
        let mut next = message.ok();
        while let Some(message) = next {
            stopping |= desk.take_in(message);
            next = if desk.backlog.len() < BATCH_MAX { messages.try_recv().ok() } else { None };
        }
        desk.batch(conn);
        if stopping && desk.backlog.is_empty() {
            break;
        }
        checkpoint.after_commit(conn, idle);
    }
    desk.dismiss_waiting();
    checkpoint.last(conn);
}

/// Everything the writer has in hand but its connection.
struct Desk {
    clock: Clock,
    lease: LeaseClock,
    head: Head,
    backlog: VecDeque<Work>,
    waiting: Waiting,
    space: Space,
    sweep: Sweep,
    refuses_waiting: bool,
    /// When those were last dropped from the queues whose clients have gone.
    dropped_gone_ms: i64,
    /// Set when a commit's outcome is unknown: nothing is done any more.
    doubt: Option<Error>,
    stats: Arc<Stats>,
}

/// Answers that are not sent yet: they hold only if the batch is committed.
type Answers = Vec<(Vec<Client>, Outcome)>;

/// A transaction that ended under our hands: no command of the batch was done.
struct Lost(Error);

impl<E: Into<Error>> From<E> for Lost {
    fn from(error: E) -> Lost {
        Lost(error.into())
    }
}

enum Considered {
    Joins([u8; 16]),
    Tried(Tried),
}

enum Tried {
    Answered(Outcome, Vec<LockId>),
    Held(LockId),
}

impl Desk {
    /// What a process does first with the file's locks.
    fn open(&mut self, conn: &Connection, restart_leases: bool) -> Result<(), Error> {
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
    fn patience(&self, checkpoint_is_due: bool) -> Option<Duration> {
        let until = |moment: i64| Duration::from_millis((moment - self.lease.now_ms()).max(0) as u64);
        let moments = [self.waiting.next_moment(), Some(self.sweep.next_ms)];
        let timer = moments.into_iter().flatten().min().map(until);
        let idle = checkpoint_is_due.then_some(IDLE);
        timer.into_iter().chain(idle).min()
    }

    /// Whether it was the message to stop.
    fn take_in(&mut self, message: Message) -> bool {
        match message {
            Message::Work(work) => {
                self.stats.queued.fetch_sub(work.len() as u64, Relaxed);
                self.backlog.extend(work);
            }
            Message::Poke => {}
            Message::RefuseWaiting => self.dismiss_waiting(),
            Message::Stop => {
                self.dismiss_waiting();
                return true;
            }
        }
        false
    }

    fn dismiss_waiting(&mut self) {
        self.refuses_waiting = true;
        for parked in self.waiting.drain() {
            send(parked.work.clients, Outcome::from(stopped()));
        }
        stats::set(&self.stats.parked, 0);
    }

    /// One transaction for what is in hand: all of it committed and then answered, or none of it.
    fn batch(&mut self, conn: &Connection) {
        let now = self.lease.now_ms();
        let something_is_due =
            self.waiting.next_moment().is_some_and(|moment| moment <= now) || self.sweep.next_ms <= now;
        if self.backlog.is_empty() && !something_is_due {
            return;
        }
        let space = self.space.check(self.clock.boot_ms());
        stats::set(&self.stats.free_bytes, self.space.free);
        self.stats.storage_full.store(space.is_err(), Relaxed);
        if let Some(error) = self.doubt.clone().or(space.err()) {
            for work in std::mem::take(&mut self.backlog) {
                send(work.clients, Outcome::from(error.clone()));
            }
            return self.expire(now);
        }
        let mut answers = Vec::with_capacity(self.backlog.len().min(BATCH_MAX));
        let outcome = self.transact(conn, &mut answers);
        let lost = outcome.err().map(|Lost(error)| {
            if !conn.is_autocommit() {
                let _ = conn.execute_batch("ROLLBACK"); // nothing can be done about a rollback that fails
            }
            crate::log::error("the batch is lost", &error);
            self.waiting.look_again_at(now + LOOK_AGAIN_MS);
            self.expire(now);
            error
        });
        for (clients, outcome) in answers {
            send(clients, lost.clone().map_or(outcome, Outcome::from));
        }
        stats::set(&self.stats.parked, self.waiting.len() as u64);
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
        for _ in 0..BATCH_MAX {
            let Some(work) = self.backlog.pop_front() else { break };
            self.take_up(conn, &tx, work, answers)?;
        }
        self.answer_expired(&tx, answers)?;
        self.sweep.step(&tx)?;
        let started = Instant::now();
        self.commit(conn)?;
        self.head = tx.head();
        stats::add(&self.stats.commits, 1);
        stats::add(&self.stats.commit_us, started.elapsed().as_micros() as u64);
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
                if let Some(first) = self.waiting.with_wish(&first) {
                    first.work.clients.extend(work.clients);
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
        if let Some(intention) = &work.intention {
            if let Some(result) = idempotency::look_up(tx, intention, &work.command)? {
                stats::add(&self.stats.replays, 1);
                let replayed = !matches!(&result, Err(error) if error.name == Name::IdempotencyKeyReused);
                return answered(Outcome { result, replayed });
            }
            if let Some(first) = self.waiting.with_wish(&intention.id) {
                let same = first.work.intention.is_some_and(|first| first.request == intention.request);
                return if same {
                    Ok(Considered::Joins(intention.id))
                } else {
                    answered(Outcome::from(idempotency::reused()))
                };
            }
        }
        match work.wish.filter(|wish| work.intention.is_none() && self.waiting.with_wish(wish).is_some()) {
            Some(wish) if work.envelope.wait_ms > 0 => Ok(Considered::Joins(wish)),
            _ => self.attempt(conn, tx, work).map(Considered::Tried),
        }
    }

    /// Carries a command out in a savepoint of its own, with its idempotency record.
    fn attempt(&mut self, conn: &Connection, tx: &WriteTx<'_>, work: &Work) -> Result<Tried, Lost> {
        let head = tx.head();
        tx.execute("SAVEPOINT command", [])?;
        let by = &work.envelope.by;
        let applied = catch_unwind(AssertUnwindSafe(|| command::apply(tx, &work.command, by, &work.envelope.tokens)));
        let applied = applied.unwrap_or_else(|panic| Err(Error::internal(panic_text(&*panic))));
        if conn.is_autocommit() {
            // A full disk or an I/O error can end the transaction, and every savepoint with it.
            let error = applied.err().unwrap_or_else(|| Error::internal("the transaction ended by itself"));
            return Err(Lost(error));
        }
        if !matches!(applied, Ok(Applied::Done(..))) {
            tx.execute("ROLLBACK TO command", [])?;
            tx.set_head(head);
        }
        let tried = match applied {
            Ok(Applied::Held(id)) => Tried::Held(id),
            Ok(Applied::Done(receipt, freed)) => {
                if let Some(intention) = &work.intention {
                    idempotency::record(tx, intention, Ok(&receipt))?;
                }
                self.count(&receipt, &freed);
                Tried::Answered(Outcome { result: Ok(receipt), replayed: false }, freed)
            }
            Err(error) => {
                if let Some(intention) = work.intention.as_ref().filter(|_| error.name.is_refusal()) {
                    idempotency::record(tx, intention, Err(&error))?;
                }
                if error.name == Name::Internal {
                    crate::log::error("a command failed", &error);
                }
                Tried::Answered(Outcome::from(error), Vec::new())
            }
        };
        tx.execute("RELEASE command", [])?;
        Ok(tried)
    }

    fn count(&self, receipt: &Receipt, freed: &[LockId]) {
        let taken = match receipt {
            Receipt::Granted(grant) if grant.how == How::TakenOver => 1,
            Receipt::Moved(_) | Receipt::Batch(_) => freed.len() as u64,
            _ => 0,
        };
        stats::add(&self.stats.takeovers, taken);
    }

    /// Makes a command wait its turn, or says that somebody has the lock.
    fn park(&mut self, tx: &WriteTx<'_>, work: Work, id: &LockId, answers: &mut Answers) -> Result<(), Lost> {
        let now = tx.now().lease_ms;
        let refusal = if work.envelope.wait_ms == 0 {
            self.locked(tx, id, now, now)?
        } else if self.refuses_waiting {
            stopped()
        } else {
            let ids = command::locks_needed(tx, &work.command)?;
            if !self.waiting.has_room(&ids) && now - self.dropped_gone_ms >= DROP_GONE_EVERY_MS {
                self.dropped_gone_ms = now;
                self.waiting.drop_gone();
            }
            if self.waiting.has_room(&ids) {
                stats::add(&self.stats.lock_waits, 1);
                let deadline_ms = now + work.envelope.wait_ms;
                self.waiting.park(Parked { work, ids, since_ms: now, deadline_ms });
                return self.note_stale_from(tx, id);
            }
            Error::new(Name::Busy, format!("too many requests wait for the lock {id}")).with("lock", id.as_str())
        };
        answers.push((work.clients, Outcome::from(refusal)));
        Ok(())
    }

    fn note_stale_from(&mut self, tx: &WriteTx<'_>, id: &LockId) -> Result<(), Lost> {
        if let Some(lock) = lock::find(tx, id)? {
            self.waiting.set_stale_from(id, lock.stale_from());
        }
        Ok(())
    }

    /// Lets those who wait for these locks try, first come first served, until somebody has each of them again.
    fn wake(
        &mut self,
        conn: &Connection,
        tx: &WriteTx<'_>,
        ids: Vec<LockId>,
        answers: &mut Answers,
    ) -> Result<(), Lost> {
        let now = tx.now().lease_ms;
        let mut ids = VecDeque::from(ids);
        while let Some(id) = ids.pop_front() {
            let mut last = None;
            while let Some(seq) = self.waiting.next_in_queue(&id, last) {
                last = Some(seq);
                let Some(parked) = self.waiting.take(seq) else { continue };
                if !parked.work.has_a_client() {
                    continue;
                }
                if parked.deadline_ms <= now {
                    let error = self.locked(tx, &id, now, parked.since_ms)?;
                    answers.push((parked.work.clients, Outcome::from(error)));
                    continue;
                }
                match self.attempt(conn, tx, &parked.work) {
                    Err(Lost(error)) => {
                        answers.push((parked.work.clients, Outcome::from(error.clone())));
                        return Err(Lost(error));
                    }
                    Ok(Tried::Answered(outcome, freed)) => {
                        answers.push((parked.work.clients, outcome));
                        ids.extend(freed);
                    }
                    Ok(Tried::Held(held)) => {
                        let waits_for_one = parked.ids.len() == 1;
                        self.waiting.put_back(seq, parked);
                        self.note_stale_from(tx, &held)?;
                        if waits_for_one {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn answer_expired(&mut self, tx: &WriteTx<'_>, answers: &mut Answers) -> Result<(), Lost> {
        let now = tx.now().lease_ms;
        for seq in self.waiting.expired_by(now) {
            let Some(parked) = self.waiting.take(seq) else { continue };
            let held = parked.ids.iter().find(|id| matches!(lock::find(tx, id), Ok(Some(_))));
            let id = held.unwrap_or(&parked.ids[0]).clone();
            let error = self.locked(tx, &id, now, parked.since_ms)?;
            answers.push((parked.work.clients, Outcome::from(error)));
        }
        Ok(())
    }

    /// Answers those whose deadline has come when nothing can be begun.
    fn expire(&mut self, now: i64) {
        for seq in self.waiting.expired_by(now) {
            if let Some(parked) = self.waiting.take(seq) {
                let error = Error::new(Name::Locked, "somebody else has the lock");
                send(parked.work.clients, Outcome::from(error));
            }
        }
        if self.waiting.next_moment().is_some_and(|moment| moment <= now) {
            self.waiting.look_again_at(now + LOOK_AGAIN_MS);
        }
        self.sweep.next_ms = self.sweep.next_ms.max(now + SWEEP_EVERY_MS);
    }

    fn locked(&self, tx: &ReadTx<'_>, id: &LockId, now: i64, since_ms: i64) -> Result<Error, Error> {
        let error = lock::locked(tx, id, now)?;
        Ok(error.with("queue", self.waiting.queue(id)).with("waited_ms", now - since_ms))
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

/// Everyone but the first asked again under the same key.
fn send(clients: Vec<Client>, outcome: Outcome) {
    for (place, client) in clients.into_iter().enumerate() {
        let replayed = outcome.replayed || place > 0;
        let _ = client.reply.send((client.index, Outcome { replayed, ..outcome.clone() })); // gone is gone
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without a word"))
}

/// How many idempotency records are looked at in one step, how often, and how long after a whole round.
const SWEEP_STEP: usize = 256;
const SWEEP_EVERY_MS: i64 = 50;
const SWEEP_REST_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Removes old idempotency records in bounded steps.
struct Sweep {
    keep_ms: i64,
    from: Vec<u8>,
    next_ms: i64,
}

impl Sweep {
    fn new(keep_days: i64) -> Sweep {
        Sweep { keep_ms: keep_days.saturating_mul(DAY_MS), from: Vec::new(), next_ms: 0 }
    }

    fn step(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let now = tx.now();
        if now.lease_ms < self.next_ms {
            return Ok(());
        }
        match idempotency::sweep(tx, &self.from, now.wall_ms - self.keep_ms, SWEEP_STEP)? {
            Some(last) => (self.from, self.next_ms) = (last, now.lease_ms + SWEEP_EVERY_MS),
            None => (self.from, self.next_ms) = (Vec::new(), now.lease_ms + SWEEP_REST_MS),
        }
        Ok(())
    }
}
