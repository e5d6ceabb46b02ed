//! Holds over HTTP: pairs of a hold and its capture beside withdrawals, and many holds that expire together.

use crate::report::{Outcome, figure};
use crate::server::{Folder, Server, drive, ms, plan};
use crate::withdrawals::{USERS, drive_withdrawals, settle, settled, wallets};
use crate::{BenchResult, Settings};
use cashbox::internals::bench::{BenchWallet, HoldPairs, check_wallets, open_wallets, with_commas};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Turns of withdrawals and of pairs.
const TURNS: usize = 2;

/// Pairs of a hold and its capture, and withdrawals, in turn.
pub fn holds(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let by_admin: Vec<_> = wallets.iter().map(|wallet| server.as_admin(wallet)).collect();
    let (mut pairs, mut withdrawals, mut done) = (Vec::new(), Vec::new(), 0);
    let (mut pair_us, mut withdrawal_us) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (run, withdrawn) = drive_withdrawals(&server, &mut wallets, settings)?;
        withdrawals.push(run.rate);
        withdrawal_us.push(run.server_us);
        let of = |place: usize| HoldPairs::new(&by_admin, place % USERS, settings.key_order());
        let mut scripts: Vec<_> = (0..usize::from(settings.connections)).map(of).collect();
        let run = drive(&server, &mut scripts, plan(settings))?;
        pairs.push(run.rate);
        pair_us.push(run.server_us);
        done += withdrawn + settled(&scripts, &mut wallets);
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let (pairs, withdrawals) = (mean(&pairs), mean(&withdrawals));
    let (pair_us, withdrawal_us) = (mean(&pair_us), mean(&withdrawal_us));
    let (checked, wrong) = settle(server, &wallets, done)?;
    Ok(Outcome {
        figures: vec![
            figure(format!("pairs of a hold and its capture, {} connections", settings.connections), pairs, "/s"),
            figure("durable withdrawals in the same run", withdrawals, "/s"),
            figure("of that", pairs / withdrawals, ""),
            figure("processor time of the server, a pair", pair_us, "µs"),
            figure("processor time of the server, a withdrawal", withdrawal_us, "µs"),
        ],
        checked,
        wrong,
    })
}

/// Holds that expire in the same second, and the wallets they are on: none has more than a thousand.
const EXPIRING: usize = 100_000;
const HOLDERS: usize = 125;
/// Holds placed by one request.
const PLACED_AT_ONCE: usize = 1_000;
/// Time in which all are placed and the usual latency is measured.
const TIME_BEFORE: Duration = Duration::from_secs(90);
/// Time after which it is given up that all are given back.
const TIME_AFTER: Duration = Duration::from_secs(300);
/// Time of one measurement while they are given back, in seconds.
const TURN_S: u64 = 2;
/// Pause between two looks at the counter.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Holds that fall due together, given back by the server while others withdraw.
pub fn expiry(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let due = Instant::now() + TIME_BEFORE;
    let holders = place_holds(&server, due)?;
    let (usual, mut withdrawn) = drive_withdrawals(&server, &mut wallets, settings)?;
    let wait = due.checked_duration_since(Instant::now()).ok_or("the holds fell due before all was ready")?;
    sleep(wait);
    let is_settled = AtomicBool::new(false);
    let turn = Settings { warm_up: 0, seconds: TURN_S, ..settings.clone() };
    let (took, rates, p99s) = scope(|scope| {
        let watching = scope.spawn(|| {
            let took = time_to_settle(&server, due);
            is_settled.store(true, Relaxed);
            took
        });
        let (mut rates, mut p99s) = (Vec::new(), Vec::new());
        while !is_settled.load(Relaxed) {
            let (run, done) = drive_withdrawals(&server, &mut wallets, &turn)?;
            withdrawn += done;
            rates.push(run.rate);
            p99s.push(ms(&run.latencies, 990));
        }
        let took = watching.join().map_err(|_| "the watcher panicked")??;
        BenchResult::Ok((took, rates, p99s))
    })?;
    let wrong_holders = check_wallets(&mut server.connect()?, &holders)?;
    let (checked, mut wrong) = settle(server, &wallets, withdrawn)?;
    wrong.extend(wrong_holders);
    let (worst, usual_p99) = (p99s.into_iter().fold(0.0, f64::max), ms(&usual.latencies, 990));
    let count = with_commas(EXPIRING as u64);
    Ok(Outcome {
        figures: vec![
            figure(
                format!("{count} holds that expire together, beside {} connections", settings.connections),
                took.as_secs_f64(),
                "s",
            ),
            figure("p99 of a withdrawal meanwhile, the worst 2 seconds", worst, "ms"),
            figure("p99 before", usual_p99, "ms"),
            figure("times of that", worst / usual_p99, ""),
            figure("withdrawals meanwhile", rates.iter().sum::<f64>() / rates.len() as f64, "/s"),
            figure("withdrawals before", usual.rate, "/s"),
        ],
        checked: format!("{checked}; all of {count} given back"),
        wrong,
    })
}

/// Places the holds so that all expire at that moment, within a second; their wallets.
fn place_holds(server: &Server, due: Instant) -> BenchResult<Vec<BenchWallet>> {
    let mut client = server.connect()?;
    let users = (0..HOLDERS).map(|number| format!("holder-{number:03}"));
    let holders = open_wallets(&mut client, &server.target.caller, users)?;
    for first in (0..EXPIRING).step_by(PLACED_AT_ONCE) {
        let left = due.checked_duration_since(Instant::now()).ok_or("placing the holds took too long")?;
        let item = |number: usize| {
            let user = &holders[number % HOLDERS].user;
            format!(r#"{{"op":"hold","user":"{user}","amount":"0.01","expires_in_s":{}}}"#, left.as_secs().max(1))
        };
        let items: Vec<_> = (first..first + PLACED_AT_ONCE).map(item).collect();
        let answer = client.exchange(&server.request("POST", "/v1/batch", "", &format!("[{}]", items.join(","))))?;
        answer.expect_status(200)?;
        if answer.body.matches(r#""code":201"#).count() != PLACED_AT_ONCE {
            return Err("a hold was not placed".into());
        }
    }
    Ok(holders)
}

/// The time from that moment until every hold is given back.
fn time_to_settle(server: &Server, due: Instant) -> BenchResult<Duration> {
    let mut client = server.connect()?;
    loop {
        let settled = server.counter(&mut client, "cashbox_holds_settled_total")?;
        if settled >= EXPIRING as f64 {
            return Ok(due.elapsed());
        }
        if due.elapsed() > TIME_AFTER {
            return Err(format!("{settled} of {EXPIRING} holds were given back in {TIME_AFTER:?}").into());
        }
        sleep(LOOK_EVERY);
    }
}
