//! Looking at wallets and entries.

use super::call::{Call, Handled};
use super::fields::{Field, Kind as Is, may};
use super::reply::Reply;
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
pub fn wallets(call: &mut Call<'_>) -> Handled {
    let page = list::page(&mut call.query, "wallets", &[])?;
    let found = call.app.store().read(|tx| query::wallets(tx, page.after.as_deref(), page.limit))?;
    let next = found.rows.last().filter(|_| found.more).map(|wallet| wallet.id.to_string());
    Ok(page.answer(call.language, found.rows.iter().map(show::wallet).collect(), next))
}

/// `GET /v1/wallets/{user}`
pub fn wallet(call: &mut Call<'_>) -> Handled {
    let id = call.wallet()?;
    let ok = call.language.pick("查询成功", "ok");
    if let Some(time) = call.query.time("as_of")? {
        let wallet = call.app.store().read(|tx| query::wallet_as_of(tx, &id, time))?;
        let rest = json!({
            "user_id": id.as_str(), "balance": wallet.balance.to_string(), "entries": wallet.entries,
            "as_of": crate::clock::rfc3339(time),
        });
        return Ok(Reply::ok(ok, &rest));
    }
    let (wallet, coupons) =
        call.app.store().read(|tx| Ok((crate::ledger::wallet(tx, &id)?, query::count_usable_coupons(tx, &id)?)))?;
    Ok(Reply::ok(ok, &One { wallet: show::wallet(&wallet), coupons }))
}

#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    wallet: show::WalletShown<'a>,
    coupons: i64,
}

/// `GET /v1/entries`
pub fn entries(call: &mut Call<'_>) -> Handled {
    list_entries(call, None)
}

/// `GET /v1/wallets/{user}/entries`
pub fn entries_of_wallet(call: &mut Call<'_>) -> Handled {
    let wallet = call.wallet()?;
    call.app.store().read(|tx| crate::ledger::wallet(tx, &wallet))?;
    list_entries(call, Some(wallet))
}

fn list_entries(call: &mut Call<'_>, wallet: Option<WalletId>) -> Handled {
    let of = wallet.as_ref().map_or("entries".to_owned(), |wallet| format!("entries of {wallet}"));
    if call.query.peek("order") == Some("desc") {
        call.query.take("order"); // as if it had not been said
    }
    let page = list::page(&mut call.query, &of, &["kind", "since", "until", "order"])?;
    let filter = filter(call, wallet)?;
    let after = page.after.as_deref().map(EntryId::parse).transpose()?.map(|id| id.0);
    if let Some(format) = stream::Format::wanted(call) {
        return Ok(stream::entries(call, format, filter, after));
    }
    let found = call.app.store().read(|tx| query::entries(tx, &filter, after, page.limit))?;
    let next = found.rows.last().filter(|_| found.more).map(|entry| entry.id.0.to_string());
    let rows = found.rows.iter().map(|entry| show::entry(entry, &call.caller)).collect();
    Ok(page.answer(call.language, rows, next))
}

fn filter(call: &mut Call<'_>, wallet: Option<WalletId>) -> Result<Filter, Error> {
    let query = &mut call.query;
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
pub fn entry(call: &mut Call<'_>) -> Handled {
    let id = EntryId::parse(&call.params[0])?;
    let entry = call.app.store().read(|tx| entry::entry(tx, id))?;
    if let Some(user) = &call.caller.user
        && [&entry.from, &entry.to].iter().all(|wallet| wallet.as_str() != user.as_str())
    {
        return Err(entry::not_found(id).into());
    }
    Ok(Reply::ok(call.language.pick("查询成功", "ok"), &json!({ "entry": show::entry(&entry, &call.caller) })))
}
