//! `cashbox create` and `cashbox set`: a wallet without money, and the settings of a wallet.

use super::api_call::ApiCall;
use super::input::{self, ChangeOptions, argument};
use super::output::{self, CliError, Exit};
use super::target::ApiClient;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};

/// The fields that a wallet has beside its money.
pub(crate) const FIELDS: [&str; 5] = ["name", "status", "limit_per_payment", "limit_per_day", "metadata"];

/// `cashbox create`
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The wallet's user
    user: String,
    #[command(flatten)]
    change: ChangeOptions,
}

impl CreateArgs {
    /// Creates the wallet and prints it.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let call = ApiCall::post(&["v1", "wallets", &argument(&self.user)?], json!({}), &self.change);
        client.run(&call, |body| block(body, &["balance"]))
    }
}

/// `cashbox set`
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The wallet's user
    user: String,
    /// A name for people
    #[arg(long, value_name = "TEXT", value_parser = input::option)]
    name: Option<String>,
    /// open, frozen (money may come in, none goes out) or closed (nothing moves)
    #[arg(long)]
    status: Option<String>,
    /// The most that may leave at once
    #[arg(long, value_name = "AMOUNT")]
    limit_per_payment: Option<String>,
    /// The most that may leave on one day of UTC
    #[arg(long, value_name = "AMOUNT")]
    limit_per_day: Option<String>,
    /// A pair to keep with the wallet; may be repeated, and replaces all pairs that are there
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    metadata: Vec<(String, String)>,
    /// A setting to take away; may be repeated
    #[arg(long, value_name = "SETTING", value_parser = PossibleValuesParser::new(
        ["name", "status", "metadata", "limit-per-payment", "limit-per-day"]
    ))]
    clear: Vec<String>,
    #[command(flatten)]
    change: ChangeOptions,
}

impl SetArgs {
    /// Changes the settings and prints them.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let mut fields = Map::new();
        let given = [
            ("name", &self.name),
            ("status", &self.status),
            ("limit_per_payment", &self.limit_per_payment),
            ("limit_per_day", &self.limit_per_day),
        ];
        for (field, value) in given {
            fields.extend(value.as_ref().map(|value| (field.to_owned(), json!(value))));
        }
        if !self.metadata.is_empty() {
            let pairs: Map<_, _> = self.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            fields.insert("metadata".to_owned(), Value::Object(pairs));
        }
        for setting in &self.clear {
            if fields.insert(setting.replace('-', "_"), Value::Null).is_some_and(|given| !given.is_null()) {
                return Err(CliError::usage(format!("--{setting} and --clear {setting} contradict each other")));
            }
        }
        if fields.is_empty() {
            return Err(CliError::usage(
                "there is nothing to set: give --name, --status, a limit, --metadata or --clear",
            ));
        }
        let call = ApiCall::patch(&["v1", "wallets", &argument(&self.user)?], &Value::Object(fields), &self.change);
        client.run(&call, |body| block(body, &FIELDS))
    }
}

/// The wallet's user and those fields.
fn block(body: &Value, fields: &[&str]) -> String {
    let mut wallet = body.clone();
    wallet["user"] = wallet["user_id"].take();
    output::block(&wallet, &[&["user"], fields].concat())
}
