//! Money over `/v1`: what each verb answers, every refusal, coupons and refunds.

use super::server::{Answer, Client, Server, fields};
use crate::postgres;
use serde_json::{Value, json};

const ENTRY: [&str; 20] = [
    "id",
    "at",
    "kind",
    "from",
    "to",
    "amount",
    "from_balance",
    "to_balance",
    "coupon",
    "gross",
    "discount",
    "refunds",
    "reference",
    "metadata",
    "by",
    "fence",
    "hold",
    "hold_to",
    "hold_until",
    "hash",
];

fn verb(client: &Client, user: &str, verb: &str, body: Value) -> Answer {
    client.post(&format!("/v1/wallets/{user}/{verb}"), body)
}

#[test]
fn verb_answers_with_balance_and_whole_entry() {
    let server = Server::start();
    let admin = server.admin();
    let paid_in = verb(
        &admin,
        "alice",
        "recharge",
        json!({ "amount": "100", "reference": "r-1", "metadata": { "b": "2", "a": "1" } }),
    );
    let paid_in = paid_in.is(200);
    assert_eq!(fields(&paid_in.json), ["code", "msg", "balance", "entry", "coupon", "created"]);
    let entry = &paid_in["entry"];
    assert_eq!(fields(entry), ENTRY);
    assert_eq!((&entry["id"], &entry["kind"]), (&json!(1), &json!("recharge")));
    assert_eq!((&entry["from"], &entry["to"], &entry["amount"]), (&json!("@bank"), &json!("alice"), &json!("100.00")));
    assert_eq!((&entry["from_balance"], &entry["to_balance"]), (&json!("-100.00"), &json!("100.00")));
    assert_eq!((&entry["reference"], &entry["metadata"]), (&json!("r-1"), &json!({ "a": "1", "b": "2" })));
    assert_eq!((&entry["fence"], &entry["refunds"], &entry["gross"]), (&json!(null), &json!(null), &json!(null)));
    assert_eq!(entry["coupon"], paid_in["coupon"]["code"]);
    let (at, hash) = (entry["at"].as_str().unwrap(), entry["hash"].as_str().unwrap());
    assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.', "{at} is UTC with milliseconds");
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    assert!(entry["by"].as_str().is_some_and(|by| by.starts_with("tok:")), "an admin is known by the token's id");

    let code = paid_in["coupon"]["code"].clone();
    let paid = verb(&admin, "alice", "pay", json!({ "amount": 40, "coupon": code })).is(200);
    assert_eq!(fields(&paid.json), ["code", "msg", "balance", "entry", "gross", "discount", "amount"]);
    assert_eq!(
        (&paid["gross"], &paid["discount"], &paid["amount"]),
        (&json!("40.00"), &json!("10.00"), &json!("30.00"))
    );
    assert_eq!((&paid["balance"], &paid["entry"]["to"]), (&json!("70.00"), &json!("@sales")));
    assert_eq!((&paid["entry"]["gross"], &paid["entry"]["amount"]), (&json!("40.00"), &json!("30.00")));

    let withdrawn = verb(&admin, "alice", "withdraw", json!({ "amount": 20 })).is(200);
    assert_eq!(fields(&withdrawn.json), ["code", "msg", "balance", "entry"]);
    assert_eq!((&withdrawn["balance"], &withdrawn["entry"]["to"]), (&json!("50.00"), &json!("@bank")));

    verb(&admin, "bob", "recharge", json!({ "amount": 1 })).is(200);
    let transferred = verb(&admin, "alice", "transfer", json!({ "to": "bob", "amount": "0.5" })).is(200);
    assert_eq!(fields(&transferred.json), ["code", "msg", "balance", "entry"]);
    assert_eq!((&transferred["balance"], &transferred["entry"]["to_balance"]), (&json!("49.50"), &json!("1.50")));

    let to_bob = verb(&admin, "alice", "pay", json!({ "to": "bob", "amount": 1 })).is(200);
    assert_eq!((&to_bob["entry"]["to"], &to_bob["entry"]["to_balance"]), (&json!("bob"), &json!("2.50")));
    let one = admin.get("/v1/entries/2").is(200);
    assert_eq!(one["entry"], paid["entry"], "an entry is the same wherever it is shown");
    let wallet = admin.get("/v1/wallets/alice").is(200);
    let own = ["code", "msg", "user_id", "balance", "held", "entries", "last_at", "coupons"];
    let settings = ["name", "status", "metadata", "limit_per_payment", "limit_per_day", "spent_today"];
    assert_eq!(fields(&wallet.json), [&own[..], &settings].concat());
    assert_eq!((&wallet["entries"], &wallet["coupons"], &wallet["held"]), (&json!(5), &json!(0), &json!("0.00")));
}

#[test]
fn amount_is_read_from_its_digits_only() {
    let server = Server::start();
    let admin = server.admin();
    let recharge = |amount: &str| {
        let body = format!(r#"{{"amount":{amount}}}"#);
        admin.ask("POST", "/v1/wallets/alice/recharge").json(body).send()
    };
    for text in [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1",
        "+1",
        "0",
        "0.00",
        "0.001",
        "1_000",
        " 5 ",
        "٣",
        "9007199254740993.01",
        "1000000000000.01",
        "10000000000000",
        ".5",
        "5.",
        "",
        "0x10",
        "1 000",
        "１",
    ] {
        recharge(&json!(text).to_string()).refuses(400, "invalid_amount");
    }
    for number in [
        "-1",
        "0",
        "0.001",
        "1e2",
        "1E2",
        "1e400",
        "1.0e1",
        "90071992547409.93",
        "1000000000000.01",
        "0.10000000000000001",
        "true",
        "[1]",
        "{}",
        "null",
    ] {
        recharge(number).refuses(400, "invalid_amount");
    }
    for no_json in ["nan", "NaN", "Infinity", "01", "+1", ".5", "1_000", "٣", "'5'"] {
        recharge(no_json).refuses(400, "invalid_request");
    }
    let mut cents: i64 = 0;
    for (good, worth) in [
        ("0.1", 10),
        ("0.01", 1),
        ("120", 12_000),
        ("0.3", 30),
        ("\"5\"", 500),
        ("900719925474.09", 90_071_992_547_409),
        ("\"0000000000001\"", 100),
    ] {
        let answer = recharge(good).is(200);
        cents += worth;
        assert_eq!(answer["entry"]["amount"], format!("{}.{:02}", worth / 100, worth % 100), "{good}");
        assert_eq!(answer["balance"], format!("{}.{:02}", cents / 100, cents % 100), "{good}");
    }
    for form in ["amount=+5", "amount=%205", "amount=5%20", "amount=5%00", "amount=-5", "amount=5e0"] {
        admin.ask("POST", "/v1/wallets/alice/recharge").form(form).send().refuses(400, "invalid_amount");
    }
}

#[test]
fn ten_thousand_amounts_are_exact_to_the_cent() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    let all = |op: &str| -> Vec<Value> {
        (1..=10_000).map(|cents: u32| json!({ "op": op, "user": "alice", "amount": format!("{}.{:02}", cents / 100, cents % 100) })).collect()
    };
    for (op, last) in [("recharge", "500050.00"), ("withdraw", "0.00")] {
        let answer = admin.post("/v1/batch?atomic=true", json!(all(op))).is(200);
        let results = answer["results"].as_array().unwrap();
        for (item, result) in all(op).iter().zip(results) {
            assert_eq!((&result["code"], &result["entry"]["amount"]), (&json!(200), &item["amount"]));
        }
        assert_eq!((results.len(), &results[9_999]["balance"]), (10_000, &json!(last)));
    }
    assert_eq!(admin.get("/v1/wallets/@bank").is(200)["balance"], "0.00");
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn unknown_field_is_refused_by_name() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 5 })).is(200);
    for (path, body, field) in [
        ("/v1/wallets/alice/recharge", json!({ "amount": 1, "coupon": "ABCD" }), "coupon"),
        ("/v1/wallets/alice/withdraw", json!({ "amount": 1, "to": "bob" }), "to"),
        ("/v1/wallets/alice/pay", json!({ "amount": 1, "Reference": "x" }), "Reference"),
        ("/v1/wallets/alice/transfer", json!({ "amount": 1, "to": "@sales", "user": "alice" }), "user"),
        ("/v1/entries/1/refund", json!({ "ammount": 1 }), "ammount"),
        ("/v1/wallets/alice/coupons", json!({ "kind": "1", "code": "AAAA" }), "code"),
        ("/v1/wallets/alice/recharge?later=true", json!({ "amount": 1 }), "later"),
        ("/v1/tokens", json!({ "role": "admin", "secret": "cbx_0123456789abcdef" }), "secret"),
    ] {
        let refused = admin.post(path, body).refuses(400, "invalid_request");
        assert_eq!(refused["field"], field);
        assert!(refused.text("detail").contains(field), "{}", refused["detail"]);
    }
    let unknown = admin.ask("POST", "/v1/wallets/alice/recharge").json(r#"{"amount":1,"colour":null}"#).send();
    assert_eq!(unknown.refuses(400, "invalid_request")["field"], "colour");
    let twice = [r#"{"amount":1,"amount":1}"#, r#"{"amount":1,"amount":null}"#, r#"{"amount":null,"am\u006funt":1}"#];
    for raw in ["[]", "1", "\"a\"", "{", "{\"amount\":1}x", "null", "\u{feff}{}"].into_iter().chain(twice) {
        admin.ask("POST", "/v1/wallets/alice/recharge").json(raw).send().refuses(400, "invalid_request");
    }
    admin.ask("POST", "/v1/wallets/alice/recharge").body("", b"amount=1").send().refuses(415, "unsupported_media_type");
    let packed = admin.ask("POST", "/v1/wallets/alice/recharge").json(json!({ "amount": 1 }));
    packed.header("Content-Encoding", "gzip").send().refuses(415, "unsupported_media_type");
    admin.ask("POST", "/v1/wallets/alice/recharge").form("amount=1&a=1&a=1").send().refuses(400, "invalid_request");
    assert_eq!(admin.balance("alice"), "5.00");
}

#[test]
fn reference_and_metadata_above_limits_are_refused() {
    let server = Server::start();
    let admin = server.admin();
    let with = |name: &str, value: Value| {
        let mut body = json!({ "amount": 1 });
        body[name] = value;
        verb(&admin, "alice", "recharge", body)
    };
    let pairs = |count: usize, name: usize, value: usize| -> Value {
        (0..count).map(|i| (format!("{i:0>name$}"), json!("é".repeat(value)))).collect::<serde_json::Map<_, _>>().into()
    };
    assert_eq!(with("reference", json!("é".repeat(255))).is(200)["entry"]["reference"], "é".repeat(255));
    with("reference", json!("x".repeat(256))).refuses(400, "invalid_request");
    with("reference", json!(5)).refuses(400, "invalid_request");
    assert_eq!(with("metadata", pairs(20, 40, 500)).is(200)["entry"]["metadata"], pairs(20, 40, 500));
    for bad in [
        pairs(21, 2, 1),
        pairs(1, 41, 1),
        pairs(1, 1, 501),
        json!({ "": "x" }),
        json!({ "a": 1 }),
        json!({ "a": { "b": "c" } }),
        json!(["a"]),
        json!("a=b"),
        json!({ "a": ["b"] }),
    ] {
        with("metadata", bad).refuses(400, "invalid_request");
    }
    let form = admin.ask("POST", "/v1/wallets/alice/recharge").form("amount=1&metadata%5Border%5D=7&metadata[x]=y");
    assert_eq!(form.send().is(200)["entry"]["metadata"], json!({ "order": "7", "x": "y" }));
    admin
        .ask("POST", "/v1/wallets/alice/recharge")
        .json(r#"{"amount":1,"metadata":{"a":"1","a":"2"}}"#)
        .send()
        .refuses(400, "invalid_request");
    assert_eq!(with("metadata", json!({})).is(200)["entry"]["metadata"], json!(null));
    let zero = if postgres::of_all_tests().is_some() { "" } else { "\u{0}" }; // PostgreSQL has no such text
    let strange = &format!("a\"b,\r\n{zero}\u{1F4B0}");
    assert_eq!(with("reference", json!(strange)).is(200)["entry"]["reference"], *strange);
}

#[test]
fn balance_above_limit_is_refused() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    let most = json!({ "op": "recharge", "user": "alice", "amount": "1000000000000.00" });
    let all = admin.post("/v1/batch", json!(vec![most.clone(); 1_000])).is(200);
    assert_eq!(all["results"][999]["balance"], "1000000000000000.00");
    let refused = verb(&admin, "alice", "recharge", json!({ "amount": "0.01" })).refuses(409, "balance_limit");
    assert!(refused.text("detail").contains("1000000000000000.00"));
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn user_cannot_use_up_room_of_others() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let (eve, bob) = (server.user("eve"), server.user("bob"));
    let most = json!({ "op": "recharge", "user": "eve", "amount": "1000000000000.00" });
    assert_eq!(eve.post("/v1/batch", json!(vec![most; 1_000])).is(200)["results"][999]["code"], 200);
    verb(&bob, "bob", "recharge", json!({ "amount": "0.01" })).is(200);
    assert_eq!(server.admin().get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn refusals_come_in_their_order() {
    let server = Server::start();
    let admin = server.admin();
    let code = verb(&admin, "bob", "recharge", json!({ "amount": 100 })).is(200)["coupon"]["code"].clone();
    verb(&admin, "alice", "pay", json!({ "amount": "x", "coupon": "ZZZZ" })).refuses(400, "invalid_amount");
    verb(&admin, "alice", "pay", json!({ "amount": 1, "coupon": "ZZZZ" })).refuses(404, "wallet_not_found");
    verb(&admin, "alice", "recharge", json!({ "amount": 1 })).is(200);
    verb(&admin, "alice", "pay", json!({ "amount": 500, "coupon": "ZZZZ" })).refuses(404, "coupon_not_found");
    verb(&admin, "alice", "pay", json!({ "amount": 500, "coupon": code })).refuses(404, "coupon_not_found");
    let poor = verb(&admin, "alice", "pay", json!({ "amount": 500 })).refuses(402, "insufficient_funds");
    assert_eq!((&poor["balance"], &poor["needed"]), (&json!("1.00"), &json!("500.00")));
    verb(&admin, "alice", "pay", json!({ "amount": 1, "coupon": "no code" })).refuses(400, "invalid_request");
    admin.get("/v1/entries/99").refuses(404, "entry_not_found");
    admin.get("/v1/entries/x").refuses(400, "invalid_request");
    admin.post("/v1/entries/99/refund", json!({})).refuses(404, "entry_not_found");
    admin.get("/v1/coupons/ZZZZ").refuses(404, "coupon_not_found");
    admin.post("/v1/wallets/alice/coupons", json!({ "kind": "9" })).refuses(404, "coupon_kind_not_found");
    admin.post("/v1/wallets/eve/coupons", json!({ "kind": "1" })).refuses(404, "wallet_not_found");
}

#[test]
fn transfer_to_self_or_missing_or_system_is_refused() {
    let server = Server::start();
    let admin = server.admin();
    verb(&admin, "alice", "recharge", json!({ "amount": 90 })).is(200);
    verb(&admin, "alice", "transfer", json!({ "to": "alice", "amount": 1 })).refuses(400, "invalid_request");
    verb(&admin, "alice", "pay", json!({ "to": "alice", "amount": 1 })).refuses(400, "invalid_request");
    verb(&admin, "alice", "transfer", json!({ "to": "ghost", "amount": 1 })).refuses(404, "wallet_not_found");
    verb(&admin, "ghost", "transfer", json!({ "to": "alice", "amount": 1 })).refuses(404, "wallet_not_found");
    verb(&admin, "alice", "transfer", json!({ "amount": 1 })).refuses(400, "invalid_request");
    for to in ["@bank", "@holds", "@else", "a b", "", ".."] {
        verb(&admin, "alice", "transfer", json!({ "to": to, "amount": 1 })).refuses(400, "invalid_user");
        verb(&admin, "alice", "pay", json!({ "to": to, "amount": 1 })).refuses(400, "invalid_user");
    }
    verb(&admin, "alice", "transfer", json!({ "to": "@sales", "amount": 30 })).is(200);
    for system in ["@bank", "@sales", "@holds"] {
        for name in ["recharge", "withdraw", "pay", "coupons"] {
            let body = if name == "coupons" { json!({ "kind": "1" }) } else { json!({ "amount": 1 }) };
            verb(&admin, system, name, body).refuses(400, "invalid_user");
        }
        verb(&admin, system, "transfer", json!({ "to": "alice", "amount": 1 })).refuses(400, "invalid_user");
        admin.get(&format!("/v1/wallets/{system}")).is(200);
    }
    let cashed_up = verb(&admin, "@sales", "transfer", json!({ "to": "@bank", "amount": 30 })).is(200);
    assert_eq!((&cashed_up["balance"], &cashed_up["entry"]["to_balance"]), (&json!("0.00"), &json!("-60.00")));
    let teller = server.role("teller");
    verb(&teller, "@sales", "transfer", json!({ "to": "@bank", "amount": 1 })).refuses(403, "forbidden");
    let back = format!("/v1/entries/{}/refund", cashed_up["entry"]["id"]);
    teller.post(&back, json!({ "amount": 5 })).refuses(403, "forbidden");
    let item = json!([{ "op": "refund", "entry": cashed_up["entry"]["id"], "amount": 5 }]);
    assert_eq!(teller.post("/v1/batch", item).is(200)["results"][0]["code"], 403);
    let refunded = admin.post(&back, json!({ "amount": 5 })).is(200);
    assert_eq!(refunded["balance"], refunded["entry"]["to_balance"], "the payer was @sales");
    verb(&admin, "@sales", "transfer", json!({ "to": "@bank", "amount": 5 })).is(200);
    assert_eq!(admin.balance("alice"), "60.00");
}

#[test]
fn concurrent_withdrawals_take_last_money_once() {
    let server = Server::start();
    let admin = server.admin();
    verb(&admin, "alice", "recharge", json!({ "amount": 50 })).is(200);
    let done: usize = std::thread::scope(|scope| {
        let ask = || verb(&admin, "alice", "withdraw", json!({ "amount": 10 })).status;
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        let statuses: Vec<u16> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [200, 402].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    });
    assert_eq!((done, admin.balance("alice").as_str()), (5, "0.00"));
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let server = Server::start();
    let admin = server.admin();
    let path = "/v1/wallets/alice/recharge";
    admin.ask("POST", path).form("amount=1&reference=%FF").send().refuses(400, "invalid_request");
    admin
        .ask("POST", path)
        .body("application/x-www-form-urlencoded", b"amount=1&reference=\xff")
        .send()
        .refuses(400, "invalid_request");
    admin
        .ask("POST", path)
        .body("application/json", b"{\"amount\":1,\"reference\":\"\xff\"}")
        .send()
        .refuses(400, "invalid_request");
    admin.ask("POST", path).json(r#"{"amount":1,"reference":"\ud800"}"#).send().refuses(400, "invalid_request");
    admin
        .ask("POST", path)
        .json(format!(r#"{{"amount":1,"metadata":{}}}"#, "[".repeat(30_000)))
        .send()
        .refuses(400, "invalid_request");
    let deep = format!(r#"{{"amount":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(admin.ask("POST", path).json(deep).send().status, 400);
    admin.get("/v1/wallets?after=%FF").refuses(400, "invalid_request");
    admin.get("/v1/wallets/%FF").refuses(400, "invalid_request");
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
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
    let cent = json!({ "amount": "0.01", "coupon": earned["coupon"]["code"] });
    verb(&admin, "alice", "pay", cent).refuses(409, "coupon_not_applicable");
    let code = earned["coupon"]["code"].as_str().unwrap();
    let quote = admin.get(&format!("/v1/coupons/{code}/quote?amount=0.01")).is(200);
    assert_eq!((&quote["applicable"], &quote["error"]), (&json!(false), &json!("coupon_not_applicable")));
    assert_eq!(admin.get(&format!("/v1/coupons/{code}")).is(200)["coupon"]["state"], "usable");
}

#[test]
fn table_changed_meanwhile_is_not_overwritten() {
    let server = Server::start();
    let admin = server.admin();
    for (path, field, rows) in [
        ("/v1/tiers", "tiers", [json!([{ "from": 100, "coupon_kind": "3" }]), json!([])]),
        (
            "/v1/coupon-kinds",
            "coupon_kinds",
            [
                json!([{ "kind": "3", "amount_off": 5 }]),
                json!([{ "kind": "3", "amount_off": 5 }, { "kind": "x", "percent_off": 5 }]),
            ],
        ),
    ] {
        let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
        let put = |rows: &Value, tag: &str| {
            admin.ask("PUT", path).header("If-Match", tag).json(json!({ field: rows })).send()
        };
        let read = tag(&admin.get(path).is(200));
        assert_eq!(tag(&admin.get(path).is(200)), read, "the same rows");
        let first = put(&rows[0], &read).is(200);
        assert_eq!(tag(&first), tag(&admin.get(path).is(200)));
        put(&rows[1], &read).refuses(412, "changed_meanwhile");
        put(&rows[1], "W/\"x\"").refuses(412, "changed_meanwhile");
        assert_eq!(admin.get(path).is(200)["data"], first["data"], "nothing was done");
        put(&rows[1], &tag(&first)).is(200);
        put(&rows[0], "*").is(200);
        admin.put(path, json!({ field: rows[1] })).is(200);
        let keyed = |tag: &str| {
            let put = admin.ask("PUT", path).header("If-Match", tag).header("Idempotency-Key", &format!("k{path}"));
            put.json(json!({ field: rows[0] })).send()
        };
        let now = tag(&admin.get(path).is(200));
        keyed("\"old\"").refuses(412, "changed_meanwhile");
        keyed(&now).is(200);
        assert!(keyed(&now).is(200).was_replayed(), "a repeat is answered as before");
    }
}
