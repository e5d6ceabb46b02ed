//! The machine, without its name; and processor time and memory of processes, from `/proc`.

use crate::BenchResult;
use std::fs::read_to_string;
use std::ops::Sub;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

/// File systems in memory, where a commit costs nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Describes cores, memory, the kind of file system under `folder`, and the load before anything is measured.
pub fn describe(folder: &Path) -> BenchResult<String> {
    let cores = available_parallelism()?;
    let load = read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let kind = file_system(folder)?;
    if IN_MEMORY.contains(&kind.as_str()) {
        return Err(format!("the build folder is on {kind}, and durability is measured on a disk").into());
    }
    Ok(format!(
        "{cores} cores shared with the load generator, {} GiB memory, {kind}; load average {load} before",
        memory_gib()?
    ))
}

fn memory_gib() -> BenchResult<u64> {
    let info = read_to_string("/proc/meminfo")?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"));
    let kib: u64 = total.ok_or("no MemTotal")?.trim().parse()?;
    Ok((kib + (1 << 19)) >> 20) // to the nearest
}

/// The kind of the mount that is nearest above the folder.
fn file_system(folder: &Path) -> BenchResult<String> {
    let folder = folder.canonicalize()?;
    let mounts = read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let nearest =
        mounts.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.components().count());
    Ok(nearest.ok_or("the build folder is on no mount")?.1.to_owned())
}

/// Linux counts processor time for `/proc` in hundredths of a second, whatever its own tick is.
const TICK_MS: u64 = 10;
const KIB: u64 = 1024;

/// Processor time so far.
#[derive(Clone, Copy)]
pub struct Spent {
    pub server: Duration,
    pub generator: Duration,
    /// Of the whole machine.
    pub all: Duration,
}

impl Spent {
    pub fn by_now(server: u32) -> BenchResult<Spent> {
        let server = of_process(&server.to_string())?;
        Ok(Spent { server, generator: of_process("self")?, all: of_machine()? })
    }

    /// The time that other processes spent.
    pub fn others(self) -> Duration {
        self.all.saturating_sub(self.server + self.generator)
    }
}

impl Sub for Spent {
    type Output = Spent;

    fn sub(self, before: Spent) -> Spent {
        Spent {
            server: self.server.saturating_sub(before.server),
            generator: self.generator.saturating_sub(before.generator),
            all: self.all.saturating_sub(before.all),
        }
    }
}

/// Resident memory of a process, in bytes.
pub fn memory(process: u32) -> BenchResult<u64> {
    let status = read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    Ok(resident.ok_or("no VmRSS")?.trim().parse::<u64>()? * KIB)
}

/// User and system time: the 12th and 13th field behind the name, which stands in parentheses.
fn of_process(process: &str) -> BenchResult<Duration> {
    let stat = read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no name in stat")?;
    Ok(sum(fields.split(' ').skip(11).take(2)))
}

/// Everything but idling (the 4th number) and waiting for a disk (the 5th); what a host takes from its guest included.
fn of_machine() -> BenchResult<Duration> {
    let stat = read_to_string("/proc/stat")?;
    let numbers = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no cpu in stat")?;
    let numbers = numbers.split_whitespace().take(8).enumerate();
    Ok(sum(numbers.filter(|(place, _)| !(3..=4).contains(place)).map(|(_, ticks)| ticks)))
}

fn sum<'a>(ticks: impl Iterator<Item = &'a str>) -> Duration {
    Duration::from_millis(TICK_MS * ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}
