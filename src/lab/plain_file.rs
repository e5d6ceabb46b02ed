//! Strategies on a plain file, as tutorials have them: no lock, a lock in the process, a lock row, a version in the row.

use super::client::LabClient;
use super::strategy::{AMOUNT_CENTS, Attempt, LabPlan, LabResult, LockStrategy, WALLET};
use crate::clock::Clock;
use crate::money::Balance;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SCHEMA: &str = "
    CREATE TABLE wallet (id TEXT PRIMARY KEY, balance_cents INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;
    CREATE TABLE textbook_lock (id TEXT PRIMARY KEY, create_time INTEGER NOT NULL) STRICT;
";

/// Time to wait for a statement of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// A file with one wallet, whose balance any client may write, and a lock row whose existence is the lock.
///
/// Synced like a file of cashbox. Every statement is a transaction of its own. The clients of a process share one
/// connection, which costs no more than SQLite's own lock on the file would.
pub(crate) struct PlainFile(Mutex<Connection>);

/// The wallet as it was read.
#[derive(Clone, Copy)]
pub(crate) struct WalletRow {
    pub balance: Balance,
    pub version: i64,
}

impl WalletRow {
    /// The balance to write: the one that was read, less the amount.
    fn after_withdrawal(self) -> Balance {
        Balance::from_cents(self.balance.cents() - AMOUNT_CENTS)
    }
}

impl PlainFile {
    /// A new file whose wallet has that balance.
    pub(crate) fn create(path: &Path, balance: Balance) -> LabResult<PlainFile> {
        let file = PlainFile::open(path)?;
        file.conn().execute_batch(SCHEMA)?;
        file.run("INSERT INTO wallet VALUES ($1, $2, 0)", (WALLET, balance))?;
        Ok(file)
    }

    /// A file that another process has made.
    pub(crate) fn open(path: &Path) -> LabResult<PlainFile> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        Ok(PlainFile(Mutex::new(conn)))
    }

    /// The wallet as it is now.
    pub(crate) fn read(&self) -> LabResult<WalletRow> {
        let wallet = |row: &Row<'_>| Ok(WalletRow { balance: row.get(0)?, version: row.get(1)? });
        let found = self.row("SELECT balance_cents, version FROM wallet WHERE id = $1", [WALLET], wallet)?;
        found.ok_or_else(|| "the wallet is missing".into())
    }

    /// Writes a balance over the present one.
    pub(crate) fn write(&self, balance: Balance) -> LabResult<()> {
        let params = (balance, WALLET);
        self.run("UPDATE wallet SET balance_cents = $1, version = version + 1 WHERE id = $2", params).map(drop)
    }

    /// Writes a balance if the version has not changed since; false if it has.
    fn write_if_unchanged(&self, version: i64, balance: Balance) -> LabResult<bool> {
        let params = (balance, WALLET, version);
        let sql = "UPDATE wallet SET balance_cents = $1, version = version + 1 WHERE id = $2 AND version = $3";
        Ok(self.run(sql, params)? == 1)
    }

    /// Makes the lock row; false if there is one.
    fn insert_lock(&self, create_time: i64) -> LabResult<bool> {
        let params = (WALLET, create_time);
        Ok(self.run("INSERT INTO textbook_lock VALUES ($1, $2) ON CONFLICT DO NOTHING", params)? == 1)
    }

    /// The time at which the lock row was made, if there is one.
    fn lock_create_time(&self) -> LabResult<Option<i64>> {
        self.row("SELECT create_time FROM textbook_lock WHERE id = $1", [WALLET], |row| row.get(0))
    }

    /// Deletes the lock row, even that of another client.
    fn delete_lock(&self) -> LabResult<()> {
        self.run("DELETE FROM textbook_lock WHERE id = $1", [WALLET]).map(drop)
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

/// Longest pause of a client that was overtaken, before it reads again; without it clients overtake each other forever.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Reads, works, and writes over any balance that was written meanwhile.
pub(crate) fn read_work_write(file: &PlainFile, client: &LabClient<'_>) -> LabResult<Attempt> {
    let seen = file.read()?;
    client.work();
    file.write(seen.after_withdrawal())?;
    Ok(Attempt::Done)
}

/// No protection.
pub(crate) struct Unprotected(pub PlainFile);

impl LockStrategy for Unprotected {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        read_work_write(&self.0, client)
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.0.read()?.balance)
    }
}

/// One lock in the process. Another process has another lock.
pub(crate) struct ThreadLock {
    file: PlainFile,
    lock: Mutex<()>,
}

impl ThreadLock {
    pub(crate) fn new(file: PlainFile) -> ThreadLock {
        ThreadLock { file, lock: Mutex::new(()) }
    }
}

impl LockStrategy for ThreadLock {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        read_work_write(&self.file, client)
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}

/// No lock: the write happens only if no other write came since the read.
pub(crate) struct Optimistic(pub PlainFile);

impl LockStrategy for Optimistic {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let seen = self.0.read()?;
        client.work();
        if self.0.write_if_unchanged(seen.version, seen.after_withdrawal())? {
            return Ok(Attempt::Done);
        }
        client.jitter(BACK_OFF);
        Ok(Attempt::Retry)
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.0.read()?.balance)
    }
}

/// The lock row as it is usually written, each step as found in tutorials.
///
/// It has three faults, and all need a holder that is slow. An expired row is deleted by its name, so of two clients that
/// saw it expired the second deletes the first one's new row. It is released by its name, so a late holder deletes the row
/// of another client. And the write does not check whether the lock is still held.
pub(crate) struct RowTextbook {
    file: PlainFile,
    retry: Duration,
    expire_ms: i64,
    grace: Duration,
}

impl RowTextbook {
    pub(crate) fn new(file: PlainFile, plan: &LabPlan) -> RowTextbook {
        RowTextbook { file, retry: plan.retry, expire_ms: plan.expire.as_millis() as i64, grace: plan.grace }
    }

    /// Acquires the lock; false if the run was stopped.
    fn acquire(&self, client: &LabClient<'_>) -> LabResult<bool> {
        while !client.is_stopped() {
            let now = Clock::Machine.wall_ms();
            if self.file.insert_lock(now)? {
                return Ok(true);
            }
            let expired = self.file.lock_create_time()?.is_some_and(|create_time| create_time < now - self.expire_ms);
            if expired {
                client.sleep(self.grace);
                self.file.delete_lock()?;
            } else {
                client.sleep(self.retry);
            }
        }
        Ok(false)
    }
}

impl LockStrategy for RowTextbook {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        if !self.acquire(client)? {
            return Ok(Attempt::Stopped);
        }
        let answer = read_work_write(&self.file, client);
        self.file.delete_lock()?;
        answer
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}
