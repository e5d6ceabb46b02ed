//! The lock table: how many leases a second, and how soon the next in a queue has one.

use crate::report::{Outcome, figure};
use crate::run::{drive, ms, plan};
use crate::server::{Folder, Server};
use crate::{Got, Settings};
use cashbox::internals::bench::client::BenchClient;
use cashbox::internals::bench::latencies::Latencies;
use cashbox::internals::bench::pairs::{self, HeldFlag, LockPairs, acquire, release};
use cashbox::internals::bench::report::count;
use cashbox::internals::bench::script::Work;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
const WAITERS: usize = 100;
const ROUNDS: usize = 10;
/// How often is looked whether all of them wait.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// LockPairs of acquire and release, and hand-offs in a queue.
pub fn locks(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let caller = &server.site.caller;
    let own = |number| LockPairs::new(caller, &format!("own-{number}"), &HeldFlag::default());
    let mut pairs: Vec<LockPairs> = (0..CONNECTIONS).map(own).collect();
    let run = drive(&server, &mut pairs, plan(settings))?;
    let done = pairs.iter().map(Work::done).sum();
    let mut wrong: Vec<_> = pairs.iter().filter_map(Work::wrong).map(str::to_owned).take(1).collect();
    let mut client = server.client()?;
    let mut hand_offs = Vec::new();
    for round in 0..ROUNDS {
        let leases = queue(&server, &mut client, &format!("/v1/locks/shared-{round}"))?;
        hand_offs.extend(leases.windows(2).map(|pair| pair[1].granted.saturating_duration_since(pair[0].released)));
        let in_turn = leases.windows(2).all(|pair| pair[0].fence < pair[1].fence && pair[0].released < pair[1].granted);
        if leases.len() != WAITERS + 1 || !in_turn {
            wrong.push(format!("{} leases, and two of them at once: {}", leases.len(), !in_turn));
        }
    }
    wrong.extend(pairs::check(&mut client, caller, "")?);
    wrong.extend(server.stop_and_audit()?);
    let hand_offs: Latencies = hand_offs.into_iter().collect();
    Ok(Outcome {
        figures: vec![
            figure(format!("acquire and release, {CONNECTIONS} connections"), run.rate, "pairs/s"),
            figure("p50 of either", ms(&run.latencies, 500), "ms"),
            figure("p99 of either", ms(&run.latencies, 990), "ms"),
            figure(format!("release to the next grant, {WAITERS} in the queue, p50"), ms(&hand_offs, 500), "ms"),
            figure("p99", ms(&hand_offs, 990), "ms"),
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
fn queue(server: &Server, client: &mut BenchClient, target: &str) -> Got<Vec<Lease>> {
    let caller = &server.site.caller;
    let first = client.ask(&acquire(caller, target, 0))?;
    let (fence, let_go) = (first.number("fence").ok_or("a grant without a fence")?, release(caller, target, &first)?);
    scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| wait_and_let_go(server, target))).collect();
        let look = server.request("GET", target, "", "");
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
    let (caller, mut client) = (&server.site.caller, server.client()?);
    let answer = client.ask(&acquire(caller, target, 60_000))?;
    let granted = Instant::now();
    let (fence, let_go) = (answer.number("fence").ok_or("a grant without a fence")?, release(caller, target, &answer)?);
    let released = Instant::now();
    client.ask(&let_go)?.must_be(204)?;
    Ok(Lease { fence, granted, released })
}
