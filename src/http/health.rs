//! The state of the program: `GET /healthz`, and `GET /metrics` in Prometheus text.

use super::request::{Context, HandlerResult};
use super::response;
#[cfg(test)]
use super::schemas::{HealthWord, TimeText};
use super::state::{AppState, RequestCounts};
use crate::clock::rfc3339;
use crate::secret::parse_hash;
use crate::store::Store;
use crate::store::possession::FileFault;
use crate::store::stats::Histogram;
use serde::Serialize;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// A larger write-ahead log was not cut back, for want of a moment without readers.
const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A writer that needs longer for one batch has stalled.
const STALLED_MS: i64 = 2_000;

/// Header of a challenge: 64 hexadecimal digits. A command on this machine sends it before any access token.
pub(crate) const CHALLENGE: &str = "cashbox-challenge";

/// The reasons why the program is degraded: the name of each in metrics, and its sentence.
pub(crate) fn degraded(store: &Store) -> Vec<(&'static str, String)> {
    let stats = store.stats();
    let mut why = Vec::new();
    if stats.storage_full.load(Relaxed) {
        why.push(("storage_full", "too little space is left to write; reading goes on".to_owned()));
    }
    let faults = FileFault::all_in(stats.file_faults.load(Relaxed));
    why.extend(faults.map(|fault| (fault.label(), fault.sentence().to_owned())));
    if stats.outcome_unknown.load(Relaxed) {
        why.push(("outcome_unknown", "a commit failed and its outcome is unknown; the process stops".to_owned()));
    }
    if store.has_lost_database() {
        let sentence = "the database cannot be reached: nothing is read or written until it is there";
        why.push(("database_unreachable", sentence.to_owned()));
    }
    why.extend(stats.clock_jump().map(|jump| ("clock_jumped", jump)));
    let behind_ms = stats.clock_behind_ms.load(Relaxed);
    if behind_ms > 0 {
        let sentence =
            format!("the wall clock is {behind_ms} ms behind the newest entry; entries repeat its time meanwhile");
        why.push(("clock_behind", sentence));
    }
    let wal_bytes = stats.wal_bytes.load(Relaxed);
    if wal_bytes > WAL_BYTES_MAX {
        let sentence = format!(
            "the write-ahead log has {wal_bytes} bytes: a program has been reading the file for a long time (an open sqlite3, or a tool that replicates it and hangs), and the log grows until it ends"
        );
        why.push(("log_large", sentence));
    }
    let busy_since_ms = stats.busy_since_ms.load(Relaxed) as i64;
    let busy_ms = store.clock().boot_ms() - busy_since_ms;
    if busy_since_ms > 0 && busy_ms > STALLED_MS {
        why.push(("writer_stalled", format!("the writer has been waiting for the disk for {busy_ms} ms")));
    }
    why
}

/// Logs the beginning and the end of each reason to be degraded, once. The writer logs those of the files itself.
#[derive(Default)]
pub(crate) struct DegradedLog(Vec<&'static str>);

impl DegradedLog {
    /// Compares with the last look.
    pub(crate) fn look(&mut self, store: &Store) {
        let is_of_files = |label: &str| FileFault::all_in(u8::MAX).any(|fault| fault.label() == label);
        let now: Vec<_> = degraded(store).into_iter().filter(|(label, _)| !is_of_files(label)).collect();
        for (_, sentence) in now.iter().filter(|(label, _)| !self.0.contains(label)) {
            crate::log::error("degraded", sentence);
        }
        let labels: Vec<_> = now.into_iter().map(|(label, _)| label).collect();
        for label in self.0.iter().filter(|label| !labels.contains(label)) {
            crate::log::info("no longer degraded", label);
        }
        self.0 = labels;
    }
}

/// The state of the program.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Health"))]
pub(crate) struct HealthJson {
    /// Its state: `ok` or `degraded`.
    #[cfg_attr(test, schemars(with = "HealthWord"))]
    status: &'static str,
    /// The reasons why it is degraded; empty if it is not.
    why: Vec<String>,
    /// The program's version.
    version: &'static str,
    /// The number of commands that wait for the writer.
    queued: u64,
    /// The number of requests that wait for a lock or for an entry.
    waiting: u64,
    /// The size of the write-ahead log, in bytes.
    wal_bytes: u64,
    /// The size of the file without its log, in bytes.
    db_bytes: u64,
    /// The start of the process.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    started_at: String,
    /// True for a server for tests of other programs (`serve --test`); absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
    /// The answer to the header `cashbox-challenge`: proves that the server knows the token of its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    proof: Option<String>,
}

/// `GET /healthz`: `ok`, or `degraded` and why.
pub(crate) fn healthz(context: &mut Context<'_>) -> HandlerResult {
    let stats = context.app.store.stats();
    let why: Vec<String> = degraded(&context.app.store).into_iter().map(|(_, sentence)| sentence).collect();
    let status = if why.is_empty() { "ok" } else { "degraded" };
    let challenge = context.head.header(CHALLENGE).and_then(parse_hash);
    let health = HealthJson {
        status,
        why,
        version: env!("CARGO_PKG_VERSION"),
        queued: stats.queued.load(Relaxed),
        waiting: stats.parked.load(Relaxed),
        wal_bytes: stats.wal_bytes.load(Relaxed),
        db_bytes: context.app.store.db_bytes(),
        started_at: rfc3339(context.app.started_at),
        test: context.app.settings.test.is_some(),
        proof: challenge.and_then(|challenge| context.app.tokens.proof(&challenge)),
    };
    Ok(response::ok(status, &health))
}

/// `GET /metrics`
pub(crate) fn metrics(context: &mut Context<'_>) -> HandlerResult {
    Ok(response::bytes(200, "text/plain; version=0.0.4", prometheus_text(context.app).into_bytes()))
}

fn prometheus_text(app: &AppState) -> String {
    let mut out = String::new();
    requests(&app.counts, &mut out);
    durations(&app.counts, &mut out);
    let stats = app.store.stats();
    let counters = [
        ("commands_total", "Commands taken up by the writer.", &stats.commands),
        ("commits_total", "Commits; commands per commit is the batch size.", &stats.commits),
        ("idempotent_replays_total", "Answers given again under an idempotency key.", &stats.replays),
        ("lock_waits_total", "Requests that had to wait for a lock.", &stats.lock_waits),
        ("lock_takeovers_total", "Expired leases taken over.", &stats.takeovers),
        ("anchors_total", "Lines handed to the command of --anchor.", &stats.anchors),
        ("anchor_failures_total", "Lines that the command of --anchor did not take.", &stats.anchor_failures),
        ("holds_settled_total", "Holds whose money was given back by the server itself.", &stats.settled_holds),
    ];
    for (name, about, value) in counters {
        single(&mut out, name, "counter", about, value.load(Relaxed));
    }
    describe(&mut out, "commit_seconds", "histogram", "How long commits took.");
    histogram(&mut out, "commit_seconds", "", &stats.commit_us, seconds);
    describe(&mut out, "batch_commands", "histogram", "How many commands a commit took.");
    histogram(&mut out, "batch_commands", "", &stats.batch, |count| count.to_string());
    let gauges = [
        ("queue_length", "Commands waiting for the writer.", &stats.queued),
        ("lock_waiting", "Requests waiting for a lock.", &stats.parked),
        ("journal_lines", "Lines of the journal.", &stats.journal_lines),
        ("wal_bytes", "Size of the write-ahead log.", &stats.wal_bytes),
        ("free_bytes", "Free space on the file system.", &stats.free_bytes),
    ];
    for (name, about, value) in gauges {
        single(&mut out, name, "gauge", about, value.load(Relaxed));
    }
    let oldest_wait_ms = app.store.oldest_wait_ms().unwrap_or(0);
    describe(
        &mut out,
        "lock_oldest_wait_seconds",
        "gauge",
        "Time for which the oldest request waiting for a lock has waited.",
    );
    let _ = writeln!(out, "cashbox_lock_oldest_wait_seconds {}.{:03}", oldest_wait_ms / 1_000, oldest_wait_ms % 1_000);
    single(&mut out, "db_bytes", "gauge", "Size of the file without its log.", app.store.db_bytes());
    single(&mut out, "event_streams", "gauge", "Open streams of entries.", app.store.entry_streams() as u64);
    describe(&mut out, "degraded", "gauge", "1 for each reason that /healthz gives for degraded.");
    for (label, _) in degraded(&app.store) {
        let _ = writeln!(out, "cashbox_degraded{{why=\"{label}\"}} 1");
    }
    describe(&mut out, "build_info", "gauge", "1, with the program's version.");
    let _ = writeln!(out, "cashbox_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    if let Some(count) = app.connections.get() {
        single(&mut out, "connections", "gauge", "Connections now.", count() as u64);
    }
    let start = "# HELP process_start_time_seconds Start of the process, in seconds since 1970.\n\
                 # TYPE process_start_time_seconds gauge\nprocess_start_time_seconds";
    let _ = writeln!(out, "{start} {}", app.started_at / 1_000);
    out
}

fn describe(out: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(out, "# HELP cashbox_{name} {about}\n# TYPE cashbox_{name} {kind}");
}

fn single(out: &mut String, name: &str, kind: &str, about: &str, value: u64) {
    describe(out, name, kind, about);
    let _ = writeln!(out, "cashbox_{name} {value}");
}

/// The labels of requests without a route are empty.
fn labels(method: &str, path: &str) -> String {
    format!("method=\"{method}\",route=\"{path}\"")
}

fn requests(counts: &RequestCounts, out: &mut String) {
    describe(out, "requests_total", "counter", "Requests by route and status.");
    for route in &counts.routes {
        let labels = labels(route.method, route.path);
        for (status, count) in counts.statuses.iter().zip(&route.by_status) {
            let count = count.load(Relaxed);
            if count > 0 {
                let _ = writeln!(out, "cashbox_requests_total{{{labels},status=\"{status}\"}} {count}");
            }
        }
    }
}

fn durations(counts: &RequestCounts, out: &mut String) {
    const NAME: &str = "request_duration_seconds";
    describe(out, NAME, "histogram", "How long requests took, from whole request to answer.");
    for route in &counts.routes {
        if route.durations_us.cumulated().last() != Some(&0) {
            histogram(out, NAME, &labels(route.method, route.path), &route.durations_us, seconds);
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, values: &Histogram, text: fn(u64) -> String) {
    let counts = values.cumulated();
    let bounds = values.bounds.iter().map(|bound| text(*bound)).chain(["+Inf".to_owned()]);
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in bounds.zip(&counts) {
        let _ = writeln!(out, "cashbox_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let (sum, count) = (text(values.sum()), counts.last().copied().unwrap_or(0));
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(out, "cashbox_{name}_sum{labels} {sum}\ncashbox_{name}_count{labels} {count}");
}

/// Microseconds as seconds in decimal.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
