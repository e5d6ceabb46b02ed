//! `cashbox export` and `cashbox import`: the ledger as records that other programs read, and a new file made of them.

use super::Common;
use super::backup::{file, tell};
use super::exit::{Exit, Trouble};
use super::progress::Bar;
use super::serve::take;
use crate::http::stream::csv_line;
use crate::http::system::report_json;
use crate::store::import::{self, Refused, Wish};
use crate::store::record;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What may stand in one table.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    Wallets,
    Entries,
    Coupons,
}

/// `cashbox export`
#[derive(Debug, Args)]
pub struct Export {
    /// One table of it as CSV, and not all of it as NDJSON
    #[arg(long, value_name = "TABLE")]
    csv: Option<Table>,
}

/// `cashbox import`
#[derive(Debug, Args)]
pub struct Import {
    /// What `export` wrote; `-` is standard input
    file: PathBuf,
    /// Put the new file in the place of the one that is there, which is kept beside it
    #[arg(long)]
    replace: bool,
    /// Only find out whether it would be imported
    #[arg(long)]
    dry_run: bool,
}

impl Export {
    /// Everything to standard output, as it is read.
    pub fn run(&self, common: &Common) -> Result<Exit, Trouble> {
        let db = file(common)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let record = self.csv.and_then(|table| {
            record::find(match table {
                Table::Wallets => "wallet",
                Table::Entries => "entry",
                Table::Coupons => "coupon",
            })
        });
        let names: Vec<&str> =
            record.map_or(Vec::new(), |record| record.fields.iter().map(|field| field.name).collect());
        let mut written = if names.is_empty() { Ok(()) } else { out.write_all((names.join(",") + "\r\n").as_bytes()) };
        let mut write = |record: Map<String, Value>| {
            let line =
                if names.is_empty() { json!(record).to_string() + "\n" } else { csv_line(&names, &json!(record)) };
            written = out.write_all(line.as_bytes());
            written.is_ok()
        };
        import::export(&db, record, &mut write)?;
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Trouble::unreachable(format!("cannot write standard output: {error}")))
            }
            _ => Ok(Exit::Done), // a reader who has seen enough is no error
        }
    }
}

impl Import {
    /// A new file, if what is in it is sound.
    pub fn run(&self, common: &Common) -> Result<Exit, Trouble> {
        let db = file(common)?;
        let db = db.canonicalize().unwrap_or(db);
        let _possession = take(&db)?;
        let mut lines: Box<dyn Iterator<Item = io::Result<String>>> = if self.file == Path::new("-") {
            Box::new(io::stdin().lock().lines())
        } else {
            let cannot = |error| Trouble::unreachable(format!("cannot read {}: {error}", self.file.display()));
            Box::new(BufReader::new(File::open(&self.file).map_err(cannot)?).lines())
        };
        let wish = Wish { replace: self.replace, dry_run: self.dry_run };
        let mut bar = Bar::new();
        let (report, kept) = import::import(&db, &mut lines, wish, &mut |done, total| bar.show(done, total))?;
        drop(bar);
        let mut body = report_json(&report);
        let done = if self.dry_run { "would be imported into" } else { "imported into" };
        body["msg"] = json!(format!("{done} {}", db.display()));
        body["kept"] = json!(kept.as_deref().map(Path::display).map(|kept| kept.to_string()));
        tell(common, &body);
        Ok(Exit::Done)
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Trouble {
        match refused {
            Refused::Line(line, what) => Trouble::usage(format!("line {line}: {what}; nothing was imported")),
            Refused::Unsound(what) => Trouble {
                exit: Exit::Damage,
                sentence: format!("this is no sound ledger: {what}; nothing was imported"),
            },
            Refused::File(failed) => failed.into(),
        }
    }
}
