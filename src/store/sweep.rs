//! Removing idempotency records that are old enough, in bounded steps between other work.

use super::idempotency;
use crate::error::Error;
use crate::tx::WriteTx;

/// How many idempotency records are looked at in one step, how often, and how long after a whole round.
const SWEEP_STEP: usize = 256;
const SWEEP_EVERY_MS: i64 = 50;
const SWEEP_REST_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Goes round and round through the records.
pub struct Sweep {
    keep_ms: i64,
    from: idempotency::Place,
    next_ms: i64,
}

impl Sweep {
    /// Keeps records for so many days.
    pub fn new(keep_days: i64) -> Sweep {
        Sweep { keep_ms: keep_days.saturating_mul(DAY_MS), from: idempotency::Place::default(), next_ms: 0 }
    }

    /// When the next step is due, in lease time.
    pub fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Puts the next step off: nothing can be written now.
    pub fn put_off(&mut self, now: i64) {
        self.next_ms = self.next_ms.max(now + SWEEP_EVERY_MS);
    }

    /// Takes a step, if one is due.
    pub fn step(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let now = tx.now();
        if now.lease_ms < self.next_ms {
            return Ok(());
        }
        match idempotency::sweep(tx, &self.from, now.wall_ms - self.keep_ms, SWEEP_STEP)? {
            Some(last) => (self.from, self.next_ms) = (last, now.lease_ms + SWEEP_EVERY_MS),
            None => (self.from, self.next_ms) = (idempotency::Place::default(), now.lease_ms + SWEEP_REST_MS),
        }
        Ok(())
    }
}
