//! Withdrawals and balances over HTTP, each withdrawal a request of its own under an idempotency key of its own.

use crate::client::{Answer, Client, request};
use crate::fleet::{Latencies, Run, Script, drive};
use crate::report::{Figure, Outcome, count, figure};
use crate::server::{Folder, Server};
use crate::{Got, Settings};
use std::hash::{BuildHasher, RandomState};
use std::sync::Barrier;
use std::thread::scope;
use std::time::{Duration, Instant};

/// Wallets, each with an access token of its own.
pub const USERS: usize = 100;
/// What is in a wallet before, in cents and as it is recharged.
const FULL: i64 = 100_000_000_000;
const FULL_TEXT: &str = "1000000000.00";

/// A wallet with money in it, its user's access token, and what its balance must be.
pub struct Wallet {
    pub user: String,
    pub token: String,
    pub expected: i64,
}

/// Opens that many wallets.
pub fn wallets(server: &Server, count: usize) -> Got<Vec<Wallet>> {
    let mut client = server.client()?;
    let open = |number: usize| {
        let user = format!("user-{number:03}");
        let token = server.open_wallet(&mut client, &user, FULL_TEXT)?;
        Ok(Wallet { user, token, expected: FULL })
    };
    (0..count).map(open).collect()
}

/// How many cents the balances are away from what was answered: lost updates, as each withdrawal is of one cent.
pub fn lost_updates(server: &Server, wallets: &[Wallet]) -> Got<u64> {
    let mut client = server.client()?;
    let off = wallets.iter().map(|wallet| Ok(server.balance(&mut client, &wallet.user)?.abs_diff(wallet.expected)));
    off.sum()
}

/// The check at the end of every scenario that withdraws cents.
pub fn settle(server: Server, wallets: &[Wallet], withdrawn: u64) -> Got<(String, Vec<String>)> {
    let lost = lost_updates(&server, wallets)?;
    let mut wrong = server.stop_and_audit()?;
    if lost > 0 {
        wrong.push(format!("{lost} lost updates in {} withdrawals", count(withdrawn)));
    }
    Ok((format!("{} yes, no other answer; balances as answered, lost updates 0; audit clean", count(withdrawn)), wrong))
}

/// Withdraws a cent from one wallet, again and again, each time under another key.
pub struct Withdraw {
    request: Vec<u8>,
    keys: Keys,
    pub done: u64,
}

impl Withdraw {
    pub fn new(wallet: &Wallet, counted_keys: bool) -> Withdraw {
        let key = format!("Idempotency-Key: {}\r\n", "0".repeat(Keys::LENGTH));
        let target = format!("/v1/wallets/{}/withdraw", wallet.user);
        let request = request("POST", &target, &wallet.token, &key, r#"{"amount":"0.01"}"#);
        Withdraw { keys: Keys::new(&request, counted_keys), request, done: 0 }
    }
}

impl Script for Withdraw {
    fn next(&mut self) -> &[u8] {
        self.keys.put_next(&mut self.request);
        &self.request
    }

    fn heard(&mut self, answer: &Answer<'_>) -> std::io::Result<u64> {
        answer.must_be(200)?;
        self.done += 1;
        Ok(1)
    }
}

/// Idempotency keys of the length of a UUID, written into a request that was rendered before.
pub struct Keys {
    place: usize,
    state: u64,
    counted: bool,
}

impl Keys {
    pub const LENGTH: usize = 32;

    pub fn new(request: &[u8], counted: bool) -> Keys {
        let name = b"Idempotency-Key: ";
        let place = request.windows(name.len()).position(|bytes| bytes == name);
        let place = place.expect("the request has room for a key") + name.len();
        let random = RandomState::new().hash_one(place);
        Keys { place, state: if counted { random & !0xffff_ffff } else { random }, counted }
    }

    pub fn put_next(&mut self, request: &mut [u8]) {
        let (first, second) = if self.counted {
            self.state += 1;
            (0, self.state)
        } else {
            (self.random(), self.random())
        };
        let digits =
            (0..16).map(|place| first >> (60 - 4 * place)).chain((0..16).map(|place| second >> (60 - 4 * place)));
        for (byte, digit) in request[self.place..][..Keys::LENGTH].iter_mut().zip(digits) {
            *byte = b"0123456789abcdef"[(digit & 15) as usize];
        }
    }

    /// SplitMix64: cheap, and it does not repeat within a run.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Has every connection withdraw from its wallet, and notes what the balances must then be.
pub fn drive_withdrawals(server: &Server, wallets: &mut [Wallet], settings: &Settings) -> Got<(Run, u64)> {
    let owners: Vec<usize> = (0..usize::from(settings.connections)).map(|place| place % wallets.len()).collect();
    let mut scripts: Vec<Withdraw> =
        owners.iter().map(|owner| Withdraw::new(&wallets[*owner], settings.counted_keys)).collect();
    let run = drive(server, &mut scripts, settings.plan())?;
    for (script, owner) in scripts.iter().zip(owners) {
        wallets[owner].expected -= i64::try_from(script.done)?;
    }
    Ok((run, scripts.iter().map(|script| script.done).sum()))
}

/// Rate, latencies and processor time of a run.
pub fn figures_of(run: &Run, what: &str) -> Vec<Figure> {
    vec![
        figure(what, run.rate, "/s"),
        figure("p50", run.latencies.ms(0.5), "ms"),
        figure("p99", run.latencies.ms(0.99), "ms"),
        figure("longest", run.latencies.ms(1.0), "ms").aside(),
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
    let folder = Folder::new()?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, users)?;
    let mut client = server.client()?;
    let mut counters = || {
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((
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
pub fn tutorial(_: &Settings) -> Got<Outcome> {
    let folder = Folder::new()?;
    let server = Server::start(&folder)?;
    let (mut took, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let user = format!("round-{round}");
        let token = server.open_wallet(&mut server.client()?, &user, "500.00")?;
        let (time, said_yes) = empty(&server, &token)?;
        took.push(time.as_micros() as u32);
        let mut client = server.client()?;
        let left = server.balance(&mut client, &user)?;
        let one_more = client.ask(&one_yuan(&token, "one-more"))?.status;
        if (said_yes, left, one_more) != (CLIENTS * EACH, 0, 402) {
            wrong.push(format!("{said_yes} yes, {left} cents left, one more was answered {one_more}"));
        }
    }
    wrong.extend(server.stop_and_audit()?);
    let took = Latencies::new(took);
    Ok(Outcome {
        figures: vec![
            figure(format!("500 withdrawals by 100 clients at once, median of {ROUNDS}"), took.ms(0.5), "ms"),
            figure("the longest", took.ms(1.0), "ms"),
        ],
        checked: "each time exactly 500 yes, balance 0.00, lost updates 0, the 501st 402; audit clean".to_owned(),
        wrong,
    })
}

/// The time from the instant they all connect to the last answer, and how many said yes.
fn empty(server: &Server, token: &str) -> Got<(Duration, usize)> {
    let start = Barrier::new(CLIENTS + 1);
    let one_client = |number: usize| {
        let requests: Vec<_> = (0..EACH).map(|place| one_yuan(token, &format!("{number}-{place}"))).collect();
        start.wait();
        let mut client = Client::connect(server.address)?;
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

fn one_yuan(token: &str, key: &str) -> Vec<u8> {
    request("PUT", "/wallet", token, &format!("Idempotency-Key: {key}\r\n"), r#"{"money":"1.00"}"#)
}

/// Asks for a balance, again and again.
struct Look {
    request: Vec<u8>,
    looks: u64,
}

impl Script for Look {
    fn next(&mut self) -> &[u8] {
        &self.request
    }

    fn heard(&mut self, answer: &Answer<'_>) -> std::io::Result<u64> {
        answer.must_be(200)?;
        if answer.field("balance") != Some(FULL_TEXT) {
            return Err(std::io::Error::other(format!("a wallet of {FULL_TEXT} answered {}", answer.body)));
        }
        self.looks += 1;
        Ok(1)
    }
}

/// Balances, each of the caller's own wallet.
pub fn read(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new()?;
    let server = Server::start(&folder)?;
    let wallets = wallets(&server, USERS)?;
    let of = |place: usize| &wallets[place % USERS];
    let mut looks: Vec<Look> = (0..usize::from(settings.connections))
        .map(|place| Look { request: request("GET", "/wallet", &of(place).token, "", ""), looks: 0 })
        .collect();
    let run = drive(&server, &mut looks, settings.plan())?;
    let seen = looks.iter().map(|look| look.looks).sum();
    let lost = lost_updates(&server, &wallets)?;
    let mut wrong = server.stop_and_audit()?;
    if lost > 0 {
        wrong.push("looking changed a balance".to_owned());
    }
    Ok(Outcome {
        figures: figures_of(&run, &format!("balances read, {} connections", settings.connections)),
        checked: format!("{} answers, each with the right balance; audit clean", count(seen)),
        wrong,
    })
}
