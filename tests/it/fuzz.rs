//! Requests that nobody would send: made from the route table, with values that are right, nearly right and absurd, and
//! then spoilt byte by byte. The real server answers or hangs up, and is afterwards what it was before.
//!
//! `CASHBOX_SEED` repeats a run, `CASHBOX_FUZZ_REQUESTS` lengthens it.

use crate::crash::audit_finds_nothing;
use crate::dice::Dice;
use crate::server::{ADMIN, PATIENCE, Server};
use cashbox::http::route::{Body, ROUTES, Route};
use serde_json::{Map, Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

/// How many requests, if `CASHBOX_FUZZ_REQUESTS` does not say.
const REQUESTS: usize = 12_000;
const THREADS: usize = 4;
const PIPELINED_MAX: usize = 8;
/// Readers and the connection that moves the log are opened when first needed, with three descriptors each.
const READERS_DESCRIPTORS: usize = 5 * 3;

/// What fields and path parameters are filled with: most of it is good for something.
const WORDS: &[&str] = &[
    "alice",
    "bob",
    "@bank",
    "@sales",
    "a",
    ".",
    "..",
    "1",
    "2",
    "7",
    "0",
    "-1",
    "1.00",
    "0.01",
    "0.001",
    "1e9",
    "nan",
    "inf",
    "1000000000000.00",
    "1000000000000.01",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    " 5 ",
    "٣",
    "",
    "null",
    "true",
    "asc",
    "desc",
    "recharge",
    "pay",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "-9999-01-01T00:00:00Z",
    "0000-00-00",
    "wallet/alice",
    "wallet/bob",
    "job",
    "wallet%2Falice",
    "%",
    "%zz",
    "%00",
    "%2e%2e",
    "\u{0}",
    "\u{feff}",
    "🦀",
    "é",
    "lk1.a.1.aaaaaaaaaaaaaaaa",
    "lk1...",
    "AAAA",
    "7K2Q",
    "eyJhIjoxfQ",
    "W10",
    "user",
    "admin",
    "'; DROP TABLE wallet; --",
    "<script>",
    "\r\n",
    "{\"a\":1}",
    "[[[[[[[[",
    "0123456789abcdef0123456789abcdef",
];

struct Maker {
    dice: Dice,
    tokens: Vec<String>,
}

impl Maker {
    fn word(&mut self) -> String {
        match self.dice.below(12) {
            0 => "x".repeat(self.dice.below(600)),
            1 => self.dice.below(1_000_000).to_string(),
            2 => format!("{}.{:02}", self.dice.below(1_000), self.dice.below(100)),
            3..=5 => (*self.dice.pick(&["alice", "bob", "job", "wallet/alice", "1.00"])).to_owned(),
            _ => (*self.dice.pick(WORDS)).to_owned(),
        }
    }

    /// Something that is right for a field of that name, as often as not.
    fn fitting(&mut self, name: &str) -> Option<Value> {
        let number = self.dice.below(40);
        let text = |words: &[&str]| Some(json!(words[number % words.len()]));
        match name {
            _ if self.dice.one_in(4) => None,
            "amount" | "from" | "threshold" => Some(json!(format!("{}.{:02}", number / 9, number))),
            "to" | "user" | "user_id" => text(&["alice", "bob"]),
            "entry" | "id" | "fence" | "limit" => Some(json!(number)),
            "ttl_ms" | "grace_ms" | "max_hold_ms" | "delay_ms" => Some(json!(number * 10)),
            "wait_ms" => Some(json!(number % 3)),
            "id..." => text(&["job", "wallet/alice", "wallet%2Fbob", "a", "b"]),
            "ids" => Some(json!([number.to_string(), "job"])),
            "secret" => text(&["aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"]),
            "reference" | "reason" | "holder" | "note" | "key" => Some(json!(format!("n{number}"))),
            "metadata" => Some(json!({ "a": number.to_string() })),
            "role" => text(&["user", "teller", "auditor"]),
            "kind" => text(&["1", "2", "3", "recharge"]),
            "since" | "until" | "as_of" => text(&["2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]),
            "order" => text(&["asc", "desc"]),
            _ => None,
        }
    }

    /// The same as text in a path, a query or a form.
    fn fitting_word(&mut self, name: &str) -> String {
        match self.fitting(name) {
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
            None => self.word(),
        }
    }

    fn value(&mut self, deep: usize) -> Value {
        match self.dice.below(14) {
            0 => Value::Null,
            1 => json!(self.dice.one_in(2)),
            2 => json!(self.dice.below(100_000)),
            3 => json!(-1),
            4 => json!(u64::MAX),
            5 => serde_json::from_str("1e400").unwrap_or(json!(1e300)),
            6 if deep > 0 => (0..self.dice.below(4)).map(|_| self.value(deep - 1)).collect(),
            7 if deep > 0 => self.object(&["from", "coupon_kind", "kind", "amount_off", "a"], deep - 1),
            _ => json!(self.word()),
        }
    }

    fn object(&mut self, names: &[&str], deep: usize) -> Value {
        let mut object = Map::new();
        for (place, name) in names.iter().enumerate() {
            if !self.dice.one_in(if place == 0 { 12 } else { 2 }) {
                let value = self.fitting(name).unwrap_or_else(|| self.value(deep));
                object.insert((*name).to_owned(), value);
            }
        }
        if self.dice.one_in(30) {
            object.insert(self.word(), self.value(deep));
        }
        Value::Object(object)
    }

    fn target(&mut self, route: &Route) -> String {
        let mut target = String::new();
        for part in route.path.split('/').skip(1) {
            target.push('/');
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            let word = name.map_or(part.to_owned(), |name| self.fitting_word(name));
            target += &word.replace(['\r', '\n', ' ', '\0'], "%20");
        }
        let mut between = '?';
        for field in route.query {
            if self.dice.one_in(3) {
                target +=
                    &format!("{between}{}={}", field.name, self.word().replace(['\r', '\n', ' ', '\0', '&'], "+"));
                between = '&';
            }
        }
        target
    }

    fn body(&mut self, route: &Route) -> (&'static str, String) {
        const MONEY: &[&str] = &["op", "user", "amount", "to", "entry", "key", "coupon", "reference", "metadata"];
        match route.body {
            Body::None if self.dice.one_in(2) => ("application/json", String::new()),
            Body::Batch => {
                let mut items: Vec<Value> = (0..self.dice.below(6)).map(|_| self.object(MONEY, 1)).collect();
                for item in items.iter_mut().filter(|item| item.get("op").is_some()) {
                    item["op"] = json!(*self.dice.pick(&["recharge", "withdraw", "pay", "transfer", "refund", "gift"]));
                }
                if self.dice.one_in(2) {
                    return ("application/json", json!(items).to_string());
                }
                ("application/x-ndjson", items.iter().map(|item| format!("{item}\n")).collect())
            }
            _ => {
                let names: Vec<&str> = match route.body {
                    Body::Fields(fields) => fields.iter().map(|field| field.name).collect(),
                    _ => Vec::new(),
                };
                if self.dice.one_in(3) {
                    let pairs: Vec<_> =
                        names.iter().map(|name| format!("{name}={}", self.fitting_word(name))).collect();
                    return ("application/x-www-form-urlencoded", pairs.join("&"));
                }
                ("application/json", self.object(&names, 3).to_string())
            }
        }
    }

    /// One request, more or less.
    fn request(&mut self) -> Vec<u8> {
        let route = &ROUTES[self.dice.below(ROUTES.len())];
        let (target, (kind, body)) = (self.target(route), self.body(route));
        let method =
            if self.dice.one_in(12) { *self.dice.pick(&["HEAD", "OPTIONS", "PUT", "BREW", ""]) } else { route.method };
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n");
        if !self.dice.one_in(10) {
            head += &format!("Authorization: Bearer {}\r\n", self.token());
        }
        for name in ["Idempotency-Key", "Lock-Token", "Prefer", "Accept", "Accept-Language", "Origin", "X-Request-Id"] {
            if self.dice.one_in(8) {
                head += &format!("{name}: {}\r\n", self.word().replace(['\r', '\n', '\0'], ""));
            }
        }
        head += &match self.dice.below(20) {
            0 => "Transfer-Encoding: chunked\r\n".to_owned(),
            1 => format!("Content-Length: {}\r\n", self.word()),
            2 => "Expect: 100-continue\r\n".to_owned(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let mut bytes = (head + "\r\n" + &body).into_bytes();
        if self.dice.one_in(5) {
            self.spoil(&mut bytes);
        }
        bytes
    }

    /// The admin's, half of the time.
    fn token(&mut self) -> String {
        let place = if self.dice.one_in(2) { 0 } else { self.dice.below(self.tokens.len()) };
        self.tokens[place].clone()
    }

    /// Changes, drops, doubles or swaps some bytes.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.dice.below(4) {
            let at = self.dice.below(bytes.len().max(1)).min(bytes.len());
            let to = (at + self.dice.below(40)).min(bytes.len());
            match self.dice.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..to)),
                2 => {
                    let doubled = bytes[at..to].to_vec();
                    bytes.splice(at..at, doubled);
                }
                3 => {
                    let word = self.word();
                    bytes.splice(at..to, word.bytes());
                }
                4 => bytes[at..to].iter_mut().for_each(|byte| *byte = self.dice.below(256) as u8),
                _ => bytes[at..to].reverse(),
            }
        }
    }
}

/// Sends them one behind the other, says that nothing follows, and reads until the server hangs up.
fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server takes connections");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)); // it may have hung up already
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("no answer and no end after {:?}", String::from_utf8_lossy(bytes))
        }
        _ => answer,
    }
}

/// What a process has of the machine: threads, descriptors, and resident memory in KiB.
fn holdings(pid: u32) -> (usize, usize, u64) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (count("task"), count("fd"), resident.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn whatever_is_sent_the_server_stays_what_it_was() {
    let requests = std::env::var("CASHBOX_FUZZ_REQUESTS").map_or(REQUESTS, |count| count.parse().expect("a number"));
    for dice in Dice::runs(1..2) {
        let server = Server::start();
        server.user_with("alice", "1000");
        server.user_with("bob", "1000");
        let admin = server.admin();
        let minted = |wanted: Value| admin.post("/v1/tokens", wanted).is(201).text("token");
        let mut tokens =
            vec![ADMIN.to_owned(), "cbx_nobody-knows-this-one".to_owned(), minted(json!({ "role": "teller" }))];
        tokens.extend([minted(json!({ "role": "user", "user": "alice" })), minted(json!({ "role": "auditor" }))]);
        // The first of everything: readers are opened, and the audit has run.
        admin.get("/v1/verify").is(200);
        let before = holdings(server.pid());
        let mut dice = dice;
        let seeds: Vec<u64> = (0..THREADS).map(|_| dice.below(usize::MAX) as u64).collect();
        thread::scope(|scope| {
            for seed in seeds {
                let (tokens, address) = (tokens.clone(), admin.address);
                scope.spawn(move || {
                    let mut maker = Maker { dice: Dice::of(seed), tokens };
                    let mut sent = 0;
                    while sent < requests / THREADS {
                        let together = 1 + maker.dice.below(PIPELINED_MAX);
                        let bytes: Vec<u8> = (0..together).flat_map(|_| maker.request()).collect();
                        let answer = send(address, &bytes);
                        let broken =
                            [&b"HTTP/1.1 500"[..], b"\"error\":\"internal\""].iter().any(|bad| contains(&answer, bad));
                        assert!(
                            !broken,
                            "{:?}\nwas answered {}",
                            String::from_utf8_lossy(&bytes),
                            String::from_utf8_lossy(&answer)
                        );
                        sent += together;
                    }
                });
            }
        });
        let back = || {
            let now = holdings(server.pid());
            now.0 <= before.0 && now.1 <= before.1 + READERS_DESCRIPTORS
        };
        let begun = std::time::Instant::now();
        while !back() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{:?} threads, descriptors and KiB, and before {before:?}",
                holdings(server.pid())
            );
        }
        let grown = holdings(server.pid()).2.saturating_sub(before.2);
        assert!(grown < 64 * 1024, "{grown} KiB more are resident than before");
        assert_eq!(admin.get("/healthz").is(200)["queued"], 0);
        audit_finds_nothing(&server);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
