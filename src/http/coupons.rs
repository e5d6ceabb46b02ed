//! Coupons: a user's, one, a quote, granting one; and what an admin can change: kinds and tiers.

use super::fields::{Field, Fields, Kind as Is, may, need};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::{list, show};
use crate::command::{GrantCoupon, SetCouponKinds, SetTiers};
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, UserId};
use crate::ledger::coupon::{self, Coupon, CouponKind, CouponTerms, Discount, Tier};
use crate::ledger::query;
use crate::money::{Cents, Money};
use serde_json::{Value, json};

/// What granting takes.
pub const GRANT: &[Field] = &[need("kind", Is::Text, "a coupon kind")];
/// What a quote takes.
pub const QUOTE: &[Field] = &[need("amount", Is::Amount, "the price before the discount")];
/// What changing the tiers takes.
pub const TIERS: &[Field] = &[need("tiers", Is::List, "all tiers: {from, coupon_kind or null} each")];
/// What changing the coupon kinds takes.
pub const KINDS: &[Field] = &[need(
    "coupon_kinds",
    Is::List,
    "all kinds: {kind, amount_off or percent_off, threshold, single_use, earned_zh, earned_en} each",
)];

/// `GET /v1/wallets/{user}/coupons`
pub fn of_user(context: &mut Context<'_>) -> HandlerResult {
    let user = context.user()?;
    let page = list::page(&mut context.query, &format!("coupons of {user}"), &[])?;
    let after = page.after.as_deref().map(read_place).transpose()?;
    let found = context.app.store().read(|tx| {
        crate::ledger::wallet(tx, &user.wallet())?;
        query::coupons(tx, &user, after.as_ref().map(|(at, code)| (*at, code)), page.limit)
    })?;
    let next = found.rows.last().filter(|_| found.more).map(|coupon| format!("{} {}", coupon.granted_at, coupon.code));
    Ok(page.answer(context.language, found.rows.iter().map(show::coupon).collect(), next))
}

fn read_place(text: &str) -> Result<(i64, CouponCode), Error> {
    let place = text.split_once(' ').and_then(|(at, code)| Some((at.parse().ok()?, CouponCode::parse(code).ok()?)));
    place.ok_or_else(|| Error::invalid("after is the `next` of an answer of this very list"))
}

/// `GET /v1/coupons/{code}`
pub fn one(context: &mut Context<'_>) -> HandlerResult {
    let coupon = visible(context)?;
    Ok(Reply::ok(context.language.pick("查询成功", "ok"), &json!({ "coupon": show::coupon(&coupon) })))
}

/// `GET /v1/coupons/{code}/quote?amount=`: what a payment would cost with it, and why not if not.
pub fn quote(context: &mut Context<'_>) -> HandlerResult {
    let coupon = visible(context)?;
    let gross = context.query.the_amount()?;
    let rest = match coupon.price(gross) {
        Ok(price) => json!({
            "applicable": true, "gross": gross.to_string(), "discount": price.discount.to_string(),
            "amount": price.amount.to_string(),
        }),
        Err(why) => json!({
            "applicable": false, "gross": gross.to_string(), "discount": Cents(0).to_string(), "amount": gross.to_string(),
            "error": why.name.as_str(), "detail": why.detail,
        }),
    };
    Ok(Reply::ok(context.language.pick("查询成功", "ok"), &rest))
}

/// The coupon in the path; somebody else's is as good as none.
fn visible(context: &Context<'_>) -> Result<Coupon, Error> {
    let code = CouponCode::parse(&context.params[0])
        .map_err(|_| Error::new(ErrorName::CouponNotFound, "there is no such coupon"))?;
    context.app.store().read(|tx| match &context.caller.user {
        Some(user) => coupon::coupon_of(tx, &code, user),
        None => coupon::coupon(tx, &code),
    })
}

/// `POST /v1/wallets/{user}/coupons`: grants one.
pub fn grant(context: &mut Context<'_>) -> HandlerResult {
    let user = UserId::parse(&context.params[0])?;
    let kind = context.fields.name("kind")?.ok_or_else(|| Error::invalid("kind is missing: a coupon kind"))?;
    let submitted = context.submit(GrantCoupon { user, kind })?;
    let answer =
        Reply::ok(context.language.pick("发放成功", "granted"), &json!({ "coupon": show::coupon(&submitted.receipt) }));
    Ok(submitted.marked(answer))
}

/// `GET /v1/tiers`
pub fn tiers(context: &mut Context<'_>) -> HandlerResult {
    let tiers = context.app.store().read(coupon::tiers)?;
    Ok(everything(context, tiers.iter().map(show::tier).collect()))
}

/// `GET /v1/coupon-kinds`
pub fn kinds(context: &mut Context<'_>) -> HandlerResult {
    let kinds = context.app.store().read(coupon::kinds)?;
    Ok(everything(context, kinds.iter().map(show::coupon_kind).collect()))
}

fn everything(context: &Context<'_>, rows: Vec<Value>) -> super::conn::Response {
    Reply::ok(context.language.pick("查询成功", "ok"), &json!({ "data": rows, "next": null }))
}

/// `PUT /v1/tiers`: these instead of those there are.
pub fn set_tiers(context: &mut Context<'_>) -> HandlerResult {
    let mut tiers = Vec::new();
    for mut row in context.fields.the_list("tiers", ROWS_MAX)? {
        row.check(&[need("from", Is::Amount, ""), may("coupon_kind", Is::Text, "")])?;
        let from = row
            .amount("from")?
            .ok_or_else(|| Error::invalid("a tier has a `from`: the smallest recharge it is for"))?;
        tiers.push(Tier { from, kind: row.name("coupon_kind")? });
    }
    tiers.sort_by_key(|tier| tier.from);
    if tiers.windows(2).any(|pair| pair[0].from == pair[1].from) {
        return Err(Error::invalid("two tiers begin at the same amount").into());
    }
    let submitted = context.submit(SetTiers(tiers))?;
    Ok(submitted.marked(everything(context, submitted.receipt.iter().map(show::tier).collect())))
}

/// `PUT /v1/coupon-kinds`: these instead of those there are.
pub fn set_kinds(context: &mut Context<'_>) -> HandlerResult {
    let mut kinds = Vec::new();
    for row in context.fields.the_list("coupon_kinds", ROWS_MAX)? {
        kinds.push(read_kind(row)?);
    }
    kinds.sort_by(|one: &CouponKind, other| one.kind.cmp(&other.kind));
    if kinds.windows(2).any(|pair| pair[0].kind == pair[1].kind) {
        return Err(Error::invalid("two coupon kinds have the same name").into());
    }
    let submitted = context.submit(SetCouponKinds(kinds))?;
    Ok(submitted.marked(everything(context, submitted.receipt.iter().map(show::coupon_kind).collect())))
}

fn read_kind(mut row: Fields) -> Result<CouponKind, Error> {
    row.check(&[
        need("kind", Is::Text, ""),
        may("amount_off", Is::Amount, ""),
        may("percent_off", Is::Integer, ""),
        may("threshold", Is::Amount, ""),
        may("single_use", Is::Flag, ""),
        may("earned_zh", Is::Text, ""),
        may("earned_en", Is::Text, ""),
    ])?;
    let kind = row.name("kind")?.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=16).contains(&kind.len()) || !kind.chars().all(plain) {
        return Err(Error::invalid("a coupon kind has a name of 1 to 16 characters of A-Z a-z 0-9 . _ -"));
    }
    let off = match (row.amount("amount_off")?, row.integer("percent_off", 1..=100)?) {
        (Some(amount), None) => Discount::Amount(amount),
        (None, Some(percent)) => Discount::Percent(percent),
        _ => return Err(Error::invalid("a coupon kind has either an amount_off or a percent_off")),
    };
    let single_use = if row.has("single_use") { row.flag("single_use")? } else { true };
    let terms = CouponTerms { off, threshold: threshold(&mut row)?, single_use };
    let mut told = |name: &str, usual: &str| -> Result<String, Error> {
        let text = row.text(name)?.unwrap_or_else(|| usual.to_owned());
        if text.chars().count() > TOLD_CHARS_MAX {
            return Err(Error::invalid(format!("{name} has at most {TOLD_CHARS_MAX} characters")));
        }
        Ok(text)
    };
    let (earned_zh, earned_en) =
        (told("earned_zh", "同时您获取了一张优惠券")?, told("earned_en", "and you have earned a coupon")?);
    Ok(CouponKind { kind, terms, earned_zh, earned_en })
}

const TOLD_CHARS_MAX: usize = 200;

/// A threshold may be nothing, which no amount is.
fn threshold(row: &mut Fields) -> Result<Cents, Error> {
    let zero = row.peek("threshold").is_none_or(|text| matches!(text, "0" | "0.0" | "0.00"));
    if zero {
        row.take("threshold");
    }
    Ok(Cents(row.amount("threshold")?.map_or(0, Money::cents)))
}

/// How many tiers or kinds there may be.
const ROWS_MAX: usize = 100;
