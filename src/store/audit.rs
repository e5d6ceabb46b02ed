//! The audit: every invariant of the file as a question that finds nothing. It reads and changes nothing.

use crate::error::Error;
use crate::id::WalletId;
use crate::ledger::Entry;
use crate::secret::{Hash, hex};
use crate::tx::ReadTx;
use rusqlite::Connection;
use std::collections::HashMap;

/// Something that should not be so, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant it breaks.
    pub check: &'static str,
    /// What is wrong and where.
    pub sentence: String,
}

/// What the audit saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is wrong: nothing, in a sound file. At most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many entries there are.
    pub entries: i64,
    /// How many wallets there are.
    pub wallets: i64,
    /// The hash of the newest entry: keep it somewhere else, and nothing before it can be rewritten unseen.
    pub last_hash: String,
}

/// More findings than this add nothing.
pub const FINDINGS_MAX: usize = 100;

/// Each of these finds nothing in a sound file; each row of an unsound one is a sentence.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "the sum over all wallets is zero",
        "SELECT 'the wallets add up to ' || sum(balance) || ' cents' FROM wallet HAVING sum(balance) <> 0",
    ),
    (
        "only system wallets go below zero",
        "SELECT 'wallet ' || id || ' has ' || balance || ' cents' FROM wallet WHERE balance < 0 AND substr(id, 1, 1) <> '@'",
    ),
    (
        "refunds stay within their originals",
        "SELECT 'entry ' || o.id || ' of ' || o.amount || ' cents was refunded with ' || sum(r.amount)
         FROM entry r JOIN entry o ON o.id = r.refunds WHERE r.refunds IS NOT NULL GROUP BY o.id HAVING sum(r.amount) > o.amount",
    ),
    (
        "a refund goes back the way its original came",
        "SELECT 'entry ' || r.id || ' refunds entry ' || r.refunds || ' between other wallets'
         FROM entry r LEFT JOIN entry o ON o.id = r.refunds
         WHERE r.refunds IS NOT NULL AND (o.id IS NULL OR o.kind = 'refund' OR r.from_wallet <> o.to_wallet OR r.to_wallet <> o.from_wallet)",
    ),
    (
        "only refunds refund, and only payments are priced",
        "SELECT 'entry ' || id || ' is a ' || kind || ' with the fields of another kind' FROM entry
         WHERE (kind = 'refund') <> (refunds IS NOT NULL) OR (kind = 'pay') <> (gross IS NOT NULL) OR (gross IS NULL) <> (discount IS NULL)",
    ),
    (
        "a payment's coupon is the payer's, and its terms make the price",
        "SELECT 'entry ' || e.id || ' was paid with coupon ' || e.coupon || ' against its terms'
         FROM entry e LEFT JOIN coupon c ON c.code = e.coupon
         WHERE e.kind = 'pay' AND e.coupon IS NOT NULL AND (c.code IS NULL OR c.user <> e.from_wallet OR e.gross < c.threshold
           OR e.amount <> max(1, e.gross - coalesce(c.amount_off, (e.gross * c.percent_off + 50) / 100)))",
    ),
    (
        "a payment without a coupon has no discount",
        "SELECT 'entry ' || id || ' has a discount and no coupon' FROM entry WHERE kind = 'pay' AND coupon IS NULL AND discount <> 0",
    ),
    (
        "a recharge's coupon is the one it earned",
        "SELECT 'entry ' || e.id || ' earned coupon ' || e.coupon || ', which says otherwise'
         FROM entry e LEFT JOIN coupon c ON c.code = e.coupon
         WHERE e.kind = 'recharge' AND e.coupon IS NOT NULL AND (c.earned_by IS NOT e.id OR c.user <> e.to_wallet)
         UNION ALL
         SELECT 'coupon ' || c.code || ' says entry ' || c.earned_by || ' earned it, which says otherwise'
         FROM coupon c LEFT JOIN entry e ON e.id = c.earned_by
         WHERE c.earned_by IS NOT NULL AND (e.kind IS NOT 'recharge' OR e.coupon IS NOT c.code)",
    ),
    (
        "a coupon counts the payments that use it",
        "WITH refunded AS (SELECT refunds AS id, sum(amount) AS amount FROM entry WHERE refunds IS NOT NULL GROUP BY refunds),
              used AS (SELECT e.coupon AS code, count(*) AS uses FROM entry e LEFT JOIN refunded r ON r.id = e.id
                       WHERE e.kind = 'pay' AND e.coupon IS NOT NULL AND coalesce(r.amount, 0) < e.amount GROUP BY e.coupon)
         SELECT 'coupon ' || c.code || ' counts ' || c.uses || ' uses; the entries say ' || coalesce(u.uses, 0)
         FROM coupon c LEFT JOIN used u ON u.code = c.code WHERE c.uses <> coalesce(u.uses, 0)",
    ),
    (
        "a coupon taken back was earned by a recharge that is refunded",
        "SELECT 'coupon ' || c.code || ' was taken back by entry ' || c.taken_by || ', which does not refund its recharge'
         FROM coupon c LEFT JOIN entry r ON r.id = c.taken_by WHERE c.taken_by IS NOT NULL AND r.refunds IS NOT c.earned_by",
    ),
    (
        "codes of each length are counted",
        "SELECT 'codes of length ' || s.length || ' were given ' || s.given || ' times; there are ' || (SELECT count(*) FROM coupon WHERE length(code) = s.length)
         FROM code_supply s WHERE s.given <> (SELECT count(*) FROM coupon WHERE length(code) = s.length)",
    ),
    (
        "an idempotency record names an entry that is there",
        "SELECT 'idempotency record ' || i.key || ' of ' || i.caller || ' names entry ' || i.entry || ', which is not there'
         FROM idempotency i LEFT JOIN entry e ON e.id = i.entry WHERE i.entry IS NOT NULL AND e.id IS NULL",
    ),
    (
        "no fence is beyond the counter",
        "SELECT 'fence ' || fence || ' of lock ' || id || ' is beyond the counter' FROM lock WHERE fence > (SELECT fence FROM lock_seq)
         UNION ALL SELECT 'fence ' || fence || ' of entry ' || id || ' is beyond the counter' FROM entry WHERE fence > (SELECT fence FROM lock_seq)
         UNION ALL SELECT 'fence ' || fence || ' of lock event ' || seq || ' is beyond the counter' FROM lock_event WHERE fence > (SELECT fence FROM lock_seq)",
    ),
    (
        "grants grow in fence",
        "SELECT 'lock event ' || seq || ' grants fence ' || fence || ' after a higher one' FROM
           (SELECT seq, fence, lag(fence) OVER (PARTITION BY lock_id ORDER BY seq) AS before FROM lock_event WHERE what <> 'released') WHERE fence <= before",
    ),
    (
        "no lease is from the future",
        "SELECT 'lock ' || id || ' was granted or renewed at a time that has not come' FROM lock
         WHERE renew_time > (SELECT clock_ms FROM lock_seq) OR create_time > renew_time",
    ),
];

/// Audits the file as it is now, through any connection: balances, sums, running balances, the hash chain, coupons,
/// refunds, idempotency records, fences, and SQLite's own structures.
pub fn audit(conn: &Connection, mut progress: impl FnMut(i64)) -> Result<Report, Error> {
    let snapshot = conn.unchecked_transaction()?;
    let tx = ReadTx::new(&snapshot);
    let mut findings = Findings(Vec::new());
    for sentence in tx.all("PRAGMA integrity_check(20)", [], |row| row.get::<_, String>(0))? {
        if sentence != "ok" {
            findings.add("SQLite finds its own structures sound", sentence);
        }
    }
    for sentence in tx.all("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0))? {
        findings.add("what is referred to is there", format!("table {sentence} refers to a row that is not there"));
    }
    let (entries, last_hash) = walk(&snapshot, &mut findings, &mut progress)?;
    for (check, sql) in QUESTIONS {
        for sentence in tx.all(sql, [], |row| row.get::<_, String>(0))? {
            findings.add(check, sentence);
        }
    }
    let wallets = tx.one("SELECT count(*) FROM wallet", [], |row| row.get(0))?.unwrap_or(0);
    Ok(Report { findings: findings.0, entries, wallets, last_hash: hex(&last_hash) })
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static str, sentence: impl Into<String>) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(Finding { check, sentence: sentence.into() });
        }
    }
}

/// What a wallet has after the entries seen so far.
#[derive(Default, PartialEq)]
struct Running {
    balance: i64,
    entries: i64,
}

/// Walks the entries in order: numbers, times, both balances and the hash of each; then compares the wallets.
fn walk(conn: &Connection, findings: &mut Findings, progress: &mut impl FnMut(i64)) -> Result<(i64, Hash), Error> {
    let mut wallets: HashMap<WalletId, Running> = HashMap::new();
    let (mut last_id, mut last_at, mut last_hash) = (0, i64::MIN, [0; 32]);
    let mut statement = conn.prepare(crate::ledger::entry::ALL_IN_ORDER)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Ok(entry) = Entry::read(row) else {
            findings.add("an entry can be read", format!("entry {id} holds what no entry can"));
            last_id = id;
            continue;
        };
        if id != last_id + 1 {
            findings.add("entries are numbered without gaps", format!("after entry {last_id} comes entry {id}"));
        }
        if entry.at < last_at {
            findings
                .add("time never decreases along the entries", format!("entry {id} is earlier than the one before"));
        }
        if entry.hash != entry.hash_after(&last_hash) {
            findings.add(
                "each hash covers its entry and the hash before",
                format!("entry {id} was changed, or the one before"),
            );
        }
        (last_id, last_at, last_hash) = (id, entry.at, entry.hash);
        let amount = entry.amount.cents();
        for (wallet, change, stated) in
            [(&entry.from, -amount, entry.from_balance), (&entry.to, amount, entry.to_balance)]
        {
            if !wallets.contains_key(wallet) {
                wallets.insert(wallet.clone(), Running::default());
            }
            if let Some(running) = wallets.get_mut(wallet) {
                running.balance += change;
                running.entries += 1;
                if running.balance != stated.cents() {
                    let sentence = format!(
                        "entry {id} says {wallet} has {stated} after it; the entries say {} cents",
                        running.balance
                    );
                    findings.add("an entry states both balances after it", sentence);
                    running.balance = stated.cents();
                }
            }
        }
        if id % 10_000 == 0 {
            progress(id);
        }
    }
    let tx = ReadTx::new(conn);
    let stated = tx.all("SELECT id, balance, entries FROM wallet", [], |row| {
        Ok((row.get::<_, WalletId>(0)?, Running { balance: row.get(1)?, entries: row.get(2)? }))
    })?;
    for (wallet, stated) in stated {
        let running = wallets.remove(&wallet).unwrap_or_default();
        if running != stated {
            let sentence = format!(
                "wallet {wallet} says {} cents after {} entries; its entries say {} after {}",
                stated.balance, stated.entries, running.balance, running.entries
            );
            findings.add("a balance is the sum of its entries", sentence);
        }
    }
    for wallet in wallets.keys() {
        findings.add("a balance is the sum of its entries", format!("wallet {wallet} has entries and is not there"));
    }
    Ok((last_id, last_hash))
}
