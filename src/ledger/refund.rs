//! Refund: an earlier entry's amount back, whole or in parts, never more than is left of it.

use super::entry::entry;
use super::{Attribution, Entry, EntryDetails, EntryKind, Moved, Note, coupon, post, wallet};
use crate::error::{Error, ErrorName};
use crate::id::EntryId;
use crate::money::{Cents, Money};
use crate::tx::{ReadTx, WriteTx, params};

/// Refunds `amount` of the entry, or all that is left of it.
pub fn refund(
    tx: &WriteTx<'_>,
    id: EntryId,
    amount: Option<Money>,
    note: &Note,
    act: &Attribution,
) -> Result<Moved, Error> {
    let original = entry(tx, id)?;
    if original.kind == EntryKind::Refund {
        let detail = format!("entry {} is a refund itself, and a refund is final", id.0);
        return Err(Error::new(ErrorName::NotRefundable, detail));
    }
    let left = left_of(tx, &original)?.ok_or_else(|| already_refunded(id))?;
    let amount = amount.unwrap_or(left);
    if amount > left {
        return Err(refund_exceeds(id, left, amount));
    }
    let from = wallet(tx, &original.to)?;
    let to = wallet(tx, &original.from)?;
    if original.kind == EntryKind::Recharge {
        coupon::must_not_be_used(tx, original.coupon.as_ref())?;
    }
    let entry = post(
        tx,
        &from,
        &to,
        amount,
        EntryDetails { refunds: Some(id), ..EntryDetails::new(EntryKind::Refund, act, note) },
    )?;
    match (original.kind, &original.coupon) {
        (EntryKind::Recharge, Some(code)) => coupon::take_away(tx, code, entry.id)?,
        (EntryKind::Pay, Some(code)) if amount == left => coupon::give_back(tx, code)?,
        _ => {}
    }
    Ok(Moved::plain(entry))
}

/// What has not been given back yet; nothing is `None`.
pub fn left_of(tx: &ReadTx<'_>, original: &Entry) -> Result<Option<Money>, Error> {
    let sum = "SELECT coalesce(sum(amount), 0) FROM entry WHERE refunds = $1";
    let refunded = tx.one(sum, params![original.id], |row| row.get::<_, i64>(0))?.unwrap_or(0);
    Ok(Money::from_cents(original.amount.cents() - refunded))
}

fn already_refunded(id: EntryId) -> Error {
    Error::new(ErrorName::AlreadyRefunded, format!("entry {} has been refunded in full", id.0))
}

fn refund_exceeds(id: EntryId, left: Money, amount: Money) -> Error {
    let detail = format!("{} of entry {} is left to refund, not {amount}", Cents(left.cents()), id.0);
    Error::new(ErrorName::RefundExceeds, detail).with("left", left.to_string()).with("needed", amount.to_string())
}
