//! `cashbox sql`: a question of one's own to the file, beside whoever has it, that can change nothing.

use super::backup::file;
use super::exit::{Exit, Trouble};
use super::input::word_or_all;
use super::{Common, show};
use crate::store::file::query::{SqlAnswer, ask};
use clap::Args;
use serde_json::{Value, json};

/// `cashbox sql`
#[derive(Debug, Args)]
pub struct Sql {
    /// A SELECT; amounts are cents and times milliseconds since 1970. `-` reads it from standard input
    question: String,
}

impl Sql {
    /// The answer as a table, or as JSON.
    pub fn run(&self, common: &Common) -> Result<Exit, Trouble> {
        let db = file(common)?;
        let question = word_or_all(&self.question)?;
        let answer = ask(&db, &question).map_err(|why| Trouble::cannot_open(&db, &why))?;
        let answer = answer.map_err(|why| Trouble::usage(format!("this cannot be asked: {why}")))?;
        show::print(&if common.json { as_json(&answer) } else { show::grid(&answer.columns, &answer.rows) })?;
        if answer.more {
            show::complain(&format!("there are more rows than {}: ask for fewer (LIMIT, OFFSET)", answer.rows.len()));
        }
        Ok(Exit::Done)
    }
}

fn as_json(answer: &SqlAnswer) -> String {
    let rows: Vec<Value> = answer.rows.iter().map(|row| json!(row)).collect();
    json!({ "columns": answer.columns, "rows": rows, "more": answer.more }).to_string()
}
