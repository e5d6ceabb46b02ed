//! How old something is that was written down at a wall time. One look at the wall clock is not believed: a clock that was
//! a month ahead for an hour would make everything old enough to be forgotten. Lease time, which no hand moves, has to
//! agree: now and then the file notes what wall time it was at what lease time.

use crate::error::Error;
use crate::tx::{WriteTx, params};

const DAY_MS: i64 = 86_400_000;

/// Notes which wall time it is, if a day has gone by since that was noted last. Notes of a clock that was ahead of now go,
/// and those that newer ones make needless: all older than `keep_ms` but the newest.
pub fn note(tx: &WriteTx<'_>, keep_ms: i64) -> Result<(), Error> {
    let (lease_ms, wall_ms) = (tx.now().lease_ms, tx.steady_wall_ms());
    tx.execute("DELETE FROM wall_note WHERE wall_ms > $1", params![wall_ms])?;
    tx.execute(
        "DELETE FROM wall_note WHERE lease_ms < (SELECT max(lease_ms) FROM wall_note WHERE lease_ms <= $1)",
        params![lease_ms - keep_ms],
    )?;
    tx.execute(
        "INSERT INTO wall_note (lease_ms, wall_ms) SELECT $1, $2 \
         WHERE NOT EXISTS (SELECT 1 FROM wall_note WHERE lease_ms > $3)",
        params![lease_ms, wall_ms, lease_ms - DAY_MS],
    )?;
    Ok(())
}

/// What was written before that wall time is older than `keep_ms`, by both clocks. None: nobody can say yet.
pub fn horizon(tx: &WriteTx<'_>, keep_ms: i64) -> Result<Option<i64>, Error> {
    let lease_ms = tx.now().lease_ms;
    let noted = "SELECT max(wall_ms) FROM wall_note WHERE lease_ms <= $1";
    let noted: Option<i64> = tx.one(noted, params![lease_ms - keep_ms], |row| row.get(0))?.flatten();
    Ok(noted.map(|noted| (noted + 1).min(tx.steady_wall_ms() - keep_ms)))
}
