//! Entries as a file: CSV or NDJSON, all that pass the filter, as a stream. It is read in pages, and no reader
//! connection is held while a page is being sent, so a slow client costs nobody anything.

use super::auth::Caller;
use super::conn::{Body, Response};
use super::request::Context;
use super::show::{self, ENTRY_FIELDS};
use crate::ledger::query::{self, Filter};
use crate::store::Store;
use crate::store::file::transfer::{cell, csv_line};
use std::io::{self, Read};
use std::sync::Arc;

const PAGE: usize = 500;

/// What the file looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A head line, then a line each.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

impl Format {
    /// What the client asks for, if it is a file.
    pub fn wanted(context: &Context<'_>) -> Option<Format> {
        [Format::Csv, Format::Ndjson].into_iter().find(|format| context.accepts(format.content_type()))
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv",
            Format::Ndjson => "application/x-ndjson",
        }
    }
}

/// The answer that streams.
pub fn entries(context: &Context<'_>, format: Format, filter: Filter, after: Option<i64>) -> Response {
    let head = if format == Format::Csv { csv_line(&ENTRY_FIELDS) } else { String::new() };
    let source = Entries {
        store: Arc::clone(&context.app.store),
        caller: context.caller.clone(),
        format,
        filter,
        after,
        done: false,
        ready: head.into_bytes(),
        sent: 0,
    };
    Response {
        status: 200,
        headers: vec![("Content-Type", format.content_type().to_owned()), ("Cache-Control", "no-store".to_owned())],
        body: Body::Stream(Box::new(source)),
        close: false,
        undelivered: None,
    }
}

struct Entries {
    store: Arc<Store>,
    caller: Caller,
    format: Format,
    filter: Filter,
    after: Option<i64>,
    done: bool,
    ready: Vec<u8>,
    sent: usize,
}

impl Read for Entries {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.sent == self.ready.len() {
            if self.done {
                return Ok(0);
            }
            self.next_page()?;
        }
        let count = buffer.len().min(self.ready.len() - self.sent);
        buffer[..count].copy_from_slice(&self.ready[self.sent..self.sent + count]);
        self.sent += count;
        Ok(count)
    }
}

impl Entries {
    fn next_page(&mut self) -> io::Result<()> {
        let page =
            self.store.read(|tx| query::entries(tx, &self.filter, self.after, PAGE)).map_err(io::Error::other)?;
        self.ready.clear();
        self.sent = 0;
        self.done = !page.more;
        for entry in &page.rows {
            let shown = show::entry(entry, &self.caller);
            match self.format {
                Format::Ndjson => {
                    serde_json::to_writer(&mut self.ready, &shown)?;
                    self.ready.push(b'\n');
                }
                Format::Csv => {
                    let shown = serde_json::to_value(shown)?;
                    let cells: Vec<_> = ENTRY_FIELDS.iter().map(|field| cell(&shown[*field])).collect();
                    self.ready.extend(csv_line(&cells).into_bytes());
                }
            }
            self.after = Some(entry.id.0);
        }
        Ok(())
    }
}
