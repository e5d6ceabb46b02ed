//! Locks held by hand, at a shell: the verbs of `cashbox lock` that are one request each.

use std::fs;

use crate::server::until;
use crate::shell::Place;
use serde_json::json;

/// Every verb once; `more` goes on every line.
fn every_verb(place: &Place, more: &str) {
    let json = |line: &str| place.json(&format!("{line} {more}"));
    let granted = json("lock acquire jobs/a --ttl 30s --holder me");
    let (token, fence) = (granted["token"].as_str().unwrap(), granted["fence"].as_i64().unwrap());
    assert_eq!(granted["outcome"], "created");
    assert_eq!(json("lock show jobs/a")["holder"], "me");
    let held = place.run(&format!("lock acquire jobs/a {more}"));
    assert_eq!((held.exit, held.out.as_str()), (1, ""), "nothing waits unless asked to");
    assert!(held.err.contains("me"), "{}", held.err);
    assert_eq!(json("lock list --prefix jobs/ --state held")["data"].as_array().unwrap().len(), 1);
    assert_eq!(json("lock list --state grace")["data"], json!([]));
    fs::write(place.path("lock-token"), format!("{token}\n")).unwrap();
    assert_eq!(json("lock renew jobs/a --lock-token @lock-token --ttl 2m")["expires_in_ms"], 120_000);
    let other = place.run(&format!("lock renew other --lock-token @lock-token {more}"));
    assert_eq!(other.exit, 1, "{}", other.err);
    let released = place.run_with_input(&format!("lock release jobs/a --lock-token - {more}"), &format!("{token}\n"));
    assert_eq!(released.exit, 0, "{}", released.err);
    assert_eq!(place.run(&format!("lock release jobs/a --lock-token @lock-token {more}")).exit, 0, "again is the same");
    assert_eq!(json("lock show jobs/a")["state"], "free");
    let events = json("lock events jobs/a");
    assert_eq!((&events["data"][0]["what"], &events["data"][0]["fence"]), (&json!("released"), &json!(fence)));

    let both = json("lock acquire jobs/a jobs/b");
    let token = both["token"].as_str().unwrap();
    assert_eq!(both["ids"], json!(["jobs/a", "jobs/b"]));
    let fence = both["fence"].as_i64().unwrap();
    assert_eq!(json(&format!("lock revoke jobs/b --fence {fence} --delay 0s"))["state"], "stale");
    let given_up = place.run(&format!("lock release --lock-token {token} {more}"));
    assert_eq!(given_up.exit, 1, "one of the two was lost");
    assert_eq!(json("lock show jobs/a")["state"], "free", "and the other is given back");
}

#[test]
fn lock_verbs_work_on_file() {
    every_verb(&Place::new(), "");
}

#[test]
fn lock_verbs_work_through_server_and_at_url() {
    let place = Place::new();
    fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    every_verb(&place, "");
    every_verb(&place, &format!("--url {} --token-file token", server.url));
    server.stop();
}

#[test]
fn printed_token_can_be_kept_by_shell() {
    let place = Place::new();
    let output = place.run("lock acquire a");
    assert_eq!(output.exit, 0);
    assert!(output.out.starts_with("lk1.") && output.out.lines().count() == 1, "{}", output.out);
    let mut release = place.command("lock release a");
    assert!(release.env("CASHBOX_LOCK_TOKEN", output.out.trim()).output().unwrap().status.success());
    assert_eq!(place.run("lock release a").exit, 2, "whose?");
}

#[test]
fn waiting_acquire_gets_lock_on_release() {
    let place = Place::new();
    for serving in [false, true] {
        let server = serving.then(|| place.serve(""));
        let token = place.run("lock acquire a").out;
        let waiting = place.start(&["lock", "acquire", "a", "--wait", "1m", "--holder", "second"]);
        if serving {
            until(|| place.json("lock show a")["queue"] == 1);
        }
        assert_eq!(place.run(&format!("lock release a --lock-token {token}")).exit, 0);
        let output = waiting.finish();
        assert_eq!(output.exit, 0, "{}", output.err);
        assert_eq!(place.json("lock show a")["holder"], "second");
        assert_eq!(place.run(&format!("lock release a --lock-token {}", output.out)).exit, 0);
        drop(server.map(|server| server.stop()));
    }
}

#[test]
fn holder_past_its_lease_moves_no_money() {
    let place = Place::new();
    place.json("recharge alice 10");
    let token = place.run("lock acquire wallet/alice --ttl 1ms --grace 0s").out;
    fs::write(place.path("mine"), &token).unwrap();
    let next = place.run("lock acquire wallet/alice --wait 10s");
    assert_eq!(next.exit, 0, "{}", next.err);
    let late = place.run("withdraw alice 1 --lock-token @mine");
    assert_eq!(late.exit, 1, "{}{}", late.out, late.err);
    assert!(late.err.contains("ran out"), "{}", late.err);
    fs::write(place.path("next"), &next.out).unwrap();
    assert_eq!(place.json("withdraw alice 1 --lock-token @next")["balance"], "9.00");
    assert_eq!(place.run("withdraw alice 1 --wait 0").exit, 1, "without its token it is another client's lock");
    assert_eq!(place.run("verify").exit, 0);
}

#[test]
fn lock_command_with_bad_arguments_is_refused() {
    let place = Place::new();
    for wrong in ["lock acquire", "lock acquire a --ttl 25h", "lock renew a", "lock release a --lock-token @nothing"] {
        assert_eq!(place.run(wrong).exit, 2, "{wrong}");
    }
    assert_eq!(place.run("lock show a").exit, 3, "looking makes no file");
    assert_eq!(place.run("lock acquire a").exit, 0);
    assert_eq!(place.run("lock revoke nobodys").exit, 2);
    assert_eq!(place.run(&format!("lock show {}", "a".repeat(256))).exit, 2);
}
