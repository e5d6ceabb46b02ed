//! A file of every version that was ever released opens, holds what it held, and is gone on with. The files are in
//! `kept`; a new version of the schema adds the last file of the version before.

use crate::harness::*;
use cashbox::clock::Clock;
use cashbox::store::audit::audit;
use cashbox::store::{Options, Store};
use std::path::Path;

/// A kept file; its balances; the hash of its last entry, and the hash of its state, as they were told when it was made.
type Kept = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const KEPT: &[Kept] = &[(
    "version-1.db",
    &[("alice", "540.00"), ("bob", "28.00"), ("@bank", "-818.00"), ("@sales", "250.00")],
    "c4f939b2c1648927b302cde547686ea27d43570da9f5ca08dbcf5e75bf714ebb",
    "5d6d183e6da195e43279ac507f399a0b7425804924265f0b8b160299a1dacdee",
)];

#[test]
fn there_is_a_kept_file_of_every_version() {
    assert_eq!(KEPT.len() as i32, cashbox::store::schema::VERSION, "keep a file of the version before");
}

#[test]
fn a_kept_file_opens_holds_what_it_held_and_is_gone_on_with() {
    for (name, balances, last_hash, state_hash) in KEPT {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kept").join(name), &file).unwrap();
        let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
        let store = Store::open(&file, &options).expect(name);
        let report = audit(&file, None, &mut |_, _| {}).unwrap();
        assert_eq!(report.findings, [], "{name}");
        assert_eq!((report.last_hash.as_str(), report.state_hash.as_str()), (*last_hash, *state_hash), "{name}");
        let balance = |wallet: &str| store.read(|tx| cashbox::ledger::wallet(tx, &wallet_id(wallet))).unwrap().balance;
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
