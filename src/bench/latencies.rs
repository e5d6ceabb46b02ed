//! Latencies, counted in slots that are never wider than a thousandth of what they hold: a run of any length takes the
//! same memory, and no figure needs a float.

use std::time::Duration;

/// A slot is narrower than its values by this many bits.
const FINE: u32 = 10;
/// Longer ones count as this, an hour and a bit.
const MAX_US: u64 = u32::MAX as u64;

/// Latencies in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    slots: Vec<u64>,
    count: u64,
    max: u64,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).map_or(MAX_US, |us| us.min(MAX_US));
        let slot = slot(us);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
        self.count += 1;
        self.max = self.max.max(us);
    }

    /// Adds all of another's.
    pub fn add_all(&mut self, others: &Latencies) {
        self.slots.resize(self.slots.len().max(others.slots.len()), 0);
        for (own, other) in self.slots.iter_mut().zip(&others.slots) {
            *own += other;
        }
        self.count += others.count;
        self.max = self.max.max(others.max);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// So many thousandths of them took that long or less: 500 is the median, 1000 the longest. Never below the real
    /// value, and less than a thousandth above it. Nothing if there are none.
    pub fn at(&self, per_mille: u64) -> Option<u64> {
        let wanted = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let slot = self.slots.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(longest_in(slot).min(self.max))
    }

    /// How many there are up to each bound, beginning with the shortest: bounds of 1, 2 and 5 times a power of ten.
    pub fn histogram(&self) -> Vec<(u64, u64)> {
        let mut rows: Vec<(u64, u64)> = Vec::new();
        let mut bounds = (0..).flat_map(|power| [1, 2, 5].map(|step| step * 10u64.pow(power)));
        for (slot, count) in self.slots.iter().enumerate().filter(|(_, count)| **count > 0) {
            while rows.last().is_none_or(|(bound, _)| *bound < longest_in(slot)) {
                rows.push((bounds.next().expect("there is a larger one"), 0));
            }
            rows.last_mut().expect("a bound was just found").1 += count;
        }
        let shorter = rows.iter().take_while(|(_, count)| *count == 0).count();
        rows.split_off(shorter)
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Latencies {
        let mut latencies = Latencies::default();
        all.into_iter().for_each(|latency| latencies.add(latency));
        latencies
    }
}

/// The first 2^11 slots hold a microsecond each; from there on, each 2^10 slots are twice as wide as those before.
fn slot(us: u64) -> usize {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(FINE + 1);
    ((shift as usize) << FINE) + (us >> shift) as usize
}

fn longest_in(slot: usize) -> u64 {
    let shift = (slot >> FINE).saturating_sub(1);
    (((slot - (shift << FINE)) as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(us: impl IntoIterator<Item = u64>) -> Latencies {
        us.into_iter().map(Duration::from_micros).collect()
    }

    #[test]
    fn a_slot_is_never_wider_than_a_thousandth_of_what_it_holds() {
        let mut before = None;
        for us in (0..10_000).chain((1..1_000).map(|step| step * 4_294_967)).chain([MAX_US]) {
            let longest = longest_in(slot(us));
            assert!(longest >= us && (longest - us) * 1_000 <= us, "{us} is shown as {longest}");
            assert!(us >= 10_000 || before <= Some(slot(us)), "slots are in order");
            before = Some(slot(us));
        }
    }

    #[test]
    fn a_share_of_them_took_that_long_or_less() {
        let hundred = of(1..=100);
        let at = [0, 500, 990, 999, 1_000].map(|per_mille| hundred.at(per_mille).unwrap());
        assert_eq!(at, [1, 50, 99, 100, 100]);
        assert_eq!(of([]).at(500), None);
        assert_eq!(of([3_000_000_007]).at(1_000), Some(3_000_000_007), "the longest is exact");
        assert_eq!(of([u64::MAX]).at(500), Some(MAX_US));
    }

    #[test]
    fn what_is_added_together_is_as_if_it_had_come_together() {
        let mut low = of(1..=50);
        low.add_all(&of(51..=100));
        assert_eq!((low.at(500), low.at(1_000), low.count()), (Some(50), Some(100), 100));
    }

    #[test]
    fn the_histogram_has_every_one_of_them_once() {
        assert_eq!(of([3, 4, 6, 30]).histogram(), [(5, 2), (10, 1), (20, 0), (50, 1)]);
        assert_eq!(of([]).histogram(), []);
    }
}
