//! Lists of wallets, in pages: by id, by the beginning of a name, by balance.

use super::coupon::coupon_is_usable;
use super::query::SCAN_ROWS;
use super::settings::{WalletSettings, spent_at};
use super::wallet::{Wallet, WalletStatus, wallet_columns, wallet_tables};
use crate::error::Error;
use crate::id::WalletId;
use crate::money::Cents;
use crate::tx::{ReadTx, Row, RowResult, params};

/// A choice of wallets, and their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalletFilter {
    /// Those whose id begins so.
    pub prefix: String,
    /// Those whose name begins so, byte for byte. They come in the order of their names.
    pub name: Option<String>,
    /// Those of this status.
    pub status: Option<WalletStatus>,
    /// Users' wallets with this balance, in cents, or more.
    pub min: Option<i64>,
    /// Users' wallets with this balance, in cents, or less.
    pub max: Option<i64>,
    /// Leaves the system's wallets out.
    pub users_only: bool,
}

/// A wallet as a list shows it.
#[derive(Clone, Debug)]
pub struct ListedWallet {
    /// The wallet.
    pub wallet: Wallet,
    /// Time of its newest entry, in milliseconds since 1970.
    pub last_at: Option<i64>,
    /// Its name.
    pub name: Option<String>,
    /// The amount that is reserved besides its balance.
    pub held: Cents,
}

/// One page of wallets.
#[derive(Clone, Debug)]
pub struct WalletPage {
    /// The wallets.
    pub rows: Vec<ListedWallet>,
    /// The wallet to continue behind, if there may be more.
    pub next: Option<WalletPlace>,
}

/// A place in a list of wallets: behind one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletPlace {
    /// The wallet's id.
    pub id: String,
    /// Its name, in a list by name.
    pub name: Option<String>,
}

impl WalletPlace {
    /// The place as a cursor names it. An id has no space in it.
    pub(crate) fn to_text(&self) -> String {
        self.name.as_ref().map_or_else(|| self.id.clone(), |name| format!("{} {name}", self.id))
    }

    /// The place that a cursor names.
    pub(crate) fn from_text(text: &str) -> WalletPlace {
        match text.split_once(' ') {
            Some((id, name)) => WalletPlace { id: id.to_owned(), name: Some(name.to_owned()) },
            None => WalletPlace { id: text.to_owned(), name: None },
        }
    }

    fn behind(row: &ListedWallet, by_name: bool) -> WalletPlace {
        WalletPlace { id: row.wallet.id.to_string(), name: row.name.clone().filter(|_| by_name) }
    }
}

macro_rules! listed_wallet_columns {
    () => {
        concat!(
            wallet_columns!(),
            ", wallet_setting.name, CASE wallet.id WHEN '@bank' THEN (SELECT at FROM entry \
             WHERE entry.id <= wallet.newest AND '@bank' IN (from_wallet, to_wallet) ORDER BY entry.id DESC LIMIT 1) \
             ELSE (SELECT at FROM entry WHERE entry.id = max( \
             coalesce((SELECT max(entry.id) FROM entry WHERE from_wallet = wallet.id AND from_wallet <> '@bank'), 0), \
             coalesce((SELECT max(entry.id) FROM entry WHERE to_wallet = wallet.id AND to_wallet <> '@bank'), 0))) END, \
             (SELECT coalesce(sum(amount_left), 0) FROM hold WHERE hold.wallet = wallet.id AND amount_left > 0)"
        )
    };
}

/// `$1` and `$2` bound the ids, `$3` leaves the system out, `$4` and `$5` bound the balance.
macro_rules! wallet_passes {
    () => {
        "wallet.id BETWEEN $1 AND $2 AND (NOT $3 OR substr(wallet.id, 1, 1) <> '@') \
         AND (CAST($4 AS BIGINT) IS NULL OR wallet.balance >= $4 AND substr(wallet.id, 1, 1) <> '@') \
         AND (CAST($5 AS BIGINT) IS NULL OR wallet.balance <= $5 AND substr(wallet.id, 1, 1) <> '@')"
    };
}

fn listed_wallet(row: &Row<'_>) -> RowResult<ListedWallet> {
    let (name, last_at, held) = (row.get(6)?, row.get(7)?, Cents(row.get(8)?));
    Ok(ListedWallet { wallet: Wallet::read(row)?, name, last_at, held })
}

/// All that one wallet shows.
pub(crate) struct WalletOverview {
    pub listed: ListedWallet,
    pub settings: WalletSettings,
    /// The number of coupons that can be used.
    pub coupons: i64,
    /// The amount that counts for the limit of the day; None without that limit.
    pub spent_today: Option<Cents>,
}

/// The wallet at the wall time `at`: one statement, because nothing is asked more often.
pub(crate) fn overview(tx: &ReadTx<'_>, id: &WalletId, at: i64) -> Result<WalletOverview, Error> {
    let sql = concat!(
        "SELECT ",
        listed_wallet_columns!(),
        ", wallet_setting.metadata, day_spending.day, day_spending.spent, \
         (SELECT count(*) FROM coupon WHERE coupon.user = wallet.id AND ",
        coupon_is_usable!("$1"),
        ") FROM ",
        wallet_tables!(),
        " LEFT JOIN day_spending ON day_spending.wallet = wallet.id WHERE wallet.id = $2"
    );
    let found = tx.one(sql, params![at, id], |row| {
        let listed = listed_wallet(row)?;
        let Wallet { status, limits, .. } = listed.wallet;
        let settings = WalletSettings { name: listed.name.clone(), status, metadata: row.get(9)?, limits };
        let day = row.get::<Option<i64>>(10)?.zip(row.get(11)?);
        Ok(WalletOverview { listed, settings, coupons: row.get(12)?, spent_today: day.map(|day| spent_at(day, at)) })
    })?;
    found.ok_or_else(|| super::wallet::not_found(id))
}

/// Wallets that pass the filter, behind `after`, in the order of their ids, or of their names if one is looked for. At most
/// `SCAN_ROWS` are looked at.
pub fn wallets(
    tx: &ReadTx<'_>,
    filter: &WalletFilter,
    after: Option<&WalletPlace>,
    limit: usize,
) -> Result<WalletPage, Error> {
    match (&filter.name, filter.status) {
        (Some(name), _) => by_name(tx, filter, name, after, limit),
        (None, Some(status)) if status != WalletStatus::Open => of_status(tx, filter, status, after, limit),
        _ => by_id(tx, filter, after, limit),
    }
}

/// The least id behind `after`, or the prefix: one bound from below, so that the search begins there.
fn first_id(filter: &WalletFilter, after: Option<&WalletPlace>) -> String {
    let prefix = &filter.prefix;
    after.filter(|after| after.id >= *prefix).map_or(prefix.clone(), |after| format!("{}\u{1}", after.id))
}

/// An id behind all that begin so.
fn last_id(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// Cuts the page off behind `limit` rows; one that is not full goes on behind the last row that was looked at.
fn cut(mut rows: Vec<ListedWallet>, limit: usize, looked_at: Option<WalletPlace>, by_name: bool) -> WalletPage {
    if rows.len() <= limit {
        return WalletPage { rows, next: looked_at };
    }
    rows.truncate(limit);
    let next = rows.last().map(|row| WalletPlace::behind(row, by_name));
    WalletPage { rows, next }
}

fn by_id(
    tx: &ReadTx<'_>,
    filter: &WalletFilter,
    after: Option<&WalletPlace>,
    limit: usize,
) -> Result<WalletPage, Error> {
    let WalletFilter { prefix, min, max, users_only, status, .. } = filter;
    let (first, last) = (first_id(filter, after), last_id(prefix));
    let end = "SELECT id FROM wallet WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT 1 OFFSET $3";
    let end: Option<String> = match min.or(*max).is_some() || status.is_some() {
        true => tx.one(end, params![first, last, SCAN_ROWS - 1], |row| row.get(0))?,
        false => None,
    };
    let sql = concat!(
        "SELECT ",
        listed_wallet_columns!(),
        " FROM ",
        wallet_tables!(),
        " WHERE ",
        wallet_passes!(),
        " AND (NOT $6 OR coalesce(wallet_setting.status, 'open') = 'open') ORDER BY wallet.id LIMIT $7"
    );
    let (is_open, last) = (status.is_some(), end.as_ref().unwrap_or(&last));
    let rows = tx.all(sql, params![first, last, users_only, min, max, is_open, limit + 1], listed_wallet)?;
    Ok(cut(rows, limit, end.map(|id| WalletPlace { id, name: None }), false))
}

/// Frozen or closed wallets, by the index of those.
fn of_status(
    tx: &ReadTx<'_>,
    filter: &WalletFilter,
    status: WalletStatus,
    after: Option<&WalletPlace>,
    limit: usize,
) -> Result<WalletPage, Error> {
    let WalletFilter { prefix, min, max, users_only, .. } = filter;
    let (first, last, status) = (first_id(filter, after), last_id(prefix), status.as_str());
    let end = "SELECT wallet FROM wallet_setting WHERE status = $1 AND status <> 'open' \
               AND wallet BETWEEN $2 AND $3 ORDER BY wallet LIMIT 1 OFFSET $4";
    let end: Option<String> = match min.or(*max) {
        Some(_) => tx.one(end, params![status, first, last, SCAN_ROWS - 1], |row| row.get(0))?,
        None => None,
    };
    let sql = concat!(
        "SELECT ",
        listed_wallet_columns!(),
        " FROM wallet_setting CROSS JOIN wallet WHERE ",
        wallet_passes!(),
        " AND wallet.id = wallet_setting.wallet AND wallet_setting.status = $6 AND wallet_setting.status <> 'open' \
         AND wallet_setting.wallet BETWEEN $1 AND $2 ORDER BY wallet_setting.wallet LIMIT $7"
    );
    let last = end.as_ref().unwrap_or(&last);
    let rows = tx.all(sql, params![first, last, users_only, min, max, status, limit + 1], listed_wallet)?;
    Ok(cut(rows, limit, end.map(|id| WalletPlace { id, name: None }), false))
}

/// Wallets whose name begins so, by the index of names.
fn by_name(
    tx: &ReadTx<'_>,
    filter: &WalletFilter,
    name: &str,
    after: Option<&WalletPlace>,
    limit: usize,
) -> Result<WalletPage, Error> {
    let WalletFilter { prefix, min, max, users_only, status, .. } = filter;
    let (after_name, after_id) = match after {
        Some(WalletPlace { id, name: Some(name) }) => (name.as_str(), id.as_str()),
        _ => (name, ""),
    };
    let last = (last_id(name), last_id(""));
    let end = "SELECT wallet, name FROM wallet_setting WHERE name IS NOT NULL \
               AND (name, wallet) > ($1, $2) AND (name, wallet) <= ($3, $4) ORDER BY name, wallet LIMIT 1 OFFSET $5";
    let place = |row: &Row<'_>| Ok((row.get(1)?, row.get(0)?));
    let end: Option<(String, String)> =
        tx.one(end, params![after_name, after_id, last.0, last.1, SCAN_ROWS - 1], place)?;
    let sql = concat!(
        "SELECT ",
        listed_wallet_columns!(),
        " FROM wallet_setting CROSS JOIN wallet WHERE ",
        wallet_passes!(),
        " AND wallet.id = wallet_setting.wallet AND (CAST($6 AS TEXT) IS NULL OR wallet_setting.status = $6) \
         AND wallet_setting.name IS NOT NULL AND (wallet_setting.name, wallet_setting.wallet) > ($7, $8) \
         AND (wallet_setting.name, wallet_setting.wallet) <= ($9, $10) \
         ORDER BY wallet_setting.name, wallet_setting.wallet LIMIT $11"
    );
    let (status, (last_name, last)) = (status.map(WalletStatus::as_str), end.as_ref().unwrap_or(&last));
    let last_of_prefix = last_id(prefix);
    let rows = tx.all(
        sql,
        params![prefix, last_of_prefix, users_only, min, max, status, after_name, after_id, last_name, last, limit + 1],
        listed_wallet,
    )?;
    let end = end.map(|(name, id)| WalletPlace { id, name: Some(name) });
    Ok(cut(rows, limit, end, true))
}

/// The most wallets that are looked at for the largest balances.
const ORDERED_MAX: i64 = 1_000_000;

/// Users' wallets that pass the filter, the largest balance first: one page. The balances of all are looked at, because an
/// index of balances would be rewritten by every entry; the rest is read for those of the page alone.
pub(crate) fn wallets_by_balance(
    tx: &ReadTx<'_>,
    filter: &WalletFilter,
    limit: usize,
) -> Result<Vec<ListedWallet>, Error> {
    macro_rules! largest {
        ($and:literal, $limit:literal) => {
            concat!(
                "SELECT ",
                listed_wallet_columns!(),
                " FROM ",
                wallet_tables!(),
                " WHERE wallet.id IN (SELECT wallet.id FROM wallet WHERE wallet.id BETWEEN $1 AND $2 \
                 AND (wallet.id < '@' OR wallet.id >= 'A') AND wallet.balance BETWEEN $3 AND $4",
                $and,
                " ORDER BY wallet.balance DESC, wallet.id LIMIT ",
                $limit,
                ") ORDER BY wallet.balance DESC, wallet.id"
            )
        };
    }
    let WalletFilter { prefix, name, status, min, max, users_only: _ } = filter;
    let last = "SELECT id FROM wallet WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT 1 OFFSET $3";
    let last_id = last_id(prefix);
    if tx.one(last, params![prefix, last_id, ORDERED_MAX], |_| Ok(()))?.is_some() {
        let detail = format!(
            "order=balance looks at each wallet, and there are more than {ORDERED_MAX}; choose fewer by a prefix, or leave order out"
        );
        return Err(Error::invalid(detail).with("field", "order"));
    }
    let (min, max) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
    if name.is_none() && status.is_none() {
        return tx.all(largest!("", "$5"), params![prefix, last_id, min, max, limit], listed_wallet);
    }
    let sql = largest!(
        " AND (CAST($5 AS TEXT) IS NULL OR coalesce((SELECT status FROM wallet_setting WHERE wallet = wallet.id), 'open') = $5) \
         AND (CAST($6 AS TEXT) IS NULL OR (SELECT name FROM wallet_setting WHERE wallet = wallet.id) BETWEEN $6 AND $6 || '\u{10ffff}')",
        "$7"
    );
    let status = status.map(WalletStatus::as_str);
    tx.all(sql, params![prefix, last_id, min, max, status, name, limit], listed_wallet)
}
