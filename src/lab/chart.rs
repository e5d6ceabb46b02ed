//! The lab's chart, in SVG: a bar of time for each strategy, struck out if the balance is wrong.

use super::strategy::LabPlan;
use super::trial::{Figures, LabVerdict, TrialRow};
use std::fmt::Write;

const WIDTH: u64 = 960;
const LEFT: u64 = 32;
/// Left end of the bars, and length of the longest, in pixels.
const BARS: u64 = 208;
const BAR_MAX: u64 = 480;
const BAR_HEIGHT: u64 = 18;
const ROW_HEIGHT: u64 = 28;
/// Distance from the top of a bar to the baseline of its text.
const BASELINE: u64 = 14;
/// Longest reason that fits, in characters.
const REASON_CHARS_MAX: usize = 84;

const STYLE: &str = "text { font: 14px system-ui, 'DejaVu Sans', sans-serif; fill: #222 } .title { font-size: 22px; font-weight: 600 } \
    .part { font-size: 16px; font-weight: 600 } .more { fill: #555 } .lost { fill: #b3261e; font-weight: 600 } \
    .cashbox { fill: #1b7f5c } .right { fill: #6b8fb5 } .wrong { fill: #f3c4c0 } .strike { stroke: #b3261e; stroke-width: 3 } \
    .none { font-style: italic; fill: #777 }";

/// The whole chart.
pub(crate) fn svg(plan: &LabPlan, rows: &[TrialRow]) -> String {
    let longest =
        rows.iter().filter_map(|row| row.figures.as_ref().ok()).map(Figures::wall_us).max().unwrap_or(1).max(1);
    let mut body = String::new();
    let mut y = 104;
    for stalled in [false, true] {
        let part: Vec<_> = rows.iter().filter(|row| row.stalled == stalled).collect();
        if part.is_empty() {
            continue;
        }
        text(&mut body, LEFT, y, "part", &part_title(plan, stalled));
        y += 18;
        for row in part {
            draw(&mut body, y, row, longest);
            y += ROW_HEIGHT;
        }
        y += 36;
    }
    let end = "Bars are time; green ones are strategies of cashbox. A strategy that loses money is struck out: its time means nothing.";
    text(&mut body, LEFT, y, "more", end);
    let mut head = String::new();
    text(&mut head, LEFT, 44, "title", "Which strategies lose money?");
    text(&mut head, LEFT, 68, "more", &subtitle(plan));
    let height = y + 28;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title what\">\n<title id=\"title\">Which strategies lose money?</title>\n\
         <desc id=\"what\">{}</desc>\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         {head}{body}</svg>\n",
        escaped(&description(plan, rows)),
    )
}

fn subtitle(plan: &LabPlan) -> String {
    let LabPlan { clients, requests, work, .. } = plan;
    format!("{clients} clients, {requests} withdrawals from one wallet, {} ms of work each", work.as_millis())
}

fn part_title(plan: &LabPlan, stalled: bool) -> String {
    if stalled {
        let (stall, expire) = (plan.stall().as_millis(), plan.expire.as_millis());
        format!("One holder frozen for {stall} ms, its lease being {expire} ms")
    } else {
        "Undisturbed".to_owned()
    }
}

fn draw(out: &mut String, y: u64, row: &TrialRow, longest: u64) {
    let baseline = y + BASELINE;
    text(out, LEFT, baseline, "", row.kind.name());
    let Ok(figures) = &row.figures else {
        return text(out, BARS, baseline, "none", &result_text(row));
    };
    let width = (figures.wall_us() * BAR_MAX / longest).max(2);
    let wrong = row.verdict() == LabVerdict::Wrong;
    let class = match row.kind {
        _ if wrong => "wrong",
        kind if kind.is_cashbox() => "cashbox",
        _ => "right",
    };
    let _ = writeln!(out, r#"<rect class="{class}" x="{BARS}" y="{y}" width="{width}" height="{BAR_HEIGHT}" rx="2"/>"#);
    if wrong {
        let (from, to, middle) = (BARS - 6, BARS + width + 6, y + BAR_HEIGHT / 2);
        let _ = writeln!(out, r#"<line class="strike" x1="{from}" y1="{middle}" x2="{to}" y2="{middle}"/>"#);
    }
    text(out, BARS + width + 14, baseline, if wrong { "lost" } else { "" }, &result_text(row));
}

/// The text beside a bar.
fn result_text(row: &TrialRow) -> String {
    match &row.figures {
        Err(reason) => format!("not run: {}", reason.chars().take(REASON_CHARS_MAX).collect::<String>()),
        Ok(figures) if row.verdict() == LabVerdict::Wrong => {
            format!("WRONG: {} of {} lost", figures.lost_updates(), figures.done())
        }
        Ok(figures) => {
            let hundredths = figures.wall_us() / 10_000;
            format!("{}.{:02} s, nothing lost", hundredths / 100, hundredths % 100)
        }
    }
}

/// The chart in words, for screen readers.
fn description(plan: &LabPlan, rows: &[TrialRow]) -> String {
    let mut words = subtitle(plan);
    for row in rows {
        let stalled = if row.stalled { ", one holder frozen" } else { "" };
        let _ = write!(words, "; {}{stalled}: {}", row.kind.name(), result_text(row));
    }
    words
}

fn text(out: &mut String, x: u64, y: u64, class: &str, words: &str) {
    let _ = writeln!(out, r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escaped(words));
}

/// Text without markup, and without characters that XML forbids.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
