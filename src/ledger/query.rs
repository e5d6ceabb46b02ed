//! Questions about entries and coupons. Every list comes in pages.

use super::coupon::{Coupon, CouponState, coupon_columns, coupon_is_usable, coupon_state};
use super::entry::entry_columns;
use super::entry::{Entry, EntryKind};
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, UserId, WalletId};
use crate::secret::{Hash, hex, sha256};
use crate::tx::{ReadTx, Row, RowResult, Tables, ToSql, params};
use std::collections::BTreeMap;

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
    /// Those that this caller asked for.
    pub by: Option<String>,
    /// Those of this amount, in cents, or more.
    pub min: Option<i64>,
    /// Those of this amount, in cents, or less.
    pub max: Option<i64>,
    /// Those that have all these pairs: a flat JSON object of strings.
    pub metadata: Option<String>,
    /// Those with this reference.
    pub reference: Option<String>,
    /// Those that this coupon was earned by or used in.
    pub coupon: Option<CouponCode>,
    /// Those that refund this entry.
    pub refunds: Option<EntryId>,
    /// The steps of this hold.
    pub hold: Option<EntryId>,
    /// Oldest first; otherwise newest first.
    pub ascending: bool,
}

/// The most rows that one page looks at for a filter that no index serves.
pub(super) const SCAN_ROWS: i64 = 10_000;
/// The most entries that one page looks at for a second filter, unless that looks into texts.
const SCAN_ROWS_OF_KIND: i64 = 100_000;

/// The way along which entries are looked at: by number alone, or along the index of one filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    All,
    Reference,
    Refunds,
    Hold,
    Coupon,
    /// Both sides. `@bank` is in neither index, because nearly every entry is one of its.
    Wallet,
}

impl Filter {
    /// Returns whether the entry passes, as the statements below decide it for a list.
    pub fn passes(&self, entry: &Entry) -> bool {
        let Filter {
            wallet,
            kind,
            since,
            until,
            by,
            min,
            max,
            metadata,
            reference,
            coupon,
            refunds,
            hold,
            ascending: _,
        } = self;
        let cents = entry.amount.cents();
        wallet.as_ref().is_none_or(|wallet| [&entry.from, &entry.to].contains(&wallet))
            && kind.is_none_or(|kind| entry.kind == kind)
            && since.is_none_or(|since| entry.at >= since)
            && until.is_none_or(|until| entry.at <= until)
            && by.as_ref().is_none_or(|by| entry.by == *by)
            && min.is_none_or(|min| cents >= min)
            && max.is_none_or(|max| cents <= max)
            && reference.as_ref().is_none_or(|reference| entry.reference.as_ref() == Some(reference))
            && coupon.as_ref().is_none_or(|coupon| entry.coupon.as_ref() == Some(coupon))
            && refunds.is_none_or(|refunds| entry.refunds == Some(refunds))
            && hold.is_none_or(|hold| entry.hold == Some(hold))
            && metadata.as_ref().is_none_or(|wanted| has_pairs(entry.metadata.as_deref(), wanted))
    }

    fn way(&self) -> Way {
        match self {
            Filter { refunds: Some(_), .. } => Way::Refunds,
            Filter { hold: Some(_), .. } => Way::Hold,
            Filter { reference: Some(_), .. } => Way::Reference,
            Filter { coupon: Some(_), .. } => Way::Coupon,
            Filter { wallet: Some(wallet), .. } if *wallet != WalletId::BANK => Way::Wallet,
            _ => Way::All,
        }
    }

    /// The most entries that one page looks at; None if all that it looks at pass.
    fn scan_rows(&self) -> Option<i64> {
        let by_content = self.by.is_some() || self.min.or(self.max).is_some() || self.metadata.is_some();
        let way = self.way();
        let by_row = self.kind.is_some()
            || self.hold.is_some() && way != Way::Hold
            || self.reference.is_some() && way != Way::Reference
            || self.coupon.is_some() && way != Way::Coupon
            || self.wallet.is_some() && way != Way::Wallet;
        by_content.then_some(SCAN_ROWS).or(by_row.then_some(SCAN_ROWS_OF_KIND))
    }
}

/// Returns whether the metadata has all pairs of `wanted`; both are flat JSON objects of strings.
fn has_pairs(metadata: Option<&str>, wanted: &str) -> bool {
    let pairs = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).ok();
    match (metadata.and_then(pairs), pairs(wanted)) {
        (Some(kept), Some(wanted)) => wanted.iter().all(|(name, value)| kept.get(name) == Some(value)),
        _ => false,
    }
}

/// One page of entries.
#[derive(Clone, Debug)]
pub struct EntryPage {
    /// The entries.
    pub rows: Vec<Entry>,
    /// The number of the entry to continue behind, if there may be more. A page is short, or empty, if few of the
    /// entries that it may look at pass the filter.
    pub next: Option<i64>,
    /// Of an ascending list: the number of the last entry that was looked at.
    pub reached: i64,
}

/// Entries that pass the filter, beyond the entry number `after` in the filter's direction.
pub fn entries(tx: &ReadTx<'_>, filter: &Filter, after: Option<i64>, limit: usize) -> Result<EntryPage, Error> {
    let newest = newest_entry(tx)?;
    let mut first = filter.since.map_or(Ok(1), |since| last_entry_before(tx, since).map(|id| id + 1))?;
    let mut last = filter.until.map_or(Ok(newest), |until| last_entry_before(tx, until.saturating_add(1)))?;
    match after {
        Some(after) if filter.ascending => first = first.max(after.saturating_add(1)),
        Some(after) => last = last.min(after - 1),
        None => {}
    }
    let scan_end = match filter.scan_rows() {
        Some(rows) if first <= last => scan_end(tx, filter, first, last, rows)?,
        _ => None,
    };
    match scan_end {
        Some(end) if filter.ascending => last = end,
        Some(end) => first = end,
        None => {}
    }
    let Filter { wallet, by, min, max, metadata, reference, coupon, refunds, hold, .. } = filter;
    let kind = filter.kind.map(EntryKind::as_str);
    let sql = statement(filter.way(), filter.ascending);
    let limit_and_next = limit + 1;
    let params =
        params![first, last, kind, by, min, max, metadata, reference, coupon, refunds, hold, wallet, limit_and_next];
    let mut rows = tx.all(sql, params, Entry::read)?;
    if rows.len() <= limit {
        // Entries behind `last` were made later than `until`, so they were looked at as well.
        let reached = scan_end.unwrap_or(newest).max(after.unwrap_or(0));
        return Ok(EntryPage { rows, next: scan_end, reached });
    }
    rows.truncate(limit);
    let next = rows.last().map(|entry| entry.id.0);
    Ok(EntryPage { rows, next, reached: next.unwrap_or(0) })
}

/// The place behind an entry in a list, as a cursor names it: its number and a mark of its hash, so that a file in which
/// another entry has that number is not taken for the same one.
pub(crate) fn place_behind(tx: &ReadTx<'_>, id: i64) -> Result<String, Error> {
    Ok(mark_of(tx, id)?.map_or(id.to_string(), |mark| format!("{id}.{mark}")))
}

/// The same for an entry that was read.
pub(crate) fn place_of(entry: &Entry) -> String {
    format!("{}.{}", entry.id.0, mark(&entry.hash))
}

/// The number of the entry of a place. An older program named it by its number alone.
pub(crate) fn find_place(tx: &ReadTx<'_>, place: &str) -> Result<i64, Error> {
    let (id, mark) = place.split_once('.').map_or((place, None), |(id, mark)| (id, Some(mark)));
    let id = EntryId::parse(id)?.0;
    if mark.is_some() && mark != mark_of(tx, id)?.as_deref() {
        let detail = format!(
            "entry {id} is not the one that was listed: the file was replaced by another; compare it with what you have, and start again without after"
        );
        return Err(Error::new(ErrorName::CursorLost, detail));
    }
    Ok(id)
}

/// The beginning of SHA-256 of the entry's hash: the role `user` does not see the hash itself.
fn mark_of(tx: &ReadTx<'_>, id: i64) -> Result<Option<String>, Error> {
    let hash: Option<Hash> = tx.one("SELECT hash FROM entry WHERE id = $1", params![id], |row| row.get(0))?;
    Ok(hash.as_ref().map(mark))
}

fn mark(hash: &Hash) -> String {
    hex(&sha256(hash)[..MARK_BYTES])
}

const MARK_BYTES: usize = 8;

/// The number of the entry, between `first` and `last`, behind which a page that looks at about `rows` of them ends; None
/// if it may look at all.
fn scan_end(tx: &ReadTx<'_>, filter: &Filter, first: i64, last: i64, rows: i64) -> Result<Option<i64>, Error> {
    macro_rules! nth {
        ($column:literal, $but:literal, $order:literal) => {
            concat!(
                "SELECT id FROM entry WHERE ",
                $column,
                " = $1 AND id BETWEEN $2 AND $3",
                $but,
                " ORDER BY id ",
                $order,
                " LIMIT 1 OFFSET $4"
            )
        };
    }
    macro_rules! along {
        ($column:literal, $but:literal) => {
            if filter.ascending { nth!($column, $but, "ASC") } else { nth!($column, $but, "DESC") }
        };
    }
    let ascending = filter.ascending;
    let nth = |sql, key: &dyn ToSql, rows: i64| -> Result<Option<i64>, Error> {
        tx.one(sql, params![key, first, last, rows - 1], |row| row.get(0))
    };
    let end = match filter.way() {
        // Entries are numbered without gaps, and nearly every one is of `@bank`.
        Way::All if ascending => Some(first.saturating_add(rows - 1)),
        Way::All => Some(last.saturating_sub(rows - 1)),
        Way::Reference => nth(along!("reference", ""), &filter.reference, rows)?,
        Way::Refunds => nth(along!("refunds", ""), &filter.refunds, rows)?,
        Way::Hold => nth(along!("hold", ""), &filter.hold, rows)?,
        Way::Coupon => nth(along!("coupon", ""), &filter.coupon, rows)?,
        Way::Wallet => {
            let sides = [
                along!("from_wallet", " AND from_wallet <> '@bank'"),
                along!("to_wallet", " AND to_wallet <> '@bank'"),
            ];
            let mut ends = Vec::new();
            for sql in sides {
                ends.extend(nth(sql, &filter.wallet, rows / 2)?);
            }
            if ascending { ends.into_iter().min() } else { ends.into_iter().max() }
        }
    };
    Ok(end.filter(|end| if ascending { *end < last } else { *end > first }))
}

/// The question along each way, in either direction.
fn statement(way: Way, ascending: bool) -> &'static str {
    macro_rules! passes {
        () => {
            "id BETWEEN $1 AND $2 AND (CAST($3 AS TEXT) IS NULL OR kind = $3) AND (CAST($4 AS TEXT) IS NULL OR made_by = $4) \
             AND (CAST($5 AS BIGINT) IS NULL OR amount >= $5) AND (CAST($6 AS BIGINT) IS NULL OR amount <= $6) \
             AND (CAST($7 AS TEXT) IS NULL OR metadata IS NOT NULL AND NOT EXISTS (SELECT 1 FROM json_each($7) AS wanted \
             WHERE NOT EXISTS (SELECT 1 FROM json_each(metadata) AS kept \
             WHERE kept.key = wanted.key AND kept.value = wanted.value))) \
             AND (CAST($8 AS TEXT) IS NULL OR reference = $8) AND (CAST($9 AS TEXT) IS NULL OR coupon = $9) AND (CAST($10 AS BIGINT) IS NULL OR refunds = $10) \
             AND (CAST($11 AS BIGINT) IS NULL OR hold = $11) AND (CAST($12 AS TEXT) IS NULL OR $12 IN (from_wallet, to_wallet))"
        };
    }
    macro_rules! scan {
        ($along:literal, $order:literal) => {
            concat!(
                "SELECT ",
                entry_columns!(),
                " FROM entry WHERE ",
                passes!(),
                $along,
                " ORDER BY id ",
                $order,
                " LIMIT $13"
            )
        };
    }
    macro_rules! side {
        ($column:literal, $order:literal) => {
            concat!(
                "SELECT id FROM (SELECT id FROM entry WHERE ",
                passes!(),
                " AND ",
                $column,
                " = $12 AND ",
                $column,
                " <> '@bank' ORDER BY id ",
                $order,
                " LIMIT $13) AS found"
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
                " LIMIT $13"
            )
        };
    }
    match (way, ascending) {
        (Way::All, false) => scan!("", "DESC"),
        (Way::All, true) => scan!("", "ASC"),
        (Way::Reference, false) => scan!(" AND reference = $8", "DESC"),
        (Way::Reference, true) => scan!(" AND reference = $8", "ASC"),
        (Way::Coupon, false) => scan!(" AND coupon = $9", "DESC"),
        (Way::Coupon, true) => scan!(" AND coupon = $9", "ASC"),
        (Way::Hold, false) => scan!(" AND hold = $11", "DESC"),
        (Way::Hold, true) => scan!(" AND hold = $11", "ASC"),
        (Way::Refunds, false) => scan!(" AND refunds = $10", "DESC"),
        (Way::Refunds, true) => scan!(" AND refunds = $10", "ASC"),
        (Way::Wallet, false) => of_wallet!("DESC"),
        (Way::Wallet, true) => of_wallet!("ASC"),
    }
}

/// The number of the newest entry, 0 if there is none.
pub(crate) fn newest_entry(tx: &Tables<'_>) -> Result<i64, Error> {
    Ok(tx.one("SELECT coalesce(max(id), 0) FROM entry", &[], |row| row.get(0))?.unwrap_or(0))
}

/// The time of an entry that would be made at the wall time `wall_ms`: never before that of the newest entry.
pub(crate) fn steady_ms(tx: &Tables<'_>, wall_ms: i64) -> Result<i64, Error> {
    Ok(super::entry::chain_head(tx)?.at.max(wall_ms))
}

/// Returns whether there is an entry made after `time`: then none made until then can come any more.
pub(crate) fn has_entry_after(tx: &ReadTx<'_>, time: i64) -> Result<bool, Error> {
    let newest: Option<i64> = tx.one("SELECT at FROM entry ORDER BY id DESC LIMIT 1", &[], |row| row.get(0))?;
    Ok(newest.is_some_and(|at| at > time))
}

/// The number of the last entry made before `time`, 0 if there is none. Time never decreases along the numbers, so
/// bisection finds it without an index.
pub(super) fn last_entry_before(tx: &Tables<'_>, time: i64) -> Result<i64, Error> {
    let (mut before, mut beyond): (i64, i64) = (0, newest_entry(tx)? + 1);
    while beyond - before > 1 {
        let middle = before + (beyond - before) / 2;
        let at: Option<i64> = tx.one("SELECT at FROM entry WHERE id = $1", params![middle], |row| row.get(0))?;
        if at.is_some_and(|at| at < time) { before = middle } else { beyond = middle }
    }
    Ok(before)
}

/// The most of a user's newest coupons that are looked at for those that can be used.
const COUPONS_LOOKED_AT: i64 = 10_000;

/// The newest of the coupons the user could pay with at that time, `limit` at most.
pub(crate) fn usable_coupons(tx: &ReadTx<'_>, user: &UserId, at: i64, limit: usize) -> Result<Vec<Coupon>, Error> {
    let sql = concat!(
        "SELECT ",
        coupon_columns!(),
        " FROM coupon WHERE coupon.user = $1 AND granted_at >= coalesce((SELECT granted_at FROM coupon WHERE coupon.user = $1 \
         ORDER BY granted_at DESC LIMIT 1 OFFSET $2), 0) AND ",
        coupon_is_usable!("$3"),
        " ORDER BY granted_at DESC, code DESC LIMIT $4"
    );
    tx.all(sql, params![user, COUPONS_LOOKED_AT, at, limit], Coupon::read)
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
        " FROM coupon WHERE coupon.user = $1 AND (granted_at, code) < ($2, $3) \
         ORDER BY granted_at DESC, code DESC LIMIT $4"
    );
    let (at, code) = after.map_or((i64::MAX, ""), |(at, code)| (at, code.as_str()));
    Ok(page(tx.all(sql, params![user, at, code, limit + 1], Coupon::read)?, limit))
}

/// A choice of coupons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CouponFilter {
    /// Those that were given as this kind.
    pub kind: Option<String>,
    /// Those of this user.
    pub user: Option<UserId>,
    /// Those in this state now.
    pub state: Option<CouponState>,
}

/// A place in a list of coupons: behind one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CouponPlace {
    /// The coupon's kind.
    pub kind: String,
    /// Its user.
    pub user: String,
    /// Its code.
    pub code: String,
}

impl CouponPlace {
    /// The place as a cursor names it. None of its parts has a space in it.
    pub(crate) fn to_text(&self) -> String {
        format!("{} {} {}", self.kind, self.user, self.code)
    }

    /// The place that a cursor names.
    pub(crate) fn from_text(text: &str) -> Option<CouponPlace> {
        let mut parts = text.split(' ').map(str::to_owned);
        let place = CouponPlace { kind: parts.next()?, user: parts.next()?, code: parts.next()? };
        parts.next().is_none().then_some(place)
    }

    fn read(row: &Row<'_>) -> RowResult<CouponPlace> {
        Ok(CouponPlace { kind: row.get(0)?, user: row.get(1)?, code: row.get(2)? })
    }
}

/// Coupons that pass the filter at the time `at`, in the order of kinds, users and codes, behind `after`; and the place to
/// continue behind, if there may be more. At most `SCAN_ROWS` are looked at.
pub(crate) fn all_coupons(
    tx: &ReadTx<'_>,
    filter: &CouponFilter,
    at: i64,
    after: Option<&CouponPlace>,
    limit: usize,
) -> Result<(Vec<Coupon>, Option<CouponPlace>), Error> {
    let CouponFilter { kind, user, state } = filter;
    let user = user.as_ref().map(UserId::as_str);
    // Both bounds are one comparison with the index: the least and the largest that can pass.
    let first = (kind.as_deref().unwrap_or_default(), if kind.is_some() { user.unwrap_or_default() } else { "" });
    let (first_kind, first_user, first_code) = match after {
        Some(after) => (after.kind.as_str(), after.user.as_str(), after.code.as_str()),
        None => (first.0, first.1, ""),
    };
    let last_kind = kind.as_deref().unwrap_or(BEHIND_ALL);
    let last_user = user.filter(|_| kind.is_some()).unwrap_or(BEHIND_ALL);
    let end = "SELECT kind, coupon.user, code FROM coupon WHERE (kind, coupon.user, code) > ($1, $2, $3) \
               AND (kind, coupon.user) <= ($4, $5) ORDER BY kind, coupon.user, code LIMIT 1 OFFSET $6";
    let end_params = params![first_kind, first_user, first_code, last_kind, last_user, SCAN_ROWS - 1];
    let end = tx.one(end, end_params, CouponPlace::read)?;
    let sql = concat!(
        "SELECT ",
        coupon_columns!(),
        " FROM coupon WHERE (",
        coupon_state!(),
        " = $2 OR $2 IS NULL) AND (CAST($3 AS TEXT) IS NULL OR coupon.user = $3) AND (kind, coupon.user, code) > ($4, $5, $6) \
         AND (kind, coupon.user, code) <= ($7, $8, $9) ORDER BY kind, coupon.user, code LIMIT $10"
    );
    let (last_kind, last_user, last_code) = match &end {
        Some(end) => (end.kind.as_str(), end.user.as_str(), end.code.as_str()),
        None => (last_kind, last_user, BEHIND_ALL),
    };
    let state = state.map(CouponState::as_str);
    let mut rows = tx.all(
        sql,
        params![at, state, user, first_kind, first_user, first_code, last_kind, last_user, last_code, limit + 1],
        Coupon::read,
    )?;
    if rows.len() <= limit {
        return Ok((rows, end));
    }
    rows.truncate(limit);
    let next = rows.last().map(|last| CouponPlace {
        kind: last.kind.clone(),
        user: last.user.to_string(),
        code: last.code.to_string(),
    });
    Ok((rows, next))
}

/// A text behind every kind and user.
const BEHIND_ALL: &str = "\u{10ffff}";
