//! `cashbox verify`: the audit, beside whoever has the file and excluding nobody.

use super::Desk;
use super::call::Call;
use super::door::{Answer, Door};
use super::exit::{Exit, Trouble};
use super::show;
use crate::http::system::report_json;
use crate::store::{self, audit};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// How long a server elsewhere may take to audit.
const AUDIT_TIME: Duration = Duration::from_secs(3_600);

/// Audits the file, or has the server at the URL do it.
pub fn run(desk: &Desk) -> Result<Exit, Trouble> {
    let answer = match &desk.door {
        Door::File { db, .. } => Answer { status: 200, body: audited(db)? },
        Door::Url { .. } => desk.door.answer(&call())?,
    };
    let exit = desk.tell(&answer, text)?;
    Ok(if answer.body["ok"] == false { Exit::Damage } else { exit })
}

/// Has a server elsewhere audit its file.
pub fn call() -> Call {
    Call { patience: AUDIT_TIME, ..Call::get(&["v1", "verify"]) }
}

fn audited(db: &Path) -> Result<Value, Trouble> {
    let conn = store::open_read_only(db).map_err(|why| Trouble::cannot_open(db, &why))?;
    let watched = std::io::stderr().is_terminal();
    let progress = |entries: i64| {
        if watched {
            let _ = write!(std::io::stderr(), "\r{entries} entries "); // only somebody who watches would miss it
        }
    };
    let report = audit::audit(&conn, progress).map_err(|error| {
        let why = error.cause.unwrap_or(error.detail);
        let sentence = format!("{} cannot be read to its end: {why}", db.display());
        Trouble { exit: Exit::Damage, sentence }
    })?;
    if watched && report.entries >= 10_000 {
        let _ = writeln!(std::io::stderr());
    }
    let mut body = json!({ "code": 200, "msg": if report.findings.is_empty() { "ok" } else { "damaged" } });
    if let (Value::Object(body), Value::Object(report)) = (&mut body, report_json(&report)) {
        body.extend(report);
    }
    Ok(body)
}

fn text(body: &Value) -> String {
    let mut text = show::block(body, &["entries", "wallets", "last_hash"]);
    for found in body["findings"].as_array().into_iter().flatten() {
        text += &format!("\n  broken: {}: {}", show::text(&found["check"]), show::text(&found["finding"]));
    }
    text
}
