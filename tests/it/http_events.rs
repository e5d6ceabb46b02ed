//! Entries as a stream of server-sent events: what comes, from which place, and when it ends.

use super::dice::Dice;
use super::harness::{Book, book, by, keyed, money, user_id, wallet_id};
use super::server::{Answer, Asking, Client, Server, until};
use crate::postgres;
use cashbox::internals::http::conn::{self, Limits, listen};
use cashbox::internals::http::{App, Settings};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::query::{self, Filter};
use cashbox::internals::ledger::verbs::{Recharge, Transfer, Withdraw};
use cashbox::internals::store::{Envelope, Options, Store};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An open stream of events.
struct EventStream {
    input: BufReader<TcpStream>,
    /// Text that came and was not read yet, without the frames of its chunks.
    text: String,
    chunks: usize,
    /// True once the last chunk has come.
    has_ended: bool,
}

/// A block of lines: it ends with an empty one.
#[derive(Debug, Default, PartialEq)]
struct Event {
    id: String,
    data: Value,
    is_comment: bool,
}

impl EventStream {
    fn open(asking: &Asking) -> EventStream {
        let mut input = BufReader::new(asking.begin());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(input.read_line(&mut head).unwrap() > 0, "the head ends: {head}");
        }
        if !head.starts_with("HTTP/1.1 200") {
            let mut bytes = head.into_bytes();
            input.read_to_end(&mut bytes).unwrap();
            panic!("{}", String::from_utf8_lossy(&bytes));
        }
        assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
        EventStream { input, text: String::new(), chunks: 0, has_ended: false }
    }

    /// The stream of that client, and the place it begins at.
    fn of(client: &Client, target: &str) -> (EventStream, String) {
        let mut stream = EventStream::open(&client.ask("GET", target));
        let first = stream.next().expect("a place comes at once");
        assert!(first.data.is_null() && !first.id.is_empty(), "{first:?}");
        (stream, first.id)
    }

    /// The next event, None at the end. Fails if the stream breaks off.
    fn next(&mut self) -> Option<Event> {
        while !self.text.contains("\n\n") {
            if self.has_ended || !self.read_chunk() {
                assert_eq!(self.text, "", "it ends after a whole event");
                return None;
            }
        }
        let (event, rest) = self.text.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned()))?;
        self.text = rest;
        let mut found = Event::default();
        for line in event.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => found.id = id.to_owned(),
                Some(("data", data)) => found.data = serde_json::from_str(data).unwrap(),
                _ if line.starts_with(':') => found.is_comment = true,
                _ => panic!("{line:?} in {event:?}"),
            }
        }
        Some(found)
    }

    fn read_chunk(&mut self) -> bool {
        let mut line = String::new();
        assert!(self.input.read_line(&mut line).unwrap() > 0, "the stream is cut off");
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut bytes = vec![0; size + 2];
        self.input.read_exact(&mut bytes).unwrap();
        self.text += std::str::from_utf8(&bytes[..size]).unwrap();
        self.chunks += 1;
        self.has_ended = size == 0;
        !self.has_ended
    }

    /// The number of the next entry.
    fn entry(&mut self) -> i64 {
        loop {
            let event = self.next().expect("the stream goes on");
            if let Some(id) = event.data["id"].as_i64() {
                return id;
            }
        }
    }

    /// The numbers of all entries until the end.
    fn rest(mut self) -> Vec<i64> {
        std::iter::from_fn(|| self.next()).filter_map(|event| event.data["id"].as_i64()).collect()
    }
}

fn recharge(client: &Client, user: &str, amount: i64) -> Answer {
    client.post(&format!("/v1/wallets/{user}/recharge"), json!({ "amount": amount })).is(200)
}

#[test]
fn stream_sends_each_entry_with_its_place() {
    let server = Server::start();
    let admin = server.admin();
    recharge(&admin, "alice", 1);
    let (mut stream, begin) = EventStream::of(&admin, "/v1/events");
    recharge(&admin, "alice", 2);
    let second = stream.next().unwrap();
    assert_eq!(second.data, admin.get("/v1/entries/2").is(200)["entry"]);
    recharge(&admin, "bob", 3);
    assert_eq!(stream.entry(), 3);
    for (place, next) in [(&begin, 2), (&second.id, 3)] {
        let (mut by_query, _) = EventStream::of(&admin, &format!("/v1/events?after={place}"));
        assert_eq!(by_query.entry(), next);
        let mut by_header = EventStream::open(&admin.ask("GET", "/v1/events?after=").header("Last-Event-ID", place));
        assert_eq!(by_header.entry(), next, "it wins over after");
        let list = admin.get(&format!("/v1/entries?after={place}")).is(200);
        assert_eq!(list.rows()[0]["id"], next, "lists take the same places");
    }
    let (mut all, _) = EventStream::of(&admin, "/v1/events?after=");
    assert_eq!([all.entry(), all.entry(), all.entry()], [1, 2, 3]);
    let cursor = admin.get("/v1/entries?order=asc&limit=1").is(200).text("cursor");
    let (mut behind_list, _) = EventStream::of(&admin, &format!("/v1/events?after={cursor}"));
    assert_eq!(behind_list.entry(), 2);
}

#[test]
fn stream_filter_chooses_entries() {
    let server = Server::start();
    let admin = server.admin();
    let streams = ["kind=pay", "user=bob", "min=5&max=6", "metadata[shop]=north", "user=@sales", "by=nope"];
    let mut streams = streams.map(|filter| {
        if filter.starts_with("user=bob") {
            recharge(&admin, "bob", 1);
        }
        EventStream::of(&admin, &format!("/v1/events?{filter}")).0
    });
    let first = admin.get("/v1/entries?limit=1").is(200).rows()[0]["id"].as_i64().unwrap();
    recharge(&admin, "alice", 100);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": 2 })).is(200);
    admin.post("/v1/wallets/alice/transfer", json!({ "to": "bob", "amount": 6 })).is(200);
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": 7, "metadata": { "shop": "north" } })).is(200);
    let expected = [2, 3, 3, 4, 2].map(|place| first + place);
    for (stream, expected) in streams.iter_mut().zip(expected) {
        assert_eq!(stream.entry(), expected);
    }
    server.terminate();
    let [.., unmatched] = &mut streams;
    assert_eq!(unmatched.next(), None, "no entry passes by=nope");
}

#[test]
fn stream_refuses_what_contradicts_its_place() {
    let server = Server::start();
    let admin = server.admin();
    recharge(&admin, "alice", 1);
    recharge(&admin, "bob", 2);
    let (_, place) = EventStream::of(&admin, "/v1/events?kind=recharge&user=alice");
    let descending = admin.get("/v1/entries?limit=1").is(200).text("next");
    let other_list = admin.get("/v1/wallets?limit=1").is(200).text("next");
    for wrong in [
        format!("kind=pay&user=alice&after={place}"),
        format!("user=bob&after={place}"),
        format!("after={descending}"),
        format!("after={other_list}"),
        "after=x".to_owned(),
        "kind=gift".to_owned(),
        "limit=1".to_owned(),
        "wait_ms=1".to_owned(),
    ] {
        admin.get(&format!("/v1/events?{wrong}")).refuses(400, "invalid_request");
    }
    admin.ask("GET", "/v1/events").header("Last-Event-ID", "x").send().refuses(400, "invalid_request");
    admin.get("/v1/events?user=a%20b").refuses(400, "invalid_user");
    admin.get("/v1/events?user=carol").refuses(404, "wallet_not_found");
    let lost = "after=2.0011223344556677&of=entries&order=asc";
    let lost: String = lost.bytes().map(|byte| format!("{byte:02x}")).collect();
    admin.get(&format!("/v1/events?after={lost}")).refuses(409, "cursor_lost");
}

#[test]
fn user_follows_its_own_wallet_alone() {
    let server = Server::start();
    let (admin, alice) = (server.admin(), server.user_with("alice", "5"));
    let (mut stream, place) = EventStream::of(&alice, "/v1/events");
    recharge(&admin, "bob", 1);
    admin.post("/v1/wallets/alice/transfer", json!({ "to": "bob", "amount": 1 })).is(200);
    let event = stream.next().unwrap();
    assert_eq!((&event.data["id"], &event.data["from_balance"]), (&json!(3), &json!("4.00")));
    assert!(event.data["to_balance"].is_null() && event.data["hash"].is_null(), "{event:?}");
    assert_eq!(alice.get(&format!("/v1/wallets/alice/entries?after={place}")).is(200).rows()[0], event.data);
    let (mut named, _) = EventStream::of(&alice, &format!("/v1/events?user=alice&after={place}"));
    assert_eq!(named.entry(), 3);
    alice.get("/v1/events?user=bob").refuses(403, "forbidden");
    alice.get("/v1/events?user=@bank").refuses(403, "forbidden");
    server.anonymous().get("/v1/events").refuses(401, "unauthenticated");
}

#[test]
fn stream_of_a_revoked_token_ends() {
    let server = Server::start();
    let admin = server.admin();
    let (auditor, id) = server.mint(json!({ "role": "auditor" }));
    let (mut stream, _) = EventStream::of(&auditor, "/v1/events");
    recharge(&admin, "alice", 1);
    assert_eq!(stream.entry(), 1);
    let (_, other) = server.mint(json!({ "role": "auditor" }));
    admin.ask("DELETE", &format!("/v1/tokens/{other}")).send().is(200);
    recharge(&admin, "alice", 2);
    assert_eq!(stream.entry(), 2, "another token was revoked");
    admin.ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    recharge(&admin, "alice", 3);
    assert_eq!(stream.next(), None);
}

#[test]
fn stream_ends_after_a_whole_event_when_the_server_stops() {
    let mut server = Server::start();
    let (mut stream, _) = EventStream::of(&server.admin(), "/v1/events");
    recharge(&server.admin(), "alice", 1);
    assert_eq!(stream.entry(), 1);
    server.terminate();
    assert_eq!(stream.next(), None);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn stream_with_until_ends_when_none_can_pass() {
    let server = Server::start();
    let admin = server.admin();
    let at = |id: i64| admin.get(&format!("/v1/entries/{id}")).is(200)["entry"]["at"].as_str().unwrap().to_owned();
    recharge(&admin, "alice", 1);
    let (stream, _) = EventStream::of(&admin, &format!("/v1/events?after=&until={}", at(1)));
    until(|| recharge(&admin, "alice", 1)["entry"]["at"] != at(1).as_str());
    let found = stream.rest();
    assert!(found.starts_with(&[1]) && found.iter().all(|id| at(*id) == at(1)), "{found:?}");
}

#[test]
fn streams_are_bounded() {
    let server = Server::with(&["--max-streams", "5"]);
    let (admin, alice) = (server.admin(), server.user_with("alice", "5"));
    let mut open: Vec<_> = (0..4).map(|_| EventStream::of(&alice, "/v1/events").0).collect();
    alice.get("/v1/events").refuses(503, "busy");
    open.push(EventStream::of(&admin, "/v1/events").0);
    let refused = admin.get("/v1/events").refuses(503, "busy");
    assert!(refused.header("Retry-After").is_some());
    assert!(String::from_utf8(admin.get("/metrics").is(200).body).unwrap().contains("\ncashbox_event_streams 5\n"));
    let head = admin.ask("HEAD", "/v1/events").send();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "HEAD opens none");
    drop(open.pop());
    let mut again = None;
    until(|| {
        let asking = admin.ask("GET", "/v1/events");
        let mut stream = asking.begin();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        again = Some(stream);
        &first == b"HTTP/1.1 200"
    });
}

#[test]
fn stream_for_http_1_0_ends_with_its_connection() {
    let mut server = Server::start();
    let admin = server.admin();
    let mut stream = TcpStream::connect(admin.address).unwrap();
    let authorization = format!("Authorization: Bearer {}", admin.token.as_deref().unwrap());
    stream.write_all(format!("GET /v1/events HTTP/1.0\r\n{authorization}\r\n\r\n").as_bytes()).unwrap();
    let mut input = BufReader::new(stream);
    let mut text = String::new();
    while !text.contains("\nid: ") {
        input.read_line(&mut text).unwrap();
    }
    recharge(&admin, "alice", 1);
    while !text.contains("\ndata: {\"id\":1,") {
        input.read_line(&mut text).unwrap();
    }
    server.terminate();
    input.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\n\n") && !text.to_lowercase().contains("chunked"), "{text}");
    assert_eq!(server.exit_code(), Some(0));
}

/// A server in this process, for limits that no option sets.
fn served(settings: Settings, limits: Limits) -> (tempfile::TempDir, Arc<App>, conn::Server, Client) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cashbox.db"), &Options::default()).unwrap();
    let app = Arc::new(App::new(store, Settings { open: true, ..settings }));
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = conn::Server::start(listener, limits, Arc::clone(&app) as _).unwrap();
    let client = Client { address: server.address(), token: None };
    (folder, app, server, client)
}

#[test]
fn comment_line_tells_the_place_that_was_reached() {
    let settings = Settings { comment_every: Duration::from_millis(20), ..Settings::default() };
    let (_folder, _app, _server, client) = served(settings, Limits::default());
    let (mut stream, begin) = EventStream::of(&client, "/v1/events?kind=pay");
    let comment = stream.next().unwrap();
    assert_eq!((comment.is_comment, &comment.id, &comment.data), (true, &begin, &Value::Null));
    recharge(&client, "alice", 1);
    let later = std::iter::from_fn(|| stream.next()).find(|event| event.id != begin).unwrap();
    let list = client.get(&format!("/v1/entries?after={}", later.id)).is(200);
    assert!(later.is_comment && list.rows().is_empty(), "it stands behind an entry that does not pass");
}

#[test]
fn stream_whose_reader_stops_is_dropped() {
    let limits = Limits { write_time: Duration::from_millis(200), ..Limits::default() };
    let (_folder, app, server, client) = served(Settings::default(), limits);
    let (stream, _) = EventStream::of(&client, "/v1/events");
    assert_eq!(server.connections(), 1);
    let long = "x".repeat(200);
    let items: Vec<Value> =
        (0..10_000).map(|_| json!({ "op": "recharge", "user": "alice", "amount": 1, "reference": long })).collect();
    let mut batches = 0;
    until(|| {
        // A socket holds some megabytes.
        batches += 1;
        client.post("/v1/batch", json!(items)).is(200);
        server.connections() == 0
    });
    assert!(batches < 10, "it is not kept for long");
    app.store().read(|tx| query::entries(tx, &Filter::default(), None, 1)).unwrap();
    drop(stream);
}

#[test]
fn stream_far_behind_misses_and_repeats_nothing() {
    if postgres::is_not_for_it(postgres::LARGE_BATCH) {
        return;
    }
    let server = Server::start();
    let admin = server.admin();
    recharge(&admin, "alice", 1);
    let (mut stream, _) = EventStream::of(&admin, "/v1/events");
    let (mut of_bob, _) = EventStream::of(&admin, "/v1/events?kind=withdraw");
    let mut items = vec![json!({ "op": "recharge", "user": "bob", "amount": 1 }); 4_999];
    items.push(json!({ "op": "withdraw", "user": "bob", "amount": 1 }));
    for first in [2, 5_002] {
        admin.post("/v1/batch?atomic=true", json!(items)).is(200);
        let found: Vec<i64> = (0..5_000).map(|_| stream.entry()).collect();
        assert_eq!(found, (first..first + 5_000).collect::<Vec<_>>());
        assert_eq!(of_bob.entry(), first + 4_999);
    }
    let (mut from_start, _) = EventStream::of(&admin, "/v1/events?after=");
    let found: Vec<i64> = (0..10_001).map(|_| from_start.entry()).collect();
    assert_eq!(found, (1..=10_001).collect::<Vec<_>>());
}

#[test]
fn stream_looks_at_most_twenty_times_a_second() {
    let server = Server::start();
    let admin = server.admin();
    recharge(&admin, "bob", 1);
    let (mut stream, _) = EventStream::of(&admin, "/v1/events?user=bob");
    let before = stream.chunks;
    let began = Instant::now();
    for _ in 0..100 {
        recharge(&admin, "bob", 1);
    }
    for id in 2..=101 {
        assert_eq!(stream.entry(), id);
    }
    let looks = began.elapsed().as_millis() as usize / 50 + 2;
    assert!(stream.chunks - before <= looks, "{} chunks in {:?}", stream.chunks - before, began.elapsed());
}

#[test]
fn long_poll_ends_in_time_among_entries_that_do_not_pass() {
    let server = Server::start();
    let admin = server.admin();
    recharge(&admin, "alice", 1);
    let asking = admin.ask("GET", "/v1/entries?order=asc&kind=pay&wait_ms=200");
    let (waiting, stream) = (asking.begin(), asking.begin());
    let answered = std::thread::spawn(move || asking.read(waiting));
    until(|| {
        recharge(&admin, "alice", 1);
        answered.is_finished()
    });
    let answer = answered.join().unwrap().is(200);
    assert!(answer.rows().is_empty() && answer["next"].is_null());
    let behind = admin.get(&format!("/v1/entries?after={}&kind=pay", answer.text("cursor"))).is(200);
    assert!(behind.rows().is_empty());
    drop(stream);
}

/// Entries of every kind of content that a filter looks at.
fn varied_book() -> Book {
    let book = book();
    let note = |n: i64| {
        let metadata = (0..n % 4).map(|at| (format!("k{at}"), format!("v{}", n % 2)));
        Note::new((n % 3 == 0).then(|| format!("order {n}")), metadata.collect())
    };
    book.must(Recharge { user: user_id("carol"), amount: money("1.00"), note: Note::default() });
    for n in 0..60 {
        let (user, note) = (user_id(["alice", "bob"][(n % 2) as usize]), note(n).unwrap());
        let amount = money(&format!("{}.00", 20 + n));
        let envelope = if n % 5 == 0 { by("tok:1", keyed(&format!("k{n}"))) } else { Envelope::local() };
        book.must(Recharge { user: user.clone(), amount, note: note.clone() });
        let amount = money(&format!("{}.00", 1 + n % 7));
        match n % 3 {
            0 => drop(book.submit(envelope, Withdraw { user, amount, note }).result.unwrap()),
            1 => {
                let (from, to) = (user.wallet(), user_id("carol").wallet());
                drop(book.submit(Envelope::local(), Transfer { from, to, amount, note }).result.unwrap());
            }
            _ => {}
        }
        book.advance(n % 4);
    }
    book
}

#[test]
fn filter_in_memory_agrees_with_the_list() {
    let book = varied_book();
    let all = book.entries();
    let mut dice = Dice::seeded_by("CASHBOX_SEED", 14);
    let some = |dice: &mut Dice, texts: &[&str]| dice.one_in(2).then(|| (*dice.pick(texts)).to_owned());
    let time = |dice: &mut Dice| dice.one_in(3).then(|| dice.pick(&all).at);
    let mut passed = 0;
    for _ in 0..300 {
        let wallet = some(&mut dice, &["alice", "bob", "carol", "@bank", "@sales"]);
        let filter = Filter {
            wallet: wallet.map(|id| wallet_id(&id)),
            kind: dice.one_in(3).then(|| dice.pick(&all).kind),
            since: time(&mut dice),
            until: time(&mut dice),
            by: some(&mut dice, &["@local", "tok:1", "tok:9"]),
            min: dice.one_in(3).then(|| dice.below(3_000) as i64),
            max: dice.one_in(3).then(|| dice.below(6_000) as i64),
            reference: some(&mut dice, &["order 3", "order 30", "order 99"]).filter(|_| dice.one_in(4)),
            coupon: None,
            refunds: None,
            hold: None,
            metadata: some(&mut dice, &[r#"{"k0":"v1"}"#, r#"{"k0":"v0","k1":"v0"}"#, r#"{"k9":"v0"}"#]),
            ascending: true,
        };
        let listed = book.read(|tx| query::entries(tx, &filter, None, 1_000)).unwrap().rows;
        let kept: Vec<_> = all.iter().filter(|entry| filter.passes(entry)).cloned().collect();
        assert_eq!(listed, kept, "{filter:?}");
        passed += kept.len();
    }
    assert!(passed > 500, "the filters choose something: {passed}");
}
