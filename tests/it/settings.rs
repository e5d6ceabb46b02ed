//! Settings of wallets: name, status, metadata, limits; and wallets without money. On a store, and on the real program.

use crate::harness::*;
use crate::server::{Answer, Client, Server};
use crate::shell::Place;
use cashbox::internals::command::Command;
use cashbox::internals::error::ErrorName::*;
use cashbox::internals::http::{App, Settings};
use cashbox::internals::ledger::WalletStatus;
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::money::Money;
use cashbox::internals::store::{Envelope, Store};
use cashbox::internals::token::{NewToken, Role};
use serde_json::{Value, json};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn status(user: &str, status: WalletStatus) -> SetWallet {
    SetWallet { status: Some(status), ..set_nothing(user) }
}

fn limits(user: &str, per_payment: Option<Money>, per_day: Option<Money>) -> SetWallet {
    SetWallet { limit_per_payment: Some(per_payment), limit_per_day: Some(per_day), ..set_nothing(user) }
}

/// A book with that statement, then those settings.
fn book_after(statement: &str, settings: Vec<SetWallet>) -> Book {
    let book = check(statement);
    settings.into_iter().for_each(|set| drop(book.must(set)));
    book.assert_sound();
    book
}

#[test]
fn frozen_wallet_gives_nothing_and_receives() {
    let book = book_after(
        "
        recharge alice 300        | coupon 1
        recharge bob   50         |
        transfer alice bob 10     |
        transfer bob alice 5      |
        ",
        vec![status("alice", WalletStatus::Frozen)],
    );
    check_on(
        &book,
        "
        withdraw alice 1          | refused wallet_frozen
        pay      alice 1          | refused wallet_frozen
        pay      alice 1 code ZZZZ | refused wallet_frozen
        transfer alice bob 1      | refused wallet_frozen
        withdraw alice 1000       | refused wallet_frozen
        refund   4                | refused wallet_frozen
        recharge alice 100        | balance 395.00 coupon 3
        transfer bob alice 5      | has alice 400.00
        refund   3                | has alice 410.00
        refund   1                | refused wallet_frozen
        grant    alice 2          | coupon 2
        ",
    );
    let refused = book.do_it(withdraw("alice", "1")).result.unwrap_err();
    assert_eq!(fact(&refused, "user"), "alice");
    book.must(status("alice", WalletStatus::Open));
    check_on(&book, "withdraw alice 410 | balance 0.00");
}

#[test]
fn closed_wallet_is_moved_by_set_nothing() {
    let book = check(
        "
        recharge alice 20         |
        transfer alice bob 5      | refused wallet_not_found
        recharge bob   5          |
        transfer alice bob 5      |
        withdraw alice 15         | balance 0.00
        ",
    );
    let refused = book.do_it(status("bob", WalletStatus::Closed)).result.unwrap_err();
    assert_eq!(
        (refused.name, fact(&refused, "balance"), fact(&refused, "held")),
        (WalletNotEmpty, &json!("10.00"), &json!("0.00"))
    );
    book.must(status("alice", WalletStatus::Closed));
    check_on(
        &book,
        "
        recharge alice 1          | refused wallet_closed
        withdraw alice 1          | refused wallet_closed
        pay      alice 1          | refused wallet_closed
        transfer bob alice 1      | refused wallet_closed
        pay      bob 1 to alice   | refused wallet_closed
        pay      bob 100 to alice | refused wallet_closed
        refund   3                | refused wallet_closed
        refund   4                | refused wallet_closed
        grant    alice 2          | refused wallet_closed
        transfer alice ghost 1    | refused wallet_not_found
        ",
    );
    let refused = book.do_it(transfer("bob", "alice", "1")).result.unwrap_err();
    assert_eq!(refused.facts.len(), 1, "nothing else of the other wallet: {refused:?}");
    assert_eq!(fact(&refused, "user"), "alice");
    book.must(status("alice", WalletStatus::Open));
    check_on(&book, "recharge alice 1 | balance 1.00");
}

#[test]
fn limit_per_payment_counts_amount_paid() {
    let book = book_after("recharge alice 500 | coupon 2", vec![limits("alice", Some(money("80")), None)]);
    check_on(
        &book,
        "
        pay      alice 100 coupon 2   | amount 80.00
        pay      alice 100.01 coupon 2 | refused limit_exceeded
        withdraw alice 80.01          | refused limit_exceeded
        withdraw alice 80             | balance 340.00
        recharge alice 500            | balance 840.00
        withdraw alice 9999           | refused limit_exceeded
        ",
    );
    let refused = book.do_it(withdraw("alice", "80.01")).result.unwrap_err();
    assert_eq!((fact(&refused, "limit"), fact(&refused, "spent")), (&json!("80.00"), &Value::Null));
}

#[test]
fn limit_per_day_counts_from_entries_of_that_day() {
    let mut book = check(
        "
        recharge alice 500            | coupon 2
        recharge bob   500            |
        withdraw alice 10             |
        pay      alice 10 coupon 2    | amount 8.00
        transfer alice bob 2          |
        transfer bob alice 1          | has alice 481.00
        ",
    );
    book.must(limits("alice", None, Some(money("30"))));
    book.assert_sound();
    check_on(
        &book,
        "
        withdraw alice 10.01          | refused limit_exceeded
        refund   4                    |
        withdraw alice 10             |
        withdraw alice 0.01           | refused limit_exceeded
        recharge alice 5              |
        refund   last                 |
        ",
    );
    let refused = book.do_it(withdraw("alice", "0.01")).result.unwrap_err();
    assert_eq!((fact(&refused, "limit"), fact(&refused, "spent")), (&json!("30.00"), &json!("30.00")));
    let resets_at = fact(&refused, "resets_at").as_str().unwrap().to_owned();
    let resets = cashbox::internals::clock::parse_rfc3339(&resets_at).unwrap();
    assert_eq!(resets % DAY_MS, 0);
    let left = resets - book.clock.wall_ms();
    assert!((1..=DAY_MS).contains(&left), "{resets_at}");

    book.advance(left - 1);
    assert_eq!(name(&book.do_it(withdraw("alice", "0.01")).result), LimitExceeded);
    book.advance(1);
    check_on(&book, "withdraw alice 20 | balance 459.00");
    book.reopen();
    check_on(
        &book,
        "
        withdraw alice 10.01          | refused limit_exceeded
        withdraw alice 10             | balance 449.00
        ",
    );
    book.must(limits("alice", None, None));
    check_on(&book, "withdraw alice 100 |");
    book.must(limits("alice", None, Some(money("131"))));
    check_on(
        &book,
        "
        withdraw alice 1.01           | refused limit_exceeded
        withdraw alice 1              |
        ",
    );
}

#[test]
fn limit_holds_inside_batches_and_plain_runs() {
    let book = book_after("recharge alice 500 |", vec![limits("alice", None, Some(money("30")))]);
    let result = book.do_it(batch(vec![withdraw("alice", "20"), withdraw("alice", "10.01")])).result;
    assert_eq!(name(&result), LimitExceeded);
    assert_eq!(fact(&result.unwrap_err(), "spent"), "20.00");
    book.assert_sound();
    let many = (0..40).map(|_| (Envelope::local(), withdraw("alice", "1"))).collect();
    let done = book.submit_all(many).into_iter().filter(|outcome| outcome.result.is_ok()).count();
    assert_eq!((done, book.balance("alice").as_str()), (30, "470.00"));
    book.assert_sound();
}

#[test]
fn change_within_commit_holds_for_what_follows() {
    let book = check("recharge alice 500 |");
    let requests: Vec<Command> = vec![
        withdraw("alice", "1"),
        status("alice", WalletStatus::Frozen).into(),
        withdraw("alice", "1"),
        status("alice", WalletStatus::Open).into(),
        withdraw("alice", "1"),
        limits("alice", Some(money("1")), None).into(),
        withdraw("alice", "1.01"),
        SetWallet { user: user_id("ghost"), ..status("alice", WalletStatus::Frozen) }.into(),
        withdraw("alice", "1"),
    ];
    let requests = requests.into_iter().map(|command| (Envelope::local(), command)).collect();
    let names: Vec<_> =
        book.submit_all(requests).into_iter().map(|it| it.result.err().map(|error| error.name)).collect();
    let refused = [None, None, Some(WalletFrozen), None, None, None, Some(LimitExceeded), Some(WalletNotFound), None];
    assert_eq!(names, refused);
    book.assert_sound();
}

#[test]
fn freezing_acts_on_parked_requests() {
    let book = check("recharge alice 10 |");
    let held = book.acquire("wallet/alice", "held").unwrap().token;
    std::thread::scope(|scope| {
        let parked = scope.spawn(|| book.submit(waiting(5_000), withdraw("alice", "1")).result);
        book.until_parked(1);
        book.must(status("alice", WalletStatus::Frozen));
        book.release("wallet/alice", &held).unwrap();
        assert_eq!(name(&parked.join().unwrap()), WalletFrozen);
    });
    book.assert_sound();
}

#[test]
fn setting_back_to_nothing_leaves_no_row() {
    let book = check("recharge alice 10 |");
    let state = || cashbox::internals::store::audit::audit(&book.path(), None, &mut |_, _| {}).unwrap().state_hash;
    let before = state();
    let set = SetWallet {
        name: Some(Some("Alice".to_owned())),
        metadata: Some(Some(r#"{"a":"b"}"#.to_owned())),
        ..limits("alice", Some(money("5")), Some(money("6")))
    };
    let first = book.submit(keyed("set"), set.clone());
    let again = book.submit(keyed("set"), set.clone());
    assert!(again.replayed && again.result == first.result);
    let other = SetWallet { name: Some(None), ..set };
    assert_eq!(name(&book.submit(keyed("set"), other).result), IdempotencyKeyReused);
    assert_ne!(state(), before, "settings are part of the state");
    book.must(SetWallet { status: Some(WalletStatus::Frozen), ..set_nothing("alice") });
    let clear = SetWallet {
        name: Some(None),
        metadata: Some(None),
        status: Some(WalletStatus::Open),
        ..limits("alice", None, None)
    };
    book.must(clear.clone());
    book.must(clear);
    assert_eq!(book.number("SELECT (SELECT count(*) FROM wallet_setting) + (SELECT count(*) FROM day_spending)"), 0);
    assert_eq!(state(), before, "a file that uses nothing new has the same hash");
    let repeat = book.submit(keyed("set"), SetWallet { name: Some(None), ..set_nothing("alice") });
    assert_eq!(name(&repeat.result), IdempotencyKeyReused);
    book.assert_sound();
}

#[test]
fn created_wallet_is_empty_and_there_once() {
    let book = book();
    let create = CreateWallet { user: user_id("alice") };
    let first = book.submit(keyed("new"), create.clone());
    let again = book.submit(keyed("new"), create.clone());
    assert!(again.replayed && again.result == first.result);
    assert_eq!(name(&book.do_it(create).result), WalletExists);
    let created = |key: &str, user: &str| moved(book.submit(keyed(key), recharge(user, "5")).result.unwrap()).created;
    assert!(!created("a", "alice"), "it is there already");
    assert!(created("b", "bob") && created("b", "bob"), "a repeat has the same answer");
    assert!(!created("c", "bob"));
    let both = vec![recharge("carol", "300"), recharge("carol", "1")];
    let first = book.submit(keyed("both"), batch(both.clone())).result;
    assert_eq!(book.submit(keyed("both"), batch(both)).result, first);
    book.assert_sound();
}

#[test]
fn file_refuses_closing_wallet_with_money() {
    let book = book_after("recharge alice 10 |", vec![limits("alice", Some(money("5")), None)]);
    let conn = book.raw();
    for sql in [
        "UPDATE wallet_setting SET status = 'closed'",
        "INSERT OR REPLACE INTO wallet_setting (wallet, status) VALUES ('alice', 'closed')",
        "INSERT INTO wallet_setting (wallet, status) VALUES ('@bank', 'frozen')",
        "INSERT INTO wallet_setting (wallet, status) VALUES ('unknown', 'frozen')",
        "UPDATE wallet_setting SET status = 'odd'",
        "UPDATE wallet_setting SET limit_per_day = 0",
        "INSERT INTO day_spending VALUES ('ghost', 1, 1)",
    ] {
        assert!(conn.execute(sql, []).is_err(), "{sql}");
    }
}

#[test]
fn every_role_may_set_only_its_settings() {
    let mut book = check("recharge alice 10 | \n recharge empty 1 | \n withdraw empty 1 |");
    let teller =
        book.must(NewToken { role: Role::Teller, user: None, prefix: None, expires_in_s: None, note: None }).secret;
    book.close();
    let app = App::new(Store::open(&book.path(), &book.options).unwrap(), Settings::default());
    let authorization = format!("Bearer {teller}");
    let patch = |who: &str, user: &str, body: &str| {
        let mut headers = vec![("content-type", "application/json")];
        if who == "teller" {
            headers.push(("authorization", authorization.as_str()));
        }
        app.answer_local("PATCH", &format!("/v1/wallets/{user}"), &headers, body.as_bytes().to_vec()).status
    };
    for (user, body, status) in [
        ("alice", r#"{"name":"A","status":"frozen","metadata":{"a":"b"}}"#, 200),
        ("alice", r#"{"status":"open"}"#, 200),
        ("alice", r#"{"status":null,"name":null}"#, 200),
        ("alice", r#"{"status":"closed"}"#, 403),
        ("alice", r#"{"name":"B","limit_per_day":"5"}"#, 403),
        ("alice", r#"{"name":"B","limit_per_payment":null}"#, 403),
        ("empty", r#"{"status":"closed"}"#, 403),
    ] {
        assert_eq!(patch("teller", user, body), status, "{body}");
    }
    assert_eq!(patch("admin", "empty", r#"{"status":"closed"}"#), 200);
    for body in [r#"{"status":"open"}"#, r#"{"status":"frozen"}"#, r#"{"status":null}"#] {
        assert_eq!(patch("teller", "empty", body), 403, "only an admin opens a closed one: {body}");
    }
    assert_eq!(patch("teller", "empty", r#"{"name":"C"}"#), 200);
    assert_eq!(patch("admin", "empty", r#"{"status":"frozen"}"#), 200);
}

fn patch(client: &Client, user: &str, body: Value) -> Answer {
    client.ask("PATCH", &format!("/v1/wallets/{user}")).json(body).send()
}

#[test]
fn settings_over_http_are_set_cleared_and_listed() {
    let server = Server::start();
    let admin = server.admin();
    let created = admin.post("/v1/wallets/alice", json!({})).is(201);
    assert_eq!((created.header("Location").unwrap(), created.text("balance").as_str()), ("/v1/wallets/alice", "0.00"));
    admin.post("/v1/wallets/alice", json!({})).refuses(409, "wallet_exists");
    let recharged = admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    assert_eq!(recharged["created"], false);
    assert_eq!(admin.post("/v1/wallets/bob/recharge", json!({ "amount": 50 })).is(200)["created"], true);

    let all = json!({ "name": "  Ålice 王小明 ", "metadata": { "b": "2", "a": "1" }, "limit_per_payment": "20", "limit_per_day": 30 });
    let set = patch(&admin, "alice", all).is(200);
    assert_eq!((set.text("name").as_str(), set.text("status").as_str()), ("Ålice 王小明", "open"));
    assert_eq!((set.text("limit_per_payment").as_str(), set.text("limit_per_day").as_str()), ("20.00", "30.00"));
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": 20 })).is(200);
    let refused = admin.post("/v1/wallets/alice/withdraw", json!({ "amount": "10.01" })).refuses(409, "limit_exceeded");
    assert_eq!((&refused["limit"], &refused["spent"]), (&json!("30.00"), &json!("20.00")));
    let shown = server.user("alice").get("/v1/wallets/alice").is(200);
    assert_eq!((&shown["spent_today"], &shown["metadata"]), (&json!("20.00"), &json!({ "a": "1", "b": "2" })));
    assert_eq!(admin.get("/v1/wallets/bob").is(200)["spent_today"], Value::Null);

    patch(&admin, "alice", json!({ "limit_per_day": null, "metadata": {} })).is(200);
    let form = admin.ask("PATCH", "/v1/wallets/alice").form("name=&limit_per_payment=&status=frozen").send().is(200);
    assert_eq!(
        (&form["name"], &form["limit_per_payment"], &form["metadata"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 1 })).refuses(409, "wallet_frozen");
    let chinese =
        admin.ask("PATCH", "/v1/wallets/alice").header("Accept-Language", "zh").json(json!({})).send().is(200);
    assert_eq!(chinese.text("msg"), "设置成功");
    patch(&admin, "alice", json!({ "status": "closed" })).refuses(409, "wallet_not_empty");
    patch(&admin, "ghost", json!({ "name": "x" })).refuses(404, "wallet_not_found");
    patch(&admin, "@bank", json!({ "name": "x" })).refuses(400, "invalid_user");
    admin.post("/v1/wallets/@new", json!({})).refuses(400, "invalid_user");
}

#[test]
fn unreadable_settings_are_refused_and_change_set_nothing() {
    let server = Server::start();
    let admin = server.admin();
    server.user_with("alice", "50");
    let long = "x".repeat(101);
    for body in [
        json!({ "name": "" }),
        json!({ "name": "   " }),
        json!({ "name": long }),
        json!({ "name": "a\u{202e}b" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "a\u{200b}b" }),
        json!({ "name": 5 }),
        json!({ "status": "sleeping" }),
        json!({ "status": "" }),
        json!({ "status": "Open" }),
        json!({ "metadata": "a" }),
        json!({ "metadata": { "a": 1 } }),
        json!({ "credit_limit": "5" }),
        json!({ "balance": "5" }),
        json!({ "name": "A", "reference": "r" }),
    ] {
        patch(&admin, "alice", body.clone()).refuses(400, "invalid_request");
    }
    for amount in [json!("0"), json!("-1"), json!("1e3"), json!("1.001"), json!(""), json!(true)] {
        patch(&admin, "alice", json!({ "limit_per_day": amount, "name": "A" })).refuses(400, "invalid_amount");
    }
    admin.ask("PATCH", "/v1/wallets/alice").form("name=A&name=B").send().refuses(400, "invalid_request");
    assert_eq!(admin.get("/v1/wallets/alice").is(200)["name"], Value::Null);
    patch(&admin, "alice", json!({ "name": "x".repeat(100) })).is(200);
}

#[test]
fn wallets_are_found_by_name_and_status() {
    let server = Server::start();
    let admin = server.admin();
    for (user, name) in [("u1", "Ann"), ("u2", "Anna"), ("u3", "Ben"), ("u4", "Anna"), ("u5", "ann"), ("u6", "Ann B")] {
        admin.post(&format!("/v1/wallets/{user}"), json!({})).is(201);
        patch(&admin, user, json!({ "name": name })).is(200);
    }
    admin.post("/v1/wallets/u7/recharge", json!({ "amount": 5 })).is(200);
    for (user, status) in [("u2", "closed"), ("u3", "frozen"), ("u6", "frozen")] {
        patch(&admin, user, json!({ "status": status })).is(200);
    }
    let listed = |query: &str| {
        let mut users = Vec::new();
        let mut after = String::new();
        loop {
            let page = admin.get(&format!("/v1/wallets?{query}&limit=2&after={after}")).is(200);
            users.extend(page.rows().iter().map(|row| row["user_id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return users.join(" "),
            }
        }
    };
    assert_eq!(listed("name=Ann"), "u1 u6 u2 u4");
    assert_eq!(listed("name=Anna"), "u2 u4");
    assert_eq!(listed("name=Ann&status=open"), "u1 u4");
    assert_eq!(listed("name=Ann&status=frozen"), "u6");
    assert_eq!(listed("name=Zed"), "");
    assert_eq!(listed("status=frozen"), "u3 u6");
    assert_eq!(listed("status=closed"), "u2");
    assert_eq!(listed("status=frozen&prefix=u6"), "u6");
    assert_eq!(listed("status=frozen&min=1"), "");
    assert_eq!(listed("status=open&system=false"), "u1 u4 u5 u7");
    assert_eq!(listed("name=Ann&max=0"), "u1 u6 u2 u4");
    let balance = admin.get("/v1/wallets?order=balance&status=open&limit=2").is(200);
    assert_eq!(balance.rows()[0]["user_id"], "u7");
    admin.get("/v1/wallets?status=odd").refuses(400, "invalid_request");
    let row = &admin.get("/v1/wallets?name=Ben").is(200).json["data"][0];
    assert_eq!((&row["name"], &row["status"]), (&json!("Ben"), &json!("frozen")));
}

#[test]
fn command_line_creates_and_sets() {
    let place = Place::new();
    assert_eq!(place.json("create alice")["balance"], "0.00");
    assert_eq!(place.run("create alice").exit, 1);
    let recharged = place.run("recharge bob 5").out;
    assert!(recharged.contains("created  a new wallet\n"), "{recharged}");
    assert!(!place.run("recharge alice 5").out.contains("created"));
    let set = place.json("set alice --name Alice --limit-per-payment 2 --limit-per-day 3 --metadata shop=north");
    assert_eq!((&set["limit_per_payment"], &set["metadata"]), (&json!("2.00"), &json!({ "shop": "north" })));
    assert_eq!(place.run("withdraw alice 2.01").exit, 1);
    place.json("withdraw alice 2");
    let shown = place.run("wallet alice").out;
    assert!(shown.contains("spent today") && shown.contains("limit per day"), "{shown}");
    let frozen = place.run("set alice --status frozen --clear limit-per-day --clear name");
    assert_eq!(frozen.exit, 0, "{}", frozen.err);
    assert!(frozen.out.contains("frozen") && !frozen.out.contains("limit per day"), "{}", frozen.out);
    assert_eq!(place.run("withdraw alice 1").exit, 1);
    let list = place.run("wallets --status frozen").out;
    assert!(list.contains("alice") && !list.contains("bob"), "{list}");
    assert!(!place.run("wallets --prefix b").out.contains("STATUS"));
    for wrong in
        ["set alice", "set alice --name A --clear name", "set alice --clear colour", "set alice --limit-per-day x"]
    {
        assert_eq!(place.run(wrong).exit, 2, "{wrong}");
    }
}

#[test]
fn settings_are_exported_and_counted_again() {
    let place = Place::new();
    place.json("recharge alice 50");
    place.json("withdraw alice 7");
    place.json("create bob");
    place.json("create carol");
    place.json("set alice --name =Alice --limit-per-day 10 --metadata a=b");
    place.json("set bob --status closed");
    place.json("set carol --limit-per-day 10");
    let all = place.run("export").out;
    assert!(all.starts_with("{\"record\":\"cashbox\",\"version\":2}"), "{all}");
    std::fs::write(place.path("all"), &all).unwrap();
    let hash = place.json("verify")["state_hash"].clone();
    assert_eq!(place.json("import all --db new.db")["state_hash"], hash);
    assert_eq!(place.run("export --db new.db").out, all);
    assert_eq!(place.json("wallet alice --db new.db")["spent_today"], "7.00");
    assert_eq!(place.run("withdraw alice 3.01 --db new.db").exit, 1);
    place.json("withdraw alice 3 --db new.db");
    place.json("withdraw alice 3");
    assert_eq!(place.run("recharge bob 1 --db new.db").exit, 1);

    let tables = ["coupon-kinds", "tiers", "wallets", "settings", "entries", "coupons"];
    for table in tables {
        std::fs::write(place.path(table), place.run(&format!("export --csv {table}")).out).unwrap();
    }
    assert!(std::fs::read_to_string(place.path("settings")).unwrap().contains("'=Alice"));
    place.json(&format!("import {} --db csv.db", tables.join(" ")));
    assert_eq!(place.json("verify --db csv.db")["state_hash"], place.json("verify")["state_hash"]);
    assert_eq!(place.run("import settings --db other.db").exit, 2, "settings come with their wallets");
}

#[test]
fn export_of_first_version_is_imported() {
    let place = Place::new();
    place.json("recharge alice 300");
    let all = place.run("export").out.replace("\"version\":2", "\"version\":1");
    let later = [
        ",\"max_off\":null",
        ",\"valid_days\":null",
        ",\"valid_from\":null",
        ",\"valid_until\":null",
        ",\"expires_at\":null",
        ",\"limit_total\":null",
        ",\"limit_per_user\":null",
        ",\"claim_code\":null",
        ",\"max_off\":null",
    ];
    let old = later.iter().fold(all, |text, field| text.replace(field, ""));
    assert!(!old.contains("valid_days") && !old.contains("claim_code"), "{old}");
    std::fs::write(place.path("old"), &old).unwrap();
    assert_eq!(place.json("import old --db new.db")["state_hash"], place.json("verify")["state_hash"]);
    std::fs::write(place.path("newer"), old.replace("\"version\":1", "\"version\":3")).unwrap();
    assert_eq!(place.run("import newer --db other.db").exit, 2);
}
