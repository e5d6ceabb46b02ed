//! Text for people, made from the JSON that programs get: one block of facts, or a table. Knows nothing of verbs.

use super::exit::Trouble;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// Prints text, ending its last line. A reader who has seen enough (`| head`) is no error; a full disk is one.
pub fn print(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    printed(write!(out, "{text}{end}").and_then(|()| out.flush()))
}

/// What came of writing to standard output.
pub fn printed(written: std::io::Result<()>) -> Result<(), Trouble> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble::unreachable(format!("there is an answer, but standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says on standard error what went wrong, in one line.
pub fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain(sentence)); // whoever closed it wants to hear nothing
}

/// What a refusal says: the message, and the detail if it adds something.
pub fn problem(body: &Value) -> String {
    let item = body["index"].as_u64().map_or(String::new(), |index| format!("item {index}: "));
    item + &sentence(body)
}

fn sentence(body: &Value) -> String {
    match (body["msg"].as_str(), body["detail"].as_str()) {
        (Some(msg), Some(detail)) if msg != detail => format!("{msg}: {detail}"),
        (Some(one), _) | (None, Some(one)) => one.to_owned(),
        (None, None) => "refused without a word".to_owned(),
    }
}

/// What was done, and under it the fields of that name that are there, aligned.
pub fn block(body: &Value, fields: &[&str]) -> String {
    let facts: Vec<_> = fields
        .iter()
        .map(|field| (field.replace('_', " "), text(&body[*field])))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let widest = facts.iter().map(|(label, _)| width(label)).max().unwrap_or(0);
    let mut block = plain(body["msg"].as_str().unwrap_or_default());
    for (label, value) in facts {
        block += &format!("\n  {}  {value}", padded(&label, widest, false));
    }
    block.trim_start_matches('\n').to_owned()
}

/// One column of a table: its head, and the field it shows.
pub struct Column {
    head: &'static str,
    field: &'static str,
    right: bool,
}

/// A column of words.
pub const fn words(head: &'static str, field: &'static str) -> Column {
    Column { head, field, right: false }
}

/// A column of numbers, which end under each other.
pub const fn numbers(head: &'static str, field: &'static str) -> Column {
    Column { head, field, right: true }
}

/// Rows under their heads, without the columns that are empty throughout. No rows: `nothing`.
pub fn table(rows: &[Value], columns: &[Column], nothing: &str) -> String {
    if rows.is_empty() {
        return nothing.to_owned();
    }
    let mut lines = vec![String::new(); rows.len() + 1];
    for column in columns {
        let cells: Vec<_> = rows.iter().map(|row| text(&row[column.field])).collect();
        if !cells.iter().all(String::is_empty) {
            let cells = std::iter::once(column.head.to_owned()).chain(cells).collect();
            add_column(&mut lines, cells, column.right);
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// Rows of plain values under their heads; numbers stand to the right.
pub fn grid(heads: &[String], rows: &[Vec<Value>]) -> String {
    let mut lines = vec![String::new(); rows.len() + 1];
    for (place, head) in heads.iter().enumerate() {
        let right = rows.iter().all(|row| row[place].is_number() || row[place].is_null());
        let cells = std::iter::once(plain(head)).chain(rows.iter().map(|row| text(&row[place]))).collect();
        add_column(&mut lines, cells, right);
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn add_column(lines: &mut [String], cells: Vec<String>, right: bool) {
    let widest = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
    for (line, cell) in lines.iter_mut().zip(cells) {
        let gap = if line.is_empty() { "" } else { "  " };
        *line += &format!("{gap}{}", padded(&cell, widest, right));
    }
}

/// The rows of a list in an answer.
pub fn rows(body: &Value, field: &str) -> Vec<Value> {
    let rows = body[field].as_array().into_iter().flatten();
    rows.filter(|row| row.is_object()).cloned().collect()
}

/// A value in a cell: nothing for null, the code of a coupon with its terms, the number of an entry.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
        Value::String(text) => plain(text),
        Value::Object(fields) => match (fields.get("code"), fields.get("id")) {
            (Some(code), _) => format!("{}  {}", text(code), terms(value)).trim_end().to_owned(),
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

/// What a coupon does, in a few words: `50.00 off from 300.00, once`.
pub fn terms(coupon: &Value) -> String {
    let off = match (coupon["amount_off"].as_str(), coupon["percent_off"].as_i64()) {
        (Some(amount), _) => format!("{} off", plain(amount)),
        (None, Some(percent)) => format!("{percent} % off"),
        (None, None) => return String::new(),
    };
    let from = match coupon["threshold"].as_str() {
        None | Some("0.00") => String::new(),
        Some(threshold) => format!(" from {}", plain(threshold)),
    };
    let times = if coupon["single_use"] == true { "once" } else { "for life" };
    format!("{off}{from}, {times}")
}

/// Text that cannot move a terminal's cursor or colour it.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    text.chars().map(shown).collect()
}

fn padded(text: &str, to: usize, right: bool) -> String {
    let gap = " ".repeat(to.saturating_sub(width(text)));
    if right { format!("{gap}{text}") } else { format!("{text}{gap}") }
}

/// How many columns of a terminal the text takes: Chinese and its like take two each.
fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_aligned_and_leaves_empty_columns_out() {
        let rows = [
            json!({ "user_id": "alice", "balance": "120.00", "note": null }),
            json!({ "user_id": "李雷", "balance": "7.50", "note": null }),
        ];
        let columns = [words("USER", "user_id"), numbers("BALANCE", "balance"), words("NOTE", "note")];
        assert_eq!(table(&rows, &columns, ""), "USER   BALANCE\nalice   120.00\n李雷      7.50");
        assert_eq!(table(&[], &columns, "no wallets yet"), "no wallets yet");
    }

    #[test]
    fn a_block_shows_what_is_there() {
        let coupon = json!({ "code": "7K2Q", "amount_off": "50.00", "threshold": "300.00", "single_use": true });
        let body =
            json!({ "code": 200, "msg": "recharged", "balance": "300.00", "coupon": coupon, "entry": { "id": 1 } });
        let shown = block(&body, &["balance", "gross", "coupon", "entry"]);
        assert_eq!(shown, "recharged\n  balance  300.00\n  coupon   7K2Q  50.00 off from 300.00, once\n  entry    1");
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(text(&json!("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\n");
    }

    #[test]
    fn a_refusal_is_one_line() {
        assert_eq!(
            problem(&json!({ "msg": "insufficient funds", "detail": "3.00 of 5.00" })),
            "insufficient funds: 3.00 of 5.00"
        );
        assert_eq!(problem(&json!({ "msg": "nothing" })), "nothing");
    }
}
