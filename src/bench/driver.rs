//! Many connections, each with at most one request on its way, driven by a few threads.
//!
//! Without a rate a thread sends each of its connections' next request as soon as that one's response has arrived. So a
//! request costs two system calls and hardly a context switch, which leaves the cores to the server. A response counts as
//! arrived when its thread reads it: a latency shown is never below the real one.
//!
//! With a rate the requests of the run are due at even distances, whatever the server does, and connections take turns: a
//! request waits until its connection is free, is never skipped, and its latency counts from when it was due. So a server
//! that stalls for a moment shows in all requests that were due meanwhile, and not only in the few it had.

use super::client::{BenchClient, BenchResponse};
use super::workload::Workload;
use hdrhistogram::Histogram;
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

/// Pause between two looks at the stop flags.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Time for the last responses when the run is over.
const LAST_RESPONSES_TIME: Duration = Duration::from_secs(60);
/// The timer's number among the connections.
const TIMER: u64 = u64::MAX;

/// The length and rate of a run, and its threads.
#[derive(Clone, Copy, Debug)]
pub struct BenchPlan {
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that is measured.
    pub measured: Duration,
    /// Requests due a second, of all connections together; without it as many as are answered.
    pub rate: Option<u32>,
    /// Threads that drive the connections.
    pub drivers: usize,
}

/// The measurements of a run.
#[derive(Clone, Debug, Default)]
pub struct BenchRun {
    /// Units that were done in the measured time.
    pub units: u64,
    /// The measured time: as planned, unless the run was stopped.
    pub measured: Duration,
    /// Latencies of the requests; with a rate, of all that were due.
    pub latencies: Latencies,
    /// Requests that were due and not sent when the time was over. They are among the latencies, with the time they had
    /// waited by then.
    pub unsent: u64,
}

impl BenchRun {
    /// Units a second; `None` if no time was measured.
    pub fn per_second(&self) -> Option<u64> {
        let rate = (u128::from(self.units) * 1_000_000).checked_div(self.measured.as_micros())?;
        u64::try_from(rate).ok()
    }
}

/// Connects one client for each workload and runs them until the time is over, or `stop` is set, and every response has
/// arrived. `watch` runs meanwhile; its result is returned as well.
pub fn drive<W: Workload, T>(
    address: SocketAddr,
    workloads: &mut [W],
    plan: BenchPlan,
    stop: &AtomicBool,
    watch: impl FnOnce() -> T,
) -> io::Result<(BenchRun, T)> {
    let count = workloads.len();
    let per_driver = count.div_ceil(plan.drivers.clamp(1, count.max(1))).max(1);
    let mut shares = Vec::new();
    for (number, share) in workloads.chunks_mut(per_driver).enumerate() {
        shares.push(connect(address, share, number * per_driver)?);
    }
    let failed = AtomicBool::new(false);
    let begin = Instant::now();
    let from = begin + plan.warm_up;
    let schedule = Schedule { begin, from, until: from + plan.measured, rate: plan.rate, connections: count as u64 };
    let (runs, watched) = scope(|scope| {
        let drivers: Vec<_> = shares
            .into_iter()
            .map(|connections| {
                let failed = &failed;
                scope.spawn(move || {
                    let run = Driver::new(address, connections, schedule, [stop, failed]).and_then(Driver::run);
                    failed.fetch_or(run.is_err(), Relaxed);
                    run
                })
            })
            .collect();
        let watched = watch();
        let runs: Vec<_> = drivers.into_iter().map(|driver| driver.join().expect("a driver does not panic")).collect();
        (runs, watched)
    });
    let mut total = BenchRun::default();
    for run in runs {
        let run = run?;
        total.units += run.units;
        total.unsent += run.unsent;
        total.measured = total.measured.max(run.measured);
        total.latencies.merge(&run.latencies);
    }
    Ok((total, watched))
}

fn connect<W>(address: SocketAddr, workloads: &mut [W], first: usize) -> io::Result<Vec<BenchConnection<'_, W>>> {
    let connection = |(place, workload)| {
        let (request_number, since) = ((first + place) as u64, Instant::now());
        let client = BenchClient::connect(address)?;
        Ok(BenchConnection { client, workload, request_number, since, is_waiting: false })
    };
    workloads.iter_mut().enumerate().map(connection).collect()
}

struct BenchConnection<'a, W> {
    client: BenchClient,
    workload: &'a mut W,
    /// The number of its next request among all of the run.
    request_number: u64,
    /// When its request was sent, or was due.
    since: Instant,
    /// True while a response is to come.
    is_waiting: bool,
}

/// The times of a run.
#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    from: Instant,
    until: Instant,
    rate: Option<u32>,
    connections: u64,
}

impl Schedule {
    /// The time at which that request of the run is due, if there is a rate.
    fn due(&self, request_number: u64) -> Option<Instant> {
        let rate = u64::from(self.rate?);
        let nanos = request_number % rate * 1_000_000_000 / rate;
        Some(self.begin + Duration::new(request_number / rate, nanos as u32))
    }

    fn is_measured(&self, time: Instant) -> bool {
        (self.from..self.until).contains(&time)
    }
}

/// A thread and its connections.
struct Driver<'a, W> {
    address: SocketAddr,
    connections: Vec<BenchConnection<'a, W>>,
    schedule: Schedule,
    stops: [&'a AtomicBool; 2],
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_due: Option<Instant>,
    /// Connections that wait for their next request to be due.
    idle: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Requests whose response is to come.
    on_their_way: usize,
    ended: Option<Instant>,
    run: BenchRun,
}

impl<'a, W: Workload> Driver<'a, W> {
    fn new(
        address: SocketAddr,
        connections: Vec<BenchConnection<'a, W>>,
        schedule: Schedule,
        stops: [&'a AtomicBool; 2],
    ) -> io::Result<Driver<'a, W>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        for (place, connection) in connections.iter().enumerate() {
            poll_input(&epoll, &connection.client, place)?;
        }
        Ok(Driver {
            address,
            connections,
            schedule,
            stops,
            epoll,
            timer,
            timer_due: None,
            idle: BinaryHeap::new(),
            on_their_way: 0,
            ended: None,
            run: BenchRun::default(),
        })
    }

    fn run(mut self) -> io::Result<BenchRun> {
        for place in 0..self.connections.len() {
            self.schedule_next(place, Instant::now())?;
        }
        let mut events = Vec::with_capacity(self.connections.len() + 1);
        while self.on_their_way > 0 || !self.idle.is_empty() {
            self.set_timer()?;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK_EVERY)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    TIMER => {}
                    place if self.connections[place as usize].is_waiting => self.receive(place as usize)?,
                    place => self.reconnect(place as usize)?,
                }
            }
            self.send_due()?;
        }
        Ok(self.finish())
    }

    /// Sends the requests that have become due, or none if the run is over.
    fn send_due(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.is_over(now) {
            self.idle.clear();
            let last = self.ended.unwrap_or(now) + LAST_RESPONSES_TIME;
            return if now < last { Ok(()) } else { Err(no_response(self.on_their_way)) };
        }
        while let Some(Reverse((due, place))) = self.idle.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.idle.pop();
            self.send(place, due)?;
        }
        Ok(())
    }

    /// Sets the timer to the next request that is due; the timeout of epoll is not exact enough.
    fn set_timer(&mut self) -> io::Result<()> {
        let next = self.idle.peek().map(|Reverse((due, _))| *due);
        if next != self.timer_due {
            let time = next.map_or(Duration::ZERO, |due| {
                due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)) // zero would disarm it
            });
            let value = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.timer_due = next;
        }
        Ok(())
    }

    fn receive(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        let response: BenchResponse<'_> = connection.client.receive()?;
        let now = Instant::now();
        let units = connection.workload.handle(&response)?;
        connection.is_waiting = false;
        self.on_their_way -= 1;
        let in_time = self.ended.is_none() && self.schedule.is_measured(now);
        if in_time {
            self.run.units += units;
        }
        let counts = if self.schedule.rate.is_some() { self.schedule.is_measured(connection.since) } else { in_time };
        if counts {
            self.run.latencies.record(now - connection.since);
        }
        if let Some(request) = connection.workload.follow_up() {
            connection.client.send(request)?;
            (connection.since, connection.is_waiting) = (now, true);
            self.on_their_way += 1;
            return Ok(());
        }
        self.schedule_next(place, now)
    }

    /// Sends the connection's next request now, or when it is due, or not at all if the run is over.
    fn schedule_next(&mut self, place: usize, now: Instant) -> io::Result<()> {
        if self.is_over(now) {
            return Ok(());
        }
        match self.schedule.due(self.connections[place].request_number) {
            None => self.send(place, now),
            Some(due) if due <= now => self.send(place, due),
            Some(due) if due < self.schedule.until => {
                self.idle.push(Reverse((due, place)));
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn send(&mut self, place: usize, since: Instant) -> io::Result<()> {
        let connection = &mut self.connections[place];
        connection.client.send(connection.workload.next_request())?;
        (connection.since, connection.is_waiting) = (since, true);
        connection.request_number += self.schedule.connections;
        self.on_their_way += 1;
        Ok(())
    }

    /// Opens a connection again that the server closed while it was idle.
    fn reconnect(&mut self, place: usize) -> io::Result<()> {
        self.connections[place].client = BenchClient::connect(self.address)?;
        poll_input(&self.epoll, &self.connections[place].client, place)
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if self.ended.is_none() && (now >= self.schedule.until || self.stops.iter().any(|stop| stop.load(Relaxed))) {
            self.ended = Some(now.min(self.schedule.until));
        }
        self.ended.is_some()
    }

    /// The measurements, with those of requests that were due and not sent.
    fn finish(mut self) -> BenchRun {
        let ended = self.ended.unwrap_or(self.schedule.until);
        for connection in &self.connections {
            let numbers = (connection.request_number..).step_by(self.schedule.connections as usize);
            for due in numbers.map_while(|number| self.schedule.due(number).filter(|due| *due < ended)) {
                if self.schedule.is_measured(due) {
                    self.run.unsent += 1;
                    self.run.latencies.record(ended - due);
                }
            }
        }
        BenchRun { measured: ended.saturating_duration_since(self.schedule.from), ..self.run }
    }
}

fn poll_input(epoll: &OwnedFd, client: &BenchClient, place: usize) -> io::Result<()> {
    Ok(epoll::add(epoll, client.stream(), epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?)
}

fn no_response(count: usize) -> io::Error {
    let seconds = LAST_RESPONSES_TIME.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("{count} requests had no response {seconds} s after the end"))
}

/// Latencies in microseconds, in an HDR histogram: a run of any length takes the same memory, and each value is kept to a
/// thousandth of itself.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    /// The longest one, exactly.
    max_us: u64,
}

/// Longer latencies count as this: an hour and a bit.
const LATENCY_MAX_US: u64 = u32::MAX as u64;
/// Decimal digits that are kept of each value.
const LATENCY_DIGITS: u8 = 3;

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_max(LATENCY_MAX_US, LATENCY_DIGITS).expect("the bounds are valid");
        Latencies { histogram, max_us: 0 }
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(LATENCY_MAX_US);
        self.histogram.saturating_record(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Their number.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency within which `per_mille` thousandths of them are: 500 is the median, 1000 the longest. Never below the
    /// real value, and at most a thousandth above it; the longest is exact. `None` if there are none.
    pub fn at(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.count() * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let step = self.histogram.iter_recorded().find(|step| {
            seen += step.count_since_last_iteration();
            seen >= rank
        })?;
        Some(self.histogram.highest_equivalent(step.value_iterated_to()).min(self.max_us))
    }

    /// Their number up to each bound, beginning with the shortest: bounds of 1, 2 and 5 times a power of ten.
    pub fn histogram(&self) -> Vec<(u64, u64)> {
        let mut rows: Vec<(u64, u64)> = Vec::new();
        let mut bounds = (0..).flat_map(|power| [1, 2, 5].map(|step| step * 10u64.pow(power)));
        for step in self.histogram.iter_recorded() {
            let longest = self.histogram.highest_equivalent(step.value_iterated_to());
            while rows.last().is_none_or(|(bound, _)| *bound < longest) {
                rows.push((bounds.next().expect("the bounds have no end"), 0));
            }
            rows.last_mut().expect("a bound was just found").1 += step.count_since_last_iteration();
        }
        let shorter = rows.iter().take_while(|(_, count)| *count == 0).count();
        rows.split_off(shorter)
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Latencies {
        let mut latencies = Latencies::default();
        all.into_iter().for_each(|latency| latencies.record(latency));
        latencies
    }
}
