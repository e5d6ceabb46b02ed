//! Release and revoke: how a lease ends before it runs out, by its holder or by an admin.

use super::clock::touch;
use super::event::{self, LockEventKind, NewLockEvent};
use super::grant::{draw_fence, hash, held, incarnation};
use super::{Lock, find, lost};
use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId, LockToken};
use crate::tx::{WriteTx, params};

/// What giving back brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Released {
    /// The locks that are free now.
    pub freed: Vec<LockId>,
    /// Of several granted together one was lost before: the rest is given back all the same, and this is the answer.
    pub lost: Option<Error>,
}

/// Gives the lease back: the lock `id` of it or, without an id, every lock of it that still is its holder's. Giving
/// back again what was given back is a repeat and frees none.
pub fn release(tx: &WriteTx<'_>, id: Option<&LockId>, token: &LockToken, by: &str) -> Result<Released, Error> {
    let ids = match id {
        Some(id) => vec![id.clone()],
        None => event::granted_under(tx, token.fence, &token.secret)?,
    };
    if ids.is_empty() || token.incarnation != incarnation(tx)? {
        return Err(held(tx, id, token).err().unwrap_or_else(|| Error::internal("a lease that was never granted")));
    }
    let mut released = Released::default();
    for id in ids {
        match find(tx, &id)?.filter(|lock| lock.is_held_by(token)) {
            Some(lock) => {
                let_go(tx, &lock, token, by)?;
                released.freed.push(id);
            }
            None if event::was_released(tx, &id, token.fence, &token.secret)? => {}
            None if released.lost.is_none() => released.lost = Some(lost(tx, Some(&id), token)?),
            None => {}
        }
    }
    if !released.freed.is_empty() {
        touch(tx)?;
    }
    Ok(released)
}

fn let_go(tx: &WriteTx<'_>, lock: &Lock, token: &LockToken, by: &str) -> Result<(), Error> {
    tx.execute_one("DELETE FROM lock WHERE id = $1 AND fence = $2", params![lock.id, lock.fence])?;
    let happened = NewLockEvent { what: LockEventKind::Released, previous_fence: None, by, reason: None };
    event::append(tx, lock, Some(hash(&token.secret)), &happened)
}

/// What an admin says who takes a lock away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeRequest {
    /// The lock.
    pub id: LockId,
    /// The fence that was seen, so that it cannot hit a newer holder.
    pub fence: Fence,
    /// How long nobody may have it; if not given, the larger of the lease's grace and [`REVOKE_DELAY_MS`].
    pub delay_ms: Option<i64>,
    /// Why, for the record.
    pub reason: Option<String>,
}

/// How long a revoked lock stays away from others, if nobody says otherwise: time for its holder's child to be ended.
pub const REVOKE_DELAY_MS: i64 = 10_000;

/// Takes the lock from its holder: from this commit on the old holder's writes, renewals and release all fail.
pub fn revoke(tx: &WriteTx<'_>, revoke: &RevokeRequest, by: &str) -> Result<Lock, Error> {
    let id = &revoke.id;
    let lock =
        find(tx, id)?.ok_or_else(|| Error::new(ErrorName::LockNotFound, format!("nobody holds the lock {id}")))?;
    let is_repeat = |lost: event::LockEvent| {
        let same_delay = revoke.delay_ms.map_or(lock.grace_ms >= REVOKE_DELAY_MS, |delay| delay == lock.grace_ms);
        lost.what == LockEventKind::Revoked && lost.fence == lock.fence && lost.reason == revoke.reason && same_delay
    };
    if lock.secret_hash.is_none() && event::end_of(tx, id, revoke.fence)?.is_some_and(is_repeat) {
        return Ok(lock); // the answer was lost: it is the same once more
    }
    if lock.fence != revoke.fence || lock.secret_hash.is_none() {
        let detail = match lock.secret_hash {
            None => format!("lock {id} is revoked already, and nobody holds it"),
            Some(_) => format!("lock {id} has fence {} now, not {}; look again", lock.fence.0, revoke.fence.0),
        };
        return Err(Error::new(ErrorName::LockChanged, detail).with("fence", lock.fence.0).with("holder", lock.holder));
    }
    let delay_ms = revoke.delay_ms.unwrap_or(lock.grace_ms.max(REVOKE_DELAY_MS));
    let fence = draw_fence(tx)?;
    tx.execute_one(
        "UPDATE lock SET fence = $1, secret_hash = NULL, renew_time = $2, expire_ms = 0, grace_ms = $3 WHERE id = $4",
        params![fence, tx.now().lease_ms, delay_ms, id],
    )?;
    let revoked = find(tx, id)?.ok_or_else(|| Error::internal("a lock just revoked is gone"))?;
    let happened = NewLockEvent {
        what: LockEventKind::Revoked,
        previous_fence: Some(lock.fence),
        by,
        reason: revoke.reason.as_deref(),
    };
    event::append(tx, &revoked, None, &happened)?;
    Ok(revoked)
}
