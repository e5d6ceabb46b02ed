//! The lock table: leases a second, the time from a release to the next grant, and what very many waiters cost.

use crate::report::{Outcome, figure};
use crate::server::{Folder, Server, drive, ms, plan};
use crate::{BenchResult, Settings, machine};
use cashbox::internals::bench::{
    BenchCaller, BenchClient, HeldFlag, Latencies, LockPairs, Workload, acquire_request, check_locks, release_request,
    with_commas,
};
use rustix::process::{Resource, getrlimit};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
const WAITERS: usize = 100;
const ROUNDS: usize = 10;
/// Pause between two looks at the queue.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// LockPairs of acquire and release, and hand-offs in a queue.
pub fn locks(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let caller = &server.target.caller;
    let own = |number| LockPairs::new(caller, &format!("own-{number}"), &HeldFlag::default());
    let mut pairs: Vec<LockPairs> = (0..CONNECTIONS).map(own).collect();
    let run = drive(&server, &mut pairs, plan(settings))?;
    let done = pairs.iter().map(Workload::units_done).sum();
    let mut wrong: Vec<_> = pairs.iter().filter_map(Workload::violation).map(str::to_owned).take(1).collect();
    let mut client = server.connect()?;
    let mut hand_offs = Vec::new();
    for round in 0..ROUNDS {
        let leases = queue(&server, &mut client, &format!("/v1/locks/shared-{round}"))?;
        hand_offs.extend(leases.windows(2).map(|pair| pair[1].granted.saturating_duration_since(pair[0].released)));
        let in_turn = leases.windows(2).all(|pair| pair[0].fence < pair[1].fence && pair[0].released < pair[1].granted);
        if leases.len() != WAITERS + 1 || !in_turn {
            wrong.push(format!("{} leases, and two of them at once: {}", leases.len(), !in_turn));
        }
    }
    wrong.extend(check_locks(&mut client, caller, "")?);
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
            with_commas(done),
            with_commas((ROUNDS * WAITERS) as u64)
        ),
        wrong,
    })
}

/// One lease as its holder saw it: from the response to before the release is sent.
struct Lease {
    fence: i64,
    granted: Instant,
    released: Instant,
}

/// Holds the lock until all wait for it and releases it; each waiter releases its lease at once. The leases in the order
/// of their grants.
fn queue(server: &Server, client: &mut BenchClient, target: &str) -> BenchResult<Vec<Lease>> {
    let caller = &server.target.caller;
    let first = client.exchange(&acquire_request(caller, target, 0))?;
    let (fence, release) =
        (first.number("fence").ok_or("a grant without a fence")?, release_request(caller, target, &first)?);
    scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| wait_and_release(server, target))).collect();
        let look = server.request("GET", target, "", "");
        while client.exchange(&look)?.number("queue") != Some(WAITERS as i64) {
            sleep(LOOK_EVERY);
        }
        let released = Instant::now();
        client.exchange(&release)?.expect_status(204)?;
        let mut leases = vec![Lease { fence, granted: released, released }];
        for waiter in waiters {
            leases.push(waiter.join().expect("a waiter does not panic")?);
        }
        leases.sort_unstable_by_key(|lease| lease.granted);
        Ok(leases)
    })
}

fn wait_and_release(server: &Server, target: &str) -> BenchResult<Lease> {
    let (caller, mut client) = (&server.target.caller, server.connect()?);
    let answer = client.exchange(&acquire_request(caller, target, 60_000))?;
    let granted = Instant::now();
    let (fence, release) =
        (answer.number("fence").ok_or("a grant without a fence")?, release_request(caller, target, &answer)?);
    let released = Instant::now();
    client.exchange(&release)?.expect_status(204)?;
    Ok(Lease { fence, granted, released })
}

const PARKED: usize = 10_000;
/// Limits that admit them, and the connections that measure.
const PARKED_LIMITS: [&str; 6] =
    ["--max-connections", "10500", "--max-parked", "10200", "--max-parked-per-lock", "10200"];
const PARKED_WAIT_MS: u32 = 600_000;
/// Pairs on another lock for one figure.
const PARKED_PAIRS: usize = 500;
const PARKED_LOOK_EVERY: Duration = Duration::from_millis(20);
const MIB: f64 = 1_048_576.0;

/// 10,000 waiters on one lock: memory, and the latency of another lock.
pub fn parked(settings: &Settings) -> BenchResult<Outcome> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if descriptors < PARKED as u64 + 100 {
        return Err(format!("this needs {} open files, and {descriptors} are allowed: ulimit -n", PARKED + 100).into());
    }
    let folder = Folder::new(settings)?;
    let server = Server::start_with(&folder, &PARKED_LIMITS)?;
    let (caller, mut client) = (&server.target.caller, server.connect()?);
    let alone = pairs(caller, &mut client)?;
    let idle = machine::memory(server.process_id())?;
    let held = client.exchange(&acquire_request(caller, "/v1/locks/shared", 0))?;
    held.expect_status(201)?;
    let wait = acquire_request(caller, "/v1/locks/shared", PARKED_WAIT_MS);
    let mut waiters = Vec::with_capacity(PARKED);
    for _ in 0..PARKED {
        let mut waiter = server.connect()?;
        waiter.send(&wait)?;
        waiters.push(waiter);
    }
    let look = server.request("GET", "/v1/locks/shared", "", "");
    while client.exchange(&look)?.number("queue") != Some(PARKED as i64) {
        sleep(PARKED_LOOK_EVERY);
    }
    let memory = machine::memory(server.process_id())?;
    let beside = pairs(caller, &mut client)?;
    drop(client);
    let mut wrong = server.stop_and_audit()?;
    let stopped =
        waiters.iter_mut().filter_map(|waiter| waiter.receive().ok()).filter(|answer| answer.status == 503).count();
    if stopped != PARKED {
        wrong.push(format!("{stopped} of {PARKED} waiters got a response when the server stopped"));
    }
    Ok(Outcome {
        figures: vec![
            figure(format!("resident memory, {} waiters", with_commas(PARKED as u64)), memory as f64 / MIB, "MiB"),
            figure("before they came", idle as f64 / MIB, "MiB"),
            figure("acquire and release of another lock, p50", ms(&beside, 500), "ms"),
            figure("before they came", ms(&alone, 500), "ms"),
        ],
        checked: format!("all {} were answered when the server stopped; audit clean", with_commas(PARKED as u64)),
        wrong,
    })
}

/// The times of some pairs on a lock that no other client wants.
fn pairs(caller: &BenchCaller, client: &mut BenchClient) -> BenchResult<Latencies> {
    let mut took = Vec::with_capacity(PARKED_PAIRS);
    for _ in 0..PARKED_PAIRS {
        let begun = Instant::now();
        let release =
            release_request(caller, "/v1/locks/own", &client.exchange(&acquire_request(caller, "/v1/locks/own", 0))?)?;
        client.exchange(&release)?.expect_status(204)?;
        took.push(begun.elapsed());
    }
    Ok(took.into_iter().collect())
}
