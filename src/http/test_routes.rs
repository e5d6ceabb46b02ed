//! The routes that only a server for tests has: `/test/…`. They are for admins, and stand in no description of the API.

use super::auth::Access::Admin;
use super::batch;
use super::conn::Response;
use super::endpoint::{Handler, Route, RouteBody};
use super::fields::{Field, FieldValue, ValueKind};
use super::request::{Context, HandlerResult, JSON};
use super::response;
use crate::clock::{DayEdge, rfc3339};
use crate::error::{Error, ErrorName};
use crate::ledger::{entry, query};
use crate::store::test_control::ClockMove;
use crate::test_mode::{
    FaultAction, FaultJson, LoggedRequest, PAUSE_MAX, PauseJson, PausePoint, RequestMatch, SnapshotJson, TestMode,
};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// All of them.
#[rustfmt::skip]
pub(crate) static ROUTES: &[Route] = &[
    Route::get("/test/clock", Admin, &[], "the time", clock),
    Route::change("POST", "/test/clock", Admin, CLOCK, "move the time, and do what falls due", move_clock),
    Route::change("POST", "/test/reset", Admin, &[], "an empty file again", reset),
    Route { method: "POST", path: "/test/seed", access: Admin, query: &[], body: RouteBody::Batch, status: 200, types: &[JSON], about: "first contents: an export, or the items of a batch", handler: Handler::Responds(seed) },
    Route::get("/test/snapshots", Admin, &[], "the states that are kept", snapshots),
    Route::change("PUT", "/test/snapshots/{name}", Admin, &[], "keep the present state", keep).with_status(201),
    Route::change("DELETE", "/test/snapshots/{name}", Admin, &[], "forget a state", delete_snapshot).with_status(204),
    Route::change("POST", "/test/snapshots/{name}/restore", Admin, &[], "bring a state back", restore),
    Route::get("/test/faults", Admin, &[], "the faults, and the requests they have hit", faults),
    Route::change("POST", "/test/faults", Admin, FAULT, "something goes wrong with the next request that matches", add_fault).with_status(201),
    Route::change("DELETE", "/test/faults", Admin, &[], "forget the faults", delete_faults).with_status(204),
    Route::get("/test/pauses", Admin, &[], "the pauses, and the requests they have met", pauses),
    Route::change("POST", "/test/pauses", Admin, PAUSE, "stop the next request that matches", add_pause).with_status(201),
    Route::change("DELETE", "/test/pauses", Admin, &[], "let all requests go on", delete_pauses).with_status(204),
    Route::get("/test/pauses/{id}", Admin, PAUSE_WAIT, "one pause; with `wait_ms`, when its request stands there", pause),
    Route::change("POST", "/test/pauses/{id}/release", Admin, &[], "let a request go on", release),
    Route::get("/test/requests", Admin, &[], "the requests so far", requests),
    Route::change("DELETE", "/test/requests", Admin, &[], "forget them", delete_requests).with_status(204),
];

const CLOCK: &[Field] = &[
    Field::optional("advance_ms", ValueKind::Integer, "the step of both times"),
    Field::optional("now", ValueKind::Time, "another wall time"),
];
const FAULT: &[Field] = &[
    Field::optional("match", ValueKind::Object, "the requests: method, path, user, key, nth"),
    Field::optional("times", ValueKind::Integer, "the number of requests it hits"),
    Field::required("do", ValueKind::Text, "its effect"),
];
const PAUSE: &[Field] = &[
    Field::optional("match", ValueKind::Object, "the requests: method, path, user, key, nth"),
    Field::required("at", ValueKind::Text, "the point").one_of(PausePoint::NAMES),
    Field::optional("longest_ms", ValueKind::Integer, "the time after which it ends by itself"),
];
const PAUSE_WAIT: &[Field] = &[Field::optional("wait_ms", ValueKind::Integer, "wait until its request stands there")];

/// The longest step of the clock, in milliseconds: a hundred years.
const ADVANCE_MS_MAX: i64 = 100 * 366 * 86_400_000;
/// The most requests that one fault hits.
const TIMES_MAX: i64 = 1_000_000;

fn test_of<'a>(context: &Context<'a>) -> &'a TestMode {
    context.app.test_mode()
}

/// A list.
#[derive(Serialize)]
struct ListJson<T> {
    data: Vec<T>,
}

fn list<T: Serialize>(context: &Context<'_>, data: Vec<T>) -> Response {
    response::ok(context.language.success(), &ListJson { data })
}

/// The time.
#[derive(Serialize)]
struct ClockJson {
    /// Wall time.
    now: String,
    /// Lease time, which only goes forward.
    lease_ms: i64,
    /// The time by which the wall clock is behind the newest entry: entries repeat that one's time meanwhile.
    behind_ms: i64,
}

/// `GET /test/clock`
fn clock(context: &mut Context<'_>) -> HandlerResult {
    let store = &context.app.store;
    let newest = store.read(|tx| entry::chain_head(tx))?.at;
    let wall_ms = store.clock().wall_ms();
    let json = ClockJson { now: rfc3339(wall_ms), lease_ms: store.lease_ms(), behind_ms: (newest - wall_ms).max(0) };
    Ok(response::ok(context.language.success(), &json))
}

/// `POST /test/clock`
fn move_clock(context: &mut Context<'_>) -> HandlerResult {
    let advance = context.fields.integer("advance_ms", 0..=ADVANCE_MS_MAX)?;
    let now = context.fields.moment("now", DayEdge::Start)?;
    let by = match (advance, now) {
        (Some(ms), None) => ClockMove::Advance(ms),
        (None, Some(now)) => ClockMove::SetWall(now),
        _ => return Err(Error::invalid("give advance_ms or now, one of them")),
    };
    context.app.move_clock(by)?;
    clock(context)
}

/// `POST /test/reset`
fn reset(context: &mut Context<'_>) -> HandlerResult {
    context.app.reset_test()?;
    clock(context)
}

/// `POST /test/seed`
fn seed(context: &mut Context<'_>) -> HandlerResult {
    test_of(context).check_writer_moves()?;
    let _one = test_of(context).seed_alone(); // else two of them find the file empty
    if !context.app.store.is_empty()? {
        return Err(Error::new(ErrorName::NotEmpty, "the file has contents already; POST /test/reset makes it empty"));
    }
    if context.body.trim_ascii_start().starts_with(b"{\"record\"") {
        if !context.app.store.is_as_made()? {
            let detail = "an export replaces the whole file, and this one has access tokens, settings or locks already: \
                          seed it before them";
            return Err(Error::new(ErrorName::NotEmpty, detail));
        }
        context.app.store.take_export(context.body.to_vec())?;
    } else {
        batch::seed(context)?;
    }
    let entries = context.app.store.read(|tx| query::newest_entry(tx))?;
    Ok(response::ok(context.language.success(), &SeededJson { entries }))
}

/// The result of a seed.
#[derive(Serialize)]
struct SeededJson {
    /// The number of entries.
    entries: i64,
}

/// `GET /test/snapshots`
fn snapshots(context: &mut Context<'_>) -> HandlerResult {
    Ok(list::<SnapshotJson>(context, test_of(context).list_snapshots()))
}

/// A snapshot.
#[derive(Serialize)]
struct SnapshotAnswer {
    snapshot: SnapshotJson,
}

/// `PUT /test/snapshots/{name}`
fn keep(context: &mut Context<'_>) -> HandlerResult {
    let snapshot = context.app.keep_state(&context.params[0])?;
    Ok(response::with_status(201, context.language.success(), &SnapshotAnswer { snapshot }))
}

/// `POST /test/snapshots/{name}/restore`
fn restore(context: &mut Context<'_>) -> HandlerResult {
    let snapshot = context.app.restore_state(&context.params[0])?;
    Ok(response::ok(context.language.success(), &SnapshotAnswer { snapshot }))
}

/// `DELETE /test/snapshots/{name}`
fn delete_snapshot(context: &mut Context<'_>) -> HandlerResult {
    test_of(context).delete_snapshot(&context.params[0])?;
    Ok(response::no_content())
}

/// The requests that a fault or a pause is for.
fn wanted(context: &mut Context<'_>) -> Result<RequestMatch, Error> {
    match context.fields.take("match") {
        None => Ok(RequestMatch::default()),
        Some(FieldValue::Text(text) | FieldValue::Json(text)) => RequestMatch::from_json(&text),
    }
}

/// A fault.
#[derive(Serialize)]
struct FaultAnswer {
    fault: FaultJson,
}

/// `POST /test/faults`
fn add_fault(context: &mut Context<'_>) -> HandlerResult {
    let wanted = wanted(context)?;
    let times = context.fields.integer("times", 1..=TIMES_MAX)?.unwrap_or(1) as u32;
    let action = match context.fields.take("do") {
        Some(FieldValue::Text(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)), // a form has text only
        Some(FieldValue::Json(text)) => serde_json::from_str(&text).unwrap_or_default(),
        None => Value::Null,
    };
    let fault = test_of(context).add_fault(wanted, times, FaultAction::of(&action)?)?;
    Ok(response::with_status(201, context.language.success(), &FaultAnswer { fault }))
}

/// `GET /test/faults`
fn faults(context: &mut Context<'_>) -> HandlerResult {
    Ok(list::<FaultJson>(context, test_of(context).faults()))
}

/// `DELETE /test/faults`
fn delete_faults(context: &mut Context<'_>) -> HandlerResult {
    test_of(context).delete_faults();
    Ok(response::no_content())
}

/// A pause.
#[derive(Serialize)]
struct PauseAnswer {
    pause: PauseJson,
}

/// `POST /test/pauses`
fn add_pause(context: &mut Context<'_>) -> HandlerResult {
    let wanted = wanted(context)?;
    let at = context.fields.text("at")?.unwrap_or_default();
    let point = PausePoint::from_text(&at).ok_or_else(|| {
        Error::invalid(format!("at is one of the points {}", PausePoint::NAMES.join(", "))).with("field", "at")
    })?;
    let most = PAUSE_MAX.as_millis() as i64;
    let longest_ms = context.fields.integer("longest_ms", 1..=most)?.unwrap_or(most);
    let pause = test_of(context).add_pause(wanted, point, Duration::from_millis(longest_ms.unsigned_abs()))?;
    Ok(response::with_status(201, context.language.success(), &PauseAnswer { pause }))
}

/// `GET /test/pauses`
fn pauses(context: &mut Context<'_>) -> HandlerResult {
    Ok(list::<PauseJson>(context, test_of(context).pauses()))
}

fn pause_id(context: &Context<'_>) -> Result<u64, Error> {
    context.params[0].parse().map_err(|_| Error::invalid("the number of a pause is a whole number"))
}

/// `GET /test/pauses/{id}`
fn pause(context: &mut Context<'_>) -> HandlerResult {
    let most = PAUSE_MAX.as_millis() as i64;
    let wait_ms = context.query.integer("wait_ms", 0..=most)?.unwrap_or(0);
    let pause = test_of(context).pause(pause_id(context)?, Duration::from_millis(wait_ms.unsigned_abs()))?;
    Ok(response::ok(context.language.success(), &PauseAnswer { pause }))
}

/// `POST /test/pauses/{id}/release`
fn release(context: &mut Context<'_>) -> HandlerResult {
    let pause = test_of(context).release(pause_id(context)?)?;
    Ok(response::ok(context.language.success(), &PauseAnswer { pause }))
}

/// `DELETE /test/pauses`
fn delete_pauses(context: &mut Context<'_>) -> HandlerResult {
    test_of(context).delete_pauses();
    Ok(response::no_content())
}

/// `GET /test/requests`
fn requests(context: &mut Context<'_>) -> HandlerResult {
    Ok(list::<LoggedRequest>(context, test_of(context).requests()))
}

/// `DELETE /test/requests`
fn delete_requests(context: &mut Context<'_>) -> HandlerResult {
    test_of(context).delete_requests();
    Ok(response::no_content())
}
