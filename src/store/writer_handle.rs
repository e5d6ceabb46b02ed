//! The handle of the writer: requests go to its thread, or, in a store for one call, are carried out at once.

use super::checkpoint::Checkpoint;
use super::options::{OpenError, OpenMode, Options};
use super::possession::{FileWatch, Possession};
use super::recent::RecentEntries;
use super::reply::{Outcome, Replier, Respond, collect, send, shutting_down};
use super::request::{Envelope, Request, Reservation};
use super::stats::{self, Stats};
use super::waiters::LockNotifier;
use super::writer::{Message, WriterState, WriterTask};
use crate::command::Command;
use crate::error::{Error, ErrorName};
use crate::lock::clock::LeaseClock;
use crate::tx::{Engine, Statements};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The handle of the writer and of its thread.
pub(crate) struct Writer {
    queue: SyncSender<Message>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Set in a store for one call, instead of the thread.
    own: Option<OwnWriter>,
    replier: Arc<Replier>,
    stats: Arc<Stats>,
}

impl Writer {
    pub(super) fn start(
        engine: Engine,
        possession: &Arc<Possession>,
        options: &Options,
        lease: LeaseClock,
        stats: Arc<Stats>,
        notifier: &Arc<LockNotifier>,
        recent: &Arc<RecentEntries>,
    ) -> Result<Writer, OpenError> {
        if options.mode == OpenMode::OneCall {
            let replier = Arc::new(Replier::without_thread());
            let state = WriterState::open(&engine, possession, options, lease, &stats, (notifier, recent), &replier)?;
            let without_thread = |conn| Checkpoint::without_thread(conn, possession.db(), Arc::clone(&stats));
            let checkpoint = engine.file().map(without_thread);
            return Ok(Writer::without_thread(Some(OwnWriter::new(state, checkpoint, engine)), replier, stats));
        }
        let (queue, messages) = mpsc::sync_channel(options.queue);
        let replier = Arc::new(Replier::start()?);
        let mut state = WriterState::open(&engine, possession, options, lease, &stats, (notifier, recent), &replier)?;
        let start = |(conn, files): (_, &FileWatch)| {
            Checkpoint::start(conn, possession.db(), files.log_id(), Arc::clone(&stats), options.for_tests)
        };
        let checkpoint = engine.file().zip(state.files.as_ref()).map(start).transpose()?;
        let run = move || {
            // Without its writer a server would only seem to work, so a panic here ends the process.
            let stats = Arc::clone(&state.stats);
            if catch_unwind(AssertUnwindSafe(|| state.run(&engine, checkpoint, &messages))).is_err() {
                crate::log::error("the writer cannot go on", &"its last batch was not committed");
                stats.outcome_unknown.store(true, Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(run)?;
        Ok(Writer { queue, thread: Mutex::new(Some(thread)), own: None, replier, stats })
    }

    /// The writer of a file that is only read: it refuses every command.
    pub(super) fn absent(stats: Arc<Stats>) -> Writer {
        Writer::without_thread(None, Arc::new(Replier::without_thread()), stats)
    }

    fn without_thread(own: Option<OwnWriter>, replier: Arc<Replier>, stats: Arc<Stats>) -> Writer {
        Writer { queue: mpsc::sync_channel(0).0, thread: Mutex::new(None), own, replier, stats }
    }

    pub(super) fn submit(&self, envelope: Envelope, command: Command) -> Outcome {
        self.submit_all(vec![(envelope, command)]).pop().unwrap_or_else(|| Outcome::from(shutting_down()))
    }

    pub(super) fn submit_all(&self, commands: Vec<(Envelope, Command)>) -> Vec<Outcome> {
        self.send(commands, None)
    }

    /// The items' outcomes; or the error for which `first`, which reserves their key, was not done, and none of them.
    pub(super) fn submit_batch(
        &self,
        first: (Envelope, Command),
        items: Vec<(Envelope, Command)>,
    ) -> Result<Vec<Outcome>, Error> {
        let commands = std::iter::once(first).chain(items).collect();
        let mut outcomes = self.send(commands, Some(&Reservation::default())).into_iter();
        outcomes.next().map_or_else(|| Err(shutting_down()), |first| first.result)?;
        Ok(outcomes.collect())
    }

    fn send(&self, commands: Vec<(Envelope, Command)>, reservation: Option<&Reservation>) -> Vec<Outcome> {
        let count = commands.len();
        let (requests, arriving) = Request::all(commands, reservation);
        match self.enqueue(requests) {
            Ok(()) => collect(count, arriving),
            Err((_, error)) => vec![Outcome::from(error); count],
        }
    }

    /// Gives the outcome to `respond`. Does not wait for it.
    pub(super) fn submit_later(&self, envelope: Envelope, command: Command, respond: Respond) {
        let request = Request::later(envelope, command, respond, &self.replier);
        if let Err((requests, error)) = self.enqueue(vec![request]) {
            requests.into_iter().for_each(|request| _ = send(request.replies, error.clone().into()));
            self.replier.flush();
        }
    }

    /// Puts requests into the queue, or returns them with the error that answers them.
    fn enqueue(&self, requests: Vec<Request>) -> Result<(), (Vec<Request>, Error)> {
        if let Some(own) = &self.own {
            return own.carry_out(requests).map_err(|requests| (requests, shutting_down()));
        }
        let count = requests.len() as u64;
        stats::add(&self.stats.queued, count);
        let (message, error) = match self.queue.try_send(Message::Requests(requests)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(message)) => {
                (message, Error::new(ErrorName::Busy, "too many commands are waiting; try again shortly"))
            }
            Err(TrySendError::Disconnected(message)) => (message, shutting_down()),
        };
        self.stats.queued.fetch_sub(count, Relaxed);
        let Message::Requests(requests) = message else { unreachable!("the message that was sent comes back") };
        Err((requests, error))
    }

    /// Has a task done after all that came before it. Returns without waiting; a writer that has stopped drops the task.
    pub(super) fn run_task(&self, task: WriterTask) {
        match &self.own {
            Some(own) => own.run_task(task),
            None => _ = self.queue.send(Message::Task(task)),
        }
    }

    pub(super) fn look_at_time(&self) {
        let _ = self.queue.send(Message::LookAtTime);
    }

    pub(super) fn drop_disconnected(&self) {
        let _ = self.queue.send(Message::DropDisconnected);
    }

    pub(super) fn refuse_waiting(&self) {
        let _ = self.queue.send(Message::RefuseWaiting);
    }

    pub(super) fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
        if let Some(thread) = self.thread.lock().expect("mutex poisoned").take() {
            let _ = thread.join();
        }
        self.own.iter().for_each(OwnWriter::stop);
        self.replier.stop();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The writer of a store for one call of a command line, which starts no thread: the calling thread commits.
///
/// Starting and ending the six threads of a served store, and a commit of the upkeep before the first request came, took
/// half of the time of a short command.
struct OwnWriter(Mutex<Option<OpenWriter>>);

struct OpenWriter {
    state: WriterState,
    checkpoint: Option<Checkpoint>,
    engine: Engine,
}

impl OwnWriter {
    fn new(state: WriterState, checkpoint: Option<Checkpoint>, engine: Engine) -> OwnWriter {
        OwnWriter(Mutex::new(Some(OpenWriter { state, checkpoint, engine })))
    }

    /// Carries the requests out. They come back if the writer has stopped.
    fn carry_out(&self, requests: Vec<Request>) -> Result<(), Vec<Request>> {
        match self.open().as_mut() {
            Some(OpenWriter { state, engine, .. }) => {
                let statements = Statements::new(engine, state.randomness.clone());
                state.carry_out(&statements, requests);
                Ok(())
            }
            None => Err(requests),
        }
    }

    /// Does a task. A writer that has stopped drops it.
    fn run_task(&self, task: WriterTask) {
        if let Some(OpenWriter { state, engine, .. }) = self.open().as_mut() {
            let statements = Statements::new(engine, state.randomness.clone());
            task(state, &statements);
        }
    }

    /// Moves the log into the file and closes it. Does nothing a second time.
    fn stop(&self) {
        if let Some(OpenWriter { mut state, checkpoint, engine }) = self.open().take() {
            let statements = Statements::new(&engine, state.randomness.clone());
            state.finish(&statements, checkpoint);
        }
    }

    /// A panic leaves the transaction open, which ends with the connection.
    fn open(&self) -> MutexGuard<'_, Option<OpenWriter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
