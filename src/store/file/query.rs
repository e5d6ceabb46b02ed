//! Queries in SQL by a person with access to the file. They cannot change it.

use crate::secret::hex;
use crate::store::options::OpenError;
use crate::store::reading::{Reading, read_whole};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};
use serde_json::{Value, json};
use std::path::Path;

/// The most rows of a result, which is kept in memory until it is complete.
const ROWS_MAX: usize = 100_000;

/// The result of a query.
#[derive(Debug)]
pub(crate) struct QueryResult {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// True if there were more.
    pub more: bool,
}

/// Runs one query. The inner error is about the query.
pub(crate) fn query(db: &Path, sql: &str) -> Result<Result<QueryResult, String>, OpenError> {
    read_whole(db, Reading::of, |why| why, |reading| Ok(run(&reading.connect()?, sql)))
}

fn run(conn: &Connection, sql: &str) -> Result<QueryResult, String> {
    if sql.trim().is_empty() {
        return Err("the query is empty".to_owned());
    }
    let mut statement = conn.prepare(sql).map_err(|error| error.to_string())?;
    if !statement.readonly() {
        return Err("it would change the file; only a query that reads is accepted".to_owned());
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let (rows, more) = rows(&mut statement, columns.len()).map_err(|error| error.to_string())?;
    Ok(QueryResult { columns, rows, more })
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
