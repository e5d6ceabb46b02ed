//! `cashbox verify`: the audit, beside whoever has the file and excluding nobody.

use super::output::{self, CliError, Exit, ProgressBar, ServerReply};
use super::target::{ApiCall, ApiClient, Target};
use crate::http::file::report_json;
use crate::secret::parse_hash;
use crate::store::{self, audit};
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How long a server elsewhere may take to audit.
const AUDIT_TIME: Duration = Duration::from_secs(3_600);

/// `cashbox verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// A last hash that was noted before: finds out whether anything up to there was rewritten since
    #[arg(long, value_name = "HASH", value_parser = hash)]
    since: Option<String>,
}

fn hash(text: &str) -> Result<String, String> {
    parse_hash(text).map(|_| text.to_owned()).ok_or_else(|| "a hash has 64 hexadecimal digits".to_owned())
}

impl Verify {
    /// Audits the file, or has the server at the URL do it.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let answer = match &client.target {
            Target::File { db, .. } => {
                let report = audited(db, self.since.as_deref())?;
                ServerReply { status: 200, body: body(&report) }
            }
            Target::Url { .. } => client.target.send(&call(self.since.as_ref()))?,
        };
        let exit = answer.print(client.json, text)?;
        Ok(if answer.body["ok"] == false { Exit::Damage } else { exit })
    }
}

/// Has a server elsewhere audit its file.
pub fn call(since: Option<&String>) -> ApiCall {
    ApiCall { answer_timeout: AUDIT_TIME, ..ApiCall::get(&["v1", "verify"]) }.query("since", since)
}

/// What the audit of a file says.
pub fn audited(db: &Path, since: Option<&str>) -> Result<audit::AuditReport, CliError> {
    store::open_read_only(db).map_err(|why| match CliError::cannot_open(db, &why) {
        error if why.is_not_a_database() => CliError { exit: Exit::Damage, ..error }, // who audits it takes it for one
        error => error,
    })?;
    let mut bar = ProgressBar::new();
    let since = since.and_then(parse_hash);
    audit::audit(db, since.as_ref(), &mut |done, total| bar.show(done, total)).map_err(|error| {
        let why = error.cause.unwrap_or(error.detail);
        let message = format!("{} cannot be read to its end: {why}", db.display());
        CliError { exit: Exit::Damage, message }
    })
}

fn body(report: &audit::AuditReport) -> Value {
    let mut body = json!({ "code": 200, "msg": if report.findings.is_empty() { "ok" } else { "damaged" } });
    if let (Value::Object(body), Value::Object(report)) = (&mut body, report_json(report)) {
        body.extend(report);
    }
    body
}

/// What the audit saw, for people.
pub fn text(body: &Value) -> String {
    let mut text = output::block(body, &["entries", "wallets", "last_hash", "state_hash", "bytes", "kept"]);
    for found in body["findings"].as_array().into_iter().flatten() {
        text += &format!("\n  broken: {}: {}", output::text(&found["check"]), output::text(&found["finding"]));
    }
    text
}
