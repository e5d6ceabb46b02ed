//! `--against BINARY`: two builds in one run, so that a machine whose speed changes by the hour slows both alike.
//!
//! Each scenario runs against this build, then against the other, for some rounds. Each round gives one ratio per figure;
//! their median is shown.

use crate::report::{self, Comparison, Figure, Outcome};
use crate::{Scenario, Settings};
use std::path::Path;

/// Runs the scenario for all rounds and reports its ratios; false if either build gave a wrong answer.
pub fn compare(name: &str, scenario: Scenario, settings: &Settings, other: &Path) -> bool {
    let other = Settings { program: other.to_owned(), ..settings.clone() };
    let (mut these, mut others, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        eprintln!("{name}: round {round} of {}", settings.rounds);
        for (label, settings, outcomes) in [("this", settings, &mut these), ("other", &other, &mut others)] {
            let outcome = crate::run_scenario(scenario, settings);
            wrong.extend(outcome.wrong.iter().map(|sentence| format!("{label} build, round {round}: {sentence}")));
            outcomes.push(outcome);
        }
    }
    let count = these[0].figures.len();
    let rows: Vec<_> = (0..count).filter_map(|place| comparison(place, &these, &others)).collect();
    report::comparisons(settings.format(), name, &rows, &wrong);
    wrong.is_empty()
}

/// None if a round has no such figure, because it broke off.
fn comparison(place: usize, these: &[Outcome], others: &[Outcome]) -> Option<Comparison> {
    let of = |outcomes: &[Outcome]| {
        outcomes.iter().map(|outcome| outcome.figures.get(place).cloned()).collect::<Option<Vec<Figure>>>()
    };
    let (these, others) = (of(these)?, of(others)?);
    let value = |figures: &[Figure]| median(figures.iter().map(|figure| figure.value).collect());
    let mut ratios: Vec<f64> = these.iter().zip(&others).map(|(this, other)| this.value / other.value).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let figure = these[0].clone();
    Some(Comparison {
        this: Figure { value: value(&these), ..figure.clone() },
        other: Figure { value: value(&others), ..figure },
        ratio: median(ratios.clone()),
        ratios,
    })
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}
