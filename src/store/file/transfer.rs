//! The ledger out of a file: every record of one moment, as lines of JSON or as one table of CSV. Access tokens, locks and
//! idempotency keys stay behind: they belong to one file.
//! A new file out of records, as lines of JSON or as tables of CSV: what came out (`export`) and goes in again has the
//! same hashes, or it is refused.

use super::companion;
use super::copy::{CopyError, FENCES_SKIPPED, Partial, Progress, copy, failed_at, fence_before};
use super::record::{RECORDS, RecordKind, VERSION, find, find_by_fields};
use crate::store::audit::AuditReport;
use crate::store::connection::{connect, open_read_only};
use crate::store::schema;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

/// The name of the first record, which says what follows, and of the last one, which says how many there were between them:
/// what was cut off on its way is not the whole of it.
pub(super) const HEAD: &str = "cashbox";
pub(super) const END: &str = "end";

/// What is written out.
#[derive(Clone, Copy)]
pub enum ExportForm {
    /// Everything, a JSON object a line.
    Ndjson,
    /// One kind of record as a table, a head line first.
    Csv(&'static RecordKind),
}

/// A file that is ready to be written out.
pub struct Exporter {
    file: PathBuf,
    /// Of a file that is served, what is read is a copy, so that a slow reader keeps nothing from the server.
    _copy: Option<Partial>,
}

/// Why it was not written out to the end.
#[derive(Debug)]
pub enum ExportError {
    /// Whoever takes it takes no more.
    Output(io::Error),
    /// The file cannot be read.
    File(CopyError),
}

impl Exporter {
    /// Of the file, beside whoever has it.
    pub fn of(db: &Path) -> Result<Exporter, CopyError> {
        if companion::server(db).is_none() {
            return Ok(Exporter { file: db.to_owned(), _copy: None });
        }
        let partial = Partial::begin_passing(db, "export")?;
        copy(db, &partial.path, &mut |_, _| {})?;
        Ok(Exporter { file: partial.path.clone(), _copy: Some(partial) })
    }

    /// All of it, as it is read.
    pub fn write(&self, form: ExportForm, out: &mut dyn Write) -> Result<(), ExportError> {
        let mut taken = match form {
            ExportForm::Ndjson => Ok(()),
            ExportForm::Csv(record) => out.write_all(csv_line(&record.names()).as_bytes()),
        };
        let mut sink = |record: Map<String, Value>| {
            let line = match form {
                ExportForm::Ndjson => json!(record).to_string() + "\n",
                ExportForm::Csv(kind) => {
                    csv_line(&kind.names().iter().map(|name| cell(&record[*name])).collect::<Vec<_>>())
                }
            };
            taken = out.write_all(line.as_bytes());
            taken.is_ok()
        };
        let only = if let ExportForm::Csv(record) = form { Some(record) } else { None };
        self.each(only, &mut sink).map_err(ExportError::File)?;
        taken.and_then(|()| out.flush()).map_err(ExportError::Output)
    }

    /// Every record, or those of one kind, to `sink`, until that says no more is wanted. All are of one moment.
    fn each(
        &self,
        only: Option<&RecordKind>,
        sink: &mut dyn FnMut(Map<String, Value>) -> bool,
    ) -> Result<(), CopyError> {
        let conn = open_read_only(&self.file).map_err(failed_at(&self.file))?;
        let mut all = || -> rusqlite::Result<()> {
            let view = conn.unchecked_transaction()?;
            if let Some(record) = only {
                return record.each(&view, sink).map(|_| ());
            }
            let frame = |name: &str, field: &str, value: i64| {
                Map::from_iter([("record".to_owned(), json!(name)), (field.to_owned(), json!(value))])
            };
            let mut wanted = sink(frame(HEAD, "version", VERSION));
            let mut count = 0;
            let mut counted = |record| {
                count += 1;
                sink(record)
            };
            for record in &RECORDS {
                wanted = wanted && record.each(&view, &mut counted)?;
            }
            if wanted {
                sink(frame(END, "records", count));
            }
            Ok(())
        };
        all().map_err(failed_at(&self.file))
    }
}

/// One line of CSV (RFC 4180): quoted where it has to be.
pub fn csv_line(cells: &[impl AsRef<[u8]>]) -> String {
    let mut line = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    line.write_record(cells).expect("a vector takes every write");
    let line = line.into_inner().expect("a vector takes every write");
    String::from_utf8(line).expect("quotes and commas between texts are text")
}

/// What a cell shows of a value; what is absent is empty.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Why records are not taken.
#[derive(Debug)]
pub enum ImportError {
    /// Something cannot be what it should: where it stands, and what is wrong.
    At(String, String),
    /// These sources do not belong together.
    Together(String),
    /// All of them together make no sound file: what the audit found.
    Unsound(String),
    /// The file cannot be made.
    File(CopyError),
}

impl From<CopyError> for ImportError {
    fn from(failed: CopyError) -> ImportError {
        match failed {
            CopyError::Damaged(_, what) => ImportError::Unsound(what),
            failed => ImportError::File(failed),
        }
    }
}

/// Where records come from.
pub struct Source {
    name: String,
    form: SourceForm,
}

type Bytes = Box<dyn BufRead>;

enum SourceForm {
    /// Everything, a JSON object a line.
    Ndjson(Bytes),
    /// One kind as a table of CSV, whose columns are called so.
    Csv(&'static RecordKind, Vec<String>, csv::Reader<Bytes>),
}

impl Source {
    /// Looks at how it begins: with a brace or with the names of columns. `name` is what people know it by.
    pub fn open(name: &str, mut bytes: Bytes) -> Result<Source, ImportError> {
        let at_line_one = |what: String| ImportError::At(format!("{name}, line 1"), what);
        let cannot_be_read = |error: &dyn std::fmt::Display| at_line_one(format!("it cannot be read: {error}"));
        let form = match bytes.fill_buf().map_err(|error| cannot_be_read(&error))?.first() {
            None => return Err(at_line_one("there is nothing to import".to_owned())),
            Some(b'{') => SourceForm::Ndjson(bytes),
            Some(_) => {
                let mut table = csv::Reader::from_reader(bytes);
                let columns = table.headers().map_err(|error| cannot_be_read(&error))?;
                let columns: Vec<String> = columns.iter().map(str::to_owned).collect();
                let Some(record) = find_by_fields(&columns) else {
                    let known =
                        "it begins neither with {\"record\":… nor with the columns of a table that `export` writes";
                    return Err(at_line_one(known.to_owned()));
                };
                SourceForm::Csv(record, columns, table)
            }
        };
        Ok(Source { name: name.to_owned(), form })
    }

    /// Tables go in in the order in which they can.
    fn place(&self) -> usize {
        let kind = |own: &RecordKind| RECORDS.iter().position(|record| record.name == own.name);
        if let SourceForm::Csv(own, ..) = &self.form { kind(own).unwrap_or(0) } else { 0 }
    }

    fn is(&self, kind: &str) -> bool {
        matches!(&self.form, SourceForm::Csv(own, ..) if own.name == kind)
    }

    /// Puts every record into the file.
    fn put_into(self, conn: &Connection) -> Result<(), ImportError> {
        let name = self.name;
        match self.form {
            SourceForm::Ndjson(mut lines) => {
                let mut place = Position::Head;
                for number in 1.. {
                    let at_line = |what: String| ImportError::At(format!("{name}, line {number}"), what);
                    let Some(record) = next_record(&mut lines).map_err(at_line)? else { break };
                    place = put(conn, &record, place).map_err(at_line)?;
                }
                if !matches!(place, Position::Behind) {
                    return Err(ImportError::At(
                        name,
                        format!("it is cut off: the last line would be {{\"record\":\"{END}\",…"),
                    ));
                }
            }
            SourceForm::Csv(kind, columns, mut table) => {
                // Rows as a spreadsheet counts them: a cell may hold several lines.
                for (number, cells) in (2..).zip(table.records()) {
                    let at_row = |what: String| ImportError::At(format!("{name}, row {number}"), what);
                    let cells = cells.map_err(|error| at_row(not_a_row(&error)))?;
                    kind.insert(conn, &kind.from_cells(&columns, &cells)).map_err(at_row)?;
                }
            }
        }
        Ok(())
    }
}

fn not_a_row(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} cells, and there are {expected_len} columns")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => format!("it cannot be read: {error}"),
    }
}

/// How records are imported.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Put the new file in the place of the one that is there, which is kept beside it.
    pub replace: bool,
    /// Only find out whether it could be done.
    pub dry_run: bool,
}

/// Makes a file of records and audits it before it has its name; says what is in it, and where the file that was there is
/// now. Nobody may have the file meanwhile, unless it is to be a dry run.
pub fn import(
    db: &Path,
    sources: Vec<Source>,
    options: ImportOptions,
    progress: Progress<'_>,
) -> Result<(AuditReport, Option<PathBuf>), ImportError> {
    let partial = match options.dry_run {
        true => Partial::begin_passing(db, "dry-run")?, // who has the file, and whether there is one, does not matter
        false => Partial::begin_unless_there(db, options.replace)?,
    };
    let mut conn = connect(&partial.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed_at(&partial.path))?;
    schema::prepare(&mut conn, |_| Ok(())).map_err(failed_at(&partial.path))?;
    fill(&mut conn, &partial.path, in_order(sources)?, fence_before(db))?;
    drop(conn);
    let report = partial.check(db, progress)?;
    if options.dry_run {
        return Ok((report, None));
    }
    Ok((report, partial.replace(db)?))
}

/// The sources in the order in which they go in, if they belong together.
fn in_order(mut sources: Vec<Source>) -> Result<Vec<Source>, ImportError> {
    sources.sort_by_key(Source::place);
    let whole = sources.iter().filter(|source| matches!(source.form, SourceForm::Ndjson(_))).count();
    let twice = sources.windows(2).find(|pair| whole == 0 && pair[0].place() == pair[1].place());
    let has = |kind: &str| sources.iter().any(|source| source.is(kind));
    let why = match twice {
        _ if whole > 1 || whole == 1 && sources.len() > 1 => "a file of JSON lines is all of a ledger: import it alone",
        Some(_) => "two of these are the same table",
        None if has("entry") && !(has("wallet") && has("coupon")) => "entries come with their wallets and coupons",
        None if has("coupon_kind") && !has("tier") => "coupon kinds come with their tiers, which say what earns them",
        None => return Ok(sources),
    };
    Err(ImportError::Together(why.to_owned()))
}

/// One transaction, in which the file takes what it is given: the audit is to find what its triggers would refuse.
fn fill(conn: &mut Connection, file: &Path, sources: Vec<Source>, fence_before: i64) -> Result<(), ImportError> {
    let wrong = |error: rusqlite::Error| ImportError::File(failed_at(file)(error));
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
    let triggers = take_triggers(&tx).map_err(wrong)?;
    make_room(&tx, &sources).map_err(wrong)?;
    for source in sources {
        source.put_into(&tx)?;
    }
    let finish = || -> rusqlite::Result<()> {
        tx.execute_batch("INSERT OR REPLACE INTO code_supply SELECT length(code), count(*) FROM coupon GROUP BY 1")?;
        // The audit tells of one that is beyond reason.
        let fence = "UPDATE lock_seq SET fence = (SELECT min(max(coalesce(max(fence), 0), ?3), ?2) FROM entry) + ?1";
        tx.execute(fence, [FENCES_SKIPPED, i64::MAX - FENCES_SKIPPED, fence_before])?;
        tx.execute_batch(&triggers)
    };
    finish().map_err(wrong)?;
    tx.commit().map_err(wrong)
}

/// Takes away what a new file begins with, where the sources say what it shall be.
fn make_room(conn: &Connection, sources: &[Source]) -> rusqlite::Result<()> {
    let given =
        |kind: &str| sources.iter().any(|source| matches!(source.form, SourceForm::Ndjson(_)) || source.is(kind));
    for (kind, sql) in [
        ("tier", "DELETE FROM recharge_tier"),
        ("coupon_kind", "DELETE FROM coupon_kind"),
        ("wallet", "DELETE FROM wallet"),
    ] {
        if given(kind) {
            conn.execute_batch(sql)?;
        }
    }
    Ok(())
}

/// The longest line there may be, in bytes: an entry with all it can hold is a tenth of it.
const LINE_MAX: u64 = 256 * 1024;

/// The record of the next line, if there is one.
fn next_record(lines: &mut Bytes) -> Result<Option<Map<String, Value>>, String> {
    let mut line = Vec::new();
    let read =
        lines.take(LINE_MAX).read_until(b'\n', &mut line).map_err(|error| format!("it cannot be read: {error}"))?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 == LINE_MAX {
        return Err(format!("it is longer than any record: {LINE_MAX} bytes and no end"));
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| format!("it is no JSON object: {error}"))
}

/// Where in a file of records one is.
enum Position {
    /// At the first line.
    Head,
    /// Behind so many records.
    Within(i64),
    /// Behind the last line.
    Behind,
}

/// Puts one record into the file, or sees that the frame around them is right; where one is then.
fn put(conn: &Connection, record: &Map<String, Value>, place: Position) -> Result<Position, String> {
    let name = record.get("record").and_then(Value::as_str).ok_or("it has no field `record` that says what it is")?;
    match (place, name) {
        (Position::Head, HEAD) if record.get("version") == Some(&json!(VERSION)) => Ok(Position::Within(0)),
        (Position::Head, HEAD) => Err(format!("this program knows version {VERSION} of the records, and not this one")),
        (Position::Head, _) | (_, HEAD) => {
            Err(format!("the first line, and no other, is {{\"record\":\"{HEAD}\",\"version\":{VERSION}}}"))
        }
        (Position::Behind, _) => Err("it stands behind the end".to_owned()),
        (Position::Within(count), END) if record.get("records") == Some(&json!(count)) => Ok(Position::Behind),
        (Position::Within(count), END) => Err(format!(
            "{} records should stand before it, and {count} do",
            record.get("records").unwrap_or(&Value::Null)
        )),
        (Position::Within(count), name) => {
            find(name).ok_or_else(|| format!("there are no records of kind {name:?}"))?.insert(conn, record)?;
            Ok(Position::Within(count + 1))
        }
    }
}

/// Drops all triggers; what brings them back.
fn take_triggers(conn: &Connection) -> rusqlite::Result<String> {
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
    let triggers = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let triggers: Vec<(String, String)> = triggers.collect::<Result<_, _>>()?;
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    Ok(triggers.into_iter().map(|(_, sql)| sql + ";\n").collect())
}
