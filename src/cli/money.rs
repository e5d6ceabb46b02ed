//! The verbs that move money.

use super::input::{self, ChangeOptions, argument};
use super::output::{self, CliError, Exit};
use super::target::{self, ApiCall, ApiClient};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// What goes with a movement.
#[derive(Debug, Args)]
struct Note {
    /// Your own name for it, kept with the entry
    #[arg(long, value_name = "TEXT", value_parser = input::option)]
    reference: Option<String>,
    /// Something to keep with the entry; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    changing: ChangeOptions,
}

impl Note {
    /// `POST` to the path, with the fields that were given and this.
    fn post(&self, path: &[&str], fields: &[(&str, Option<String>)]) -> ApiCall {
        let mut body = Map::new();
        let given = fields.iter().filter_map(|(name, value)| Some((*name, value.clone()?)));
        body.extend(given.map(|(name, value)| (name.to_owned(), Value::String(value))));
        if let Some(reference) = &self.reference {
            body.insert("reference".to_owned(), json!(reference));
        }
        if !self.metadata.is_empty() {
            let pairs = self.metadata.iter().map(|(name, value)| (name.clone(), json!(value)));
            body.insert("metadata".to_owned(), Value::Object(pairs.collect()));
        }
        ApiCall::post(path, &Value::Object(body), &self.changing)
    }
}

/// `cashbox recharge`
#[derive(Debug, Args)]
pub struct Recharge {
    /// Whose wallet
    user: String,
    /// How much, such as 120 or 99.50
    #[arg(allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    note: Note,
}

impl Recharge {
    /// Money into a wallet.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, amount) = (argument(&self.user)?, argument(&self.amount)?);
        client.run(&self.note.post(&["v1", "wallets", &user, "recharge"], &[("amount", Some(amount))]), moved)
    }
}

/// `cashbox withdraw`
#[derive(Debug, Args)]
pub struct Withdraw {
    /// Whose wallet
    user: String,
    /// How much
    #[arg(allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    note: Note,
}

impl Withdraw {
    /// Money out of a wallet.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, amount) = (argument(&self.user)?, argument(&self.amount)?);
        client.run(&self.note.post(&["v1", "wallets", &user, "withdraw"], &[("amount", Some(amount))]), moved)
    }
}

/// `cashbox pay`
#[derive(Debug, Args)]
pub struct Pay {
    /// Who pays
    user: String,
    /// The price, before the coupon
    #[arg(allow_negative_numbers = true)]
    amount: String,
    /// A coupon of the payer's
    #[arg(long, value_name = "CODE", value_parser = input::option)]
    coupon: Option<String>,
    /// Who is paid [default: @sales]
    #[arg(long, value_name = "WALLET", value_parser = input::option)]
    to: Option<String>,
    #[command(flatten)]
    note: Note,
}

impl Pay {
    /// Money for something bought.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, amount) = (argument(&self.user)?, argument(&self.amount)?);
        let fields = [("amount", Some(amount)), ("coupon", self.coupon.clone()), ("to", self.to.clone())];
        client.run(&self.note.post(&["v1", "wallets", &user, "pay"], &fields), moved)
    }
}

/// `cashbox transfer`
#[derive(Debug, Args)]
pub struct Transfer {
    /// Who gives
    from: String,
    /// Who receives; the wallet must exist
    to: String,
    /// How much
    #[arg(allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    note: Note,
}

impl Transfer {
    /// Money from one wallet to another.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (from, to, amount) = (argument(&self.from)?, argument(&self.to)?, argument(&self.amount)?);
        let fields = [("to", Some(to)), ("amount", Some(amount))];
        client.run(&self.note.post(&["v1", "wallets", &from, "transfer"], &fields), moved)
    }
}

/// `cashbox refund`
#[derive(Debug, Args)]
pub struct Refund {
    /// The entry to give back
    entry: String,
    /// How much of it [default: all that is left]
    #[arg(allow_negative_numbers = true)]
    amount: Option<String>,
    #[command(flatten)]
    note: Note,
}

impl Refund {
    /// An entry's money back.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (entry, amount) = (argument(&self.entry)?, input::optional_argument(self.amount.as_ref())?);
        client.run(&self.note.post(&["v1", "entries", &entry, "refund"], &[("amount", amount)]), moved)
    }
}

/// What a movement shows: what moved and between whom, and what its wallet has now.
fn moved(body: &Value) -> String {
    let entry = &body["entry"];
    let mut shown = body.clone();
    for field in ["amount", "from", "to", "refunds"] {
        if shown[field].is_null() {
            shown[field] = entry[field].clone();
        }
    }
    output::block(&shown, &["from", "to", "gross", "discount", "amount", "balance", "coupon", "refunds", "entry"])
}

/// `cashbox batch`
#[derive(Debug, Args)]
pub struct Batch {
    /// Where the operations are, such as {"op":"withdraw","user":"alice","amount":"1.00"}; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// All or nothing
    #[arg(long)]
    atomic: bool,
    #[command(flatten)]
    changing: ChangeOptions,
}

impl Batch {
    /// Many operations in order.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let operations = input::read_file(&self.file)?;
        let is_array = operations.trim_start().starts_with('[');
        let content_type = if is_array { target::JSON } else { "application/x-ndjson" };
        let call = ApiCall::post_text(&["v1", "batch"], content_type, operations, &self.changing);
        client.run(&call.query("atomic", self.atomic.then_some(true)), results)
    }
}

/// One line for each item: what its single request would have said.
fn results(body: &Value) -> String {
    let items = output::rows(body, "results");
    let line = |(index, item): (usize, &Value)| {
        let said = if item["error"].is_null() { output::text(&item["msg"]) } else { output::refusal_text(item) };
        json!({ "index": index, "code": item["code"], "said": said, "balance": item["balance"], "entry": item["entry"] })
    };
    let rows: Vec<_> = items.iter().enumerate().map(line).collect();
    let columns = [
        output::numbers("ITEM", "index"),
        output::numbers("CODE", "code"),
        output::numbers("BALANCE", "balance"),
        output::numbers("ENTRY", "entry"),
        output::words("RESULT", "said"),
    ];
    output::table(&rows, &columns, "nothing to do")
}
