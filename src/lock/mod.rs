//! The lock table: a row whose existence is the lock.
//!
//! What always holds:
//! - Time decides only who may take a lock, never who may write: a write is allowed because, inside its own
//!   transaction, the row still names the writer ([`check`]).
//! - A dead row is taken over in place by one conditional statement, with a fence from a counter that outlives it.
//! - Fences grow with every grant of any lock and never repeat; neither they nor lease time ever go back.
//! - A row disappears or changes hands only by its holder's release, by a revoke that quoted its fence, or by a
//!   takeover once it is stale.
//!
//! Knows nothing of: money, waiting (`store::waiting`), HTTP.

pub mod clock;
mod end;
mod event;
mod grant;
mod guard;
pub mod query;

pub use end::{REVOKE_DELAY_MS, Released, RevokeRequest, release, revoke};
pub use event::prune as prune_events;
pub use grant::{AcquireRequest, Grant, GrantOrigin, PreviousLease, Renewed, acquire, renew};
pub use guard::{Authority, check};

use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId, LockToken};
use crate::secret::{Hash, sha256};
use crate::tx::{ReadTx, Row, RowResult, params};

/// The shortest and the longest lease, in milliseconds.
pub const DURATION_MS: std::ops::RangeInclusive<i64> = 1..=86_400_000;

/// How long after the end of a lease no other holder takes over, in milliseconds, if the holder does not ask otherwise.
pub const GRACE_MS: i64 = 5_000;

/// One row: a lease of one lock. Times are lease time, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// The name.
    pub id: LockId,
    /// The lease's number.
    pub fence: Fence,
    /// SHA-256 of the holder's secret; none once revoked.
    pub secret_hash: Option<Hash>,
    /// A label for people, never compared.
    pub holder: String,
    /// When it was granted.
    pub create_time: i64,
    /// When it was granted or last renewed.
    pub renew_time: i64,
    /// How long after that it is held.
    pub expire_ms: i64,
    /// How long after that the holder may still finish and nobody else may take over.
    pub grace_ms: i64,
    /// How long after `create_time` it may be held at most, renewals included.
    pub max_hold_ms: Option<i64>,
    /// How many locks were granted together under this fence.
    pub ids: i64,
    /// How often it was renewed.
    pub renewals: i64,
    /// Wall time of the grant, for people.
    pub created_at: i64,
}

/// What a lock is at some lease time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// There is no row.
    Free,
    /// Its holder has it.
    Held,
    /// It has expired; its holder may still finish, and nobody else may take over.
    Grace,
    /// Whoever asks next takes it over.
    Stale,
    /// It was taken from its holder, and nobody may have it before a delay is over.
    Revoked,
}

impl LockState {
    /// The state as text.
    pub fn as_str(self) -> &'static str {
        match self {
            LockState::Free => "free",
            LockState::Held => "held",
            LockState::Grace => "grace",
            LockState::Stale => "stale",
            LockState::Revoked => "revoked",
        }
    }
}

impl Lock {
    /// When the lease ends.
    pub fn expires(&self) -> i64 {
        self.renew_time + self.expire_ms
    }

    /// From when on it may be taken over.
    pub fn stale_from(&self) -> i64 {
        self.expires() + self.grace_ms
    }

    /// What it is at lease time `now`.
    pub fn state(&self, now: i64) -> LockState {
        match self.secret_hash {
            _ if now >= self.stale_from() => LockState::Stale,
            None => LockState::Revoked,
            Some(_) if now < self.expires() => LockState::Held,
            Some(_) => LockState::Grace,
        }
    }

    fn is_held_by(&self, token: &LockToken) -> bool {
        self.fence == token.fence && self.secret_hash == Some(sha256(token.secret.as_str().as_bytes()))
    }

    fn read(row: &Row<'_>) -> RowResult<Lock> {
        Ok(Lock {
            id: row.get(0)?,
            fence: row.get(1)?,
            secret_hash: row.get(2)?,
            holder: row.get(3)?,
            create_time: row.get(4)?,
            renew_time: row.get(5)?,
            expire_ms: row.get(6)?,
            grace_ms: row.get(7)?,
            max_hold_ms: row.get(8)?,
            ids: row.get(9)?,
            renewals: row.get(10)?,
            created_at: row.get(11)?,
        })
    }
}

macro_rules! lock_columns {
    () => {
        "id, fence, secret_hash, holder, create_time, renew_time, expire_ms, grace_ms, max_hold_ms, ids, renewals, created_at"
    };
}
use lock_columns;

/// The lock's row, if it has one.
pub fn find(tx: &ReadTx<'_>, id: &LockId) -> Result<Option<Lock>, Error> {
    tx.one(concat!("SELECT ", lock_columns!(), " FROM lock WHERE id = $1"), params![id], Lock::read)
}

/// Every lock granted under that fence which still is.
fn under(tx: &ReadTx<'_>, fence: Fence) -> Result<Vec<Lock>, Error> {
    tx.all(concat!("SELECT ", lock_columns!(), " FROM lock WHERE fence = $1 ORDER BY id"), params![fence], Lock::read)
}

/// What is said to somebody who finds the lock held: by whom, and for how long at most.
pub fn locked(tx: &ReadTx<'_>, id: &LockId, now: i64) -> Result<Error, Error> {
    let error =
        |holder: &str| Error::new(ErrorName::Locked, format!("{holder} has the lock {id}")).with("lock", id.as_str());
    Ok(match find(tx, id)? {
        None => error("somebody"), // it was let go a moment ago
        Some(lock) => error(if lock.holder.is_empty() { "somebody" } else { &lock.holder })
            .with("holder", lock.holder.as_str())
            .with("fence", lock.fence.0)
            .with("state", lock.state(now).as_str())
            .with("expires_in_ms", (lock.expires() - now).max(0))
            .with("free_in_ms", (lock.stale_from() - now).max(0)),
    })
}

/// What is said to somebody who presents a token of a lease that has ended: how, and when. Without an id, the first
/// that has ended of the locks granted with the token is meant.
fn lost(tx: &ReadTx<'_>, id: Option<&LockId>, token: &LockToken) -> Result<Error, Error> {
    let ended = if id.is_none() { first_not_held(tx, token)? } else { None };
    let id = id.or(ended.as_ref());
    let fence_now = id.map(|id| find(tx, id)).transpose()?.flatten().map(|lock| lock.fence.0);
    let end = id.map(|id| event::end_of(tx, id, token.fence)).transpose()?.flatten();
    let how = end.as_ref().map_or("is not there", |end| end.what.as_past());
    let named = id.map_or(String::new(), |id| format!(" of lock {id}"));
    let detail = format!("the lease {}{named} {how}; start over", token.fence.0);
    Ok(Error::new(ErrorName::LockLost, detail)
        .with("lock", id.map(LockId::as_str))
        .with("fence_given", token.fence.0)
        .with("fence_now", fence_now)
        .with("ended", end.as_ref().map(|end| end.what.as_str()))
        .with("at", end.map(|end| crate::clock::rfc3339(end.at))))
}

/// The first of the locks granted with this token that it does not prove any more.
fn first_not_held(tx: &ReadTx<'_>, token: &LockToken) -> Result<Option<LockId>, Error> {
    for id in event::granted_under(tx, token.fence, &token.secret)? {
        if !find(tx, &id)?.is_some_and(|lock| lock.is_held_by(token)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// What is said of a token that proves nothing: unreadable, or of another history of the file.
fn lost_entirely(detail: &str) -> Error {
    Error::new(ErrorName::LockLost, detail)
}
