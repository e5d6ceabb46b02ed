//! The verbs of locks that are held by hand: each is one request.

use super::acquire::{LockTerms, acquire};
use crate::cli::input::{self, argument};
use crate::cli::output::{self, CliError, Exit, numbers, words};
use crate::cli::target::{ApiCall, ApiClient};
use crate::cli::verbs::Paging;
use crate::secret;
use clap::Args;
use serde_json::{Value, json};

/// `cashbox lock acquire`
#[derive(Debug, Args)]
pub struct AcquireArgs {
    /// Its name; several are had together, or none of them
    #[arg(required = true)]
    id: Vec<String>,
    #[command(flatten)]
    terms: LockTerms,
}

impl AcquireArgs {
    /// Prints the lock token alone, so that a shell can keep it.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let ids = self.id.iter().map(|id| argument(id)).collect::<Result<Vec<_>, _>>()?;
        let answer = acquire(&client.target, &ids, &self.terms, &secret::random_hex::<16>(), || {})?;
        let exit = answer.print(client.json, |body| output::text(&body["token"]))?;
        if answer.is_success() && !client.json {
            let (fence, ms) = (&answer.body["fence"], &answer.body["expires_in_ms"]);
            output::print_error(&format!("{} held under fence {fence} for {ms} ms", ids.join(", ")));
        }
        Ok(exit)
    }
}

/// Whose lease it is.
#[derive(Debug, Args)]
struct LeaseArgs {
    /// The lock's name; all locks of the token if left out
    id: Option<String>,
    /// The lock token, the @FILE it is in, or `-` [env: CASHBOX_LOCK_TOKEN, or the file CASHBOX_LOCK_TOKEN_FILE]
    #[arg(long, value_name = "TOKEN|@FILE", value_parser = input::lock_token)]
    lock_token: Option<String>,
}

impl LeaseArgs {
    fn call(&self, method: &'static str, body: Option<&Value>) -> Result<ApiCall, CliError> {
        let token = self.lock_token.clone().or_else(|| environment("CASHBOX_LOCK_TOKEN"));
        let token = match (token, environment("CASHBOX_LOCK_TOKEN_FILE")) {
            (Some(token), _) => token,
            (None, Some(file)) => input::lock_token(&format!("@{file}")).map_err(CliError::usage)?,
            (None, None) => return Err(CliError::usage("whose lease? Give --lock-token TOKEN, @FILE or -")),
        };
        Ok(match input::optional_argument(self.id.as_ref())? {
            Some(id) => ApiCall::lock(method, &["v1", "locks", &id], body, Some(&token)),
            None => ApiCall::lock(method, &["v1", "locks"], body, Some(&token)),
        })
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `cashbox lock renew`
#[derive(Debug, Args)]
pub struct RenewArgs {
    #[command(flatten)]
    own: LeaseArgs,
    /// Another length for the lease from now on
    #[arg(long, value_name = "TIME", value_parser = input::lasting)]
    ttl: Option<i64>,
}

impl RenewArgs {
    /// The lease begins anew.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let body = self.ttl.map(|ttl| json!({ "ttl_ms": ttl }));
        client.run(&self.own.call("PATCH", body.as_ref())?, |body| output::block(body, &["expires_in_ms", "late"]))
    }
}

/// `cashbox lock release`
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    own: LeaseArgs,
}

impl ReleaseArgs {
    /// The lock is free.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let answer = client.target.send(&self.own.call("DELETE", None)?)?;
        if answer.is_success() && client.json {
            return Ok(Exit::Done); // HTTP says nothing more
        }
        answer.print(client.json, |_| "released".to_owned())
    }
}

/// `cashbox lock show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name
    id: String,
}

impl ShowArgs {
    /// One lock as it is now.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let call = ApiCall::get(&["v1", "locks", &argument(&self.id)?]);
        let facts = ["state", "holder", "fence", "created_at", "expires_in_ms", "free_in_ms", "renewals", "queue"];
        client.run(&call, |body| output::block(&named(body), &facts))
    }
}

/// What a block calls it.
fn named(body: &Value) -> Value {
    let mut body = body.clone();
    body["msg"] = body["id"].clone();
    body
}

/// `cashbox lock list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// held, grace, stale or revoked
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl ListArgs {
    /// The locks there are.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [
            words("LOCK", "id"),
            words("STATE", "state"),
            words("HOLDER", "holder"),
            numbers("FENCE", "fence"),
            words("SINCE", "created_at"),
            numbers("EXPIRES IN MS", "expires_in_ms"),
            numbers("QUEUE", "queue"),
        ];
        let call =
            ApiCall::get(&["v1", "locks"]).query("prefix", self.prefix.as_ref()).query("state", self.state.as_ref());
        self.paging.run(client, &call, |rows| output::table(&rows, &columns, "no locks"))
    }
}

/// `cashbox lock revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its name
    id: String,
    /// The fence that was seen: a newer holder is not hit
    #[arg(long, value_name = "FENCE")]
    fence: Option<i64>,
    /// How long nobody may have it [default: the larger of its grace and 10s]
    #[arg(long, value_name = "TIME", value_parser = input::span)]
    delay: Option<i64>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl RevokeArgs {
    /// The holder has lost it.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let id = argument(&self.id)?;
        let Some(fence) = self.fence else { return Err(self.which(client, &id)?) };
        let mut body = json!({ "fence": fence });
        if let Some(delay) = self.delay {
            body["delay_ms"] = json!(delay);
        }
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        let call = ApiCall::lock("POST", &["v1", "locks", &id, "revoke"], Some(&body), None);
        client.run(&call, |body| output::block(body, &["id", "state", "holder", "fence", "free_in_ms"]))
    }

    /// What to say to whoever names no fence: the one there is.
    fn which(&self, client: &ApiClient, id: &str) -> Result<CliError, CliError> {
        let now = client.target.send(&ApiCall::get(&["v1", "locks", id]))?;
        Ok(CliError::usage(match now.body["fence"].as_i64() {
            Some(fence) => {
                let holder = output::text(&now.body["holder"]);
                format!("{id} is held by {holder} under fence {fence}; to revoke that lease, add --fence {fence}")
            }
            None => format!("nobody holds {id}; a lease is revoked by its --fence"),
        }))
    }
}

/// `cashbox lock events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Its name
    id: String,
    #[command(flatten)]
    paging: Paging,
}

impl EventsArgs {
    /// Its history.
    pub fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [
            words("AT", "at"),
            words("WHAT", "what"),
            numbers("FENCE", "fence"),
            numbers("BEFORE", "previous_fence"),
            words("HOLDER", "holder"),
            words("BY", "by"),
            words("REASON", "reason"),
        ];
        let call = ApiCall::get(&["v1", "locks", &argument(&self.id)?, "events"]);
        self.paging.run(client, &call, |rows| output::table(&rows, &columns, "nothing has happened to it"))
    }
}
