//! The fields of a body or a query, whether they came as JSON or as a form. The fields that a route takes are in the
//! route table; any other is refused by name, before a handler is called.

use crate::clock::{DayEdge, parse_moment, parse_offset};
use crate::error::{Error, ErrorName};
use crate::id::UserId;
use crate::ledger::Note;
use crate::money::{Cents, Money};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A field that a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: ValueKind,
    /// Its meaning.
    pub about: &'static str,
    /// True if it may be left out.
    pub optional: bool,
    /// The bounds of its value, for the description of the API: they are checked where it is read.
    pub bounds: ValueBounds,
}

/// The bounds of a value, its default and an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueBounds {
    /// The smallest and the largest whole number, or the shortest and the longest text or list.
    pub range: Option<(i64, i64)>,
    /// The texts it may be.
    pub words: &'static [&'static str],
    /// The regular expression that its text matches.
    pub pattern: Option<&'static str>,
    /// The value if it is left out, as JSON.
    pub default: Option<&'static str>,
    /// A value, as JSON.
    pub example: Option<&'static str>,
    /// True if null clears it; otherwise null counts as not sent.
    pub is_cleared_by_null: bool,
}

/// The kind of a field's value, as the description of the API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Decimal text or a number.
    Amount,
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Flag,
    /// RFC 3339.
    Time,
    /// A flat object of strings.
    Object,
    /// A list of strings.
    Texts,
    /// A list of objects with these fields.
    Objects(&'static [Field]),
}

impl Field {
    /// A field that must be there.
    pub const fn required(name: &'static str, kind: ValueKind, about: &'static str) -> Field {
        Field { name, kind, about, optional: false, bounds: ValueBounds::NONE }
    }

    /// A field that may be left out.
    pub const fn optional(name: &'static str, kind: ValueKind, about: &'static str) -> Field {
        Field { name, kind, about, optional: true, bounds: ValueBounds::NONE }
    }

    /// The same field, from `min` to `max`: of a text or a list, its length.
    pub const fn within(self, min: i64, max: i64) -> Field {
        Field { bounds: ValueBounds { range: Some((min, max)), ..self.bounds }, ..self }
    }

    /// The same field, one of these texts.
    pub const fn one_of(self, words: &'static [&'static str]) -> Field {
        Field { bounds: ValueBounds { words, ..self.bounds }, ..self }
    }

    /// The same field, with text that matches.
    pub const fn like(self, pattern: &'static str) -> Field {
        Field { bounds: ValueBounds { pattern: Some(pattern), ..self.bounds }, ..self }
    }

    /// The same field, with its value if it is left out, as JSON.
    pub const fn or(self, default: &'static str) -> Field {
        Field { bounds: ValueBounds { default: Some(default), ..self.bounds }, ..self }
    }

    /// The same field, with an example of its value, as JSON.
    pub const fn such_as(self, example: &'static str) -> Field {
        Field { bounds: ValueBounds { example: Some(example), ..self.bounds }, ..self }
    }

    /// The same field, which null clears.
    pub const fn or_null(self) -> Field {
        Field { bounds: ValueBounds { is_cleared_by_null: true, ..self.bounds }, ..self }
    }

    fn is_list(&self) -> bool {
        matches!(self.kind, ValueKind::Texts | ValueKind::Objects(_))
    }
}

macro_rules! user_pattern {
    () => {
        "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|[.][A-Za-z0-9_-][A-Za-z0-9._-]{0,62}|[.][.][A-Za-z0-9._-]{1,62}"
    };
}
macro_rules! visible_pattern {
    () => {
        r"[^\u0000-\u001F\u007F-\u009F\u00AD\u061C\u200B-\u200F\u2028-\u202E\u2060-\u2069\uFEFF]"
    };
}

/// A user.
pub(crate) const USER_PATTERN: &str = concat!("^(", user_pattern!(), ")$");
/// A wallet: a user's, or one of the system.
pub(crate) const WALLET_PATTERN: &str = concat!("^(@bank|@holds|@sales|", user_pattern!(), ")$");
/// A receiver: a user's wallet, or `@sales`.
pub(crate) const RECEIVER_PATTERN: &str = concat!("^(@sales|", user_pattern!(), ")$");
/// A code of a coupon, typed in any case.
pub(crate) const CODE_PATTERN: &str = "^[A-Za-z0-9]{1,12}$";
/// A label for people, without characters that are not seen.
pub(crate) const LABEL_PATTERN: &str = concat!("^", visible_pattern!(), "{0,255}$");
/// The beginning of a lock's id, of at most 255 bytes.
pub(crate) const PREFIX_PATTERN: &str = concat!("^", visible_pattern!(), "{1,255}$");
/// A name of a wallet, for people.
pub(crate) const NAME_PATTERN: &str = concat!("^", visible_pattern!(), "{1,100}$");
/// A bound of balances or amounts, which may be zero.
pub(crate) const BOUND_PATTERN: &str = "^[0-9]{1,16}([.][0-9]{1,2})?$";
/// An amount, or zero.
pub(crate) const THRESHOLD_PATTERN: &str = "^((0|[1-9][0-9]{0,11})([.][0-9]{1,2})?|1000000000000([.]0{1,2})?)$";
/// An offset from UTC.
const OFFSET_PATTERN: &str = "^[+-]([01][0-9]|2[0-3]):[0-5][0-9]$";
/// A hash.
pub(crate) const SINCE_PATTERN: &str =
    "^([0-9A-Fa-f]{64}|cashbox1:[0-9]{1,18}:[0-9A-Fa-f]{64}:[0-9]{1,18}:[0-9A-Fa-f]{64}:[0-9A-Fa-f]{64})$";

impl ValueBounds {
    const NONE: ValueBounds =
        ValueBounds { range: None, words: &[], pattern: None, default: None, example: None, is_cleared_by_null: false };
}

/// One value, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// Text: of a form, or a JSON string.
    Text(String),
    /// Any other JSON, to the letter: a number's own digits, never a float.
    Json(String),
}

/// The field `tz` of a query with times.
pub(crate) const TZ: Field = Field::optional(
    "tz",
    ValueKind::Text,
    "the offset of the zone whose days are meant, such as +08:00; UTC if left out",
)
.like(OFFSET_PATTERN)
.such_as("\"+08:00\"");

/// True if two hexadecimal digits follow each percent sign.
pub(crate) fn has_whole_escapes(text: &str) -> bool {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(is_escape)
}

/// The fields of a body or a query that no handler has taken yet. A field that is `null` counts as not sent, but for
/// [`Fields::take_null`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(BTreeMap<String, Option<FieldValue>>);

impl Fields {
    /// A query string. An escape that is not whole is refused: `50%` may have been meant for `50%25`.
    pub fn from_query(text: &str, taken: &[Field]) -> Result<Fields, Error> {
        if !has_whole_escapes(text) {
            return Err(Error::invalid(
                "the query has a % without two hexadecimal digits behind it: write %25 for a %",
            ));
        }
        Fields::from_form(text.as_bytes(), taken)
    }

    /// A query string or a form body. `metadata[key]=value` adds to the object `metadata`, and `ids=a&ids=b` to the list
    /// `ids`, if that is one of the lists among `taken`; a list may also be one JSON text.
    pub fn from_form(text: &[u8], taken: &[Field]) -> Result<Fields, Error> {
        if percent_encoding::percent_decode(text).decode_utf8().is_err() {
            return Err(Error::invalid("a form is UTF-8 under its percent signs"));
        }
        let mut fields = BTreeMap::new();
        let mut metadata = serde_json::Map::new();
        let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text) {
            if let Some(list) = taken.iter().find(|field| field.is_list() && field.name == name) {
                lists.entry(list.name).or_default().push(value.into_owned());
                continue;
            }
            let inner = name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
            let twice = match inner {
                Some(key) => metadata.insert(key.to_owned(), value.into_owned().into()).is_some(),
                None => {
                    let value = Some(FieldValue::Text(value.into_owned()));
                    fields.insert(name.clone().into_owned(), value).is_some()
                }
            };
            if twice {
                return Err(sent_twice(&name));
            }
        }
        if !metadata.is_empty() {
            let object = FieldValue::Json(serde_json::Value::Object(metadata).to_string());
            if fields.insert("metadata".to_owned(), Some(object)).is_some() {
                return Err(sent_twice("metadata"));
            }
        }
        for (name, mut values) in lists {
            let is_json = values.len() == 1 && values[0].starts_with('[');
            let list = if is_json { values.remove(0) } else { serde_json::json!(values).to_string() };
            fields.insert(name.to_owned(), Some(FieldValue::Json(list)));
        }
        Ok(Fields(fields))
    }

    /// A JSON object, in one pass.
    pub fn from_json(text: &[u8]) -> Result<Fields, Error> {
        serde_json::from_slice(text).map_err(|error| {
            let error = error.to_string();
            Error::invalid(format!("the body is not a JSON object of fields, each once: {}", error.escape_debug()))
        })
    }

    /// Refuses every field that is not taken, `null` ones too, and lists those that are. `money` is the old name of `amount`.
    pub fn check(&mut self, taken: &[Field]) -> Result<(), Error> {
        let is_taken = |name: &str| taken.iter().any(|field| field.name == name);
        if is_taken("amount")
            && let Some(money) = self.take("money")
            && self.0.insert("amount".to_owned(), Some(money)).flatten().is_some()
        {
            return Err(Error::invalid("money is the old name of amount: send one of them"));
        }
        match self.0.keys().find(|name| !is_taken(name)) {
            None => Ok(()),
            Some(unknown) => {
                let names: Vec<_> = taken.iter().map(|field| field.name).collect();
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let unknown: String = unknown.chars().take(64).collect();
                Err(Error::invalid(format!("there is no field {unknown:?} here; there are: {known}"))
                    .with("field", unknown))
            }
        }
    }

    /// All that are not taken yet, by name.
    pub fn all(&self) -> impl Iterator<Item = (&String, &FieldValue)> {
        self.0.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// True if the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// Takes the null of a field that is there to clear something.
    pub fn take_null(&mut self, name: &str) -> bool {
        let is_null = matches!(self.0.get(name), Some(None));
        if is_null {
            self.0.remove(name);
        }
        is_null
    }

    /// Makes each empty text null: that is what a form sends to clear something.
    pub fn empty_to_null(&mut self) {
        let is_empty = |value: &Option<FieldValue>| matches!(value, Some(FieldValue::Text(text)) if text.is_empty());
        self.0.values_mut().filter(|value| is_empty(value)).for_each(|value| *value = None);
    }

    /// Takes a field as it was written.
    pub fn take(&mut self, name: &str) -> Option<FieldValue> {
        self.0.remove(name).flatten()
    }

    /// The text of a field, without taking it.
    pub fn peek(&self, name: &str) -> Option<&str> {
        match self.0.get(name)?.as_ref()? {
            FieldValue::Text(text) | FieldValue::Json(text) => Some(text),
        }
    }

    /// Adds a field, if it is not there. Metadata is JSON, all else is text.
    pub fn put_default(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            let kind = if name == "metadata" { FieldValue::Json } else { FieldValue::Text };
            self.0.insert(name.to_owned(), Some(kind(value.to_owned())));
        }
    }

    /// An amount, if it is there.
    pub fn amount(&mut self, name: &str) -> Result<Option<Money>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(FieldValue::Text(text) | FieldValue::Json(text)) => Money::parse(&text).map(Some),
        }
    }

    /// A bound of amounts or balances, in cents, if it is there.
    pub fn bound(&mut self, name: &str) -> Result<Option<i64>, Error> {
        Ok(self.text(name)?.map(|text| Cents::parse_bound(&text)).transpose()?.map(|cents| cents.0))
    }

    /// Pairs of metadata to look for, as JSON, if there are any.
    pub fn wanted_metadata(&mut self) -> Result<Option<String>, Error> {
        let pairs = self.metadata()?;
        if pairs.len() > WANTED_PAIRS_MAX {
            let detail = format!("at most {WANTED_PAIRS_MAX} pairs of metadata can be looked for at once");
            return Err(Error::invalid(detail).with("field", "metadata"));
        }
        Ok(Note::new(None, pairs)?.metadata)
    }

    /// The field `amount`, which must be there.
    pub fn required_amount(&mut self) -> Result<Money, Error> {
        self.amount("amount")?.ok_or_else(|| Error::new(ErrorName::InvalidAmount, "amount is missing"))
    }

    /// Text, if it is there.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(FieldValue::Text(text)) => Ok(Some(text)),
            Some(FieldValue::Json(_)) => Err(Error::invalid(format!("{name} is text"))),
        }
    }

    /// Text that must be there.
    pub fn required_text(&mut self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::invalid(format!("{name} is missing")))
    }

    /// Text, if it is there, that may be written as a number: a name of digits.
    pub fn name(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            Some(FieldValue::Json(number)) if number.starts_with(|c: char| c.is_ascii_digit()) => Ok(Some(number)),
            Some(FieldValue::Json(_)) => Err(Error::invalid(format!("{name} is text"))),
            Some(FieldValue::Text(text)) => Ok(Some(text)),
            None => Ok(None),
        }
    }

    /// A user, if one is named.
    pub fn user(&mut self, name: &str) -> Result<Option<UserId>, Error> {
        self.name(name)?.map(|user| UserId::parse(&user)).transpose()
    }

    /// A whole number within `range`, if it is there.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Error> {
        let Some(FieldValue::Text(text) | FieldValue::Json(text)) = self.take(name) else { return Ok(None) };
        // `5000.0` is what some clients write for a whole number.
        let zeros = |decimals: &str| !decimals.is_empty() && decimals.bytes().all(|b| b == b'0');
        let text = text.split_once('.').filter(|(_, decimals)| zeros(decimals)).map_or(&text[..], |(whole, _)| whole);
        let is_plain = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let number = if is_plain { text.parse().ok() } else { None };
        number.filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
            Error::invalid(format!("{name} is a whole number from {} to {}", range.start(), range.end()))
                .with("field", name)
        })
    }

    /// `true` or `false`; false if it is not there.
    pub fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(FieldValue::Text(text) | FieldValue::Json(text)) => {
                text.parse().map_err(|_| Error::invalid(format!("{name} is true or false")))
            }
        }
    }

    /// A time, or the edge of a day in the zone of the field `tz`, if it is there, in milliseconds since 1970.
    pub fn moment(&mut self, name: &str, edge: DayEdge) -> Result<Option<i64>, Error> {
        let offset_s = self.offset_s()?;
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = parse_moment(&text, edge, offset_s);
        found.map(Some).ok_or_else(|| {
            let wanted = "a time such as 2026-01-31T12:00:00Z, or a date such as 2026-01-31";
            Error::invalid(format!("{name} is {wanted}{}", hint_of_plus(&text))).with("field", name)
        })
    }

    /// The seconds by which the zone of the field `tz` is ahead of UTC. The field stays: several times may need it.
    pub(crate) fn offset_s(&self) -> Result<i64, Error> {
        let Some(text) = self.peek("tz") else { return Ok(0) };
        parse_offset(text).ok_or_else(|| {
            let detail = format!("tz is an offset such as +08:00, or Z; not a name{}", hint_of_plus(text));
            Error::invalid(detail).with("field", "tz")
        })
    }

    /// A list of at most `max` objects, which must be there.
    pub fn objects(&mut self, name: &str, max: usize) -> Result<Vec<Fields>, Error> {
        let wrong = || Error::invalid(format!("{name} is a list of at most {max} objects"));
        let Some(FieldValue::Text(text) | FieldValue::Json(text)) = self.take(name) else { return Err(wrong()) };
        let rows: Vec<&RawValue> = serde_json::from_str(&text).map_err(|_| wrong())?;
        if rows.len() > max {
            return Err(wrong());
        }
        let object = |row: &RawValue| match serde_json::from_str::<String>(row.get()) {
            Ok(text) => Fields::from_json(text.as_bytes()), // of a form
            Err(_) => Fields::from_json(row.get().as_bytes()),
        };
        rows.into_iter().map(object).collect()
    }

    /// A list of one to `max` strings, which must be there.
    pub fn texts(&mut self, name: &str, max: usize) -> Result<Vec<String>, Error> {
        let wrong = || Error::invalid(format!("{name} is a list of 1 to {max} strings"));
        let Some(FieldValue::Text(text) | FieldValue::Json(text)) = self.take(name) else { return Err(wrong()) };
        let texts: Vec<String> = serde_json::from_str(&text).map_err(|_| wrong())?;
        if (1..=max).contains(&texts.len()) { Ok(texts) } else { Err(wrong()) }
    }

    /// The same; none if it was left out.
    pub fn optional_texts(&mut self, name: &str, max: usize) -> Result<Option<Vec<String>>, Error> {
        if self.has(name) { self.texts(name, max).map(Some) } else { Ok(None) }
    }

    /// `reference` and `metadata`.
    pub fn note(&mut self) -> Result<Note, Error> {
        Note::new(self.text("reference")?, self.metadata()?)
    }

    fn metadata(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let text = match self.take("metadata") {
            None => return Ok(BTreeMap::new()),
            Some(FieldValue::Text(_)) => return Err(Note::invalid_metadata()),
            Some(FieldValue::Json(text)) => text,
        };
        let pairs = Fields::from_json(text.as_bytes()).map_err(|_| Note::invalid_metadata())?.0;
        let text_pair = |(name, value)| match value? {
            FieldValue::Text(text) => Some(Ok((name, text))),
            FieldValue::Json(_) => Some(Err(Note::invalid_metadata())),
        };
        pairs.into_iter().filter_map(text_pair).collect()
    }
}

/// The most pairs of metadata in a filter.
const WANTED_PAIRS_MAX: usize = 3;

fn hint_of_plus(text: &str) -> &'static str {
    if text.contains(' ') { ". A + in a query is written %2B" } else { "" }
}

fn sent_twice(name: &str) -> Error {
    let name: String = name.chars().take(64).collect();
    Error::invalid(format!("the field {name:?} was sent twice"))
}

/// Reads a JSON object whose names are each there once.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let raw: &RawValue = map.next_value()?;
                    let value = match raw.get() {
                        "null" => None,
                        text if text.starts_with('"') => {
                            Some(FieldValue::Text(serde_json::from_str(text).map_err(serde::de::Error::custom)?))
                        }
                        text => Some(FieldValue::Json(text.to_owned())),
                    };
                    if fields.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a field is there twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
