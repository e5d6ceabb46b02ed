//! Many connections, each with at most one request on its way, driven by a few threads.
//!
//! Without a timetable a thread sends each of its connections' next request as soon as that one's answer is there. So a
//! request costs two system calls and hardly a context switch, which leaves the cores to the server. An answer counts as
//! arrived when its thread gets to it: a latency shown is never below the real one.
//!
//! With a timetable the requests of the run are due at even distances, whatever the server does, and each connection
//! takes its turn: a request waits until its connection is free, is never skipped, and its latency counts from when it
//! was due. So a server that stalls for a moment shows in all that were due meanwhile, and not in the few it had.

use super::client::{BenchClient, BenchResponse};
use super::latencies::Latencies;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::scope;
use std::time::{Duration, Instant};

/// How often is looked whether to stop.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long the last answers may take when the time is over.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// The place of the timer among the connections.
const TIMER: u64 = u64::MAX;

/// What one connection asks, again and again.
pub trait Script: Send {
    /// The next request.
    fn next(&mut self) -> &[u8];

    /// How much the answer counts: 1 where the request was the unit, 0 where it only led to it.
    fn heard(&mut self, answer: &BenchResponse<'_>) -> io::Result<u64>;

    /// What has to follow at once, even when the time is over: a release after its grant.
    fn follow_up(&mut self) -> Option<&[u8]> {
        None
    }
}

/// How long, how often, and with how many threads.
#[derive(Clone, Copy, Debug)]
pub struct BenchPlan {
    /// How long before anything counts.
    pub warm_up: Duration,
    /// How long is measured.
    pub measured: Duration,
    /// Requests a second that are due, of all connections together; without it as many as are answered.
    pub rate: Option<u32>,
    /// How many threads drive the connections.
    pub drivers: usize,
}

/// What was seen in the time that was measured.
#[derive(Clone, Debug, Default)]
pub struct BenchRun {
    /// Units that were answered.
    pub units: u64,
    /// How long was measured: as planned, unless it was stopped.
    pub measured: Duration,
    /// Of each request; with a timetable, of each that was due.
    pub latencies: Latencies,
    /// Requests that were due and still not sent when the time was over. They are among the latencies, with what they
    /// had waited by then.
    pub unsent: u64,
}

impl BenchRun {
    /// Units a second; nothing if no time was measured.
    pub fn per_second(&self) -> Option<u64> {
        let rate = (u128::from(self.units) * 1_000_000).checked_div(self.measured.as_micros())?;
        u64::try_from(rate).ok()
    }
}

/// Connects one client for each script and has them ask until the time is over, or `stop` is set, and every answer is
/// in. `watch` runs meanwhile; what it brings is returned beside.
pub fn drive<S: Script, W>(
    address: SocketAddr,
    scripts: &mut [S],
    plan: BenchPlan,
    stop: &AtomicBool,
    watch: impl FnOnce() -> W,
) -> io::Result<(BenchRun, W)> {
    let count = scripts.len();
    let each = count.div_ceil(plan.drivers.clamp(1, count.max(1))).max(1);
    let mut fleets = Vec::new();
    for (number, share) in scripts.chunks_mut(each).enumerate() {
        fleets.push(connect(address, share, number * each)?);
    }
    let broken = AtomicBool::new(false);
    let begun = Instant::now();
    let from = begun + plan.warm_up;
    let day = Schedule { begun, from, until: from + plan.measured, rate: plan.rate, count: count as u64 };
    let (runs, watched) = scope(|scope| {
        let drivers: Vec<_> = fleets
            .into_iter()
            .map(|fleet| {
                let broken = &broken;
                scope.spawn(move || {
                    let run = Driver::new(address, fleet, day, [stop, broken]).and_then(Driver::run);
                    broken.fetch_or(run.is_err(), Relaxed);
                    run
                })
            })
            .collect();
        let watched = watch();
        let runs: Vec<_> = drivers.into_iter().map(|driver| driver.join().expect("a driver does not panic")).collect();
        (runs, watched)
    });
    let mut all = BenchRun::default();
    for run in runs {
        let run = run?;
        all.units += run.units;
        all.unsent += run.unsent;
        all.measured = all.measured.max(run.measured);
        all.latencies.add_all(&run.latencies);
    }
    Ok((all, watched))
}

fn connect<S>(address: SocketAddr, scripts: &mut [S], first: usize) -> io::Result<Vec<BenchConnection<'_, S>>> {
    let connection = |(place, script)| {
        let (number, since) = ((first + place) as u64, Instant::now());
        Ok(BenchConnection { client: BenchClient::connect(address)?, script, number, since, asks: false })
    };
    scripts.iter_mut().enumerate().map(connection).collect()
}

struct BenchConnection<'a, S> {
    client: BenchClient,
    script: &'a mut S,
    /// Of its next request among all of the run.
    number: u64,
    /// When its request was sent, or was due.
    since: Instant,
    /// Whether an answer is to come.
    asks: bool,
}

/// When what is due, and when it counts.
#[derive(Clone, Copy)]
struct Schedule {
    begun: Instant,
    from: Instant,
    until: Instant,
    rate: Option<u32>,
    count: u64,
}

impl Schedule {
    /// When that request of the run is due, if there is a timetable.
    fn due(&self, number: u64) -> Option<Instant> {
        let rate = u64::from(self.rate?);
        let nanos = number % rate * 1_000_000_000 / rate;
        Some(self.begun + Duration::new(number / rate, nanos as u32))
    }

    fn counts(&self, time: Instant) -> bool {
        (self.from..self.until).contains(&time)
    }
}

/// A thread and its connections.
struct Driver<'a, S> {
    address: SocketAddr,
    fleet: Vec<BenchConnection<'a, S>>,
    day: Schedule,
    stops: [&'a AtomicBool; 2],
    /// Connections that have an answer to come, or wait there for their timer.
    wakes: OwnedFd,
    timer: OwnedFd,
    set_for: Option<Instant>,
    /// Connections that wait for their next request to be due.
    idle: BinaryHeap<Reverse<(Instant, usize)>>,
    on_their_way: usize,
    ended: Option<Instant>,
    run: BenchRun,
}

impl<'a, S: Script> Driver<'a, S> {
    fn new(
        address: SocketAddr,
        fleet: Vec<BenchConnection<'a, S>>,
        day: Schedule,
        stops: [&'a AtomicBool; 2],
    ) -> io::Result<Driver<'a, S>> {
        let wakes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        epoll::add(&wakes, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        for (place, connection) in fleet.iter().enumerate() {
            listen(&wakes, &connection.client, place)?;
        }
        let (idle, run) = (BinaryHeap::new(), BenchRun::default());
        Ok(Driver { address, fleet, day, stops, wakes, timer, set_for: None, idle, on_their_way: 0, ended: None, run })
    }

    fn run(mut self) -> io::Result<BenchRun> {
        for place in 0..self.fleet.len() {
            self.go_on(place, Instant::now())?;
        }
        let mut events = Vec::with_capacity(self.fleet.len() + 1);
        while self.on_their_way > 0 || !self.idle.is_empty() {
            self.set_timer()?;
            match epoll::wait(&self.wakes, spare_capacity(&mut events), Some(&LOOK_EVERY)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    TIMER => {}
                    place if self.fleet[place as usize].asks => self.hear(place as usize)?,
                    place => self.connect_again(place as usize)?,
                }
            }
            self.look_around()?;
        }
        Ok(self.sum())
    }

    /// Ends what is over, and sends what has become due.
    fn look_around(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.is_over(now) {
            self.idle.clear();
            let patient_until = self.ended.unwrap_or(now) + LAST_ANSWERS;
            return if now < patient_until { Ok(()) } else { Err(never_answered(self.on_their_way)) };
        }
        while let Some(Reverse((due, place))) = self.idle.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.idle.pop();
            self.send(place, due)?;
        }
        Ok(())
    }

    /// Has the thread woken when the next request is due; a wait for answers alone is not that exact.
    fn set_timer(&mut self) -> io::Result<()> {
        let next = self.idle.peek().map(|Reverse((due, _))| *due);
        if next != self.set_for {
            let time = next.map_or(Duration::ZERO, |due| {
                due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)) // zero would unset it
            });
            let value = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.set_for = next;
        }
        Ok(())
    }

    fn hear(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.fleet[place];
        let answer = connection.client.receive()?;
        let now = Instant::now();
        let units = connection.script.heard(&answer)?;
        connection.asks = false;
        self.on_their_way -= 1;
        let in_time = self.ended.is_none() && self.day.counts(now);
        if in_time {
            self.run.units += units;
        }
        if if self.day.rate.is_some() { self.day.counts(connection.since) } else { in_time } {
            self.run.latencies.add(now - connection.since);
        }
        if let Some(request) = connection.script.follow_up() {
            connection.client.send(request)?;
            (connection.since, connection.asks) = (now, true);
            self.on_their_way += 1;
            return Ok(());
        }
        self.go_on(place, now)
    }

    /// Sends the connection's next request now, or when it is due, or not at all.
    fn go_on(&mut self, place: usize, now: Instant) -> io::Result<()> {
        if self.is_over(now) {
            return Ok(());
        }
        match self.day.due(self.fleet[place].number) {
            None => self.send(place, now),
            Some(due) if due <= now => self.send(place, due),
            Some(due) if due < self.day.until => {
                self.idle.push(Reverse((due, place)));
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn send(&mut self, place: usize, since: Instant) -> io::Result<()> {
        let connection = &mut self.fleet[place];
        connection.client.send(connection.script.next())?;
        (connection.since, connection.asks) = (since, true);
        connection.number += self.day.count;
        self.on_their_way += 1;
        Ok(())
    }

    /// A server may close a connection that has been idle for long.
    fn connect_again(&mut self, place: usize) -> io::Result<()> {
        self.fleet[place].client = BenchClient::connect(self.address)?;
        listen(&self.wakes, &self.fleet[place].client, place)
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if self.ended.is_none() && (now >= self.day.until || self.stops.iter().any(|stop| stop.load(Relaxed))) {
            self.ended = Some(now.min(self.day.until));
        }
        self.ended.is_some()
    }

    /// What was seen, and of what was due and never sent how long it had waited.
    fn sum(mut self) -> BenchRun {
        let ended = self.ended.unwrap_or(self.day.until);
        for connection in &self.fleet {
            let numbers = (connection.number..).step_by(self.day.count as usize);
            for due in numbers.map_while(|number| self.day.due(number).filter(|due| *due < ended)) {
                if self.day.counts(due) {
                    self.run.unsent += 1;
                    self.run.latencies.add(ended - due);
                }
            }
        }
        BenchRun { measured: ended.saturating_duration_since(self.day.from), ..self.run }
    }
}

fn listen(wakes: &OwnedFd, client: &BenchClient, place: usize) -> io::Result<()> {
    Ok(epoll::add(wakes, client.stream(), epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?)
}

fn never_answered(count: usize) -> io::Error {
    let seconds = LAST_ANSWERS.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("{count} requests had no answer {seconds} s after the end"))
}
