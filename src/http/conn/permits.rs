//! Who is connected, and who gives way.
//!
//! What a connection is doing stands in an atomic of its own, so that an ordinary request takes no lock; the lock on the
//! list is for coming, going, and choosing who gives way. Whoever ends a connection from outside does it by exchanging
//! the very state it saw: a connection that began a request in the meantime keeps it.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::socket::Writing;

/// How long a client leaves a piece of its answer untaken before its connection may give way.
const STALLED: Duration = Duration::from_secs(1);

/// So long whoever has come, or has begun to send, is young, and gives way after those who are not.
const YOUNG_MS: u64 = 1_000;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Has come, and nothing from it yet.
    New,
    /// Has had an answer, and waits for the first byte of another request.
    Idle,
    /// Part of a head has come.
    Head,
    /// A head has come, and not all of its body.
    Body,
    /// A request is being answered, or its answer sent.
    Busy,
    /// The last answer is sent; what still comes is drained.
    Closing,
    /// Was reading a head when the server was stopped; has to say so and close.
    Refused,
    /// Ended from outside.
    Ended,
}

/// A phase and when it began, in milliseconds of the server's life, as one number to exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    phase: Phase,
    since_ms: u64,
}

impl State {
    const PHASES: [Phase; 8] =
        [Phase::New, Phase::Idle, Phase::Head, Phase::Body, Phase::Busy, Phase::Closing, Phase::Refused, Phase::Ended];

    fn to_number(self) -> u64 {
        self.since_ms << 3 | self.phase as u64
    }

    fn from_number(number: u64) -> State {
        State { phase: State::PHASES[(number & 7) as usize], since_ms: number >> 3 }
    }
}

struct Line {
    stream: Arc<TcpStream>,
    state: AtomicU64,
    writing: Arc<Writing>,
}

impl Line {
    fn state(&self) -> State {
        State::from_number(self.state.load(SeqCst))
    }

    fn exchange(&self, seen: State, new: State) -> bool {
        self.state.compare_exchange(seen.to_number(), new.to_number(), SeqCst, SeqCst).is_ok()
    }

    /// Ends the connection if it still is as it was seen. Its thread wakes up and goes.
    fn end(&self, seen: State) -> bool {
        let ended = self.exchange(seen, State { phase: Phase::Ended, ..seen });
        if ended {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        ended
    }
}

/// The connections there are, at most so many.
pub(super) struct Permits {
    max: usize,
    began: Instant,
    stopping: AtomicBool,
    lines: Mutex<HashMap<u64, Arc<Line>>>,
    changed: Condvar,
    next_id: AtomicU64,
}

impl Permits {
    pub(super) fn new(max: usize) -> Permits {
        Permits {
            max,
            began: Instant::now(),
            stopping: AtomicBool::new(false),
            lines: Mutex::default(),
            changed: Condvar::new(),
            next_id: AtomicU64::new(0),
        }
    }

    /// A permit for a new connection, if need be by ending one that does less. None: the stream is given back.
    pub(super) fn enter(self: &Arc<Self>, stream: TcpStream) -> Result<Permit, TcpStream> {
        let mut lines = self.lines();
        if lines.len() >= self.max && !self.end_one(&mut lines) {
            return Err(stream);
        }
        let id = self.next_id.fetch_add(1, SeqCst);
        let state = State { phase: Phase::New, since_ms: self.now_ms() };
        let line = Line { stream: Arc::new(stream), state: AtomicU64::new(state.to_number()), writing: Arc::default() };
        let line = Arc::new(line);
        lines.insert(id, Arc::clone(&line));
        Ok(Permit { permits: Arc::clone(self), id, line, state })
    }

    /// Ends the connection that does least, if there is one that answers no request.
    pub(super) fn make_room(&self) {
        self.end_one(&mut self.lines());
    }

    fn end_one(&self, lines: &mut HashMap<u64, Arc<Line>>) -> bool {
        let now_ms = self.now_ms();
        loop {
            let candidates = lines.iter().filter_map(|(&id, line)| {
                let state = line.state();
                let young = state.since_ms + YOUNG_MS > now_ms;
                let rank = match state.phase {
                    Phase::Idle | Phase::Closing => (false, 0),
                    Phase::New => (young, 0),
                    Phase::Head => (young, 1),
                    Phase::Body => (young, 2),
                    Phase::Busy if line.writing.is_stalled_for(STALLED) => (false, 3),
                    Phase::Busy | Phase::Refused | Phase::Ended => return None,
                };
                Some(((rank, state.since_ms, id), state))
            });
            let Some(((_, _, id), seen)) = candidates.min_by_key(|(order, _)| *order) else { return false };
            if lines[&id].end(seen) {
                lines.remove(&id);
                return true;
            }
        }
    }

    /// How many are connected.
    pub(super) fn count(&self) -> usize {
        self.lines().len()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// From now on nobody stays: every connection closes after its next answer.
    pub(super) fn begin_stopping(&self) {
        self.stopping.store(true, SeqCst);
    }

    /// Ends the idle connections and has the unfinished heads refused.
    pub(super) fn end_waiting(&self) {
        for line in self.lines().values() {
            loop {
                let seen = line.state();
                let done = match seen.phase {
                    Phase::New | Phase::Idle => line.end(seen),
                    Phase::Head => {
                        let refused = line.exchange(seen, State { phase: Phase::Refused, ..seen });
                        if refused {
                            // Its thread reads end-of-file and can still write.
                            let _ = line.stream.shutdown(Shutdown::Read);
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
    pub(super) fn wait_until_quiet(&self, deadline: Instant) -> usize {
        let mut lines = self.lines();
        loop {
            let is_busy = |phase| matches!(phase, Phase::Body | Phase::Busy | Phase::Refused);
            let busy = lines.values().filter(|line| is_busy(line.state().phase)).count();
            let left = deadline.saturating_duration_since(Instant::now());
            if busy == 0 || left.is_zero() {
                return busy;
            }
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<u64, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's leave to be here. Dropping it makes room for another.
pub(super) struct Permit {
    permits: Arc<Permits>,
    id: u64,
    line: Arc<Line>,
    state: State,
}

impl Permit {
    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.line.stream
    }

    /// Where it is noted since when a piece of an answer waits to be taken.
    pub(super) fn writing(&self) -> &Arc<Writing> {
        &self.line.writing
    }

    pub(super) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Says what the connection does now. False: it has been ended or refused from outside and must not.
    pub(super) fn turn(&mut self, phase: Phase) -> bool {
        let new = State { phase, since_ms: self.permits.now_ms() };
        let turned = self.line.exchange(self.state, new);
        if turned {
            self.state = new;
        }
        if phase == Phase::Closing {
            self.tell_who_waits();
        }
        turned
    }

    /// Whether the server was stopped while the head was coming. If so, that is the state to turn from.
    pub(super) fn is_refused(&mut self) -> bool {
        let now = self.line.state();
        if now.phase == Phase::Refused {
            self.state = now;
        }
        now.phase == Phase::Refused
    }

    fn tell_who_waits(&self) {
        // Under the lock, or the news could fall between a look at the states and the wait for news.
        let _lines = self.permits.lines();
        self.permits.changed.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.lines().remove(&self.id);
        self.permits.changed.notify_all();
    }
}
