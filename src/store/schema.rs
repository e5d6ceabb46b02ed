//! Whose file this is and which version: checked before anything else is done with it.

use super::OpenError;
use crate::secret;
use rusqlite::Connection;

/// `cash`, in the file's header: says that the file is ours.
pub const APPLICATION_ID: i32 = 0x6361_7368;

/// The whole current schema.
const SCHEMA: &str = include_str!("../../schema.sql");

/// What makes each earlier version the next one: step 0 leads from version 1 to version 2.
const UPGRADES: [&str; 0] = [];

/// The version this program writes.
pub const VERSION: i32 = 1 + UPGRADES.len() as i32;

/// Makes a new file ours, upgrades an older one of ours in one transaction, and refuses everything else.
pub fn prepare(conn: &mut Connection) -> Result<(), OpenError> {
    let version = check(conn)?;
    if version == VERSION {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if version == 0 {
        tx.execute_batch(SCHEMA)?;
        tx.execute(
            "INSERT INTO lock_seq VALUES (1, 0, 0, $1, '', 0)",
            [secret::random_hex::<8>()], // another file, another history of locks
        )?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    } else {
        for step in &UPGRADES[(version - 1) as usize..] {
            tx.execute_batch(step)?;
        }
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    Ok(())
}

/// The version of the file, 0 for an empty one; or why it cannot be used.
pub fn check(conn: &Connection) -> Result<i32, OpenError> {
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
