//! A command in the writer's queue, and the callers that wait for its outcome.

use super::idempotency::{Intention, RecordKey};
use crate::command::{Command, Receipt};
use crate::error::{self, Error};
use crate::id::{Fence, IdempotencyKey, LockToken};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Tells whether the client is still connected. None: it cannot disconnect.
pub type Alive = Option<Arc<dyn Fn() -> bool + Send + Sync>>;

/// What comes with a command.
#[derive(Clone)]
pub struct Envelope {
    /// The caller: a user, an access token's id, or `@local`.
    pub by: String,
    /// The idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The lock tokens presented.
    pub tokens: Vec<LockToken>,
    /// How long to wait for a lock, in milliseconds.
    pub wait_ms: i64,
    /// Whether the client is still connected.
    pub alive: Alive,
}

impl Envelope {
    /// From this machine: no key, no lock tokens, no waiting.
    pub fn local() -> Envelope {
        Envelope { by: LOCAL.to_owned(), key: None, tokens: Vec::new(), wait_ms: 0, alive: None }
    }
}

/// The caller of commands on the file, of the companion token and with `--open`.
pub const LOCAL: &str = "@local";

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The receipt, or the error.
    pub result: Result<Receipt, Error>,
    /// Whether it was answered before, under the same idempotency key.
    pub replayed: bool,
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Outcome {
        Outcome { result: Err(error), replayed: false }
    }
}

/// What a repeat has in common with the request it repeats, while both are queued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestKey {
    /// Caller and idempotency key.
    Idempotency(RecordKey),
    /// The lock secret, and the locks it is for.
    LockSecret([u8; 16]),
}

/// A command in the queue.
pub struct Request {
    pub(super) envelope: Envelope,
    pub(super) command: Command,
    pub(super) intention: Option<Intention>,
    pub(super) replies: Vec<Reply>,
}

/// Where one caller waits for the outcome.
pub struct Reply {
    outcomes: Sender<(usize, Outcome)>,
    index: usize,
    alive: Alive,
}

impl Reply {
    pub(super) fn is_connected(&self) -> bool {
        self.alive.as_ref().is_none_or(|alive| alive())
    }

    fn send(self, outcome: Outcome) {
        let _ = self.outcomes.send((self.index, outcome)); // the caller may have given up
    }
}

impl Request {
    /// One request per command, and where their outcomes arrive, each with its index.
    pub(super) fn all(commands: Vec<(Envelope, Command)>) -> (Vec<Request>, Receiver<(usize, Outcome)>) {
        let (outcomes, arriving) = channel();
        let request = |(index, (envelope, command)): (usize, (Envelope, Command))| {
            let key = envelope.key.as_ref().filter(|_| !command.answers_with_a_secret());
            let intention = key.map(|key| Intention::new(&envelope.by, key, &command));
            let replies = vec![Reply { outcomes: outcomes.clone(), index, alive: envelope.alive.clone() }];
            Request { envelope, command, intention, replies }
        };
        (commands.into_iter().enumerate().map(request).collect(), arriving)
    }

    /// What a repeat of it would have as well.
    pub fn key(&self) -> Option<RequestKey> {
        let named = self.intention.as_ref().map(|intention| RequestKey::Idempotency(intention.name.clone()));
        named.or_else(|| self.command.acquire_key().map(RequestKey::LockSecret))
    }

    /// Whether any caller is still connected.
    pub fn is_wanted(&self) -> bool {
        self.replies.iter().any(Reply::is_connected)
    }
}

/// Answers every caller; all but the first are repeats. If some of several have disconnected they get nothing. Returns
/// how many were answered.
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

/// The outcomes of so many requests. A request that was dropped unanswered came too late.
pub(super) fn collect(count: usize, arriving: Receiver<(usize, Outcome)>) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::from(shutting_down()); count];
    arriving.into_iter().for_each(|(index, outcome)| outcomes[index] = outcome);
    outcomes
}

pub(super) fn shutting_down() -> Error {
    Error::new(error::ErrorName::Busy, "shutting down")
}

pub(super) fn disconnected() -> Error {
    let detail = "this connection was closed while its request waited, so nothing was done; ask again";
    Error::new(error::ErrorName::Busy, detail)
}

/// How many grants [`Deliveries`] remembers. An answer is delivered or not within seconds.
const REMEMBERED: usize = 16_384;

/// For each recent grant, sorted by fence: how many answers announced it, and how many could not be delivered. A grant
/// that no answer announced is released; one delivered answer is enough to keep it.
#[derive(Default)]
pub struct Deliveries(VecDeque<(Fence, u32, u32)>);

impl Deliveries {
    /// The grant was announced in so many more answers.
    pub fn sent(&mut self, fence: Fence, answers: u32) {
        match self.0.binary_search_by_key(&fence, |(own, ..)| *own) {
            Ok(place) => self.0[place].1 += answers,
            Err(place) => self.0.insert(place, (fence, answers, 0)),
        }
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// One more answer was not delivered. Returns whether none was. Of a forgotten grant one may have been.
    pub fn none_left_after_failure(&mut self, fence: Fence) -> bool {
        let Ok(place) = self.0.binary_search_by_key(&fence, |(own, ..)| *own) else { return false };
        let (_, sent, failed) = &mut self.0[place];
        *failed += 1;
        failed == sent
    }
}
