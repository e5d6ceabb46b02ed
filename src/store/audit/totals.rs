//! The report's totals against the entries: each row says what the entries up to the end of its quarter of an hour add up to.

use super::findings::{Findings, text};
use crate::clock::rfc3339;
use crate::error::Error;
use crate::ledger::entry::Entry;
use crate::ledger::report::{self, Counted, NAMES, QUARTER_MS, quarter_of};
use crate::tx::{ReadTx, RunningTotal, RunningTotals, params};
use rusqlite::{Connection, Rows};
use std::collections::BTreeMap;

const CHECK: &str = "the report's totals are those of the entries";

/// The rows of the totals beside a walk along the entries.
pub(crate) struct TotalRows<'s> {
    conn: &'s Connection,
    rows: Rows<'s>,
    next: Option<(i64, String, Option<RunningTotal>)>,
    totals: RunningTotals,
    /// The quarter of the last entry.
    quarter: Option<i64>,
}

impl<'s> TotalRows<'s> {
    pub(crate) const IN_ORDER: &'static str =
        "SELECT quarter, what, count, sum FROM report_total ORDER BY quarter, what";

    pub(crate) fn new(conn: &'s Connection, rows: Rows<'s>) -> Result<TotalRows<'s>, Error> {
        let mut all = TotalRows { conn, rows, next: None, totals: RunningTotals::default(), quarter: None };
        all.advance()?;
        Ok(all)
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.next = match self.rows.next()? {
            Some(row) => Some((row.get(0)?, text(row, 1)?, report::read(&row.into()).ok().map(|(.., total)| total))),
            None => None,
        };
        Ok(())
    }

    /// Counts an entry, after those of an earlier quarter were compared.
    pub(crate) fn follow(&mut self, entry: &Entry, findings: &mut Findings) -> Result<(), Error> {
        let own = quarter_of(entry.at);
        if let Some(before) = self.quarter.replace(own).filter(|before| *before != own) {
            self.compare(before, findings)?;
        }
        let kind = "SELECT kind FROM entry WHERE id = $1";
        let refunded: Option<String> = match entry.refunds {
            Some(original) => ReadTx::new(self.conn).one(kind, params![original], |row| row.get(0)).ok().flatten(),
            None => None,
        };
        self.totals.add(&Counted {
            kind: entry.kind.as_str(),
            refunded: refunded.as_deref(),
            from: entry.from.as_str(),
            to: entry.to.as_str(),
            amount: entry.amount.cents(),
            discount: entry.discount.map_or(0, |discount| discount.0),
        });
        Ok(())
    }

    /// Compares the last quarter.
    pub(crate) fn finish(mut self, findings: &mut Findings) -> Result<(), Error> {
        if let Some(last) = self.quarter {
            self.compare(last, findings)?;
        }
        if let Some((quarter, ..)) = &self.next {
            findings.add(CHECK, format!("there are totals of the quarter of an hour {quarter}, which has no entries"));
        }
        Ok(())
    }

    fn compare(&mut self, quarter: i64, findings: &mut Findings) -> Result<(), Error> {
        let mut stated = BTreeMap::new();
        while let Some((own, what, total)) = self.next.take_if(|(own, ..)| *own <= quarter) {
            if own < quarter {
                findings.add(CHECK, format!("there are totals of the quarter of an hour {own}, which has no entries"));
            } else if NAMES.contains(&what.as_str()) {
                stated.insert(what, total);
            } else {
                findings.add(CHECK, format!("there is a total of {what:?}, of which none is kept"));
            }
            self.advance()?;
        }
        for (name, total) in NAMES.iter().zip(self.totals.all) {
            let stated = stated.get(*name).copied().unwrap_or(Some(RunningTotal::default()));
            if stated != Some(total) {
                let end = rfc3339(quarter.saturating_add(1).saturating_mul(QUARTER_MS));
                let says = stated.map_or("nothing that can be read".to_owned(), |total| total.to_string());
                findings.add(CHECK, format!("before {end} the total of {name} says {says}; the entries say {total}"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for RunningTotal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} entries and {} cents", self.count, self.sum)
    }
}
