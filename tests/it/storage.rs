//! The file and the disk under it: full disks, wrong files, files of every earlier version (in `kept`; a new version of
//! the schema adds the last file of the version before), and what lies beside the file.

use crate::authority::minted;
use crate::harness::*;
use crate::locks::{renew, revoke};
use crate::shell::Place;
use cashbox::internals::clock::Clock;
use cashbox::internals::command::RevokeToken;
use cashbox::internals::error::ErrorName;
use cashbox::internals::store::audit::audit;
use cashbox::internals::store::schema::VERSION;
use cashbox::internals::store::{self, Envelope, Options, Store};
use cashbox::internals::token::Role;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

fn wont_open(path: &Path) -> String {
    let options = Options { clock: Clock::manual(), ..Options::default() };
    Store::open(path, &options).err().expect("this must not open").to_string()
}

fn wont_read(path: &Path) -> String {
    let conn = store::Reading::of(path).and_then(|reading| reading.connect());
    conn.expect_err("this must not be read").to_string()
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

/// Bytes that may be taken until the floor is reached.
const ROOM: u64 = 256 * 1024 * 1024;

/// Sets the floor a little below the free space.
fn set_floor(book: &mut Book) {
    let disk = rustix::fs::statvfs(book.path()).unwrap();
    book.close();
    book.options.min_free = Some(disk.f_bavail * disk.f_frsize - ROOM);
    book.open();
}

/// Takes so much space that less than the floor is free.
fn take_space(book: &Book) {
    let filler = fs::File::create(book.path().with_file_name("filler")).unwrap();
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, 2 * ROOM).unwrap();
    book.advance(250); // the time to the next look at the disk
}

#[test]
fn low_space_renews_and_ends_leases_but_grants_none() {
    let mut book = book();
    set_floor(&mut book);
    let [job, other] = ["job", "other"].map(|id| book.acquire(id, "ann").unwrap().token);
    let third = book.acquire("third", "ann").unwrap().token;
    let leaked = minted(&book, Role::Auditor, None, None);
    std::thread::scope(|scope| {
        let waiters = ["job", "other"].map(|id| scope.spawn(|| book.submit(waiting(20_000), acquire(id, "ben"))));
        book.until_parked(2);
        take_space(&book);
        let is_full = || assert_eq!(name(&book.do_it(recharge("alice", "1")).result), ErrorName::StorageFull);
        is_full();
        book.advance(10_000);
        assert_eq!(renew(&book, "job", &job, None).unwrap().expires_in_ms, 60_000);
        renew(&book, "other", &other, None).unwrap();
        revoke(&book, "third", third.fence.0, None).unwrap();
        book.must(RevokeToken(leaked.id.clone()));
        book.release("job", &job).unwrap();
        let [job_waiter, other_waiter] = waiters;
        assert_eq!(name(&job_waiter.join().unwrap().result), ErrorName::StorageFull);
        assert_eq!(name(&book.do_it(acquire("job", "eve")).result), ErrorName::StorageFull);
        is_full();
        assert!(book.stats().storage_full.load(Relaxed), "the floor is seen after a renewal too");
        book.advance(10_000);
        assert_eq!(name(&other_waiter.join().unwrap().result), ErrorName::Locked);
    });
    fs::remove_file(book.path().with_file_name("filler")).unwrap();
    book.advance(250);
    book.must(recharge("alice", "1"));
    book.must(acquire("job", "eve"));
    book.assert_sound();
}

#[test]
fn low_space_and_wrong_clock_write_nothing() {
    let mut book = book();
    set_floor(&mut book);
    let job = book.acquire("job", "ann").unwrap().token;
    take_space(&book);
    book.clock.step_wall_ms(2 * 86_400_000);
    assert_eq!(renew(&book, "job", &job, None).unwrap_err().name, ErrorName::ClockJumped);
}

#[test]
fn file_that_was_moved_is_not_written() {
    let book = check("recharge alice 10 | balance 10.00");
    let elsewhere = book.path().with_file_name("elsewhere.db");
    std::fs::rename(book.path(), &elsewhere).unwrap();
    book.advance(1_000);
    assert_eq!(name(&book.do_it(recharge("alice", "1")).result), ErrorName::Damaged);
    assert_ne!(book.stats().file_faults.load(Relaxed), 0);
    std::fs::write(book.path(), "another file").unwrap();
    book.advance(1_000);
    assert_eq!(name(&book.do_it(recharge("alice", "1")).result), ErrorName::Damaged);
    assert_eq!(book.balance("alice"), "10.00", "reading goes on");
    std::fs::rename(&elsewhere, book.path()).unwrap();
    book.advance(1_000);
    book.must(recharge("alice", "1"));
    assert_eq!(book.stats().file_faults.load(Relaxed), 0);
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
        let refusal = wont_read(&file(name)).to_string();
        assert!(refusal.contains(sentence), "{name}, only to read: {refusal}");
        assert_eq!(std::fs::read(file(name)).unwrap(), before, "{name} was changed");
    }
    assert_eq!(wont_open(folder.path()), "it is a folder");
    assert_eq!(wont_open(&file("missing/cashbox.db")), "there is no such folder");
    assert_eq!(wont_read(folder.path()).to_string(), "it is a folder");
    assert_eq!(wont_read(&file("none")).to_string(), "there is no such file");
    std::fs::write(file("empty"), "").unwrap();
    assert_eq!(wont_read(&file("empty")).to_string(), "it is empty");
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

/// A kept file; its balances; the hash of its last entry, and the hash of its state, as they were when it was made.
type Kept = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const KEPT: &[Kept] = &[
    (
        "version-1.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-818.00"), ("@sales", "250.00")],
        "c4f939b2c1648927b302cde547686ea27d43570da9f5ca08dbcf5e75bf714ebb",
        "5d6d183e6da195e43279ac507f399a0b7425804924265f0b8b160299a1dacdee",
    ),
    (
        "version-2.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00")],
        "1e2d1914ba5bdaa6b565b981ce5b601167dc9c8afc6456fc1554c17596ec7e57",
        "4f6e1578c7615a7df298d9c617a0b539fc7c2904dc406e7a967926d346339340",
    ),
    (
        "version-3.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00")],
        "1e2d1914ba5bdaa6b565b981ce5b601167dc9c8afc6456fc1554c17596ec7e57",
        "4f6e1578c7615a7df298d9c617a0b539fc7c2904dc406e7a967926d346339340",
    ),
    (
        "version-4.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00")],
        "9a8722489097c080ed5fd81c979cd2594cbe8a808805d139c5c951d6b082ada6",
        "5379409860b3b10b3344d8d6dc2447f1586471bf2cabfc3288b8dd242c45242b",
    ),
    (
        "version-5.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00")],
        "9a8722489097c080ed5fd81c979cd2594cbe8a808805d139c5c951d6b082ada6",
        "5379409860b3b10b3344d8d6dc2447f1586471bf2cabfc3288b8dd242c45242b",
    ),
    (
        "version-6.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00")],
        "9a8722489097c080ed5fd81c979cd2594cbe8a808805d139c5c951d6b082ada6",
        "5379409860b3b10b3344d8d6dc2447f1586471bf2cabfc3288b8dd242c45242b",
    ),
    (
        "version-7.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00")],
        "9a8722489097c080ed5fd81c979cd2594cbe8a808805d139c5c951d6b082ada6",
        "5379409860b3b10b3344d8d6dc2447f1586471bf2cabfc3288b8dd242c45242b",
    ),
    (
        "version-8.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-688.00"), ("@sales", "120.00"), ("closed", "0.00")],
        "9a8722489097c080ed5fd81c979cd2594cbe8a808805d139c5c951d6b082ada6",
        "bc65c177b173b21340580c2be843f9362fdd04cbebaca4e69623c33e4a58b7c9",
    ),
    (
        "version-9.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-713.00"), ("@sales", "135.00"), ("@holds", "10.00")],
        "239605bffe5f6def0788e717ef58f64c21fd9d5d8fbad6b264e330579ea037a0",
        "07207d95caa63740a58a56e0a6439f6da2620d3ca7d986281af76e5dbe81e4cb",
    ),
    (
        "version-10.db",
        &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-715.00"), ("@sales", "135.00"), ("@holds", "10.00")],
        "7d8a207b7f5b5a247adc16e9fa8f2847d3e13397e8817053ff9aa914a109deee",
        "7643d6938788bedb915ec06052850692a3fb89887cfd792cad28b1546ec99c25",
    ),
];

#[test]
fn kept_files_cover_every_version() {
    assert_eq!(KEPT.len() as i32, VERSION, "keep a file of the version before");
}

#[test]
fn upgrade_overwrites_no_earlier_copy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cashbox.db");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kept/version-1.db");
    let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
    std::fs::write(folder.path().join("cashbox.db.version-1"), "of an earlier upgrade").unwrap();
    std::fs::copy(&kept, &file).unwrap();
    drop(Store::open(&file, &options).unwrap());
    let first = std::fs::read_to_string(folder.path().join("cashbox.db.version-1")).unwrap();
    assert_eq!(first, "of an earlier upgrade");
    let names = std::fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("cashbox.db.version-1-")).count(), 1);
}

#[test]
fn kept_file_opens_unchanged_and_is_usable() {
    for (name, balances, last_hash, state_hash) in KEPT {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kept").join(name), &file).unwrap();
        let before = std::fs::read(&file).unwrap();
        assert_eq!(audit(&file, None, &mut |_, _| {}).unwrap().findings, [], "{name}, before it is upgraded");
        let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
        let store = Store::open(&file, &options).expect(name);
        let as_it_was = file.with_file_name(format!("{name}.{}", name.trim_end_matches(".db")));
        assert_eq!(as_it_was.exists(), !name.contains(&VERSION.to_string()), "an older one is kept beside");
        if as_it_was.exists() {
            let kept = rusqlite::Connection::open(&as_it_was).unwrap();
            let version: i32 = kept.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert!(version < VERSION && std::fs::metadata(&as_it_was).unwrap().len() == before.len() as u64);
        }
        let report = audit(&file, None, &mut |_, _| {}).unwrap();
        assert_eq!(report.findings, [], "{name}");
        assert_eq!((report.last_hash.as_str(), report.state_hash.as_str()), (*last_hash, *state_hash), "{name}");
        let balance =
            |wallet: &str| store.read(|tx| cashbox::internals::ledger::wallet(tx, &wallet_id(wallet))).unwrap().balance;
        for (wallet, expected) in *balances {
            assert_eq!(balance(wallet).to_string(), *expected, "{wallet} of {name}");
        }
        let reused = store.submit(keyed("first"), recharge("alice", "1")).result.unwrap_err();
        assert_eq!(reused.name.as_str(), "idempotency_key_reused", "{name}: its keys are known");
        let held = store.submit(waiting(0), withdraw("bob", "1")).result.unwrap_err();
        assert_eq!(held.name.as_str(), "locked", "{name}: its locks hold");
        store.submit(keyed("go-on"), recharge("alice", "1")).result.unwrap();
        assert_eq!(balance("alice").to_string(), "541.00");
        assert_eq!(audit(&file, None, &mut |_, _| {}).unwrap().findings, [], "{name}");
    }
}

#[test]
fn companion_probe_does_not_look_like_server() {
    let place = Place::new();
    place.json("recharge alice 10");
    drop(place.serve("")); // killed: its companion still names it
    let looking = fs::File::open(place.path("cashbox.db-serve")).unwrap();
    looking.lock_shared().unwrap();
    let waiting = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let opened = |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|path| path.ends_with("cashbox.db-serve"));
    let files = || fs::read_dir(format!("/proc/{}/fd", waiting.id())).unwrap().flatten();
    crate::server::until(|| files().any(opened));
    looking.unlock().unwrap();
    crate::server::until(|| fs::read_to_string(place.path("cashbox.db-serve")).unwrap().contains("http://"));
    assert_eq!(place.json("wallet alice")["balance"], "10.00");
}

#[test]
fn companion_file_is_private_and_follows_no_link() {
    let place = Place::new();
    place.json("recharge alice 10");
    let companion = place.path("cashbox.db-serve");
    fs::set_permissions(&companion, fs::Permissions::from_mode(0o644)).unwrap();
    let server = place.serve("");
    assert_eq!(fs::metadata(&companion).unwrap().permissions().mode() & 0o777, 0o600, "a token of this run is in it");
    server.stop();
    fs::remove_file(&companion).unwrap();
    fs::write(place.path("treasure"), "gold").unwrap();
    std::os::unix::fs::symlink("treasure", &companion).unwrap();
    assert_eq!(place.run("wallet alice").exit, 0, "a looking command does not write it");
    let output = place.run("withdraw alice 1");
    assert!(output.exit == 3 && output.err.contains("it is a symbolic link"), "{} {}", output.exit, output.err);
    assert_eq!(fs::read_to_string(place.path("treasure")).unwrap(), "gold");
}

#[test]
fn upgrade_of_locked_file_keeps_no_copy() {
    let place = Place::new();
    fs::copy("tests/it/kept/version-9.db", place.db()).unwrap();
    let other = rusqlite::Connection::open(place.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let output = place.run("recharge alice 1");
    assert!(output.exit == 3 && output.err.contains("another program has it locked"), "{} {}", output.exit, output.err);
    assert!(!place.path("cashbox.db.version-9").exists(), "each attempt would leave another one");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(place.run("recharge alice 1").exit, 0);
    assert!(place.path("cashbox.db.version-9").exists());
}

#[test]
fn open_refuses_file_with_hard_link() {
    let place = Place::new();
    place.json("recharge alice 100");
    fs::hard_link(place.db(), place.path("other.db")).unwrap();
    for line in ["withdraw alice 100", "withdraw alice 100 --db other.db", "serve --listen 127.0.0.1:0"] {
        let output = place.run(line);
        assert!(output.exit == 3 && output.err.contains("another name too"), "{line}: {} {}", output.exit, output.err);
    }
    fs::remove_file(place.path("other.db")).unwrap();
    assert_eq!(place.json("withdraw alice 100")["balance"], "0.00");
}

#[test]
fn files_made_by_root_belong_to_owner_of_database() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return; // only root can give files away
    }
    let place = Place::new();
    let other = Some(4_321);
    chown(place.0.path(), other, other).unwrap();
    place.json("recharge alice 100");
    place.json("backup copy.db");
    place.json("restore copy.db --replace");
    for name in ["cashbox.db", "cashbox.db-serve", "copy.db"] {
        assert_eq!(Some(fs::metadata(place.path(name)).unwrap().uid()), other, "{name}");
    }
}

#[test]
fn reading_leaves_file_unchanged_after_reboot() {
    let place = Place::new();
    place.json("recharge alice 100 --key k");
    place.json("lock acquire job --ttl 1h");
    let conn = rusqlite::Connection::open(place.db()).unwrap();
    conn.execute("UPDATE lock_seq SET boot_id = 'another machine'", []).unwrap();
    drop(conn);
    let before = fs::read(place.db()).unwrap();
    for line in ["wallet alice", "wallets", "history", "lock show job", "lock list", "tiers", "token list"] {
        place.json(line);
        assert_eq!(fs::metadata(place.path("cashbox.db-wal")).map_or(0, |log| log.len()), 0, "{line}");
        assert!(fs::read(place.db()).unwrap() == before, "{line}");
    }
    fs::write(place.path("empty.db"), "").unwrap();
    let output = place.run("wallets --db empty.db");
    assert!(output.exit == 3 && output.err.contains("it is empty"), "{} {}", output.exit, output.err);
    assert_eq!(fs::read(place.path("empty.db")).unwrap(), b"");
}

#[test]
fn impossible_lease_clock_is_damage() {
    let place = Place::new();
    place.json("recharge alice 100");
    let conn = rusqlite::Connection::open(place.db()).unwrap();
    conn.execute("UPDATE lock_seq SET boot_offset_ms = 9223372036854775807, boot_id = ''", []).unwrap();
    drop(conn);
    for line in ["serve --listen 127.0.0.1:0", "recharge alice 1", "wallet alice", "lock acquire x", "verify"] {
        let output = place.run(line);
        assert_eq!(output.exit, 4, "{line}: {}{}", output.out, output.err);
    }
}
