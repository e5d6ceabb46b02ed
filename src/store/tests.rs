//! Reached only from inside: upgrades with steps that no version has, and the rows that a page looks at.

use super::audit::normalised;
use super::file::copy::keep_version;
use super::recent::RecentEntries;
use super::schema::{
    HOLDS_SINCE, JOURNAL_SINCE, ROTATION_SINCE, SCHEMA, SETTINGS_SINCE, TOTALS_SINCE, UPGRADES, Upgrade, VERSION,
    check, prepare, upgrade,
};
use crate::clock::Clock;
use crate::error::ErrorName;
use crate::id::{CouponCode, EntryId, LockId, UserId, WalletId};
use crate::journal::{self, ChangeKind, JournalFilter};
use crate::ledger::WalletStatus;
use crate::ledger::coupon::CouponState;
use crate::ledger::entry::{Entry, EntryKind};
use crate::ledger::hold::{self, HoldFilter, HoldState};
use crate::ledger::query::{CouponFilter, Filter, all_coupons, entries, usable_coupons};
use crate::ledger::wallet_list::{WalletFilter, wallets};
use crate::lock::event::of_lock;
use crate::lock::{self, LockFilter, LockState};
use crate::tx::{ChainHead, Now, ReadTx, params};
use rusqlite::Connection;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[test]
fn upgraded_file_has_schema_of_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |file: &Path| {
        let conn = Connection::open(file).unwrap();
        let mut rows = conn.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").unwrap();
        let sql = |text: Option<String>| text.map(|text| normalised(&text));
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, sql(row.get(2)?)))).unwrap();
        rows.collect::<Result<Vec<(String, String, Option<String>)>, _>>().unwrap()
    };
    let kept = folder.path().join("kept.db");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kept/version-1.db"), &kept).unwrap();
    prepare(&mut Connection::open(&kept).unwrap(), &Clock::Machine, |_| Ok(())).unwrap();
    assert_eq!(schema(&kept), schema(&new_file(folder.path())));
}

#[test]
fn parts_made_by_upgrades_are_in_schema() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    for name in UPGRADES.iter().flat_map(|step| step.made) {
        assert!(conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = $1").unwrap().exists([name]).unwrap(), "{name}");
    }
    for (since, table) in [
        (ROTATION_SINCE, "replaced_secret"),
        (TOTALS_SINCE, "report_total"),
        (SETTINGS_SINCE, "wallet_setting"),
        (HOLDS_SINCE, "hold"),
        (JOURNAL_SINCE, "journal"),
    ] {
        let made_by = 2 + UPGRADES.iter().position(|step| step.made.contains(&table)).unwrap() as i32;
        assert_eq!(since, made_by, "{table}");
    }
}

fn new_file(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("cashbox.db");
    prepare(&mut Connection::open(&file).unwrap(), &Clock::Machine, |_| Ok(())).unwrap();
    file
}

fn step(sql: &'static str) -> Upgrade {
    Upgrade { sql, made: &[], changed: "" }
}

fn version(file: &Path) -> i32 {
    check(&Connection::open(file).unwrap()).unwrap()
}

#[test]
fn upgrade_takes_every_step_and_keeps_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = new_file(folder.path());
    let steps = [
        step("CREATE TABLE second (a); INSERT INTO second VALUES (2)"),
        step("CREATE TABLE third AS SELECT a + 1 AS a FROM second"),
    ];
    let mut conn = Connection::open(&file).unwrap();
    keep_version(&file, VERSION).unwrap();
    upgrade(&mut conn, &Clock::Machine, VERSION, &steps).unwrap();
    assert_eq!(conn.query_row("SELECT a FROM third", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    assert_eq!(conn.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0)).unwrap(), VERSION + 2);
    assert!(check(&conn).unwrap_err().to_string().contains("newer cashbox"), "this program does not know it");
    assert_eq!(version(&folder.path().join(format!("cashbox.db.version-{VERSION}"))), VERSION);
}

#[test]
fn upgrade_with_failing_step_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = new_file(folder.path());
    let mut conn = Connection::open(&file).unwrap();
    upgrade(
        &mut conn,
        &Clock::Machine,
        VERSION,
        &[step("CREATE TABLE second (a)"), step("INSERT INTO nothing VALUES (1)")],
    )
    .unwrap_err();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'second'";
    assert_eq!(conn.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert_eq!(version(&file), VERSION);
}

/// The instructions of SQLite's machine that a question takes.
fn steps(conn: &Connection, ask: impl FnOnce(&ReadTx<'_>)) -> u64 {
    const EVERY: i32 = 100;
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let count_one = move || {
        counter.fetch_add(1, Relaxed);
        false
    };
    conn.progress_handler(EVERY, Some(count_one)).unwrap();
    ask(&ReadTx::new(conn));
    conn.progress_handler(0, None::<fn() -> bool>).unwrap();
    count.load(Relaxed) * EVERY as u64
}

#[test]
fn page_of_entries_looks_at_bounded_number_of_rows() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    conn.execute_batch(
        "DROP TRIGGER entry_is_in_order; INSERT INTO wallet (id, created_at) VALUES ('ann', 0), ('ben', 0)",
    )
    .unwrap();
    // Every filter is answered by these entries alone, and none of them passes two.
    let fill = |first: i64, last: i64| {
        let sql = "WITH RECURSIVE n (id) AS (SELECT $1 UNION ALL SELECT id + 1 FROM n WHERE id < $2)
                   INSERT INTO entry (id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, coupon, reference, hold, hash)
                   SELECT id, id, CASE id % 4 WHEN 0 THEN 'recharge' WHEN 1 THEN 'transfer' ELSE 'pay' END,
                          CASE id % 4 WHEN 0 THEN '@bank' ELSE 'ann' END, CASE id % 4 WHEN 0 THEN 'ben' WHEN 1 THEN 'ben' ELSE '@sales' END,
                          1, 0, 0, '@local', CASE id % 4 WHEN 2 THEN 'AAAA' END, CASE id % 4 WHEN 3 THEN 'same' END, CASE id % 4 WHEN 1 THEN 2 END, zeroblob(32) FROM n";
        conn.execute(sql, [first, last]).unwrap();
    };
    let wallet = |name: &str| WalletId::parse(name).ok();
    let (same, code) = (Some("same".to_owned()), CouponCode::parse("AAAA").ok());
    let by = Some("tok:1".to_owned());
    let kind = Some(EntryKind::Refund);
    let metadata = Some(r#"{"a":"b"}"#.to_owned());
    let filter = Filter::default;
    let filters = [
        ("no filter", filter()),
        ("a kind", Filter { kind, ..filter() }),
        ("a caller", Filter { by, ..filter() }),
        ("an amount", Filter { min: Some(5), ..filter() }),
        ("metadata", Filter { metadata, ..filter() }),
        ("a wallet", Filter { wallet: wallet("ann"), ..filter() }),
        ("a wallet and a kind", Filter { wallet: wallet("ann"), kind, ..filter() }),
        ("a system wallet", Filter { wallet: wallet("@sales"), kind, ..filter() }),
        ("the bank", Filter { wallet: wallet("@bank"), kind, ..filter() }),
        ("a reference", Filter { reference: same.clone(), ..filter() }),
        ("a reference and a kind", Filter { reference: same.clone(), kind, ..filter() }),
        ("a reference and a wallet", Filter { reference: same.clone(), wallet: wallet("ben"), ..filter() }),
        ("a reference and a coupon", Filter { reference: same, coupon: code.clone(), ..filter() }),
        ("a coupon", Filter { coupon: code.clone(), ..filter() }),
        ("a coupon and a kind", Filter { coupon: code, kind, ..filter() }),
        ("a hold", Filter { hold: Some(EntryId(2)), ..filter() }),
        ("a hold and a kind", Filter { hold: Some(EntryId(2)), kind, ..filter() }),
        ("an original", Filter { refunds: Some(EntryId(1)), kind: Some(EntryKind::Pay), ..filter() }),
    ];
    let measure = || -> Vec<u64> {
        let both = |filter: &Filter| {
            [false, true].map(|ascending| {
                let filter = Filter { ascending, ..filter.clone() };
                steps(&conn, |tx| _ = entries(tx, &filter, None, 50).unwrap())
            })
        };
        filters.iter().flat_map(|(_, filter)| both(filter)).collect()
    };
    fill(1, 450_000); // more of each than a page may look at
    let before = measure();
    fill(450_001, 900_000);
    for ((before, after), place) in before.iter().zip(measure()).zip(0..) {
        let (name, _) = &filters[place / 2];
        assert!(after <= before + before / 10 + 1_000, "{name}: {before} steps, then {after} with twice the entries");
    }
}

#[test]
fn other_lists_look_at_bounded_number_of_rows() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    let triggers = conn
        .prepare("SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger'")
        .and_then(|mut names| names.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>());
    triggers.unwrap().iter().for_each(|drop| conn.execute_batch(drop).unwrap());
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    // None of these rows passes any of the filters, but for the prefix that all of them have.
    let fill = |first: i64, last: i64| {
        let rows = [
            "wallet (id, balance, created_at) SELECT 'user-' || id, id, 0",
            "wallet_setting (wallet, name, status) SELECT 'user-' || id, 'Name', 'frozen'",
            "coupon (code, user, kind, amount_off, threshold, single_use, granted_at, uses) \
             SELECT 'C' || id, 'user-1', '1', 1, 0, 1, id, 1",
            "hold (id, wallet, amount_left, ended, until, due_ms) SELECT id, 'user-1', 0, 'voided', 0, 0",
            "journal (seq, at, made_by, what, subject, entry, detail, hash) \
             SELECT id, id, '@local', 'wallet_set', 'user-1', 0, '{}', zeroblob(32)",
            "lock (id, fence, secret_hash, holder, create_time, renew_time, expire_ms, grace_ms, ids, created_at) \
             SELECT 'wallet/user-' || id, id, zeroblob(32), '', 0, 0, 1000, 0, 1, 0",
            "lock (id, fence, holder, create_time, renew_time, expire_ms, grace_ms, ids, created_at, min_hold_ms) \
             SELECT 'job-' || id, id, '', 0, 0, 1, 0, 1, 0, 1",
            "lock_event (lock_id, what, fence, holder, made_by, lease_ms, at) SELECT 'job', 'created', id, '', '', 0, 0",
        ];
        for rows in rows {
            let numbers = "WITH RECURSIVE n (id) AS (SELECT $1 UNION ALL SELECT id + 1 FROM n WHERE id < $2)";
            conn.execute(&format!("{numbers} INSERT INTO {rows} FROM n"), [first, last]).unwrap();
        }
    };
    let user = || UserId::parse("user-1").ok();
    let all = || WalletFilter { users_only: true, ..WalletFilter::default() };
    let (name, min, max) = (Some("Name".to_owned()), Some(i64::MAX), Some(0));
    let wallet_filters = [
        WalletFilter { min, ..all() },
        WalletFilter { max, prefix: "user-".to_owned(), ..all() },
        WalletFilter { status: Some(WalletStatus::Open), ..all() },
        WalletFilter { status: Some(WalletStatus::Closed), ..all() },
        WalletFilter { status: Some(WalletStatus::Frozen), min, ..all() },
        WalletFilter { name: name.clone(), min, ..all() },
        WalletFilter { name: name.clone(), status: Some(WalletStatus::Closed), ..all() },
        WalletFilter { name, prefix: "zoe".to_owned(), ..all() },
    ];
    let (kind, state) = (Some("1".to_owned()), Some(CouponState::Usable));
    let coupon_filters = [
        CouponFilter { state, ..CouponFilter::default() },
        CouponFilter { kind: kind.clone(), state, ..CouponFilter::default() },
        CouponFilter { user: user(), state, ..CouponFilter::default() },
        CouponFilter { kind, user: user(), state },
        CouponFilter { user: UserId::parse("zoe").ok(), ..CouponFilter::default() },
    ];
    let open = Some(HoldState::Open);
    let hold_filters =
        [HoldFilter { wallet: None, state: open }, HoldFilter { wallet: WalletId::parse("user-1").ok(), state: open }];
    let (what, subject) = (Some(ChangeKind::CouponGranted), Some("user-1".to_owned()));
    let journal_filters = [false, true].map(|ascending| JournalFilter {
        what,
        subject: subject.clone(),
        ascending,
        ..JournalFilter::default()
    });
    let now = 500; // each of the locks that rest has rested
    let any = || LockFilter { now, ..LockFilter::default() };
    let lock_filters = [
        LockFilter { prefix: "job".to_owned(), ..any() },
        LockFilter { prefix: "a".to_owned(), ..any() },
        LockFilter { prefix: "wallet/".to_owned(), state: Some(LockState::Stale), ..any() },
        LockFilter { without_wallets: true, ..any() },
        LockFilter { permitted_prefix: "job-".to_owned(), ..any() },
    ];
    let measure = || -> Vec<(String, u64)> {
        let tx_now = Now { wall_ms: 1, lease_ms: 1 };
        let mut found = Vec::new();
        let mut add = |name: String, ask: &dyn Fn(&ReadTx<'_>) -> usize| {
            found.push((name, steps(&conn, |tx| assert_eq!(ask(tx), 0, "no row passes"))));
        };
        for filter in &wallet_filters {
            add(format!("{filter:?}"), &|tx| wallets(tx, filter, None, 50).unwrap().rows.len());
        }
        for filter in &coupon_filters {
            add(format!("{filter:?}"), &|tx| all_coupons(tx, filter, 1, None, 50).unwrap().0.len());
        }
        add("coupons of the caller".to_owned(), &|tx| usable_coupons(tx, &user().unwrap(), 1, 50).unwrap().len());
        for filter in &hold_filters {
            add(format!("{filter:?}"), &|tx| hold::list(tx, filter, &tx_now, None, 50).unwrap().rows.len());
        }
        for filter in &journal_filters {
            add(format!("{filter:?}"), &|tx| journal::lines(tx, filter, None, 50).unwrap().rows.len());
        }
        for filter in &lock_filters {
            add(format!("{filter:?}"), &|tx| lock::list(tx, filter, "", 50).unwrap().rows.len());
        }
        let id = LockId::parse("job").unwrap();
        add("the oldest events of a lock".to_owned(), &|tx| of_lock(tx, &id, 1, 50).unwrap().len());
        found
    };
    fill(1, 25_000); // more of each than a page may look at
    let before = measure();
    fill(25_001, 50_000);
    for ((name, before), (_, after)) in before.into_iter().zip(measure()) {
        assert!(after <= before + before / 10 + 1_000, "{name}: {before} steps, then {after} with twice the rows");
    }
}

#[test]
fn followers_share_reads_of_the_file() {
    let conn = Connection::open_in_memory().unwrap();
    let row = |id: i64| {
        let sql = "SELECT $1, 0, 'recharge', '@bank', 'ann', 1, -1, 1, '@local', NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                   NULL, NULL, NULL, zeroblob(32)";
        conn.query_row(sql, [id], |row| Entry::read(&row.into())).unwrap()
    };
    let (reads, recent) = (Cell::new(0), RecentEntries::default());
    let start = Instant::now();
    let look = |after: i64, newest: i64, ms: u64| {
        let read = |end: i64, count: usize| {
            reads.set(reads.get() + 1);
            Ok((end + 1..=end + count as i64).map(row).collect())
        };
        let now = start + Duration::from_millis(ms);
        recent.behind((after, newest), now, &Filter::default(), 10, read).unwrap().unwrap().reached
    };
    assert_eq!((look(0, 5, 0), reads.get()), (5, 1));
    assert_eq!((look(3, 6, 4), reads.get()), (5, 1), "what was just read is enough for now");
    assert_eq!((look(5, 6, 4), reads.get()), (6, 2), "an entry that comes alone is not waited for");
    assert_eq!((look(5, 7, 9), reads.get()), (7, 3), "each entry is found at last");
}

#[test]
fn writer_adds_what_it_has_committed_and_nothing_else() {
    let conn = Connection::open_in_memory().unwrap();
    let entry = |id: i64, amount: i64, before: &ChainHead| {
        let sql = "SELECT $1, 0, 'recharge', '@bank', 'ann', $2, -1, 1, '@local', NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                   NULL, NULL, NULL, zeroblob(32)";
        conn.query_row(sql, [id, amount], |row| Entry::read(&row.into())).unwrap().chained_to(&before.hash)
    };
    let head = |entry: &Entry| ChainHead { id: entry.id.0, at: entry.at, hash: entry.hash };
    let start = ChainHead { id: 7, at: 0, hash: [7; 32] };
    let first = entry(8, 1, &start);
    let (tried, second) = (entry(8, 99, &start), entry(9, 2, &head(&first)));
    let (middle, newest) = (head(&first), head(&second));
    let look = |recent: &RecentEntries| {
        let read = |_, _| Ok(Vec::new());
        let page = recent.behind((7, 9), Instant::now(), &Filter::default(), 10, read).unwrap();
        page.map_or(Vec::new(), |page| page.rows.iter().map(|entry| entry.amount.cents()).collect())
    };
    let added = |found: [&Entry; 3]| {
        let recent = RecentEntries::default();
        recent.add(&start, &newest, found.map(Clone::clone).to_vec());
        look(&recent)
    };
    let old = entry(3, 5, &start);
    assert_eq!(added([&second, &old, &first]), [1, 2], "in any order, without what is old");
    assert_eq!(added([&second, &second, &first]), [1, 2], "each once, also if it was asked for twice");
    assert_eq!(added([&first, &tried, &second]), [1, 2]);
    assert_eq!(added([&tried, &first, &second]), [0_i64; 0], "one that was only tried is not shown");
    assert_eq!(added([&tried, &second, &second]), [0_i64; 0], "one is missing");
    assert_eq!(added([&first, &first, &first]), [0_i64; 0], "the newest one is missing");

    let recent = RecentEntries::default();
    assert!(!recent.is_followed(7), "until a follower looks, the writer adds nothing");
    look(&recent);
    assert!(recent.is_followed(9) && recent.is_followed(2_000) && !recent.is_followed(3_000));
    recent.add(&start, &middle, vec![first.clone()]);
    recent.add(&newest, &head(&entry(10, 3, &newest)), vec![entry(10, 3, &newest)]);
    assert_eq!(look(&recent), [1], "an entry behind one that is missing is not added");
    recent.add(&middle, &newest, vec![second]);
    assert_eq!(look(&recent), [1, 2]);
}

#[test]
fn reads_are_bounded_each_for_itself() {
    let conn = Connection::open_in_memory().unwrap();
    conn.progress_handler(10_000, Some(|| true)).unwrap();
    let count = |rows: i64| {
        let sql =
            "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $1) SELECT count(*) FROM n";
        ReadTx::new(&conn).one(sql, params![rows], |row| row.get::<i64>(0)).map_err(|error| error.name)
    };
    for _ in 0..50 {
        assert_eq!(count(100), Ok(Some(100)), "many reads together are longer than one may be");
    }
    assert_eq!(count(10_000), Err(ErrorName::Busy));
    assert_eq!(count(100), Ok(Some(100)));
}
