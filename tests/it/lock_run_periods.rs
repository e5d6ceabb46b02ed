//! `lock run` once per period, with slots, with several locks; `lock wait` and `lock watch`. On the file and at a server.

use crate::server::{free_port, until};
use crate::shell::{IN_UNTIL_GO, Place, Running, UNTIL_GO, lives};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

fn exit_of(place: &Place, options: &str, script: &str) -> i32 {
    place.lock_run(options, script).finish().exit
}

/// A place whose commands use its file, and one whose commands go to its server, with the options for that.
fn both(test: impl Fn(&Place, &str)) {
    test(&Place::new(), "");
    let place = Place::new();
    fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    test(&place, &format!("--url {} --token-file token", server.url));
}

fn lines(place: &Place, name: &str) -> usize {
    fs::read_to_string(place.path(name)).map_or(0, |text| text.lines().count())
}

#[test]
fn job_of_three_crontabs_runs_once_per_period() {
    both(|place, more| {
        for script in ["echo quick >> ran", "echo failing >> ran; exit 3"] {
            let _ = fs::remove_file(place.path("ran"));
            let id = script.split(' ').nth(1).unwrap();
            let options = format!("{id} --once-per 1h --wait 10s {more}");
            let all: Vec<_> = (0..3).map(|_| place.lock_run(&options, script)).collect();
            let mut exits: Vec<_> = all.into_iter().map(|one| one.finish().exit).collect();
            exits.sort_unstable();
            assert_eq!(exits, [0, 0, if id == "failing" { 3 } else { 0 }]);
            assert_eq!(lines(place, "ran"), 1, "{id}");
            assert_eq!(exit_of(place, &options, script), 0, "a minute later");
            assert_eq!(exit_of(place, &format!("{options} -E 75"), script), 75);
            assert_eq!(exit_of(place, &format!("{id} {more}"), script), 124, "without --once-per it is not free");
            assert_eq!(lines(place, "ran"), 1, "{id}");
        }
    });
}

#[test]
fn waiting_run_ends_as_soon_as_lock_rests() {
    both(|place, more| {
        let first = place.lock_run(&format!("job --once-per 1h {more}"), IN_UNTIL_GO);
        place.line_of("in");
        let mut second = place.lock_run(&format!("job --once-per 1h --wait forever {more}"), "echo again > again");
        std::thread::sleep(Duration::from_millis(300));
        assert!(second.runs());
        fs::write(place.path("go"), "").unwrap();
        assert_eq!(first.finish().exit, 0);
        let begun = Instant::now();
        assert_eq!(second.finish().exit, 0);
        assert!(begun.elapsed() < Duration::from_secs(5) && !place.path("again").exists());
    });
}

#[test]
fn failed_job_runs_again_with_retry_failed() {
    both(|place, more| {
        let options = format!("job --once-per 1h --retry-failed {more}");
        assert_eq!(exit_of(place, &options, "echo 1 >> ran; exit 9"), 9);
        assert_eq!(exit_of(place, &options, "echo 2 >> ran; kill -KILL $$"), 137);
        assert_eq!(exit_of(place, &options, "echo 3 >> ran"), 0);
        assert_eq!(exit_of(place, &options, "echo 4 >> ran"), 0);
        assert_eq!(lines(place, "ran"), 3, "it succeeded once");
    });
}

#[test]
fn command_that_cannot_start_uses_no_period_up() {
    let place = Place::new();
    assert_eq!(place.run("lock run job --once-per 1h -- ./no-such-program").exit, 127);
    assert_eq!(place.json("lock show job")["state"], "free");
    assert_eq!(exit_of(&place, "job --once-per 1h", "exit 127"), 127);
    assert_eq!(place.json("lock show job")["state"], "resting", "this one has run");
}

#[test]
fn dead_machine_leaves_period_to_next_one() {
    let place = Place::new();
    let options = "job --once-per 1h --ttl 1s --grace 500ms";
    let first = place.lock_run(options, "echo $$ > pid; sleep 60");
    let pid = place.line_of("pid");
    first.signal(Signal::KILL);
    until(|| !lives(pid.trim()));
    assert_eq!(exit_of(&place, &format!("{options} --wait 10s"), "echo second > second"), 0);
    assert!(place.path("second").exists());
    assert_eq!(place.json("lock show job")["state"], "resting");
}

/// Its guard releases the lock, so that the job does not run again.
#[test]
fn run_of_wrapper_killed_after_command_counts() {
    both(|place, more| {
        for (script, retries, state) in [("", "", "resting"), ("exit 3", "--retry-failed", "free")] {
            let options = format!("job --once-per 1h {retries} {more}");
            let run = place.lock_run(&options, &format!("echo $$ > pid; {UNTIL_GO}; {script}"));
            let pid = place.line_of("pid");
            run.signal(Signal::STOP);
            fs::write(place.path("go"), "").unwrap();
            until(|| !lives(pid.trim()));
            run.signal(Signal::KILL);
            let shown = || place.json(&format!("lock show job {more}"));
            until(|| shown()["state"] == state);
            ["pid", "go"].iter().for_each(|name| fs::remove_file(place.path(name)).unwrap());
            if state == "resting" {
                assert_eq!(exit_of(place, &options, "echo again > again"), 0);
                assert!(!place.path("again").exists());
                let revoked = place.run(&format!("lock revoke job --fence {} {more}", shown()["fence"]));
                assert_eq!(revoked.exit, 0, "{}", revoked.err);
            }
        }
    });
}

#[test]
fn run_that_ended_while_wrapper_was_stopped_counts() {
    let place = Place::new();
    let run = place.lock_run("job --once-per 1h --ttl 2s --grace 500ms", IN_UNTIL_GO);
    place.line_of("in");
    run.signal(Signal::STOP);
    fs::write(place.path("go"), "").unwrap();
    until(|| place.json("lock show job")["state"] == "resting");
    run.signal(Signal::CONT);
    assert_eq!(run.finish().exit, 0);
}

#[test]
fn run_that_ended_while_server_was_away_counts() {
    let place = Place::new();
    fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let more = format!("--url http://{listen} --token-file token");
    let serve = || {
        let server = place.start(&["serve", "--listen", &listen, "--token-file", "token"]);
        until(|| place.run(&format!("lock list {more}")).exit == 0);
        server
    };
    let server = serve();
    let script = format!("{IN_UNTIL_GO}; echo $$ > out");
    let run = place.lock_run(&format!("job --once-per 1h {more}"), &script);
    place.line_of("in");
    server.signal(Signal::KILL);
    server.finish();
    fs::write(place.path("go"), "").unwrap();
    until(|| !lives(place.line_of("out").trim()));
    std::thread::sleep(Duration::from_millis(300));
    let _server = serve();
    assert_eq!(run.finish().exit, 0);
    assert_eq!(place.json(&format!("lock show job {more}"))["state"], "resting");
}

#[test]
fn slots_are_holders_and_command_knows_its_own() {
    both(|place, more| {
        let script =
            "echo $CASHBOX_LOCK_ID $CASHBOX_LOCK_SLOT > in.$CASHBOX_LOCK_SLOT; until [ -e go ]; do sleep 0.01; done";
        let options = format!("gpu --slots 2 {more}");
        let first = place.lock_run(&options, script);
        assert_eq!(place.line_of("in.1").trim(), "gpu/1 1");
        let second = place.lock_run(&options, script);
        assert_eq!(place.line_of("in.2").trim(), "gpu/2 2");
        assert_eq!(exit_of(place, &options, script), 124);
        assert_eq!(exit_of(place, &format!("{options} --wait 100ms -E 0"), script), 0);
        let third = place.lock_run(&format!("{options} --wait 20s"), "echo $CASHBOX_LOCK_ID > third");
        fs::write(place.path("go"), "").unwrap();
        assert_eq!([first, second, third].map(|one| one.finish().exit), [0, 0, 0]);
        assert!(place.line_of("third").starts_with("gpu/"));
        let free = |id| place.json(&format!("lock show {id} {more}"))["state"] == "free";
        assert!(free("gpu/1") && free("gpu/2"));
        let alone = place.lock_run(&format!("job {more}"), "echo ${CASHBOX_LOCK_SLOT-none}").finish();
        assert_eq!(alone.out.trim(), "none");
    });
}

#[test]
fn dead_holders_slot_goes_to_waiter() {
    let place = Place::new();
    let options = "gpu --slots 2 --ttl 5s --grace 1s";
    let holders = [1, 2].map(|slot| {
        let holder = place.lock_run(options, "echo $$ > in.$CASHBOX_LOCK_SLOT; sleep 60");
        place.line_of(&format!("in.{slot}"));
        holder
    });
    holders[1].signal(Signal::KILL);
    let next = place.lock_run(&format!("{options} --wait 20s"), "echo $CASHBOX_LOCK_SLOT > next").finish();
    assert_eq!((next.exit, place.line_of("next").trim()), (0, "2"));
    holders[0].signal(Signal::TERM);
    let [first, _] = holders;
    assert_eq!(first.finish().exit, 143);
}

#[test]
fn several_locks_are_held_together() {
    both(|place, more| {
        let script = "echo \"$CASHBOX_LOCK_ID:$CASHBOX_LOCK_IDS\" | tr '\\n' ' ' > ids; echo >> ids; \
                      until [ -e go ]; do sleep 0.01; done";
        let run = place.lock_run(&format!("stock prices --ttl 3s {more}"), script);
        assert_eq!(place.line_of("ids").trim(), "stock:stock prices");
        for id in ["stock", "prices"] {
            assert_eq!(exit_of(place, &format!("{id} {more}"), "true"), 124);
        }
        let fence = place.json(&format!("lock show stock {more}"))["fence"].as_i64().unwrap();
        assert_eq!(place.json(&format!("lock show prices {more}"))["fence"], json!(fence));
        place.run(&format!("lock revoke stock --fence {fence} {more}"));
        let lost = run.finish();
        assert_eq!(lost.exit, 123, "{}", lost.err);
        assert!(lost.err.contains("was lost: revoked"), "{}", lost.err);
        let both = place.lock_run(&format!("prices other {more}"), "true").finish();
        assert_eq!(both.exit, 0, "{}", both.err);
    });
}

#[test]
fn run_with_options_that_do_not_go_together_is_125() {
    let place = Place::new();
    for wrong in [
        "a --slots 0",
        "a --slots 17",
        "a b --slots 2",
        "a --slots 2 --once-per 1h",
        "a --retry-failed",
        "a --once-per 25h",
        "a --once-per 0s",
        "wallet/alice --once-per 1h",
        "wallet/alice --slots 2",
        "a -E 256",
        "a -E -1",
        "a -E x",
        "",
    ] {
        assert_eq!(exit_of(&place, wrong, "true"), 125, "{wrong}");
    }
    let many: Vec<String> = (0..17).map(|place| place.to_string()).collect();
    assert_eq!(exit_of(&place, &many.join(" "), "true"), 125);
    assert_eq!(exit_of(&place, "a a", "exit 7"), 7, "named twice it is one lock");
}

#[test]
fn label_and_verbose_name_holder() {
    let place = Place::new();
    let run = place.lock_run("job --verbose", IN_UNTIL_GO);
    place.line_of("in");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let holder = place.json("lock show job")["holder"].as_str().unwrap().to_owned();
    assert!(holder.starts_with("sh (") && holder.contains(&format!("@{host}, process {}", run.id())), "{holder}");
    let waits = place.lock_run("job --verbose --wait 20s", "true");
    std::thread::sleep(Duration::from_millis(200));
    fs::write(place.path("go"), "").unwrap();
    assert!(run.finish().err.contains("got job under fence 1"));
    let waited = waits.finish();
    assert!(waited.err.contains(&format!("waiting for job (held, {holder}")), "{}", waited.err);
    assert!(waited.err.contains("got job under fence"), "{}", waited.err);
    let rested = place.lock_run("daily --once-per 1h --verbose", "true").finish();
    assert_eq!(rested.exit, 0);
    let again = place.lock_run("daily --once-per 1h --verbose", "true").finish();
    assert!(again.exit == 0 && again.err.contains("daily was released and rests"), "{}", again.err);
}

#[test]
fn wait_returns_when_lock_can_be_had_and_takes_nothing() {
    both(|place, more| {
        assert_eq!(place.run(&format!("lock wait job {more}")).exit, if more.is_empty() { 3 } else { 0 });
        let token = place.run(&format!("lock acquire job --ttl 30s {more}")).out;
        let begun = Instant::now();
        assert_eq!(place.run(&format!("lock wait job --wait 300ms {more}")).exit, 124);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        let words = format!("lock wait job --wait 20s {more}");
        let mut waits = place.start(&words.split_whitespace().collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(200));
        assert!(waits.runs());
        assert_eq!(place.run(&format!("lock release job --lock-token {token} {more}")).exit, 0);
        assert_eq!(waits.finish().exit, 0);
        assert_eq!(place.json(&format!("lock show job {more}"))["state"], "free");
        assert_eq!(exit_of(place, &format!("job --once-per 3s {more}"), "true"), 0);
        assert_eq!(place.run(&format!("lock wait job --wait 10ms {more}")).exit, 124);
        assert_eq!(place.run(&format!("lock wait job {more}")).exit, 0, "its rest is over");
    });
}

#[test]
fn watch_prints_line_per_change() {
    both(|place, more| {
        let token = place.run(&format!("lock acquire job --ttl 30s --holder first {more}")).out;
        let out = fs::File::create(place.path("watched")).unwrap();
        let watch = Running::of_printing(place.command(&format!("lock watch job {more}")), out);
        let watched = || fs::read_to_string(place.path("watched")).unwrap_or_default();
        until(|| watched().starts_with("held fence 1 first\n"));
        assert_eq!(place.run(&format!("lock release job --lock-token {token} {more}")).exit, 0);
        until(|| watched().contains("released fence 1 first"));
        assert_eq!(exit_of(place, &format!("job --holder second {more}"), "true"), 0);
        until(|| watched().lines().count() == 4);
        let kinds: Vec<String> =
            watched().lines().skip(1).map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
        assert_eq!(kinds, ["released", "created", "released"]);
        place.run(&format!("lock acquire job --ttl 300ms --grace 0s --holder third {more}"));
        until(|| watched().ends_with("stale fence 3 third\n"));
        watch.signal(Signal::TERM);
        watch.finish();
    });
}
