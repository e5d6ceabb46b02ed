//! A dry run answers what the command would be answered now, and changes nothing.

use super::dice::Dice;
use super::harness::*;
use cashbox::internals::command::{Command, MoneyCommand, NameBatch, Receipt, TryEach};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::CouponCode;
use cashbox::internals::ledger::verbs::Moved;
use cashbox::internals::store::Envelope;

const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
const AMOUNTS: [&str; 7] = ["0.01", "1", "99", "100", "300", "500", "1000000000000"];

fn dry(envelope: Envelope) -> Envelope {
    Envelope { dry_run: true, ..envelope }
}

fn random_money(dice: &mut Dice, coupons: &[CouponCode]) -> Command {
    let (user, other, amount) = (*dice.pick(&USERS), *dice.pick(&USERS), *dice.pick(&AMOUNTS));
    match dice.below(6) {
        0 | 1 => recharge(user, amount),
        2 => withdraw(user, amount),
        3 if user != other => transfer(user, other, amount),
        4 => refund(1 + dice.below(30) as i64, None),
        _ if coupons.is_empty() => pay(user, amount, None),
        _ => pay(user, amount, Some(dice.pick(coupons))),
    }
}

/// A result without what a dry run does not know: codes of new coupons, and hashes, which cover them.
fn comparable(result: Result<Moved, cashbox::internals::error::Error>) -> String {
    let result = result.map(|mut moved| {
        let code = moved.coupon.as_ref().map(|coupon| coupon.code.clone());
        if let Some(coupon) = &mut moved.coupon {
            coupon.code = CouponCode::parse("AAAA").unwrap();
        }
        moved.entry.coupon = moved.entry.coupon.take().filter(|own| Some(own) != code.as_ref());
        moved.entry.hash = [0; 32];
        moved
    });
    format!("{result:?}")
}

/// Every byte that a reader can see of the tables that commands change.
fn content(book: &Book) -> Vec<String> {
    let conn = book.raw();
    let mut all = Vec::new();
    for table in ["wallet", "entry", "coupon", "code_supply", "idempotency", "lock", "lock_event", "lock_seq"] {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let row: Vec<_> = (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap())).collect();
            all.push(format!("{table} {}", row.join(" ")));
        }
    }
    all
}

fn typed(receipt: Receipt) -> Vec<Moved> {
    match receipt {
        Receipt::Moved(moved) => vec![*moved],
        Receipt::Batch(all) => all,
        other => panic!("{other:?}"),
    }
}

#[test]
fn dry_run_answers_what_the_command_then_answers() {
    for mut dice in Dice::runs(0..6) {
        let book = book();
        let mut coupons: Vec<CouponCode> = Vec::new();
        for number in 0..120 {
            let command = if dice.one_in(6) {
                batch((0..1 + dice.below(4)).map(|_| random_money(&mut dice, &coupons)).collect())
            } else {
                random_money(&mut dice, &coupons)
            };
            let envelope = if dice.one_in(3) { keyed(&format!("k{}", dice.below(40))) } else { Envelope::local() };
            let before = content(&book);
            let tried = book.submit(dry(envelope.clone()), command.clone());
            assert_eq!(content(&book), before, "{number}: {command:?}");
            let real = book.submit(envelope, command.clone());
            assert_eq!(tried.replayed, real.replayed, "{number}: {command:?}");
            if let Ok(receipt) = &real.result {
                let all = typed(receipt.clone());
                coupons.extend(all.iter().filter_map(|moved| moved.coupon.as_ref()).map(|coupon| coupon.code.clone()));
            }
            let lines = |result: Result<Receipt, _>| match result {
                Ok(receipt) => typed(receipt).into_iter().map(|moved| comparable(Ok(moved))).collect(),
                Err(error) => vec![comparable(Err(error))],
            };
            assert_eq!(lines(tried.result), lines(real.result), "{number}: {command:?}");
        }
        book.assert_sound();
    }
}

#[test]
fn tried_batch_answers_each_item_after_those_before() {
    for mut dice in Dice::runs(0..4) {
        let book = book();
        for round in 0..25 {
            let items: Vec<MoneyCommand> = (0..1 + dice.below(12))
                .map(|_| match random_money(&mut dice, &[]) {
                    Command::Money(item) => item,
                    other => panic!("{other:?}"),
                })
                .collect();
            let before = content(&book);
            let each = items.iter().map(|item| (None, item.clone())).collect();
            let tried = book.submit(dry(Envelope::local()), TryEach { name: None, items: each }).result.unwrap();
            assert_eq!(content(&book), before);
            let real = items.into_iter().map(|item| book.submit(Envelope::local(), item).result);
            let real: Vec<_> = real.map(comparable).collect();
            assert_eq!(tried.into_iter().map(comparable).collect::<Vec<_>>(), real, "round {round}");
        }
        book.assert_sound();
    }
}

#[test]
fn dry_run_waits_for_no_lock_and_clears_none() {
    let book = book();
    book.must(recharge("alice", "5"));
    let lease = book.acquire("wallet/alice", "holder").unwrap();
    let before = content(&book);
    let tried = book.submit(dry(waiting(0)), withdraw("alice", "1"));
    assert_eq!(name(&tried.result), ErrorName::Locked);
    let proved = Envelope { tokens: vec![lease.token.clone()], ..dry(Envelope::local()) };
    assert!(book.submit(proved, withdraw("alice", "1")).result.is_ok(), "a lock token counts");
    book.advance(65_000);
    assert!(book.submit(dry(Envelope::local()), withdraw("alice", "1")).result.is_ok(), "the lease is over");
    assert_eq!(content(&book), before);
    assert!(book.lock("wallet/alice").is_some(), "the stale lock is left");
}

#[test]
fn dry_run_with_key_records_nothing_and_answers_record() {
    let book = book();
    let tried = book.submit(dry(keyed("k")), recharge("alice", "5"));
    assert!(tried.result.is_ok() && !tried.replayed);
    assert_eq!(book.number("SELECT count(*) FROM idempotency"), 0);
    book.submit(keyed("k"), recharge("alice", "5")).result.unwrap();
    assert!(book.submit(dry(keyed("k")), recharge("alice", "5")).replayed);
    let other = book.submit(dry(keyed("k")), recharge("alice", "6"));
    assert_eq!(name(&other.result), ErrorName::IdempotencyKeyReused);
    let refused = book.submit(dry(keyed("k2")), withdraw("alice", "6"));
    assert_eq!(name(&refused.result), ErrorName::InsufficientFunds);
    assert_eq!(book.number("SELECT count(*) FROM idempotency"), 1, "a refusal of a dry run is not stored");
    let (name, items) = (Some(NameBatch([7; 16])), Vec::new());
    let reused = book.submit(dry(keyed("k")), TryEach { name, items });
    assert_eq!(super::harness::name(&reused.result), ErrorName::IdempotencyKeyReused);
    book.assert_sound();
}

#[test]
fn large_dry_run_is_taken_back_with_its_transaction() {
    let book = book();
    book.must(recharge("alice", "100"));
    let before = content(&book);
    let many = batch((0..200).map(|_| withdraw("alice", "0.01")).collect());
    assert!(book.submit(dry(Envelope::local()), many.clone()).result.is_ok());
    assert_eq!(content(&book), before);
    book.must(many);
    assert_eq!(book.balance("alice"), "98.00");
    book.assert_sound();
}
