//! Holds on a store: their rules, their end by both clocks, locks, and what the file itself refuses.

use crate::harness::*;
use cashbox::internals::error::ErrorName;
use cashbox::internals::ledger::hold::HoldState;
use cashbox::internals::lock::lease::AcquireRequest;
use cashbox::internals::store::Envelope;
use std::sync::atomic::Ordering::Relaxed;

/// Holds of which something is left.
const UNSETTLED: &str = "SELECT count(*) FROM hold WHERE amount_left > 0";

#[test]
fn hold_is_captured_in_parts_and_given_back() {
    check(
        "
        recharge alice 90                  | balance 90.00
        recharge bob 1                     | balance 1.00
        hold     alice 50 to bob           | balance 40.00  held 50.00  left 50.00  state open
        capture  hold 15.50 more           | balance 40.00  held 34.50  left 34.50  state open  has bob 16.50
        capture  hold 34.51                | refused capture_exceeds
        capture  hold 4.50                 | balance 70.00  held 0.00   left 0.00   state captured  has bob 21.00
        capture  hold                      | refused hold_not_open
        void     hold                      | refused hold_not_open
        hold     alice 70                  | balance 0.00   held 70.00
        hold     alice 0.01                | refused insufficient_funds
        capture  hold                      | balance 0.00   held 0.00   state captured  has @sales 70.00
        hold     bob 20                    | balance 1.00   held 20.00
        void     hold                      | balance 21.00  held 0.00   state voided
        void     hold                      | refused hold_not_open
        capture  hold                      | refused hold_not_open
        hold     carol 1                   | refused wallet_not_found
        hold     alice 1 to carol          | refused wallet_not_found
        capture  1                         | refused hold_not_found
        void     99                        | refused hold_not_found
        ",
    );
}

#[test]
fn capture_of_everything_ends_hold_without_final() {
    check(
        "
        recharge alice 20    | balance 20.00
        hold     alice 20    | balance 0.00
        capture  hold 20 more | left 0.00  state captured
        capture  hold 0.01   | refused hold_not_open
        ",
    );
}

#[test]
fn capture_is_refunded_to_wallet_that_held() {
    check(
        "
        recharge alice 50           | balance 50.00
        recharge bob 1              | balance 1.00
        hold     alice 50 to bob    | balance 0.00
        capture  hold 30 more       | balance 0.00  has bob 31.00
        refund   captured 10        | balance 10.00  has bob 21.00
        refund   captured 20.01     | refused refund_exceeds
        void     hold               | balance 30.00
        refund   captured           | balance 50.00  has bob 1.00
        refund   captured           | refused already_refunded
        refund   3                  | refused not_refundable
        refund   6                  | refused not_refundable
        ",
    );
}

#[test]
fn coupon_is_reserved_by_hold_and_given_back() {
    check(
        "
        recharge alice 300            | coupon 1
        hold     alice 300 coupon 1   | balance 50.00  held 250.00  gross 300.00  discount 50.00  coupon 1 reserved
        pay      alice 300 coupon 1   | refused coupon_not_applicable
        hold     alice 300 coupon 1   | refused coupon_not_applicable
        refund   1                    | refused coupon_used
        capture  hold 249             | refused coupon_not_applicable
        void     hold                 | balance 300.00  coupon 1 usable
        hold     alice 300 coupon 1   | balance 50.00   coupon 1 reserved
        capture  hold                 | state captured  gross 300.00  discount 50.00  coupon 1 used
        refund   captured             | balance 300.00  coupon 1 usable
        refund   1                    | balance 0.00    coupon 1 taken_back
        ",
    );
}

#[test]
fn coupon_for_life_is_not_reserved() {
    check(
        "
        recharge alice 500           | coupon 2
        hold     alice 100 coupon 2  | balance 420.00  held 80.00   coupon 2 usable
        pay      alice 100 coupon 2  | balance 340.00
        refund   1                   | refused coupon_used
        capture  hold                | state captured  held 0.00
        ",
    );
}

#[test]
fn part_of_hold_with_coupon_cannot_be_asked_for() {
    let book = check(
        "
        recharge alice 300           | coupon 1
        hold     alice 300 coupon 1  | held 250.00
        ",
    );
    assert_eq!(name(&book.do_it(capture(2, None, false)).result), ErrorName::InvalidRequest);
    book.assert_sound();
}

#[test]
fn hold_expires_to_the_millisecond() {
    let book = check("recharge alice 10 | balance 10.00");
    book.must(hold("alice", "10", 60));
    book.advance(59_999);
    book.must(capture(2, Some("1"), false));
    book.clock.advance_ms(1); // the writer does not know yet
    assert_eq!(name(&book.do_it(capture(2, Some("1"), false)).result), ErrorName::HoldExpired);
    book.until(|book| book.balance("alice") == "9.00");
    let entry = book.entries().pop().unwrap();
    assert_eq!((entry.by.as_str(), entry.fence, entry.kind.as_str()), ("@expiry", None, "release"));
    assert_eq!(book.hold(2).ended, Some(HoldState::Expired));
    assert_eq!(name(&book.do_it(void(2)).result), ErrorName::HoldNotOpen);
    assert_eq!(name(&book.do_it(capture(2, None, true)).result), ErrorName::HoldExpired);
    book.assert_sound();
}

#[test]
fn wall_clock_alone_ends_no_hold() {
    let book = check("recharge alice 10 | balance 10.00");
    book.must(hold("alice", "10", 60));
    book.clock.step_wall_ms(3_600_000); // wrong for a while
    book.look_at_time();
    book.must(capture(2, Some("1"), false));
    book.clock.step_wall_ms(-3_600_000);
    book.advance(59_000);
    book.must(capture(2, Some("1"), false));
    book.advance(1_000);
    book.until(|book| book.balance("alice") == "8.00");
    book.assert_sound();
}

#[test]
fn wall_clock_set_back_ends_hold_late_and_never_early() {
    let book = check("recharge alice 10 | balance 10.00");
    book.must(hold("alice", "10", 60));
    book.clock.step_wall_ms(-100_000);
    book.advance(120_000);
    book.must(capture(2, Some("1"), false));
    book.advance(39_999);
    book.must(capture(2, Some("1"), false));
    book.advance(1);
    book.until(|book| book.balance("alice") == "8.00");
    book.assert_sound();
}

#[test]
fn hold_ends_while_file_is_closed_or_machine_restarts() {
    let mut book = check(
        "
        recharge alice 10       | balance 10.00
        hold     alice 4 for 60 | balance 6.00
        hold     alice 6 for 7200 | balance 0.00
        ",
    );
    book.close();
    book.clock.advance_ms(60_000);
    book.open();
    book.until(|book| book.balance("alice") == "4.00");
    book.close();
    // The machine was off for a week: that counts for the wall clock only.
    book.clock.reboot();
    book.clock.step_wall_ms(7 * 86_400_000);
    book.options.accept_clock = true;
    book.open();
    book.must(capture(3, Some("1"), false));
    book.advance(7_200_000);
    book.until(|book| book.balance("alice") == "9.00");
    book.assert_sound();
}

#[test]
fn capture_takes_lock_of_receiver_only() {
    let book = check(
        "
        recharge alice 10     | balance 10.00
        recharge bob   1      | balance 1.00
        hold     alice 9 to bob | balance 1.00
        hold     alice 1      | balance 0.00
        ",
    );
    let (ann, ben) =
        (book.acquire("wallet/alice", "ann").unwrap().token, book.acquire("wallet/bob", "ben").unwrap().token);
    for refused in [capture(3, None, true), void(3), hold("alice", "1", 60), void(4)] {
        assert_eq!(name(&book.do_it(refused.clone()).result), ErrorName::Locked, "{refused:?}");
    }
    let taken = moved(book.submit(under(&ben), capture(3, Some("5"), true)).result.unwrap());
    let step = taken.hold.unwrap();
    assert_eq!((taken.entry.fence, step.released, step.hold.left.0), (Some(ben.fence), None, 400));
    assert_eq!((step.hold.ended, book.held("alice").as_str()), (Some(HoldState::Captured), "5.00"));
    // To @sales nothing has to wait; the rest of a part stays.
    assert_eq!(moved(book.must(capture(4, Some("0.40"), false))).hold.unwrap().hold.left.0, 60);
    book.assert_sound();
    book.release("wallet/alice", &ann).unwrap();
    book.until(|book| book.number(UNSETTLED) == 1);
    let entry = book.entries().pop().unwrap();
    assert_eq!((entry.by.as_str(), entry.hold.unwrap().0, book.balance("alice").as_str()), ("@expiry", 3, "4.00"));
    assert_eq!(book.hold(3).ended, Some(HoldState::Captured));
    book.assert_sound();
}

#[test]
fn each_entry_of_capture_has_lease_of_its_own_wallets() {
    let book = check(
        "
        recharge alice 10     | balance 10.00
        recharge bob   1      | balance 1.00
        hold     alice 9 to bob | balance 1.00
        ",
    );
    let (ann, ben) =
        (book.acquire("wallet/alice", "ann").unwrap().token, book.acquire("wallet/bob", "ben").unwrap().token);
    let both = Envelope { tokens: vec![ann.clone(), ben.clone()], ..Envelope::local() };
    let taken = moved(book.submit(both, capture(3, Some("5"), true)).result.unwrap());
    assert_eq!(taken.entry.fence, Some(ben.fence));
    assert_eq!(taken.hold.unwrap().released.unwrap().fence, Some(ann.fence));
    book.release("wallet/bob", &ben).unwrap();
    let back = moved(book.submit(under(&ann), refund(4, None)).result.unwrap()).entry;
    assert_eq!((back.fence, back.to.as_str()), (Some(ann.fence), "alice"));
    book.assert_sound();
}

#[test]
fn expiry_passes_over_held_lock_and_takes_over_stale_one() {
    let book = check(
        "
        recharge alice 10        | balance 10.00
        recharge bob   10        | balance 10.00
        hold     alice 10 for 10 | balance 0.00
        hold     bob   10 for 10 | balance 0.00
        ",
    );
    book.acquire("wallet/alice", "ann").unwrap();
    book.advance(10_000);
    book.until(|book| book.balance("bob") == "10.00");
    assert_eq!((book.balance("alice").as_str(), book.held("alice").as_str()), ("0.00", "10.00"));
    book.assert_sound();
    book.advance(65_000);
    book.until(|book| book.balance("alice") == "10.00");
    assert_eq!(book.lock("wallet/alice"), None);
    book.assert_sound();
}

#[test]
fn expired_holds_are_settled_in_steps_beside_others() {
    let book = check("recharge alice 1000 | balance 1000.00");
    for user in 0..3 {
        book.must(recharge(&format!("u{user}"), "1000"));
        let all = (0..300).map(|_| hold(&format!("u{user}"), "1", 10)).collect();
        book.must(batch(all));
    }
    let ann = book.acquire("wallet/u1", "ann").unwrap().token;
    book.clock.advance_ms(10_000);
    let commits = book.stats().commits.load(Relaxed);
    book.must(withdraw("alice", "1"));
    book.until(|book| book.number(UNSETTLED) == 300);
    let steps = book.stats().commits.load(Relaxed) - commits;
    assert!((3..=6).contains(&steps), "900 holds were looked at in {steps} commits, alone 256 in each");
    assert_eq!((book.held("u0").as_str(), book.held("u1").as_str()), ("0.00", "300.00"));
    book.assert_sound();
    book.release("wallet/u1", &ann).unwrap();
    book.until(|book| book.number(UNSETTLED) == 0);
    assert_eq!(book.balance("@holds"), "0.00");
    book.assert_sound();
}

#[test]
fn large_waiter_takes_back_nothing_but_itself() {
    // The end of a hold takes over a stale lock, and that wakes a large batch which still waits for another lock.
    let book = check("recharge alice 10 | \n recharge bob 10 | \n recharge carol 10 | \n hold bob 4 for 70 |");
    book.acquire_as(AcquireRequest { expire_ms: 600_000, ..ask("wallet/alice", "ann") }).unwrap();
    book.acquire("wallet/bob", "ben").unwrap();
    let movements = (0..100).map(|n| withdraw(["alice", "bob"][n % 2], "0.01")).collect();
    std::thread::scope(|scope| {
        let large = scope.spawn(|| book.submit(waiting(100_000), batch(movements)));
        book.until_parked(1);
        book.clock.advance_ms(70_000);
        book.must(withdraw("carol", "1"));
        book.until(|book| book.held("bob") == "0.00");
        assert_eq!((book.balance("bob").as_str(), book.balance("carol").as_str()), ("10.00", "9.00"));
        book.assert_sound();
        book.must(withdraw("carol", "1"));
        book.advance(30_000);
        assert_eq!(name(&large.join().unwrap().result), ErrorName::Locked);
    });
    assert_eq!(book.balance("carol"), "8.00");
    book.assert_sound();
}

#[test]
fn capture_during_round_of_expiry_gives_the_rest_back() {
    // The round is past the place of a hold that ends in the same millisecond.
    let book = check("recharge alice 1000 | balance 1000.00");
    let ends_in = |user: &str, seconds| batch((0..1_000).map(|_| hold(user, "1", seconds)).collect());
    for _ in 0..8 {
        book.must(hold("alice", "10", 3_600));
    }
    for user in ["u0", "u1", "u2"] {
        book.must(recharge(user, "1000"));
        book.must(ends_in(user, 10));
    }
    let ann = book.acquire("wallet/alice", "ann").unwrap().token;
    book.advance(10_000);
    book.until(|book| book.number(UNSETTLED) < 3_008);
    for id in 2..10 {
        assert_eq!(moved(book.must(capture(id, Some("1"), true))).hold.unwrap().released, None);
    }
    book.until(|book| book.number(UNSETTLED) == 8);
    book.release("wallet/alice", &ann).unwrap();
    book.until(|book| book.number(UNSETTLED) == 0);
    book.assert_sound();
}

#[test]
fn wallet_at_its_limit_gets_the_rest_later() {
    let book = check("recharge alice 1000000000000 | balance 1000000000000.00");
    book.must(hold("alice", "1000000000000", 10));
    for _ in 0..1_000 {
        book.must(recharge("alice", "1000000000000"));
    }
    assert_eq!(name(&book.do_it(void(2)).result), ErrorName::BalanceLimit);
    let step = moved(book.must(capture(2, Some("1"), true))).hold.unwrap();
    assert_eq!((step.released, step.hold.ended), (None, Some(HoldState::Captured)));
    book.assert_sound();
    book.must(withdraw("alice", "1000000000000"));
    book.advance(1_000);
    book.until(|book| book.held("alice") == "0.00");
    book.assert_sound();
}

#[test]
fn thousand_holds_of_one_wallet_are_the_most() {
    let book = check("recharge alice 2000 | balance 2000.00");
    book.must(batch((0..1_000).map(|_| hold("alice", "1", 60)).collect()));
    let refused = book.do_it(hold("alice", "1", 60)).result.unwrap_err();
    assert_eq!((refused.name, fact(&refused, "limit")), (ErrorName::HoldLimit, &1_000.into()));
    book.must(void(2));
    book.must(hold("alice", "1", 60));
    book.assert_sound();
}

#[test]
fn batch_cannot_name_hold_that_it_makes() {
    let book = check("recharge alice 10 | balance 10.00");
    let refused = book.do_it(batch(vec![hold("alice", "1", 60), capture(2, None, true)])).result.unwrap_err();
    assert_eq!((refused.name, fact(&refused, "index")), (ErrorName::HoldNotFound, &1.into()));
    book.must(batch(vec![hold("alice", "1", 60), hold("alice", "2", 60)]));
    book.must(batch(vec![capture(2, None, true), void(3), withdraw("alice", "9")]));
    assert_eq!(book.balance("alice"), "0.00");
    book.assert_sound();
}

#[test]
fn captures_at_the_same_time_take_no_more_than_is_held() {
    let book = check("recharge alice 100 | balance 100.00");
    book.must(hold("alice", "100", 60));
    let answers = book.submit_all((0..40).map(|_| (Envelope::local(), capture(2, Some("3"), false))).collect());
    assert_eq!(answers.iter().filter(|answer| answer.result.is_ok()).count(), 33);
    assert_eq!((book.balance("@sales").as_str(), book.hold(2).left.0), ("99.00", 100));
    book.assert_sound();
}

#[test]
fn file_refuses_what_program_never_does_with_holds() {
    let book = check(
        "
        recharge alice 10   | balance 10.00
        recharge bob   1    | balance 1.00
        hold     alice 4 to bob | balance 6.00
        ",
    );
    let entry = |kind: &str, from: &str, to: &str, amount: i64, hold: &str| {
        format!(
            "INSERT INTO entry (id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, hash, hold) \
             SELECT 4, at, '{kind}', '{from}', '{to}', {amount}, (SELECT balance FROM wallet WHERE id = '{from}') - {amount}, \
             (SELECT balance FROM wallet WHERE id = '{to}') + {amount}, '@local', hash, {hold} FROM entry WHERE id = 3"
        )
    };
    let refused = [
        ("reserved money", entry("pay", "alice", "@holds", 1, "NULL")),
        ("reserved money", entry("transfer", "@holds", "bob", 1, "NULL")),
        ("reserved money", entry("capture", "@holds", "bob", 1, "NULL")),
        ("reserved money", entry("capture", "@holds", "bob", 401, "3")),
        ("reserved money", entry("capture", "@holds", "alice", 1, "3")),
        ("reserved money", entry("release", "@holds", "bob", 1, "3")),
        ("reserved money", entry("release", "@holds", "alice", 401, "3")),
        ("reserved money", entry("hold", "alice", "bob", 1, "4")),
        ("a hold changes only", "UPDATE hold SET amount_left = 399".to_owned()),
        ("a hold changes only", "UPDATE hold SET captured = 1".to_owned()),
        ("a hold changes only", "UPDATE hold SET due_ms = 0".to_owned()),
        ("a hold changes only", "UPDATE hold SET ended = 'voided'".to_owned()),
        ("a hold is never deleted", "DELETE FROM hold".to_owned()),
        (
            "a hold is made",
            "INSERT INTO hold (id, wallet, amount_left, until, due_ms) VALUES (2, 'bob', 1, 9, 9)".to_owned(),
        ),
    ];
    for (why, sql) in refused {
        let error = book.raw().execute_batch(&sql).unwrap_err().to_string();
        assert!(error.starts_with(why), "{sql}: {error}");
    }
    book.assert_sound();
}

#[test]
fn capture_in_part_cannot_change_end_of_hold() {
    let book = check(
        "
        recharge alice 10   | balance 10.00
        hold     alice 4    | balance 6.00
        capture  hold 1 more | left 3.00
        ",
    );
    let sql = "UPDATE hold SET captured = captured + 100, amount_left = amount_left - 100, until = until + 1";
    let error = book.raw().execute_batch(sql).unwrap_err().to_string();
    assert!(error.starts_with("a hold changes only"), "{error}");
    book.assert_sound();
}

#[test]
fn audit_finds_every_forged_hold() {
    let forged: [(&str, &str); 8] = [
        ("a hold is what its entries say", "UPDATE hold SET captured = 1, amount_left = amount_left - 1 WHERE id = 3"),
        ("a hold is what its entries say", "UPDATE hold SET ended = 'voided' WHERE id = 3"),
        ("a hold is what its entries say", "UPDATE hold SET until = until + 1 WHERE id = 3"),
        ("a hold is what its entries say", "UPDATE hold SET wallet = 'bob' WHERE id = 3"),
        ("a hold is what its entries say", "DELETE FROM hold WHERE id = 3"),
        ("@holds has what is left of all holds", "UPDATE hold SET amount_left = amount_left + 1 WHERE id = 3"),
        (
            "a hold has steps: captures by its receiver, and one release at the end",
            "UPDATE entry SET to_wallet = 'carl' WHERE id = 4",
        ),
        ("each hash covers its entry and the hash before", "UPDATE entry SET hold_until = hold_until + 1 WHERE id = 3"),
    ];
    for (check_name, sql) in forged {
        let book = check(
            "
            recharge alice 10   | balance 10.00
            recharge bob   1    | balance 1.00
            hold     alice 4 to bob | balance 6.00
            capture  hold 1 more | left 3.00
            ",
        );
        let raw = book.raw();
        raw.execute_batch(
            "DROP TRIGGER hold_changes_with_its_entries; DROP TRIGGER hold_is_never_deleted; DROP TRIGGER entry_is_never_edited; \
             PRAGMA foreign_keys = OFF;",
        )
        .unwrap();
        raw.execute_batch(sql).unwrap();
        let findings = book.findings();
        assert!(findings.iter().any(|found| found.starts_with(check_name)), "{sql}: {findings:?}");
    }
}
