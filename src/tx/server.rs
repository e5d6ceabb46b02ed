//! PostgreSQL's side of the way to SQL: a session with its kept statements, values, and what its errors mean.

use crate::error::{Error, ErrorName};
use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql as Sent, Type, private::BytesMut};
use postgres::{Client, Config, NoTls, Row, Statement};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A connection to PostgreSQL, and the state of its transaction.
pub(crate) struct Session {
    config: Config,
    client: RefCell<Client>,
    /// By address and length of their texts, which are the program's.
    statements: RefCell<HashMap<(usize, usize), Statement>>,
    in_transaction: Cell<bool>,
    /// True if a statement of the transaction has failed: PostgreSQL refuses all others, and would end a COMMIT as a ROLLBACK.
    has_failed: Cell<bool>,
    /// The parts that have begun and not ended.
    parts: Cell<usize>,
    /// The number of notices that the server has sent.
    notices: Arc<AtomicU64>,
    /// Of the writer: the number of its time as the writer.
    pub epoch: Cell<i64>,
    /// Of the writer: true while this session holds the lock of the ledger.
    pub has_lock: Cell<bool>,
    /// Of the writer: true once another program has become it.
    pub is_deposed: Cell<bool>,
}

/// The end of a commit that did not succeed.
pub(crate) enum CommitFault {
    /// Nothing of the transaction is stored.
    NotDone(Error),
    /// It is unknown what is stored.
    Unknown(String),
}

impl CommitFault {
    /// The error, for a transaction that belongs to no command.
    pub(crate) fn error(self) -> Error {
        match self {
            CommitFault::NotDone(error) => error,
            CommitFault::Unknown(cause) => Error::internal(cause),
        }
    }
}

impl Session {
    /// Connects.
    pub(crate) fn connect(mut config: Config) -> Result<Session, postgres::Error> {
        let notices = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&notices);
        config.notice_callback(move |notice| {
            counter.fetch_add(1, Relaxed);
            crate::log::warn("PostgreSQL", &notice.message());
        });
        let client = config.connect(NoTls)?;
        Ok(Session {
            config,
            client: RefCell::new(client),
            statements: RefCell::default(),
            in_transaction: Cell::new(false),
            has_failed: Cell::new(false),
            parts: Cell::new(0),
            notices,
            epoch: Cell::new(0),
            has_lock: Cell::new(true),
            is_deposed: Cell::new(false),
        })
    }

    /// Connects again. The transaction that there was is over, and nothing of it is stored.
    pub(crate) fn connect_again(&self) -> Result<(), Error> {
        let client = self.config.connect(NoTls).map_err(error_of)?;
        self.client.replace(client);
        self.has_lock.set(false);
        self.statements.borrow_mut().clear();
        self.is_ended();
        Ok(())
    }

    fn is_ended(&self) {
        self.in_transaction.set(false);
        self.has_failed.set(false);
        self.parts.set(0);
    }

    /// True if the connection was lost.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.borrow().is_closed()
    }

    /// True if there is no transaction that could go on.
    pub(crate) fn is_over(&self) -> bool {
        !self.in_transaction.get() || self.is_closed() || self.has_failed.get() && self.parts.get() == 0
    }

    fn run<T>(&self, call: impl FnOnce(&mut Client) -> Result<T, postgres::Error>) -> Result<T, Error> {
        let result = call(&mut self.client.borrow_mut());
        result.map_err(|error| {
            self.has_failed.set(true);
            error_of(error)
        })
    }

    fn statement(&self, sql: &'static str) -> Result<Statement, Error> {
        let address = (sql.as_ptr() as usize, sql.len());
        if let Some(kept) = self.statements.borrow().get(&address) {
            return Ok(kept.clone());
        }
        // SQLite is asked to keep nothing for undoing a single statement; PostgreSQL does not know the words.
        let statement = self.run(|client| client.prepare(&sql.replacen(" OR FAIL ", " ", 1)))?;
        self.statements.borrow_mut().insert(address, statement.clone());
        Ok(statement)
    }

    /// The rows of an answer.
    pub(super) fn rows(&self, sql: &'static str, params: &[&dyn ToSql]) -> Result<Vec<Row>, Error> {
        let statement = self.statement(sql)?;
        with_values(params, |values| self.run(|client| client.query(&statement, values)))
    }

    /// Runs a statement. Returns the number of rows it changed.
    pub(super) fn execute(&self, sql: &'static str, params: &[&dyn ToSql]) -> Result<usize, Error> {
        let statement = self.statement(sql)?;
        let changed = with_values(params, |values| self.run(|client| client.execute(&statement, values)))?;
        Ok(changed as usize)
    }

    /// Runs a statement whose text is not the program's own, once.
    pub(crate) fn execute_once(&self, sql: &str, params: &[&dyn ToSql]) -> Result<usize, Error> {
        let changed = with_values(params, |values| self.run(|client| client.execute(sql, values)))?;
        Ok(changed as usize)
    }

    /// The rows of an answer to a statement whose text is not the program's own.
    pub(crate) fn rows_once(&self, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<Row>, Error> {
        with_values(params, |values| self.run(|client| client.query(sql, values)))
    }

    /// Runs several statements without parameters, in one message.
    pub(crate) fn script(&self, sql: &str) -> Result<(), Error> {
        self.run(|client| client.batch_execute(sql))
    }

    /// Begins a transaction with these statements, in one message. Returns the first number of the last row, if there is one.
    pub(crate) fn begin(&self, sql: &str) -> Result<Option<i64>, Error> {
        if self.in_transaction.get() {
            self.roll_back()?;
        }
        self.in_transaction.set(true);
        self.has_failed.set(false);
        let answers = self.run(|client| client.simple_query(sql))?;
        let number = answers.iter().rev().find_map(|answer| match answer {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
            _ => None,
        });
        Ok(number)
    }

    /// Begins, takes back or ends a part of the transaction.
    pub(super) fn control(&self, sql: &'static str) -> Result<(), Error> {
        self.script(sql)?;
        match sql.split(' ').next() {
            Some("SAVEPOINT") => self.parts.set(self.parts.get() + 1),
            Some("RELEASE") => self.parts.set(self.parts.get().saturating_sub(1)),
            _ => self.has_failed.set(false), // it is as it was before the part's statements, with the one that failed
        }
        Ok(())
    }

    /// Ends the transaction with nothing of it stored.
    pub(crate) fn roll_back(&self) -> Result<(), Error> {
        let ended = if self.is_closed() { Ok(()) } else { self.script("ROLLBACK") };
        self.is_ended();
        ended
    }

    /// Ends the transaction with all of it stored.
    pub(crate) fn commit(&self) -> Result<(), CommitFault> {
        if self.has_failed.get() {
            let _ = self.roll_back(); // it ends by itself if that fails
            return Err(CommitFault::NotDone(Error::internal("a statement of the transaction has failed")));
        }
        let notices = self.notices.load(Relaxed);
        let committed = self.client.borrow_mut().batch_execute("COMMIT");
        self.is_ended();
        match committed {
            Err(error) if error.code().is_some_and(|code| code.code().starts_with(INTEGRITY)) => {
                Err(CommitFault::NotDone(error_of(error)))
            }
            Err(error) => Err(CommitFault::Unknown(text_of(&error))),
            // A commit whose wait for a standby is cancelled succeeds, with a notice: its rows may be lost with the primary.
            Ok(()) if self.notices.load(Relaxed) != notices => {
                Err(CommitFault::Unknown("PostgreSQL has sent a notice with the commit".to_owned()))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// The class of errors about constraints: what they refuse is not stored.
const INTEGRITY: &str = "23";

/// The values as PostgreSQL's client takes them.
fn with_values<T>(
    params: &[&dyn ToSql],
    call: impl FnOnce(&[&(dyn Sent + Sync)]) -> Result<T, Error>,
) -> Result<T, Error> {
    let values = params.iter().map(|value| value.to_sql().map(Given)).collect::<rusqlite::Result<Vec<_>>>()?;
    let values: Vec<&(dyn Sent + Sync)> = values.iter().map(|value| value as _).collect();
    call(&values)
}

/// A value that is sent.
#[derive(Debug)]
struct Given<'a>(ToSqlOutput<'a>);

impl Sent for Given<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let value = match &self.0 {
            ToSqlOutput::Borrowed(value) => *value,
            ToSqlOutput::Owned(value) => ValueRef::from(value),
            other => return Err(format!("{other:?} is not a value of the ledger").into()),
        };
        match (value, kind) {
            (ValueRef::Null, _) => Ok(IsNull::Yes),
            (ValueRef::Integer(number), &Type::INT8) => Sent::to_sql(&number, kind, out),
            (ValueRef::Integer(number), &Type::INT4) => Sent::to_sql(&i32::try_from(number)?, kind, out),
            (ValueRef::Integer(number), &Type::BOOL) => Sent::to_sql(&(number != 0), kind, out),
            (ValueRef::Text(text), &Type::TEXT) => Sent::to_sql(&std::str::from_utf8(text)?, kind, out),
            (ValueRef::Blob(bytes), &Type::BYTEA) => Sent::to_sql(&bytes, kind, out),
            (value, kind) => Err(format!("a parameter of type {kind} is given {}", value.data_type()).into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

/// A value that was received.
pub(crate) struct Received<'a>(pub ValueRef<'a>);

impl<'a> FromSql<'a> for Received<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Received<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Received(match *kind {
            Type::INT8 => ValueRef::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => ValueRef::Integer(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => ValueRef::Integer(bool::from_sql(kind, raw)?.into()),
            Type::NUMERIC => ValueRef::Integer(whole_number(raw).ok_or("a number is not whole, or passes 64 bits")?),
            Type::TEXT | Type::VARCHAR | Type::NAME => ValueRef::Text(raw),
            Type::BYTEA => ValueRef::Blob(raw),
            _ => return Err(format!("a column is of type {kind}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Received<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Received(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The whole number that is written as PostgreSQL sends a NUMERIC: the type of a sum of integers.
pub(super) fn whole_number(raw: &[u8]) -> Option<i64> {
    const NEGATIVE: u16 = 0x4000;
    let words: Vec<u16> = raw.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect();
    let [count, weight, sign, _, digits @ ..] = words.as_slice() else { return None };
    let places = usize::try_from(i32::from(*weight as i16) + 1).unwrap_or(0); // before the point, in base 10,000
    if digits.len() != usize::from(*count) || digits.len() > places {
        return None;
    }
    let mut number: i128 = 0;
    for place in 0..places {
        number = number.checked_mul(10_000)?.checked_add(digits.get(place).copied().unwrap_or(0).into())?;
    }
    match *sign {
        0 => i64::try_from(number).ok(),
        NEGATIVE => i64::try_from(-number).ok(),
        _ => None,
    }
}

/// The server's own words, or those of the client. Neither has the password.
pub(crate) fn text_of(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}

/// The error for a client.
pub(crate) fn error_of(error: postgres::Error) -> Error {
    let cause = text_of(&error);
    let busy = |detail: &str| Error::new(ErrorName::Busy, detail).caused_by(&cause);
    match error.code() {
        None if error.is_closed() || !is_about_values(&error) => {
            busy("the database cannot be reached; try again shortly")
        }
        None => Error::damaged(cause),
        Some(&SqlState::QUERY_CANCELED) => busy("this would read too much at once; narrow it down"),
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => busy("the database takes no writes now; try again shortly"),
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
            busy("another program is writing to the database")
        }
        Some(&SqlState::DISK_FULL) => {
            let detail = "there is no space left to write; reading goes on";
            Error::new(ErrorName::StorageFull, detail).caused_by(cause)
        }
        Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE) => {
            Error::invalid("a text has the character U+0000, which a ledger in PostgreSQL does not take")
        }
        Some(code) if ["08", "57", "53"].iter().any(|class| code.code().starts_with(class)) => {
            busy("the database cannot be reached; try again shortly")
        }
        Some(_) => Error::internal(cause),
    }
}

/// True for an error about a value that was sent or received, and not about the connection.
fn is_about_values(error: &postgres::Error) -> bool {
    let text = error.to_string();
    ["serializing", "deserializing", "retrieving", "column", "parameters"].iter().any(|word| text.contains(word))
}
