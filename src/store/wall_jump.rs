//! A jump of the wall clock: within one boot of the machine it may not get a day ahead of the boot-time clock.
//!
//! The time of an entry never decreases along the entries, so one entry made under a clock that says 2039 would give that time
//! to all that follow. A wall time is compared with an earlier one that was taken for right, which the file keeps for the next
//! process. A machine that was off has another boot, and no jump is seen; nor is a correction of a clock that was behind the
//! newest entry.

use crate::clock::{Clock, rfc3339};
use crate::error::{Error, ErrorName};
use crate::tx::{ReadTx, WriteTx, params};

/// A step forward of this much is a jump, in milliseconds.
const JUMP_MS: i64 = 86_400_000;
/// Time between two changes of the row in the file, in milliseconds.
const STORE_EVERY_MS: i64 = 3_600_000;

/// The last wall time that was taken for right, and the check of those that follow.
pub(super) struct WallJump {
    clock: Clock,
    boot_id: String,
    /// Boot time and wall time.
    seen: Option<(i64, i64)>,
    stored_at_ms: Option<i64>,
    accepts_all: bool,
}

impl WallJump {
    /// Reads what the file knows of this boot. `accepts_all`: a jump is meant.
    pub(super) fn load(tx: &ReadTx<'_>, clock: &Clock, accepts_all: bool) -> Result<WallJump, Error> {
        let boot_id = clock.boot_id();
        let sql = "SELECT boot_ms, wall_ms FROM wall_seen WHERE boot_id = $1";
        let seen: Option<(i64, i64)> = tx.one(sql, params![boot_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // A snapshot of the machine may have been brought back.
        let seen = seen.filter(|(boot_ms, _)| *boot_ms <= clock.boot_ms());
        let stored_at_ms = seen.map(|(boot_ms, _)| boot_ms).filter(|_| !accepts_all);
        Ok(WallJump { clock: clock.clone(), boot_id, seen, stored_at_ms, accepts_all })
    }

    /// Refuses a wall time that has jumped.
    pub(super) fn check(&self, now: i64) -> Result<(), Error> {
        let Some((boot_ms, wall_ms)) = self.seen.filter(|_| !self.accepts_all) else { return Ok(()) };
        let expected = wall_ms.saturating_add(self.clock.boot_ms() - boot_ms);
        if now.saturating_sub(expected) < JUMP_MS {
            return Ok(());
        }
        let (now, expected) = (rfc3339(now), rfc3339(expected));
        let detail = format!(
            "the wall clock jumped to {now}; by the time since it was last right it is {expected}. Nothing is written: correct \
             the clock, or start with serve --accept-clock if it is right now"
        );
        Err(Error::new(ErrorName::ClockJumped, detail).with("wall_clock", now).with("expected", expected))
    }

    /// Stores that wall time in the file now and then. `newest`: the time of the newest entry; a clock behind it is wrong.
    pub(super) fn store(&mut self, tx: &WriteTx<'_>, newest: i64) -> Result<(), Error> {
        let (boot_ms, wall_ms) = (self.clock.boot_ms(), tx.now().wall_ms);
        if wall_ms < newest {
            return Ok(());
        }
        self.seen = Some((boot_ms, wall_ms));
        if self.stored_at_ms.is_none_or(|at| boot_ms - at >= STORE_EVERY_MS) {
            let sql = "INSERT INTO wall_seen VALUES (1, $1, $2, $3) \
                       ON CONFLICT (one) DO UPDATE SET boot_id = $1, boot_ms = $2, wall_ms = $3";
            tx.execute_one(sql, params![self.boot_id, boot_ms, wall_ms])?;
            self.stored_at_ms = Some(boot_ms);
        }
        Ok(())
    }
}
