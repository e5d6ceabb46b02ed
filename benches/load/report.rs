//! Figures, each beside the check without which it would mean nothing.

use cashbox::internals::bench::report::grouped;
use serde_json::json;

/// One figure.
#[derive(Clone)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub aside: bool,
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
    Figure { name: name.into(), value, unit, aside: false }
}

/// One figure of two builds.
pub struct Comparison {
    /// This build's median over the rounds.
    pub this: Figure,
    /// The other build's.
    pub other: Figure,
    /// The median of the ratios of the rounds, this build to the other.
    pub ratio: f64,
    /// The ratio of each round, sorted.
    pub ratios: Vec<f64>,
}

/// How the report is written.
#[derive(Clone, Copy)]
pub enum Form {
    Table,
    Json,
    Markdown,
}

impl Figure {
    /// Tells how the measuring went, and is left out of the table for a page.
    pub fn aside(self) -> Figure {
        Figure { aside: true, ..self }
    }

    /// With as many digits as mean something.
    fn text(&self) -> String {
        let digits = match self.value.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        let space = if self.unit.starts_with('/') || self.unit.is_empty() { "" } else { " " };
        format!("{}{space}{}", grouped(&format!("{:.digits$}", self.value)), self.unit)
    }
}

/// What is said before the first figure.
pub fn begin(form: Form, machine: &str) {
    match form {
        Form::Table => println!("{machine}\n"),
        Form::Json => println!("{}", json!({ "machine": machine })),
        Form::Markdown => {
            println!("{machine}\n\n| what | figure |\n|---|---|")
        }
    }
}

/// What a scenario brought, as soon as it is through.
pub fn rows(form: Form, scenario: &str, outcome: &Outcome) {
    let right = outcome.wrong.is_empty();
    let check = if right { outcome.checked.clone() } else { outcome.wrong.join("; ") };
    let value = |figure: &Figure| if right { figure.text() } else { "WRONG".to_owned() };
    match form {
        Form::Table => {
            for (place, figure) in outcome.figures.iter().enumerate() {
                let (scenario, beside) = if place == 0 { (scenario, check.as_str()) } else { ("", "") };
                let line = format!("{scenario:<9} {:<52} {:>16}   {beside}", figure.name, value(figure));
                println!("{}", line.trim_end());
            }
        }
        Form::Markdown => {
            for (place, figure) in outcome.figures.iter().filter(|figure| !figure.aside).enumerate() {
                match place {
                    0 => println!("| **{}** | **{}** |", figure.name, value(figure)),
                    _ => println!("| · {} | {} |", figure.name, value(figure)),
                }
            }
            println!("| · checked | {check} |");
        }
        Form::Json => {
            for figure in &outcome.figures {
                let number = right.then_some(figure.value);
                let row = json!({ "scenario": scenario, "figure": figure.name, "value": number, "unit": figure.unit, "right": right, "check": check });
                println!("{row}");
            }
        }
    }
}

/// Heads of the columns of [`comparisons`].
pub fn begin_comparisons(form: Form, machine: &str) {
    match form {
        Form::Table => {
            println!("{machine}\n");
            println!("{:<9} {:<52} {:>14} {:>14}   ratio (lowest to highest)", "", "median of", "this", "other");
        }
        Form::Json => println!("{}", json!({ "machine": machine })),
        Form::Markdown => {
            println!(
                "{machine}\n\n| scenario | figure | this | other | ratio | lowest to highest |\n|---|---|---|---|---|---|"
            )
        }
    }
}

/// The figures of one scenario for two builds.
pub fn comparisons(form: Form, scenario: &str, rows: &[Comparison], wrong: &[String]) {
    for (place, row) in rows.iter().enumerate() {
        let right = wrong.is_empty();
        let (name, wrong_text) = (&row.this.name, || "WRONG".to_owned());
        let (this, other) = if right { (row.this.text(), row.other.text()) } else { (wrong_text(), wrong_text()) };
        let (ratio, range) = match (row.ratios.first(), row.ratios.last()) {
            (Some(lowest), Some(highest)) if right => {
                (format!("{:.3}", row.ratio), format!("{lowest:.3} to {highest:.3}"))
            }
            _ => ("-".to_owned(), "-".to_owned()),
        };
        match form {
            Form::Table => {
                let scenario = if place == 0 { scenario } else { "" };
                println!("{scenario:<9} {name:<52} {this:>14} {other:>14}   {ratio} ({range})");
            }
            Form::Markdown => println!("| {scenario} | {name} | {this} | {other} | **{ratio}** | {range} |"),
            Form::Json => {
                let value = |number: f64| right.then_some(number);
                let row = json!({
                    "scenario": scenario, "figure": name, "unit": row.this.unit, "right": right, "wrong": wrong,
                    "this": value(row.this.value), "other": value(row.other.value), "ratio": value(row.ratio),
                    "ratios": if right { row.ratios.as_slice() } else { &[] },
                });
                println!("{row}");
            }
        }
    }
    wrong.iter().for_each(|sentence| eprintln!("{scenario}: WRONG: {sentence}"));
}
