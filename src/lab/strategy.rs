//! A strategy: one way to protect a withdrawal from concurrent ones. Also the list of all strategies, and the plan by which
//! each is tried.

use super::client::LabClient;
use super::redis::Redis;
use crate::money::Balance;
use std::time::Duration;

/// The user whose wallet it is.
pub(crate) const WALLET: &str = "3";
/// The amount of each withdrawal, in cents.
pub(crate) const AMOUNT_CENTS: i64 = 100;

/// A result whose error is for people.
pub(crate) type LabResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The outcome of one attempt at a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The strategy reports it as done.
    Done,
    /// The strategy has seen another client in between and has written nothing: it is tried again.
    Retry,
    /// The run was stopped, and nothing was written.
    Stopped,
}

/// One way to protect a withdrawal, with its file.
pub(crate) trait LockStrategy: Sync {
    /// Withdraws the amount from the wallet: reads, works, writes.
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt>;

    /// The balance of the wallet.
    fn balance(&self) -> LabResult<Balance>;

    /// The findings of the ledger audit; `None` if the file has no ledger.
    fn audit(&self) -> Option<LabResult<Vec<String>>> {
        None
    }
}

macro_rules! strategies {
    ($($variant:ident $name:literal $about:literal,)*) => {
        /// The strategies, in the order in which they are shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum StrategyKind { $(#[doc = $about] $variant,)* }

        impl StrategyKind {
            /// Every strategy.
            pub(crate) const ALL: &[StrategyKind] = &[$(StrategyKind::$variant,)*];

            /// The strategy's name.
            pub(crate) fn name(self) -> &'static str {
                match self { $(StrategyKind::$variant => $name,)* }
            }

            /// A description in a few words.
            pub(crate) fn about(self) -> &'static str {
                match self { $(StrategyKind::$variant => $about,)* }
            }
        }
    };
}

strategies! {
    Unprotected "none" "read the balance, work, write it back",
    Thread "thread" "the same under one lock in the process",
    TwoProcesses "thread-two-processes" "the same in two processes on one file, each with its lock",
    RowTextbook "row-textbook" "a lock row as usually written: create_time, expiry, release by id",
    RedisTextbook "redis-textbook" "SETNX whose answer is ignored, EXPIRE, DEL",
    Redis "redis" "SET NX PX with a random value, compare-and-delete, retry with jitter",
    Optimistic "optimistic" "compare-and-swap on a version, retry",
    Lease "lease" "cashbox's lock: acquire, work, withdraw with the lock token, release",
    Plain "plain" "cashbox's withdraw, as a client sends it",
    PlainHttp "plain-http" "the same over HTTP",
}

impl StrategyKind {
    /// The strategy of that name.
    pub(crate) fn parse(name: &str) -> Option<StrategyKind> {
        StrategyKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// True for a strategy of cashbox: if one is wrong, cashbox has a bug.
    pub(crate) fn is_cashbox(self) -> bool {
        matches!(self, StrategyKind::Lease | StrategyKind::Plain | StrategyKind::PlainHttp)
    }

    /// True if a holder that stalls makes a difference. Two processes lose money without one.
    pub(crate) fn can_stall(self) -> bool {
        self != StrategyKind::TwoProcesses
    }
}

/// The plan by which each strategy is tried.
#[derive(Clone, Debug)]
pub(crate) struct LabPlan {
    /// Clients at a time.
    pub clients: u32,
    /// Withdrawals of all clients together.
    pub requests: u32,
    /// Time a client works between reading and writing.
    pub work: Duration,
    /// Time before a client asks for a held lock again.
    pub retry: Duration,
    /// Length of a lease.
    pub expire: Duration,
    /// Time after it in which no other client should take over.
    pub grace: Duration,
    /// Seed of the clients' jitter: the same seed repeats it.
    pub seed: u64,
    /// The Redis to use, or the reason why there is none.
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "read by the strategies of that feature"))]
    pub redis: Result<Redis, String>,
}

impl LabPlan {
    /// Time a stalled holder is frozen: its lease and grace, and another lease, in which other clients come and go.
    pub(crate) fn stall(&self) -> Duration {
        self.expire * 2 + self.grace
    }

    /// The balance at first: exactly the sum of all withdrawals.
    pub(crate) fn initial_balance(&self) -> Balance {
        Balance::from_cents(i64::from(self.requests) * AMOUNT_CENTS)
    }
}
