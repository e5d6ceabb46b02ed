#![forbid(unsafe_code)]
//! Instructions of the machine per command, counted by callgrind, so that busy neighbours do not matter:
//! `cargo bench --bench instructions` (needs valgrind). Both threads count, from the command to its outcome: the one that
//! submits and the writer. Hashes are computed in software there, about 22,000 instructions of each withdrawal more than on
//! the machine itself. Memory is cleared and copied without `rep` instructions, of which valgrind counts each byte.
//!
//! The program runs itself under valgrind twice, with few and with many commits of the same commands; the difference is
//! that of the commits alone. Time stands still in it: the machine's boot clock cannot be read under valgrind.

use cashbox::internals::clock::Clock;
use cashbox::internals::command::Command;
use cashbox::internals::id::{IdempotencyKey, UserId};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::verbs::{Recharge, Withdraw};
use cashbox::internals::money::Money;
use cashbox::internals::store::{Envelope, Options, Store};
use std::process::{Command as Process, ExitCode};

/// Wallets in the file.
const USERS: usize = 2_000;
/// Commands in a commit, and the commits of the short run and of the long one: a lone client, then a busy server.
const RUNS: [(usize, usize, usize); 2] = [(1, 500, 2_500), (64, 20, 60)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--work") {
        Some(at) => {
            let number = |at: usize| arguments[at].parse().expect("a number");
            work(number(at + 1), number(at + 2), number(at + 3));
        }
        None if arguments.iter().any(|argument| argument == "--bench") => return measure(),
        None => eprintln!("measure with: cargo bench --bench instructions"), // a test run measures nothing
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    for (commands, few, many) in RUNS {
        let (Some(short), Some(long)) = (counted(commands, few, many), counted(commands, many, many)) else {
            return ExitCode::FAILURE;
        };
        let each = (long - short) / ((many - few) * commands) as u64;
        println!("{commands:>3} keyed withdrawals in a commit: {each:>7} instructions each");
    }
    ExitCode::SUCCESS
}

/// Settings of the C library: blocks of memory for which it uses `rep` instructions are larger than any here.
const WITHOUT_REP: &str = "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000";

/// The instructions of a run.
fn counted(commands: usize, commits: usize, made: usize) -> Option<u64> {
    let own = std::env::current_exe().expect("a program has a path");
    let mut valgrind = Process::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    valgrind.args(["--work", &commands.to_string(), &commits.to_string(), &made.to_string()]);
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

/// Makes a file, then that many commits of withdrawals, each by another user under a key of its own. The withdrawals of
/// `made` commits are made beforehand, so that making them counts in neither run.
fn work(commands: usize, commits: usize, made: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
    let store = Store::open(&folder.path().join("cashbox.db"), &options).expect("a new file");
    let note = Note::default;
    let amount = Money::parse("99").expect("an amount");
    let recharge = |number| Recharge { user: user(number), amount, note: note() }.into();
    submit(&store, (0..USERS).map(|number| (Envelope::local(), recharge(number))).collect());
    let mut number = 0_u64;
    let mut withdrawal = |_| {
        number += 1;
        let key = format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key = Some(IdempotencyKey::parse(&key).expect("a key"));
        let user = user((number as usize * 7_919) % USERS);
        (Envelope { key, ..Envelope::local() }, Withdraw { user, amount: Money::MIN, note: note() }.into())
    };
    let mut all: Vec<Vec<_>> = (0..made).map(|_| (0..commands).map(&mut withdrawal).collect()).collect();
    let rest = all.split_off(commits);
    all.into_iter().for_each(|withdrawals| submit(&store, withdrawals));
    std::mem::forget(rest); // a commit drops its own, so the drop of these must not count
}

fn submit(store: &Store, commands: Vec<(Envelope, Command)>) {
    assert!(store.submit_all(commands).iter().all(|outcome| outcome.result.is_ok()));
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number:04}")).expect("a user")
}
