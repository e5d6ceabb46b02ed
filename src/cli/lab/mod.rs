//! `cashbox lab`: tries the guards, one after the other, and tells what came of them.

mod table;

use super::input::{self, CommonOptions};
use super::output::{self, CliError, Exit};
use super::temp_folder::{TempFolder, is_in_memory};
use crate::http::conn::raise_descriptor_limit;
use crate::lab::figures::{LabVerdict, TrialRow};
use crate::lab::{LabPlan, Redis, StrategyKind, chart, second_process, try_strategy};
use clap::Args;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Each client may have a connection, and our own server the other end of it.
const DESCRIPTORS_PER_CLIENT: u64 = 2;
/// File descriptors that are not connections.
const DESCRIPTORS_KEPT: u64 = 64;
/// More than any lab needs.
const CLIENTS_MAX: u32 = 10_000;
const REQUESTS_MAX: u32 = 10_000_000;

const EXIT_CODES: &str = "Exit codes: 0 whatever was found · 4 a guard of this program's own was wrong · 2 used wrongly · \
    3 could not reach or open · 130 stopped by Ctrl-C: what there is was printed";

/// The guards and what each does.
fn guards() -> String {
    let lines: Vec<_> =
        StrategyKind::ALL.iter().map(|kind| format!("  {:<20}  {}", kind.name(), kind.about())).collect();
    format!("Guards:\n{}\n\n{EXIT_CODES}", lines.join("\n"))
}

/// `cashbox lab`
#[derive(Debug, Args)]
#[command(after_help = guards())]
pub struct LabArgs {
    /// Clients at a time
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    clients: u32,
    /// Withdrawals of 1.00, all clients' together
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    requests: u32,
    /// How long a client works between reading the balance and writing it. A number alone is milliseconds, here and below
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = lab_time("0s"))]
    work: Duration,
    /// How long to wait before asking for a held lock again
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = lab_time("1ms"))]
    retry: Duration,
    /// How long a lease lasts
    #[arg(long, value_name = "TIME", default_value = "600ms", value_parser = lab_time("1ms"))]
    expire: Duration,
    /// How long after that a lock is left alone
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = lab_time("0s"))]
    grace: Duration,
    /// The textbook's own times, a hundred times as long: --retry 5s --expire 60s --grace 5s. Takes many minutes
    #[arg(long, conflicts_with_all = ["retry", "expire", "grace"])]
    original: bool,
    /// Only with one holder frozen past its lease
    #[arg(long)]
    stall: bool,
    /// Only with no holder frozen
    #[arg(long, conflicts_with = "stall")]
    no_stall: bool,
    /// Only these of the guards below
    #[arg(long, value_name = "GUARD,…", value_delimiter = ',', value_parser = guard)]
    only: Vec<StrategyKind>,
    /// What repeats the clients' jitter
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// The Redis for its two guards [default: redis://127.0.0.1:6379, if it is there]
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// A folder on the disk to be tried; what the lab makes there goes with it [default: the system's temporary one]
    #[arg(long = "in", value_name = "DIR")]
    place: Option<PathBuf>,
    /// Draw a chart into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What the lab says to itself: see `lab::second_process`
    #[arg(long, hide = true, value_name = "FILE")]
    second_process: Option<PathBuf>,
}

/// A duration of at most an hour, for clap. A number alone is milliseconds: the times of a lab are short.
fn lab_time(min: &'static str) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    let parse = input::duration(min, "1h");
    move |text| if text.bytes().all(|byte| byte.is_ascii_digit()) { parse(&format!("{text}ms")) } else { parse(text) }
}

fn guard(name: &str) -> Result<StrategyKind, String> {
    StrategyKind::parse(name).ok_or_else(|| {
        let names: Vec<_> = StrategyKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("the guards are {}", names.join(", "))
    })
}

/// What a signal sets: that it is over, and by which.
struct Stop {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// The first SIGINT or SIGTERM stops gently, a second one at once.
    fn listen() -> std::io::Result<Stop> {
        let stop = Stop { flag: Arc::default(), signal: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and then sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.flag))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
            signal_hook::flag::register(signal, Arc::clone(&stop.flag))?;
        }
        Ok(stop)
    }

    /// The exit code of whom a signal stopped.
    fn exit(&self) -> Option<u8> {
        self.flag.load(Relaxed).then(|| 128 + self.signal.load(Relaxed) as u8)
    }
}

impl LabArgs {
    /// Tries the guards and tells what came of them.
    pub fn run(&self, common: &CommonOptions) -> Result<ExitCode, CliError> {
        self.check(common)?;
        let stop = Stop::listen().map_err(|error| CliError::unreachable(format!("cannot hear signals: {error}")))?;
        if let Some(file) = &self.second_process {
            let served = second_process::serve(file, self.clients, self.requests, self.work, self.seed, stop.flag);
            return served.map(|()| Exit::Done.into()).map_err(|error| CliError::unreachable(error.to_string()));
        }
        let plan = self.plan()?;
        let svg = self.svg.as_deref().map(|file| open_chart(file).map(|open| (file, open))).transpose()?;
        let place = self.place.clone().unwrap_or_else(std::env::temp_dir);
        let folder = TempFolder::for_lab(&place)
            .map_err(|error| CliError::unreachable(format!("cannot make a folder in {}: {error}", place.display())))?;
        let rows = self.rows(&plan, folder.path(), &stop.flag);
        drop(folder);
        let interrupted = stop.exit();
        output::print(&if common.json {
            json_of(&plan, &rows, interrupted.is_some()).to_string()
        } else {
            table::text(&plan, &place_in_words(&place), &rows, interrupted.is_some())
        })?;
        if let Some((file, mut open)) = svg {
            let written = open.set_len(0).and_then(|()| open.write_all(chart::svg(&plan, &rows).as_bytes()));
            written.map_err(|error| CliError::unreachable(format!("cannot write {}: {error}", file.display())))?;
        }
        exit(&rows, interrupted)
    }

    fn check(&self, common: &CommonOptions) -> Result<(), CliError> {
        if common.db.is_some() || common.url.is_some() || common.token.is_some() || common.token_file.is_some() {
            return Err(CliError::usage("lab works on files of its own: it takes no --db, --url or access token"));
        }
        let within = |name: &str, value: u32, least: u32, most: u32| {
            let sentence = || format!("{name} is between {least} and {most}, and {value} is not");
            if (least..=most).contains(&value) { Ok(()) } else { Err(CliError::usage(sentence())) }
        };
        within("--clients", self.clients, 1, CLIENTS_MAX)?;
        within("--requests", self.requests, if self.second_process.is_some() { 0 } else { 1 }, REQUESTS_MAX)?;
        let needed = u64::from(self.clients) * DESCRIPTORS_PER_CLIENT + DESCRIPTORS_KEPT;
        let room = raise_descriptor_limit();
        if needed > room {
            return Err(CliError::usage(format!(
                "--clients {} needs {needed} file descriptors, and this process may have {room} (see ulimit -n)",
                self.clients
            )));
        }
        Ok(())
    }

    fn plan(&self) -> Result<LabPlan, CliError> {
        let original = || [5, 60, 5].map(Duration::from_secs);
        let [retry, expire, grace] = if self.original { original() } else { [self.retry, self.expire, self.grace] };
        let (clients, requests, work, seed) = (self.clients, self.requests, self.work, self.seed);
        Ok(LabPlan { clients, requests, work, retry, expire, grace, seed, redis: self.redis()? })
    }

    /// A Redis that was named must be there; the usual one may be missing.
    fn redis(&self) -> Result<Result<Redis, String>, CliError> {
        let url = self.redis.as_deref().unwrap_or(Redis::USUAL);
        let redis = Redis::parse(url).map_err(CliError::usage)?;
        match redis.reach() {
            Ok(()) => Ok(Ok(redis)),
            Err(why) if self.redis.is_some() => {
                Err(CliError::unreachable(format!("cannot reach Redis at {}: {why}", redis.at())))
            }
            Err(_) => {
                let at = redis.at();
                Ok(Err(format!("no Redis at {at} (Debian: apt-get install redis-server); --redis URL names another")))
            }
        }
    }

    fn rows(&self, plan: &LabPlan, folder: &Path, stop: &AtomicBool) -> Vec<TrialRow> {
        let watched = std::io::stderr().is_terminal();
        let mut rows = Vec::new();
        for stalled in [false, true] {
            if if stalled { self.no_stall } else { self.stall } {
                continue;
            }
            for &kind in StrategyKind::ALL.iter().filter(|kind| self.only.is_empty() || self.only.contains(kind)) {
                if stalled && !kind.can_stall() {
                    continue;
                }
                let watch = |done: u64| {
                    if watched {
                        let part = if stalled { "a holder stalls: " } else { "" };
                        progress(&format!("{part}{} {done}/{}", kind.name(), plan.requests));
                    }
                };
                watch(0);
                rows.push(try_strategy(kind, stalled, plan, folder, stop, &watch));
            }
        }
        if watched {
            progress("");
        }
        rows
    }
}

/// Where the files are, and a word of warning if no disk has a say in it.
fn place_in_words(place: &Path) -> String {
    let in_memory = is_in_memory(place);
    let warning = if in_memory { " (in memory: nothing waits for a disk there; --in DIR names another)" } else { "" };
    format!("{}{warning}", output::text(&json!(place.display().to_string())))
}

/// Writes over the line that was there.
fn progress(line: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}"); // only somebody who watches would miss it
}

/// Opens the chart's file before anything is tried, so that nobody waits in vain. A file that is there must be a chart
/// already: it could as well be somebody's database.
fn open_chart(path: &Path) -> Result<File, CliError> {
    let cannot = |error| CliError::unreachable(format!("cannot write {}: {error}", path.display()));
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(cannot)?;
    let mut begin = Vec::new();
    (&file).take(4).read_to_end(&mut begin).and_then(|_| file.rewind()).map_err(cannot)?;
    if !begin.is_empty() && begin != b"<svg" {
        return Err(CliError::usage(format!("{} is there and is no chart, so it is left alone", path.display())));
    }
    Ok(file)
}

fn json_of(plan: &LabPlan, rows: &[TrialRow], interrupted: bool) -> Value {
    let ms = |time: Duration| time.as_millis() as u64;
    json!({
        "clients": plan.clients,
        "requests": plan.requests,
        "work_ms": ms(plan.work),
        "retry_ms": ms(plan.retry),
        "expire_ms": ms(plan.expire),
        "grace_ms": ms(plan.grace),
        "stall_ms": ms(plan.stall()),
        "seed": plan.seed,
        "interrupted": interrupted,
        "guards": rows.iter().map(|row| row.json(plan)).collect::<Vec<_>>(),
        "once_reported": [
            { "guard": "a lock row in the database", "seconds": 86 },
            { "guard": "a lock in Redis", "seconds": 9 },
        ],
        "why_neither_counts": table::WHY_NEITHER_COUNTS,
    })
}

fn exit(rows: &[TrialRow], interrupted: Option<u8>) -> Result<ExitCode, CliError> {
    let ours = || rows.iter().filter(|row| row.kind.is_ours());
    if ours().any(|row| row.verdict() == LabVerdict::Wrong) {
        return Ok(Exit::Damage.into());
    }
    if let Some(code) = interrupted {
        return Ok(code.into());
    }
    match ours().find_map(|row| row.figures.as_ref().err()) {
        Some(why) => Err(CliError::unreachable(format!("a guard could not be tried: {why}"))),
        None => Ok(Exit::Done.into()),
    }
}
