//! A command in the writer's queue, and the callers that wait for its outcome.

use super::idempotency::RecordKey;
use super::reply::{Alive, CommitHook, Outcome, Replier, Reply, ReplyWay, Respond};
use crate::command::{AtomicBatch, Command, TryEach};
use crate::error::{Error, ErrorName};
use crate::id::{Fence, IdempotencyKey, LockToken};
use crate::token::AccessToken;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};

/// The caller of commands on the file, of the companion's token and of `--open`.
pub const LOCAL: &str = "@local";

/// The circumstances of a command: its caller, and what the caller sent besides.
#[derive(Clone)]
pub struct Envelope {
    /// The caller: a user, an access token's id, or `@local`.
    pub by: String,
    /// The access token, checked again when the command is carried out. None: the caller needs none.
    pub access_token: Option<Arc<AccessToken>>,
    /// The idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The lock tokens presented.
    pub tokens: Vec<LockToken>,
    /// The tag that what is replaced must still have, of a command that replaces a table.
    pub if_match: Option<String>,
    /// The longest wait for a lock, in milliseconds.
    pub wait_ms: i64,
    /// Tells that the client is connected.
    pub alive: Alive,
    /// The command is tried: answered as if it were carried out, and taken back.
    pub dry_run: bool,
    /// Acts around its commit.
    pub at_commit: Option<Arc<dyn CommitHook>>,
}

impl Envelope {
    /// From this machine: no key, no lock tokens, no waiting.
    pub fn local() -> Envelope {
        let (by, tokens) = (LOCAL.to_owned(), Vec::new());
        Envelope {
            by,
            access_token: None,
            key: None,
            tokens,
            if_match: None,
            wait_ms: 0,
            alive: None,
            dry_run: false,
            at_commit: None,
        }
    }
}

/// Equal in a request and its repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestKey {
    /// Caller and idempotency key.
    Idempotency(RecordKey),
    /// Hash of a lock secret and the locks that it is for.
    LockSecret([u8; 16]),
}

/// A command in the queue.
pub(crate) struct Request {
    pub(super) envelope: Envelope,
    pub(super) command: Command,
    /// None: no other request repeats it.
    pub(super) key: Option<RequestKey>,
    /// Hash of the command, which a repeat has too; zeros if nothing is recorded.
    pub(super) fingerprint: [u8; 16],
    /// Its size.
    pub(super) work: Work,
    /// Of a batch with a key, in which the items are carried out only if the key is reserved.
    pub(super) reservation: Option<Reservation>,
    pub(super) replies: Vec<Reply>,
}

impl Request {
    /// One request per command, and the channel on which their outcomes arrive, each with its index.
    pub(super) fn all(
        commands: Vec<(Envelope, Command)>,
        reservation: Option<&Reservation>,
    ) -> (Vec<Request>, Receiver<(usize, Outcome)>) {
        let (outcomes, arriving) = sync_channel(commands.len()); // room for all: no reply has to wait
        let request = |(index, (envelope, command))| {
            let way = ReplyWay::Channel { outcomes: outcomes.clone(), index };
            Request { reservation: reservation.cloned(), ..Request::new(envelope, command, way) }
        };
        (commands.into_iter().enumerate().map(request).collect(), arriving)
    }

    /// A request whose caller does not wait: the outcome is given to `respond`.
    pub(super) fn later(envelope: Envelope, command: Command, respond: Respond, replier: &Arc<Replier>) -> Request {
        Request::new(envelope, command, ReplyWay::Later { respond, replier: Arc::clone(replier) })
    }

    fn new(envelope: Envelope, command: Command, way: ReplyWay) -> Request {
        let fingerprint = envelope.key.as_ref().and_then(|_| command.fingerprint());
        let recorded = envelope.key.as_ref().filter(|_| fingerprint.is_some());
        let record = recorded.map(|key| RecordKey { caller: envelope.by.clone(), key: key.clone() });
        let secret = command.acquire_key().map(RequestKey::LockSecret);
        let key = record.map(RequestKey::Idempotency).or(secret);
        let fingerprint = fingerprint.unwrap_or_default();
        let (alive, access_token, at_commit) =
            (envelope.alive.clone(), envelope.access_token.clone(), envelope.at_commit.clone());
        let replies = vec![Reply { way: Some(way), alive, access_token, at_commit }];
        let work = work(&command);
        Request { envelope, command, key, fingerprint, work, reservation: None, replies }
    }

    /// The key under which its outcome is recorded.
    pub(crate) fn record_key(&self) -> Option<&RecordKey> {
        match &self.key {
            Some(RequestKey::Idempotency(key)) => Some(key),
            _ => None,
        }
    }

    /// Takes the callers out whose access token is `refused`; the command is then that of the first one left.
    pub(super) fn take_refused(&mut self, refused: &AccessToken) -> Vec<Reply> {
        let is_refused = |reply: &mut Reply| {
            reply.access_token.as_ref().is_some_and(|token| token.secret_hash == refused.secret_hash)
        };
        let taken: Vec<Reply> = self.replies.extract_if(.., is_refused).collect();
        if !taken.is_empty()
            && let Some(first) = self.replies.first()
        {
            self.envelope.access_token.clone_from(&first.access_token);
            self.envelope.by = first.access_token.as_ref().map_or(LOCAL, |token| token.caller()).to_owned();
        }
        taken
    }

    /// True if it has a hook that waits for its commit.
    pub(super) fn has_hook(&self) -> bool {
        self.envelope.at_commit.as_ref().is_some_and(|hook| hook.is_waiting())
    }

    /// True while any caller is connected.
    pub(crate) fn has_client(&self) -> bool {
        self.replies.iter().any(Reply::is_connected)
    }
}

/// A command of more movements or bytes is large.
const LARGE_MOVEMENTS: usize = 64;
const LARGE_BYTES: usize = 256 * 1024;
/// The size of a command: the movements it makes at most, and the bytes of their notes.
#[derive(Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) movements: usize,
    pub(super) bytes: usize,
}

impl Work {
    /// True for a command that has a commit for itself.
    pub(super) fn is_large(self) -> bool {
        self.movements > LARGE_MOVEMENTS || self.bytes > LARGE_BYTES
    }
}

fn work(command: &Command) -> Work {
    let items = match command {
        Command::Money(item) => std::slice::from_ref(item),
        Command::Batch(AtomicBatch(items)) => &items[..],
        Command::TryEach(TryEach { items, .. }) => {
            let bytes = items.iter().map(|(_, item)| item.note().bytes()).sum();
            return Work { movements: items.len().max(1), bytes };
        }
        _ => return Work { movements: 1, bytes: 0 },
    };
    Work { movements: items.len().max(1), bytes: items.iter().map(|item| item.note().bytes()).sum() }
}

/// Shared by the requests of a batch with a key: the error for which its key is not reserved, once that is known.
#[derive(Clone, Default)]
pub(crate) struct Reservation(Arc<OnceLock<Error>>);

impl Reservation {
    pub(super) fn fail(&self, error: &Error) {
        let _ = self.0.set(error.clone()); // the first error stays
    }

    pub(super) fn failure(&self) -> Option<&Error> {
        self.0.get()
    }
}

pub(super) fn disconnected() -> Error {
    let detail = "this connection was closed while its request waited, so nothing was done; ask again";
    Error::new(ErrorName::Busy, detail)
}

/// Grants that [`Deliveries`] remembers. An answer is delivered or not within seconds.
const GRANTS_MAX: usize = 16_384;

/// For each recent grant, sorted by fence: the number of answers that announced it, and the number of those that could
/// not be delivered. A grant that no answer announced is released; one delivered answer is enough to keep it.
#[derive(Default)]
pub(crate) struct Deliveries(VecDeque<(Fence, u32, u32)>);

impl Deliveries {
    /// The grant was announced in that many more answers.
    pub(crate) fn sent(&mut self, fence: Fence, answers: u32) {
        match self.0.binary_search_by_key(&fence, |(of, ..)| *of) {
            Ok(place) => self.0[place].1 += answers,
            Err(place) => self.0.insert(place, (fence, answers, 0)),
        }
        if self.0.len() > GRANTS_MAX {
            self.0.pop_front();
        }
    }

    /// One more answer was not delivered. Returns true if none was. Of a forgotten grant one may have been.
    pub(crate) fn none_delivered_after_failure(&mut self, fence: Fence) -> bool {
        let Ok(place) = self.0.binary_search_by_key(&fence, |(of, ..)| *of) else { return false };
        let (_, sent, failed) = &mut self.0[place];
        *failed += 1;
        failed == sent
    }
}
