//! The README's session, as printed: each `$ curl …` is sent, and the answer is what stands below it.

use crate::server::{ADMIN, Server};
use std::collections::VecDeque;

const README: &str = include_str!("../../README.md");

/// The commands of the session, each with the answer below it.
fn session() -> Vec<(String, String)> {
    let (_, behind) =
        README.split_once("<!-- a test runs this session -->\n```console\n").expect("the README has a session");
    let (session, _) = behind.split_once("```").unwrap();
    let steps = session.split("$ ").skip(1).map(|step| step.split_once('\n').unwrap());
    steps.map(|(command, answer)| (command.to_owned(), answer.trim().to_owned())).collect()
}

/// The words of a shell's line, with its two kinds of quotes.
fn words(line: &str) -> VecDeque<String> {
    let (mut words, mut word, mut quote) = (VecDeque::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => words.push_back(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push_back(word);
    words
}

/// Does what curl would with these words; the body of the answer.
fn curl(server: &Server, line: &str) -> String {
    let mut words = words(&line.replace("$TOKEN", ADMIN));
    assert_eq!(words.pop_front().as_deref(), Some("curl"));
    let (mut method, mut headers, mut data, mut target) = (None, Vec::new(), Vec::new(), None);
    while let Some(word) = words.pop_front() {
        match word.as_str() {
            "-X" => method = words.pop_front(),
            "-H" => headers.extend(words.pop_front()),
            "-d" => data.extend(words.pop_front()),
            _ => target = word.strip_prefix("localhost:8866").map(str::to_owned),
        }
    }
    let method = method.unwrap_or_else(|| if data.is_empty() { "GET".to_owned() } else { "POST".to_owned() });
    let mut request = server.nobody().ask(&method, &target.expect("a request has a target"));
    if !data.is_empty() && !headers.iter().any(|header| header.starts_with("Content-Type")) {
        request = request.form(&data.join("&"));
    } else if !data.is_empty() {
        request = request.json(data.concat());
    }
    for header in headers.iter().filter(|header| !header.starts_with("Content-Type")) {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    String::from_utf8(request.send().body).unwrap()
}

/// Whether the text is the pattern, with anything where the pattern has `…`.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    for (place, piece) in pieces.iter().enumerate() {
        let found = if place + 1 == pieces.len() {
            rest.ends_with(piece).then(|| rest.len() - piece.len())
        } else {
            rest.find(piece)
        };
        let Some(at) = found else { return false };
        rest = &rest[at + piece.len()..];
    }
    !pieces.is_empty() || rest.is_empty()
}

#[test]
fn the_session_works_as_printed() {
    let server = Server::start();
    let steps = session();
    assert!(steps.len() >= 8, "the session was found");
    for (command, answer) in steps {
        let got = curl(&server, &command);
        assert!(is_like(&got, &answer), "$ {command}\nthe README says {answer}\nthe program says {got}");
    }
}
