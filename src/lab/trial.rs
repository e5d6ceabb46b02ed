//! One guard, tried: a new file, the load on it, and what is left.

use super::client::LabLoad;
use super::figures::{Figures, TrialRow};
use super::load::{self, Tally};
use super::naive::{Nothing, Optimistic, Thread};
use super::ours::{LeaseStrategy, PlainHttpStrategy, PlainStrategy};
use super::plain_file::PlainFile;
use super::redis::{self, Redis};
use super::row_textbook::RowTextbook;
use super::{AMOUNT_CENTS, LabResult, LockStrategy, StrategyKind, second_process};
use crate::money::Balance;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How the guards are tried.
#[derive(Clone, Debug)]
pub struct LabPlan {
    /// Clients at a time.
    pub clients: u32,
    /// Withdrawals, all clients' together.
    pub requests: u32,
    /// How long a client works between reading and writing.
    pub work: Duration,
    /// How long it waits before it asks for a held lock again.
    pub retry: Duration,
    /// How long a lease lasts.
    pub expire: Duration,
    /// How long after that nobody should take over.
    pub grace: Duration,
    /// What repeats the clients' jitter.
    pub seed: u64,
    /// The Redis to ask, or why there is none.
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "read by the strategies of that feature"))]
    pub redis: Result<Redis, String>,
}

impl LabPlan {
    /// How long a stalled holder is frozen: its lease and grace, and a lease more, in which others come and go.
    pub fn stall(&self) -> Duration {
        self.expire * 2 + self.grace
    }

    /// What the wallet holds at first: what all withdrawals take, and nothing more.
    pub fn start(&self) -> Balance {
        Balance::from_cents(i64::from(self.requests) * AMOUNT_CENTS)
    }
}

/// Tries one guard in a folder of its own inside `folder`, with one holder stalled or none; `watch` is told now and then
/// how many withdrawals are done.
pub fn try_strategy(
    kind: StrategyKind,
    stalled: bool,
    plan: &LabPlan,
    folder: &Path,
    stop: &AtomicBool,
    watch: &dyn Fn(u64),
) -> TrialRow {
    let (clients, requests, work, seed) = (plan.clients, plan.requests, plan.work, plan.seed);
    let load = LabLoad { clients, requests, work, stall: stalled.then(|| plan.stall()), seed, stop };
    let own = folder.join(format!("{}-{}", kind.name(), if stalled { "stalled" } else { "undisturbed" }));
    let figures = if stop.load(Relaxed) { Err("stopped".into()) } else { figures(kind, &load, plan, &own, watch) };
    TrialRow { kind, stalled, figures: figures.map_err(|why| why.to_string()) }
}

fn figures(
    kind: StrategyKind,
    load: &LabLoad<'_>,
    plan: &LabPlan,
    folder: &Path,
    watch: &dyn Fn(u64),
) -> LabResult<Figures> {
    std::fs::create_dir(folder)?;
    let file = folder.join("wallet.db");
    let guard = open(kind, plan, &file)?;
    let tally = match kind {
        StrategyKind::TwoProcesses => second_process::drive_both(&*guard, load, &file, watch)?,
        _ => load::drive(&*guard, load, watch)?,
    };
    if tally.yes() == 0 {
        return Err(tally.error.unwrap_or_else(|| "stopped".to_owned()).into());
    }
    let audit = guard.audit().transpose()?;
    Ok(Figures { balance: guard.balance()?, expected: expected(plan, &tally), tally, audit })
}

fn expected(plan: &LabPlan, tally: &Tally) -> Balance {
    Balance::from_cents(plan.start().cents() - tally.yes() as i64 * AMOUNT_CENTS)
}

fn open(kind: StrategyKind, plan: &LabPlan, file: &Path) -> LabResult<Box<dyn LockStrategy>> {
    let plain = || PlainFile::create(file, plan.start());
    Ok(match kind {
        StrategyKind::Nothing => Box::new(Nothing(plain()?)),
        StrategyKind::Thread | StrategyKind::TwoProcesses => Box::new(Thread::new(plain()?)),
        StrategyKind::RowTextbook => Box::new(RowTextbook::new(plain()?, plan)),
        StrategyKind::RedisTextbook => redis::textbook(plain()?, plan)?,
        StrategyKind::Redis => redis::careful(plain()?, plan)?,
        StrategyKind::Optimistic => Box::new(Optimistic(plain()?)),
        StrategyKind::Lease => Box::new(LeaseStrategy::open(file, plan)?),
        StrategyKind::Plain => Box::new(PlainStrategy::open(file, plan)?),
        StrategyKind::PlainHttp => Box::new(PlainHttpStrategy::open(file, plan)?),
    })
}
