//! Access tokens: list, mint, rotate, revoke; for admins.

use super::auth::Caller;
use super::fields::{Field, PREFIX_PATTERN, USER_PATTERN, ValueKind};
use super::request::{Context, HandlerResult, PageRequest};
use super::response;
#[cfg(test)]
use super::schemas::TimeText;
use crate::clock::rfc3339;
use crate::command::RevokeToken;
use crate::error::Error;
use crate::token::{self, AccessToken, MintedToken, NewToken, OVERLAP_S_MAX, Role, RotateToken};
use ValueKind::{Integer, Text};
use serde::Serialize;

/// The fields of a new token.
pub(crate) const MINT: &[Field] = &[
    Field::required("role", Text, "user, locker, teller, auditor or admin")
        .one_of(&["user", "locker", "teller", "auditor", "admin"]),
    Field::optional("user", Text, "whose wallet: with the role user, and only with it").like(USER_PATTERN),
    Field::optional(
        "prefix",
        Text,
        "with the role locker: the beginning of the ids of the locks it may take; all but wallets' if left out",
    )
    .like(PREFIX_PATTERN),
    Field::optional("expires_in_s", Integer, "how long it is valid, in seconds; without end if left out")
        .within(1, EXPIRES_IN_S_MAX),
    Field::optional("note", Text, "a note for people, at most 255 characters").within(0, NOTE_CHARS_MAX as i64),
];

/// The field of a rotation.
pub(crate) const ROTATE: &[Field] = &[Field::optional(
    "overlap_s",
    Integer,
    "how long the old secret stays valid, in seconds, at most 604800; 0 if left out",
)
.within(0, OVERLAP_S_MAX)
.or("0")];

const NOTE_CHARS_MAX: usize = 255;
/// A hundred years, in seconds.
const EXPIRES_IN_S_MAX: i64 = 3_155_760_000;

/// `GET /v1/tokens`
pub(crate) fn list(context: &mut Context<'_>) -> HandlerResult {
    let page = PageRequest::read(&mut context.query, "tokens", &[])?;
    let after = page.after.as_deref().unwrap_or("");
    let mut rows = context.app.store.read(|tx| token::list(tx, after, page.limit + 1))?;
    let last = page.cut(&mut rows, |token| token.id.clone());
    Ok(page.response(context.language, rows.iter().map(|token| token_json(context, token)).collect(), last))
}

/// `GET /v1/tokens/{id}`
pub(crate) fn one(context: &mut Context<'_>) -> HandlerResult {
    let token = context.app.store.read(|tx| token::get(tx, &context.params[0]))?;
    Ok(response::ok(context.language.found(), &token_json(context, &token)))
}

/// The caller of the request.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Caller"))]
pub(crate) struct CallerJson<'a> {
    /// Its name in entries: a user, the id of an access token, or `@local`.
    by: &'a str,
    /// Its role.
    #[cfg_attr(test, schemars(with = "Role"))]
    role: &'static str,
    /// The user it is bound to, with the role `user`.
    user: Option<&'a str>,
    /// The beginning of the ids of the locks it may take, with the role `locker`; null for all but those of wallets.
    prefix: Option<&'a str>,
    /// True if the server needs no access tokens.
    open: bool,
    /// The time from which its access token is not valid any more; null if it has no end.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    expires_at: Option<String>,
}

/// `GET /v1/me`
pub(crate) fn me(context: &mut Context<'_>) -> HandlerResult {
    let Caller { by, role, user, token } = &*context.caller;
    let me = CallerJson {
        by,
        role: role.as_str(),
        user: user.as_ref().map(|user| user.as_str()),
        prefix: token.as_ref().and_then(|token| token.prefix.as_deref()),
        open: context.app.tokens.is_open(),
        expires_at: token.as_ref().and_then(|token| token.expires_at).map(rfc3339),
    };
    Ok(response::ok(context.language.found(), &me))
}

/// `POST /v1/tokens`: mints one. Its secret is in this response and nowhere else.
pub(crate) fn mint(context: &mut Context<'_>) -> HandlerResult {
    refuse_key(context)?;
    let role = Role::parse(&context.fields.required_text("role")?)?;
    let user = context.fields.user("user")?;
    if user.is_some() != (role == Role::User) {
        let detail = match role {
            Role::User => "an access token of the role user needs a user",
            _ => "only an access token of the role user has a user: leave it out, or the role",
        };
        return Err(Error::invalid(detail).with("field", "user"));
    }
    let prefix = context.fields.text("prefix")?.map(token::checked_prefix).transpose()?;
    if prefix.is_some() && role != Role::Locker {
        let detail = "only an access token of the role locker has a prefix: leave it out, or choose that role";
        return Err(Error::invalid(detail).with("field", "prefix"));
    }
    let expires_in_s = context.fields.integer("expires_in_s", 1..=EXPIRES_IN_S_MAX)?;
    let note = context.fields.text("note")?;
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
        return Err(Error::invalid(format!("note has at most {NOTE_CHARS_MAX} characters")));
    }
    let minted = context.submit(NewToken { role, user, prefix, expires_in_s, note })?;
    let msg = context.language.pick("已创建", "minted");
    Ok(response::with_location(
        response::with_status(201, msg, &minted_json(context, &minted)),
        "/v1/tokens/",
        &minted.token.id,
    ))
}

/// `POST /v1/tokens/{id}/rotate`: gives it another secret, which is in this response and nowhere else.
pub(crate) fn rotate(context: &mut Context<'_>) -> HandlerResult {
    refuse_key(context)?;
    let overlap_s = context.fields.integer("overlap_s", 0..=OVERLAP_S_MAX)?.unwrap_or(0);
    let rotated = context.submit(RotateToken { id: context.params[0].clone(), overlap_s })?;
    context.app.tokens.forget();
    Ok(response::ok(context.language.pick("已更换", "rotated"), &minted_json(context, &rotated)))
}

fn refuse_key(context: &Context<'_>) -> Result<(), Error> {
    let detail = "a new secret is shown once and its answer is not stored, so an Idempotency-Key cannot be honoured: leave it out";
    match context.head.header("idempotency-key") {
        Some(_) => Err(Error::invalid(detail)),
        None => Ok(()),
    }
}

/// `DELETE /v1/tokens/{id}`: revokes one, at once and for ever.
pub(crate) fn revoke(context: &mut Context<'_>) -> HandlerResult {
    let revoked = context.submit(RevokeToken(context.params[0].clone()))?;
    context.app.tokens.forget();
    Ok(response::ok(context.language.pick("已撤销", "revoked"), &token_json(context, &revoked)))
}

/// An access token and its secret.
fn minted_json<'a>(context: &Context<'_>, minted: &'a MintedToken) -> MintedJson<'a> {
    MintedJson { listed: token_json(context, &minted.token), token: &minted.secret }
}

/// An access token, without its secret.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "AccessToken"))]
pub(crate) struct AccessTokenJson<'a> {
    /// Its id, in lists and entries.
    id: &'a str,
    /// Its role.
    #[cfg_attr(test, schemars(with = "Role"))]
    role: &'static str,
    /// The user it is bound to, with the role `user`.
    user: Option<&'a str>,
    /// The beginning of the ids of the locks it may take, with the role `locker`; null for all but those of wallets.
    prefix: Option<&'a str>,
    /// The note for people.
    note: Option<&'a str>,
    /// The time it was made.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    created_at: String,
    /// The time from which it is not valid any more; null if it has no end.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    expires_at: Option<String>,
    /// The time it was revoked; null if it was not.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    revoked_at: Option<String>,
    /// The time of its last request since the server started; null if there was none.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    last_used_at: Option<String>,
}

fn token_json<'a>(context: &Context<'_>, token: &'a AccessToken) -> AccessTokenJson<'a> {
    AccessTokenJson {
        id: &token.id,
        role: token.role.as_str(),
        user: token.user.as_ref().map(|user| user.as_str()),
        prefix: token.prefix.as_deref(),
        note: token.note.as_deref(),
        created_at: rfc3339(token.created_at),
        expires_at: token.expires_at.map(rfc3339),
        revoked_at: token.revoked_at.map(rfc3339),
        last_used_at: context.app.tokens.last_used_at(&token.id).map(rfc3339),
    }
}

/// A new access token.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "NewAccessToken"))]
pub(crate) struct MintedJson<'a> {
    #[serde(flatten)]
    listed: AccessTokenJson<'a>,
    /// Its secret, which is shown this once: the value of `Authorization: Bearer`.
    token: &'a str,
}
