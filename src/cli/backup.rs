//! `cashbox backup` and `cashbox restore`: copies of the file, beside whoever has it; and putting one back where nobody has.

use super::input::CommonOptions;
use super::output::{self, CliError, Exit, ProgressBar, ServerReply};
use super::target::{ApiCall, ApiClient, Download, Target, download, take_possession};
use super::verify::text;
use crate::clock::{Clock, rfc3339};
use crate::http::file::report_json;
use crate::store::audit::AuditReport;
use crate::store::file::copy::{self, CopyError, Progress};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `cashbox backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// Where the copy goes
    file: PathBuf,
    /// Put it in the place of what is there
    #[arg(long)]
    replace: bool,
}

/// `cashbox restore`
#[derive(Debug, Args)]
pub struct Restore {
    /// A backup
    file: PathBuf,
    /// Put it in the place of the file that is there, which is kept beside it
    #[arg(long)]
    replace: bool,
}

/// How a server sends a backup, and how long it may take to make one.
const DATABASE: &str = "application/vnd.sqlite3";
pub const COPY_TIME: Duration = Duration::from_secs(3_600);

impl Backup {
    /// A copy that is consistent, checked, and on disk: of the file, or of what the server at the URL has.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let mut bar = ProgressBar::new();
        let mut progress = |done, total| bar.show(done, total);
        let report = match &client.target {
            Target::File { db, .. } => {
                if is_same(db, &self.file) {
                    return Err(CliError::usage("a backup does not go where the file itself is"));
                }
                copy::back_up(db, &self.file, self.replace, &mut progress)?
            }
            Target::Url { base, token } => match self.fetch(base, token.as_deref(), &mut progress)? {
                Fetched::Backup(report) => report,
                Fetched::Reply(answer) => return answer.print(client.json, text),
            },
        };
        drop(bar);
        let bytes = self.file.metadata().map_or(0, |data| data.len());
        let mut body = report_json(&report);
        body["code"] = json!(200);
        body["msg"] = json!(format!("backed up to {}", self.file.display()));
        body["bytes"] = json!(bytes);
        body["file"] = json!(self.file);
        body["at"] = json!(rfc3339(Clock::Machine.wall_ms()));
        tell(client.json, &body)
    }

    fn fetch(&self, base: &str, token: Option<&str>, progress: Progress<'_>) -> Result<Fetched, CliError> {
        let call = ApiCall { answer_timeout: COPY_TIME, ..ApiCall::get(&["v1", "backup"]) };
        let mut said = None;
        let fill = |out: &mut dyn Write| match download(base, token, &call, DATABASE, out)? {
            Download::Complete => Ok(()),
            Download::WriteFailed(error) => {
                Err(CliError::unreachable(format!("cannot write {}: {error}", self.file.display())))
            }
            Download::Reply(answer) => {
                said = Some(answer);
                Err(CliError::unreachable("there was no backup"))
            }
        };
        let received = copy::receive(&self.file, self.replace, fill, progress);
        match (received, said) {
            (_, Some(answer)) => Ok(Fetched::Reply(answer)),
            (received, None) => received.map(Fetched::Backup),
        }
    }
}

enum Fetched {
    Backup(AuditReport),
    Reply(ServerReply),
}

impl Restore {
    /// The backup in the place of the file, once it is known to be sound.
    pub fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        let db = file(common)?;
        let db = db.canonicalize().unwrap_or(db);
        if is_same(&db, &self.file) {
            return Err(CliError::usage("this is the file itself"));
        }
        let _possession = take_possession(&db)?;
        let mut bar = ProgressBar::new();
        let (report, kept) = copy::restore(&self.file, &db, self.replace, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let mut body = report_json(&report);
        body["code"] = json!(200);
        body["msg"] = json!(format!("restored {}", db.display()));
        body["kept"] = json!(kept.as_deref().map(Path::display).map(|kept| kept.to_string()));
        tell(common.json, &body)
    }
}

/// The file that is replaced or looked into: it has to be on this machine.
pub fn file(common: &CommonOptions) -> Result<PathBuf, CliError> {
    match Target::new(common)? {
        Target::File { db, .. } => Ok(db),
        Target::Url { base, .. } => Err(CliError::usage(format!(
            "this works on the file itself, on the machine where it is: --db FILE, and not the server at {base}"
        ))),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Says what was done, and what the audit saw.
pub fn tell(as_json: bool, body: &serde_json::Value) -> Result<Exit, CliError> {
    output::print(&if as_json { body.to_string() } else { text(body) }).map(|()| Exit::Done)
}

impl From<CopyError> for CliError {
    fn from(failed: CopyError) -> CliError {
        let (exit, advice) = match &failed {
            CopyError::BadTarget(..) => (Exit::Usage, String::new()),
            CopyError::TargetExists(_) => (Exit::Refused, "; --replace puts this in its place".to_owned()),
            CopyError::Open(file, why) => return CliError::cannot_open(file, why),
            CopyError::Damaged(file, _) => (Exit::Damage, format!(" (see: cashbox verify --db {})", file.display())),
        };
        CliError { exit, message: format!("{failed}{advice}") }
    }
}
