//! The lock table: how many leases a second, and how soon the next in a queue has one.

use crate::client::{Answer, Client, request};
use crate::fleet::{Latencies, Script, drive};
use crate::report::{Outcome, count, figure};
use crate::server::{ADMIN, Folder, Server};
use crate::{Got, Settings};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
const WAITERS: usize = 100;
const ROUNDS: usize = 10;
/// How often is looked whether all of them wait.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Acquires a lock of its own and releases it, again and again.
struct Pairs {
    acquire: Vec<u8>,
    release: Option<Vec<u8>>,
    target: String,
    done: u64,
}

impl Pairs {
    fn new(number: usize) -> Pairs {
        let target = format!("/v1/locks/own-{number}");
        Pairs { acquire: acquire(&target, 0), release: None, target, done: 0 }
    }
}

impl Script for Pairs {
    fn next(&mut self) -> &[u8] {
        self.release.as_deref().unwrap_or(&self.acquire)
    }

    fn heard(&mut self, answer: &Answer<'_>) -> std::io::Result<u64> {
        if self.release.take().is_some() {
            answer.must_be(204)?;
            self.done += 1;
            return Ok(1);
        }
        self.release = Some(release(&self.target, answer)?);
        Ok(0)
    }
}

/// A request for a lock.
pub fn acquire(target: &str, wait_ms: u32) -> Vec<u8> {
    request("POST", target, ADMIN, "", &format!(r#"{{"ttl_ms":60000,"wait_ms":{wait_ms}}}"#))
}

/// Gives back what was granted by this answer.
pub fn release(target: &str, granted: &Answer<'_>) -> std::io::Result<Vec<u8>> {
    granted.must_be(201)?;
    let token = granted.header("lock-token").ok_or_else(|| std::io::Error::other("a grant without a token"))?;
    Ok(request("DELETE", target, ADMIN, &format!("Lock-Token: {token}\r\n"), ""))
}

/// Pairs of acquire and release, and hand-offs in a queue.
pub fn locks(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new()?;
    let server = Server::start(&folder)?;
    let mut pairs: Vec<Pairs> = (0..CONNECTIONS).map(Pairs::new).collect();
    let run = drive(&server, &mut pairs, settings.plan())?;
    let done = pairs.iter().map(|pair| pair.done).sum();
    let mut client = server.client()?;
    for release in pairs.iter().filter_map(|pair| pair.release.as_ref()) {
        client.ask(release)?.must_be(204)?; // the time was over between the two
    }
    let (mut hand_offs, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let leases = queue(&server, &mut client, &format!("/v1/locks/shared-{round}"))?;
        hand_offs.extend(leases.windows(2).map(|pair| pair[1].granted.saturating_duration_since(pair[0].released)));
        let in_turn = leases.windows(2).all(|pair| pair[0].fence < pair[1].fence && pair[0].released < pair[1].granted);
        if leases.len() != WAITERS + 1 || !in_turn {
            wrong.push(format!("{} leases, and two of them at once: {}", leases.len(), !in_turn));
        }
    }
    if !client.ask(&request("GET", "/v1/locks", ADMIN, "", ""))?.body.contains(r#""data":[]"#) {
        wrong.push("a lock was left behind".to_owned());
    }
    wrong.extend(server.stop_and_audit()?);
    let hand_offs = Latencies::new(hand_offs.iter().map(|time| time.as_micros() as u32).collect());
    Ok(Outcome {
        figures: vec![
            figure(format!("acquire and release, {CONNECTIONS} connections"), run.rate, "pairs/s"),
            figure("p50 of either", run.latencies.ms(0.5), "ms"),
            figure("p99 of either", run.latencies.ms(0.99), "ms"),
            figure(format!("release to the next grant, {WAITERS} in the queue, p50"), hand_offs.ms(0.5), "ms"),
            figure("p99", hand_offs.ms(0.99), "ms"),
        ],
        checked: format!(
            "{} pairs and {} hand-offs: never two holders, fences grow, nothing left behind; audit clean",
            count(done),
            count((ROUNDS * WAITERS) as u64)
        ),
        wrong,
    })
}

/// One lease as its holder saw it: the answer was there, the release not yet sent.
struct Lease {
    fence: i64,
    granted: Instant,
    released: Instant,
}

/// Holds the lock until all wait for it, lets go, and each who gets it lets go at once; the leases in the order in which
/// they were granted.
fn queue(server: &Server, client: &mut Client, target: &str) -> Got<Vec<Lease>> {
    let first = client.ask(&acquire(target, 0))?;
    let (fence, let_go) = (first.number("fence").ok_or("a grant without a fence")?, release(target, &first)?);
    scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| wait_and_let_go(server, target))).collect();
        let look = request("GET", target, ADMIN, "", "");
        while client.ask(&look)?.number("queue") != Some(WAITERS as i64) {
            sleep(LOOK_EVERY);
        }
        let released = Instant::now();
        client.ask(&let_go)?.must_be(204)?;
        let mut leases = vec![Lease { fence, granted: released, released }];
        for waiter in waiters {
            leases.push(waiter.join().expect("a waiter does not panic")?);
        }
        leases.sort_unstable_by_key(|lease| lease.granted);
        Ok(leases)
    })
}

fn wait_and_let_go(server: &Server, target: &str) -> Got<Lease> {
    let mut client = server.client()?;
    let answer = client.ask(&acquire(target, 60_000))?;
    let granted = Instant::now();
    let (fence, let_go) = (answer.number("fence").ok_or("a grant without a fence")?, release(target, &answer)?);
    let released = Instant::now();
    client.ask(&let_go)?.must_be(204)?;
    Ok(Lease { fence, granted, released })
}
