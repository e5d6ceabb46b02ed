//! A wallet at an earlier time.

use super::query::{last_entry_before, newest_entry};
use super::report::{self, QUARTER_MS, quarter_of, totals_before};
use super::wallet::Wallet;
use crate::error::Error;
use crate::id::WalletId;
use crate::money::Balance;
use crate::tx::{ReadTx, RunningTotals, params};

/// The wallet as it was at `time`, entries made at that very millisecond included.
pub(crate) fn wallet_as_of(tx: &ReadTx<'_>, id: &WalletId, time: i64) -> Result<Wallet, Error> {
    let now = super::wallet(tx, id)?;
    let last = last_entry_before(tx, time.saturating_add(1))?;
    let at = tx.one("SELECT at FROM entry WHERE id = $1", params![last], |row| row.get(0))?;
    let Some(at) = at else { return Ok(Wallet::empty(id.clone())) };
    let counted = |first, last| count(tx, id, first, last);
    let (balance, entries) = match id {
        id if *id == WalletId::BANK => {
            let has_others = now.entries != counts(&report::newest(tx)?, &["recharge", "withdraw"]);
            let others = |last| if has_others { refunds_and_transfers(tx, last) } else { Ok(0) };
            let entries = count_by_totals(tx, (last, at), &["recharge", "withdraw"], counted, others)?;
            (balance_of_bank(tx, last, at)?, entries)
        }
        id if *id == WalletId::HOLDS => {
            let entries = count_by_totals(tx, (last, at), &["hold", "capture", "release"], counted, |_| Ok(0))?;
            (balance_after(tx, id, last)?, entries)
        }
        id => {
            let newest = newest_entry(tx)?;
            let is_early = last < newest / 2; // counted from the nearer end
            let entries = if is_early { counted(1, last)? } else { now.entries - counted(last + 1, newest)? };
            (balance_after(tx, id, last)?, entries)
        }
    };
    Ok(Wallet::plain(id.clone(), balance, entries))
}

/// The number of the wallet's entries from the number `first` to `last`.
fn count(tx: &ReadTx<'_>, id: &WalletId, first: i64, last: i64) -> Result<i64, Error> {
    let sql = match *id == WalletId::BANK {
        true => "SELECT count(*) FROM entry WHERE $1 IN (from_wallet, to_wallet) AND id BETWEEN $2 AND $3",
        false => {
            "SELECT (SELECT count(*) FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id BETWEEN $2 AND $3) \
             + (SELECT count(*) FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id BETWEEN $2 AND $3)"
        }
    };
    Ok(tx.one(sql, params![id, first, last], |row| row.get(0))?.unwrap_or(0))
}

fn balance_after(tx: &ReadTx<'_>, id: &WalletId, last: i64) -> Result<Balance, Error> {
    let sql = "SELECT balance FROM (SELECT id, from_balance AS balance FROM entry WHERE id = \
               (SELECT max(id) FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id <= $2) \
               UNION ALL SELECT id, to_balance FROM entry WHERE id = \
               (SELECT max(id) FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id <= $2) \
               ORDER BY id DESC LIMIT 1) AS newest";
    Ok(tx.one(sql, params![id, last], |row| row.get(0))?.unwrap_or(Balance::ZERO))
}

/// No index has the entries of `@bank`, because nearly every entry is one of them.
fn balance_of_bank(tx: &ReadTx<'_>, last: i64, at: i64) -> Result<Balance, Error> {
    let start = last_entry_before(tx, quarter_of(at).saturating_mul(QUARTER_MS))?;
    let sql = "SELECT CASE from_wallet WHEN '@bank' THEN from_balance ELSE to_balance END FROM entry \
               WHERE id BETWEEN $1 AND $2 AND '@bank' IN (from_wallet, to_wallet) ORDER BY id DESC LIMIT 1";
    match tx.one(sql, params![start + 1, last], |row| row.get(0))? {
        Some(balance) => Ok(balance),
        // It is within 64 bits, as each balance of a wallet.
        None => Ok(Balance::from_cents(totals_before(tx, quarter_of(at))?.of_bank() as i64)),
    }
}

/// The number of a wallet's entries up to the number `last`, made at `at`: those of these kinds by the totals of the report,
/// which leave those of half a quarter of an hour to count, and `others`, up to a number.
fn count_by_totals(
    tx: &ReadTx<'_>,
    (last, at): (i64, i64),
    kinds: &[&str],
    counted: impl Fn(i64, i64) -> Result<i64, Error>,
    others: impl Fn(i64) -> Result<i64, Error>,
) -> Result<i64, Error> {
    let (this, next) = (quarter_of(at), quarter_of(at).saturating_add(1));
    let start = last_entry_before(tx, this.saturating_mul(QUARTER_MS))?;
    let end = last_entry_before(tx, next.saturating_mul(QUARTER_MS))?;
    Ok(match last - start <= end - last {
        true => counts(&totals_before(tx, this)?, kinds) + others(start)? + counted(start + 1, last)?,
        false => counts(&totals_before(tx, next)?, kinds) + others(end)? - counted(last + 1, end)?,
    })
}

fn counts(totals: &RunningTotals, kinds: &[&str]) -> i64 {
    kinds.iter().map(|kind| totals.of(kind).count).sum()
}

/// The number of the other entries of `@bank` up to the number `last`: refunds of recharges, withdrawals and transfers, and
/// transfers from `@sales`. All refunds, and what left `@sales`, are looked at.
fn refunds_and_transfers(tx: &ReadTx<'_>, last: i64) -> Result<i64, Error> {
    let sql = "SELECT (SELECT count(*) FROM entry WHERE refunds IS NOT NULL AND '@bank' IN (from_wallet, to_wallet) \
               AND id <= $1) \
               + (SELECT count(*) FROM entry WHERE from_wallet = '@sales' AND from_wallet <> '@bank' AND to_wallet = '@bank' \
               AND refunds IS NULL AND id <= $1)";
    Ok(tx.one(sql, params![last], |row| row.get(0))?.unwrap_or(0))
}
