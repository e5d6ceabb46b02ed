//! The schemas of values that are sent as text, for the description of the API. Only tests make it, so only they need
//! these; see [`super::openapi`].

use crate::error::ErrorName;
use crate::journal::ChangeKind;
use crate::ledger::WalletStatus;
use crate::ledger::coupon::CouponState;
use crate::ledger::entry::EntryKind;
use crate::ledger::hold::HoldState;
use crate::lock::LockState;
use crate::lock::event::LockEventKind;
use crate::lock::lease::GrantOrigin;
use crate::money::{Balance, CentSum, Cents, Money};
use crate::token::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// The beginning of a reference to a named schema.
pub(crate) const NAMED: &str = "#/components/schemas/";

/// An RFC 3339 time.
pub(crate) struct TimeText;
/// 32 bytes in hexadecimal.
pub(crate) struct HashText;
/// The strings that a client keeps with an entry.
pub(crate) struct MetadataObject;
/// The description of a change: other fields for each kind.
pub(crate) struct DetailObject;
/// `ok` or `degraded`.
pub(crate) struct HealthWord;
/// The answer to an item of a batch.
pub(crate) struct AnyMovedOrProblem;

macro_rules! inline_schemas {
    ($($type:ty: $schema:tt,)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

inline_schemas! {
    Money: { "type": "string", "pattern": "^[0-9]{1,13}[.][0-9]{2}$" },
    Cents: { "type": "string", "pattern": "^[0-9]{1,17}[.][0-9]{2}$" },
    Balance: { "type": "string", "pattern": "^-?[0-9]{1,17}[.][0-9]{2}$" },
    CentSum: { "type": "string", "pattern": "^-?[0-9]+[.][0-9]{2}$" },
    TimeText: { "type": "string", "format": "date-time" },
    HashText: { "type": "string", "pattern": "^[0-9a-f]{64}$" },
    MetadataObject: { "type": "object", "additionalProperties": { "type": "string" } },
    DetailObject: { "type": "object", "additionalProperties": true },
    HealthWord: { "type": "string", "enum": ["ok", "degraded"] },
    AnyMovedOrProblem: { "anyOf": [
        { "$ref": format!("{NAMED}Recharged") },
        { "$ref": format!("{NAMED}Paid") },
        { "$ref": format!("{NAMED}HoldMoved") },
        { "$ref": format!("{NAMED}Moved") },
        { "$ref": format!("{NAMED}Problem") },
    ] },
}

macro_rules! word_schemas {
    ($($type:ty, $name:literal, $about:literal, $words:expr;)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let words: Vec<&str> = $words;
                let about = concat!($about, " Later versions may add words.");
                json_schema!({ "type": "string", "description": about, "enum": words })
            }
        })*
    };
}

word_schemas! {
    EntryKind, "EntryKind", "The kind of an entry.", EntryKind::ALL.iter().map(|kind| kind.as_str()).collect();
    WalletStatus, "WalletStatus", "The status of a wallet.",
        WalletStatus::ALL.iter().map(|status| status.as_str()).collect();
    CouponState, "CouponState", "The state of a coupon.",
        CouponState::ALL.map(CouponState::as_str).into();
    ChangeKind, "ChangeKind", "The kind of a change.", ChangeKind::NAMES.into();
    HoldState, "HoldState", "The state of a hold.", HoldState::ALL.iter().map(|state| state.as_str()).collect();
    LockState, "LockState", "The state of a lock.",
        [LockState::Free].iter().chain(&LockState::OF_ROWS).map(|state| state.as_str()).collect();
    LockEventKind, "LockEventKind", "The kind of an event of a lock.",
        LockEventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    GrantOrigin, "GrantOrigin",
        "The origin of a grant: the lock was free, or stale, or the same secret had been granted it before.",
        vec!["created", "taken_over", "replayed"];
    Role, "Role", "The role of an access token.", Role::ALL.iter().map(|role| role.as_str()).collect();
    ErrorName, "ErrorName", "The stable name of an error.",
        ErrorName::ALL.iter().map(|name| name.as_str()).collect();
}
