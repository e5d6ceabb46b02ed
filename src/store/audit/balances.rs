//! What each wallet has after the entries seen so far, and in the end the wallets against it.
//!
//! Balances are kept in memory for so many wallets at a time; a file with more of them is walked again for the others, so
//! that the size of the file is not the size of the audit.

use super::{Findings, text};
use crate::error::Error;
use crate::id::WalletId;
use crate::ledger::entry::Entry;
use rusqlite::Connection;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

const SUM: &str = "a balance is the sum of its entries";

/// Which wallets are looked at together.
pub struct Shares {
    pub count: u64,
    hasher: RandomState,
}

impl Shares {
    /// As many as it takes for `wallets` to be looked at `at_once` at a time.
    pub fn of(wallets: i64, at_once: i64) -> Shares {
        Shares { count: (wallets / at_once + 1) as u64, hasher: RandomState::new() }
    }

    fn has(&self, share: u64, wallet: &WalletId) -> bool {
        self.count == 1 || self.hasher.hash_one(wallet) % self.count == share
    }
}

/// What a wallet has after the entries seen so far.
#[derive(Default, PartialEq)]
struct Running {
    balance: i64,
    entries: i64,
}

/// What the wallets of one share have.
pub struct Balances<'a> {
    shares: &'a Shares,
    share: u64,
    running: HashMap<WalletId, Running>,
}

impl Balances<'_> {
    /// Nobody has anything yet.
    pub fn of_share(share: u64, shares: &Shares) -> Balances<'_> {
        Balances { shares, share, running: HashMap::new() }
    }

    /// Moves the entry's amount between those of its wallets that are of this share.
    pub fn move_money(&mut self, entry: &Entry, findings: &mut Findings) {
        let amount = entry.amount.cents();
        let sides = [(&entry.from, -amount, entry.from_balance), (&entry.to, amount, entry.to_balance)];
        for (wallet, change, stated) in sides {
            if !self.shares.has(self.share, wallet) {
                continue;
            }
            if !self.running.contains_key(wallet) {
                self.running.insert(wallet.clone(), Running::default());
            }
            let Some(running) = self.running.get_mut(wallet) else { continue };
            let has = i128::from(running.balance) + i128::from(change); // a spoilt one may be as large as can be
            if has != i128::from(stated.cents()) {
                let id = entry.id.0;
                let sentence = format!("entry {id} says {wallet} has {stated} after it; the entries say {has} cents");
                findings.add("an entry states both balances after it", sentence);
            }
            running.balance = stated.cents(); // what follows is held against it, and named once
            running.entries += 1;
        }
    }

    /// Holds the wallets of this share against what their entries say; what they have together, in cents.
    pub fn compare(mut self, conn: &Connection, findings: &mut Findings) -> Result<i128, Error> {
        let mut sum = 0;
        let mut statement = conn.prepare("SELECT id, balance, entries FROM wallet")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let wallet = WalletId::stored(text(row, 0)?);
            if !self.shares.has(self.share, &wallet) {
                continue;
            }
            if !wallet.is_real() {
                findings.add("a wallet has a name", format!("{wallet} is no name of a wallet"));
            }
            let stated = Running { balance: row.get(1)?, entries: row.get(2)? };
            let running = self.running.remove(&wallet).unwrap_or_default();
            if stated.balance < 0 && !wallet.is_system() {
                let sentence = format!("wallet {wallet} has {} cents", stated.balance);
                findings.add("only system wallets go below zero", sentence);
            }
            sum += i128::from(stated.balance);
            if running != stated {
                let sentence = format!(
                    "wallet {wallet} says {} cents after {} entries; its entries say {} after {}",
                    stated.balance, stated.entries, running.balance, running.entries
                );
                findings.add(SUM, sentence);
            }
        }
        for wallet in self.running.keys() {
            findings.add(SUM, format!("wallet {wallet} has entries and is not there"));
        }
        Ok(sum)
    }
}
