//! Wallets and their entries: the money verbs, which become one kind of command for the single requests, for `/wallet`
//! and for the items of a batch; and looking at wallets.

use super::auth::{self, Caller};
use super::conn::RequestHead;
use super::coupons::{CouponJson, coupon_json};
use super::dry_run::DRY_RUN;
use super::fields::{BOUND_PATTERN, CODE_PATTERN, Field, Fields, RECEIVER_PATTERN, TZ, USER_PATTERN, ValueKind};
use super::files::{self, ROWS_STEP, TableFormat};
use super::request::{AFTER, Context, HandlerResult, LIMIT, PageRequest, Submission};
use super::response::{
    self, AsText, EntryJson, Language, WALLET_MEMBERS, WalletSettingsJson, WithMsg, entry_json, wallet_json,
    wallet_settings_json,
};
#[cfg(test)]
use super::schemas::TimeText;
use super::state::AppState;
use crate::clock::{DayEdge, rfc3339};
use crate::command::MoneyCommand;
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, UserId, WalletId};
use crate::ledger::as_of::wallet_as_of;
use crate::ledger::entry::{self, EntryKind};
use crate::ledger::query;
use crate::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use crate::ledger::wallet_list::{self, WalletFilter, WalletPage, WalletPlace};
use crate::ledger::{WalletStatus, find_wallet, held};
use crate::money::{Balance, Cents, Money};
use crate::token::Role;
use ValueKind::{Amount, Flag, Object, Text, Time};
use serde::Serialize;
use std::borrow::Cow;
use std::io;

const AMOUNT: Field = Field::required("amount", Amount, "how much; a number is taken as well");
pub(crate) const REFERENCE: Field =
    Field::optional("reference", Text, "your own name for it, at most 255 characters").within(0, 255);
pub(crate) const METADATA: Field = Field::optional("metadata", Object, "at most 20 strings to keep with it");

/// The fields of `recharge` and `withdraw`.
pub(crate) const RECHARGE: &[Field] = &[AMOUNT, REFERENCE, METADATA];
/// The fields of `pay`.
pub const PAY: &[Field] = &[
    AMOUNT,
    Field::optional("coupon", Text, "the code of a coupon of the payer's").like(CODE_PATTERN),
    Field::optional("to", Text, "another user's wallet; @sales if left out").like(RECEIVER_PATTERN),
    REFERENCE,
    METADATA,
];
/// The fields of `transfer`.
pub(crate) const TRANSFER: &[Field] = &[
    Field::required("to", Text, "the receiver, who must have a wallet; from @sales an admin can pay to @bank")
        .like(RECEIVER_PATTERN),
    AMOUNT,
    REFERENCE,
    METADATA,
];
/// The fields of `refund`.
pub(crate) const REFUND: &[Field] = &[
    Field::optional("amount", Amount, "a part of it; everything that is not refunded yet if left out"),
    REFERENCE,
    METADATA,
];

/// A money verb of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MoneyVerb {
    /// `recharge`
    Recharge,
    /// `withdraw`
    Withdraw,
    /// `pay`
    Pay,
    /// `transfer`
    Transfer,
}

/// `POST /v1/wallets/{user}/recharge`
pub(crate) fn recharge(context: &mut Context<'_>) -> Result<Submission, Error> {
    move_money(context, MoneyVerb::Recharge)
}

/// `POST /v1/wallets/{user}/withdraw`
pub(crate) fn withdraw(context: &mut Context<'_>) -> Result<Submission, Error> {
    move_money(context, MoneyVerb::Withdraw)
}

/// `POST /v1/wallets/{user}/pay`
pub(crate) fn pay(context: &mut Context<'_>) -> Result<Submission, Error> {
    move_money(context, MoneyVerb::Pay)
}

/// `POST /v1/wallets/{user}/transfer`
pub(crate) fn transfer(context: &mut Context<'_>) -> Result<Submission, Error> {
    move_money(context, MoneyVerb::Transfer)
}

fn move_money(context: &mut Context<'_>, verb: MoneyVerb) -> Result<Submission, Error> {
    let command = command(context.app, &context.caller, verb, &context.params[0], &mut context.fields)?;
    submission(context, command)
}

/// `POST /v1/entries/{id}/refund`
pub(crate) fn refund(context: &mut Context<'_>) -> Result<Submission, Error> {
    let command = refund_command(context.app, &context.caller, &context.params[0], &mut context.fields)?;
    submission(context, command)
}

fn submission(context: &Context<'_>, command: MoneyCommand) -> Result<Submission, Error> {
    Ok(Submission::new(context.envelope()?, command, |moved, caller, language| {
        response::json(200, &moved_json(&moved, caller, language))
    }))
}

/// The command of a verb, for the wallet named in the path or the item, with the fields that came.
pub(crate) fn command(
    app: &AppState,
    caller: &Caller,
    verb: MoneyVerb,
    wallet: &str,
    fields: &mut Fields,
) -> Result<MoneyCommand, Error> {
    if verb == MoneyVerb::Transfer && wallet.starts_with('@') {
        return sales_to_bank(caller, wallet, fields);
    }
    let user = UserId::parse(wallet)?;
    caller.check_user(&user)?;
    let amount = fields.required_amount()?;
    match verb {
        MoneyVerb::Recharge => {
            if caller.role == Role::User && !app.settings.self_recharge {
                return Err(auth::forbidden("users cannot recharge their own wallets here; ask a teller"));
            }
            Ok(MoneyCommand::Recharge(Recharge { user, amount, note: fields.note()? }))
        }
        MoneyVerb::Withdraw => Ok(MoneyCommand::Withdraw(Withdraw { user, amount, note: fields.note()? })),
        MoneyVerb::Pay => {
            let to = fields.name("to")?.map_or(Ok(WalletId::SALES), |to| receiver(&user.wallet(), &to))?;
            let coupon = fields.name("coupon")?.map(|code| CouponCode::parse(&code)).transpose()?;
            Ok(MoneyCommand::Pay(Pay { user, to, gross: amount, coupon, note: fields.note()? }))
        }
        MoneyVerb::Transfer => {
            let to = receiver(&user.wallet(), &required_receiver(fields)?)?;
            Ok(MoneyCommand::Transfer(Transfer { from: user.wallet(), to, amount, note: fields.note()? }))
        }
    }
}

/// The command of a refund. Only an admin may undo a movement that only an admin may make.
pub(crate) fn refund_command(
    app: &AppState,
    caller: &Caller,
    entry: &str,
    fields: &mut Fields,
) -> Result<MoneyCommand, Error> {
    let entry = EntryId::parse(entry)?;
    if caller.role != Role::Admin
        && let Ok(original) = app.store.read(|tx| entry::entry(tx, entry))
        && original.from == WalletId::SALES
        && original.to == WalletId::BANK
    {
        return Err(auth::forbidden("only an admin takes money out of @sales, or puts it back"));
    }
    Ok(MoneyCommand::Refund(Refund { entry, amount: fields.amount("amount")?, note: fields.note()? }))
}

/// Takes sales out: the one movement between system wallets that a client may ask for, and only an admin.
fn sales_to_bank(caller: &Caller, wallet: &str, fields: &mut Fields) -> Result<MoneyCommand, Error> {
    let (from, to) = (WalletId::parse(wallet)?, WalletId::parse(&required_receiver(fields)?)?);
    if (&from, &to) != (&WalletId::SALES, &WalletId::BANK) {
        let detail = "of the system's wallets, only @sales can pay, and only to @bank";
        return Err(Error::new(ErrorName::InvalidUser, detail));
    }
    if caller.role != Role::Admin {
        return Err(auth::forbidden("only an admin takes money out of @sales"));
    }
    Ok(MoneyCommand::Transfer(Transfer { from, to, amount: fields.required_amount()?, note: fields.note()? }))
}

fn required_receiver(fields: &mut Fields) -> Result<String, Error> {
    fields.name("to")?.ok_or_else(|| Error::invalid("to is missing: the receiver"))
}

/// The receiver of a payment or a hold.
pub(crate) fn receiver(payer: &WalletId, to: &str) -> Result<WalletId, Error> {
    let to = WalletId::parse(to)?;
    if to == *payer {
        return Err(Error::invalid("payer and receiver are the same wallet").with("field", "to"));
    }
    if to.is_system() && to != WalletId::SALES {
        return Err(Error::new(ErrorName::InvalidUser, "of the system's wallets, only @sales can receive"));
    }
    Ok(to)
}

/// The answer to a money verb.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum MovedJson<'a> {
    Recharge(RechargedJson<'a>),
    Pay(PaidJson<'a>),
    Other(MovementJson<'a>),
}

/// The answer to a withdrawal, a transfer or a refund.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Moved"))]
pub(crate) struct MovementJson<'a> {
    /// The balance after it: of the wallet in the path; of a refund, of the user's wallet that gets or gives it back.
    balance: AsText<Balance>,
    /// The entry that was made.
    entry: EntryJson<'a>,
    /// True in the answer to a dry run, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    dry_run: Option<bool>,
}

/// The answer to a recharge.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Recharged"))]
pub(crate) struct RechargedJson<'a> {
    /// The wallet's balance after it.
    balance: AsText<Balance>,
    /// The entry that was made.
    entry: EntryJson<'a>,
    /// The coupon that it earned; null if it earned none.
    coupon: Option<CouponJson<'a>>,
    /// True if it created the wallet.
    created: bool,
    /// True in the answer to a dry run, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    dry_run: Option<bool>,
}

/// The answer to a payment.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Paid"))]
pub(crate) struct PaidJson<'a> {
    /// The payer's balance after it.
    balance: AsText<Balance>,
    /// The entry that was made.
    entry: EntryJson<'a>,
    /// The price before the discount.
    gross: Option<AsText<Money>>,
    /// The discount.
    discount: Option<AsText<Cents>>,
    /// The amount that was paid.
    amount: AsText<Money>,
    /// True in the answer to a dry run, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    dry_run: Option<bool>,
}

/// The body of the answer to a money verb.
pub(crate) fn moved_json<'a>(
    moved: &'a Moved,
    caller: &Caller,
    language: Language,
) -> WithMsg<Cow<'static, str>, MovedJson<'a>> {
    let entry = &moved.entry;
    let is_receiver = match entry.kind {
        EntryKind::Recharge | EntryKind::Capture | EntryKind::Release => true,
        EntryKind::Withdraw | EntryKind::Pay | EntryKind::Transfer | EntryKind::Hold => false,
        // The payer's balance; that of the user if a recharge is refunded, which the bank paid.
        EntryKind::Refund => !entry.to.is_system() || entry.from.is_system(),
    };
    let balance = AsText(if is_receiver { entry.to_balance } else { entry.from_balance });
    let json = entry_json(entry, caller);
    let rest = match entry.kind {
        EntryKind::Recharge => {
            let coupon = moved.coupon.as_ref().map(|coupon| coupon_json(coupon, coupon.granted_at));
            let created = moved.created;
            MovedJson::Recharge(RechargedJson { balance, entry: json, coupon, created, dry_run: None })
        }
        EntryKind::Pay => MovedJson::Pay(PaidJson {
            balance,
            entry: json,
            gross: entry.gross.map(AsText),
            discount: entry.discount.map(AsText),
            amount: AsText(entry.amount),
            dry_run: None,
        }),
        _ => MovedJson::Other(MovementJson { balance, entry: json, dry_run: None }),
    };
    WithMsg { code: 200, msg: moved_msg(moved, language), rest }
}

/// The verb, and the coupon it earned.
fn moved_msg(moved: &Moved, language: Language) -> Cow<'static, str> {
    let verb = language.moved(moved.entry.kind);
    let earned = moved.message.as_ref().map(|(zh, en)| language.pick(zh, en)).filter(|earned| !earned.is_empty());
    earned.map_or(verb.into(), |earned| format!("{verb}{}{earned}", language.pick(",", ", ")).into())
}

/// The path of the caller's own wallet.
pub(crate) const OWN_PATH: &str = "/wallet";

const USER_ID: Field = Field::optional("user_id", Text, "the user, if the access token is not bound to one")
    .like(USER_PATTERN)
    .such_as("\"alice\"");
/// The query of `/wallet`.
pub(crate) const OWN_QUERY: &[Field] = &[USER_ID];
/// The query of `POST` and `PUT /wallet`.
pub(crate) const OWN_MOVE_QUERY: &[Field] = &[USER_ID, DRY_RUN];
/// The fields of `POST` and `PUT /wallet`.
pub(crate) const OWN_MOVE: &[Field] =
    &[Field::required("amount", Amount, "how much; also under its old name, money"), USER_ID, REFERENCE, METADATA];

/// The most coupons in `GET /wallet`; `/v1/wallets/{user}/coupons` lists all.
const COUPONS_MAX: usize = 1_000;

/// The wallet of the caller.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "OwnWallet"))]
pub(crate) struct OwnWalletJson<'a> {
    /// The user.
    user_id: &'a str,
    /// The amount that can be spent.
    balance: AsText<Balance>,
    /// The amount that is reserved besides.
    held: AsText<Cents>,
    /// The coupons that can be used, at most 1000.
    coupons: Vec<CouponJson<'a>>,
}

/// `GET /wallet`. Before its first use it is empty.
pub(crate) fn own(context: &mut Context<'_>) -> HandlerResult {
    let user = own_user(context)?;
    let wall_ms = context.app.store.clock().wall_ms();
    let (balance, reserved, coupons, now) = context.app.store.read(|tx| {
        let balance = find_wallet(tx, &user.wallet())?.map_or(Balance::ZERO, |wallet| wallet.balance);
        let now = query::steady_ms(tx, wall_ms)?;
        let coupons = query::usable_coupons(tx, &user, now, COUPONS_MAX)?;
        Ok((balance, held(tx, &user.wallet())?, coupons, now))
    })?;
    let own = OwnWalletJson {
        user_id: user.as_str(),
        balance: AsText(balance),
        held: AsText(reserved),
        coupons: coupons.iter().map(|coupon| coupon_json(coupon, now)).collect(),
    };
    Ok(response::ok(context.language.found(), &own))
}

/// `POST /wallet`: recharge.
pub(crate) fn recharge_own(context: &mut Context<'_>) -> Result<Submission, Error> {
    move_own(context, MoneyVerb::Recharge)
}

/// `PUT /wallet`: withdraw.
pub(crate) fn withdraw_own(context: &mut Context<'_>) -> Result<Submission, Error> {
    move_own(context, MoneyVerb::Withdraw)
}

fn move_own(context: &mut Context<'_>, verb: MoneyVerb) -> Result<Submission, Error> {
    let user = own_user(context)?;
    let command = command(context.app, &context.caller, verb, user.as_str(), &mut context.fields)?;
    submission(context, command)
}

/// The user of the access token; one without a user names it, in the body or in the query.
fn own_user(context: &mut Context<'_>) -> Result<UserId, Error> {
    let in_body = context.fields.user("user_id")?;
    let in_query = context.query.user("user_id")?;
    let user = match (in_body, in_query, context.caller.user.clone()) {
        (Some(one), Some(other), _) if one != other => {
            return Err(Error::invalid("body and query name different users"));
        }
        (one, other, own) => one.or(other).or(own),
    };
    let user = user
        .ok_or_else(|| Error::new(ErrorName::InvalidUser, "send user_id: this access token is not bound to a user"))?;
    context.caller.check_user(&user)?;
    Ok(user)
}

/// The `msg` of a recharge or a withdrawal of `/wallet` if it cannot be read; see [`is_unreadable`].
pub(crate) fn msg_if_unreadable(head: &RequestHead, language: Language) -> Option<&'static str> {
    if head.path != OWN_PATH {
        return None;
    }
    match head.method.as_str() {
        "POST" => Some(language.pick("充值错误", "cannot recharge")),
        "PUT" => Some(language.pick("提现错误", "cannot withdraw")),
        _ => None,
    }
}

/// True for the errors of a request that cannot be read, wherever that was found out.
pub(crate) fn is_unreadable(error: &Error) -> bool {
    matches!(error.name, ErrorName::InvalidRequest | ErrorName::InvalidAmount | ErrorName::InvalidUser)
}

/// The query of one wallet.
pub(crate) const AS_OF: &[Field] = &[
    Field::optional("as_of", Time, "as it was then, entries of that millisecond included; of a date: at its end"),
    TZ,
];
/// The query of the list of wallets.
pub(crate) const WALLETS: &[Field] = &[
    LIMIT,
    AFTER,
    Field::optional("prefix", Text, "the beginning of the ids").such_as("\"al\""),
    Field::optional("name", Text, "the beginning of the names; the list is in their order").such_as("\"Al\""),
    Field::optional("status", Text, "open, frozen or closed").one_of(STATUSES),
    Field::optional("min", Amount, "users' wallets with this balance or more").like(BOUND_PATTERN),
    Field::optional("max", Amount, "users' wallets with this balance or less").like(BOUND_PATTERN),
    Field::optional("order", Text, "id, or balance: one page of users' wallets, the largest first")
        .one_of(&["id", "balance"])
        .or("\"id\""),
    Field::optional("system", Flag, "false leaves the system's wallets out").or("true"),
];

/// `GET /v1/wallets`
pub(crate) fn list(context: &mut Context<'_>) -> HandlerResult {
    let query = &mut context.query;
    for (name, default) in [("order", "id"), ("system", "true")] {
        if query.peek(name) == Some(default) {
            query.take(name); // cursors with and without it are the same
        }
    }
    let filters = ["prefix", "name", "status", "min", "max", "order", "system"];
    let page = PageRequest::read(query, "wallets", &filters)?;
    let by_balance = match query.text("order")?.as_deref() {
        None => false,
        Some("balance") => true,
        Some(_) => return Err(Error::invalid("order is id or balance").with("field", "order")),
    };
    let filter = WalletFilter {
        prefix: query.text("prefix")?.unwrap_or_default(),
        name: query.text("name")?.filter(|name| !name.is_empty()),
        status: query.text("status")?.map(|status| status_named(&status)).transpose()?,
        min: query.bound("min")?,
        max: query.bound("max")?,
        users_only: query.has("system") && !query.flag("system")?,
    };
    let after = page.after.as_deref().map(WalletPlace::from_text);
    let format = TableFormat::wanted(context);
    if let Some(format) = format.filter(|_| !page.is_limited && !by_balance) {
        let mut after = after;
        return files::all_rows(context, format, &WALLET_MEMBERS, move |store, lines| {
            let read = store.read(|tx| wallet_list::wallets(tx, &filter, after.as_ref(), ROWS_STEP));
            let found = read.map_err(io::Error::other)?;
            found.rows.iter().try_for_each(|listed| lines.add(&wallet_json(listed)))?;
            after = found.next;
            Ok(after.is_some())
        });
    }
    let found = context.app.store.read(|tx| match by_balance {
        true => Ok(WalletPage { rows: wallet_list::wallets_by_balance(tx, &filter, page.limit)?, next: None }),
        false => wallet_list::wallets(tx, &filter, after.as_ref(), page.limit),
    })?;
    let rows: Vec<_> = found.rows.iter().map(wallet_json).collect();
    let next = found.next.map(|next| next.to_text());
    match format {
        Some(format) => files::page(context, &page, format, &WALLET_MEMBERS, &rows, next.as_deref()),
        None => Ok(page.response(context.language, rows, next)),
    }
}

/// Each status of a wallet.
pub(crate) const STATUSES: &[&str] = &["open", "frozen", "closed"];

/// The status of that name.
pub(crate) fn status_named(name: &str) -> Result<WalletStatus, Error> {
    let detail = "status is open, frozen or closed";
    WalletStatus::from_text(name).ok_or_else(|| Error::invalid(detail).with("field", "status"))
}

/// One wallet: as it is now, or with `as_of` as it was then.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "WalletDetails"))]
pub(crate) struct WalletDetailsJson<'a> {
    /// Its user, or the name of a system wallet: `@bank`, `@sales`, `@holds`.
    user_id: &'a str,
    /// The amount that can be spent.
    balance: AsText<Balance>,
    /// The amount that is reserved besides. Absent with `as_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "AsText<Cents>"))]
    held: Option<AsText<Cents>>,
    /// The number of its entries.
    entries: i64,
    /// The time of its newest entry. Absent with `as_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<TimeText>"))]
    last_at: Option<Option<String>>,
    /// The number of coupons that can be used. Absent with `as_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "i64"))]
    coupons: Option<i64>,
    /// The moment that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "TimeText"))]
    as_of: Option<String>,
    /// Absent with `as_of`.
    #[serde(flatten)]
    settings: Option<WalletSettingsJson<'a>>,
    /// The amount that counts for `limit_per_day` so far; null without that limit. Absent with `as_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<AsText<Cents>>"))]
    spent_today: Option<Option<AsText<Cents>>>,
}

/// `GET /v1/wallets/{user}`
pub(crate) fn one(context: &mut Context<'_>) -> HandlerResult {
    let id = context.wallet()?;
    if let Some(time) = context.query.moment("as_of", DayEdge::End)? {
        let wallet = context.app.store.read(|tx| wallet_as_of(tx, &id, time))?;
        let then = WalletDetailsJson {
            user_id: id.as_str(),
            balance: AsText(wallet.balance),
            held: None,
            entries: wallet.entries,
            last_at: None,
            coupons: None,
            as_of: Some(rfc3339(time.min(context.app.store.clock().wall_ms()))),
            settings: None,
            spent_today: None,
        };
        return Ok(response::ok(context.language.found(), &then));
    }
    let wall_ms = context.app.store.clock().wall_ms();
    let found = context.app.store.read_by_one_statement(|tx| wallet_list::overview(tx, &id, wall_ms))?;
    let listed = found.listed;
    let now = WalletDetailsJson {
        user_id: id.as_str(),
        balance: AsText(listed.wallet.balance),
        held: Some(AsText(listed.held)),
        entries: listed.wallet.entries,
        last_at: Some(listed.last_at.map(rfc3339)),
        coupons: Some(found.coupons),
        as_of: None,
        settings: Some(wallet_settings_json(&found.settings)),
        spent_today: Some(found.spent_today.map(AsText)),
    };
    Ok(response::ok(context.language.found(), &now))
}
