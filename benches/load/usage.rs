//! Processor time and memory, as `/proc` tells them.

use crate::Got;
use std::fs::read_to_string;
use std::ops::Sub;
use std::time::Duration;

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
    pub fn by_now(server: u32) -> Got<Spent> {
        let server = of_process(&server.to_string())?;
        Ok(Spent { server, generator: of_process("self")?, all: of_machine()? })
    }

    /// What was spent by neither of the two.
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
pub fn memory(process: u32) -> Got<u64> {
    let status = read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    Ok(resident.ok_or("no VmRSS")?.trim().parse::<u64>()? * KIB)
}

/// User and system time: the 12th and 13th field behind the name, which stands in parentheses.
fn of_process(process: &str) -> Got<Duration> {
    let stat = read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no name in stat")?;
    Ok(sum(fields.split(' ').skip(11).take(2)))
}

/// Everything but idling (the 4th number) and waiting for a disk (the 5th); what a host takes from its guest included.
fn of_machine() -> Got<Duration> {
    let stat = read_to_string("/proc/stat")?;
    let numbers = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no cpu in stat")?;
    let numbers = numbers.split_whitespace().take(8).enumerate();
    Ok(sum(numbers.filter(|(place, _)| !(3..=4).contains(place)).map(|(_, ticks)| ticks)))
}

fn sum<'a>(ticks: impl Iterator<Item = &'a str>) -> Duration {
    Duration::from_millis(TICK_MS * ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}
