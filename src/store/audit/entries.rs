//! What an entry says by itself: the ways money can go, what belongs to each kind, and what can stand in each field.

use super::Findings;
use crate::id::{Fence, WalletId};
use crate::ledger::Note;
use crate::ledger::entry::{Entry, EntryKind};
use crate::money::Balance;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// From 1970 to the end of the year 9999, in milliseconds: what a time can be written of.
const TIMES_MS: RangeInclusive<i64> = 0..=253_402_300_799_999;

/// Holds one entry against every rule that needs no other row. No fence is beyond `last_fence`.
pub fn check(entry: &Entry, last_fence: Fence, findings: &mut Findings) {
    let sides = [(&entry.from, entry.from_balance), (&entry.to, entry.to_balance)];
    let (pays, recharges, refunds) =
        (entry.kind == EntryKind::Pay, entry.kind == EntryKind::Recharge, entry.kind == EntryKind::Refund);
    let discount = entry.discount.map_or(0, |discount| discount.0);
    let broken = [
        (!goes_its_way(entry), "money goes the way of its kind", "goes another way than its kind"),
        (sides.iter().any(|(wallet, _)| !wallet.is_real()), "a wallet has a name", "names what is no wallet"),
        (
            sides.iter().any(|(wallet, balance)| *balance < Balance::ZERO && !wallet.is_system()),
            "only system wallets go below zero",
            "leaves a user with less than nothing",
        ),
        (
            refunds != entry.refunds.is_some() || pays != entry.gross.is_some() || pays != entry.discount.is_some(),
            "only refunds refund, and only payments are priced",
            "has the fields of another kind",
        ),
        (
            entry.coupon.is_some() && !pays && !recharges,
            "a coupon is used by a payment or earned by a recharge",
            "has a coupon and is neither",
        ),
        (
            entry.gross.is_some_and(|gross| Some(gross.cents()) != entry.amount.cents().checked_add(discount)),
            "a price is what is paid and the discount",
            "has a price that is not its amount and its discount",
        ),
        (
            discount < 0 || discount > 0 && entry.coupon.is_none(),
            "a payment without a coupon has no discount",
            "has a discount that no coupon gives",
        ),
        (
            entry.refunds.is_some_and(|original| original >= entry.id),
            "a refund comes after its original",
            "refunds one that is not before it",
        ),
        (
            entry.fence.is_some_and(|fence| fence > last_fence),
            "no fence is beyond the counter",
            "has a fence beyond the counter",
        ),
        (
            entry.fence.is_some_and(|fence| fence.0 < 1),
            "fences are numbered from 1",
            "has a fence that was never drawn",
        ),
        (!TIMES_MS.contains(&entry.at), "an entry is made at some time", "has a time outside of 1970 to 9999"),
        (!is_caller(&entry.by), "somebody makes an entry", "is made by nobody who can call"),
        (!has_a_note_that_fits(entry), "a note fits", "has a reference or metadata that are not taken"),
    ];
    for (_, check, what) in broken.into_iter().filter(|(is_broken, ..)| *is_broken) {
        let (id, kind, from, to) = (entry.id.0, entry.kind.as_str(), &entry.from, &entry.to);
        findings.add(check, format!("entry {id}, {kind} from {from} to {to}, {what}"));
    }
}

/// Whether money of this kind goes between such wallets. A refund goes back the way its original came, which is asked
/// after where the original is at hand.
fn goes_its_way(entry: &Entry) -> bool {
    let (from, to) = (&entry.from, &entry.to);
    let by_a_user = !from.is_system() && (!to.is_system() || *to == WalletId::SALES);
    from != to
        && match entry.kind {
            EntryKind::Recharge => *from == WalletId::BANK && !to.is_system(),
            EntryKind::Withdraw => !from.is_system() && *to == WalletId::BANK,
            EntryKind::Pay => by_a_user,
            EntryKind::Transfer => by_a_user || *from == WalletId::SALES && *to == WalletId::BANK,
            EntryKind::Refund => true,
        }
}

fn is_caller(by: &str) -> bool {
    !by.is_empty() && !by.chars().any(char::is_control)
}

/// A reference of no characters is none today; older files have some.
fn has_a_note_that_fits(entry: &Entry) -> bool {
    let is_short = |text: &String| text.chars().count() <= Note::REFERENCE_CHARS_MAX;
    entry.reference.as_ref().is_none_or(is_short) && entry.metadata.as_deref().is_none_or(is_metadata)
}

/// Whether it is a flat JSON object of strings, of a size that is taken.
fn is_metadata(text: &str) -> bool {
    let Ok(pairs) = serde_json::from_str::<Map<String, Value>>(text) else { return false };
    let fits = |(name, value): (&String, &Value)| {
        let is_short = |text: &str| text.chars().count() <= Note::METADATA_VALUE_MAX;
        name.chars().count() <= Note::METADATA_NAME_MAX && value.as_str().is_some_and(is_short)
    };
    pairs.len() <= Note::METADATA_PAIRS_MAX && pairs.iter().all(fits)
}
