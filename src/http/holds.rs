//! Holds: money reserved for a receiver, captured, given back; their lists, and one of them.

use super::auth::Caller;
use super::conn::Response;
use super::fields::{CODE_PATTERN, Field, Fields, RECEIVER_PATTERN, USER_PATTERN, ValueKind};
use super::files::{self, ROWS_STEP, TableFormat};
use super::request::{AFTER, Context, HandlerResult, LIMIT, PageRequest, Submission, not_a_cursor};
use super::response::{self, AsText, EntryJson, Language, WithMsg, entry_json, stored_json};
#[cfg(test)]
use super::schemas::{MetadataObject, TimeText};
use super::wallets::{METADATA, REFERENCE, receiver};
use crate::clock::rfc3339;
use crate::command::MoneyCommand;
use crate::error::Error;
use crate::id::{CouponCode, EntryId, UserId, WalletId};
use crate::ledger;
use crate::ledger::entry::EntryKind;
use crate::ledger::hold::{
    self, CaptureHold, EXPIRES_IN_S, EXPIRES_IN_S_DEFAULT, Hold, HoldFilter, HoldState, HoldStep, PlaceHold, VoidHold,
};
use crate::ledger::verbs::Moved;
use crate::money::{Balance, Cents, Money};
use crate::store::Store;
use ValueKind::{Amount, Flag, Integer, Text};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io;

/// The fields of a hold.
pub(crate) const PLACE: &[Field] = &[
    Field::required("amount", Amount, "how much; with a coupon, the price before the discount"),
    Field::optional("to", Text, "the receiver, another user's wallet; @sales if left out").like(RECEIVER_PATTERN),
    Field::optional("expires_in_s", Integer, "seconds until it expires, 1 to 31536000; 604800 if left out")
        .within(*EXPIRES_IN_S.start(), *EXPIRES_IN_S.end())
        .or("604800"),
    Field::optional("coupon", Text, "the code of a coupon of the payer's").like(CODE_PATTERN),
    REFERENCE,
    METADATA,
];
/// The fields of a capture.
pub(crate) const CAPTURE: &[Field] = &[
    Field::optional("amount", Amount, "a part of it; all that is left if left out"),
    Field::optional("final", Flag, "false keeps the rest reserved; true if left out: the rest goes back").or("true"),
    REFERENCE,
    METADATA,
];
/// The fields of a void.
pub(crate) const VOID: &[Field] = &[REFERENCE, METADATA];

const STATE: Field = Field::optional("state", Text, "open, captured, voided or expired")
    .one_of(&["open", "captured", "voided", "expired"]);
/// The query of the holds of a wallet.
pub(crate) const LIST_OF_WALLET: &[Field] = &[LIMIT, AFTER, STATE];
/// The query of all holds.
pub(crate) const LIST: &[Field] =
    &[LIMIT, AFTER, STATE, Field::optional("user", Text, "on this user's wallet").like(USER_PATTERN)];

/// `POST /v1/wallets/{user}/holds`
pub(crate) fn place(context: &mut Context<'_>) -> Result<Submission, Error> {
    let command = place_command(&context.params[0], &mut context.fields)?;
    submission(context, command)
}

/// `POST /v1/holds/{id}/capture`
pub(crate) fn capture(context: &mut Context<'_>) -> Result<Submission, Error> {
    let command = capture_command(&context.params[0], &mut context.fields)?;
    submission(context, command)
}

/// `POST /v1/holds/{id}/void`
pub(crate) fn void(context: &mut Context<'_>) -> Result<Submission, Error> {
    let command = void_command(&context.params[0], &mut context.fields)?;
    submission(context, command)
}

fn submission(context: &Context<'_>, command: MoneyCommand) -> Result<Submission, Error> {
    let is_made = !context.dry_run;
    Ok(Submission::new(context.envelope()?, command, move |moved, caller, language| {
        let step = moved.hold.as_deref().map(|step| step_json(&moved, step, caller, language));
        let answer = step.expect("a step of a hold has its hold");
        let (code, id) = (answer.code, answer.rest.hold.id);
        let response = response::json(code, &answer);
        if code == 201 && is_made { response::with_location(response, "/v1/holds/", &id.to_string()) } else { response }
    }))
}

/// The command of a hold on the wallet named in the path or the item.
pub(crate) fn place_command(user: &str, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let user = UserId::parse(user)?;
    let gross = fields.required_amount()?;
    let to = fields.name("to")?.map_or(Ok(WalletId::SALES), |to| receiver(&user.wallet(), &to))?;
    let expires_in_s = fields.integer("expires_in_s", EXPIRES_IN_S)?.unwrap_or(EXPIRES_IN_S_DEFAULT);
    let coupon = fields.name("coupon")?.map(|code| CouponCode::parse(&code)).transpose()?;
    Ok(MoneyCommand::Hold(PlaceHold { user, to, gross, expires_in_s, coupon, note: fields.note()? }))
}

/// The command of a capture.
pub(crate) fn capture_command(id: &str, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let (hold, amount) = (hold_id(id)?, fields.amount("amount")?);
    let is_final = !fields.has("final") || fields.flag("final")?;
    Ok(MoneyCommand::Capture(CaptureHold { hold, amount, is_final, note: fields.note()? }))
}

/// The command that gives a hold's money back.
pub(crate) fn void_command(id: &str, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    Ok(MoneyCommand::Void(VoidHold { hold: hold_id(id)?, note: fields.note()? }))
}

fn hold_id(text: &str) -> Result<EntryId, Error> {
    EntryId::parse(text).map_err(|_| Error::invalid("a hold is named by its number"))
}

/// Money that is reserved for a receiver.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Hold"))]
pub(crate) struct HoldJson<'a> {
    /// The number of its first entry. Null in a dry run of its beginning.
    #[cfg_attr(test, schemars(with = "Option<i64>"))]
    id: i64,
    /// The user whose money it is.
    user_id: &'a str,
    /// The receiver.
    to: &'a str,
    /// The amount reserved, after any discount.
    amount: AsText<Money>,
    /// The part that the receiver got.
    captured: AsText<Cents>,
    /// The part that was given back.
    released: AsText<Cents>,
    /// The part that is neither captured nor given back.
    left: AsText<Cents>,
    /// Its state.
    #[cfg_attr(test, schemars(with = "HoldState"))]
    state: &'static str,
    /// The end of its time.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    expires_at: String,
    /// The code of the coupon that its price was made with.
    coupon: Option<&'a str>,
    /// The client's name for it.
    reference: Option<&'a str>,
    /// The client's strings.
    #[cfg_attr(test, schemars(with = "Option<MetadataObject>"))]
    metadata: Option<&'a RawValue>,
    /// The time of its first entry.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    created_at: String,
}

/// The names of a hold's members, in order.
const HOLD_MEMBERS: [&str; 13] = [
    "id",
    "user_id",
    "to",
    "amount",
    "captured",
    "released",
    "left",
    "state",
    "expires_at",
    "coupon",
    "reference",
    "metadata",
    "created_at",
];

fn hold_json(hold: &Hold, state: HoldState) -> HoldJson<'_> {
    HoldJson {
        id: hold.id.0,
        user_id: hold.wallet.as_str(),
        to: hold.to.as_str(),
        amount: AsText(hold.amount),
        captured: AsText(hold.captured),
        released: AsText(hold.released()),
        left: AsText(hold.left),
        state: state.as_str(),
        expires_at: rfc3339(hold.expires_at),
        coupon: hold.coupon.as_ref().map(|code| code.as_str()),
        reference: hold.note.reference.as_deref(),
        metadata: hold.note.metadata.as_deref().and_then(stored_json),
        created_at: rfc3339(hold.created_at),
    }
}

/// The answer to a hold, a capture or a void.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "HoldMoved"))]
pub(crate) struct HoldStepJson<'a> {
    /// The hold after it.
    hold: HoldJson<'a>,
    /// The balance, after it, of the wallet that holds.
    balance: AsText<Balance>,
    /// The entry that was made.
    entry: EntryJson<'a>,
    /// The entry that gave back what a final capture left, or null. Only of a capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<EntryJson>"))]
    released: Option<Option<EntryJson<'a>>>,
    /// True in the answer to a dry run, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    dry_run: Option<bool>,
}

/// The body of the answer to a step of a hold.
pub(crate) fn step_json<'a>(
    moved: &'a Moved,
    step: &'a HoldStep,
    caller: &Caller,
    language: Language,
) -> WithMsg<&'static str, HoldStepJson<'a>> {
    let kind = moved.entry.kind;
    let rest = HoldStepJson {
        hold: hold_json(&step.hold, step.hold.ended.unwrap_or(HoldState::Open)),
        balance: AsText(step.balance),
        entry: entry_json(&moved.entry, caller),
        released: (kind == EntryKind::Capture).then(|| step.released.as_ref().map(|entry| entry_json(entry, caller))),
        dry_run: None,
    };
    WithMsg { code: if kind == EntryKind::Hold { 201 } else { 200 }, msg: language.moved(kind), rest }
}

/// One hold.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "HoldDetails"))]
pub(crate) struct OneHoldJson<'a> {
    /// The hold.
    hold: HoldJson<'a>,
}

/// `GET /v1/holds/{id}`. For the role `user`, a hold on another wallet does not exist.
pub(crate) fn one(context: &mut Context<'_>) -> HandlerResult {
    let id = hold_id(&context.params[0])?;
    let store = &context.app.store;
    let (hold, now) = store.read(|tx| Ok((hold::hold(tx, id)?, store.now(tx)?)))?;
    if context.caller.check_wallet(&hold.wallet).is_err() {
        return Err(hold::not_found(id));
    }
    let rest = OneHoldJson { hold: hold_json(&hold, hold.state(&now)) };
    Ok(response::ok(context.language.found(), &rest))
}

/// `GET /v1/holds`
pub(crate) fn list(context: &mut Context<'_>) -> HandlerResult {
    let page = PageRequest::read(&mut context.query, "holds", &["state", "user"])?;
    let wallet = context.query.user("user")?.map(|user| user.wallet());
    page_of(context, &page, wallet)
}

/// `GET /v1/wallets/{user}/holds`
pub(crate) fn of_wallet(context: &mut Context<'_>) -> HandlerResult {
    let wallet = context.wallet()?;
    context.app.store.read(|tx| ledger::wallet(tx, &wallet))?;
    let page = PageRequest::read(&mut context.query, &format!("holds of {wallet}"), &["state"])?;
    page_of(context, &page, Some(wallet))
}

fn page_of(context: &mut Context<'_>, page: &PageRequest, wallet: Option<WalletId>) -> Result<Response, Error> {
    let state = context.query.text("state")?.map(|state| HoldState::parse(&state)).transpose()?;
    let mut after = page.after.as_deref().map(|after| after.parse().map_err(|_| not_a_cursor())).transpose()?;
    let filter = HoldFilter { wallet, state };
    let read = move |store: &Store, after: Option<i64>, limit: usize| {
        store.read(|tx| {
            let now = store.now(tx)?;
            Ok((hold::list(tx, &filter, &now, after, limit)?, now))
        })
    };
    let format = TableFormat::wanted(context);
    if let Some(format) = format.filter(|_| !page.is_limited) {
        return files::all_rows(context, format, &HOLD_MEMBERS, move |store, lines| {
            let (found, now) = read(store, after, ROWS_STEP).map_err(io::Error::other)?;
            found.rows.iter().try_for_each(|hold| lines.add(&hold_json(hold, hold.state(&now))))?;
            after = found.next;
            Ok(after.is_some())
        });
    }
    let (found, now) = read(&context.app.store, after, page.limit)?;
    let rows: Vec<_> = found.rows.iter().map(|hold| hold_json(hold, hold.state(&now))).collect();
    let next = found.next.map(|id| id.to_string());
    match format {
        Some(format) => files::page(context, page, format, &HOLD_MEMBERS, &rows, next.as_deref()),
        None => Ok(page.response(context.language, rows, next)),
    }
}
