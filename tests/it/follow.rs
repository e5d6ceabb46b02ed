//! `cashbox follow`: each entry at least once and in order, whatever is killed, and whatever a receiver answers.

use crate::server::{Server, until};
use crate::shell::{Place, Running};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{CWD, FileType, Mode, makedev};
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The numbers of the entries in a file of lines.
fn numbers(place: &Place, file: &str) -> Vec<i64> {
    let text = fs::read_to_string(place.path(file)).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
}

/// Makes that many entries.
fn recharge(place: &Place, count: usize) {
    let items = "{\"op\":\"recharge\",\"user\":\"alice\",\"amount\":1}\n".repeat(count);
    let done = place.run_with_input("batch -", &items);
    assert_eq!(done.exit, 0, "{}", done.err);
}

/// Follows with a command that appends each entry to `out`.
fn following(place: &Place, options: &str, script: &str) -> Running {
    let mut words: Vec<&str> = std::iter::once("follow").chain(options.split_whitespace()).collect();
    words.extend(["--", "sh", "-c", script]);
    place.start(&words)
}

const APPEND: &str = "cat >> out";

#[test]
fn follow_prints_entries_with_and_without_server() {
    let place = Place::new();
    recharge(&place, 2);
    let out = fs::File::create(place.path("out")).unwrap();
    let mut child = place.command("follow --from start").stdout(out).spawn().unwrap();
    until(|| numbers(&place, "out").len() == 2);
    recharge(&place, 1);
    until(|| numbers(&place, "out").len() == 3);
    for round in 0..2 {
        let mut serving = place.serve("");
        recharge(&place, 3);
        until(|| numbers(&place, "out").len() == 6 + 4 * round);
        if round == 0 {
            serving.signal();
        } else {
            serving.child.kill().unwrap();
        }
        serving.wait();
        recharge(&place, 1);
    }
    until(|| numbers(&place, "out").len() == 11);
    assert_eq!(numbers(&place, "out"), (1..=11).collect::<Vec<_>>());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn history_follow_prints_a_table_that_goes_on() {
    let place = Place::new();
    let _serving = place.serve("");
    place.json("recharge alice 10");
    place.json("recharge bob 20");
    let printing = |file: &str, line: &str| {
        let out = fs::File::create(place.path(file)).unwrap();
        Running::of_printing(place.command(line), out)
    };
    let _table = printing("table", "history alice --follow --since 2020-01-01");
    let _lines = printing("out", "history alice --follow --since 2020-01-01 --json");
    until(|| numbers(&place, "out") == [1]);
    place.json("transfer bob alice 5");
    until(|| numbers(&place, "out") == [1, 3]);
    let table = || fs::read_to_string(place.path("table")).unwrap();
    until(|| table().lines().count() == 3);
    let rows: Vec<Vec<String>> =
        table().lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(rows[0], ["ENTRY", "TIME", "KIND", "FROM", "TO", "AMOUNT", "BALANCE"]);
    assert_eq!(
        (&rows[1][2..], &rows[2][2..]),
        (
            &["recharge", "@bank", "alice", "10.00", "10.00"].map(str::to_owned)[..],
            &["transfer", "bob", "alice", "5.00", "15.00"].map(str::to_owned)[..],
        )
    );
    assert_eq!(place.run("history --follow --order asc").exit, 2);
}

#[test]
fn follow_begins_with_the_next_entry_and_says_that() {
    let place = Place::new();
    recharge(&place, 2);
    let _serving = place.serve("");
    let follow = following(&place, "alice --kind withdraw --cursor cursor", APPEND);
    until(|| fs::read_to_string(place.path("cursor")).is_ok_and(|text| !text.is_empty()));
    recharge(&place, 1);
    place.json("withdraw alice 1");
    until(|| numbers(&place, "out") == [4]);
    follow.signal(Signal::TERM);
    let ended = follow.finish();
    assert!(ended.err.contains("beginning with the next entry"), "{}", ended.err);
    let again = following(&place, "alice --kind withdraw --cursor cursor --from start", APPEND);
    place.json("withdraw alice 1");
    until(|| numbers(&place, "out").last() == Some(&5)); // the first one may have ended before its cursor was written
    again.signal(Signal::KILL);
    assert!(!again.finish().err.contains("beginning"));
}

#[test]
fn killed_follow_leaves_no_entry_out() {
    let place = Place::new();
    let serving = place.serve("");
    let mut seen = 0;
    for round in 0..12 {
        // The second script takes a moment between its effect and its end.
        let script = if round % 2 == 0 { APPEND } else { "cat >> out; sleep 0.02" };
        let follow = following(&place, "--from start --cursor cursor", script);
        recharge(&place, 8);
        until(|| numbers(&place, "out").len() >= seen + 3 + round % 3);
        follow.signal(Signal::KILL);
        follow.finish();
        seen = numbers(&place, "out").len();
    }
    let follow = following(&place, "--from start --cursor cursor", APPEND);
    until(|| numbers(&place, "out").last() == Some(&96));
    follow.signal(Signal::KILL);
    follow.finish();
    let mut found = numbers(&place, "out");
    let all = found.len();
    for pair in found.windows(2) {
        assert!(pair[1] == pair[0] + 1 || pair[1] == pair[0], "in order: {pair:?}");
    }
    found.dedup();
    assert_eq!(found, (1..=96).collect::<Vec<_>>());
    assert!(all <= 96 + 13, "a kill repeats one entry at most: {all}");
    drop(serving);
}

#[test]
fn cursor_file_is_for_one_follow_at_a_time() {
    let place = Place::new();
    recharge(&place, 1);
    let first = following(&place, "--from start --cursor cursor", APPEND);
    until(|| numbers(&place, "out") == [1]);
    let second = following(&place, "--cursor cursor", APPEND).finish();
    assert_eq!(second.exit, 2);
    assert!(second.err.contains("in use by another `cashbox follow`"), "{}", second.err);
    first.signal(Signal::KILL);
    first.finish();
    let other = following(&place, "--cursor cursor --kind pay", APPEND).finish();
    assert_eq!(other.exit, 2, "{}", other.err);
    assert!(other.err.contains("the cursor was made under another kind"), "{}", other.err);
    for text in ["hello\n", "cashbox-cursor-1 xyz\n"] {
        fs::write(place.path("notes"), text).unwrap();
        let wrong = following(&place, "--cursor notes", APPEND).finish();
        assert_eq!(wrong.exit, 2);
        assert!(wrong.err.contains("is not a cursor file"), "{}", wrong.err);
        assert_eq!(fs::read_to_string(place.path("notes")).unwrap(), text);
    }
    fs::write(place.path("notes"), "cashbox-cursor-1 abcd\n").unwrap();
    assert_eq!(following(&place, "--cursor notes", APPEND).finish().exit, 2, "a place of no list");
}

#[test]
fn cursor_of_device_or_database_part_is_refused() {
    let place = Place::new();
    place.json("recharge alice 1");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, place.path("pipe"), FileType::Fifo, mode, 0).unwrap();
    // The device of /dev/null, which only root can make.
    let null = rustix::fs::mknodat(CWD, place.path("null"), FileType::CharacterDevice, mode, makedev(1, 3));
    let names = ["pipe", "null", "cashbox.db-wal", "cashbox.db-shm", "cashbox.db-serve", "cashbox.db"];
    for name in names.into_iter().filter(|name| *name != "null" || null.is_ok()) {
        let output = following(&place, &format!("--from start --cursor {name}"), APPEND).finish();
        assert_eq!(output.exit, 2, "{name}: {}", output.err);
        assert!(output.err.contains("is left as it is"), "{name}: {}", output.err);
    }
    assert!(!fs::symlink_metadata(place.path("pipe")).unwrap().is_file());
    assert!(null.is_err() || !fs::symlink_metadata(place.path("null")).unwrap().is_file());
    assert!(!place.path("cashbox.db-wal").exists());
    assert_eq!(place.run("verify").exit, 0);
}

#[test]
fn cursor_of_a_replaced_file_is_lost() {
    let place = Place::new();
    recharge(&place, 1);
    place.json("backup copy.db");
    recharge(&place, 2);
    let follow = following(&place, "--from start --cursor cursor", APPEND);
    until(|| numbers(&place, "out") == [1, 2, 3]);
    follow.signal(Signal::KILL);
    follow.finish();
    let kept = fs::read(place.path("cursor")).unwrap();
    fs::remove_file(place.db()).unwrap();
    place.json("restore copy.db");
    recharge(&place, 5);
    let lost = following(&place, "--cursor cursor", APPEND).finish();
    assert_eq!(lost.exit, 1, "{}", lost.err);
    assert!(lost.err.contains("is not the one that was listed"), "{}", lost.err);
    assert_eq!(fs::read(place.path("cursor")).unwrap(), kept);
    assert_eq!(numbers(&place, "out"), [1, 2, 3], "nothing is skipped in silence");
}

#[test]
fn failing_command_ends_or_is_tried_again() {
    let place = Place::new();
    recharge(&place, 3);
    let fails_at_2 = "read -r line; case $line in '{\"id\":2,'*) exit 7;; esac; echo \"$line\" >> out";
    let ended = following(&place, "--from start --cursor cursor", fails_at_2).finish();
    assert_eq!(ended.exit, 1);
    assert!(ended.err.contains("entry 2: sh failed (exit status: 7)"), "{}", ended.err);
    assert_eq!(numbers(&place, "out"), [1]);
    let gave_up = following(&place, "--cursor cursor --retry --pause 1ms --give-up 30ms", fails_at_2).finish();
    assert_eq!(gave_up.exit, 1);
    assert!(gave_up.err.contains("next try in"), "{}", gave_up.err);
    assert_eq!(numbers(&place, "out"), [1], "none is skipped");
    let twice = "if ! test -e tried; then touch tried; exit 1; fi; cat >> out";
    let follow = following(&place, "--cursor cursor --retry --pause 1ms", twice);
    until(|| numbers(&place, "out") == [1, 2, 3]);
    follow.signal(Signal::KILL);
    follow.finish();
    for wrong in ["follow --retry", "follow --give-up 1s", "follow --post http://h/", "follow --secret-file f"] {
        assert_eq!(place.run(wrong).exit, 2, "{wrong}");
    }
}

#[test]
fn refused_follow_ends() {
    let server = Server::start();
    let place = Place::new();
    let url = format!("http://{}", server.admin().address);
    let unknown = place.run(&format!("follow --url {url} --token cbx_never-minted-anywhere"));
    assert_eq!(unknown.exit, 1, "{}", unknown.err);
    assert_eq!(place.run(&format!("follow carol --url {url} --token {}", crate::server::ADMIN)).exit, 1);
    let (alice, id) = server.mint(serde_json::json!({ "role": "user", "user": "alice" }));
    server.admin().post("/v1/wallets/alice/recharge", serde_json::json!({ "amount": 1 })).is(200);
    let out = fs::File::create(place.path("out")).unwrap();
    let mut command = place.command(&format!("follow --from start --url {url} --token {}", alice.token.unwrap()));
    let mut child = command.stdout(out).spawn().unwrap();
    until(|| numbers(&place, "out") == [1]);
    server.admin().ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    server.admin().post("/v1/wallets/alice/recharge", serde_json::json!({ "amount": 1 })).is(200);
    assert_eq!(child.wait().unwrap().code(), Some(1), "a revoked token sees nothing more");
    assert_eq!(numbers(&place, "out"), [1]);
}

/// The answers of a receiver, one for each request; the last one goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Status(u16),
    RedirectTo(&'static str),
    Never,
    /// Closes without an answer.
    Close,
    /// The answer comes byte by byte, and not to its end in time.
    Drips,
}

#[derive(Clone, Debug)]
struct Received {
    target: String,
    headers: HashMap<String, String>,
    body: String,
}

/// A receiver of webhooks on a port of its own.
struct WebhookReceiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl WebhookReceiver {
    fn start(answers: &[Behaviour]) -> WebhookReceiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook?shop=north", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (answers, kept) = (answers.to_vec(), Arc::clone(&received));
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for (place, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                let Some(request) = read_request(&stream) else { continue };
                kept.lock().unwrap().push(request);
                answer(&stream, answers[place.min(answers.len() - 1)]);
                open.push(stream); // those that were not answered stay open
            }
        });
        WebhookReceiver { url, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.received().iter().map(|request| request.headers["webhook-id"].clone()).collect()
    }
}

fn read_request(stream: &TcpStream) -> Option<Received> {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    input.read_exact(&mut body).ok()?;
    Some(Received { target, headers, body: String::from_utf8(body).ok()? })
}

fn answer(mut stream: &TcpStream, behaviour: Behaviour) {
    let sent = match behaviour {
        Behaviour::Status(status) => write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n"),
        Behaviour::RedirectTo(url) => {
            write!(stream, "HTTP/1.1 308 x\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n")
        }
        Behaviour::Never => Ok(()),
        Behaviour::Drips => write!(stream, "HTTP/1.1 200"),
        Behaviour::Close => stream.shutdown(std::net::Shutdown::Both),
    };
    let _ = sent; // the client may have closed
}

/// HMAC-SHA-256, written apart from the program's.
fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ byte).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Posts what comes to that receiver, until it is killed or gives up.
fn posting(place: &Place, receiver: &WebhookReceiver, options: &str) -> Running {
    fs::write(place.path("secret"), format!("{SECRET}\n")).unwrap();
    let line = "follow --from start --cursor cursor --secret-file secret --pause 1ms --post";
    let words = line.split_whitespace().chain([receiver.url.as_str()]).chain(options.split_whitespace());
    place.start(&words.collect::<Vec<_>>())
}

#[test]
fn webhook_is_signed_and_has_the_entry() {
    let place = Place::new();
    recharge(&place, 2);
    let receiver = WebhookReceiver::start(&[Behaviour::Status(204)]);
    let follow = posting(&place, &receiver, "");
    until(|| receiver.received().len() == 2);
    follow.signal(Signal::KILL);
    follow.finish();
    for (place_in_order, request) in receiver.received().iter().enumerate() {
        let entry = place.json(&format!("entry {}", place_in_order + 1))["entry"].clone();
        assert_eq!(serde_json::from_str::<Value>(&request.body).unwrap(), entry);
        let header = |name: &str| request.headers[name].as_str();
        let hash = entry["hash"].as_str().unwrap();
        assert_eq!(header("webhook-id"), format!("entry-{}-{}", entry["id"], &hash[..16]));
        let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.body);
        let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(hmac(&key, &signed))));
        assert!(header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
        assert_eq!((header("content-type"), request.target.as_str()), ("application/json", "/hook?shop=north"));
        assert!(!request.headers.contains_key("authorization"), "the access token stays here");
    }
}

#[test]
fn webhook_is_tried_again_under_the_same_id() {
    use Behaviour::*;
    let place = Place::new();
    recharge(&place, 2);
    let elsewhere = WebhookReceiver::start(&[Status(200)]);
    let elsewhere_url: &'static str = Box::leak(elsewhere.url.clone().into_boxed_str());
    let bad = [Status(500), RedirectTo(elsewhere_url), Never, Drips, Close, Status(404), Status(429), Status(199)];
    let receiver = WebhookReceiver::start(&[&bad[..], &[Status(200)]].concat());
    let follow = posting(&place, &receiver, "--timeout 200ms");
    until(|| receiver.received().len() == bad.len() + 2);
    follow.signal(Signal::KILL);
    let err = follow.finish().err;
    let ids = receiver.ids();
    assert!(ids[..=bad.len()].iter().all(|id| *id == ids[0]) && ids[0].starts_with("entry-1-"), "{ids:?}");
    assert!(ids[bad.len() + 1].starts_with("entry-2-"), "the next one comes after it: {ids:?}");
    let bodies: Vec<String> = receiver.received().into_iter().map(|request| request.body).collect();
    assert!(bodies[..=bad.len()].iter().all(|body| *body == bodies[0]));
    assert!(elsewhere.received().is_empty(), "a redirect is not followed");
    for part in ["answers 500; next try in 0.001 s", "answers 308, and a redirect is not followed", "no answer within"]
    {
        assert!(err.contains(part), "{part} in {err}");
    }
}

#[test]
fn receiver_that_is_away_or_gone_loses_nothing() {
    use Behaviour::*;
    let place = Place::new();
    recharge(&place, 2);
    let away = WebhookReceiver { url: "http://127.0.0.1:1/".to_owned(), received: Arc::default() };
    let gave_up = posting(&place, &away, "--give-up 20ms").finish();
    assert_eq!(gave_up.exit, 1);
    assert!(gave_up.err.contains("connection refused"), "{}", gave_up.err);
    let gone = WebhookReceiver::start(&[Status(200), Status(410)]);
    let ended = posting(&place, &gone, "").finish();
    assert_eq!((ended.exit, gone.received().len()), (1, 2), "{}", ended.err);
    let receiver = WebhookReceiver::start(&[Status(200)]);
    let follow = posting(&place, &receiver, "");
    until(|| receiver.received().len() == 1);
    follow.signal(Signal::KILL);
    follow.finish();
    assert!(receiver.ids()[0].starts_with("entry-2-"));
}

#[test]
fn webhook_arguments_are_checked_before_anything_is_sent() {
    let place = Place::new();
    recharge(&place, 1);
    let receiver = WebhookReceiver::start(&[Behaviour::Status(200)]);
    for secret in ["", "hello", "whsec_", "whsec_c2hvcnQ=", &format!("{SECRET}\nhello")] {
        fs::write(place.path("wrong"), secret).unwrap();
        let line = format!("follow --from start --secret-file wrong --post {}", receiver.url);
        let refused = place.run(&line);
        assert_eq!(refused.exit, 2, "{secret}: {}", refused.err);
        assert!(refused.err.contains("is not a secret for webhooks"), "{}", refused.err);
    }
    fs::write(place.path("secret"), SECRET).unwrap();
    for url in ["ftp://x/", "http://user@x/", "x", "http://"] {
        assert_eq!(place.run(&format!("follow --secret-file secret --post {url}")).exit, 2, "{url}");
    }
    assert_eq!(place.run(&format!("follow --secret-file missing --post {}", receiver.url)).exit, 3);
    let serving = place.serve("");
    let token = place.json("token create --user alice")["token"].as_str().unwrap().to_owned();
    let line = format!("follow --from start --secret-file secret --url {} --token {token} --post", serving.url);
    let refused = place.run(&format!("{line} {}", receiver.url));
    assert_eq!(refused.exit, 1);
    assert!(refused.err.contains("its hash is not shown to this access token"), "{}", refused.err);
    assert!(receiver.received().is_empty());
}
