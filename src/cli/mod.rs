//! The command line.
//!
//! A verb becomes a [`Call`], which is what HTTP would be asked; a [`Door`] has it answered, by a server or, where none
//! has the file, in this process. So `--json` prints what HTTP gives, and people get text made from the same answer.
//! Has no opinion about money.

mod admin;
mod backup;
mod bench;
mod call;
mod door;
mod exit;
mod export;
mod input;
mod lab;
mod lock_run;
mod look;
mod memory;
mod money;
mod progress;
mod serve;
mod show;
mod sql;
mod verify;

use call::Call;
use clap::{Args, Parser, Subcommand};
use door::{Answer, Door};
use exit::{Exit, Trouble};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// An embedded wallet: wallets, coupons and a lock table in one SQLite file.
///
/// Each command works on the file itself, through the server that has it, or at a server elsewhere (--url).
#[derive(Debug, Parser)]
#[command(name = "cashbox", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "An argument `-` is read from standard input: one line each, those of options first.\n\
    Exit codes: 0 done · 1 refused by a rule · 2 used wrongly · 3 could not reach or open · 4 damage found · 5 storage cannot be trusted";

/// The heading of what every subcommand takes.
const EVERYWHERE: &str = "Options of every command";

/// What every subcommand takes, before or after its arguments.
#[derive(Debug, Args)]
pub struct Common {
    /// The file [env: CASHBOX_DB] [default: cashbox.db]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    db: Option<PathBuf>,
    /// A server elsewhere: http://HOST:PORT [env: CASHBOX_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = EVERYWHERE)]
    url: Option<String>,
    /// Your access token there; others on this machine can see it, so prefer --token-file or CASHBOX_TOKEN
    #[arg(long, global = true, value_name = "TOKEN", help_heading = EVERYWHERE)]
    token: Option<String>,
    /// A file whose first line is the access token, or `-`; with `serve`: the first admin's
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    token_file: Option<PathBuf>,
    /// Print what HTTP gives
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
}

/// What every command that changes something takes.
#[derive(Debug, Default, Args)]
pub struct Changing {
    /// Your name for this intention: the same key again gives the same answer and does nothing twice
    #[arg(long, value_name = "KEY", value_parser = input::key)]
    key: Option<String>,
    /// How long to wait for somebody else's lock, such as 5 or 5s, at most 30 [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = input::wait)]
    wait: Option<u32>,
    /// The token of a lock you hold, the @FILE it is in, or `-`; may be repeated. Others on this machine can see a token
    /// that stands here itself
    #[arg(long, value_name = "TOKEN|@FILE", value_parser = input::lock_token)]
    lock_token: Vec<String>,
}

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
    run(cli).unwrap_or_else(|trouble| {
        show::complain(&trouble.sentence);
        trouble.exit.into()
    })
}

fn run(cli: Cli) -> Result<ExitCode, Trouble> {
    let desk = || Desk::new(&cli.common);
    let exit = match cli.verb {
        Verb::Lock(lock) => return lock.run(&cli.common),
        Verb::Lab(lab) => return lab.run(&cli.common),
        Verb::Serve(serve) => serve.run(&cli.common),
        Verb::Verify(verify) => verify.run(&desk()?),
        Verb::Backup(backup) => backup.run(&desk()?),
        Verb::Restore(restore) => restore.run(&cli.common),
        Verb::Export(export) => export.run(&desk()?),
        Verb::Import(import) => import.run(&cli.common),
        Verb::Sql(sql) => sql.run(&cli.common),
        Verb::Bench(bench) => bench.run(&cli.common),
        Verb::Recharge(verb) => verb.run(&desk()?),
        Verb::Withdraw(verb) => verb.run(&desk()?),
        Verb::Pay(verb) => verb.run(&desk()?),
        Verb::Transfer(verb) => verb.run(&desk()?),
        Verb::Refund(verb) => verb.run(&desk()?),
        Verb::Batch(verb) => verb.run(&desk()?),
        Verb::Wallet(verb) => verb.run(&desk()?),
        Verb::Wallets(verb) => verb.run(&desk()?),
        Verb::History(verb) => verb.run(&desk()?),
        Verb::Entry(verb) => verb.run(&desk()?),
        Verb::Coupons(verb) => verb.run(&desk()?),
        Verb::Coupon(verb) => verb.run(&desk()?),
        Verb::Grant(verb) => verb.run(&desk()?),
        Verb::Tiers(verb) => verb.run(&desk()?),
        Verb::CouponKinds(verb) => verb.run(&desk()?),
        Verb::Token(verb) => verb.run(&desk()?),
    }?;
    Ok(exit.into())
}

/// Where a verb asks, and how its answer is told.
pub struct Desk {
    door: Door,
    json: bool,
}

impl Desk {
    fn new(common: &Common) -> Result<Desk, Trouble> {
        Ok(Desk { door: Door::new(common)?, json: common.json })
    }

    /// Has the call answered and tells the answer; `text` makes a good one readable for people.
    fn ask(&self, call: &Call, text: impl FnOnce(&Value) -> String) -> Result<Exit, Trouble> {
        self.tell(&self.door.answer(call)?, text)
    }

    fn tell(&self, answer: &Answer, text: impl FnOnce(&Value) -> String) -> Result<Exit, Trouble> {
        let exit = Exit::of(answer.status, &answer.body);
        if self.json {
            show::print(&answer.body.to_string())?;
        } else if answer.is_good() {
            show::print(&text(&answer.body))?;
        } else {
            show::complain(&(show::problem(&answer.body) + advice(answer)));
        }
        Ok(exit)
    }
}

/// What would help at the shell.
fn advice(answer: &Answer) -> &'static str {
    let own_lock =
        || door::environment("CASHBOX_LOCK_ID").is_some_and(|id| id.to_str() == answer.body["lock"].as_str());
    if answer.refuses_as("unauthenticated") {
        " (give it with --token-file FILE, or in CASHBOX_TOKEN)"
    } else if answer.refuses_as("locked") && own_lock() {
        " (that is the lock this command runs under: prove it with --lock-token @$CASHBOX_LOCK_TOKEN_FILE)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_options_stand_before_or_after_the_arguments() {
        for line in ["cashbox --db a.db --json wallet alice", "cashbox wallet --json alice --db a.db"] {
            let common = parse(line).unwrap().common;
            assert_eq!((common.db, common.json), (Some("a.db".into()), true), "{line}");
        }
    }

    #[test]
    fn a_lone_dash_is_an_argument_and_a_negative_number_gets_to_hear_why_not() {
        assert!(parse("cashbox recharge - -").is_ok());
        assert!(parse("cashbox recharge alice -5").is_ok());
        assert!(parse("cashbox recharge alice -x").is_err());
    }

    #[test]
    fn whoever_uses_it_wrongly_hears_of_it() {
        for line in
            ["cashbox", "cashbox recharge alice", "cashbox wallet a b", "cashbox serve --log xml", "cashbox token"]
        {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
