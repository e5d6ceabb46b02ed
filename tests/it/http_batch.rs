//! Many money verbs in one request.

use super::server::{Answer, Client, Server, fields};
use crate::postgres;
use serde_json::{Value, json};

fn codes(answer: &Answer) -> Vec<u64> {
    answer["results"].as_array().unwrap().iter().map(|result| result["code"].as_u64().unwrap()).collect()
}

fn lines(client: &Client, path: &str, text: &str) -> Answer {
    client.ask("POST", path).body("application/x-ndjson", text.as_bytes()).send()
}

fn recharges(count: usize) -> Value {
    json!(vec![json!({ "op": "recharge", "user": "alice", "amount": "0.01" }); count])
}

#[test]
fn batch_item_answers_like_single_request() {
    let server = Server::start();
    let admin = server.admin();
    let items = json!([
        { "op": "recharge", "user": "alice", "amount": 100, "reference": "a" },
        { "op": "recharge", "user": "bob", "amount": "1" },
        { "op": "withdraw", "user": "alice", "amount": 10 },
        { "op": "pay", "user": "alice", "money": 20 },
        { "op": "transfer", "user": "alice", "to": "bob", "amount": 30 },
        { "op": "refund", "entry": 4, "amount": 5 },
        { "op": "withdraw", "user": "alice", "amount": 1000 },
        { "op": "withdraw", "user": "ghost", "amount": 1 },
        { "op": "refund", "entry": "4" },
    ]);
    let answer = admin.post("/v1/batch", items).is(200);
    assert_eq!(fields(&answer.json), ["code", "msg", "results"]);
    assert_eq!(codes(&answer), [200, 200, 200, 200, 200, 200, 402, 404, 200]);
    let results = &answer["results"];
    assert_eq!(fields(&results[0]), ["code", "msg", "balance", "entry", "coupon", "created"]);
    assert_eq!(fields(&results[3]), ["code", "msg", "balance", "entry", "gross", "discount", "amount"]);
    assert_eq!((&results[4]["balance"], &results[5]["balance"]), (&json!("40.00"), &json!("45.00")));
    assert_eq!((&results[6]["error"], &results[6]["balance"]), (&json!("insufficient_funds"), &json!("45.00")));
    assert_eq!(results[7]["type"], "/problems/wallet_not_found");
    assert_eq!(results[8]["entry"]["amount"], "15.00", "what was left");
    for (index, id) in [(0, 1), (4, 5), (8, 7)] {
        let single = admin.get(&format!("/v1/entries/{id}")).is(200);
        assert_eq!(results[index]["entry"], single["entry"]);
    }
}

#[test]
fn batch_item_that_fails_leaves_others() {
    let server = Server::start();
    let admin = server.admin();
    let items = r#"[{"op":"recharge","user":"alice","amount":5}, {"op":"steal","user":"alice","amount":1}, {"user":"alice"},
        {"op":"recharge","amount":1}, {"op":"recharge","user":"@bank","amount":1}, {"op":"recharge","user":"alice","amount":1e2},
        {"op":"recharge","user":"alice","amount":1,"color":"red"}, {"op":"recharge","user":"alice","amount":1,"amount":1},
        {"op":"recharge","user":"alice","amount":1,"key":"a b"}, 17, null, [], "x", {"op":"refund"},
        {"op":"refund","entry":1,"user":"alice"}, {"op":"recharge","user":"alice","amount":1,"atomic":true},
        {"op":"withdraw","user":"alice","amount":0.1}]"#;
    let answer = admin.ask("POST", "/v1/batch").json(items).send().is(200);
    let mut expected = vec![400; 17];
    (expected[0], expected[16]) = (200, 200);
    assert_eq!(codes(&answer), expected);
    assert_eq!(answer["results"][4]["error"], "invalid_user");
    assert_eq!(answer["results"][5]["error"], "invalid_amount");
    assert_eq!(answer["results"][6]["field"], "color");
    assert_eq!(admin.balance("alice"), "4.90");
}

#[test]
fn batch_of_lines_equals_array() {
    let server = Server::start();
    let admin = server.admin();
    let text = "{\"op\":\"recharge\",\"user\":\"alice\",\"amount\":\"5\"}\r\n\n  {\"op\":\"withdraw\",\"user\":\"alice\",\"amount\":2}\n{broken\n";
    assert_eq!(codes(&lines(&admin, "/v1/batch", text).is(200)), [200, 200, 400]);
    assert_eq!(admin.balance("alice"), "3.00");
    assert_eq!(codes(&lines(&admin, "/v1/batch", "").is(200)), [0u64; 0]);
    let refused = lines(&admin, "/v1/batch?atomic=true", text).refuses(400, "invalid_request");
    assert_eq!((&refused["index"], codes(&refused)), (&json!(2), vec![424, 424, 400]));
    assert_eq!(admin.balance("alice"), "3.00");
}

#[test]
fn batch_that_cannot_be_read_is_refused() {
    let server = Server::start();
    let admin = server.admin();
    for body in ["{}", "1", "", "[", "[1,]", "null", "[1] [2]"] {
        admin.ask("POST", "/v1/batch").json(body).send().refuses(400, "invalid_request");
    }
    admin.ask("POST", "/v1/batch").form("op=recharge").send().refuses(415, "unsupported_media_type");
    admin.ask("POST", "/v1/batch?atomic=maybe").json("[]").send().refuses(400, "invalid_request");
    admin.ask("POST", "/v1/batch?atomics=true").json("[]").send().refuses(400, "invalid_request");
    assert_eq!(codes(&admin.post("/v1/batch", json!([])).is(200)), [0u64; 0]);
    assert_eq!(codes(&admin.post("/v1/batch?atomic=true", json!([])).is(200)), [0u64; 0]);
}

#[test]
fn atomic_batch_does_all_or_nothing() {
    let server = Server::start();
    let admin = server.admin();
    let mut items = json!([
        { "op": "recharge", "user": "alice", "amount": 100 },
        { "op": "recharge", "user": "bob", "amount": 100 },
        { "op": "transfer", "user": "alice", "to": "bob", "amount": "100.01" },
        { "op": "withdraw", "user": "bob", "amount": 1 },
    ]);
    let refused = admin.post("/v1/batch?atomic=true", items.clone()).refuses(402, "insufficient_funds");
    assert_eq!((&refused["index"], codes(&refused)), (&json!(2), vec![424, 424, 402, 424]));
    assert_eq!(refused["results"][0]["error"], "not_done");
    assert_eq!((&refused["balance"], &refused["needed"]), (&json!("100.00"), &json!("100.01")));
    assert_eq!(admin.get("/v1/entries").is(200).rows().len(), 0, "nothing was done");
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");

    items[2]["amount"] = json!(100);
    let done = admin.post("/v1/batch?atomic=true", items).is(200);
    assert_eq!(codes(&done), [200; 4]);
    assert_eq!((admin.balance("alice"), admin.balance("bob")), ("0.00".to_owned(), "199.00".to_owned()));
    assert_eq!(admin.get("/v1/entries/1").is(200)["entry"]["from_balance"], "-100.00");
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn batch_key_covers_items_without_their_own() {
    let server = Server::start();
    let admin = server.admin();
    let items = json!([
        { "op": "recharge", "user": "alice", "amount": 5 },
        { "op": "recharge", "user": "alice", "amount": 7, "key": "seven" },
        { "op": "withdraw", "user": "alice", "amount": 100 },
    ]);
    let first = admin.post_once("K", "/v1/batch", items.clone()).is(200);
    assert_eq!((codes(&first), first.was_replayed()), (vec![200, 200, 402], false));
    let second = admin.post_once("K", "/v1/batch", items.clone()).is(200);
    assert_eq!((first.body, second.was_replayed()), (second.body, true));
    let single = admin.post_once("K/0", "/v1/wallets/alice/recharge", json!({ "amount": 5 })).is(200);
    assert!(single.was_replayed(), "item 0 was K/0");
    let single = admin.post_once("seven", "/v1/wallets/alice/recharge", json!({ "amount": 7 })).is(200);
    assert!(single.was_replayed());
    admin.post_once("K/0", "/v1/wallets/alice/recharge", json!({ "amount": 6 })).refuses(422, "idempotency_key_reused");

    assert_eq!(admin.balance("alice"), "12.00");
}

#[test]
fn batch_key_reused_for_other_request_is_refused() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let pay = json!({ "op": "withdraw", "user": "alice", "amount": 10 });
    let (one, two) = (json!([pay.clone()]), json!([pay.clone(), pay]));
    let (each, atomic, single) = ("/v1/batch", "/v1/batch?atomic=true", "/v1/wallets/alice/withdraw");
    let ask = |key: &str, path: &str| match path == single {
        true => admin.post_once(key, path, json!({ "amount": 10 })),
        false => admin.post_once(key, path, one.clone()),
    };
    for (key, first) in [("each", each), ("atomic", atomic), ("single", single)] {
        ask(key, first).is(200);
        for again in [each, atomic, single] {
            let answer = ask(key, again);
            if again == first {
                assert!(answer.is(200).was_replayed(), "{key} {again}");
            } else {
                answer.refuses(422, "idempotency_key_reused");
            }
        }
        admin.post_once(key, each, two.clone()).refuses(422, "idempotency_key_reused");
    }
    assert_eq!(admin.balance("alice"), "20.00", "each of the three was done once");
    for own in ["each", "each/7"] {
        let item = json!([{ "op": "withdraw", "user": "alice", "amount": 1, "key": own }]);
        admin.post_once("each", each, item).refuses(400, "invalid_request");
    }
    let unreadable = json!([{ "op": "withdraw", "user": "alice", "amount": "x" }]);
    admin.post_once("x", each, unreadable.clone()).is(200);
    assert_eq!(codes(&admin.post_once("x", each, unreadable).is(200)), [400], "what cannot be read is the same again");
    admin
        .post_once("x", each, json!([{ "op": "withdraw", "user": "alice", "amount": "y" }]))
        .refuses(422, "idempotency_key_reused");
}

#[test]
fn atomic_batch_repeated_is_one_effect() {
    let server = Server::start();
    let admin = server.admin();
    let items =
        json!([{ "op": "recharge", "user": "alice", "amount": 5 }, { "op": "withdraw", "user": "alice", "amount": 2 }]);
    let first = admin.post_once("K", "/v1/batch?atomic=true", items.clone()).is(200);
    let second = admin.post_once("K", "/v1/batch?atomic=true", items).is(200);
    assert_eq!((first.was_replayed(), second.was_replayed()), (false, true));
    assert_eq!(first.body, second.body);
    let other = json!([{ "op": "recharge", "user": "alice", "amount": 5 }]);
    admin.post_once("K", "/v1/batch?atomic=true", other).refuses(422, "idempotency_key_reused");
    let poor =
        json!([{ "op": "withdraw", "user": "alice", "amount": 1 }, { "op": "withdraw", "user": "alice", "amount": 9 }]);
    let first = admin.post_once("P", "/v1/batch?atomic=true", poor.clone()).refuses(402, "insufficient_funds");
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let second = admin.post_once("P", "/v1/batch?atomic=true", poor).refuses(402, "insufficient_funds");
    assert_eq!(
        (String::from_utf8(first.body), second.header("Idempotency-Replayed")),
        (String::from_utf8(second.body.clone()), Some("true"))
    );
}

#[test]
fn atomic_batch_refuses_keys_of_items() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let items = json!([
        { "op": "withdraw", "user": "alice", "amount": 1 },
        { "op": "withdraw", "user": "alice", "amount": 5, "key": "five" },
    ]);
    let refused = admin.post("/v1/batch?atomic=true", items).refuses(400, "invalid_request");
    assert_eq!((&refused["index"], &refused["field"]), (&json!(1), &json!("key")));
    assert_eq!(admin.balance("alice"), "50.00", "a key is kept or refused, never ignored: a repeat would pay twice");
}

#[test]
fn batch_has_at_most_ten_thousand_items() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    let refused = admin.post("/v1/batch", recharges(10_001)).refuses(400, "invalid_request");
    assert!(refused.text("detail").contains("10000"), "{}", refused["detail"]);
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
    let answer = admin.post_once("K", "/v1/batch", recharges(10_000)).is(200);
    assert_eq!(answer["results"][9_999]["balance"], "100.00");
    let again = admin.post_once("K", "/v1/batch", recharges(10_000)).is(200);
    assert!(again.was_replayed() && again.body == answer.body);
    assert_eq!(admin.balance("alice"), "100.00");
}

#[test]
fn body_above_limit_is_refused() {
    let server = Server::start();
    let admin = server.admin();
    let item = r#"{"op":"recharge","user":"alice","amount":1}"#;
    let sized = |bytes: usize| format!("[{item}{}]", " ".repeat(bytes - item.len() - 2));
    assert_eq!(codes(&admin.ask("POST", "/v1/batch").json(sized(8 << 20)).send().is(200)), [200]);
    let refused = admin.ask("POST", "/v1/batch").json(sized((8 << 20) + 1)).send().refuses(413, "body_too_large");
    assert_eq!(refused["limit"], 8 << 20);
    let form = |bytes: usize| format!("amount=1&reference={}", "%41".repeat(bytes))[..bytes].to_owned();
    let refused = admin.ask("POST", "/v1/wallets/alice/recharge").form(&form(65_537)).send();
    assert_eq!(refused.refuses(413, "body_too_large")["limit"], 65_536);
    admin.ask("POST", "/v1/wallets/alice/recharge").form(&form(65_536)).send().refuses(400, "invalid_request");
    server.anonymous().ask("POST", "/v1/batch").json(sized(100_000)).send().refuses(401, "unauthenticated");
    server.role("auditor").ask("POST", "/v1/batch").json(sized(100_000)).send().refuses(403, "forbidden");
    assert_eq!(admin.balance("alice"), "1.00");
}

#[test]
fn chunked_body_is_read_like_one_with_length() {
    let server = Server::start();
    let admin = server.admin();
    let chunked = |token: &str, path: &str, chunks: &[String]| {
        let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        Answer::parse(&server.raw(format!("{head}{chunks}0\r\n\r\n").as_bytes()), false)
    };
    let token = admin.token.clone().unwrap();
    let recharge = ["{\"amount\":".to_owned(), "\"5.00\"}".to_owned()];
    assert_eq!(chunked(&token, "/v1/wallets/alice/recharge", &recharge).is(200)["balance"], "5.00");
    let item = r#"{"op":"recharge","user":"alice","amount":1}"#;
    let chunk = format!("{item},{}", " ".repeat(500_000));
    let large = vec!["[".to_owned(), chunk.clone(), chunk.clone(), item.to_owned(), "]".to_owned()];
    assert_eq!(codes(&chunked(&token, "/v1/batch", &large).is(200)), [200, 200, 200]);
    let refused = chunked(&token, "/v1/batch", &vec![chunk; 17]).refuses(413, "body_too_large");
    assert_eq!(refused["limit"], 8 << 20);
    let refused = chunked(&token, "/v1/wallets/alice/recharge", &["x".repeat(65_537)]);
    assert_eq!(refused.refuses(413, "body_too_large")["limit"], 65_536);
    chunked("cbx_not-a-token-of-this-server", "/v1/batch", &large).refuses(401, "unauthenticated");
    assert_eq!(admin.balance("alice"), "8.00");
}

#[test]
fn batch_of_user_moves_only_own_money() {
    let server = Server::with(&["--no-self-recharge"]);
    let (alice, admin) = (server.user_with("alice", "50"), server.admin());
    server.user_with("bob", "50");
    let items = json!([
        { "op": "transfer", "user": "alice", "to": "bob", "amount": 1 },
        { "op": "transfer", "user": "bob", "to": "alice", "amount": 1 },
        { "op": "withdraw", "user": "bob", "amount": 1 },
        { "op": "recharge", "user": "alice", "amount": 1 },
        { "op": "refund", "entry": 1 },
        { "op": "withdraw", "user": "alice", "amount": 1 },
        { "op": "transfer", "user": "@sales", "to": "@bank", "amount": 1 },
    ]);
    let answer = alice.post_once("K", "/v1/batch", items.clone()).is(200);
    assert_eq!(codes(&answer), [200, 403, 403, 403, 403, 200, 403]);
    let own = json!([items[0], items[5]]);
    let atomic = alice.post_once("A", "/v1/batch?atomic=true", own.clone()).is(200);
    let replayed = alice.post_once("A", "/v1/batch?atomic=true", own).is(200);
    assert!(replayed.was_replayed());
    for (answer, index) in [(&answer, 0), (&atomic, 0), (&replayed, 0), (&answer, 5), (&atomic, 1)] {
        let entry = &answer["results"][index]["entry"];
        assert!(entry["from_balance"].is_string(), "{entry}");
        assert_eq!((&entry["to_balance"], &entry["hash"]), (&json!(null), &json!(null)));
    }
    let refused = alice.post("/v1/batch?atomic=true", items).refuses(403, "forbidden");
    assert_eq!(refused["index"], 1);
    assert_eq!((admin.balance("alice"), admin.balance("bob")), ("46.00".to_owned(), "52.00".to_owned()));
}

#[test]
fn locked_wallet_stops_item_or_whole_atomic_batch() {
    let server = Server::start();
    let admin = server.admin();
    server.user_with("alice", "50");
    server.user_with("bob", "50");
    let token = admin.post("/v1/locks/wallet/bob", json!({ "holder": "job" })).is(201).text("token");
    let items = json!([
        { "op": "withdraw", "user": "alice", "amount": 1 },
        { "op": "transfer", "user": "alice", "to": "bob", "amount": 1 },
        { "op": "withdraw", "user": "alice", "amount": 2 },
    ]);
    let answer = admin.post_once("K", "/v1/batch", items.clone()).is(200);
    assert_eq!(codes(&answer), [200, 423, 200]);
    assert_eq!(answer["results"][1]["holder"], "job");
    let atomic = admin.ask("POST", "/v1/batch?atomic=true").json(&items);
    atomic.clone().header("Prefer", "wait=0").send().refuses(423, "locked");
    assert_eq!(admin.balance("alice"), "47.00");
    let mine = atomic.header("Lock-Token", &token).send().is(200);
    assert_eq!(codes(&mine), [200, 200, 200]);
    assert!(mine["results"][1]["entry"]["fence"].is_i64());
    assert_eq!(admin.balance("alice"), "43.00");
    admin.ask("DELETE", "/v1/locks/wallet/bob").header("Lock-Token", &token).send().is(204);
    let again = admin.post_once("K", "/v1/batch", items).is(200);
    assert_eq!((codes(&again), again.was_replayed()), (vec![200; 3], false));
    assert_eq!(admin.balance("alice"), "42.00", "only what was locked before is done now");
}

/// Millions of commas fit into the largest body.
#[test]
fn batch_with_too_many_items_takes_no_memory() {
    let server = Server::start();
    let admin = server.admin();
    let commas = format!("[{}0]", "0,".repeat(4_000_000));
    let answer = admin.ask("POST", "/v1/batch").body("application/json", commas.as_bytes()).send();
    assert!(answer.refuses(400, "invalid_request").text("detail").contains("at most 10000 items"));
    lines(&admin, "/v1/batch", &"0\n".repeat(4_000_000)).refuses(400, "invalid_request");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
    let peak: u64 = peak.trim().parse().unwrap();
    assert!(peak < 64 * 1024, "{peak} KiB");
}
