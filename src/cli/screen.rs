//! Standard error and the terminal: notes, colour, width, and progress bars.
//!
//! A note is what people want to know and programs do not need: `--quiet` leaves it out. An error is not a note.

use crate::id::visible;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
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

/// Prints a note on standard error, unless it is to be quiet.
pub(crate) fn note(message: &str) {
    if !options().quiet {
        let _ = writeln!(io::stderr(), "{}", visible(message)); // a closed standard error leaves nowhere to write it
    }
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
#[allow(dead_code)]
pub(crate) fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let set = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let size = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
    set.or_else(size).filter(|columns| *columns > 0)
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

/// The progress of a long command, on standard error if that is a terminal that can redraw a line; cleared when dropped.
/// It fits 40 columns.
pub(crate) struct TaskProgress(ProgressBar);

impl TaskProgress {
    /// Shows at once that the work goes on; `what` is a word or two, such as `entries`.
    pub(crate) fn new(what: &'static str) -> TaskProgress {
        if !is_watched() || is_dumb() {
            return TaskProgress(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let (full, spin) =
            if is_ascii_locale() { ("#>-", "|/-\\ ") } else { ("█▓░", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ") };
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is a constant, and tested");
        bar.set_style(style.tick_chars(spin).progress_chars(full));
        bar.set_message(what);
        bar.enable_steady_tick(TICK_EVERY);
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
            let style = ProgressStyle::with_template(template).expect("the template is a constant, and tested");
            let full = if is_ascii_locale() { "#>-" } else { "█▓░" };
            self.0.set_style(style.progress_chars(full));
        }
        self.0.set_length(total as u64);
        self.0.set_position(done.max(0) as u64);
    }

    /// Shows the work done when its end is not known.
    #[allow(dead_code)]
    pub(crate) fn count(&self, done: u64, unit: &str) {
        self.0.set_message(format!("{done} {unit}"));
    }
}

impl Drop for TaskProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
