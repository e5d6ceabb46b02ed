//! The state that an audit has seen as one line: an auditor keeps it, and a later audit is compared with it.

use super::findings::{AuditReport, EARLIER, Finding, Findings, UNCHANGED};
use crate::secret::{Hash, hex, parse_hash};

/// The beginning of a line. The digit is its version.
const PREFIX: &str = "cashbox1";

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

    fn parse(text: &str) -> Option<AuditLine> {
        let parts: Vec<&str> = text.split(':').collect();
        let [PREFIX, entries, last_hash, journal, journal_hash, state_hash] = parts[..] else { return None };
        let count = |text: &str| text.parse::<i64>().ok().filter(|count| *count >= 0);
        Some(AuditLine {
            entries: count(entries)?,
            last_hash: parse_hash(last_hash)?,
            journal: count(journal)?,
            journal_hash: parse_hash(journal_hash)?,
            state_hash: parse_hash(state_hash)?,
        })
    }
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
    /// Reads a line that an audit has printed, or the hash of its newest entry alone.
    pub fn parse(text: &str) -> Option<Since> {
        let text = text.trim();
        parse_hash(text).map(Since::Hash).or_else(|| AuditLine::parse(text).map(Since::Line))
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
