//! Standard error and the terminal: notes, colour, width, and progress bars.
//!
//! A note is what people want to know and programs do not need: `--quiet` leaves it out. An error is not a note.

use crate::id::visible;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Where colour is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorMode {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The options of the command line that concern the terminal.
#[derive(Clone, Copy, Debug, Default)]
struct ScreenOptions {
    quiet: bool,
    color: ColorMode,
}

static OPTIONS: OnceLock<ScreenOptions> = OnceLock::new();

/// Sets the options, once.
pub(crate) fn set_options(quiet: bool, color: ColorMode) {
    let _ = OPTIONS.set(ScreenOptions { quiet, color }); // a second call, in tests, changes nothing
}

fn options() -> ScreenOptions {
    OPTIONS.get().copied().unwrap_or_default()
}

/// The bar that is drawn now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints a note on standard error, unless it is to be quiet. A bar makes place for it.
pub(crate) fn note(message: &str) {
    if options().quiet {
        return;
    }
    let write = || {
        let _ = writeln!(io::stderr(), "{}", visible(message)); // a closed standard error leaves nowhere to write it
    };
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    bar.map_or_else(write, |bar| bar.suspend(write));
}

/// True if people see notes at once: standard error is a terminal.
pub(crate) fn is_watched() -> bool {
    !options().quiet && io::stderr().is_terminal()
}

fn is_dumb() -> bool {
    env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// True for a locale whose characters are ASCII: then nothing else is drawn.
fn is_ascii_locale() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let charset = locale.to_ascii_lowercase().replace('-', "");
    !(charset.contains("utf8") || charset.is_empty() && !is_dumb())
}

/// The columns of the terminal on standard output; none for a file or a pipe, where lines have any length.
pub(crate) fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let set = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let size = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
    set.or_else(size).filter(|columns| *columns > 0)
}

/// The columns of a terminal that the text takes: two for each Chinese character and its like.
pub(super) fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// The text in lines of at most that many columns, broken at spaces. A word that is longer is not broken.
pub(super) fn wrapped(text: &str, most: Option<usize>) -> String {
    let Some(most) = most.filter(|most| width(text) > *most) else { return text.to_owned() };
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let next = width(word);
        if used > 0 && used + 1 + next > most {
            lines.push('\n');
            used = 0;
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines += word;
        used += next;
    }
    lines
}

/// The mark of a text that was cut off.
pub(crate) fn ellipsis() -> &'static str {
    if is_ascii_locale() { "..." } else { "…" }
}

/// An RFC 3339 time in the zone of this machine, to the second: `2026-01-31 12:00:00`.
pub(crate) fn local_time(time: &str) -> Option<String> {
    let time = time.parse::<Timestamp>().ok()?.to_zoned(TimeZone::system());
    Some(time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The beginning of the dates of this year: `2026-`.
pub(crate) fn this_year() -> String {
    Zoned::now().strftime("%Y-").to_string()
}

/// The text in red, for what was refused, is damaged or wrong, if `stream` shows colours.
pub(crate) fn red(text: &str, stream: &impl IsTerminal) -> String {
    let shows = match options().color {
        ColorMode::Always => true,
        ColorMode::Never => false,
        ColorMode::Auto => {
            stream.is_terminal() && !is_dumb() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    if shows { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
}

/// Pause between two movements of a bar whose work reports nothing.
const TICK_EVERY: Duration = Duration::from_millis(200);

const TEMPLATE: &str = "the template is a constant of the source, and its fields are known";

/// The pictures of work that goes on; the last one is that of work that is done.
fn spinner() -> &'static str {
    if is_ascii_locale() { "|/-\\ " } else { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " }
}

/// The progress of a long command, on standard error if that is a terminal that can redraw a line; cleared when dropped.
/// It fits 40 columns.
pub(crate) struct TaskProgress(ProgressBar);

impl TaskProgress {
    /// Shows nothing: the output of the command is at the same terminal.
    pub(crate) fn hidden() -> TaskProgress {
        TaskProgress(ProgressBar::hidden())
    }

    /// Shows at once that the work goes on; `what` is a word or two, such as `entries`.
    pub(crate) fn new(what: &'static str) -> TaskProgress {
        if !is_watched() || is_dumb() {
            return TaskProgress::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect(TEMPLATE).tick_chars(spinner()));
        bar.set_message(what);
        bar.enable_steady_tick(TICK_EVERY);
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        TaskProgress(bar)
    }

    /// Shows the part that is done.
    pub(crate) fn show(&self, done: i64, total: i64) {
        if total <= 0 || self.0.is_hidden() {
            return;
        }
        if self.0.length().is_none() {
            let template = "{wide_bar} {percent:>3} % of {human_len} {msg}";
            self.0.disable_steady_tick();
            let style = ProgressStyle::with_template(template).expect(TEMPLATE);
            let full = if is_ascii_locale() { "#>-" } else { "█▓░" };
            self.0.set_style(style.progress_chars(full));
        }
        self.0.set_length(total as u64);
        self.0.set_position(done.max(0) as u64);
    }

    /// The same output, with the bytes that went through it shown.
    pub(crate) fn of_output<W: Write>(&self, out: W) -> impl Write + use<W> {
        if !self.0.is_hidden() {
            let style = ProgressStyle::with_template("{spinner} {msg} {bytes}").expect(TEMPLATE);
            self.0.set_style(style.tick_chars(spinner()));
        }
        self.0.wrap_write(out)
    }
}

/// Lines for a terminal: hidden characters, which could do anything to it, are shown by their numbers.
pub(crate) struct VisibleLines<W: Write> {
    out: W,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl<W: Write> VisibleLines<W> {
    pub(crate) fn new(out: W) -> VisibleLines<W> {
        VisibleLines { out, line: Vec::new() }
    }

    fn write_line(&mut self, end: &str) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        self.out.write_all((visible(text.strip_suffix('\r').unwrap_or(&text)) + end).as_bytes())
    }
}

impl<W: Write> Write for VisibleLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part.strip_suffix(b"\n").unwrap_or(part));
            if part.ends_with(b"\n") {
                self.write_line("\n")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.write_line("")?;
        }
        self.out.flush()
    }
}

impl Drop for TaskProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BAR.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
