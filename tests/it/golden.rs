//! The golden list: what a user sees, kept in `tests/it/golden`. A change of a text shows as a change of a fixture there;
//! `CASHBOX_GOLDEN=write cargo test golden` writes the fixtures anew, and the diff is reviewed.
//!
//! `http.txt` and `cli.txt` are scripts with their answers; `help.txt` holds the help of each command, `metrics.txt` the
//! names of the metrics, `texts.txt` each sentence in `src` (sorted, without its place, so that code can move).
//!
//! Lines of a script: `= serve FLAGS` starts a server on an empty file, `= stop` ends it and shows its log.
//! `> WHO METHOD TARGET [Header: value] BODY` sends a request; a refused one is sent again in Chinese for its `msg`.
//! `$ COMMAND` runs a command in a shell. `< NAME /pointer` keeps a part of the last JSON answer as `$NAME`.
//! Lines that begin with `#` are headings; all other lines are answers.

use crate::server::Server;
use crate::shell::{Place, Serving};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name)
}

fn kept(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap_or_default()
}

/// Compares with the fixture, or writes it where that is asked for.
fn compare(name: &str, now: &str) {
    if std::env::var("CASHBOX_GOLDEN").is_ok_and(|value| value == "write") {
        return std::fs::write(fixture(name), now).unwrap();
    }
    let kept = kept(name);
    if kept != now {
        let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (kept.lines().collect(), now.lines().collect());
        let lines = |sign: &str, lines: Vec<&&str>| -> String {
            lines.into_iter().take(40).map(|line| format!("{sign} {line}\n")).collect()
        };
        let (gone, come) = (old.difference(&new).collect(), new.difference(&old).collect());
        panic!(
            "golden/{name} differs; if on purpose: CASHBOX_GOLDEN=write cargo test golden\n{}{}",
            lines("-", gone),
            lines("+", come)
        );
    }
}

/// Replaces what differs from run to run: addresses, times, ids, secrets, hashes, measured spans.
fn normal(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in known {
        text = replaced_words(&text, |word| (word == value).then(|| format!("${name}")));
    }
    let text = replaced_words(&text, |word| {
        let hex = |length: usize| word.len() == length && word.bytes().all(|b| b.is_ascii_hexdigit());
        let digits_at = |places: &[usize]| places.iter().all(|place| word.as_bytes()[*place].is_ascii_digit());
        let time = word.len() >= 20
            && digits_at(&[0, 3, 5, 8, 11, 14, 17])
            && word.as_bytes()[10] == b'T'
            && word.contains('.');
        let year = word.get(..4).and_then(|year| year.parse::<u32>().ok()).unwrap_or(0);
        match word {
            _ if hex(64) => Some("HASH".to_owned()),
            _ if word.starts_with("cashbox1:") => Some("LINE".to_owned()),
            _ if hex(16) => Some("INCARNATION".to_owned()),
            _ if word.len() >= 24 && hex(word.len()) => Some("CURSOR".to_owned()),
            _ if word.parse().is_ok_and(|ms: u32| (31_000..=65_000).contains(&ms) && ms != 50_000) => {
                Some("MS".to_owned())
            } // on a busy machine
            _ if time && (2020..2100).contains(&year) => Some("TIME".to_owned()),
            _ if word.starts_with("lk1.") && word.len() > 12 => Some("LOCK_TOKEN".to_owned()),
            _ if word.starts_with("cbx_") && word.len() > 40 => Some("ACCESS_TOKEN".to_owned()),
            _ if word.starts_with("tok:") && word != "tok:none" => Some("tok:ID".to_owned()),
            _ => None,
        }
    });
    let marks = [
        "127.0.0.1:",
        "localhost:",
        "_in_ms\":",
        "waited_ms\":",
        "held_ms\":",
        "wal_bytes\":",
        "db_bytes\":",
        "create_time\":",
        "(process ",
        "bytes         ",
    ];
    let text = digits_after(&text, &marks).replace("Retry-After: 64", "Retry-After: 65");
    let (unit_names, mut out) = (["ms", "s"], String::new());
    for (place, piece) in text.split(" in ").enumerate() {
        let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let behind = piece[digits..].trim_start();
        let span = place > 0 && digits > 0 && unit_names.iter().any(|unit| behind.starts_with(unit));
        out += if place > 0 { " in " } else { "" };
        out += &if span { format!("N{}", &piece[digits..]) } else { piece.to_owned() };
    }
    out
}

fn replaced_words(text: &str, replaced: impl Fn(&str) -> Option<String>) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let (mut out, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let word = rest[..end].trim_end_matches([':', '.']);
        out += &replaced(word).unwrap_or_else(|| word.to_owned());
        out += &rest[word.len()..end];
        let next = rest[end..].find(part).map_or(rest.len(), |at| at + end);
        out += &rest[end..next];
        rest = &rest[next..];
    }
    out
}

fn digits_after(text: &str, marks: &[&str]) -> String {
    let mut text = text.to_owned();
    for mark in marks {
        let mut pieces = text.split(mark);
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
            out += mark;
            out += if rest.len() < piece.len() { "N" } else { "" };
            out += rest;
        }
        text = out;
    }
    text
}

/// The commands of a script with the lines `<` that belong to them, and its headings.
fn script(name: &str) -> Vec<String> {
    let text = kept(name);
    assert!(!text.is_empty(), "golden/{name} was found");
    text.lines()
        .filter(|line| ["# ", "= ", "> ", "$ ", "< "].iter().any(|sign| line.starts_with(sign)))
        .map(str::to_owned)
        .collect()
}

fn with_values(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().rev().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

const SHOWN_HEADERS: [&str; 6] =
    ["Allow", "Retry-After", "WWW-Authenticate", "Idempotency-Replayed", "Content-Disposition", "Location"];

/// A server and what the script knows of it.
struct Session {
    server: Server,
    clients: BTreeMap<String, crate::server::Client>,
    last: Value,
}

impl Session {
    fn coupons(&self) -> String {
        String::from_utf8(self.server.admin().get("/v1/export?csv=coupons").body).unwrap()
    }

    fn send(&mut self, line: &str) -> String {
        let mut parts = line.splitn(4, ' ');
        let (who, method, target) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let (mut rest, mut headers) = (parts.next().unwrap_or_default(), Vec::new());
        while let Some((header, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let Some((name, value)) = header.split_once(": ").filter(|(name, _)| !name.contains('"')) else { break };
            headers.push((name.to_owned(), value.to_owned()));
            rest = behind.trim_start();
        }
        let server = &self.server;
        let client = self.clients.entry(who.to_owned()).or_insert_with(|| match who {
            "admin" => server.admin(),
            "anonymous" => server.anonymous(),
            role if ["teller", "auditor"].contains(&role) => server.role(role),
            user => server.user(user),
        });
        let mut request = client.ask(method, target);
        for (name, value) in headers.iter().filter(|(name, _)| name != "Content-Type") {
            request = request.header(name, value);
        }
        let content_type = headers.iter().find(|(name, _)| name == "Content-Type").map(|(_, value)| value.as_str());
        request = match (content_type, rest.chars().next()) {
            (Some(content_type), _) => request.body(content_type, rest.as_bytes()),
            (None, None) => request,
            (None, Some('{' | '[')) => request.json(rest),
            (None, Some(_)) => request.form(rest),
        };
        let answer = request.send();
        let mut out = format!("{} {}\n", answer.status, String::from_utf8_lossy(&answer.body).trim_end());
        for name in SHOWN_HEADERS {
            if let Some(value) = answer.header(name) {
                out += &format!("{name}: {value}\n");
            }
        }
        let chosen = headers.iter().any(|(name, _)| name == "Accept-Language");
        if answer.status >= 400 && !chosen && method != "HEAD" {
            let other =
                request.header("Accept-Language", if target.starts_with("/wallet") { "en" } else { "zh" }).send();
            out += &format!("msg: {}\n", other["msg"].as_str().unwrap_or("-"));
        }
        self.last = answer.json;
        out
    }
}

/// Replaces the codes of coupons, which are random, in what a script has printed.
fn without_codes(printed: &str, coupons: &str) -> String {
    let codes: BTreeSet<&str> = coupons.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    replaced_words(printed, |word| codes.contains(word).then(|| "COUPON".to_owned()))
}

#[test]
fn http_answers_match_golden_list() {
    let (mut session, mut known, mut out) = (None::<Session>, BTreeMap::new(), String::new());
    for line in script("http.txt") {
        let (sign, rest) = (&line[..2], with_values(&line[2..], &known));
        out += if out.is_empty() || sign == "< " { "" } else { "\n" };
        out += &format!("{line}\n");
        match sign {
            "= " => {
                out = session.as_ref().map_or(out.clone(), |session| without_codes(&out, &session.coupons()));
                let flags: Vec<&str> = rest.split_whitespace().skip(1).collect();
                session = Some(Session { server: Server::with(&flags), clients: BTreeMap::new(), last: Value::Null });
            }
            "> " => out += &normal(&session.as_mut().expect("a server was started").send(&rest), &known),
            "< " => {
                let (name, pointer) = rest.split_once(' ').unwrap();
                let value = session.as_ref().unwrap().last.pointer(pointer).unwrap_or_else(|| panic!("{line}"));
                known.insert(name.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            _ => {}
        }
    }
    compare("http.txt", &without_codes(&out, &session.unwrap().coupons()));
}

#[test]
fn cli_texts_match_golden_list() {
    let (mut place, mut serving, mut known, mut out) = (Place::new(), None::<Serving>, BTreeMap::new(), String::new());
    let program = Path::new(env!("CARGO_BIN_EXE_cashbox")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut last = Value::Null;
    for line in script("cli.txt") {
        let (sign, rest) = (&line[..2], &line[2..]);
        out += if out.is_empty() || sign == "< " { "" } else { "\n" };
        out += &format!("{line}\n");
        let folder = place.0.path().display().to_string();
        match sign {
            "= " if rest == "new" => {
                out = without_codes(&out, &place.run("export --csv coupons").out);
                place = Place::new();
            }
            "= " if rest == "stop" => {
                let log = serving.take().expect("a server was started").stop();
                out += &normal(&log.replace(&folder, "FOLDER"), &known);
            }
            "= " => serving = Some(place.serve(rest.strip_prefix("serve").unwrap())),
            "$ " => {
                let mut shell = Command::new("/bin/sh");
                for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASHBOX_")) {
                    shell.env_remove(name);
                }
                shell.args(["-c", rest]).env("PATH", &path).current_dir(place.0.path()).stdin(Stdio::null());
                shell.env("TMPDIR", place.0.path());
                shell.env("URL", serving.as_ref().map_or("", |serving| &serving.url)).envs(&known);
                let ran = shell.output().unwrap();
                let (text, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
                last = serde_json::from_str(&text).unwrap_or_default();
                let mut output = String::new();
                text.lines().for_each(|line| output += &format!("  {line}\n"));
                err.lines().for_each(|line| output += &format!("! {line}\n"));
                output += &format!("exit {}\n", ran.status.code().unwrap_or(-1));
                out += &normal(&output.replace(&folder, "FOLDER"), &known).replace(" \n", "\n");
            }
            "< " => {
                let (name, pointer) = rest.split_once(' ').unwrap();
                let value = last.pointer(pointer).unwrap_or_else(|| panic!("{line}"));
                known.insert(name.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            _ => {}
        }
    }
    compare("cli.txt", &out);
}

#[test]
fn help_of_each_command_matches_golden_list() {
    fn help(path: &[String], out: &mut String) {
        let ran = Command::new(env!("CARGO_BIN_EXE_cashbox")).args(path).arg("--help").output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        *out += &format!("# cashbox {} --help\n{text}\n", path.join(" "));
        let commands = text.split("\nCommands:\n").nth(1).unwrap_or_default();
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            let name = line.trim_start().split(' ').next().unwrap().to_owned();
            if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
                help(&[path, &[name]].concat(), out);
            }
        }
    }
    let mut out = String::new();
    help(&[], &mut out);
    compare("help.txt", &out.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>());
}

#[test]
fn metrics_match_golden_list() {
    let server = Server::start();
    let metrics = String::from_utf8(server.admin().get("/metrics").body).unwrap();
    let metrics: String =
        metrics.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    compare("metrics.txt", &metrics);
}

#[test]
fn sentences_of_source_match_golden_list() {
    let mut texts = BTreeSet::new();
    for (path, source) in crate::source::files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Text of the description of the API shows in openapi.json.
        let is_described = path.starts_with("http/openapi") || path.ends_with("http/schemas.rs");
        if !name.ends_with("tests.rs") && name != "fuzz.rs" && !is_described {
            texts.extend(crate::source::literals(&source).into_iter().filter(|text| is_sentence(text)));
        }
    }
    let lines: String = texts.iter().map(|text| format!("{}\n", text.escape_debug())).collect();
    compare("texts.txt", &lines.replace("\\'", "'").replace("\\\"", "\""));
}

/// True for text that people read: words, and not SQL.
fn is_sentence(text: &str) -> bool {
    const SQL: [&str; 24] = [
        "SELECT ",
        "INSERT ",
        "UPDATE ",
        "DELETE ",
        "CREATE ",
        "PRAGMA ",
        "WITH ",
        "EXPLAIN ",
        "DROP ",
        "ALTER ",
        "SAVEPOINT",
        "ROLLBACK",
        "RELEASE ",
        "BEGIN ",
        "FROM ",
        "WHERE ",
        "AND ",
        "ORDER ",
        "JOIN ",
        "UNION ",
        "ATTACH ",
        "VACUUM ",
        "LIMIT ",
        "VALUES ",
    ];
    let bare = text.trim_start();
    let words = text.split(' ').filter(|word| word.chars().any(char::is_alphabetic)).count();
    (words > 1 || !text.is_ascii())
        && !SQL.iter().any(|start| bare.starts_with(start))
        && !text.contains(" = $")
        && !text.contains("\\0")
}
