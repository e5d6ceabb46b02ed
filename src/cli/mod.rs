//! The command line.
//!
//! A verb becomes a [`api_call::ApiCall`], which is the request of the HTTP API; a [`target::Target`] has it answered, by a
//! server or, if none serves the file, in this process. `--json` prints the reply as HTTP gives it, and the text for
//! people is made from the same reply. Has no opinion about money.

mod anchor;
mod api_call;
mod batch;
mod batch_table;
mod bench;
mod database;
mod files;
mod follow;
mod history;
mod holds;
mod http_agent;
mod input;
mod lab;
mod lists;
mod lock_run;
mod manual;
mod money;
mod output;
mod report;
mod screen;
mod serve;
mod settings;
mod table;
mod target;
mod temp_folder;
mod test_controls;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod verbs;

use clap::{CommandFactory, Parser, Subcommand};
use input::CommonOptions;
use output::{CliError, Exit};
use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;
use target::ApiClient;

/// An embedded wallet: wallets, coupons and a lock table in one SQLite file.
///
/// A command works on the file itself, through the server of that file, or at another server (--url).
#[derive(Debug, Parser)]
#[command(name = "cashbox", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    command: CliCommand,
}

/// The same with `lock run` and its guard alone. Making all commands and their options takes longer than getting a lock.
#[derive(Debug, Parser)]
#[command(name = "cashbox")]
struct LockRunCli {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    command: LockRunGroup,
}

#[derive(Debug, Subcommand)]
enum LockRunGroup {
    #[command(subcommand)]
    Lock(LockRunVerb),
}

#[derive(Debug, Subcommand)]
enum LockRunVerb {
    Run(lock_run::RunArgs),
    Guard(lock_run::GuardArgs),
}

impl LockRunCli {
    /// Reads the arguments of `lock run` or its guard. None for all others, also for those that need help.
    fn read(arguments: &[OsString]) -> Option<Cli> {
        if !matches!(lock_verb(arguments).as_deref(), Some("run" | "guard")) {
            return None;
        }
        let LockRunCli { common, command: LockRunGroup::Lock(verb) } = LockRunCli::try_parse_from(arguments).ok()?;
        let lock = match verb {
            LockRunVerb::Run(args) => lock_run::LockCommand::Run(args),
            LockRunVerb::Guard(args) => lock_run::LockCommand::Guard(args),
        };
        Some(Cli { common, command: CliCommand::Lock(lock) })
    }
}

const EXIT_CODES: &str = "An argument `-` is read from standard input: one line each, those of options first.\n\
    Exit codes: 0 done · 1 refused by a rule · 2 used wrongly · 3 could not reach or open · 4 damage found · 5 storage cannot be trusted";

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Serve the file over HTTP
    Serve(serve::ServeArgs),
    #[command(flatten)]
    Wallet(verbs::WalletVerb),
    /// Print each entry when it is made, run a command for it, or post it as a webhook; in order, and at least once
    Follow(follow::FollowArgs),
    /// Locks: hold one while a command runs, or by hand
    #[command(subcommand)]
    Lock(lock_run::LockCommand),
    #[command(flatten)]
    File(files::FileVerb),
    /// Controls of a server for tests (`serve --test`): clock, snapshots, faults, pauses
    #[command(subcommand)]
    Test(test_controls::TestVerb),
    /// Print the description of the HTTP API (OpenAPI 3.1), as GET /openapi.json does
    Openapi,
    /// Try ways to protect a balance side by side, and see which lose money
    Lab(lab::LabArgs),
    /// Measure a server under load, its own or the one at --url, and audit it; exit code 4 if a cent is missing
    Bench(bench::BenchArgs),
    /// Print a script with which a shell completes commands and options
    Completions(manual::CompletionsArgs),
    /// Print a page of the manual, for `man -l -`
    Man(manual::ManArgs),
}

/// Runs the command that the arguments give.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match LockRunCli::read(&arguments).map_or_else(|| Cli::try_parse_from(&arguments), Ok) {
        Ok(cli) => cli,
        Err(error) => return usage_exit(&error, &arguments),
    };
    run(&cli).unwrap_or_else(|error| {
        output::print_failure(&error.message);
        error.exit.into()
    })
}

/// Prints the help that was asked for, or the reason why the arguments cannot be read.
fn usage_exit(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let _ = error.print(); // a closed output leaves nowhere to report it
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if let Some((_, tip)) = TIPS.iter().find(|(word, _)| words(arguments).next().is_some_and(|first| first == *word)) {
        output::print_error(&format!("tip: {tip}"));
    }
    if lock_verb(arguments).as_deref() != Some("run") {
        return Exit::Usage.into();
    }
    if !arguments.iter().any(|argument| argument == "--") {
        output::print_error("tip: the command comes behind `--`: cashbox lock run NAME -- COMMAND");
    }
    ExitCode::from(lock_run::FAILED) // 2 may be the command's own
}

/// Words that are not commands, and what does what they mean.
const TIPS: &[(&str, &str)] = &[
    ("freeze", "cashbox set USER --status frozen"),
    ("unfreeze", "cashbox set USER --status open"),
    ("close", "cashbox set USER --status closed"),
    ("reopen", "cashbox set USER --status open"),
    ("rename", "cashbox set USER --name TEXT"),
    ("deposit", "cashbox recharge USER AMOUNT"),
    ("topup", "cashbox recharge USER AMOUNT"),
    ("send", "cashbox transfer FROM TO AMOUNT"),
    ("balance", "cashbox wallet USER"),
    ("show", "cashbox wallet USER"),
    ("list", "cashbox wallets, or cashbox history"),
    ("ls", "cashbox wallets"),
    ("users", "cashbox wallets"),
    ("entries", "cashbox history"),
];

/// The words of the arguments, without the options of every command.
fn words(arguments: &[OsString]) -> impl Iterator<Item = Cow<'_, str>> {
    let mut arguments = arguments.iter().skip(1).map(|argument| argument.to_string_lossy());
    std::iter::from_fn(move || {
        loop {
            let argument = arguments.next()?;
            match &*argument {
                "--db" | "--url" | "--token" | "--token-file" | "--color" => drop(arguments.next()), // and its value
                option if option.starts_with('-') => {}
                _ => return Some(argument),
            }
        }
    })
}

/// The word behind `lock` in arguments that begin with it.
fn lock_verb(arguments: &[OsString]) -> Option<Cow<'_, str>> {
    let mut words = words(arguments);
    words.next().filter(|word| word == "lock").and_then(|_| words.next())
}

/// Has a write beyond the limit of file sizes fail, which is answered, and not end the process. Not for `lock run`, whose
/// command keeps what it was started with.
fn survive_size_limit() {
    let signal = rustix::process::Signal::XFSZ.as_raw();
    if let Err(error) = signal_hook::flag::register(signal, std::sync::Arc::default()) {
        crate::log::warn("a limit of file sizes will end this process", &error);
    }
}

fn run(Cli { common, command }: &Cli) -> Result<ExitCode, CliError> {
    screen::set_options(common.quiet, common.color);
    if !matches!(command, CliCommand::Lock(_)) {
        survive_size_limit();
    }
    database::check_name(&common.file())?;
    match command {
        CliCommand::Serve(_) | CliCommand::Openapi | CliCommand::Completions(_) | CliCommand::Man(_) => {}
        CliCommand::File(verb) if common.url.is_none() && database::is_server(&common.file()) => {
            return database::run(verb, common).map(ExitCode::from);
        }
        _ => database::refuse(common)?,
    }
    match command {
        CliCommand::Serve(serve) => serve.run(common).map(ExitCode::from),
        CliCommand::Wallet(verb) => verb.run(&ApiClient::new(common)?).map(ExitCode::from),
        CliCommand::Follow(follow) => follow.run(&ApiClient::new(common)?).map(ExitCode::from),
        CliCommand::Lock(lock) => lock.run(common),
        CliCommand::Test(test) => test.run(&ApiClient::new(common)?).map(ExitCode::from),
        CliCommand::File(verb) => verb.run(common).map(ExitCode::from),
        CliCommand::Openapi => output::print(&crate::http::openapi_document()).map(|()| ExitCode::SUCCESS),
        CliCommand::Lab(lab) => lab.run(common),
        CliCommand::Bench(bench) => bench.run(common).map(ExitCode::from),
        CliCommand::Completions(completions) => completions.run(Cli::command()).map(ExitCode::from),
        CliCommand::Man(man) => man.run(Cli::command()).map(ExitCode::from),
    }
}
