//! The errors: one table of their names, statuses and texts, in the order of their precedence.
//!
//! A *refusal* is an answer by a rule and is stored: a repeat under the same idempotency key gets the same refusal. Any
//! other error (a form that cannot be read, a lock that another client holds, a full disk) may end differently the next
//! time and is never stored.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

macro_rules! errors {
    ($($variant:ident $name:literal $status:literal $kind:ident $en:literal $zh:literal,)*) => {
        /// The stable name of an error, for programs.
        ///
        /// The order is that of precedence: of two rules that a request breaks, the lesser name is answered. (Within the
        /// form it is the one that is read first.)
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorName {
            $(#[doc = concat!("`", $name, "`, HTTP status ", $status, ": ", $en, ".")] $variant,)*
        }

        impl ErrorName {
            /// Every name, in the order of precedence.
            pub const ALL: &[ErrorName] = &[$(ErrorName::$variant,)*];

            fn row(self) -> &'static ErrorRow {
                const ROWS: &[ErrorRow] = &[
                    $(ErrorRow { name: $name, status: $status, kind: ErrorKind::$kind, en: $en, zh: $zh },)*
                ];
                &ROWS[self as usize]
            }
        }
    };
}

/// One row of the table.
struct ErrorRow {
    name: &'static str,
    /// The HTTP status.
    status: u16,
    kind: ErrorKind,
    /// The meaning in English.
    en: &'static str,
    /// The meaning in Chinese.
    zh: &'static str,
}

#[derive(PartialEq, Eq)]
enum ErrorKind {
    /// Stored under an idempotency key.
    Refusal,
    /// Never stored.
    Other,
}

#[rustfmt::skip]
errors! {
    // the connection
    HttpVersion "http_version" 505 Other "HTTP version not supported" "不支持的 HTTP 版本",
    HeadersTooLarge "headers_too_large" 431 Other "the request head is too large" "请求头过大",
    NotImplemented "not_implemented" 501 Other "not implemented" "未实现",
    RequestTimeout "request_timeout" 408 Other "the request took too long to arrive" "请求超时",
    BodyTooLarge "body_too_large" 413 Other "the body is too large" "请求体过大",
    // the route and the caller
    NotFound "not_found" 404 Other "there is nothing here" "没有此地址",
    MethodNotAllowed "method_not_allowed" 405 Other "method not allowed" "不支持此方法",
    Unauthenticated "unauthenticated" 401 Other "an access token is needed" "需要访问令牌",
    Forbidden "forbidden" 403 Other "not allowed" "没有权限",
    // the form
    NotAcceptable "not_acceptable" 406 Other "none of the accepted types can be made" "无法提供所接受的格式",
    UnsupportedMediaType "unsupported_media_type" 415 Other "unsupported media type" "不支持的内容类型",
    InvalidRequest "invalid_request" 400 Other "the request cannot be read" "请求有误",
    InvalidUser "invalid_user" 400 Other "not a user" "用户有误",
    InvalidAmount "invalid_amount" 400 Other "not an amount" "金额有误",
    LockTokenMissing "lock_token_missing" 428 Other "a lock token is needed" "缺少锁令牌",
    NotEmpty "not_empty" 409 Other "the file is not empty" "数据文件不为空",
    Paused "paused" 409 Other "a request is paused" "有请求已暂停",
    CursorLost "cursor_lost" 409 Other "the file does not hold the entry of this cursor" "游标已失效",
    // the idempotency key
    IdempotencyKeyReused "idempotency_key_reused" 422 Other "the idempotency key belongs to another request" "幂等键已用于其他请求",
    // the lock
    LockLost "lock_lost" 412 Other "the lock is no longer held" "锁已失去",
    Locked "locked" 423 Other "another client holds the lock" "已被锁定",
    LockNotFound "lock_not_found" 404 Refusal "no such lock" "锁不存在",
    ChangedMeanwhile "changed_meanwhile" 412 Other "another client changed it meanwhile" "已被他人修改",
    LockChanged "lock_changed" 409 Refusal "the lock has another fence now" "锁已变更",
    MaxHold "max_hold" 409 Refusal "the lock may not be held longer" "锁已到最长持有时间",
    // the wallet, and the entry or the access token meant
    WalletNotFound "wallet_not_found" 404 Refusal "no such wallet" "钱包不存在",
    WalletClosed "wallet_closed" 409 Refusal "the wallet is closed" "钱包已关闭",
    WalletFrozen "wallet_frozen" 409 Refusal "the wallet is frozen" "钱包已冻结",
    WalletExists "wallet_exists" 409 Refusal "the wallet exists" "钱包已存在",
    WalletNotEmpty "wallet_not_empty" 409 Refusal "the wallet is not empty" "钱包不为空",
    TokenNotFound "token_not_found" 404 Refusal "no such access token" "访问令牌不存在",
    EntryNotFound "entry_not_found" 404 Refusal "no such entry" "记录不存在",
    NotRefundable "not_refundable" 409 Refusal "cannot be refunded" "不可退款",
    AlreadyRefunded "already_refunded" 409 Refusal "already refunded" "已退款",
    RefundExceeds "refund_exceeds" 409 Refusal "more than what is left to refund" "超过可退金额",
    // the hold
    HoldNotFound "hold_not_found" 404 Refusal "no such hold" "预留不存在",
    HoldNotOpen "hold_not_open" 409 Refusal "the hold is over" "预留已结束",
    HoldExpired "hold_expired" 409 Refusal "the hold has expired" "预留已过期",
    CaptureExceeds "capture_exceeds" 409 Refusal "more than what is left of the hold" "扣款超出预留",
    // the coupon
    CouponKindNotFound "coupon_kind_not_found" 404 Refusal "no such coupon kind" "优惠券种类不存在",
    ClaimCodeNotFound "claim_code_not_found" 404 Refusal "no such claim code" "领取码不存在",
    CouponKindInUse "coupon_kind_in_use" 409 Refusal "a recharge tier gives this coupon kind" "优惠券种类正在使用",
    CouponNotFound "coupon_not_found" 404 Refusal "no such coupon" "优惠券不存在",
    CouponUsed "coupon_used" 409 Refusal "the coupon has been used" "优惠券已使用",
    CouponExpired "coupon_expired" 409 Refusal "the coupon has expired" "优惠券已过期",
    CouponNotApplicable "coupon_not_applicable" 409 Refusal "the coupon does not apply" "优惠券不适用",
    CouponLimit "coupon_limit" 409 Refusal "no more coupons of this kind are given" "优惠券已领完",
    // the limits of the wallet
    HoldLimit "hold_limit" 409 Refusal "the wallet has as many holds as it may" "预留数量已达上限",
    LimitExceeded "limit_exceeded" 409 Refusal "a limit of the wallet is exceeded" "超出限额",
    // the funds
    InsufficientFunds "insufficient_funds" 402 Refusal "insufficient funds" "余额不足",
    BalanceLimit "balance_limit" 409 Refusal "a balance would pass its limit" "余额超过上限",
    // another item of the batch
    NotDone "not_done" 424 Other "not done, because another item of the batch was refused" "未执行",
    // the server; these may come at any time
    Busy "busy" 503 Other "busy" "系统繁忙",
    StorageFull "storage_full" 503 Other "no space left to write" "存储空间不足",
    ClockJumped "clock_jumped" 503 Other "the wall clock jumped forward" "系统时间异常",
    OutcomeUnknown "outcome_unknown" 500 Other "the outcome is unknown: ask again with the same idempotency key" "结果未知,请用同一幂等键重试",
    Internal "internal" 500 Other "internal error" "内部错误",
    Damaged "damaged" 500 Other "the file is damaged" "数据文件已损坏",
}

impl ErrorName {
    /// The name as programs see it.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Its HTTP status.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Returns whether it is a rule's, and so stored under the idempotency key.
    pub fn is_refusal(self) -> bool {
        self.row().kind == ErrorKind::Refusal
    }

    /// The meaning in a few English words.
    pub(crate) fn title(self) -> &'static str {
        self.row().en
    }

    /// The meaning in a few Chinese words.
    pub fn title_zh(self) -> &'static str {
        self.row().zh
    }

    /// The name with that text.
    #[doc(hidden)]
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
    /// One sentence for people: the failure, its reason, and the remedy.
    pub detail: String,
    /// Facts for programs, under stable names.
    pub facts: Vec<(Cow<'static, str>, Value)>,
    /// The cause, for the log and never for a client.
    pub cause: Option<String>,
}

const DISK_FAILED: &str = "the disk failed to read or to write; the log says what";

impl Error {
    /// An error with its sentence.
    pub(crate) fn new(name: ErrorName, detail: impl Into<String>) -> Error {
        Error { name, detail: detail.into(), facts: Vec::new(), cause: None }
    }

    /// The form of the request is wrong.
    pub(crate) fn invalid(detail: impl Into<String>) -> Error {
        Error::new(ErrorName::InvalidRequest, detail)
    }

    /// An error that only this program can have caused. The cause goes to the log.
    pub(crate) fn internal(cause: impl fmt::Display) -> Error {
        Error::new(ErrorName::Internal, "something went wrong here; the log says what").caused_by(cause)
    }

    /// Reading or writing the file failed. The cause goes to the log.
    pub(crate) fn disk_failed(cause: impl fmt::Display) -> Error {
        Error::new(ErrorName::Internal, DISK_FAILED).caused_by(cause)
    }

    /// True if reading or writing the file failed, so that nothing is known to be wrong with what it holds.
    pub(crate) fn is_disk_failure(&self) -> bool {
        self.detail == DISK_FAILED
    }

    /// The file holds a value that this program never writes. The cause goes to the log.
    pub(crate) fn damaged(cause: impl fmt::Display) -> Error {
        Error::new(ErrorName::Damaged, "the file is damaged: cashbox verify says how, and a backup can be restored")
            .caused_by(cause)
    }

    /// The fact of that name: text as it is, a number by its digits. None if there is no such fact, or if it is null.
    pub fn fact(&self, name: &str) -> Option<String> {
        let (_, value) = self.facts.iter().find(|(fact, value)| fact == name && !value.is_null())?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Returns whether only this program or the machine can have caused it: then it is logged.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self.name, ErrorName::Internal | ErrorName::Damaged)
    }

    /// The same error with one more fact.
    pub(crate) fn with(mut self, fact: &'static str, value: impl Into<Value>) -> Error {
        self.facts.push((Cow::Borrowed(fact), value.into()));
        self
    }

    /// The same error with its cause, which is logged and never sent.
    pub(crate) fn caused_by(mut self, cause: impl fmt::Display) -> Error {
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
