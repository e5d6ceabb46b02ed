//! The real program, killed under load again and again, and its log cut as by a power failure. Whatever was answered is
//! there; whatever was not is asked again under its key and has one effect; the audit finds nothing.

use crate::dice::Dice;
use crate::harness::*;
use crate::server::{ADMIN, Server};
use cashbox::internals::store::Store;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Kills, unless `CASHBOX_TORTURE_ROUNDS` gives their number.
const ROUNDS: usize = 20;
const CLIENTS: usize = 16;
const USERS: usize = 5;
/// Coupons that may be claimed.
const CLAIMS: usize = 150;

/// One request, and its answer if one came.
struct Asked {
    key: String,
    path: String,
    body: String,
    answer: Option<(u16, Value)>,
}

/// Sends a request under its key, a POST unless the path says PATCH; none is a lost answer.
fn ask(agent: &ureq::Agent, address: SocketAddr, path: &str, key: &str, body: &str) -> Option<(u16, Value)> {
    let request = match path.strip_prefix("PATCH ") {
        Some(path) => agent.patch(format!("http://{address}{path}")),
        None => agent.post(format!("http://{address}{path}")),
    };
    let request = request
        .header("Authorization", format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", key);
    let mut answer = request.send(body).ok()?;
    let text = answer.body_mut().read_to_string().ok()?;
    Some((answer.status().as_u16(), serde_json::from_str(&text).ok()?))
}

pub fn agent() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20)));
    config.build().into()
}

/// A client's `n`th request: mostly money that moves around, and now and then a refund, a coupon, a batch, a step of its own
/// newest hold, a claim or a setting. Each entry has a reference of its own.
fn request(coupons: &[String], hold: i64, round: usize, client: usize, n: usize) -> (String, String, String) {
    let key = format!("r{round}-c{client}-{n}");
    let (one, two) = ((client + n) % USERS, (client + n + 1) % USERS);
    let (user, other, coupon) = (format!("u{one}"), format!("u{two}"), &coupons[one]);
    let reference = format!("\"reference\":\"{key}\"");
    let item = |i: usize| {
        format!("{{\"op\":\"withdraw\",\"user\":\"{user}\",\"amount\":\"0.05\",\"reference\":\"{key}/{i}\"}}")
    };
    let (path, body) = match n % 14 {
        0 => (format!("/v1/wallets/{user}/recharge"), format!("{{\"amount\":\"150.00\",{reference}}}")),
        1 => (format!("/v1/wallets/{user}/withdraw"), format!("{{\"amount\":\"0.37\",{reference}}}")),
        2 => {
            (format!("/v1/wallets/{user}/transfer"), format!("{{\"to\":\"{other}\",\"amount\":\"1.01\",{reference}}}"))
        }
        3 => (format!("/v1/wallets/{user}/pay"), format!("{{\"amount\":\"2.50\",{reference}}}")),
        4 => (
            format!("/v1/entries/{}/refund", 1 + (n * 13 + client) % 40),
            format!("{{\"amount\":\"0.01\",{reference}}}"),
        ),
        5 => (format!("/v1/wallets/{user}/withdraw"), format!("{{\"amount\":\"999999.00\",{reference}}}")),
        6 => {
            (format!("/v1/wallets/{user}/pay"), format!("{{\"amount\":\"3.00\",\"coupon\":\"{coupon}\",{reference}}}"))
        }
        8 => {
            let expires_in_s = if client.is_multiple_of(2) { 1 } else { 3_600 };
            let body =
                format!("{{\"amount\":\"1.50\",\"to\":\"{other}\",\"expires_in_s\":{expires_in_s},{reference}}}");
            (format!("/v1/wallets/{user}/holds"), body)
        }
        9 => (format!("/v1/holds/{hold}/capture"), format!("{{\"amount\":\"0.40\",\"final\":false,{reference}}}")),
        10 if client.is_multiple_of(3) => (format!("/v1/holds/{hold}/void"), format!("{{{reference}}}")),
        10 => (format!("/v1/holds/{hold}/capture"), format!("{{\"amount\":\"0.70\",{reference}}}")),
        11 => (format!("/v1/wallets/{user}/coupons/claim"), r#"{"code":"crash-23"}"#.to_owned()),
        12 => (format!("PATCH /v1/wallets/{user}"), format!("{{\"name\":\"{key}\",\"limit_per_payment\":\"{n}.99\"}}")),
        7 => ("/v1/batch?atomic=true".to_owned(), format!("[{},{}]", item(0), item(1))),
        _ => ("/v1/batch".to_owned(), format!("[{},{},{}]", item(0), item(1), item(2))),
    };
    (key, path, body)
}

/// Hammers the server until it is gone; the last request of each client has no answer.
fn hammer(address: SocketAddr, coupons: &[String], round: usize, client: usize, answered: &AtomicUsize) -> Vec<Asked> {
    let agent = agent();
    let mut all = Vec::new();
    let mut hold = 1; // not one before the first is answered
    for n in 0.. {
        let (key, path, body) = request(coupons, hold, round, client, n);
        let answer = ask(&agent, address, &path, &key, &body);
        hold = answer.as_ref().and_then(|answer| answer.1["hold"]["id"].as_i64()).unwrap_or(hold);
        let lost = answer.is_none();
        all.push(Asked { key, path, body, answer });
        if lost {
            break;
        }
        answered.fetch_add(1, SeqCst);
    }
    all
}

/// The references and numbers of the entries that an answer speaks of.
fn entries_of(answer: &(u16, Value)) -> Vec<(String, i64)> {
    let results = answer.1["results"].as_array().cloned().unwrap_or_else(|| vec![answer.1.clone()]);
    let entry = |body: &Value| Some((body["entry"]["reference"].as_str()?.to_owned(), body["entry"]["id"].as_i64()?));
    results.iter().filter_map(entry).collect()
}

#[test]
fn killed_server_keeps_every_answered_change_once() {
    let rounds = rounds(ROUNDS);
    let mut running = Some(Server::start());
    let address_of = |running: &Option<Server>| running.as_ref().unwrap().anonymous().address;
    let coupon = |user: usize| {
        let recharge = serde_json::json!({ "amount": "5000" });
        let admin = running.as_ref().unwrap().admin();
        let earned = admin.post(&format!("/v1/wallets/u{user}/recharge"), recharge).is(200);
        earned["coupon"]["code"].as_str().unwrap().to_owned()
    };
    let coupons: Vec<String> = (0..USERS).map(coupon).collect();
    let kinds = serde_json::json!({ "coupon_kinds": [
        { "kind": "1", "amount_off": 50, "threshold": 300 }, { "kind": "2", "percent_off": 20, "single_use": false },
        { "kind": "3", "amount_off": 10 },
        { "kind": "claimed", "amount_off": 1, "claim_code": "CRASH-23", "limit_total": CLAIMS, "limit_per_user": CLAIMS },
    ] });
    running.as_ref().unwrap().admin().put("/v1/coupon-kinds", kinds).is(200);
    let mut made: HashMap<String, i64> = HashMap::new();
    let mut claimed = HashSet::new();
    for round in 0..rounds {
        let (address, answered) = (address_of(&running), AtomicUsize::new(0));
        let enough = 20 + round * 37 % 300; // another moment each time
        let (done, hammered) = channel();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (done, answered, coupons) = (done.clone(), &answered, &coupons);
                scope.spawn(move || done.send(hammer(address, coupons, round, client, answered)).unwrap());
            }
            crate::server::until(|| {
                thread::yield_now();
                answered.load(SeqCst) >= enough
            });
            running = running.take().map(Server::killed_and_started_again);
        });
        drop(done);
        audit_finds_nothing(running.as_ref().unwrap());
        let agent = agent();
        for asked in hammered.iter().flatten() {
            let again =
                ask(&agent, address_of(&running), &asked.path, &asked.key, &asked.body).expect("the server is back");
            assert!(again.0 < 500, "{} was answered {again:?}", asked.key);
            if let Some(answer) = &asked.answer {
                assert_eq!(&again, answer, "{} was answered otherwise before the crash", asked.key);
            }
            made.extend(entries_of(&again));
            if asked.path.ends_with("/claim") && again.0 == 200 {
                assert!(claimed.insert(again.1["coupon"]["code"].to_string()), "{} got a coupon of another", asked.key);
            }
        }
    }
    let server = running.expect("it is always started again");
    one_entry_each(&server, &made, rounds);
    let given = server.admin().get("/v1/coupons?kind=claimed&limit=1000").is(200).rows().len();
    assert_eq!(given, claimed.len(), "a coupon for each claim that was granted");
    assert!(given <= CLAIMS, "{given} of {CLAIMS} coupons were claimed");
    audit_finds_nothing(&server);
}

#[test]
fn batch_killed_between_its_commits_is_one_effect_after_retry() {
    const ITEMS: usize = 6_000; // 24 commits
    let server = Server::start();
    let address = server.anonymous().address;
    let item = |n| format!("{{\"op\":\"recharge\",\"user\":\"alice\",\"amount\":\"0.01\",\"reference\":\"{n}\"}}");
    let body = format!("[{}]", (0..ITEMS).map(item).collect::<Vec<_>>().join(","));
    let send = |address| ask(&agent(), address, "/v1/batch", "K", &body);
    let server = thread::scope(|scope| {
        let first = scope.spawn(|| send(address));
        crate::server::until(|| server.admin().get("/v1/wallets/alice").json["balance"].is_string());
        let server = server.killed_and_started_again();
        assert_eq!(first.join().unwrap(), None, "it was killed before the last commit");
        server
    });
    audit_finds_nothing(&server);
    let done = server.admin().balance("alice").replace('.', "").parse::<usize>().unwrap();
    assert!((1..ITEMS).contains(&done), "{done} items were committed");
    let again = send(server.anonymous().address).expect("the server is back");
    assert_eq!((again.0, again.1["results"].as_array().unwrap().len()), (200, ITEMS));
    assert!(entries_of(&again).iter().enumerate().all(|(n, (reference, _))| *reference == n.to_string()));
    assert_eq!((entries_of(&again).len(), server.admin().balance("alice").as_str()), (ITEMS, "60.00"));
    assert_eq!(send(server.anonymous().address), Some(again), "a repeat");
    assert_eq!(server.admin().balance("alice"), "60.00");
    audit_finds_nothing(&server);
}

/// Each key that was answered with an entry has that entry, and no key has two.
fn one_entry_each(server: &Server, made: &HashMap<String, i64>, rounds: usize) {
    let all = server.admin().ask("GET", "/v1/entries?order=asc").header("Accept", "application/x-ndjson").send();
    let mut seen: HashMap<String, i64> = HashMap::new();
    for line in String::from_utf8(all.body).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        if let Some(key) = entry["reference"].as_str() {
            let twice = seen.insert(key.to_owned(), entry["id"].as_i64().unwrap());
            assert_eq!(twice, None, "{key} moved money twice");
        }
    }
    assert!(made.len() > CLIENTS * rounds, "only {} requests moved money", made.len());
    assert_eq!(&seen, made, "what was answered and what is there are the same");
}

/// As often as is asked for.
pub fn rounds(usual: usize) -> usize {
    std::env::var("CASHBOX_TORTURE_ROUNDS").map_or(usual, |rounds| rounds.parse().expect("a number of rounds"))
}

pub fn audit_finds_nothing(server: &Server) {
    let verify = Command::new(env!("CARGO_BIN_EXE_cashbox"))
        .args(["verify", "--db"])
        .arg(server.folder.path().join("cashbox.db"))
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}

const REQUESTS: usize = 60;
/// Power cuts, unless `CASHBOX_TORTURE_ROUNDS` gives their number.
const CUTS: usize = 24;

fn log_of(file: &Path) -> PathBuf {
    file.with_file_name(format!("{}-wal", file.file_name().unwrap().to_str().unwrap()))
}

/// The `n`th request: money in, out, and about, a coupon and a hold now and then. Each makes one entry.
fn nth_request(n: usize) -> cashbox::internals::command::Command {
    match n % 6 {
        0 => recharge("alice", "150"),
        1 => recharge("bob", "1.11"),
        2 => transfer("alice", "bob", "2.22"),
        3 => hold("alice", "5", 3_600),
        4 => capture(n as i64, None, true), // the entry before it is the hold
        _ => pay("alice", "3.33", None),
    }
}

/// The file as it is before all that is in its log from that byte on. What was moved from the log into the file had been
/// on disk before: no power cut takes it away.
fn before(book: &Book) -> (Vec<u8>, usize) {
    loop {
        let (file, log) = (fs::read(book.path()).unwrap(), fs::metadata(log_of(&book.path())).unwrap().len() as usize);
        if fs::read(book.path()).unwrap() == file {
            let nothing_was_moved = file.len() <= 4_096;
            return (file, if nothing_was_moved { 0 } else { log });
        }
    }
}

/// The file that a power cut at that byte of the log leaves.
fn cut(book: &Book, before: &[u8], at: usize, dice: &mut Dice) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("cashbox.db");
    fs::write(&copy, before).unwrap();
    let mut log = fs::read(log_of(&book.path())).unwrap();
    match dice.below(3) {
        0 => log.truncate(at),
        1 => log[at..].fill(0),
        _ => log[at..].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
    }
    fs::write(log_of(&copy), log).unwrap();
    folder
}

#[test]
fn power_loss_keeps_every_answered_change() {
    for mut dice in Dice::runs(0..1) {
        let book = book();
        let reader = book.raw(); // reads all the time, so that the log does not start anew
        reader.execute_batch("BEGIN; SELECT count(*) FROM wallet").unwrap();
        let (before, from) = before(&book);
        let mut written = Vec::new();
        for n in 0..REQUESTS {
            book.submit(keyed(&format!("k{n}")), nth_request(n)).result.unwrap();
            written.push(fs::metadata(log_of(&book.path())).unwrap().len() as usize);
        }
        let end = *written.last().unwrap();
        assert!(written.is_sorted() && end > 100_000, "the log grew: {end}");
        for _ in 0..rounds(CUTS) {
            let at = from + dice.below(end - from + 1);
            let folder = cut(&book, &before, at, &mut dice);
            let file = folder.path().join("cashbox.db");
            let answered = written.iter().filter(|length| **length <= at).count();
            let store = Store::open(&file, &book.options).unwrap_or_else(|why| panic!("cut at {at}: {why}"));
            let audit = || cashbox::internals::store::audit::audit(&file, None, &mut |_, _| {}).unwrap();
            let (entries, findings) = (audit().entries, audit().findings);
            assert_eq!(findings, [], "cut at {at}");
            assert!(entries >= answered as i64, "cut at {at}: {entries} entries, and {answered} were answered");
            for n in 0..REQUESTS {
                let again = store.submit(keyed(&format!("k{n}")), nth_request(n));
                assert_eq!(again.replayed, (n as i64) < entries, "cut at {at}: request {n} again");
                assert_eq!(moved(again.result.unwrap()).entry.id.0, n as i64 + 1);
            }
            assert_eq!((audit().entries, audit().findings), (REQUESTS as i64, vec![]), "cut at {at}");
        }
    }
}
