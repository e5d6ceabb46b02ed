//! Lines for the operator, on standard error, as text or JSON. Never a secret, never a raw byte of a request.

use crate::clock::{Clock, rfc3339};
use crate::id::{is_hidden, visible};
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static JSON: AtomicBool = AtomicBool::new(false);

/// Writes lines as JSON objects from now on.
pub(crate) fn use_json() {
    JSON.store(true, Relaxed);
}

/// Logs an event of interest.
pub(crate) fn info(event: &str, details: &dyn Display) {
    line("info", event, details);
}

/// Logs an event that may become a problem.
pub(crate) fn warn(event: &str, details: &dyn Display) {
    line("warn", event, details);
}

/// Logs a failure.
pub(crate) fn error(event: &str, details: &dyn Display) {
    line("error", event, details);
}

fn line(level: &str, event: &str, details: &dyn Display) {
    let at = rfc3339(Clock::Machine.wall_ms());
    let details = details.to_string();
    let line = if JSON.load(Relaxed) {
        let line = serde_json::json!({ "at": at, "level": level, "msg": event, "more": details }).to_string();
        line.chars().map(|c| if is_hidden(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
    } else {
        format!("{at} {level} {event}: {}", visible(&details))
    };
    let _ = writeln!(std::io::stderr(), "{line}"); // an operator that closed standard error wants no lines
}
