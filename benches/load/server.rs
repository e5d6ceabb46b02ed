//! The build under test, serving a file in a folder of its own; and a measured run against it.

use crate::machine::{self, Spent};
use crate::{BenchResult, Settings};
use cashbox::internals::bench::{
    self, BenchClient, BenchPlan, BenchServer, BenchWallet, Latencies, Workload, clean_command,
};
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder on disk with a wallet file in it, and the build that serves that file. Removed when dropped.
pub struct Folder {
    folder: TempDir,
    program: PathBuf,
}

/// A running server.
pub struct Server(BenchServer);

impl Folder {
    pub fn new(settings: &Settings) -> BenchResult<Folder> {
        let folder = tempfile::Builder::new().prefix("load").tempdir_in(base())?;
        Ok(Folder { folder, program: settings.program.clone() })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Bytes of the database, which has no log beside it once its server has ended.
    pub fn size(&self) -> BenchResult<u64> {
        Ok(fs::metadata(self.file("cashbox.db"))?.len())
    }

    /// The build, to be run beside its server.
    pub fn command(&self) -> Command {
        clean_command(&self.program)
    }

    /// Asks the kernel to forget what it holds of the file in memory.
    pub fn leave_memory(&self) -> BenchResult<()> {
        let file = fs::File::open(self.file("cashbox.db"))?;
        file.sync_all()?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

/// The parent of the folders, on the disk of the build.
pub fn base() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

impl Deref for Server {
    type Target = BenchServer;
    fn deref(&self) -> &BenchServer {
        &self.0
    }
}

impl Server {
    pub fn start(folder: &Folder) -> BenchResult<Server> {
        Server::start_with(folder, &[])
    }

    /// With more options.
    pub fn start_with(folder: &Folder, options: &[&str]) -> BenchResult<Server> {
        Ok(Server(BenchServer::start(&folder.program, &folder.file("cashbox.db"), options)?))
    }

    /// A request of the admin.
    pub fn request(&self, method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
        self.target.caller.request(method, target, headers, body)
    }

    /// The same wallet with the admin as the caller.
    pub fn as_admin(&self, wallet: &BenchWallet) -> BenchWallet {
        BenchWallet { caller: self.target.caller.clone(), ..wallet.clone() }
    }

    /// One of the server's own counters.
    pub fn counter(&self, client: &mut BenchClient, name: &str) -> BenchResult<f64> {
        let answer = client.exchange(&self.request("GET", "/metrics", "", ""))?;
        answer.expect_status(200)?;
        let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("no {name} in the metrics"))?.parse()?)
    }

    pub fn stop(self) -> BenchResult<()> {
        Ok(self.0.stop()?)
    }

    /// Stops it and audits its file; the findings, for people.
    pub fn stop_and_audit(self) -> BenchResult<Vec<String>> {
        Ok(self.0.stop_and_audit()?)
    }
}

/// Pause between two looks at the server's memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The measurements of a run.
pub struct Run {
    /// Units a second.
    pub rate: f64,
    /// Latencies of the requests.
    pub latencies: Latencies,
    /// The server's processor time, in microseconds a unit.
    pub server_us: f64,
    /// The load generator's, in microseconds a unit.
    pub generator_us: f64,
    /// Cores used by other processes meanwhile.
    pub others: f64,
    /// The most memory the server had, in bytes.
    pub memory: u64,
}

/// Runs one connection for each workload until the time is over and every response has arrived.
pub fn drive<S: Workload>(server: &Server, workloads: &mut [S], plan: BenchPlan) -> BenchResult<Run> {
    let never = AtomicBool::new(false);
    let (run, watched) = bench::drive(server.target.address, workloads, plan, &never, || watch(server, plan))?;
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

/// A latency in milliseconds; 500 thousandths are the median, 1000 the longest.
pub fn ms(latencies: &Latencies, per_mille: u64) -> f64 {
    latencies.at(per_mille).map_or(f64::NAN, |us| us as f64 / 1_000.0)
}

/// The plan by the settings.
pub fn plan(settings: &Settings) -> BenchPlan {
    BenchPlan {
        warm_up: Duration::from_secs(settings.warm_up),
        measured: Duration::from_secs(settings.seconds),
        rate: None,
        drivers: settings.drivers.into(),
    }
}

/// The processor time between the two ends of the window, and the most memory the server had.
fn watch(server: &Server, plan: BenchPlan) -> BenchResult<(Spent, u64)> {
    sleep(plan.warm_up);
    let before = Spent::by_now(server.process_id())?;
    let mut memory = machine::memory(server.process_id())?;
    let until = Instant::now() + plan.measured;
    while Instant::now() + LOOK_EVERY < until {
        sleep(LOOK_EVERY);
        memory = memory.max(machine::memory(server.process_id())?);
    }
    sleep(until.saturating_duration_since(Instant::now()));
    Ok((Spent::by_now(server.process_id())? - before, memory))
}
