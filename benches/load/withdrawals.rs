//! Withdrawals and balances over HTTP, each request under an idempotency key of its own: alone, hot, in batches, and beside
//! connections that send nothing.

use crate::report::{Figure, Outcome, figure};
use crate::server::{Folder, Run, Server, drive, ms, plan};
use crate::{BenchResult, Settings};
use cashbox::internals::bench::{
    BatchWithdraw, BenchCaller, BenchWallet, Latencies, MoveCents, ReadBalance, Workload, check_wallets, open_wallets,
    with_commas,
};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Wallets, each with an access token of its own.
pub const USERS: usize = 100;

/// Opens that many wallets, each with an access token of its user's.
pub fn wallets(server: &Server, count: usize) -> BenchResult<Vec<BenchWallet>> {
    let mut client = server.connect()?;
    let users = (0..count).map(|number| format!("user-{number:03}"));
    let mut wallets = open_wallets(&mut client, &server.target.caller, users)?;
    for wallet in &mut wallets {
        wallet.caller = mint(server, &wallet.user)?;
    }
    Ok(wallets)
}

/// Makes an access token for the user; the caller with it.
fn mint(server: &Server, user: &str) -> BenchResult<BenchCaller> {
    let mut client = server.connect()?;
    let mint = server.request("POST", "/v1/tokens", "", &format!(r#"{{"role":"user","user":"{user}"}}"#));
    let answer = client.exchange(&mint)?;
    answer.expect_status(201)?;
    Ok(server.target.caller.with_token(answer.field("token").ok_or("no token in the answer")?))
}

/// Adds what the workloads did to the expected balances; the number of units.
pub fn settled<W: Workload>(works: &[W], wallets: &mut [BenchWallet]) -> u64 {
    works.iter().for_each(|work| work.settle(wallets));
    works.iter().map(Workload::units_done).sum()
}

/// The check at the end of every scenario that withdraws cents.
pub fn settle(server: Server, wallets: &[BenchWallet], withdrawn: u64) -> BenchResult<(String, Vec<String>)> {
    let mut wrong = check_wallets(&mut server.connect()?, wallets)?;
    wrong.extend(server.stop_and_audit()?);
    Ok((
        format!("{} yes, no other answer; balances as answered, lost updates 0; audit clean", with_commas(withdrawn)),
        wrong,
    ))
}

/// Has every connection withdraw from its wallet, and adds that to the expected balances.
pub fn drive_withdrawals(server: &Server, wallets: &mut [BenchWallet], settings: &Settings) -> BenchResult<(Run, u64)> {
    let of = |place| MoveCents::withdraw(wallets, place % wallets.len(), settings.key_order());
    let mut scripts: Vec<_> = (0..usize::from(settings.connections)).map(of).collect();
    let run = drive(server, &mut scripts, plan(settings))?;
    Ok((run, settled(&scripts, wallets)))
}

/// Rate, latencies and processor time of a run.
pub fn figures_of(run: &Run, what: &str) -> Vec<Figure> {
    vec![
        figure(what, run.rate, "/s"),
        figure("p50", ms(&run.latencies, 500), "ms"),
        figure("p99", ms(&run.latencies, 990), "ms"),
        figure("longest", ms(&run.latencies, 1000), "ms").aside(),
        figure("processor time of the server, each", run.server_us, "µs").aside(),
        figure("processor time of the load generator, each", run.generator_us, "µs").aside(),
        figure("cores that other processes used meanwhile", run.others, "").aside(),
    ]
}

/// Durable withdrawals from a hundred wallets.
pub fn withdraw(settings: &Settings) -> BenchResult<Outcome> {
    withdrawals(settings, USERS, "durable withdrawals, 100 wallets")
}

/// The same, all from one wallet.
pub fn hot(settings: &Settings) -> BenchResult<Outcome> {
    withdrawals(settings, 1, "durable withdrawals, one wallet")
}

fn withdrawals(settings: &Settings, users: usize, what: &str) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, users)?;
    let mut client = server.connect()?;
    let mut counters = || {
        BenchResult::Ok((
            server.counter(&mut client, "cashbox_commands_total")?,
            server.counter(&mut client, "cashbox_commits_total")?,
        ))
    };
    let before = counters()?;
    let (run, withdrawn) = drive_withdrawals(&server, &mut wallets, settings)?;
    let after = counters()?;
    let mut figures = figures_of(&run, &format!("{what}, {} connections", settings.connections));
    figures.push(figure("commands in a commit", (after.0 - before.0) / (after.1 - before.1), ""));
    drop(client);
    let (checked, wrong) = settle(server, &wallets, withdrawn)?;
    Ok(Outcome { figures, checked, wrong })
}

/// The first experiment: this many clients connect in the same instant and empty one wallet.
const CLIENTS: usize = 100;
const EACH: usize = 5;
const ROUNDS: usize = 9;

/// 500 withdrawals of 1.00 from 500.00 by 100 clients, several times over.
pub fn tutorial(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let (mut took, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let user = format!("round-{round}");
        let recharge = format!("/v1/wallets/{user}/recharge");
        server
            .connect()?
            .exchange(&server.request("POST", &recharge, "", r#"{"amount":"500.00"}"#))?
            .expect_status(200)?;
        let caller = mint(&server, &user)?;
        let (time, yes_count) = empty(&server, &caller)?;
        took.push(time);
        let mut client = server.connect()?;
        let left = check_wallets(&mut client, &[BenchWallet { user, caller: caller.clone(), expected_cents: 0 }])?;
        let one_more = client.exchange(&withdraw_one(&caller, "one-more"))?.status;
        if (yes_count, one_more) != (CLIENTS * EACH, 402) {
            wrong.push(format!("{yes_count} yes, one more was answered {one_more}"));
        }
        wrong.extend(left);
    }
    wrong.extend(server.stop_and_audit()?);
    let took: Latencies = took.into_iter().collect();
    Ok(Outcome {
        figures: vec![
            figure(format!("500 withdrawals by 100 clients at once, median of {ROUNDS}"), ms(&took, 500), "ms"),
            figure("the longest", ms(&took, 1000), "ms"),
        ],
        checked: "each time exactly 500 yes, balance 0.00, lost updates 0, the 501st 402; audit clean".to_owned(),
        wrong,
    })
}

/// The time from the instant they all connect to the last response, and the number of withdrawals done.
fn empty(server: &Server, caller: &BenchCaller) -> BenchResult<(Duration, usize)> {
    let start = Barrier::new(CLIENTS + 1);
    let one_client = |number: usize| {
        let requests: Vec<_> = (0..EACH).map(|place| withdraw_one(caller, &format!("{number}-{place}"))).collect();
        start.wait();
        let mut client = server.connect()?;
        let mut yes_count = 0;
        for request in &requests {
            yes_count += usize::from(client.exchange(request)?.status == 200);
        }
        Ok::<_, std::io::Error>((yes_count, Instant::now()))
    };
    scope(|scope| {
        let one_client = &one_client;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || one_client(number))).collect();
        start.wait();
        let begun = Instant::now();
        let (mut yes_count, mut ended) = (0, begun);
        for client in clients {
            let (yes, end) = client.join().expect("a client does not panic")?;
            (yes_count, ended) = (yes_count + yes, ended.max(end));
        }
        Ok((ended - begun, yes_count))
    })
}

fn withdraw_one(caller: &BenchCaller, key: &str) -> Vec<u8> {
    caller.request("PUT", "/wallet", &format!("Idempotency-Key: {key}\r\n"), r#"{"money":"1.00"}"#)
}

/// Measures balances, each of the caller's own wallet.
pub fn read(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let wallets = wallets(&server, USERS)?;
    let of = |place| ReadBalance::new(&wallets[place % USERS], "/wallet");
    let mut looks: Vec<ReadBalance> = (0..usize::from(settings.connections)).map(of).collect();
    let run = drive(&server, &mut looks, plan(settings))?;
    let seen = looks.iter().map(Workload::units_done).sum();
    let mut wrong: Vec<_> = looks.iter().filter_map(Workload::violation).map(str::to_owned).take(1).collect();
    wrong.extend(check_wallets(&mut server.connect()?, &wallets)?);
    wrong.extend(server.stop_and_audit()?);
    Ok(Outcome {
        figures: figures_of(&run, &format!("balances read, {} connections", settings.connections)),
        checked: format!("{} answers, each with the right balance; audit clean", with_commas(seen)),
        wrong,
    })
}

const BATCH_ITEMS: usize = 1_000;
const BATCH_CONNECTIONS: usize = 4;

/// Withdrawals, a thousand to a request.
pub fn batch(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let by_admin: Vec<_> = wallets.iter().map(|wallet| server.as_admin(wallet)).collect();
    let mut batches: Vec<BatchWithdraw> =
        (0..BATCH_CONNECTIONS).map(|_| BatchWithdraw::new(&by_admin, BATCH_ITEMS)).collect();
    let run = drive(&server, &mut batches, plan(settings))?;
    let done = settled(&batches, &mut wallets);
    let (checked, wrong) = settle(server, &wallets, done)?;
    Ok(Outcome {
        figures: vec![
            figure(format!("withdrawals in batches of {BATCH_ITEMS}, {BATCH_CONNECTIONS} connections"), run.rate, "/s"),
            figure("p50 of a batch", ms(&run.latencies, 500), "ms"),
            figure("p99 of a batch", ms(&run.latencies, 990), "ms"),
            figure("processor time of the server, each withdrawal", run.server_us, "µs").aside(),
        ],
        checked,
        wrong,
    })
}

const IDLE: usize = 800;
const DRIPPING: usize = 200;
/// Limits that admit them and the clients that are measured.
const HOSTILE_LIMITS: [&str; 2] = ["--max-connections", "2048"];
const DROP_EVERY: Duration = Duration::from_millis(100);

/// Measures withdrawals alone, and then beside hostile connections.
pub fn hostile(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start_with(&folder, &HOSTILE_LIMITS)?;
    let mut wallets = wallets(&server, USERS)?;
    let (alone, before) = drive_withdrawals(&server, &mut wallets, settings)?;
    let over = AtomicBool::new(false);
    let (address, over_now) = (server.target.address, &over);
    let driven = scope(|scope| {
        let idle = (0..IDLE).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
        scope.spawn(move || drip(address, over_now));
        let driven = drive_withdrawals(&server, &mut wallets, settings);
        over.store(true, Relaxed);
        drop(idle);
        driven
    });
    let (beside, after) = driven?;
    let (checked, wrong) = settle(server, &wallets, before + after)?;
    Ok(Outcome {
        figures: vec![
            figure(
                format!("durable withdrawals beside {IDLE} idle and {DRIPPING} dripping connections"),
                beside.rate,
                "/s",
            ),
            figure("without them", alone.rate, "/s"),
            figure("p99 beside them", ms(&beside.latencies, 990), "ms"),
            figure("p99 without them", ms(&alone.latencies, 990), "ms"),
        ],
        checked,
        wrong,
    })
}

/// Sends heads that never end, a byte at a time, on many connections; opens a connection again when the server closes it.
fn drip(address: SocketAddr, over: &AtomicBool) {
    let mut dripping: Vec<Option<TcpStream>> = (0..DRIPPING).map(|_| None).collect();
    while !over.load(Relaxed) {
        for connection in &mut dripping {
            let still = connection.as_mut().is_some_and(|stream| stream.write_all(b"G").is_ok());
            if !still {
                *connection = TcpStream::connect(address).ok();
            }
        }
        sleep(DROP_EVERY);
    }
}
