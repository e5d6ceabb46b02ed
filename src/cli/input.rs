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
    read.map_err(|error| Trouble::unreachable(format!("cannot read standard input: {error}")))?;
    Ok(line.trim().to_owned())
}

/// An idempotency key, for clap.
pub fn key(text: &str) -> Result<String, String> {
    IdempotencyKey::parse(text).map(|key| key.as_str().to_owned()).map_err(|error| error.detail)
}

/// `NAME=VALUE`, for clap.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
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
    fn json_stands_for_itself() {
        assert_eq!(json(" [1]").unwrap(), serde_json::json!([1]));
        assert!(json("[1").is_err());
        assert!(json("no-such-file").is_err());
    }
}
