//! A dry run answers what the command would be answered now, and changes nothing.

use super::dice::Dice;
use super::harness::*;
use super::server::Server;
use super::shell::Place;
use cashbox::internals::command::{Command, MoneyCommand, NameBatch, Receipt, TryEach};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::CouponCode;
use cashbox::internals::ledger::verbs::Moved;
use cashbox::internals::store::Envelope;
use serde_json::json;

const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
const AMOUNTS: [&str; 7] = ["0.01", "1", "99", "100", "300", "500", "1000000000000"];

fn dry(envelope: Envelope) -> Envelope {
    Envelope { dry_run: true, ..envelope }
}

fn random_money(dice: &mut Dice, coupons: &[CouponCode]) -> Command {
    let (user, other, amount) = (*dice.pick(&USERS), *dice.pick(&USERS), *dice.pick(&AMOUNTS));
    match dice.below(9) {
        0 | 1 => recharge(user, amount),
        2 => withdraw(user, amount),
        3 if user != other => transfer(user, other, amount),
        4 => refund(1 + dice.below(30) as i64, None),
        5 => hold(user, amount, 1 + dice.below(1_000) as i64),
        6 => capture(1 + dice.below(30) as i64, dice.one_in(2).then_some("1"), dice.one_in(2)),
        7 => void(1 + dice.below(30) as i64),
        _ if coupons.is_empty() => pay(user, amount, None),
        _ => pay(user, amount, Some(dice.pick(coupons))),
    }
}

/// A result without what a dry run does not know: codes of new coupons, and hashes, which cover them.
fn comparable(result: Result<Moved, cashbox::internals::error::Error>) -> String {
    let result = result.map(|mut moved| {
        let code = moved.coupon.as_ref().map(|coupon| coupon.code.clone());
        if let Some(coupon) = &mut moved.coupon {
            coupon.code = CouponCode::parse("AAAA").unwrap();
        }
        moved.entry.coupon = moved.entry.coupon.take().filter(|own| Some(own) != code.as_ref());
        moved.entry.hash = [0; 32];
        if let Some(released) = moved.hold.as_mut().and_then(|step| step.released.as_mut()) {
            released.hash = [0; 32];
        }
        moved
    });
    format!("{result:?}")
}

/// Every value of every table, but for the writer's notes of the wall clock: any request may bring one.
fn content(book: &Book) -> Vec<String> {
    let conn = book.raw();
    let mut all = Vec::new();
    let mut names = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('wall_note', 'wall_seen')")
        .unwrap();
    let names = names.query_map([], |row| row.get(0)).unwrap();
    let tables: Vec<String> = names.map(Result::unwrap).collect();
    for table in tables {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let row: Vec<_> = (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap())).collect();
            all.push(format!("{table} {}", row.join(" ")));
        }
    }
    all
}

fn assert_same(now: &[String], before: &[String]) {
    let differs = |(now, before): &(&String, &String)| now != before;
    assert_eq!(now.iter().zip(before).find(differs), None);
    assert_eq!(now.len(), before.len(), "{:?}", now.iter().find(|row| !before.contains(row)));
}

fn typed(receipt: Receipt) -> Vec<Moved> {
    match receipt {
        Receipt::Moved(moved) => vec![*moved],
        Receipt::Batch(all) => all,
        other => panic!("{other:?}"),
    }
}

#[test]
fn dry_run_answers_what_the_command_then_answers() {
    for mut dice in Dice::runs(0..6) {
        let book = book();
        let mut coupons: Vec<CouponCode> = Vec::new();
        for number in 0..120 {
            let command = if dice.one_in(6) {
                batch((0..1 + dice.below(4)).map(|_| random_money(&mut dice, &coupons)).collect())
            } else {
                random_money(&mut dice, &coupons)
            };
            let envelope = if dice.one_in(3) { keyed(&format!("k{}", dice.below(40))) } else { Envelope::local() };
            let before = content(&book);
            let tried = book.submit(dry(envelope.clone()), command.clone());
            assert_same(&content(&book), &before);
            let real = book.submit(envelope, command.clone());
            assert_eq!(tried.replayed, real.replayed, "{number}: {command:?}");
            if let Ok(receipt) = &real.result {
                let all = typed(receipt.clone());
                coupons.extend(all.iter().filter_map(|moved| moved.coupon.as_ref()).map(|coupon| coupon.code.clone()));
            }
            let lines = |result: Result<Receipt, _>| match result {
                Ok(receipt) => typed(receipt).into_iter().map(|moved| comparable(Ok(moved))).collect(),
                Err(error) => vec![comparable(Err(error))],
            };
            assert_eq!(lines(tried.result), lines(real.result), "{number}: {command:?}");
        }
        book.assert_sound();
    }
}

#[test]
fn tried_batch_answers_each_item_after_those_before() {
    for mut dice in Dice::runs(0..4) {
        let book = book();
        for round in 0..25 {
            let items: Vec<MoneyCommand> = (0..1 + dice.below(12))
                .map(|_| match random_money(&mut dice, &[]) {
                    Command::Money(item) => item,
                    other => panic!("{other:?}"),
                })
                .collect();
            let before = content(&book);
            let each = items.iter().map(|item| (None, item.clone())).collect();
            let tried = book.submit(dry(Envelope::local()), TryEach { name: None, items: each }).result.unwrap();
            assert_same(&content(&book), &before);
            let real = items.into_iter().map(|item| book.submit(Envelope::local(), item).result);
            let real: Vec<_> = real.map(comparable).collect();
            assert_eq!(tried.into_iter().map(comparable).collect::<Vec<_>>(), real, "round {round}");
        }
        book.assert_sound();
    }
}

#[test]
fn dry_run_waits_for_no_lock_and_clears_none() {
    let book = book();
    book.must(recharge("alice", "5"));
    let lease = book.acquire("wallet/alice", "holder").unwrap();
    let before = content(&book);
    let tried = book.submit(dry(waiting(0)), withdraw("alice", "1"));
    assert_eq!(name(&tried.result), ErrorName::Locked);
    let proved = Envelope { tokens: vec![lease.token.clone()], ..dry(Envelope::local()) };
    assert!(book.submit(proved, withdraw("alice", "1")).result.is_ok(), "a lock token counts");
    book.advance(65_000);
    assert!(book.submit(dry(Envelope::local()), withdraw("alice", "1")).result.is_ok(), "the lease is over");
    assert_eq!(content(&book), before);
    assert!(book.lock("wallet/alice").is_some(), "the stale lock is left");
}

#[test]
fn dry_run_with_key_records_nothing_and_answers_record() {
    let book = book();
    let tried = book.submit(dry(keyed("k")), recharge("alice", "5"));
    assert!(tried.result.is_ok() && !tried.replayed);
    assert_eq!(book.number("SELECT count(*) FROM idempotency"), 0);
    book.submit(keyed("k"), recharge("alice", "5")).result.unwrap();
    assert!(book.submit(dry(keyed("k")), recharge("alice", "5")).replayed);
    let other = book.submit(dry(keyed("k")), recharge("alice", "6"));
    assert_eq!(name(&other.result), ErrorName::IdempotencyKeyReused);
    let refused = book.submit(dry(keyed("k2")), withdraw("alice", "6"));
    assert_eq!(name(&refused.result), ErrorName::InsufficientFunds);
    assert_eq!(book.number("SELECT count(*) FROM idempotency"), 1, "a refusal of a dry run is not stored");
    let (name, items) = (Some(NameBatch([7; 16])), Vec::new());
    let reused = book.submit(dry(keyed("k")), TryEach { name, items });
    assert_eq!(super::harness::name(&reused.result), ErrorName::IdempotencyKeyReused);
    book.assert_sound();
}

#[test]
fn large_dry_run_is_taken_back_with_its_transaction() {
    let book = book();
    book.must(recharge("alice", "100"));
    let before = content(&book);
    let many = batch((0..200).map(|_| withdraw("alice", "0.01")).collect());
    assert!(book.submit(dry(Envelope::local()), many.clone()).result.is_ok());
    assert_eq!(content(&book), before);
    book.must(many);
    assert_eq!(book.balance("alice"), "98.00");
    book.assert_sound();
}

#[test]
fn tried_request_answers_null_for_what_it_would_make() {
    let server = Server::start();
    let admin = server.admin();
    let tried = admin.post("/v1/wallets/alice/recharge?dry_run=true", json!({ "amount": 300 })).is(200);
    assert_eq!((tried.text("balance"), &tried["dry_run"]), ("300.00".into(), &json!(true)));
    for place in ["/entry/id", "/entry/hash", "/entry/coupon", "/coupon/code"] {
        assert_eq!(tried.json.pointer(place), Some(&json!(null)), "{place}");
    }
    assert_eq!(tried["coupon"]["kind"], "1");
    admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
    let real = admin.post_once("k", "/v1/wallets/alice/recharge", json!({ "amount": 300 })).is(200);
    assert!(real["dry_run"].is_null() && real["entry"]["id"] == 1);
    let known = admin.post_once("k", "/v1/wallets/alice/recharge?dry_run=true", json!({ "amount": 300 })).is(200);
    assert!(known.was_replayed() && known["entry"]["id"] == 1 && known["dry_run"] == true);
    let refused = admin.post("/v1/wallets/alice/withdraw?dry_run=true", json!({ "amount": 301 }));
    assert_eq!(refused.refuses(402, "insufficient_funds")["dry_run"], true);
    admin.post("/v1/tokens?dry_run=true", json!({ "role": "auditor" })).refuses(400, "invalid_request");
    admin.post("/v1/wallets/alice/withdraw?dry_run=yes", json!({ "amount": 1 })).refuses(400, "invalid_request");
    let own = server.user("alice").ask("PUT", "/wallet?dry_run=true").form("money=1").send().is(200);
    assert_eq!((own.text("balance"), admin.balance("alice")), ("299.00".into(), "300.00".into()));
    server
        .role("auditor")
        .post("/v1/wallets/alice/withdraw?dry_run=true", json!({ "amount": 1 }))
        .refuses(403, "forbidden");
}

#[test]
fn tried_claim_gives_no_coupon() {
    let server = Server::start();
    let (admin, alice) = (server.admin(), server.user("alice"));
    alice.post("/v1/wallets/alice/recharge", json!({ "amount": 5 })).is(200);
    let kinds = json!({ "coupon_kinds": [
        { "kind": "1", "amount_off": 50, "threshold": 300 }, { "kind": "2", "percent_off": 20, "single_use": false },
        { "kind": "3", "amount_off": 10 }, { "kind": "spring", "amount_off": 1, "limit_total": 1, "claim_code": "SPRING24" },
    ] });
    admin.put("/v1/coupon-kinds", kinds).is(200);
    let path = "/v1/wallets/alice/coupons/claim";
    let code = json!({ "code": "spring24" });
    for _ in 0..2 {
        let tried = alice.post_once("k", &format!("{path}?dry_run=true"), code.clone()).is(200);
        assert_eq!((&tried["coupon"]["code"], &tried["coupon"]["kind"]), (&json!(null), &json!("spring")));
        assert!(tried["dry_run"] == true && !tried.was_replayed());
    }
    assert_eq!(admin.get("/v1/coupons").is(200).rows().len(), 0);
    let claimed = alice.post_once("k", path, code.clone()).is(200);
    assert!(claimed["dry_run"].is_null() && claimed["coupon"]["code"].is_string());
    let known = alice.post_once("k", &format!("{path}?dry_run=true"), code.clone()).is(200);
    assert_eq!((&known["coupon"]["code"], &known["dry_run"]), (&claimed["coupon"]["code"], &json!(true)));
    let refused = alice.post(&format!("{path}?dry_run=true"), code);
    assert_eq!(refused.refuses(409, "coupon_limit")["dry_run"], true);
}

#[test]
fn tried_batch_changes_nothing_atomic_or_not() {
    let server = Server::start();
    let admin = server.admin();
    let items = json!([
        { "op": "recharge", "user": "alice", "amount": 5 },
        { "op": "withdraw", "user": "alice", "amount": 9 },
        { "op": "withdraw", "user": "alice", "amount": 4 },
        { "op": "nothing" },
    ]);
    let tried = admin.post("/v1/batch?dry_run=true", items.clone()).is(200);
    let codes: Vec<_> = tried["results"].as_array().unwrap().iter().map(|item| item["code"].clone()).collect();
    assert_eq!(codes, [json!(200), json!(402), json!(200), json!(400)]);
    assert_eq!(tried["results"][2]["balance"], "1.00");
    assert!(tried["results"][0]["entry"]["id"].is_null() && tried["dry_run"] == true);
    let tried = admin.post("/v1/batch?dry_run=true&atomic=true", json!(items.as_array().unwrap()[..2]));
    let tried = tried.refuses(402, "insufficient_funds");
    assert_eq!((&tried["index"], &tried["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!(admin.get("/v1/entries").is(200).rows().len(), 0);
}

#[test]
fn dry_run_option_prints_and_changes_nothing() {
    let place = Place::new();
    assert_ne!(place.run("recharge alice 5 --dry-run").exit, 0);
    assert!(!place.db().exists(), "a dry run makes no file");
    place.json("recharge alice 5");
    let tried = place.run("withdraw alice 2 --dry-run");
    assert!(tried.exit == 0 && tried.out.contains("dry run: nothing was changed"), "{}", tried.out);
    assert_eq!(place.run("withdraw alice 6 --dry-run").exit, 1);
    assert_eq!(place.json("withdraw alice 2 --dry-run")["balance"], "3.00");
    let item = r#"{"op":"withdraw","user":"alice","amount":"1.00"}"#;
    assert_eq!(place.run_with_input("batch --dry-run", item).exit, 0);
    assert_eq!(place.json("wallet alice")["balance"], "5.00");
}
