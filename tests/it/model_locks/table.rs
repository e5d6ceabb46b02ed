//! The table of locks, without a database.

use cashbox::internals::error::ErrorName;
use cashbox::internals::lock::lease::{AcquireRequest, GrantOrigin, Renewed};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub fence: i64,
    /// None once revoked.
    pub secret: Option<String>,
    pub create: i64,
    pub renew: i64,
    pub expire: i64,
    pub grace: i64,
    pub max_hold: Option<i64>,
    pub min_hold: Option<i64>,
    /// The number of locks granted together.
    pub ids: usize,
}

impl Lease {
    pub fn is_stale(&self, now: i64) -> bool {
        now >= self.renew + self.expire + self.grace
    }

    /// It rests, or has rested.
    pub fn is_released(&self) -> bool {
        self.secret.is_none() && self.min_hold.is_some()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub fence: i64,
    pub secret: String,
    pub ids: Vec<String>,
}

/// The table, without a database.
#[derive(Clone, Default)]
pub struct Model {
    pub fence: i64,
    pub rows: BTreeMap<String, Lease>,
    granted: BTreeMap<(String, String), i64>,
    released: BTreeSet<(String, i64)>,
    /// The fence that the last revoke of this row quoted, its delay, and the delay it would have had without one.
    revoked: BTreeMap<String, (i64, i64, i64)>,
    pub tokens: Vec<Token>,
}

impl Model {
    pub fn holds(&self, id: &str, token: &Token) -> bool {
        let lease = self.rows.get(id);
        lease.is_some_and(|lease| lease.fence == token.fence && lease.secret.as_ref() == Some(&token.secret))
    }

    pub fn holds_all(&self, token: &Token) -> bool {
        token.ids.iter().all(|id| self.holds(id, token))
    }

    pub fn acquire(&mut self, ask: &AcquireRequest, secret: &str, now: i64) -> Result<GrantOrigin, ErrorName> {
        let ids: Vec<String> = ask.ids.iter().map(|id| id.to_string()).collect();
        let granted = |id: &String| self.granted.get(&(id.clone(), secret.to_owned())).copied();
        let fences: BTreeSet<Option<i64>> = ids.iter().map(granted).collect();
        let held = |id: &String| {
            granted(id).is_none_or(|fence| self.holds(id, &Token { fence, secret: secret.to_owned(), ids: Vec::new() }))
        };
        match fences.len() {
            _ if !ids.iter().all(held) => return Err(ErrorName::LockLost),
            1 if fences.contains(&None) => {}
            1 => return Ok(GrantOrigin::Replayed),
            _ => return Err(ErrorName::InvalidRequest),
        }
        if ask.min_hold_ms.is_some() && ids.iter().any(|id| id.starts_with("wallet/")) {
            return Err(ErrorName::InvalidRequest);
        }
        self.grant(ask, ids, secret, now)
    }

    /// One of the locks is enough.
    pub fn acquire_any(&mut self, ask: &AcquireRequest, secret: &str, now: i64) -> Result<GrantOrigin, ErrorName> {
        let ids: Vec<String> = ask.ids.iter().map(|id| id.to_string()).collect();
        let granted =
            |id: &String| self.granted.get(&(id.clone(), secret.to_owned())).map(|fence| (*fence, id.clone()));
        if let Some((fence, id)) = ids.iter().filter_map(granted).max() {
            let held = self.holds(&id, &Token { fence, secret: secret.to_owned(), ids: Vec::new() });
            return match held {
                true if self.rows[&id].ids == 1 => Ok(GrantOrigin::Replayed),
                true => Err(ErrorName::InvalidRequest),
                false => Err(ErrorName::LockLost),
            };
        }
        if ask.min_hold_ms.is_some() || ids.iter().any(|id| id.starts_with("wallet/")) {
            return Err(ErrorName::InvalidRequest);
        }
        let can_be_had = |id: &&String| self.rows.get(*id).is_none_or(|lease| lease.is_stale(now));
        let first = ids.iter().find(can_be_had).cloned().ok_or(ErrorName::Locked)?;
        self.grant(ask, vec![first], secret, now)
    }

    fn grant(
        &mut self,
        ask: &AcquireRequest,
        ids: Vec<String>,
        secret: &str,
        now: i64,
    ) -> Result<GrantOrigin, ErrorName> {
        if ids.iter().any(|id| self.rows.get(id).is_some_and(|lease| !lease.is_stale(now))) {
            return Err(ErrorName::Locked);
        }
        self.fence += 1;
        let over = ids.iter().any(|id| self.rows.get(id).is_some_and(|lease| !lease.is_released()));
        for id in &ids {
            self.revoked.remove(id);
            let lease = Lease {
                fence: self.fence,
                secret: Some(secret.to_owned()),
                create: now,
                renew: now,
                expire: ask.expire_ms,
                grace: ask.grace_ms,
                max_hold: ask.max_hold_ms,
                min_hold: ask.min_hold_ms,
                ids: ids.len(),
            };
            self.rows.insert(id.clone(), lease);
            self.granted.insert((id.clone(), secret.to_owned()), self.fence);
        }
        self.tokens.push(Token { fence: self.fence, secret: secret.to_owned(), ids });
        Ok(if over { GrantOrigin::TakenOver } else { GrantOrigin::Created })
    }

    pub fn renew(
        &mut self,
        id: Option<&str>,
        token: &Token,
        expire: Option<i64>,
        now: i64,
    ) -> Result<Renewed, ErrorName> {
        let ids = id.map_or(token.ids.clone(), |id| vec![id.to_owned()]);
        if !ids.iter().all(|id| self.holds(id, token)) {
            return Err(ErrorName::LockLost);
        }
        let mut renewed = Renewed { expires_in_ms: i64::MAX, late: false };
        for id in ids {
            let lease = self.rows.get_mut(&id).unwrap();
            let ceiling = lease.max_hold.map_or(i64::MAX, |max| lease.create + max);
            if now >= ceiling {
                return Err(ErrorName::MaxHold);
            }
            renewed.late |= now >= lease.renew + lease.expire;
            lease.expire = expire.unwrap_or(lease.expire).min(ceiling - now);
            lease.renew = now;
            renewed.expires_in_ms = renewed.expires_in_ms.min(lease.expire);
        }
        Ok(renewed)
    }

    pub fn release(
        &mut self,
        id: Option<&str>,
        token: &Token,
        min_hold: Option<i64>,
        now: i64,
    ) -> Result<(), ErrorName> {
        let ids = id.map_or(token.ids.clone(), |id| vec![id.to_owned()]);
        for id in ids.iter().filter(|id| token.ids.contains(id)) {
            if self.holds(id, token) {
                let lease = self.rows.remove(id).unwrap();
                self.released.insert((id.clone(), token.fence));
                let min_hold = min_hold.or(lease.min_hold).unwrap_or(0);
                let grace = lease.create + min_hold - now;
                if grace > 0 {
                    let min_hold = Some(min_hold);
                    let rest = Lease { secret: None, renew: now, expire: 0, grace, min_hold, ..lease };
                    self.rows.insert(id.clone(), rest);
                }
            }
        }
        let was_released = |id| self.released.contains(&(id, token.fence));
        if ids.into_iter().all(was_released) { Ok(()) } else { Err(ErrorName::LockLost) }
    }

    pub fn revoke(&mut self, id: &str, fence: i64, delay: Option<i64>, now: i64) -> Result<(), ErrorName> {
        let next = self.fence + 1;
        let lease = self.rows.get_mut(id).ok_or(ErrorName::LockNotFound)?;
        let repeats =
            |(quoted, grace, default): &(i64, i64, i64)| *quoted == fence && delay.unwrap_or(*default) == *grace;
        if lease.secret.is_none() && self.revoked.get(id).is_some_and(repeats) {
            return Ok(());
        }
        if lease.is_released() && lease.is_stale(now) {
            return Err(ErrorName::LockNotFound);
        }
        if lease.fence != fence || lease.secret.is_none() && !lease.is_released() {
            return Err(ErrorName::LockChanged);
        }
        let default = if lease.is_released() { 0 } else { lease.grace.max(10_000) };
        let grace = delay.unwrap_or(default);
        *lease = Lease { fence: next, secret: None, renew: now, expire: 0, grace, min_hold: None, ..lease.clone() };
        self.fence = next;
        self.revoked.insert(id.to_owned(), (fence, grace, default));
        Ok(())
    }

    /// The fence that the entry of a withdrawal from ann's wallet carries.
    pub fn withdraw(&mut self, tokens: &[Token], now: i64) -> Result<Option<i64>, ErrorName> {
        if !tokens.iter().all(|token| self.holds_all(token)) {
            return Err(ErrorName::LockLost);
        }
        if let Some(own) = tokens.iter().find(|token| token.ids.iter().any(|id| id == "wallet/ann")) {
            return Ok(Some(own.fence));
        }
        match self.rows.get("wallet/ann") {
            Some(lease) if !lease.is_stale(now) => return Err(ErrorName::Locked),
            Some(_) => {
                self.fence += 1;
                self.rows.remove("wallet/ann");
            }
            None => {}
        }
        Ok(tokens.iter().find(|token| token.ids.iter().any(|id| !id.starts_with("wallet/"))).map(|token| token.fence))
    }
}
