#![forbid(unsafe_code)]
//! Instructions of the machine per withdrawal and per lock pair, counted by callgrind, so that busy neighbours do not matter:
//! `cargo bench --bench instructions` (needs valgrind). Both threads count, from the command to its outcome: the one that
//! submits and the writer. Hashes are computed in software there, about 22,000 instructions of each withdrawal more than on
//! the machine itself. Memory is cleared and copied without `rep` instructions, of which valgrind counts each byte.
//!
//! The program runs itself under valgrind twice, with few and with many commits of the same commands; the difference is
//! that of the commits alone. Time stands still in it: the machine's boot clock cannot be read under valgrind.

use cashbox::internals::clock::Clock;
use cashbox::internals::command::{Command, Receipt};
use cashbox::internals::id::{IdempotencyKey, LockId, LockSecret, UserId};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::verbs::{Recharge, Withdraw};
use cashbox::internals::lock::lease::{AcquireRequest, ReleaseRequest};
use cashbox::internals::money::Money;
use cashbox::internals::store::{Envelope, Options, Outcome, Store};
use std::process::{Command as Process, ExitCode};

/// Wallets in the file.
const USERS: usize = 2_000;
/// Kind of the commands, commands in a commit, and the commits of the short run and of the long one: a lone client, then a
/// busy server.
const RUNS: [(&str, usize, usize, usize); 4] =
    [(WITHDRAWALS, 1, 500, 2_500), (WITHDRAWALS, 64, 20, 60), (LOCK_PAIRS, 1, 500, 1_500), (LOCK_PAIRS, 64, 20, 60)];
const WITHDRAWALS: &str = "keyed withdrawals";
/// A grant in one commit and its release in the next.
const LOCK_PAIRS: &str = "lock pairs";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--work") {
        Some(at) => {
            let number = |at: usize| arguments[at].parse().expect("a number");
            work(&arguments[at + 1], number(at + 2), number(at + 3), number(at + 4));
        }
        None if arguments.iter().any(|argument| argument == "--bench") => return measure(),
        None => eprintln!("measure with: cargo bench --bench instructions"), // a test run measures nothing
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    for (kind, commands, few, many) in RUNS {
        let (Some(short), Some(long)) = (counted(kind, commands, few, many), counted(kind, commands, many, many))
        else {
            return ExitCode::FAILURE;
        };
        let each = (long - short) / ((many - few) * commands) as u64;
        println!("{commands:>3} {kind} in a commit: {each:>7} instructions each");
    }
    ExitCode::SUCCESS
}

/// Settings of the C library: blocks of memory for which it uses `rep` instructions are larger than any here.
const WITHOUT_REP: &str = "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000";

/// The instructions of a run.
fn counted(kind: &str, commands: usize, commits: usize, made: usize) -> Option<u64> {
    let own = std::env::current_exe().expect("a program has a path");
    let mut valgrind = Process::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    valgrind.args(["--work", kind, &commands.to_string(), &commits.to_string(), &made.to_string()]);
    valgrind.env("GLIBC_TUNABLES", WITHOUT_REP);
    let output = match valgrind.output() {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => {
            eprintln!("valgrind cannot be run: {error}; install it (Debian: valgrind)");
            return None;
        }
    };
    let collected = output.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
    if collected.is_none() {
        eprintln!("{output}");
    }
    collected
}

/// Makes a file, then that many commits of commands. Those of `made` commits are made beforehand, so that making them
/// counts in neither run.
fn work(kind: &str, commands: usize, commits: usize, made: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
    let store = Store::open(&folder.path().join("cashbox.db"), &options).expect("a new file");
    let amount = Money::parse("99").expect("an amount");
    let recharge = |number| Recharge { user: user(number), amount, note: Note::default() }.into();
    submit(&store, (0..USERS).map(|number| (Envelope::local(), recharge(number))).collect());
    let command = if kind == LOCK_PAIRS { acquire } else { withdrawal };
    let number = |commit: usize| move |at| (commit * commands + at + 1) as u64;
    let mut all: Vec<Vec<_>> =
        (0..made).map(|commit| (0..commands).map(number(commit)).map(command).collect()).collect();
    let rest = all.split_off(commits);
    for commands in all {
        let outcomes = submit(&store, commands);
        if kind == LOCK_PAIRS {
            submit(&store, outcomes.into_iter().map(release).collect());
        }
    }
    std::mem::forget(rest); // a commit drops its own, so the drop of these must not count
}

/// 32 digits, in another order than the numbers.
fn digits(number: u64) -> String {
    format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// By another user than the one before, under a key of its own.
fn withdrawal(number: u64) -> (Envelope, Command) {
    let key = Some(IdempotencyKey::parse(&digits(number)).expect("a key"));
    let user = user((number as usize * 7_919) % USERS);
    (Envelope { key, ..Envelope::local() }, Withdraw { user, amount: Money::MIN, note: Note::default() }.into())
}

/// One of 1,000 locks, with a secret of its own.
fn acquire(number: u64) -> (Envelope, Command) {
    let request = AcquireRequest {
        ids: vec![LockId::parse(&format!("job/{}", number % 1_000)).expect("a lock")],
        secret: LockSecret::parse(&digits(number)).expect("a secret"),
        holder: "bench".to_owned(),
        expire_ms: 60_000,
        grace_ms: 5_000,
        max_hold_ms: None,
        min_hold_ms: None,
        any: false,
    };
    (Envelope::local(), request.into())
}

fn release(granted: Outcome) -> (Envelope, Command) {
    let Ok(Receipt::Granted(grant)) = granted.result else { panic!("the lock is free") };
    let request = ReleaseRequest { id: grant.ids.into_iter().next(), token: grant.token, min_hold_ms: None };
    (Envelope::local(), request.into())
}

fn submit(store: &Store, commands: Vec<(Envelope, Command)>) -> Vec<Outcome> {
    let outcomes = store.submit_all(commands);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    outcomes
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number:04}")).expect("a user")
}
