//! Requests as an honest client might send them, of every route there is: they are made from the route table.

use super::Known;
use crate::dice::Dice;
use cashbox::internals::http::endpoint::{Route, RouteBody};
use cashbox::internals::http::routes::ROUTES;

/// A request before it is bytes.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub version: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Content,
}

/// A body whose parts can still be changed.
#[derive(Clone)]
pub enum Content {
    None,
    /// Names, and values as JSON text.
    Json(Vec<(String, String)>),
    Form(Vec<(String, String)>),
    /// Objects, and whether they stand in lines or in an array.
    Batch(Vec<Vec<(String, String)>>, bool),
    Bytes(Vec<u8>),
}

const USERS: [&str; 6] = ["u0", "u1", "u2", "u3", "u4", "u5"];
const LOCKS: [&str; 7] = ["l0", "l1", "a/b/c", "wallet/u0", "wallet/u1", "wallet/u2", "x%2Frevoke"];
const AMOUNTS: [&str; 8] = ["0.01", "1", "3.37", "20.5", "100", "300", "500.00", "100000"];
const TIMES: [&str; 3] = ["2026-01-01T00:00:00Z", "2036-01-01T00:00:00.5+01:00", "1970-01-01T00:00:00Z"];
const WORDS: [&str; 5] = ["lunch", "order 17", "零钱", "a,b\"c", "x"];
/// These cost much, so they come seldom.
const HEAVY: [&str; 2] = ["/v1/verify", "/openapi.json"];
const SELDOM: usize = 40;
const ITEMS_MAX: usize = 12;

impl Request {
    /// A good request of some route.
    pub fn any(dice: &mut Dice, known: &Known) -> Request {
        let mut route = dice.pick(ROUTES);
        while HEAVY.contains(&route.path) && !dice.one_in(SELDOM) {
            route = dice.pick(ROUTES);
        }
        Request::of(route, dice, known)
    }

    /// A good money verb by the admin under a key of its own: the same again is answered the same.
    pub fn once(dice: &mut Dice, known: &Known) -> Request {
        let verbs: Vec<&Route> = ROUTES.iter().filter(|route| is_money_verb(route)).collect();
        let verb = *dice.pick(&verbs);
        let mut request = Request::of(verb, dice, known);
        let key = format!("once-{:x}-{:x}", dice.below(usize::MAX), dice.below(usize::MAX));
        request
            .headers
            .retain(|(name, _)| !["Authorization", "Idempotency-Key", "Lock-Token"].contains(&name.as_str()));
        request.headers.push(("Authorization".to_owned(), format!("Bearer {}", known.admin)));
        request.headers.push(("Idempotency-Key".to_owned(), key));
        request
    }

    fn of(route: &Route, dice: &mut Dice, known: &Known) -> Request {
        let path: Vec<String> = route.path.split('/').map(|part| segment(route.path, part, dice, known)).collect();
        let query = fill(route.query.iter().map(|field| (field.name, field.optional)), dice, known)
            .into_iter()
            .map(|(name, value)| (name, plain(&value)))
            .collect();
        let body = match route.body {
            RouteBody::Empty => Content::None,
            RouteBody::Fields([]) => Content::None,
            RouteBody::Fields(fields) => {
                let pairs = fill(fields.iter().map(|field| (field.name, field.optional)), dice, known);
                if dice.one_in(3) { Content::Form(pairs) } else { Content::Json(pairs) }
            }
            RouteBody::Batch => {
                let items = (0..dice.below(ITEMS_MAX)).map(|_| item(dice, known)).collect();
                Content::Batch(items, dice.one_in(2))
            }
        };
        let headers = headers(&body, dice, known);
        let method = if route.method == "GET" && dice.one_in(8) { "HEAD" } else { route.method };
        Request { method: method.to_owned(), path: path.join("/"), query, version: "HTTP/1.1", headers, body }
    }

    /// Path and query.
    pub fn target(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        let query = query.finish();
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }

    /// The body's bytes.
    pub fn content(&self) -> Vec<u8> {
        match &self.body {
            Content::None => Vec::new(),
            Content::Json(pairs) => object(pairs).into_bytes(),
            Content::Form(pairs) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(pairs.iter().map(|(name, value)| (name, plain(value))));
                form.finish().into_bytes()
            }
            Content::Batch(items, lines) => {
                let items: Vec<String> = items.iter().map(|item| object(item)).collect();
                if *lines { items.join("\n").into_bytes() } else { format!("[{}]", items.join(",")).into_bytes() }
            }
            Content::Bytes(bytes) => bytes.clone(),
        }
    }

    /// The whole request with its right length.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.content();
        let mut head = format!("{} {} {}\r\n", self.method, self.target(), self.version);
        self.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        [head.into_bytes(), body].concat()
    }
}

/// The required fields, and some of the optional ones. (A revoke without a delay blocks a lock for ten seconds, which
/// is longer than the run.)
fn fill(fields: impl Iterator<Item = (&'static str, bool)>, dice: &mut Dice, known: &Known) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, optional) in fields {
        if !optional || name == "delay_ms" || dice.one_in(3) {
            pairs.push((name.to_owned(), value(name, dice, known)));
        }
    }
    pairs
}

fn is_money_verb(route: &Route) -> bool {
    let verbs = ["/recharge", "/withdraw", "/pay", "/transfer", "/refund"];
    verbs.iter().any(|verb| route.path.ends_with(verb))
}

fn segment(path: &str, part: &str, dice: &mut Dice, known: &Known) -> String {
    match part {
        "{user}" if dice.one_in(12) => (*dice.pick(&["@sales", "@bank", "ghost"])).to_owned(),
        "{user}" => user(dice),
        "{code}" => known.coupons.pick(dice, "ABCD"),
        "{id...}" => (*dice.pick(&LOCKS)).to_owned(),
        "{id}" if path.starts_with("/v1/tokens") => known.token_ids.pick(dice, "tok:none"),
        "{id}" => known.entries.pick(dice, "1"),
        other => other.to_owned(),
    }
}

fn user(dice: &mut Dice) -> String {
    (*dice.pick(&USERS)).to_owned()
}

/// A value for the field of that name, as JSON text.
fn value(name: &str, dice: &mut Dice, known: &Known) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match name {
        "limit_per_payment" | "limit_per_day" => one_of(dice, &["5", "500.00", "100000"]),
        "status" => one_of(dice, &["open", "open", "frozen", "closed"]),
        "amount" | "money" | "from" if dice.one_in(2) => (*dice.pick(&AMOUNTS)).to_owned(),
        "amount" | "money" | "from" => one_of(dice, &AMOUNTS),
        "user" | "user_id" | "to" => text(&user(dice)),
        "coupon" => text(&known.coupons.pick(dice, "ABCD")),
        "kind" => one_of(dice, &["1", "2", "3", "recharge", "pay", "refund"]),
        "metadata" => format!("{{{}:{}}}", one_of(dice, &WORDS), one_of(dice, &WORDS)),
        "after" => text(&known.cursors.pick(dice, "00")),
        "limit" => (1 + dice.below(60)).to_string(),
        "since" | "until" | "as_of" => one_of(dice, &TIMES),
        "order" => one_of(dice, &["asc", "desc"]),
        "state" => one_of(dice, &["held", "grace", "stale", "revoked"]),
        "prefix" => one_of(dice, &["", "l", "wallet/"]),
        "atomic" | "single_use" => (*dice.pick(&["true", "false"])).to_owned(),
        "role" => one_of(dice, &["user", "teller", "auditor"]),
        "ids" => format!("[{},{}]", one_of(dice, &LOCKS), one_of(dice, &LOCKS)),
        "tiers" => r#"[{"from":100,"coupon_kind":"3"},{"from":"300","coupon_kind":"1"},{"from":500,"coupon_kind":"2"}]"#.to_owned(),
        "coupon_kinds" => r#"[{"kind":"1","amount_off":50,"threshold":300},{"kind":"2","percent_off":20,"single_use":false},{"kind":"3","amount_off":10}]"#.to_owned(),
        "secret" => one_of(dice, &["0123456789abcdef", "another-secret-of-others"]),
        "fence" => known.fences.pick(dice, "1"),
        "ttl_ms" | "max_hold_ms" => (1 + dice.below(50)).to_string(),
        "wait_ms" | "grace_ms" | "delay_ms" => dice.below(20).to_string(),
        "expires_in_s" => (1 + dice.below(3)).to_string(),
        _ => one_of(dice, &WORDS),
    }
}

/// JSON text as it stands in a form or a query.
fn plain(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

fn object(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str()))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn item(dice: &mut Dice, known: &Known) -> Vec<(String, String)> {
    let op = *dice.pick(&["recharge", "withdraw", "pay", "transfer", "refund"]);
    let mut pairs = vec![("op".to_owned(), format!("\"{op}\""))];
    let mut names = vec!["amount"];
    match op {
        "refund" => pairs.push(("entry".to_owned(), known.entries.pick(dice, "1"))),
        "transfer" => names.extend(["user", "to"]),
        "pay" => names.extend(["user", "coupon"]),
        _ => names.push("user"),
    }
    names.extend(["reference", "metadata"].iter().filter(|_| dice.one_in(4)));
    pairs.extend(names.into_iter().map(|name| (name.to_owned(), value(name, dice, known))));
    if dice.one_in(4) {
        pairs.push(("key".to_owned(), format!("\"item-{}\"", dice.below(500))));
    }
    pairs
}

fn headers(body: &Content, dice: &mut Dice, known: &Known) -> Vec<(String, String)> {
    let mut headers = vec![("Host", "localhost".to_owned())];
    match dice.below(16) {
        0 => {}
        1..=5 => headers.push(("Authorization", format!("Bearer {}", known.access.pick(dice, &known.admin)))),
        _ => headers.push(("Authorization", format!("Bearer {}", known.admin))),
    }
    match body {
        Content::None => {}
        Content::Form(_) => headers.push(("Content-Type", "application/x-www-form-urlencoded".to_owned())),
        Content::Batch(_, true) => headers.push(("Content-Type", "application/x-ndjson".to_owned())),
        _ => headers.push(("Content-Type", "application/json; charset=utf-8".to_owned())),
    }
    if dice.one_in(3) {
        headers.push(("Idempotency-Key", format!("key-{}", dice.below(500))));
    }
    if dice.one_in(6) {
        headers.push(("Lock-Token", known.lock_tokens.pick(dice, "lk1.none.1.0123456789abcdef")));
    }
    if dice.one_in(10) {
        headers.push(("Accept", (*dice.pick(&["text/csv", "application/x-ndjson", "*/*"])).to_owned()));
    }
    if dice.one_in(10) {
        headers.push(("Accept-Language", (*dice.pick(&["zh", "en;q=0.5, zh;q=0.4", "fr"])).to_owned()));
    }
    // Who waits for long makes the run long.
    headers.push(("Prefer", "wait=1".to_owned()));
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// One of these texts, as JSON.
fn one_of(dice: &mut Dice, all: &[&str]) -> String {
    serde_json::Value::from(*dice.pick(all)).to_string()
}
