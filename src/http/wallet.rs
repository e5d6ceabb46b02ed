//! `/wallet`: the caller's own wallet, in the words and sentences it always had.

use super::conn::RequestHead;
use super::fields::{Field, Kind, may, need};
use super::money::{self, Verb};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::show::{self, CouponShown, Text};
use super::words::Language;
use crate::error::{Error, ErrorName};
use crate::id::UserId;
use crate::ledger::{find_wallet, query};
use crate::money::Balance;
use serde::Serialize;

const USER_ID: Field = may("user_id", Kind::Text, "whose wallet, if the access token does not say");

/// What `GET /wallet` takes, and the query of the others.
pub const WHOSE: &[Field] = &[USER_ID];
/// What `POST` and `PUT /wallet` take.
pub const MOVE: &[Field] = &[
    need("amount", Kind::Amount, "how much; also under its old name, money"),
    USER_ID,
    may("reference", Kind::Text, "your own name for it, at most 255 characters"),
    may("metadata", Kind::Object, "at most 20 strings to keep with it"),
];

/// How many coupons are shown; `/v1/wallets/{user}/coupons` lists them all.
const COUPONS_SHOWN: usize = 1_000;

/// `GET /wallet`: what is in it. Before its first use it is empty.
pub fn show(context: &mut Context<'_>) -> HandlerResult {
    let user = whose(context)?;
    let (balance, coupons) = context.app.store().read(|tx| {
        let balance = find_wallet(tx, &user.wallet())?.map_or(Balance::ZERO, |wallet| wallet.balance);
        Ok((balance, query::usable_coupons(tx, &user, COUPONS_SHOWN)?))
    })?;
    let own = Own {
        user_id: user.as_str(),
        balance: Text(balance),
        held: show::HELD,
        coupons: coupons.iter().map(show::coupon).collect(),
    };
    Ok(Reply::ok(context.language.pick("查询成功", "ok"), &own))
}

#[derive(Serialize)]
struct Own<'a> {
    user_id: &'a str,
    balance: Text<Balance>,
    held: &'static str,
    coupons: Vec<CouponShown<'a>>,
}

/// `POST /wallet`: recharge.
pub fn recharge(context: &mut Context<'_>) -> HandlerResult {
    move_money(context, Verb::Recharge)
}

/// `PUT /wallet`: withdraw.
pub fn withdraw(context: &mut Context<'_>) -> HandlerResult {
    move_money(context, Verb::Withdraw)
}

fn move_money(context: &mut Context<'_>, verb: Verb) -> HandlerResult {
    let user = whose(context)?;
    let command = money::command(context.app, &context.caller, verb, user.as_str(), &mut context.fields)?;
    money::submit(context, command)
}

/// What is said here of a recharge or a withdrawal that cannot be read, wherever that was found out.
pub fn unreadable(head: &RequestHead, error: &Error, language: Language) -> Option<&'static str> {
    let unreadable =
        matches!(error.name, ErrorName::InvalidRequest | ErrorName::InvalidAmount | ErrorName::InvalidUser);
    match head.method.as_str() {
        "POST" if unreadable && head.path == PATH => Some(language.pick("充值错误", "cannot recharge")),
        "PUT" if unreadable && head.path == PATH => Some(language.pick("提现错误", "cannot withdraw")),
        _ => None,
    }
}

/// The access token decides whose wallet it is; one without a user names it, in the body or in the query.
fn whose(context: &mut Context<'_>) -> Result<UserId, Error> {
    let named = context.fields.user("user_id")?;
    let asked = context.query.user("user_id")?;
    let user = match (named, asked, context.caller.user.clone()) {
        (Some(one), Some(other), _) if one != other => {
            return Err(Error::invalid("body and query name different users"));
        }
        (one, other, own) => one.or(other).or(own),
    };
    let user = user.ok_or_else(|| {
        Error::new(ErrorName::InvalidUser, "whose wallet? This access token is no user's, so send user_id")
    })?;
    context.caller.may_touch(&user)?;
    Ok(user)
}

/// Where it is.
pub const PATH: &str = "/wallet";
/// What `/wallet` speaks if nobody says otherwise.
pub const LANGUAGE: Language = Language::Zh;
