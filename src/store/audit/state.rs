//! One hash for the money and the coupons as they are, to compare files by.

use crate::error::Error;
use crate::secret::{Hash, Hasher};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// What is hashed, in this order. Columns are named, so that a later version of the file hashes the same.
const TABLES: [&str; 2] = [
    "SELECT 'wallet', id, balance, entries FROM wallet ORDER BY id",
    "SELECT 'coupon', code, user, kind, amount_off, percent_off, threshold, single_use, granted_at, earned_by, uses, taken_by FROM coupon ORDER BY code",
];

/// SHA-256 over the rows of [`TABLES`], each field as in the hash of an entry: a big-endian u32 length and the bytes; an
/// integer is 8 bytes, big-endian; what is absent has the length 0xFFFFFFFF and no bytes.
pub fn hash(conn: &Connection) -> Result<Hash, Error> {
    let mut hasher = Hasher::default();
    for table in TABLES {
        let mut statement = conn.prepare(table)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => hasher.field(None),
                    ValueRef::Integer(number) => hasher.field(Some(&number.to_be_bytes())),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.field(Some(bytes)),
                    ValueRef::Real(_) => return Err(Error::internal("a fraction stands where only integers can")),
                }
            }
        }
    }
    Ok(hasher.finish())
}
