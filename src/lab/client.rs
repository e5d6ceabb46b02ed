//! A client: its work between reading and writing, and its pauses.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

/// Longest sleep before a client looks again at the stop flag.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The clients and requests of one trial.
#[derive(Clone, Copy)]
pub(super) struct LabLoad<'a> {
    pub clients: u32,
    pub requests: u32,
    pub work: Duration,
    /// Time the first holder is frozen, if it is.
    pub stall: Option<Duration>,
    pub seed: u64,
    /// Set when the run is stopped before its end.
    pub stop: &'a AtomicBool,
}

/// The state that all clients of a trial share.
pub(super) struct LabRun<'a> {
    load: &'a LabLoad<'a>,
    /// Withdrawals that a client has begun.
    taken: AtomicU64,
    /// Withdrawals that have ended.
    ended: AtomicU64,
    /// True once the first holder was frozen.
    stalled: AtomicBool,
}

impl<'a> LabRun<'a> {
    pub(super) fn new(load: &'a LabLoad<'a>) -> LabRun<'a> {
        LabRun { load, taken: AtomicU64::new(0), ended: AtomicU64::new(0), stalled: AtomicBool::new(false) }
    }

    /// Leaves no withdrawal to take.
    pub(super) fn take_all(&self) {
        self.taken.store(self.load.requests.into(), Relaxed);
    }

    /// Takes the next withdrawal; false if none is left.
    pub(super) fn take(&self) -> bool {
        !self.is_stopped() && self.taken.fetch_add(1, Relaxed) < self.load.requests.into()
    }

    pub(super) fn count_end(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    pub(super) fn work(&self) -> Duration {
        self.load.work
    }

    /// The time to freeze, for the first caller only.
    fn stall_once(&self) -> Option<Duration> {
        self.load.stall.filter(|_| !self.stalled.swap(true, Relaxed))
    }

    fn is_stopped(&self) -> bool {
        self.load.stop.load(Relaxed)
    }
}

/// A client that withdraws again and again.
pub(crate) struct LabClient<'a> {
    /// Its number, from 0 on.
    pub number: usize,
    random: fastrand::Rng,
    run: &'a LabRun<'a>,
}

impl<'a> LabClient<'a> {
    pub(super) fn new(number: usize, seed: u64, run: &'a LabRun<'a>) -> LabClient<'a> {
        LabClient { number, random: fastrand::Rng::with_seed(seed ^ (number as u64) << 32), run }
    }

    /// Does the work between reading and writing. In a trial with a stalled holder the first client here is frozen.
    pub(crate) fn work(&self) {
        self.sleep(self.run.work());
        if let Some(stall) = self.run.stall_once() {
            self.sleep(stall);
        }
    }

    /// Sleeps for that time, or until the run is stopped.
    pub(crate) fn sleep(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && !self.is_stopped() {
            let part = left.min(LOOK_EVERY);
            sleep(part);
            left -= part;
        }
    }

    /// Sleeps for a random time up to `longest`, at least a microsecond.
    pub(crate) fn jitter(&mut self, longest: Duration) {
        let micros = longest.as_micros().max(1) as u64;
        let time = Duration::from_micros(self.random.u64(1..=micros));
        self.sleep(time);
    }

    /// True once the run is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.run.is_stopped()
    }
}
