//! Tables: rows under their heads, within the width of the terminal.
//!
//! In a table that is too wide a year is shown only where it is not this one, free texts are cut with `…`, and the gaps are
//! narrowed. At last it becomes a block of lines for each row. Numbers and names are never cut: people copy them.

use super::output::{plain, shown, text};
use super::screen::{self, width};
use serde_json::Value;

/// One column of a table: its head, and the field it shows.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub(super) head: &'static str,
    pub(super) field: &'static str,
    pub(super) form: ColumnForm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnForm {
    /// Names, times and other words.
    Words,
    /// Numbers, aligned at their ends.
    Numbers,
    /// Text of any length, which may be cut.
    FreeText,
}

/// A column of words.
pub(crate) const fn words(head: &'static str, field: &'static str) -> Column {
    Column { head, field, form: ColumnForm::Words }
}

/// A column of numbers, aligned at their ends.
pub(crate) const fn numbers(head: &'static str, field: &'static str) -> Column {
    Column { head, field, form: ColumnForm::Numbers }
}

/// A column of texts of any length, which are cut at a terminal that is too narrow.
pub(crate) const fn free_texts(head: &'static str, field: &'static str) -> Column {
    Column { head, field, form: ColumnForm::FreeText }
}

/// A column with its cells, the head first.
pub(super) struct Cells {
    cells: Vec<String>,
    form: ColumnForm,
    width: usize,
}

impl Cells {
    /// A column of that form, as wide as its widest cell.
    pub(super) fn new(cells: Vec<String>, form: ColumnForm) -> Cells {
        let width = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
        Cells { cells, form, width }
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().skip(1).all(String::is_empty)
    }

    /// The same cells with times of this year without the year.
    fn without_year(self) -> Cells {
        let this_year = screen::this_year();
        let short = |cell: &String| match cell.strip_prefix(&this_year) {
            Some(rest) if is_time(cell) => rest.to_owned(),
            _ => cell.clone(),
        };
        Cells::new(self.cells.iter().map(short).collect(), self.form)
    }
}

/// True for a time as a terminal shows it: `2026-01-31 12:00:00`.
fn is_time(cell: &str) -> bool {
    cell.len() == 19 && cell.bytes().all(|byte| byte.is_ascii_digit() || b"-: ".contains(&byte))
}

/// The narrowest column of free text, in columns of the terminal.
const FREE_TEXT_MIN: usize = 6;
/// Spaces between two columns, and where there is little room.
const GAP: usize = 2;
const GAP_MIN: usize = 1;

/// Rows under their heads, without the columns that are empty throughout. No rows: `empty`.
pub(crate) fn table(rows: &[Value], columns: &[Column], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    fitted(filled(rows, columns), screen::columns(), screen::ellipsis())
}

/// The same without regard to the terminal: one line for each row.
pub(crate) fn wide_table(rows: &[Value], columns: &[Column]) -> String {
    lines(&filled(rows, columns), GAP, screen::ellipsis())
}

fn filled(rows: &[Value], columns: &[Column]) -> Vec<Cells> {
    let column = |column: &Column| {
        let cells = rows.iter().map(|row| shown(column.field, &row[column.field]));
        Cells::new(std::iter::once(column.head.to_owned()).chain(cells).collect(), column.form)
    };
    columns.iter().map(column).filter(|column| !column.is_empty()).collect()
}

/// A table whose rows come one by one: a column is as wide as its widest cell so far.
pub(crate) struct GrowingTable {
    columns: Vec<(Column, usize)>,
    has_head: bool,
}

impl GrowingTable {
    /// A table of these columns, without a row.
    pub(crate) fn new(columns: &[Column]) -> GrowingTable {
        GrowingTable { columns: columns.iter().map(|column| (*column, 0)).collect(), has_head: false }
    }

    /// The line of a row, below the head if it is the first one.
    pub(crate) fn lines_of(&mut self, row: &Value) -> String {
        let mut cells = Vec::new();
        for (column, widest) in &mut self.columns {
            let pair = vec![column.head.to_owned(), shown(column.field, &row[column.field])];
            let cell = Cells::new(pair, column.form);
            *widest = cell.width.max(*widest);
            cells.push(Cells { width: *widest, ..cell });
        }
        let both = lines(&cells, GAP, screen::ellipsis());
        if std::mem::replace(&mut self.has_head, true) {
            return both.split_once('\n').map_or(String::new(), |(_, line)| line.to_owned());
        }
        both
    }
}

/// Rows of plain values under their heads; numbers stand to the right.
pub(crate) fn grid(heads: &[String], rows: &[Vec<Value>]) -> String {
    let column = |(place, head): (usize, &String)| {
        let is_number = rows.iter().all(|row| row[place].is_number() || row[place].is_null());
        let cells = std::iter::once(plain(head)).chain(rows.iter().map(|row| text(&row[place]))).collect();
        Cells::new(cells, if is_number { ColumnForm::Numbers } else { ColumnForm::Words })
    };
    fitted(heads.iter().enumerate().map(column).collect(), screen::columns(), screen::ellipsis())
}

/// The columns side by side within `most` columns of the terminal, if that is possible; `mark` stands for what is cut off.
pub(super) fn fitted(mut columns: Vec<Cells>, most: Option<usize>, mark: &str) -> String {
    let Some(most) = most else { return lines(&columns, GAP, mark) };
    if total(&columns, GAP) > most {
        columns = columns.into_iter().map(Cells::without_year).collect();
    }
    let free_text = |column: &Cells| column.form == ColumnForm::FreeText;
    let cut_off = |column: &Cells| if free_text(column) { column.width.saturating_sub(FREE_TEXT_MIN) } else { 0 };
    let narrowest = total(&columns, GAP) - columns.iter().map(cut_off).sum::<usize>();
    let gap = if narrowest > most { GAP_MIN } else { GAP };
    while total(&columns, gap) > most {
        let widest = columns.iter_mut().filter(|column| column.form == ColumnForm::FreeText);
        match widest.max_by_key(|column| column.width).filter(|column| column.width > FREE_TEXT_MIN) {
            Some(column) => column.width -= 1,
            None => return blocks(&columns, most, mark),
        }
    }
    lines(&columns, gap, mark)
}

fn total(columns: &[Cells], gap: usize) -> usize {
    columns.iter().map(|column| column.width + gap).sum::<usize>().saturating_sub(gap)
}

fn lines(columns: &[Cells], gap: usize, mark: &str) -> String {
    let count = columns.first().map_or(0, |column| column.cells.len());
    let line = |row: usize| {
        let cell = |column: &Cells| {
            let cell = cut(&column.cells[row], column.width, mark);
            let space = " ".repeat(column.width - width(&cell));
            if column.form == ColumnForm::Numbers { space + &cell } else { cell + &space }
        };
        columns.iter().map(cell).collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_owned()
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

/// A block of lines for each row, for a terminal that is too narrow for the table.
fn blocks(columns: &[Cells], most: usize, mark: &str) -> String {
    let count = columns.first().map_or(0, |column| column.cells.len());
    let widest = columns.iter().map(|column| width(&column.cells[0])).max().unwrap_or(0);
    let block = |row: usize| {
        let filled = columns.iter().filter(|column| !column.cells[row].is_empty());
        let line = |column: &Cells| {
            let head = &column.cells[0];
            let room = most.saturating_sub(widest + GAP).max(FREE_TEXT_MIN);
            let cell = &column.cells[row];
            let cell = match column.form {
                ColumnForm::FreeText => cut(cell, room, mark),
                _ => screen::wrapped(cell, Some(room)).replace('\n', &format!("\n{}", " ".repeat(widest + GAP))),
            };
            format!("{head}{}{cell}", " ".repeat(widest - width(head) + GAP))
        };
        filled.map(line).collect::<Vec<_>>().join("\n")
    };
    (1..count).map(block).collect::<Vec<_>>().join("\n\n")
}

/// The text within that many columns of the terminal, its end cut off with `mark` if it is longer.
pub(super) fn cut(text: &str, most: usize, mark: &str) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if width(&short) + width(c.encode_utf8(&mut [0; 4])) + mark.chars().count() > most {
            break;
        }
        short.push(c);
    }
    short + mark
}
