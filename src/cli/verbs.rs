//! The verbs of the wallet: each is one request of the HTTP API, and its reply printed.

use super::api_call::ApiCall;
use super::batch::BatchArgs;
use super::history::HistoryArgs;
use super::holds::{CaptureArgs, HoldArgs, HoldsArgs, VoidArgs};
use super::input::{self, ChangeOptions, argument, optional_argument};
use super::lists::{JournalArgs, Paging, WalletsArgs};
use super::money::{AmountArgs, PayArgs, RefundArgs, TransferArgs};
use super::output::{self, CliError, Exit};
use super::report::ReportArgs;
use super::settings::{self, CreateArgs, SetArgs};
use super::table::{self, free_texts, numbers, words};
use super::target::ApiClient;
use crate::clock::DayEdge;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// A verb, with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum WalletVerb {
    /// Put money into a wallet
    Recharge(AmountArgs),
    /// Take money out of a wallet
    Withdraw(AmountArgs),
    /// Pay from a wallet
    Pay(PayArgs),
    /// Move money between wallets
    Transfer(TransferArgs),
    /// Give an entry's money back
    Refund(RefundArgs),
    /// Reserve money of a wallet for a receiver
    Hold(HoldArgs),
    /// Move reserved money to its receiver
    Capture(CaptureArgs),
    /// Give reserved money back
    Void(VoidArgs),
    /// Carry out many operations: JSON objects, one a line, a JSON array of them, or a table as CSV
    Batch(BatchArgs),
    /// Create a wallet without money
    Create(CreateArgs),
    /// Set a wallet's name, status, metadata and limits
    Set(SetArgs),
    /// Show one wallet
    Wallet(WalletArgs),
    /// List all wallets
    Wallets(WalletsArgs),
    /// List entries, newest first: those of a user, or all
    History(HistoryArgs),
    /// List holds, newest first: those of a user, or all
    Holds(HoldsArgs),
    /// List the changes that are not movements of money, newest first
    Journal(JournalArgs),
    /// Sum up entries by kind for each hour, day or month
    Report(ReportArgs),
    /// Show one entry
    Entry {
        /// The entry's number
        id: String,
    },
    /// List a user's coupons, or those of all users
    Coupons(CouponsArgs),
    /// Show one coupon, or the price of a payment with it
    Coupon(CouponArgs),
    /// Give a user a coupon
    Grant(GrantArgs),
    /// Get a coupon for a claim code
    Claim(ClaimArgs),
    /// Show or set the recharge tiers
    Tiers(TableArgs),
    /// Show or set the coupon kinds
    CouponKinds(TableArgs),
    /// Mint, list, rotate and revoke access tokens
    #[command(subcommand)]
    Token(TokenVerb),
}

impl WalletVerb {
    /// Sends the request and prints the reply.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        match self {
            WalletVerb::Recharge(args) => args.run(client, "recharge"),
            WalletVerb::Withdraw(args) => args.run(client, "withdraw"),
            WalletVerb::Pay(args) => args.run(client),
            WalletVerb::Transfer(args) => args.run(client),
            WalletVerb::Refund(args) => args.run(client),
            WalletVerb::Hold(args) => args.run(client),
            WalletVerb::Capture(args) => args.run(client),
            WalletVerb::Void(args) => args.run(client),
            WalletVerb::Batch(args) => args.run(client),
            WalletVerb::Create(args) => args.run(client),
            WalletVerb::Set(args) => args.run(client),
            WalletVerb::Wallet(args) => args.run(client),
            WalletVerb::Wallets(args) => args.run(client),
            WalletVerb::History(args) => args.run(client),
            WalletVerb::Holds(args) => args.run(client),
            WalletVerb::Journal(args) => args.run(client),
            WalletVerb::Report(args) => args.run(client),
            WalletVerb::Entry { id } => entry(client, id),
            WalletVerb::Coupons(args) => args.run(client),
            WalletVerb::Coupon(args) => args.run(client),
            WalletVerb::Grant(args) => args.run(client),
            WalletVerb::Claim(args) => args.run(client),
            WalletVerb::Tiers(args) => tiers(client, args),
            WalletVerb::CouponKinds(args) => coupon_kinds(client, args),
            WalletVerb::Token(verb) => verb.run(client),
        }
    }
}

/// `cashbox wallet`
#[derive(Debug, Args)]
pub(crate) struct WalletArgs {
    /// The wallet's user
    user: String,
    /// The state at that time: 2026-01-31T12:00:00Z, 2026-01-31 (at its end, here), yesterday, 10m (ago)
    #[arg(long, value_name = "TIME", value_parser = input::moment(DayEdge::End))]
    as_of: Option<String>,
}

impl WalletArgs {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let call = ApiCall::get(&["v1", "wallets", &argument(&self.user)?]).query("as_of", self.as_of.as_ref());
        client.run(&call, |body| {
            let mut wallet = body.clone();
            wallet["msg"] = body["user_id"].clone();
            let fields = ["balance", "held", "entries", "last_at", "coupons", "as_of"];
            output::block(&wallet, &[&fields, &settings::FIELDS[..], &["spent_today"]].concat())
        })
    }
}

#[rustfmt::skip] // three lines instead of twenty
const ENTRY_FIELDS: [&str; 20] = [
    "at", "kind", "from", "to", "gross", "discount", "amount", "from_balance", "to_balance", "coupon", "refunds",
    "refunded_by", "hold", "hold_to", "hold_until", "reference", "metadata", "by", "fence", "hash",
];

fn entry(client: &ApiClient, id: &str) -> Result<Exit, CliError> {
    let call = ApiCall::get(&["v1", "entries", &argument(id)?]);
    client.run(&call, |body| {
        let mut entry = body["entry"].clone();
        entry["refunded_by"] = body["refunded_by"].clone();
        output::block(&entry, &ENTRY_FIELDS)
    })
}

/// `cashbox coupons`
#[derive(Debug, Args)]
pub(crate) struct CouponsArgs {
    /// The coupons' user [default: all users]
    user: Option<String>,
    /// Only coupons that were given as this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only coupons in this state: usable, reserved, used, expired, taken_back
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl CouponsArgs {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let user = optional_argument(self.user.as_ref())?;
        let list = match (&user, &self.kind, &self.state) {
            (Some(user), None, None) => ApiCall::get(&["v1", "wallets", user, "coupons"]),
            _ => ApiCall::get(&["v1", "coupons"])
                .query("kind", self.kind.as_ref())
                .query("state", self.state.as_ref())
                .query("user", user.as_ref()),
        };
        let columns = [
            words("CODE", "code"),
            words("USER", if user.is_none() { "user_id" } else { "" }),
            words("KIND", "kind"),
            words("STATE", "state"),
            words("TERMS", "terms"),
            numbers("EARNED BY", "earned_by"),
            words("GRANTED", "granted_at"),
            words("EXPIRES", "expires_at"),
        ];
        self.paging.run(client, &list, |rows| table::table(&with_terms(rows), &columns, "no coupons"))
    }
}

/// Coupons or coupon kinds, each with its effect in the field `terms`.
fn with_terms(mut rows: Vec<Value>) -> Vec<Value> {
    rows.iter_mut().for_each(|row| row["terms"] = json!(output::terms(row)));
    rows
}

/// `cashbox coupon`
#[derive(Debug, Args)]
pub(crate) struct CouponArgs {
    /// The coupon's code
    code: String,
    /// Show the price of a payment of that amount with it
    #[arg(long, value_name = "AMOUNT")]
    quote: Option<String>,
}

impl CouponArgs {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let code = argument(&self.code)?;
        match optional_argument(self.quote.as_ref())? {
            Some(amount) => {
                let call = ApiCall::get(&["v1", "coupons", &code, "quote"]).query("amount", Some(amount));
                let fields = ["applicable", "gross", "discount", "amount", "error", "detail"];
                client.run(&call, |body| {
                    let mut quote = body.clone();
                    quote["msg"] = json!(code); // "ok" would be read as an answer to the question
                    output::block(&quote, &fields)
                })
            }
            None => client.run(&ApiCall::get(&["v1", "coupons", &code]), coupon),
        }
    }
}

fn coupon(body: &Value) -> String {
    let coupon = &body["coupon"];
    let msg = output::text(&body["msg"]) + output::dry_run_note(body);
    let fields = json!({ "msg": msg, "coupon": coupon, "user": coupon["user_id"], "kind": coupon["kind"],
        "state": coupon["state"], "granted_at": coupon["granted_at"], "expires_at": coupon["expires_at"],
        "earned_by_entry": coupon["earned_by"] });
    output::block(&fields, &["coupon", "user", "kind", "state", "granted_at", "expires_at", "earned_by_entry"])
}

/// `cashbox grant`
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The user who gets it
    user: String,
    /// The coupon kind
    kind: String,
    #[command(flatten)]
    change: ChangeOptions,
}

impl GrantArgs {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, kind) = (argument(&self.user)?, argument(&self.kind)?);
        let path = ["v1", "wallets", &user, "coupons"];
        client.run(&ApiCall::post(&path, json!({ "kind": kind }), &self.change), coupon)
    }
}

/// `cashbox claim`
#[derive(Debug, Args)]
pub(crate) struct ClaimArgs {
    /// The user who gets it
    user: String,
    /// The claim code, in any case
    code: String,
    /// Print what would be done now, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeOptions,
}

impl ClaimArgs {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, code) = (argument(&self.user)?, argument(&self.code)?);
        let path = ["v1", "wallets", &user, "coupons", "claim"];
        let call = ApiCall::post(&path, json!({ "code": code }), &self.change);
        client.run(&call.tried_if(self.dry_run), coupon)
    }
}

/// `cashbox tiers`, `cashbox coupon-kinds`
#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    /// New rows of the table: JSON, a JSON file, or `-`
    #[arg(long, value_name = "JSON|FILE")]
    set: Option<String>,
    #[command(flatten)]
    change: ChangeOptions,
}

impl TableArgs {
    /// Reads the table, or replaces its rows. They may come as a list, as HTTP takes them, or as `--json` prints them, so
    /// that printed rows can be edited and set.
    fn call(&self, path: &[&str], field: &str) -> Result<ApiCall, CliError> {
        let Some(set) = &self.set else { return Ok(ApiCall::get(path)) };
        let body = match input::json(set)? {
            Value::Object(mut printed) if printed.contains_key("data") => json!({ field: printed.remove("data") }),
            rows @ Value::Array(_) => json!({ field: rows }),
            body => body,
        };
        Ok(ApiCall::put(path, &body, &self.change))
    }
}

fn tiers(client: &ApiClient, args: &TableArgs) -> Result<Exit, CliError> {
    let columns = [numbers("FROM", "from"), words("COUPON KIND", "coupon_kind")];
    client.run(&args.call(&["v1", "tiers"], "tiers")?, |body| {
        table::table(&output::rows(body, "data"), &columns, "no tiers: no recharge earns a coupon")
    })
}

fn coupon_kinds(client: &ApiClient, args: &TableArgs) -> Result<Exit, CliError> {
    let columns = [
        words("KIND", "kind"),
        words("TERMS", "terms"),
        words("CLAIM CODE", "claim_code"),
        numbers("LIMIT", "limit_total"),
        numbers("PER USER", "limit_per_user"),
        numbers("DAYS", "valid_days"),
        words("FROM", "valid_from"),
        words("UNTIL", "valid_until"),
        free_texts("ENGLISH", "earned_en"),
        free_texts("CHINESE", "earned_zh"),
    ];
    client.run(&args.call(&["v1", "coupon-kinds"], "coupon_kinds")?, |body| {
        table::table(&with_terms(output::rows(body, "data")), &columns, "no coupon kinds")
    })
}

/// `cashbox token`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Mint an access token; its secret is shown only once
    Create(CreateTokenArgs),
    /// List the access tokens, without their secrets
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Give an access token another secret, shown only once; it stays the same caller, so keys used before are known
    Rotate {
        /// The access token's id
        id: String,
        /// Time for which the old secret stays valid, such as 10m [default: 0s]
        #[arg(long, value_name = "TIME", value_parser = input::seconds("0s", "7d"))]
        overlap: Option<i64>,
    },
    /// Revoke an access token
    Revoke {
        /// The access token's id
        id: String,
        #[command(flatten)]
        change: ChangeOptions,
    },
}

impl TokenVerb {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        match self {
            TokenVerb::Create(args) => args.run(client),
            TokenVerb::List { paging } => {
                let columns = [
                    words("ID", "id"),
                    words("ROLE", "role"),
                    words("USER", "user"),
                    words("PREFIX", "prefix"),
                    free_texts("NOTE", "note"),
                    words("CREATED", "created_at"),
                    words("EXPIRES", "expires_at"),
                    words("REVOKED", "revoked_at"),
                ];
                let list = ApiCall::get(&["v1", "tokens"]);
                paging.run(client, &list, |rows| table::table(&rows, &columns, "no access tokens"))
            }
            TokenVerb::Rotate { id, overlap } => {
                let fields = json!({ "overlap_s": overlap });
                // Not repeatable, as minting.
                let path = ["v1", "tokens", &argument(id)?, "rotate"];
                let call = ApiCall::post(&path, fields, &ChangeOptions::default()).once();
                client.run(&call, |body| {
                    output::block(body, &["id", "token", "role", "user", "prefix", "expires_at", "note"])
                })
            }
            TokenVerb::Revoke { id, change } => {
                let call = ApiCall::delete(&["v1", "tokens", &argument(id)?], change);
                client.run(&call, |body| output::block(body, &["id", "role", "user", "prefix", "note", "revoked_at"]))
            }
        }
    }
}

/// `cashbox token create`
#[derive(Debug, Args)]
pub(crate) struct CreateTokenArgs {
    /// user, locker, teller, auditor or admin [default: user, if --user is given]
    #[arg(long, required_unless_present = "user")]
    role: Option<String>,
    /// The wallet's user, for the role user
    #[arg(long, value_parser = input::option)]
    user: Option<String>,
    /// The beginning of the ids of the locks that it may take, such as jobs/, for the role locker
    #[arg(long, value_parser = input::option)]
    prefix: Option<String>,
    /// Time until it expires, such as 12h or 30d [default: it does not expire]
    #[arg(long, value_name = "TIME", value_parser = input::seconds("1s", "36525d"))]
    expires: Option<i64>,
    /// A note for people
    #[arg(long, value_name = "TEXT", value_parser = input::option)]
    note: Option<String>,
}

impl CreateTokenArgs {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let role = self.role.as_deref().unwrap_or("user");
        let fields = json!({
            "role": role, "user": self.user, "prefix": self.prefix, "expires_in_s": self.expires, "note": self.note
        });
        // Not repeatable: a reply with a secret is not stored, so a second request would mint a second token.
        let call = ApiCall::post(&["v1", "tokens"], fields, &ChangeOptions::default()).once();
        client.run(&call, |body| output::block(body, &["id", "token", "role", "user", "prefix", "expires_at", "note"]))
    }
}
