//! The guard of `cashbox lock run`, with the test in the place of the wrapper: what it is told, what it does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::server::until;
use crate::shell::{Place, Running, lives};
use cashbox::internals::clock::Clock;
use rustix::process::Signal;

/// A guard and its wrapper's end of the line.
struct Guard {
    process: Running,
    line: UnixStream,
    news: BufReader<UnixStream>,
}

fn now() -> i64 {
    Clock::Machine.boot_ms()
}

/// Has a guard in `PLACE/line`, which waits for its first order to start `sh -c SCRIPT` in the place.
fn guard(place: &Place, script: &str) -> Guard {
    fs::create_dir(place.path("line")).unwrap();
    let listener = UnixListener::bind(place.path("line/control")).unwrap();
    let process = place.begin(&["lock", "guard", "line", "--", "sh", "-c", script]);
    let line = listener.accept().unwrap().0;
    Guard { process, news: BufReader::new(line.try_clone().unwrap()), line }
}

impl Guard {
    fn order(&mut self, order: &str) {
        self.line.write_all(format!("{order}\n").as_bytes()).unwrap();
    }

    fn hears(&mut self) -> String {
        let mut news = String::new();
        self.news.read_line(&mut news).unwrap();
        news.trim_end().to_owned()
    }

    fn starts(&mut self, order: &str) {
        self.order(order);
        let news = self.hears();
        assert!(news.starts_with("started "), "{news}");
    }
}

/// One in the background that TERM does not end.
const DEAF: &str = "(trap '' TERM; sh -c 'echo $$ > deaf; exec sleep 1000') & until [ -s deaf ]; do sleep 0.01; done;";

#[test]
fn guard_kills_leftovers_before_grace_ends() {
    let place = Place::new();
    let script = format!(
        "{DEAF} trap 'echo > termed; until [ -e go ]; do sleep 0.01; done; exit 4' TERM; \
                          echo > in; while :; do sleep 0.01; done"
    );
    let mut guard = guard(&place, &script);
    guard.starts(&format!("until {} {}", now() + 60_000, now() + 63_000));
    let deaf = place.line_of("deaf");
    place.line_of("in");
    let kill = now() + 1_500;
    guard.order(&format!("until {} {kill}", now()));
    assert_eq!(guard.hears(), "late");
    place.line_of("termed");
    until(|| now() > kill - 300);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(guard.hears(), "exited 4");
    assert!(!lives(&deaf) && now() < kill + 1_000, "not three seconds after the command, {} ms late", now() - kill);
}

#[test]
fn guard_obeys_messages_while_group_ends() {
    let place = Place::new();
    let mut guard = guard(&place, &format!("{DEAF} exit 5"));
    guard.starts(&format!("until {} {}", now() + 60_000, now() + 90_000));
    let deaf = place.line_of("deaf");
    until(|| guard.process.children() == [deaf.clone()]); // its parent has ended
    guard.order(&format!("end {}", now()));
    assert_eq!(guard.hears(), "exited 5");
    assert!(!lives(&deaf));
}

#[test]
fn guard_does_not_start_command_after_lease() {
    let place = Place::new();
    let mut guard = guard(&place, "echo > ran");
    guard.order(&format!("until {} {}", now(), now() + 1_000));
    assert_eq!((guard.hears(), guard.hears()), ("too-late".to_owned(), String::new()));
    assert_eq!(guard.process.said().exit, 0);
    assert!(!place.path("ran").exists());
}

#[test]
fn stopped_guard_reads_renewals_before_clock() {
    let place = Place::new();
    let mut guard = guard(&place, "trap 'exit 9' TERM; echo > in; until [ -e go ]; do sleep 0.01; done; exit 3");
    let end = now() + 400;
    guard.starts(&format!("until {end} {}", end + 1_000));
    place.line_of("in");
    guard.process.signal(Signal::STOP);
    guard.order(&format!("until {} {}", end + 60_000, end + 61_000));
    until(|| now() > end);
    guard.process.signal(Signal::CONT);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(guard.hears(), "exited 3");
}

#[test]
fn guard_reaps_orphans_of_group() {
    let place = Place::new();
    let script = "sh -c '(echo > in; sleep 1000) & echo $! > orphan'; until [ -e go ]; do sleep 0.01; done";
    let mut guard = guard(&place, script);
    guard.starts(&format!("until {} {}", now() + 60_000, now() + 90_000));
    let orphan = place.line_of("orphan");
    place.line_of("in");
    until(|| guard.process.children().contains(&orphan));
    assert!(std::process::Command::new("kill").args(["-KILL", &orphan]).status().unwrap().success());
    until(|| !std::path::Path::new(&format!("/proc/{orphan}")).exists());
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(guard.hears(), "exited 0");
}

#[test]
fn guard_without_wrapper_removes_folder() {
    let place = Place::new();
    let mut guard = guard(&place, "echo > in; sleep 1000");
    fs::write(place.path("line/token"), "lk1").unwrap();
    guard.starts(&format!("until {} {}", now() + 60_000, now() + 61_000));
    place.line_of("in");
    let Guard { process, line, news } = guard;
    drop((line, news));
    assert_eq!(process.said().exit, 0);
    assert!(!place.path("line").exists());
}
