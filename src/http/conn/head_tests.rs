//! What a head may look like, without a socket.

use super::*;

fn read(text: &str) -> Result<Option<(RequestHead, usize)>, Fault> {
    parse(text.as_bytes(), &Limits::default())
}

fn good(text: &str) -> RequestHead {
    match read(text) {
        Ok(Some((head, length))) => {
            assert_eq!(length, text.len(), "the whole of {text:?} is the head");
            head
        }
        Ok(None) => panic!("{text:?} was taken for unfinished"),
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
fn a_head_is_taken_apart_and_not_decoded() {
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
fn every_beginning_of_a_head_is_unfinished() {
    let whole = with("Content-Length: 3\r\nX: y\r\n");
    for end in 0..whole.len() {
        assert!(matches!(read(&whole[..end]), Ok(None)), "{:?}", &whole[..end]);
    }
}

#[test]
fn a_head_ends_where_it_ends() {
    let one = with("Content-Length: 3\r\n");
    let (_, length) = read(&format!("{one}abcGET / HTTP/1.1")).unwrap().unwrap();
    assert_eq!(length, one.len());
}

#[test]
fn an_absolute_target_is_reduced_to_its_path() {
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
fn other_targets_are_refused() {
    for target in ["*", "h:80", "a", "ftp://h/", "/a#b", "/é", "/\u{1}", "/\u{7f}"] {
        is_bad(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
}

#[test]
fn a_length_is_one_number_of_digits() {
    assert_eq!(good(&with("Content-Length: 0\r\n")).content_length, 0);
    assert_eq!(good(&with("Content-Length: 18446744073709551615\r\n")).content_length, u64::MAX);
    for value in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "18446744073709551616", "１"] {
        is_bad(&with(&format!("Content-Length: {value}\r\n")));
    }
    is_bad(&with("Content-Length: 1\r\nContent-Length: 2\r\n"));
    is_bad(&with("Content-Length: 1\r\ncontent-length: 1\r\n"));
}

#[test]
fn any_transfer_coding_is_refused_as_such() {
    for value in ["chunked", "identity", "", "gzip, chunked", "xchunked"] {
        let header = format!("Transfer-Encoding: {value}\r\n");
        assert_eq!(refused(&with(&header)), Fault::TransferEncoding);
        assert_eq!(refused(&with(&format!("Content-Length: 1\r\n{header}"))), Fault::TransferEncoding);
    }
}

#[test]
fn one_host_where_one_is_needed() {
    is_bad("GET / HTTP/1.1\r\n\r\n");
    is_bad("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    is_bad("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(good("GET / HTTP/1.0\r\n\r\n").http_1_0);
}

#[test]
fn only_two_versions_are_spoken() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/1.10", "http/1.1"] {
        let fault = refused(&format!("GET / {version}\r\nHost: h\r\n\r\n"));
        assert!(matches!(fault, Fault::Version | Fault::BadRequest(_)), "{version}: {fault:?}");
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Fault::Version);
    assert_eq!(refused("GET / HTTP/1.2\r\nHost: h\r\n\r\n"), Fault::Version);
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
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
fn a_bare_line_feed_ends_no_line() {
    is_bad("GET / HTTP/1.1\nHost: h\n\n");
    is_bad("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n");
    is_bad("GET / HTTP/1.1\r\nHost: h\r\n\n");
    is_bad("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
fn values_are_utf_8() {
    assert_eq!(good(&with("Holder: Zoë\r\n")).header("holder"), Some("Zoë"));
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nHolder: Zo\xeb\r\n\r\n";
    assert!(matches!(parse(bytes, &Limits::default()), Err(Fault::BadRequest(_))));
}

#[test]
fn headers_are_counted() {
    let headers = |count: usize| with(&"X: y\r\n".repeat(count - 1));
    good(&headers(64));
    assert!(matches!(refused(&headers(65)), Fault::HeadTooLarge(_)));
    let few = Limits { headers: 2, ..Limits::default() };
    assert!(matches!(parse(headers(2).as_bytes(), &few), Ok(Some(_))));
    assert!(matches!(parse(headers(3).as_bytes(), &few), Err(Fault::HeadTooLarge(_))));
}

#[test]
fn who_stays_and_who_goes() {
    let stays = |version: &str, connection: &str| {
        good(&format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n")).wants_to_stay()
    };
    assert!(stays("1.1", ""));
    assert!(stays("1.1", "Connection: upgrade\r\n"));
    assert!(!stays("1.1", "Connection: Close\r\n"));
    assert!(!stays("1.1", "Connection: keep-alive, CLOSE\r\n"));
    assert!(!stays("1.1", "Connection: te\r\nConnection: close\r\n"));
    assert!(!stays("1.0", ""));
    assert!(stays("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!stays("1.0", "Connection: keep-alive, close\r\n"));
}

#[test]
fn one_expectation_is_known() {
    assert!(good(&with("Expect: 100-Continue\r\n")).expects_continue());
    assert!(!good(&with("")).expects_continue());
    is_bad(&with("Expect: cake\r\n"));
    is_bad(&with("Expect: 100-continue\r\nExpect: cake\r\n"));
    assert!(!good("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue());
}

#[test]
fn a_host_in_the_target_is_the_host() {
    is_bad("GET http://evil.example/ HTTP/1.1\r\nHost: h\r\n\r\n");
    is_bad("GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(good("GET http://H:80/ HTTP/1.1\r\nHost: h:80\r\n\r\n").header("host"), Some("h:80"));
    assert_eq!(good("GET http://evil.example HTTP/1.0\r\n\r\n").header("host"), Some("evil.example"));
}
