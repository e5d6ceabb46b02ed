//! A file of every version that was ever released opens, holds what it held, and is gone on with. The files are in
//! `kept`; a new version of the schema adds the last file of the version before.

use crate::harness::*;
use cashbox::internals::clock::Clock;
use cashbox::internals::store::audit::audit;
use cashbox::internals::store::schema::VERSION;
use cashbox::internals::store::{Options, Store};
use std::path::Path;

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
