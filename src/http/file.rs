//! The file as a whole: audited, copied, written out as records. Each of these reads all of it, so they go one at a time.
//! What is sent is a copy, so a slow client keeps nothing from the writer: only the next of these has to ask again.

use super::conn::{Body, Response};
use super::fields::{Field, Kind as Is, may};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use crate::error::{Error, ErrorName};
use crate::secret::parse_hash;
use crate::store::audit::{self, AuditReport};
use crate::store::file::record;
use crate::store::file::transfer::{ExportError, ExportForm};
use serde_json::{Value, json};
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

/// Whether somebody is reading the whole file.
#[derive(Default)]
pub struct Reading(Arc<AtomicBool>);

/// One's turn to read the whole file, until it is dropped.
struct Turn(Arc<AtomicBool>);

impl Reading {
    fn begin(&self) -> Result<Turn, Error> {
        if self.0.swap(true, SeqCst) {
            let detail =
                "the whole file is being read for another audit, backup or export; ask again when it is through";
            return Err(Error::new(ErrorName::Busy, detail));
        }
        Ok(Turn(Arc::clone(&self.0)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

/// What an audit takes.
pub const VERIFY: &[Field] = &[may("since", Is::Text, "a `last_hash` of before, that must still be in the chain")];

/// `GET /v1/verify`: audits the file as it is now, on connections of its own.
pub fn verify(context: &mut Context<'_>) -> HandlerResult {
    let since = context.query.text("since")?.map(|text| {
        parse_hash(&text).ok_or_else(|| Error::invalid("since is the 64 hexadecimal digits of a `last_hash`"))
    });
    let since = since.transpose()?;
    let _turn = context.app.reading.begin()?;
    let report = audit::audit(context.app.store().path(), since.as_ref(), &mut |_, _| {})?;
    Ok(Reply::ok(if report.findings.is_empty() { "ok" } else { "damaged" }, &report_json(&report)))
}

/// A report as JSON.
pub fn report_json(report: &AuditReport) -> Value {
    let findings: Vec<_> =
        report.findings.iter().map(|finding| json!({ "check": finding.check, "finding": finding.sentence })).collect();
    json!({
        "ok": report.findings.is_empty(),
        "entries": report.entries,
        "wallets": report.wallets,
        "last_hash": report.last_hash,
        "state_hash": report.state_hash,
        "findings": findings,
    })
}

/// `GET /v1/backup`: one moment of the file, audited, as a database.
pub fn backup(context: &mut Context<'_>) -> HandlerResult {
    let turn = context.app.reading.begin()?;
    let copy = context.app.store().backup()?;
    let mut answer = file("application/vnd.sqlite3", Sent { from: copy, _turn: turn });
    answer.headers.push(("Content-Disposition", "attachment; filename=\"cashbox.db\"".to_owned()));
    Ok(answer)
}

/// What an export takes.
pub const EXPORT: &[Field] = &[may("csv", Is::Text, "one table of it: wallets, entries, coupons, coupon-kinds, tiers")];

/// `GET /v1/export`: one moment of the ledger as records, or one table of it.
pub fn export(context: &mut Context<'_>) -> HandlerResult {
    let form = match context.query.text("csv")? {
        None => ExportForm::Ndjson,
        Some(table) => ExportForm::Csv(record::find_plural(&table).ok_or_else(|| {
            let tables: Vec<_> = record::RECORDS.iter().map(|record| record.plural).collect();
            Error::invalid(format!("csv is one of {}", tables.join(", ")))
        })?),
    };
    let turn = context.app.reading.begin()?;
    let export = context.app.store().export()?;
    let (from, mut to) = io::pipe().map_err(Error::internal)?;
    let writing = std::thread::Builder::new().name("export".to_owned()).spawn(move || export.write(form, &mut to));
    let writing = Some(writing.map_err(Error::internal)?);
    let content_type = if matches!(form, ExportForm::Ndjson) { "application/x-ndjson" } else { "text/csv" };
    Ok(file(content_type, Sent { from: Written { from: Some(from), writing }, _turn: turn }))
}

fn file(content_type: &str, body: impl Read + Send + 'static) -> Response {
    Response { body: Body::Stream(Box::new(body)), ..Reply::bytes(200, content_type, Vec::new()) }
}

/// What is sent while one has one's turn.
struct Sent<From> {
    from: From,
    _turn: Turn,
}

impl<From: Read> Read for Sent<From> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.read(buffer)
    }
}

/// What a thread of its own writes. Its end is the end only if the thread came to its own.
struct Written {
    /// None once nobody reads any more.
    from: Option<PipeReader>,
    writing: Option<JoinHandle<Result<(), ExportError>>>,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.from = None; // the thread finds out, and lets its copy go before anybody else has a turn
        let _ = self.writing.take().map(JoinHandle::join);
    }
}

impl Read for Written {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.as_mut().map_or(Ok(0), |from| from.read(buffer))?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.writing.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(0),
            Some(Ok(Err(ExportError::Output(error)))) => Err(error),
            Some(Ok(Err(ExportError::File(failed)))) => {
                crate::log::error("an export could not be written to its end", &failed);
                Err(io::Error::other(failed))
            }
            Some(Err(_)) => Err(io::Error::other("the export panicked")),
        }
    }
}
