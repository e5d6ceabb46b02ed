//! The wallets a run works on: made by it, used by nobody else, and held against what the answers said.

use super::client::{BenchCaller, BenchClient, BenchResponse, UnexpectedStatus};
use crate::money::Balance;
use serde_json::{Value, json};
use std::io;

/// What is in a wallet before, in cents: every request moves one.
pub const FULL: i64 = 1_000_000_000;
/// Items of one batch when many wallets are filled.
const ITEMS: usize = 1_000;
/// How many wallets that are wrong are named.
const NAMED: usize = 3;

/// A wallet with money in it, who works with it, and what its balance must be.
#[derive(Clone, Debug)]
pub struct BenchWallet {
    /// Whose it is.
    pub user: String,
    /// Who asks.
    pub caller: BenchCaller,
    /// What it must hold by now, in cents.
    pub expected: i64,
}

impl BenchWallet {
    /// What it must hold, as an answer says it.
    pub fn expected_text(&self) -> String {
        Balance::from_cents(self.expected).to_string()
    }

    fn look(&self) -> Vec<u8> {
        self.caller.request("GET", &format!("/v1/wallets/{}", self.user), "", "")
    }
}

/// Makes full wallets of those names.
pub fn open(
    client: &mut BenchClient,
    caller: &BenchCaller,
    users: impl Iterator<Item = String>,
) -> io::Result<Vec<BenchWallet>> {
    let wallets: Vec<_> = users.map(|user| BenchWallet { user, caller: caller.clone(), expected: FULL }).collect();
    move_all(client, "recharge", &wallets)?;
    Ok(wallets)
}

/// Takes out what must still be in them.
pub fn empty(client: &mut BenchClient, wallets: &[BenchWallet]) -> io::Result<()> {
    move_all(client, "withdraw", wallets)
}

/// Moves what each must hold.
fn move_all(client: &mut BenchClient, op: &str, wallets: &[BenchWallet]) -> io::Result<()> {
    for share in wallets.chunks(ITEMS) {
        let item = |wallet: &BenchWallet| json!({ "op": op, "user": wallet.user, "amount": wallet.expected_text() });
        let items: Vec<_> = share.iter().map(item).collect();
        let request = share[0].caller.request("POST", "/v1/batch", "", &Value::from(items).to_string());
        all_done(&client.ask(&request)?, share.len())?;
    }
    Ok(())
}

/// Refuses the answer to a batch of which not all was done.
pub fn all_done(answer: &BenchResponse<'_>, items: usize) -> io::Result<()> {
    answer.must_be(200)?;
    let yes = answer.body.matches(r#""code":200"#).count().saturating_sub(1); // the batch's own
    if yes == items {
        return Ok(());
    }
    let body: Value = serde_json::from_str(answer.body)?;
    let code = |result: &Value| result["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
    let results = body["results"].as_array().into_iter().flatten();
    let no = results.map(|result| (code(result), result)).find(|(code, _)| *code != 200);
    let (status, body) = no.map_or((200, answer.body.to_owned()), |(code, result)| (code, result.to_string()));
    Err(io::Error::other(UnexpectedStatus { status, body }))
}

/// Looks at each of them. What is wrong, in words.
pub fn check(client: &mut BenchClient, wallets: &[BenchWallet]) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for wallet in wallets {
        let answer = client.ask(&wallet.look())?;
        answer.must_be(200)?;
        let (holds, must) = (answer.field("balance").unwrap_or("nothing"), wallet.expected_text());
        if holds != must {
            wrong.push(format!("{} holds {holds}, and by the answers it must hold {must}", wallet.user));
        }
    }
    let more = wrong.len().saturating_sub(NAMED);
    wrong.truncate(NAMED);
    if more > 0 {
        wrong.push(format!("so it is with {more} more wallets"));
    }
    Ok(wrong)
}
