//! The walk along the entries: numbers, times and the hash of each, with all that can be seen of an entry on the way;
//! then the wallets against it.

use super::balances::{Balances, Shares};
use super::keys::Records;
use super::{Findings, entries};
use crate::error::Error;
use crate::id::Fence;
use crate::ledger::entry::ALL_IN_ORDER;
use crate::ledger::entry::Entry;
use crate::secret::{Hash, hex};
use crate::tx::ReadTx;
use rusqlite::Connection;

/// How often is told how far it is, in entries.
const TELL_EVERY: i64 = 10_000;

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
    let number = |sql| ReadTx::new(conn).one(sql, [], |row| row.get::<_, i64>(0));
    let wallets = number("SELECT count(*) FROM wallet")?.unwrap_or(0);
    let entries = number("SELECT coalesce(max(id), 0) FROM entry")?.unwrap_or(0);
    let last_fence = Fence(number("SELECT fence FROM lock_seq")?.unwrap_or(i64::MAX)); // that none is there is named once
    let shares = Shares::of(wallets, wallets_at_once);
    let (mut chain, mut seen, mut sum) = (Chain::starting(since), 0, 0);
    let mut records = conn.prepare(Records::IN_ORDER)?;
    let mut records = Records::new(records.query([])?);
    for share in 0..shares.count {
        let mut balances = Balances::of_share(share, &shares);
        let mut statement = conn.prepare(ALL_IN_ORDER)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            seen += 1;
            if seen % TELL_EVERY == 0 {
                progress(seen, entries.saturating_mul(shares.count as i64));
            }
            let Ok(entry) = Entry::read(row) else {
                chain.skip(row.get(0)?, share, findings);
                continue;
            };
            if share == 0 {
                chain.follow(&entry, findings);
                entries::check(&entry, last_fence, findings);
                records.check(&entry, findings)?;
            }
            balances.move_money(&entry, findings);
        }
        sum += balances.compare(conn, findings)?;
    }
    records.finish(findings)?;
    if sum != 0 {
        findings.add("the sum over all wallets is zero", format!("the wallets add up to {sum} cents"));
    }
    if let Some(hash) = chain.sought {
        let sentence = format!("no entry has the hash {}: one up to there was rewritten or taken away", hex(&hash));
        findings.add("what was there before is there still", sentence);
    }
    Ok(Walked { entries: chain.id, wallets, last_hash: chain.hash })
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
        if Some(id) != self.id.checked_add(1) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Note;
    use crate::ledger::verbs::Recharge;
    use crate::store::audit::WALLETS_AT_ONCE;
    use crate::store::{Envelope, Options, Store, open_read_only};
    use crate::{id::UserId, money::Money};

    /// Wallets `a` to `z`, each with two entries, and a balance that is wrong.
    fn file(folder: &std::path::Path) -> Connection {
        let path = folder.join("cashbox.db");
        let store = Store::open(&path, &Options { min_free: Some(0), ..Options::default() }).unwrap();
        for user in ('a'..='z').chain('a'..='z') {
            let (user, amount) = (UserId::parse(&user.to_string()).unwrap(), Money::parse("1").unwrap());
            let recharge = Recharge { user, amount, note: Note::default() };
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
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].sentence.starts_with("wallet k says 7 cents after 2 entries"), "{all:?}");
        assert_eq!(all[1].sentence, "the wallets add up to -193 cents");
        assert_eq!(found(5), (all, hash));
    }
}
