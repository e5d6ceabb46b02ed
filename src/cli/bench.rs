//! `cashbox bench`: load on a server of its own, or on the one it is given, and then the audit.

use super::call::Call;
use super::door::{Answer, Door};
use super::exit::{Exit, Trouble};
use super::memory::{Folder, is_in_memory};
use super::serve::stop_signal;
use super::{Common, input, show, verify};
use crate::bench::fleet::BenchPlan;
use crate::bench::report::{BenchAudit, BenchReport};
use crate::bench::server::BenchServer;
use crate::bench::{self, BenchCaller, BenchOp, BenchOptions, BenchOutcome, BenchTarget, UnexpectedStatus};
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
pub struct Bench {
    /// What to ask for, again and again
    #[arg(long, value_enum, default_value = "withdraw")]
    op: BenchOp,
    /// Connections, each with one request on its way [default: 100; batch: 4; lock: 64]
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    connections: Option<usize>,
    /// How long to measure: 500ms, 10s, 2m
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = input::lasting)]
    duration: i64,
    /// How long to run before that
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = input::span)]
    warm_up: i64,
    /// Wallets that are worked on, or locks; 1 is hot [default: 100; lock: one for each connection]
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    wallets: Option<usize>,
    /// Requests that are due a second, whatever the server does; a latency counts from when its request was due
    /// [default: each connection asks again as soon as it is answered]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Withdrawals in one request, with --op batch
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    items: usize,
}

/// Threads that drive the connections: more would take the cores from the server.
const DRIVERS: usize = 2;
/// Connections that are not measured.
const BESIDE: usize = 8;
/// File descriptors that are not connections, here and in the server.
const DESCRIPTORS_KEPT: u64 = 80;

impl Bench {
    /// Measures, checks, audits and tells. Ends early, with the figures there are, when told to stop.
    pub fn run(&self, common: &Common) -> Result<Exit, Trouble> {
        if common.db.is_some() {
            return Err(Trouble::usage("bench works on a file of its own, or at --url: it takes no --db"));
        }
        let wanted = self.wanted()?;
        let room = raise_descriptor_limit().saturating_sub(DESCRIPTORS_KEPT);
        if room < wanted.connections as u64 {
            return Err(Trouble::usage(format!(
                "{} connections are more than the {room} that file descriptors allow here (ulimit -n)",
                wanted.connections
            )));
        }
        let stop = stop_signal().map_err(|error| Trouble::unreachable(format!("cannot hear signals: {error}")))?;
        let report = match Door::given(common)? {
            Some(door) => elsewhere(&door, wanted, &stop)?,
            None if common.token.is_some() || common.token_file.is_some() => {
                return Err(Trouble::usage("an access token is for --url: the server that bench starts has its own"));
            }
            None => on_its_own(wanted, &stop)?,
        };
        show::print(&if common.json { report.json().to_string() } else { report.text() })?;
        Ok(if report.wrong().is_empty() { Exit::Done } else { Exit::Damage })
    }

    fn wanted(&self) -> Result<BenchOptions, Trouble> {
        let connections = self.connections.unwrap_or(match self.op {
            BenchOp::Batch => 4,
            BenchOp::Lock => 64,
            _ => 100,
        });
        let wallets = self.wallets.unwrap_or(if self.op == BenchOp::Lock { connections } else { 100 });
        if self.op == BenchOp::Transfer && wallets < 2 {
            return Err(Trouble::usage("a transfer needs two wallets"));
        }
        let span = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let plan =
            BenchPlan { warm_up: span(self.warm_up), measured: span(self.duration), rate: self.rate, drivers: DRIVERS };
        Ok(BenchOptions { op: self.op, connections, wallets, items: self.items, plan })
    }
}

/// At the server behind the door, and nowhere else.
fn elsewhere(door: &Door, wanted: BenchOptions, stop: &AtomicBool) -> Result<BenchReport, Trouble> {
    let (url, token) = door.url().expect("bench never opens a file");
    let site = site(url, token)?;
    let healthy = door.answer(&Call::get(&["healthz"]))?; // says best what is no server, or no cashbox
    if !healthy.is_good() {
        return Err(Trouble::unreachable(format!("{url} is not well: {}", show::problem(&healthy.body))));
    }
    let outcome = bench::run(&site, wanted, stop).map_err(|error| trouble(url, &error))?;
    let audit = audit_at(door)?;
    Ok(BenchReport { outcome, audit, note: None })
}

/// Where a URL leads to.
fn site(url: &str, token: Option<&str>) -> Result<BenchTarget, Trouble> {
    let unsendable = || Trouble::usage(format!("{url} is no address of a server: http://HOST:PORT"));
    let uri: ureq::http::Uri = url.parse().map_err(|_| unsendable())?;
    let authority = uri.authority().ok_or_else(unsendable)?;
    let has_more = authority.port().is_none() && authority.as_str() != authority.host(); // `user@`, or a port that is none
    if uri.query().is_some() || has_more || authority.as_str().contains('@') {
        return Err(unsendable());
    }
    if token.is_some_and(|token| token.bytes().any(|byte| !byte.is_ascii_graphic())) {
        return Err(Trouble::usage("an access token has no spaces and no control characters"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs().ok().and_then(|mut found| found.next());
    let address = address.ok_or_else(|| Trouble::unreachable(format!("cannot reach {url}: nobody knows {host}")))?;
    Ok(BenchTarget { address, caller: BenchCaller::new(authority.as_str(), uri.path().trim_end_matches('/'), token) })
}

/// The audit of a server, if this token may ask for it.
fn audit_at(door: &Door) -> Result<BenchAudit, Trouble> {
    let Answer { status, body } = door.answer(&verify::call(None))?;
    let found =
        || body["findings"].as_array().into_iter().flatten().map(|found| show::text(&found["finding"])).collect();
    match status {
        200 if body["ok"] == true => Ok(BenchAudit::Clean),
        200 => Ok(BenchAudit::Found(found())),
        403 => Ok(BenchAudit::NotAsked("audit not asked: this token may not".to_owned())),
        _ => Err(Trouble { exit: Exit::of(status, &body), sentence: format!("no audit: {}", show::problem(&body)) }),
    }
}

/// On a server that is started for it, on a file that goes with it.
fn on_its_own(wanted: BenchOptions, stop: &AtomicBool) -> Result<BenchReport, Trouble> {
    let failed = |error: io::Error| trouble("the server that bench started", &error);
    let folder = Folder::for_bench().map_err(|error| Trouble::unreachable(format!("no place for a file: {error}")))?;
    let program = std::env::current_exe().map_err(failed)?;
    let (parked, room) = ((wanted.connections + BESIDE).to_string(), (wanted.connections + 2 * BESIDE).to_string());
    let options = ["--max-connections", &room, "--max-parked", &parked, "--max-parked-per-lock", &parked];
    let server = BenchServer::start(&program, &folder.database(), &options).map_err(failed)?;
    let outcome: BenchOutcome = bench::run(&server.site, wanted, stop).map_err(failed)?;
    let found = server.stop_and_audit().map_err(failed)?;
    let audit = if found.is_empty() { BenchAudit::Clean } else { BenchAudit::Found(found) };
    let in_memory =
        "the file was in memory, where a commit costs nothing: name a folder on a disk with TMPDIR".to_owned();
    Ok(BenchReport { outcome, audit, note: is_in_memory(folder.path()).then_some(in_memory) })
}

/// Why there are no figures.
fn trouble(whom: &str, error: &io::Error) -> Trouble {
    let Some(UnexpectedStatus { status, body }) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return Trouble::unreachable(format!("no figures from {whom}: {error}"));
    };
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let said = show::problem(&body);
    match status {
        401 | 403 => {
            Trouble::usage(format!("bench needs the access token of a teller or an admin; {whom} says {said}"))
        }
        _ => Trouble { exit: Exit::of(*status, &body), sentence: format!("no figures: {whom} says {status}, {said}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_one_server() {
        let to = |url| site(url, None).map(|site| site.address.to_string()).ok();
        assert_eq!(to("http://127.0.0.1:8866").as_deref(), Some("127.0.0.1:8866"));
        assert_eq!(to("http://127.0.0.1").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(to("http://[::1]:99/behind/a/proxy").as_deref(), Some("[::1]:99"));
        for wrong in ["http://", "http://a b", "http://127.0.0.1:1/?q=1", "http://me@127.0.0.1", "http://127.0.0.1:x"] {
            assert_eq!(to(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_of_the_url_stands_before_every_target() {
        let site = site("http://127.0.0.1:1/wallets/", Some("cbx_x")).unwrap();
        let request = String::from_utf8(site.caller.request("GET", "/v1/verify", "", "")).unwrap();
        assert!(request.starts_with("GET /wallets/v1/verify HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{request}");
    }
}
