//! What comes in from the shell: arguments that stand for themselves, for a file, or for standard input.

use super::exit::Trouble;
use crate::id::IdempotencyKey;
use std::io::{BufRead, Read};
use std::path::Path;

/// What an argument says; `-` says the next line of standard input.
pub fn word(argument: &str) -> Result<String, Trouble> {
    let word = if argument == "-" { line()? } else { argument.to_owned() };
    if word.is_empty() { Err(Trouble::usage("an argument is empty")) } else { Ok(word) }
}

/// What an optional argument says.
pub fn optional_word(argument: Option<&String>) -> Result<Option<String>, Trouble> {
    argument.map(|argument| word(argument)).transpose()
}

/// All of a file; `-` is standard input.
pub fn file(path: &Path) -> Result<String, Trouble> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read
            .map(|_| text)
            .map_err(|error| Trouble::unreachable(format!("cannot read standard input: {error}")));
    }
    std::fs::read_to_string(path)
        .map_err(|error| Trouble::unreachable(format!("cannot read {}: {error}", path.display())))
}

/// What an argument says; `-` says all of standard input.
pub fn word_or_all(argument: &str) -> Result<String, Trouble> {
    if argument == "-" { file(Path::new("-")) } else { Ok(argument.to_owned()) }
}

/// An access token: the first line of a file, or of standard input.
pub fn token(path: &Path) -> Result<String, Trouble> {
    let text = if path == Path::new("-") { line()? } else { file(path)? };
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(Trouble::usage(format!("there is no access token in the first line of {}", path.display())));
    }
    Ok(token.to_owned())
}

/// JSON: itself, or the file or standard input it is in.
pub fn json(argument: &str) -> Result<serde_json::Value, Trouble> {
    let text =
        if argument.trim_start().starts_with(['[', '{']) { argument.to_owned() } else { file(Path::new(argument))? };
    serde_json::from_str(&text).map_err(|error| Trouble::usage(format!("this is not JSON: {error}")))
}

fn line() -> Result<String, Trouble> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read.map_err(|error| Trouble::unreachable(format!("cannot read standard input: {error}")))? {
        0 => Err(Trouble::usage("standard input ended before every `-` had its line")),
        _ => Ok(line.trim().to_owned()),
    }
}

/// The longest a request waits for a lock, in seconds.
const WAIT_S_MAX: u32 = 30;

/// `5` or `5s`: whole seconds, for clap.
pub fn wait(text: &str) -> Result<u32, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    seconds
        .filter(|seconds| *seconds <= WAIT_S_MAX)
        .ok_or_else(|| format!("write it as whole seconds, {WAIT_S_MAX} at most"))
}

/// What an option says, for clap; `-` says the next line of standard input.
pub fn option(argument: &str) -> Result<String, String> {
    word(argument).map_err(|trouble| trouble.sentence)
}

/// An idempotency key, for clap.
pub fn key(argument: &str) -> Result<String, String> {
    IdempotencyKey::parse(&option(argument)?).map(|key| key.as_str().to_owned()).map_err(|error| error.detail)
}

/// `NAME=VALUE`, for clap.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The longest a lock's spans of time can be, in milliseconds.
const SPAN_MS_MAX: i64 = 86_400_000;

/// `500ms`, `10s`, `2m`, `1h`, at most a day: milliseconds, for clap.
pub fn span(text: &str) -> Result<i64, String> {
    let wrong = || "write it as a whole number and a unit: 500ms, 10s, 2m, 1h; at most 24h".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let count: Option<i64> = if plain { digits.parse().ok() } else { None };
    let ms = count.and_then(|count| count.checked_mul(unit)).filter(|ms| *ms <= SPAN_MS_MAX);
    ms.ok_or_else(wrong)
}

/// The same, but not nothing.
pub fn lasting(text: &str) -> Result<i64, String> {
    span(text).and_then(|ms| if ms > 0 { Ok(ms) } else { Err("it has to last at least 1ms".to_owned()) })
}

/// A lock token: itself, `@FILE`, or `-` for a line of standard input; for clap.
pub fn lock_token(argument: &str) -> Result<String, String> {
    let text = match argument.strip_prefix('@') {
        Some(path) => file(Path::new(path)),
        None => word(argument),
    };
    let text = text.map_err(|trouble| trouble.sentence)?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() { Err("there is no lock token in it".to_owned()) } else { Ok(token.to_owned()) }
}

/// `90s`, `15m`, `12h`, `30d`, `4w`: seconds, for clap.
pub fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || "write it as a number and a unit: 90s, 15m, 12h, 30d, 4w".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some('w') => 604_800,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let count: Option<i64> = if plain { digits.parse().ok() } else { None };
    count.and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_a_number_and_a_unit() {
        assert_eq!(seconds("30d"), Ok(2_592_000));
        assert_eq!(seconds("90s"), Ok(90));
        for wrong in ["", "d", "30", "-1d", "+1d", "1.5h", "9223372036854775807w", "3年"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lock_is_held_for_a_whole_number_of_milliseconds() {
        assert_eq!(span("500ms"), Ok(500));
        assert_eq!(span("2m"), Ok(120_000));
        assert_eq!(span("24h"), Ok(SPAN_MS_MAX));
        assert_eq!(span("0s"), Ok(0));
        for wrong in ["", "s", "10", "1.5s", "-1s", "25h", "1d", "10S", "10 s", "9223372036854775807h", "٣s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert!(lasting("0s").is_err());
    }

    #[test]
    fn json_stands_for_itself() {
        assert_eq!(json(" [1]").unwrap(), serde_json::json!([1]));
        assert!(json("[1").is_err());
        assert!(json("no-such-file").is_err());
    }
}
