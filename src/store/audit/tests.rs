//! Parts of the audit that are reached only from inside.

use super::WALLETS_AT_ONCE;
use super::chain::walk;
use super::findings::Findings;
use super::schema::{checks, normalised};
use crate::id::UserId;
use crate::ledger::Note;
use crate::ledger::verbs::Recharge;
use crate::money::Money;
use crate::secret::hex;
use crate::store::schema::VERSION;
use crate::store::{Envelope, Options, Reading, Store};
use rusqlite::Connection;

/// Wallets `a` to `z`, each with two entries, and a balance that is wrong.
fn file(folder: &std::path::Path) -> Connection {
    let path = folder.join("cashbox.db");
    let store = Store::open(&path, &Options { min_free: Some(0), ..Options::default() }).unwrap();
    for user in ('a'..='z').chain('a'..='z') {
        let (user, amount) = (UserId::parse(&user.to_string()).unwrap(), Money::parse("1").unwrap());
        let recharge = Recharge { user, amount, note: Note::default() };
        store.submit(Envelope::local(), recharge).result.unwrap();
    }
    drop(store);
    let conn = Connection::open(&path).unwrap();
    let damage = "DROP TRIGGER wallet_balance_has_its_entry; UPDATE wallet SET balance = 7 WHERE id = 'k'";
    conn.execute_batch(damage).unwrap();
    Reading::of(&path).unwrap().connect().unwrap()
}

#[test]
fn audit_in_shares_finds_same_as_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let conn = file(folder.path());
    let found = |wallets_at_once| {
        let mut findings = Findings::default();
        let walked = walk(&conn, VERSION, None, wallets_at_once, &mut findings, &mut |_, _| {}).unwrap();
        assert_eq!(walked.entries, 52);
        (findings.0, hex(&walked.last_hash))
    };
    let (all, hash) = found(WALLETS_AT_ONCE);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].sentence.starts_with("wallet k says 7 cents after 2 entries"), "{all:?}");
    assert_eq!(all[1].sentence, "the wallets add up to -193 cents");
    assert_eq!(found(5), (all, hash));
}

#[test]
fn page_that_cannot_be_read_is_not_a_finding() {
    use super::is_about_io;
    assert!(is_about_io("Tree 3 page 7: unable to get the page. error code=8458"));
    assert!(is_about_io("Tree 3 page 7 cell 2: btreeInitPage() returns error code 266"));
    for sentence in
        ["Tree 3 page 7: btreeInitPage() returns error code 11", "NULL value in entry.at", "error code", "ok"]
    {
        assert!(!is_about_io(sentence), "{sentence}");
    }
}

#[test]
fn schema_comparison_ignores_comments_and_white_space() {
    assert_eq!(normalised("CHECK (a > 0),   -- it's so\n\t b TEXT"), "CHECK (a > 0), b TEXT");
    assert_eq!(normalised("(a <> '--'  OR 1)"), "(a <> '--' OR 1)");
    assert_ne!(normalised("(a <> 'b  c')"), normalised("(a <> 'b c')"));
    assert_ne!(normalised("(a <> '--\n')"), normalised("(a <> '')"));
}

#[test]
fn checks_are_found_whole() {
    let sql = "CREATE TABLE t (a TEXT CHECK (length(a) > 1 AND a <> ')'), b CHECK (b IN (0, 1)), c REFERENCES t (a), CHECK ((a) <> (b)))";
    assert_eq!(checks(sql), ["(length(a) > 1 AND a <> ')')", "(b IN (0, 1))", "((a) <> (b))"]);
}
