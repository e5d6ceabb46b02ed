//! Whole requests and whole answers, one after the other.

use std::io::Write;
use std::time::Duration;

use super::client::Ending;
use super::{BODY_MAX, Scene};

#[test]
fn connection_serves_several_requests() {
    let scene = Scene::new();
    let mut client = scene.client();
    for n in 0..50 {
        let body = "y".repeat(n * 300);
        let length = body.len();
        let reply = client.ask(format!("POST /p?{n} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!((reply.status, reply.body), (200, format!("POST /p Some(\"{n}\") {body}")));
    }
    assert_eq!(scene.server.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let scene = Scene::new();
    let mut client = scene.client();
    let mut sent = String::new();
    for n in 0..100 {
        let body = "z".repeat(n * 7);
        let length = body.len();
        sent += &format!("POST /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
    }
    client.send(sent);
    for n in 0..100 {
        assert_eq!(client.reply().body, format!("POST /{n} None {}", "z".repeat(n * 7)));
    }
    assert!(client.hears_nothing_for(Duration::from_millis(20)), "there is one answer for each");
}

#[test]
fn request_in_any_pieces_is_read() {
    let scene = Scene::new();
    let mut client = scene.client();
    for byte in b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde" {
        client.send([*byte]);
    }
    assert_eq!(client.reply().body, "POST /p None abcde");
}

#[test]
fn empty_lines_between_requests_are_skipped() {
    let scene = Scene::new();
    let mut client = scene.client();
    assert_eq!(client.ask("\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na\r\n").body, "POST /a None a");
    assert_eq!(client.get("/b").body, "GET /b None ");
}

#[test]
fn body_of_largest_size_arrives_whole() {
    let scene = Scene::new();
    let mut client = scene.client();
    let body = "b".repeat(BODY_MAX as usize);
    let reply = client.ask(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY_MAX}\r\n\r\n{body}"));
    assert_eq!(reply.body.len(), "POST / None ".len() + body.len());
}

#[test]
fn large_response_arrives_whole() {
    let scene = Scene::new();
    let mut client = scene.client();
    assert_eq!(client.get("/large?5000000").body.len(), 5_000_000);
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn head_request_gets_length_and_no_body() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send("HEAD /some HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", "HEAD /some None ".len())), "{head}");
    assert_eq!(client.get("/next").body, "GET /next None ", "nothing stood between");

    client.send("HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    client.head();
    assert_eq!(client.get("/next").body, "GET /next None ", "nothing stood between");
}

#[test]
fn no_content_has_neither_body_nor_length() {
    let scene = Scene::new();
    let mut client = scene.client();
    let reply = client.get("/nothing");
    assert_eq!((reply.status, reply.header("content-length")), (204, None));
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn expect_continue_gets_100() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.send("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.ask("ok").body, "POST /p None ok");

    let at_once = client.ask("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok");
    assert_eq!(at_once.status, 200, "who does not wait needs no word");
}

#[test]
fn chunks_are_read_as_one_body() {
    let scene = Scene::new();
    let mut client = scene.client();
    let head = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "POST /next HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nn";
    client.send(format!("{head}5\r\nhello\r\n00B\r\n, chunks\r\n!\r\n0\r\n\r\n{next}{head}0\r\n\r\n{next}"));
    assert_eq!(client.reply().body, "POST /p None hello, chunks\r\n!");
    assert_eq!(client.reply().body, "POST /next None n", "what follows the last chunk is the next request");
    assert_eq!(client.reply().body, "POST /p None ");
    assert_eq!(client.reply().body, "POST /next None n");
    for byte in format!("{head}3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.reply().body, "POST /p None abcd");
}

#[test]
fn chunks_of_largest_body_arrive_whole() {
    let scene = Scene::new();
    let mut client = scene.client();
    let (half, body) = ("b".repeat(BODY_MAX as usize / 2), BODY_MAX as usize);
    let chunk = format!("{:x}\r\n{half}\r\n", half.len());
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(client.ask(format!("{head}{chunk}{chunk}0\r\n\r\n")).body.len(), "POST / None ".len() + body);
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn chunked_expect_continue_gets_100() {
    let scene = Scene::new();
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    };
    let mut client = scene.client();
    client.send(head("/p"));
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.ask("2\r\nok\r\n0\r\n\r\n").body, "POST /p None ok");
    assert_eq!(client.ask(head("/p") + "2\r\nok\r\n0\r\n\r\n").status, 200, "a client that sends at once gets no 100");
    client.send(head("/forbidden"));
    assert_eq!(client.reply().status, 403);
    assert!(client.is_closed());
}

#[test]
fn refused_expect_continue_gets_no_100() {
    let scene = Scene::new();
    for (path, length, status) in [("/forbidden", 5, 403), ("/", BODY_MAX + 1, 413)] {
        let mut client = scene.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(client.reply().status, status);
        assert!(client.is_closed());
    }
}

#[test]
fn stream_is_chunked_and_connection_stays() {
    let scene = Scene::new();
    let mut client = scene.client();
    let head = client.get("/stream");
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(head.header("content-length"), None);
    client.send("GET /close HTTP/1.1\r\nHost: h\r\n\r\n");
    let Ending::Closed(bytes) = client.ending() else { panic!("it was not closed") };
    let end = bytes.windows(9).position(|window| window == b"HTTP/1.1 ").expect("the next answer follows");
    assert_eq!(unchunk(&bytes[..end]).expect("the stream has an end"), b"streamed".repeat(10_000));
}

#[test]
fn stream_to_http_1_0_ends_with_connection() {
    let scene = Scene::new();
    let mut client = scene.client();
    let head = client.ask("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((head.header("transfer-encoding"), head.header("content-length")), (None, None));
    assert!(head.says_close());
    assert_eq!(client.ending(), Ending::Closed(b"streamed".repeat(10_000)));
}

#[test]
fn failed_stream_is_visibly_incomplete() {
    let scene = Scene::new();
    for path in ["/torn", "/torn-by-panic"] {
        let mut client = scene.client();
        client.get(path);
        match client.ending() {
            Ending::Closed(bytes) => assert_eq!(unchunk(&bytes), None, "{path}: no last chunk"),
            Ending::Reset => {}
            Ending::Open => panic!("{path}: the connection stayed"),
        }
        let mut old = scene.client();
        old.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(old.ending(), Ending::Reset, "{path}: nothing else tells an old client");
    }
}

#[test]
fn response_is_one_segment() {
    let scene = Scene::new();
    let client = scene.client();
    for _ in 0..20 {
        client.stream().write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut bytes = [0; 4096];
        let count = std::io::Read::read(&mut client.stream(), &mut bytes).unwrap();
        assert!(bytes[..count].ends_with(b"\r\n\r\nGET / None "), "one read has all of it");
    }
}

/// The body of a chunked stream, or None if it has no proper end.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?, 16).ok()?;
        let (chunk, rest) = bytes[line + 2..].split_at_checked(size)?;
        bytes = rest.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
    }
}
