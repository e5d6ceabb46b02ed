//! Over HTTP: locks that rest after their release, one of several locks, and what a refusal says of the queue.

use super::server::{Answer, Client, Server, until};
use serde_json::{Value, json};

fn release(client: &Client, path: &str, token: &str) -> Answer {
    client.ask("DELETE", path).header("Lock-Token", token).send()
}

fn locks(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/v1/locks?{query}")).is(200);
    answer.rows().iter().map(|row| row["id"].clone()).collect()
}

#[test]
fn lock_rests_after_release_until_revoked() {
    let server = Server::start();
    let admin = server.admin();
    let granted = admin.post("/v1/locks/nightly", json!({ "min_hold_ms": 82_800_000, "holder": "h1" })).is(201);
    release(&admin, "/v1/locks/nightly", &granted.text("token")).is(204);
    release(&admin, "/v1/locks/nightly", &granted.text("token")).is(204);
    for asked in [json!({}), json!({ "wait_ms": 60_000, "min_hold_ms": 5 }), json!({ "wait_ms": 1 })] {
        let refused = admin.post("/v1/locks/nightly", asked).refuses(423, "locked");
        assert_eq!((&refused["state"], &refused["holder"]), (&json!("resting"), &json!("h1")));
        assert_eq!(
            (&refused["msg"], &refused["title"]),
            (&json!("the lock rests"), &json!("another client holds the lock"))
        );
        let detail = refused.text("detail");
        let fence = granted["fence"].as_i64().unwrap();
        assert!(detail.starts_with("the lock nightly was released and rests until 20"), "{detail}");
        assert!(detail.ends_with(&format!("ask again then, or end its rest by a revoke of fence {fence}")), "{detail}");
        assert!(refused["free_in_ms"].as_i64().is_some_and(|ms| (82_000_000..=82_800_000).contains(&ms)));
        assert!(refused.header("Retry-After").is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s > 82_000)));
    }
    let shown = admin.get("/v1/locks/nightly").is(200);
    assert_eq!((&shown["state"], &shown["expires_in_ms"]), (&json!("resting"), &json!(0)));
    assert_eq!((locks(&admin, "state=resting"), locks(&admin, "state=held")), (vec![json!("nightly")], vec![]));
    let fence = shown["fence"].as_i64().unwrap();
    admin.get(&format!("/v1/locks/nightly?fence={fence}&wait_ms=20000")).is(200); // that lease has ended
    admin.post("/v1/locks/nightly/revoke", json!({ "fence": fence, "reason": "run it again" })).is(200);
    admin.post("/v1/locks/nightly/revoke", json!({ "fence": fence, "reason": "run it again" })).is(200);
    let again = admin.post("/v1/locks/nightly", json!({ "min_hold_ms": 20 })).is(201).text("token");
    release(&admin, "/v1/locks/nightly", &again).is(204);
    until(|| admin.get("/v1/locks/nightly").json["state"] == "free");
    assert_eq!(admin.get("/v1/locks/nightly").is(200)["holder"], Value::Null);
    assert_eq!(locks(&admin, ""), Vec::<Value>::new());
}

#[test]
fn holder_alone_can_end_rest_at_release() {
    let server = Server::start();
    let admin = server.admin();
    let take = || admin.post("/v1/locks/job", json!({ "min_hold_ms": 60_000 })).is(201).text("token");
    release(&admin, "/v1/locks/job?min_hold_ms=0", &take()).is(204);
    let token = take();
    release(&admin, "/v1/locks/job", &token).is(204);
    release(&admin, "/v1/locks/job?min_hold_ms=0", &token).is(204); // a repeat, which changes nothing
    assert_eq!(admin.get("/v1/locks/job").is(200)["state"], "resting");
    let forged = token.replace(&token[token.len() - 4..], "zzzz");
    release(&admin, "/v1/locks/job?min_hold_ms=0", &forged).refuses(412, "lock_lost");
    for wrong in ["-1", "86400001", "1.5", "x", ""] {
        release(&admin, &format!("/v1/locks/other?min_hold_ms={wrong}"), &token).refuses(400, "invalid_request");
    }
    for wrong in [json!(-1), json!(86_400_001), json!("x"), json!(1.5)] {
        admin.post("/v1/locks/other", json!({ "min_hold_ms": wrong })).refuses(400, "invalid_request");
    }
    let refused = admin.post("/v1/locks/wallet/alice", json!({ "min_hold_ms": 1 })).refuses(400, "invalid_request");
    assert_eq!(refused["field"], "min_hold_ms");
    server.user("alice").post("/v1/locks/wallet/alice", json!({ "min_hold_ms": 1 })).refuses(400, "invalid_request");
    let held = admin.post("/v1/locks/wallet/alice", json!({ "min_hold_ms": 0 })).is(201).text("token");
    release(&admin, "/v1/locks/wallet/alice?min_hold_ms=9", &held).refuses(400, "invalid_request");
    release(&admin, "/v1/locks/wallet/alice", &held).is(204);
    admin.post("/v1/locks", json!({ "ids": ["a", "wallet/bob"], "min_hold_ms": 9 })).refuses(400, "invalid_request");
    let both = admin.post("/v1/locks", json!({ "ids": ["a", "b"], "min_hold_ms": 60_000 })).is(201).text("token");
    release(&admin, "/v1/locks", &both).is(204);
    assert_eq!(locks(&admin, "state=resting"), ["a", "b", "job"]);
}

#[test]
fn one_of_several_locks_is_granted() {
    let server = Server::start();
    let admin = server.admin();
    let any = |more: Value| {
        let mut asked = json!({ "any": ["gpu/2", "gpu/1", "gpu/2"], "ttl_ms": 30_000 });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        admin.post("/v1/locks", asked)
    };
    let first = any(json!({ "holder": "first" })).is(201);
    let second = any(json!({ "secret": "0123456789abcdef" })).is(201);
    assert_eq!((&first["ids"], &second["ids"]), (&json!(["gpu/2"]), &json!(["gpu/1"])));
    assert_eq!(any(json!({ "secret": "0123456789abcdef" })).is(200)["outcome"], "replayed");
    let refused = any(json!({})).refuses(423, "locked");
    assert_eq!((&refused["lock"], &refused["queue"], &refused["place"]), (&json!("gpu/2"), &json!(0), &json!(1)));
    admin.ask("PATCH", "/v1/locks/gpu/1").header("Lock-Token", &second.text("token")).send().is(200);
    admin.ask("PATCH", "/v1/locks").header("Lock-Token", &second.text("token")).send().is(200);
    let waiting = admin.ask("POST", "/v1/locks").json(json!({ "any": ["gpu/1", "gpu/2"], "wait_ms": 20_000 }));
    let stream = waiting.begin();
    until(|| admin.get("/v1/locks/gpu/1").json["queue"] == 1 && admin.get("/v1/locks/gpu/2").json["queue"] == 1);
    release(&admin, "/v1/locks/gpu/2", &first.text("token")).is(204);
    assert_eq!(waiting.read(stream).is(201)["ids"], json!(["gpu/2"]));
    assert_eq!(admin.get("/v1/locks/gpu/1").is(200)["queue"], 0, "it waits for no other");
    release(&admin, "/v1/locks", &second.text("token")).is(204);
    any(json!({ "secret": "0123456789abcdef" })).refuses(412, "lock_lost");
    for wrong in [
        json!({}),
        json!({ "any": [] }),
        json!({ "any": "gpu/1" }),
        json!({ "any": [1] }),
        json!({ "any": [""] }),
        json!({ "any": ["a"], "ids": ["a"] }),
        json!({ "any": (0..17).map(|i| i.to_string()).collect::<Vec<_>>() }),
        json!({ "any": ["a", "wallet/alice"] }),
        json!({ "any": ["a"], "min_hold_ms": 5 }),
        json!({ "any": null }),
    ] {
        admin.post("/v1/locks", wrong).refuses(400, "invalid_request");
    }
    let (jobs, _) = server.mint(json!({ "role": "locker", "prefix": "gpu/" }));
    jobs.post("/v1/locks", json!({ "any": ["gpu/9", "other"] })).refuses(403, "forbidden");
    assert_eq!(jobs.post("/v1/locks", json!({ "any": ["gpu/9"] })).is(201)["ids"], json!(["gpu/9"]));
}

#[test]
fn refusal_and_metrics_say_how_long_queue_has_waited() {
    let server = Server::start();
    let admin = server.admin();
    let metric = || {
        let text = String::from_utf8(admin.get("/metrics").is(200).body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("cashbox_lock_oldest_wait_seconds ")).unwrap();
        line.parse::<f64>().unwrap()
    };
    admin.post("/v1/locks/job", json!({})).is(201);
    let refused = admin.post("/v1/locks/job", json!({})).refuses(423, "locked");
    assert_eq!(
        (&refused["queue"], &refused["place"], &refused["oldest_waited_ms"]),
        (&json!(0), &json!(1), &Value::Null)
    );
    assert_eq!((metric(), &admin.get("/v1/locks/job").is(200)["oldest_waited_ms"]), (0.0, &Value::Null));
    let waiting = admin.ask("POST", "/v1/locks/job").json(json!({ "wait_ms": 20_000 }));
    let stream = waiting.begin();
    until(|| admin.get("/v1/locks/job").json["oldest_waited_ms"].as_i64().is_some_and(|ms| ms >= 20));
    let late = admin.post("/v1/locks/job", json!({ "wait_ms": 30 })).refuses(423, "locked");
    assert_eq!((&late["queue"], &late["place"]), (&json!(1), &json!(2)));
    assert!(late["oldest_waited_ms"].as_i64() >= late["waited_ms"].as_i64() && late["waited_ms"].as_i64() >= Some(30));
    assert!(metric() >= 0.05 && locks(&admin, "") == ["job"]);
    drop(stream);
}
