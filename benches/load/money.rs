//! Withdrawals and balances over HTTP, each withdrawal a request of its own under an idempotency key of its own.

use crate::report::{Figure, Outcome, figure};
use crate::run::{Run, drive, ms, plan};
use crate::server::{Folder, Server};
use crate::{Got, Settings};
use cashbox::internals::bench::client::BenchCaller;
use cashbox::internals::bench::latencies::Latencies;
use cashbox::internals::bench::report::count;
use cashbox::internals::bench::script::{MoveCents, ReadBalance, Work};
use cashbox::internals::bench::wallet::{self, BenchWallet};
use std::sync::Barrier;
use std::thread::scope;
use std::time::{Duration, Instant};

/// Wallets, each with an access token of its own.
pub const USERS: usize = 100;

/// Opens that many wallets, each with an access token of its user's.
pub fn wallets(server: &Server, count: usize) -> Got<Vec<BenchWallet>> {
    let mut client = server.client()?;
    let users = (0..count).map(|number| format!("user-{number:03}"));
    let mut wallets = wallet::open(&mut client, &server.site.caller, users)?;
    for wallet in &mut wallets {
        wallet.caller = mint(server, &wallet.user)?;
    }
    Ok(wallets)
}

/// A user, by an access token of the user's own.
fn mint(server: &Server, user: &str) -> Got<BenchCaller> {
    let mut client = server.client()?;
    let mint = server.request("POST", "/v1/tokens", "", &format!(r#"{{"role":"user","user":"{user}"}}"#));
    let answer = client.ask(&mint)?;
    answer.must_be(201)?;
    Ok(server.site.caller.with_token(answer.field("token").ok_or("no token in the answer")?))
}

/// Notes what the wallets must hold after that work; how much it was.
pub fn settled<W: Work>(works: &[W], wallets: &mut [BenchWallet]) -> u64 {
    works.iter().for_each(|work| work.settle(wallets));
    works.iter().map(Work::done).sum()
}

/// The check at the end of every scenario that withdraws cents.
pub fn settle(server: Server, wallets: &[BenchWallet], withdrawn: u64) -> Got<(String, Vec<String>)> {
    let mut wrong = wallet::check(&mut server.client()?, wallets)?;
    wrong.extend(server.stop_and_audit()?);
    Ok((format!("{} yes, no other answer; balances as answered, lost updates 0; audit clean", count(withdrawn)), wrong))
}

/// Has every connection withdraw from its wallet, and notes what the balances must then be.
pub fn drive_withdrawals(server: &Server, wallets: &mut [BenchWallet], settings: &Settings) -> Got<(Run, u64)> {
    let of = |place| MoveCents::withdraw(wallets, place % wallets.len(), settings.counted_keys);
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
        figure("cores that others had meanwhile", run.others, "").aside(),
    ]
}

/// Durable withdrawals from a hundred wallets.
pub fn withdraw(settings: &Settings) -> Got<Outcome> {
    withdrawals(settings, USERS, "durable withdrawals, 100 wallets")
}

/// The same, all from one wallet.
pub fn hot(settings: &Settings) -> Got<Outcome> {
    withdrawals(settings, 1, "durable withdrawals, one wallet")
}

fn withdrawals(settings: &Settings, users: usize, what: &str) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, users)?;
    let mut client = server.client()?;
    let mut counters = || {
        Got::Ok((
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

/// The experiment this began with: so many clients, who all connect in the same instant, empty one wallet.
const CLIENTS: usize = 100;
const EACH: usize = 5;
const ROUNDS: usize = 9;

/// 500 withdrawals of 1.00 from 500.00 by 100 clients, several times over.
pub fn tutorial(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let (mut took, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let user = format!("round-{round}");
        let recharge = format!("/v1/wallets/{user}/recharge");
        server.client()?.ask(&server.request("POST", &recharge, "", r#"{"amount":"500.00"}"#))?.must_be(200)?;
        let caller = mint(&server, &user)?;
        let (time, said_yes) = empty(&server, &caller)?;
        took.push(time);
        let mut client = server.client()?;
        let left = wallet::check(&mut client, &[BenchWallet { user, caller: caller.clone(), expected: 0 }])?;
        let one_more = client.ask(&one_yuan(&caller, "one-more"))?.status;
        if (said_yes, one_more) != (CLIENTS * EACH, 402) {
            wrong.push(format!("{said_yes} yes, one more was answered {one_more}"));
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

/// The time from the instant they all connect to the last answer, and how many said yes.
fn empty(server: &Server, caller: &BenchCaller) -> Got<(Duration, usize)> {
    let start = Barrier::new(CLIENTS + 1);
    let one_client = |number: usize| {
        let requests: Vec<_> = (0..EACH).map(|place| one_yuan(caller, &format!("{number}-{place}"))).collect();
        start.wait();
        let mut client = server.client()?;
        let mut said_yes = 0;
        for request in &requests {
            said_yes += usize::from(client.ask(request)?.status == 200);
        }
        Ok::<_, std::io::Error>((said_yes, Instant::now()))
    };
    scope(|scope| {
        let one_client = &one_client;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || one_client(number))).collect();
        start.wait();
        let begun = Instant::now();
        let (mut said_yes, mut ended) = (0, begun);
        for client in clients {
            let (yes, end) = client.join().expect("a client does not panic")?;
            (said_yes, ended) = (said_yes + yes, ended.max(end));
        }
        Ok((ended - begun, said_yes))
    })
}

fn one_yuan(caller: &BenchCaller, key: &str) -> Vec<u8> {
    caller.request("PUT", "/wallet", &format!("Idempotency-Key: {key}\r\n"), r#"{"money":"1.00"}"#)
}

/// Balances, each of the caller's own wallet.
pub fn read(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let wallets = wallets(&server, USERS)?;
    let of = |place| ReadBalance::new(&wallets[place % USERS], "/wallet");
    let mut looks: Vec<ReadBalance> = (0..usize::from(settings.connections)).map(of).collect();
    let run = drive(&server, &mut looks, plan(settings))?;
    let seen = looks.iter().map(Work::done).sum();
    let mut wrong: Vec<_> = looks.iter().filter_map(Work::wrong).map(str::to_owned).take(1).collect();
    wrong.extend(wallet::check(&mut server.client()?, &wallets)?);
    wrong.extend(server.stop_and_audit()?);
    Ok(Outcome {
        figures: figures_of(&run, &format!("balances read, {} connections", settings.connections)),
        checked: format!("{} answers, each with the right balance; audit clean", count(seen)),
        wrong,
    })
}
