//! Lists, files, and what reading must never do.

use super::server::{Answer, Client, Server, fields};
use crate::postgres;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every row of a list, page after page; each page but the last is full.
fn all_pages(client: &Client, path: &str, limit: usize) -> Vec<Value> {
    let sep = if path.contains('?') { '&' } else { '?' };
    let mut answer = client.get(&format!("{path}{sep}limit={limit}")).is(200);
    let bare = path.split('?').next().unwrap();
    let mut rows = answer.rows().clone();
    while let Some(next) = answer["next"].as_str() {
        assert_eq!(answer.rows().len(), limit, "a page before the last is full");
        answer = client.get(&format!("{bare}?limit={limit}&after={next}")).is(200);
        rows.extend(answer.rows().clone());
    }
    assert_eq!(fields(&answer.json)[..4], ["code", "msg", "data", "next"]);
    rows
}

fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// Wallets u000…, each recharged once, and alice with three kinds of entries.
fn busy(users: usize) -> Server {
    let server = Server::start();
    let mut items: Vec<Value> =
        (0..users).map(|i| json!({ "op": "recharge", "user": format!("u{i:03}"), "amount": 5 })).collect();
    items.push(json!({ "op": "recharge", "user": "alice", "amount": 100 }));
    for _ in 0..5 {
        items.push(json!({ "op": "pay", "user": "alice", "amount": 1 }));
        items.push(json!({ "op": "withdraw", "user": "alice", "amount": 1 }));
    }
    let done = server.admin().post("/v1/batch", json!(items)).is(200);
    assert!(done["results"].as_array().unwrap().iter().all(|result| result["code"] == 200));
    server
}

#[test]
fn list_pages_miss_and_repeat_nothing() {
    let server = busy(60);
    let admin = server.admin();
    let first = admin.get("/v1/wallets").is(200);
    assert_eq!((first.rows().len(), first["next"].is_string()), (50, true), "50 by default");
    assert_eq!(fields(&first.rows()[0]), ["user_id", "balance", "held", "entries", "last_at", "name", "status"]);
    for limit in [1, 7, 64, 1_000] {
        let names: Vec<_> = all_pages(&admin, "/v1/wallets", limit)
            .iter()
            .map(|row| row["user_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), 64);
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order");
        assert_eq!(ids(&all_pages(&admin, "/v1/entries", limit)), (1..=71).rev().collect::<Vec<_>>());
        assert_eq!(ids(&all_pages(&admin, "/v1/entries?order=asc", limit)), (1..=71).collect::<Vec<_>>());
    }
    for _ in 0..5 {
        admin.post("/v1/wallets/alice/coupons", json!({ "kind": "1" })).is(200);
        server.mint(json!({ "role": "auditor" }));
        let token = admin.post("/v1/locks/busy", json!({})).is(201).text("token");
        admin.ask("DELETE", "/v1/locks/busy").header("Lock-Token", &token).send().is(204);
        admin.post(&format!("/v1/locks/l{token}"), json!({})).is(201);
    }
    for (path, field, count) in [
        ("/v1/wallets/alice/coupons", "code", 6),
        ("/v1/tokens", "id", 6),
        ("/v1/locks/busy/events", "seq", 10),
        ("/v1/locks", "id", 5),
    ] {
        let rows = all_pages(&admin, path, 2);
        let different: BTreeSet<_> = rows.iter().map(|row| row[field].to_string()).collect();
        assert_eq!((rows.len(), different.len()), (count, count), "{path}");
    }
}

#[test]
fn cursor_keeps_filters_and_belongs_to_its_list() {
    let server = busy(3);
    let admin = server.admin();
    let path = "/v1/wallets/alice/entries";
    let pays = all_pages(&admin, &format!("{path}?kind=pay&order=asc"), 2);
    assert_eq!(pays.len(), 5);
    assert!(pays.iter().all(|row| row["kind"] == "pay") && ids(&pays).is_sorted());
    let next = admin.get(&format!("{path}?kind=pay&limit=2")).is(200).text("next");
    assert_eq!(
        admin.get(&format!("{path}?kind=pay&after={next}")).is(200).rows().len(),
        3,
        "said again, it is the same"
    );
    for wrong in ["kind=withdraw", "order=asc", "since=2020-01-01T00:00:00Z"] {
        admin.get(&format!("{path}?after={next}&{wrong}")).refuses(400, "invalid_request");
    }
    for elsewhere in
        ["/v1/entries", "/v1/wallets", "/v1/wallets/u000/entries", "/v1/tokens", "/v1/wallets/alice/coupons"]
    {
        admin.get(&format!("{elsewhere}?after={next}")).refuses(400, "invalid_request");
    }
    for nonsense in ["x", "zz", "00", "7", "6f663d78", &"ab".repeat(500), "%F0%9F%92%B0"] {
        admin.get(&format!("{path}?after={nonsense}")).refuses(400, "invalid_request");
    }
    let before = admin.get(&format!("{path}?limit=2")).is(200);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200);
    let rest = admin.get(&format!("{path}?after={}", before.text("next"))).is(200);
    assert_eq!(ids(before.rows())[1] - 1, ids(rest.rows())[0], "a new entry moves no page");
}

#[test]
fn list_refuses_unknown_or_bad_parameters() {
    let server = busy(1);
    let admin = server.admin();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1.5",
        "limit=x",
        "limit=",
        "limit=99999999999999999999",
        "kind=bogus",
        "order=up",
        "since=yesterday",
        "until=2026-13-01T00:00:00Z",
        "offset=3",
        "limit=1&limit=2",
        "since=2026-01-32",
        "since=2026-01-01T00:00:00",
        "tz=Europe/Paris",
        "tz=%2B24:00",
    ] {
        admin.get(&format!("/v1/entries?{query}")).refuses(400, "invalid_request");
    }
    admin.get("/v1/wallets?kind=pay").refuses(400, "invalid_request");
    admin.ask("GET", "/v1/wallets").json(r#"{"limit":1}"#).send().refuses(400, "invalid_request");
    for path in [
        "/v1/wallets/ghost",
        "/v1/wallets/ghost/entries",
        "/v1/wallets/ghost/coupons",
        "/v1/wallets/ghost?as_of=2026-01-01T00:00:00Z",
    ] {
        admin.get(path).refuses(404, "wallet_not_found");
    }
}

#[test]
fn time_bounds_include_their_own_millisecond() {
    let server = busy(2);
    let admin = server.admin();
    let entries = all_pages(&admin, "/v1/entries?order=asc", 1_000);
    let times: BTreeSet<&str> = entries.iter().map(|row| row["at"].as_str().unwrap()).collect();
    for at in times {
        let count =
            |test: &dyn Fn(&str) -> bool| entries.iter().filter(|row| test(row["at"].as_str().unwrap())).count();
        let asked = |query: &str| admin.get(&format!("/v1/entries?{query}")).is(200).rows().len();
        assert_eq!(asked(&format!("since={at}")), count(&|row| row >= at));
        assert_eq!(asked(&format!("until={at}")), count(&|row| row <= at));
        assert_eq!(asked(&format!("since={at}&until={at}")), count(&|row| row == at));
        assert_eq!(
            asked(&format!("until={at}&kind=recharge")),
            entries.iter().filter(|row| row["at"].as_str().unwrap() <= at && row["kind"] == "recharge").count()
        );
        for wallet in ["alice", "@bank", "@sales"] {
            let is_its = |row: &&Value| {
                row["at"].as_str().unwrap() <= at && [&row["from"], &row["to"]].contains(&&json!(wallet))
            };
            let before: Vec<&Value> = entries.iter().filter(is_its).collect();
            let then = admin.get(&format!("/v1/wallets/{wallet}?as_of={at}")).is(200);
            let side = |row: &Value| row[if row["to"] == wallet { "to_balance" } else { "from_balance" }].clone();
            let balance = before.last().map_or(json!("0.00"), |row| side(row));
            assert_eq!((&then["balance"], &then["entries"]), (&balance, &json!(before.len())), "{wallet} as of {at}");
        }
    }
    assert_eq!(admin.get("/v1/wallets/alice?as_of=2001-01-01T00:00:00Z").is(200)["balance"], "0.00");
    assert_eq!(admin.get("/v1/wallets/alice?as_of=2999-01-01T00:00:00%2B02:00").is(200)["balance"], "90.00");
    assert_eq!(admin.get("/v1/entries?since=2999-01-01T00:00:00Z").is(200).rows().len(), 0);
    admin.get("/v1/wallets/alice?as_of=now").refuses(400, "invalid_request");
    let today = &admin.get("/v1/entries").is(200).rows()[0]["at"].as_str().unwrap()[..10].to_owned();
    let all = admin.get("/v1/entries").is(200).rows().len();
    let count = |query: &str| admin.get(&format!("/v1/entries?{query}")).is(200).rows().len();
    assert_eq!(count("until=9999-12-31T23:59:59.999Z&since=0000-01-01"), all);
    if admin.get("/v1/entries?order=asc").is(200).rows()[0]["at"].as_str().unwrap().starts_with(today.as_str()) {
        assert_eq!(count(&format!("since={today}&until={today}")), all, "a date is its whole day");
        assert_eq!(count(&format!("since={today}&until={today}&tz=Z")), all);
    }
    let paged = admin.get(&format!("/v1/entries?until={today}&tz=-12:00&limit=1")).is(200);
    if let Some(next) = paged["next"].as_str() {
        admin.get(&format!("/v1/entries?after={next}&tz=Z")).refuses(400, "invalid_request");
        admin.get(&format!("/v1/entries?after={next}")).is(200);
    }
    let then = admin.get("/v1/wallets/alice?as_of=9999-12-31").is(200);
    assert!(then.text("as_of").as_str() < "2900" && then["balance"] == "90.00", "later than now is now");
    for plus in ["since=2026-01-01T00:00:00+01:00", "tz=+08:00&since=2026-01-01"] {
        let refused = admin.get(&format!("/v1/entries?{plus}")).refuses(400, "invalid_request");
        assert!(refused.text("detail").contains("%2B"), "{}", refused["detail"]);
    }
}

#[test]
fn streamed_entries_are_whole_while_money_moves() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    let many: Vec<Value> = (0..3_000).map(|_| json!({ "op": "recharge", "user": "alice", "amount": "0.01" })).collect();
    admin.post("/v1/batch?atomic=true", json!(many)).is(200);
    let file = |accept: &str, query: &str| -> Vec<u8> {
        let asking = admin.ask("GET", &format!("/v1/entries?{query}")).header("Accept", accept);
        let streams: Vec<_> = (0..3).map(|_| asking.begin()).collect();
        for _ in 0..20 {
            admin.post("/v1/wallets/alice/recharge", json!({ "amount": "0.01" })).is(200);
        }
        let bodies: Vec<Answer> = streams.into_iter().map(|stream| asking.read(stream).is(200)).collect();
        assert!(bodies.iter().all(|answer| answer.header("content-type").unwrap().starts_with(accept)));
        bodies[0].body.clone()
    };
    let lines = String::from_utf8(file("application/x-ndjson", "order=asc")).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() >= 3_000 && lines.ends_with('\n'));
    assert_eq!(ids(&rows), (1..=rows.len() as i64).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(rows[6], admin.get("/v1/entries/7").is(200)["entry"]);
    let csv = String::from_utf8(file("text/csv", "")).unwrap();
    assert!(csv.starts_with("id,at,kind,from,to,amount,from_balance,to_balance,coupon,gross,discount,refunds,reference,metadata,by,fence,hold,hold_to,hold_until,hash\r\n"));
    let numbers: Vec<i64> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.len() >= 3_020 && numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "newest first, each once");
    assert_eq!(numbers.last(), Some(&1));
    let (some, none) = (file("application/x-ndjson", "kind=recharge"), file("application/x-ndjson", "kind=pay"));
    assert!(some.len() > 3_000 && none.is_empty(), "a file has all that passes the filter");
}

#[test]
fn csv_cell_may_hold_any_text() {
    let server = Server::start();
    let admin = server.admin();
    let reference = "a,\"b\"\r\nc";
    admin
        .post("/v1/wallets/alice/recharge", json!({ "amount": 1, "reference": reference, "metadata": { "k": "v" } }))
        .is(200);
    let csv = admin.ask("GET", "/v1/wallets/alice/entries").header("Accept", "text/csv; charset=utf-8").send().is(200);
    let csv = String::from_utf8(csv.body).unwrap();
    assert!(csv.contains(",\"a,\"\"b\"\"\r\nc\",\"{\"\"k\"\":\"\"v\"\"}\","), "{csv}");
}

#[test]
fn accept_picks_by_weight_then_by_order() {
    let server = Server::start();
    let admin = server.admin();
    let asked = |method: &str, path: &str, accept: &str| admin.ask(method, path).header("Accept", accept).send();
    let (json, csv, ndjson) = ("application/json", "text/csv", "application/x-ndjson");
    for (accept, wanted) in [
        ("*/*", json),
        ("", json),
        ("application/*", json),
        ("text/*", csv),
        ("text/html, */*;q=0.1", json),
        ("text/csv;q=0, application/json", json),
        ("text/csv, application/json", csv),
        ("application/json, text/csv", json),
        ("application/json;q=0.5, text/csv;q=0.9, */*;q=0.1", csv),
        ("TEXT/CSV; charset=utf-8", csv),
        ("application/x-ndjson, */*", ndjson),
        ("application/json;q=0, */*", csv),
        ("application/json;q=0.1, application/*;q=0.9", ndjson),
    ] {
        let answer = asked("GET", "/v1/entries", accept).is(200);
        assert_eq!(answer.header("content-type"), Some(wanted), "{accept}");
    }
    for accept in ["text/html", "text/csv;q=0", "*/*;q=0", "application/json;q=0, text/html", "image/*", "json"] {
        asked("GET", "/v1/entries", accept).refuses(406, "not_acceptable");
        let recharge = admin.ask("POST", "/v1/wallets/alice/recharge").header("Accept", accept);
        recharge.json(json!({ "amount": 1 })).send().refuses(406, "not_acceptable");
    }
    asked("GET", "/healthz", "text/csv").refuses(406, "not_acceptable");
    asked("GET", "/v1/wallets/alice", "*/*").refuses(404, "wallet_not_found");
    asked("GET", "/metrics", "application/openmetrics-text;q=0.5, text/plain;version=0.0.4;q=0.3").is(200);
    asked("GET", "/v1/wallets", "text/html").refuses(406, "not_acceptable");
    let lock = admin.post("/v1/locks/a", json!({})).is(201).text("token");
    admin.ask("DELETE", "/v1/locks/a").header("Lock-Token", &lock).header("Accept", "text/html").send().is(204);
}

#[test]
fn limit_of_csv_is_one_page_with_link() {
    let server = Server::start();
    let admin = server.admin();
    let many: Vec<Value> = (0..5).map(|_| json!({ "op": "recharge", "user": "alice", "amount": "1.00" })).collect();
    admin.post("/v1/batch", json!(many)).is(200);
    for (accept, head) in [("text/csv", 1), ("application/x-ndjson", 0)] {
        let (mut path, mut lines) = ("/v1/wallets/alice/entries?order=asc&limit=2".to_owned(), Vec::new());
        loop {
            let page = admin.ask("GET", &path).header("Accept", accept).send().is(200);
            let text = String::from_utf8(page.body.clone()).unwrap();
            lines.push(text.lines().count() - head);
            let Some(link) = page.header("link") else { break };
            let next = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).unwrap();
            path = next.to_owned();
        }
        assert_eq!(lines, [2, 2, 1], "{accept}");
        let all = admin.ask("GET", "/v1/wallets/alice/entries").header("Accept", accept).send().is(200);
        assert_eq!(
            (String::from_utf8(all.body.clone()).unwrap().lines().count(), all.header("link")),
            (5 + head, None)
        );
    }
}

#[test]
fn head_is_get_without_body_and_other_methods_are_405() {
    let server = busy(2);
    let admin = server.admin();
    for path in [
        "/wallet?user_id=alice",
        "/v1/wallets",
        "/v1/wallets/alice",
        "/v1/entries/1",
        "/v1/locks/a",
        "/v1/tiers",
        "/healthz",
        "/openapi.json",
    ] {
        let (head, get) = (admin.ask("HEAD", path).send(), admin.get(path));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
    assert_eq!(admin.ask("HEAD", "/v1/entries/99").send().status, 404);
    assert_eq!(server.anonymous().ask("HEAD", "/v1/wallets").send().status, 401);
    let file = admin.ask("HEAD", "/v1/entries").header("Accept", "text/csv").send();
    assert_eq!((file.status, file.body.len(), file.header("content-type")), (200, 0, Some("text/csv")));
    for (method, path, allow) in [
        ("DELETE", "/wallet", "GET, HEAD, OPTIONS, POST, PUT"),
        ("PATCH", "/v1/wallets", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/wallets/alice/pay", "OPTIONS, POST"),
        ("HEAD", "/v1/batch", "OPTIONS, POST"),
        ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/locks/a", "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        ("POST", "/v1/locks/a/events", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/locks/a/revoke", "OPTIONS, POST"),
        ("get", "/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let refused = admin.ask(method, path).send();
        assert_eq!((refused.status, refused.header("Allow")), (405, Some(allow)), "{method} {path}");
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/wallets/",
        "/wallet/",
        "/v2/wallets",
        "/v1/wallets/alice/pays",
        "/v1/entries/1/2",
        "/problems/nothing",
        "/v1/tokens/a/b",
    ] {
        admin.get(path).refuses(404, "not_found");
    }
}

#[test]
fn get_requests_change_nothing() {
    let server = busy(3);
    let admin = server.admin();
    admin.post("/v1/locks/old", json!({ "ttl_ms": 1, "grace_ms": 0 })).is(201);
    admin.post("/v1/locks/new", json!({})).is(201);
    // Another connection sees a commit of the server's by this number, and its length by the size of the log.
    let file = rusqlite::Connection::open(server.folder.path().join("cashbox.db")).unwrap();
    let version = || file.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let commits = || {
        let metrics = String::from_utf8(admin.get("/metrics").is(200).body).unwrap();
        metrics.lines().filter(|line| line.contains("commits")).map(str::to_owned).collect::<Vec<_>>()
    };
    super::server::until(|| {
        let seen = (version(), commits());
        admin.get("/healthz").is(200);
        seen == (version(), commits())
    });
    let before = (version(), commits());
    assert!(!before.1.is_empty(), "commits are counted");
    let code = admin.get("/v1/wallets/alice/coupons").is(200).rows()[0]["code"].as_str().unwrap().to_owned();
    for path in [
        "/wallet?user_id=alice",
        "/wallet?user_id=ghost",
        "/v1/wallets",
        "/v1/wallets/alice",
        "/v1/wallets/alice?as_of=2026-01-01T00:00:00Z",
        "/v1/entries",
        "/v1/entries/1",
        "/v1/wallets/alice/entries",
        "/v1/locks",
        "/v1/locks/old",
        "/v1/locks/new",
        "/v1/locks/new/events",
        "/v1/locks/new?fence=99&wait_ms=5000",
        "/v1/tokens",
        "/v1/report",
        "/v1/report?wallet=alice",
        "/v1/tiers",
        "/v1/coupon-kinds",
        "/v1/verify",
        "/healthz",
        "/metrics",
        "/openapi.json",
        &format!("/v1/coupons/{code}"),
        &format!("/v1/coupons/{code}/quote?amount=20"),
    ] {
        let asking = admin.ask("GET", path).header("Idempotency-Key", "k");
        assert_eq!((asking.send().status, admin.ask("HEAD", path).send().status), (200, 200), "{path}");
    }
    assert_eq!((version(), commits()), before);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200);
    assert_ne!((version(), commits()), before, "a change would have been seen");
}

#[test]
fn refusal_leaves_connection_open() {
    let server = busy(1);
    let head = |line: &str| {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n", super::server::ADMIN)
    };
    let mut bytes = String::new();
    for (line, body) in [
        ("POST /v1/wallets/u000/withdraw", "amount=900"),
        ("PUT /wallet", "money=x"),
        ("GET /nothing", ""),
        ("DELETE /v1/wallets", ""),
    ] {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        bytes += &format!("{}{form}Content-Length: {}\r\n\r\n{body}", head(line), body.len());
    }
    bytes += &format!("{}Connection: close\r\n\r\n", head("GET /v1/wallets/u000"));
    let answers = String::from_utf8(server.raw(bytes.as_bytes())).unwrap();
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["402", "400", "404", "405", "200"]);
}

#[test]
fn broken_http_is_refused_as_problem() {
    let server = Server::start();
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(20_000));
    for (bytes, status, name) in [
        ("nonsense\r\n\r\n", 400, "invalid_request"),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid_request"),
        ("POST /wallet HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "invalid_request"),
        ("GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, "http_version"),
        (&long, 431, "headers_too_large"),
    ] {
        Answer::parse(&server.raw(bytes.as_bytes()), false).refuses(status, name);
    }
    let old = Answer::parse(&server.raw(b"GET /healthz HTTP/1.0\r\n\r\n"), false).is(200);
    assert_eq!(old["status"], "ok", "HTTP/1.0 may omit its host");
}

#[test]
fn wallets_and_coupons_come_as_files() {
    let server = Server::start();
    let admin = server.admin();
    for user in ["ann", "ben", "cat"] {
        admin.post(&format!("/v1/wallets/{user}/recharge"), json!({ "amount": 100 })).is(200);
        admin.post(&format!("/v1/wallets/{user}/coupons"), json!({ "kind": "2" })).is(200);
    }
    let file = |path: &str, accept: &str| {
        let answer = admin.ask("GET", path).header("Accept", accept).send().is(200);
        (String::from_utf8(answer.body.clone()).unwrap(), answer.header("link").map(str::to_owned))
    };
    let (wallets, link) = file("/v1/wallets?system=false", "text/csv");
    let mut lines = wallets.lines();
    assert_eq!(lines.next(), Some("user_id,balance,held,entries,last_at,name,status"));
    assert!(lines.next().unwrap().starts_with("ann,100.00,0.00,1,20"), "{wallets}");
    assert_eq!((lines.count(), link), (2, None));
    let (lines, _) = file("/v1/wallets?prefix=b", "application/x-ndjson");
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap(), admin.get("/v1/wallets?prefix=b").is(200).rows()[0]);
    let (page, link) = file("/v1/wallets?limit=2", "text/csv");
    assert_eq!(page.lines().count(), 3);
    let rest = link.unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
    assert!(file(&rest, "text/csv").0.contains("\r\n@sales,"));
    let (largest, link) = file("/v1/wallets?order=balance&max=100", "text/csv");
    assert_eq!((largest.lines().count(), link), (4, None), "one page");
    let (coupons, _) = file("/v1/wallets/ann/coupons", "text/csv");
    assert!(
        coupons.starts_with(
            "code,user_id,kind,amount_off,percent_off,threshold,single_use,state,granted_at,earned_by,max_off,expires_at\r\n"
        )
    );
    assert_eq!(coupons.lines().count(), 3);
    assert_eq!(file("/v1/coupons?kind=2", "text/csv").0.lines().count(), 4);
    let (coupons, link) = file("/v1/wallets/ann/coupons?limit=1", "application/x-ndjson");
    assert_eq!((coupons.lines().count(), link.is_some()), (1, true));
    let none = admin.ask("GET", "/v1/wallets/ghost/coupons").header("Accept", "text/csv").send();
    none.refuses(404, "wallet_not_found");
    let head = admin.ask("HEAD", "/v1/wallets").header("Accept", "text/csv").send();
    assert_eq!((head.status, head.body.len()), (200, 0));
}
