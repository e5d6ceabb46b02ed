//! `cashbox lock`: a lock held while a command runs ([`run`], with its [`guard`]), or by hand ([`commands`]).
//!
//! The same requests as over HTTP, through the same target: a server's, or the file itself where nobody serves it.

mod acquire;
mod attend;
mod commands;
mod control;
mod event;
mod grant;
mod group;
mod guard;
mod lease;
mod run;
mod signals;
mod terminal;
mod times;

use super::input::CommonOptions;
use super::output::{CliError, Exit};
use super::target::ApiClient;
use clap::Subcommand;
use std::process::ExitCode;

/// Exit codes of `lock run` that are not the command's own.
const NOT_ACQUIRED: u8 = 124;
const LOST: u8 = 123;
const FAILED: u8 = 125;

/// `cashbox lock`
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Hold a lock while a command runs
    #[command(after_help = run::EXIT_CODES)]
    Run(run::RunArgs),
    /// Acquire a lock, or several together, and print the lock token
    Acquire(commands::AcquireArgs),
    /// Begin the lease anew
    Renew(commands::RenewArgs),
    /// Give the lock back
    Release(commands::ReleaseArgs),
    /// Show one lock
    Show(commands::ShowArgs),
    /// List the locks there are
    List(commands::ListArgs),
    /// Take a lock away from its holder (admins)
    Revoke(commands::RevokeArgs),
    /// List who got, broke and gave back a lock, newest first
    Events(commands::EventsArgs),
    /// Stands between `lock run` and its command
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

impl LockCommand {
    /// Does what was asked.
    pub fn run(&self, common: &CommonOptions) -> Result<ExitCode, CliError> {
        let client = || ApiClient::new(common);
        let exit: Result<Exit, CliError> = match self {
            LockCommand::Run(verb) => return Ok(verb.run(common)),
            LockCommand::Guard(verb) => return Ok(verb.run()),
            LockCommand::Acquire(verb) => verb.run(&client()?),
            LockCommand::Renew(verb) => verb.run(&client()?),
            LockCommand::Release(verb) => verb.run(&client()?),
            LockCommand::Show(verb) => verb.run(&client()?),
            LockCommand::List(verb) => verb.run(&client()?),
            LockCommand::Revoke(verb) => verb.run(&client()?),
            LockCommand::Events(verb) => verb.run(&client()?),
        };
        Ok(exit?.into())
    }
}
