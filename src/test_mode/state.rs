//! The state of a server for tests, besides its store.

use super::fault::{CrashPoint, FaultAction, FaultJson, PlannedFault};
use super::matching::{ArrivedRequest, RequestMatch};
use super::pause::{PauseJson, PausePlan, PausePoint, PauseState};
use super::request_log::{LoggedRequest, RequestLog, short_text};
use crate::clock::{Clock, http_date, rfc3339};
use crate::error::{Error, ErrorName};
use crate::ledger::entry;
use crate::lock::clock::incarnation;
use crate::secret::Randomness;
use crate::store::test_control::{EmptyState, Snapshot};
use crate::store::{CommitHook, Store};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time after which a pause ends by itself.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The most faults, and the most pauses, that are listed.
const PLANNED_MAX: usize = 1_000;
/// The most snapshots.
const SNAPSHOTS_MAX: usize = 100;

/// The state of a server for tests, besides its store.
pub struct TestMode {
    clock: Clock,
    randomness: Randomness,
    /// True if the process is the server's own, so that a fault may end it.
    may_crash: bool,
    /// The beginning of the ids of requests whose client sent none.
    request_prefix: String,
    /// The state before the first request.
    first: EmptyState,
    snapshots: Mutex<BTreeMap<String, KeptState>>,
    plan: Mutex<Plan>,
    changed: Condvar,
    /// True when the server stops: requests stand still no longer.
    is_stopping: AtomicBool,
    seeding: Mutex<()>,
    /// Grows when the contents are replaced: requests that came before wait no longer.
    generation: Arc<AtomicU64>, // changed while the plan is locked
}

/// A state of the store, and of the counter of request ids.
#[derive(Clone)]
struct KeptState {
    store: Snapshot,
    request_ids: u64,
}

/// Faults and pauses that wait for requests, and the requests so far.
#[derive(Default)]
struct Plan {
    log: RequestLog,
    faults: Vec<PlannedFault>,
    pauses: Vec<PausePlan>,
    /// The last number of a fault or a pause.
    last_id: u64,
}

/// A request that was noted, and what it has met.
pub(crate) struct Arrival {
    number: u64,
    /// The contents that it came to.
    generation: u64,
    fault: Option<(u64, FaultAction)>,
    /// One for each point.
    pauses: [Option<u64>; 3],
}

/// A snapshot as clients see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SnapshotJson {
    /// Its name.
    name: String,
    /// The time of its clock.
    now: String,
    /// The number of its entries.
    entries: i64,
}

impl std::fmt::Debug for TestMode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TestMode({})", rfc3339(self.clock.wall_ms()))
    }
}

impl TestMode {
    /// For that store, which has just been opened with this randomness. `wall_ms`: the time of its clock; not before that of
    /// the newest entry, if it is not given. `may_crash`: a fault may end the process.
    pub(crate) fn new(
        store: &Store,
        randomness: Randomness,
        wall_ms: Option<i64>,
        may_crash: bool,
    ) -> Result<TestMode, Error> {
        let clock = store.clock().clone();
        let newest = store.read(|tx| entry::chain_head(tx))?.at;
        clock.set_ms(wall_ms.unwrap_or_else(|| newest.max(clock.wall_ms())), clock.boot_ms());
        let incarnation = store.read(|tx| incarnation(tx))?;
        let request_prefix = randomness.hex::<4>();
        Ok(TestMode {
            request_prefix,
            first: EmptyState::of(&clock, &randomness, incarnation),
            clock,
            randomness,
            may_crash,
            snapshots: Mutex::default(),
            plan: Mutex::default(),
            changed: Condvar::new(),
            is_stopping: AtomicBool::new(false),
            seeding: Mutex::default(),
            generation: Arc::default(),
        })
    }

    /// The source of codes and secrets.
    pub(crate) fn randomness(&self) -> &Randomness {
        &self.randomness
    }

    /// The beginning of the ids of requests whose client sent none.
    pub(crate) fn request_prefix(&self) -> &str {
        &self.request_prefix
    }

    /// The line `Date` of an answer now.
    pub(crate) fn http_date(&self) -> String {
        http_date(self.clock.wall_ms())
    }

    /// True until the contents are replaced.
    pub(crate) fn is_current(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (generation, at) = (Arc::clone(&self.generation), self.generation.load(SeqCst));
        move || generation.load(SeqCst) == at
    }

    /// True if the contents that the request came to are still there.
    pub(crate) fn is_current_for(&self, arrival: &Arrival) -> bool {
        self.generation.load(SeqCst) == arrival.generation
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner) // each change of it is whole
    }

    fn snapshots(&self) -> MutexGuard<'_, BTreeMap<String, KeptState>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request. It meets the oldest fault that is for it, and at each point the oldest pause.
    pub(crate) fn arrive(&self, request: &ArrivedRequest) -> Arrival {
        let mut plan = self.plan();
        let Plan { log, faults, pauses, .. } = &mut *plan;
        let fault = faults.iter_mut().fold(None, |found: Option<&mut PlannedFault>, fault| {
            let meets = fault.meets(request); // counted by all of them
            found.or_else(|| meets.then_some(fault))
        });
        let mut met = [None; 3];
        for pause in pauses.iter_mut() {
            let place = &mut met[pause.point as usize];
            let meets = pause.meets(request); // counted by all of them
            if meets && place.is_none() {
                *place = Some(pause.id);
            }
        }
        let number = log.add(
            rfc3339(self.clock.wall_ms()),
            request,
            fault.as_ref().map(|one| one.id),
            met.into_iter().flatten(),
        );
        for pause in pauses.iter_mut().filter(|pause| met.contains(&Some(pause.id))) {
            (pause.state, pause.request) = (PauseState::Met, Some(number));
        }
        let fault = fault.map(|fault| {
            fault.hit(number, request);
            (fault.id, fault.action)
        });
        self.changed.notify_all();
        Arrival { number, generation: self.generation.load(SeqCst), fault, pauses: met }
    }

    /// Stops a request at a point, if a pause is for it, until that is released.
    pub(crate) fn stop_at(&self, arrival: &Arrival, point: PausePoint) {
        let Some(id) = arrival.pauses[point as usize] else { return };
        let mut plan = self.plan();
        if let Some(pause) = plan.pauses.iter_mut().find(|pause| pause.id == id && pause.state == PauseState::Met)
            && self.is_current_for(arrival)
        {
            pause.state = PauseState::Paused;
            pause.until = Some(Instant::now() + pause.longest);
            self.changed.notify_all();
        }
        // A pause that was released before its request came does not stop it, nor one that is not listed any more.
        while self.may_stand(arrival)
            && let Some(pause) =
                plan.pauses.iter_mut().find(|pause| pause.id == id && pause.state == PauseState::Paused)
        {
            let left = pause.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                pause.state = PauseState::TimedOut;
                self.changed.notify_all();
                return;
            }
            plan = self.changed.wait_timeout(plan, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has a request stand still for that time.
    pub(crate) fn delay(&self, arrival: &Arrival, time: Duration) {
        let (until, mut plan) = (Instant::now() + time, self.plan());
        while self.may_stand(arrival) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            plan = self.changed.wait_timeout(plan, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn may_stand(&self, arrival: &Arrival) -> bool {
        self.is_current_for(arrival) && !self.is_stopping.load(SeqCst)
    }

    /// Refuses while a request stands inside its transaction: the writer waits for its release, and so would the caller.
    pub(crate) fn check_writer_moves(&self) -> Result<(), Error> {
        if !self.pauses().iter().any(PauseJson::is_inside_transaction) {
            return Ok(());
        }
        let detail = "a request is paused inside its transaction, and the time and the contents wait for its end: release it first";
        Err(Error::new(ErrorName::Paused, detail))
    }

    /// Keeps other seeds waiting until it is dropped.
    pub(crate) fn seed_alone(&self) -> MutexGuard<'_, ()> {
        self.seeding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the fault of a request has its effect.
    pub(crate) fn note_done(&self, arrival: &Arrival) {
        let Some((id, _)) = arrival.fault else { return };
        let mut plan = self.plan();
        if !self.is_current_for(arrival) {
            return;
        }
        let fault = plan.faults.iter_mut().find(|fault| fault.id == id);
        let hit = fault.and_then(|fault| fault.hits.iter_mut().find(|hit| hit.request == arrival.number));
        hit.into_iter().for_each(|hit| hit.done = true);
    }

    /// Notes the answer of a request. None: its connection is closed instead.
    pub(crate) fn note_answer(&self, arrival: &Arrival, answer: Option<(u16, Option<&[u8]>)>) {
        let mut plan = self.plan();
        if !self.is_current_for(arrival) {
            return;
        }
        let answer = answer.map(|(status, body)| (status, body.and_then(short_text)));
        plan.log.answered(arrival.number, answer);
        for pause in plan.pauses.iter_mut().filter(|pause| arrival.pauses.contains(&Some(pause.id))) {
            if pause.state == PauseState::Met {
                pause.state = PauseState::Missed;
            }
        }
        self.changed.notify_all();
    }

    fn next_id(plan: &mut Plan, planned: usize) -> Result<u64, Error> {
        if planned >= PLANNED_MAX {
            return Err(Error::invalid(format!("{PLANNED_MAX} are listed: delete them first")));
        }
        plan.last_id += 1;
        Ok(plan.last_id)
    }

    /// Plans a fault.
    pub(crate) fn add_fault(&self, wanted: RequestMatch, times: u32, action: FaultAction) -> Result<FaultJson, Error> {
        if matches!(action, FaultAction::Crash(_)) && !self.may_crash {
            return Err(Error::invalid("this server runs inside another program, which a crash would end as well"));
        }
        let mut plan = self.plan();
        let planned = plan.faults.len();
        let id = TestMode::next_id(&mut plan, planned)?;
        let fault = PlannedFault { id, wanted, times, action, matched: 0, left: times, hits: VecDeque::new() };
        let json = fault.json();
        plan.faults.push(fault);
        Ok(json)
    }

    /// The faults, the oldest first.
    pub(crate) fn faults(&self) -> Vec<FaultJson> {
        self.plan().faults.iter().map(PlannedFault::json).collect()
    }

    /// Forgets all faults.
    pub(crate) fn delete_faults(&self) {
        self.plan().faults.clear();
    }

    /// Plans a pause.
    pub(crate) fn add_pause(
        &self,
        wanted: RequestMatch,
        point: PausePoint,
        longest: Duration,
    ) -> Result<PauseJson, Error> {
        let mut plan = self.plan();
        let planned = plan.pauses.len();
        let id = TestMode::next_id(&mut plan, planned)?;
        let (state, request, until) = (PauseState::Armed, None, None);
        let pause = PausePlan { id, wanted, point, longest, matched: 0, state, request, until };
        let json = pause.json();
        plan.pauses.push(pause);
        Ok(json)
    }

    /// The pauses, the oldest first.
    pub(crate) fn pauses(&self) -> Vec<PauseJson> {
        self.plan().pauses.iter().map(PausePlan::json).collect()
    }

    /// A pause, once its request has come to the point or ended, or after `longest`.
    pub(crate) fn pause(&self, id: u64, longest: Duration) -> Result<PauseJson, Error> {
        let until = Instant::now() + longest;
        let mut plan = self.plan();
        loop {
            let pause = plan.pauses.iter().find(|pause| pause.id == id).ok_or_else(no_such_pause)?.json();
            let left = until.saturating_duration_since(Instant::now());
            if !pause.is_to_come() || left.is_zero() {
                return Ok(pause);
            }
            plan = self.changed.wait_timeout(plan, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the request of a pause go on.
    pub(crate) fn release(&self, id: u64) -> Result<PauseJson, Error> {
        let mut plan = self.plan();
        let pause = plan.pauses.iter_mut().find(|pause| pause.id == id).ok_or_else(no_such_pause)?;
        pause.release();
        let json = pause.json();
        self.changed.notify_all();
        Ok(json)
    }

    /// Lets all requests go on, and forgets the pauses.
    pub(crate) fn delete_pauses(&self) {
        self.plan().pauses.clear();
        self.changed.notify_all();
    }

    /// Lets all requests go on, now and from now on.
    pub(crate) fn stop_no_more(&self) {
        self.is_stopping.store(true, SeqCst);
        self.delete_pauses();
    }

    /// The requests so far, the oldest first.
    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        self.plan().log.all()
    }

    /// Forgets the requests so far.
    pub(crate) fn delete_requests(&self) {
        self.plan().log.clear();
    }

    /// The hook of a request whose commit meets a fault or a pause.
    pub(crate) fn hook(self: &Arc<Self>, arrival: &Arc<Arrival>) -> Option<Arc<dyn CommitHook>> {
        let is_faulty = arrival.fault.is_some_and(|(_, action)| action.is_at_commit());
        let is_needed = is_faulty || arrival.pauses[PausePoint::BeforeCommit as usize].is_some();
        let (mode, arrival) = (Arc::clone(self), Arc::clone(arrival));
        let (before, after) = (AtomicBool::new(false), AtomicBool::new(false));
        is_needed.then(|| Arc::new(TestHook { mode, arrival, before, after }) as _)
    }

    /// Ends what waits for the contents as they were: pauses, and requests that wait for a lock or for an entry.
    fn forget_requests(&self) {
        let mut plan = self.plan();
        self.generation.fetch_add(1, SeqCst);
        *plan = Plan::default();
        drop(plan);
        self.changed.notify_all();
    }

    /// Makes the file an empty one again, at the first time of its clock.
    pub(crate) fn reset(&self, store: &Store) -> Result<(), Error> {
        let first = self.first.snapshot()?;
        self.forget_requests();
        store.bring_back(&first)
    }

    /// Keeps the present state under a name. `request_ids`: the number of those that were given.
    pub(crate) fn keep(&self, store: &Store, name: &str, request_ids: u64) -> Result<SnapshotJson, Error> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_name) {
            return Err(Error::invalid("the name of a snapshot is 1 to 64 characters of A-Z a-z 0-9 . _ -"));
        }
        if self.pauses().iter().any(PauseJson::is_paused) {
            let detail = "a request is paused, so the state would be one in the middle of it: release it first";
            return Err(Error::new(ErrorName::Paused, detail));
        }
        if self.snapshots().len() >= SNAPSHOTS_MAX && !self.snapshots().contains_key(name) {
            return Err(Error::invalid(format!("there are {SNAPSHOTS_MAX} snapshots: delete one first")));
        }
        let state = KeptState { store: store.snapshot()?, request_ids };
        let json = snapshot_json(name, &state);
        self.snapshots().insert(name.to_owned(), state);
        Ok(json)
    }

    /// Brings a state back. Returns it, and the number of request ids that were given before.
    pub(crate) fn restore(&self, store: &Store, name: &str) -> Result<(SnapshotJson, u64), Error> {
        let state = self.snapshots().get(name).cloned().ok_or_else(|| no_such_snapshot(name))?;
        self.forget_requests();
        store.bring_back(&state.store)?;
        Ok((snapshot_json(name, &state), state.request_ids))
    }

    /// All snapshots, by name.
    pub(crate) fn list_snapshots(&self) -> Vec<SnapshotJson> {
        self.snapshots().iter().map(|(name, state)| snapshot_json(name, state)).collect()
    }

    /// Forgets a snapshot.
    pub(crate) fn delete_snapshot(&self, name: &str) -> Result<(), Error> {
        self.snapshots().remove(name).map(|_| ()).ok_or_else(|| no_such_snapshot(name))
    }
}

fn snapshot_json(name: &str, state: &KeptState) -> SnapshotJson {
    SnapshotJson { name: name.to_owned(), now: rfc3339(state.store.wall_ms()), entries: state.store.entries }
}

fn no_such_snapshot(name: &str) -> Error {
    let detail = format!("there is no snapshot {name:?}; GET /test/snapshots lists them");
    Error::new(ErrorName::NotFound, detail)
}

fn no_such_pause() -> Error {
    Error::new(ErrorName::NotFound, "there is no such pause; GET /test/pauses lists them")
}

impl Arrival {
    /// The fault that is not one of the commit.
    pub(crate) fn fault(&self) -> Option<FaultAction> {
        self.fault.map(|(_, action)| action).filter(|action| !action.is_at_commit())
    }
}

/// The hook of one request. Each side of the commit acts once, on the first commit of a request that has several.
struct TestHook {
    mode: Arc<TestMode>,
    arrival: Arc<Arrival>,
    before: AtomicBool,
    after: AtomicBool,
}

impl TestHook {
    fn has(&self, action: FaultAction) -> bool {
        let is_it = self.arrival.fault.is_some_and(|(_, own)| own == action);
        if is_it {
            self.mode.note_done(&self.arrival);
        }
        is_it
    }
}

impl CommitHook for TestHook {
    fn before_commit(&self) -> bool {
        if self.before.swap(true, SeqCst) {
            return false;
        }
        self.mode.stop_at(&self.arrival, PausePoint::BeforeCommit);
        if self.has(FaultAction::Crash(CrashPoint::BeforeCommit)) {
            end_process();
        }
        let is_full = self.has(FaultAction::StorageFull);
        self.after.store(is_full, SeqCst); // nothing is committed
        is_full
    }

    fn after_commit(&self) -> bool {
        if self.after.swap(true, SeqCst) {
            return false;
        }
        if self.has(FaultAction::Crash(CrashPoint::AfterCommit)) {
            end_process();
        }
        self.has(FaultAction::OutcomeUnknown)
    }

    fn is_waiting(&self) -> bool {
        !self.after.load(SeqCst)
    }
}

/// Ends the process as `kill -9` does.
fn end_process() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::thread::park(); // the signal comes
}
