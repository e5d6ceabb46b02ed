//! The refusals of each operation, by status: a named schema and a named response for each set of errors.

use super::super::auth::Access;
use super::super::endpoint::{Route, RouteBody};
use super::super::fields::{Field, ValueKind};
use super::operations::Operation;
use crate::error::ErrorName::{self, *};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The schemas and responses that operations refer to.
#[derive(Default)]
pub(super) struct Refusals {
    pub schemas: Map<String, Value>,
    pub responses: Map<String, Value>,
    names: BTreeMap<(bool, BTreeSet<ErrorName>), String>,
}

impl Refusals {
    /// Adds the refusals of an operation to its responses. `examples`: bodies that were seen, by error.
    pub(super) fn add(
        &mut self,
        route: &Route,
        operation: &Operation,
        responses: &mut Map<String, Value>,
        examples: &BTreeMap<ErrorName, Value>,
    ) {
        let mut by_status: BTreeMap<u16, BTreeSet<ErrorName>> = BTreeMap::new();
        for name in all_of(route).into_iter().chain(operation.refusals.iter().copied()) {
            by_status.entry(name.status()).or_default().insert(name);
        }
        for (status, names) in by_status {
            // An atomic batch is refused with the error of one of its items.
            let of_item = is_batch(route) && names.iter().any(|name| can_be_of_an_item(*name));
            let name = self.named(status, names, of_item, operation.id, examples);
            responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
        }
    }

    fn named(
        &mut self,
        status: u16,
        names: BTreeSet<ErrorName>,
        of_item: bool,
        operation: &str,
        examples: &BTreeMap<ErrorName, Value>,
    ) -> String {
        let key = (of_item, names);
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let (_, names) = &key;
        let first = *names.first().expect("a status has an error");
        let single = names.len() == 1;
        let common = match first {
            InvalidRequest | InvalidUser | InvalidAmount => "BadRequest",
            Internal | Damaged | OutcomeUnknown => "ServerError",
            Busy | StorageFull | ClockJumped => "Unavailable",
            _ => "",
        };
        let name = match (single, of_item, common) {
            (true, false, _) => pascal(first.as_str()),
            (_, true, "") | (false, _, "") => format!("{}{}", pascal(operation), reason(first)),
            (_, true, common) => format!("{}{common}", pascal(operation)),
            (_, _, common) => common.to_owned(),
        };
        assert!(!self.schemas.contains_key(&name), "{name} is the name of two sets of errors");
        self.schemas.insert(name.clone(), problem_schema(names, of_item));
        let content = json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
        let mut response = json!({
            "description": names.iter().map(|name| name.title()).collect::<Vec<_>>().join("; "),
            "headers": headers(names),
            "content": { "application/problem+json": content },
        });
        if let Some(example) = names.iter().find_map(|name| examples.get(name)) {
            response["content"]["application/problem+json"]["example"] = example.clone();
        }
        debug_assert!(names.iter().all(|name| name.status() == status));
        self.responses.insert(name.clone(), response);
        self.names.insert(key, name.clone());
        name
    }
}

/// The errors that every request of this form can meet.
fn all_of(route: &Route) -> BTreeSet<ErrorName> {
    let mut names = BTreeSet::from([InvalidRequest, Forbidden, RequestTimeout, BodyTooLarge, HeadersTooLarge]);
    names.extend([NotAcceptable, UnsupportedMediaType, HttpVersion, Internal, Damaged, OutcomeUnknown, Busy]);
    let fields = route.fields().unwrap_or_default().iter().chain(route.query);
    let fields: Vec<&Field> = fields.collect();
    let is_amount = |field: &Field| field.kind == ValueKind::Amount;
    let has_amount = fields.iter().any(|field| match field.kind {
        ValueKind::Objects(row) => row.iter().any(is_amount),
        _ => is_amount(field),
    });
    let has_user =
        route.path.contains("{user}") || fields.iter().any(|field| ["user", "user_id", "wallet"].contains(&field.name));
    if has_amount || has_user || is_batch(route) {
        names.extend([InvalidUser, InvalidAmount]);
    }
    if route.access != Access::Anyone {
        names.insert(Unauthenticated);
    }
    if route.method != "GET" {
        names.extend([StorageFull, ClockJumped]);
    }
    if takes(route, "Idempotency-Key") {
        names.insert(IdempotencyKeyReused);
    }
    if takes(route, "Prefer") {
        names.insert(Locked);
    }
    if takes(route, "Lock-Token") {
        names.insert(LockLost);
    }
    names
}

fn is_batch(route: &Route) -> bool {
    matches!(route.body, RouteBody::Batch)
}

/// True if the operation takes this request header.
pub(super) fn takes(route: &Route, header: &str) -> bool {
    request_headers(route).iter().any(|one| one["name"] == header)
}

/// The request headers of a change, as parameters.
pub(super) fn request_headers(route: &Route) -> Vec<Value> {
    let header = |name: &str, required: bool, about: &str, schema: Value, example: &str| json!({ "name": name, "in": "header", "required": required, "description": about, "schema": schema, "example": example });
    let key = header(
        "Idempotency-Key",
        false,
        "1 to 255 visible characters: the same key and request get the same answer, and one effect",
        json!({ "type": "string", "pattern": "^[!-~]{1,255}$" }),
        "order-1001",
    );
    let token_example = "lk1.0123456789abcdef.17.0123456789abcdef0123456789abcdef";
    let about = "the lock tokens that prove the caller's locks, separated by commas";
    let text = json!({ "type": "string" });
    let tokens = header("Lock-Token", false, about, text.clone(), token_example);
    let is_of_locks = route.path.starts_with("/v1/locks");
    match route.method {
        "GET" if route.path == "/v1/events" => {
            let about = "the `id` of the last event that was read: the stream goes on behind it";
            vec![header("Last-Event-ID", false, about, text, "6f663d656e74726965732661667465723d34")]
        }
        "GET" => Vec::new(),
        "PATCH" | "DELETE" if is_of_locks => {
            let one = json!({ "type": "string", "pattern": "^[^,]+$" });
            vec![header("Lock-Token", true, "the token of the lease", one, token_example)]
        }
        "PUT" if route.path.starts_with("/v1/") => {
            let about = "the `ETag` of the rows as they were read: refused if another client changed them meanwhile";
            vec![key, tokens, header("If-Match", false, about, text, "\"3f8a51c09be27d6413f0a8c5e9b2d746\"")]
        }
        "POST" if route.path.ends_with("/revoke") => vec![key, tokens],
        "POST" if is_of_locks || route.path.starts_with("/v1/tokens") => vec![tokens], // their answers hold secrets, and are not stored
        _ => vec![
            key,
            tokens,
            header(
                "Prefer",
                false,
                "wait=SECONDS: how long to wait for a lock that another client holds; 10 if left out, at most 30. What cannot be read is ignored",
                json!({ "type": "string" }),
                "wait=5",
            ),
        ],
    }
}

/// The headers of the response to a refusal.
fn headers(names: &BTreeSet<ErrorName>) -> Value {
    let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } });
    let mut add = |name: &str| headers[name] = json!({ "$ref": format!("#/components/headers/{name}") });
    if names.iter().any(|name| matches!(name, Busy | StorageFull | Locked)) {
        add("Retry-After");
    }
    if names.contains(&Unauthenticated) {
        add("WWW-Authenticate");
    }
    if names.iter().any(|name| name.is_refusal()) {
        add("Idempotency-Replayed");
    }
    headers
}

/// Errors of the caller or by a rule, which one item of a batch can meet.
fn can_be_of_an_item(name: ErrorName) -> bool {
    name.is_refusal() || matches!(name, InvalidRequest | InvalidUser | InvalidAmount | Forbidden | Locked)
}

/// The end of a name for several errors of one status.
fn reason(first: ErrorName) -> &'static str {
    match first.status() {
        status if status == WalletNotFound.status() => "NotFound",
        status if status == BalanceLimit.status() => "Conflict",
        status if status == InsufficientFunds.status() => "PaymentRequired",
        status if status == Forbidden.status() => "Forbidden",
        status if status == Locked.status() => "Locked",
        status if status == LockLost.status() => "PreconditionFailed",
        status => panic!("a name for several errors of the status {status} is needed here"),
    }
}

/// `wallet_not_found` and `listWallets` as `WalletNotFound` and `ListWallets`.
pub(super) fn pascal(name: &str) -> String {
    let words = name.split('_').filter_map(|word| Some((word.get(..1)?, &word[1..])));
    words.map(|(first, rest)| first.to_uppercase() + rest).collect()
}

/// Any problem: of an item of a batch, or of an error that a later version adds.
pub(super) fn any_problem() -> Value {
    let mut schema = problem_schema(&ErrorName::ALL.iter().copied().collect(), false);
    schema["properties"]["error"] = json!({ "$ref": "#/components/schemas/ErrorName" });
    for (member, about) in [
        ("code", "The HTTP status."),
        ("msg", "One sentence for people, in the language of `Accept-Language`."),
        ("type", "The path of a page about the error."),
        ("title", "Its meaning in a few words."),
        ("status", "The HTTP status."),
        ("detail", "The failure, its reason and the remedy, for people."),
        ("dry_run", "True in the answer to a dry run, else left out."),
    ] {
        schema["properties"][member]["description"] = json!(about);
    }
    schema["description"] =
        json!("Any problem, with the members that every problem has. Members beyond these depend on `error`.");
    schema["additionalProperties"] = json!(true);
    schema
}

/// The body of a refusal with one of these errors. The members of every problem are described at `Problem` alone.
fn problem_schema(names: &BTreeSet<ErrorName>, of_item: bool) -> Value {
    let first = *names.first().expect("there is an error");
    let words: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    let text = json!({ "type": "string" });
    let mut properties = json!({
        "code": { "type": "integer" }, "msg": text, "type": text, "title": text, "status": { "type": "integer" }, "detail": text,
        "dry_run": { "type": "boolean" },
        "error": { "type": "string", "enum": words },
    });
    let mut required = vec!["code", "msg", "type", "title", "status", "detail", "error"];
    if words.len() < ErrorName::ALL.len() {
        for (member, schema, always) in names.iter().flat_map(|name| facts(*name)) {
            properties[member] = schema;
            if always && names.len() == 1 {
                required.push(member);
            }
        }
    }
    if of_item {
        properties["index"] =
            json!({ "type": "integer", "description": "The item that was refused, from 0, of an atomic batch." });
        let item = json!({ "$ref": "#/components/schemas/Problem" });
        properties["results"] =
            json!({ "type": "array", "items": item, "description": "The problem of each item, of an atomic batch." });
    }
    let mut schema = json!({ "type": "object", "properties": properties, "required": required });
    if names.len() == 1 {
        schema["description"] = json!(first.title());
    }
    schema
}

/// The further members of an error: its name, its schema, and whether it is always there.
fn facts(name: ErrorName) -> Vec<(&'static str, Value, bool)> {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let integer = |about: &str| json!({ "type": "integer", "format": "int64", "description": about });
    let amount =
        |about: &str| json!({ "type": "string", "pattern": "^-?[0-9]{1,17}[.][0-9]{2}$", "description": about });
    let time = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let or_null = |mut schema: Value| {
        schema["type"] = json!([schema["type"], "null"]);
        schema
    };
    match name {
        InvalidRequest => vec![("field", text("The field that is wrong."), false)],
        BodyTooLarge => vec![("limit", integer("The most bytes."), true)],
        LockLost => vec![
            ("lock", or_null(text("The lock that is lost.")), false),
            ("fence_given", integer("The fence of the lease that was presented."), false),
            ("fence_now", or_null(integer("The fence of the lock now.")), false),
            ("ended", or_null(text("The event that ended the lease.")), false),
            ("at", or_null(time("The time of its end.")), false),
        ],
        Locked => vec![
            ("lock", text("The lock."), true),
            ("holder", text("The holder's label."), false),
            ("fence", integer("The fence of its lease."), false),
            ("state", text("The state of the lock."), false),
            ("expires_in_ms", integer("The rest of the lease; 0 while the lock rests."), false),
            ("free_in_ms", integer("The longest time until another client can have it."), false),
            ("queue", integer("The number of requests that wait for it."), false),
            ("place", integer("The place of this request in the queue, or the one it would have had."), false),
            ("oldest_waited_ms", or_null(integer("The time for which the first in the queue has waited.")), false),
            ("waited_ms", integer("The time that this request has waited."), false),
        ],
        LockChanged => {
            vec![("fence", integer("The fence now."), true), ("holder", text("The holder's label now."), true)]
        }
        MaxHold => vec![("max_hold_ms", integer("The longest time it may be held."), true)],
        RefundExceeds => vec![
            ("left", amount("The part that is left to refund."), true),
            ("needed", amount("The amount that was asked for."), true),
        ],
        WalletNotFound => vec![("user", text("The user without a wallet."), true)],
        WalletClosed => vec![("user", text("The user whose wallet is closed."), true)],
        WalletFrozen => vec![("user", text("The user whose wallet is frozen."), true)],
        WalletExists => vec![("user", text("The user with a wallet."), true)],
        WalletNotEmpty => vec![
            ("user", text("The user whose wallet it is."), true),
            ("balance", amount("Its balance."), true),
            ("held", amount("The amount that is reserved besides."), true),
        ],
        LimitExceeded => vec![
            ("limit", amount("The limit."), true),
            ("spent", or_null(amount("The amount that counts for the limit of the day so far.")), true),
            ("resets_at", or_null(time("The end of that day.")), true),
        ],
        CouponKindInUse => vec![("kind", text("The kind that a tier gives."), true)],
        CouponExpired => vec![("expires_at", time("The moment at which it has ended."), true)],
        CouponLimit => vec![("limit", integer("The most coupons that may be given."), true)],
        HoldNotOpen => vec![("state", text("The state that it ended in."), true)],
        HoldExpired => vec![("expires_at", time("The end of its time."), true)],
        CaptureExceeds => vec![
            ("left", amount("The part that is left of the hold."), true),
            ("needed", amount("The amount that was asked for."), true),
        ],
        HoldLimit => vec![("limit", integer("The most holds of one wallet."), true)],
        CouponUsed => vec![
            ("coupon", text("The coupon that the recharge earned."), false),
            ("hold", integer("The hold that it is in."), false),
        ],
        CouponNotApplicable => vec![
            ("threshold", amount("The smallest price it is for."), false),
            ("state", text("Its state."), false),
            ("hold", integer("The hold that it is in."), false),
            ("left", amount("The amount that a hold with a coupon is captured with."), false),
        ],
        InsufficientFunds => vec![
            ("balance", amount("The balance of the wallet."), true),
            ("needed", amount("The amount that was asked for."), true),
        ],
        Busy => vec![("lock", text("The lock that too many requests wait for."), false)],
        ClockJumped => vec![
            ("wall_clock", time("The wall clock now."), false),
            ("expected", time("The time that it should be."), false),
        ],
        _ => Vec::new(),
    }
}
