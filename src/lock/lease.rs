//! The life of a lease: acquire, renew, release, revoke, and the check of a write that is made under it.

use super::clock::{draw_fence, incarnation, touch};
use super::event::{self, LockEvent, LockEventKind, NewLockEvent};
use super::{Lock, LockState, find, free_soonest, granted_under, secret_hash};
use crate::clock::rfc3339;
use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId, LockSecret, LockToken};
use crate::tx::{Tables, WriteTx, params};
use std::collections::BTreeSet;

/// A request for a lock, or for several together.
#[derive(Clone, Debug, PartialEq)]
pub struct AcquireRequest {
    /// The locks, each once. Sorted: all or nothing; with `any`, in the order of preference.
    pub ids: Vec<LockId>,
    /// One of the locks is enough.
    pub any: bool,
    /// The proof of the lease. Asking again with the same secret is the same grant.
    pub secret: LockSecret,
    /// A label for people.
    pub holder: String,
    /// Length of the lease without renewal.
    pub expire_ms: i64,
    /// Time after the lease in which no other client may take over.
    pub grace_ms: i64,
    /// The longest time it may be held, renewals included.
    pub max_hold_ms: Option<i64>,
    /// Time from the grant in which the locks rest once they are released. Such a request does not wait for the end of a rest.
    pub min_hold_ms: Option<i64>,
}

/// A request to start a lease anew.
#[derive(Clone, Debug, PartialEq)]
pub struct RenewRequest {
    /// The lock; none for every lock granted with the token.
    pub id: Option<LockId>,
    /// The proof of the lease.
    pub token: LockToken,
    /// Another length of the lease from now on.
    pub expire_ms: Option<i64>,
}

/// A request to end a lease, by its holder.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRequest {
    /// The lock; none for every lock granted with the token.
    pub id: Option<LockId>,
    /// The proof of the lease.
    pub token: LockToken,
    /// Another time from the grant in which they rest; 0 for none.
    pub min_hold_ms: Option<i64>,
}

/// A request to take a lock from its holder, by an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeRequest {
    /// The lock.
    pub id: LockId,
    /// The fence that the admin has seen, so that it cannot hit a newer holder.
    pub fence: Fence,
    /// Time in which the lock cannot be acquired; by default the larger of the lease's grace and `REVOKE_DELAY_MS`, and 0 for
    /// a lock that rests.
    pub delay_ms: Option<i64>,
    /// The reason, for the record.
    pub reason: Option<String>,
}

/// A lease that was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The locks.
    pub ids: Vec<LockId>,
    /// The proof.
    pub token: LockToken,
    /// Its origin.
    pub origin: GrantOrigin,
    /// Length of the lease from now.
    pub expires_in_ms: i64,
    /// The lease that a takeover ended.
    pub previous: Option<PreviousLease>,
}

/// The origin of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantOrigin {
    /// The lock was free.
    Created,
    /// The lock was stale (for several: at least one of them).
    TakenOver,
    /// It had been granted already: the same secret asked again.
    Replayed,
}

/// The stale lease that a takeover ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousLease {
    /// Its number.
    pub fence: Fence,
    /// Its holder's label.
    pub holder: String,
}

/// A lease that was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Length of the lease from now.
    pub expires_in_ms: i64,
    /// Set if it had already expired and no other client had taken over.
    pub late: bool,
}

/// A lease that was released.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Released {
    /// The locks that are free now, or rest.
    pub freed: Vec<LockId>,
    /// Set if one of several granted together had been lost before: the rest is released all the same, and this is the
    /// answer.
    pub lost: Option<Error>,
}

/// The result of an operation that needs a lock.
pub(crate) enum LockAttempt<T> {
    /// It was done.
    Done(T),
    /// Another client holds this lock.
    Held(LockId),
}

/// Grants all the locks or, with `any`, the first that can be had; else names one that another client holds, and has
/// written nothing.
pub(crate) fn acquire(tx: &WriteTx<'_>, request: &AcquireRequest, by: &str) -> Result<LockAttempt<Grant>, Error> {
    if let Some(grant) = replay(tx, request)? {
        return Ok(LockAttempt::Done(grant));
    }
    check_rest(request)?;
    let mut free = Vec::new();
    for id in &request.ids {
        let lock = find(tx, id)?;
        let can_be_had = lock.as_ref().is_none_or(|lock| lock.stale_from() <= tx.now().lease_ms);
        match (can_be_had, request.any) {
            (true, _) => free.push((id, lock)),
            (false, true) => {}
            (false, false) => return Ok(LockAttempt::Held(id.clone())),
        }
        if can_be_had && request.any {
            break;
        }
    }
    if free.is_empty() {
        return Ok(LockAttempt::Held(free_soonest(tx, &request.ids)?));
    }
    let (fence, incarnation) = draw_fence(tx)?;
    let ids = free.iter().map(|(id, _)| LockId::clone(id)).collect();
    let mut previous = None;
    for (id, lock) in free {
        let taken_over = take(tx, request, id, lock, fence, by)?;
        previous = previous.or(taken_over);
    }
    Ok(LockAttempt::Done(Grant {
        ids,
        token: LockToken { incarnation, fence, secret: request.secret.clone() },
        origin: if previous.is_some() { GrantOrigin::TakenOver } else { GrantOrigin::Created },
        expires_in_ms: request.expire_ms,
        previous,
    }))
}

/// Refuses a rest for a wallet's lock, which would stop all money of that wallet, and for one of several. Refuses `any`
/// for wallets: their locks are not alike.
fn check_rest(request: &AcquireRequest) -> Result<(), Error> {
    let of_a_wallet = request.ids.iter().any(LockId::is_of_a_wallet);
    match request {
        AcquireRequest { min_hold_ms: Some(_), .. } if of_a_wallet => Err(rest_of_a_wallet()),
        AcquireRequest { min_hold_ms: Some(_), any: true, .. } => {
            let detail = "min_hold_ms does not go with any: the others of the locks would be free in the same period";
            Err(Error::invalid(detail).with("field", "min_hold_ms"))
        }
        AcquireRequest { any: true, .. } if of_a_wallet => {
            Err(Error::invalid("any takes no locks of wallets: one wallet cannot stand for another")
                .with("field", "any"))
        }
        _ => Ok(()),
    }
}

fn rest_of_a_wallet() -> Error {
    let detail = "the lock of a wallet cannot rest: no money of the wallet could move meanwhile; leave min_hold_ms out";
    Error::invalid(detail).with("field", "min_hold_ms")
}

/// Decides a grant by one conditional statement: it creates the row, takes the stale one `found` over in place, or fails.
/// Returns the lease that was taken over.
fn take(
    tx: &WriteTx<'_>,
    request: &AcquireRequest,
    id: &LockId,
    found: Option<Lock>,
    fence: Fence,
    by: &str,
) -> Result<Option<PreviousLease>, Error> {
    let stale = found.filter(|lock| !lock.is_released()); // a rest that is over leaves a free lock
    let now = tx.now();
    let secret_hash = secret_hash(&request.secret);
    let ids = if request.any { 1 } else { request.ids.len() as i64 };
    // Without RETURNING, for which SQLite makes a table of its own each time.
    tx.execute_one(
        "INSERT INTO lock (id, fence, secret_hash, holder, create_time, renew_time, expire_ms, grace_ms, max_hold_ms, ids, created_at, min_hold_ms) \
         VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (id) DO UPDATE SET fence = $2, secret_hash = $3, holder = $4, create_time = $5, renew_time = $5, \
         expire_ms = $6, grace_ms = $7, max_hold_ms = $8, ids = $9, created_at = $10, min_hold_ms = $11, renewals = 0, restarted = 0 \
         WHERE lock.renew_time + lock.expire_ms + lock.grace_ms <= $5",
        params![
            id,
            fence,
            secret_hash,
            request.holder,
            now.lease_ms,
            request.expire_ms,
            request.grace_ms,
            request.max_hold_ms,
            ids,
            now.wall_ms,
            request.min_hold_ms
        ],
    )?;
    let lock = Lock {
        id: id.clone(),
        fence,
        secret_hash: Some(secret_hash),
        holder: request.holder.clone(),
        create_time: now.lease_ms,
        renew_time: now.lease_ms,
        expire_ms: request.expire_ms,
        grace_ms: request.grace_ms,
        max_hold_ms: request.max_hold_ms,
        ids,
        renewals: 0,
        created_at: now.wall_ms,
        min_hold_ms: request.min_hold_ms,
    };
    let kind = if stale.is_some() { LockEventKind::TakenOver } else { LockEventKind::Created };
    let previous_fence = stale.as_ref().map(|stale| stale.fence);
    event::append(tx, &lock, Some(secret_hash), &NewLockEvent { kind, previous_fence, by, reason: None })?;
    Ok(stale.map(|stale| PreviousLease { fence: stale.fence, holder: stale.holder }))
}

/// The same secret once more: the same grant if the lease still exists, a loss if it has ended, and nothing if the
/// secret is new to all of these locks. Locks that were granted apart, or not at all, are refused together.
fn replay(tx: &WriteTx<'_>, request: &AcquireRequest) -> Result<Option<Grant>, Error> {
    if request.ids.is_empty() {
        return Err(Error::invalid("name at least one lock"));
    }
    if request.any {
        return replay_any(tx, request);
    }
    let (mut expires, mut fences) = (i64::MAX, BTreeSet::new());
    for id in &request.ids {
        let fence = event::granted_with(tx, id, &request.secret)?;
        fences.insert(fence);
        let Some(fence) = fence else { continue };
        let token = LockToken { incarnation: incarnation(tx)?, fence, secret: request.secret.clone() };
        match find(tx, id)? {
            Some(lock) if lock.is_held_by(&token) => expires = expires.min(lock.expires()),
            _ => return Err(lost(tx, Some(id), &token)?),
        }
    }
    match (fences.pop_first().flatten(), fences.is_empty()) {
        (None, true) => Ok(None),
        (Some(fence), true) => Ok(Some(Grant {
            ids: request.ids.clone(),
            token: LockToken { incarnation: incarnation(tx)?, fence, secret: request.secret.clone() },
            origin: GrantOrigin::Replayed,
            expires_in_ms: (expires - tx.now().lease_ms).max(0),
            previous: None,
        })),
        (_, false) => Err(Error::invalid("this secret was used for other locks: choose a new one")),
    }
}

/// The same for one of several locks: the newest grant of any of them with this secret.
fn replay_any(tx: &WriteTx<'_>, request: &AcquireRequest) -> Result<Option<Grant>, Error> {
    let mut newest: Option<(Fence, &LockId)> = None;
    for id in &request.ids {
        let granted = event::granted_with(tx, id, &request.secret)?.map(|fence| (fence, id));
        newest = newest.into_iter().chain(granted).max_by_key(|(fence, _)| fence.0);
    }
    let Some((fence, id)) = newest else { return Ok(None) };
    let token = LockToken { incarnation: incarnation(tx)?, fence, secret: request.secret.clone() };
    match find(tx, id)? {
        Some(lock) if lock.is_held_by(&token) && lock.ids == 1 => Ok(Some(Grant {
            ids: vec![id.clone()],
            token,
            origin: GrantOrigin::Replayed,
            expires_in_ms: (lock.expires() - tx.now().lease_ms).max(0),
            previous: None,
        })),
        Some(lock) if lock.is_held_by(&token) => {
            Err(Error::invalid("this secret was used for several locks together: choose a new one"))
        }
        _ => Err(lost(tx, Some(id), &token)?),
    }
}

/// Starts the lease anew, never beyond the longest time it may be held. Returns also the locks whose leases end at
/// another time now.
pub(crate) fn renew(tx: &WriteTx<'_>, request: &RenewRequest) -> Result<(Renewed, Vec<LockId>), Error> {
    let now = tx.now().lease_ms;
    let mut renewed = Renewed { expires_in_ms: i64::MAX, late: false };
    let mut ids = Vec::new();
    for lock in held_by(tx, request.id.as_ref(), &request.token)? {
        let expire_ms = request.expire_ms.unwrap_or(lock.expire_ms);
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

/// Releases every lock of the lease that is still its holder's, or the one named. Releasing again is a repeat and frees
/// none.
pub(crate) fn release(tx: &WriteTx<'_>, request: &ReleaseRequest, by: &str) -> Result<Released, Error> {
    let ReleaseRequest { id, token, min_hold_ms } = request;
    let ids = match id {
        Some(id) => vec![id.clone()],
        None => event::granted_under(tx, token.fence, &token.secret)?,
    };
    if ids.is_empty() || token.incarnation != incarnation(tx)? {
        let held = held_by(tx, id.as_ref(), token);
        return Err(held.err().unwrap_or_else(|| Error::internal("a lease that was never granted")));
    }
    let mut released = Released::default();
    for id in ids {
        match find(tx, &id)?.filter(|lock| lock.is_held_by(token)) {
            Some(lock) => {
                end(tx, &lock, min_hold_ms.or(lock.min_hold_ms).unwrap_or(0))?;
                let event = NewLockEvent { kind: LockEventKind::Released, previous_fence: None, by, reason: None };
                event::append(tx, &lock, Some(secret_hash(&token.secret)), &event)?;
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

/// Frees the lock at its holder's wish, at once or when it has rested until so long after its grant.
fn end(tx: &WriteTx<'_>, lock: &Lock, min_hold_ms: i64) -> Result<(), Error> {
    if min_hold_ms > 0 && lock.id.is_of_a_wallet() {
        return Err(rest_of_a_wallet());
    }
    let now = tx.now().lease_ms;
    let rest_ms = lock.create_time + min_hold_ms - now;
    if rest_ms <= 0 {
        return delete(tx, lock);
    }
    tx.execute_one(
        "UPDATE lock SET secret_hash = NULL, renew_time = $1, expire_ms = 0, grace_ms = $2, min_hold_ms = $3 \
         WHERE id = $4 AND fence = $5",
        params![now, rest_ms, min_hold_ms, lock.id, lock.fence],
    )
}

fn delete(tx: &WriteTx<'_>, lock: &Lock) -> Result<(), Error> {
    tx.execute_one("DELETE FROM lock WHERE id = $1 AND fence = $2", params![lock.id, lock.fence])
}

/// The default time in which a revoked lock cannot be acquired, in milliseconds: enough to end its holder's child.
pub(crate) const REVOKE_DELAY_MS: i64 = 10_000;

/// Takes the lock from its holder: from this commit on the old holder's writes, renewals and release all fail.
pub(crate) fn revoke(tx: &WriteTx<'_>, request: &RevokeRequest, by: &str) -> Result<Lock, Error> {
    let id = &request.id;
    let not_found = || Error::new(ErrorName::LockNotFound, format!("the lock {id} is free: it cannot be revoked"));
    let lock = find(tx, id)?.ok_or_else(not_found)?;
    let has_rested = event::end_of(tx, id, request.fence)?.is_some_and(|end| end.kind == LockEventKind::Released);
    let is_repeat = |end: LockEvent| {
        let by_default = || if has_rested { lock.grace_ms == 0 } else { lock.grace_ms >= REVOKE_DELAY_MS };
        let same_delay = request.delay_ms.map_or_else(by_default, |delay| delay == lock.grace_ms);
        end.fence == lock.fence && end.reason == request.reason && same_delay
    };
    if lock.secret_hash.is_none() && event::revoke_of(tx, id, request.fence)?.is_some_and(is_repeat) {
        return Ok(lock); // the first answer was lost
    }
    if lock.state(tx.now().lease_ms) == LockState::Free {
        return Err(not_found());
    }
    let has_lease = lock.secret_hash.is_some() || lock.is_released();
    if lock.fence != request.fence || !has_lease {
        let detail = match lock.secret_hash {
            None if !lock.is_released() => format!("lock {id} is revoked already, so there is no lease to revoke"),
            _ => format!("lock {id} has fence {} now, not {}; look again", lock.fence.0, request.fence.0),
        };
        return Err(Error::new(ErrorName::LockChanged, detail).with("fence", lock.fence.0).with("holder", lock.holder));
    }
    let by_default = if lock.is_released() { 0 } else { lock.grace_ms.max(REVOKE_DELAY_MS) };
    let delay_ms = request.delay_ms.unwrap_or(by_default);
    let (fence, _) = draw_fence(tx)?;
    tx.execute_one(
        "UPDATE lock SET fence = $1, secret_hash = NULL, renew_time = $2, expire_ms = 0, grace_ms = $3, \
         min_hold_ms = NULL WHERE id = $4",
        params![fence, tx.now().lease_ms, delay_ms, id],
    )?;
    let revoked = find(tx, id)?.ok_or_else(|| Error::internal("a lock just revoked is gone"))?;
    let (kind, previous_fence) = (LockEventKind::Revoked, Some(lock.fence));
    let event = NewLockEvent { kind, previous_fence, by, reason: request.reason.as_deref() };
    event::append(tx, &revoked, None, &event)?;
    Ok(revoked)
}

/// The proof that a write may go on: its lock tokens hold, and no other client holds a lock it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The leases that were proved.
    pub leases: Vec<(LockId, Fence)>,
    /// Locks whose stale leases were removed on the way: other clients may wait for them.
    pub freed: Vec<LockId>,
    /// The wanted locks that another client holds.
    pub missing: Vec<LockId>,
}

impl Authority {
    /// The lease that an entry touching the locks `needed` is made under: that of the first of them which was proved,
    /// else of the first lock that belongs to no wallet (a job's). Another wallet's lease does not count.
    pub(crate) fn fence_for(&self, needed: &[LockId]) -> Option<Fence> {
        let own = needed.iter().find_map(|id| self.fence_of(id));
        own.or_else(|| self.leases.iter().find(|(id, _)| !id.is_of_a_wallet()).map(|(_, fence)| *fence))
    }

    fn fence_of(&self, id: &LockId) -> Option<Fence> {
        self.leases.iter().find(|(proved, _)| proved == id).map(|(_, fence)| *fence)
    }
}

/// Lets a write go on if each token still proves its lease, and each of the locks `needed` is proved by one or free;
/// otherwise names a lock that another client holds. It goes on without those of the locks `wanted` that another client
/// holds. A stale lock on the way is taken over and released.
pub(crate) fn check(
    tx: &WriteTx<'_>,
    tokens: &[LockToken],
    needed: &[LockId],
    wanted: &[LockId],
    by: &str,
) -> Result<LockAttempt<Authority>, Error> {
    let mut authority = Authority::default();
    for token in tokens {
        authority.leases.extend(held_by(tx, None, token)?.into_iter().map(|lock| (lock.id, lock.fence)));
    }
    let needed = needed.iter().map(|id| (id, true));
    for (id, is_needed) in needed.chain(wanted.iter().map(|id| (id, false))) {
        if authority.fence_of(id).is_some() {
            continue;
        }
        match find(tx, id)? {
            None => {}
            Some(lock) if lock.state(tx.now().lease_ms) == LockState::Stale => {
                remove_stale(tx, &lock, by)?;
                authority.freed.push(id.clone());
            }
            Some(_) if is_needed => return Ok(LockAttempt::Held(id.clone())),
            Some(_) => authority.missing.push(id.clone()),
        }
    }
    Ok(LockAttempt::Done(authority))
}

/// Takes a stale lock over, with a fence of its own, and releases it at once.
fn remove_stale(tx: &WriteTx<'_>, stale: &Lock, by: &str) -> Result<(), Error> {
    let (fence, _) = draw_fence(tx)?;
    delete(tx, stale)?;
    let taken = Lock { fence, holder: by.to_owned(), ..stale.clone() };
    let takeover = NewLockEvent { kind: LockEventKind::TakenOver, previous_fence: Some(stale.fence), by, reason: None };
    event::append(tx, &taken, None, &takeover)?;
    event::append(tx, &taken, None, &NewLockEvent { kind: LockEventKind::Released, previous_fence: None, ..takeover })
}

/// The locks this token proves: the one named or, without a name, all that were granted with it.
fn held_by(tx: &Tables<'_>, id: Option<&LockId>, token: &LockToken) -> Result<Vec<Lock>, Error> {
    if !token.is_readable() {
        return Err(Error::new(ErrorName::LockLost, LockToken::UNREADABLE));
    }
    if token.incarnation != incarnation(tx)? {
        let detail = "this lock token belongs to another history of the file (before a restore)";
        return Err(Error::new(ErrorName::LockLost, detail));
    }
    let locks = match id {
        Some(id) => find(tx, id)?.into_iter().collect(),
        None => granted_under(tx, token.fence)?,
    };
    let held: Vec<Lock> = locks.into_iter().filter(|lock| lock.is_held_by(token)).collect();
    let is_whole = match id {
        Some(_) => !held.is_empty(),
        None => held.first().is_some_and(|first| first.ids == held.len() as i64),
    };
    if is_whole { Ok(held) } else { Err(lost(tx, id, token)?) }
}

/// The refusal for a token of a lease that has ended, with the kind and the time of its end. Without an id, the first
/// lock is meant that has ended of those granted with the token.
fn lost(tx: &Tables<'_>, id: Option<&LockId>, token: &LockToken) -> Result<Error, Error> {
    let ended = if id.is_none() { first_not_held(tx, token)? } else { None };
    let id = id.or(ended.as_ref());
    let fence_now = id.map(|id| find(tx, id)).transpose()?.flatten().map(|lock| lock.fence.0);
    let end = id.map(|id| event::end_of(tx, id, token.fence)).transpose()?.flatten();
    let how = end.as_ref().map_or("is not there", |end| end.kind.as_past());
    let named = id.map_or(String::new(), |id| format!(" of lock {id}"));
    let detail = format!("the lease {}{named} {how}; start over", token.fence.0);
    Ok(Error::new(ErrorName::LockLost, detail)
        .with("lock", id.map(LockId::as_str))
        .with("fence_given", token.fence.0)
        .with("fence_now", fence_now)
        .with("ended", end.as_ref().map(|end| end.kind.as_str()))
        .with("at", end.map(|end| rfc3339(end.at))))
}

/// The first of the locks granted with this token that it no longer proves.
fn first_not_held(tx: &Tables<'_>, token: &LockToken) -> Result<Option<LockId>, Error> {
    for id in event::granted_under(tx, token.fence, &token.secret)? {
        if !find(tx, &id)?.is_some_and(|lock| lock.is_held_by(token)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
