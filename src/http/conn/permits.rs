//! The number of connections, and the choice of one to evict.
//!
//! The phase of a connection is an atomic of its own, so that an ordinary request takes no lock; the lock on the list is
//! for connecting, disconnecting and evicting. A connection is ended from outside by exchanging the very state that was
//! seen: if it began a request in the meantime, it keeps it.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::socket::WriteStall;

/// The time a client may leave a piece of its response unread before its connection may be evicted.
const STALLED: Duration = Duration::from_secs(1);

/// The time a connection counts as recent after it connected or began to send; recent ones are evicted after the others.
const RECENT_MS: u64 = 1_000;

/// The activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connected, and nothing received yet.
    New,
    /// Has had a response, and waits for the first byte of another request.
    Idle,
    /// Part of a head has come.
    Head,
    /// A head has come, and not all of its body.
    Body,
    /// A request is being answered, or its response sent.
    Busy,
    /// The last response is sent; what still comes is drained.
    Closing,
    /// The server was stopped while a head was being read; the connection must answer that and close.
    Refused,
    /// Ended from outside.
    Ended,
}

/// A phase and when it began, in milliseconds of the server's life, as one number to exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PhaseSince {
    phase: Phase,
    since_ms: u64,
}

impl PhaseSince {
    const PHASES: [Phase; 8] =
        [Phase::New, Phase::Idle, Phase::Head, Phase::Body, Phase::Busy, Phase::Closing, Phase::Refused, Phase::Ended];

    fn to_number(self) -> u64 {
        self.since_ms << 3 | self.phase as u64
    }

    fn from_number(number: u64) -> PhaseSince {
        PhaseSince { phase: PhaseSince::PHASES[(number & 7) as usize], since_ms: number >> 3 }
    }
}

/// A connection as seen from outside its thread.
pub(super) struct ConnectionState {
    stream: Arc<TcpStream>,
    phase: AtomicU64,
    stall: Arc<WriteStall>,
}

impl ConnectionState {
    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// For the thread that has sent the response to its request. If the server stops it is ended: stopping may have passed
    /// it while it was busy.
    pub(super) fn enter_idle_from_busy(&self, permits: &Permits) {
        let idle = PhaseSince { phase: Phase::Idle, since_ms: permits.now_ms() };
        let seen = self.phase();
        if seen.phase == Phase::Busy && self.exchange(seen, idle) && permits.is_stopping() {
            self.end(idle);
        }
    }

    fn phase(&self) -> PhaseSince {
        PhaseSince::from_number(self.phase.load(SeqCst))
    }

    fn exchange(&self, seen: PhaseSince, new: PhaseSince) -> bool {
        self.phase.compare_exchange(seen.to_number(), new.to_number(), SeqCst, SeqCst).is_ok()
    }

    /// Ends the connection if its phase is still the one seen. Its thread wakes up and ends.
    fn end(&self, seen: PhaseSince) -> bool {
        let ended = self.exchange(seen, PhaseSince { phase: Phase::Ended, ..seen });
        if ended {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        ended
    }
}

type Connections = HashMap<u64, Arc<ConnectionState>>;

/// All connections, at most `max`.
pub(super) struct Permits {
    max: usize,
    started: Instant,
    stopping: AtomicBool,
    connections: Mutex<Connections>,
    changed: Condvar,
    next_id: AtomicU64,
}

impl Permits {
    pub(super) fn new(max: usize) -> Permits {
        Permits {
            max,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            changed: Condvar::new(),
            next_id: AtomicU64::new(0),
        }
    }

    /// A permit for a new connection, evicting another if need be. If none can be evicted the stream is returned.
    pub(super) fn acquire(self: &Arc<Self>, stream: TcpStream) -> Result<Permit, TcpStream> {
        let mut connections = self.connections();
        if connections.len() >= self.max && !self.evict(&mut connections) {
            return Err(stream);
        }
        let id = self.next_id.fetch_add(1, SeqCst);
        let phase = PhaseSince { phase: Phase::New, since_ms: self.now_ms() };
        let connection = Arc::new(ConnectionState {
            stream: Arc::new(stream),
            phase: AtomicU64::new(phase.to_number()),
            stall: Arc::default(),
        });
        connections.insert(id, Arc::clone(&connection));
        Ok(Permit { permits: Arc::clone(self), id, connection, phase })
    }

    /// Evicts one connection, if there is one that is not answering a request.
    pub(super) fn evict_one(&self) {
        self.evict(&mut self.connections());
    }

    fn evict(&self, connections: &mut Connections) -> bool {
        let now_ms = self.now_ms();
        loop {
            let candidates = connections.iter().filter_map(|(&id, connection)| {
                let seen = connection.phase();
                let is_recent = seen.since_ms + RECENT_MS > now_ms;
                let rank = match seen.phase {
                    Phase::Idle | Phase::Closing => (false, 0),
                    Phase::New => (is_recent, 0),
                    Phase::Head => (is_recent, 1),
                    Phase::Body => (is_recent, 2),
                    Phase::Busy if connection.stall.has_lasted(STALLED) => (false, 3),
                    Phase::Busy | Phase::Refused | Phase::Ended => return None,
                };
                Some(((rank, seen.since_ms, id), seen))
            });
            let Some(((_, _, id), seen)) = candidates.min_by_key(|(order, _)| *order) else { return false };
            if connections[&id].end(seen) {
                connections.remove(&id);
                return true;
            }
        }
    }

    /// The number of connections.
    pub(super) fn count(&self) -> usize {
        self.connections().len()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// From now on every connection closes after its next response.
    pub(super) fn begin_stopping(&self) {
        self.stopping.store(true, SeqCst);
    }

    /// Ends the idle connections and has the unfinished heads refused.
    pub(super) fn end_idle(&self) {
        for connection in self.connections().values() {
            loop {
                let seen = connection.phase();
                let done = match seen.phase {
                    Phase::New | Phase::Idle => connection.end(seen),
                    Phase::Head => {
                        let refused = connection.exchange(seen, PhaseSince { phase: Phase::Refused, ..seen });
                        if refused {
                            // Its thread reads end-of-file and can still write.
                            let _ = connection.stream.shutdown(Shutdown::Read);
                        }
                        refused
                    }
                    _ => true,
                };
                if done {
                    break;
                }
            }
        }
    }

    /// Waits until no request is being answered, or the deadline; returns how many still are.
    pub(super) fn wait_for_requests(&self, deadline: Instant) -> usize {
        let mut connections = self.connections();
        loop {
            let is_busy = |phase| matches!(phase, Phase::Body | Phase::Busy | Phase::Refused);
            let busy = connections.values().filter(|connection| is_busy(connection.phase().phase)).count();
            let left = deadline.saturating_duration_since(Instant::now());
            if busy == 0 || left.is_zero() {
                return busy;
            }
            connections = self.changed.wait_timeout(connections, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission for one connection. Dropping it frees the place for another.
pub(super) struct Permit {
    permits: Arc<Permits>,
    id: u64,
    connection: Arc<ConnectionState>,
    phase: PhaseSince,
}

impl Permit {
    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.connection.stream
    }

    /// The connection as seen from outside its thread, and all permits.
    pub(super) fn shared(&self) -> (Arc<ConnectionState>, Arc<Permits>) {
        (Arc::clone(&self.connection), Arc::clone(&self.permits))
    }

    /// Another thread has sent the response, and entered the phase that follows.
    pub(super) fn resume(&mut self) {
        let now = self.connection.phase();
        if now.phase == Phase::Idle {
            self.phase = now;
        }
    }

    pub(super) fn stall(&self) -> &Arc<WriteStall> {
        &self.connection.stall
    }

    pub(super) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Enters a phase. False: the connection was ended or refused from outside and must not.
    pub(super) fn enter(&mut self, phase: Phase) -> bool {
        let new = PhaseSince { phase, since_ms: self.permits.now_ms() };
        let entered = self.connection.exchange(self.phase, new);
        if entered {
            self.phase = new;
        }
        if phase == Phase::Closing {
            // Under the lock, or `wait_for_requests` could read the phases before and wait after this notification.
            let _connections = self.permits.connections();
            self.permits.changed.notify_all();
        }
        entered
    }

    /// True if the server was stopped while the head was coming. If so, the next phase is entered from there.
    pub(super) fn is_refused(&mut self) -> bool {
        let now = self.connection.phase();
        if now.phase == Phase::Refused {
            self.phase = now;
        }
        now.phase == Phase::Refused
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.connections().remove(&self.id);
        self.permits.changed.notify_all();
    }
}
