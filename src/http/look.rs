//! Looking at wallets and entries.

use super::fields::{Field, Kind as Is, may};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::{list, show, stream};
use crate::error::Error;
use crate::id::{EntryId, WalletId};
use crate::ledger::entry::{self, EntryKind};
use crate::ledger::query::{self, Filter};
use serde::Serialize;
use serde_json::json;

const LIMIT: Field = may("limit", Is::Integer, "how many rows, 1 to 1000; 50 if left out");
const AFTER: Field = may("after", Is::Text, "the `next` of the answer before");

/// What every list takes.
pub const LIST: &[Field] = &[LIMIT, AFTER];
/// What a list of entries takes.
pub const ENTRIES: &[Field] = &[
    LIMIT,
    AFTER,
    may("kind", Is::Text, "recharge, withdraw, pay, transfer or refund"),
    may("since", Is::Time, "made then or later"),
    may("until", Is::Time, "made then or earlier"),
    may("order", Is::Text, "desc (newest first) or asc"),
];
/// What one wallet takes.
pub const AS_OF: &[Field] = &[may("as_of", Is::Time, "as it was then, entries of that very millisecond included")];

/// `GET /v1/wallets`
pub fn wallets(context: &mut Context<'_>) -> HandlerResult {
    let page = list::page(&mut context.query, "wallets", &[])?;
    let found = context.app.store().read(|tx| query::wallets(tx, page.after.as_deref(), page.limit))?;
    let next = found.rows.last().filter(|_| found.more).map(|wallet| wallet.id.to_string());
    Ok(page.answer(context.language, found.rows.iter().map(show::wallet).collect(), next))
}

/// `GET /v1/wallets/{user}`
pub fn wallet(context: &mut Context<'_>) -> HandlerResult {
    let id = context.wallet()?;
    let ok = context.language.pick("查询成功", "ok");
    if let Some(time) = context.query.time("as_of")? {
        let wallet = context.app.store().read(|tx| query::wallet_as_of(tx, &id, time))?;
        let rest = json!({
            "user_id": id.as_str(), "balance": wallet.balance.to_string(), "entries": wallet.entries,
            "as_of": crate::clock::rfc3339(time),
        });
        return Ok(Reply::ok(ok, &rest));
    }
    let (wallet, coupons) =
        context.app.store().read(|tx| Ok((crate::ledger::wallet(tx, &id)?, query::count_usable_coupons(tx, &id)?)))?;
    Ok(Reply::ok(ok, &One { wallet: show::wallet(&wallet), coupons }))
}

#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    wallet: show::WalletShown<'a>,
    coupons: i64,
}

/// `GET /v1/entries`
pub fn entries(context: &mut Context<'_>) -> HandlerResult {
    list_entries(context, None)
}

/// `GET /v1/wallets/{user}/entries`
pub fn entries_of_wallet(context: &mut Context<'_>) -> HandlerResult {
    let wallet = context.wallet()?;
    context.app.store().read(|tx| crate::ledger::wallet(tx, &wallet))?;
    list_entries(context, Some(wallet))
}

fn list_entries(context: &mut Context<'_>, wallet: Option<WalletId>) -> HandlerResult {
    let of = wallet.as_ref().map_or("entries".to_owned(), |wallet| format!("entries of {wallet}"));
    if context.query.peek("order") == Some("desc") {
        context.query.take("order"); // as if it had not been said
    }
    let page = list::page(&mut context.query, &of, &["kind", "since", "until", "order"])?;
    let filter = filter(context, wallet)?;
    let after = page.after.as_deref().map(EntryId::parse).transpose()?.map(|id| id.0);
    if let Some(format) = stream::Format::wanted(context) {
        return Ok(stream::entries(context, format, filter, after));
    }
    let found = context.app.store().read(|tx| query::entries(tx, &filter, after, page.limit))?;
    let next = found.rows.last().filter(|_| found.more).map(|entry| entry.id.0.to_string());
    let rows = found.rows.iter().map(|entry| show::entry(entry, &context.caller)).collect();
    Ok(page.answer(context.language, rows, next))
}

fn filter(context: &mut Context<'_>, wallet: Option<WalletId>) -> Result<Filter, Error> {
    let query = &mut context.query;
    let ascending = match query.text("order")?.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Error::invalid("order is asc or desc")),
    };
    Ok(Filter {
        wallet,
        kind: query.text("kind")?.map(|kind| EntryKind::parse(&kind)).transpose()?,
        since: query.time("since")?,
        until: query.time("until")?,
        ascending,
    })
}

/// `GET /v1/entries/{id}`: somebody else's is as good as none.
pub fn entry(context: &mut Context<'_>) -> HandlerResult {
    let id = EntryId::parse(&context.params[0])?;
    let entry = context.app.store().read(|tx| entry::entry(tx, id))?;
    if let Some(user) = &context.caller.user
        && [&entry.from, &entry.to].iter().all(|wallet| wallet.as_str() != user.as_str())
    {
        return Err(entry::not_found(id).into());
    }
    Ok(Reply::ok(context.language.pick("查询成功", "ok"), &json!({ "entry": show::entry(&entry, &context.caller) })))
}
