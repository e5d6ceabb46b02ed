//! The only reader of clocks: wall time for people, boot time for leases, and a manual one for tests.

use crate::secret::{hex, sha256_short};
use jiff::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};

/// Where time comes from. Clones of a manual clock show the same time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's own clocks.
    #[default]
    Machine,
    /// A clock that moves only by its methods.
    Manual(Arc<ManualClock>),
}

/// The wall time that a manual clock shows first: 2026-01-01T00:00:00Z.
pub(crate) const MANUAL_START_MS: i64 = 1_767_225_600_000;

/// The times of a manual clock, in milliseconds.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    boot_ms: AtomicI64,
    boots: AtomicI64,
    machine: AtomicI64,
}

impl Clock {
    /// A manual clock that shows 2026-01-01T00:00:00Z, a second after its boot.
    pub fn manual() -> Clock {
        Clock::manual_at(MANUAL_START_MS)
    }

    /// A manual clock that shows that wall time, a second after its boot.
    pub(crate) fn manual_at(wall_ms: i64) -> Clock {
        Clock::Manual(Arc::new(ManualClock {
            wall_ms: AtomicI64::new(wall_ms),
            boot_ms: AtomicI64::new(1_000),
            boots: AtomicI64::new(0),
            machine: AtomicI64::new(1),
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
                time.tv_sec * 1_000 + time.tv_nsec / 1_000_000 - *NAMESPACE_MS
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

    /// Names the machine, by a hash: `/etc/machine-id` is not for others to read. None if it has no name.
    pub(crate) fn machine_id(&self) -> Option<String> {
        let id = match self {
            Clock::Machine => std::fs::read_to_string("/etc/machine-id").ok()?.trim().to_owned(),
            Clock::Manual(manual) => manual.machine.load(SeqCst).to_string(),
        };
        let named = format!("cashbox lease clock {id}");
        (!id.is_empty() && id != "uninitialized").then(|| hex(&sha256_short(named.as_bytes())))
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

    /// Sets both times of a manual clock: a state of the file that is brought back has both.
    pub(crate) fn set_ms(&self, wall_ms: i64, boot_ms: i64) {
        let manual = self.manual_clock();
        manual.wall_ms.store(wall_ms, SeqCst);
        manual.boot_ms.store(boot_ms, SeqCst);
    }

    /// Starts the machine again: boot time begins anew under another boot id.
    pub fn reboot(&self) {
        let manual = self.manual_clock();
        manual.boots.fetch_add(1, SeqCst);
        manual.boot_ms.store(0, SeqCst);
    }

    /// Goes on as another machine, which has been on for that long.
    pub fn move_to_other_machine(&self, boot_ms: i64) {
        self.reboot();
        let manual = self.manual_clock();
        manual.machine.fetch_add(1, SeqCst);
        manual.boot_ms.store(boot_ms, SeqCst);
    }

    fn manual_clock(&self) -> &ManualClock {
        match self {
            Clock::Manual(manual) => manual,
            Clock::Machine => panic!("only a manual clock can be moved"),
        }
    }
}

/// The last millisecond of the year 9999 in UTC: no later one is written as RFC 3339.
pub(crate) const LAST_MS: i64 = 253_402_300_799_999;

/// Milliseconds by which this process's time namespace sets boot time forward: other processes are in other namespaces.
static NAMESPACE_MS: LazyLock<i64> = LazyLock::new(|| {
    let link = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
    // The offsets are those of the children's namespace.
    let is_own = link("time") == link("time_for_children");
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").ok().filter(|_| is_own);
    offsets.as_deref().and_then(boot_offset_ms).unwrap_or(0)
});

/// The offset of boot time in `timens_offsets`: lines of clock, seconds and nanoseconds.
pub fn boot_offset_ms(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?;
    let (seconds, nanos) = line.trim().split_once(' ')?;
    let (seconds, nanos): (i64, i64) = (seconds.parse().ok()?, nanos.trim().parse().ok()?);
    Some(seconds.checked_mul(1_000)? + nanos / 1_000_000)
}

/// RFC 3339 in UTC with milliseconds: `2026-01-01T00:00:00.000Z`.
pub fn rfc3339(wall_ms: i64) -> String {
    if let Ok(time) = Timestamp::from_millisecond(wall_ms) {
        return format!("{time:.3}");
    }
    let time = EPOCH.checked_add(jiff::SignedDuration::from_millis(wall_ms)); // as far as `LAST_MS`
    time.map_or_else(|_| wall_ms.to_string(), |time| format!("{time:.3}Z"))
}

/// The form of the header `Date`: `Thu, 01 Jan 2026 00:00:00 GMT`.
pub(crate) fn http_date(wall_ms: i64) -> String {
    let time = Timestamp::from_millisecond(wall_ms).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Milliseconds since 1970 of an RFC 3339 time, up to the end of the year 9999 in UTC.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    parse_time(text).filter(|ms| *ms <= LAST_MS)
}

fn parse_time(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(|time| time.as_millisecond()).or_else(|| parse_last_day(text))
}

/// The same for the last hours of 9999, which are beyond the library's own moments.
fn parse_last_day(text: &str) -> Option<i64> {
    let (time, offset_s) = match text.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
            (time, parse_offset(offset)?)
        }
    };
    let is_local = time.starts_with("9999-12-3") && time.contains(['T', 't']) && !time.contains(['+', 'Z', '[']);
    let time = if is_local { time.parse().ok()? } else { return None };
    Some(civil_ms(time) - offset_s * 1_000)
}

/// The moment that a date without a time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayEdge {
    /// The first millisecond of that day.
    Start,
    /// The last one.
    End,
}

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 of an RFC 3339 time with its offset, or of a date such as `2026-11-26`, which is a day in a zone
/// `offset_s` seconds ahead of UTC. Years 0 to 9999.
pub fn parse_moment(text: &str, edge: DayEdge, offset_s: i64) -> Option<i64> {
    if let Some(date) = parse_date(text) {
        let start = civil_ms(date.to_datetime(jiff::civil::Time::midnight())) - offset_s * 1_000;
        return Some(if edge == DayEdge::Start { start } else { start + DAY_MS - 1 });
    }
    parse_time(text)
}

/// Four digits, two and two, and a day that exists.
fn parse_date(text: &str) -> Option<jiff::civil::Date> {
    let is_digit_or_dash =
        |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    let is_date = text.len() == "2026-11-26".len() && text.bytes().enumerate().all(is_digit_or_dash);
    if is_date { text.parse().ok() } else { None }
}

const EPOCH: jiff::civil::DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);

fn civil_ms(time: jiff::civil::DateTime) -> i64 {
    time.duration_since(EPOCH).as_millis() as i64 // ten thousand years fit
}

/// The seconds by which `+08:00`, `-03:30` or `Z` is ahead of UTC.
pub fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" || text == "z" {
        return Some(0);
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let number = |digits: &str, max: i64| -> Option<i64> {
        let is_plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|number| is_plain && *number <= max)
    };
    Some(sign * (number(hours, 23)? * 3_600 + number(minutes, 59)? * 60))
}
