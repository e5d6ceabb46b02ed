//! The money verbs. Each is what a client asks for and its rule: check everything, then write.
//!
//! Refusals come in the order of `error`: the entry or the wallets first, then the coupon, then the funds.

use super::coupon::{self, Coupon, CouponKind, Price};
use super::entry::{self, Entry, EntryKind};
use super::hold::{self, HoldStep};
use super::wallet::{Wallet, check_not_closed, check_open, current, find_current, insert_wallet};
use super::{Attribution, EntryDetails, Note, post};
use crate::error::{Error, ErrorName};
use crate::id::{ClaimCode, CouponCode, EntryId, UserId, WalletId};
use crate::money::{Cents, Money};
use crate::tx::{Tables, WriteTx, params};

/// Money from the outside world into a wallet, and the coupon that the amount's tier earns.
#[derive(Clone, Debug, PartialEq)]
pub struct Recharge {
    /// The receiver; the first recharge creates the wallet.
    pub user: UserId,
    /// The amount received.
    pub amount: Money,
    /// Kept with the entry.
    pub note: Note,
}

/// Money from a wallet to the outside world.
#[derive(Clone, Debug, PartialEq)]
pub struct Withdraw {
    /// The giver.
    pub user: UserId,
    /// At most the balance.
    pub amount: Money,
    /// Kept with the entry.
    pub note: Note,
}

/// Money for something bought, less the discount of a coupon.
#[derive(Clone, Debug, PartialEq)]
pub struct Pay {
    /// The payer.
    pub user: UserId,
    /// The receiver: `@sales` or another user's wallet.
    pub to: WalletId,
    /// The price before the discount.
    pub gross: Money,
    /// The payer's coupon.
    pub coupon: Option<CouponCode>,
    /// Kept with the entry.
    pub note: Note,
}

/// Money from one wallet to another. The two differ: the request was checked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The giver.
    pub from: WalletId,
    /// The receiver, which must have a wallet.
    pub to: WalletId,
    /// At most the giver's balance.
    pub amount: Money,
    /// Kept with the entry.
    pub note: Note,
}

/// The money of an earlier entry back, all at once or in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Refund {
    /// The entry; not itself a refund.
    pub entry: EntryId,
    /// A part; none for all that is left.
    pub amount: Option<Money>,
    /// Kept with the entry.
    pub note: Note,
}

/// The receipt of a money verb.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// let moved = cashbox.recharge(&alice, "300".parse()?)?;
/// let coupon = moved.coupon.ok_or("no coupon earned")?;
/// assert_eq!(moved.entry.coupon, Some(coupon.code));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moved {
    /// The movement.
    pub entry: Entry,
    /// The coupon that a recharge earned, as it was granted.
    pub coupon: Option<Coupon>,
    /// The sentence of the earned coupon's kind, in Chinese and English.
    pub message: Option<(String, String)>,
    /// True for the recharge that created the wallet.
    pub created: bool,
    /// The hold that this is a step of.
    pub hold: Option<Box<HoldStep>>,
}

impl From<Entry> for Moved {
    fn from(entry: Entry) -> Moved {
        Moved { entry, coupon: None, message: None, created: false, hold: None }
    }
}

impl From<(Entry, HoldStep)> for Moved {
    fn from((entry, step): (Entry, HoldStep)) -> Moved {
        Moved { hold: Some(Box::new(step)), ..entry.into() }
    }
}

/// Recharges the user's wallet.
pub(crate) fn recharge(tx: &WriteTx<'_>, recharge: &Recharge, attribution: &Attribution<'_>) -> Result<Moved, Error> {
    let Recharge { user, amount, note } = recharge;
    let to = user.wallet();
    let found = find_current(tx, &to)?;
    let is_new = found.is_none();
    let to = found.unwrap_or_else(|| Wallet::empty(to));
    let from = current(tx, &WalletId::BANK)?;
    // Refused before anything is written: a plain run need not be taken back.
    check_open(&from, &to)?;
    from.after_giving(*amount)?;
    to.after_receiving(*amount)?;
    if is_new {
        insert_wallet(tx, to.id.clone())?;
    }
    let earned = available(tx, coupon::earned_by(tx, *amount)?, user)?;
    let code = earned.is_some().then(|| coupon::draw_code(tx)).transpose()?;
    let details = EntryDetails { coupon: code.as_ref(), ..EntryDetails::new(EntryKind::Recharge, attribution, note) };
    let entry = post(tx, &from, &to, *amount, details)?;
    let moved = Moved { created: is_new, ..entry.into() };
    let Some((kind, code)) = earned.zip(code) else { return Ok(moved) };
    let coupon = coupon::grant(tx, code, user, &kind, Some(moved.entry.id))?;
    Ok(Moved { coupon: Some(coupon), message: Some((kind.earned_zh, kind.earned_en)), ..moved })
}

/// The kind, unless it is used up or out of its dates: a recharge never fails because of its coupon.
fn available(tx: &WriteTx<'_>, earned: Option<CouponKind>, user: &UserId) -> Result<Option<CouponKind>, Error> {
    let Some(kind) = earned else { return Ok(None) };
    match coupon::check_available(tx, &kind, user) {
        Ok(()) => Ok(Some(kind)),
        Err(error) if error.name.is_refusal() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Withdraws from the user's wallet.
pub(crate) fn withdraw(tx: &WriteTx<'_>, withdraw: &Withdraw, attribution: &Attribution<'_>) -> Result<Moved, Error> {
    let from = current(tx, &withdraw.user.wallet())?;
    let to = current(tx, &WalletId::BANK)?;
    let details = EntryDetails::new(EntryKind::Withdraw, attribution, &withdraw.note);
    post(tx, &from, &to, withdraw.amount, details).map(Moved::from)
}

/// Pays the price, by the coupon's terms if there is one.
pub(crate) fn pay(tx: &WriteTx<'_>, pay: &Pay, attribution: &Attribution<'_>) -> Result<Moved, Error> {
    let Pay { user, to, gross, coupon, note } = pay;
    let from = current(tx, &user.wallet())?;
    let to = current(tx, to)?;
    check_open(&from, &to)?;
    let coupon = coupon.as_ref().map(|code| coupon::coupon_of(tx, code, user)).transpose()?;
    let price = match &coupon {
        Some(coupon) => coupon.price(*gross, tx.steady_wall_ms())?,
        None => Price { amount: *gross, discount: Cents(0) },
    };
    let details = EntryDetails {
        coupon: coupon.as_ref().map(|coupon| &coupon.code),
        price: Some((*gross, price.discount)),
        ..EntryDetails::new(EntryKind::Pay, attribution, note)
    };
    let entry = post(tx, &from, &to, price.amount, details)?;
    if let Some(coupon) = &coupon {
        coupon::count_use(tx, &coupon.code, 1)?;
    }
    Ok(entry.into())
}

/// Transfers between two wallets.
pub(crate) fn transfer(tx: &WriteTx<'_>, transfer: &Transfer, attribution: &Attribution<'_>) -> Result<Moved, Error> {
    let from = current(tx, &transfer.from)?;
    let to = current(tx, &transfer.to)?;
    let details = EntryDetails::new(EntryKind::Transfer, attribution, &transfer.note);
    post(tx, &from, &to, transfer.amount, details).map(Moved::from)
}

/// Refunds a part of the entry or all that is left of it. The refund that completes a payment gives its coupon back;
/// the first refund of a recharge takes the earned coupon away. The money of a capture goes back to the wallet that held.
pub(crate) fn refund(tx: &WriteTx<'_>, refund: &Refund, attribution: &Attribution<'_>) -> Result<Moved, Error> {
    let id = refund.entry;
    let original = entry::entry(tx, id)?;
    let from = current(tx, &original.to)?;
    let to = current(tx, &refund_receiver(tx, &original)?)?;
    check_open(&from, &to)?;
    let why = match original.kind {
        EntryKind::Refund => Some("is a refund itself, and a refund is final"),
        EntryKind::Hold => Some("only reserves money: void the hold"),
        EntryKind::Release => Some("has given reserved money back already"),
        _ => None,
    };
    if let Some(why) = why {
        return Err(Error::new(ErrorName::NotRefundable, format!("entry {} {why}", id.0)));
    }
    let left = left_to_refund(tx, &original)?.ok_or_else(|| already_refunded(id))?;
    let amount = refund.amount.unwrap_or(left);
    if amount > left {
        return Err(refund_exceeds(id, left, amount));
    }
    if original.kind == EntryKind::Recharge {
        coupon::check_unused(tx, original.coupon.as_ref())?;
    }
    let details = EntryDetails {
        refunds: Some((id, original.kind)),
        ..EntryDetails::new(EntryKind::Refund, attribution, &refund.note)
    };
    let entry = post(tx, &from, &to, amount, details)?;
    match (original.kind, &original.coupon) {
        (EntryKind::Recharge, Some(code)) => coupon::take_back(tx, code, entry.id)?,
        (EntryKind::Pay | EntryKind::Capture, Some(code)) if amount == left => coupon::count_use(tx, code, -1)?,
        _ => {}
    }
    Ok(entry.into())
}

/// The wallet that the money of an entry goes back to: the one it came from, which for a capture is the one that held.
pub(crate) fn refund_receiver(tx: &Tables<'_>, original: &Entry) -> Result<WalletId, Error> {
    match original.hold {
        Some(id) if original.kind == EntryKind::Capture => Ok(hold::parties(tx, id)?.0),
        _ => Ok(original.from.clone()),
    }
}

/// Grants a coupon of that kind to a user with a wallet.
pub(crate) fn grant_coupon(tx: &WriteTx<'_>, user: &UserId, kind: &str) -> Result<Coupon, Error> {
    check_not_closed(&current(tx, &user.wallet())?)?;
    let kind = coupon::find_kind(tx, kind)?.ok_or_else(|| {
        Error::new(
            ErrorName::CouponKindNotFound,
            format!("there is no coupon kind {kind}; GET /v1/coupon-kinds lists them"),
        )
    })?;
    give(tx, user, &kind)
}

/// Gives the user a coupon of the kind with that claim code.
pub(crate) fn claim_coupon(tx: &WriteTx<'_>, user: &UserId, code: &ClaimCode) -> Result<Coupon, Error> {
    check_not_closed(&current(tx, &user.wallet())?)?;
    give(tx, user, &coupon::claimed_kind(tx, code)?)
}

fn give(tx: &WriteTx<'_>, user: &UserId, kind: &CouponKind) -> Result<Coupon, Error> {
    coupon::check_available(tx, kind, user)?;
    let code = coupon::draw_code(tx)?;
    coupon::grant(tx, code, user, kind, None)
}

/// The most refunds that are named with their entry.
const REFUNDS_SHOWN: i64 = 100;

/// The part of the entry that no refund has given back; none once it is refunded in full.
pub(crate) fn left_to_refund(tx: &Tables<'_>, original: &Entry) -> Result<Option<Money>, Error> {
    let sum = "SELECT coalesce(sum(amount), 0) FROM entry WHERE refunds = $1";
    let refunded = tx.one(sum, params![original.id], |row| row.get::<i64>(0))?.unwrap_or(0);
    Ok(Money::from_cents(original.amount.cents() - refunded))
}

/// The part of the entry that can still be refunded; none if it never can be, or not any more.
pub(crate) fn refundable(tx: &Tables<'_>, entry: &Entry) -> Result<Option<Money>, Error> {
    let never = [EntryKind::Refund, EntryKind::Hold, EntryKind::Release].contains(&entry.kind);
    if never { Ok(None) } else { left_to_refund(tx, entry) }
}

/// The entries that refund it, oldest first.
pub(crate) fn refunds_of(tx: &Tables<'_>, id: EntryId) -> Result<Vec<i64>, Error> {
    tx.all("SELECT id FROM entry WHERE refunds = $1 ORDER BY id LIMIT $2", params![id, REFUNDS_SHOWN], |row| row.get(0))
}

fn already_refunded(id: EntryId) -> Error {
    Error::new(ErrorName::AlreadyRefunded, format!("entry {} has been refunded in full", id.0))
}

fn refund_exceeds(id: EntryId, left: Money, amount: Money) -> Error {
    let detail = format!("{} of entry {} is left to refund, not {amount}", Cents(left.cents()), id.0);
    Error::new(ErrorName::RefundExceeds, detail).with("left", left.to_string()).with("needed", amount.to_string())
}
