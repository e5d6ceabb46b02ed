//! A file as a textbook has it: a balance that anybody may write, and a lock row whose existence is the lock.
//!
//! Synced like ours. Every statement is a transaction of its own; the clients of a process hand one connection around,
//! which is no more than SQLite's own lock on the file would make them do.

use super::{AMOUNT_CENTS, LabResult};
use crate::money::Balance;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SCHEMA: &str = "
    CREATE TABLE wallet (id TEXT PRIMARY KEY, balance_cents INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;
    CREATE TABLE textbook_lock (id TEXT PRIMARY KEY, create_time INTEGER NOT NULL) STRICT;
";

/// How long the other process's statement is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The file.
pub struct PlainFile(Mutex<Connection>);

/// A wallet as it was read.
#[derive(Clone, Copy)]
pub struct WalletRow {
    pub balance: Balance,
    pub version: i64,
}

impl WalletRow {
    /// The balance to write: the one that was read, less the amount.
    pub fn less(self) -> Balance {
        Balance::from_cents(self.balance.cents() - AMOUNT_CENTS)
    }
}

impl PlainFile {
    /// A new file whose wallet holds `start`.
    pub fn create(path: &Path, start: Balance) -> LabResult<PlainFile> {
        let file = PlainFile::open(path)?;
        file.conn().execute_batch(SCHEMA)?;
        file.run("INSERT INTO wallet VALUES ($1, $2, 0)", (super::WALLET, start))?;
        Ok(file)
    }

    /// A file that another process has made.
    pub fn open(path: &Path) -> LabResult<PlainFile> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        Ok(PlainFile(Mutex::new(conn)))
    }

    /// What the wallet holds now.
    pub fn read(&self) -> LabResult<WalletRow> {
        let seen = |row: &Row<'_>| Ok(WalletRow { balance: row.get(0)?, version: row.get(1)? });
        let found = self.row("SELECT balance_cents, version FROM wallet WHERE id = $1", [super::WALLET], seen)?;
        found.ok_or_else(|| "the wallet is gone".into())
    }

    /// Writes a balance over whatever is there.
    pub fn write(&self, balance: Balance) -> LabResult<()> {
        let params = (balance, super::WALLET);
        self.run("UPDATE wallet SET balance_cents = $1, version = version + 1 WHERE id = $2", params).map(drop)
    }

    /// Writes a balance if nobody has written since that version.
    pub fn write_after(&self, version: i64, balance: Balance) -> LabResult<bool> {
        let params = (balance, super::WALLET, version);
        let sql = "UPDATE wallet SET balance_cents = $1, version = version + 1 WHERE id = $2 AND version = $3";
        Ok(self.run(sql, params)? == 1)
    }

    /// Makes the lock row, if there is none.
    pub fn insert_lock(&self, create_time: i64) -> LabResult<bool> {
        let params = (super::WALLET, create_time);
        Ok(self.run("INSERT INTO textbook_lock VALUES ($1, $2) ON CONFLICT DO NOTHING", params)? == 1)
    }

    /// When the lock row was made, if there is one.
    pub fn lock_create_time(&self) -> LabResult<Option<i64>> {
        self.row("SELECT create_time FROM textbook_lock WHERE id = $1", [super::WALLET], |row| row.get(0))
    }

    /// Deletes the lock row, whosever it is.
    pub fn delete_lock(&self) -> LabResult<()> {
        self.run("DELETE FROM textbook_lock WHERE id = $1", [super::WALLET]).map(drop)
    }

    fn run(&self, sql: &str, params: impl Params) -> LabResult<usize> {
        Ok(self.conn().prepare_cached(sql)?.execute(params)?)
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> LabResult<Option<T>> {
        Ok(self.conn().prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    fn conn(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
