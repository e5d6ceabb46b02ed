//! The row that outlives every lock: the highest lease time used, the fence counter and the incarnation of the file.
//!
//! Lease time is the machine's boot-time clock plus an offset kept in the file, so that it never goes back: not with the
//! wall clock, not with a reboot, not with a snapshot of the file brought back. After a reboot of the same machine the time
//! since then counts: it is the least that has passed. On another machine, which may have been on for long, it does not.

use crate::clock::Clock;
use crate::error::Error;
use crate::id::Fence;
use crate::tx::{Tables, WriteTx, params};

/// Turns boot time into lease time.
#[derive(Clone, Debug)]
pub(crate) struct LeaseClock {
    clock: Clock,
    /// The names of this boot and of the machine, as they are stored.
    boot_id: String,
    offset_ms: i64,
    /// Set while the file holds another offset.
    is_new: bool,
}

/// Bounds of lease time and its offset, in milliseconds: some hundred thousand years either way.
const REASONABLE_MS: std::ops::RangeInclusive<i64> = -(1 << 53)..=1 << 53;

impl LeaseClock {
    /// Reads the offset of this boot, or works out a new one with which time goes on from the highest ever used.
    pub(crate) fn load(tx: &Tables<'_>, clock: &Clock) -> Result<LeaseClock, Error> {
        let sql = "SELECT clock_ms, boot_id, boot_offset_ms FROM lock_seq";
        let (highest, stored, offset): (i64, String, i64) = tx
            .one(sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .ok_or_else(|| Error::internal("the file has no lease clock"))?;
        if !REASONABLE_MS.contains(&highest) || !REASONABLE_MS.contains(&offset) {
            return Err(Error::damaged(format!("the lease clock says {highest} ms, with an offset of {offset} ms")));
        }
        let (now, boot, machine) = (clock.boot_ms(), clock.boot_id(), clock.machine_id());
        let (stored_boot, stored_machine) = stored.split_once(' ').unzip();
        let is_same_boot = stored_boot.unwrap_or(&stored) == boot;
        let offset_ms = match () {
            () if is_same_boot && now + offset >= highest => offset,
            () if !is_same_boot && stored_machine.is_some() && stored_machine == machine.as_deref() => highest,
            () => highest - now,
        };
        let boot_id = machine.map_or_else(|| boot.clone(), |machine| format!("{boot} {machine}"));
        let is_new = offset_ms != offset || boot_id != stored;
        Ok(LeaseClock { clock: clock.clone(), boot_id, offset_ms, is_new })
    }

    /// Returns whether it has to be stored: the file holds another boot's offset, or one that lease time has passed.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Stores the offset, so that every process on this boot sees the same time.
    pub(crate) fn store(&self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let sql = "UPDATE lock_seq SET boot_id = $1, boot_offset_ms = $2 WHERE one = 1";
        tx.execute_one(sql, params![self.boot_id, self.offset_ms])
    }

    /// Lease time now, in milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.boot_ms() + self.offset_ms
    }
}

/// Starts every lease that is held or in grace anew, once per renewal: its holder could not renew while no server ran.
/// Never past the longest time it may be held.
pub(crate) fn restart_leases(tx: &WriteTx<'_>) -> Result<(), Error> {
    let now = tx.now().lease_ms;
    tx.execute(
        "UPDATE lock SET restarted = 1, \
         renew_time = max(renew_time, min($1, coalesce(create_time + max_hold_ms - expire_ms, $1))) \
         WHERE secret_hash IS NOT NULL AND restarted = 0 AND renew_time + expire_ms + grace_ms > $1",
        params![now],
    )?;
    touch(tx)
}

/// Stores the highest lease time used.
pub(crate) fn touch(tx: &WriteTx<'_>) -> Result<(), Error> {
    // By its key, or SQLite makes a table of the rows to be changed.
    tx.execute_one("UPDATE lock_seq SET clock_ms = max(clock_ms, $1) WHERE one = 1", params![tx.now().lease_ms])
}

/// The next fence, and the name of this history of the file. The counter outlives every lock's row, so a fence never repeats.
pub(super) fn draw_fence(tx: &WriteTx<'_>) -> Result<(Fence, String), Error> {
    let drawn = "UPDATE lock_seq SET fence = fence + 1, clock_ms = max(clock_ms, $1) WHERE one = 1";
    tx.execute(drawn, params![tx.now().lease_ms])?;
    tx.one("SELECT fence, incarnation FROM lock_seq", &[], |row| Ok((row.get(0)?, row.get(1)?)))?
        .ok_or_else(|| Error::internal("the file has no fence counter"))
}

/// The name of this history of the file.
pub(crate) fn incarnation(tx: &Tables<'_>) -> Result<String, Error> {
    tx.one("SELECT incarnation FROM lock_seq", &[], |row| row.get(0))?
        .ok_or_else(|| Error::internal("the file has no incarnation"))
}
