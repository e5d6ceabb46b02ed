//! `cashbox backup` and `cashbox restore`: copies of the file, beside whoever has it; and putting one back where nobody has.

use super::exit::{Exit, Trouble};
use super::progress::Bar;
use super::serve::take;
use super::show;
use super::verify::text;
use super::{Common, door};
use crate::http::system::report_json;
use crate::store::{Failed, backup};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

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

impl Backup {
    /// A copy that is consistent, checked, and on disk.
    pub fn run(&self, common: &Common) -> Result<Exit, Trouble> {
        let db = file(common)?;
        if is_same(&db, &self.file) {
            return Err(Trouble::usage("a backup does not go where the file itself is"));
        }
        let mut bar = Bar::new();
        let report = backup::back_up(&db, &self.file, self.replace, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let bytes = self.file.metadata().map_or(0, |data| data.len());
        let mut body = report_json(&report);
        body["msg"] = json!(format!("backed up to {}", self.file.display()));
        body["bytes"] = json!(bytes);
        tell(common, &body);
        Ok(Exit::Done)
    }
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
        let (report, kept) = backup::restore(&self.file, &db, self.replace, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let mut body = report_json(&report);
        body["msg"] = json!(format!("restored {}", db.display()));
        body["kept"] = json!(kept.as_deref().map(Path::display).map(|kept| kept.to_string()));
        tell(common, &body);
        Ok(Exit::Done)
    }
}

/// The file that is copied or replaced: it has to be on this machine.
pub fn file(common: &Common) -> Result<PathBuf, Trouble> {
    if common.url.is_some() {
        return Err(Trouble::usage("this works on the file itself, on the machine where it is: --db and not --url"));
    }
    Ok(door::file(common))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Says what was done, and what the audit saw.
pub fn tell(common: &Common, body: &serde_json::Value) {
    show::print(&if common.json { body.to_string() } else { text(body) });
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Trouble {
        let (exit, advice) = match &failed {
            Failed::InTheWay(_) => (Exit::Refused, "; --replace puts this in its place".to_owned()),
            Failed::Open(file, why) => return Trouble::cannot_open(file, why),
            Failed::Damaged(file, _) => (Exit::Damage, format!(" (see: cashbox verify --db {})", file.display())),
        };
        Trouble { exit, sentence: format!("{failed}{advice}") }
    }
}
