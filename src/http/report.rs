//! `GET /v1/report`: counts and sums by kind for each period, and the balances at its ends.

use super::fields::{Field, Fields, TZ, ValueKind, WALLET_PATTERN};
use super::request::{Context, HandlerResult};
use super::response::{self, AsText};
#[cfg(test)]
use super::schemas::TimeText;
use crate::clock::{DayEdge, rfc3339};
use crate::error::Error;
use crate::id::WalletId;
use crate::ledger::report::{self, QUARTER_MS, ReportPeriod, Standing};
use crate::money::CentSum;
use crate::tx::RunningTotals;
use jiff::civil::{Date, DateTime, Time, date};
use serde::Serialize;

/// The query of a report.
pub(crate) const QUERY: &[Field] = &[
    Field::optional("since", ValueKind::Time, "the first period has this moment; that of until, if left out"),
    Field::optional("until", ValueKind::Time, "the last period has this moment; now, if left out"),
    Field::optional("by", ValueKind::Text, "the length of a period").one_of(&["hour", "day", "month"]).or("\"day\""),
    TZ.like("^[+-]([01][0-9]|2[0-3]):(00|15|30|45)$"),
    Field::optional("bounds", ValueKind::Text, "instead of these: 2 to 400 rising moments, the ends of the periods")
        .such_as("\"2026-11-26T00:00:00Z,2026-11-27T00:00:00Z\""),
    Field::optional("wallet", ValueKind::Text, "the entries of this wallet only")
        .like(WALLET_PATTERN)
        .such_as("\"alice\""),
];

/// The most periods of a report.
const PERIODS_MAX: usize = 1_000;
/// The most moments in `bounds`.
const BOUNDS_MAX: usize = 400;

/// The length of a period.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PeriodLength {
    Hour,
    Day,
    Month,
}

impl PeriodLength {
    const ALL: [(PeriodLength, &'static str); 3] =
        [(PeriodLength::Hour, "hour"), (PeriodLength::Day, "day"), (PeriodLength::Month, "month")];

    /// The start of the period that has this moment. Both are milliseconds of a zone's own time.
    fn start(self, ms: i64) -> Option<i64> {
        match self {
            PeriodLength::Hour => Some(ms - ms.rem_euclid(HOUR_MS)),
            PeriodLength::Day => Some(ms - ms.rem_euclid(DAY_MS)),
            PeriodLength::Month => Some(since_1970(date_of(ms)?.first_of_month())),
        }
    }

    /// The start of the next period.
    fn next(self, start: i64) -> Option<i64> {
        match self {
            PeriodLength::Hour => Some(start + HOUR_MS),
            PeriodLength::Day => Some(start + DAY_MS),
            PeriodLength::Month => Some(since_1970(date_of(start)?.last_of_month().tomorrow().ok()?)),
        }
    }
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn date_of(ms: i64) -> Option<Date> {
    let day = jiff::Span::new().try_days(ms.div_euclid(DAY_MS)).ok()?;
    date(1970, 1, 1).checked_add(day).ok()
}

fn since_1970(day: Date) -> i64 {
    let duration = DateTime::from_parts(day, Time::midnight()).duration_since(date(1970, 1, 1).at(0, 0, 0, 0));
    duration.as_secs() * 1_000 // ten thousand years fit
}

/// The ends of the periods, and how they were asked for.
struct Spans {
    bounds: Vec<i64>,
    by: Option<&'static str>,
    tz: Option<String>,
}

fn spans(query: &mut Fields, now: i64) -> Result<Spans, Error> {
    if let Some(bounds) = query.text("bounds")? {
        if let Some(other) = ["since", "until", "by", "tz"].into_iter().find(|other| query.has(other)) {
            return Err(Error::invalid(format!("bounds stands alone: leave {other} out")).with("field", other));
        }
        return Ok(Spans { bounds: parse_bounds(&bounds)?, by: None, tz: None });
    }
    let offset = query.offset_s()? * 1_000;
    let tz = query.peek("tz").unwrap_or("Z").to_owned();
    if offset % QUARTER_MS != 0 {
        let detail = "tz is in whole quarters of an hour here, such as +05:45: totals are kept for each";
        return Err(Error::invalid(detail).with("field", "tz"));
    }
    let by = query.text("by")?.unwrap_or_else(|| "day".to_owned());
    let length = PeriodLength::ALL.into_iter().find(|(_, name)| *name == by);
    let Some((length, by)) = length else {
        return Err(Error::invalid("by is hour, day or month").with("field", "by"));
    };
    let since = query.moment("since", DayEdge::Start)?;
    let until = query.moment("until", DayEdge::End)?.unwrap_or(now);
    let since = since.unwrap_or(until);
    if since > until {
        return Err(Error::invalid("since is after until").with("field", "since"));
    }
    let bounds = bounds(length, since + offset, until + offset)?;
    let bounds = bounds.into_iter().map(|bound| bound - offset).collect();
    Ok(Spans { bounds, by: Some(by), tz: Some(tz) })
}

/// The ends of the periods from that of `since` to that of `until`.
fn bounds(length: PeriodLength, since: i64, until: i64) -> Result<Vec<i64>, Error> {
    let beyond = || Error::invalid("a report ends before the year 10000 begins").with("field", "until");
    let mut bounds = vec![length.start(since).ok_or_else(beyond)?];
    while let Some(last) = bounds.last().filter(|last| **last <= until) {
        let next = length.next(*last).filter(|next| *next <= LAST_MS).ok_or_else(beyond)?;
        if bounds.len() > PERIODS_MAX {
            let detail = format!("this is more than {PERIODS_MAX} periods: choose longer ones, or a shorter time");
            return Err(Error::invalid(detail).with("field", "by"));
        }
        bounds.push(next);
    }
    Ok(bounds)
}

/// The last quarter of an hour of the year 9999.
const LAST_MS: i64 = 253_402_300_800_000 - QUARTER_MS;

fn parse_bounds(text: &str) -> Result<Vec<i64>, Error> {
    let wrong = |detail: &str| Error::invalid(detail).with("field", "bounds");
    let moments = text.split(',').take(BOUNDS_MAX + 1).map(|text| {
        let mut one = Fields::default();
        one.put_default("bounds", text);
        one.moment("bounds", DayEdge::Start)?.ok_or_else(|| wrong("bounds is empty"))
    });
    let moments: Vec<i64> = moments.collect::<Result<_, Error>>()?;
    if !(2..=BOUNDS_MAX).contains(&moments.len()) {
        return Err(wrong("bounds is 2 to 400 moments, separated by commas"));
    }
    if moments.iter().any(|moment| moment % QUARTER_MS != 0) || !moments.is_sorted_by(|one, next| one < next) {
        return Err(wrong("bounds is rising moments in whole quarters of an hour: totals are kept for each"));
    }
    Ok(moments)
}

/// Counts and sums of entries by kind, for each period.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Report"))]
pub(crate) struct PeriodReportJson {
    /// The start of the first period.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    since: String,
    /// The moment behind the last period.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    until: String,
    /// The length of a period: hour, day or month. Null if `bounds` were given.
    by: Option<&'static str>,
    /// The offset of the zone. Null if `bounds` were given.
    tz: Option<String>,
    /// The wallet that it is about. Null: all.
    wallet: Option<String>,
    /// Before the first period.
    opening: StandingJson,
    /// At the end of the last period.
    closing: StandingJson,
    /// Of all periods together.
    total: SumsJson,
    /// The periods.
    data: Vec<PeriodJson>,
}

/// A period: from `since` to before `until`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ReportPeriod"))]
struct PeriodJson {
    /// Its start.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    since: String,
    /// The moment behind it.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    until: String,
    #[serde(flatten)]
    sums: SumsJson,
    /// Before it.
    opening: StandingJson,
    /// At its end.
    closing: StandingJson,
}

/// Sums by kind, and those that are made of several kinds.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ReportSums"))]
struct SumsJson {
    /// The numbers of entries.
    count: CountsJson,
    /// Money into wallets.
    recharge: AsText<CentSum>,
    /// Money out of wallets.
    withdraw: AsText<CentSum>,
    /// Payments, after the discount.
    pay: AsText<CentSum>,
    /// Transfers.
    transfer: AsText<CentSum>,
    /// Refunds of any kind.
    refund: AsText<CentSum>,
    /// Money reserved.
    hold: AsText<CentSum>,
    /// Reserved money taken.
    capture: AsText<CentSum>,
    /// Reserved money given back.
    release: AsText<CentSum>,
    /// Taken off payments by coupons.
    discount: AsText<CentSum>,
    /// Refunds of payments and captures.
    pay_refunded: AsText<CentSum>,
    /// Payments and captures less refunds of them.
    takings: AsText<CentSum>,
}

/// The number of entries by kind.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ReportCounts"))]
struct CountsJson {
    /// Entries of kind `recharge`.
    recharge: i64,
    /// Entries of kind `withdraw`.
    withdraw: i64,
    /// Entries of kind `pay`.
    pay: i64,
    /// Entries of kind `transfer`.
    transfer: i64,
    /// Entries of kind `refund`.
    refund: i64,
    /// Entries of kind `hold`.
    hold: i64,
    /// Entries of kind `capture`.
    capture: i64,
    /// Entries of kind `release`.
    release: i64,
}

/// Balances at a moment: those of everyone, or that of the one wallet.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ReportBalances"))]
struct StandingJson {
    /// All users together. Not of one wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "AsText<CentSum>"))]
    users: Option<AsText<CentSum>>,
    /// `@sales`. Not of one wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "AsText<CentSum>"))]
    sales: Option<AsText<CentSum>>,
    /// `@holds`. Not of one wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "AsText<CentSum>"))]
    holds: Option<AsText<CentSum>>,
    /// The wallet. Only of one wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "AsText<CentSum>"))]
    balance: Option<AsText<CentSum>>,
}

fn sums_json(totals: &RunningTotals) -> SumsJson {
    let count = |name| totals.of(name).count;
    let cents = |name| totals.of(name).sum;
    let sum = |name| AsText(CentSum(cents(name)));
    SumsJson {
        count: CountsJson {
            recharge: count("recharge"),
            withdraw: count("withdraw"),
            pay: count("pay"),
            transfer: count("transfer"),
            refund: count("refund"),
            hold: count("hold"),
            capture: count("capture"),
            release: count("release"),
        },
        recharge: sum("recharge"),
        withdraw: sum("withdraw"),
        pay: sum("pay"),
        transfer: sum("transfer"),
        refund: sum("refund"),
        hold: sum("hold"),
        capture: sum("capture"),
        release: sum("release"),
        discount: sum("discount"),
        pay_refunded: sum("pay_refunded"),
        takings: AsText(CentSum(cents("pay") + cents("capture") - cents("pay_refunded"))),
    }
}

fn standing_json(standing: Standing) -> StandingJson {
    let sum = |cents| Some(AsText(CentSum(cents)));
    match standing {
        Standing::Everyone { users, sales, holds } => {
            StandingJson { users: sum(users), sales: sum(sales), holds: sum(holds), balance: None }
        }
        Standing::OneWallet(balance) => StandingJson { users: None, sales: None, holds: None, balance: sum(balance) },
    }
}

fn period_json(period: &ReportPeriod) -> PeriodJson {
    PeriodJson {
        since: rfc3339(period.since),
        until: rfc3339(period.until),
        sums: sums_json(&period.totals),
        opening: standing_json(period.opening),
        closing: standing_json(period.closing),
    }
}

/// `GET /v1/report`
pub(crate) fn report(context: &mut Context<'_>) -> HandlerResult {
    let spans = spans(&mut context.query, context.app.store.clock().wall_ms())?;
    let wallet = context.query.name("wallet")?.map(|wallet| WalletId::parse(&wallet)).transpose()?;
    let periods = context.app.store.read(|tx| match &wallet {
        Some(wallet) => report::periods_of_wallet(tx, wallet, &spans.bounds),
        None => report::periods(tx, &spans.bounds),
    })?;
    let (Some(first), Some(last)) = (periods.first(), periods.last()) else {
        return Err(Error::internal("a report has at least one period"));
    };
    let report = PeriodReportJson {
        since: rfc3339(first.since),
        until: rfc3339(last.until),
        by: spans.by,
        tz: spans.tz,
        wallet: wallet.map(|wallet| wallet.to_string()),
        opening: standing_json(first.opening),
        closing: standing_json(last.closing),
        total: sums_json(&report::sum_of(&periods)),
        data: periods.iter().map(period_json).collect(),
    };
    Ok(response::ok(context.language.success(), &report))
}
