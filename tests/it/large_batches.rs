//! Large atomic batches: a commit is bounded by movements and by bytes, and what waits beside them waits for a bounded time.

use super::harness::*;
use super::server::until;
use cashbox::internals::command::Command;
use cashbox::internals::error::ErrorName;
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::verbs::Recharge;
use cashbox::internals::store::Envelope;
use std::time::{Duration, Instant};

const ITEMS: usize = 3_500;

/// Recharges of many wallets, each with 2 kB of metadata, and one more command.
fn large(round: usize, items: usize, last: Command) -> Command {
    let metadata = (0..4).map(|name| (format!("name {name}"), "x".repeat(500))).collect();
    let note = Note::new(None, metadata).unwrap();
    let recharge = |index: usize| {
        let user = user_id(&format!("user-{}", (round * 7_919 + index * 104_729) % 10_000));
        Recharge { user, amount: money("1"), note: note.clone() }.into()
    };
    batch((1..items).map(recharge).chain([last]).collect())
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

#[test]
fn large_batches_at_once_cost_as_much_as_in_turn() {
    let book = book();
    let in_turn = seconds(|| (0..4).for_each(|round| _ = book.must(large(round, ITEMS, recharge("bob", "1")))));
    let mut slowest = Duration::ZERO;
    let at_once = seconds(|| {
        std::thread::scope(|scope| {
            let batches: Vec<_> = (4..8)
                .map(|round| {
                    scope.spawn({
                        let book = &book;
                        move || _ = book.must(large(round, ITEMS, recharge("bob", "1")))
                    })
                })
                .collect();
            while !batches.iter().all(|batch| batch.is_finished()) {
                let asked = Instant::now();
                book.must(recharge("alice", "1"));
                slowest = slowest.max(asked.elapsed());
            }
        });
    });
    println!("in turn {in_turn:.2} s, at once {at_once:.2} s, beside them {slowest:?}");
    assert!(at_once < 2.0 * in_turn + 1.0, "in turn {in_turn:.2} s, at once {at_once:.2} s");
    assert!(slowest.as_secs_f64() < in_turn.max(2.0), "a single request waited {slowest:?}");
    assert_eq!(book.number("SELECT count(*) FROM entry WHERE to_wallet <> 'alice'"), 8 * ITEMS as i64);
    book.assert_sound();
}

#[test]
fn refused_large_batch_leaves_nothing_but_its_record() {
    let mut book = book();
    book.must(recharge("alice", "1"));
    let batch = large(0, 101, withdraw("alice", "2"));
    let refused = book.submit(keyed("k"), batch.clone());
    assert_eq!(
        (name(&refused.result), fact(refused.result.as_ref().unwrap_err(), "index")),
        (ErrorName::InsufficientFunds, &100.into())
    );
    assert_eq!(book.number("SELECT count(*) FROM entry"), 1);
    book.must(recharge("alice", "5"));
    let again = book.submit(keyed("k"), batch.clone());
    assert_eq!((name(&again.result), again.replayed), (ErrorName::InsufficientFunds, true));
    book.must(batch);
    assert_eq!(book.number("SELECT count(*) FROM entry"), 103);
    book.reopen();
    book.assert_sound();
}

#[test]
fn large_batches_behind_one_lock_follow_each_other() {
    let book = book();
    let grant = book.acquire("wallet/alice", "first").unwrap();
    std::thread::scope(|scope| {
        let batches: Vec<_> = (0..3)
            .map(|round| {
                let (book, batch) = (&book, large(round, 100, recharge("alice", "1")));
                scope.spawn(move || book.submit(waiting(30_000), batch).result.map(|_| ()))
            })
            .collect();
        let small = scope.spawn(|| book.submit(waiting(30_000), recharge("alice", "1")).result.map(|_| ()));
        book.until_parked(4);
        book.release("wallet/alice", &grant.token).unwrap();
        batches.into_iter().chain([small]).for_each(|waited| waited.join().unwrap().unwrap());
    });
    assert_eq!(book.balance("alice"), "4.00");
    book.assert_sound();
}

#[test]
fn single_request_does_not_wait_for_all_items_of_others() {
    let book = book();
    let items = |round: usize| {
        (0..5_000)
            .map(|index| (Envelope::local(), recharge(&format!("u{}", (round + index) % 100), "1")))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let batches: Vec<_> = (0..4)
            .map(|round| {
                scope.spawn({
                    let book = &book;
                    move || book.submit_all(items(round))
                })
            })
            .collect();
        until(|| book.stats().commits.load(std::sync::atomic::Ordering::Relaxed) > 2);
        book.must(recharge("alice", "1"));
        assert!(batches.iter().any(|batch| !batch.is_finished()), "it was done before they were");
        for batch in batches {
            assert!(batch.join().unwrap().iter().all(|outcome| outcome.result.is_ok()));
        }
    });
    assert_eq!(book.number("SELECT count(*) FROM entry"), 20_001);
}
