//! The real program, killed on the spot while clients take locks, renew them, move money under them and let go. Each
//! asks again what was not answered: one effect each, no fence comes twice, and a lease that was held still is. A job with a
//! period runs once in it. A slot is one client's at a time.

use crate::crash::{agent, audit_finds_nothing, rounds};
use crate::server::{ADMIN, Server, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use ureq::http::Request;

/// Kills, unless `CASHBOX_TORTURE_ROUNDS` gives their number.
const ROUNDS: usize = 10;
const CLIENTS: usize = 6;
const USERS: usize = 3;

/// One lease, from the request for it to its end, and how far its holder has come.
#[derive(Debug)]
struct Lease {
    user: String,
    secret: String,
    /// Token and fence, once the grant was answered.
    granted: Option<(String, i64)>,
    /// The steps after the grant that were answered, and the entry that the last of them made.
    answered: usize,
    entry: Option<i64>,
}

/// The requests of a holder under its lease; the last one releases it.
const STEPS: [&str; 3] = ["renew", "withdraw", "release"];

/// A client of the server, at the address where it listens now.
struct Speaker {
    agent: ureq::Agent,
    address: SocketAddr,
}

impl Speaker {
    /// Sends a request; none is a lost answer.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<(u16, Value)> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        request = request.header("Authorization", format!("Bearer {ADMIN}")).header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = self.agent.run(request.body(body.to_string()).unwrap()).ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        Some((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    fn acquire(&self, lease: &mut Lease, wait_ms: u64) -> Option<u16> {
        let path = format!("/v1/locks/wallet/{}", lease.user);
        let request = json!({ "secret": lease.secret, "wait_ms": wait_ms });
        let (status, grant) = self.send("POST", &path, &[], &request)?;
        if status < 300 {
            let got = (grant["token"].as_str().unwrap().to_owned(), grant["fence"].as_i64().unwrap());
            assert!(lease.granted.as_ref().is_none_or(|had| *had == got), "{lease:?} is another lease now: {grant}");
            lease.granted = Some(got);
        }
        Some(status)
    }

    /// Takes the holder's next step, which must be a yes: the lease is its own.
    fn step(&self, lease: &mut Lease) -> Option<()> {
        let (token, lock) = (lease.granted.as_ref().unwrap().0.clone(), format!("/v1/locks/wallet/{}", lease.user));
        let token = ("Lock-Token", token.as_str());
        let (status, body) = match STEPS[lease.answered] {
            "renew" => self.send("PATCH", &lock, &[token], &json!({}))?,
            "withdraw" => {
                let path = format!("/v1/wallets/{}/withdraw", lease.user);
                let body = json!({ "amount": "0.01", "reference": lease.secret });
                self.send("POST", &path, &[token, ("Idempotency-Key", &lease.secret)], &body)?
            }
            _ => self.send("DELETE", &lock, &[token], &json!({}))?,
        };
        assert!([200, 204].contains(&status), "{} of {lease:?} was answered {status} {body}", STEPS[lease.answered]);
        lease.entry = body["entry"]["id"].as_i64().or(lease.entry);
        lease.answered += 1;
        Some(())
    }

    /// Goes on with a lease to its end, or until the server is gone.
    fn go_on(&self, lease: &mut Lease, answered: &AtomicUsize) -> Option<()> {
        while lease.granted.is_some() && lease.answered < STEPS.len() {
            self.step(lease)?;
            answered.fetch_add(1, SeqCst);
        }
        Some(())
    }
}

/// Leases one after another until the server is gone; the last of them is not at its end.
fn hammer(speaker: &Speaker, round: usize, client: usize, answered: &AtomicUsize) -> Vec<Lease> {
    let mut leases = Vec::new();
    for n in 0.. {
        let (user, secret) = (format!("u{}", (client + n) % USERS), format!("round{round:_<6}client{client}lease{n}"));
        let mut lease = Lease { user, secret, granted: None, answered: 0, entry: None };
        let asked = speaker.acquire(&mut lease, 20_000);
        let lost = asked.is_none() || speaker.go_on(&mut lease, answered).is_none();
        leases.push(lease);
        if lost {
            break;
        }
    }
    leases
}

/// After the restart: each holder still has its lock, and another client finds it held by that lease.
fn still_held(speaker: &Speaker, lease: &mut Lease) {
    let Some((_, fence)) = lease.granted.clone() else { return };
    if lease.answered + 1 < STEPS.len() {
        let path = format!("/v1/locks/wallet/{}", lease.user);
        let (status, refused) = speaker.send("POST", &path, &[], &json!({})).unwrap();
        assert_eq!((status, refused["fence"].as_i64()), (423, Some(fence)), "{lease:?}");
        assert_eq!(speaker.acquire(lease, 0), Some(200), "the same secret is the same lease: {lease:?}");
    }
}

/// Clients without an answer ask again. One may have been granted the lock without hearing of it, and blocks others
/// until it asks: a client that finds the lock held asks again after the rest.
fn grant_the_rest(speaker: &Speaker, leases: Vec<&mut Lease>) {
    let (mut turns, mut leases) = (leases.len() * leases.len(), VecDeque::from(leases));
    while let Some(lease) = leases.pop_front() {
        match speaker.acquire(lease, 0) {
            Some(200 | 201) => speaker.go_on(lease, &AtomicUsize::new(0)).expect("the server is back"),
            Some(423) if turns > 0 => leases.push_back(lease),
            status => panic!("{lease:?} was answered {status:?}"),
        }
        turns -= 1;
    }
}

#[test]
fn killed_server_keeps_leases_and_money_once() {
    let rounds = rounds(ROUNDS);
    let mut running = Some(Server::start());
    let speaker =
        |running: &Option<Server>| Speaker { agent: agent(), address: running.as_ref().unwrap().anonymous().address };
    for user in 0..USERS {
        let path = format!("/v1/wallets/u{user}/recharge");
        running.as_ref().unwrap().admin().post(&path, json!({ "amount": "90" })).is(200);
    }
    let (mut done, mut last_fence, mut were_held) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        let (before, answered) = (speaker(&running), AtomicUsize::new(0));
        let enough = 10 + round * 37 % 60; // another moment each time
        let mut leases: Vec<Lease> = thread::scope(|scope| {
            let hammers: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (before, answered) = (&before, &answered);
                    scope.spawn(move || hammer(before, round, client, answered))
                })
                .collect();
            until(|| {
                thread::yield_now();
                answered.load(SeqCst) >= enough
            });
            running = running.take().map(Server::killed_and_started_again);
            hammers.into_iter().flat_map(|hammer| hammer.join().unwrap()).collect()
        });
        let again = speaker(&running);
        for lease in leases.iter_mut().filter(|lease| lease.granted.is_some()) {
            were_held += usize::from(lease.answered < STEPS.len());
            still_held(&again, lease);
            again.go_on(lease, &answered).expect("the server is back");
        }
        grant_the_rest(&again, leases.iter_mut().filter(|lease| lease.granted.is_none()).collect());
        let (_, probe) = again.send("POST", &format!("/v1/locks/probe{round}"), &[], &json!({})).unwrap();
        let highest = leases.iter().map(|lease| lease.granted.as_ref().unwrap().1).max().unwrap();
        assert!(probe["fence"].as_i64().unwrap() > highest.max(last_fence), "a fence came again after a crash");
        last_fence = probe["fence"].as_i64().unwrap();
        done.extend(leases);
    }
    assert!(were_held >= rounds, "only {were_held} leases were cut off");
    one_effect_each(&running.expect("it is always started again"), &done);
}

/// Every lease has a fence of its own and made one entry, under that fence.
fn one_effect_each(server: &Server, leases: &[Lease]) {
    let fences: BTreeSet<i64> = leases.iter().map(|lease| lease.granted.as_ref().unwrap().1).collect();
    assert_eq!(fences.len(), leases.len(), "two leases have one fence");
    let made = |lease: &Lease| (lease.secret.clone(), (lease.entry, lease.granted.as_ref().map(|(_, fence)| *fence)));
    let made: BTreeMap<_, _> = leases.iter().map(made).collect();
    let all = server.admin().ask("GET", "/v1/entries?order=asc&kind=withdraw");
    let all = String::from_utf8(all.header("Accept", "application/x-ndjson").send().body).unwrap();
    let entries: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), leases.len(), "each lease moved money once");
    for entry in entries {
        let of = entry["reference"].as_str().unwrap();
        assert_eq!((entry["id"].as_i64(), entry["fence"].as_i64()), made[of], "{of}");
    }
    audit_finds_nothing(server);
}

const SLOTS: [&str; 3] = ["gpu/1", "gpu/2", "gpu/3"];

/// A client of the server that is started again elsewhere: it asks until it is answered.
struct PatientSpeaker<'a> {
    address: &'a Mutex<SocketAddr>,
    asked: &'a AtomicUsize,
}

impl PatientSpeaker<'_> {
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        loop {
            let speaker = Speaker { agent: agent(), address: *self.address.lock().unwrap() };
            self.asked.fetch_add(1, SeqCst);
            match speaker.send(method, path, headers, body) {
                Some((503, _)) | None => thread::sleep(Duration::from_millis(10)),
                Some(answer) => return answer,
            }
        }
    }
}

/// Takes one of the slots three times; each time it must be the only one in it.
fn use_slots(speaker: &PatientSpeaker<'_>, name: &str, busy: &Mutex<BTreeMap<String, String>>) {
    let mut turns = 0;
    for n in 0.. {
        let wanted = json!({ "any": SLOTS, "secret": format!("{name}_turn{n:_>4}"), "wait_ms": 20_000 });
        let (status, grant) = speaker.send("POST", "/v1/locks", &[], &wanted);
        if status == 412 {
            continue; // its answer was lost with the server, which released it
        }
        assert!(status < 300, "{status} {grant}");
        let (slot, token) = (grant["ids"][0].as_str().unwrap(), ("Lock-Token", grant["token"].as_str().unwrap()));
        let other = busy.lock().unwrap().insert(slot.to_owned(), name.to_owned());
        assert_eq!(other, None, "{name} is in {slot} too");
        assert_eq!(speaker.send("PATCH", "/v1/locks", &[token], &json!({})).0, 200);
        busy.lock().unwrap().remove(slot);
        assert_eq!(speaker.send("DELETE", "/v1/locks", &[token], &json!({})).0, 204);
        turns += 1;
        if turns == 3 {
            return;
        }
    }
}

#[test]
fn killed_server_gives_no_slot_to_two() {
    let mut running = Server::start();
    for round in 0..rounds(ROUNDS) {
        let (address, asked) = (Mutex::new(running.anonymous().address), AtomicUsize::new(0));
        let busy = Mutex::new(BTreeMap::new());
        running = thread::scope(|scope| {
            for client in 0..CLIENTS {
                let speaker = PatientSpeaker { address: &address, asked: &asked };
                let busy = &busy;
                scope.spawn(move || use_slots(&speaker, &format!("round{round:_<4}client{client}"), busy));
            }
            until(|| asked.load(SeqCst) > 3 + round * 5 % 30);
            let again = running.killed_and_started_again();
            *address.lock().unwrap() = again.anonymous().address;
            again
        });
        let held = SLOTS.map(|slot| running.admin().get(&format!("/v1/locks/{slot}")).is(200)["state"] != "free");
        assert_eq!(held, [false; 3], "round {round}");
    }
    audit_finds_nothing(&running);
}

/// Clients that each want to run a job once in this period; the server is killed while they ask. Each repeats what was not
/// answered under its own secret. Returns the number of runs.
fn runs_of_job(running: Server, round: usize) -> (Server, usize) {
    let address = Mutex::new(running.anonymous().address);
    let (asked, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let running = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, asked, runs) = (&address, &asked, &runs);
            scope.spawn(move || {
                let speaker = PatientSpeaker { address, asked };
                let (path, secret) = (format!("/v1/locks/job{round}"), format!("job{round:_<12}client{client}"));
                let wanted = json!({ "secret": secret, "min_hold_ms": 3_600_000, "wait_ms": 20_000 });
                let (status, grant) = speaker.send("POST", &path, &[], &wanted);
                if status < 300 {
                    runs.fetch_add(1, SeqCst);
                    let token = ("Lock-Token", grant["token"].as_str().unwrap());
                    assert_eq!(speaker.send("DELETE", &path, &[token], &json!({})).0, 204);
                } else {
                    let is_over = status == 412 || status == 423 && grant["state"] == "resting";
                    assert!(is_over, "{status} {grant}");
                }
            });
        }
        until(|| asked.load(SeqCst) > round % CLIENTS);
        let again = running.killed_and_started_again();
        *address.lock().unwrap() = again.anonymous().address;
        again
    });
    (running, runs.into_inner())
}

#[test]
fn killed_server_lets_job_run_once_per_period() {
    let mut running = Server::start();
    for round in 0..rounds(ROUNDS) {
        let runs;
        (running, runs) = runs_of_job(running, round);
        assert_eq!(runs, 1, "round {round}");
        let lock = running.admin().get(&format!("/v1/locks/job{round}")).is(200);
        assert_eq!(lock["state"], "resting", "{}", lock.json);
    }
    audit_finds_nothing(&running);
}
