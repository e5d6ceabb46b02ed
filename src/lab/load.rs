//! The load: clients, each on a thread of its own, that share the withdrawals of a trial.

use super::client::{LabClient, LabLoad, LabRun};
use super::strategy::{Attempt, LabResult, LockStrategy};
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

/// Bytes of stack for a client.
const STACK_LEN: usize = 512 * 1024;
/// Pause between two reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Attempts at one withdrawal before it counts as failed.
const ATTEMPTS_MAX: u32 = 100_000;

/// The outcomes of all withdrawals of a trial.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// The time of each withdrawal that was done, in microseconds; sorted once all have ended.
    pub took_us: Vec<u64>,
    /// Attempts that had to be repeated.
    pub retries: u64,
    /// Withdrawals that failed.
    pub errors: u64,
    /// The reason of the first failure.
    pub error: Option<String>,
    /// The time of the whole trial, in microseconds.
    pub wall_us: u64,
}

impl Tally {
    /// Withdrawals that were done.
    pub(crate) fn done(&self) -> u64 {
        self.took_us.len() as u64
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: Tally) {
        self.took_us.extend(other.took_us);
        self.took_us.sort_unstable();
        self.retries += other.retries;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
        self.wall_us = self.wall_us.max(other.wall_us);
    }
}

/// Runs all clients until no withdrawal is left. `progress` gets the number of withdrawals that have ended.
pub(crate) fn drive(strategy: &dyn LockStrategy, load: &LabLoad<'_>, progress: &dyn Fn(u64)) -> LabResult<Tally> {
    let run = &LabRun::new(load);
    let gate = &RwLock::new(());
    scope(|scope| {
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        let (running, ended) = mpsc::channel::<()>();
        let mut clients = Vec::new();
        for number in 0..load.clients as usize {
            let running = running.clone();
            let begin = move || {
                let _running = running; // dropped by the last client, it ends the reports of progress
                drop(gate.read());
                withdraw_all(strategy, LabClient::new(number, load.seed, run), run)
            };
            let client = Builder::new().stack_size(STACK_LEN).spawn_scoped(scope, begin).inspect_err(|_| {
                run.take_all(); // the clients that were started end at once
            });
            clients.push(client.map_err(|error| format!("the machine has no thread for client {number}: {error}"))?);
        }
        drop(running);
        let begun = Instant::now();
        drop(closed);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PROGRESS_EVERY) {
            progress(run.ended());
        }
        let mut tally = Tally { wall_us: micros(begun.elapsed()), ..Tally::default() };
        for client in clients {
            tally.add(client.join().expect("a client does not panic"));
        }
        Ok(tally)
    })
}

fn withdraw_all(strategy: &dyn LockStrategy, mut client: LabClient<'_>, run: &LabRun<'_>) -> Tally {
    let mut tally = Tally::default();
    client.jitter(run.work()); // so that clients do not run in step
    while run.take() {
        let begun = Instant::now();
        match withdraw(strategy, &mut client, &mut tally.retries) {
            Ok(Attempt::Done) => tally.took_us.push(micros(begun.elapsed())),
            Ok(Attempt::Retry | Attempt::Stopped) => break,
            Err(error) => {
                tally.errors += 1;
                tally.error.get_or_insert_with(|| error.to_string());
            }
        }
        run.count_end();
    }
    tally
}

/// Attempts one withdrawal until it is done.
fn withdraw(strategy: &dyn LockStrategy, client: &mut LabClient<'_>, retries: &mut u64) -> LabResult<Attempt> {
    for _ in 0..ATTEMPTS_MAX {
        match strategy.withdraw(client)? {
            Attempt::Retry if client.is_stopped() => return Ok(Attempt::Stopped),
            Attempt::Retry => *retries += 1,
            attempt => return Ok(attempt),
        }
    }
    Err(format!("it was not done in {ATTEMPTS_MAX} attempts").into())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
