//! The guard of `cashbox lock run`, with the test in the place of the wrapper: messages to it, and its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::server::until;
use crate::shell::{Place, Running, lives};
use cashbox::internals::clock::Clock;
use rustix::process::Signal;

/// A guard and its wrapper's end of the socket.
struct Guard {
    process: Running,
    stream: UnixStream,
    messages: BufReader<UnixStream>,
}

fn now() -> i64 {
    Clock::Machine.boot_ms()
}

/// Starts a guard on `PLACE/line`, which waits for its first message to start `sh -c SCRIPT` in the place.
fn guard(place: &Place, script: &str) -> Guard {
    fs::create_dir(place.path("line")).unwrap();
    let listener = UnixListener::bind(place.path("line/control")).unwrap();
    let process = place.start(&["lock", "guard", "line", "--", "sh", "-c", script]);
    let stream = listener.accept().unwrap().0;
    Guard { process, messages: BufReader::new(stream.try_clone().unwrap()), stream }
}

/// The message that the lease was acquired or renewed, with its deadlines in boot time.
fn lease(term_ms: i64, kill_ms: i64) -> String {
    format!(r#"{{"lease":{{"term_ms":{term_ms},"kill_ms":{kill_ms}}}}}"#)
}

impl Guard {
    fn send(&mut self, message: &str) {
        self.stream.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn receive(&mut self) -> String {
        let mut message = String::new();
        self.messages.read_line(&mut message).unwrap();
        message.trim_end().to_owned()
    }

    fn start(&mut self, message: &str) {
        self.send(message);
        let message = self.receive();
        assert!(message.starts_with(r#"{"started":"#), "{message}");
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
    guard.start(&lease(now() + 60_000, now() + 63_000));
    let deaf = place.line_of("deaf");
    place.line_of("in");
    let kill = now() + 1_500;
    guard.send(&lease(now(), kill));
    assert_eq!(guard.receive(), r#""expired""#);
    place.line_of("termed");
    until(|| now() > kill - 300);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(guard.receive(), r#"{"exited":4}"#);
    assert!(!lives(&deaf) && now() < kill + 1_000, "not three seconds after the command, {} ms late", now() - kill);
}

#[test]
fn guard_obeys_messages_while_group_ends() {
    let place = Place::new();
    let mut guard = guard(&place, &format!("{DEAF} exit 5"));
    guard.start(&lease(now() + 60_000, now() + 90_000));
    let deaf = place.line_of("deaf");
    until(|| guard.process.children() == [deaf.clone()]); // its parent has ended
    guard.send(&format!(r#"{{"end":{}}}"#, now()));
    assert_eq!(guard.receive(), r#"{"exited":5}"#);
    assert!(!lives(&deaf));
}

#[test]
fn guard_does_not_start_command_after_lease() {
    let place = Place::new();
    let mut guard = guard(&place, "echo > ran");
    guard.send(&lease(now(), now() + 1_000));
    assert_eq!((guard.receive(), guard.receive()), (r#""too_late""#.to_owned(), String::new()));
    assert_eq!(guard.process.finish().exit, 0);
    assert!(!place.path("ran").exists());
}

#[test]
fn stopped_guard_reads_renewals_before_clock() {
    let place = Place::new();
    let mut guard = guard(&place, "trap 'exit 9' TERM; echo > in; until [ -e go ]; do sleep 0.01; done; exit 3");
    let end = now() + 400;
    guard.start(&lease(end, end + 1_000));
    place.line_of("in");
    guard.process.signal(Signal::STOP);
    guard.send(&lease(end + 60_000, end + 61_000));
    until(|| now() > end);
    guard.process.signal(Signal::CONT);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(guard.receive(), r#"{"exited":3}"#);
}

#[test]
fn guard_reaps_orphans_of_group() {
    let place = Place::new();
    let script = "sh -c '(echo > in; sleep 1000) & echo $! > orphan'; until [ -e go ]; do sleep 0.01; done";
    let mut guard = guard(&place, script);
    guard.start(&lease(now() + 60_000, now() + 90_000));
    let orphan = place.line_of("orphan");
    place.line_of("in");
    until(|| guard.process.children().contains(&orphan));
    assert!(std::process::Command::new("kill").args(["-KILL", &orphan]).status().unwrap().success());
    until(|| !std::path::Path::new(&format!("/proc/{orphan}")).exists());
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(guard.receive(), r#"{"exited":0}"#);
}

#[test]
fn guard_without_wrapper_removes_folder() {
    let place = Place::new();
    let mut guard = guard(&place, "echo > in; sleep 1000");
    fs::write(place.path("line/token"), "lk1").unwrap();
    guard.start(&lease(now() + 60_000, now() + 61_000));
    place.line_of("in");
    let Guard { process, stream, messages } = guard;
    drop((stream, messages));
    assert_eq!(process.finish().exit, 0);
    assert!(!place.path("line").exists());
}
