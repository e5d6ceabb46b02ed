//! A book to test with: a store on a file in a temporary folder, a clock that is moved by hand, and an eye of its own
//! on the file that audits it. [`check`] reads a statement of account line by line.

use cashbox::clock::Clock;
use cashbox::command::{Command, Receipt};
use cashbox::error::{Error, Name};
use cashbox::id::{CouponCode, EntryId, Fence, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId};
use cashbox::ledger::coupon::Coupon;
use cashbox::ledger::{self, Entry, Moved, Note};
use cashbox::lock::{Ask, Grant, Lock};
use cashbox::money::Money;
use cashbox::store::{self, Envelope, LOCAL, Options, Outcome, Store};
use rusqlite::Connection;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub struct Book {
    pub clock: Clock,
    pub options: Options,
    store: Option<Store>,
    folder: tempfile::TempDir,
}

impl Deref for Book {
    type Target = Store;
    fn deref(&self) -> &Store {
        self.store.as_ref().expect("the book is open")
    }
}

/// A new book in a folder of its own.
pub fn book() -> Book {
    book_with(|_| {})
}

/// A new book whose options are changed first.
pub fn book_with(change: impl FnOnce(&mut Options)) -> Book {
    let clock = Clock::manual();
    let mut options = Options { clock: clock.clone(), min_free: Some(0), ..Options::default() };
    change(&mut options);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut book = Book { clock, options, store: None, folder };
    book.open();
    book
}

impl Book {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("cashbox.db")
    }

    pub fn open(&mut self) {
        self.store = Some(Store::open(&self.path(), &self.options).expect("the book opens"));
    }

    pub fn close(&mut self) {
        self.store.take().expect("the book is open").close();
    }

    pub fn reopen(&mut self) {
        self.close();
        self.open();
    }

    /// Moves the clock and has the writer look at it.
    pub fn advance(&self, ms: i64) {
        self.clock.advance_ms(ms);
        self.poke();
    }

    /// Another program's hand on the file, under the rules the file is written with.
    pub fn raw(&self) -> Connection {
        let conn = Connection::open(self.path()).expect("the file opens");
        conn.pragma_update(None, "foreign_keys", true).unwrap();
        conn.pragma_update(None, "recursive_triggers", true).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn
    }

    pub fn do_it(&self, command: Command) -> Outcome {
        self.submit(Envelope::local(), command)
    }

    /// Has it done, which must succeed.
    pub fn must(&self, command: Command) -> Receipt {
        self.do_it(command.clone()).result.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub fn balance(&self, wallet: &str) -> String {
        let id = WalletId::parse(wallet).unwrap();
        let found = self.read(|tx| ledger::find_wallet(tx, &id)).unwrap();
        found.map_or_else(|| "0.00".to_owned(), |wallet| wallet.balance.to_string())
    }

    pub fn coupons(&self, user: &str) -> Vec<Coupon> {
        self.read(|tx| ledger::query::coupons(tx, &user_id(user), None, 1_000)).unwrap().rows
    }

    pub fn entries(&self) -> Vec<Entry> {
        let filter = ledger::query::Filter { ascending: true, ..Default::default() };
        self.read(|tx| ledger::query::entries(tx, &filter, None, 100_000)).unwrap().rows
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.raw().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn lock(&self, id: &str) -> Option<Lock> {
        self.read(|tx| cashbox::lock::find(tx, &lock_id(id))).unwrap()
    }

    /// What the audit finds wrong: `check: sentence`, each.
    pub fn findings(&self) -> Vec<String> {
        let conn = store::open_read_only(&self.path()).expect("the file opens for reading");
        let report = store::audit::audit(&conn, |_| {}).expect("the audit runs");
        report.findings.into_iter().map(|finding| format!("{}: {}", finding.check, finding.sentence)).collect()
    }

    pub fn assert_sound(&self) {
        assert_eq!(self.findings(), Vec::<String>::new(), "the audit finds nothing");
    }

    /// Until that many requests are parked. Nothing else tells that another thread's request has come to wait.
    pub fn until_parked(&self, count: u64) {
        let begun = Instant::now();
        while self.stats().parked.load(std::sync::atomic::Ordering::Relaxed) != count {
            assert!(begun.elapsed() < Duration::from_secs(10), "{count} requests never came to wait");
            std::thread::yield_now();
        }
    }

    /// The token of a lease whose number and secret are known.
    pub fn token(&self, fence: i64, secret: &str) -> LockToken {
        let incarnation = self.raw().query_row("SELECT incarnation FROM lock_seq", [], |row| row.get(0)).unwrap();
        LockToken { incarnation, fence: Fence(fence), secret: self::secret(secret) }
    }

    /// Acquires a lock for a minute with five seconds of grace.
    pub fn acquire(&self, id: &str, secret: &str) -> Result<Grant, Error> {
        self.acquire_as(ask(id, secret))
    }

    pub fn acquire_as(&self, ask: Ask) -> Result<Grant, Error> {
        match self.do_it(Command::Acquire(ask)).result? {
            Receipt::Granted(grant) => Ok(grant),
            other => panic!("a grant, not {other:?}"),
        }
    }

    pub fn release(&self, id: &str, token: &LockToken) -> Result<Receipt, Error> {
        self.do_it(Command::Release { id: Some(lock_id(id)), token: token.clone() }).result
    }
}

pub fn user_id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

pub fn wallet_id(wallet: &str) -> WalletId {
    WalletId::parse(wallet).unwrap()
}

pub fn lock_id(id: &str) -> LockId {
    LockId::parse(id).unwrap()
}

pub fn money(amount: &str) -> Money {
    Money::parse(amount).unwrap()
}

/// A secret with that name, made long enough.
pub fn secret(name: &str) -> LockSecret {
    LockSecret::parse(&format!("{name:_<16}")).unwrap()
}

/// The usual wish for a lock: a minute, five seconds of grace, held by whoever the secret is named after.
pub fn ask(id: &str, secret: &str) -> Ask {
    let ids = id.split(' ').map(lock_id).collect();
    let (expire_ms, grace_ms) = (60_000, 5_000);
    Ask { ids, secret: self::secret(secret), holder: secret.to_owned(), expire_ms, grace_ms, max_hold_ms: None }
}

pub fn keyed(key: &str) -> Envelope {
    Envelope { key: Some(IdempotencyKey::parse(key).unwrap()), ..Envelope::local() }
}

pub fn under(token: &LockToken) -> Envelope {
    Envelope { tokens: vec![token.clone()], ..Envelope::local() }
}

pub fn waiting(wait_ms: i64) -> Envelope {
    Envelope { wait_ms, ..Envelope::local() }
}

pub fn recharge(user: &str, amount: &str) -> Command {
    Command::Recharge { user: user_id(user), amount: money(amount), note: Note::default() }
}

pub fn withdraw(user: &str, amount: &str) -> Command {
    Command::Withdraw { user: user_id(user), amount: money(amount), note: Note::default() }
}

pub fn transfer(from: &str, to: &str, amount: &str) -> Command {
    Command::Transfer { from: wallet_id(from), to: wallet_id(to), amount: money(amount), note: Note::default() }
}

pub fn pay(user: &str, amount: &str, coupon: Option<&CouponCode>) -> Command {
    let (user, amount, coupon) = (user_id(user), money(amount), coupon.cloned());
    Command::Pay { user, to: WalletId::SALES, amount, coupon, note: Note::default() }
}

pub fn refund(entry: i64, amount: Option<&str>) -> Command {
    Command::Refund { entry: EntryId(entry), amount: amount.map(money), note: Note::default() }
}

pub fn grant(user: &str, kind: &str) -> Command {
    Command::GrantCoupon { user: user_id(user), kind: kind.to_owned() }
}

pub fn acquire(id: &str, secret: &str) -> Command {
    Command::Acquire(ask(id, secret))
}

pub fn moved(receipt: Receipt) -> Moved {
    match receipt {
        Receipt::Moved(moved) => *moved,
        other => panic!("money moved, not {other:?}"),
    }
}

/// The name of a no; a yes has none.
#[track_caller]
pub fn name<T: std::fmt::Debug>(result: &Result<T, Error>) -> Name {
    result.as_ref().expect_err("this must be refused").name
}

/// What an error says under that name.
pub fn fact<'a>(error: &'a Error, fact: &str) -> &'a serde_json::Value {
    let found = error.facts.iter().find(|(name, _)| name == fact);
    found.map_or(&serde_json::Value::Null, |(_, value)| value)
}

/// Carries out a statement of account in a new book. Each line is `what to do | what must be true after it`:
///
/// ```text
/// recharge alice 300.00            | balance 300.00  coupon 1
/// pay      alice 80 coupon 1       | refused coupon_not_applicable
/// pay      alice 20 to bob         | has bob 20.00
/// refund   last 5.00               | balance 285.00
/// ```
///
/// Every line is sent twice under one key and must be answered once; every line is followed by an audit.
pub fn check(statement: &str) -> Book {
    let book = book();
    check_on(&book, statement);
    book
}

/// The same in a book that is there.
pub fn check_on(book: &Book, statement: &str) {
    for line in statement.lines().map(str::trim).filter(|line| !line.is_empty()) {
        Line { book, line }.check();
    }
}

struct Line<'a> {
    book: &'a Book,
    line: &'a str,
}

impl Line<'_> {
    fn check(&self) {
        let (order, expected) = self.line.split_once('|').unwrap_or((self.line, ""));
        let command = self.command(&order.split_whitespace().collect::<Vec<_>>());
        let key = format!("line-{}", self.book.number("SELECT count(*) FROM idempotency"));
        let first = self.book.submit(keyed(&key), command.clone());
        let again = self.book.submit(keyed(&key), command.clone());
        assert!(!first.replayed, "{}: the first answer is no replay", self.line);
        assert_eq!(again.result, first.result, "{}: a repeat has the same answer", self.line);
        let remembered = first.result.as_ref().map_or_else(|error| error.name.is_refusal(), |_| true);
        assert_eq!(again.replayed, remembered, "{}: the repeat says that it is one", self.line);
        self.expect(&command, &first.result, &mut expected.split_whitespace());
        assert_eq!(self.book.findings(), Vec::<String>::new(), "{}: the audit finds nothing", self.line);
    }

    fn command(&self, words: &[&str]) -> Command {
        match *words {
            ["recharge", user, amount] => recharge(user, amount),
            ["withdraw", user, amount] => withdraw(user, amount),
            ["transfer", from, to, amount] => transfer(from, to, amount),
            ["grant", user, kind] => grant(user, kind),
            ["refund", entry] => refund(self.entry(entry), None),
            ["refund", entry, amount] => refund(self.entry(entry), Some(amount)),
            ["pay", user, amount, ref rest @ ..] => self.pay(user, amount, rest),
            _ => panic!("{}: what shall be done?", self.line),
        }
    }

    /// `coupon KIND`, `coupon KIND of USER`, `code CODE` and `to WALLET`, in any order.
    fn pay(&self, user: &str, amount: &str, mut rest: &[&str]) -> Command {
        let (mut wallet, mut code) = (WalletId::SALES, None);
        loop {
            rest = match *rest {
                [] => break,
                ["to", to, ref rest @ ..] => {
                    wallet = wallet_id(to);
                    rest
                }
                ["code", text, ref rest @ ..] => {
                    code = Some(CouponCode::parse(text).unwrap());
                    rest
                }
                ["coupon", kind, "of", other, ref rest @ ..] => {
                    code = Some(self.coupon(other, kind).code);
                    rest
                }
                ["coupon", kind, ref rest @ ..] => {
                    code = Some(self.coupon(user, kind).code);
                    rest
                }
                _ => panic!("{}: {rest:?}?", self.line),
            };
        }
        let (user, amount) = (user_id(user), money(amount));
        Command::Pay { user, to: wallet, amount, coupon: code, note: Note::default() }
    }

    /// The user's coupon of that kind: a usable one if there is one.
    fn coupon(&self, user: &str, kind: &str) -> Coupon {
        let mut coupons = self.book.coupons(user);
        coupons.retain(|coupon| coupon.kind == kind);
        coupons.sort_by_key(|coupon| coupon.state() != "usable");
        let found = coupons.into_iter().next();
        found.unwrap_or_else(|| panic!("{}: {user} has no coupon {kind}", self.line))
    }

    /// `last` is the newest entry that is no refund.
    fn entry(&self, word: &str) -> i64 {
        if word != "last" {
            return word.parse().unwrap_or_else(|_| panic!("{}: which entry?", self.line));
        }
        let newest = self.book.entries().into_iter().rev().find(|entry| entry.kind != ledger::Kind::Refund);
        newest.unwrap_or_else(|| panic!("{}: there is no entry", self.line)).id.0
    }

    /// The user whose statement this is.
    fn user(&self, command: &Command) -> String {
        match command {
            Command::Recharge { user, .. }
            | Command::Withdraw { user, .. }
            | Command::Pay { user, .. }
            | Command::GrantCoupon { user, .. } => user.to_string(),
            Command::Transfer { from, .. } => from.to_string(),
            Command::Refund { entry, .. } => {
                let original = self.book.read(|tx| ledger::entry::entry(tx, *entry)).unwrap();
                if original.from.is_system() { original.to } else { original.from }.to_string()
            }
            _ => panic!("{}: whose?", self.line),
        }
    }

    fn expect<'w>(
        &self,
        command: &Command,
        result: &Result<Receipt, Error>,
        words: &mut impl Iterator<Item = &'w str>,
    ) {
        let line = self.line;
        let mut words = words.peekable();
        if words.peek() == Some(&"refused") {
            words.next();
            let expected = words.next().expect("refused NAME");
            let actual = result.as_ref().map_or_else(|error| error.name.as_str(), |_| "done");
            assert_eq!(actual, expected, "{line}: the answer was {result:?}");
        } else if let Err(error) = result {
            panic!("{line}: refused: {error}");
        }
        let entry = || match result {
            Ok(Receipt::Moved(moved)) => moved.entry.clone(),
            other => panic!("{line}: no entry in {other:?}"),
        };
        while let Some(word) = words.next() {
            let next = words.next().unwrap_or_else(|| panic!("{line}: {word} what?"));
            match word {
                "balance" => assert_eq!(self.book.balance(&self.user(command)), next, "{line}: the balance"),
                "has" => {
                    let expected = words.next().expect("has USER AMOUNT");
                    assert_eq!(self.book.balance(next), expected, "{line}: the balance of {next}");
                }
                "amount" => assert_eq!(entry().amount.to_string(), next, "{line}: the amount"),
                "gross" => assert_eq!(entry().gross.unwrap().to_string(), next, "{line}: the gross"),
                "discount" => assert_eq!(entry().discount.unwrap().to_string(), next, "{line}: the discount"),
                "coupon" => match words.next_if(|word| matches!(*word, "usable" | "used" | "taken_back")) {
                    Some(state) => {
                        let coupon = self.coupon(&self.user(command), next);
                        assert_eq!(coupon.state(), state, "{line}: coupon {next}");
                    }
                    None => assert_eq!(earned(result).as_deref().unwrap_or("none"), next, "{line}: what was earned"),
                },
                _ => panic!("{line}: {word}?"),
            }
        }
    }
}

/// The kind of the coupon that a recharge earned or that was granted.
fn earned(result: &Result<Receipt, Error>) -> Option<String> {
    match result {
        Ok(Receipt::Moved(moved)) => moved.coupon.as_ref().map(|coupon| coupon.kind.clone()),
        Ok(Receipt::Coupon(coupon)) => Some(coupon.kind.clone()),
        _ => None,
    }
}

/// The local caller as another.
pub fn by(caller: &str, envelope: Envelope) -> Envelope {
    assert_ne!(caller, LOCAL);
    Envelope { by: caller.to_owned(), ..envelope }
}

/// Random choices that a seed repeats; a failing run says which seed it was.
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// These seeds, or the one that `CASHBOX_SEED` names.
    pub fn runs(seeds: std::ops::Range<u64>) -> Vec<Dice> {
        let chosen = std::env::var("CASHBOX_SEED").ok().and_then(|seed| seed.parse().ok());
        let seeds = chosen.map_or(seeds, |seed| seed..seed + 1);
        seeds.map(|seed| Dice { seed, state: seed }).collect()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see this run again: CASHBOX_SEED={}", self.seed);
        }
    }
}
