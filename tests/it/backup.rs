//! Backups: one moment of a file that is being written to, checked before it counts; and putting one back.

use crate::harness::*;
use crate::shell::Place;
use cashbox::store::backup::{back_up, restore};
use cashbox::store::{Envelope, Failed, Store};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_one_moment_of_a_file_that_is_being_written_to() {
    let book = book();
    let target = book.path().with_file_name("copy.db");
    let (stop, answered) = (AtomicBool::new(false), AtomicI64::new(0));
    let (before, report) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                book.must(recharge("alice", "1"));
                answered.fetch_add(1, SeqCst);
            }
        });
        while answered.load(SeqCst) < 20 {
            std::thread::yield_now();
        }
        let before = answered.load(SeqCst);
        let report = back_up(&book.path(), &target, false, &mut |_, _| {});
        stop.store(true, SeqCst);
        (before, report.unwrap())
    });
    assert_eq!(report.findings, []);
    assert!(report.entries >= before, "{} entries, and {before} were answered before it began", report.entries);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    let beside = names(target.parent().unwrap());
    assert!(!beside.iter().any(|name| name.starts_with("copy.db-") || name.contains("partial")), "{beside:?}");

    let copy = Store::open(&target, &book.options).expect("a backup is a file like any other");
    copy.submit(Envelope::local(), withdraw("alice", &format!("{}.00", report.entries))).result.unwrap();
    copy.submit(Envelope::local(), withdraw("alice", "0.01")).result.unwrap_err();
}

#[test]
fn a_file_that_is_damaged_makes_no_backup_and_a_damaged_backup_replaces_nothing() {
    let mut book = check("recharge alice 100 | coupon 3");
    let (good, bad) = (book.path().with_file_name("good.db"), book.path().with_file_name("bad.db"));
    back_up(&book.path(), &good, false, &mut |_, _| {}).unwrap();
    book.close();
    fs::copy(book.path(), &bad).unwrap();
    let conn = rusqlite::Connection::open(&bad).unwrap();
    conn.execute_batch("DROP TRIGGER entry_is_never_edited; UPDATE entry SET amount = amount + 1").unwrap();
    drop(conn);
    let spoilt = book.path().with_file_name("spoilt.db");
    let mut bytes = fs::read(&good).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xAA);
    fs::write(&spoilt, bytes).unwrap();
    let file = fs::read(book.path()).unwrap();
    for damaged in [&bad, &spoilt] {
        let target = book.path().with_file_name("copy.db");
        let refused = back_up(damaged, &target, false, &mut |_, _| {});
        assert!(matches!(refused, Err(Failed::Damaged(..) | Failed::Open(..))), "{refused:?}");
        assert!(!target.exists());
        let refused = restore(damaged, &book.path(), true, &mut |_, _| {});
        assert!(matches!(refused, Err(Failed::Damaged(..) | Failed::Open(..))), "{refused:?}");
        assert_eq!(fs::read(book.path()).unwrap(), file);
    }
    let left = names(book.path().parent().unwrap());
    assert!(!left.iter().any(|name| name.contains("partial") || name.contains("replaced")), "{left:?}");
}

#[test]
fn what_was_restored_is_another_history_of_locks() {
    let mut book = check("recharge alice 100 | coupon 3");
    let before = book.acquire("job", "ann").unwrap();
    let backup = book.path().with_file_name("backup.db");
    back_up(&book.path(), &backup, false, &mut |_, _| {}).unwrap();
    book.must(withdraw("alice", "30"));
    let given_since =
        (0..5).map(|job| book.acquire(&format!("later-{job}"), "ben").unwrap().token.fence).max().unwrap();
    book.close();

    let refused = restore(&backup, &book.path(), false, &mut |_, _| {});
    assert!(matches!(refused, Err(Failed::InTheWay(_))), "{refused:?}");
    let (report, kept) = restore(&backup, &book.path(), true, &mut |_, _| {}).unwrap();
    assert_eq!((report.entries, report.findings), (1, vec![]));
    book.open();
    assert_eq!(book.balance("alice"), "100.00");
    let late = book.submit(under(&before.token), withdraw("alice", "1")).result.unwrap_err();
    assert_eq!(late.name.as_str(), "lock_lost", "{late}");
    assert!(book.acquire("another", "cid").unwrap().token.fence > given_since);
    book.assert_sound();
    let kept = Store::open(&kept.expect("the file that was there"), &book.options).unwrap();
    let alice = kept.read(|tx| cashbox::ledger::find_wallet(tx, &wallet_id("alice"))).unwrap().unwrap();
    assert_eq!(alice.balance.to_string(), "70.00");
}

#[test]
fn the_command_line_backs_up_beside_a_server_and_restores_when_there_is_none() {
    let place = Place::new();
    let server = place.serve("--open");
    place.json("recharge alice 50");
    let backed_up = place.json("backup copy.db");
    assert_eq!((&backed_up["entries"], &backed_up["ok"]), (&1.into(), &true.into()));
    place.json("withdraw alice 20");
    for (line, exit, told) in [
        ("backup copy.db", 1, "copy.db is there already; --replace puts this in its place"),
        ("backup cashbox.db", 2, "a backup does not go where the file itself is"),
        ("backup no/such/copy.db", 3, "there is no such folder"),
        ("backup copy.db --url http://127.0.0.1:1", 2, "on the machine where it is"),
        ("backup copy.db --db none.db", 1, "is there already"),
        ("backup new.db --db none.db", 3, "there is no such file"),
        ("restore copy.db --replace", 3, "has it (process"),
        ("backup . --replace", 3, "it is a folder"),
        ("restore cashbox.db", 2, "this is the file itself"),
        ("restore none.db --db new.db", 3, "there is no such file"),
    ] {
        let said = place.say(line);
        assert_eq!(said.exit, exit, "{line}: {}{}", said.out, said.err);
        assert!(said.err.contains(told), "{line}: {}", said.err);
    }
    assert_eq!(place.json("wallet alice")["balance"], "30.00");
    server.stop();
    assert_eq!(place.say("restore copy.db").exit, 1);
    let restored = place.json("restore copy.db --replace");
    assert_eq!(restored["state_hash"], backed_up["state_hash"]);
    assert_eq!(place.json("wallet alice")["balance"], "50.00");
    let kept = restored["kept"].as_str().unwrap();
    assert_eq!(place.json(&format!("wallet alice --db {kept}"))["balance"], "30.00");
    assert_eq!(place.say("verify").exit, 0);
    assert_eq!(place.json("backup copy.db --replace")["entries"], 1);
}

#[test]
fn a_backup_that_was_killed_is_in_nobodys_way() {
    let place = Place::new();
    let batch: String =
        (0..2_000).map(|n| format!(r#"{{"op":"recharge","user":"u{n}","amount":"1"}}"#) + "\n").collect();
    assert_eq!(place.say_with("batch -", &batch).exit, 0);
    let mut killed = 0;
    while killed < 3 {
        let mut backup = place.begin(&["backup", "copy.db", "--replace"]);
        crate::server::until(|| place.path("copy.db.partial").exists() || !backup.runs());
        if backup.runs() {
            backup.signal(Signal::KILL);
        }
        killed += i32::from(backup.said().exit != 0);
        if place.path("copy.db").exists() {
            assert_eq!(place.say("verify --db copy.db").exit, 0, "a file under that name is whole");
        }
    }
    assert_eq!(place.json("backup copy.db --replace")["entries"], 2_000);
    assert!(!place.path("copy.db.partial").exists());
}
