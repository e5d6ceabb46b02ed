//! Filters of entries and wallets: what they find, and the number of rows that one page looks at; and lists that wait
//! for the next entry.

use super::server::{Client, Server, fields, until};
use crate::postgres;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Every row of a list, page after page, and the number of pages. A page may be short.
fn all_pages(client: &Client, path: &str) -> (Vec<Value>, usize) {
    let mut answer = client.get(path).is(200);
    let bare = path.split('?').next().unwrap();
    let (mut rows, mut pages) = (answer.rows().clone(), 1);
    while let Some(next) = answer["next"].as_str() {
        answer = client.get(&format!("{bare}?after={next}")).is(200);
        rows.extend(answer.rows().clone());
        pages += 1;
    }
    (rows, pages)
}

fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["user_id"].as_str().unwrap()).collect()
}

#[test]
fn entries_are_found_by_metadata_caller_and_amount() {
    let server = Server::start();
    let (admin, teller) = (server.admin(), server.role("teller"));
    let north = json!({ "shop": "north", "till": "1" });
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50, "metadata": north })).is(200);
    teller.post("/v1/wallets/alice/pay", json!({ "amount": "19.99", "metadata": { "shop": "north" } })).is(200);
    teller.post("/v1/wallets/alice/pay", json!({ "amount": 20, "metadata": { "shop": "south", "a": ":" } })).is(200);
    let by = admin.get("/v1/entries/3").is(200)["entry"]["by"].as_str().unwrap().to_owned();
    let bob = admin.post("/v1/wallets/bob/recharge", json!({ "amount": 1, "metadata": { "给": "\"价\"\\" } })).is(200);
    assert_eq!(bob["entry"]["id"], 4);
    for (query, found) in [
        ("metadata[shop]=north", vec![2, 1]),
        ("metadata%5Bshop%5D=north&metadata[till]=1", vec![1]),
        ("metadata[shop]=north&min=50", vec![1]),
        ("metadata[shop]=nort", vec![]),
        ("metadata[till]=north", vec![]),
        ("metadata[%E7%BB%99]=%22%E4%BB%B7%22%5C", vec![4]),
        ("metadata[:]=,", vec![]),
        (&format!("by={by}"), vec![3, 2]),
        ("by=@none", vec![]),
        ("by=", vec![]),
        ("min=0.00", vec![4, 3, 2, 1]),
        ("min=20&max=20.00", vec![3]),
        ("min=19.99&max=20&kind=pay&order=asc", vec![2, 3]),
        ("max=0", vec![]),
        ("min=9999999999999999.99", vec![]),
    ] {
        assert_eq!(ids(admin.get(&format!("/v1/entries?{query}")).is(200).rows()), found, "{query}");
        let own: Vec<i64> = found.iter().copied().filter(|id| *id < 4).collect();
        assert_eq!(ids(admin.get(&format!("/v1/wallets/alice/entries?{query}")).is(200).rows()), own, "{query}");
    }
    for (query, name) in [
        ("min=x", "invalid_amount"),
        ("min=-1", "invalid_amount"),
        ("max=1.001", "invalid_amount"),
        ("max=", "invalid_amount"),
        ("min=99999999999999999", "invalid_amount"),
        ("metadata=north", "invalid_request"),
        ("metadata[a]=1&metadata[a]=2", "invalid_request"),
        ("metadata[a]=1&metadata[b]=2&metadata[c]=3&metadata[d]=4", "invalid_request"),
    ] {
        admin.get(&format!("/v1/entries?{query}")).refuses(400, name);
    }
    for pair in [
        "metadata[]=1".to_owned(),
        format!("metadata[{}]=1", "n".repeat(41)),
        format!("metadata[a]={}", "v".repeat(501)),
    ] {
        admin.get(&format!("/v1/entries?{pair}")).refuses(400, "invalid_request"); // no entry can have it
    }
    let (path, kept) = ("/v1/entries", "metadata[shop]=north&min=1");
    let next = admin.get(&format!("{path}?{kept}&limit=1")).is(200).text("next");
    for same in ["", kept, "metadata[shop]=north"] {
        assert_eq!(ids(admin.get(&format!("{path}?after={next}&{same}")).is(200).rows()), [1], "{same}");
    }
    for other in ["metadata[shop]=south", "min=2", "by=x"] {
        admin.get(&format!("{path}?after={next}&{other}")).refuses(400, "invalid_request");
    }
}

#[test]
fn page_of_a_filter_looks_at_ten_thousand_rows() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 9_000, "metadata": { "rare": "yes" } })).is(200);
    let many = |op: &str, count: usize| -> Vec<Value> {
        (0..count).map(|_| json!({ "op": op, "user": "alice", "amount": "0.01" })).collect()
    };
    admin.post("/v1/batch?atomic=true", json!(many("withdraw", 8_000))).is(200);
    admin.post("/v1/batch?atomic=true", json!(many("recharge", 6_000))).is(200);
    for (list, pages) in [("/v1/entries", 2), ("/v1/wallets/alice/entries", 3)] {
        for query in ["metadata[rare]=yes", "min=100", "metadata[rare]=yes&order=asc", "max=9000&min=9000&limit=1"] {
            let path = format!("{list}?{query}");
            let (rows, seen) = all_pages(&admin, &path);
            assert_eq!(ids(&rows), [1], "{path}");
            assert!((2..=pages).contains(&seen), "{path} took {seen} pages");
        }
        let first = admin.get(&format!("{list}?metadata[rare]=yes")).is(200);
        assert!(first.rows().is_empty() && first["next"].is_string(), "{list}: an empty page that is not the last");
        assert_eq!(all_pages(&admin, &format!("{list}?kind=pay")), (vec![], 1), "{list}: kinds are looked for further");
        let file = admin.ask("GET", &format!("{list}?metadata[rare]=yes")).header("Accept", "application/x-ndjson");
        assert_eq!(String::from_utf8(file.send().is(200).body).unwrap().lines().count(), 1, "a file has all");
    }
    let since = admin.get("/v1/entries/14000").is(200)["entry"]["at"].as_str().unwrap().to_owned();
    let (rows, pages) = all_pages(&admin, &format!("/v1/entries?metadata[rare]=no&since={since}"));
    assert_eq!((rows.len(), pages), (0, 1), "few rows are looked at once");
}

#[test]
fn wallets_are_found_by_prefix_and_balance() {
    let server = Server::start();
    let admin = server.admin();
    for (user, amount) in [("anna", 30), ("ann", 20), ("anton", 50), ("bob", 40), ("Ann", 1)] {
        admin.post(&format!("/v1/wallets/{user}/recharge"), json!({ "amount": amount })).is(200);
    }
    for (query, found) in [
        ("prefix=an", vec!["ann", "anna", "anton"]),
        ("prefix=ann", vec!["ann", "anna"]),
        ("prefix=@", vec!["@bank", "@holds", "@sales"]),
        ("prefix=z", vec![]),
        ("prefix=%25", vec![]),
        ("prefix=", vec!["@bank", "@holds", "@sales", "Ann", "ann", "anna", "anton", "bob"]),
        ("system=true&order=id&prefix=@b", vec!["@bank"]),
        ("system=false", vec!["Ann", "ann", "anna", "anton", "bob"]),
        ("system=false&prefix=@", vec![]),
        ("min=0.00&max=30", vec!["Ann", "ann", "anna"]),
        ("min=30&prefix=a", vec!["anna", "anton"]),
        ("order=balance", vec!["anton", "bob", "anna", "ann", "Ann"]),
        ("order=balance&limit=2", vec!["anton", "bob"]),
        ("order=balance&prefix=ann&max=25", vec!["ann"]),
    ] {
        let answer = admin.get(&format!("/v1/wallets?{query}")).is(200);
        assert_eq!((names(answer.rows()), answer["next"].is_null()), (found, true), "{query}");
    }
    let (rows, pages) = all_pages(&admin, "/v1/wallets?prefix=a&system=false&limit=1");
    assert_eq!((names(&rows), pages), (vec!["ann", "anna", "anton"], 2), "the cursor keeps the filters");
    for wrong in ["order=up", "system=maybe", "min=x", "status=a"] {
        assert_eq!(admin.get(&format!("/v1/wallets?{wrong}")).status, 400, "{wrong}");
    }
    let next = admin.get("/v1/wallets?limit=1").is(200).text("next");
    admin.get(&format!("/v1/wallets?after={next}&order=balance")).refuses(400, "invalid_request");
}

#[test]
fn wallet_shows_time_of_its_newest_entry() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 30 })).is(200);
    admin.post("/v1/wallets/bob/recharge", json!({ "amount": 1 })).is(200);
    let moved = admin.post("/v1/wallets/alice/transfer", json!({ "to": "bob", "amount": 1 })).is(200);
    let at = &moved["entry"]["at"];
    for user in ["alice", "bob"] {
        assert_eq!(&admin.get(&format!("/v1/wallets/{user}")).is(200)["last_at"], at);
    }
    let wallets = admin.get("/v1/wallets").is(200);
    let times: Vec<bool> = wallets.rows().iter().map(|row| row["last_at"].is_string()).collect();
    assert_eq!(times, [true, false, false, true, true], "no entry has moved @holds or @sales");
}

#[test]
fn ascending_list_has_cursor_also_at_its_end() {
    let server = Server::start();
    let admin = server.admin();
    let empty = admin.get("/v1/entries?order=asc").is(200);
    assert_eq!(fields(&empty.json), ["code", "msg", "data", "next", "cursor"]);
    assert_eq!(fields(&admin.get("/v1/entries").is(200).json), ["code", "msg", "data", "next"]);
    let mut cursor = empty.text("cursor");
    for id in 1..=3 {
        admin.post("/v1/wallets/alice/recharge", json!({ "amount": id })).is(200);
        let page = admin.get(&format!("/v1/entries?after={cursor}")).is(200);
        assert_eq!((ids(page.rows()), page["next"].is_null()), (vec![id], true));
        cursor = page.text("cursor");
    }
    let first = admin.get("/v1/entries?order=asc&limit=1").is(200);
    assert_eq!(first["next"], first["cursor"]);
    let other = admin.get("/v1/entries?order=asc&kind=pay").is(200);
    assert!(other.rows().is_empty(), "its cursor stands behind all that was looked at");
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200);
    assert_eq!(ids(admin.get(&format!("/v1/entries?after={}", other.text("cursor"))).is(200).rows()), [4]);
}

#[test]
fn long_poll_answers_when_an_entry_passes_the_filter() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let cursor = admin.get("/v1/wallets/alice/entries?order=asc&kind=pay").is(200).text("cursor");
    let asking = admin.ask("GET", &format!("/v1/wallets/alice/entries?after={cursor}&wait_ms=20000"));
    let began = Instant::now();
    let waiting: Vec<_> = (0..3).map(|_| asking.begin()).collect();
    admin.post("/v1/wallets/bob/recharge", json!({ "amount": 2 })).is(200);
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": 1 })).is(200);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200);
    for stream in waiting {
        let page = asking.read(stream).is(200);
        assert_eq!((ids(page.rows()), page["next"].is_null()), (vec![4], true));
    }
    assert!(began.elapsed() < Duration::from_secs(15), "it does not wait for its time to end");
    let began = Instant::now();
    let none = admin.get("/v1/entries?order=asc&min=500&wait_ms=300").is(200);
    assert!(none.rows().is_empty() && none["next"].is_null() && none["cursor"].is_string());
    assert!(began.elapsed() >= Duration::from_millis(300));
    let began = Instant::now();
    assert_eq!(admin.ask("HEAD", "/v1/entries?order=asc&min=500&wait_ms=20000").send().status, 200);
    assert!(began.elapsed() < Duration::from_secs(15), "HEAD never waits");
    for wrong in ["wait_ms=1", "order=asc&wait_ms=30001", "order=asc&wait_ms=x", "order=desc&wait_ms=1"] {
        admin.get(&format!("/v1/entries?{wrong}")).refuses(400, "invalid_request");
    }
    let csv = admin.ask("GET", "/v1/entries?order=asc&wait_ms=1").header("Accept", "text/csv");
    csv.send().refuses(400, "invalid_request");
}

#[test]
fn long_poll_ends_in_time_whatever_is_committed() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let past = admin.get("/v1/entries?order=asc&until=2020-01-01T00:00:00Z&wait_ms=200").is(200);
    assert!(past.rows().is_empty() && past["next"].is_null(), "nothing can come any more");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                admin.post("/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200);
            }
        });
        let none = admin.get("/v1/entries?order=asc&kind=refund&wait_ms=500").is(200);
        ended.store(true, Relaxed);
        assert!(none.rows().is_empty(), "no entry passes the filter");
    });
}

#[test]
fn long_poll_ends_when_the_server_stops() {
    let mut server = Server::start();
    let asking = server.admin().ask("GET", "/v1/entries?order=asc&wait_ms=30000");
    let stream = asking.begin();
    std::thread::sleep(Duration::from_millis(300)); // it waits by now; if not yet, it is answered all the same
    server.terminate();
    let page = asking.read(stream).is(200);
    assert!(page.rows().is_empty() && page["cursor"].is_string());
    until(|| server.exit_code().is_some());
}

#[test]
fn long_poll_of_a_revoked_token_shows_nothing() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let (auditor, id) = server.mint(json!({ "role": "auditor" }));
    let cursor = auditor.get("/v1/entries?order=asc").is(200).text("cursor");
    let asking = auditor.ask("GET", &format!("/v1/entries?after={cursor}&wait_ms=20000"));
    let stream = asking.begin();
    std::thread::sleep(Duration::from_millis(300)); // it waits by now; if not yet, it is refused all the same
    admin.ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).is(200);
    asking.read(stream).refuses(401, "unauthenticated");
}

#[test]
fn waiting_requests_of_one_user_are_bounded() {
    let server = Server::start();
    let alice = server.user_with("alice", "5");
    let cursor = alice.get("/v1/wallets/alice/entries?order=asc").is(200).text("cursor");
    let asking = alice.ask("GET", &format!("/v1/wallets/alice/entries?after={cursor}&wait_ms=30000"));
    let (answers, arriving) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for stream in (0..17).map(|_| asking.begin()) {
            let (asking, answers) = (&asking, answers.clone());
            scope.spawn(move || answers.send(asking.read(stream)).unwrap());
        }
        let first = arriving.recv().unwrap(); // one of 17 is refused at once; the others wait
        first.refuses(503, "busy");
        server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200);
        for answer in arriving.iter().take(16) {
            assert_eq!(answer.is(200).rows().len(), 1);
        }
    });
}

#[test]
fn cursor_of_an_entry_that_is_not_there_is_lost() {
    let server = Server::start();
    let admin = server.admin();
    for amount in 1..=3 {
        admin.post("/v1/wallets/alice/recharge", json!({ "amount": amount })).is(200);
    }
    let place = |after: &str| {
        let text = format!("after={after}&of=entries&order=asc");
        text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let cursor = admin.get("/v1/entries?order=asc&limit=2").is(200).text("cursor");
    let pairs: Vec<u8> =
        (0..cursor.len()).step_by(2).map(|at| u8::from_str_radix(&cursor[at..at + 2], 16).unwrap()).collect();
    let text = String::from_utf8(pairs).unwrap();
    let mark = text.split_once("2.").expect("number and mark").1.split('&').next().unwrap().to_owned();
    assert_eq!(mark.len(), 16);
    for (after, found) in [(format!("2.{mark}"), vec![3]), ("2".to_owned(), vec![3]), ("9".to_owned(), vec![])] {
        assert_eq!(ids(admin.get(&format!("/v1/entries?after={}", place(&after))).is(200).rows()), found, "{after}");
    }
    for lost in [format!("1.{mark}"), format!("9.{mark}"), "2.0011223344556677".to_owned(), "2.".to_owned()] {
        admin.get(&format!("/v1/entries?after={}", place(&lost))).refuses(409, "cursor_lost");
        let waiting = format!("/v1/entries?after={}&wait_ms=1000", place(&lost));
        admin.get(&waiting).refuses(409, "cursor_lost");
    }
}

#[test]
fn entries_are_found_by_reference_coupon_and_original() {
    let server = Server::start();
    let admin = server.admin();
    let coupon = admin
        .post("/v1/wallets/alice/recharge", json!({ "amount": 300, "reference": "order 1" }))
        .is(200)["coupon"]["code"]
        .as_str()
        .unwrap()
        .to_owned();
    admin.post("/v1/wallets/bob/recharge", json!({ "amount": 50, "reference": "order 2" })).is(200);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 300, "coupon": coupon, "reference": "order 1" })).is(200);
    admin.post("/v1/wallets/bob/withdraw", json!({ "amount": 1, "reference": "Order 1" })).is(200);
    admin.post("/v1/entries/3/refund", json!({ "amount": 10, "reference": "=x" })).is(200);
    admin.post("/v1/entries/3/refund", json!({ "amount": 20 })).is(200);
    admin.post("/v1/wallets/bob/withdraw", json!({ "amount": 1, "reference": "@bank" })).is(200);
    for (query, found) in [
        ("reference=order%201", vec![3, 1]),
        ("reference=order%201&order=asc", vec![1, 3]),
        ("reference=order%201&kind=pay", vec![3]),
        ("reference=order+1&coupon=none", vec![]),
        ("reference=order%202&user=alice", vec![]),
        ("reference=order%202&user=bob", vec![2]),
        ("reference=order%201&user=@sales", vec![3]),
        ("reference=%3Dx", vec![5]),
        ("reference=@bank", vec![7]),
        ("reference=", vec![]),
        ("reference=order", vec![]),
        (&format!("coupon={coupon}"), vec![3, 1]),
        (&format!("coupon={}&kind=recharge", coupon.to_lowercase()), vec![1]),
        (&format!("coupon={coupon}&reference=order%201&min=260"), vec![1]),
        ("refunds=3", vec![6, 5]),
        ("refunds=3&order=asc&max=15", vec![5]),
        ("refunds=3&reference=%3Dx", vec![5]),
        ("refunds=1", vec![]),
        ("user=bob", vec![7, 4, 2]),
        ("user=@bank&kind=withdraw", vec![7, 4]),
        ("user=ghost", vec![]),
    ] {
        let (rows, _) = all_pages(&admin, &format!("/v1/entries?{query}"));
        assert_eq!(ids(&rows), found, "{query}");
        let (paged, _) = all_pages(&admin, &format!("/v1/entries?{query}&limit=1"));
        assert_eq!(ids(&paged), found, "{query}, one at a time");
    }
    let (alice, _) = server.mint(json!({ "role": "user", "user": "alice" }));
    let own = |query: &str| ids(alice.get(&format!("/v1/wallets/alice/entries?{query}")).is(200).rows());
    assert_eq!(own("reference=order%201"), [3, 1]);
    assert_eq!(own("reference=order%202"), Vec::<i64>::new(), "of another wallet");
    assert_eq!(own("refunds=3"), [6, 5]);
    for wrong in ["refunds=x", "coupon=a/b", "user=a/b"] {
        assert_eq!(admin.get(&format!("/v1/entries?{wrong}")).status, 400, "{wrong}");
    }
    alice.get("/v1/wallets/alice/entries?user=bob").refuses(400, "invalid_request");
    let next = admin.get("/v1/entries?reference=order%201&limit=1").is(200).text("next");
    admin.get(&format!("/v1/entries?after={next}&reference=order%202")).refuses(400, "invalid_request");
    assert_eq!(ids(admin.get(&format!("/v1/entries?after={next}")).is(200).rows()), [1]);
}
