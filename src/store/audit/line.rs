//! The state that an audit has seen as one line: an auditor keeps it, and a later audit is compared with it.

use super::findings::{AuditReport, EARLIER, Finding, Findings, UNCHANGED};
use crate::secret::{Hash, hex, parse_hash};

/// The beginning of a line. The digit is its version.
const PREFIX: &str = "cashbox1";
const HASH_DIGITS: usize = 64;

/// The state that an audit has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// The number of entries.
    pub entries: i64,
    /// The hash of the newest entry.
    pub last_hash: Hash,
    /// The number of lines of the journal.
    pub journal: i64,
    /// The hash of the newest line of the journal.
    pub journal_hash: Hash,
    /// The hash of all wallets and coupons.
    pub state_hash: Hash,
}

impl std::fmt::Display for AuditLine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [last, journal, state] = [self.last_hash, self.journal_hash, self.state_hash].map(|hash| hex(&hash));
        write!(out, "{PREFIX}:{}:{last}:{}:{journal}:{state}", self.entries, self.journal)
    }
}

impl AuditLine {
    /// A report of that state.
    pub(super) fn report(&self, findings: Vec<Finding>, notes: Vec<String>, wallets: i64) -> AuditReport {
        AuditReport {
            findings,
            notes,
            entries: self.entries,
            wallets,
            last_hash: hex(&self.last_hash),
            journal: self.journal,
            journal_hash: hex(&self.journal_hash),
            state_hash: hex(&self.state_hash),
            line: self.to_string(),
        }
    }

    /// Reads a line. An error names the place that was copied wrongly.
    fn parse(text: &str) -> Result<AuditLine, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (PREFIX, Ok([_, entries, last_hash, journal, journal_hash, state_hash])) =
            (parts[0], <[&str; 6]>::try_from(&parts[..]))
        else {
            return Err(match parts.len() {
                _ if parts[0] != PREFIX => format!("it does not begin with {PREFIX}:"),
                found => format!("it has {found} parts between colons, and a line has 6"),
            });
        };
        Ok(AuditLine {
            entries: count("the number of entries", entries)?,
            last_hash: hash("the last hash", last_hash)?,
            journal: count("the number of lines of the journal", journal)?,
            journal_hash: hash("the hash of the journal", journal_hash)?,
            state_hash: hash("the state hash", state_hash)?,
        })
    }
}

fn count(name: &str, text: &str) -> Result<i64, String> {
    let count = text.parse::<i64>().ok().filter(|count| *count >= 0);
    count.ok_or_else(|| format!("{name} is not a number"))
}

fn hash(name: &str, text: &str) -> Result<Hash, String> {
    if let Some(at) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
        return Err(format!("character {} of {name} is not one of 0-9 and a-f", at + 1));
    }
    parse_hash(text).ok_or_else(|| format!("{name} has {} digits, and a hash has {HASH_DIGITS}", text.len()))
}

/// The state that an earlier audit has seen, which a later one is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The hash of the newest entry.
    Hash(Hash),
    /// All of it.
    Line(AuditLine),
    /// All of it, and nothing has happened since.
    Unchanged(AuditLine),
}

impl Since {
    /// Reads a line that an audit has printed, or the hash of its newest entry alone. An error names the place that is wrong.
    ///
    /// Blanks inside are refused, and not passed over: a label before it, or two lines on one, are not what an audit printed.
    pub fn parse(text: &str) -> Result<Since, String> {
        let text = text.trim();
        if let Some((before, _)) = text.split_once(char::is_whitespace) {
            let has_label = ["line", "last"].contains(&before);
            let label = if has_label { ", behind a label that does not belong to it" } else { "" };
            return Err(format!("character {} is a blank{label}", before.chars().count() + 1));
        }
        if text.contains(':') { AuditLine::parse(text).map(Since::Line) } else { hash("it", text).map(Since::Hash) }
    }

    /// The same line, with nothing since. None for a hash alone: it says too little.
    pub fn unchanged(self) -> Option<Since> {
        self.line().map(Since::Unchanged)
    }

    /// The line, if it is one.
    pub(crate) fn line(self) -> Option<AuditLine> {
        match self {
            Since::Hash(_) => None,
            Since::Line(line) | Since::Unchanged(line) => Some(line),
        }
    }

    /// Compares the counts and the state with those of now: the walks have compared the hashes of both chains. Returns a
    /// note of what has happened since.
    pub(super) fn compare_with(&self, now: &AuditLine, findings: &mut Findings) -> Option<String> {
        let before = self.line()?;
        let (entries, lines) = (now.entries - before.entries, now.journal - before.journal);
        if (entries, lines) == (0, 0) {
            if before.state_hash != now.state_hash {
                let sentence = "no entry and no line of the journal was added since, and wallets or coupons are others";
                findings.add(EARLIER, sentence);
            }
            return None;
        }
        if entries < 0 || lines < 0 {
            return None; // the walk has found that the chain ends before that line
        }
        let since_then = format!("added since that line: entries {entries}, lines of the journal {lines}");
        if matches!(self, Since::Unchanged(_)) {
            findings.add(UNCHANGED, since_then);
            return None;
        }
        Some(since_then)
    }
}
