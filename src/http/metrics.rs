//! Counting requests, and `GET /metrics` in Prometheus text.

use super::App;
use super::endpoint::Route;
use crate::store::stats::{DURATIONS_US, Histogram};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The statuses there are, so that counting needs no lock.
const STATUSES: [u16; 26] = [
    200, 201, 204, 400, 401, 402, 403, 404, 405, 408, 409, 412, 413, 415, 417, 422, 423, 424, 428, 431, 500, 501, 503,
    505, 206, 304,
];

/// Requests by route and status, and how long they took by route. The last place is for those that no route took.
pub struct Metrics {
    pub routes: &'static [Route],
    requests: Vec<[AtomicU64; STATUSES.len()]>,
    took_us: Vec<Histogram>,
}

impl Metrics {
    /// Nothing has been counted.
    pub fn new(routes: &'static [Route]) -> Metrics {
        let places = 0..=routes.len();
        Metrics {
            routes,
            requests: places.clone().map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
            took_us: places.map(|_| Histogram::new(DURATIONS_US)).collect(),
        }
    }

    /// The labels that name a route; those of what no route took are empty.
    fn labels(&self, route: usize) -> String {
        let (method, path) = self.routes.get(route).map_or(("", ""), |route| (route.method, route.path));
        format!("method=\"{method}\",route=\"{path}\"")
    }

    /// Counts a request: the number of its route (none if there was no such route), its status and how long it took.
    pub fn count(&self, route: Option<usize>, status: u16, took: Duration) {
        let route = route.unwrap_or(self.routes.len());
        if let Some(place) = STATUSES.iter().position(|known| *known == status) {
            self.requests[route][place].fetch_add(1, Relaxed);
        }
        self.took_us[route].add(took.as_micros() as u64);
    }
}

/// Everything as Prometheus text.
pub fn text(app: &App) -> String {
    let mut out = String::new();
    requests(&app.metrics, &mut out);
    latency(&app.metrics, &mut out);
    let stats = app.store().stats();
    let counters = [
        ("commands_total", "Commands taken up by the writer.", &stats.commands),
        ("commits_total", "Commits; commands per commit is the batch size.", &stats.commits),
        ("idempotent_replays_total", "Answers given again under an idempotency key.", &stats.replays),
        ("lock_waits_total", "Requests that had to wait for a lock.", &stats.lock_waits),
        ("lock_takeovers_total", "Dead leases taken over.", &stats.takeovers),
    ];
    for (name, about, value) in counters {
        one(&mut out, name, "counter", about, value.load(Relaxed));
    }
    describe(&mut out, "commit_seconds", "histogram", "How long commits took.");
    histogram(&mut out, "commit_seconds", "", &stats.commit_us, seconds);
    describe(&mut out, "batch_commands", "histogram", "How many commands a commit took.");
    histogram(&mut out, "batch_commands", "", &stats.batch, |count| count.to_string());
    let gauges = [
        ("queue_length", "Commands waiting for the writer.", &stats.queued),
        ("lock_waiting", "Requests waiting for a lock.", &stats.parked),
        ("wal_bytes", "Size of the write-ahead log.", &stats.wal_bytes),
        ("free_bytes", "Free space on the file system.", &stats.free_bytes),
    ];
    for (name, about, value) in gauges {
        one(&mut out, name, "gauge", about, value.load(Relaxed));
    }
    out
}

fn describe(out: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(out, "# HELP cashbox_{name} {about}\n# TYPE cashbox_{name} {kind}");
}

fn one(out: &mut String, name: &str, kind: &str, about: &str, value: u64) {
    describe(out, name, kind, about);
    let _ = writeln!(out, "cashbox_{name} {value}");
}

fn requests(metrics: &Metrics, out: &mut String) {
    describe(out, "requests_total", "counter", "Requests by route and status.");
    for (route, counts) in metrics.requests.iter().enumerate() {
        for (status, count) in STATUSES.iter().zip(counts) {
            let count = count.load(Relaxed);
            if count > 0 {
                let _ =
                    writeln!(out, "cashbox_requests_total{{{},status=\"{status}\"}} {count}", metrics.labels(route));
            }
        }
    }
}

fn latency(metrics: &Metrics, out: &mut String) {
    const NAME: &str = "request_duration_seconds";
    describe(out, NAME, "histogram", "How long requests took, from whole request to answer.");
    for (route, took) in metrics.took_us.iter().enumerate() {
        if took.cumulated().last() != Some(&0) {
            histogram(out, NAME, &metrics.labels(route), took, seconds);
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, values: &Histogram, shown: fn(u64) -> String) {
    let counts = values.cumulated();
    let bounds = values.bounds.iter().map(|bound| shown(*bound)).chain(["+Inf".to_owned()]);
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in bounds.zip(&counts) {
        let _ = writeln!(out, "cashbox_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let (sum, count) = (shown(values.sum()), counts.last().copied().unwrap_or(0));
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(out, "cashbox_{name}_sum{labels} {sum}\ncashbox_{name}_count{labels} {count}");
}

/// Microseconds as seconds in decimal.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
