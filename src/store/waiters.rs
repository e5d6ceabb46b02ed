//! The requests that wait for locks: one queue per lock, first come first served, in memory. A request that needs
//! several locks is in each of their queues and holds none of them.

use super::options::WaitLimits;
use super::reply::Reply;
use super::request::{Request, RequestKey};
use crate::command::Command;
use crate::id::LockId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The most callers that wait for the answer to one request.
const JOINED_MAX: usize = 16;

/// A request that waits. Times are lease time, in milliseconds.
pub(crate) struct Waiter {
    /// The command, and the callers to answer.
    pub request: Request,
    /// The locks it needs.
    pub ids: Vec<LockId>,
    /// Time at which it was parked.
    pub since_ms: i64,
    /// Time until which it waits.
    pub deadline_ms: i64,
}

/// A place in the queue of a lock. Times are lease time, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct QueuePlace {
    /// The label of the client: as the holder it would be, or the caller.
    pub holder: String,
    /// Time at which it came.
    pub since_ms: i64,
    /// Time until which it waits.
    pub deadline_ms: i64,
}

impl QueuePlace {
    fn of(waiter: &Waiter) -> QueuePlace {
        let holder = match &waiter.request.command {
            Command::Acquire(acquire) => &acquire.holder,
            _ => &waiter.request.envelope.by,
        };
        QueuePlace { holder: holder.clone(), since_ms: waiter.since_ms, deadline_ms: waiter.deadline_ms }
    }
}

/// The queues, read by any thread, and the signal that locks have changed.
#[derive(Debug, Default)]
pub(crate) struct LockNotifier {
    queues: Mutex<HashMap<LockId, BTreeMap<u64, QueuePlace>>>,
    changes: Mutex<u64>,
    changed: Condvar,
    /// The number of watches of each.
    watches: Mutex<HashMap<Watched, usize>>,
    /// The number of the newest entry since the start, 0 before the first.
    newest_entry: Mutex<i64>,
    entry_made: Condvar,
    closed: AtomicBool,
}

/// The most watches of one lock: clients that may only watch it leave room for those that wait for others.
const WATCHES_OF_ONE_MAX: usize = 64;

/// The subject of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Watched {
    /// A lock.
    Lock(LockId),
    /// The entries to come, by the caller that waits for them.
    Entries(String),
    /// The same, by the caller that gets them as a stream.
    EntryStream(String),
}

/// The right to watch for the length of one request. Dropping it gives it back.
pub(crate) struct WatchPermit {
    notifier: Arc<LockNotifier>,
    watched: Watched,
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        let mut watches = self.notifier.watches.lock().expect("mutex poisoned");
        if let Some(count) = watches.get_mut(&self.watched) {
            *count -= 1;
            if *count == 0 {
                watches.remove(&self.watched);
            }
        }
    }
}

impl LockNotifier {
    /// The number of requests that wait for that lock.
    pub(crate) fn queue(&self, id: &LockId) -> usize {
        self.queues.lock().expect("mutex poisoned").get(id).map_or(0, BTreeMap::len)
    }

    /// The queue of that lock, the first first.
    pub(crate) fn places(&self, id: &LockId) -> Vec<QueuePlace> {
        self.queues.lock().expect("mutex poisoned").get(id).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Time at which the first in the queue of that lock came.
    pub(crate) fn oldest(&self, id: &LockId) -> Option<i64> {
        self.queues.lock().expect("mutex poisoned").get(id)?.values().next().map(|place| place.since_ms)
    }

    /// Time at which the oldest of all waiting requests came.
    pub(crate) fn oldest_of_all(&self) -> Option<i64> {
        let queues = self.queues.lock().expect("mutex poisoned");
        queues.values().filter_map(|queue| queue.values().next()).map(|place| place.since_ms).min()
    }

    fn enter(&self, id: &LockId, seq: u64, waiter: &Waiter) {
        let mut queues = self.queues.lock().expect("mutex poisoned");
        queues.entry(id.clone()).or_default().insert(seq, QueuePlace::of(waiter));
    }

    fn leave(&self, id: &LockId, seq: u64) {
        let mut queues = self.queues.lock().expect("mutex poisoned");
        if let Some(queue) = queues.get_mut(id) {
            queue.remove(&seq);
            if queue.is_empty() {
                queues.remove(id);
            }
        }
    }

    /// A permit to watch that lock, if there is room: a watch keeps its connection, so it counts as a waiter.
    pub(crate) fn permit(self: &Arc<Self>, id: &LockId) -> Option<WatchPermit> {
        self.permit_of(Watched::Lock(id.clone()), WATCHES_OF_ONE_MAX)
    }

    /// A permit to watch that, if there are fewer than `most` such watches.
    pub(crate) fn permit_of(self: &Arc<Self>, watched: Watched, most: usize) -> Option<WatchPermit> {
        let mut watches = self.watches.lock().expect("mutex poisoned");
        if watches.get(&watched).copied().unwrap_or(0) >= most {
            return None;
        }
        *watches.entry(watched.clone()).or_default() += 1;
        drop(watches);
        Some(WatchPermit { notifier: Arc::clone(self), watched })
    }

    /// The number of entry streams.
    pub(crate) fn entry_streams(&self) -> usize {
        let watches = self.watches.lock().expect("mutex poisoned");
        watches.iter().filter(|(watched, _)| matches!(watched, Watched::EntryStream(_))).map(|(_, count)| count).sum()
    }

    /// Signals the number of the newest entry, after its commit.
    pub(crate) fn notify_of_entry(&self, newest: i64) {
        let mut known = self.newest_entry.lock().expect("mutex poisoned");
        if *known < newest {
            *known = newest;
            self.entry_made.notify_all();
        }
    }

    /// The number of the newest entry since the start, 0 before the first.
    pub(crate) fn newest_entry(&self) -> i64 {
        *self.newest_entry.lock().expect("mutex poisoned")
    }

    /// Sleeps until there is an entry behind `seen` or every watch has ended, or for `at_most`. Returns whether there is
    /// such an entry.
    pub(crate) fn sleep_until_entry(&self, seen: i64, at_most: Duration) -> bool {
        let known = self.newest_entry.lock().expect("mutex poisoned");
        let is_waiting = |known: &mut i64| *known <= seen && !self.is_closed();
        let (known, _) = self.entry_made.wait_timeout_while(known, at_most, is_waiting).expect("mutex poisoned");
        *known > seen
    }

    /// The number of watches.
    pub(crate) fn watching(&self) -> usize {
        self.watches.lock().expect("mutex poisoned").values().sum()
    }

    /// Ends every watch, now and from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.notify();
        drop(self.newest_entry.lock().expect("mutex poisoned")); // no waiter is between its look and its sleep
        self.entry_made.notify_all();
    }

    /// Sets the number of the newest entry, which may be lower than before, and has every watch look at its client: the file
    /// has other contents.
    pub(crate) fn begin_again(&self, newest: i64) {
        *self.newest_entry.lock().expect("mutex poisoned") = newest;
        self.notify();
        self.entry_made.notify_all();
    }

    /// True if no lock may be watched any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// The number of changes of locks so far, to be read before looking at a lock.
    pub(crate) fn changes(&self) -> u64 {
        *self.changes.lock().expect("mutex poisoned")
    }

    /// Signals that locks have changed, after the commit.
    pub(crate) fn notify(&self) {
        *self.changes.lock().expect("mutex poisoned") += 1;
        self.changed.notify_all();
    }

    /// Sleeps until locks have changed since `seen`, or for `at_most`.
    pub(crate) fn sleep(&self, seen: u64, at_most: Duration) {
        let changes = self.changes.lock().expect("mutex poisoned");
        let _ = self.changed.wait_timeout_while(changes, at_most, |changes| *changes == seen);
    }
}

/// All waiting requests.
pub(crate) struct Waiters {
    limits: WaitLimits,
    notifier: Arc<LockNotifier>,
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    /// The number of waiting clients: a request that was repeated has several, each on a connection of its own.
    clients: usize,
    queues: HashMap<LockId, BTreeSet<u64>>,
    by_key: HashMap<RequestKey, u64>,
    deadlines: BTreeSet<(i64, u64)>,
    /// Time at which each waited-for lock turns stale, if nothing happens to it before.
    turns_stale: BTreeSet<(i64, LockId)>,
    stale_from: HashMap<LockId, i64>,
}

impl Waiters {
    /// No waiters yet.
    pub(crate) fn new(limits: WaitLimits, notifier: Arc<LockNotifier>) -> Waiters {
        Waiters {
            limits,
            notifier,
            next: 0,
            waiters: BTreeMap::new(),
            clients: 0,
            queues: HashMap::new(),
            by_key: HashMap::new(),
            deadlines: BTreeSet::new(),
            turns_stale: BTreeSet::new(),
            stale_from: HashMap::new(),
        }
    }

    /// The number of waiting requests.
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The number of requests that wait for that lock.
    pub(crate) fn queue(&self, id: &LockId) -> usize {
        self.queues.get(id).map_or(0, BTreeSet::len)
    }

    /// The waiting request of that number.
    pub(crate) fn get(&self, seq: u64) -> Option<&Waiter> {
        self.waiters.get(&seq)
    }

    /// The place in the queue of that lock that a request of that number has or had, from 1.
    pub(crate) fn place(&self, id: &LockId, seq: u64) -> usize {
        self.queues.get(id).map_or(0, |queue| queue.range(..seq).count()) + 1
    }

    /// Time at which the first in the queue of that lock came.
    pub(crate) fn oldest(&self, id: &LockId) -> Option<i64> {
        let first = self.queues.get(id)?.first()?;
        self.waiters.get(first).map(|waiter| waiter.since_ms)
    }

    /// True if another request may wait for these locks.
    pub(crate) fn has_room(&self, ids: &[LockId]) -> bool {
        self.has_room_for_another() && ids.iter().all(|id| self.queue(id) < self.limits.per_lock)
    }

    fn has_room_for_another(&self) -> bool {
        self.clients + self.notifier.watching() < self.limits.total
    }

    /// Lets clients wait with the request that they repeat, in place of those of its clients that have disconnected.
    /// Returns them if there is no room.
    pub(crate) fn join(&mut self, first: &RequestKey, clients: Vec<Reply>) -> Result<(), Vec<Reply>> {
        let has_room = self.has_room_for_another();
        let Some(seq) = self.by_key.get(first) else { return Err(clients) };
        let Some(waiter) = self.waiters.get_mut(seq) else { return Err(clients) };
        let before = waiter.request.replies.len();
        waiter.request.replies.retain(Reply::is_connected);
        let joins = waiter.request.replies.len() < before || has_room && before < JOINED_MAX;
        let (added, refused) = if joins { (clients, Vec::new()) } else { (Vec::new(), clients) };
        waiter.request.replies.extend(added);
        self.clients = self.clients + waiter.request.replies.len() - before;
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    /// Puts a request at the end of its queues.
    pub(crate) fn park(&mut self, waiter: Waiter) {
        self.next += 1;
        self.put_back(self.next, waiter);
    }

    /// Puts a request back where it was.
    pub(crate) fn put_back(&mut self, seq: u64, waiter: Waiter) {
        for id in &waiter.ids {
            let queue = self.queues.entry(id.clone()).or_default();
            queue.insert(seq);
            self.notifier.enter(id, seq, &waiter);
        }
        if let Some(key) = &waiter.request.key {
            self.by_key.insert(key.clone(), seq);
        }
        self.deadlines.insert((waiter.deadline_ms, seq));
        self.clients += waiter.request.replies.len();
        self.waiters.insert(seq, waiter);
    }

    /// Takes a request out of its queues.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&seq)?;
        self.clients -= waiter.request.replies.len();
        for id in &waiter.ids {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.remove(&seq);
                self.notifier.leave(id, seq);
                if queue.is_empty() {
                    self.queues.remove(id);
                    self.forget_stale(id);
                }
            }
        }
        if let Some(key) = &waiter.request.key {
            self.by_key.remove(key);
        }
        self.deadlines.remove(&(waiter.deadline_ms, seq));
        Some(waiter)
    }

    /// The first request behind `after` in the queue of that lock.
    pub(crate) fn next_in_queue(&self, id: &LockId, after: Option<u64>) -> Option<u64> {
        let from = after.map_or(0, |seq| seq + 1);
        self.queues.get(id)?.range(from..).next().copied()
    }

    /// The waiting request with that key, which a repeat joins.
    pub(crate) fn with_key(&self, key: &RequestKey) -> Option<&Waiter> {
        let seq = self.by_key.get(key)?;
        self.waiters.get(seq)
    }

    /// Remembers the time at which a waited-for lock turns stale if nothing happens to it before.
    pub(crate) fn set_stale_from(&mut self, id: &LockId, stale_from: i64) {
        self.forget_stale(id);
        if self.queues.contains_key(id) {
            self.turns_stale.insert((stale_from, id.clone()));
            self.stale_from.insert(id.clone(), stale_from);
        }
    }

    /// Has every waited-for lock looked at again at that time: its noted time may never have been written.
    pub(crate) fn retry_at(&mut self, at: i64) {
        let ids: Vec<LockId> = self.queues.keys().cloned().collect();
        ids.iter().for_each(|id| self.set_stale_from(id, at));
    }

    /// Takes out the requests whose clients have all disconnected.
    pub(crate) fn take_disconnected(&mut self) -> Vec<Waiter> {
        let waiters = self.waiters.iter().filter(|(_, waiter)| !waiter.request.has_client()).map(|(seq, _)| *seq);
        waiters.collect::<Vec<_>>().into_iter().filter_map(|seq| self.take(seq)).collect()
    }

    fn forget_stale(&mut self, id: &LockId) {
        if let Some(old) = self.stale_from.remove(id) {
            self.turns_stale.remove(&(old, id.clone()));
        }
    }

    /// The locks that have turned stale by `now`.
    pub(crate) fn stale_by(&mut self, now: i64) -> Vec<LockId> {
        let due: Vec<LockId> =
            self.turns_stale.iter().take_while(|(from, _)| *from <= now).map(|(_, id)| id.clone()).collect();
        due.iter().for_each(|id| self.forget_stale(id));
        due
    }

    /// Takes out the requests whose deadline has come, with their numbers.
    pub(crate) fn take_expired(&mut self, now: i64) -> Vec<(u64, Waiter)> {
        let due: Vec<u64> = self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, seq)| *seq).collect();
        due.into_iter().filter_map(|seq| Some((seq, self.take(seq)?))).collect()
    }

    /// Time of the next deadline, or at which the next lock turns stale.
    pub(crate) fn next_timer(&self) -> Option<i64> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let stale = self.turns_stale.first().map(|(from, _)| *from);
        deadline.into_iter().chain(stale).min()
    }

    /// Takes all requests out.
    pub(crate) fn drain(&mut self) -> Vec<Waiter> {
        let all: Vec<u64> = self.waiters.keys().copied().collect();
        all.into_iter().filter_map(|seq| self.take(seq)).collect()
    }
}

/// True if one of several locks is enough.
pub(super) fn is_for_any(command: &Command) -> bool {
    matches!(command, Command::Acquire(request) if request.any)
}

/// True if the request does not wait for the end of a rest.
pub(super) fn waits_for_no_rest(command: &Command) -> bool {
    matches!(command, Command::Acquire(request) if request.min_hold_ms.is_some())
}

/// The locks whose turning stale lets the request try again: the one that is held or, where one of several is enough, all.
pub(super) fn locks_to_look_at(command: &Command, held: &LockId) -> Vec<LockId> {
    match command {
        Command::Acquire(request) if request.any => request.ids.clone(),
        _ => vec![held.clone()],
    }
}
