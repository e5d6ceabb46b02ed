//! Rows checked one by one: entries, coupons and coupon kinds, locks, idempotency records.

use super::findings::{Findings, text};
use crate::clock::LAST_MS;
use crate::command::Command;
use crate::error::Error;
use crate::id::{CouponCode, Fence, LockId, UserId, WalletId};
use crate::ledger::Note;
use crate::ledger::entry::{Entry, EntryKind};
use crate::ledger::hold::{CaptureHold, PlaceHold, VoidHold};
use crate::ledger::settings;
use crate::ledger::verbs::{Pay, Recharge, Refund, Transfer, Withdraw};
use crate::lock::DURATION_MS;
use crate::money::Balance;
use crate::store::idempotency::{self, Additions};
use crate::tx::{ReadTx, params};
use rusqlite::{Connection, Row, Rows};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// From 1970 to the end of the year 9999, in milliseconds.
const TIMES_MS: RangeInclusive<i64> = 0..=LAST_MS;

/// Checks one entry by every rule that needs no other row. No fence may be above `last_fence`.
pub(crate) fn check_entry(entry: &Entry, last_fence: Fence, findings: &mut Findings) {
    let sides = [(&entry.from, entry.from_balance), (&entry.to, entry.to_balance)];
    let (pays, recharges, refunds) =
        (entry.kind == EntryKind::Pay, entry.kind == EntryKind::Recharge, entry.kind == EntryKind::Refund);
    let (holds, captures) = (entry.kind == EntryKind::Hold, entry.kind == EntryKind::Capture);
    // A hold and its captures are priced if it has a coupon.
    let is_priced = pays || (holds || captures) && entry.coupon.is_some();
    let (hold_to, hold_until) = (entry.hold_to.as_ref(), entry.hold_until);
    let discount = entry.discount.map_or(0, |discount| discount.0);
    let broken = [
        (!goes_way_of_kind(entry), "money goes the way of its kind", "goes another way than its kind"),
        (sides.iter().any(|(wallet, _)| !wallet.is_real()), "a wallet has a name", "names a wallet that cannot be"),
        (
            sides.iter().any(|(wallet, balance)| *balance < Balance::ZERO && !wallet.is_system()),
            "only system wallets go below zero",
            "leaves a user's wallet below zero",
        ),
        (
            refunds != entry.refunds.is_some()
                || is_priced != entry.gross.is_some()
                || is_priced != entry.discount.is_some(),
            "only refunds refund, and only payments are priced",
            "has the fields of another kind",
        ),
        (
            entry.coupon.is_some() && !is_priced && !recharges,
            "a coupon is used by a payment or earned by a recharge",
            "has a coupon and is neither",
        ),
        (
            entry.kind.is_of_hold() != entry.hold.is_some()
                || holds != (entry.hold == Some(entry.id))
                || holds != hold_to.is_some()
                || !holds && !captures && hold_until.is_some()
                || holds && hold_until.is_none_or(|until| until <= entry.at)
                || captures && hold_until.is_some_and(|until| until != entry.at),
            "a step of a hold names it, and a hold its receiver and its end",
            "has the fields of another step of a hold",
        ),
        (
            hold_to.is_some_and(|to| *to == entry.from || *to != WalletId::SALES && to.is_system()),
            "a hold is for @sales or for another user's wallet",
            "has another receiver",
        ),
        (
            entry.gross.is_some_and(|gross| Some(gross.cents()) != entry.amount.cents().checked_add(discount)),
            "a price is what is paid and the discount",
            "has a price that is not its amount and its discount",
        ),
        (
            discount < 0 || discount > 0 && entry.coupon.is_none(),
            "a payment without a coupon has no discount",
            "has a discount that no coupon gives",
        ),
        (
            entry.refunds.is_some_and(|original| original >= entry.id),
            "a refund comes after its original",
            "refunds an entry that is not before it",
        ),
        (
            entry.fence.is_some_and(|fence| fence > last_fence),
            "no fence is beyond the counter",
            "has a fence beyond the counter",
        ),
        (
            entry.fence.is_some_and(|fence| fence.0 < 1),
            "fences are numbered from 1",
            "has a fence that is never granted",
        ),
        (!TIMES_MS.contains(&entry.at), "an entry has a possible time", "has a time outside of 1970 to 9999"),
        (!is_caller(&entry.by), "an entry has a caller", "has no possible caller"),
        (
            !has_permitted_note(entry),
            "a note has a permitted size",
            "has a reference or metadata that are not permitted",
        ),
    ];
    for (_, check, what) in broken.into_iter().filter(|(is_broken, ..)| *is_broken) {
        let (id, kind, from, to) = (entry.id.0, entry.kind.as_str(), &entry.from, &entry.to);
        findings.add(check, format!("entry {id}, {kind} from {from} to {to}, {what}"));
    }
}

/// True if money of this kind goes between such wallets. For a refund a question compares it with its original.
fn goes_way_of_kind(entry: &Entry) -> bool {
    let (from, to) = (&entry.from, &entry.to);
    let by_a_user = !from.is_system() && (!to.is_system() || *to == WalletId::SALES);
    let to_receiver = !to.is_system() || *to == WalletId::SALES;
    from != to
        && match entry.kind {
            EntryKind::Recharge => *from == WalletId::BANK && !to.is_system(),
            EntryKind::Withdraw => !from.is_system() && *to == WalletId::BANK,
            EntryKind::Pay => by_a_user,
            EntryKind::Transfer => by_a_user || *from == WalletId::SALES && *to == WalletId::BANK,
            EntryKind::Refund => true,
            EntryKind::Hold => !from.is_system() && *to == WalletId::HOLDS,
            EntryKind::Capture => *from == WalletId::HOLDS && to_receiver,
            EntryKind::Release => *from == WalletId::HOLDS && !to.is_system(),
        }
}

fn is_caller(by: &str) -> bool {
    !by.is_empty() && !by.chars().any(char::is_control)
}

/// An empty reference is not accepted any more, but older files have some.
fn has_permitted_note(entry: &Entry) -> bool {
    let is_short = |text: &String| text.chars().count() <= Note::REFERENCE_CHARS_MAX;
    entry.reference.as_ref().is_none_or(is_short) && entry.metadata.as_deref().is_none_or(is_metadata)
}

/// True for a flat JSON object of strings, of a permitted size.
fn is_metadata(text: &str) -> bool {
    let Ok(pairs) = serde_json::from_str::<Map<String, Value>>(text) else { return false };
    let fits = |(name, value): (&String, &Value)| {
        let is_short = |text: &str| text.chars().count() <= Note::METADATA_VALUE_MAX;
        name.chars().count() <= Note::METADATA_NAME_MAX && value.as_str().is_some_and(is_short)
    };
    pairs.len() <= Note::METADATA_PAIRS_MAX && pairs.iter().all(fits)
}

const TERMS: &str = "a coupon has the terms of a coupon";

/// Checks every coupon and every coupon kind.
pub(crate) fn check_coupons(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    check_given_coupons(conn, findings)?;
    let sql = "SELECT kind, NULL, amount_off, percent_off, threshold, single_use, 0 FROM coupon_kind";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(what) = wrong_terms(row)? {
            findings.add(TERMS, format!("coupon kind {} {what}", text(row, 0)?));
        }
    }
    Ok(())
}

fn check_given_coupons(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let sql = "SELECT code, user, amount_off, percent_off, threshold, single_use, uses FROM coupon";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (code, user) = (text(row, 0)?, text(row, 1)?);
        if !CouponCode::can_be_drawn(&code) {
            findings.add("a coupon has a code", format!("{code} is not a valid code of a coupon"));
        }
        if UserId::parse(&user).is_err() {
            findings.add("a coupon is a user's", format!("coupon {code} is of {user}, which is not a valid user"));
        }
        if let Some(what) = wrong_terms(row)? {
            findings.add(TERMS, format!("coupon {code} {what}"));
        }
    }
    Ok(())
}

fn wrong_terms(row: &Row<'_>) -> Result<Option<&'static str>, Error> {
    let (amount, percent): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
    let (threshold, single_use, uses): (i64, i64, i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let wrong = [
        (amount.is_some() == percent.is_some(), "takes off neither an amount nor a percentage, or both"),
        (amount.is_some_and(|amount| amount <= 0), "takes off an amount that is not positive"),
        (percent.is_some_and(|percent| !(1..=100).contains(&percent)), "takes off a percentage that is not 1 to 100"),
        (threshold < 0, "is for prices below zero"),
        (!(0..=1).contains(&single_use), "is neither for one use nor for many"),
        (uses < 0 || single_use == 1 && uses > 1, "was used more often than it can be"),
    ];
    Ok(wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what))
}

/// Checks the metadata of each wallet, and what each wallet with a limit per day has spent on its day.
pub(crate) fn check_settings(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let tx = ReadTx::new(conn);
    let metadata = "SELECT wallet, metadata FROM wallet_setting WHERE metadata IS NOT NULL";
    let mut statement = conn.prepare(metadata)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !is_metadata(&text(row, 1)?) {
            findings.add(
                "a note has a permitted size",
                format!("wallet {} has metadata that are not permitted", text(row, 0)?),
            );
        }
    }
    let mut statement = conn.prepare("SELECT wallet, day, spent FROM day_spending")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (wallet, day, spent) = (WalletId::stored(text(row, 0)?), row.get(1)?, row.get::<_, i64>(2)?);
        let (by_entries, last) = (settings::spent_on(&tx, &wallet, day)?, settings::last_spending_day(&tx, &wallet)?);
        if spent != by_entries || last > day {
            let behind = if last > day { ", and it has spent something later" } else { "" };
            let sentence =
                format!("wallet {wallet} has spent {spent} cents on day {day}; the entries say {by_entries}{behind}");
            findings.add("a wallet with a limit per day counts what it spends", sentence);
        }
    }
    Ok(())
}

/// Length of the hash of a secret, in bytes.
const HASH_LEN: usize = 32;
/// Length of its part that the event of a grant holds, in bytes.
const SHORT_HASH_LEN: usize = 16;

/// Checks every lock: a lease that was granted and can be, or one that was revoked or released.
pub(crate) fn check_locks(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let mut statement = conn.prepare("SELECT id, fence, secret_hash, expire_ms, grace_ms, max_hold_ms FROM lock")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, fence): (String, i64) = (text(row, 0)?, row.get(1)?);
        let secret_hash: Option<Vec<u8>> = row.get(2)?;
        let (expire_ms, grace_ms, max_hold_ms): (i64, i64, Option<i64>) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let lasts = 0..=*DURATION_MS.end();
        if LockId::stored(&id).is_none() {
            findings.add("a lock has a name", format!("{id:?} is not a valid name of a lock"));
        }
        if !lasts.contains(&expire_ms) || !lasts.contains(&grace_ms) {
            let sentence = format!("lock {id} is held for {expire_ms} ms and {grace_ms} ms of grace");
            findings.add("a lease has a possible length", sentence);
        }
        if max_hold_ms.is_some_and(|most| most < 1) {
            findings.add("a lease has a possible length", format!("lock {id} has a max_hold_ms below 1"));
        }
        let secret =
            secret_hash.as_ref().map(|hash| if hash.len() == HASH_LEN { &hash[..SHORT_HASH_LEN] } else { &[] });
        if !is_recorded(conn, &id, fence, secret)? {
            let sentence = format!("no event records the grant of lock {id} under fence {fence} to its holder");
            findings.add("a lease was granted", sentence);
        }
        if secret.is_none() && expire_ms != 0 {
            findings.add("a revoked lease has ended", format!("lock {id} is revoked and held for {expire_ms} ms"));
        }
    }
    Ok(())
}

/// The last event of a lock that is there is always kept: the grant with the hash of its secret, or the revocation.
fn is_recorded(conn: &Connection, id: &str, fence: i64, secret: Option<&[u8]>) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM lock_event WHERE lock_id = $1 AND fence = $2 AND CASE WHEN $3 IS NULL \
               THEN what = 'released' OR what = 'revoked' AND secret_hash IS NULL \
               ELSE what IN ('created', 'taken_over') AND secret_hash IS $3 END";
    Ok(ReadTx::new(conn).one(sql, params![id, fence, secret], |_| Ok(()))?.is_some())
}

const NAMES_ENTRY: &str = "an idempotency record names the entry that its request made";
const HOLDS_ANSWER: &str = "an idempotency record holds an answer";
/// Length of the hash of a request, in bytes.
const REQUEST_HASH_LEN: usize = 16;

/// The idempotency records that name an entry, in the order of the entries, for the walk along these.
pub(crate) struct NamingRecords<'s> {
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
    additions: Additions,
}

impl<'s> NamingRecords<'s> {
    pub(crate) const IN_ORDER: &'static str =
        "SELECT entry, caller, key, request, outcome FROM idempotency WHERE entry IS NOT NULL ORDER BY entry";

    /// From the rows of [`NamingRecords::IN_ORDER`].
    pub(crate) fn new(rows: Rows<'s>) -> NamingRecords<'s> {
        NamingRecords { rows, next: None, named: 0 }
    }

    /// Compares the entry with the records that name it, and reports those of entries that should have come before.
    pub(crate) fn check(&mut self, entry: &Entry, findings: &mut Findings) -> Result<(), Error> {
        while let Some(record) = self.take_up_to(entry.id.0)? {
            let Additions { message, created } = record.additions;
            let earned = entry.kind == EntryKind::Recharge && entry.coupon.is_some();
            let what = if record.entry != entry.id.0 {
                "is not there to be read"
            } else if record.caller != entry.by {
                "another caller made"
            } else if !is_request_of(entry, &record.request) {
                "another request made"
            } else if record.entry == self.named {
                "has another record already"
            } else if message && !earned {
                "earned no coupon, and the record says it did"
            } else if created && !is_first_of_wallet(entry) {
                "created no wallet, and the record says it did"
            } else {
                self.named = record.entry;
                continue;
            };
            findings.add(NAMES_ENTRY, record.sentence(what));
        }
        Ok(())
    }

    /// Reports the records of entries that are not there.
    pub(crate) fn finish(mut self, findings: &mut Findings) -> Result<(), Error> {
        while let Some(record) = self.take_up_to(i64::MAX)? {
            findings.add(NAMES_ENTRY, record.sentence("is not there to be read"));
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
            additions: idempotency::additions(row.get_ref(4)?.as_bytes_or_null().map_err(Error::damaged)?),
        })
    }

    fn sentence(&self, what: &str) -> String {
        format!("record {} of {} names entry {}, which {what}", self.key, self.caller, self.entry)
    }
}

/// True if the entry can be the one that its receiver's wallet was created for.
fn is_first_of_wallet(entry: &Entry) -> bool {
    entry.kind == EntryKind::Recharge && entry.to_balance.cents() == entry.amount.cents()
}

/// True if a request with that hash makes such an entry. A refund of all that is left names no amount.
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
        EntryKind::Hold => {
            user(&entry.from).zip(entry.hold_to.clone().zip(entry.hold_until)).is_some_and(|(user, (to, until))| {
                let (gross, coupon) = (entry.gross.unwrap_or(amount), entry.coupon.clone());
                let expires_in_s = (until - entry.at) / 1_000;
                is(PlaceHold { user, to, gross, expires_in_s, coupon, note }.into())
            })
        }
        EntryKind::Capture => entry.hold.is_some_and(|hold| {
            let ways = [(None, true), (Some(amount), true), (None, false), (Some(amount), false)];
            ways.into_iter()
                .any(|(amount, is_final)| is(CaptureHold { hold, amount, is_final, note: note_of(entry) }.into()))
        }),
        EntryKind::Release => entry.hold.is_some_and(|hold| is(VoidHold { hold, note }.into())),
    }
}

fn note_of(entry: &Entry) -> Note {
    Note { reference: entry.reference.clone(), metadata: entry.metadata.clone() }
}

/// Checks that the outcomes of records can be read, and that the rows they refer to are there. Entries are numbered up to
/// `last_entry`.
pub(crate) fn check_records(conn: &Connection, last_entry: i64, findings: &mut Findings) -> Result<(), Error> {
    let sql = "SELECT caller, key, request, entry, outcome FROM idempotency WHERE outcome IS NOT NULL OR entry IS NULL";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let outcome = row.get_ref(4)?.as_bytes_or_null().map_err(Error::damaged)?;
        let what = match idempotency::references(row.get(3)?, outcome) {
            _ if row.get::<_, [u8; REQUEST_HASH_LEN]>(2).is_err() => "has no hash of a request",
            None => "cannot be read",
            Some(references) if !references.entries.iter().all(|entry| (1..=last_entry).contains(entry)) => {
                "refers to an entry that is not there"
            }
            Some(references) if !are_there(conn, &references.coupons)? => "refers to a coupon that is not there",
            Some(references) if !are_released(conn, &references.released)? => {
                "says that an entry gave back the rest of a hold, and it did not"
            }
            Some(_) => continue,
        };
        findings.add(HOLDS_ANSWER, format!("record {} of {} {what}", text(row, 1)?, text(row, 0)?));
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

/// True if each capture was followed at once by that entry, which gave back the rest of its hold.
fn are_released(conn: &Connection, released: &[(i64, i64)]) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM entry c JOIN entry r ON r.id = c.id + 1 AND r.hold = c.hold \
               WHERE c.id = $1 AND r.id = $2 AND c.kind = 'capture' AND r.kind = 'release'";
    for (capture, release) in released {
        if ReadTx::new(conn).one(sql, params![*capture, *release], |_| Ok(()))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
