//! Locks that rest after their release: one run per period, however many machines try.

use crate::harness::*;
use crate::locks::{GRACE, history, renew, revoke, state};
use crate::waiting::while_parked;
use cashbox::internals::command::Command;
use cashbox::internals::error::ErrorName;
use cashbox::internals::lock::event::LockEventKind;
use cashbox::internals::lock::lease::{AcquireRequest, GrantOrigin, ReleaseRequest};
use cashbox::internals::lock::{LockFilter, LockState, list};

const DAY: i64 = 82_800_000; // 23 h

fn once_a_day(id: &str, secret: &str) -> AcquireRequest {
    AcquireRequest { min_hold_ms: Some(DAY), ..ask(id, secret) }
}

#[test]
fn released_lock_rests_until_so_long_after_its_grant() {
    let book = book();
    let ann = book.acquire_as(once_a_day("job", "ann")).unwrap().token;
    book.advance(30_000);
    book.release("job", &ann).unwrap();
    assert_eq!(state(&book, "job"), LockState::Resting);
    book.release("job", &ann).unwrap(); // a repeat
    for asking in [ask("job", "ben"), once_a_day("job", "ben")] {
        let refused = book.acquire_as(asking).unwrap_err();
        assert_eq!((refused.name, fact(&refused, "state")), (ErrorName::Locked, &"resting".into()));
        assert_eq!(
            (fact(&refused, "free_in_ms"), fact(&refused, "expires_in_ms")),
            (&(DAY - 30_000).into(), &0.into())
        );
    }
    assert_eq!(name(&renew(&book, "job", &ann, None)), ErrorName::LockLost);
    assert_eq!(name(&book.acquire_as(once_a_day("job", "ann"))), ErrorName::LockLost, "its own secret is used up");
    book.assert_sound();
    book.advance(DAY - 30_001);
    assert_eq!((state(&book, "job"), name(&book.acquire("job", "ben"))), (LockState::Resting, ErrorName::Locked));
    book.advance(1);
    assert_eq!(state(&book, "job"), LockState::Free);
    assert_eq!(
        book.read(|tx| list(tx, &LockFilter { now: book.lease_ms(), ..LockFilter::default() }, "", 9)).unwrap().rows,
        []
    );
    let grant = book.acquire_as(once_a_day("job", "cat")).unwrap();
    assert_eq!((grant.origin, grant.previous, grant.token.fence.0), (GrantOrigin::Created, None, 2));
    assert_eq!(book.stats().takeovers.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(history(&book, "job").pop().unwrap().previous_fence, None);
    book.assert_sound();
}

#[test]
fn only_released_lock_rests() {
    let book = book();
    let ann = book.acquire_as(once_a_day("job", "ann")).unwrap().token;
    book.advance(65_000);
    let ben = book.acquire_as(once_a_day("job", "ben")).unwrap();
    assert_eq!(ben.origin, GrantOrigin::TakenOver, "a holder that died does not use up the period");
    assert_eq!(name(&book.release("job", &ann)), ErrorName::LockLost);
    assert_eq!(state(&book, "job"), LockState::Held);
    revoke(&book, "job", 2, Some(0)).unwrap();
    assert_eq!(state(&book, "job"), LockState::Stale);
    let cat = book.acquire("job", "cat").unwrap();
    book.release("job", &cat.token).unwrap();
    assert_eq!(state(&book, "job"), LockState::Free, "the period belongs to a lease");
    book.assert_sound();
}

#[test]
fn holder_ends_rest_or_changes_it_when_it_releases() {
    let book = book();
    let release = |token, min_hold_ms| {
        let id = Some(lock_id("job"));
        book.do_it(ReleaseRequest { id, token, min_hold_ms: Some(min_hold_ms) }).result
    };
    release(book.acquire_as(once_a_day("job", "ann")).unwrap().token, 0).unwrap();
    assert_eq!(state(&book, "job"), LockState::Free);
    release(book.acquire("job", "ben").unwrap().token, 1_000).unwrap();
    book.advance(999);
    assert_eq!(state(&book, "job"), LockState::Resting);
    book.advance(1);
    let cat = book.acquire("job", "cat").unwrap().token;
    book.advance(2_000);
    release(cat, 2_000).unwrap();
    assert_eq!(state(&book, "job"), LockState::Free, "a period that is over needs no rest");
    let both = book.acquire_as(once_a_day("a b", "dan")).unwrap().token;
    book.do_it(ReleaseRequest { id: None, token: both, min_hold_ms: None }).result.unwrap();
    assert_eq!((state(&book, "a"), state(&book, "b")), (LockState::Resting, LockState::Resting));
    book.assert_sound();
}

#[test]
fn wallets_lock_never_rests() {
    let book = book();
    for ids in ["wallet/ann", "job wallet/ann"] {
        let refused = book.acquire_as(once_a_day(ids, "ann")).unwrap_err();
        assert_eq!((refused.name, fact(&refused, "field")), (ErrorName::InvalidRequest, &"min_hold_ms".into()));
    }
    let token = book.acquire("wallet/ann", "ben").unwrap().token;
    let rest = ReleaseRequest { id: None, token: token.clone(), min_hold_ms: Some(1_000) };
    assert_eq!(name(&book.do_it(rest).result), ErrorName::InvalidRequest);
    assert_eq!(state(&book, "wallet/ann"), LockState::Held);
    book.release("wallet/ann", &token).unwrap();
    let spoilt = book.raw().execute("UPDATE lock SET min_hold_ms = 1 WHERE id = 'wallet/ann'", []);
    assert_eq!(spoilt.unwrap(), 0);
    book.assert_sound();
}

#[test]
fn revoke_ends_rest() {
    let book = book();
    let ann = book.acquire_as(once_a_day("job", "ann")).unwrap().token;
    book.release("job", &ann).unwrap();
    assert_eq!(revoke(&book, "job", 7, None).unwrap_err().name, ErrorName::LockChanged);
    let revoked = revoke(&book, "job", 1, None).unwrap();
    assert_eq!(revoke(&book, "job", 1, None).unwrap(), revoked, "its answer was lost");
    assert_eq!(
        (state(&book, "job"), history(&book, "job").pop().unwrap().kind),
        (LockState::Stale, LockEventKind::Revoked)
    );
    let ben = book.acquire_as(once_a_day("job", "ben")).unwrap().token;
    book.release("job", &ben).unwrap();
    revoke(&book, "job", ben.fence.0, Some(GRACE)).unwrap();
    assert_eq!(state(&book, "job"), LockState::Revoked);
    book.advance(GRACE);
    book.acquire("job", "cat").unwrap();
    let rested = book.acquire_as(AcquireRequest { min_hold_ms: Some(5), ..ask("short", "dan") }).unwrap().token;
    book.release("short", &rested).unwrap();
    book.advance(5);
    assert_eq!(revoke(&book, "short", rested.fence.0, None).unwrap_err().name, ErrorName::LockNotFound);
    book.assert_sound();
}

#[test]
fn rest_outlives_reopening_and_is_not_lengthened() {
    let mut book = book();
    let ann = book.acquire_as(AcquireRequest { min_hold_ms: Some(100_000), ..ask("job", "ann") }).unwrap().token;
    book.advance(40_000);
    book.release("job", &ann).unwrap();
    book.reopen();
    book.advance(59_999);
    assert_eq!(state(&book, "job"), LockState::Resting);
    book.reopen();
    book.advance(1);
    assert_eq!(state(&book, "job"), LockState::Free);
    book.assert_sound();
}

#[test]
fn waiter_of_period_is_answered_when_lock_rests() {
    let book = book();
    let ann = book.acquire_as(once_a_day("job", "ann")).unwrap().token;
    let ask_once = |name: &str| (waiting(10_000), Command::from(once_a_day("job", name)));
    let sent = vec![
        ask_once("ben"),
        (waiting(10_000), acquire("job", "cat")),
        ask_once("dan"),
        (waiting(20_000), once_a_day("a job", "eve").into()),
    ];
    let answers = while_parked(&book, 4, sent, || {
        book.advance(1_000);
        book.release("job", &ann).unwrap();
        book.until_parked(1);
        book.advance(9_000);
    });
    for (place, answer) in [(1, &answers[0]), (2, &answers[2]), (2, &answers[3])] {
        let refused = answer.result.as_ref().unwrap_err();
        assert_eq!((refused.name, fact(refused, "state")), (ErrorName::Locked, &"resting".into()));
        assert_eq!((fact(refused, "waited_ms"), fact(refused, "place")), (&1_000.into(), &place.into()));
    }
    let refused = answers[1].result.as_ref().unwrap_err();
    assert_eq!((fact(refused, "state"), fact(refused, "waited_ms")), (&"resting".into(), &10_000.into()));
    book.assert_sound();
}

#[test]
fn plain_waiter_gets_lock_when_its_rest_is_over() {
    let book = book();
    let brief = AcquireRequest { min_hold_ms: Some(5_000), ..ask("job", "ann") };
    let ann = book.acquire_as(brief).unwrap().token;
    book.release("job", &ann).unwrap();
    let answers = while_parked(&book, 1, vec![(waiting(10_000), acquire("job", "ben"))], || {
        book.advance(4_999);
        assert_eq!(state(&book, "job"), LockState::Resting);
        book.advance(1);
    });
    assert!(answers[0].result.is_ok());
    assert_eq!(state(&book, "job"), LockState::Held);
}

#[test]
fn undelivered_grant_uses_no_period_up() {
    let book = book();
    let ann = book.acquire_as(once_a_day("job", "ann")).unwrap().token;
    book.do_it(cashbox::internals::command::ReleaseUndelivered(ann)).result.unwrap();
    assert_eq!(state(&book, "job"), LockState::Free);
}
