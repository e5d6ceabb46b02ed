//! Good answers: JSON with `code` and `msg` first, in Chinese or English; and entries and wallets as clients see them.

use super::auth::Caller;
use super::conn::{Body, Response};
#[cfg(test)]
use super::schemas::{HashText, MetadataObject, TimeText};
use crate::clock::rfc3339;
use crate::id::WalletId;
#[cfg(test)]
use crate::ledger::WalletStatus;
use crate::ledger::entry::{Entry, EntryKind};
use crate::ledger::settings::WalletSettings;
use crate::ledger::wallet_list::ListedWallet;
use crate::money::{Balance, Cents, Money};
use crate::secret::hex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt::Display;
use std::io::Read;

/// The language of `msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Chinese, the default of `/wallet`.
    Zh,
    /// English, the default of everything else.
    En,
}

impl Language {
    /// The one of the two that is in this language.
    pub fn pick<'a>(self, zh: &'a str, en: &'a str) -> &'a str {
        match self {
            Language::Zh => zh,
            Language::En => en,
        }
    }

    /// The `msg` of a good answer to a question.
    pub fn found(self) -> &'static str {
        self.pick("查询成功", "ok")
    }

    /// The `msg` of a good answer to a list or a batch.
    pub fn success(self) -> &'static str {
        self.pick("成功", "ok")
    }

    /// The `msg` of a money verb.
    pub fn moved(self, kind: EntryKind) -> &'static str {
        match kind {
            EntryKind::Recharge => self.pick("充值成功", "recharged"),
            EntryKind::Withdraw => self.pick("提现成功", "withdrawn"),
            EntryKind::Pay => self.pick("支付成功", "paid"),
            EntryKind::Transfer => self.pick("转账成功", "transferred"),
            EntryKind::Refund => self.pick("退款成功", "refunded"),
            EntryKind::Hold => self.pick("已预留", "held"),
            EntryKind::Capture => self.pick("已扣款", "captured"),
            EntryKind::Release => self.pick("已释放", "released"),
        }
    }
}

/// `code`, `msg` and the members of an object.
#[derive(Serialize)]
pub(crate) struct WithMsg<M, T> {
    /// The status.
    pub code: u16,
    /// A sentence for people.
    pub msg: M,
    /// The other members.
    #[serde(flatten)]
    pub rest: T,
}

/// 200 with these members.
pub(crate) fn ok(msg: &str, rest: &impl Serialize) -> Response {
    with_status(200, msg, rest)
}

/// Another good status.
pub(crate) fn with_status(status: u16, msg: &str, rest: &impl Serialize) -> Response {
    json(status, &WithMsg { code: status, msg, rest })
}

/// An object as it is, and a newline.
pub(crate) fn json(status: u16, body: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(body).expect("every name in a response is text");
    text.push(b'\n');
    bytes(status, "application/json", text)
}

/// Bytes of any type.
pub(crate) fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Response {
    Response {
        status,
        headers: vec![("Content-Type", content_type.to_owned()), ("Cache-Control", "no-store".to_owned())],
        body: Body::Bytes(body),
        close: false,
        undelivered: None,
    }
}

/// 200 with bytes that are read while they are sent.
pub(crate) fn stream(content_type: &str, reader: impl Read + Send + 'static) -> Response {
    Response { body: Body::Stream(Box::new(reader)), ..bytes(200, content_type, Vec::new()) }
}

/// Adds the path of the thing that a 201 has made: `folder`, and the name percent-encoded.
pub(crate) fn with_location(mut response: Response, folder: &str, name: &str) -> Response {
    let is_plain = |part: &str| !matches!(part, "" | "." | ".." | "events" | "revoke");
    // A slash is encoded as well where the path would be another one, or would not stay as it is on its way.
    let encoded = if name.split('/').all(is_plain) { IN_A_PATH } else { IN_A_SEGMENT };
    let name = percent_encoding::utf8_percent_encode(name, encoded);
    response.headers.push(("Location", format!("{folder}{name}")));
    response
}

/// All that is encoded in a path, and in a segment of one.
const IN_A_PATH: &AsciiSet = &IN_A_SEGMENT.remove(b'/');
const IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// 204.
pub(crate) fn no_content() -> Response {
    let mut response = bytes(204, "", Vec::new());
    response.headers.remove(0); // its Content-Type
    response
}

/// Marks a response that was given before, under the same idempotency key.
pub(crate) fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers.push(("Idempotency-Replayed", "true".to_owned()));
    }
}

/// All bytes of a body. A stream that fails ends early, and the log has the reason.
pub(crate) fn whole_body(body: Body) -> Vec<u8> {
    match body {
        Body::Bytes(bytes) => bytes,
        Body::Stream(mut stream) => {
            let mut bytes = Vec::new();
            if let Err(error) = stream.read_to_end(&mut bytes) {
                crate::log::error("a stream could not be read to its end", &error);
            }
            bytes
        }
    }
}

/// Serializes a value as its text: an amount, a time.
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) struct AsText<T>(pub T);

impl<T: Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The names of an entry's members, in order: also the first line of a CSV file.
pub(crate) const ENTRY_MEMBERS: [&str; 20] = [
    "id",
    "at",
    "kind",
    "from",
    "to",
    "amount",
    "from_balance",
    "to_balance",
    "coupon",
    "gross",
    "discount",
    "refunds",
    "reference",
    "metadata",
    "by",
    "fence",
    "hold",
    "hold_to",
    "hold_until",
    "hash",
];

/// One movement of money, which never changes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Entry"))]
pub(crate) struct EntryJson<'a> {
    /// Its number: 1, 2, 3, … without gaps. Null in a dry run.
    #[cfg_attr(test, schemars(with = "Option<i64>"))]
    id: i64,
    /// The time of its commit.
    #[cfg_attr(test, schemars(with = "TimeText"))]
    at: String,
    /// Its kind.
    #[cfg_attr(test, schemars(with = "EntryKind"))]
    kind: &'static str,
    /// The wallet that gives.
    from: &'a str,
    /// The wallet that receives.
    to: &'a str,
    /// The amount that moves.
    amount: AsText<Money>,
    /// The giver's balance after it. Null for the role `user` unless it is its own.
    from_balance: Option<AsText<Balance>>,
    /// The receiver's balance after it. Null for the role `user` unless it is its own.
    to_balance: Option<AsText<Balance>>,
    /// The code of the coupon that was used.
    coupon: Option<&'a str>,
    /// The price before the discount, of a payment.
    gross: Option<AsText<Money>>,
    /// The discount, of a payment.
    discount: Option<AsText<Cents>>,
    /// The number of the entry that it refunds.
    refunds: Option<i64>,
    /// The client's name for it.
    reference: Option<&'a str>,
    /// The client's strings.
    #[cfg_attr(test, schemars(with = "Option<MetadataObject>"))]
    metadata: Option<&'a RawValue>,
    /// The caller: a user, the id of an access token, or `@local`.
    by: &'a str,
    /// The fence of the lease it was made under.
    fence: Option<i64>,
    /// The hold that it is a step of, by the number of its first entry. Null for the role `user` if it is another's.
    hold: Option<i64>,
    /// The receiver, of a hold.
    hold_to: Option<&'a str>,
    /// The `expires_at` of a hold; the time of the capture that ends one.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    hold_until: Option<String>,
    /// SHA-256 over it and the hash of the entry before. Null for the role `user`.
    #[cfg_attr(test, schemars(with = "Option<HashText>"))]
    hash: Option<String>,
}

/// An entry as the caller may see it: the role `user` gets its own balance only, no hash, and as the receiver of a capture
/// not the number of the hold.
pub(crate) fn entry_json<'a>(entry: &'a Entry, caller: &Caller) -> EntryJson<'a> {
    let is_visible = |wallet: &WalletId| caller.user.as_ref().is_none_or(|user| user.as_str() == wallet.as_str());
    let is_receiver = entry.kind == EntryKind::Capture && caller.user.is_some() && is_visible(&entry.to);
    EntryJson {
        id: entry.id.0,
        at: rfc3339(entry.at),
        kind: entry.kind.as_str(),
        from: entry.from.as_str(),
        to: entry.to.as_str(),
        amount: AsText(entry.amount),
        from_balance: is_visible(&entry.from).then_some(AsText(entry.from_balance)),
        to_balance: is_visible(&entry.to).then_some(AsText(entry.to_balance)),
        coupon: entry.coupon.as_ref().map(|code| code.as_str()),
        gross: entry.gross.map(AsText),
        discount: entry.discount.map(AsText),
        refunds: entry.refunds.map(|id| id.0),
        reference: entry.reference.as_deref(),
        metadata: entry.metadata.as_deref().and_then(stored_json),
        by: &entry.by,
        fence: entry.fence.map(|fence| fence.0),
        hold: entry.hold.filter(|_| !is_receiver).map(|id| id.0),
        hold_to: entry.hold_to.as_ref().map(|to| to.as_str()),
        hold_until: entry.hold_until.filter(|_| !is_receiver).map(rfc3339),
        hash: caller.user.is_none().then(|| hex(&entry.hash)),
    }
}

/// An object of the file as it is stored there.
pub(crate) fn stored_json(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// A wallet.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Wallet"))]
pub(crate) struct WalletJson<'a> {
    /// Its user, or the name of a system wallet: `@bank`, `@sales`, `@holds`.
    user_id: &'a str,
    /// The amount that can be spent.
    balance: AsText<Balance>,
    /// The amount that is reserved besides.
    held: AsText<Cents>,
    /// The number of its entries.
    entries: i64,
    /// The time of its newest entry.
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    last_at: Option<String>,
    /// Its name, for people.
    name: Option<&'a str>,
    /// Its status.
    #[cfg_attr(test, schemars(with = "WalletStatus"))]
    status: &'static str,
}

/// The names of a wallet's members, in order.
pub(crate) const WALLET_MEMBERS: [&str; 7] = ["user_id", "balance", "held", "entries", "last_at", "name", "status"];

/// A wallet as a list shows it.
pub(crate) fn wallet_json(listed: &ListedWallet) -> WalletJson<'_> {
    let ListedWallet { wallet, last_at, name, held } = listed;
    WalletJson {
        user_id: wallet.id.as_str(),
        balance: AsText(wallet.balance),
        held: AsText(*held),
        entries: wallet.entries,
        last_at: last_at.map(rfc3339),
        name: name.as_deref(),
        status: wallet.status.as_str(),
    }
}

/// The settings of a wallet.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "WalletSettings"))]
pub(crate) struct WalletSettingsJson<'a> {
    /// Its name, for people.
    name: Option<&'a str>,
    /// Its status.
    #[cfg_attr(test, schemars(with = "WalletStatus"))]
    status: &'static str,
    /// The client's strings.
    #[cfg_attr(test, schemars(with = "Option<MetadataObject>"))]
    metadata: Option<&'a RawValue>,
    /// The most that may leave at once.
    limit_per_payment: Option<AsText<Money>>,
    /// The most that may leave on one day of UTC.
    limit_per_day: Option<AsText<Money>>,
}

/// The settings of a wallet.
pub(crate) fn wallet_settings_json(settings: &WalletSettings) -> WalletSettingsJson<'_> {
    WalletSettingsJson {
        name: settings.name.as_deref(),
        status: settings.status.as_str(),
        metadata: settings.metadata.as_deref().and_then(stored_json),
        limit_per_payment: settings.limits.per_payment.map(AsText),
        limit_per_day: settings.limits.per_day.map(AsText),
    }
}
