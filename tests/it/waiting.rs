//! Waiting for a lock: first come first served, handed over in the release's own transaction, never after the
//! deadline, never to a closed connection.

use crate::harness::*;
use cashbox::internals::command::{Command, Receipt, ReleaseUndelivered};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::LockToken;
use cashbox::internals::lock::lease::{AcquireRequest, GrantOrigin, ReleaseRequest, RenewRequest, RevokeRequest};
use cashbox::internals::store::{Envelope, Outcome, WaitLimits};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;

const STALE: i64 = 65_000;

fn local(command: impl Into<Command>) -> (Envelope, Command) {
    (Envelope::local(), command.into())
}

fn give_back(id: &str, token: LockToken) -> (Envelope, Command) {
    local(ReleaseRequest { id: Some(lock_id(id)), token, min_hold_ms: None })
}

fn wait_for(id: &str, secret: &str) -> (Envelope, Command) {
    (waiting(10_000), acquire(id, secret))
}

fn how(outcome: &Outcome) -> GrantOrigin {
    match &outcome.result {
        Ok(Receipt::Granted(grant)) => grant.origin,
        other => panic!("a grant, not {other:?}"),
    }
}

/// Sends these from a thread of its own, waits until `parked` of them are parked, does what is to be done, and returns what
/// the parked ones were answered.
pub fn while_parked(book: &Book, parked: u64, sent: Vec<(Envelope, Command)>, then: impl FnOnce()) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| book.submit_all(sent));
        let _dismissed = Dismissed(book);
        book.until_parked(parked);
        then();
        if !answers.is_finished() {
            book.until_parked(0);
        }
        answers.join().unwrap()
    })
}

/// Sends everyone home who still waits when a test fails, so that it ends.
pub struct Dismissed<'a>(pub &'a Book);

impl Drop for Dismissed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.refuse_waiting();
        }
    }
}

#[test]
fn released_lock_goes_to_first_waiter_in_same_commit() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let commits = || book.stats().commits.load(SeqCst);
    let before = commits();
    let answers = book.submit_all(vec![
        wait_for("job", "ben"),
        wait_for("job", "cat"),
        give_back("job", ann),
        local(acquire("job", "newcomer")),
        give_back("job", book.token(2, "ben")),
        local(acquire("job", "newcomer")),
        give_back("job", book.token(3, "cat")),
        local(acquire("job", "newcomer")),
    ]);
    assert_eq!((how(&answers[0]), how(&answers[1])), (GrantOrigin::Created, GrantOrigin::Created));
    assert_eq!((name(&answers[3].result), name(&answers[5].result)), (ErrorName::Locked, ErrorName::Locked));
    assert_eq!(how(&answers[7]), GrantOrigin::Created);
    assert_eq!(commits() - before, 1);
    book.assert_sound();
}

#[test]
fn grant_after_wait_lasts_its_full_time() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let answers = while_parked(&book, 1, vec![wait_for("job", "ben")], || {
        book.advance(9_000);
        book.release("job", &ann).unwrap();
    });
    assert_eq!(how(&answers[0]), GrantOrigin::Created);
    let lock = book.lock("job").unwrap();
    assert_eq!((lock.create_time, lock.expires() - book.lease_ms()), (book.lease_ms(), 60_000));
}

#[test]
fn waiter_is_refused_at_its_deadline() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let answers = while_parked(&book, 1, vec![wait_for("job", "ben")], || {
        book.advance(9_999);
        assert_eq!(name(&book.acquire("job", "cat")), ErrorName::Locked);
        book.until_parked(1);
        book.advance(1);
    });
    let refused = answers[0].result.as_ref().unwrap_err();
    assert_eq!((refused.name, fact(refused, "waited_ms")), (ErrorName::Locked, &10_000.into()));
    assert_eq!(fact(refused, "holder"), "ann");

    // The release comes at the very moment of the deadline: too late.
    let answers = while_parked(&book, 1, vec![wait_for("job", "dan")], || {
        book.clock.advance_ms(10_000);
        book.release("job", &ann).unwrap();
    });
    assert_eq!(name(&answers[0].result), ErrorName::Locked);
    assert!(book.lock("job").is_none());
}

#[test]
fn waiter_gets_stale_lock_before_newcomer() {
    let book = book();
    book.acquire("job", "ann").unwrap();
    book.advance(STALE - 5_000);
    let answers = while_parked(&book, 2, vec![wait_for("job", "ben"), wait_for("job", "cat")], || {
        book.advance(4_999);
        assert_eq!(name(&book.acquire("job", "newcomer")), ErrorName::Locked);
        book.clock.advance_ms(1);
        assert_eq!(name(&book.acquire("job", "newcomer")), ErrorName::Locked, "the queue comes first");
        book.until_parked(1);
        book.advance(5_000);
    });
    assert_eq!(how(&answers[0]), GrantOrigin::TakenOver);
    assert_eq!(name(&answers[1].result), ErrorName::Locked);
    book.assert_sound();
}

#[test]
fn shortened_lease_is_passed_on_when_it_ends() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let answers = while_parked(&book, 1, vec![wait_for("job", "ben")], || {
        book.must(RenewRequest { id: Some(lock_id("job")), token: ann.clone(), expire_ms: Some(1_000) });
        book.clock.advance_ms(6_000); // stale now, long before the moment the waiter first looked at
        assert_eq!(name(&book.acquire("job", "newcomer")), ErrorName::Locked, "a newcomer does not overtake the queue");
        book.advance(4_000);
    });
    assert_eq!(how(&answers[0]), GrantOrigin::TakenOver);
}

#[test]
fn revoked_lock_is_passed_on_after_delay() {
    for delay in [0, 4_000] {
        let book = book();
        let fence = book.acquire("job", "ann").unwrap().token.fence;
        let answers = while_parked(&book, 1, vec![wait_for("job", "ben")], || {
            book.must(RevokeRequest { id: lock_id("job"), fence, delay_ms: Some(delay), reason: None });
            book.advance(delay);
        });
        assert_eq!(how(&answers[0]), GrantOrigin::TakenOver);
    }
}

#[test]
fn disconnected_waiter_is_skipped() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let gone = Envelope { alive: Some(Arc::new(|| false)), ..waiting(10_000) };
    let answers = book.submit_all(vec![(gone, acquire("job", "ghost")), wait_for("job", "ben"), give_back("job", ann)]);
    assert!(answers[0].result.is_err());
    assert_eq!(how(&answers[1]), GrantOrigin::Created);
    assert_eq!(book.number("SELECT count(*) FROM lock_event WHERE holder = 'ghost'"), 0);
}

#[test]
fn disconnected_waiter_takes_no_room() {
    let book = book_with(|options| options.wait_limits = WaitLimits { total: 2, per_lock: 1 });
    let ann = book.acquire("job", "ann").unwrap().token;
    let here = Arc::new(AtomicBool::new(true));
    let alive = Arc::clone(&here);
    let leaves = Envelope { alive: Some(Arc::new(move || alive.load(SeqCst))), ..waiting(60_000) };
    while_parked(&book, 1, vec![(leaves, acquire("job", "ghost"))], || {
        assert_eq!(name(&book.submit(waiting(1), acquire("job", "ben")).result), ErrorName::Busy);
        here.store(false, SeqCst);
        book.advance(100);
        let answers = book.submit_all(vec![wait_for("job", "ben"), give_back("job", ann.clone())]);
        assert_eq!(how(&answers[0]), GrantOrigin::Created);
    });
}

#[test]
fn waiters_beyond_limits_are_busy() {
    let book = book_with(|options| options.wait_limits = WaitLimits { total: 3, per_lock: 2 });
    let ann = book.acquire("job", "ann").unwrap().token;
    let other = book.acquire("other", "ann").unwrap().token;
    let answers = book.submit_all(vec![
        wait_for("job", "a"),
        wait_for("job", "b"),
        wait_for("job", "c"),
        wait_for("other", "d"),
        wait_for("other", "e"),
        give_back("other", other),
        give_back("job", ann),
        give_back("job", book.token(3 + 1, "a")),
    ]);
    let names: Vec<_> =
        answers.iter().map(|answer| answer.result.as_ref().map_or_else(|e| e.name.as_str(), |_| "ok")).collect();
    assert_eq!(names, ["ok", "ok", "busy", "ok", "busy", "ok", "ok", "ok"]);
}

#[test]
fn same_secret_sent_while_first_waits_is_one_request() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let sent = vec![wait_for("job", "ben"), wait_for("job", "cat"), wait_for("job", "ben"), give_back("job", ann)];
    let answers = while_parked(&book, 1, sent, || book.advance(10_000));
    assert!(answers[0].result.is_ok());
    assert_eq!(name(&answers[1].result), ErrorName::Locked);
    let (Ok(Receipt::Granted(first)), Ok(Receipt::Granted(again))) = (&answers[0].result, &answers[2].result) else {
        panic!("both are the same grant: {answers:?}");
    };
    assert_eq!(first.token, again.token);
}

#[test]
fn waiter_for_two_locks_holds_neither() {
    let book = book();
    let a = book.acquire("a", "ann").unwrap().token;
    let b = book.acquire("b", "ben").unwrap().token;
    let answers = book.submit_all(vec![
        wait_for("a b", "both"),
        wait_for("a", "single"),
        give_back("a", a),
        give_back("b", b),
        give_back("a", book.token(3, "single")),
    ]);
    assert!(answers.iter().all(|answer| answer.result.is_ok()), "{answers:?}");
    assert_eq!(book.lock("a").unwrap().fence.0, 4);
    assert_eq!(book.lock("b").unwrap().fence.0, 4);
    book.assert_sound();
}

#[test]
fn money_waits_for_every_wallet_it_touches() {
    let book = check(
        "
        recharge alice 10 |
        recharge bob   10 |
        ",
    );
    let alice = book.acquire("wallet/alice", "ann").unwrap().token;
    let bob = book.acquire("wallet/bob", "ben").unwrap().token;
    let answers = book.submit_all(vec![
        (waiting(10_000), transfer("alice", "bob", "3")),
        (waiting(10_000), withdraw("alice", "9")),
        wait_for("wallet/alice", "cat"),
        (waiting(10_000), withdraw("alice", "0.50")),
        give_back("wallet/alice", alice),
        give_back("wallet/bob", bob),
        give_back("wallet/alice", book.token(3, "cat")),
    ]);
    assert_eq!(
        name(&answers[0].result),
        ErrorName::InsufficientFunds,
        "the withdrawal came first: both were free for it"
    );
    assert!(answers[1..].iter().all(|answer| answer.result.is_ok()), "{answers:?}");
    assert_eq!((book.balance("alice").as_str(), book.balance("bob").as_str()), ("0.50", "10.00"));
    book.assert_sound();
}

#[test]
fn transfer_with_token_waits_for_other_wallets_lock() {
    let book = check(
        "
        recharge alice 10 |
        recharge bob   10 |
        ",
    );
    let alice = book.acquire("wallet/alice", "ann").unwrap().token;
    let bob = book.acquire("wallet/bob", "ben").unwrap().token;
    let pay = Envelope { wait_ms: 5_000, ..under(&alice) };
    assert_eq!(name(&book.submit(under(&alice), transfer("alice", "bob", "1")).result), ErrorName::Locked);
    let answers = book.submit_all(vec![(pay, transfer("alice", "bob", "1")), give_back("wallet/bob", bob)]);
    assert_eq!(moved(answers[0].result.clone().unwrap()).entry.fence, Some(alice.fence));
}

#[test]
fn token_lost_while_waiting_does_nothing() {
    let book = check(
        "
        recharge alice 10 |
        recharge bob   10 |
        ",
    );
    let alice = book.acquire("wallet/alice", "ann").unwrap().token;
    let bob = book.acquire("wallet/bob", "ben").unwrap().token;
    let pay = Envelope { wait_ms: 5_000, ..under(&alice) };
    let answers = book.submit_all(vec![
        (pay, transfer("alice", "bob", "1")),
        give_back("wallet/alice", alice),
        give_back("wallet/bob", bob),
    ]);
    assert_eq!(name(&answers[0].result), ErrorName::LockLost);
    assert_eq!(book.balance("bob"), "10.00");
}

#[test]
fn shutdown_refuses_all_waiters() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let answers =
        while_parked(&book, 2, vec![wait_for("job", "ben"), wait_for("job", "cat")], || book.refuse_waiting());
    assert!(answers.iter().all(|answer| name(&answer.result) == ErrorName::Busy));
    assert_eq!(name(&book.submit(waiting(1_000), acquire("job", "dan")).result), ErrorName::Busy);
    book.release("job", &ann).unwrap();
    assert!(book.lock("job").is_none());
}

/// A client that is there while `here` holds.
fn client(here: &Arc<AtomicBool>) -> Envelope {
    let here = Arc::clone(here);
    Envelope { alive: Some(Arc::new(move || here.load(SeqCst))), ..waiting(10_000) }
}

#[test]
fn waiter_gone_before_its_turn_is_granted_nothing() {
    let book = book();
    let gone = Arc::new(AtomicBool::new(false));
    let outcome = book.submit(client(&gone), acquire("job", "ann"));
    assert_eq!(name(&outcome.result), ErrorName::Busy);
    assert!(book.lock("job").is_none());
}

#[test]
fn grant_delivered_to_one_of_two_is_kept() {
    let book = book();
    let grant = book.acquire("job", "ann").unwrap();
    assert_eq!(book.acquire("job", "ann").unwrap().origin, GrantOrigin::Replayed);
    let take_back = || book.must(ReleaseUndelivered(grant.token.clone()));
    take_back();
    assert!(book.lock("job").is_some(), "the repeat was delivered");
    take_back();
    assert!(book.lock("job").is_none(), "neither was delivered");
    book.assert_sound();
}

#[test]
fn repeated_wait_counts_against_limit() {
    let book = book_with(|options| options.wait_limits = WaitLimits { total: 20, per_lock: 20 });
    book.acquire("job", "ann").unwrap();
    let here = Arc::new(AtomicBool::new(true));
    let again = |count: usize| (0..count).map(|_| (client(&here), acquire("job", "ben"))).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let _dismissed = Dismissed(&book);
        let all = scope.spawn(|| book.submit_all(again(30)));
        book.until_parked(1);
        book.advance(10_000);
        let names: Vec<ErrorName> = all.join().unwrap().iter().map(|one| name(&one.result)).collect();
        assert_eq!(
            names.iter().filter(|name| **name == ErrorName::Busy).count(),
            14,
            "sixteen wait for one answer at most"
        );
        assert_eq!(names.iter().filter(|name| **name == ErrorName::Locked).count(), 16);
    });
}

#[test]
fn full_queue_answers_busy_at_once() {
    let book = book_with(|options| options.queue = 1);
    let ann = book.acquire("job", "ann").unwrap().token;
    let (asked, is_asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel::<()>();
    let answered = std::sync::Mutex::new(answered);
    // The writer asks whether the client is still there, and the client takes its time to say so.
    let slow = move || {
        asked.send(()).unwrap();
        answered.lock().unwrap().recv().is_err() // once every sender is dropped
    };
    let slow = Envelope { alive: Some(Arc::new(slow)), ..waiting(10_000) };
    std::thread::scope(|scope| {
        let both = scope.spawn(|| book.submit_all(vec![(slow, acquire("job", "ben")), give_back("job", ann)]));
        is_asked.recv().unwrap();
        let (done, outcomes) = mpsc::channel();
        for _ in 0..3 {
            let (book, done) = (&book, done.clone());
            scope.spawn(move || done.send(book.do_it(recharge("alice", "1"))).is_ok());
        }
        for _ in 0..2 {
            assert_eq!(name(&outcomes.recv().unwrap().result), ErrorName::Busy);
        }
        drop(answer);
        outcomes.recv().unwrap().result.unwrap();
        assert!(both.join().unwrap().iter().all(|answer| answer.result.is_ok()));
    });
    assert_eq!(book.balance("alice"), "1.00");
}

#[test]
fn rest_of_lost_group_is_passed_on_at_once() {
    let book = book();
    let ann = book.acquire("a b", "ann").unwrap().token;
    book.must(RevokeRequest { id: lock_id("a"), fence: ann.fence, delay_ms: None, reason: None });
    let release = ReleaseRequest { id: None, token: ann, min_hold_ms: None };
    let answers = book.submit_all(vec![wait_for("b", "ben"), local(release)]);
    assert_eq!(how(&answers[0]), GrantOrigin::Created);
    assert_eq!(name(&answers[1].result), ErrorName::LockLost);
    book.assert_sound();
}

#[test]
fn long_queue_of_short_leases_is_served_in_order() {
    let book = book();
    book.acquire_as(AcquireRequest { expire_ms: 10, grace_ms: 0, ..ask("job", "first") }).unwrap();
    let short = |name: String| Command::Acquire(AcquireRequest { expire_ms: 10, grace_ms: 0, ..ask("job", &name) });
    let sent = (0..20).map(|i| (waiting(10_000), short(format!("w{i}")))).collect();
    while_parked(&book, 20, sent, || {
        for left in (0..20).rev() {
            book.advance(10);
            book.until_parked(left);
        }
    });
    let holders: Vec<String> = {
        let raw = book.raw();
        let mut all = raw.prepare("SELECT holder FROM lock_event ORDER BY fence").unwrap();
        all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let expected: Vec<String> = std::iter::once("first".to_owned()).chain((0..20).map(|i| format!("w{i}"))).collect();
    assert_eq!(holders, expected);
    book.assert_sound();
}

#[test]
fn waiting_threads_hold_lock_one_at_a_time() {
    let book = check("recharge alice 1 |");
    let inside = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (book, inside) = (&book, &inside);
            scope.spawn(move || {
                for round in 0..10 {
                    let request = acquire("wallet/alice", &format!("t{thread}r{round}"));
                    let answer = book.submit(waiting(10_000), request).result.unwrap();
                    let Receipt::Granted(grant) = answer else { panic!("{answer:?}") };
                    assert!(!inside.swap(true, SeqCst), "two hold the lock");
                    for command in [withdraw("alice", "1"), recharge("alice", "1")] {
                        let entry = moved(book.submit(under(&grant.token), command).result.unwrap()).entry;
                        assert_eq!(entry.fence, Some(grant.token.fence));
                    }
                    inside.store(false, SeqCst);
                    book.release("wallet/alice", &grant.token).unwrap();
                }
            });
        }
    });
    assert_eq!((book.balance("alice").as_str(), book.number("SELECT fence FROM lock_seq")), ("1.00", 80));
    book.assert_sound();
}
