//! Clients that leave, and a server that stops.

use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use cashbox::internals::http::conn::Presence;

use super::client::Client;
use super::{READ_BY_THEN, Scene, TIMEOUT, until};

/// Requests that wait: answered by the connection's own thread, and by another one.
const WAITING: [&str; 2] = ["/wait", "/later/wait"];

fn presence(scene: &Scene) -> Presence {
    scene.stage.presence.lock().unwrap().clone().expect("a request waits")
}

#[test]
fn presence_tells_waiting_client_from_closed_one() {
    let scene = Scene::new();
    let client = scene.waiting_client();
    let presence = presence(&scene);
    assert!(presence.is_connected());
    drop(client);
    until(|| !presence.is_connected());
    assert!(Presence::always().is_connected());
}

#[test]
fn client_that_closed_its_half_counts_as_closed() {
    let scene = Scene::new();
    let mut client = scene.waiting_client();
    client.half_close();
    until(|| !presence(&scene).is_connected());
}

#[test]
fn bytes_sent_before_close_do_not_count_as_presence() {
    let scene = Scene::new();
    let mut client = scene.waiting_client();
    client.send("\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    let presence = presence(&scene);
    assert!(presence.is_connected());
    drop(client);
    until(|| !presence.is_connected());
}

#[test]
fn client_sending_after_close_reads_every_response() {
    let scene = Scene::new();
    let mut client = scene.client();
    let large = "GET /large?3000000 HTTP/1.1\r\nHost: h\r\n\r\n";
    let last = |pad: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(pad));
    // One read ends where the last request does; the bytes behind it are still with the system.
    let pad = 4_096 - large.len() - last(0).len();
    client.send(large.to_owned() + &last(pad) + &"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2_000));
    assert_eq!(client.reply().body.len(), 3_000_000);
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.ending(), super::client::Ending::Closed(Vec::new()));
}

#[test]
fn presence_check_consumes_nothing() {
    let scene = Scene::new();
    let mut client = scene.waiting_client();
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    let presence = presence(&scene);
    assert!((0..100).all(|_| presence.is_connected()));
    scene.stage.open_gate();
    assert_eq!(client.reply().body, "waited");
    assert_eq!(client.reply().body, "GET /next None ");
}

#[test]
fn kept_presence_keeps_no_connection_open() {
    let scene = Scene::new();
    let mut client = scene.waiting_client();
    let presence = presence(&scene);
    scene.stage.open_gate();
    assert_eq!(client.reply().status, 200);
    assert!(presence.is_connected(), "an idle client is still there");
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client.reply();
    assert!(client.is_closed());
    until(|| !presence.is_connected());
}

#[test]
fn delivered_response_is_not_reported_undelivered() {
    for path in WAITING {
        let scene = Scene::new();
        let mut client = scene.waiting_client_at(path);
        scene.stage.open_gate();
        assert_eq!(client.reply().body, "waited");
        assert_eq!(client.get("/").status, 200);
        drop(client);
        until(|| scene.server.connections() == 0);
        assert_eq!(scene.stage.undelivered.load(SeqCst), 0, "{path}");
    }
}

#[test]
fn response_to_closed_client_is_undelivered() {
    for path in WAITING {
        let scene = Scene::new();
        let client = scene.waiting_client_at(path);
        let presence = presence(&scene);
        drop(client);
        until(|| !presence.is_connected());
        scene.stage.open_gate();
        until(|| scene.stage.undelivered.load(SeqCst) == 1);
        until(|| scene.server.connections() == 0);
    }
}

#[test]
fn stop_finishes_running_request_and_closes_rest() {
    let scene = Scene::new();
    let mut idle = scene.client();
    assert_eq!(idle.get("/").status, 200);
    let mut fresh = scene.client();
    until(|| scene.server.connections() == 2);
    let mut busy = scene.waiting_client();
    thread::scope(|scope| {
        let stopping = scope.spawn(|| scene.server.stop(TIMEOUT));
        assert!(idle.is_closed());
        assert!(fresh.is_closed());
        assert!(!stopping.is_finished(), "a request is in flight");
        scene.stage.open_gate();
        let reply = busy.reply();
        assert_eq!((reply.body.as_str(), reply.says_close()), ("waited", true));
        assert_eq!(stopping.join().unwrap(), 0);
    });
    assert!(busy.is_closed());
    assert!(TcpStream::connect(scene.server.address()).is_err(), "the port is closed");
}

#[test]
fn stop_refuses_unfinished_head() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send("GET / HTTP/1.1\r\n");
    assert!(client.hears_nothing_for(READ_BY_THEN));
    assert_eq!(scene.server.stop(TIMEOUT), 0);
    let reply = client.reply();
    assert_eq!((reply.status, reply.body.as_str()), (503, "ShuttingDown"));
    assert!(client.is_closed());
}

#[test]
fn stop_waits_up_to_its_timeout() {
    let scene = Scene::new();
    let mut busy = [scene.waiting_client(), scene.waiting_client()];
    let began = Instant::now();
    assert_eq!(scene.server.stop(Duration::from_millis(50)), 2);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(scene.server.stop(Duration::ZERO), 2, "stopping again only counts");
    scene.stage.open_gate();
    assert!(busy.iter_mut().all(|client| client.reply().says_close()));
    assert_eq!(scene.server.stop(TIMEOUT), 0);
}

#[test]
fn stop_is_prompt_under_load() {
    for path in ["/", "/later/"].repeat(5) {
        let scene = Scene::new();
        let address = scene.server.address();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || Client::connect(address).ask_until_closed(path));
            }
            until(|| scene.server.connections() == 8 && scene.stage.answered.load(SeqCst) > 100);
            let began = Instant::now();
            assert_eq!(scene.server.stop(TIMEOUT), 0);
            assert!(began.elapsed() < Duration::from_secs(1), "{path}");
        });
    }
}
