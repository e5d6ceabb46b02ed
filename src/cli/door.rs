//! The way to an answer: a server at a URL, the server that has the file, or, where none has it, this process.
//!
//! Looks afresh at every call, so a server may come and go between two of them. With no server the file is taken for
//! one try at a time: a command that waits for a lock lets go in between, or nobody could give the lock back.

use super::call::Call;
use super::exit::Trouble;
use super::{Common, input};
use crate::http::{App, Settings};
use crate::store::file::companion::{self, RunningServer, TakeResult};
use crate::store::{OpenError, Options, Store};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server that goes is given to let the file go.
const SERVER_GOES: Duration = Duration::from_secs(5);
/// How often a lock, or a server that goes, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a server may take to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The status of an answer that has no body.
const NO_CONTENT: u16 = 204;
/// The longest answer that is read, in bytes: ten thousand results of a batch are a few million.
const ANSWER_MAX: u64 = 256 * 1024 * 1024;
/// How much of a file is taken at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// Where answers come from.
#[derive(Clone)]
pub enum Door {
    /// A server elsewhere.
    Url {
        /// Where, without a slash at the end.
        base: String,
        /// Who we are there.
        token: Option<String>,
    },
    /// The file, or the server that has it.
    File {
        /// The file.
        db: PathBuf,
        /// Who we are to its server, if not `@local`.
        token: Option<String>,
    },
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body: an object, or null if there is none.
    pub body: Value,
}

impl Answer {
    /// Whether it is a yes.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it is the no of that name.
    pub fn refuses_as(&self, name: &str) -> bool {
        self.body["error"] == name
    }
}

/// Why a server gave no answer.
enum Silence {
    /// Nothing was asked.
    NotReached(String),
    /// It was asked, and nobody knows what came of it.
    Lost(String),
    /// It cannot be asked at all.
    Unsendable(String),
    /// It is no cashbox.
    Strange(u16),
}

impl Door {
    /// The way the arguments name, or else the environment.
    pub fn new(common: &Common) -> Result<Door, Trouble> {
        let url = match (&common.url, &common.db) {
            (Some(_), Some(_)) => return Err(Trouble::usage("give --url or --db, not both")),
            (None, Some(_)) => None,
            (url, None) => url.clone().map(OsString::from).or_else(|| environment("CASHBOX_URL")),
        };
        let token = given_token(common)?;
        match url {
            Some(url) => Door::to(&url.to_string_lossy(), token.or_else(environments_token)),
            // Whoever has the file is `@local`, with a server or without, unless the arguments say otherwise.
            None => Ok(Door::File { db: file(common), token }),
        }
    }

    /// The server at `--url`, if there is one: for what must not go where nobody sent it, the environment included.
    pub fn given(common: &Common) -> Result<Option<Door>, Trouble> {
        let Some(url) = &common.url else { return Ok(None) };
        Door::to(url, given_token(common)?.or_else(environments_token)).map(Some)
    }

    /// The server at that URL.
    fn to(url: &str, token: Option<String>) -> Result<Door, Trouble> {
        if !url.starts_with("http://") {
            return Err(Trouble::usage(format!(
                "{url:?} is no address of a server: http://HOST:PORT (TLS is for a proxy or a tunnel)"
            )));
        }
        Ok(Door::Url { base: url.trim_end_matches('/').to_owned(), token })
    }

    /// Where the server is, and who we are there, unless this is a file.
    pub fn url(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Door::Url { base, token } => Some((base, token.as_deref())),
            Door::File { .. } => None,
        }
    }

    /// Has the call answered.
    pub fn answer(&self, call: &Call) -> Result<Answer, Trouble> {
        match self {
            Door::Url { base, token } => {
                let time = Time::of(call);
                let first = ask(base, token.as_deref(), call, call.wait, &time);
                let answer = match first {
                    Err(Silence::Lost(_)) if call.repeatable && time.is_left() => {
                        ask(base, token.as_deref(), call, call.wait, &time)
                    }
                    other => other,
                };
                answer.map_err(|silence| silence.of(base))
            }
            Door::File { db, token } => through_file(db, token.as_deref(), call),
        }
    }
}

fn given_token(common: &Common) -> Result<Option<String>, Trouble> {
    match (&common.token, &common.token_file) {
        (Some(_), Some(_)) => Err(Trouble::usage("give --token or --token-file, not both")),
        (Some(token), None) => Ok(Some(token.clone())),
        (None, Some(file)) => input::token(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn environments_token() -> Option<String> {
    environment("CASHBOX_TOKEN").map(|token| token.to_string_lossy().into_owned())
}

/// The file the arguments name, or else the environment.
pub fn file(common: &Common) -> PathBuf {
    let named = common.db.clone().or_else(|| environment("CASHBOX_DB").map(PathBuf::from));
    named.unwrap_or_else(|| PathBuf::from("cashbox.db"))
}

/// What stands under that name in the environment; nothing is the same as not being there.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// How long a call has taken, and how long it may.
struct Time {
    begun: Instant,
    within: Option<Duration>,
}

impl Time {
    fn of(call: &Call) -> Time {
        Time { begun: Instant::now(), within: call.within }
    }

    fn left(&self) -> Option<Duration> {
        self.within.map(|within| within.saturating_sub(self.begun.elapsed()))
    }

    fn is_left(&self) -> bool {
        self.left().is_none_or(|left| !left.is_zero())
    }
}

fn through_file(db: &Path, token: Option<&str>, call: &Call) -> Result<Answer, Trouble> {
    let time = Time::of(call);
    let begun = time.begun;
    let mut lost = false;
    loop {
        let wait = call.wait.saturating_sub(begun.elapsed());
        let server = match companion::server(db) {
            Some(server) => server,
            None => match in_process(db, token, call)? {
                Here::Server(server) => server,
                Here::Answer(answer) if answer.status != 423 || wait.is_zero() => return Ok(answer),
                Here::Answer(_) => {
                    sleep(LOOK_EVERY);
                    continue;
                }
            },
        };
        match ask(&server.url, token.or(Some(&server.token)), call, wait, &time) {
            Ok(answer) => return Ok(answer),
            Err(Silence::NotReached(_)) if begun.elapsed() < SERVER_GOES && time.is_left() => sleep(LOOK_EVERY),
            Err(Silence::Lost(_)) if call.repeatable && !lost && time.is_left() => lost = true,
            Err(silence) => return Err(silence.of(&server.url)),
        }
    }
}

/// What came of trying to answer here.
enum Here {
    /// The answer.
    Answer(Answer),
    /// A server has the file after all.
    Server(RunningServer),
}

/// Held while this process has the file in hand.
static IN_HAND: Mutex<()> = Mutex::new(());

/// Waits until this process does not have the file in hand, and keeps it from taking it: whoever stops now is in nobody's
/// way.
pub fn hands_off() -> MutexGuard<'static, ()> {
    IN_HAND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who asks is who an access token says, as at a server: a key is its caller's, and a repeat has to be of the same one.
fn in_process(db: &Path, token: Option<&str>, call: &Call) -> Result<Here, Trouble> {
    let _in_hand = hands_off();
    let cannot_open = |why: OpenError| Trouble::cannot_open(db, &why);
    if !call.changes && db.metadata().map_or(true, |data| data.len() == 0) {
        let why = if db.exists() { "it is empty" } else { "there is no such file" };
        return Err(Trouble::unreachable(format!("cannot open {}: {why}", db.display())));
    }
    let _ours = match companion::take(db).map_err(cannot_open)? {
        TakeResult::ServedBy(server) => return Ok(Here::Server(server)),
        TakeResult::Taken(possession) => possession,
    };
    let options = Options { changes_nothing: !call.changes, ..Options::default() };
    let store = Store::open(db, &options).map_err(cannot_open)?;
    let app = App::new(store, Settings::default());
    let mut call = call.saying(Duration::ZERO); // who waited here would keep the file from whoever has the lock
    call.headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
    let headers: Vec<_> = call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = app.answer_local(call.method, &call.target, &headers, call.body.clone());
    app.store().close();
    Ok(Here::Answer(Answer { status: answer.status, body: read(&answer.body) }))
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).ok().filter(Value::is_object).unwrap_or(Value::Null)
}

fn ask(base: &str, token: Option<&str>, call: &Call, wait: Duration, time: &Time) -> Result<Answer, Silence> {
    let call = Call { within: time.left(), ..call.saying(wait) };
    words(send(base, token, &call)?)
}

/// An answer in our words, read to its end.
fn words(mut answer: Response) -> Result<Answer, Silence> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
    let body = read(&body.map_err(|error| Silence::Lost(error.to_string()))?);
    if body["code"] == status || status == NO_CONTENT {
        Ok(Answer { status, body })
    } else {
        Err(Silence::Strange(status))
    }
}

type Response = ureq::http::Response<ureq::Body>;

/// Asks a server. No proxy and no redirect: an access token goes where it was told to go, or nowhere.
fn send(base: &str, token: Option<&str>, call: &Call) -> Result<Response, Silence> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIME))
        .timeout_recv_response(Some(call.patience))
        .timeout_recv_body(Some(call.patience))
        .timeout_global(call.within)
        .build()
        .new_agent();
    let mut request = ureq::http::Request::builder().method(call.method).uri(format!("{base}{}", call.target));
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let has_no_body = matches!(call.method, "GET" | "DELETE"); // the others say its length, 0 too
    let answer = if has_no_body {
        request.body(()).map_err(ureq::Error::from).and_then(|request| agent.run(request))
    } else {
        request.body(call.body.as_slice()).map_err(ureq::Error::from).and_then(|request| agent.run(request))
    };
    answer.map_err(Silence::from)
}

/// What came of asking for a file.
pub enum Download {
    /// All of it is written.
    Whole,
    /// Whoever takes it takes no more.
    Unwanted(io::Error),
    /// Something else was said.
    Said(Answer),
}

/// Has a server's file of that type sent, and writes it there as it comes.
pub fn download(
    base: &str,
    token: Option<&str>,
    call: &Call,
    content_type: &str,
    out: &mut dyn Write,
) -> Result<Download, Trouble> {
    let mut answer = send(base, token, call).map_err(|silence| silence.of(base))?;
    if answer.headers().get("content-type").is_none_or(|sent| sent != content_type) {
        return words(answer).map(Download::Said).map_err(|silence| silence.of(base));
    }
    let mut bytes = answer.body_mut().as_reader();
    let mut piece = vec![0; PIECE];
    loop {
        match bytes.read(&mut piece) {
            Ok(0) => return Ok(Download::Whole),
            Ok(count) => {
                if let Err(error) = out.write_all(&piece[..count]) {
                    return Ok(Download::Unwanted(error));
                }
            }
            Err(error) => return Err(Silence::Lost(format!("it broke off: {error}")).of(base)),
        }
    }
}

impl From<ureq::Error> for Silence {
    fn from(error: ureq::Error) -> Silence {
        use ureq::Error::*;
        match &error {
            Http(_) | BadUri(_) => Silence::Unsendable(error.to_string()),
            Io(io) if io.kind() == ErrorKind::ConnectionRefused => Silence::NotReached("connection refused".to_owned()),
            HostNotFound | ConnectionFailed | Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Silence::NotReached(error.to_string())
            }
            _ => Silence::Lost(error.to_string()),
        }
    }
}

impl Silence {
    fn of(self, url: &str) -> Trouble {
        match self {
            Silence::NotReached(why) => Trouble::unreachable(format!("cannot reach {url}: {why}")),
            Silence::Lost(why) => Trouble::unreachable(format!("no answer from {url}: {why}")),
            Silence::Strange(status) => {
                Trouble::unreachable(format!("{url} answers {status}, and not in the words of cashbox"))
            }
            Silence::Unsendable(why) => Trouble::usage(format!("this cannot be sent to {url}: {why}")),
        }
    }
}
