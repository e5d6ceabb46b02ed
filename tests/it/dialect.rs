//! The SQL of the wallet is understood by another engine: each statement is prepared by a real PostgreSQL whose tables are
//! those of `src/store/server/schema.sql`, which are the tables of a file. What PostgreSQL would accept and take for something
//! else is looked for by itself.

use crate::postgres::Postgres;
use crate::source;
use crate::statements;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// The tables of a ledger in PostgreSQL.
const SCHEMA: &str = include_str!("../../src/store/server/schema.sql");
/// Their triggers.
const TRIGGERS: &str = include_str!("../../src/store/server/triggers.sql");
/// The tables and triggers of a file.
const SCHEMA_OF_FILE: &str = include_str!("../../schema.sql");

/// Where there are statements of one engine alone: about the pages, the schema and the copies of a file, the audit; and about a
/// database of PostgreSQL.
const OF_ONE_ENGINE: [&str; 7] = [
    "store/audit",
    "store/file",
    "store/possession",
    "store/checkpoint.rs",
    "store/schema.rs",
    "store/connection.rs",
    "store/server",
];

/// Statements of the wallet, each with the file it stands in.
fn statements() -> BTreeMap<String, String> {
    let is_ours = |path: &str| {
        let homes = ["ledger", "lock", "store", "journal.rs", "token.rs", "tx.rs"];
        homes.iter().any(|home| path.starts_with(home)) && !OF_ONE_ENGINE.iter().any(|home| path.starts_with(home))
    };
    let files: Vec<(String, String)> =
        source::files().into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    let mut found = BTreeMap::new();
    for (path, sql) in statements::of(&files) {
        if is_ours(&path) && !path.ends_with("tests.rs") {
            found.insert(sql, path);
        }
    }
    assert!(found.len() > 170, "{} statements were found", found.len());
    found
}

/// The text that is sent to PostgreSQL: without SQLite's word for how to undo a single statement.
fn translated(sql: &str) -> String {
    sql.replacen(" OR FAIL ", " ", 1)
}

/// True for what begins or ends a transaction or a savepoint, which cannot be prepared.
fn is_control(sql: &str) -> bool {
    ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|word| sql.starts_with(word))
}

#[test]
fn statements_of_the_source_are_found_whole() {
    // Each is prepared by SQLite: so none is half a statement, or of a macro that was put together wrongly.
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA_OF_FILE).unwrap();
    let mut refused = Vec::new();
    for (sql, path) in statements() {
        if let Err(error) = conn.prepare(&sql) {
            refused.push(format!("{path}: {error}: {sql}"));
        }
    }
    assert_eq!(refused, Vec::<String>::new());
    let all = statements();
    for some in ["SELECT count(*) FROM hold WHERE wallet = $1 AND amount_left > 0", "DELETE FROM recharge_tier"] {
        assert!(all.contains_key(some), "{some}");
    }
}

/// The statements of a script that make a table or an index, without comments, in their order.
fn tables_and_indexes(script: &str) -> Vec<String> {
    let lines = script.lines().map(|line| line.split("--").next().unwrap_or_default());
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let statements = words.join(" ");
    let kinds = ["CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX "];
    let is_such = |statement: &&str| kinds.iter().any(|kind| statement.starts_with(kind));
    statements.split(';').map(str::trim).filter(is_such).map(str::to_owned).collect()
}

/// A statement that makes a table or an index of a file, as PostgreSQL is given it.
fn as_in_postgresql(statement: &str) -> String {
    let statement = statement.replace(" STRICT, WITHOUT ROWID", "").replace(" STRICT", "");
    let mut translated = String::new();
    for part in statement.replace("NOT single_use)", "single_use = 0)").split_inclusive(|c: char| !is_of_word(c)) {
        let word = part.trim_end_matches(|c: char| !is_of_word(c));
        translated += match word {
            "INTEGER" => "BIGINT",
            "TEXT" => "TEXT COLLATE \"C\"",
            "BLOB" => "BYTEA",
            "user" if !translated.ends_with('\'') => "\"user\"",
            word => word,
        };
        translated += &part[word.len()..];
    }
    translated
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn tables_in_postgresql_are_those_of_a_file() {
    let of_file: Vec<String> = tables_and_indexes(SCHEMA_OF_FILE).iter().map(|it| as_in_postgresql(it)).collect();
    let mut in_postgresql = tables_and_indexes(SCHEMA);
    assert!(in_postgresql.remove(0).starts_with("CREATE TABLE writer "));
    assert!(of_file.len() > 40, "{} were found", of_file.len());
    assert_eq!(of_file.len(), in_postgresql.len());
    for (of_file, in_postgresql) in of_file.iter().zip(&in_postgresql) {
        assert_eq!(of_file, in_postgresql);
    }
}

#[test]
fn triggers_in_postgresql_refuse_what_a_file_refuses() {
    let sentences: Vec<&str> =
        SCHEMA_OF_FILE.split("RAISE(").skip(1).filter_map(|raised| raised.split('\'').nth(1)).collect();
    assert!(sentences.len() > 20, "{} were found", sentences.len());
    for sentence in sentences {
        let by_its_key = sentence == "lock_seq is one row"; // where no REPLACE goes around it
        assert!(by_its_key || TRIGGERS.contains(&format!("'{sentence}'")), "{sentence}");
    }
}

#[test]
fn every_statement_is_prepared_by_postgresql() {
    let Some(postgres) = Postgres::start() else { return };
    assert_eq!(postgres.psql("postgres", SCHEMA).1, "");
    let statements: Vec<(String, String)> = statements().into_iter().filter(|(sql, _)| !is_control(sql)).collect();
    let mut script = String::new();
    for (n, (sql, _)) in statements.iter().enumerate() {
        script += &format!("PREPARE s{n} AS {};\n", translated(sql).replace('\n', " "));
    }
    script += "SELECT substr(name, 2), array_to_string(parameter_types, ' ') FROM pg_prepared_statements;\n";
    let (rows, complaints) = postgres.psql("postgres", &script);
    let refused: Vec<String> = complaints
        .lines()
        .map(|line| {
            let n = line.split(':').nth(2).and_then(|n| n.parse::<usize>().ok()).map(|n| n - 1);
            match n.and_then(|n| statements.get(n)) {
                Some((sql, path)) => format!("{path}: {line}: {sql}"),
                None => line.to_owned(),
            }
        })
        .collect();
    assert!(refused.is_empty(), "{} of {}:\n{}", refused.len(), statements.len(), refused.join("\n"));
    assert_eq!(rows.lines().count(), statements.len());
    // A parameter that PostgreSQL takes for a narrower number refuses large ones; one of another type does not sort as text.
    for row in rows.lines() {
        let (n, types) = row.split_once('|').unwrap();
        let (sql, path) = &statements[n.parse::<usize>().unwrap()];
        for kind in types.split(' ').filter(|kind| !kind.is_empty()) {
            assert!(["bigint", "text", "bytea", "boolean"].contains(&kind), "{path}: a parameter is {kind}: {sql}");
        }
    }
}

#[test]
fn user_is_never_named_bare() {
    // PostgreSQL takes a bare `user` for the name that the program has logged in with, without a complaint.
    for (sql, path) in statements() {
        for (at, _) in sql.match_indices("user") {
            let before = sql[..at].chars().next_back().unwrap_or(' ');
            let after = sql[at + 4..].chars().next().unwrap_or(' ');
            let is_word = !before.is_alphanumeric() && !after.is_alphanumeric() && after != '_' && before != '_';
            assert!(!is_word || "\".'".contains(before), "{path}: {sql}");
        }
    }
}

#[test]
fn text_is_ordered_by_its_bytes_in_postgresql() {
    let Some(postgres) = Postgres::start() else { return };
    assert_eq!(postgres.psql("postgres", SCHEMA).1, "");
    let by_locale = "SELECT c.table_name, c.column_name FROM information_schema.columns AS c WHERE c.table_schema = 'public' \
                     AND c.data_type = 'text' AND c.collation_name IS DISTINCT FROM 'C'";
    assert_eq!(postgres.psql("postgres", &format!("{by_locale};")), (String::new(), String::new()));
    let narrow = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' \
                  AND data_type NOT IN ('bigint', 'text', 'bytea')";
    assert_eq!(postgres.psql("postgres", &format!("{narrow};")), (String::new(), String::new()));
    let order = "INSERT INTO wallet (id, created_at) VALUES ('b', 0), ('B', 0), ('a', 0), ('_', 0), ('-', 0);
                 SELECT string_agg(id, '' ORDER BY id) FROM wallet WHERE id < '@' OR id >= 'A';";
    assert_eq!(postgres.psql("postgres", order), ("-B_ab\n".to_owned(), String::new()));
}

#[test]
fn functions_that_postgresql_lacks_answer_as_in_sqlite() {
    let Some(postgres) = Postgres::start() else { return };
    assert_eq!(postgres.psql("postgres", SCHEMA).1, "");
    let conn = Connection::open_in_memory().unwrap();
    for (question, answer) in [
        ("SELECT max(3, 5), min(3, 5), max(-1, -1)", "5|3|-1"),
        ("SELECT coalesce(max(NULL, 5), -7), coalesce(min(4, NULL), -7)", "-7|-7"),
        (r#"SELECT key, value FROM json_each('{"b": "x", "a": "\u00e9"}') ORDER BY key DESC LIMIT 1"#, "b|x"),
        (r#"SELECT value FROM json_each('{"a": "\u00e9"}')"#, "é"),
        ("SELECT count(*) FROM json_each('{}')", "0"),
    ] {
        let of_sqlite = conn
            .query_row(question, [], |row| {
                let columns = row.as_ref().column_count();
                let cell = |n| Ok(statements::shown(row.get_ref(n)?));
                Ok((0..columns).map(cell).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
            })
            .unwrap();
        assert_eq!(of_sqlite, answer, "{question}");
        assert_eq!(postgres.psql("postgres", &format!("{question};")), (format!("{answer}\n"), String::new()));
    }
}
