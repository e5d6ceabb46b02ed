//! The events of locks, append-only: grants, takeovers, releases and revokes, with their callers.

use super::Lock;
use crate::error::Error;
use crate::id::{Fence, LockId, LockSecret};
use crate::secret::{Hash, sha256_short};
use crate::tx::{Row, RowResult, Tables, WriteTx, params, unreadable};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockEventKind {
    /// A free lock was granted.
    Created,
    /// A stale lock was granted.
    TakenOver,
    /// Its holder released it.
    Released,
    /// It was taken from its holder.
    Revoked,
}

impl LockEventKind {
    pub(crate) const ALL: [LockEventKind; 4] =
        [LockEventKind::Created, LockEventKind::TakenOver, LockEventKind::Released, LockEventKind::Revoked];

    /// The event as text.
    pub fn as_str(self) -> &'static str {
        match self {
            LockEventKind::Created => "created",
            LockEventKind::TakenOver => "taken_over",
            LockEventKind::Released => "released",
            LockEventKind::Revoked => "revoked",
        }
    }

    pub(super) fn as_past(self) -> &'static str {
        match self {
            LockEventKind::Created => "was granted",
            LockEventKind::TakenOver => "ran out and the lock was taken over",
            LockEventKind::Released => "was released",
            LockEventKind::Revoked => "was revoked",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct LockEvent {
    /// Its number.
    pub seq: i64,
    /// The lock.
    pub lock: LockId,
    /// Its kind.
    pub kind: LockEventKind,
    /// The fence from then on.
    pub fence: Fence,
    /// The fence before.
    pub previous_fence: Option<Fence>,
    /// The label of the holder it happened for (or, revoked, to).
    pub holder: String,
    /// The caller.
    pub by: String,
    /// The reason given, of a revoke.
    pub reason: Option<String>,
    /// Wall time, for people.
    pub at: i64,
}

macro_rules! event_columns {
    () => {
        "seq, lock_id, what, fence, previous_fence, holder, made_by, reason, at"
    };
}

impl LockEvent {
    fn read(row: &Row<'_>) -> RowResult<LockEvent> {
        let kind: String = row.get(2)?;
        Ok(LockEvent {
            seq: row.get(0)?,
            lock: row.get(1)?,
            kind: LockEventKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| unreadable(2))?,
            fence: row.get(3)?,
            previous_fence: row.get(4)?,
            holder: row.get(5)?,
            by: row.get(6)?,
            reason: row.get(7)?,
            at: row.get(8)?,
        })
    }
}

/// The part of an event that the lock's row does not hold.
pub(super) struct NewLockEvent<'a> {
    pub kind: LockEventKind,
    pub previous_fence: Option<Fence>,
    pub by: &'a str,
    pub reason: Option<&'a str>,
}

pub(super) fn append(
    tx: &WriteTx<'_>,
    lock: &Lock,
    secret_hash: Option<Hash>,
    event: &NewLockEvent<'_>,
) -> Result<(), Error> {
    let now = tx.now();
    let short = secret_hash.map(|hash| hash[..16].to_vec());
    tx.execute_one(
        "INSERT INTO lock_event (lock_id, what, fence, previous_fence, secret_hash, holder, made_by, reason, lease_ms, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            lock.id,
            event.kind.as_str(),
            lock.fence,
            event.previous_fence,
            short,
            lock.holder,
            event.by,
            event.reason,
            now.lease_ms,
            now.wall_ms,
        ],
    )
}

/// The number of newest events of each lock that are kept however old they are. (The schema refuses less.)
const KEPT_MIN: i64 = 1_000;

/// Removes the events from before wall time `before` that are not among the newest `KEPT_MIN` of their lock, looking
/// at no more than `steps` behind number `from`. Returns the number to continue from, if any of them was old. (A single
/// young one may have been written under a wrong clock.) A live lease's grant is always its lock's newest event.
pub(crate) fn prune(tx: &WriteTx<'_>, from: i64, before: i64, steps: usize) -> Result<Option<i64>, Error> {
    let looked_at = "SELECT seq, at FROM lock_event WHERE seq > $1 ORDER BY seq LIMIT $2";
    let looked_at: Vec<(i64, i64)> = tx.all(looked_at, params![from, steps], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(&(last, _)) = looked_at.last().filter(|_| looked_at.iter().any(|(_, at)| *at < before)) else {
        return Ok(None);
    };
    tx.execute(
        "DELETE FROM lock_event WHERE seq > $1 AND seq <= $2 AND at < $3 AND EXISTS \
         (SELECT 1 FROM lock_event AS newer WHERE newer.lock_id = lock_event.lock_id AND newer.fence >= lock_event.fence \
          AND newer.seq > lock_event.seq LIMIT 1 OFFSET $4)",
        params![from, last, before, KEPT_MIN - 1],
    )?;
    Ok(Some(last))
}

/// The end of the lease of that fence, if it has ended.
pub(super) fn end_of(tx: &Tables<'_>, id: &LockId, fence: Fence) -> Result<Option<LockEvent>, Error> {
    let sql = concat!(
        "SELECT ",
        event_columns!(),
        " FROM lock_event WHERE lock_id = $1 AND fence >= $2 \
         AND (fence = $2 AND what = 'released' OR previous_fence = $2) ORDER BY fence LIMIT 1"
    );
    tx.one(sql, params![id, fence], LockEvent::read)
}

/// The revoke that quoted that fence.
pub(super) fn revoke_of(tx: &Tables<'_>, id: &LockId, fence: Fence) -> Result<Option<LockEvent>, Error> {
    let sql = concat!(
        "SELECT ",
        event_columns!(),
        " FROM lock_event WHERE lock_id = $1 AND fence > $2 AND previous_fence = $2 AND what = 'revoked' ORDER BY fence LIMIT 1"
    );
    tx.one(sql, params![id, fence], LockEvent::read)
}

/// Returns whether the lease of that fence was released with this secret: then releasing it again is a repeat.
pub(super) fn was_released(tx: &Tables<'_>, id: &LockId, fence: Fence, secret: &LockSecret) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM lock_event WHERE lock_id = $1 AND fence = $2 AND what = 'released' AND secret_hash = $3";
    Ok(tx.one(sql, params![id, fence, sha256_short(secret.as_str().as_bytes())], |_| Ok(()))?.is_some())
}

/// The locks that were granted together under that fence with this secret.
pub(crate) fn granted_under(tx: &Tables<'_>, fence: Fence, secret: &LockSecret) -> Result<Vec<LockId>, Error> {
    let sql =
        "SELECT lock_id FROM lock_event WHERE secret_hash = $1 AND what IN ('created', 'taken_over') AND fence = $2";
    tx.all(sql, params![sha256_short(secret.as_str().as_bytes()), fence], |row| row.get(0))
}

/// The fence of the newest grant of this lock to this secret.
pub(super) fn granted_with(tx: &Tables<'_>, id: &LockId, secret: &LockSecret) -> Result<Option<Fence>, Error> {
    let sql = "SELECT fence FROM lock_event WHERE secret_hash = $1 AND what IN ('created', 'taken_over') AND lock_id = $2 \
               ORDER BY seq DESC LIMIT 1";
    tx.one(sql, params![sha256_short(secret.as_str().as_bytes()), id], |row| row.get(0))
}

/// The events of a lock, newest first, older than number `before`.
pub fn of_lock(tx: &Tables<'_>, id: &LockId, before: i64, limit: usize) -> Result<Vec<LockEvent>, Error> {
    let sql = concat!(
        "SELECT ",
        event_columns!(),
        " FROM lock_event WHERE lock_id = $1 AND seq < $2 \
         AND fence <= coalesce((SELECT fence FROM lock_event WHERE seq = $2 AND lock_id = $1), $3) \
         ORDER BY fence DESC, seq DESC LIMIT $4"
    );
    // The event of that number is where the search in the index begins.
    tx.all(sql, params![id, before, i64::MAX, limit], LockEvent::read)
}

/// The events of all locks, newest first, older than number `before`.
pub(crate) fn of_all(tx: &Tables<'_>, before: i64, limit: usize) -> Result<Vec<LockEvent>, Error> {
    let sql = concat!("SELECT ", event_columns!(), " FROM lock_event WHERE seq < $1 ORDER BY seq DESC LIMIT $2");
    tx.all(sql, params![before, limit], LockEvent::read)
}
