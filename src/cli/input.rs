//! Input from the shell: options that several commands take, and arguments that stand for themselves, for a file, or for
//! standard input.

use super::output::CliError;
use super::screen::ColorMode;
use crate::clock::{DayEdge, parse_moment, rfc3339};
use crate::id::IdempotencyKey;
use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::fmt::friendly::SpanParser;
use jiff::{SpanRelativeTo, Zoned};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The heading of the options of every command.
const COMMON_HEADING: &str = "Options of every command";

/// Options of every command, before or after its arguments.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommonOptions {
    /// The wallet file [env: CASHBOX_DB] [default: cashbox.db]
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON_HEADING)]
    pub db: Option<PathBuf>,
    /// The URL of a server: http://HOST:PORT (or https://, if built with it) [env: CASHBOX_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = COMMON_HEADING)]
    pub url: Option<String>,
    /// Your access token there; other users of this machine can see it here, so prefer --token-file or CASHBOX_TOKEN
    #[arg(long, global = true, value_name = "TOKEN", help_heading = COMMON_HEADING)]
    pub token: Option<String>,
    /// A file whose first line is the access token, or `-`; with `serve`: the first admin's
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON_HEADING)]
    pub token_file: Option<PathBuf>,
    /// Print the reply as JSON, as HTTP gives it
    #[arg(long, global = true, help_heading = COMMON_HEADING)]
    pub json: bool,
    /// Print no notes and no progress; results and errors stay
    #[arg(long, short, global = true, help_heading = COMMON_HEADING)]
    pub quiet: bool,
    /// Colour: on a terminal unless NO_COLOR is set, always, or never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_default_value = true, hide_possible_values = true, help_heading = COMMON_HEADING)]
    pub color: ColorMode,
}

impl CommonOptions {
    /// The file named by the options, or else by the environment.
    pub(crate) fn named_file(&self) -> Option<PathBuf> {
        self.db.clone().or_else(|| environment("CASHBOX_DB").map(PathBuf::from))
    }

    /// The same, or else the usual file in the current folder.
    pub(crate) fn file(&self) -> PathBuf {
        self.named_file().unwrap_or_else(|| PathBuf::from("cashbox.db"))
    }
}

/// Options of every command that changes something.
#[derive(Debug, Default, Args)]
pub(crate) struct ChangeOptions {
    /// Idempotency key, your name for this request: the same key again gives the same answer and does nothing twice
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,
    /// Longest wait for another client's lock, such as 5, 5s or 500ms; at most 30s. A server counts whole seconds
    /// [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration("0s", "30s"))]
    pub wait: Option<Duration>,
    /// The token of a lock you hold, the @FILE it is in, or `-`; may be repeated. Other users of this
    /// machine can see a token that is written here itself
    #[arg(long, value_name = "TOKEN|@FILE", value_parser = lock_token)]
    pub lock_token: Vec<String>,
}

/// The value of an environment variable; an empty one counts as missing.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The same as text.
pub(crate) fn environment_text(name: &str) -> Option<String> {
    environment(name).map(|value| value.to_string_lossy().into_owned())
}

/// The text of an argument; `-` is the next line of standard input.
pub(crate) fn argument(given: &str) -> Result<String, CliError> {
    let text = if given == "-" { line()? } else { given.to_owned() };
    if text.is_empty() {
        Err(CliError::usage("an argument is empty: give a value, or `-` for a line of standard input"))
    } else {
        Ok(text)
    }
}

/// The text of an optional argument.
pub(crate) fn optional_argument(given: Option<&String>) -> Result<Option<String>, CliError> {
    given.map(|given| argument(given)).transpose()
}

/// All of a file; `-` is standard input.
pub(crate) fn read_file(path: &Path) -> Result<String, CliError> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read
            .map(|_| without_mark(text))
            .map_err(|error| CliError::unreachable(format!("cannot read standard input: {error}")));
    }
    std::fs::read_to_string(path)
        .map(without_mark)
        .map_err(|error| CliError::unreachable(format!("cannot read {}: {error}", path.display())))
}

/// The longest line that is read for a secret, in bytes: a device or a pipe may have no end.
const SECRET_LINE_MAX: u64 = 4_096;

/// The first line of a file that holds a secret.
fn first_line(path: &Path) -> Result<String, CliError> {
    let mut line = Vec::new();
    let read =
        File::open(path).and_then(|file| BufReader::new(file.take(SECRET_LINE_MAX)).read_until(b'\n', &mut line));
    let text = read.and_then(|_| String::from_utf8(line).map_err(|_| io::Error::other("its first line is not text")));
    text.map(without_mark).map_err(|error| CliError::unreachable(format!("cannot read {}: {error}", path.display())))
}

/// The text of an argument; `-` is all of standard input.
pub(crate) fn argument_or_all(argument: &str) -> Result<String, CliError> {
    if argument == "-" { read_file(Path::new("-")) } else { Ok(argument.to_owned()) }
}

/// An access token: the first line of a file, or of standard input.
pub(crate) fn access_token(path: &Path) -> Result<String, CliError> {
    let text = if path == Path::new("-") { line()? } else { first_line(path)? };
    let token = text.trim();
    if token.is_empty() {
        return Err(CliError::usage(format!(
            "the first line of {} is empty: it has to be the access token",
            path.display()
        )));
    }
    if token.chars().any(char::is_control) {
        return Err(CliError::usage(format!("the first line of {} is not an access token", path.display())));
    }
    Ok(token.to_owned())
}

/// JSON: itself, or the file or standard input it is in.
pub(crate) fn json(argument: &str) -> Result<serde_json::Value, CliError> {
    let text = if argument.trim_start().starts_with(['[', '{']) {
        argument.to_owned()
    } else {
        read_file(Path::new(argument))?
    };
    serde_json::from_str(&text).map_err(|error| CliError::usage(format!("this is not valid JSON: {error}")))
}

fn line() -> Result<String, CliError> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read.map_err(|error| CliError::unreachable(format!("cannot read standard input: {error}")))? {
        0 => Err(CliError::usage("standard input ended too early: each `-` takes one line of it")),
        _ => Ok(without_mark(line).trim().to_owned()),
    }
}

/// The text without the byte order mark that some editors put before it.
fn without_mark(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// The text of an option, for clap; `-` is the next line of standard input.
pub(crate) fn option(given: &str) -> Result<String, String> {
    argument(given).map_err(|error| error.message)
}

/// An idempotency key, for clap.
pub(crate) fn key(argument: &str) -> Result<String, String> {
    IdempotencyKey::parse(&option(argument)?).map(|key| key.as_sent().to_owned()).map_err(|error| error.detail)
}

/// `NAME=VALUE`, for clap.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A lock token: itself, `@FILE`, or `-` for a line of standard input; for clap.
pub(crate) fn lock_token(given: &str) -> Result<String, String> {
    let text = match given.strip_prefix('@') {
        Some(path) => first_line(Path::new(path)),
        None => argument(given),
    };
    let text = text.map_err(|error| error.message)?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        Err("the lock token is empty: give the token itself, @FILE or `-`".to_owned())
    } else {
        Ok(token.to_owned())
    }
}

/// A duration within those ends, for clap: `5` (seconds), `5s`, `500ms`, `1h30m`, `2d`. The ends are written so, too.
pub(crate) fn duration(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    let end = |text| parse_duration(text).expect("the ends of a range are constants of the source, and tested");
    move |text| {
        let duration = parse_duration(text).ok_or_else(|| {
            format!("a duration is written as 5 (seconds), 5s, 500ms, 1h30m or 2d; this option takes {min} to {max}")
        })?;
        let in_range = (end(min)..=end(max)).contains(&duration);
        in_range.then_some(duration).ok_or_else(|| format!("this option takes {min} to {max}"))
    }
}

/// The same, in milliseconds.
pub(crate) fn milliseconds(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<i64, String> + Clone + Send + Sync {
    let parse = duration(min, max);
    move |text| parse(text).map(|duration| duration.as_millis() as i64)
}

/// The same, in whole seconds.
pub(crate) fn seconds(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<i64, String> + Clone + Send + Sync {
    let parse = duration(min, max);
    move |text| match parse(text)? {
        duration if duration.subsec_millis() == 0 => Ok(duration.as_secs() as i64),
        _ => Err(format!("this option takes whole seconds, {min} to {max}")),
    }
}

/// A time, for clap, as RFC 3339: that itself, `2026-01-31T12:00` or `2026-01-31` here, `today`, `yesterday`, `now`, or a
/// duration ago.
pub(crate) fn moment(edge: DayEdge) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync {
    move |text| {
        moment_at(text, edge, &Zoned::now()).ok_or_else(|| {
            "a time is written as 2026-01-31T12:00:00Z, 2026-01-31, today, yesterday, now, or 10m (ago)".to_owned()
        })
    }
}

/// The time that `text` means at `now`, in the zone of `now`.
pub(crate) fn moment_at(text: &str, edge: DayEdge, now: &Zoned) -> Option<String> {
    let is_date = text.len() == "2026-01-31".len() && text.contains('-');
    if !is_date && parse_moment(text, edge, 0).is_some() {
        return Some(text.to_owned());
    }
    let zone = now.time_zone();
    let day = |date: Date| {
        let end = || Some(date.tomorrow().ok()?.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond() - 1);
        match edge {
            DayEdge::Start => Some(date.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond()),
            DayEdge::End => end(),
        }
    };
    let ms = match text {
        "now" => now.timestamp().as_millisecond(),
        "today" => day(now.date())?,
        "yesterday" => day(now.date().yesterday().ok()?)?,
        _ if is_date => day(text.parse().ok()?)?,
        _ if text.contains('-') => {
            text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond()
        }
        ago => now.timestamp().as_millisecond() - parse_duration(ago)?.as_millis() as i64,
    };
    Some(rfc3339(ms))
}

/// Whole milliseconds; a number alone is seconds, a day has 24 hours. Signs, spaces and fractions are not taken.
fn parse_duration(text: &str) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let with_unit = if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
    let span = SpanParser::new().parse_span(&with_unit).ok()?;
    let duration = Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?).ok()?;
    (duration.subsec_nanos() % 1_000_000 == 0).then_some(duration)
}
