//! The one program that writes to the database: it holds an advisory lock, and the number of its time as the writer stands in
//! the table `writer`. Each batch begins with a look at that row, which also keeps every other writer waiting: a program that
//! has lost its place writes nothing, whatever became of the lock.

use super::address::ServerAddress;
use super::rows::copy_to_server;
use crate::clock::Clock;
use crate::error::{Error, ErrorName};
use crate::store::options::OpenError;
use crate::store::schema::{self, VERSION};
use crate::tx::params;
use crate::tx::server::{Received, Session};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

const TABLES: &str = include_str!("schema.sql");
const TRIGGERS: &str = include_str!("triggers.sql");

/// Takes the lock of the ledger in this database, if no other session has it.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('cashbox ' || coalesce(current_schema(), ''), 0))";
/// Begins a batch: the number of the newest time as the writer, whose row stays locked until the commit.
const BEGIN: &str = "BEGIN; SELECT epoch FROM writer WHERE one = 1 FOR UPDATE";

/// A session that has become the writer.
pub(crate) struct Lead {
    pub session: Session,
    /// True if the ledger was made now.
    pub is_new: bool,
}

impl Lead {
    /// Becomes the writer; makes the tables in an empty database.
    pub(crate) fn take(address: &ServerAddress, clock: &Clock) -> Result<Lead, OpenError> {
        let session = address.writing()?;
        check_settings(&session)?;
        if !truth(&session, LOCK)? {
            return Err(OpenError::new(format!("another cashbox writes to it{}", name_of_writer(&session))));
        }
        let is_new = !is_made(&session)?;
        if is_new {
            make(&session, clock)?;
        }
        let node = format!("{} (process {})", host(), std::process::id());
        let sql = "UPDATE writer SET epoch = epoch + 1, node = $1 WHERE one = 1 RETURNING epoch";
        let epoch = first_number(&session.rows_once(sql, params![node])?);
        session.epoch.set(epoch.ok_or_else(|| OpenError::new("its table \"writer\" has no row: restore a backup"))?);
        Ok(Lead { session, is_new })
    }
}

/// Begins a transaction of the writer's; after the connection was lost, on a new one.
pub(crate) fn begin_batch(session: &Session) -> Result<(), Error> {
    if session.is_closed() {
        session.connect_again()?;
        crate::log::info("the database is reached again", &"");
    }
    if !session.has_lock.get() {
        session.has_lock.set(truth(session, LOCK)?);
        if !session.has_lock.get() {
            // Another program may be the writer since, or a session of this one's own may not have ended yet.
            let epoch = session.rows_once("SELECT epoch FROM writer WHERE one = 1", &[])?;
            session.is_deposed.set(first_number(&epoch) != Some(session.epoch.get()));
            return Err(Error::new(
                ErrorName::Busy,
                "another session holds the lock of this ledger; try again shortly",
            ));
        }
    }
    let epoch = session.begin(BEGIN);
    if epoch.is_err() && session.is_closed() {
        // The loss of an idle connection is found at its next use: nothing of the batch was sent yet.
        session.connect_again()?;
        return begin_batch(session);
    }
    if epoch? == Some(session.epoch.get()) {
        return Ok(());
    }
    session.roll_back()?;
    session.is_deposed.set(true);
    Err(Error::new(ErrorName::Busy, "another cashbox writes to this ledger now; ask that one"))
}

/// Refuses a server that loses what it has said yes to.
fn check_settings(session: &Session) -> Result<(), OpenError> {
    let sql = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', \
               'synchronous_standby_names', 'server_encoding', 'transaction_read_only')";
    for row in session.rows_once(sql, &[])? {
        let text = |column: usize| match row.try_get(column) {
            Ok(Received(ValueRef::Text(text))) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let (name, setting) = (text(0), text(1));
        match (name.as_str(), setting.as_str()) {
            ("fsync" | "full_page_writes" | "synchronous_commit", "off") => {
                let why = format!("its setting {name} is off: a crash would lose answers that were given; turn it on");
                return Err(OpenError::new(why));
            }
            ("synchronous_commit", "local") => {
                crate::log::warn(
                    "PostgreSQL",
                    &"synchronous_commit is local: a standby may lack answers that were given",
                );
            }
            ("synchronous_standby_names", "") => crate::log::warn(
                "PostgreSQL",
                &"synchronous_standby_names is empty: what is committed is on one machine alone",
            ),
            ("synchronous_standby_names", names) => {
                crate::log::info("each commit waits until it is on a standby, also that of the start", &names);
            }
            ("server_encoding", encoding) if encoding != "UTF8" => {
                return Err(OpenError::new(format!(
                    "its encoding is {encoding}: make it with createdb --encoding UTF8"
                )));
            }
            ("transaction_read_only", "on") => return Err(OpenError::new("it is read only")),
            _ => {}
        }
    }
    Ok(())
}

/// True if there are tables of this version; false in an empty database.
fn is_made(session: &Session) -> Result<bool, OpenError> {
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')";
    if first_number(&session.rows_once(tables, &[])?) == Some(0) {
        return Ok(false);
    }
    let is_ours = "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('writer') AND attname IN ('one', 'version', 'epoch', 'node')";
    if first_number(&session.rows_once(is_ours, &[])?) != Some(4) {
        return Err(OpenError::new("it is a database of another application"));
    }
    match first_number(&session.rows_once("SELECT version FROM writer WHERE one = 1", &[])?) {
        Some(version) if version == i64::from(VERSION) => Ok(true),
        Some(newer) if newer > i64::from(VERSION) => Err(OpenError::new(format!(
            "it was written by a newer cashbox (version {newer} of the ledger; this program knows {VERSION}): use that one"
        ))),
        _ => Err(OpenError::new("its table \"writer\" does not say which version it is of: restore a backup")),
    }
}

/// Refuses a database without a ledger of this version.
pub(super) fn check_is_ledger(session: &Session) -> Result<(), OpenError> {
    if is_made(session)? { Ok(()) } else { Err(OpenError::new("it is empty: serve it first")) }
}

/// Makes the tables, with the rows of a new file: all of it or nothing.
fn make(session: &Session, clock: &Clock) -> Result<(), OpenError> {
    let mut conn = Connection::open_in_memory()?;
    schema::prepare(&mut conn, clock, |_| Ok(()))?;
    session.begin("BEGIN")?;
    let made = session.script(TABLES).and_then(|()| {
        copy_to_server(&conn, session)?;
        session.script(TRIGGERS)?;
        session.execute_once("INSERT INTO writer VALUES (1, $1, 0, '')", params![VERSION])
    });
    if let Err(error) = made {
        let _ = session.roll_back(); // the session ends anyway
        return Err(OpenError::new(format!("its tables cannot be made: {}", error.cause.unwrap_or(error.detail))));
    }
    session.commit().map_err(|fault| OpenError::from(fault.error()))
}

fn name_of_writer(session: &Session) -> String {
    let rows = session.rows_once("SELECT node FROM writer WHERE one = 1", &[]).unwrap_or_default();
    match rows.first().map(|row| row.try_get(0)) {
        Some(Ok(Received(ValueRef::Text(node)))) => format!(": {}", String::from_utf8_lossy(node)),
        _ => String::new(),
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn first_number(rows: &[postgres::Row]) -> Option<i64> {
    match rows.first()?.try_get(0) {
        Ok(Received(ValueRef::Integer(number))) => Some(number),
        _ => None,
    }
}

fn truth(session: &Session, sql: &str) -> Result<bool, Error> {
    Ok(first_number(&session.rows_once(sql, &[])?) == Some(1))
}
