//! Strategies of cashbox: its lock held explicitly, or a plain withdrawal, in process and over HTTP.

use super::client::LabClient;
use super::strategy::{AMOUNT_CENTS, Attempt, LabPlan, LabResult, LockStrategy, WALLET};
use crate::command::TypedCommand;
use crate::error::{Error, ErrorName};
use crate::http::conn::{Limits, Server, listen};
use crate::http::{App, Settings};
use crate::id::{LockSecret, UserId};
use crate::ledger::verbs::{Recharge, Withdraw};
use crate::ledger::{self, Note};
use crate::lock::lease::{AcquireRequest, ReleaseRequest};
use crate::money::{Balance, Money};
use crate::secret;
use crate::store::{Envelope, Options, Store, WaitLimits, audit};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Wait of a client for the lock: longer than any trial takes.
const LOCK_WAIT_MS: i64 = 3_600_000;
/// Connections beside the clients'.
const CONNECTIONS_SPARE: usize = 16;
/// Time a connection may be idle: longer than any holder stalls.
const IDLE_TIME: Duration = Duration::from_secs(3_600);

/// A wallet file with money in the wallet.
struct CashboxFile {
    app: Arc<App>,
    user: UserId,
    amount: Money,
}

impl CashboxFile {
    fn open(path: &Path, plan: &LabPlan) -> LabResult<CashboxFile> {
        let clients = plan.clients as usize;
        let wait_limits = WaitLimits { total: clients, per_lock: clients };
        let options = Options { wait_limits, queue: clients.max(Options::default().queue), ..Options::default() };
        let store = Store::open(path, &options)?;
        let user = UserId::parse(WALLET)?;
        let amount = Money::from_cents(plan.initial_balance().cents()).ok_or("the wallet cannot hold that much")?;
        let recharge = Recharge { user: user.clone(), amount, note: Note::default() };
        store.submit(Envelope::local(), recharge).result?;
        let app = Arc::new(App::new(store, Settings { open: true, ..Settings::default() }));
        Ok(CashboxFile { app, user, amount: Money::from_cents(AMOUNT_CENTS).ok_or("the amount is not valid")? })
    }

    fn submit<C: TypedCommand>(&self, envelope: Envelope, command: C) -> Result<C::Receipt, Error> {
        self.app.store().submit(envelope, command).result
    }

    fn withdraw(&self, envelope: Envelope) -> LabResult<Attempt> {
        let withdraw = Withdraw { user: self.user.clone(), amount: self.amount, note: Note::default() };
        match self.submit(Envelope { wait_ms: LOCK_WAIT_MS, ..envelope }, withdraw) {
            Ok(_) => Ok(Attempt::Done),
            Err(error) if error.name == ErrorName::LockLost => Ok(Attempt::Retry),
            Err(error) => Err(error.into()),
        }
    }

    fn balance(&self) -> LabResult<Balance> {
        let wallet = self.app.store().read(|tx| ledger::find_wallet(tx, &self.user.wallet()))?;
        Ok(wallet.ok_or("the wallet is missing")?.balance)
    }

    fn audit(&self) -> LabResult<Vec<String>> {
        let report = audit::audit(self.app.store().path(), None, &mut |_, _| {})?;
        Ok(report.findings.into_iter().map(|found| format!("{}: {}", found.check, found.sentence)).collect())
    }
}

/// The lock of the wallet, held from before the read until after the write.
pub(crate) struct LeaseStrategy {
    file: CashboxFile,
    expire_ms: i64,
    grace_ms: i64,
}

impl LeaseStrategy {
    pub(crate) fn open(path: &Path, plan: &LabPlan) -> LabResult<LeaseStrategy> {
        let (expire_ms, grace_ms) = (plan.expire.as_millis() as i64, plan.grace.as_millis() as i64);
        Ok(LeaseStrategy { file: CashboxFile::open(path, plan)?, expire_ms, grace_ms })
    }
}

impl LockStrategy for LeaseStrategy {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let lock = self.file.user.wallet().lock().ok_or("a user's wallet has a lock")?;
        let request = AcquireRequest {
            ids: vec![lock],
            any: false,
            secret: LockSecret::parse(&secret::random_hex::<16>())?,
            holder: format!("client {}", client.number),
            expire_ms: self.expire_ms,
            grace_ms: self.grace_ms,
            max_hold_ms: None,
            min_hold_ms: None,
        };
        let waiting = Envelope { wait_ms: LOCK_WAIT_MS, ..Envelope::local() };
        let grant = self.file.submit(waiting, request)?;
        self.file.balance()?;
        client.work();
        let attempt = self.file.withdraw(Envelope { tokens: vec![grant.token.clone()], ..Envelope::local() })?;
        match self.file.submit(Envelope::local(), ReleaseRequest { id: None, token: grant.token, min_hold_ms: None }) {
            Err(error) if error.name != ErrorName::LockLost => Err(error.into()),
            _ => Ok(attempt), // a lease that was lost needs no release
        }
    }

    fn balance(&self) -> LabResult<Balance> {
        self.file.balance()
    }

    fn audit(&self) -> Option<LabResult<Vec<String>>> {
        Some(self.file.audit())
    }
}

/// A withdrawal of cashbox: it reads, decides and writes inside, so the client does its work before.
pub(crate) struct PlainStrategy(CashboxFile);

impl PlainStrategy {
    pub(crate) fn open(path: &Path, plan: &LabPlan) -> LabResult<PlainStrategy> {
        CashboxFile::open(path, plan).map(PlainStrategy)
    }
}

impl LockStrategy for PlainStrategy {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        client.work();
        self.0.withdraw(Envelope::local())
    }

    fn balance(&self) -> LabResult<Balance> {
        self.0.balance()
    }

    fn audit(&self) -> Option<LabResult<Vec<String>>> {
        Some(self.0.audit())
    }
}

/// The same through a server of the lab's own, on a free port of this machine.
pub(crate) struct PlainHttpStrategy {
    file: CashboxFile,
    agent: ureq::Agent,
    url: String,
    /// The server stops when this is dropped.
    _server: Server,
}

impl PlainHttpStrategy {
    pub(crate) fn open(path: &Path, plan: &LabPlan) -> LabResult<PlainHttpStrategy> {
        let file = CashboxFile::open(path, plan)?;
        let clients = plan.clients as usize;
        let limits = Limits { connections: clients + CONNECTIONS_SPARE, idle: IDLE_TIME, ..Limits::default() };
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let server = Server::start(listener, limits, Arc::clone(&file.app) as _)?;
        let url = format!("http://{}/v1/wallets/{WALLET}/withdraw", server.address());
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_idle_connections(clients) // each client keeps its connection
            .max_idle_connections_per_host(clients)
            .build()
            .new_agent();
        Ok(PlainHttpStrategy { file, agent, url, _server: server })
    }
}

impl LockStrategy for PlainHttpStrategy {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        client.work();
        let mut response = self.agent.post(&self.url).send_form([("amount", self.file.amount.to_string())])?;
        let body = response.body_mut().read_to_string()?; // read to its end, so that the connection can be used again
        if response.status().is_success() { Ok(Attempt::Done) } else { Err(body.into()) }
    }

    fn balance(&self) -> LabResult<Balance> {
        self.file.balance()
    }

    fn audit(&self) -> Option<LabResult<Vec<String>>> {
        Some(self.file.audit())
    }
}
