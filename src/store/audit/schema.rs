//! The tables, indexes and triggers of the file against the program's own: without its triggers and CHECKs a file has lost
//! its second line of defence. And the CHECKs themselves, which SQLite's own `integrity_check` passes over in a file that
//! is opened only for reading.

use super::findings::Findings;
use crate::error::Error;
use crate::store::schema::{self, SCHEMA, Upgrade};
use crate::tx::{ReadTx, Row};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// The check of SQLite's structures, and of the CHECKs.
pub(super) const STRUCTURES: &str = "SQLite finds its own structures sound";

const CHECK: &str = "the schema is the program's own";

/// All parts but the statistics tables that SQLite's `ANALYZE` makes, which do no harm.
const PARTS: &str = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema \
                     WHERE NOT (type = 'table' AND substr(name, 1, 11) = 'sqlite_stat')";

/// The tables that litestream keeps in a file which it replicates.
const LITESTREAM: [&str; 2] = ["_litestream_lock", "_litestream_seq"];

/// By kind and name: the table it belongs to, and its normalised SQL.
type Parts = BTreeMap<(String, String), (String, String)>;

/// Reports every table, index and trigger that is missing, different, or not the program's. Returns false if a table is not
/// there: a view of that name may be anything, and no question can be asked. Tables of litestream are noted.
pub(super) fn compare(conn: &Connection, findings: &mut Findings, notes: &mut Vec<String>) -> Result<bool, Error> {
    let steps = later_steps(conn)?;
    let is_later = |name: &String| steps.iter().any(|step| step.made.contains(&name.as_str()));
    let mut found = parts(conn)?;
    let mut has_tables = true;
    for (part, own) in expected(steps)? {
        let (kind, name) = &part;
        match found.remove(&part) {
            None if is_later(name) => {}
            None => {
                has_tables &= kind != "table";
                findings.add(CHECK, format!("{kind} {name} is missing"));
            }
            Some(_) if is_later(name) => {
                findings.add(CHECK, format!("{kind} {name} is of a later version than the file"));
            }
            Some(found) if found != own => findings.add(CHECK, format!("{kind} {name} differs")),
            Some(_) => {}
        }
    }
    let is_litestream = |kind: &str, name: &str| kind == "table" && LITESTREAM.contains(&name);
    if found.keys().any(|(kind, name)| is_litestream(kind, name)) {
        notes.push(format!("litestream replicates this file, and keeps its tables in it ({})", LITESTREAM.join(", ")));
    }
    for (kind, name) in found.keys().filter(|(kind, name)| !is_litestream(kind, name)) {
        findings.add(CHECK, format!("{kind} {name} is not of this program"));
    }
    Ok(has_tables)
}

/// The steps that the file has not taken: it is compared with the schema of its own version.
fn later_steps(conn: &Connection) -> Result<&'static [Upgrade], Error> {
    Ok(schema::steps_from(conn.pragma_query_value(None, "user_version", |row| row.get(0))?))
}

/// The program's parts as they were before these steps, those that the steps make included.
fn expected(steps: &[Upgrade]) -> Result<Parts, Error> {
    let mut expected = parts_of(SCHEMA)?;
    for step in steps.iter().rev() {
        expected.extend(parts_of(step.changed)?);
    }
    Ok(expected)
}

fn parts_of(sql: &str) -> Result<Parts, Error> {
    let pattern = Connection::open_in_memory()?;
    pattern.execute_batch(sql)?;
    parts(&pattern)
}

fn parts(conn: &Connection) -> Result<Parts, Error> {
    let part = |row: &Row<'_>| {
        let sql: String = row.get(3)?;
        Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, normalised(&sql))))
    };
    Ok(ReadTx::new(conn).all(PARTS, &[], part)?.into_iter().collect())
}

/// The SQL without comments, with one space for any white space and none before a comma or a closing parenthesis: these may
/// have changed since a file was made. Quoted text is left as it is.
pub(crate) fn normalised(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut rest = sql.chars().peekable();
    let mut quotation = None;
    while let Some(next) = rest.next() {
        match quotation {
            Some(end) => {
                text.push(next);
                quotation = Some(end).filter(|end| *end != next);
            }
            None if next == '-' && rest.peek() == Some(&'-') => while rest.next_if(|c| *c != '\n').is_some() {},
            None if next.is_ascii_whitespace() => {
                if !text.ends_with(' ') {
                    text.push(' ');
                }
            }
            None => {
                if matches!(next, ',' | ')') && text.ends_with(' ') {
                    text.pop(); // where an added column begins, a line or a comment may have ended
                }
                text.push(next);
                quotation = match next {
                    '\'' | '"' | '`' => Some(next),
                    '[' => Some(']'),
                    _ => None,
                };
            }
        }
    }
    text
}

/// Reports every table that has a row which breaks a CHECK of the program's schema. Tables that are missing or differ are
/// reported by [`compare`].
pub(super) fn check_rows(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let found = parts(conn)?;
    for (part, own) in expected(later_steps(conn)?)? {
        let broken: Vec<String> = checks(&own.1).iter().map(|check| format!("NOT {check}")).collect();
        let (kind, name) = &part;
        if kind != "table" || broken.is_empty() || found.get(&part) != Some(&own) {
            continue;
        }
        let sql = format!("SELECT 1 FROM \"{name}\" WHERE {} LIMIT 1", broken.join(" OR "));
        if conn.prepare(&sql)?.exists([])? {
            findings.add(STRUCTURES, format!("CHECK constraint failed in {name}"));
        }
    }
    Ok(())
}

/// The expressions of the CHECKs, each in its parentheses. A row breaks one that is false; NULL passes.
pub(super) fn checks(sql: &str) -> Vec<&str> {
    const WORD: &str = "CHECK (";
    let mut found = Vec::new();
    let (mut quoted, mut depth, mut begun) = (false, 0_usize, None);
    for (at, byte) in sql.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            _ if quoted => {}
            b'(' => {
                if begun.is_none() && sql[..=at].ends_with(WORD) {
                    begun = Some((at, depth));
                }
                depth += 1;
            }
            b')' => {
                depth = depth.saturating_sub(1);
                if let Some((start, _)) = begun.filter(|(_, outside)| *outside == depth) {
                    found.push(&sql[start..=at]);
                    begun = None;
                }
            }
            _ => {}
        }
    }
    found
}
