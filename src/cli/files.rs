//! The verbs that work on the file as a whole: the audit, copies, exports and queries in SQL.
//!
//! Those that only read work beside a server or another command; those that replace the file take possession of it.

use super::api_call::ApiCall;
use super::input::{self, CommonOptions};
use super::output::{self, CliError, Exit, ServerReply};
use super::screen::{self, TaskProgress, VisibleLines};
use super::table;
use super::target::{ApiClient, Target, take_possession};
use super::transport::{Download, download};
use crate::clock::{Clock, rfc3339};
use crate::error::ErrorName;
use crate::http::files::report_json;
use crate::store::audit::{self, AuditReport, Since};
use crate::store::file::copy::{self, CopyError, Progress};
use crate::store::file::query::{QueryResult, query};
use crate::store::file::record::{self, RECORDS};
use crate::store::file::transfer::{self, ExportError, ExportForm, ImportError, ImportOptions, Source};
use crate::store::possession::has_two_names;
use crate::store::{OpenError, Reading};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A verb, with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum FileVerb {
    /// Check every invariant of the file; exit code 4 if one is broken
    Verify(VerifyArgs),
    /// Copy the file, also while it is served: its state at one moment, checked and on disk
    Backup(BackupArgs),
    /// Put a backup in the place of the file, while it is not served
    Restore(RestoreArgs),
    /// Write wallets, entries and coupons to standard output
    Export(ExportArgs),
    /// Make a new file from an export, if the audit finds nothing in it
    Import(ImportArgs),
    /// Query the file in SQL; nothing can be changed
    Sql(SqlArgs),
}

impl FileVerb {
    /// Carries out the verb.
    pub(crate) fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        match self {
            FileVerb::Verify(args) => args.run(&ApiClient::new(common)?),
            FileVerb::Backup(args) => args.run(&ApiClient::new(common)?),
            FileVerb::Restore(args) => args.run(common),
            FileVerb::Export(args) => args.run(&ApiClient::new(common)?),
            FileVerb::Import(args) => args.run(common),
            FileVerb::Sql(args) => args.run(common),
        }
    }
}

/// Time for a server to audit, copy or export its file.
const FILE_TIMEOUT: Duration = Duration::from_secs(3_600);
const NOT_A_STREAM: &str = "a backup is a file that is checked in its place, and not a stream: give a path, such as monday.db \
                            (or ./- for a file of that name)";
/// The media type of a backup.
const DATABASE: &str = "application/vnd.sqlite3";

/// The file that is replaced or asked: it has to be on this machine.
fn local_file(common: &CommonOptions) -> Result<PathBuf, CliError> {
    match Target::new(common)? {
        Target::File { db, .. } => Ok(db),
        Target::Url { base, .. } => Err(CliError::usage(format!(
            "this works on the file itself, on the machine where it is: give --db FILE, and not the server at {base}"
        ))),
    }
}

/// The same, as the file that a symlink leads to.
fn replaceable_file(common: &CommonOptions) -> Result<PathBuf, CliError> {
    local_file(common).map(|db| db.canonicalize().unwrap_or(db))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// A reply that holds a report of the audit, and more fields.
fn report_reply(msg: &str, report: &AuditReport, more: Value) -> ServerReply {
    let mut body = json!({ "code": 200, "msg": msg });
    let report = serde_json::to_value(report_json(report)).expect("every name in a report is text");
    for part in [report, more] {
        if let (Value::Object(body), Value::Object(part)) = (&mut body, part) {
            body.extend(part);
        }
    }
    ServerReply::new(200, body)
}

/// A report of the audit for people.
fn report_text(body: &Value) -> String {
    let mut text = output::block(
        body,
        &["entries", "wallets", "last_hash", "journal", "journal_hash", "state_hash", "line", "bytes", "kept"],
    );
    for found in body["findings"].as_array().into_iter().flatten() {
        let finding = format!("broken: {}: {}", output::text(&found["check"]), output::text(&found["finding"]));
        text += &format!("\n  {}", screen::red(&finding, &io::stdout()));
    }
    for note in body["notes"].as_array().into_iter().flatten() {
        text += &format!("\n  note: {}", output::text(note));
    }
    text
}

/// The path under which a replaced file is kept.
fn kept_field(kept: Option<&Path>) -> Value {
    json!({ "kept": kept.map(|kept| kept.display().to_string()) })
}

/// `cashbox verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The line that an earlier audit printed, or its last hash alone, or `-` to read it: check too that nothing up to there
    /// was rewritten
    #[arg(long, value_name = "LINE", value_parser = since)]
    since: Option<String>,
    /// Nothing may have happened since that line
    #[arg(long, requires = "since")]
    unchanged: bool,
}

fn since(given: &str) -> Result<String, String> {
    let text = input::option(given)?;
    let wrong = "give the line that `verify` printed (cashbox1:…), or the 64 hexadecimal digits of its last hash";
    Since::parse(&text).map(|_| text.trim().to_owned()).map_err(|why| format!("{why}: {wrong}"))
}

impl VerifyArgs {
    /// Audits the file, or has the server at the URL audit its own.
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let since = self.since.as_deref().and_then(|text| Since::parse(text).ok());
        let since = if self.unchanged { since.and_then(Since::unchanged) } else { since };
        if self.unchanged && since.is_none() {
            return Err(CliError::usage(
                "--unchanged needs the line that `verify` printed, and not its last hash alone",
            ));
        }
        let reply = match &client.target {
            Target::File { db, .. } => {
                let report = audit_file(db, since)?;
                report_reply(if report.findings.is_empty() { "ok" } else { "damaged" }, &report, Value::Null)
            }
            Target::Url { .. } => {
                let unchanged = self.unchanged.then_some(true);
                client.target.send(&verify_call(self.since.as_ref()).query("unchanged", unchanged))?
            }
        };
        let exit = reply.print(client.json, report_text)?;
        Ok(if reply.body["ok"] == false { Exit::Damage } else { exit })
    }
}

/// The request for a server's audit.
pub(crate) fn verify_call(since: Option<&String>) -> ApiCall {
    ApiCall { answer_timeout: FILE_TIMEOUT, ..ApiCall::get(&["v1", "verify"]) }.query("since", since)
}

/// Notes that a file which is only read has another name, where a log of it may lie.
fn note_two_names(db: &Path) {
    if let Some(why) = has_two_names(db) {
        screen::note(&format!("{}: {why}; a log under its other name is not read here", db.display()));
    }
}

fn audit_file(db: &Path, since: Option<Since>) -> Result<AuditReport, CliError> {
    let cannot_open = |why: OpenError| match CliError::cannot_open(db, &why) {
        error if why.is_not_a_database() => CliError { exit: Exit::Damage, ..error }, // it was a database once
        error => error,
    };
    Reading::of(db).and_then(|reading| reading.connect()).map_err(cannot_open)?;
    note_two_names(db);
    let bar = TaskProgress::new("entries");
    audit::audit(db, since.as_ref(), &mut |done, total| bar.show(done, total)).map_err(|error| {
        if error.name == ErrorName::StorageFull {
            return CliError::unreachable(format!("cannot audit {}: {}", db.display(), error.detail));
        }
        let is_disk_failure = error.is_disk_failure();
        let why = error.cause.unwrap_or(error.detail);
        if is_disk_failure {
            return CliError::unreachable(format!(
                "cannot audit {}: the disk failed to read or to write: {why}",
                db.display()
            ));
        }
        CliError { exit: Exit::Damage, message: format!("{} cannot be read to its end: {why}", db.display()) }
    })
}

/// `cashbox backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The copy to write
    file: PathBuf,
    /// Put it in the place of a file that is there
    #[arg(long)]
    replace: bool,
}

impl BackupArgs {
    /// Makes a copy that is consistent, checked, and on disk: of the file, or of the file of the server at the URL.
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        if self.file == Path::new("-") {
            return Err(CliError::usage(NOT_A_STREAM));
        }
        let bar = TaskProgress::new("steps");
        let mut progress = |done, total| bar.show(done, total);
        let report = match &client.target {
            Target::File { db, .. } => {
                if is_same_file(db, &self.file) {
                    return Err(CliError::usage("a backup does not go where the file itself is: choose another name"));
                }
                note_two_names(db);
                copy::back_up(db, &self.file, self.replace, &mut progress)?
            }
            Target::Url { base, token } => match self.fetch(base, token.as_deref(), &mut progress)? {
                Fetched::Backup(report) => report,
                Fetched::Reply(reply) => return reply.print(client.json, report_text),
            },
        };
        drop(bar);
        let bytes = self.file.metadata().map_or(0, |data| data.len());
        let more = json!({ "bytes": bytes, "file": self.file, "at": rfc3339(Clock::Machine.wall_ms()) });
        report_reply(&format!("backed up to {}", self.file.display()), &report, more).print(client.json, report_text)
    }

    fn fetch(&self, base: &str, token: Option<&str>, progress: Progress<'_>) -> Result<Fetched, CliError> {
        let call = ApiCall { answer_timeout: FILE_TIMEOUT, ..ApiCall::get(&["v1", "backup"]) };
        let mut other_reply = None;
        let fill = |out: &mut dyn Write| match download(base, token, &call, DATABASE, out)? {
            Download::Complete => Ok(()),
            Download::WriteFailed(error) => {
                Err(CliError::unreachable(format!("cannot write {}: {error}", self.file.display())))
            }
            Download::Reply(reply) => {
                other_reply = Some(reply);
                Err(CliError::unreachable("there was no backup"))
            }
        };
        let received = copy::receive(&self.file, self.replace, fill, progress);
        match other_reply {
            Some(reply) => Ok(Fetched::Reply(reply)),
            None => received.map(Fetched::Backup),
        }
    }
}

/// The result of asking a server for a backup.
enum Fetched {
    /// The backup is in its place.
    Backup(AuditReport),
    /// The server sent a reply instead.
    Reply(ServerReply),
}

/// `cashbox restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Put it in the place of the file that is there, which is kept beside it
    #[arg(long)]
    replace: bool,
}

impl RestoreArgs {
    /// Puts the backup in the place of the file, if the audit finds nothing in it.
    fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        let db = replaceable_file(common)?;
        if is_same_file(&db, &self.file) {
            return Err(CliError::usage("this is the file itself: name a backup of it"));
        }
        if self.file == Path::new("-") {
            return Err(CliError::usage(NOT_A_STREAM));
        }
        if let Err(error) = self.file.metadata() {
            return Err(CliError::unreachable(format!("cannot read {}: {error}", self.file.display())));
        }
        note_two_names(&self.file);
        let _possession = take_possession(&db)?;
        let bar = TaskProgress::new("steps");
        let (report, kept) = copy::restore(&self.file, &db, self.replace, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let reply = report_reply(&format!("restored {}", db.display()), &report, kept_field(kept.as_deref()));
        reply.print(common.json, report_text)
    }
}

impl From<CopyError> for CliError {
    fn from(error: CopyError) -> CliError {
        let (exit, advice) = match &error {
            CopyError::BadTarget(..) => (Exit::Usage, String::new()),
            CopyError::TargetExists(_) => (Exit::Refused, "; --replace puts this in its place".to_owned()),
            CopyError::Open(file, why) => return CliError::cannot_open(file, why),
            CopyError::Damaged(file, _) => (Exit::Damage, format!(" (see: cashbox verify --db {})", file.display())),
        };
        CliError { exit, message: format!("{error}{advice}") }
    }
}

/// `cashbox export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write one table as CSV, instead of everything as NDJSON
    #[arg(long, value_name = "TABLE", value_parser = PossibleValuesParser::new(RECORDS.iter().map(|record| record.plural)))]
    csv: Option<String>,
}

impl ExportArgs {
    /// Writes everything to standard output, as it is read.
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let at_terminal = io::stdout().is_terminal();
        let bar = if at_terminal { TaskProgress::hidden() } else { TaskProgress::new("exported") };
        let mut file = bar.of_output(BufWriter::new(io::stdout().lock()));
        let mut terminal;
        let out: &mut dyn Write = if at_terminal {
            terminal = VisibleLines::new(file);
            &mut terminal
        } else {
            &mut file
        };
        let written = match &client.target {
            Target::File { db, .. } => {
                note_two_names(db);
                let record = self.csv.as_ref().and_then(|table| record::find_plural(table));
                match transfer::Exporter::of(db)?.write(record.map_or(ExportForm::Ndjson, ExportForm::Csv), out) {
                    Ok(()) => Ok(()),
                    Err(ExportError::Output(error)) => Err(error),
                    Err(ExportError::File(error)) => return Err(error.into()),
                }
            }
            Target::Url { base, token } => {
                let content_type = if self.csv.is_some() { "text/csv" } else { "application/x-ndjson" };
                let call = ApiCall::get(&["v1", "export"]).query("csv", self.csv.as_ref());
                let call = ApiCall { answer_timeout: FILE_TIMEOUT, ..call };
                match download(base, token.as_deref(), &call, content_type, out)? {
                    Download::Complete => out.flush(),
                    Download::WriteFailed(error) => Err(error),
                    Download::Reply(reply) => return reply.print(client.json, Value::to_string),
                }
            }
        };
        output::print_result(written).map(|()| Exit::Done)
    }
}

/// `cashbox import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files from `export`: one of NDJSON, or tables as CSV, a file each; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Put the new file in the place of the one that is there, which is kept beside it
    #[arg(long)]
    replace: bool,
    /// Check the files, and import nothing
    #[arg(long)]
    dry_run: bool,
}

impl ImportArgs {
    /// Makes a new file, if the audit finds nothing in it.
    fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        let db = replaceable_file(common)?;
        let sources = self.files.iter().map(|file| source(file)).collect::<Result<_, _>>()?;
        let _possession = if self.dry_run { None } else { Some(take_possession(&db)?) };
        let options = ImportOptions { replace: self.replace, dry_run: self.dry_run, ..ImportOptions::default() };
        let bar = TaskProgress::new("entries");
        let (report, kept) = transfer::import(&db, sources, options, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let done = if self.dry_run { "would be imported into" } else { "imported into" };
        let reply = report_reply(&format!("{done} {}", db.display()), &report, kept_field(kept.as_deref()));
        reply.print(common.json, report_text)
    }
}

fn source(file: &Path) -> Result<Source, CliError> {
    if file == Path::new("-") {
        return Ok(Source::open("standard input", Box::new(BufReader::new(io::stdin())))?);
    }
    let cannot = |error: io::Error| CliError::unreachable(format!("cannot read {}: {error}", file.display()));
    Ok(Source::open(&file.display().to_string(), Box::new(BufReader::new(File::open(file).map_err(cannot)?)))?)
}

impl From<ImportError> for CliError {
    fn from(error: ImportError) -> CliError {
        match error {
            ImportError::At(place, what) => CliError::usage(format!("{place}: {what}; nothing was imported")),
            ImportError::Unread(source, why) => {
                CliError::unreachable(format!("cannot read {source}: {why}; nothing was imported"))
            }
            ImportError::Together(what) => CliError::usage(format!("{what}; nothing was imported")),
            ImportError::Unsound(what) => CliError {
                exit: Exit::Damage,
                message: format!("the ledger is not sound: {what}; nothing was imported"),
            },
            ImportError::File(error) => error.into(),
        }
    }
}

/// `cashbox sql`
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// A SELECT; amounts are cents and times milliseconds since 1970. `-` reads it from standard input
    query: String,
}

impl SqlArgs {
    /// Prints the rows as a table, or as JSON.
    fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        let db = local_file(common)?;
        let sql = input::argument_or_all(&self.query)?;
        note_two_names(&db);
        let answer = query(&db, &sql).map_err(|why| CliError::cannot_open(&db, &why))?;
        let answer = answer.map_err(|why| CliError::usage(format!("this cannot be asked: {why}")))?;
        let text = if common.json { sql_json(&answer) } else { table::grid(&answer.columns, &answer.rows) };
        output::print(&text)?;
        if answer.more {
            let shown = answer.rows.len();
            output::print_error(&format!("there are more than {shown} rows: ask for fewer (LIMIT, OFFSET)"));
        }
        Ok(Exit::Done)
    }
}

fn sql_json(answer: &QueryResult) -> String {
    json!({ "columns": answer.columns, "rows": answer.rows, "more": answer.more }).to_string()
}
