//! The journal's descriptions of coupons, coupon kinds, recharge tiers and settings of wallets: everything that the rows
//! say and no entry does. Amounts and times are written as in answers.

use super::coupon::{CouponKind, CouponTerms, Discount, KindLimits, Tier};
use super::settings::WalletSettings;
use super::wallet::SpendingLimits;
use crate::clock::rfc3339;
use crate::error::Error;
use crate::money::{Cents, Money};
use crate::secret::{hex, sha256};
use crate::tx::{Row, RowResult, Tables, params};
use serde_json::{Value, json};

/// A coupon as it was given.
pub(crate) struct GivenCoupon {
    pub code: String,
    pub user: String,
    pub kind: String,
    pub terms: GivenTerms,
    pub granted_at: i64,
    pub expires_at: Option<i64>,
    /// The recharge that earned it.
    pub earned_by: Option<i64>,
}

/// The terms of a coupon or of a coupon kind, as its row has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenTerms {
    pub amount_off: Option<i64>,
    pub percent_off: Option<i64>,
    pub threshold: i64,
    pub single_use: bool,
    pub max_off: Option<i64>,
}

macro_rules! given_columns {
    () => {
        "code, coupon.user, kind, amount_off, percent_off, threshold, single_use, max_off, granted_at, expires_at, earned_by"
    };
}

impl GivenCoupon {
    /// Every coupon, in the order of the codes.
    pub(crate) const ALL_IN_ORDER: &'static str = concat!("SELECT ", given_columns!(), " FROM coupon ORDER BY code");
    /// The coupon of a code.
    pub(crate) const OF_CODE: &'static str = concat!("SELECT ", given_columns!(), " FROM coupon WHERE code = $1");

    /// Reads a row of these.
    pub(crate) fn read(row: &Row<'_>) -> RowResult<GivenCoupon> {
        Ok(GivenCoupon {
            code: row.get(0)?,
            user: row.get(1)?,
            kind: row.get(2)?,
            terms: GivenTerms {
                amount_off: row.get(3)?,
                percent_off: row.get(4)?,
                threshold: row.get(5)?,
                single_use: row.get(6)?,
                max_off: row.get(7)?,
            },
            granted_at: row.get(8)?,
            expires_at: row.get(9)?,
            earned_by: row.get(10)?,
        })
    }

    /// The journal's description of it.
    pub(crate) fn detail(&self) -> Value {
        let GivenTerms { amount_off, percent_off, threshold, single_use, max_off } = self.terms;
        json!({
            "user": self.user,
            "kind": self.kind,
            "amount_off": amount(amount_off),
            "percent_off": percent_off,
            "threshold": amount(Some(threshold)),
            "single_use": single_use,
            "max_off": amount(max_off),
            "granted_at": rfc3339(self.granted_at),
            "expires_at": self.expires_at.map(rfc3339),
        })
    }
}

/// The coupon of that code, as it was given.
pub(crate) fn given_coupon(tx: &Tables<'_>, code: &str) -> Result<Option<GivenCoupon>, Error> {
    tx.one(GivenCoupon::OF_CODE, params![code], GivenCoupon::read)
}

fn amount(cents: Option<i64>) -> Option<String> {
    cents.map(|cents| Cents(cents).to_string())
}

fn money(money: Option<Money>) -> Option<String> {
    amount(money.map(Money::cents))
}

/// The journal's description of coupon kinds.
pub(crate) fn kinds(kinds: &[CouponKind]) -> Value {
    kinds.iter().map(kind).collect()
}

fn kind(kind: &CouponKind) -> Value {
    let CouponKind { kind, terms, earned_zh, earned_en, limits } = kind;
    let CouponTerms { off, threshold, single_use, max_off } = terms;
    let (amount_off, percent_off) = match *off {
        Discount::Amount(off) => (money(Some(off)), None),
        Discount::Percent(percent) => (None, Some(percent)),
    };
    let KindLimits { valid_days, valid_from, valid_until, total, per_user, claim_code } = limits;
    json!({
        "kind": kind,
        "amount_off": amount_off,
        "percent_off": percent_off,
        "threshold": amount(Some(threshold.0)),
        "single_use": single_use,
        "earned_zh": earned_zh,
        "earned_en": earned_en,
        "max_off": money(*max_off),
        "valid_days": valid_days,
        "valid_from": valid_from.map(rfc3339),
        "valid_until": valid_until.map(rfc3339),
        "limit_total": total,
        "limit_per_user": per_user,
        "claim_code": claim_code.as_ref().map(|code| code.as_str()),
    })
}

/// The journal's description of recharge tiers.
pub(crate) fn tiers(tiers: &[Tier]) -> Value {
    tiers.iter().map(|tier| json!({ "from": tier.from.to_string(), "coupon_kind": tier.kind })).collect()
}

/// The journal's description of a wallet that was created without money.
pub(crate) fn created_wallet(created_at: i64) -> Value {
    json!({ "created_at": rfc3339(created_at) })
}

/// The journal's description of a wallet's settings. A name and metadata may be a person's, and can be removed: it has only
/// SHA-256 of them.
pub(crate) fn settings(settings: &WalletSettings) -> Value {
    let WalletSettings { name, status, metadata, limits: SpendingLimits { per_payment, per_day } } = settings;
    let digest = |text: &Option<String>| text.as_ref().map(|text| hex(&sha256(text.as_bytes())));
    json!({
        "name_sha256": digest(name),
        "status": status.as_str(),
        "metadata_sha256": digest(metadata),
        "limit_per_payment": money(*per_payment),
        "limit_per_day": money(*per_day),
    })
}
