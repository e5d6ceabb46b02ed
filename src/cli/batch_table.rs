//! The operations of a batch as a table: CSV, as spreadsheets write it, becomes one JSON object a line.

use super::output::CliError;
use crate::http::batch::is_item_field;
use crate::store::file::transfer::from_cell;
use serde_json::{Map, Value};

/// The rows of a table whose head names the fields of each, such as `op,user,amount,metadata[shop]`. An empty cell is a
/// field that is not sent, and a row of empty cells none at all.
pub(crate) fn lines_of(table: &str) -> Result<String, CliError> {
    let mut table = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(table.as_bytes());
    let head = table.headers().map_err(|error| unreadable(&error))?.clone();
    let columns = head.iter().map(ItemColumn::of).collect::<Result<Vec<_>, _>>()?;
    if let Some(twice) = (1..head.len()).find(|at| head.iter().take(*at).any(|name| name == &head[*at])) {
        return Err(wrong(&format!("two columns are called {:?}", &head[twice])));
    }
    if !head.iter().any(|name| name == "op") {
        return Err(wrong(
            "its first line has to name the columns, between commas, and one of them is op: op,user,amount,reference",
        ));
    }
    let mut lines = String::new();
    for row in table.records() {
        let row = row.map_err(|error| unreadable(&error))?;
        let line = row.position().map_or(0, csv::Position::line);
        let mut item = Map::new();
        for (column, cell) in columns.iter().zip(&row).filter(|(_, cell)| !cell.is_empty()) {
            column.put(cell, &mut item).map_err(|why| wrong(&format!("line {line}: {why}")))?;
        }
        if !item.is_empty() {
            lines += &(Value::Object(item).to_string() + "\n");
        }
    }
    Ok(lines)
}

/// The place of a column's cells in an item.
enum ItemColumn {
    /// The field of that name.
    Field(String),
    /// `metadata`: an object of JSON.
    Metadata,
    /// `metadata[NAME]`: the value of one name.
    MetadataValue(String),
}

impl ItemColumn {
    fn of(head: &str) -> Result<ItemColumn, CliError> {
        let inner = head.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
        match (inner, head) {
            (Some(name), _) => Ok(ItemColumn::MetadataValue(name.to_owned())),
            (None, "metadata") => Ok(ItemColumn::Metadata),
            (None, field) if is_item_field(field) => Ok(ItemColumn::Field(field.to_owned())),
            (None, other) => {
                Err(wrong(&format!("{other:?} is not a field of an operation, such as op, user or amount")))
            }
        }
    }

    fn put(&self, cell: &str, item: &mut Map<String, Value>) -> Result<(), &'static str> {
        match self {
            ItemColumn::Field(name) => {
                item.insert(name.clone(), from_cell(name, cell).into());
            }
            ItemColumn::Metadata => {
                let pairs = serde_json::from_str(cell).ok().filter(Value::is_object);
                let pairs = pairs.ok_or("its metadata is not a JSON object, such as {\"shop\":\"north\"}")?;
                item.insert("metadata".to_owned(), pairs);
            }
            ItemColumn::MetadataValue(name) => {
                let pairs = item.entry("metadata").or_insert_with(|| Map::new().into());
                pairs[name] = cell.into();
            }
        }
        Ok(())
    }
}

fn unreadable(error: &csv::Error) -> CliError {
    wrong(&match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line} has {len} cells, and the first line {expected_len}")
        }
        _ => error.to_string(),
    })
}

fn wrong(why: &str) -> CliError {
    CliError::usage(format!("this table is not a batch: {why}; nothing was sent"))
}
