//! The walk along the entries: numbers, times, both balances and the hash of each; then the wallets against it.
//!
//! What a wallet has so far is kept in memory for so many wallets at a time; a file with more of them is walked again for
//! the others, so that the size of the file is not the size of the audit.

use super::Findings;
use crate::error::Error;
use crate::id::WalletId;
use crate::ledger::Entry;
use crate::ledger::entry::ALL_IN_ORDER;
use crate::secret::{Hash, hex};
use crate::tx::ReadTx;
use rusqlite::Connection;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// How often is told how far it is, in entries.
const TELL_EVERY: i64 = 10_000;

/// What a wallet has after the entries seen so far.
#[derive(Default, PartialEq)]
struct Running {
    balance: i64,
    entries: i64,
}

/// Where the walk ended.
#[derive(Default)]
pub struct Walked {
    pub entries: i64,
    pub wallets: i64,
    pub last_hash: Hash,
}

/// Walks all entries, once for every `wallets_at_once` wallets. Tells how many entries it has seen, and of how many.
pub fn walk(
    conn: &Connection,
    since: Option<&Hash>,
    wallets_at_once: i64,
    findings: &mut Findings,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<Walked, Error> {
    let count = |sql| Ok::<i64, Error>(ReadTx::new(conn).one(sql, [], |row| row.get(0))?.unwrap_or(0));
    let wallets = count("SELECT count(*) FROM wallet")?;
    let entries = count("SELECT coalesce(max(id), 0) FROM entry")?;
    let mut shares = Shares { count: (wallets / wallets_at_once + 1) as u64, hasher: RandomState::new() };
    let (mut chain, mut seen) = (Chain::starting(since), 0);
    for share in 0..shares.count {
        let mut balances = Balances::default();
        let mut statement = conn.prepare(ALL_IN_ORDER)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            seen += 1;
            if seen % TELL_EVERY == 0 {
                progress(seen, entries * shares.count as i64);
            }
            let Ok(entry) = Entry::read(row) else {
                chain.skip(row.get(0)?, share, findings);
                continue;
            };
            if share == 0 {
                chain.follow(&entry, findings);
            }
            balances.move_money(&entry, |wallet| shares.of(wallet) == share, findings);
        }
        balances.compare(conn, |wallet| shares.of(wallet) == share, findings)?;
    }
    if let Some(hash) = chain.sought {
        let sentence = format!("no entry has the hash {}: one up to there was rewritten or taken away", hex(&hash));
        findings.add("what was there before is there still", sentence);
    }
    Ok(Walked { entries: chain.id, wallets, last_hash: chain.hash })
}

/// Which wallets belong together.
struct Shares {
    count: u64,
    hasher: RandomState,
}

impl Shares {
    fn of(&mut self, wallet: &WalletId) -> u64 {
        if self.count == 1 { 0 } else { self.hasher.hash_one(wallet) % self.count }
    }
}

/// How far the chain is followed.
struct Chain {
    id: i64,
    at: i64,
    hash: Hash,
    /// A hash that has not been met yet, and should be.
    sought: Option<Hash>,
}

impl Chain {
    fn starting(since: Option<&Hash>) -> Chain {
        let hash = [0; 32];
        Chain { id: 0, at: i64::MIN, hash, sought: since.filter(|since| **since != hash).copied() }
    }

    /// An entry that cannot be read: named once, however often it is walked over.
    fn skip(&mut self, id: i64, share: u64, findings: &mut Findings) {
        if share == 0 {
            findings.add("an entry can be read", format!("entry {id} holds what no entry can"));
            self.id = id;
        }
    }

    fn follow(&mut self, entry: &Entry, findings: &mut Findings) {
        let id = entry.id.0;
        if id != self.id + 1 {
            findings.add("entries are numbered without gaps", format!("after entry {} comes entry {id}", self.id));
        }
        if entry.at < self.at {
            let sentence = format!("entry {id} is earlier than the one before");
            findings.add("time never decreases along the entries", sentence);
        }
        if entry.hash != entry.hash_after(&self.hash) {
            let sentence = format!("entry {id} was changed, or the one before");
            findings.add("each hash covers its entry and the hash before", sentence);
        } else if self.sought == Some(entry.hash) {
            self.sought = None;
        }
        (self.id, self.at, self.hash) = (id, entry.at, entry.hash);
    }
}

/// What the wallets of one share have.
#[derive(Default)]
struct Balances(HashMap<WalletId, Running>);

impl Balances {
    fn move_money(&mut self, entry: &Entry, mut is_ours: impl FnMut(&WalletId) -> bool, findings: &mut Findings) {
        let amount = entry.amount.cents();
        let sides = [(&entry.from, -amount, entry.from_balance), (&entry.to, amount, entry.to_balance)];
        for (wallet, change, stated) in sides {
            if !is_ours(wallet) {
                continue;
            }
            if !self.0.contains_key(wallet) {
                self.0.insert(wallet.clone(), Running::default());
            }
            let Some(running) = self.0.get_mut(wallet) else { continue };
            running.balance += change;
            running.entries += 1;
            if running.balance != stated.cents() {
                let (id, has) = (entry.id.0, running.balance);
                let sentence = format!("entry {id} says {wallet} has {stated} after it; the entries say {has} cents");
                findings.add("an entry states both balances after it", sentence);
                running.balance = stated.cents();
            }
        }
    }

    fn compare(
        mut self,
        conn: &Connection,
        mut is_ours: impl FnMut(&WalletId) -> bool,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        const CHECK: &str = "a balance is the sum of its entries";
        let mut statement = conn.prepare("SELECT id, balance, entries FROM wallet")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Ok(wallet) = row.get::<_, WalletId>(0) else {
                let name: String = row.get(0)?;
                findings.add("a wallet has a name", format!("{name:?} is no name of a wallet"));
                continue;
            };
            let stated = Running { balance: row.get(1)?, entries: row.get(2)? };
            let running = if is_ours(&wallet) { self.0.remove(&wallet).unwrap_or_default() } else { continue };
            if running != stated {
                let sentence = format!(
                    "wallet {wallet} says {} cents after {} entries; its entries say {} after {}",
                    stated.balance, stated.entries, running.balance, running.entries
                );
                findings.add(CHECK, sentence);
            }
        }
        for wallet in self.0.keys() {
            findings.add(CHECK, format!("wallet {wallet} has entries and is not there"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::WALLETS_AT_ONCE;
    use super::*;
    use crate::command::Command;
    use crate::ledger::Note;
    use crate::store::{Envelope, Options, Store, open_read_only};
    use crate::{id::UserId, money::Money};

    /// Wallets `a` to `z`, each with two entries, and a balance that is wrong.
    fn file(folder: &std::path::Path) -> Connection {
        let path = folder.join("cashbox.db");
        let store = Store::open(&path, &Options { min_free: Some(0), ..Options::default() }).unwrap();
        for user in ('a'..='z').chain('a'..='z') {
            let (user, amount) = (UserId::parse(&user.to_string()).unwrap(), Money::parse("1").unwrap());
            let recharge = Command::Recharge { user, amount, note: Note::default() };
            store.submit(Envelope::local(), recharge).result.unwrap();
        }
        drop(store);
        let conn = Connection::open(&path).unwrap();
        let damage = "DROP TRIGGER wallet_balance_has_its_entry; UPDATE wallet SET balance = 7 WHERE id = 'k'";
        conn.execute_batch(damage).unwrap();
        open_read_only(&path).unwrap()
    }

    #[test]
    fn a_few_wallets_at_a_time_find_what_all_at_once_find() {
        let folder = tempfile::tempdir().unwrap();
        let conn = file(folder.path());
        let found = |wallets_at_once| {
            let mut findings = Findings::default();
            let walked = walk(&conn, None, wallets_at_once, &mut findings, &mut |_, _| {}).unwrap();
            assert_eq!(walked.entries, 52);
            (findings.0, hex(&walked.last_hash))
        };
        let (all, hash) = found(WALLETS_AT_ONCE);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].sentence.starts_with("wallet k says 7 cents after 2 entries"), "{all:?}");
        assert_eq!(found(5), (all, hash));
    }
}
