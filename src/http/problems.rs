//! Errors as responses: `application/problem+json` (RFC 9457).

use super::conn::{Fault, Response};
use super::request::Failure;
use super::response::{self, Language};
use crate::error::{Error, ErrorName};
use serde_json::{Map, Value, json};

/// The body of an error: RFC 9457's members, ours (`error`, `code`, `msg`), and its facts.
pub fn body(error: &Error, language: Language) -> Map<String, Value> {
    let (name, status) = (error.name.as_str(), status(error.name));
    let mut body = Map::with_capacity(7 + error.facts.len());
    body.insert("code".to_owned(), json!(status));
    body.insert("msg".to_owned(), json!(language.pick(zh(error.name), error.name.title())));
    body.insert("type".to_owned(), json!(format!("/problems/{name}")));
    body.insert("title".to_owned(), json!(error.name.title()));
    body.insert("status".to_owned(), json!(status));
    body.insert("detail".to_owned(), json!(error.detail));
    body.insert("error".to_owned(), json!(name));
    for (fact, value) in &error.facts {
        body.insert(fact.to_string(), value.clone());
    }
    body
}

/// The response to a request that failed. An error that no client can cause goes to the log as well.
pub fn response(failure: Failure, language: Language) -> Response {
    let Failure { error, replayed } = failure;
    if error.is_ours() {
        crate::log::error("a request failed", &error);
    }
    let mut response = response::json(status(error.name), &body(&error, language));
    response.headers[0].1 = "application/problem+json".to_owned();
    let fact = |name: &str| error.facts.iter().find(|(fact, _)| fact == name).map(|(_, value)| value);
    match error.name {
        ErrorName::Unauthenticated => response.headers.push(("WWW-Authenticate", "Bearer".to_owned())),
        ErrorName::MethodNotAllowed => {
            let allowed = fact("allow").and_then(Value::as_str).unwrap_or_default();
            response.headers.push(("Allow", allowed.to_owned()));
        }
        ErrorName::Locked => {
            let ms = fact("free_in_ms").and_then(Value::as_i64).unwrap_or(0);
            response.headers.push(("Retry-After", (ms.max(0) as u64).div_ceil(1_000).max(1).to_string()));
        }
        ErrorName::Busy | ErrorName::StorageFull => response.headers.push(("Retry-After", "1".to_owned())),
        _ => {}
    }
    response::mark_replayed(&mut response, replayed);
    response
}

/// The error of a fault of the connection.
pub fn of_fault(fault: Fault) -> Error {
    match fault {
        Fault::BadRequest(sentence) => Error::invalid(sentence),
        Fault::HeadTimeout => Error::new(ErrorName::RequestTimeout, "the request head did not come whole in time"),
        Fault::BodyTimeout => Error::new(ErrorName::RequestTimeout, "the body did not come whole in time"),
        Fault::HeadTooLarge(sentence) => Error::new(ErrorName::HeadersTooLarge, sentence),
        Fault::BodyTooLarge { limit } => {
            Error::new(ErrorName::BodyTooLarge, format!("a body here has at most {limit} bytes")).with("limit", limit)
        }
        Fault::TransferEncoding => Error::new(
            ErrorName::NotImplemented,
            "a request body is sent with a Content-Length, not with a Transfer-Encoding",
        ),
        Fault::Version => Error::new(ErrorName::HttpVersion, "only HTTP/1.1 and HTTP/1.0 are supported"),
        Fault::TooManyConnections => Error::new(ErrorName::Busy, "too many connections; try again shortly"),
        Fault::ShuttingDown => Error::new(ErrorName::Busy, "shutting down"),
        Fault::Panic => Error::internal("a handler panicked"),
    }
}

/// The status of an error.
pub fn status(name: ErrorName) -> u16 {
    use ErrorName::*;
    match name {
        InvalidRequest | InvalidAmount | InvalidUser => 400,
        Unauthenticated => 401,
        InsufficientFunds => 402,
        Forbidden => 403,
        NotFound | WalletNotFound | EntryNotFound | CouponNotFound | CouponKindNotFound | TokenNotFound
        | LockNotFound => 404,
        MethodNotAllowed => 405,
        RequestTimeout => 408,
        CouponUsed | CouponNotApplicable | CouponKindInUse | AlreadyRefunded | NotRefundable | RefundExceeds
        | BalanceLimit | LockChanged | MaxHold => 409,
        LockLost => 412,
        BodyTooLarge => 413,
        UnsupportedMediaType => 415,
        IdempotencyKeyReused => 422,
        Locked => 423,
        NotDone => 424,
        LockTokenMissing => 428,
        HeadersTooLarge => 431,
        Internal | Damaged | OutcomeUnknown => 500,
        NotImplemented => 501,
        Busy | StorageFull => 503,
        HttpVersion => 505,
    }
}

/// The Chinese `msg` of an error.
fn zh(name: ErrorName) -> &'static str {
    use ErrorName::*;
    match name {
        InvalidRequest => "请求有误",
        InvalidAmount => "金额有误",
        InvalidUser => "用户有误",
        Unauthenticated => "需要访问令牌",
        Forbidden => "没有权限",
        InsufficientFunds => "余额不足",
        NotFound => "没有此地址",
        WalletNotFound => "钱包不存在",
        EntryNotFound => "记录不存在",
        CouponNotFound => "优惠券不存在",
        CouponKindNotFound => "优惠券种类不存在",
        TokenNotFound => "访问令牌不存在",
        LockNotFound => "锁不存在",
        MethodNotAllowed => "不支持此方法",
        RequestTimeout => "请求超时",
        CouponUsed => "优惠券已使用",
        CouponNotApplicable => "优惠券不适用",
        CouponKindInUse => "优惠券种类正在使用",
        AlreadyRefunded => "已退款",
        NotRefundable => "不可退款",
        RefundExceeds => "超过可退金额",
        BalanceLimit => "余额超过上限",
        LockChanged => "锁已变更",
        MaxHold => "锁已到最长持有时间",
        LockLost => "锁已失去",
        BodyTooLarge => "请求体过大",
        UnsupportedMediaType => "不支持的内容类型",
        IdempotencyKeyReused => "幂等键已用于其他请求",
        Locked => "已被锁定",
        NotDone => "未执行",
        LockTokenMissing => "缺少锁令牌",
        HeadersTooLarge => "请求头过大",
        Internal => "内部错误",
        Damaged => "数据文件已损坏",
        OutcomeUnknown => "结果未知,请用同一幂等键重试",
        NotImplemented => "未实现",
        Busy => "系统繁忙",
        StorageFull => "存储空间不足",
        HttpVersion => "不支持的 HTTP 版本",
    }
}
