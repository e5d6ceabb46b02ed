//! The file's application and version, checked before anything else is done with it; its creation and its upgrades.

use super::journal_start;
use super::options::OpenError;
use crate::clock::Clock;
use crate::journal::ChangeKind;
use crate::ledger::report::{Counted, NAMES, quarter_of};
use crate::secret;
use crate::tx::{RunningTotal, RunningTotals};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::time::{Duration, Instant};

/// `cash`, in the header of each file of this program.
pub(crate) const APPLICATION_ID: i32 = 0x6361_7368;

/// `test`, in the header of each file that `serve --test` makes: other programs of this name must not take it for money.
const TEST_APPLICATION_ID: i32 = 0x7465_7374;

/// The whole current schema.
pub(super) const SCHEMA: &str = include_str!("../../schema.sql");

/// A step from one version of the file to the next.
pub(super) struct Upgrade {
    /// The step, which is never edited once files were upgraded by it.
    pub sql: &'static str,
    /// The tables, indexes and triggers that it makes.
    pub made: &'static [&'static str],
    /// SQL of those that it changes, as they were before.
    pub changed: &'static str,
}

/// The steps: the first leads from version 1 to version 2.
pub(super) const UPGRADES: [Upgrade; 9] = [
    Upgrade {
        sql: "CREATE TABLE wall_note (lease_ms INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL) STRICT",
        made: &["wall_note"],
        changed: "",
    },
    Upgrade {
        sql: "CREATE TABLE wall_seen (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT NOT NULL, boot_ms INTEGER NOT NULL, \
              wall_ms INTEGER NOT NULL) STRICT",
        made: &["wall_seen"],
        changed: "",
    },
    Upgrade { sql: include_str!("upgrades/to_4.sql"), made: &[], changed: include_str!("upgrades/changed_by_4.sql") },
    Upgrade {
        sql: include_str!("upgrades/to_5.sql"),
        made: &["replaced_secret", "replaced_secret_of", "sqlite_autoindex_access_token_3"],
        changed: include_str!("upgrades/changed_by_5.sql"),
    },
    Upgrade { sql: include_str!("upgrades/to_6.sql"), made: &[], changed: include_str!("upgrades/changed_by_6.sql") },
    Upgrade {
        sql: include_str!("upgrades/to_7.sql"),
        made: &["report_total", "entry_reference", "entry_coupon"],
        changed: "",
    },
    Upgrade {
        sql: include_str!("upgrades/to_8.sql"),
        made: &[
            "wallet_setting",
            "wallet_setting_name",
            "wallet_setting_status",
            "wallet_setting_rule",
            "wallet_is_closed_empty",
            "wallet_is_closed_empty_later",
            "day_spending",
            "coupon_kind_claim_code",
            "coupon_given",
            "coupon_of_kind",
        ],
        changed: include_str!("upgrades/changed_by_8.sql"),
    },
    Upgrade {
        sql: include_str!("upgrades/to_9.sql"),
        made: &[
            "entry_hold",
            "hold",
            "hold_of_wallet",
            "hold_left_of_wallet",
            "hold_until",
            "hold_coupon",
            "hold_has_its_entry",
            "hold_changes_with_its_entries",
            "hold_is_never_deleted",
        ],
        changed: include_str!("upgrades/changed_by_9.sql"),
    },
    Upgrade {
        sql: include_str!("upgrades/to_10.sql"),
        made: &[
            "journal",
            "journal_subject",
            "journal_what",
            "journal_is_in_order",
            "journal_is_never_edited",
            "journal_is_never_deleted",
        ],
        changed: include_str!("upgrades/changed_by_10.sql"),
    },
];

/// The first version in which an access token can get another secret.
pub(super) const ROTATION_SINCE: i32 = 5;
/// The first version with totals of the report.
pub(super) const TOTALS_SINCE: i32 = 7;
/// The first version with settings of wallets, and with limits and dates of coupons.
pub(super) const SETTINGS_SINCE: i32 = 8;
/// The first version with holds.
pub(super) const HOLDS_SINCE: i32 = 9;
/// The first version in which locks rest.
pub(super) const RESTS_SINCE: i32 = 10;

/// The steps that a file of that version has yet to take.
pub(super) fn steps_from(version: i32) -> &'static [Upgrade] {
    UPGRADES.get((version - 1).max(0) as usize..).unwrap_or_default()
}

/// The first version with a journal.
pub(super) const JOURNAL_SINCE: i32 = 10;

/// The version this program writes.
pub const VERSION: i32 = 1 + UPGRADES.len() as i32;

/// Creates the tables in a new file, upgrades one of an older version in one transaction after `keep`, and refuses all others.
pub(crate) fn prepare(
    conn: &mut Connection,
    clock: &Clock,
    keep: impl FnOnce(i32) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    match check(conn)? {
        VERSION => Ok(()),
        0 => create(conn, clock, APPLICATION_ID, &secret::random_hex::<8>()),
        older => {
            conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?; // no copy is kept of a file that another program has locked
            keep(older)?;
            upgrade(conn, clock, older, steps_from(older))
        }
    }
}

/// Creates the tables in a new file for tests. `incarnation`: names its history of locks.
pub(crate) fn prepare_for_tests(conn: &mut Connection, clock: &Clock, incarnation: &str) -> Result<(), OpenError> {
    if check(conn)? == 0 { create(conn, clock, TEST_APPLICATION_ID, incarnation) } else { Ok(()) }
}

/// Makes a file one for tests.
pub(crate) fn mark_for_tests(conn: &Connection, incarnation: &str) -> Result<(), OpenError> {
    conn.execute("UPDATE lock_seq SET incarnation = $1", [incarnation])?;
    Ok(conn.pragma_update(None, "application_id", TEST_APPLICATION_ID)?)
}

/// True if `serve --test` made the file.
pub(crate) fn is_for_tests(conn: &Connection) -> Result<bool, OpenError> {
    Ok(conn.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))? == TEST_APPLICATION_ID)
}

fn create(conn: &mut Connection, clock: &Clock, application: i32, incarnation: &str) -> Result<(), OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if check(&tx)? == VERSION {
        return Ok(()); // another process has done it
    }
    tx.execute_batch(SCHEMA)?;
    tx.execute(
        "INSERT INTO lock_seq VALUES (1, 0, 0, $1, '', 0)",
        [incarnation], // another file, another history of locks
    )?;
    tx.pragma_update(None, "application_id", application)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    journal_start::begin(&tx, clock.wall_ms(), ChangeKind::Created, Map::new())?;
    Ok(tx.commit()?)
}

/// Takes the steps from that version on, all of them or none.
pub(super) fn upgrade(conn: &mut Connection, clock: &Clock, version: i32, steps: &[Upgrade]) -> Result<(), OpenError> {
    let is_defensive = conn.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?; // a step may change the text of a table
    let upgraded = take(conn, clock, version, steps);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, is_defensive)?;
    upgraded
}

fn take(conn: &mut Connection, clock: &Clock, version: i32, steps: &[Upgrade]) -> Result<(), OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let begun = Instant::now();
    let log = |progress: &dyn Display| {
        if begun.elapsed() >= LOG_AFTER {
            crate::log::info("the file is upgraded", progress);
        }
    };
    let last = version + steps.len() as i32;
    for (step, reached) in steps.iter().zip(version + 1..) {
        log(&format_args!("the next step leads to version {reached} of {last}"));
        tx.execute_batch(step.sql)?;
        if reached == TOTALS_SINCE {
            rebuild_totals(&tx)?; // the step makes their table
        }
    }
    log(&"all steps are taken, and its structures are checked");
    let sound: String = tx.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let broken: i64 = tx.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
    if sound != "ok" || broken > 0 {
        let what = if sound == "ok" { format!("{broken} rows refer to rows that are not there") } else { sound };
        return Err(OpenError::new(format!("it is damaged and cannot be upgraded: {what}; restore a backup")));
    }
    tx.pragma_update(None, "user_version", last)?;
    let versions = Map::from_iter([("from".to_owned(), json!(version)), ("to".to_owned(), json!(last))]);
    if version < JOURNAL_SINCE {
        journal_start::begin(&tx, clock.wall_ms(), ChangeKind::Upgraded, versions)?;
    } else {
        journal_start::append(&tx, clock.wall_ms(), ChangeKind::Upgraded, None, &Value::Object(versions))?;
    }
    Ok(tx.commit()?)
}

/// The version of the file, 0 for an empty one; or the reason why it cannot be used.
pub(crate) fn check(conn: &Connection) -> Result<i32, OpenError> {
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID | TEST_APPLICATION_ID, 1..=VERSION) => Ok(version),
        (APPLICATION_ID | TEST_APPLICATION_ID, newer) if newer > VERSION => Err(OpenError::new(format!(
            "it was written by a newer cashbox (version {newer} of the file; this program knows {VERSION}): use that one"
        ))),
        _ => Err(OpenError::new("it is a database of another application")),
    }
}

/// Time after which an upgrade logs each step.
const LOG_AFTER: Duration = Duration::from_secs(1);

/// Entries between two lines in the log.
const LOG_EVERY: i64 = 1_000_000;

/// Makes the report's totals anew from the entries.
pub fn rebuild_totals(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("DELETE FROM report_total")?;
    let mut statement = conn.prepare(
        "SELECT e.id, e.at, e.kind, original.kind, e.from_wallet, e.to_wallet, e.amount, coalesce(e.discount, 0)
         FROM entry e LEFT JOIN entry original ON original.id = e.refunds ORDER BY e.id",
    )?;
    let mut rows = statement.query([])?;
    let (mut totals, mut quarter) = (RunningTotals::default(), None);
    while let Some(row) = rows.next()? {
        let own = quarter_of(row.get(1)?);
        if let Some(before) = quarter.replace(own).filter(|before| *before != own) {
            write_totals(conn, before, &totals)?;
        }
        totals.add(&Counted {
            kind: row.get_ref(2)?.as_str()?,
            refunded: row.get_ref(3)?.as_str_or_null()?,
            from: row.get_ref(4)?.as_str()?,
            to: row.get_ref(5)?.as_str()?,
            amount: row.get(6)?,
            discount: row.get(7)?,
        });
        let id: i64 = row.get(0)?;
        if id % LOG_EVERY == 0 {
            crate::log::info("the report's totals are made", &format_args!("{id} entries are counted"));
        }
    }
    quarter.map_or(Ok(()), |last| write_totals(conn, last, &totals))
}

fn write_totals(conn: &Connection, quarter: i64, totals: &RunningTotals) -> rusqlite::Result<()> {
    // A file whose times go back is refused later, by the audit.
    let sql = "INSERT OR REPLACE INTO report_total (quarter, what, count, sum) VALUES ($1, $2, $3, $4)";
    let mut insert = conn.prepare_cached(sql)?;
    for (name, total) in NAMES.iter().zip(totals.all) {
        if total != RunningTotal::default() {
            insert.execute(params![quarter, name, total.count, total.sum.to_string()])?;
        }
    }
    Ok(())
}

/// Drops all triggers. Returns the SQL that creates them again.
pub(crate) fn take_triggers(conn: &Connection) -> rusqlite::Result<String> {
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
    let triggers = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let triggers: Vec<(String, String)> = triggers.collect::<Result<_, _>>()?;
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    Ok(triggers.into_iter().map(|(_, sql)| sql + ";\n").collect())
}
