//! Attacks on the file itself: what the database refuses whoever asks, and what the audit finds once its triggers are
//! out of the way.

use crate::harness::*;
use cashbox::store::audit::audit;
use rusqlite::Connection;
use std::path::Path;

/// A book with some history: coupons earned and used, a refund, a lease of a wallet and a key.
fn lived_in() -> Book {
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
fn the_database_refuses_what_the_program_would_never_do() {
    let book = lived_in();
    let entry_of = |id, at, from, fence| entry(id, at, from, "@bank", 1, RIGHT, fence);
    let alice = ("(SELECT balance - 1 FROM wallet WHERE id = 'alice')", RIGHT.1);
    let attacks: &[(&str, String)] = &[
        ("a balance changes only as the newest entry says", "UPDATE wallet SET balance = balance + 1 WHERE id = 'bob'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET balance = 0, entries = entries + 1 WHERE id = 'alice'".into()),
        ("a balance changes only as the newest entry says", "UPDATE wallet SET id = 'eve' WHERE id = 'bob'".into()),
        ("a wallet starts empty, once", "INSERT INTO wallet VALUES ('eve', 100, 0, 0)".into()),
        ("a wallet starts empty, once", "INSERT OR REPLACE INTO wallet VALUES ('alice', 0, 0, 0)".into()),
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
        ("somebody holds the lock of this wallet", entry(NEXT, LATER, "alice", "@bank", 1, alice, "NULL")),
        ("an entry cannot be made under a foreign fence", entry(NEXT, LATER, "alice", "@bank", 1, alice, "77")),
        ("an entry cannot be made under a foreign fence", entry_of(NEXT, LATER, "bob", "(SELECT fence FROM lock WHERE id = 'wallet/alice')")),
        ("a coupon keeps the terms it was granted under", "UPDATE coupon SET amount_off = 99999 WHERE kind = '1'".into()),
        ("a coupon keeps the terms it was granted under", "UPDATE coupon SET user = 'bob' WHERE kind = '1'".into()),
        ("a coupon keeps the terms it was granted under", "UPDATE coupon SET single_use = 0 WHERE kind = '1'".into()),
        ("a coupon is never deleted", "DELETE FROM coupon".into()),
        ("a coupon is never deleted", "INSERT OR REPLACE INTO coupon SELECT code, user, kind, 99999, NULL, 0, 0, granted_at, NULL, 0, NULL FROM coupon WHERE kind = '1'".into()),
        ("neither the fence nor the lease clock goes back", "UPDATE lock_seq SET fence = fence - 1".into()),
        ("neither the fence nor the lease clock goes back", "UPDATE lock_seq SET clock_ms = clock_ms - 1".into()),
        ("lock_seq is one row", "INSERT OR REPLACE INTO lock_seq VALUES (1, 0, 0, '', '', 0)".into()),
        ("lock_seq is never deleted", "DELETE FROM lock_seq".into()),
        ("a fence is drawn from the counter", "INSERT INTO lock VALUES ('x', 99, zeroblob(32), '', 0, 0, 1, 1, NULL, 1, 0, 0, 0)".into()),
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

/// Opens the file with none of its triggers and no foreign keys: a hand that can do anything.
fn unguarded(file: &Path) -> Connection {
    let conn = Connection::open(file).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let mut statement = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(triggers.len() > 10);
    for trigger in triggers {
        conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    drop(statement);
    conn
}

#[test]
fn the_audit_names_each_kind_of_damage() {
    let damages: &[(&str, &str)] = &[
        ("each hash covers its entry and the hash before", "UPDATE entry SET amount = amount + 1 WHERE id = 3"),
        ("an entry states both balances after it", "UPDATE entry SET amount = amount + 1 WHERE id = 3"),
        ("a balance is the sum of its entries", "UPDATE wallet SET balance = balance + 1 WHERE id = 'bob'"),
        ("the sum over all wallets is zero", "UPDATE wallet SET balance = balance + 1 WHERE id = 'bob'"),
        ("a balance is the sum of its entries", "UPDATE wallet SET entries = entries + 1 WHERE id = 'bob'"),
        ("a balance is the sum of its entries", "DELETE FROM wallet WHERE id = 'bob'"),
        ("what is referred to is there", "DELETE FROM wallet WHERE id = 'bob'"),
        ("only system wallets go below zero", "UPDATE wallet SET balance = -5 WHERE id = 'bob'"),
        ("entries are numbered without gaps", "DELETE FROM entry WHERE id = 2"),
        ("entries are numbered without gaps", "DELETE FROM entry WHERE id = 1"),
        ("a balance is the sum of its entries", "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)"),
        ("time never decreases along the entries", "UPDATE entry SET at = at - 1 WHERE id = 4"),
        ("each hash covers its entry and the hash before", "UPDATE entry SET reference = 'eve' WHERE id = 4"),
        ("each hash covers its entry and the hash before", "UPDATE entry SET made_by = 'eve' WHERE id = 9"),
        (
            "each hash covers its entry and the hash before",
            "UPDATE entry SET hash = (SELECT hash FROM entry o WHERE o.id = 7 - entry.id) WHERE id IN (3, 4)",
        ),
        ("an entry can be read", "UPDATE entry SET kind = 'gift' WHERE id = 3"),
        ("a coupon counts the payments that use it", "UPDATE coupon SET uses = 0 WHERE kind = '1'"),
        ("a coupon counts the payments that use it", "UPDATE coupon SET uses = 1 WHERE kind = '2'"),
        (
            "a payment's coupon is the payer's, and its terms make the price",
            "UPDATE coupon SET amount_off = 6000 WHERE kind = '1'",
        ),
        ("a recharge's coupon is the one it earned", "UPDATE coupon SET user = 'bob' WHERE kind = '2'"),
        ("a recharge's coupon is the one it earned", "UPDATE coupon SET earned_by = 3 WHERE kind = '2'"),
        (
            "a coupon taken back was earned by a recharge that is refunded",
            "UPDATE coupon SET taken_by = 6 WHERE kind = '2'",
        ),
        ("a refunded recharge's coupon is taken back", "UPDATE coupon SET taken_by = NULL WHERE kind = '3'"),
        ("codes of each length are counted", "DELETE FROM coupon WHERE kind = '2'"),
        ("refunds stay within their originals", "UPDATE entry SET amount = 1999 WHERE id = 5"),
        ("a refund goes back the way its original came", "UPDATE entry SET refunds = 3 WHERE id = 6"),
        ("only refunds refund, and only payments are priced", "UPDATE entry SET kind = 'transfer' WHERE id = 6"),
        ("a payment without a coupon has no discount", "UPDATE entry SET coupon = NULL WHERE id = 4"),
        ("an idempotency record names an entry that is there", "UPDATE idempotency SET entry = 999 WHERE entry = 3"),
        ("no fence is beyond the counter", "UPDATE lock_seq SET fence = 0"),
        ("no fence is beyond the counter", "UPDATE lock SET fence = 99 WHERE id = 'job'"),
        ("no fence is beyond the counter", "UPDATE entry SET fence = 99 WHERE id = 9"),
        ("no fence is beyond the counter", "UPDATE lock_event SET fence = 99 WHERE seq = 1"),
        (
            "grants grow in fence",
            "INSERT INTO lock_event (lock_id, what, fence, holder, made_by, lease_ms, at) VALUES ('job', 'created', 0, '', '', 0, 0)",
        ),
        ("a lease ends when it must", "UPDATE lock SET max_hold_ms = 1 WHERE id = 'job'"),
        ("no lease is from the future", "UPDATE lock SET renew_time = renew_time + 1 WHERE id = 'job'"),
    ];
    let mut book = lived_in();
    book.close();
    for (check, sql) in [("", "UPDATE entry SET amount = amount WHERE id = 1")].iter().chain(damages) {
        let copy = book.path().with_file_name("copy.db");
        std::fs::copy(book.path(), &copy).unwrap();
        let conn = unguarded(&copy);
        assert!(conn.execute(sql, []).unwrap() > 0, "{sql}: changed nothing");
        drop(conn);
        let report = audit(&copy, None, &mut |_, _| {}).unwrap();
        let found: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
        assert!(
            if check.is_empty() { found.is_empty() } else { found.contains(check) },
            "{sql}\nshould break: {check}\nfound: {found:?}"
        );
    }
}

#[test]
fn a_hash_that_was_noted_proves_that_nothing_before_it_was_rewritten() {
    let mut book = lived_in();
    let since = |book: &Book, hash: &str| {
        let hash = cashbox::secret::parse_hash(hash).expect("a hash");
        audit(&book.path(), Some(&hash), &mut |_, _| {}).unwrap()
    };
    let noted = since(&book, &"0".repeat(64)).last_hash;
    check_on(&book, "recharge bob 5 | balance 133.00");
    assert_eq!(since(&book, &noted).findings, [], "it is in the chain, though no longer its end");
    assert_eq!(since(&lived_in(), &"0".repeat(64)).findings, [], "before the first entry there was nothing");

    // Somebody takes the newest entries away and leaves a file that is sound in itself.
    book.close();
    let copy = book.path().with_file_name("copy.db");
    std::fs::copy(book.path(), &copy).unwrap();
    let conn = unguarded(&copy);
    conn.execute_batch(
        "UPDATE wallet SET balance = balance + 500, entries = entries - 1 WHERE id = '@bank'; \
         UPDATE wallet SET balance = balance - 500, entries = entries - 1 WHERE id = 'bob'; \
         DELETE FROM entry WHERE id = (SELECT max(id) FROM entry);",
    )
    .unwrap();
    drop(conn);
    let noted = since(&book, &noted).last_hash;
    let hash = cashbox::secret::parse_hash(&noted).unwrap();
    let report = audit(&copy, Some(&hash), &mut |_, _| {}).unwrap();
    let checks: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    assert!(checks.contains(&"what was there before is there still"), "{:?}", report.findings);
}
