//! Random and mutated requests on real sockets to the real program, several clients at once. Each request whose frame is
//! whole is answered once and in order, and as `/openapi.json` says; nothing is a 500, a hang or a leak; and after it
//! all the audit finds nothing.
//!
//! `CASHBOX_FUZZ_SEED` repeats or varies a run, `CASHBOX_FUZZ_REQUESTS` makes it longer. What a client asks depends on
//! what it was answered, and the clients race: a seed leads the same way, not in the same steps.

mod answers;
mod grammar;
mod mutate;
mod seeds;
mod targets;

use crate::crash::audit_finds_nothing;
use crate::dice::Dice;
use crate::http_openapi::hold_against_its_description;
use crate::server::{ADMIN, Answer, Server, TIMEOUT, until};
use answers::Answers;
use cashbox::internals::http::endpoint;
use grammar::Request;
use serde_json::{Value, json};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const REQUESTS: usize = 20_000;
const CLIENTS: usize = 8;
/// Requests on one connection, all sent before the first answer is read.
const PIPELINED_MAX: usize = 12;
/// Requests between two removals of locks that the clients have forgotten; otherwise others would wait for them.
const TIDY_EVERY: Duration = Duration::from_millis(100);
/// Memory that the server may gain after a warm-up, in KiB: caches of a larger file.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// Descriptors that may be added by connections that read the file, because they are opened when needed.
const READERS_DESCRIPTORS: usize = 24;

/// Ids and secrets from answers, to ask about again.
#[derive(Clone, Default)]
pub struct Known {
    admin: String,
    access: Pool,
    cursors: Pool,
    coupons: Pool,
    entries: Pool,
    fences: Pool,
    lock_tokens: Pool,
    token_ids: Pool,
}

/// The newest of their kind.
#[derive(Clone, Default)]
struct Pool(Vec<String>);

impl Pool {
    const MAX: usize = 32;

    fn add(&mut self, one: &str) {
        if self.0.len() == Pool::MAX {
            self.0.remove(0);
        }
        self.0.push(one.to_owned());
    }

    fn pick(&self, dice: &mut Dice, usual: &str) -> String {
        if self.0.is_empty() { usual.to_owned() } else { dice.pick(&self.0).clone() }
    }
}

impl Known {
    fn learn(&mut self, answer: &Answer) {
        let json = &answer.json;
        let places: [(&mut Pool, &Value); 5] = [
            (&mut self.cursors, &json["next"]),
            (&mut self.coupons, &json["coupon"]["code"]),
            (&mut self.entries, &json["entry"]["id"]),
            (&mut self.fences, &json["fence"]),
            (&mut self.lock_tokens, &json["token"]),
        ];
        for (pool, value) in places {
            match value {
                Value::String(text) if !text.starts_with("cbx_") => pool.add(text),
                Value::Number(number) => pool.add(&number.to_string()),
                _ => {}
            }
        }
        if let (201, Some(id)) = (answer.status, json["id"].as_str().filter(|id| id.starts_with("tok:"))) {
            self.token_ids.add(id);
        }
    }
}

const SHOWN_MAX: usize = 8 * 1024;

/// The bytes that were sent, for the report of a failure.
struct Sent(Vec<u8>);

impl Drop for Sent {
    fn drop(&mut self) {
        if thread::panicking() {
            let shown = &self.0[..self.0.len().min(SHOWN_MAX)];
            eprintln!("this was on the connection:\n{}", shown.escape_ascii());
        }
    }
}

/// Shows the server's log beside a failure.
struct Log<'a>(&'a Server);

impl Drop for Log<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server says:\n{}", self.0.log());
        }
    }
}

/// A request as it was asked, and whether it is the one before it again.
struct Asked {
    request: Request,
    again: bool,
    plain: bool,
}

struct Client {
    address: SocketAddr,
    dice: Dice,
    known: Known,
}

impl Client {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Some requests on a connection of their own; how many they were.
    fn converse(&mut self) -> usize {
        let asked = self.some_requests();
        let count = asked.len();
        let mut bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.request.bytes()).collect();
        let tail = self.dice.one_in(3).then(|| {
            let mut last = Request::any(&mut self.dice, &self.known);
            if self.dice.one_in(2) {
                mutate::within(&mut last, &mut self.dice, &self.known);
            }
            mutate::of_frame(last.bytes(), &mut self.dice)
        });
        bytes.extend(tail.iter().flatten());
        let stream = self.connect();
        let sent = Sent(bytes);
        let split = if self.dice.one_in(4) { self.dice.below(sent.0.len()) } else { 0 };
        // A server that refuses something may close before it has read all the rest.
        let whole = (&stream).write_all(&sent.0[..split]).and_then(|()| (&stream).write_all(&sent.0[split..]));
        if self.dice.one_in(30) {
            return count; // and is gone without having read a word
        }
        let mut answers = Answers::from(&stream);
        let mut before: Option<Answer> = None;
        for asked in &asked {
            let Some(answer) = answers.next(asked.request.method == "HEAD") else {
                assert!(whole.is_err(), "the connection ended without notice");
                return count;
            };
            check(asked, &answer, before.as_ref());
            self.known.learn(&answer);
            if answer.header("connection") == Some("close") {
                assert!(may_close(&asked.request, answer.status), "it closes after {}", answer.head);
                assert!(answers.rest().is_empty(), "nothing comes after the last answer");
                return count;
            }
            before = Some(answer);
        }
        let _ = stream.shutdown(Shutdown::Write); // it may be closed already
        let rest = answers.rest();
        assert!(tail.is_some() || rest.is_empty(), "unasked for: {:?}", String::from_utf8_lossy(&rest));
        assert!(!rest.windows(13).any(|some| some == b"HTTP/1.1 500 "), "{:?}", String::from_utf8_lossy(&rest));
        count + usize::from(tail.is_some())
    }

    fn some_requests(&mut self) -> Vec<Asked> {
        let mut all = Vec::new();
        for _ in 0..=self.dice.below(PIPELINED_MAX) {
            if self.dice.one_in(8) {
                let request = Request::once(&mut self.dice, &self.known);
                all.push(Asked { request: request.clone(), again: false, plain: true });
                all.push(Asked { request, again: true, plain: true });
                continue;
            }
            let mut request = Request::any(&mut self.dice, &self.known);
            let mutations = [0, 1, 1, 2, 4][self.dice.below(5)];
            (0..mutations).for_each(|_| mutate::within(&mut request, &mut self.dice, &self.known));
            all.push(Asked { request, again: false, plain: mutations == 0 });
        }
        all
    }
}

/// Requests that read the whole file, of which a second one at once is refused; and that for a stream, which is always.
const BUSY: [&str; 4] = ["/v1/verify", "/v1/backup", "/v1/export", "/v1/events"];

/// One answer to one request.
fn check(asked: &Asked, answer: &Answer, before: Option<&Answer>) {
    let request = &asked.request;
    let shown = || format!("{} {} was answered {} {}", request.method, request.target(), answer.head, answer.json);
    let is_busy = answer.status == 503 && BUSY.contains(&request.path.as_str());
    assert!(answer.status < 500 || [501, 505].contains(&answer.status) || is_busy, "{}", shown());
    if request.path.starts_with('/') {
        hold_against_its_description(&request.method, &request.target(), answer);
    }
    if asked.plain && !request.path.starts_with("/problems/") {
        assert!(answer.status != 405 && answer.json["error"] != "not_found", "{}", shown());
    }
    let before = before.filter(|before| asked.again && [200, 402, 404, 409].contains(&before.status));
    if let Some(before) = before {
        assert_eq!((answer.status, &answer.json), (before.status, &before.json), "asked again: {}", shown());
        assert!(answer.was_replayed(), "{}", shown());
    }
}

/// True where the server has a reason to end the connection after this.
fn may_close(request: &Request, status: u16) -> bool {
    let said = |name: &str| request.headers.iter().any(|(is, _)| is == name);
    let unread = said("Expect") || request.content().len() as u64 > endpoint::BODY_MAX;
    unread || request.version == "HTTP/1.0" || said("Connection") || [400, 413, 431, 501, 505].contains(&status)
}

/// The server's open descriptors, threads and memory.
#[derive(Debug)]
struct Held {
    threads: usize,
    descriptors: usize,
    resident_kib: u64,
}

impl Held {
    fn by(server: &Server) -> Held {
        let of = |what: &str| format!("/proc/{}/{what}", server.process());
        let count = |what: &str| std::fs::read_dir(of(what)).unwrap().count();
        let status = std::fs::read_to_string(of("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")).unwrap();
        Held { threads: count("task"), descriptors: count("fd"), resident_kib: resident.trim().parse().unwrap() }
    }
}

/// Has the clients send that many requests, all together.
fn attack(server: &Server, clients: &mut [Client], requests: usize) {
    let (left, done) = (AtomicUsize::new(requests), AtomicBool::new(false));
    let take = |count: usize| left.fetch_update(SeqCst, SeqCst, |left| Some(left.saturating_sub(count))).unwrap();
    thread::scope(|scope| {
        let tidy = scope.spawn(|| {
            while !done.load(SeqCst) {
                take_locks_away(server);
                thread::park_timeout(TIDY_EVERY);
            }
        });
        let all: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    let mut count = 0;
                    while take(count) > count {
                        count = client.converse();
                    }
                })
            })
            .collect();
        let failed = all.into_iter().filter_map(|client| client.join().err()).last();
        done.store(true, SeqCst);
        tidy.thread().unpark();
        if let Some(failure) = failed {
            std::panic::resume_unwind(failure);
        }
    });
}

fn take_locks_away(server: &Server) {
    let admin = server.admin();
    for lock in admin.get("/v1/locks?limit=1000").is(200).rows() {
        let id =
            percent_encoding::utf8_percent_encode(lock["id"].as_str().unwrap(), percent_encoding::NON_ALPHANUMERIC);
        let answer = admin.post(&format!("/v1/locks/{id}/revoke"), json!({ "fence": lock["fence"], "delay_ms": 0 }));
        assert!([200, 404, 409].contains(&answer.status), "{}", answer.json); // it may be gone, or another's by now
    }
}

#[test]
fn random_requests_leave_server_sound() {
    let mut dice = Dice::seeded_by("CASHBOX_FUZZ_SEED", 1);
    let requests = std::env::var("CASHBOX_FUZZ_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(REQUESTS);
    let server = Server::with(&["--max-streams", "0"]); // a stream would not end
    let _log = Log(&server);
    let mut known = Known { admin: ADMIN.to_owned(), ..Known::default() };
    for role in ["teller", "auditor"] {
        known.access.add(&server.role(role).token.unwrap());
    }
    for user in ["u0", "u1", "u2"] {
        known.access.add(&server.user_with(user, "1000").token.unwrap());
    }
    known.access.add("cbx_never-minted-anywhere");
    let address = server.anonymous().address;
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|_| Client { address, dice: dice.branch(), known: known.clone() }).collect();

    let threads = Held::by(&server).threads;
    attack(&server, &mut clients, requests / 4);
    let before = at_rest(&server, threads);
    attack(&server, &mut clients, requests - requests / 4);
    let after = at_rest(&server, threads);
    println!("{before:?} became {after:?}");
    assert!(after.descriptors <= before.descriptors + READERS_DESCRIPTORS, "{before:?} became {after:?}");
    assert!(after.resident_kib <= before.resident_kib + GROWTH_KIB_MAX, "{before:?} became {after:?}");
    assert!(!server.log().contains("panicked") && !server.log().contains(" error "), "{}", server.log());
    assert_eq!(server.admin().get("/v1/verify").is(200)["findings"], json!([]));
    audit_finds_nothing(&server);
}

/// The usage of the server once every connection has ended; it has the same threads then as before the first.
fn at_rest(server: &Server, threads: usize) -> Held {
    until(|| Held::by(server).threads <= threads);
    Held::by(server)
}
