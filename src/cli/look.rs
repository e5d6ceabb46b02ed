//! The verbs that look and change nothing.

use super::input::{argument, optional_argument};
use super::output::{self, CliError, Exit, ServerReply, numbers, words};
use super::target::{ApiCall, ApiClient};
use clap::Args;
use serde_json::{Value, json};

/// How much of a list.
#[derive(Debug, Args)]
pub struct Paging {
    /// How many rows [default: 50; at most 1000]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,
    /// Go on where a list ended: its `next`
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// Rows asked for at once when all are wanted.
const ROWS_MAX: u32 = 1_000;

impl Paging {
    /// Shows the list: one page of it, or all pages as if they were one.
    pub fn run(
        &self,
        client: &ApiClient,
        list: &ApiCall,
        text: impl FnOnce(Vec<Value>) -> String,
    ) -> Result<Exit, CliError> {
        let limit = self.limit.or(self.all.then_some(ROWS_MAX));
        let page = |after: Option<&str>| client.target.send(&list.clone().query("limit", limit).query("after", after));
        let mut answer: ServerReply = page(self.after.as_deref())?;
        while let (true, true, Some(next)) = (self.all, answer.is_success(), answer.body["next"].as_str()) {
            let mut more = page(Some(next))?;
            if let (Some(before), Some(rows)) = (answer.body["data"].as_array(), more.body["data"].as_array()) {
                more.body["data"] = json!([before.as_slice(), rows.as_slice()].concat());
            }
            answer = more;
        }
        let exit = answer.print(client.json, |body| text(output::rows(body, "data")))?;
        if let (false, Some(next)) = (client.json, answer.body["next"].as_str()) {
            output::print_error(&format!("there is more: --all, or --after {next}"));
        }
        Ok(exit)
    }
}

/// `cashbox wallet`
#[derive(Debug, Args)]
pub struct Wallet {
    /// Whose
    user: String,
    /// As it was at that time, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
}

impl Wallet {
    /// One wallet.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let call = ApiCall::get(&["v1", "wallets", &argument(&self.user)?]).query("as_of", self.as_of.as_ref());
        client.run(&call, |body| {
            let mut wallet = body.clone();
            wallet["msg"] = body["user_id"].clone();
            output::block(&wallet, &["balance", "held", "entries", "coupons", "as_of"])
        })
    }
}

/// `cashbox wallets`
#[derive(Debug, Args)]
pub struct Wallets {
    #[command(flatten)]
    paging: Paging,
}

impl Wallets {
    /// All wallets.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [words("WALLET", "user_id"), numbers("BALANCE", "balance"), numbers("ENTRIES", "entries")];
        self.paging.run(client, &ApiCall::get(&["v1", "wallets"]), |rows| output::table(&rows, &columns, "no wallets"))
    }
}

/// `cashbox history`
#[derive(Debug, Args)]
pub struct History {
    /// Whose; everybody's if left out
    user: Option<String>,
    /// One kind only: recharge, withdraw, pay, transfer, refund
    #[arg(long)]
    kind: Option<String>,
    /// From that time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to that time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// desc (newest first) or asc [default: desc]
    #[arg(long)]
    order: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl History {
    /// Entries, newest first.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let user = optional_argument(self.user.as_ref())?;
        let list = match &user {
            Some(user) => ApiCall::get(&["v1", "wallets", user, "entries"]),
            None => ApiCall::get(&["v1", "entries"]),
        };
        let list = list.query("kind", self.kind.as_ref()).query("since", self.since.as_ref());
        let list = list.query("until", self.until.as_ref()).query("order", self.order.as_ref());
        self.paging.run(client, &list, |rows| entries(rows, user.as_deref()))
    }
}

/// Entries as a table; of one user's, what the user had after each.
fn entries(mut rows: Vec<Value>, user: Option<&str>) -> String {
    if let Some(user) = user {
        for row in &mut rows {
            let side = if row["from"] == user { "from_balance" } else { "to_balance" };
            row["balance"] = row[side].clone();
        }
    }
    let columns = [
        numbers("ENTRY", "id"),
        words("TIME", "at"),
        words("KIND", "kind"),
        words("FROM", "from"),
        words("TO", "to"),
        numbers("AMOUNT", "amount"),
        numbers("BALANCE", "balance"),
        words("COUPON", "coupon"),
        numbers("REFUNDS", "refunds"),
        words("REFERENCE", "reference"),
    ];
    output::table(&rows, &columns, "no entries")
}

/// `cashbox entry`
#[derive(Debug, Args)]
pub struct Entry {
    /// Its number
    id: String,
}

impl Entry {
    /// One entry.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        client.run(&ApiCall::get(&["v1", "entries", &argument(&self.id)?]), |body| {
            output::block(
                &body["entry"],
                &[
                    "at",
                    "kind",
                    "from",
                    "to",
                    "gross",
                    "discount",
                    "amount",
                    "from_balance",
                    "to_balance",
                    "coupon",
                    "refunds",
                    "reference",
                    "metadata",
                    "by",
                    "fence",
                    "hash",
                ],
            )
        })
    }
}

/// `cashbox coupons`
#[derive(Debug, Args)]
pub struct Coupons {
    /// Whose
    user: String,
    #[command(flatten)]
    paging: Paging,
}

impl Coupons {
    /// A user's coupons.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let list = ApiCall::get(&["v1", "wallets", &argument(&self.user)?, "coupons"]);
        self.paging.run(client, &list, |mut rows| {
            rows.iter_mut().for_each(|row| row["terms"] = json!(output::terms(row)));
            let columns = [
                words("CODE", "code"),
                words("KIND", "kind"),
                words("STATE", "state"),
                words("TERMS", "terms"),
                numbers("EARNED BY", "earned_by"),
                words("GRANTED", "granted_at"),
            ];
            output::table(&rows, &columns, "no coupons")
        })
    }
}

/// `cashbox coupon`
#[derive(Debug, Args)]
pub struct Coupon {
    /// Its code
    code: String,
    /// What a payment of that much would cost with it
    #[arg(long, value_name = "AMOUNT")]
    quote: Option<String>,
}

impl Coupon {
    /// One coupon, or what it would do to a price.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let code = argument(&self.code)?;
        match optional_argument(self.quote.as_ref())? {
            Some(amount) => {
                let call = ApiCall::get(&["v1", "coupons", &code, "quote"]).query("amount", Some(amount));
                client.run(&call, |body| {
                    output::block(body, &["applicable", "gross", "discount", "amount", "error", "detail"])
                })
            }
            None => client.run(&ApiCall::get(&["v1", "coupons", &code]), coupon),
        }
    }
}

/// One coupon as a block.
pub fn coupon(body: &Value) -> String {
    let coupon = &body["coupon"];
    let facts = json!({ "msg": body["msg"], "coupon": coupon, "user": coupon["user_id"], "kind": coupon["kind"],
        "state": coupon["state"], "granted_at": coupon["granted_at"], "earned_by_entry": coupon["earned_by"] });
    output::block(&facts, &["coupon", "user", "kind", "state", "granted_at", "earned_by_entry"])
}
