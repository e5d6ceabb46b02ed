//! Forgeries by an account that can write the file: consistent in themselves, with the triggers put back and balances, totals
//! and the chain of entries made anew. Found where the journal contradicts them, and with one line noted before in every
//! case but those that are in no chain.

use super::audit::lived_in;
use super::damage::{change, forge, spoil};
use super::harness::*;
use super::journal::{lines, settings_of, token_of};
use cashbox::internals::command::{RevokeToken, SetTiers};
use cashbox::internals::journal::{ChangeKind, JournalLine};
use cashbox::internals::ledger::WalletStatus;
use cashbox::internals::ledger::coupon::Tier;
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::store::audit::{Since, audit};
use cashbox::internals::store::schema::rebuild_totals;
use cashbox::internals::token::{Role, RotateToken};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

/// A real file: entries of most kinds, coupons, access tokens, settings, a lease and records. It is closed.
fn real() -> Book {
    let mut book = lived_in();
    let teller = book.must(token_of(Role::Teller, None)).token;
    book.must(RotateToken { id: teller.id.clone(), overlap_s: 60 });
    let revoked = book.must(token_of(Role::Admin, None)).token;
    book.must(RevokeToken(revoked.id));
    book.must(SetTiers(vec![Tier { from: money("100"), kind: Some("3".into()) }]));
    book.must(recharge("carol", "120"));
    book.must(grant("carol", "3"));
    book.must(CreateWallet { user: user_id("dora") });
    book.must(SetWallet { limit_per_day: Some(Some(money("5"))), ..settings_of("dora") });
    book.must(SetWallet { status: Some(WalletStatus::Frozen), ..settings_of("bob") });
    book.advance(60_000);
    book.must(recharge("erin", "5"));
    book.must(hold("carol", "2", 3_600));
    book.submit(keyed("pay-1"), withdraw("carol", "1")).result.unwrap();
    book.must(transfer("carol", "erin", "1"));
    book.must(transfer("erin", "carol", "1"));
    book.close();
    book
}

/// A part of a forgery that is the same in each: all that follows from the entries.
fn consistently(conn: &Connection, sql: &str) {
    change(conn, sql);
    forge(conn);
    conn.execute_batch(
        "UPDATE wallet SET newest = (SELECT coalesce(max(id), 0) FROM entry) WHERE id >= '@' AND id < 'A';
         UPDATE code_supply SET given = (SELECT count(*) FROM coupon WHERE length(code) = length);",
    )
    .unwrap();
    rebuild_totals(conn).unwrap();
}

fn forged(file: &Path, forgery: impl FnOnce(&Connection)) -> PathBuf {
    let copy = file.with_file_name("forged.db");
    std::fs::copy(file, &copy).unwrap();
    spoil(&copy, forgery);
    copy
}

fn found(file: &Path, since: Option<Since>) -> Vec<String> {
    let report = audit(file, since.as_ref(), &mut |_, _| {}).expect("the audit goes on to its end");
    report.findings.iter().map(|finding| format!("{}: {}", finding.check, finding.sentence)).collect()
}

/// The line that an auditor has on paper.
fn line_of(file: &Path) -> Since {
    Since::parse(&audit(file, None, &mut |_, _| {}).unwrap().line).unwrap()
}

/// An entry of `eve`'s behind the last one.
macro_rules! entry {
    ($kind:literal, $from:literal, $to:literal, $amount:literal, $refunds:literal) => {
        concat!(
            "INSERT INTO entry (id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, refunds, hash) \
             SELECT max(id) + 1, max(at), '", $kind, "', '", $from, "', '", $to, "', ", $amount, ", 0, 0, '@local', ",
            $refunds, ", zeroblob(32) FROM entry"
        )
    };
}

const COUPON: &str = "INSERT INTO coupon (code, user, kind, percent_off, threshold, single_use, granted_at) \
                      VALUES ('FREE', 'carol', '2', 20, 0, 0, 1767225600000)";
const WALLET: &str = "INSERT INTO wallet (id, created_at) VALUES ('eve', 1767225600000)";
const TOKEN: &str = "INSERT INTO access_token (id, secret_hash, role, created_at) \
                     VALUES ('tok:0123456789abcdef', randomblob(32), 'admin', 1767225600000)";

/// Found by a file's own contradictions, without any note.
const CONTRADICTED: &[(&str, &str)] = &[
    ("admin token added", TOKEN),
    ("token promoted", "UPDATE access_token SET role = 'admin' WHERE role = 'teller'"),
    ("token un-revoked", "UPDATE access_token SET revoked_at = NULL WHERE revoked_at IS NOT NULL"),
    ("token with another secret", "UPDATE access_token SET secret_hash = randomblob(32) WHERE role = 'teller'"),
    ("old secret valid for longer", "UPDATE replaced_secret SET valid_until = 9000000000000"),
    (
        "old secret added",
        "INSERT INTO replaced_secret SELECT randomblob(32), id, 9000000000000 FROM access_token WHERE role = 'teller'",
    ),
    ("token removed", "DELETE FROM access_token WHERE role = 'admin'"),
    ("token given at the last start", "UPDATE access_token SET at_start = 1 WHERE role = 'teller'"),
    ("kind made larger", "UPDATE coupon_kind SET percent_off = 99 WHERE kind = '2'"),
    ("tier made lower", "UPDATE recharge_tier SET from_amount = 1"),
    ("coupon granted to oneself", COUPON),
    ("granted coupon made larger", "UPDATE coupon SET amount_off = 90000 WHERE earned_by IS NULL"),
    ("granted coupon given to another user", "UPDATE coupon SET user = 'erin' WHERE earned_by IS NULL"),
    ("earned coupon made larger", "UPDATE coupon SET percent_off = 90 WHERE kind = '2'"),
    ("earned coupon for any price", "UPDATE coupon SET threshold = 0, single_use = 0 WHERE kind = '1'"),
    ("earned coupon that ends", "UPDATE coupon SET expires_at = 9000000000000 WHERE kind = '2'"),
    ("used coupon as good as new", "UPDATE coupon SET uses = 0 WHERE kind = '1'"),
    ("coupon that was taken back", "UPDATE coupon SET taken_by = NULL"),
    ("empty wallet", WALLET),
    ("wallet of another time", "UPDATE wallet SET created_at = created_at - 1 WHERE id = 'erin'"),
    ("empty wallet of another time", "UPDATE wallet SET created_at = created_at - 1 WHERE id = 'dora'"),
    ("limit raised", "UPDATE wallet_setting SET limit_per_day = 900000"),
    ("frozen wallet opened", "DELETE FROM wallet_setting WHERE wallet = 'bob'"),
    ("name added", "UPDATE wallet_setting SET name = 'Bob' WHERE wallet = 'bob'"),
    ("recharge that earned more than its tier gave", "UPDATE entry SET amount = 900 WHERE id = 10"),
    (
        "entry whose request is known",
        "UPDATE entry SET amount = 2 WHERE id = (SELECT entry FROM idempotency WHERE key = 'pay-1')",
    ),
];

/// Found with the line.
const REWRITTEN: &[(&str, &str)] = &[
    ("entry of another amount", "UPDATE entry SET amount = amount + 100 WHERE id = (SELECT max(id) - 1 FROM entry)"),
    ("entry to another wallet", "UPDATE entry SET to_wallet = 'alice' WHERE id = (SELECT max(id) - 1 FROM entry)"),
    ("entry by another caller", "UPDATE entry SET made_by = 'tok:eve' WHERE id = (SELECT max(id) FROM entry)"),
    ("entry with another reference", "UPDATE entry SET reference = 'paid' WHERE id = (SELECT max(id) FROM entry)"),
    ("entry of another time", "UPDATE entry SET at = at + 1 WHERE id = (SELECT max(id) FROM entry)"),
    ("newest entry removed", "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)"),
    ("withdrawal appended", entry!("withdraw", "carol", "@bank", "100", "NULL")),
    ("transfer to oneself appended", entry!("transfer", "alice", "carol", "100", "NULL")),
    ("refund appended", entry!("refund", "erin", "@bank", "100", "13")),
];

/// In no chain.
const OUTSIDE: &[(&str, &str)] = &[
    ("record deleted", "DELETE FROM idempotency WHERE key = 'pay-1'"),
    ("lease deleted", "DELETE FROM lock WHERE id = 'job'"),
    (
        "lease with another secret",
        "UPDATE lock SET secret_hash = zeroblob(32) WHERE id = 'job'; \
         UPDATE lock_event SET secret_hash = zeroblob(16) WHERE lock_id = 'job' AND secret_hash IS NOT NULL",
    ),
    ("lock events rewritten", "UPDATE lock_event SET holder = 'eve', made_by = 'eve', reason = 'mine'"),
    ("fence moved on", "UPDATE lock_seq SET fence = fence + 1000"),
];

#[test]
fn forgery_that_journal_contradicts_is_found_without_note() {
    let book = real();
    let line = line_of(&book.path());
    assert_eq!(found(&book.path(), None), Vec::<String>::new());
    for (name, sql) in CONTRADICTED {
        let forged = forged(&book.path(), |conn| consistently(conn, sql));
        let found_alone = found(&forged, None);
        let is_about = |found: &String| !found.starts_with("each hash covers");
        assert!(!found_alone.is_empty() && found_alone.iter().all(is_about), "{name}: {found_alone:#?}");
        assert!(!found(&forged, Some(line)).is_empty(), "{name}, with the line");
    }
}

#[test]
fn every_forgery_of_entries_is_found_with_line() {
    let book = real();
    let line = line_of(&book.path());
    assert_eq!(found(&book.path(), line.unchanged()), Vec::<String>::new());
    for (name, sql) in REWRITTEN {
        let forged = forged(&book.path(), |conn| consistently(conn, sql));
        let found = found(&forged, line.unchanged());
        let is_added = name.contains("appended");
        let check = if is_added { "nothing was added since the line" } else { "earlier entries are there still" };
        assert!(found.iter().any(|one| one.starts_with(check)), "{name}: {found:#?}");
    }
}

/// Makes the hashes of the journal anew.
fn forge_journal(conn: &Connection) {
    let mut hash = [0; 32];
    for line in lines(conn) {
        let line = line.chained_to(&hash);
        hash = line.hash;
        conn.execute("UPDATE journal SET hash = $1 WHERE seq = $2", params![hash, line.seq]).unwrap();
    }
}

/// Appends a line that says the same of a row as the program would.
fn append(conn: &Connection, what: ChangeKind, subject: &str, detail: &str) {
    let last = lines(conn).pop().unwrap();
    let entry: i64 = conn.query_row("SELECT max(id) FROM entry", [], |row| row.get(0)).unwrap();
    let line = JournalLine {
        seq: last.seq + 1,
        at: last.at.max(conn.query_row("SELECT max(at) FROM entry", [], |row| row.get(0)).unwrap()),
        by: "@local".to_owned(),
        what,
        subject: Some(subject.to_owned()),
        entry,
        detail: detail.to_owned(),
        hash: [0; 32],
    }
    .chained_to(&last.hash);
    let JournalLine { seq, at, by, what, subject, entry, detail, hash } = line;
    let values = params![seq, at, by, what.as_str(), subject, entry, detail, hash];
    conn.execute("INSERT INTO journal VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", values).unwrap();
}

#[test]
fn forgery_of_journal_too_is_found_with_line_alone() {
    type Forgery = fn(&Connection);
    let forgeries: [(&str, Forgery); 4] = [
        ("wallet with its line", |conn| {
            change(conn, WALLET);
            append(conn, ChangeKind::WalletCreated, "eve", r#"{"created_at":"2026-01-01T00:00:00.000Z"}"#);
        }),
        ("coupon with its line", |conn| {
            consistently(conn, COUPON);
            let detail = r#"{"user":"carol","kind":"2","amount_off":null,"percent_off":20,"threshold":"0.00","single_use":false,
                            "max_off":null,"granted_at":"2026-01-01T00:00:00.000Z","expires_at":null}"#;
            append(conn, ChangeKind::CouponGranted, "FREE", detail);
        }),
        ("limit raised in its line", |conn| {
            change(conn, "UPDATE wallet_setting SET limit_per_day = 900000 WHERE wallet = 'dora'");
            change(
                conn,
                r#"UPDATE journal SET detail = replace(detail, '"5.00"', '"9000.00"') WHERE subject = 'dora'"#,
            );
            forge_journal(conn);
        }),
        ("line about a caller", |conn| {
            change(conn, "UPDATE journal SET made_by = 'tok:eve' WHERE what = 'tiers_set'");
            forge_journal(conn);
        }),
    ];
    let book = real();
    let line = line_of(&book.path());
    for (name, forgery) in forgeries {
        let forged = forged(&book.path(), forgery);
        assert_eq!(found(&forged, None), Vec::<String>::new(), "{name}");
        assert!(!found(&forged, line.unchanged()).is_empty(), "{name}");
    }
    // Without its hashes made anew, or with a line less, it contradicts itself.
    let half =
        forged(&book.path(), |conn| change(conn, "UPDATE journal SET made_by = 'tok:eve' WHERE what = 'tiers_set'"));
    assert!(found(&half, None)[0].starts_with("each hash of the journal covers"));
    let shorter =
        forged(&book.path(), |conn| change(conn, "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)"));
    assert!(!found(&shorter, None).is_empty());
    let none = forged(&book.path(), |conn| change(conn, "DELETE FROM journal"));
    assert!(found(&none, None)[0].starts_with("a journal begins with"));
}

#[test]
fn change_outside_both_chains_is_not_found() {
    // docs/operations.md names each, and what follows from it.
    let book = real();
    let line = line_of(&book.path());
    for (name, sql) in OUTSIDE {
        let forged = forged(&book.path(), |conn| consistently(conn, sql));
        assert_eq!(found(&forged, line.unchanged()), Vec::<String>::new(), "{name}");
    }
}
