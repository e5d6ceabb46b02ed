//! `POST /v1/batch`: many money verbs in one request, each for itself or all or nothing.

use super::conn::RequestHead;
use super::fields::{Field, Fields, Kind as Is, may};
use super::money::{self, Verb};
use super::reply::Reply;
use super::request::{self, Context, HandlerResult, media_type, unsupported};
use super::{App, problem};
use crate::command::{AtomicBatch, MoneyCommand, NameBatch};
use crate::error::{Error, ErrorName};
use crate::id::IdempotencyKey;
use crate::secret::Hasher;
use crate::store::Envelope;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// What the query takes.
pub const QUERY: &[Field] = &[may("atomic", Is::Flag, "all or nothing")];
/// The largest body, in bytes.
/// The most items.
const ITEMS_MAX: usize = 10_000;
/// One item: what it asks for, or why it cannot be read; its own key, if it has one; and its text.
struct Item<'a> {
    command: Result<MoneyCommand, Error>,
    key: Option<IdempotencyKey>,
    text: &'a [u8],
}

/// `POST /v1/batch`
pub fn batch(context: &mut Context<'_>) -> HandlerResult {
    let app = context.app;
    let atomic = context.query.flag("atomic")?;
    let items: Vec<Item<'_>> =
        split(context.head, context.body)?.into_iter().map(|text| item(app, context, text)).collect();
    if atomic { all_or_nothing(context, items) } else { each_alone(context, items) }
}

/// The text of each item. Reading stops at one too many, or a body of commas would take many times its own memory.
pub(super) fn split<'a>(head: &RequestHead, body: &'a [u8]) -> Result<Vec<&'a [u8]>, Error> {
    let items: Vec<&[u8]> = match media_type(head)?.as_str() {
        "application/x-ndjson" => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            lines.take(ITEMS_MAX + 1).collect()
        }
        "application/json" => {
            let Items(rows) = serde_json::from_slice(body).map_err(|error| {
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

/// The items of an array, as they were written: all of them, or the first one too many and nothing behind it.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items<'de>, D::Error> {
        struct UpToTheMost;
        impl<'de> Visitor<'de> for UpToTheMost {
            type Value = Items<'de>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while items.len() <= ITEMS_MAX
                    && let Some(row) = rows.next_element()?
                {
                    items.push(row);
                }
                while items.len() > ITEMS_MAX && rows.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(UpToTheMost)
    }
}

fn item<'a>(app: &App, context: &Context<'_>, text: &'a [u8]) -> Item<'a> {
    let mut key = None;
    let command = Fields::from_json(text).and_then(|mut fields| {
        key = fields.text("key")?.map(|key| IdempotencyKey::parse(&key)).transpose()?;
        command(app, context, &mut fields)
    });
    Item { command, key, text }
}

/// `{"op":"withdraw","user":"alice","amount":"1.00"}` and the like; `{"op":"refund","entry":7}`.
fn command(app: &App, context: &Context<'_>, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let op = fields.the_text("op")?;
    let (verb, takes) = match op.as_str() {
        "recharge" => (Verb::Recharge, money::RECHARGE),
        "withdraw" => (Verb::Withdraw, money::RECHARGE),
        "pay" => (Verb::Pay, money::PAY),
        "transfer" => (Verb::Transfer, money::TRANSFER),
        "refund" => {
            super::auth::Access::Staff.check(&context.caller)?;
            let entry = fields.name("entry")?.ok_or_else(|| Error::invalid("entry is missing: the entry to refund"))?;
            fields.check(money::REFUND)?;
            return money::refund_command(app, &context.caller, &entry, fields);
        }
        _ => return Err(Error::invalid("op is one of recharge, withdraw, pay, transfer, refund")),
    };
    let user = fields.name("user")?.ok_or_else(|| Error::invalid("user is missing: whose wallet"))?;
    fields.check(takes)?;
    money::command(app, &context.caller, verb, &user, fields)
}

/// Each item for itself, in order. Somebody's lock is a 423 for that item at once. A key names the batch as a whole, so that
/// it cannot come back with other items, and gives each item a key of its own.
fn each_alone(context: &Context<'_>, items: Vec<Item<'_>>) -> HandlerResult {
    let shared = context.envelope()?;
    if let Some(key) = &shared.key {
        own_keys_apart(key, &items)?;
    }
    let reserve = shared.key.as_ref().map(|_| NameBatch(meaning(&items)));
    let mut results: Vec<Box<RawValue>> = vec![Box::default(); items.len()];
    let (mut places, mut commands) = (Vec::new(), Vec::new());
    for (index, Item { command, key, .. }) in items.into_iter().enumerate() {
        match command {
            Ok(command) => {
                let key = key.or_else(|| shared.key.as_ref().map(|key| key.item(index)));
                places.push(index);
                commands.push((Envelope { key, wait_ms: 0, ..shared.clone() }, command));
            }
            Err(error) => results[index] = problem::raw_body(&error, context.language),
        }
    }
    let outcomes = match reserve {
        Some(reserve) => {
            let first = (Envelope { tokens: Vec::new(), ..shared.clone() }, reserve);
            context.app.store().submit_batch(first, commands)?
        }
        None => context.app.store().submit_all(commands),
    };
    let mut replayed = !outcomes.is_empty();
    for (index, outcome) in places.into_iter().zip(outcomes) {
        replayed &= outcome.replayed;
        results[index] = match outcome.result {
            Ok(moved) => money::body(&moved, &context.caller, context.language),
            Err(error) => problem::raw_body(&context.caller.told(error), context.language),
        };
    }
    let mut answer = Reply::ok(context.language.pick("成功", "ok"), &money::Results { results });
    if replayed {
        answer.headers.push(request::replayed());
    }
    Ok(answer)
}

/// The batch's key, and those made of it, are no item's own: one name would mean two things.
fn own_keys_apart(key: &IdempotencyKey, items: &[Item<'_>]) -> Result<(), Error> {
    let taken = |own: &IdempotencyKey| {
        own.as_str().strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match items.iter().position(|item| item.key.as_ref().is_some_and(taken)) {
        None => Ok(()),
        Some(index) => Err(Error::invalid("an item's own key is not the batch's Idempotency-Key, nor one made of it")
            .with("index", index)),
    }
}

/// What tells these items from others: what each asks for, or its text if that cannot be read, and its own key.
fn meaning(items: &[Item<'_>]) -> [u8; 16] {
    let mut hasher = Hasher::default();
    for Item { command, key, text } in items {
        match command {
            Ok(command) => hasher.field(Some(&command.fingerprint())),
            Err(_) => hasher.field(Some(text)),
        }
        hasher.field(key.as_ref().map(|key| key.as_str().as_bytes()));
    }
    hasher.finish_short()
}

/// All items in one savepoint; or the first refused one's error with its `index`, and nothing done.
fn all_or_nothing(context: &Context<'_>, items: Vec<Item<'_>>) -> HandlerResult {
    let count = items.len();
    let commands: Result<Vec<MoneyCommand>, Error> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            match item {
                Item { command: Ok(_), key: Some(_), .. } => Err(one_intention()),
                item => item.command,
            }
            .map_err(|error| error.with("index", index))
        })
        .collect();
    let submitted = commands.map_err(Into::into).and_then(|commands| context.submit(AtomicBatch(commands)));
    match submitted {
        Ok(submitted) => {
            let body = |moved| money::body(moved, &context.caller, context.language);
            let results = money::Results { results: submitted.receipt.iter().map(body).collect() };
            Ok(submitted.marked(Reply::ok(context.language.pick("成功", "ok"), &results)))
        }
        Err(mut failure) => {
            let index = failure.error.facts.iter().find(|(fact, _)| fact == "index").and_then(|(_, at)| at.as_u64());
            if let Some(index) = index {
                let results = not_done(context, count, index as usize, &failure.error);
                failure.error = failure.error.with("results", results);
            }
            Err(failure)
        }
    }
}

/// A key that would not keep its promise is refused: a client may count on it when it repeats.
fn one_intention() -> Error {
    let detail = "an atomic batch is one intention: name it in the header Idempotency-Key, not its items";
    Error::invalid(detail).with("field", "key")
}

/// What each item of a batch that was not done would be told: the first refused one why, the others that.
fn not_done(context: &Context<'_>, count: usize, index: usize, refused: &Error) -> Vec<Value> {
    let detail = format!("item {index} was refused, so nothing of this batch was done");
    let other = Value::Object(problem::body(&Error::new(ErrorName::NotDone, detail), context.language));
    let mut results = vec![other; count];
    results[index] = Value::Object(problem::body(refused, context.language));
    results
}
