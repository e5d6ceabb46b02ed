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
    /// A clock that moves only by its methods.
    Manual(Arc<ManualClock>),
}

/// The times of a manual clock, in milliseconds.
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
            Clock::Manual(manual) => manual.wall_ms.load(SeqCst),
        }
    }

    /// Milliseconds since the machine started, sleep included. It never steps, and every process sees the same.
    pub fn boot_ms(&self) -> i64 {
        match self {
            Clock::Machine => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
            }
            Clock::Manual(manual) => manual.boot_ms.load(SeqCst),
        }
    }

    /// Names this boot of the machine: `boot_ms` of two boots cannot be compared.
    pub fn boot_id(&self) -> String {
        match self {
            Clock::Machine => std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_else(|_| "unknown".to_owned()),
            Clock::Manual(manual) => format!("manual-{}", manual.boots.load(SeqCst)),
        }
    }

    /// Moves both times of a manual clock forward.
    pub fn advance_ms(&self, ms: i64) {
        let manual = self.manual_clock();
        manual.boot_ms.fetch_add(ms, SeqCst);
        manual.wall_ms.fetch_add(ms, SeqCst);
    }

    /// Steps the wall clock alone, in either direction.
    pub fn step_wall_ms(&self, ms: i64) {
        self.manual_clock().wall_ms.fetch_add(ms, SeqCst);
    }

    /// Starts the machine again: boot time begins anew under another boot id.
    pub fn reboot(&self) {
        let manual = self.manual_clock();
        manual.boots.fetch_add(1, SeqCst);
        manual.boot_ms.store(0, SeqCst);
    }

    fn manual_clock(&self) -> &ManualClock {
        match self {
            Clock::Manual(manual) => manual,
            Clock::Machine => panic!("only a manual clock can be moved"),
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
