//! What can be asked about locks. Asking changes nothing, not one byte, and never shows a secret.

use super::event;
use super::{Lock, lock_columns};
use crate::error::Error;
use crate::id::LockId;
use crate::tx::{ReadTx, params};

pub use super::event::{Event, What};

/// Locks in the order of their ids, after `after`, whose ids begin with `prefix`.
pub fn locks(tx: &ReadTx<'_>, prefix: &str, after: &str, limit: usize) -> Result<Vec<Lock>, Error> {
    let sql = concat!(
        "SELECT ",
        lock_columns!(),
        " FROM lock WHERE id > $1 AND id >= $2 AND substr(id, 1, length($2)) = $2 ORDER BY id LIMIT $3"
    );
    tx.all(sql, params![after, prefix, limit], Lock::read)
}

/// The events of a lock, newest first, with numbers below `before`.
pub fn events(tx: &ReadTx<'_>, id: &LockId, before: i64, limit: usize) -> Result<Vec<Event>, Error> {
    event::of_lock(tx, id, before, limit)
}
