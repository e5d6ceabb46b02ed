//! Every session of the README and of the pages in `docs/` runs as printed, and the pages name what there is.
//!
//! A session is a `console` block behind [`MARK`]. A line that begins with `$ ` is a command; below it stands what it prints,
//! with `…` for what varies. A `curl` of `localhost:8866` is sent to a server on the page's own file, which starts at the page's first
//! `curl`; any other command is run by a shell in that file's folder. `TOKEN` is the admin's access token. The mark may
//! go on with `; keep FIELD as NAME, …`: each answer gives its value to the first `NAME` that has none yet and whose field it has.
//! A `sh` block behind the same mark is a script that must exit 0.

use crate::server::{ADMIN, Server, described_path, description};
use crate::source::read;
use cashbox::ErrorName;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const MARK: &str = "<!-- a test runs this";

/// Every page that holds a session. [`every_session_is_run`] fails if one is missing.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test] fn $test() { run_page($page); })*
    };
}

pages! {
    readme_sessions_run_as_printed: "README.md",
    beyond_one_machine_sessions_run_as_printed: "docs/beyond-one-machine.md",
    command_line_sessions_run_as_printed: "docs/command-line.md",
    follow_sessions_run_as_printed: "docs/follow.md",
    http_sessions_run_as_printed: "docs/http.md",
    lab_sessions_run_as_printed: "docs/lab.md",
    locks_sessions_run_as_printed: "docs/locks.md",
    operations_sessions_run_as_printed: "docs/operations.md",
    testing_sessions_run_as_printed: "docs/testing.md",
    testing_parallel_sessions_run_as_printed: "docs/testing-parallel.md",
    testing_time_sessions_run_as_printed: "docs/testing-time.md",
    testing_lost_answers_sessions_run_as_printed: "docs/testing-lost-answers.md",
    testing_races_sessions_run_as_printed: "docs/testing-races.md",
}

/// `README.md` and each page of `docs/`.
fn all_pages() -> Vec<String> {
    let docs = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let names = docs.map(|page| page.unwrap().file_name().into_string().unwrap());
    let pages = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    std::iter::once("README.md".to_owned()).chain(pages).collect()
}

/// One block of a page that is run.
struct Block {
    /// Fields of answers, as JSON pointers, and the names their values get.
    keep: Vec<(String, String)>,
    steps: Vec<Step>,
}

struct Step {
    command: String,
    /// None for a script, of which only the exit code counts.
    answer: Option<String>,
}

/// The blocks of a page that are run, in order.
fn blocks(page: &str) -> Vec<Block> {
    page.split(MARK).skip(1).map(block).collect()
}

fn block(text: &str) -> Block {
    let (mark, rest) = text.split_once("-->\n```").expect("a block stands right below its mark");
    let keep = mark.split_once("; keep ").map_or("", |(_, keep)| keep);
    let keep = keep.split(", ").filter_map(|one| one.trim().split_once(" as "));
    let keep = keep.map(|(field, name)| (format!("/{field}"), name.to_owned())).collect();
    let (language, rest) = rest.split_once('\n').unwrap();
    let (body, _) = rest.split_once("\n```").expect("a block ends");
    let steps = match language {
        "sh" => vec![Step { command: body.to_owned(), answer: None }],
        "console" => format!("\n{body}").split("\n$ ").skip(1).map(step).collect(),
        other => panic!("a block that is run is `sh` or `console`, not {other:?}"),
    };
    Block { keep, steps }
}

fn step(text: &str) -> Step {
    let (command, answer) = text.split_once('\n').unwrap_or((text, ""));
    Step { command: command.to_owned(), answer: Some(answer.trim().to_owned()) }
}

/// The file of a page: in a folder of its own until the first `curl`, served from then on.
enum File {
    Alone(TempDir),
    Served(Server),
}

impl File {
    fn folder(&self) -> PathBuf {
        match self {
            File::Alone(folder) => folder.path().to_owned(),
            File::Served(server) => server.folder.path().to_owned(),
        }
    }

    fn serve(self) -> File {
        match self {
            File::Alone(folder) => File::Served(Server::in_folder(folder)),
            served => served,
        }
    }
}

fn run_page(name: &str) {
    let mut file = File::Alone(TempDir::new().unwrap());
    let mut known = BTreeMap::from([("TOKEN".to_owned(), ADMIN.to_owned())]);
    for Block { mut keep, steps } in blocks(&read(name)) {
        for Step { command, answer } in &steps {
            let got = if command.starts_with("curl ") {
                file = file.serve();
                let File::Served(server) = &file else { unreachable!("it was served just now") };
                Curl::read(&with_values(command, &known)).send(server, &file.folder())
            } else {
                shell(command, answer.is_none(), &file.folder(), &known)
            };
            if let Some(answer) = answer {
                assert!(
                    is_like(&got.trim().replace("\r\n", "\n"), answer),
                    "{name}\n$ {command}\nthe page: {answer}\nthe program: {got}"
                );
            }
            let got: Value = serde_json::from_str(&got).unwrap_or_default();
            let found = keep.iter().enumerate().find_map(|(at, (pointer, _))| Some((at, got.pointer(pointer)?)));
            if let Some((at, value)) = found {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                known.insert(keep.remove(at).1, value);
            }
        }
        assert_eq!(keep, [], "{name}: no answer has what is to be kept");
    }
}

/// The line with the value of each `$NAME` in it.
fn with_values(line: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().rev().fold(line.to_owned(), |line, (name, value)| line.replace(&format!("${name}"), value))
}

/// Both outputs of a shell that runs the command, or the script, on both outputs.
fn shell(command: &str, script: bool, folder: &Path, known: &BTreeMap<String, String>) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_cashbox")).parent().unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let path = format!("{}:{}:{}", program.display(), scripts.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("/bin/sh");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASHBOX_")) {
        shell.env_remove(name);
    }
    let text = if script { format!("exec 2>&1; set -e\n{command}") } else { format!("{{ {command}; }} 2>&1") };
    let ran = shell.args(["-c", &text]).envs(known).env("PATH", &path).current_dir(folder).output().unwrap();
    let got = String::from_utf8(ran.stdout).unwrap();
    assert!(!script || ran.status.success(), "{command}\nended with {}\n{got}", ran.status);
    got
}

/// The request of a `curl` line.
struct Curl {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    data: Vec<String>,
    output: Option<String>,
}

impl Curl {
    fn read(line: &str) -> Curl {
        let mut words = words(line);
        assert_eq!(words.pop_front().as_deref(), Some("curl"));
        let (mut method, mut target) = (None, None);
        let (mut headers, mut data, mut output) = (Vec::new(), Vec::new(), None);
        while let Some(word) = words.pop_front() {
            match word.as_str() {
                "-X" => method = words.pop_front(),
                "-H" => headers.extend(words.pop_front()),
                "-d" | "--data-binary" => data.extend(words.pop_front()),
                "-o" => output = words.pop_front(),
                url => target = url.strip_prefix("localhost:8866").map(str::to_owned),
            }
        }
        let method = method.unwrap_or_else(|| if data.is_empty() { "GET" } else { "POST" }.to_owned());
        let target = target.unwrap_or_else(|| panic!("{line}: a request goes to localhost:8866"));
        let headers = headers.iter().map(|header| header.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Curl { method, target, headers, data, output }
    }

    /// Sends it; what `curl` would print. `@NAME` as data is a file in the folder.
    fn send(self, server: &Server, folder: &Path) -> String {
        let mut request = server.anonymous().ask(&self.method, &self.target);
        let (types, others): (Vec<_>, Vec<_>) = self.headers.iter().partition(|(name, _)| name == "Content-Type");
        for (name, value) in others {
            request = request.header(name, value);
        }
        if !self.data.is_empty() {
            let file = self.data[0].strip_prefix('@').map(|name| std::fs::read(folder.join(name)).unwrap());
            let body = file.unwrap_or_else(|| self.data.join("&").into_bytes());
            let content_type = types.first().map_or("application/x-www-form-urlencoded", |(_, value)| value.as_str());
            request = request.body(content_type, &body);
        }
        let body = request.send().body;
        match self.output {
            Some(name) => std::fs::write(folder.join(name), body).map(|()| String::new()).unwrap(),
            None => String::from_utf8(body).unwrap(),
        }
    }
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

/// True if the text is the pattern, with anything where the pattern has `…`.
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
fn every_session_is_run() {
    for page in all_pages() {
        let text = read(&page);
        let commands = text.lines().filter(|line| line.starts_with("$ ")).count();
        let is_session = |step: &&Step| step.answer.is_some();
        let run: usize = blocks(&text).iter().map(|block| block.steps.iter().filter(is_session).count()).sum();
        assert_eq!(commands, run, "{page}: each `$ ` line stands in a block that is marked");
        assert_eq!(
            PAGES.contains(&page.as_str()),
            text.contains(MARK),
            "{page} is named in this file if it has sessions"
        );
    }
}

/// Its other blocks of shell need several machines: `.ci/slow machines` runs each that has the mark.
#[test]
fn beyond_one_machine_has_no_block_that_nothing_runs() {
    let page = read("docs/beyond-one-machine.md");
    let script = read(".ci/machines");
    let mut count = 0;
    for (before, _) in page.match_indices("```sh\n").map(|(at, _)| page.split_at(at)) {
        let mark = before.lines().last().unwrap();
        let name = mark.strip_prefix("<!-- .ci/machines runs this: ").and_then(|rest| rest.strip_suffix(" -->"));
        let name = name.unwrap_or_else(|| panic!("a block behind {mark:?}"));
        assert!(script.contains(&format!("(\"{name}\"")), "{name}");
        count += 1;
    }
    assert!(count > 10, "{count} blocks");
}

#[test]
fn http_page_shows_every_request_and_every_error() {
    let page = read("docs/http.md");
    let sent: Vec<(String, String)> = blocks(&page)
        .iter()
        .flat_map(|block| &block.steps)
        .filter(|step| step.command.starts_with("curl "))
        .map(|step| {
            let Curl { method, target, .. } = Curl::read(&step.command);
            let target = target.replace('$', "");
            (described_path(&method, &target).unwrap_or_else(|| panic!("{method} {target} is described")), method)
        })
        .collect();
    for (path, operations) in description()["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            assert!(page.contains(&format!("\n### `{method} {path}`\n")), "{method} {path} has a heading");
            assert!(sent.contains(&(path.clone(), method.clone())), "{method} {path} has a curl");
        }
    }
    let row = |line: &str| -> Option<(u16, String, bool)> {
        let (status, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        let (name, _) = rest.split_once("` | ")?;
        Some((status.parse().ok()?, name.to_owned(), line.ends_with(" stored |")))
    };
    let (_, table) = page.split_once("## Errors").unwrap();
    let listed: Vec<_> = table.lines().filter_map(row).collect();
    let errors = ErrorName::ALL.iter().map(|name| (name.status(), name.as_str().to_owned(), name.is_refusal()));
    assert_eq!(listed, errors.collect::<Vec<_>>(), "the table of errors, in the order of precedence");
}

/// Each name in the last column of the page's tables of guarantees is a file of tests, or a test in it.
#[test]
fn guarantees_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut count = 0;
    for page in ["docs/guarantees.md", "docs/locks.md"] {
        let text = read(page);
        let table = text.split("| test").nth(1).expect("a table with a column of tests");
        for row in table.split("\n\n").next().unwrap().lines().skip(2) {
            let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            for name in tests.split('`').skip(1).step_by(2) {
                let (module, test) = name.split_once("::").unwrap_or((name, ""));
                let path = [format!("{module}.rs"), format!("{module}/mod.rs")].map(|file| root.join(file));
                let path = path.iter().find(|path| path.exists());
                let source = path.map(std::fs::read_to_string).unwrap_or_else(|| panic!("{page}: no tests {name}"));
                assert!(test.is_empty() || source.unwrap().contains(&format!("fn {test}(")), "{page}: no test {name}");
                count += 1;
            }
        }
    }
    assert!(count > 40, "the tables were found");
}

#[test]
fn links_between_pages_lead_to_files_and_headings() {
    for page in all_pages() {
        let text = read(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&page).parent().unwrap();
            let path = if file.is_empty() { PathBuf::from(&page) } else { folder.join(file) };
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            assert!(root.join(&path).exists(), "{page} links to {target}");
            if !heading.is_empty() {
                let text = read(path.to_str().unwrap());
                let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.into_iter().any(|it| it == heading), "{page} links to {target}: no such heading");
            }
        }
    }
}

/// A heading as the end of a link.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
