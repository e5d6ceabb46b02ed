//! Holds: money reserved for a receiver, captured, given back; and their list.

use super::api_call::ApiCall;
use super::input::{self, argument, optional_argument};
use super::lists::Paging;
use super::money::MoveOptions;
use super::output::{self, CliError, Exit};
use super::table::{self, free_texts, numbers, words};
use super::target::ApiClient;
use clap::Args;
use serde_json::{Value, json};

/// `cashbox hold`
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// The wallet's user
    user: String,
    /// The amount; with a coupon, the price before it
    #[arg(allow_negative_numbers = true)]
    amount: String,
    /// The receiver [default: @sales]
    #[arg(long, value_name = "WALLET", value_parser = input::option)]
    to: Option<String>,
    /// Time until it expires, such as 2h or 30d [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = input::seconds("1s", "365d"))]
    expires: Option<i64>,
    /// A coupon of the user
    #[arg(long, value_name = "CODE", value_parser = input::option)]
    coupon: Option<String>,
    #[command(flatten)]
    options: MoveOptions,
}

impl HoldArgs {
    /// Reserves the money.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, amount) = (argument(&self.user)?, argument(&self.amount)?);
        let fields = json!({ "amount": amount, "to": self.to, "expires_in_s": self.expires, "coupon": self.coupon });
        self.options.post(client, &["v1", "wallets", &user, "holds"], fields, step)
    }
}

/// `cashbox capture`
#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// The hold's number
    hold: String,
    /// The part to capture [default: all that is left]
    #[arg(allow_negative_numbers = true)]
    amount: Option<String>,
    /// Keep the rest reserved; otherwise it goes back
    #[arg(long)]
    keep_rest: bool,
    #[command(flatten)]
    options: MoveOptions,
}

impl CaptureArgs {
    /// Moves the money to the receiver.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (hold, amount) = (argument(&self.hold)?, optional_argument(self.amount.as_ref())?);
        let fields = json!({ "amount": amount, "final": self.keep_rest.then_some(false) });
        self.options.post(client, &["v1", "holds", &hold, "capture"], fields, step)
    }
}

/// `cashbox void`
#[derive(Debug, Args)]
pub(crate) struct VoidArgs {
    /// The hold's number
    hold: String,
    #[command(flatten)]
    options: MoveOptions,
}

impl VoidArgs {
    /// Gives the money back.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let hold = argument(&self.hold)?;
        self.options.post(client, &["v1", "holds", &hold, "void"], json!({}), step)
    }
}

/// `cashbox holds`
#[derive(Debug, Args)]
pub(crate) struct HoldsArgs {
    /// The user [default: all users]
    user: Option<String>,
    /// Only those in this state: open, captured, voided or expired
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl HoldsArgs {
    /// Prints the list.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let user = optional_argument(self.user.as_ref())?;
        let list = match &user {
            Some(user) => ApiCall::get(&["v1", "wallets", user, "holds"]),
            None => ApiCall::get(&["v1", "holds"]),
        };
        let columns = [
            numbers("HOLD", "id"),
            words("USER", if user.is_none() { "user_id" } else { "" }),
            words("TO", "to"),
            numbers("AMOUNT", "amount"),
            numbers("CAPTURED", "captured"),
            numbers("LEFT", "left"),
            words("STATE", "state"),
            words("EXPIRES", "expires_at"),
            words("COUPON", "coupon"),
            free_texts("REFERENCE", "reference"),
        ];
        let list = list.query("state", self.state.as_ref());
        self.paging.run(client, &list, |rows| table::table(&rows, &columns, "no holds"))
    }
}

/// A hold after a step of it, the balance of its wallet, and the part that was given back or will be.
fn step(body: &Value) -> String {
    let mut shown = body["hold"].clone();
    shown["msg"] = json!(output::text(&body["msg"]) + output::dry_run_note(body));
    shown["balance"] = body["balance"].clone();
    shown["entry"] = body["entry"].clone();
    shown["gross"] = body["entry"]["gross"].clone();
    shown["discount"] = body["entry"]["discount"].clone();
    shown["hold"] = shown["id"].take();
    shown["user"] = shown["user_id"].take();
    shown["given_back"] = match (shown["state"].as_str(), shown["left"].as_str(), shown["released"].as_str()) {
        (Some("captured"), Some(left), _) if left != "0.00" => {
            let user = output::text(&shown["user"]);
            json!(format!("{left} as soon as the lock wallet/{user} is free"))
        }
        (_, _, Some("0.00")) => Value::Null,
        _ => shown["released"].take(),
    };
    let fields = [
        "hold",
        "user",
        "to",
        "gross",
        "discount",
        "amount",
        "captured",
        "given_back",
        "left",
        "state",
        "expires_at",
        "coupon",
        "balance",
        "entry",
    ];
    output::block(&shown, &fields)
}
