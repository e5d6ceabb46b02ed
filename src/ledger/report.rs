//! The report: periods summed from running totals, which each commit keeps per quarter of an hour, so that a report costs by
//! its periods and not by the entries in them. A report of one wallet is summed from its entries.

use super::entry::{Entry, EntryKind};
use super::query::last_entry_before;
use crate::error::{Error, ErrorName};
use crate::id::WalletId;
use crate::tx::{ReadTx, Row, RowResult, RunningTotal, RunningTotals, TOTALS, Tables, WriteTx, params, unreadable};

/// The length of a quarter of an hour, in milliseconds: the grain of the totals.
pub(crate) const QUARTER_MS: i64 = 900_000;

/// The names of the totals, in order: the kinds of entries; the discounts of payments; the refunds of payments; and the
/// balances of all users together and of two system wallets.
pub(crate) const NAMES: [&str; TOTALS] = [
    "recharge",
    "withdraw",
    "pay",
    "transfer",
    "refund",
    "hold",
    "capture",
    "release",
    "discount",
    "pay_refunded",
    "users",
    "@sales",
    "@holds",
];

/// The facts of an entry that the totals are made of.
pub(crate) struct Counted<'a> {
    pub kind: &'a str,
    /// Of a refund: the kind of its original.
    pub refunded: Option<&'a str>,
    pub from: &'a str,
    pub to: &'a str,
    pub amount: i64,
    pub discount: i64,
}

impl RunningTotals {
    /// Counts an entry.
    pub(crate) fn add(&mut self, entry: &Counted<'_>) {
        let amount = i128::from(entry.amount);
        self.add_to(entry.kind, 1, amount);
        // Of a hold it counts with the capture.
        if entry.discount > 0 && entry.kind != EntryKind::Hold.as_str() {
            self.add_to("discount", 1, entry.discount.into());
        }
        if matches!(entry.refunded, Some("pay" | "capture")) {
            self.add_to("pay_refunded", 1, amount);
        }
        for (wallet, change) in [(entry.from, -amount), (entry.to, amount)] {
            self.add_to(if wallet.starts_with('@') { wallet } else { "users" }, 0, change);
        }
    }

    /// A name that has no total, `@bank`, changes nothing.
    fn add_to(&mut self, name: &str, count: i64, sum: i128) {
        if let Some(place) = NAMES.iter().position(|own| *own == name) {
            let total = &mut self.all[place];
            total.count += count;
            total.sum += sum;
            self.changed |= 1 << place;
        }
    }

    /// The total of that name.
    pub(crate) fn of(&self, name: &str) -> RunningTotal {
        NAMES.iter().position(|own| *own == name).map(|place| self.all[place]).unwrap_or_default()
    }

    /// The balance of `@bank`: all balances together are nothing.
    pub(super) fn of_bank(&self) -> i128 {
        -["users", "@sales", "@holds"].map(|name| self.of(name).sum).iter().sum::<i128>()
    }

    /// The totals of the time from `before` on.
    fn since(&self, before: &RunningTotals) -> RunningTotals {
        let mut since = *self;
        for (total, before) in since.all.iter_mut().zip(before.all) {
            total.count -= before.count;
            total.sum -= before.sum;
        }
        since
    }
}

/// The quarter of an hour of a time, numbered from 1970.
pub(crate) fn quarter_of(at: i64) -> i64 {
    at.div_euclid(QUARTER_MS)
}

/// Counts an entry that was just written.
pub(super) fn count(tx: &WriteTx<'_>, entry: &Entry, refunded: Option<EntryKind>) {
    let counted = Counted {
        kind: entry.kind.as_str(),
        refunded: refunded.map(EntryKind::as_str),
        from: entry.from.as_str(),
        to: entry.to.as_str(),
        amount: entry.amount.cents(),
        discount: entry.discount.map_or(0, |discount| discount.0),
    };
    tx.change_unit(|unit| unit.totals.add(&counted));
}

/// Writes the totals that the batch has changed, and all of them in a new quarter of an hour. Must be done before the
/// commit. All entries of a batch have one time.
pub(crate) fn write(tx: &WriteTx<'_>) -> Result<(), Error> {
    let totals = tx.unit().totals;
    if totals.changed == 0 {
        return Ok(());
    }
    let quarter = quarter_of(tx.chain_head().at);
    for (place, (name, total)) in NAMES.iter().zip(totals.all).enumerate() {
        let is_new = quarter != totals.written && total != RunningTotal::default();
        if is_new || totals.changed & 1 << place != 0 {
            tx.execute_one(
                "INSERT INTO report_total (quarter, what, count, sum) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (quarter, what) DO UPDATE SET count = excluded.count, sum = excluded.sum",
                params![quarter, name, total.count, total.sum.to_string()],
            )?;
        }
    }
    tx.change_unit(|unit| (unit.totals.written, unit.totals.changed) = (quarter, 0));
    Ok(())
}

/// The totals up to the newest entry, as they were written.
pub(crate) fn newest(tx: &Tables<'_>) -> Result<RunningTotals, Error> {
    totals_before(tx, i64::MAX)
}

/// The totals up to the end of the last quarter before that one.
pub(super) fn totals_before(tx: &Tables<'_>, quarter: i64) -> Result<RunningTotals, Error> {
    let sql = "SELECT quarter, what, count, sum FROM report_total WHERE quarter = \
               (SELECT quarter FROM report_total WHERE quarter < $1 ORDER BY quarter DESC LIMIT 1)";
    let mut totals = RunningTotals::default();
    for (quarter, what, total) in tx.all(sql, params![quarter], read)? {
        totals.written = quarter;
        if let Some(place) = NAMES.iter().position(|name| *name == what) {
            totals.all[place] = total;
        }
    }
    Ok(totals)
}

/// Quarter, name and total of a row.
pub(crate) fn read(row: &Row<'_>) -> RowResult<(i64, String, RunningTotal)> {
    let sum: String = row.get(3)?;
    let sum = sum.parse().map_err(|_| unreadable(3))?;
    Ok((row.get(0)?, row.get(1)?, RunningTotal { count: row.get(2)?, sum }))
}

/// One period of a report.
pub(crate) struct ReportPeriod {
    /// Its first millisecond.
    pub since: i64,
    /// The first millisecond behind it.
    pub until: i64,
    /// The totals of the entries in it.
    pub totals: RunningTotals,
    /// The balances before it.
    pub opening: Standing,
    /// The balances at its end.
    pub closing: Standing,
}

/// Balances at a moment, in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Of all users together, of `@sales` and of `@holds`.
    Everyone { users: i128, sales: i128, holds: i128 },
    /// Of one wallet.
    OneWallet(i128),
}

impl Standing {
    fn of(totals: &RunningTotals) -> Standing {
        let [users, sales, holds] = ["users", "@sales", "@holds"].map(|name| totals.of(name).sum);
        Standing::Everyone { users, sales, holds }
    }
}

/// The periods between these moments, which rise and are in whole quarters of an hour.
pub(crate) fn periods(tx: &ReadTx<'_>, bounds: &[i64]) -> Result<Vec<ReportPeriod>, Error> {
    let totals: Result<Vec<_>, _> = bounds.iter().map(|bound| totals_before(tx, quarter_of(*bound))).collect();
    let totals = totals?;
    let spans = bounds.windows(2).zip(totals.windows(2));
    let period = |(span, ends): (&[i64], &[RunningTotals])| ReportPeriod {
        since: span[0],
        until: span[1],
        totals: ends[1].since(&ends[0]),
        opening: Standing::of(&ends[0]),
        closing: Standing::of(&ends[1]),
    };
    Ok(spans.map(period).collect())
}

/// The totals of all these periods together.
pub(crate) fn sum_of(periods: &[ReportPeriod]) -> RunningTotals {
    let mut sum = RunningTotals::default();
    for period in periods {
        for (total, own) in sum.all.iter_mut().zip(period.totals.all) {
            total.count += own.count;
            total.sum += own.sum;
        }
    }
    sum
}

/// The most entries that a report of one wallet sums up.
const ENTRIES_OF_WALLET_MAX: i64 = 100_000;

/// The same of one wallet.
pub(crate) fn periods_of_wallet(
    tx: &ReadTx<'_>,
    wallet: &WalletId,
    bounds: &[i64],
) -> Result<Vec<ReportPeriod>, Error> {
    super::wallet(tx, wallet)?;
    let (Some(start), Some(end)) = (bounds.first(), bounds.last()) else { return Ok(Vec::new()) };
    let first = last_entry_before(tx, *start)? + 1;
    let last = last_entry_before(tx, *end)?;
    let mut balance = balance_before(tx, wallet, first, *start)?;
    let entries = entries_of(tx, wallet, first, last)?;
    let mut entries = entries.iter().peekable();
    let mut periods = Vec::new();
    for span in bounds.windows(2) {
        let (opening, mut totals) = (Standing::OneWallet(balance), RunningTotals::default());
        while let Some(entry) = entries.next_if(|entry| entry.at < span[1]) {
            totals.add(&Counted {
                kind: &entry.kind,
                refunded: entry.refunded.as_deref(),
                from: "",
                to: "",
                amount: entry.amount,
                discount: entry.discount,
            });
            balance += i128::from(if entry.is_giver { -entry.amount } else { entry.amount });
        }
        let closing = Standing::OneWallet(balance);
        periods.push(ReportPeriod { since: span[0], until: span[1], totals, opening, closing });
    }
    Ok(periods)
}

/// An entry of a wallet, as its report needs it.
struct EntryOfWallet {
    at: i64,
    kind: String,
    is_giver: bool,
    amount: i64,
    discount: i64,
    refunded: Option<String>,
}

fn entries_of(tx: &ReadTx<'_>, wallet: &WalletId, first: i64, last: i64) -> Result<Vec<EntryOfWallet>, Error> {
    macro_rules! columns {
        () => {
            "SELECT at, kind, from_wallet = $1, amount, coalesce(discount, 0), \
             (SELECT original.kind FROM entry AS original WHERE original.id = entry.refunds) FROM entry WHERE "
        };
    }
    let is_bank = *wallet == WalletId::BANK; // its entries are in no index, for nearly every entry is one
    let sql = match is_bank {
        true => concat!(columns!(), "$1 IN (from_wallet, to_wallet) AND id BETWEEN $2 AND $3 ORDER BY id LIMIT $4"),
        false => concat!(
            columns!(),
            "id IN (SELECT id FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id BETWEEN $2 AND $3 \
             UNION ALL SELECT id FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id BETWEEN $2 AND $3 \
             LIMIT $4) ORDER BY id"
        ),
    };
    let read = |row: &Row<'_>| {
        Ok(EntryOfWallet {
            at: row.get(0)?,
            kind: row.get(1)?,
            is_giver: row.get(2)?,
            amount: row.get(3)?,
            discount: row.get(4)?,
            refunded: row.get(5)?,
        })
    };
    let most = ENTRIES_OF_WALLET_MAX;
    let too_many = || {
        let detail = format!("{wallet} has more than {most} entries in this time; choose a shorter time");
        Error::new(ErrorName::InvalidRequest, detail)
    };
    if is_bank && last - first >= most {
        return Err(too_many());
    }
    let entries = tx.all(sql, params![wallet, first, last, most + 1], read)?;
    if entries.len() as i64 > most { Err(too_many()) } else { Ok(entries) }
}

/// The balance before the entry `first`, the first one at `start` or later.
fn balance_before(tx: &ReadTx<'_>, wallet: &WalletId, first: i64, start: i64) -> Result<i128, Error> {
    if *wallet == WalletId::BANK {
        return Ok(totals_before(tx, quarter_of(start))?.of_bank());
    }
    let sql = "SELECT balance FROM (SELECT id, from_balance AS balance FROM entry WHERE id = \
               (SELECT max(id) FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id < $2) \
               UNION ALL SELECT id, to_balance FROM entry WHERE id = \
               (SELECT max(id) FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id < $2) \
               ORDER BY id DESC LIMIT 1) AS newest";
    let balance = tx.one(sql, params![wallet, first], |row| row.get::<i64>(0))?;
    Ok(balance.unwrap_or(0).into())
}
