//! The audit at the ends of numbers: every integer of the file, balances at their limits, and a million entries.

use crate::audit::lived_in;
use crate::damage::spoil;
use crate::harness::*;
use cashbox::internals::error::ErrorName;
use cashbox::internals::store::audit::audit;
use cashbox::internals::store::{Envelope, Options, Store};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const EXTREMES: [i64; 4] = [i64::MIN, -9_000_000_000_000_000_000, 9_000_000_000_000_000_000, i64::MAX];

#[test]
fn integer_at_its_ends_is_found_and_nothing_overflows() {
    let mut book = lived_in();
    book.close();
    let copy = book.path().with_file_name("copy.db");
    let columns = || -> Vec<(String, String, String)> {
        let conn = rusqlite::Connection::open(book.path()).unwrap();
        let sql = "SELECT m.name, c.name, (SELECT group_concat(k.name) FROM pragma_table_info(m.name) k WHERE k.pk > 0)
                   FROM sqlite_schema m JOIN pragma_table_info(m.name) c
                   WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND c.type = 'INTEGER'";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let columns = columns();
    assert!(columns.len() > 40, "{columns:?}");
    let mut spoiled = BTreeSet::new();
    for (table, column, key) in &columns {
        for extreme in EXTREMES {
            fs::copy(book.path(), &copy).unwrap();
            let mut changed = 0;
            spoil(&copy, |conn| {
                let sql = format!(
                    "UPDATE OR IGNORE {table} SET {column} = ?1 WHERE ({key}) = (SELECT {key} FROM {table} LIMIT 1)"
                );
                changed = conn.execute(&sql, [extreme]).unwrap();
            });
            if changed > 0 {
                spoiled.insert(table);
            }
            let report = audit(&copy, None, &mut |_, _| {});
            let what = format!("{table}.{column} = {extreme}");
            match &report {
                Ok(report) => {
                    let is_money = column.contains("balance") || column == "amount" || column == "gross";
                    assert!(changed == 0 || !is_money || !report.findings.is_empty(), "{what} is not found");
                }
                Err(error) => assert_eq!(error.name, ErrorName::Damaged, "{what}: {error}"),
            }
        }
    }
    assert!(spoiled.len() > 8, "{spoiled:?}");
}

const ENTRIES: usize = 1_000_000;
/// Recharges of 10^12.00 that take `@bank` to its limit, -9×10^18 cents.
const TO_THE_LIMIT: usize = 90_000;
/// Recharges of 10^12.00 that a wallet has room for.
const FOR_ONE_USER: usize = 1_000;
/// Memory that the audit may take, in kilobytes.
const MEMORY_KB: u64 = 100_000;

/// A million entries, and balances at both of their limits.
fn fill(file: &Path) {
    let store = Store::open(file, &Options { min_free: Some(0), ..Options::default() }).unwrap();
    let command = |n: usize| match n {
        _ if n < TO_THE_LIMIT => recharge(&format!("u{}", n / FOR_ONE_USER), "1000000000000"),
        _ if n.is_multiple_of(2) => withdraw(&format!("u{}", n % 90), "0.01"),
        _ => recharge(&format!("w{}", n % 100_000), "0.01"), // what was just withdrawn
    };
    for begin in (0..ENTRIES).step_by(10_000) {
        if begin == TO_THE_LIMIT {
            let error = store.submit(Envelope::local(), recharge("w", "0.01")).result.unwrap_err();
            assert_eq!(error.name, ErrorName::BalanceLimit, "no more than that");
        }
        let commands = (begin..begin + 10_000).map(|n| (Envelope::local(), command(n))).collect();
        for outcome in store.submit_all(commands) {
            outcome.result.unwrap();
        }
    }
}

/// The audit's report in a namespace where only the folder can be written, and the most memory it took, in kilobytes.
fn audit_without_temp_folders(folder: &Path) -> (Value, u64) {
    let script = "mount --bind \"$1\" /mnt && for place in /tmp /var/tmp /dev/shm; do \
                  mount --bind $place $place && mount -o remount,bind,ro $place || exit 99; done; \
                  exec \"$0\" verify --json --db /mnt/cashbox.db";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_cashbox")]).arg(folder);
    command.env_remove("TMPDIR");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = peak.unwrap_or(0).max(most);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    (serde_json::from_slice(&output.stdout).unwrap(), most)
}

#[test]
#[ignore = "needs root and some minutes: .ci/slow"]
fn million_entries_at_limits_are_audited_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("cashbox.db"));
    let begun = std::time::Instant::now();
    let (report, most) = audit_without_temp_folders(folder.path());
    assert_eq!((report["ok"].clone(), report["entries"].clone()), (true.into(), ENTRIES.into()), "{report}");
    eprintln!("{ENTRIES} entries in {:?} and {} MB", begun.elapsed(), most / 1_000);
    assert!(most > 1_000 && most < MEMORY_KB, "{most} kB");
}
