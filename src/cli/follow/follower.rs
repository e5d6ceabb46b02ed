//! Reads the stream of entries, and goes on from the place that was reached when it ends or breaks off.

use crate::cli::api_call::ApiCall;
use crate::cli::output::{self, CliError, Exit};
use crate::cli::target::{ApiClient, StreamReply};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time for which one stream is read, before another one is opened at the same place: a server that hangs, or a
/// connection that was lost unnoticed, is noticed within it.
const STREAM_TIME: Duration = Duration::from_secs(60);
/// The shortest pause between two streams that bring nothing: a file without a server is looked at once in this time.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// The pauses before a server that is away is tried again.
const AWAY_PAUSE_MIN: Duration = Duration::from_millis(200);
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest line of a stream, in bytes; an entry has some thousands.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The place to begin at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartPlace {
    /// The first entry.
    First,
    /// The next entry that is made.
    Now,
    /// Behind the entry of this cursor.
    Behind(String),
}

/// The receiver of the entries.
pub(crate) trait EntrySink {
    /// Deals with an entry, which is JSON. An error ends following; the entry comes again the next time.
    fn take(&mut self, entry: &str) -> Result<(), CliError>;

    /// The place behind everything that was taken.
    fn reached(&mut self, place: &str) -> Result<(), CliError>;
}

/// Gives the entries that pass the filters of `query` to the sink, in order, until an error or a refusal. A server that is
/// away is tried again.
pub(crate) fn follow(
    client: &ApiClient,
    query: &ApiCall,
    start: StartPlace,
    sink: &mut dyn EntrySink,
) -> Result<Exit, CliError> {
    let mut place = start;
    let mut away = AwayPause::default();
    loop {
        let opened = Instant::now();
        let mut taken = 0;
        match client.target.open_stream(&call(query, &place)) {
            Ok(StreamReply::Stream(reader)) => {
                away.end();
                let mut events = EventLines::new(reader);
                // An error is the end of this stream: what came whole was taken.
                while let Ok(Some(event)) = events.next() {
                    if let Some(entry) = &event.entry {
                        sink.take(entry)?;
                        taken += 1;
                    }
                    if place != StartPlace::Behind(event.place.clone()) {
                        sink.reached(&event.place)?;
                        place = StartPlace::Behind(event.place);
                    }
                }
            }
            Ok(StreamReply::Reply(reply)) if Exit::of(reply.status, &reply.body) == Exit::Unreachable => {
                away.wait(&output::refusal_text(&reply.body));
            }
            Ok(StreamReply::Reply(reply)) => return reply.print(client.json, |_| String::new()),
            Err(error) if error.exit == Exit::Unreachable => away.wait(&error.message),
            Err(error) => return Err(error),
        }
        if taken == 0 && !away.has_waited {
            sleep(LOOK_PAUSE.saturating_sub(opened.elapsed()));
        }
    }
}

/// Prints an entry. Unlike a reply, it was not taken if the reader of standard output has ended.
pub(crate) fn print_entry(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| CliError::unreachable(format!("cannot write to standard output: {error}")))
}

/// The request for the stream from that place on.
fn call(query: &ApiCall, place: &StartPlace) -> ApiCall {
    let mut call = query.clone();
    match place {
        StartPlace::First => call = call.query("after", Some("")),
        StartPlace::Now => {}
        StartPlace::Behind(id) => call.headers.push(("Last-Event-ID", id.clone())),
    }
    ApiCall { answer_timeout: STREAM_TIME, has_notes: false, ..call }
}

/// The pauses while a server is away. They are noted once.
#[derive(Default)]
struct AwayPause {
    pause: Option<Duration>,
    has_waited: bool,
}

impl AwayPause {
    fn wait(&mut self, why: &str) {
        if self.pause.is_none() {
            output::print_error(&format!("{why}; trying again until it answers"));
        }
        let pause = self.pause.map_or(AWAY_PAUSE_MIN, |pause| (2 * pause).min(AWAY_PAUSE_MAX));
        sleep(pause);
        self.pause = Some(pause);
        self.has_waited = true;
    }

    fn end(&mut self) {
        *self = AwayPause::default();
    }
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryEvent {
    /// The place behind it.
    pub place: String,
    /// The entry as JSON; none in an event that has a place alone.
    pub entry: Option<String>,
}

/// The events of a stream.
pub(super) struct EventLines<R> {
    lines: BufReader<R>,
}

impl<R: Read> EventLines<R> {
    /// The events of that stream.
    pub(super) fn new(stream: R) -> EventLines<R> {
        EventLines { lines: BufReader::new(stream) }
    }

    /// The next event with a place; none at the end. What stands behind the last whole event is left out.
    pub(super) fn next(&mut self) -> io::Result<Option<EntryEvent>> {
        let (mut place, mut entry) = (None, None);
        loop {
            let mut line = String::new();
            (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line)?;
            let Some(line) = line.strip_suffix('\n') else {
                return if line.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            };
            match line.split_once(": ") {
                Some(("id", id)) => place = Some(id.to_owned()),
                Some(("data", data)) => entry = Some(data.to_owned()),
                None if line.is_empty() => {
                    if let Some(place) = place.take() {
                        return Ok(Some(EntryEvent { place, entry }));
                    }
                    entry = None;
                }
                _ => {} // a comment
            }
        }
    }
}
