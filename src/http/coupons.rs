//! Coupons: list, look at, quote and grant them; and the coupon kinds and recharge tiers, which an admin can change.

use super::conn::Response;
use super::fields::{Field, Fields, ValueKind};
use super::request::{Context, HandlerResult, PageRequest, not_a_cursor};
use super::response::{self, AsText};
use crate::clock::rfc3339;
use crate::command::{GrantCoupon, SetCouponKinds, SetTiers};
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, UserId};
use crate::ledger::coupon::{self, Coupon, CouponKind, CouponTerms, Discount, Tier};
use crate::ledger::{self, query};
use crate::money::{Cents, Money};
use ValueKind::{Amount, Flag, Integer, List, Text};
use serde::Serialize;
use serde_json::{Value, json};

/// The fields of a grant.
pub(crate) const GRANT: &[Field] = &[Field::required("kind", Text, "a coupon kind")];
/// The query of a quote.
pub(crate) const QUOTE: &[Field] = &[Field::required("amount", Amount, "the price before the discount")];
/// The fields of a change of the tiers.
pub(crate) const TIERS: &[Field] = &[Field::required("tiers", List, "all tiers: {from, coupon_kind or null} each")];
/// The fields of a change of the coupon kinds.
pub(crate) const KINDS: &[Field] = &[Field::required(
    "coupon_kinds",
    List,
    "all kinds: {kind, amount_off or percent_off, threshold, single_use, earned_zh, earned_en} each",
)];

/// The most tiers or coupon kinds.
const ROWS_MAX: usize = 100;
/// The longest sentence about an earned coupon, in characters.
const EARNED_CHARS_MAX: usize = 200;

/// `GET /v1/wallets/{user}/coupons`
pub(crate) fn of_user(context: &mut Context<'_>) -> HandlerResult {
    let user = context.user()?;
    let page = PageRequest::read(&mut context.query, &format!("coupons of {user}"), &[])?;
    let after = page.after.as_deref().map(|after| read_after(after).ok_or_else(not_a_cursor)).transpose()?;
    let found = context.app.store.read(|tx| {
        ledger::wallet(tx, &user.wallet())?;
        query::coupons(tx, &user, after.as_ref().map(|(at, code)| (*at, code)), page.limit)
    })?;
    let last = found.rows.last().filter(|_| found.more).map(|coupon| format!("{} {}", coupon.granted_at, coupon.code));
    Ok(page.response(context.language, found.rows.iter().map(coupon_json).collect(), last))
}

/// The time and the code of the coupon to continue behind.
fn read_after(text: &str) -> Option<(i64, CouponCode)> {
    let (at, code) = text.split_once(' ')?;
    Some((at.parse().ok()?, CouponCode::parse(code).ok()?))
}

/// `GET /v1/coupons/{code}`
pub(crate) fn one(context: &mut Context<'_>) -> HandlerResult {
    let coupon = visible(context)?;
    Ok(response::ok(context.language.found(), &json!({ "coupon": coupon_json(&coupon) })))
}

/// `GET /v1/coupons/{code}/quote?amount=`: the price of a payment with it, or why it does not apply.
pub(crate) fn quote(context: &mut Context<'_>) -> HandlerResult {
    let coupon = visible(context)?;
    let gross = context.query.required_amount()?;
    let rest = match coupon.price(gross) {
        Ok(price) => json!({
            "applicable": true, "gross": gross.to_string(), "discount": price.discount.to_string(),
            "amount": price.amount.to_string(),
        }),
        Err(refusal) => json!({
            "applicable": false, "gross": gross.to_string(), "discount": Cents(0).to_string(), "amount": gross.to_string(),
            "error": refusal.name.as_str(), "detail": refusal.detail,
        }),
    };
    Ok(response::ok(context.language.found(), &rest))
}

/// The coupon in the path. For the role `user`, a coupon of another user does not exist.
fn visible(context: &Context<'_>) -> Result<Coupon, Error> {
    let code = CouponCode::parse(&context.params[0])
        .map_err(|_| Error::new(ErrorName::CouponNotFound, "there is no such coupon"))?;
    context.app.store.read(|tx| match &context.caller.user {
        Some(user) => coupon::coupon_of(tx, &code, user),
        None => coupon::coupon(tx, &code),
    })
}

/// `POST /v1/wallets/{user}/coupons`: grants one.
pub(crate) fn grant(context: &mut Context<'_>) -> HandlerResult {
    let user = UserId::parse(&context.params[0])?;
    let kind = context.fields.name("kind")?.ok_or_else(|| Error::invalid("kind is missing: a coupon kind"))?;
    let coupon = context.submit(GrantCoupon { user, kind })?;
    let rest = json!({ "coupon": coupon_json(&coupon) });
    Ok(response::ok(context.language.pick("发放成功", "granted"), &rest))
}

/// `GET /v1/tiers`
pub(crate) fn tiers(context: &mut Context<'_>) -> HandlerResult {
    let tiers = context.app.store.read(|tx| coupon::tiers(tx))?;
    Ok(all_rows(context, tiers.iter().map(tier_json).collect()))
}

/// `GET /v1/coupon-kinds`
pub(crate) fn kinds(context: &mut Context<'_>) -> HandlerResult {
    let kinds = context.app.store.read(|tx| coupon::kinds(tx))?;
    Ok(all_rows(context, kinds.iter().map(kind_json).collect()))
}

fn all_rows(context: &Context<'_>, rows: Vec<Value>) -> Response {
    response::ok(context.language.found(), &json!({ "data": rows, "next": null }))
}

/// `PUT /v1/tiers`: replaces them.
pub(crate) fn set_tiers(context: &mut Context<'_>) -> HandlerResult {
    let mut tiers = Vec::new();
    for mut row in context.fields.objects("tiers", ROWS_MAX)? {
        row.check(&[Field::required("from", Amount, ""), Field::optional("coupon_kind", Text, "")])?;
        let from = row
            .amount("from")?
            .ok_or_else(|| Error::invalid("a tier has a `from`: the smallest recharge it is for"))?;
        tiers.push(Tier { from, kind: row.name("coupon_kind")? });
    }
    tiers.sort_by_key(|tier| tier.from);
    if tiers.windows(2).any(|pair| pair[0].from == pair[1].from) {
        return Err(Error::invalid("two tiers begin at the same amount"));
    }
    let tiers = context.submit(SetTiers(tiers))?;
    Ok(all_rows(context, tiers.iter().map(tier_json).collect()))
}

/// `PUT /v1/coupon-kinds`: replaces them.
pub(crate) fn set_kinds(context: &mut Context<'_>) -> HandlerResult {
    let mut kinds = Vec::new();
    for row in context.fields.objects("coupon_kinds", ROWS_MAX)? {
        kinds.push(read_kind(row)?);
    }
    kinds.sort_by(|one: &CouponKind, other| one.kind.cmp(&other.kind));
    if kinds.windows(2).any(|pair| pair[0].kind == pair[1].kind) {
        return Err(Error::invalid("two coupon kinds have the same name"));
    }
    let kinds = context.submit(SetCouponKinds(kinds))?;
    Ok(all_rows(context, kinds.iter().map(kind_json).collect()))
}

fn read_kind(mut row: Fields) -> Result<CouponKind, Error> {
    row.check(&[
        Field::required("kind", Text, ""),
        Field::optional("amount_off", Amount, ""),
        Field::optional("percent_off", Integer, ""),
        Field::optional("threshold", Amount, ""),
        Field::optional("single_use", Flag, ""),
        Field::optional("earned_zh", Text, ""),
        Field::optional("earned_en", Text, ""),
    ])?;
    let kind = row.name("kind")?.unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=16).contains(&kind.len()) || !kind.chars().all(is_plain) {
        return Err(Error::invalid("a coupon kind has a name of 1 to 16 characters of A-Z a-z 0-9 . _ -"));
    }
    let off = match (row.amount("amount_off")?, row.integer("percent_off", 1..=100)?) {
        (Some(amount), None) => Discount::Amount(amount),
        (None, Some(percent)) => Discount::Percent(percent),
        _ => return Err(Error::invalid("a coupon kind has either an amount_off or a percent_off")),
    };
    let single_use = if row.has("single_use") { row.flag("single_use")? } else { true };
    let terms = CouponTerms { off, threshold: threshold(&mut row)?, single_use };
    let mut message = |name: &str, default: &str| -> Result<String, Error> {
        let text = row.text(name)?.unwrap_or_else(|| default.to_owned());
        if text.chars().count() > EARNED_CHARS_MAX {
            return Err(Error::invalid(format!("{name} has at most {EARNED_CHARS_MAX} characters")));
        }
        Ok(text)
    };
    let earned_zh = message("earned_zh", "同时您获取了一张优惠券")?;
    let earned_en = message("earned_en", "and you have earned a coupon")?;
    Ok(CouponKind { kind, terms, earned_zh, earned_en })
}

/// A threshold may be zero, which an amount cannot.
fn threshold(row: &mut Fields) -> Result<Cents, Error> {
    let is_zero = row.peek("threshold").is_none_or(|text| matches!(text, "0" | "0.0" | "0.00"));
    if is_zero {
        row.take("threshold");
    }
    Ok(Cents(row.amount("threshold")?.map_or(0, Money::cents)))
}

/// A coupon.
#[derive(Serialize)]
pub(crate) struct CouponJson<'a> {
    code: &'a str,
    user_id: &'a str,
    kind: &'a str,
    amount_off: Option<AsText<Money>>,
    percent_off: Option<i64>,
    threshold: AsText<Cents>,
    single_use: bool,
    state: &'static str,
    granted_at: String,
    earned_by: Option<i64>,
}

/// A coupon.
pub(crate) fn coupon_json(coupon: &Coupon) -> CouponJson<'_> {
    let (amount_off, percent_off) = discount_json(coupon.terms.off);
    CouponJson {
        code: coupon.code.as_str(),
        user_id: coupon.user.as_str(),
        kind: &coupon.kind,
        amount_off,
        percent_off,
        threshold: AsText(coupon.terms.threshold),
        single_use: coupon.terms.single_use,
        state: coupon.state().as_str(),
        granted_at: rfc3339(coupon.granted_at),
        earned_by: coupon.earned_by.map(|id| id.0),
    }
}

/// A coupon kind.
fn kind_json(kind: &CouponKind) -> Value {
    let (amount_off, percent_off) = discount_json(kind.terms.off);
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

fn discount_json(off: Discount) -> (Option<AsText<Money>>, Option<i64>) {
    match off {
        Discount::Amount(amount) => (Some(AsText(amount)), None),
        Discount::Percent(percent) => (None, Some(percent)),
    }
}

/// A recharge tier.
fn tier_json(tier: &Tier) -> Value {
    json!({ "from": tier.from.to_string(), "coupon_kind": tier.kind })
}
