//! The audit itself: what it takes for the program's own file, what a noted hash proves, and that it leaves no trace.

use crate::attacks::lived_in;
use crate::damage::spoil;
use crate::harness::*;
use cashbox::internals::store::{self, audit::audit};
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
        ("table wallet differs", &edit("CHECK (balance >= 0 OR substr(id, 1, 1) = ''@'')", "", "wallet")),
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
        audit(&book.path(), Some(&hash), &mut |_, _| {}).unwrap()
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
         DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)";
    spoil(&copy, |conn| conn.execute_batch(take_away).unwrap());
    let noted = since(&book, &noted).last_hash;
    let hash = cashbox::internals::secret::parse_hash(&noted).unwrap();
    let report = audit(&copy, Some(&hash), &mut |_, _| {}).unwrap();
    let checks: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["earlier entries are there still"], "{:?}", report.findings);
}
