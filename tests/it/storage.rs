//! The file and the disk under it: a full disk is a no and not an end, and a wrong file is refused in a sentence.

use crate::harness::*;
use cashbox::internals::clock::Clock;
use cashbox::internals::error::ErrorName;
use cashbox::internals::store::{self, Envelope, Options, Store};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

fn wont_open(path: &Path) -> String {
    let options = Options { clock: Clock::manual(), ..Options::default() };
    Store::open(path, &options).err().expect("this must not open").to_string()
}

#[test]
fn full_disk_refuses_writes_reads_on_and_recovers() {
    let mut book = book();
    let pages = u32::try_from(book.number("SELECT page_count FROM pragma_page_count()")).unwrap();
    book.close();
    book.options.max_pages = Some(pages + 8);
    book.open();
    let mut done = 0;
    let full = loop {
        match book.submit(keyed(&format!("k{done}")), recharge("alice", "1")).result {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 10_000, "eight pages are never full");
    };
    assert_eq!(full.name, ErrorName::StorageFull);
    let says_full = |book: &Book| book.stats().storage_full.load(std::sync::atomic::Ordering::Relaxed);
    assert!(says_full(&book), "also in its health");
    assert!(done > 0);
    let all = (0..50).map(|i| (keyed(&format!("b{i}")), recharge("bob", "100"))).collect();
    let answers = book.submit_all(all);
    assert!(answers.iter().all(|answer| answer.result.is_ok() || name(&answer.result) == ErrorName::StorageFull));
    let bobs = answers.iter().filter(|answer| answer.result.is_ok()).count();
    assert_eq!(book.balance("alice"), format!("{done}.00"), "reading goes on, and nothing was half done");
    assert_eq!(book.balance("bob"), if bobs == 0 { "0.00".to_owned() } else { format!("{bobs}00.00") });
    assert!(book.submit(keyed("k0"), recharge("alice", "1")).replayed);
    book.assert_sound();

    book.close();
    book.options.max_pages = Some(10_000);
    book.open();
    let retried = book.submit(keyed(&format!("k{done}")), recharge("alice", "1"));
    assert!(retried.result.is_ok() && !retried.replayed, "a full disk is not remembered: {retried:?}");
    assert!(!says_full(&book));
    assert_eq!(book.balance("alice"), format!("{}.00", done + 1));
    book.assert_sound();
}

#[test]
fn waiters_survive_full_disk() {
    let mut book = book();
    book.acquire("job", "ann").unwrap();
    let pages = u32::try_from(book.number("SELECT page_count FROM pragma_page_count()")).unwrap();
    book.close();
    book.options.max_pages = Some(pages + 4);
    book.open();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| book.submit(waiting(30_000), acquire("job", "ben")));
        book.until_parked(1);
        while book.do_it(recharge("alice", "100")).result.is_ok() {}
        book.advance(30_000);
        assert_eq!(name(&waiter.join().unwrap().result), ErrorName::Locked);
    });
    book.assert_sound();
}

#[test]
fn low_free_space_refuses_writes_and_reads_on() {
    let mut book = check("recharge alice 1 |");
    book.close();
    book.options.min_free = Some(u64::MAX);
    book.open();
    let refused = book.submit(keyed("k"), recharge("alice", "1"));
    assert_eq!(name(&refused.result), ErrorName::StorageFull);
    assert_eq!(book.balance("alice"), "1.00");
    book.close();
    book.options.min_free = Some(0);
    book.open();
    assert!(!book.submit(keyed("k"), recharge("alice", "1")).replayed);
    assert_eq!(book.balance("alice"), "2.00");
}

#[test]
fn file_that_was_moved_is_not_written() {
    let book = check("recharge alice 10 | balance 10.00");
    let elsewhere = book.path().with_file_name("elsewhere.db");
    std::fs::rename(book.path(), &elsewhere).unwrap();
    book.advance(1_000);
    assert_eq!(name(&book.do_it(recharge("alice", "1")).result), ErrorName::Damaged);
    assert!(book.stats().file_is_gone.load(Relaxed));
    std::fs::write(book.path(), "another file").unwrap();
    book.advance(1_000);
    assert_eq!(name(&book.do_it(recharge("alice", "1")).result), ErrorName::Damaged);
    assert_eq!(book.balance("alice"), "10.00", "reading goes on");
    std::fs::rename(&elsewhere, book.path()).unwrap();
    book.advance(1_000);
    book.must(recharge("alice", "1"));
    assert!(!book.stats().file_is_gone.load(Relaxed));
    book.assert_sound();
}

#[test]
fn wrong_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("text"), "this is not a database, but long enough to be looked at. ".repeat(20)).unwrap();
    let sql = |name: &str, sql: &str| rusqlite::Connection::open(file(name)).unwrap().execute_batch(sql).unwrap();
    sql("tables", "CREATE TABLE theirs (a)");
    sql("application", "PRAGMA application_id = 42; PRAGMA user_version = 1; CREATE TABLE theirs (a)");
    sql("marked", "PRAGMA application_id = 42");
    sql("newer", "PRAGMA application_id = 0x63617368; PRAGMA user_version = 99; CREATE TABLE later (a)");
    let expected = [
        ("text", "not an SQLite database"),
        ("tables", "another application"),
        ("application", "another application"),
        ("marked", "another application"),
        ("newer", "newer cashbox (version 99"),
    ];
    for (name, sentence) in expected {
        let before = std::fs::read(file(name)).unwrap();
        let refusal = wont_open(&file(name));
        assert!(refusal.contains(sentence), "{name}: {refusal}");
        let refusal = store::open_read_only(&file(name)).unwrap_err().to_string();
        assert!(refusal.contains(sentence), "{name}, only to read: {refusal}");
        assert_eq!(std::fs::read(file(name)).unwrap(), before, "{name} was changed");
    }
    assert_eq!(wont_open(folder.path()), "it is a folder");
    assert_eq!(wont_open(&file("missing/cashbox.db")), "there is no such folder");
    assert_eq!(store::open_read_only(folder.path()).unwrap_err().to_string(), "it is a folder");
    assert_eq!(store::open_read_only(&file("none")).unwrap_err().to_string(), "there is no such file");
    std::fs::write(file("empty"), "").unwrap();
    assert_eq!(store::open_read_only(&file("empty")).unwrap_err().to_string(), "it is empty");
    let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
    let book = Store::open(&file("empty"), &options).expect("an empty file is a new one");
    book.submit(Envelope::local(), recharge("alice", "1")).result.unwrap();
}

#[test]
fn new_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let book = book();
    for name in ["cashbox.db", "cashbox.db-wal"] {
        let mode = std::fs::metadata(book.path().with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn damaged_file_is_reported_and_left_unchanged() {
    let mut book = check("recharge alice 100 | coupon 3");
    book.close();
    let mut bytes = std::fs::read(book.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xAA);
    std::fs::write(book.path(), bytes).unwrap();
    let damaged = std::fs::read(book.path()).unwrap();
    let looked = store::audit::audit(&book.path(), None, &mut |_, _| {});
    let sound = looked.is_ok_and(|report| report.findings.is_empty());
    assert!(!sound, "half of the file is not what was written");
    assert_eq!(std::fs::read(book.path()).unwrap(), damaged);
}

#[test]
fn panic_costs_only_its_own_command() {
    let book = check("recharge alice 10 |");
    // Codes this long are beyond what can be drawn: the rule panics, which nothing a client sends can bring about.
    book.raw().execute("INSERT INTO code_supply (length) VALUES (13)", []).unwrap();
    let sent = [recharge("alice", "1"), recharge("alice", "100"), withdraw("alice", "2"), grant("alice", "1")];
    let sent = sent.into_iter().enumerate().map(|(i, command)| (keyed(&format!("k{i}")), command)).collect();
    let answers = book.submit_all(sent);
    let names: Vec<_> =
        answers.iter().map(|answer| answer.result.as_ref().map_or_else(|e| e.name.as_str(), |_| "ok")).collect();
    assert_eq!(names, ["ok", "internal", "ok", "internal"]);
    assert_eq!(book.balance("alice"), "9.00");
    book.raw().execute("DELETE FROM code_supply WHERE length = 13", []).unwrap();
    let again = book.submit(keyed("k1"), recharge("alice", "100"));
    assert!(again.result.is_ok() && !again.replayed, "an internal error is not remembered");
    book.assert_sound();
}

#[test]
fn unreadable_record_costs_only_its_own_command() {
    let book = check("recharge alice 10 |");
    book.submit(keyed("bad"), recharge("alice", "1")).result.unwrap();
    book.raw().execute("UPDATE idempotency SET outcome = 'no JSON' WHERE key = 'bad'", []).unwrap();
    let ask = |key: &str| (keyed(key), recharge("alice", "1"));
    let answers = book.submit_all(vec![ask("before"), ask("bad"), ask("after")]);
    assert!(answers[0].result.is_ok() && answers[2].result.is_ok(), "{answers:?}");
    assert_eq!(name(&answers[1].result), ErrorName::Internal);

    // A foreign trigger swallows every record.
    book.raw()
        .execute_batch("CREATE TRIGGER mine BEFORE INSERT ON idempotency BEGIN SELECT RAISE(IGNORE); END")
        .unwrap();
    let plain = (Envelope::local(), recharge("alice", "1"));
    let answers = book.submit_all(vec![plain.clone(), ask("swallowed"), plain]);
    assert!(answers[0].result.is_ok() && answers[2].result.is_ok(), "{answers:?}");
    assert_eq!(name(&answers[1].result), ErrorName::Internal);
    assert_eq!(book.balance("alice"), "15.00", "what could not be recorded was not done");
    book.raw().execute_batch("DROP TRIGGER mine").unwrap();
    assert!(!book.submit(keyed("swallowed"), recharge("alice", "1")).replayed);
}

#[test]
fn file_held_by_other_program_answers_busy() {
    let book = check("recharge alice 10 |");
    let other = book.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| book.do_it(withdraw("alice", "1")));
        while book.stats().queued.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(book.balance("alice"), "10.00", "reading goes on");
        other.execute_batch("COMMIT").unwrap();
        answer.join().unwrap().result.expect("the writer waits for a short while");
    });
}
