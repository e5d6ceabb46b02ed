//! A load generator, and then an auditor: a client of the public HTTP API like any other.
//!
//! - It sends requests only to the [`BenchTarget`] it is given, and changes nothing there but the wallets and locks it has
//!   made for the run, named `bench-…`. It leaves the wallets empty.
//! - A figure without a check means nothing: each wallet must hold what the responses say, down to the cent, or there is no
//!   figure.
//! - Numbers are integers here too: microseconds, and units a second.
//!
//! It knows nothing of the store. The server it may start for itself is a process of its own ([`BenchServer`]).
//!
//! In reading order: `run` · `workload` (what a connection repeats, and the check) · `driver` (many connections on few
//! threads) · `report` · `client` · `server`.

mod client;
mod driver;
mod report;
mod run;
mod server;
#[cfg(test)]
mod tests;
mod workload;

pub use client::{BenchCaller, BenchClient};
pub(crate) use client::{BenchTarget, UnexpectedStatus};
pub use driver::{BenchPlan, Latencies, drive};
pub(crate) use report::{BenchAudit, BenchReport};
pub use report::{digits_with_commas, with_commas};
pub(crate) use run::{BenchOp, BenchOptions, BenchOutcome, run};
pub use server::{BenchServer, clean_command};
pub use workload::{
    BatchWithdraw, BenchWallet, HeldFlag, HoldPairs, KeyOrder, LockPairs, MoveCents, ReadBalance, Workload,
    acquire_request, check_locks, check_wallets, open_wallets, release_request,
};
