//! Access tokens, coupon kinds, tiers, coupons and settings against the journal: what it does not explain was not made by
//! this program.

use super::findings::{Findings, text};
use super::journal::JournalEnd;
use crate::error::Error;
use crate::id::WalletId;
use crate::journal::{self, ChangeKind, JournalLine};
use crate::ledger::detail::{self, GivenCoupon};
use crate::ledger::{coupon, settings};
use crate::secret::hex;
use crate::store::journal_start::{RowSum, sorted};
use crate::token;
use crate::tx::{ReadTx, params};
use rusqlite::Connection;
use serde_json::{Map, Value};

const KINDS: &str = "the journal explains the coupon kinds and tiers";
const TOKENS: &str = "the journal explains every access token";
const COUPONS: &str = "a recharge or the journal explains every coupon";
const SETTINGS: &str = "the journal explains the settings of every wallet";

/// Compares everything that the journal has come to.
pub(crate) fn check(conn: &Connection, end: &JournalEnd, findings: &mut Findings) -> Result<(), Error> {
    let tx = ReadTx::new(conn);
    if coupon::kinds(&tx).map_or(Value::Null, |kinds| detail::kinds(&kinds)) != end.kinds {
        findings.add(KINDS, "the coupon kinds are not those that the journal has last");
    }
    if coupon::tiers(&tx).map_or(Value::Null, |tiers| detail::tiers(&tiers)) != end.tiers {
        findings.add(KINDS, "the recharge tiers are not those that the journal has last");
    }
    check_tokens(conn, end, findings)?;
    check_coupons(conn, end, findings)?;
    check_settings(conn, findings)
}

/// The rows that were there when the journal began, counted again.
struct FromBefore<'a> {
    sum: RowSum,
    /// The first line's own count and hash of them.
    stated: &'a Value,
    check: &'static str,
    rows: &'static str,
}

impl FromBefore<'_> {
    /// True if none was there: then each row that the journal does not explain can be named.
    fn is_none(&self) -> bool {
        self.stated["count"] == 0
    }

    fn finish(self, findings: &mut Findings) {
        let count = self.sum.count;
        let is_same = self.stated["count"] == count && self.stated["hash"] == hex(&self.sum.finish()).as_str();
        if !is_same && self.stated["count"] != 0 {
            let rows = self.rows;
            findings.add(
                self.check,
                format!(
                    "{count} {rows} are of before the journal; it says {} and another hash of them, or these were changed",
                    self.stated["count"]
                ),
            );
        }
    }
}

fn check_tokens(conn: &Connection, end: &JournalEnd, findings: &mut Findings) -> Result<(), Error> {
    let tx = ReadTx::new(conn);
    let stated = &end.start.detail["tokens"];
    let mut before = FromBefore { sum: RowSum::default(), stated, check: TOKENS, rows: "access tokens" };
    let mut statement = conn.prepare("SELECT id FROM access_token ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = text(row, 0)?;
        let (detail, replaced) = (token::detail(&tx, &id), token::replaced_secrets(&tx, &id));
        let (Ok(Some(detail)), Ok(replaced), Ok(lines)) = (detail, replaced, journal::lines_about(&tx, &id)) else {
            findings.add(TOKENS, format!("access token {id} has a value that cannot be read"));
            continue;
        };
        let history = TokenHistory::read(&lines, &id, stated);
        if history.last.as_ref().is_some_and(|last| *last != detail) {
            findings.add(TOKENS, format!("access token {id} is not as the journal has it last"));
        }
        if let Some(why) = history.wrong_secret(&replaced) {
            findings.add(TOKENS, format!("access token {id} {why}"));
        }
        if history.is_minted {
            continue;
        }
        if before.is_none() {
            findings.add(TOKENS, format!("access token {id} is there, and the journal does not say who minted it"));
        }
        let earlier: Vec<&str> = sorted(&replaced).into_iter().filter(|secret| !history.has_replaced(secret)).collect();
        before.sum.add_token(&id, &history.first.unwrap_or(detail), &earlier);
    }
    before.finish(findings);
    let marked = token::id_at_start(&tx)?;
    if marked != end.at_start {
        let name = |id: &Option<String>| id.clone().unwrap_or("none".to_owned());
        let sentence =
            format!("given at the last start is {}; the journal says {}", name(&marked), name(&end.at_start));
        findings.add(TOKENS, sentence);
    }
    Ok(())
}

/// The journal's lines about an access token, put together.
#[derive(Default)]
struct TokenHistory {
    is_minted: bool,
    /// Of one that was there before: its detail when the journal began. None: as it is now.
    first: Option<Value>,
    /// Its detail after the last line.
    last: Option<Value>,
    /// The secrets that it has had since the journal began, and the times until which they are valid.
    replaced: Vec<(String, i64)>,
    /// Those from before that were valid still.
    earlier: Vec<(String, i64)>,
    /// The time until which all others from before were valid at most.
    others_until: i64,
}

impl TokenHistory {
    fn read(lines: &[JournalLine], id: &str, stated: &Value) -> TokenHistory {
        let listed = stated["replaced"].as_array().into_iter().flatten().filter(|one| one["token"] == id);
        let mut history = TokenHistory {
            earlier: listed.filter_map(secret_until).collect(),
            others_until: stated["replaced_until"].as_i64().unwrap_or(i64::MIN),
            ..TokenHistory::default()
        };
        for line in lines {
            let Ok(Value::Object(mut detail)) = serde_json::from_str::<Value>(&line.detail) else { continue };
            let replaced = detail.shift_remove("replaced");
            let is_first = history.last.is_none();
            match line.what {
                ChangeKind::TokenMinted => history.is_minted |= is_first,
                ChangeKind::TokenRotated => {
                    let replaced = replaced.unwrap_or_default();
                    if is_first {
                        history.first = Some(with(&detail, "secret", replaced["secret"].clone()));
                    }
                    let end = replaced["earlier_until"].as_i64().unwrap_or(i64::MIN);
                    let all = history.replaced.iter_mut().chain(&mut history.earlier);
                    all.for_each(|(_, until)| *until = end.min(*until));
                    history.replaced.extend(secret_until(&replaced));
                }
                ChangeKind::TokenRevoked if is_first => {
                    history.first = Some(with(&detail, "revoked_at", Value::Null));
                }
                ChangeKind::TokenRevoked => {}
                _ => continue,
            }
            history.last = Some(Value::Object(detail));
        }
        history
    }

    fn has_replaced(&self, secret: &str) -> bool {
        self.replaced.iter().any(|(own, _)| own == secret)
    }

    /// The first of its replaced secrets that is not as the journal has it. Those from before are in the hash as well.
    fn wrong_secret(&self, rows: &[(String, i64)]) -> Option<&'static str> {
        let until = |secret: &str| {
            let known = self.replaced.iter().chain(&self.earlier).find(|(own, _)| own == secret);
            known.map(|(_, until)| *until)
        };
        let is_wrong = |(secret, until_now): &(String, i64)| match until(secret) {
            Some(until) => until != *until_now,
            None => self.is_minted || *until_now > self.others_until,
        };
        if rows.iter().any(is_wrong) {
            return Some("has a replaced secret that the journal does not have, or for longer");
        }
        let is_missing =
            self.replaced.iter().chain(&self.earlier).any(|(own, _)| !rows.iter().any(|(row, _)| row == own));
        is_missing.then_some("lacks a replaced secret that the journal has")
    }
}

fn secret_until(replaced: &Value) -> Option<(String, i64)> {
    Some((replaced["secret"].as_str()?.to_owned(), replaced["valid_until"].as_i64()?))
}

fn with(detail: &Map<String, Value>, field: &str, value: Value) -> Value {
    let mut detail = detail.clone();
    detail.insert(field.to_owned(), value);
    Value::Object(detail)
}

fn check_coupons(conn: &Connection, end: &JournalEnd, findings: &mut Findings) -> Result<(), Error> {
    let stated = &end.start.detail["coupons"];
    let mut before = FromBefore { sum: RowSum::default(), stated, check: COUPONS, rows: "coupons" };
    let given = "SELECT 1 FROM journal WHERE subject = $1 AND what IN ('coupon_granted', 'coupon_claimed')";
    let mut given = conn.prepare(given)?;
    let mut statement = conn.prepare(GivenCoupon::ALL_IN_ORDER)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(coupon) = GivenCoupon::read(&row.into()) else {
            findings.add(COUPONS, format!("coupon {} has a value that cannot be read", text(row, 0)?));
            continue;
        };
        let is_explained = match coupon.earned_by {
            Some(entry) => entry > end.start.entry, // the walk along the entries has compared it
            None => given.exists(params![coupon.code])?,
        };
        if is_explained {
            continue;
        }
        if before.is_none() {
            findings.add(COUPONS, format!("coupon {} of {} was given by neither", coupon.code, coupon.user));
        }
        before.sum.add_coupon(&coupon);
    }
    before.finish(findings);
    Ok(())
}

fn check_settings(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let tx = ReadTx::new(conn);
    let last = "SELECT subject, detail FROM journal line WHERE what = 'wallet_set' AND NOT EXISTS \
                (SELECT 1 FROM journal later WHERE later.subject = line.subject AND later.seq > line.seq AND later.what = 'wallet_set')";
    let mut statement = conn.prepare(last)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (wallet, stated) = (text(row, 0)?, text(row, 1)?);
        let present = settings::settings(&tx, &WalletId::stored(wallet.clone())).map(|it| detail::settings(&it));
        let stated: Value = serde_json::from_str(&stated).unwrap_or_default();
        if present.ok().as_ref() != Some(&stated) {
            findings.add(SETTINGS, format!("the settings of {wallet} are not those that the journal has last"));
        }
    }
    let unexplained = "SELECT 'wallet ' || wallet || ' has settings, and the journal does not' FROM wallet_setting \
                       WHERE NOT EXISTS (SELECT 1 FROM journal WHERE subject = wallet AND what = 'wallet_set')";
    findings.ask(conn, SETTINGS, unexplained)
}

/// The time of a wallet's creation, if a line of the journal says it was created without money.
pub(crate) fn created_at(conn: &Connection, wallet: &str) -> Result<Option<Value>, Error> {
    let sql = "SELECT detail FROM journal WHERE subject = $1 AND what = 'wallet_created' ORDER BY seq LIMIT 1";
    let detail = ReadTx::new(conn).one(sql, params![wallet], |row| row.get::<String>(0))?;
    Ok(detail.and_then(|detail| serde_json::from_str(&detail).ok()))
}
