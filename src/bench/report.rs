//! What a run brought, for people and for programs. If anything is wrong, WRONG stands where the figures would.

use super::BenchOutcome;
use super::fleet::BenchPlan;
use serde_json::{Value, json};
use std::time::Duration;

/// The shares that are told, in thousandths, under their names; the longest is told beside.
const SHARES: [(&str, u64); 4] = [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)];
/// The longest bar of the histogram, in characters.
const BAR: u64 = 40;

/// What the audit said.
#[derive(Clone, Debug)]
pub enum BenchAudit {
    /// Nothing is wrong.
    Clean,
    /// It found this.
    Found(Vec<String>),
    /// There was none, and why.
    NotAsked(String),
}

/// A run and the audit after it.
#[derive(Debug)]
pub struct BenchReport {
    /// The run.
    pub outcome: BenchOutcome,
    /// The audit.
    pub audit: BenchAudit,
    /// What makes the figures mean less than they seem to.
    pub note: Option<String>,
}

impl BenchReport {
    /// Why the figures do not count; empty if they do.
    pub fn wrong(&self) -> Vec<&str> {
        let found: &[String] = if let BenchAudit::Found(found) = &self.audit { found } else { &[] };
        self.outcome.wrong.iter().chain(found).map(String::as_str).collect()
    }

    fn audit(&self) -> &str {
        match &self.audit {
            BenchAudit::Clean => "audit clean",
            BenchAudit::Found(_) => "audit not clean",
            BenchAudit::NotAsked(why) => why,
        }
    }

    /// Whether it was stopped before its time.
    fn ended_early(&self) -> bool {
        self.outcome.run.measured < self.outcome.wanted.plan.measured
    }

    /// For people.
    pub fn text(&self) -> String {
        let (wanted, run, wrong) = (&self.outcome.wanted, &self.outcome.run, self.wrong());
        let mut lines = vec![self.head()];
        if wrong.is_empty() {
            match run.per_second() {
                Some(rate) => lines.push(format!("  {} {}/s", count(rate), wanted.op.units())),
                None => lines.push("  no figures: it was ended during the warm-up".to_owned()),
            }
            let shares = SHARES.iter().filter_map(|(name, share)| Some((*name, run.latencies.at(*share)?)));
            let shares: Vec<_> = shares.chain(run.latencies.at(1_000).map(|us| ("max", us))).collect();
            lines.extend(shares.iter().map(|(name, us)| format!("  {name:<6} {:>9}", span(*us))));
            lines.extend(self.bars());
            if run.unsent > 0 {
                lines.push(format!(
                    "  {} requests were due and never sent: the server does not keep up",
                    count(run.unsent)
                ));
            }
            lines.push(format!("  checked: {}; {}", self.outcome.checked, self.audit()));
        } else {
            lines.push("  WRONG".to_owned());
            lines.extend(wrong.iter().map(|sentence| format!("  {sentence}")));
        }
        if self.ended_early() {
            lines.push(format!("  ended early, after {}", span(micros(run.measured))));
        }
        lines.extend(self.note.iter().map(|note| format!("  note: {note}")));
        lines.join("\n")
    }

    fn head(&self) -> String {
        let wanted = &self.outcome.wanted;
        let BenchPlan { warm_up, measured, rate, .. } = wanted.plan;
        let pace = rate.map_or(String::new(), |rate| format!(", {} due a second", count(rate.into())));
        let items = if wanted.op == super::BenchOp::Batch {
            format!(" of {}", count(wanted.items as u64))
        } else {
            String::new()
        };
        let things = if wanted.op == super::BenchOp::Lock { "lock" } else { "wallet" };
        format!(
            "{}{items}, {}, {}{pace}; {} after {} of warm-up",
            wanted.op.name(),
            several(wanted.connections, "connection"),
            several(wanted.wallets, things),
            span(micros(measured)),
            span(micros(warm_up)),
        )
    }

    /// The histogram: a bar for each step of 1, 2, 5.
    fn bars(&self) -> Vec<String> {
        let rows = self.outcome.run.latencies.histogram();
        let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1);
        let bar = |(up_to, number): &(u64, u64)| {
            let bar = "#".repeat((number * BAR).div_ceil(most) as usize);
            format!("  to {:>8}  {bar:<40}  {}", span(*up_to), count(*number)).trim_end().to_owned()
        };
        rows.iter().map(bar).collect()
    }

    /// For programs: times in microseconds (`us`) and milliseconds (`ms`). Figures that do not count are null.
    pub fn json(&self) -> Value {
        let (wanted, run, wrong) = (&self.outcome.wanted, &self.outcome.run, self.wrong());
        let right = wrong.is_empty();
        let us = |share| run.latencies.at(share).filter(|_| right);
        let rows = run.latencies.histogram();
        let histogram: Vec<_> =
            rows.iter().map(|(up_to, count)| json!({ "up_to_us": up_to, "count": count })).collect();
        json!({
            "op": wanted.op.name(),
            "connections": wanted.connections,
            "wallets": wanted.wallets,
            "rate": wanted.plan.rate,
            "warm_up_ms": millis(wanted.plan.warm_up),
            "measured_ms": millis(run.measured),
            "ended_early": self.ended_early(),
            "units": wanted.op.units(),
            "count": right.then_some(run.units),
            "per_second": run.per_second().filter(|_| right),
            "latency_us": { "p50": us(500), "p90": us(900), "p99": us(990), "p99_9": us(999), "max": us(1_000) },
            "histogram": if right { histogram } else { Vec::new() },
            "unsent": run.unsent,
            "right": right,
            "checked": if right { self.outcome.checked.as_str() } else { "" },
            "audit": self.audit(),
            "wrong": wrong,
            "note": self.note,
        })
    }
}

/// An integer with commas between its thousands.
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// Digits, perhaps with a point among them, with commas between the thousands.
pub fn grouped(digits: &str) -> String {
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
    format!("{} {thing}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// Microseconds as people read them, with as many digits as mean something.
fn span(us: u64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_fits() {
        let told = [7, 4_129, 41_290, 412_900, 5_000_000].map(span);
        assert_eq!(told, ["7 µs", "4.12 ms", "41.2 ms", "412 ms", "5.0 s"]);
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!([7, 999, 1_000, 1_234_567].map(count), ["7", "999", "1,000", "1,234,567"]);
        assert_eq!(grouped("12345.67"), "12,345.67");
    }
}
