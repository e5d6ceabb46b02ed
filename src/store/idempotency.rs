//! Idempotency records: the same caller, key and request get the same answer again, and have one effect.
//!
//! A record holds not the answer but enough to write it again: the entry's number for a money verb, a few bytes of JSON
//! for the rest. Answers that carry a secret are never recorded.

use crate::command::{Command, Receipt, RevokeToken, SetCouponKinds, SetTiers};
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, Fence, IdempotencyKey, LockId};
use crate::ledger::settings::WalletSettings;
use crate::ledger::verbs::Moved;
use crate::ledger::{SpendingLimits, Wallet, WalletStatus, coupon, entry, hold};
use crate::lock::Lock;
use crate::money::Money;
use crate::token;
use crate::tx::{Row, Tables, WriteTx, params};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A caller, and the idempotency key that this caller chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordKey {
    /// The caller: a user, an access token's id, or `@local`.
    pub caller: String,
    /// The key.
    pub key: IdempotencyKey,
}

/// The refusal of a key that comes back with another request.
pub(crate) fn reused() -> Error {
    let detail = "this Idempotency-Key was used for another request; choose a new one";
    Error::new(ErrorName::IdempotencyKeyReused, detail)
}

/// The recorded answer under that key; an error if the record is of another request.
pub(crate) fn look_up(
    tx: &Tables<'_>,
    key: &RecordKey,
    fingerprint: [u8; 16],
    command: &Command,
) -> Result<Option<Result<Receipt, Error>>, Error> {
    let sql = "SELECT request, entry, outcome FROM idempotency WHERE caller = $1 AND key = $2";
    let find = |text: &str| {
        tx.one(sql, params![key.caller, text], |row| {
            Ok((row.get::<[u8; 16]>(0)?, row.get::<Option<EntryId>>(1)?, row.get::<Option<String>>(2)?))
        })
    };
    // Under its quotes an earlier version may have stored it; not finding that record would do the request twice.
    let found =
        key.key.quoted().map_or(Ok(None), find)?.map_or_else(|| find(key.key.as_str()), |found| Ok(Some(found)))?;
    let Some((request, entry, outcome)) = found else { return Ok(None) };
    if request != fingerprint {
        return Ok(Some(Err(reused())));
    }
    let memo = match (entry, outcome) {
        (_, Some(outcome)) => serde_json::from_str(&outcome).map_err(Error::internal)?,
        (Some(entry), None) => json!(entry.0),
        (None, None) => Value::Null,
    };
    match refusal(&memo) {
        Some(error) => Ok(Some(Err(error))),
        None => receipt(tx, command, &memo).map(|receipt| Some(Ok(receipt))),
    }
}

/// Records an answer: a receipt, or a refusal by a rule. No other error may be given.
pub(crate) fn record(
    tx: &WriteTx<'_>,
    key: &RecordKey,
    fingerprint: [u8; 16],
    answer: Result<&Receipt, &Error>,
) -> Result<(), Error> {
    let memo = match answer {
        Ok(receipt) => memo(receipt),
        Err(error) => json!({ "error": error.name.as_str(), "detail": error.detail, "facts": facts(error) }),
    };
    let entry = entry_of(&memo);
    let outcome = (!memo.is_number()).then(|| memo.to_string());
    // A clock that is behind makes nothing old.
    let at = tx.steady_wall_ms().max(newest_note_ms(tx)?);
    tx.execute_one(
        "INSERT INTO idempotency (caller, key, request, at, entry, outcome) VALUES ($1, $2, $3, $4, $5, $6)",
        params![key.caller, key.key, fingerprint, at, entry, outcome],
    )
}

/// The wall time of the newest note of the time (`retention`); 0 if there is none. Notes are made at the end of a batch.
fn newest_note_ms(tx: &WriteTx<'_>) -> Result<i64, Error> {
    let kept = tx.unit().newest_note_ms;
    if let Some(noted_ms) = kept {
        return Ok(noted_ms);
    }
    let newest = "SELECT wall_ms FROM wall_note ORDER BY lease_ms DESC LIMIT 1";
    let noted_ms = tx.one(newest, &[], |row| row.get(0))?.unwrap_or(0);
    tx.change_unit(|unit| unit.newest_note_ms = Some(noted_ms));
    Ok(noted_ms)
}

/// A position between two records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SweepPosition {
    caller: String,
    key: String,
}

/// Removes records older than `before`, looking at no more than `steps` records behind `from`. Returns the position to go
/// on from, None at the end.
pub(crate) fn sweep(
    tx: &WriteTx<'_>,
    from: &SweepPosition,
    before: i64,
    steps: usize,
) -> Result<Option<SweepPosition>, Error> {
    let last = "SELECT caller, key FROM (SELECT caller, key FROM idempotency WHERE (caller, key) > ($1, $2) \
                ORDER BY caller, key LIMIT $3) AS next ORDER BY caller DESC, key DESC LIMIT 1";
    let place = |row: &Row<'_>| Ok(SweepPosition { caller: row.get(0)?, key: row.get(1)? });
    let last = tx.one(last, params![from.caller, from.key, steps], place)?;
    if let Some(last) = &last {
        tx.execute(
            "DELETE FROM idempotency WHERE (caller, key) > ($1, $2) AND (caller, key) <= ($3, $4) AND at < $5",
            params![from.caller, from.key, last.caller, last.key, before],
        )?;
    }
    Ok(last)
}

/// The field of the sentence about an earned coupon: files have had it since version 1.
const MESSAGE: &str = "told";
/// The field of a recharge that created the wallet.
const CREATED: &str = "created";
/// The field of the entry that gave back what a final capture left.
const RELEASED: &str = "released";

fn memo(receipt: &Receipt) -> Value {
    match receipt {
        Receipt::Moved(moved) => memo_of_moved(moved),
        Receipt::Batch(all) => all.iter().map(memo_of_moved).collect(),
        Receipt::Coupon(coupon) => json!({ "coupon": coupon.code.as_str() }),
        Receipt::Settings(settings) => json!({ "settings": settings_row(settings) }),
        Receipt::Revoked(lock) => json!({ "revoked": revoked_row(lock) }),
        _ => json!("done"),
    }
}

/// An entry's number is enough for all but the sentence about an earned coupon, which an admin may have changed since, and
/// for the creation of the wallet and a capture that made two entries.
fn memo_of_moved(moved: &Moved) -> Value {
    let mut memo = Map::new();
    memo.extend(moved.message.as_ref().map(|message| (MESSAGE.to_owned(), json!(message))));
    memo.extend(moved.created.then(|| (CREATED.to_owned(), json!(true))));
    let released = moved.hold.as_ref().and_then(|step| step.released.as_ref());
    memo.extend(released.map(|released| (RELEASED.to_owned(), json!(released.id.0))));
    let entry = json!(moved.entry.id.0);
    if memo.is_empty() {
        return entry;
    }
    memo.insert("entry".to_owned(), entry);
    Value::Object(memo)
}

/// The parts of a stored answer beyond the number of its entry.
#[derive(Clone, Copy, Default)]
pub(super) struct Additions {
    /// The sentence about an earned coupon is there.
    pub message: bool,
    /// The recharge created the wallet.
    pub created: bool,
}

/// The additions of an outcome; none of one that [`record`] never writes.
pub(super) fn additions(outcome: Option<&[u8]>) -> Additions {
    let memo = outcome.and_then(|outcome| serde_json::from_slice::<Value>(outcome).ok()).unwrap_or_default();
    Additions { message: memo.get(MESSAGE).is_some(), created: memo.get(CREATED).is_some() }
}

fn entry_of(memo: &Value) -> Option<i64> {
    memo.as_i64().or_else(|| memo.get("entry")?.as_i64())
}

/// Rows that a record refers to.
#[derive(Default)]
pub(super) struct References {
    pub entries: Vec<i64>,
    /// Captures, each with the entry that gave back what it left.
    pub released: Vec<(i64, i64)>,
    pub coupons: Vec<String>,
}

/// The rows that a record with that entry and outcome refers to; None if [`record`] never writes such a record.
pub(super) fn references(entry: Option<i64>, outcome: Option<&[u8]>) -> Option<References> {
    let Some(outcome) = outcome else {
        return entry.map(|entry| References { entries: vec![entry], ..References::default() });
    };
    let memo: Value = serde_json::from_slice(outcome).ok()?;
    let mut references = References::default();
    let is_known = !memo.is_number() && (is_refusal(&memo) || is_memo(&memo, &mut references));
    (is_known && entry_of(&memo) == entry).then_some(references)
}

/// True if [`memo`] makes such a value of a receipt; the rows it refers to are added.
fn is_memo(memo: &Value, references: &mut References) -> bool {
    match memo {
        Value::Number(entry) => entry.as_i64().map(|entry| references.entries.push(entry)).is_some(),
        Value::String(word) => word == "done",
        Value::Array(memos) => memos.iter().all(|memo| is_memo(memo, references)),
        Value::Object(fields) if fields.contains_key("entry") => {
            let mut is_known = |(name, value): (&String, &Value)| match name.as_str() {
                "entry" => value.is_number(),
                MESSAGE => message(value).is_ok(),
                RELEASED => value.is_number() && is_memo(value, references),
                CREATED => *value == json!(true),
                _ => false,
            };
            let is_known = fields.len() > 1 && fields.iter().all(&mut is_known) && is_memo(&memo["entry"], references);
            references.released.extend(entry_of(memo).zip(memo.get(RELEASED).and_then(Value::as_i64)));
            is_known
        }
        Value::Object(fields) if fields.len() == 1 => match &memo["coupon"] {
            Value::String(code) => {
                references.coupons.push(code.clone());
                true
            }
            _ if fields.contains_key("settings") => settings(&memo["settings"]).is_some(),
            _ => LockId::parse("any").is_ok_and(|any| revoked(&any, &memo["revoked"]).is_some()),
        },
        Value::Object(_) => false,
        Value::Null | Value::Bool(_) => false,
    }
}

fn is_refusal(memo: &Value) -> bool {
    memo.as_object().is_some_and(|fields| fields.len() == 3)
        && refusal(memo).is_some_and(|error| error.name.is_refusal())
}

fn receipt(tx: &Tables<'_>, command: &Command, memo: &Value) -> Result<Receipt, Error> {
    let unknown = || unreadable(memo);
    Ok(match command {
        Command::Money(_) => Receipt::Moved(Box::new(moved(tx, memo)?)),
        Command::Batch(_) => {
            let memos = memo.as_array().ok_or_else(unknown)?;
            Receipt::Batch(memos.iter().map(|memo| moved(tx, memo)).collect::<Result<_, _>>()?)
        }
        Command::CreateWallet(created) => Receipt::Wallet(Wallet::empty(created.user.wallet())),
        Command::SetWallet(_) => Receipt::Settings(Box::new(settings(&memo["settings"]).ok_or_else(unknown)?)),
        Command::GrantCoupon(_) | Command::ClaimCoupon(_) => {
            Receipt::Coupon(granted(tx, memo["coupon"].as_str().ok_or_else(unknown)?)?)
        }
        Command::SetTiers(SetTiers(tiers)) => Receipt::Tiers(tiers.clone()),
        Command::SetCouponKinds(SetCouponKinds(kinds)) => Receipt::CouponKinds(kinds.clone()),
        Command::NameBatch(_) | Command::TryEach(_) => Receipt::Named,
        Command::Revoke(revoke) => {
            Receipt::Revoked(Box::new(revoked(&revoke.id, &memo["revoked"]).ok_or_else(unknown)?))
        }
        Command::RevokeToken(RevokeToken(id)) => Receipt::Token(token::get(tx, id)?),
        // Their answers are never recorded.
        Command::MintToken(_)
        | Command::AdoptToken(_)
        | Command::Acquire(_)
        | Command::Renew(_)
        | Command::Release(_)
        | Command::RotateToken(_)
        | Command::ReleaseUndelivered(_) => return Err(unknown()),
    })
}

fn moved(tx: &Tables<'_>, memo: &Value) -> Result<Moved, Error> {
    let entry = entry::entry(tx, EntryId(entry_of(memo).ok_or_else(|| unreadable(memo))?))?;
    let earned = entry.coupon.as_ref().filter(|_| entry.kind == entry::EntryKind::Recharge);
    let coupon = earned.map(|code| granted(tx, code.as_str())).transpose()?;
    let message = memo.get(MESSAGE).map(message).transpose()?;
    let released = memo.get(RELEASED).and_then(Value::as_i64);
    let released = released.map(|id| entry::entry(tx, EntryId(id))).transpose()?;
    let is_of_hold = entry.kind.is_of_hold();
    let hold = is_of_hold.then(|| hold::step_of(tx, &entry, released).map(Box::new)).transpose()?;
    Ok(Moved { coupon, message, created: memo.get(CREATED).is_some(), hold, ..entry.into() })
}

/// The settings of a wallet as they were set.
fn settings_row(settings: &WalletSettings) -> Value {
    let WalletSettings { name, status, metadata, limits } = settings;
    let [per_payment, per_day] = [limits.per_payment, limits.per_day].map(|limit| limit.map(Money::cents));
    json!([name, status.as_str(), metadata, per_payment, per_day])
}

fn settings(row: &Value) -> Option<WalletSettings> {
    let (name, status, metadata, per_payment, per_day): (_, String, _, Option<i64>, Option<i64>) =
        serde_json::from_value(row.clone()).ok()?;
    let limits = SpendingLimits {
        per_payment: per_payment.and_then(Money::from_cents),
        per_day: per_day.and_then(Money::from_cents),
    };
    Some(WalletSettings { name, status: WalletStatus::from_text(&status)?, metadata, limits })
}

fn unreadable(memo: &Value) -> Error {
    Error::internal(format!("an idempotency record cannot be read: {memo}"))
}

/// The row of a revoked lock as it was left, without its id. It has no secret.
fn revoked_row(lock: &Lock) -> Value {
    json!([
        lock.fence.0,
        lock.holder,
        lock.create_time,
        lock.renew_time,
        lock.grace_ms,
        lock.max_hold_ms,
        lock.ids,
        lock.renewals,
        lock.created_at,
    ])
}

fn revoked(id: &LockId, row: &Value) -> Option<Lock> {
    let number = |place: usize| row[place].as_i64();
    Some(Lock {
        id: id.clone(),
        fence: Fence(number(0)?),
        secret_hash: None,
        holder: row[1].as_str()?.to_owned(),
        create_time: number(2)?,
        renew_time: number(3)?,
        expire_ms: 0,
        grace_ms: number(4)?,
        max_hold_ms: number(5),
        ids: number(6)?,
        renewals: number(7)?,
        created_at: number(8)?,
        min_hold_ms: None,
    })
}

fn message(memo: &Value) -> Result<(String, String), Error> {
    serde_json::from_value(memo.clone()).map_err(Error::internal)
}

fn granted(tx: &Tables<'_>, code: &str) -> Result<coupon::Coupon, Error> {
    Ok(coupon::coupon(tx, &CouponCode::parse(code)?)?.when_granted())
}

fn facts(error: &Error) -> Map<String, Value> {
    error.facts.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

fn refusal(memo: &Value) -> Option<Error> {
    let name = ErrorName::from_text(memo.get("error")?.as_str()?)?;
    let mut error = Error::new(name, memo["detail"].as_str()?);
    let facts = memo["facts"].as_object()?;
    error.facts = facts.iter().map(|(name, value)| (Cow::Owned(name.clone()), value.clone())).collect();
    Some(error)
}
