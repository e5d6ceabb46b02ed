//! `cashbox lock run` with a failing network (between client and server stands a `Proxy`), server, guard or parent.

use crate::server::until;
use crate::shell::{IN_UNTIL_GO, Place, Running, Serving, lives};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant};

/// Ignores TERM, and writes its process number to the file `deaf`.
const DEAF: &str = "trap '' TERM; echo $$ > deaf; while :; do sleep 0.1; done";

/// A server, and a bad network in front of it.
fn behind(place: &Place, fate: impl FnMut(&str) -> Fate + Send + 'static) -> (Serving, String) {
    fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    let proxy = Proxy::to(&server.url, fate);
    (server, format!("--url {} --token-file token", proxy.url))
}

/// The first requests of a kind, each with its fate; all others are answered.
fn first(kind: &'static str, fates: &'static [Fate]) -> impl FnMut(&str) -> Fate + Send {
    let mut fates = fates.iter();
    move |line| if line.starts_with(kind) { *fates.next().unwrap_or(&Fate::Answered) } else { Fate::Answered }
}

fn state(place: &Place, id: &str) -> Value {
    place.json(&format!("lock show {id}"))["state"].clone()
}

/// Output of the next holder: `alive` if that process still runs.
fn next_finds(place: &Place, child: &str) -> String {
    let output =
        place.lock_run("a --wait forever", &format!("kill -0 {child} 2> /dev/null && echo alive; true")).finish();
    assert_eq!(output.exit, 0, "{}", output.err);
    output.out
}

#[test]
fn unanswered_renewal_keeps_lease() {
    let place = Place::new();
    let (server, through) = behind(&place, first("PATCH", &[Fate::Unanswered, Fate::Answered, Fate::Swallowed]));
    let running = place.lock_run(&format!("a --ttl 2s --grace 1s {through}"), IN_UNTIL_GO);
    place.line_of("in");
    until(|| place.json("lock show a")["renewals"].as_i64() >= Some(3));
    fs::write(place.path("go"), "").unwrap();
    let output = running.finish();
    assert_eq!(output.exit, 0, "{}", output.err);
    server.stop();
}

#[test]
fn late_grant_is_not_taken_for_new_one() {
    let place = Place::new();
    let begun = Instant::now();
    let mut granted = false;
    let (server, through) = behind(&place, move |line| match line.split(' ').next() {
        Some("POST") if !std::mem::replace(&mut granted, true) => Fate::BrokenOff,
        Some("POST") if begun.elapsed() < Duration::from_millis(1_200) => Fate::Broken,
        Some("POST") => Fate::Answered,
        _ => Fate::Swallowed,
    });
    let first = place.lock_run(&format!("a --ttl 1500ms --grace 500ms --wait 20s {through}"), DEAF);
    until(|| place.db().exists() && state(&place, "a") == "held");
    let next =
        place.lock_run("a --ttl 10s --wait forever", "[ -e deaf ] && kill -0 $(cat deaf) && echo alive; true").finish();
    assert_eq!((next.exit, next.out.as_str()), (0, ""), "{}", next.err);
    assert_eq!(first.finish().exit, 125);
    assert!(!place.path("deaf").exists(), "the end of the lease was unknown");
    server.stop();
}

#[test]
fn dead_watch_connection_hides_no_revoke() {
    let place = Place::new();
    let (server, through) = behind(&place, first("GET", &[Fate::Swallowed]));
    let first = place.lock_run(&format!("a --ttl 1h --kill-after 1s {through}"), DEAF);
    let child = place.line_of("deaf");
    let fence = &place.json("lock show a")["fence"];
    place.json(&format!("lock revoke a --fence {fence}"));
    until(|| !lives(&child));
    assert_eq!(state(&place, "a"), "revoked", "no other holder has it yet");
    let output = first.finish();
    assert_eq!(output.exit, 123, "{}", output.err);
    server.stop();
}

#[test]
fn stopped_guard_keeps_no_revoked_command_alive() {
    let place = Place::new();
    let server = place.serve("");
    let first = place.lock_run("a --ttl 1h", DEAF);
    let child = place.line_of("deaf");
    let guard = first.children().pop().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(guard).unwrap(), Signal::STOP).unwrap();
    let fence = &place.json("lock show a")["fence"];
    place.json(&format!("lock revoke a --fence {fence} --delay 1500ms"));
    assert_eq!(next_finds(&place, &child), "");
    let output = first.finish();
    assert_eq!(output.exit, 123, "{}", output.err);
    server.stop();
}

#[test]
fn lost_lease_is_reported_with_reason() {
    let place = Place::new();
    let server = place.serve("");
    let first = place.lock_run("a --ttl 1h", IN_UNTIL_GO);
    place.line_of("in");
    let fence = &place.json("lock show a")["fence"];
    place.json(&format!("lock revoke a --fence {fence} --delay 0s"));
    let output = first.finish();
    assert_eq!((output.exit, output.err.trim_end()), (123, "the lock a was lost: revoked"));
    server.stop();
}

#[test]
fn waited_lease_is_renewed_then_used() {
    let place = Place::new();
    let (server, through) = behind(&place, first("PATCH", &[Fate::Broken; 4]));
    let holder = place.run("lock acquire a").out;
    let waiting = place.lock_run(&format!("a --ttl 600ms --grace 1s --wait 1m {through}"), "exit 7");
    let begun = Instant::now();
    until(|| place.json("lock show a")["queue"] == 1 && begun.elapsed() > Duration::from_millis(700));
    assert_eq!(place.run(&format!("lock release a --lock-token {holder}")).exit, 0);
    let output = waiting.finish();
    assert_eq!((output.exit, output.err.as_str()), (7, ""));
    assert_eq!(state(&place, "a"), "free");
    server.stop();
}

#[test]
fn run_stopped_while_asking_leaves_lock_free() {
    let place = Place::new();
    let (server, through) = behind(&place, first("POST", &[Fate::Unanswered]));
    let asking = place.lock_run(&format!("a --ttl 1h {through}"), "echo ran");
    until(|| state(&place, "a") == "held");
    asking.signal(Signal::TERM);
    let output = asking.finish();
    assert_eq!((output.exit, output.out.as_str()), (143, ""), "{}", output.err);
    assert_eq!(state(&place, "a"), "free");
    server.stop();
}

#[test]
fn hanging_server_does_not_keep_run() {
    let place = Place::new();
    let server = place.serve("");
    let mut running = place.lock_run("a --ttl 1h", IN_UNTIL_GO);
    place.line_of("in");
    let hangs = Pid::from_child(&server.child);
    kill_process(hangs, Signal::STOP).unwrap();
    let in_time = place.lock_run("b --wait 200ms", "true");
    let for_ever = place.lock_run("c --wait forever", "true");
    running.signal(Signal::TERM);
    until(|| for_ever.threads() > 2); // it hears signals, and asks
    for_ever.signal(Signal::TERM);
    assert_eq!(for_ever.finish().exit, 143);
    until(|| !running.runs());
    assert_eq!(running.finish().exit, 143);
    assert_eq!(in_time.finish().exit, 124);
    kill_process(hangs, Signal::CONT).unwrap();
    until(|| state(&place, "b") == "free" && state(&place, "c") == "free");
    server.stop();
}

#[test]
fn signal_ignored_at_start_stays_ignored() {
    let place = Place::new();
    let words = [env!("CARGO_BIN_EXE_cashbox"), "lock", "run", "a", "--", "sh", "-c"];
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).args(words);
    command
        .arg(format!("kill -HUP $$; {IN_UNTIL_GO}; exit 6"))
        .current_dir(place.0.path())
        .env("CASHBOX_DB", "cashbox.db");
    let running = Running::of(command);
    place.line_of("in");
    running.signal(Signal::HUP);
    fs::write(place.path("go"), "").unwrap();
    let output = running.finish();
    assert_eq!(output.exit, 6, "{}", output.err);
}

#[test]
fn unusable_folder_is_found_before_lock_is_taken() {
    let place = Place::new();
    let long = "d".repeat(100);
    fs::create_dir(place.path(&long)).unwrap();
    for folder in [long.as_str(), "no-such-folder"] {
        let mut command = place.command("lock run a -- true");
        let output = command.env("TMPDIR", place.path(folder)).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(125) && err.contains("TMPDIR"), "{err}");
    }
    assert!(!place.db().exists(), "nothing was asked for");
    assert_eq!(fs::read_dir(place.path(&long)).unwrap().count(), 0, "nothing stays");
}

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It gets lost, without any sign.
    Swallowed,
    /// It arrives, and its answer never does.
    Unanswered,
    /// The connection breaks before it arrives.
    Broken,
    /// It arrives, and the connection breaks before its answer does.
    BrokenOff,
}

/// The way to a server. Takes one request from each connection.
pub struct Proxy {
    pub url: String,
}

impl Proxy {
    /// The way to the server at that URL; `fate` gets the request line.
    pub fn to(url: &str, fate: impl FnMut(&str) -> Fate + Send + 'static) -> Proxy {
        let server: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fate = Arc::new(Mutex::new(fate));
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let fate = Arc::clone(&fate);
                spawn(move || pass(client, server, |line| fate.lock().unwrap()(line)));
            }
        });
        Proxy { url }
    }
}

fn pass(client: TcpStream, server: SocketAddr, fate: impl FnOnce(&str) -> Fate) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut request, mut body_len) = (String::new(), 0);
    while !request.ends_with("\r\n\r\n") {
        let begun = request.len();
        reader.read_line(&mut request).ok().filter(|count| *count > 0)?;
        let line = request[begun..].to_ascii_lowercase();
        body_len = line.strip_prefix("content-length:").map_or(body_len, |len| len.trim().parse().unwrap());
    }
    let mut body = vec![0; body_len];
    reader.read_exact(&mut body).ok()?;
    let fate = fate(request.lines().next()?);
    if fate == Fate::Broken {
        return None;
    }
    let mut client = client;
    if fate != Fate::Swallowed {
        let mut server = TcpStream::connect(server).ok()?;
        server.write_all(request.as_bytes()).ok()?;
        server.write_all(&body).ok()?;
        match fate {
            Fate::Answered => {
                let back = server.try_clone().ok()?;
                spawn(move || {
                    let _ = reader.read(&mut [0]); // the client is gone
                    back.shutdown(Shutdown::Both)
                });
                let _ = std::io::copy(&mut server, &mut client);
                return None;
            }
            _ => server.read(&mut [0]).ok()?, // it is answered now
        };
    }
    if fate != Fate::BrokenOff {
        let _ = client.read(&mut [0]); // until the client has had enough
    }
    None
}

#[test]
fn lease_that_ran_out_while_both_were_stopped_is_lost() {
    let place = Place::new();
    let running = place.lock_run("a --ttl 700ms --grace 500ms", IN_UNTIL_GO);
    place.line_of("in");
    let guard: i32 = running.children().pop().unwrap().parse().unwrap();
    let guard = Pid::from_raw(guard).unwrap();
    running.signal(Signal::STOP);
    kill_process(guard, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    running.signal(Signal::CONT);
    let _ = kill_process(guard, Signal::CONT); // it may have ended already
    let output = running.finish();
    assert_eq!(output.exit, 123, "{}", output.err);
    assert!(output.err.contains("the lease ran out"), "{}", output.err);
}
