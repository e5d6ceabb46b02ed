//! The idempotency records: each names the entry that its own request made, and says what can be answered again.

use super::{Findings, text};
use crate::command::Command;
use crate::error::Error;
use crate::id::{UserId, WalletId};
use crate::ledger::Note;
use crate::ledger::entry::{Entry, EntryKind};
use crate::ledger::verbs::{Pay, Recharge, Refund, Transfer, Withdraw};
use crate::store::idempotency;
use crate::tx::{ReadTx, params};
use rusqlite::{Connection, Row, Rows};

const MADE: &str = "an idempotency record names the entry that its request made";
const SAYS: &str = "an idempotency record says what was answered";
/// How long the hash of a request is, in bytes.
const REQUEST_LEN: usize = 16;

/// The records that name an entry, in the order of the entries: they are met while these are walked along.
pub struct Records<'s> {
    rows: Rows<'s>,
    next: Option<KeyRecord>,
    /// The entry that the last record named.
    named: i64,
}

struct KeyRecord {
    entry: i64,
    caller: String,
    key: String,
    request: Vec<u8>,
    /// Whether it tells of a coupon that was earned.
    tells: bool,
}

impl<'s> Records<'s> {
    pub const IN_ORDER: &'static str = "SELECT entry, caller, key, request, outcome IS NOT NULL FROM idempotency WHERE entry IS NOT NULL ORDER BY entry";

    /// Of what [`Records::IN_ORDER`] finds.
    pub fn new(rows: Rows<'s>) -> Records<'s> {
        Records { rows, next: None, named: 0 }
    }

    /// Holds the entry against the records that name it, and names those of entries that should have come before.
    pub fn check(&mut self, entry: &Entry, findings: &mut Findings) -> Result<(), Error> {
        while let Some(record) = self.take_up_to(entry.id.0)? {
            let tells_of_none = record.tells && (entry.kind != EntryKind::Recharge || entry.coupon.is_none());
            let what = if record.entry != entry.id.0 {
                "is not there to be read"
            } else if record.caller != entry.by {
                "somebody else made"
            } else if !is_request_of(entry, &record.request) {
                "another request made"
            } else if record.entry == self.named {
                "has another record already"
            } else if tells_of_none {
                "earned no coupon, though the record tells of one"
            } else {
                self.named = record.entry;
                continue;
            };
            findings.add(MADE, record.sentence(what));
        }
        Ok(())
    }

    /// Names the records of entries that never came.
    pub fn finish(mut self, findings: &mut Findings) -> Result<(), Error> {
        while let Some(record) = self.take_up_to(i64::MAX)? {
            findings.add(MADE, record.sentence("is not there to be read"));
        }
        Ok(())
    }

    fn take_up_to(&mut self, entry: i64) -> Result<Option<KeyRecord>, Error> {
        if self.next.is_none() {
            self.next = self.rows.next()?.map(KeyRecord::read).transpose()?;
        }
        Ok(self.next.take_if(|record| record.entry <= entry))
    }
}

impl KeyRecord {
    fn read(row: &Row<'_>) -> Result<KeyRecord, Error> {
        Ok(KeyRecord {
            entry: row.get(0)?,
            caller: text(row, 1)?,
            key: text(row, 2)?,
            request: row.get(3)?,
            tells: row.get(4)?,
        })
    }

    fn sentence(&self, what: &str) -> String {
        format!("record {} of {} names entry {}, which {what}", self.key, self.caller, self.entry)
    }
}

/// Whether a request with that hash makes such an entry. A refund of all that is left names no amount.
fn is_request_of(entry: &Entry, request: &[u8]) -> bool {
    let is = |command: Command| command.fingerprint().is_some_and(|own| own == request);
    let (amount, note) = (entry.amount, note_of(entry));
    let user = |wallet: &WalletId| UserId::parse(wallet.as_str()).ok();
    match entry.kind {
        EntryKind::Recharge => user(&entry.to).is_some_and(|user| is(Recharge { user, amount, note }.into())),
        EntryKind::Withdraw => user(&entry.from).is_some_and(|user| is(Withdraw { user, amount, note }.into())),
        EntryKind::Pay => user(&entry.from).zip(entry.gross).is_some_and(|(user, gross)| {
            is(Pay { user, to: entry.to.clone(), gross, coupon: entry.coupon.clone(), note }.into())
        }),
        EntryKind::Transfer => is(Transfer { from: entry.from.clone(), to: entry.to.clone(), amount, note }.into()),
        EntryKind::Refund => entry.refunds.is_some_and(|original| {
            let refund = |amount| Refund { entry: original, amount, note: note_of(entry) }.into();
            is(refund(None)) || is(refund(Some(amount)))
        }),
    }
}

fn note_of(entry: &Entry) -> Note {
    Note { reference: entry.reference.clone(), metadata: entry.metadata.clone() }
}

/// Looks at what the records say beyond the number of an entry: that it can be read, and that what it names is there.
/// Entries are numbered up to `last_entry`.
pub fn check_outcomes(conn: &Connection, last_entry: i64, findings: &mut Findings) -> Result<(), Error> {
    let sql = "SELECT caller, key, request, entry, outcome FROM idempotency WHERE outcome IS NOT NULL OR entry IS NULL";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let outcome = row.get_ref(4)?.as_bytes_or_null().map_err(Error::damaged)?;
        let what = match idempotency::references(row.get(3)?, outcome) {
            _ if row.get::<_, [u8; REQUEST_LEN]>(2).is_err() => "is of no request",
            None => "says what is never said",
            Some(named) if !named.entries.iter().all(|entry| (1..=last_entry).contains(entry)) => {
                "tells of an entry that is not there"
            }
            Some(named) if !are_there(conn, &named.coupons)? => "tells of a coupon that is not there",
            Some(_) => continue,
        };
        findings.add(SAYS, format!("record {} of {} {what}", text(row, 1)?, text(row, 0)?));
    }
    Ok(())
}

fn are_there(conn: &Connection, coupons: &[String]) -> Result<bool, Error> {
    for code in coupons {
        if ReadTx::new(conn).one("SELECT 1 FROM coupon WHERE code = $1", params![code], |_| Ok(()))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
