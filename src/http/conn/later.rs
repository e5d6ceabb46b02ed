//! A response that another thread sends than the one that reads its connection.
//!
//! The other thread never waits for a client. What the socket does not take at once, and every response after which the
//! connection ends, goes back to the connection's thread, which sends it as any other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use rustix::net::{SendFlags, send};

use super::permits::{ConnectionState, Permits};
use super::service::{Body, Presence, Response, ResponseSender, SendLater};
use super::write::{ResponseMode, UnsentRest, encode_response};

/// A response on its way between the two threads of a connection.
pub(super) struct Handover {
    connection: Arc<ConnectionState>,
    permits: Arc<Permits>,
    /// The connection's.
    thread: Thread,
    state: Mutex<LaterState>,
}

/// The state of a response that is sent later.
pub(super) enum LaterState {
    /// Not sent yet. It is to have that form.
    Pending(ResponseMode),
    /// Sent whole; the connection is idle.
    Sent,
    /// Sent whole while the server stopped: the connection must end.
    SentLast,
    /// Nothing of it is sent.
    Unsent(Box<Response>),
    /// Sent in part.
    Part(Box<UnsentRest>),
    /// There will be none: its sender was dropped.
    Dropped,
}

impl Handover {
    /// For the connection of the thread that calls.
    pub(super) fn new((connection, permits): (Arc<ConnectionState>, Arc<Permits>)) -> Handover {
        Handover { connection, permits, thread: thread::current(), state: Mutex::new(LaterState::Dropped) }
    }

    /// The sender of one response. The response before must have been taken.
    pub(super) fn sender(self: &Arc<Self>, mode: ResponseMode) -> ResponseSender {
        *self.state() = LaterState::Pending(mode);
        ResponseSender::new(Arc::clone(self) as Arc<dyn SendLater>)
    }

    /// True if a sender was used or is kept.
    pub(super) fn is_answered_later(&self) -> bool {
        !matches!(*self.state(), LaterState::Dropped)
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(*self.state(), LaterState::Pending(_))
    }

    /// Waits until the response is sent or comes back.
    pub(super) fn wait(&self) -> LaterState {
        // The client may have its response, and have asked again, before its sender has noted that.
        if self.is_pending() {
            thread::yield_now();
        }
        while self.is_pending() {
            thread::park();
        }
        std::mem::replace(&mut self.state(), LaterState::Dropped)
    }

    fn send_at_once(&self, mut response: Response, mode: ResponseMode) -> LaterState {
        let Handover { connection, permits, .. } = self;
        let must_return = permits.is_stopping() || response.close || matches!(response.body, Body::Stream(_));
        let undelivered = response.undelivered.take();
        // A socket takes bytes also for a client that has disconnected.
        if must_return || undelivered.is_some() && !Presence::of(connection.stream()).is_connected() {
            response.undelivered = undelivered;
            return LaterState::Unsent(Box::new(response));
        }
        let bytes = encode_response(response, mode);
        let sent = send(&**connection.stream(), &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
        if sent < bytes.len() {
            // After an error of the socket as well: the connection's thread meets it again.
            return LaterState::Part(Box::new(UnsentRest { bytes, sent, undelivered }));
        }
        if permits.is_stopping() {
            return LaterState::SentLast;
        }
        connection.enter_idle_from_busy(permits);
        LaterState::Sent
    }

    fn state(&self) -> MutexGuard<'_, LaterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SendLater for Handover {
    fn send(&self, response: Option<Response>) {
        let LaterState::Pending(mode) = *self.state() else { return };
        let state = response.map_or(LaterState::Dropped, |response| self.send_at_once(response, mode));
        *self.state() = state;
        self.thread.unpark(); // which costs nothing unless it is parked
    }
}
