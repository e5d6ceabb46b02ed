//! One of several locks: N holders, one queue for each lock, served in turn.

use crate::harness::*;
use crate::locks::{EXPIRE, GRACE, renew, state};
use crate::waiting::while_parked;
use cashbox::internals::command::{Command, Receipt};
use cashbox::internals::error::ErrorName;
use cashbox::internals::lock::LockState;
use cashbox::internals::lock::lease::{AcquireRequest, Grant, GrantOrigin};
use cashbox::internals::store::{Envelope, Outcome};

fn any(ids: &str, secret: &str) -> AcquireRequest {
    AcquireRequest { any: true, ..ask(ids, secret) }
}

fn waits_for_any(ids: &str, secret: &str) -> (Envelope, Command) {
    (waiting(10_000), any(ids, secret).into())
}

fn granted(outcome: &Outcome) -> Grant {
    match &outcome.result {
        Ok(Receipt::Granted(grant)) => grant.clone(),
        other => panic!("a grant, not {other:?}"),
    }
}

const GPUS: &str = "gpu/1 gpu/2 gpu/3";

#[test]
fn first_of_locks_in_order_of_preference_is_granted() {
    let book = book();
    let ids = |grant: &Grant| grant.ids.iter().map(|id| id.to_string()).collect::<Vec<_>>();
    let ann = book.acquire_as(any("gpu/2 gpu/1", "ann")).unwrap();
    assert_eq!((ids(&ann), ann.origin), (vec!["gpu/2".to_owned()], GrantOrigin::Created));
    let ben = book.acquire_as(any("gpu/2 gpu/1", "ben")).unwrap();
    assert_eq!(ids(&ben), ["gpu/1"]);
    book.advance(1_000);
    renew(&book, "gpu/2", &ann.token, None).unwrap();
    let refused = book.acquire_as(any("gpu/2 gpu/1", "cat")).unwrap_err();
    assert_eq!(
        (refused.name, fact(&refused, "lock")),
        (ErrorName::Locked, &"gpu/1".into()),
        "the one that is free soonest"
    );
    assert_eq!(fact(&refused, "free_in_ms").as_i64(), Some(EXPIRE + GRACE - 1_000));
    book.release("gpu/1", &ben.token).unwrap();
    assert_eq!((state(&book, "gpu/1"), state(&book, "gpu/2")), (LockState::Free, LockState::Held));
    book.advance(EXPIRE + GRACE);
    let dan = book.acquire_as(any("gpu/2 gpu/1", "dan")).unwrap();
    assert_eq!((dan.origin, dan.previous.unwrap().holder), (GrantOrigin::TakenOver, "ann".to_owned()));
    book.assert_sound();
}

#[test]
fn same_secret_for_any_is_same_grant_until_its_end() {
    let book = book();
    let ann = book.acquire_as(any(GPUS, "ann")).unwrap();
    let again = book.acquire_as(any("gpu/3 gpu/1", "ann")).unwrap();
    assert_eq!((again.ids, again.token.clone(), again.origin), (ann.ids, ann.token.clone(), GrantOrigin::Replayed));
    assert_eq!((state(&book, "gpu/2"), state(&book, "gpu/3")), (LockState::Free, LockState::Free));
    book.release("gpu/1", &ann.token).unwrap();
    assert_eq!(name(&book.acquire_as(any(GPUS, "ann"))), ErrorName::LockLost);
    book.acquire("gpu/1 gpu/2", "ben").unwrap();
    assert_eq!(name(&book.acquire_as(any(GPUS, "ben"))), ErrorName::InvalidRequest);
    assert_eq!(name(&book.acquire_as(any("wallet/ann", "cat"))), ErrorName::InvalidRequest);
    assert_eq!(name(&book.acquire_as(any("gpu/3 wallet/ann", "cat"))), ErrorName::InvalidRequest);
    let rests = AcquireRequest { min_hold_ms: Some(1), ..any(GPUS, "cat") };
    assert_eq!(name(&book.acquire_as(rests)), ErrorName::InvalidRequest);
    book.assert_sound();
}

#[test]
fn waiters_for_any_are_served_in_turn() {
    let book = book();
    let holders = ["ann", "ben", "cat"].map(|name| book.acquire_as(any(GPUS, name)).unwrap());
    let sent = vec![
        waits_for_any(GPUS, "dan"),
        waits_for_any("gpu/3 gpu/2 gpu/1", "eve"),
        (waiting(10_000), acquire("gpu/2", "fay")),
        waits_for_any(GPUS, "gus"),
    ];
    let answers = while_parked(&book, 4, sent, || {
        let give_back = |place: usize| book.release(holders[place].ids[0].as_str(), &holders[place].token).unwrap();
        give_back(2);
        book.until_parked(3);
        give_back(1);
        book.until_parked(2);
        assert_eq!(name(&book.acquire_as(any(GPUS, "newcomer"))), ErrorName::Locked);
        give_back(0);
        book.until_parked(1);
        book.release("gpu/2", &book.token(5, "eve")).unwrap();
    });
    let of = |place: usize| granted(&answers[place]).ids[0].to_string();
    assert_eq!([of(0), of(1), of(2), of(3)], ["gpu/3", "gpu/2", "gpu/2", "gpu/1"]);
    book.assert_sound();
}

#[test]
fn waiter_for_any_gets_first_lock_that_turns_stale() {
    let book = book();
    let ann = book.acquire_as(any(GPUS, "ann")).unwrap();
    book.acquire_as(any(GPUS, "ben")).unwrap();
    book.acquire_as(any(GPUS, "cat")).unwrap();
    book.advance(60_000);
    renew(&book, "gpu/1", &ann.token, None).unwrap();
    let answers = while_parked(&book, 3, ["dan", "eve", "fay"].map(|name| waits_for_any(GPUS, name)).into(), || {
        book.advance(4_999);
        book.until_parked(3);
        book.advance(1);
        book.until_parked(1);
        book.advance(5_000);
    });
    let (dan, eve) = (granted(&answers[0]), granted(&answers[1]));
    assert_eq!((dan.ids[0].as_str(), eve.ids[0].as_str()), ("gpu/2", "gpu/3"));
    assert_eq!((dan.origin, eve.origin), (GrantOrigin::TakenOver, GrantOrigin::TakenOver));
    let refused = answers[2].result.as_ref().unwrap_err();
    assert_eq!((fact(refused, "lock"), fact(refused, "waited_ms")), (&"gpu/1".into(), &10_000.into()));
    book.assert_sound();
}
