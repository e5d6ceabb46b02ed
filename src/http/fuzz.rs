//! What is fuzzed: everything that reads a stranger's bytes, each as a function that must not panic. `fuzz/` runs them
//! under coverage guidance; the test below runs them on the seeds in `tests/seeds` and on mutations of those, each time.
//!
//! To keep an input that once was trouble, put it in its target's folder of seeds.

use super::conn::{RequestHead, fuzz as conn};
use super::fields::{Fields, Value};
use super::{batch, language, list, request, route};
use crate::clock;
use crate::id::{CouponCode, EntryId, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId};
use crate::money::{Cents, Money};
use crate::token;

/// A name and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All there are.
pub const TARGETS: &[Target] = &[
    ("head", head),
    ("form", form),
    ("json", json),
    ("amount", amount),
    ("cursor", cursor),
    ("batch", batch),
    ("names", names),
];

/// The target of that name.
pub fn target(name: &str) -> fn(&[u8]) {
    TARGETS.iter().find(|(own, _)| *own == name).expect("a target of this name").1
}

/// A request's head, and everything that is decided by it.
pub fn head(data: &[u8]) {
    let Some(head) = conn::head(data) else { return };
    if let Ok((_, params)) = route::find(&head.method, &head.path) {
        assert!(params.iter().all(|param| !param.is_empty()), "a route has all of its parameters");
    }
    let _ = super::auth::check_origin(&head, &["shop.example".to_owned()]);
    let _ = language(&head);
    let _ = request::media_type(&head);
    if let Some(query) = &head.query {
        form(query.as_bytes());
    }
}

/// A form: what it says is what the same form written anew says.
pub fn form(data: &[u8]) {
    let Ok(fields) = Fields::from_form(data) else { return };
    let mut again = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.all() {
        match value {
            Value::Text(text) => drop(again.append_pair(name, text)),
            Value::Json(metadata) => {
                let metadata: serde_json::Map<String, serde_json::Value> = serde_json::from_str(metadata).unwrap();
                for (key, text) in &metadata {
                    again.append_pair(&format!("metadata[{key}]"), text.as_str().expect("of strings"));
                }
            }
        }
    }
    assert_eq!(Fields::from_form(again.finish().as_bytes()).ok().as_ref(), Some(&fields));
    take_all(fields);
}

/// A JSON body: another reader of it reads the same fields.
pub fn json(data: &[u8]) {
    let Ok(fields) = Fields::from_json(data) else { return };
    // Numbers too large for it and nesting too deep for it are no trouble to us.
    if let Ok(other) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(data) {
        let theirs = other.iter().filter(|(_, value)| !value.is_null()).count();
        assert_eq!(fields.all().count(), theirs, "each field is read once");
    }
    take_all(fields);
}

/// Reads every field as everything it could be.
fn take_all(fields: Fields) {
    let names: Vec<String> = fields.all().map(|(name, _)| name.clone()).collect();
    for name in &names {
        let again = || fields.clone();
        if let Ok(Some(amount)) = again().amount(name) {
            assert!(amount >= Money::MIN && amount <= Money::MAX);
        }
        if let Ok(Some(number)) = again().integer(name, -5..=5) {
            assert!((-5..=5).contains(&number));
        }
        let _ = again().text(name);
        let _ = again().user(name);
        let _ = again().flag(name);
        if let Ok(Some(time)) = again().time(name) {
            let text = clock::rfc3339(time);
            assert_eq!(clock::parse_rfc3339(&text), Some(time), "a time is written as it is read: {text}");
        }
        let _ = again().the_list(name, 100);
        if let Ok(texts) = again().texts(name, 16) {
            assert!((1..=16).contains(&texts.len()));
        }
    }
    if let Ok(note) = fields.clone().note()
        && let Some(metadata) = note.metadata
    {
        let mut again = Fields::from_json(format!("{{\"metadata\":{metadata}}}").as_bytes()).expect("it is JSON");
        assert_eq!(again.note().expect("it is a note").metadata, Some(metadata), "metadata has one form");
    }
    let mut fields = fields;
    let _ = fields.check(super::money::PAY);
}

/// An amount: taken exactly if its digits say what an amount may be.
pub fn amount(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let money = Money::parse(text).ok();
    assert_eq!(money.map(Money::cents), cents(text), "{text:?}");
    if let Some(money) = money {
        assert_eq!(Money::parse(&money.to_string()).ok(), Some(money));
        assert_eq!(Cents(money.cents()).to_string(), money.to_string());
        for percent in [1, 20, 99, 100] {
            assert!((0..=money.cents()).contains(&money.percent(percent)));
        }
    }
}

/// The same by counting digits.
fn cents(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "00"));
    let fits = (1..=13).contains(&whole.len()) && (1..=2).contains(&decimals.len());
    let digits = format!("{whole}{decimals:0<2}");
    if !fits || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|cents| (1..=100_000_000_000_000).contains(cents))
}

/// A cursor, as it comes and as it is made.
pub fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let filters = ["kind", "since"];
    let query = |after: &str| {
        let mut query = Fields::default();
        query.put_default("after", after);
        query
    };
    let _ = list::page(&mut query(text), "entries", &filters);
    let mut asked = Fields::default();
    asked.put_default("kind", text);
    let Ok(page) = list::page(&mut asked, "entries", &filters) else { return };
    let mut next = query(&page.next(text));
    let Ok(page) = list::page(&mut next, "entries", &filters) else { panic!("our own cursor is refused") };
    assert_eq!((page.after.as_deref(), next.peek("kind")), (Some(text), Some(text)), "it keeps place and filters");
    assert!(list::page(&mut query(&page.next(text)), "wallets", &filters).is_err(), "it is of one list");
}

/// A batch in both of its forms: the first byte chooses.
pub fn batch(data: &[u8]) {
    let Some((form, body)) = data.split_first() else { return };
    let mut head = RequestHead::new("POST", "/v1/batch", None);
    head.push_header("content-type", if form % 2 == 0 { "application/json" } else { "application/x-ndjson" });
    for item in batch::split(&head, body).unwrap_or_default() {
        json(item);
    }
}

/// Ids, keys, codes and tokens: what is taken is written as it was read.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let same = |written: &str| assert_eq!(written, text);
    let _ = UserId::parse(text).map(|user| {
        same(user.as_str());
        assert!(WalletId::parse(text).is_ok() && user.wallet().lock().is_some());
    });
    let _ = WalletId::parse(text).map(|wallet| same(wallet.as_str()));
    let _ = IdempotencyKey::parse(text).map(|key| same(key.as_str()));
    let _ = LockId::parse(text).map(|id| same(id.as_str()));
    let _ = LockSecret::parse(text).map(|secret| same(secret.as_str()));
    let _ =
        CouponCode::parse(text).map(|code| same(&if text == code.as_str() { code.to_string() } else { text.into() }));
    let _ = EntryId::parse(text).map(|id| assert_eq!(text.trim_start_matches('0').parse().unwrap_or(0), id.0));
    if let Some(token) = LockToken::parse(text) {
        assert_eq!(LockToken::parse(&token.to_string()), Some(token));
    }
    let _ = token::is_secret(text);
    if let Some(time) = clock::parse_rfc3339(text) {
        assert_eq!(clock::parse_rfc3339(&clock::rfc3339(time)), Some(time), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const MUTATIONS: u64 = 1_000;

    /// Numbers that look random and are the same each time.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % bound.max(1)
        }
    }

    fn mutated(seed: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=chance.below(4) {
            let place = chance.below(bytes.len() + 1);
            match chance.below(4) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, chance.below(256) as u8),
                2 if place < bytes.len() => bytes[place] ^= 1 << chance.below(8),
                _ => {
                    let from = chance.below(other.len());
                    let piece = &other[from..(from + chance.below(12)).min(other.len())];
                    bytes.splice(place..place, piece.iter().copied());
                }
            }
        }
        bytes
    }

    #[test]
    fn no_seed_and_no_mutation_of_one_is_too_much() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
        let mut chance = Chance(1);
        for (name, run) in TARGETS {
            let files = std::fs::read_dir(seeds.join(name)).expect("every target has seeds");
            let mut seeds: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
            seeds.sort(); // folders have no order, and a run can be repeated
            run(b"");
            for seed in &seeds {
                run(seed);
                for _ in 0..MUTATIONS {
                    run(&mutated(seed, &seeds[chance.below(seeds.len())], &mut chance));
                }
            }
        }
    }
}
