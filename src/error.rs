//! What can go wrong, by name. The names are stable: programs match on them.
//!
//! A *refusal* is a good answer: a rule said no, and a repeat under the same idempotency key says the same no.
//! Everything else (a form that cannot be read, somebody's lock, a full disk) may end differently next time and is
//! never remembered. Which HTTP status a name has is the business of `http::problem` alone.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

macro_rules! names {
    ($($variant:ident $text:literal $doc:literal,)*) => {
        /// The stable name of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorName { $(#[doc = $doc] $variant,)* }

        impl ErrorName {
            /// Every name there is.
            pub const ALL: &[ErrorName] = &[$(ErrorName::$variant,)*];

            /// The name as programs see it.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorName::$variant => $text,)* }
            }

            /// What it means, in a few words for people.
            pub fn title(self) -> &'static str {
                match self { $(ErrorName::$variant => $doc,)* }
            }
        }
    };
}

names! {
    InvalidRequest "invalid_request" "the request cannot be read",
    InvalidAmount "invalid_amount" "not an amount",
    InvalidUser "invalid_user" "not a user",
    Unauthenticated "unauthenticated" "an access token is needed",
    Forbidden "forbidden" "not allowed",
    InsufficientFunds "insufficient_funds" "insufficient funds",
    NotFound "not_found" "there is nothing here",
    WalletNotFound "wallet_not_found" "no such wallet",
    EntryNotFound "entry_not_found" "no such entry",
    CouponNotFound "coupon_not_found" "no such coupon",
    CouponKindNotFound "coupon_kind_not_found" "no such coupon kind",
    TokenNotFound "token_not_found" "no such access token",
    LockNotFound "lock_not_found" "no such lock",
    MethodNotAllowed "method_not_allowed" "method not allowed",
    RequestTimeout "request_timeout" "the request took too long to arrive",
    CouponUsed "coupon_used" "the coupon has been used",
    CouponNotApplicable "coupon_not_applicable" "the coupon does not apply",
    CouponKindInUse "coupon_kind_in_use" "a recharge tier gives this coupon kind",
    AlreadyRefunded "already_refunded" "already refunded",
    NotRefundable "not_refundable" "cannot be refunded",
    RefundExceeds "refund_exceeds" "more than what is left to refund",
    BalanceLimit "balance_limit" "a balance would pass its limit",
    LockChanged "lock_changed" "the lock has another fence now",
    MaxHold "max_hold" "the lock may not be held longer",
    LockLost "lock_lost" "the lock is no longer held",
    BodyTooLarge "body_too_large" "the body is too large",
    UnsupportedMediaType "unsupported_media_type" "unsupported media type",
    IdempotencyKeyReused "idempotency_key_reused" "the idempotency key belongs to another request",
    Locked "locked" "somebody else holds the lock",
    NotDone "not_done" "not done, because another item of the batch was refused",
    LockTokenMissing "lock_token_missing" "a lock token is needed",
    HeadersTooLarge "headers_too_large" "the request head is too large",
    Internal "internal" "an error of ours",
    Damaged "damaged" "the file is damaged",
    OutcomeUnknown "outcome_unknown" "the outcome is unknown: ask again with the same idempotency key",
    NotImplemented "not_implemented" "not implemented",
    Busy "busy" "busy",
    StorageFull "storage_full" "no space left to write",
    HttpVersion "http_version" "HTTP version not supported",
}

impl ErrorName {
    /// Whether a no of this name is a rule's, and so remembered under the idempotency key.
    pub fn is_refusal(self) -> bool {
        use ErrorName::*;
        matches!(
            self,
            InsufficientFunds
                | WalletNotFound
                | EntryNotFound
                | CouponNotFound
                | CouponKindNotFound
                | TokenNotFound
                | LockNotFound
                | CouponUsed
                | CouponNotApplicable
                | CouponKindInUse
                | AlreadyRefunded
                | NotRefundable
                | RefundExceeds
                | BalanceLimit
                | LockChanged
                | MaxHold
        )
    }

    /// The name with that text.
    pub fn from_text(text: &str) -> Option<ErrorName> {
        ErrorName::ALL.iter().copied().find(|name| name.as_str() == text)
    }
}

/// An error: its name, a sentence for people, and facts for programs (`balance`, `needed`, `holder`, …).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// use cashbox::ErrorName;
///
/// cashbox.recharge(&alice, "50".parse()?)?;
/// let error = cashbox.withdraw(&alice, "80".parse()?).unwrap_err();
/// assert_eq!(error.name, ErrorName::InsufficientFunds);
/// assert_eq!(error.fact("balance"), Some("50.00".to_owned()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Error {
    /// Its stable name.
    pub name: ErrorName,
    /// What was wrong and what would be right, in one sentence.
    pub detail: String,
    /// What helps a program, under stable names.
    pub facts: Vec<(Cow<'static, str>, Value)>,
    /// What really happened, for the log and never for a client.
    pub cause: Option<String>,
}

impl Error {
    /// An error with its sentence.
    pub fn new(name: ErrorName, detail: impl Into<String>) -> Error {
        Error { name, detail: detail.into(), facts: Vec::new(), cause: None }
    }

    /// The form of the request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Error {
        Error::new(ErrorName::InvalidRequest, detail)
    }

    /// Something that only we can have caused. The cause goes to the log.
    pub fn internal(cause: impl fmt::Display) -> Error {
        Error::new(ErrorName::Internal, "something went wrong here; the log says what").caused_by(cause)
    }

    /// The file holds what it never should. The cause goes to the log.
    pub fn damaged(cause: impl fmt::Display) -> Error {
        Error::new(ErrorName::Damaged, "the file is damaged: cashbox verify says how, and a backup can be restored")
            .caused_by(cause)
    }

    /// A fact by its name: text as it is, a number by its digits. None if there is no such fact, or if it is null.
    pub fn fact(&self, name: &str) -> Option<String> {
        let (_, value) = self.facts.iter().find(|(fact, value)| fact == name && !value.is_null())?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Whether only we, or the machine, can have caused it: the operator has to know.
    pub fn is_ours(&self) -> bool {
        matches!(self.name, ErrorName::Internal | ErrorName::Damaged)
    }

    /// The same error with one more fact.
    pub fn with(mut self, fact: &'static str, value: impl Into<Value>) -> Error {
        self.facts.push((Cow::Borrowed(fact), value.into()));
        self
    }

    /// The same error with its cause, which is logged and never sent.
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Error {
        self.cause = Some(cause.to_string());
        self
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.name.as_str(), self.detail)?;
        self.cause.iter().try_for_each(|cause| write!(out, " ({cause})"))
    }
}

impl std::error::Error for Error {}
