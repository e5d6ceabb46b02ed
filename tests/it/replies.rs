//! Answers that the writer's side sends on connections that stay open: slow readers, clients that leave, and a stop while
//! answers are on their way. What the server leaves is audited at the end of each.

use super::server::{ADMIN, Client, Server, TIMEOUT, until};
use cashbox::internals::money::Cents;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// A connection that stays open.
struct Connection(BufReader<TcpStream>);

/// A whole answer, or None at the end of the connection.
type Answered = Option<(u16, String, Value)>;

impl Connection {
    fn of(client: &Client) -> Connection {
        let stream = TcpStream::connect(client.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection(BufReader::new(stream))
    }

    fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    fn send(&self, request: &str) -> bool {
        self.stream().write_all(request.as_bytes()).is_ok()
    }

    /// Panics if the answer is torn.
    fn answer(&mut self) -> Answered {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.0.read_line(&mut head) {
                Ok(0) => {
                    assert_eq!(head, "", "a head is whole");
                    return None;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset && head.is_empty() => return None,
                Err(error) => panic!("{error} after {head:?}"),
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Some((head[9..12].parse().unwrap(), head, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

fn request(client: &Client, method: &str, path: &str, key: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN}\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        client.address,
        body.len()
    )
}

fn withdrawal(client: &Client, user: &str, key: &str) -> String {
    request(client, "POST", &format!("/v1/wallets/{user}/withdraw"), key, r#"{"amount":"0.01"}"#)
}

#[test]
fn pipelined_withdrawals_are_answered_in_their_order() {
    let server = Server::start();
    server.user_with("ann", "100.00");
    let admin = server.admin();
    let mut connection = Connection::of(&admin);
    for round in 0..20 {
        let look = request(&admin, "GET", "/v1/wallets/ann", "unused", "");
        let pair: String = (0..10).map(|n| withdrawal(&admin, "ann", &format!("k{round}-{n}")) + &look).collect();
        assert!(connection.send(&pair));
        for n in 1..=10 {
            let left = format!("{}.{:02}", 99 - (round * 10 + n - 1) / 100, 99 - (round * 10 + n - 1) % 100);
            let (status, head, moved) = connection.answer().unwrap();
            assert_eq!((status, &moved["balance"]), (200, &json!(left)), "{head}");
            let (status, _, looked) = connection.answer().unwrap();
            assert_eq!((status, &looked["balance"]), (200, &json!(left)), "a read sees the write before it");
        }
    }
}

#[test]
fn slow_readers_delay_none_of_100_busy_clients() {
    let server = Server::start();
    server.user_with("slow", "10000.00");
    (0..100).for_each(|n| _ = server.user_with(&format!("u{n}"), "100.00"));
    let admin = server.admin();
    // Each sends until the server takes no more, and reads nothing.
    let slow: Vec<(Connection, usize)> = (0..3)
        .map(|n| {
            let connection = Connection::of(&admin);
            connection.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut sent = 0;
            while sent < 200_000 && connection.send(&withdrawal(&admin, "slow", &format!("slow-{n}-{sent}"))) {
                sent += 1;
            }
            (connection, sent)
        })
        .collect();
    assert!(slow.iter().all(|(_, sent)| (100..200_000).contains(sent)), "the server stopped to read from them");
    let began = Instant::now();
    thread::scope(|scope| {
        for n in 0..100 {
            let admin = &admin;
            scope.spawn(move || {
                let mut connection = Connection::of(admin);
                for round in 0..5 {
                    assert!(connection.send(&withdrawal(admin, &format!("u{n}"), &format!("{n}-{round}"))));
                    assert_eq!(connection.answer().unwrap().0, 200);
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(8), "a stalled client is given 10 s: {:?}", began.elapsed());
    (0..100).for_each(|n| assert_eq!(admin.balance(&format!("u{n}")), "99.95"));
}

#[test]
fn client_gone_before_its_answer_finds_one_effect() {
    let server = Server::start();
    (0..40).for_each(|n| _ = server.user_with(&format!("u{n}"), "1.00"));
    let admin = server.admin();
    thread::scope(|scope| {
        for n in 0..40 {
            let admin = &admin;
            scope.spawn(move || {
                for round in 0..5 {
                    let connection = Connection::of(admin);
                    assert!(connection.send(&withdrawal(admin, &format!("u{n}"), &format!("{n}-{round}"))));
                    thread::sleep(Duration::from_micros(n * 100)); // before, during and after the commit
                }
            });
        }
    });
    for n in 0..40 {
        for round in 0..5 {
            let path = format!("/v1/wallets/u{n}/withdraw");
            admin.post_once(&format!("{n}-{round}"), &path, json!({ "amount": "0.01" })).is(200);
        }
        assert_eq!(admin.balance(&format!("u{n}")), "0.95");
    }
}

#[test]
fn grant_to_client_gone_is_released() {
    let server = Server::start();
    let admin = server.admin();
    for round in 0..40 {
        let path = format!("/v1/locks/job-{round}");
        let mut connection = Connection::of(&admin);
        assert!(connection.send(&request(&admin, "POST", &path, "unused", "{}")));
        // The server takes this for a client that leaves, at whatever moment it sees it; yet the client would still read.
        connection.stream().shutdown(Shutdown::Write).unwrap();
        match connection.answer() {
            Some((201, _, grant)) => {
                let held = admin.get(&path).is(200);
                assert_eq!((&held["state"], &held["fence"]), (&json!("held"), &grant["fence"]), "it was delivered");
            }
            Some((status, _, _)) => assert_eq!((status, &admin.get(&path).is(200)["state"]), (503, &json!("free"))),
            None => until(|| admin.get(&path).is(200)["state"] == "free"),
        }
    }
    // A waiter that leaves before it is granted never gets it.
    let grant = admin.post("/v1/locks/turn", json!({})).is(201);
    let waiter = Connection::of(&admin);
    assert!(waiter.send(&request(&admin, "POST", "/v1/locks/turn", "unused", r#"{"wait_ms":20000}"#)));
    until(|| admin.get("/v1/locks/turn").is(200)["queue"] == 1);
    drop(waiter);
    admin.ask("DELETE", "/v1/locks/turn").header("Lock-Token", &grant.text("token")).send().is(204);
    until(|| admin.get("/v1/locks/turn").is(200)["state"] == "free");
}

#[test]
fn stop_with_answers_on_their_way_tears_none() {
    for round in 0..3 {
        let mut server = Server::start();
        (0..30).for_each(|n| _ = server.user_with(&format!("u{n}"), "100.00"));
        let admin = server.admin();
        let answered = AtomicUsize::new(0);
        let counts: HashMap<u64, i64> = thread::scope(|scope| {
            let clients: Vec<_> = (0..30)
                .map(|n| {
                    let (admin, answered) = (&admin, &answered);
                    scope.spawn(move || {
                        let mut connection = Connection::of(admin);
                        let mut yes = 0;
                        while connection.send(&withdrawal(admin, &format!("u{n}"), &format!("{n}-{yes}"))) {
                            let Some((status, head, _)) = connection.answer() else { break };
                            assert!(matches!(status, 200 | 503), "{head}");
                            yes += i64::from(status == 200);
                            answered.fetch_add(1, SeqCst);
                            if head.contains("Connection: close") {
                                assert_eq!(connection.answer(), None, "it said that it closes");
                                break;
                            }
                        }
                        (n, yes)
                    })
                })
                .collect();
            until(|| answered.load(SeqCst) > 200 + 100 * round);
            server.terminate();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        assert_eq!(server.exit_code(), Some(0));
        let folder = std::mem::replace(&mut server.folder, tempfile::TempDir::new().unwrap());
        drop(server);
        let again = Server::in_folder(folder);
        for (n, yes) in counts {
            let balance = Cents::parse(&again.admin().balance(&format!("u{n}"))).unwrap();
            let effects = 10_000 - balance.0;
            assert!(
                (yes..=yes + 1).contains(&effects),
                "{yes} yes and {effects} effects; one may be done and not answered"
            );
        }
    }
}
