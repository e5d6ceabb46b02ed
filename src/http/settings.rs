//! The settings of a wallet: create it without money; change name, status, metadata and limits.

use super::auth;
use super::fields::{Field, Fields, NAME_PATTERN, ValueKind};
use super::request::{Context, Submission, media_type};
use super::response::{self, WalletSettingsJson, wallet_json, wallet_settings_json};
use super::wallets::{STATUSES, status_named};
use crate::error::Error;
use crate::id::UserId;
use crate::ledger::Note;
use crate::ledger::WalletStatus;
use crate::ledger::settings::{CreateWallet, SetWallet, wallet_name};
use crate::ledger::wallet_list::ListedWallet;
use crate::money::Cents;
use crate::token::Role;
use ValueKind::{Amount, Object, Text};
use serde::Serialize;

/// The fields of `PATCH`: null, or an empty value of a form, clears one.
pub(crate) const SETTINGS: &[Field] = &[
    Field::optional("name", Text, "a name for people, of any script").like(NAME_PATTERN).such_as("\"Alice\"").or_null(),
    Field::optional("status", Text, "open, frozen (nothing goes out) or closed (nothing moves; only an admin)")
        .one_of(STATUSES),
    Field::optional("metadata", Object, "at most 20 strings to keep with it, instead of those that are there")
        .or_null(),
    Field::optional("limit_per_payment", Amount, "the most that may leave at once; only an admin").or_null(),
    Field::optional("limit_per_day", Amount, "the most that may leave on one day of UTC; only an admin").or_null(),
];

/// `POST /v1/wallets/{user}`
pub(crate) fn create(context: &mut Context<'_>) -> Result<Submission, Error> {
    let user = UserId::parse(&context.params[0])?;
    Ok(Submission::new(context.envelope()?, CreateWallet { user }, |wallet, _, language| {
        let listed = ListedWallet { wallet, last_at: None, name: None, held: Cents(0) };
        let msg = language.pick("钱包已创建", "wallet created");
        let response = response::with_status(201, msg, &wallet_json(&listed));
        response::with_location(response, "/v1/wallets/", listed.wallet.id.as_str())
    }))
}

/// `PATCH /v1/wallets/{user}`
pub(crate) fn set(context: &mut Context<'_>) -> Result<Submission, Error> {
    let user = UserId::parse(&context.params[0])?;
    let fields = &mut context.fields;
    if !context.body.is_empty() && media_type(context.head)? == "application/x-www-form-urlencoded" {
        fields.empty_to_null();
    }
    let name = change(fields, "name", |fields| fields.text("name")?.map(|name| wallet_name(&name)).transpose())?;
    let status = change(fields, "status", |fields| fields.text("status")?.map(|name| status_named(&name)).transpose())?;
    let metadata = change(fields, "metadata", |fields| Ok(Some(fields.note()?)))?;
    let set = SetWallet {
        user,
        name,
        status: status.map(|status| status.unwrap_or(WalletStatus::Open)),
        metadata: metadata.map(|note: Option<Note>| note.and_then(|note| note.metadata)),
        limit_per_payment: change(fields, "limit_per_payment", |fields| fields.amount("limit_per_payment"))?,
        limit_per_day: change(fields, "limit_per_day", |fields| fields.amount("limit_per_day"))?,
    };
    if set.needs_admin() && context.caller.role != Role::Admin {
        return Err(auth::forbidden("only an admin closes a wallet and sets its limits"));
    }
    let user = set.user.clone();
    Ok(Submission::new(context.envelope()?, set, move |settings, _, language| {
        let set = WalletSetJson { user_id: user.as_str(), settings: wallet_settings_json(&settings) };
        response::ok(language.pick("设置成功", "set"), &set)
    }))
}

/// The change of one field: None if it was not sent, Some(None) if it is to be cleared.
fn change<T>(
    fields: &mut Fields,
    name: &str,
    read: impl FnOnce(&mut Fields) -> Result<Option<T>, Error>,
) -> Result<Option<Option<T>>, Error> {
    if fields.take_null(name) {
        return Ok(Some(None));
    }
    if fields.has(name) { read(fields).map(Some) } else { Ok(None) }
}

/// The answer to `PATCH`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "WalletSet"))]
pub(crate) struct WalletSetJson<'a> {
    /// Its user.
    user_id: &'a str,
    #[serde(flatten)]
    settings: WalletSettingsJson<'a>,
}
