//! The order of refusals: a request that breaks two rules is answered by the one that stands first in the error table.
//! Every pair of rules that one request can break is tried, on a store and through the HTTP application.

use crate::harness::*;
use cashbox::internals::command::{Command, SetCouponKinds};
use cashbox::internals::error::ErrorName::{self, *};
use cashbox::internals::http::{App, Settings};
use cashbox::internals::id::{ClaimCode, CouponCode, LockToken};
use cashbox::internals::ledger::coupon::{CouponKind, CouponTerms, Discount, KindLimits};
use cashbox::internals::ledger::hold::PlaceHold;
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::ledger::verbs::Pay;
use cashbox::internals::ledger::{Note, WalletStatus};
use cashbox::internals::money::Cents;
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

    /// The same with the wallet frozen and limited, if the rules need that.
    fn answer_of(&self, broken: Broken<'_>, giver: &str, locks: &str, command: Command) -> ErrorName {
        let set = |status, limit| {
            self.book.must(SetWallet { status, limit_per_payment: Some(limit), ..set_nothing(giver) });
        };
        let frozen = broken.contains(&WalletFrozen).then_some(WalletStatus::Frozen);
        let limit = broken.contains(&LimitExceeded).then(|| money("1"));
        if frozen.is_none() && limit.is_none() {
            return self.answer(broken, locks, command);
        }
        set(frozen, limit);
        let name = self.answer(broken, locks, command);
        set(frozen.map(|_| WalletStatus::Open), None);
        name
    }

    fn set_status(&self, user: &str, status: WalletStatus) {
        self.book.must(SetWallet { status: Some(status), ..set_nothing(user) });
    }

    fn close(&self, user: &str) {
        self.set_status(user, WalletStatus::Closed);
    }

    /// Fills the wallet of rich up to its limit.
    fn fill(&self) {
        let mut most: Vec<_> = (0..999).map(|_| (Envelope::local(), recharge("rich", "1000000000000.00"))).collect();
        most.push((Envelope::local(), recharge("rich", "999999999999.99")));
        assert!(self.book.submit_all(most).iter().all(|outcome| outcome.result.is_ok()));
    }

    /// Sets kinds beside the usual ones, and grants alice and bob one of each.
    fn grant_of(&self, kinds: Vec<CouponKind>) {
        let usual = self.book.read(|tx| cashbox::internals::ledger::coupon::kinds(tx)).unwrap();
        let names: Vec<String> = kinds.iter().map(|kind| kind.kind.clone()).collect();
        self.book.must(SetCouponKinds(usual.into_iter().chain(kinds).collect()));
        for (user, name) in ["alice", "bob"].into_iter().flat_map(|user| names.iter().map(move |name| (user, name))) {
            self.book.must(grant(user, name));
        }
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

/// The rules of every command that waits for locks.
const FIRST: [ErrorName; 3] = [IdempotencyKeyReused, LockLost, Locked];

/// A kind of 1.00 off from that price on, once.
fn kind(name: &str, threshold: i64, limits: KindLimits) -> CouponKind {
    let terms = CouponTerms::new(Discount::Amount(money("1")), Cents(threshold), true);
    CouponKind { kind: name.to_owned(), terms, earned_zh: "券".to_owned(), earned_en: "one".to_owned(), limits }
}

/// Limits of a kind that ends in a second.
fn ends_soon(book: &Book) -> KindLimits {
    KindLimits { valid_until: Some(book.clock.wall_ms() + 1_000), ..KindLimits::default() }
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
    fixture.book.must(CreateWallet { user: user_id("shut") });
    fixture.close("shut");
    let rules = [IdempotencyKeyReused, LockLost, Locked, WalletClosed, BalanceLimit];
    assert_order(&rules, &[(WalletClosed, BalanceLimit)], |broken| {
        let amount = if broken.contains(&BalanceLimit) { "1000000000000.00" } else { "1" };
        let user = if broken.contains(&WalletClosed) { "shut" } else { "alice" };
        fixture.answer(broken, "wallet/alice wallet/shut", recharge(user, amount))
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

/// The rules of payments and holds beyond funds: the settings of the wallets, and the coupon.
#[test]
fn spending_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge alice 90 |
        recharge bob   90 |
        recharge shop  1  |
        recharge shut  1  |
        withdraw shut  1  | balance 0.00
        ",
    );
    fixture.close("shut");
    let ends = ends_soon(&fixture.book);
    let any = KindLimits::default();
    fixture.grant_of(vec![kind("late", 0, ends.clone()), kind("late-dear", 50_000, ends), kind("dear", 50_000, any)]);
    let many = (0..1_000).map(|_| (Envelope::local(), hold("bob", "0.01", 1_000))).collect();
    assert!(fixture.book.submit_all(many).iter().all(|outcome| outcome.result.is_ok()));
    fixture.book.advance(1_000);
    let rules = [
        &FIRST[..],
        &[WalletNotFound, WalletClosed, WalletFrozen, CouponNotFound, CouponExpired],
        &[CouponNotApplicable, HoldLimit, LimitExceeded, InsufficientFunds],
    ]
    .concat();
    let answer = |broken: Broken<'_>, is_hold: bool| {
        let breaks = |rule| broken.contains(&rule);
        let user = match () {
            () if breaks(WalletNotFound) && breaks(WalletClosed) => "shut",
            () if breaks(HoldLimit) => "bob", // with a thousand holds
            () => "alice",
        };
        let to = match () {
            () if breaks(WalletNotFound) => "ghost",
            () if breaks(WalletClosed) => "shut",
            () => "shop",
        };
        let other = if user == "bob" { "alice" } else { "bob" };
        let coupon = match () {
            () if breaks(CouponNotFound) => Some(fixture.coupon(other, "late-dear")),
            () if breaks(CouponExpired) && breaks(CouponNotApplicable) => Some(fixture.coupon(user, "late-dear")),
            () if breaks(CouponExpired) => Some(fixture.coupon(user, "late")),
            () if breaks(CouponNotApplicable) => Some(fixture.coupon(user, "dear")),
            () => None,
        };
        let gross = money(if breaks(InsufficientFunds) { "400" } else { "20" });
        let (user_id, to, note) = (user_id(user), wallet_id(to), Note::default());
        let command: Command = match is_hold {
            true => PlaceHold { user: user_id, to, gross, expires_in_s: 60, coupon, note }.into(),
            false => Pay { user: user_id, to, gross, coupon, note }.into(),
        };
        fixture.answer_of(broken, user, "wallet/alice wallet/bob", command)
    };
    assert_order(&rules, &[], |broken| answer(broken, true));
    let of_payment: Vec<_> = rules.into_iter().filter(|rule| *rule != HoldLimit).collect();
    assert_order(&of_payment, &[], |broken| answer(broken, false));
    fixture.book.assert_sound();
}

#[test]
fn transfer_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge alice 90 |
        recharge bob   1  |
        recharge shut  1  |
        withdraw shut  1  | balance 0.00
        ",
    );
    fixture.close("shut");
    fixture.fill();
    let rules =
        [&FIRST[..], &[WalletNotFound, WalletClosed, WalletFrozen], &[LimitExceeded, InsufficientFunds, BalanceLimit]]
            .concat();
    assert_order(&rules, &[], |broken| {
        let breaks = |rule| broken.contains(&rule);
        // The receiver is the wrong one, unless it has to be the full one, or both are wrong.
        let wrong_giver = match () {
            () if breaks(WalletNotFound) && (breaks(BalanceLimit) || breaks(WalletClosed)) => Some("ghost"),
            () if breaks(WalletClosed) && breaks(BalanceLimit) => Some("shut"),
            () => None,
        };
        let to = match () {
            () if breaks(BalanceLimit) => "rich",
            () if breaks(WalletClosed) => "shut",
            () if breaks(WalletNotFound) => "ghost",
            () => "bob",
        };
        let amount = if breaks(InsufficientFunds) { "400" } else { "20" };
        let command = transfer(wrong_giver.unwrap_or("alice"), to, amount);
        fixture.answer_of(broken, "alice", "wallet/alice", command)
    });
    fixture.book.assert_sound();
}

#[test]
fn refund_between_settings_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge dan  10      |
        recharge eve  30      |
        recharge bob  10      |
        transfer dan  bob 10  | balance 0.00
        refund   4            | balance 10.00
        transfer dan  bob 10  | balance 0.00
        transfer eve  bob 1   |
        refund   7            | balance 30.00
        transfer eve  bob 2   |
        ",
    );
    // The entries by number: 4 and 6 gave dan's money, and 5 refunds 4; 8 refunds 7; 9 can be refunded.
    let rules = [WalletClosed, WalletFrozen, NotRefundable, AlreadyRefunded, RefundExceeds];
    let never_both = [(NotRefundable, AlreadyRefunded)];
    fixture.close("dan");
    assert_order(&rules, &never_both, |broken| {
        let breaks = |rule| broken.contains(&rule);
        let (entry, giver) = match (breaks(WalletClosed), breaks(NotRefundable), breaks(AlreadyRefunded)) {
            (true, true, _) => (5, "dan"),
            (true, _, true) => (4, "bob"),
            (true, ..) => (6, "bob"),
            (_, true, _) => (8, "eve"),
            (_, _, true) => (7, "bob"),
            _ => (9, "bob"),
        };
        fixture.answer_of(broken, giver, "", refund(entry, breaks(RefundExceeds).then_some("1000")))
    });
    fixture.book.assert_sound();
}

#[test]
fn capture_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge alice 500 | coupon 2
        recharge shop  1   |
        withdraw shop  1   | balance 0.00
        ",
    );
    fixture.fill();
    let coupon = fixture.coupon("alice", "2");
    let place = |to: &str, expires_in_s: i64| {
        let (user, to, gross) = (user_id("alice"), wallet_id(to), money("10"));
        let place = PlaceHold { user, to, gross, expires_in_s, coupon: Some(coupon.clone()), note: Note::default() };
        moved(fixture.book.must(Command::from(place))).entry.id.0
    };
    let holds = ["shop", "rich", "late-shop"].map(|to| {
        let to = to.trim_start_matches("late-");
        let (open, voided, expired) = (place(to, 1_000), place(to, 1_000), place(to, 1));
        fixture.book.must(void(voided));
        [open, voided, expired]
    });
    fixture.book.advance(1_000);
    let rules = [
        &FIRST[..],
        &[WalletClosed, HoldNotFound, HoldNotOpen, HoldExpired],
        &[CaptureExceeds, CouponNotApplicable, BalanceLimit],
    ]
    .concat();
    let mut never_both = vec![
        (Locked, HoldNotFound), // no hold, no receiver, no lock
        (WalletClosed, HoldNotFound),
        (WalletClosed, BalanceLimit), // a closed wallet is empty
        (HoldNotOpen, HoldExpired),
        (CaptureExceeds, CouponNotApplicable), // more or less than what is left
    ];
    never_both.extend(rules[5..].iter().map(|rule| (HoldNotFound, *rule)));
    assert_order(&rules, &never_both, |broken| {
        let breaks = |rule| broken.contains(&rule);
        let [open, voided, expired] = holds[if breaks(BalanceLimit) { 1 } else { 0 }];
        let id = match () {
            () if breaks(HoldNotFound) => 999_999,
            () if breaks(HoldNotOpen) => voided,
            () if breaks(HoldExpired) => expired,
            () => open,
        };
        let amount = match () {
            () if breaks(CaptureExceeds) => Some("1000"),
            () if breaks(CouponNotApplicable) => Some("1"),
            () => None,
        };
        if breaks(WalletClosed) {
            fixture.close("shop");
        }
        let name = fixture.answer(broken, "wallet/shop wallet/rich", capture(id, amount, true));
        if breaks(WalletClosed) {
            fixture.set_status("shop", WalletStatus::Open);
        }
        name
    });
    let of_void = [IdempotencyKeyReused, LockLost, Locked, HoldNotFound, HoldNotOpen];
    assert_order(&of_void, &[(Locked, HoldNotFound), (HoldNotFound, HoldNotOpen)], |broken| {
        let id =
            if broken.contains(&HoldNotFound) { 999_999 } else { holds[0][usize::from(broken.contains(&HoldNotOpen))] };
        fixture.answer(broken, "wallet/alice", void(id))
    });
    fixture.book.assert_sound();
}

#[test]
fn claim_that_breaks_two_rules_gets_the_first() {
    let fixture = Fixture::new(
        "
        recharge alice 1 |
        recharge bob   1 |
        recharge carol 1 |
        recharge shut  1 |
        withdraw shut  1 | balance 0.00
        ",
    );
    fixture.close("shut");
    let once = |code: &str, limits: KindLimits| {
        let claim_code = Some(ClaimCode::parse(code).unwrap());
        kind(code, 0, KindLimits { claim_code, per_user: Some(1), ..limits })
    };
    let ends = ends_soon(&fixture.book);
    fixture.grant_of(vec![once("late", ends), once("ever", KindLimits::default())]);
    fixture.book.advance(1_000);
    // Alice has one of each kind already, and carol none.
    for (is_claim, missing) in [(true, ClaimCodeNotFound), (false, CouponKindNotFound)] {
        let rules =
            [IdempotencyKeyReused, LockLost, WalletNotFound, WalletClosed, missing, CouponNotApplicable, CouponLimit];
        let never_both = [(WalletNotFound, WalletClosed), (WalletNotFound, CouponLimit), (WalletClosed, CouponLimit)];
        let never_both: Vec<_> =
            never_both.into_iter().chain([(missing, CouponNotApplicable), (missing, CouponLimit)]).collect();
        assert_order(&rules, &never_both, |broken| {
            let breaks = |rule| broken.contains(&rule);
            let user = match () {
                () if breaks(WalletNotFound) => "ghost",
                () if breaks(WalletClosed) => "shut",
                () if breaks(CouponLimit) => "alice",
                () => "carol",
            };
            let name = match () {
                () if breaks(missing) => "none",
                () if breaks(CouponNotApplicable) => "late",
                () => "ever",
            };
            fixture.answer(broken, "", if is_claim { claim(user, name) } else { grant(user, name) })
        });
    }
    fixture.book.assert_sound();
}

#[test]
fn settings_that_break_two_rules_get_the_first() {
    let fixture = Fixture::new("recharge alice 1 |");
    assert_order(&[IdempotencyKeyReused, LockLost, WalletExists], &[], |broken| {
        let user = user_id(if broken.contains(&WalletExists) { "alice" } else { "new" });
        fixture.answer(broken, "", CreateWallet { user }.into())
    });
    let rules = [IdempotencyKeyReused, LockLost, WalletNotFound, WalletNotEmpty];
    assert_order(&rules, &[(WalletNotFound, WalletNotEmpty)], |broken| {
        let user = if broken.contains(&WalletNotFound) { "ghost" } else { "alice" };
        let status = broken.contains(&WalletNotEmpty).then_some(WalletStatus::Closed);
        let set = SetWallet { status, ..set_nothing(user) };
        fixture.answer(broken, "", set.into())
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
