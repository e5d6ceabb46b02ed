//! Names and numbers of users, wallets, entries, coupons, keys and locks. Each is valid once it is made.

use crate::error::{Error, ErrorName};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A user: 1–64 characters of `A-Z a-z 0-9 . _ -`, and neither `.` nor `..`. Also the id of the user's wallet.
///
/// ```
/// use cashbox::UserId;
/// assert_eq!(UserId::parse("alice").unwrap().to_string(), "alice");
/// assert!("a b".parse::<UserId>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

impl UserId {
    /// Reads a user as a client wrote it.
    pub fn parse(text: &str) -> Result<UserId, Error> {
        if UserId::is_valid(text) {
            return Ok(UserId(text.to_owned()));
        }
        Err(Error::new(ErrorName::InvalidUser, "a user is 1 to 64 characters of A-Z a-z 0-9 . _ - (and not . or ..)"))
    }

    fn is_valid(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        (1..=64).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != ".."
    }

    /// The user as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user's wallet.
    pub fn wallet(&self) -> WalletId {
        WalletId(Cow::Owned(self.0.clone()))
    }
}

/// A wallet: a user's, or the system's (`@…`).
///
/// ```
/// use cashbox::{UserId, WalletId};
/// let alice = UserId::parse("alice").unwrap();
/// assert_eq!(WalletId::from(&alice), "alice".parse().unwrap());
/// assert!(WalletId::SALES.is_system());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalletId(Cow<'static, str>);

impl WalletId {
    /// The outside world: money enters and leaves the file through it.
    pub const BANK: WalletId = WalletId(Cow::Borrowed("@bank"));
    /// The receiver of payments.
    pub const SALES: WalletId = WalletId(Cow::Borrowed("@sales"));
    /// The holder of reserved money.
    pub const HOLDS: WalletId = WalletId(Cow::Borrowed("@holds"));
    /// Every system wallet.
    pub const SYSTEM: [WalletId; 3] = [WalletId::BANK, WalletId::HOLDS, WalletId::SALES];

    /// Reads a wallet as a client wrote it: a user's or a system wallet.
    pub fn parse(text: &str) -> Result<WalletId, Error> {
        let system = WalletId::SYSTEM.into_iter().find(|id| id.0 == text);
        system.map_or_else(|| UserId::parse(text).map(|user| user.wallet()), Ok)
    }

    /// A wallet id read from the file, which may be damaged: any text.
    pub(crate) fn stored(text: String) -> WalletId {
        WalletId(Cow::Owned(text))
    }

    /// Returns whether it is a valid id: one read from a damaged file may be any text.
    pub(crate) fn is_real(&self) -> bool {
        UserId::is_valid(&self.0) || WalletId::SYSTEM.contains(self)
    }

    /// Returns whether it is a system wallet. Only such a wallet may go below zero.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('@')
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lock of this wallet; system wallets have none.
    pub fn lock(&self) -> Option<LockId> {
        (!self.is_system()).then(|| LockId(format!("{}{}", LockId::OF_A_WALLET, self.0)))
    }
}

/// The number of an entry: 1, 2, 3, … without gaps.
///
/// ```
/// assert_eq!("17".parse(), Ok(cashbox::EntryId(17)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub i64);

impl EntryId {
    /// The largest number that is read: 18 digits.
    pub(crate) const MAX: i64 = 999_999_999_999_999_999;

    /// Reads an entry's number as a client wrote it.
    pub fn parse(text: &str) -> Result<EntryId, Error> {
        let digits = (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number.map(EntryId).ok_or_else(|| Error::invalid("an entry is named by its number"))
    }
}

/// The number of a lease. It grows with every grant of any lock and never repeats.
///
/// ```
/// assert_eq!("17".parse(), Ok(cashbox::Fence(17)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub i64);

/// A coupon's code, in capitals: typed in any case it means the same.
///
/// ```
/// let code: cashbox::CouponCode = "7k2q".parse().unwrap();
/// assert_eq!(code.to_string(), "7K2Q");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CouponCode(String);

impl CouponCode {
    /// The symbols of codes: capitals and digits, without the look-alikes `I`, `O`, `0` and `1`.
    pub(crate) const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

    /// The longest code: the number of longer codes would not fit into the file.
    pub(crate) const LENGTH_MAX: usize = 12;

    /// The shortest code that is drawn.
    pub(crate) const LENGTH_MIN: usize = 4;

    /// Reads a code as a person typed it, in any case.
    pub fn parse(text: &str) -> Result<CouponCode, Error> {
        let valid =
            (1..=CouponCode::LENGTH_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if valid {
            Ok(CouponCode(text.to_ascii_uppercase()))
        } else {
            Err(Error::invalid("a coupon is named by its code, such as 7K2Q"))
        }
    }

    /// Returns whether the text is a code that can have been drawn: one typed or read from a damaged file may be any text.
    pub(crate) fn can_be_drawn(text: &str) -> bool {
        (CouponCode::LENGTH_MIN..=CouponCode::LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|symbol| CouponCode::ALPHABET.contains(&symbol))
    }

    /// A code of random `bytes`, one symbol each.
    pub(crate) fn from_random(bytes: &[u8]) -> CouponCode {
        let symbol = |byte: &u8| char::from(CouponCode::ALPHABET[usize::from(*byte) % CouponCode::ALPHABET.len()]);
        CouponCode(bytes.iter().map(symbol).collect())
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A public code that any user may type to get a coupon: 3–32 of `A-Z 0-9 -`, typed in any case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimCode(String);

impl ClaimCode {
    /// Reads a code as a person typed it.
    pub fn parse(text: &str) -> Result<ClaimCode, Error> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if (3..=32).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(ClaimCode(text.to_ascii_uppercase()));
        }
        Err(Error::invalid("a claim code has 3 to 32 characters of A-Z 0-9 -, such as SPRING24"))
    }

    /// The code as text, in capitals.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client's name for one request: 1–255 visible ASCII characters. `"k"` in quotes, as the IETF draft has it, is the same
/// key as `k`.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    text: String,
    /// With its quotes, if it was sent with them: earlier versions stored it so.
    quoted: Option<String>,
}

impl PartialEq for IdempotencyKey {
    fn eq(&self, other: &IdempotencyKey) -> bool {
        self.text == other.text
    }
}

impl Eq for IdempotencyKey {}

impl std::hash::Hash for IdempotencyKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl IdempotencyKey {
    /// Reads a key as a client sent it.
    pub fn parse(text: &str) -> Result<IdempotencyKey, Error> {
        if is_visible(text, 1..=255) {
            let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            // One with quotes inside is not quoted text: without its own it could be another client's quoted key.
            let inner = inner.filter(|inner| !inner.is_empty() && !inner.contains('"'));
            let quoted = inner.map(|_| text.to_owned());
            return Ok(IdempotencyKey { text: inner.unwrap_or(text).to_owned(), quoted });
        }
        Err(Error::invalid("an Idempotency-Key is 1 to 255 visible ASCII characters"))
    }

    /// The key of item `index` of a batch sent under this key.
    pub fn item(&self, index: usize) -> IdempotencyKey {
        let of_item = |key: &String| format!("{key}/{index}");
        IdempotencyKey { text: of_item(&self.text), quoted: self.quoted.as_ref().map(of_item) }
    }

    /// The key as text, without quotes.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key with its quotes, if it was sent with them.
    pub(crate) fn quoted(&self) -> Option<&str> {
        self.quoted.as_deref()
    }

    /// The key as it was sent.
    pub(crate) fn as_sent(&self) -> &str {
        self.quoted.as_deref().unwrap_or(&self.text)
    }
}

/// Returns whether a character can change how the text around it looks, or is not seen at all: control, zero-width and
/// bidirectional characters.
pub(crate) fn is_hidden(c: char) -> bool {
    let is_format = matches!(c, '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    c.is_control() || is_format
}

/// The text with each hidden character as its number: `\u{202e}`.
pub(crate) fn visible(text: &str) -> String {
    let shown = |c: char| if is_hidden(c) { c.escape_default().collect() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// The name of a lock: 1–255 bytes, exact and case-sensitive, without control or other hidden characters.
///
/// ```
/// use cashbox::{LockId, UserId};
/// let alice = UserId::parse("alice").unwrap();
/// assert_eq!(alice.wallet().lock(), Some("wallet/alice".parse().unwrap()));
/// assert!(LockId::parse("nightly report").is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(String);

impl LockId {
    pub(crate) const OF_A_WALLET: &str = "wallet/";

    /// Returns whether it is the lock of a user's wallet.
    pub(crate) fn is_of_a_wallet(&self) -> bool {
        self.0.starts_with(LockId::OF_A_WALLET)
    }

    /// Reads a lock's name as a client wrote it. System wallets have no locks: a holder would block all money.
    pub fn parse(text: &str) -> Result<LockId, Error> {
        if text.strip_prefix(LockId::OF_A_WALLET).is_some_and(|wallet| wallet.starts_with('@')) {
            return Err(Error::invalid("the system's wallets have no locks"));
        }
        if (1..=255).contains(&text.len()) && !text.chars().any(is_hidden) {
            return Ok(LockId(text.to_owned()));
        }
        Err(Error::invalid("a lock id is 1 to 255 bytes without control, zero-width or bidirectional characters"))
    }

    /// A name read from the file. Files of earlier versions hold names with hidden characters, but for control ones.
    pub(crate) fn stored(text: &str) -> Option<LockId> {
        let is_valid = |text: &str| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        let of_system = text.strip_prefix(LockId::OF_A_WALLET).is_some_and(|wallet| wallet.starts_with('@'));
        (is_valid(text) && !of_system).then(|| LockId(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The proof of one lease, as its holder presents it: `lk1.INCARNATION.FENCE.SECRET`.
/// It is a secret: debugging shows its fence alone, and `to_string` all of it.
///
/// ```
/// let token: cashbox::LockToken = "lk1.abc.17.0123456789abcdef".parse().unwrap();
/// assert_eq!(format!("{token:?}"), "LockToken(fence 17)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct LockToken {
    /// The history of the file it was granted in.
    #[doc(hidden)]
    pub incarnation: String,
    /// The lease's number.
    pub fence: Fence,
    /// The secret that proves it.
    #[doc(hidden)]
    pub secret: LockSecret,
}

impl LockToken {
    /// The sentence for a text that is not one.
    pub(crate) const UNREADABLE: &str =
        "this is not a lock token: give the one that acquiring the lock returned, lk1.….…";

    /// Reads a token; none if it has not the form of one.
    pub fn parse(text: &str) -> Option<LockToken> {
        let mut parts = text.split('.');
        let (version, incarnation, fence, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let whole = version == "lk1" && parts.next().is_none() && is_visible(incarnation, 1..=64);
        let secret = LockSecret::parse(secret).ok()?;
        let fence = EntryId::parse(fence).ok().filter(|number| number.0.to_string() == fence)?.0; // without zeros in front
        whole.then(|| LockToken { incarnation: incarnation.to_owned(), fence: Fence(fence), secret })
    }

    /// Reads a token that a client presents. Text of another form becomes a token that proves nothing.
    pub(crate) fn presented(text: &str) -> LockToken {
        let nothing = || LockToken { incarnation: String::new(), fence: Fence(0), secret: LockSecret(String::new()) };
        LockToken::parse(text).unwrap_or_else(nothing)
    }

    /// Returns whether it has the form of a token.
    pub(crate) fn is_readable(&self) -> bool {
        !self.incarnation.is_empty()
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "lk1.{}.{}.{}", self.incarnation, self.fence.0, self.secret.0)
    }
}

impl fmt::Debug for LockToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LockToken(fence {})", self.fence.0)
    }
}

/// The secret of one lease: 16–64 characters of `A-Z a-z 0-9 _ -`.
#[derive(Clone, PartialEq, Eq)]
pub struct LockSecret(String);

impl LockSecret {
    /// Reads a secret as a client chose it.
    pub fn parse(text: &str) -> Result<LockSecret, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (16..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(LockSecret(text.to_owned()));
        }
        Err(Error::invalid("a lock's secret is 16 to 64 characters of A-Z a-z 0-9 _ -"))
    }

    /// The secret as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LockSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LockSecret(…)")
    }
}

macro_rules! shown_as_text {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.as_str())
            }
        }
    )*};
}
shown_as_text!(UserId, WalletId, CouponCode, ClaimCode, IdempotencyKey, LockId);

macro_rules! shown_as_number {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }
    )*};
}
shown_as_number!(EntryId, Fence);

macro_rules! read_from_text {
    ($($kind:ident),*) => {$(
        impl FromStr for $kind {
            type Err = Error;

            fn from_str(text: &str) -> Result<$kind, Error> {
                $kind::parse(text)
            }
        }
    )*};
}
read_from_text!(UserId, WalletId, EntryId, CouponCode, IdempotencyKey, LockId);

impl FromStr for Fence {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fence, Error> {
        let number = text.parse().ok().filter(|number| *number > 0);
        number.map(Fence).ok_or_else(|| Error::invalid("a fence is a whole number from 1"))
    }
}

impl FromStr for LockToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<LockToken, Error> {
        LockToken::parse(text).ok_or_else(|| Error::invalid(LockToken::UNREADABLE))
    }
}

impl From<&UserId> for WalletId {
    fn from(user: &UserId) -> WalletId {
        user.wallet()
    }
}

impl From<&WalletId> for WalletId {
    fn from(wallet: &WalletId) -> WalletId {
        wallet.clone()
    }
}

fn is_visible(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}
