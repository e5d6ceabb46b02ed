//! Who may come in, and as whom: the `Host` and `Origin` rules, access tokens, roles.

use super::conn::RequestHead;
use crate::error::{Error, ErrorName};
use crate::id::{UserId, WalletId};
use crate::secret::Hash;
use crate::store::{LOCAL, Store};
use crate::token::{self, AccessToken, Role};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The principal: the user for the role `user`, otherwise the access token's id, or `@local`.
    pub by: String,
    /// What the caller may do.
    pub role: Role,
    /// Whose wallet, for the role `user`.
    pub user: Option<UserId>,
}

impl Caller {
    /// Somebody with the file itself in their hands, or anybody with `--open`.
    pub fn local() -> Caller {
        Caller { by: LOCAL.to_owned(), role: Role::Admin, user: None }
    }

    fn of(token: &AccessToken) -> Caller {
        let by = token.user.as_ref().map_or_else(|| token.id.clone(), UserId::to_string);
        Caller { by, role: token.role, user: token.user.clone() }
    }

    /// Refuses a user another user's wallet.
    pub fn may_touch(&self, user: &UserId) -> Result<(), Error> {
        self.may_see(&user.wallet())
    }

    /// Refuses a user any wallet but the own one, the system's included.
    pub fn may_see(&self, wallet: &WalletId) -> Result<(), Error> {
        match &self.user {
            Some(own) if own.wallet() != *wallet => {
                Err(forbidden(format!("this access token is for the wallet of {own} alone")))
            }
            _ => Ok(()),
        }
    }
}

/// What a refusal says of somebody's lock beyond that it is held.
const ABOUT_A_HOLDER: [&str; 2] = ["holder", "fence"];

impl Caller {
    /// The error as this caller may hear it: a user is not told who has the lock of another's wallet.
    pub fn told(&self, error: Error) -> Error {
        let about = error.facts.iter().find(|(fact, _)| fact == "lock").and_then(|(_, lock)| lock.as_str());
        let own = self.user.as_ref().and_then(|user| user.wallet().lock());
        match (error.name, about, own) {
            (ErrorName::Locked, Some(lock), Some(own)) if lock != own.as_str() => {
                let detail = format!("somebody has the lock {lock}");
                let facts = error.facts.into_iter().filter(|(fact, _)| !ABOUT_A_HOLDER.contains(&fact.as_ref()));
                Error { detail, facts: facts.collect(), ..error }
            }
            (_, _, _) => error,
        }
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without an access token.
    Anyone,
    /// Whoever has an access token.
    Known,
    /// Those who may see: all roles, the role `user` what is its own.
    See,
    /// Those who may move money: all but auditors, the role `user` its own.
    Move,
    /// Those who see everything.
    SeeAll,
    /// Tellers and admins.
    Staff,
    /// Auditors and admins.
    Audit,
    /// Admins.
    Admin,
}

impl Access {
    /// The roles it lets in.
    pub fn roles(self) -> &'static [Role] {
        use Role::*;
        match self {
            Access::Anyone | Access::Known | Access::See => &[User, Teller, Auditor, Admin],
            Access::Move => &[User, Teller, Admin],
            Access::SeeAll => &[Teller, Auditor, Admin],
            Access::Staff => &[Teller, Admin],
            Access::Audit => &[Auditor, Admin],
            Access::Admin => &[Admin],
        }
    }

    /// Refuses a caller whose role it does not let in.
    pub fn check(self, caller: &Caller) -> Result<(), Error> {
        if self.roles().contains(&caller.role) {
            return Ok(());
        }
        let roles: Vec<_> = self.roles().iter().map(|role| role.as_str()).collect();
        Err(forbidden(format!("this is for the role {}, not {}", roles.join(" or "), caller.role.as_str())))
    }
}

/// How many access tokens are remembered between requests.
const REMEMBERED_MAX: usize = 10_000;

/// Knows access tokens by the hash of their secret, and remembers those that were used.
pub struct Tokens {
    /// No tokens at all: every caller is an admin.
    open: bool,
    /// The token of this run, for commands on this machine.
    run: Option<Hash>,
    remembered: RwLock<HashMap<Hash, AccessToken>>,
    /// Grows when a token is revoked, so that nothing read before is remembered after.
    generation: AtomicU64,
}

impl Tokens {
    /// Nothing is remembered yet.
    pub fn new(open: bool, run_token: Option<&str>) -> Tokens {
        let run = run_token.map(token::hash);
        Tokens { open, run, remembered: RwLock::default(), generation: AtomicU64::new(0) }
    }

    /// Whether callers need no access token.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Who sent this head.
    pub fn caller(&self, store: &Store, head: &RequestHead) -> Result<Caller, Error> {
        if self.open {
            return Ok(Caller::local());
        }
        let mut all_sent = head.headers("authorization");
        let sent =
            all_sent.next().ok_or_else(|| unauthenticated("send an access token: Authorization: Bearer cbx_…"))?;
        if all_sent.next().is_some() {
            return Err(unauthenticated("send one Authorization header"));
        }
        let secret = sent.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let secret = secret.map(|(_, secret)| secret.trim()).filter(|secret| token::is_secret(secret));
        let secret =
            secret.ok_or_else(|| unauthenticated("an access token is sent as: Authorization: Bearer cbx_…"))?;
        let hash = token::hash(secret);
        if self.run == Some(hash) {
            return Ok(Caller::local());
        }
        let token = self.find(store, &hash)?;
        let token = token.filter(|token| token.is_usable(store.clock().wall_ms()));
        token
            .as_ref()
            .map(Caller::of)
            .ok_or_else(|| unauthenticated("this access token is unknown, revoked or expired"))
    }

    fn find(&self, store: &Store, hash: &Hash) -> Result<Option<AccessToken>, Error> {
        let generation = self.generation.load(SeqCst);
        if let Some(token) = self.remembered.read().expect("nobody panics holding this").get(hash) {
            return Ok(Some(token.clone()));
        }
        let token = store.read(|tx| token::find(tx, hash))?;
        if let Some(token) = &token {
            let mut remembered = self.remembered.write().expect("nobody panics holding this");
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            if generation == self.generation.load(SeqCst) {
                remembered.insert(*hash, token.clone());
            }
        }
        Ok(token)
    }

    /// Forgets what is remembered: a token was revoked.
    pub fn forget(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.remembered.write().expect("nobody panics holding this").clear();
    }
}

/// A web page must not be able to spend from a local wallet: the host must be one that no page can name as its own,
/// and a request that a page makes must come from here.
pub fn check_origin(head: &RequestHead, hosts: &[String]) -> Result<(), Error> {
    let host = head.header("host");
    match host {
        Some(host) if !is_own_host(host, hosts) => {
            let detail = "this host is not served here; start with --host NAME if it should be";
            return Err(forbidden(detail));
        }
        None if !head.http_1_0 => return Err(forbidden("a request names its host")),
        _ => {}
    }
    if head.headers("sec-fetch-site").any(|site| site.eq_ignore_ascii_case("cross-site")) {
        return Err(forbidden("a page of another site may not ask this"));
    }
    if !head.headers("origin").all(|origin| is_own_origin(origin, host.unwrap_or_default())) {
        return Err(forbidden("a page of another origin may not ask this"));
    }
    Ok(())
}

/// An IP address, `localhost`, or one of the names given; the port does not matter.
fn is_own_host(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || std::iter::once("localhost")
            .chain(hosts.iter().map(String::as_str))
            .any(|own| own.eq_ignore_ascii_case(name))
}

fn is_own_origin(origin: &str, host: &str) -> bool {
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

/// A refusal for who the caller is.
pub fn forbidden(detail: impl Into<String>) -> Error {
    Error::new(ErrorName::Forbidden, detail)
}

fn unauthenticated(detail: &str) -> Error {
    Error::new(ErrorName::Unauthenticated, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_of_ours() {
        let names = ["shop.local".to_owned()];
        for own in ["127.0.0.1:8866", "10.0.0.7", "[::1]:80", "localhost", "LOCALHOST:1", "shop.local:8866"] {
            assert!(is_own_host(own, &names), "{own}");
        }
        for other in
            ["evil.example", "localhost.evil.example:8866", "127.0.0.1.evil.example", "[::1]evil.example", "[::1", ""]
        {
            assert!(!is_own_host(other, &names), "{other}");
        }
    }

    #[test]
    fn an_origin_is_the_host_as_it_was_sent() {
        assert!(is_own_origin("http://localhost:8866", "localhost:8866"));
        assert!(is_own_origin("https://shop.local", "shop.local"));
        assert!(!is_own_origin("null", "localhost:8866"));
        assert!(!is_own_origin("http://localhost:9999", "localhost:8866"));
    }
}
