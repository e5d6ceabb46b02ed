//! Reading heads, encoding heads and the read buffer, without a socket.

use super::body::chunk_size;
use super::parse::parse_head;
use super::service::{Fault, Limits, RequestHead};
use super::socket::ReadBuffer;
use super::write::{ResponseMode, encode_head};

fn read(text: &str) -> Result<Option<(RequestHead, usize)>, Fault> {
    parse_head(text.as_bytes(), &Limits::default())
}

fn good(text: &str) -> RequestHead {
    match read(text) {
        Ok(Some((head, length))) => {
            assert_eq!(length, text.len(), "the whole of {text:?} is the head");
            head
        }
        Ok(None) => panic!("{text:?} was taken for incomplete"),
        Err(fault) => panic!("{text:?} was refused: {fault:?}"),
    }
}

fn refused(text: &str) -> Fault {
    read(text).err().unwrap_or_else(|| panic!("{text:?} was not refused"))
}

fn is_bad(text: &str) {
    assert!(matches!(refused(text), Fault::BadRequest(_)), "{text:?} was refused as {:?}", refused(text));
}

fn with(headers: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

#[test]
fn head_is_split_and_not_decoded() {
    let head =
        good("POST /a%2Fb?x=1?y=%20 HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nX-One: a\r\nx-ONE:  b \r\n\r\n");
    assert_eq!(head.method, "POST");
    assert_eq!(head.path, "/a%2Fb");
    assert_eq!(head.query.as_deref(), Some("x=1?y=%20"));
    assert_eq!(head.content_length, 12);
    assert!(!head.http_1_0);
    assert_eq!(head.header("x-one"), Some("a"));
    assert_eq!(head.headers("x-one").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(head.header("x-two"), None);
}

#[test]
fn head_cut_anywhere_is_incomplete() {
    let whole = with("Content-Length: 3\r\nX: y\r\n");
    for end in 0..whole.len() {
        assert!(matches!(read(&whole[..end]), Ok(None)), "{:?}", &whole[..end]);
    }
}

#[test]
fn head_length_excludes_the_body() {
    let one = with("Content-Length: 3\r\n");
    let (_, length) = read(&format!("{one}abcGET / HTTP/1.1")).unwrap().unwrap();
    assert_eq!(length, one.len());
}

#[test]
fn absolute_target_is_reduced_to_its_path() {
    let target = |target: &str| {
        let head = good(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        (head.path, head.query)
    };
    assert_eq!(target("http://h/a/b?c"), ("/a/b".to_owned(), Some("c".to_owned())));
    assert_eq!(target("HTTPS://H"), ("/".to_owned(), None));
    assert_eq!(target("http://h?c"), ("/".to_owned(), Some("c".to_owned())));
    assert_eq!(target("/http://h/"), ("/http://h/".to_owned(), None));
    assert_eq!(target("/?"), ("/".to_owned(), Some(String::new())));
}

#[test]
fn target_that_is_not_a_path_is_refused() {
    for target in ["*", "h:80", "a", "ftp://h/", "/a#b", "/é", "/\u{1}", "/\u{7f}"] {
        is_bad(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
}

#[test]
fn content_length_other_than_digits_is_refused() {
    assert_eq!(good(&with("Content-Length: 0\r\n")).content_length, 0);
    assert_eq!(good(&with("Content-Length: 18446744073709551615\r\n")).content_length, u64::MAX);
    for value in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "18446744073709551616", "１"] {
        is_bad(&with(&format!("Content-Length: {value}\r\n")));
    }
    is_bad(&with("Content-Length: 1\r\nContent-Length: 2\r\n"));
    is_bad(&with("Content-Length: 1\r\ncontent-length: 1\r\n"));
}

#[test]
fn transfer_coding_other_than_chunked_is_refused() {
    for value in ["identity", "", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1"] {
        is_bad(&with(&format!("Transfer-Encoding: {value}\r\n")));
    }
    let chunked = "Transfer-Encoding: Chunked\r\n";
    assert!(good(&with(chunked)).chunked);
    is_bad(&with(&format!("{chunked}{chunked}")));
    is_bad(&with(&format!("{chunked}Content-Length: 0\r\n")));
    is_bad(&with(&format!("Content-Length: 5\r\n{chunked}")));
    is_bad(&format!("POST / HTTP/1.0\r\nHost: h\r\n{chunked}\r\n"));
}

#[test]
fn chunk_size_is_hex_digits_and_line_end() {
    for (bytes, size) in [("0\r\n", 0), ("1a\r\nX", 0x1a), ("000F\r\n", 15), ("ffffffffffffffff\r\n", u64::MAX)] {
        assert_eq!(chunk_size(bytes.as_bytes()), Ok(Some((size, bytes.find('\n').unwrap() + 1))), "{bytes:?}");
    }
    for bytes in ["", "1", "1a\r", "0123456789abcdef"] {
        assert_eq!(chunk_size(bytes.as_bytes()), Ok(None), "{bytes:?}");
    }
    for bytes in [
        "\r",
        "\r\n",
        "+1\r\n",
        "-1\r\n",
        " 1\r\n",
        "1 \r\n",
        "0x1\r\n",
        "1;a=b\r\n",
        "g",
        "1\n",
        "1\rX",
        "00000000000000001",
    ] {
        assert!(matches!(chunk_size(bytes.as_bytes()), Err(Fault::BadRequest(_))), "{bytes:?}");
    }
}

#[test]
fn host_missing_or_twice_is_refused() {
    is_bad("GET / HTTP/1.1\r\n\r\n");
    is_bad("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    is_bad("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(good("GET / HTTP/1.0\r\n\r\n").http_1_0);
}

#[test]
fn version_other_than_1_0_and_1_1_is_refused() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/1.10", "http/1.1"] {
        let fault = refused(&format!("GET / {version}\r\nHost: h\r\n\r\n"));
        assert!(matches!(fault, Fault::Version | Fault::BadRequest(_)), "{version}: {fault:?}");
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Fault::Version);
    assert_eq!(refused("GET / HTTP/1.2\r\nHost: h\r\n\r\n"), Fault::Version);
}

#[test]
fn ambiguous_head_is_refused() {
    is_bad(&with("Folded: a\r\n b\r\n"));
    is_bad(&with("Folded: a\r\n\tb\r\n"));
    is_bad(&with("Spaced : a\r\n"));
    is_bad(&with(" Leading: a\r\n"));
    is_bad(&with(": nameless\r\n"));
    is_bad(&with("colonless\r\n"));
    is_bad(&with("Nul: a\0b\r\n"));
    is_bad(&with("Delete: a\u{7f}b\r\n"));
    is_bad(&with("Return: a\rb\r\n"));
    is_bad("GE T / HTTP/1.1\r\nHost: h\r\n\r\n");
    is_bad("G\u{1}T / HTTP/1.1\r\nHost: h\r\n\r\n");
    is_bad("GET  / HTTP/1.1\r\nHost: h\r\n\r\n");
    is_bad("\u{16}\u{3}\u{1}");
}

#[test]
fn bare_line_feed_is_refused() {
    is_bad("GET / HTTP/1.1\nHost: h\n\n");
    is_bad("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n");
    is_bad("GET / HTTP/1.1\r\nHost: h\r\n\n");
    is_bad("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
fn header_value_that_is_not_utf_8_is_refused() {
    assert_eq!(good(&with("Holder: Zoë\r\n")).header("holder"), Some("Zoë"));
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nHolder: Zo\xeb\r\n\r\n";
    assert!(matches!(parse_head(bytes, &Limits::default()), Err(Fault::BadRequest(_))));
}

#[test]
fn headers_above_the_limit_are_refused() {
    let headers = |count: usize| with(&"X: y\r\n".repeat(count - 1));
    good(&headers(64));
    assert!(matches!(refused(&headers(65)), Fault::HeadTooLarge(_)));
    let few = Limits { headers: 2, ..Limits::default() };
    assert!(matches!(parse_head(headers(2).as_bytes(), &few), Ok(Some(_))));
    assert!(matches!(parse_head(headers(3).as_bytes(), &few), Err(Fault::HeadTooLarge(_))));
}

#[test]
fn connection_header_decides_keep_alive() {
    let keeps_alive = |version: &str, connection: &str| {
        good(&format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n")).keep_alive()
    };
    assert!(keeps_alive("1.1", ""));
    assert!(keeps_alive("1.1", "Connection: upgrade\r\n"));
    assert!(!keeps_alive("1.1", "Connection: Close\r\n"));
    assert!(!keeps_alive("1.1", "Connection: keep-alive, CLOSE\r\n"));
    assert!(!keeps_alive("1.1", "Connection: te\r\nConnection: close\r\n"));
    assert!(!keeps_alive("1.0", ""));
    assert!(keeps_alive("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keeps_alive("1.0", "Connection: keep-alive, close\r\n"));
}

#[test]
fn expectation_other_than_continue_is_refused() {
    assert!(good(&with("Expect: 100-Continue\r\n")).expects_continue());
    assert!(!good(&with("")).expects_continue());
    is_bad(&with("Expect: cake\r\n"));
    is_bad(&with("Expect: 100-continue\r\nExpect: cake\r\n"));
    assert!(!good("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue());
}

#[test]
fn host_in_target_must_equal_host_header() {
    is_bad("GET http://evil.example/ HTTP/1.1\r\nHost: h\r\n\r\n");
    is_bad("GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(good("GET http://H:80/ HTTP/1.1\r\nHost: h:80\r\n\r\n").header("host"), Some("h:80"));
    assert_eq!(good("GET http://evil.example HTTP/1.0\r\n\r\n").header("host"), Some("evil.example"));
}

const KEEP_ALIVE: ResponseMode = ResponseMode { head_only: false, http_1_0: false, keep_alive: true };

fn lines(head: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8(head).unwrap();
    let lines = text.strip_suffix("\r\n\r\n").expect("a head ends in an empty line").split("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect()
}

#[test]
fn encoded_head_has_one_length_and_server_name() {
    let head = encode_head(200, vec![("Content-Type", "text/plain".to_owned())], Some(5), KEEP_ALIVE, false);
    assert_eq!(lines(head), ["HTTP/1.1 200 OK", "Server: cashbox", "Content-Type: text/plain", "Content-Length: 5"]);
}

#[test]
fn header_value_with_line_break_adds_no_line() {
    let head = encode_head(200, vec![("X-Name", "a\r\nSet-Cookie: é".to_owned())], Some(0), KEEP_ALIVE, false);
    assert!(lines(head).contains(&"X-Name: a??Set-Cookie: ?".to_owned()));
}

#[test]
fn framing_headers_of_a_response_are_ignored() {
    let framing = vec![
        ("content-length", "7".to_owned()),
        ("Transfer-Encoding", "chunked".to_owned()),
        ("Connection", "upgrade".to_owned()),
    ];
    let head = encode_head(200, framing, Some(5), KEEP_ALIVE, false);
    assert_eq!(lines(head), ["HTTP/1.1 200 OK", "Server: cashbox", "Content-Length: 5"]);
}

#[test]
fn response_204_has_no_length() {
    let head = encode_head(204, vec![], Some(0), KEEP_ALIVE, false);
    assert_eq!(lines(head), ["HTTP/1.1 204 No Content", "Server: cashbox"]);
}

#[test]
fn http_1_0_response_names_its_connection_option() {
    let old = ResponseMode { http_1_0: true, ..KEEP_ALIVE };
    assert_eq!(lines(encode_head(200, vec![], Some(1), old, false)).last().unwrap(), "Connection: keep-alive");
    let stream = lines(encode_head(200, vec![], None, old, true));
    assert_eq!(stream, ["HTTP/1.1 200 OK", "Server: cashbox", "Connection: close"]);
}

fn take(input: &mut ReadBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = input.space();
        let count = space.len().min(bytes.len());
        assert!(count > 0, "there is space");
        space[..count].copy_from_slice(&bytes[..count]);
        input.filled(count);
        bytes = &bytes[count..];
    }
}

#[test]
fn buffer_keeps_unused_bytes_while_it_grows() {
    let long: Vec<u8> = (0..16_000u32).map(|n| n as u8).collect();
    let mut input = ReadBuffer::new(16 * 1024);
    take(&mut input, &long[..4_000]);
    input.consume(3_000);
    take(&mut input, &long[4_000..]);
    assert_eq!(input.unused(), &long[3_000..]);
}

#[test]
fn buffer_at_its_limit_has_no_space() {
    let mut input = ReadBuffer::new(8 * 1024);
    take(&mut input, &[7; 8 * 1024]);
    assert!(input.space().is_empty());
}

#[test]
fn empty_buffer_shrinks() {
    let mut input = ReadBuffer::new(16 * 1024);
    take(&mut input, &[7; 10_000]);
    input.consume(9_999);
    input.shrink();
    assert_eq!(input.unused(), [7], "unused bytes stay");
    input.consume(1);
    input.shrink();
    assert_eq!(input.bytes.len(), 4 * 1024);
}

#[test]
fn buffer_skips_empty_lines_and_keeps_a_lone_return() {
    let mut input = ReadBuffer::new(0);
    take(&mut input, b"\r\n\r\n\rG");
    input.skip_empty_lines();
    assert_eq!(input.unused(), b"\rG");
}
