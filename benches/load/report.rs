//! Figures, each beside the check without which it would mean nothing.

use cashbox::internals::bench::digits_with_commas;
use serde_json::json;

/// One figure.
#[derive(Clone)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub aside: bool,
}

/// The outcome of a scenario.
pub struct Outcome {
    pub figures: Vec<Figure>,
    /// A description of the checks that held.
    pub checked: String,
    /// The reasons why the figures do not count; empty if they do.
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

/// The format of the report.
#[derive(Clone, Copy)]
pub enum Format {
    Table,
    Json,
    Markdown,
}

impl Figure {
    /// Marks a figure about the measuring itself, which is left out of the table for a page.
    pub fn aside(self) -> Figure {
        Figure { aside: true, ..self }
    }

    /// The value with about three digits, and its unit.
    fn text(&self) -> String {
        let digits = match self.value.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        let space = if self.unit.starts_with('/') || self.unit.is_empty() { "" } else { " " };
        format!("{}{space}{}", digits_with_commas(&format!("{:.digits$}", self.value)), self.unit)
    }
}

/// Prints the lines before the first figure.
pub fn begin(format: Format, machine: &str) {
    match format {
        Format::Table => println!("{machine}\n"),
        Format::Json => println!("{}", json!({ "machine": machine })),
        Format::Markdown => {
            println!("{machine}\n\n| what | figure |\n|---|---|")
        }
    }
}

/// Prints the outcome of a scenario.
pub fn rows(format: Format, scenario: &str, outcome: &Outcome) {
    let right = outcome.wrong.is_empty();
    let check = if right { outcome.checked.clone() } else { outcome.wrong.join("; ") };
    let value = |figure: &Figure| if right { figure.text() } else { "WRONG".to_owned() };
    match format {
        Format::Table => {
            for (place, figure) in outcome.figures.iter().enumerate() {
                let (scenario, beside) = if place == 0 { (scenario, check.as_str()) } else { ("", "") };
                let line = format!("{scenario:<9} {:<52} {:>16}   {beside}", figure.name, value(figure));
                println!("{}", line.trim_end());
            }
        }
        Format::Markdown => {
            for (place, figure) in outcome.figures.iter().filter(|figure| !figure.aside).enumerate() {
                match place {
                    0 => println!("| **{}** | **{}** |", figure.name, value(figure)),
                    _ => println!("| · {} | {} |", figure.name, value(figure)),
                }
            }
            println!("| · checked | {check} |");
        }
        Format::Json => {
            for figure in &outcome.figures {
                let number = right.then_some(figure.value);
                let row = json!({ "scenario": scenario, "figure": figure.name, "value": number, "unit": figure.unit, "right": right, "check": check });
                println!("{row}");
            }
        }
    }
}

/// Prints the lines before the first comparison.
pub fn begin_comparisons(format: Format, machine: &str) {
    match format {
        Format::Table => {
            println!("{machine}\n");
            println!("{:<9} {:<52} {:>14} {:>14}   ratio (lowest to highest)", "", "median of", "this", "other");
        }
        Format::Json => println!("{}", json!({ "machine": machine })),
        Format::Markdown => {
            println!(
                "{machine}\n\n| scenario | figure | this | other | ratio | lowest to highest |\n|---|---|---|---|---|---|"
            )
        }
    }
}

/// Prints the figures of one scenario for two builds.
pub fn comparisons(format: Format, scenario: &str, rows: &[Comparison], wrong: &[String]) {
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
        match format {
            Format::Table => {
                let scenario = if place == 0 { scenario } else { "" };
                println!("{scenario:<9} {name:<52} {this:>14} {other:>14}   {ratio} ({range})");
            }
            Format::Markdown => println!("| {scenario} | {name} | {this} | {other} | **{ratio}** | {range} |"),
            Format::Json => {
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
