//! Lists that are shown page by page, and the choice of entries in them.

use super::api_call::ApiCall;
use super::input;
use super::output::{self, CliError, Exit, ServerReply};
use super::table::{self, free_texts, numbers, words};
use super::target::ApiClient;
use crate::clock::DayEdge;
use crate::journal::ChangeKind;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use std::io::ErrorKind;

/// The part of a list to show.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// Rows to show [default: 50; at most 1000]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,
    /// Continue where a list ended: its `next`, which --json prints
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Show all rows
    #[arg(long)]
    all: bool,
    /// Print each row as a JSON object on a line of its own
    #[arg(long)]
    ndjson: bool,
}

/// Rows that are shown unless `--limit` gives another number.
const PAGE_ROWS: u32 = 50;
/// Rows of one page when all are wanted.
const PAGE_ROWS_MAX: u32 = 1_000;

impl Paging {
    /// Prints the list: one page of it, or all pages as one.
    pub(crate) fn run(
        &self,
        client: &ApiClient,
        list: &ApiCall,
        text: impl FnOnce(Vec<Value>) -> String,
    ) -> Result<Exit, CliError> {
        if self.ndjson {
            return self.print_lines(client, list);
        }
        let limit = self.limit.or(self.all.then_some(PAGE_ROWS_MAX));
        let page = |limit: Option<u32>, after: Option<&str>| page(client, list, limit, after);
        let mut reply = page(limit, self.after.as_deref())?;
        while let (true, Some(next)) = (reply.is_success(), reply.body["next"].as_str()) {
            // A page is short, and others follow, if few of the rows that the server looked at pass the filter.
            let rows = reply.body["data"].as_array().map_or(0, Vec::len) as u32;
            let missing = limit.unwrap_or(PAGE_ROWS).saturating_sub(rows);
            if !self.all && missing == 0 {
                break;
            }
            let mut more = page(if self.all { limit } else { Some(missing) }, Some(next))?;
            if let (Value::Array(mut before), Value::Array(rows)) = (reply.body["data"].take(), &mut more.body["data"])
            {
                before.append(rows);
                *rows = before;
            }
            reply = more;
        }
        let exit = reply.print(client.json, |body| text(output::rows(body, "data")))?;
        if !client.json && reply.body["next"].is_string() {
            output::print_error("there are more rows: --all shows them, --limit more of them");
        }
        Ok(exit)
    }

    /// Prints a line for each row, page by page.
    fn print_lines(&self, client: &ApiClient, list: &ApiCall) -> Result<Exit, CliError> {
        let mut missing = if self.all { None } else { Some(self.limit.unwrap_or(PAGE_ROWS)) };
        let mut next = self.after.clone();
        loop {
            let limit = missing.unwrap_or(PAGE_ROWS_MAX);
            let reply = page(client, list, Some(limit), next.as_deref())?;
            if !reply.is_success() {
                return reply.print(client.json, |_| String::new());
            }
            let rows = output::rows(&reply.body, "data");
            let written = output::write(&rows.iter().map(|row| format!("{row}\n")).collect::<String>());
            if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
                return Ok(Exit::Done); // its reader has what it wanted
            }
            output::print_result(written)?;
            missing = missing.map(|missing| missing.saturating_sub(rows.len() as u32));
            next = reply.body["next"].as_str().map(str::to_owned);
            if next.is_none() || missing == Some(0) {
                if let Some(next) = &next {
                    output::print_error(&format!("there are more rows: --all shows them, or --after {next}"));
                }
                return Ok(Exit::Done);
            }
        }
    }
}

fn page(client: &ApiClient, list: &ApiCall, limit: Option<u32>, after: Option<&str>) -> Result<ServerReply, CliError> {
    client.target.send(&list.clone().query("limit", limit).query("after", after))
}

/// `cashbox wallets`
#[derive(Debug, Args)]
pub(crate) struct WalletsArgs {
    /// Only wallets whose user begins so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only wallets whose name begins so, in the order of their names
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only wallets of that status: open, frozen, closed
    #[arg(long)]
    status: Option<String>,
    /// id, or balance (one page of users' wallets, the largest first) [default: id]
    #[arg(long)]
    order: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl WalletsArgs {
    /// Prints the list.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let list = ApiCall::get(&["v1", "wallets"]);
        let list = list.query("prefix", self.prefix.as_ref()).query("order", self.order.as_ref());
        let list = list.query("name", self.name.as_ref()).query("status", self.status.as_ref());
        let columns = [
            words("WALLET", "user_id"),
            numbers("BALANCE", "balance"),
            numbers("HELD", "held"),
            numbers("ENTRIES", "entries"),
            words("LAST ENTRY", "last_at"),
            words("STATUS", "status"),
            free_texts("NAME", "name"),
        ];
        self.paging.run(client, &list, |mut rows| {
            for (field, usual) in [("status", "open"), ("held", "0.00")] {
                let shown = rows.iter_mut().filter(|row| row[field] == usual);
                shown.for_each(|row| row[field] = Value::Null); // nearly every one
            }
            table::table(&rows, &columns, "no wallets")
        })
    }
}

/// The time and the order of what is listed.
#[derive(Debug, Args)]
pub(crate) struct TimeSpan {
    /// The earliest time: 2026-01-31T12:00:00Z, 2026-01-31 (its start, here), today, yesterday, 10m (ago)
    #[arg(long, value_name = "TIME", value_parser = input::moment(DayEdge::Start))]
    pub since: Option<String>,
    /// The latest time, written in the same ways; a day counts to its end
    #[arg(long, value_name = "TIME", value_parser = input::moment(DayEdge::End))]
    until: Option<String>,
    /// desc (newest first) or asc [default: desc]
    #[arg(long)]
    order: Option<String>,
}

impl TimeSpan {
    /// The list with them.
    pub(crate) fn add_to(&self, list: ApiCall) -> ApiCall {
        let list = list.query("since", self.since.as_ref()).query("until", self.until.as_ref());
        list.query("order", self.order.as_ref())
    }
}

/// `cashbox journal`
#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    /// Changes of one kind only
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(ChangeKind::NAMES))]
    what: Option<String>,
    /// Only changes of this access token, coupon or wallet
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    #[command(flatten)]
    span: TimeSpan,
    #[command(flatten)]
    paging: Paging,
}

impl JournalArgs {
    /// Prints the list.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let list = ApiCall::get(&["v1", "journal"]);
        let list = list.query("what", self.what.as_ref()).query("subject", self.subject.as_ref());
        let list = self.span.add_to(list);
        let columns = [
            numbers("LINE", "seq"),
            words("TIME", "at"),
            words("CHANGE", "what"),
            words("SUBJECT", "subject"),
            words("BY", "by"),
            numbers("ENTRY", "entry"),
            free_texts("DETAIL", "detail"),
        ];
        self.paging.run(client, &list, |mut rows| {
            // A detail is an object: its fields that have a value, in one cell.
            rows.iter_mut().for_each(|row| row["detail"] = Value::String(one_line(&row["detail"])));
            table::table(&rows, &columns, "no lines")
        })
    }
}

fn one_line(detail: &Value) -> String {
    let fields = detail.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let text = |(field, value): (&String, &Value)| match value {
        Value::String(text) => format!("{field} {text}"),
        other => format!("{field} {other}"),
    };
    fields.map(text).collect::<Vec<_>>().join(", ")
}

/// The choice of entries, for lists and for following.
#[derive(Debug, Args)]
pub(crate) struct EntryFilters {
    /// One kind only: recharge, withdraw, pay, transfer, refund, hold, capture, release
    #[arg(long)]
    kind: Option<String>,
    /// Only entries with this pair of metadata; at most 3 times
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    metadata: Vec<(String, String)>,
    /// Only entries with this reference
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Only entries that this coupon was earned by or used in
    #[arg(long, value_name = "CODE")]
    coupon: Option<String>,
    /// Only refunds of the entry of this number
    #[arg(long, value_name = "ENTRY")]
    refunds: Option<String>,
    /// Only steps of the hold of this number
    #[arg(long, value_name = "HOLD")]
    hold: Option<String>,
    /// Only entries that this caller asked for: a user, or an access token's id
    #[arg(long, value_name = "CALLER")]
    by: Option<String>,
    /// The smallest amount
    #[arg(long, value_name = "AMOUNT")]
    min: Option<String>,
    /// The largest amount
    #[arg(long, value_name = "AMOUNT")]
    max: Option<String>,
}

impl EntryFilters {
    /// The request with these fields.
    pub(crate) fn add_to(&self, list: ApiCall) -> ApiCall {
        let list = list.query("kind", self.kind.as_ref());
        let list = list.query("reference", self.reference.as_ref()).query("coupon", self.coupon.as_ref());
        let list = list.query("refunds", self.refunds.as_ref()).query("hold", self.hold.as_ref());
        let list = list.query("by", self.by.as_ref());
        let mut list = list.query("min", self.min.as_ref()).query("max", self.max.as_ref());
        for (name, value) in &self.metadata {
            list = list.query(&format!("metadata[{name}]"), Some(value));
        }
        list
    }

    /// The request for the stream of the entries that pass: those of a user, or all.
    pub(crate) fn events(&self, user: Option<&str>) -> ApiCall {
        self.add_to(ApiCall::get(&["v1", "events"]).query("user", user))
    }
}
