//! Locks as a service of their own. The role `user` has one: `wallet/USER`.

use super::auth::{self, Caller};
use super::conn::Response;
use super::fields::{Field, Fields, Kind as Is, may, need};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::{list, look};
use crate::clock::rfc3339;
use crate::command::ReleaseUndelivered;
use crate::error::{Error, ErrorName};
use crate::id::{Fence, LockId, LockSecret, LockToken};
use crate::lock::event::LockEvent;
use crate::lock::lease::{AcquireRequest, Grant, GrantOrigin, ReleaseRequest, RenewRequest, RevokeRequest};
use crate::lock::{self, DURATION_MS, GRACE_MS, Lock, LockState};
use crate::secret;
use crate::store::Envelope;
use crate::token::Role;
use serde_json::{Value, json};
use std::sync::Arc;

const TTL: Field = may("ttl_ms", Is::Integer, "how long the lease lasts without renewal; 60000 if left out");
const WAIT: Field = may("wait_ms", Is::Integer, "how long to wait for it; 0 if left out");
const GRACE: Field = may("grace_ms", Is::Integer, "how long after that nobody else may take over; 5000 if left out");
const MAX_HOLD: Field = may("max_hold_ms", Is::Integer, "how long it may be held at most, renewals included");
const HOLDER: Field = may("holder", Is::Text, "a label for people, at most 255 characters; who calls if left out");
const SECRET: Field = may(
    "secret",
    Is::Text,
    "16 to 64 characters of A-Z a-z 0-9 _ -: asking again with it is the same grant; ours if left out",
);

/// What acquiring takes.
pub const ACQUIRE: &[Field] = &[TTL, WAIT, GRACE, MAX_HOLD, HOLDER, SECRET];
/// What acquiring several takes.
pub const ACQUIRE_SEVERAL: &[Field] =
    &[need("ids", Is::List, "1 to 16 lock ids"), TTL, WAIT, GRACE, MAX_HOLD, HOLDER, SECRET];
/// What renewing takes.
pub const RENEW: &[Field] = &[may("ttl_ms", Is::Integer, "another length for the lease from now on")];
/// What revoking takes.
pub const REVOKE: &[Field] = &[
    need("fence", Is::Integer, "the fence that was seen"),
    may("delay_ms", Is::Integer, "how long nobody may have it; the larger of its grace and 10000 if left out"),
    may("reason", Is::Text, "why, for the record"),
];
/// What the list takes.
pub const LIST: &[Field] = &[
    look::LIST[0],
    look::LIST[1],
    may("prefix", Is::Text, "ids that begin so"),
    may("state", Is::Text, "held, grace, stale or revoked"),
];
/// What looking at one takes.
pub const WATCH: &[Field] = &[
    may("fence", Is::Integer, "with wait_ms: answer when this lease has ended"),
    may("wait_ms", Is::Integer, "how long to watch"),
];

const IDS_MAX: usize = 16;
const LABEL_CHARS_MAX: usize = 255;
const TTL_MS: i64 = 60_000;
/// What the role `user` may ask for.
const USER_TTL_MS_MAX: i64 = 60_000;
const USER_GRACE_MS_MAX: i64 = 60_000;
const USER_HOLD_MS_MAX: i64 = 300_000;

/// `POST /v1/locks/{id}`
pub fn acquire(context: &mut Context<'_>) -> HandlerResult {
    let id = id(context)?;
    grant(context, vec![id])
}

/// `POST /v1/locks`
pub fn acquire_several(context: &mut Context<'_>) -> HandlerResult {
    let mut ids =
        context.fields.texts("ids", IDS_MAX)?.iter().map(|id| LockId::parse(id)).collect::<Result<Vec<_>, _>>()?;
    ids.sort();
    ids.dedup();
    grant(context, ids)
}

fn grant(context: &mut Context<'_>, ids: Vec<LockId>) -> HandlerResult {
    let user = context.caller.role == Role::User;
    let longest = *DURATION_MS.end();
    let (ttl_max, grace_max, hold_max) =
        if user { (USER_TTL_MS_MAX, USER_GRACE_MS_MAX, USER_HOLD_MS_MAX) } else { (longest, longest, longest) };
    let fields = &mut context.fields;
    let secret = fields.text("secret")?.unwrap_or_else(secret::random_hex::<16>);
    let max_hold_ms = fields.integer("max_hold_ms", 1..=hold_max)?.or(user.then_some(USER_HOLD_MS_MAX));
    let ttl_ms = fields.integer("ttl_ms", 1..=ttl_max)?.unwrap_or(TTL_MS);
    let ask = AcquireRequest {
        ids,
        secret: LockSecret::parse(&secret)?,
        holder: label(fields, "holder")?.unwrap_or_else(|| context.caller.by.clone()),
        expire_ms: max_hold_ms.map_or(ttl_ms, |most| ttl_ms.min(most)), // the first lease is no exception
        grace_ms: fields.integer("grace_ms", 0..=grace_max)?.unwrap_or(GRACE_MS),
        max_hold_ms,
    };
    let wait_ms = fields.integer("wait_ms", 0..=*DURATION_MS.end())?.unwrap_or(0);
    let outcome = context.app.store().submit(Envelope { wait_ms, ..context.envelope()? }, ask);
    Ok(granted(context, outcome.result?))
}

fn granted(context: &Context<'_>, grant: Grant) -> Response {
    let (status, outcome) = match grant.origin {
        GrantOrigin::Created => (201, "created"),
        GrantOrigin::TakenOver => (201, "taken_over"),
        GrantOrigin::Replayed => (200, "replayed"),
    };
    let previous = grant.previous.as_ref();
    let ids: Vec<_> = grant.ids.iter().map(LockId::as_str).collect();
    let named = if context.params.is_empty() { ("ids", json!(ids)) } else { ("id", json!(ids[0])) };
    let rest = json!({
        named.0: named.1,
        "token": grant.token.to_string(),
        "fence": grant.token.fence.0,
        "outcome": outcome,
        "expires_in_ms": grant.expires_in_ms,
        "previous": previous.map(|dead| json!({ "fence": dead.fence.0, "holder": dead.holder })),
    });
    let mut answer = Reply::with(status, context.language.pick("已加锁", "granted"), &rest);
    answer.headers.push(("Lock-Token", grant.token.to_string()));
    // Nobody knows of a grant whose answer was delivered to nobody: it is given back at once.
    let (store, by, token) = (Arc::clone(&context.app.store), context.caller.by.clone(), grant.token);
    answer.undelivered = Some(Box::new(move || {
        store.submit(Envelope { by, ..Envelope::local() }, ReleaseUndelivered(token));
    }));
    answer
}

/// `PATCH /v1/locks/{id}`
pub fn renew(context: &mut Context<'_>) -> HandlerResult {
    let id = id(context)?;
    renewed(context, Some(id))
}

/// `PATCH /v1/locks`
pub fn renew_several(context: &mut Context<'_>) -> HandlerResult {
    renewed(context, None)
}

fn renewed(context: &mut Context<'_>, id: Option<LockId>) -> HandlerResult {
    let ttl_max = if context.caller.role == Role::User { USER_TTL_MS_MAX } else { *DURATION_MS.end() };
    let expire_ms = context.fields.integer("ttl_ms", 1..=ttl_max)?;
    let token = the_token(context)?;
    let submitted = context.submit_bare(RenewRequest { id, token, expire_ms })?;
    let renewed = submitted.receipt;
    let rest = json!({ "expires_in_ms": renewed.expires_in_ms, "late": renewed.late });
    Ok(Reply::ok(context.language.pick("已续期", "renewed"), &rest))
}

/// `DELETE /v1/locks/{id}`
pub fn release(context: &mut Context<'_>) -> HandlerResult {
    let id = id(context)?;
    released(context, Some(id))
}

/// `DELETE /v1/locks`
pub fn release_several(context: &mut Context<'_>) -> HandlerResult {
    released(context, None)
}

fn released(context: &mut Context<'_>, id: Option<LockId>) -> HandlerResult {
    let token = the_token(context)?;
    context.submit_bare(ReleaseRequest { id, token })?;
    let mut answer = Reply::bytes(204, "", Vec::new());
    answer.headers.clear();
    Ok(answer)
}

/// `POST /v1/locks/{id}/revoke`
pub fn revoke(context: &mut Context<'_>) -> HandlerResult {
    let id = id(context)?;
    let fields = &mut context.fields;
    let fence = fields
        .integer("fence", 0..=i64::MAX)?
        .ok_or_else(|| Error::invalid("fence is missing: the fence that was seen"))?;
    let delay_ms = fields.integer("delay_ms", 0..=*DURATION_MS.end())?;
    let reason = label(fields, "reason")?;
    let submitted = context.submit(RevokeRequest { id, fence: Fence(fence), delay_ms, reason })?;
    let lock = &submitted.receipt;
    let shown = shown_at(lock.renew_time, &lock.id, Some(lock)); // as it was left, however late this is told again
    Ok(submitted.marked(Reply::ok(context.language.pick("已撤销", "revoked"), &shown)))
}

/// `GET /v1/locks/{id}`
pub fn one(context: &mut Context<'_>) -> HandlerResult {
    let id = id(context)?;
    let fence = context.query.integer("fence", 0..=i64::MAX)?;
    let wait_ms = context.query.integer("wait_ms", 0..=*DURATION_MS.end())?.unwrap_or(0);
    if let Some(fence) = fence {
        context.app.store().watch(&id, Fence(fence), wait_ms, &context.alive)?;
    }
    let lock = context.app.store().read(|tx| lock::find(tx, &id))?;
    let shown = shown(context, &id, lock.as_ref());
    Ok(Reply::ok(context.language.pick("查询成功", "ok"), &shown))
}

/// `GET /v1/locks`
pub fn list(context: &mut Context<'_>) -> HandlerResult {
    let page = list::page(&mut context.query, "locks", &["prefix", "state"])?;
    let prefix = context.query.text("prefix")?.unwrap_or_default();
    let state = context.query.text("state")?.map(|state| LockState::parse(&state)).transpose()?;
    let now = context.app.store().lease_ms();
    let after = page.after.as_deref().unwrap_or("");
    let mut rows = context.app.store().read(|tx| lock::list(tx, &prefix, state, now, after, page.limit + 1))?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|lock| lock.id.to_string());
    Ok(page.answer(context.language, rows.iter().map(|lock| shown(context, &lock.id, Some(lock))).collect(), next))
}

/// `GET /v1/locks/{id}/events`
pub fn events(context: &mut Context<'_>) -> HandlerResult {
    let id = id(context)?;
    let page = list::page(&mut context.query, &format!("events of {id}"), &[])?;
    let before = page.after.as_deref().and_then(|seq| seq.parse().ok()).unwrap_or(i64::MAX);
    let mut rows = context.app.store().read(|tx| lock::event::of_lock(tx, &id, before, page.limit + 1))?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|event| event.seq.to_string());
    Ok(page.answer(context.language, rows.iter().map(event).collect(), next))
}

/// The lock in the path, which the caller must be allowed to hold.
fn id(context: &Context<'_>) -> Result<LockId, Error> {
    let id = LockId::parse(&context.params[0])?;
    may_hold(&context.caller, &id)?;
    Ok(id)
}

fn may_hold(caller: &Caller, id: &LockId) -> Result<(), Error> {
    match &caller.user {
        Some(user) if user.wallet().lock().as_ref() != Some(id) => {
            Err(auth::forbidden(format!("this access token is for the lock wallet/{user} alone")))
        }
        _ => Ok(()),
    }
}

fn the_token(context: &Context<'_>) -> Result<LockToken, Error> {
    let mut tokens = context.lock_tokens();
    match (tokens.pop(), tokens.is_empty()) {
        (Some(token), true) => Ok(token),
        (Some(_), false) => Err(Error::invalid("send one lock token here")),
        (None, _) => Err(Error::new(ErrorName::LockTokenMissing, "send the token of the lease: Lock-Token: lk1.…")),
    }
}

fn label(fields: &mut Fields, name: &str) -> Result<Option<String>, Error> {
    let label = fields.text(name)?;
    if label
        .as_ref()
        .is_some_and(|label| label.chars().count() > LABEL_CHARS_MAX || label.chars().any(char::is_control))
    {
        return Err(Error::invalid(format!("{name} has at most {LABEL_CHARS_MAX} characters, no control characters")));
    }
    Ok(label)
}

/// A lock as it is now. One that is stale, or was revoked long enough ago, is still there until somebody takes it.
fn shown(context: &Context<'_>, id: &LockId, lock: Option<&Lock>) -> Value {
    let store = context.app.store();
    let mut shown = shown_at(store.lease_ms(), id, lock);
    shown["queue"] = json!(store.queue(id));
    shown
}

fn shown_at(now: i64, id: &LockId, lock: Option<&Lock>) -> Value {
    let state = lock.map_or(LockState::Free, |lock| lock.state(now));
    json!({
        "id": id.as_str(),
        "state": state.as_str(),
        "holder": lock.map(|lock| lock.holder.as_str()),
        "fence": lock.map(|lock| lock.fence.0),
        "create_time": lock.map(|lock| lock.create_time),
        "created_at": lock.map(|lock| rfc3339(lock.created_at)),
        "expires_in_ms": lock.map(|lock| (lock.expires() - now).max(0)),
        "free_in_ms": lock.map(|lock| (lock.stale_from() - now).max(0)),
        "renewals": lock.map(|lock| lock.renewals),
    })
}

fn event(event: &LockEvent) -> Value {
    json!({
        "seq": event.seq,
        "what": event.kind.as_str(),
        "fence": event.fence.0,
        "previous_fence": event.previous_fence.map(|fence| fence.0),
        "holder": event.holder,
        "by": event.by,
        "reason": event.reason,
        "at": rfc3339(event.at),
    })
}
