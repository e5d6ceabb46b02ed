//! Locks and money together, and what a user may do with the one lock that is hers.

use super::server::{Server, until};
use serde_json::json;

#[test]
fn money_under_lock_carries_fence_and_stops_when_lost() {
    let server = Server::start();
    let admin = server.admin();
    server.user_with("alice", "50");
    let grant = admin.post("/v1/locks/wallet/alice", json!({ "holder": "job" })).is(201);
    let withdraw = |token: &str| {
        admin.ask("POST", "/v1/wallets/alice/withdraw").header("Lock-Token", token).form("amount=1").send()
    };
    assert_eq!(withdraw(&grant.text("token")).is(200)["entry"]["fence"], grant["fence"]);
    let other =
        admin.ask("POST", "/v1/wallets/alice/withdraw").header("Prefer", "respond-async, wait=0").form("amount=1");
    let refused = other.send().refuses(423, "locked");
    assert_eq!((&refused["holder"], &refused["lock"]), (&json!("job"), &json!("wallet/alice")));
    assert!(refused.header("Retry-After").is_some());
    let patient = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Prefer", "wait=1").form("amount=1");
    let waited = patient.send().refuses(423, "locked")["waited_ms"].as_u64().unwrap();
    assert!((1_000..5_000).contains(&waited), "{waited}");
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &grant.text("token")).send().is(204);
    for lost in [grant.text("token"), "nonsense".to_owned(), "lk1.other.1.0123456789abcdef".to_owned(), String::new()] {
        withdraw(&lost).refuses(412, "lock_lost");
    }
    assert_eq!(admin.balance("alice"), "49.00", "nothing happened");
    assert_eq!(other.send().is(200)["entry"]["fence"], json!(null));
}

#[test]
fn user_does_not_see_holder_of_other_wallets_lock() {
    let server = Server::start();
    let (admin, alice) = (server.admin(), server.user_with("alice", "50"));
    server.user_with("bob", "50");
    admin.post("/v1/locks/wallet/bob", json!({ "holder": "the auditor's visit" })).is(201);
    let item = json!({ "op": "transfer", "user": "alice", "to": "bob", "amount": 1 });
    let single = alice.ask("POST", "/v1/wallets/alice/transfer").header("Prefer", "wait=0;x=y");
    let refused = single.json(json!({ "to": "bob", "amount": 1 })).send().refuses(423, "locked");
    let atomic =
        alice.ask("POST", "/v1/batch?atomic=true").header("Prefer", "wait=0").json(json!([item.clone()])).send();
    let each = alice.post("/v1/batch", json!([item])).is(200);
    for refusal in [&refused.json, &atomic.refuses(423, "locked").json, &each["results"][0]] {
        assert_eq!(
            (&refusal["error"], &refusal["state"], &refusal["holder"], &refusal["fence"]),
            (&json!("locked"), &json!("held"), &json!(null), &json!(null))
        );
        assert!(!refusal.to_string().contains("visit"), "{refusal}");
    }
    admin.post("/v1/locks/wallet/alice", json!({ "holder": "me" })).is(201);
    let own = alice.ask("POST", "/v1/wallets/alice/withdraw").header("Prefer", "wait=0").form("amount=1").send();
    assert_eq!(own.refuses(423, "locked")["holder"], "me");
}

#[test]
fn repeat_with_unreadable_lock_token_is_answered() {
    let server = Server::start();
    let admin = server.admin();
    server.user_with("alice", "50");
    let grant = admin.post("/v1/locks/job", json!({})).is(201).text("token");
    let ask = |token: &str, key: &str| {
        let asking = admin.ask("POST", "/v1/wallets/alice/withdraw").header("Idempotency-Key", key);
        asking.header("Lock-Token", token).form("amount=1").send()
    };
    ask(&format!("{grant}, "), "k").is(200);
    assert!(ask("junk", "k").is(200).was_replayed());
    ask("junk", "other").refuses(412, "lock_lost");
    ask(&format!("{grant},junk"), "other").refuses(412, "lock_lost");
    assert_eq!(admin.balance("alice"), "49.00");
}

#[test]
fn money_waits_its_turn_behind_lock() {
    let server = Server::start();
    let (admin, alice) = (server.admin(), server.user_with("alice", "50"));
    let token = admin.post("/v1/locks/wallet/alice", json!({})).is(201).text("token");
    let asking = alice.ask("PUT", "/wallet").form("money=20");
    let stream = asking.begin();
    until(|| admin.get("/v1/locks/wallet/alice").is(200)["queue"] == 1);
    let mine = admin.ask("POST", "/v1/wallets/alice/pay").header("Lock-Token", &token).form("amount=40");
    mine.send().is(200);
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &token).send().is(204);
    assert_eq!(asking.read(stream).refuses(402, "insufficient_funds")["balance"], "10.00");
}

#[test]
fn transfer_needs_both_locks_and_takes_several_tokens() {
    let server = Server::start();
    let admin = server.admin();
    for user in ["alice", "bob", "carol"] {
        server.user_with(user, "50");
    }
    let token = |id: &str| admin.post(&format!("/v1/locks/{id}"), json!({})).is(201).text("token");
    let (alice, bob, carol, job) = (token("wallet/alice"), token("wallet/bob"), token("wallet/carol"), token("job"));
    let transfer = admin.ask("POST", "/v1/wallets/alice/transfer").header("Prefer", "wait=0").form("amount=1&to=bob");
    for some in [&alice, &bob, &format!("{alice},{carol}")] {
        transfer.clone().header("Lock-Token", some).send().refuses(423, "locked");
    }
    let fence = |token: &str| json!(token.split('.').nth(2).unwrap().parse::<i64>().unwrap());
    let both = transfer.clone().header("Lock-Token", &format!("{bob}, {alice}")).send().is(200);
    assert_eq!(both["entry"]["fence"], fence(&alice), "the payer's lease comes first");
    let two_lines =
        transfer.clone().header("Lock-Token", &bob).header("Lock-Token", &format!("{job} , {alice}")).send();
    assert_eq!(two_lines.is(200)["entry"]["fence"], fence(&alice));
    transfer.header("Lock-Token", &format!("{bob},{alice},lk1.x.1.0123456789abcdef")).send().refuses(412, "lock_lost");

    admin.post("/v1/wallets/dora/recharge", json!({ "amount": 5 })).is(200);
    let pay = admin.ask("POST", "/v1/wallets/dora/pay").form("amount=1");
    assert_eq!(pay.clone().header("Lock-Token", &job).send().is(200)["entry"]["fence"], fence(&job), "a lock of a job");
    let foreign = pay.clone().header("Lock-Token", &carol).send().is(200);
    assert_eq!(foreign["entry"]["fence"], json!(null), "carol's lease says nothing of dora's money");
    assert_eq!(pay.header("Lock-Token", &format!("{carol},{job}")).send().is(200)["entry"]["fence"], fence(&job));
    let group = admin.post("/v1/locks", json!({ "ids": ["wallet/dora", "wallet/eve"] })).is(201);
    let grouped =
        admin.ask("POST", "/v1/wallets/dora/withdraw").header("Lock-Token", &group.text("token")).form("amount=1");
    assert_eq!(grouped.send().is(200)["entry"]["fence"], group["fence"]);
    assert_eq!((admin.balance("alice"), admin.balance("bob")), ("48.00".to_owned(), "52.00".to_owned()));
    assert_eq!(admin.get("/v1/verify").is(200)["ok"], true);
}

#[test]
fn stale_lease_is_cleared_by_first_money_request() {
    let server = Server::start();
    let admin = server.admin();
    server.user_with("alice", "50");
    let dead = admin.post("/v1/locks/wallet/alice", json!({ "ttl_ms": 1, "grace_ms": 0, "holder": "dead" })).is(201);
    assert_eq!(admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200)["balance"], "49.00");
    assert_eq!(admin.get("/v1/locks/wallet/alice").is(200)["state"], "free");
    let late = admin.ask("POST", "/v1/wallets/alice/pay").header("Lock-Token", &dead.text("token")).form("amount=1");
    assert_eq!(late.send().refuses(412, "lock_lost")["ended"], "taken_over");
    let events = admin.get("/v1/locks/wallet/alice/events").is(200);
    let what: Vec<_> = events.rows().iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["released", "taken_over", "created"]);
}

#[test]
fn user_holds_only_own_wallet_lock_for_a_minute() {
    let server = Server::start();
    let alice = server.user_with("alice", "50");
    for (body, status) in [
        (json!({ "ttl_ms": 60_001 }), 400),
        (json!({ "max_hold_ms": 300_001 }), 400),
        (json!({ "ttl_ms": 60_000, "max_hold_ms": 300_000 }), 201),
    ] {
        assert_eq!(alice.post("/v1/locks/wallet%2Falice", body).status, status);
    }
    let taken = server.admin().get("/v1/locks/wallet/alice").is(200);
    alice.post("/v1/locks/wallet/alice", json!({})).refuses(423, "locked");
    server.admin().post("/v1/locks/wallet/alice/revoke", json!({ "fence": taken["fence"], "delay_ms": 0 })).is(200);
    let token = alice.post("/v1/locks/wallet/alice", json!({})).is(201).text("token");
    let renew = |ttl: i64| {
        alice.ask("PATCH", "/v1/locks/wallet/alice").header("Lock-Token", &token).json(json!({ "ttl_ms": ttl })).send()
    };
    renew(60_001).refuses(400, "invalid_request");
    renew(60_000).is(200);
    assert!(
        alice.ask("PUT", "/wallet").header("Lock-Token", &token).form("money=1").send().is(200)["entry"]["fence"]
            .is_i64()
    );
    alice.post("/v1/locks/wallet/alice/revoke", json!({ "fence": 1 })).refuses(403, "forbidden");
    for id in ["wallet/alic", "wallet/alice/", "wallet//alice", "Wallet/alice", "alice", "wallet%2Fbob"] {
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            let asking = alice.ask(method, &format!("/v1/locks/{id}")).header("Lock-Token", &token);
            asking.send().refuses(403, "forbidden");
        }
    }
    alice.post("/v1/locks", json!({ "ids": ["wallet/alice"] })).refuses(403, "forbidden");
    alice.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &token).send().is(204);
}

#[test]
fn watch_answers_when_lease_ends() {
    let server = Server::start();
    let admin = server.admin();
    let grant = admin.post("/v1/locks/a", json!({})).is(201);
    let watch = |fence: i64, wait: i64| admin.ask("GET", &format!("/v1/locks/a?fence={fence}&wait_ms={wait}"));
    let fence = grant["fence"].as_i64().unwrap();
    assert_eq!(watch(fence, 1).send().is(200)["state"], "held", "its time was over first");
    assert_eq!(watch(fence - 1, 20_000).send().is(200)["fence"], fence, "that lease has ended already");
    let asking = watch(fence, 20_000);
    let stream = asking.begin();
    admin.ask("DELETE", "/v1/locks/a").header("Lock-Token", &grant.text("token")).send().is(204);
    assert_eq!(asking.read(stream).is(200)["state"], "free");
}

#[test]
fn holder_is_served_despite_many_waiters() {
    let server = Server::with(&["--max-connections", "8"]);
    let admin = server.admin();
    let grant = admin.post("/v1/locks/a", json!({})).is(201);
    let watch = admin.ask("GET", &format!("/v1/locks/a?fence={}&wait_ms=20000", grant["fence"]));
    let wait = admin.ask("POST", "/v1/locks/a").json(json!({ "wait_ms": 1 }));
    let mut watching = Vec::new();
    while wait.send().status != 503 {
        watching.push(watch.begin());
        assert!(watching.len() <= 8, "half of 8 may wait, and who watches waits");
    }
    let refused = watch.send().refuses(503, "busy");
    assert_eq!(refused.header("Retry-After"), Some("1"));
    admin.ask("DELETE", "/v1/locks/a").header("Lock-Token", &grant.text("token")).send().is(204);
    assert_eq!(watch.read(watching.remove(0)).is(200)["state"], "free");
    until(|| wait.send().status == 201);
}

#[test]
fn stopping_server_answers_waiters_and_watchers() {
    let mut server = Server::start();
    let admin = server.admin();
    let fence = admin.post("/v1/locks/a", json!({})).is(201)["fence"].clone();
    let watch = admin.ask("GET", &format!("/v1/locks/a?fence={fence}&wait_ms=86400000"));
    let wait = admin.ask("POST", "/v1/locks/a").json(json!({ "wait_ms": 86_400_000 }));
    let (watching, waiting) = (watch.begin(), wait.begin());
    until(|| admin.get("/v1/locks/a").is(200)["queue"] == 1);
    server.terminate();
    watch.read(watching).refuses(503, "busy");
    wait.read(waiting).refuses(503, "busy");
    assert_eq!(server.exit_code(), Some(0));
}
