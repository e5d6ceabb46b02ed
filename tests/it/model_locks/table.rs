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
    /// The number of locks granted together.
    pub ids: usize,
}

impl Lease {
    pub fn is_stale(&self, now: i64) -> bool {
        now >= self.renew + self.expire + self.grace
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
    /// The fence that the last revoke of this row quoted.
    revoked: BTreeMap<String, (i64, Option<i64>)>,
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
        if ids.iter().any(|id| self.rows.get(id).is_some_and(|lease| !lease.is_stale(now))) {
            return Err(ErrorName::Locked);
        }
        self.fence += 1;
        let over = ids.iter().any(|id| self.rows.contains_key(id));
        for id in &ids {
            let lease = Lease {
                fence: self.fence,
                secret: Some(secret.to_owned()),
                create: now,
                renew: now,
                expire: ask.expire_ms,
                grace: ask.grace_ms,
                max_hold: ask.max_hold_ms,
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

    pub fn release(&mut self, id: Option<&str>, token: &Token) -> Result<(), ErrorName> {
        let ids = id.map_or(token.ids.clone(), |id| vec![id.to_owned()]);
        for id in ids.iter().filter(|id| token.ids.contains(id)) {
            if self.holds(id, token) {
                self.rows.remove(id);
                self.released.insert((id.clone(), token.fence));
            }
        }
        let was_released = |id| self.released.contains(&(id, token.fence));
        if ids.into_iter().all(was_released) { Ok(()) } else { Err(ErrorName::LockLost) }
    }

    pub fn revoke(&mut self, id: &str, fence: i64, delay: Option<i64>, now: i64) -> Result<(), ErrorName> {
        let next = self.fence + 1;
        let lease = self.rows.get_mut(id).ok_or(ErrorName::LockNotFound)?;
        if lease.secret.is_none() && self.revoked.get(id) == Some(&(fence, delay)) {
            return Ok(());
        }
        if lease.fence != fence || lease.secret.is_none() {
            return Err(ErrorName::LockChanged);
        }
        let grace = delay.unwrap_or(lease.grace.max(10_000));
        *lease = Lease { fence: next, secret: None, renew: now, expire: 0, grace, ..lease.clone() };
        self.fence = next;
        self.revoked.insert(id.to_owned(), (fence, delay));
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
