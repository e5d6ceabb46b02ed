//! A book to test with: a store on a file in a temporary folder, a clock that is moved by hand, and an eye of its own
//! on the file that audits it.

use crate::server::until;
pub use crate::statement::{check, check_on};

use cashbox::internals::clock::Clock;
use cashbox::internals::command::{AtomicBatch, ClaimCoupon, Command, GrantCoupon, Receipt, TypedCommand};
use cashbox::internals::error::{Error, ErrorName};
use cashbox::internals::id::{
    ClaimCode, CouponCode, EntryId, Fence, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId,
};
use cashbox::internals::ledger::coupon::Coupon;
use cashbox::internals::ledger::entry::Entry;
use cashbox::internals::ledger::hold::{CaptureHold, Hold, PlaceHold, VoidHold};
use cashbox::internals::ledger::settings::SetWallet;
use cashbox::internals::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use cashbox::internals::ledger::{self, Note};
use cashbox::internals::lock::Lock;
use cashbox::internals::lock::lease::{AcquireRequest, Grant, ReleaseRequest};
use cashbox::internals::money::Money;
use cashbox::internals::store::{self, Envelope, LOCAL, Options, Outcome, Store};
use rusqlite::Connection;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// The bound of waiting for what must happen at once.
const TIMEOUT: Duration = Duration::from_secs(15);

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
        self.look_at_time();
    }

    /// Another program's hand on the file, under the rules the file is written with.
    pub fn raw(&self) -> Connection {
        let conn = Connection::open(self.path()).expect("the file opens");
        conn.pragma_update(None, "foreign_keys", true).unwrap();
        conn.pragma_update(None, "recursive_triggers", true).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn
    }

    pub fn do_it<C: TypedCommand>(&self, command: C) -> Outcome<C::Receipt> {
        self.submit(Envelope::local(), command)
    }

    /// `Store::submit_all`, but a request without an answer fails the test instead of hanging it.
    pub fn submit_all(&self, requests: Vec<(Envelope, Command)>) -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let (done, answers) = std::sync::mpsc::channel();
            scope.spawn(move || done.send(self.deref().submit_all(requests)));
            answers.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
                self.refuse_waiting();
                panic!("a request was never answered")
            })
        })
    }

    /// Submits them; the number of those that were done.
    pub fn count_done(&self, requests: Vec<(Envelope, Command)>) -> usize {
        self.submit_all(requests).iter().filter(|outcome| outcome.result.is_ok()).count()
    }

    /// Has it done, which must succeed.
    pub fn must<C: TypedCommand + Clone + std::fmt::Debug>(&self, command: C) -> C::Receipt {
        self.do_it(command.clone()).result.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub fn balance(&self, wallet: &str) -> String {
        let id = WalletId::parse(wallet).unwrap();
        let found = self.read(|tx| ledger::find_wallet(tx, &id)).unwrap();
        found.map_or_else(|| "0.00".to_owned(), |wallet| wallet.balance.to_string())
    }

    /// A hold as its row says.
    pub fn hold(&self, id: i64) -> Hold {
        self.read(|tx| ledger::hold::hold(tx, EntryId(id))).unwrap()
    }

    /// The sum that is reserved of a user's money.
    pub fn held(&self, user: &str) -> String {
        self.read(|tx| ledger::hold::held(tx, &wallet_id(user))).unwrap().to_string()
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
        self.read(|tx| cashbox::internals::lock::find(tx, &lock_id(id))).unwrap()
    }

    /// The findings of the audit: `check: sentence`, each.
    pub fn findings(&self) -> Vec<String> {
        let report = store::audit::audit(&self.path(), None, &mut |_, _| {}).expect("the audit runs");
        report.findings.into_iter().map(|finding| format!("{}: {}", finding.check, finding.sentence)).collect()
    }

    pub fn assert_sound(&self) {
        assert_eq!(self.findings(), Vec::<String>::new(), "the audit finds nothing");
    }

    /// Until that is so: the writer does it by itself.
    #[track_caller]
    pub fn until(&self, is_so: impl Fn(&Book) -> bool) {
        until(|| is_so(self));
    }

    /// Until that many requests are parked. Nothing else tells that another thread's request has come to wait.
    #[track_caller]
    pub fn until_parked(&self, count: u64) {
        until(|| self.stats().parked.load(std::sync::atomic::Ordering::Relaxed) == count);
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

    pub fn acquire_as(&self, ask: AcquireRequest) -> Result<Grant, Error> {
        self.do_it(ask).result
    }

    pub fn release(&self, id: &str, token: &LockToken) -> Result<(), Error> {
        self.do_it(ReleaseRequest { id: Some(lock_id(id)), token: token.clone(), min_hold_ms: None }).result
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

/// The usual request for a lock: a minute, five seconds of grace, the holder named as the secret.
pub fn ask(id: &str, secret: &str) -> AcquireRequest {
    let ids = id.split(' ').map(lock_id).collect();
    let (expire_ms, grace_ms) = (60_000, 5_000);
    AcquireRequest {
        ids,
        any: false,
        secret: self::secret(secret),
        holder: secret.to_owned(),
        expire_ms,
        grace_ms,
        max_hold_ms: None,
        min_hold_ms: None,
    }
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
    Recharge { user: user_id(user), amount: money(amount), note: Note::default() }.into()
}

pub fn withdraw(user: &str, amount: &str) -> Command {
    Withdraw { user: user_id(user), amount: money(amount), note: Note::default() }.into()
}

pub fn transfer(from: &str, to: &str, amount: &str) -> Command {
    Transfer { from: wallet_id(from), to: wallet_id(to), amount: money(amount), note: Note::default() }.into()
}

pub fn pay(user: &str, amount: &str, coupon: Option<&CouponCode>) -> Command {
    let (user, gross, coupon) = (user_id(user), money(amount), coupon.cloned());
    Pay { user, to: WalletId::SALES, gross, coupon, note: Note::default() }.into()
}

pub fn refund(entry: i64, amount: Option<&str>) -> Command {
    Refund { entry: EntryId(entry), amount: amount.map(money), note: Note::default() }.into()
}

/// A hold for `@sales` that lasts for these seconds.
pub fn hold(user: &str, amount: &str, expires_in_s: i64) -> Command {
    hold_for(user, "@sales", amount, expires_in_s)
}

pub fn hold_for(user: &str, to: &str, amount: &str, expires_in_s: i64) -> Command {
    let (user, to, gross) = (user_id(user), wallet_id(to), money(amount));
    PlaceHold { user, to, gross, expires_in_s, coupon: None, note: Note::default() }.into()
}

pub fn capture(hold: i64, amount: Option<&str>, is_final: bool) -> Command {
    CaptureHold { hold: EntryId(hold), amount: amount.map(money), is_final, note: Note::default() }.into()
}

pub fn void(hold: i64) -> Command {
    VoidHold { hold: EntryId(hold), note: Note::default() }.into()
}

pub fn grant(user: &str, kind: &str) -> Command {
    GrantCoupon { user: user_id(user), kind: kind.to_owned() }.into()
}

pub fn claim(user: &str, code: &str) -> Command {
    ClaimCoupon { user: user_id(user), code: ClaimCode::parse(code).unwrap() }.into()
}

/// All of these or none; each is a money verb.
/// A change of the wallet's settings that changes none.
pub fn set_nothing(user: &str) -> SetWallet {
    SetWallet {
        user: user_id(user),
        name: None,
        status: None,
        metadata: None,
        limit_per_payment: None,
        limit_per_day: None,
    }
}

pub fn batch(items: Vec<Command>) -> Command {
    let money = |item| match item {
        Command::Money(money) => money,
        other => panic!("{other:?} moves no money"),
    };
    AtomicBatch(items.into_iter().map(money).collect()).into()
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
pub fn name<T: std::fmt::Debug>(result: &Result<T, Error>) -> ErrorName {
    result.as_ref().expect_err("this must be refused").name
}

/// The fact of that name in an error.
pub fn fact<'a>(error: &'a Error, fact: &str) -> &'a serde_json::Value {
    let found = error.facts.iter().find(|(name, _)| name == fact);
    found.map_or(&serde_json::Value::Null, |(_, value)| value)
}

/// The local caller as another.
pub fn by(caller: &str, envelope: Envelope) -> Envelope {
    assert_ne!(caller, LOCAL);
    Envelope { by: caller.to_owned(), ..envelope }
}
