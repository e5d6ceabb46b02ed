//! `serve --test`: the time to start, to make the file an empty one again and to bring a state back, and many tests in turn,
//! each on a state of its own; its memory when idle.

use crate::report::{Outcome, figure};
use crate::server::{Folder, Server, ms};
use crate::{BenchResult, Settings, machine};
use cashbox::internals::bench::{BenchClient, Latencies};
use std::time::{Duration, Instant};

const STARTS: usize = 20;
/// Entries of the state that is brought back.
const ENTRIES: usize = 1_000;
const USERS: usize = 50;
const ROUNDS: usize = 50;
const TESTS: usize = 200;
const SETTLED: Duration = Duration::from_secs(1);
const MIB: f64 = 1024.0 * 1024.0;

pub fn test_mode(settings: &Settings) -> BenchResult<Outcome> {
    let (mut starts, mut wrong) = (Latencies::default(), Vec::new());
    let mut idle = 0;
    for round in 0..STARTS {
        let folder = Folder::new(settings)?;
        let server = Server::start_with(&folder, &["--test"])?;
        starts.record(server.started_in);
        if round == 0 {
            std::thread::sleep(SETTLED);
            idle = machine::memory(server.process_id())?;
        }
        server.stop()?;
    }

    let folder = Folder::new(settings)?;
    let server = Server::start_with(&folder, &["--test"])?;
    let mut client = server.connect()?;
    let items: Vec<String> = (0..ENTRIES)
        .map(|number| format!("{{\"op\":\"recharge\",\"user\":\"user-{}\",\"amount\":\"1\"}}", number % USERS))
        .collect();
    ask(&server, &mut client, "POST", "/test/seed", &format!("[{}]", items.join(",")))?;
    ask(&server, &mut client, "PUT", "/test/snapshots/start", "")?;
    let (mut resets, mut restores) = (Latencies::default(), Latencies::default());
    for _ in 0..ROUNDS {
        resets.record(ask(&server, &mut client, "POST", "/test/reset", "")?);
        restores.record(ask(&server, &mut client, "POST", "/test/snapshots/start/restore", "")?);
    }
    let begun = Instant::now();
    for _ in 0..TESTS {
        ask(&server, &mut client, "POST", "/test/snapshots/start/restore", "")?;
        ask(&server, &mut client, "POST", "/v1/wallets/user-1/pay", r#"{"amount":"20"}"#)?; // all of it: once for each state
    }
    let tests = begun.elapsed();
    wrong.extend(server.stop_and_audit()?);

    Ok(Outcome {
        figures: vec![
            figure("start of a server for tests, half of them", ms(&starts, 500), "ms"),
            figure("and the longest", ms(&starts, 1000), "ms"),
            figure(format!("back to a state of {ENTRIES} entries"), ms(&restores, 500), "ms"),
            figure("and the longest", ms(&restores, 1000), "ms"),
            figure("an empty file again", ms(&resets, 500), "ms"),
            figure(format!("{TESTS} tests, each from that state"), tests.as_secs_f64(), "s"),
            figure("resident memory, idle", idle as f64 / MIB, "MiB"),
        ],
        checked: format!("each of {TESTS} payments found the whole state; audit clean"),
        wrong,
    })
}

/// The time of a request that succeeds.
fn ask(server: &Server, client: &mut BenchClient, method: &str, path: &str, body: &str) -> BenchResult<Duration> {
    let request = server.request(method, path, "", body);
    let begun = Instant::now();
    let answer = client.exchange(&request)?;
    let took = begun.elapsed();
    if answer.status >= 300 {
        return Err(format!("{method} {path} was answered {}: {}", answer.status, answer.body).into());
    }
    Ok(took)
}
