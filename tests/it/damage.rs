//! The audit after any program has written to the file: each kind of damage is planted with the
//! triggers out of the way, they are put back, and it is named.

use crate::audit::lived_in;
use crate::harness::*;
use cashbox::internals::command::SetTiers;
use cashbox::internals::ledger::entry::Entry;
use cashbox::internals::store::audit::audit;
use cashbox::internals::token::{NewToken, Role};
use rusqlite::Connection;
use std::collections::HashMap;
use std::path::Path;

/// Takes all triggers away, does the damage, and puts them back.
pub fn spoil(file: &Path, damage: impl FnOnce(&Connection)) {
    let conn = Connection::open(file).unwrap();
    conn.pragma_update(None, "synchronous", "OFF").unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let triggers: Vec<(String, String)> = rows.map(Result::unwrap).collect();
    assert!(triggers.len() > 10);
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    damage(&conn);
    for (_, sql) in &triggers {
        conn.execute_batch(sql).unwrap();
    }
}

/// Some SQL, which must change something.
pub fn change(conn: &Connection, sql: &str) {
    conn.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let changes: i64 = conn.query_row("SELECT total_changes()", [], |row| row.get(0)).unwrap();
    assert!(changes > 0, "{sql}: changed nothing");
}

/// Makes balances and hashes what they would be if all entries had been written as they are now.
pub fn forge(conn: &Connection) {
    let columns = "id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, coupon, gross, discount, \
                   refunds, reference, metadata, fence, hold, hold_to, hold_until, hash";
    let mut statement = conn.prepare(&format!("SELECT {columns} FROM entry ORDER BY id")).unwrap();
    let entries: Vec<Entry> =
        statement.query_map([], |row| Entry::read(&row.into())).unwrap().map(Result::unwrap).collect();
    let mut wallets: HashMap<String, (i64, i64)> = HashMap::new();
    let mut hash = [0; 32];
    for mut entry in entries {
        let mut moved = |wallet: &str, cents: i64| {
            let (balance, entries) = wallets.entry(wallet.to_owned()).or_default();
            (*balance, *entries) = (*balance + cents, *entries + 1);
            cashbox::internals::money::Balance::from_cents(*balance)
        };
        entry.from_balance = moved(entry.from.as_str(), -entry.amount.cents());
        entry.to_balance = moved(entry.to.as_str(), entry.amount.cents());
        entry = entry.chained_to(&hash);
        hash = entry.hash;
        let sql = "UPDATE entry SET from_balance = $1, to_balance = $2, hash = $3 WHERE id = $4";
        let balances = (entry.from_balance.cents(), entry.to_balance.cents());
        conn.execute(sql, (balances.0, balances.1, hash, entry.id.0)).unwrap();
    }
    conn.execute("UPDATE wallet SET balance = 0, entries = 0", []).unwrap();
    for (wallet, (balance, entries)) in wallets {
        let sql = "UPDATE wallet SET balance = $1, entries = $2 WHERE id = $3";
        conn.execute(sql, (balance, entries, wallet)).unwrap();
    }
}

/// A lived-in book whose records say all that records can say, and an access token. It is closed.
fn full() -> Book {
    let mut book = lived_in();
    let together = vec![recharge("carol", "99"), withdraw("carol", "1"), transfer("@sales", "@bank", "1")];
    book.submit(keyed("batch"), batch(together)).result.unwrap();
    book.submit(keyed("gift"), grant("carol", "2")).result.unwrap();
    book.submit(keyed("tiers"), SetTiers(Vec::new())).result.unwrap();
    book.submit(keyed("too-much"), withdraw("carol", "1000")).result.unwrap_err();
    let wanted =
        NewToken { role: Role::User, user: Some(user_id("bob")), prefix: None, expires_in_s: None, note: None };
    book.must(wanted);
    book.close();
    book
}

/// Findings of the audit in a damaged copy of the book.
pub fn found(book: &Book, damage: impl FnOnce(&Connection)) -> Vec<String> {
    let copy = book.path().with_file_name("copy.db");
    std::fs::copy(book.path(), &copy).unwrap();
    spoil(&copy, damage);
    let report = audit(&copy, None, &mut |_, _| {}).expect("the audit goes on to its end");
    report.findings.iter().map(|finding| format!("{}: {}", finding.check, finding.sentence)).collect()
}

pub fn assert_named(found: &[String], check: &str, sql: &str) {
    let named = found.iter().any(|finding| finding.strip_prefix(check).is_some_and(|rest| rest.starts_with(": ")));
    assert!(named, "{sql}\nshould break: {check}\nfound: {found:#?}");
}

fn assert_all_named(damages: &[(&str, &str)]) {
    assert_all_named_in(&full(), damages);
}

pub fn assert_all_named_in(book: &Book, damages: &[(&str, &str)]) {
    for (check, sql) in damages {
        assert_named(&found(book, |conn| change(conn, sql)), check, sql);
    }
}

const FIND: &str = "SQLite finds its own structures sound";
pub const TERMS: &str = "a coupon has the terms of a coupon";
pub const MADE: &str = "an idempotency record names the entry that its request made";
pub const SAYS: &str = "an idempotency record holds an answer";
const COUNTER: &str = "there is one counter of fences and one clock of leases";
const TOKEN: &str = "an access token has a role, and a user if that is its role";
const PREFIX: &str = "a prefix of locks belongs to the role locker";
const REPLACED: &str = "a replaced secret was an access token's and is in use no more";
const WAY: &str = "money goes the way of its kind";
pub const NOTE: &str = "a note has a permitted size";

#[test]
fn audit_of_intact_file_finds_nothing() {
    let book = full();
    assert_eq!(
        found(&book, |conn| change(conn, "UPDATE entry SET amount = amount WHERE id = 1")),
        Vec::<String>::new()
    );
    assert_eq!(found(&book, forge), Vec::<String>::new());
}

#[test]
fn audit_names_damage_to_balances_and_chain() {
    assert_all_named(&[
        ("each hash covers its entry and the hash before", "UPDATE entry SET amount = amount + 1 WHERE id = 3"),
        ("an entry states both balances after it", "UPDATE entry SET amount = amount + 1 WHERE id = 3"),
        ("a balance is the sum of its entries", "UPDATE wallet SET balance = balance + 1 WHERE id = 'bob'"),
        ("the sum over all wallets is zero", "UPDATE wallet SET balance = balance + 1 WHERE id = 'bob'"),
        ("a balance is the sum of its entries", "UPDATE wallet SET entries = entries + 1 WHERE id = 'bob'"),
        ("a balance is the sum of its entries", "DELETE FROM wallet WHERE id = 'bob'"),
        ("what is referred to is there", "DELETE FROM wallet WHERE id = 'bob'"),
        ("what is referred to is there", "UPDATE coupon SET user = 'nobody' WHERE kind = '2'"),
        ("what is referred to is there", "INSERT INTO recharge_tier VALUES (1, '9')"),
        ("only system wallets go below zero", "UPDATE wallet SET balance = -5 WHERE id = 'bob'"),
        ("the system's wallets are there", "DELETE FROM wallet WHERE id = '@holds'"),
        ("a wallet has a name", "INSERT INTO wallet (id, balance, entries, created_at) VALUES ('@evil', 0, 0, 0)"),
        ("a wallet has a name", "INSERT INTO wallet (id, balance, entries, created_at) VALUES ('a/b', 0, 0, 0)"),
        (
            "a wallet has a name",
            "INSERT INTO wallet (id, balance, entries, created_at) VALUES (CAST(x'ff' AS TEXT), 0, 0, 0)",
        ),
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
        ("refunds stay within their originals", "UPDATE entry SET amount = 1999 WHERE id = 5"),
        ("a refund goes back the way its original came", "UPDATE entry SET refunds = 3 WHERE id = 6"),
        ("only refunds refund, and only payments are priced", "UPDATE entry SET kind = 'transfer' WHERE id = 6"),
    ]);
}

#[test]
fn audit_names_damage_to_report_totals() {
    const TOTALS: &str = "the report's totals are those of the entries";
    assert_all_named(&[
        (TOTALS, "UPDATE report_total SET count = count + 1 WHERE what = 'recharge'"),
        (TOTALS, "UPDATE report_total SET sum = '1' WHERE what = 'users'"),
        (TOTALS, "UPDATE report_total SET sum = 'much' WHERE what = '@sales'"),
        (TOTALS, "UPDATE report_total SET sum = CAST(x'ff' AS TEXT) WHERE what = 'pay'"),
        (TOTALS, "UPDATE report_total SET what = 'gift' WHERE what = 'discount'"),
        (TOTALS, "UPDATE report_total SET what = CAST(x'ff' AS TEXT) WHERE what = 'discount'"),
        (TOTALS, "UPDATE report_total SET quarter = quarter + 1"),
        (TOTALS, "INSERT INTO report_total VALUES (0, 'pay', 1, '1')"),
        (TOTALS, "INSERT INTO report_total VALUES (9223372036854775807, 'pay', 1, '1')"),
        (TOTALS, "DELETE FROM report_total"),
        (TOTALS, "UPDATE entry SET at = at + 900000 WHERE id = 12"),
        (TOTALS, "UPDATE entry SET at = 9223372036854775807 WHERE id = 12"),
        (TOTALS, "UPDATE entry SET kind = 'transfer' WHERE id = 6"),
        (TOTALS, "UPDATE entry SET amount = amount + 1 WHERE id = 3"),
        (TOTALS, "UPDATE entry SET refunds = 4 WHERE id = 6"),
    ]);
}

#[test]
fn audit_names_numbers_out_of_bounds() {
    assert_all_named(&[
        ("an entry states both balances after it", "UPDATE entry SET to_balance = 9223372036854775807 WHERE id = 1"),
        ("an entry states both balances after it", "UPDATE entry SET from_balance = -9223372036854775808 WHERE id = 1"),
        ("a balance is the sum of its entries", "UPDATE wallet SET balance = 9223372036854775807"),
        ("the sum over all wallets is zero", "UPDATE wallet SET balance = 9223372036854775807"),
        ("entries are numbered without gaps", "UPDATE entry SET id = 9223372036854775807 WHERE id = 12"),
        ("entries are numbered without gaps", "UPDATE entry SET id = -9223372036854775808 WHERE id = 12"),
        (
            "refunds stay within their originals",
            "UPDATE entry SET amount = 9223372036854775807, refunds = 5, kind = 'refund' WHERE id IN (6, 8)",
        ),
        ("a price is what is paid and the discount", "UPDATE entry SET discount = 9223372036854775807 WHERE id = 4"),
        (TERMS, "UPDATE coupon SET amount_off = -9223372036854775808 WHERE kind = '1'"),
        (
            "a payment's coupon is the payer's, and its terms make the price",
            "UPDATE coupon SET amount_off = NULL, percent_off = 9223372036854775807 WHERE kind = '1'",
        ),
        ("a lease has a possible length", "UPDATE lock SET expire_ms = 9223372036854775807"),
        ("a lease ends within max_hold_ms", "UPDATE lock SET expire_ms = 9223372036854775807, max_hold_ms = 1"),
    ]);
}

#[test]
fn audit_names_impossible_entry_with_right_hash() {
    let book = full();
    let forgeries: &[(&str, &str)] = &[
        (WAY, "UPDATE entry SET from_wallet = '@holds' WHERE id = 3"),
        (WAY, "UPDATE entry SET from_wallet = 'alice' WHERE id = 3"),
        (WAY, "UPDATE entry SET to_wallet = 'alice' WHERE id = 9"),
        (WAY, "UPDATE entry SET to_wallet = '@holds' WHERE id = 9"),
        (WAY, "UPDATE entry SET to_wallet = '@bank' WHERE id = 4"),
        (WAY, "UPDATE entry SET to_wallet = from_wallet WHERE id = 5"),
        (WAY, "UPDATE entry SET to_wallet = '@bank' WHERE id = 5; UPDATE entry SET from_wallet = '@bank' WHERE id = 6"),
        (WAY, "UPDATE entry SET from_wallet = '@bank' WHERE id = 5; UPDATE entry SET to_wallet = '@bank' WHERE id = 6"),
        (
            "a wallet has a name",
            "INSERT INTO wallet (id, balance, entries, created_at) VALUES ('@Bank', 0, 0, 0); UPDATE entry SET from_wallet = '@Bank' WHERE id = 3",
        ),
        (
            "only system wallets go below zero",
            "UPDATE entry SET kind = 'withdraw', from_wallet = 'carol', to_wallet = '@bank', amount = 1 WHERE id = 3",
        ),
        (
            "only refunds refund, and only payments are priced",
            "UPDATE entry SET gross = amount, discount = 0 WHERE id = 3",
        ),
        ("a coupon is used by a payment or earned by a recharge", "UPDATE entry SET coupon = 'ABCD' WHERE id = 9"),
        ("a price is what is paid and the discount", "UPDATE entry SET discount = 9999 WHERE id = 4"),
        ("a price is what is paid and the discount", "UPDATE entry SET gross = 1, discount = 2 WHERE id = 4"),
        ("a payment without a coupon has no discount", "UPDATE entry SET coupon = NULL WHERE id = 4"),
        ("a payment without a coupon has no discount", "UPDATE entry SET discount = -9999 WHERE id = 4"),
        (FIND, "UPDATE entry SET discount = -9999, gross = amount - 9999 WHERE id = 4"),
        ("a refund comes after its original", "UPDATE entry SET refunds = 6 WHERE id = 6"),
        ("no fence is beyond the counter", "UPDATE entry SET fence = 99 WHERE id = 9"),
        ("fences are numbered from 1", "UPDATE entry SET fence = 0 WHERE id = 9"),
        ("fences are numbered from 1", "UPDATE entry SET fence = -7 WHERE id = 9"),
        ("an entry has a possible time", "UPDATE entry SET at = -1 WHERE id = 1"),
        ("an entry has a possible time", "UPDATE entry SET at = 253402300800000 WHERE id = 12"),
        ("an entry has a caller", "UPDATE entry SET made_by = '' WHERE id = 9"),
        ("an entry has a caller", "UPDATE entry SET made_by = char(27) || '[31m' WHERE id = 9"),
        (NOTE, "UPDATE entry SET reference = hex(zeroblob(128)) WHERE id = 1"),
        (NOTE, "UPDATE entry SET metadata = '{oops' WHERE id = 1"),
        (NOTE, "UPDATE entry SET metadata = 'null' WHERE id = 1"),
        (NOTE, "UPDATE entry SET metadata = '[]' WHERE id = 1"),
        (NOTE, "UPDATE entry SET metadata = '{\"a\":{\"b\":1}}' WHERE id = 1"),
        (NOTE, "UPDATE entry SET metadata = json_object('a', hex(zeroblob(251))) WHERE id = 1"),
        (NOTE, "UPDATE entry SET metadata = json_object(hex(zeroblob(21)), 'a') WHERE id = 1"),
        (
            NOTE,
            "UPDATE entry SET metadata = (SELECT json_group_object('n' || value, 'a') FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21]')) WHERE id = 1",
        ),
        (
            "a coupon is used after it was earned and before it is taken back",
            "UPDATE coupon SET uses = 1 WHERE kind = '3'; \
             UPDATE entry SET kind = 'pay', to_wallet = '@sales', discount = 1000, gross = amount + 1000, \
             coupon = (SELECT code FROM coupon WHERE kind = '3') WHERE id = 9",
        ),
        (
            "a coupon is used after it was earned and before it is taken back",
            "UPDATE coupon SET earned_by = 7 WHERE kind = '1'",
        ),
        (MADE, "UPDATE entry SET reference = 'eve' WHERE id = 3"),
        (MADE, "UPDATE entry SET amount = amount + 1 WHERE id = 3"),
        (MADE, "UPDATE entry SET made_by = 'eve' WHERE id = 3"),
    ];
    for (check, sql) in forgeries {
        let found = found(&book, |conn| {
            change(conn, sql);
            forge(conn);
        });
        assert_named(&found, check, sql);
        assert!(!found.iter().any(|finding| finding.contains("hash")), "{sql}: {found:#?}");
    }
}

#[test]
fn audit_names_damage_to_coupons() {
    let coupon = |code: &str, user: &str| {
        format!(
            "INSERT INTO coupon VALUES ('{code}', '{user}', '2', NULL, 20, 0, 0, 0, NULL, 0, NULL, NULL, NULL); \
             UPDATE code_supply SET given = given + 1"
        )
    };
    assert_all_named(&[
        ("a coupon counts the payments that use it", "UPDATE coupon SET uses = 0 WHERE kind = '1'"),
        ("a coupon counts the payments that use it", "UPDATE coupon SET uses = 1 WHERE kind = '2'"),
        (
            "a payment's coupon is the payer's, and its terms make the price",
            "UPDATE coupon SET amount_off = 6000 WHERE kind = '1'",
        ),
        ("a recharge's coupon is the one it earned", "UPDATE coupon SET user = 'bob' WHERE kind = '2'"),
        ("a recharge's coupon is the one it earned", "UPDATE coupon SET earned_by = 3 WHERE kind = '2'"),
        ("a coupon taken back was earned by a refunded recharge", "UPDATE coupon SET taken_by = 6 WHERE kind = '2'"),
        ("a refunded recharge's coupon is taken back", "UPDATE coupon SET taken_by = NULL WHERE kind = '3'"),
        ("codes of each length are counted", "DELETE FROM coupon WHERE kind = '2'"),
        ("codes of each length are counted", "DELETE FROM code_supply"),
        ("codes of each length are counted", "UPDATE code_supply SET length = 5"),
        ("codes of each length are counted", "DELETE FROM coupon; DELETE FROM code_supply"),
        (FIND, "UPDATE coupon SET uses = 2 WHERE kind = '1'"),
        (FIND, "UPDATE coupon_kind SET percent_off = 500 WHERE kind = '2'"),
        (FIND, "UPDATE coupon_kind SET threshold = -5"),
        ("a tier begins above zero", "INSERT INTO recharge_tier VALUES (0, '3')"),
        (TERMS, "UPDATE coupon_kind SET percent_off = 500 WHERE kind = '2'"),
        (TERMS, "UPDATE coupon_kind SET threshold = -5"),
        (TERMS, "UPDATE coupon SET uses = 2 WHERE kind = '1'"),
        (TERMS, "UPDATE coupon SET percent_off = 50 WHERE kind = '1'"),
        (TERMS, "UPDATE coupon SET amount_off = NULL WHERE kind = '1'"),
        (TERMS, "UPDATE coupon SET amount_off = 0 WHERE kind = '1'"),
        (TERMS, "UPDATE coupon SET percent_off = 101 WHERE kind = '2'"),
        (TERMS, "UPDATE coupon SET percent_off = 0 WHERE kind = '2'"),
        (TERMS, "UPDATE coupon SET threshold = -1 WHERE kind = '1'"),
        (TERMS, "UPDATE coupon SET single_use = 7 WHERE kind = '1'"),
        ("a coupon is a user's", &coupon("FREE", "@bank")),
        ("a coupon has a code", &coupon("free", "alice")),
        ("a coupon has a code", &coupon("FR1E", "alice")),
        ("a coupon has a code", &coupon("FRE", "alice")),
        ("a coupon has a code", &coupon("FREEFREEFREEE", "alice")),
    ]);
}

#[test]
fn audit_names_damage_to_idempotency_records() {
    assert_all_named(&[
        (FIND, "UPDATE idempotency SET request = x'00' WHERE key = 'line-0'"),
        (MADE, "UPDATE idempotency SET request = zeroblob(16) WHERE key = 'line-2'"),
        (MADE, "UPDATE idempotency SET entry = 999 WHERE entry = 3"),
        (MADE, "UPDATE idempotency SET entry = -1 WHERE entry = 3"),
        (MADE, "UPDATE idempotency SET entry = 3 WHERE entry = 5"),
        (MADE, "UPDATE idempotency SET caller = 'bob' WHERE entry = 3"),
        (
            MADE,
            "INSERT INTO idempotency SELECT caller, 'again', request, at, entry, outcome FROM idempotency WHERE entry = 3",
        ),
        (MADE, "UPDATE idempotency SET outcome = '{\"entry\":3,\"told\":[\"a\",\"b\"]}' WHERE entry = 3"),
        (SAYS, "UPDATE idempotency SET request = x'00' WHERE key = 'gift'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"entry\":4,\"told\":[\"a\",\"b\"]}' WHERE key = 'line-0'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"entry\":1,\"told\":[\"a\"]}' WHERE key = 'line-0'"),
        (SAYS, "UPDATE idempotency SET outcome = '{garb' WHERE key = 'line-0'"),
        (SAYS, "UPDATE idempotency SET outcome = '1' WHERE key = 'line-0'"),
        (SAYS, "UPDATE idempotency SET outcome = 'null', entry = NULL WHERE key = 'line-0'"),
        (SAYS, "UPDATE idempotency SET outcome = NULL, entry = NULL WHERE key = 'line-0'"),
        (SAYS, "UPDATE idempotency SET outcome = '[10,11,999]' WHERE key = 'batch'"),
        (SAYS, "UPDATE idempotency SET outcome = '[10,11,0]' WHERE key = 'batch'"),
        (SAYS, "UPDATE idempotency SET outcome = '[10,11,true]' WHERE key = 'batch'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"coupon\":\"NONE\"}' WHERE key = 'gift'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"coupon\":1}' WHERE key = 'gift'"),
        (SAYS, "UPDATE idempotency SET outcome = '\"don\"' WHERE key = 'tiers'"),
        (
            SAYS,
            "UPDATE idempotency SET outcome = replace(outcome, 'insufficient_funds', 'nonsense') WHERE key = 'too-much'",
        ),
        (
            SAYS,
            "UPDATE idempotency SET outcome = replace(outcome, 'insufficient_funds', 'busy') WHERE key = 'too-much'",
        ),
        (SAYS, "UPDATE idempotency SET outcome = replace(outcome, '\"facts\"', '\"fact\"') WHERE key = 'too-much'"),
    ]);
}

#[test]
fn audit_names_damage_to_locks_and_access_tokens() {
    assert_all_named(&[
        (FIND, "UPDATE access_token SET role = 'king'"),
        (TOKEN, "UPDATE access_token SET role = 'king'"),
        (TOKEN, "UPDATE access_token SET role = 'admin'"),
        (PREFIX, "UPDATE access_token SET prefix = 'jobs/'"),
        (PREFIX, "UPDATE access_token SET role = 'locker', user = NULL, prefix = 'wallet/alice'"),
        (PREFIX, "UPDATE access_token SET role = 'locker', user = NULL, prefix = ''"),
        (TOKEN, "UPDATE access_token SET user = 'a/b'"),
        (REPLACED, "INSERT INTO replaced_secret VALUES (zeroblob(32), 'tok:none', 0)"),
        (REPLACED, "INSERT INTO replaced_secret SELECT secret_hash, id, 0 FROM access_token"),
        ("a history of locks has a name", "UPDATE lock_seq SET incarnation = 'a.b c'"),
        ("no fence is beyond the counter", "UPDATE lock_seq SET fence = 0"),
        ("no fence is beyond the counter", "UPDATE lock SET fence = 99 WHERE id = 'job'"),
        ("no fence is beyond the counter", "UPDATE lock_event SET fence = 99 WHERE seq = 1"),
        (COUNTER, "DELETE FROM lock_seq"),
        (COUNTER, "INSERT INTO lock_seq SELECT 2, fence, clock_ms, incarnation, boot_id, boot_offset_ms FROM lock_seq"),
        (COUNTER, "UPDATE lock_seq SET one = 2"),
        (COUNTER, "UPDATE lock_seq SET fence = -1"),
        (COUNTER, "UPDATE lock_seq SET fence = (1 << 62) + 1"),
        (COUNTER, "UPDATE lock_seq SET clock_ms = -1"),
        (COUNTER, "UPDATE lock_seq SET clock_ms = (1 << 53) + 1"),
        (COUNTER, "UPDATE lock_seq SET boot_offset_ms = 9223372036854775807"),
        (COUNTER, "UPDATE lock_seq SET boot_offset_ms = -(1 << 53) - 1"),
        (
            "grants grow in fence",
            "INSERT INTO lock_event (lock_id, what, fence, holder, made_by, lease_ms, at) VALUES ('job', 'created', 0, '', '', 0, 0)",
        ),
        ("fences are numbered from 1", "UPDATE lock SET fence = 0 WHERE id = 'job'"),
        ("fences are numbered from 1", "UPDATE lock_event SET fence = -5 WHERE seq = 1"),
        ("lock events are numbered from 1 and of a kind", "UPDATE lock_event SET seq = 0 WHERE seq = 1"),
        ("lock events are numbered from 1 and of a kind", "UPDATE lock_event SET what = 'eaten' WHERE seq = 1"),
        ("a revoked lease has ended", "UPDATE lock SET secret_hash = NULL WHERE id = 'job'"),
        ("a lease was granted", "UPDATE lock SET secret_hash = NULL, expire_ms = 0 WHERE id = 'job'"),
        ("a lease ends within max_hold_ms", "UPDATE lock SET max_hold_ms = 1 WHERE id = 'job'"),
        ("no lease is from the future", "UPDATE lock SET renew_time = renew_time + 1 WHERE id = 'job'"),
        ("a lease has a possible length", "UPDATE lock SET expire_ms = 86400001 WHERE id = 'job'"),
        ("a lease has a possible length", "UPDATE lock SET grace_ms = 86400001 WHERE id = 'job'"),
        ("a lease has a possible length", "UPDATE lock SET grace_ms = -1 WHERE id = 'job'"),
        ("a lease has a possible length", "UPDATE lock SET max_hold_ms = 0 WHERE id = 'job'"),
        ("a lease has no more locks than were granted together", "UPDATE lock SET ids = 0 WHERE id = 'job'"),
        (
            "a lease has no more locks than were granted together",
            "UPDATE lock SET fence = (SELECT max(fence) FROM lock)",
        ),
        ("a lock has a name", "UPDATE lock SET id = 'wallet/@bank' WHERE id = 'job'"),
        ("a lock has a name", "UPDATE lock SET id = char(10) WHERE id = 'job'"),
        ("a lock has a name", "UPDATE lock SET id = '' WHERE id = 'job'"),
        ("a lock has a name", "UPDATE lock SET id = hex(zeroblob(128)) WHERE id = 'job'"),
        ("a lease was granted", "UPDATE lock SET secret_hash = zeroblob(32) WHERE id = 'job'"),
        ("a lease was granted", "UPDATE lock SET secret_hash = substr(secret_hash, 1, 16) WHERE id = 'job'"),
        ("a lease was granted", "UPDATE lock SET id = 'another' WHERE id = 'job'"),
        ("a lease was granted", "DELETE FROM lock_event WHERE lock_id = 'job'"),
        ("a lease was granted", "UPDATE lock_event SET what = 'released' WHERE lock_id = 'job'"),
    ]);
}

#[test]
fn audit_ends_with_any_value_in_any_column() {
    let book = full();
    let conn = Connection::open(book.path()).unwrap();
    let sql = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'";
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: Vec<(String, String)> = columns.map(Result::unwrap).collect();
    assert!(columns.len() > 70, "every table was found");
    let mut planted = 0;
    for (table, column) in columns {
        for value in ["NULL", "-9223372036854775808", "9223372036854775807", "''", "CAST(x'00ff' AS TEXT)", "x'ff'"] {
            let copy = book.path().with_file_name("copy.db");
            std::fs::copy(book.path(), &copy).unwrap();
            let sql = format!("UPDATE OR IGNORE {table} SET {column} = {value}");
            spoil(&copy, |conn| planted += conn.execute(&sql, []).unwrap_or(0).min(1)); // or such a thing cannot stand there
            audit(&copy, None, &mut |_, _| {}).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
    assert!(planted > 150, "{planted} values were planted");
}
