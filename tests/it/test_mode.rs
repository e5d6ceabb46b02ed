//! `serve --test`: a clock both ways, snapshots, seeds, and the same bytes in every run.

use super::server::{ADMIN, Answer, Client, Server};
use serde_json::{Value, json};
use std::process::Command;
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;

fn post(client: &Client, path: &str) -> Answer {
    client.post(path, json!({}))
}

fn advance(client: &Client, ms: i64) -> Answer {
    client.post("/test/clock", json!({ "advance_ms": ms })).is(200)
}

fn recharge(client: &Client, user: &str, amount: &str) -> Answer {
    client.post(&format!("/v1/wallets/{user}/recharge"), json!({ "amount": amount })).is(200)
}

/// Every control, with its methods.
const CONTROLS: &[(&str, &str)] = &[
    ("GET", "/test/clock"),
    ("POST", "/test/clock"),
    ("POST", "/test/reset"),
    ("POST", "/test/seed"),
    ("GET", "/test/snapshots"),
    ("PUT", "/test/snapshots/a"),
    ("DELETE", "/test/snapshots/a"),
    ("POST", "/test/snapshots/a/restore"),
    ("GET", "/test/faults"),
    ("POST", "/test/faults"),
    ("DELETE", "/test/faults"),
    ("GET", "/test/pauses"),
    ("POST", "/test/pauses"),
    ("DELETE", "/test/pauses"),
    ("GET", "/test/pauses/1"),
    ("POST", "/test/pauses/1/release"),
    ("GET", "/test/requests"),
    ("DELETE", "/test/requests"),
];

#[test]
fn controls_are_not_there_without_test() {
    let plain = Server::start();
    let test = Server::with(&["--test"]);
    for (method, path) in CONTROLS {
        plain.admin().ask(method, path).send().refuses(404, "not_found");
        test.anonymous().ask(method, path).send().refuses(401, "unauthenticated");
    }
    assert!(plain.admin().get("/healthz").is(200).json.get("test").is_none());
    assert_eq!(test.admin().get("/healthz").is(200)["test"], true);
    assert!(test.log().contains("a server for tests"), "{}", test.log());
    assert!(!plain.admin().get("/openapi.json").is(200).json.to_string().contains("/test/"));
}

#[test]
fn controls_are_for_admins_of_own_pages() {
    let server = Server::with(&["--test"]);
    for role in ["teller", "auditor"] {
        server.role(role).get("/test/clock").refuses(403, "forbidden");
    }
    let foreign = server.admin().ask("POST", "/test/reset").header("Origin", "http://shop.example");
    foreign.json("{}").send().refuses(403, "forbidden");
    server.admin().get("/test/nothing").refuses(404, "not_found");
    server.admin().ask("PUT", "/test/clock").send().refuses(405, "method_not_allowed");
    let open = Server::with(&["--test", "--open"]);
    open.anonymous().get("/test/clock").is(200);
}

#[test]
fn clock_goes_from_one_due_moment_to_the_next() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    recharge(&admin, "alice", "100");
    for minutes in [3, 1, 2] {
        let hold = json!({ "amount": "10", "expires_in_s": minutes * 60 });
        admin.post("/v1/wallets/alice/holds", hold).is(201);
    }
    let locked = admin.post("/v1/locks/wallet/alice", json!({ "ttl_ms": 90_000, "grace_ms": 0 })).is(201);
    let answer = advance(&admin, 7 * DAY_MS);
    assert_eq!((answer.text("now").as_str(), &answer["lease_ms"]), ("2026-01-08T00:00:00.000Z", &json!(7 * DAY_MS)));
    // The first is due after a minute, while the wallet is locked, and is given back when that lease has ended.
    let entries = admin.get("/v1/entries?order=asc").is(200);
    let ends: Vec<(String, i64)> = entries.rows()[4..]
        .iter()
        .map(|entry| (entry["at"].as_str().unwrap()[11..19].to_owned(), entry["hold"].as_i64().unwrap()))
        .collect();
    assert_eq!(ends, [("00:01:30".to_owned(), 3), ("00:02:00".to_owned(), 4), ("00:03:00".to_owned(), 2)]);
    assert_eq!(admin.balance("alice"), "100.00");
    let token = locked.text("token");
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &token).send().refuses(412, "lock_lost");
}

#[test]
fn waiting_request_ends_only_when_clock_is_moved() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    admin.post("/v1/locks/job", json!({ "ttl_ms": 3_600_000 })).is(201);
    let asking = admin.ask("POST", "/v1/locks/job").json(json!({ "wait_ms": 60_000 }));
    let stream = asking.begin();
    super::server::until(|| admin.get("/v1/locks/job").is(200)["queue"] == 1);
    advance(&admin, 59_999);
    assert_eq!(admin.get("/v1/locks/job").is(200)["queue"], 1);
    advance(&admin, 1);
    let answer = asking.read(stream).refuses(423, "locked");
    assert_eq!(answer["waited_ms"], 60_000);
}

#[test]
fn clock_set_before_an_entry_says_how_far_it_is_behind() {
    let server = Server::with(&["--test", "--clock", "2026-11-26"]);
    let admin = server.admin();
    recharge(&admin, "alice", "1");
    let set = admin.post("/test/clock", json!({ "now": "2026-11-25T00:00:00Z" })).is(200);
    assert_eq!((&set["behind_ms"], &set["lease_ms"]), (&json!(DAY_MS), &json!(0)), "lease time stays");
    assert_eq!(recharge(&admin, "alice", "1")["entry"]["at"], "2026-11-26T00:00:00.000Z");
    let set = admin.post("/test/clock", json!({ "now": "2027-01-01T00:00:00Z" })).is(200);
    assert_eq!(set["lease_ms"], 37 * DAY_MS, "it goes on by the step from the 25th");
    let answer = recharge(&admin, "alice", "1");
    assert_eq!(answer["entry"]["at"], "2027-01-01T00:00:00.000Z");
    assert_eq!(answer.header("Date"), Some("Fri, 01 Jan 2027 00:00:00 GMT"));
    for wrong in [
        json!({}),
        json!({ "advance_ms": 1, "now": "2027-01-01" }),
        json!({ "advance_ms": -1 }),
        json!({ "now": "noon" }),
        json!({ "now": "1969-12-31T00:00:00Z" }),
        json!({ "advance_ms": 1, "back": true }),
        json!({ "now": "9999-01-01" }),
    ] {
        admin.post("/test/clock", wrong).refuses(400, "invalid_request");
    }
}

#[test]
fn old_keys_are_forgotten_when_their_days_are_over() {
    let server = Server::with(&["--test", "--keep-keys", "1"]);
    let admin = server.admin();
    let pay = |replayed| {
        let answer = admin.post_once("k", "/v1/wallets/alice/recharge", json!({ "amount": "1" })).is(200);
        assert_eq!(answer.was_replayed(), replayed);
    };
    pay(false);
    pay(true);
    advance(&admin, DAY_MS);
    pay(true);
    advance(&admin, 2 * DAY_MS);
    pay(false);
}

#[test]
fn reset_and_restore_keep_connections_and_bring_all_back() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    recharge(&admin, "alice", "300");
    admin.post_once("k", "/v1/wallets/alice/withdraw", json!({ "amount": "5" })).is(200);
    let (user, _) = server.mint(json!({ "role": "user", "user": "alice" }));
    advance(&admin, 1_000);
    let kept = admin.put("/test/snapshots/paid", json!({})).is(201);
    assert_eq!(kept["snapshot"], json!({ "name": "paid", "now": "2026-01-01T00:00:01.000Z", "entries": 2 }));
    let lock = admin.post("/v1/locks/job", json!({})).is(201);
    let mut raw = std::net::TcpStream::connect(admin.address).unwrap();
    let mut ask = |path: &str| {
        use std::io::{Read, Write};
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n", admin.address);
        raw.write_all(head.as_bytes()).unwrap();
        let mut answer = vec![0; 65_536];
        let count = raw.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(ask("/v1/wallets/alice").contains("295.00"));
    post(&admin, "/test/reset").is(200);
    assert!(ask("/v1/wallets/alice").contains("wallet_not_found"), "the connection lives");
    user.get("/v1/wallets/alice").refuses(401, "unauthenticated");
    recharge(&admin, "alice", "9");
    advance(&admin, DAY_MS);
    post(&admin, "/test/snapshots/paid/restore").is(200);
    assert!(ask("/v1/wallets/alice").contains("295.00"));
    assert_eq!(user.balance("alice"), "295.00", "its token is there again");
    let again = admin.post_once("k", "/v1/wallets/alice/withdraw", json!({ "amount": "5" })).is(200);
    assert!(again.was_replayed());
    let clock = admin.get("/test/clock").is(200);
    assert_eq!((clock.text("now").as_str(), &clock["lease_ms"]), ("2026-01-01T00:00:01.000Z", &json!(1_000)));
    let same = admin.post("/v1/locks/job", json!({})).is(201);
    assert_eq!(same["fence"], lock["fence"], "the lock that came later was not there yet");
    assert_eq!(admin.get("/v1/verify").is(200)["findings"], json!([]));
    let names: Vec<Value> = admin.get("/test/snapshots").is(200).rows().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["paid"]);
    admin.ask("DELETE", "/test/snapshots/paid").send().is(204);
    post(&admin, "/test/snapshots/paid/restore").refuses(404, "not_found");
    admin.ask("DELETE", "/test/snapshots/paid").send().refuses(404, "not_found");
    admin.put("/test/snapshots/a%20b", json!({})).refuses(400, "invalid_request");
}

#[test]
fn reset_ends_waiting_requests_and_streams() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    let lock = admin.post("/v1/locks/job", json!({ "ttl_ms": 3_600_000 })).is(201);
    let waits = admin.ask("POST", "/v1/locks/job").json(json!({ "wait_ms": 60_000 }));
    let watches = admin.ask("GET", &format!("/v1/locks/job?fence={}&wait_ms=60000", lock["fence"]));
    let polls = admin.ask("GET", "/v1/entries?order=asc&wait_ms=30000");
    let streams = admin.ask("GET", "/v1/events");
    let begun = [&waits, &watches, &polls, &streams].map(|asking| asking.begin());
    super::server::until(|| {
        let metrics = String::from_utf8(admin.get("/metrics").is(200).body).unwrap();
        metrics.contains("cashbox_event_streams 1") && admin.get("/v1/locks/job").is(200)["queue"] == 1
    });
    post(&admin, "/test/reset").is(200);
    let [waiting, watching, polling, streaming] = begun;
    let ended = waits.read(waiting).refuses(503, "busy");
    assert!(ended.text("detail").contains("were replaced"), "{}", ended.text("detail"));
    watches.read(watching).is(200);
    assert!(polls.read(polling).is(200).rows().is_empty());
    assert_eq!(streams.read(streaming).status, 200);
}

#[test]
fn seed_is_taken_by_an_empty_file_alone() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    advance(&admin, DAY_MS);
    let items = json!([
        { "op": "recharge", "user": "alice", "amount": "300" },
        { "op": "hold", "user": "alice", "amount": "20", "expires_in_s": 60 },
    ]);
    let seed = |body: &[u8], kind: &str| admin.ask("POST", "/test/seed").body(kind, body).send();
    assert_eq!(seed(items.to_string().as_bytes(), "application/json").is(200)["entries"], 2);
    let again = seed(items.to_string().as_bytes(), "application/json").refuses(409, "not_empty");
    assert!(again.text("detail").contains("/test/reset"));
    let export = admin.get("/v1/export").is(200).body;
    post(&admin, "/test/reset").is(200);
    server.mint(json!({ "role": "teller" }));
    let refused = seed(&export, "application/x-ndjson").refuses(409, "not_empty");
    assert!(refused.text("detail").contains("access tokens"), "an export would take them away");
    post(&admin, "/test/reset").is(200);
    let wrong = json!([{ "op": "withdraw", "user": "alice", "amount": "1" }]).to_string();
    seed(wrong.as_bytes(), "application/json").refuses(404, "wallet_not_found");
    seed(b"{\"record\":\"cashbox\",\"version\":99}\n", "application/x-ndjson").refuses(400, "invalid_request");
    assert_eq!(seed(&export, "application/x-ndjson").is(200)["entries"], 2);
    assert_eq!(admin.get("/v1/export").is(200).body, export, "all of it came");
    assert_eq!(admin.balance("alice"), "280.00");
    advance(&admin, DAY_MS + 59_999);
    assert_eq!(admin.balance("alice"), "280.00");
    advance(&admin, 1);
    assert_eq!(admin.balance("alice"), "300.00");
    assert_eq!(admin.get("/v1/verify").is(200)["findings"], json!([]));
}

/// The head and the bytes of every answer to some requests in order.
fn transcript(client: &Client) -> Vec<String> {
    let mut all = Vec::new();
    let mut ask = |method: &str, path: &str, body: Value| {
        let answer = client.ask(method, path).json(body).send();
        all.push(format!("{}\n\n{}", answer.head, String::from_utf8_lossy(&answer.body)));
        answer
    };
    ask("POST", "/v1/wallets/alice/recharge", json!({ "amount": "300" }));
    ask("POST", "/test/clock", json!({ "advance_ms": 1_234 }));
    let minted = ask("POST", "/v1/tokens", json!({ "role": "user", "user": "alice" }));
    let lock = ask("POST", "/v1/locks/job", json!({}));
    ask("POST", "/v1/wallets/bob/coupons", json!({ "kind": "1" }));
    ask("POST", "/v1/wallets/alice/holds", json!({ "amount": "9" }));
    ask("POST", "/v1/wallets/alice/withdraw", json!({ "amount": "9000" }));
    ask("PUT", "/test/snapshots/b", json!({}));
    let kinds = json!([{ "kind": "spring", "percent_off": 20, "claim_code": "SPRING" }]);
    ask("PUT", "/v1/tiers", json!({ "tiers": [] }));
    ask("PUT", "/v1/coupon-kinds", json!({ "coupon_kinds": kinds }));
    ask("POST", "/v1/wallets/alice/coupons/claim", json!({ "code": "SPRING" }));
    let secret = minted["token"].as_str().unwrap().to_owned();
    Client { token: Some(secret), ..client.clone() }.get("/v1/me").is(200); // notes the last use
    ask("POST", "/v1/locks", json!({ "any": ["gpu/1", "gpu/2"] }));
    for path in
        ["entries", "journal", "holds", "locks", "lock-events", "tokens", "coupons", "export", "verify", "backup"]
    {
        ask("GET", &format!("/v1/{path}"), json!({}));
    }
    assert!(minted["token"].is_string() && lock["token"].is_string());
    all
}

#[test]
fn same_seed_and_requests_give_the_same_bytes() {
    let first = Server::with(&["--test", "--seed", "7"]);
    let second = Server::with(&["--test", "--seed", "7"]);
    let other = Server::with(&["--test", "--seed", "8"]);
    second.anonymous().get("/healthz").is(200); // is not counted
    let admin = first.admin();
    let once = transcript(&admin);
    assert_eq!(once, transcript(&second.admin()));
    assert_ne!(once, transcript(&other.admin()));
    post(&admin, "/test/reset").is(200);
    assert_eq!(once, transcript(&admin), "after a reset too");
    post(&admin, "/test/reset").is(200);
    admin.put("/test/snapshots/start", json!({})).is(201);
    transcript(&admin);
    post(&admin, "/test/snapshots/start/restore").is(200);
    assert_eq!(once, transcript(&admin), "and after a restore");
}

/// The exit code of a command in that folder, and what it writes on standard error.
fn cashbox(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cashbox"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASHBOX_")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn test_files_and_real_ones_are_kept_apart() {
    let folder = TempDir::new().unwrap();
    assert_eq!(cashbox(&folder, &["--db", "real.db", "recharge", "alice", "1"]).0, Some(0));
    let (code, text) = cashbox(&folder, &["--db", "real.db", "serve", "--test"]);
    assert!(code == Some(2) && text.contains("not made by serve --test"), "{text}");
    let server = Server::with(&["--test"]);
    recharge(&server.admin(), "alice", "1");
    let db = server.folder.path().join("cashbox.db");
    let db = db.to_str().unwrap();
    assert_eq!(cashbox(&folder, &["--db", db, "recharge", "alice", "1"]).0, Some(0), "through its server");
    assert_eq!(cashbox(&folder, &["--db", db, "backup", "copy.db"]).0, Some(0));
    for arguments in [
        &["recharge", "alice", "1"][..],
        &["serve", "--listen", "127.0.0.1:0"],
        &["token", "create", "--role", "admin"],
    ] {
        let (code, text) = cashbox(&folder, &[&["--db", "copy.db"], arguments].concat());
        assert!(code == Some(2) && text.contains("made by serve --test"), "{text}");
    }
    let (code, text) = cashbox(&folder, &["--db", "real.db", "restore", "copy.db", "--replace"]);
    assert!(code == Some(2) && text.contains("made by serve --test"), "{text}");
    for arguments in [&["wallet", "alice"][..], &["verify"], &["export"]] {
        assert_eq!(cashbox(&folder, &[&["--db", "copy.db"], arguments].concat()).0, Some(0), "it can be read");
    }
}

#[test]
fn test_options_are_refused_where_they_mean_nothing() {
    let folder = TempDir::new().unwrap();
    for (arguments, why) in [
        (&["serve", "--test", "--listen", "0.0.0.0:0"][..], "loopback"),
        (&["serve", "--seed", "1"], "--test"),
        (&["serve", "--clock", "2026-01-01"], "--test"),
        (&["serve", "--test", "--clock", "noon"], "2026-01-31"),
        (&["serve", "--test", "--seed=-1"], "--seed"),
    ] {
        let (code, text) = cashbox(&folder, arguments);
        assert!(code == Some(2) && text.contains(why), "{arguments:?}: {text}");
    }
}

#[test]
fn test_file_goes_on_at_the_time_of_its_newest_entry() {
    let server = Server::with(&["--test"]);
    advance(&server.admin(), DAY_MS);
    recharge(&server.admin(), "alice", "1");
    let server = server.killed_and_started_again();
    let admin = server.admin();
    assert_eq!(admin.get("/test/clock").is(200).text("now"), "2026-01-02T00:00:00.000Z");
    assert_eq!(admin.balance("alice"), "1.00");
    post(&admin, "/test/reset").is(200);
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
}

#[test]
fn clock_is_not_moved_beyond_its_bounds() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    let set = |now: &str| admin.post("/test/clock", json!({ "now": now }));
    for _ in 0..5 {
        set("9998-12-31T23:59:59Z");
        set("1970-01-01");
    }
    let refused = set("9998-12-31").refuses(400, "invalid_request");
    assert!(refused.text("detail").contains("lease time"), "{}", refused.text("detail"));
    advance(&admin, 1);
    post(&admin, "/test/reset").is(200);
    set("9998-12-31").is(200);
    admin.post("/test/clock", json!({ "advance_ms": 30 * DAY_MS })).refuses(400, "invalid_request");
    recharge(&admin, "alice", "1");
}

#[test]
fn clock_of_full_disk_is_not_moved() {
    let server = Server::with(&["--test", "--min-free", "1000000000000000000"]);
    let admin = server.admin();
    let move_on = || admin.post("/test/clock", json!({ "advance_ms": DAY_MS }));
    move_on().refuses(503, "storage_full");
    assert_eq!(admin.get("/test/clock").is(200)["lease_ms"], 0);
}

#[test]
fn restored_journal_has_its_own_newest_line() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    let lines = || {
        let metrics = String::from_utf8(admin.get("/metrics").is(200).body).unwrap();
        metrics.lines().find_map(|line| line.strip_prefix("cashbox_journal_lines ").map(str::to_owned)).unwrap()
    };
    let made = lines();
    server.mint(json!({ "role": "teller" }));
    admin.put("/test/snapshots/a", json!({})).is(201);
    assert_ne!(lines(), made);
    let with_token = lines();
    post(&admin, "/test/reset").is(200);
    assert_eq!(lines(), made, "else a long poll asks again and again");
    post(&admin, "/test/snapshots/a/restore").is(200);
    assert_eq!(lines(), with_token);
}

#[test]
fn contents_shorter_than_before_are_not_taken_for_a_cut_file() {
    let server = Server::with(&["--test"]);
    let admin = server.admin();
    let items: Vec<Value> =
        (0..1_000).map(|n| json!({ "op": "recharge", "user": format!("user-{n}"), "amount": "1" })).collect();
    admin.post("/test/seed", json!(items)).is(200);
    admin.put("/test/snapshots/long", json!({})).is(201);
    for _ in 0..80 {
        // The log is moved into the file now and then, which becomes shorter by it, or longer.
        post(&admin, "/test/reset").is(200);
        post(&admin, "/test/snapshots/long/restore").is(200);
        recharge(&admin, "alice", "1");
    }
    assert_eq!(admin.get("/healthz").is(200)["status"], "ok");
}

#[test]
fn page_at_another_port_tests_without_token() {
    let server = Server::with(&["--test", "--open", "--allow-origin", "http://localhost:3000"]);
    let page = server.anonymous();
    let path = "/v1/wallets/alice/recharge";
    page.post("/test/faults", json!({ "do": { "status": "busy" }, "match": { "path": path } })).is(201);
    let ask = |method: &str| page.ask(method, path).header("Origin", "http://localhost:3000");
    let preflight = ask("OPTIONS").header("Access-Control-Request-Method", "POST").send().is(204);
    assert_eq!(preflight.header("Access-Control-Allow-Origin"), Some("http://localhost:3000"));
    ask("POST").json(json!({ "amount": "1" })).send().refuses(503, "busy");
    let done = ask("POST").json(json!({ "amount": "1" })).send().is(200);
    assert_eq!(done.header("Access-Control-Allow-Origin"), Some("http://localhost:3000"));
    page.post("/test/faults", json!({ "do": { "status": "busy" }, "match": { "method": "OPTIONS" } })).is(201);
    assert_eq!(ask("OPTIONS").send().status, 503, "if that is asked for");
}
