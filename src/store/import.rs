//! The ledger out of a file as records, and a new file out of records: what came out and goes in again has the same
//! hashes, or it is refused. Access tokens, locks and idempotency keys stay behind: they belong to one file.

use super::audit::Report;
use super::backup::{FENCES_SKIPPED, copy};
use super::partial::{Failed, Partial, Progress, beside, failed_at, keep};
use super::record::{RECORDS, Record, VERSION, find};
use super::{connect, open_read_only, schema, served};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The name of the first record, which says what follows.
const HEAD: &str = "cashbox";

/// Why a record is not taken: the number of its line, and what is wrong.
#[derive(Debug)]
pub enum Refused {
    /// A line cannot be what it should.
    Line(u64, String),
    /// All of them together make no sound file: what the audit found.
    Unsound(String),
    /// The file cannot be made.
    File(Failed),
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Refused {
        match failed {
            Failed::Damaged(_, what) => Refused::Unsound(what),
            failed => Refused::File(failed),
        }
    }
}

/// Every record of the file, or those of one kind, to `sink`, until that says no more is wanted. All are of one moment; of
/// a file that is served, they are read from a copy, so that a slow reader keeps nothing from the server.
pub fn export(
    db: &Path,
    only: Option<&Record>,
    sink: &mut dyn FnMut(Map<String, Value>) -> bool,
) -> Result<(), Failed> {
    if served::server(db).is_none() {
        return export_from(db, only, sink);
    }
    let partial = Partial::begin(&beside(db, "export"))?;
    copy(db, &partial.path, &mut |_, _| {})?;
    export_from(&partial.path, only, sink)
}

fn export_from(
    db: &Path,
    only: Option<&Record>,
    sink: &mut dyn FnMut(Map<String, Value>) -> bool,
) -> Result<(), Failed> {
    let conn = open_read_only(db).map_err(failed_at(db))?;
    let mut all = || -> rusqlite::Result<()> {
        let view = conn.unchecked_transaction()?;
        if let Some(record) = only {
            return record.each(&view, sink).map(|_| ());
        }
        let head = Map::from_iter([("record".to_owned(), json!(HEAD)), ("version".to_owned(), json!(VERSION))]);
        let mut wanted = sink(head);
        for record in &RECORDS {
            wanted = wanted && record.each(&view, sink)?;
        }
        Ok(())
    };
    all().map_err(failed_at(db))
}

/// How records are imported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Put the new file in the place of the one that is there, which is kept beside it.
    pub replace: bool,
    /// Only find out whether it could be done.
    pub dry_run: bool,
}

/// Makes a file of records, one a line, and audits it before it has its name; says what is in it, and where the file that
/// was there is now. Nobody may have the file meanwhile.
pub fn import(
    db: &Path,
    lines: &mut dyn Iterator<Item = std::io::Result<String>>,
    wish: Wish,
    progress: Progress<'_>,
) -> Result<(Report, Option<PathBuf>), Refused> {
    let partial = Partial::begin_unless_there(db, wish.replace)?;
    let mut conn = connect(&partial.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed_at(&partial.path))?;
    schema::prepare(&mut conn, &partial.path).map_err(failed_at(&partial.path))?;
    fill(&mut conn, &partial.path, lines)?;
    drop(conn);
    let report = partial.check(db, progress)?;
    if wish.dry_run {
        return Ok((report, None));
    }
    let kept = keep(db).map_err(failed_at(db))?;
    partial.name(db, kept.is_some())?;
    Ok((report, kept))
}

/// One transaction, in which the file takes what it is given: the audit is to find what its triggers would refuse.
fn fill(
    conn: &mut Connection,
    file: &Path,
    lines: &mut dyn Iterator<Item = std::io::Result<String>>,
) -> Result<(), Refused> {
    let wrong = |error: rusqlite::Error| Refused::File(failed_at(file)(error));
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
    let triggers = take_triggers(&tx).map_err(wrong)?;
    tx.execute_batch("DELETE FROM recharge_tier; DELETE FROM coupon_kind; DELETE FROM wallet").map_err(wrong)?;
    let mut number = 0;
    for line in lines {
        number += 1;
        let at_line = |what: String| Refused::Line(number, what);
        let line = line.map_err(|error| at_line(format!("it cannot be read: {error}")))?;
        let record: Map<String, Value> =
            serde_json::from_str(&line).map_err(|error| at_line(format!("it is no JSON object: {error}")))?;
        put(&tx, &record, number).map_err(at_line)?;
    }
    if number == 0 {
        return Err(Refused::Line(1, "there is nothing to import".to_owned()));
    }
    let finish = || -> rusqlite::Result<()> {
        tx.execute_batch("INSERT OR REPLACE INTO code_supply SELECT length(code), count(*) FROM coupon GROUP BY 1")?;
        let fence = "UPDATE lock_seq SET fence = (SELECT coalesce(max(fence), 0) FROM entry) + $1";
        tx.execute(fence, [FENCES_SKIPPED])?;
        tx.execute_batch(&triggers)
    };
    finish().map_err(wrong)?;
    tx.commit().map_err(wrong)
}

fn put(conn: &Connection, record: &Map<String, Value>, number: u64) -> Result<(), String> {
    let name = record.get("record").and_then(Value::as_str).ok_or("it has no field `record` that says what it is")?;
    match (name == HEAD, number == 1) {
        (true, true) if record.get("version") == Some(&json!(VERSION)) => Ok(()),
        (true, true) => Err(format!("this program knows version {VERSION} of the records, and not this one")),
        (false, false) => {
            find(name).ok_or_else(|| format!("there are no records of kind {name:?}"))?.insert(conn, record)
        }
        _ => Err(format!("the first line, and no other, is {{\"record\":\"{HEAD}\",\"version\":{VERSION}}}")),
    }
}

/// Drops all triggers; what brings them back.
fn take_triggers(conn: &Connection) -> rusqlite::Result<String> {
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
    let triggers = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let triggers: Vec<(String, String)> = triggers.collect::<Result<_, _>>()?;
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    Ok(triggers.into_iter().map(|(_, sql)| sql + ";\n").collect())
}
