//! Every wait has an end, however busy the client looks.

use std::thread;
use std::time::{Duration, Instant};

use cashbox::internals::http::conn::Limits;

use super::client::Ending;
use super::{Scene, until};

/// A deadline under test; everything else keeps its usual, much longer one.
const SHORT: Duration = Duration::from_millis(150);

/// Well under the next longer deadline there is.
const SOON: Duration = Duration::from_millis(900);

#[test]
fn slow_head_is_refused_despite_some_bytes() {
    let scene = Scene::with(Limits { head_time: SHORT, ..Limits::default() });
    let mut client = scene.client();
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nX: ");
    while client.hears_nothing_for(SHORT / 5) {
        assert!(began.elapsed() < SOON, "bytes extend the deadline");
        client.send("x");
    }
    assert_eq!(client.reply().status, 408);
    assert!(client.is_closed());
    assert!(began.elapsed() >= SHORT, "it was given its time");
}

#[test]
fn head_deadline_starts_with_first_byte() {
    let scene = Scene::with(Limits { head_time: SHORT, ..Limits::default() });
    let mut client = scene.client();
    assert!(client.hears_nothing_for(2 * SHORT));
    assert_eq!(client.get("/").status, 200);
    assert!(client.hears_nothing_for(2 * SHORT));
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn slow_body_is_refused_despite_some_bytes() {
    let scene = Scene::with(Limits { body_time: SHORT, ..Limits::default() });
    let mut client = scene.client();
    let began = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
    while client.hears_nothing_for(SHORT / 5) {
        assert!(began.elapsed() < SOON, "bytes extend the deadline");
        client.send("x");
    }
    assert_eq!(client.reply().status, 408);
    assert!(client.is_closed());
}

#[test]
fn slow_chunks_are_refused_despite_some_bytes() {
    let scene = Scene::with(Limits { body_time: SHORT, ..Limits::default() });
    let mut client = scene.client();
    let began = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    while client.hears_nothing_for(SHORT / 5) {
        assert!(began.elapsed() < SOON, "chunks extend the deadline");
        client.send("1\r\nx\r\n");
    }
    assert_eq!(client.reply().status, 408);
    assert!(client.is_closed());
}

#[test]
fn idle_connection_is_closed_silently() {
    let scene = Scene::with(Limits { idle: SHORT, ..Limits::default() });
    let mut fresh = scene.client();
    let mut used = scene.client();
    assert_eq!(used.get("/").status, 200);
    let began = Instant::now();
    assert!(fresh.is_closed());
    assert!(used.is_closed());
    assert!(began.elapsed() < SOON);
    until(|| scene.server.connections() == 0);
}

#[test]
fn client_that_reads_nothing_is_dropped() {
    let scene = Scene::with(Limits { write_time: SHORT, ..Limits::default() });
    let mut bytes = scene.client();
    bytes.send("GET /large?50000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut stream = scene.client();
    stream.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
    until(|| scene.stage.stopped_reading.load(std::sync::atomic::Ordering::SeqCst));
    until(|| scene.server.connections() == 0);
}

#[test]
fn draining_ends_at_its_bound() {
    let scene = Scene::with(Limits { drain_time: SHORT, ..Limits::default() });
    let mut client = scene.client();
    let began = Instant::now();
    client.send("POST /forbidden HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(client.reply().status, 403);
    while scene.server.connections() > 0 {
        assert!(began.elapsed() < SOON, "bytes extend the deadline");
        client.try_send(b"x");
        thread::sleep(SHORT / 10);
    }
    assert_ne!(client.ending(), Ending::Open);
}
