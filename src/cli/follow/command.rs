//! `cashbox follow`: its arguments, and an entry's way from the stream to its receiver and into the cursor file.

use super::cursor_file::CursorFile;
use super::delivery::{Delivery, Receiver};
use super::follower::{EntrySink, StartPlace, follow};
use super::webhook::Webhook;
use crate::cli::input::{self, optional_argument};
use crate::cli::lists::EntryFilters;
use crate::cli::output::{CliError, Exit};
use crate::cli::screen;
use crate::cli::target::{ApiClient, check_url};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The entry to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// The first of all.
    Start,
}

/// `cashbox follow`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FollowArgs {
    /// The user [default: all users]
    user: Option<String>,
    #[command(flatten)]
    filters: EntryFilters,
    /// A file that keeps the place: the next `follow` goes on there. Without one, or while it is new, begins with the next
    /// entry
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Begin with the first entry, if the cursor file has no place yet
    #[arg(long, value_name = "start", hide_possible_values = true)]
    from: Option<From>,
    /// Try a command that failed again, after growing pauses
    #[arg(long, requires = "command")]
    retry: bool,
    /// End with exit code 1 when one entry has failed for that long, such as 30m or 3d [default: never]
    #[arg(long, value_name = "TIME", value_parser = input::duration("1ms", "365d"))]
    give_up: Option<Duration>,
    /// The pause after the first failure; it doubles with each, up to an hour
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::duration("1ms", "1h"))]
    pause: Duration,
    /// Post each entry to this URL, signed as a webhook
    #[arg(long, value_name = "URL", requires = "secret_file", conflicts_with = "command")]
    post: Option<String>,
    /// The secret that signs it: whsec_ and base64 (two lines while it is changed)
    #[arg(long, value_name = "FILE", requires = "post")]
    secret_file: Option<PathBuf>,
    /// Time for the receiver to answer
    #[arg(long, value_name = "TIME", requires = "post", default_value = "20s", value_parser = input::duration("1ms", "10m"))]
    timeout: Duration,
    /// Run this for each entry, which it reads as a line of JSON; exit code 0 is success [default: print the line]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "Each entry is delivered in order and at least once: one that failed, or was cut off, comes first the next time.\n\
    A server that is away is waited for.";

impl FollowArgs {
    /// Follows until an error.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let delivery = self.delivery()?;
        let user = optional_argument(self.user.as_ref())?;
        let opened = self.cursor.as_deref().map(CursorFile::open).transpose()?;
        let (cursor, place) = opened.map_or((None, None), |(cursor, place)| (Some(cursor), place));
        let start = match (place, self.from) {
            (Some(place), _) => StartPlace::Behind(place),
            (None, Some(From::Start)) => StartPlace::First,
            (None, None) => {
                screen::note("beginning with the next entry (--from start begins with the first)");
                StartPlace::Now
            }
        };
        let query = self.filters.events(user.as_deref());
        follow(client, &query, start, &mut DeliverySink { delivery, cursor })
    }

    fn delivery(&self) -> Result<Delivery, CliError> {
        let receiver = match (&self.post, &self.secret_file) {
            (Some(url), Some(secret_file)) => {
                let bare = url.split('?').next().unwrap_or_default();
                check_url(bare)
                    .map_err(|why| CliError::usage(format!("{url:?} is not a valid URL for webhooks: {why}")))?;
                Receiver::Webhook(Webhook::new(url, secret_file, self.timeout)?)
            }
            _ if self.command.is_empty() => Receiver::Output,
            _ => Receiver::Command(self.command.clone()),
        };
        let retries = self.retry || self.post.is_some();
        if self.give_up.is_some() && !retries {
            return Err(CliError::usage(
                "--give-up is for --retry and --post: without them the first failure is the end",
            ));
        }
        Ok(Delivery { receiver, retries, first_pause: self.pause, give_up: self.give_up })
    }
}

/// Delivers each entry, and then writes the place behind it.
struct DeliverySink {
    delivery: Delivery,
    cursor: Option<CursorFile>,
}

impl EntrySink for DeliverySink {
    fn take(&mut self, entry: &str) -> Result<(), CliError> {
        self.delivery.deliver(entry)
    }

    fn reached(&mut self, place: &str) -> Result<(), CliError> {
        self.cursor.as_mut().map_or(Ok(()), |cursor| cursor.write(place))
    }
}
