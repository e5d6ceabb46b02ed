//! Headers that every answer has, the pages of errors, OPTIONS and other origins.

use super::server::{Answer, Client, Server};
use cashbox::ErrorName;
use cashbox::internals::http::problem_pages;
use serde_json::json;

const SHOP: &str = "https://shop.example";

fn ids(answer: &Answer) -> Vec<&str> {
    let lines = answer.head.lines().filter_map(|line| line.strip_prefix("X-Request-Id: "));
    lines.collect()
}

#[test]
fn every_answer_is_not_cached_and_has_request_id() {
    let server = Server::start();
    let admin = server.admin();
    let raw = |bytes: &str| Answer::parse(&server.raw(bytes.as_bytes()), false);
    let lock = admin.post("/v1/locks/a", json!({})).is(201);
    let answers = [
        admin.get("/healthz").is(200),
        admin.post("/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200),
        admin.get("/v1/wallets/nina").refuses(404, "wallet_not_found"),
        admin.ask("DELETE", "/v1/locks/a").header("Lock-Token", &lock.text("token")).send().is(204),
        server.anonymous().get("/v1/wallets").refuses(401, "unauthenticated"),
        admin.get("/nothing").refuses(404, "not_found"),
        admin.get("/metrics"),
        admin.get("/v1/export"),
        admin.ask("OPTIONS", "/wallet").send().is(204),
        admin.ask("GET", "/healthz").header("Host", "evil.example").send().refuses(403, "forbidden"),
        raw("GET / HTTP/1.1\r\n\r\n").refuses(400, "invalid_request"),
        raw("POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for answer in &answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.head);
        let [id] = ids(answer)[..] else { panic!("one id in {}", answer.head) };
        assert!(id.len() == 16 && seen.insert(id), "{id} is new");
        if answer.header("content-type").is_some_and(|it| it.ends_with("json") && !it.contains("ndjson")) {
            assert!(answer.body.ends_with(b"}\n"), "JSON ends with a newline");
        }
    }
}

#[test]
fn request_id_of_client_is_given_back() {
    let server = Server::start();
    let admin = server.admin();
    let asked = |id: &str| {
        let asking = admin.ask("POST", "/v1/wallets/alice/recharge").header("Idempotency-Key", "k");
        asking.header("X-Request-Id", id).json(json!({ "amount": 1 })).send().is(200)
    };
    let longest = "x".repeat(128);
    for id in ["one", "two", &longest, "a,b;c=\"d\""] {
        assert_eq!(ids(&asked(id)), [id], "a repeat carries the id of the request that asks again");
    }
    for id in ["", "a b", "\u{e9}", &"x".repeat(129)] {
        assert_ne!(ids(&asked(id)), [id], "{id:?}");
    }
    let twice = admin.ask("GET", "/healthz").header("X-Request-Id", "a").header("X-Request-Id", "b").send();
    assert_eq!(ids(&twice)[0].len(), 16);
    let refused = admin.ask("GET", "/nothing").header("X-Request-Id", "mine").send().refuses(404, "not_found");
    assert_eq!(ids(&refused), ["mine"]);
}

#[test]
fn answer_201_has_location() {
    let server = Server::start();
    let admin = server.admin();
    let place = |answer: Answer| answer.is(201).header("location").unwrap().to_owned();
    let minted = admin.post("/v1/tokens", json!({ "role": "teller" })).is(201);
    let token = admin.get(minted.header("location").unwrap()).is(200);
    assert_eq!((&token["id"], &token["role"], token.json.get("token")), (&minted["id"], &json!("teller"), None));
    admin.get("/v1/tokens/tok:none").refuses(404, "token_not_found");
    server.role("teller").get("/v1/tokens/tok:none").refuses(403, "forbidden");
    for id in ["nightly", "jobs/nightly", "a b%/\u{e9}?#", "x/events", "x/revoke", "/x//y", "a/../b", "x/"] {
        let granted = admin.post("/v1/locks", json!({ "ids": [id] }));
        assert_eq!(admin.get(&place(granted)).is(200)["id"], id);
    }
    assert_eq!(place(admin.post("/v1/locks/wallet/alice", json!({}))), "/v1/locks/wallet/alice");
    let several = admin.post("/v1/locks", json!({ "ids": ["two", "one"] })).is(201);
    let first = several["ids"][0].as_str().unwrap();
    assert_eq!(several.header("location"), Some(format!("/v1/locks/{first}").as_str()));
    let repeat = json!({ "secret": "a-secret-of-16-chars" });
    admin.post("/v1/locks/again", repeat.clone()).is(201);
    assert_eq!(admin.post("/v1/locks/again", repeat).is(200).header("location"), None);
}

#[test]
fn unauthenticated_answer_names_invalid_token() {
    let server = Server::start();
    let (teller, id) = server.mint(json!({ "role": "teller" }));
    server.admin().ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    let challenge = |client: &Client| {
        client.get("/v1/wallets").refuses(401, "unauthenticated").header("www-authenticate").unwrap().to_owned()
    };
    assert_eq!(challenge(&server.anonymous()), "Bearer");
    assert_eq!(challenge(&server.client("cbx_this-is-not-a-token")), "Bearer error=\"invalid_token\"");
    assert_eq!(challenge(&teller), "Bearer error=\"invalid_token\"");
}

#[test]
fn every_error_has_its_page() {
    let server = Server::start();
    let client = server.anonymous();
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http.md")).unwrap();
    for name in ErrorName::ALL {
        let page = client.get(&format!("/problems/{}", name.as_str())).is(200);
        let (meaning, remedy) = problem_pages::texts(*name);
        assert_eq!((&page["error"], &page["status"]), (&json!(name.as_str()), &json!(name.status())));
        assert_eq!((&page["meaning"], page["remedy"].as_str().unwrap_or("")), (&json!(meaning), remedy));
        let row = format!("| {} | `{}` | {meaning} | {remedy}", name.status(), name.as_str()).trim_end().to_owned();
        assert!(docs.contains(&row), "{row} is in the table of docs/http.md");
        let text = client.ask("GET", &format!("/problems/{}", name.as_str())).header("Accept", "text/plain").send();
        assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(String::from_utf8(text.body).unwrap().contains(meaning));
    }
    client.get("/problems/nothing").refuses(404, "not_found");
}

#[test]
fn options_answers_methods_of_path() {
    let server = Server::start();
    let client = server.anonymous();
    for (path, allow) in [
        ("/wallet", "GET, HEAD, OPTIONS, POST, PUT"),
        ("/v1/locks/a/b", "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        ("/v1/batch", "OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let answer = client.ask("OPTIONS", path).send().is(204);
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), None);
    }
    client.ask("OPTIONS", "/nothing").send().refuses(404, "not_found");
    let preflight = client.ask("OPTIONS", "/wallet").header("Origin", SHOP);
    preflight.header("Access-Control-Request-Method", "POST").send().refuses(403, "forbidden");
}

#[test]
fn allowed_origin_gets_preflight_and_answers() {
    let server = Server::with(&["--allow-origin", SHOP, "--allow-origin", "http://localhost:3000"]);
    let (admin, anonymous) = (server.admin(), server.anonymous());
    let asked = |client: &Client, method: &str, path: &str| {
        client.ask(method, path).header("Sec-Fetch-Site", "cross-site").header("Origin", SHOP)
    };
    let preflight =
        asked(&anonymous, "OPTIONS", "/wallet").header("Access-Control-Request-Method", "PUT").send().is(204);
    let is_for_shop = |answer: &Answer| {
        assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP), "{}", answer.head);
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert_eq!(exposed, "Idempotency-Replayed, Lock-Token, Location, Link, Retry-After, X-Request-Id");
    };
    is_for_shop(&preflight);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS, POST, PUT"));
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some(
            "Authorization, Content-Type, Accept, Accept-Language, Idempotency-Key, Lock-Token, Prefer, Last-Event-ID, \
             X-Request-Id"
        )
    );
    is_for_shop(&asked(&admin, "POST", "/wallet").form("money=5&user_id=alice").send().is(200));
    is_for_shop(&asked(&admin, "GET", "/v1/wallets/nina").send().refuses(404, "wallet_not_found"));
    is_for_shop(&asked(&anonymous, "GET", "/v1/wallets").send().refuses(401, "unauthenticated"));
    is_for_shop(
        &asked(&anonymous, "POST", "/v1/batch").json(" ".repeat(70_000)).send().refuses(401, "unauthenticated"),
    );
    is_for_shop(&asked(&anonymous, "OPTIONS", "/nothing").send().refuses(404, "not_found"));
    for other in
        ["https://shop.example:444", "http://shop.example", "https://SHOP.example", "https://shop.example/", "null"]
    {
        let refused = admin.ask("GET", "/healthz").header("Origin", other).send().refuses(403, "forbidden");
        assert_eq!(refused.header("access-control-allow-origin"), None, "{other}");
    }
    let twice = asked(&admin, "GET", "/healthz").header("Origin", SHOP).send();
    twice.refuses(403, "forbidden");
    admin.ask("GET", "/healthz").header("Sec-Fetch-Site", "cross-site").send().refuses(403, "forbidden");
    asked(&admin, "GET", "/healthz").header("Host", "evil.example").send().refuses(403, "forbidden");
    assert_eq!(admin.get("/healthz").is(200).header("vary"), Some("Origin"));
}

#[test]
fn allow_origin_that_is_not_plain_is_wrong_usage() {
    let exit = |args: &[&str]| {
        let folder = tempfile::TempDir::new().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cashbox"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args).current_dir(folder.path());
        command.stdin(std::process::Stdio::null()).output().unwrap().status.code()
    };
    for origin in [
        "*",
        "null",
        "shop.example",
        "https://shop.example/",
        "https://shop.example/a",
        "https://",
        "https://*.shop.example",
        "https://Shop.example",
        "https://a@shop.example",
        "https://shop.example:443",
        "https://shop.example:",
        "https://shop.example:0",
        "ftp://shop.example",
    ] {
        assert_eq!(exit(&["--allow-origin", origin]), Some(2), "{origin}");
    }
    assert_eq!(exit(&["--open", "--allow-origin", SHOP]), Some(2), "only with --memory");
}
