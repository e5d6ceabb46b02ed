//! The file as a whole: audited, copied, written out as records; and all entries of a filter as a file.
//!
//! An audit, a backup and an export read all of the file, so one runs at a time. They send a copy, so a slow client does
//! not hold up the writer: only the next of these requests has to be repeated.

use super::fields::{Field, SINCE_PATTERN, ValueKind};
use super::request::{Context, HandlerResult, JSON, PageRequest};
use super::response;
use super::state::{StreamPermit, WholeFileRead};
use crate::error::Error;
use crate::store::Store;
use crate::store::audit::{AuditReport, Since};
use crate::store::file::record;
use crate::store::file::transfer::{ExportError, ExportForm, cell, csv_line};
use serde::Serialize;
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The query of an audit.
pub(crate) const VERIFY: &[Field] = &[
    Field::optional(
        "since",
        ValueKind::Text,
        "the `line` of an earlier audit, or its `last_hash`: that must still be so",
    )
    .like(SINCE_PATTERN),
    Field::optional("unchanged", ValueKind::Flag, "true if nothing may have happened since that line"),
];

/// `GET /v1/verify`: audits the file as it is now, on connections of its own.
pub(crate) fn verify(context: &mut Context<'_>) -> HandlerResult {
    let wrong = |why: String| {
        let form = "since is the `line` of an earlier audit, or the 64 hexadecimal digits of its `last_hash`";
        Error::invalid(format!("{form}: {why}"))
    };
    let since = context.query.text("since")?.map(|text| Since::parse(&text).map_err(wrong)).transpose()?;
    let since = match (context.query.flag("unchanged")?, since) {
        (false, since) => since,
        (true, since) => {
            let needs_line = || Error::invalid("unchanged needs the `line` of an earlier audit as since");
            Some(since.and_then(Since::unchanged).ok_or_else(needs_line)?)
        }
    };
    let _whole_file = context.app.whole_file.begin()?;
    let report = context.app.store.audit(since.as_ref())?;
    Ok(response::ok(if report.findings.is_empty() { "ok" } else { "damaged" }, &report_json(&report)))
}

/// A violation that the audit found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Finding"))]
pub(crate) struct FindingJson<'a> {
    /// The name of the check.
    check: &'a str,
    /// One sentence about the place and the violation.
    finding: &'a str,
}

/// The result of an audit.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "AuditReport"))]
pub(crate) struct ReportJson<'a> {
    /// True if nothing was found.
    ok: bool,
    /// The number of entries.
    entries: i64,
    /// The number of wallets.
    wallets: i64,
    /// The hash of the newest entry.
    last_hash: &'a str,
    /// The number of lines of the journal.
    journal: i64,
    /// The hash of the newest line of the journal.
    journal_hash: &'a str,
    /// A hash over all that the file holds of money.
    state_hash: &'a str,
    /// All of this as one line to keep elsewhere, for the `since` of a later audit.
    line: &'a str,
    /// The violations that were found.
    findings: Vec<FindingJson<'a>>,
    /// Remarks that are not violations.
    notes: &'a [String],
}

/// A report as JSON.
pub(crate) fn report_json(report: &AuditReport) -> ReportJson<'_> {
    let findings = report.findings.iter();
    ReportJson {
        ok: report.findings.is_empty(),
        entries: report.entries,
        wallets: report.wallets,
        last_hash: &report.last_hash,
        journal: report.journal,
        journal_hash: &report.journal_hash,
        state_hash: &report.state_hash,
        line: &report.line,
        findings: findings.map(|one| FindingJson { check: one.check, finding: &one.sentence }).collect(),
        notes: &report.notes,
    }
}

/// `GET /v1/backup`: one moment of the file, audited, as a database.
pub(crate) fn backup(context: &mut Context<'_>) -> HandlerResult {
    let mut response = if context.is_head() {
        response::stream("application/vnd.sqlite3", io::empty())
    } else {
        let whole_file = context.app.whole_file.begin()?;
        let copy = context.app.store.backup()?;
        response::stream("application/vnd.sqlite3", FileBody::new(copy, whole_file))
    };
    response.headers.push(("Content-Disposition", "attachment; filename=\"cashbox.db\"".to_owned()));
    Ok(response)
}

/// The query of an export.
pub(crate) const EXPORT: &[Field] =
    &[Field::optional("csv", ValueKind::Text, "one table of it: wallets, entries, coupons, coupon-kinds, tiers")
        .one_of(&["wallets", "entries", "coupons", "coupon-kinds", "tiers"])];

/// `GET /v1/export`: one moment of the ledger as records, or one table of it.
pub(crate) fn export(context: &mut Context<'_>) -> HandlerResult {
    let form = match context.query.text("csv")? {
        None => ExportForm::Ndjson,
        Some(table) => ExportForm::Csv(record::find_plural(&table).ok_or_else(|| {
            let tables: Vec<_> = record::RECORDS.iter().map(|record| record.plural).collect();
            Error::invalid(format!("csv is one of {}", tables.join(", ")))
        })?),
    };
    let content_type = if matches!(form, ExportForm::Ndjson) { "application/x-ndjson" } else { "text/csv" };
    if context.is_head() {
        return Ok(response::stream(content_type, io::empty()));
    }
    let whole_file = context.app.whole_file.begin()?;
    let export = context.app.store.export()?;
    let (pipe, mut to) = io::pipe().map_err(Error::internal)?;
    let thread = std::thread::Builder::new().name("export".to_owned()).spawn(move || export.write(form, &mut to));
    let thread = Some(thread.map_err(Error::internal)?);
    let reader = ExportOutput { pipe: Some(pipe), thread };
    Ok(response::stream(content_type, FileBody::new(reader, whole_file)))
}

/// A body made of the whole file. Its copy is closed before the next request may begin, and that may when the client has read
/// the end.
struct FileBody<R> {
    /// None when it was read to its end.
    reader: Option<(R, WholeFileRead)>,
}

impl<R> FileBody<R> {
    fn new(reader: R, whole_file: WholeFileRead) -> FileBody<R> {
        FileBody { reader: Some((reader, whole_file)) }
    }
}

impl<R: Read> Read for FileBody<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        // To its end, so that the chunks of an answer do not depend on when its writer was ready.
        while filled < buffer.len()
            && let Some((reader, _)) = &mut self.reader
        {
            match reader.read(&mut buffer[filled..]) {
                Ok(0) => self.reader = None, // the reader first
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // what is in the buffer is not lost
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The records that a thread writes. They end well only if the thread did.
struct ExportOutput {
    /// None once the body is dropped: the thread's next write fails, and it ends.
    pipe: Option<PipeReader>,
    thread: Option<JoinHandle<Result<(), ExportError>>>,
}

impl Drop for ExportOutput {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Read for ExportOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer))?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(0),
            Some(Ok(Err(ExportError::Output(error)))) => Err(error),
            Some(Ok(Err(ExportError::File(error)))) => {
                crate::log::error("an export could not be written to its end", &error);
                Err(io::Error::other(error))
            }
            Some(Err(_)) => Err(io::Error::other("the export panicked")),
        }
    }
}

/// Rows read at a time for a file.
pub(crate) const ROWS_STEP: usize = 500;

/// The media types of a list that can be read as a file as well.
pub(crate) const TABLE_TYPES: &[&str] = &[JSON, TableFormat::Csv.content_type(), TableFormat::Ndjson.content_type()];

/// The format of a list as a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableFormat {
    /// A line of names, then a line for each row.
    Csv,
    /// A line of JSON for each row.
    Ndjson,
}

impl TableFormat {
    /// The format that the client asks for, if it wants a file.
    pub(crate) fn wanted(context: &Context<'_>) -> Option<TableFormat> {
        let formats = [TableFormat::Csv, TableFormat::Ndjson];
        formats.into_iter().find(|format| context.media_type == format.content_type())
    }

    const fn content_type(self) -> &'static str {
        match self {
            TableFormat::Csv => "text/csv",
            TableFormat::Ndjson => "application/x-ndjson",
        }
    }

    /// Lines of this format, the one in front of all rows first.
    fn lines(self, members: &'static [&'static str]) -> TableLines {
        let first = if self == TableFormat::Csv { csv_line(members) } else { String::new() };
        TableLines { format: self, members, bytes: first.into_bytes() }
    }
}

/// Lines of a list as a file.
pub(crate) struct TableLines {
    format: TableFormat,
    /// The names of the rows' members, in the order of the cells.
    members: &'static [&'static str],
    bytes: Vec<u8>,
}

impl TableLines {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: &impl Serialize) -> io::Result<()> {
        match self.format {
            TableFormat::Ndjson => {
                serde_json::to_writer(&mut self.bytes, row)?;
                self.bytes.push(b'\n');
            }
            TableFormat::Csv => {
                let row = serde_json::to_value(row)?;
                let cells: Vec<_> = self.members.iter().map(|member| cell(member, &row[*member])).collect();
                self.bytes.extend(csv_line(&cells).into_bytes());
            }
        }
        Ok(())
    }
}

/// One page of a list as a file. The header `Link` leads to the next one.
pub(crate) fn page(
    context: &Context<'_>,
    request: &PageRequest,
    format: TableFormat,
    members: &'static [&'static str],
    rows: &[impl Serialize],
    last: Option<&str>,
) -> HandlerResult {
    let mut lines = format.lines(members);
    rows.iter().try_for_each(|row| lines.add(row)).map_err(Error::internal)?;
    let mut page = response::bytes(200, format.content_type(), lines.bytes);
    page.headers.extend(last.map(|last| ("Link", request.link(&context.head.path, last))));
    Ok(page)
}

/// A list to its end as a file. `step` adds the next rows and returns false after the last ones; no connection to the file is
/// kept while they are sent.
pub(crate) fn all_rows(
    context: &Context<'_>,
    format: TableFormat,
    members: &'static [&'static str],
    step: impl FnMut(&Store, &mut TableLines) -> io::Result<bool> + Send + 'static,
) -> HandlerResult {
    let permit = context.app.entry_streams.begin(&context.caller.by)?;
    let store = Arc::clone(&context.app.store);
    let lines = format.lines(members);
    let reader = TableReader { store, step: Box::new(step), is_last: false, lines, sent: 0, _permit: permit };
    Ok(response::stream(format.content_type(), reader))
}

/// Adds the next rows; returns false after the last ones.
type TableStep = Box<dyn FnMut(&Store, &mut TableLines) -> io::Result<bool> + Send>;

struct TableReader {
    store: Arc<Store>,
    step: TableStep,
    /// True if `lines` are the last ones.
    is_last: bool,
    lines: TableLines,
    /// The number of bytes of `lines` that are sent.
    sent: usize,
    _permit: StreamPermit,
}

impl Read for TableReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.sent == self.lines.bytes.len() {
            if self.is_last {
                return Ok(0);
            }
            self.lines.bytes.clear();
            self.sent = 0;
            self.is_last = !(self.step)(&self.store, &mut self.lines)?;
        }
        let count = buffer.len().min(self.lines.bytes.len() - self.sent);
        buffer[..count].copy_from_slice(&self.lines.bytes[self.sent..self.sent + count]);
        self.sent += count;
        Ok(count)
    }
}
