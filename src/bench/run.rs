//! A run: makes the wallets or locks, drives the connections, and checks the result.

use super::client::BenchTarget;
use super::driver::{BenchPlan, BenchRun, drive};
use super::workload::{
    BatchWithdraw, BenchWallet, HeldFlag, HoldPairs, KeyOrder, LockPairs, MoveCents, ReadBalance, Workload,
    check_locks, check_wallets, empty_wallets, open_wallets,
};
use crate::secret;
use std::io;
use std::sync::atomic::AtomicBool;

/// The operation that a run repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BenchOp {
    /// A cent out of a wallet
    Withdraw,
    /// A cent into a wallet
    Recharge,
    /// A cent for something
    Pay,
    /// A cent from a wallet to the next
    Transfer,
    /// A cent reserved and captured
    Hold,
    /// The balance of a wallet
    Balance,
    /// Many withdrawals in one request
    Batch,
    /// A lock, acquired and released
    Lock,
}

impl BenchOp {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            BenchOp::Withdraw => "withdraw",
            BenchOp::Recharge => "recharge",
            BenchOp::Pay => "pay",
            BenchOp::Transfer => "transfer",
            BenchOp::Hold => "hold",
            BenchOp::Balance => "balance",
            BenchOp::Batch => "batch",
            BenchOp::Lock => "lock",
        }
    }

    /// The name of its units.
    pub(crate) fn units(self) -> &'static str {
        match self {
            BenchOp::Withdraw | BenchOp::Batch => "withdrawals",
            BenchOp::Recharge => "recharges",
            BenchOp::Pay => "payments",
            BenchOp::Transfer => "transfers",
            BenchOp::Hold => "pairs of hold and capture",
            BenchOp::Balance => "balances",
            BenchOp::Lock => "pairs of acquire and release",
        }
    }
}

/// The options of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BenchOptions {
    /// The operation.
    pub op: BenchOp,
    /// Number of connections.
    pub connections: usize,
    /// Number of wallets, or of locks.
    pub wallets: usize,
    /// Items of one batch.
    pub items: usize,
    /// Length, rate and threads.
    pub plan: BenchPlan,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub(crate) struct BenchOutcome {
    /// Its options.
    pub options: BenchOptions,
    /// The measurements.
    pub run: BenchRun,
    /// Units done, those before and after the measured time included.
    pub done: u64,
    /// The reasons why the figures do not count; empty if they do.
    pub wrong: Vec<String>,
}

/// Makes wallets or locks, sends requests until the time is over or `stop` is set, and checks the result.
///
/// # Errors
/// If the server cannot be reached, or refuses a request ([`UnexpectedStatus`](super::UnexpectedStatus), inside).
pub(crate) fn run(target: &BenchTarget, options: BenchOptions, stop: &AtomicBool) -> io::Result<BenchOutcome> {
    let mut client = target.connect()?;
    let prefix = format!("bench-{}-", secret::random_hex::<4>());
    let names = (0..options.wallets).map(|number| format!("{prefix}{number}"));
    let (mut wallets, mut workloads): (_, Vec<Box<dyn Workload>>) = if options.op == BenchOp::Lock {
        let locks: Vec<_> = names.map(|name| (name, HeldFlag::default())).collect();
        let pairs = |place: usize| {
            let (name, held) = &locks[place % locks.len()];
            Box::new(LockPairs::new(&target.caller, name, held)) as _
        };
        (Vec::new(), (0..options.connections).map(pairs).collect())
    } else {
        let wallets = open_wallets(&mut client, &target.caller, names)?;
        let workloads = (0..options.connections).map(|place| workload(&wallets, place, &options)).collect();
        (wallets, workloads)
    };
    let (run, ()) = drive(target.address, &mut workloads, options.plan, stop, || ())?;
    workloads.iter().for_each(|workload| workload.settle(&mut wallets));
    let violation = workloads.iter().find_map(|workload| workload.violation());
    let mut wrong: Vec<_> = violation.map(str::to_owned).into_iter().collect();
    let mut client = target.connect()?; // the server may have closed the first, which was idle
    if options.op == BenchOp::Lock {
        wrong.extend(check_locks(&mut client, &target.caller, &prefix)?);
    } else {
        wrong.extend(check_wallets(&mut client, &wallets)?);
    }
    if wrong.is_empty() {
        empty_wallets(&mut client, &wallets)?; // wrong ones stay, to be looked at
    }
    let done = workloads.iter().map(|workload| workload.units_done()).sum();
    Ok(BenchOutcome { options, run, done, wrong })
}

fn workload(wallets: &[BenchWallet], connection: usize, options: &BenchOptions) -> Box<dyn Workload> {
    let place = connection % wallets.len();
    match options.op {
        BenchOp::Withdraw => Box::new(MoveCents::withdraw(wallets, place, KeyOrder::Random)),
        BenchOp::Recharge => Box::new(MoveCents::recharge(wallets, place)),
        BenchOp::Pay => Box::new(MoveCents::pay(wallets, place)),
        BenchOp::Transfer => Box::new(MoveCents::transfer(wallets, place)),
        BenchOp::Hold => Box::new(HoldPairs::new(wallets, place, KeyOrder::Random)),
        BenchOp::Balance => {
            Box::new(ReadBalance::new(&wallets[place], &format!("/v1/wallets/{}", wallets[place].user)))
        }
        BenchOp::Batch => Box::new(BatchWithdraw::new(wallets, options.items)),
        BenchOp::Lock => unreachable!("locks have no wallets"),
    }
}
