//! Holds over HTTP: answers, repeats, roles, lists.

use super::server::{Client, Server, fields, until};
use serde_json::{Value, json};

const HOLD: [&str; 13] = [
    "id",
    "user_id",
    "to",
    "amount",
    "captured",
    "released",
    "left",
    "state",
    "expires_at",
    "coupon",
    "reference",
    "metadata",
    "created_at",
];

fn hold(client: &Client, user: &str, body: Value) -> Value {
    client.post(&format!("/v1/wallets/{user}/holds"), body).is(201)["hold"].clone()
}

fn server_with_alice() -> Server {
    let server = Server::start();
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    server.admin().post("/v1/wallets/bob/recharge", json!({ "amount": 1 })).is(200);
    server
}

#[test]
fn hold_answers_with_hold_entry_and_balance() {
    let server = server_with_alice();
    let admin = server.admin();
    let body = json!({ "amount": 20, "to": "bob", "expires_in_s": 60, "reference": "r", "metadata": { "a": "1" } });
    let made = admin.post_once("k", "/v1/wallets/alice/holds", body.clone()).is(201);
    assert_eq!(fields(&made.json), ["code", "msg", "hold", "balance", "entry"]);
    assert_eq!((made.header("Location"), made.text("msg").as_str()), (Some("/v1/holds/3"), "held"));
    let hold = &made["hold"];
    assert_eq!(fields(hold), HOLD);
    assert_eq!((&hold["user_id"], &hold["to"], &hold["state"]), (&json!("alice"), &json!("bob"), &json!("open")));
    assert_eq!((&hold["reference"], &hold["metadata"]), (&json!("r"), &json!({ "a": "1" })));
    assert_eq!(
        (&made["balance"], &made["entry"]["kind"], &made["entry"]["hold"]),
        (&json!("30.00"), &json!("hold"), &json!(3))
    );
    assert_eq!((&made["entry"]["hold_to"], &made["entry"]["hold_until"]), (&json!("bob"), &hold["expires_at"]));
    assert_eq!(admin.get("/v1/wallets/alice").is(200)["held"], "20.00");
    assert_eq!(admin.get("/wallet?user_id=alice").is(200)["held"], "20.00");
    let listed = admin.get("/v1/wallets?prefix=a").is(200);
    assert_eq!((&listed.rows()[0]["held"], &listed.rows()[0]["balance"]), (&json!("20.00"), &json!("30.00")));

    let part = admin.post_once("p", "/v1/holds/3/capture", json!({ "amount": 5, "final": false })).is(200);
    assert_eq!(fields(&part.json), ["code", "msg", "hold", "balance", "entry", "released"]);
    assert_eq!((&part["hold"]["left"], &part["released"]), (&json!("15.00"), &json!(null)));
    let last = admin.post_once("l", "/v1/holds/3/capture", json!({ "amount": "10.00" })).is(200);
    assert_eq!((&last["released"]["amount"], &last["balance"]), (&json!("5.00"), &json!("35.00")));
    assert_eq!((&last["hold"]["state"], &last["hold"]["released"]), (&json!("captured"), &json!("5.00")));
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": 35 })).is(200);
    for (key, path, body, first) in [
        ("k", "/v1/wallets/alice/holds", body, &made),
        ("p", "/v1/holds/3/capture", json!({ "amount": "5.00", "final": "false" }), &part),
        ("l", "/v1/holds/3/capture", json!({ "amount": 10 }), &last),
    ] {
        let again = admin.post_once(key, path, body).is(first.status);
        assert_eq!((&again.json, again.header("Idempotency-Replayed")), (&first.json, Some("true")), "as it was then");
    }
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn void_answers_with_release() {
    let server = server_with_alice();
    let admin = server.admin();
    hold(&admin, "alice", json!({ "amount": 20 }));
    let voided = admin.ask("POST", "/v1/holds/3/void").header("Accept-Language", "zh").send().is(200);
    assert_eq!(fields(&voided.json), ["code", "msg", "hold", "balance", "entry"]);
    assert_eq!((voided.text("msg").as_str(), &voided["balance"]), ("已释放", &json!("50.00")));
    assert_eq!((&voided["hold"]["state"], &voided["entry"]["kind"]), (&json!("voided"), &json!("release")));
    let refused = admin.post("/v1/holds/3/void", json!({})).refuses(409, "hold_not_open");
    assert_eq!(refused["state"], "voided");
}

#[test]
fn wrong_hold_request_is_refused() {
    let server = server_with_alice();
    let admin = server.admin();
    hold(&admin, "alice", json!({ "amount": 20 }));
    for (path, body, status, name) in [
        ("/v1/wallets/alice/holds", json!({}), 400, "invalid_amount"),
        ("/v1/wallets/alice/holds", json!({ "amount": 0 }), 400, "invalid_amount"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "to": "alice" }), 400, "invalid_request"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "to": "@bank" }), 400, "invalid_user"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "to": "@holds" }), 400, "invalid_user"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "expires_in_s": 0 }), 400, "invalid_request"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "expires_in_s": 31_536_001 }), 400, "invalid_request"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "final": true }), 400, "invalid_request"),
        ("/v1/wallets/@sales/holds", json!({ "amount": 1 }), 400, "invalid_user"),
        ("/v1/wallets/alice/holds", json!({ "amount": 1, "to": "ghost" }), 404, "wallet_not_found"),
        ("/v1/wallets/ghost/holds", json!({ "amount": 1 }), 404, "wallet_not_found"),
        ("/v1/wallets/alice/holds", json!({ "amount": "30.01" }), 402, "insufficient_funds"),
        ("/v1/holds/x/capture", json!({}), 400, "invalid_request"),
        ("/v1/holds/1/capture", json!({}), 404, "hold_not_found"),
        ("/v1/holds/99/void", json!({}), 404, "hold_not_found"),
        ("/v1/holds/3/capture", json!({ "amount": "20.01" }), 409, "capture_exceeds"),
        ("/v1/holds/3/capture", json!({ "amount": 0 }), 400, "invalid_amount"),
        ("/v1/holds/3/capture", json!({ "final": "perhaps" }), 400, "invalid_request"),
        ("/v1/holds/3/void", json!({ "amount": 1 }), 400, "invalid_request"),
        ("/v1/entries/3/refund", json!({}), 409, "not_refundable"),
    ] {
        admin.post(path, body).refuses(status, name);
    }
    admin.get("/v1/holds?state=closed").refuses(400, "invalid_request");
    admin.get("/v1/wallets/ghost/holds").refuses(404, "wallet_not_found");
    assert_eq!(admin.balance("alice"), "30.00");
}

#[test]
fn user_sees_holds_on_own_wallet_only() {
    let server = server_with_alice();
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    let admin = server.admin();
    let id = hold(&admin, "alice", json!({ "amount": 20, "to": "bob" }))["id"].clone();
    let captured =
        admin.post(&format!("/v1/holds/{id}/capture"), json!({ "amount": 5 })).is(200)["entry"]["id"].clone();
    assert_eq!(alice.get(&format!("/v1/holds/{id}")).is(200)["hold"]["captured"], "5.00");
    bob.get(&format!("/v1/holds/{id}")).refuses(404, "hold_not_found");
    assert_eq!(alice.get("/v1/wallets/alice/holds").is(200).rows().len(), 1);
    bob.get("/v1/wallets/alice/holds").refuses(403, "forbidden");
    assert!(bob.get("/v1/wallets/bob/holds").is(200).rows().is_empty());
    alice.post("/v1/wallets/alice/holds", json!({ "amount": 1 })).refuses(403, "forbidden");
    let items = json!([{ "op": "hold", "user": "alice", "amount": 1 }, { "op": "capture", "hold": id }, { "op": "void", "hold": id }]);
    let results = alice.post("/v1/batch", items).is(200)["results"].clone();
    assert!((0..3).all(|item| results[item]["code"] == 403), "{results}");
    let seen = |client: &Client| client.get(&format!("/v1/entries/{captured}")).is(200)["entry"].clone();
    let (own, got) = (seen(&alice), seen(&bob));
    for hidden in ["from_balance", "to_balance", "hash"] {
        assert_eq!(own[hidden], json!(null), "{hidden}");
    }
    assert_eq!((&own["hold"], &got["hold"], &got["to_balance"]), (&id, &json!(null), &json!("6.00")));
    assert_eq!(got["from_balance"], json!(null));
}

#[test]
fn batch_makes_and_captures_holds() {
    let server = server_with_alice();
    let admin = server.admin();
    let items = json!([
        { "op": "hold", "user": "alice", "amount": 10, "key": "a" },
        { "op": "hold", "user": "alice", "amount": 5, "to": "bob", "expires_in_s": 1 },
        { "op": "capture", "hold": 3, "amount": 4, "final": false },
        { "op": "void", "hold": "4" },
        { "op": "capture", "hold": 3, "amount": 7 },
        { "op": "capture" },
    ]);
    let answer = admin.post("/v1/batch", items).is(200);
    let results = answer["results"].as_array().unwrap();
    let codes: Vec<_> = results.iter().map(|result| result["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [201, 201, 200, 200, 409, 400]);
    assert_eq!((&results[0]["hold"]["id"], &results[3]["hold"]["state"]), (&json!(3), &json!("voided")));
    assert_eq!((&results[2]["hold"]["left"], &results[4]["left"]), (&json!("6.00"), &json!("6.00")));
    let atomic = json!([{ "op": "hold", "user": "alice", "amount": 1 }, { "op": "void", "hold": 7 }]);
    let refused = admin.post("/v1/batch?atomic=true", atomic).refuses(404, "hold_not_found");
    assert_eq!(refused["index"], 1);
    assert_eq!(admin.get("/v1/holds?state=open").is(200).rows().len(), 1);
}

#[test]
fn holds_are_listed_by_state_and_user() {
    let server = server_with_alice();
    let admin = server.admin();
    for (user, amount) in [("alice", 1), ("alice", 2), ("alice", 3), ("bob", 1)] {
        hold(&admin, user, json!({ "amount": amount }));
    }
    admin.post("/v1/holds/4/capture", json!({})).is(200);
    admin.post("/v1/holds/5/void", json!({})).is(200);
    let ids = |path: &str| -> Vec<i64> {
        admin.get(path).is(200).rows().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    for (query, found) in [
        ("", vec![6, 5, 4, 3]),
        ("state=open", vec![6, 3]),
        ("state=captured", vec![4]),
        ("state=voided&user=alice", vec![5]),
        ("state=expired", vec![]),
        ("user=alice", vec![5, 4, 3]),
        ("user=carol", vec![]),
    ] {
        assert_eq!(ids(&format!("/v1/holds?{query}")), found, "{query}");
    }
    let first = admin.get("/v1/wallets/alice/holds?limit=2&state=open").is(200);
    assert_eq!((first.rows().len(), &first["next"]), (1, &json!(null)));
    let first = admin.get("/v1/holds?limit=3&user=alice").is(200);
    assert_eq!(first["next"], json!(null));
    let first = admin.get("/v1/holds?limit=3").is(200);
    let next = first.text("next");
    assert_eq!(ids(&format!("/v1/holds?after={next}")), [3]);
    admin.get(&format!("/v1/holds?after={next}&state=open")).refuses(400, "invalid_request");
}

#[test]
fn server_gives_expired_hold_back_by_itself() {
    let server = server_with_alice();
    let admin = server.admin();
    hold(&admin, "alice", json!({ "amount": 20, "expires_in_s": 1 }));
    until(|| admin.balance("alice") == "50.00");
    let hold = admin.get("/v1/holds/3").is(200)["hold"].clone();
    assert_eq!(
        (&hold["state"], &hold["released"], &hold["left"]),
        (&json!("expired"), &json!("20.00"), &json!("0.00"))
    );
    let refused = admin.post("/v1/holds/3/capture", json!({})).refuses(409, "hold_expired");
    assert_eq!(refused["expires_at"], hold["expires_at"]);
    admin.post("/v1/holds/3/void", json!({})).refuses(409, "hold_not_open");
    let metrics = String::from_utf8(admin.get("/metrics").is(200).body).unwrap();
    assert!(metrics.contains("cashbox_holds_settled_total 1"), "{metrics}");
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn entries_of_hold_are_listed_with_its_captures() {
    let server = server_with_alice();
    let (admin, alice, bob) = (server.admin(), server.user("alice"), server.user("bob"));
    hold(&admin, "alice", json!({ "amount": 20, "to": "bob" }));
    admin.post("/v1/holds/3/capture", json!({ "amount": 4, "final": false })).is(200);
    hold(&admin, "alice", json!({ "amount": 1 }));
    admin.post("/v1/holds/3/capture", json!({ "amount": 6 })).is(200);
    let ids = |client: &Client, path: &str| -> Vec<i64> {
        client.get(path).is(200).rows().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    for (client, path) in [(&admin, "/v1/entries?"), (&alice, "/v1/wallets/alice/entries?")] {
        assert_eq!(ids(client, &format!("{path}hold=3")), [7, 6, 4, 3], "{path}");
        assert_eq!(ids(client, &format!("{path}hold=3&order=asc&limit=2")), [3, 4], "{path}");
        assert_eq!(ids(client, &format!("{path}hold=3&kind=capture")), [6, 4], "{path}");
        assert_eq!(ids(client, &format!("{path}hold=5")), [5], "{path}");
    }
    assert_eq!(ids(&admin, "/v1/entries?hold=3&user=bob"), [6, 4]);
    assert!(ids(&admin, "/v1/entries?hold=4000").is_empty());
    let captured = &alice.get("/v1/wallets/alice/entries?hold=3&kind=capture").is(200).json["data"][0];
    for hidden in ["from_balance", "to_balance", "hash"] {
        assert!(captured[hidden].is_null(), "{hidden}");
    }
    // Its receiver does not see the hold.
    for path in ["/v1/wallets/bob/entries?hold=3", "/v1/wallets/bob/entries?hold=4000", "/v1/events?hold=3"] {
        bob.get(path).refuses(404, "hold_not_found");
    }
    for wrong in ["hold=x", "hold=-1", "hold=3&hold=5"] {
        admin.get(&format!("/v1/entries?{wrong}")).refuses(400, "invalid_request");
    }
}

#[test]
fn holds_are_listed_as_files_too() {
    let server = server_with_alice();
    let admin = server.admin();
    for amount in 1..=3 {
        hold(&admin, "alice", json!({ "amount": amount, "reference": "=1+1" }));
    }
    admin.post("/v1/holds/4/void", json!({})).is(200);
    for path in ["/v1/holds", "/v1/wallets/alice/holds"] {
        let rows = admin.get(path).is(200).json["data"].clone();
        let file = |accept: &str, query: &str| {
            let response = admin.ask("GET", &format!("{path}{query}")).header("Accept", accept).send().is(200);
            assert_eq!(response.header("Content-Type").and_then(|kind| kind.split(';').next()), Some(accept));
            (String::from_utf8(response.body.clone()).unwrap(), response.header("Link").is_some())
        };
        let (lines, _) = file("application/x-ndjson", "");
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json!(lines), rows, "{path}");
        let (csv, _) = file("text/csv", "?state=voided");
        assert!(csv.starts_with("id,user_id,to,amount,captured,released,left,state,"), "{csv}");
        assert!(csv.lines().count() == 2 && csv.contains("4,alice,@sales,2.00,0.00,2.00,0.00,voided,"), "{csv}");
        assert!(csv.contains(",'=1+1,"), "{csv}");
        let (page, has_next) = file("text/csv", "?limit=2");
        assert!(page.lines().count() == 3 && has_next, "{page}");
    }
}
