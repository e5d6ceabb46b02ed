//! The journal: which changes write a line, what is in it, and its list.

use super::damage::spoil;
use super::harness::*;
use super::server::Server;
use super::shell::Place;
use cashbox::internals::clock::Clock;
use cashbox::internals::command::{AdoptToken, RevokeToken, SetTiers};
use cashbox::internals::journal::JournalLine;
use cashbox::internals::ledger::coupon::Tier;
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::store::{Envelope, Options, Store};
use cashbox::internals::token::{self, NewToken, Role, RotateToken};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

pub fn lines(conn: &Connection) -> Vec<JournalLine> {
    let sql = "SELECT seq, at, made_by, what, subject, entry, detail, hash FROM journal ORDER BY seq";
    let mut statement = conn.prepare(sql).unwrap();
    statement.query_map([], |row| JournalLine::read(&row.into())).unwrap().map(Result::unwrap).collect()
}

/// Kind and subject of each line behind the first ones.
fn said(book: &Book, behind: usize) -> Vec<(String, String)> {
    let lines = lines(&book.raw()).into_iter().skip(behind);
    lines.map(|line| (line.what.as_str().to_owned(), line.subject.unwrap_or_default())).collect()
}

pub fn settings_of(user: &str) -> SetWallet {
    let user = user_id(user);
    SetWallet { user, name: None, status: None, metadata: None, limit_per_payment: None, limit_per_day: None }
}

pub fn token_of(role: Role, user: Option<&str>) -> NewToken {
    NewToken { role, user: user.map(user_id), prefix: None, expires_in_s: None, note: Some("a till".into()) }
}

#[test]
fn every_change_without_entry_writes_one_line() {
    let book = book();
    book.must(recharge("alice", "320")); // earns a coupon, which its entry explains
    assert_eq!(said(&book, 0), [("created".into(), String::new())]);
    book.must(CreateWallet { user: user_id("bob") });
    book.must(SetWallet { name: Some(Some("Bob".into())), ..settings_of("bob") });
    let minted = book.must(token_of(Role::Teller, None));
    let id = minted.token.id.clone();
    book.must(RotateToken { id: id.clone(), overlap_s: 60 });
    book.must(RevokeToken(id.clone()));
    book.must(SetTiers(vec![Tier { from: money("5"), kind: Some("2".into()) }]));
    let coupon = match book.must(grant("alice", "2")) {
        cashbox::internals::command::Receipt::Coupon(coupon) => coupon,
        other => panic!("{other:?}"),
    };
    let adopted = book.must(AdoptToken(token::hash("cbx_0123456789abcdef")));
    let expected: Vec<(String, String)> = [
        ("wallet_created", "bob"),
        ("wallet_set", "bob"),
        ("token_minted", &id),
        ("token_rotated", &id),
        ("token_revoked", &id),
        ("tiers_set", ""),
        ("coupon_granted", coupon.code.as_str()),
        ("token_minted", &adopted.id),
        ("token_adopted", &adopted.id),
    ]
    .map(|(what, subject)| (what.to_owned(), subject.to_owned()))
    .into();
    assert_eq!(said(&book, 1), expected);
    book.assert_sound();
}

#[test]
fn change_that_changes_nothing_writes_no_line() {
    let book = book();
    book.must(recharge("alice", "5"));
    let minted = book.must(token_of(Role::User, Some("alice")));
    book.must(RevokeToken(minted.token.id.clone()));
    let adopted = AdoptToken(token::hash("cbx_0123456789abcdef"));
    book.must(adopted.clone());
    book.must(SetWallet { name: Some(Some("Alice".into())), ..settings_of("alice") });
    let before = lines(&book.raw()).len();
    book.must(RevokeToken(minted.token.id));
    book.must(adopted);
    book.must(SetWallet { name: Some(Some("Alice".into())), ..settings_of("alice") });
    let tiers = book.read(|tx| cashbox::internals::ledger::coupon::tiers(tx)).unwrap();
    book.must(SetTiers(tiers));
    book.do_it(CreateWallet { user: user_id("alice") }).result.unwrap_err();
    book.do_it(grant("alice", "none")).result.unwrap_err();
    book.do_it(AdoptToken(token::hash("cbx_0123456789abcdef"))).result.unwrap();
    let dry_run = Envelope { dry_run: true, ..Envelope::local() };
    book.submit(dry_run, grant("alice", "2")).result.unwrap();
    let once = keyed("gift");
    book.submit(once.clone(), grant("alice", "2")).result.unwrap();
    assert!(book.submit(once, grant("alice", "2")).replayed);
    assert_eq!(said(&book, before).len(), 1, "{:?}", said(&book, before));
    book.assert_sound();
}

#[test]
fn lines_of_one_commit_are_chained_around_a_refused_one() {
    let book = book();
    book.must(recharge("alice", "5"));
    let all = ["2", "none", "2", "3", "none", "1"];
    let done = book.count_done(all.map(|kind| (Envelope::local(), grant("alice", kind))).into());
    assert_eq!(done, 4);
    assert_eq!(said(&book, 1).len(), 4);
    book.assert_sound();
}

#[test]
fn secrets_and_names_are_not_in_the_journal() {
    let book = book();
    book.must(recharge("alice", "5"));
    let minted = book.must(token_of(Role::Admin, None));
    let rotated = book.must(RotateToken { id: minted.token.id.clone(), overlap_s: 60 });
    book.must(AdoptToken(token::hash("cbx_the-operator-chose-this")));
    let metadata = Some(Some(r#"{"phone":"555-0100"}"#.to_owned()));
    book.must(SetWallet { name: Some(Some("Alice Liddell".into())), metadata, ..settings_of("alice") });
    let text: String = lines(&book.raw()).into_iter().map(|line| line.detail).collect();
    let hex = cashbox::internals::secret::hex;
    for secret in [&minted.secret, &rotated.secret, "cbx_the-operator-chose-this"] {
        assert!(!text.contains(secret) && !text.contains(&hex(&token::hash(secret))), "{text}");
    }
    assert!(!text.contains("Liddell") && !text.contains("555-0100"), "{text}");
}

#[test]
fn file_refuses_to_rewrite_the_journal() {
    let book = book();
    book.must(recharge("alice", "5"));
    let refused = |sql: &str| book.raw().execute(sql, []).unwrap_err().to_string();
    assert_eq!(refused("UPDATE journal SET made_by = 'eve'"), "a line of the journal is never edited");
    assert_eq!(refused("DELETE FROM journal"), "a line of the journal is never deleted");
    let in_order = "a line of the journal comes after the last one and names the newest entry";
    for (seq, at, entry) in [(1, i64::MAX, 1), (3, i64::MAX, 1), (2, 0, 1), (2, i64::MAX, 0), (2, i64::MAX, 2)] {
        let sql =
            format!("INSERT INTO journal VALUES ({seq}, {at}, 'eve', 'restored', NULL, {entry}, '{{}}', zeroblob(32))");
        let refusal = refused(&sql);
        assert!(refusal == in_order || refusal.starts_with("UNIQUE"), "{sql}: {refusal}");
    }
}

#[test]
fn clock_that_steps_back_keeps_the_journal_in_order() {
    let book = book();
    book.must(recharge("alice", "5"));
    book.must(grant("alice", "2"));
    book.clock.step_wall_ms(-3_600_000);
    book.must(grant("alice", "2"));
    book.must(CreateWallet { user: user_id("bob") });
    book.must(recharge("carol", "500"));
    book.must(grant("carol", "3"));
    book.clock.step_wall_ms(7_200_000);
    book.must(recharge("dora", "5"));
    book.assert_sound();
    let at: Vec<i64> = lines(&book.raw()).iter().map(|line| line.at).collect();
    assert!(at.is_sorted(), "{at:?}");
}

#[test]
fn upgraded_file_begins_a_journal_with_what_was_there() {
    for version in 1..=9 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cashbox.db");
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/kept/version-{version}.db"));
        std::fs::copy(kept, &file).unwrap();
        let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
        let store = Store::open(&file, &options).unwrap();
        let first = &lines(&Connection::open(&file).unwrap())[0];
        let detail: Value = serde_json::from_str(&first.detail).unwrap();
        assert_eq!((first.what.as_str(), &detail["from"]), ("upgraded", &json!(version)));
        let count = |sql: &str| {
            let conn = Connection::open(&file).unwrap();
            conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(detail["coupons"]["count"], count("SELECT count(*) FROM coupon"));
        assert_eq!(detail["tokens"]["count"], count("SELECT count(*) FROM access_token"));
        // Commands can still change the rows that were there.
        let ids = store.read(|tx| tx.all("SELECT id FROM access_token", &[], |row| row.get::<String>(0))).unwrap();
        for id in ids {
            let rotated = store.submit(Envelope::local(), RotateToken { id: id.clone(), overlap_s: 60 });
            let again = store.submit(Envelope::local(), RotateToken { id: id.clone(), overlap_s: 60 });
            assert_eq!(rotated.result.is_ok(), again.result.is_ok());
            store.submit(Envelope::local(), RevokeToken(id)).result.unwrap();
        }
        store.submit(Envelope::local(), recharge("new", "500")).result.unwrap();
        let report = cashbox::internals::store::audit::audit(&file, None, &mut |_, _| {}).unwrap();
        assert_eq!(report.findings, [], "version {version}");
        drop(store);
        // And nothing else.
        for change in [
            "UPDATE coupon SET threshold = threshold + 100, uses = 0",
            "UPDATE access_token SET role = 'teller' WHERE role = 'admin'",
            "UPDATE access_token SET revoked_at = NULL",
        ] {
            let copy = folder.path().join("copy.db");
            std::fs::copy(&file, &copy).unwrap();
            let mut changed = 0;
            spoil(&copy, |conn| changed = conn.execute(change, []).unwrap());
            let report = cashbox::internals::store::audit::audit(&copy, None, &mut |_, _| {}).unwrap();
            let explains = |found: &cashbox::Finding| found.check.contains("explains every");
            assert_eq!(
                changed > 0,
                report.findings.iter().any(explains),
                "{version}: {change}: {:#?}",
                report.findings
            );
        }
    }
}

#[test]
fn restore_and_import_write_their_lines() {
    let place = Place::new();
    place.json("recharge alice 320");
    place.json("create bob");
    place.json("set alice --name Alice --limit-per-day 50");
    place.json("backup copy.db");
    place.json("restore copy.db --replace");
    let newest = &place.json("journal --limit 1")["data"][0];
    assert_eq!((newest["what"].as_str(), newest["entry"].as_i64()), (Some("restored"), Some(1)));
    let before = place.json("verify");
    assert_eq!(before["journal"], 4);
    std::fs::write(place.path("all.ndjson"), place.run("export").out).unwrap();
    place.json("import all.ndjson --replace");
    let rows = place.json("journal --order asc")["data"].clone();
    let said: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(said, ["imported", "wallet_created", "wallet_set"]);
    let hashes = (&rows[0]["detail"]["last_hash"], &rows[0]["detail"]["state_hash"]);
    assert_eq!(hashes, (&before["last_hash"], &before["state_hash"]));
    assert_eq!(place.run("verify").exit, 0);
    place.json("recharge bob 500");
    assert_eq!(place.run("verify").exit, 0);
}

#[test]
fn list_filters_pages_and_hides_secrets() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let (_, id) = server.mint(json!({ "role": "teller" }));
    admin.post(&format!("/v1/tokens/{id}/rotate"), json!({})).is(200);
    admin.post("/v1/wallets/alice/coupons", json!({ "kind": "2" })).is(200);
    let auditor = server.role("auditor");
    let about = auditor.get(&format!("/v1/journal?subject={id}&order=asc")).is(200);
    let said: Vec<_> = about.rows().iter().map(|row| row["what"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, ["token_minted", "token_rotated"]);
    assert_eq!(about["data"][1]["detail"]["role"], "teller");
    assert!(!String::from_utf8_lossy(&about.body).contains("secret"), "{about:?}");
    assert_eq!(auditor.get("/v1/journal?what=coupon_granted").is(200).rows().len(), 1);
    assert_eq!(auditor.get("/v1/journal?until=2020-01-01").is(200).rows().len(), 0);
    assert_eq!(auditor.get("/v1/journal?since=2020-01-01&limit=1000").is(200).rows().len() as i64, 7);
    auditor.get("/v1/journal?what=eaten").refuses(400, "invalid_request");
    auditor.get("/v1/journal?wait_ms=10").refuses(400, "invalid_request");
    let first = auditor.get("/v1/journal?order=asc&limit=2").is(200);
    let rest = auditor.get(&format!("/v1/journal?after={}", first.text("next"))).is(200);
    assert_eq!((rest["data"][0]["seq"].as_i64(), rest["next"].is_null()), (Some(3), true));
    let more = auditor.get(&format!("/v1/journal?after={}", rest.text("cursor"))).is(200);
    assert!(more.rows().is_empty());
    let csv = auditor.ask("GET", "/v1/journal").header("accept", "text/csv").send().is(200);
    let csv = String::from_utf8_lossy(&csv.body).into_owned();
    assert!(csv.starts_with("seq,at,by,what,subject,entry,detail,hash\r\n") && csv.lines().count() == 8, "{csv}");
    let metrics = admin.get("/metrics").is(200);
    assert!(String::from_utf8_lossy(&metrics.body).contains("\ncashbox_journal_lines 7\n"), "all lines are counted");
}

#[test]
fn list_waits_for_the_next_line() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let cursor = admin.get("/v1/journal?order=asc").is(200).text("cursor");
    let begun = Instant::now();
    let empty = admin.get(&format!("/v1/journal?after={cursor}&wait_ms=100")).is(200);
    assert!(empty.rows().is_empty() && begun.elapsed() >= Duration::from_millis(100));
    std::thread::scope(|scope| {
        let other = server.admin();
        let after = empty.text("cursor");
        let waiting = scope.spawn(move || other.get(&format!("/v1/journal?after={after}&wait_ms=20000")).is(200));
        std::thread::sleep(Duration::from_millis(200));
        admin.post("/v1/wallets/alice/recharge", json!({ "amount": 1 })).is(200); // writes no line
        admin.post("/v1/wallets/alice/coupons", json!({ "kind": "2" })).is(200);
        let found = waiting.join().unwrap();
        assert_eq!((found.rows().len(), found["data"][0]["what"].as_str()), (1, Some("coupon_granted")));
    });
}

#[test]
fn cursor_of_replaced_file_is_lost() {
    let place = Place::new();
    place.json("recharge alice 5");
    place.json("backup copy.db");
    place.json("grant alice 2");
    let cursor = place.json("journal --order asc --limit 1")["next"].as_str().unwrap().to_owned();
    place.json(&format!("journal --after {cursor}"));
    place.json("grant alice 2");
    let behind = place.json("journal --order asc --limit 2")["next"].as_str().unwrap().to_owned();
    place.json("restore copy.db --replace");
    let refused = place.run(&format!("journal --after {behind} --json"));
    assert!(refused.out.contains("cursor_lost"), "{}{}", refused.out, refused.err);
}
