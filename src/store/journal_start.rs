//! The lines of the journal that no command writes: how the file came to be, and what was in it when its journal began.
//!
//! The first line has coupon kinds and recharge tiers in full and, of the access tokens and coupons that were there, their
//! number and one hash over what of them never changes. A line each follows for wallets without entries and for wallets
//! with settings. So an audit can tell what came later, and ask the journal for it.

use super::request::LOCAL;
use crate::error::Error;
use crate::id::WalletId;
use crate::journal::{self, ChangeKind, INSERT, JournalLine};
use crate::ledger::coupon;
use crate::ledger::detail::{self, GivenCoupon};
use crate::ledger::{entry, settings};
use crate::secret::{Hash, Hasher, hex};
use crate::token;
use crate::tx::{ChainHead, ReadTx, params};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The number of rows, and one hash over them.
#[derive(Default)]
pub(crate) struct RowSum {
    pub count: i64,
    hasher: Hasher,
}

impl RowSum {
    /// Adds a coupon.
    pub(crate) fn add_coupon(&mut self, coupon: &GivenCoupon) {
        self.count += 1;
        self.hasher.field(Some(coupon.code.as_bytes()));
        self.hasher.field(Some(canonical(&coupon.detail()).as_bytes()));
        self.hasher.field(coupon.earned_by.map(i64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
    }

    /// Adds an access token as it was then, and the secrets that it had had, each as in the journal.
    pub(crate) fn add_token(&mut self, id: &str, detail: &Value, replaced: &[&str]) {
        self.count += 1;
        self.hasher.field(Some(id.as_bytes()));
        self.hasher.field(Some(canonical(detail).as_bytes()));
        self.hasher.field(Some(&(replaced.len() as u64).to_be_bytes()));
        replaced.iter().for_each(|secret| self.hasher.field(Some(secret.as_bytes())));
    }

    /// The hash.
    pub(crate) fn finish(self) -> Hash {
        self.hasher.finish()
    }
}

/// The text of a detail with its fields sorted: the same for every order of them.
fn canonical(detail: &Value) -> String {
    let fields: BTreeMap<&String, &Value> = detail.as_object().into_iter().flatten().collect();
    json!(fields).to_string()
}

/// Begins the journal of a file that has none, with the line of that kind and all that was there. `wall_ms` is now.
pub(crate) fn begin(
    conn: &Connection,
    wall_ms: i64,
    what: ChangeKind,
    mut more: Map<String, Value>,
) -> Result<(), Error> {
    let read = ReadTx::new(conn);
    more.extend([
        ("kinds".to_owned(), detail::kinds(&coupon::kinds(&read)?)),
        ("tiers".to_owned(), detail::tiers(&coupon::tiers(&read)?)),
        ("tokens".to_owned(), tokens(&read, wall_ms)?),
        ("coupons".to_owned(), coupons(conn)?),
    ]);
    append(conn, wall_ms, what, None, &Value::Object(more))?;
    let empty = "SELECT id, created_at FROM wallet WHERE entries = 0 AND (id < '@' OR id >= 'A') ORDER BY id";
    for (wallet, at) in read.all(empty, &[], |row| Ok((row.get::<String>(0)?, row.get(1)?)))? {
        append(conn, wall_ms, ChangeKind::WalletCreated, Some(&wallet), &detail::created_wallet(at))?;
    }
    let with_settings = "SELECT wallet FROM wallet_setting ORDER BY wallet";
    for wallet in read.all(with_settings, &[], |row| row.get::<WalletId>(0))? {
        let settings = detail::settings(&settings::settings(&read, &wallet)?);
        append(conn, wall_ms, ChangeKind::WalletSet, Some(wallet.as_str()), &settings)?;
    }
    Ok(())
}

/// Appends a line, in the transaction of the file's own creation, upgrade or copy: no writer has it yet.
pub(crate) fn append(
    conn: &Connection,
    wall_ms: i64,
    what: ChangeKind,
    subject: Option<&str>,
    detail: &Value,
) -> Result<(), Error> {
    let read = ReadTx::new(conn);
    let (before, entry) = (journal::head(&read)?, entry::chain_head(&read)?);
    let newest = ChainHead { at: entry.at.max(wall_ms), ..entry };
    let JournalLine { seq, at, by, what, subject, entry, detail, hash } =
        JournalLine::after(&before, &newest, LOCAL, what, subject, detail);
    conn.execute(INSERT, params![seq, at, by, what.as_str(), subject, entry, detail, hash])?;
    Ok(())
}

/// The access tokens that are there. A rotation may later end secrets that are valid now, so those are listed.
fn tokens(read: &ReadTx<'_>, wall_ms: i64) -> Result<Value, Error> {
    let (mut sum, mut valid) = (RowSum::default(), Vec::new());
    for id in read.all("SELECT id FROM access_token ORDER BY id", &[], |row| row.get::<String>(0))? {
        let detail = token::detail(read, &id)?.unwrap_or_default();
        let replaced = token::replaced_secrets(read, &id)?;
        for (secret, until) in replaced.iter().filter(|(_, until)| *until > wall_ms) {
            valid.push(json!({ "token": id, "secret": secret, "valid_until": until }));
        }
        sum.add_token(&id, &detail, &sorted(&replaced));
    }
    let at_start = token::id_at_start(read)?;
    Ok(json!({
        "count": sum.count,
        "hash": hex(&sum.finish()),
        "at_start": at_start,
        "replaced": valid,
        "replaced_until": wall_ms,
    }))
}

/// The secrets, sorted.
pub(crate) fn sorted(replaced: &[(String, i64)]) -> Vec<&str> {
    let mut secrets: Vec<&str> = replaced.iter().map(|(secret, _)| secret.as_str()).collect();
    secrets.sort_unstable();
    secrets
}

/// The coupons that are there.
fn coupons(conn: &Connection) -> Result<Value, Error> {
    let mut sum = RowSum::default();
    let mut statement = conn.prepare(GivenCoupon::ALL_IN_ORDER)?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        sum.add_coupon(&GivenCoupon::read(&row.into())?);
    }
    Ok(json!({ "count": sum.count, "hash": hex(&sum.finish()) }))
}
