//! The guard: what a write must pass, inside its own transaction, before it touches what locks protect.

use super::event::{self, Happened, What};
use super::grant::{draw_fence, held_together};
use super::{Lock, State, find};
use crate::error::Error;
use crate::id::{Fence, LockId, LockToken};
use crate::tx::{WriteTx, params};

/// A write that may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// The locks that were proved, with the fences of their leases, in the order of the tokens.
    proved: Vec<(LockId, Fence)>,
    /// Locks whose dead leases were cleared away on the way: somebody may be waiting for them.
    pub freed: Vec<LockId>,
}

impl Guarded {
    /// The lease an entry is made under that touches these wallets' locks: that of the first of them which a token
    /// proves, else of the first other lock, unless that is another wallet's: of this entry it says nothing.
    pub fn fence_over(&self, touched: &[LockId]) -> Option<Fence> {
        let of = |id: &LockId| self.proved.iter().find(|(proved, _)| proved == id).map(|(_, fence)| *fence);
        let other = || self.proved.iter().find(|(id, _)| !id.is_of_a_wallet()).map(|(_, fence)| *fence);
        touched.iter().find_map(of).or_else(other)
    }
}

/// Lets a write go on if each token still proves its lease, and each of the locks `needed` is proved by one or held
/// by nobody; otherwise says which lock somebody holds. A stale lock on the way is taken over and released.
pub fn guard(
    tx: &WriteTx<'_>,
    tokens: &[LockToken],
    needed: &[LockId],
    by: &str,
) -> Result<Result<Guarded, LockId>, Error> {
    let mut guarded = Guarded::default();
    for token in tokens {
        guarded.proved.extend(held_together(tx, token)?.into_iter().map(|lock| (lock.id, lock.fence)));
    }
    for id in needed {
        if guarded.proved.iter().any(|(proved, _)| proved == id) {
            continue;
        }
        match find(tx, id)? {
            None => {}
            Some(lock) if lock.state(tx.now().lease_ms) == State::Stale => {
                clear_away(tx, &lock, by)?;
                guarded.freed.push(id.clone());
            }
            Some(_) => return Ok(Err(id.clone())),
        }
    }
    Ok(Ok(guarded))
}

/// Takes a stale lock over, with a fence of its own, and lets go at once.
fn clear_away(tx: &WriteTx<'_>, dead: &Lock, by: &str) -> Result<(), Error> {
    let fence = draw_fence(tx)?;
    tx.execute_one("DELETE FROM lock WHERE id = $1 AND fence = $2", params![dead.id, dead.fence])?;
    let mine = Lock { fence, holder: by.to_owned(), ..dead.clone() };
    let taken = Happened { what: What::TakenOver, previous_fence: Some(dead.fence), by, reason: None };
    event::append(tx, &mine, None, &taken)?;
    event::append(tx, &mine, None, &Happened { what: What::Released, previous_fence: None, ..taken })
}
