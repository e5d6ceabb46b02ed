//! The target of a request: the server at a URL, the server of a file, or the file itself in this process.
//!
//! An [`ApiCall`] is the same HTTP request for all three. A file's server is looked up at every call, so it may start or
//! stop between two of them. Without a server this process has the file for one try at a time: a command that waits for
//! a lock lets go of the file in between, or the lock's holder could not release it.

use super::api_call::{ApiCall, KEY};
use super::http_agent::{CONNECT_TIMEOUT, TransportError, transmit};
use super::input::{self, CommonOptions, environment_text};
use super::output::{CliError, Exit, ServerReply};
use super::screen;
pub(crate) use super::transport::StreamReply;
use super::transport::{
    EVENT_STREAM, LOCK_NOTE_AFTER, LateNotes, REPLAYED, json_object, note_holder, open_stream, read_reply, request,
};
use crate::http::health::CHALLENGE;
use crate::http::{App, LocalResponse, Settings};
use crate::store::possession::{PossessResult, Possession, RunningServer, companion, possess, possess_unserved};
use crate::store::reading::read_whole;
use crate::store::{OpenError, OpenMode, Options, Reading, Store};
use crate::{secret, token};
use serde_json::Value;
use std::ffi::OsString;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time for a server that stops to let the file go.
const SERVER_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two tries to get a lock, or to reach a server that stops.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The target and the output format of one command.
pub(crate) struct ApiClient {
    /// Where requests go.
    pub target: Target,
    /// Set if replies are printed as JSON.
    pub json: bool,
}

impl ApiClient {
    /// The client that the options describe.
    pub(crate) fn new(common: &CommonOptions) -> Result<ApiClient, CliError> {
        Ok(ApiClient { target: Target::new(common)?, json: common.json })
    }

    /// Sends the call and prints the reply; `text` writes a success for people.
    pub(crate) fn run(&self, call: &ApiCall, text: impl FnOnce(&Value) -> String) -> Result<Exit, CliError> {
        self.target.send(call)?.print(self.json, text)
    }
}

/// The target of a request.
#[derive(Clone)]
pub(crate) enum Target {
    /// A server at a URL.
    Url {
        /// The URL, without a slash at the end.
        base: String,
        /// The caller's access token there.
        token: Option<String>,
    },
    /// A file, or its server.
    File {
        /// The file.
        db: PathBuf,
        /// Set if an option or a variable names it.
        is_named: bool,
        /// The caller's access token, if the caller is not `@local`.
        token: Option<String>,
    },
}

impl Target {
    /// The target named by the options, or else by the environment.
    pub(crate) fn new(common: &CommonOptions) -> Result<Target, CliError> {
        let url = match (&common.url, &common.db) {
            (Some(_), Some(_)) => return Err(CliError::usage("give --url or --db, not both")),
            (None, Some(_)) => None,
            (url, None) => url.clone().or_else(|| environment_text("CASHBOX_URL")),
        };
        let token = token_option(common)?;
        match url {
            Some(url) => Target::at(&url, token.or_else(environment_token)),
            // The caller on a file is `@local`, with a server or without, unless an option gives another token.
            None => Ok(Target::File { db: common.file(), is_named: common.named_file().is_some(), token }),
        }
    }

    /// The server at `--url`, if it is given: for requests that must not follow the environment.
    pub(crate) fn from_url_option(common: &CommonOptions) -> Result<Option<Target>, CliError> {
        let Some(url) = &common.url else { return Ok(None) };
        Target::at(url, token_option(common)?.or_else(environment_token)).map(Some)
    }

    fn at(url: &str, token: Option<String>) -> Result<Target, CliError> {
        match check_url(url) {
            Ok(()) => Ok(Target::Url { base: url.trim_end_matches('/').to_owned(), token }),
            Err(why) => {
                Err(CliError::usage(format!("{url:?} is not a valid URL of a server: {why}; write {URL_FORM}")))
            }
        }
    }

    /// The URL and the access token there, unless the target is a file.
    pub(crate) fn url(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Target::Url { base, token } => Some((base, token.as_deref())),
            Target::File { .. } => None,
        }
    }

    /// The caller's access token there.
    pub(crate) fn access_token(&self) -> Option<&str> {
        let (Target::Url { token, .. } | Target::File { token, .. }) = self;
        token.as_deref()
    }

    /// The option that names the same target, without the access token.
    pub(crate) fn option(&self) -> OsString {
        let (mut option, value) = match self {
            Target::Url { base, .. } => (OsString::from("--url="), base.as_ref()),
            Target::File { db, .. } => (OsString::from("--db="), db.as_os_str()),
        };
        option.push(value);
        option
    }

    /// True of a file that no server has.
    pub(crate) fn is_unserved_file(&self) -> bool {
        matches!(self, Target::File { db, .. } if companion::server(db).is_none())
    }

    /// Sends the call and gives the reply.
    pub(crate) fn send(&self, call: &ApiCall) -> Result<ServerReply, CliError> {
        match self {
            Target::Url { base, token } => {
                let timer = CallTimer::start(call);
                let first = request(base, token.as_deref(), call, call.wait, timer.left());
                let reply = match first {
                    Err(TransportError::Lost(_)) if call.repeatable && timer.has_time() => {
                        request(base, token.as_deref(), call, call.wait, timer.left())
                    }
                    other => other,
                };
                reply.map_err(|error| error.at(base, call))
            }
            Target::File { db, is_named, .. } if call.changes && !call.may_create && !is_named && !db.exists() => {
                Err(CliError::unreachable(format!(
                    "there is no {} in this folder: name the file with --db or CASHBOX_DB, because clients of another \
                     file do not see its locks",
                    db.display()
                )))
            }
            Target::File { db, .. } if call.dry_run && !db.exists() => {
                Err(CliError::unreachable(format!("there is no {}, and a dry run makes no file", db.display())))
            }
            Target::File { db, token, .. } => send_to_file(db, token.as_deref(), call),
        }
    }

    /// Requests a stream of entries. Without a server it has the entries that are there, a bounded number of them, and
    /// ends.
    pub(crate) fn open_stream(&self, call: &ApiCall) -> Result<StreamReply, CliError> {
        match self {
            Target::Url { base, token } => {
                open_stream(base, token.as_deref(), call).map_err(|error| error.at(base, call))
            }
            Target::File { db, token, .. } => match companion::server(db) {
                Some(server) => {
                    let opened = prove(&server, call, &CallTimer::start(call))
                        .and_then(|()| open_stream(&server.url, token.as_deref().or(Some(&server.token)), call));
                    opened.map_err(|error| error.at(&server.url, call))
                }
                None => {
                    let answer = read_in_process(db, |store| answer_locally(store, token.as_deref(), call))?;
                    let is_stream =
                        answer.headers.iter().any(|(name, value)| *name == "Content-Type" && value == EVENT_STREAM);
                    if is_stream {
                        return Ok(StreamReply::Stream(Box::new(io::Cursor::new(answer.body))));
                    }
                    Ok(StreamReply::Reply(reply(&answer, call)))
                }
            },
        }
    }
}

/// The form of a URL, for messages.
#[cfg(feature = "tls")]
const URL_FORM: &str = "http://HOST:PORT or https://HOST:PORT";
#[cfg(not(feature = "tls"))]
const URL_FORM: &str = "http://HOST:PORT (this program was built without TLS: use a tunnel, such as ssh -L)";

/// Refuses all that could be read in two ways: the access token goes to the host and port that were meant, or nowhere.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    let secure = if cfg!(feature = "tls") { url.strip_prefix("https://") } else { None };
    let rest = url.strip_prefix("http://").or(secure).ok_or("it does not begin with http://")?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err("it has characters other than visible ASCII ones");
    }
    if rest.contains(['?', '#']) {
        return Err("it has a query or a fragment");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) if address.parse::<Ipv6Addr>().is_ok() => (address, port),
        Some(_) => return Err("its address in brackets is not valid"),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if authority.contains('@') || host.is_empty() {
        return Err(if host.is_empty() { "its host is missing" } else { "it has a user name" });
    }
    let digits = port.strip_prefix(':').unwrap_or("80");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.starts_with(':') || !is_number || digits.parse::<u16>().unwrap_or(0) == 0 {
        return Err("its port is not a number from 1 to 65535");
    }
    Ok(())
}

fn token_option(common: &CommonOptions) -> Result<Option<String>, CliError> {
    match (&common.token, &common.token_file) {
        (Some(_), Some(_)) => Err(CliError::usage("give --token or --token-file, not both")),
        (Some(token), None) => Ok(Some(token.clone())),
        (None, Some(file)) => input::access_token(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn environment_token() -> Option<String> {
    environment_text("CASHBOX_TOKEN")
}

/// The time a call has taken, and its bound.
struct CallTimer {
    begun: Instant,
    total: Option<Duration>,
}

impl CallTimer {
    fn start(call: &ApiCall) -> CallTimer {
        CallTimer { begun: Instant::now(), total: call.total_timeout }
    }

    fn left(&self) -> Option<Duration> {
        self.total.map(|total| total.saturating_sub(self.begun.elapsed()))
    }

    fn has_time(&self) -> bool {
        self.left().is_none_or(|left| !left.is_zero())
    }
}

/// Sends the call to the file's server, or answers it in this process if there is none.
fn send_to_file(db: &Path, token: Option<&str>, call: &ApiCall) -> Result<ServerReply, CliError> {
    let timer = CallTimer::start(call);
    let mut lost_before = false;
    let mut has_noted = false;
    loop {
        let wait = call.wait.saturating_sub(timer.begun.elapsed());
        let server = match companion::server(db) {
            Some(server) => server,
            None if !call.changes => {
                let answer = read_in_process(db, |store| answer_locally(store, token, call))?;
                return Ok(reply(&answer, call));
            }
            None => match answer_in_process(db, token, call)? {
                InProcess::Served(server) => server,
                InProcess::Reply(reply)
                    if reply.status != 423 || wait.is_zero() || call.until_rest && reply.is_resting() =>
                {
                    return Ok(reply);
                }
                InProcess::Reply(reply) => {
                    if call.has_notes && !has_noted && timer.begun.elapsed() >= LOCK_NOTE_AFTER {
                        has_noted = note_holder(&reply.body["lock"], &reply.body);
                    }
                    sleep(RETRY_PAUSE);
                    continue;
                }
            },
        };
        let proved = prove(&server, call, &timer);
        let token = token.or(Some(&server.token));
        let sent = proved.and_then(|()| request(&server.url, token, call, wait, timer.left()));
        match sent {
            Ok(reply) => return Ok(reply),
            Err(TransportError::NotReached(_)) if timer.begun.elapsed() < SERVER_STOP_TIMEOUT && timer.has_time() => {
                sleep(RETRY_PAUSE);
            }
            Err(TransportError::Lost(_)) if call.repeatable && !lost_before && timer.has_time() => lost_before = true,
            Err(error) => return Err(error.at(&server.url, call)),
        }
    }
}

/// The server that has proved last that it is the one of its companion file.
static PROVED: Mutex<Option<RunningServer>> = Mutex::new(None);

/// Has the server prove that it knows the secret of its run before a token is sent: its address may lead elsewhere.
fn prove(server: &RunningServer, asked: &ApiCall, timer: &CallTimer) -> Result<(), TransportError> {
    if PROVED.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(server) {
        return Ok(());
    }
    let challenge = secret::random::<32>();
    let mut call = ApiCall::get(&["healthz"]);
    call.headers.push((CHALLENGE, secret::hex(&challenge)));
    call.total_timeout = Some(timer.left().map_or(CONNECT_TIMEOUT, |left| left.min(CONNECT_TIMEOUT)));
    let _notes = asked.has_notes.then(|| LateNotes::begin(&server.url, None, &call, Duration::ZERO));
    let reply = match transmit(&server.url, None, &call).and_then(read_reply) {
        // Nothing was asked of it yet.
        Err(TransportError::Lost(why)) => return Err(TransportError::NotReached(why)),
        Err(TransportError::TimedOut) => {
            let why = format!("process {} does not answer (is it stopped?); nothing was sent", server.pid);
            return Err(TransportError::NotReached(why));
        }
        reply => reply?,
    };
    if reply.body["proof"] != token::proof(&challenge, &token::hash(&server.token)) {
        return Err(TransportError::NotThisFile);
    }
    *PROVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(server.clone());
    Ok(())
}

/// The result of a try to answer a call in this process.
enum InProcess {
    /// The reply.
    Reply(ServerReply),
    /// A server has taken the file meanwhile.
    Served(RunningServer),
}

/// Held while this process has the file.
static HAS_FILE: Mutex<()> = Mutex::new(());

/// Waits until this process does not have the file, and keeps it from taking it: a process that is stopped meanwhile
/// blocks no other.
pub(crate) fn pause_file_access() -> MutexGuard<'static, ()> {
    HAS_FILE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers as a server would. The access token names the caller here too: a key belongs to its caller, and a repeat
/// has to come from the same one.
fn answer_in_process(db: &Path, token: Option<&str>, call: &ApiCall) -> Result<InProcess, CliError> {
    let _has_file = pause_file_access();
    let cannot_open = |why: OpenError| CliError::cannot_open(db, &why);
    let is_new = !db.exists();
    if is_new && !call.may_be_first {
        return Err(cannot_open(OpenError::new("there is no such file, and this command makes none")));
    }
    let possession = match possess(db).map_err(cannot_open)? {
        PossessResult::ServedBy(server) => return Ok(InProcess::Served(server)),
        PossessResult::Possessed(possession) => possession,
    };
    let store = Store::open_possessed(possession, &Options { mode: OpenMode::OneCall, ..Options::default() })
        .map_err(cannot_open)?;
    let reply = reply(&answer_locally(store, token, call), call);
    if is_new {
        screen::note(&format!("made a new wallet file: {}", real_path(db).display()));
    }
    Ok(InProcess::Reply(reply))
}

/// Answers a request that changes nothing, without changing a byte of the file or its folder.
fn read_in_process(db: &Path, answer: impl Fn(Store) -> LocalResponse) -> Result<LocalResponse, CliError> {
    let cannot_open = |why: OpenError| CliError::cannot_open(db, &why);
    read_whole(db, Reading::for_requests, cannot_open, |reading| {
        Ok(answer(Store::open_for_reading(db, reading).map_err(cannot_open)?))
    })
}

fn answer_locally(store: Store, token: Option<&str>, call: &ApiCall) -> LocalResponse {
    let app = App::new(store, Settings::default());
    let mut call = call.with_wait(Duration::ZERO); // a wait here would keep the file from the lock's holder
    call.headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
    let headers: Vec<_> = call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = app.answer_local(call.method, &call.uri, &headers, call.body.clone());
    app.store().close();
    answer
}

fn reply(answer: &LocalResponse, call: &ApiCall) -> ServerReply {
    let replayed = answer.headers.iter().any(|(name, _)| *name == REPLAYED);
    let reply = ServerReply::new(answer.status, json_object(&answer.body));
    ServerReply { replayed, key: call.header(KEY).map(str::to_owned), ..reply }
}

/// The file's path from the root, as far as it can be found.
pub(crate) fn real_path(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

/// Takes possession of the file for a command that keeps other processes out of it.
pub(crate) fn take_possession(db: &Path) -> Result<Possession, CliError> {
    possess_unserved(db).map_err(|why| CliError::cannot_open(db, &why))
}
