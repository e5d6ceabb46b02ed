//! `GET /problems/NAME`: the page that the `type` of an error names.

use super::request::{Context, HandlerResult, JSON};
use super::response;
use crate::error::{Error, ErrorName};
use serde::Serialize;

/// The meaning of an error and the remedy, which may be empty: the texts of the table in `docs/http.md`.
#[rustfmt::skip]
pub fn texts(name: ErrorName) -> (&'static str, &'static str) {
    use ErrorName::*;
    match name {
        HttpVersion => ("the HTTP version is not 1.0 or 1.1", ""),
        HeadersTooLarge => ("the head is above 16 KiB or 64 headers", "send less"),
        NotImplemented => ("not answered any more", ""),
        RequestTimeout => ("the request did not arrive whole in time", "send it again"),
        BodyTooLarge => ("the body is too large: `limit`", "send less"),
        NotFound => ("the path does not exist", "`GET /openapi.json` lists all paths"),
        MethodNotAllowed => ("the path does not take this method", "see `Allow`"),
        Unauthenticated => ("the access token is missing, unknown, revoked or expired; it is checked again when a waiting request is carried out", "send `Authorization: Bearer cbx_…`"),
        Forbidden => ("the role, `Host` or `Origin` does not allow it", "use another access token; `serve --host`"),
        UnsupportedMediaType => ("the body's type cannot be read", "set `Content-Type`"),
        NotAcceptable => ("none of the types in `Accept` can be made here; nothing was done", "send another `Accept`, or `*/*`"),
        InvalidRequest => ("the request cannot be read; `detail` says which field and why", "correct it"),
        InvalidUser => ("the user is not valid, or not allowed here", "correct it"),
        InvalidAmount => ("the amount is not valid", "correct it"),
        LockTokenMissing => ("the request needs a `Lock-Token`", "send it"),
        NotEmpty => ("only an empty file is seeded (`serve --test`)", "`POST /test/reset` first"),
        Paused => ("a request is paused (`serve --test`)", "release it first: `GET /test/pauses`"),
        CursorLost => ("the file does not hold the entry that the cursor stands behind: an older copy was restored", "compare, and start again without `after`"),
        IdempotencyKeyReused => ("the key belongs to another request", "choose a new key"),
        ChangedMeanwhile => ("another client changed it since the answer whose `ETag` you sent as `If-Match`", "read it again, then change it"),
        LockLost => ("you held the lock and lost it", "start over"),
        Locked => ("another client holds the lock", "wait, see `Retry-After`"),
        LockNotFound => ("no client holds the lock", ""),
        LockChanged => ("the lock has another fence now", "look again"),
        MaxHold => ("the lease has reached its `max_hold_ms`", "finish, and release"),
        TokenNotFound => ("there is no such access token", "`GET /v1/tokens`"),
        EntryNotFound => ("there is no such entry, or it is another user's", ""),
        NotRefundable => ("a refund, a hold and a release cannot be refunded", ""),
        AlreadyRefunded => ("nothing is left to refund", ""),
        RefundExceeds => ("less is left to refund: `left`", "ask for less"),
        WalletNotFound => ("the user has no wallet yet", "recharge it first"),
        WalletClosed => ("the wallet of `user` is closed: nothing moves it", "an admin can open it"),
        WalletFrozen => ("the wallet of `user` is frozen: nothing goes out of it", "staff can open it"),
        WalletExists => ("the user has a wallet", ""),
        WalletNotEmpty => ("a wallet with money cannot be closed: `balance`, `held`", "take the money out first"),
        CouponLimit => ("as many coupons of this kind were given, in all or to this user, as may be: `limit`", ""),
        LimitExceeded => ("more than a limit of the wallet: `limit`; of a day also `spent` and `resets_at`", "ask for less, or later under a new key"),
        HoldNotFound => ("there is no such hold, or it is on another user's wallet", ""),
        HoldNotOpen => ("the hold was captured, voided or has expired: `state`", ""),
        HoldExpired => ("the hold's time is over: `expires_at`", "ask for another hold"),
        CaptureExceeds => ("less is left of the hold: `left`", "ask for less"),
        CouponKindNotFound => ("there is no such coupon kind", "`GET /v1/coupon-kinds`"),
        ClaimCodeNotFound => ("no coupon kind has this claim code", ""),
        CouponKindInUse => ("a tier gives this kind", "keep it in the list, or change the tiers first"),
        CouponNotFound => ("the user has no such coupon", ""),
        CouponUsed => ("the coupon has been used", ""),
        CouponExpired => ("the coupon has ended: `expires_at`", ""),
        CouponNotApplicable => ("the coupon does not apply to this payment, or takes nothing off it; or coupons of this kind are not given now", ""),
        HoldLimit => ("1,000 holds of one wallet have something left: `limit`", "capture or void some of them"),
        InsufficientFunds => ("the wallet holds less: `balance`, `needed`", "recharge, or ask for less"),
        BalanceLimit => ("a user's balance would exceed 1000000000000000.00, or a system wallet's 90000000000000000.00 (half of that for recharges by the role `user`)", ""),
        NotDone => ("another item of the atomic batch was refused", "see `index`"),
        Busy => ("a queue is full, or the server stops", "retry, see `Retry-After`"),
        StorageFull => ("too little space is left to write; reading goes on", "make space, retry"),
        ClockJumped => ("the wall clock jumped forward by a day or more: `wall_clock`, `expected`; reading goes on", "correct the clock, or start with `serve --accept-clock`"),
        OutcomeUnknown => ("a commit failed, and the server stops", "retry with the same key after the restart"),
        Internal => ("the server failed; its log has the cause", "retry with the same key"),
        Damaged => ("the file is damaged, or not where it was", "stop, and look with `cashbox verify`"),
    }
}

/// The meaning of an error, and the remedy.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ProblemPage"))]
pub(crate) struct ProblemPage {
    /// Its name.
    error: &'static str,
    /// Its HTTP status.
    status: u16,
    /// Its title.
    title: &'static str,
    /// The meaning.
    meaning: &'static str,
    /// The remedy; null if there is none.
    remedy: Option<&'static str>,
    /// True if it is given again for the same idempotency key.
    stored: bool,
}

/// `GET /problems/{name}`
pub(crate) fn page(context: &mut Context<'_>) -> HandlerResult {
    let name = ErrorName::from_text(&context.params[0]);
    let name = name.ok_or_else(|| Error::new(ErrorName::NotFound, "there is no error of that name"))?;
    let (meaning, remedy) = texts(name);
    let title = context.language.pick(name.title_zh(), name.title());
    if context.media_type == TEXT {
        let remedy = if remedy.is_empty() { String::new() } else { format!("What to do: {remedy}.\n") };
        let text = format!("{} (HTTP {}): {title}\n\n{meaning}.\n{remedy}", name.as_str(), name.status());
        return Ok(response::bytes(200, "text/plain; charset=utf-8", text.into_bytes()));
    }
    let page = ProblemPage {
        error: name.as_str(),
        status: name.status(),
        title,
        meaning,
        remedy: Some(remedy).filter(|remedy| !remedy.is_empty()),
        stored: name.is_refusal(),
    };
    Ok(response::ok(context.language.found(), &page))
}

/// The types of a page.
pub(crate) const TYPES: &[&str] = &[JSON, TEXT];
const TEXT: &str = "text/plain";
