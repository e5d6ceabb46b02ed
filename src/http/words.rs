//! What is said to people, in Chinese and English. Programs match on `code` and `error`, never on these.

use crate::error::ErrorName;
use crate::ledger::entry::EntryKind;

/// The languages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Chinese: what `/wallet` speaks.
    Zh,
    /// English: what `/v1` speaks.
    En,
}

impl Language {
    /// The first of ours that the client would like, by weight and then by order; `usual` if it names neither, and the other
    /// one if it refuses that.
    pub fn wanted<'a>(accept_language: impl Iterator<Item = &'a str>, usual: Language) -> Language {
        let mut best: Option<(u32, Language)> = None;
        let mut refuses_usual = false;
        for item in accept_language.flat_map(|list| list.split(',')) {
            let (tag, weight) = weighed(item);
            let primary = tag.split('-').next().unwrap_or_default();
            let language = match () {
                () if primary.eq_ignore_ascii_case("zh") => Language::Zh,
                () if primary.eq_ignore_ascii_case("en") => Language::En,
                () => continue,
            };
            refuses_usual |= weight == 0 && language == usual;
            if weight > 0 && best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, language));
            }
        }
        let other = if usual == Language::Zh { Language::En } else { Language::Zh };
        best.map_or(if refuses_usual { other } else { usual }, |(_, language)| language)
    }

    /// The one of the two that is in this language.
    pub fn pick<'a>(self, zh: &'a str, en: &'a str) -> &'a str {
        match self {
            Language::Zh => zh,
            Language::En => en,
        }
    }
}

/// An item of an `Accept` or `Accept-Language` list: what it names, and its weight in thousandths.
pub fn weighed(item: &str) -> (&str, u32) {
    let mut parts = item.split(';').map(str::trim);
    let named = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='));
    (named, weight.map_or(1_000, thousandths))
}

/// `0.8` as 800; what cannot be read weighs nothing.
fn thousandths(weight: &str) -> u32 {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let decimals: u32 = format!("{decimals:0<3}").get(..3).and_then(|three| three.parse().ok()).unwrap_or(0);
    if whole == "1" { 1_000 } else { decimals }
}

/// What is said when money has moved.
pub fn moved(kind: EntryKind, language: Language) -> &'static str {
    match kind {
        EntryKind::Recharge => language.pick("充值成功", "recharged"),
        EntryKind::Withdraw => language.pick("提现成功", "withdrawn"),
        EntryKind::Pay => language.pick("支付成功", "paid"),
        EntryKind::Transfer => language.pick("转账成功", "transferred"),
        EntryKind::Refund => language.pick("退款成功", "refunded"),
    }
}

/// What is said of an error.
pub fn error(name: ErrorName, language: Language) -> &'static str {
    use ErrorName::*;
    let zh = match name {
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
    };
    language.pick(zh, name.title())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_wanted_most_is_spoken() {
        let wanted = |lists: &[&str], usual| Language::wanted(lists.iter().copied(), usual);
        let (zh, en) = (Language::Zh, Language::En);
        assert_eq!(wanted(&["en"], zh), en);
        assert_eq!(wanted(&["de, zh-CN;q=0.5, en;q=0.4"], en), zh);
        assert_eq!(wanted(&["en;Q=0.1, zh;q=0.5"], en), zh);
        assert_eq!(wanted(&["en;q=0.1", "zh"], en), zh);
        assert_eq!(wanted(&["zh;q=0, en;q=0.1"], zh), en);
        assert_eq!(wanted(&["zh;q=0"], zh), en);
        assert_eq!((wanted(&["fr, *"], zh), wanted(&[], en)), (zh, en));
    }
}
