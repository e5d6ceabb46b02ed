//! The file's application and version, checked before anything else is done with it; its creation and its upgrades.

use super::options::OpenError;
use crate::secret;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

/// `cash`, in the header of each file of this program.
pub(crate) const APPLICATION_ID: i32 = 0x6361_7368;

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
pub(super) const UPGRADES: [Upgrade; 5] = [
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
        made: &[
            "replaced_secret",
            "replaced_secret_of",
            "sqlite_autoindex_replaced_secret_1",
            "sqlite_autoindex_access_token_3",
        ],
        changed: include_str!("upgrades/changed_by_5.sql"),
    },
    Upgrade { sql: include_str!("upgrades/to_6.sql"), made: &[], changed: include_str!("upgrades/changed_by_6.sql") },
];

/// The steps that a file of that version has yet to take.
pub(super) fn steps_from(version: i32) -> &'static [Upgrade] {
    UPGRADES.get((version - 1).max(0) as usize..).unwrap_or_default()
}

/// The version this program writes.
pub const VERSION: i32 = 1 + UPGRADES.len() as i32;

/// Creates the tables in a new file, upgrades one of an older version in one transaction after `keep`, and refuses all others.
pub(crate) fn prepare(conn: &mut Connection, keep: impl FnOnce(i32) -> Result<(), OpenError>) -> Result<(), OpenError> {
    match check(conn)? {
        VERSION => Ok(()),
        0 => create(conn),
        older => {
            keep(older)?;
            upgrade(conn, older, steps_from(older))
        }
    }
}

fn create(conn: &mut Connection) -> Result<(), OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if check(&tx)? == VERSION {
        return Ok(()); // another process has done it
    }
    tx.execute_batch(SCHEMA)?;
    tx.execute(
        "INSERT INTO lock_seq VALUES (1, 0, 0, $1, '', 0)",
        [secret::random_hex::<8>()], // another file, another history of locks
    )?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}

/// Takes the steps from that version on, all of them or none.
pub(super) fn upgrade(conn: &mut Connection, version: i32, steps: &[Upgrade]) -> Result<(), OpenError> {
    let is_defensive = conn.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?; // a step may change the text of a table
    let upgraded = take(conn, version, steps);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, is_defensive)?;
    upgraded
}

fn take(conn: &mut Connection, version: i32, steps: &[Upgrade]) -> Result<(), OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        tx.execute_batch(step.sql)?;
    }
    let sound: String = tx.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let broken: i64 = tx.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
    if sound != "ok" || broken > 0 {
        let what = if sound == "ok" { format!("{broken} rows refer to rows that are not there") } else { sound };
        return Err(OpenError::new(format!("it is damaged and cannot be upgraded: {what}; restore a backup")));
    }
    tx.pragma_update(None, "user_version", version + steps.len() as i32)?;
    Ok(tx.commit()?)
}

/// The version of the file, 0 for an empty one; or the reason why it cannot be used.
pub(crate) fn check(conn: &Connection) -> Result<i32, OpenError> {
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, 1..=VERSION) => Ok(version),
        (APPLICATION_ID, newer) if newer > VERSION => Err(OpenError::new(format!(
            "it was written by a newer cashbox (version {newer} of the file; this program knows {VERSION}): use that one"
        ))),
        _ => Err(OpenError::new("it is a database of another application")),
    }
}
