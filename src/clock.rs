//! The only reader of clocks: wall time for people, boot time for leases, and a manual one for tests.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// Where time comes from. Clones of a manual clock show the same time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's own clocks.
    #[default]
    Machine,
    /// A clock that moves only when told to.
    Manual(Arc<ManualClock>),
}

/// The hands of a manual clock, in milliseconds.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    boot_ms: AtomicI64,
    boots: AtomicI64,
}

impl Clock {
    /// A manual clock that shows 2026-01-01T00:00:00Z, a second after its boot.
    pub fn manual() -> Clock {
        Clock::Manual(Arc::new(ManualClock {
            wall_ms: AtomicI64::new(1_767_225_600_000),
            boot_ms: AtomicI64::new(1_000),
            boots: AtomicI64::new(0),
        }))
    }

    /// Milliseconds since 1970, for people to read. It may step in either direction.
    pub fn wall_ms(&self) -> i64 {
        match self {
            Clock::Machine => Timestamp::now().as_millisecond(),
            Clock::Manual(hands) => hands.wall_ms.load(SeqCst),
        }
    }

    /// Milliseconds since the machine started, sleep included. It never steps, and every process sees the same.
    pub fn boot_ms(&self) -> i64 {
        match self {
            Clock::Machine => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
            }
            Clock::Manual(hands) => hands.boot_ms.load(SeqCst),
        }
    }

    /// Names this boot of the machine: `boot_ms` of two boots cannot be compared.
    pub fn boot_id(&self) -> String {
        match self {
            Clock::Machine => std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_else(|_| "unknown".to_owned()),
            Clock::Manual(hands) => format!("manual-{}", hands.boots.load(SeqCst)),
        }
    }

    /// Moves both hands of a manual clock forward.
    pub fn advance_ms(&self, ms: i64) {
        let hands = self.hands();
        hands.boot_ms.fetch_add(ms, SeqCst);
        hands.wall_ms.fetch_add(ms, SeqCst);
    }

    /// Steps the wall clock alone, in either direction.
    pub fn step_wall_ms(&self, ms: i64) {
        self.hands().wall_ms.fetch_add(ms, SeqCst);
    }

    /// Starts the machine again: boot time begins anew under another boot id.
    pub fn reboot(&self) {
        let hands = self.hands();
        hands.boots.fetch_add(1, SeqCst);
        hands.boot_ms.store(0, SeqCst);
    }

    fn hands(&self) -> &ManualClock {
        match self {
            Clock::Manual(hands) => hands,
            Clock::Machine => panic!("only a manual clock is moved by hand"),
        }
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-01-01T00:00:00.000Z`.
pub fn rfc3339(wall_ms: i64) -> String {
    Timestamp::from_millisecond(wall_ms).map_or_else(|_| wall_ms.to_string(), |time| format!("{time:.3}"))
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(|time| time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_is_read() {
        let text = "2026-01-01T00:00:00.000Z";
        assert_eq!(rfc3339(parse_rfc3339(text).unwrap()), text);
        assert_eq!(parse_rfc3339("2026-01-01T01:00:00+01:00"), parse_rfc3339(text));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn boot_time_does_not_go_back() {
        let before = Clock::Machine.boot_ms();
        assert!(Clock::Machine.boot_ms() >= before);
    }
}
