//! The only way to SQL. A rule gets a [`ReadTx`] or a [`WriteTx`] and never a connection; having a [`WriteTx`]
//! proves that you are the writer.
//!
//! Statements are prepared once and cached. Parameters are numbered (`$1`), which other engines understand as well; and
//! they first appear in the order of their numbers, because to SQLite `$1` is a name and names are numbered as they come.

use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, Fence, IdempotencyKey, LockId, UserId, WalletId};
use crate::money::{Balance, Money};
use crate::secret::Hash;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode};
use std::cell::Cell;
use std::ops::Deref;

pub(crate) use rusqlite::{Row, params};

/// The result of a row mapper.
pub(crate) type RowResult<T> = rusqlite::Result<T>;

/// The error of a row mapper for a column whose value this program never writes: the file is damaged.
pub(crate) fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, "not what belongs here".into())
}

/// A consistent view of the file.
pub struct ReadTx<'conn> {
    conn: &'conn Connection,
}

impl<'conn> ReadTx<'conn> {
    /// A view through `conn`, whose transaction the store has begun.
    pub(crate) fn new(conn: &'conn Connection) -> Self {
        ReadTx { conn }
    }

    /// The first row, if there is one.
    pub fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        map: impl FnOnce(&Row<'_>) -> RowResult<T>,
    ) -> Result<Option<T>, Error> {
        let mut statement = prepare(self.conn, sql)?;
        let mut rows = statement.query(params)?;
        Ok(rows.next()?.map(map).transpose()?)
    }

    /// Every row.
    pub fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        map: impl FnMut(&Row<'_>) -> RowResult<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = prepare(self.conn, sql)?;
        let rows = statement.query_map(params, map)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn prepare<'conn>(conn: &'conn Connection, sql: &str) -> RowResult<CachedStatement<'conn>> {
    let statement = conn.prepare_cached(sql)?;
    debug_assert!(
        (1..=statement.parameter_count()).all(|n| statement.parameter_name(n) == Some(&format!("${n}"))),
        "parameters appear in the order of their numbers: {sql}"
    );
    Ok(statement)
}

/// The time of a batch of writes: read once, after its transaction has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since 1970, for people.
    pub wall_ms: i64,
    /// Lease time, for locks: it never goes back.
    pub lease_ms: i64,
}

/// The newest entry, which the next one is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainHead {
    /// Its number, 0 before the first.
    pub id: i64,
    /// Its time.
    pub at: i64,
    /// Its hash.
    pub hash: Hash,
}

/// The write transaction. There is one at a time in the whole file.
pub(crate) struct WriteTx<'conn> {
    read: ReadTx<'conn>,
    now: Now,
    head: Cell<ChainHead>,
}

impl<'conn> WriteTx<'conn> {
    /// For the writer alone, which has begun the transaction and will end it.
    pub(crate) fn new(conn: &'conn Connection, now: Now, head: ChainHead) -> Self {
        WriteTx { read: ReadTx::new(conn), now, head: Cell::new(head) }
    }

    /// Runs one statement. Returns the number of rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, Error> {
        Ok(prepare(self.read.conn, sql)?.execute(params)?)
    }

    /// Runs a statement that must change exactly one row.
    ///
    /// # Panics
    /// If it changed another number of rows: only a fault of this program can cause that.
    pub(crate) fn execute_one(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), Error> {
        let changed = self.execute(sql, params)?;
        assert_eq!(changed, 1, "a row that was just read exists: {sql}");
        Ok(())
    }

    /// The time of this transaction.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// Wall time, never before that of the newest entry, in milliseconds: the time that age is measured from.
    pub(crate) fn steady_wall_ms(&self) -> i64 {
        self.now.wall_ms.max(self.head.get().at)
    }

    /// The newest entry.
    pub(crate) fn chain_head(&self) -> ChainHead {
        self.head.get()
    }

    /// Sets the newest entry after it was written.
    pub(crate) fn set_chain_head(&self, head: ChainHead) {
        self.head.set(head);
    }
}

impl<'conn> Deref for WriteTx<'conn> {
    type Target = ReadTx<'conn>;
    fn deref(&self) -> &ReadTx<'conn> {
        &self.read
    }
}

#[doc(hidden)]
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Error::new(ErrorName::StorageFull, "there is no space left to write; reading goes on").caused_by(error)
            }
            Some(ErrorCode::OperationInterrupted) => {
                Error::new(ErrorName::Busy, "this would read too much at once; narrow it down").caused_by(error)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::damaged(error),
            None if is_unreadable(&error) => Error::damaged(error),
            _ => Error::internal(error),
        }
    }
}

/// Returns whether a column holds a value that this program never writes.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::*;
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// Ids are stored as the text they are.
macro_rules! stored_as_text {
    ($($kind:ty),*) => {$(
        #[doc(hidden)]
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.as_str()))
            }
        }
    )*};
}
stored_as_text!(UserId, WalletId, CouponCode, IdempotencyKey, LockId);

/// Numbers and amounts are stored as the integers they are.
macro_rules! stored_as_integer {
    ($($kind:ty, $number:expr;)*) => {$(
        #[doc(hidden)]
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let number: fn(&$kind) -> i64 = $number;
                Ok(ToSqlOutput::from(number(self)))
            }
        }
    )*};
}
stored_as_integer! {
    Money, |it| it.cents();
    Balance, |it| it.cents();
    EntryId, |it| it.0;
    Fence, |it| it.0;
}

/// Values in the file were valid when they were written; a file with others is damaged.
macro_rules! read_back {
    ($($kind:ty, $stored:ty, $read:expr;)*) => {$(
        #[doc(hidden)]
        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let read: fn($stored) -> Option<$kind> = $read;
                read(<$stored>::column_result(value)?).ok_or(FromSqlError::InvalidType)
            }
        }
    )*};
}
read_back! {
    UserId, String, |text| UserId::parse(&text).ok();
    WalletId, String, |text| Some(WalletId::stored(text));
    CouponCode, String, |text| CouponCode::parse(&text).ok();
    LockId, String, |text| LockId::stored(&text);
    Money, i64, Money::from_cents;
    Balance, i64, |cents| Some(Balance::from_cents(cents));
    EntryId, i64, |id| Some(EntryId(id));
    Fence, i64, |fence| Some(Fence(fence));
}
