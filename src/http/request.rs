//! A request that has passed the door: who calls, what was said, and how to answer.

use super::App;
use super::auth::Caller;
use super::fields::Fields;
use super::words::{self, Language};
use crate::command::TypedCommand;
use crate::error::{Error, ErrorName};
use crate::id::{IdempotencyKey, LockToken, UserId, WalletId};
use crate::store::{Alive, Envelope, Outcome};

use super::conn::{RequestHead, Response};

/// How long a request waits for somebody's lock if it does not say, and at most, in seconds.
const WAIT_S: i64 = 10;
const WAIT_S_MAX: i64 = 30;

/// One request with its answer still to come.
pub struct Context<'a> {
    /// The program.
    pub app: &'a App,
    /// Who calls.
    pub caller: Caller,
    /// The head as it came.
    pub head: &'a RequestHead,
    /// What stood in the path's `{…}`, decoded, in order.
    pub params: Vec<String>,
    /// The fields of the query.
    pub query: Fields,
    /// The fields of the body, if the route takes fields.
    pub fields: Fields,
    /// The body itself, for the routes that read it themselves.
    pub body: &'a [u8],
    /// The language of `msg`.
    pub language: Language,
    /// Whether the client is still there.
    pub alive: Alive,
}

impl Context<'_> {
    /// The user in the path, who must be the caller's own for the role `user`.
    pub fn user(&self) -> Result<UserId, Error> {
        let user = UserId::parse(&self.params[0])?;
        self.caller.may_touch(&user)?;
        Ok(user)
    }

    /// The wallet in the path of a question: a user's or, for those who see everything, the system's.
    pub fn wallet(&self) -> Result<WalletId, Error> {
        let wallet = WalletId::parse(&self.params[0])?;
        self.caller.may_see(&wallet)?;
        Ok(wallet)
    }

    /// What comes with the command: caller, key, lock tokens, patience.
    pub fn envelope(&self) -> Result<Envelope, Error> {
        let mut keys = self.head.headers("idempotency-key").map(IdempotencyKey::parse);
        let key = keys.next().transpose()?;
        if keys.next().is_some() {
            return Err(Error::invalid("send one Idempotency-Key"));
        }
        let wait_ms = self.wait_s() * 1_000;
        Ok(Envelope { by: self.caller.by.clone(), key, tokens: self.lock_tokens(), wait_ms, alive: self.alive.clone() })
    }

    /// The lock tokens presented, in one header or several, separated by commas. A header with nothing in it presents a
    /// token that proves nothing: whoever sent it meant to be guarded.
    pub fn lock_tokens(&self) -> Vec<LockToken> {
        let lists = self.head.headers("lock-token");
        lists
            .flat_map(|list| {
                let is_empty = list.split(',').all(|text| text.trim().is_empty());
                list.split(',').map(str::trim).filter(move |text| is_empty || !text.is_empty())
            })
            .map(LockToken::presented)
            .collect()
    }

    /// `Prefer: wait=SECONDS`; what cannot be read is not a preference.
    fn wait_s(&self) -> i64 {
        let preferences = self.head.headers("prefer").flat_map(|list| list.split(','));
        let wait = preferences.filter_map(|one| {
            let (name, value) = one.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
        });
        wait.into_iter().next().map_or(WAIT_S, |seconds| i64::from(seconds).min(WAIT_S_MAX))
    }

    /// Has the command carried out.
    pub fn submit<C: TypedCommand>(&self, command: C) -> Result<Submitted<C::Receipt>, Failure> {
        let mut outcome = self.app.store().submit(self.envelope()?, command);
        outcome.result = outcome.result.map_err(|error| self.caller.told(error));
        submitted(outcome)
    }

    /// The same for a command that takes its one lock token as what it is about, and not as what it is done under.
    pub fn submit_bare<C: TypedCommand>(&self, command: C) -> Result<Submitted<C::Receipt>, Failure> {
        let envelope = Envelope { key: None, tokens: Vec::new(), ..self.envelope()? };
        submitted(self.app.store().submit(envelope, command))
    }

    /// Whether the client names this type and would not rather have JSON.
    pub fn accepts(&self, content_type: &str) -> bool {
        let weight = |wanted: &str| {
            let accepted = self.head.headers("accept").flat_map(|list| list.split(',')).map(words::weighed);
            accepted.filter(|(named, _)| named.eq_ignore_ascii_case(wanted)).map(|(_, weight)| weight).max()
        };
        weight(content_type).is_some_and(|it| it > 0 && it >= weight("application/json").unwrap_or(0))
    }
}

/// A receipt, and whether it is a repeat.
pub struct Submitted<R> {
    /// The receipt of the command.
    pub receipt: R,
    /// Whether it was done before.
    pub replayed: bool,
}

/// A no, and whether it was said before.
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// Whether it is a repeat under an idempotency key.
    pub replayed: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, replayed: false }
    }
}

/// What a handler returns.
pub type HandlerResult = Result<Response, Failure>;

/// An outcome as a receipt or a failure.
pub fn submitted<R>(outcome: Outcome<R>) -> Result<Submitted<R>, Failure> {
    let replayed = outcome.replayed;
    outcome.result.map(|receipt| Submitted { receipt, replayed }).map_err(|error| Failure { error, replayed })
}

impl<R> Submitted<R> {
    /// The answer, marked if it is a repeat.
    pub fn marked(&self, mut answer: Response) -> Response {
        if self.replayed {
            answer.headers.push(replayed());
        }
        answer
    }
}

/// The header of an answer that was given before.
pub fn replayed() -> (&'static str, String) {
    ("Idempotency-Replayed", "true".to_owned())
}

/// Reads the fields of a body by its content type.
pub fn fields(head: &RequestHead, body: &[u8]) -> Result<Fields, Error> {
    if body.is_empty() {
        return Ok(Fields::default());
    }
    match media_type(head)?.as_str() {
        "application/json" => Fields::from_json(body),
        "application/x-www-form-urlencoded" => Fields::from_form(body),
        other => Err(unsupported(other, "application/json or application/x-www-form-urlencoded")),
    }
}

/// The media type of the body in lower case, without parameters. A body that is packed in something cannot be read.
pub fn media_type(head: &RequestHead) -> Result<String, Error> {
    if let Some(coding) = head.headers("content-encoding").find(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(unsupported(&format!("it in the coding {coding}"), "the body as it is"));
    }
    let sent = head.header("content-type").unwrap_or_default();
    Ok(sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// What is said of a body of another type.
pub fn unsupported(sent: &str, wanted: &str) -> Error {
    let sent = if sent.is_empty() { "no Content-Type" } else { sent };
    Error::new(ErrorName::UnsupportedMediaType, format!("send {wanted}, not {}", sent.escape_debug()))
}
