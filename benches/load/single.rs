//! One client, one withdrawal at a time; beside it the same statements on SQLite alone, in the same run and in turns, so
//! that a busy machine slows both.

use crate::report::{Outcome, figure};
use crate::server::{Folder, Server, drive, ms};
use crate::withdrawals::{settle, settled, wallets};
use crate::{BenchResult, Settings};
use cashbox::internals::bench::{BenchPlan, Latencies, MoveCents};
use rusqlite::{Connection, TransactionBehavior, params};
use std::path::Path;
use std::time::{Duration, Instant};

/// Length of one turn of each of the two.
const TURN: Duration = Duration::from_millis(500);

/// Measures one withdrawal after the other, over HTTP and on SQLite alone.
pub fn single(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, 1)?;
    let mut script = [MoveCents::withdraw(&wallets, 0, settings.key_order())];
    let mut alone = Alone::open(&folder.file("alone.db"))?;
    let turn = BenchPlan { warm_up: TURN / 5, measured: TURN, rate: None, drivers: 1 };
    let (mut with, mut without, mut median) = (Vec::new(), Vec::new(), Latencies::default());
    for _ in 0..settings.seconds.max(3) {
        let run = drive(&server, &mut script, turn)?;
        with.push(run.rate);
        median.record(Duration::from_micros(run.latencies.at(500).unwrap_or_default()));
        without.push(alone.withdraw_for(TURN)?);
    }
    let done = settled(&script, &mut wallets);
    let (checked, mut wrong) = settle(server, &wallets, done)?;
    wrong.extend(alone.wrong()?);
    let (with, without) = (middle(with), middle(without));
    Ok(Outcome {
        figures: vec![
            figure("one client, one durable withdrawal at a time", with, "/s"),
            figure("p50", ms(&median, 500), "ms"),
            figure("the same statements on SQLite alone, a commit each", without, "/s"),
            figure("of that, over HTTP", 100.0 * with / without, "%"),
        ],
        checked,
        wrong,
    })
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// SQLite without anything around it: no checks but the balance's, no hash chain, no triggers, one thread.
struct Alone {
    conn: Connection,
    done: i64,
}

const START: i64 = 1_000_000_000;

impl Alone {
    fn open(path: &Path) -> BenchResult<Alone> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.execute_batch(
            "CREATE TABLE wallet (id TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0)) STRICT, WITHOUT ROWID;
             CREATE TABLE entry (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, wallet TEXT NOT NULL, amount INTEGER NOT NULL,
                 balance INTEGER NOT NULL) STRICT;
             CREATE INDEX entry_wallet ON entry (wallet);
             CREATE TABLE idempotency (caller TEXT, key TEXT, entry INTEGER NOT NULL, PRIMARY KEY (caller, key)) STRICT, WITHOUT ROWID;",
        )?;
        conn.execute("INSERT INTO wallet VALUES ('alice', $1)", [START])?;
        Ok(Alone { conn, done: 0 })
    }

    /// Withdrawals a second.
    fn withdraw_for(&mut self, time: Duration) -> BenchResult<f64> {
        let (begun, before) = (Instant::now(), self.done);
        while begun.elapsed() < time {
            self.withdraw()?;
        }
        Ok((self.done - before) as f64 / begun.elapsed().as_secs_f64())
    }

    fn withdraw(&mut self) -> rusqlite::Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let balance: i64 =
            tx.prepare_cached("SELECT balance FROM wallet WHERE id = 'alice'")?.query_row([], |row| row.get(0))?;
        tx.prepare_cached("INSERT INTO entry (at, wallet, amount, balance) VALUES ($1, 'alice', 1, $2)")?
            .execute([self.done, balance - 1])?;
        tx.prepare_cached("UPDATE wallet SET balance = balance - 1 WHERE id = 'alice' AND balance >= 1")?.execute([])?;
        let key = format!("{:032x}", self.done);
        tx.prepare_cached("INSERT INTO idempotency VALUES ('alice', $1, $2)")?
            .execute(params![key, tx.last_insert_rowid()])?;
        tx.commit()?;
        self.done += 1;
        Ok(())
    }

    fn wrong(&self) -> BenchResult<Option<String>> {
        let seen = self.conn.query_row(
            "SELECT balance, (SELECT count(*) FROM entry), (SELECT count(*) FROM idempotency) FROM wallet",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)),
        )?;
        let expected = (START - self.done, self.done, self.done);
        Ok((seen != expected).then(|| format!("SQLite alone: {seen:?} and not {expected:?}")))
    }
}
