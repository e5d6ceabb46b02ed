//! The walk along the entries: numbers, times, hashes and running balances; then the wallets against them, and the hash of
//! the state that they have come to.

use super::findings::{EARLIER, Findings, text};
use super::journal::{JournalEnd, JournalWalk};
use super::journal_state;
use super::line::{AuditLine, Since};
use super::rows::{self, NamingRecords};
use super::totals::TotalRows;
use crate::clock::rfc3339;
use crate::error::Error;
use crate::id::{Fence, WalletId};
use crate::journal::JournalLine;
use crate::ledger::detail;
use crate::ledger::entry::{ALL_IN_ORDER, ALL_IN_ORDER_BEFORE_HOLDS, Entry};
use crate::secret::{Hash, Hasher, hex};
use crate::store::schema::{HOLDS_SINCE, JOURNAL_SINCE, SETTINGS_SINCE, TOTALS_SINCE};
use crate::tx::ReadTx;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Entries between two reports of progress.
const PROGRESS_EVERY: i64 = 10_000;

/// Totals of the walk.
#[derive(Default)]
pub(crate) struct Walked {
    pub entries: i64,
    pub wallets: i64,
    pub last_hash: Hash,
    pub journal: JournalEnd,
}

/// Walks all entries of a file of that version, once for every `wallets_at_once` wallets, then the wallets. `progress` receives the entries seen, and
/// the entries to see.
pub(crate) fn walk(
    conn: &Connection,
    version: i32,
    since: Option<&Since>,
    wallets_at_once: i64,
    findings: &mut Findings,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<Walked, Error> {
    let number = |sql| ReadTx::new(conn).one(sql, &[], |row| row.get::<i64>(0));
    let wallets = number("SELECT count(*) FROM wallet")?.unwrap_or(0);
    let entries = number("SELECT coalesce(max(id), 0) FROM entry")?.unwrap_or(0);
    let last_fence = Fence(number("SELECT fence FROM lock_seq")?.unwrap_or(i64::MAX)); // a question reports that there is none
    let shares = Shares::of(wallets, wallets_at_once);
    let (mut chain, mut seen, mut sum) = (Chain::starting(since), 0, 0);
    let has_journal = version >= JOURNAL_SINCE;
    let mut lines = conn.prepare(if has_journal { JournalLine::ALL_IN_ORDER } else { "SELECT 1 WHERE 0" })?;
    let sought = since.and_then(|since| since.line());
    let mut journal = has_journal.then(|| JournalWalk::new(conn, lines.query([])?, sought, findings)).transpose()?;
    let first_entry = journal.as_ref().map(JournalWalk::first_entry);
    let mut records = conn.prepare(NamingRecords::IN_ORDER)?;
    let mut records = NamingRecords::new(records.query([])?);
    let has_totals = version >= TOTALS_SINCE;
    let mut totals = conn.prepare(if has_totals { TotalRows::IN_ORDER } else { "SELECT 1 WHERE 0" })?;
    let mut totals = TotalRows::new(conn, totals.query([])?)?;
    let in_order = if version >= HOLDS_SINCE { ALL_IN_ORDER } else { ALL_IN_ORDER_BEFORE_HOLDS };
    for share in 0..shares.count {
        let mut balances = Balances::of_share(share, &shares, first_entry);
        let mut statement = conn.prepare(in_order)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            seen += 1;
            if seen % PROGRESS_EVERY == 0 {
                progress(seen, entries.saturating_mul(shares.count as i64));
            }
            let Ok(entry) = Entry::read(&row.into()) else {
                let id = row.get(0)?;
                chain.skip(id, share, findings);
                if let Some(journal) = journal.as_mut().filter(|_| share == 0) {
                    journal.skip(id, findings)?;
                }
                continue;
            };
            if share == 0 {
                chain.follow(&entry, findings);
                rows::check_entry(&entry, last_fence, findings);
                records.check(&entry, findings)?;
                if let Some(journal) = &mut journal {
                    journal.follow(&entry, findings)?;
                }
                if has_totals {
                    totals.follow(&entry, findings)?;
                }
            }
            balances.move_money(&entry, findings);
        }
        sum += balances.compare(conn, findings)?;
    }
    records.finish(findings)?;
    totals.finish(findings)?;
    if sum != 0 {
        findings.add("the sum over all wallets is zero", format!("the wallets add up to {sum} cents"));
    }
    chain.finish(findings);
    let journal = journal.map_or_else(|| Ok(JournalEnd::default()), |journal| journal.finish(findings))?;
    Ok(Walked { entries: chain.id, wallets, last_hash: chain.hash, journal })
}

/// The chain up to the last entry seen.
struct Chain {
    id: i64,
    at: i64,
    hash: Hash,
    /// A hash that must occur, and has not yet.
    sought: Option<Hash>,
    /// The number of the entry which must have that hash; None: any.
    sought_at: Option<i64>,
}

impl Chain {
    fn starting(since: Option<&Since>) -> Chain {
        let line: Option<AuditLine> = since.and_then(|since| since.line());
        let sought = match since {
            Some(Since::Hash(hash)) => Some(*hash).filter(|hash| *hash != [0; 32]),
            _ => line.filter(|line| line.entries > 0).map(|line| line.last_hash),
        };
        Chain { id: 0, at: i64::MIN, hash: [0; 32], sought, sought_at: line.map(|line| line.entries) }
    }

    /// Reports a hash that did not occur.
    fn finish(&self, findings: &mut Findings) {
        let Some(hash) = self.sought else { return };
        let place = self
            .sought_at
            .map_or("no entry".to_owned(), |entry| format!("entry {entry} is not there, or not the one that"));
        let sentence = format!("{place} has the hash {}: an entry up to there was rewritten or removed", hex(&hash));
        findings.add(EARLIER, sentence);
    }

    /// An entry that cannot be read: reported in the first walk.
    fn skip(&mut self, id: i64, share: u64, findings: &mut Findings) {
        if share == 0 {
            findings.add("an entry can be read", format!("entry {id} has a value that cannot be read"));
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
        } else if self.sought == Some(entry.hash) && self.sought_at.is_none_or(|at| at == id) {
            self.sought = None;
        }
        (self.id, self.at, self.hash) = (id, entry.at, entry.hash);
    }
}

const SUM: &str = "a balance is the sum of its entries";

/// The parts into which the wallets are divided, one walk for each.
pub(crate) struct Shares {
    pub count: u64,
    hasher: RandomState,
}

impl Shares {
    /// Enough parts for at most about `at_once` wallets in each.
    pub(crate) fn of(wallets: i64, at_once: i64) -> Shares {
        Shares { count: (wallets / at_once + 1) as u64, hasher: RandomState::new() }
    }

    fn has(&self, share: u64, wallet: &WalletId) -> bool {
        self.count == 1 || self.hasher.hash_one(wallet) % self.count == share
    }
}

/// A wallet after the entries seen so far.
#[derive(Default, PartialEq)]
struct Running {
    balance: i64,
    entries: i64,
}

/// The time at which a wallet was created, by its first entry.
#[derive(Clone, Copy)]
enum CreatedAt {
    /// Before the journal began.
    Earlier,
    /// At that time.
    At(i64),
    /// Then or before: the clock was behind the entry before, and the first entry has the time of that.
    UpTo(i64),
}

/// The wallets of one share, after the entries seen so far.
///
/// Balances are kept in memory for one share at a time; a file with more wallets is walked again for the others, so that
/// memory does not grow with the file.
pub(crate) struct Balances<'a> {
    shares: &'a Shares,
    share: u64,
    running: HashMap<WalletId, (Running, CreatedAt)>,
    /// The number of the newest entry when the journal began; None without a journal.
    first_entry: Option<i64>,
    /// The time of the last entry.
    last_at: i64,
}

impl Balances<'_> {
    /// No entry seen yet.
    pub(crate) fn of_share(share: u64, shares: &Shares, first_entry: Option<i64>) -> Balances<'_> {
        Balances { shares, share, running: HashMap::new(), first_entry, last_at: i64::MIN }
    }

    /// The creation of a wallet whose first entry this is.
    fn created_with(&self, entry: &Entry) -> CreatedAt {
        match self.first_entry {
            Some(first) if entry.id.0 > first && entry.at == self.last_at => CreatedAt::UpTo(entry.at),
            Some(first) if entry.id.0 > first => CreatedAt::At(entry.at),
            _ => CreatedAt::Earlier,
        }
    }

    /// Moves the entry's amount between those of its wallets that are of this share.
    pub(crate) fn move_money(&mut self, entry: &Entry, findings: &mut Findings) {
        let amount = entry.amount.cents();
        let sides = [(&entry.from, -amount, entry.from_balance), (&entry.to, amount, entry.to_balance)];
        for (wallet, change, stated) in sides {
            if !self.shares.has(self.share, wallet) {
                continue;
            }
            if !self.running.contains_key(wallet) {
                self.running.insert(wallet.clone(), (Running::default(), self.created_with(entry)));
            }
            let Some((running, _)) = self.running.get_mut(wallet) else { continue };
            let has = i128::from(running.balance) + i128::from(change); // a damaged one may be as large as an i64
            if has != i128::from(stated.cents()) {
                let id = entry.id.0;
                let sentence = format!("entry {id} says {wallet} has {stated} after it; the entries say {has} cents");
                findings.add("an entry states both balances after it", sentence);
            }
            running.balance = stated.cents(); // later entries are compared with it, so that an error is reported once
            running.entries += 1;
        }
        self.last_at = entry.at;
    }

    /// Compares the wallets of this share with their entries. Returns the sum of their balances, in cents.
    pub(crate) fn compare(mut self, conn: &Connection, findings: &mut Findings) -> Result<i128, Error> {
        let mut sum = 0;
        let mut statement = conn.prepare("SELECT id, balance, entries, created_at FROM wallet")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let wallet = WalletId::stored(text(row, 0)?);
            if !self.shares.has(self.share, &wallet) {
                continue;
            }
            if !wallet.is_real() {
                findings.add("a wallet has a name", format!("{wallet} is not a valid name of a wallet"));
            }
            let stated = Running { balance: row.get(1)?, entries: row.get(2)? };
            let (running, created) = self.running.remove(&wallet).unzip();
            let running = running.unwrap_or_default();
            if self.first_entry.is_some() && !wallet.is_system() {
                check_creation(conn, &wallet, row.get(3)?, created, findings)?;
            }
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

/// Checks that a recharge or a line of the journal has created the wallet, at that time.
fn check_creation(
    conn: &Connection,
    wallet: &WalletId,
    created_at: i64,
    by_entry: Option<CreatedAt>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let by_recharge = match by_entry {
        Some(CreatedAt::Earlier) => true,
        Some(CreatedAt::At(at)) => created_at == at,
        Some(CreatedAt::UpTo(at)) => created_at <= at,
        None => false,
    };
    if by_recharge {
        return Ok(());
    }
    let stated = journal_state::created_at(conn, wallet.as_str())?;
    if stated.as_ref() != Some(&detail::created_wallet(created_at)) {
        let sentence = format!("wallet {wallet} was created by neither, or not at {}", rfc3339(created_at));
        findings.add("a recharge or the journal explains every wallet", sentence);
    }
    Ok(())
}

/// The rows of the state hash, in this order, each with the first version of the file that has them. Columns are named, and
/// later ones enter only where they are set, so that a later version of the file hashes the same.
const STATE: [(i32, &str); 5] = [
    (1, "SELECT 'wallet', id, balance, entries FROM wallet ORDER BY id"),
    (
        1,
        "SELECT 'coupon', code, user, kind, amount_off, percent_off, threshold, single_use, granted_at, earned_by, uses, taken_by FROM coupon ORDER BY code",
    ),
    (
        SETTINGS_SINCE,
        "SELECT 'wallet_setting', wallet, name, status, metadata, limit_per_payment, limit_per_day FROM wallet_setting ORDER BY wallet",
    ),
    (
        SETTINGS_SINCE,
        "SELECT 'coupon terms', code, max_off, expires_at FROM coupon WHERE max_off IS NOT NULL OR expires_at IS NOT NULL ORDER BY code",
    ),
    (HOLDS_SINCE, "SELECT 'hold', id, wallet, coupon, captured, amount_left, ended, until FROM hold ORDER BY id"),
];

/// SHA-256 over the rows of [`STATE`], each field as in the hash of an entry: a big-endian u32 length and the bytes; an
/// integer is 8 bytes, big-endian; NULL has the length 0xFFFFFFFF and no bytes.
pub(crate) fn state_hash(conn: &Connection, version: i32) -> Result<Hash, Error> {
    let mut hasher = Hasher::default();
    for (_, table) in STATE.iter().filter(|(first, _)| version >= *first) {
        let mut statement = conn.prepare(table)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => hasher.field(None),
                    ValueRef::Integer(number) => hasher.field(Some(&number.to_be_bytes())),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.field(Some(bytes)),
                    ValueRef::Real(_) => return Err(Error::internal("a column of integers holds a fraction")),
                }
            }
        }
    }
    Ok(hasher.finish())
}
