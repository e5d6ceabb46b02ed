//! What clients see of entries, coupons, wallets and tokens. The role `user` sees its own side of an entry only.

use super::auth::Caller;
use crate::clock::rfc3339;
use crate::ledger::coupon::{Coupon, CouponKind, Off, Tier};
use crate::ledger::{Entry, Wallet};
use crate::money::Cents;
use crate::secret::hex;
use crate::token::AccessToken;
use serde_json::{Value, json};

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

/// An entry as the caller may see it.
pub fn entry(entry: &Entry, caller: &Caller) -> Value {
    let own = |wallet: &str| caller.user.as_ref().is_none_or(|user| user.as_str() == wallet);
    let metadata = entry.metadata.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "id": entry.id.0,
        "at": rfc3339(entry.at),
        "kind": entry.kind.as_str(),
        "from": entry.from.as_str(),
        "to": entry.to.as_str(),
        "amount": entry.amount.to_string(),
        "from_balance": own(entry.from.as_str()).then(|| entry.from_balance.to_string()),
        "to_balance": own(entry.to.as_str()).then(|| entry.to_balance.to_string()),
        "coupon": entry.coupon.as_ref().map(|code| code.as_str()),
        "gross": entry.gross.map(|gross| gross.to_string()),
        "discount": entry.discount.map(|discount| discount.to_string()),
        "refunds": entry.refunds.map(|id| id.0),
        "reference": entry.reference,
        "metadata": metadata,
        "by": entry.by,
        "fence": entry.fence.map(|fence| fence.0),
        "hash": caller.user.is_none().then(|| hex(&entry.hash)),
    })
}

/// A wallet in a list.
pub fn wallet(wallet: &Wallet) -> Value {
    json!({ "user_id": wallet.id.as_str(), "balance": wallet.balance.to_string(), "held": HELD, "entries": wallet.entries })
}

/// What is reserved of a wallet: nothing, until holds exist.
pub const HELD: &str = "0.00";

/// A coupon.
pub fn coupon(coupon: &Coupon) -> Value {
    let (amount_off, percent_off) = off(coupon.terms.off);
    json!({
        "code": coupon.code.as_str(),
        "user_id": coupon.user.as_str(),
        "kind": coupon.kind,
        "amount_off": amount_off,
        "percent_off": percent_off,
        "threshold": coupon.terms.threshold.to_string(),
        "single_use": coupon.terms.single_use,
        "state": coupon.state(),
        "granted_at": rfc3339(coupon.granted_at),
        "earned_by": coupon.earned_by.map(|id| id.0),
    })
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

fn off(off: Off) -> (Option<String>, Option<i64>) {
    match off {
        Off::Amount(amount) => (Some(Cents(amount.cents()).to_string()), None),
        Off::Percent(percent) => (None, Some(percent)),
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
