//! A lock seen from outside: `lock wait` until it can be acquired, and `lock watch` for a line per change.

use super::acquire::{LockWait, lock_wait};
use super::wrapper::NOT_ACQUIRED;
use crate::cli::api_call::{ApiCall, WaitField};
use crate::cli::input::argument;
use crate::cli::output::{self, CliError, Exit};
use crate::cli::target::ApiClient;
use clap::Args;
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait of one request for the end of a lease.
const LEASE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at a lock that no lease of a holder keeps, and at one in a file without a server.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Events of one request.
const EVENTS_PAGE: usize = 100;

/// `cashbox lock wait`
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The lock's name
    id: String,
    /// Time to wait, or `forever` [default: forever]
    #[arg(long, value_name = "TIME|forever", value_parser = lock_wait)]
    wait: Option<LockWait>,
}

impl WaitArgs {
    /// Returns when the lock can be acquired. It may be acquired by another client a moment later.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<ExitCode, CliError> {
        let id = argument(&self.id)?;
        let deadline = match self.wait {
            Some(LockWait::For(wait)) => Some(Instant::now() + wait),
            Some(LockWait::Forever) | None => None,
        };
        let mut lease = None;
        loop {
            let left = deadline.map_or(LEASE_WAIT_MAX, |at| at.saturating_duration_since(Instant::now()));
            let lock = look(client, &id, lease, left.min(LEASE_WAIT_MAX))?;
            let state = lock["state"].as_str().unwrap_or_default();
            if matches!(state, "free" | "stale") {
                return Ok(Exit::Done.into());
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                output::print_error(&format!("{id} is {state} still: {}", output::text(&lock["holder"])));
                return Ok(ExitCode::from(NOT_ACQUIRED));
            }
            lease = lease_of(&lock);
            if lease.is_none() {
                sleep(LOOK_EVERY.min(left));
            }
        }
    }
}

/// The fence of the lease that a holder has.
fn lease_of(lock: &Value) -> Option<i64> {
    lock["fence"].as_i64().filter(|_| matches!(lock["state"].as_str(), Some("held" | "grace")))
}

/// The lock when the lease of that fence has ended, or when the wait is over; without a fence as it is now.
fn look(client: &ApiClient, id: &str, lease: Option<i64>, wait: Duration) -> Result<Value, CliError> {
    let call = ApiCall::get(&["v1", "locks", id]);
    let call = match lease {
        Some(fence) => call.query("fence", Some(fence)).waiting(wait, WaitField::Query),
        None => call,
    };
    let reply = client.target.send(&call)?;
    if reply.is_success() { Ok(reply.body) } else { Err(CliError::refused(output::refusal_text(&reply.body))) }
}

/// `cashbox lock watch`
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The lock's name
    id: String,
}

impl WatchArgs {
    /// Prints the lock as it is, and a line for each event from then on and for each lease that runs out.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let id = argument(&self.id)?;
        let mut seen = newest_event(client, &id)?;
        let mut lock = look(client, &id, None, Duration::ZERO)?;
        let mut is_open = print_state(client.json, &lock);
        while is_open {
            let lease = lease_of(&lock);
            let begun = Instant::now();
            let now = look(client, &id, lease, LEASE_WAIT_MAX)?;
            for event in events_since(client, &id, seen)?.iter().rev() {
                seen = event["seq"].as_i64().unwrap_or(seen);
                is_open &= print_event(client.json, event);
            }
            let ran_out = now["state"] == "stale" && lock["state"] != "stale" && now["fence"] == lock["fence"];
            if ran_out || now["state"] == "free" && lock["state"] == "resting" {
                is_open &= print_state(client.json, &now);
            }
            lock = now;
            sleep(LOOK_EVERY.saturating_sub(begun.elapsed()));
        }
        Ok(Exit::Done)
    }
}

fn newest_event(client: &ApiClient, id: &str) -> Result<i64, CliError> {
    let page = events(client, id, 1, None)?;
    Ok(page["data"][0]["seq"].as_i64().unwrap_or(0))
}

/// The events behind that number, newest first.
fn events_since(client: &ApiClient, id: &str, seen: i64) -> Result<Vec<Value>, CliError> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = events(client, id, EVENTS_PAGE, after.as_deref())?;
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        let new = rows.iter().filter(|event| event["seq"].as_i64().is_some_and(|seq| seq > seen)).count();
        let is_last = new < rows.len();
        all.extend(rows.into_iter().take(new));
        after = page["next"].as_str().map(str::to_owned);
        if is_last || after.is_none() {
            return Ok(all);
        }
    }
}

fn events(client: &ApiClient, id: &str, limit: usize, after: Option<&str>) -> Result<Value, CliError> {
    let call = ApiCall::get(&["v1", "locks", id, "events"]).query("limit", Some(limit)).query("after", after);
    let reply = client.target.send(&call)?;
    if reply.is_success() { Ok(reply.body) } else { Err(CliError::refused(output::refusal_text(&reply.body))) }
}

/// Prints the lock as it is. False if the output is closed.
fn print_state(json: bool, lock: &Value) -> bool {
    if json {
        return print_line(&lock.to_string());
    }
    let of = |field: &str| output::text(&lock[field]);
    print_line(&match lock["fence"].as_i64() {
        Some(fence) => format!("{} fence {fence} {}", of("state"), of("holder")),
        None => of("state"),
    })
}

fn print_event(json: bool, event: &Value) -> bool {
    if json {
        return print_line(&event.to_string());
    }
    let of = |field: &str| output::text(&event[field]);
    print_line(&format!("{} {} fence {} {}", of("at"), of("what"), of("fence"), of("holder")))
}

fn print_line(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush()).is_ok()
}
