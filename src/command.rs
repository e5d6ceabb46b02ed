//! The waist: every change to the file is a [`Command`], and its result is a [`Receipt`].
//!
//! A command is what the client said and nothing else — no clock, no new ids — so that the same request is always
//! the same canonical text. [`apply`] is the one place that knows which rule a command means. Each kind of command is a
//! type of its own ([`TypedCommand`]), which says what its receipt is.

mod fingerprint;
mod journaled;

use crate::error::{Error, ErrorName};
use crate::id::{ClaimCode, IdempotencyKey, LockId, LockToken, UserId, WalletId};
use crate::ledger::coupon::{self, Coupon, CouponKind, Tier};
use crate::ledger::entry::Entry;
use crate::ledger::hold::{self, CaptureHold, PlaceHold, VoidHold};
use crate::ledger::settings::{CreateWallet, SetWallet, WalletSettings};
use crate::ledger::verbs::{self, Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use crate::ledger::{self, Attribution, Wallet, entry};
use crate::lock::lease::{
    self, AcquireRequest, Authority, Grant, LockAttempt, ReleaseRequest, RenewRequest, Renewed, RevokeRequest,
};
use crate::lock::{self, Lock};
use crate::secret::Hash;
use crate::token::{AccessToken, MintedToken, NewToken, Role, RotateToken};
use crate::tx::{Tables, WriteTx};
use std::collections::BTreeSet;

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

impl Command {
    /// True if it is carried out also when little space is left: it keeps or ends a lease, or ends an access token, and
    /// writes a few hundred bytes.
    pub(crate) fn is_urgent(&self) -> bool {
        use Command::{ReleaseUndelivered, Renew, Revoke, RevokeToken};
        matches!(self, Renew(_) | Command::Release(_) | Revoke(_) | ReleaseUndelivered(_) | RevokeToken(_))
    }
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
    /// Money of a wallet reserved for a receiver.
    Hold(PlaceHold),
    /// Reserved money to its receiver.
    Capture(CaptureHold),
    /// Reserved money back.
    Void(VoidHold),
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

impl Receipt {
    /// The entries of the movements that it is for.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let moved = match self {
            Receipt::Moved(moved) => std::slice::from_ref(&**moved),
            Receipt::Batch(all) => all,
            _ => &[],
        };
        moved.iter().flat_map(|moved| {
            let released = moved.hold.as_ref().and_then(|step| step.released.as_ref());
            [Some(&moved.entry), released].into_iter().flatten()
        })
    }
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
    PlaceHold => Moved, |it| Command::Money(MoneyCommand::Hold(it));
    CaptureHold => Moved, |it| Command::Money(MoneyCommand::Capture(it));
    VoidHold => Moved, |it| Command::Money(MoneyCommand::Void(it));
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
type Rule<'a> = &'a dyn Fn(&Authority, &NeededLocks) -> Result<Receipt, Error>;

/// The locks of a command.
#[derive(Default)]
struct NeededLocks {
    /// It waits for these.
    needed: Vec<LockId>,
    /// It goes on without these, and does less.
    wanted: Vec<LockId>,
}

/// Carries the command out for `by`, under the lock tokens presented with it. `role` is that of the access token, if there
/// is one.
pub(crate) fn apply(
    tx: &WriteTx<'_>,
    command: &Command,
    by: &str,
    role: Option<Role>,
    tokens: &[LockToken],
) -> Result<Verdict, Error> {
    let guarded = |locks, rule: Rule<'_>| under_locks(tx, tokens, by, locks, rule);
    let plain = |rule: &dyn Fn() -> Result<Receipt, Error>| guarded(NeededLocks::default(), &|_, _| rule());
    match command {
        Command::Money(money) => guarded(locks_of(tx, money)?, &|authority, locks| {
            let caller = MoneyCaller { by, role, authority };
            move_money(tx, money, &caller, &locks.needed).map(|moved| Receipt::Moved(Box::new(moved)))
        }),
        Command::Batch(AtomicBatch(items)) => {
            let each: Vec<NeededLocks> = items.iter().map(|item| locks_of(tx, item)).collect::<Result<_, _>>()?;
            let needed: BTreeSet<LockId> = each.iter().flat_map(|locks| &locks.needed).cloned().collect();
            let wanted: BTreeSet<LockId> = each.iter().flat_map(|locks| &locks.wanted).cloned().collect();
            let all = NeededLocks {
                wanted: wanted.difference(&needed).cloned().collect(),
                needed: needed.into_iter().collect(),
            };
            guarded(all, &|authority, all| move_all(tx, items, &each, all, &MoneyCaller { by, role, authority }))
        }
        Command::CreateWallet(create) => plain(&|| create.carry_out(tx, by).map(Receipt::Wallet)),
        // Without the wallet's lock: freezing acts at once, also on requests that wait for the lock.
        Command::SetWallet(change) => plain(&|| {
            let is_admin = role.is_none_or(|role| role == Role::Admin);
            change.carry_out(tx, is_admin, by).map(|settings| Receipt::Settings(Box::new(settings)))
        }),
        Command::GrantCoupon(grant) => plain(&|| grant.carry_out(tx, by).map(Receipt::Coupon)),
        Command::ClaimCoupon(claim) => plain(&|| claim.carry_out(tx, by).map(Receipt::Coupon)),
        Command::SetTiers(set) => plain(&|| set.carry_out(tx, by).map(Receipt::Tiers)),
        Command::SetCouponKinds(set) => plain(&|| set.carry_out(tx, by).map(Receipt::CouponKinds)),
        Command::MintToken(new) => plain(&|| new.carry_out(tx, by).map(|minted| Receipt::Minted(Box::new(minted)))),
        Command::AdoptToken(adopt) => plain(&|| adopt.carry_out(tx, by).map(Receipt::Token)),
        Command::RotateToken(rotate) => {
            plain(&|| rotate.carry_out(tx, by).map(|rotated| Receipt::Minted(Box::new(rotated))))
        }
        Command::RevokeToken(revoke) => plain(&|| revoke.carry_out(tx, by).map(Receipt::Token)),
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
            let released =
                lease::release(tx, &ReleaseRequest { id: None, token: token.clone(), min_hold_ms: Some(0) }, by)?;
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
    locks: NeededLocks,
    rule: Rule<'_>,
) -> Result<Verdict, Error> {
    match lease::check(tx, tokens, &locks.needed, &locks.wanted, by)? {
        LockAttempt::Done(authority) => {
            let receipt = rule(&authority, &locks)?;
            Ok(Verdict::Done(Ok(receipt), authority.freed))
        }
        LockAttempt::Held(lock) => Ok(Verdict::Held { lock, needed: locks.needed }),
    }
}

/// The caller of a money verb, and the leases it has proved.
struct MoneyCaller<'a> {
    by: &'a str,
    role: Option<Role>,
    authority: &'a Authority,
}

impl MoneyCaller<'_> {
    /// The attribution of an entry between the wallets of these locks.
    fn attribution(&self, locks: &[LockId]) -> Attribution<'_> {
        Attribution { by: self.by, fence: self.authority.fence_for(locks) }
    }
}

fn move_money(
    tx: &WriteTx<'_>,
    command: &MoneyCommand,
    caller: &MoneyCaller<'_>,
    needed: &[LockId],
) -> Result<Moved, Error> {
    let attribution = &caller.attribution(needed);
    match command {
        MoneyCommand::Recharge(recharge) => {
            if caller.role == Some(Role::User) {
                ledger::check_half_of_bank(tx, recharge.amount)?;
            }
            verbs::recharge(tx, recharge, attribution)
        }
        MoneyCommand::Withdraw(withdraw) => verbs::withdraw(tx, withdraw, attribution),
        MoneyCommand::Pay(pay) => verbs::pay(tx, pay, attribution),
        MoneyCommand::Transfer(transfer) => verbs::transfer(tx, transfer, attribution),
        MoneyCommand::Refund(refund) => verbs::refund(tx, refund, attribution),
        MoneyCommand::Hold(place) => hold::place(tx, place, attribution).map(Moved::from),
        MoneyCommand::Void(void) => hold::void(tx, void, attribution).map(Moved::from),
        MoneyCommand::Capture(capture) => {
            let lock = hold::parties(tx, capture.hold)?.0.lock();
            let locks = lock.as_slice();
            let is_missing = locks.iter().any(|lock| caller.authority.missing.contains(lock));
            let release = (!is_missing).then(|| caller.attribution(locks));
            hold::capture(tx, capture, attribution, release.as_ref()).map(Moved::from)
        }
    }
}

/// Moves the money of each item, whose locks are `each` and `all` together; the error of the first refused one gets its
/// index.
fn move_all(
    tx: &WriteTx<'_>,
    items: &[MoneyCommand],
    each: &[NeededLocks],
    all: &NeededLocks,
    caller: &MoneyCaller<'_>,
) -> Result<Receipt, Error> {
    let newest_before = tx.chain_head().id;
    let done = items.iter().zip(each).enumerate().map(|(index, (item, locks))| {
        move_item(tx, item, locks, all, newest_before, caller).map_err(|error| error.with("index", index))
    });
    done.collect::<Result<_, _>>().map(Receipt::Batch)
}

fn move_item(
    tx: &WriteTx<'_>,
    item: &MoneyCommand,
    locks: &NeededLocks,
    all: &NeededLocks,
    newest_before: i64,
    caller: &MoneyCaller<'_>,
) -> Result<Moved, Error> {
    match item {
        // A client cannot know the number of a hold that the same batch makes.
        MoneyCommand::Capture(CaptureHold { hold, .. }) | MoneyCommand::Void(VoidHold { hold, .. })
            if hold.0 > newest_before =>
        {
            Err(hold::not_found(*hold))
        }
        // An earlier item may have made the entry: its locks are known only now.
        MoneyCommand::Refund(_) if locks.needed.is_empty() => {
            let needed = locks_of(tx, item)?.needed;
            for id in needed.iter().filter(|id| !all.needed.contains(id)) {
                if lock::find(tx, id)?.is_some() {
                    return Err(lock::locked(tx, id, tx.now())?);
                }
            }
            move_money(tx, item, caller, &needed)
        }
        _ => move_money(tx, item, caller, &locks.needed),
    }
}

/// The locks of the users' wallets that a money verb touches, the payer's first.
fn locks_of(tx: &Tables<'_>, command: &MoneyCommand) -> Result<NeededLocks, Error> {
    let locks = |wallets: &[&WalletId]| wallets.iter().filter_map(|wallet| wallet.lock()).collect();
    let needed = match command {
        MoneyCommand::Recharge(Recharge { user, .. }) | MoneyCommand::Withdraw(Withdraw { user, .. }) => {
            locks(&[&user.wallet()])
        }
        MoneyCommand::Pay(Pay { user, to, .. }) => locks(&[&user.wallet(), to]),
        MoneyCommand::Transfer(Transfer { from, to, .. }) => locks(&[from, to]),
        MoneyCommand::Refund(Refund { entry, .. }) => match entry::entry(tx, *entry) {
            Ok(original) => locks(&[&original.to, &verbs::refund_receiver(tx, &original)?]),
            Err(_) => Vec::new(), // `verbs::refund` refuses it: lock refusals come before that of the entry
        },
        MoneyCommand::Hold(PlaceHold { user, .. }) => locks(&[&user.wallet()]),
        MoneyCommand::Void(VoidHold { hold, .. }) => {
            hold::parties(tx, *hold).map_or_else(|_| Vec::new(), |(wallet, _)| locks(&[&wallet]))
        }
        // The lock of the wallet that holds is not needed: else its owner could keep a capture waiting until the hold expires.
        MoneyCommand::Capture(CaptureHold { hold, is_final, .. }) => match hold::parties(tx, *hold) {
            Ok((wallet, to)) => {
                let wanted = if *is_final { locks(&[&wallet]) } else { Vec::new() };
                return Ok(NeededLocks { needed: locks(&[&to]), wanted });
            }
            Err(_) => Vec::new(),
        },
    };
    Ok(NeededLocks { needed, wanted: Vec::new() })
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
