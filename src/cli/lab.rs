//! `cashbox lab`: tries the strategies one after the other, and prints their figures as a table or as JSON.

use super::input::{self, CommonOptions};
use super::output::{self, CliError, Exit};
use super::screen;
use super::table::{self, Column, numbers, words};
use super::temp_folder::{TempFolder, is_in_memory};
use crate::http::conn::raise_descriptor_limit;
use crate::lab::{
    AMOUNT_CENTS, Figures, LabPlan, LabVerdict, Redis, StrategyKind, TrialRow, run_second_process, svg, try_strategy,
};
use crate::money::Cents;
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

/// Each client may have a connection, and the lab's own server the other end of it.
const DESCRIPTORS_PER_CLIENT: u64 = 2;
/// File descriptors that are not connections.
const DESCRIPTORS_KEPT: u64 = 64;
/// Largest values of the options: more than any lab needs.
const CLIENTS_MAX: u32 = 10_000;
const REQUESTS_MAX: u32 = 10_000_000;

const EXIT_CODES: &str = "Exit codes: 0 tried, whatever the verdicts of other strategies · 4 a strategy of cashbox was wrong · 2 used wrongly · \
    3 could not reach or open · 130 stopped by Ctrl-C, after the figures so far were printed";

/// The strategies and what each does, for `--help`.
fn strategies_help() -> String {
    let lines: Vec<_> =
        StrategyKind::ALL.iter().map(|kind| format!("  {:<20}  {}", kind.name(), kind.about())).collect();
    format!("Strategies:\n{}\n\n{EXIT_CODES}", lines.join("\n"))
}

/// `cashbox lab`
#[derive(Debug, Args)]
#[command(after_help = strategies_help())]
pub(crate) struct LabArgs {
    /// Clients at a time
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    clients: u32,
    /// Withdrawals of 1.00, all clients' together
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    requests: u32,
    /// Time a client works between reading the balance and writing it. A number alone is milliseconds, here and below
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = lab_time("0s"))]
    work: Duration,
    /// Time before a client asks for a held lock again
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = lab_time("1ms"))]
    retry: Duration,
    /// Length of a lease
    #[arg(long, value_name = "TIME", default_value = "600ms", value_parser = lab_time("1ms"))]
    expire: Duration,
    /// Time after it in which no other client takes over
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
    /// Only these of the strategies below
    #[arg(long, value_name = "STRATEGY,…", value_delimiter = ',', value_parser = strategy)]
    only: Vec<StrategyKind>,
    /// Seed of the clients' jitter: the same number repeats it
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// The Redis for its two strategies [default: redis://127.0.0.1:6379, if it is there]
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// A folder on the disk to be tried; the lab removes its files there when it ends [default: the system's temporary one]
    #[arg(long = "in", value_name = "DIR")]
    parent: Option<PathBuf>,
    /// Draw a chart into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Runs as the second process of `thread-two-processes` on this file
    #[arg(long, hide = true, value_name = "FILE")]
    second_process: Option<PathBuf>,
}

/// A duration of at most an hour, for clap. A number alone is milliseconds: the times of a lab are short.
fn lab_time(min: &'static str) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    let parse = input::duration(min, "1h");
    move |text| if text.bytes().all(|byte| byte.is_ascii_digit()) { parse(&format!("{text}ms")) } else { parse(text) }
}

fn strategy(name: &str) -> Result<StrategyKind, String> {
    StrategyKind::parse(name).ok_or_else(|| {
        let names: Vec<_> = StrategyKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("the strategies are {}", names.join(", "))
    })
}

/// The stop flag that SIGINT and SIGTERM set, and the number of the signal.
struct LabStop {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl LabStop {
    /// The first SIGINT or SIGTERM stops gently, a second one at once.
    fn listen() -> std::io::Result<LabStop> {
        let stop = LabStop { flag: Arc::default(), signal: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and then sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.flag))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
            signal_hook::flag::register(signal, Arc::clone(&stop.flag))?;
        }
        Ok(stop)
    }

    /// The exit code of a lab that a signal stopped.
    fn exit_code(&self) -> Option<u8> {
        self.flag.load(Relaxed).then(|| 128 + self.signal.load(Relaxed) as u8)
    }
}

impl LabArgs {
    /// Tries the strategies and prints the result.
    pub(crate) fn run(&self, common: &CommonOptions) -> Result<ExitCode, CliError> {
        self.check(common)?;
        let stop =
            LabStop::listen().map_err(|error| CliError::unreachable(format!("cannot watch for signals: {error}")))?;
        if let Some(file) = &self.second_process {
            let served = run_second_process(file, self.clients, self.requests, self.work, self.seed, stop.flag);
            return served.map(|()| Exit::Done.into()).map_err(|error| CliError::unreachable(error.to_string()));
        }
        let plan = self.plan()?;
        let chart = self.svg.as_deref().map(|file| open_chart(file).map(|open| (file, open))).transpose()?;
        let parent = self.parent.clone().unwrap_or_else(std::env::temp_dir);
        let folder = TempFolder::for_lab(&parent)
            .map_err(|error| CliError::unreachable(format!("cannot make a folder in {}: {error}", parent.display())))?;
        let rows = self.rows(&plan, folder.path(), &stop.flag);
        drop(folder);
        let interrupted = stop.exit_code();
        output::print(&if common.json {
            json_of(&plan, &rows, interrupted.is_some()).to_string()
        } else {
            text_of(&plan, &describe_folder(&parent), &rows, interrupted.is_some())
        })?;
        if let Some((file, mut open)) = chart {
            let written = open.set_len(0).and_then(|()| open.write_all(svg(&plan, &rows).as_bytes()));
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
        let allowed = raise_descriptor_limit();
        if needed > allowed {
            return Err(CliError::usage(format!(
                "--clients {} needs {needed} file descriptors, and this process may have {allowed} (see ulimit -n)",
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

    /// A Redis given by `--redis` must answer; the default one may be missing.
    fn redis(&self) -> Result<Result<Redis, String>, CliError> {
        let url = self.redis.as_deref().unwrap_or(Redis::DEFAULT_URL);
        let redis = Redis::parse(url).map_err(CliError::usage)?;
        match redis.reach() {
            Ok(()) => Ok(Ok(redis)),
            Err(reason) if self.redis.is_some() => {
                Err(CliError::unreachable(format!("cannot reach Redis at {}: {reason}", redis.at())))
            }
            Err(_) => {
                let at = redis.at();
                Ok(Err(format!(
                    "no Redis answers at {at} (Debian: apt-get install redis-server); --redis URL names another"
                )))
            }
        }
    }

    fn rows(&self, plan: &LabPlan, folder: &Path, stop: &AtomicBool) -> Vec<TrialRow> {
        let is_watched = std::io::stderr().is_terminal();
        let mut rows = Vec::new();
        for stalled in [false, true] {
            if if stalled { self.no_stall } else { self.stall } {
                continue;
            }
            for &kind in StrategyKind::ALL.iter().filter(|kind| self.only.is_empty() || self.only.contains(kind)) {
                if stalled && !kind.can_stall() {
                    continue;
                }
                let progress = |done: u64| {
                    if is_watched {
                        let part = if stalled { "a holder stalls: " } else { "" };
                        print_progress(&format!("{part}{} {done}/{}", kind.name(), plan.requests));
                    }
                };
                progress(0);
                rows.push(try_strategy(kind, stalled, plan, folder, stop, &progress));
            }
        }
        if is_watched {
            print_progress("");
        }
        rows
    }
}

/// The folder of the files, with a warning if it is in memory.
fn describe_folder(place: &Path) -> String {
    let in_memory = is_in_memory(place);
    let warning = if in_memory { " (in memory: nothing waits for a disk there; --in DIR names another)" } else { "" };
    format!("{}{warning}", output::text(&json!(place.display().to_string())))
}

/// Replaces the line of progress on the terminal.
fn print_progress(line: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}"); // progress is not needed for the result
}

/// Opens the chart's file before anything is tried, so that a failure shows at once. An existing file must be a chart
/// already: it could as well be a database.
fn open_chart(path: &Path) -> Result<File, CliError> {
    let cannot = |error| CliError::unreachable(format!("cannot write {}: {error}", path.display()));
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(cannot)?;
    let mut begin = Vec::new();
    (&file).take(4).read_to_end(&mut begin).and_then(|_| file.rewind()).map_err(cannot)?;
    if !begin.is_empty() && begin != b"<svg" {
        return Err(CliError::usage(format!(
            "{} exists and is not a chart, so it is left alone: name a new file",
            path.display()
        )));
    }
    Ok(file)
}

/// The result for programs. In JSON a strategy is a `guard`, as earlier versions have it.
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
        "why_neither_counts": WHY_NEITHER_COUNTS,
    })
}

fn exit(rows: &[TrialRow], interrupted: Option<u8>) -> Result<ExitCode, CliError> {
    let own = || rows.iter().filter(|row| row.kind.is_cashbox());
    if own().any(|row| row.verdict() == LabVerdict::Wrong) {
        return Ok(Exit::Damage.into());
    }
    if let Some(code) = interrupted {
        return Ok(code.into());
    }
    match own().find_map(|row| row.figures.as_ref().err()) {
        Some(reason) => Err(CliError::unreachable(format!("a strategy could not be tried: {reason}"))),
        None => Ok(Exit::Done.into()),
    }
}

/// The reason why the figures once reported mean nothing.
const WHY_NEITHER_COUNTS: &str = "a time says nothing without the balance at the end, and both strategies lose money in \
    situations that load never made";

const COLUMNS: &[Column] = &[
    words("STRATEGY", "strategy"),
    numbers("TIME", "time"),
    numbers("REQ/S", "rate"),
    numbers("P50", "p50"),
    numbers("P99", "p99"),
    numbers("MAX ms", "max"),
    numbers("REFUSED", "refusals"),
    numbers("ERRORS", "errors"),
    numbers("BALANCE", "balance"),
    numbers("EXPECTED", "expected"),
    numbers("LOST", "lost"),
    words("AUDIT", "audit"),
    words("VERDICT", "verdict"),
];

/// The same for a screen of 80 columns, and of 40.
const NARROW_COLUMNS: &[Column] = &[
    words("STRATEGY", "strategy"),
    numbers("TIME", "time"),
    numbers("REQ/S", "rate"),
    numbers("P99", "p99"),
    numbers("MAX ms", "max"),
    numbers("BALANCE", "balance"),
    numbers("LOST", "lost"),
    words("VERDICT", "verdict"),
];
const NARROWEST_COLUMNS: &[Column] = &[words("STRATEGY", "strategy"), numbers("TIME", "time"), numbers("LOST", "lost")];

/// The result for people.
fn text_of(plan: &LabPlan, place: &str, rows: &[TrialRow], interrupted: bool) -> String {
    let mut text = heading(plan, place);
    for stalled in [false, true] {
        let part: Vec<_> = rows.iter().filter(|row| row.stalled == stalled).collect();
        if !part.is_empty() {
            let title = if stalled { stalled_title(plan) } else { "Undisturbed:".to_owned() };
            text += &format!("\n{title}\n\n{}\n", table(&part));
        }
    }
    if interrupted {
        text += "\nStopped before its end: these are the figures so far.\n";
    }
    text + &format!(
        "\nOnce reported for 100 clients and 500 requests: 86 s with a lock row in the database, 9 s with a lock in Redis.\n\
         Neither counts: {}.\n",
        WHY_NEITHER_COUNTS.replace(", and", ",\nand")
    )
}

fn heading(plan: &LabPlan, place: &str) -> String {
    let LabPlan { clients, requests, work, seed, .. } = plan;
    let amount = Cents(AMOUNT_CENTS);
    format!(
        "{clients} clients, {requests} withdrawals of {amount} from a wallet of {}, {} ms of work each (seed {seed}).\n\
         Every strategy has a file of its own in {place}.\n\
         Each is in WAL mode and synced at every commit.\n",
        plan.initial_balance(),
        work.as_millis(),
    )
}

fn stalled_title(plan: &LabPlan) -> String {
    let (stall, expire) = (plan.stall().as_millis(), plan.expire.as_millis());
    format!("One holder frozen for {stall} ms after its read; a lease lasts {expire} ms:")
}

/// The table of these rows. A strategy that was not run has its reason in place of figures.
fn table(rows: &[&TrialRow]) -> String {
    let cells: Vec<_> = rows.iter().map(|row| cells(row)).collect();
    let fits = |table: &String| screen::columns().is_none_or(|most| table.lines().all(|line| line.len() <= most));
    let tables = [COLUMNS, NARROW_COLUMNS].map(|columns| table::wide_table(&cells, columns));
    let table = tables.into_iter().find(fits).unwrap_or_else(|| table::wide_table(&cells, NARROWEST_COLUMNS));
    let widest = rows.iter().map(|row| row.kind.name().len()).max().unwrap_or(0);
    let mut lines = table.lines().map(str::to_owned).collect::<Vec<_>>();
    for (line, row) in lines.iter_mut().skip(1).zip(rows) {
        if let Err(reason) = &row.figures {
            *line = format!("{:<widest$}  not run: {}", row.kind.name(), output::text(&json!(reason)));
        }
    }
    lines.join("\n").replace("WRONG", &screen::red("WRONG", &std::io::stdout()))
}

fn cells(row: &TrialRow) -> Value {
    let name = row.kind.name();
    let Ok(figures) = &row.figures else { return json!({ "strategy": name }) };
    let wrong = row.verdict() == LabVerdict::Wrong;
    json!({
        "strategy": name,
        "time": if wrong { "WRONG".to_owned() } else { seconds(figures) },
        "rate": if wrong { "-".to_owned() } else { figures.per_second().to_string() },
        "p50": lab_ms(figures.percentile_us(50)),
        "p99": lab_ms(figures.percentile_us(99)),
        "max": lab_ms(figures.percentile_us(100)),
        "refusals": figures.retries(),
        "errors": figures.errors(),
        "balance": figures.balance().to_string(),
        "expected": figures.expected().to_string(),
        "lost": figures.lost_updates(),
        "audit": figures.audit().unwrap_or("-"),
        "verdict": if wrong { "WRONG" } else { "right" },
    })
}

/// Seconds with two decimals.
fn seconds(figures: &Figures) -> String {
    let hundredths = figures.wall_us() / 10_000;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

/// Milliseconds, with a decimal below ten.
pub(super) fn lab_ms(us: u64) -> String {
    if us < 10_000 { format!("{}.{}", us / 1_000, us % 1_000 / 100) } else { (us / 1_000).to_string() }
}
