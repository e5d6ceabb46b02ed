//! The guard: what a write must pass, inside its own transaction, before it touches what locks protect.

use super::event::{self, LockEventKind, NewLockEvent};
use super::grant::{draw_fence, held_together};
use super::{Lock, LockState, find};
use crate::error::Error;
use crate::id::{Fence, LockId, LockToken};
use crate::tx::{WriteTx, params};

/// A write that may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// The leases that were proved.
    pub leases: Vec<(LockId, Fence)>,
    /// Locks whose dead leases were cleared away on the way: somebody may be waiting for them.
    pub freed: Vec<LockId>,
}

impl Authority {
    /// The lease that an entry touching the locks `needed` is made under: that of the first of them which was proved,
    /// else of the first lock that guards no wallet (a job's). Another wallet's lease guards nothing here.
    pub fn fence_for(&self, needed: &[LockId]) -> Option<Fence> {
        let own = needed.iter().find_map(|id| self.fence_of(id));
        own.or_else(|| self.leases.iter().find(|(id, _)| !id.guards_a_wallet()).map(|(_, fence)| *fence))
    }

    fn fence_of(&self, id: &LockId) -> Option<Fence> {
        self.leases.iter().find(|(proved, _)| proved == id).map(|(_, fence)| *fence)
    }
}

/// Lets a write go on if each token still proves its lease, and each of the locks `needed` is proved by one or held
/// by nobody; otherwise says which lock somebody holds. A stale lock on the way is taken over and released.
pub fn check(
    tx: &WriteTx<'_>,
    tokens: &[LockToken],
    needed: &[LockId],
    by: &str,
) -> Result<Result<Authority, LockId>, Error> {
    let mut authority = Authority::default();
    for token in tokens {
        authority.leases.extend(held_together(tx, token)?.into_iter().map(|lock| (lock.id, lock.fence)));
    }
    for id in needed {
        if authority.fence_of(id).is_some() {
            continue;
        }
        match find(tx, id)? {
            None => {}
            Some(lock) if lock.state(tx.now().lease_ms) == LockState::Stale => {
                clear_away(tx, &lock, by)?;
                authority.freed.push(id.clone());
            }
            Some(_) => return Ok(Err(id.clone())),
        }
    }
    Ok(Ok(authority))
}

/// Takes a stale lock over, with a fence of its own, and lets go at once.
fn clear_away(tx: &WriteTx<'_>, dead: &Lock, by: &str) -> Result<(), Error> {
    let fence = draw_fence(tx)?;
    tx.execute_one("DELETE FROM lock WHERE id = $1 AND fence = $2", params![dead.id, dead.fence])?;
    let mine = Lock { fence, holder: by.to_owned(), ..dead.clone() };
    let taken = NewLockEvent { what: LockEventKind::TakenOver, previous_fence: Some(dead.fence), by, reason: None };
    event::append(tx, &mine, None, &taken)?;
    event::append(tx, &mine, None, &NewLockEvent { what: LockEventKind::Released, previous_fence: None, ..taken })
}
