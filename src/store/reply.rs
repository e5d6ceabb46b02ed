//! The way of an outcome to its caller: to a thread that waits for it, or, for callers that do not wait, through the
//! thread that replies. That one takes the outcomes of a whole batch from the writer after the commit, so that a batch
//! wakes one thread and not one for each request.

use crate::command::Receipt;
use crate::error::{Error, ErrorName};
use crate::token::AccessToken;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// True while the client is connected. None: it cannot disconnect.
pub(crate) type Alive = Option<Arc<dyn Fn() -> bool + Send + Sync>>;

/// Acts around the commit of the request that carries it, on the writer's thread. Only `serve --test` makes some.
pub trait CommitHook: Send + Sync {
    /// Called when the transaction holds the changes. May block. True: the commit fails as on a full disk.
    fn before_commit(&self) -> bool;

    /// Called when the transaction is committed. True: its clients are answered that the outcome is unknown.
    fn after_commit(&self) -> bool;

    /// True until both were called: until then a request has a commit of its own.
    fn is_waiting(&self) -> bool;
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Outcome<R = Receipt> {
    /// The receipt, or the error.
    pub result: Result<R, Error>,
    /// True if it was answered before, under the same idempotency key.
    pub replayed: bool,
}

impl<R> From<Error> for Outcome<R> {
    fn from(error: Error) -> Outcome<R> {
        Outcome { result: Err(error), replayed: false }
    }
}

impl Outcome {
    /// The same outcome with the receipt of its command's type. The writer answers no command with another's receipt.
    pub(crate) fn typed<R: TryFrom<Receipt>>(self) -> Outcome<R> {
        let another = |_| Error::internal("a command was answered with the receipt of another one");
        let result = self.result.and_then(|receipt| R::try_from(receipt).map_err(another));
        Outcome { result, replayed: self.replayed }
    }
}

/// Sends the outcome to one caller. Dropped without that, it answers `busy`.
pub(crate) struct Reply {
    /// None once it is sent.
    pub(super) way: Option<ReplyWay>,
    pub(super) alive: Alive,
    pub(super) access_token: Option<Arc<AccessToken>>,
    pub(super) at_commit: Option<Arc<dyn CommitHook>>,
}

/// The way of an outcome to its caller.
pub(super) enum ReplyWay {
    /// The caller's thread waits at the other end.
    Channel { outcomes: SyncSender<(usize, Outcome)>, index: usize },
    /// No thread waits.
    Later { respond: Respond, replier: Arc<Replier> },
}

impl Reply {
    pub(super) fn access_token(&self) -> Option<&Arc<AccessToken>> {
        self.access_token.as_ref()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.alive.as_ref().is_none_or(|alive| alive())
    }

    fn send(mut self, outcome: Outcome) {
        match self.way.take() {
            Some(ReplyWay::Channel { outcomes, index }) => _ = outcomes.send((index, outcome)), // or the caller has given up
            Some(ReplyWay::Later { respond, replier }) => replier.add(respond, outcome),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(ReplyWay::Later { respond, .. }) = self.way.take() {
            reply(respond, shutting_down().into());
        }
    }
}

/// Answers every caller; all but the first are repeats. If some of several have disconnected they get nothing. Returns
/// the number of callers answered.
pub(super) fn send(mut replies: Vec<Reply>, outcome: Outcome) -> u32 {
    if replies.len() > 1 && replies.iter().any(Reply::is_connected) {
        replies.retain(Reply::is_connected);
    }
    let answered = replies.len() as u32;
    for repeat in replies.drain(1.min(replies.len())..) {
        repeat.send(Outcome { replayed: true, ..outcome.clone() });
    }
    if let Some(first) = replies.pop() {
        first.send(outcome);
    }
    answered
}

/// The hooks of the requests that a batch answers, each once.
pub(super) fn hooks_of(answers: &[(Vec<Reply>, Outcome)]) -> Vec<Arc<dyn CommitHook>> {
    let mut hooks: Vec<Arc<dyn CommitHook>> = Vec::new();
    for hook in answers.iter().flat_map(|(replies, _)| replies).filter_map(|reply| reply.at_commit.as_ref()) {
        if hook.is_waiting() && !hooks.iter().any(|known| Arc::ptr_eq(known, hook)) {
            hooks.push(Arc::clone(hook));
        }
    }
    hooks
}

/// The outcomes of `count` requests. A request that was dropped unanswered came too late.
pub(super) fn collect(count: usize, arriving: Receiver<(usize, Outcome)>) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::from(shutting_down()); count];
    arriving.into_iter().for_each(|(index, outcome)| outcomes[index] = outcome);
    outcomes
}

pub(super) fn shutting_down() -> Error {
    Error::new(ErrorName::Busy, "shutting down")
}

/// Passes an outcome to its caller, from any thread. It must not block: the writer or the answers of all others wait for
/// it; and it must not own the store, whose end waits for these threads.
pub(crate) type Respond = Box<dyn FnOnce(Outcome) + Send>;

/// The most outcomes that the writer passes on itself: waking another thread for them would take longer.
const DIRECT_MAX: usize = 2;

/// The outcomes of a batch, and the thread that they go to.
pub(crate) struct Replier(Mutex<ReplierState>);

struct ReplierState {
    outcomes: Vec<(Respond, Outcome)>,
    /// None once it has stopped.
    thread: Option<ReplyingThread>,
}

struct ReplyingThread {
    queue: Sender<Vec<(Respond, Outcome)>>,
    handle: JoinHandle<()>,
}

impl Replier {
    pub(super) fn start() -> std::io::Result<Replier> {
        let (queue, batches) = mpsc::channel::<Vec<_>>();
        let reply_all = move || batches.into_iter().flatten().for_each(|(respond, outcome)| reply(respond, outcome));
        let handle = thread::Builder::new().name("replier".to_owned()).spawn(reply_all)?;
        let thread = ReplyingThread { queue, handle };
        Ok(Replier(Mutex::new(ReplierState { outcomes: Vec::new(), thread: Some(thread) })))
    }

    /// For a writer that refuses every command.
    pub(super) fn without_thread() -> Replier {
        Replier(Mutex::new(ReplierState { outcomes: Vec::new(), thread: None }))
    }

    /// Keeps an outcome until [`Replier::flush`].
    pub(super) fn add(&self, respond: Respond, outcome: Outcome) {
        self.state().outcomes.push((respond, outcome));
    }

    /// Passes the outcomes on that were added. The writer calls it after every batch.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        if state.outcomes.is_empty() {
            return;
        }
        let room = Vec::with_capacity(state.outcomes.len());
        let mut outcomes = std::mem::replace(&mut state.outcomes, room);
        if outcomes.len() > DIRECT_MAX
            && let Some(thread) = &state.thread
        {
            match thread.queue.send(outcomes) {
                Ok(()) => return,
                Err(unsent) => outcomes = unsent.0,
            }
        }
        drop(state);
        outcomes.into_iter().for_each(|(respond, outcome)| reply(respond, outcome));
    }

    /// Returns when all outcomes are passed on.
    pub(super) fn stop(&self) {
        self.flush();
        let thread = self.state().thread.take();
        if let Some(ReplyingThread { queue, handle }) = thread {
            drop(queue);
            let _ = handle.join(); // its panics are caught
        }
    }

    fn state(&self) -> MutexGuard<'_, ReplierState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic costs this caller its answer, and no other.
fn reply(respond: Respond, outcome: Outcome) {
    let _ = catch_unwind(AssertUnwindSafe(|| respond(outcome)));
}
