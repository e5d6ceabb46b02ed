//! Refusals: of what, in which form, and that the client gets them.

use std::thread;
use std::time::Duration;

use cashbox::internals::http::conn::Limits;

use super::client::{Client, Ending};
use super::{BODY_MAX, Scene};

/// The whole of the conversation: this is sent, that status comes back, and the connection is closed without a reset.
#[track_caller]
fn refuses(scene: &Scene, status: u16, request: impl AsRef<[u8]>) {
    let mut client = scene.client();
    let reply = client.ask(&request);
    let request = String::from_utf8_lossy(request.as_ref()).into_owned();
    assert_eq!(reply.status, status, "{request:?} got {reply:?}");
    assert!(reply.says_close(), "{request:?} got {reply:?}");
    assert!(client.is_closed(), "{request:?} left the connection open");
}

fn with(headers: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

#[test]
fn content_length_that_is_not_one_number_is_refused() {
    let scene = Scene::new();
    for value in ["+1", "-1", "1, 1", "", "1e3", "99999999999999999999"] {
        refuses(&scene, 400, with(&format!("Content-Length: {value}\r\n")));
    }
    refuses(&scene, 400, with("Content-Length: 1\r\nContent-Length: 1\r\n") + "a");
    refuses(&scene, 400, with("Content-Length: 4\r\nContent-Length: 40\r\n") + "GET /smuggled HTTP/1.1\r\n\r\n");
}

#[test]
fn transfer_encoding_that_is_not_plain_chunks_is_refused() {
    let scene = Scene::new();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let empty = "0\r\n\r\n";
    refuses(&scene, 400, with(&format!("{chunked}Content-Length: 0\r\n")) + empty);
    refuses(&scene, 400, with(&format!("Content-Length: 5\r\n{chunked}")) + empty);
    refuses(&scene, 400, with(&format!("{chunked}{chunked}")) + empty);
    for coding in ["identity", "gzip", "gzip, chunked", "chunked, chunked", ""] {
        refuses(&scene, 400, with(&format!("Transfer-Encoding: {coding}\r\n")) + empty);
    }
    refuses(&scene, 400, format!("POST / HTTP/1.0\r\nHost: h\r\n{chunked}\r\n{empty}"));
}

#[test]
fn malformed_chunks_are_refused() {
    let scene = Scene::new();
    let chunked = |body: &str| with("Transfer-Encoding: chunked\r\n") + body;
    for body in [
        "x\r\n",
        "\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 \r\na\r\n",
        "1;name=value\r\na\r\n",
        "1\na\n0\n\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n",
        "0\r\nTrailer: x\r\n\r\n",
        "10000000000000000\r\n",
        &"0".repeat(10_000),
    ] {
        refuses(&scene, 400, chunked(body));
    }
    refuses(&scene, 413, chunked("ffffffffffffffff\r\n"));
    refuses(&scene, 413, chunked(&format!("{:x}\r\n", BODY_MAX + 1)));
    refuses(&scene, 413, chunked(&format!("1\r\na\r\n{BODY_MAX:x}\r\n")));
}

#[test]
fn framing_of_tiny_chunks_is_bounded() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send(with("Transfer-Encoding: chunked\r\n"));
    client.try_send("1\r\na\r\n".repeat(BODY_MAX as usize / 5 + 1).as_bytes());
    assert_eq!(client.reply().status, 413);
}

#[test]
fn unknown_http_version_is_refused() {
    let scene = Scene::new();
    refuses(&scene, 505, "GET / HTTP/1.2\r\nHost: h\r\n\r\n");
    refuses(&scene, 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn ambiguous_head_is_refused() {
    let scene = Scene::new();
    refuses(&scene, 400, "GET / HTTP/1.1\r\n\r\n");
    refuses(&scene, 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    refuses(&scene, 400, "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n");
    refuses(&scene, 400, with("Content-Type: application/json\r\nContent-Type: text/plain\r\n"));
    refuses(&scene, 400, with("Folded: a\r\n b\r\n"));
    refuses(&scene, 400, with("Spaced : a\r\n"));
    refuses(&scene, 400, with("Control: a\u{1}b\r\n"));
    refuses(&scene, 400, "G\u{1}T / HTTP/1.1\r\nHost: h\r\n\r\n");
    refuses(&scene, 400, "GET /\u{1} HTTP/1.1\r\nHost: h\r\n\r\n");
    refuses(&scene, 400, "GET / HTTP/1.1\nHost: h\n\n");
    refuses(&scene, 400, b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n");
    refuses(&scene, 400, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    refuses(&scene, 400, with("Expect: cake\r\n"));
}

#[test]
fn nonsense_is_refused_at_once() {
    let scene = Scene::new();
    refuses(&scene, 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
}

#[test]
fn too_long_head_is_refused() {
    let scene = Scene::new();
    let frame = with("X: \r\n").len();
    let head = |length: usize| with(&format!("X: {}\r\n", "x".repeat(length - frame)));
    let mut client = scene.client();
    assert_eq!(client.ask(head(16 * 1024)).status, 200);
    assert_eq!(client.ask(head(16 * 1024)).status, 200, "and once more on the same connection");
    refuses(&scene, 431, head(16 * 1024 + 1));
    refuses(&scene, 431, "GET /".to_owned() + &"x".repeat(300_000));
}

#[test]
fn head_with_too_many_headers_is_refused() {
    let scene = Scene::new();
    let head = |count: usize| with(&"X: y\r\n".repeat(count - 1));
    assert_eq!(scene.client().ask(head(64)).status, 200);
    refuses(&scene, 431, head(65));
}

#[test]
fn too_long_body_is_not_read() {
    let scene = Scene::new();
    refuses(&scene, 413, with(&format!("Content-Length: {}\r\n", BODY_MAX + 1)));
    refuses(&scene, 413, with("Content-Length: 18446744073709551615\r\n"));
}

#[test]
fn client_still_sending_reads_refusal() {
    let scene = Scene::new();
    for (path, length, status) in [("/", BODY_MAX + 1, 413), ("/forbidden", 800_000, 403)] {
        let mut client = scene.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
        client.try_send(&vec![b'x'; 800_000]);
        let reply = client.reply();
        assert_eq!((reply.status, reply.says_close()), (status, true));
        client.half_close();
        assert!(client.is_closed(), "the end is an end and no reset");
    }
}

#[test]
fn client_that_never_stops_sending_is_dropped() {
    let scene = Scene::with(Limits { drain_time: Duration::from_secs(60), ..Limits::default() });
    let mut client = scene.client();
    client.send(with("Content-Length: 1000000000\r\n"));
    let mut sender = Client::from(client.stream().try_clone().unwrap());
    let sending = thread::spawn(move || (0..1000).for_each(|_| sender.try_send(&[b'x'; 100_000])));
    assert_eq!(client.reply().status, 413);
    super::until(|| scene.server.connections() == 0);
    sending.join().unwrap();
}

#[test]
fn refusal_with_unread_body_closes_connection() {
    let scene = Scene::new();
    let mut client = scene.client();
    assert_eq!(client.get("/forbidden").status, 403);
    assert_eq!(client.get("/allowed").status, 200);
    let reply = client.ask("POST /forbidden HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n");
    assert_eq!((reply.status, reply.says_close()), (403, true));
    assert!(client.is_closed());
}

#[test]
fn panic_costs_one_request() {
    let scene = Scene::new();
    let mut client = scene.client();
    for path in ["/panic", "/panic-early"] {
        assert_eq!(client.get(path).status, 500);
        assert_eq!(client.get("/next").body, "GET /next None ", "the connection goes on");
    }
}

#[test]
fn connection_close_is_honoured() {
    let scene = Scene::new();
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: te, CLOSE\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /close HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let mut client = scene.client();
        let reply = client.ask(request);
        assert_eq!((reply.status, reply.says_close()), (200, true), "{request:?}");
        assert_eq!(client.ending(), Ending::Closed(Vec::new()), "{request:?}");
    }
    let mut old = scene.client();
    for _ in 0..2 {
        let reply = old.ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(reply.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn refused_head_request_has_no_body() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(client.is_closed(), "nothing comes after the head");
}
