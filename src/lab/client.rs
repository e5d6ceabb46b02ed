//! One client: what it does between reading and writing, and how it passes the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

/// How soon whoever sleeps hears that it is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who asks for what.
#[derive(Clone, Copy)]
pub(super) struct LabLoad<'a> {
    pub clients: u32,
    pub requests: u32,
    pub work: Duration,
    /// How long the first holder is frozen, if it is.
    pub stall: Option<Duration>,
    pub seed: u64,
    /// Set when it is over before its end.
    pub stop: &'a AtomicBool,
}

/// What the clients of one run share.
pub(super) struct LabRun<'a> {
    load: &'a LabLoad<'a>,
    taken: AtomicU64,
    done: AtomicU64,
    stalled: AtomicBool,
}

impl<'a> LabRun<'a> {
    pub(super) fn new(load: &'a LabLoad<'a>) -> LabRun<'a> {
        LabRun { load, taken: AtomicU64::new(0), done: AtomicU64::new(0), stalled: AtomicBool::new(false) }
    }

    /// Leaves nothing to do.
    pub(super) fn take_all(&self) {
        self.taken.store(self.load.requests.into(), Relaxed);
    }

    pub(super) fn count_one(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// The next withdrawal, if there is one left.
    pub(super) fn take(&self) -> bool {
        !self.is_stopped() && self.taken.fetch_add(1, Relaxed) < self.load.requests.into()
    }

    pub(super) fn work(&self) -> Duration {
        self.load.work
    }

    /// How long whoever asks is frozen: the first alone.
    pub(super) fn stall_once(&self) -> Option<Duration> {
        self.load.stall.filter(|_| !self.stalled.swap(true, Relaxed))
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.load.stop.load(Relaxed)
    }
}

/// Somebody who withdraws again and again.
pub struct LabClient<'a> {
    /// Its number, from 0 on.
    pub number: usize,
    dice: u64,
    run: &'a LabRun<'a>,
}

impl<'a> LabClient<'a> {
    pub(super) fn new(number: usize, seed: u64, run: &'a LabRun<'a>) -> LabClient<'a> {
        let mut client = LabClient { number, dice: seed ^ (number as u64) << 32, run };
        client.roll(); // seeds that are close to each other have nothing in common from here on
        client
    }

    /// The work between reading and writing. In a run with a stalled holder the first who comes here is frozen.
    pub fn work(&self) {
        self.sleep(self.run.work());
        if let Some(stall) = self.run.stall_once() {
            self.sleep(stall);
        }
    }

    /// Sleeps, unless everybody is told to stop.
    pub fn sleep(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && !self.is_stopped() {
            let nap = left.min(LOOK_EVERY);
            sleep(nap);
            left -= nap;
        }
    }

    /// Sleeps for up to that time, and at least a moment: as the dice say.
    pub fn jitter(&mut self, most: Duration) {
        let micros = most.as_micros().max(1) as u64;
        let time = Duration::from_micros(1 + self.roll() % micros);
        self.sleep(time);
    }

    /// Whether everybody was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.run.is_stopped()
    }

    /// Sebastiano Vigna's SplitMix64: small, and good enough for jitter.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
