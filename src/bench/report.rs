//! The report of a run, for people and for programs. If anything is wrong, WRONG stands in place of the figures.

use super::driver::BenchPlan;
use super::run::{BenchOp, BenchOutcome};
use serde_json::{Value, json};
use std::time::Duration;

/// The quantiles that are shown, with their shares in thousandths; the longest latency is added to them.
const QUANTILES: [(&str, u64); 4] = [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)];
/// The longest bar of the histogram, in characters.
const BAR_LEN: usize = 40;
/// The same on a narrow screen, and the columns that stand beside it.
const BAR_LEN_MIN: usize = 5;
const BESIDE_BAR: usize = 26;

/// The result of the audit.
#[derive(Clone, Debug)]
pub(crate) enum BenchAudit {
    /// No findings.
    Clean,
    /// The findings.
    Found(Vec<String>),
    /// No audit, for this reason.
    NotRun(String),
}

/// A run and the audit after it.
#[derive(Debug)]
pub(crate) struct BenchReport {
    /// The run and its check.
    pub outcome: BenchOutcome,
    /// The audit.
    pub audit: BenchAudit,
    /// A reason why the figures mean less than they seem to.
    pub note: Option<String>,
}

impl BenchReport {
    /// The reasons why the figures do not count; empty if they do.
    pub(crate) fn wrong(&self) -> Vec<&str> {
        let found: &[String] = if let BenchAudit::Found(found) = &self.audit { found } else { &[] };
        self.outcome.wrong.iter().chain(found).map(String::as_str).collect()
    }

    fn audit(&self) -> &str {
        match &self.audit {
            BenchAudit::Clean => "audit clean",
            BenchAudit::Found(_) => "audit not clean",
            BenchAudit::NotRun(reason) => reason,
        }
    }

    /// The checks that held.
    fn checked(&self) -> String {
        let done = with_commas(self.outcome.done);
        match self.outcome.options.op {
            BenchOp::Lock => format!("{done} pairs: never two holders, fences grow, nothing left behind"),
            BenchOp::Balance => format!("{done} responses, each with the right balance"),
            _ => format!("{done} yes, no other answer; balances as answered, lost updates 0"),
        }
    }

    /// True if the run was stopped before its time was over.
    fn ended_early(&self) -> bool {
        self.outcome.run.measured < self.outcome.options.plan.measured
    }

    /// For people, on a screen of that many columns.
    pub(crate) fn text(&self, columns: Option<usize>) -> String {
        let (options, run, wrong) = (&self.outcome.options, &self.outcome.run, self.wrong());
        let mut lines = vec![self.head()];
        if wrong.is_empty() {
            match run.per_second() {
                Some(rate) => lines.push(format!("  {} {}/s", with_commas(rate), options.op.units())),
                None => lines.push("  no figures: the run was stopped during the warm-up".to_owned()),
            }
            let quantiles = QUANTILES.iter().filter_map(|(name, share)| Some((*name, run.latencies.at(*share)?)));
            let quantiles: Vec<_> = quantiles.chain(run.latencies.at(1_000).map(|us| ("max", us))).collect();
            lines.extend(quantiles.iter().map(|(name, us)| format!("  {name:<6} {:>9}", time_text(*us))));
            lines.extend(self.bars(columns));
            if run.unsent > 0 {
                lines.push(format!(
                    "  {} requests were due and not sent: the server does not keep up",
                    with_commas(run.unsent)
                ));
            }
            lines.push(format!("  checked: {}; {}", self.checked(), self.audit()));
        } else {
            lines.push("  WRONG".to_owned());
            lines.extend(wrong.iter().map(|sentence| format!("  {sentence}")));
        }
        if self.ended_early() {
            lines.push(format!("  stopped early, after {}", time_text(micros(run.measured))));
        }
        lines.extend(self.note.iter().map(|note| format!("  note: {note}")));
        lines.join("\n")
    }

    fn head(&self) -> String {
        let options = &self.outcome.options;
        let BenchPlan { warm_up, measured, rate, .. } = options.plan;
        let rate = rate.map_or(String::new(), |rate| format!(", {} due a second", with_commas(rate.into())));
        let items = if options.op == BenchOp::Batch {
            format!(" of {}", with_commas(options.items as u64))
        } else {
            String::new()
        };
        let things = if options.op == BenchOp::Lock { "lock" } else { "wallet" };
        format!(
            "{}{items}, {}, {}{rate}; {} after {} of warm-up",
            options.op.name(),
            several(options.connections, "connection"),
            several(options.wallets, things),
            time_text(micros(measured)),
            time_text(micros(warm_up)),
        )
    }

    /// The histogram: a bar for each step of 1, 2, 5.
    fn bars(&self, columns: Option<usize>) -> Vec<String> {
        let longest = columns.map_or(BAR_LEN, |columns| columns.saturating_sub(BESIDE_BAR).clamp(BAR_LEN_MIN, BAR_LEN));
        let rows = self.outcome.run.latencies.histogram();
        let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1);
        let bar = |(up_to, number): &(u64, u64)| {
            let bar = "#".repeat((number * longest as u64).div_ceil(most) as usize);
            format!("  to {:>8}  {bar:<longest$}  {}", time_text(*up_to), with_commas(*number)).trim_end().to_owned()
        };
        rows.iter().map(bar).collect()
    }

    /// For programs: times in microseconds (`us`) and milliseconds (`ms`). Figures that do not count are null.
    pub(crate) fn json(&self) -> Value {
        let (options, run, wrong) = (&self.outcome.options, &self.outcome.run, self.wrong());
        let right = wrong.is_empty();
        let us = |share| run.latencies.at(share).filter(|_| right);
        let rows = run.latencies.histogram();
        let histogram: Vec<_> =
            rows.iter().map(|(up_to, count)| json!({ "up_to_us": up_to, "count": count })).collect();
        json!({
            "op": options.op.name(),
            "connections": options.connections,
            "wallets": options.wallets,
            "rate": options.plan.rate,
            "warm_up_ms": millis(options.plan.warm_up),
            "measured_ms": millis(run.measured),
            "ended_early": self.ended_early(),
            "units": options.op.units(),
            "count": right.then_some(run.units),
            "per_second": run.per_second().filter(|_| right),
            "latency_us": { "p50": us(500), "p90": us(900), "p99": us(990), "p99_9": us(999), "max": us(1_000) },
            "histogram": if right { histogram } else { Vec::new() },
            "unsent": run.unsent,
            "right": right,
            "checked": if right { self.checked() } else { String::new() },
            "audit": self.audit(),
            "wrong": wrong,
            "note": self.note,
        })
    }
}

/// An integer with commas between its thousands.
pub fn with_commas(number: u64) -> String {
    digits_with_commas(&number.to_string())
}

/// Digits, with a decimal point or without, with commas between the thousands.
pub fn digits_with_commas(digits: &str) -> String {
    let whole = digits.find('.').unwrap_or(digits.len());
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && place < whole && (whole - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn several(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", with_commas(number as u64), if number == 1 { "" } else { "s" })
}

/// Microseconds in the unit that fits, with three digits or so.
pub(super) fn time_text(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10),
        10_000..100_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    micros(time) / 1_000
}
