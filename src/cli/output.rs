//! Output of the command line: exit codes, errors, and text for people made from the JSON that programs get.
//!
//! Knows nothing of verbs: a text is a block of fields or a table.

use super::screen;
use crate::id::visible;
use crate::store::OpenError;
use serde_json::Value;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused by a rule.
    Refused = 1,
    /// Used wrongly.
    Usage = 2,
    /// Could not reach or open, or has to be tried again later.
    Unreachable = 3,
    /// Damage was found.
    Damage = 4,
    /// The storage cannot be trusted.
    Doubt = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The exit code for a reply of that status. For a batch whose items stand alone, that of its worst item.
    pub fn of(status: u16, body: &Value) -> Exit {
        match status {
            200..=299 => {
                let code = |item: &Value| item["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                let items = body["results"].as_array().into_iter().flatten();
                let exits = items.map(|item| code(item).map_or(Exit::Unreachable, |code| Exit::of(code, item)));
                exits.max().unwrap_or(Exit::Done)
            }
            400 => Exit::Usage,
            401..=499 => Exit::Refused,
            500 if body["error"] == "outcome_unknown" => Exit::Doubt,
            500 if body["error"] == "damaged" => Exit::Damage,
            _ => Exit::Unreachable,
        }
    }
}

/// The end of a line about a dry run; nothing for any other answer.
pub(crate) fn dry_run_note(body: &Value) -> &'static str {
    if body["dry_run"] == true { " (dry run: nothing was changed)" } else { "" }
}

/// The reason why a command ends without a reply to print.
#[derive(Debug)]
pub(crate) struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// One sentence for people.
    pub message: String,
}

impl CliError {
    /// The arguments cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> CliError {
        CliError { exit: Exit::Usage, message: message.into() }
    }

    /// A request was refused.
    pub(crate) fn refused(message: impl Into<String>) -> CliError {
        CliError { exit: Exit::Refused, message: message.into() }
    }

    /// A file or a server cannot be reached or opened.
    pub(crate) fn unreachable(message: impl Into<String>) -> CliError {
        CliError { exit: Exit::Unreachable, message: message.into() }
    }

    /// The file does not open.
    pub(crate) fn cannot_open(file: &Path, why: &OpenError) -> CliError {
        let exit = match () {
            () if why.is_damage() => Exit::Damage,
            () if why.is_other_purpose() => Exit::Usage,
            () => Exit::Unreachable,
        };
        CliError { exit, message: format!("cannot open {}: {why}", file.display()) }
    }
}

/// The status of a reply to a change that made something.
const CREATED: u16 = 201;

/// A reply to an API call, from a server or from this process.
pub(crate) struct ServerReply {
    /// The HTTP status.
    pub status: u16,
    /// The body: an object, or null if there is none.
    pub body: Value,
    /// Set if it was given before, under the same idempotency key.
    pub replayed: bool,
    /// The idempotency key of the request.
    pub key: Option<String>,
}

impl ServerReply {
    /// A reply with that status and body.
    pub(crate) fn new(status: u16, body: Value) -> ServerReply {
        ServerReply { status, body, replayed: false, key: None }
    }

    /// Any status of 2xx.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error of that name.
    pub(crate) fn is_error(&self, name: &str) -> bool {
        self.body["error"] == name
    }

    /// True for the refusal of a lock that rests.
    pub(crate) fn is_resting(&self) -> bool {
        self.is_error("locked") && self.body["state"] == "resting"
    }

    /// Prints the reply: its body as it is, or as `text` writes a success for people. A refusal goes to standard error.
    pub(crate) fn print(&self, json: bool, text: impl FnOnce(&Value) -> String) -> Result<Exit, CliError> {
        let printed = if json {
            print(&self.body.to_string())
        } else if self.is_success() {
            let mut body = self.body.clone();
            if let (true, Some(msg)) = (self.replayed, body["msg"].as_str()) {
                body["msg"] = format!("{msg}{ANSWERED_BEFORE}").into();
            }
            print(&text(&body))
        } else {
            let before = if self.replayed { ANSWERED_BEFORE } else { "" };
            print_failure(&(refusal_text(&self.body) + before + &self.advice()));
            Ok(())
        };
        printed.map_err(|error| CliError { message: self.unprinted(&error.message), ..error })?;
        Ok(Exit::of(self.status, &self.body))
    }

    /// The reason why the reply cannot be printed, with what it says of a change.
    fn unprinted(&self, why: &str) -> String {
        match &self.key {
            _ if !self.is_success() => format!("it was refused, but {why}"),
            _ if self.body["dry_run"] == true => why.to_owned(),
            Some(key) => format!(
                "it was carried out, but {why}; look at the history, or repeat it with --key {key}: that is one effect"
            ),
            None if self.status == CREATED => format!("it was carried out, but {why}"),
            None => why.to_owned(),
        }
    }

    /// An addition to a refusal for those who use the command line.
    fn advice(&self) -> String {
        let own_lock = || std::env::var("CASHBOX_LOCK_ID").is_ok_and(|id| self.body["lock"] == id.as_str());
        if self.is_error("unauthenticated") {
            " (give it with --token-file FILE, or in CASHBOX_TOKEN)".to_owned()
        } else if self.is_error("locked") && own_lock() {
            " (that is the lock this command runs under: prove it with --lock-token @$CASHBOX_LOCK_TOKEN_FILE)"
                .to_owned()
        } else if let (true, Some(key)) = (self.is_error("outcome_unknown"), &self.key) {
            format!(" (it may have been done: ask again with --key {key})")
        } else {
            String::new()
        }
    }
}

/// The mark of an answer that was given before.
pub(crate) const ANSWERED_BEFORE: &str = " (answered before)";

/// Prints text, ending its last line.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    print_result(write(text))
}

/// The same, with the error as it is.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush())
}

/// The result of writing to standard output. A reader who stops reading (`| head`) is not an error; a full disk is one.
pub(crate) fn print_result(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::unreachable(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one line on standard error.
pub(crate) fn print_error(message: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(message)); // a closed standard error leaves nowhere to report it
}

/// Prints the reason why a command was refused or has failed, in colour where colours are shown.
pub(crate) fn print_failure(message: &str) {
    let stderr = io::stderr();
    let _ = writeln!(&stderr, "{}", screen::red(&plain(message), &stderr));
}

/// A refusal for people: the message, and the detail if it adds something. The detail of what was not found says both.
pub(crate) fn refusal_text(body: &Value) -> String {
    let item = body["index"].as_u64().map_or(String::new(), |index| format!("item {index}: "));
    let is_not_found = body["error"].as_str().is_some_and(|name| name.ends_with("_not_found"));
    let message = match (body["msg"].as_str().filter(|_| !is_not_found), body["detail"].as_str()) {
        (Some(msg), Some(detail)) if msg != detail => format!("{msg}: {detail}"),
        (Some(one), _) | (None, Some(one)) => one.to_owned(),
        (None, None) => "refused, and no reason was given".to_owned(),
    };
    item + &message
}

/// The message, and under it those of the named fields that have a value, aligned.
pub(crate) fn block(body: &Value, fields: &[&str]) -> String {
    let lines: Vec<_> = fields
        .iter()
        .map(|field| (field.replace('_', " "), shown(field, &body[*field])))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let widest = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let mut block = plain(body["msg"].as_str().unwrap_or_default());
    let indent = " ".repeat(widest + 4);
    for (label, value) in lines {
        let value = screen::wrapped(&value, screen::columns().map(|most| most.saturating_sub(indent.len())));
        block += &format!("\n  {label:widest$}  {}", value.replace('\n', &format!("\n{indent}")));
    }
    block.trim_start_matches('\n').to_owned()
}

/// The rows of a list in a reply.
pub(crate) fn rows(body: &Value, field: &str) -> Vec<Value> {
    let rows = body[field].as_array().into_iter().flatten();
    rows.filter(|row| row.is_object()).cloned().collect()
}

/// A value in a cell: nothing for null, the code of a coupon with its terms, the number of an entry.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
        Value::String(text) => plain(text),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => match (fields.get("code"), fields.get("id")) {
            (Some(code), _) => format!("{}  {}", text(code), terms(value)).trim().to_owned(), // a dry run draws no code
            (None, Some(id)) => text(id),
            (None, None) => {
                let pairs: Vec<_> =
                    fields.iter().map(|(name, value)| format!("{}={}", plain(name), text(value))).collect();
                pairs.join(" ")
            }
        },
        other => other.to_string(),
    }
}

/// The value of that field in a cell: a time at a terminal is local and to the second.
pub(crate) fn shown(field: &str, value: &Value) -> String {
    let is_time = ["at", "as_of", "valid_from"].contains(&field) || field.ends_with("_at") || field.ends_with("_until");
    let time = || value.as_str().filter(|_| is_time && screen::columns().is_some()).and_then(screen::local_time);
    time().unwrap_or_else(|| text(value))
}

/// The effect of a coupon: `50.00 off from 300.00, once`.
pub(crate) fn terms(coupon: &Value) -> String {
    let off = match (coupon["amount_off"].as_str(), coupon["percent_off"].as_i64()) {
        (Some(amount), _) => format!("{} off", plain(amount)),
        (None, Some(percent)) => format!("{percent} % off"),
        (None, None) => return String::new(),
    };
    let from = match coupon["threshold"].as_str() {
        None | Some("0.00") => String::new(),
        Some(threshold) => format!(" from {}", plain(threshold)),
    };
    let most = coupon["max_off"].as_str().map_or(String::new(), |most| format!(", at most {}", plain(most)));
    let times = if coupon["single_use"] == true { "once" } else { "for life" };
    format!("{off}{most}{from}, {times}")
}

/// Text that cannot move a terminal's cursor, colour it or change the order of what stands beside it.
pub(super) fn plain(text: &str) -> String {
    visible(text)
}
