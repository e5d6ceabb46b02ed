//! The front door: a wallet file in the hands of a program that uses this library.

use crate::command::{GrantCoupon, TypedCommand};
use crate::error::Error;
use crate::http::conn::{Limits, Server, listen, reachable};
use crate::http::{App, Settings};
use crate::id::{CouponCode, EntryId, Fence, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId};
use crate::ledger::coupon::Coupon;
use crate::ledger::entry::Entry;
use crate::ledger::query::{Filter, entries};
use crate::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use crate::ledger::{self, Note, Wallet};
use crate::lock::lease::{AcquireRequest, ReleaseRequest, RenewRequest};
use crate::lock::{DURATION_MS, GRACE_MS};
use crate::money::{Balance, Money};
use crate::store::audit::{self, AuditReport};
use crate::store::file::copy::{self, CopyError};
use crate::store::{Envelope, LOCAL, OpenError, OpenMode, Options, Store};
use crate::{log, secret, token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An open wallet file. Clones are handles of the same one; it is closed when the last of them is dropped.
///
/// One process has the file at a time: while it is open here, `cashbox serve` and other programs cannot open it, and
/// `cashbox` on the command line reaches it only while [`Cashbox::serve`] runs. Every method may be called from any
/// thread. A method that changes something returns when the change is on disk.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("cashbox.db");
/// use cashbox::{Cashbox, UserId};
///
/// let cashbox = Cashbox::open(&path)?;
/// let alice: UserId = "alice".parse()?;
/// cashbox.recharge(&alice, "120".parse()?)?;
/// assert_eq!(cashbox.balance(&alice)?.to_string(), "120.00");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cashbox {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    /// Held while the server starts or ends.
    serving: Mutex<()>,
}

impl Drop for Inner {
    /// Commits what was accepted before another process may have the file.
    fn drop(&mut self) {
        self.store.refuse_waiting();
        self.store.close();
    }
}

impl Cashbox {
    /// Opens the file, and creates it (readable by its owner alone) if it is not there. A file of an earlier version
    /// is upgraded; a copy from before the upgrade stays beside it.
    ///
    /// Takes possession by operating system's locks on the companion file `PATH-serve` and on the file itself, and holds
    /// them until it is closed: no server, command, `restore` or other handle has the file meanwhile. A command that holds the file
    /// for one operation is waited for, 5 seconds at most. Leases of locks that have not ended last their whole time
    /// again, because their holders could not renew them meanwhile.
    ///
    /// # Errors
    /// [`OpenError`]: another process serves the file or holds it, it is not a cashbox file, it is of a newer version,
    /// it is damaged, or it may not be written.
    pub fn open(path: impl AsRef<Path>) -> Result<Cashbox, OpenError> {
        let path = path.as_ref();
        let options = Options { mode: OpenMode::Server, ..Options::default() };
        let store = Arc::new(Store::open(path, &options).map_err(|error| error.at(path))?);
        Ok(Cashbox { inner: Arc::new(Inner { store, serving: Mutex::new(()) }) })
    }

    /// Begins a request with an idempotency key, a reference, a coupon, lock tokens or a time to wait.
    pub fn request(&self) -> RequestBuilder<'_> {
        RequestBuilder {
            cashbox: self,
            key: None,
            reference: None,
            metadata: BTreeMap::new(),
            coupon: None,
            tokens: Vec::new(),
            wait: Duration::ZERO,
            holder: None,
        }
    }

    /// Moves money from the outside world into the user's wallet, which the first recharge creates. A large enough
    /// amount earns a coupon: see [`Moved::coupon`].
    ///
    /// # Errors
    /// As [`RequestBuilder::recharge`].
    pub fn recharge(&self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().recharge(user, amount)
    }

    /// Moves money from the user's wallet to the outside world.
    ///
    /// # Errors
    /// As [`RequestBuilder::withdraw`].
    pub fn withdraw(&self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().withdraw(user, amount)
    }

    /// Pays `amount` for something bought: from the user's wallet to `@sales`.
    ///
    /// # Errors
    /// As [`RequestBuilder::pay`].
    pub fn pay(&self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().pay(user, amount)
    }

    /// Moves money from one user's wallet to another's.
    ///
    /// # Errors
    /// As [`RequestBuilder::transfer`].
    pub fn transfer(&self, from: &UserId, to: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().transfer(from, to, amount)
    }

    /// Gives back what is left of an earlier movement.
    ///
    /// # Errors
    /// As [`RequestBuilder::refund`].
    pub fn refund(&self, entry: EntryId) -> Result<Moved, Error> {
        self.request().refund(entry)
    }

    /// Grants the user a coupon of that kind.
    ///
    /// # Errors
    /// As [`RequestBuilder::grant_coupon`].
    pub fn grant_coupon(&self, user: &UserId, kind: &str) -> Result<Coupon, Error> {
        self.request().grant_coupon(user, kind)
    }

    /// Acquires the lock for `ttl`, 1 millisecond to 24 hours, if it is free now.
    ///
    /// # Errors
    /// As [`RequestBuilder::lock`].
    pub fn lock(&self, id: &LockId, ttl: Duration) -> Result<Lease, Error> {
        self.request().lock(id, ttl)
    }

    /// The balance of a wallet: a user's, or one of the system's.
    ///
    /// # Errors
    /// `wallet_not_found` before the user's first recharge.
    pub fn balance(&self, wallet: impl Into<WalletId>) -> Result<Balance, Error> {
        Ok(self.wallet(wallet)?.balance)
    }

    /// A wallet as it is now.
    ///
    /// # Errors
    /// `wallet_not_found` before the user's first recharge.
    pub fn wallet(&self, wallet: impl Into<WalletId>) -> Result<Wallet, Error> {
        let id = wallet.into();
        self.inner.store.read(|tx| ledger::wallet(tx, &id))
    }

    /// The coupons that the user can pay with now, newest first, 1,000 at most.
    ///
    /// # Errors
    /// `busy` if too much is being read.
    pub fn coupons(&self, user: &UserId) -> Result<Vec<Coupon>, Error> {
        self.inner.store.read(|tx| ledger::query::usable_coupons(tx, user, COUPONS_MAX))
    }

    /// The entries of a wallet, newest first, read page by page. Entries made meanwhile are not among them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
    /// # let alice: cashbox::UserId = "alice".parse()?;
    /// cashbox.recharge(&alice, "10".parse()?)?;
    /// cashbox.withdraw(&alice, "4".parse()?)?;
    /// let balances: Vec<String> =
    ///     cashbox.history(&alice).map(|entry| Ok(entry?.from_balance.to_string())).collect::<Result<_, cashbox::Error>>()?;
    /// assert_eq!(balances, ["6.00", "-10.00"]); // the second is of @bank, which the recharge came from
    /// # Ok(())
    /// # }
    /// ```
    pub fn history(&self, wallet: impl Into<WalletId>) -> History {
        let filter = Filter { wallet: Some(wallet.into()), ..Filter::default() };
        History { cashbox: self.clone(), filter, page: VecDeque::new(), last: None, more: true }
    }

    /// Audits the file: balances, sums, the hash chain, coupons, locks, idempotency records, and SQLite's own
    /// structures. Nothing is changed, and other requests go on meanwhile. A sound file has no
    /// [`findings`](AuditReport::findings).
    ///
    /// # Errors
    /// `damaged` if the file cannot be read to its end.
    pub fn verify(&self) -> Result<AuditReport, Error> {
        audit::audit(self.inner.store.path(), None, &mut |_, _| {})
    }

    /// Writes a copy of the file, as it is at one moment, to `target`, audits it, and only then gives it its name.
    /// Other requests go on meanwhile.
    ///
    /// # Errors
    /// [`CopyError`]: `target` is there already, cannot be written, or the file is damaged.
    pub fn backup(&self, target: impl AsRef<Path>) -> Result<AuditReport, CopyError> {
        copy::back_up(self.inner.store.path(), target.as_ref(), false, &mut |_, _| {})
    }

    /// Serves the file over HTTP, as `cashbox serve` does, until the handle is dropped. Port 0 is any free one. The
    /// methods of [`Cashbox`] go on working, and `cashbox` on the command line finds the server by the file.
    ///
    /// # Errors
    /// The address cannot be resolved or is in use, or the file is served by this process already.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
    /// let server = cashbox.serve("127.0.0.1:0")?;
    /// println!("curl -H 'Authorization: Bearer {}' {}/v1/wallets", server.token(), server.url());
    /// server.stop();
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve(&self, address: impl ToSocketAddrs) -> io::Result<ServerHandle> {
        let address = address.to_socket_addrs()?.next().ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidInput, "the address has no IP address; write it as ADDR:PORT")
        })?;
        let _serving = self.inner.serving.lock().unwrap_or_else(PoisonError::into_inner); // it guards no data
        let possession = self.inner.store.possession();
        if possession.is_announced() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "this file is served by this process already"));
        }
        let token = token::new_secret();
        let settings = Settings { run_token: Some(token.clone()), ..Settings::default() };
        let app = Arc::new(App::new(Arc::clone(&self.inner.store), settings));
        let server = Server::start(listen(address)?, Limits::default(), Arc::clone(&app) as _)?;
        let url = format!("http://{}", reachable(server.address()));
        possession.announce(&url, &token)?;
        Ok(ServerHandle { cashbox: self.clone(), app, server, url, token })
    }
}

impl std::fmt::Debug for Cashbox {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Cashbox({})", self.inner.store.path().display())
    }
}

/// The most coupons that [`Cashbox::coupons`] gives.
const COUPONS_MAX: usize = 1_000;

/// A request with more than the verb, the user and the amount: made by [`Cashbox::request`], sent by its verb.
///
/// Text that is not valid is refused by the verb, with the error `invalid_request`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// let order = || cashbox.request().key("order-17").reference("order 17").metadata("shop", "north");
/// cashbox.recharge(&alice, "50".parse()?)?;
/// let first = order().pay(&alice, "20".parse()?)?;
/// let again = order().pay(&alice, "20".parse()?)?; // the answer was lost, so the program asks again
/// assert_eq!(first.entry.id, again.entry.id);
/// assert_eq!(cashbox.balance(&alice)?.to_string(), "30.00");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before a verb"]
pub struct RequestBuilder<'a> {
    cashbox: &'a Cashbox,
    key: Option<String>,
    reference: Option<String>,
    metadata: BTreeMap<String, String>,
    coupon: Option<CouponCode>,
    tokens: Vec<LockToken>,
    wait: Duration,
    holder: Option<String>,
}

impl RequestBuilder<'_> {
    /// The idempotency key, 1 to 255 visible ASCII characters: repeating the same request with the same key within 30
    /// days has no second effect, and gives the same answer. [`lock`](RequestBuilder::lock) ignores it.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The program's own name for the movement, kept with its entry: at most 255 characters.
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// One pair of text kept with the entry: a name of 1 to 40 characters, a value of at most 500. At most 20 pairs.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The coupon that [`pay`](RequestBuilder::pay) takes off the price.
    pub fn coupon(mut self, code: &CouponCode) -> Self {
        self.coupon = Some(code.clone());
        self
    }

    /// The proof of a lease: the request is carried out only if the lease has not ended, and that is checked in the same
    /// transaction. May be given for several leases.
    pub fn under(mut self, lease: &LockToken) -> Self {
        self.tokens.push(lease.clone());
        self
    }

    /// The longest wait for locks that others hold, in milliseconds at most 24 hours: the lock itself, or those of the
    /// wallets that money moves between. Without it a held lock is an error at once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// A label of the lock's holder, shown to people and never compared: at most 255 characters. `@local` without it.
    pub fn holder(mut self, label: impl Into<String>) -> Self {
        self.holder = Some(label.into());
        self
    }

    /// As [`Cashbox::recharge`].
    ///
    /// # Errors
    /// `balance_limit`, `locked`, `lock_lost`, `idempotency_key_reused`, and those of every change: `busy`,
    /// `storage_full`, `outcome_unknown`.
    pub fn recharge(self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(Recharge { user: user.clone(), amount, note })
    }

    /// As [`Cashbox::withdraw`].
    ///
    /// # Errors
    /// `wallet_not_found`, `insufficient_funds`, and those of [`recharge`](RequestBuilder::recharge).
    pub fn withdraw(self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(Withdraw { user: user.clone(), amount, note })
    }

    /// As [`Cashbox::pay`], less what the coupon takes off.
    ///
    /// # Errors
    /// `coupon_not_found`, `coupon_used`, `coupon_not_applicable`, and those of [`withdraw`](RequestBuilder::withdraw).
    pub fn pay(self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.pay_to(user, WalletId::SALES, amount)
    }

    /// As [`RequestBuilder::pay`], to another user's wallet instead of `@sales`.
    ///
    /// # Errors
    /// Those of [`pay`](RequestBuilder::pay).
    pub fn pay_user(self, user: &UserId, to: &UserId, amount: Money) -> Result<Moved, Error> {
        two_wallets(user, to)?;
        self.pay_to(user, to.wallet(), amount)
    }

    fn pay_to(self, user: &UserId, to: WalletId, amount: Money) -> Result<Moved, Error> {
        let (coupon, note) = (self.coupon.clone(), self.note()?);
        self.submit(Pay { user: user.clone(), to, gross: amount, coupon, note })
    }

    /// As [`Cashbox::transfer`].
    ///
    /// # Errors
    /// `invalid_request` if the two are the same, and those of [`withdraw`](RequestBuilder::withdraw).
    pub fn transfer(self, from: &UserId, to: &UserId, amount: Money) -> Result<Moved, Error> {
        two_wallets(from, to)?;
        let note = self.note()?;
        self.submit(Transfer { from: from.wallet(), to: to.wallet(), amount, note })
    }

    /// As [`Cashbox::refund`].
    ///
    /// # Errors
    /// `entry_not_found`, `not_refundable`, `already_refunded`, `coupon_used` if the recharge's coupon was used, and
    /// those of [`withdraw`](RequestBuilder::withdraw): the receiver may have spent it.
    pub fn refund(self, entry: EntryId) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(Refund { entry, amount: None, note })
    }

    /// Gives back a part of an earlier movement. Parts add up.
    ///
    /// # Errors
    /// `refund_exceeds` if less is left, and those of [`refund`](RequestBuilder::refund).
    pub fn refund_part(self, entry: EntryId, amount: Money) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(Refund { entry, amount: Some(amount), note })
    }

    /// As [`Cashbox::grant_coupon`].
    ///
    /// # Errors
    /// `wallet_not_found`, `coupon_kind_not_found`, and those of every change.
    pub fn grant_coupon(self, user: &UserId, kind: &str) -> Result<Coupon, Error> {
        self.submit(GrantCoupon { user: user.clone(), kind: kind.to_owned() })
    }

    /// As [`Cashbox::lock`], after waiting for it if that was asked for.
    ///
    /// # Errors
    /// `locked` if another holder has it, with the facts `holder` and `free_in_ms`; `invalid_request` if `ttl` is out of
    /// range; and those of every change.
    pub fn lock(self, id: &LockId, ttl: Duration) -> Result<Lease, Error> {
        self.lock_all(std::slice::from_ref(id), ttl)
    }

    /// Acquires several locks as one lease: all or none.
    ///
    /// # Errors
    /// Those of [`lock`](RequestBuilder::lock).
    pub fn lock_all(self, ids: &[LockId], ttl: Duration) -> Result<Lease, Error> {
        let (expire_ms, store) = (lease_ms(ttl)?, &self.cashbox.inner.store);
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        let acquire = AcquireRequest {
            ids,
            secret: LockSecret::parse(&secret::random_hex::<16>())?,
            holder: self.holder.clone().unwrap_or_else(|| LOCAL.to_owned()),
            expire_ms,
            grace_ms: GRACE_MS,
            max_hold_ms: None,
        };
        let cashbox = self.cashbox.clone();
        let grant = self.submit(acquire)?;
        Ok(Lease {
            expires_ms: store.lease_ms() + grant.expires_in_ms,
            cashbox,
            token: grant.token,
            is_released: false,
        })
    }

    fn note(&self) -> Result<Note, Error> {
        Note::new(self.reference.clone(), self.metadata.clone())
    }

    fn submit<C: TypedCommand>(self, command: C) -> Result<C::Receipt, Error> {
        let key = self.key.map(|key| IdempotencyKey::parse(&key)).transpose()?;
        let wait_ms = i64::try_from(self.wait.as_millis()).unwrap_or(i64::MAX).min(*DURATION_MS.end());
        let envelope = Envelope { key, tokens: self.tokens, wait_ms, ..Envelope::local() };
        self.cashbox.inner.store.submit(envelope, command).result
    }
}

fn two_wallets(from: &UserId, to: &UserId) -> Result<(), Error> {
    if from == to {
        return Err(Error::invalid("payer and receiver are the same wallet").with("field", "to"));
    }
    Ok(())
}

fn lease_ms(ttl: Duration) -> Result<i64, Error> {
    let ms = i64::try_from(ttl.as_millis()).ok().filter(|ms| DURATION_MS.contains(ms));
    ms.ok_or_else(|| Error::invalid("a lease lasts 1 millisecond to 24 hours"))
}

/// A lock that is held, or several held together. Released when dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// use std::time::Duration;
///
/// cashbox.recharge(&alice, "50".parse()?)?;
/// let lease = cashbox.lock(&"wallet/alice".parse()?, Duration::from_secs(60))?;
/// assert!(cashbox.withdraw(&alice, "20".parse()?).is_err()); // the wallet is locked
/// cashbox.request().under(lease.token()).withdraw(&alice, "20".parse()?)?;
/// drop(lease);
/// cashbox.withdraw(&alice, "30".parse()?)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is released when the lease is dropped"]
pub struct Lease {
    cashbox: Cashbox,
    token: LockToken,
    expires_ms: i64,
    is_released: bool,
}

impl Lease {
    /// The proof of the lease: a secret, for [`RequestBuilder::under`] and for the header `Lock-Token`.
    pub fn token(&self) -> &LockToken {
        &self.token
    }

    /// The number of the lease. It grows with every grant of any lock.
    pub fn fence(&self) -> Fence {
        self.token.fence
    }

    /// The time that the lease lasts from now without renewal; zero if it has expired. A request
    /// [`under`](RequestBuilder::under) it is refused once another holder has taken over, and no sooner than 5 seconds
    /// after it expired.
    pub fn remaining(&self) -> Duration {
        let left = self.expires_ms - self.cashbox.inner.store.lease_ms();
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// Makes the lease last `ttl` from now on, 1 millisecond to 24 hours. Late renewal is possible while no other holder
    /// has taken over.
    ///
    /// # Errors
    /// `lock_lost` if the lease has ended: start over. `invalid_request` if `ttl` is out of range.
    pub fn renew(&mut self, ttl: Duration) -> Result<(), Error> {
        let (expire_ms, store) = (Some(lease_ms(ttl)?), &self.cashbox.inner.store);
        let asked_ms = store.lease_ms();
        let renew = RenewRequest { id: None, token: self.token.clone(), expire_ms };
        let renewed = store.submit(Envelope::local(), renew).result?;
        self.expires_ms = asked_ms + renewed.expires_in_ms;
        Ok(())
    }

    /// Releases the lock. Dropping the lease does the same, but cannot report an error.
    ///
    /// # Errors
    /// `lock_lost` if another holder has taken over, or an admin has revoked the lease.
    pub fn release(mut self) -> Result<(), Error> {
        self.is_released = true;
        self.send_release()
    }

    fn send_release(&self) -> Result<(), Error> {
        let release = ReleaseRequest { id: None, token: self.token.clone() };
        self.cashbox.inner.store.submit(Envelope::local(), release).result
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_released
            && let Err(error) = self.send_release()
        {
            log::warn("a dropped lease was not released", &error);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Lease(fence {})", self.token.fence)
    }
}

/// The entries of a wallet, newest first: see [`Cashbox::history`]. After an error it ends.
pub struct History {
    cashbox: Cashbox,
    filter: Filter,
    page: VecDeque<Entry>,
    /// The number of the last entry that was read.
    last: Option<i64>,
    more: bool,
}

/// Entries read at once.
const HISTORY_PAGE: usize = 100;

impl Iterator for History {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Result<Entry, Error>> {
        if self.page.is_empty() && self.more {
            let read = self.cashbox.inner.store.read(|tx| entries(tx, &self.filter, self.last, HISTORY_PAGE));
            match read {
                Ok(page) => {
                    self.more = page.more;
                    self.last = page.rows.last().map(|entry| entry.id.0);
                    self.page = page.rows.into();
                }
                Err(error) => {
                    self.more = false;
                    return Some(Err(error));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}

/// A running HTTP server: see [`Cashbox::serve`]. Stopped when dropped.
#[must_use = "the server stops when its handle is dropped"]
pub struct ServerHandle {
    cashbox: Cashbox,
    app: Arc<App>,
    server: Server,
    url: String,
    token: String,
}

/// The time that requests in flight may take when the server stops.
const STOP_TIME: Duration = Duration::from_secs(10);

impl ServerHandle {
    /// Where it listens, with the port that the machine chose if none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where this machine reaches it: `http://127.0.0.1:8866`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An admin's access token that is valid while this server runs: a secret. `POST /v1/tokens` makes lasting ones.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Stops accepting connections, ends the waiting of requests for locks with the error `busy`, and lets other requests
    /// in flight finish, for 10 seconds at most. Dropping the handle does the same.
    pub fn stop(self) {}
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if let Err(error) = self.cashbox.inner.store.possession().retract() {
            log::warn("commands on this machine may look for this server", &error);
        }
        self.app.end_waiting();
        let busy = self.server.stop(STOP_TIME);
        if busy > 0 {
            log::warn("stopped, though requests were not answered yet", &busy);
        }
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ServerHandle({})", self.url)
    }
}
