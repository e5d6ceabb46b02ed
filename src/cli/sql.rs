//! `cashbox sql`: a question of one's own to the file, beside whoever has it, that can change nothing.

use super::backup::file;
use super::input::{CommonOptions, argument_or_all};
use super::output::{self, CliError, Exit};
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
    pub fn run(&self, common: &CommonOptions) -> Result<Exit, CliError> {
        let db = file(common)?;
        let question = argument_or_all(&self.question)?;
        let answer = ask(&db, &question).map_err(|why| CliError::cannot_open(&db, &why))?;
        let answer = answer.map_err(|why| CliError::usage(format!("this cannot be asked: {why}")))?;
        output::print(&if common.json { as_json(&answer) } else { output::grid(&answer.columns, &answer.rows) })?;
        if answer.more {
            output::print_error(&format!(
                "there are more rows than {}: ask for fewer (LIMIT, OFFSET)",
                answer.rows.len()
            ));
        }
        Ok(Exit::Done)
    }
}

fn as_json(answer: &SqlAnswer) -> String {
    let rows: Vec<Value> = answer.rows.iter().map(|row| json!(row)).collect();
    json!({ "columns": answer.columns, "rows": rows, "more": answer.more }).to_string()
}
