//! Who may do what: every route with every role, and what a user never reaches.

use super::server::{Answer, Client, Server, fields};
use crate::postgres;
use cashbox::internals::http::routes::ROUTES;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NO: u16 = 403;

/// Method, pattern, request, and what user, locker, teller, auditor and admin are answered. The scene: alice owns
/// wallet, coupon `CODE`, entry 1 and hold 3; the user is alice; no lock is held. The locker asks for the lock `jobs/nightly`
/// where the others ask for `wallet/alice`.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str, [u16; 5])] = &[
    ("GET", "/wallet", "/wallet?user_id=alice", "", [200, NO, 200, 200, 200]),
    ("POST", "/wallet", "/wallet", r#"{"user_id":"alice","money":1}"#, [200, NO, 200, NO, 200]),
    ("PUT", "/wallet", "/wallet", r#"{"user_id":"alice","money":1}"#, [200, NO, 200, NO, 200]),
    ("GET", "/v1/wallets", "/v1/wallets", "", [NO, NO, 200, 200, 200]),
    ("GET", "/v1/wallets/{user}", "/v1/wallets/alice", "", [200, NO, 200, 200, 200]),
    ("POST", "/v1/wallets/{user}", "/v1/wallets/alice", "", [NO, NO, 409, NO, 409]),
    ("PATCH", "/v1/wallets/{user}", "/v1/wallets/alice", r#"{"name":"A"}"#, [NO, NO, 200, NO, 200]),
    ("POST", "/v1/wallets/{user}/recharge", "/v1/wallets/alice/recharge", r#"{"amount":1}"#, [200, NO, 200, NO, 200]),
    ("POST", "/v1/wallets/{user}/withdraw", "/v1/wallets/alice/withdraw", r#"{"amount":1}"#, [200, NO, 200, NO, 200]),
    ("POST", "/v1/wallets/{user}/pay", "/v1/wallets/alice/pay", r#"{"amount":1}"#, [200, NO, 200, NO, 200]),
    ("POST", "/v1/wallets/{user}/transfer", "/v1/wallets/alice/transfer", r#"{"amount":1,"to":"bob"}"#, [200, NO, 200, NO, 200]),
    ("GET", "/v1/wallets/{user}/entries", "/v1/wallets/alice/entries", "", [200, NO, 200, 200, 200]),
    ("GET", "/v1/wallets/{user}/coupons", "/v1/wallets/alice/coupons", "", [200, NO, 200, 200, 200]),
    ("POST", "/v1/wallets/{user}/coupons", "/v1/wallets/alice/coupons", r#"{"kind":"1"}"#, [NO, NO, 200, NO, 200]),
    ("POST", "/v1/wallets/{user}/coupons/claim", "/v1/wallets/alice/coupons/claim", r#"{"code":"NONE"}"#, [404, NO, 404, NO, 404]),
    ("GET", "/v1/wallets/{user}/holds", "/v1/wallets/alice/holds", "", [200, NO, 200, 200, 200]),
    ("POST", "/v1/wallets/{user}/holds", "/v1/wallets/alice/holds", r#"{"amount":1}"#, [NO, NO, 201, NO, 201]),
    ("GET", "/v1/holds", "/v1/holds", "", [NO, NO, 200, 200, 200]),
    ("GET", "/v1/holds/{id}", "/v1/holds/3", "", [200, NO, 200, 200, 200]),
    ("POST", "/v1/holds/{id}/capture", "/v1/holds/3/capture", r#"{"amount":"0.01","final":false}"#, [NO, NO, 200, NO, 200]),
    ("POST", "/v1/holds/{id}/void", "/v1/holds/9/void", "", [NO, NO, 404, NO, 404]),
    ("GET", "/v1/entries", "/v1/entries", "", [NO, NO, 200, 200, 200]),
    ("GET", "/v1/events", "/v1/events?until=2020-01-01T00:00:00Z", "", [200, NO, 200, 200, 200]),
    ("GET", "/v1/entries/{id}", "/v1/entries/1", "", [200, NO, 200, 200, 200]),
    ("POST", "/v1/entries/{id}/refund", "/v1/entries/1/refund", r#"{"amount":1}"#, [NO, NO, 200, NO, 200]),
    ("GET", "/v1/coupons", "/v1/coupons", "", [NO, NO, 200, 200, 200]),
    ("GET", "/v1/coupons/{code}", "/v1/coupons/CODE", "", [200, NO, 200, 200, 200]),
    ("GET", "/v1/coupons/{code}/quote", "/v1/coupons/CODE/quote?amount=20", "", [200, NO, 200, 200, 200]),
    ("GET", "/v1/report", "/v1/report", "", [NO, NO, 200, 200, 200]),
    ("GET", "/v1/tiers", "/v1/tiers", "", [NO, NO, 200, 200, 200]),
    ("PUT", "/v1/tiers", "/v1/tiers", r#"{"tiers":[{"from":"5"}]}"#, [NO, NO, NO, NO, 200]),
    ("GET", "/v1/coupon-kinds", "/v1/coupon-kinds", "", [NO, NO, 200, 200, 200]),
    ("PUT", "/v1/coupon-kinds", "/v1/coupon-kinds", r#"{"coupon_kinds":[]}"#, [NO, NO, NO, NO, 200]),
    ("POST", "/v1/batch", "/v1/batch", "[]", [200, NO, 200, NO, 200]),
    ("GET", "/v1/locks", "/v1/locks", "", [NO, 200, 200, 200, 200]),
    ("POST", "/v1/locks", "/v1/locks", r#"{"ids":["a"]}"#, [NO, 201, 201, NO, 201]),
    ("PATCH", "/v1/locks", "/v1/locks", "", [NO, 428, 428, NO, 428]),
    ("DELETE", "/v1/locks", "/v1/locks", "", [NO, 428, 428, NO, 428]),
    ("GET", "/v1/locks/{id...}/events", "/v1/locks/wallet/alice/events", "", [200, 200, 200, 200, 200]),
    ("POST", "/v1/locks/{id...}/revoke", "/v1/locks/wallet/alice/revoke", r#"{"fence":1}"#, [NO, NO, NO, NO, 404]),
    ("GET", "/v1/locks/{id...}", "/v1/locks/wallet/alice", "", [200, 200, 200, 200, 200]),
    ("PATCH", "/v1/locks/{id...}", "/v1/locks/wallet/alice", "", [428, 428, 428, NO, 428]),
    ("DELETE", "/v1/locks/{id...}", "/v1/locks/wallet/alice", "", [428, 428, 428, NO, 428]),
    ("POST", "/v1/locks/{id...}", "/v1/locks/wallet%2Falice", "", [201, 201, 201, NO, 201]),
    ("GET", "/v1/lock-events", "/v1/lock-events", "", [NO, NO, 200, 200, 200]),
    ("GET", "/v1/me", "/v1/me", "", [200, 200, 200, 200, 200]),
    ("GET", "/v1/journal", "/v1/journal", "", [NO, NO, NO, 200, 200]),
    ("GET", "/v1/tokens", "/v1/tokens", "", [NO, NO, NO, NO, 200]),
    ("POST", "/v1/tokens", "/v1/tokens", r#"{"role":"auditor"}"#, [NO, NO, NO, NO, 201]),
    ("GET", "/v1/tokens/{id}", "/v1/tokens/TOKEN", "", [NO, NO, NO, NO, 200]),
    ("POST", "/v1/tokens/{id}/rotate", "/v1/tokens/TOKEN/rotate", r#"{"overlap_s":60}"#, [NO, NO, NO, NO, 200]),
    ("DELETE", "/v1/tokens/{id}", "/v1/tokens/TOKEN", "", [NO, NO, NO, NO, 200]),
    ("GET", "/v1/verify", "/v1/verify", "", [NO, NO, NO, 200, 200]),
    ("GET", "/v1/backup", "/v1/backup", "", [NO, NO, NO, NO, 200]),
    ("GET", "/v1/export", "/v1/export?csv=wallets", "", [NO, NO, NO, 200, 200]),
    ("GET", "/healthz", "/healthz", "", [200, 200, 200, 200, 200]),
    ("GET", "/metrics", "/metrics", "", [200, NO, 200, 200, 200]),
    ("GET", "/problems/{name}", "/problems/locked", "", [200, 200, 200, 200, 200]),
    ("GET", "/openapi.json", "/openapi.json", "", [200, 200, 200, 200, 200]),
];

struct Scene {
    server: Server,
    coupon: String,
    token: String,
}

impl Scene {
    fn new() -> Scene {
        let server = Server::start();
        let coupon = server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
        let coupon = coupon["coupon"]["code"].as_str().unwrap().to_owned();
        server.admin().post("/v1/wallets/bob/recharge", json!({ "amount": 300 })).is(200);
        server.admin().post("/v1/wallets/alice/holds", json!({ "amount": 20 })).is(201);
        let (_, token) = server.mint(json!({ "role": "auditor" }));
        Scene { server, coupon, token }
    }

    fn ask(&self, client: &Client, row: &(&str, &str, &str, &str, [u16; 5])) -> Answer {
        self.ask_for(client, row, "wallet/alice")
    }

    fn ask_for(&self, client: &Client, row: &(&str, &str, &str, &str, [u16; 5]), lock: &str) -> Answer {
        let (method, _, target, body, _) = row;
        let target = match target.strip_prefix("/v1/locks/") {
            Some(rest) => format!("/v1/locks/{}", rest.replace("%2F", "/").replace("wallet/alice", lock)),
            None => (*target).to_owned(),
        };
        let asking = client.ask(method, &target.replace("CODE", &self.coupon).replace("TOKEN", &self.token));
        if body.is_empty() { asking.send() } else { asking.json(body).send() }
    }
}

#[test]
fn role_table_has_every_route_once() {
    let table: BTreeSet<_> = TABLE.iter().map(|row| (row.0, row.1)).collect();
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.method, route.path)).collect();
    assert_eq!(table, routes);
    assert_eq!((TABLE.len(), ROUTES.len()), (table.len(), routes.len()));
}

#[test]
fn role_may_do_only_what_table_allows() {
    for (place, role) in ["user", "locker", "teller", "auditor", "admin"].into_iter().enumerate() {
        let scene = Scene::new();
        let client = if role == "user" { scene.server.user("alice") } else { scene.server.role(role) };
        for row in TABLE {
            // PostgreSQL has tools of its own for copies.
            let is_refused = row.1 == "/v1/backup" && row.4[place] == 200 && postgres::of_all_tests().is_some();
            let expected = if is_refused { 400 } else { row.4[place] };
            let lock = if role == "locker" { "jobs/nightly" } else { "wallet%2Falice" };
            let answer = scene.ask_for(&client, row, lock);
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, expected, "{role}: {} {}: {body}", row.0, row.2);
            if expected == NO {
                answer.refuses(403, "forbidden");
            }
        }
    }
}

#[test]
fn request_without_valid_token_gets_open_routes_alone() {
    let scene = Scene::new();
    let server = &scene.server;
    let (revoked, id) = server.mint(json!({ "role": "admin" }));
    revoked.get("/v1/tokens").is(200);
    server.admin().ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    server.admin().ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    let garbage =
        ["cbx_0123456789abcdef0123456789abcdef", "cbx_", "", "x", "cbx_a b", "cbx_é", "cbx_' OR 1=1 --aaaaaaaa"];
    let mut strangers: Vec<Client> = garbage.iter().map(|token| server.client(token)).collect();
    strangers.extend([server.anonymous(), revoked]);
    for row in TABLE {
        for client in &strangers {
            let answer = scene.ask(client, row);
            if ["/healthz", "/problems/{name}", "/openapi.json"].contains(&row.1) {
                answer.is(200);
            } else {
                let refused = answer.refuses(401, "unauthenticated");
                assert!(refused.header("WWW-Authenticate").is_some_and(|how| how.starts_with("Bearer")));
            }
        }
    }
    for authorization in ["Basic YTpi", "Bearer", super::server::ADMIN, &format!("Token {}", super::server::ADMIN)] {
        let answer = server.anonymous().ask("GET", "/v1/wallets").header("Authorization", authorization).send();
        answer.refuses(401, "unauthenticated");
    }
    let twice = server.admin().ask("GET", "/v1/wallets").header("Authorization", "Bearer cbx_0123456789abcdef");
    twice.send().refuses(401, "unauthenticated");
    let lower = server
        .anonymous()
        .ask("GET", "/v1/wallets")
        .header("authorization", &format!("bearer {}", super::server::ADMIN));
    lower.send().is(200);
}

#[test]
fn access_token_ends_when_it_expires() {
    let server = Server::start();
    let (short, id) = server.mint(json!({ "role": "auditor", "expires_in_s": 1, "note": "for a second" }));
    let (long, _) = server.mint(json!({ "role": "auditor", "expires_in_s": 3600 }));
    super::server::until(|| short.get("/v1/wallets").status == 401);
    long.get("/v1/wallets").is(200);
    let listed = server.admin().get("/v1/tokens").is(200);
    assert!(listed.rows().iter().any(|token| token["id"] == json!(id) && token["note"] == "for a second"));
    for wanted in [
        json!({ "role": "king" }),
        json!({ "role": "user" }),
        json!({ "role": "admin", "user": "alice" }),
        json!({ "role": "admin", "expires_in_s": 0 }),
        json!({ "role": "admin", "expires_in_s": -1 }),
        json!({}),
        json!({ "role": "user", "user": "@bank" }),
        json!({ "role": "admin", "note": "x".repeat(256) }),
        json!({ "role": "admin", "prefix": "jobs/" }),
        json!({ "role": "user", "user": "alice", "prefix": "jobs/" }),
        json!({ "role": "locker", "user": "alice" }),
        json!({ "role": "locker", "prefix": "" }),
        json!({ "role": "locker", "prefix": "wallet/" }),
        json!({ "role": "locker", "prefix": "wallet/alice" }),
        json!({ "role": "locker", "prefix": "x".repeat(256) }),
        json!({ "role": "locker", "prefix": "a\u{202e}" }),
        json!({ "role": "locker", "prefix": 7 }),
    ] {
        let refused = server.admin().post("/v1/tokens", wanted);
        assert_eq!(refused.status, 400, "{}", refused.json);
    }
    server.admin().ask("DELETE", "/v1/tokens/tok:none").send().refuses(404, "token_not_found");
}

#[test]
fn minted_token_is_shown_once() {
    let server = Server::start();
    let minted = server.admin().post("/v1/tokens", json!({ "role": "user", "user": "alice" })).is(201);
    assert_eq!((&minted["role"], &minted["user"]), (&json!("user"), &json!("alice")));
    let secret = minted.text("token");
    assert!(secret.starts_with("cbx_"));
    for path in ["/v1/tokens", "/metrics", "/healthz", "/v1/verify"] {
        let body = server.admin().get(path).is(200).body;
        assert!(!String::from_utf8_lossy(&body).contains("cbx_"), "{path}");
    }
    assert_eq!(
        fields(&server.admin().get("/v1/tokens").rows()[0]),
        ["id", "role", "user", "prefix", "note", "created_at", "expires_at", "revoked_at", "last_used_at"]
    );
}

#[test]
fn user_reaches_nothing_of_another_user() {
    let server = Server::start();
    let (alice, admin) = (server.user_with("alice", "100"), server.admin());
    let bobs = admin.post("/v1/wallets/bob/recharge", json!({ "amount": 300 })).is(200);
    let (entry, code) = (&bobs["entry"]["id"], bobs["coupon"]["code"].as_str().unwrap());
    let before = admin.get("/v1/wallets/bob").is(200).json;
    for path in [
        "/v1/wallets/bob",
        "/v1/wallets/%62ob",
        "/v1/wallets/Alice",
        "/v1/wallets/bob/entries",
        "/v1/wallets/bob/coupons",
        "/wallet?user_id=bob",
        "/v1/locks/wallet/bob",
        "/v1/locks/wallet%2Fbob",
        "/v1/locks/wallet/bob/events",
        "/v1/locks/wallet/alice/x",
        "/v1/locks/wallet/Alice",
        "/v1/locks/nightly",
        "/v1/wallets/@bank",
        "/v1/wallets/@sales/entries",
        "/v1/locks/wallet/bob?fence=1&wait_ms=1",
    ] {
        alice.get(path).refuses(403, "forbidden");
    }
    for path in [
        "/v1/wallets/alice/../bob",
        "/v1/wallets/alice%2F..%2Fbob/entries",
        "//v1/wallets/bob",
        "/v1/wallets/bob/",
        "/V1/wallets/bob",
    ] {
        assert!([400, 404].contains(&alice.get(path).status), "{path}");
    }
    let one = |path: String| alice.get(&path).json;
    let (theirs, none) = (
        alice.get(&format!("/v1/entries/{entry}")).refuses(404, "entry_not_found"),
        alice.get("/v1/entries/999").refuses(404, "entry_not_found"),
    );
    assert_eq!(theirs.text("detail").replace(&entry.to_string(), "N"), none.text("detail").replace("999", "N"));
    for path in [
        format!("/v1/coupons/{code}"),
        format!("/v1/coupons/{}", code.to_lowercase()),
        format!("/v1/coupons/{code}/quote?amount=300"),
    ] {
        let unknown = one(path
            .to_uppercase()
            .replace("/V1/COUPONS/", "/v1/coupons/")
            .replace(code, "ZZZZ")
            .replace("QUOTE?AMOUNT", "quote?amount"));
        let theirs = alice.get(&path).refuses(404, "coupon_not_found");
        assert_eq!(theirs.json.to_string().replace(code, "ZZZZ"), unknown.to_string(), "as good as none");
    }
    for (path, body) in [
        ("recharge", json!({ "amount": 1 })),
        ("withdraw", json!({ "amount": 1 })),
        ("pay", json!({ "amount": 1 })),
        ("transfer", json!({ "amount": 1, "to": "alice" })),
        ("coupons", json!({ "kind": "1" })),
    ] {
        alice.post(&format!("/v1/wallets/bob/{path}"), body).refuses(403, "forbidden");
    }
    alice.post("/v1/wallets/alice/pay", json!({ "amount": 300, "coupon": code })).refuses(404, "coupon_not_found");
    alice.post(&format!("/v1/entries/{entry}/refund"), json!({})).refuses(403, "forbidden");
    for method in ["POST", "PATCH", "DELETE"] {
        alice
            .ask(method, "/v1/locks/wallet/bob")
            .header("Lock-Token", "lk1.a.1.0123456789abcdef")
            .send()
            .refuses(403, "forbidden");
    }
    assert_eq!(admin.get("/v1/wallets/bob").is(200).json, before, "and nothing happened to it");
    assert_eq!(admin.balance("alice"), "100.00");
}

#[test]
fn user_sees_one_side_of_entry_everywhere() {
    let server = Server::start();
    let (alice, bob) = (server.user_with("alice", "50"), server.user_with("bob", "70"));
    let sent = alice.post_once("k", "/v1/wallets/alice/transfer", json!({ "to": "bob", "amount": 10 })).is(200);
    let repeated = alice.post_once("k", "/v1/wallets/alice/transfer", json!({ "to": "bob", "amount": 10 })).is(200);
    let own = alice.post("/wallet", json!({ "money": 1 })).is(200);
    assert_eq!((&own["entry"]["from_balance"], &own["entry"]["to_balance"]), (&json!(null), &json!("41.00")));
    let id = sent["entry"]["id"].as_i64().unwrap();
    let of_list = |client: &Client, user: &str| -> Value {
        let list = client.get(&format!("/v1/wallets/{user}/entries")).is(200);
        list.rows().iter().find(|row| row["id"] == id).unwrap().clone()
    };
    let of_lines = |client: &Client, user: &str| -> Value {
        let answer = client
            .ask("GET", &format!("/v1/wallets/{user}/entries?kind=transfer"))
            .header("Accept", "application/x-ndjson")
            .send()
            .is(200);
        serde_json::from_slice(&answer.body).unwrap()
    };
    let one = |client: &Client| client.get(&format!("/v1/entries/{id}")).is(200)["entry"].clone();
    for entry in [
        sent["entry"].clone(),
        repeated["entry"].clone(),
        of_list(&alice, "alice"),
        of_lines(&alice, "alice"),
        one(&alice),
    ] {
        assert_eq!(
            (&entry["from_balance"], &entry["to_balance"], &entry["hash"]),
            (&json!("40.00"), &json!(null), &json!(null))
        );
    }
    for entry in [of_list(&bob, "bob"), of_lines(&bob, "bob"), one(&bob)] {
        assert_eq!(
            (&entry["from_balance"], &entry["to_balance"], &entry["hash"]),
            (&json!(null), &json!("80.00"), &json!(null))
        );
    }
    let csv = bob.ask("GET", "/v1/wallets/bob/entries?kind=transfer").header("Accept", "text/csv").send().is(200);
    let csv = String::from_utf8(csv.body).unwrap();
    assert!(csv.contains(",10.00,,80.00,") && !csv.contains("40.00"), "{csv}");
    for role in ["teller", "auditor", "admin"] {
        let entry = one(&server.role(role));
        assert_eq!((&entry["from_balance"], &entry["to_balance"]), (&json!("40.00"), &json!("80.00")));
        assert!(entry["hash"].is_string());
    }
}

#[test]
fn self_recharge_can_be_turned_off() {
    let server = Server::with(&["--no-self-recharge"]);
    let alice = server.user("alice");
    alice.post("/wallet", json!({ "money": 1 })).refuses(403, "forbidden");
    alice.post("/v1/wallets/alice/recharge", json!({ "amount": 1 })).refuses(403, "forbidden");
    server.role("teller").post("/v1/wallets/alice/recharge", json!({ "amount": 9 })).is(200);
    assert_eq!(alice.put("/wallet", json!({ "money": 1 })).is(200)["balance"], "8.00");
}

#[test]
fn request_from_other_site_is_refused() {
    let server = Server::with(&["--open", "--host", "Shop.local"]);
    let ask = |headers: &[(&str, &str)]| {
        let asking = server.anonymous().ask("POST", "/v1/wallets/alice/recharge").form("amount=1");
        headers.iter().fold(asking, |asking, (name, value)| asking.header(name, value)).send()
    };
    for good in [
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost",
        "LOCALHOST:8866",
        "[::1]:8866",
        "10.1.2.3",
        "shop.local",
        "shop.LOCAL:1",
        "shop.local.", // the same name, written from the root of all names
    ] {
        ask(&[("Host", good)]).is(200);
        ask(&[("Host", good), ("Origin", &format!("http://{good}"))]).is(200);
        ask(&[("Host", good), ("Origin", &format!("https://{good}")), ("Sec-Fetch-Site", "same-origin")]).is(200);
        ask(&[("Host", good), ("Sec-Fetch-Site", "cross-site")]).refuses(403, "forbidden");
        for origin in ["null", "http://evil.example", "", "file://", "ftp://localhost", "http://localhost:9", good] {
            ask(&[("Host", good), ("Origin", origin)]).refuses(403, "forbidden");
        }
    }
    for bad in [
        "evil.example",
        "evil.example:8866",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "notshop.local",
        "shop.local..",
        "localhost:80@evil.example",
        "[::1",
        "localhost:80:80",
    ] {
        ask(&[("Host", bad)]).refuses(403, "forbidden");
        ask(&[("Host", bad), ("Origin", &format!("http://{bad}"))]).refuses(403, "forbidden");
    }
    for path in ["/healthz", "/wallet?user_id=alice", "/nothing"] {
        server.anonymous().ask("GET", path).header("Host", "evil.example").send().refuses(403, "forbidden");
    }
    let two =
        server.anonymous().ask("GET", "/healthz").header("Host", "localhost").header("Origin", "http://localhost");
    two.header("Origin", "http://evil.example").send().refuses(403, "forbidden");
}

#[test]
fn caller_sees_itself_and_admin_when_tokens_were_used() {
    let server = Server::start();
    let admin = server.admin();
    let me = admin.get("/v1/me").is(200);
    assert_eq!((&me["role"], &me["user"], &me["open"]), (&json!("admin"), &Value::Null, &json!(false)));
    let minted = admin.post("/v1/tokens", json!({ "role": "user", "user": "alice", "expires_in_s": 3600 })).is(201);
    assert_eq!(minted["last_used_at"], Value::Null);
    let (id, secret) = (minted.text("id"), minted.text("token"));
    let used = || admin.get(&format!("/v1/tokens/{id}")).is(200)["last_used_at"].clone();
    assert_eq!(used(), Value::Null);
    let me = server.client(&secret).get("/v1/me").is(200);
    assert_eq!((&me["by"], &me["user"], &me["role"]), (&json!("alice"), &json!("alice"), &json!("user")));
    assert_eq!(me["expires_at"], minted["expires_at"]);
    let at = used().as_str().unwrap().to_owned();
    assert!(at >= minted.text("created_at") && at < minted.text("expires_at"), "{at}");
    let other = admin.post("/v1/tokens", json!({ "role": "auditor" })).is(201).text("id");
    admin.ask("DELETE", &format!("/v1/tokens/{other}")).send().is(200);
    assert_eq!(used(), json!(at), "a revoked token of another caller does not change it");
    server.anonymous().get("/v1/me").refuses(401, "unauthenticated");
}

#[test]
fn entry_says_what_can_be_refunded() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let left = |entry: i64| admin.get(&format!("/v1/entries/{entry}")).is(200)["refundable"].clone();
    assert_eq!(left(1), "50.00");
    admin.post("/v1/entries/1/refund", json!({ "amount": "20.50" })).is(200);
    assert_eq!((left(1), left(2)), (json!("29.50"), json!("0.00")), "a refund never can");
    admin.post("/v1/entries/1/refund", json!({})).is(200);
    assert_eq!(left(1), "0.00");
}

#[test]
fn events_of_all_locks_are_listed_newest_first() {
    let server = Server::start();
    let admin = server.admin();
    for lock in ["a", "b", "a/b"] {
        let token = admin.post(&format!("/v1/locks/{lock}"), json!({})).is(201).text("token");
        admin.ask("DELETE", &format!("/v1/locks/{lock}")).header("Lock-Token", &token).send().is(204);
    }
    let first = admin.get("/v1/lock-events?limit=4").is(200);
    let names = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| format!("{} {}", row["lock"].as_str().unwrap(), row["what"].as_str().unwrap())).collect()
    };
    assert_eq!(names(first.rows()), ["a/b released", "a/b created", "b released", "b created"]);
    let rest = admin.get(&format!("/v1/lock-events?after={}", first.text("next"))).is(200);
    assert_eq!(
        (names(rest.rows()), &rest["next"]),
        (vec!["a released".to_owned(), "a created".to_owned()], &Value::Null)
    );
}
