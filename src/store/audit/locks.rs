//! What a lock's row says: a lease that can have been granted, and was; or one that was revoked.

use super::{Findings, text};
use crate::error::Error;
use crate::id::LockId;
use crate::lock::DURATION_MS;
use crate::tx::{ReadTx, params};
use rusqlite::Connection;

/// How long a secret's hash is, in bytes.
const HASH_LEN: usize = 32;
/// So much of it is written down with a grant, in bytes.
const SHORT_HASH_LEN: usize = 16;

/// Looks at every lock.
pub fn check(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let mut statement = conn.prepare("SELECT id, fence, secret_hash, expire_ms, grace_ms, max_hold_ms FROM lock")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, fence): (String, i64) = (text(row, 0)?, row.get(1)?);
        let secret_hash: Option<Vec<u8>> = row.get(2)?;
        let (expire_ms, grace_ms, max_hold_ms): (i64, i64, Option<i64>) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let lasts = 0..=*DURATION_MS.end();
        if LockId::parse(&id).is_err() {
            findings.add("a lock has a name", format!("{id:?} is no name of a lock"));
        }
        if !lasts.contains(&expire_ms) || !lasts.contains(&grace_ms) {
            let sentence = format!("lock {id} is held for {expire_ms} ms and {grace_ms} ms of grace");
            findings.add("a lease lasts as long as one can", sentence);
        }
        if max_hold_ms.is_some_and(|most| most < 1) {
            findings.add("a lease lasts as long as one can", format!("lock {id} may be held for no time at all"));
        }
        let secret =
            secret_hash.as_ref().map(|hash| if hash.len() == HASH_LEN { &hash[..SHORT_HASH_LEN] } else { &[] });
        if !is_written_down(conn, &id, fence, secret)? {
            let sentence = format!("nothing says that lock {id} was given under fence {fence} to whoever has it");
            findings.add("a lease was granted", sentence);
        }
        if secret.is_none() && expire_ms != 0 {
            findings.add("what is revoked is over", format!("lock {id} is revoked and held for {expire_ms} ms"));
        }
    }
    Ok(())
}

/// What last happened to a lock that is there is always kept: the grant with its secret, or that it was revoked.
fn is_written_down(conn: &Connection, id: &str, fence: i64, secret: Option<&[u8]>) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM lock_event WHERE lock_id = $1 AND fence = $2 AND secret_hash IS $3 \
               AND CASE WHEN $3 IS NULL THEN what = 'revoked' ELSE what IN ('created', 'taken_over') END";
    Ok(ReadTx::new(conn).one(sql, params![id, fence, secret], |_| Ok(()))?.is_some())
}
