//! An entry, its row, and the bytes its hash covers.

use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, Fence, WalletId};
use crate::money::{Balance, Cents, Money};
use crate::secret::{Hash, put_field, sha256};
use crate::tx::{ChainHead, Row, RowResult, Tables, WriteTx, params, unreadable};

/// The kind of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// From the outside world into a wallet.
    Recharge,
    /// From a wallet to the outside world.
    Withdraw,
    /// From a wallet for something bought.
    Pay,
    /// From a wallet to another.
    Transfer,
    /// Back, for an earlier entry.
    Refund,
    /// From a wallet to `@holds`, reserved for one receiver.
    Hold,
    /// From `@holds` to the receiver of a hold.
    Capture,
    /// From `@holds` back to the wallet that held.
    Release,
}

impl EntryKind {
    pub(crate) const ALL: [EntryKind; 8] = [
        EntryKind::Recharge,
        EntryKind::Withdraw,
        EntryKind::Pay,
        EntryKind::Transfer,
        EntryKind::Refund,
        EntryKind::Hold,
        EntryKind::Capture,
        EntryKind::Release,
    ];

    /// The kind as text.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Recharge => "recharge",
            EntryKind::Withdraw => "withdraw",
            EntryKind::Pay => "pay",
            EntryKind::Transfer => "transfer",
            EntryKind::Refund => "refund",
            EntryKind::Hold => "hold",
            EntryKind::Capture => "capture",
            EntryKind::Release => "release",
        }
    }

    /// Returns whether it counts for the limits of the wallet it leaves.
    pub(crate) fn is_spending(self) -> bool {
        matches!(self, EntryKind::Withdraw | EntryKind::Pay | EntryKind::Transfer | EntryKind::Hold)
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Result<EntryKind, Error> {
        let kind = EntryKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| {
            Error::invalid("kind is one of recharge, withdraw, pay, transfer, refund, hold, capture, release")
        })
    }

    /// True for a step of a hold: it moves reserved money.
    pub(crate) fn is_of_hold(self) -> bool {
        matches!(self, EntryKind::Hold | EntryKind::Capture | EntryKind::Release)
    }
}

impl std::fmt::Display for EntryKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One immutable movement `from → to`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// use cashbox::{EntryKind, WalletId};
///
/// let entry = cashbox.recharge(&alice, "50".parse()?)?.entry;
/// assert_eq!((entry.kind, entry.from), (EntryKind::Recharge, WalletId::BANK));
/// assert_eq!((entry.to, entry.to_balance.cents()), (alice.wallet(), 5_000));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// Time, in milliseconds since 1970; never less than that of the entry before.
    pub at: i64,
    /// The kind of movement.
    pub kind: EntryKind,
    /// The wallet that gave.
    pub from: WalletId,
    /// The wallet that received.
    pub to: WalletId,
    /// The amount moved, after any discount.
    pub amount: Money,
    /// The giver's balance after it.
    pub from_balance: Balance,
    /// The receiver's balance after it.
    pub to_balance: Balance,
    /// The caller who asked for it.
    pub by: String,
    /// The coupon a payment used, or a recharge earned.
    pub coupon: Option<CouponCode>,
    /// Of a payment: the price before the discount.
    pub gross: Option<Money>,
    /// Of a payment: the part that the coupon took off.
    pub discount: Option<Cents>,
    /// Of a refund: the entry it gives back.
    pub refunds: Option<EntryId>,
    /// The client's own name for it.
    pub reference: Option<String>,
    /// The client's metadata: a flat JSON object of strings.
    pub metadata: Option<String>,
    /// The lease it was made under.
    pub fence: Option<Fence>,
    /// Of a step of a hold: the hold, which is named by its first entry.
    pub hold: Option<EntryId>,
    /// Of a hold: its receiver.
    pub hold_to: Option<WalletId>,
    /// Of a hold: its `expires_at`. Of the capture that ends a hold: its own time. In milliseconds since 1970.
    pub hold_until: Option<i64>,
    /// SHA-256 of the hash before it and of everything above.
    pub hash: Hash,
}

impl Entry {
    /// The entry with its hash, which ties it to everything before.
    #[doc(hidden)]
    pub fn chained_to(mut self, previous: &Hash) -> Entry {
        self.hash = self.hash_after(previous);
        self
    }

    /// The hash it must have if `previous` is the hash of the entry before it (32 zero bytes before the first).
    #[doc(hidden)]
    pub fn hash_after(&self, previous: &Hash) -> Hash {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend(previous);
        self.write_bytes(&mut bytes);
        sha256(&bytes)
    }

    /// The byte layout that is hashed. It never changes. The first byte is its version: 2 for the steps of a hold, which
    /// have three more fields, and 1 for all others. Every field is a big-endian u32 length and that many bytes; an integer is 8 bytes, big-endian; an
    /// absent field has the length 0xFFFFFFFF and no bytes. The order is that of the struct.
    fn write_bytes(&self, bytes: &mut Vec<u8>) {
        bytes.push(if self.kind.is_of_hold() { 2 } else { 1 });
        let mut field = |value: Option<&[u8]>| put_field(bytes, value);
        field(Some(&self.id.0.to_be_bytes()));
        field(Some(&self.at.to_be_bytes()));
        field(Some(self.kind.as_str().as_bytes()));
        field(Some(self.from.as_str().as_bytes()));
        field(Some(self.to.as_str().as_bytes()));
        field(Some(&self.amount.cents().to_be_bytes()));
        field(Some(&self.from_balance.cents().to_be_bytes()));
        field(Some(&self.to_balance.cents().to_be_bytes()));
        field(Some(self.by.as_bytes()));
        field(self.coupon.as_ref().map(|code| code.as_str().as_bytes()));
        field(self.gross.map(|gross| gross.cents().to_be_bytes()).as_ref().map(|b| &b[..]));
        field(self.discount.map(|discount| discount.0.to_be_bytes()).as_ref().map(|b| &b[..]));
        field(self.refunds.map(|id| id.0.to_be_bytes()).as_ref().map(|b| &b[..]));
        field(self.reference.as_deref().map(str::as_bytes));
        field(self.metadata.as_deref().map(str::as_bytes));
        field(self.fence.map(|fence| fence.0.to_be_bytes()).as_ref().map(|b| &b[..]));
        if self.kind.is_of_hold() {
            field(self.hold.map(|id| id.0.to_be_bytes()).as_ref().map(|b| &b[..]));
            field(self.hold_to.as_ref().map(|to| to.as_str().as_bytes()));
            field(self.hold_until.map(i64::to_be_bytes).as_ref().map(|b| &b[..]));
        }
    }

    /// Reads a row of `entry_columns!`.
    #[doc(hidden)]
    pub fn read(row: &Row<'_>) -> RowResult<Entry> {
        let kind: String = row.get(2)?;
        Ok(Entry {
            id: row.get(0)?,
            at: row.get(1)?,
            kind: EntryKind::parse(&kind).map_err(|_| unreadable(2))?,
            from: row.get(3)?,
            to: row.get(4)?,
            amount: row.get(5)?,
            from_balance: row.get(6)?,
            to_balance: row.get(7)?,
            by: row.get(8)?,
            coupon: row.get(9)?,
            gross: row.get(10)?,
            discount: row.get::<Option<i64>>(11)?.map(Cents),
            refunds: row.get(12)?,
            reference: row.get(13)?,
            metadata: row.get(14)?,
            fence: row.get(15)?,
            hold: row.get(16)?,
            hold_to: row.get(17)?,
            hold_until: row.get(18)?,
            hash: row.get(19)?,
        })
    }
}

/// The columns of an entry, in the order of the struct.
macro_rules! entry_columns {
    () => {
        "id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, coupon, \
         gross, discount, refunds, reference, metadata, fence, hold, hold_to, hold_until, hash"
    };
}
pub(super) use entry_columns;

/// Every entry in the order of the chain.
pub(crate) const ALL_IN_ORDER: &str = concat!("SELECT ", entry_columns!(), " FROM entry ORDER BY id");

/// The same of a file of an earlier version, which has no holds.
pub(crate) const ALL_IN_ORDER_BEFORE_HOLDS: &str = "SELECT id, at, kind, from_wallet, to_wallet, amount, from_balance, \
    to_balance, made_by, coupon, gross, discount, refunds, reference, metadata, fence, NULL, NULL, NULL, hash FROM entry ORDER BY id";

pub(super) fn insert(tx: &WriteTx<'_>, entry: &Entry) -> Result<(), Error> {
    tx.execute_one(
        concat!(
            "INSERT OR FAIL INTO entry (",
            entry_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
        ),
        params![
            entry.id,
            entry.at,
            entry.kind.as_str(),
            entry.from,
            entry.to,
            entry.amount,
            entry.from_balance,
            entry.to_balance,
            entry.by,
            entry.coupon,
            entry.gross,
            entry.discount.map(|discount| discount.0),
            entry.refunds,
            entry.reference,
            entry.metadata,
            entry.fence,
            entry.hold,
            entry.hold_to,
            entry.hold_until,
            entry.hash,
        ],
    )?;
    tx.change_unit(|unit| unit.head = ChainHead { id: entry.id.0, at: entry.at, hash: entry.hash });
    Ok(())
}

/// The entry of that number, which must be there.
pub fn entry(tx: &Tables<'_>, id: EntryId) -> Result<Entry, Error> {
    let found = tx.one(concat!("SELECT ", entry_columns!(), " FROM entry WHERE id = $1"), params![id], Entry::read)?;
    found.ok_or_else(|| not_found(id))
}

/// The refusal for an entry that does not exist or that the caller may not see.
pub(crate) fn not_found(id: EntryId) -> Error {
    Error::new(ErrorName::EntryNotFound, format!("there is no entry {}", id.0))
}

/// The newest entry; number 0 and a hash of zeros before the first.
pub(crate) fn chain_head(tx: &Tables<'_>) -> Result<ChainHead, Error> {
    let newest = "SELECT id, at, hash FROM entry ORDER BY id DESC LIMIT 1";
    let head = tx.one(newest, &[], |row| Ok(ChainHead { id: row.get(0)?, at: row.get(1)?, hash: row.get(2)? }))?;
    Ok(head.unwrap_or(ChainHead { id: 0, at: 0, hash: [0; 32] }))
}
