//! The command line.
//!
//! A verb becomes a [`target::ApiCall`], which is the request of the HTTP API; a [`target::Target`] has it answered, by a
//! server or, if none serves the file, in this process. `--json` prints the reply as HTTP gives it, and the text for
//! people is made from the same reply. Has no opinion about money.

mod admin;
mod backup;
mod bench;
mod export;
mod input;
mod lab;
mod lock_run;
mod look;
mod money;
mod output;
mod serve;
mod sql;
mod target;
mod temp_folder;
#[cfg(test)]
mod tests;
mod verify;

use clap::{Parser, Subcommand};
use input::CommonOptions;
use output::CliError;
use std::process::ExitCode;
use target::ApiClient;

/// An embedded wallet: wallets, coupons and a lock table in one SQLite file.
///
/// Each command works on the file itself, through the server that has it, or at a server elsewhere (--url).
#[derive(Debug, Parser)]
#[command(name = "cashbox", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "An argument `-` is read from standard input: one line each, those of options first.\n\
    Exit codes: 0 done · 1 refused by a rule · 2 used wrongly · 3 could not reach or open · 4 damage found · 5 storage cannot be trusted";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the file over HTTP
    Serve(serve::Serve),
    /// Put money into a wallet
    Recharge(money::Recharge),
    /// Take money out of a wallet
    Withdraw(money::Withdraw),
    /// Pay from a wallet
    Pay(money::Pay),
    /// Move money between wallets
    Transfer(money::Transfer),
    /// Give an entry's money back
    Refund(money::Refund),
    /// Carry out many operations, a JSON object a line or a JSON array of them
    Batch(money::Batch),
    /// Show one wallet
    Wallet(look::Wallet),
    /// List all wallets
    Wallets(look::Wallets),
    /// List entries, newest first: a user's, or all
    History(look::History),
    /// Show one entry
    Entry(look::Entry),
    /// List a user's coupons
    Coupons(look::Coupons),
    /// Show one coupon, or what a payment would cost with it
    Coupon(look::Coupon),
    /// Give a user a coupon
    Grant(admin::Grant),
    /// Show or set the recharge tiers
    Tiers(admin::Tiers),
    /// Show or set the coupon kinds
    CouponKinds(admin::CouponKinds),
    /// Access tokens
    #[command(subcommand)]
    Token(admin::Token),
    /// Locks: hold one while a command runs, or by hand
    #[command(subcommand)]
    Lock(lock_run::LockCommand),
    /// Check every invariant of the file; exit code 4 if one is broken
    Verify(verify::Verify),
    /// Copy the file, also while it is served: one moment of it, checked and on disk
    Backup(backup::Backup),
    /// Put a backup in the place of the file, while nobody serves it
    Restore(backup::Restore),
    /// Write wallets, entries and coupons to standard output
    Export(export::Export),
    /// Make a file of what `export` wrote, if it is sound
    Import(export::Import),
    /// Ask the file a question in SQL that changes nothing
    Sql(sql::Sql),
    /// Try ways to guard a balance side by side, ours and others, and see which lose money
    Lab(lab::LabArgs),
    /// Measure a server under load, one of its own or the one at --url, and audit it; exit code 4 if a cent is missing
    Bench(bench::Bench),
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(), // prints, and exits with 2, or with 0 after --help
    };
    run(cli).unwrap_or_else(|error| {
        output::print_error(&error.message);
        error.exit.into()
    })
}

fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let client = || ApiClient::new(&cli.common);
    let exit = match cli.verb {
        Verb::Lock(lock) => return lock.run(&cli.common),
        Verb::Lab(lab) => return lab.run(&cli.common),
        Verb::Serve(serve) => serve.run(&cli.common),
        Verb::Verify(verify) => verify.run(&client()?),
        Verb::Backup(backup) => backup.run(&client()?),
        Verb::Restore(restore) => restore.run(&cli.common),
        Verb::Export(export) => export.run(&client()?),
        Verb::Import(import) => import.run(&cli.common),
        Verb::Sql(sql) => sql.run(&cli.common),
        Verb::Bench(bench) => bench.run(&cli.common),
        Verb::Recharge(verb) => verb.run(&client()?),
        Verb::Withdraw(verb) => verb.run(&client()?),
        Verb::Pay(verb) => verb.run(&client()?),
        Verb::Transfer(verb) => verb.run(&client()?),
        Verb::Refund(verb) => verb.run(&client()?),
        Verb::Batch(verb) => verb.run(&client()?),
        Verb::Wallet(verb) => verb.run(&client()?),
        Verb::Wallets(verb) => verb.run(&client()?),
        Verb::History(verb) => verb.run(&client()?),
        Verb::Entry(verb) => verb.run(&client()?),
        Verb::Coupons(verb) => verb.run(&client()?),
        Verb::Coupon(verb) => verb.run(&client()?),
        Verb::Grant(verb) => verb.run(&client()?),
        Verb::Tiers(verb) => verb.run(&client()?),
        Verb::CouponKinds(verb) => verb.run(&client()?),
        Verb::Token(verb) => verb.run(&client()?),
    }?;
    Ok(exit.into())
}
