//! Very many who wait for one lock: what they cost, and that nobody else minds.

use crate::report::{Outcome, figure};
use crate::run::ms;
use crate::server::{Folder, Server};
use crate::{Got, Settings, usage};
use cashbox::internals::bench::client::{BenchCaller, BenchClient};
use cashbox::internals::bench::latencies::Latencies;
use cashbox::internals::bench::pairs::{acquire, release};
use cashbox::internals::bench::report::count;
use rustix::process::{Resource, getrlimit};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WAITERS: usize = 10_000;
/// Room for them, and for those who look meanwhile.
const LIMITS: [&str; 6] = ["--max-connections", "10500", "--max-parked", "10200", "--max-parked-per-lock", "10200"];
const WAIT_MS: u32 = 600_000;
/// How many pairs on another lock make a figure.
const PAIRS: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(20);
const MIB: f64 = 1_048_576.0;

/// 10,000 waiters on one id: memory, and what another id notices.
pub fn parked(settings: &Settings) -> Got<Outcome> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if descriptors < WAITERS as u64 + 100 {
        return Err(format!("this needs {} open files, and {descriptors} are allowed: ulimit -n", WAITERS + 100).into());
    }
    let folder = Folder::new(settings)?;
    let server = Server::start_with(&folder, &LIMITS)?;
    let (caller, mut client) = (&server.site.caller, server.client()?);
    let alone = pairs(caller, &mut client)?;
    let idle = usage::memory(server.process())?;
    let held = client.ask(&acquire(caller, "/v1/locks/shared", 0))?;
    held.must_be(201)?;
    let wait = acquire(caller, "/v1/locks/shared", WAIT_MS);
    let mut waiters = Vec::with_capacity(WAITERS);
    for _ in 0..WAITERS {
        let mut waiter = server.client()?;
        waiter.send(&wait)?;
        waiters.push(waiter);
    }
    let look = server.request("GET", "/v1/locks/shared", "", "");
    while client.ask(&look)?.number("queue") != Some(WAITERS as i64) {
        sleep(LOOK_EVERY);
    }
    let memory = usage::memory(server.process())?;
    let beside = pairs(caller, &mut client)?;
    drop(client);
    let mut wrong = server.stop_and_audit()?;
    let told =
        waiters.iter_mut().filter_map(|waiter| waiter.receive().ok()).filter(|answer| answer.status == 503).count();
    if told != WAITERS {
        wrong.push(format!("{told} of {WAITERS} waiters were told that the server stops"));
    }
    Ok(Outcome {
        figures: vec![
            figure(format!("resident memory, {} waiters", count(WAITERS as u64)), memory as f64 / MIB, "MiB"),
            figure("before they came", idle as f64 / MIB, "MiB"),
            figure("acquire and release of another lock, p50", ms(&beside, 500), "ms"),
            figure("before they came", ms(&alone, 500), "ms"),
        ],
        checked: format!("all {} were answered when the server stopped; audit clean", count(WAITERS as u64)),
        wrong,
    })
}

/// The times of some pairs on a lock that nobody else wants.
fn pairs(caller: &BenchCaller, client: &mut BenchClient) -> Got<Latencies> {
    let mut took = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let begun = Instant::now();
        let give_back = release(caller, "/v1/locks/own", &client.ask(&acquire(caller, "/v1/locks/own", 0))?)?;
        client.ask(&give_back)?.must_be(204)?;
        took.push(begun.elapsed());
    }
    Ok(took.into_iter().collect())
}
