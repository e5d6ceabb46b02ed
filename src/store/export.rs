//! The ledger out of a file: every record of one moment, as lines of JSON or as one table of CSV. Access tokens, locks and
//! idempotency keys stay behind: they belong to one file.

use super::backup::copy;
use super::connection::open_read_only;
use super::partial::{Failed, Partial, failed_at};
use super::record::{RECORDS, Record, VERSION};
use super::served;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name of the first record, which says what follows, and of the last one, which says how many there were between them:
/// what was cut off on its way is not the whole of it.
pub(super) const HEAD: &str = "cashbox";
pub(super) const END: &str = "end";

/// What is written out.
#[derive(Clone, Copy)]
pub enum Form {
    /// Everything, a JSON object a line.
    Ndjson,
    /// One kind of record as a table, a head line first.
    Csv(&'static Record),
}

/// A file that is ready to be written out.
pub struct Export {
    file: PathBuf,
    /// Of a file that is served, what is read is a copy, so that a slow reader keeps nothing from the server.
    _copy: Option<Partial>,
}

/// Why it was not written out to the end.
#[derive(Debug)]
pub enum Stopped {
    /// Whoever takes it takes no more.
    Taker(io::Error),
    /// The file cannot be read.
    File(Failed),
}

impl Export {
    /// Of the file, beside whoever has it.
    pub fn of(db: &Path) -> Result<Export, Failed> {
        if served::server(db).is_none() {
            return Ok(Export { file: db.to_owned(), _copy: None });
        }
        let partial = Partial::begin_passing(db, "export")?;
        copy(db, &partial.path, &mut |_, _| {})?;
        Ok(Export { file: partial.path.clone(), _copy: Some(partial) })
    }

    /// All of it, as it is read.
    pub fn write(&self, form: Form, out: &mut dyn Write) -> Result<(), Stopped> {
        let mut taken = match form {
            Form::Ndjson => Ok(()),
            Form::Csv(record) => out.write_all(csv_line(&record.names()).as_bytes()),
        };
        let mut sink = |record: Map<String, Value>| {
            let line = match form {
                Form::Ndjson => json!(record).to_string() + "\n",
                Form::Csv(kind) => csv_line(&kind.names().iter().map(|name| cell(&record[*name])).collect::<Vec<_>>()),
            };
            taken = out.write_all(line.as_bytes());
            taken.is_ok()
        };
        let only = if let Form::Csv(record) = form { Some(record) } else { None };
        self.each(only, &mut sink).map_err(Stopped::File)?;
        taken.and_then(|()| out.flush()).map_err(Stopped::Taker)
    }

    /// Every record, or those of one kind, to `sink`, until that says no more is wanted. All are of one moment.
    fn each(&self, only: Option<&Record>, sink: &mut dyn FnMut(Map<String, Value>) -> bool) -> Result<(), Failed> {
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
