//! Acquire and renew: how a lease begins, and begins anew.

use super::clock::touch;
use super::event::{self, LockEventKind, NewLockEvent};
use super::{Lock, find, lost, lost_entirely, under};
use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId, LockSecret, LockToken};
use crate::secret::{Hash, sha256};
use crate::tx::{ReadTx, WriteTx, params};
use std::collections::BTreeSet;

/// What somebody wants who asks for a lock.
#[derive(Clone, Debug, PartialEq)]
pub struct AcquireRequest {
    /// The locks, sorted and each once: all or nothing.
    pub ids: Vec<LockId>,
    /// What will prove the lease. Asking again with the same secret is the same grant.
    pub secret: LockSecret,
    /// A label for people.
    pub holder: String,
    /// How long the lease lasts without renewal.
    pub expire_ms: i64,
    /// How long after that nobody else may take over.
    pub grace_ms: i64,
    /// How long it may be held at most, renewals included.
    pub max_hold_ms: Option<i64>,
}

/// A lease that was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The locks.
    pub ids: Vec<LockId>,
    /// The proof.
    pub token: LockToken,
    /// How it came about.
    pub how: GrantOrigin,
    /// How long it lasts from now.
    pub expires_in_ms: i64,
    /// Whose dead lease it replaced.
    pub previous: Option<PreviousLease>,
}

/// How a grant came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantOrigin {
    /// The lock was free.
    Created,
    /// The lock was stale (for several: at least one of them).
    TakenOver,
    /// It had been granted already: the same secret asked again.
    Replayed,
}

/// The dead lease that a takeover replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousLease {
    /// Its number.
    pub fence: Fence,
    /// Its holder's label.
    pub holder: String,
}

/// Grants all the locks, or says which one somebody has. Nothing is kept of a grant that stopped half-way: the
/// caller rolls back, and a gap in the fences is fine.
pub fn acquire(tx: &WriteTx<'_>, ask: &AcquireRequest, by: &str) -> Result<Result<Grant, LockId>, Error> {
    if let Some(grant) = repeat(tx, ask)? {
        return Ok(Ok(grant));
    }
    let fence = draw_fence(tx)?;
    let mut previous = None;
    for id in &ask.ids {
        match take(tx, ask, id, fence, by)? {
            TakeResult::Free => {}
            TakeResult::Over(dead) => previous = previous.or(Some(dead)),
            TakeResult::Not => return Ok(Err(id.clone())),
        }
    }
    Ok(Ok(Grant {
        ids: ask.ids.clone(),
        token: LockToken { incarnation: incarnation(tx)?, fence, secret: ask.secret.clone() },
        how: if previous.is_some() { GrantOrigin::TakenOver } else { GrantOrigin::Created },
        expires_in_ms: ask.expire_ms,
        previous,
    }))
}

enum TakeResult {
    Free,
    Over(PreviousLease),
    Not,
}

/// The heart: one conditional statement creates the row, takes a stale one over in place, or does nothing.
fn take(tx: &WriteTx<'_>, ask: &AcquireRequest, id: &LockId, fence: Fence, by: &str) -> Result<TakeResult, Error> {
    let dead = find(tx, id)?;
    let now = tx.now();
    let secret_hash = hash(&ask.secret);
    // Without RETURNING, for which SQLite makes a table of its own each time.
    let changed = tx.execute(
        "INSERT INTO lock (id, fence, secret_hash, holder, create_time, renew_time, expire_ms, grace_ms, max_hold_ms, ids, created_at) \
         VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (id) DO UPDATE SET fence = $2, secret_hash = $3, holder = $4, create_time = $5, renew_time = $5, \
         expire_ms = $6, grace_ms = $7, max_hold_ms = $8, ids = $9, created_at = $10, renewals = 0, restarted = 0 \
         WHERE renew_time + expire_ms + grace_ms <= $5",
        params![
            id,
            fence,
            secret_hash,
            ask.holder,
            now.lease_ms,
            ask.expire_ms,
            ask.grace_ms,
            ask.max_hold_ms,
            ask.ids.len(),
            now.wall_ms
        ],
    )?;
    let Some(lock) = find(tx, id)?.filter(|_| changed == 1) else { return Ok(TakeResult::Not) };
    let what = if dead.is_some() { LockEventKind::TakenOver } else { LockEventKind::Created };
    let previous_fence = dead.as_ref().map(|dead| dead.fence);
    event::append(tx, &lock, Some(secret_hash), &NewLockEvent { what, previous_fence, by, reason: None })?;
    Ok(dead.map_or(TakeResult::Free, |dead| TakeResult::Over(PreviousLease { fence: dead.fence, holder: dead.holder })))
}

/// The same secret once more: the same grant if the lease is still there, a loss if it has ended, and nothing if the
/// secret is new to all of these locks. What was granted apart, or not at all, cannot be had with it together.
fn repeat(tx: &WriteTx<'_>, ask: &AcquireRequest) -> Result<Option<Grant>, Error> {
    if ask.ids.is_empty() {
        return Err(Error::invalid("name at least one lock"));
    }
    let incarnation = incarnation(tx)?;
    let (mut expires, mut fences) = (i64::MAX, BTreeSet::new());
    for id in &ask.ids {
        let fence = event::granted_with(tx, id, &ask.secret)?;
        fences.insert(fence);
        let Some(fence) = fence else { continue };
        let token = LockToken { incarnation: incarnation.clone(), fence, secret: ask.secret.clone() };
        match find(tx, id)? {
            Some(lock) if lock.is_held_by(&token) => expires = expires.min(lock.expires()),
            _ => return Err(lost(tx, Some(id), &token)?),
        }
    }
    match (fences.pop_first().flatten(), fences.is_empty()) {
        (None, true) => Ok(None),
        (Some(fence), true) => Ok(Some(Grant {
            ids: ask.ids.clone(),
            token: LockToken { incarnation, fence, secret: ask.secret.clone() },
            how: GrantOrigin::Replayed,
            expires_in_ms: (expires - tx.now().lease_ms).max(0),
            previous: None,
        })),
        (_, false) => Err(Error::invalid("this secret was used for other locks: choose a new one")),
    }
}

/// What renewing brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// How long the lease lasts from now.
    pub expires_in_ms: i64,
    /// Whether it had already expired, and nobody had taken over.
    pub late: bool,
}

/// Starts the lease anew, for `expire_ms` if that is given, and never beyond what it may be held at most. `id` is the
/// lock meant; without it, every lock of the token's lease is. The locks whose leases end at another time now.
pub fn renew(
    tx: &WriteTx<'_>,
    id: Option<&LockId>,
    token: &LockToken,
    expire_ms: Option<i64>,
) -> Result<(Renewed, Vec<LockId>), Error> {
    let now = tx.now().lease_ms;
    let mut renewed = Renewed { expires_in_ms: i64::MAX, late: false };
    let mut ids = Vec::new();
    for lock in held(tx, id, token)? {
        let expire_ms = expire_ms.unwrap_or(lock.expire_ms);
        let ceiling = lock.max_hold_ms.map(|max| lock.create_time + max);
        if ceiling.is_some_and(|ceiling| now >= ceiling) {
            let detail = format!("lock {} may not be held longer: release it and ask again", lock.id);
            return Err(Error::new(ErrorName::MaxHold, detail).with("max_hold_ms", lock.max_hold_ms));
        }
        let expire_ms = ceiling.map_or(expire_ms, |ceiling| expire_ms.min(ceiling - now));
        tx.execute_one(
            "UPDATE lock SET renew_time = $1, expire_ms = $2, renewals = renewals + 1, restarted = 0 WHERE id = $3",
            params![now, expire_ms, lock.id],
        )?;
        renewed.late |= now >= lock.expires();
        renewed.expires_in_ms = renewed.expires_in_ms.min(expire_ms);
        ids.push(lock.id);
    }
    touch(tx)?;
    Ok((renewed, ids))
}

/// The locks this token proves: the one named or, without a name, all that were granted together.
pub(super) fn held(tx: &ReadTx<'_>, id: Option<&LockId>, token: &LockToken) -> Result<Vec<Lock>, Error> {
    if !token.is_readable() {
        return Err(lost_entirely("this is no lock token: they look like lk1.….…"));
    }
    if token.incarnation != incarnation(tx)? {
        return Err(lost_entirely("this lock token belongs to another history of the file (before a restore)"));
    }
    let locks: Vec<Lock> = match id {
        Some(id) => find(tx, id)?.into_iter().filter(|lock| lock.is_held_by(token)).collect(),
        None => under(tx, token.fence)?.into_iter().filter(|lock| lock.is_held_by(token)).collect(),
    };
    let whole = match id {
        Some(_) => !locks.is_empty(),
        None => locks.first().is_some_and(|first| first.ids == locks.len() as i64),
    };
    if whole { Ok(locks) } else { Err(lost(tx, id, token)?) }
}

/// Every lock the token proves, which must still be all that were granted with it.
pub(super) fn held_together(tx: &ReadTx<'_>, token: &LockToken) -> Result<Vec<Lock>, Error> {
    held(tx, None, token)
}

/// The next fence. It outlives every row, so it never repeats.
pub(super) fn draw_fence(tx: &WriteTx<'_>) -> Result<Fence, Error> {
    let drawn = "UPDATE lock_seq SET fence = fence + 1, clock_ms = max(clock_ms, $1)";
    tx.execute(drawn, params![tx.now().lease_ms])?;
    tx.one("SELECT fence FROM lock_seq", [], |row| row.get(0))?
        .ok_or_else(|| Error::internal("the file has no fence counter"))
}

/// The name of this history of the file.
pub(super) fn incarnation(tx: &ReadTx<'_>) -> Result<String, Error> {
    tx.one("SELECT incarnation FROM lock_seq", [], |row| row.get(0))?
        .ok_or_else(|| Error::internal("the file has no incarnation"))
}

pub(super) fn hash(secret: &LockSecret) -> Hash {
    sha256(secret.as_str().as_bytes())
}
