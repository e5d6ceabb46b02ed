//! Filters of entries and wallets: what they find, and the number of rows that one page looks at.

use super::server::{Client, Server};
use serde_json::{Value, json};

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
    for wrong in ["order=up", "system=maybe", "min=x", "name=a"] {
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
