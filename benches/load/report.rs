//! Figures, each beside the check without which it would mean nothing.

use cashbox::bench::report::grouped;
use serde_json::json;

/// One figure.
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// What a scenario brought: figures, what was checked, and what was found wrong.
pub struct Outcome {
    pub figures: Vec<Figure>,
    /// What holds, in words.
    pub checked: String,
    /// Why the figures do not count; empty if they do.
    pub wrong: Vec<String>,
}

pub fn figure(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
    Figure { name: name.into(), value, unit }
}

/// How the report is written.
#[derive(Clone, Copy)]
pub enum Form {
    Table,
    Json,
    Markdown,
}

impl Figure {
    /// With as many digits as mean something.
    fn text(&self) -> String {
        let digits = match self.value.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        format!("{} {}", grouped(&format!("{:.digits$}", self.value)), self.unit)
    }
}

/// What is said before the first figure.
pub fn begin(form: Form, machine: &str) {
    match form {
        Form::Table => println!("{machine}\n"),
        Form::Json => println!("{}", json!({ "machine": machine })),
        Form::Markdown => println!("{machine}\n\n| figure | value | beside it |\n|---|---|---|"),
    }
}

/// The rows of one scenario, as soon as it is through.
pub fn rows(form: Form, scenario: &str, outcome: &Outcome) {
    let right = outcome.wrong.is_empty();
    let check = if right { outcome.checked.clone() } else { outcome.wrong.join("; ") };
    for (place, figure) in outcome.figures.iter().enumerate() {
        let value = if right { figure.text() } else { "WRONG".to_owned() };
        let beside = if place == 0 { check.as_str() } else { "" };
        match form {
            Form::Table => {
                let scenario = if place == 0 { scenario } else { "" };
                println!("{}", format!("{scenario:<9} {:<52} {value:>16}   {beside}", figure.name).trim_end());
            }
            Form::Markdown => println!("| {} | {} | {} |", figure.name, value.replace(" /s", "/s"), beside),
            Form::Json => {
                let number = right.then_some(figure.value);
                let row = json!({ "scenario": scenario, "figure": figure.name, "value": number, "unit": figure.unit, "right": right, "check": check });
                println!("{row}");
            }
        }
    }
}
