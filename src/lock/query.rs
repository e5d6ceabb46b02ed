//! What can be asked about locks. Asking changes nothing, not one byte, and never shows a secret.

use super::event;
use super::{Lock, lock_columns};
use crate::error::Error;
use crate::id::LockId;
use crate::tx::{ReadTx, params};

pub use super::event::{LockEvent, LockEventKind};

/// Locks in the order of their ids, after `after`, whose ids begin with `prefix`, in that state at lease time `now`.
pub fn locks(
    tx: &ReadTx<'_>,
    prefix: &str,
    state: Option<&str>,
    now: i64,
    after: &str,
    limit: usize,
) -> Result<Vec<Lock>, Error> {
    let sql = concat!(
        "SELECT ",
        lock_columns!(),
        " FROM lock WHERE id > $1 AND id >= $2 AND substr(id, 1, length($2)) = $2 \
         AND ($3 IS NULL OR $3 = CASE WHEN renew_time + expire_ms + grace_ms <= $4 THEN 'stale' \
         WHEN secret_hash IS NULL THEN 'revoked' WHEN renew_time + expire_ms > $4 THEN 'held' ELSE 'grace' END) \
         ORDER BY id LIMIT $5"
    );
    tx.all(sql, params![after, prefix, state, now, limit], Lock::read)
}

/// The events of a lock, newest first, with numbers below `before`.
pub fn events(tx: &ReadTx<'_>, id: &LockId, before: i64, limit: usize) -> Result<Vec<LockEvent>, Error> {
    event::of_lock(tx, id, before, limit)
}
