//! The journal: a list of its lines, which can wait for the next one. The hashes of access tokens' secrets are left out.

use super::fields::{Field, TZ, ValueKind};
use super::files::{self, ROWS_STEP, TableFormat};
use super::request::{AFTER, Context, HandlerResult, LIMIT, PageRequest};
#[cfg(test)]
use super::schemas::{DetailObject, HashText, TimeText};
use crate::clock::{DayEdge, rfc3339};
use crate::error::Error;
use crate::journal::{self, ChangeKind, JournalFilter, JournalLine, JournalPage};
use crate::secret::hex;
use crate::store::EntryWait;
use crate::token::SECRET_FIELDS;
use ValueKind::{Integer, Text, Time};
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// The query of the list.
pub(crate) const LIST: &[Field] = &[
    LIMIT,
    AFTER,
    Field::optional("what", Text, "changes of one kind").one_of(&ChangeKind::NAMES),
    Field::optional("subject", Text, "about this access token, coupon or wallet").such_as("\"alice\""),
    Field::optional("since", Time, "made then or later; of a date: from its start"),
    Field::optional("until", Time, "made then or earlier; of a date: to its end"),
    TZ,
    Field::optional("order", Text, "desc (newest first) or asc").one_of(&["asc", "desc"]).or("\"desc\""),
    Field::optional("wait_ms", Integer, "with order=asc: how long to wait for a line, at most 30000")
        .within(0, WAIT_MS_MAX),
];
const FILTERS: &[&str] = &["what", "subject", "since", "until", "tz", "order"];

/// The longest wait for a line, in milliseconds.
const WAIT_MS_MAX: i64 = 30_000;

/// A line of the journal: a change that is not a movement of money.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "JournalLine"))]
pub(crate) struct JournalLineJson<'a> {
    /// Its number: 1, 2, 3, … without gaps.
    seq: i64,
    /// Its time.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    at: String,
    /// The caller who asked for the change.
    by: &'a str,
    /// The kind of change.
    #[cfg_attr(test, schemars(with = "ChangeKind"))]
    what: &'static str,
    /// The access token, coupon or wallet that was changed.
    subject: Option<&'a str>,
    /// The number of the newest entry then; 0 before the first.
    entry: i64,
    /// The new state of what was changed, without what leads to a secret.
    #[cfg_attr(test, schemars(with = "DetailObject"))]
    detail: Value,
    /// The hash of the line: it covers all that is stored of it, and the hash before.
    #[cfg_attr(test, schemars(with = "HashText"))]
    hash: String,
}

/// The names of a line's members, in order.
const LINE_MEMBERS: [&str; 8] = ["seq", "at", "by", "what", "subject", "entry", "detail", "hash"];

fn line_json(line: &JournalLine) -> JournalLineJson<'_> {
    let mut detail: Value = serde_json::from_str(&line.detail).unwrap_or_default();
    if let Some(fields) = detail.as_object_mut() {
        SECRET_FIELDS.iter().for_each(|field| drop(fields.shift_remove(*field)));
        if let Some(tokens) = fields.get_mut("tokens").and_then(Value::as_object_mut) {
            SECRET_FIELDS.iter().for_each(|field| drop(tokens.shift_remove(*field)));
        }
    }
    JournalLineJson {
        seq: line.seq,
        at: rfc3339(line.at),
        by: &line.by,
        what: line.what.as_str(),
        subject: line.subject.as_deref(),
        entry: line.entry,
        detail,
        hash: hex(&line.hash),
    }
}

/// `GET /v1/journal`
pub(crate) fn list(context: &mut Context<'_>) -> HandlerResult {
    if context.query.peek("order") == Some("desc") {
        context.query.take("order"); // the default: cursors with and without it are the same
    }
    let page = PageRequest::read(&mut context.query, "journal", FILTERS)?;
    let filter = filter(context)?;
    let wait_ms = context.query.integer("wait_ms", 0..=WAIT_MS_MAX)?;
    let format = TableFormat::wanted(context);
    if wait_ms.is_some() && (!filter.ascending || format.is_some()) {
        return Err(Error::invalid("wait_ms is for a page with order=asc").with("field", "wait_ms"));
    }
    let after = page.after.clone();
    let after = after.map(|place| context.app.store.read(|tx| journal::find_place(tx, &place))).transpose()?;
    if let Some(format) = format.filter(|_| !page.is_limited) {
        let mut after = after;
        return files::all_rows(context, format, &LINE_MEMBERS, move |store, lines| {
            let found = store.read(|tx| journal::lines(tx, &filter, after, ROWS_STEP)).map_err(io::Error::other)?;
            after = found.next;
            found.rows.iter().try_for_each(|line| lines.add(&line_json(line)))?;
            Ok(after.is_some())
        });
    }
    let mut found = context.app.store.read(|tx| journal::lines(tx, &filter, after, page.limit))?;
    if let (true, Some(wait_ms @ 1..)) = (found.rows.is_empty() && found.next.is_none(), wait_ms)
        && !context.is_head()
    {
        found = wait(context, &filter, found, page.limit, Duration::from_millis(wait_ms as u64))?;
    }
    let JournalPage { rows, next, reached } = found;
    let place =
        |seq: Option<i64>| seq.map(|seq| context.app.store.read(|tx| journal::place_behind(tx, seq))).transpose();
    let next = place(next)?;
    let rows: Vec<_> = rows.iter().map(line_json).collect();
    match format {
        Some(format) => files::page(context, &page, format, &LINE_MEMBERS, &rows, next.as_deref()),
        None => {
            let cursor = place(filter.ascending.then_some(reached))?;
            Ok(page.response_with_cursor(context.language, rows, next, cursor))
        }
    }
}

fn filter(context: &mut Context<'_>) -> Result<JournalFilter, Error> {
    let query = &mut context.query;
    let unknown = || Error::invalid(format!("what is one of {}", ChangeKind::NAMES.join(", "))).with("field", "what");
    let what = query.text("what")?.map(|what| ChangeKind::find(&what).ok_or_else(unknown)).transpose()?;
    let ascending = match query.text("order")?.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Error::invalid("order is asc or desc")),
    };
    Ok(JournalFilter {
        what,
        subject: query.text("subject")?,
        since: query.moment("since", DayEdge::Start)?,
        until: query.moment("until", DayEdge::End)?,
        ascending,
    })
}

/// Waits for a line that passes the filter behind `empty`. Ends with an empty page after `wait`, when the server stops or
/// when the client has disconnected.
fn wait(
    context: &Context<'_>,
    filter: &JournalFilter,
    empty: JournalPage,
    limit: usize,
    wait: Duration,
) -> Result<JournalPage, Error> {
    let store = &context.app.store;
    let deadline = Instant::now() + wait;
    let _permit = store.permit_to_wait(&context.caller.by, usize::MAX)?;
    let mut found = empty;
    while found.rows.is_empty() && store.wait_for_line(found.reached, deadline, &context.alive()) == EntryWait::Found {
        found = store.read(|tx| journal::lines(tx, filter, Some(found.reached), limit))?;
    }
    if context.caller.token.is_some() {
        context.app.tokens.caller(store, context.head)?; // it may have been revoked, or have expired
    }
    Ok(found)
}
