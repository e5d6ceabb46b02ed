//! Counting requests, and `GET /metrics` in Prometheus text.

use super::App;
use super::route::ROUTES;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The statuses there are, so that counting needs no lock.
const STATUSES: [u16; 26] = [
    200, 201, 204, 400, 401, 402, 403, 404, 405, 408, 409, 412, 413, 415, 417, 422, 423, 424, 428, 431, 500, 501, 503,
    505, 206, 304,
];

/// The upper bounds of the latency histogram, in microseconds.
const BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// Requests by route and status, and how long they took.
pub struct Metrics {
    requests: Vec<[AtomicU64; STATUSES.len()]>,
    took: [AtomicU64; BOUNDS_US.len() + 1],
    took_us: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let route = || std::array::from_fn(|_| AtomicU64::new(0));
        Metrics {
            requests: (0..=ROUTES.len()).map(|_| route()).collect(), // one more: no route at all
            took: std::array::from_fn(|_| AtomicU64::new(0)),
            took_us: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts a request: the number of its route (none if there was no such route), its status and how long it took.
    pub fn count(&self, route: Option<usize>, status: u16, took: Duration) {
        if let Some(place) = STATUSES.iter().position(|known| *known == status) {
            self.requests[route.unwrap_or(ROUTES.len())][place].fetch_add(1, Relaxed);
        }
        let us = took.as_micros() as u64;
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.took[bucket].fetch_add(1, Relaxed);
        self.took_us.fetch_add(us, Relaxed);
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
    let _ = writeln!(
        out,
        "# HELP cashbox_commit_seconds_total Time spent in commits.\n# TYPE cashbox_commit_seconds_total counter"
    );
    let _ = writeln!(out, "cashbox_commit_seconds_total {}", seconds(stats.commit_us.load(Relaxed)));
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

fn one(out: &mut String, name: &str, kind: &str, about: &str, value: u64) {
    let _ = writeln!(out, "# HELP cashbox_{name} {about}\n# TYPE cashbox_{name} {kind}\ncashbox_{name} {value}");
}

fn requests(metrics: &Metrics, out: &mut String) {
    out.push_str(
        "# HELP cashbox_requests_total Requests by route and status.\n# TYPE cashbox_requests_total counter\n",
    );
    for (number, counts) in metrics.requests.iter().enumerate() {
        let (method, path) = ROUTES.get(number).map_or(("", ""), |route| (route.method, route.path));
        for (status, count) in STATUSES.iter().zip(counts) {
            let count = count.load(Relaxed);
            if count > 0 {
                let labels = format!("method=\"{method}\",route=\"{path}\",status=\"{status}\"");
                let _ = writeln!(out, "cashbox_requests_total{{{labels}}} {count}");
            }
        }
    }
}

fn latency(metrics: &Metrics, out: &mut String) {
    let name = "cashbox_request_duration_seconds";
    let _ =
        writeln!(out, "# HELP {name} How long requests took, from whole request to answer.\n# TYPE {name} histogram");
    let mut sum = 0;
    for (bound, count) in BOUNDS_US.iter().map(|us| seconds(*us)).chain(["+Inf".to_owned()]).zip(&metrics.took) {
        sum += count.load(Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {sum}", seconds(metrics.took_us.load(Relaxed)));
}

/// Microseconds as seconds in decimal.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
