//! What a connection of each kind asks again and again, and what its yeses did.

use super::client::BenchResponse;
use super::fleet::Script;
use super::keys::Keys;
use super::wallet::{BenchWallet, all_done};
use std::io;

/// A script that can be held against what it left.
pub trait Work: Script {
    /// How many units were done, those that were not measured included.
    fn done(&self) -> u64;

    /// Notes what the wallets must hold after that.
    fn settle(&self, wallets: &mut [BenchWallet]);

    /// What it was told that cannot be.
    fn wrong(&self) -> Option<&str> {
        None
    }
}

/// Moves a cent, again and again, each time under another key.
#[derive(Debug)]
pub struct MoveCents {
    request: Vec<u8>,
    keys: Keys,
    done: u64,
    /// What a yes does to which wallet, in cents.
    effect: Vec<(usize, i64)>,
}

impl MoveCents {
    /// Out of a wallet, and away.
    pub fn withdraw(wallets: &[BenchWallet], place: usize, counted_keys: bool) -> MoveCents {
        MoveCents::new(&wallets[place], "withdraw", AMOUNT, vec![(place, -1)], counted_keys)
    }

    /// Into a wallet.
    pub fn recharge(wallets: &[BenchWallet], place: usize) -> MoveCents {
        MoveCents::new(&wallets[place], "recharge", AMOUNT, vec![(place, 1)], false)
    }

    /// Out of a wallet, for something.
    pub fn pay(wallets: &[BenchWallet], place: usize) -> MoveCents {
        MoveCents::new(&wallets[place], "pay", AMOUNT, vec![(place, -1)], false)
    }

    /// From a wallet to the next one, and from the last to the first.
    pub fn transfer(wallets: &[BenchWallet], place: usize) -> MoveCents {
        let next = (place + 1) % wallets.len();
        let body = format!(r#"{{"amount":"0.01","to":"{}"}}"#, wallets[next].user);
        MoveCents::new(&wallets[place], "transfer", &body, vec![(place, -1), (next, 1)], false)
    }

    fn new(wallet: &BenchWallet, verb: &str, body: &str, effect: Vec<(usize, i64)>, counted_keys: bool) -> MoveCents {
        let target = format!("/v1/wallets/{}/{verb}", wallet.user);
        let request = wallet.caller.request("POST", &target, &Keys::room(), body);
        MoveCents { keys: Keys::new(&request, counted_keys), request, done: 0, effect }
    }
}

const AMOUNT: &str = r#"{"amount":"0.01"}"#;

impl Script for MoveCents {
    fn next(&mut self) -> &[u8] {
        self.keys.put_next(&mut self.request);
        &self.request
    }

    fn heard(&mut self, answer: &BenchResponse<'_>) -> io::Result<u64> {
        answer.must_be(200)?;
        self.done += 1;
        Ok(1)
    }
}

impl Work for MoveCents {
    fn done(&self) -> u64 {
        self.done
    }

    fn settle(&self, wallets: &mut [BenchWallet]) {
        for (place, cents) in &self.effect {
            wallets[*place].expected += cents * self.done as i64;
        }
    }
}

/// Asks for a balance that nobody changes, again and again.
#[derive(Debug)]
pub struct ReadBalance {
    request: Vec<u8>,
    balance: String,
    done: u64,
    wrong: Option<String>,
}

impl ReadBalance {
    /// At a wallet, by a request for it.
    pub fn new(wallet: &BenchWallet, target: &str) -> ReadBalance {
        let request = wallet.caller.request("GET", target, "", "");
        ReadBalance { request, balance: wallet.expected_text(), done: 0, wrong: None }
    }
}

impl Script for ReadBalance {
    fn next(&mut self) -> &[u8] {
        &self.request
    }

    fn heard(&mut self, answer: &BenchResponse<'_>) -> io::Result<u64> {
        answer.must_be(200)?;
        if answer.field("balance") != Some(&self.balance) {
            self.wrong = Some(format!("a wallet of {} answered {}", self.balance, answer.body));
        }
        self.done += 1;
        Ok(1)
    }
}

impl Work for ReadBalance {
    fn done(&self) -> u64 {
        self.done
    }

    fn settle(&self, _: &mut [BenchWallet]) {}

    fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }
}

/// Withdraws cents in batches, from one wallet after the other. Item `i` of a batch under the key `K` has the key `K/i`.
#[derive(Debug)]
pub struct BatchWithdraw {
    request: Vec<u8>,
    keys: Keys,
    items: usize,
    batches: u64,
}

impl BatchWithdraw {
    /// With so many items.
    pub fn new(wallets: &[BenchWallet], items: usize) -> BatchWithdraw {
        let rows = wallets.iter().cycle().take(items);
        let rows: Vec<_> =
            rows.map(|wallet| format!(r#"{{"op":"withdraw","user":"{}","amount":"0.01"}}"#, wallet.user)).collect();
        let body = format!("[{}]", rows.join(","));
        let request = wallets[0].caller.request("POST", "/v1/batch", &Keys::room(), &body);
        BatchWithdraw { keys: Keys::new(&request, false), request, items, batches: 0 }
    }
}

impl Script for BatchWithdraw {
    fn next(&mut self) -> &[u8] {
        self.keys.put_next(&mut self.request);
        &self.request
    }

    fn heard(&mut self, answer: &BenchResponse<'_>) -> io::Result<u64> {
        all_done(answer, self.items)?;
        self.batches += 1;
        Ok(self.items as u64)
    }
}

impl Work for BatchWithdraw {
    fn done(&self) -> u64 {
        self.batches * self.items as u64
    }

    fn settle(&self, wallets: &mut [BenchWallet]) {
        let count = wallets.len();
        for (place, wallet) in wallets.iter_mut().enumerate() {
            let of_a_batch = self.items / count + usize::from(place < self.items % count);
            wallet.expected -= of_a_batch as i64 * self.batches as i64;
        }
    }
}
