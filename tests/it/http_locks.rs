//! Locks over HTTP: granted, waited for, lost.

use super::server::{Answer, Client, Server, fields, until};
use serde_json::{Value, json};
use std::net::TcpStream;

fn with(client: &Client, method: &str, path: &str, token: &str) -> Answer {
    client.ask(method, path).header("Lock-Token", token).send()
}

/// A waiting request, which stands in the queue once this returns.
fn waiting(client: &Client, id: &str, holder: &str) -> TcpStream {
    let queue = || client.get(&format!("/v1/locks/{id}")).is(200)["queue"].as_u64().unwrap();
    let before = queue();
    let stream =
        client.ask("POST", &format!("/v1/locks/{id}")).json(json!({ "wait_ms": 20_000, "holder": holder })).begin();
    until(|| queue() > before);
    stream
}

fn granted(client: &Client, stream: TcpStream) -> Answer {
    client.ask("POST", "/v1/locks/x").read(stream).is(201)
}

#[test]
fn list_in_form_may_be_repeated() {
    let server = Server::start();
    let admin = server.admin();
    let acquire = |form: &str| admin.ask("POST", "/v1/locks").form(form).send();
    let granted = acquire("ids=a%2F1&ttl_ms=60000&ids=b").is(201);
    assert_eq!(granted["ids"], json!(["a/1", "b"]));
    assert_eq!(acquire("ids=c").is(201)["ids"], json!(["c"]));
    assert_eq!(acquire("ids=%5B%22d%22,%22e%22%5D").is(201)["ids"], json!(["d", "e"]), "JSON, as before");
    acquire("ids=f&ttl_ms=60000&ttl_ms=60000").refuses(400, "invalid_request");
    let tiers = "tiers=%7B%22from%22:%221.00%22%7D&tiers=%7B%22from%22:%222.00%22%7D";
    assert_eq!(admin.ask("PUT", "/v1/tiers").form(tiers).send().is(200).rows().len(), 2);
}

#[test]
fn free_lock_is_granted_and_released() {
    let server = Server::start();
    let admin = server.admin();
    let free = admin.get("/v1/locks/nightly").is(200);
    assert_eq!((&free["state"], &free["holder"], &free["queue"]), (&json!("free"), &json!(null), &json!(0)));
    let grant = admin.post("/v1/locks/nightly", json!({ "holder": "job 7" })).is(201);
    assert_eq!(grant.header("Lock-Token"), grant["token"].as_str());
    assert_eq!(
        (&grant["id"], &grant["outcome"], &grant["previous"]),
        (&json!("nightly"), &json!("created"), &json!(null))
    );
    assert!(grant["fence"].is_i64() && grant["expires_in_ms"] == 60_000);
    let token = grant.text("token");
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!((parts.len(), parts[0], parts[2]), (4, "lk1", grant["fence"].to_string().as_str()));
    assert!((16..=64).contains(&parts[3].len()));

    let held = admin.get("/v1/locks/nightly").is(200);
    for field in ["state", "holder", "fence", "create_time", "created_at", "expires_in_ms", "renewals", "queue"] {
        assert!(!held[field].is_null(), "{field}");
    }
    assert_eq!((&held["state"], &held["holder"], &held["fence"]), (&json!("held"), &json!("job 7"), &grant["fence"]));
    let renewed = with(&admin, "PATCH", "/v1/locks/nightly", &token).is(200);
    assert_eq!((&renewed["late"], &renewed["expires_in_ms"]), (&json!(false), &json!(60_000)));
    let shorter = admin.ask("PATCH", "/v1/locks/nightly").header("Lock-Token", &token).json(json!({ "ttl_ms": 5_000 }));
    assert_eq!(shorter.send().is(200)["expires_in_ms"], 5_000);
    assert_eq!(admin.get("/v1/locks/nightly").is(200)["renewals"], 2);
    for _ in 0..2 {
        let released = with(&admin, "DELETE", "/v1/locks/nightly", &token).is(204);
        assert!(released.body.is_empty());
    }
    assert_eq!(admin.get("/v1/locks/nightly").is(200)["state"], "free");
    let events = admin.get("/v1/locks/nightly/events").is(200);
    let what: Vec<&str> = events.rows().iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["released", "created"], "newest first");
    let next = admin.post("/v1/locks/nightly", json!({})).is(201);
    assert!(next["fence"].as_i64() > grant["fence"].as_i64(), "a fence never comes again");
    with(&admin, "DELETE", "/v1/locks/nightly", &token).is(204);
    assert_eq!(
        admin.get("/v1/locks/nightly").is(200)["fence"],
        next["fence"],
        "a late repeat does not free another client's"
    );
}

#[test]
fn held_lock_refusal_names_holder_and_time() {
    let server = Server::start();
    let admin = server.admin();
    let grant = admin.post("/v1/locks/a", json!({ "holder": "first", "ttl_ms": 30_000, "grace_ms": 1_500 })).is(201);
    let refused = admin.post("/v1/locks/a", json!({ "wait_ms": 1 })).refuses(423, "locked");
    for field in ["holder", "fence", "state", "expires_in_ms", "queue", "waited_ms"] {
        assert!(!refused[field].is_null(), "{field} in {}", refused.json);
    }
    assert_eq!(
        (&refused["holder"], &refused["fence"], &refused["state"]),
        (&json!("first"), &grant["fence"], &json!("held"))
    );
    let retry: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((25..=32).contains(&retry), "{retry}");
    assert_eq!(admin.post("/v1/locks/a", json!({})).refuses(423, "locked")["waited_ms"], 0);
}

#[test]
fn lost_token_is_refused_with_reason() {
    let server = Server::start();
    let admin = server.admin();
    let get = |body: Value| admin.post("/v1/locks/a", body).is(201);
    let lost = |method: &str, token: &str, ended: &str| {
        let refused = with(&admin, method, "/v1/locks/a", token).refuses(412, "lock_lost");
        assert_eq!(
            (&refused["ended"], &refused["fence_given"]),
            (&json!(ended), &json!(token.split('.').nth(2).unwrap().parse::<i64>().unwrap()))
        );
        assert!(refused["at"].is_string(), "{}", refused.json);
        refused["fence_now"].clone()
    };
    let first = get(json!({ "ttl_ms": 1, "grace_ms": 0, "holder": "first" }));
    let second = admin.post("/v1/locks/a", json!({ "wait_ms": 20_000 })).is(201);
    assert_eq!(
        (&second["outcome"], &second["previous"]),
        (&json!("taken_over"), &json!({ "fence": first["fence"], "holder": "first" }))
    );
    for method in ["PATCH", "DELETE"] {
        assert_eq!(lost(method, &first.text("token"), "taken_over"), second["fence"]);
    }
    with(&admin, "DELETE", "/v1/locks/a", &second.text("token")).is(204);
    assert_eq!(lost("PATCH", &second.text("token"), "released"), json!(null));
    let third = get(json!({}));
    admin.post("/v1/locks/a/revoke", json!({ "fence": third["fence"], "delay_ms": 0, "reason": "stuck" })).is(200);
    lost("PATCH", &third.text("token"), "revoked");
    lost("DELETE", &third.text("token"), "revoked");
    let fourth = get(json!({}));
    let of_fourth = fourth.text("token");
    for wrong in [
        "",
        "x",
        "lk1.a.b.c",
        &of_fourth.replace("lk1", "lk2"),
        &format!("{of_fourth}x"),
        &of_fourth.replacen('.', ".0", 1),
        &of_fourth.replace(&format!(".{}.", fourth["fence"]), &format!(".000{}.", fourth["fence"])),
    ] {
        for method in ["PATCH", "DELETE"] {
            with(&admin, method, "/v1/locks/a", wrong).refuses(412, "lock_lost");
        }
    }
    with(&admin, "DELETE", "/v1/locks/b", &of_fourth).refuses(412, "lock_lost");
    with(&admin, "DELETE", "/v1/locks/a", &format!("{of_fourth}, {of_fourth}")).refuses(400, "invalid_request");
    for (method, path) in
        [("DELETE", "/v1/locks/a"), ("PATCH", "/v1/locks/a"), ("DELETE", "/v1/locks"), ("PATCH", "/v1/locks")]
    {
        admin.ask(method, path).send().refuses(428, "lock_token_missing");
    }
    with(&admin, "DELETE", "/v1/locks/a", &of_fourth).is(204);
}

#[test]
fn revoke_ends_only_the_fence_named() {
    let server = Server::start();
    let admin = server.admin();
    let revoke = |body: Value| admin.post("/v1/locks/a/revoke", body);
    revoke(json!({ "fence": 1 })).refuses(404, "lock_not_found");
    let grant = admin.post("/v1/locks/a", json!({})).is(201);
    let fence = grant["fence"].as_i64().unwrap();
    for bad in [
        json!({}),
        json!({ "fence": -1 }),
        json!({ "fence": 1.5 }),
        json!({ "fence": fence, "delay_ms": 86_400_001 }),
        json!({ "fence": fence, "reason": "x\u{0}" }),
    ] {
        revoke(bad).refuses(400, "invalid_request");
    }
    assert_eq!(revoke(json!({ "fence": fence - 1 })).refuses(409, "lock_changed")["fence"], fence);
    let revoked = revoke(json!({ "fence": fence, "reason": "stuck" })).is(200);
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(admin.get("/v1/locks/a").is(200)["state"], "revoked");
    let refused = admin.post("/v1/locks/a", json!({})).refuses(423, "locked");
    assert_eq!(refused["state"], "revoked", "there is a delay: {}", refused.json);
    let again = revoke(json!({ "fence": fence })).refuses(409, "lock_changed");
    assert!(again["fence"].as_i64().unwrap() > fence);
    let event = admin.get("/v1/locks/a/events?limit=1").is(200).rows()[0].clone();
    assert_eq!(
        (&event["what"], &event["previous_fence"], &event["reason"]),
        (&json!("revoked"), &json!(fence), &json!("stuck"))
    );
}

#[test]
fn waiters_are_granted_in_turn_and_closed_ones_skipped() {
    let server = Server::start();
    let admin = server.admin();
    let mut token = admin.post("/v1/locks/a", json!({ "holder": "zero" })).is(201).text("token");
    let mut waiters: Vec<(&str, TcpStream)> =
        ["one", "gone", "two", "three"].map(|name| (name, waiting(&admin, "a", name))).into();
    drop(waiters.remove(1));
    for (name, stream) in waiters {
        with(&admin, "DELETE", "/v1/locks/a", &token).is(204);
        let grant = granted(&admin, stream);
        assert_eq!((&grant["outcome"], &grant["expires_in_ms"]), (&json!("created"), &json!(60_000)), "a whole lease");
        assert_eq!(admin.get("/v1/locks/a").is(200)["holder"], name);
        token = grant.text("token");
    }
    let events = admin.get("/v1/locks/a/events").is(200);
    assert!(events.rows().iter().all(|event| event["holder"] != "gone"), "{}", events.json);
    assert_eq!(events.rows().len(), 7);
}

#[test]
fn lease_in_grace_serves_only_its_holder() {
    let server = Server::start();
    let admin = server.admin();
    server.user_with("alice", "50");
    let token = admin.post("/v1/locks/wallet/alice", json!({ "ttl_ms": 1, "grace_ms": 60_000 })).is(201).text("token");
    until(|| admin.get("/v1/locks/wallet/alice").is(200)["state"] == "grace");
    assert_eq!(admin.post("/v1/locks/wallet/alice", json!({})).refuses(423, "locked")["state"], "grace");
    let pay = admin.ask("POST", "/v1/wallets/alice/pay").form("amount=1");
    pay.clone().header("Prefer", "wait=0").send().refuses(423, "locked");
    assert!(pay.header("Lock-Token", &token).send().is(200)["entry"]["fence"].is_i64());
    assert_eq!(with(&admin, "PATCH", "/v1/locks/wallet/alice", &token).is(200)["late"], true);
    let most = admin.post("/v1/locks/b", json!({ "max_hold_ms": 1 })).is(201).text("token");
    until(|| with(&admin, "PATCH", "/v1/locks/b", &most).status == 409);
    with(&admin, "PATCH", "/v1/locks/b", &most).refuses(409, "max_hold");
}

#[test]
fn same_secret_gets_same_grant() {
    let server = Server::start();
    let admin = server.admin();
    let ask = |secret: &str| admin.post("/v1/locks/a", json!({ "secret": secret }));
    for bad in ["", "0123456789abcde", &"x".repeat(65), "0123456789abcde.", "0123456789 abcdef", "0123456789abcdeé"] {
        ask(bad).refuses(400, "invalid_request");
    }
    let secret = "0123456789_-ABCdef";
    let (first, again) = (ask(secret).is(201), ask(secret).is(200));
    assert_eq!((&first["token"], &first["fence"]), (&again["token"], &again["fence"]));
    assert_eq!((&again["outcome"], again.header("Lock-Token")), (&json!("replayed"), first["token"].as_str()));
    ask("another-secret-of-16").refuses(423, "locked");
    let texts = ["/v1/locks", "/v1/locks/a", "/v1/locks/a/events", "/metrics", "/healthz", "/v1/locks/b"]
        .map(|path| admin.get(path).body);
    let refused = ask("another-secret-of-16").body;
    for text in texts.into_iter().chain([refused]) {
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains(secret) && !text.contains("secret"), "a secret is shown: {text}");
    }
    with(&admin, "DELETE", "/v1/locks/a", &first.text("token")).is(204);
    ask(secret).refuses(412, "lock_lost");
    assert_eq!(admin.post("/v1/locks/b", json!({ "secret": secret })).is(201)["outcome"], "created");
}

#[test]
fn lock_id_is_any_text_of_1_to_255_bytes() {
    let server = Server::start();
    let admin = server.admin();
    for (path, id) in [
        ("a/b", "a/b"),
        ("A%2Fb", "A/b"),
        ("%E9%94%81", "锁"),
        ("a%20b%25%3F", "a b%?"),
        ("revoke", "revoke"),
        ("a%2Frevoke", "a/revoke"),
        ("a%2Fevents", "a/events"),
        ("/a", "/a"),
        ("a//b", "a//b"),
        ("..", ".."),
        ("a+b", "a+b"),
        (&"x".repeat(255), &"x".repeat(255)),
        ("case", "case"),
        ("CASE", "CASE"),
    ] {
        assert_eq!(admin.post(&format!("/v1/locks/{path}"), json!({})).is(201)["id"], id);
        assert_eq!(admin.get(&format!("/v1/locks/{path}")).is(200)["state"], "held", "{path}");
    }
    assert_eq!(admin.get("/v1/locks/A/b").is(200)["state"], "held", "a slash is a slash");
    assert_eq!(admin.get("/v1/locks?prefix=a/").is(200).rows().len(), 4);
    assert_eq!(admin.get("/v1/locks?prefix=%E9%94%81&state=held").is(200).rows().len(), 1);
    admin.get("/v1/locks?prefix=%E9%94").refuses(400, "invalid_request");
    assert_eq!(admin.get("/v1/locks?state=stale").is(200).rows().len(), 0);
    admin.get("/v1/locks?state=free").refuses(400, "invalid_request");
    admin.post("/v1/locks/", json!({})).refuses(404, "not_found");
    for bad in ["a%00b", "%0A", "%FF", &"x".repeat(256), &"%E9%94%81".repeat(86), "a%C2%85"] {
        admin.post(&format!("/v1/locks/{bad}"), json!({})).refuses(400, "invalid_request");
    }
    admin.ask("GET", "/v1/locks/é").send().refuses(400, "invalid_request");
}

#[test]
fn duration_is_whole_milliseconds_up_to_a_day() {
    let server = Server::start();
    let admin = server.admin();
    let bad = [
        "-1",
        "1.5",
        "1e3",
        "\"x\"",
        "\"\"",
        "\" 5\"",
        "86400001",
        "9223372036854775808",
        "99999999999999999999",
        "true",
        "[]",
    ];
    for field in ["ttl_ms", "wait_ms", "grace_ms", "max_hold_ms"] {
        for value in bad {
            let asking = admin.ask("POST", "/v1/locks/a").json(format!("{{\"{field}\":{value}}}"));
            assert_eq!(asking.send().refuses(400, "invalid_request")["field"], field, "{value}");
        }
    }
    for field in ["ttl_ms", "max_hold_ms"] {
        let mut body = json!({});
        body[field] = json!(0);
        admin.post("/v1/locks/a", body).refuses(400, "invalid_request");
    }
    assert_eq!(admin.get("/v1/locks/a").is(200)["state"], "free");
    let most = json!({ "ttl_ms": 86_400_000, "wait_ms": 0, "grace_ms": 0, "max_hold_ms": 86_400_000 });
    let grant = admin.post("/v1/locks/a", most).is(201);
    assert_eq!(grant["expires_in_ms"], 86_400_000);
    let renew = admin.ask("PATCH", "/v1/locks/a").header("Lock-Token", &grant.text("token"));
    for value in ["0", "-1", "1.5", "86400001"] {
        renew.clone().json(format!("{{\"ttl_ms\":{value}}}")).send().refuses(400, "invalid_request");
    }
    assert_eq!(admin.ask("POST", "/v1/locks/b").form("ttl_ms=1000&holder=x").send().is(201)["expires_in_ms"], 1_000);
    admin.post("/v1/locks/c", json!({ "ttl": 5 })).refuses(400, "invalid_request");
    admin.post("/v1/locks/c", json!({ "holder": "x".repeat(256) })).refuses(400, "invalid_request");
    admin.get("/v1/locks/c?fence=1&wait_ms=-1").refuses(400, "invalid_request");
}

#[test]
fn several_locks_are_granted_together_or_none() {
    let server = Server::start();
    let admin = server.admin();
    let state = |id: &str| admin.get(&format!("/v1/locks/{id}")).is(200)["state"].clone();
    let group = admin.post("/v1/locks", json!({ "ids": ["b", "a", "b", "c/d"] })).is(201);
    assert_eq!(group["ids"], json!(["a", "b", "c/d"]));
    assert_eq!(fields(&group.json)[..5], ["code", "msg", "ids", "token", "fence"]);
    let fence = |id: &str| admin.get(&format!("/v1/locks/{id}")).is(200)["fence"].clone();
    assert!(["a", "b", "c/d"].iter().all(|id| fence(id) == group["fence"]));
    admin.post("/v1/locks", json!({ "ids": ["0", "b", "z"] })).refuses(423, "locked");
    assert_eq!((state("0"), state("z")), (json!("free"), json!("free")));
    let token = group.text("token");
    assert_eq!(with(&admin, "PATCH", "/v1/locks", &token).is(200)["expires_in_ms"], 60_000);
    let asking = admin.ask("POST", "/v1/locks").json(json!({ "ids": ["z", "a"], "wait_ms": 20_000 }));
    let waiter = asking.begin();
    until(|| admin.get("/v1/locks/a").is(200)["queue"] == 1);
    assert_eq!(state("z"), "free", "who waits holds nothing");
    with(&admin, "DELETE", "/v1/locks", &token).is(204);
    with(&admin, "DELETE", "/v1/locks", &token).is(204);
    assert_eq!(asking.read(waiter).is(201)["ids"], json!(["a", "z"]));
    with(&admin, "PATCH", "/v1/locks", &token).refuses(412, "lock_lost");
    let many = |count: usize| json!({ "ids": (0..count).map(|i| format!("m{i}")).collect::<Vec<_>>() });
    for bad in [
        json!({}),
        many(0),
        many(17),
        json!({ "ids": "m" }),
        json!({ "ids": [1] }),
        json!({ "ids": [""] }),
        json!({ "ids": [["a"]] }),
    ] {
        admin.post("/v1/locks", bad).refuses(400, "invalid_request");
    }
    assert_eq!(admin.post("/v1/locks", many(16)).is(201)["ids"].as_array().unwrap().len(), 16);
}

#[test]
fn waiter_asking_again_is_granted_after_first_closed() {
    let server = Server::start();
    let admin = server.admin();
    let first = admin.post("/v1/locks/a", json!({})).is(201);
    let commands = || {
        let text = String::from_utf8(admin.get("/metrics").body).unwrap();
        let line = text.lines().find(|line| line.starts_with("cashbox_commands_total ")).unwrap();
        line.split_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    let request =
        admin.ask("POST", "/v1/locks/a").json(json!({ "wait_ms": 20_000, "secret": "the-same-secret-again" }));
    let before = commands();
    let gives_up = request.begin();
    until(|| commands() == before + 1);
    let again = request.begin();
    until(|| commands() == before + 2);
    drop(gives_up);
    with(&admin, "DELETE", "/v1/locks/a", &first.text("token")).is(204);
    let grant = request.read(again).is(201);
    for _ in 0..5 {
        with(&admin, "PATCH", "/v1/locks/a", &grant.text("token")).is(200);
    }
}

#[test]
fn locks_of_system_wallets_are_refused() {
    // A holder would block every payment.
    let server = Server::start();
    let (admin, teller) = (server.admin(), server.role("teller"));
    server.user_with("alice", "10");
    for wallet in ["@sales", "@bank", "@holds", "%40sales", "@", "@x"] {
        teller.post(&format!("/v1/locks/wallet/{wallet}"), json!({})).refuses(400, "invalid_request");
        admin.post(&format!("/v1/locks/wallet/{wallet}"), json!({})).refuses(400, "invalid_request");
    }
    teller.post("/v1/locks", json!({ "ids": ["job", "wallet/@sales"] })).refuses(400, "invalid_request");
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200);
}

#[test]
fn spent_secret_is_refused_and_keyed_revoke_repeats() {
    let server = Server::start();
    let admin = server.admin();
    let ask = |ids: &[&str], secret: &str| admin.post("/v1/locks", json!({ "ids": ids, "secret": secret }));
    let (spent, held) = ("a-secret-that-ended", "a-secret-that-lives");
    let b = ask(&["b"], spent).is(201);
    admin.ask("DELETE", "/v1/locks/b").header("Lock-Token", &b.text("token")).send().is(204);
    ask(&["a", "b"], spent).refuses(412, "lock_lost");
    assert_eq!(admin.get("/v1/locks/a").is(200)["state"], "free");
    ask(&["c"], held).is(201);
    ask(&["c", "d"], held).refuses(400, "invalid_request");
    assert_eq!(ask(&["c"], held).is(200)["outcome"], "replayed");

    let request = json!({ "fence": 2, "delay_ms": 0, "reason": "stuck" });
    let first = admin.post_once("r", "/v1/locks/c/revoke", request.clone()).is(200);
    admin.post("/v1/locks/c", json!({})).is(201);
    let again = admin.post_once("r", "/v1/locks/c/revoke", request.clone()).is(200);
    assert_eq!((first.was_replayed(), again.was_replayed()), (false, true));
    assert_eq!(first.json, again.json);
    admin.post("/v1/locks/c/revoke", request).refuses(409, "lock_changed");
}

#[test]
fn lock_lists_its_waiters_for_staff_alone() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 5 })).is(200);
    let token = admin.post("/v1/locks/wallet/alice", json!({ "holder": "first" })).is(201).text("token");
    assert_eq!(admin.get("/v1/locks/wallet/alice").is(200)["waiting"], json!([]));
    let second = admin.ask("POST", "/v1/locks/wallet/alice").json(json!({ "holder": "second", "wait_ms": 30_000 }));
    let waits = second.begin();
    until(|| admin.get("/v1/locks/wallet/alice").is(200)["queue"] == 1);
    let alice = server.user("alice");
    let third =
        alice.ask("POST", "/v1/wallets/alice/withdraw").json(json!({ "amount": 1 })).header("Prefer", "wait=20");
    let pays = third.begin();
    until(|| admin.get("/v1/locks/wallet/alice").is(200)["queue"] == 2);
    let waiting = admin.get("/v1/locks/wallet/alice").is(200)["waiting"].clone();
    assert_eq!((&waiting[0]["holder"], &waiting[1]["holder"]), (&json!("second"), &json!("alice")));
    let times = |place: usize| ["since", "until"].map(|name| waiting[place][name].as_str().unwrap().to_owned());
    assert!(times(0)[0] <= times(1)[0] && times(1)[0] < times(1)[1] && times(1)[1] < times(0)[1], "{waiting}");
    assert_eq!(alice.get("/v1/locks/wallet/alice").is(200)["waiting"], Value::Null);
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &token).send().is(204);
    let token = second.read(waits).is(201).text("token");
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &token).send().is(204);
    third.read(pays).is(200);
    assert_eq!(admin.get("/v1/locks/wallet/alice").is(200)["waiting"], json!([]));
}
