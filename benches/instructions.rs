#![forbid(unsafe_code)]
//! Instructions of the machine per command, counted by callgrind, so that busy neighbours do not matter:
//! `cargo bench --bench instructions` (needs valgrind). Both threads count: the one that submits and the writer. Hashes are
//! computed in software there, about 22,000 instructions of each withdrawal more than on the machine itself.
//!
//! The program runs itself under valgrind twice, with few and with many commits; the difference is that of the commits
//! alone. Time stands still in it: the machine's boot clock cannot be read under valgrind.

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
/// Commits in the two runs.
const FEW: usize = 20;
const MANY: usize = 60;
/// Commands in a commit, in turn: a lone client, and a busy server.
const COMMANDS: [usize; 2] = [1, 64];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--work") {
        Some(at) => {
            let number = |at: usize| arguments[at].parse().expect("a number");
            work(number(at + 1), number(at + 2));
        }
        None if arguments.iter().any(|argument| argument == "--bench") => return measure(),
        None => eprintln!("measure with: cargo bench --bench instructions"), // a test run measures nothing
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    for commands in COMMANDS {
        let (Some(few), Some(many)) = (counted(FEW, commands), counted(MANY, commands)) else {
            return ExitCode::FAILURE;
        };
        let each = (many - few) / ((MANY - FEW) * commands) as u64;
        println!("{commands:>3} keyed withdrawals in a commit: {each:>7} instructions each");
    }
    ExitCode::SUCCESS
}

/// The instructions of a run.
fn counted(commits: usize, commands: usize) -> Option<u64> {
    let own = std::env::current_exe().expect("a program has a path");
    let mut valgrind = Process::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    valgrind.args(["--work", &commits.to_string(), &commands.to_string()]);
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

/// Makes a file, then that many commits of withdrawals, each by another user under a key of its own.
fn work(commits: usize, commands: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { clock: Clock::manual(), min_free: Some(0), ..Options::default() };
    let store = Store::open(&folder.path().join("cashbox.db"), &options).expect("a new file");
    let note = Note::default;
    let amount = Money::parse("99").expect("an amount");
    let recharge = |number| Recharge { user: user(number), amount, note: note() }.into();
    submit(&store, (0..USERS).map(|number| (Envelope::local(), recharge(number))).collect());
    let mut number = 0_u64;
    for _ in 0..commits {
        let withdrawals = (0..commands).map(|_| {
            number += 1;
            let key = format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let key = Some(IdempotencyKey::parse(&key).expect("a key"));
            let user = user((number as usize * 7_919) % USERS);
            (Envelope { key, ..Envelope::local() }, Withdraw { user, amount: Money::MIN, note: note() }.into())
        });
        submit(&store, withdrawals.collect());
    }
}

fn submit(store: &Store, commands: Vec<(Envelope, Command)>) {
    assert!(store.submit_all(commands).iter().all(|outcome| outcome.result.is_ok()));
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number:04}")).expect("a user")
}
