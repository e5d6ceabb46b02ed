//! Transfer: money from one wallet to another. Both must be there.

use super::{Attribution, EntryDetails, EntryKind, Moved, Note, post, wallet};
use crate::error::Error;
use crate::id::WalletId;
use crate::money::Money;
use crate::tx::WriteTx;

/// Transfers `amount`. That the two are not the same wallet is settled before it is a command.
pub fn transfer(
    tx: &WriteTx<'_>,
    from: &WalletId,
    to: &WalletId,
    amount: Money,
    note: &Note,
    act: &Attribution,
) -> Result<Moved, Error> {
    let from = wallet(tx, from)?;
    let to = wallet(tx, to)?;
    Ok(Moved::plain(post(tx, &from, &to, amount, EntryDetails::new(EntryKind::Transfer, act, note))?))
}
