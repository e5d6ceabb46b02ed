//! The lab's table.

use crate::cli::output::{self, Column, numbers, words};
use crate::lab::LabPlan;
use crate::lab::figures::{Figures, LabVerdict, TrialRow};
use crate::money::Cents;
use serde_json::{Value, json};

/// Why the figures once reported say nothing.
pub const WHY_NEITHER_COUNTS: &str = "a time says nothing without the balance at the end, and both guards lose money in \
    situations that load never made";

const COLUMNS: &[Column] = &[
    words("GUARD", "guard"),
    numbers("TIME", "time"),
    numbers("REQ/S", "rate"),
    numbers("P50", "p50"),
    numbers("P99", "p99"),
    numbers("MAX ms", "max"),
    numbers("REFUSED", "refusals"),
    numbers("ERRORS", "errors"),
    numbers("BALANCE", "balance"),
    numbers("EXPECTED", "expected"),
    numbers("LOST", "lost"),
    words("AUDIT", "audit"),
    words("VERDICT", "verdict"),
];

/// All of it, for people.
pub fn text(plan: &LabPlan, place: &str, rows: &[TrialRow], interrupted: bool) -> String {
    let mut text = heading(plan, place);
    for stalled in [false, true] {
        let part: Vec<_> = rows.iter().filter(|row| row.stalled == stalled).collect();
        if !part.is_empty() {
            let title = if stalled { stalled_title(plan) } else { "Undisturbed:".to_owned() };
            text += &format!("\n{title}\n\n{}\n", table(&part));
        }
    }
    if interrupted {
        text += "\nStopped before its end: this is what there was.\n";
    }
    text + &format!(
        "\nOnce reported for 100 clients and 500 requests: 86 s with a lock row in the database, 9 s with a lock in Redis.\n\
         Neither counts: {}.\n",
        WHY_NEITHER_COUNTS.replace(", and", ",\nand")
    )
}

fn heading(plan: &LabPlan, place: &str) -> String {
    let LabPlan { clients, requests, work, seed, .. } = plan;
    let amount = Cents(crate::lab::AMOUNT_CENTS);
    format!(
        "{clients} clients, {requests} withdrawals of {amount} from a wallet of {}, {} ms of work each (seed {seed}).\n\
         Every guard has a file of its own in {place}.\n\
         Each is in WAL mode and synced at every commit.\n",
        plan.start(),
        work.as_millis(),
    )
}

fn stalled_title(plan: &LabPlan) -> String {
    let (stall, expire) = (plan.stall().as_millis(), plan.expire.as_millis());
    format!("One holder frozen for {stall} ms after its read; a lease lasts {expire} ms:")
}

/// Rows under their heads; one that was not run says why instead.
fn table(rows: &[&TrialRow]) -> String {
    let cells: Vec<_> = rows.iter().map(|row| cells(row)).collect();
    let table = output::table(&cells, COLUMNS, "");
    let widest = rows.iter().map(|row| row.kind.name().len()).max().unwrap_or(0);
    let mut lines = table.lines().map(str::to_owned).collect::<Vec<_>>();
    for (line, row) in lines.iter_mut().skip(1).zip(rows) {
        if let Err(why) = &row.figures {
            *line = format!("{:<widest$}  not run: {}", row.kind.name(), output::text(&json!(why)));
        }
    }
    lines.join("\n")
}

fn cells(row: &TrialRow) -> Value {
    let name = row.kind.name();
    let Ok(figures) = &row.figures else { return json!({ "guard": name }) };
    let wrong = row.verdict() == LabVerdict::Wrong;
    json!({
        "guard": name,
        "time": if wrong { "WRONG".to_owned() } else { seconds(figures) },
        "rate": if wrong { "-".to_owned() } else { figures.per_second().to_string() },
        "p50": ms(figures.percentile_us(50)),
        "p99": ms(figures.percentile_us(99)),
        "max": ms(figures.percentile_us(100)),
        "refusals": figures.refusals(),
        "errors": figures.errors(),
        "balance": figures.balance().to_string(),
        "expected": figures.expected().to_string(),
        "lost": figures.lost_updates(),
        "audit": figures.audit().unwrap_or("-"),
        "verdict": if wrong { "WRONG" } else { "right" },
    })
}

/// With two decimals.
fn seconds(figures: &Figures) -> String {
    let hundredths = figures.wall_us() / 10_000;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

/// With as many decimals as mean something.
fn ms(us: u64) -> String {
    if us < 10_000 { format!("{}.{}", us / 1_000, us % 1_000 / 100) } else { (us / 1_000).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_as_many_digits_as_mean_something() {
        assert_eq!([0, 2_149, 9_999, 12_345].map(ms), ["0.0", "2.1", "9.9", "12"]);
    }
}
