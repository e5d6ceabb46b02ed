//! Questions in SQL from whoever has the file: nothing in them can change it.

use crate::secret::hex;
use crate::store::connection::open_read_only;
use crate::store::options::OpenError;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};
use serde_json::{Value, json};
use std::path::Path;

/// The most rows of an answer: it is kept in memory until it is whole.
const ROWS_MAX: usize = 100_000;

/// The answer to a question.
#[derive(Debug)]
pub struct SqlAnswer {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// Whether there were more.
    pub more: bool,
}

/// Asks one question; the inner error says what is wrong with it.
pub fn ask(db: &Path, question: &str) -> Result<Result<SqlAnswer, String>, OpenError> {
    let conn = open_read_only(db)?;
    Ok(answer(&conn, question))
}

fn answer(conn: &Connection, question: &str) -> Result<SqlAnswer, String> {
    if question.trim().is_empty() {
        return Err("there is no question".to_owned());
    }
    let mut statement = conn.prepare(question).map_err(|error| error.to_string())?;
    if !statement.readonly() {
        return Err("it would change something, and this only looks".to_owned());
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let (rows, more) = rows(&mut statement, columns.len()).map_err(|error| error.to_string())?;
    Ok(SqlAnswer { columns, rows, more })
}

fn rows(statement: &mut Statement<'_>, columns: usize) -> rusqlite::Result<(Vec<Vec<Value>>, bool)> {
    let (mut all, mut rows) = (Vec::new(), statement.query([])?);
    while let Some(row) = rows.next()? {
        if all.len() == ROWS_MAX {
            return Ok((all, true));
        }
        all.push((0..columns).map(|column| row.get_ref(column).map(shown)).collect::<Result<_, _>>()?);
    }
    Ok((all, false))
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => json!(hex(bytes)),
    }
}
