#![forbid(unsafe_code)]
//! The load benchmark: `cargo bench --bench load`, options behind `--` (`--help` lists them).
//!
//! It starts the program itself, as it is shipped, on files of its own on disk, and never talks to anything else. A time
//! without a check means nothing: at the end of each scenario the balances are what the answers said, the server stops
//! gently, and the audit finds nothing; or WRONG stands where the figure would, and the exit code is not 0.
//!
//! In reading order: [`withdrawals`], [`single`] (beside SQLite alone), [`large_file`], [`locks`], [`following`], [`holds`], [`test_mode`], `redis` (beside Redis, with
//! the feature of that name), [`against`] (two builds in one run); below them [`server`], [`machine`], [`report`]. The load
//! generator is `cashbox::internals::bench`, the same that `cashbox bench` has.

mod against;
mod following;
mod holds;
mod large_file;
mod locks;
mod machine;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod server;
mod single;
mod test_mode;
mod withdrawals;

use cashbox::internals::bench::KeyOrder;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use report::{Format, Outcome, figure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Any error ends the scenario with its message.
type BenchResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Scenario = fn(&Settings) -> BenchResult<Outcome>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("withdraw", withdrawals::withdraw),
    ("hot", withdrawals::hot),
    ("tutorial", withdrawals::tutorial),
    ("read", withdrawals::read),
    ("single", single::single),
    ("batch", withdrawals::batch),
    ("start", large_file::start),
    ("locks", locks::locks),
    #[cfg(feature = "redis")]
    ("redis", redis::redis),
    ("parked", locks::parked),
    ("following", following::following),
    ("holds", holds::holds),
    ("expiry", holds::expiry),
    ("hostile", withdrawals::hostile),
    ("trust", large_file::trust),
    ("test-mode", test_mode::test_mode),
];

/// Measures cashbox on this machine
#[derive(Clone, Parser)]
#[command(name = "load")]
struct Settings {
    /// Scenarios to run [default: all]
    #[arg(value_parser = PossibleValuesParser::new(SCENARIOS.iter().map(|(name, _)| *name)))]
    scenarios: Vec<String>,
    /// Time for which each scenario is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Time each runs before that
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    warm_up: u64,
    /// Connections, in scenarios without a fixed number
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Threads that drive the connections
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    drivers: u16,
    /// Entries in the files of `start` and `trust`
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(large_file::STEP..))]
    entries: u64,
    /// Idempotency keys that count up, instead of the random ones that most clients send
    #[arg(long)]
    counted_keys: bool,
    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
    /// Print rows of a Markdown table
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Another build of cashbox: each scenario runs against this build and that one in turn, and their ratio is shown
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// Turns of each build, with --against
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// The build that is measured
    #[arg(skip = PathBuf::from(env!("CARGO_BIN_EXE_cashbox")))]
    program: PathBuf,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Settings {
    fn format(&self) -> Format {
        match (self.json, self.markdown) {
            (true, _) => Format::Json,
            (_, true) => Format::Markdown,
            _ => Format::Table,
        }
    }

    fn key_order(&self) -> KeyOrder {
        if self.counted_keys { KeyOrder::Ascending } else { KeyOrder::Random }
    }

    fn wants(&self, name: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == name)
    }
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    if !settings.bench {
        eprintln!("measure with: cargo bench --bench load");
        return ExitCode::SUCCESS; // a test run measures nothing
    }
    let against = match settings.against.as_deref().map(Path::canonicalize).transpose() {
        Ok(against) => against,
        Err(error) => {
            eprintln!("cannot find the build that --against names: {error}; give the path of a built cashbox");
            return ExitCode::FAILURE;
        }
    };
    let machine = match machine::describe(server::base()) {
        Ok(machine) => format!("{machine}; synchronous=FULL"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match against {
        Some(_) => report::begin_comparisons(settings.format(), &machine),
        None => report::begin(settings.format(), &machine),
    }
    let mut right = true;
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| settings.wants(name)) {
        right &= match &against {
            Some(other) => against::compare(name, *scenario, &settings, other),
            None => {
                let outcome = run_scenario(*scenario, &settings);
                report::rows(settings.format(), name, &outcome);
                outcome.wrong.is_empty()
            }
        };
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A scenario that broke off has one figure, which is wrong.
fn run_scenario(scenario: Scenario, settings: &Settings) -> Outcome {
    scenario(settings).unwrap_or_else(|error| Outcome {
        figures: vec![figure("all of it", f64::NAN, "")],
        checked: String::new(),
        wrong: vec![format!("{error}")],
    })
}
