//! Idempotency-Key: one intention, one effect, one answer.

use super::server::{Answer, Server, until};
use crate::postgres;
use serde_json::{Value, json};

/// The same status and the same bytes, and marked as a repeat.
#[track_caller]
fn repeats(first: &Answer, second: &Answer) {
    assert_eq!(first.status, second.status);
    assert_eq!(String::from_utf8_lossy(&first.body), String::from_utf8_lossy(&second.body));
    assert_eq!(first.header("content-type"), second.header("content-type"));
    assert!(!first.was_replayed() && second.was_replayed());
}

#[test]
fn repeat_of_any_change_gets_same_bytes() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/bob/recharge", json!({ "amount": 1 })).is(200);
    let (_, token) = server.mint(json!({ "role": "teller" }));
    let requests = [
        ("POST", "/v1/wallets/alice/recharge".to_owned(), json!({ "amount": 500, "reference": "r" })),
        ("POST", "/v1/wallets/alice/withdraw".to_owned(), json!({ "amount": 20 })),
        ("POST", "/v1/wallets/alice/pay".to_owned(), json!({ "amount": 30 })),
        ("POST", "/v1/wallets/alice/transfer".to_owned(), json!({ "amount": 40, "to": "bob" })),
        ("POST", "/v1/entries/4/refund".to_owned(), json!({ "amount": 10 })),
        ("POST", "/v1/wallets/alice/coupons".to_owned(), json!({ "kind": "3" })),
        ("POST", "/wallet?user_id=alice".to_owned(), json!({ "money": 100 })),
        ("PUT", "/wallet?user_id=alice".to_owned(), json!({ "money": 1 })),
        ("DELETE", format!("/v1/tokens/{token}"), json!({})),
    ];
    for (number, (method, path, body)) in requests.iter().enumerate() {
        let asking = admin.ask(method, path).header("Idempotency-Key", &format!("key-{number}")).json(body);
        let first = asking.send().is(200);
        let before = admin.get("/v1/entries").is(200).json;
        repeats(&first, &asking.send());
        assert_eq!(admin.get("/v1/entries").is(200).json, before, "{method} {path} was done once");
    }
    assert_eq!(admin.balance("alice"), "519.00");
    assert_eq!(admin.get("/v1/wallets/alice/coupons").rows().len(), 3);
}

#[test]
fn repeat_written_differently_is_same_request() {
    let server = Server::start();
    let admin = server.admin();
    let path = "/v1/wallets/alice/recharge";
    let first = admin.post_once("k", path, json!({ "amount": "120" })).is(200);
    let key = |path: &str| admin.ask("POST", path).header("Idempotency-Key", "k");
    repeats(&first, &key(path).form("amount=120.00").send());
    repeats(&first, &key(path).json(r#" { "amount" : 120.0 } "#).send());
    repeats(&first, &key(path).header("Prefer", "wait=0").form("money=120").send());
    let zh = key(path).header("Accept-Language", "zh").form("amount=120").send().is(200);
    assert!(zh.was_replayed() && zh.text("msg").starts_with("充值成功"), "the language is not part of it");
    for (path, body) in [
        (path, json!({ "amount": "120.01" })),
        (path, json!({ "amount": "120", "reference": "x" })),
        ("/v1/wallets/bob/recharge", json!({ "amount": "120" })),
        ("/v1/wallets/alice/withdraw", json!({ "amount": "120" })),
    ] {
        let refused = admin.post_once("k", path, body).refuses(422, "idempotency_key_reused");
        assert!(!refused.was_replayed());
    }
    assert_eq!(admin.balance("alice"), "120.00");
    admin.get("/v1/wallets/bob").refuses(404, "wallet_not_found");
}

#[test]
fn key_in_quotes_is_same_key() {
    let server = Server::start();
    let admin = server.admin();
    let recharge = |key: &str| admin.post_once(key, "/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200);
    let first = recharge("\"k\"");
    repeats(&first, &recharge("k"));
    repeats(&first, &recharge("\"k\""));
    for other in ["\"k", "k\"", "\"\"k\"\"", "\"\"", "\""] {
        assert!(!recharge(other).was_replayed(), "{other}: quotes without a partner belong to the key");
        assert!(recharge(other).was_replayed());
    }
    assert_eq!(admin.balance("alice"), "6.00");
    let batch = |key: &str, own: &str| {
        let item = |key: &str| json!({ "op": "recharge", "user": "bob", "amount": 1, "key": key });
        admin.post_once(key, "/v1/batch", json!([item(own), { "op": "recharge", "user": "bob", "amount": 1 }])).is(200)
    };
    let first = batch("\"b\"", "\"own\"");
    repeats(&first, &batch("b", "\"own\""));
    let own = admin.post_once("own", "/v1/wallets/bob/recharge", json!({ "amount": 1 })).is(200);
    assert!(own.was_replayed() && admin.balance("bob") == "2.00");
}

#[test]
fn key_belongs_to_its_caller() {
    let server = Server::start();
    let (admin, teller) = (server.admin(), server.role("teller"));
    let (alice, alice_again) = (server.user("alice"), server.user("alice"));
    for client in [&admin, &teller, &alice] {
        assert!(!client.post_once("k", "/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200).was_replayed());
    }
    let other_token = alice_again.post_once("k", "/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200);
    assert!(other_token.was_replayed(), "a user is one caller, whichever token she uses");
    assert_eq!(admin.balance("alice"), "3.00");
}

#[test]
fn refusal_by_rule_is_stored() {
    let server = Server::start();
    let admin = server.admin();
    let poor = admin.post_once("poor", "/v1/wallets/alice/withdraw", json!({ "amount": 5 }));
    let poor = poor.refuses(404, "wallet_not_found");
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 3 })).is(200);
    repeats(&poor, &admin.post_once("poor", "/v1/wallets/alice/withdraw", json!({ "amount": 5 })));
    let body = json!({ "amount": 5 });
    let short = admin.post_once("short", "/v1/wallets/alice/withdraw", body.clone()).refuses(402, "insufficient_funds");
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let again = admin.post_once("short", "/v1/wallets/alice/withdraw", body);
    repeats(&short, &again);
    assert_eq!(again["balance"], "3.00", "the facts are those of then");
    let coupon = json!({ "amount": 5, "coupon": "ZZZZ" });
    let none = admin.post_once("c", "/v1/wallets/alice/pay", coupon.clone()).refuses(404, "coupon_not_found");
    repeats(&none, &admin.post_once("c", "/v1/wallets/alice/pay", coupon));
    let gone = admin.post_once("t", "/v1/entries/9/refund", json!({})).refuses(404, "entry_not_found");
    repeats(&gone, &admin.post_once("t", "/v1/entries/9/refund", json!({})));
    let zh = admin.ask("PUT", "/wallet?user_id=alice").header("Idempotency-Key", "zh").form("money=104");
    repeats(&zh.send().refuses(402, "insufficient_funds"), &zh.send());
}

#[test]
fn refusal_that_retry_may_cure_is_not_stored() {
    let server = Server::start();
    let (admin, alice) = (server.admin(), server.user_with("alice", "50"));
    let path = "/v1/wallets/alice/withdraw";
    let done = json!({ "amount": 1 });
    admin.post_once("form", path, json!({ "amount": "x" })).refuses(400, "invalid_amount");
    server.anonymous().post_once("form", path, done.clone()).refuses(401, "unauthenticated");
    admin.post_once("form", "/v1/nothing", done.clone()).refuses(404, "not_found");
    admin
        .ask("POST", path)
        .header("Idempotency-Key", "form")
        .body("text/xml", b"<a/>")
        .send()
        .refuses(415, "unsupported_media_type");
    admin
        .ask("POST", path)
        .header("Idempotency-Key", "form")
        .form(&"x".repeat(65_537))
        .send()
        .refuses(413, "body_too_large");
    admin.ask("PATCH", path).header("Idempotency-Key", "form").send().refuses(405, "method_not_allowed");
    let lost =
        admin.ask("POST", path).header("Idempotency-Key", "form").header("Lock-Token", "lk1.x.1.0123456789abcdef");
    lost.json(&done).send().refuses(412, "lock_lost");
    assert!(!admin.post_once("form", path, done.clone()).is(200).was_replayed());

    alice.post_once("mine", "/v1/wallets/bob/withdraw", done.clone()).refuses(403, "forbidden");
    assert!(!alice.post_once("mine", path, done.clone()).is(200).was_replayed());

    let lock = admin.post("/v1/locks/wallet/alice", json!({})).is(201);
    let held = admin.ask("POST", path).header("Idempotency-Key", "held").json(&done);
    held.clone().header("Prefer", "wait=0").send().refuses(423, "locked");
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &lock.text("token")).send().is(204);
    let first = held.send().is(200);
    repeats(&first, &held.send());
    assert_eq!(admin.balance("alice"), "47.00");
}

#[test]
fn unreadable_key_is_refused_without_effect() {
    let server = Server::start();
    let admin = server.admin();
    let path = "/v1/wallets/alice/recharge";
    for key in ["", "a b", "a\tb", "é", &"x".repeat(256)] {
        admin.post_once(key, path, json!({ "amount": 1 })).refuses(400, "invalid_request");
        admin
            .post_once(key, "/v1/batch", json!([{ "op": "recharge", "user": "alice", "amount": 1 }]))
            .refuses(400, "invalid_request");
    }
    let two = admin.ask("POST", path).header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    two.form("amount=1").send().refuses(400, "invalid_request");
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
    for key in ["x", &"~".repeat(255), "a,b\"'/\\;"] {
        assert!(!admin.post_once(key, path, json!({ "amount": 1 })).is(200).was_replayed());
        assert!(admin.post_once(key, path, json!({ "amount": 1 })).is(200).was_replayed());
    }
    assert!(!admin.ask("POST", path).header("idempotency-key", "X").form("amount=1").send().is(200).was_replayed());
    assert_eq!(admin.balance("alice"), "4.00");
}

#[test]
fn concurrent_repeats_get_one_answer() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let asking = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Idempotency-Key", "once").form("amount=60");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| asking.send().is(200))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| !answer.was_replayed()).count(), 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(admin.balance("alice"), "40.00");
}

#[test]
fn repeat_while_first_waits_joins_it() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let lock = admin.post("/v1/locks/wallet/alice", json!({})).is(201).text("token");
    let asking = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Idempotency-Key", "once").form("amount=60");
    let other = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Idempotency-Key", "once").form("amount=61");
    let waiting = |count: u64| move |answer: Answer| answer.is(200)["queue"] == json!(count);
    let first = asking.begin();
    until(|| waiting(1)(admin.get("/v1/locks/wallet/alice")));
    let second = asking.begin();
    other.send().refuses(422, "idempotency_key_reused");
    assert!(waiting(1)(admin.get("/v1/locks/wallet/alice")), "a repeat does not wait twice");
    // The first hangs up; the second still wants it.
    drop(first);
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &lock).send().is(204);
    assert_eq!(asking.read(second).is(200)["balance"], "40.00");
    assert!(asking.send().is(200).was_replayed());
    assert_eq!(admin.balance("alice"), "40.00");
}

#[test]
fn answer_with_secret_is_never_stored() {
    if postgres::is_not_for_it("it reads the bytes of the file") {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    admin.post_once("mint", "/v1/tokens", json!({ "role": "teller" })).refuses(400, "invalid_request");
    let mint = || admin.post("/v1/tokens", json!({ "role": "teller" })).is(201);
    let (one, other) = (mint(), mint());
    assert_ne!((one.text("id"), one.text("token")), (other.text("id"), other.text("token")));
    let lock = admin.post_once("lock", "/v1/locks/a", json!({})).is(201);
    admin.post_once("lock", "/v1/locks/a", json!({})).refuses(423, "locked");
    admin.post_once("lock", "/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200);
    let bytes = server.bytes_on_disk();
    let secret = lock.text("token").rsplit('.').next().unwrap().to_owned();
    for secret in [one.text("token"), other.text("token"), secret, super::server::ADMIN.to_owned()] {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a secret stands in the file");
    }
    assert!(bytes.windows(5).any(|window| window == b"alice"), "this would find what is there");
}

#[test]
fn stored_answers_survive_kill() {
    let server = Server::start();
    let ask = |server: &Server| -> [Answer; 3] {
        let admin = server.admin();
        let batch =
            json!([{ "op": "recharge", "user": "bob", "amount": 1 }, { "op": "pay", "user": "eve", "amount": 1 }]);
        [
            admin.post_once("a", "/v1/wallets/alice/recharge", json!({ "amount": 300 })),
            admin.post_once("b", "/v1/wallets/alice/withdraw", json!({ "amount": 301 })),
            admin.post_once("c", "/v1/batch", batch),
        ]
    };
    let before = ask(&server);
    let server = server.killed_and_started_again();
    for (first, second) in before.iter().zip(&ask(&server)) {
        repeats(first, second);
    }
    let results: &Value = &before[2]["results"];
    assert_eq!((&results[0]["code"], &results[1]["code"]), (&json!(200), &json!(404)));
    assert_eq!(server.admin().balance("alice"), "300.00");
}

#[test]
fn repeat_shows_coupon_as_it_was_granted() {
    let server = Server::start();
    let admin = server.admin();
    let kind = |earned: &str| json!({ "coupon_kinds": [{ "kind": "3", "amount_off": 10, "earned_en": earned }] });
    admin.put("/v1/tiers", json!({ "tiers": [{ "from": 100, "coupon_kind": "3" }] })).is(200);
    admin.put("/v1/coupon-kinds", kind("and a tenner for you")).is(200);
    let single = ("/v1/wallets/alice/recharge", json!({ "amount": 120 }));
    let batch = ("/v1/batch?atomic=true", json!([{ "op": "recharge", "user": "bob", "amount": 120 }]));
    let both = [single, batch].map(|(path, body)| admin.ask("POST", path).header("Idempotency-Key", path).json(body));
    let first = both.clone().map(|asking| asking.send().is(200));
    assert_eq!(first[0]["msg"], "recharged, and a tenner for you");
    admin.put("/v1/coupon-kinds", kind("and something else")).is(200);
    for (first, asking) in first.iter().zip(both) {
        repeats(first, &asking.send());
    }
}
