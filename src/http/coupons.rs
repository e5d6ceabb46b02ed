//! Coupons: list, look at, quote and grant them; and the coupon kinds and recharge tiers, which an admin can change.

use super::conn::Response;
use super::fields::{Field, Fields, THRESHOLD_PATTERN, USER_PATTERN, ValueKind};
use super::files::{self, ROWS_STEP, TableFormat};
use super::request::{AFTER, Context, HandlerResult, LIMIT, PageJson, PageRequest, not_a_cursor};
use super::response::{self, AsText};
#[cfg(test)]
use super::schemas::TimeText;
use crate::clock::{DayEdge, LAST_MS, rfc3339};
use crate::command::{ClaimCoupon, Command, GrantCoupon, SetCouponKinds, SetTiers};
use crate::error::{Error, ErrorName};
use crate::id::{ClaimCode, CouponCode, UserId};
use crate::ledger::coupon::{self, Coupon, CouponKind, CouponState, CouponTerms, Discount, KindLimits, Tier};
use crate::ledger::query::{CouponFilter, CouponPlace};
use crate::ledger::{self, query};
use crate::money::{Cents, Money};
use ValueKind::{Amount, Flag, Integer, Objects, Text, Time};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io;

/// The fields of a grant.
pub(crate) const GRANT: &[Field] = &[Field::required("kind", Text, "a coupon kind").within(1, 16).such_as("\"1\"")];
/// The fields of a claim.
pub(crate) const CLAIM: &[Field] =
    &[Field::required("code", Text, "a claim code, in any case").like(CLAIM_PATTERN).such_as("\"SPRING24\"")];
/// The query of a quote.
pub(crate) const QUOTE: &[Field] = &[Field::required("amount", Amount, "the price before the discount")];
/// The fields of a change of the tiers.
pub(crate) const TIERS: &[Field] =
    &[Field::required("tiers", Objects(TIER), "all tiers: {from, coupon_kind or null} each")
        .within(0, ROWS_MAX as i64)];
/// The fields of a change of the coupon kinds.
pub(crate) const KINDS: &[Field] = &[Field::required(
    "coupon_kinds",
    Objects(KIND),
    "all kinds: {kind, amount_off or percent_off, threshold, single_use, earned_zh, earned_en, and their limits} each",
)
.within(0, ROWS_MAX as i64)];
/// The fields of a tier.
const TIER: &[Field] = &[
    Field::required("from", Amount, "the smallest recharge it is for"),
    Field::optional("coupon_kind", Text, "the kind of the coupon it earns; none if left out").within(1, 16),
];
/// The fields of a coupon kind.
const KIND: &[Field] = &[
    Field::required("kind", Text, "its name").like("^[A-Za-z0-9._-]{1,16}$"),
    Field::optional("amount_off", Amount, "the amount it takes off"),
    Field::optional("percent_off", Integer, "or the percentage").within(1, 100),
    Field::optional("threshold", Amount, "the smallest price it is for").like(THRESHOLD_PATTERN).or("\"0.00\""),
    Field::optional("single_use", Flag, "false if it is for life").or("true"),
    Field::optional("earned_zh", Text, "the sentence about an earned coupon, in Chinese")
        .within(0, EARNED_CHARS_MAX as i64),
    Field::optional("earned_en", Text, "the sentence about an earned coupon, in English")
        .within(0, EARNED_CHARS_MAX as i64),
    Field::optional("max_off", Amount, "the most that a percentage takes off"),
    Field::optional("valid_days", Integer, "the days after its grant on which a coupon ends").within(1, DAYS_MAX),
    Field::optional("valid_from", Time, "the first moment at which coupons are given"),
    Field::optional("valid_until", Time, "the moment from which none is given, and at which all end"),
    Field::optional("limit_total", Integer, "the most coupons that may ever be given").within(1, GIVEN_MAX),
    Field::optional("limit_per_user", Integer, "the most of them for one user; 1 with a claim code")
        .within(1, GIVEN_MAX),
    Field::optional("claim_code", Text, "a public code for which any user gets one, in any case")
        .like(CLAIM_PATTERN)
        .such_as("\"SPRING24\""),
];

/// The pattern of a claim code.
const CLAIM_PATTERN: &str = "^[A-Za-z0-9-]{3,32}$";
/// The most days of a coupon.
const DAYS_MAX: i64 = 36_525;
/// The largest limit of coupons.
const GIVEN_MAX: i64 = 1_000_000_000;
/// The most tiers or coupon kinds.
const ROWS_MAX: usize = 100;
/// The longest sentence about an earned coupon, in characters.
const EARNED_CHARS_MAX: usize = 200;

/// `GET /v1/wallets/{user}/coupons`
pub(crate) fn of_user(context: &mut Context<'_>) -> HandlerResult {
    let user = context.user()?;
    let page = PageRequest::read(&mut context.query, &format!("coupons of {user}"), &[])?;
    let after = page.after.as_deref().map(|after| read_after(after).ok_or_else(not_a_cursor)).transpose()?;
    let wall_ms = context.app.store.clock().wall_ms();
    let format = TableFormat::wanted(context);
    if let Some(format) = format.filter(|_| !page.is_limited) {
        context.app.store.read(|tx| ledger::wallet(tx, &user.wallet()))?;
        let mut after = after;
        return files::all_rows(context, format, &COUPON_MEMBERS, move |store, lines| {
            let place = after.as_ref().map(|(at, code)| (*at, code));
            let read = store.read(|tx| {
                Ok((query::coupons(tx, &user, place, ROWS_STEP)?, query::steady_ms(tx, store.clock().wall_ms())?))
            });
            let (found, now) = read.map_err(io::Error::other)?;
            found.rows.iter().try_for_each(|coupon| lines.add(&coupon_json(coupon, now)))?;
            after = found.rows.last().map(|coupon| (coupon.granted_at, coupon.code.clone()));
            Ok(found.more)
        });
    }
    let (found, now) = context.app.store.read(|tx| {
        ledger::wallet(tx, &user.wallet())?;
        let found = query::coupons(tx, &user, after.as_ref().map(|(at, code)| (*at, code)), page.limit)?;
        Ok((found, query::steady_ms(tx, wall_ms)?))
    })?;
    let last = found.rows.last().filter(|_| found.more).map(|coupon| format!("{} {}", coupon.granted_at, coupon.code));
    let rows: Vec<_> = found.rows.iter().map(|coupon| coupon_json(coupon, now)).collect();
    match format {
        Some(format) => files::page(context, &page, format, &COUPON_MEMBERS, &rows, last.as_deref()),
        None => Ok(page.response(context.language, rows, last)),
    }
}

/// The query of the list of coupons.
pub(crate) const COUPONS: &[Field] = &[
    LIMIT,
    AFTER,
    Field::optional("kind", Text, "those that were given as this kind"),
    Field::optional("state", Text, "those in this state").one_of(&[
        "usable",
        "reserved",
        "used",
        "expired",
        "taken_back",
    ]),
    Field::optional("user", Text, "those of this user").like(USER_PATTERN),
];

/// `GET /v1/coupons`
pub(crate) fn list(context: &mut Context<'_>) -> HandlerResult {
    let query = &mut context.query;
    let page = PageRequest::read(query, "all coupons", &["kind", "state", "user"])?;
    let after =
        page.after.as_deref().map(|after| CouponPlace::from_text(after).ok_or_else(not_a_cursor)).transpose()?;
    let state = |name: String| {
        let found = CouponState::ALL.into_iter().find(|state| state.as_str() == name);
        let detail = "state is usable, reserved, used, expired or taken_back";
        found.ok_or_else(|| Error::invalid(detail).with("field", "state"))
    };
    let filter = CouponFilter {
        kind: query.name("kind")?,
        state: query.text("state")?.map(state).transpose()?,
        user: query.user("user")?,
    };
    let wall_ms = context.app.store.clock().wall_ms();
    let format = TableFormat::wanted(context);
    if let Some(format) = format.filter(|_| !page.is_limited) {
        let mut after = after;
        return files::all_rows(context, format, &COUPON_MEMBERS, move |store, lines| {
            let read = store.read(|tx| {
                let now = query::steady_ms(tx, store.clock().wall_ms())?;
                Ok((query::all_coupons(tx, &filter, now, after.as_ref(), ROWS_STEP)?, now))
            });
            let ((rows, next), now) = read.map_err(io::Error::other)?;
            rows.iter().try_for_each(|coupon| lines.add(&coupon_json(coupon, now)))?;
            after = next;
            Ok(after.is_some())
        });
    }
    let (rows, next, now) = context.app.store.read(|tx| {
        let now = query::steady_ms(tx, wall_ms)?;
        let (rows, next) = query::all_coupons(tx, &filter, now, after.as_ref(), page.limit)?;
        Ok((rows, next, now))
    })?;
    let rows: Vec<_> = rows.iter().map(|coupon| coupon_json(coupon, now)).collect();
    let next = next.map(|next| next.to_text());
    match format {
        Some(format) => files::page(context, &page, format, &COUPON_MEMBERS, &rows, next.as_deref()),
        None => Ok(page.response(context.language, rows, next)),
    }
}

/// The time and the code of the coupon to continue behind.
fn read_after(text: &str) -> Option<(i64, CouponCode)> {
    let (at, code) = text.split_once(' ')?;
    Some((at.parse().ok()?, CouponCode::parse(code).ok()?))
}

/// `GET /v1/coupons/{code}`
pub(crate) fn one(context: &mut Context<'_>) -> HandlerResult {
    let (coupon, now) = visible(context)?;
    Ok(response::ok(context.language.found(), &CouponDetailsJson { coupon: coupon_json(&coupon, now) }))
}

/// One coupon.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CouponDetails"))]
pub(crate) struct CouponDetailsJson<'a> {
    /// The coupon.
    coupon: CouponJson<'a>,
}

/// The price of a payment with a coupon.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Quote"))]
pub(crate) struct QuoteJson {
    /// True if the coupon applies.
    applicable: bool,
    /// The price before the discount.
    gross: AsText<Money>,
    /// The discount; `0.00` if the coupon does not apply.
    discount: AsText<Cents>,
    /// The amount to be paid.
    amount: AsText<Money>,
    /// The name of the refusal if the coupon does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    error: Option<&'static str>,
    /// The reason if the coupon does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    detail: Option<String>,
}

/// `GET /v1/coupons/{code}/quote?amount=`: the price of a payment with it, or why it does not apply.
pub(crate) fn quote(context: &mut Context<'_>) -> HandlerResult {
    let (coupon, now) = visible(context)?;
    let gross = context.query.required_amount()?;
    let (discount, amount, refusal) = match coupon.price(gross, now) {
        Ok(price) => (price.discount, price.amount, None),
        Err(refusal) => (Cents(0), gross, Some(refusal)),
    };
    let quote = QuoteJson {
        applicable: refusal.is_none(),
        gross: AsText(gross),
        discount: AsText(discount),
        amount: AsText(amount),
        error: refusal.as_ref().map(|refusal| refusal.name.as_str()),
        detail: refusal.map(|refusal| refusal.detail),
    };
    Ok(response::ok(context.language.found(), &quote))
}

/// The coupon in the path, and the time. For the role `user`, a coupon of another user does not exist.
fn visible(context: &Context<'_>) -> Result<(Coupon, i64), Error> {
    let code = CouponCode::parse(&context.params[0])
        .map_err(|_| Error::new(ErrorName::CouponNotFound, "there is no such coupon"))?;
    let wall_ms = context.app.store.clock().wall_ms();
    context.app.store.read(|tx| {
        let coupon = match &context.caller.user {
            Some(user) => coupon::coupon_of(tx, &code, user)?,
            None => coupon::coupon(tx, &code)?,
        };
        Ok((coupon, query::steady_ms(tx, wall_ms)?))
    })
}

/// `POST /v1/wallets/{user}/coupons`: grants one.
pub(crate) fn grant(context: &mut Context<'_>) -> HandlerResult {
    let user = UserId::parse(&context.params[0])?;
    let kind = context.fields.name("kind")?.ok_or_else(|| Error::invalid("kind is missing: a coupon kind"))?;
    let coupon = context.submit(GrantCoupon { user, kind })?;
    let granted = CouponDetailsJson { coupon: coupon_json(&coupon, coupon.granted_at) };
    Ok(response::ok(context.language.pick("发放成功", "granted"), &granted))
}

/// A claimed coupon.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Claimed"))]
pub(crate) struct ClaimedJson<'a> {
    /// The coupon.
    coupon: CouponJson<'a>,
    /// True in the answer to a dry run, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    dry_run: Option<bool>,
}

/// `POST /v1/wallets/{user}/coupons/claim`: gives one for a claim code.
pub(crate) fn claim(context: &mut Context<'_>) -> HandlerResult {
    let user = context.user()?;
    let code = context.fields.name("code")?.ok_or_else(|| Error::invalid("code is missing: a claim code"))?;
    let coupon = context.submit(ClaimCoupon { user, code: ClaimCode::parse(&code)? })?;
    let claimed = ClaimedJson { coupon: coupon_json(&coupon, coupon.granted_at), dry_run: None };
    Ok(response::ok(context.language.pick("领取成功", "claimed"), &claimed))
}

/// `GET /v1/tiers`
pub(crate) fn tiers(context: &mut Context<'_>) -> HandlerResult {
    let tiers = context.app.store.read(|tx| coupon::tiers(tx))?;
    let tag = SetTiers(tiers.clone());
    Ok(all_rows(context, tiers.iter().map(tier_json).collect(), tag))
}

/// `GET /v1/coupon-kinds`
pub(crate) fn kinds(context: &mut Context<'_>) -> HandlerResult {
    let kinds = context.app.store.read(|tx| coupon::kinds(tx))?;
    let tag = SetCouponKinds(kinds.clone());
    Ok(all_rows(context, kinds.iter().map(kind_json).collect(), tag))
}

/// All rows of a table, with the tag by which a change of it is noticed. `whole` is the command that would make it.
fn all_rows<T: Serialize>(context: &Context<'_>, data: Vec<T>, whole: impl Into<Command>) -> Response {
    let mut rows = response::ok(context.language.found(), &PageJson { data, next: None, cursor: None });
    rows.headers.push(("ETag", format!("\"{}\"", whole.into().tag())));
    rows
}

/// `PUT /v1/tiers`: replaces them.
pub(crate) fn set_tiers(context: &mut Context<'_>) -> HandlerResult {
    let mut tiers = Vec::new();
    for mut row in context.fields.objects("tiers", ROWS_MAX)? {
        row.check(TIER)?;
        let from = row
            .amount("from")?
            .ok_or_else(|| Error::invalid("a tier has a `from`: the smallest recharge it is for"))?;
        tiers.push(Tier { from, kind: row.name("coupon_kind")? });
    }
    tiers.sort_by_key(|tier| tier.from);
    if tiers.windows(2).any(|pair| pair[0].from == pair[1].from) {
        return Err(Error::invalid("two tiers begin at the same amount"));
    }
    let tiers = context.submit_if_unchanged(SetTiers(tiers))?;
    let tag = SetTiers(tiers.clone());
    Ok(all_rows(context, tiers.iter().map(tier_json).collect(), tag))
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
    let codes: BTreeSet<_> = kinds.iter().filter_map(|kind| kind.limits.claim_code.as_ref()).collect();
    if codes.len() != kinds.iter().filter(|kind| kind.limits.claim_code.is_some()).count() {
        return Err(Error::invalid("two coupon kinds have the same claim code").with("field", "claim_code"));
    }
    let kinds = context.submit_if_unchanged(SetCouponKinds(kinds))?;
    let tag = SetCouponKinds(kinds.clone());
    Ok(all_rows(context, kinds.iter().map(kind_json).collect(), tag))
}

fn read_kind(mut row: Fields) -> Result<CouponKind, Error> {
    row.check(KIND)?;
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
    let max_off = row.amount("max_off")?;
    if max_off.is_some() && matches!(off, Discount::Amount(_)) {
        return Err(
            Error::invalid("max_off is for percentages: an amount_off is the most itself").with("field", "max_off")
        );
    }
    let terms = CouponTerms { off, threshold: threshold(&mut row)?, single_use, max_off };
    let limits = read_limits(&mut row)?;
    let mut message = |name: &str, default: &str| -> Result<String, Error> {
        let text = row.text(name)?.unwrap_or_else(|| default.to_owned());
        if text.chars().count() > EARNED_CHARS_MAX {
            return Err(Error::invalid(format!("{name} has at most {EARNED_CHARS_MAX} characters")));
        }
        Ok(text)
    };
    let earned_zh = message("earned_zh", "同时您获取了一张优惠券")?;
    let earned_en = message("earned_en", "and you have earned a coupon")?;
    Ok(CouponKind { kind, terms, earned_zh, earned_en, limits })
}

fn read_limits(row: &mut Fields) -> Result<KindLimits, Error> {
    let mut moment = |name: &str, edge| match row.moment(name, edge)? {
        Some(ms) if ms > LAST_MS => {
            Err(Error::invalid(format!("{name} is in the year 9999 of UTC at the latest")).with("field", name))
        }
        moment => Ok(moment),
    };
    let (valid_from, valid_until) = (moment("valid_from", DayEdge::Start)?, moment("valid_until", DayEdge::End)?);
    let claim_code = row.name("claim_code")?.map(|code| ClaimCode::parse(&code)).transpose()?;
    let limits = KindLimits {
        valid_days: row.integer("valid_days", 1..=DAYS_MAX)?,
        valid_from,
        valid_until,
        total: row.integer("limit_total", 1..=GIVEN_MAX)?,
        per_user: row.integer("limit_per_user", 1..=GIVEN_MAX)?.or(claim_code.as_ref().map(|_| 1)),
        claim_code,
    };
    if limits.valid_from.zip(limits.valid_until).is_some_and(|(from, until)| from >= until) {
        return Err(Error::invalid("valid_from is before valid_until").with("field", "valid_until"));
    }
    Ok(limits)
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
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Coupon"))]
pub(crate) struct CouponJson<'a> {
    /// Its code, in capitals. Null in a dry run that would grant it.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    code: &'a str,
    /// Its user.
    user_id: &'a str,
    /// Its kind.
    kind: &'a str,
    /// The amount it takes off; null if it takes a percentage.
    amount_off: Option<AsText<Money>>,
    /// The percentage it takes off; null if it takes an amount.
    percent_off: Option<i64>,
    /// The smallest price it is for; `0.00` if it is for any.
    threshold: AsText<Cents>,
    /// True if it is for one payment, false if it is for life.
    single_use: bool,
    /// Its state.
    #[cfg_attr(test, schemars(with = "CouponState"))]
    state: &'static str,
    /// The time of its grant.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    granted_at: String,
    /// The number of the recharge that earned it; null if it was granted by hand or claimed.
    earned_by: Option<i64>,
    /// The most that a percentage takes off; null without such a bound.
    max_off: Option<AsText<Money>>,
    /// The moment from which it cannot be used; null if it does not end.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    expires_at: Option<String>,
}

/// The names of a coupon's members, in order.
const COUPON_MEMBERS: [&str; 12] = [
    "code",
    "user_id",
    "kind",
    "amount_off",
    "percent_off",
    "threshold",
    "single_use",
    "state",
    "granted_at",
    "earned_by",
    "max_off",
    "expires_at",
];

/// A coupon as it is at that time.
pub(crate) fn coupon_json(coupon: &Coupon, at: i64) -> CouponJson<'_> {
    let (amount_off, percent_off) = discount_json(coupon.terms.off);
    CouponJson {
        code: coupon.code.as_str(),
        user_id: coupon.user.as_str(),
        kind: &coupon.kind,
        amount_off,
        percent_off,
        threshold: AsText(coupon.terms.threshold),
        single_use: coupon.terms.single_use,
        state: coupon.state(at).as_str(),
        granted_at: rfc3339(coupon.granted_at),
        earned_by: coupon.earned_by.map(|id| id.0),
        max_off: coupon.terms.max_off.map(AsText),
        expires_at: coupon.expires_at.map(rfc3339),
    }
}

/// A coupon kind.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CouponKind"))]
pub(crate) struct CouponKindJson<'a> {
    /// Its name.
    kind: &'a str,
    /// The amount its coupons take off; null if they take a percentage.
    amount_off: Option<AsText<Money>>,
    /// The percentage its coupons take off; null if they take an amount.
    percent_off: Option<i64>,
    /// The smallest price its coupons are for; `0.00` if they are for any.
    threshold: AsText<Cents>,
    /// True if a coupon is for one payment, false if it is for life.
    single_use: bool,
    /// The sentence about an earned coupon, in Chinese.
    earned_zh: &'a str,
    /// The sentence about an earned coupon, in English.
    earned_en: &'a str,
    /// The most that a percentage takes off.
    max_off: Option<AsText<Money>>,
    /// The days after its grant on which a coupon ends.
    valid_days: Option<i64>,
    /// The first moment at which coupons are given.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    valid_from: Option<String>,
    /// The moment from which none is given, and at which all end.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    valid_until: Option<String>,
    /// The most coupons that may ever be given.
    limit_total: Option<i64>,
    /// The most of them for one user.
    limit_per_user: Option<i64>,
    /// The public code for which any user gets one.
    claim_code: Option<&'a str>,
}

fn kind_json(kind: &CouponKind) -> CouponKindJson<'_> {
    let (amount_off, percent_off) = discount_json(kind.terms.off);
    CouponKindJson {
        kind: &kind.kind,
        amount_off,
        percent_off,
        threshold: AsText(kind.terms.threshold),
        single_use: kind.terms.single_use,
        earned_zh: &kind.earned_zh,
        earned_en: &kind.earned_en,
        max_off: kind.terms.max_off.map(AsText),
        valid_days: kind.limits.valid_days,
        valid_from: kind.limits.valid_from.map(rfc3339),
        valid_until: kind.limits.valid_until.map(rfc3339),
        limit_total: kind.limits.total,
        limit_per_user: kind.limits.per_user,
        claim_code: kind.limits.claim_code.as_ref().map(ClaimCode::as_str),
    }
}

fn discount_json(off: Discount) -> (Option<AsText<Money>>, Option<i64>) {
    match off {
        Discount::Amount(amount) => (Some(AsText(amount)), None),
        Discount::Percent(percent) => (None, Some(percent)),
    }
}

/// A recharge tier.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Tier"))]
pub(crate) struct TierJson<'a> {
    /// The smallest recharge it is for.
    from: AsText<Money>,
    /// The kind of the coupon that such a recharge earns; null if it earns none.
    coupon_kind: Option<&'a str>,
}

fn tier_json(tier: &Tier) -> TierJson<'_> {
    TierJson { from: AsText(tier.from), coupon_kind: tier.kind.as_deref() }
}
