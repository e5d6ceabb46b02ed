//! A request that has been authenticated: its caller, its headers, its fields, and the page of a list it asks for.

use super::auth::Caller;
use super::conn::{HttpRequest, Presence, RequestHead, Response};
use super::dry_run::DRY_RUN;
use super::fields::{Field, Fields, ValueKind};
use super::response::{self, Language};
use super::state::AppState;
use crate::command::{Command, TypedCommand};
use crate::error::{Error, ErrorName};
use crate::id::{IdempotencyKey, LockToken, UserId, WalletId};
use crate::secret::hex;
use crate::store::{Alive, CommitHook, Envelope, Outcome};
use serde::Serialize;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The time a request waits for a lock by default, and at most, in seconds.
const WAIT_S: i64 = 10;
const WAIT_S_MAX: i64 = 30;

/// A request whose response is still to come.
pub struct Context<'a> {
    /// The state that all requests share.
    pub app: &'a AppState,
    /// The caller.
    pub caller: Arc<Caller>,
    /// The head as it came.
    pub head: &'a RequestHead,
    /// The values of the path's `{…}`, decoded, in order.
    pub params: Vec<String>,
    /// The fields of the query.
    pub query: Fields,
    /// The fields of the body, if the route takes fields.
    pub fields: Fields,
    /// The body itself, for a handler that reads it.
    pub body: &'a [u8],
    /// The language of `msg`.
    pub language: Language,
    /// The media type that the client wants, of those of the route.
    pub media_type: &'static str,
    presence: &'a Presence,
    /// Set if the answer is a repeat under an idempotency key.
    pub replayed: Cell<bool>,
    /// The command is only tried.
    pub dry_run: bool,
    /// Acts around the commit of its command.
    pub(super) at_commit: Option<Arc<dyn CommitHook>>,
}

/// The response of a handler.
pub(crate) type HandlerResult = Result<Response, Error>;

/// Makes the response from the outcome of a command, for its caller.
type MakeResponse = Box<dyn FnOnce(Outcome, &Caller, Language) -> HandlerResult + Send>;

/// A command to be submitted, and its response once it is carried out.
pub struct Submission {
    pub(super) envelope: Envelope,
    pub(super) command: Command,
    pub(super) respond: MakeResponse,
    /// False if a repeat is answered as the first request was.
    pub(super) marks_replayed: bool,
}

impl Submission {
    /// `respond` may run on any thread: it must not block, nor own the store.
    pub(super) fn new<C: TypedCommand>(
        envelope: Envelope,
        command: C,
        respond: impl FnOnce(C::Receipt, &Caller, Language) -> Response + Send + 'static,
    ) -> Submission {
        let respond: MakeResponse = Box::new(move |outcome, caller, language| {
            let receipt = outcome.typed::<C::Receipt>().result.map_err(|error| caller.without_holder(error))?;
            Ok(respond(receipt, caller, language))
        });
        Submission { envelope, command: command.into(), respond, marks_replayed: true }
    }

    /// Of a command about a lease, whose answer is not stored under a key.
    pub(super) fn without_replays(self) -> Submission {
        Submission { marks_replayed: false, ..self }
    }
}

impl<'a> Context<'a> {
    /// Reads the fields of the query and, unless the handler reads the body, those of the body. Fields that the route
    /// does not take are refused.
    pub fn read(
        app: &'a AppState,
        request: &'a HttpRequest,
        caller: Arc<Caller>,
        params: Vec<String>,
        language: Language,
        query_fields: &[Field],
        body_fields: Option<&[Field]>,
    ) -> Result<Context<'a>, Error> {
        let head = &request.head;
        let mut fields = match body_fields {
            Some(taken) => read_fields(head, &request.body, taken)?,
            None => Fields::default(),
        };
        let query = head.query.as_deref().map(|query| Fields::from_query(query, query_fields));
        let mut query = query.transpose()?.unwrap_or_default();
        query.check(query_fields)?;
        fields.check(body_fields.unwrap_or(&[]))?;
        let dry_run = query.flag(DRY_RUN.name)?;
        Ok(Context {
            app,
            caller,
            head,
            params,
            query,
            fields,
            body: &request.body,
            language,
            media_type: JSON,
            presence: &request.presence,
            replayed: Cell::new(false),
            dry_run,
            at_commit: None,
        })
    }

    /// The user in the path, who must be the caller's own for the role `user`.
    pub fn user(&self) -> Result<UserId, Error> {
        let user = UserId::parse(&self.params[0])?;
        self.caller.check_user(&user)?;
        Ok(user)
    }

    /// The wallet in the path of a question: a user's or, for roles that see everything, the system's.
    pub fn wallet(&self) -> Result<WalletId, Error> {
        let wallet = WalletId::parse(&self.params[0])?;
        self.caller.check_wallet(&wallet)?;
        Ok(wallet)
    }

    /// Caller, key, lock tokens and waiting time of a command.
    pub fn envelope(&self) -> Result<Envelope, Error> {
        Ok(Envelope { tokens: self.lock_tokens(), ..self.envelope_without_tokens()? })
    }

    fn envelope_without_tokens(&self) -> Result<Envelope, Error> {
        let mut keys = self.head.headers("idempotency-key").map(IdempotencyKey::parse);
        let key = keys.next().transpose()?;
        if keys.next().is_some() {
            return Err(Error::invalid("send one Idempotency-Key"));
        }
        let wait_ms = if self.dry_run { 0 } else { self.wait_s() * 1_000 };
        let Caller { by, token, .. } = &*self.caller;
        let (by, access_token) = (by.clone(), token.clone());
        let (alive, dry_run, at_commit) = (Some(self.connected()), self.dry_run, self.at_commit.clone());
        Ok(Envelope { by, access_token, key, tokens: Vec::new(), if_match: None, wait_ms, alive, dry_run, at_commit })
    }

    /// True if the request came from no socket: nothing may wait for its client.
    pub(crate) fn is_local(&self) -> bool {
        self.presence.is_local()
    }

    /// Tells whether the client is still connected.
    fn connected(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let (presence, ends_waiting) = (self.presence.clone(), Arc::clone(&self.app.ends_waiting));
        Arc::new(move || !ends_waiting.load(Relaxed) && presence.is_connected())
    }

    /// The same for a read that waits: it also ends when the contents of a server for tests are replaced.
    pub(crate) fn alive(&self) -> Alive {
        let connected = self.connected();
        let Some(test) = &self.app.settings.test else { return Some(connected) };
        let is_current = test.is_current();
        Some(Arc::new(move || is_current() && connected()))
    }

    /// The lock tokens presented, in one header or several, separated by commas. An empty header presents a token that
    /// proves nothing: its client meant to be protected by a lock, so the command must not go on without one.
    fn lock_tokens(&self) -> Vec<LockToken> {
        let lists = self.head.headers("lock-token");
        lists
            .flat_map(|list| {
                let is_empty = list.split(',').all(|text| text.trim().is_empty());
                list.split(',').map(str::trim).filter(move |text| is_empty || !text.is_empty())
            })
            .map(LockToken::presented)
            .collect()
    }

    /// The one lock token of a command about its lease.
    pub fn lease_token(&self) -> Result<LockToken, Error> {
        let mut tokens = self.lock_tokens();
        match (tokens.pop(), tokens.is_empty()) {
            (Some(token), true) => Ok(token),
            (Some(_), false) => Err(Error::invalid("send one lock token here")),
            (None, _) => Err(Error::new(ErrorName::LockTokenMissing, "send the token of the lease: Lock-Token: lk1.…")),
        }
    }

    /// The tag of `If-Match`. None: any state may be changed.
    pub(crate) fn if_match(&self) -> Option<String> {
        let sent = self.head.header("if-match").map(str::trim).filter(|sent| *sent != "*");
        sent.map(|sent| sent.trim_matches('"').to_owned())
    }

    /// Submits a command that replaces what has the tag of `If-Match`.
    pub(crate) fn submit_if_unchanged<C: TypedCommand>(&self, command: C) -> Result<C::Receipt, Error> {
        self.submit_in(Envelope { if_match: self.if_match(), ..self.envelope()? }, command)
    }

    /// `Prefer: wait=SECONDS`; a preference that cannot be read is ignored.
    fn wait_s(&self) -> i64 {
        let preferences = self.head.headers("prefer").flat_map(|list| list.split(','));
        let mut wait = preferences.filter_map(|one| {
            let (name, value) = one.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
        });
        wait.next().map_or(WAIT_S, |seconds| i64::from(seconds).min(WAIT_S_MAX))
    }

    /// True if the body of the response will not be sent: a copy need not be made for it.
    pub(crate) fn is_head(&self) -> bool {
        self.head.method == "HEAD"
    }

    /// Submits a command to the store.
    pub fn submit<C: TypedCommand>(&self, command: C) -> Result<C::Receipt, Error> {
        self.submit_in(self.envelope()?, command)
    }

    fn submit_in<C: TypedCommand>(&self, envelope: Envelope, command: C) -> Result<C::Receipt, Error> {
        let outcome = self.app.store.submit(envelope, command);
        self.replayed.set(outcome.replayed);
        outcome.result.map_err(|error| self.caller.without_holder(error))
    }

    /// The envelope of a command about the lease of the request's lock token: the token is not one it is done under, and
    /// the answer is not stored under a key.
    pub fn envelope_for_lease(&self) -> Result<Envelope, Error> {
        Ok(Envelope { key: None, ..self.envelope_without_tokens()? })
    }
}

/// The media type of most answers.
pub(crate) const JSON: &str = "application/json";

/// The one of the media types that the client wants most: by weight, then by its own order, then by theirs. An error if it
/// accepts none of them.
pub(crate) fn negotiate(head: &RequestHead, types: &[&'static str]) -> Result<&'static str, Error> {
    let sent = head.headers("accept").flat_map(|list| list.split(',')).map(weighed);
    let ranges: Vec<(&str, u32)> = sent.filter(|(range, _)| !range.is_empty()).collect();
    if ranges.is_empty() {
        return Ok(types[0]);
    }
    // The weight of a type is that of the range which names it most closely.
    let mut best: Option<(u32, usize, &'static str)> = None;
    for one in types {
        let matching = ranges.iter().enumerate().filter(|(_, (range, _))| closeness(range, one) > 0);
        let closest = matching.max_by_key(|(place, (range, _))| (closeness(range, one), Reverse(*place)));
        if let Some((place, (_, weight))) = closest
            && *weight > 0
            && best.is_none_or(|(most, first, _)| *weight > most || (*weight == most && place < first))
        {
            best = Some((*weight, place, one));
        }
    }
    best.map(|(_, _, one)| one).ok_or_else(|| {
        let detail = format!("this answer is {}; none of that is in Accept", types.join(" or "));
        Error::new(ErrorName::NotAcceptable, detail)
    })
}

/// 3 if the range is this media type, 2 if it is all of its kind, 1 if it is everything, 0 if it is another.
fn closeness(range: &str, media_type: &str) -> u8 {
    let kind = media_type.split('/').next().unwrap_or_default();
    match range.strip_suffix("/*") {
        None => 3 * u8::from(range.eq_ignore_ascii_case(media_type)),
        Some("*") => 1,
        Some(other) => 2 * u8::from(other.eq_ignore_ascii_case(kind)),
    }
}

/// The language of the two that the client wants most, by weight and then by order; `default` if it names neither, and the
/// other one if it refuses that.
pub(crate) fn wanted_language<'a>(accept_language: impl Iterator<Item = &'a str>, default: Language) -> Language {
    let mut best: Option<(u32, Language)> = None;
    let mut refuses_default = false;
    for item in accept_language.flat_map(|list| list.split(',')) {
        let (tag, weight) = weighed(item);
        let primary = tag.split('-').next().unwrap_or_default();
        let language = match () {
            () if primary.eq_ignore_ascii_case("zh") => Language::Zh,
            () if primary.eq_ignore_ascii_case("en") => Language::En,
            () => continue,
        };
        refuses_default |= weight == 0 && language == default;
        if weight > 0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    let other = if default == Language::Zh { Language::En } else { Language::Zh };
    best.map_or(if refuses_default { other } else { default }, |(_, language)| language)
}

/// The name and the weight, in thousandths, of an item of an `Accept` or `Accept-Language` list.
fn weighed(item: &str) -> (&str, u32) {
    let mut parts = item.split(';').map(str::trim);
    let named = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='));
    (named, weight.map_or(1_000, thousandths))
}

/// `0.8` as 800; a weight that cannot be read is 0.
fn thousandths(weight: &str) -> u32 {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let decimals: u32 = format!("{decimals:0<3}").get(..3).and_then(|three| three.parse().ok()).unwrap_or(0);
    if whole == "1" { 1_000 } else { decimals }
}

fn read_fields(head: &RequestHead, body: &[u8], taken: &[Field]) -> Result<Fields, Error> {
    if body.is_empty() {
        return Ok(Fields::default());
    }
    match media_type(head)?.as_str() {
        "application/json" => Fields::from_json(body),
        "application/x-www-form-urlencoded" => Fields::from_form(body, taken),
        other => Err(unsupported(other, "application/json or application/x-www-form-urlencoded")),
    }
}

/// The media type of the body in lower case, without parameters. A compressed body cannot be read.
pub fn media_type(head: &RequestHead) -> Result<String, Error> {
    if let Some(coding) = head.headers("content-encoding").find(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(unsupported(&format!("it in the coding {coding}"), "the body as it is"));
    }
    let sent = head.header("content-type").unwrap_or_default();
    Ok(sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The refusal of a body of another type.
pub(crate) fn unsupported(sent: &str, wanted: &str) -> Error {
    let detail = match sent {
        "" => format!("there is no Content-Type: send {wanted}"),
        sent => format!("send {wanted}, not {}", sent.escape_debug()),
    };
    Error::new(ErrorName::UnsupportedMediaType, detail)
}

/// The field `limit` of every list.
pub(crate) const LIMIT: Field =
    Field::optional("limit", ValueKind::Integer, "how many rows, 1 to 1000; 50 if left out")
        .within(1, LIMIT_MAX)
        .or("50");
/// The field `after` of every list.
pub(crate) const AFTER: Field = Field::optional("after", ValueKind::Text, "the `next` of the previous answer");
/// The fields of every list.
pub(crate) const LIST: &[Field] = &[LIMIT, AFTER];

const LIMIT_DEFAULT: i64 = 50;
const LIMIT_MAX: i64 = 1_000;

/// The page of a list that a request asks for. The cursor `next` of a page holds its place and the filters it was made
/// under.
pub struct PageRequest {
    /// The most rows.
    pub limit: usize,
    /// True if the client sent a limit.
    pub is_limited: bool,
    /// The row to continue behind, in the list's own text.
    pub after: Option<String>,
    /// The beginning of the cursor of another page: the list and the filters, in hexadecimal digits.
    cursor_start: String,
}

/// A page of a list.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "{T}List"))]
pub(crate) struct PageJson<T> {
    /// The rows.
    pub(super) data: Vec<T>,
    /// The cursor of the next page; null at the end of the list.
    pub(super) next: Option<String>,
    /// The place behind the last row, also at the end of the list. Only in ascending lists of entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) cursor: Option<String>,
}

impl PageRequest {
    /// Reads `limit` and `after`, and adds the filters of the cursor to the query's. `of` names the list.
    pub fn read(query: &mut Fields, of: &str, filters: &[&'static str]) -> Result<PageRequest, Error> {
        let sent_limit = query.integer("limit", 1..=LIMIT_MAX)?;
        let limit = sent_limit.unwrap_or(LIMIT_DEFAULT) as usize;
        let cursor = query.text("after")?.filter(|cursor| !cursor.is_empty()); // the end of no page is the beginning
        let cursor = cursor.map(|cursor| decode_cursor(&cursor).ok_or_else(not_a_cursor)).transpose()?;
        let mut after = None;
        if let Some(mut cursor) = cursor {
            if cursor.remove("of").as_deref() != Some(of) {
                return Err(not_a_cursor());
            }
            after = cursor.remove("after");
            for filter in filters {
                let kept = cursor.get(*filter);
                if query.has(filter) && query.peek(filter) != kept.map(String::as_str) {
                    let detail = format!(
                        "the cursor was made under another {filter}; leave {filter} out, or start again without after"
                    );
                    return Err(Error::invalid(detail));
                }
                if let Some(kept) = kept {
                    query.put_default(filter, kept);
                }
            }
        }
        let mut kept = BTreeMap::from([("of", of)]);
        for filter in filters {
            if let Some(value) = query.peek(filter) {
                kept.insert(filter, value);
            }
        }
        let kept = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
        Ok(PageRequest { limit, is_limited: sent_limit.is_some(), after, cursor_start: hex(kept.as_bytes()) })
    }

    /// Cuts rows, of which one more than the limit was read, to the page; returns the key of the last row if there is
    /// more.
    pub fn cut<T>(&self, rows: &mut Vec<T>, key: impl Fn(&T) -> String) -> Option<String> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        rows.last().filter(|_| more).map(key)
    }

    /// The cursor of the page that continues behind `after`.
    pub fn next(&self, after: &str) -> String {
        let form = form_urlencoded::Serializer::new("&".to_owned()).append_pair("after", after).finish();
        self.cursor_start.clone() + &hex(form.as_bytes())
    }

    /// The value of the header `Link` of a page of the list at that path, if it continues behind `last`.
    pub fn link(&self, path: &str, last: &str) -> String {
        format!("<{path}?after={}&limit={}>; rel=\"next\"", self.next(last), self.limit)
    }

    /// The page as a response. `last` is the row to continue behind, if there is more.
    pub fn response<T: Serialize>(&self, language: Language, data: Vec<T>, last: Option<String>) -> Response {
        self.response_with_cursor(language, data, last, None)
    }

    /// The page as a response, with the place to go on from, also behind the last row.
    pub fn response_with_cursor<T: Serialize>(
        &self,
        language: Language,
        data: Vec<T>,
        last: Option<String>,
        reached: Option<String>,
    ) -> Response {
        let [next, cursor] = [last, reached].map(|place| place.map(|after| self.next(&after)));
        response::ok(language.success(), &PageJson { data, next, cursor })
    }
}

/// The refusal of an `after` that no page of this list had as its `next`.
pub(crate) fn not_a_cursor() -> Error {
    Error::invalid("after is not the `next` of an answer of this list")
}

fn decode_cursor(cursor: &str) -> Option<BTreeMap<String, String>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = cursor.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    Some(form_urlencoded::parse(&bytes?).into_owned().collect())
}
