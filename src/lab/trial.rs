//! One trial of a strategy: a new file, the load on it, and the figures with their verdict.

use super::cashbox::{LeaseStrategy, PlainHttpStrategy, PlainStrategy};
use super::client::LabLoad;
use super::load::{self, Tally};
use super::plain_file::{Optimistic, PlainFile, RowTextbook, ThreadLock, Unprotected};
#[cfg(feature = "redis")]
use super::redis_lock::{RedisConnections, RedisRandomValue, RedisTextbook};
use super::second_process;
use super::strategy::{AMOUNT_CENTS, LabPlan, LabResult, LockStrategy, StrategyKind};
use crate::money::Balance;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[cfg(not(feature = "redis"))]
const HOW_TO_BUILD: &str =
    "this build has no Redis client; build one with: cargo run --release --features redis -- lab";

/// One trial of a strategy.
pub(crate) struct TrialRow {
    /// The strategy.
    pub kind: StrategyKind,
    /// True if one holder stalled past its lease.
    pub stalled: bool,
    /// Its figures, or the reason why it was not run.
    pub figures: Result<Figures, String>,
}

/// The figures of a trial.
pub(crate) struct Figures {
    pub(super) tally: Tally,
    pub(super) balance: Balance,
    pub(super) expected: Balance,
    pub(super) audit: Option<Vec<String>>,
}

/// The verdict without which figures mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabVerdict {
    /// The balance is right to the cent.
    Right,
    /// The balance is wrong.
    Wrong,
    /// The strategy was not run.
    NotRun,
}

impl LabVerdict {
    /// As it is printed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            LabVerdict::Right => "right",
            LabVerdict::Wrong => "wrong",
            LabVerdict::NotRun => "not run",
        }
    }
}

impl TrialRow {
    /// Its verdict.
    pub(crate) fn verdict(&self) -> LabVerdict {
        match &self.figures {
            Err(_) => LabVerdict::NotRun,
            Ok(figures) if figures.is_right() => LabVerdict::Right,
            Ok(_) => LabVerdict::Wrong,
        }
    }

    /// The row for programs.
    pub(crate) fn json(&self, plan: &LabPlan) -> Value {
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
    pub(super) fn is_right(&self) -> bool {
        self.balance == self.expected && self.audit.as_ref().is_none_or(Vec::is_empty)
    }

    /// Withdrawals that were reported as done and are not in the balance.
    pub(crate) fn lost_updates(&self) -> i64 {
        (self.balance.cents() - self.expected.cents()) / AMOUNT_CENTS
    }

    /// Withdrawals that were reported as done.
    pub(crate) fn done(&self) -> u64 {
        self.tally.done()
    }

    /// The time of the whole trial, in microseconds.
    pub(crate) fn wall_us(&self) -> u64 {
        self.tally.wall_us
    }

    /// Withdrawals done a second.
    pub(crate) fn per_second(&self) -> u64 {
        self.done() * 1_000_000 / self.wall_us().max(1)
    }

    /// The time within which `percent` of the withdrawals were done, in microseconds.
    pub(crate) fn percentile_us(&self, percent: usize) -> u64 {
        let rank = (self.tally.took_us.len() * percent).div_ceil(100).max(1);
        self.tally.took_us.get(rank - 1).copied().unwrap_or(0)
    }

    /// Attempts that had to be repeated.
    pub(crate) fn retries(&self) -> u64 {
        self.tally.retries
    }

    /// Withdrawals that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.tally.errors
    }

    /// The balance of the wallet.
    pub(crate) fn balance(&self) -> Balance {
        self.balance
    }

    /// The balance it should have: the first one less all withdrawals done.
    pub(crate) fn expected(&self) -> Balance {
        self.expected
    }

    /// The result of the ledger audit; `None` if the file has no ledger.
    pub(crate) fn audit(&self) -> Option<&'static str> {
        self.audit.as_ref().map(|findings| if findings.is_empty() { "clean" } else { "damaged" })
    }

    fn json(&self) -> Value {
        json!({
            "yes": self.done(),
            "wall_seconds": thousandths(self.wall_us() / 1_000),
            "requests_per_second": self.per_second(),
            "p50_ms": thousandths(self.percentile_us(50)),
            "p99_ms": thousandths(self.percentile_us(99)),
            "max_ms": thousandths(self.percentile_us(100)),
            "refusals": self.retries(),
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
pub(super) fn thousandths(number: u64) -> Value {
    let text = format!("{}.{:03}", number / 1_000, number % 1_000);
    serde_json::from_str(&text).expect("digits and a point are a number")
}

/// Tries one strategy in a folder of its own inside `folder`, with one holder stalled or none. `progress` gets the number of
/// withdrawals that have ended.
pub(crate) fn try_strategy(
    kind: StrategyKind,
    stalled: bool,
    plan: &LabPlan,
    folder: &Path,
    stop: &AtomicBool,
    progress: &dyn Fn(u64),
) -> TrialRow {
    let (clients, requests, work, seed) = (plan.clients, plan.requests, plan.work, plan.seed);
    let load = LabLoad { clients, requests, work, stall: stalled.then(|| plan.stall()), seed, stop };
    let folder = folder.join(format!("{}-{}", kind.name(), if stalled { "stalled" } else { "undisturbed" }));
    let figures =
        if stop.load(Relaxed) { Err("stopped".into()) } else { figures(kind, &load, plan, &folder, progress) };
    TrialRow { kind, stalled, figures: figures.map_err(|error| error.to_string()) }
}

fn figures(
    kind: StrategyKind,
    load: &LabLoad<'_>,
    plan: &LabPlan,
    folder: &Path,
    progress: &dyn Fn(u64),
) -> LabResult<Figures> {
    std::fs::create_dir(folder)?;
    let file = folder.join("wallet.db");
    let strategy = open(kind, plan, &file)?;
    let tally = match kind {
        StrategyKind::TwoProcesses => second_process::drive_both(&*strategy, load, &file, progress)?,
        _ => load::drive(&*strategy, load, progress)?,
    };
    if tally.done() == 0 {
        return Err(tally.error.unwrap_or_else(|| "stopped".to_owned()).into());
    }
    let audit = strategy.audit().transpose()?;
    Ok(Figures { balance: strategy.balance()?, expected: expected(plan, &tally), tally, audit })
}

fn expected(plan: &LabPlan, tally: &Tally) -> Balance {
    Balance::from_cents(plan.initial_balance().cents() - tally.done() as i64 * AMOUNT_CENTS)
}

fn open(kind: StrategyKind, plan: &LabPlan, file: &Path) -> LabResult<Box<dyn LockStrategy>> {
    let plain = || PlainFile::create(file, plan.initial_balance());
    Ok(match kind {
        StrategyKind::Unprotected => Box::new(Unprotected(plain()?)),
        StrategyKind::Thread | StrategyKind::TwoProcesses => Box::new(ThreadLock::new(plain()?)),
        StrategyKind::RowTextbook => Box::new(RowTextbook::new(plain()?, plan)),
        StrategyKind::RedisTextbook => redis_textbook(plain()?, plan)?,
        StrategyKind::Redis => redis_random_value(plain()?, plan)?,
        StrategyKind::Optimistic => Box::new(Optimistic(plain()?)),
        StrategyKind::Lease => Box::new(LeaseStrategy::open(file, plan)?),
        StrategyKind::Plain => Box::new(PlainStrategy::open(file, plan)?),
        StrategyKind::PlainHttp => Box::new(PlainHttpStrategy::open(file, plan)?),
    })
}

#[cfg(feature = "redis")]
fn redis_textbook(file: PlainFile, plan: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Ok(Box::new(RedisTextbook { file, connections: RedisConnections::new(plan)? }))
}

#[cfg(feature = "redis")]
fn redis_random_value(file: PlainFile, plan: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Ok(Box::new(RedisRandomValue { file, connections: RedisConnections::new(plan)? }))
}

#[cfg(not(feature = "redis"))]
fn redis_textbook(_: PlainFile, _: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Err(HOW_TO_BUILD.into())
}

#[cfg(not(feature = "redis"))]
fn redis_random_value(_: PlainFile, _: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Err(HOW_TO_BUILD.into())
}
