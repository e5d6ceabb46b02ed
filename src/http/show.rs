//! What clients see of entries, coupons, wallets and tokens. The role `user` sees its own side of an entry only.

use super::auth::Caller;
use crate::clock::rfc3339;
use crate::id::WalletId;
use crate::ledger::Wallet;
use crate::ledger::coupon::{Coupon, CouponKind, Discount, Tier};
use crate::ledger::entry::Entry;
use crate::money::{Balance, Cents, Money};
use crate::secret::hex;
use crate::token::AccessToken;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fmt::Display;

/// The names of an entry's fields, in order: also the head of a CSV file.
pub const ENTRY_FIELDS: [&str; 17] = [
    "id",
    "at",
    "kind",
    "from",
    "to",
    "amount",
    "from_balance",
    "to_balance",
    "coupon",
    "gross",
    "discount",
    "refunds",
    "reference",
    "metadata",
    "by",
    "fence",
    "hash",
];

/// What shows itself as text: an amount, a time.
pub struct Text<T>(pub T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An entry as the caller may see it. Its fields are [`ENTRY_FIELDS`].
#[derive(Serialize)]
pub struct EntryShown<'a> {
    id: i64,
    at: String,
    kind: &'static str,
    from: &'a str,
    to: &'a str,
    amount: Text<Money>,
    from_balance: Option<Text<Balance>>,
    to_balance: Option<Text<Balance>>,
    coupon: Option<&'a str>,
    gross: Option<Text<Money>>,
    discount: Option<Text<Cents>>,
    refunds: Option<i64>,
    reference: Option<&'a str>,
    metadata: Option<&'a RawValue>,
    by: &'a str,
    fence: Option<i64>,
    hash: Option<String>,
}

/// An entry as the caller may see it.
pub fn entry<'a>(entry: &'a Entry, caller: &Caller) -> EntryShown<'a> {
    let own = |wallet: &WalletId| caller.user.as_ref().is_none_or(|user| user.as_str() == wallet.as_str());
    EntryShown {
        id: entry.id.0,
        at: rfc3339(entry.at),
        kind: entry.kind.as_str(),
        from: entry.from.as_str(),
        to: entry.to.as_str(),
        amount: Text(entry.amount),
        from_balance: own(&entry.from).then_some(Text(entry.from_balance)),
        to_balance: own(&entry.to).then_some(Text(entry.to_balance)),
        coupon: entry.coupon.as_ref().map(|code| code.as_str()),
        gross: entry.gross.map(Text),
        discount: entry.discount.map(Text),
        refunds: entry.refunds.map(|id| id.0),
        reference: entry.reference.as_deref(),
        metadata: entry.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        by: &entry.by,
        fence: entry.fence.map(|fence| fence.0),
        hash: caller.user.is_none().then(|| hex(&entry.hash)),
    }
}

/// A wallet.
#[derive(Serialize)]
pub struct WalletShown<'a> {
    user_id: &'a str,
    balance: Text<Balance>,
    held: &'static str,
    entries: i64,
}

/// A wallet in a list.
pub fn wallet(wallet: &Wallet) -> WalletShown<'_> {
    WalletShown { user_id: wallet.id.as_str(), balance: Text(wallet.balance), held: HELD, entries: wallet.entries }
}

/// What is reserved of a wallet: nothing, until holds exist.
pub const HELD: &str = "0.00";

/// A coupon.
#[derive(Serialize)]
pub struct CouponShown<'a> {
    code: &'a str,
    user_id: &'a str,
    kind: &'a str,
    amount_off: Option<Text<Money>>,
    percent_off: Option<i64>,
    threshold: Text<Cents>,
    single_use: bool,
    state: &'static str,
    granted_at: String,
    earned_by: Option<i64>,
}

/// A coupon.
pub fn coupon(coupon: &Coupon) -> CouponShown<'_> {
    let (amount_off, percent_off) = off(coupon.terms.off);
    CouponShown {
        code: coupon.code.as_str(),
        user_id: coupon.user.as_str(),
        kind: &coupon.kind,
        amount_off,
        percent_off,
        threshold: Text(coupon.terms.threshold),
        single_use: coupon.terms.single_use,
        state: coupon.state().as_str(),
        granted_at: rfc3339(coupon.granted_at),
        earned_by: coupon.earned_by.map(|id| id.0),
    }
}

/// A coupon kind.
pub fn coupon_kind(kind: &CouponKind) -> Value {
    let (amount_off, percent_off) = off(kind.terms.off);
    json!({
        "kind": kind.kind,
        "amount_off": amount_off,
        "percent_off": percent_off,
        "threshold": kind.terms.threshold.to_string(),
        "single_use": kind.terms.single_use,
        "earned_zh": kind.earned_zh,
        "earned_en": kind.earned_en,
    })
}

fn off(off: Discount) -> (Option<Text<Money>>, Option<i64>) {
    match off {
        Discount::Amount(amount) => (Some(Text(amount)), None),
        Discount::Percent(percent) => (None, Some(percent)),
    }
}

/// A recharge tier.
pub fn tier(tier: &Tier) -> Value {
    json!({ "from": tier.from.to_string(), "coupon_kind": tier.kind })
}

/// An access token, without its secret.
pub fn token(token: &AccessToken) -> Value {
    json!({
        "id": token.id,
        "role": token.role.as_str(),
        "user": token.user.as_ref().map(|user| user.as_str()),
        "note": token.note,
        "created_at": rfc3339(token.created_at),
        "expires_at": token.expires_at.map(rfc3339),
        "revoked_at": token.revoked_at.map(rfc3339),
    })
}
