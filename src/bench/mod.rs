//! A load generator, and then an auditor: a client of the public HTTP API like any other.
//!
//! - It asks nobody but the [`BenchTarget`] it is given, and there it touches nothing but the wallets and locks it has made for
//!   the run, named `bench-…`. It leaves the wallets empty.
//! - A figure without a check means nothing: each wallet must hold what the answers said, down to the cent, or there is
//!   no figure.
//! - Numbers are integers here too: microseconds, and units a second.
//!
//! It knows nothing of the store. The server it may start for itself is a process of its own ([`server`]).
//!
//! In reading order: [`run()`], what a run is; [`script`] and [`pairs`], what its connections ask; [`wallet`], what they
//! work on, and the check; [`fleet`], many connections on few threads; [`latencies`]; [`report`]; below them [`client`],
//! [`keys`] and [`server`].

pub mod client;
pub mod fleet;
pub mod keys;
pub mod latencies;
pub mod pairs;
pub mod report;
pub mod script;
pub mod server;
pub mod wallet;

pub use client::{BenchCaller, BenchTarget, UnexpectedStatus};

use crate::secret;
use fleet::{BenchPlan, BenchRun, Script, drive};
use pairs::{HeldFlag, LockPairs};
use report::count;
use script::{BatchWithdraw, MoveCents, ReadBalance, Work};
use std::io;
use std::sync::atomic::AtomicBool;
use wallet::BenchWallet;

/// What is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchOp {
    /// A cent out of a wallet
    Withdraw,
    /// A cent into a wallet
    Recharge,
    /// A cent for something
    Pay,
    /// A cent from a wallet to the next
    Transfer,
    /// The balance of a wallet
    Balance,
    /// Many withdrawals in one request
    Batch,
    /// A lock, acquired and released
    Lock,
}

impl BenchOp {
    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            BenchOp::Withdraw => "withdraw",
            BenchOp::Recharge => "recharge",
            BenchOp::Pay => "pay",
            BenchOp::Transfer => "transfer",
            BenchOp::Balance => "balance",
            BenchOp::Batch => "batch",
            BenchOp::Lock => "lock",
        }
    }

    /// What is counted.
    pub fn units(self) -> &'static str {
        match self {
            BenchOp::Withdraw | BenchOp::Batch => "withdrawals",
            BenchOp::Recharge => "recharges",
            BenchOp::Pay => "payments",
            BenchOp::Transfer => "transfers",
            BenchOp::Balance => "balances",
            BenchOp::Lock => "pairs of acquire and release",
        }
    }
}

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// What is asked.
    pub op: BenchOp,
    /// By how many connections.
    pub connections: usize,
    /// On how many wallets, or locks.
    pub wallets: usize,
    /// Items of a batch.
    pub items: usize,
    /// How long, and how often.
    pub plan: BenchPlan,
}

/// What a run brought.
#[derive(Clone, Debug)]
pub struct BenchOutcome {
    /// What it was to be.
    pub wanted: BenchOptions,
    /// What was measured.
    pub run: BenchRun,
    /// What was checked and holds, in words.
    pub checked: String,
    /// Why the figures do not count; empty if they do.
    pub wrong: Vec<String>,
}

/// Makes what is worked on, works until the time is over or `stop` is set, and checks what is left.
///
/// # Errors
/// If the server cannot be reached, or says no ([`UnexpectedStatus`], inside) where only a yes makes sense.
pub fn run(site: &BenchTarget, wanted: BenchOptions, stop: &AtomicBool) -> io::Result<BenchOutcome> {
    let mut client = site.client()?;
    let prefix = format!("bench-{}-", secret::random_hex::<4>());
    let names = (0..wanted.wallets).map(|number| format!("{prefix}{number}"));
    let (mut wallets, mut works) = if wanted.op == BenchOp::Lock {
        let locks: Vec<_> = names.map(|name| (name, HeldFlag::default())).collect();
        let of = |place: usize| &locks[place % locks.len()];
        let pairs = |place| Box::new(LockPairs::new(&site.caller, &of(place).0, &of(place).1)) as Box<dyn Work>;
        (Vec::new(), (0..wanted.connections).map(pairs).collect())
    } else {
        let wallets = wallet::open(&mut client, &site.caller, names)?;
        let works: Vec<_> = (0..wanted.connections).map(|place| work(&wallets, place, &wanted)).collect();
        (wallets, works)
    };
    let (run, ()) = drive(site.address, &mut works, wanted.plan, stop, || ())?;
    works.iter().for_each(|work| work.settle(&mut wallets));
    let mut wrong: Vec<_> = works.iter().filter_map(|work| work.wrong().map(str::to_owned)).take(1).collect();
    let mut client = site.client()?; // the first may have been idle for too long
    if wanted.op == BenchOp::Lock {
        wrong.extend(pairs::check(&mut client, &site.caller, &prefix)?);
    } else {
        wrong.extend(wallet::check(&mut client, &wallets)?);
    }
    if wrong.is_empty() {
        wallet::empty(&mut client, &wallets)?; // what is wrong stays to be looked at
    }
    let done = works.iter().map(|work| work.done()).sum();
    Ok(BenchOutcome { wanted, run, checked: checked(wanted.op, done), wrong })
}

fn work(wallets: &[BenchWallet], connection: usize, wanted: &BenchOptions) -> Box<dyn Work> {
    let place = connection % wallets.len();
    match wanted.op {
        BenchOp::Withdraw => Box::new(MoveCents::withdraw(wallets, place, false)),
        BenchOp::Recharge => Box::new(MoveCents::recharge(wallets, place)),
        BenchOp::Pay => Box::new(MoveCents::pay(wallets, place)),
        BenchOp::Transfer => Box::new(MoveCents::transfer(wallets, place)),
        BenchOp::Balance => {
            Box::new(ReadBalance::new(&wallets[place], &format!("/v1/wallets/{}", wallets[place].user)))
        }
        BenchOp::Batch => Box::new(BatchWithdraw::new(wallets, wanted.items)),
        BenchOp::Lock => unreachable!("locks are no wallets"),
    }
}

fn checked(op: BenchOp, done: u64) -> String {
    let done = count(done);
    match op {
        BenchOp::Lock => format!("{done} pairs: never two holders, fences grow, nothing left behind"),
        BenchOp::Balance => format!("{done} answers, each with the right balance"),
        _ => format!("{done} yes, no other answer; balances as answered, lost updates 0"),
    }
}

impl Script for Box<dyn Work> {
    fn next(&mut self) -> &[u8] {
        (**self).next()
    }

    fn heard(&mut self, answer: &client::BenchResponse<'_>) -> io::Result<u64> {
        (**self).heard(answer)
    }

    fn follow_up(&mut self) -> Option<&[u8]> {
        (**self).follow_up()
    }
}
