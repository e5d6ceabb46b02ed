//! The walk along the journal, beside the walk along the entries: numbers, times and hashes; and for each recharge the tiers
//! and coupon kinds of its time, which say what it earned.

use super::findings::{EARLIER, Findings, text};
use super::line::AuditLine;
use crate::clock::parse_rfc3339;
use crate::error::Error;
use crate::journal::{ChangeKind, JournalLine};
use crate::ledger::detail::{GivenCoupon, GivenTerms};
use crate::ledger::entry::{Entry, EntryKind};
use crate::money::Cents;
use crate::secret::Hash;
use crate::token;
use crate::tx::{ReadTx, params};
use rusqlite::{Connection, OptionalExtension, Rows, Statement};
use serde_json::Value;
use std::collections::HashMap;

const ORDER: &str = "lines of the journal are in order, in number, in time and between the entries";
const HASH: &str = "each hash of the journal covers its line and the hash before";
const READ: &str = "a line of the journal can be read";
const START: &str = "a journal begins with how its file came to be";
const SUBJECT: &str = "what the journal says was made is there";
const EARNED: &str = "a recharge earns what tiers and coupon kinds gave at its time";

/// A day, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The rows that were there when the journal began.
#[derive(Default)]
pub(crate) struct JournalStart {
    /// The newest entry then: those up to it were made before.
    pub entry: i64,
    /// The line's own detail.
    pub detail: Value,
}

/// The journal's end, and what it has come to.
#[derive(Default)]
pub(crate) struct JournalEnd {
    pub lines: i64,
    pub hash: Hash,
    pub start: JournalStart,
    /// Coupon kinds and tiers, as the journal has them last.
    pub kinds: Value,
    pub tiers: Value,
    /// The access token that was given at the last start.
    pub at_start: Option<String>,
}

/// A coupon kind at the time that the walk has come to.
struct KindThen {
    terms: GivenTerms,
    valid_days: Option<i64>,
    valid_until: Option<i64>,
    /// True if it may be used up or out of its dates: then a recharge may earn nothing.
    is_limited: bool,
}

impl KindThen {
    fn read(kind: &Value) -> Option<(String, KindThen)> {
        let cents = |field: &str| kind[field].as_str().and_then(Cents::parse).map(|cents| cents.0);
        let time = |field: &str| kind[field].as_str().and_then(parse_rfc3339);
        let terms = GivenTerms {
            amount_off: cents("amount_off"),
            percent_off: kind["percent_off"].as_i64(),
            threshold: cents("threshold")?,
            single_use: kind["single_use"].as_bool()?,
            max_off: cents("max_off"),
        };
        let limits = ["valid_from", "valid_until", "limit_total", "limit_per_user"];
        let is_limited = limits.iter().any(|field| !kind[field].is_null());
        let (valid_days, valid_until) = (kind["valid_days"].as_i64(), time("valid_until"));
        Some((kind["kind"].as_str()?.to_owned(), KindThen { terms, valid_days, valid_until, is_limited }))
    }

    fn gives(&self, coupon: &GivenCoupon, at: i64) -> bool {
        let by_days = self.valid_days.map(|days| at.saturating_add(days.saturating_mul(DAY_MS)));
        let expires_at = by_days.into_iter().chain(self.valid_until).min();
        coupon.terms == self.terms && coupon.granted_at == at && coupon.expires_at == expires_at
    }
}

/// The walk.
pub(crate) struct JournalWalk<'s> {
    conn: &'s Connection,
    rows: Rows<'s>,
    coupon: Statement<'s>,
    next: Option<JournalLine>,
    /// The time of the last line.
    at: i64,
    /// The last entry that was followed: its number and its time.
    entry: (i64, i64),
    kinds: HashMap<String, KindThen>,
    /// The smallest amount of each tier and the coupon kind it gives, lowest first.
    tiers: Vec<(i64, Option<String>)>,
    /// A line noted earlier, which must be in the journal.
    sought: Option<AuditLine>,
    end: JournalEnd,
}

impl<'s> JournalWalk<'s> {
    /// From the rows of [`JournalLine::ALL_IN_ORDER`].
    pub(crate) fn new(
        conn: &'s Connection,
        rows: Rows<'s>,
        sought: Option<AuditLine>,
        findings: &mut Findings,
    ) -> Result<JournalWalk<'s>, Error> {
        let mut walk = JournalWalk {
            conn,
            rows,
            coupon: conn.prepare(GivenCoupon::OF_CODE)?,
            next: None,
            at: i64::MIN,
            entry: (0, i64::MIN),
            kinds: HashMap::new(),
            tiers: Vec::new(),
            sought: sought.filter(|line| line.journal > 0),
            end: JournalEnd::default(),
        };
        walk.advance(findings)?;
        let starts = [ChangeKind::Created, ChangeKind::Upgraded, ChangeKind::Imported];
        match &walk.next {
            Some(first) if starts.contains(&first.what) => {
                let detail = serde_json::from_str(&first.detail).unwrap_or_default();
                walk.end.start = JournalStart { entry: first.entry, detail };
                walk.end.at_start = walk.end.start.detail["tokens"]["at_start"].as_str().map(str::to_owned);
            }
            _ => findings.add(START, "its first line says something else, or is not there"),
        }
        Ok(walk)
    }

    /// The number of the newest entry when the journal began.
    pub(crate) fn first_entry(&self) -> i64 {
        self.end.start.entry
    }

    fn advance(&mut self, findings: &mut Findings) -> Result<(), Error> {
        self.next = None;
        while let Some(row) = self.rows.next()? {
            match JournalLine::read(&row.into()) {
                Ok(line) => {
                    self.next = Some(line);
                    break;
                }
                Err(_) => {
                    let (seq, what): (i64, _) = (row.get(0)?, text(row, 3)?);
                    findings.add(READ, format!("line {seq}, {what}, has a value that cannot be read"));
                    self.end.lines = seq;
                }
            }
        }
        Ok(())
    }

    /// Follows the lines before that entry, and checks what it earned.
    pub(crate) fn follow(&mut self, entry: &Entry, findings: &mut Findings) -> Result<(), Error> {
        self.follow_lines(entry.id.0, findings)?;
        if entry.kind == EntryKind::Recharge && entry.id.0 > self.end.start.entry {
            self.check_recharge(entry, findings);
        }
        self.entry = (entry.id.0, entry.at);
        Ok(())
    }

    /// Passes over an entry that cannot be read.
    pub(crate) fn skip(&mut self, entry: i64, findings: &mut Findings) -> Result<(), Error> {
        self.follow_lines(entry, findings)?;
        self.entry.0 = entry;
        Ok(())
    }

    /// Follows the last lines.
    pub(crate) fn finish(mut self, findings: &mut Findings) -> Result<JournalEnd, Error> {
        self.follow_lines(i64::MAX, findings)?;
        if let Some(line) = self.sought {
            let sentence = format!("the line noted earlier says {} lines; there are {}", line.journal, self.end.lines);
            findings.add(EARLIER, sentence);
        }
        Ok(self.end)
    }

    fn follow_lines(&mut self, entry: i64, findings: &mut Findings) -> Result<(), Error> {
        while let Some(line) = self.next.take_if(|line| line.entry < entry) {
            self.check_line(&line, findings);
            self.take_line(&line, findings)?;
            self.advance(findings)?;
        }
        Ok(())
    }

    fn check_line(&mut self, line: &JournalLine, findings: &mut Findings) {
        let seq = line.seq;
        let why = if Some(seq) != self.end.lines.checked_add(1) {
            Some(format!("after line {} comes line {seq}", self.end.lines))
        } else if line.at < self.at || line.at < self.entry.1 {
            Some(format!("line {seq} is earlier than the line or the entry before"))
        } else if line.entry != self.entry.0 {
            Some(format!("line {seq} comes after entry {} and says {}", self.entry.0, line.entry))
        } else {
            None
        };
        if let Some(why) = why {
            findings.add(ORDER, why);
        }
        if line.hash != line.hash_after(&self.end.hash) {
            findings.add(HASH, format!("line {seq} was changed, or the one before"));
        }
        if let Some(noted) = self.sought.take_if(|noted| noted.journal == seq)
            && noted.journal_hash != line.hash
        {
            let sentence = format!("line {seq} of the journal, or one before it, was rewritten since it was noted");
            findings.add(EARLIER, sentence);
        }
        (self.end.lines, self.at, self.end.hash) = (seq, line.at, line.hash);
    }

    /// Takes what the line has changed, and looks for its subject.
    fn take_line(&mut self, line: &JournalLine, findings: &mut Findings) -> Result<(), Error> {
        let seq = line.seq;
        let Ok(detail) = serde_json::from_str::<Value>(&line.detail) else {
            findings.add(READ, format!("line {seq} has a detail that is not JSON"));
            return Ok(());
        };
        let is_start = matches!(line.what, ChangeKind::Created | ChangeKind::Upgraded | ChangeKind::Imported);
        if is_start && seq > 1 && line.what != ChangeKind::Upgraded {
            findings.add(START, format!("line {seq} says that the file was {}", line.what.as_str()));
        }
        if line.what == ChangeKind::KindsSet || is_start && seq == 1 {
            self.take_kinds(&detail["kinds"]);
        }
        if line.what == ChangeKind::TiersSet || is_start && seq == 1 {
            self.take_tiers(&detail["tiers"]);
        }
        let Some(subject) = &line.subject else { return Ok(()) };
        let is_there = match line.what {
            ChangeKind::TokenAdopted => {
                self.end.at_start = Some(subject.clone());
                true
            }
            ChangeKind::TokenMinted | ChangeKind::TokenRotated | ChangeKind::TokenRevoked => {
                token::is_there(&ReadTx::new(self.conn), subject)?
            }
            ChangeKind::CouponGranted | ChangeKind::CouponClaimed => {
                let given = self.given(subject);
                given.is_some_and(|given| given.earned_by.is_none() && given.detail() == detail)
            }
            ChangeKind::WalletCreated | ChangeKind::WalletSet => {
                let sql = "SELECT 1 FROM wallet WHERE id = $1";
                ReadTx::new(self.conn).one(sql, params![subject], |_| Ok(()))?.is_some()
            }
            _ => true,
        };
        if !is_there {
            let sentence = format!("line {seq}, {}: {subject} is not there, or otherwise", line.what.as_str());
            findings.add(SUBJECT, sentence);
        }
        Ok(())
    }

    fn take_kinds(&mut self, kinds: &Value) {
        self.kinds = kinds.as_array().into_iter().flatten().filter_map(KindThen::read).collect();
        self.end.kinds = kinds.clone();
    }

    fn take_tiers(&mut self, tiers: &Value) {
        let tier = |tier: &Value| {
            let from = tier["from"].as_str().and_then(Cents::parse)?;
            Some((from.0, tier["coupon_kind"].as_str().map(str::to_owned)))
        };
        self.tiers = tiers.as_array().into_iter().flatten().filter_map(tier).collect();
        self.tiers.sort_unstable();
        self.end.tiers = tiers.clone();
    }

    /// The coupon of that code, if its row can be read.
    fn given(&mut self, code: &str) -> Option<GivenCoupon> {
        self.coupon.query_row(params![code], |row| GivenCoupon::read(&row.into())).optional().ok().flatten()
    }

    fn check_recharge(&mut self, entry: &Entry, findings: &mut Findings) {
        let tier = self.tiers.iter().rev().find(|(from, _)| *from <= entry.amount.cents());
        let kind = tier.and_then(|(_, kind)| kind.clone());
        let then = kind.as_ref().and_then(|kind| self.kinds.get(kind));
        let id = entry.id.0;
        let why = match (&entry.coupon, &kind, then) {
            (None, Some(kind), Some(then)) if !then.is_limited => {
                format!("entry {id} earned no coupon, and a tier gave kind {kind} then")
            }
            (None, ..) => return,
            (Some(code), Some(kind), Some(_)) => {
                let (code, kind) = (code.clone(), kind.clone());
                let Some(given) = self.given(code.as_str()) else { return }; // a question names it
                let gives = self.kinds.get(&kind).is_some_and(|then| then.gives(&given, entry.at));
                if given.kind == kind && given.user == entry.to.as_str() && gives {
                    return;
                }
                format!("entry {id} earned coupon {code} otherwise than kind {kind} gave it then")
            }
            (Some(code), ..) => format!("entry {id} earned coupon {code}, and no tier gave one then"),
        };
        findings.add(EARNED, why);
    }
}
