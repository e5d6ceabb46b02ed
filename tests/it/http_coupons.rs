//! Coupons over `/v1`: what they take off, what a refund gives back, and who changes their terms.

use super::server::{Answer, Client, Server, fields};
use serde_json::{Value, json};

fn verb(client: &Client, user: &str, verb: &str, body: Value) -> Answer {
    client.post(&format!("/v1/wallets/{user}/{verb}"), body)
}

#[test]
fn payment_is_refunded_in_parts_and_never_twice() {
    let server = Server::start();
    let admin = server.admin();
    let code = verb(&admin, "alice", "recharge", json!({ "amount": 300 })).is(200)["coupon"]["code"].clone();
    let code = code.as_str().unwrap();
    let quote = admin.get(&format!("/v1/coupons/{}/quote?amount=300", code.to_lowercase())).is(200);
    assert_eq!((&quote["applicable"], &quote["amount"]), (&json!(true), &json!("250.00")));
    let dear = admin.get(&format!("/v1/coupons/{code}/quote?amount=299.99")).is(200);
    assert_eq!((&dear["applicable"], &dear["error"]), (&json!(false), &json!("coupon_not_applicable")));
    verb(&admin, "alice", "pay", json!({ "amount": "299.99", "coupon": code })).refuses(409, "coupon_not_applicable");
    verb(&admin, "alice", "pay", json!({ "amount": 300, "coupon": code })).is(200);
    verb(&admin, "alice", "pay", json!({ "amount": 300, "coupon": code })).refuses(409, "coupon_used");
    admin.post("/v1/entries/1/refund", json!({})).refuses(409, "coupon_used");

    let refund = |body: Value| admin.post("/v1/entries/2/refund", body);
    let part = refund(json!({ "amount": 100 })).is(200);
    assert_eq!(fields(&part.json), ["code", "msg", "balance", "entry"]);
    assert_eq!((&part["balance"], &part["entry"]["refunds"]), (&json!("150.00"), &json!(2)));
    assert_eq!(refund(json!({ "amount": "150.01" })).refuses(409, "refund_exceeds")["left"], "150.00");
    let coupon = || admin.get(&format!("/v1/coupons/{code}")).is(200)["coupon"]["state"].clone();
    assert_eq!(coupon(), "used");
    assert_eq!(refund(json!({})).is(200)["balance"], "300.00");
    assert_eq!(coupon(), "usable");
    refund(json!({})).refuses(409, "already_refunded");
    admin.post("/v1/entries/3/refund", json!({})).refuses(409, "not_refundable");
    verb(&admin, "bob", "recharge", json!({ "amount": 1 })).is(200);
    let sent = verb(&admin, "alice", "transfer", json!({ "to": "bob", "amount": 10 })).is(200)["entry"]["id"].clone();
    verb(&admin, "bob", "withdraw", json!({ "amount": 11 })).is(200);
    admin.post(&format!("/v1/entries/{sent}/refund"), json!({})).refuses(402, "insufficient_funds");
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn changed_tiers_leave_granted_coupons() {
    let server = Server::start();
    let admin = server.admin();
    let old = verb(&admin, "alice", "recharge", json!({ "amount": 300 })).is(200)["coupon"]["code"].clone();
    let tiers = admin.get("/v1/tiers").is(200).json;
    let shown = |from: &str, kind: &str| json!({ "from": from, "coupon_kind": kind });
    let usual = [shown("100.00", "3"), shown("300.00", "1"), shown("500.00", "2")];
    assert_eq!(
        tiers["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|tier| !tier["coupon_kind"].is_null())
            .cloned()
            .collect::<Vec<_>>(),
        usual
    );
    admin.put("/v1/coupon-kinds", json!({ "coupon_kinds": [] })).refuses(409, "coupon_kind_in_use");
    for bad in [
        json!({}),
        json!({ "tiers": 1 }),
        json!({ "tiers": [{}] }),
        json!({ "tiers": [{ "from": "0" }] }),
        json!({ "tiers": [{ "from": 1 }, { "from": "1.00" }] }),
        json!({ "tiers": [{ "from": 1, "to": 2 }] }),
    ] {
        assert_eq!(admin.put("/v1/tiers", bad.clone()).status, 400, "{bad}");
    }
    admin
        .put("/v1/tiers", json!({ "tiers": [{ "from": 1, "coupon_kind": "none" }] }))
        .refuses(404, "coupon_kind_not_found");
    let half =
        json!({ "kind": "half", "percent_off": 50, "earned_zh": "同时您获取了五折优惠", "earned_en": "and half off" });
    admin.put("/v1/tiers", json!({ "tiers": [] })).is(200);
    admin.put("/v1/coupon-kinds", json!({ "coupon_kinds": [half] })).is(200);
    admin.put("/v1/tiers", json!({ "tiers": [{ "from": "10", "coupon_kind": "half" }] })).is(200);
    let earned = admin.post("/wallet", json!({ "user_id": "alice", "money": 10 })).is(200);
    assert_eq!(
        (&earned["msg"], &earned["coupon"]["percent_off"]),
        (&json!("充值成功,同时您获取了五折优惠"), &json!(50))
    );
    let paid = verb(&admin, "alice", "pay", json!({ "amount": 300, "coupon": old })).is(200);
    assert_eq!(paid["discount"], "50.00", "a coupon keeps the terms it was granted under");
    let cent = verb(&admin, "alice", "pay", json!({ "amount": "0.01", "coupon": earned["coupon"]["code"] })).is(200);
    assert_eq!(
        (&cent["amount"], &cent["discount"]),
        (&json!("0.01"), &json!("0.00")),
        "a payment never goes below 0.01"
    );
}
