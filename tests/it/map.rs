//! The map of the source holds: who may know what.

mod imports;
mod words;

use crate::source;

/// Every line of code (not of comment) outside of `homes` that says `word`.
fn lines_outside(word: &str, homes: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in source::files() {
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
fn sqlite_is_named_only_in_tx_and_store() {
    // The lab's plain file does on purpose what the wallet never would, so it cannot use the wallet's own access.
    assert_eq!(lines_outside("rusqlite", &["tx.rs", "tx", "store", "lab/plain_file.rs"]), Vec::<String>::new());
}

#[test]
fn postgresql_is_named_only_in_tx_and_store() {
    assert_eq!(lines_outside("postgres::", &["tx.rs", "tx", "store/server"]), Vec::<String>::new());
}

#[test]
fn only_writer_commits() {
    assert_eq!(lines_outside("\"COMMIT\"", &["store/engine.rs", "tx/server.rs"]), Vec::<String>::new());
    assert_eq!(lines_outside("engine.commit()", &["store/writer.rs"]), Vec::<String>::new());
    assert_eq!(lines_outside("WriteTx::new", &["store/writer.rs"]), Vec::<String>::new());
}

#[test]
fn only_clock_reads_time() {
    for word in ["SystemTime", "Timestamp::now", "clock_gettime"] {
        assert_eq!(lines_outside(word, &["clock.rs"]), Vec::<String>::new());
    }
}

#[test]
fn only_money_parses_amounts_and_floats_are_absent() {
    assert_eq!(lines_outside("Decimal", &["money.rs"]), Vec::<String>::new());
    assert_eq!(lines_outside("f64", &[]), Vec::<String>::new());
    assert_eq!(lines_outside("f32", &[]), Vec::<String>::new());
}

#[test]
fn layers_import_only_what_is_below() {
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
            &["tx.rs", "tx"],
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
    let files = source::files();
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
fn only_error_table_knows_statuses() {
    for (path, text) in source::files() {
        let home = path.starts_with("http/conn");
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

#[test]
fn file_is_one_idea_of_readable_length() {
    const LINES: std::ops::RangeInclusive<usize> = 80..=600;
    /// Short files that stand alone, each with its reason.
    const SHORT: &[(&str, &str)] = &[
        ("main.rs", "arguments in, exit code out"),
        ("store/wall_jump.rs", "one check and its row in the file, apart from the writer"),
        ("log.rs", "the one place that writes the log"),
        ("cli/database.rs", "what `--db` refuses as the URL of a database, apart from files"),
        ("cli/tls.rs", "there only with the feature `tls`"),
        ("http/dry_run.rs", "the one place that knows what an answer would newly make"),
        ("http/problems.rs", "the one form of an error, beside the good answers of response.rs"),
        ("lab/redis.rs", "it compiles without a client of Redis, for the plan"),
        ("store/audit/temp_place.rs", "SQLite's own search for a folder, corrected in one place"),
        ("store/file/query.rs", "the only SQL that comes from outside"),
    ];
    let (mut found, mut lines_all, mut count) = (Vec::new(), 0, 0);
    for (path, text) in source::files().into_iter().filter(|(path, _)| !source::is_tests(path)) {
        let (name, lines) = (path.display().to_string(), text.lines().count());
        (lines_all, count) = (lines_all + lines, count + 1);
        let declares_only = name.ends_with("mod.rs") && !text.contains("fn ");
        let is_excepted = SHORT.iter().any(|(short, _)| *short == name);
        if (LINES.contains(&lines) || declares_only) == is_excepted {
            found.push(format!("{lines:5} {name}{}", if is_excepted { " needs no exception" } else { "" }));
        }
    }
    found.sort();
    assert!(found.is_empty(), "{} of {count} files ({lines_all} lines):\n{}", found.len(), found.join("\n"));
}
