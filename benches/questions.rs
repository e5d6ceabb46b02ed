#![forbid(unsafe_code)]
//! The time of questions to a file with many entries of one year: `cargo bench --bench questions -- 10000000`, which takes
//! about 3 GiB of disk and some minutes. The entries are written by SQL alone and their hashes are zeros: nothing here is
//! audited, and the file is removed at the end.

use cashbox::internals::http::{App, Settings};
use cashbox::internals::store::{Options, Store};
use rusqlite::Connection;
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Entries unless the command line gives another number.
const ENTRIES: i64 = 1_000_000;
/// One of this number of entries has a reference, and there is a wallet for each of them.
const REFERENCE_EVERY: i64 = 10;
/// The length of a page.
const ROWS: usize = 50;
/// 2026-01-01, and the length of a year, in milliseconds.
const START_MS: i64 = 1_767_225_600_000;
const YEAR_MS: i64 = 365 * 86_400_000;
const ROUNDS: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("measure with: cargo bench --bench questions");
        return ExitCode::SUCCESS; // a test run measures nothing
    }
    let entries = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ENTRIES);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = folder.path().join("cashbox.db");
    let options = Options { min_free: Some(0), ..Options::default() };
    Store::open(&file, &options).expect("a new file").close();
    let begun = Instant::now();
    fill(&file, entries).expect("a file with entries");
    println!("{entries} entries written in {:.0} s", begun.elapsed().as_secs_f64());
    let app = App::new(Store::open(&file, &options).expect("the file opens"), Settings::default());
    let reference = entries / 2 / REFERENCE_EVERY * REFERENCE_EVERY;
    let year = "/v1/report?since=2026-01-01&until=2026-12-31";
    for (what, target, rows, counted) in [
        ("report of the year by month", format!("{year}&by=month"), Some(12), entries),
        ("report of the year by day", format!("{year}&by=day"), Some(365), entries),
        ("find by reference", format!("/v1/entries?reference=order-{reference}"), Some(1), 0),
        ("the refunds, of which there are none", "/v1/entries?kind=refund".to_owned(), Some(0), 0),
        ("the largest wallets", "/v1/wallets?order=balance".to_owned(), Some(ROWS), 0),
        ("a user at the middle of the year", "/v1/wallets/alice?as_of=2026-07-02".to_owned(), None, 0),
        ("@bank yesterday", "/v1/wallets/@bank?as_of=2026-12-30".to_owned(), None, 0),
        ("@bank at the middle of the year", "/v1/wallets/@bank?as_of=2026-07-02".to_owned(), None, 0),
    ] {
        let mut times: Vec<_> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                let answer = app.answer_local("GET", &target, &[], Vec::new());
                let elapsed = begun.elapsed();
                check(&answer.body, rows, counted);
                elapsed
            })
            .collect();
        let first = times[0];
        times.sort_unstable();
        println!("{what}: {:.2?} (first {first:.2?})", times[ROUNDS / 2]);
    }
    ExitCode::SUCCESS
}

/// Fails unless the answer has that many rows, or is not a list, and counts that many entries, if it counts any.
fn check(body: &[u8], rows: Option<usize>, counted: i64) {
    let answer: Value = serde_json::from_slice(body).expect("an answer is JSON");
    let counts = answer["total"]["count"].as_object();
    let sum: i64 = counts.into_iter().flatten().filter_map(|(_, count)| count.as_i64()).sum();
    assert_eq!((answer["data"].as_array().map(Vec::len), sum), (rows, counted), "{answer}");
}

/// Recharges, withdrawals and payments, evenly spread over a year, and their totals.
fn fill(file: &Path, entries: i64) -> rusqlite::Result<()> {
    let mut conn = Connection::open(file)?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update(None, "cache_size", -256 * 1024)?;
    let tx = conn.transaction()?;
    let triggers: Vec<(String, String)> = tx
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (name, _) in &triggers {
        tx.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    tx.execute_batch("INSERT INTO wallet (id, created_at) VALUES ('alice', 0)")?;
    tx.execute(
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $1)
         INSERT INTO wallet (id, balance, created_at) SELECT 'user-' || id, id * 7919 % 1000003, 0 FROM n",
        [entries / REFERENCE_EVERY],
    )?;
    tx.execute(
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $1)
         INSERT INTO entry (id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, reference, hash)
         SELECT id, $2 + id * $3 / $1, CASE id % 3 WHEN 0 THEN 'recharge' WHEN 1 THEN 'withdraw' ELSE 'pay' END,
                CASE id % 3 WHEN 0 THEN '@bank' ELSE 'alice' END,
                CASE id % 3 WHEN 0 THEN 'alice' WHEN 1 THEN '@bank' ELSE '@sales' END,
                100, 0, 0, '@local', CASE id % $4 WHEN 0 THEN 'order-' || id END, zeroblob(32) FROM n",
        [entries, START_MS, YEAR_MS - 1, REFERENCE_EVERY],
    )?;
    tx.execute_batch(
        "WITH counted AS (SELECT at / 900000 AS quarter, kind, count(*) AS count, sum(amount) AS sum FROM entry GROUP BY 1, 2)
         INSERT INTO report_total (quarter, what, count, sum)
         SELECT quarter, kind, sum(count) OVER before, CAST(sum(sum) OVER before AS TEXT) FROM counted
         WINDOW before AS (PARTITION BY kind ORDER BY quarter)",
    )?;
    for (_, sql) in &triggers {
        tx.execute_batch(sql)?;
    }
    tx.commit()
}
