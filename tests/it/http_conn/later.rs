//! Responses that another thread sends, which must not wait for any client.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use cashbox::internals::http::conn::Limits;

use super::client::{Client, Ending};
use super::{READ_BY_THEN, Scene, TIMEOUT, until};

/// More than the sockets of both ends hold, in bytes.
const LARGE: usize = 50_000_000;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A client with a large response that it does not read, after another has been answered.
fn slow_reader(scene: &Scene) -> Client {
    let mut slow = scene.client();
    slow.send(get(&format!("/later/large?{LARGE}")));
    assert_eq!(slow.head().lines().next(), Some("HTTP/1.1 200 OK"));
    slow
}

#[test]
fn later_response_is_as_any_other() {
    let scene = Scene::new();
    let mut client = scene.client();
    for round in 0..100 {
        let post = format!("POST /later/a?{round} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.ask(post).body, format!("POST /a Some(\"{round}\") hi"));
        assert_eq!(client.get("/b").body, "GET /b None ");
    }
    let head = client.get("/later/nothing");
    assert_eq!((head.status, head.header("content-length")), (204, None));
    client.send("HEAD /later/a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.head().contains("Content-Length: 13"));
    let old = client.ask("GET /later/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((old.body.as_str(), old.header("connection")), ("GET /a None ", Some("keep-alive")));
    assert!(client.ask("GET /later/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").says_close());
    assert!(client.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let scene = Scene::new();
    let mut client = scene.client();
    for round in 0..200 {
        let (one, two) = (format!("/later/{round}"), format!("/now/{round}"));
        client.send(get(&one) + &get(&two) + &get(&one));
        for path in [one.strip_prefix("/later").unwrap(), &two, one.strip_prefix("/later").unwrap()] {
            assert_eq!(client.reply().body, format!("GET {path} None "));
        }
    }
}

#[test]
fn pipelined_request_waits_for_later_response() {
    let scene = Scene::new();
    let mut client = scene.waiting_client_at("/later/wait");
    client.send(get("/next") + "GET / HTTP/9\r\n\r\n");
    assert!(client.hears_nothing_for(READ_BY_THEN));
    assert_eq!(scene.stage.answered.load(SeqCst), 1, "the next request waits");
    scene.stage.open_gate();
    assert_eq!(client.reply().body, "waited");
    assert_eq!(client.reply().body, "GET /next None ");
    assert_eq!(client.reply().status, 505);
}

#[test]
fn slow_reader_delays_no_other_client() {
    let scene = Scene::new();
    let mut slow: Vec<Client> = (0..8).map(|_| slow_reader(&scene)).collect();
    let address = scene.server.address();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                (0..50).for_each(|_| assert_eq!(client.get("/later/").status, 200));
            });
        }
    });
    // The rest comes when it is read, from each connection's own thread.
    slow.iter_mut().for_each(|slow| slow.skip(LARGE));
    assert_eq!(scene.server.connections(), 8);
}

#[test]
fn slow_reader_goes_on_with_its_connection() {
    let scene = Scene::new();
    let mut slow = slow_reader(&scene);
    slow.send(get("/later/next"));
    slow.skip(LARGE);
    assert_eq!(slow.reply().body, "GET /next None ");
    assert_eq!(slow.get("/later/again").body, "GET /again None ");
}

#[test]
fn client_that_never_reads_later_response_is_dropped() {
    let scene = Scene::with(Limits { write_time: Duration::from_millis(150), ..Limits::default() });
    let mut client = scene.client();
    client.send(get(&format!("/later/large?{LARGE}")));
    until(|| scene.stage.answered.load(SeqCst) == 1);
    until(|| scene.server.connections() == 0);
}

#[test]
fn client_not_reading_later_response_can_be_evicted() {
    let scene = Scene::with(Limits { connections: 1, ..Limits::default() });
    let _slow = slow_reader(&scene);
    until(|| scene.client().get("/").status == 200);
}

#[test]
fn connection_with_pending_response_is_never_evicted() {
    let scene = Scene::with(Limits { connections: 1, ..Limits::default() });
    let mut busy = scene.waiting_client_at("/later/wait");
    for _ in 0..50 {
        assert_eq!(scene.client().get("/").status, 503);
    }
    scene.stage.open_gate();
    assert_eq!(busy.reply().body, "waited");
    until(|| scene.client().get("/later/").status == 200);
    assert!(busy.is_closed(), "idle after its response, it gave way");
}

#[test]
fn idle_time_begins_after_later_response() {
    let idle = Duration::from_millis(150);
    let scene = Scene::with(Limits { idle, ..Limits::default() });
    let mut client = scene.waiting_client_at("/later/wait");
    assert!(client.hears_nothing_for(4 * idle));
    scene.stage.open_gate();
    assert_eq!(client.reply().body, "waited");
    let began = Instant::now();
    assert!(client.is_closed());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn half_closed_client_reads_later_response() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send(get("/later/a"));
    client.half_close();
    assert_eq!(client.reply().body, "GET /a None ");
    assert!(client.is_closed());
}

#[test]
fn panic_of_replying_thread_costs_one_request() {
    let scene = Scene::new();
    let mut client = scene.client();
    let reply = client.get("/later/panic");
    assert_eq!((reply.status, reply.body.as_str()), (500, "Panic"));
    assert_eq!(client.get("/later/a").body, "GET /a None ");
    // The response is on its way already, so it is the one answer.
    assert_eq!(client.get("/later/panic-here").body, "GET /panic-here None ");
    assert_eq!(client.get("/later/a").body, "GET /a None ");
}

#[test]
fn later_stream_and_closing_response_come_back() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send(get("/later/torn"));
    assert!(client.head().contains("Transfer-Encoding: chunked"));
    assert_eq!(client.ending(), Ending::Reset);
    let mut client = scene.client();
    let reply = client.get("/later/close");
    assert_eq!((reply.body.as_str(), reply.says_close()), ("bye", true));
    assert!(client.is_closed());
}

#[test]
fn stop_waits_for_pending_responses_and_closes() {
    let scene = Scene::new();
    let mut idle = scene.client();
    assert_eq!(idle.get("/later/").status, 200);
    let mut busy = scene.waiting_client_at("/later/wait");
    // Behind the one that waits in the thread that replies.
    let mut queued = scene.client();
    queued.send(get("/later/a") + &get("/later/b"));
    until(|| scene.stage.answered.load(SeqCst) == 3);
    thread::scope(|scope| {
        let stopping = scope.spawn(|| scene.server.stop(TIMEOUT));
        assert!(idle.is_closed());
        assert!(!stopping.is_finished(), "requests are in flight");
        scene.stage.open_gate();
        let reply = busy.reply();
        assert_eq!((reply.body.as_str(), reply.says_close()), ("waited", true));
        let reply = queued.reply();
        assert_eq!((reply.body.as_str(), reply.says_close()), ("GET /a None ", true));
        assert_eq!(stopping.join().unwrap(), 0);
    });
    assert!(busy.is_closed());
    assert!(queued.is_closed(), "and not reset, although it had sent more");
}
