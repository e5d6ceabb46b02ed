//! The audit: every invariant of the file as a question that finds nothing. It reads and changes nothing, beside whoever
//! has the file, in memory that does not grow with it.

mod questions;
mod state;
mod walk;

use super::open_read_only;
use crate::error::Error;
use crate::secret::{Hash, hex};
use crate::tx::ReadTx;
use questions::QUESTIONS;
use rusqlite::Connection;
use std::path::Path;
use std::thread;
use walk::{WALLETS_AT_ONCE, walk};

/// Something that should not be so, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant it breaks.
    pub check: &'static str,
    /// What is wrong and where.
    pub sentence: String,
}

/// What the audit saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is wrong: nothing, in a sound file. At most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many entries there are.
    pub entries: i64,
    /// How many wallets there are.
    pub wallets: i64,
    /// The hash of the newest entry: keep it somewhere else, and nothing before it can be rewritten unseen.
    pub last_hash: String,
    /// A hash of every wallet and coupon as they are now: files that agree in it hold the same money and the same coupons.
    pub state_hash: String,
}

/// More findings than this add nothing.
pub const FINDINGS_MAX: usize = 100;

/// The pages that each of the audit's two connections keeps, in KiB.
const CACHE_KIB: i64 = 24 * 1024;

/// Audits the file as it is now: balances, sums, running balances, the hash chain, coupons, refunds, idempotency records,
/// fences, and SQLite's own structures. With `since`, also whether an entry of that hash is still in the chain.
/// `progress` is told of entries seen, and of how many.
pub fn audit(file: &Path, since: Option<&Hash>, progress: &mut dyn FnMut(i64, i64)) -> Result<Report, Error> {
    let (rules, structures) = (open(file)?, open(file)?);
    thread::scope(|scope| {
        let structures = scope.spawn(move || sound_structures(&structures)); // SQLite's part takes as long as ours
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

fn open(file: &Path) -> Result<Connection, Error> {
    let conn = open_read_only(file).map_err(Error::internal)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "FILE")?; // a question may have to sort what does not fit into memory
    Ok(conn)
}

fn sound_structures(conn: &Connection) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    for sentence in ReadTx::new(conn).all("PRAGMA integrity_check(20)", [], |row| row.get::<_, String>(0))? {
        if sentence != "ok" {
            findings.add("SQLite finds its own structures sound", sentence);
        }
    }
    Ok(findings)
}

/// Everything that is ours, in one view of the file.
fn sound_money(conn: &Connection, since: Option<&Hash>, progress: &mut dyn FnMut(i64, i64)) -> Result<Report, Error> {
    let view = conn.unchecked_transaction()?;
    let mut findings = Findings::default();
    let walked = walk(&view, since, WALLETS_AT_ONCE, &mut findings, progress)?;
    findings.ask(&view, "what is referred to is there", "SELECT 'table ' || \"table\" || ' refers to a row of table ' || parent || ' that is not there' FROM pragma_foreign_key_check")?;
    for (check, sql) in QUESTIONS {
        findings.ask(&view, check, sql)?;
    }
    let wallets = ReadTx::new(&view).one("SELECT count(*) FROM wallet", [], |row| row.get(0))?.unwrap_or(0);
    Ok(Report {
        findings: findings.0,
        entries: walked.entries,
        wallets,
        last_hash: hex(&walked.last_hash),
        state_hash: hex(&state::hash(&view)?),
    })
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn is_full(&self) -> bool {
        self.0.len() >= FINDINGS_MAX
    }

    fn add(&mut self, check: &'static str, sentence: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Finding { check, sentence: sentence.into() });
        }
    }

    /// Every row of the answer is a sentence.
    fn ask(&mut self, conn: &Connection, check: &'static str, question: &str) -> Result<(), Error> {
        let mut statement = conn.prepare(question)?;
        let mut rows = statement.query([])?;
        while !self.is_full()
            && let Some(row) = rows.next()?
        {
            self.add(check, row.get::<_, String>(0)?);
        }
        Ok(())
    }
}
