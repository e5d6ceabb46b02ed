//! Wallets: as the file has them, and as the batch has left them, which is what rules ask for.
//!
//! Nearly every entry moves a system wallet, so the writer reads these once and writes them once for many entries
//! ([`write_system_wallets`]). Users' wallets are read and written as they come.

use crate::error::{Error, ErrorName};
use crate::id::WalletId;
use crate::money::{Balance, Cents, Money};
use crate::tx::{ReadTx, Row, RowResult, SystemWallet, Tables, Unit, WriteTx, params, unreadable};

/// A wallet as it is now.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// cashbox.recharge(&alice, "50".parse()?)?;
/// let wallet = cashbox.wallet(&alice)?;
/// assert_eq!((wallet.balance.cents(), wallet.entries), (5_000, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wallet {
    /// Its owner.
    pub id: WalletId,
    /// Its balance.
    pub balance: Balance,
    /// The number of entries that moved it.
    pub entries: i64,
    /// Open, frozen or closed.
    pub status: WalletStatus,
    /// The bounds of what may leave it.
    pub(crate) limits: SpendingLimits,
}

/// The status of a wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalletStatus {
    /// Money comes in and goes out.
    #[default]
    Open,
    /// Money may come in, none goes out.
    Frozen,
    /// It is empty, and nothing moves.
    Closed,
}

impl WalletStatus {
    /// Each status.
    pub(crate) const ALL: [WalletStatus; 3] = [WalletStatus::Open, WalletStatus::Frozen, WalletStatus::Closed];

    /// The status as text.
    pub fn as_str(self) -> &'static str {
        match self {
            WalletStatus::Open => "open",
            WalletStatus::Frozen => "frozen",
            WalletStatus::Closed => "closed",
        }
    }

    /// The status of that name.
    pub(crate) fn from_text(text: &str) -> Option<WalletStatus> {
        WalletStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// The bounds of what may leave a wallet; most have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendingLimits {
    /// The most that one withdrawal, payment, transfer or hold may move.
    pub per_payment: Option<Money>,
    /// The most that they may move together on one day of UTC.
    pub per_day: Option<Money>,
}

/// The columns of a wallet with its settings, from [`wallet_tables`].
macro_rules! wallet_columns {
    () => {
        "wallet.id, wallet.balance, wallet.entries, wallet_setting.status, wallet_setting.limit_per_payment, \
         wallet_setting.limit_per_day"
    };
}
pub(super) use wallet_columns;

/// Wallets and their settings.
macro_rules! wallet_tables {
    () => {
        "wallet LEFT JOIN wallet_setting ON wallet_setting.wallet = wallet.id"
    };
}
pub(super) use wallet_tables;

impl Wallet {
    /// A wallet without settings.
    pub(super) fn plain(id: WalletId, balance: Balance, entries: i64) -> Wallet {
        Wallet { id, balance, entries, status: WalletStatus::Open, limits: SpendingLimits::default() }
    }

    /// A wallet without money.
    pub(crate) fn empty(id: WalletId) -> Wallet {
        Wallet::plain(id, Balance::ZERO, 0)
    }

    /// Reads [`wallet_columns`].
    pub(super) fn read(row: &Row<'_>) -> RowResult<Wallet> {
        let plain = Wallet::plain(row.get(0)?, row.get(1)?, row.get(2)?);
        let status = match row.get::<Option<String>>(3)? {
            None => return Ok(plain),
            Some(status) => WalletStatus::from_text(&status).ok_or_else(|| unreadable(3))?,
        };
        Ok(Wallet { status, limits: SpendingLimits { per_payment: row.get(4)?, per_day: row.get(5)? }, ..plain })
    }

    /// Its balance after giving that amount, or the refusal.
    pub(super) fn after_giving(&self, amount: Money) -> Result<Balance, Error> {
        let rest = self.balance.minus(amount).ok_or_else(|| balance_limit(self))?;
        if rest < Balance::ZERO && !self.id.is_system() {
            return Err(insufficient_funds(self, amount));
        }
        Ok(rest)
    }

    /// Its balance after receiving that amount, or the refusal.
    pub(super) fn after_receiving(&self, amount: Money) -> Result<Balance, Error> {
        let within = |sum: &Balance| self.id.is_system() || *sum <= Balance::LIMIT;
        self.balance.plus(amount).filter(within).ok_or_else(|| balance_limit(self))
    }
}

/// The wallet, which must exist.
pub fn wallet(tx: &ReadTx<'_>, id: &WalletId) -> Result<Wallet, Error> {
    find_wallet(tx, id)?.ok_or_else(|| not_found(id))
}

/// The wallet, if it exists.
pub fn find_wallet(tx: &ReadTx<'_>, id: &WalletId) -> Result<Option<Wallet>, Error> {
    select(tx, id)
}

/// The amount that is reserved of a wallet's money.
pub fn held(tx: &Tables<'_>, id: &WalletId) -> Result<Cents, Error> {
    let sql = "SELECT coalesce(sum(amount_left), 0) FROM hold WHERE wallet = $1 AND amount_left > 0";
    Ok(Cents(tx.one(sql, params![id], |row| row.get(0))?.unwrap_or(0)))
}

/// The wallet as the batch has left it, which must exist.
pub(super) fn current(tx: &WriteTx<'_>, id: &WalletId) -> Result<Wallet, Error> {
    find_current(tx, id)?.ok_or_else(|| not_found(id))
}

/// The wallet as the batch has left it, if it exists.
pub(super) fn find_current(tx: &WriteTx<'_>, id: &WalletId) -> Result<Option<Wallet>, Error> {
    let Some(index) = system_index(id) else {
        return if has_rules(tx)? { select(tx, id) } else { select_plain(tx, id) };
    };
    let kept = tx.unit().system[index];
    let system = if kept.is_some() { kept } else { read_system(tx, index)? };
    Ok(system.map(|SystemWallet { balance, entries, .. }| Wallet::plain(id.clone(), balance, entries)))
}

/// Returns whether any wallet has a status or limits that a movement must keep to. Asked once in a batch, so that files
/// without them pay nothing for them.
fn has_rules(tx: &WriteTx<'_>) -> Result<bool, Error> {
    let known = tx.unit().has_rules;
    if let Some(known) = known {
        return Ok(known);
    }
    let one = "SELECT 1 FROM wallet_setting \
               WHERE status <> 'open' OR limit_per_payment IS NOT NULL OR limit_per_day IS NOT NULL LIMIT 1";
    let found = tx.one(one, &[], |_| Ok(()))?.is_some();
    tx.change_unit(|unit| unit.has_rules = Some(found));
    Ok(found)
}

/// Makes the batch look at settings: some were written.
pub(super) fn note_rules(tx: &WriteTx<'_>) {
    tx.change_unit(|unit| unit.has_rules = Some(true));
}

/// Refuses a movement between wallets of which one is closed, or the giver frozen.
pub(super) fn check_open(giver: &Wallet, receiver: &Wallet) -> Result<(), Error> {
    check_not_closed(giver)?;
    check_not_closed(receiver)?;
    if giver.status == WalletStatus::Frozen {
        let detail = format!("the wallet of {} is frozen: money may come in, and none goes out", giver.id);
        return Err(Error::new(ErrorName::WalletFrozen, detail).with("user", giver.id.as_str()));
    }
    Ok(())
}

/// Refuses a closed wallet.
pub(super) fn check_not_closed(wallet: &Wallet) -> Result<(), Error> {
    if wallet.status == WalletStatus::Closed {
        let detail = format!("the wallet of {} is closed; an admin can open it again", wallet.id);
        return Err(Error::new(ErrorName::WalletClosed, detail).with("user", wallet.id.as_str()));
    }
    Ok(())
}

pub(super) fn insert_wallet(tx: &WriteTx<'_>, id: WalletId) -> Result<Wallet, Error> {
    tx.execute_one("INSERT INTO wallet (id, created_at) VALUES ($1, $2)", params![id, tx.now().wall_ms])?;
    Ok(Wallet::empty(id))
}

/// Sets the balance after the newest entry, which moved the wallet.
pub(super) fn set_balance(tx: &WriteTx<'_>, wallet: &Wallet, balance: Balance) -> Result<(), Error> {
    match system_index(&wallet.id) {
        Some(index) => {
            keep(tx, index, SystemWallet { balance, entries: wallet.entries + 1, is_changed: true });
            Ok(())
        }
        None => tx.execute_one(
            "UPDATE OR FAIL wallet SET balance = $1, entries = entries + 1 WHERE id = $2",
            params![balance, wallet.id],
        ),
    }
}

/// Refuses a recharge that would leave less than half of the room of `@bank`. The other half is for staff: a user that
/// recharges and pays in a circle cannot use it up.
pub(crate) fn check_half_of_bank(tx: &WriteTx<'_>, amount: Money) -> Result<(), Error> {
    let bank = current(tx, &WalletId::BANK)?;
    match bank.balance.minus(amount) {
        Some(rest) if rest.cents() >= -Balance::SYSTEM_LIMIT.cents() / 2 => Ok(()),
        _ => Err(Error::new(ErrorName::BalanceLimit, "users have recharged as much as they may; ask the staff")),
    }
}

/// The most entries, about, between two writes of a system wallet: the trigger that checks its next entry reads all of them.
const ENTRIES_BETWEEN_WRITES: i64 = 1_024;

/// Writes the system wallets that the batch has changed; now and then all of them. Must be done before the commit.
pub(crate) fn write_system_wallets(tx: &WriteTx<'_>) -> Result<(), Error> {
    let Unit { head, written_up_to, .. } = *tx.unit();
    if head.id == written_up_to {
        return Ok(());
    }
    let all = head.id / ENTRIES_BETWEEN_WRITES > written_up_to / ENTRIES_BETWEEN_WRITES;
    for (index, id) in WalletId::SYSTEM.iter().enumerate() {
        let kept = tx.unit().system[index];
        let system = match kept {
            None if all => read_system(tx, index)?,
            kept => kept.filter(|system| all || system.is_changed),
        };
        if let Some(system) = system {
            tx.execute_one(
                "UPDATE OR FAIL wallet SET balance = $1, entries = $2, newest = $3 WHERE id = $4",
                params![system.balance, system.entries, head.id, id],
            )?;
            keep(tx, index, SystemWallet { is_changed: false, ..system });
        }
    }
    tx.change_unit(|unit| unit.written_up_to = head.id);
    Ok(())
}

fn select(tables: &Tables<'_>, id: &WalletId) -> Result<Option<Wallet>, Error> {
    let sql = concat!("SELECT ", wallet_columns!(), " FROM ", wallet_tables!(), " WHERE wallet.id = $1");
    tables.one(sql, params![id], Wallet::read)
}

fn select_plain(tables: &Tables<'_>, id: &WalletId) -> Result<Option<Wallet>, Error> {
    tables.one("SELECT balance, entries FROM wallet WHERE id = $1", params![id], |row| {
        Ok(Wallet::plain(id.clone(), row.get(0)?, row.get(1)?))
    })
}

fn read_system(tx: &WriteTx<'_>, index: usize) -> Result<Option<SystemWallet>, Error> {
    let wallet = select_plain(tx, &WalletId::SYSTEM[index])?;
    let system = wallet.map(|Wallet { balance, entries, .. }| SystemWallet { balance, entries, is_changed: false });
    system.into_iter().for_each(|system| keep(tx, index, system));
    Ok(system)
}

fn keep(tx: &WriteTx<'_>, index: usize, system: SystemWallet) {
    tx.change_unit(|unit| unit.system[index] = Some(system));
}

fn system_index(id: &WalletId) -> Option<usize> {
    if id.is_system() { WalletId::SYSTEM.iter().position(|system| system == id) } else { None }
}

pub(super) fn not_found(id: &WalletId) -> Error {
    Error::new(ErrorName::WalletNotFound, format!("\"{id}\" has no wallet; the first recharge creates it"))
        .with("user", id.as_str())
}

fn insufficient_funds(wallet: &Wallet, needed: Money) -> Error {
    let balance = wallet.balance.to_string();
    let detail = format!("{} has {balance} and needs {needed}", wallet.id);
    Error::new(ErrorName::InsufficientFunds, detail).with("balance", balance).with("needed", needed.to_string())
}

fn balance_limit(wallet: &Wallet) -> Error {
    let limit = if wallet.id.is_system() { Balance::SYSTEM_LIMIT } else { Balance::LIMIT };
    Error::new(ErrorName::BalanceLimit, format!("the balance of {} would pass {limit}", wallet.id))
}
