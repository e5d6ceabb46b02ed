//! The delivery of one entry: tried, and tried again after growing pauses, until it succeeds. No entry is skipped.

use super::follower::print_entry;
use super::webhook::{Failure, Webhook};
use crate::cli::output::{self, CliError, Exit};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// The way an entry is delivered.
pub(crate) enum Receiver {
    /// A line of JSON on standard output.
    Output,
    /// A command with the entry on its standard input: exit code 0 is success.
    Command(Vec<OsString>),
    /// A request to a URL.
    Webhook(Webhook),
}

/// Tries to deliver.
pub(crate) struct Delivery {
    /// The way.
    pub receiver: Receiver,
    /// True if a failure is tried again.
    pub retries: bool,
    /// The pause after the first failure; it doubles with each.
    pub first_pause: Duration,
    /// The time of failures on one entry after which it ends.
    pub give_up: Option<Duration>,
}

impl Delivery {
    /// Delivers an entry. The error is the end: of the tries that are allowed, or of the output.
    pub(crate) fn deliver(&self, entry: &str) -> Result<(), CliError> {
        if matches!(self.receiver, Receiver::Output) {
            return print_entry(entry);
        }
        let parsed: Value = serde_json::from_str(entry).unwrap_or_default();
        let number = parsed["id"].to_string();
        let mut failing_since: Option<Instant> = None;
        let mut pause = self.first_pause;
        loop {
            let tried = match &self.receiver {
                Receiver::Output => Ok(()),
                Receiver::Command(words) => run(words, entry),
                Receiver::Webhook(webhook) => webhook.post(entry, &parsed),
            };
            let Err(failure) = tried else { return Ok(()) };
            let failing = failing_since.get_or_insert_with(Instant::now).elapsed();
            let left = self.give_up.map(|time| time.saturating_sub(failing));
            let end = match left {
                _ if failure.is_final => Some(String::new()),
                _ if !self.retries => Some(" (--retry tries again)".to_owned()),
                Some(Duration::ZERO) => Some(format!(" (and has for {} s)", failing.as_secs())),
                _ => None,
            };
            if let Some(end) = end {
                let why = format!("entry {number}: {}{end}; it comes first the next time", failure.why);
                return Err(CliError { exit: Exit::Refused, message: why });
            }
            let next = left.map_or(pause, |left| pause.min(left));
            output::print_error(&format!("entry {number}: {}; next try in {}", failure.why, seconds(next)));
            sleep(next);
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }
}

/// `5 s`, or `0.5 s`.
fn seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        ms => format!("{}.{:03} s", time.as_secs(), ms),
    }
}

/// Runs a command with the entry, a line of JSON, on its standard input, and waits for its end.
fn run(words: &[OsString], entry: &str) -> Result<(), Failure> {
    let name = words[0].to_string_lossy();
    let mut command = Command::new(&words[0]);
    let spawned = command.args(&words[1..]).stdin(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| Failure::new(format!("cannot run {name}: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // A command may end without reading it all.
        match input.write_all(format!("{entry}\n").as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(Failure::new(format!("cannot write to {name}: {error}")));
            }
            _ => {}
        }
    }
    let status = child.wait().map_err(|error| Failure::new(format!("cannot wait for {name}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{name} failed ({status})"))) }
}
