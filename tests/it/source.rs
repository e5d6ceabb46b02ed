//! The source as text, for the tests that read it: its files, their code, their literals.

use std::path::{Path, PathBuf};

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of `src`, by their paths inside it.
pub fn files() -> Vec<(PathBuf, String)> {
    let files = files_in("src", &["rs"]);
    assert!(files.len() > 30, "the source was found");
    files.into_iter().map(|(path, text)| (path.strip_prefix("src").unwrap().to_owned(), text)).collect()
}

/// The text files of a folder (or one file) whose names end so, sorted, by their paths in the project.
pub fn files_in(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let (mut files, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        } else if path.extension().is_some_and(|ending| endings.iter().any(|one| *one == ending)) {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
    files.sort();
    files
}

/// True for a file of tests only.
pub fn is_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"))
}

/// A Rust file without its comments, without what stands in its literals, and without its tests. Lines stay lines.
pub fn code(source: &str) -> String {
    scan(source).0
}

/// The string literals of a Rust file, without tests and without what only an assertion says.
pub fn literals(source: &str) -> Vec<String> {
    scan(source).1
}

/// A Rust file up to its tests.
pub fn without_tests(source: &str) -> &str {
    source.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
}

/// The file as code alone, and its literals but those of assertions.
fn scan(source: &str) -> (String, Vec<String>) {
    const ASSERTIONS: [&str; 9] = [
        "assert!",
        "assert_eq!",
        "assert_ne!",
        "debug_assert!",
        "debug_assert_eq!",
        "unreachable!",
        "panic!",
        "expect",
        "expect_err",
    ];
    let source = without_tests(source);
    let chars: Vec<char> = source.chars().collect();
    let (mut code, mut literals, mut at) = (String::new(), Vec::new(), 0);
    // The word just read, and the word before each bracket that is open.
    let (mut word, mut open) = (String::new(), Vec::<String>::new());
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied().unwrap_or(' '));
        match c {
            '/' if next == '/' => {
                at += chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at);
                continue;
            }
            '\'' if next == '\\' || chars.get(at + 2) == Some(&'\'') => {
                at += if next == '\\' { 3 } else { 2 };
                at += chars[at..].iter().position(|c| *c == '\'').unwrap();
                word.clear();
            }
            '"' => {
                let is_raw = matches!(word.trim_end_matches('#'), "r" | "br");
                let hashes = if is_raw { word.matches('#').count() } else { 0 };
                let (text, end) = literal(&chars, at + 1, is_raw.then_some(hashes));
                code += "\"";
                chars[at..end].iter().filter(|c| **c == '\n').for_each(|c| code.push(*c));
                code += "\"";
                at = end + hashes;
                if !open.iter().any(|name| ASSERTIONS.contains(&name.as_str())) {
                    literals.push(text);
                }
                word.clear();
            }
            _ => {
                code.push(c);
                match c {
                    '(' | '[' | '{' => open.push(std::mem::take(&mut word)),
                    ')' | ']' | '}' => {
                        open.pop();
                        word.clear();
                    }
                    '#' if word.starts_with(['r', 'b']) => word.push(c),
                    c if c.is_alphanumeric() || c == '_' || c == '!' => word.push(c),
                    c if c.is_whitespace() => {}
                    _ => word.clear(),
                }
            }
        }
        at += 1;
    }
    (code, literals)
}

/// The literal whose text begins there, and where its closing quote is; a raw one ends with that many `#`.
pub fn literal(chars: &[char], mut at: usize, raw: Option<usize>) -> (String, usize) {
    let mut text = String::new();
    loop {
        let hashes = || chars[at + 1..].iter().take_while(|c| **c == '#').count();
        match chars[at] {
            '"' if raw.is_none_or(|count| hashes() >= count) => return (text, at),
            '\\' if raw.is_none() => {
                at += 1;
                match chars[at] {
                    '\n' => {
                        while chars[at + 1].is_whitespace() {
                            at += 1;
                        }
                    }
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '0' => text += "\\0",
                    'u' => {
                        let digits: String = chars[at + 2..].iter().take_while(|c| **c != '}').collect();
                        text.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
                        at += digits.len() + 2;
                    }
                    other => text.push(other),
                }
            }
            c => text.push(c),
        }
        at += 1;
    }
}
