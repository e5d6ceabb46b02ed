//! A command on its way through the writer: who sent it, what it is, and whoever waits for its answer.

use super::idempotency::Intention;
use super::ticket::Promise;
use super::waiting::Wish;
use crate::command::{Command, Receipt};
use crate::error::{Error, Name};
use crate::id::{IdempotencyKey, LockToken};
use std::sync::Arc;

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
    pub(super) envelope: Envelope,
    pub(super) command: Command,
    pub(super) intention: Option<Intention>,
    pub(super) clients: Vec<Client>,
}

/// Somebody who waits for the answer.
pub struct Client {
    promise: Promise,
    alive: Alive,
}

impl Client {
    pub(super) fn is_here(&self) -> bool {
        self.alive.as_ref().is_none_or(|alive| alive())
    }
}

impl Work {
    pub(super) fn new(envelope: Envelope, command: Command, promise: Promise) -> Work {
        let key = envelope.key.as_ref().filter(|_| !command.answers_with_a_secret());
        let intention = key.map(|key| Intention::new(&envelope.by, key, &command));
        let clients = vec![Client { promise, alive: envelope.alive.clone() }];
        Work { envelope, command, intention, clients }
    }

    /// What tells a repeat while this waits: the client's name for its intention, or the secret it asks for a lock with.
    pub fn wish(&self) -> Option<Wish> {
        let named = self.intention.as_ref().map(|intention| Wish::Intention(intention.name.clone()));
        named.or_else(|| self.command.lock_wish().map(Wish::Lock))
    }

    /// Whether anybody still wants to know.
    pub fn has_a_client(&self) -> bool {
        self.clients.iter().any(Client::is_here)
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Outcome {
        Outcome { result: Err(error), replayed: false }
    }
}

/// What is said to whoever comes too late.
pub(super) fn stopped() -> Error {
    Error::new(Name::Busy, "shutting down")
}

/// What is said to whoever has closed the connection, or the half of it that we listen to.
pub(super) fn gone() -> Error {
    Error::new(Name::Busy, "this connection was closed while its request waited, so nothing was done; ask again")
}

/// Answers everyone who waits, and says how many: all but the first asked again under the same key. Of several, those who
/// have gone are told nothing.
pub(super) fn send(mut clients: Vec<Client>, outcome: Outcome) -> u32 {
    if clients.len() > 1 && clients.iter().any(Client::is_here) {
        clients.retain(Client::is_here);
    }
    let told = clients.len() as u32;
    for client in clients.drain(1..) {
        client.promise.keep(Outcome { replayed: true, ..outcome.clone() });
    }
    if let Some(first) = clients.pop() {
        first.promise.keep(outcome);
    }
    told
}
