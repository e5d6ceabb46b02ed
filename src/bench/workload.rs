//! Workloads: the requests that one connection repeats, the wallets and locks they work on, and the check that what is
//! left of them is what the responses say.

use super::client::{BenchCaller, BenchClient, BenchResponse, UnexpectedStatus};
use crate::money::Balance;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The requests of one connection, and what their responses did.
pub trait Workload: Send {
    /// The next request.
    fn next_request(&mut self) -> &[u8];

    /// Handles the response to the request sent last; the units it counts: 1 for a request that is the unit, 0 for one
    /// that only leads to it.
    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64>;

    /// A request that must follow at once, even when the time is over: a release after its grant.
    fn follow_up(&mut self) -> Option<&[u8]> {
        None
    }

    /// Units done so far, those before and after the measured time included.
    fn units_done(&self) -> u64;

    /// Adds what was done to the expected balances.
    fn settle(&self, _wallets: &mut [BenchWallet]) {}

    /// A response that breaks an invariant, for people.
    fn violation(&self) -> Option<&str> {
        None
    }
}

impl Workload for Box<dyn Workload> {
    fn next_request(&mut self) -> &[u8] {
        (**self).next_request()
    }

    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64> {
        (**self).handle(response)
    }

    fn follow_up(&mut self) -> Option<&[u8]> {
        (**self).follow_up()
    }

    fn units_done(&self) -> u64 {
        (**self).units_done()
    }

    fn settle(&self, wallets: &mut [BenchWallet]) {
        (**self).settle(wallets);
    }

    fn violation(&self) -> Option<&str> {
        (**self).violation()
    }
}

/// Moves a cent with each request, each under a new idempotency key.
#[derive(Debug)]
pub struct MoveCents {
    request: Vec<u8>,
    keys: KeyWriter,
    done: u64,
    /// The change of each wallet by one request, in cents.
    changes: Vec<(usize, i64)>,
}

const ONE_CENT: &str = r#"{"amount":"0.01"}"#;

impl MoveCents {
    /// Withdraws from a wallet.
    pub fn withdraw(wallets: &[BenchWallet], place: usize, keys: KeyOrder) -> MoveCents {
        MoveCents::new(&wallets[place], "withdraw", ONE_CENT, vec![(place, -1)], keys)
    }

    /// Recharges a wallet.
    pub fn recharge(wallets: &[BenchWallet], place: usize) -> MoveCents {
        MoveCents::new(&wallets[place], "recharge", ONE_CENT, vec![(place, 1)], KeyOrder::Random)
    }

    /// Pays from a wallet.
    pub fn pay(wallets: &[BenchWallet], place: usize) -> MoveCents {
        MoveCents::new(&wallets[place], "pay", ONE_CENT, vec![(place, -1)], KeyOrder::Random)
    }

    /// Transfers from a wallet to the next one, and from the last to the first.
    pub fn transfer(wallets: &[BenchWallet], place: usize) -> MoveCents {
        let next = (place + 1) % wallets.len();
        let body = format!(r#"{{"amount":"0.01","to":"{}"}}"#, wallets[next].user);
        MoveCents::new(&wallets[place], "transfer", &body, vec![(place, -1), (next, 1)], KeyOrder::Random)
    }

    fn new(wallet: &BenchWallet, verb: &str, body: &str, changes: Vec<(usize, i64)>, order: KeyOrder) -> MoveCents {
        let path = format!("/v1/wallets/{}/{verb}", wallet.user);
        let request = wallet.caller.request("POST", &path, &KeyWriter::header_line(), body);
        MoveCents { keys: KeyWriter::new(&request, order), request, done: 0, changes }
    }
}

impl Workload for MoveCents {
    fn next_request(&mut self) -> &[u8] {
        self.keys.write_next(&mut self.request);
        &self.request
    }

    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64> {
        response.expect_status(200)?;
        self.done += 1;
        Ok(1)
    }

    fn units_done(&self) -> u64 {
        self.done
    }

    fn settle(&self, wallets: &mut [BenchWallet]) {
        for (place, cents) in &self.changes {
            wallets[*place].expected_cents += cents * self.done as i64;
        }
    }
}

/// Reads a balance that no request changes.
#[derive(Debug)]
pub struct ReadBalance {
    request: Vec<u8>,
    balance: String,
    done: u64,
    violation: Option<String>,
}

impl ReadBalance {
    /// Reads the balance of a wallet at that path.
    pub fn new(wallet: &BenchWallet, path: &str) -> ReadBalance {
        let request = wallet.caller.request("GET", path, "", "");
        ReadBalance { request, balance: wallet.expected_text(), done: 0, violation: None }
    }
}

impl Workload for ReadBalance {
    fn next_request(&mut self) -> &[u8] {
        &self.request
    }

    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64> {
        response.expect_status(200)?;
        if response.field("balance") != Some(&self.balance) {
            self.violation = Some(format!("a wallet of {} answered {}", self.balance, response.body));
        }
        self.done += 1;
        Ok(1)
    }

    fn units_done(&self) -> u64 {
        self.done
    }

    fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }
}

/// Withdraws cents in batches, from one wallet after the other. Item `i` of a batch under the key `K` has the key `K/i`.
#[derive(Debug)]
pub struct BatchWithdraw {
    request: Vec<u8>,
    keys: KeyWriter,
    items: usize,
    batches: u64,
}

impl BatchWithdraw {
    /// Batches of that many items.
    pub fn new(wallets: &[BenchWallet], items: usize) -> BatchWithdraw {
        let item = |wallet: &BenchWallet| format!(r#"{{"op":"withdraw","user":"{}","amount":"0.01"}}"#, wallet.user);
        let body: Vec<_> = wallets.iter().cycle().take(items).map(item).collect();
        let body = format!("[{}]", body.join(","));
        let request = wallets[0].caller.request("POST", "/v1/batch", &KeyWriter::header_line(), &body);
        BatchWithdraw { keys: KeyWriter::new(&request, KeyOrder::Random), request, items, batches: 0 }
    }
}

impl Workload for BatchWithdraw {
    fn next_request(&mut self) -> &[u8] {
        self.keys.write_next(&mut self.request);
        &self.request
    }

    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64> {
        expect_all_done(response, self.items)?;
        self.batches += 1;
        Ok(self.items as u64)
    }

    fn units_done(&self) -> u64 {
        self.batches * self.items as u64
    }

    fn settle(&self, wallets: &mut [BenchWallet]) {
        let count = wallets.len();
        for (place, wallet) in wallets.iter_mut().enumerate() {
            let items_of_a_batch = self.items / count + usize::from(place < self.items % count);
            wallet.expected_cents -= items_of_a_batch as i64 * self.batches as i64;
        }
    }
}

/// Places a hold of a cent and captures it, each request under a new idempotency key.
#[derive(Debug)]
pub struct HoldPairs {
    caller: BenchCaller,
    place: usize,
    request: Vec<u8>,
    keys: KeyWriter,
    capture: Option<Vec<u8>>,
    done: u64,
}

impl HoldPairs {
    /// Pairs on a wallet; its caller is staff.
    pub fn new(wallets: &[BenchWallet], place: usize, order: KeyOrder) -> HoldPairs {
        let caller = wallets[place].caller.clone();
        let path = format!("/v1/wallets/{}/holds", wallets[place].user);
        let request = caller.request("POST", &path, &KeyWriter::header_line(), ONE_CENT);
        HoldPairs { keys: KeyWriter::new(&request, order), caller, place, request, capture: None, done: 0 }
    }
}

impl Workload for HoldPairs {
    fn next_request(&mut self) -> &[u8] {
        self.keys.write_next(&mut self.request);
        &self.request
    }

    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64> {
        if self.capture.take().is_some() {
            response.expect_status(200)?;
            self.done += 1;
            return Ok(1);
        }
        response.expect_status(201)?;
        let hold = response.number("id").ok_or_else(|| io::Error::other("a hold has no number"))?;
        let path = format!("/v1/holds/{hold}/capture");
        let mut capture = self.caller.request("POST", &path, &KeyWriter::header_line(), "{}");
        KeyWriter::new(&capture, KeyOrder::Random).write_next(&mut capture);
        self.capture = Some(capture);
        Ok(0)
    }

    fn follow_up(&mut self) -> Option<&[u8]> {
        self.capture.as_deref()
    }

    fn units_done(&self) -> u64 {
        self.done
    }

    fn settle(&self, wallets: &mut [BenchWallet]) {
        wallets[self.place].expected_cents -= self.done as i64;
    }
}

/// Acquires a lock and releases it. Never two connections hold one lock, and its fences grow.
#[derive(Debug)]
pub struct LockPairs {
    caller: BenchCaller,
    path: String,
    acquire: Vec<u8>,
    release: Option<Vec<u8>>,
    held: HeldFlag,
    fence: i64,
    done: u64,
    violation: Option<String>,
}

/// Set while a connection of the run holds the lock: from the grant's response until the release is sent.
pub type HeldFlag = Arc<AtomicBool>;

/// Wait for a lock that other connections of the run hold.
const LOCK_WAIT_MS: u32 = 60_000;

impl LockPairs {
    /// Pairs on the lock of that name. Connections that share the lock share `held`.
    pub fn new(caller: &BenchCaller, id: &str, held: &HeldFlag) -> LockPairs {
        let path = format!("/v1/locks/{id}");
        let acquire = acquire_request(caller, &path, LOCK_WAIT_MS);
        let (caller, held) = (caller.clone(), Arc::clone(held));
        LockPairs { caller, path, acquire, release: None, held, fence: 0, done: 0, violation: None }
    }
}

impl Workload for LockPairs {
    fn next_request(&mut self) -> &[u8] {
        &self.acquire
    }

    fn handle(&mut self, response: &BenchResponse<'_>) -> io::Result<u64> {
        if self.release.take().is_some() {
            response.expect_status(204)?;
            self.done += 1;
            return Ok(1);
        }
        self.release = Some(release_request(&self.caller, &self.path, response)?);
        let fence = response.number("fence").unwrap_or_default();
        if self.held.swap(true, SeqCst) {
            self.violation = Some(format!("{} had two holders at once", self.path));
        } else if fence <= self.fence {
            self.violation = Some(format!("{} was granted under fence {fence} after {}", self.path, self.fence));
        }
        self.fence = fence;
        Ok(0)
    }

    fn follow_up(&mut self) -> Option<&[u8]> {
        let release = self.release.as_deref()?;
        self.held.store(false, SeqCst);
        Some(release)
    }

    fn units_done(&self) -> u64 {
        self.done
    }

    fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }
}

/// A request for a lock.
pub fn acquire_request(caller: &BenchCaller, path: &str, wait_ms: u32) -> Vec<u8> {
    caller.request("POST", path, "", &format!(r#"{{"ttl_ms":60000,"wait_ms":{wait_ms}}}"#))
}

/// The request that releases what this response granted.
pub fn release_request(caller: &BenchCaller, path: &str, granted: &BenchResponse<'_>) -> io::Result<Vec<u8>> {
    granted.expect_status(201)?;
    let token = granted.header("lock-token").ok_or_else(|| io::Error::other("a grant has no lock token"))?;
    Ok(caller.request("DELETE", path, &format!("Lock-Token: {token}\r\n"), ""))
}

/// Finds a lock with that prefix that was left behind; the findings, for people.
pub fn check_locks(client: &mut BenchClient, caller: &BenchCaller, prefix: &str) -> io::Result<Vec<String>> {
    let response = client.exchange(&caller.request("GET", &format!("/v1/locks?prefix={prefix}"), "", ""))?;
    response.expect_status(200)?;
    let is_empty = response.body.contains(r#""data":[]"#);
    Ok(if is_empty { Vec::new() } else { vec!["a lock was left behind".to_owned()] })
}

/// The balance of each wallet at first, in cents: each request moves one.
pub(crate) const INITIAL_CENTS: i64 = 1_000_000_000;
/// Items of one batch when many wallets are filled or emptied.
const FILL_ITEMS: usize = 1_000;
/// Wallets that are named at most when they are wrong.
const WRONG_NAMED_MAX: usize = 3;

/// A wallet that only this run uses, its caller, and its expected balance.
#[derive(Clone, Debug)]
pub struct BenchWallet {
    /// The user.
    pub user: String,
    /// The caller of its requests.
    pub caller: BenchCaller,
    /// The balance by all responses so far, in cents.
    pub expected_cents: i64,
}

impl BenchWallet {
    /// The expected balance as a response has it.
    pub fn expected_text(&self) -> String {
        Balance::from_cents(self.expected_cents).to_string()
    }
}

/// Makes wallets of those users, each with the initial balance.
pub fn open_wallets(
    client: &mut BenchClient,
    caller: &BenchCaller,
    users: impl Iterator<Item = String>,
) -> io::Result<Vec<BenchWallet>> {
    let wallet = |user| BenchWallet { user, caller: caller.clone(), expected_cents: INITIAL_CENTS };
    let wallets: Vec<_> = users.map(wallet).collect();
    move_expected(client, "recharge", &wallets)?;
    Ok(wallets)
}

/// Withdraws all that is left in them.
pub(crate) fn empty_wallets(client: &mut BenchClient, wallets: &[BenchWallet]) -> io::Result<()> {
    move_expected(client, "withdraw", wallets)
}

/// Moves the expected balance of each.
fn move_expected(client: &mut BenchClient, op: &str, wallets: &[BenchWallet]) -> io::Result<()> {
    for chunk in wallets.chunks(FILL_ITEMS) {
        let item = |wallet: &BenchWallet| json!({ "op": op, "user": wallet.user, "amount": wallet.expected_text() });
        let items: Vec<_> = chunk.iter().map(item).collect();
        let request = chunk[0].caller.request("POST", "/v1/batch", "", &Value::from(items).to_string());
        expect_all_done(&client.exchange(&request)?, chunk.len())?;
    }
    Ok(())
}

/// An error for the response to a batch with an item that was not done.
fn expect_all_done(response: &BenchResponse<'_>, items: usize) -> io::Result<()> {
    response.expect_status(200)?;
    let done = response.body.matches(r#""code":200"#).count().saturating_sub(1); // one is the batch's own
    if done == items {
        return Ok(());
    }
    let body: Value = serde_json::from_str(response.body)?;
    let code = |result: &Value| result["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
    let results = body["results"].as_array().into_iter().flatten();
    let refused = results.map(|result| (code(result), result)).find(|(code, _)| *code != 200);
    let (status, body) = refused.map_or((200, response.body.to_owned()), |(code, result)| (code, result.to_string()));
    Err(io::Error::other(UnexpectedStatus { status, body }))
}

/// Compares each wallet with its expected balance; the findings, for people.
pub fn check_wallets(client: &mut BenchClient, wallets: &[BenchWallet]) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for wallet in wallets {
        let request = wallet.caller.request("GET", &format!("/v1/wallets/{}", wallet.user), "", "");
        let response = client.exchange(&request)?;
        response.expect_status(200)?;
        let (balance, expected) = (response.field("balance").unwrap_or("nothing"), wallet.expected_text());
        if balance != expected {
            wrong.push(format!("{} holds {balance}, but by the responses it must hold {expected}", wallet.user));
        }
    }
    let more = wrong.len().saturating_sub(WRONG_NAMED_MAX);
    wrong.truncate(WRONG_NAMED_MAX);
    if more > 0 {
        wrong.push(format!("{more} more wallets are wrong in the same way"));
    }
    Ok(wrong)
}

/// The order of a connection's idempotency keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrder {
    /// Random, as most clients send them.
    Random,
    /// Counted up from a random start, which is cheaper for an index.
    Ascending,
}

/// Writes idempotency keys of the length of a UUID into a rendered request.
#[derive(Debug)]
struct KeyWriter {
    /// The place of the key in the request.
    place: usize,
    random: fastrand::Rng,
    /// The last key, if keys are ascending.
    ascending: Option<u128>,
}

const KEY_HEADER: &str = "Idempotency-Key: ";
const KEY_LEN: usize = 32;

impl KeyWriter {
    /// The header line that reserves the place of a key.
    fn header_line() -> String {
        format!("{KEY_HEADER}{}\r\n", "0".repeat(KEY_LEN))
    }

    /// A writer for this request, which must contain the header line.
    fn new(request: &[u8], order: KeyOrder) -> KeyWriter {
        let header = request.windows(KEY_HEADER.len()).position(|bytes| bytes == KEY_HEADER.as_bytes());
        let place = header.expect("the request was rendered with the header line") + KEY_HEADER.len();
        let mut random = fastrand::Rng::new();
        let ascending = (order == KeyOrder::Ascending).then(|| u128::from(random.u32(..)) << 32);
        KeyWriter { place, random, ascending }
    }

    fn write_next(&mut self, request: &mut [u8]) {
        let key = match &mut self.ascending {
            Some(last) => {
                *last += 1;
                *last
            }
            None => self.random.u128(..),
        };
        let mut place = &mut request[self.place..][..KEY_LEN];
        write!(place, "{key:032x}").expect("32 digits fit");
    }
}
