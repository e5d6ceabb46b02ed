//! `cashbox report`: sums by kind for each period, in UTC unless a zone is given.

use super::api_call::ApiCall;
use super::input::{self, optional_argument};
use super::output::{self, CliError, Exit};
use super::table::{self, numbers, words};
use super::target::ApiClient;
use crate::clock::{Clock, parse_offset, parse_rfc3339, rfc3339};
use clap::Args;
use serde_json::{Value, json};

/// `cashbox report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// One day: 2026-01-31, today or yesterday
    #[arg(long, value_name = "DAY", conflicts_with_all = ["since", "until"], value_parser = input::option)]
    day: Option<String>,
    /// The first period has this moment: a day, or a time such as 2026-01-31T12:00:00Z [default: one period]
    #[arg(long, value_name = "TIME", value_parser = input::option)]
    since: Option<String>,
    /// The last period has this moment [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::option)]
    until: Option<String>,
    /// The length of a period: hour, day or month [default: day]
    #[arg(long)]
    by: Option<String>,
    /// The offset of the zone whose hours, days and months are meant, such as +08:00 [default: UTC]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    tz: Option<String>,
    /// The entries of this wallet only
    #[arg(long, value_name = "USER", value_parser = input::option)]
    wallet: Option<String>,
}

const DAY_MS: i64 = 86_400_000;

impl ReportArgs {
    /// Prints the report.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let tz = optional_argument(self.tz.as_ref())?;
        let offset_ms = tz.as_deref().map_or(Some(0), parse_offset).unwrap_or(0) * 1_000; // a wrong one is refused there
        let moment = |text: &String| match text.as_str() {
            "today" => local_date(Clock::Machine.wall_ms() + offset_ms),
            "yesterday" => local_date(Clock::Machine.wall_ms() + offset_ms - DAY_MS),
            _ => text.clone(),
        };
        let since = self.since.as_ref().or(self.day.as_ref()).map(moment);
        let until = self.until.as_ref().or(self.day.as_ref()).map(moment);
        let call = ApiCall::get(&["v1", "report"]).query("since", since).query("until", until);
        let call = call.query("by", self.by.as_ref()).query("tz", tz).query("wallet", self.wallet.as_ref());
        client.run(&call, |body| text(body, offset_ms))
    }
}

/// The date of a time of the zone.
fn local_date(ms: i64) -> String {
    rfc3339(ms).chars().take("2026-01-31".len()).collect()
}

/// The report as a table, a line for each period and one for their sum.
fn text(body: &Value, offset_ms: i64) -> String {
    let by = body["by"].as_str().unwrap_or_default();
    let zone = body["tz"].as_str().filter(|tz| !tz.eq_ignore_ascii_case("z")).unwrap_or("UTC");
    let (head, shown_len) = match by {
        "hour" => ("HOUR", "2026-01-31T12:00".len()),
        "month" => ("MONTH", "2026-01".len()),
        _ => ("DAY", "2026-01-31".len()),
    };
    let period = |row: &Value| {
        let since = row["since"].as_str().and_then(parse_rfc3339).unwrap_or_default();
        rfc3339(since + offset_ms)[..shown_len].replace('T', " ")
    };
    let mut rows = output::rows(body, "data");
    for row in &mut rows {
        row["period"] = json!(period(row));
    }
    let mut total = body["total"].clone();
    total["period"] = json!("all");
    total["closing"] = body["closing"].clone();
    rows.push(total);
    for row in &mut rows {
        for kind in ["recharge", "withdraw", "pay", "transfer", "refund", "discount", "hold", "capture", "release"] {
            if row[kind] == "0.00" {
                row[kind] = Value::Null; // a column of nothing is left out
            }
        }
        let closing = &row["closing"];
        row["users"] = if closing["balance"].is_null() { closing["users"].clone() } else { closing["balance"].clone() };
    }
    let columns = [
        words(head, "period"),
        numbers("RECHARGED", "recharge"),
        numbers("WITHDRAWN", "withdraw"),
        numbers("PAID", "pay"),
        numbers("TRANSFERRED", "transfer"),
        numbers("REFUNDED", "refund"),
        numbers("HELD", "hold"),
        numbers("CAPTURED", "capture"),
        numbers("RELEASED", "release"),
        numbers("DISCOUNT", "discount"),
        numbers("TAKINGS", "takings"),
        numbers(if body["wallet"].is_null() { "USERS HAVE" } else { "BALANCE" }, "users"),
    ];
    format!("each {by} in {zone}\n{}", table::table(&rows, &columns, "no periods"))
}
