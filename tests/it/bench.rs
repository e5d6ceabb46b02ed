//! `cashbox bench`: a figure only beside the check, nothing touched that it has not made, and a server that stalls shows.

use crate::server::{ADMIN, until};
use crate::shell::{CommandOutput, Place};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const SHORT: &str = "--duration 200ms --warm-up 20ms";

/// A place with a server whose admin's token is in the file `admin`.
fn served() -> (Place, crate::shell::Serving) {
    let place = Place::new();
    fs::write(place.path("admin"), ADMIN).unwrap();
    let server = place.serve("--token-file admin");
    (place, server)
}

fn json(output: &CommandOutput) -> Value {
    serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {}{}", output.out, output.err))
}

fn in_histogram(report: &Value) -> u64 {
    report["histogram"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum()
}

#[test]
fn bench_prints_figure_and_check_for_each_op() {
    thread::scope(|scope| {
        for op in ["withdraw", "recharge", "pay", "transfer", "hold", "balance", "batch", "lock"] {
            scope.spawn(move || {
                let place = Place::new();
                let measured = |duration| {
                    let line = format!("bench --op {op} {SHORT} --connections 3 --wallets 2 --items 20 --json");
                    let output = place.run(&line.replace("200ms", duration));
                    assert_eq!(output.exit, 0, "{op}: {}{}", output.out, output.err);
                    json(&output)
                };
                // However busy the machine is: sometime something is done within what is measured.
                let mut tries = ["200ms", "2s", "10s"].into_iter().map(measured);
                let report = tries.find(|report| report["count"].as_u64() > Some(0)).expect("something was done");
                assert!(report["per_second"].as_u64() > Some(0), "{op}: {report}");
                assert!(report["latency_us"]["p99"].as_u64() >= report["latency_us"]["p50"].as_u64(), "{op}: {report}");
                assert_eq!((&report["right"], &report["audit"]), (&true.into(), &"audit clean".into()), "{op}");
                let counted: u64 =
                    report["histogram"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
                assert!(counted > 0, "{op}: {report}");
                assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 0, "{op} leaves nothing here");
            });
        }
    });
}

#[test]
fn bench_at_url_uses_its_own_wallets() {
    let (place, server) = served();
    place.json("recharge alice 50 --token-file admin");
    let output =
        place.run(&format!("bench {SHORT} --connections 4 --wallets 3 --url {} --token-file admin", server.url));
    assert_eq!(output.exit, 0, "{}{}", output.out, output.err);
    assert!(output.out.contains("withdrawals/s") && output.out.contains("audit clean"), "{}", output.out);
    let wallets = place.json("wallets --all --token-file admin");
    for wallet in wallets["data"].as_array().unwrap() {
        let (user, balance) = (wallet["user_id"].as_str().unwrap(), wallet["balance"].as_str().unwrap());
        match user {
            "alice" => assert_eq!(balance, "50.00"),
            "@bank" | "@sales" | "@holds" => {}
            user => assert!(user.starts_with("bench-") && balance == "0.00", "{user} has {balance}"),
        }
    }
}

#[test]
fn bench_at_url_without_right_or_server_is_one_sentence() {
    let (place, server) = served();
    let token = place.json("token create --user alice --token-file admin")["token"].as_str().unwrap().to_owned();
    fs::write(place.path("alice"), token).unwrap();
    for (line, exit, sentence) in [
        (
            format!("bench {SHORT} --url {} --token-file alice", server.url),
            2,
            "bench needs the access token of a teller",
        ),
        (format!("bench {SHORT} --url {}", server.url), 2, "bench needs the access token of a teller"),
        ("bench --url http://127.0.0.1:1".to_owned(), 3, "cannot reach http://127.0.0.1:1"),
        (
            "bench --url https://127.0.0.1:1".to_owned(),
            2,
            if cfg!(feature = "tls") { "bench measures over http://" } else { "is not a valid URL of a server" },
        ),
        ("bench --url http://127.0.0.1:x".to_owned(), 2, "127.0.0.1:x"),
        ("bench --connections 0".to_owned(), 2, "0 is not in 1..=1000000"),
        ("bench --wallets 0".to_owned(), 2, "0 is not in 1..=100000"),
        ("bench --rate 0".to_owned(), 2, "0 is not in 1..=1000000"),
        ("bench --duration 0s".to_owned(), 2, "--duration"),
        ("bench --op transfer --wallets 1".to_owned(), 2, "a transfer needs two wallets"),
        ("bench --db cashbox.db".to_owned(), 2, "it takes no --db"),
        ("bench --connections 1000000".to_owned(), 2, "more than the"),
    ] {
        let output = place.run(&line);
        assert!(
            output.exit == exit && output.err.contains(sentence),
            "{line}: {} {}{}",
            output.exit,
            output.out,
            output.err
        );
    }
    assert_eq!(place.json("wallets --all --token-file admin")["data"].as_array().unwrap().len(), 3, "nothing was made");
}

/// The one wallet that a bench at this place works on, once it has moved money.
fn its_wallet(place: &Place) -> String {
    let mut found = None;
    until(|| {
        let wallets = place.json("wallets --all --token-file admin");
        let busy = wallets["data"].as_array().unwrap().iter().find(|wallet| {
            wallet["user_id"].as_str().unwrap().starts_with("bench-") && wallet["entries"].as_i64() > Some(3)
        });
        found = busy.map(|wallet| wallet["user_id"].as_str().unwrap().to_owned());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn bench_with_missing_cent_prints_no_figure() {
    let (place, server) = served();
    let words = ["bench", "--connections", "2", "--wallets", "1", "--duration", "4s", "--warm-up", "0s", "--json"];
    let bench = place.start(&[words.as_slice(), &["--url", &server.url, "--token-file", "admin"]].concat());
    let wallet = its_wallet(&place);
    place.json(&format!("withdraw {wallet} 0.01 --token-file admin")); // by a client that it does not know
    let output = bench.finish();
    assert_eq!(output.exit, 4, "{}{}", output.out, output.err);
    let report = json(&output);
    assert_eq!((&report["right"], &report["per_second"]), (&false.into(), &Value::Null), "{report}");
}

#[test]
fn bench_at_fixed_rate_shows_stalled_server() {
    const STALL: Duration = Duration::from_millis(400);
    let (place, server) = served();
    let words =
        ["bench", "--connections", "2", "--wallets", "1", "--rate", "100", "--duration", "2s", "--warm-up", "0s"];
    let bench = place.start(&[words.as_slice(), &["--json", "--url", &server.url, "--token-file", "admin"]].concat());
    its_wallet(&place);
    let stalled = Instant::now();
    let process = Pid::from_child(&server.child);
    kill_process(process, Signal::STOP).unwrap();
    thread::sleep(STALL); // the stall itself, and no wait for anything
    kill_process(process, Signal::CONT).unwrap();
    let stalled = stalled.elapsed();
    let report = json(&bench.finish());
    let at_least = |share: &str, least: Duration| {
        let us = report["latency_us"][share].as_u64().unwrap();
        assert!(us >= least.as_micros() as u64, "{share} is {us} µs, though it stood still for {stalled:?}: {report}");
    };
    at_least("max", STALL * 9 / 10);
    at_least("p90", STALL / 8); // a fifth of all requests were due in the stall
    assert_eq!(in_histogram(&report), 200, "none is skipped: {report}");
}
