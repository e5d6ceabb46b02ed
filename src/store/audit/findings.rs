//! The report of an audit, and its findings.

use crate::error::Error;
use crate::id::visible;
use rusqlite::{Connection, ErrorCode, Row};

/// The result of an audit.
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
    /// The violations: none, in a sound file. At most 100.
    pub findings: Vec<Finding>,
    /// Sentences about what does no harm: tables of a tool that replicates the file.
    pub notes: Vec<String>,
    /// The number of entries.
    pub entries: i64,
    /// The number of wallets.
    pub wallets: i64,
    /// The hash of the newest entry. If it is kept elsewhere, a later audit finds any change of the entries up to it.
    pub last_hash: String,
    /// The number of lines of the journal.
    pub journal: i64,
    /// The hash of the newest line of the journal.
    pub journal_hash: String,
    /// A hash of every wallet and coupon as they are now: files with the same hash hold the same money and coupons.
    pub state_hash: String,
    /// All of this as one line to keep elsewhere: a later audit finds every change of what it has seen.
    pub line: String,
}

/// A violation of an invariant, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The invariant.
    pub check: &'static str,
    /// The violation and its place.
    pub sentence: String,
}

/// The check that nothing has happened since an earlier audit.
pub(crate) const UNCHANGED: &str = "nothing was added since the line";

/// The check of what an earlier audit has seen.
pub(crate) const EARLIER: &str = "earlier entries are there still";

/// The most findings of an audit: more are of no use.
pub(crate) const FINDINGS_MAX: usize = 100;

/// The most characters of a sentence: in a damaged file a text may be of any length.
const SENTENCE_CHARS_MAX: usize = 500;

/// The findings so far.
#[derive(Default)]
pub(crate) struct Findings(pub Vec<Finding>);

impl Findings {
    fn is_full(&self) -> bool {
        self.0.len() >= FINDINGS_MAX
    }

    pub(crate) fn add(&mut self, check: &'static str, sentence: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Finding { check, sentence: printable(&sentence.into()) });
        }
    }

    /// Runs a query whose rows are sentences.
    pub(crate) fn ask(&mut self, conn: &Connection, check: &'static str, question: &str) -> Result<(), Error> {
        let mut statement = conn.prepare(question)?;
        let mut rows = statement.query([])?;
        while !self.is_full() {
            match rows.next() {
                Ok(Some(row)) => self.add(check, text(row, 0)?),
                Ok(None) => break,
                // A sum that overflows.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                    self.add(check, format!("it cannot be computed: {error}"));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A column of text, which may be any bytes in a damaged file.
pub(crate) fn text(row: &Row<'_>, column: usize) -> Result<String, Error> {
    let bytes = row.get_ref(column)?.as_bytes().map_err(Error::damaged)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Without hidden characters, which could do anything to a terminal, and shortened.
fn printable(sentence: &str) -> String {
    visible(&sentence.chars().take(SENTENCE_CHARS_MAX).collect::<String>())
}
