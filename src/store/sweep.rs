//! Removing what is old enough, in bounded steps between other work: idempotency records, and events of locks.

use super::{age, idempotency};
use crate::error::Error;
use crate::lock;
use crate::tx::WriteTx;

/// How many idempotency records are looked at in one step. An event costs more: a thousand others are counted for it.
const KEYS_STEP: usize = 256;
const EVENTS_STEP: usize = 16;
/// How long after a step the next one is, and how long after a whole round the next round.
const SWEEP_EVERY_MS: i64 = 50;
const SWEEP_REST_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// How long events of locks are kept at least.
const KEEP_EVENTS_MS: i64 = 30 * DAY_MS;

/// Goes round and round through the records, and through the events.
pub struct Sweep {
    keep_keys_ms: i64,
    keys: Round<idempotency::Place>,
    events: Round<i64>,
}

impl Sweep {
    /// Keeps idempotency records for so many days.
    pub fn new(keep_keys_days: i64) -> Sweep {
        let keep_keys_ms = keep_keys_days.saturating_mul(DAY_MS);
        Sweep { keep_keys_ms, keys: Round::default(), events: Round::default() }
    }

    /// When the next step is due, in lease time.
    pub fn next_ms(&self) -> i64 {
        self.keys.next_ms.min(self.events.next_ms)
    }

    /// Puts the next step off: nothing can be written now.
    pub fn put_off(&mut self, now: i64) {
        let at_least = now + SWEEP_EVERY_MS;
        self.keys.next_ms = self.keys.next_ms.max(at_least);
        self.events.next_ms = self.events.next_ms.max(at_least);
    }

    /// Leaves it for good: nothing is to be changed.
    pub fn never(&mut self) {
        self.rest(i64::MAX / 2);
    }

    /// Leaves it for a while: it did not work.
    pub fn rest(&mut self, now: i64) {
        self.keys.next_ms = now + SWEEP_REST_MS;
        self.events.next_ms = now + SWEEP_REST_MS;
    }

    /// Takes the steps that are due.
    pub fn step(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let now = tx.now().lease_ms;
        if now < self.next_ms() {
            return Ok(());
        }
        age::note(tx, self.keep_keys_ms.max(KEEP_EVENTS_MS))?;
        let (old_key, old_event) = (age::horizon(tx, self.keep_keys_ms)?, age::horizon(tx, KEEP_EVENTS_MS)?);
        self.keys.step(now, |from| old_key.map_or(Ok(None), |old| idempotency::sweep(tx, from, old, KEYS_STEP)))?;
        self.events.step(now, |from| old_event.map_or(Ok(None), |old| lock::prune_events(tx, *from, old, EVENTS_STEP)))
    }
}

/// Where a round has come to, and when it goes on.
#[derive(Default)]
struct Round<Place> {
    from: Place,
    next_ms: i64,
}

impl<Place: Default> Round<Place> {
    fn step(&mut self, now: i64, step: impl FnOnce(&Place) -> Result<Option<Place>, Error>) -> Result<(), Error> {
        if now < self.next_ms {
            return Ok(());
        }
        (self.from, self.next_ms) = match step(&self.from)? {
            Some(last) => (last, now + SWEEP_EVERY_MS),
            None => (Place::default(), now + SWEEP_REST_MS),
        };
        Ok(())
    }
}
