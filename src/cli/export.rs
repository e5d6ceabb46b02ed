//! `cashbox export` and `cashbox import`: the ledger as records that other programs read, and a new file made of them.

use super::backup::{COPY_TIME, file, tell};
use super::input::CommonOptions;
use super::output::{self, CliError, Exit, ProgressBar};
use super::target::{ApiCall, ApiClient, Download, Target, download, take_possession};
use crate::http::file::report_json;
use crate::store::file::record::{self, RECORDS};
use crate::store::file::transfer::{self, ExportError, ExportForm, ImportError, ImportOptions, Source};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// `cashbox export`
#[derive(Debug, Args)]
pub struct Export {
    /// One table of it as CSV, and not all of it as NDJSON
    #[arg(long, value_name = "TABLE", value_parser = PossibleValuesParser::new(RECORDS.iter().map(|record| record.plural)))]
    csv: Option<String>,
}

/// `cashbox import`
#[derive(Debug, Args)]
pub struct Import {
    /// What `export` wrote: all of it, or tables of it as CSV, a file each; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Put the new file in the place of the one that is there, which is kept beside it
    #[arg(long)]
    replace: bool,
    /// Only find out whether it would be imported
    #[arg(long)]
    dry_run: bool,
}

impl Export {
    /// Everything to standard output, as it is read.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let mut out = BufWriter::new(io::stdout().lock());
        let taken = match &client.target {
            Target::File { db, .. } => {
                let record = self.csv.as_ref().and_then(|table| record::find_plural(table));
                match transfer::Exporter::of(db)?.write(record.map_or(ExportForm::Ndjson, ExportForm::Csv), &mut out) {
                    Ok(()) => Ok(()),
                    Err(ExportError::Output(error)) => Err(error),
                    Err(ExportError::File(failed)) => return Err(failed.into()),
                }
            }
            Target::Url { base, token } => {
                let content_type = if self.csv.is_some() { "text/csv" } else { "application/x-ndjson" };
                let call = ApiCall::get(&["v1", "export"]).query("csv", self.csv.as_ref());
                let call = ApiCall { answer_timeout: COPY_TIME, ..call };
                match download(base, token.as_deref(), &call, content_type, &mut out)? {
                    Download::Complete => out.flush(),
                    Download::WriteFailed(error) => Err(error),
                    Download::Reply(answer) => return answer.print(client.json, |body| body.to_string()),
                }
            }
        };
        output::print_result(taken).map(|()| Exit::Done)
    }
}

impl Import {
    /// A new file, if what is in it is sound.
    pub fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        let db = file(common)?;
        let db = db.canonicalize().unwrap_or(db);
        let sources = self.files.iter().map(|file| source(file)).collect::<Result<_, _>>()?;
        let _possession = if self.dry_run { None } else { Some(take_possession(&db)?) };
        let options = ImportOptions { replace: self.replace, dry_run: self.dry_run };
        let mut bar = ProgressBar::new();
        let (report, kept) = transfer::import(&db, sources, options, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let mut body = report_json(&report);
        let done = if self.dry_run { "would be imported into" } else { "imported into" };
        body["code"] = json!(200);
        body["msg"] = json!(format!("{done} {}", db.display()));
        body["kept"] = json!(kept.as_deref().map(Path::display).map(|kept| kept.to_string()));
        tell(common.json, &body)
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
    fn from(refused: ImportError) -> CliError {
        match refused {
            ImportError::At(place, what) => CliError::usage(format!("{place}: {what}; nothing was imported")),
            ImportError::Together(what) => CliError::usage(format!("{what}; nothing was imported")),
            ImportError::Unsound(what) => CliError {
                exit: Exit::Damage,
                message: format!("this is no sound ledger: {what}; nothing was imported"),
            },
            ImportError::File(failed) => failed.into(),
        }
    }
}
