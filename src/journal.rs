//! The journal: every change that no entry explains, a line each, append-only and with a hash chain of its own.
//!
//! Invariants:
//! - Lines are numbered without gaps, and their times never decrease.
//! - A line names the newest entry at its moment, so both chains can be replayed in one order.
//! - `hash` covers the line and the hash before it.
//! - Secrets never enter it: of an access token's secret it has SHA-256 of the stored hash, and of a wallet's name and
//!   metadata SHA-256.
//!
//! Knows nothing of: money, access tokens, HTTP.

use crate::error::{Error, ErrorName};
use crate::secret::{Hash, hex, put_field, sha256};
use crate::tx::{ChainHead, JournalHead, Row, RowResult, Tables, WriteTx, params, unreadable};
use serde_json::Value;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The file was made.
    Created,
    /// The file was upgraded.
    Upgraded,
    /// The file was made from an export.
    Imported,
    /// The file was put in the place of another, from a backup.
    Restored,
    /// An access token was minted.
    TokenMinted,
    /// An access token got another secret.
    TokenRotated,
    /// An access token was revoked.
    TokenRevoked,
    /// An access token was given at the start of a server.
    TokenAdopted,
    /// The recharge tiers were replaced.
    TiersSet,
    /// The coupon kinds were replaced.
    KindsSet,
    /// A coupon was granted by hand.
    CouponGranted,
    /// A coupon was given for a claim code.
    CouponClaimed,
    /// A wallet was created without money.
    WalletCreated,
    /// The settings of a wallet were changed.
    WalletSet,
}

impl ChangeKind {
    pub(crate) const ALL: [ChangeKind; 14] = [
        ChangeKind::Created,
        ChangeKind::Upgraded,
        ChangeKind::Imported,
        ChangeKind::Restored,
        ChangeKind::TokenMinted,
        ChangeKind::TokenRotated,
        ChangeKind::TokenRevoked,
        ChangeKind::TokenAdopted,
        ChangeKind::TiersSet,
        ChangeKind::KindsSet,
        ChangeKind::CouponGranted,
        ChangeKind::CouponClaimed,
        ChangeKind::WalletCreated,
        ChangeKind::WalletSet,
    ];
    /// Their names, in the same order.
    pub(crate) const NAMES: [&str; 14] = [
        "created",
        "upgraded",
        "imported",
        "restored",
        "token_minted",
        "token_rotated",
        "token_revoked",
        "token_adopted",
        "tiers_set",
        "coupon_kinds_set",
        "coupon_granted",
        "coupon_claimed",
        "wallet_created",
        "wallet_set",
    ];

    /// The kind as text.
    pub fn as_str(self) -> &'static str {
        ChangeKind::NAMES[self as usize]
    }

    /// The kind of that name.
    pub(crate) fn find(text: &str) -> Option<ChangeKind> {
        ChangeKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    /// Its number.
    pub seq: i64,
    /// Its time, in milliseconds since 1970; never less than that of the line before, or of the newest entry.
    pub at: i64,
    /// The caller who asked for the change.
    pub by: String,
    /// The kind of change.
    pub what: ChangeKind,
    /// The access token, coupon or wallet that was changed.
    pub subject: Option<String>,
    /// The number of the newest entry at that moment; 0 before the first.
    pub entry: i64,
    /// The new state of what was changed: a JSON object.
    pub detail: String,
    /// SHA-256 of the hash before it and of everything above.
    pub hash: Hash,
}

macro_rules! line_columns {
    () => {
        "seq, at, made_by, what, subject, entry, detail, hash"
    };
}

impl JournalLine {
    /// Every line in order.
    pub(crate) const ALL_IN_ORDER: &'static str = concat!("SELECT ", line_columns!(), " FROM journal ORDER BY seq");

    /// The line that comes after `before` and names that newest entry, with the time of that or `before`'s, the later.
    pub(crate) fn after(
        before: &JournalHead,
        newest: &ChainHead,
        by: &str,
        what: ChangeKind,
        subject: Option<&str>,
        detail: &Value,
    ) -> JournalLine {
        let line = JournalLine {
            seq: before.seq + 1,
            at: newest.at.max(before.at),
            by: by.to_owned(),
            what,
            subject: subject.map(str::to_owned),
            entry: newest.id,
            detail: detail.to_string(),
            hash: [0; 32],
        };
        line.chained_to(&before.hash)
    }

    /// The end that the next line is chained to.
    pub(crate) fn head(&self) -> JournalHead {
        JournalHead { seq: self.seq, at: self.at, hash: self.hash }
    }

    /// The line with its hash, which ties it to everything before.
    #[doc(hidden)]
    pub fn chained_to(mut self, previous: &Hash) -> JournalLine {
        self.hash = self.hash_after(previous);
        self
    }

    /// The hash it must have if `previous` is that of the line before it (32 zero bytes before the first).
    ///
    /// The byte layout never changes: the hash before, 1 for the version of the layout, and the fields in the order of the
    /// struct; each is a big-endian u32 length and that many bytes, an integer is 8 bytes, big-endian, and an absent field
    /// has the length 0xFFFFFFFF and no bytes.
    #[doc(hidden)]
    pub fn hash_after(&self, previous: &Hash) -> Hash {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend(previous);
        bytes.push(1);
        let mut field = |value: Option<&[u8]>| put_field(&mut bytes, value);
        field(Some(&self.seq.to_be_bytes()));
        field(Some(&self.at.to_be_bytes()));
        field(Some(self.by.as_bytes()));
        field(Some(self.what.as_str().as_bytes()));
        field(self.subject.as_deref().map(str::as_bytes));
        field(Some(&self.entry.to_be_bytes()));
        field(Some(self.detail.as_bytes()));
        sha256(&bytes)
    }

    /// Reads a row of `line_columns!`.
    #[doc(hidden)]
    pub fn read(row: &Row<'_>) -> RowResult<JournalLine> {
        let what: String = row.get(3)?;
        Ok(JournalLine {
            seq: row.get(0)?,
            at: row.get(1)?,
            by: row.get(2)?,
            what: ChangeKind::find(&what).ok_or_else(|| unreadable(3))?,
            subject: row.get(4)?,
            entry: row.get(5)?,
            detail: row.get(6)?,
            hash: row.get(7)?,
        })
    }
}

/// The newest line; number 0 and a hash of zeros before the first.
pub(crate) fn head(tx: &Tables<'_>) -> Result<JournalHead, Error> {
    let newest = "SELECT seq, at, hash FROM journal ORDER BY seq DESC LIMIT 1";
    let head = tx.one(newest, &[], |row| Ok(JournalHead { seq: row.get(0)?, at: row.get(1)?, hash: row.get(2)? }))?;
    Ok(head.unwrap_or(JournalHead { seq: 0, at: i64::MIN, hash: [0; 32] }))
}

/// Appends a line. Its head is kept with the batch, and so rolled back with it.
pub(crate) fn append(
    tx: &WriteTx<'_>,
    by: &str,
    what: ChangeKind,
    subject: Option<&str>,
    detail: &Value,
) -> Result<(), Error> {
    let kept = tx.unit().journal;
    let before = kept.map_or_else(|| head(tx), Ok)?;
    let entry = ChainHead { at: tx.steady_wall_ms(), ..tx.chain_head() };
    let line = JournalLine::after(&before, &entry, by, what, subject, detail);
    tx.execute_one(
        INSERT,
        params![line.seq, line.at, line.by, line.what.as_str(), line.subject, line.entry, line.detail, line.hash],
    )?;
    tx.change_unit(|unit| unit.journal = Some(line.head()));
    Ok(())
}

/// Inserts a line whose fields are its parameters.
pub(crate) const INSERT: &str =
    concat!("INSERT INTO journal (", line_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");

/// A choice of lines, and their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalFilter {
    /// Those of one kind.
    pub what: Option<ChangeKind>,
    /// Those about this access token, coupon or wallet.
    pub subject: Option<String>,
    /// Made at this time (milliseconds since 1970) or later.
    pub since: Option<i64>,
    /// Made at this time or earlier.
    pub until: Option<i64>,
    /// Oldest first; otherwise newest first.
    pub ascending: bool,
}

/// One page of lines.
#[derive(Clone, Debug)]
pub(crate) struct JournalPage {
    /// The lines.
    pub rows: Vec<JournalLine>,
    /// The number of the line to continue behind, if there may be more.
    pub next: Option<i64>,
    /// Of an ascending list: the number of the last line that was looked at.
    pub reached: i64,
}

/// Lines that pass the filter, beyond the number `after` in the filter's direction.
pub(crate) fn lines(
    tx: &Tables<'_>,
    filter: &JournalFilter,
    after: Option<i64>,
    limit: usize,
) -> Result<JournalPage, Error> {
    let newest = head(tx)?.seq;
    let mut first = filter.since.map_or(Ok(1), |since| last_before(tx, newest, since).map(|seq| seq + 1))?;
    let mut last = filter.until.map_or(Ok(newest), |until| last_before(tx, newest, until.saturating_add(1)))?;
    match after {
        Some(after) if filter.ascending => first = first.max(after.saturating_add(1)),
        Some(after) => last = last.min(after - 1),
        None => {}
    }
    macro_rules! along {
        ($way:literal) => {
            along!($way, filter.ascending, "ASC", "DESC")
        };
        ($way:literal, $ascending:expr, $up:literal, $down:literal) => {
            if $ascending { along!($way, $up) } else { along!($way, $down) }
        };
        ($way:literal, $order:literal) => {
            concat!(
                "SELECT ",
                line_columns!(),
                " FROM journal WHERE seq BETWEEN $1 AND $2 AND ",
                $way,
                " ORDER BY seq ",
                $order,
                " LIMIT $5"
            )
        };
    }
    let sql = match filter {
        JournalFilter { subject: Some(_), .. } => along!("(CAST($3 AS TEXT) IS NULL OR what = $3) AND subject = $4"),
        JournalFilter { what: Some(_), .. } => along!("what = $3 AND CAST($4 AS TEXT) IS NULL"),
        _ => along!("CAST($3 AS TEXT) IS NULL AND CAST($4 AS TEXT) IS NULL"),
    };
    let what = filter.what.map(ChangeKind::as_str);
    let scan_end = scan_end(tx, filter, first, last)?;
    match scan_end {
        Some(end) if filter.ascending => last = end,
        Some(end) => first = end,
        None => {}
    }
    let mut rows = tx.all(sql, params![first, last, what, filter.subject, limit + 1], JournalLine::read)?;
    if rows.len() <= limit {
        let reached = scan_end.unwrap_or(newest).max(after.unwrap_or(0));
        return Ok(JournalPage { rows, next: scan_end, reached });
    }
    rows.truncate(limit);
    let next = rows.last().map(|line| line.seq);
    Ok(JournalPage { rows, next, reached: next.unwrap_or(0) })
}

/// The most lines about a subject that one page looks at for those of one kind.
const SCAN_ROWS: i64 = 10_000;

/// The number of the line, between `first` and `last`, behind which such a page ends; None if it may look at all.
fn scan_end(tx: &Tables<'_>, filter: &JournalFilter, first: i64, last: i64) -> Result<Option<i64>, Error> {
    let (Some(_), Some(subject)) = (filter.what, &filter.subject) else { return Ok(None) };
    let sql = match filter.ascending {
        true => "SELECT seq FROM journal WHERE subject = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq LIMIT 1 OFFSET $4",
        false => {
            "SELECT seq FROM journal WHERE subject = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq DESC LIMIT 1 OFFSET $4"
        }
    };
    tx.one(sql, params![subject, first, last, SCAN_ROWS - 1], |row| row.get(0))
}

/// The number of the last line made before that time: times never decrease along the numbers.
fn last_before(tx: &Tables<'_>, newest: i64, time: i64) -> Result<i64, Error> {
    let (mut before, mut beyond) = (0, newest + 1);
    while beyond - before > 1 {
        let middle = before + (beyond - before) / 2;
        let at: Option<i64> = tx.one("SELECT at FROM journal WHERE seq = $1", params![middle], |row| row.get(0))?;
        if at.is_some_and(|at| at < time) { before = middle } else { beyond = middle }
    }
    Ok(before)
}

/// The lines about that subject, oldest first.
pub(crate) fn lines_about(tx: &Tables<'_>, subject: &str) -> Result<Vec<JournalLine>, Error> {
    let sql = concat!("SELECT ", line_columns!(), " FROM journal WHERE subject = $1 ORDER BY seq");
    tx.all(sql, params![subject], JournalLine::read)
}

/// The place behind a line in a list, as a cursor names it: its number and a mark of its hash, so that a file in which
/// another line has that number is not taken for the same one.
pub(crate) fn place_behind(tx: &Tables<'_>, seq: i64) -> Result<String, Error> {
    Ok(mark_of(tx, seq)?.map_or(seq.to_string(), |mark| format!("{seq}.{mark}")))
}

/// The number of the line of a place.
pub(crate) fn find_place(tx: &Tables<'_>, place: &str) -> Result<i64, Error> {
    let (seq, mark) = place.split_once('.').map_or((place, None), |(seq, mark)| (seq, Some(mark)));
    let seq: i64 = seq.parse().map_err(|_| Error::invalid("after is not the `next` of an answer of this list"))?;
    if mark.is_some() && mark != mark_of(tx, seq)?.as_deref() {
        let detail = format!(
            "line {seq} of the journal is not the one that was listed: the file was replaced by another; compare it with \
             what you have, and start again without after"
        );
        return Err(Error::new(ErrorName::CursorLost, detail));
    }
    Ok(seq)
}

fn mark_of(tx: &Tables<'_>, seq: i64) -> Result<Option<String>, Error> {
    let hash: Option<Hash> = tx.one("SELECT hash FROM journal WHERE seq = $1", params![seq], |row| row.get(0))?;
    Ok(hash.map(|hash| hex(&hash[..MARK_BYTES])))
}

const MARK_BYTES: usize = 8;
