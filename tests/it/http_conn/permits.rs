//! Who gives way when there is no room, and what happens without descriptors.

use std::fs::File;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use cashbox::internals::http::conn::{Limits, raise_descriptor_limit};

use super::client::{Client, Ending};
use super::{READ_BY_THEN, Scene, until};

/// Descriptors for all tests of this process.
const ENOUGH: u64 = 1000;

fn room_for(connections: usize) -> Scene {
    Scene::with(Limits { connections, ..Limits::default() })
}

/// A client that has had an answer, and a moment for its connection to be idle again.
fn idle(scene: &Scene) -> Client {
    let mut client = scene.client();
    assert_eq!(client.get("/").status, 200);
    assert!(client.hears_nothing_for(READ_BY_THEN));
    client
}

/// A client in the middle of a head.
fn in_head(scene: &Scene) -> Client {
    let before = scene.server.connections();
    let mut client = scene.client();
    client.send("GET / HTTP/1.1\r\n");
    until(|| scene.server.connections() > before);
    assert!(client.hears_nothing_for(READ_BY_THEN));
    client
}

#[test]
fn oldest_idle_connection_is_evicted_first() {
    let scene = room_for(3);
    let mut head = in_head(&scene);
    let mut older = idle(&scene);
    let mut younger = idle(&scene);
    let mut new = idle(&scene);
    assert!(older.is_closed());
    assert_eq!(younger.get("/").status, 200);
    assert_eq!(head.ask("Host: h\r\n\r\n").status, 200);
    assert_eq!(new.get("/").status, 200);
}

#[test]
fn oldest_unfinished_head_is_evicted_second() {
    let scene = room_for(3);
    let _busy = scene.waiting_client();
    let mut older = in_head(&scene);
    let mut younger = in_head(&scene);
    let mut new = scene.client();
    assert_eq!(new.get("/").status, 200);
    assert!(older.is_closed());
    assert_eq!(younger.ask("Host: h\r\n\r\n").status, 200);
    scene.stage.open_gate();
}

#[test]
fn new_connection_outlives_slow_one() {
    let scene = room_for(2);
    let _dawdler = in_head(&scene);
    let newcomer_stays = || {
        let mut newcomer = scene.client();
        let mut next = scene.client();
        assert_eq!(next.get("/").status, 200);
        newcomer.hears_nothing_for(READ_BY_THEN) && newcomer.get("/").status == 200
    };
    until(newcomer_stays);
}

/// A client whose head has come and whose body has not.
fn in_body(scene: &Scene) -> Client {
    let mut client = scene.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na");
    assert!(client.hears_nothing_for(READ_BY_THEN));
    client
}

#[test]
fn oldest_unfinished_body_is_evicted_third() {
    let scene = room_for(4);
    let _busy = scene.waiting_client();
    let mut older = in_body(&scene);
    let mut younger = in_body(&scene);
    let mut head = in_head(&scene);
    let _also_busy = scene.waiting_client();
    assert!(head.is_closed(), "the client that sent less gives way first");
    assert_eq!(scene.client().get("/").status, 200);
    assert!(older.is_closed());
    assert_eq!(younger.ask("b").status, 200);
    scene.stage.open_gate();
}

#[test]
fn client_not_reading_response_is_evicted_last() {
    let scene = room_for(2);
    let mut busy = scene.waiting_client();
    let mut deaf = scene.client();
    deaf.send("GET /large?50000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(deaf.head().lines().next(), Some("HTTP/1.1 200 OK"));
    assert_eq!(scene.client().get("/").status, 503, "it may yet take it");
    until(|| scene.client().get("/").status == 200);
    scene.stage.open_gate();
    assert_eq!(busy.reply().status, 200);
}

#[test]
fn connection_being_answered_is_never_evicted() {
    let scene = room_for(2);
    let mut busy = [scene.waiting_client(), scene.waiting_client()];
    for _ in 0..100 {
        let mut refused = scene.client();
        let reply = refused.get("/");
        assert_eq!((reply.status, reply.body.as_str()), (503, "TooManyConnections"));
        assert_eq!(refused.ending(), Ending::Closed(Vec::new()));
    }
    scene.stage.open_gate();
    assert!(busy.iter_mut().all(|client| client.reply().status == 200));
    // The client has its answer a moment before its connection counts as idle.
    until(|| scene.client().get("/").status == 200);
}

#[test]
fn refused_connections_do_not_delay_others() {
    let scene = room_for(1);
    let mut busy = scene.waiting_client();
    // More than are refused with care, and none of them reads or closes.
    let mut refused: Vec<Client> = (0..80).map(|_| scene.client()).collect();
    assert!(refused.iter_mut().all(|client| client.reply().status == 503));
    scene.stage.open_gate();
    assert_eq!(busy.reply().status, 200);
    until(|| scene.client().get("/").status == 200);
}

#[test]
fn many_short_connections_are_all_answered() {
    let scene = Scene::new();
    let address = scene.server.address();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut client = Client::connect(address);
                    assert_eq!(client.get("/").status, 200);
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    until(|| scene.server.connections() == 0);
}

#[test]
fn descriptor_limit_is_raised_to_hard_one() {
    let limit = getrlimit(Resource::Nofile);
    let low = Some(limit.maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH)));
    setrlimit(Resource::Nofile, Rlimit { current: low, ..limit }).unwrap();
    assert_eq!(raise_descriptor_limit(), limit.maximum.unwrap_or(u64::MAX));
}

/// In a process of its own, because it uses up what all tests share.
#[test]
fn accepting_waits_while_descriptors_lack() {
    let test = "http_conn::permits::server_without_descriptors_in_own_process";
    let own = Command::new(std::env::current_exe().unwrap()).args(["--ignored", "--exact", test]).output().unwrap();
    let said = String::from_utf8_lossy(&own.stdout);
    assert!(own.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "uses up the descriptors of its process; run by the test above"]
fn server_without_descriptors_in_own_process() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).unwrap();
    let scene = Scene::new();
    let mut idle = idle(&scene);
    let mut busy = scene.waiting_client();
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // One for the client, none for the server's end of it; the idle connection gives its own.
    hoard.pop();
    let mut new = scene.client();
    assert!(idle.is_closed());
    assert_eq!(new.get("/").status, 200);
    drop(idle);
    // Now no connection has one to give: the newcomer waits until there is one.
    let mut later = scene.client();
    scene.stage.open_gate();
    assert_eq!(busy.reply().status, 200);
    later.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    drop(hoard);
    assert_eq!(later.reply().status, 200);
}
