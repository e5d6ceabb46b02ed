//! A run of the fleet, with what it took from the machine.

use crate::server::Server;
use crate::usage::{self, Spent};
use crate::{Got, Settings};
use cashbox::internals::bench::fleet::{self, Script};
use cashbox::internals::bench::latencies::Latencies;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use cashbox::internals::bench::fleet::BenchPlan;

/// How often the server's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen in the time that was measured.
pub struct Run {
    /// Units a second.
    pub rate: f64,
    /// Of each request.
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

/// Has a connection for each script ask until the time is over and every answer is in.
pub fn drive<S: Script>(server: &Server, scripts: &mut [S], plan: BenchPlan) -> Got<Run> {
    let never = AtomicBool::new(false);
    let (run, watched) = fleet::drive(server.site.address, scripts, plan, &never, || watch(server, plan))?;
    let (spent, memory) = watched?;
    let seconds = plan.measured.as_secs_f64();
    let us = |spent: Duration| spent.as_secs_f64() * 1e6 / run.units.max(1) as f64;
    Ok(Run {
        rate: run.units as f64 / seconds,
        latencies: run.latencies,
        server_us: us(spent.server),
        generator_us: us(spent.generator),
        others: spent.others().as_secs_f64() / seconds,
        memory,
    })
}

/// In milliseconds; 500 thousandths are the median, 1000 the longest.
pub fn ms(latencies: &Latencies, per_mille: u64) -> f64 {
    latencies.at(per_mille).map_or(f64::NAN, |us| us as f64 / 1_000.0)
}

/// As the settings have it.
pub fn plan(settings: &Settings) -> BenchPlan {
    BenchPlan {
        warm_up: Duration::from_secs(settings.warm_up),
        measured: Duration::from_secs(settings.seconds),
        rate: None,
        drivers: settings.drivers.into(),
    }
}

/// The processor time between the two ends of the window, and the most memory the server had.
fn watch(server: &Server, plan: BenchPlan) -> Got<(Spent, u64)> {
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
