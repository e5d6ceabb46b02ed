//! An open file, which all handles share, and what lives on it for longer: a history being read, a running server.

use crate::error::Error;
use crate::http::conn::{Limits, Server, listen, reachable};
use crate::http::{App, Settings};
use crate::id::WalletId;
use crate::ledger::entry::Entry;
use crate::ledger::query::{Filter, entries};
use crate::store::Store;
use crate::{log, token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An open store. Dropping it commits what was accepted, and only then lets another process have the file.
pub(super) struct OpenFile {
    pub(super) store: Arc<Store>,
    /// Held while a server starts.
    pub(super) serving: Mutex<()>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.store.refuse_waiting();
        self.store.close();
    }
}

/// The entries of a wallet, newest first: see [`Cashbox::history`](crate::Cashbox::history). After an error it ends.
pub struct History {
    file: Arc<OpenFile>,
    filter: Filter,
    page: VecDeque<Entry>,
    /// The number of the last entry that was read.
    last: Option<i64>,
    more: bool,
}

/// Entries read at once.
const HISTORY_PAGE: usize = 100;

impl History {
    pub(super) fn new(file: &Arc<OpenFile>, wallet: WalletId) -> History {
        let filter = Filter { wallet: Some(wallet), ..Filter::default() };
        History { file: Arc::clone(file), filter, page: VecDeque::new(), last: None, more: true }
    }
}

impl Iterator for History {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Result<Entry, Error>> {
        while self.page.is_empty() && self.more {
            let read = self.file.store.read(|tx| entries(tx, &self.filter, self.last, HISTORY_PAGE));
            match read {
                Ok(page) => {
                    self.more = page.next.is_some();
                    self.last = page.next;
                    self.page = page.rows.into();
                }
                Err(error) => {
                    self.more = false;
                    return Some(Err(error));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}

/// A running HTTP server: see [`Cashbox::serve`](crate::Cashbox::serve). Stopped when dropped.
#[must_use = "the server stops when its handle is dropped"]
pub struct ServerHandle {
    file: Arc<OpenFile>,
    app: Arc<App>,
    server: Server,
    url: String,
    token: String,
}

/// The time that requests in flight may take when the server stops.
const STOP_TIME: Duration = Duration::from_secs(10);

impl ServerHandle {
    pub(super) fn start(file: &Arc<OpenFile>, address: SocketAddr) -> io::Result<ServerHandle> {
        let _serving = file.serving.lock().unwrap_or_else(PoisonError::into_inner); // it guards no data
        let possession = file.store.possession();
        if possession.is_announced() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "this file is served by this process already"));
        }
        let token = token::new_secret();
        let settings = Settings { run_token: Some(token.clone()), ..Settings::default() };
        let app = Arc::new(App::new(Arc::clone(&file.store), settings));
        let server = Server::start(listen(address)?, Limits::default(), Arc::clone(&app) as _)?;
        let url = format!("http://{}", reachable(server.address()));
        if let Err(error) = possession.announce(&url, &token) {
            let _ = possession.retract(); // half an announcement would mislead commands, and this error says more
            return Err(error);
        }
        Ok(ServerHandle { file: Arc::clone(file), app, server, url, token })
    }

    /// The address it listens on, with the port that the machine chose if none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL at which this machine reaches it: `http://127.0.0.1:8866`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An admin's access token that is valid while this server runs: a secret. `POST /v1/tokens` makes lasting ones.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Stops accepting connections, ends the waiting of requests for locks with the error `busy`, and lets other requests
    /// in flight finish, for 10 seconds at most. Dropping the handle does the same.
    pub fn stop(self) {}
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if let Err(error) = self.file.store.possession().retract() {
            log::warn("commands on this machine may look for this server", &error);
        }
        self.app.end_waiting();
        let busy = self.server.stop(STOP_TIME);
        if busy > 0 {
            log::warn("stopped, though requests were not answered yet", &busy);
        }
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ServerHandle({})", self.url)
    }
}
