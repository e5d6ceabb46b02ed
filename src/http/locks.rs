//! Locks: acquire, renew, release, revoke, look at. The role `user` may use one: `wallet/USER`.

use super::auth::Caller;
use super::conn::Response;
use super::fields::{Field, Fields, LABEL_PATTERN, ValueKind};
use super::request::{AFTER, Context, HandlerResult, LIMIT, PageRequest, Submission, not_a_cursor};
use super::response::{self, Language};
#[cfg(test)]
use super::schemas::TimeText;
use crate::clock::rfc3339;
use crate::command::ReleaseUndelivered;
use crate::error::Error;
use crate::id::{Fence, LockId, LockSecret, LockToken};
use crate::lock::event::LockEvent;
#[cfg(test)]
use crate::lock::event::LockEventKind;
use crate::lock::lease::{AcquireRequest, Grant, GrantOrigin, ReleaseRequest, RenewRequest, RevokeRequest};
use crate::lock::{self, DURATION_MS, GRACE_MS, IDS_MAX, Lock, LockFilter, LockState};
use crate::store::{Envelope, QueuePlace, Store};
use crate::token::Role;
use crate::tx::ReadTx;
use ValueKind::{Integer, Text, Texts};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

const TTL: Field = Field::optional("ttl_ms", Integer, "how long the lease lasts without renewal; 60000 if left out")
    .within(1, DURATION_MS_MAX)
    .or("60000");
const WAIT: Field =
    Field::optional("wait_ms", Integer, "how long to wait for it; 0 if left out").within(0, DURATION_MS_MAX).or("0");
const GRACE: Field =
    Field::optional("grace_ms", Integer, "how long after that no other client may take over; 5000 if left out")
        .within(0, DURATION_MS_MAX)
        .or("5000");
const MAX_HOLD: Field = Field::optional("max_hold_ms", Integer, "how long it may be held at most, renewals included")
    .within(1, DURATION_MS_MAX);
const MIN_HOLD: Field = Field::optional(
    "min_hold_ms",
    Integer,
    "how long after its grant the lock rests once it is released: no client can have it. Not for the locks of wallets",
)
.within(0, DURATION_MS_MAX);
const HOLDER: Field =
    Field::optional("holder", Text, "a label for people, at most 255 characters; the caller if left out")
        .like(LABEL_PATTERN);
const SECRET: Field = Field::optional(
    "secret",
    Text,
    "16 to 64 characters of A-Z a-z 0-9 _ -: acquiring again with it gives the same grant; a random one if left out",
)
.like("^[A-Za-z0-9_-]{16,64}$");
const DURATION_MS_MAX: i64 = *DURATION_MS.end();

/// The fields of acquiring one.
pub(crate) const ACQUIRE: &[Field] = &[TTL, WAIT, GRACE, MAX_HOLD, MIN_HOLD, HOLDER, SECRET];
/// The fields of acquiring several.
pub(crate) const ACQUIRE_SEVERAL: &[Field] = &[
    Field::optional("ids", Texts, "1 to 16 lock ids: all of them or none").within(1, IDS_MAX as i64),
    Field::optional(
        "any",
        Texts,
        "in place of ids, 1 to 16 lock ids in the order of preference: the first that can be had. Not the locks of wallets",
    )
    .within(1, IDS_MAX as i64)
    .such_as("[\"gpu/1\",\"gpu/2\"]"),
    TTL,
    WAIT,
    GRACE,
    MAX_HOLD,
    MIN_HOLD,
    HOLDER,
    SECRET,
];
/// The fields of a renewal.
pub(crate) const RENEW: &[Field] =
    &[Field::optional("ttl_ms", Integer, "another length for the lease from now on").within(1, DURATION_MS_MAX)];
/// The query of a release.
pub(crate) const RELEASE: &[Field] = &[Field::optional(
    "min_hold_ms",
    Integer,
    "how long after its grant the lock rests, in place of the time given when it was acquired; 0: it is free at once",
)
.within(0, DURATION_MS_MAX)];
/// The fields of revoking.
pub(crate) const REVOKE: &[Field] = &[
    Field::required("fence", Integer, "the fence of the lease to revoke").within(0, i64::MAX),
    Field::optional(
        "delay_ms",
        Integer,
        "how long no client may acquire it; the larger of its grace and 10000 if left out, and 0 for a lock that rests",
    )
    .within(0, DURATION_MS_MAX),
    Field::optional("reason", Text, "why, for the record").like(LABEL_PATTERN),
];
/// The query of the list.
pub(crate) const LIST: &[Field] = &[
    LIMIT,
    AFTER,
    Field::optional("prefix", Text, "the beginning of the ids"),
    Field::optional("state", Text, "held, grace, stale, revoked or resting")
        .one_of(&["held", "grace", "stale", "revoked", "resting"]),
];
/// The query of looking at one.
pub(crate) const WATCH: &[Field] = &[
    Field::optional("fence", Integer, "with wait_ms: answer when this lease has ended").within(0, i64::MAX),
    Field::optional("wait_ms", Integer, "how long to watch").within(0, DURATION_MS_MAX).or("0"),
];

/// The length of a lease by default.
const TTL_MS: i64 = 60_000;
/// The longest lease, grace and hold of the role `user`.
const USER_TTL_MS_MAX: i64 = 60_000;
const USER_GRACE_MS_MAX: i64 = 60_000;
const USER_HOLD_MS_MAX: i64 = 300_000;

/// `POST /v1/locks/{id}`
pub(crate) fn acquire(context: &mut Context<'_>) -> Result<Submission, Error> {
    let id = path_lock(context)?;
    acquire_locks(context, vec![id], false)
}

/// `POST /v1/locks`
pub(crate) fn acquire_several(context: &mut Context<'_>) -> Result<Submission, Error> {
    let fields = &mut context.fields;
    let (all, any) = (fields.optional_texts("ids", IDS_MAX)?, fields.optional_texts("any", IDS_MAX)?);
    let (texts, is_any) = match (all, any) {
        (Some(ids), None) => (ids, false),
        (None, Some(ids)) => (ids, true),
        _ => return Err(Error::invalid("send either ids, for all of these locks, or any, for one of them")),
    };
    let mut ids = texts.iter().map(|id| LockId::parse(id)).collect::<Result<Vec<_>, _>>()?;
    ids.iter().try_for_each(|id| context.caller.check_lock(id))?;
    if is_any {
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
    } else {
        ids.sort();
        ids.dedup();
    }
    acquire_locks(context, ids, is_any)
}

/// `any`: one of them is enough.
fn acquire_locks(context: &mut Context<'_>, ids: Vec<LockId>, any: bool) -> Result<Submission, Error> {
    let is_user = context.caller.role == Role::User;
    let longest = *DURATION_MS.end();
    let (ttl_max, grace_max, hold_max) =
        if is_user { (USER_TTL_MS_MAX, USER_GRACE_MS_MAX, USER_HOLD_MS_MAX) } else { (longest, longest, longest) };
    let fields = &mut context.fields;
    let secret = fields.text("secret")?.unwrap_or_else(|| context.app.settings.randomness().hex::<16>());
    let max_hold_ms = fields.integer("max_hold_ms", 1..=hold_max)?.or(is_user.then_some(USER_HOLD_MS_MAX));
    let ttl_ms = fields.integer("ttl_ms", 1..=ttl_max)?.unwrap_or(TTL_MS);
    let min_hold_ms = fields.integer("min_hold_ms", 0..=longest)?.filter(|ms| *ms > 0);
    let request = AcquireRequest {
        ids,
        any,
        secret: LockSecret::parse(&secret)?,
        holder: label(fields, "holder")?.unwrap_or_else(|| context.caller.by.clone()),
        expire_ms: max_hold_ms.map_or(ttl_ms, |most| ttl_ms.min(most)), // the limit holds for the first lease as well
        grace_ms: fields.integer("grace_ms", 0..=grace_max)?.unwrap_or(GRACE_MS),
        max_hold_ms,
        min_hold_ms,
    };
    let wait_ms = fields.integer("wait_ms", 0..=longest)?.unwrap_or(0);
    let envelope = Envelope { wait_ms, ..context.envelope()? };
    let (has_list, store) = (context.params.is_empty(), Arc::downgrade(&context.app.store));
    let respond = move |grant, caller: &Caller, language| granted(grant, has_list, caller, language, store);
    Ok(Submission::new(envelope, request, respond).without_replays())
}

/// A grant of one lock.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LockGranted"))]
pub(crate) struct LockGrantedJson<'a> {
    /// The lock.
    id: &'a str,
    #[serde(flatten)]
    lease: LeaseJson<'a>,
}

/// A grant of several locks.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LocksGranted"))]
pub(crate) struct LocksGrantedJson<'a> {
    /// The locks, sorted; of `any` the one that was granted.
    ids: Vec<&'a str>,
    #[serde(flatten)]
    lease: LeaseJson<'a>,
}

/// The lease of a grant.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Lease"))]
struct LeaseJson<'a> {
    /// The lock token: the proof of the lease, for the header `Lock-Token`.
    token: String,
    /// The number of the lease, which grows with each grant.
    fence: i64,
    /// The origin of the grant.
    #[cfg_attr(test, schemars(with = "GrantOrigin"))]
    outcome: &'static str,
    /// The length of the lease from now.
    expires_in_ms: i64,
    /// The stale lease that the grant ended; null if there was none.
    previous: Option<PreviousLeaseJson<'a>>,
}

/// A stale lease that a grant ended.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "PreviousLease"))]
struct PreviousLeaseJson<'a> {
    /// Its fence.
    fence: i64,
    /// Its holder.
    holder: &'a str,
}

/// A renewal.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LockRenewed"))]
pub(crate) struct LockRenewedJson {
    /// The length of the lease from now.
    expires_in_ms: i64,
    /// True if the lease had expired and no other client had taken over.
    late: bool,
}

/// `has_list`: the request named its locks in a list. The store is not owned, because the response is made on its threads.
fn granted(grant: Grant, has_list: bool, caller: &Caller, language: Language, store: Weak<Store>) -> Response {
    let (status, outcome) = match grant.origin {
        GrantOrigin::Created => (201, "created"),
        GrantOrigin::TakenOver => (201, "taken_over"),
        GrantOrigin::Replayed => (200, "replayed"),
    };
    let previous = grant.previous.as_ref();
    let ids: Vec<_> = grant.ids.iter().map(LockId::as_str).collect();
    let lease = LeaseJson {
        token: grant.token.to_string(),
        fence: grant.token.fence.0,
        outcome,
        expires_in_ms: grant.expires_in_ms,
        previous: previous.map(|lease| PreviousLeaseJson { fence: lease.fence.0, holder: &lease.holder }),
    };
    let msg = language.pick("已加锁", "granted");
    let mut response = match has_list {
        true => response::with_status(status, msg, &LocksGrantedJson { ids: ids.clone(), lease }),
        false => response::with_status(status, msg, &LockGrantedJson { id: ids[0], lease }),
    };
    if status == 201 {
        response = response::with_location(response, "/v1/locks/", ids[0]);
    }
    response.headers.push(("Lock-Token", grant.token.to_string()));
    // A grant whose response did not reach its client is released at once: no client knows its token.
    let (by, token) = (caller.by.clone(), grant.token);
    response.undelivered = Some(Box::new(move || {
        if let Some(store) = store.upgrade() {
            store.submit(Envelope { by, ..Envelope::local() }, ReleaseUndelivered(token));
        }
    }));
    response
}

/// `PATCH /v1/locks/{id}`
pub(crate) fn renew(context: &mut Context<'_>) -> Result<Submission, Error> {
    let id = path_lock(context)?;
    renew_lease(context, Some(id))
}

/// `PATCH /v1/locks`
pub(crate) fn renew_several(context: &mut Context<'_>) -> Result<Submission, Error> {
    renew_lease(context, None)
}

fn renew_lease(context: &mut Context<'_>, id: Option<LockId>) -> Result<Submission, Error> {
    let ttl_max = if context.caller.role == Role::User { USER_TTL_MS_MAX } else { *DURATION_MS.end() };
    let expire_ms = context.fields.integer("ttl_ms", 1..=ttl_max)?;
    let token = lease_token(context, id.as_ref())?;
    let request = RenewRequest { id, token, expire_ms };
    let submission = Submission::new(context.envelope_for_lease()?, request, |renewed, _, language| {
        let rest = LockRenewedJson { expires_in_ms: renewed.expires_in_ms, late: renewed.late };
        response::ok(language.pick("已续期", "renewed"), &rest)
    });
    Ok(submission.without_replays())
}

/// `DELETE /v1/locks/{id}`
pub(crate) fn release(context: &mut Context<'_>) -> Result<Submission, Error> {
    let id = path_lock(context)?;
    release_lease(context, Some(id))
}

/// `DELETE /v1/locks`
pub(crate) fn release_several(context: &mut Context<'_>) -> Result<Submission, Error> {
    release_lease(context, None)
}

fn release_lease(context: &mut Context<'_>, id: Option<LockId>) -> Result<Submission, Error> {
    let token = lease_token(context, id.as_ref())?;
    let min_hold_ms = context.query.integer("min_hold_ms", 0..=*DURATION_MS.end())?;
    let request = ReleaseRequest { id, token, min_hold_ms };
    let submission = Submission::new(context.envelope_for_lease()?, request, |_, _, _| response::no_content());
    Ok(submission.without_replays())
}

/// `POST /v1/locks/{id}/revoke`
pub(crate) fn revoke(context: &mut Context<'_>) -> HandlerResult {
    let id = path_lock(context)?;
    let fields = &mut context.fields;
    let fence = fields
        .integer("fence", 0..=i64::MAX)?
        .ok_or_else(|| Error::invalid("fence is missing: the fence of the lease to revoke"))?;
    let delay_ms = fields.integer("delay_ms", 0..=*DURATION_MS.end())?;
    let reason = label(fields, "reason")?;
    let lock = context.submit(RevokeRequest { id, fence: Fence(fence), delay_ms, reason })?;
    // Its state when it was revoked, so that a repeat gets the same answer however late it comes.
    let rest = lock_json_at(lock.renew_time, &lock.id, Some(&lock));
    Ok(response::ok(context.language.pick("已撤销", "revoked"), &rest))
}

/// `GET /v1/locks/{id}`
pub(crate) fn one(context: &mut Context<'_>) -> HandlerResult {
    let id = path_lock(context)?;
    let fence = context.query.integer("fence", 0..=i64::MAX)?;
    let wait_ms = context.query.integer("wait_ms", 0..=*DURATION_MS.end())?.unwrap_or(0);
    if let Some(fence) = fence {
        context.app.store.watch(&id, Fence(fence), wait_ms, &context.alive())?;
    }
    let (lock, incarnation) = context.app.store.read(|tx| Ok((lock::find(tx, &id)?, lock::clock::incarnation(tx)?)))?;
    let waiting = context.caller.user.is_none().then(|| waiting_json(&context.app.store, &id));
    let details = LockDetailsJson { lock: lock_json(context, &id, lock.as_ref()), incarnation, waiting };
    Ok(response::ok(context.language.found(), &details))
}

/// `GET /v1/locks`
pub(crate) fn list(context: &mut Context<'_>) -> HandlerResult {
    let page = PageRequest::read(&mut context.query, "locks", &["prefix", "state"])?;
    let prefix = context.query.text("prefix")?.unwrap_or_default();
    let state = context.query.text("state")?.map(|state| LockState::parse(&state)).transpose()?;
    let token = context.caller.token.as_ref().filter(|token| token.role == Role::Locker);
    let permitted_prefix = token.and_then(|token| token.prefix.clone()).unwrap_or_default();
    let filter = LockFilter {
        prefix,
        permitted_prefix,
        without_wallets: token.is_some(),
        state,
        now: context.app.store.lease_ms(),
    };
    let after = page.after.as_deref().unwrap_or("");
    let found = context.app.store.read(|tx| lock::list(tx, &filter, after, page.limit))?;
    let rows = found.rows.iter().map(|lock| lock_json(context, &lock.id, Some(lock))).collect();
    Ok(page.response(context.language, rows, found.next))
}

/// `GET /v1/locks/{id}/events`
pub(crate) fn events(context: &mut Context<'_>) -> HandlerResult {
    let id = path_lock(context)?;
    page_of_events(context, &format!("events of {id}"), |tx, before, limit| {
        lock::event::of_lock(tx, &id, before, limit)
    })
}

/// `GET /v1/lock-events`
pub(crate) fn all_events(context: &mut Context<'_>) -> HandlerResult {
    page_of_events(context, "lock events", |tx, before, limit| lock::event::of_all(tx, before, limit))
}

/// A page of the list `of`, whose events older than a number `read` gives.
fn page_of_events(
    context: &mut Context<'_>,
    of: &str,
    read: impl FnOnce(&ReadTx<'_>, i64, usize) -> Result<Vec<LockEvent>, Error>,
) -> HandlerResult {
    let page = PageRequest::read(&mut context.query, of, &[])?;
    let before = page.after.as_deref().map_or(Ok(i64::MAX), |seq| seq.parse().map_err(|_| not_a_cursor()))?;
    let mut rows = context.app.store.read(|tx| read(tx, before, page.limit + 1))?;
    let last = page.cut(&mut rows, |event| event.seq.to_string());
    Ok(page.response(context.language, rows.iter().map(event_json).collect(), last))
}

/// The lock in the path, which the caller must be allowed to hold.
fn path_lock(context: &Context<'_>) -> Result<LockId, Error> {
    let id = LockId::parse(&context.params[0])?;
    context.caller.check_lock(&id)?;
    Ok(id)
}

/// The token of the lease. Without an id it is that of several locks, which the caller must all be allowed to hold.
fn lease_token(context: &Context<'_>, id: Option<&LockId>) -> Result<LockToken, Error> {
    let token = context.lease_token()?;
    if id.is_none() && context.caller.role == Role::Locker {
        let ids = context.app.store.read(|tx| lock::event::granted_under(tx, token.fence, &token.secret))?;
        ids.iter().try_for_each(|id| context.caller.check_lock(id))?;
    }
    Ok(token)
}

fn label(fields: &mut Fields, name: &str) -> Result<Option<String>, Error> {
    fields.text(name)?.map(|label| lock::checked_label(name, label)).transpose()
}

/// The state of a lock.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LockStatus"))]
pub(crate) struct LockStatusJson<'a> {
    /// The lock.
    id: &'a str,
    /// Its state.
    #[cfg_attr(test, schemars(with = "LockState"))]
    state: &'static str,
    /// The holder's label; null if the lock is free.
    holder: Option<&'a str>,
    /// The fence of the lease; null if the lock is free.
    fence: Option<i64>,
    /// The lease time of the grant, in milliseconds; null if the lock is free.
    create_time: Option<i64>,
    /// The wall time of the grant; null if the lock is free.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    created_at: Option<String>,
    /// The rest of the lease; null if the lock is free.
    expires_in_ms: Option<i64>,
    /// Time until another client can take over; null if the lock is free.
    free_in_ms: Option<i64>,
    /// The number of renewals; null if the lock is free.
    renewals: Option<i64>,
}

/// A lock.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Lock"))]
pub(crate) struct LockJson<'a> {
    #[serde(flatten)]
    status: LockStatusJson<'a>,
    /// The number of requests that wait for it.
    queue: usize,
    /// The time for which the first of them has waited; null if none waits.
    oldest_waited_ms: Option<i64>,
}

/// One lock.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LockDetails"))]
pub(crate) struct LockDetailsJson<'a> {
    #[serde(flatten)]
    lock: LockJson<'a>,
    /// The file's own number: in another file, the same fence is another lease.
    incarnation: String,
    /// The requests that wait for it, the first first. Absent for the role `user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Vec<QueuePlaceJson>"))]
    waiting: Option<Vec<QueuePlaceJson>>,
}

/// A request that waits for a lock.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LockWaiter"))]
struct QueuePlaceJson {
    /// The label of its client, or its caller.
    holder: String,
    /// The time at which it came.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    since: String,
    /// The time until which it waits.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    until: String,
}

fn waiting_json(store: &Store, id: &LockId) -> Vec<QueuePlaceJson> {
    let ahead_ms = store.clock().wall_ms() - store.lease_ms(); // of lease time
    let place = |place: QueuePlace| QueuePlaceJson {
        holder: place.holder,
        since: rfc3339(place.since_ms + ahead_ms),
        until: rfc3339(place.deadline_ms + ahead_ms),
    };
    store.places(id).into_iter().map(place).collect()
}

/// An event of a lock.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LockEvent"))]
pub(crate) struct LockEventJson<'a> {
    /// Its number.
    seq: i64,
    /// The lock.
    lock: &'a str,
    /// Its kind.
    #[cfg_attr(test, schemars(with = "LockEventKind"))]
    what: &'static str,
    /// The fence from then on.
    fence: i64,
    /// The fence of the lease that ended by it.
    previous_fence: Option<i64>,
    /// The holder's label.
    holder: &'a str,
    /// The caller.
    by: &'a str,
    /// The reason that was given.
    reason: Option<&'a str>,
    /// Its wall time.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    at: String,
}

/// A lock as it is now. A stale or revoked one stays until it is acquired again, and a resting one is free after its rest.
fn lock_json<'a>(context: &Context<'_>, id: &'a LockId, lock: Option<&'a Lock>) -> LockJson<'a> {
    let store = &context.app.store;
    let now = store.lease_ms();
    let lock = lock.filter(|lock| lock.state(now) != LockState::Free); // its rest is over
    let status = lock_json_at(now, id, lock);
    LockJson { status, queue: store.queue(id), oldest_waited_ms: store.oldest_waited_ms(id) }
}

fn lock_json_at<'a>(now: i64, id: &'a LockId, lock: Option<&'a Lock>) -> LockStatusJson<'a> {
    let state = lock.map_or(LockState::Free, |lock| lock.state(now));
    LockStatusJson {
        id: id.as_str(),
        state: state.as_str(),
        holder: lock.map(|lock| lock.holder.as_str()),
        fence: lock.map(|lock| lock.fence.0),
        create_time: lock.map(|lock| lock.create_time),
        created_at: lock.map(|lock| rfc3339(lock.created_at)),
        expires_in_ms: lock.map(|lock| (lock.expires() - now).max(0)),
        free_in_ms: lock.map(|lock| (lock.stale_from() - now).max(0)),
        renewals: lock.map(|lock| lock.renewals),
    }
}

fn event_json(event: &LockEvent) -> LockEventJson<'_> {
    LockEventJson {
        seq: event.seq,
        lock: event.lock.as_str(),
        what: event.kind.as_str(),
        fence: event.fence.0,
        previous_fence: event.previous_fence.map(|fence| fence.0),
        holder: &event.holder,
        by: &event.by,
        reason: event.reason.as_deref(),
        at: rfc3339(event.at),
    }
}
