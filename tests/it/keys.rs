//! Idempotency keys: one intention, one effect, one answer. (`check` repeats every line of every other test as well.)

use crate::harness::*;
use cashbox::internals::command::{Command, NameBatch, RevokeToken, SetCouponKinds, SetTiers};
use cashbox::internals::error::{Error, ErrorName};
use cashbox::internals::id::{CouponCode, EntryId, Fence, IdempotencyKey};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::coupon::{CouponKind, CouponTerms, Discount, KindLimits, Tier};
use cashbox::internals::ledger::verbs::{Recharge, Refund};
use cashbox::internals::lock::lease::{ReleaseRequest, RevokeRequest};
use cashbox::internals::money::Cents;
use cashbox::internals::store::{Envelope, Outcome};
use cashbox::internals::token::{NewToken, Role};
use std::sync::atomic::Ordering::Relaxed;

const DAY_MS: i64 = 86_400_000;

#[test]
fn repeat_gets_first_answer_after_later_changes() {
    let mut book = book();
    let yes = book.submit(keyed("yes"), recharge("alice", "10"));
    let no = book.submit(keyed("no"), withdraw("alice", "20"));
    assert_eq!((name(&no.result), no.replayed), (ErrorName::InsufficientFunds, false));
    book.must(recharge("alice", "1000"));
    for _ in 0..2 {
        let again = book.submit(keyed("yes"), recharge("alice", "10"));
        assert_eq!((again.result, again.replayed), (yes.result.clone(), true));
        let again = book.submit(keyed("no"), withdraw("alice", "20"));
        assert_eq!((again.result, again.replayed), (no.result.clone(), true));
        book.reopen();
    }
    assert_eq!(book.balance("alice"), "1010.00");
    book.assert_sound();
}

#[test]
fn key_belongs_to_one_request_of_one_caller() {
    let book = book();
    book.submit(keyed("k"), recharge("alice", "10")).result.unwrap();
    for other in [recharge("alice", "11"), recharge("bob", "10"), withdraw("alice", "10"), grant("alice", "1")] {
        let answer = book.submit(keyed("k"), other);
        assert_eq!((name(&answer.result), answer.replayed), (ErrorName::IdempotencyKeyReused, false));
    }
    let another = book.submit(by("tok-1", keyed("k")), recharge("alice", "10"));
    assert!(another.result.is_ok() && !another.replayed);
    assert_eq!(book.balance("alice"), "20.00");
}

#[test]
fn amount_written_differently_is_same_request() {
    let book = book();
    let first = book.submit(keyed("k"), recharge("alice", "120"));
    for form in ["120.00", "120.0", "0120"] {
        let again = book.submit(keyed("k"), recharge("alice", form));
        assert_eq!((again.result, again.replayed), (first.result.clone(), true), "{form}");
    }
    assert_eq!(book.balance("alice"), "120.00");
}

#[test]
fn concurrent_repeats_have_one_effect() {
    let book = book();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let repeat = || book.submit(keyed("k"), recharge("alice", "300"));
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(repeat)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.result == answers[0].result), "{answers:?}");
    assert_eq!((book.balance("alice").as_str(), book.coupons("alice").len()), ("300.00", 1));
    book.assert_sound();
}

#[test]
fn repeats_in_one_batch_have_one_effect() {
    let book = book();
    let four = (0..4).map(|_| (keyed("k"), recharge("alice", "10"))).collect();
    let replayed: Vec<bool> = book.submit_all(four).iter().map(|answer| answer.replayed).collect();
    assert_eq!(replayed, [false, true, true, true]);
    assert_eq!(book.balance("alice"), "10.00");
}

#[test]
fn repeat_of_parked_request_joins_it() {
    let book = check("recharge alice 50 |");
    let holder = book.acquire("wallet/alice", "holder").unwrap();
    let parked = || Envelope { wait_ms: 10_000, ..keyed("k") };
    let answers = book.submit_all(vec![
        (parked(), withdraw("alice", "20")),
        (parked(), withdraw("alice", "20.0")),
        (parked(), withdraw("alice", "21")),
        (keyed("k"), withdraw("alice", "20")), // would not wait, and joins all the same
        (Envelope::local(), ReleaseRequest { id: None, token: holder.token, min_hold_ms: None }.into()),
    ]);
    assert!(answers[0].result.is_ok() && !answers[0].replayed);
    assert_eq!((answers[1].result.clone(), answers[1].replayed), (answers[0].result.clone(), true));
    assert_eq!(name(&answers[2].result), ErrorName::IdempotencyKeyReused);
    assert_eq!((answers[3].result.clone(), answers[3].replayed), (answers[0].result.clone(), true));
    assert_eq!(book.balance("alice"), "30.00");
    book.assert_sound();
}

#[test]
fn key_of_timed_out_wait_may_be_used_again() {
    let book = check("recharge alice 50 |");
    let holder = book.acquire("wallet/alice", "holder").unwrap();
    let at_once = book.submit(keyed("k"), withdraw("alice", "20"));
    assert_eq!((name(&at_once.result), at_once.replayed), (ErrorName::Locked, false));
    std::thread::scope(|scope| {
        let parked = (Envelope { wait_ms: 10_000, ..keyed("k") }, withdraw("alice", "20"));
        let both = scope.spawn(|| book.submit_all(vec![parked.clone(), parked]));
        book.until_parked(1);
        book.advance(10_000);
        for answer in both.join().unwrap() {
            assert_eq!(name(&answer.result), ErrorName::Locked);
        }
    });
    let lost = Envelope { tokens: vec![book.token(99, "ghost")], ..keyed("k") };
    assert_eq!(name(&book.submit(lost, withdraw("alice", "20")).result), ErrorName::LockLost);
    book.release("wallet/alice", &holder.token).unwrap();
    let answer = book.submit(keyed("k"), withdraw("alice", "20"));
    assert!(answer.result.is_ok() && !answer.replayed, "none of the earlier answers was kept: {answer:?}");
    assert_eq!(book.balance("alice"), "30.00");
}

#[test]
fn key_is_looked_up_before_lock() {
    let book = book();
    let first = book.submit(keyed("k"), recharge("alice", "20"));
    book.acquire("wallet/alice", "holder").unwrap();
    let again = book.submit(keyed("k"), recharge("alice", "20"));
    assert_eq!((again.result, again.replayed), (first.result, true));
}

#[test]
fn sweep_removes_only_old_records() {
    let book = book();
    book.submit(keyed("old"), recharge("alice", "10")).result.unwrap();
    book.advance(DAY_MS);
    book.submit(keyed("younger"), recharge("alice", "10")).result.unwrap();
    book.advance(29 * DAY_MS);
    book.must(recharge("bob", "1"));
    assert!(book.submit(keyed("old"), recharge("alice", "10")).replayed, "thirty days old is not older than that");
    for _ in 0..3 {
        book.advance(3_600_000); // the sweeper rests after each round
        book.must(recharge("bob", "1"));
    }
    let (old, younger) = (keyed("old"), keyed("younger"));
    assert!(book.submit(younger, recharge("alice", "10")).replayed);
    assert!(!book.submit(old, recharge("alice", "10")).replayed);
    assert_eq!(book.balance("alice"), "30.00");
    book.assert_sound();
}

#[test]
fn clock_set_ahead_for_a_while_ages_no_key() {
    let mut book = book_with(|options| options.accept_clock = true);
    book.submit(keyed("mine"), recharge("alice", "10")).result.unwrap();
    for _ in 0..3 {
        book.clock.step_wall_ms(40 * DAY_MS);
        book.reopen(); // sweeps at once
        book.must(recharge("bob", "1"));
        book.advance(DAY_MS); // and notes the wrong time
        book.must(recharge("bob", "1"));
        book.clock.step_wall_ms(-40 * DAY_MS);
        book.advance(3_600_000);
        book.must(recharge("bob", "1"));
        assert!(book.submit(keyed("mine"), recharge("alice", "10")).replayed);
    }
    for _ in 0..30 {
        book.submit(keyed("later"), recharge("carol", "1")).result.unwrap();
        book.advance(DAY_MS);
        book.must(recharge("bob", "1"));
    }
    assert!(!book.submit(keyed("mine"), recharge("alice", "10")).replayed, "now it is");
    assert!(book.submit(keyed("later"), recharge("carol", "1")).replayed);
    book.assert_sound();
}

#[test]
fn clock_set_back_for_a_while_ages_no_key() {
    let mut book = book();
    for _ in 0..32 {
        book.must(recharge("bob", "1"));
        book.advance(DAY_MS);
    }
    book.clock.step_wall_ms(-400 * DAY_MS);
    book.submit(keyed("mine"), recharge("alice", "10")).result.unwrap();
    book.clock.step_wall_ms(400 * DAY_MS);
    book.reopen(); // sweeps at once
    book.must(recharge("bob", "1"));
    assert!(book.submit(keyed("mine"), recharge("alice", "10")).replayed);
    book.assert_sound();
}

#[test]
fn key_is_never_dated_before_newest_note_of_time() {
    let mut book = book_with(|options| (options.keep_keys_days, options.accept_clock) = (1, true));
    book.must(recharge("alice", "1"));
    for _ in 0..40 {
        book.advance(DAY_MS);
        book.must(grant("alice", "1")); // no entry, so only the notes tell what time it is
    }
    book.clock.step_wall_ms(-20 * DAY_MS);
    book.submit(keyed("mine"), grant("alice", "2")).result.unwrap();
    book.clock.step_wall_ms(20 * DAY_MS);
    book.reopen();
    book.must(grant("alice", "1"));
    assert!(book.submit(keyed("mine"), grant("alice", "2")).replayed);
    book.assert_sound();
}

#[test]
fn sweep_of_many_records_is_in_bounded_steps() {
    let book = book_with(|options| options.keep_keys_days = 1);
    book.submit_all((0..600).map(|i| (keyed(&format!("k{i}")), recharge("alice", "1"))).collect());
    book.advance(DAY_MS + 1);
    let mut left = vec![];
    for _ in 0..4 {
        book.must(recharge("bob", "1"));
        left.push(book.number("SELECT count(*) FROM idempotency"));
        book.advance(50);
    }
    assert_eq!(left, [344, 88, 0, 0]);
}

#[test]
fn answer_with_secret_is_not_recorded() {
    let book = book();
    let wanted = NewToken { role: Role::Teller, user: None, prefix: None, expires_in_s: None, note: None };
    let mint = || book.submit(keyed("k"), wanted.clone()).result.unwrap().secret;
    assert_ne!(mint(), mint());
    book.submit(keyed("k"), acquire("job", "holder")).result.unwrap();
    assert_eq!(book.number("SELECT count(*) FROM idempotency"), 0);
}

#[test]
fn atomic_batch_under_key_is_one_effect() {
    let book = check("recharge alice 100 |");
    let all = batch(vec![recharge("bob", "300"), transfer("alice", "bob", "40"), withdraw("bob", "1")]);
    let first = book.submit(keyed("all"), all.clone());
    let again = book.submit(keyed("all"), all.clone());
    assert!(first.result.is_ok() && !first.replayed && again.replayed);
    assert_eq!(again.result, first.result);
    assert_eq!((book.balance("alice").as_str(), book.balance("bob").as_str()), ("60.00", "339.00"));

    let none = batch(vec![recharge("carol", "300"), withdraw("alice", "60"), withdraw("alice", "0.01")]);
    let first = book.submit(keyed("none"), none.clone());
    assert_eq!(name(&first.result), ErrorName::InsufficientFunds);
    assert_eq!(fact(first.result.as_ref().unwrap_err(), "index"), 2);
    book.must(recharge("alice", "1"));
    let again = book.submit(keyed("none"), none);
    assert_eq!((again.result, again.replayed), (first.result, true));
    assert_eq!((book.balance("alice").as_str(), book.balance("carol").as_str()), ("61.00", "0.00"));
    assert!(book.coupons("carol").is_empty());
    book.assert_sound();
}

#[test]
fn repeat_of_settings_gets_what_was_set() {
    let book = book();
    let tiers = book.read(|tx| cashbox::internals::ledger::coupon::tiers(tx)).unwrap();
    let kinds = book.read(|tx| cashbox::internals::ledger::coupon::kinds(tx)).unwrap();
    for (key, command) in [("t", Command::from(SetTiers(tiers))), ("c", SetCouponKinds(kinds).into())] {
        let first = book.submit(keyed(key), command.clone());
        let again = book.submit(keyed(key), command);
        assert_eq!((again.result, again.replayed), (first.result, true));
    }
    let unknown = RevokeToken("tok-none".to_owned());
    assert_eq!(name(&book.submit(keyed("r"), unknown.clone()).result), ErrorName::TokenNotFound);
    assert!(book.submit(keyed("r"), unknown).replayed);
}

#[test]
fn repeat_of_recharge_shows_coupon_as_granted() {
    let book = book();
    let first = book.submit(keyed("k"), recharge("alice", "100"));
    let coupon = moved(first.result.clone().unwrap()).coupon.unwrap();
    book.must(pay("alice", "20", Some(&coupon.code)));
    let again = book.submit(keyed("k"), recharge("alice", "100"));
    assert_eq!((again.result, again.replayed), (first.result, true));
}

/// A batch under the key `K` of recharges of alice, one per item; `items` tells it from other batches.
fn keyed_batch(book: &Book, items: [u8; 16], count: usize) -> Result<Vec<Outcome>, Error> {
    let key = IdempotencyKey::parse("K").unwrap();
    let item = |index| (Envelope { key: Some(key.item(index)), ..Envelope::local() }, recharge("alice", "1"));
    book.submit_batch((keyed("K"), NameBatch(items)), (0..count).map(item).collect())
}

#[test]
fn key_stored_with_quotes_by_older_version_is_found() {
    let book = book();
    for (stored, command) in [("\"k\"", recharge("alice", "1")), ("\"b\"/0", recharge("alice", "2"))] {
        book.submit(keyed("new"), command.clone()).result.unwrap();
        book.raw().execute("UPDATE idempotency SET key = $1 WHERE key = 'new'", [stored]).unwrap();
    }
    assert!(book.submit(keyed("\"k\""), recharge("alice", "1")).replayed);
    let item = Envelope { key: Some(IdempotencyKey::parse("\"b\"").unwrap().item(0)), ..Envelope::local() };
    assert!(book.submit(item, recharge("alice", "2")).replayed);
    assert!(!book.submit(keyed("k"), recharge("alice", "1")).replayed, "then it was another key");
    assert_eq!(book.balance("alice"), "4.00");
}

#[test]
fn batch_key_is_reserved_in_the_commit_of_its_items() {
    let book = book();
    book.must(recharge("alice", "1"));
    let commits = || book.stats().commits.load(Relaxed);
    let before = commits();
    let first = keyed_batch(&book, [1; 16], 10).unwrap();
    assert!(first.iter().all(|outcome| outcome.result.is_ok() && !outcome.replayed));
    assert_eq!((commits() - before, book.balance("alice").as_str()), (1, "11.00"));
    let again = keyed_batch(&book, [1; 16], 10).unwrap();
    assert!(again.iter().zip(&first).all(|(again, first)| again.replayed && again.result == first.result));
    assert_eq!((commits() - before, book.balance("alice").as_str()), (2, "11.00"));
    book.assert_sound();
}

#[test]
fn batch_key_with_other_items_refuses_all_of_them() {
    let book = book();
    keyed_batch(&book, [1; 16], 3).unwrap();
    let refused = keyed_batch(&book, [2; 16], 700).unwrap_err();
    assert_eq!(refused.name, ErrorName::IdempotencyKeyReused);
    assert_eq!(book.balance("alice"), "3.00");
}

#[test]
fn batch_repeated_after_its_first_part_is_one_effect() {
    let mut book = book();
    keyed_batch(&book, [1; 16], 255).unwrap(); // with its key, as much as one commit takes
    book.reopen();
    let whole = keyed_batch(&book, [1; 16], 600).unwrap();
    assert_eq!(whole.iter().filter(|outcome| outcome.replayed).count(), 255);
    assert_eq!(book.balance("alice"), "600.00");
    book.assert_sound();
}

#[test]
fn batch_whose_key_is_not_reserved_does_nothing() {
    let mut book = book();
    let pages = u32::try_from(book.number("SELECT page_count FROM pragma_page_count()")).unwrap();
    book.close();
    book.options.max_pages = Some(pages + 4);
    book.open();
    let refused = keyed_batch(&book, [1; 16], 2_000).unwrap_err();
    assert_eq!(refused.name, ErrorName::StorageFull);
    assert_eq!((book.entries().len(), book.number("SELECT count(*) FROM idempotency")), (0, 0));
    book.close();
    book.options.max_pages = Some(10_000);
    book.open();
    assert_eq!(keyed_batch(&book, [1; 16], 2_000).unwrap().len(), 2_000);
    assert_eq!(book.balance("alice"), "2000.00");
    book.assert_sound();
}

#[test]
fn fingerprint_of_each_command_never_changes() {
    let note = || Note { reference: Some("r-1".to_owned()), metadata: Some(r#"{"a":"b"}"#.to_owned()) };
    let code = CouponCode::parse("7K2Q").unwrap();
    let tiers = vec![Tier { from: money("100"), kind: Some("3".to_owned()) }, Tier { from: money("7"), kind: None }];
    let kind = |discount, single_use| CouponKind {
        kind: "k".to_owned(),
        terms: CouponTerms::new(discount, Cents(800), single_use),
        earned_zh: "券".to_owned(),
        earned_en: "one".to_owned(),
        limits: KindLimits::default(),
    };
    let kinds = vec![kind(Discount::Amount(money("5")), true), kind(Discount::Percent(20), false)];
    let noted = Recharge { user: user_id("alice"), amount: money("120"), note: note() };
    let part = Refund { entry: EntryId(7), amount: Some(money("1.5")), note: note() };
    let all = batch(vec![recharge("bob", "3"), transfer("bob", "@sales", "1")]);
    let revoke =
        RevokeRequest { id: lock_id("job"), fence: Fence(4), delay_ms: Some(0), reason: Some("because".to_owned()) };
    let pinned = [
        (recharge("alice", "120"), "04e6e0cf717b5f74a0823925de6af46a"),
        (noted.into(), "3c3c291e0b79aa80d3d9f48ee0d16e1e"),
        (withdraw("alice", "0.01"), "6c84cda38e906029fefdc6f1fdbe22ea"),
        (pay("alice", "30", None), "973a6ae97938c1df7ba757d7ec286651"),
        (pay("alice", "30", Some(&code)), "169cc513ff79296d2335ec2e2761751f"),
        (transfer("alice", "bob", "2.50"), "08ad76a081fa7085fe8a2777956dcd3e"),
        (refund(7, None), "aeefbb425b96629eaf048be0127fb21f"),
        (part.into(), "c45b0421d6ee3ca76a294520035cbb4b"),
        (grant("alice", "2"), "e4ce2f5842a2445bc7abe943369f38ef"),
        (SetTiers(tiers).into(), "f687f4c1c7b39bdd711bcd665016c1d1"),
        (SetCouponKinds(kinds).into(), "7b22ad67b7e5d226c23e97a02957d424"),
        (RevokeToken("tok:1".to_owned()).into(), "f94f7ee6fbae08dcd8e00e31d953d146"),
        (all, "6a8ac9f238050aa30daaadc223e3aacf"),
        (revoke.into(), "0da1ca6d0e7486f50278abde84295112"),
        (NameBatch([7; 16]).into(), "70287b868c052cf309fcf4ba4b1f0788"),
    ];
    for (command, hex) in pinned {
        assert_eq!(cashbox::internals::secret::hex(&command.fingerprint().unwrap()), hex, "{command:?}");
    }
}
