//! The rows of a ledger on their way from a file to a database and back. They are copied as they are, without the triggers,
//! which see single changes and not a whole ledger.

use crate::error::Error;
use crate::store::options::OpenError;
use crate::store::schema;
use crate::tx::ToSql;
use crate::tx::server::{Received, Session};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};
use std::path::Path;

/// Rows that are asked for at a time.
const ROWS_AT_ONCE: usize = 5_000;

/// A value of either side.
struct Passed<'a>(ValueRef<'a>);

impl ToSql for Passed<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// The tables of a new file in the order in which they were made: each behind those that its rows refer to.
fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The columns of a table of a file, quoted, separated by commas; and their number.
fn columns(conn: &Connection, table: &str) -> rusqlite::Result<(String, usize)> {
    let statement = conn.prepare(&format!("SELECT * FROM {table}"))?;
    let names = statement.column_names();
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    Ok((quoted.join(", "), names.len()))
}

/// The statement that adds a row.
fn insert(table: &str, columns: &str, count: usize) -> String {
    let values: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
    format!("INSERT INTO {table} ({columns}) VALUES ({})", values.join(", "))
}

/// Copies all rows of a new file into the empty tables of a database, in its transaction.
pub(super) fn copy_to_server(conn: &Connection, session: &Session) -> Result<(), Error> {
    for table in tables(conn)? {
        let (names, count) = columns(conn, &table)?;
        let insert = insert(&table, &names, count);
        let mut statement = conn.prepare(&format!("SELECT {names} FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let values =
                (0..count).map(|column| row.get_ref(column).map(Passed)).collect::<rusqlite::Result<Vec<_>>>()?;
            let values: Vec<&dyn ToSql> = values.iter().map(|value| value as _).collect();
            session.execute_once(&insert, &values)?;
        }
    }
    Ok(())
}

/// Makes a file with all that one moment of the database holds.
pub(crate) fn copy_to_file(session: &Session, file: &Path) -> Result<(), OpenError> {
    // It takes as long as the ledger is large; the session that is used for it keeps its bound.
    session.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0")?;
    let copied = fill(session, file);
    session.roll_back()?;
    copied
}

fn fill(session: &Session, file: &Path) -> Result<(), OpenError> {
    let mut conn = Connection::open(file)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "synchronous", "OFF")?; // it is read by this process alone, and removed
    let tx = conn.transaction()?;
    tx.execute_batch(schema::SCHEMA)?;
    tx.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", schema::VERSION)?;
    let triggers = schema::take_triggers(&tx)?;
    let tables = tables(&tx)?;
    for table in tables.iter().rev() {
        tx.execute_batch(&format!("DELETE FROM {table}"))?; // the rows of a new file
    }
    for table in &tables {
        let (names, count) = columns(&tx, table)?;
        let mut insert = tx.prepare(&insert(table, &names, count))?;
        session.script(&format!("DECLARE copied NO SCROLL CURSOR FOR SELECT {names} FROM {table}"))?;
        loop {
            let rows = session.rows_once(&format!("FETCH {ROWS_AT_ONCE} FROM copied"), &[])?;
            for row in &rows {
                let value = |column| match row.try_get(column) {
                    Ok(Received(value)) => Ok(Passed(value)),
                    Err(error) => Err(Error::damaged(error)),
                };
                let values = (0..count).map(value).collect::<Result<Vec<_>, Error>>()?;
                insert.execute(params_from_iter(values))?;
            }
            if rows.len() < ROWS_AT_ONCE {
                break;
            }
        }
        session.script("CLOSE copied")?;
    }
    tx.execute_batch(&triggers)?;
    Ok(tx.commit()?)
}
