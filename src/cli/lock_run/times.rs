//! When a command has to end so that it is dead before anybody else can have its lock.

use super::control::Deadlines;

/// Between KILL and the moment somebody else may take over, in milliseconds. A shorter lease has half of itself.
const MARGIN_MS: i64 = 250;

/// On what terms a command runs.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimes {
    /// How long a lease lasts, in milliseconds.
    pub ttl_ms: i64,
    /// How long after it nobody else can have the lock.
    pub grace_ms: i64,
    /// The longest time from TERM to KILL.
    pub kill_after_ms: i64,
}

impl LeaseTimes {
    /// Under a lease that ends then: TERM at its end and KILL before the grace is over, with the margin. A grace too
    /// short for the margin has both come before the end of the lease.
    pub fn until(&self, lease_end_ms: i64) -> Deadlines {
        let last_ms = self.before(lease_end_ms + self.grace_ms);
        let term_ms = lease_end_ms.min(last_ms);
        Deadlines { term_ms, kill_ms: last_ms.min(term_ms + self.kill_after_ms) }
    }

    /// When to kill if somebody else may have the lock at that moment.
    pub fn before(&self, free_ms: i64) -> i64 {
        free_ms - MARGIN_MS.min((self.ttl_ms + self.grace_ms) / 2)
    }

    /// The time from TERM to KILL.
    pub fn pause_ms(&self) -> i64 {
        let until = self.until(0);
        until.kill_ms - until.term_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_killed_before_lease_and_grace_are_over_whatever_was_asked() {
        for ttl_ms in [1, 2, 100, 249, 251, 10_000] {
            for grace_ms in [0, 1, 249, 250, 251, 5_000] {
                for kill_after_ms in [0, 1, 100, 60_000] {
                    let times = LeaseTimes { ttl_ms, grace_ms, kill_after_ms };
                    let Deadlines { term_ms, kill_ms } = times.until(ttl_ms);
                    assert!(0 <= term_ms && term_ms <= ttl_ms && term_ms <= kill_ms, "{times:?}");
                    assert!(kill_ms - term_ms <= kill_after_ms, "{times:?}");
                    assert!(kill_ms < ttl_ms + grace_ms || ttl_ms + grace_ms == 1, "{times:?}");
                    assert_eq!(kill_ms - term_ms, times.pause_ms(), "{times:?}");
                }
            }
        }
        let usual = LeaseTimes { ttl_ms: 60_000, grace_ms: 5_000, kill_after_ms: 5_000 };
        assert_eq!(usual.until(60_000), Deadlines { term_ms: 60_000, kill_ms: 64_750 });
        let graceless = LeaseTimes { grace_ms: 0, ..usual };
        assert_eq!(graceless.until(60_000), Deadlines { term_ms: 59_750, kill_ms: 59_750 });
    }
}
