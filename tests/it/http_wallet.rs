//! `/wallet`: the sentences, the sums and the refusals of the old interface.

use super::server::{Server, fields};
use serde_json::json;

const NONE: &str = "充值成功";
const TEN_OFF: &str = "充值成功,同时您获取了10元无门槛红包哦";
const FIFTY_OFF: &str = "充值成功,同时您获取了一张满300减50的优惠券";
const FIFTH_OFF: &str = "充值成功,同时您获取了终生八折优惠";

#[test]
fn unused_wallet_is_empty_and_pays_nothing() {
    let server = Server::start();
    let alice = server.user("alice");
    let answer = alice.get("/wallet").is(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(fields(&answer.json), ["code", "msg", "user_id", "balance", "held", "coupons"]);
    assert_eq!(answer["user_id"], "alice");
    assert_eq!((&answer["balance"], &answer["held"]), (&json!("0.00"), &json!("0.00")));
    assert_eq!(answer["coupons"], json!([]));
    let refused = alice.put("/wallet", json!({ "money": 1 })).refuses(404, "wallet_not_found");
    assert_eq!(refused["msg"], "钱包不存在");
    server.admin().get("/v1/wallets/alice").refuses(404, "wallet_not_found");
}

#[test]
fn tier_ends_where_next_begins() {
    let server = Server::start();
    let alice = server.user("alice");
    let cases = [
        ("0.01", NONE, None),
        ("99.99", NONE, None),
        ("100", TEN_OFF, Some("3")),
        ("299.99", TEN_OFF, Some("3")),
        ("300.00", FIFTY_OFF, Some("1")),
        ("499.99", FIFTY_OFF, Some("1")),
        ("500", FIFTH_OFF, Some("2")),
        ("1000000000000.00", FIFTH_OFF, Some("2")),
    ];
    for (money, msg, kind) in cases {
        let answer = alice.post("/wallet", json!({ "money": money })).is(200);
        assert_eq!(answer["msg"], msg, "{money}");
        assert_eq!(answer["coupon"]["kind"].as_str(), kind, "{money}");
        assert_eq!(fields(&answer.json), ["code", "msg", "balance", "entry", "coupon", "created"]);
        assert!(answer["coupon"].is_object() == kind.is_some(), "coupon is there, or null");
    }
    assert_eq!(alice.get("/wallet")["balance"], "1000000001799.98");
}

#[test]
fn coupon_has_its_terms_and_short_code() {
    let server = Server::start();
    let alice = server.user("alice");
    let mut codes = Vec::new();
    for (money, kind, amount_off, percent_off, threshold, single_use) in [
        ("100", "3", json!("10.00"), json!(null), "0.00", true),
        ("300", "1", json!("50.00"), json!(null), "300.00", true),
        ("500", "2", json!(null), json!(20), "0.00", false),
    ] {
        let coupon = alice.post("/wallet", json!({ "money": money })).is(200)["coupon"].clone();
        assert_eq!(coupon["kind"], kind);
        assert_eq!((&coupon["amount_off"], &coupon["percent_off"]), (&amount_off, &percent_off));
        assert_eq!((&coupon["threshold"], &coupon["single_use"]), (&json!(threshold), &json!(single_use)));
        assert_eq!((&coupon["user_id"], &coupon["state"]), (&json!("alice"), &json!("usable")));
        let code = coupon["code"].as_str().unwrap().to_owned();
        assert_eq!(code.len(), 4);
        assert!(code.chars().all(|c| "ABCDEFGHJKLMNPQRSTUVWXYZ23456789".contains(c)), "{code}");
        codes.push(code);
    }
    let coupons = alice.get("/wallet").is(200)["coupons"].clone();
    let mut listed: Vec<_> = coupons.as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    listed.sort_unstable();
    codes.sort_unstable();
    assert_eq!(listed, codes, "the wallet shows the coupons that can be used");
}

#[test]
fn wallet_hides_used_coupons() {
    let server = Server::start();
    let alice = server.user("alice");
    let code = alice.post("/wallet", json!({ "money": "100" })).is(200)["coupon"]["code"].clone();
    alice.post("/v1/wallets/alice/pay", json!({ "amount": 20, "coupon": code })).is(200);
    assert_eq!(alice.get("/wallet").is(200)["coupons"], json!([]));
}

#[test]
fn withdraw_answers_done_or_insufficient_in_chinese() {
    let server = Server::start();
    let alice = server.user_with("alice", "120");
    let answer = alice.put("/wallet", json!({ "money": 30 })).is(200);
    assert_eq!((&answer["msg"], &answer["balance"]), (&json!("提现成功"), &json!("90.00")));
    assert_eq!(fields(&answer.json), ["code", "msg", "balance", "entry"]);
    let refused = alice.put("/wallet", json!({ "money": "90.01" })).refuses(402, "insufficient_funds");
    assert_eq!(refused["msg"], "余额不足");
    assert_eq!((&refused["balance"], &refused["needed"]), (&json!("90.00"), &json!("90.01")));
    assert_eq!(alice.put("/wallet", json!({ "money": "90" })).is(200)["balance"], "0.00");
}

#[test]
fn unreadable_amount_answers_with_verbs_own_msg() {
    let server = Server::start();
    let alice = server.user_with("alice", "120");
    let bad = ["nan", "inf", "1e400", "-1", "0", "0.001", "1_000", " 5 ", "٣", "9007199254740993.01", "", "1,5"];
    for money in bad {
        for (method, msg, english) in [("POST", "充值错误", "cannot recharge"), ("PUT", "提现错误", "cannot withdraw")]
        {
            let asking = alice.ask(method, "/wallet").json(json!({ "money": money }));
            let refused = asking.send().refuses(400, "invalid_amount");
            assert_eq!(refused["msg"], msg, "{money:?}");
            let refused = asking.header("Accept-Language", "en-GB").send().refuses(400, "invalid_amount");
            assert_eq!(refused["msg"], english, "{money:?}");
        }
    }
    for (method, msg) in [("POST", "充值错误"), ("PUT", "提现错误")] {
        let nothing = alice.ask(method, "/wallet").send().refuses(400, "invalid_amount");
        assert_eq!(nothing["msg"], msg, "a missing amount is invalid too");
        let raw = alice.ask(method, "/wallet").json(r#"{"money": 1e2}"#).send().refuses(400, "invalid_amount");
        assert_eq!(raw["msg"], msg);
    }
    for body in [r#"{"money":NaN}"#, r#"{"money":01}"#, r#"{"money":.5}"#, r#"{"money":1,"money":2}"#, "[]", "{"] {
        let refused = alice.ask("POST", "/wallet").json(body).send().refuses(400, "invalid_request");
        assert_eq!(refused["msg"], "充值错误", "{body}");
    }
    let long = format!("money=1&reference={}", "x".repeat(70_000));
    let refused = alice.ask("PUT", "/wallet").form(&long).send().refuses(413, "body_too_large");
    assert_eq!(refused["msg"], "请求体过大");
    assert_eq!(server.admin().balance("alice"), "120.00");
}

#[test]
fn form_equals_json_and_money_equals_amount() {
    let server = Server::start();
    let alice = server.user("alice");
    assert_eq!(alice.ask("POST", "/wallet").form("money=120").send().is(200)["balance"], "120.00");
    assert_eq!(alice.ask("POST", "/wallet").form("amount=0.5").send().is(200)["balance"], "120.50");
    assert_eq!(alice.post("/wallet", json!({ "amount": 1 })).is(200)["balance"], "121.50");
    assert_eq!(alice.ask("PUT", "/wallet").form("money=21.50").send().is(200)["balance"], "100.00");
    let json = "application/json; charset=utf-8";
    assert_eq!(alice.ask("PUT", "/wallet").body(json, br#"{"money":"1.00"}"#).send().is(200)["balance"], "99.00");
    for both in [r#"{"money":1,"amount":1}"#, r#"{"amount":1,"money":null,"amount":1}"#, r#"{"money":1,"money":1}"#] {
        alice.ask("POST", "/wallet").json(both).send().refuses(400, "invalid_request");
    }
    alice.ask("POST", "/wallet").form("money=1&amount=1").send().refuses(400, "invalid_request");
    alice.ask("POST", "/wallet").form("money=1&money=1").send().refuses(400, "invalid_request");
    alice.ask("POST", "/wallet").body("text/plain", b"money=1").send().refuses(415, "unsupported_media_type");
    let unknown = alice.ask("POST", "/wallet").form("money=1&currency=eur").send().refuses(400, "invalid_request");
    assert!(unknown.text("detail").contains("currency"), "the unknown field is named");
    assert_eq!(alice.get("/wallet")["balance"], "99.00");
}

#[test]
fn accept_language_en_gets_english() {
    let server = Server::start();
    let alice = server.user("alice");
    let english = |method: &str, body: &str| {
        alice.ask(method, "/wallet").header("Accept-Language", "en-US,en;q=0.9").form(body).send()
    };
    for (money, coupon) in [("99", false), ("100", true), ("300", true), ("500", true)] {
        let msg = english("POST", &format!("money={money}")).is(200).text("msg");
        assert!(msg.is_ascii() && msg.starts_with("recharged"), "{msg}");
        assert_eq!(msg.len() > "recharged".len(), coupon, "{msg}");
    }
    assert_eq!(english("PUT", "money=1").is(200)["msg"], "withdrawn");
    let refused = english("PUT", "money=10000").refuses(402, "insufficient_funds");
    assert_eq!(refused["msg"], "insufficient funds");
    let french = alice.ask("PUT", "/wallet").header("Accept-Language", "fr").form("money=1").send().is(200);
    assert_eq!(french["msg"], "提现成功", "here Chinese is the custom");
    let v1 = alice.ask("POST", "/v1/wallets/alice/withdraw").form("amount=1");
    assert_eq!(v1.send().is(200)["msg"], "withdrawn", "and there English");
    assert_eq!(v1.header("Accept-Language", "zh-CN").send().is(200)["msg"], "提现成功");
}

#[test]
fn open_server_takes_user_from_request() {
    let server = Server::with(&["--open"]);
    let open = server.anonymous();
    assert_eq!(open.post("/wallet", json!({ "user_id": "bob", "money": 120 })).is(200)["msg"], TEN_OFF);
    assert_eq!(open.ask("PUT", "/wallet?user_id=bob").form("money=20").send().is(200)["balance"], "100.00");
    assert_eq!(open.get("/wallet?user_id=bob").is(200)["balance"], "100.00");
    assert_eq!(open.post("/wallet?user_id=bob", json!({ "user_id": "bob", "money": 1 })).is(200)["msg"], NONE);
    open.post("/wallet?user_id=bob", json!({ "user_id": "eve", "money": 1 })).refuses(400, "invalid_request");
    open.get("/wallet").refuses(400, "invalid_user");
    open.post("/wallet", json!({ "money": 1 })).refuses(400, "invalid_user");
    for user in ["@bank", "..", ".", "a%20b", "", "%C3%A9", &"x".repeat(65)] {
        open.get(&format!("/wallet?user_id={user}")).refuses(400, "invalid_user");
    }
    let digits = open.post("/wallet", json!({ "user_id": 42, "money": 1 })).is(200);
    assert_eq!(digits["entry"]["to"], "42", "a user's name may look like a number");
}

#[test]
fn admin_must_name_user_and_user_need_not() {
    let server = Server::start();
    let (admin, alice) = (server.admin(), server.user("alice"));
    admin.get("/wallet").refuses(400, "invalid_user");
    assert_eq!(admin.post("/wallet", json!({ "user_id": "alice", "money": 500 })).is(200)["msg"], FIFTH_OFF);
    assert_eq!(admin.get("/wallet?user_id=alice").is(200)["balance"], "500.00");
    assert_eq!(alice.get("/wallet?user_id=alice").is(200)["balance"], "500.00", "naming oneself changes nothing");
    assert_eq!(alice.put("/wallet", json!({ "user_id": "alice", "money": 1 })).is(200)["balance"], "499.00");
    for refused in [
        alice.get("/wallet?user_id=bob"),
        alice.post("/wallet", json!({ "user_id": "bob", "money": 1 })),
        alice.put("/wallet", json!({ "user_id": "bob", "money": 1 })),
        alice.put("/wallet?user_id=bob", json!({ "money": "no amount" })),
    ] {
        assert_eq!(refused.refuses(403, "forbidden")["msg"], "没有权限");
    }
}
