//! The load: clients, each a thread, and the queue of withdrawals they share.

use super::client::{LabClient, LabLoad, LabRun};
use super::{Attempt, LabResult, LockStrategy};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

/// Bytes of stack for a client.
const STACK: usize = 512 * 1024;
/// How often the watcher is told.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// How often one withdrawal is tried anew before it counts as failed.
const TRIES_MAX: u32 = 100_000;

/// What the clients were told.
#[derive(Default)]
pub struct Tally {
    /// How long each withdrawal took that was answered yes, in microseconds; sorted once all are through.
    pub took: Vec<u64>,
    /// How often a withdrawal was told to begin anew.
    pub refusals: u64,
    /// How many withdrawals failed.
    pub errors: u64,
    /// Why the first of them did.
    pub error: Option<String>,
    /// How long it all took.
    pub wall: Duration,
}

impl Tally {
    /// How many withdrawals were answered yes.
    pub fn yes(&self) -> u64 {
        self.took.len() as u64
    }

    /// Everything that others were told too.
    pub fn add(&mut self, others: Tally) {
        self.took.extend(others.took);
        self.took.sort_unstable();
        self.refusals += others.refusals;
        self.errors += others.errors;
        self.error = self.error.take().or(others.error);
        self.wall = self.wall.max(others.wall);
    }
}

/// Has all clients withdraw until the queue is empty.
pub fn drive(guard: &dyn LockStrategy, load: &LabLoad<'_>, watch: &dyn Fn(u64)) -> LabResult<Tally> {
    let run = &LabRun::new(load);
    let gate = &RwLock::new(());
    scope(|scope| {
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        let (here, gone) = mpsc::channel::<()>();
        let mut clients = Vec::new();
        for number in 0..load.clients as usize {
            let here = here.clone();
            let begin = move || {
                let _here = here; // dropped by the last one, it ends the watch
                drop(gate.read());
                withdraw_all(guard, LabClient::new(number, load.seed, run), run)
            };
            let client = Builder::new().stack_size(STACK).spawn_scoped(scope, begin).inspect_err(|_| {
                run.take_all(); // those who are here already have nothing to do
            });
            clients.push(client.map_err(|error| format!("the machine has no thread for client {number}: {error}"))?);
        }
        drop(here);
        let begun = Instant::now();
        drop(closed);
        while let Err(RecvTimeoutError::Timeout) = gone.recv_timeout(WATCH_EVERY) {
            watch(run.done());
        }
        let mut tally = Tally { wall: begun.elapsed(), ..Tally::default() };
        for client in clients {
            tally.add(client.join().expect("a client does not panic"));
        }
        Ok(tally)
    })
}

fn withdraw_all(guard: &dyn LockStrategy, mut client: LabClient<'_>, run: &LabRun<'_>) -> Tally {
    let mut tally = Tally::default();
    client.jitter(run.work()); // nobody walks in step
    while run.take() {
        let begun = Instant::now();
        match withdraw(guard, &mut client, &mut tally.refusals) {
            Ok(Attempt::Yes) => tally.took.push(begun.elapsed().as_micros() as u64),
            Ok(Attempt::Again | Attempt::Stopped) => break,
            Err(why) => {
                tally.errors += 1;
                tally.error.get_or_insert_with(|| why.to_string());
            }
        }
        run.count_one();
    }
    tally
}

/// One withdrawal, tried anew until it is done.
fn withdraw(guard: &dyn LockStrategy, client: &mut LabClient<'_>, refusals: &mut u64) -> LabResult<Attempt> {
    for _ in 0..TRIES_MAX {
        match guard.withdraw(client)? {
            Attempt::Again if client.is_stopped() => return Ok(Attempt::Stopped),
            Attempt::Again => *refusals += 1,
            answer => return Ok(answer),
        }
    }
    Err("it was tried too often".into())
}
