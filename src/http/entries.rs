//! Entries: their lists, which can wait for the next entry, and one of them.

use super::conn::Response;
use super::fields::{BOUND_PATTERN, CODE_PATTERN, Field, Fields, TZ, ValueKind};
use super::files::{self, ROWS_STEP, TableFormat};
use super::request::{AFTER, Context, HandlerResult, LIMIT, PageRequest};
use super::response::{self, AsText, ENTRY_MEMBERS, EntryJson, entry_json};
use crate::clock::DayEdge;
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, WalletId};
use crate::ledger;
use crate::ledger::entry::{self, EntryKind};
use crate::ledger::query::{self, EntryPage, Filter};
use crate::money::{Cents, Money};
use crate::store::EntryWait;
use ValueKind::{Amount, Integer, Object, Text, Time};
use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};

/// The fields of the query that choose entries.
const FILTER_FIELDS: &[Field] = &[
    Field::optional("kind", Text, "recharge, withdraw, pay, transfer, refund, hold, capture or release")
        .one_of(&["recharge", "withdraw", "pay", "transfer", "refund", "hold", "capture", "release"]),
    Field::optional("since", Time, "made then or later; of a date: from its start"),
    Field::optional("until", Time, "made then or earlier; of a date: to its end"),
    TZ,
    Field::optional("metadata", Object, "metadata[NAME]=VALUE: with this pair; at most 3 of them").within(0, 3),
    Field::optional("by", Text, "asked for by this caller"),
    Field::optional("min", Amount, "of this amount or more").like(BOUND_PATTERN),
    Field::optional("max", Amount, "of this amount or less").like(BOUND_PATTERN),
    Field::optional("reference", Text, "with this reference"),
    Field::optional("coupon", Text, "that this coupon was earned by or used in").like(CODE_PATTERN),
    Field::optional("refunds", Integer, "that refund the entry of this number").within(0, EntryId::MAX),
    Field::optional("hold", Integer, "that are steps of the hold of this number").within(0, EntryId::MAX),
];
/// Their number.
pub(crate) const FILTER_COUNT: usize = FILTER_FIELDS.len();
/// The filters of a list of entries that its cursors keep.
pub(crate) const FILTERS: &[&str] = &[
    "kind",
    "since",
    "until",
    "tz",
    "metadata",
    "by",
    "min",
    "max",
    "reference",
    "coupon",
    "refunds",
    "hold",
    "user",
    "order",
];

/// The wallet whose entries are wanted, in a query of all.
pub(crate) const USER: Field = Field::optional("user", Text, "of this wallet");

const ORDER: Field =
    Field::optional("order", Text, "desc (newest first) or asc").one_of(&["asc", "desc"]).or("\"desc\"");
const WAIT: Field = Field::optional("wait_ms", Integer, "with order=asc: how long to wait for an entry, at most 30000")
    .within(0, WAIT_MS_MAX);

/// The query of a list of entries.
pub(crate) const LIST: &[Field] = &with_filters::<4, { 4 + FILTER_COUNT }>([LIMIT, AFTER, ORDER, WAIT]);

/// The query of the list of all entries.
pub(crate) const LIST_OF_ALL: &[Field] = &with_filters::<5, { 5 + FILTER_COUNT }>([LIMIT, AFTER, ORDER, WAIT, USER]);

/// The fields of a query that chooses entries: these, and those of every such query.
pub(crate) const fn with_filters<const OWN: usize, const ALL: usize>(own: [Field; OWN]) -> [Field; ALL] {
    assert!(ALL == OWN + FILTER_FIELDS.len());
    let mut all = [FILTER_FIELDS[0]; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = if at < OWN { own[at] } else { FILTER_FIELDS[at - OWN] };
        at += 1;
    }
    all
}

/// The longest wait for an entry, in milliseconds.
const WAIT_MS_MAX: i64 = 30_000;
/// The most requests of one user that wait for entries.
const WAITING_OF_ONE_USER_MAX: usize = 16;

/// `GET /v1/entries`
pub(crate) fn entries(context: &mut Context<'_>) -> HandlerResult {
    list(context, None)
}

/// `GET /v1/wallets/{user}/entries`
pub(crate) fn entries_of_wallet(context: &mut Context<'_>) -> HandlerResult {
    let wallet = context.wallet()?;
    context.app.store.read(|tx| ledger::wallet(tx, &wallet))?;
    list(context, Some(wallet))
}

fn list(context: &mut Context<'_>, wallet: Option<WalletId>) -> HandlerResult {
    let of = wallet.as_ref().map_or("entries".to_owned(), |wallet| format!("entries of {wallet}"));
    if context.query.peek("order") == Some("desc") {
        context.query.take("order"); // the default: cursors with and without it are the same
    }
    let page = PageRequest::read(&mut context.query, &of, FILTERS)?;
    let filter = filter(context, wallet)?;
    let wait_ms = context.query.integer("wait_ms", 0..=WAIT_MS_MAX)?;
    let format = TableFormat::wanted(context);
    if wait_ms.is_some() && (!filter.ascending || format.is_some()) {
        return Err(Error::invalid("wait_ms is for a page with order=asc").with("field", "wait_ms"));
    }
    if let Some(format) = format.filter(|_| !page.is_limited) {
        let place = page.after.as_deref();
        let mut after = place.map(|place| context.app.store.read(|tx| query::find_place(tx, place))).transpose()?;
        let caller = context.caller.clone();
        return files::all_rows(context, format, &ENTRY_MEMBERS, move |store, lines| {
            let found = store.read(|tx| query::entries(tx, &filter, after, ROWS_STEP)).map_err(io::Error::other)?;
            after = found.next;
            found.rows.iter().try_for_each(|entry| lines.add(&entry_json(entry, &caller)))?;
            Ok(after.is_some())
        });
    }
    let mut found = read(context, &filter, page.after.as_deref(), page.limit)?;
    if let (true, Some(wait_ms @ 1..)) = (found.is_empty(), wait_ms)
        && context.head.method != "HEAD"
    {
        found = wait(context, &filter, found, page.limit, Duration::from_millis(wait_ms as u64))?;
    }
    let Some(format) = format else { return Ok(found.response(context, &page)) };
    let rows: Vec<_> = found.page.rows.iter().map(|entry| entry_json(entry, &context.caller)).collect();
    files::page(context, &page, format, &ENTRY_MEMBERS, &rows, found.next.as_deref())
}

/// A page, and the places of its ends.
struct PlacedPage {
    page: EntryPage,
    next: Option<String>,
    /// Of an ascending list: the place to go on from.
    cursor: Option<String>,
}

impl PlacedPage {
    /// True if nothing was found and there is nothing more to look at.
    fn is_empty(&self) -> bool {
        self.page.rows.is_empty() && self.next.is_none()
    }

    fn response(&self, context: &Context<'_>, request: &PageRequest) -> Response {
        let rows = self.page.rows.iter().map(|entry| entry_json(entry, &context.caller)).collect();
        request.response_with_cursor(context.language, rows, self.next.clone(), self.cursor.clone())
    }
}

fn read(context: &Context<'_>, filter: &Filter, after: Option<&str>, limit: usize) -> Result<PlacedPage, Error> {
    context.app.store.read(|tx| {
        let after = after.map(|place| query::find_place(tx, place)).transpose()?;
        let page = query::entries(tx, filter, after, limit)?;
        let next = page.next.map(|id| query::place_behind(tx, id)).transpose()?;
        let cursor = filter.ascending.then(|| query::place_behind(tx, page.reached)).transpose()?;
        Ok(PlacedPage { page, next, cursor })
    })
}

/// Waits for an entry that passes the filter behind `empty`. Ends with an empty page after `wait`, when the server stops
/// or when the client has disconnected.
fn wait(
    context: &Context<'_>,
    filter: &Filter,
    empty: PlacedPage,
    limit: usize,
    wait: Duration,
) -> Result<PlacedPage, Error> {
    let store = &context.app.store;
    let deadline = Instant::now() + wait;
    let of_one_max = if context.caller.user.is_some() { WAITING_OF_ONE_USER_MAX } else { usize::MAX };
    let _permit = store.permit_to_wait(&context.caller.by, of_one_max)?;
    let mut found = empty;
    let mut reached = found.page.reached;
    let mut looked: Option<Instant> = None;
    while found.is_empty() && store.wait_for_entry(reached, looked, deadline, &context.alive()) == EntryWait::Found {
        let page = store.entries_behind(filter, reached, 1)?;
        looked = Some(Instant::now());
        if !page.rows.is_empty() {
            found = read(context, filter, Some(&reached.to_string()), limit)?;
        }
        reached = page.reached;
    }
    if found.is_empty() {
        found.cursor = Some(store.read(|tx| query::place_behind(tx, reached))?);
    }
    if context.caller.token.is_some() {
        context.app.tokens.caller(store, context.head)?; // it may have been revoked, or have expired
    }
    Ok(found)
}

/// The filter that the query describes.
pub(crate) fn filter(context: &mut Context<'_>, wallet: Option<WalletId>) -> Result<Filter, Error> {
    let filter = read_filter(&mut context.query, wallet)?;
    let Filter { wallet: Some(wallet), hold: Some(hold), .. } = &filter else { return Ok(filter) };
    let holder = match context.app.store.read(|tx| ledger::hold::parties(tx, *hold)) {
        Ok((holder, _)) => Some(holder),
        Err(error) if error.name == ErrorName::HoldNotFound => None,
        Err(error) => return Err(error),
    };
    match holder {
        // Its captures do not move the wallet that holds.
        Some(holder) if holder == *wallet => Ok(Filter { wallet: None, ..filter }),
        _ if context.caller.user.is_some() => Err(ledger::hold::not_found(*hold)),
        _ => Ok(filter),
    }
}

fn read_filter(query: &mut Fields, wallet: Option<WalletId>) -> Result<Filter, Error> {
    let named = query.name("user")?.map(|wallet| WalletId::parse(&wallet)).transpose()?;
    let ascending = match query.text("order")?.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Error::invalid("order is asc or desc")),
    };
    Ok(Filter {
        wallet: wallet.or(named),
        kind: query.text("kind")?.map(|kind| EntryKind::parse(&kind)).transpose()?,
        since: query.moment("since", DayEdge::Start)?,
        until: query.moment("until", DayEdge::End)?,
        by: query.text("by")?,
        min: query.bound("min")?,
        max: query.bound("max")?,
        metadata: query.wanted_metadata()?,
        reference: query.text("reference")?,
        coupon: query.text("coupon")?.map(|code| CouponCode::parse(&code)).transpose()?,
        refunds: query.text("refunds")?.map(|id| EntryId::parse(&id)).transpose()?,
        hold: query.text("hold")?.map(|id| EntryId::parse(&id)).transpose()?,
        ascending,
    })
}

/// One entry.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EntryDetails"))]
pub(crate) struct EntryDetailsJson<'a> {
    /// The entry.
    entry: EntryJson<'a>,
    /// The numbers of the entries that refund it.
    refunded_by: Vec<i64>,
    /// The part of it that can still be refunded; `0.00` for what never can.
    refundable: AsText<Cents>,
}

/// `GET /v1/entries/{id}`. For the role `user`, an entry of other wallets does not exist.
pub(crate) fn entry(context: &mut Context<'_>) -> HandlerResult {
    let id = EntryId::parse(&context.params[0])?;
    let (entry, refunds, left, holder) = context.app.store.read(|tx| {
        let entry = entry::entry(tx, id)?;
        let left = ledger::verbs::refundable(tx, &entry)?;
        let holder = entry.hold.map(|hold| ledger::hold::parties(tx, hold)).transpose()?.map(|(wallet, _)| wallet);
        Ok((entry, ledger::verbs::refunds_of(tx, id)?, left, holder))
    })?;
    let wallets = [Some(&entry.from), Some(&entry.to), holder.as_ref()];
    if !wallets.into_iter().flatten().any(|wallet| context.caller.check_wallet(wallet).is_ok()) {
        return Err(entry::not_found(id));
    }
    let entry = entry_json(&entry, &context.caller);
    let refundable = AsText(Cents(left.map_or(0, Money::cents)));
    let details = EntryDetailsJson { entry, refunded_by: refunds, refundable };
    Ok(response::ok(context.language.found(), &details))
}
