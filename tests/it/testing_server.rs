//! `cashbox::testing::Server`, as the tests of a Rust program use it.

use super::server::Client;
use cashbox::ErrorName;
use cashbox::testing::{FaultAction, PausePoint, RequestMatch, Server};
use serde_json::json;
use std::io::Read;
use std::time::Duration;

fn client(server: &Server) -> Client {
    Client { address: server.address(), token: Some(server.token().to_owned()) }
}

fn key(key: &str) -> RequestMatch {
    RequestMatch { key: Some(key.to_owned()), ..RequestMatch::default() }
}

#[test]
fn servers_of_two_tests_have_files_and_clocks_of_their_own() {
    let (first, second) = (Server::start(), Server::start());
    client(&first).post("/v1/wallets/alice/recharge", json!({ "amount": "5" })).is(200);
    first.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((first.now().as_str(), second.now().as_str()), ("2026-01-01T00:01:00.000Z", "2026-01-01T00:00:00.000Z"));
    client(&second).get("/v1/wallets/alice").refuses(404, "wallet_not_found");
    first.set_now("2025-01-01T00:00:00Z").unwrap();
    assert_eq!(first.now(), "2025-01-01T00:00:00.000Z");
    assert_eq!(first.set_now("noon").unwrap_err().name, ErrorName::InvalidRequest);
    first.keep("rich").unwrap();
    first.reset().unwrap();
    client(&first).get("/v1/wallets/alice").refuses(404, "wallet_not_found");
    first.restore("rich").unwrap();
    assert_eq!(client(&first).balance("alice"), "5.00");
    assert_eq!(first.restore("poor").unwrap_err().name, ErrorName::NotFound);
}

#[test]
fn lost_answer_is_asked_for_again() {
    let server = Server::start();
    let admin = client(&server);
    let fault = server.fault(key("k"), FaultAction::DropAfter).unwrap();
    let asking = admin.ask("POST", "/v1/wallets/alice/recharge").header("Idempotency-Key", "k");
    let asking = asking.json(json!({ "amount": "5" }));
    let mut bytes = Vec::new();
    asking.begin().read_to_end(&mut bytes).unwrap();
    assert_eq!((bytes.as_slice(), server.hits(fault)), (&b""[..], 1));
    assert!(asking.send().is(200).was_replayed());
    assert_eq!(admin.balance("alice"), "5.00");
    let crash = json!({ "do": "crash" });
    admin.post("/test/faults", crash).refuses(400, "invalid_request");
}

#[test]
fn pause_is_waited_for_and_released_by_its_drop() {
    let server = Server::start();
    let admin = client(&server);
    let pause = server.pause(key("k"), PausePoint::BeforeCommit).unwrap();
    assert!(!pause.wait(Duration::ZERO));
    std::thread::scope(|scope| {
        let request = scope.spawn(|| admin.post_once("k", "/v1/wallets/alice/recharge", json!({ "amount": "5" })));
        assert!(pause.wait(Duration::from_secs(20)));
        admin.get("/v1/wallets/alice").refuses(404, "wallet_not_found");
        assert_eq!(server.keep("half").unwrap_err().name, ErrorName::Paused);
        pause.release();
        request.join().unwrap().is(200);
    });
}

/// A fresh state for each of many tests, in one process: a bound far above what it takes in a release build.
#[test]
fn two_hundred_fresh_states_take_seconds() {
    let server = Server::start();
    let admin = client(&server);
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": "300" })).is(200);
    server.keep("rich").unwrap();
    let begun = std::time::Instant::now();
    for number in 0..200 {
        server.restore("rich").unwrap();
        let paid = admin.post_once("k", "/v1/wallets/alice/pay", json!({ "amount": "1" })).is(200);
        assert_eq!(paid["balance"], "299.00", "state {number}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn step_that_is_too_long_is_refused() {
    let server = Server::start();
    for ms in [i64::MAX as u64, u64::MAX, 8_000 * 366 * 86_400_000] {
        assert_eq!(server.advance(Duration::from_millis(ms)).unwrap_err().name, ErrorName::InvalidRequest);
    }
    assert!(server.set_now("9999-06-01T00:00:00Z").is_err());
    server.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(server.now(), "2026-01-01T00:00:01.000Z");
}
