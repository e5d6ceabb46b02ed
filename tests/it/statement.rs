//! `check`: a statement of account, line by line.

use crate::harness::*;
use cashbox::internals::command::{ClaimCoupon, Command, GrantCoupon, MoneyCommand, Receipt};
use cashbox::internals::error::Error;
use cashbox::internals::id::{CouponCode, EntryId, WalletId};
use cashbox::internals::ledger::coupon::{Coupon, CouponState};
use cashbox::internals::ledger::entry::EntryKind;
use cashbox::internals::ledger::hold::{CaptureHold, HoldState, PlaceHold, VoidHold};
use cashbox::internals::ledger::verbs::{Pay, Recharge, Refund, Transfer, Withdraw};
use cashbox::internals::ledger::{self, Note};

/// Carries out a statement of account in a new book. Each line is `what to do | what must be true after it`:
///
/// ```text
/// recharge alice 300.00            | balance 300.00  coupon 1
/// pay      alice 80 coupon 1       | refused coupon_not_applicable
/// pay      alice 20 to bob         | has bob 20.00
/// refund   last 5.00               | balance 285.00
/// hold     alice 50 to bob for 60  | balance 235.00  held 50.00
/// capture  hold 20 more            | left 30.00  state open
/// void     hold                    | balance 265.00  held 0.00  state voided
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
        assert!(!first.replayed, "{}: the first answer is not a replay", self.line);
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
            ["claim", user, code] => claim(user, code),
            ["refund", entry] => refund(self.entry(entry), None),
            ["refund", entry, amount] => refund(self.entry(entry), Some(amount)),
            ["pay", user, amount, ref rest @ ..] => self.pay(user, amount, rest),
            ["hold", user, amount, ref rest @ ..] => self.hold(user, amount, rest),
            ["capture", hold, ref rest @ ..] => {
                let (amount, is_final) = match *rest {
                    [] => (None, true),
                    ["more"] => (None, false),
                    [amount] => (Some(money(amount)), true),
                    [amount, "more"] => (Some(money(amount)), false),
                    _ => panic!("{}: {rest:?}?", self.line),
                };
                CaptureHold { hold: EntryId(self.entry(hold)), amount, is_final, note: Note::default() }.into()
            }
            ["void", hold] => VoidHold { hold: EntryId(self.entry(hold)), note: Note::default() }.into(),
            _ => panic!("{}: what shall be done?", self.line),
        }
    }

    fn pay(&self, user: &str, amount: &str, rest: &[&str]) -> Command {
        let (to, coupon, _) = self.options(user, rest);
        Pay { user: user_id(user), to, gross: money(amount), coupon, note: Note::default() }.into()
    }

    fn hold(&self, user: &str, amount: &str, rest: &[&str]) -> Command {
        let (to, coupon, expires_in_s) = self.options(user, rest);
        let (user, gross) = (user_id(user), money(amount));
        PlaceHold { user, to, gross, expires_in_s, coupon, note: Note::default() }.into()
    }

    /// `coupon KIND`, `coupon KIND of USER`, `code CODE`, `to WALLET` and `for SECONDS`, in any order.
    fn options(&self, user: &str, mut rest: &[&str]) -> (WalletId, Option<CouponCode>, i64) {
        let (mut wallet, mut code, mut seconds) = (WalletId::SALES, None, 604_800);
        loop {
            rest = match *rest {
                [] => break,
                ["to", to, ref rest @ ..] => {
                    wallet = wallet_id(to);
                    rest
                }
                ["for", text, ref rest @ ..] => {
                    seconds = text.parse().unwrap();
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
        (wallet, code, seconds)
    }

    /// The user's coupon of that kind: a usable one if there is one.
    fn coupon(&self, user: &str, kind: &str) -> Coupon {
        let mut coupons = self.book.coupons(user);
        coupons.retain(|coupon| coupon.kind == kind);
        let now = self.book.clock.wall_ms();
        coupons.sort_by_key(|coupon| coupon.state(now) != CouponState::Usable);
        let found = coupons.into_iter().next();
        found.unwrap_or_else(|| panic!("{}: {user} has no coupon {kind}", self.line))
    }

    /// `last` is the newest entry other than refunds, `hold` the newest hold, `captured` the newest capture.
    fn entry(&self, word: &str) -> i64 {
        let kind = match word {
            "hold" => Some(EntryKind::Hold),
            "captured" => Some(EntryKind::Capture),
            _ => None,
        };
        if let Some(kind) = kind {
            let newest = self.book.entries().into_iter().rev().find(|entry| entry.kind == kind);
            return newest.unwrap_or_else(|| panic!("{}: there is no such entry", self.line)).id.0;
        }
        if word != "last" {
            return word.parse().unwrap_or_else(|_| panic!("{}: which entry?", self.line));
        }
        let newest = self.book.entries().into_iter().rev().find(|entry| entry.kind != ledger::entry::EntryKind::Refund);
        newest.unwrap_or_else(|| panic!("{}: there is no entry", self.line)).id.0
    }

    /// The user whose statement this is.
    fn user(&self, command: &Command) -> String {
        let money = match command {
            Command::Money(money) => money,
            Command::GrantCoupon(GrantCoupon { user, .. }) | Command::ClaimCoupon(ClaimCoupon { user, .. }) => {
                return user.to_string();
            }
            _ => panic!("{}: whose?", self.line),
        };
        match money {
            MoneyCommand::Recharge(Recharge { user, .. })
            | MoneyCommand::Withdraw(Withdraw { user, .. })
            | MoneyCommand::Pay(Pay { user, .. })
            | MoneyCommand::Hold(PlaceHold { user, .. }) => user.to_string(),
            MoneyCommand::Capture(CaptureHold { hold, .. }) | MoneyCommand::Void(VoidHold { hold, .. }) => {
                self.book.hold(hold.0).wallet.to_string()
            }
            MoneyCommand::Transfer(Transfer { from, .. }) => from.to_string(),
            MoneyCommand::Refund(Refund { entry, .. }) => {
                let original = self.book.read(|tx| ledger::entry::entry(tx, *entry)).unwrap();
                if let Some(hold) = original.hold {
                    return self.book.hold(hold.0).wallet.to_string();
                }
                if original.from.is_system() { original.to } else { original.from }.to_string()
            }
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
                "held" => {
                    let held = self.book.held(&self.user(command));
                    assert_eq!(held, next, "{line}: what is held");
                }
                "left" | "state" => {
                    let Ok(Receipt::Moved(moved)) = result else { panic!("{line}: nothing moved") };
                    let hold = &moved.hold.as_ref().unwrap_or_else(|| panic!("{line}: no hold")).hold;
                    let state = hold.ended.unwrap_or(HoldState::Open).as_str().to_owned();
                    let actual = if word == "left" { hold.left.to_string() } else { state };
                    assert_eq!(actual, next, "{line}: the {word} of the hold");
                }
                "amount" => assert_eq!(entry().amount.to_string(), next, "{line}: the amount"),
                "gross" => assert_eq!(entry().gross.unwrap().to_string(), next, "{line}: the gross"),
                "discount" => assert_eq!(entry().discount.unwrap().to_string(), next, "{line}: the discount"),
                "coupon" => {
                    match words
                        .next_if(|word| matches!(*word, "usable" | "used" | "reserved" | "expired" | "taken_back"))
                    {
                        Some(state) => {
                            let coupon = self.coupon(&self.user(command), next);
                            assert_eq!(
                                coupon.state(self.book.clock.wall_ms()).as_str(),
                                state,
                                "{line}: coupon {next}"
                            );
                        }
                        None => {
                            assert_eq!(earned(result).as_deref().unwrap_or("none"), next, "{line}: what was earned")
                        }
                    }
                }
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
