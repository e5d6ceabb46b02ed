//! Values that can only be valid: amounts, ids, tokens and times, read from text and written as text.

use cashbox::internals::clock::{Clock, DayEdge, boot_offset_ms, parse_moment, parse_offset, parse_rfc3339, rfc3339};
use cashbox::internals::id::{CouponCode, LockToken, UserId};
use cashbox::internals::money::{Balance, Cents, Money};

#[test]
fn cents_written_and_read_are_the_same() {
    for cents in [0, 1, -1, 99, -100, 123_456, Balance::SYSTEM_LIMIT.cents(), -Balance::SYSTEM_LIMIT.cents()] {
        assert_eq!(Cents::parse(&Cents(cents).to_string()), Some(Cents(cents)));
    }
    for text in
        ["", "-", ".", "1", "1.", ".10", "1.1", "1.111", "+1.00", "--1.00", "1.-1", "123456789012345678.00", "1e3.00"]
    {
        assert_eq!(Cents::parse(text), None, "{text}");
    }
}

#[test]
fn amount_written_and_read_is_the_same() {
    for cents in 1..=10_000 {
        let text = Cents(cents).to_string();
        let money = Money::parse(&text).unwrap();
        assert_eq!(money.cents(), cents);
        assert_eq!(money.to_string(), text);
    }
}

#[test]
fn text_that_is_not_an_amount_is_refused() {
    let bad = "|nan|inf|1e400|-1|+1|0|0.00|0.001|1_000| 5 |٣|9007199254740993.01|.5|5.|1,5|0x10|1.2.3|1000000000000.01|99999999999999";
    for text in bad.split('|') {
        assert!(Money::parse(text).is_err(), "{text:?} is not an amount");
    }
}

#[test]
fn smallest_and_largest_amounts_are_taken() {
    assert_eq!(Money::parse("0.01").unwrap(), Money::MIN);
    assert_eq!(Money::parse("1000000000000.00").unwrap(), Money::MAX);
    assert_eq!(Money::parse("0000000000001").unwrap().cents(), 100);
}

#[test]
fn percentage_rounds_half_up() {
    let cents = |cents| Money::from_cents(cents).unwrap();
    assert_eq!(cents(12).percent(20), 2); // 2.4
    assert_eq!(cents(13).percent(50), 7); // 6.5
    assert_eq!(Money::MAX.percent(100), Money::MAX.cents());
}

#[test]
fn balance_stays_within_limit() {
    // The limit of a user's wallet is checked where money moves (`http_money`); this one holds for every wallet.
    assert_eq!(Balance::SYSTEM_LIMIT.plus(Money::MIN), None);
    assert_eq!(Balance::from_cents(-Balance::SYSTEM_LIMIT.cents()).minus(Money::MIN), None);
    assert!(Balance::LIMIT.plus(Money::MAX).is_some(), "a system wallet has room beyond the limit of a user");
    assert_eq!(Balance::from_cents(-5).to_string(), "-0.05");
}

#[test]
fn user_is_plain_and_short() {
    for good in ["alice", "A.b_c-9", "...", &"x".repeat(64)] {
        assert!(UserId::parse(good).is_ok(), "{good:?}");
    }
    for bad in ["", ".", "..", "@bank", "a b", "é", "a/b", &"x".repeat(65)] {
        assert!(UserId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn lock_token_is_read_as_it_is_written() {
    let text = "lk1.abc.17.0123456789abcdef";
    assert_eq!(LockToken::parse(text).unwrap().to_string(), text);
    for bad in [
        "",
        "lk2.abc.17.0123456789abcdef",
        "lk1.abc.17.short",
        "lk1.abc.-1.0123456789abcdef",
        "lk1.abc.0017.0123456789abcdef",
        "lk1.abc.17.0123456789abcdef.x",
    ] {
        assert!(LockToken::parse(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn coupon_code_is_the_same_in_any_case() {
    assert_eq!(CouponCode::parse("7k2q").unwrap(), CouponCode::parse("7K2Q").unwrap());
}

#[test]
fn time_is_written_as_it_is_read() {
    let text = "2026-01-01T00:00:00.000Z";
    assert_eq!(rfc3339(parse_rfc3339(text).unwrap()), text);
    assert_eq!(parse_rfc3339("2026-01-01T01:00:00+01:00"), parse_rfc3339(text));
    assert_eq!(parse_rfc3339("yesterday"), None);
    for text in ["0000-01-01T00:00:00.000Z", "9999-12-30T22:00:01.000Z", "9999-12-31T23:59:59.999Z"] {
        assert_eq!(parse_rfc3339(text).map(rfc3339).as_deref(), Some(text));
    }
}

#[test]
fn boot_time_does_not_go_back() {
    let before = Clock::Machine.boot_ms();
    assert!(Clock::Machine.boot_ms() >= before);
}

#[test]
fn date_is_start_or_end_of_its_day() {
    let at = |text: &str| parse_rfc3339(text).unwrap();
    let start = |text: &str, offset: &str| parse_moment(text, DayEdge::Start, parse_offset(offset).unwrap());
    let end = |text: &str, offset: &str| parse_moment(text, DayEdge::End, parse_offset(offset).unwrap());
    assert_eq!(start("2026-11-26", "Z"), Some(at("2026-11-26T00:00:00Z")));
    assert_eq!(end("2026-11-26", "Z"), Some(at("2026-11-26T23:59:59.999Z")));
    assert_eq!(start("2026-11-26", "+08:00"), Some(at("2026-11-26T00:00:00+08:00")));
    assert_eq!(end("2026-11-26", "-03:30"), Some(at("2026-11-26T23:59:59.999-03:30")));
    assert_eq!(start("1969-12-31", "Z"), Some(-86_400_000));
    assert_eq!(end("9999-12-31", "Z"), start("9999-12-31", "Z").map(|start| start + 86_399_999));
    let last = parse_moment("9999-12-31T23:59:59.999Z", DayEdge::Start, 0);
    assert_eq!(last, end("9999-12-31", "Z"));
    assert_eq!(parse_moment("9999-12-31T23:59:59.999-23:59", DayEdge::Start, 0), last.map(|ms| ms + 86_340_000));
    for time in ["2026-11-26T10:00:00Z", "2026-11-26T10:00:00.5+08:00", "0001-01-01T00:00:00Z"] {
        assert_eq!(end(time, "+08:00"), Some(at(time)), "{time} has its own offset");
    }
    for wrong in
        ["2026-02-30", "2026-1-1", "20261126", "2026-11-26T10:00:00", "9999-12-31T24:00:00Z", "10000-01-01", ""]
    {
        assert_eq!(start(wrong, "Z"), None, "{wrong}");
    }
    for wrong in ["+8:00", "08:00", "+24:00", "+08:60", "+0800", "Europe/Paris", "", "+", "+é:00"] {
        assert_eq!(parse_offset(wrong), None, "{wrong}");
    }
}

#[test]
fn offset_of_time_namespace_is_read() {
    assert_eq!(boot_offset_ms("monotonic           0         0\nboottime        86400 500000000\n"), Some(86_400_500));
    assert_eq!(boot_offset_ms("monotonic           0         0\nboottime       -10         0\n"), Some(-10_000));
    assert_eq!(boot_offset_ms(""), None);
}
