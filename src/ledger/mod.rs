//! The ledger: wallets, and the entries that move money between them.
//!
//! Invariants:
//! - Money only moves: the sum over all wallets is zero. A mistake is refunded, never edited.
//! - A wallet's balance is the sum of its entries, and each entry states both balances after it.
//! - Only a system wallet goes below zero.
//! - Entries are numbered without gaps, in time order, each hashed together with the hash before it.
//!
//! Knows nothing of: HTTP, keys, locks, the rights of a caller.

pub(crate) mod as_of;
pub(crate) mod coupon;
pub(crate) mod detail;
pub(crate) mod entry;
pub(crate) mod hold;
pub(crate) mod query;
pub(crate) mod report;
pub(crate) mod settings;
pub(crate) mod verbs;
mod wallet;
pub(crate) mod wallet_list;

pub use wallet::{SpendingLimits, Wallet, WalletStatus, find_wallet, held, wallet};
pub(crate) use wallet::{check_half_of_bank, write_system_wallets};

use crate::error::Error;
use crate::id::{CouponCode, EntryId, Fence, WalletId};
use crate::money::{Cents, Money};
use crate::tx::WriteTx;
use entry::{Entry, EntryKind};
use std::collections::BTreeMap;
use wallet::{check_open, set_balance};

/// The client's own words about a movement, kept with its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The client's name for it, at most 255 characters.
    pub reference: Option<String>,
    /// A flat JSON object of strings, in canonical form: keys sorted, no spaces.
    pub metadata: Option<String>,
}

impl Note {
    /// The longest reference, in characters.
    pub const REFERENCE_CHARS_MAX: usize = 255;
    /// The most pairs of metadata.
    pub const METADATA_PAIRS_MAX: usize = 20;
    /// The longest name of a pair, in characters.
    pub const METADATA_NAME_MAX: usize = 40;
    /// The longest value of a pair, in characters.
    pub const METADATA_VALUE_MAX: usize = 500;

    /// Checks the bounds. An empty reference and empty metadata are the same as none.
    pub fn new(reference: Option<String>, metadata: BTreeMap<String, String>) -> Result<Note, Error> {
        let reference = reference.filter(|text| !text.is_empty());
        if reference.as_ref().is_some_and(|text| text.chars().count() > Note::REFERENCE_CHARS_MAX) {
            let most = Note::REFERENCE_CHARS_MAX;
            return Err(Error::invalid(format!("reference has at most {most} characters")));
        }
        let fits = |(name, value): (&String, &String)| {
            (1..=Note::METADATA_NAME_MAX).contains(&name.chars().count())
                && value.chars().count() <= Note::METADATA_VALUE_MAX
        };
        if metadata.len() > Note::METADATA_PAIRS_MAX || !metadata.iter().all(fits) {
            return Err(Note::invalid_metadata());
        }
        let canonical: serde_json::Map<_, _> =
            metadata.into_iter().map(|(name, value)| (name, serde_json::Value::String(value))).collect();
        let metadata = (!canonical.is_empty()).then(|| serde_json::Value::Object(canonical).to_string());
        Ok(Note { reference, metadata })
    }

    /// Its length in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.reference.as_ref().map_or(0, String::len) + self.metadata.as_ref().map_or(0, String::len)
    }

    /// The refusal of metadata that is not a flat object within its bounds.
    pub fn invalid_metadata() -> Error {
        Error::invalid("metadata is a flat object of at most 20 strings: names up to 40 characters, values up to 500")
    }
}

/// The caller of a command and the lease it is made under: every entry keeps both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribution<'a> {
    /// The caller: a user, an access token's id, or `@local`.
    pub by: &'a str,
    /// The lease it is made under, if a lock token was presented.
    pub fence: Option<Fence>,
}

/// The content of an entry beyond from, to and amount.
struct EntryDetails<'a> {
    kind: EntryKind,
    attribution: &'a Attribution<'a>,
    note: &'a Note,
    coupon: Option<&'a CouponCode>,
    /// Gross and discount of a payment.
    price: Option<(Money, Cents)>,
    /// Of a refund: its original, and the kind of that.
    refunds: Option<(EntryId, EntryKind)>,
    hold: Option<HoldDetails<'a>>,
}

/// The fields of a step of a hold.
struct HoldDetails<'a> {
    id: EntryId,
    to: Option<&'a WalletId>,
    until: Option<i64>,
}

impl<'a> EntryDetails<'a> {
    fn new(kind: EntryKind, attribution: &'a Attribution<'a>, note: &'a Note) -> EntryDetails<'a> {
        EntryDetails { kind, attribution, note, coupon: None, price: None, refunds: None, hold: None }
    }
}

/// Moves `amount`, or nothing at all, within the settings of both wallets. The entry comes first, then the balances it
/// explains.
fn post(
    tx: &WriteTx<'_>,
    from: &Wallet,
    to: &Wallet,
    amount: Money,
    details: EntryDetails<'_>,
) -> Result<Entry, Error> {
    check_open(from, to)?;
    let spending = settings::check_limits(tx, from, details.kind, amount)?;
    let from_balance = from.after_giving(amount)?;
    let to_balance = to.after_receiving(amount)?;
    let head = tx.chain_head();
    let entry = Entry {
        id: EntryId(head.id + 1),
        at: tx.steady_wall_ms(),
        kind: details.kind,
        from: from.id.clone(),
        to: to.id.clone(),
        amount,
        from_balance,
        to_balance,
        by: details.attribution.by.to_owned(),
        coupon: details.coupon.cloned(),
        gross: details.price.map(|(gross, _)| gross),
        discount: details.price.map(|(_, discount)| discount),
        refunds: details.refunds.map(|(original, _)| original),
        reference: details.note.reference.clone(),
        metadata: details.note.metadata.clone(),
        fence: details.attribution.fence,
        hold: details.hold.as_ref().map(|hold| hold.id),
        hold_to: details.hold.as_ref().and_then(|hold| hold.to.cloned()),
        hold_until: details.hold.as_ref().and_then(|hold| hold.until),
        hash: [0; 32],
    }
    .chained_to(&head.hash);
    entry::insert(tx, &entry)?;
    report::count(tx, &entry, details.refunds.map(|(_, kind)| kind));
    set_balance(tx, from, from_balance)?;
    set_balance(tx, to, to_balance)?;
    if let Some(spending) = spending {
        settings::count_spending(tx, from, &spending)?;
    }
    Ok(entry)
}
