//! A request with its options, and the lease that a lock request gives.

use super::file::OpenFile;
use crate::command::{ClaimCoupon, GrantCoupon, TypedCommand};
use crate::error::Error;
use crate::id::{
    ClaimCode, CouponCode, EntryId, Fence, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId,
};
use crate::ledger::coupon::Coupon;
use crate::ledger::hold::{CaptureHold, EXPIRES_IN_S, PlaceHold, VoidHold};
use crate::ledger::settings::{CreateWallet, SetWallet, WalletSettings, wallet_name};
use crate::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use crate::ledger::{Note, SpendingLimits, Wallet, WalletStatus};
use crate::lock::lease::{AcquireRequest, ReleaseRequest, RenewRequest};
use crate::lock::{self, DURATION_MS, GRACE_MS, IDS_MAX};
use crate::money::Money;
use crate::store::{Envelope, LOCAL};
use crate::{log, secret};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A request with more than the verb, the user and the amount: made by [`Cashbox::request`](crate::Cashbox::request), sent by its verb.
///
/// Text that is not valid is refused by the verb, with the error `invalid_request`. A verb ignores what it has no use for:
/// a coupon is for [`pay`](RequestBuilder::pay) and [`hold`](RequestBuilder::hold), a holder for [`lock`](RequestBuilder::lock) alone, and a reference and
/// metadata are for money.
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
#[derive(Clone)]
#[must_use = "nothing happens before a verb"]
pub struct RequestBuilder<'a> {
    file: &'a Arc<OpenFile>,
    key: Option<String>,
    reference: Option<String>,
    metadata: BTreeMap<String, String>,
    coupon: Option<CouponCode>,
    tokens: Vec<LockToken>,
    wait: Duration,
    holder: Option<String>,
    keep_rest: bool,
    dry_run: bool,
}

impl RequestBuilder<'_> {
    pub(super) fn new(file: &Arc<OpenFile>) -> RequestBuilder<'_> {
        RequestBuilder {
            file,
            key: None,
            reference: None,
            metadata: BTreeMap::new(),
            coupon: None,
            tokens: Vec::new(),
            wait: Duration::ZERO,
            holder: None,
            keep_rest: false,
            dry_run: false,
        }
    }

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

    /// The coupon that [`pay`](RequestBuilder::pay) or [`hold`](RequestBuilder::hold) takes off the price.
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

    /// The longest wait for locks that others hold, at most 24 hours: the lock itself, or those of the
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

    /// A [`capture_part`](RequestBuilder::capture_part) keeps what it leaves reserved, for more captures. Otherwise it ends the
    /// hold, and the rest goes back.
    pub fn keep_rest(mut self) -> Self {
        self.keep_rest = true;
        self
    }

    /// The verb answers as it would now, and changes nothing. Numbers, hashes and coupon codes that it would newly make are
    /// not real. For verbs of money and holds and for [`claim_coupon`](RequestBuilder::claim_coupon); others refuse it.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// As [`Cashbox::recharge`](crate::Cashbox::recharge).
    ///
    /// # Errors
    /// `wallet_closed`, `balance_limit`, `locked`, `lock_lost`, `idempotency_key_reused`, and those of every change: `busy`,
    /// `storage_full`, `outcome_unknown`.
    pub fn recharge(self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(Recharge { user: user.clone(), amount, note })
    }

    /// As [`Cashbox::withdraw`](crate::Cashbox::withdraw).
    ///
    /// # Errors
    /// `wallet_not_found`, `wallet_frozen`, `limit_exceeded`, `insufficient_funds`, and those of [`recharge`](RequestBuilder::recharge).
    pub fn withdraw(self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(Withdraw { user: user.clone(), amount, note })
    }

    /// As [`Cashbox::pay`](crate::Cashbox::pay), less what the coupon takes off.
    ///
    /// # Errors
    /// `coupon_not_found`, `coupon_used`, `coupon_expired`, `coupon_not_applicable`, and those of [`withdraw`](RequestBuilder::withdraw).
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

    /// As [`Cashbox::transfer`](crate::Cashbox::transfer).
    ///
    /// # Errors
    /// `invalid_request` if the two are the same, and those of [`withdraw`](RequestBuilder::withdraw).
    pub fn transfer(self, from: &UserId, to: &UserId, amount: Money) -> Result<Moved, Error> {
        two_wallets(from, to)?;
        let note = self.note()?;
        self.submit(Transfer { from: from.wallet(), to: to.wallet(), amount, note })
    }

    /// As [`Cashbox::refund`](crate::Cashbox::refund).
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

    /// As [`Cashbox::hold`](crate::Cashbox::hold). With a coupon it reserves the price less the discount, and is captured whole.
    ///
    /// # Errors
    /// `invalid_request` if `expires` is not from 1 second to 365 days, `hold_limit` if the wallet has 1,000 holds, and those of
    /// [`pay`](RequestBuilder::pay).
    pub fn hold(self, user: &UserId, amount: Money, expires: Duration) -> Result<Moved, Error> {
        self.place_hold(user, WalletId::SALES, amount, expires)
    }

    /// As [`RequestBuilder::hold`], for another user's wallet instead of `@sales`.
    ///
    /// # Errors
    /// Those of [`hold`](RequestBuilder::hold).
    pub fn hold_for(self, user: &UserId, to: &UserId, amount: Money, expires: Duration) -> Result<Moved, Error> {
        two_wallets(user, to)?;
        self.place_hold(user, to.wallet(), amount, expires)
    }

    fn place_hold(self, user: &UserId, to: WalletId, gross: Money, expires: Duration) -> Result<Moved, Error> {
        let seconds = i64::try_from(expires.as_secs()).ok().filter(|seconds| EXPIRES_IN_S.contains(seconds));
        let expires_in_s = seconds.ok_or_else(|| Error::invalid("a hold lasts 1 second to 365 days"))?;
        let (coupon, note) = (self.coupon.clone(), self.note()?);
        self.submit(PlaceHold { user: user.clone(), to, gross, expires_in_s, coupon, note })
    }

    /// As [`Cashbox::capture`](crate::Cashbox::capture).
    ///
    /// # Errors
    /// `hold_not_found`, `hold_not_open`, `hold_expired`, `wallet_closed` if the receiver's is, and those of
    /// [`recharge`](RequestBuilder::recharge).
    pub fn capture(self, hold: EntryId) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(CaptureHold { hold, amount: None, is_final: true, note })
    }

    /// Moves a part of reserved money to its receiver. The rest goes back, unless [`keep_rest`](RequestBuilder::keep_rest) keeps it.
    ///
    /// # Errors
    /// `capture_exceeds` if less is left, `coupon_not_applicable` for a part of a hold with a coupon, and those of
    /// [`capture`](RequestBuilder::capture).
    pub fn capture_part(self, hold: EntryId, amount: Money) -> Result<Moved, Error> {
        let (note, is_final) = (self.note()?, !self.keep_rest);
        self.submit(CaptureHold { hold, amount: Some(amount), is_final, note })
    }

    /// As [`Cashbox::void`](crate::Cashbox::void).
    ///
    /// # Errors
    /// `hold_not_found`, `hold_not_open`, and those of [`recharge`](RequestBuilder::recharge).
    pub fn void(self, hold: EntryId) -> Result<Moved, Error> {
        let note = self.note()?;
        self.submit(VoidHold { hold, note })
    }

    /// As [`Cashbox::grant_coupon`](crate::Cashbox::grant_coupon).
    ///
    /// # Errors
    /// `wallet_not_found`, `wallet_closed`, `coupon_kind_not_found`, `coupon_limit`, `coupon_not_applicable` if the kind is out of its
    /// dates, and those of every change.
    pub fn grant_coupon(self, user: &UserId, kind: &str) -> Result<Coupon, Error> {
        self.submit_real(GrantCoupon { user: user.clone(), kind: kind.to_owned() })
    }

    /// As [`Cashbox::claim_coupon`](crate::Cashbox::claim_coupon).
    ///
    /// # Errors
    /// `invalid_request` if the text cannot be a claim code, `claim_code_not_found`, and those of
    /// [`grant_coupon`](RequestBuilder::grant_coupon).
    pub fn claim_coupon(self, user: &UserId, claim_code: &str) -> Result<Coupon, Error> {
        let code = ClaimCode::parse(claim_code)?;
        self.submit(ClaimCoupon { user: user.clone(), code })
    }

    /// Creates the user's wallet, without money.
    ///
    /// # Errors
    /// `wallet_exists`, and those of every change.
    pub fn create_wallet(self, user: &UserId) -> Result<Wallet, Error> {
        self.submit_real(CreateWallet { user: user.clone() })
    }

    /// As [`Cashbox::set_status`](crate::Cashbox::set_status).
    ///
    /// # Errors
    /// `wallet_not_found`, `wallet_not_empty` for closing one with money or with holds, and those of every change.
    pub fn set_status(self, user: &UserId, status: WalletStatus) -> Result<WalletSettings, Error> {
        self.submit_real(SetWallet { status: Some(status), ..no_change(user) })
    }

    /// Names the wallet for people: 1 to 100 characters of any script. None takes the name away.
    ///
    /// # Errors
    /// `invalid_request` if the name is too long or has control, zero-width or bidirectional characters, `wallet_not_found`, and
    /// those of every change.
    pub fn set_name(self, user: &UserId, name: Option<&str>) -> Result<WalletSettings, Error> {
        let name = name.map(wallet_name).transpose()?;
        self.submit_real(SetWallet { name: Some(name), ..no_change(user) })
    }

    /// Bounds what may leave the wallet by withdrawals, payments, transfers and holds: at once, and on one day of UTC.
    ///
    /// # Errors
    /// `wallet_not_found`, and those of every change.
    pub fn set_limits(self, user: &UserId, limits: SpendingLimits) -> Result<WalletSettings, Error> {
        let (limit_per_payment, limit_per_day) = (Some(limits.per_payment), Some(limits.per_day));
        self.submit_real(SetWallet { limit_per_payment, limit_per_day, ..no_change(user) })
    }

    /// As [`Cashbox::lock`](crate::Cashbox::lock), after waiting for it if that was asked for.
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
        let expire_ms = lease_ms(ttl)?;
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        if ids.len() > IDS_MAX {
            return Err(Error::invalid(format!("one lease is of at most {IDS_MAX} locks")));
        }
        let holder = self.holder.clone().unwrap_or_else(|| LOCAL.to_owned());
        let acquire = AcquireRequest {
            ids: ids.clone(),
            any: false,
            secret: LockSecret::parse(&secret::random_hex::<16>())?,
            holder: lock::checked_label("holder", holder)?,
            expire_ms,
            grace_ms: GRACE_MS,
            max_hold_ms: None,
            min_hold_ms: None,
        };
        let file = Arc::clone(self.file);
        let token = self.submit_real(acquire)?.token;
        // The lease counts from its commit, which is later than the request if that waited, and earlier than now.
        let mut lease = Lease { expires_ms: 0, file, token, is_released: false };
        let held = lease.file.store.read(|tx| lock::find(tx, &ids[0]))?;
        lease.expires_ms = held.filter(|lock| lock.fence == lease.fence()).map_or(0, |lock| lock.expires());
        Ok(lease)
    }

    fn note(&self) -> Result<Note, Error> {
        Note::new(self.reference.clone(), self.metadata.clone())
    }

    /// Submits a command that cannot be tried.
    fn submit_real<C: TypedCommand>(self, command: C) -> Result<C::Receipt, Error> {
        if self.dry_run {
            return Err(Error::invalid("a dry run is for verbs of money, for holds and for claims"));
        }
        self.submit(command)
    }

    fn submit<C: TypedCommand>(self, command: C) -> Result<C::Receipt, Error> {
        let key = self.key.map(|key| IdempotencyKey::parse(&key)).transpose()?;
        let wait_ms = i64::try_from(self.wait.as_millis()).unwrap_or(i64::MAX).min(*DURATION_MS.end());
        let wait_ms = if self.dry_run { 0 } else { wait_ms };
        let envelope = Envelope { key, tokens: self.tokens, wait_ms, dry_run: self.dry_run, ..Envelope::local() };
        self.file.store.submit(envelope, command).result
    }
}

fn no_change(user: &UserId) -> SetWallet {
    SetWallet {
        user: user.clone(),
        name: None,
        status: None,
        metadata: None,
        limit_per_payment: None,
        limit_per_day: None,
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
    file: Arc<OpenFile>,
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
        let left = self.expires_ms - self.file.store.lease_ms();
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// Makes the lease last `ttl` from now on, 1 millisecond to 24 hours. Late renewal is possible while no other holder
    /// has taken over.
    ///
    /// # Errors
    /// `lock_lost` if the lease has ended: start over. `invalid_request` if `ttl` is out of range.
    pub fn renew(&mut self, ttl: Duration) -> Result<(), Error> {
        let (expire_ms, store) = (Some(lease_ms(ttl)?), &self.file.store);
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
        let release = ReleaseRequest { id: None, token: self.token.clone(), min_hold_ms: None };
        self.file.store.submit(Envelope::local(), release).result
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
