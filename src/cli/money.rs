//! The verbs that move money between wallets, and the options that all verbs of money share.

use super::api_call::ApiCall;
use super::input::{self, ChangeOptions, argument, optional_argument};
use super::output::{self, CliError, Exit};
use super::target::ApiClient;
use clap::Args;
use serde_json::{Value, json};

/// Options of a verb that moves money.
#[derive(Debug, Args)]
pub(crate) struct MoveOptions {
    /// Your own reference, kept with the entry
    #[arg(long, value_name = "TEXT", value_parser = input::option)]
    reference: Option<String>,
    /// A pair to keep with the entry; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    metadata: Vec<(String, String)>,
    /// Print what would be done now, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeOptions,
}

impl MoveOptions {
    /// Posts the fields and these options, and prints the reply as `text` writes it.
    pub(crate) fn post(
        &self,
        client: &ApiClient,
        path: &[&str],
        mut fields: Value,
        text: fn(&Value) -> String,
    ) -> Result<Exit, CliError> {
        fields["reference"] = json!(self.reference);
        if !self.metadata.is_empty() {
            let pairs = self.metadata.iter().map(|(name, value)| (name.clone(), json!(value)));
            fields["metadata"] = Value::Object(pairs.collect());
        }
        client.run(&ApiCall::post(path, fields, &self.change).tried_if(self.dry_run), text)
    }
}

/// A movement: its parties and amounts, and the balance of its wallet after it.
fn movement(body: &Value) -> String {
    let mut shown = body.clone();
    shown["msg"] = json!(output::text(&body["msg"]) + output::dry_run_note(body));
    shown["created"] = if body["created"] == true { json!("a new wallet") } else { Value::Null };
    for field in ["amount", "from", "to", "refunds"] {
        if shown[field].is_null() {
            shown[field] = body["entry"][field].clone();
        }
    }
    output::block(
        &shown,
        &["created", "from", "to", "gross", "discount", "amount", "balance", "coupon", "refunds", "entry"],
    )
}

/// `cashbox recharge`, `cashbox withdraw`
#[derive(Debug, Args)]
pub(crate) struct AmountArgs {
    /// The wallet's user
    user: String,
    /// The amount, such as 120 or 99.50
    #[arg(allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    options: MoveOptions,
}

impl AmountArgs {
    /// Moves the money and prints the movement.
    pub(crate) fn run(&self, client: &ApiClient, verb: &str) -> Result<Exit, CliError> {
        let (user, amount) = (argument(&self.user)?, argument(&self.amount)?);
        self.options.post(client, &["v1", "wallets", &user, verb], json!({ "amount": amount }), movement)
    }
}

/// `cashbox pay`
#[derive(Debug, Args)]
pub(crate) struct PayArgs {
    /// The payer
    user: String,
    /// The price, before the coupon
    #[arg(allow_negative_numbers = true)]
    amount: String,
    /// A coupon of the payer
    #[arg(long, value_name = "CODE", value_parser = input::option)]
    coupon: Option<String>,
    /// The receiver [default: @sales]
    #[arg(long, value_name = "WALLET", value_parser = input::option)]
    to: Option<String>,
    #[command(flatten)]
    options: MoveOptions,
}

impl PayArgs {
    /// Moves the money and prints the movement.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, amount) = (argument(&self.user)?, argument(&self.amount)?);
        let fields = json!({ "amount": amount, "coupon": self.coupon, "to": self.to });
        self.options.post(client, &["v1", "wallets", &user, "pay"], fields, movement)
    }
}

/// `cashbox transfer`
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// The payer
    from: String,
    /// The receiver; its wallet must exist
    to: String,
    /// The amount, such as 120 or 99.50
    #[arg(allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    options: MoveOptions,
}

impl TransferArgs {
    /// Moves the money and prints the movement.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (from, to, amount) = (argument(&self.from)?, argument(&self.to)?, argument(&self.amount)?);
        self.options.post(
            client,
            &["v1", "wallets", &from, "transfer"],
            json!({ "to": to, "amount": amount }),
            movement,
        )
    }
}

/// `cashbox refund`
#[derive(Debug, Args)]
pub(crate) struct RefundArgs {
    /// The number of the entry to give back
    entry: String,
    /// The part of it to give back [default: all that is left]
    #[arg(allow_negative_numbers = true)]
    amount: Option<String>,
    #[command(flatten)]
    options: MoveOptions,
}

impl RefundArgs {
    /// Moves the money and prints the movement.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (entry, amount) = (argument(&self.entry)?, optional_argument(self.amount.as_ref())?);
        self.options.post(client, &["v1", "entries", &entry, "refund"], json!({ "amount": amount }), movement)
    }
}
