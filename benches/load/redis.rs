//! The same pairs of acquire and release at Redis, for comparison: a lock as its documentation and its clients have it,
//! `SET key value NX PX ttl`, and a script that deletes the key if it still has the value. No fence, no queue, and after a
//! crash only what `appendfsync` has synced.

use crate::report::{Figure, Outcome, figure};
use crate::server::{ms, plan};
use crate::{BenchResult, Settings};
use cashbox::internals::bench::{Latencies, with_commas};
use redis::{Client, Connection, Script, SetExpiry, SetOptions};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
const TTL_MS: u64 = 60_000;
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
/// Time for a server to start, and the pause between two looks at it.
const COMES: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Pairs a second at Redis, synced always, and with its default settings.
pub fn redis(settings: &Settings) -> BenchResult<Outcome> {
    if Command::new("redis-server").arg("--version").output().is_err() {
        let checked = "not run: there is no redis-server here (Debian: apt-get install redis-server)".to_owned();
        return Ok(Outcome { figures: vec![figure("Redis", f64::NAN, "")], checked, wrong: Vec::new() });
    }
    let (mut figures, mut wrong, mut pairs) = (Vec::new(), Vec::new(), 0);
    for (how, options) in [
        ("appendfsync always", &["--appendonly", "yes", "--appendfsync", "always"][..]),
        ("default settings: nothing on disk for up to an hour", &[]),
    ] {
        let folder = tempfile::Builder::new().prefix("load").tempdir_in(crate::server::base())?;
        let server = Server::start(folder.path(), options)?;
        let (done, took) = drive(&server, settings)?;
        let left: u64 = redis::cmd("DBSIZE").query(&mut server.connect()?)?;
        if left > 0 {
            wrong.push(format!("{left} locks were left behind"));
        }
        pairs += done;
        figures.extend(figures_of(how, done, took, settings));
    }
    Ok(Outcome { figures, checked: format!("{} pairs, each lock granted and released", with_commas(pairs)), wrong })
}

fn figures_of(how: &str, done: u64, took: Latencies, settings: &Settings) -> [Figure; 3] {
    let rate = done as f64 / plan(settings).measured.as_secs_f64();
    [
        figure(format!("Redis, {how}: acquire and release, {CONNECTIONS} connections"), rate, "pairs/s"),
        figure("p50 of either", ms(&took, 500), "ms"),
        figure("p99 of either", ms(&took, 990), "ms"),
    ]
}

/// Every connection acquires and releases a lock of its own until the time is over; the number of pairs, and the latency
/// of each request.
fn drive(server: &Server, settings: &Settings) -> BenchResult<(u64, Latencies)> {
    let connections = (0..CONNECTIONS).map(|_| server.connect()).collect::<BenchResult<Vec<_>>>()?;
    let from = Instant::now() + plan(settings).warm_up;
    let until = from + plan(settings).measured;
    let took = scope(|scope| {
        let each = connections.into_iter().enumerate();
        let all: Vec<_> = each.map(|(number, conn)| scope.spawn(move || pairs(conn, number, from, until))).collect();
        all.into_iter().map(|one| one.join().expect("a client does not panic")).collect::<BenchResult<Vec<_>>>()
    })?;
    let took: Latencies = took.into_iter().flatten().collect();
    Ok((took.count() / 2, took))
}

fn pairs(mut conn: Connection, number: usize, from: Instant, until: Instant) -> BenchResult<Vec<Duration>> {
    let key = format!("own-{number}");
    let options =
        SetOptions::default().conditional_set(redis::ExistenceCheck::NX).with_expiration(SetExpiry::PX(TTL_MS));
    let release = Script::new(RELEASE);
    let mut took = Vec::new();
    let mut turn = 0u64;
    while Instant::now() < until {
        turn += 1;
        let begun = Instant::now();
        let had: Option<String> = redis::Commands::set_options(&mut conn, &key, turn, options.clone())?;
        let between = Instant::now();
        let gone: u64 = release.key(&key).arg(turn).invoke(&mut conn)?;
        if had.is_none() || gone != 1 {
            return Err(format!("{key} was not granted, or not released").into());
        }
        if (from..until).contains(&begun) {
            took.push(between - begun);
            took.push(between.elapsed());
        }
    }
    Ok(took)
}

/// A Redis of this run only, killed when dropped.
struct Server {
    child: Child,
    client: Client,
}

impl Server {
    fn start(folder: &Path, options: &[&str]) -> BenchResult<Server> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]).arg(folder).args(options);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Server { child, client: Client::open(format!("redis://127.0.0.1:{port}"))? };
        let begun = Instant::now();
        while let Err(error) = server.connect() {
            if begun.elapsed() > COMES {
                return Err(error);
            }
            sleep(LOOK_EVERY);
        }
        Ok(server)
    }

    fn connect(&self) -> BenchResult<Connection> {
        Ok(self.client.get_connection()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
