//! `cashbox batch`: many operations in one request, or in several where one would be too large.

use super::api_call::{ApiCall, BATCH_TIMEOUT, JSON};
use super::batch_table;
use super::input::{self, ChangeOptions};
use super::output::{self, ANSWERED_BEFORE, CliError, Exit, ServerReply};
use super::screen::{self, TaskProgress};
use super::table::{self, free_texts, numbers};
use super::target::ApiClient;
use crate::http::batch::ITEMS_MAX;
use crate::secret;
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The most items of one of several requests: few enough that the bar moves.
const PART_ITEMS_MAX: usize = 1_000;
/// The most bytes of one request: a server takes 8 MiB.
pub(super) const PART_BYTES_MAX: usize = 7 * 1024 * 1024;

const NDJSON: &str = "application/x-ndjson";

/// `cashbox batch`
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// The file of operations, such as {"op":"withdraw","user":"alice","amount":"1.00"}; `-` is standard input. If its
    /// name ends in .csv it is a table
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The operations are a table as CSV: its first line names the fields, such as op,user,amount,reference
    #[arg(long)]
    csv: bool,
    /// Carry out all of them or none; at most 10,000 then
    #[arg(long)]
    atomic: bool,
    /// Print what would be done now, and change nothing; at most 10,000 operations
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeOptions,
}

impl BatchArgs {
    /// Sends the operations and prints the result of each; with many, of each that was refused.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let text = input::read_file(&self.file)?;
        let is_table = self.csv || self.file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let text = if is_table { batch_table::lines_of(&text)? } else { text };
        let items = items(&text);
        if self.atomic || self.dry_run || items.len() <= ITEMS_MAX && text.len() <= PART_BYTES_MAX {
            let content_type = if is_array(&text) { JSON } else { NDJSON };
            let reply = self.send(client, content_type, text, self.change.key.clone())?;
            let exit = reply.print(client.json, |body| results_table(body, 0, |_| true))?;
            if reply.is_success() {
                note_counts(&reply.body, reply.replayed);
            }
            return Ok(exit);
        }
        self.run_in_parts(client, &items)
    }

    /// Sends one part after the other, each under a key made of the batch's: the same file under the same key is the same
    /// parts.
    fn run_in_parts(&self, client: &ApiClient, items: &[String]) -> Result<Exit, CliError> {
        let key = self.change.key.clone().unwrap_or_else(|| format!("cli-{}", secret::random_hex::<16>()));
        let bar = TaskProgress::new("items");
        let (mut results, mut refused) = (Vec::new(), String::new());
        let mut all_replayed = true;
        for (number, part) in parts(items).into_iter().enumerate() {
            let begin = results.len();
            let reply = self.send(client, NDJSON, part.join("\n"), Some(format!("{key}.{number}")));
            let stopped = |why: String, exit| {
                let rest = format!("items 0 to {} are carried out", begin.saturating_sub(1));
                let rest = if begin == 0 { "no item before it was sent".to_owned() } else { rest };
                let message = format!(
                    "stopped at item {begin}: {why}; {rest}; the same file with --key {key} goes on and does nothing twice"
                );
                CliError { exit, message }
            };
            let reply = reply.map_err(|error| stopped(error.message, error.exit))?;
            if !reply.is_success() {
                return Err(stopped(output::refusal_text(&reply.body), Exit::of(reply.status, &reply.body)));
            }
            let table = results_table(&reply.body, begin, |item| !item["error"].is_null());
            refused += &if table.is_empty() { table } else { table + "\n" };
            results.extend(output::rows(&reply.body, "results"));
            all_replayed &= reply.replayed;
            bar.show(results.len() as i64, items.len() as i64);
        }
        drop(bar);
        let body = json!({ "code": 200, "msg": "ok", "results": results });
        let exit = ServerReply::new(200, body.clone()).print(client.json, |_| refused)?;
        note_counts(&body, all_replayed);
        Ok(exit)
    }

    fn send(
        &self,
        client: &ApiClient,
        content_type: &str,
        body: String,
        key: Option<String>,
    ) -> Result<ServerReply, CliError> {
        let change = ChangeOptions { key, wait: self.change.wait, lock_token: self.change.lock_token.clone() };
        let call = ApiCall::post_text(&["v1", "batch"], content_type, body, &change);
        let call = ApiCall { answer_timeout: call.answer_timeout.max(BATCH_TIMEOUT), ..call };
        client.target.send(&call.query("atomic", self.atomic.then_some(true)).tried_if(self.dry_run))
    }
}

fn is_array(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// The operations, each on one line: those of a JSON array, or the lines that are not blank. None of an array that is not
/// valid: the reply to it has the reason.
fn items(text: &str) -> Vec<String> {
    if is_array(text) {
        let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        return items.into_iter().map(|item| item.get().replace(['\n', '\r'], " ")).collect();
    }
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// The items in parts of bounded size.
pub(super) fn parts(items: &[String]) -> Vec<&[String]> {
    let mut parts = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (place, item) in items.iter().enumerate() {
        if place - begin == PART_ITEMS_MAX || place > begin && bytes + item.len() > PART_BYTES_MAX {
            parts.push(&items[begin..place]);
            (begin, bytes) = (place, 0);
        }
        bytes += item.len() + 1;
    }
    parts.push(&items[begin..]);
    parts
}

/// One line for each item that is to be shown; they are counted from `first`.
fn results_table(body: &Value, first: usize, is_shown: impl Fn(&Value) -> bool) -> String {
    let items = output::rows(body, "results");
    if items.is_empty() {
        return "nothing to do".to_owned();
    }
    let line = |(index, item): (usize, &Value)| {
        let result = if item["error"].is_null() { output::text(&item["msg"]) } else { output::refusal_text(item) };
        let (code, balance, entry) = (&item["code"], &item["balance"], &item["entry"]);
        json!({ "index": first + index, "code": code, "balance": balance, "entry": entry, "result": result })
    };
    let rows: Vec<_> = items.iter().enumerate().filter(|(_, item)| is_shown(item)).map(line).collect();
    let columns = [
        numbers("ITEM", "index"),
        numbers("CODE", "code"),
        numbers("BALANCE", "balance"),
        numbers("ENTRY", "entry"),
        free_texts("RESULT", "result"),
    ];
    table::table(&rows, &columns, "")
}

/// Notes how many items were done: `9,998 done, 2 refused`.
fn note_counts(body: &Value, replayed: bool) {
    let items = body["results"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return;
    }
    let refused = items.iter().filter(|item| !item["error"].is_null()).count();
    let mut note = format!("{} done", grouped(items.len() - refused));
    if refused > 0 {
        note += &format!(", {} refused", grouped(refused));
    }
    screen::note(&(note + if replayed { ANSWERED_BEFORE } else { "" } + output::dry_run_note(body)));
}

/// The number with commas: `9,998`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
