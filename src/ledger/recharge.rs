//! Recharge: money from the outside world into a wallet, and the coupon its tier earns, in one commit.

use super::{Attribution, EntryDetails, EntryKind, Moved, Note, coupon, post, wallet, wallet_or_new};
use crate::error::Error;
use crate::id::{UserId, WalletId};
use crate::money::Money;
use crate::tx::WriteTx;

/// Recharges the user's wallet, which the first recharge creates.
pub fn recharge(
    tx: &WriteTx<'_>,
    user: &UserId,
    amount: Money,
    note: &Note,
    act: &Attribution,
) -> Result<Moved, Error> {
    let to = wallet_or_new(tx, user)?;
    let from = wallet(tx, &WalletId::BANK)?;
    let earned = coupon::earned_by(tx, amount)?;
    let code = earned.is_some().then(|| coupon::draw_code(tx)).transpose()?;
    let entry = post(
        tx,
        &from,
        &to,
        amount,
        EntryDetails { coupon: code.as_ref(), ..EntryDetails::new(EntryKind::Recharge, act, note) },
    )?;
    let Some((kind, code)) = earned.zip(code) else { return Ok(Moved::plain(entry)) };
    let coupon = coupon::grant(tx, code, user, &kind, Some(entry.id))?;
    Ok(Moved { entry, coupon: Some(coupon), message: Some((kind.earned_zh, kind.earned_en)) })
}
