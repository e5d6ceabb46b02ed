//! `cashbox test`: the controls of a server that was started with `serve --test`.

use super::api_call::{ApiCall, JSON};
use super::input;
use super::output::{self, CliError, Exit};
use super::table::{self, Column, free_texts, numbers, words};
use super::target::{ApiClient, Target};
use crate::store::possession::companion;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// `cashbox test`
#[derive(Debug, Subcommand)]
pub(crate) enum TestVerb {
    /// Show the time, or move it; what falls due is done
    Clock(ClockArgs),
    /// Make the file an empty one again
    Reset,
    /// Give an empty file its first contents: an export, or the items of a batch
    Seed(SeedArgs),
    /// Keep the present state, bring one back, list or delete them
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Have something go wrong with the next request that matches
    Fault(FaultArgs),
    /// List the faults and the requests they have hit
    Faults(TestListArgs),
    /// Stop the next request that matches
    Pause(PauseArgs),
    /// List the pauses and the requests they have met
    Pauses(TestListArgs),
    /// Wait until a request stands at its pause
    Paused(PausedArgs),
    /// Let a paused request go on
    Release(ReleasePauseArgs),
    /// List what was asked and answered
    Requests(TestListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    /// Move wall time and lease time forward, such as 90s, 12h or 7d
    #[arg(long, value_name = "TIME", value_parser = input::milliseconds("0s", "36500d"), conflicts_with = "now")]
    advance: Option<i64>,
    /// Set wall time, forward or back, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = input::option)]
    now: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// A file, or `-` for standard input
    file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotVerb {
    /// Keep the present state under a name
    Save(SnapshotName),
    /// Bring a state back
    Restore(SnapshotName),
    /// List the states that are kept
    List,
    /// Forget a state
    Delete(SnapshotName),
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotName {
    /// The state's name
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct TestListArgs {
    /// Forget all of them
    #[arg(long)]
    clear: bool,
}

/// The requests that a fault or a pause is for.
#[derive(Debug, Args)]
pub(crate) struct MatchOptions {
    /// Requests with that method
    #[arg(long)]
    method: Option<String>,
    /// Requests of that path; with `*` at its end of all that begin so
    #[arg(long)]
    path: Option<String>,
    /// Requests for that user
    #[arg(long)]
    user: Option<String>,
    /// Requests with that idempotency key
    #[arg(long)]
    key: Option<String>,
    /// That one of the requests that match, counted from now [default: 1, the next]
    #[arg(long, value_name = "NUMBER")]
    nth: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct FaultArgs {
    /// drop_before, drop_after, storage_full, outcome_unknown, crash, or JSON such as {"delay_ms": 200} or {"status": "busy"}
    effect: String,
    #[command(flatten)]
    wanted: MatchOptions,
    /// The number of requests to hit
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    times: u32,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// arrival, before_commit or after_commit
    at: String,
    #[command(flatten)]
    wanted: MatchOptions,
    /// The time after which it ends by itself; at most 60s
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = input::milliseconds("1ms", "60s"))]
    longest: i64,
}

#[derive(Debug, Args)]
pub(crate) struct PausedArgs {
    /// The number of the pause
    id: u64,
    /// The longest wait; at most 60s. Exit code 1 if no request stands there then
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = input::milliseconds("0s", "60s"))]
    wait: i64,
}

#[derive(Debug, Args)]
pub(crate) struct ReleasePauseArgs {
    /// The number of the pause
    id: u64,
}

const SNAPSHOTS: &[Column] = &[words("name", "name"), words("now", "now"), numbers("entries", "entries")];
const FAULTS: &[Column] = &[
    numbers("id", "id"),
    words("do", "do"),
    words("state", "state"),
    numbers("left", "left"),
    words("match", "match"),
    free_texts("requests", "requests"),
];
const PAUSES: &[Column] = &[
    numbers("id", "id"),
    words("at", "at"),
    words("state", "state"),
    numbers("request", "request"),
    words("match", "match"),
];
const REQUESTS: &[Column] = &[
    numbers("number", "number"),
    words("method", "method"),
    words("path", "path"),
    words("key", "key"),
    numbers("status", "status"),
    free_texts("body", "body"),
];

impl TestVerb {
    /// Sends the control and prints the reply.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        if let Target::File { db, .. } = &client.target
            && companion::server(db).is_none()
        {
            let why = format!(
                "no server serves {}: start one with `cashbox serve --test`, and name it with --url, or its file with --db",
                db.display()
            );
            return Err(CliError::unreachable(why));
        }
        match self {
            TestVerb::Clock(ClockArgs { advance: None, now: None }) => clock(client, ApiCall::get(&["test", "clock"])),
            TestVerb::Clock(ClockArgs { advance, now }) => {
                clock(client, control("POST", &["test", "clock"], json!({ "advance_ms": advance, "now": now })))
            }
            TestVerb::Reset => clock(client, control("POST", &["test", "reset"], json!({}))),
            TestVerb::Seed(SeedArgs { file }) => seed(client, file),
            TestVerb::Snapshot(verb) => verb.run(client),
            TestVerb::Fault(args) => {
                let effect = serde_json::from_str(&args.effect).unwrap_or_else(|_| json!(args.effect));
                let fields = json!({ "match": args.wanted.json(), "times": args.times, "do": effect });
                let call = control("POST", &["test", "faults"], fields);
                client.run(&call, |body| table::table(&[with_requests(&body["fault"])], FAULTS, ""))
            }
            TestVerb::Faults(list) => list.run(client, "faults", |rows| {
                let rows: Vec<Value> = rows.iter().map(with_requests).collect();
                table::table(&rows, FAULTS, "no faults")
            }),
            TestVerb::Pause(PauseArgs { at, wanted, longest }) => {
                let fields = json!({ "match": wanted.json(), "at": at, "longest_ms": longest });
                pause(client, control("POST", &["test", "pauses"], fields))
            }
            TestVerb::Pauses(list) => list.run(client, "pauses", |rows| table::table(&rows, PAUSES, "no pauses")),
            TestVerb::Paused(PausedArgs { id, wait }) => {
                let mut call = ApiCall::get(&["test", "pauses", &id.to_string()]).query("wait_ms", Some(wait));
                call.answer_timeout += Duration::from_millis(wait.unsigned_abs());
                let reply = client.target.send(&call)?;
                let exit = reply.print(client.json, pause_text)?;
                let is_there = reply.body["pause"]["state"] == "paused";
                Ok(if reply.is_success() && !is_there { Exit::Refused } else { exit })
            }
            TestVerb::Release(ReleasePauseArgs { id }) => {
                pause(client, control("POST", &["test", "pauses", &id.to_string(), "release"], json!({})))
            }
            TestVerb::Requests(list) => {
                list.run(client, "requests", |rows| table::table(&rows, REQUESTS, "no requests"))
            }
        }
    }
}

/// A change that is sent once: a second one would move the clock twice.
fn control(method: &'static str, path: &[&str], fields: Value) -> ApiCall {
    ApiCall::lock(method, path, Some(fields), None).once()
}

fn clock(client: &ApiClient, call: ApiCall) -> Result<Exit, CliError> {
    client.run(&call, |body| {
        let behind = if body["behind_ms"] == 0 { Value::Null } else { body["behind_ms"].clone() };
        let shown = json!({ "now": body["now"], "lease_ms": body["lease_ms"], "behind_ms": behind });
        output::block(&shown, &["now", "lease_ms", "behind_ms"])
    })
}

fn pause(client: &ApiClient, call: ApiCall) -> Result<Exit, CliError> {
    client.run(&call, pause_text)
}

fn pause_text(body: &Value) -> String {
    table::table(&[body["pause"].clone()], PAUSES, "")
}

/// The time for reading an export in.
const SEED_TIMEOUT: Duration = Duration::from_secs(60);

fn seed(client: &ApiClient, file: &std::path::Path) -> Result<Exit, CliError> {
    let text = input::read_file(file)?;
    let kind = if text.trim_start().starts_with('[') { JSON } else { "application/x-ndjson" };
    let mut call = ApiCall::lock("POST", &["test", "seed"], None, None).once();
    call.headers.push(("Content-Type", kind.to_owned()));
    call.body = text.into_bytes();
    call.answer_timeout = SEED_TIMEOUT;
    client.run(&call, |body| output::block(body, &["entries"]))
}

impl SnapshotVerb {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let one =
            |call: ApiCall| client.run(&call, |body| output::block(&body["snapshot"], &["name", "now", "entries"]));
        match self {
            SnapshotVerb::Save(SnapshotName { name }) => one(control("PUT", &["test", "snapshots", name], json!({}))),
            SnapshotVerb::Restore(SnapshotName { name }) => {
                one(control("POST", &["test", "snapshots", name, "restore"], json!({})))
            }
            SnapshotVerb::Delete(SnapshotName { name }) => {
                one(control("DELETE", &["test", "snapshots", name], json!({})))
            }
            SnapshotVerb::List => client.run(&ApiCall::get(&["test", "snapshots"]), |body| {
                table::table(&output::rows(body, "data"), SNAPSHOTS, "no snapshots")
            }),
        }
    }
}

impl TestListArgs {
    fn run(&self, client: &ApiClient, name: &str, text: impl FnOnce(Vec<Value>) -> String) -> Result<Exit, CliError> {
        if self.clear {
            return client.run(&control("DELETE", &["test", name], json!({})), |_| String::new());
        }
        client.run(&ApiCall::get(&["test", name]), |body| text(output::rows(body, "data")))
    }
}

impl MatchOptions {
    /// The fields that were given; null if none was.
    fn json(&self) -> Value {
        let MatchOptions { method, path, user, key, nth } = self;
        let given = [("method", method), ("path", path), ("user", user), ("key", key)];
        let texts = given.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
        let fields: Map<String, Value> = texts.chain(nth.map(|nth| ("nth".to_owned(), json!(nth)))).collect();
        if fields.is_empty() { Value::Null } else { Value::Object(fields) }
    }
}

/// The fault with the numbers of the requests that it has hit.
fn with_requests(fault: &Value) -> Value {
    let mut fault = fault.clone();
    let hits = fault["hits"].as_array().into_iter().flatten();
    fault["requests"] = hits.map(|hit| hit["request"].clone()).collect();
    fault
}
