//! The examples: requests that are made in order against a new file, and their answers. What varies from run to run is
//! replaced.

use super::super::routes::ROUTES;
use super::super::routes::{App, find};
use super::super::state::Settings;
use crate::clock::Clock;
use crate::error::ErrorName;
use crate::store::{Options, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Requests and their answers.
#[derive(Default)]
pub(super) struct Examples {
    /// By method, path of the route, status and media type.
    answers: BTreeMap<(String, u16, String), Value>,
    /// The bodies of requests, by method and path.
    requests: BTreeMap<String, Value>,
    /// Refusals, by error.
    pub refusals: BTreeMap<ErrorName, Value>,
}

impl Examples {
    /// The body of an answer.
    pub(super) fn answer(&self, route: &str, status: u16, content_type: &str) -> Option<&Value> {
        self.answers.get(&(route.to_owned(), status, content_type.to_owned()))
    }

    /// The body of a request.
    pub(super) fn request(&self, route: &str) -> Option<&Value> {
        self.requests.get(route)
    }

    /// Makes the requests. The first answer of each kind is kept.
    pub(super) fn run() -> Examples {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
        let clock = options.clock.clone();
        let store = Store::open(&folder.path().join("cashbox.db"), &options).expect("a new file opens");
        let app = App::new(store, Settings::default());
        let mut examples = Examples::default();
        let mut kept = Value::Null;
        for (line, body) in script() {
            clock.advance_ms(1_000);
            let mut words = line.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().expect("a line has a target"));
            let mut headers: Vec<(&str, &str)> = words.map(|word| word.split_once(':').unwrap()).collect();
            let token = kept["token"].as_str().unwrap_or_default().to_owned();
            headers.iter_mut().filter(|(_, value)| *value == "$token").for_each(|(_, value)| *value = &token);
            if body.is_some() {
                headers.push(("content-type", "application/json"));
            }
            let mut target = target.replace("$code", kept["coupon"]["code"].as_str().unwrap_or_default());
            target = target.replace("$hold", &kept["hold"]["id"].to_string());
            target = target.replace("$id", kept["id"].as_str().unwrap_or_default());
            let text = body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default();
            let answer = app.answer_local(method, &target, &headers, text);
            let content_type = answer.headers.iter().find(|(name, _)| *name == "Content-Type");
            let content_type = content_type.map_or("", |(_, value)| value.split(';').next().unwrap_or_default());
            let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if answer.status < 300 && json.is_object() {
                kept = json.clone();
            }
            let (index, _) = find(method, target.split('?').next().unwrap()).expect("an example has a route");
            let route = format!("{} {}", ROUTES[index].method, ROUTES[index].path);
            let seen = if json.is_object() { steady(json) } else { json!(String::from_utf8_lossy(&answer.body)) };
            if let Some(name) = seen["error"].as_str().filter(|_| answer.status >= 400) {
                examples.refusals.entry(ErrorName::from_text(name).unwrap()).or_insert(seen);
                continue;
            }
            assert!(answer.status < 300, "{line}: {seen}");
            if content_type == "application/json" || content_type == "text/plain" {
                examples.answers.entry((route.clone(), answer.status, content_type.to_owned())).or_insert(seen);
            }
            if let Some(body) = body {
                examples.requests.entry(route).or_insert(body);
            }
        }
        examples
    }
}

/// Method, target and headers of each request, and its body. `$token`, `$code` and `$id` are of the last good answer.
#[rustfmt::skip]
fn script() -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("POST /v1/wallets/alice/recharge", Some(json!({ "amount": "350.00", "reference": "order-1001" }))),
        ("GET /v1/coupons/$code", None),
        ("GET /v1/coupons/$code/quote?amount=400", None),
        ("GET /v1/coupons?limit=2", None),
        ("POST /v1/wallets/bob/recharge", Some(json!({ "amount": "50.00" }))),
        ("POST /v1/wallets/alice/withdraw", Some(json!({ "amount": "30.00" }))),
        ("POST /v1/wallets/alice/pay", Some(json!({ "amount": "80.00", "reference": "order-1002", "metadata": { "shop": "north" } }))),
        ("POST /v1/wallets/alice/transfer", Some(json!({ "to": "bob", "amount": "10.00" }))),
        ("POST /v1/entries/4/refund", Some(json!({ "amount": "5.00" }))),
        ("GET /v1/me", None),
        ("GET /v1/wallets?limit=2", None),
        ("GET /v1/wallets/alice", None),
        ("GET /v1/wallets/alice/entries?limit=1", None),
        ("GET /v1/wallets/alice/coupons", None),
        ("GET /v1/entries?order=asc&limit=1", None),
        ("GET /v1/entries/4", None),
        ("GET /v1/report?since=2026-01-01&until=2026-01-01", None),
        ("POST /v1/wallets/alice/coupons", Some(json!({ "kind": "2" }))),
        ("POST /v1/wallets/alice/holds", Some(json!({ "amount": "20.00", "to": "bob", "expires_in_s": 7200, "reference": "bike-7" }))),
        ("POST /v1/holds/8/capture", Some(json!({ "amount": "15.00" }))),
        ("POST /v1/wallets/alice/holds", Some(json!({ "amount": "3.00" }))),
        ("POST /v1/holds/11/void", Some(json!({}))),
        ("GET /v1/holds/8", None),
        ("GET /v1/holds?limit=1", None),
        ("GET /v1/wallets/alice/holds?limit=1", None),
        ("POST /v1/wallets/erin", None),
        ("POST /v1/wallets/erin", None),
        ("PATCH /v1/wallets/erin", Some(json!({ "name": "Erin", "limit_per_payment": "20.00", "limit_per_day": "50.00" }))),
        ("POST /v1/wallets/erin/withdraw", Some(json!({ "amount": "20.01" }))),
        ("PATCH /v1/wallets/erin", Some(json!({ "status": "frozen" }))),
        ("POST /v1/wallets/erin/withdraw", Some(json!({ "amount": "5.00" }))),
        ("PATCH /v1/wallets/erin", Some(json!({ "status": "closed" }))),
        ("POST /v1/wallets/erin/recharge", Some(json!({ "amount": "5.00" }))),
        ("PATCH /v1/wallets/alice", Some(json!({ "status": "closed" }))),
        ("GET /wallet?user_id=bob", None),
        ("POST /wallet", Some(json!({ "user_id": "bob", "amount": "20.00" }))),
        ("PUT /wallet", Some(json!({ "user_id": "bob", "amount": "5.00" }))),
        ("GET /v1/coupon-kinds", None),
        ("PUT /v1/coupon-kinds", Some(json!({ "coupon_kinds": [
            { "kind": "1", "amount_off": "50.00", "threshold": "300.00", "earned_zh": "同时您获取了一张满300减50的优惠券", "earned_en": "and you have earned 50 off 300" },
            { "kind": "2", "percent_off": 20, "single_use": false, "earned_zh": "同时您获取了终生八折优惠", "earned_en": "and you have earned 20 % off for life" },
            { "kind": "3", "amount_off": "10.00", "earned_zh": "同时您获取了10元无门槛红包哦", "earned_en": "and you have earned a coupon for 10" },
        ] }))),
        ("PUT /v1/coupon-kinds", Some(json!({ "coupon_kinds": [
            { "kind": "1", "amount_off": "50.00", "threshold": "300.00" },
            { "kind": "2", "percent_off": 20, "single_use": false },
            { "kind": "3", "amount_off": "10.00" },
            { "kind": "spring", "percent_off": 10, "max_off": "20.00", "valid_days": 30, "limit_total": 1, "claim_code": "SPRING24" },
            { "kind": "late", "percent_off": 10, "valid_from": "2100-01-01" },
        ] }))),
        ("POST /v1/wallets/bob/coupons/claim", Some(json!({ "code": "SPRING24" }))),
        ("POST /v1/wallets/alice/coupons/claim", Some(json!({ "code": "SPRING24" }))),
        ("POST /v1/wallets/alice/coupons/claim", Some(json!({ "code": "AUTUMN24" }))),
        ("POST /v1/wallets/alice/coupons", Some(json!({ "kind": "late" }))),
        ("GET /v1/tiers", None),
        ("PUT /v1/tiers", Some(json!({ "tiers": [
            { "from": "100.00", "coupon_kind": "3" }, { "from": "300.00", "coupon_kind": "1" }, { "from": "500.00", "coupon_kind": "2" },
        ] }))),
        ("POST /v1/batch", Some(json!([
            { "op": "recharge", "user": "carol", "amount": "12.00" },
            { "op": "withdraw", "user": "carol", "amount": "99.00" },
        ]))),
        ("POST /v1/locks/nightly-report", Some(json!({ "ttl_ms": 30000, "holder": "worker-1" }))),
        ("PATCH /v1/locks/nightly-report lock-token:$token", Some(json!({ "ttl_ms": 60000 }))),
        ("GET /v1/locks/nightly-report", None),
        ("GET /v1/locks", None),
        ("POST /v1/locks/nightly-report", Some(json!({ "holder": "worker-2" }))),
        ("GET /v1/locks/nightly-report/events", None),
        ("GET /v1/lock-events?limit=1", None),
        ("POST /v1/locks/nightly-report/revoke", Some(json!({ "fence": 1, "reason": "worker-1 hangs" }))),
        ("POST /v1/locks/batch-a", Some(json!({ "secret": "0123456789abcdef" }))),
        ("POST /v1/locks/batch-a", Some(json!({ "secret": "0123456789abcdef" }))),
        ("DELETE /v1/locks/batch-a lock-token:$token", None),
        ("POST /v1/locks", Some(json!({ "ids": ["wallet/alice", "wallet/bob"], "secret": "0123456789abcdef" }))),
        ("PATCH /v1/locks lock-token:$token", Some(json!({}))),
        ("POST /v1/locks", Some(json!({ "ids": ["wallet/alice", "wallet/bob"], "secret": "0123456789abcdef" }))),
        ("DELETE /v1/locks lock-token:$token", None),
        ("POST /v1/tokens", Some(json!({ "role": "user", "user": "alice", "expires_in_s": 86400, "note": "app" }))),
        ("GET /v1/tokens/$id", None),
        ("POST /v1/tokens/$id/rotate", Some(json!({ "overlap_s": 3600 }))),
        ("DELETE /v1/tokens/$id", None),
        ("GET /v1/tokens", None),
        ("GET /v1/journal?what=token_minted&limit=1", None),
        ("GET /v1/verify", None),
        ("GET /healthz", None),
        ("GET /problems/insufficient_funds", None),
        ("GET /problems/insufficient_funds accept:text/plain", None),
        ("POST /v1/wallets/alice/withdraw", Some(json!({ "amount": "5000.00" }))),
        ("POST /v1/wallets/dora/withdraw", Some(json!({ "amount": "5.00" }))),
        ("POST /v1/wallets/alice/withdraw", Some(json!({ "amount": "0.001" }))),
        ("POST /v1/wallets/alice/withdraw", Some(json!({ "price": "5.00" }))),
        ("POST /v1/wallets/alice/withdraw idempotency-key:order-1003", Some(json!({ "amount": "1.00" }))),
        ("POST /v1/wallets/alice/withdraw idempotency-key:order-1003", Some(json!({ "amount": "2.00" }))),
        ("POST /v1/wallets/alice/withdraw lock-token:lk1.0.1.0", Some(json!({ "amount": "2.00" }))),
        ("POST /v1/wallets/alice/withdraw authorization:nothing", Some(json!({ "amount": "2.00" }))),
        ("POST /v1/wallets/alice/pay", Some(json!({ "amount": "2.00", "coupon": "AAAA" }))),
        ("POST /v1/wallets/alice/coupons", Some(json!({ "kind": "unknown" }))),
        ("POST /v1/holds/8/capture", Some(json!({}))),
        ("GET /v1/holds/4000", None),
        ("POST /v1/wallets/alice/holds", Some(json!({ "amount": "9.00" }))),
        ("POST /v1/holds/$hold/capture", Some(json!({ "amount": "10.00" }))),
        ("GET /v1/entries/4000", None),
        ("GET /v1/coupons/AAAA", None),
        ("GET /v1/tokens/unknown", None),
        ("POST /v1/entries/4/refund", Some(json!({ "amount": "500.00" }))),
        ("POST /v1/entries/4/refund", Some(json!({}))),
        ("POST /v1/entries/4/refund", Some(json!({}))),
        ("PUT /v1/coupon-kinds", Some(json!({ "coupon_kinds": [] }))),
        ("PATCH /v1/locks/nightly-report", Some(json!({}))),
        ("POST /v1/locks/free/revoke", Some(json!({ "fence": 1 }))),
        ("POST /v1/locks/nightly-report/revoke", Some(json!({ "fence": 1, "reason": "again" }))),
        ("POST /v1/locks/short", Some(json!({ "max_hold_ms": 10 }))),
        ("PATCH /v1/locks/short lock-token:$token", Some(json!({}))),
    ]
}

/// The same value with fixed text for what is random.
fn steady(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let value = match (name.as_str(), value) {
                        ("code" | "coupon", Value::String(_)) => json!("7K2Q"),
                        ("next" | "cursor", Value::String(_)) => json!("6f663d656e74726965732661667465723d34"),
                        ("incarnation", _) => json!("0123456789abcdef"),
                        ("wal_bytes" | "db_bytes", _) => json!(41232),
                        (_, Value::String(text)) => json!(steady_text(&text)),
                        (_, other) => steady(other),
                    };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(steady).collect()),
        other => other,
    }
}

fn steady_text(text: &str) -> String {
    const DIGITS: &str = "3f8a51c09be27d6413f0a8c5e9b2d7460f1c3a5e7b9d0e2f4a6c8b0d1e3f5a79";
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text {
        hash if hash.len() == 64 && is_hex(hash) => DIGITS.to_owned(),
        line if line.starts_with("cashbox1:") => {
            let hash = |part: &str| if part.len() == 64 && is_hex(part) { DIGITS.to_owned() } else { part.to_owned() };
            line.split(':').map(hash).collect::<Vec<_>>().join(":")
        }
        secret if secret.starts_with("cbx_") => format!("cbx_{}", &DIGITS[..48]),
        id if id.starts_with("tok:") => format!("tok:{}", &DIGITS[..16]),
        token if token.starts_with("lk1.") => {
            let fence = token.split('.').nth(2).unwrap_or_default();
            format!("lk1.0123456789abcdef.{fence}.{}", &DIGITS[..32])
        }
        other => other.to_owned(),
    }
}
