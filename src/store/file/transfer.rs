//! Export of the ledger, every record of one moment, as lines of JSON or as one table of CSV; and import into a new file.
//! Exported records that are imported again have the same hashes, or they are refused. Access tokens, locks and
//! idempotency records are not exported: they belong to one file.

use super::copy::{CopyError, FENCES_SKIPPED, Partial, Progress, copy, failed_at, fence_before};
use super::record::{InsertError, RECORDS, RecordKind, VERSION, find, find_by_fields, shortened};
use crate::clock::Clock;
use crate::error::Error;
use crate::id::WalletId;
use crate::journal::ChangeKind;
use crate::ledger::hold::FROM_ENTRIES;
use crate::ledger::{entry, settings};
use crate::secret::hex;
use crate::store::audit::{self, AuditReport};
use crate::store::connection::connect;
use crate::store::journal_start;
use crate::store::options::OpenError;
use crate::store::reading::Reading;
use crate::store::schema;
use crate::tx::{ReadTx, params};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The names of the first record, which holds the version, and of the last one, which holds the number of records between
/// them: so an export that was cut off on its way is recognised.
const HEAD: &str = "cashbox";
const END: &str = "end";

/// The form of an export.
#[derive(Clone, Copy)]
pub enum ExportForm {
    /// Everything, a JSON object a line.
    Ndjson,
    /// One kind of record as a table, its columns' names first.
    Csv(&'static RecordKind),
}

/// Exports one moment of a file.
pub struct Exporter {
    file: PathBuf,
    reading: Reading,
    /// Copy of a served file, which is read instead, so that a slow reader does not hold up the server's checkpoints.
    _copy: Option<Partial>,
    _folder: Option<TempDir>,
}

/// The reason why an export was not written to its end.
#[derive(Debug)]
pub enum ExportError {
    /// The output cannot be written.
    Output(io::Error),
    /// The file cannot be read.
    File(CopyError),
}

impl Exporter {
    /// Of the file, also while it is served.
    pub fn of(db: &Path) -> Result<Exporter, CopyError> {
        let reading = Reading::of_present_version(db).map_err(failed_at(db))?;
        if reading.is_quiet() {
            return Ok(Exporter { file: db.to_owned(), reading, _copy: None, _folder: None });
        }
        let partial = Partial::begin(db)?;
        copy(db, partial.path(), &mut |_, _| {})?;
        let reading = Reading::of_present_version(partial.path()).map_err(failed_at(partial.path()))?;
        Ok(Exporter { file: partial.path().to_owned(), reading, _copy: Some(partial), _folder: None })
    }

    /// The same, of a file in a folder that is removed with this.
    #[cfg(feature = "postgres")]
    pub(crate) fn of_copy(file: &Path, folder: TempDir) -> Result<Exporter, CopyError> {
        Ok(Exporter { _folder: Some(folder), ..Exporter::of(file)? })
    }

    /// Writes all records, as they are read.
    pub fn write(&self, form: ExportForm, out: &mut dyn Write) -> Result<(), ExportError> {
        let mut written = match form {
            ExportForm::Ndjson => Ok(()),
            ExportForm::Csv(record) => out.write_all(csv_line(&record.names()).as_bytes()),
        };
        let mut sink = |record: Map<String, Value>| {
            let line = match form {
                ExportForm::Ndjson => json!(record).to_string() + "\n",
                ExportForm::Csv(kind) => {
                    csv_line(&kind.names().iter().map(|name| cell(name, &record[*name])).collect::<Vec<_>>())
                }
            };
            written = out.write_all(line.as_bytes());
            written.is_ok()
        };
        let only = if let ExportForm::Csv(record) = form { Some(record) } else { None };
        self.each(only, &mut sink).map_err(ExportError::File)?;
        written.and_then(|()| out.flush()).map_err(ExportError::Output)
    }

    /// Passes every record, or those of one kind, to `sink` until it returns false. All are of one moment.
    fn each(
        &self,
        only: Option<&RecordKind>,
        sink: &mut dyn FnMut(Map<String, Value>) -> bool,
    ) -> Result<(), CopyError> {
        let conn = self.reading.connect().map_err(failed_at(&self.file))?;
        let mut all = || -> Result<(), OpenError> {
            let view = conn.unchecked_transaction()?;
            if let Some(record) = only {
                record.each(&view, sink)?;
                return self.refuse_if_changed();
            }
            let frame = |name: &str, field: &str, value: i64| {
                Map::from_iter([("record".to_owned(), json!(name)), (field.to_owned(), json!(value))])
            };
            let mut goes_on = sink(frame(HEAD, "version", VERSION));
            let mut count = 0;
            let mut counted = |record| {
                count += 1;
                sink(record)
            };
            for record in &RECORDS {
                goes_on = goes_on && record.each(&view, &mut counted)?;
            }
            if goes_on {
                self.refuse_if_changed()?; // before the last record, without which nothing is imported
                sink(frame(END, "records", count));
            }
            Ok(())
        };
        all().map_err(failed_at(&self.file))
    }
}

impl Exporter {
    fn refuse_if_changed(&self) -> Result<(), OpenError> {
        if self.reading.is_current() {
            return Ok(());
        }
        Err(OpenError::new("another process wrote to it while it was exported: export again"))
    }
}

/// One line of CSV (RFC 4180), quoted where necessary.
pub(crate) fn csv_line(cells: &[impl AsRef<[u8]>]) -> String {
    let mut line = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    line.write_record(cells).expect("a write to a vector cannot fail");
    let line = line.into_inner().expect("a write to a vector cannot fail");
    String::from_utf8(line).expect("quotes and commas between texts are text")
}

/// Fields whose text a client chooses freely.
const FREE_TEXTS: [&str; 4] = ["reference", "earned_en", "earned_zh", "name"];
/// A spreadsheet takes a cell that begins with one of these for a formula.
const FORMULA_SIGNS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// True for text that is a formula to a spreadsheet, perhaps behind apostrophes.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(FORMULA_SIGNS)
}

/// The text of the value of that field in a cell; null is empty. A formula gets an apostrophe in front, which spreadsheets
/// take for the mark of a text, and [`from_cell`] takes away.
pub(crate) fn cell(field: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if FREE_TEXTS.contains(&field) && is_formula(text) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text that [`cell`] has written into the cell of that field.
pub(crate) fn from_cell<'a>(field: &str, text: &'a str) -> &'a str {
    let is_marked = FREE_TEXTS.contains(&field) && is_formula(text);
    text.strip_prefix('\'').filter(|_| is_marked).unwrap_or(text)
}

/// The reason why records are not imported.
#[derive(Debug)]
pub enum ImportError {
    /// A wrong record: its place, and the reason.
    At(String, String),
    /// A source that cannot be read: its name, and the reason.
    Unread(String, io::Error),
    /// Sources that cannot be imported together: the reason.
    Together(String),
    /// The file that they make is damaged: the first finding of the audit.
    Unsound(String),
    /// The file cannot be written.
    File(CopyError),
}

impl ImportError {
    fn of_insert(error: InsertError, file: &Path, place: impl FnOnce() -> String) -> ImportError {
        match error {
            InsertError::Record(what) => ImportError::At(place(), what),
            InsertError::File(why) => ImportError::File(failed_at(file)(why)),
        }
    }
}

impl From<CopyError> for ImportError {
    fn from(failed: CopyError) -> ImportError {
        match failed {
            CopyError::Damaged(_, what) => ImportError::Unsound(what),
            failed => ImportError::File(failed),
        }
    }
}

/// A source of records.
pub struct Source {
    name: String,
    form: SourceForm,
}

type Bytes = Box<dyn BufRead>;

/// Some editors put it before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

enum SourceForm {
    /// Everything, a JSON object a line.
    Ndjson(Bytes),
    /// One kind as a table of CSV, with the names of its columns.
    Csv(&'static RecordKind, Vec<String>, csv::Reader<Bytes>),
}

impl Source {
    /// Recognises the form by the beginning: a brace, or the names of columns. `name` is used in errors.
    pub fn open(name: &str, mut bytes: Bytes) -> Result<Source, ImportError> {
        let at_line_one = |what: String| ImportError::At(format!("{name}, line 1"), what);
        let unread = |error| ImportError::Unread(name.to_owned(), error);
        let beginning = bytes.fill_buf().map_err(unread)?;
        if beginning.starts_with(BYTE_ORDER_MARK) {
            bytes.consume(BYTE_ORDER_MARK.len());
        }
        let form = match bytes.fill_buf().map_err(unread)?.first() {
            None => return Err(at_line_one("there is nothing to import".to_owned())),
            Some(b'{') => SourceForm::Ndjson(bytes),
            Some(_) => {
                let mut beginning = next_line(&mut bytes).map_err(unread)?.unwrap_or_default(); // perhaps of a device without end
                let end = beginning.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(beginning.len());
                let rows: Bytes = Box::new(io::Cursor::new(beginning.split_off(end)).chain(bytes));
                let head = table(beginning.as_slice()).into_records().next();
                let columns = head
                    .unwrap_or_else(|| Ok(csv::StringRecord::new()))
                    .map_err(|error| of_csv(error, name, || format!("{name}, line 1")))?;
                let columns: Vec<String> = columns.iter().map(str::to_owned).collect();
                let Some(record) = find_by_fields(&columns) else {
                    let known =
                        "it begins neither with {\"record\":… nor with the columns of a table that `export` writes";
                    return Err(at_line_one(known.to_owned()));
                };
                SourceForm::Csv(record, columns, table(rows))
            }
        };
        Ok(Source { name: name.to_owned(), form })
    }

    /// The position among the tables in the order in which they can be inserted.
    fn position(&self) -> usize {
        let position = |own: &RecordKind| RECORDS.iter().position(|record| record.name == own.name);
        if let SourceForm::Csv(own, ..) = &self.form { position(own).unwrap_or(0) } else { 0 }
    }

    fn is(&self, kind: &str) -> bool {
        matches!(&self.form, SourceForm::Csv(own, ..) if own.name == kind)
    }

    /// Inserts every record into the file, through a connection to it.
    fn insert_into(self, conn: &Connection, file: &Path) -> Result<(), ImportError> {
        let name = self.name;
        match self.form {
            SourceForm::Ndjson(mut lines) => {
                let mut place = Position::Head;
                for number in 1.. {
                    let Some(line) = next_line(&mut lines).map_err(|why| ImportError::Unread(name.clone(), why))?
                    else {
                        break;
                    };
                    let at = || format!("{name}, line {number}");
                    if line.len() as u64 == LINE_MAX {
                        let what = format!("it is longer than any record: {LINE_MAX} bytes and no end");
                        return Err(ImportError::At(at(), what));
                    }
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    let not_an_object = |error| ImportError::At(at(), format!("it is not a JSON object: {error}"));
                    let record = serde_json::from_slice(&line).map_err(not_an_object)?;
                    place = put(conn, &record, place).map_err(|why| ImportError::of_insert(why, file, at))?;
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
                    let at = || format!("{name}, row {number}");
                    let cells = cells.map_err(|error| of_csv(error, &name, at))?;
                    if cells.len() != columns.len() {
                        let what = format!("it has {} cells, and there are {} columns", cells.len(), columns.len());
                        return Err(ImportError::At(at(), what));
                    }
                    let texts = columns.iter().zip(&cells).map(|(column, text)| from_cell(column, text));
                    let inserted = kind.insert(conn, &kind.read_cells(&columns, texts));
                    inserted.map_err(|why| ImportError::of_insert(why, file, at))?;
                }
            }
        }
        Ok(())
    }
}

/// A table of CSV whose first line was read already.
fn table<R: Read>(bytes: R) -> csv::Reader<R> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

fn of_csv(error: csv::Error, source: &str, place: impl FnOnce() -> String) -> ImportError {
    let what = match error.into_kind() {
        csv::ErrorKind::Io(why) => return ImportError::Unread(source.to_owned(), why),
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => "it is not a row of a table".to_owned(),
    };
    ImportError::At(place(), what)
}

/// Options of an import.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// Puts the new file in the place of the one that is there, which is kept beside it.
    pub replace: bool,
    /// Only checks that it could be done.
    pub dry_run: bool,
    /// The wall time, from which the holds are due, in milliseconds.
    pub wall_ms: i64,
    /// The lease time of the new file then.
    pub lease_ms: i64,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions { replace: false, dry_run: false, wall_ms: Clock::Machine.wall_ms(), lease_ms: 0 }
    }
}

/// Makes a file of records. Returns what is in it, and the new path of the file that was there. The caller must possess the
/// file, except for a dry run.
pub fn import(
    db: &Path,
    sources: Vec<Source>,
    options: ImportOptions,
    progress: Progress<'_>,
) -> Result<(AuditReport, Option<PathBuf>), ImportError> {
    let partial = match options.dry_run {
        true => Partial::begin(db)?, // also if there is a file of that name, and if it is served
        false => Partial::begin_unless_there(db, options.replace)?,
    };
    let mut conn = connect(partial.path(), OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed_at(partial.path()))?;
    schema::prepare(&mut conn, &Clock::Machine, |_| Ok(())).map_err(failed_at(partial.path()))?;
    fill(&mut conn, partial.path(), in_order(sources)?, options, fence_before(db))?;
    drop(conn);
    let report = partial.check(db, progress)?;
    if options.dry_run {
        return Ok((report, None));
    }
    Ok((report, partial.replace(db)?))
}

/// The sources in the order of insertion, if they can be imported together.
fn in_order(mut sources: Vec<Source>) -> Result<Vec<Source>, ImportError> {
    sources.sort_by_key(Source::position);
    let whole = sources.iter().filter(|source| matches!(source.form, SourceForm::Ndjson(_))).count();
    let twice = sources.windows(2).find(|pair| whole == 0 && pair[0].position() == pair[1].position());
    let has = |kind: &str| sources.iter().any(|source| source.is(kind));
    let why = match twice {
        _ if whole > 1 || whole == 1 && sources.len() > 1 => "a file of JSON lines is all of a ledger: import it alone",
        Some(_) => "two of these are the same table",
        None if has("entry") && !(has("wallet") && has("coupon")) => "entries come with their wallets and coupons",
        None if has("setting") && !has("wallet") => "settings come with their wallets",
        None if has("coupon_kind") && !has("tier") => "coupon kinds come with their tiers, which say what earns them",
        None => return Ok(sources),
    };
    Err(ImportError::Together(why.to_owned()))
}

/// Inserts all records in one transaction, without the triggers: the audit finds what they would refuse, and names it.
fn fill(
    conn: &mut Connection,
    file: &Path,
    sources: Vec<Source>,
    options: ImportOptions,
    fence_before: i64,
) -> Result<(), ImportError> {
    let wrong = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            ImportError::Unsound(format!("a record names one that is not there, or contradicts another ({error})"))
        }
        _ => ImportError::File(failed_at(file)(error)),
    };
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
    let triggers = schema::take_triggers(&tx).map_err(wrong)?;
    delete_initial_rows(&tx, &sources).map_err(wrong)?;
    for source in sources {
        source.insert_into(&tx, file)?;
    }
    let finish = || -> rusqlite::Result<()> {
        tx.execute_batch("INSERT OR REPLACE INTO code_supply SELECT length(code), count(*) FROM coupon GROUP BY 1")?;
        tx.execute_batch(
            "UPDATE wallet SET newest = (SELECT coalesce(max(id), 0) FROM entry) WHERE id >= '@' AND id < 'A'",
        )?;
        tx.execute_batch(
            "INSERT INTO coupon_given SELECT kind, (SELECT count(*) FROM coupon WHERE coupon.kind = coupon_kind.kind) \
             FROM coupon_kind WHERE limit_total IS NOT NULL",
        )?;
        rebuild_holds(&tx, options)?;
        // Capped: the audit reports a fence in an entry that is too high.
        let fence = "UPDATE lock_seq SET fence = (SELECT min(max(coalesce(max(fence), 0), ?3), ?2) FROM entry) + ?1";
        tx.execute(fence, [FENCES_SKIPPED, i64::MAX - FENCES_SKIPPED, fence_before])?;
        schema::rebuild_totals(&tx)
    };
    finish().map_err(wrong)?;
    let failed = |error: Error| ImportError::File(failed_at(file)(error));
    count_spending(&tx).map_err(failed)?;
    begin_journal(&tx).map_err(failed)?;
    tx.execute_batch(&triggers).map_err(wrong)?;
    tx.commit().map_err(wrong)
}

/// Begins the journal with the hashes that the export had: it is not exported itself.
fn begin_journal(conn: &Connection) -> Result<(), Error> {
    conn.execute("DELETE FROM journal", [])?;
    let hashes = [
        ("last_hash".to_owned(), json!(hex(&entry::chain_head(&ReadTx::new(conn))?.hash))),
        ("state_hash".to_owned(), json!(hex(&audit::state_hash(conn, schema::VERSION)?))),
    ];
    journal_start::begin(conn, Clock::Machine.wall_ms(), ChangeKind::Imported, Map::from_iter(hashes))
}

/// Makes the counts of the wallets with a limit per day from the entries.
fn count_spending(conn: &Connection) -> Result<(), Error> {
    let tx = ReadTx::new(conn);
    let limited = "SELECT wallet FROM wallet_setting WHERE limit_per_day IS NOT NULL";
    for wallet in tx.all(limited, &[], |row| row.get::<WalletId>(0))? {
        let day = settings::last_spending_day(&tx, &wallet)?;
        let spent = settings::spent_on(&tx, &wallet, day)?;
        conn.execute("INSERT INTO day_spending (wallet, day, spent) VALUES ($1, $2, $3)", params![wallet, day, spent])?;
    }
    Ok(())
}

/// Makes the holds of their entries. They are due after what is left of them by the wall clock, and at most after their whole
/// time: entries may be of a clock that was ahead.
fn rebuild_holds(conn: &Connection, options: ImportOptions) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO hold (id, wallet, coupon, captured, amount_left, ended, until, due_ms) \
         SELECT *, 0 FROM ({FROM_ENTRIES})"
    );
    conn.execute(&sql, [])?;
    let due = "UPDATE hold SET due_ms = $1 + (SELECT max(0, min(hold_until - $2, hold_until - at)) FROM entry WHERE id = hold.id)";
    conn.execute(due, [options.lease_ms, options.wall_ms])?;
    conn.execute("UPDATE lock_seq SET clock_ms = max(clock_ms, $1)", [options.lease_ms]).map(|_| ())
}

/// Deletes the first rows of a new file where the sources have rows for that table.
fn delete_initial_rows(conn: &Connection, sources: &[Source]) -> rusqlite::Result<()> {
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

/// The longest line, in bytes: the longest entry takes a tenth of it.
const LINE_MAX: u64 = 256 * 1024;

/// The next line, or its first `LINE_MAX` bytes. None at the end.
fn next_line(lines: &mut Bytes) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = lines.take(LINE_MAX).read_until(b'\n', &mut line)?;
    Ok((read > 0).then_some(line))
}

/// A position in a file of records.
enum Position {
    /// At the first line.
    Head,
    /// Behind that many records.
    Within(i64),
    /// Behind the last line.
    Behind,
}

/// Inserts one record, or checks the first or last line around them. Returns the position after it.
fn put(conn: &Connection, record: &Map<String, Value>, place: Position) -> Result<Position, InsertError> {
    let no_name = || "it has no field `record`, which names its kind".to_owned();
    let name = record.get("record").and_then(Value::as_str).ok_or_else(no_name)?;
    match (place, name) {
        (Position::Head, HEAD)
            if record.get("version").and_then(Value::as_i64).is_some_and(|it| (1..=VERSION).contains(&it)) =>
        {
            Ok(Position::Within(0))
        }
        (Position::Head, HEAD) => {
            Err(format!("this program knows versions 1 to {VERSION} of the records, and not this one").into())
        }
        (Position::Head, _) | (_, HEAD) => {
            Err(format!("the first line, and no other, is {{\"record\":\"{HEAD}\",\"version\":{VERSION}}}").into())
        }
        (Position::Behind, _) => Err("it stands behind the end".to_owned().into()),
        (Position::Within(count), END) if record.get("records") == Some(&json!(count)) => Ok(Position::Behind),
        (Position::Within(count), END) => Err(format!(
            "{} records should stand before it, and {count} do",
            record.get("records").unwrap_or(&Value::Null)
        )
        .into()),
        (Position::Within(count), name) => {
            find(name)
                .ok_or_else(|| format!("there are no records of kind {:?}", shortened(name)))?
                .insert(conn, record)?;
            Ok(Position::Within(count + 1))
        }
    }
}
