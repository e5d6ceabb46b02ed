//! Operating a server: health, metrics, and messages to the service manager.

use crate::server::{Server, until};
use crate::shell::Place;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{MetricsExposition, PrometheusType, PrometheusValue, Sample};
use rusqlite::Connection;
use serde_json::json;
use std::io::BufRead;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

/// The metrics as Prometheus reads them.
type Numbers = MetricsExposition<PrometheusType, PrometheusValue>;

fn scrape(server: &Server) -> Numbers {
    let text = String::from_utf8(server.admin().get("/metrics").is(200).body).unwrap();
    parse_prometheus(&text).unwrap_or_else(|error| panic!("Prometheus cannot read it: {error}\n{text}"))
}

/// The one value of that name that has these labels.
fn value<'a>(numbers: &'a Numbers, name: &str, labels: &[(&str, &str)]) -> &'a PrometheusValue {
    let family = numbers.families.get(name).unwrap_or_else(|| panic!("there is no {name}"));
    let has = |sample: &&Sample<PrometheusValue>| {
        let set = sample.get_labelset().expect("a sample has labels, or none");
        labels.iter().all(|(name, value)| set.get_label_value(name) == Some(value))
    };
    let found: Vec<_> = family.iter_samples().filter(has).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    &found[0].value
}

#[test]
fn metrics_are_prometheus_text_and_true() {
    let server = Server::start();
    let admin = server.admin();
    for number in 0..10 {
        let recharge = admin.ask("POST", "/v1/wallets/alice/recharge").json(json!({ "amount": "1.00" }));
        recharge.header("Idempotency-Key", &format!("key-{}", number / 2)).send().is(200);
    }
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": "99.00" })).refuses(402, "insufficient_funds");
    admin.get("/v1/nothing").refuses(404, "not_found");
    let numbers = scrape(&server);
    let route = [("method", "POST"), ("route", "/v1/wallets/{user}/recharge")];
    let counted = |name: &str, labels: &[(&str, &str)]| match value(&numbers, name, labels) {
        PrometheusValue::Counter(counter) => counter.value.as_f64() as i64,
        other => panic!("{name} {labels:?}: {other:?}"),
    };
    assert_eq!(counted("cashbox_requests_total", &route), 10);
    assert_eq!(counted("cashbox_requests_total", &[("status", "402")]), 1);
    assert_eq!(counted("cashbox_requests_total", &[("status", "404"), ("route", "")]), 1);
    assert_eq!(counted("cashbox_idempotent_replays_total", &[]), 5);
    for (name, labels) in [
        ("cashbox_request_duration_seconds", route.as_slice()),
        ("cashbox_commit_seconds", &[]),
        ("cashbox_batch_commands", &[]),
    ] {
        let PrometheusValue::Histogram(histogram) = value(&numbers, name, labels) else { panic!("{name}") };
        let counts: Vec<_> = histogram.buckets.iter().map(|bucket| bucket.count.as_f64() as u64).collect();
        assert!(counts.is_sorted() && counts.last() >= Some(&10), "{name}: {counts:?}");
        assert_eq!(histogram.count, counts.last().copied(), "{name}");
    }
    for name in ["queue_length", "lock_waiting", "wal_bytes", "free_bytes", "db_bytes"] {
        assert!(matches!(value(&numbers, &format!("cashbox_{name}"), &[]), PrometheusValue::Gauge(_)), "{name}");
    }
}

#[test]
fn health_reports_stalled_writer() {
    let server = Server::start();
    let health = || server.anonymous().get("/healthz").is(200);
    assert_eq!((&health()["status"], &health()["why"]), (&json!("ok"), &json!([])));
    let other = Connection::open(server.folder.path().join("cashbox.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap(); // as a disk that does not answer would hold it
    let admin = server.admin();
    let recharge = admin.ask("POST", "/v1/wallets/alice/recharge").json(json!({ "amount": "1.00" }));
    let begun = recharge.begin();
    until(|| health()["status"] == "degraded");
    let why = health()["why"][0].to_string();
    assert!(why.contains("the writer has been waiting"), "{why}");
    other.execute_batch("COMMIT").unwrap();
    recharge.read(begun).is(200);
    until(|| health()["status"] == "ok");
}

#[test]
fn service_manager_is_notified_of_ready_and_stop() {
    let place = Place::new();
    let manager = UnixDatagram::bind(place.path("notify")).unwrap();
    manager.set_read_timeout(Some(crate::server::TIMEOUT)).unwrap();
    let mut command = place.command("serve --open --listen 127.0.0.1:0");
    command.env("NOTIFY_SOCKET", place.path("notify")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = command.spawn().unwrap();
    let message = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(message(), "READY=1");
    let mut line = String::new();
    std::io::BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "it was ready: {line}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(message(), "STOPPING=1");
    assert!(server.wait().unwrap().success());
}

#[test]
fn auditor_verifies_since_noted_hash() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": "5" })).is(200);
    let noted = admin.get("/v1/verify").is(200).text("last_hash");
    admin.post("/v1/wallets/alice/withdraw", json!({ "amount": "1" })).is(200);
    let auditor = server.role("auditor");
    assert_eq!(auditor.get(&format!("/v1/verify?since={noted}")).is(200)["ok"], true);
    let unknown = auditor.get(&format!("/v1/verify?since={}", "ab".repeat(32))).is(200);
    assert_eq!(unknown["findings"][0]["check"], "earlier entries are there still");
    for since in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
        auditor.get(&format!("/v1/verify?since={since}")).refuses(400, "invalid_request");
    }
}
