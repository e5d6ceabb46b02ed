//! Authentication and roles: the `Host` and `Origin` rules, access tokens, the access of a route.

use super::conn::RequestHead;
use crate::error::{Error, ErrorName};
use crate::id::{LockId, UserId, WalletId};
use crate::secret::Hash;
use crate::store::{LOCAL, Store};
use crate::token::{self, AccessToken, Role};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, RwLock};

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user for the role `user`, otherwise the access token's id, or `@local`.
    pub by: String,
    /// The role.
    pub role: Role,
    /// The user of the wallet, for the role `user`.
    pub user: Option<UserId>,
    /// The access token; None on this machine and with `--open`.
    pub token: Option<Arc<AccessToken>>,
}

impl Caller {
    /// The caller of commands on this machine, and every caller with `--open`.
    pub fn local() -> Arc<Caller> {
        static CALLER: LazyLock<Arc<Caller>> =
            LazyLock::new(|| Arc::new(Caller { by: LOCAL.to_owned(), role: Role::Admin, user: None, token: None }));
        Arc::clone(&CALLER)
    }

    fn of(token: Arc<AccessToken>) -> Caller {
        Caller { by: token.caller().to_owned(), role: token.role, user: token.user.clone(), token: Some(token) }
    }

    /// Refuses the role `user` the wallet of another user.
    pub fn check_user(&self, user: &UserId) -> Result<(), Error> {
        self.check_wallet(&user.wallet())
    }

    /// Refuses the role `user` every other wallet, the system's included.
    pub fn check_wallet(&self, wallet: &WalletId) -> Result<(), Error> {
        match &self.user {
            Some(own) if own.wallet() != *wallet => {
                Err(forbidden(format!("this access token is for the wallet of {own} alone")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses the role `user` every lock but that of its wallet, and the role `locker` those of wallets and those outside
    /// its prefix.
    pub fn check_lock(&self, id: &LockId) -> Result<(), Error> {
        if let Some(user) = self.user.as_ref().filter(|user| user.wallet().lock().as_ref() != Some(id)) {
            return Err(forbidden(format!("this access token is for the lock wallet/{user} alone")));
        }
        match self.token.as_ref().filter(|token| token.role == Role::Locker && !token.covers(id)) {
            Some(token) => Err(forbidden(match &token.prefix {
                Some(prefix) => format!("this access token is for locks that begin with {prefix}"),
                None => "this access token is for locks that belong to no wallet".to_owned(),
            })),
            None => Ok(()),
        }
    }

    /// The error as this caller may see it: the role `user` does not learn who holds the lock of another wallet.
    pub fn without_holder(&self, error: Error) -> Error {
        let lock = error.facts.iter().find(|(fact, _)| fact == "lock").and_then(|(_, lock)| lock.as_str());
        let own = self.user.as_ref().and_then(|user| user.wallet().lock());
        match (error.name, lock, own) {
            (ErrorName::Locked, Some(lock), Some(own)) if lock != own.as_str() => {
                let detail = format!("another client holds the lock {lock}");
                let facts = error.facts.into_iter().filter(|(fact, _)| !HOLDER_FACTS.contains(&fact.as_ref()));
                Error { detail, facts: facts.collect(), ..error }
            }
            _ => error,
        }
    }
}

/// The facts about the holder of a lock.
const HOLDER_FACTS: [&str; 2] = ["holder", "fence"];

/// The roles that may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every client, without an access token.
    Anyone,
    /// Every access token.
    Known,
    /// All roles but `locker`; the role `user` for its own wallet.
    See,
    /// Roles that move money; the role `user` for its own wallet.
    Move,
    /// Roles that see everything.
    SeeAll,
    /// Tellers and admins.
    Staff,
    /// All roles; the roles `user` and `locker` for the locks that they may take.
    SeeLock,
    /// The same without the role `user`.
    SeeLocks,
    /// Roles that take locks; the roles `user` and `locker` those that they may take.
    TakeLock,
    /// The same without the role `user`.
    TakeLocks,
    /// Auditors and admins.
    Audit,
    /// Admins.
    Admin,
}

impl Access {
    /// The roles.
    pub fn roles(self) -> &'static [Role] {
        use Role::*;
        match self {
            Access::Anyone | Access::Known | Access::SeeLock => &[User, Locker, Teller, Auditor, Admin],
            Access::SeeLocks => &[Locker, Teller, Auditor, Admin],
            Access::TakeLock => &[User, Locker, Teller, Admin],
            Access::TakeLocks => &[Locker, Teller, Admin],
            Access::See => &[User, Teller, Auditor, Admin],
            Access::Move => &[User, Teller, Admin],
            Access::SeeAll => &[Teller, Auditor, Admin],
            Access::Staff => &[Teller, Admin],
            Access::Audit => &[Auditor, Admin],
            Access::Admin => &[Admin],
        }
    }

    /// Refuses a caller with another role.
    pub fn check(self, caller: &Caller) -> Result<(), Error> {
        if self.roles().contains(&caller.role) {
            return Ok(());
        }
        let roles: Vec<_> = self.roles().iter().map(|role| role.as_str()).collect();
        Err(forbidden(format!(
            "only the role {} may do this; the access token has the role {}",
            roles.join(" or "),
            caller.role.as_str()
        )))
    }
}

/// The most access tokens that are kept between requests.
const TOKENS_MAX: usize = 10_000;

/// Access tokens that were used, by the hash of their secret, so that a request with one needs no look at the file.
pub struct KnownTokens {
    /// Callers need no access token: each is an admin.
    open: bool,
    /// The token of this run, for commands on this machine.
    run: Option<Hash>,
    used: RwLock<HashMap<Hash, UsedToken>>,
    /// Times of the last requests, in milliseconds since 1970, by the tokens' ids.
    last_used: RwLock<HashMap<String, Arc<AtomicI64>>>,
    /// Grows when a token is revoked, so that a token read before is not kept after.
    generation: AtomicU64,
}

/// The caller of an access token, and the time of its last request.
#[derive(Clone)]
struct UsedToken {
    caller: Arc<Caller>,
    at: Arc<AtomicI64>,
}

impl KnownTokens {
    /// `run_token`: that of this run, for commands on this machine.
    pub fn new(open: bool, run_token: Option<&str>) -> KnownTokens {
        let run = run_token.map(token::hash);
        KnownTokens { open, run, used: RwLock::default(), last_used: RwLock::default(), generation: AtomicU64::new(0) }
    }

    /// The caller of a request.
    pub fn caller(&self, store: &Store, head: &RequestHead) -> Result<Arc<Caller>, Error> {
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
        let now = store.clock().wall_ms();
        let is_usable = |found: &UsedToken| found.caller.token.as_ref().is_some_and(|token| token.is_usable(now));
        let found = self.find(store, &hash)?.filter(is_usable).ok_or_else(|| unauthenticated(token::NOT_USABLE))?;
        found.at.store(now, Relaxed);
        Ok(found.caller)
    }

    /// True if callers need no access token.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// The time of the last request with that access token since the server started.
    pub(crate) fn last_used_at(&self, id: &str) -> Option<i64> {
        self.last_used.read().expect("mutex poisoned").get(id).map(|time| time.load(Relaxed))
    }

    /// The place for the times of requests with that access token. In memory alone: a request that looks writes nothing.
    fn place_for_time(&self, id: &str) -> Arc<AtomicI64> {
        let mut all = self.last_used.write().expect("mutex poisoned");
        if all.len() >= TOKENS_MAX {
            all.clear();
        }
        Arc::clone(all.entry(id.to_owned()).or_default())
    }

    /// Refuses a caller whose access token has been revoked, or has expired, since its request came: the one in the
    /// `Authorization` of `head`. `seen` is kept between two checks, so that the second one usually costs nothing.
    pub(crate) fn check_again(
        &self,
        store: &Store,
        head: &RequestHead,
        seen: &mut Option<(u64, Arc<Caller>)>,
    ) -> Result<(), Error> {
        let generation = self.generation.load(SeqCst);
        let caller = match seen {
            Some((of, caller)) if *of == generation => caller,
            _ => &seen.insert((generation, self.caller(store, head)?)).1,
        };
        let is_usable = caller.token.as_ref().is_none_or(|token| token.is_usable(store.clock().wall_ms()));
        is_usable.then_some(()).ok_or_else(|| unauthenticated(token::NOT_USABLE))
    }

    /// The proof for a command on this machine that this server wrote the companion file.
    pub fn proof(&self, challenge: &Hash) -> Option<String> {
        self.run.as_ref().map(|run| token::proof(challenge, run))
    }

    fn find(&self, store: &Store, hash: &Hash) -> Result<Option<UsedToken>, Error> {
        let generation = self.generation.load(SeqCst);
        if let Some(found) = self.used.read().expect("mutex poisoned").get(hash) {
            return Ok(Some(found.clone()));
        }
        let token = store.read(|tx| token::find(tx, hash))?;
        let found = token.map(|token| {
            let at = self.place_for_time(&token.id);
            UsedToken { caller: Arc::new(Caller::of(Arc::new(token))), at }
        });
        if let Some(found) = &found {
            let mut used = self.used.write().expect("mutex poisoned");
            if used.len() >= TOKENS_MAX {
                used.clear();
            }
            if generation == self.generation.load(SeqCst) {
                used.insert(*hash, found.clone());
            }
        }
        Ok(found)
    }

    /// Forgets all tokens, and when they were used: the file has others.
    pub(crate) fn begin_again(&self) {
        self.forget();
        self.last_used.write().expect("mutex poisoned").clear();
    }

    /// Forgets all tokens: one was revoked.
    pub fn forget(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.used.write().expect("mutex poisoned").clear();
    }
}

/// Refuses requests of web pages of other sites: a page must not be able to spend from a local wallet. So the host must
/// be one that no page can have as its own, and a request that a page makes must come from a page of this server.
///
/// A page of one of `allowed_origins` may send requests from its own site.
pub fn check_origin(head: &RequestHead, hosts: &[String], allowed_origins: &[String]) -> Result<(), Error> {
    let host = head.header("host");
    match host {
        Some(host) if !is_own_host(host, hosts) => {
            let detail = "this host is not served here; start with --host NAME if it should be";
            return Err(forbidden(detail));
        }
        None if !head.http_1_0 => return Err(forbidden("the Host header is missing")),
        _ => {}
    }
    if allowed_origin(head, allowed_origins).is_some() {
        return Ok(());
    }
    if head.headers("sec-fetch-site").any(|site| site.eq_ignore_ascii_case("cross-site")) {
        return Err(forbidden("a page of another site may not send requests to this server"));
    }
    if !head.headers("origin").all(|origin| is_own_origin(origin, host.unwrap_or_default())) {
        return Err(forbidden("a page of another origin may not send requests to this server"));
    }
    Ok(())
}

/// The origin of the request, if it has one and that is allowed, letter by letter.
pub(crate) fn allowed_origin<'a>(head: &'a RequestHead, allowed: &[String]) -> Option<&'a str> {
    let mut sent = head.headers("origin");
    let origin = sent.next().filter(|_| sent.next().is_none())?;
    allowed.iter().any(|one| one == origin).then_some(origin)
}

/// An IP address, `localhost`, or one of the names given; the port does not matter.
pub(super) fn is_own_host(host: &str, hosts: &[String]) -> bool {
    let bracketed = host.starts_with('[');
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.strip_prefix(':').is_some_and(is_port) => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return false,
            None => host,
        },
    };
    let name = if bracketed { name } else { name.strip_suffix('.').unwrap_or(name) }; // the root of all names
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_ipv6() == bracketed,
        Err(_) if bracketed => false,
        Err(_) => std::iter::once("localhost")
            .chain(hosts.iter().map(|own| own.strip_suffix('.').unwrap_or(own)))
            .any(|own| own.eq_ignore_ascii_case(name)),
    }
}

/// Digits, or nothing behind the colon.
fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
}

pub(super) fn is_own_origin(origin: &str, host: &str) -> bool {
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

/// A refusal because of the caller.
pub(crate) fn forbidden(detail: impl Into<String>) -> Error {
    Error::new(ErrorName::Forbidden, detail)
}

fn unauthenticated(detail: &str) -> Error {
    Error::new(ErrorName::Unauthenticated, detail)
}
