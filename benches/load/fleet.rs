//! Many connections, each with one request on its way at any time, driven by a few threads.
//!
//! A thread sends each of its connections' next request as soon as that one's answer is there. So a request costs two
//! system calls and hardly a context switch, which leaves the cores to the server. An answer counts as arrived when its
//! thread gets to it: a latency shown is never below the real one.

use crate::Got;
use crate::client::{Answer, Client};
use crate::server::Server;
use crate::usage::{self, Spent};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// How often the server's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What one connection asks, again and again.
pub trait Script: Send {
    /// The next request.
    fn next(&mut self) -> &[u8];

    /// How much the answer counts: 1 where the request was the unit, 0 where it only led to it.
    fn heard(&mut self, answer: &Answer<'_>) -> std::io::Result<u64>;
}

/// How long, and with how many threads.
#[derive(Clone, Copy)]
pub struct Plan {
    pub warm_up: Duration,
    pub measured: Duration,
    pub drivers: usize,
}

/// What was seen in the time that was measured.
pub struct Run {
    /// Units a second.
    pub rate: f64,
    /// Of each request, sorted.
    pub latencies: Latencies,
    /// The server's processor time, in microseconds a unit.
    pub server_us: f64,
    /// The same of this program.
    pub generator_us: f64,
    /// How many cores somebody else had meanwhile.
    pub others: f64,
    /// The most memory the server had, in bytes.
    pub memory: u64,
}

/// Latencies in microseconds, sorted.
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn new(mut us: Vec<u32>) -> Latencies {
        us.sort_unstable();
        Latencies(us)
    }

    /// In milliseconds; `share` is 0.5 for the median, 1 for the longest.
    pub fn ms(&self, share: f64) -> f64 {
        let place = ((self.0.len() as f64 * share).ceil() as usize).clamp(1, self.0.len().max(1)) - 1;
        self.0.get(place).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }
}

struct Connection<'a, S> {
    client: Client,
    script: &'a mut S,
    sent: Instant,
}

/// When what is heard counts.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// Connects one client for each script and has them ask until the time is over and every answer is in.
pub fn drive<S: Script>(server: &Server, scripts: &mut [S], plan: Plan) -> Got<Run> {
    let each = scripts.len().div_ceil(plan.drivers.clamp(1, scripts.len()));
    let fleets = scripts.chunks_mut(each).map(|share| connect(server.address, share)).collect::<Got<Vec<_>>>()?;
    let start = Barrier::new(fleets.len() + 1);
    let (heard, spent, memory) = scope(|scope| {
        let drivers: Vec<_> = fleets
            .into_iter()
            .map(|fleet| {
                scope.spawn(|| {
                    start.wait();
                    go_round(fleet, plan)
                })
            })
            .collect();
        start.wait();
        let watched = watch(server, plan);
        let heard: Vec<_> = drivers.into_iter().map(|driver| driver.join().expect("a driver does not panic")).collect();
        watched.map(|(spent, memory)| (heard, spent, memory))
    })?;
    let (mut units, mut latencies) = (0, Vec::new());
    for heard in heard {
        let (counted, us) = heard?;
        units += counted;
        latencies.extend(us);
    }
    let seconds = plan.measured.as_secs_f64();
    let us = |spent: Duration| spent.as_secs_f64() * 1e6 / units.max(1) as f64;
    Ok(Run {
        rate: units as f64 / seconds,
        latencies: Latencies::new(latencies),
        server_us: us(spent.server),
        generator_us: us(spent.generator),
        others: spent.others().as_secs_f64() / seconds,
        memory,
    })
}

fn connect<S>(address: SocketAddr, scripts: &mut [S]) -> Got<Vec<Connection<'_, S>>> {
    let connection = |script| Ok(Connection { client: Client::connect(address)?, script, sent: Instant::now() });
    scripts.iter_mut().map(connection).collect()
}

/// The processor time between the two ends of the window, and the most memory the server had.
fn watch(server: &Server, plan: Plan) -> Got<(Spent, u64)> {
    sleep(plan.warm_up);
    let before = Spent::by_now(server.process())?;
    let mut memory = usage::memory(server.process())?;
    let until = Instant::now() + plan.measured;
    while Instant::now() + LOOK_EVERY < until {
        sleep(LOOK_EVERY);
        memory = memory.max(usage::memory(server.process())?);
    }
    sleep(until.saturating_duration_since(Instant::now()));
    Ok((Spent::by_now(server.process())? - before, memory))
}

fn go_round<S: Script>(mut fleet: Vec<Connection<'_, S>>, plan: Plan) -> Got<(u64, Vec<u32>)> {
    let from = Instant::now() + plan.warm_up;
    let window = Window { from, until: from + plan.measured };
    let answered = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (place, Connection { client, script, sent }) in fleet.iter_mut().enumerate() {
        epoll::add(&answered, client.stream(), epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?;
        *sent = Instant::now();
        client.send(script.next())?;
    }
    let (mut units, mut latencies) = (0, Vec::new());
    let (mut on_their_way, mut events) = (fleet.len(), Vec::with_capacity(fleet.len()));
    while on_their_way > 0 {
        epoll::wait(&answered, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let Connection { client, script, sent } = &mut fleet[event.data.u64() as usize];
            let answer = client.receive()?;
            let now = Instant::now();
            let counts = script.heard(&answer)?;
            if (window.from..window.until).contains(&now) {
                units += counts;
                latencies.push((now - *sent).as_micros() as u32);
            }
            if now < window.until {
                *sent = now;
                client.send(script.next())?;
            } else {
                on_their_way -= 1;
            }
        }
    }
    Ok((units, latencies))
}
