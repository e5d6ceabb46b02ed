//! The lab: the same load under each way to guard a withdrawal, and what is left of the money.
//!
//! Clients share a queue of withdrawals from one wallet. A [`LockStrategy`] carries out one of them: it reads, works and
//! writes, in its own way. When all are through, the wallet must hold what it held at first less every yes; a guard
//! under which it holds anything else is wrong, however fast it was.
//!
//! What always holds:
//! - Every guard has a file of its own in the lab's folder, with the same sync. No other file is ever touched.
//! - A guard's time counts only beside a right balance.
//! - Amounts are whole cents and times whole microseconds.
//!
//! The guards that are not ours work on a plain file: in a wallet's own file triggers refuse a balance without its
//! entry, so what they do to the money could not even be written there.
//!
//! In reading order: [`trial`] (one guard, tried) · `load` and `client` (who asks) · `plain_file`, and a file per family of
//! guards · [`figures`] (what came of it) · [`chart`]. Knows nothing of: arguments, terminals, exit codes.

pub mod chart;
pub mod client;
pub mod figures;
mod load;
mod naive;
mod ours;
mod plain_file;
mod redis;
mod row_textbook;
pub mod second_process;
pub mod trial;

pub use redis::Redis;
pub use trial::{LabPlan, try_strategy};

use crate::money::Balance;
use client::LabClient;

/// Whose wallet it is.
pub const WALLET: &str = "3";
/// What every withdrawal takes, in cents.
pub const AMOUNT_CENTS: i64 = 100;

/// What went as it should, or why not, for people.
pub type LabResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What came of one try at a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is done, says the guard.
    Yes,
    /// Somebody was in between, says the guard, and nothing was written: it is tried anew.
    Again,
    /// Everybody was told to stop, and nothing was written.
    Stopped,
}

/// One way to guard a withdrawal, with its file.
pub trait LockStrategy: Sync {
    /// Takes the amount out of the wallet: reads, works, writes.
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt>;

    /// What the wallet holds.
    fn balance(&self) -> LabResult<Balance>;

    /// What the ledger audit finds; none where there is no ledger.
    fn audit(&self) -> Option<LabResult<Vec<String>>> {
        None
    }
}

macro_rules! kinds {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// The guards, in the order in which they are shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StrategyKind { $(#[doc = $doc] $variant,)* }

        impl StrategyKind {
            /// Every guard.
            pub const ALL: &[StrategyKind] = &[$(StrategyKind::$variant,)*];

            /// The guard's name.
            pub fn name(self) -> &'static str {
                match self { $(StrategyKind::$variant => $name,)* }
            }

            /// What it does, in a few words.
            pub fn about(self) -> &'static str {
                match self { $(StrategyKind::$variant => $doc,)* }
            }
        }
    };
}

kinds! {
    Nothing "none" "read the balance, work, write it back",
    Thread "thread" "the same under one lock in the process",
    TwoProcesses "thread-two-processes" "the same in two processes on one file, each with its lock",
    RowTextbook "row-textbook" "a lock row as usually written: create_time, expiry, release by id",
    RedisTextbook "redis-textbook" "SETNX whose answer is ignored, EXPIRE, DEL",
    Redis "redis" "SET NX PX with a random value, compare-and-delete, retry with jitter",
    Optimistic "optimistic" "compare-and-swap on a version, retry",
    Lease "lease" "our lock: acquire, work, withdraw with the lock token, release",
    Plain "plain" "our withdraw, as a client sends it",
    PlainHttp "plain-http" "the same over HTTP",
}

impl StrategyKind {
    /// The guard of that name.
    pub fn parse(name: &str) -> Option<StrategyKind> {
        StrategyKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether it is a guard of this program's own: never wrong, or something is broken here.
    pub fn is_ours(self) -> bool {
        matches!(self, StrategyKind::Lease | StrategyKind::Plain | StrategyKind::PlainHttp)
    }

    /// Whether there is something to see with a holder that stalls. Two processes lose without.
    pub fn can_stall(self) -> bool {
        self != StrategyKind::TwoProcesses
    }
}
