//! What came of a guard: its figures, and the verdict without which they mean nothing.

use super::load::Tally;
use super::{AMOUNT_CENTS, LabPlan, StrategyKind};
use crate::money::Balance;
use serde_json::{Value, json};

/// One guard, tried once.
pub struct TrialRow {
    /// The guard.
    pub kind: StrategyKind,
    /// Whether one holder stalled past its lease.
    pub stalled: bool,
    /// What came of it, or why it was not run.
    pub figures: Result<Figures, String>,
}

/// What came of a guard.
pub struct Figures {
    pub(super) tally: Tally,
    pub(super) balance: Balance,
    pub(super) expected: Balance,
    pub(super) audit: Option<Vec<String>>,
}

/// Whether the money is what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabVerdict {
    /// To the cent.
    Right,
    /// It is not.
    Wrong,
    /// Nobody knows.
    NotRun,
}

impl LabVerdict {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            LabVerdict::Right => "right",
            LabVerdict::Wrong => "wrong",
            LabVerdict::NotRun => "not run",
        }
    }
}

impl TrialRow {
    /// Whether the money is what it should be.
    pub fn verdict(&self) -> LabVerdict {
        match &self.figures {
            Err(_) => LabVerdict::NotRun,
            Ok(figures) if figures.is_right() => LabVerdict::Right,
            Ok(_) => LabVerdict::Wrong,
        }
    }

    /// As a program reads it.
    pub fn json(&self, plan: &LabPlan) -> Value {
        let mut row = json!({
            "guard": self.kind.name(),
            "about": self.kind.about(),
            "stalled": self.stalled,
            "verdict": self.verdict().as_str(),
            "why": self.figures.as_ref().err(),
            "clients": plan.clients,
            "requests": plan.requests,
            "work_ms": plan.work.as_millis() as u64,
        });
        let figures = match &self.figures {
            Ok(figures) => figures.json(),
            Err(_) => json!({}),
        };
        if let (Value::Object(row), Value::Object(figures)) = (&mut row, figures) {
            row.extend(figures);
        }
        row
    }
}

impl Figures {
    fn is_right(&self) -> bool {
        self.balance == self.expected && self.audit.as_ref().is_none_or(Vec::is_empty)
    }

    /// How many withdrawals were answered yes and are not in the balance.
    pub fn lost_updates(&self) -> i64 {
        (self.balance.cents() - self.expected.cents()) / AMOUNT_CENTS
    }

    /// How many withdrawals were answered yes.
    pub fn yes(&self) -> u64 {
        self.tally.yes()
    }

    /// How long it all took, in microseconds.
    pub fn wall_us(&self) -> u64 {
        self.tally.wall.as_micros() as u64
    }

    /// Yeses a second.
    pub fn per_second(&self) -> u64 {
        self.yes() * 1_000_000 / self.wall_us().max(1)
    }

    /// The time within which so many of a hundred withdrawals were answered, in microseconds.
    pub fn percentile_us(&self, percent: usize) -> u64 {
        let rank = (self.tally.took.len() * percent).div_ceil(100).max(1);
        self.tally.took.get(rank - 1).copied().unwrap_or(0)
    }

    /// How often a withdrawal was told to begin anew.
    pub fn refusals(&self) -> u64 {
        self.tally.refusals
    }

    /// How many withdrawals failed.
    pub fn errors(&self) -> u64 {
        self.tally.errors
    }

    /// What the wallet holds.
    pub fn balance(&self) -> Balance {
        self.balance
    }

    /// What it should hold: what it held at first, less every yes.
    pub fn expected(&self) -> Balance {
        self.expected
    }

    /// What the ledger audit said; none where there is no ledger.
    pub fn audit(&self) -> Option<&'static str> {
        self.audit.as_ref().map(|findings| if findings.is_empty() { "clean" } else { "damaged" })
    }

    fn json(&self) -> Value {
        json!({
            "yes": self.yes(),
            "wall_seconds": thousandths(self.wall_us() / 1_000),
            "requests_per_second": self.per_second(),
            "p50_ms": thousandths(self.percentile_us(50)),
            "p99_ms": thousandths(self.percentile_us(99)),
            "max_ms": thousandths(self.percentile_us(100)),
            "refusals": self.refusals(),
            "errors": self.errors(),
            "first_error": self.tally.error,
            "final_balance": self.balance.to_string(),
            "expected_balance": self.expected.to_string(),
            "lost_updates": self.lost_updates(),
            "ledger_audit": self.audit(),
            "findings": self.audit,
        })
    }
}

/// A number with three decimals.
fn thousandths(number: u64) -> Value {
    let text = format!("{}.{:03}", number / 1_000, number % 1_000);
    serde_json::from_str(&text).expect("digits and a point are a number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn figures(yes: u64, balance: i64, expected: i64) -> Figures {
        let tally = Tally { took: (1..=yes).collect(), wall: Duration::from_millis(1_234), ..Tally::default() };
        let (balance, expected) = (Balance::from_cents(balance), Balance::from_cents(expected));
        Figures { tally, balance, expected, audit: None }
    }

    #[test]
    fn a_balance_that_is_not_expected_is_wrong_in_either_direction() {
        assert!(figures(10, 0, 0).is_right());
        assert!(!figures(10, 700, 0).is_right());
        assert!(!figures(10, 0, 100).is_right());
        assert_eq!(figures(10, 700, 0).lost_updates(), 7);
    }

    #[test]
    fn a_ledger_that_is_damaged_is_wrong_though_the_balance_is_right() {
        assert!(!Figures { audit: Some(vec!["a finding".to_owned()]), ..figures(1, 0, 0) }.is_right());
        assert!(Figures { audit: Some(Vec::new()), ..figures(1, 0, 0) }.is_right());
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let hundred = figures(100, 0, 0);
        assert_eq!([50, 99, 100].map(|percent| hundred.percentile_us(percent)), [50, 99, 100]);
        assert_eq!(figures(1, 0, 0).percentile_us(50), 1);
        assert_eq!(figures(0, 0, 0).percentile_us(99), 0);
    }

    #[test]
    fn numbers_keep_their_decimals() {
        assert_eq!(thousandths(1_050).to_string(), "1.05");
        assert_eq!(figures(2_468, 0, 0).per_second(), 2_000);
    }
}
