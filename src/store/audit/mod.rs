//! The audit: every invariant of the file as a question that finds nothing. It reads and changes nothing, beside whoever
//! has the file, in memory that does not grow with it.

mod balances;
mod coupons;
mod entries;
mod keys;
mod locks;
mod questions;
mod schema;
mod state;
mod walk;

use crate::error::Error;
use crate::secret::{Hash, hex};
use crate::store::connection::{connect, open_read_only};
use crate::tx::{ReadTx, Row};
use questions::QUESTIONS;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::thread;
use walk::{Walked, walk};

/// Something that should not be so, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The invariant it breaks.
    pub check: &'static str,
    /// What is wrong and where.
    pub sentence: String,
}

/// What the audit saw.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// cashbox.recharge(&alice, "50".parse()?)?;
/// let report = cashbox.verify()?;
/// assert_eq!((report.findings.len(), report.entries), (0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditReport {
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

/// A sentence of a spoilt file may be a book: so many characters of it are enough.
const SENTENCE_CHARS_MAX: usize = 500;

/// The pages that each of the audit's two connections keeps, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// How many wallets are kept in mind at a time: some tens of megabytes.
const WALLETS_AT_ONCE: i64 = 250_000;

/// Audits the file as it is now: its schema, balances, sums, running balances, the hash chain, coupons, refunds,
/// idempotency records, locks, and SQLite's own structures. With `since`, also whether an entry of that hash is still in
/// the chain. `progress` is told of entries seen, and of how many.
pub fn audit(file: &Path, since: Option<&Hash>, progress: &mut dyn FnMut(i64, i64)) -> Result<AuditReport, Error> {
    let (rules, structures) = (for_rules(file)?, for_structures(file)?);
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

/// Opened first, and only to read: where a journal of another program's would have to be played back, which would change
/// the file, the audit ends here.
fn for_rules(file: &Path) -> Result<Connection, Error> {
    prepared(open_read_only(file).map_err(Error::internal)?)
}

/// SQLite looks at the CHECKs of a table only through a connection that could write. So this one could, and is forbidden
/// to; and it leaves the log alone when it is closed. A file that may not be written opens to be read, and its CHECKs are
/// not looked at.
fn for_structures(file: &Path) -> Result<Connection, Error> {
    let conn = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(Error::internal)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.pragma_update(None, "query_only", true)?;
    prepared(conn)
}

fn prepared(conn: Connection) -> Result<Connection, Error> {
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
fn sound_money(
    conn: &Connection,
    since: Option<&Hash>,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<AuditReport, Error> {
    let view = conn.unchecked_transaction()?;
    let mut findings = Findings::default();
    let has_tables = schema::compare(&view, &mut findings)?;
    let asked = has_tables.then(|| ask_everything(&view, since, &mut findings, progress));
    let (walked, state_hash) = match asked.unwrap_or_else(|| Ok(Default::default())) {
        // What was found says more than where it ended.
        Err(error) if !findings.0.is_empty() => {
            findings.add("every rule can be asked after", error.cause.unwrap_or(error.detail));
            Default::default()
        }
        asked => asked?,
    };
    Ok(AuditReport {
        findings: findings.0,
        entries: walked.entries,
        wallets: walked.wallets,
        last_hash: hex(&walked.last_hash),
        state_hash: hex(&state_hash),
    })
}

fn ask_everything(
    view: &Connection,
    since: Option<&Hash>,
    findings: &mut Findings,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<(Walked, Hash), Error> {
    let walked = walk(view, since, WALLETS_AT_ONCE, findings, progress)?;
    keys::check_outcomes(view, walked.entries, findings)?;
    coupons::check(view, findings)?;
    locks::check(view, findings)?;
    for (check, sql) in QUESTIONS {
        findings.ask(view, check, sql)?;
    }
    Ok((walked, state::hash(view)?))
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn is_full(&self) -> bool {
        self.0.len() >= FINDINGS_MAX
    }

    fn add(&mut self, check: &'static str, sentence: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Finding { check, sentence: fit_to_print(&sentence.into()) });
        }
    }

    /// Every row of the answer is a sentence.
    fn ask(&mut self, conn: &Connection, check: &'static str, question: &str) -> Result<(), Error> {
        let mut statement = conn.prepare(question)?;
        let mut rows = statement.query([])?;
        while !self.is_full() {
            match rows.next() {
                Ok(Some(row)) => self.add(check, text(row, 0)?),
                Ok(None) => break,
                // Numbers beyond all bounds: what they add up to cannot be said.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                    self.add(check, format!("nobody can say: {error}"));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A column that holds text, which may be any bytes in a spoilt file.
fn text(row: &Row<'_>, column: usize) -> Result<String, Error> {
    let bytes = row.get_ref(column)?.as_bytes().map_err(Error::damaged)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Names and notes of a spoilt file may hold what would play tricks on a terminal.
fn fit_to_print(sentence: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    sentence.chars().take(SENTENCE_CHARS_MAX).map(shown).collect()
}
