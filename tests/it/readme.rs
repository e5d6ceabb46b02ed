//! The sessions of the README and of the pages, as printed: each `$ curl …` is sent, each other command is run by a shell,
//! and the answer is what stands below it.

use crate::server::{ADMIN, Server};
use crate::shell::Place;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");
const LOCKS: &str = include_str!("../../docs/locks.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// The commands of a page's sessions, each with the answer below it.
fn steps(page: &str) -> Vec<(String, String)> {
    let sessions = page.split("<!-- a test runs this session -->\n```console\n").skip(1);
    let sessions = sessions.map(|behind| behind.split_once("```").unwrap().0);
    let steps = sessions.flat_map(|session| session.split("$ ").skip(1)).map(|step| step.split_once('\n').unwrap());
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
    let mut words = words(line);
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
    works_as_printed(README, 8, &[]);
}

#[test]
fn the_story_of_the_stalled_till_works_as_printed() {
    works_as_printed(LOCKS, 9, &["$FIRST", "$SECOND"]);
}

#[test]
fn the_story_of_the_wrecked_file_works_as_printed() {
    let place = Place::new();
    let program = Path::new(env!("CARGO_BIN_EXE_cashbox")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let steps = steps(OPERATIONS);
    assert!(steps.len() >= 8, "the session was found");
    for (command, answer) in steps {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{{ {command}; }} 2>&1")]).env("PATH", &path).current_dir(place.0.path());
        let ran = shell.output().unwrap();
        let got = String::from_utf8(ran.stdout).unwrap();
        assert!(is_like(got.trim(), &answer), "$ {command}\nthe page says {answer}\nthe program says {got}");
    }
}

/// Runs the page's sessions, which have at least so many steps. The tokens of its grants have these names, in order.
fn works_as_printed(page: &str, steps_min: usize, names: &[&str]) {
    let server = Server::start();
    let steps = steps(page);
    assert!(steps.len() >= steps_min, "the sessions were found");
    let (mut names, mut known) = (names.iter(), vec![("$TOKEN", ADMIN.to_owned())]);
    for (command, answer) in steps {
        let line = known.iter().fold(command.clone(), |line, (name, value)| line.replace(name, value));
        let got = curl(&server, &line);
        assert!(is_like(&got, &answer), "$ {command}\nthe page says {answer}\nthe program says {got}");
        let got: Value = serde_json::from_str(&got).unwrap_or_default();
        if let (Some(token), Some(name)) = (got["token"].as_str(), names.clone().next()) {
            known.push((name, token.to_owned()));
            names.next();
        }
    }
}
