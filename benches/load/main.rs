#![forbid(unsafe_code)]
//! The load benchmark: `cargo bench --bench load`, options behind `--` (`--help` lists them).
//!
//! It starts the program itself, as it is shipped, on files of its own on disk, and never talks to anything else. A time
//! without a check means nothing: at the end of each scenario the balances are what the answers said, the server stops
//! gently, and the audit finds nothing; or WRONG stands where the figure would, and the exit code is not 0.
//!
//! In reading order: [`money`] (the scenarios about wallets), [`batch`], [`single`] (beside SQLite alone), [`start`],
//! [`locks`], [`parked`], `redis` (beside another, with the feature of that name), [`hostile`], [`trust`]; [`against`] (two builds
//! in one run); below them
//! [`run`], [`server`], [`usage`], [`report`], [`machine`]. What asks and counts is `cashbox::internals::bench`, the same that
//! `cashbox bench` has.

mod against;
mod batch;
mod hostile;
mod locks;
mod machine;
mod money;
mod parked;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod run;
mod server;
mod single;
mod start;
mod trust;
mod usage;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use report::{Form, Outcome, figure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What can fail here has nobody to handle it but the reader of the message.
type Got<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Scenario = fn(&Settings) -> Got<Outcome>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("withdraw", money::withdraw),
    ("hot", money::hot),
    ("tutorial", money::tutorial),
    ("read", money::read),
    ("single", single::single),
    ("batch", batch::batch),
    ("start", start::start),
    ("locks", locks::locks),
    #[cfg(feature = "redis")]
    ("redis", redis::redis),
    ("parked", parked::parked),
    ("hostile", hostile::hostile),
    ("trust", trust::trust),
];

/// Measures cashbox on this machine
#[derive(Clone, Parser)]
#[command(name = "load")]
struct Settings {
    /// Which scenarios; all if none is named
    #[arg(value_parser = PossibleValuesParser::new(SCENARIOS.iter().map(|(name, _)| *name)))]
    scenarios: Vec<String>,
    /// How long each scenario is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long it runs before that
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    warm_up: u64,
    /// Connections, where the scenario does not say
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Threads that drive the connections; as many as connections is a thread each
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    drivers: u16,
    /// Entries in the files of `start` and `trust`
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(start::STEP..))]
    entries: u64,
    /// Idempotency keys that count up, and not the random ones that most clients send
    #[arg(long)]
    counted_keys: bool,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
    /// Rows for a Markdown table
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Another build of cashbox: each scenario runs against this build and that one in turn, and their ratio is shown
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// How many times each build has its turn, with --against
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// The build that is measured
    #[arg(skip = PathBuf::from(env!("CARGO_BIN_EXE_cashbox")))]
    program: PathBuf,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

impl Settings {
    fn form(&self) -> Form {
        match (self.json, self.markdown) {
            (true, _) => Form::Json,
            (_, true) => Form::Markdown,
            _ => Form::Table,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == name)
    }
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    if !settings.bench {
        eprintln!("this is measured with: cargo bench --bench load");
        return ExitCode::SUCCESS; // as a test, it has nothing to say
    }
    let against = match settings.against.as_deref().map(Path::canonicalize).transpose() {
        Ok(against) => against,
        Err(error) => {
            eprintln!("cannot find the build that --against names: {error}; give the path of a built cashbox");
            return ExitCode::FAILURE;
        }
    };
    let machine = match machine::in_words(server::base()) {
        Ok(machine) => format!("{machine}; synchronous=FULL"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match against {
        Some(_) => report::begin_comparisons(settings.form(), &machine),
        None => report::begin(settings.form(), &machine),
    }
    let mut right = true;
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| settings.wants(name)) {
        right &= match &against {
            Some(other) => against::compare(name, *scenario, &settings, other),
            None => {
                let outcome = run_scenario(*scenario, &settings);
                report::rows(settings.form(), name, &outcome);
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
