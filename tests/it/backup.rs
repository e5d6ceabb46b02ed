//! Backups: one moment of a file that is being written to, checked before it counts; and putting one back.

use crate::harness::*;
use crate::shell::Place;
use cashbox::internals::store::file::copy::CopyError;
use cashbox::internals::store::file::copy::{back_up, restore};
use cashbox::internals::store::{Envelope, Store};
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

fn has_partial(place: &Place) -> bool {
    names(place.0.path()).iter().any(|name| name.ends_with(".partial"))
}

#[test]
fn backup_during_writes_is_one_moment() {
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
fn backup_and_restore_refuse_damaged_file() {
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
        assert!(matches!(refused, Err(CopyError::Damaged(..) | CopyError::Open(..))), "{refused:?}");
        assert!(!target.exists());
        let refused = restore(damaged, &book.path(), true, &mut |_, _| {});
        assert!(matches!(refused, Err(CopyError::Damaged(..) | CopyError::Open(..))), "{refused:?}");
        assert_eq!(fs::read(book.path()).unwrap(), file);
    }
    let left = names(book.path().parent().unwrap());
    assert!(!left.iter().any(|name| name.contains("partial") || name.contains("replaced")), "{left:?}");
}

#[test]
fn restored_file_rejects_lock_tokens_of_before() {
    let mut book = check("recharge alice 100 | coupon 3");
    let before = book.acquire("job", "ann").unwrap();
    let backup = book.path().with_file_name("backup.db");
    back_up(&book.path(), &backup, false, &mut |_, _| {}).unwrap();
    book.must(withdraw("alice", "30"));
    let given_since =
        (0..5).map(|job| book.acquire(&format!("later-{job}"), "ben").unwrap().token.fence).max().unwrap();
    book.close();

    let refused = restore(&backup, &book.path(), false, &mut |_, _| {});
    assert!(matches!(refused, Err(CopyError::TargetExists(_))), "{refused:?}");
    let (report, kept) = restore(&backup, &book.path(), true, &mut |_, _| {}).unwrap();
    assert_eq!((report.entries, report.findings), (1, vec![]));
    book.open();
    assert_eq!(book.balance("alice"), "100.00");
    let late = book.submit(under(&before.token), withdraw("alice", "1")).result.unwrap_err();
    assert_eq!(late.name.as_str(), "lock_lost", "{late}");
    let again = book.acquire("job", "ann").unwrap_err();
    assert_eq!(
        (again.name.as_str(), fact(&again, "ended")),
        ("lock_lost", &"revoked".into()),
        "its secret is refused too"
    );
    assert_eq!(
        name(&book.acquire("job", "ben")),
        cashbox::internals::error::ErrorName::Locked,
        "and its lease runs out by itself"
    );
    assert!(book.acquire("another", "cid").unwrap().token.fence > given_since);
    book.assert_sound();
    let kept = Store::open(&kept.expect("the file that was there"), &book.options).unwrap();
    let alice = kept.read(|tx| cashbox::internals::ledger::find_wallet(tx, &wallet_id("alice"))).unwrap().unwrap();
    assert_eq!(alice.balance.to_string(), "70.00");
}

#[test]
fn backup_works_beside_server_restore_only_without() {
    let place = Place::new();
    let server = place.serve("--open");
    place.json("recharge alice 50");
    let backed_up = place.json("backup copy.db");
    assert_eq!((&backed_up["entries"], &backed_up["ok"]), (&1.into(), &true.into()));
    place.json("withdraw alice 20");
    for (line, exit, sentence) in [
        ("backup copy.db", 1, "copy.db is there already; --replace puts this in its place"),
        ("backup cashbox.db", 2, "a backup does not go where the file itself is"),
        ("backup no/such/copy.db", 3, "there is no such folder"),
        ("backup copy.db --url http://127.0.0.1:1", 1, "is there already"),
        ("backup new.db --url http://127.0.0.1:1", 3, "cannot reach"),
        ("restore copy.db --url http://127.0.0.1:1", 2, "on the machine where it is"),
        ("backup copy.db --db none.db", 1, "is there already"),
        ("backup new.db --db none.db", 3, "there is no such file"),
        ("restore copy.db --replace", 3, "has it (process"),
        ("backup . --replace", 2, "it is a folder"),
        ("backup cashbox.db-wal --replace", 2, "lies beside a database"),
        ("backup cashbox.db-serve --replace", 2, "lies beside a database"),
        ("backup cashbox.db.partial", 2, "lies beside a database"),
        ("backup /dev/null --replace", 2, "it is not an ordinary file"),
        ("restore cashbox.db", 2, "this is the file itself"),
        ("restore none.db --db new.db", 3, "cannot read none.db: No such file"),
    ] {
        let output = place.run(line);
        assert_eq!(output.exit, exit, "{line}: {}{}", output.out, output.err);
        assert!(output.err.contains(sentence), "{line}: {}", output.err);
    }
    assert_eq!(place.json("wallet alice")["balance"], "30.00");
    server.stop();
    assert_eq!(place.run("restore copy.db").exit, 1);
    let restored = place.json("restore copy.db --replace");
    assert_eq!(restored["state_hash"], backed_up["state_hash"]);
    assert_eq!(place.json("wallet alice")["balance"], "50.00");
    let kept = restored["kept"].as_str().unwrap();
    assert_eq!(place.json(&format!("wallet alice --db {kept}"))["balance"], "30.00");
    assert_eq!(place.run("verify").exit, 0);
    assert_eq!(place.json("backup copy.db --replace")["entries"], 1);
}

#[test]
fn backup_from_url_is_audited_where_it_arrives() {
    let place = Place::new();
    place.json("recharge alice 50");
    fs::write(place.path("admin"), "cbx_the-admin-of-these-tests").unwrap();
    let server = place.serve("--token-file admin");
    let at = |line: &str| place.run(&format!("{line} --url {}", server.url));
    let refused = at("backup copy.db");
    assert!(refused.exit == 1 && refused.err.contains("an access token is needed"), "{}", refused.err);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&at("backup copy.db --json").out).unwrap()["code"], 401);
    let beside = names(place.0.path());
    assert!(!beside.iter().any(|name| name.contains("copy")), "{beside:?}");

    let before = place.json("verify");
    let sent = at("backup copy.db --token-file admin --json");
    let sent: serde_json::Value = serde_json::from_str(&sent.out).unwrap();
    assert_eq!(sent["state_hash"], before["state_hash"]);
    assert_eq!(fs::metadata(place.path("copy.db")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(at("backup copy.db --token-file admin").exit, 1, "it is there now");
    place.json("recharge alice 1");
    assert_eq!(at("backup copy.db --token-file admin --replace").exit, 0);
    assert_eq!(place.json("wallet alice --db copy.db")["balance"], "51.00");
    server.stop();
    let beside = names(place.0.path());
    assert!(!beside.iter().any(|name| name.contains("partial") || name.contains("backup")), "{beside:?}");
}

/// A file whose server was killed, so that part of it is in its log.
fn killed(place: &Place, db: &str) {
    let server = place.serve(&format!("--open --db {db}"));
    for amount in [1, 2, 3] {
        place.json(&format!("recharge mallory {amount} --db {db}"));
    }
    drop(server);
    assert!(fs::metadata(place.path(&format!("{db}-wal"))).unwrap().len() > 0);
}

#[test]
fn backup_refuses_target_beside_foreign_log() {
    let place = Place::new();
    place.json("recharge alice 60");
    let live = place.json("verify")["state_hash"].clone();
    for removed in [false, true] {
        killed(&place, "copy.db");
        if removed {
            fs::remove_file(place.path("copy.db")).unwrap();
        }
        let output = place.run("backup copy.db");
        assert!(output.exit == 1 && output.err.contains("is there already"), "{} {}", output.exit, output.err);
        place.json("backup copy.db --replace");
        assert_eq!(place.json("verify --db copy.db")["state_hash"], live);
        let beside = names(place.0.path());
        assert!(!beside.iter().any(|name| name.starts_with("copy.db-w")), "{beside:?}");
    }
    place.json("backup fresh.db");
    place.json("backup fresh.db --replace");
    assert!(place.run("import none.ndjson --db new.db").exit == 3);
    let beside = names(place.0.path());
    assert!(!beside.iter().any(|name| name.starts_with("fresh.db-") || name.starts_with("new.db")), "{beside:?}");
    fs::write(place.path("treasure"), "gold").unwrap();
    fs::hard_link(place.path("treasure"), place.path("copy.db.partial")).unwrap();
    place.json("backup copy.db --replace");
    assert_eq!(place.json("verify --db copy.db")["state_hash"], live);
    assert_eq!(fs::read_to_string(place.path("treasure")).unwrap(), "gold");
}

#[test]
fn backup_refuses_target_that_is_served() {
    let place = Place::new();
    place.json("recharge alice 60");
    place.json("recharge bob 1 --db other.db");
    let server = place.serve("--open --db other.db");
    let output = place.run("backup other.db --replace");
    assert!(output.exit == 3 && output.err.contains("has it (process"), "{} {}", output.exit, output.err);
    assert_eq!(place.json("recharge bob 1 --db other.db")["balance"], "2.00");
    server.stop();
    assert_eq!(place.json("wallet bob --db other.db")["balance"], "2.00");
}

#[test]
fn backup_refuses_target_that_is_a_link() {
    let place = Place::new();
    place.json("recharge alice 60");
    fs::write(place.path("treasure"), "gold").unwrap();
    std::os::unix::fs::symlink("treasure", place.path("link.db")).unwrap();
    std::os::unix::fs::symlink("treasure", place.path("copy.db.partial")).unwrap();
    let output = place.run("backup link.db --replace");
    assert!(output.exit == 2 && output.err.contains("not an ordinary file"), "{} {}", output.exit, output.err);
    place.json("backup copy.db");
    assert!(fs::symlink_metadata(place.path("copy.db")).unwrap().is_file());
    assert_eq!(fs::read_to_string(place.path("treasure")).unwrap(), "gold");
}

#[test]
fn replace_refuses_file_that_is_being_read() {
    let place = Place::new();
    place.json("recharge alice 60");
    place.json("backup copy.db");
    killed(&place, "cashbox.db");
    let reader = rusqlite::Connection::open(place.db()).unwrap();
    let view = reader.unchecked_transaction().unwrap();
    view.query_row("SELECT count(*) FROM entry", [], |_| Ok(())).unwrap();
    let output = place.run("restore copy.db --replace");
    assert!(output.exit == 3 && output.err.contains("another program is reading it"), "{} {}", output.exit, output.err);
    assert_eq!(place.json("wallet mallory")["balance"], "6.00");
    drop(view);
    drop(reader);
    let kept = place.json("restore copy.db --replace")["kept"].as_str().unwrap().to_owned();
    assert_eq!(place.run("wallet mallory").exit, 1);
    assert_eq!(place.json(&format!("wallet mallory --db {kept}"))["balance"], "6.00");
}

#[test]
fn replace_refuses_file_that_is_locked() {
    let place = Place::new();
    place.json("recharge alice 60");
    place.json("backup copy.db");
    killed(&place, "cashbox.db");
    let other = rusqlite::Connection::open(place.db()).unwrap();
    other.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    other.query_row("SELECT count(*) FROM entry", [], |_| Ok(())).unwrap();
    let output = place.run("restore copy.db --replace");
    assert!(output.exit == 3 && output.err.contains("locked"), "{} {}", output.exit, output.err);
    drop(other);
    assert_eq!(place.json("wallet mallory")["balance"], "6.00");
}

#[test]
fn backup_removes_leftover_log_of_killed_one() {
    let place = Place::new();
    place.json("recharge alice 60");
    for left in ["copy.db.partial", "copy.db.Ab01cd23.partial"] {
        for ending in ["", "-journal", "-wal"] {
            fs::write(place.path(&format!("{left}{ending}")), [7; 600]).unwrap();
        }
    }
    let live = place.json("backup copy.db")["state_hash"].clone();
    assert_eq!(place.json("verify --db copy.db")["state_hash"], live);
    let beside = names(place.0.path());
    assert!(!beside.iter().any(|name| name.contains("partial")), "{beside:?}");
}

#[test]
fn backup_cut_off_on_the_way_leaves_no_file() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let half = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.sqlite3\r\nTransfer-Encoding: chunked\r\n\r\n";
        std::io::Write::write_all(&mut stream, format!("{head}10\r\nSQLite format 3\0\r\n").as_bytes()).unwrap();
    });
    let output = place.run(&format!("backup copy.db --url {url}"));
    half.join().unwrap();
    assert!(output.exit == 3 && output.err.contains("broke off"), "{} {}", output.exit, output.err);
    assert_eq!(names(place.0.path()), Vec::<String>::new());
}

/// A place whose file has 2,000 entries.
fn large() -> Place {
    let place = Place::new();
    let batch: String =
        (0..2_000).map(|n| format!(r#"{{"op":"recharge","user":"u{n}","amount":"1"}}"#) + "\n").collect();
    assert_eq!(place.run_with_input("batch -", &batch).exit, 0);
    place
}

#[test]
fn server_cuts_off_backup_and_export_of_damaged_file() {
    let place = large();
    let server = place.serve("--open");
    let file = fs::OpenOptions::new().write(true).open(place.db()).unwrap();
    let half = file.metadata().unwrap().len() / 2;
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xAA; half as usize], half).unwrap();
    let at = |line: &str| place.run(&format!("{line} --url {}", server.url));
    let (backup, export) = (at("backup copy.db"), at("export"));
    assert!(backup.exit == 4 && backup.err.contains("damaged"), "{} {}", backup.exit, backup.err);
    assert!(export.exit == 3 && export.err.contains("broke off"), "{} {}", export.exit, export.err);
    assert!(export.out.starts_with("{\"record\":\"cashbox\"") && !place.path("copy.db").exists());
}

#[test]
fn backup_after_killed_backup_succeeds() {
    let place = large();
    let mut killed = 0;
    while killed < 3 {
        let mut backup = place.start(&["backup", "copy.db", "--replace"]);
        crate::server::until(|| has_partial(&place) || !backup.runs());
        if backup.runs() {
            backup.signal(Signal::KILL);
        }
        killed += i32::from(backup.finish().exit != 0);
        if place.path("copy.db").exists() {
            assert_eq!(place.run("verify --db copy.db").exit, 0, "a file under that name is whole");
        }
    }
    assert_eq!(place.json("backup copy.db --replace")["entries"], 2_000);
    assert!(!has_partial(&place));
}
