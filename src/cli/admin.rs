//! The verbs of those who run the place: coupons as gifts, tiers, coupon kinds, access tokens.

use super::input::{self, ChangeOptions, argument};
use super::look::{self, Paging};
use super::output::{self, CliError, Exit, numbers, words};
use super::target::{ApiCall, ApiClient};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// `cashbox grant`
#[derive(Debug, Args)]
pub struct Grant {
    /// Who gets it
    user: String,
    /// Which coupon kind
    kind: String,
    #[command(flatten)]
    changing: ChangeOptions,
}

impl Grant {
    /// A coupon for a user.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let (user, kind) = (argument(&self.user)?, argument(&self.kind)?);
        let call = ApiCall::post(&["v1", "wallets", &user, "coupons"], &json!({ "kind": kind }), &self.changing);
        client.run(&call, look::coupon)
    }
}

/// `cashbox tiers`
#[derive(Debug, Args)]
pub struct Tiers {
    /// Other tiers: JSON, a file of it, or `-`
    #[arg(long, value_name = "JSON|FILE")]
    set: Option<String>,
    #[command(flatten)]
    changing: ChangeOptions,
}

impl Tiers {
    /// The recharge tiers.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [numbers("FROM", "from"), words("COUPON KIND", "coupon_kind")];
        client.run(&table(&["v1", "tiers"], "tiers", self.set.as_deref(), &self.changing)?, |body| {
            output::table(&output::rows(body, "data"), &columns, "no tiers: no recharge earns a coupon")
        })
    }
}

/// `cashbox coupon-kinds`
#[derive(Debug, Args)]
pub struct CouponKinds {
    /// Other kinds: JSON, a file of it, or `-`
    #[arg(long, value_name = "JSON|FILE")]
    set: Option<String>,
    #[command(flatten)]
    changing: ChangeOptions,
}

impl CouponKinds {
    /// The coupon kinds.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [
            words("KIND", "kind"),
            words("TERMS", "terms"),
            words("ENGLISH", "earned_en"),
            words("CHINESE", "earned_zh"),
        ];
        client.run(&table(&["v1", "coupon-kinds"], "coupon_kinds", self.set.as_deref(), &self.changing)?, |body| {
            let mut kinds = output::rows(body, "data");
            kinds.iter_mut().for_each(|kind| kind["terms"] = json!(output::terms(kind)));
            output::table(&kinds, &columns, "no coupon kinds")
        })
    }
}

/// Shows a table, or puts other rows in place of its own. They may come as a list, as HTTP takes them, or as `--json`
/// shows them, so that what was shown can be edited and set.
fn table(path: &[&str], field: &str, set: Option<&str>, changing: &ChangeOptions) -> Result<ApiCall, CliError> {
    let Some(set) = set else { return Ok(ApiCall::get(path)) };
    let body = match input::json(set)? {
        Value::Object(mut shown) if shown.contains_key("data") => json!({ field: shown.remove("data") }),
        rows @ Value::Array(_) => json!({ field: rows }),
        body => body,
    };
    Ok(ApiCall::put(path, &body, changing))
}

/// `cashbox token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Mint one; its secret is shown this once
    Create(Create),
    /// List them, without their secrets
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// End one
    Revoke {
        /// Its id
        id: String,
        #[command(flatten)]
        changing: ChangeOptions,
    },
}

/// `cashbox token create`
#[derive(Debug, Args)]
pub struct Create {
    /// user, teller, auditor or admin [default: user, if --user is given]
    #[arg(long, required_unless_present = "user")]
    role: Option<String>,
    /// Whose wallet, for the role user
    #[arg(long, value_parser = input::option)]
    user: Option<String>,
    /// How long it is good, such as 12h or 30d [default: until revoked]
    #[arg(long, value_name = "TIME", value_parser = input::seconds)]
    expires: Option<i64>,
    /// A note for people
    #[arg(long, value_name = "TEXT", value_parser = input::option)]
    note: Option<String>,
}

impl Token {
    /// Access tokens: one more, all, or one less.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        match self {
            Token::Create(create) => create.run(client),
            Token::List { paging } => {
                let columns = [
                    words("ID", "id"),
                    words("ROLE", "role"),
                    words("USER", "user"),
                    words("NOTE", "note"),
                    words("CREATED", "created_at"),
                    words("EXPIRES", "expires_at"),
                    words("REVOKED", "revoked_at"),
                ];
                paging.run(client, &ApiCall::get(&["v1", "tokens"]), |rows| {
                    output::table(&rows, &columns, "no access tokens")
                })
            }
            Token::Revoke { id, changing } => {
                let id = argument(id)?;
                client.run(&ApiCall::delete(&["v1", "tokens", &id], changing), |body| {
                    output::block(body, &["id", "role", "user", "note", "revoked_at"])
                })
            }
        }
    }
}

impl Create {
    fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let role = self.role.as_deref().unwrap_or("user");
        let fields = [
            ("role", json!(role)),
            ("user", json!(self.user)),
            ("expires_in_s", json!(self.expires)),
            ("note", json!(self.note)),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_null());
        let body = Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect());
        // Never repeated: an answer with a secret is not stored, so a second one would be of a second token.
        let call = ApiCall::post(&["v1", "tokens"], &body, &ChangeOptions::default()).once();
        client.run(&call, |body| output::block(body, &["id", "token", "role", "user", "expires_at", "note"]))
    }
}
