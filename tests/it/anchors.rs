//! `serve --anchor`: the line of the file for a command, again and again and at the stop.

use super::server::{Server, until};
use super::shell::Place;
use cashbox::internals::store::audit::{Since, audit};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn anchor_gets_a_line_at_each_time_and_at_stop() {
    let mut server = Server::with(&["--anchor", "cat >> lines", "--anchor-every", "1s"]);
    let lines = server.folder.path().join("lines");
    let count = || fs::read_to_string(&lines).unwrap_or_default().lines().count();
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": 320 })).is(200);
    until(|| count() >= 1);
    server.admin().post("/v1/wallets/alice/coupons", json!({ "kind": "2" })).is(200);
    server.terminate();
    until(|| server.exit_code() == Some(0));
    let text = fs::read_to_string(&lines).unwrap();
    let file = server.folder.path().join("cashbox.db");
    let report = audit(&file, None, &mut |_, _| {}).unwrap();
    assert_eq!(text.lines().last(), Some(report.line.as_str()));
    for line in text.lines() {
        let since = Since::parse(line).unwrap();
        assert_eq!(audit(&file, Some(&since), &mut |_, _| {}).unwrap().findings, [], "{line}");
    }
    let last = Since::parse(&report.line).ok().and_then(Since::unchanged).unwrap();
    assert_eq!(audit(&file, Some(&last), &mut |_, _| {}).unwrap().findings, []);
}

#[test]
fn anchor_that_fails_is_logged_and_counted() {
    let mut server = Server::with(&["--anchor", "exit 7", "--anchor-every", "1s"]);
    let metrics = |server: &Server| String::from_utf8(server.admin().get("/metrics").is(200).body).unwrap();
    until(|| !metrics(&server).contains("\ncashbox_anchor_failures_total 0\n"));
    assert!(metrics(&server).contains("\ncashbox_anchors_total 0\n"));
    server.terminate();
    until(|| server.exit_code() == Some(0));
    assert!(server.log().contains("no line was handed to the command of --anchor"), "{}", server.log());
}

#[test]
fn anchor_that_hangs_does_not_keep_server() {
    let mut server = Server::with(&["--anchor", "sleep 1000; true"]);
    let begun = Instant::now();
    server.terminate();
    until(|| server.exit_code() == Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15) && server.log().contains("ended after 5 s"), "{}", server.log());
}

#[test]
fn verify_compares_with_line_of_before() {
    let place = Place::new();
    place.json("recharge alice 320");
    let line = place.json("verify")["line"].as_str().unwrap().to_owned();
    assert_eq!(place.run(&format!("verify --since {line} --unchanged")).exit, 0);
    place.json("grant alice 2");
    let later = place.json(&format!("verify --since {line}"));
    assert_eq!(later["notes"], json!(["added since that line: entries 0, lines of the journal 1"]));
    assert_eq!(place.run(&format!("verify --since {line} --unchanged")).exit, 4);
    let hash = later["last_hash"].as_str().unwrap();
    assert_eq!(place.run(&format!("verify --since {hash}")).exit, 0);
    assert_eq!(place.run(&format!("verify --since {hash} --unchanged")).exit, 2);
    let of_stdin = place.run_with_input("verify --since -", &format!("{line}\n"));
    assert_eq!((of_stdin.exit, of_stdin.out.contains("added since")), (0, true), "{}", of_stdin.err);
    let copied_wrongly: &[(&str, &str)] = &[
        ("cashbox1:1:2", "it has 3 parts between colons, and a line has 6"),
        ("cashbox2:1:2:3:4:5", "it does not begin with cashbox1:"),
        (&line.replacen(":1:", ":-1:", 1), "the number of entries is not a number"),
        (&line[..line.len() - 1], "the state hash has 63 digits"),
        (&line.replacen(":1:", ":1:g", 1), "character 1 of the last hash is not one of 0-9 and a-f"),
        (&line.replacen(":1:", ":1: ", 1), "character 12 is a blank"),
        (&format!("line {line}"), "character 5 is a blank, behind a label that does not belong to it"),
        (&format!("{line} {line}"), "is a blank"),
        ("", "ended too early"),
        ("0123", "it has 4 digits, and a hash has 64"),
    ];
    for (wrong, why) in copied_wrongly {
        let refused = place.run_with_input("verify --since -", wrong);
        assert!(refused.exit == 2 && refused.err.contains(why), "{wrong}: {}", refused.err);
    }
    let server = place.serve("--open");
    let beside = place.json(&format!("verify --since {line}"));
    assert_eq!(beside["ok"], true);
    server.stop();
    // The same line in another file.
    place.json("recharge alice 320 --db other.db");
    let other = place.run(&format!("verify --since {line} --db other.db --json"));
    assert!(other.exit == 4 && other.out.contains("earlier entries are there still"), "{}", other.out);
}
