//! `cashbox bench`: load on its own server, or on the one at `--url`, and then the audit.

use super::api_call::ApiCall;
use super::files::verify_call;
use super::input::{self, CommonOptions};
use super::output::{self, CliError, Exit, ServerReply};
use super::screen;
use super::serve::stop_signal;
use super::target::{Target, check_url};
use super::temp_folder::{TempFolder, is_in_memory};
use crate::bench::{
    self, BenchAudit, BenchCaller, BenchOp, BenchOptions, BenchOutcome, BenchPlan, BenchReport, BenchServer,
    BenchTarget, UnexpectedStatus,
};
use crate::http::conn::raise_descriptor_limit;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::Value;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// `cashbox bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Operation to repeat
    #[arg(long, value_enum, default_value = "withdraw")]
    op: BenchOp,
    /// Connections, each with one request at a time [default: 100; batch: 4; lock: 64]
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    connections: Option<usize>,
    /// Time to measure, such as 10, 10s, 500ms, 1h30m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::duration("1ms", "1d"))]
    duration: Duration,
    /// Time to run before that, not measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = input::duration("0s", "1d"))]
    warm_up: Duration,
    /// Wallets to work on, or locks; 1 makes one hot row [default: 100; lock: one for each connection]
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    wallets: Option<usize>,
    /// Requests that are due each second, however fast the server is; a latency counts from when its request was due
    /// [default: each connection sends its next request as soon as it is answered]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Withdrawals in one request, with --op batch
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    items: usize,
}

/// Threads that drive the connections: more would take the cores from the server.
const DRIVERS: usize = 2;
/// Connections beside those that are measured.
const EXTRA_CONNECTIONS: usize = 8;
/// File descriptors that are not connections, here and in the server.
const DESCRIPTORS_KEPT: u64 = 80;

impl BenchArgs {
    /// Measures, checks, audits and prints. Ends early, with the figures there are, at a signal to stop.
    pub(crate) fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        if common.db.is_some() {
            return Err(CliError::usage("bench works on a file of its own, or at --url: it takes no --db"));
        }
        let options = self.options()?;
        let room = raise_descriptor_limit().saturating_sub(DESCRIPTORS_KEPT);
        if room < options.connections as u64 {
            return Err(CliError::usage(format!(
                "{} connections are more than the {room} that file descriptors allow here: give fewer, or raise ulimit -n",
                options.connections
            )));
        }
        let stop =
            stop_signal().map_err(|error| CliError::unreachable(format!("cannot watch for signals: {error}")))?;
        let report = match Target::from_url_option(common)? {
            Some(target) => at_target(&target, options, &stop)?,
            None if common.token.is_some() || common.token_file.is_some() => {
                return Err(CliError::usage("an access token is for --url: the server that bench starts has its own"));
            }
            None => at_own_server(options, &stop)?,
        };
        let text = || report.text(screen::columns()).replace("WRONG", &screen::red("WRONG", &io::stdout()));
        output::print(&if common.json { report.json().to_string() } else { text() })?;
        Ok(if report.wrong().is_empty() { Exit::Done } else { Exit::Damage })
    }

    fn options(&self) -> Result<BenchOptions, CliError> {
        let connections = self.connections.unwrap_or(match self.op {
            BenchOp::Batch => 4,
            BenchOp::Lock => 64,
            _ => 100,
        });
        let wallets = self.wallets.unwrap_or(if self.op == BenchOp::Lock { connections } else { 100 });
        if self.op == BenchOp::Transfer && wallets < 2 {
            return Err(CliError::usage("a transfer needs two wallets"));
        }
        let plan = BenchPlan { warm_up: self.warm_up, measured: self.duration, rate: self.rate, drivers: DRIVERS };
        Ok(BenchOptions { op: self.op, connections, wallets, items: self.items, plan })
    }
}

/// Measures the server at the target.
fn at_target(target: &Target, options: BenchOptions, stop: &AtomicBool) -> Result<BenchReport, CliError> {
    let (url, token) = target.url().expect("bench never opens a file");
    let server = bench_target(url, token)?;
    let healthy = target.send(&ApiCall::get(&["healthz"]))?; // its errors name best what is not a server, or not cashbox
    if !healthy.is_success() {
        return Err(CliError::unreachable(format!("{url} is not healthy: {}", output::refusal_text(&healthy.body))));
    }
    let outcome = bench::run(&server, options, stop).map_err(|error| no_figures(url, &error))?;
    let audit = audit_at(target)?;
    Ok(BenchReport { outcome, audit, note: None })
}

/// The address, host name and path of a URL.
pub(crate) fn bench_target(url: &str, token: Option<&str>) -> Result<BenchTarget, CliError> {
    let unsendable =
        |why| CliError::usage(format!("{url} is not a valid URL of a server: {why}; write http://HOST:PORT"));
    if url.starts_with("https:") {
        return Err(CliError::usage("bench measures over http://: measure the server itself, and not its TLS proxy"));
    }
    check_url(url).map_err(unsendable)?;
    let uri: ureq::http::Uri = url.parse().map_err(|_| unsendable("it cannot be read"))?;
    let authority = uri.authority().ok_or_else(|| unsendable("its host is missing"))?;
    if token.is_some_and(|token| token.bytes().any(|byte| !byte.is_ascii_graphic())) {
        return Err(CliError::usage("an access token has no spaces and no control characters"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs().ok().and_then(|mut found| found.next());
    let address =
        address.ok_or_else(|| CliError::unreachable(format!("cannot reach {url}: {host} has no known address")))?;
    Ok(BenchTarget { address, caller: BenchCaller::new(authority.as_str(), uri.path().trim_end_matches('/'), token) })
}

/// The audit of a server, if the access token allows it.
fn audit_at(target: &Target) -> Result<BenchAudit, CliError> {
    let ServerReply { status, body, .. } = target.send(&verify_call(None))?;
    let findings =
        || body["findings"].as_array().into_iter().flatten().map(|found| output::text(&found["finding"])).collect();
    match status {
        200 if body["ok"] == true => Ok(BenchAudit::Clean),
        200 => Ok(BenchAudit::Found(findings())),
        403 => Ok(BenchAudit::NotRun("not audited: the access token does not allow it".to_owned())),
        _ => Err(CliError {
            exit: Exit::of(status, &body),
            message: format!("no audit: {}", output::refusal_text(&body)),
        }),
    }
}

/// Measures a server started for it, on a file that is removed with it.
fn at_own_server(options: BenchOptions, stop: &AtomicBool) -> Result<BenchReport, CliError> {
    let failed = |error: io::Error| no_figures("the server that bench started", &error);
    let folder = TempFolder::for_bench()
        .map_err(|error| CliError::unreachable(format!("cannot make a folder for the file: {error}")))?;
    let program = std::env::current_exe().map_err(failed)?;
    let (parked, room) = (
        (options.connections + EXTRA_CONNECTIONS).to_string(),
        (options.connections + 2 * EXTRA_CONNECTIONS).to_string(),
    );
    let limits = ["--max-connections", &room, "--max-parked", &parked, "--max-parked-per-lock", &parked];
    let server = BenchServer::start(&program, &folder.database(), &limits).map_err(failed)?;
    let outcome: BenchOutcome = bench::run(&server.target, options, stop).map_err(failed)?;
    let found = server.stop_and_audit().map_err(failed)?;
    let audit = if found.is_empty() { BenchAudit::Clean } else { BenchAudit::Found(found) };
    let in_memory = "the file was in memory, where a commit costs nothing: set TMPDIR to a folder on a disk".to_owned();
    Ok(BenchReport { outcome, audit, note: is_in_memory(folder.path()).then_some(in_memory) })
}

/// The error that left the run without figures.
fn no_figures(server: &str, error: &io::Error) -> CliError {
    let Some(UnexpectedStatus { status, body }) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return CliError::unreachable(format!("no figures from {server}: {error}"));
    };
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let refusal = output::refusal_text(&body);
    match status {
        401 | 403 => CliError::usage(format!(
            "bench needs the access token of a teller or an admin; {server} answers: {refusal}"
        )),
        _ => CliError {
            exit: Exit::of(*status, &body),
            message: format!("no figures: {server} answers {status}: {refusal}"),
        },
    }
}
