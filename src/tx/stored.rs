//! Values as an engine stores them: the cells of a row, and the types of the program that are read from them.

#[cfg(feature = "postgres")]
use super::server::Received;
use crate::id::{ClaimCode, CouponCode, EntryId, Fence, IdempotencyKey, LockId, UserId, WalletId};
use crate::money::{Balance, Money};
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Type, ValueRef};

/// The result of a row mapper.
pub(crate) type RowResult<T> = rusqlite::Result<T>;

/// One row of an answer.
pub struct Row<'row>(EngineRow<'row>);

enum EngineRow<'row> {
    File(&'row rusqlite::Row<'row>),
    #[cfg(feature = "postgres")]
    Server(&'row postgres::Row),
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    pub fn get<T: FromSql>(&self, column: usize) -> RowResult<T> {
        match self.0 {
            EngineRow::File(row) => row.get(column),
            #[cfg(feature = "postgres")]
            EngineRow::Server(row) => {
                let unread = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Null, error);
                let Received(value) = row.try_get(column).map_err(|error| unread(error.into()))?;
                T::column_result(value).map_err(|error| unread(error.into()))
            }
        }
    }
}

impl<'row> From<&'row rusqlite::Row<'_>> for Row<'row> {
    fn from(row: &'row rusqlite::Row<'_>) -> Row<'row> {
        Row(EngineRow::File(row))
    }
}

#[cfg(feature = "postgres")]
impl<'row> From<&'row postgres::Row> for Row<'row> {
    fn from(row: &'row postgres::Row) -> Row<'row> {
        Row(EngineRow::Server(row))
    }
}

/// The error of a row mapper for a column whose value this program never writes: the file is damaged.
pub(crate) fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, "not what belongs here".into())
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
stored_as_text!(UserId, WalletId, CouponCode, ClaimCode, IdempotencyKey, LockId);

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
    ClaimCode, String, |text| ClaimCode::parse(&text).ok();
    LockId, String, |text| LockId::stored(&text);
    Money, i64, Money::from_cents;
    Balance, i64, |cents| Some(Balance::from_cents(cents));
    EntryId, i64, |id| Some(EntryId(id));
    Fence, i64, |fence| Some(Fence(fence));
}
