//! How the program itself is: `/healthz`, `/metrics`, `/openapi.json`, `/v1/verify`.

use super::call::{Call, Handled};
use super::fields::{Field, Kind as Is, may};
use super::reply::Reply;
use super::{metrics, openapi};
use crate::error::{Error, Name};
use crate::secret::parse_hash;
use crate::store::audit::{self, Report};
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LazyLock, TryLockError};

/// A write-ahead log above this is not cut back for want of a moment without readers.
const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A writer that takes longer for what it has in hand has stalled.
const STALLED_MS: i64 = 2_000;

/// `GET /healthz`: alive; `ok`, or `degraded` and why.
pub fn healthz(call: &mut Call<'_>) -> Handled {
    let stats = call.app.store().stats();
    let behind_ms = stats.clock_behind_ms.load(Relaxed);
    let mut why = Vec::new();
    if stats.storage_full.load(Relaxed) {
        why.push("too little space is left to write; reading goes on".to_owned());
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
    let busy_ms = call.app.store().clock().boot_ms() - busy_since_ms;
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
pub fn metrics(call: &mut Call<'_>) -> Handled {
    Ok(Reply::bytes(200, "text/plain; version=0.0.4", metrics::text(call.app).into_bytes()))
}

/// `GET /openapi.json`: always the same, so it is written once.
pub fn openapi(_: &mut Call<'_>) -> Handled {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
    Ok(Reply::bytes(200, "application/json", DOCUMENT.as_bytes().to_vec()))
}

/// What an audit takes.
pub const VERIFY: &[Field] = &[may("since", Is::Text, "a `last_hash` of before, that must still be in the chain")];

/// `GET /v1/verify`: audits the file as it is now, on connections of its own. One at a time: it reads everything.
pub fn verify(call: &mut Call<'_>) -> Handled {
    let since = call.query.text("since")?.map(|text| {
        parse_hash(&text).ok_or_else(|| Error::invalid("since is the 64 hexadecimal digits of a `last_hash`"))
    });
    let since = since.transpose()?;
    let _alone = match call.app.audit.try_lock() {
        Ok(alone) => alone,
        Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Err(Error::new(Name::Busy, "an audit is going on; ask again when it is through").into());
        }
    };
    let report = audit::audit(call.app.store().path(), since.as_ref(), &mut |_, _| {})?;
    Ok(Reply::ok(if report.findings.is_empty() { "ok" } else { "damaged" }, &report_json(&report)))
}

/// A report as JSON.
pub fn report_json(report: &Report) -> Value {
    let findings: Vec<_> =
        report.findings.iter().map(|finding| json!({ "check": finding.check, "finding": finding.sentence })).collect();
    json!({
        "ok": report.findings.is_empty(),
        "entries": report.entries,
        "wallets": report.wallets,
        "last_hash": report.last_hash,
        "state_hash": report.state_hash,
        "findings": findings,
    })
}
