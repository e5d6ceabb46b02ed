//! Money: exact text in, integer cents inside, exact text out. Floats are not used.

use crate::error::Error;
use rust_decimal::Decimal;
use std::fmt;
use std::str::FromStr;

/// A positive amount of cents. Direction belongs to the entry, never to the amount.
///
/// ```
/// use cashbox::Money;
/// assert_eq!(Money::parse("120").unwrap().to_string(), "120.00");
/// assert_eq!(Money::parse("0.1").unwrap().cents(), 10);
/// assert!(Money::parse("1e3").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(i64);

impl Money {
    /// One cent.
    pub const MIN: Money = Money(1);
    /// 1000000000000.00, the largest amount one request may name.
    pub const MAX: Money = Money(100_000_000_000_000);

    /// Reads 1 to 13 digits, optionally a point and one or two more: 0.01 … 1000000000000.00.
    /// Takes only what it can hold exactly; rounding is the caller's decision.
    pub fn parse(text: &str) -> Result<Money, Error> {
        let cents = plain_decimal(text).and_then(whole_cents);
        cents.and_then(Money::from_cents).ok_or_else(|| invalid(text))
    }

    /// The amount of that many cents, if it is one a request may name.
    pub fn from_cents(cents: i64) -> Option<Money> {
        (Money::MIN.0..=Money::MAX.0).contains(&cents).then_some(Money(cents))
    }

    /// The number of cents.
    pub fn cents(self) -> i64 {
        self.0
    }

    /// `percent` of it in cents, rounded half-up.
    #[doc(hidden)]
    pub fn percent(self, percent: i64) -> i64 {
        (self.0 * percent + 50) / 100
    }
}

impl FromStr for Money {
    type Err = Error;

    fn from_str(text: &str) -> Result<Money, Error> {
        Money::parse(text)
    }
}

/// The balance of a wallet, in cents. Only a system wallet's is ever negative.
///
/// ```
/// use cashbox::{Balance, Money};
/// assert_eq!(Balance::ZERO.plus(Money::MIN).unwrap().to_string(), "0.01");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Balance(i64);

impl Balance {
    /// The balance of a new wallet.
    pub const ZERO: Balance = Balance(0);
    /// No user's wallet holds more than 1000000000000000.00.
    pub const LIMIT: Balance = Balance(100_000_000_000_000_000);
    /// No system wallet holds or owes more than 90000000000000000.00: room for the limits of 90 users
    /// at once, and well within 64 bits.
    pub const SYSTEM_LIMIT: Balance = Balance(9_000_000_000_000_000_000);

    /// A balance read back from the file, in cents.
    pub fn from_cents(cents: i64) -> Balance {
        Balance(cents)
    }

    /// The number of cents.
    pub fn cents(self) -> i64 {
        self.0
    }

    /// The balance after receiving `amount`, if that is within [`Balance::SYSTEM_LIMIT`].
    pub fn plus(self, amount: Money) -> Option<Balance> {
        let sum = Balance(self.0.checked_add(amount.0)?);
        (sum <= Balance::SYSTEM_LIMIT).then_some(sum)
    }

    /// The balance after giving `amount`, if that is within [`Balance::SYSTEM_LIMIT`]. It may be negative: the wallet refuses that.
    pub fn minus(self, amount: Money) -> Option<Balance> {
        let rest = Balance(self.0.checked_sub(amount.0)?);
        (rest.0 >= -Balance::SYSTEM_LIMIT.0).then_some(rest)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Cents(self.0), out)
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Cents(self.0), out)
    }
}

/// Any whole number of cents as text with two decimals: a discount may be nothing, a balance below it.
///
/// ```
/// assert_eq!(cashbox::Cents(-5).to_string(), "-0.05");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cents(pub i64);

impl fmt::Display for Cents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(out, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

/// A sum of many amounts or balances, in cents: it may pass 64 bits.
pub(crate) struct CentSum(pub i128);

impl fmt::Display for CentSum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(out, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl Cents {
    /// Reads back what [`Cents`] and [`Balance`] write: digits with two decimals, below zero after a minus.
    pub fn parse(text: &str) -> Option<Cents> {
        let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
        let (whole, decimals) = digits.split_once('.')?;
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let plain = whole.len() <= BALANCE_DIGITS_MAX && decimals.len() == DECIMALS_MAX;
        let plain = plain && all_digits(whole) && all_digits(decimals);
        let cents: i64 = if plain { (whole.to_owned() + decimals).parse().ok()? } else { return None };
        Some(Cents(sign * cents))
    }
}

impl Cents {
    /// Reads a bound of a filter: as [`Money::parse`], but from 0.00 up to any balance.
    pub(crate) fn parse_bound(text: &str) -> Result<Cents, Error> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let is_plain = digits(whole, BALANCE_DIGITS_MAX - 1) && digits(decimals, DECIMALS_MAX);
        let cents = if is_plain { format!("{whole}{decimals:0<2}").parse().ok() } else { None };
        cents.map(Cents).ok_or_else(|| {
            let shown: String = text.chars().take(SHOWN_MAX).collect();
            let detail =
                format!("{shown:?} is not a valid bound: digits, optionally a point and one or two more, such as 0.00");
            Error::new(crate::error::ErrorName::InvalidAmount, detail)
        })
    }
}

/// Digits of the largest balance before its point.
const BALANCE_DIGITS_MAX: usize = 17;
const WHOLE_DIGITS_MAX: usize = 13;
const DECIMALS_MAX: usize = 2;

/// The number, if it is written in nothing but ASCII digits and at most one point between them.
fn plain_decimal(text: &str) -> Option<Decimal> {
    let (whole, decimals) = text.split_once('.').map_or((text, None), |(w, d)| (w, Some(d)));
    let digits = |part: &str, max: usize| (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let plain = digits(whole, WHOLE_DIGITS_MAX) && decimals.is_none_or(|d| digits(d, DECIMALS_MAX));
    if plain { Decimal::from_str_exact(text).ok() } else { None }
}

fn whole_cents(mut amount: Decimal) -> Option<i64> {
    amount.rescale(2);
    i64::try_from(amount.mantissa()).ok()
}

/// Characters of a text shown in the message that it is not a valid amount.
const SHOWN_MAX: usize = 40;

fn invalid(text: &str) -> Error {
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let detail = format!(
        "{shown:?} is not a valid amount: 1 to 13 digits, optionally a point and one or two more, from 0.01 to 1000000000000.00"
    );
    Error::new(crate::error::ErrorName::InvalidAmount, detail)
}
