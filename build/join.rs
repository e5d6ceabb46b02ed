//! Makes the console's files smaller while the program is built: its modules become one script, and scripts and styles lose
//! comments and spaces that separate nothing. Names stay, and a line for each statement, so that a stack trace can be read.
//! The build script includes this file.

use std::collections::BTreeMap;
use std::path::Path;

/// The module of that name and all that it imports, as one script: each module after those it imports, and under its name.
///
/// # Panics
///
/// On an import that is not of the form `import { a, b } from './file.js';`, on one of a name that the file does not export,
/// and on a name that two modules declare (each as the first of its line), because they share their names afterwards. A forgotten
/// import is not found, and does no harm: the name is there.
pub(crate) fn joined(folder: &Path, name: &str) -> String {
    let mut script = Script { folder, declared: BTreeMap::new(), text: String::new(), begun: Vec::new() };
    script.add(name);
    script.text
}

struct Script<'a> {
    folder: &'a Path,
    /// Each name of the modules so far, with its module, and true if it is exported.
    declared: BTreeMap<String, (String, bool)>,
    text: String,
    begun: Vec<String>,
}

impl Script<'_> {
    fn add(&mut self, name: &str) {
        if self.begun.iter().any(|one| one == name) {
            return;
        }
        self.begun.push(name.to_owned());
        let path = self.folder.join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut own = String::with_capacity(text.len());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(first) = line.strip_prefix("import ") else {
                own.push_str(self.declare(name, line));
                own.push('\n');
                continue;
            };
            let mut import = first.to_owned();
            while !import.ends_with(';') {
                import.push_str(lines.next().unwrap_or_else(|| panic!("{name}: an import has no end: {first}")));
            }
            self.import(name, &import);
        }
        self.text.push_str(&format!("//{name}\n{}", short_script(&own)));
    }

    fn import(&mut self, name: &str, import: &str) {
        let parts = import.strip_prefix("{ ").and_then(|rest| rest.strip_suffix("';")?.split_once(" } from './"));
        let (names, file) = parts.unwrap_or_else(|| panic!("{name}: this import has another form: {import}"));
        self.add(file);
        for one in names.split(',').map(str::trim) {
            let is_exported = self.declared.get(one).is_some_and(|(module, exported)| module == file && *exported);
            assert!(is_exported, "{name}: {file} does not export {one}");
        }
    }

    /// The line without `export`; a name that it declares for the whole module is taken down.
    fn declare<'a>(&mut self, module: &str, line: &'a str) -> &'a str {
        let (line, is_exported) = line.strip_prefix("export ").map_or((line, false), |line| (line, true));
        let words = ["const ", "let ", "class ", "function ", "async function "];
        if let Some(rest) = words.iter().find_map(|word| line.strip_prefix(word)) {
            let name = rest.split(|c| !is_word(c)).next().unwrap_or_default().to_owned();
            let before = self.declared.insert(name.clone(), (module.to_owned(), is_exported));
            assert!(before.is_none(), "{name} is declared in {module} and in {before:?}");
        } else {
            assert!(!is_exported, "{module}: this export has another form: {line}");
        }
        line
    }
}

/// True for what can stand in a name, a number or a keyword.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '#') || !c.is_ascii()
}

/// A script without its comments, and without spaces and ends of lines that separate nothing.
pub(crate) fn short_script(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut open = Vec::new(); // what was opened and is not closed; '$' for code in a template
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '/' if rest.starts_with("//") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = &rest[rest.find("*/").expect("a comment has an end") + 2..];
                continue;
            }
            '\'' | '"' => quoted(rest, c),
            '/' if begins_value(&out) => pattern(rest),
            '`' => template(rest, &mut open),
            '(' | '[' | '{' => {
                open.push(c);
                1
            }
            ')' | ']' => {
                open.pop();
                1
            }
            '}' if open.pop() == Some('$') => template(rest, &mut open),
            c if c.is_whitespace() => {
                let next = rest.trim_start();
                if rest[..rest.len() - next.len()].contains('\n') && !goes_on(&out, next) {
                    end_statement(&mut out, next, open.last() == Some(&'('));
                } else {
                    space(&mut out, next);
                }
                rest = next;
                continue;
            }
            c => c.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// True where a line is not the end of a statement: behind a sign that wants more, or before one that cannot begin.
fn goes_on(out: &str, next: &str) -> bool {
    out.ends_with(['(', '[', '{', ',', '&', '|', '?', ':', '='])
        || out.ends_with("=>")
        || next.starts_with([')', ']', '}', '&', '|', '?', ':', '.'])
}

/// The end of a line, without a semicolon before it where the next line begins with a name or a keyword: no statement goes on
/// with one. Those of `for (;;)` stay.
fn end_statement(out: &mut String, next: &str, in_parens: bool) {
    if !in_parens && out.ends_with(';') && next.starts_with(|c: char| c.is_ascii_alphabetic()) {
        out.pop();
    }
    break_line(out);
}

fn break_line(out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

/// A space between what was written and `next`, where two words or two signs would become one without it.
fn space(out: &mut String, next: &str) {
    let (Some(before), Some(after)) = (out.chars().next_back(), next.chars().next()) else { return };
    if (is_word(before) && is_word(after)) || (before == after && matches!(before, '+' | '-' | '/')) {
        out.push(' ');
    }
}

/// True if a slash behind this text begins a regular expression; it divides behind a value.
fn begins_value(out: &str) -> bool {
    let out = out.trim_end();
    let word = out.rsplit(|c| !is_word(c)).next().unwrap_or_default();
    match out.chars().next_back() {
        Some(')' | ']' | '}' | '`' | '\'' | '"') => false,
        _ if word.is_empty() => true,
        _ => ["return", "typeof", "case", "of", "in", "await"].contains(&word),
    }
}

/// The length of a string with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    ended(text, |c, _| c == quote)
}

/// The length of a regular expression without its flags. A slash in a class does not end it.
fn pattern(text: &str) -> usize {
    ended(text, |c, class| c == '/' && !class)
}

/// The length up to the character behind the first one that `is_end`; one behind a backslash never is. `is_end` learns
/// whether the character is in brackets.
fn ended(text: &str, is_end: impl Fn(char, bool) -> bool) -> usize {
    let (mut escaped, mut class) = (false, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            c if is_end(c, class) => return at + c.len_utf8(),
            _ => {}
        }
    }
    panic!("no end: {}", text.lines().next().unwrap_or_default())
}

/// The length of a template's part, which ends with it or where code begins in it.
fn template(text: &str, open: &mut Vec<char>) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '`' => return at + 1,
            '{' if text[..at].ends_with('$') => {
                open.push('$');
                return at + 1;
            }
            _ => {}
        }
    }
    panic!("a template has no end: {}", text.lines().next().unwrap_or_default())
}

/// A style sheet without its comments, empty lines, and spaces that separate nothing.
pub(crate) fn short_style(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '/' if rest.starts_with("/*") => {
                rest = &rest[rest.find("*/").expect("a comment has an end") + 2..];
                continue;
            }
            '"' => quoted(rest, c),
            c if c.is_whitespace() => {
                let next = rest.trim_start();
                let (before, after) = (out.chars().next_back(), next.chars().next());
                if rest[..rest.len() - next.len()].contains('\n') {
                    break_line(&mut out);
                } else if !matches!(before, None | Some('{' | '}' | ';' | ':' | ',' | '>' | '\n'))
                    && !matches!(after, None | Some('{' | '}' | ';' | ',' | '>'))
                {
                    out.push(' ');
                }
                rest = next;
                continue;
            }
            '}' => {
                let kept = out.trim_end_matches([';', '\n']).len();
                out.truncate(kept);
                1
            }
            c => c.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// A page without its indentation.
pub(crate) fn short_page(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}
