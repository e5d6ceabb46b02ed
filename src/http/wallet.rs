//! `/wallet`: the caller's own wallet, in the words and sentences it always had.

use super::call::{Call, Handled};
use super::fields::{Field, Kind, may, need};
use super::money::{self, Verb};
use super::reply::Reply;
use super::show::{self, CouponShown, Text};
use super::wire::Head;
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
pub fn show(call: &mut Call<'_>) -> Handled {
    let user = whose(call)?;
    let (balance, coupons) = call.app.store().read(|tx| {
        let balance = find_wallet(tx, &user.wallet())?.map_or(Balance::ZERO, |wallet| wallet.balance);
        Ok((balance, query::usable_coupons(tx, &user, COUPONS_SHOWN)?))
    })?;
    let own = Own {
        user_id: user.as_str(),
        balance: Text(balance),
        held: show::HELD,
        coupons: coupons.iter().map(show::coupon).collect(),
    };
    Ok(Reply::ok(call.language.pick("查询成功", "ok"), &own))
}

#[derive(Serialize)]
struct Own<'a> {
    user_id: &'a str,
    balance: Text<Balance>,
    held: &'static str,
    coupons: Vec<CouponShown<'a>>,
}

/// `POST /wallet`: recharge.
pub fn recharge(call: &mut Call<'_>) -> Handled {
    move_money(call, Verb::Recharge)
}

/// `PUT /wallet`: withdraw.
pub fn withdraw(call: &mut Call<'_>) -> Handled {
    move_money(call, Verb::Withdraw)
}

fn move_money(call: &mut Call<'_>, verb: Verb) -> Handled {
    let user = whose(call)?;
    let command = money::command(call.app, &call.caller, verb, user.as_str(), &mut call.fields)?;
    money::submit(call, command)
}

/// What is said here of a recharge or a withdrawal that cannot be read, wherever that was found out.
pub fn unreadable(head: &Head, error: &Error, language: Language) -> Option<&'static str> {
    let unreadable =
        matches!(error.name, ErrorName::InvalidRequest | ErrorName::InvalidAmount | ErrorName::InvalidUser);
    match head.method.as_str() {
        "POST" if unreadable && head.path == PATH => Some(language.pick("充值错误", "cannot recharge")),
        "PUT" if unreadable && head.path == PATH => Some(language.pick("提现错误", "cannot withdraw")),
        _ => None,
    }
}

/// The access token decides whose wallet it is; one without a user names it, in the body or in the query.
fn whose(call: &mut Call<'_>) -> Result<UserId, Error> {
    let named = call.fields.user("user_id")?;
    let asked = call.query.user("user_id")?;
    let user = match (named, asked, call.caller.user.clone()) {
        (Some(one), Some(other), _) if one != other => {
            return Err(Error::invalid("body and query name different users"));
        }
        (one, other, own) => one.or(other).or(own),
    };
    let user = user.ok_or_else(|| {
        Error::new(ErrorName::InvalidUser, "whose wallet? This access token is no user's, so send user_id")
    })?;
    call.caller.may_touch(&user)?;
    Ok(user)
}

/// Where it is.
pub const PATH: &str = "/wallet";
/// What `/wallet` speaks if nobody says otherwise.
pub const LANGUAGE: Language = Language::Zh;
