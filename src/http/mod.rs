//! The HTTP face: requests become commands and questions, receipts become answers.
//!
//! In reading order: [`conn`] (connections: nothing of wallets), [`auth`] (who may come in), [`route`] (the one table),
//! [`request`] and [`fields`] (what was said), a file per resource, [`problem`] (the only file with error statuses).
//! Has no opinion about money and never touches SQL.

pub mod auth;
mod batch;
pub mod conn;
mod coupons;
mod endpoint;
mod fields;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod large;
mod list;
mod locks;
mod look;
mod metrics;
mod money;
mod openapi;
pub mod problem;
mod reply;
mod request;
pub mod route;
mod show;
pub mod stream;
pub mod system;
mod tokens;
mod wallet;
mod words;

use crate::error::{Error, ErrorName};
use crate::store::Store;
use auth::{Caller, Tokens};
use conn::{Admission, Fault, HttpRequest, Presence, RequestHead, Response, Service};
use fields::Fields;
use file::Reading;
use large::LargeBodies;
use metrics::Metrics;
use request::{Context, Failure};
use route::{Body, ROUTES};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use words::Language;

/// How requests are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// No access tokens: every caller is an admin.
    pub open: bool,
    /// Names this machine is known by, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Whether the role `user` may recharge its own wallet.
    pub self_recharge: bool,
    /// The token of this run, for commands on this machine: its bearer is `@local`, an admin.
    pub run_token: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { open: false, hosts: Vec::new(), self_recharge: true, run_token: None }
    }
}

/// The program behind the socket.
pub struct App {
    store: Arc<Store>,
    settings: Settings,
    tokens: Tokens,
    metrics: Metrics,
    large_bodies: LargeBodies,
    reading: Reading,
    /// Whether requests that wait for locks are let go, as if their clients had disconnected.
    ends_waiting: Arc<AtomicBool>,
}

/// An answer to a request that came from no socket.
#[derive(Clone, Debug)]
pub struct LocalAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl App {
    /// The program on this store.
    pub fn new(store: impl Into<Arc<Store>>, settings: Settings) -> App {
        let tokens = Tokens::new(settings.open, settings.run_token.as_deref());
        App {
            store: store.into(),
            settings,
            tokens,
            metrics: Metrics::new(ROUTES),
            large_bodies: LargeBodies::default(),
            reading: Reading::default(),
            ends_waiting: Arc::default(),
        }
    }

    /// Lets requests that wait for locks go with the error `busy`: this server stops, and the store goes on.
    pub fn end_waiting(&self) {
        self.ends_waiting.store(true, Relaxed);
        self.store.drop_disconnected();
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How requests are taken.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers without a socket whoever an `Authorization` among the headers says, else `@local`, an admin. `target` is path
    /// and query, percent-encoded.
    pub fn answer_local(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> LocalAnswer {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut head = RequestHead::new(method, path, query);
        headers.iter().for_each(|(name, value)| head.push_header(name, value));
        let request = HttpRequest { head, body, presence: Presence::always() };
        let caller = |head: &RequestHead| {
            if head.header("authorization").is_some() { self.enter(head) } else { Ok(Caller::local()) }
        };
        let answer = self.handle(&request, caller);
        let body = match answer.body {
            conn::Body::Bytes(bytes) => bytes,
            conn::Body::Stream(mut stream) => {
                let mut bytes = Vec::new();
                if let Err(error) = std::io::Read::read_to_end(&mut stream, &mut bytes) {
                    crate::log::error("a list could not be read to its end", &error);
                }
                bytes
            }
        };
        LocalAnswer { status: answer.status, headers: answer.headers, body }
    }

    /// Finds the route, asks who calls, reads the fields and has the route's handler answer.
    fn handle(&self, request: &HttpRequest, caller: impl FnOnce(&RequestHead) -> Result<Caller, Error>) -> Response {
        let started = Instant::now();
        let (language, found) = (language(&request.head), route::find(&request.head.method, &request.head.path));
        let number = found.as_ref().ok().map(|(number, _)| *number);
        let handled = found.map_err(Failure::from).and_then(|(number, params)| {
            let route = &ROUTES[number];
            let caller = if route.access == auth::Access::Anyone { Caller::local() } else { caller(&request.head)? };
            route.access.check(&caller)?;
            let mut context = self.context(request, caller, params, language, &route.body)?;
            context.query.check(route.query)?;
            if let Body::None | Body::Fields(_) = route.body {
                context.fields.check(if let Body::Fields(fields) = route.body { fields } else { &[] })?;
            }
            (route.handler)(&mut context)
        });
        let answer = handled.unwrap_or_else(|mut failure| {
            if let Some(msg) = wallet::unreadable(&request.head, &failure.error, language) {
                failure.error = failure.error.with("msg", msg);
            }
            refuse(failure, language)
        });
        self.metrics.count(number, answer.status, started.elapsed());
        answer
    }

    fn context<'a>(
        &'a self,
        request: &'a HttpRequest,
        caller: Caller,
        params: Vec<String>,
        language: Language,
        body: &Body,
    ) -> Result<Context<'a>, Error> {
        let head = &request.head;
        let fields = match body {
            Body::Batch => Fields::default(),
            Body::None | Body::Fields(_) => request::fields(head, &request.body)?,
        };
        let (presence, ends_waiting) = (request.presence.clone(), Arc::clone(&self.ends_waiting));
        Ok(Context {
            app: self,
            caller,
            head,
            params,
            query: Fields::from_form(head.query.as_deref().unwrap_or_default().as_bytes())?,
            fields,
            body: &request.body,
            language,
            alive: Some(Arc::new(move || !ends_waiting.load(Relaxed) && presence.is_connected())),
        })
    }

    /// Who may come in at all, and as whom.
    fn enter(&self, head: &RequestHead) -> Result<Caller, Error> {
        self.tokens.caller(&self.store, head)
    }
}

/// `Accept-Language` picks; without it `/wallet` speaks Chinese and everything else English.
fn language(head: &RequestHead) -> Language {
    let usual = if head.path == wallet::PATH { wallet::LANGUAGE } else { Language::En };
    Language::wanted(head.headers("accept-language"), usual)
}

fn refuse(failure: Failure, language: Language) -> Response {
    let Failure { error, replayed } = failure;
    if error.is_ours() {
        crate::log::error("a request failed", &error);
    }
    let mut answer = problem::answer(&error, language);
    if replayed {
        answer.headers.push(request::replayed());
    }
    answer
}

impl Service for App {
    /// A small body is read before anything is asked, so that its refusal leaves the connection open. A large one, or
    /// one that waits for our word, has to come from somebody who may send it.
    fn admit(&self, head: &RequestHead) -> Result<Admission, Response> {
        if head.content_length <= route::BODY_MAX && head.header("expect").is_none() {
            return Ok(Admission { body_max: route::BODY_MAX, reserved: None });
        }
        let admitted = auth::check_origin(head, &self.settings.hosts).and_then(|()| {
            let (number, _) = route::find(&head.method, &head.path)?;
            let route = &ROUTES[number];
            let caller = if route.access == auth::Access::Anyone { Caller::local() } else { self.enter(head)? };
            route.access.check(&caller)?;
            let body_max = route.body_max();
            let is_large = head.content_length > route::BODY_MAX && head.content_length <= body_max;
            let place = is_large.then(|| self.large_bodies.enter(&caller.by, head.content_length)).transpose()?;
            Ok(Admission { body_max, reserved: place.map(|place| Box::new(place) as Box<dyn Send>) })
        });
        admitted.map_err(|error| refuse(error.into(), language(head)))
    }

    fn answer(&self, request: HttpRequest) -> Response {
        if let Err(error) = auth::check_origin(&request.head, &self.settings.hosts) {
            return refuse(error.into(), language(&request.head));
        }
        self.handle(&request, |head| self.enter(head))
    }

    fn fault(&self, fault: Fault, head: Option<&RequestHead>) -> Response {
        problem::answer(&fault_error(fault), head.map_or(Language::En, language))
    }
}

fn fault_error(fault: Fault) -> Error {
    match fault {
        Fault::BadRequest(sentence) => Error::invalid(sentence),
        Fault::HeadTimeout => Error::new(ErrorName::RequestTimeout, "the request head did not come whole in time"),
        Fault::BodyTimeout => Error::new(ErrorName::RequestTimeout, "the body did not come whole in time"),
        Fault::HeadTooLarge(sentence) => Error::new(ErrorName::HeadersTooLarge, sentence),
        Fault::BodyTooLarge { limit } => {
            Error::new(ErrorName::BodyTooLarge, format!("a body here has at most {limit} bytes")).with("limit", limit)
        }
        Fault::TransferEncoding => Error::new(
            ErrorName::NotImplemented,
            "a request body is sent with a Content-Length, not with a Transfer-Encoding",
        ),
        Fault::Version => Error::new(ErrorName::HttpVersion, "HTTP/1.1 and HTTP/1.0 are spoken here"),
        Fault::TooManyConnections => Error::new(ErrorName::Busy, "too many connections; try again shortly"),
        Fault::ShuttingDown => Error::new(ErrorName::Busy, "shutting down"),
        Fault::Panic => Error::internal("a handler panicked"),
    }
}
