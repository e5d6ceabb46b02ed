//! What a coupon says by itself: its code, its terms, and whose it is. And the kinds, whose terms the next ones get.

use super::{Findings, text};
use crate::error::Error;
use crate::id::{CouponCode, UserId};
use rusqlite::{Connection, Row};

const TERMS: &str = "a coupon has the terms of a coupon";

/// Looks at every coupon and every kind.
pub fn check(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    check_coupons(conn, findings)?;
    let sql = "SELECT kind, NULL, amount_off, percent_off, threshold, single_use, 0 FROM coupon_kind";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(what) = wrong_terms(row)? {
            findings.add(TERMS, format!("coupon kind {} {what}", text(row, 0)?));
        }
    }
    Ok(())
}

fn check_coupons(conn: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let sql = "SELECT code, user, amount_off, percent_off, threshold, single_use, uses FROM coupon";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (code, user) = (text(row, 0)?, text(row, 1)?);
        if !CouponCode::can_be_drawn(&code) {
            findings.add("a coupon has a code", format!("{code} is no code of a coupon"));
        }
        if UserId::parse(&user).is_err() {
            findings.add("a coupon is a user's", format!("coupon {code} is of {user}, who is no user"));
        }
        if let Some(what) = wrong_terms(row)? {
            findings.add(TERMS, format!("coupon {code} {what}"));
        }
    }
    Ok(())
}

fn wrong_terms(row: &Row<'_>) -> Result<Option<&'static str>, Error> {
    let (amount, percent): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
    let (threshold, single_use, uses): (i64, i64, i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let wrong = [
        (amount.is_some() == percent.is_some(), "takes off an amount or a percentage, and not one of the two"),
        (amount.is_some_and(|amount| amount <= 0), "takes off no amount"),
        (percent.is_some_and(|percent| !(1..=100).contains(&percent)), "takes off no percentage"),
        (threshold < 0, "is for prices below zero"),
        (!(0..=1).contains(&single_use), "is neither for once nor for life"),
        (uses < 0 || single_use == 1 && uses > 1, "was used oftener than it can be"),
    ];
    Ok(wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what))
}
