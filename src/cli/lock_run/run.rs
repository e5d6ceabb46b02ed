//! `cashbox lock run`: acquires, has a guard run the command, renews while it runs, releases when it is gone.
//!
//! The wrapper counts each lease from before it sent the request that won it, so it never takes a lease for longer than
//! the lock's keeper does. What the guard knows of the lease is what the wrapper last told it.

use super::acquire::LockTerms;
use super::attend::GuardHandle;
use super::control::{ControlFolder, SIGNALLED};
use super::event::{AcquireOutcome, WrapperEvent};
use super::grant::LockAcquisition;
use super::lease::{HeldLease, RenewResult};
use super::times::LeaseTimes;
use super::{FAILED, NOT_ACQUIRED, signals};
use crate::cli::input::{self, CommonOptions};
use crate::cli::output::{self, CliError};
use crate::cli::target::Target;
use crate::clock::Clock;
use crate::secret;
use clap::Args;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::spawn;
use std::time::Instant;

/// What `--help` says of exit codes.
pub const EXIT_CODES: &str = "Exit codes: the command's own · 128+n ended by signal n · 124 not acquired in time · \
    123 lost while it ran · 125 our own failure · 126 cannot be executed · 127 not found";

/// The longest label a lock takes.
const LABEL_CHARS_MAX: usize = 255;

/// `cashbox lock run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The lock's name
    id: String,
    #[command(flatten)]
    terms: LockTerms,
    /// How long the command has between TERM and KILL; never longer than the grace
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::span)]
    kill_after: i64,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl RunArgs {
    /// Runs the command under the lock.
    pub fn run(&self, common: &CommonOptions) -> ExitCode {
        let code = self.hold(common).unwrap_or_else(|error| {
            output::print_error(&error.message);
            FAILED
        });
        ExitCode::from(code)
    }

    fn hold(&self, common: &CommonOptions) -> Result<u8, CliError> {
        let (events, inbox) = mpsc::channel();
        signals::pass_on(events.clone()).map_err(cannot("watch for signals"))?;
        // What may be missing is found out before anybody has to wait for us.
        let line = ControlFolder::new().map_err(no_folder)?;
        let (lease, until_ms) = match self.acquire(common, &events, &inbox)? {
            AcquireOutcome::Lease(lease, until_ms) => (Arc::new(lease), until_ms),
            AcquireOutcome::Signalled(signal) => return Ok((SIGNALLED + signal.as_raw()) as u8),
            AcquireOutcome::Nothing | AcquireOutcome::Lost => return Ok(NOT_ACQUIRED),
        };
        let code = if Clock::Machine.boot_ms() < self.times().until(until_ms).term_ms {
            self.guarded(&lease, until_ms, line, events, &inbox)
        } else {
            output::print_error("the lease was over before the command could start, so it was not started");
            Ok(NOT_ACQUIRED) // we were stopped, and another may have the lock
        };
        if code.is_ok() {
            lease.release();
        } // or nobody has seen the command end, and the lease runs out by itself
        code
    }

    /// Asks for the lock, and again with what is left of the wait if it is lost before anything was done with it.
    fn acquire(
        &self,
        common: &CommonOptions,
        events: &Sender<WrapperEvent>,
        inbox: &Receiver<WrapperEvent>,
    ) -> Result<AcquireOutcome, CliError> {
        let (target, id) = (Target::new(common)?, input::argument(&self.id)?);
        let holder = self.terms.holder.clone().or_else(|| Some(self.label()));
        let begun = Instant::now();
        loop {
            let terms = LockTerms { holder: holder.clone(), ..self.terms.after(begun.elapsed()) };
            let wish =
                LockAcquisition { target: target.clone(), id: id.clone(), terms, secret: secret::random_hex::<16>() };
            match wish.have(events, inbox)? {
                AcquireOutcome::Lost => {}
                other => return Ok(other),
            }
        }
    }

    fn label(&self) -> String {
        let program = self.command.first().map(|program| program.to_string_lossy().escape_debug().to_string());
        let label = format!("{} (process {})", program.unwrap_or_default(), std::process::id());
        label.chars().rev().take(LABEL_CHARS_MAX).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Has the guard run the command, and keeps the lease meanwhile; the exit code.
    fn guarded(
        &self,
        lease: &Arc<HeldLease>,
        until_ms: i64,
        (folder, listener): (ControlFolder, UnixListener),
        events: Sender<WrapperEvent>,
        inbox: &Receiver<WrapperEvent>,
    ) -> Result<u8, CliError> {
        let guard = GuardHandle::start(&self.command, lease, self.times(), &folder, &listener);
        let mut guard = guard.map_err(cannot("start the guard"))?;
        guard.begin(until_ms, &events).map_err(cannot("hear the guard"))?;
        let (stop, stopped) = mpsc::channel();
        let (keeper, watcher) = (Arc::clone(lease), Arc::clone(lease));
        let (kept, watched) = (events.clone(), events);
        spawn(move || {
            keeper.keep(until_ms, &stopped, |renewed| {
                let _ = match renewed {
                    RenewResult::Until(until_ms) => kept.send(WrapperEvent::Renewed(until_ms)),
                    RenewResult::Lost(loss) => kept.send(WrapperEvent::Lost(loss)),
                    RenewResult::NoMore | RenewResult::Unknown => Ok(()),
                };
            });
        });
        spawn(move || watched.send(WrapperEvent::Lost(watcher.watch())));
        let code = guard.attend(inbox);
        drop(stop);
        code
    }

    fn times(&self) -> LeaseTimes {
        LeaseTimes { ttl_ms: self.terms.lease_ms(), grace_ms: self.terms.grace, kill_after_ms: self.kill_after }
    }
}

fn no_folder(error: io::Error) -> CliError {
    let place = std::env::temp_dir();
    let advice =
        "the guard is spoken to over a socket there, so TMPDIR names a folder that can be written, in few words";
    CliError::usage(format!("cannot make a socket in {}: {error}; {advice}", place.display()))
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> CliError {
    move |error| CliError::usage(format!("cannot {what}: {error}"))
}
