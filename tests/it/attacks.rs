//! Attacks on the file itself: what the database refuses from any program. (What the audit finds once its triggers are out of
//! the way stands in `damage`.)

use crate::harness::*;

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
