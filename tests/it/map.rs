//! The map of the source holds: who may know what.

use std::path::{Path, PathBuf};

pub fn source() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 30, "the source was found");
    files.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_owned(), text)).collect()
}

/// Every line of code (not of comment) outside of `homes` that says `word`.
fn strangers(word: &str, homes: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in source() {
        if homes.iter().any(|home| path.starts_with(home)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(word) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn sqlite_is_named_in_the_store_and_its_door_only() {
    // The lab's plain file does on purpose what the wallet never would, so it cannot go through the wallet's door.
    assert_eq!(strangers("rusqlite", &["tx.rs", "store", "lab/plain_file.rs"]), Vec::<String>::new());
}

#[test]
fn only_the_writer_commits() {
    assert_eq!(strangers("\"COMMIT\"", &["store/writer.rs"]), Vec::<String>::new());
    assert_eq!(strangers("WriteTx::new", &["store/writer.rs"]), Vec::<String>::new());
}

#[test]
fn only_the_clock_reads_wall_time_and_boot_time() {
    for word in ["SystemTime", "Timestamp::now", "clock_gettime"] {
        assert_eq!(strangers(word, &["clock.rs"]), Vec::<String>::new());
    }
}

#[test]
fn only_money_parses_an_amount_and_nobody_has_a_float() {
    assert_eq!(strangers("Decimal", &["money.rs"]), Vec::<String>::new());
    assert_eq!(strangers("f64", &[]), Vec::<String>::new());
    assert_eq!(strangers("f32", &[]), Vec::<String>::new());
}

#[test]
fn the_base_knows_nothing_above_it_and_features_do_not_know_each_other() {
    let rules: &[(&[&str], &[&str])] = &[
        (
            &["money.rs", "id.rs", "clock.rs", "error.rs", "secret.rs", "log.rs"],
            &[
                "crate::tx",
                "crate::ledger",
                "crate::lock",
                "crate::token",
                "crate::command",
                "crate::store",
                "crate::http",
                "crate::cli",
            ],
        ),
        (
            &["tx.rs"],
            &[
                "crate::ledger",
                "crate::lock",
                "crate::token",
                "crate::command",
                "crate::store",
                "crate::http",
                "crate::cli",
            ],
        ),
        (&["ledger"], &["crate::lock", "crate::token", "crate::command", "crate::store", "crate::http", "crate::cli"]),
        (&["lock"], &["crate::ledger", "crate::token", "crate::command", "crate::store", "crate::http", "crate::cli"]),
        (
            &["token.rs"],
            &["crate::ledger", "crate::lock", "crate::command", "crate::store", "crate::http", "crate::cli"],
        ),
        (&["command.rs"], &["crate::store", "crate::http", "crate::cli"]),
        (&["store"], &["crate::http", "crate::cli"]),
        (&["http"], &["crate::cli", "crate::lab"]),
        (&["lab"], &["crate::cli"]),
        (&["store"], &["crate::lab"]),
        (
            &["http/conn"],
            &["crate::ledger", "crate::lock", "crate::token", "crate::command", "crate::store", "crate::error"],
        ),
    ];
    let files = source();
    for (homes, forbidden) in rules {
        for (path, text) in files.iter().filter(|(path, _)| homes.iter().any(|home| path.starts_with(home))) {
            for word in *forbidden {
                let said = text.lines().any(|line| line.split("//").next().unwrap_or_default().contains(word));
                assert!(!said, "{} says {word}", path.display());
            }
        }
    }
}

#[test]
fn only_problem_knows_error_statuses() {
    for (path, text) in source() {
        let home =
            path.starts_with("http/problem.rs") || path.starts_with("http/conn") || path.starts_with("http/metrics.rs");
        if path.starts_with("http") && !home {
            for status in ["402", "404", "409", "412", "422", "423", "503"] {
                let said = text.lines().any(|line| {
                    let code = line.split("//").next().unwrap_or_default();
                    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == status)
                });
                assert!(!said, "{} says {status}", path.display());
            }
        }
    }
}
