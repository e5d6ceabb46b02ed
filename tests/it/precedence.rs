//! The order of refusals: a request that breaks two rules is answered by the one that stands first in the error table.
//! Every pair of rules that one request can break is tried, on a store and through the HTTP application.

use crate::harness::*;
use cashbox::internals::command::Command;
use cashbox::internals::error::ErrorName::{self, *};
use cashbox::internals::http::{App, Settings};
use cashbox::internals::id::{CouponCode, LockToken};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::verbs::Pay;
use cashbox::internals::store::{Envelope, Store};
use cashbox::internals::token::{NewToken, Role};

/// The rules that a request shall break.
type Broken<'a> = &'a [ErrorName];

/// Tries each rule alone and each pair but those that no request can break together.
fn assert_order(rules: &[ErrorName], never_both: &[(ErrorName, ErrorName)], answer: impl Fn(Broken<'_>) -> ErrorName) {
    assert!(rules.is_sorted(), "{rules:?}");
    for (place, first) in rules.iter().enumerate() {
        assert_eq!(answer(&[*first]), *first, "alone");
        for second in &rules[place + 1..] {
            if !never_both.contains(&(*first, *second)) {
                assert_eq!(answer(&[*first, *second]), *first, "{first:?} and {second:?}");
            }
        }
    }
}

/// A book with a used key and the token of a lease that has ended.
struct Fixture {
    book: Book,
    lost: LockToken,
}

impl Fixture {
    fn new(statement: &str) -> Fixture {
        let book = check(statement);
        book.submit(keyed("used"), recharge("keys", "0.01")).result.unwrap();
        let lost = book.acquire("job", "lost").unwrap().token;
        book.release("job", &lost).unwrap();
        Fixture { book, lost }
    }

    /// Sends the command with the key, the token and the held locks that the rules need, and returns the refusal.
    fn answer(&self, broken: Broken<'_>, locks: &str, command: Command) -> ErrorName {
        let tokens = if broken.contains(&LockLost) { vec![self.lost.clone()] } else { Vec::new() };
        let envelope = if broken.contains(&IdempotencyKeyReused) { keyed("used") } else { Envelope::local() };
        let held: Vec<_> = locks.split(' ').filter(|_| broken.contains(&Locked)).collect();
        let leases: Vec<_> = held.iter().map(|id| book_lock(&self.book, id)).collect();
        let name = name(&self.book.submit(Envelope { tokens, ..envelope }, command).result);
        held.iter().zip(leases).for_each(|(id, token)| self.book.release(id, &token).unwrap());
        name
    }

    fn coupon(&self, user: &str, kind: &str) -> CouponCode {
        let coupons = self.book.coupons(user);
        coupons.into_iter().find(|coupon| coupon.kind == kind).expect("the statement earns it").code
    }
}

/// Acquires the lock under a secret of its own: each lease of a lock needs another.
fn book_lock(book: &Book, id: &str) -> LockToken {
    let secret = cashbox::internals::secret::random_hex::<16>();
    book.acquire(id, &secret).unwrap().token
}

#[test]
fn payment_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge bob   300                  | coupon 1
        pay      bob   300 coupon 1         | balance 50.00
        recharge alice 300                  | coupon 1
        pay      alice 300 coupon 1         | balance 50.00
        recharge alice 100                  | coupon 3
        pay      alice 100 coupon 3         | balance 60.00
        recharge carol 300                  | coupon 1
        withdraw carol 240                  | balance 60.00
        ",
    );
    let rules = [
        IdempotencyKeyReused,
        LockLost,
        Locked,
        WalletNotFound,
        CouponNotFound,
        CouponUsed,
        CouponNotApplicable,
        InsufficientFunds,
    ];
    assert_order(&rules, &[], |broken| {
        let breaks = |rule| broken.contains(&rule);
        // Coupon 1 is for payments from 300.00 on, coupon 3 for any.
        let (user, coupon) = match () {
            () if breaks(CouponNotFound) => ("alice", Some(fixture.coupon("bob", "1"))),
            () if breaks(CouponUsed) && breaks(CouponNotApplicable) => ("alice", Some(fixture.coupon("alice", "1"))),
            () if breaks(CouponUsed) => ("alice", Some(fixture.coupon("alice", "3"))),
            () if breaks(CouponNotApplicable) => ("carol", Some(fixture.coupon("carol", "1"))),
            () => ("alice", None),
        };
        let gross = money(match (breaks(InsufficientFunds), breaks(CouponNotApplicable)) {
            (true, true) => "299.99",
            (true, false) => "400",
            (false, _) => "20",
        });
        let to = wallet_id(if breaks(WalletNotFound) { "ghost" } else { "bob" });
        let pay = Pay { user: user_id(user), to, gross, coupon, note: Note::default() };
        fixture.answer(broken, "wallet/alice wallet/carol", pay.into())
    });
    fixture.book.assert_sound();
}

#[test]
fn refund_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge carol 300                  | coupon 1
        pay      carol 300 coupon 1         | balance 50.00
        recharge carol 300                  | balance 350.00
        recharge dave  300                  | coupon 1
        pay      dave  300 coupon 1         | balance 50.00
        recharge erin  10                   |
        withdraw erin  10                   | balance 0.00
        recharge frank 10                   |
        recharge gina  10                   |
        refund   9                          | balance 0.00
        ",
    );
    // The entries by number: 1 earned a used coupon; 4 too, and its money is spent; 6 is spent; 8 can be refunded; 9 is
    // refunded, and its money is away; 10 is that refund.
    let rules = [
        IdempotencyKeyReused,
        LockLost,
        Locked,
        EntryNotFound,
        NotRefundable,
        AlreadyRefunded,
        RefundExceeds,
        CouponUsed,
        InsufficientFunds,
    ];
    let never_both = [
        (Locked, EntryNotFound), // no entry, no wallets, no locks
        (EntryNotFound, NotRefundable),
        (EntryNotFound, AlreadyRefunded),
        (EntryNotFound, CouponUsed),
        (EntryNotFound, InsufficientFunds),
        (NotRefundable, AlreadyRefunded),
        (NotRefundable, CouponUsed),
        (NotRefundable, InsufficientFunds), // a refund of a recharge gives to @bank, which may owe
        (AlreadyRefunded, CouponUsed),      // a refund of that recharge is refused
    ];
    assert_order(&rules, &never_both, |broken| {
        let breaks = |rule| broken.contains(&rule);
        let entry = match () {
            () if breaks(EntryNotFound) => 999,
            () if breaks(NotRefundable) => 10,
            () if breaks(AlreadyRefunded) => 9,
            () if breaks(CouponUsed) && breaks(InsufficientFunds) => 4,
            () if breaks(CouponUsed) => 1,
            () if breaks(InsufficientFunds) => 6,
            () => 8,
        };
        let amount = breaks(RefundExceeds).then_some("1000");
        let locks = "wallet/carol wallet/dave wallet/erin wallet/frank wallet/gina";
        fixture.answer(broken, locks, refund(entry, amount))
    });
    fixture.book.assert_sound();
}

#[test]
fn recharge_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new("recharge alice 1 |");
    let most = (0..999).map(|_| (Envelope::local(), recharge("alice", "1000000000000.00"))).collect();
    assert!(fixture.book.submit_all(most).iter().all(|outcome| outcome.result.is_ok()));
    assert_order(&[IdempotencyKeyReused, LockLost, Locked, BalanceLimit], &[], |broken| {
        let amount = if broken.contains(&BalanceLimit) { "1000000000000.00" } else { "1" };
        fixture.answer(broken, "wallet/alice", recharge("alice", amount))
    });
}

#[test]
fn coupon_grant_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new("recharge alice 1 |");
    assert_order(&[IdempotencyKeyReused, LockLost, WalletNotFound, CouponKindNotFound], &[], |broken| {
        let user = if broken.contains(&WalletNotFound) { "ghost" } else { "alice" };
        let kind = if broken.contains(&CouponKindNotFound) { "none" } else { "3" };
        fixture.answer(broken, "", grant(user, kind))
    });
}

#[test]
fn http_request_that_breaks_two_rules_gets_the_first() {
    let mut book = check(
        "
        recharge alice 10 |
        recharge held  10 |
        ",
    );
    let lost = book.acquire("job", "lost").unwrap().token;
    book.release("job", &lost).unwrap();
    let mint = |role| book.must(NewToken { role, user: None, prefix: None, expires_in_s: None, note: None });
    let (teller, auditor) = (mint(Role::Teller), mint(Role::Auditor));
    book.submit(Envelope { by: teller.token.id.clone(), ..keyed("used") }, recharge("alice", "1")).result.unwrap();
    book.acquire("wallet/held", "held").unwrap();
    book.acquire("wallet/held-ghost", "ghost").unwrap();
    book.close();
    let app = App::new(Store::open(&book.path(), &book.options).unwrap(), Settings::default());
    let rules = [
        NotFound,
        MethodNotAllowed,
        Unauthenticated,
        Forbidden,
        NotAcceptable,
        UnsupportedMediaType,
        InvalidRequest,
        InvalidUser,
        InvalidAmount,
        IdempotencyKeyReused,
        LockLost,
        Locked,
        WalletNotFound,
        InsufficientFunds,
    ];
    let never_both = [
        (NotFound, MethodNotAllowed),
        (Unauthenticated, Forbidden), // no caller, no role
        (InvalidUser, Locked),        // no wallet, no lock
        (InvalidUser, WalletNotFound),
        (InvalidAmount, InsufficientFunds),
    ];
    assert_order(&rules, &never_both, |broken| {
        let breaks = |rule| broken.contains(&rule);
        let user = match () {
            () if breaks(InvalidUser) => "%20",
            () if breaks(Locked) && breaks(WalletNotFound) => "held-ghost",
            () if breaks(Locked) => "held",
            () if breaks(WalletNotFound) => "ghost",
            () => "alice",
        };
        let verb = if breaks(NotFound) { "nothing" } else { "withdraw" };
        let token = match () {
            () if breaks(Unauthenticated) => "cbx_0123456789abcdef0123456789abcdef",
            () if breaks(Forbidden) => &auditor.secret,
            () => &teller.secret,
        };
        let (authorization, lock_token) = (format!("Bearer {token}"), lost.to_string());
        let mut headers = vec![("authorization", authorization.as_str()), ("prefer", "wait=0")];
        headers.push(("content-type", if breaks(UnsupportedMediaType) { "text/plain" } else { "application/json" }));
        headers.extend(breaks(NotAcceptable).then_some(("accept", "text/html")));
        headers.extend(breaks(IdempotencyKeyReused).then_some(("idempotency-key", "used")));
        headers.extend(breaks(LockLost).then_some(("lock-token", lock_token.as_str())));
        let amount = match () {
            () if breaks(InvalidAmount) => "nan",
            () if breaks(InsufficientFunds) => "1000",
            () => "1",
        };
        let unknown = if breaks(InvalidRequest) { r#", "unknown": "1""# } else { "" };
        let body = format!(r#"{{"amount": "{amount}"{unknown}}}"#);
        let method = if breaks(MethodNotAllowed) { "PATCH" } else { "POST" };
        let target = format!("/v1/wallets/{user}/{verb}");
        let answer = app.answer_local(method, &target, &headers, body.into_bytes());
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let name = ErrorName::from_text(body["error"].as_str().unwrap()).unwrap();
        assert_eq!(answer.status, name.status(), "{body}");
        name
    });
}
