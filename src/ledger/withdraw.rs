//! Withdraw: money from a wallet to the outside world.

use super::{Attribution, EntryDetails, EntryKind, Moved, Note, post, wallet};
use crate::error::Error;
use crate::id::{UserId, WalletId};
use crate::money::Money;
use crate::tx::WriteTx;

/// Withdraws from the user's wallet what it has, and never more.
pub fn withdraw(
    tx: &WriteTx<'_>,
    user: &UserId,
    amount: Money,
    note: &Note,
    act: &Attribution,
) -> Result<Moved, Error> {
    let from = wallet(tx, &user.wallet())?;
    let to = wallet(tx, &WalletId::BANK)?;
    Ok(Moved::plain(post(tx, &from, &to, amount, EntryDetails::new(EntryKind::Withdraw, act, note))?))
}
