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
fn the_oldest_idle_connection_gives_way_first() {
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
fn then_the_oldest_unfinished_head() {
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
fn who_has_just_come_outlives_who_dawdles() {
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
fn then_the_oldest_unfinished_body() {
    let scene = room_for(4);
    let _busy = scene.waiting_client();
    let mut older = in_body(&scene);
    let mut younger = in_body(&scene);
    let mut head = in_head(&scene);
    let _also_busy = scene.waiting_client();
    assert!(head.is_closed(), "who has sent less gives way first");
    assert_eq!(scene.client().get("/").status, 200);
    assert!(older.is_closed());
    assert_eq!(younger.ask("b").status, 200);
    scene.stage.open_gate();
}

#[test]
fn then_who_does_not_take_the_answer() {
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
fn nobody_who_is_being_answered_gives_way() {
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
fn the_refused_hold_nobody_up() {
    let scene = room_for(1);
    let mut busy = scene.waiting_client();
    // More than are told with patience, and none of them reads or goes.
    let mut refused: Vec<Client> = (0..80).map(|_| scene.client()).collect();
    assert!(refused.iter_mut().all(|client| client.reply().status == 503));
    scene.stage.open_gate();
    assert_eq!(busy.reply().status, 200);
    until(|| scene.client().get("/").status == 200);
}

#[test]
fn many_come_and_go_and_every_request_is_answered() {
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
fn the_descriptor_limit_is_raised_to_the_hard_one() {
    let limit = getrlimit(Resource::Nofile);
    let low = Some(limit.maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH)));
    setrlimit(Resource::Nofile, Rlimit { current: low, ..limit }).unwrap();
    assert_eq!(raise_descriptor_limit(), limit.maximum.unwrap_or(u64::MAX));
}

/// In a process of its own, because it uses up what all tests share.
#[test]
fn without_descriptors_accepting_waits_and_goes_on() {
    let test = "wire::permits::alone_without_descriptors";
    let own = Command::new(std::env::current_exe().unwrap()).args(["--ignored", "--exact", test]).output().unwrap();
    let said = String::from_utf8_lossy(&own.stdout);
    assert!(own.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "uses up the descriptors of its process; run by the test above"]
fn alone_without_descriptors() {
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
    // Now nobody has one to give: the newcomer waits until there is one.
    let mut later = scene.client();
    scene.stage.open_gate();
    assert_eq!(busy.reply().status, 200);
    later.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    drop(hoard);
    assert_eq!(later.reply().status, 200);
}
