//! How the program itself is: `/healthz`, `/metrics`, `/openapi.json`.

use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::{metrics, openapi};
use serde_json::json;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

/// A write-ahead log above this is not cut back for want of a moment without readers.
const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A writer that takes longer for what it has in hand has stalled.
const STALLED_MS: i64 = 2_000;

/// `GET /healthz`: alive; `ok`, or `degraded` and why.
pub fn healthz(context: &mut Context<'_>) -> HandlerResult {
    let stats = context.app.store().stats();
    let behind_ms = stats.clock_behind_ms.load(Relaxed);
    let mut why = Vec::new();
    if stats.storage_full.load(Relaxed) {
        why.push("too little space is left to write; reading goes on".to_owned());
    }
    if stats.file_is_gone.load(Relaxed) {
        why.push("the file was moved, replaced or deleted; nothing is written until it is back".to_owned());
    }
    if stats.outcome_unknown.load(Relaxed) {
        why.push("a commit failed and its outcome is unknown; the process stops".to_owned());
    }
    if behind_ms > 0 {
        why.push(format!(
            "the wall clock is {behind_ms} ms behind the newest entry; entries repeat its time meanwhile"
        ));
    }
    let wal_bytes = stats.wal_bytes.load(Relaxed);
    if wal_bytes > WAL_BYTES_MAX {
        why.push(format!(
            "the write-ahead log has {wal_bytes} bytes: something has been reading the file for a long time"
        ));
    }
    let busy_since_ms = stats.busy_since_ms.load(Relaxed) as i64;
    let busy_ms = context.app.store().clock().boot_ms() - busy_since_ms;
    if busy_since_ms > 0 && busy_ms > STALLED_MS {
        why.push(format!("the writer has been waiting for the disk for {busy_ms} ms"));
    }
    let status = if why.is_empty() { "ok" } else { "degraded" };
    let rest = json!({
        "status": status,
        "why": why,
        "version": env!("CARGO_PKG_VERSION"),
        "queued": stats.queued.load(Relaxed),
        "waiting": stats.parked.load(Relaxed),
        "wal_bytes": wal_bytes,
    });
    Ok(Reply::ok(status, &rest))
}

/// `GET /metrics`
pub fn metrics(context: &mut Context<'_>) -> HandlerResult {
    Ok(Reply::bytes(200, "text/plain; version=0.0.4", metrics::text(context.app).into_bytes()))
}

/// `GET /openapi.json`: always the same, so it is written once.
pub fn openapi(context: &mut Context<'_>) -> HandlerResult {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| openapi::document(context.app.metrics.routes).to_string());
    Ok(Reply::bytes(200, "application/json", document.as_bytes().to_vec()))
}
