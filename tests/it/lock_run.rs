//! `cashbox lock run`, as a shell would use it: the real program, its guard, real signals.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::server::until;
use crate::shell::{IN_UNTIL_GO, Place, UNTIL_GO, lives};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

fn exit_of(place: &Place, line: &str, script: &str) -> i32 {
    place.lock_run(line, script).finish().exit
}

fn state(place: &Place, id: &str) -> Value {
    place.json(&format!("lock show {id}"))["state"].clone()
}

#[test]
fn command_gets_lock_and_no_other_secret() {
    let place = Place::new();
    let script = "echo $CASHBOX_LOCK_ID $CASHBOX_LOCK_FENCE ${CASHBOX_TOKEN-none} ${CASHBOX_LOCK_TOKEN-none}; \
                  stat -c '%a' $CASHBOX_LOCK_TOKEN_FILE $(dirname $CASHBOX_LOCK_TOKEN_FILE); \
                  echo $CASHBOX_LOCK_TOKEN_FILE; cat $CASHBOX_LOCK_TOKEN_FILE; ps -o args= -p $PPID";
    let mut command = place.command("lock run nightly/report --");
    let output = command.args(["sh", "-c", script]).env("CASHBOX_TOKEN", "cbx_secretsecretsecret").output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..3], ["nightly/report 1 none none", "600", "700"], "{output}");
    assert!(lines[4].starts_with("lk1."), "{output}");
    assert!(!lines[5].contains("lk1."), "the guard's arguments can be read by every user: {output}");
    assert!(!std::path::Path::new(lines[3]).exists(), "the folder is gone with the command");
    assert_eq!(state(&place, "nightly/report"), "free");
}

#[test]
fn exit_code_is_commands_own_or_the_reason() {
    let place = Place::new();
    fs::write(place.path("no-program"), "").unwrap();
    fs::set_permissions(place.path("no-program"), fs::Permissions::from_mode(0o600)).unwrap();
    let exits = [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)];
    for (script, exit) in exits {
        assert_eq!(exit_of(&place, "a", script), exit, "{script}");
    }
    assert_eq!(place.run("lock run a -- ./no-such-program").exit, 127);
    assert_eq!(place.run("lock run a -- ./no-program").exit, 126);
    let token = place.run("lock acquire a").out;
    assert_eq!(place.run("lock run a -- true").exit, 124);
    assert_eq!(place.run("lock run a --wait 20ms -- true").exit, 124);
    assert_eq!(place.run(&format!("lock release a --lock-token {token}")).exit, 0);
    assert_eq!(place.run("lock run a --url http://127.0.0.1:1 -- true").exit, 125);
    for wrong in ["--ttl 0s", "--ttl 1.5s", "--grace -1s", "--wait long", "--ttl 25h", "--kill-after 5x"] {
        assert_eq!(place.run(&format!("lock run a {wrong} -- true")).exit, 125, "{wrong}");
    }
    for taken in ["--ttl 10", "--ttl 1d", "--grace 1m30s", "--wait 0", "--max-hold 1h30m", "--kill-after 500ms"] {
        assert_eq!(place.run(&format!("lock run a {taken} -- true")).exit, 0, "{taken}");
    }
    let without_dashes = place.run("lock run a true");
    assert_eq!(without_dashes.exit, 125);
    assert!(without_dashes.err.contains("the command comes behind `--`"), "{}", without_dashes.err);
    assert_eq!(state(&place, "a"), "free");
}

#[test]
fn input_and_output_belong_to_command() {
    let place = Place::new();
    let output = place.run_with_input("lock run a --quiet -- cat", "one\ntwo\n");
    assert_eq!((output.exit, output.out.as_str(), output.err.as_str()), (0, "one\ntwo\n", ""));
}

/// Many at once, each of which would notice another.
fn exclude_each_other(place: &Place, more: &str) {
    let alone = "mkdir busy || exit 99; sleep 0.01; rmdir busy; echo done >> log";
    let all: Vec<_> = (0..8).map(|_| place.lock_run(&format!("a --wait forever {more}"), alone)).collect();
    for one in all {
        let output = one.finish();
        assert_eq!(output.exit, 0, "{}{}", output.out, output.err);
    }
    assert_eq!(fs::read_to_string(place.path("log")).unwrap().lines().count(), 8);
    fs::remove_file(place.path("log")).unwrap();
}

#[test]
fn two_runs_never_overlap() {
    let place = Place::new();
    exclude_each_other(&place, "");
    fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    exclude_each_other(&place, "");
    exclude_each_other(&place, &format!("--url {} --token-file token", server.url));
}

#[test]
fn waiting_run_starts_when_first_ends() {
    let place = Place::new();
    let first = place.lock_run("report --ttl 10s", &format!("echo in > first; {UNTIL_GO}"));
    place.line_of("first");
    let mut second = place.lock_run("report --ttl 10s --wait forever", "echo in > second");
    assert_eq!(exit_of(&place, "report --wait 50ms", "echo in > third"), 124);
    assert!(second.runs() && !place.path("second").exists());
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(first.finish().exit, 0);
    place.line_of("second");
    assert_eq!(second.finish().exit, 0);
    assert!(!place.path("third").exists());
}

#[test]
fn signals_reach_command_and_lock_is_freed() {
    let place = Place::new();
    let script = "trap 'echo ended; exit 5' TERM; echo in > in; while :; do sleep 0.01; done";
    let running = place.lock_run("a", script);
    place.line_of("in");
    running.signal(Signal::TERM);
    let output = running.finish();
    assert_eq!((output.exit, output.out.as_str()), (5, "ended\n"));
    assert_eq!(state(&place, "a"), "free");
    let server = place.serve("");
    let token = place.run("lock acquire a").out;
    let waiting = place.lock_run("a --wait forever", "true");
    until(|| place.json("lock show a")["queue"] == 1);
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.finish().exit, 143, "who only waits has nothing to pass it on to");
    assert_eq!(place.run(&format!("lock release a --lock-token {token}")).exit, 0);
    assert_eq!(state(&place, "a"), "free", "and a grant that reached no client is released");
    server.stop();
}

/// A shell at a terminal of its own.
struct Terminal {
    shell: Child,
    keys: File,
}

impl Terminal {
    fn new(place: &Place) -> Terminal {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let end = || File::options().read(true).write(true).open(&name).unwrap();
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "sh", "-i"]).current_dir(place.0.path()).env("PS1", "").env("CASHBOX_DB", "cashbox.db");
        let shell = setsid.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(keys);
        let mut screen = keys.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut screen, &mut std::io::sink())); // the screen is read
        Terminal { shell, keys }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Presses Ctrl-Z, which stops that process, and waits for the shell's prompt.
    fn stops(&mut self, place: &Place, pid: &str) {
        self.types("\x1a");
        until(|| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T "));
        self.types("echo back > prompt\n");
        place.line_of("prompt");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill(); // it may have ended
        let _ = self.shell.wait();
    }
}

/// True if that process has its terminal for itself.
fn is_in_front(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().split(' ').nth(7) == Some(pid)
}

#[test]
fn command_at_terminal_can_be_stopped_and_resumed() {
    let place = Place::new();
    let mut terminal = Terminal::new(&place);
    let script = "read ready; echo $$ > in; read word; echo $word > read; exit 4";
    terminal.types(&format!("{} lock run a -- sh -c '{script}'\nready\n", env!("CARGO_BIN_EXE_cashbox")));
    let child = place.line_of("in");
    terminal.stops(&place, &child);
    terminal.types("fg\n");
    until(|| is_in_front(&child));
    terminal.types("hello\n");
    assert_eq!(place.line_of("read"), "hello");
    terminal.types("echo $? > over\n");
    assert_eq!(place.line_of("over"), "4");
    assert_eq!(state(&place, "a"), "free");
}

#[test]
fn stopped_command_with_revoked_lease_does_not_resume() {
    let place = Place::new();
    let mut terminal = Terminal::new(&place);
    let script = "read ready; echo $$ > in; read word; echo > ran";
    terminal.types(&format!("{} lock run a -- sh -c '{script}'\nready\n", env!("CARGO_BIN_EXE_cashbox")));
    let child = place.line_of("in");
    terminal.stops(&place, &child);
    let fence = &place.json("lock show a")["fence"]; // the file is in nobody's hand
    place.json(&format!("lock revoke a --fence {fence} --delay 0s"));
    terminal.types("fg\necho $? > over\n");
    assert_eq!(place.line_of("over"), "123");
    assert!(!place.path("ran").exists());
}

#[test]
fn leftovers_of_group_end_with_command() {
    let place = Place::new();
    assert_eq!(exit_of(&place, "a", "sleep 1000 & echo $! > left"), 0);
    assert!(!lives(&place.line_of("left")));
}

#[test]
fn killed_wrapper_takes_command_along() {
    let place = Place::new();
    let running = place.lock_run("a --ttl 1h", "echo $$ > one; sleep 1000 & echo $! > two; wait");
    let (child, grandchild) = (place.line_of("one"), place.line_of("two"));
    running.signal(Signal::KILL);
    until(|| !lives(&child) && !lives(&grandchild));
    assert_eq!(state(&place, "a"), "held", "it was not released");
}

#[test]
fn next_run_after_killed_wrapper_waits_for_lease() {
    let place = Place::new();
    let server = place.serve("");
    let first = place.lock_run("a --ttl 900ms --grace 600ms", "echo $$ > one; sleep 1000 & echo $! > two; wait");
    let (child, grandchild) = (place.line_of("one"), place.line_of("two"));
    let mut second = place.lock_run("a --wait forever", "true");
    until(|| place.json("lock show a")["queue"] == 1);
    let killed = Instant::now();
    first.signal(Signal::KILL);
    until(|| !lives(&child) && !lives(&grandchild));
    assert!(second.runs(), "the lease is not over yet");
    assert_eq!(second.finish().exit, 0);
    // The last renewal was at most a third of the ttl before.
    assert!(killed.elapsed() > Duration::from_millis(600 + 600 - 100), "{:?}", killed.elapsed());
    let events = place.json("lock events a");
    assert_eq!((&events["data"][1]["what"], &events["data"][2]["what"]), (&json!("taken_over"), &json!("created")));
    drop(server);
}

#[test]
fn stopped_wrapper_loses_command_in_time() {
    let place = Place::new();
    let stopped =
        place.lock_run("a --ttl 900ms --grace 300ms", "trap '' TERM; echo $$ > one; while :; do sleep 1; done");
    let child = place.line_of("one");
    stopped.signal(Signal::STOP);
    let next = place.run("lock run a --wait forever -- sh -c true");
    assert_eq!(next.exit, 0, "{}", next.err);
    assert!(!lives(&child), "it deafened itself to TERM, and KILL came before the next could start");
    stopped.signal(Signal::CONT);
    let output = stopped.finish();
    assert_eq!(output.exit, 123, "{}", output.err);
}

#[test]
fn lease_without_grace_ends_command_first() {
    let place = Place::new();
    let stopped = place.lock_run("a --ttl 1500ms --grace 0s", "trap '' TERM; echo $$ > one; while :; do sleep 1; done");
    let child = place.line_of("one");
    stopped.signal(Signal::STOP);
    let next = place.lock_run("a --wait forever", &format!("kill -0 {child} && echo alive; true")).finish();
    assert_eq!((next.exit, next.out.as_str()), (0, ""), "{}", next.err);
    stopped.signal(Signal::CONT);
    assert_eq!(stopped.finish().exit, 123);
}

#[test]
fn revoked_lease_ends_command_before_next_starts() {
    let place = Place::new();
    for serving in [true, false] {
        let server = serving.then(|| place.serve(""));
        let first = place.lock_run("a --ttl 1h", "echo $$ > one; sleep 1000");
        let child = place.line_of("one");
        let asked = place.run("lock revoke a");
        assert_eq!(asked.exit, 2);
        let fence = place.json("lock show a")["fence"].as_i64().unwrap();
        assert!(asked.err.contains(&format!("--fence {fence}")), "{}", asked.err);
        assert_eq!(place.run(&format!("lock revoke a --fence {} --delay 0s", fence + 1)).exit, 1);
        let revoked = place.run(&format!("lock revoke a --fence {fence} --delay 2s --reason maintenance"));
        assert_eq!(revoked.exit, 0, "{}", revoked.err);
        let next = place.lock_run("a --wait forever", &format!("kill -0 {child} && echo alive; true"));
        let output = first.finish();
        assert_eq!(output.exit, 123, "{}", output.err);
        assert!(output.err.contains("revoked"), "{}", output.err);
        let output = next.finish();
        assert_eq!((output.exit, output.out.as_str()), (0, ""), "{}", output.err);
        assert_eq!(place.json("lock events a")["data"][2]["reason"], "maintenance");
        fs::remove_file(place.path("one")).unwrap();
        drop(server.map(|server| server.stop()));
    }
}

#[test]
fn run_ends_at_max_hold() {
    let place = Place::new();
    let output = place.lock_run("a --ttl 900ms --max-hold 1200ms --grace 300ms", "sleep 1000").finish();
    assert_eq!(output.exit, 123, "{}", output.err);
}

#[test]
fn lease_outlives_restarts_of_server() {
    let place = Place::new();
    let running = place.lock_run("a --ttl 1500ms --grace 2s", IN_UNTIL_GO);
    place.line_of("in");
    let renewed = |least: i64| until(|| place.json("lock show a")["renewals"].as_i64() >= Some(least));
    renewed(3);
    let server = place.serve("");
    renewed(4);
    server.stop();
    renewed(5);
    let server = place.serve("");
    renewed(6);
    assert!(running.threads() < 20, "what it opens to renew, it closes");
    fs::write(place.path("go"), "").unwrap();
    let output = running.finish();
    assert_eq!(output.exit, 0, "{}", output.err);
    assert_eq!(state(&place, "a"), "free");
    server.stop();
}
