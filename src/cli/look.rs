//! The verbs that look and change nothing.

use super::call::Call;
use super::exit::{Exit, Trouble};
use super::input::{optional_word, word};
use super::show::{self, numbers, words};
use super::{Answer, Desk};
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
    pub fn run(&self, desk: &Desk, list: &Call, text: impl FnOnce(Vec<Value>) -> String) -> Result<Exit, Trouble> {
        let limit = self.limit.or(self.all.then_some(ROWS_MAX));
        let page = |after: Option<&str>| desk.door.answer(&list.clone().query("limit", limit).query("after", after));
        let mut answer: Answer = page(self.after.as_deref())?;
        while let (true, true, Some(next)) = (self.all, answer.is_good(), answer.body["next"].as_str()) {
            let mut more = page(Some(next))?;
            if let (Some(before), Some(rows)) = (answer.body["data"].as_array(), more.body["data"].as_array()) {
                more.body["data"] = json!([before.as_slice(), rows.as_slice()].concat());
            }
            answer = more;
        }
        let exit = desk.tell(&answer, |body| text(show::rows(body, "data")))?;
        if let (false, Some(next)) = (desk.json, answer.body["next"].as_str()) {
            show::complain(&format!("there is more: --all, or --after {next}"));
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
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        let call = Call::get(&["v1", "wallets", &word(&self.user)?]).query("as_of", self.as_of.as_ref());
        desk.ask(&call, |body| {
            let mut wallet = body.clone();
            wallet["msg"] = body["user_id"].clone();
            show::block(&wallet, &["balance", "held", "entries", "coupons", "as_of"])
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
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        let columns = [words("WALLET", "user_id"), numbers("BALANCE", "balance"), numbers("ENTRIES", "entries")];
        self.paging.run(desk, &Call::get(&["v1", "wallets"]), |rows| show::table(&rows, &columns, "no wallets"))
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
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        let user = optional_word(self.user.as_ref())?;
        let list = match &user {
            Some(user) => Call::get(&["v1", "wallets", user, "entries"]),
            None => Call::get(&["v1", "entries"]),
        };
        let list = list.query("kind", self.kind.as_ref()).query("since", self.since.as_ref());
        let list = list.query("until", self.until.as_ref()).query("order", self.order.as_ref());
        self.paging.run(desk, &list, |rows| entries(rows, user.as_deref()))
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
    show::table(&rows, &columns, "no entries")
}

/// `cashbox entry`
#[derive(Debug, Args)]
pub struct Entry {
    /// Its number
    id: String,
}

impl Entry {
    /// One entry.
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        desk.ask(&Call::get(&["v1", "entries", &word(&self.id)?]), |body| {
            show::block(
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
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        let list = Call::get(&["v1", "wallets", &word(&self.user)?, "coupons"]);
        self.paging.run(desk, &list, |mut rows| {
            rows.iter_mut().for_each(|row| row["terms"] = json!(show::terms(row)));
            let columns = [
                words("CODE", "code"),
                words("KIND", "kind"),
                words("STATE", "state"),
                words("TERMS", "terms"),
                numbers("EARNED BY", "earned_by"),
                words("GRANTED", "granted_at"),
            ];
            show::table(&rows, &columns, "no coupons")
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
    pub fn run(&self, desk: &Desk) -> Result<Exit, Trouble> {
        let code = word(&self.code)?;
        match optional_word(self.quote.as_ref())? {
            Some(amount) => {
                let call = Call::get(&["v1", "coupons", &code, "quote"]).query("amount", Some(amount));
                desk.ask(&call, |body| {
                    show::block(body, &["applicable", "gross", "discount", "amount", "error", "detail"])
                })
            }
            None => desk.ask(&Call::get(&["v1", "coupons", &code]), coupon),
        }
    }
}

/// One coupon as a block.
pub fn coupon(body: &Value) -> String {
    let coupon = &body["coupon"];
    let facts = json!({ "msg": body["msg"], "coupon": coupon, "user": coupon["user_id"], "kind": coupon["kind"],
        "state": coupon["state"], "granted_at": coupon["granted_at"], "earned_by_entry": coupon["earned_by"] });
    show::block(&facts, &["coupon", "user", "kind", "state", "granted_at", "earned_by_entry"])
}
