//! `GET /v1/events`: entries as server-sent events, from the connection's own thread.
//!
//! A stream looks for entries at most 20 times a second, and holds one look of them at most. It ends when its client has
//! disconnected or does not read, when its access token is not accepted any more, when the server stops, and with `until`
//! when no entry can come that passes: always after a whole event.

use super::auth::{Caller, KnownTokens};
use super::conn::RequestHead;
use super::entries::{self, FILTER_COUNT, FILTERS, USER, with_filters};
use super::fields::{Field, ValueKind};
use super::request::{Context, HandlerResult, PageRequest};
use super::response::{self, entry_json};
use crate::error::Error;
use crate::id::WalletId;
use crate::ledger;
use crate::ledger::entry::Entry;
use crate::ledger::query::{self, Filter};
use crate::store::{Alive, EntryWait, Store, WatchPermit};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The query of a stream of entries.
pub(crate) const QUERY: &[Field] = &with_filters::<2, { 2 + FILTER_COUNT }>([
    Field::optional("after", ValueKind::Text, "a `cursor`, or the `id` of an event; empty for the first entry"),
    USER,
]);

/// The header that a browser resumes with.
const LAST_EVENT_ID: &str = "last-event-id";
/// The media type of a stream.
pub(crate) const TYPES: &[&str] = &[CONTENT_TYPE];
const CONTENT_TYPE: &str = "text/event-stream";
/// The most streams of one user.
const STREAMS_OF_ONE_USER_MAX: usize = 4;
/// The most entries of one look.
const LOOK_ROWS_MAX: usize = 2_048;
/// Bytes of events that are made at a time, before they are sent.
const EVENT_BYTES: usize = 16 * 1024;

/// `GET /v1/events`
pub(crate) fn stream(context: &mut Context<'_>) -> HandlerResult {
    let wallet = own_wallet(context)?;
    let of = wallet.as_ref().map_or("entries".to_owned(), |wallet| format!("entries of {wallet}"));
    // It wins over `after`: a browser that connects again sends the same URL.
    if let Some(id) = context.head.header(LAST_EVENT_ID).filter(|id| !id.is_empty()) {
        let id = id.to_owned();
        context.query.take("after");
        context.query.put_default("after", &id);
    }
    let begins_now = !context.query.has("after");
    context.query.put_default("order", "asc");
    let page = PageRequest::read(&mut context.query, &of, FILTERS)?;
    let filter = entries::filter(context, wallet)?;
    let store = &context.app.store;
    let after = store.read(|tx| match (&page.after, begins_now) {
        (Some(place), _) => query::find_place(tx, place),
        (None, true) => query::newest_entry(tx),
        (None, false) => Ok(0),
    })?;
    if context.is_head() {
        return Ok(response::stream(CONTENT_TYPE, io::empty()));
    }
    let most_of_one = if context.caller.user.is_some() { STREAMS_OF_ONE_USER_MAX } else { usize::MAX };
    let permit = store.permit_to_stream(&context.caller.by, most_of_one, context.app.settings.streams_max)?;
    let mut head = RequestHead::new("GET", "", None);
    if let Some(authorization) = context.head.header("authorization") {
        head.push_header("authorization", authorization);
    }
    let comment_every = context.app.settings.comment_every;
    let mut reader = EventReader {
        store: Arc::clone(store),
        tokens: Arc::clone(&context.app.tokens),
        head,
        caller: Arc::clone(&context.caller),
        token_seen: None,
        alive: context.alive(),
        waits: !context.is_local(),
        filter,
        page,
        after,
        looked: None,
        is_catching_up: true,
        found: VecDeque::new(),
        comment_every,
        comment_due: Instant::now() + comment_every,
        bytes: Vec::new(),
        sent: 0,
        is_over: false,
        _permit: permit,
    };
    reader.push_place()?; // a client that loses its connection before the first event has a place to go on from
    Ok(response::stream(CONTENT_TYPE, reader))
}

/// The wallet of the role `user`, whose entries it gets and no others.
fn own_wallet(context: &mut Context<'_>) -> Result<Option<WalletId>, Error> {
    if let Some(named) = context.query.peek("user") {
        let wallet = WalletId::parse(named)?;
        context.caller.check_wallet(&wallet)?;
        context.app.store.read(|tx| ledger::wallet(tx, &wallet))?;
    }
    let own = context.caller.user.as_ref().map(|user| user.wallet());
    if own.is_some() {
        context.query.take("user");
    }
    Ok(own)
}

/// The body of a stream of entries.
struct EventReader {
    store: Arc<Store>,
    tokens: Arc<KnownTokens>,
    /// The caller's `Authorization`.
    head: RequestHead,
    caller: Arc<Caller>,
    token_seen: Option<(u64, Arc<Caller>)>,
    alive: Alive,
    /// False for a request that came from no socket: it gets entries that are there, and the place that was reached.
    waits: bool,
    filter: Filter,
    page: PageRequest,
    /// The number of the last entry that was looked at.
    after: i64,
    looked: Option<Instant>,
    /// True if the next look may follow at once.
    is_catching_up: bool,
    /// Entries that are not made into events yet.
    found: VecDeque<Arc<Entry>>,
    comment_every: Duration,
    comment_due: Instant,
    /// Whole events.
    bytes: Vec<u8>,
    /// The number of those bytes that are sent.
    sent: usize,
    is_over: bool,
    _permit: WatchPermit,
}

impl Read for EventReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.sent == self.bytes.len() {
            if self.is_over {
                return Ok(0);
            }
            self.bytes.clear();
            self.sent = 0;
            self.next_bytes().map_err(|error| {
                if error.is_internal() {
                    crate::log::error("a stream of entries has ended early", &error);
                }
                io::Error::other(error)
            })?;
        }
        let count = buffer.len().min(self.bytes.len() - self.sent);
        buffer[..count].copy_from_slice(&self.bytes[self.sent..self.sent + count]);
        self.sent += count;
        Ok(count)
    }
}

impl EventReader {
    /// Makes events of what was found, or waits for entries or for the time of a comment line.
    fn next_bytes(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.comment_due {
            self.comment_due = Instant::now() + self.comment_every;
            return self.push_comment();
        }
        if !self.found.is_empty() {
            return self.push_events();
        }
        if self.is_catching_up {
            self.look()?;
            self.is_catching_up &= self.waits; // a reader of the file, without a server, gets one look
            return Ok(());
        }
        if !self.waits || self.cannot_go_on()? {
            self.is_over = true;
            return self.push_place();
        }
        match self.store.wait_for_entry(self.after, self.looked, self.comment_due, &self.alive) {
            EntryWait::Found => self.look(),
            EntryWait::TimedOut => Ok(()),
            EntryWait::Over => {
                self.is_over = true;
                Ok(())
            }
        }
    }

    fn look(&mut self) -> Result<(), Error> {
        let page = self.store.entries_behind(&self.filter, self.after, LOOK_ROWS_MAX)?;
        self.looked = Some(Instant::now());
        self.after = page.reached;
        self.found = page.rows.into();
        self.is_catching_up = page.is_catching_up;
        Ok(())
    }

    /// True if no entry that passes can come.
    fn cannot_go_on(&self) -> Result<bool, Error> {
        let is_past = |until| self.store.read(|tx| query::has_entry_after(tx, until));
        self.filter.until.map_or(Ok(false), is_past)
    }

    /// Ends the stream if the access token is not accepted any more.
    fn check_token(&mut self) -> bool {
        let checked = self.tokens.check_again(&self.store, &self.head, &mut self.token_seen);
        self.is_over |= self.waits && checked.is_err(); // without a socket, the caller need not have sent one
        !self.is_over
    }

    fn push_events(&mut self) -> Result<(), Error> {
        while self.bytes.len() < EVENT_BYTES
            && let Some(entry) = self.found.pop_front()
            && self.check_token()
        {
            let id = self.page.next(&query::place_of(&entry));
            self.bytes.extend_from_slice(format!("id: {id}\ndata: ").as_bytes());
            let json = entry_json(&entry, &self.caller);
            serde_json::to_writer(&mut self.bytes, &json).map_err(Error::internal)?;
            self.bytes.extend_from_slice(b"\n\n");
        }
        Ok(())
    }

    /// A comment line, so that both ends notice a connection that is lost, and the place that was reached.
    fn push_comment(&mut self) -> Result<(), Error> {
        if !self.check_token() {
            return Ok(());
        }
        self.bytes.extend_from_slice(b":\n");
        self.push_place()
    }

    /// The place that was reached, as the id of no event.
    fn push_place(&mut self) -> Result<(), Error> {
        let reached = self.found.front().map_or(self.after, |entry| entry.id.0 - 1);
        let place = self.store.read(|tx| query::place_behind(tx, reached))?;
        let id = self.page.next(&place);
        self.bytes.extend_from_slice(format!("id: {id}\n\n").as_bytes());
        Ok(())
    }
}
