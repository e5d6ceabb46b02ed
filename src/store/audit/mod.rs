//! The audit: every invariant of the file as a check that finds nothing. It reads and changes nothing, also while the file
//! is served, in memory that does not grow with the file.

mod chain;
mod findings;
mod journal;
mod journal_state;
mod line;
mod questions;
mod rows;
mod schema;
mod temp_place;
#[cfg(test)]
mod tests;
mod totals;

pub(crate) use chain::state_hash;
pub use findings::{AuditReport, Finding};
pub use line::{AuditLine, Since};
#[cfg(test)]
pub(super) use schema::normalised;

use crate::error::{Error, ErrorName};
use crate::ledger::entry;
use crate::secret::Hash;
use crate::store::reading::{Reading, read_whole};
use crate::store::schema::{HOLDS_SINCE, JOURNAL_SINCE, SETTINGS_SINCE, VERSION};
use crate::tx::ReadTx;
use chain::Walked;
use findings::Findings;
use questions::{QUESTIONS, QUESTIONS_OF_VERSIONS, holds_against_entries};
use rusqlite::Connection;
use std::path::Path;
use std::thread;
use temp_place::TempPlace;

/// Page cache of each of the audit's two connections, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// Wallets kept in memory at a time: some tens of megabytes.
const WALLETS_AT_ONCE: i64 = 250_000;

/// Audits the file as it is now: its schema, balances, sums, running balances, the hash chain, coupons, refunds,
/// idempotency records, locks, the journal and all that it explains, and SQLite's own structures. With `since`, also what an
/// earlier audit has seen. `progress` receives the entries seen, and the entries to see.
pub fn audit(file: &Path, since: Option<&Since>, progress: &mut dyn FnMut(i64, i64)) -> Result<AuditReport, Error> {
    let report = read_whole(file, Reading::of, Error::from, |reading| audit_once(file, reading, since, progress));
    report.map_err(|error| match error.name {
        ErrorName::StorageFull => Error { detail: temp_place::TOO_LITTLE.to_owned(), ..error },
        _ => error,
    })
}

fn audit_once(
    file: &Path,
    reading: &Reading,
    since: Option<&Since>,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<AuditReport, Error> {
    let place = TempPlace::choose(file)?;
    let (rules, structures) = (connect(reading, &place)?, connect(reading, &place)?);
    thread::scope(|scope| {
        let structures = scope.spawn(move || sound_structures(&structures)); // takes as long as all the rest
        let report = sound_money(&rules, since, progress);
        let found =
            structures.join().unwrap_or_else(|_| Err(Error::internal("the check of SQLite's structures failed")));
        let (mut report, mut findings) = (report?, found?);
        for finding in report.findings {
            findings.add(finding.check, finding.sentence);
        }
        report.findings = findings.0;
        Ok(report)
    })
}

/// A connection that reads. SQLite checks the CHECKs of a table only through one that can write, so `schema` does that.
fn connect(reading: &Reading, place: &TempPlace) -> Result<Connection, Error> {
    let conn = reading.connect()?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", if place.is_memory { "MEMORY" } else { "FILE" })?; // for large sorts
    Ok(conn)
}

fn sound_structures(conn: &Connection) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    for sentence in ReadTx::new(conn).all("PRAGMA integrity_check(20)", &[], |row| row.get::<String>(0))? {
        if is_about_io(&sentence) {
            return Err(Error::disk_failed(sentence));
        }
        if sentence != "ok" {
            findings.add(schema::STRUCTURES, sentence);
        }
    }
    schema::check_rows(conn, &mut findings)?;
    Ok(findings)
}

/// True if SQLite's check could not read a page: its sentence ends with the code of an I/O error.
fn is_about_io(sentence: &str) -> bool {
    let code = sentence.rsplit_once("error code").and_then(|(_, code)| code.get(1..)?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_IOERR)
}

const SQLITE_IOERR: i32 = 10;

/// Checks all but SQLite's structures, in one view of the file.
fn sound_money(
    conn: &Connection,
    since: Option<&Since>,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<AuditReport, Error> {
    let view = conn.unchecked_transaction()?;
    let mut findings = Findings::default();
    let mut notes = Vec::new();
    let has_tables = schema::compare(&view, &mut findings, &mut notes)?;
    let asked = has_tables.then(|| ask_everything(&view, since, &mut findings, progress));
    let (walked, state_hash) = match asked.unwrap_or_else(|| Ok(Default::default())) {
        // The findings say more than the error.
        Err(error) if !findings.0.is_empty() => {
            findings.add("every invariant can be checked", error.cause.unwrap_or(error.detail));
            Default::default()
        }
        asked => asked?,
    };
    let line = AuditLine {
        entries: walked.entries,
        last_hash: walked.last_hash,
        journal: walked.journal.lines,
        journal_hash: walked.journal.hash,
        state_hash,
    };
    if let Some(since) = since.filter(|_| has_tables) {
        notes.extend(since.compare_with(&line, &mut findings));
    }
    Ok(line.report(findings.0, notes, walked.wallets))
}

/// The line of the file as it is now, without an audit.
pub(crate) fn line_of(conn: &Connection) -> Result<AuditLine, Error> {
    let (entry, line) = (entry::chain_head(&ReadTx::new(conn))?, crate::journal::head(&ReadTx::new(conn))?);
    Ok(AuditLine {
        entries: entry.id,
        last_hash: entry.hash,
        journal: line.seq,
        journal_hash: line.hash,
        state_hash: chain::state_hash(conn, VERSION)?,
    })
}

/// Findings and notes of the schema alone.
pub(super) fn look_at_schema(conn: &Connection) -> Result<(Vec<Finding>, Vec<String>), Error> {
    let (mut findings, mut notes) = (Findings::default(), Vec::new());
    schema::compare(conn, &mut findings, &mut notes)?;
    Ok((findings.0, notes))
}

fn ask_everything(
    view: &Connection,
    since: Option<&Since>,
    findings: &mut Findings,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<(Walked, Hash), Error> {
    let version: i32 = view.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let walked = chain::walk(view, version, since, WALLETS_AT_ONCE, findings, progress)?;
    rows::check_records(view, walked.entries, findings)?;
    rows::check_coupons(view, findings)?;
    rows::check_locks(view, findings)?;
    for (check, sql) in QUESTIONS {
        findings.ask(view, check, sql)?;
    }
    for (_, check, sql) in QUESTIONS_OF_VERSIONS.iter().filter(|(versions, ..)| versions.contains(&version)) {
        findings.ask(view, check, sql)?;
    }
    if version >= SETTINGS_SINCE {
        rows::check_settings(view, findings)?;
    }
    if version >= HOLDS_SINCE {
        findings.ask(view, "a hold is what its entries say", &holds_against_entries())?;
    }
    if version >= JOURNAL_SINCE {
        journal_state::check(view, &walked.journal, findings)?;
    }
    Ok((walked, chain::state_hash(view, version)?))
}
