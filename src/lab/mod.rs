//! The lab: the same load under each strategy to protect a withdrawal, and the balance that is left.
//!
//! Clients share a number of withdrawals from one wallet. A `LockStrategy` carries out one of them: it reads, works and
//! writes, in its own way. In the end the wallet must hold its first balance less every withdrawal that was reported as
//! done; a strategy under which it holds anything else is wrong, however fast it was.
//!
//! Invariants:
//! - Every strategy has a file of its own in the lab's folder, with the same sync. No other file is ever touched.
//! - A strategy's time counts only beside a right balance.
//! - Amounts are whole cents and times whole microseconds.
//!
//! Strategies that are not of cashbox work on a plain file: in a wallet's own file triggers refuse a balance without its
//! entry, so their errors could not even be written there.
//!
//! In reading order: `strategy` · `client` and `load` · `plain_file`, `redis_lock`, `cashbox` (the strategies) ·
//! `second_process` · `trial` (one strategy, tried) · `chart`. Knows nothing of arguments, terminals and exit codes.

mod cashbox;
mod chart;
mod client;
mod load;
mod plain_file;
mod redis;
#[cfg(feature = "redis")]
mod redis_lock;
mod second_process;
mod strategy;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use chart::svg;
pub(crate) use redis::Redis;
pub(crate) use second_process::run_second_process;
pub(crate) use strategy::{AMOUNT_CENTS, LabPlan, StrategyKind};
pub(crate) use trial::{Figures, LabVerdict, TrialRow, try_strategy};
