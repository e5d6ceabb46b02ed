//! State that all requests share: the store, the settings, known access tokens, counters, and limits on large requests.

use super::auth::KnownTokens;
use super::conn::{BodyMemory, Fault};
use crate::error::{Error, ErrorName};
use crate::secret::{Randomness, random_hex};
use crate::store::Store;
use crate::store::stats::{DURATIONS_US, Histogram};
use crate::store::test_control::ClockMove;
use crate::test_mode::{SnapshotJson, TestMode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The options of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// No access tokens: every caller is an admin.
    pub open: bool,
    /// Origins of other sites whose pages may send requests: `https://shop.example`.
    pub allowed_origins: Vec<String>,
    /// Names of this machine, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// True if the role `user` may recharge its own wallet.
    pub self_recharge: bool,
    /// True if it serves the console. Only the program has it.
    pub console: bool,
    /// The token of this run, for commands on this machine: its bearer is `@local`, an admin.
    pub run_token: Option<String>,
    /// The most streams of entries at a time.
    pub streams_max: usize,
    /// Time between two comment lines of a stream of entries.
    pub comment_every: Duration,
    /// The state that a server for tests of other programs has besides.
    pub test: Option<Arc<TestMode>>,
}

impl Settings {
    /// The source of ids and secrets.
    pub(crate) fn randomness(&self) -> &Randomness {
        self.test.as_ref().map_or(&Randomness::System, |test| test.randomness())
    }

    fn request_prefix(&self) -> String {
        self.test.as_ref().map_or_else(random_hex::<4>, |test| test.request_prefix().to_owned())
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            open: false,
            allowed_origins: Vec::new(),
            hosts: Vec::new(),
            self_recharge: true,
            console: false,
            run_token: None,
            streams_max: 64,
            comment_every: Duration::from_secs(15),
            test: None,
        }
    }
}

/// The state behind every request.
pub struct AppState {
    /// The store.
    pub store: Arc<Store>,
    /// The options of the server.
    pub settings: Settings,
    /// Access tokens that were used.
    pub tokens: Arc<KnownTokens>,
    /// Requests so far.
    pub counts: Arc<RequestCounts>,
    /// Ids of requests whose client sent none.
    pub request_ids: RequestIds,
    /// Large bodies in memory.
    pub large_bodies: LargeBodies,
    /// Files of entries that are being sent.
    pub(crate) entry_streams: EntryStreams,
    /// Number of connections, once there are any.
    pub connections: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
    /// Time of the start, in milliseconds since 1970.
    pub started_at: i64,
    /// The one request that may read the whole file.
    pub whole_file: WholeFile,
    /// Ends all waiting for locks, as if the clients had disconnected.
    pub ends_waiting: Arc<AtomicBool>,
}

impl AppState {
    /// `routes`: method and path of each.
    pub fn new(
        store: Arc<Store>,
        settings: Settings,
        routes: impl Iterator<Item = (&'static str, &'static str)>,
    ) -> AppState {
        AppState {
            started_at: store.clock().wall_ms(),
            entry_streams: EntryStreams::default(),
            connections: OnceLock::new(),
            store,
            tokens: Arc::new(KnownTokens::new(settings.open, settings.run_token.as_deref())),
            request_ids: RequestIds::new(settings.request_prefix()),
            settings,
            counts: Arc::new(RequestCounts::new(routes)),
            large_bodies: LargeBodies::default(),
            whole_file: WholeFile::default(),
            ends_waiting: Arc::default(),
        }
    }
}

/// For a server for tests only.
impl AppState {
    /// Its state. The routes that ask for it are found at no other server.
    pub(crate) fn test_mode(&self) -> &TestMode {
        self.settings.test.as_ref().expect("only a server for tests is asked for this")
    }

    /// Moves the time, and returns when all is done that fell due.
    pub(crate) fn move_clock(&self, by: ClockMove) -> Result<(), Error> {
        self.test_mode().check_writer_moves()?;
        self.store.move_clock(by)
    }

    /// Makes the file an empty one again.
    pub(crate) fn reset_test(&self) -> Result<(), Error> {
        self.test_mode().reset(&self.store)?;
        self.forget_contents(0);
        Ok(())
    }

    /// Keeps the present state under a name.
    pub(crate) fn keep_state(&self, name: &str) -> Result<SnapshotJson, Error> {
        self.test_mode().keep(&self.store, name, self.request_ids.count())
    }

    /// Brings a state back.
    pub(crate) fn restore_state(&self, name: &str) -> Result<SnapshotJson, Error> {
        let (snapshot, request_ids) = self.test_mode().restore(&self.store, name)?;
        self.forget_contents(request_ids);
        Ok(snapshot)
    }

    fn forget_contents(&self, request_ids: u64) {
        self.tokens.begin_again();
        self.request_ids.go_on_from(request_ids);
    }
}

/// Makes ids of requests: those of one run begin with the same random digits.
pub struct RequestIds {
    prefix: String,
    count: AtomicU64,
}

impl RequestIds {
    fn new(prefix: String) -> RequestIds {
        RequestIds { prefix, count: AtomicU64::new(0) }
    }

    /// The next one: 16 hexadecimal digits.
    pub(crate) fn next(&self) -> String {
        format!("{}{:08x}", self.prefix, self.count.fetch_add(1, Relaxed))
    }

    /// The number of ids so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Goes on from that number of ids.
    pub(crate) fn go_on_from(&self, count: u64) {
        self.count.store(count, Relaxed);
    }
}

/// Requests by route and status, and their durations by route.
pub struct RequestCounts {
    /// The statuses of all responses, so that counting needs no lock.
    pub statuses: Vec<u16>,
    /// By the index of the route; the last is for requests that no route takes.
    pub routes: Vec<RouteCounts>,
}

/// The requests of one route.
pub struct RouteCounts {
    /// The method; empty without a route.
    pub method: &'static str,
    /// The path with its `{…}`; empty without a route.
    pub path: &'static str,
    /// Requests by status, in the order of [`RequestCounts::statuses`].
    pub by_status: Vec<AtomicU64>,
    /// Durations, in microseconds.
    pub durations_us: Histogram,
}

impl RequestCounts {
    fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> RequestCounts {
        let mut statuses: Vec<u16> =
            ErrorName::ALL.iter().map(|name| name.status()).chain([200, 201, 204, 303, 304]).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let counts = |(method, path)| RouteCounts {
            method,
            path,
            by_status: statuses.iter().map(|_| AtomicU64::new(0)).collect(),
            durations_us: Histogram::new(DURATIONS_US),
        };
        let routes = routes.chain([("", "")]).map(counts).collect();
        RequestCounts { statuses, routes }
    }

    /// Counts a request: the index of its route (None: no route takes it), its status and its duration.
    pub fn add(&self, route: Option<usize>, status: u16, duration: Duration) {
        let route = &self.routes[route.unwrap_or(self.routes.len() - 1)];
        self.count(route, status);
        route.durations_us.add(duration.as_micros() as u64);
    }

    /// Counts a request that was refused before it was routed.
    pub(crate) fn add_refused(&self, status: u16) {
        self.count(&self.routes[self.routes.len() - 1], status);
    }

    fn count(&self, route: &RouteCounts, status: u16) {
        if let Ok(index) = self.statuses.binary_search(&status) {
            route.by_status[index].fetch_add(1, Relaxed);
        }
    }
}

/// The largest body of fields, in bytes. A larger one is a batch.
pub const BODY_MAX: u64 = 64 * 1024;

/// Bytes of large bodies at a time, in all and of one caller. Each byte costs some more in commands and responses.
pub(super) const LARGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const LARGE_BYTES_OF_ONE_MAX: u64 = LARGE_BYTES_MAX / 2;

/// The bytes of large bodies that are being sent or worked on, by caller: together they must fit into memory.
#[derive(Clone, Default)]
pub struct LargeBodies(Arc<Mutex<HashMap<String, u64>>>);

/// The memory of one large body; dropping it frees it.
pub struct ReservedBytes {
    bodies: LargeBodies,
    caller: String,
    bytes: u64,
}

impl LargeBodies {
    /// Reserves memory for a body of the caller's.
    pub fn reserve(&self, caller: &str, bytes: u64) -> Result<ReservedBytes, Error> {
        let mut reserved = ReservedBytes { bodies: self.clone(), caller: caller.to_owned(), bytes: 0 };
        reserved.grow(bytes)?;
        Ok(reserved)
    }

    pub(super) fn by_caller(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a body beyond the memory that is left for bodies.
pub(super) fn too_many_bodies() -> Error {
    Error::new(ErrorName::Busy, "too many large bodies at once; try again shortly")
}

impl ReservedBytes {
    /// Reserves more, or refuses and keeps what it has.
    fn grow(&mut self, more: u64) -> Result<(), Error> {
        let mut reserved = self.bodies.by_caller();
        let all: u64 = reserved.values().sum();
        let own = reserved.get(&self.caller).copied().unwrap_or(0);
        if all + more > LARGE_BYTES_MAX || own + more > LARGE_BYTES_OF_ONE_MAX {
            return Err(too_many_bodies());
        }
        if more > 0 {
            reserved.insert(self.caller.clone(), own + more);
            self.bytes += more;
        }
        Ok(())
    }
}

impl BodyMemory for ReservedBytes {
    fn grow_to(&mut self, bytes: u64) -> Result<(), Fault> {
        // As with an announced length, a small body is not counted.
        let more = if bytes > BODY_MAX { bytes.saturating_sub(self.bytes) } else { 0 };
        self.grow(more).map_err(|_| Fault::OutOfBodyMemory)
    }
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        let mut reserved = self.bodies.by_caller();
        if let Some(own) = reserved.get_mut(&self.caller) {
            *own -= self.bytes;
            if *own == 0 {
                reserved.remove(&self.caller);
            }
        }
    }
}

/// The most files of entries that are being sent to one caller.
const STREAMS_OF_ONE_MAX: usize = 4;

/// The files of entries that are being sent, by caller.
#[derive(Clone, Default)]
pub(crate) struct EntryStreams(Arc<Mutex<HashMap<String, usize>>>);

/// Permission to send one file of entries; dropping it gives it back.
pub(crate) struct StreamPermit {
    streams: EntryStreams,
    caller: String,
}

impl EntryStreams {
    /// Refuses one more than a caller may have at a time: a client that does not read keeps its connection.
    pub(crate) fn begin(&self, caller: &str) -> Result<StreamPermit, Error> {
        let mut streams = self.0.lock().expect("mutex poisoned");
        let count = streams.entry(caller.to_owned()).or_default();
        if *count >= STREAMS_OF_ONE_MAX {
            let detail = format!(
                "{STREAMS_OF_ONE_MAX} files of entries are being sent to this caller; ask again when one has ended"
            );
            return Err(Error::new(ErrorName::Busy, detail));
        }
        *count += 1;
        Ok(StreamPermit { streams: self.clone(), caller: caller.to_owned() })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut streams = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = streams.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.caller);
            }
        }
    }
}

/// Lets one request at a time read the whole file.
#[derive(Default)]
pub struct WholeFile(Arc<AtomicBool>);

/// Permission to read the whole file; dropping it lets the next one begin.
pub struct WholeFileRead(Arc<AtomicBool>);

impl WholeFile {
    /// Begins, or refuses while another reads it.
    pub fn begin(&self) -> Result<WholeFileRead, Error> {
        if self.0.swap(true, SeqCst) {
            let detail = "another audit, backup or export is reading the whole file; ask again when it has finished";
            return Err(Error::new(ErrorName::Busy, detail));
        }
        Ok(WholeFileRead(Arc::clone(&self.0)))
    }
}

impl Drop for WholeFileRead {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}
