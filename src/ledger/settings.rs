//! The settings of users' wallets: a name and metadata for people, the status, and the limits of what may leave.
//!
//! Most wallets have none, and no row. A limit per day is counted in a row of its own, from the moment it is set.

use super::entry::EntryKind;
use super::query;
use super::wallet::{SpendingLimits, Wallet, WalletStatus, current, find_current, held, insert_wallet, note_rules};
use crate::clock::rfc3339;
use crate::error::{Error, ErrorName};
use crate::id::{UserId, WalletId, is_hidden};
use crate::money::{Balance, Cents, Money};
use crate::tx::{Row, RowResult, Tables, WriteTx, params, unreadable};

/// The settings of a wallet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalletSettings {
    /// A name for people, never compared.
    pub name: Option<String>,
    /// Open, frozen or closed.
    pub status: WalletStatus,
    /// A flat JSON object of strings, in canonical form.
    pub metadata: Option<String>,
    /// The bounds of what may leave.
    pub limits: SpendingLimits,
}

/// A wallet without money for a user without a wallet.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateWallet {
    /// The owner.
    pub user: UserId,
}

/// A change of a wallet's settings: of each field the new value, where the inner None clears it; the outer None leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct SetWallet {
    /// The owner.
    pub user: UserId,
    /// Trimmed, of 1 to 100 visible characters.
    pub name: Option<Option<String>>,
    /// Clearing it opens the wallet.
    pub status: Option<WalletStatus>,
    /// A flat JSON object of strings, in canonical form.
    pub metadata: Option<Option<String>>,
    /// The most that one withdrawal, payment, transfer or hold may move.
    pub limit_per_payment: Option<Option<Money>>,
    /// The most that they may move together on one day of UTC.
    pub limit_per_day: Option<Option<Money>>,
}

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 100;

/// Reads a name as a person wrote it, without the spaces around it.
pub(crate) fn wallet_name(text: &str) -> Result<String, Error> {
    let name = text.trim();
    if (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(is_hidden) {
        return Ok(name.to_owned());
    }
    let detail = format!(
        "name has 1 to {NAME_CHARS_MAX} characters of any script, without control, zero-width and bidirectional ones"
    );
    Err(Error::invalid(detail).with("field", "name"))
}

impl SetWallet {
    /// Returns whether only an admin may ask for it, whatever the wallet's status is.
    pub(crate) fn needs_admin(&self) -> bool {
        self.limit_per_payment.is_some() || self.limit_per_day.is_some() || self.status == Some(WalletStatus::Closed)
    }

    fn applied_to(&self, old: &WalletSettings) -> WalletSettings {
        let limits = SpendingLimits {
            per_payment: self.limit_per_payment.unwrap_or(old.limits.per_payment),
            per_day: self.limit_per_day.unwrap_or(old.limits.per_day),
        };
        WalletSettings {
            name: self.name.clone().unwrap_or_else(|| old.name.clone()),
            status: self.status.unwrap_or(old.status),
            metadata: self.metadata.clone().unwrap_or_else(|| old.metadata.clone()),
            limits,
        }
    }
}

/// Creates the user's wallet, without money.
pub(crate) fn create(tx: &WriteTx<'_>, user: &UserId) -> Result<Wallet, Error> {
    let id = user.wallet();
    if find_current(tx, &id)?.is_some() {
        return Err(Error::new(ErrorName::WalletExists, format!("{id} has a wallet")).with("user", id.as_str()));
    }
    insert_wallet(tx, id)
}

/// Changes the settings. A change that changes nothing writes nothing.
pub(crate) fn set(tx: &WriteTx<'_>, change: &SetWallet, is_admin: bool) -> Result<WalletSettings, Error> {
    let wallet = current(tx, &change.user.wallet())?;
    let old = settings(tx, &wallet.id)?;
    let new = change.applied_to(&old);
    let opens = old.status == WalletStatus::Closed && change.status.is_some();
    if !is_admin && (opens || change.needs_admin()) {
        return Err(Error::new(ErrorName::Forbidden, "only an admin closes and opens a wallet, and sets its limits"));
    }
    let reserved = if new.status == WalletStatus::Closed { held(tx, &wallet.id)? } else { Cents(0) };
    if new.status == WalletStatus::Closed && (wallet.balance != Balance::ZERO || reserved != Cents(0)) {
        let balance = wallet.balance.to_string();
        let detail = format!(
            "{} has {balance}, and {reserved} is reserved: take the money out and end its holds, and then close the wallet",
            wallet.id
        );
        let refusal = Error::new(ErrorName::WalletNotEmpty, detail).with("user", wallet.id.as_str());
        return Err(refusal.with("balance", balance).with("held", reserved.to_string()));
    }
    if new != old {
        write(tx, &wallet.id, &old, &new)?;
    }
    Ok(new)
}

fn write(tx: &WriteTx<'_>, wallet: &WalletId, old: &WalletSettings, new: &WalletSettings) -> Result<(), Error> {
    if old.limits.per_day.is_some() && new.limits.per_day.is_none() {
        tx.execute_one("DELETE FROM day_spending WHERE wallet = $1", params![wallet])?;
    }
    if *new == WalletSettings::default() {
        return tx.execute_one("DELETE FROM wallet_setting WHERE wallet = $1", params![wallet]);
    }
    let WalletSettings { name, status, metadata, limits } = new;
    tx.execute_one(
        "INSERT INTO wallet_setting (wallet, name, status, metadata, limit_per_payment, limit_per_day) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (wallet) DO UPDATE SET name = $2, status = $3, metadata = $4, \
         limit_per_payment = $5, limit_per_day = $6",
        params![wallet, name, status.as_str(), metadata, limits.per_payment, limits.per_day],
    )?;
    note_rules(tx);
    if old.limits.per_day.is_none() && new.limits.per_day.is_some() {
        let day = day_of(tx.steady_wall_ms());
        tx.execute_one(
            "INSERT INTO day_spending (wallet, day, spent) VALUES ($1, $2, $3)",
            params![wallet, day, spent_on(tx, wallet, day)?],
        )?;
    }
    Ok(())
}

/// The settings of a wallet.
pub(crate) fn settings(tx: &Tables<'_>, wallet: &WalletId) -> Result<WalletSettings, Error> {
    let sql = "SELECT name, status, metadata, limit_per_payment, limit_per_day FROM wallet_setting WHERE wallet = $1";
    Ok(tx.one(sql, params![wallet], read)?.unwrap_or_default())
}

fn read(row: &Row<'_>) -> RowResult<WalletSettings> {
    let status: String = row.get(1)?;
    Ok(WalletSettings {
        name: row.get(0)?,
        status: WalletStatus::from_text(&status).ok_or_else(|| unreadable(1))?,
        metadata: row.get(2)?,
        limits: SpendingLimits { per_payment: row.get(3)?, per_day: row.get(4)? },
    })
}

/// A day of UTC, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn day_of(at: i64) -> i64 {
    at.div_euclid(DAY_MS)
}

/// The day and the amount that a wallet with a limit per day has spent on it, in cents.
pub(super) struct DaySpending {
    day: i64,
    spent: i64,
}

/// Refuses an amount beyond a limit of the giver. Returns what must be counted once the entry is written.
pub(super) fn check_limits(
    tx: &WriteTx<'_>,
    giver: &Wallet,
    kind: EntryKind,
    amount: Money,
) -> Result<Option<DaySpending>, Error> {
    if giver.limits == SpendingLimits::default() || !kind.is_spending() {
        return Ok(None);
    }
    if let Some(limit) = giver.limits.per_payment.filter(|limit| amount > *limit) {
        let detail = format!("{} may spend {limit} at once, not {amount}", giver.id);
        let refusal = Error::new(ErrorName::LimitExceeded, detail).with("limit", limit.to_string());
        return Err(refusal.with("spent", None::<String>).with("resets_at", None::<String>));
    }
    let Some(limit) = giver.limits.per_day else { return Ok(None) };
    let day = day_of(tx.steady_wall_ms());
    let before = spent_today(tx, &giver.id, day)?;
    let spent = before.saturating_add(amount.cents());
    if spent > limit.cents() {
        let (before, resets_at) = (Cents(before).to_string(), rfc3339((day + 1) * DAY_MS));
        let detail = format!(
            "{} may spend {limit} a day, has spent {before} and asks for {amount}; ask again at {resets_at}",
            giver.id
        );
        let refusal = Error::new(ErrorName::LimitExceeded, detail).with("limit", limit.to_string());
        return Err(refusal.with("spent", before).with("resets_at", resets_at));
    }
    Ok(Some(DaySpending { day, spent }))
}

/// Writes what the giver has spent, after the entry.
pub(super) fn count_spending(tx: &WriteTx<'_>, giver: &Wallet, spending: &DaySpending) -> Result<(), Error> {
    tx.execute_one(
        "UPDATE day_spending SET day = $1, spent = $2 WHERE wallet = $3",
        params![spending.day, spending.spent, giver.id],
    )
}

/// The amount that a wallet with a limit per day has spent on that day, in cents.
fn spent_today(tx: &Tables<'_>, wallet: &WalletId, day: i64) -> Result<i64, Error> {
    let sql = "SELECT spent FROM day_spending WHERE wallet = $1 AND day = $2";
    Ok(tx.one(sql, params![wallet, day], |row| row.get(0))?.unwrap_or(0))
}

/// The amount that was spent on the day of that time, of the last day on which anything was and that amount.
pub(super) fn spent_at((day, spent): (i64, i64), at: i64) -> Cents {
    Cents(if day == day_of(at) { spent } else { 0 })
}

/// The kinds that count for the limits, as [`EntryKind::is_spending`] has them.
macro_rules! spending_kinds {
    () => {
        "('withdraw', 'pay', 'transfer', 'hold')"
    };
}

/// The day on which the wallet has spent something last, by its entries; the first one if it never has.
pub(crate) fn last_spending_day(tx: &Tables<'_>, wallet: &WalletId) -> Result<i64, Error> {
    let last = concat!(
        "SELECT at FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND kind IN ",
        spending_kinds!(),
        " ORDER BY id DESC LIMIT 1"
    );
    Ok(tx.one(last, params![wallet], |row| row.get(0))?.map_or(0, day_of))
}

/// The sum of the amounts that left the wallet on that day, in cents, by its entries. It stops at the largest number: then
/// it is above any limit.
pub(crate) fn spent_on(tx: &Tables<'_>, wallet: &WalletId, day: i64) -> Result<i64, Error> {
    let before = query::last_entry_before(tx, day.saturating_mul(DAY_MS))?;
    let last = query::last_entry_before(tx, day.saturating_add(1).saturating_mul(DAY_MS))?;
    // In two parts, because SQLite refuses a sum beyond 64 bits.
    let sums = concat!(
        "SELECT coalesce(sum(amount / 1000000), 0), coalesce(sum(amount % 1000000), 0) FROM entry \
         WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id > $2 AND id <= $3 AND kind IN ",
        spending_kinds!()
    );
    let sums = tx.one(sums, params![wallet, before, last], |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)))?;
    let (millions, rest) = sums.unwrap_or((0, 0));
    let sum = i128::from(millions) * 1_000_000 + i128::from(rest);
    Ok(i64::try_from(sum).unwrap_or(i64::MAX))
}
