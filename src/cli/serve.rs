//! `cashbox serve`: takes possession of the file, listens, and stops when the last request is answered.

use super::anchor::Anchor;
use super::database::is_server;
use super::input::{self, CommonOptions, environment_text};
use super::output::{self, CliError, Exit};
use super::target::take_possession;
use super::temp_folder::TempFolder;
use crate::clock::{Clock, DayEdge, MANUAL_START_MS, parse_moment};
use crate::command::AdoptToken;
use crate::error::{Error, ErrorName};
use crate::http::conn::{Limits, Server, listen, raise_descriptor_limit, reachable};
use crate::http::{App, DegradedLog, Settings, is_origin};
use crate::log;
use crate::secret::Randomness;
#[cfg(feature = "postgres")]
use crate::store::OpenError;
#[cfg(feature = "postgres")]
use crate::store::server::ServerAddress;
use crate::store::{Envelope, OpenMode, Options, Store, WaitLimits};
use crate::test_mode::TestMode;
use crate::test_server::TEST_TOKEN;
use crate::token::{self, NewToken, Role};
use clap::{Args, ValueEnum};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

/// The format of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `cashbox serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A throw-away database in memory
    #[arg(long)]
    memory: bool,
    /// A server for tests of other programs: a clock that is moved, snapshots, faults and pauses at /test/; in memory, on a free
    /// port, unless --db and --listen are given. Loopback addresses only
    #[arg(long)]
    test: bool,
    /// With --test: the time at the start [default: 2026-01-01T00:00:00Z, or that of the newest entry]
    #[arg(long, value_name = "TIME", requires = "test", value_parser = clock_time)]
    clock: Option<i64>,
    /// With --test: the number from which codes, secrets and ids follow
    #[arg(long, value_name = "NUMBER", requires = "test", default_value_t = 0)]
    seed: u64,
    /// Where to listen; port 0 is any free one [env: CASHBOX_LISTEN] [default: 127.0.0.1:8866]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// No access tokens: every caller is an admin. Loopback addresses only
    #[arg(long)]
    open: bool,
    /// Another name of this host; may be repeated
    #[arg(long, value_name = "NAME", value_parser = host)]
    host: Vec<String>,
    /// Origin of another site whose pages may send requests; may be repeated
    #[arg(long, value_name = "URL", value_parser = origin)]
    allow_origin: Vec<String>,
    /// Users may not recharge their own wallets
    #[arg(long)]
    no_self_recharge: bool,
    /// Leave out the console, the page at /console/
    #[arg(long)]
    no_console: bool,
    /// Connections at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Requests that may wait for locks [default: --max-connections less 256]
    #[arg(long, value_name = "COUNT")]
    max_parked: Option<u32>,
    /// Requests that may wait for one lock
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    max_parked_per_lock: u32,
    /// Clients that may follow entries as a stream
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    max_streams: u32,
    /// Free space to leave on the disk: with less, nothing is written [default: the smaller of 256 MiB and 5 %]
    #[arg(long, value_name = "BYTES")]
    min_free: Option<u64>,
    /// Days for which an idempotency key is remembered
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    keep_keys: u32,
    /// Take the wall clock as it is, also after a jump of a day or more forward
    #[arg(long)]
    accept_clock: bool,
    /// Hand the state of the file, as a line for `verify --since`, to this command on its standard input
    #[arg(long, value_name = "COMMAND")]
    anchor: Option<String>,
    /// Time between two such lines; one more is handed over at the stop
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = input::seconds("1s", "36525d"))]
    anchor_every: i64,
    /// Stop when standard input ends: the process that started this server has ended
    #[arg(long, hide = true)]
    while_input: bool,
    /// Format of the log on standard error
    #[arg(long, value_name = "FORM", default_value = "text")]
    log: LogFormat,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| "write it as ADDR:PORT, such as 127.0.0.1:8866".to_owned())
}

fn clock_time(text: &str) -> Result<i64, String> {
    let time = parse_moment(text, DayEdge::Start, 0).filter(|ms| *ms >= 0);
    time.ok_or_else(|| "write a time such as 2026-01-31T12:00:00Z, or a date such as 2026-01-31".to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let is_name = !text.is_empty() && text.bytes().all(plain);
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "write a name alone, such as shop.example: no http://, no port".to_owned())
}

fn origin(text: &str) -> Result<String, String> {
    let wrong = "write it as a browser sends it, such as https://shop.example or http://localhost:3000: no path, no *";
    if is_origin(text) { Ok(text.to_owned()) } else { Err(wrong.to_owned()) }
}

/// The address unless one is given, and that of a server for tests.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8866";
const TEST_ADDRESS: &str = "127.0.0.1:0";
/// Connections that are kept free, for clients that release a lock.
const CONNECTIONS_KEPT: u32 = 256;
/// File descriptors that are not connections.
const DESCRIPTORS_KEPT: u64 = 64;
/// Time for requests in flight when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at the stop signal.
const STOP_POLL: Duration = Duration::from_millis(50);
/// Such looks between two searches for waiting requests whose clients have disconnected: the queue of a lock counts those that
/// are connected.
const DROP_DISCONNECTED_EVERY: u32 = 20;

impl ServeArgs {
    /// Serves until a signal to stop.
    pub(crate) fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        self.check(common)?;
        if matches!(self.log, LogFormat::Json) {
            log::use_json();
        }
        let chosen = common.token_file.as_deref().map(input::access_token).transpose()?;
        if chosen.as_ref().is_some_and(|secret| !token::is_secret(secret)) {
            return Err(CliError::usage("an access token is cbx_ and 16 to 128 characters of A-Z a-z 0-9 _ -"));
        }
        let stop =
            stop_signal().map_err(|error| CliError::unreachable(format!("cannot watch for signals: {error}")))?;
        if self.while_input {
            stop_after_input(Arc::clone(&stop));
        }
        let in_memory = self.memory || self.test && common.db.is_none();
        if !in_memory && is_server(&common.file()) {
            return self.serve_database(&common.file(), chosen.as_deref(), &stop);
        }
        if !in_memory {
            return self.serve(&common.file(), chosen.as_deref(), &stop);
        }
        let folder = TempFolder::new();
        let folder =
            folder.map_err(|error| CliError::unreachable(format!("cannot make a folder for --memory: {error}")))?;
        self.serve(&folder.database(), chosen.as_deref(), &stop)
    }

    /// Takes possession of the file first, since a served file is a better error than a port in use, and lets it go last.
    fn serve(&self, db: &Path, chosen: Option<&str>, stop: &AtomicBool) -> Result<Exit, CliError> {
        let possession = take_possession(db)?;
        let is_new = !db.exists();
        let address = self.address()?;
        let listener = listen(address).map_err(|error| cannot_listen(address, &error))?;
        let limits = self.limits();
        let options = self.options(&limits);
        let store = Store::open_possessed(possession, &options).map_err(|why| CliError::cannot_open(db, &why))?;
        if !is_new {
            store.log_schema(); // takes a third of a start
        }
        let server = Served { store, options, limits, listener, address, is_new };
        self.run_server(db, server, chosen, stop)
    }

    /// Becomes the writer of a ledger in PostgreSQL, and serves it.
    #[cfg(feature = "postgres")]
    fn serve_database(&self, db: &Path, chosen: Option<&str>, stop: &AtomicBool) -> Result<Exit, CliError> {
        let cannot_open = |name: &str, why: &OpenError| CliError::cannot_open(Path::new(name), why);
        let found = ServerAddress::of(db).expect("a URL of PostgreSQL's was found");
        let found = found.map_err(|why| cannot_open("the database in PostgreSQL", &why))?;
        let address = self.address()?;
        let listener = listen(address).map_err(|error| cannot_listen(address, &error))?;
        let limits = self.limits();
        let options = self.options(&limits);
        let (store, is_new) = Store::open_on_server(&found, &options).map_err(|why| cannot_open(found.name(), &why))?;
        let server = Served { store, options, limits, listener, address, is_new };
        self.run_server(Path::new(found.name()), server, chosen, stop)
    }

    #[cfg(not(feature = "postgres"))]
    fn serve_database(&self, _: &Path, _: Option<&str>, _: &AtomicBool) -> Result<Exit, CliError> {
        Err(CliError::usage(super::database::NOT_BUILT_IN))
    }

    fn run_server(&self, db: &Path, server: Served, chosen: Option<&str>, stop: &AtomicBool) -> Result<Exit, CliError> {
        let Served { store, options, limits, listener, address, is_new } = server;
        let (run_token, test) = if self.test {
            let test = TestMode::new(&store, options.randomness, self.clock, true);
            let test = test.map_err(|error| CliError::cannot_open(db, &error.into()))?;
            (chosen.unwrap_or(TEST_TOKEN).to_owned(), Some(Arc::new(test)))
        } else {
            if !self.open {
                provide_admin_token(&store, chosen)?;
            }
            (token::new_secret(), None)
        };
        let app = Arc::new(App::new(store, Settings { test, ..self.settings(&run_token) }));
        let server =
            Server::start(listener, limits, Arc::clone(&app) as _).map_err(|error| cannot_listen(address, &error))?;
        app.watch_connections(server.connection_counter());
        let url = format!("http://{}", reachable(server.address()));
        // Not an error: on a full disk the file can still be read, only commands on this machine do not find this server.
        if let Err(error) = app.store().possession().announce(&url, &run_token) {
            log::warn("commands on this machine will not find this server", &error);
        }
        let file = db.canonicalize().unwrap_or_else(|_| db.to_owned());
        log::info(if is_new { "serving a new wallet file" } else { "serving" }, &file.display());
        self.warn(server.address());
        if self.test {
            let token = if chosen.is_some() { "the one in --token-file" } else { TEST_TOKEN };
            log::warn("a server for tests, not for money; its admin's access token", &token);
        }
        if let Err(error) = output::print(&format!("listening on http://{}", server.address())) {
            log::warn("listening", &error.message);
        }
        if !self.no_console {
            output::print_error(&format!("console at {url}{}", crate::http::CONSOLE_FOLDER));
        }
        notify_systemd(NotifyState::Ready);
        let every = Duration::from_secs(self.anchor_every.unsigned_abs());
        let anchor = self.anchor.as_ref().map(|command| Anchor::start(&app, command, every)).transpose();
        let anchor = anchor.map_err(|error| CliError::unreachable(format!("cannot start a thread: {error}")))?;
        let exit = wait_for_stop(&app, stop);
        notify_systemd(NotifyState::Stopping);
        app.end_pauses();
        app.store().refuse_waiting();
        let busy = server.stop(STOP_TIMEOUT);
        if busy > 0 {
            log::warn("stopped before every request was answered; requests left", &busy);
        }
        app.store().stop_writing();
        anchor.into_iter().for_each(Anchor::finish);
        app.store().close();
        Ok(exit)
    }

    fn check(&self, common: &CommonOptions) -> Result<(), CliError> {
        if common.url.is_some() || common.token.is_some() {
            return Err(CliError::usage(
                "serve takes neither --url nor --token; the first admin's access token is given with --token-file",
            ));
        }
        if self.test && !self.address()?.ip().is_loopback() {
            let ip = self.address()?.ip();
            return Err(CliError::usage(format!(
                "--test takes a loopback address only, such as 127.0.0.1, and not {ip}: every client may move its clock"
            )));
        }
        if self.memory && common.db.is_some() {
            return Err(CliError::usage("give --db or --memory, not both"));
        }
        if self.max_parked.is_some_and(|parked| parked >= self.max_connections) {
            let why =
                "--max-parked has to be less than --max-connections: a client that releases a lock needs a connection";
            return Err(CliError::usage(why));
        }
        if self.open && !self.allow_origin.is_empty() && !self.memory && !self.test {
            return Err(CliError::usage(
                "--open with --allow-origin lets a web page spend from this file, so it needs --memory as well",
            ));
        }
        let ip = self.address()?.ip();
        if self.open && !ip.is_loopback() {
            return Err(CliError::usage(format!(
                "--open lets every caller spend, so it takes a loopback address only, such as 127.0.0.1, and not {ip}"
            )));
        }
        Ok(())
    }

    /// The address given by the arguments, or else by the environment.
    fn address(&self) -> Result<SocketAddr, CliError> {
        let default = if self.test { TEST_ADDRESS } else { DEFAULT_ADDRESS };
        let usual = || environment_text("CASHBOX_LISTEN").unwrap_or(default.to_owned());
        let wrong = |why| CliError::usage(format!("CASHBOX_LISTEN: {why}"));
        self.listen.map_or_else(|| address(&usual()).map_err(wrong), Ok)
    }

    /// The connections of the arguments, if there are descriptors for them.
    fn limits(&self) -> Limits {
        let room = raise_descriptor_limit().saturating_sub(DESCRIPTORS_KEPT).max(1);
        if room < self.max_connections.into() {
            log::warn("too few file descriptors for --max-connections; connections at a time", &room);
        }
        Limits { connections: room.min(self.max_connections.into()) as usize, ..Limits::default() }
    }

    fn options(&self, limits: &Limits) -> Options {
        Options {
            wait_limits: WaitLimits {
                total: self.parked(limits.connections),
                per_lock: self.max_parked_per_lock as usize,
            },
            min_free: self.min_free,
            keep_keys_days: self.keep_keys.into(),
            accept_clock: self.accept_clock || self.test,
            mode: OpenMode::Server,
            clock: if self.test { Clock::manual_at(self.clock.unwrap_or(MANUAL_START_MS)) } else { Clock::Machine },
            for_tests: self.test,
            randomness: if self.test { Randomness::seeded(self.seed) } else { Randomness::System },
            ..Options::default()
        }
    }

    /// The most requests that wait. With few connections, half of them may.
    fn parked(&self, connections: usize) -> usize {
        let most = connections.saturating_sub(CONNECTIONS_KEPT as usize).max(connections / 2);
        self.max_parked.map_or(most, |wanted| (wanted as usize).min(connections.saturating_sub(1)))
    }

    fn settings(&self, run_token: &str) -> Settings {
        Settings {
            open: self.open,
            allowed_origins: self.allow_origin.clone(),
            hosts: self.host.clone(),
            self_recharge: !self.no_self_recharge,
            console: !self.no_console,
            run_token: Some(run_token.to_owned()),
            streams_max: self.max_streams as usize,
            ..Settings::default()
        }
    }

    /// Warns of settings that let more callers spend than may be meant.
    fn warn(&self, address: SocketAddr) {
        if self.open {
            log::warn("--open", &"every local account can spend from every wallet here");
        }
        if !address.ip().is_loopback() {
            let advice = "access tokens travel unencrypted: put a TLS proxy in front that passes Host on, \
                          and let only the proxy reach this port";
            log::warn("listening beyond this machine", &advice);
        }
    }
}

/// A ledger that is open, and the place where requests come in.
struct Served {
    store: Store,
    options: Options,
    limits: Limits,
    listener: TcpListener,
    address: SocketAddr,
    is_new: bool,
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> CliError {
    CliError::unreachable(format!("cannot listen on {address}: {error}"))
}

/// Adopts the admin's access token that the operator chose, and mints one if no admin has a usable one.
fn provide_admin_token(store: &Store, chosen: Option<&str>) -> Result<(), CliError> {
    if let Some(secret) = chosen {
        match store.submit(Envelope::local(), AdoptToken(token::hash(secret))).result {
            Ok(_) => {}
            Err(error) if error.name == ErrorName::InvalidRequest => {
                return Err(CliError::usage(format!("--token-file: {}", error.detail)));
            }
            Err(error) => log::warn("the access token in --token-file cannot be used", &error),
        }
    }
    match mint_admin_token(store) {
        Ok(None) => {}
        // Shown once and kept out of the log.
        Ok(Some(secret)) => output::print_error(&format!("an admin's access token, shown this once: {secret}")),
        Err(error) => log::warn("cannot mint an access token", &error),
    }
    Ok(())
}

fn mint_admin_token(store: &Store) -> Result<Option<String>, Error> {
    let now = store.clock().wall_ms();
    if store.read(|tx| token::has_usable_admin(tx, now))? {
        return Ok(None);
    }
    let token = NewToken {
        role: Role::Admin,
        user: None,
        prefix: None,
        expires_in_s: None,
        note: Some("minted at start".to_owned()),
    };
    Ok(Some(store.submit(Envelope::local(), token).result?.secret))
}

/// Set by the first SIGINT, SIGTERM or SIGHUP. A second one ends the process at once. SIGHUP stays ignored where it is, as
/// under `nohup`.
pub(crate) fn stop_signal() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && is_ignored(signal) {
            continue;
        }
        // In this order: the first signal finds the flag unset, and then sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// True if the process was started with that signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Reports the state to systemd, if systemd started this process.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn("cannot notify systemd", &error);
    }
}

fn stop_after_input(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink()); // an error is an end too
        stop.store(true, Relaxed);
    });
}

/// Waits for a signal to stop, or until the storage cannot be trusted any more.
fn wait_for_stop(app: &App, stop: &AtomicBool) -> Exit {
    let (mut degraded, mut looks) = (DegradedLog::default(), 0u32);
    loop {
        degraded.look(app.store());
        if looks.is_multiple_of(DROP_DISCONNECTED_EVERY) && app.store().stats().parked.load(Relaxed) > 0 {
            app.store().drop_disconnected();
        }
        looks = looks.wrapping_add(1);
        if app.store().stats().outcome_unknown.load(Relaxed) {
            log::error("stopping", &"nothing more can be written safely; the line above says why");
            return Exit::Doubt;
        }
        if stop.load(Relaxed) {
            return Exit::Done;
        }
        sleep(STOP_POLL);
    }
}
