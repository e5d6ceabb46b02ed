//! A server for tests in the process of the tests themselves: [`cashbox::testing::Server`](crate::testing::Server).

use crate::clock::{Clock, parse_rfc3339, rfc3339};
use crate::error::Error;
use crate::http::conn::{Limits, Server, listen};
use crate::http::{App, Settings};
use crate::secret::Randomness;
use crate::store::test_control::ClockMove;
use crate::store::{OpenMode, Options, Store};
use crate::test_mode::{FaultAction, PauseJson, PausePoint, RequestMatch, TestMode};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A server for tests of your own program, on a free port of this machine, with an empty file in memory. Its clock stands
/// still until you move it, its secrets are the same in every run, and its answers can be made late, wrong or lost on
/// purpose. It stops when it is dropped. Each test may have one of its own.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cashbox::testing::{FaultAction, PausePoint, RequestMatch, Server};
/// use std::time::Duration;
///
/// let server = Server::start();
/// println!("curl -H 'Authorization: Bearer {}' {}/v1/wallets", server.token(), server.url());
///
/// server.advance(Duration::from_secs(3600))?; // holds expire, leases end, keys grow old
/// assert_eq!(server.now(), "2026-01-01T01:00:00.000Z");
///
/// // The next payment is done, and its answer is lost.
/// let payments = RequestMatch { path: Some("/v1/wallets/*".to_owned()), ..RequestMatch::default() };
/// let fault = server.fault(payments.clone(), FaultAction::DropAfter)?;
/// assert_eq!(server.hits(fault), 0);
///
/// // The payment after it stops inside its transaction until it is released.
/// let pause = server.pause(payments, PausePoint::BeforeCommit)?;
/// assert!(!pause.wait(Duration::from_millis(1)), "no request has come to it");
/// pause.release();
///
/// server.keep("paid")?;
/// server.reset()?;
/// server.restore("paid")?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the server stops when it is dropped"]
pub struct TestServer {
    app: Arc<App>,
    mode: Arc<TestMode>,
    server: Server,
    /// The last field, so that the folder is removed when the file is closed.
    _folder: TempDir,
}

/// The admin's access token of every server for tests. It is known to all.
pub(crate) const TEST_TOKEN: &str = "cbx_test-admin-token";

/// Time for requests in flight when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

impl TestServer {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no temporary folder, or no free port.
    pub fn start() -> TestServer {
        TestServer::start_with(0)
    }

    /// Starts one whose codes, secrets and ids follow from another seed.
    ///
    /// # Panics
    /// As [`start`](TestServer::start).
    pub fn start_with(seed: u64) -> TestServer {
        TestServer::try_start(seed).unwrap_or_else(|error| panic!("a server for tests cannot start: {error}"))
    }

    fn try_start(seed: u64) -> Result<TestServer, Box<dyn std::error::Error>> {
        let folder = tempfile::Builder::new().prefix("cashbox-test-").tempdir_in("/dev/shm");
        let folder = folder.or_else(|_| tempfile::tempdir())?;
        let randomness = Randomness::seeded(seed);
        let options = Options {
            clock: Clock::manual(),
            randomness: randomness.clone(),
            accept_clock: true,
            for_tests: true,
            mode: OpenMode::Server,
            ..Options::default()
        };
        let store = Store::open(&folder.path().join("cashbox.db"), &options)?;
        let mode = Arc::new(TestMode::new(&store, randomness, None, false)?);
        let settings =
            Settings { run_token: Some(TEST_TOKEN.to_owned()), test: Some(Arc::clone(&mode)), ..Settings::default() };
        let app = Arc::new(App::new(store, settings));
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let server = Server::start(listener, Limits::default(), Arc::clone(&app) as _)?;
        Ok(TestServer { app, mode, server, _folder: folder })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its URL: `http://127.0.0.1:34567`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The access token of an admin: the same for every server for tests.
    pub fn token(&self) -> &str {
        TEST_TOKEN
    }

    /// The time of its clock, RFC 3339.
    pub fn now(&self) -> String {
        rfc3339(self.app.store().clock().wall_ms())
    }

    /// Moves its clock forward, and returns when all is done that fell due.
    ///
    /// # Errors
    /// `invalid_request` beyond the year 9998, `paused` while a request stands inside its transaction, `storage_full` if the
    /// disk is full.
    pub fn advance(&self, time: Duration) -> Result<(), Error> {
        let ms = i64::try_from(time.as_millis()).map_err(|_| Error::invalid("the step is too long"))?;
        self.app.move_clock(ClockMove::Advance(ms))
    }

    /// Sets the wall time of its clock, forward or back: RFC 3339.
    ///
    /// # Errors
    /// `invalid_request` if it is not a time from 1970 to the end of 9998; else as [`advance`](TestServer::advance).
    pub fn set_now(&self, time: &str) -> Result<(), Error> {
        let wall_ms = parse_rfc3339(time).ok_or_else(|| Error::invalid("write a time such as 2026-01-31T12:00:00Z"))?;
        self.app.move_clock(ClockMove::SetWall(wall_ms))
    }

    /// Makes its file an empty one again, at the first time of its clock. Connections stay open.
    ///
    /// # Errors
    /// `storage_full` if the disk is full.
    pub fn reset(&self) -> Result<(), Error> {
        self.app.reset_test()
    }

    /// Keeps its present state under a name: file, clock and seed.
    ///
    /// # Errors
    /// `paused` while a request is paused.
    pub fn keep(&self, name: &str) -> Result<(), Error> {
        self.app.keep_state(name).map(|_| ())
    }

    /// Brings a state back. Connections stay open.
    ///
    /// # Errors
    /// `not_found` if none of that name was kept.
    pub fn restore(&self, name: &str) -> Result<(), Error> {
        self.app.restore_state(name).map(|_| ())
    }

    /// Has something go wrong with the next request that matches. Returns the number of the fault.
    ///
    /// # Errors
    /// `invalid_request` for a crash, which would end this process.
    pub fn fault(&self, wanted: RequestMatch, action: FaultAction) -> Result<u64, Error> {
        Ok(self.mode.add_fault(wanted, 1, action)?.id)
    }

    /// The number of requests that a fault has hit.
    pub fn hits(&self, fault: u64) -> usize {
        self.mode.faults().iter().find(|one| one.id == fault).map_or(0, |one| one.count())
    }

    /// Stops the next request that matches, at that point.
    ///
    /// # Errors
    /// `invalid_request` if too many are planned.
    pub fn pause(&self, wanted: RequestMatch, point: PausePoint) -> Result<RequestPause<'_>, Error> {
        let id = self.mode.add_pause(wanted, point, crate::test_mode::PAUSE_MAX)?.id;
        Ok(RequestPause { mode: &self.mode, id })
    }
}

impl std::fmt::Debug for TestServer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Server({})", self.url())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.app.end_pauses();
        self.app.store().refuse_waiting();
        self.server.stop(STOP_TIMEOUT);
        self.app.store().close();
    }
}

/// A pause of [`Server::pause`](crate::testing::Server::pause). Dropping it releases its request; without that it ends by
/// itself after a minute.
#[must_use = "the request goes on when its pause is dropped"]
pub struct RequestPause<'server> {
    mode: &'server TestMode,
    id: u64,
}

impl RequestPause<'_> {
    /// Waits until a request stands there, for `longest` at most. Returns whether one does.
    pub fn wait(&self, longest: Duration) -> bool {
        self.mode.pause(self.id, longest).as_ref().is_ok_and(PauseJson::is_paused)
    }

    /// Lets the request go on.
    pub fn release(self) {}
}

impl Drop for RequestPause<'_> {
    fn drop(&mut self) {
        let _ = self.mode.release(self.id); // it is not there after a reset
    }
}
