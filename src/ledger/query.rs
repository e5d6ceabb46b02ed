//! Questions about wallets, entries and coupons. Every list comes in pages.

use super::coupon::{Coupon, coupon_columns};
use super::entry::entry_columns;
use super::entry::{Entry, EntryKind};
use super::wallet::Wallet;
use crate::error::Error;
use crate::id::{CouponCode, UserId, WalletId};
use crate::money::Balance;
use crate::tx::{ReadTx, params};

/// One page of a list, and whether there is more behind it.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Set if another row follows.
    pub more: bool,
}

/// Cuts off the one row more than `limit` that was asked for: its presence means that another page follows.
fn page<T>(mut rows: Vec<T>, limit: usize) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    Page { rows, more }
}

/// Wallets in the order of their ids, after `after`.
pub fn wallets(tx: &ReadTx<'_>, after: Option<&str>, limit: usize) -> Result<Page<Wallet>, Error> {
    let sql = "SELECT id, balance, entries FROM wallet WHERE id > $1 ORDER BY id LIMIT $2";
    Ok(page(tx.all(sql, params![after.unwrap_or(""), limit + 1], Wallet::read)?, limit))
}

/// A choice of entries, and their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that moved this wallet.
    pub wallet: Option<WalletId>,
    /// Those of one kind.
    pub kind: Option<EntryKind>,
    /// Made at this time (milliseconds since 1970) or later.
    pub since: Option<i64>,
    /// Made at this time or earlier.
    pub until: Option<i64>,
    /// Oldest first; otherwise newest first.
    pub ascending: bool,
}

/// Entries that pass the filter, beyond the entry number `after` in the filter's direction.
pub fn entries(tx: &ReadTx<'_>, filter: &Filter, after: Option<i64>, limit: usize) -> Result<Page<Entry>, Error> {
    let mut first = filter.since.map_or(Ok(1), |since| last_entry_before(tx, since).map(|id| id + 1))?;
    let mut last = filter.until.map_or(Ok(i64::MAX), |until| last_entry_before(tx, until.saturating_add(1)))?;
    match after {
        Some(after) if filter.ascending => first = first.max(after.saturating_add(1)),
        Some(after) => last = last.min(after - 1),
        None => {}
    }
    let kind = filter.kind.map(EntryKind::as_str);
    let wallet = filter.wallet.as_ref();
    let rows =
        tx.all(statement(wallet, filter.ascending), params![first, last, kind, wallet, limit + 1], Entry::read)?;
    Ok(page(rows, limit))
}

/// The six shapes of the question: of all entries, of both indexes of a wallet's, or of `@bank`, whose entries are not in
/// the indexes because nearly every entry is one; in either direction.
fn statement(wallet: Option<&WalletId>, ascending: bool) -> &'static str {
    macro_rules! scan {
        ($choice:literal, $order:literal) => {
            concat!(
                "SELECT ",
                entry_columns!(),
                " FROM entry WHERE id BETWEEN $1 AND $2 AND ($3 IS NULL OR kind = $3) AND ",
                $choice,
                " ORDER BY id ",
                $order,
                " LIMIT $5"
            )
        };
    }
    macro_rules! side {
        ($column:literal, $order:literal) => {
            concat!(
                "SELECT id FROM (SELECT id FROM entry WHERE id BETWEEN $1 AND $2 AND ($3 IS NULL OR kind = $3) AND ",
                $column,
                " = $4 AND ",
                $column,
                " <> '@bank' ORDER BY id ",
                $order,
                " LIMIT $5)"
            )
        };
    }
    macro_rules! of_wallet {
        ($order:literal) => {
            concat!(
                "SELECT ",
                entry_columns!(),
                " FROM entry WHERE id IN (",
                side!("from_wallet", $order),
                " UNION ALL ",
                side!("to_wallet", $order),
                ") ORDER BY id ",
                $order,
                " LIMIT $5"
            )
        };
    }
    match (wallet.map(|wallet| *wallet == WalletId::BANK), ascending) {
        (None, false) => scan!("$4 IS NULL", "DESC"),
        (None, true) => scan!("$4 IS NULL", "ASC"),
        (Some(true), false) => scan!("$4 IN (from_wallet, to_wallet)", "DESC"),
        (Some(true), true) => scan!("$4 IN (from_wallet, to_wallet)", "ASC"),
        (Some(false), false) => of_wallet!("DESC"),
        (Some(false), true) => of_wallet!("ASC"),
    }
}

/// The number of the last entry made before `time`, 0 if there is none. Time never decreases along the numbers, so
/// bisection finds it without an index.
fn last_entry_before(tx: &ReadTx<'_>, time: i64) -> Result<i64, Error> {
    let newest = tx.one("SELECT coalesce(max(id), 0) FROM entry", [], |row| row.get(0))?.unwrap_or(0);
    let (mut before, mut beyond): (i64, i64) = (0, newest + 1);
    while beyond - before > 1 {
        let middle = before + (beyond - before) / 2;
        let at: Option<i64> = tx.one("SELECT at FROM entry WHERE id = $1", params![middle], |row| row.get(0))?;
        if at.is_some_and(|at| at < time) { before = middle } else { beyond = middle }
    }
    Ok(before)
}

/// The wallet as it was at `time`, entries made at that very millisecond included.
pub(crate) fn wallet_as_of(tx: &ReadTx<'_>, id: &WalletId, time: i64) -> Result<Wallet, Error> {
    super::wallet(tx, id)?;
    let last = last_entry_before(tx, time.saturating_add(1))?;
    let (newest, count) = if *id == WalletId::BANK {
        (
            "SELECT CASE from_wallet WHEN $1 THEN from_balance ELSE to_balance END FROM entry \
             WHERE $1 IN (from_wallet, to_wallet) AND id <= $2 ORDER BY id DESC LIMIT 1",
            "SELECT count(*) FROM entry WHERE $1 IN (from_wallet, to_wallet) AND id <= $2",
        )
    } else {
        (
            "SELECT balance FROM (SELECT id, from_balance AS balance FROM entry WHERE id = \
             (SELECT max(id) FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id <= $2) \
             UNION ALL SELECT id, to_balance FROM entry WHERE id = \
             (SELECT max(id) FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id <= $2) \
             ORDER BY id DESC LIMIT 1)",
            "SELECT (SELECT count(*) FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id <= $2) \
             + (SELECT count(*) FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id <= $2)",
        )
    };
    let balance = tx.one(newest, params![id, last], |row| row.get(0))?.unwrap_or(Balance::ZERO);
    let entries = tx.one(count, params![id, last], |row| row.get(0))?.unwrap_or(0);
    Ok(Wallet { id: id.clone(), balance, entries })
}

macro_rules! is_usable {
    () => {
        "taken_by IS NULL AND (uses = 0 OR NOT single_use)"
    };
}

/// The number of coupons the user could pay with.
pub(crate) fn count_usable_coupons(tx: &ReadTx<'_>, wallet: &WalletId) -> Result<i64, Error> {
    let sql = concat!("SELECT count(*) FROM coupon WHERE user = $1 AND ", is_usable!());
    Ok(tx.one(sql, params![wallet], |row| row.get(0))?.unwrap_or(0))
}

/// The newest of the coupons the user could pay with, `limit` at most.
pub(crate) fn usable_coupons(tx: &ReadTx<'_>, user: &UserId, limit: usize) -> Result<Vec<Coupon>, Error> {
    let sql = concat!(
        "SELECT ",
        coupon_columns!(),
        " FROM coupon WHERE user = $1 AND ",
        is_usable!(),
        " ORDER BY granted_at DESC, code DESC LIMIT $2"
    );
    tx.all(sql, params![user, limit], Coupon::read)
}

/// The user's coupons, newest first, after the one granted at `after.0` under the code `after.1`.
pub fn coupons(
    tx: &ReadTx<'_>,
    user: &UserId,
    after: Option<(i64, &CouponCode)>,
    limit: usize,
) -> Result<Page<Coupon>, Error> {
    let sql = concat!(
        "SELECT ",
        coupon_columns!(),
        " FROM coupon WHERE user = $1 AND (granted_at, code) < ($2, $3) \
         ORDER BY granted_at DESC, code DESC LIMIT $4"
    );
    let (at, code) = after.map_or((i64::MAX, ""), |(at, code)| (at, code.as_str()));
    Ok(page(tx.all(sql, params![user, at, code, limit + 1], Coupon::read)?, limit))
}
