//! The operations: for each route its name, the type of its answer, and the refusals by its rules.
//!
//! A route that is added to `routes` gets a row here. An answer is a serialised type that derives `JsonSchema` under
//! `cfg(test)`; its members are described by their comments, and a value that is sent as text by a type of
//! [`super::super::schemas`]. Errors that any such request can meet are added in [`super::refusals`].

use super::super::batch::BatchResults;
use super::super::coupons::{ClaimedJson, CouponDetailsJson, CouponJson, CouponKindJson, QuoteJson, TierJson};
use super::super::entries::EntryDetailsJson;
use super::super::files::ReportJson;
use super::super::health::HealthJson;
use super::super::holds::{HoldJson, HoldStepJson, OneHoldJson};
use super::super::journal::JournalLineJson;
use super::super::locks::{
    LockDetailsJson, LockEventJson, LockGrantedJson, LockJson, LockRenewedJson, LockStatusJson, LocksGrantedJson,
};
use super::super::problem_pages::ProblemPage;
use super::super::report::PeriodReportJson;
use super::super::request::PageJson;
use super::super::response::{EntryJson, WalletJson};
use super::super::settings::WalletSetJson;
use super::super::tokens::{AccessTokenJson, CallerJson, MintedJson};
use super::super::wallets::{MovementJson, OwnWalletJson, PaidJson, RechargedJson, WalletDetailsJson};
use crate::error::ErrorName::{self, *};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Makes the schema of a type.
pub(super) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// One row of the table.
pub(super) struct Operation {
    /// Method and path of the route.
    pub route: &'static str,
    /// The name of the operation: of a method in generated clients.
    pub id: &'static str,
    /// The answer as JSON: the name of its schema, and the schema without `code` and `msg`.
    pub answer: Option<(String, MakeSchema)>,
    /// The other types of the answer.
    pub files: &'static [&'static str],
    /// The refusals by its rules.
    pub refusals: Vec<ErrorName>,
}

impl Operation {
    /// The answer is of type `T`.
    fn json<T: JsonSchema>(route: &'static str, id: &'static str, refusals: &'static [ErrorName]) -> Operation {
        let answer = Some((T::schema_name().into_owned(), T::json_schema as MakeSchema));
        Operation { route, id, answer, files: &[], refusals: refusals.to_vec() }
    }

    /// The answer has no body, or is a file of one of these types.
    fn files(
        route: &'static str,
        id: &'static str,
        files: &'static [&'static str],
        refusals: &'static [ErrorName],
    ) -> Operation {
        Operation { route, id, answer: None, files, refusals: refusals.to_vec() }
    }

    /// The same operation, whose answer may be a file as well.
    fn or_files(self, files: &'static [&'static str]) -> Operation {
        Operation { files, ..self }
    }

    /// The same operation with further refusals.
    fn or_refused(mut self, refusals: &[ErrorName]) -> Operation {
        self.refusals.extend_from_slice(refusals);
        self
    }

    /// The same operation, with another name for the schema of its answer: its type is also a row of a list.
    fn answer_named(self, name: &str) -> Operation {
        Operation { answer: self.answer.map(|(_, schema)| (name.to_owned(), schema)), ..self }
    }
}

/// Lists that can be read as files.
const TABLES: &[&str] = &["text/csv", "application/x-ndjson"];
/// Refusals of a price, with or without a coupon.
const PRICE: &[ErrorName] = &[
    WalletNotFound,
    WalletClosed,
    WalletFrozen,
    CouponNotFound,
    CouponUsed,
    CouponExpired,
    CouponNotApplicable,
    LimitExceeded,
    InsufficientFunds,
];
/// Refusals of a withdrawal.
const WITHDRAW: &[ErrorName] = &[WalletNotFound, WalletClosed, WalletFrozen, LimitExceeded, InsufficientFunds];
const TRANSFER: &[ErrorName] =
    &[WalletNotFound, WalletClosed, WalletFrozen, LimitExceeded, InsufficientFunds, BalanceLimit];
const RECHARGE: &[ErrorName] = &[WalletClosed, BalanceLimit];
const REFUND: &[ErrorName] = &[
    EntryNotFound,
    NotRefundable,
    AlreadyRefunded,
    RefundExceeds,
    WalletNotFound,
    WalletClosed,
    WalletFrozen,
    CouponUsed,
    InsufficientFunds,
    BalanceLimit,
];
const CAPTURE: &[ErrorName] =
    &[WalletClosed, HoldNotFound, HoldNotOpen, HoldExpired, CaptureExceeds, CouponNotApplicable, BalanceLimit];
const LEASE: &[ErrorName] = &[LockTokenMissing, LockLost, MaxHold];

/// The table, in the order of the routes.
#[rustfmt::skip]
pub(super) fn operations() -> Vec<Operation> {
    type Op = Operation;
    vec![
        Op::json::<OwnWalletJson>("GET /wallet", "getOwnWallet", &[]),
        Op::json::<RechargedJson>("POST /wallet", "rechargeOwnWallet", RECHARGE),
        Op::json::<MovementJson>("PUT /wallet", "withdrawFromOwnWallet", WITHDRAW),

        Op::json::<CallerJson>("GET /v1/me", "getCaller", &[]),

        Op::json::<PageJson<WalletJson>>("GET /v1/wallets", "listWallets", &[]).or_files(TABLES),
        Op::json::<WalletDetailsJson>("GET /v1/wallets/{user}", "getWallet", &[WalletNotFound]),
        Op::json::<WalletJson>("POST /v1/wallets/{user}", "createWallet", &[WalletExists]).answer_named("WalletCreated"),
        Op::json::<WalletSetJson>("PATCH /v1/wallets/{user}", "setWallet", &[WalletNotFound, WalletNotEmpty]),
        Op::json::<RechargedJson>("POST /v1/wallets/{user}/recharge", "recharge", RECHARGE),
        Op::json::<MovementJson>("POST /v1/wallets/{user}/withdraw", "withdraw", WITHDRAW),
        Op::json::<PaidJson>("POST /v1/wallets/{user}/pay", "pay", PRICE).or_refused(&[BalanceLimit]),
        Op::json::<MovementJson>("POST /v1/wallets/{user}/transfer", "transfer", TRANSFER),
        Op::json::<PageJson<EntryJson>>("GET /v1/wallets/{user}/entries", "listWalletEntries", &[WalletNotFound, HoldNotFound, CursorLost]).or_files(TABLES),
        Op::json::<PageJson<CouponJson>>("GET /v1/wallets/{user}/coupons", "listWalletCoupons", &[WalletNotFound]).or_files(TABLES),
        Op::json::<CouponDetailsJson>("POST /v1/wallets/{user}/coupons", "grantCoupon", &[CouponKindNotFound, WalletNotFound, WalletClosed, CouponNotApplicable, CouponLimit]),
        Op::json::<ClaimedJson>("POST /v1/wallets/{user}/coupons/claim", "claimCoupon", &[WalletNotFound, WalletClosed, ClaimCodeNotFound, CouponNotApplicable, CouponLimit]),

        Op::json::<PageJson<HoldJson>>("GET /v1/wallets/{user}/holds", "listWalletHolds", &[WalletNotFound]).or_files(TABLES),
        Op::json::<HoldStepJson>("POST /v1/wallets/{user}/holds", "placeHold", PRICE).or_refused(&[HoldLimit]),

        Op::json::<PageJson<HoldJson>>("GET /v1/holds", "listHolds", &[]).or_files(TABLES),
        Op::json::<OneHoldJson>("GET /v1/holds/{id}", "getHold", &[HoldNotFound]),
        Op::json::<HoldStepJson>("POST /v1/holds/{id}/capture", "captureHold", CAPTURE),
        Op::json::<HoldStepJson>("POST /v1/holds/{id}/void", "voidHold", &[HoldNotFound, HoldNotOpen, BalanceLimit]),

        Op::json::<PageJson<EntryJson>>("GET /v1/entries", "listEntries", &[CursorLost]).or_files(TABLES),
        Op::files("GET /v1/events", "streamEntries", &["text/event-stream"], &[WalletNotFound, HoldNotFound, CursorLost]),
        Op::json::<EntryDetailsJson>("GET /v1/entries/{id}", "getEntry", &[EntryNotFound]),
        Op::json::<MovementJson>("POST /v1/entries/{id}/refund", "refund", REFUND),

        Op::json::<PeriodReportJson>("GET /v1/report", "getReport", &[WalletNotFound]),

        Op::json::<PageJson<CouponJson>>("GET /v1/coupons", "listCoupons", &[]).or_files(TABLES),
        Op::json::<CouponDetailsJson>("GET /v1/coupons/{code}", "getCoupon", &[CouponNotFound]),
        Op::json::<QuoteJson>("GET /v1/coupons/{code}/quote", "quoteCoupon", &[CouponNotFound]),
        Op::json::<PageJson<TierJson>>("GET /v1/tiers", "listTiers", &[]),
        Op::json::<PageJson<TierJson>>("PUT /v1/tiers", "setTiers", &[CouponKindNotFound, ChangedMeanwhile]),
        Op::json::<PageJson<CouponKindJson>>("GET /v1/coupon-kinds", "listCouponKinds", &[]),
        Op::json::<PageJson<CouponKindJson>>("PUT /v1/coupon-kinds", "setCouponKinds", &[CouponKindInUse, ChangedMeanwhile]),

        Op::json::<BatchResults>("POST /v1/batch", "batch", PRICE).or_refused(REFUND).or_refused(CAPTURE).or_refused(&[HoldLimit]),

        Op::json::<PageJson<LockJson>>("GET /v1/locks", "listLocks", &[]),
        Op::json::<LocksGrantedJson>("POST /v1/locks", "acquireLocks", &[Locked]),
        Op::json::<LockRenewedJson>("PATCH /v1/locks", "renewLocks", LEASE),
        Op::files("DELETE /v1/locks", "releaseLocks", &[], &[LockTokenMissing, LockLost]),
        Op::json::<PageJson<LockEventJson>>("GET /v1/locks/{id...}/events", "listLockEvents", &[]),
        Op::json::<LockStatusJson>("POST /v1/locks/{id...}/revoke", "revokeLock", &[LockNotFound, LockChanged]).answer_named("LockRevoked"),
        Op::json::<LockDetailsJson>("GET /v1/locks/{id...}", "getLock", &[]),
        Op::json::<LockGrantedJson>("POST /v1/locks/{id...}", "acquireLock", &[Locked]),
        Op::json::<LockRenewedJson>("PATCH /v1/locks/{id...}", "renewLock", LEASE),
        Op::files("DELETE /v1/locks/{id...}", "releaseLock", &[], &[LockTokenMissing, LockLost]),

        Op::json::<PageJson<LockEventJson>>("GET /v1/lock-events", "listAllLockEvents", &[]),

        Op::json::<PageJson<JournalLineJson>>("GET /v1/journal", "listJournal", &[CursorLost]).or_files(TABLES),

        Op::json::<PageJson<AccessTokenJson>>("GET /v1/tokens", "listAccessTokens", &[]),
        Op::json::<MintedJson>("POST /v1/tokens", "createAccessToken", &[]),
        Op::json::<AccessTokenJson>("GET /v1/tokens/{id}", "getAccessToken", &[TokenNotFound]).answer_named("AccessTokenDetails"),
        Op::json::<MintedJson>("POST /v1/tokens/{id}/rotate", "rotateAccessToken", &[TokenNotFound]),
        Op::json::<AccessTokenJson>("DELETE /v1/tokens/{id}", "revokeAccessToken", &[TokenNotFound]).answer_named("AccessTokenDetails"),

        Op::json::<ReportJson>("GET /v1/verify", "verify", &[]),
        Op::files("GET /v1/backup", "backUp", &["application/vnd.sqlite3"], &[]),
        Op::files("GET /v1/export", "exportLedger", &["application/x-ndjson", "text/csv"], &[]),
        Op::json::<HealthJson>("GET /healthz", "getHealth", &[]),
        Op::files("GET /metrics", "getMetrics", &["text/plain"], &[]),
        Op::json::<ProblemPage>("GET /problems/{name}", "getProblem", &[NotFound]).or_files(&["text/plain"]),
        Op::files("GET /openapi.json", "getOpenapi", &["application/json"], &[]),
    ]
}
