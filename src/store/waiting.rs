//! Who waits for which lock, and until when. In memory, beside the writer: a parked request costs its own connection
//! and nothing else, and nobody polls.
//!
//! One queue per lock, first come first served. A request that waits for several locks stands in each of their queues,
//! holds nothing while it waits and blocks nobody.

use super::idempotency::Name;
use super::work::{Client, Work};
use crate::id::LockId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// So many at most wait for the answer to one request.
const JOINED_MAX: usize = 16;

/// What tells a repeat from another request while both wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// The client's name for its intention.
    Intention(Name),
    /// The secret it asks for locks with, and which.
    Lock([u8; 16]),
}

/// A request that waits. Times are lease time, in milliseconds.
pub struct Parked {
    /// What is to be done, and whom to tell.
    pub work: Work,
    /// The locks it needs.
    pub ids: Vec<LockId>,
    /// When it was parked.
    pub since_ms: i64,
    /// Until when it waits.
    pub deadline_ms: i64,
}

/// How many may wait, in all and for one lock.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// In all.
    pub total: usize,
    /// For one lock.
    pub per_lock: usize,
}

/// How many wait for each lock, for whoever asks, and a bell that rings when locks have changed.
#[derive(Debug, Default)]
pub struct Board {
    queues: Mutex<HashMap<LockId, usize>>,
    changes: Mutex<u64>,
    bell: Condvar,
    /// How many watch each lock.
    watches: Mutex<HashMap<LockId, usize>>,
    closed: AtomicBool,
}

/// So many at most watch one lock: whoever may only watch it takes no place from those who wait for others.
const WATCHES_OF_ONE_MAX: usize = 64;

/// The place of one who watches a lock; dropping it gives it back.
pub struct Place<'a> {
    board: &'a Board,
    id: LockId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut watches = self.board.watches.lock().expect("nobody panics holding this");
        if let Some(count) = watches.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                watches.remove(&self.id);
            }
        }
    }
}

impl Board {
    /// How many wait for that lock.
    pub fn queue(&self, id: &LockId) -> usize {
        self.queues.lock().expect("nobody panics holding this").get(id).copied().unwrap_or(0)
    }

    fn set_queue(&self, id: &LockId, length: usize) {
        let mut queues = self.queues.lock().expect("nobody panics holding this");
        if length == 0 {
            queues.remove(id);
        } else {
            queues.insert(id.clone(), length);
        }
    }

    /// A place to watch that lock from, if there is one: a watch keeps its connection, so it counts among those who wait.
    pub fn place(&self, id: &LockId) -> Option<Place<'_>> {
        let mut watches = self.watches.lock().expect("nobody panics holding this");
        let count = watches.entry(id.clone()).or_default();
        if *count == WATCHES_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Place { board: self, id: id.clone() })
    }

    /// How many watch.
    pub fn watching(&self) -> usize {
        self.watches.lock().expect("nobody panics holding this").values().sum()
    }

    /// Ends every watch, now and from now on.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        self.ring();
    }

    /// Whether nobody may watch any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// How often locks have changed: to be asked before looking.
    pub fn changes(&self) -> u64 {
        *self.changes.lock().expect("nobody panics holding this")
    }

    /// Says that locks have changed, after the commit.
    pub fn ring(&self) {
        *self.changes.lock().expect("nobody panics holding this") += 1;
        self.bell.notify_all();
    }

    /// Sleeps until locks have changed since `seen`, at most this long.
    pub fn sleep(&self, seen: u64, at_most: Duration) {
        let changes = self.changes.lock().expect("nobody panics holding this");
        let _ = self.bell.wait_timeout_while(changes, at_most, |changes| *changes == seen);
    }
}

/// Everyone who waits.
pub struct Waiting {
    room: Room,
    board: Arc<Board>,
    next: u64,
    parked: BTreeMap<u64, Parked>,
    /// How many clients wait: a request that was repeated has several, each on a connection of its own.
    clients: usize,
    queues: HashMap<LockId, BTreeSet<u64>>,
    wishes: HashMap<Wish, u64>,
    deadlines: BTreeSet<(i64, u64)>,
    /// When each waited-for lock turns stale, if nothing happens to it before.
    turns_stale: BTreeSet<(i64, LockId)>,
    stale_from: HashMap<LockId, i64>,
}

impl Waiting {
    /// Nobody waits, and there is this much room.
    pub fn new(room: Room, board: Arc<Board>) -> Waiting {
        Waiting {
            room,
            board,
            next: 0,
            parked: BTreeMap::new(),
            clients: 0,
            queues: HashMap::new(),
            wishes: HashMap::new(),
            deadlines: BTreeSet::new(),
            turns_stale: BTreeSet::new(),
            stale_from: HashMap::new(),
        }
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// How many wait for that lock.
    pub fn queue(&self, id: &LockId) -> usize {
        self.queues.get(id).map_or(0, BTreeSet::len)
    }

    /// Whether another may wait for these locks.
    pub fn has_room(&self, ids: &[LockId]) -> bool {
        self.has_room_for_another() && ids.iter().all(|id| self.queue(id) < self.room.per_lock)
    }

    fn has_room_for_another(&self) -> bool {
        self.clients + self.board.watching() < self.room.total
    }

    /// Has clients wait with the request that they repeat, in the place of those of its clients who have gone; or gives them
    /// back, if there is no room.
    pub fn join(&mut self, first: &Wish, clients: Vec<Client>) -> Result<(), Vec<Client>> {
        let has_room = self.has_room_for_another();
        let Some(seq) = self.wishes.get(first) else { return Err(clients) };
        let Some(parked) = self.parked.get_mut(seq) else { return Err(clients) };
        let before = parked.work.clients.len();
        parked.work.clients.retain(Client::is_here);
        let joins = parked.work.clients.len() < before || has_room && before < JOINED_MAX;
        let (added, refused) = if joins { (clients, Vec::new()) } else { (Vec::new(), clients) };
        parked.work.clients.extend(added);
        self.clients = self.clients + parked.work.clients.len() - before;
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    /// Puts a request at the end of its queues.
    pub fn park(&mut self, parked: Parked) {
        self.next += 1;
        self.put_back(self.next, parked);
    }

    /// Puts a request back where it was.
    pub fn put_back(&mut self, seq: u64, parked: Parked) {
        for id in &parked.ids {
            let queue = self.queues.entry(id.clone()).or_default();
            queue.insert(seq);
            self.board.set_queue(id, queue.len());
        }
        if let Some(wish) = parked.work.wish() {
            self.wishes.insert(wish, seq);
        }
        self.deadlines.insert((parked.deadline_ms, seq));
        self.clients += parked.work.clients.len();
        self.parked.insert(seq, parked);
    }

    /// Takes a request out of its queues.
    pub fn take(&mut self, seq: u64) -> Option<Parked> {
        let parked = self.parked.remove(&seq)?;
        self.clients -= parked.work.clients.len();
        for id in &parked.ids {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.remove(&seq);
                self.board.set_queue(id, queue.len());
                if queue.is_empty() {
                    self.queues.remove(id);
                    self.forget_stale(id);
                }
            }
        }
        if let Some(wish) = parked.work.wish() {
            self.wishes.remove(&wish);
        }
        self.deadlines.remove(&(parked.deadline_ms, seq));
        Some(parked)
    }

    /// The first request behind `after` in the queue of that lock.
    pub fn next_in_queue(&self, id: &LockId, after: Option<u64>) -> Option<u64> {
        let from = after.map_or(0, |seq| seq + 1);
        self.queues.get(id)?.range(from..).next().copied()
    }

    /// The waiting request with that wish, which a repeat joins.
    pub fn with_wish(&mut self, wish: &Wish) -> Option<&mut Parked> {
        let seq = self.wishes.get(wish)?;
        self.parked.get_mut(seq)
    }

    /// Remembers when a waited-for lock turns stale if nothing happens to it before.
    pub fn set_stale_from(&mut self, id: &LockId, stale_from: i64) {
        self.forget_stale(id);
        if self.queues.contains_key(id) {
            self.turns_stale.insert((stale_from, id.clone()));
            self.stale_from.insert(id.clone(), stale_from);
        }
    }

    /// Has every waited-for lock looked at again then: what was noted of it may never have been written.
    pub fn look_again_at(&mut self, moment: i64) {
        let ids: Vec<LockId> = self.queues.keys().cloned().collect();
        ids.iter().for_each(|id| self.set_stale_from(id, moment));
    }

    /// Takes the requests out that nobody wants an answer to any more.
    pub fn take_gone(&mut self) -> Vec<Parked> {
        let gone = self.parked.iter().filter(|(_, parked)| !parked.work.has_a_client()).map(|(seq, _)| *seq);
        gone.collect::<Vec<_>>().into_iter().filter_map(|seq| self.take(seq)).collect()
    }

    fn forget_stale(&mut self, id: &LockId) {
        if let Some(old) = self.stale_from.remove(id) {
            self.turns_stale.remove(&(old, id.clone()));
        }
    }

    /// The locks that have turned stale by `now`.
    pub fn stale_by(&mut self, now: i64) -> Vec<LockId> {
        let due: Vec<LockId> =
            self.turns_stale.iter().take_while(|(from, _)| *from <= now).map(|(_, id)| id.clone()).collect();
        due.iter().for_each(|id| self.forget_stale(id));
        due
    }

    /// The requests whose deadline has come by `now`.
    pub fn expired_by(&self, now: i64) -> Vec<u64> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, seq)| *seq).collect()
    }

    /// When something has to be looked at next.
    pub fn next_moment(&self) -> Option<i64> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let stale = self.turns_stale.first().map(|(from, _)| *from);
        deadline.into_iter().chain(stale).min()
    }

    /// Takes everyone out.
    pub fn drain(&mut self) -> Vec<Parked> {
        let all: Vec<u64> = self.parked.keys().copied().collect();
        all.into_iter().filter_map(|seq| self.take(seq)).collect()
    }
}
