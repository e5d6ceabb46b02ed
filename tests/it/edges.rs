//! Edges of the HTTP server: what is refused before it is routed, headers and fields at their limits, what it says of itself.

use super::server::{Server, until};
use serde_json::json;
use std::io::Read;
use std::process::Command;

fn metric(server: &Server, name: &str) -> Option<String> {
    let text = String::from_utf8(server.admin().get("/metrics").is(200).body).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

#[test]
fn refusals_before_routing_are_counted() {
    let server = Server::start();
    server.admin().ask("GET", "/healthz").header("Host", "evil.example").send().refuses(403, "forbidden");
    server.admin().ask("GET", "/healthz").header("Origin", "null").send().refuses(403, "forbidden");
    server.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    let large = "POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n";
    server.raw(large.as_bytes());
    let refused =
        |status: u16| metric(&server, &format!("cashbox_requests_total{{method=\"\",route=\"\",status=\"{status}\"}}"));
    assert_eq!(refused(403).as_deref(), Some("2"));
    assert_eq!(refused(400).as_deref(), Some("1"));
    assert!(refused(413).or(refused(401)).is_some(), "a body that is too large");
}

#[test]
fn metrics_name_program_start_and_connections() {
    let server = Server::start();
    let version = metric(&server, &format!("cashbox_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")));
    assert_eq!(version.as_deref(), Some("1"));
    assert!(metric(&server, "cashbox_connections").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(metric(&server, "process_start_time_seconds").unwrap().parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn key_that_cannot_be_honoured_is_refused() {
    let server = Server::start();
    let mint =
        server.admin().ask("POST", "/v1/tokens").header("Idempotency-Key", "k").json(json!({ "role": "teller" }));
    mint.send().refuses(400, "invalid_request");
    assert_eq!(server.admin().get("/v1/tokens").is(200).rows().len(), 1, "the admin's own");
    let grant = server.admin().post("/v1/locks/job", json!({})).is(201);
    let revoke = server.admin().ask("POST", "/v1/locks/job/revoke").header("Idempotency-Key", "k");
    let revoke = revoke.json(json!({ "fence": grant["fence"] }));
    assert!(!revoke.send().is(200).was_replayed());
    assert!(revoke.send().is(200).was_replayed());
}

#[test]
fn whole_numbers_with_zeros_and_empty_cursor_are_taken() {
    let server = Server::start();
    let grant = |ttl: &str| server.admin().ask("POST", "/v1/locks/job").json(format!("{{\"ttl_ms\":{ttl}}}")).send();
    grant("5000.0").is(201);
    for wrong in ["5000.5", "5000.", ".0", "5e3", "-1.0"] {
        assert_eq!(grant(wrong).status, 400, "{wrong}");
    }
    server.user_with("alice", "1");
    for list in ["/v1/wallets", "/v1/entries", "/v1/tokens", "/v1/locks", "/v1/wallets/alice/coupons"] {
        let rows = |path: &str| server.admin().get(path).is(200).rows().len();
        assert_eq!(rows(&format!("{list}?after=")), rows(list), "{list}");
    }
}

#[test]
fn head_of_backup_makes_no_copy() {
    let server = Server::start();
    let before = metric(&server, "cashbox_commits_total");
    for path in ["/v1/backup", "/v1/export"] {
        let head = server.admin().ask("HEAD", path).send();
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
    assert_eq!(metric(&server, "cashbox_commits_total"), before);
}

#[test]
fn caller_has_four_streams_of_entries() {
    let server = Server::start();
    let alice = server.user("alice");
    let note: String = "x".repeat(250);
    let item = json!({ "op": "recharge", "user": "alice", "amount": "1", "reference": note, "metadata": { "a": "y".repeat(500) } });
    for _ in 0..4 {
        alice.post("/v1/batch", json!(vec![item.clone(); 5_000])).is(200);
    }
    let csv = || alice.ask("GET", "/v1/wallets/alice/entries").header("Accept", "text/csv");
    let slow: Vec<_> = (0..4).map(|_| csv().begin()).collect();
    let status = || {
        let mut start = [0; 12];
        csv().begin().read_exact(&mut start).unwrap();
        String::from_utf8(start[9..].to_vec()).unwrap()
    };
    until(|| status() == "503");
    assert_eq!(alice.get("/v1/wallets/alice/entries?limit=1").is(200).rows().len(), 1);
    drop(slow);
    until(|| status() == "200");
}

#[test]
fn queue_counts_connected_clients() {
    let server = Server::start();
    server.user_with("alice", "5");
    let admin = server.admin();
    admin.post("/v1/locks/wallet/alice", json!({})).is(201);
    let waits = || admin.ask("POST", "/v1/wallets/alice/pay").header("Prefer", "wait=30").form("amount=1").begin();
    let (gone, _stays) = (waits(), waits());
    let queue = || admin.get("/v1/locks/wallet/alice").is(200)["queue"].clone();
    until(|| queue() == 2);
    drop(gone);
    until(|| queue() == 1);
    assert_eq!(metric(&server, "cashbox_lock_waiting").as_deref(), Some("1"));
}

#[test]
fn hangup_stops_server_as_sigterm_does() {
    let mut server = Server::start();
    let sent = Command::new("kill").arg("-HUP").arg(server.process().to_string()).status().unwrap();
    assert!(sent.success());
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn report_of_impossible_wallet_is_refused_as_described() {
    let server = Server::start();
    server.admin().get("/v1/report?wallet=a%2Cb").refuses(400, "invalid_user"); // each answer is held against its description
}
