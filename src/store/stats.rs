//! What the store has been doing, in numbers that only grow or that say how things are now.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

macro_rules! numbers {
    ($($name:ident $doc:literal,)*) => {
        /// Counters and gauges of one store.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(#[doc = $doc] pub $name: AtomicU64,)*
            /// Whether the last look at the disk found too little free space to write.
            pub storage_full: AtomicBool,
            /// Whether a commit's outcome is unknown: the process must stop.
            pub outcome_unknown: AtomicBool,
            /// How far wall time is behind the newest entry, in milliseconds: the clock was set back.
            pub clock_behind_ms: AtomicI64,
        }
    };
}

numbers! {
    commands "Commands taken up by the writer.",
    commits "Commits.",
    commit_us "Time spent in commits, in microseconds.",
    replays "Answers given again under an idempotency key.",
    queued "Commands waiting for the writer now.",
    parked "Requests waiting for a lock now.",
    lock_waits "Requests that had to wait for a lock.",
    takeovers "Dead leases taken over.",
    wal_bytes "Size of the write-ahead log file at the last look.",
    free_bytes "Free space at the last look.",
    last_commit_ms "Boot time of the last commit, in milliseconds.",
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Relaxed);
}
