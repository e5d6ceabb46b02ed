//! `serve --test`: faults and pauses, and the list of what was asked.

use super::server::{Answer, Client, Server, until};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn server() -> (Server, Client) {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": "100" })).is(200);
    (server, admin)
}

fn fault(admin: &Client, action: Value) -> Answer {
    admin.post("/test/faults", json!({ "match": { "method": "POST" }, "do": action })).is(201)
}

fn withdraw(admin: &Client, key: &str) -> Answer {
    admin.post_once(key, "/v1/wallets/alice/withdraw", json!({ "amount": "1" }))
}

/// The bytes that come before the connection is closed.
fn answer_of_closed(admin: &Client, key: &str) -> Vec<u8> {
    let asking = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Idempotency-Key", key);
    let mut stream = asking.json(json!({ "amount": "1" })).begin();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn dropped_answer_is_found_again_under_its_key() {
    let (_server, admin) = server();
    fault(&admin, json!("drop_before"));
    assert_eq!(answer_of_closed(&admin, "before"), b"");
    assert_eq!(admin.balance("alice"), "100.00");
    fault(&admin, json!("drop_after"));
    assert_eq!(answer_of_closed(&admin, "after"), b"");
    assert_eq!(admin.balance("alice"), "99.00");
    assert!(!withdraw(&admin, "before").is(200).was_replayed());
    assert!(withdraw(&admin, "after").is(200).was_replayed());
    assert_eq!(admin.balance("alice"), "98.00");
}

#[test]
fn full_disk_and_unknown_outcome_are_answered_as_true_ones() {
    let (_server, admin) = server();
    fault(&admin, json!("storage_full"));
    withdraw(&admin, "full").refuses(503, "storage_full");
    assert_eq!(admin.get("/healthz").is(200)["status"], "degraded");
    assert_eq!(admin.balance("alice"), "100.00");
    assert!(!withdraw(&admin, "full").is(200).was_replayed());
    assert_eq!(admin.get("/healthz").is(200)["status"], "ok");
    fault(&admin, json!("outcome_unknown"));
    withdraw(&admin, "unknown").refuses(500, "outcome_unknown");
    assert_eq!(admin.balance("alice"), "98.00");
    assert!(withdraw(&admin, "unknown").is(200).was_replayed());
    assert_eq!(admin.get("/v1/verify").is(200)["findings"], json!([]));
}

#[test]
fn fault_hits_its_requests_and_no_others() {
    let (_server, admin) = server();
    let wanted = json!({ "method": "post", "path": "/v1/wallets/alice/*", "user": "alice", "key": "k", "nth": 2 });
    let planned = json!({ "match": wanted, "times": 2, "do": { "status": "busy" } });
    assert_eq!(admin.post("/test/faults", planned).is(201)["fault"]["state"], "unused");
    withdraw(&admin, "other").is(200);
    withdraw(&admin, "k").is(200);
    admin.get("/v1/wallets/alice").is(200);
    withdraw(&admin, "k").refuses(503, "busy");
    withdraw(&admin, "k").refuses(503, "busy");
    withdraw(&admin, "k").is(200);
    admin.post("/test/faults", json!({ "match": { "path": "/v1/wallets/not-asked" }, "do": "crash" })).is(201);
    let faults = admin.get("/test/faults").is(200);
    let [used, unused] = &faults.rows()[..] else { panic!("{}", faults.json) };
    assert_eq!((&used["state"], &used["left"], &unused["state"]), (&json!("used_up"), &json!(0), &json!("unused")));
    let hits: Vec<_> = used["hits"].as_array().unwrap().iter().map(|hit| (&hit["request"], &hit["done"])).collect();
    assert_eq!(hits, [(&json!(5), &json!(true)), (&json!(6), &json!(true))]);
    admin.ask("DELETE", "/test/faults").send().is(204);
    assert!(admin.get("/test/faults").is(200).rows().is_empty());
}

#[test]
fn fault_of_the_commit_that_is_not_reached_is_not_done() {
    let (_server, admin) = server();
    fault(&admin, json!("storage_full"));
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": "none" })).refuses(400, "invalid_amount");
    assert_eq!(admin.get("/test/faults").is(200).rows()[0]["hits"][0]["done"], false);
}

#[test]
fn crash_ends_the_process_on_either_side_of_the_commit() {
    for (point, balance, replayed) in [("before_commit", "100.00", false), ("after_commit", "99.00", true)] {
        let (mut server, admin) = server();
        fault(&admin, json!({ "crash": point }));
        assert_eq!(answer_of_closed(&admin, "k"), b"");
        assert_eq!(server.exit_code(), None, "it was killed by a signal");
        let server = server.killed_and_started_again();
        let admin = server.admin();
        assert_eq!(admin.balance("alice"), balance);
        assert_eq!(withdraw(&admin, "k").is(200).was_replayed(), replayed);
        assert_eq!(admin.balance("alice"), "99.00");
    }
}

#[test]
fn wrong_faults_and_pauses_are_refused_by_field() {
    let (_server, admin) = server();
    for (body, word) in [
        (json!({}), "do"),
        (json!({ "do": "explode" }), "drop_after"),
        (json!({ "do": { "delay_ms": 60_001 } }), "delay_ms"),
        (json!({ "do": { "status": "no_such_error" } }), "status"),
        (json!({ "do": "crash", "times": 0 }), "times"),
        (json!({ "do": "crash", "match": { "verb": "POST" } }), "verb"),
        (json!({ "do": "crash", "match": { "path": "v1" } }), "path"),
        (json!({ "do": "crash", "match": { "path": "/healthz" } }), "never matched"),
        (json!({ "do": "crash", "match": { "nth": 0 } }), "nth"),
        (json!({ "do": "crash", "match": ["POST"] }), "an object"),
        (json!({ "do": "crash", "when": "now" }), "when"),
    ] {
        let refused = admin.post("/test/faults", body).refuses(400, "invalid_request");
        assert!(refused.text("detail").contains(word), "{}", refused.text("detail"));
    }
    for (body, word) in [
        (json!({}), "before_commit"),
        (json!({ "at": "noon" }), "before_commit"),
        (json!({ "at": "arrival", "longest_ms": 60_001 }), "longest_ms"),
    ] {
        let refused = admin.post("/test/pauses", body).refuses(400, "invalid_request");
        assert!(refused.text("detail").contains(word), "{}", refused.text("detail"));
    }
    admin.get("/test/pauses/99").refuses(404, "not_found");
    admin.post("/test/pauses/99/release", json!({})).refuses(404, "not_found");
    admin.get("/test/pauses/first").refuses(400, "invalid_request");
}

/// Plans a pause for a key, sends that withdrawal from another thread, and returns when it stands there.
fn paused(admin: &Client, at: &str, key: &str) -> (u64, Receiver<Answer>) {
    let pause = admin.post("/test/pauses", json!({ "match": { "key": key }, "at": at })).is(201);
    assert_eq!((&pause["pause"]["state"], &pause["pause"]["longest_ms"]), (&json!("armed"), &json!(60_000)));
    let (done, answer) = channel();
    let (client, key) = (admin.clone(), key.to_owned());
    std::thread::spawn(move || _ = done.send(withdraw(&client, &key)));
    let id = pause["pause"]["id"].as_u64().unwrap();
    let there = admin.get(&format!("/test/pauses/{id}?wait_ms=20000")).is(200);
    assert_eq!(there["pause"]["state"], "paused");
    assert!(there["pause"]["ends_in_ms"].as_u64().is_some_and(|left| left <= 60_000));
    (id, answer)
}

fn release(admin: &Client, id: u64) {
    assert_eq!(admin.post(&format!("/test/pauses/{id}/release"), json!({})).is(200)["pause"]["state"], "released");
}

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn request_paused_at_arrival_is_overtaken() {
    let (_server, admin) = server();
    let (id, slow) = paused(&admin, "arrival", "slow");
    assert_eq!(withdraw(&admin, "fast").is(200)["balance"], "99.00");
    release(&admin, id);
    assert_eq!(slow.recv().unwrap().is(200)["balance"], "98.00");
}

#[test]
fn request_paused_before_commit_holds_up_changes_only() {
    let (_server, admin) = server();
    let (id, first) = paused(&admin, "before_commit", "first");
    assert_eq!(admin.balance("alice"), "100.00", "it is read as before");
    let (done, second) = channel();
    let client = admin.clone();
    std::thread::spawn(move || _ = done.send(withdraw(&client, "second")));
    assert!(second.recv_timeout(SHORT).is_err(), "it waits");
    release(&admin, id);
    assert_eq!(first.recv().unwrap().is(200)["balance"], "99.00");
    assert_eq!(second.recv().unwrap().is(200)["balance"], "98.00");
}

#[test]
fn request_paused_after_commit_has_happened() {
    let (_server, admin) = server();
    let (id, first) = paused(&admin, "after_commit", "first");
    assert_eq!(admin.balance("alice"), "99.00");
    assert!(withdraw(&admin, "first").is(200).was_replayed(), "the double click gets the answer");
    assert!(first.recv_timeout(SHORT).is_err());
    release(&admin, id);
    assert!(!first.recv().unwrap().is(200).was_replayed());
    assert_eq!(admin.balance("alice"), "99.00");
}

#[test]
fn snapshot_of_a_paused_request_is_refused() {
    let (_server, admin) = server();
    for at in ["arrival", "before_commit", "after_commit"] {
        let (id, answer) = paused(&admin, at, at);
        admin.put("/test/snapshots/a", json!({})).refuses(409, "paused");
        release(&admin, id);
        answer.recv().unwrap().is(200);
    }
    admin.put("/test/snapshots/a", json!({})).is(201);
}

#[test]
fn pause_ends_by_itself_and_without_its_client() {
    let (_server, admin) = server();
    let plan = |body: Value| admin.post("/test/pauses", body).is(201)["pause"]["id"].as_u64().unwrap();
    let state = |id| admin.get(&format!("/test/pauses/{id}")).is(200)["pause"]["state"].clone();
    let short = plan(json!({ "at": "before_commit", "longest_ms": 50, "match": { "key": "a" } }));
    withdraw(&admin, "a").is(200);
    assert_eq!(state(short), "timed_out");
    let left = plan(json!({ "at": "arrival", "match": { "key": "b" } }));
    let asking = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Idempotency-Key", "b");
    drop(asking.json(json!({ "amount": "1" })).begin());
    until(|| state(left) == "paused");
    release(&admin, left);
    until(|| admin.balance("alice") == "98.00");
    let missed = plan(json!({ "at": "before_commit", "match": { "path": "/v1/wallets/alice" } }));
    admin.get("/v1/wallets/alice").is(200);
    assert_eq!(state(missed), "missed");
    let unused = plan(json!({ "at": "arrival", "match": { "key": "never" } }));
    release(&admin, unused);
    withdraw(&admin, "never").is(200);
}

#[test]
fn two_pauses_of_one_point_stop_two_requests() {
    let (_server, admin) = server();
    let both = json!({ "at": "arrival", "match": { "method": "POST" } });
    let ids = [0, 1].map(|_| admin.post("/test/pauses", both.clone()).is(201)["pause"]["id"].as_u64().unwrap());
    let after = admin.post("/test/pauses", json!({ "at": "after_commit", "match": { "key": "k0" } })).is(201);
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let client = admin.clone();
            let thread = std::thread::spawn(move || withdraw(&client, &format!("k{number}")).is(200));
            let there = admin.get(&format!("/test/pauses/{}?wait_ms=20000", ids[number])).is(200);
            assert_eq!(there["pause"]["state"], "paused");
            thread
        })
        .collect();
    ids.iter().for_each(|id| release(&admin, *id));
    let after = after["pause"]["id"].as_u64().unwrap();
    assert_eq!(admin.get(&format!("/test/pauses/{after}?wait_ms=20000")).is(200)["pause"]["state"], "paused");
    admin.ask("DELETE", "/test/pauses").send().is(204);
    threads.into_iter().for_each(|thread| _ = thread.join().unwrap());
    assert_eq!(admin.balance("alice"), "98.00");
}

#[test]
fn reset_ends_a_paused_request_without_its_effect() {
    let (_server, admin) = server();
    let (_, answer) = paused(&admin, "arrival", "late");
    admin.post("/test/reset", json!({})).is(200);
    answer.recv().unwrap().refuses(503, "busy");
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
    assert!(admin.get("/test/pauses").is(200).rows().is_empty());
}

#[test]
fn server_stops_while_a_request_is_paused() {
    let (mut server, admin) = server();
    let (_, answer) = paused(&admin, "before_commit", "late");
    server.terminate();
    assert_eq!(server.exit_code(), Some(0));
    answer.recv().unwrap().is(200);
}

#[test]
fn requests_are_listed_with_their_answers() {
    let (_server, admin) = server();
    fault(&admin, json!("drop_after"));
    assert_eq!(answer_of_closed(&admin, "k"), b"");
    admin.get("/v1/wallets?prefix=al").is(200);
    admin.get("/healthz").is(200);
    admin.get("/v1/nothing").refuses(404, "not_found");
    let listed = admin.get("/test/requests").is(200);
    let [recharge, dropped, list, nothing] = &listed.rows()[..] else { panic!("{}", listed.json) };
    assert_eq!(
        (&recharge["status"], &recharge["user"], &recharge["key"]),
        (&json!(200), &json!("alice"), &Value::Null)
    );
    assert_eq!(recharge["body"], json!({ "amount": "100" }).to_string());
    assert!(recharge["answer"].as_str().unwrap().contains("\"balance\":\"100.00\""));
    let facts = ["number", "key", "status", "dropped", "fault"].map(|name| dropped[name].clone());
    assert_eq!(facts, [json!(2), json!("k"), Value::Null, json!(true), json!(1)]);
    assert_eq!((&list["path"], &list["query"]), (&json!("/v1/wallets"), &json!("prefix=al")));
    assert_eq!(nothing["status"], 404);
    admin.ask("DELETE", "/test/requests").send().is(204);
    assert!(admin.get("/test/requests").is(200).rows().is_empty());
}

#[test]
fn each_pause_counts_the_requests_that_match_it() {
    let (_server, admin) = server();
    let plan = |nth: u32| {
        let wanted =
            json!({ "at": "after_commit", "longest_ms": 1, "match": { "path": "/v1/wallets/alice/*", "nth": nth } });
        admin.post("/test/pauses", wanted).is(201)["pause"]["id"].as_u64().unwrap()
    };
    let ids = [plan(1), plan(2), plan(1), plan(4)];
    (0..4).for_each(|n| _ = withdraw(&admin, &format!("k{n}")).is(200));
    let requests: Vec<Value> =
        ids.map(|id| admin.get(&format!("/test/pauses/{id}")).is(200)["pause"]["request"].clone()).into();
    assert_eq!(requests, [json!(2), json!(3), json!(4), json!(5)], "the first was the recharge");
}

#[test]
fn clock_waits_for_no_transaction_that_stands_still() {
    let (_server, admin) = server();
    let (id, answer) = paused(&admin, "before_commit", "slow");
    admin.post("/test/clock", json!({ "advance_ms": 1 })).refuses(409, "paused");
    admin.post("/test/seed", json!([])).refuses(409, "paused");
    release(&admin, id);
    answer.recv().unwrap().is(200);
    for at in ["arrival", "after_commit"] {
        let (id, answer) = paused(&admin, at, at);
        admin.post("/test/clock", json!({ "advance_ms": 1 })).is(200);
        release(&admin, id);
        answer.recv().unwrap().is(200);
    }
}

#[test]
fn delayed_request_ends_with_its_contents_or_server() {
    for ends_by_reset in [true, false] {
        let (mut server, admin) = server();
        fault(&admin, json!({ "delay_ms": 60_000 }));
        let asking = admin.ask("POST", "/v1/wallets/alice/withdraw").json(json!({ "amount": "1" }));
        let stream = asking.begin();
        until(|| admin.get("/test/faults").is(200).rows()[0]["state"] == "used_up");
        let begun = std::time::Instant::now();
        if ends_by_reset {
            admin.post("/test/reset", json!({})).is(200);
            asking.read(stream).refuses(503, "busy");
        } else {
            server.terminate();
            assert_eq!(server.exit_code(), Some(0));
            asking.read(stream).is(200);
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn fault_of_many_requests_lists_the_newest() {
    let (_server, admin) = server();
    let planned = json!({ "do": { "status": "busy" }, "times": 1_100, "match": { "method": "GET" } });
    admin.post("/test/faults", planned).is(201);
    (0..1_050).for_each(|_| _ = admin.get("/v1/wallets/alice").refuses(503, "busy"));
    let faults = admin.get("/test/faults").is(200);
    let fault = &faults.rows()[0];
    let hits = fault["hits"].as_array().unwrap();
    assert_eq!((hits.len(), &fault["left"], &fault["state"]), (1_000, &json!(50), &json!("used")));
    assert_eq!(hits[999]["request"], 1_051);
}
