//! Single faults of the storage, counted: before a request one call is made to fail once (`fiu-run`), and each yes and
//! each no is compared with what the file holds afterwards. And syncs that are slow, under a server that is killed.

use crate::crash::agent;
use crate::dice::Dice;
use crate::failing_disk::{Patient, assert_each_key_once, folder, recharge, verify};
use crate::possession::assert_none_missing;
use crate::server::ADMIN;
use crate::shell::{Place, Running};
use rustix::fs::OFlags;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Faults, unless `CASHBOX_FAULTS` gives their number.
const FAULTS: usize = 300;
/// Requests to one process, if it goes on so long.
const REQUESTS: usize = 400;
/// One fault in that many ends the process, as it has to.
const ENDS_ONE_IN: usize = 40;

/// Failure points of fiu and the error number that each gives, after which the process goes on.
const GOES_ON: [(&str, i32); 10] = [
    ("rw/pwrite", 28),       // ENOSPC
    ("rw/pwrite", 27),       // EFBIG
    ("rw/pwrite", 122),      // EDQUOT
    ("rw/pwrite", 4),        // EINTR
    ("rw/pwrite/reduce", 0), // less than was asked for
    ("rw/pread", 5),         // EIO
    ("rw/pread", 4),         // EINTR
    ("rw/pread/reduce", 0),  //
    ("rw/ftruncate", 5),     // EIO
    ("sync/fsync", 28),      // ENOSPC
];
/// The same, after which it is unknown what is on disk.
const ENDS: [(&str, i32); 4] =
    [("rw/pwrite", 5), ("sync/fdatasync", 5), ("sync/fdatasync", 28), ("sync/fdatasync", 122)];

/// Calls that each commit makes at least once, so that a fault of them is met. Those of others are not counted.
const EACH_COMMIT_CALLS: [&str; 3] = ["rw/pwrite", "rw/pread", "sync/fdatasync"];

/// Sends fiu a command through its named pipes. None if the process has ended; false if fiu refuses.
fn control(patient: &mut Patient, command: &str) -> Option<bool> {
    let pipe = |ending: &str| format!("{}-{}.{ending}", patient.control, patient.pid);
    let (input, output) = (pipe("in"), pipe("out"));
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let runs = |patient: &mut Patient| patient.runner.try_wait().unwrap().is_none();
    // Neither end waits in `open` for a process that has ended.
    let mut opened = None;
    while opened.is_none() && runs(patient) {
        opened = OpenOptions::new().write(true).custom_flags(nonblocking).open(&input).ok();
    }
    let mut replies = OpenOptions::new().read(true).custom_flags(nonblocking).open(&output).ok()?;
    writeln!(opened?, "{command}").ok()?; // and closes it, which ends the command
    let mut reply = String::new();
    while !reply.ends_with('\n') && runs(patient) {
        let _ = replies.read_to_string(&mut reply); // nothing is there yet
        std::thread::sleep(Duration::from_micros(50));
    }
    reply.ends_with('\n').then(|| reply.trim() == "0")
}

#[test]
#[ignore = "needs fiu-run: .ci/slow"]
fn counted_faults_lose_no_answer_and_no_refusal_is_done() {
    let faults = std::env::var("CASHBOX_FAULTS").map_or(FAULTS, |text| text.parse().unwrap());
    let (folder, agent) = (folder(), agent());
    let mut dice = Dice::seeded_by("CASHBOX_SEED", faults as u64);
    let (mut counted, mut asked, mut ended, mut lives) = (BTreeMap::<String, usize>::new(), 0, 0, 0);
    let mut names = BTreeMap::<String, usize>::new();
    while counted.values().sum::<usize>() < faults {
        lives += 1;
        let mut patient = Patient::start(folder.path());
        let mut answers = Vec::new();
        let mut is_ending = false;
        for n in 0..REQUESTS {
            let kinds: &[(&str, i32)] = if dice.below(ENDS_ONE_IN) == 0 { &ENDS } else { &GOES_ON };
            let (point, error) = kinds[dice.below(kinds.len())];
            let enabled = control(&mut patient, &format!("enable name=posix/io/{point},failinfo={error},onetime"));
            if dice.below(2) == 0 {
                let reading = agent.get(format!("{}/v1/entries?limit=50", patient.url));
                if let Ok(read) = reading.header("Authorization", format!("Bearer {ADMIN}")).call() {
                    assert!(matches!(read.status().as_u16(), 200 | 500 | 503), "{point} {error}");
                }
            }
            let answer = patient.recharge(&agent, asked + n);
            control(&mut patient, &format!("disable name=posix/io/{point}"));
            let is_called = EACH_COMMIT_CALLS.iter().any(|call| point.starts_with(call));
            if enabled == Some(true) && is_called && !is_ending {
                *counted.entry(format!("{point} {error}")).or_default() += 1;
            }
            let Some(answer) = answer else { break };
            let name = answer.body["error"].as_str().unwrap_or("yes").to_owned();
            let expected = ["yes", "storage_full", "internal", "outcome_unknown"];
            assert!(expected.contains(&name.as_str()), "{point} {error}: {}", answer.body);
            is_ending |= name == "outcome_unknown"; // nothing is written any more
            *names.entry(name).or_default() += 1;
            answers.push(answer);
        }
        ended += usize::from(patient.runner.try_wait().unwrap().is_some());
        patient.end();
        let patient = Patient::start(folder.path());
        asked = assert_each_key_once(&patient, &agent, asked, &answers);
        patient.end();
        if lives % 10 == 0 {
            verify(folder.path());
        }
    }
    verify(folder.path());
    let all: usize = counted.values().sum();
    eprintln!("{all} faults in {lives} processes, of which {ended} ended: {counted:?}; {asked} requests: {names:?}");
}

/// Answers before the server with slow syncs is killed.
const ANSWERED: usize = 50;

#[test]
#[ignore = "needs strace: .ci/slow"]
fn slow_syncs_of_killed_server_lose_no_answer() {
    for round in 0..crate::crash::rounds(2) {
        let place = Place::new();
        std::fs::write(place.path("admin"), ADMIN).unwrap();
        let delay = [5_000, 50_000, 300_000][round % 3]; // microseconds
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-o", "calls", "-e", "trace=fdatasync,fsync", "-e"]);
        command.arg(format!("inject=fdatasync,fsync:delay_enter={delay}")).arg(env!("CARGO_BIN_EXE_cashbox"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--token-file", "admin"]).current_dir(place.0.path());
        let running = Running::of(command);
        crate::server::until(|| {
            std::fs::read_to_string(place.path("cashbox.db-serve")).is_ok_and(|text| text.contains("http"))
        });
        let text = std::fs::read_to_string(place.path("cashbox.db-serve")).unwrap();
        let mut lines = text.lines();
        let (pid, url) = (lines.next().unwrap().parse().unwrap(), lines.next().unwrap().to_owned());
        let answered = AtomicUsize::new(0);
        let client = |number: usize| {
            let (agent, mut yes) = (agent(), Vec::new());
            for n in 0.. {
                let key = format!("{number}-{n}");
                match recharge(&agent, &url, &format!("u{number}"), &key) {
                    Some(answer) if answer.status == 200 => {
                        answered.fetch_add(1, Relaxed);
                        yes.push(key);
                    }
                    _ => return yes,
                }
            }
            yes
        };
        let yes: Vec<String> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|number| {
                    let client = &client;
                    scope.spawn(move || client(number))
                })
                .collect();
            crate::server::until(|| answered.load(Relaxed) >= ANSWERED);
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        running.finish();
        assert_none_missing(&place.db(), &yes);
        verify(place.0.path());
        let syncs = std::fs::read_to_string(place.path("calls")).unwrap().matches("DELAYED").count();
        eprintln!("{syncs} syncs that took {delay} microseconds: {} answers, all there", yes.len());
    }
}
