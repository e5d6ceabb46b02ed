//! What the program says to its operator, on standard error: one line each, as text or JSON. Never a secret, never a
//! raw byte of what a stranger sent.

use crate::clock::{Clock, rfc3339};
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static JSON: AtomicBool = AtomicBool::new(false);

/// Writes lines as JSON objects from now on.
pub fn use_json() {
    JSON.store(true, Relaxed);
}

/// Something worth knowing.
pub fn info(what: &str, more: &dyn Display) {
    line("info", what, more);
}

/// Something that may become a problem.
pub fn warn(what: &str, more: &dyn Display) {
    line("warn", what, more);
}

/// Something that went wrong.
pub fn error(what: &str, more: &dyn Display) {
    line("error", what, more);
}

fn line(level: &str, what: &str, more: &dyn Display) {
    let at = rfc3339(Clock::Machine.wall_ms());
    let more = more.to_string();
    let line = if JSON.load(Relaxed) {
        serde_json::json!({ "at": at, "level": level, "msg": what, "more": more }).to_string()
    } else {
        format!("{at} {level} {what}: {}", more.escape_debug())
    };
    let _ = writeln!(std::io::stderr(), "{line}"); // an operator who closed standard error wants no lines
}
