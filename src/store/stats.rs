//! Counters and gauges of the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Counts of values between bounds.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bounds, growing; a value above the last one counts too.
    pub bounds: &'static [u64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// No values yet.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// One more value.
    pub fn add(&self, value: u64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        add(&self.counts[place], 1);
        add(&self.sum, value);
    }

    /// The number of values at or below each bound, and last of all values.
    pub fn cumulated(&self) -> Vec<u64> {
        let sum = |sum: &mut u64, count: &AtomicU64| {
            *sum += count.load(Relaxed);
            Some(*sum)
        };
        self.counts.iter().scan(0, sum).collect()
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

/// Upper bounds of durations, in microseconds.
pub(crate) const DURATIONS_US: &[u64] =
    &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];
/// Upper bounds of the number of commands in a commit.
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

macro_rules! numbers {
    ($($name:ident $doc:literal,)*) => {
        /// Counters and gauges of one store.
        #[derive(Debug)]
        pub struct Stats {
            $(#[doc = $doc] pub $name: AtomicU64,)*
            /// Durations of commits, in microseconds.
            pub commit_us: Histogram,
            /// Numbers of commands in a commit.
            pub batch: Histogram,
            /// True if the last look at the disk found too little free space to write.
            pub storage_full: AtomicBool,
            /// Faults of the database's files at the last look, a set of `FileFault`.
            pub file_faults: AtomicU8,
            /// True if a commit's outcome is unknown: the process must stop.
            pub outcome_unknown: AtomicBool,
            clock_jump: Mutex<Option<String>>,
            /// Time by which the wall clock is behind the newest entry, in milliseconds: it was set back.
            pub clock_behind_ms: AtomicI64,
        }

        impl Default for Stats {
            fn default() -> Stats {
                Stats {
                    $($name: AtomicU64::new(0),)*
                    commit_us: Histogram::new(DURATIONS_US),
                    batch: Histogram::new(BATCHES),
                    storage_full: AtomicBool::new(false),
                    file_faults: AtomicU8::new(0),
                    outcome_unknown: AtomicBool::new(false),
                    clock_jump: Mutex::default(),
                    clock_behind_ms: AtomicI64::new(0),
                }
            }
        }
    };
}

numbers! {
    commands "Commands handled by the writer.",
    commits "Commits.",
    plain "Commands carried out without savepoints.",
    taken_back "Plain runs that were rolled back and carried out again with savepoints.",
    replays "Answers given again under an idempotency key.",
    queued "Commands waiting for the writer now.",
    parked "Requests waiting for a lock now.",
    lock_waits "Requests that had to wait for a lock.",
    takeovers "Dead leases taken over.",
    settled_holds "Holds whose money the writer gave back.",
    anchors "Lines handed to the command of `--anchor`.",
    anchor_failures "Lines that the command did not take.",
    journal_lines "Lines of the journal.",
    wal_bytes "Size of the write-ahead log file at the last look.",
    free_bytes "Free space at the last look.",
    busy_since_ms "Boot time at which the writer began its present batch, in milliseconds; 0 while it has none.",
}

impl Stats {
    /// The sentence about a jump of the wall clock, for which nothing is written.
    pub(crate) fn clock_jump(&self) -> Option<String> {
        self.clock_jump.lock().expect("mutex poisoned").clone()
    }

    /// Counts a commit of that many commands, with the number of the newest line of the journal if it has written any.
    pub(super) fn count_commit(&self, started: Instant, commands: u64, line: Option<i64>) {
        add(&self.commits, 1);
        self.commit_us.add(started.elapsed().as_micros() as u64);
        self.batch.add(commands);
        line.into_iter().for_each(|line| set(&self.journal_lines, line as u64));
    }

    pub(super) fn set_clock_jump(&self, sentence: Option<String>) {
        *self.clock_jump.lock().expect("mutex poisoned") = sentence;
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

/// Sets a gauge.
pub(crate) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Relaxed);
}
