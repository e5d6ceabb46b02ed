//! The tables, indexes and triggers of the file against the program's own: whoever takes a trigger or a CHECK away takes
//! the second line with it.

use super::Findings;
use crate::error::Error;
use crate::store::schema::{self, SCHEMA};
use crate::tx::{ReadTx, Row};
use rusqlite::Connection;
use std::collections::BTreeMap;

const CHECK: &str = "the schema is the program's own";

/// All there is but the tables of figures that SQLite's `ANALYZE` makes: whoever runs it does no harm.
const PARTS: &str = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema \
                     WHERE NOT (type = 'table' AND substr(name, 1, 11) = 'sqlite_stat')";

/// By kind and name: the table it belongs to, and its words.
type Parts = BTreeMap<(String, String), (String, String)>;

/// Names every table, index and trigger that is missing, of another making, or not the program's. False if a table is not
/// there: what has its name then may be anything, and no question is safe.
pub fn compare(conn: &Connection, findings: &mut Findings) -> Result<bool, Error> {
    let pattern = Connection::open_in_memory()?;
    pattern.execute_batch(SCHEMA)?;
    let (own, mut found) = (parts(&pattern)?, parts(conn)?);
    let mut has_tables = true;
    let version = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (part, own) in own {
        let (kind, name) = &part;
        match found.remove(&part) {
            None if schema::made_since(version).any(|later| later == name) => {}
            None => {
                has_tables &= kind != "table";
                findings.add(CHECK, format!("{kind} {name} is missing"));
            }
            Some(_) if schema::made_since(version).any(|later| later == name) => {
                findings.add(CHECK, format!("{kind} {name} is of a later version than the file says it is of"));
            }
            Some(found) if found != own => findings.add(CHECK, format!("{kind} {name} is another one")),
            Some(_) => {}
        }
    }
    for (kind, name) in found.keys() {
        findings.add(CHECK, format!("{kind} {name} is not of this program"));
    }
    Ok(has_tables)
}

fn parts(conn: &Connection) -> Result<Parts, Error> {
    let part = |row: &Row<'_>| {
        let sql: String = row.get(3)?;
        Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, words(&sql))))
    };
    Ok(ReadTx::new(conn).all(PARTS, [], part)?.into_iter().collect())
}

/// The text without its comments and with one space for any white space, as it may have changed since a file was made.
/// What stands in quotation marks is left as it is.
fn words(sql: &str) -> String {
    let mut words = String::with_capacity(sql.len());
    let mut rest = sql.chars().peekable();
    let mut quotation = None;
    while let Some(next) = rest.next() {
        match quotation {
            Some(end) => {
                words.push(next);
                quotation = Some(end).filter(|end| *end != next);
            }
            None if next == '-' && rest.peek() == Some(&'-') => while rest.next_if(|c| *c != '\n').is_some() {},
            None if next.is_ascii_whitespace() => {
                if !words.ends_with(' ') {
                    words.push(' ');
                }
            }
            None => {
                words.push(next);
                quotation = match next {
                    '\'' | '"' | '`' => Some(next),
                    '[' => Some(']'),
                    _ => None,
                };
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn comments_and_white_space_are_no_difference_and_quoted_text_is() {
        assert_eq!(words("CHECK (a > 0),   -- it's so\n\t b TEXT"), "CHECK (a > 0), b TEXT");
        assert_eq!(words("(a <> '--'  OR 1)"), "(a <> '--' OR 1)");
        assert_ne!(words("(a <> 'b  c')"), words("(a <> 'b c')"));
        assert_ne!(words("(a <> '--\n')"), words("(a <> '')"));
    }
}
