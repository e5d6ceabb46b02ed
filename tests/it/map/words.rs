//! Plain words: none of the forbidden ones, one meaning for each type name, comments that begin with what matters.

use crate::source;
use std::collections::BTreeMap;
use std::path::Path;

/// Words that have no place anywhere.
const WORDS: &[&str] = &["whoever", "somebody", "nobody", "everybody", "told"];

/// Phrases that have no place anywhere; `is no` is looked at apart.
const PHRASES: &[&str] = &["who has", "of ours", "has gone", "so many", "says so", "without a word"];

/// Metaphors that have no place in the name of a type or a module.
const METAPHORS: &[&str] = &[
    "desk", "door", "board", "bell", "ticket", "promise", "wish", "told", "news", "ear", "manner", "pace", "silence",
    "trouble",
];

/// Type names that stand twice, each with its reason. At most five.
const NAMED_TWICE: &[(&str, &str)] = &[];

/// What this looks at: sources, tests and pages, but not the list of forbidden words itself.
fn texts() -> Vec<(String, String)> {
    let folders = [
        "src",
        "tests/it",
        "tests/console",
        "docs",
        "benches",
        "fuzz/targets",
        "README.md",
        "CHANGELOG.md",
        "schema.sql",
        "Cargo.toml",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| source::files_in(folder, &["rs", "md", "sql", "toml", "js", "mjs", "css", "html"]));
    let files = files.map(|(path, text)| (path.display().to_string(), text));
    files.filter(|(path, _)| path != "tests/it/map/words.rs").collect()
}

/// The forbidden words and phrases of a line.
fn forbidden(line: &str) -> Vec<String> {
    // Records in files of earlier versions have a field of that name, and their tables and triggers these words.
    let mut line = line.to_lowercase().replace("\\\"told\\\"", "").replace("\"told\"", "");
    line = line.replace("somebody holds the lock of this wallet", "");
    let words: Vec<&str> =
        line.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).collect();
    let mut found: Vec<String> =
        words.iter().filter(|word| WORDS.contains(word)).map(|word| (*word).to_owned()).collect();
    let joined = format!(" {} ", words.join(" "));
    found.extend(
        PHRASES.iter().filter(|phrase| joined.contains(&format!(" {phrase} "))).map(|phrase| (*phrase).to_owned()),
    );
    for (place, three) in words.windows(3).enumerate() {
        let there = place > 0 && words[place - 1] == "there";
        if ["is", "are"].contains(&three[0])
            && three[1] == "no"
            && !there
            && !["longer", "more", "other"].contains(&three[2])
        {
            found.push(format!("{} no {}", three[0], three[2]));
        }
    }
    found
}

fn report(found: Vec<String>, what: &str) {
    assert!(found.is_empty(), "{} {what}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn texts_have_no_forbidden_words() {
    let mut found = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            found.extend(
                forbidden(line).into_iter().map(|word| format!("{path}:{}: {word}: {}", number + 1, line.trim())),
            );
        }
    }
    report(found, "forbidden words");
}

#[test]
fn forbidden_words_are_found() {
    assert_eq!(forbidden("Whoever asks is told"), ["whoever", "told"]);
    assert_eq!(forbidden("this is no amount; there is no wallet, and it is no longer held"), ["is no amount"]);
    assert_eq!(forbidden("a client of ours who has so many"), ["who has", "of ours", "so many"]);
    assert_eq!(forbidden("bold and untold"), Vec::<String>::new());
}

/// The types that a file defines: keyword and name. An associated type is not one.
fn types(text: &str) -> Vec<(&'static str, String)> {
    let mut types = Vec::new();
    for line in source::code(text).lines() {
        let bare = line.trim_start();
        let behind = bare.strip_prefix("pub").map_or(bare, |rest| {
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest).trim_start()
        });
        for keyword in ["struct", "enum", "trait", "union", "type"] {
            let Some(name) = behind.strip_prefix(keyword).and_then(|rest| rest.strip_prefix(' ')) else { continue };
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if keyword != "type" || bare.len() == line.len() {
                types.push((keyword, name));
            }
        }
    }
    types
}

/// Each type of `src` with the files that define it.
fn all_types() -> BTreeMap<String, Vec<String>> {
    let mut types_by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in source::files().into_iter().filter(|(path, _)| !source::is_tests(path)) {
        for (_, name) in types(&text) {
            types_by_name.entry(name).or_default().push(path.display().to_string());
        }
    }
    assert!(types_by_name.contains_key("Money"), "types were found");
    types_by_name
}

#[test]
fn type_name_means_one_thing() {
    assert!(NAMED_TWICE.len() <= 5, "exceptions stay few");
    let all = all_types();
    let twice = all.iter().filter(|(name, files)| {
        let is_excepted = NAMED_TWICE.iter().any(|(excepted, _)| excepted == name);
        assert!(!is_excepted || files.len() > 1, "{name} needs no exception any more");
        files.len() > 1 && !is_excepted
    });
    report(twice.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect(), "type names mean two things");
}

/// The words of a name, whether `CamelCase` or `snake_case`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || c == '_' {
            words.push(String::new());
        }
        words.last_mut().unwrap().extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    words
}

#[test]
fn types_and_modules_have_no_metaphors() {
    let types = all_types().into_iter().map(|(name, files)| (name, files.join(", ")));
    let modules = source::files().into_iter().flat_map(|(path, _)| {
        let parts: Vec<String> =
            path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        parts.into_iter().map(move |part| (part, path.display().to_string())).collect::<Vec<_>>()
    });
    let is_metaphor = |name: &str| words_of(name).iter().any(|word| METAPHORS.contains(&word.as_str()));
    let found = types.chain(modules).filter(|(name, _)| is_metaphor(name));
    report(found.map(|(name, place)| format!("{name}: {place}")).collect(), "metaphors");
}

#[test]
fn comments_begin_with_noun_or_verb() {
    let mut found = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".rs")) {
        let mut before = "";
        for (number, line) in text.lines().enumerate() {
            let bare = line.trim_start();
            let sign = ["//! ", "/// ", "// "].into_iter().find(|sign| bare.starts_with(sign));
            let begins = sign.is_some_and(|sign| !before.starts_with(sign.trim_end()) || before == sign.trim_end());
            let first = sign.and_then(|sign| bare[sign.len()..].split(' ').next()).unwrap_or_default();
            if begins && ["What", "Whether", "How", "So"].contains(&first) {
                found.push(format!("{path}:{}: {bare}", number + 1));
            }
            before = bare;
        }
    }
    report(found, "comments begin with What, Whether, How or So");
}

/// The names of the tests of a file.
fn tests(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[test]" {
            let function = lines.find(|line| line.trim_start().starts_with("fn ")).unwrap_or_default();
            names.push(
                function.trim_start().strip_prefix("fn ").unwrap_or_default().split('(').next().unwrap().to_owned(),
            );
        }
    }
    names
}

#[test]
fn tests_stand_in_tests_and_have_short_names() {
    const NAME_CHARS_MAX: usize = 60;
    let mut found = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".rs")) {
        let names = tests(&text);
        if path.starts_with("src") && !source::is_tests(Path::new(&path)) && !names.is_empty() {
            found.push(format!("{path}: {} tests in a source file", names.len()));
        }
        let starts = ["a_", "an_", "the_", "what_", "who_", "whoever_", "how_", "so_", "whether_"];
        let is_bad = |name: &&String| {
            name.chars().count() > NAME_CHARS_MAX || starts.iter().any(|start| name.starts_with(start))
        };
        found.extend(names.iter().filter(is_bad).map(|name| format!("{path}: {name}")));
    }
    report(found, "tests are in the wrong place or have a wrong name (subject_condition_result, at most 60)");
}
