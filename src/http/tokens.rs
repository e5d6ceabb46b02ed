//! Access tokens: list, mint, revoke. An admin's business.

use super::fields::{Field, Kind as Is, may, need};
use super::reply::Reply;
use super::request::{Context, HandlerResult};
use super::{list, show};
use crate::command::RevokeToken;
use crate::error::Error;
use crate::token::{self, NewToken, Role};
use serde_json::json;

/// What minting takes.
pub const MINT: &[Field] = &[
    need("role", Is::Text, "user, teller, auditor or admin"),
    may("user", Is::Text, "whose wallet: with the role user, and only with it"),
    may("expires_in_s", Is::Integer, "how long it is good, in seconds; for ever if left out"),
    may("note", Is::Text, "a note for people, at most 255 characters"),
];

const NOTE_CHARS_MAX: usize = 255;
/// A hundred years.
const EXPIRES_IN_S_MAX: i64 = 3_155_760_000;

/// `GET /v1/tokens`
pub fn list(context: &mut Context<'_>) -> HandlerResult {
    let page = list::page(&mut context.query, "tokens", &[])?;
    let after = page.after.as_deref().unwrap_or("");
    let mut rows = context.app.store().read(|tx| token::list(tx, after, page.limit + 1))?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|token| token.id.clone());
    Ok(page.answer(context.language, rows.iter().map(show::token).collect(), next))
}

/// `POST /v1/tokens`: mints one. Its secret is in this answer and nowhere else.
pub fn mint(context: &mut Context<'_>) -> HandlerResult {
    let role = Role::parse(&context.fields.the_text("role")?)?;
    let user = context.fields.user("user")?;
    if user.is_some() != (role == Role::User) {
        return Err(Error::invalid("the role user is bound to a user, and only that role")
            .with("field", "user")
            .into());
    }
    let expires_in_s = context.fields.integer("expires_in_s", 1..=EXPIRES_IN_S_MAX)?;
    let note = context.fields.text("note")?;
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
        return Err(Error::invalid(format!("note has at most {NOTE_CHARS_MAX} characters")).into());
    }
    let submitted = context.submit(NewToken { role, user, expires_in_s, note })?;
    let minted = &submitted.receipt;
    let mut rest = show::token(&minted.token);
    rest["token"] = json!(minted.secret);
    Ok(Reply::with(201, context.language.pick("已创建", "minted"), &rest))
}

/// `DELETE /v1/tokens/{id}`: revokes one, at once and for good.
pub fn revoke(context: &mut Context<'_>) -> HandlerResult {
    let submitted = context.submit(RevokeToken(context.params[0].clone()))?;
    context.app.tokens.forget();
    Ok(submitted.marked(Reply::ok(context.language.pick("已撤销", "revoked"), &show::token(&submitted.receipt))))
}
