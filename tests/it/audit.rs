//! The audit: what it takes for the program's own file, what a noted hash proves, that it leaves no trace; and what the
//! database refuses from any program. (`damage` has the findings once its triggers are removed.)

use crate::damage::spoil;
use crate::harness::*;
use cashbox::internals::store;
use cashbox::internals::store::audit::{Since, audit};
use rusqlite::Connection;
use std::path::Path;

fn sentences(file: &Path) -> Vec<String> {
    let report = audit(file, None, &mut |_, _| {}).expect("the audit goes on to its end");
    report.findings.into_iter().map(|finding| format!("{}: {}", finding.check, finding.sentence)).collect()
}

#[test]
fn audit_names_foreign_schema() {
    let mut book = lived_in();
    book.close();
    let edit = |from: &str, to: &str, name: &str| {
        format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = '{name}'; \
             PRAGMA writable_schema = RESET"
        )
    };
    let changes: &[(&str, &str)] = &[
        ("trigger wallet_starts_empty is missing", "DROP TRIGGER wallet_starts_empty"),
        (
            "trigger coupon_is_never_deleted differs",
            "DROP TRIGGER coupon_is_never_deleted; \
             CREATE TRIGGER coupon_is_never_deleted BEFORE DELETE ON coupon BEGIN SELECT 1; END",
        ),
        (
            "trigger loses_keys is not of this program",
            "CREATE TRIGGER loses_keys BEFORE INSERT ON idempotency BEGIN SELECT RAISE(IGNORE); END",
        ),
        ("index entry_refunds is missing", "DROP INDEX entry_refunds"),
        ("index entry_to differs", "DROP INDEX entry_to; CREATE INDEX entry_to ON entry (to_wallet, id)"),
        ("index more is not of this program", "CREATE INDEX more ON entry (at)"),
        ("table more is not of this program", "CREATE TABLE more (a)"),
        ("view more is not of this program", "CREATE VIEW more AS SELECT 1"),
        ("table code_supply is missing", "DROP TABLE code_supply"),
        ("table entry is missing", "DROP TABLE entry"),
        ("table lock is missing", "ALTER TABLE lock RENAME TO locks"),
        (
            "table lock_event is missing", // and a view of its name never ends
            "DROP TABLE lock_event; CREATE VIEW lock_event AS WITH RECURSIVE n (seq) AS \
             (SELECT 1 UNION ALL SELECT seq + 1 FROM n) SELECT seq, 'a' AS lock_id, 'created' AS what, seq AS fence FROM n",
        ),
        ("table wall_note is of a later version than the file", "PRAGMA user_version = 1"),
        ("table wallet differs", &edit("CHECK (balance >= 0 OR id >= ''@'' AND id < ''A'')", "", "wallet")),
        ("table coupon_kind differs", &edit("BETWEEN 1 AND 100", "BETWEEN 1 AND 1000", "coupon_kind")),
        ("", &edit("-- of the lease it was made under", "", "entry")),
        ("", "ANALYZE"),
    ];
    for (sentence, sql) in changes {
        let copy = book.path().with_file_name("copy.db");
        std::fs::copy(book.path(), &copy).unwrap();
        let conn = Connection::open(&copy).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        conn.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        drop(conn);
        let found = sentences(&copy);
        if sentence.is_empty() {
            assert_eq!(found, Vec::<String>::new(), "{sql}");
        } else {
            let expected = format!("the schema is the program's own: {sentence}");
            assert!(found.contains(&expected), "{sql}\nshould find: {expected}\nfound: {found:#?}");
        }
    }
}

#[test]
fn audit_leaves_file_and_log_unchanged() {
    let mut book = lived_in();
    book.close();
    let other = book.raw();
    other.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    other.execute("UPDATE lock_seq SET clock_ms = clock_ms + 1", []).unwrap();
    let log = |file: &Path| file.with_extension("db-wal");
    let bytes = |file: &Path| (std::fs::read(file).unwrap(), std::fs::read(log(file)).unwrap_or_default());
    let unchanged = |file: &Path, when: &str| {
        let before = bytes(file);
        assert_eq!(sentences(file), Vec::<String>::new());
        assert!(bytes(file) == before, "{when}");
    };
    assert!(!bytes(&book.path()).1.is_empty(), "the log holds what the file does not");
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left.db");
    std::fs::copy(book.path(), &left).unwrap();
    std::fs::copy(log(&book.path()), log(&left)).unwrap();
    unchanged(&left, "left by a process that was killed");
    unchanged(&book.path(), "beside another that has it");
    drop(other);
    unchanged(&book.path(), "with no other program");
}

#[test]
fn audit_works_on_read_only_file() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let mut book = lived_in();
    book.close();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db"); // without a log, which could not be begun here
    store::file::copy::back_up(&book.path(), &backup, false, &mut |_, _| {}).unwrap();
    set_permissions(&backup, Permissions::from_mode(0o400)).unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    let found = sentences(&backup);
    set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(found, Vec::<String>::new());
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert_eq!(names, ["backup.db"], "nothing is left beside it");
}

#[test]
fn audit_since_noted_hash_finds_rewritten_entry() {
    let mut book = lived_in();
    let since = |book: &Book, hash: &str| {
        let hash = cashbox::internals::secret::parse_hash(hash).expect("a hash");
        audit(&book.path(), Some(&Since::Hash(hash)), &mut |_, _| {}).unwrap()
    };
    let noted = since(&book, &"0".repeat(64)).last_hash;
    check_on(&book, "recharge bob 5 | balance 133.00");
    assert_eq!(since(&book, &noted).findings, [], "it is in the chain, though no longer its end");
    assert_eq!(since(&lived_in(), &"0".repeat(64)).findings, [], "before the first entry there was nothing");

    // Another program takes the newest entries away and leaves a file that is sound in itself.
    book.close();
    let copy = book.path().with_file_name("copy.db");
    std::fs::copy(book.path(), &copy).unwrap();
    let take_away = "UPDATE wallet SET balance = balance + 500, entries = entries - 1 WHERE id = '@bank'; \
         UPDATE wallet SET balance = balance - 500, entries = entries - 1 WHERE id = 'bob'; \
         DELETE FROM idempotency WHERE entry = (SELECT max(id) FROM entry); \
         DELETE FROM entry WHERE id = (SELECT max(id) FROM entry); \
         UPDATE wallet SET newest = (SELECT max(id) FROM entry) WHERE newest > 0; \
         UPDATE report_total SET count = count - 1 WHERE what = 'recharge'; \
         UPDATE report_total SET sum = CAST(sum AS INTEGER) - 500 WHERE what IN ('recharge', 'users')";
    spoil(&copy, |conn| conn.execute_batch(take_away).unwrap());
    let noted = since(&book, &noted).last_hash;
    let hash = cashbox::internals::secret::parse_hash(&noted).unwrap();
    let report = audit(&copy, Some(&Since::Hash(hash)), &mut |_, _| {}).unwrap();
    let checks: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["earlier entries are there still"], "{:?}", report.findings);
}

/// A book with some history: coupons earned and used, a refund, a lease of a wallet and a key.
pub fn lived_in() -> Book {
    let book = check(
        "
        recharge alice 300                   | coupon 1
        recharge alice 500                   | coupon 2
        recharge bob 99                      | balance 99.00
        pay      alice 300 coupon 1          | balance 550.00
        transfer alice bob 50                | balance 500.00 has bob 149.00
        refund   5 20                        | balance 520.00
        recharge bob 100                     | coupon 3
        refund   7                           | coupon 3 taken_back balance 129.00
        ",
    );
    let job = book.acquire("job", "job").unwrap();
    book.submit(under(&job.token), withdraw("bob", "1")).result.unwrap();
    book.acquire("wallet/alice", "ann").unwrap();
    book
}

/// An entry by raw SQL; the last two wallets' balances are given.
fn entry(id: &str, at: &str, from: &str, to: &str, amount: i64, balances: (&str, &str), fence: &str) -> String {
    let (from_balance, to_balance) = balances;
    format!(
        "INSERT INTO entry (id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, fence, hash)
         VALUES ({id}, {at}, 'withdraw', '{from}', '{to}', {amount}, {from_balance}, {to_balance}, 'eve', {fence}, zeroblob(32))"
    )
}

const NEXT: &str = "(SELECT max(id) + 1 FROM entry)";
const LATER: &str = "9e15";
const RIGHT: (&str, &str) =
    ("(SELECT balance - 1 FROM wallet WHERE id = 'bob')", "(SELECT balance + 1 FROM wallet WHERE id = '@bank')");

#[test]
fn database_refuses_what_program_never_does() {
    let book = lived_in();
    let entry_of = |id, at, from, fence| entry(id, at, from, "@bank", 1, RIGHT, fence);
    let alice = ("(SELECT balance - 1 FROM wallet WHERE id = 'alice')", RIGHT.1);
    let attacks: &[(&str, String)] = &[
        ("a balance changes only as the newest entry says", "UPDATE wallet SET balance = balance + 1 WHERE id = 'bob'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET balance = 0, entries = entries + 1 WHERE id = 'alice'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET id = 'eve' WHERE id = 'bob'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET newest = 1 WHERE id = 'bob'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET newest = newest - 1 WHERE id = '@bank'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET balance = balance - 1 WHERE id = '@bank'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET entries = entries + 1 WHERE id = '@sales'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET id = '@eve' WHERE id = '@holds'".into()),
        ("a balance changes only as the newest entry says", "UPDATE OR REPLACE wallet SET created_at = 7 WHERE id = '@bank'".into()),
        ("a wallet starts empty, once", "INSERT INTO wallet (id, balance, entries, created_at) VALUES ('eve', 100, 0, 0)".into()),
        ("a wallet starts empty, once", "INSERT OR REPLACE INTO wallet (id, balance, entries, created_at) VALUES ('alice', 0, 0, 0)".into()),
        ("a wallet is never deleted", "DELETE FROM wallet WHERE id = 'bob'".into()),
        ("an entry is never edited: refund it", "UPDATE entry SET amount = amount + 1 WHERE id = 1".into()),
        ("an entry is never edited: refund it", "UPDATE OR REPLACE entry SET id = 1 WHERE id = 2".into()),
        ("an entry is never deleted", "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)".into()),
        ("an entry comes after the last one, in number and in time", entry_of("1", LATER, "bob", "NULL").replace("INSERT", "INSERT OR REPLACE")),
        ("an entry comes after the last one, in number and in time", entry_of("99", LATER, "bob", "NULL")),
        ("an entry comes after the last one, in number and in time", entry_of("NULL", LATER, "bob", "NULL")),
        ("an entry comes after the last one, in number and in time", entry_of(NEXT, "1", "bob", "NULL")),
        ("an entry states both balances after it", entry(NEXT, LATER, "bob", "@bank", 2, RIGHT, "NULL")),
        ("an entry states both balances after it", entry(NEXT, LATER, "bob", "@bank", 1, (RIGHT.0, "0"), "NULL")),
        ("an entry states both balances after it", entry(NEXT, LATER, "bob", "@none", 1, (RIGHT.0, "1"), "NULL")),
        ("an entry states both balances after it", entry(NEXT, LATER, "bob", "@holds", 1, (RIGHT.0, "2"), "NULL")),
        ("an entry states both balances after it", entry(NEXT, LATER, "bob", "eve", 1, (RIGHT.0, "1"), "NULL")),
        ("another client holds the lock of this wallet", entry(NEXT, LATER, "alice", "@bank", 1, alice, "NULL")),
        ("an entry cannot be made under a foreign fence", entry(NEXT, LATER, "alice", "@bank", 1, alice, "77")),
        ("an entry cannot be made under a foreign fence", entry_of(NEXT, LATER, "bob", "(SELECT fence FROM lock WHERE id = 'wallet/alice')")),
        ("a coupon keeps the terms it was granted under", "UPDATE coupon SET amount_off = 99999 WHERE kind = '1'".into()),
        ("a coupon keeps the terms it was granted under", "UPDATE coupon SET user = 'bob' WHERE kind = '1'".into()),
        ("a coupon keeps the terms it was granted under", "UPDATE coupon SET single_use = 0 WHERE kind = '1'".into()),
        ("a coupon is never deleted", "DELETE FROM coupon".into()),
        ("a coupon is never deleted", "INSERT OR REPLACE INTO coupon SELECT code, user, kind, 99999, NULL, 0, 0, granted_at, NULL, 0, NULL, NULL, NULL FROM coupon WHERE kind = '1'".into()),
        ("neither the fence nor the lease clock goes back", "UPDATE lock_seq SET fence = fence - 1".into()),
        ("neither the fence nor the lease clock goes back", "UPDATE lock_seq SET clock_ms = clock_ms - 1".into()),
        ("lock_seq is one row", "INSERT OR REPLACE INTO lock_seq VALUES (1, 0, 0, '', '', 0)".into()),
        ("lock_seq is never deleted", "DELETE FROM lock_seq".into()),
        ("a fence is drawn from the counter", "INSERT INTO lock VALUES ('x', 99, zeroblob(32), '', 0, 0, 1, 1, NULL, 1, 0, 0, 0, NULL)".into()),
        ("a lock changes hands only to a higher fence from the counter", "UPDATE lock SET fence = fence - 1 WHERE id = 'wallet/alice'".into()),
        ("a lock changes hands only to a higher fence from the counter", "UPDATE lock SET fence = 99 WHERE id = 'job'".into()),
        ("a lock event is never edited", "UPDATE lock_event SET holder = 'eve'".into()),
        ("the newest 1,000 events of a lock are kept", "DELETE FROM lock_event WHERE seq = 1".into()),
        ("CHECK constraint failed", "UPDATE coupon SET uses = 2 WHERE kind = '1'".into()),
        ("CHECK constraint failed", entry(NEXT, LATER, "bob", "@bank", 0, ("(SELECT balance FROM wallet WHERE id = 'bob')", "(SELECT balance FROM wallet WHERE id = '@bank')"), "NULL")),
        ("FOREIGN KEY constraint failed", "UPDATE coupon SET taken_by = 999 WHERE kind = '2'".into()),
    ];
    let conn = book.raw();
    for (sentence, sql) in attacks {
        let answer = conn.execute_batch(sql);
        let refusal = answer.expect_err(sql).to_string();
        assert!(refusal.contains(sentence), "{sql}\nwas refused with: {refusal}");
    }
    book.assert_sound();
    check_on(&book, "withdraw bob 1 | balance 127.00");
}
