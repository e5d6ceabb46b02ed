//! The subcommands of `cashbox lock`. All but `run` and `guard` are one request each.

use super::acquire::{LockOptions, WantedLocks, acquire};
use super::follow::{WaitArgs, WatchArgs};
use super::guard::GuardArgs;
use super::wrapper::{EXIT_CODES, RunArgs};
use crate::cli::api_call::ApiCall;
use crate::cli::input::{self, CommonOptions, argument, environment_text};
use crate::cli::lists::Paging;
use crate::cli::output::{self, CliError, Exit};
use crate::cli::table::{self, free_texts, numbers, words};
use crate::cli::target::ApiClient;
use crate::secret;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

/// `cashbox lock`
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Hold a lock while a command runs
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Acquire a lock, or several together, and print the lock token
    Acquire(AcquireArgs),
    /// Renew a lease
    Renew(RenewArgs),
    /// Release a lock
    Release(ReleaseArgs),
    /// Show one lock
    Show(ShowArgs),
    /// Wait until a lock can be acquired, and take nothing
    #[command(after_help = "Exit codes: 0 it can be acquired · 124 not in time · otherwise as other commands")]
    Wait(WaitArgs),
    /// Print a line for each change of a lock, as it happens, until it is interrupted
    Watch(WatchArgs),
    /// List locks
    List(ListArgs),
    /// Take a lock away from its holder (admins)
    Revoke(RevokeArgs),
    /// List the events of a lock, newest first
    Events(EventsArgs),
    /// The process between `lock run` and its command
    #[command(hide = true)]
    Guard(GuardArgs),
}

impl LockCommand {
    /// Runs the subcommand.
    pub(crate) fn run(&self, common: &CommonOptions) -> Result<ExitCode, CliError> {
        let client = || ApiClient::new(common);
        let exit: Result<Exit, CliError> = match self {
            LockCommand::Run(args) => return Ok(args.run(common)),
            LockCommand::Guard(args) => return Ok(args.run(common)),
            LockCommand::Wait(args) => return args.run(&client()?),
            LockCommand::Watch(args) => args.run(&client()?),
            LockCommand::Acquire(args) => args.run(&client()?),
            LockCommand::Renew(args) => args.run(&client()?),
            LockCommand::Release(args) => args.run(&client()?),
            LockCommand::Show(args) => args.run(&client()?),
            LockCommand::List(args) => args.run(&client()?),
            LockCommand::Revoke(args) => args.run(&client()?),
            LockCommand::Events(args) => args.run(&client()?),
        };
        Ok(exit?.into())
    }
}

/// `cashbox lock acquire`
#[derive(Debug, Args)]
pub(crate) struct AcquireArgs {
    /// The locks' names; several are acquired together, or none of them
    #[arg(required = true)]
    id: Vec<String>,
    #[command(flatten)]
    options: LockOptions,
}

impl AcquireArgs {
    /// Acquires, and prints the lock token alone, so that a shell can keep it.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let ids = self.id.iter().map(|id| argument(id)).collect::<Result<Vec<_>, _>>()?;
        let locks = WantedLocks { ids: ids.clone(), any: false };
        let reply = acquire(&client.target, &locks, &self.options, &secret::random_hex::<16>(), || {})?;
        let exit = reply.print(client.json, |body| output::text(&body["token"]))?;
        if reply.is_success() && !client.json {
            let (fence, ms) = (&reply.body["fence"], &reply.body["expires_in_ms"]);
            output::print_error(&format!("{} held under fence {fence} for {ms} ms", ids.join(", ")));
        }
        Ok(exit)
    }
}

/// The options that name a lease.
#[derive(Debug, Args)]
struct LeaseArgs {
    /// The lock's name [default: all locks of the token]
    id: Option<String>,
    /// The lock token, the @FILE it is in, or `-` [env: CASHBOX_LOCK_TOKEN, or the file CASHBOX_LOCK_TOKEN_FILE]
    #[arg(long, value_name = "TOKEN|@FILE", value_parser = input::lock_token)]
    lock_token: Option<String>,
}

impl LeaseArgs {
    fn call(&self, method: &'static str, fields: Option<Value>) -> Result<ApiCall, CliError> {
        let token = self.lock_token.clone().or_else(|| environment_text("CASHBOX_LOCK_TOKEN"));
        let token = match (token, environment_text("CASHBOX_LOCK_TOKEN_FILE")) {
            (Some(token), _) => token,
            (None, Some(file)) => input::lock_token(&format!("@{file}")).map_err(CliError::usage)?,
            (None, None) => return Err(CliError::usage("a lock token is needed: give --lock-token TOKEN, @FILE or -")),
        };
        Ok(match input::optional_argument(self.id.as_ref())? {
            Some(id) => ApiCall::lock(method, &["v1", "locks", &id], fields, Some(&token)),
            None => ApiCall::lock(method, &["v1", "locks"], fields, Some(&token)),
        })
    }
}

/// `cashbox lock renew`
#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    #[command(flatten)]
    lease: LeaseArgs,
    /// A new length of the lease, from now on
    #[arg(long, value_name = "TIME", value_parser = input::milliseconds("1ms", "1d"))]
    ttl: Option<i64>,
}

impl RenewArgs {
    /// Renews the lease.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let fields = self.ttl.map(|ttl| json!({ "ttl_ms": ttl }));
        client.run(&self.lease.call("PATCH", fields)?, |body| output::block(body, &["expires_in_ms", "late"]))
    }
}

/// `cashbox lock release`
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    lease: LeaseArgs,
}

impl ReleaseArgs {
    /// Releases the lock.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let reply = client.target.send(&self.lease.call("DELETE", None)?)?;
        if reply.is_success() && client.json {
            return Ok(Exit::Done); // the body of the response is empty
        }
        reply.print(client.json, |_| "released".to_owned())
    }
}

/// `cashbox lock show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The lock's name
    id: String,
}

impl ShowArgs {
    /// Shows the lock as it is now.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let call = ApiCall::get(&["v1", "locks", &argument(&self.id)?]);
        let facts = [
            "state",
            "holder",
            "fence",
            "created_at",
            "expires_in_ms",
            "free_in_ms",
            "renewals",
            "queue",
            "oldest_waited_ms",
        ];
        client.run(&call, |body| output::block(&titled(body), &facts))
    }
}

/// The body with the lock's name where a block has its title.
fn titled(body: &Value) -> Value {
    let mut body = body.clone();
    body["msg"] = body["id"].clone();
    body
}

/// `cashbox lock list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only names that begin with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only locks in this state: held, grace, stale, revoked or resting
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl ListArgs {
    /// Lists the locks.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [
            words("LOCK", "id"),
            words("STATE", "state"),
            free_texts("HOLDER", "holder"),
            numbers("FENCE", "fence"),
            words("SINCE", "created_at"),
            numbers("EXPIRES IN MS", "expires_in_ms"),
            numbers("FREE IN MS", "free_in_ms"),
            numbers("QUEUE", "queue"),
        ];
        let call =
            ApiCall::get(&["v1", "locks"]).query("prefix", self.prefix.as_ref()).query("state", self.state.as_ref());
        self.paging.run(client, &call, |rows| table::table(&rows, &columns, "no locks"))
    }
}

/// `cashbox lock revoke`
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The lock's name
    id: String,
    /// The fence of the lease to revoke, so that a newer lease stays
    #[arg(long, value_name = "FENCE")]
    fence: Option<i64>,
    /// Time in which no client can acquire it [default: the larger of its grace and 10s; 0s for one that rests]
    #[arg(long, value_name = "TIME", value_parser = input::milliseconds("0s", "1d"))]
    delay: Option<i64>,
    /// The reason, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl RevokeArgs {
    /// Revokes the lease.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let id = argument(&self.id)?;
        let Some(fence) = self.fence else { return Err(self.missing_fence(client, &id)?) };
        let fields = json!({ "fence": fence, "delay_ms": self.delay, "reason": self.reason });
        let call = ApiCall::lock("POST", &["v1", "locks", &id, "revoke"], Some(fields), None);
        client.run(&call, |body| output::block(body, &["id", "state", "holder", "fence", "free_in_ms"]))
    }

    /// The error for a missing `--fence`, which names the fence of the lease there is.
    fn missing_fence(&self, client: &ApiClient, id: &str) -> Result<CliError, CliError> {
        let lock = client.target.send(&ApiCall::get(&["v1", "locks", id]))?;
        Ok(CliError::usage(match lock.body["fence"].as_i64() {
            Some(fence) => {
                let holder = output::text(&lock.body["holder"]);
                format!("{id} is held by {holder} under fence {fence}; to revoke that lease, add --fence {fence}")
            }
            None => format!("no client holds {id}; a lease is revoked by its --fence"),
        }))
    }
}

/// `cashbox lock events`
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The lock's name
    id: String,
    #[command(flatten)]
    paging: Paging,
}

impl EventsArgs {
    /// Lists the events.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let columns = [
            words("AT", "at"),
            words("WHAT", "what"),
            numbers("FENCE", "fence"),
            numbers("BEFORE", "previous_fence"),
            free_texts("HOLDER", "holder"),
            words("BY", "by"),
            free_texts("REASON", "reason"),
        ];
        let call = ApiCall::get(&["v1", "locks", &argument(&self.id)?, "events"]);
        self.paging.run(client, &call, |rows| table::table(&rows, &columns, "no events"))
    }
}
