//! The audit after any program has written to what belongs to holds, to settings of wallets and to limits of coupons.

use crate::damage::{MADE, NOTE, SAYS, TERMS, assert_all_named_in, assert_named, change, forge, found};
use crate::harness::*;
use cashbox::internals::command::SetCouponKinds;
use cashbox::internals::id::ClaimCode;
use cashbox::internals::ledger::WalletStatus;
use cashbox::internals::ledger::coupon::{CouponKind, CouponTerms, Discount, KindLimits};
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::money::Cents;
use rusqlite::Connection;

const PRICE: &str = "a payment's coupon is the payer's, and its terms make the price";
const HELD_PRICE: &str = "a hold's coupon is the payer's, and its terms make the price";
const ENDS: &str = "a coupon is used before it ends";
const COUNTED: &str = "coupons of a kind with a limit are counted";
const STEPS: &str = "a hold has steps: captures by its receiver, and one release at the end";
const STEP: &str = "a step of a hold names it, and a hold its receiver and its end";
const LEFT: &str = "@holds has what is left of all holds";
const ENTRIES: &str = "a hold is what its entries say";
const OPEN: &str = "a final capture or a release leaves nothing open";
const WAY: &str = "money goes the way of its kind";
const DUE: &str = "a hold that is open is due at its end, by the lease clock";
const SETTINGS: &str = "a wallet has permitted settings";
const WHOSE: &str = "a wallet with settings is there, and a user's";
const CLOSED: &str = "a closed wallet is empty";
const SPENT: &str = "a wallet with a limit per day counts what it spends";

/// A book with holds in each state, settings, and a kind of coupons with limits that a payment used. It is closed.
///
/// | entry | |
/// |---|---|
/// | 4 | an open hold with coupon 1 |
/// | 5 to 9 | a hold with two captures and a release, and a refund of the second capture |
/// | 10, 11 | a hold that was given back |
/// | 12 to 14 | a hold that was captured under the key `taken`, and its rest |
/// | 15 to 17 | the same by a batch under the key `both` |
/// | 18 | a payment with a coupon that ends |
/// | 19 | a withdrawal of bob under a limit per day |
fn full() -> Book {
    let mut book = check(
        "
        recharge alice 300          | coupon 1
        recharge bob 20             | balance 20.00
        recharge alice 500          | coupon 2
        hold     alice 300 coupon 1 | balance 550.00
        hold     alice 40 to bob    | balance 510.00
        capture  hold 10 more       | left 30.00
        capture  hold 20            | balance 520.00
        refund   7 5                | balance 525.00
        hold     alice 7            | balance 518.00
        void     hold               | balance 525.00
        ",
    );
    book.must(hold("alice", "8", 600));
    book.submit(keyed("taken"), capture(12, Some("3"), true)).result.unwrap();
    book.must(hold("alice", "9", 600));
    book.submit(keyed("both"), batch(vec![capture(15, Some("4"), true)])).result.unwrap();
    let mut kinds = book.read(|tx| cashbox::internals::ledger::coupon::kinds(tx)).unwrap();
    let limits = KindLimits {
        valid_days: Some(2),
        total: Some(2),
        claim_code: Some(ClaimCode::parse("SPRING24").unwrap()),
        ..KindLimits::default()
    };
    let terms = CouponTerms::new(Discount::Percent(10), Cents(0), true);
    let names = ("券".to_owned(), "one".to_owned());
    kinds.push(CouponKind { kind: "spring".to_owned(), terms, earned_zh: names.0, earned_en: names.1, limits });
    book.must(SetCouponKinds(kinds));
    check_on(&book, "claim alice spring24 | coupon spring\n pay alice 10 coupon spring | discount 1.00");
    let nothing = |user: &str| SetWallet {
        user: user_id(user),
        name: None,
        status: None,
        metadata: None,
        limit_per_payment: None,
        limit_per_day: None,
    };
    let limits = (Some(Some(money("50"))), Some(Some(money("5"))));
    book.must(SetWallet { limit_per_payment: limits.1, limit_per_day: limits.0, ..nothing("bob") });
    book.must(CreateWallet { user: user_id("carol") });
    book.must(SetWallet { status: Some(WalletStatus::Closed), ..nothing("carol") });
    book.must(SetWallet { name: Some(Some("Alice".to_owned())), ..nothing("alice") });
    book.must(withdraw("bob", "2"));
    book.close();
    book
}

fn assert_all_named(damages: &[(&str, &str)]) {
    assert_all_named_in(&full(), damages);
}

#[test]
fn audit_of_intact_holds_and_settings_finds_nothing() {
    let book = full();
    let touch = |conn: &Connection| change(conn, "UPDATE hold SET captured = captured");
    assert_eq!(found(&book, touch), Vec::<String>::new());
    assert_eq!(found(&book, forge), Vec::<String>::new());
}

#[test]
fn audit_names_damage_to_holds() {
    let once = "a coupon for one payment is in one hold at most, and not used besides";
    assert_all_named(&[
        (LEFT, "UPDATE hold SET amount_left = amount_left + 1 WHERE id = 4"),
        (LEFT, "DELETE FROM hold WHERE id = 4"),
        (ENTRIES, "UPDATE hold SET amount_left = amount_left + 1 WHERE id = 4"),
        (ENTRIES, "UPDATE hold SET captured = 1 WHERE id = 4"),
        (ENTRIES, "UPDATE hold SET wallet = 'bob' WHERE id = 4"),
        (ENTRIES, "UPDATE hold SET coupon = NULL WHERE id = 4"),
        (ENTRIES, "UPDATE hold SET until = until + 1 WHERE id = 4"),
        (ENTRIES, "UPDATE hold SET ended = 'captured' WHERE id = 10"),
        (ENTRIES, "UPDATE hold SET ended = NULL WHERE id = 10"),
        (ENTRIES, "UPDATE hold SET id = 9 WHERE id = 10"),
        (ENTRIES, "DELETE FROM hold WHERE id = 10"),
        (
            ENTRIES,
            "INSERT INTO hold SELECT 1, wallet, coupon, captured, amount_left, ended, until, due_ms FROM hold WHERE id = 10",
        ),
        (OPEN, "UPDATE hold SET amount_left = 1 WHERE id = 10"),
        (OPEN, "UPDATE hold SET amount_left = 0 WHERE id = 4"),
        (CLOSED, "UPDATE hold SET wallet = 'carol' WHERE id = 4"),
        (DUE, "UPDATE hold SET due_ms = due_ms + 2 * 86400000 WHERE id = 4"),
        (DUE, "UPDATE hold SET due_ms = 9223372036854775807 WHERE id = 4"),
        (once, "UPDATE coupon SET uses = 1 WHERE kind = '1'"),
        (once, "UPDATE hold SET coupon = (SELECT coupon FROM hold WHERE id = 4), amount_left = 1 WHERE id = 10"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"entry\":13,\"released\":12}' WHERE key = 'taken'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"entry\":13,\"released\":15}' WHERE key = 'taken'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"entry\":13,\"released\":17}' WHERE key = 'taken'"),
        (SAYS, "UPDATE idempotency SET outcome = '{\"entry\":13,\"released\":99}' WHERE key = 'taken'"),
        (SAYS, "UPDATE idempotency SET outcome = '[{\"entry\":16,\"released\":14}]' WHERE key = 'both'"),
        (SAYS, "UPDATE idempotency SET outcome = '[{\"entry\":6,\"released\":7}]' WHERE key = 'both'"),
        (SAYS, "UPDATE idempotency SET outcome = '[{\"entry\":10,\"released\":11}]' WHERE key = 'both'"),
    ]);
}

#[test]
fn audit_names_impossible_step_of_hold_with_right_hash() {
    let book = full();
    let forgeries: &[(&str, &str)] = &[
        (WAY, "UPDATE entry SET to_wallet = '@sales' WHERE id = 5"),
        (WAY, "UPDATE entry SET from_wallet = 'alice' WHERE id = 6"),
        (WAY, "UPDATE entry SET to_wallet = '@sales' WHERE id = 11"),
        ("a hold is for @sales or for another user's wallet", "UPDATE entry SET hold_to = 'alice' WHERE id = 5"),
        ("a hold is for @sales or for another user's wallet", "UPDATE entry SET hold_to = '@bank' WHERE id = 5"),
        (STEP, "UPDATE entry SET hold = 4 WHERE id = 5"),
        (STEP, "UPDATE entry SET hold = NULL WHERE id = 6"),
        (STEP, "UPDATE entry SET hold_to = NULL WHERE id = 5"),
        (STEP, "UPDATE entry SET hold_until = NULL WHERE id = 5"),
        (STEP, "UPDATE entry SET hold_until = at WHERE id = 5"),
        (STEP, "UPDATE entry SET hold_until = at + 1 WHERE id = 7"),
        (STEP, "UPDATE entry SET hold_until = at WHERE id = 11"),
        (STEP, "UPDATE entry SET hold = 4 WHERE id = 1"),
        (STEPS, "UPDATE entry SET to_wallet = 'carol' WHERE id = 6"),
        (STEPS, "UPDATE entry SET to_wallet = 'bob' WHERE id = 11"),
        (STEPS, "UPDATE entry SET hold = 3 WHERE id = 6"),
        (STEPS, "UPDATE entry SET hold = 12 WHERE id = 6"),
        (STEPS, "UPDATE entry SET hold = 10 WHERE id = 16"),
        (STEPS, "UPDATE entry SET hold_until = at WHERE id = 6"),
        (
            STEPS,
            "UPDATE entry SET gross = amount, discount = 0, coupon = (SELECT coupon FROM entry WHERE id = 4) WHERE id = 6",
        ),
        (ENTRIES, "UPDATE entry SET hold_until = hold_until + 1 WHERE id = 4"),
        (ENTRIES, "UPDATE entry SET hold_until = NULL WHERE id = 7"),
        (ENTRIES, "UPDATE entry SET hold = 4 WHERE id = 6"),
        (
            HELD_PRICE,
            "UPDATE entry SET amount = amount + 1, gross = gross + 1 WHERE id = 4; UPDATE coupon SET threshold = 30002 WHERE kind = '1'",
        ),
        (HELD_PRICE, "UPDATE entry SET amount = amount + 1, discount = discount - 1 WHERE id = 4"),
        (HELD_PRICE, "UPDATE coupon SET user = 'bob' WHERE kind = '1'"),
        (HELD_PRICE, "UPDATE entry SET coupon = 'NONE' WHERE id = 4"),
        (
            "a refund of a capture goes back to the wallet that held",
            "UPDATE entry SET to_wallet = 'carol' WHERE id = 9",
        ),
        ("a refund goes back the way its original came", "UPDATE entry SET refunds = 8 WHERE id = 9"),
        (MADE, "UPDATE entry SET amount = 200 WHERE id = 13"),
        (MADE, "UPDATE entry SET hold = 5 WHERE id = 13"),
    ];
    for (check, sql) in forgeries {
        let found = found(&book, |conn| {
            change(conn, sql);
            forge(conn);
        });
        assert_named(&found, check, sql);
        assert!(!found.iter().any(|finding| finding.contains("each hash")), "{sql}: {found:#?}");
    }
}

#[test]
fn audit_names_damage_to_settings() {
    assert_all_named(&[
        (WHOSE, "UPDATE wallet_setting SET wallet = 'dora' WHERE wallet = 'alice'"),
        (WHOSE, "UPDATE wallet_setting SET wallet = '@sales' WHERE wallet = 'alice'"),
        (SETTINGS, "UPDATE wallet_setting SET status = 'lost' WHERE wallet = 'alice'"),
        (SETTINGS, "UPDATE wallet_setting SET name = '' WHERE wallet = 'alice'"),
        (SETTINGS, "UPDATE wallet_setting SET name = hex(zeroblob(51)) WHERE wallet = 'alice'"),
        (SETTINGS, "UPDATE wallet_setting SET limit_per_payment = 0 WHERE wallet = 'alice'"),
        (SETTINGS, "UPDATE wallet_setting SET limit_per_day = 100000000000001 WHERE wallet = 'bob'"),
        (SETTINGS, "UPDATE wallet_setting SET name = NULL WHERE wallet = 'alice'"),
        (NOTE, "UPDATE wallet_setting SET metadata = '[]' WHERE wallet = 'alice'"),
        (CLOSED, "UPDATE wallet_setting SET status = 'closed' WHERE wallet = 'bob'"),
        (SPENT, "UPDATE day_spending SET spent = spent - 1"),
        (SPENT, "UPDATE day_spending SET day = day - 1, spent = 0"),
        (SPENT, "DELETE FROM day_spending"),
        (SPENT, "INSERT INTO day_spending SELECT 'alice', day, 0 FROM day_spending"),
    ]);
}

#[test]
fn audit_names_damage_to_limits_of_coupons() {
    assert_all_named(&[
        (COUNTED, "UPDATE coupon_given SET given = given + 1"),
        (COUNTED, "DELETE FROM coupon_given"),
        (COUNTED, "INSERT INTO coupon_given VALUES ('1', 1)"),
        (COUNTED, "UPDATE coupon_kind SET limit_total = NULL"),
        (ENDS, "UPDATE coupon SET expires_at = (SELECT at FROM entry WHERE id = 18) WHERE kind = 'spring'"),
        (ENDS, "UPDATE coupon SET expires_at = granted_at WHERE kind = '2'"),
        (PRICE, "UPDATE coupon SET max_off = 99 WHERE kind = 'spring'"),
        (PRICE, "UPDATE coupon SET threshold = 1001 WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon SET max_off = 0 WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon SET max_off = 1 WHERE kind = '1'"),
        (TERMS, "UPDATE coupon_kind SET max_off = 1 WHERE kind = '1'"),
        (TERMS, "UPDATE coupon_kind SET valid_days = 0 WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon_kind SET limit_total = 0 WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon_kind SET limit_per_user = 0 WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon_kind SET valid_from = 5, valid_until = 5 WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon_kind SET claim_code = 'spring24' WHERE kind = 'spring'"),
        (TERMS, "UPDATE coupon_kind SET claim_code = 'S' WHERE kind = 'spring'"),
        (TERMS, "INSERT INTO recharge_tier VALUES (1, 'spring')"),
    ]);
}
