//! The file's application and version, checked before anything else is done with it; its creation and its upgrades.

use super::options::OpenError;
use crate::secret;
use rusqlite::{Connection, TransactionBehavior};

/// `cash`, in the header of each file of this program.
pub(crate) const APPLICATION_ID: i32 = 0x6361_7368;

/// The whole current schema.
pub(super) const SCHEMA: &str = include_str!("../../schema.sql");

/// SQL from each version to the next, in the words of the schema: step 0 leads from version 1 to version 2.
const UPGRADES: [&str; 2] = [
    "CREATE TABLE wall_note (lease_ms INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL) STRICT",
    "CREATE TABLE wall_seen (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT NOT NULL, boot_ms INTEGER NOT NULL, \
     wall_ms INTEGER NOT NULL) STRICT",
];

/// The tables, indexes and triggers that each step makes.
const MADE: [&[&str]; UPGRADES.len()] = [&["wall_note"], &["wall_seen"]];

/// Tables, indexes and triggers that a file of that version does not have yet.
pub(super) fn made_since(version: i32) -> impl Iterator<Item = &'static str> {
    MADE.iter().skip((version - 1).max(0) as usize).flat_map(|names| names.iter().copied())
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
            upgrade(conn, older, &UPGRADES[(older - 1) as usize..])
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
pub(super) fn upgrade(conn: &mut Connection, version: i32, steps: &[&str]) -> Result<(), OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        tx.execute_batch(step)?;
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
