//! `cashbox lock`: a lock held while a command runs ([`run`], with its [`guard`]), or by hand ([`hand`]).
//!
//! The same requests as over HTTP, through the same door: a server's, or the file itself where nobody serves it.

mod acquire;
mod attend;
mod control;
mod event;
mod grant;
mod group;
mod guard;
mod hand;
mod lease;
mod pace;
mod run;
mod signals;
mod terminal;

use super::exit::{Exit, Trouble};
use super::{Common, Desk};
use clap::Subcommand;
use std::process::ExitCode;

/// Exit codes of `lock run` that are not the command's own.
const NOT_ACQUIRED: u8 = 124;
const LOST: u8 = 123;
const FAILED: u8 = 125;

/// `cashbox lock`
#[derive(Debug, Subcommand)]
pub enum Lock {
    /// Hold a lock while a command runs
    #[command(after_help = run::EXIT_CODES)]
    Run(run::Run),
    /// Acquire a lock, or several together, and print the lock token
    Acquire(hand::Acquire),
    /// Begin the lease anew
    Renew(hand::Renew),
    /// Give the lock back
    Release(hand::Release),
    /// Show one lock
    Show(hand::Show),
    /// List the locks there are
    List(hand::List),
    /// Take a lock away from its holder (admins)
    Revoke(hand::Revoke),
    /// List who got, broke and gave back a lock, newest first
    Events(hand::Events),
    /// Stands between `lock run` and its command
    #[command(hide = true)]
    Guard(guard::Guard),
}

impl Lock {
    /// Does what was asked.
    pub fn run(&self, common: &Common) -> Result<ExitCode, Trouble> {
        let desk = || Desk::new(common);
        let exit: Result<Exit, Trouble> = match self {
            Lock::Run(verb) => return Ok(verb.run(common)),
            Lock::Guard(verb) => return Ok(verb.run()),
            Lock::Acquire(verb) => verb.run(&desk()?),
            Lock::Renew(verb) => verb.run(&desk()?),
            Lock::Release(verb) => verb.run(&desk()?),
            Lock::Show(verb) => verb.run(&desk()?),
            Lock::List(verb) => verb.run(&desk()?),
            Lock::Revoke(verb) => verb.run(&desk()?),
            Lock::Events(verb) => verb.run(&desk()?),
        };
        Ok(exit?.into())
    }
}
