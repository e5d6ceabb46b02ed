//! Clients that follow entries: how soon they get one, and their cost to withdrawals.

use crate::report::{Outcome, figure};
use crate::server::{Folder, Server, ms};
use crate::withdrawals::{USERS, drive_withdrawals, settle, wallets};
use crate::{BenchResult, Settings};
use cashbox::internals::bench::{BenchClient, BenchWallet, Latencies};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Event streams, each of one wallet, and long polls, beside the connections that withdraw.
const FOLLOWERS: usize = 64;
/// Entries that come alone.
const ALONE: usize = 100;
/// Time between two of them: longer than that between two looks.
const ALONE_EVERY: Duration = Duration::from_millis(70);
/// The longest wait for an event.
const EVENT_TIME: Duration = Duration::from_secs(10);
/// Turns without and with followers.
const TURNS: usize = 2;
/// Pause between two looks at the streams that are only read.
const READ_EVERY: Duration = Duration::from_millis(20);

/// Withdrawals without followers and beside them, in turn.
pub fn following(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let alone = delays(&server, &AtomicBool::new(false), ALONE)?;
    let (mut rates, mut beside_rates, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let mut withdrawn = 0;
    for _ in 0..TURNS {
        let (run, done) = drive_withdrawals(&server, &mut wallets, settings)?;
        rates.push(run.rate);
        withdrawn += done;
        let (rate, done, delay) = turn_beside_followers(&server, &mut wallets, settings)?;
        beside_rates.push(rate);
        beside.extend(delay);
        withdrawn += done;
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let (alone, beside) = (alone.into_iter().collect::<Latencies>(), beside.into_iter().collect::<Latencies>());
    let (checked, wrong) = settle(server, &wallets, withdrawn)?;
    Ok(Outcome {
        figures: vec![
            figure("from the answer to the event, an entry alone, p50", ms(&alone, 500), "ms"),
            figure("from the answer to the event, beside withdrawals and followers, p50", ms(&beside, 500), "ms"),
            figure("the same, p99", ms(&beside, 990), "ms"),
            figure("durable withdrawals beside 64 event streams and 64 long polls", mean(&beside_rates), "/s"),
            figure("without them", mean(&rates), "/s"),
            figure("of that", mean(&beside_rates) / mean(&rates), ""),
        ],
        checked,
        wrong,
    })
}

fn turn_beside_followers(
    server: &Server,
    wallets: &mut [BenchWallet],
    settings: &Settings,
) -> BenchResult<(f64, u64, Vec<Duration>)> {
    let of_wallet = |place: usize| open_stream(server, &format!("/v1/events?user={}", wallets[place].user));
    let mut streams = (0..FOLLOWERS - 1).map(of_wallet).collect::<BenchResult<Vec<_>>>()?; // the probe's is another
    let poll = server.request("GET", "/v1/entries?order=asc&kind=refund&wait_ms=30000", "", "");
    let mut polls: Vec<BenchClient> = Vec::new();
    for _ in 0..FOLLOWERS {
        let mut client = server.connect()?;
        client.send(&poll)?;
        polls.push(client);
    }
    let ended = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; 256 * 1024];
            while !ended.load(Relaxed) {
                for stream in &mut streams {
                    while stream.read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
                }
                sleep(READ_EVERY);
            }
        });
        let probe = scope.spawn(|| delays(server, &ended, usize::MAX));
        let run = drive_withdrawals(server, wallets, settings);
        ended.store(true, Relaxed);
        let delays = probe.join().map_err(|_| "the probe panicked")??;
        let (run, done) = run?;
        Ok((run.rate, done, delays))
    })
}

/// Opens a stream that never blocks its reader.
fn open_stream(server: &Server, target: &str) -> BenchResult<TcpStream> {
    let mut stream = TcpStream::connect(server.target.address)?;
    stream.write_all(&server.request("GET", target, "", ""))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// The times from the answer to a recharge, which comes after its commit, to its event at a follower.
fn delays(server: &Server, ended: &AtomicBool, count: usize) -> BenchResult<Vec<Duration>> {
    let mut client = server.connect()?;
    let recharge = server.request("POST", "/v1/wallets/probe/recharge", "", r#"{"amount":"0.01"}"#);
    client.exchange(&recharge)?.expect_status(200)?;
    let stream = TcpStream::connect(server.target.address)?;
    stream.set_read_timeout(Some(EVENT_TIME))?;
    (&stream).write_all(&server.request("GET", "/v1/events?user=probe", "", ""))?;
    let (events, arrived) = channel();
    let reader = stream.try_clone()?;
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            match line {
                Ok(line) if line.starts_with("id: ") || line.starts_with("data: ") => {
                    let is_entry = line.starts_with("data: ");
                    if events.send((is_entry, Instant::now())).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    let next = |arrived: &Receiver<(bool, Instant)>, wanted: bool| loop {
        match arrived.recv_timeout(EVENT_TIME) {
            Ok((is_entry, at)) if is_entry == wanted => return Ok(at),
            Ok(_) => {}
            Err(_) => return Err("an event did not arrive"),
        }
    };
    next(&arrived, false)?;
    let mut found = Vec::new();
    while found.len() < count && !ended.load(Relaxed) {
        client.exchange(&recharge)?.expect_status(200)?;
        let answered = Instant::now();
        found.push(next(&arrived, true)?.saturating_duration_since(answered));
        sleep(ALONE_EVERY);
    }
    stream.shutdown(std::net::Shutdown::Both)?;
    reading.join().map_err(|_| "the reader of the stream panicked")?;
    Ok(found)
}
