//! The targets that are fuzzed: all code that reads bytes of unknown clients, each target a function that must not panic.
//! `fuzz/` runs them under coverage guidance; a test runs them on the seeds in `tests/seeds` and on mutations of those.
//!
//! To keep an input that made a target fail, put it in the target's folder of seeds.

use cashbox::internals::clock;
use cashbox::internals::http::conn::{Limits, RequestHead, has_end, parse_head};
use cashbox::internals::http::fields::{FieldValue, Fields};
use cashbox::internals::http::request::{PageRequest, media_type};
use cashbox::internals::http::{auth, batch, routes, wallets};
use cashbox::internals::id::{CouponCode, EntryId, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId};
use cashbox::internals::money::{Cents, Money};
use cashbox::internals::token;

/// A name, and the function that takes some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("head", head),
    ("form", form),
    ("json", json),
    ("amount", amount),
    ("cursor", cursor),
    ("batch", batch),
    ("names", names),
];

/// A request's head, and everything that is decided by it.
pub fn head(data: &[u8]) {
    let Some(head) = read_head(data) else { return };
    if let Ok((_, params)) = routes::find(&head.method, &head.path) {
        assert!(params.iter().all(|param| !param.is_empty()), "a route has all of its parameters");
    }
    let _ = auth::check_origin(&head, &["shop.example".to_owned()], &["https://shop.example".to_owned()]);
    let _ = routes::language(&head);
    let _ = media_type(&head);
    if let Some(query) = &head.query {
        form(query.as_bytes());
    }
}

/// The head at the beginning of `data`, if there is a good one.
fn read_head(data: &[u8]) -> Option<RequestHead> {
    let limits = Limits::default();
    let (head, length) = parse_head(data, &limits).ok()??;
    let bytes = &data[..length];
    let (again, same) = parse_head(bytes, &limits).ok().flatten().expect("bytes behind a head change nothing");
    assert_eq!(same, length);
    assert_eq!((&again.method, &again.path, &again.query), (&head.method, &head.path, &head.query));
    assert_eq!(again.content_length, head.content_length);
    for end in 0..length {
        assert!(!matches!(parse_head(&bytes[..end], &limits), Ok(Some(_))), "a part of a head is not a head");
        assert!(has_end(bytes, end), "its end is noticed, however much was searched before");
    }
    assert!(head.path.starts_with('/'));
    assert_eq!(head.chunked, head.header("transfer-encoding").is_some());
    assert!(!head.chunked || (head.header("content-length").is_none() && !head.http_1_0));
    assert!(head.headers("host").count() <= 1 && head.headers("content-length").count() <= 1);
    assert!(!bytes.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)));
    Some(head)
}

/// A form: the same form written anew has the same fields.
pub fn form(data: &[u8]) {
    let Ok(fields) = Fields::from_form(data, &[]) else { return };
    let mut again = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.all() {
        match value {
            FieldValue::Text(text) => drop(again.append_pair(name, text)),
            FieldValue::Json(metadata) => {
                let metadata: serde_json::Map<String, serde_json::Value> = serde_json::from_str(metadata).unwrap();
                for (key, text) in &metadata {
                    again.append_pair(&format!("metadata[{key}]"), text.as_str().expect("of strings"));
                }
            }
        }
    }
    assert_eq!(Fields::from_form(again.finish().as_bytes(), &[]).ok().as_ref(), Some(&fields));
    take_all(fields);
}

/// A JSON body: another reader of it reads the same fields.
pub fn json(data: &[u8]) {
    let Ok(fields) = Fields::from_json(data) else { return };
    // Numbers too large and nesting too deep for the other reader are fine for ours.
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
        if let Ok(Some(time)) = again().moment(name, clock::DayEdge::Start)
            && clock::rfc3339(time).contains('T')
        {
            let text = clock::rfc3339(time);
            assert_eq!(clock::parse_rfc3339(&text), Some(time), "a time is written as it is read: {text}");
        }
        let _ = again().objects(name, 100);
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
    let _ = fields.check(wallets::PAY);
}

/// An amount: taken exactly if its digits are those of a valid one.
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
    let _ = PageRequest::read(&mut query(text), "entries", &filters);
    let mut asked = Fields::default();
    asked.put_default("kind", text);
    let Ok(page) = PageRequest::read(&mut asked, "entries", &filters) else { return };
    let mut next = query(&page.next(text));
    let Ok(page) = PageRequest::read(&mut next, "entries", &filters) else { panic!("a cursor made here is refused") };
    assert_eq!((page.after.as_deref(), next.peek("kind")), (Some(text), Some(text)), "it keeps place and filters");
    assert!(PageRequest::read(&mut query(&page.next(text)), "wallets", &filters).is_err(), "it is of one list");
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

/// Ids, keys, codes and tokens: one that is taken is written as it was read.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let same = |written: &str| assert_eq!(written, text);
    let _ = UserId::parse(text).map(|user| {
        same(user.as_str());
        assert!(WalletId::parse(text).is_ok() && user.wallet().lock().is_some());
    });
    let _ = WalletId::parse(text).map(|wallet| same(wallet.as_str()));
    let _ = IdempotencyKey::parse(text)
        .map(|key| assert!(text == key.as_str() || text == format!("\"{}\"", key.as_str()), "{text} as {key:?}"));
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
