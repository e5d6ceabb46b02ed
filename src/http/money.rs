//! The money verbs: what a client sends becomes a command, and its receipt an answer. One way for the single
//! requests, for `/wallet` and for the items of a batch.

use super::fields::{Field, Fields, Kind as Is, may, need};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::show::{CouponShown, EntryShown, Text};
use super::words::{self, Language};
use super::{App, auth, show};
use crate::command::MoneyCommand;
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, UserId, WalletId};
use crate::ledger::entry::{self, EntryKind};
use crate::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use crate::money::{Balance, Cents, Money};
use crate::token::Role;
use auth::Caller;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

const AMOUNT: Field = need("amount", Is::Amount, "how much");
const REFERENCE: Field = may("reference", Is::Text, "your own name for it, at most 255 characters");
const METADATA: Field = may("metadata", Is::Object, "at most 20 strings to keep with it");

/// What `recharge` and `withdraw` take.
pub const RECHARGE: &[Field] = &[AMOUNT, REFERENCE, METADATA];
/// What `pay` takes.
pub const PAY: &[Field] = &[
    AMOUNT,
    may("coupon", Is::Text, "the code of a coupon of the payer's"),
    may("to", Is::Text, "another user's wallet; @sales if left out"),
    REFERENCE,
    METADATA,
];
/// What `transfer` takes.
pub const TRANSFER: &[Field] =
    &[need("to", Is::Text, "the receiver, who must have a wallet"), AMOUNT, REFERENCE, METADATA];
/// What `refund` takes.
pub const REFUND: &[Field] = &[may("amount", Is::Amount, "a part; all that is left if left out"), REFERENCE, METADATA];

/// A money verb's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `recharge`
    Recharge,
    /// `withdraw`
    Withdraw,
    /// `pay`
    Pay,
    /// `transfer`
    Transfer,
}

/// `POST /v1/wallets/{user}/recharge`
pub fn recharge(context: &mut Context<'_>) -> HandlerResult {
    verb(context, Verb::Recharge)
}

/// `POST /v1/wallets/{user}/withdraw`
pub fn withdraw(context: &mut Context<'_>) -> HandlerResult {
    verb(context, Verb::Withdraw)
}

/// `POST /v1/wallets/{user}/pay`
pub fn pay(context: &mut Context<'_>) -> HandlerResult {
    verb(context, Verb::Pay)
}

/// `POST /v1/wallets/{user}/transfer`
pub fn transfer(context: &mut Context<'_>) -> HandlerResult {
    verb(context, Verb::Transfer)
}

fn verb(context: &mut Context<'_>, verb: Verb) -> HandlerResult {
    let payer = context.params[0].clone();
    let command = command(context.app, &context.caller, verb, &payer, &mut context.fields)?;
    submit(context, command)
}

/// `POST /v1/entries/{id}/refund`
pub fn refund(context: &mut Context<'_>) -> HandlerResult {
    let command = refund_command(context.app, &context.caller, &context.params[0], &mut context.fields)?;
    submit(context, command)
}

/// Has a money command carried out and answers with what moved.
pub fn submit(context: &Context<'_>, command: MoneyCommand) -> HandlerResult {
    let submitted = context.submit(command)?;
    let body = body(&submitted.receipt, &context.caller, context.language);
    Ok(submitted.marked(Reply::json(200, &body)))
}

/// The command behind a verb, the wallet it is about and the fields that came with it.
pub fn command(
    app: &App,
    caller: &Caller,
    verb: Verb,
    wallet: &str,
    fields: &mut Fields,
) -> Result<MoneyCommand, Error> {
    if verb == Verb::Transfer && wallet.starts_with('@') {
        return cash_up(caller, wallet, fields);
    }
    let user = UserId::parse(wallet)?;
    caller.may_touch(&user)?;
    let amount = fields.the_amount()?;
    match verb {
        Verb::Recharge => {
            if caller.role == Role::User && !app.settings().self_recharge {
                return Err(auth::forbidden("users cannot recharge their own wallets here; ask a teller"));
            }
            Ok(MoneyCommand::Recharge(Recharge { user, amount, note: fields.note()? }))
        }
        Verb::Withdraw => Ok(MoneyCommand::Withdraw(Withdraw { user, amount, note: fields.note()? })),
        Verb::Pay => {
            let to = fields.name("to")?.map_or(Ok(WalletId::SALES), |to| receiver(&user.wallet(), &to))?;
            let coupon = fields.name("coupon")?.map(|code| CouponCode::parse(&code)).transpose()?;
            Ok(MoneyCommand::Pay(Pay { user, to, gross: amount, coupon, note: fields.note()? }))
        }
        Verb::Transfer => {
            let to = receiver(&user.wallet(), &the_receiver(fields)?)?;
            Ok(MoneyCommand::Transfer(Transfer { from: user.wallet(), to, amount, note: fields.note()? }))
        }
    }
}

/// The command behind a refund. What only an admin may do, only an admin may undo.
pub fn refund_command(app: &App, caller: &Caller, entry: &str, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let entry = EntryId::parse(entry)?;
    if caller.role != Role::Admin
        && let Ok(original) = app.store().read(|tx| entry::entry(tx, entry))
        && original.from == WalletId::SALES
        && original.to == WalletId::BANK
    {
        return Err(auth::forbidden("only an admin takes money out of @sales, or puts it back"));
    }
    Ok(MoneyCommand::Refund(Refund { entry, amount: fields.amount("amount")?, note: fields.note()? }))
}

/// An admin takes what was paid out of the till: the one movement between system wallets that a client may ask for.
fn cash_up(caller: &Caller, wallet: &str, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let (from, to) = (WalletId::parse(wallet)?, WalletId::parse(&the_receiver(fields)?)?);
    if (&from, &to) != (&WalletId::SALES, &WalletId::BANK) {
        return Err(Error::new(
            ErrorName::InvalidUser,
            "of the system's wallets, only @sales gives, and only to @bank",
        ));
    }
    if caller.role != Role::Admin {
        return Err(auth::forbidden("only an admin takes money out of @sales"));
    }
    Ok(MoneyCommand::Transfer(Transfer { from, to, amount: fields.the_amount()?, note: fields.note()? }))
}

fn the_receiver(fields: &mut Fields) -> Result<String, Error> {
    fields.name("to")?.ok_or_else(|| Error::invalid("to is missing: the receiver"))
}

fn receiver(payer: &WalletId, to: &str) -> Result<WalletId, Error> {
    let to = WalletId::parse(to)?;
    if to == *payer {
        return Err(Error::invalid("payer and receiver are the same wallet").with("field", "to"));
    }
    if to.is_system() && to != WalletId::SALES {
        return Err(Error::new(ErrorName::InvalidUser, "of the system's wallets, only @sales receives"));
    }
    Ok(to)
}

/// The body of the answer to a money verb.
pub fn body(moved: &Moved, caller: &Caller, language: Language) -> Box<RawValue> {
    Reply::body(200, &sentence(moved, language), &shown(moved, caller))
}

/// What each item of a batch is answered, in order.
#[derive(Serialize)]
pub struct Results {
    /// A body each.
    pub results: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct MovedShown<'a> {
    balance: Text<Balance>,
    entry: EntryShown<'a>,
    /// A recharge's, or null if it earned none.
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<Option<CouponShown<'a>>>,
    #[serde(flatten)]
    price: Option<PriceShown>,
}

/// What a payment cost: before the discount, the discount, and what was really paid.
#[derive(Serialize)]
struct PriceShown {
    gross: Option<Text<Money>>,
    discount: Option<Text<Cents>>,
    amount: Text<Money>,
}

fn shown<'a>(moved: &'a Moved, caller: &Caller) -> MovedShown<'a> {
    let entry = &moved.entry;
    let takes = match entry.kind {
        EntryKind::Recharge => true,
        EntryKind::Withdraw | EntryKind::Pay | EntryKind::Transfer => false,
        EntryKind::Refund => !entry.to.is_system() || entry.from.is_system(), // the payer's; of a recharge, which the bank paid, the user's
    };
    let price =
        || PriceShown { gross: entry.gross.map(Text), discount: entry.discount.map(Text), amount: Text(entry.amount) };
    MovedShown {
        balance: Text(if takes { entry.to_balance } else { entry.from_balance }),
        entry: show::entry(entry, caller),
        coupon: (entry.kind == EntryKind::Recharge).then(|| moved.coupon.as_ref().map(show::coupon)),
        price: (entry.kind == EntryKind::Pay).then(price),
    }
}

/// What people are told: what happened, and what it earned them.
fn sentence(moved: &Moved, language: Language) -> Cow<'static, str> {
    let msg = words::moved(moved.entry.kind, language);
    let told = moved.message.as_ref().map(|(zh, en)| language.pick(zh, en)).filter(|told| !told.is_empty());
    told.map_or(msg.into(), |told| format!("{msg}{}{told}", language.pick(",", ", ")).into())
}
