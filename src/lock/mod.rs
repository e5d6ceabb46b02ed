//! The lock table: a row whose existence is the lock.
//!
//! Invariants:
//! - Time decides only who may take a lock, never who may write: a write is allowed because, inside its own
//!   transaction, the row still names the writer ([`lease::check`]).
//! - A stale row is taken over in place by one conditional statement, with a fence from a counter that outlives it.
//! - Fences grow with every grant of any lock and never repeat; neither they nor lease time ever go back.
//! - A row disappears or changes hands only by its holder's release, by a revoke that quoted its fence, or by a
//!   takeover once it is stale.
//!
//! Knows nothing of: money, waiting (`store::waiters`), HTTP.

pub(crate) mod clock;
pub(crate) mod event;
pub(crate) mod lease;

use crate::clock::rfc3339;
use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId, LockSecret, LockToken, is_hidden};
use crate::secret::{Hash, sha256};
use crate::tx::{Now, Row, RowResult, Tables, params};

/// The shortest and the longest lease, in milliseconds.
pub(crate) const DURATION_MS: std::ops::RangeInclusive<i64> = 1..=86_400_000;

/// The default of [`Lock::grace_ms`], in milliseconds.
pub(crate) const GRACE_MS: i64 = 5_000;

/// The most locks of one grant.
pub(crate) const IDS_MAX: usize = 16;

/// The longest holder and reason, in characters.
const LABEL_CHARS_MAX: usize = 255;

/// Checks a holder or a reason, the field `name`.
pub(crate) fn checked_label(name: &str, label: String) -> Result<String, Error> {
    if label.chars().count() > LABEL_CHARS_MAX || label.chars().any(is_hidden) {
        return Err(Error::invalid(format!(
            "{name} has at most {LABEL_CHARS_MAX} characters, no control or other hidden ones"
        )));
    }
    Ok(label)
}

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
    /// Time of the grant.
    pub create_time: i64,
    /// Time of the grant or of the last renewal.
    pub renew_time: i64,
    /// Length of the lease from `renew_time`.
    pub expire_ms: i64,
    /// Time after the lease in which the holder may still finish and no other client may take over.
    pub grace_ms: i64,
    /// The longest time from `create_time` that it may be held, renewals included.
    pub max_hold_ms: Option<i64>,
    /// Number of locks granted together under this fence.
    pub ids: i64,
    /// Number of renewals.
    pub renewals: i64,
    /// Wall time of the grant, for people.
    pub created_at: i64,
    /// Time from `create_time` in which the lock rests once its holder has released it.
    pub min_hold_ms: Option<i64>,
}

/// The state of a lock at some lease time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// It has no row, or one whose rest is over.
    Free,
    /// Its holder has it.
    Held,
    /// It has expired; its holder may still finish, and no other client may take over.
    Grace,
    /// The next client that asks takes it over.
    Stale,
    /// It was taken from its holder, and cannot be acquired before a delay is over.
    Revoked,
    /// Its holder released it, and no client can have it until so long after the grant.
    Resting,
}

impl LockState {
    /// Every state that a row can have.
    pub(crate) const OF_ROWS: [LockState; 5] =
        [LockState::Held, LockState::Grace, LockState::Stale, LockState::Revoked, LockState::Resting];

    /// The state as text.
    pub fn as_str(self) -> &'static str {
        match self {
            LockState::Free => "free",
            LockState::Held => "held",
            LockState::Grace => "grace",
            LockState::Stale => "stale",
            LockState::Revoked => "revoked",
            LockState::Resting => "resting",
        }
    }

    /// The state of that name, of those that a row can have.
    pub fn parse(text: &str) -> Result<LockState, Error> {
        let state = LockState::OF_ROWS.into_iter().find(|state| state.as_str() == text);
        state.ok_or_else(|| Error::invalid("state is held, grace, stale, revoked or resting"))
    }
}

impl Lock {
    /// The end of the lease.
    pub fn expires(&self) -> i64 {
        self.renew_time + self.expire_ms
    }

    /// The time from which on it may be taken over.
    pub fn stale_from(&self) -> i64 {
        self.expires() + self.grace_ms
    }

    /// Its state at lease time `now`.
    pub fn state(&self, now: i64) -> LockState {
        match self.secret_hash {
            None if self.is_released() && now < self.stale_from() => LockState::Resting,
            None if self.is_released() => LockState::Free,
            _ if now >= self.stale_from() => LockState::Stale,
            None => LockState::Revoked,
            Some(_) if now < self.expires() => LockState::Held,
            Some(_) => LockState::Grace,
        }
    }

    /// True if its holder has released it: the row is there for its rest alone.
    pub(crate) fn is_released(&self) -> bool {
        self.secret_hash.is_none() && self.min_hold_ms.is_some()
    }

    fn is_held_by(&self, token: &LockToken) -> bool {
        self.fence == token.fence && self.secret_hash == Some(secret_hash(&token.secret))
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
            min_hold_ms: row.get(12)?,
        })
    }
}

macro_rules! lock_columns {
    () => {
        "id, fence, secret_hash, holder, create_time, renew_time, expire_ms, grace_ms, max_hold_ms, ids, renewals, created_at, min_hold_ms"
    };
}

/// The lock's row, if it has one.
pub fn find(tx: &Tables<'_>, id: &LockId) -> Result<Option<Lock>, Error> {
    tx.one(concat!("SELECT ", lock_columns!(), " FROM lock WHERE id = $1"), params![id], Lock::read)
}

/// The locks that were granted under that fence and still are.
fn granted_under(tx: &Tables<'_>, fence: Fence) -> Result<Vec<Lock>, Error> {
    tx.all(concat!("SELECT ", lock_columns!(), " FROM lock WHERE fence = $1 ORDER BY id"), params![fence], Lock::read)
}

/// The locks of a list.
#[derive(Clone, Debug, Default)]
pub struct LockFilter {
    /// The beginning of their ids.
    pub prefix: String,
    /// The beginning of the ids that the caller may see.
    pub permitted_prefix: String,
    /// Leaves the locks of wallets out.
    pub without_wallets: bool,
    /// Their state at lease time `now`.
    pub state: Option<LockState>,
    /// The present lease time.
    pub now: i64,
}

/// One page of locks.
#[derive(Clone, Debug, Default)]
pub struct LockPage {
    /// The locks.
    pub rows: Vec<Lock>,
    /// The id to continue behind, if there may be more. A page is short, or empty, if few of the locks that it may look at
    /// pass the filter.
    pub next: Option<String>,
}

/// The most locks that one page looks at.
const SCAN_ROWS: i64 = 10_000;

/// Locks in the order of their ids, behind `after`.
pub fn list(tx: &Tables<'_>, filter: &LockFilter, after: &str, limit: usize) -> Result<LockPage, Error> {
    let LockFilter { prefix, permitted_prefix, without_wallets, state, now } = filter;
    let prefix = match (prefix.starts_with(permitted_prefix), permitted_prefix.starts_with(prefix)) {
        (true, _) => prefix,
        (_, true) => permitted_prefix,
        _ => return Ok(LockPage::default()),
    };
    let end =
        "SELECT id FROM lock WHERE id > $1 AND id BETWEEN $2 AND $2 || '\u{10ffff}' ORDER BY id LIMIT 1 OFFSET $3";
    let end: Option<String> = tx.one(end, params![after, prefix, SCAN_ROWS - 1], |row| row.get(0))?;
    let sql = concat!(
        "SELECT ",
        lock_columns!(),
        " FROM lock WHERE id > $1 AND id BETWEEN $2 AND coalesce($3, $2 || '\u{10ffff}') \
         AND (NOT $4 OR substr(id, 1, 7) <> 'wallet/') \
         AND (secret_hash IS NOT NULL OR min_hold_ms IS NULL OR renew_time + expire_ms + grace_ms > $5) \
         AND (CAST($6 AS TEXT) IS NULL OR $6 = CASE WHEN secret_hash IS NULL AND min_hold_ms IS NOT NULL THEN 'resting' \
         WHEN renew_time + expire_ms + grace_ms <= $5 THEN 'stale' \
         WHEN secret_hash IS NULL THEN 'revoked' WHEN renew_time + expire_ms > $5 THEN 'held' ELSE 'grace' END) \
         ORDER BY id LIMIT $7"
    );
    let state = state.map(LockState::as_str);
    let mut rows = tx.all(sql, params![after, prefix, end, *without_wallets, *now, state, limit + 1], Lock::read)?;
    if rows.len() <= limit {
        return Ok(LockPage { rows, next: end });
    }
    rows.truncate(limit);
    let next = rows.last().map(|lock| lock.id.to_string());
    Ok(LockPage { rows, next })
}

/// The refusal for a client that finds the lock held: its holder, and the longest time until it is free.
pub(crate) fn locked(tx: &Tables<'_>, id: &LockId, at: Now) -> Result<Error, Error> {
    let now = at.lease_ms;
    let error = |detail: String| Error::new(ErrorName::Locked, detail).with("lock", id.as_str());
    let has = |holder: &str| error(format!("{holder} has the lock {id}"));
    Ok(match find(tx, id)? {
        None => has("another client"), // it was released a moment ago
        Some(lock) => match lock.state(now) {
            LockState::Resting => {
                let until = rfc3339(at.wall_ms + lock.stale_from() - now);
                error(format!(
                    "the lock {id} was released and rests until {until} ({} ms from now): ask again then, or end its rest by \
                     a revoke of fence {}",
                    lock.stale_from() - now,
                    lock.fence.0
                ))
            }
            _ => has(if lock.holder.is_empty() { "another client" } else { &lock.holder }),
        }
        .with("holder", lock.holder.as_str())
        .with("fence", lock.fence.0)
        .with("state", lock.state(now).as_str())
        .with("expires_in_ms", (lock.expires() - now).max(0))
        .with("free_in_ms", (lock.stale_from() - now).max(0)),
    })
}

/// The one of these locks that can be had first, if nothing happens before.
pub(crate) fn free_soonest(tx: &Tables<'_>, ids: &[LockId]) -> Result<LockId, Error> {
    let mut soonest: Option<(i64, &LockId)> = None;
    for id in ids {
        let from = find(tx, id)?.map_or(i64::MIN, |lock| lock.stale_from());
        if soonest.is_none_or(|(earliest, _)| from < earliest) {
            soonest = Some((from, id));
        }
    }
    soonest.map(|(_, id)| id.clone()).ok_or_else(|| Error::invalid("name at least one lock"))
}

/// The first lease time behind `lease_ms` at which a lock may be taken over.
pub(crate) fn next_stale(tx: &Tables<'_>, lease_ms: i64) -> Result<Option<i64>, Error> {
    let sql = "SELECT min(renew_time + expire_ms + grace_ms) FROM lock WHERE renew_time + expire_ms + grace_ms > $1";
    Ok(tx.one(sql, params![lease_ms], |row| row.get(0))?.flatten())
}

fn secret_hash(secret: &LockSecret) -> Hash {
    sha256(secret.as_str().as_bytes())
}
