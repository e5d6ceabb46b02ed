//! The fields of a body or a query, whether they came as JSON or as a form. What a route takes stands in the route
//! table; anything else is refused by name, before a handler sees it.

use crate::error::{Error, ErrorName};
use crate::id::UserId;
use crate::ledger::Note;
use crate::money::Money;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// One value, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text: of a form, or a JSON string.
    Text(String),
    /// Any other JSON, to the letter: a number's own digits, never a float.
    Json(String),
}

/// The fields that have not been taken yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(BTreeMap<String, Value>);

/// What a field holds: how the description of the API calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
    /// A list.
    List,
}

/// A field that a route takes.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means.
    pub about: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
}

/// A field that must be there.
pub const fn need(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, about, optional: false }
}

/// A field that may be there.
pub const fn may(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, about, optional: true }
}

impl Fields {
    /// A query string or a form body. `metadata[key]=value` adds to the object `metadata`.
    pub fn from_form(text: &[u8]) -> Result<Fields, Error> {
        if percent_encoding::percent_decode(text).decode_utf8().is_err() {
            return Err(Error::invalid("a form is UTF-8 under its percent signs"));
        }
        let mut fields = BTreeMap::new();
        let mut metadata = serde_json::Map::new();
        for (name, value) in form_urlencoded::parse(text) {
            let inner = name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
            let twice = match inner {
                Some(key) => metadata.insert(key.to_owned(), value.into_owned().into()).is_some(),
                None => fields.insert(name.clone().into_owned(), Value::Text(value.into_owned())).is_some(),
            };
            if twice {
                return Err(sent_twice(&name));
            }
        }
        if !metadata.is_empty() {
            let object = Value::Json(serde_json::Value::Object(metadata).to_string());
            if fields.insert("metadata".to_owned(), object).is_some() {
                return Err(sent_twice("metadata"));
            }
        }
        Ok(Fields(fields))
    }

    /// A JSON object. `null` is the same as not being there.
    pub fn from_json(text: &[u8]) -> Result<Fields, Error> {
        let object: Object = serde_json::from_slice(text).map_err(|error| {
            let error = error.to_string();
            Error::invalid(format!("the body is not a JSON object of fields, each once: {}", error.escape_debug()))
        })?;
        Ok(Fields(object.0))
    }

    /// Refuses every field the route does not take, and says what it does take. `money` is the old name of `amount`.
    pub fn check(&mut self, taken: &[Field]) -> Result<(), Error> {
        let takes = |name: &str| taken.iter().any(|field| field.name == name);
        if takes("amount")
            && let Some(money) = self.0.remove("money")
            && self.0.insert("amount".to_owned(), money).is_some()
        {
            return Err(Error::invalid("money is the old name of amount: send one of them"));
        }
        match self.0.keys().find(|name| !takes(name)) {
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

    /// All that have not been taken, by name.
    #[cfg(any(test, fuzzing))]
    pub fn all(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a field as it was written.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// What a text field says, without taking it.
    pub fn peek(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::Text(text) | Value::Json(text) => Some(text),
        }
    }

    /// Puts a field in, if it is not there.
    pub fn put_default(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| Value::Text(value.to_owned()));
    }

    /// An amount, if it is there.
    pub fn amount(&mut self, name: &str) -> Result<Option<Money>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Money::parse(&text).map(Some),
            Some(Value::Json(number)) => Money::parse(&number).map(Some),
        }
    }

    /// An amount that must be there.
    pub fn the_amount(&mut self) -> Result<Money, Error> {
        self.amount("amount")?.ok_or_else(|| Error::new(ErrorName::InvalidAmount, "amount is missing"))
    }

    /// Text, if it is there.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Json(_)) => Err(Error::invalid(format!("{name} is text"))),
        }
    }

    /// Text that must be there.
    pub fn the_text(&mut self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::invalid(format!("{name} is missing")))
    }

    /// Text or a number, as text: a name that looks like a number may be sent as one.
    pub fn name(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            Some(Value::Json(number)) if number.starts_with(|c: char| c.is_ascii_digit()) => Ok(Some(number)),
            Some(Value::Json(_)) => Err(Error::invalid(format!("{name} is text"))),
            Some(Value::Text(text)) => Ok(Some(text)),
            None => Ok(None),
        }
    }

    /// A user, if one is named.
    pub fn user(&mut self, name: &str) -> Result<Option<UserId>, Error> {
        self.name(name)?.map(|user| UserId::parse(&user)).transpose()
    }

    /// A whole number within `range`, if it is there.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Error> {
        let Some(Value::Text(text) | Value::Json(text)) = self.take(name) else { return Ok(None) };
        let plain = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let number = if plain { text.parse().ok() } else { None };
        number.filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
            Error::invalid(format!("{name} is a whole number from {} to {}", range.start(), range.end()))
                .with("field", name)
        })
    }

    /// `true` or `false`; false if it is not there.
    pub fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Text(text) | Value::Json(text)) => {
                text.parse().map_err(|_| Error::invalid(format!("{name} is true or false")))
            }
        }
    }

    /// A time, if it is there, in milliseconds since 1970.
    pub fn time(&mut self, name: &str) -> Result<Option<i64>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = crate::clock::parse_rfc3339(&text);
        time.map(Some).ok_or_else(|| Error::invalid(format!("{name} is a time such as 2026-01-31T12:00:00Z")))
    }

    /// A list of at most `max` objects, which must be there.
    pub fn the_list(&mut self, name: &str, max: usize) -> Result<Vec<Fields>, Error> {
        let wrong = || Error::invalid(format!("{name} is a list of at most {max} objects"));
        let Some(Value::Text(text) | Value::Json(text)) = self.take(name) else { return Err(wrong()) };
        let rows: Vec<&RawValue> = serde_json::from_str(&text).map_err(|_| wrong())?;
        if rows.len() > max {
            return Err(wrong());
        }
        rows.into_iter().map(|row| Fields::from_json(row.get().as_bytes())).collect()
    }

    /// A list of one to `max` strings, which must be there.
    pub fn texts(&mut self, name: &str, max: usize) -> Result<Vec<String>, Error> {
        let wrong = || Error::invalid(format!("{name} is a list of 1 to {max} strings"));
        let Some(Value::Text(text) | Value::Json(text)) = self.take(name) else { return Err(wrong()) };
        let texts: Vec<String> = serde_json::from_str(&text).map_err(|_| wrong())?;
        if (1..=max).contains(&texts.len()) { Ok(texts) } else { Err(wrong()) }
    }

    /// `reference` and `metadata`.
    pub fn note(&mut self) -> Result<Note, Error> {
        Note::new(self.text("reference")?, self.metadata()?)
    }

    fn metadata(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let text = match self.take("metadata") {
            None => return Ok(BTreeMap::new()),
            Some(Value::Text(_)) => return Err(Note::invalid_metadata()),
            Some(Value::Json(text)) => text,
        };
        let pairs = Fields::from_json(text.as_bytes()).map_err(|_| Note::invalid_metadata())?.0;
        let text_pair = |(name, value)| match value {
            Value::Text(text) => Ok((name, text)),
            Value::Json(_) => Err(Note::invalid_metadata()),
        };
        pairs.into_iter().map(text_pair).collect()
    }
}

fn sent_twice(name: &str) -> Error {
    let name: String = name.chars().take(64).collect();
    Error::invalid(format!("the field {name:?} was sent twice"))
}

/// A JSON object whose fields each stand in it once.
struct Object(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Object;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let (mut fields, mut nulls) = (BTreeMap::new(), BTreeSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    let raw: &RawValue = map.next_value()?;
                    let value = match raw.get() {
                        "null" => None,
                        text if text.starts_with('"') => {
                            Some(Value::Text(serde_json::from_str(text).map_err(serde::de::Error::custom)?))
                        }
                        text => Some(Value::Json(text.to_owned())),
                    };
                    let twice = match value {
                        Some(value) => nulls.contains(&name) || fields.insert(name, value).is_some(),
                        None => fields.contains_key(&name) || !nulls.insert(name),
                    };
                    if twice {
                        return Err(serde::de::Error::custom("a field stands in it twice"));
                    }
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Once)
    }
}
