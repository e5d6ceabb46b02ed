//! `cashbox backup` and `cashbox restore`: copies of the file, beside whoever has it; and putting one back where nobody has.

use super::call::Call;
use super::door::{Answer, Door, Download, download};
use super::exit::{Exit, Trouble};
use super::progress::Bar;
use super::serve::take;
use super::verify::text;
use super::{Common, Desk, show};
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
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        let mut bar = Bar::new();
        let mut progress = |done, total| bar.show(done, total);
        let report = match &desk.door {
            Door::File { db, .. } => {
                if is_same(db, &self.file) {
                    return Err(Trouble::usage("a backup does not go where the file itself is"));
                }
                copy::back_up(db, &self.file, self.replace, &mut progress)?
            }
            Door::Url { base, token } => match self.fetch(base, token.as_deref(), &mut progress)? {
                Fetched::Backup(report) => report,
                Fetched::Said(answer) => return desk.tell(&answer, text),
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
        tell(desk.json, &body)
    }

    fn fetch(&self, base: &str, token: Option<&str>, progress: Progress<'_>) -> Result<Fetched, Trouble> {
        let call = Call { patience: COPY_TIME, ..Call::get(&["v1", "backup"]) };
        let mut said = None;
        let fill = |out: &mut dyn Write| match download(base, token, &call, DATABASE, out)? {
            Download::Whole => Ok(()),
            Download::Unwanted(error) => {
                Err(Trouble::unreachable(format!("cannot write {}: {error}", self.file.display())))
            }
            Download::Said(answer) => {
                said = Some(answer);
                Err(Trouble::unreachable("there was no backup"))
            }
        };
        let received = copy::receive(&self.file, self.replace, fill, progress);
        match (received, said) {
            (_, Some(answer)) => Ok(Fetched::Said(answer)),
            (received, None) => received.map(Fetched::Backup),
        }
    }
}

enum Fetched {
    Backup(AuditReport),
    Said(Answer),
}

impl Restore {
    /// The backup in the place of the file, once it is known to be sound.
    pub fn run(&self, common: &Common) -> Result<Exit, Trouble> {
        let db = file(common)?;
        let db = db.canonicalize().unwrap_or(db);
        if is_same(&db, &self.file) {
            return Err(Trouble::usage("this is the file itself"));
        }
        let _possession = take(&db)?;
        let mut bar = Bar::new();
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
pub fn file(common: &Common) -> Result<PathBuf, Trouble> {
    match Door::new(common)? {
        Door::File { db, .. } => Ok(db),
        Door::Url { base, .. } => Err(Trouble::usage(format!(
            "this works on the file itself, on the machine where it is: --db FILE, and not the server at {base}"
        ))),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Says what was done, and what the audit saw.
pub fn tell(as_json: bool, body: &serde_json::Value) -> Result<Exit, Trouble> {
    show::print(&if as_json { body.to_string() } else { text(body) }).map(|()| Exit::Done)
}

impl From<CopyError> for Trouble {
    fn from(failed: CopyError) -> Trouble {
        let (exit, advice) = match &failed {
            CopyError::BadTarget(..) => (Exit::Usage, String::new()),
            CopyError::TargetExists(_) => (Exit::Refused, "; --replace puts this in its place".to_owned()),
            CopyError::Open(file, why) => return Trouble::cannot_open(file, why),
            CopyError::Damaged(file, _) => (Exit::Damage, format!(" (see: cashbox verify --db {})", file.display())),
        };
        Trouble { exit, sentence: format!("{failed}{advice}") }
    }
}
