//! Money: every verb, every tier, every coupon, and every no.

use crate::authority::minted;
use crate::harness::*;
use cashbox::internals::command::{Receipt, SetCouponKinds, SetTiers};
use cashbox::internals::error::ErrorName;
use cashbox::internals::ledger::coupon::{CouponKind, CouponTerms, Discount, KindLimits, Tier};
use cashbox::internals::money::{Balance, Cents, Money};
use cashbox::internals::store::Envelope;
use cashbox::internals::token::Role;

#[test]
fn tier_earns_coupon_from_its_first_cent() {
    check(
        "
        recharge alice 0.01       | balance 0.01        coupon none
        recharge alice 99.99      | balance 100.00      coupon none
        recharge alice 100        | balance 200.00      coupon 3
        recharge alice 299.99     | balance 499.99      coupon 3
        recharge alice 300        | balance 799.99      coupon 1
        recharge alice 499.99     | balance 1299.98     coupon 1
        recharge alice 500        | balance 1799.98     coupon 2
        recharge alice 999.99     | balance 2799.97     coupon 2
        recharge alice 1000       | balance 3799.97     coupon 2
        recharge alice 100000     | balance 103799.97   coupon 2
        ",
    );
}

#[test]
fn fifty_off_coupon_works_once_from_three_hundred() {
    check(
        "
        recharge alice 300.00                | balance 300.00 coupon 1
        pay      alice 299.99 coupon 1       | refused coupon_not_applicable balance 300.00 coupon 1 usable
        pay      alice 300.00 coupon 1       | balance 50.00 gross 300.00 discount 50.00 amount 250.00 coupon 1 used
        recharge alice 99.99                 | balance 149.99
        pay      alice 300.00 coupon 1       | refused coupon_used balance 149.99
        ",
    );
}

#[test]
fn ten_off_coupon_works_once_and_leaves_a_cent() {
    check(
        "
        recharge alice 100                   | balance 100.00 coupon 3
        pay      alice 5.00 coupon 3         | balance 99.99  gross 5.00 discount 4.99 amount 0.01 coupon 3 used
        pay      alice 5.00 coupon 3         | refused coupon_used
        grant    alice 3                     | coupon 3
        pay      alice 10.00 coupon 3        | amount 0.01 discount 9.99 balance 99.98
        grant    alice 3                     | coupon 3
        pay      alice 10.01 coupon 3        | amount 0.01 discount 10.00 balance 99.97
        grant    alice 3                     | coupon 3
        pay      alice 10.02 coupon 3        | amount 0.02 discount 10.00 balance 99.95
        grant    alice 3                     | coupon 3
        pay      alice 0.02 coupon 3         | amount 0.01 discount 0.01  balance 99.94 coupon 3 used
        ",
    );
}

#[test]
fn coupon_that_takes_nothing_off_is_refused_and_kept() {
    check(
        "
        recharge alice 100                   | balance 100.00 coupon 3
        pay      alice 0.01 coupon 3         | refused coupon_not_applicable balance 100.00 coupon 3 usable
        pay      alice 0.02 coupon 3         | amount 0.01 discount 0.01 balance 99.99 coupon 3 used
        ",
    );
}

#[test]
fn percent_coupon_is_for_life_and_rounds_half_up() {
    check(
        "
        recharge alice 500                   | coupon 2
        pay      alice 0.01 coupon 2         | refused coupon_not_applicable
        pay      alice 0.02 coupon 2         | refused coupon_not_applicable coupon 2 usable
        pay      alice 0.03 coupon 2         | discount 0.01 amount 0.02
        pay      alice 0.07 coupon 2         | discount 0.01 amount 0.06
        pay      alice 0.08 coupon 2         | discount 0.02 amount 0.06
        pay      alice 100 coupon 2          | discount 20.00 amount 80.00 coupon 2 usable balance 419.86
        ",
    );
    let book = check("recharge bob 99 | balance 99.00");
    set_kind(&book, Discount::Percent(50), "0.00");
    check_on(
        &book,
        "
        grant bob x                          | coupon x
        pay   bob 0.01 coupon x              | refused coupon_not_applicable
        pay   bob 0.03 coupon x              | discount 0.02 amount 0.01
        pay   bob 0.05 coupon x              | discount 0.03 amount 0.02
        ",
    );
    set_kind(&book, Discount::Percent(100), "0.00");
    check_on(
        &book,
        "
        grant    carol x                     | refused wallet_not_found
        recharge carol 1                     |
        grant    carol x                     | coupon x
        pay      carol 1000 coupon x         | discount 999.99 amount 0.01 balance 0.99
        ",
    );
}

#[test]
fn coupon_of_other_user_is_not_found() {
    check(
        "
        recharge alice 500                   | coupon 2
        recharge bob   99                    |
        pay      bob 10 coupon 2 of alice    | refused coupon_not_found balance 99.00
        pay      bob 10 code ZZZZZZ          | refused coupon_not_found
        pay      bob 10 to alice             | balance 89.00 has alice 510.00
        ",
    );
}

#[test]
fn pay_checks_wallet_then_coupon_then_funds() {
    check(
        "
        withdraw ghost 1                    | refused wallet_not_found
        pay      ghost 1 code ZZZZZZ        | refused wallet_not_found
        recharge alice 100                   | coupon 3
        pay      alice 1000 to ghost code ZZZZZZ | refused wallet_not_found
        pay      alice 1000 code ZZZZZZ      | refused coupon_not_found
        pay      alice 1000 coupon 3         | refused insufficient_funds coupon 3 usable balance 100.00
        pay      alice 110 coupon 3          | balance 0.00 coupon 3 used
        grant    alice nothing               | refused coupon_kind_not_found
        refund   99                          | refused entry_not_found
        ",
    );
}

#[test]
fn transfer_needs_both_wallets_and_funds() {
    let book = check(
        "
        recharge alice 10                    |
        transfer alice bob 1                 | refused wallet_not_found
        recharge bob 1                       |
        transfer alice bob 10.01             | refused insufficient_funds balance 10.00 has bob 1.00
        transfer alice bob 10.00             | balance 0.00 has bob 11.00
        transfer bob alice 11                | balance 0.00 has alice 11.00
        withdraw bob 0.01                    | refused insufficient_funds
        ",
    );
    let refused = book.do_it(withdraw("alice", "12")).result.unwrap_err();
    assert_eq!((fact(&refused, "balance").as_str(), fact(&refused, "needed").as_str()), (Some("11.00"), Some("12.00")));
}

#[test]
fn transfer_to_self_fails_alone() {
    let book = check("recharge alice 10 |");
    let all = [transfer("alice", "alice", "1"), withdraw("alice", "1")];
    let answers = book.submit_all(all.into_iter().map(|command| (Envelope::local(), command)).collect());
    assert!(answers[0].result.is_err() && answers[1].result.is_ok(), "{answers:?}");
    assert_eq!(book.balance("alice"), "9.00");
    book.assert_sound();
}

#[test]
fn refunds_add_up_to_original_at_most() {
    check(
        "
        recharge alice 90                    |
        recharge bob   10                    |
        transfer alice bob 9                 | balance 81.00
        refund   last 4.00                   | balance 85.00 has bob 15.00
        refund   last 5.01                   | refused refund_exceeds balance 85.00
        refund   last 5.00                   | balance 90.00 has bob 10.00
        refund   last                        | refused already_refunded
        refund   last 0.01                   | refused already_refunded
        refund   4                           | refused not_refundable
        withdraw alice 90                    | balance 0.00
        refund   last                        | balance 90.00
        refund   1                           | balance 0.00
        pay      bob 3 to alice              | balance 7.00 has alice 3.00
        refund   last                        | balance 10.00 has alice 0.00
        ",
    );
}

#[test]
fn refund_of_spent_money_is_refused() {
    check(
        "
        recharge alice 10                    |
        recharge bob 1                       |
        transfer alice bob 10                | has bob 11.00
        withdraw bob 5                       | balance 6.00
        refund   3                           | refused insufficient_funds has bob 6.00
        refund   3 6                         | balance 6.00 has bob 0.00
        refund   2                           | refused insufficient_funds
        ",
    );
}

#[test]
fn full_refund_returns_single_use_coupon() {
    check(
        "
        recharge alice 300.00                | balance 300.00  coupon 1
        pay      alice 300.00 coupon 1       | balance  50.00  discount 50.00
        refund   last 250.01                 | refused refund_exceeds
        refund   last 100.00                 | balance 150.00  coupon 1 used
        refund   last                        | balance 300.00  coupon 1 usable
        refund   last                        | refused already_refunded
        pay      alice 300.00 coupon 1       | balance  50.00  coupon 1 used
        ",
    );
    let book = check(
        "
        recharge alice 500                   | coupon 2
        pay      alice 100 coupon 2          | balance 420.00
        pay      alice 100 coupon 2          | balance 340.00
        refund   2                           | balance 420.00 coupon 2 usable
        refund   1                           | refused coupon_used
        refund   3                           | balance 500.00 coupon 2 usable
        refund   1                           | balance 0.00 coupon 2 taken_back
        ",
    );
    assert_eq!(book.coupons("alice")[0].uses, 0);
}

#[test]
fn refund_of_recharge_takes_back_unused_coupon() {
    check(
        "
        recharge alice 300                   | coupon 1
        recharge alice 300                   | coupon 1
        refund   2 1.00                      | balance 599.00
        refund   2                           | balance 300.00 coupon 1 usable
        refund   1 0.01                      | coupon 1 taken_back balance 299.99
        recharge alice 0.01                  |
        pay      alice 300 coupon 1          | refused coupon_not_applicable balance 300.00
        recharge bob 300                     | coupon 1
        pay      bob 300 coupon 1            | balance 50.00
        recharge bob 99                      |
        recharge bob 99                      |
        recharge bob 99                      | balance 347.00
        refund   7                           | refused coupon_used balance 347.00
        ",
    );
}

#[test]
fn balance_never_passes_limit() {
    let book = book();
    let most = (0..1_000).map(|_| (Envelope::local(), recharge("alice", "1000000000000.00"))).collect();
    assert!(book.submit_all(most).iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(book.balance("alice"), Balance::LIMIT.to_string());
    check_on(
        &book,
        "
        recharge alice 0.01                  | refused balance_limit balance 1000000000000000.00
        recharge bob   0.01                  | balance 0.01
        transfer bob   alice 0.01            | refused balance_limit
        withdraw alice 0.01                  | balance 999999999999999.99
        recharge alice 0.01                  | balance 1000000000000000.00
        ",
    );
}

/// Moves the balances of `@bank` and `@sales` against each other, behind the back of the program.
fn set_system_balance(book: &Book, bank: i64) {
    let raw = book.raw();
    let trigger = "SELECT sql FROM sqlite_schema WHERE name = 'wallet_balance_has_its_entry'";
    let trigger: String = raw.query_row(trigger, [], |row| row.get(0)).unwrap();
    let sales = -bank - book.number("SELECT coalesce(sum(balance), 0) FROM wallet WHERE id NOT LIKE '@%'");
    let set =
        format!("UPDATE wallet SET balance = CASE id WHEN '@bank' THEN {bank} WHEN '@sales' THEN {sales} ELSE 0 END");
    raw.execute_batch(&format!("DROP TRIGGER wallet_balance_has_its_entry; {set} WHERE id LIKE '@%'; {trigger}"))
        .unwrap();
}

/// A book whose `@bank` has that balance, in cents, and then these recharges by 0.01: who asks, and the answer.
fn recharged_from(bank: i64, asks: &[(Role, Result<(), ErrorName>)]) -> Book {
    let book = book();
    set_system_balance(&book, bank);
    for (role, expected) in asks {
        let user = (*role == Role::User).then_some("alice");
        let access_token = Some(minted(&book, *role, user, None));
        let answer = book.submit(Envelope { access_token, ..Envelope::local() }, recharge("alice", "0.01"));
        assert_eq!(answer.result.map(drop).map_err(|error| error.name), *expected);
    }
    book
}

#[test]
fn bank_keeps_half_its_room_from_users() {
    let refused = Err(ErrorName::BalanceLimit);
    let half = -4_500_000_000_000_000_000;
    recharged_from(half + 1, &[(Role::User, Ok(())), (Role::User, refused), (Role::Teller, Ok(()))]);
    let book = recharged_from(2 * half + 1, &[(Role::Teller, Ok(())), (Role::Teller, refused)]);
    let owed = book.balance("@bank");
    assert_eq!((owed.as_str(), Cents::parse(&owed)), ("-90000000000000000.00", Some(Cents(2 * half))));
}

#[test]
fn withdrawals_by_100_threads_take_exactly_the_balance() {
    let book = book();
    check_on(&book, "recharge alice 500 | balance 500.00");
    let yes: usize = std::thread::scope(|scope| {
        let book = &book;
        let threads: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(move || (0..5).filter(|_| book.do_it(withdraw("alice", "1.00")).result.is_ok()).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((yes, book.balance("alice").as_str()), (500, "0.00"));
    check_on(&book, "withdraw alice 1.00 | refused insufficient_funds balance 0.00");
}

#[test]
fn more_threads_than_money_take_exactly_what_is_there() {
    let book = check("recharge alice 50 |");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let book = &book;
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| book.do_it(withdraw("alice", "1.00")).result)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 50);
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(|e| e.name == ErrorName::InsufficientFunds));
    assert_eq!(book.balance("alice"), "0.00");
    book.assert_sound();
}

#[test]
fn transfers_in_both_directions_lose_nothing() {
    let book = check(
        "
        recharge alice 50 |
        recharge bob   50 |
        ",
    );
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (from, to) = if i % 2 == 0 { ("alice", "bob") } else { ("bob", "alice") };
            let book = &book;
            scope.spawn(move || (0..25).for_each(|_| drop(book.submit(waiting(1_000), transfer(from, to, "7.77")))));
        }
    });
    let held = money(&book.balance("alice")).cents() + money(&book.balance("bob")).cents();
    assert_eq!(held, 10_000);
    book.assert_sound();
}

#[test]
fn new_tiers_leave_terms_of_old_coupons() {
    let book = check("recharge alice 300 | coupon 1");
    let tiers = vec![
        Tier { from: money("1"), kind: None },
        Tier { from: money("200"), kind: Some("x".to_owned()) },
        Tier { from: money("1000"), kind: None },
    ];
    let unknown = book.do_it(SetTiers(tiers.clone())).result;
    assert_eq!(name(&unknown), ErrorName::CouponKindNotFound);
    assert_eq!(book.number("SELECT count(*) FROM recharge_tier"), 3, "a refusal leaves the tiers as they were");
    let gone = book.do_it(SetCouponKinds(vec![kind("x", Discount::Amount(money("7")), "0.00")])).result;
    assert_eq!(name(&gone), ErrorName::CouponKindInUse);

    let old = book.read(|tx| cashbox::internals::ledger::coupon::kinds(tx)).unwrap();
    let both: Vec<_> = old.into_iter().chain([kind("x", Discount::Amount(money("7")), "9.00")]).collect();
    book.must(SetCouponKinds(both));
    assert_eq!(book.must(SetTiers(tiers.clone())), tiers);
    book.must(SetCouponKinds(vec![kind("x", Discount::Percent(10), "8.00")]));
    check_on(
        &book,
        "
        recharge alice 199.99                | coupon none
        recharge alice 200                   | coupon x
        recharge alice 1000                  | coupon none
        pay      alice 300 coupon 1          | discount 50.00
        pay      alice 7.99 coupon x         | refused coupon_not_applicable
        grant    alice 1                     | refused coupon_kind_not_found
        ",
    );
    book.must(SetCouponKinds(vec![kind("x", Discount::Amount(money("1")), "0.00")]));
    check_on(
        &book,
        "
        pay      alice 8 coupon x            | discount 0.80 amount 7.20
        recharge bob 199                     | coupon none
        grant    bob x                       | coupon x
        pay      bob 8 coupon x              | discount 1.00 coupon x used
        ",
    );
}

#[test]
fn coupon_codes_grow_when_half_are_given() {
    let book = check("recharge alice 100 | coupon 3");
    assert_eq!(book.coupons("alice")[0].code.as_str().len(), 4);
    book.raw().execute("UPDATE code_supply SET given = ?1", [(1 << 19) - 1]).unwrap();
    let lengths: Vec<usize> = (0..4)
        .map(|_| match book.must(grant("alice", "3")) {
            Receipt::Coupon(coupon) => coupon.code.as_str().len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [4, 5, 5, 5]);
    assert_eq!(
        book.findings(),
        ["codes of each length are counted: codes of length 4 were given 524288 times; there are 2"]
    );
}

#[test]
fn entry_time_never_decreases_when_clock_is_set_back() {
    let book = check("recharge alice 1 |");
    book.clock.step_wall_ms(-3_600_000);
    check_on(&book, "recharge alice 1 | balance 2.00");
    book.clock.step_wall_ms(7_200_000);
    check_on(&book, "recharge alice 1 | balance 3.00");
    let at: Vec<i64> = book.entries().iter().map(|entry| entry.at).collect();
    assert_eq!((at[1] - at[0], at[2] - at[1]), (0, 3_600_000));
}

fn kind(name: &str, off: Discount, threshold: &str) -> CouponKind {
    let threshold = Money::parse(threshold).map_or(Cents(0), |threshold| Cents(threshold.cents()));
    let terms = CouponTerms::new(off, threshold, matches!(off, Discount::Amount(_)));
    CouponKind {
        kind: name.to_owned(),
        terms,
        earned_zh: "好".to_owned(),
        earned_en: "good".to_owned(),
        limits: KindLimits::default(),
    }
}

/// Adds (or changes) the coupon kind `x`.
fn set_kind(book: &Book, off: Discount, threshold: &str) {
    let mut kinds = book.read(|tx| cashbox::internals::ledger::coupon::kinds(tx)).unwrap();
    kinds.retain(|kind| kind.kind != "x");
    kinds.push(kind("x", off, threshold));
    book.must(SetCouponKinds(kinds));
}
