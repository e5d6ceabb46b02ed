//! The one table of routes, and how a request is answered: its route is found, its caller authenticated, its fields
//! read, its handler called. A route that is added here is described in `openapi/mod.rs`.

use super::auth::{self, Access, Caller};
use super::common_headers::CommonHeaders;
use super::conn::{
    Admission, Answer, BodyMemory, Fault, HttpRequest, Presence, RequestHead, Response, ResponseSender, Service,
};
#[cfg(feature = "cli")]
use super::console;
use super::endpoint::{Handler, Route, matches, raw_params};
use super::fields::has_whole_escapes;
use super::request::{self, Context, HandlerResult, LIST, Submission};
use super::response::{self, Language};
use super::state::{AppState, BODY_MAX, RequestCounts, Settings};
use super::{
    batch, coupons, dry_run, entries, events, files, health, holds, journal, locks, problem_pages, problems, report,
    settings, test_routes, tokens, wallets,
};
use crate::error::{Error, ErrorName};
use crate::store::test_control::ClockMove;
use crate::store::{CommitHook, Outcome, Store};
use crate::test_mode::{SnapshotJson, is_beside};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use Access::*;

/// All routes. If two match a path, the first is meant.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    Route::get("/wallet", See, wallets::OWN_QUERY, "the caller's wallet", wallets::own),
    Route::command("POST", "/wallet", Move, wallets::OWN_MOVE, "recharge it", wallets::recharge_own).with_query(wallets::OWN_MOVE_QUERY),
    Route::command("PUT", "/wallet", Move, wallets::OWN_MOVE, "withdraw from it", wallets::withdraw_own).with_query(wallets::OWN_MOVE_QUERY),

    Route::get("/v1/me", Known, &[], "the caller: its role and its access token", tokens::me),

    Route::get("/v1/wallets", SeeAll, wallets::WALLETS, "all wallets", wallets::list).with_types(files::TABLE_TYPES),
    Route::get("/v1/wallets/{user}", See, wallets::AS_OF, "one wallet", wallets::one),
    Route::command("POST", "/v1/wallets/{user}", Staff, &[], "a wallet without money", settings::create).with_status(201),
    Route::command("PATCH", "/v1/wallets/{user}", Staff, settings::SETTINGS, "its name, status, metadata and limits", settings::set),
    Route::command("POST", "/v1/wallets/{user}/recharge", Move, wallets::RECHARGE, "money into a wallet; earns coupons", wallets::recharge).with_query(dry_run::QUERY),
    Route::command("POST", "/v1/wallets/{user}/withdraw", Move, wallets::RECHARGE, "money out of a wallet", wallets::withdraw).with_query(dry_run::QUERY),
    Route::command("POST", "/v1/wallets/{user}/pay", Move, wallets::PAY, "money for something bought", wallets::pay).with_query(dry_run::QUERY),
    Route::command("POST", "/v1/wallets/{user}/transfer", Move, wallets::TRANSFER, "money to another wallet", wallets::transfer).with_query(dry_run::QUERY),
    Route::get("/v1/wallets/{user}/entries", See, entries::LIST, "the entries of a wallet", entries::entries_of_wallet).with_types(files::TABLE_TYPES),
    Route::get("/v1/wallets/{user}/coupons", See, LIST, "the coupons of a user", coupons::of_user).with_types(files::TABLE_TYPES),
    Route::change("POST", "/v1/wallets/{user}/coupons", Staff, coupons::GRANT, "grant a coupon", coupons::grant),
    Route::change("POST", "/v1/wallets/{user}/coupons/claim", Move, coupons::CLAIM, "a coupon for a claim code", coupons::claim).with_query(dry_run::QUERY),

    Route::get("/v1/wallets/{user}/holds", See, holds::LIST_OF_WALLET, "the holds on a wallet", holds::of_wallet).with_types(files::TABLE_TYPES),
    Route::command("POST", "/v1/wallets/{user}/holds", Staff, holds::PLACE, "reserve money for a receiver", holds::place).with_status(201).with_query(dry_run::QUERY),

    Route::get("/v1/holds", SeeAll, holds::LIST, "all holds", holds::list).with_types(files::TABLE_TYPES),
    Route::get("/v1/holds/{id}", See, &[], "one hold", holds::one),
    Route::command("POST", "/v1/holds/{id}/capture", Staff, holds::CAPTURE, "reserved money to its receiver", holds::capture).with_query(dry_run::QUERY),
    Route::command("POST", "/v1/holds/{id}/void", Staff, holds::VOID, "reserved money back", holds::void).with_query(dry_run::QUERY),

    Route::get("/v1/entries", SeeAll, entries::LIST_OF_ALL, "all entries", entries::entries).with_types(files::TABLE_TYPES),
    Route::get("/v1/events", See, events::QUERY, "entries as they are made: text/event-stream", events::stream).with_types(events::TYPES),
    Route::get("/v1/entries/{id}", See, &[], "one entry", entries::entry),
    Route::command("POST", "/v1/entries/{id}/refund", Staff, wallets::REFUND, "an entry's money back", wallets::refund).with_query(dry_run::QUERY),

    Route::get("/v1/report", SeeAll, report::QUERY, "counts and sums by kind for each period", report::report),

    Route::get("/v1/coupons", SeeAll, coupons::COUPONS, "all coupons", coupons::list).with_types(files::TABLE_TYPES),
    Route::get("/v1/coupons/{code}", See, &[], "one coupon", coupons::one),
    Route::get("/v1/coupons/{code}/quote", See, coupons::QUOTE, "what a payment would cost with it", coupons::quote),
    Route::get("/v1/tiers", SeeAll, &[], "the recharge tiers", coupons::tiers),
    Route::change("PUT", "/v1/tiers", Admin, coupons::TIERS, "other recharge tiers", coupons::set_tiers),
    Route::get("/v1/coupon-kinds", SeeAll, &[], "the coupon kinds", coupons::kinds),
    Route::change("PUT", "/v1/coupon-kinds", Admin, coupons::KINDS, "other coupon kinds", coupons::set_kinds),

    Route::batch("/v1/batch", Move, "many money verbs at once", batch::batch).with_query(batch::QUERY),

    Route::get("/v1/locks", SeeLocks, locks::LIST, "locks that are held", locks::list),
    Route::command("POST", "/v1/locks", TakeLocks, locks::ACQUIRE_SEVERAL, "acquire several locks, all or none", locks::acquire_several).with_status(201),
    Route::command("PATCH", "/v1/locks", TakeLocks, locks::RENEW, "renew all that were acquired together", locks::renew_several),
    Route::command("DELETE", "/v1/locks", TakeLocks, &[], "release all that were acquired together", locks::release_several).with_query(locks::RELEASE).with_status(204),
    Route::get("/v1/locks/{id...}/events", SeeLock, LIST, "what happened to a lock", locks::events),
    Route::change("POST", "/v1/locks/{id...}/revoke", Admin, locks::REVOKE, "take a lock from its holder", locks::revoke),
    Route::get("/v1/locks/{id...}", SeeLock, locks::WATCH, "one lock; with `fence` and `wait_ms`, when that lease has ended", locks::one),
    Route::command("POST", "/v1/locks/{id...}", TakeLock, locks::ACQUIRE, "acquire a lock", locks::acquire).with_status(201),
    Route::command("PATCH", "/v1/locks/{id...}", TakeLock, locks::RENEW, "renew a lease", locks::renew),
    Route::command("DELETE", "/v1/locks/{id...}", TakeLock, &[], "release a lock", locks::release).with_query(locks::RELEASE).with_status(204),

    Route::get("/v1/lock-events", SeeAll, LIST, "what happened to all locks", locks::all_events),

    Route::get("/v1/journal", Audit, journal::LIST, "every change that is not a movement of money", journal::list).with_types(files::TABLE_TYPES),

    Route::get("/v1/tokens", Admin, LIST, "access tokens, without their secrets", tokens::list),
    Route::change("POST", "/v1/tokens", Admin, tokens::MINT, "mint an access token", tokens::mint).with_status(201),
    Route::get("/v1/tokens/{id}", Admin, &[], "one access token, without its secret", tokens::one),
    Route::change("POST", "/v1/tokens/{id}/rotate", Admin, tokens::ROTATE, "give an access token another secret", tokens::rotate),
    Route::change("DELETE", "/v1/tokens/{id}", Admin, &[], "revoke an access token", tokens::revoke),

    Route::get("/v1/verify", Audit, files::VERIFY, "audit the file", files::verify),
    Route::get("/v1/backup", Admin, &[], "one moment of the file, audited: a database", files::backup).with_types(&["application/vnd.sqlite3"]),
    Route::get("/v1/export", Audit, files::EXPORT, "the ledger as records, or one table of it", files::export).with_types(&["application/x-ndjson", "text/csv"]),
    Route::get("/healthz", Anyone, &[], "whether it is alive and well", health::healthz),
    Route::get("/metrics", See, &[], "numbers for Prometheus", health::metrics).with_types(&["text/plain"]),
    Route::get("/problems/{name}", Anyone, &[], "what an error means, and what to do", problem_pages::page).with_types(problem_pages::TYPES),
    Route::get("/openapi.json", Anyone, &[], "the description of the API", openapi_json),
];

/// The requests for the console in the metrics, behind those of all routes.
#[cfg(feature = "cli")]
const CONSOLE_ROUTE: Option<(&str, &str)> = Some(("GET", console::FOLDER));
#[cfg(not(feature = "cli"))]
const CONSOLE_ROUTE: Option<(&str, &str)> = None;

/// The parts of each route's path, in the order of the routes.
type Patterns = Vec<Vec<&'static str>>;

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| patterns_of(ROUTES));
/// The same of the routes that only a server for tests has.
static TEST_PATTERNS: LazyLock<Patterns> = LazyLock::new(|| patterns_of(test_routes::ROUTES));

fn patterns_of(routes: &[Route]) -> Patterns {
    routes.iter().map(|route| route.path.split('/').skip(1).collect()).collect()
}

/// The index of a request's route, and the values of the path's `{…}`.
pub fn find(method: &str, path: &str) -> Result<(usize, Vec<String>), Error> {
    find_in(ROUTES, &PATTERNS, method, path)
}

fn find_in(
    routes: &'static [Route],
    patterns: &Patterns,
    method: &str,
    path: &str,
) -> Result<(usize, Vec<String>), Error> {
    let method = if method == "HEAD" { "GET" } else { method };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    // The first pattern that the path matches is meant, whatever the method: `/revoke` is never a part of an id.
    let first = patterns.iter().position(|pattern| matches(pattern, &segments)).ok_or_else(not_found)?;
    let params = raw_params(&patterns[first], &segments);
    if params.iter().any(String::is_empty) {
        return Err(not_found());
    }
    let same_path = || routes.iter().enumerate().filter(|(_, route)| route.path == routes[first].path);
    let Some((index, _)) = same_path().find(|(_, route)| route.method == method) else {
        return Err(method_not_allowed(same_path().map(|(_, route)| route.method).collect()));
    };
    if !params.iter().all(|param| has_whole_escapes(param)) {
        return Err(Error::invalid("the path has a % without two hexadecimal digits behind it: write %25 for a %"));
    }
    let params: Option<Vec<String>> = params.iter().map(|param| decode(param)).collect();
    Ok((index, params.ok_or_else(|| Error::invalid("the path is not UTF-8 under its percent signs"))?))
}

fn not_found() -> Error {
    Error::new(ErrorName::NotFound, "there is nothing at this path; GET /openapi.json lists all paths")
}

fn method_not_allowed(mut methods: Vec<&str>) -> Error {
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.sort_unstable();
    let allow = methods.join(", ");
    Error::new(ErrorName::MethodNotAllowed, format!("this path takes {allow}")).with("allow", allow)
}

fn decode(param: &str) -> Option<String> {
    Some(percent_encoding::percent_decode_str(param).decode_utf8().ok()?.into_owned())
}

/// The description of the API, OpenAPI 3.1. The tests of `openapi` make it. The program carries it compressed.
#[cfg(feature = "cli")]
pub(crate) fn openapi_document() -> String {
    let compressed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz"));
    std::io::read_to_string(flate2::read::GzDecoder::new(compressed)).expect("the build script compressed a text")
}

#[cfg(not(feature = "cli"))]
fn openapi_document() -> String {
    include_str!("openapi/openapi.json").to_owned()
}

/// `GET /openapi.json`
fn openapi_json(_: &mut Context<'_>) -> HandlerResult {
    Ok(response::bytes(200, "application/json", openapi_document().into()))
}

/// Answers requests with a store.
pub struct App(AppState);

/// A response to a request that came from no socket.
#[derive(Clone, Debug)]
pub struct LocalResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl App {
    /// Serves this store.
    pub fn new(store: impl Into<Arc<Store>>, settings: Settings) -> App {
        App(AppState::new(
            store.into(),
            settings,
            ROUTES.iter().map(|route| (route.method, route.path)).chain(CONSOLE_ROUTE),
        ))
    }

    /// Ends all waiting for locks with the error `busy`: this server stops, and the store goes on.
    pub fn end_waiting(&self) {
        self.0.ends_waiting.store(true, Relaxed);
        self.0.store.drop_disconnected();
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Answers without a socket. The caller is the one of an `Authorization` among the headers, else `@local`, an admin.
    /// `target` is path and query, percent-encoded.
    pub fn answer_local(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> LocalResponse {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut head = RequestHead::new(method, path, query);
        headers.iter().for_each(|(name, value)| head.push_header(name, value));
        let is_authorized = head.header("authorization").is_some();
        let request = HttpRequest { head, body, presence: Presence::always(), later: None };
        let authenticate =
            |head: &RequestHead| if is_authorized { self.authenticate(head) } else { Ok(Caller::local()) };
        let Answer::Now(Response { status, headers, body, .. }) = self.handle(request, authenticate, None) else {
            unreachable!("a request without a sender is answered at once");
        };
        LocalResponse { status, headers, body: response::whole_body(body) }
    }

    /// Finds the route, authenticates the caller, reads the fields, calls the route's handler, and submits its command.
    fn handle(
        &self,
        mut request: HttpRequest,
        authenticate: impl FnOnce(&RequestHead) -> Result<Arc<Caller>, Error>,
        at_commit: Option<Arc<dyn CommitHook>>,
    ) -> Answer {
        let later = request.later.take();
        let mut facts = RequestFacts::of(&request.head, &self.0);
        #[cfg(feature = "cli")]
        if let Some(place) = self.console_place(&request.head) {
            facts.route = Some(ROUTES.len());
            let is_read = matches!(request.head.method.as_str(), "GET" | "HEAD");
            let read = is_read.then(|| place.response(&request.head)).ok_or_else(|| method_not_allowed(vec!["GET"]));
            return facts.finish(read, false).into();
        }
        let found = self.find(&request.head.method, &request.head.path);
        facts.route = found.as_ref().ok().and_then(|found| found.index);
        facts.is_counted = found.as_ref().map_or(true, |found| found.index.is_some());
        let mut replayed = false;
        let handled = found.and_then(|FoundRoute { route, params, .. }| {
            let caller = allowed_caller(route, || authenticate(&request.head))?;
            let language = facts.language;
            // Before anything is done: an answer that the client cannot read would come after the fact.
            let media_type = match route.status {
                204 => request::JSON, // without a body
                _ => request::negotiate(&request.head, route.types)?,
            };
            let mut context = Context::read(&self.0, &request, caller, params, language, route.query, route.fields())?;
            context.media_type = media_type;
            context.at_commit = at_commit;
            facts.dry_run = context.dry_run;
            Ok(match route.handler {
                Handler::Responds(handler) => {
                    let handled = handler(&mut context);
                    replayed = context.replayed.get();
                    Handled::Response(handled?)
                }
                Handler::Submits(handler) => Handled::Submission(Box::new((handler(&mut context)?, context.caller))),
            })
        });
        match handled {
            Ok(Handled::Submission(submitted)) => self.submit(*submitted, facts, later),
            Ok(Handled::Response(response)) => facts.finish(Ok(response), replayed).into(),
            Err(error) => facts.finish(Err(error), replayed).into(),
        }
    }

    /// The route of a request, one of a server for tests among them if this is one.
    fn find(&self, method: &str, path: &str) -> Result<FoundRoute, Error> {
        if self.0.settings.test.is_some() && path.starts_with("/test") && is_beside(path) {
            let (index, params) = find_in(test_routes::ROUTES, &TEST_PATTERNS, method, path)?;
            return Ok(FoundRoute { route: &test_routes::ROUTES[index], index: None, params });
        }
        let (index, params) = find(method, path)?;
        Ok(FoundRoute { route: &ROUTES[index], index: Some(index), params })
    }

    /// Submits a command. Its response is sent by the thread that carried it out, if the connection allows that.
    fn submit(
        &self,
        (submission, caller): (Submission, Arc<Caller>),
        facts: RequestFacts,
        later: Option<ResponseSender>,
    ) -> Answer {
        let Submission { envelope, command, respond, marks_replayed } = submission;
        let respond = move |outcome: Outcome| {
            let replayed = outcome.replayed && marks_replayed;
            let handled = respond(outcome, &caller, facts.language);
            facts.finish(handled, replayed)
        };
        let Some(later) = later else { return respond(self.0.store.submit_untyped(envelope, command)).into() };
        self.0.store.submit_later(envelope, command, Box::new(move |outcome| later.send(respond(outcome))));
        Answer::Later
    }

    /// The place in the console that a request means, if this server has the console.
    #[cfg(feature = "cli")]
    fn console_place(&self, head: &RequestHead) -> Option<console::Place> {
        self.0.settings.console.then(|| console::place(head)).flatten()
    }

    /// The response to a request that is refused before it is routed.
    pub(super) fn refused(&self, error: Error, head: Option<&RequestHead>) -> Response {
        self.0.counts.add_refused(error.name.status());
        let common = CommonHeaders::of(&self.0, head);
        let language = head.map_or(Language::En, language);
        let mut response = problem(error, language, head.is_some_and(has_token), &common.request_id);
        common.add_to(&mut response);
        response
    }

    /// Shows the number of connections in the metrics.
    pub(crate) fn watch_connections(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.0.connections.set(Box::new(count)); // the first server's
    }

    /// The methods of a path; for a preflight of an allowed origin also what it may send.
    fn options(&self, head: &RequestHead) -> Response {
        let Err(refused) = self.find("OPTIONS", &head.path) else { unreachable!("no route has the method OPTIONS") };
        #[cfg(feature = "cli")]
        let refused = self.console_place(head).map_or(refused, |_| method_not_allowed(vec!["GET"]));
        let allow = refused.facts.iter().find(|(fact, _)| fact == "allow").and_then(|(_, allow)| allow.as_str());
        let Some(allow) = allow else { return self.refused(refused, Some(head)) };
        let common = CommonHeaders::of(&self.0, Some(head));
        let mut response = response::no_content();
        response.headers.push(("Allow", allow.to_owned()));
        common.add_preflight(head, allow, &mut response);
        common.add_to(&mut response);
        response
    }

    /// Answers a request that came from a socket.
    pub(super) fn answer_request(&self, request: HttpRequest, at_commit: Option<Arc<dyn CommitHook>>) -> Answer {
        if let Err(error) = self.check_origin(&request.head) {
            return self.refused(error, Some(&request.head)).into();
        }
        if request.head.method == "OPTIONS" {
            return self.options(&request.head).into();
        }
        self.handle(request, |head| self.authenticate(head), at_commit)
    }

    /// As [`AppState::move_clock`].
    pub(crate) fn move_clock(&self, by: ClockMove) -> Result<(), Error> {
        self.0.move_clock(by)
    }

    /// As [`AppState::reset_test`].
    pub(crate) fn reset_test(&self) -> Result<(), Error> {
        self.0.reset_test()
    }

    /// As [`AppState::keep_state`].
    pub(crate) fn keep_state(&self, name: &str) -> Result<SnapshotJson, Error> {
        self.0.keep_state(name)
    }

    /// As [`AppState::restore_state`].
    pub(crate) fn restore_state(&self, name: &str) -> Result<SnapshotJson, Error> {
        self.0.restore_state(name)
    }

    /// Lets all requests go on that stand still: this server stops.
    pub(crate) fn end_pauses(&self) {
        self.0.settings.test.iter().for_each(|test| test.stop_no_more());
    }

    fn check_origin(&self, head: &RequestHead) -> Result<(), Error> {
        auth::check_origin(head, &self.0.settings.hosts, &self.0.settings.allowed_origins)
    }

    pub(super) fn authenticate(&self, head: &RequestHead) -> Result<Arc<Caller>, Error> {
        self.0.tokens.caller(&self.0.store, head)
    }
}

/// The route of a request.
struct FoundRoute {
    route: &'static Route,
    /// Its place among those that are counted.
    index: Option<usize>,
    /// The values of the path's `{…}`.
    params: Vec<String>,
}

/// The result of a handler.
enum Handled {
    Response(Response),
    Submission(Box<(Submission, Arc<Caller>)>),
}

/// The facts of a request that its response needs, wherever it is made.
struct RequestFacts {
    counts: Arc<RequestCounts>,
    /// The index of its route. None: no route takes it.
    route: Option<usize>,
    /// False for the controls of a server for tests.
    is_counted: bool,
    started: Instant,
    language: Language,
    has_token: bool,
    common: CommonHeaders,
    msg_if_unreadable: Option<&'static str>,
    /// The command is only tried.
    dry_run: bool,
}

impl RequestFacts {
    fn of(head: &RequestHead, app: &AppState) -> RequestFacts {
        let language = language(head);
        let msg_if_unreadable = wallets::msg_if_unreadable(head, language);
        RequestFacts {
            counts: Arc::clone(&app.counts),
            route: None,
            is_counted: true,
            started: Instant::now(),
            language,
            has_token: has_token(head),
            common: CommonHeaders::of(app, Some(head)),
            msg_if_unreadable,
            dry_run: false,
        }
    }

    /// The response, counted.
    fn finish(self, mut handled: HandlerResult, replayed: bool) -> Response {
        if self.dry_run {
            let marked = handled.map(|response| dry_run::mark(response, replayed));
            handled = marked.map_err(|error| error.with(dry_run::DRY_RUN.name, true));
        }
        let mut response = handled.unwrap_or_else(|error| {
            let msg = self.msg_if_unreadable.filter(|_| wallets::is_unreadable(&error));
            let error = if let Some(msg) = msg { error.with("msg", msg) } else { error };
            problem(error, self.language, self.has_token, &self.common.request_id)
        });
        response::mark_replayed(&mut response, replayed);
        self.common.add_to(&mut response);
        if self.is_counted {
            self.counts.add(self.route, response.status, self.started.elapsed());
        }
        response
    }
}

/// An error as a response. One that no client can cause goes to the log as well.
fn problem(error: Error, language: Language, has_token: bool, request_id: &str) -> Response {
    if error.is_internal() {
        crate::log::error("a request failed", &format_args!("{error} (X-Request-Id {request_id})"));
    }
    problems::response(error, language, has_token)
}

/// True if the client sent an access token, or meant to.
fn has_token(head: &RequestHead) -> bool {
    head.header("authorization").is_some()
}

/// The caller of a route, if the route is for its role.
fn allowed_caller(
    route: &Route,
    authenticate: impl FnOnce() -> Result<Arc<Caller>, Error>,
) -> Result<Arc<Caller>, Error> {
    let caller = if route.access == Anyone { Caller::local() } else { authenticate()? };
    route.access.check(&caller)?;
    Ok(caller)
}

/// `Accept-Language` picks; without it `/wallet` is answered in Chinese and everything else in English.
pub fn language(head: &RequestHead) -> Language {
    let default = if head.path == wallets::OWN_PATH { Language::Zh } else { Language::En };
    request::wanted_language(head.headers("accept-language"), default)
}

impl Service for App {
    /// A small body is read before anything is checked, so that a refusal leaves the connection open. A large one, one
    /// in chunks that may become large, or one that waits for `100 Continue`, is admitted only if its caller may send it.
    fn admit(&self, head: &RequestHead) -> Result<Admission, Response> {
        let is_large = if head.chunked {
            self.find(&head.method, &head.path).is_ok_and(|found| found.route.body_max() > BODY_MAX)
        } else {
            head.content_length > BODY_MAX
        };
        if !is_large && head.header("expect").is_none() {
            return Ok(Admission { body_max: BODY_MAX, reserved: None });
        }
        let admitted = self.check_origin(head).and_then(|()| {
            let route = self.find(&head.method, &head.path)?.route;
            let caller = allowed_caller(route, || self.authenticate(head))?;
            let body_max = route.body_max();
            let reserve = || self.0.large_bodies.reserve(&caller.by, head.content_length);
            let reserved = (is_large && head.content_length <= body_max).then(reserve).transpose()?;
            Ok(Admission { body_max, reserved: reserved.map(|bytes| Box::new(bytes) as Box<dyn BodyMemory>) })
        });
        admitted.map_err(|error| self.refused(error, Some(head)))
    }

    fn answer(&self, request: HttpRequest) -> Answer {
        match &self.0.settings.test {
            Some(test) if !is_beside(&request.head.path) => self.answer_tested(test, request),
            _ => self.answer_request(request, None),
        }
    }

    fn fault(&self, fault: Fault, head: Option<&RequestHead>) -> Response {
        self.refused(problems::of_fault(fault), head)
    }
}
