//! The waist: every change to the file is a [`Command`], and its result is a [`Receipt`].
//!
//! A command is what the client said and nothing else — no clock, no new ids — so that the same request is always
//! the same canonical text. [`apply`] is the one place that knows which rule a command means. Each kind of command is a
//! type of its own ([`TypedCommand`]), which says what its receipt is.

use crate::error::{Error, ErrorName};
use crate::id::{ClaimCode, IdempotencyKey, LockId, LockToken, UserId, WalletId};
use crate::ledger::coupon::{self, Coupon, CouponKind, Discount, KindLimits, Tier};
use crate::ledger::settings::{self, CreateWallet, SetWallet, WalletSettings};
use crate::ledger::verbs::{self, Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use crate::ledger::{self, Attribution, Note, Wallet, entry};
use crate::lock::Lock;
use crate::lock::lease::{
    self, AcquireRequest, Authority, Grant, LockAttempt, ReleaseRequest, RenewRequest, Renewed, RevokeRequest,
};
use crate::secret::{self, Hash};
use crate::token::{self, AccessToken, MintedToken, NewToken, Role, RotateToken};
use crate::tx::{Tables, WriteTx};
use std::collections::BTreeSet;
use std::io::Write;

/// A change that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Moves money.
    Money(MoneyCommand),
    /// Moves money several times, or not at all.
    Batch(AtomicBatch),
    /// Creates a wallet without money.
    CreateWallet(CreateWallet),
    /// Changes the settings of a wallet.
    SetWallet(SetWallet),
    /// Grants a coupon.
    GrantCoupon(GrantCoupon),
    /// Gives a coupon for a claim code.
    ClaimCoupon(ClaimCoupon),
    /// Replaces the recharge tiers.
    SetTiers(SetTiers),
    /// Replaces the coupon kinds.
    SetCouponKinds(SetCouponKinds),
    /// Mints an access token.
    MintToken(NewToken),
    /// Takes an access token that the operator chose.
    AdoptToken(AdoptToken),
    /// Gives an access token another secret.
    RotateToken(RotateToken),
    /// Ends an access token.
    RevokeToken(RevokeToken),
    /// Names a batch whose items follow, each for itself.
    NameBatch(NameBatch),
    /// Tries a batch whose items are each for itself.
    TryEach(TryEach),
    /// Grants a lock, or several together.
    Acquire(AcquireRequest),
    /// Starts a lease anew.
    Renew(RenewRequest),
    /// Ends a lease by its holder.
    Release(ReleaseRequest),
    /// Takes a lock from its holder.
    Revoke(RevokeRequest),
    /// Ends a lease whose grant reached no client.
    ReleaseUndelivered(ReleaseUndelivered),
}

/// A money verb: alone, or as an item of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum MoneyCommand {
    /// Money from the outside world into a wallet.
    Recharge(Recharge),
    /// Money from a wallet to the outside world.
    Withdraw(Withdraw),
    /// Money for something bought.
    Pay(Pay),
    /// Money from one wallet to another.
    Transfer(Transfer),
    /// The money of an earlier entry back.
    Refund(Refund),
}

/// All of these or none.
#[derive(Clone, Debug, PartialEq)]
pub struct AtomicBatch(pub Vec<MoneyCommand>);

/// A coupon of that kind for a user, who must have a wallet.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantCoupon {
    /// The owner.
    pub user: UserId,
    /// The name of the coupon kind.
    pub kind: String,
}

/// A coupon of the kind with that claim code for a user, who must have a wallet.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimCoupon {
    /// The owner.
    pub user: UserId,
    /// As it was typed, in capitals.
    pub code: ClaimCode,
}

/// These recharge tiers instead of the present ones.
#[derive(Clone, Debug, PartialEq)]
pub struct SetTiers(pub Vec<Tier>);

/// These coupon kinds instead of the present ones.
#[derive(Clone, Debug, PartialEq)]
pub struct SetCouponKinds(pub Vec<CouponKind>);

/// An admin's access token whose secret the operator chose: its hash. Taken once; a repeat changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct AdoptToken(pub Hash);

/// The end of the access token of that id.
#[derive(Clone, Debug, PartialEq)]
pub struct RevokeToken(pub String);

/// The hash of a batch's items: the batch cannot come back with other items under the same key. Changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct NameBatch(pub [u8; 16]);

/// The items of a batch, each with its key: tried one after another, and each refused one left out.
#[derive(Clone, Debug, PartialEq)]
pub struct TryEach {
    /// The name of the batch under its key.
    pub name: Option<NameBatch>,
    /// The items.
    pub items: Vec<(Option<IdempotencyKey>, MoneyCommand)>,
}

/// The end of the lease of a token that no answer delivered to its client.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseUndelivered(pub LockToken);

/// The result of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipt {
    /// Money moved.
    Moved(Box<Moved>),
    /// Every item of a batch moved money.
    Batch(Vec<Moved>),
    /// A wallet was created.
    Wallet(Wallet),
    /// The settings of a wallet as they are now.
    Settings(Box<WalletSettings>),
    /// A coupon was granted.
    Coupon(Coupon),
    /// The recharge tiers as they are now.
    Tiers(Vec<Tier>),
    /// The coupon kinds as they are now.
    CouponKinds(Vec<CouponKind>),
    /// An access token was minted or rotated.
    Minted(Box<MintedToken>),
    /// An access token was adopted or revoked.
    Token(AccessToken),
    /// The batch has its name.
    Named,
    /// Every item of a batch was tried.
    Tried(Vec<Result<Moved, Error>>),
    /// A lease was granted.
    Granted(Grant),
    /// A lease was renewed.
    Renewed(Renewed),
    /// A lease was released.
    Released,
    /// A lock was taken from its holder; the row as it is now.
    Revoked(Box<Lock>),
}

/// A kind of command and the type of its receipt.
pub trait TypedCommand: Into<Command> {
    /// Its receipt.
    type Receipt: TryFrom<Receipt>;
}

impl TypedCommand for Command {
    type Receipt = Receipt;
}

macro_rules! typed_commands {
    ($($command:ident => $receipt:ty, $wrap:expr;)*) => {$(
        impl From<$command> for Command {
            fn from(command: $command) -> Command {
                $wrap(command)
            }
        }
        impl TypedCommand for $command {
            type Receipt = $receipt;
        }
    )*};
}
typed_commands! {
    MoneyCommand => Moved, Command::Money;
    Recharge => Moved, |it| Command::Money(MoneyCommand::Recharge(it));
    Withdraw => Moved, |it| Command::Money(MoneyCommand::Withdraw(it));
    Pay => Moved, |it| Command::Money(MoneyCommand::Pay(it));
    Transfer => Moved, |it| Command::Money(MoneyCommand::Transfer(it));
    Refund => Moved, |it| Command::Money(MoneyCommand::Refund(it));
    AtomicBatch => Vec<Moved>, Command::Batch;
    CreateWallet => Wallet, Command::CreateWallet;
    SetWallet => WalletSettings, Command::SetWallet;
    GrantCoupon => Coupon, Command::GrantCoupon;
    ClaimCoupon => Coupon, Command::ClaimCoupon;
    SetTiers => Vec<Tier>, Command::SetTiers;
    SetCouponKinds => Vec<CouponKind>, Command::SetCouponKinds;
    NewToken => MintedToken, Command::MintToken;
    AdoptToken => AccessToken, Command::AdoptToken;
    RotateToken => MintedToken, Command::RotateToken;
    RevokeToken => AccessToken, Command::RevokeToken;
    NameBatch => (), Command::NameBatch;
    TryEach => Vec<Result<Moved, Error>>, Command::TryEach;
    AcquireRequest => Grant, Command::Acquire;
    RenewRequest => Renewed, Command::Renew;
    ReleaseRequest => (), Command::Release;
    RevokeRequest => Lock, Command::Revoke;
    ReleaseUndelivered => (), Command::ReleaseUndelivered;
}

macro_rules! typed_receipts {
    ($($receipt:ty: $pattern:pat => $value:expr;)*) => {$(
        impl TryFrom<Receipt> for $receipt {
            type Error = Error;
            fn try_from(receipt: Receipt) -> Result<$receipt, Error> {
                match receipt {
                    $pattern => Ok($value),
                    other => Err(Error::internal(format!("the receipt of another command: {other:?}"))),
                }
            }
        }
    )*};
}
typed_receipts! {
    Moved: Receipt::Moved(moved) => *moved;
    Vec<Moved>: Receipt::Batch(all) => all;
    Vec<Result<Moved, Error>>: Receipt::Tried(all) => all;
    Wallet: Receipt::Wallet(wallet) => wallet;
    WalletSettings: Receipt::Settings(settings) => *settings;
    Coupon: Receipt::Coupon(coupon) => coupon;
    Vec<Tier>: Receipt::Tiers(tiers) => tiers;
    Vec<CouponKind>: Receipt::CouponKinds(kinds) => kinds;
    MintedToken: Receipt::Minted(minted) => *minted;
    AccessToken: Receipt::Token(token) => token;
    Grant: Receipt::Granted(grant) => grant;
    Renewed: Receipt::Renewed(renewed) => renewed;
    Lock: Receipt::Revoked(lock) => *lock;
    (): Receipt::Released | Receipt::Named => ();
}

/// The result of trying a command.
pub(crate) enum Verdict {
    /// It was tried. All it wrote stays, even if the answer is an error. The waiters of these locks must look again.
    Done(Result<Receipt, Error>, Vec<LockId>),
    /// Another client holds `lock`, one of those `needed`. All it wrote must be rolled back.
    Held {
        /// The lock that is held.
        lock: LockId,
        /// Every lock that the command needs.
        needed: Vec<LockId>,
    },
}

impl Verdict {
    fn done(receipt: Receipt) -> Verdict {
        Verdict::Done(Ok(receipt), Vec::new())
    }
}

/// The rest of a command once its locks, which are given again, are checked.
type Rule<'a> = &'a dyn Fn(&Authority, &[LockId]) -> Result<Receipt, Error>;

/// Carries the command out for `by`, under the lock tokens presented with it. `role` is that of the access token, if there
/// is one.
pub(crate) fn apply(
    tx: &WriteTx<'_>,
    command: &Command,
    by: &str,
    role: Option<Role>,
    tokens: &[LockToken],
) -> Result<Verdict, Error> {
    let guarded = |needed, rule: Rule<'_>| under_locks(tx, tokens, by, needed, rule);
    let plain = |rule: &dyn Fn() -> Result<Receipt, Error>| guarded(Vec::new(), &|_, _| rule());
    match command {
        Command::Money(money) => guarded(locks_of(tx, money)?, &|authority, needed| {
            let attribution = Attribution { by, fence: authority.fence_for(needed) };
            move_money(tx, money, role, &attribution).map(|moved| Receipt::Moved(Box::new(moved)))
        }),
        Command::Batch(AtomicBatch(items)) => {
            let each: Vec<Vec<LockId>> = items.iter().map(|item| locks_of(tx, item)).collect::<Result<_, _>>()?;
            let all: BTreeSet<LockId> = each.iter().flatten().cloned().collect();
            guarded(all.into_iter().collect(), &|authority, _| move_all(tx, items, &each, by, role, authority))
        }
        Command::CreateWallet(CreateWallet { user }) => plain(&|| settings::create(tx, user).map(Receipt::Wallet)),
        // Without the wallet's lock: freezing acts at once, also on requests that wait for the lock.
        Command::SetWallet(change) => plain(&|| {
            let is_admin = role.is_none_or(|role| role == Role::Admin);
            settings::set(tx, change, is_admin).map(|settings| Receipt::Settings(Box::new(settings)))
        }),
        Command::GrantCoupon(GrantCoupon { user, kind }) => {
            plain(&|| verbs::grant_coupon(tx, user, kind).map(Receipt::Coupon))
        }
        Command::ClaimCoupon(ClaimCoupon { user, code }) => {
            plain(&|| verbs::claim_coupon(tx, user, code).map(Receipt::Coupon))
        }
        Command::SetTiers(SetTiers(tiers)) => {
            plain(&|| coupon::set_tiers(tx, tiers).map(|()| Receipt::Tiers(tiers.clone())))
        }
        Command::SetCouponKinds(SetCouponKinds(kinds)) => {
            plain(&|| coupon::set_kinds(tx, kinds).map(|()| Receipt::CouponKinds(kinds.clone())))
        }
        Command::MintToken(new) => plain(&|| {
            let minted = token::mint(tx, new, token::new_secret())?;
            Ok(Receipt::Minted(Box::new(minted)))
        }),
        Command::AdoptToken(AdoptToken(hash)) => plain(&|| token::adopt(tx, hash).map(Receipt::Token)),
        Command::RotateToken(rotate) => plain(&|| {
            let rotated = token::rotate(tx, rotate, by, token::new_secret())?;
            Ok(Receipt::Minted(Box::new(rotated)))
        }),
        Command::RevokeToken(RevokeToken(id)) => plain(&|| token::revoke(tx, id).map(Receipt::Token)),
        // Its items are applied one by one (`store::dry_run`).
        Command::NameBatch(_) | Command::TryEach(_) => plain(&|| Ok(Receipt::Named)),
        Command::Acquire(request) => Ok(match lease::acquire(tx, request, by)? {
            LockAttempt::Done(grant) => Verdict::done(Receipt::Granted(grant)),
            LockAttempt::Held(lock) => Verdict::Held { lock, needed: request.ids.clone() },
        }),
        Command::Renew(request) => {
            let (renewed, changed) = lease::renew(tx, request)?;
            Ok(Verdict::Done(Ok(Receipt::Renewed(renewed)), changed))
        }
        Command::Release(request) => {
            let released = lease::release(tx, request, by)?;
            Ok(Verdict::Done(released.lost.map_or(Ok(Receipt::Released), Err), released.freed))
        }
        Command::ReleaseUndelivered(ReleaseUndelivered(token)) => {
            let released = lease::release(tx, &ReleaseRequest { id: None, token: token.clone() }, by)?;
            Ok(Verdict::Done(Ok(Receipt::Released), released.freed))
        }
        Command::Revoke(request) => {
            let lock = lease::revoke(tx, request, by)?;
            Ok(Verdict::Done(Ok(Receipt::Revoked(Box::new(lock))), vec![request.id.clone()]))
        }
    }
}

/// Applies `rule` if each lock token still proves its lease and no other client holds a lock that is `needed`.
fn under_locks(
    tx: &WriteTx<'_>,
    tokens: &[LockToken],
    by: &str,
    needed: Vec<LockId>,
    rule: Rule<'_>,
) -> Result<Verdict, Error> {
    match lease::check(tx, tokens, &needed, by)? {
        LockAttempt::Done(authority) => {
            let receipt = rule(&authority, &needed)?;
            Ok(Verdict::Done(Ok(receipt), authority.freed))
        }
        LockAttempt::Held(lock) => Ok(Verdict::Held { lock, needed }),
    }
}

fn move_money(
    tx: &WriteTx<'_>,
    command: &MoneyCommand,
    role: Option<Role>,
    attribution: &Attribution<'_>,
) -> Result<Moved, Error> {
    match command {
        MoneyCommand::Recharge(recharge) => {
            if role == Some(Role::User) {
                ledger::check_half_of_bank(tx, recharge.amount)?;
            }
            verbs::recharge(tx, recharge, attribution)
        }
        MoneyCommand::Withdraw(withdraw) => verbs::withdraw(tx, withdraw, attribution),
        MoneyCommand::Pay(pay) => verbs::pay(tx, pay, attribution),
        MoneyCommand::Transfer(transfer) => verbs::transfer(tx, transfer, attribution),
        MoneyCommand::Refund(refund) => verbs::refund(tx, refund, attribution),
    }
}

/// Moves the money of each item, whose locks are `each`; the error of the first refused one gets its index.
fn move_all(
    tx: &WriteTx<'_>,
    items: &[MoneyCommand],
    each: &[Vec<LockId>],
    by: &str,
    role: Option<Role>,
    authority: &Authority,
) -> Result<Receipt, Error> {
    let done = items.iter().zip(each).enumerate().map(|(index, (item, needed))| {
        let fence = match item {
            // An earlier item may have made the entry: its locks are known only now.
            MoneyCommand::Refund(_) if needed.is_empty() => authority.fence_for(&locks_of(tx, item)?),
            _ => authority.fence_for(needed),
        };
        move_money(tx, item, role, &Attribution { by, fence }).map_err(|error| error.with("index", index))
    });
    done.collect::<Result<_, _>>().map(Receipt::Batch)
}

/// The locks of the users' wallets that a money verb touches, the payer's first.
fn locks_of(tx: &Tables<'_>, command: &MoneyCommand) -> Result<Vec<LockId>, Error> {
    let locks = |wallets: &[&WalletId]| wallets.iter().filter_map(|wallet| wallet.lock()).collect();
    Ok(match command {
        MoneyCommand::Recharge(Recharge { user, .. }) | MoneyCommand::Withdraw(Withdraw { user, .. }) => {
            locks(&[&user.wallet()])
        }
        MoneyCommand::Pay(Pay { user, to, .. }) => locks(&[&user.wallet(), to]),
        MoneyCommand::Transfer(Transfer { from, to, .. }) => locks(&[from, to]),
        MoneyCommand::Refund(Refund { entry, .. }) => match entry::entry(tx, *entry) {
            Ok(original) => locks(&[&original.to, &original.from]),
            Err(_) => Vec::new(), // `verbs::refund` refuses it: lock refusals come before that of the entry
        },
    })
}

/// Refuses a command that replaces a table which has not that tag.
pub(crate) fn check_unchanged(tx: &WriteTx<'_>, command: &Command, tag: &str) -> Result<(), Error> {
    let present: Command = match command {
        Command::SetTiers(_) => SetTiers(coupon::tiers(tx)?).into(),
        Command::SetCouponKinds(_) => SetCouponKinds(coupon::kinds(tx)?).into(),
        _ => return Ok(()),
    };
    if present.tag() == tag {
        return Ok(());
    }
    Err(Error::new(ErrorName::ChangedMeanwhile, "it is not as it was when you read it; read it again"))
}

impl Command {
    /// The tag of a table that this command would make: the same for the same rows.
    pub(crate) fn tag(&self) -> String {
        self.fingerprint().map(|fingerprint| secret::hex(&fingerprint)).unwrap_or_default()
    }

    /// The same 16 bytes for the same request, however it was written (`120` or `120.00`, form or JSON). None if its
    /// answer is never stored under a key: it carries a secret, or is repeated by one.
    pub fn fingerprint(&self) -> Option<[u8; 16]> {
        let mut text = Canonical::default();
        match self {
            Command::Money(money) => money.write(&mut text),
            Command::Batch(AtomicBatch(items)) => {
                text.field("batch").field(items.len());
                items.iter().for_each(|item| item.write(&mut text));
            }
            Command::CreateWallet(CreateWallet { user }) => _ = text.field("create-wallet").field(user),
            Command::SetWallet(change) => text.set_wallet(change),
            Command::GrantCoupon(GrantCoupon { user, kind }) => _ = text.field("coupon").field(user).field(kind),
            Command::ClaimCoupon(ClaimCoupon { user, code }) => _ = text.field("claim").field(user).field(code),
            Command::SetTiers(SetTiers(tiers)) => {
                text.field("tiers");
                tiers.iter().for_each(|tier| _ = text.field(tier.from).optional(tier.kind.as_ref()));
            }
            Command::SetCouponKinds(SetCouponKinds(kinds)) => {
                text.field("coupon-kinds");
                kinds.iter().for_each(|kind| text.coupon_kind(kind));
            }
            Command::RevokeToken(RevokeToken(id)) => _ = text.field("revoke-token").field(id),
            Command::NameBatch(NameBatch(items)) | Command::TryEach(TryEach { name: Some(NameBatch(items)), .. }) => {
                text.field("name-batch").field(secret::hex(items));
            }
            Command::Revoke(RevokeRequest { id, fence, delay_ms, reason }) => {
                text.field("revoke").field(id).field(fence.0).optional(delay_ms.as_ref()).optional(reason.as_ref());
            }
            Command::MintToken(_)
            | Command::TryEach(_)
            | Command::RotateToken(_)
            | Command::AdoptToken(_)
            | Command::Acquire(_)
            | Command::Renew(_)
            | Command::Release(_)
            | Command::ReleaseUndelivered(_) => return None,
        }
        Some(text.hash())
    }

    /// The same 16 bytes for the same request for locks: a client repeats it with the same secret.
    pub fn acquire_key(&self) -> Option<[u8; 16]> {
        let Command::Acquire(request) = self else { return None };
        let mut text = Canonical::default();
        text.field("acquire").field(request.secret.as_str());
        request.ids.iter().for_each(|id| _ = text.field(id));
        Some(text.hash())
    }
}

impl MoneyCommand {
    /// The client's own words about it.
    pub(crate) fn note(&self) -> &Note {
        match self {
            MoneyCommand::Recharge(Recharge { note, .. })
            | MoneyCommand::Withdraw(Withdraw { note, .. })
            | MoneyCommand::Pay(Pay { note, .. })
            | MoneyCommand::Transfer(Transfer { note, .. })
            | MoneyCommand::Refund(Refund { note, .. }) => note,
        }
    }

    /// As [`Command::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut text = Canonical::default();
        self.write(&mut text);
        text.hash()
    }

    fn write(&self, text: &mut Canonical) {
        match self {
            MoneyCommand::Recharge(Recharge { user, amount, note }) => {
                text.field("recharge").field(user).field(amount).note(note);
            }
            MoneyCommand::Withdraw(Withdraw { user, amount, note }) => {
                text.field("withdraw").field(user).field(amount).note(note);
            }
            MoneyCommand::Pay(Pay { user, to, gross, coupon, note }) => {
                text.field("pay").field(user).field(to).field(gross).optional(coupon.as_ref()).note(note);
            }
            MoneyCommand::Transfer(Transfer { from, to, amount, note }) => {
                text.field("transfer").field(from).field(to).field(amount).note(note);
            }
            MoneyCommand::Refund(Refund { entry, amount, note }) => {
                text.field("refund").field(entry.0).optional(amount.as_ref()).note(note);
            }
        }
    }
}

/// The canonical text of a command: its verb and its fields, each with its length before it, so that no two commands
/// read the same. Records in existing files hold its hash, so it never changes.
struct Canonical(Vec<u8>);

impl Default for Canonical {
    fn default() -> Canonical {
        Canonical(Vec::with_capacity(128))
    }
}

impl Canonical {
    fn field(&mut self, value: impl std::fmt::Display) -> &mut Canonical {
        let start = self.0.len() + 4;
        self.0.extend([0; 4]);
        let _ = write!(self.0, "{value}"); // writing to memory does not fail
        let length = (self.0.len() - start) as u32;
        self.0[start - 4..start].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn optional(&mut self, value: Option<impl std::fmt::Display>) -> &mut Canonical {
        match value {
            Some(value) => self.field(value),
            None => {
                self.0.extend(u32::MAX.to_be_bytes());
                self
            }
        }
    }

    fn note(&mut self, note: &Note) {
        self.optional(note.reference.as_ref()).optional(note.metadata.as_ref());
    }

    fn set_wallet(&mut self, change: &SetWallet) {
        let SetWallet { user, name, status, metadata, limit_per_payment, limit_per_day } = change;
        self.field("set-wallet").field(user);
        name.iter().for_each(|name| _ = self.field("name").optional(name.as_ref()));
        status.iter().for_each(|status| _ = self.field("status").field(status.as_str()));
        metadata.iter().for_each(|metadata| _ = self.field("metadata").optional(metadata.as_ref()));
        limit_per_payment.iter().for_each(|limit| _ = self.field("limit_per_payment").optional(limit.as_ref()));
        limit_per_day.iter().for_each(|limit| _ = self.field("limit_per_day").optional(limit.as_ref()));
    }

    fn coupon_kind(&mut self, kind: &CouponKind) {
        let CouponKind { kind, terms, earned_zh, earned_en, limits } = kind;
        match terms.off {
            Discount::Amount(amount) => self.field(kind).field("amount").field(amount),
            Discount::Percent(percent) => self.field(kind).field("percent").field(percent),
        };
        self.field(terms.threshold).field(terms.single_use).field(earned_zh).field(earned_en);
        if terms.max_off.is_none() && *limits == KindLimits::default() {
            return; // as before there were any
        }
        let KindLimits { valid_days, valid_from, valid_until, total, per_user, claim_code } = limits;
        self.field("+limits").optional(terms.max_off).optional(valid_days.as_ref()).optional(valid_from.as_ref());
        self.optional(valid_until.as_ref()).optional(total.as_ref()).optional(per_user.as_ref());
        self.optional(claim_code.as_ref());
    }

    fn hash(&self) -> [u8; 16] {
        secret::sha256_short(&self.0)
    }
}
