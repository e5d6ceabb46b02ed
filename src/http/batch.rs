//! `POST /v1/batch`: many money verbs in one request, each for itself or all or nothing.

use super::auth::Access;
use super::conn::RequestHead;
use super::conn::Response;
use super::dry_run::DRY_RUN;
use super::fields::{Field, Fields, ValueKind};
use super::holds::{self, HoldStepJson};
use super::problems;
use super::request::{Context, HandlerResult, media_type, unsupported};
use super::response::{self, WithMsg};
#[cfg(test)]
use super::schemas::AnyMovedOrProblem;
use super::wallets::{self, MoneyVerb, MovedJson, moved_json};
use crate::command::{AtomicBatch, MoneyCommand, NameBatch, TryEach};
use crate::error::{Error, ErrorName};
use crate::id::IdempotencyKey;
use crate::ledger::verbs::Moved;
use crate::secret::Hasher;
use crate::store::{Envelope, Outcome};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The query.
pub(crate) const QUERY: &[Field] = &[Field::optional("atomic", ValueKind::Flag, "all or nothing").or("false"), DRY_RUN];
/// The most items.
pub(crate) const ITEMS_MAX: usize = 10_000;
/// Some editors put it before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One item: its command, or why it cannot be read; its own key, if it has one; and its text.
struct BatchItem<'a> {
    command: Result<MoneyCommand, Error>,
    key: Option<IdempotencyKey>,
    text: &'a [u8],
}

/// `POST /v1/batch`
pub(crate) fn batch(context: &mut Context<'_>) -> HandlerResult {
    let atomic = context.query.flag("atomic")?;
    let items = split(context.head, context.body)?.into_iter().map(|text| read_item(context, text)).collect();
    if atomic { all_or_nothing(context, items) } else { each_alone(context, items) }
}

/// Carries the items of the body out, all or none: the first contents of a file for tests.
pub(crate) fn seed(context: &Context<'_>) -> HandlerResult {
    let items = split(context.head, context.body)?.into_iter().map(|text| read_item(context, text)).collect();
    all_or_nothing(context, items)
}

/// The text of each item. Reading stops at one too many, or a body of commas would take many times its own memory.
pub fn split<'a>(head: &RequestHead, body: &'a [u8]) -> Result<Vec<&'a [u8]>, Error> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let items: Vec<&[u8]> = match media_type(head)?.as_str() {
        "application/x-ndjson" => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            lines.take(ITEMS_MAX + 1).collect()
        }
        "application/json" => {
            let BatchArray(rows) = serde_json::from_slice(body).map_err(|error| {
                Error::invalid(format!("a batch is a JSON array of objects: {}", error.to_string().escape_debug()))
            })?;
            rows.into_iter().map(|row| row.get().as_bytes()).collect()
        }
        other => return Err(unsupported(other, "application/json (an array) or application/x-ndjson (a line each)")),
    };
    if items.len() > ITEMS_MAX {
        return Err(Error::invalid(format!("a batch has at most {ITEMS_MAX} items")));
    }
    Ok(items)
}

/// The items of an array, as they were written: all of them, or up to the first one too many.
struct BatchArray<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for BatchArray<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BatchArray<'de>, D::Error> {
        struct ArrayVisitor;
        impl<'de> Visitor<'de> for ArrayVisitor {
            type Value = BatchArray<'de>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<BatchArray<'de>, A::Error> {
                let mut items = Vec::new();
                while items.len() <= ITEMS_MAX
                    && let Some(row) = rows.next_element()?
                {
                    items.push(row);
                }
                while items.len() > ITEMS_MAX && rows.next_element::<IgnoredAny>()?.is_some() {}
                Ok(BatchArray(items))
            }
        }
        deserializer.deserialize_seq(ArrayVisitor)
    }
}

fn read_item<'a>(context: &Context<'_>, text: &'a [u8]) -> BatchItem<'a> {
    let mut key = None;
    let command = Fields::from_json(text).and_then(|mut fields| {
        key = fields.text("key")?.map(|key| IdempotencyKey::parse(&key)).transpose()?;
        read_command(context, &mut fields)
    });
    BatchItem { command, key, text }
}

/// True for the name of a field of some operation.
pub(crate) fn is_item_field(name: &str) -> bool {
    let taken = [wallets::RECHARGE, wallets::PAY, wallets::TRANSFER, wallets::REFUND, holds::PLACE, holds::CAPTURE];
    ["op", "user", "entry", "hold", "key"].contains(&name)
        || taken.iter().any(|fields| fields.iter().any(|one| one.name == name))
}

/// `{"op":"withdraw","user":"alice","amount":"1.00"}` and the like; `{"op":"refund","entry":7}`, `{"op":"void","hold":7}`.
fn read_command(context: &Context<'_>, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let op = fields.required_text("op")?;
    let (verb, taken) = match op.as_str() {
        "recharge" => (MoneyVerb::Recharge, wallets::RECHARGE),
        "withdraw" => (MoneyVerb::Withdraw, wallets::RECHARGE),
        "pay" => (MoneyVerb::Pay, wallets::PAY),
        "transfer" => (MoneyVerb::Transfer, wallets::TRANSFER),
        "refund" => {
            Access::Staff.check(&context.caller)?;
            let entry = fields.name("entry")?.ok_or_else(|| Error::invalid("entry is missing: the entry to refund"))?;
            fields.check(wallets::REFUND)?;
            return wallets::refund_command(context.app, &context.caller, &entry, fields);
        }
        "hold" => {
            Access::Staff.check(&context.caller)?;
            let user = required_user(fields)?;
            fields.check(holds::PLACE)?;
            return holds::place_command(&user, fields);
        }
        "capture" | "void" => {
            Access::Staff.check(&context.caller)?;
            let hold = fields.name("hold")?.ok_or_else(|| Error::invalid("hold is missing: the number of the hold"))?;
            let captures = op == "capture";
            fields.check(if captures { holds::CAPTURE } else { holds::VOID })?;
            return if captures { holds::capture_command(&hold, fields) } else { holds::void_command(&hold, fields) };
        }
        _ => {
            let ops = "op is one of recharge, withdraw, pay, transfer, refund, hold, capture, void";
            return Err(Error::invalid(ops));
        }
    };
    let user = required_user(fields)?;
    fields.check(taken)?;
    wallets::command(context.app, &context.caller, verb, &user, fields)
}

fn required_user(fields: &mut Fields) -> Result<String, Error> {
    fields.name("user")?.ok_or_else(|| Error::invalid("user is missing: whose wallet"))
}

/// The answer to a batch.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "BatchResults"))]
pub(crate) struct BatchResults<'a> {
    /// The answer to each item, in order, with its `code`.
    #[cfg_attr(test, schemars(with = "Vec<AnyMovedOrProblem>"))]
    results: Vec<ItemResult<'a>>,
    /// True in the answer to a dry run, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemResult<'a> {
    Moved(Box<WithMsg<Cow<'static, str>, MovedJson<'a>>>),
    Hold(Box<WithMsg<&'static str, HoldStepJson<'a>>>),
    Problem(Map<String, Value>),
}

fn moved_result<'a>(context: &Context<'_>, moved: &'a Moved) -> ItemResult<'a> {
    let (caller, language) = (&context.caller, context.language);
    match &moved.hold {
        Some(step) => ItemResult::Hold(Box::new(holds::step_json(moved, step, caller, language))),
        None => ItemResult::Moved(Box::new(moved_json(moved, caller, language))),
    }
}

fn problem_result(context: &Context<'_>, error: &Error) -> ItemResult<'static> {
    ItemResult::Problem(problems::body(&context.caller.without_holder(error.clone()), context.language))
}

/// Submits each item for itself, in order. A lock held by another client is the error of its item at once. A key names
/// the batch as a whole, so that it cannot come back with other items, and gives each item a key of its own.
fn each_alone(context: &Context<'_>, items: Vec<BatchItem<'_>>) -> HandlerResult {
    let shared = context.envelope()?;
    if let Some(key) = &shared.key {
        check_item_keys(key, &items)?;
    }
    let reserve = shared.key.as_ref().map(|_| NameBatch(hash_of_items(&items)));
    let (mut unreadable, mut commands) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for (index, BatchItem { command, key, .. }) in items.into_iter().enumerate() {
        match command {
            Ok(command) => {
                let key = key.or_else(|| shared.key.as_ref().map(|key| key.item(index)));
                commands.push((Envelope { key, wait_ms: 0, ..shared.clone() }, command));
                unreadable.push(None);
            }
            Err(error) => unreadable.push(Some(error)),
        }
    }
    if shared.dry_run {
        return try_each(context, shared, reserve, commands, unreadable);
    }
    let outcomes: Vec<Outcome<Moved>> = match reserve {
        Some(reserve) => {
            let first = (Envelope { tokens: Vec::new(), ..shared.clone() }, reserve);
            context.app.store.submit_batch(first, commands)?
        }
        None => context.app.store.submit_all(commands),
    };
    context.replayed.set(!outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.replayed));
    let submitted: Vec<_> = outcomes.into_iter().map(|outcome| outcome.result).collect();
    Ok(results_response(context, &submitted, &unreadable))
}

/// Tries the items as one command, each after those before it.
fn try_each(
    context: &Context<'_>,
    shared: Envelope,
    name: Option<NameBatch>,
    commands: Vec<(Envelope, MoneyCommand)>,
    unreadable: Vec<Option<Error>>,
) -> HandlerResult {
    let items = commands.into_iter().map(|(envelope, command)| (envelope.key, command)).collect();
    let tried = context.app.store.submit(shared, TryEach { name, items }).result?;
    Ok(results_response(context, &tried, &unreadable))
}

/// The answers to the items in their order: the submitted ones, and those that could not be read.
fn results_response(
    context: &Context<'_>,
    submitted: &[Result<Moved, Error>],
    unreadable: &[Option<Error>],
) -> Response {
    let mut submitted = submitted.iter();
    let results = unreadable.iter().map(|error| match error {
        Some(error) => problem_result(context, error),
        None => match submitted.next().expect("an item that was read has an outcome") {
            Ok(moved) => moved_result(context, moved),
            Err(error) => problem_result(context, error),
        },
    });
    response::ok(context.language.success(), &BatchResults { results: results.collect(), dry_run: None })
}

/// Refuses an item's own key that is the batch's, or one made of it: one key would mean two commands.
fn check_item_keys(key: &IdempotencyKey, items: &[BatchItem<'_>]) -> Result<(), Error> {
    let is_taken = |own: &IdempotencyKey| {
        own.as_str().strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match items.iter().position(|item| item.key.as_ref().is_some_and(is_taken)) {
        None => Ok(()),
        Some(index) => Err(Error::invalid("an item's own key is not the batch's Idempotency-Key, nor one made of it")
            .with("index", index)),
    }
}

/// A hash that differs for other items: of each one's command, or its text if that cannot be read, and its own key.
fn hash_of_items(items: &[BatchItem<'_>]) -> [u8; 16] {
    let mut hasher = Hasher::default();
    for BatchItem { command, key, text } in items {
        match command {
            Ok(command) => hasher.field(Some(&command.fingerprint())),
            Err(_) => hasher.field(Some(text)),
        }
        hasher.field(key.as_ref().map(|key| key.as_sent().as_bytes())); // as earlier versions hashed it
    }
    hasher.finish_short()
}

/// Submits all items as one command; or answers with the error of the first refused one and its `index`, and nothing is
/// done.
fn all_or_nothing(context: &Context<'_>, items: Vec<BatchItem<'_>>) -> HandlerResult {
    let count = items.len();
    let read = items.into_iter().enumerate().map(|(index, item)| {
        let command =
            item.command.and_then(|command| if item.key.is_some() { Err(key_of_an_item()) } else { Ok(command) });
        command.map_err(|error| error.with("index", index))
    });
    let commands: Result<Vec<MoneyCommand>, Error> = read.collect();
    match commands.and_then(|commands| context.submit(AtomicBatch(commands))) {
        Ok(all) => {
            let results = all.iter().map(|moved| moved_result(context, moved)).collect();
            Ok(response::ok(context.language.success(), &BatchResults { results, dry_run: None }))
        }
        Err(error) => {
            let index = error.facts.iter().find(|(fact, _)| fact == "index").and_then(|(_, at)| at.as_u64());
            let Some(index) = index else { return Err(error) };
            let results = not_done(context, count, index as usize, &error);
            Err(error.with("results", results))
        }
    }
}

/// The refusal of a key that would not be honoured: a client could rely on it when it repeats.
fn key_of_an_item() -> Error {
    let detail = "an atomic batch has one key: send it in the header Idempotency-Key, not with its items";
    Error::invalid(detail).with("field", "key")
}

/// The bodies for the items of a batch that was not done: of the first refused one its error, of the others a reference
/// to that.
fn not_done(context: &Context<'_>, count: usize, index: usize, refused: &Error) -> Vec<Value> {
    let detail = format!("item {index} was refused, so nothing of this batch was done");
    let other = Value::Object(problems::body(&Error::new(ErrorName::NotDone, detail), context.language));
    let mut results = vec![other; count];
    results[index] = Value::Object(problems::body(refused, context.language));
    results
}
