//! Pay: money from a wallet for something bought, less what a coupon takes off.

use super::{Attribution, EntryDetails, EntryKind, Moved, Note, coupon, post, wallet};
use crate::error::Error;
use crate::id::{CouponCode, UserId, WalletId};
use crate::money::{Cents, Money};
use crate::tx::WriteTx;

/// Pays `gross` to `to`, by the coupon's terms if there is one. Wallets are asked first, then the coupon, then funds.
pub fn pay(
    tx: &WriteTx<'_>,
    user: &UserId,
    to: &WalletId,
    gross: Money,
    code: Option<&CouponCode>,
    note: &Note,
    act: &Attribution,
) -> Result<Moved, Error> {
    let from = wallet(tx, &user.wallet())?;
    let to = wallet(tx, to)?;
    let coupon = code.map(|code| coupon::of_user(tx, code, user)).transpose()?;
    let price = match &coupon {
        Some(coupon) => coupon.price(gross)?,
        None => coupon::Price { amount: gross, discount: Cents(0) },
    };
    let why = EntryDetails {
        coupon: coupon.as_ref().map(|coupon| &coupon.code),
        price: Some((gross, price.discount)),
        ..EntryDetails::new(EntryKind::Pay, act, note)
    };
    let entry = post(tx, &from, &to, price.amount, why)?;
    if let Some(coupon) = &coupon {
        coupon::use_once(tx, &coupon.code)?;
    }
    Ok(Moved::plain(entry))
}
