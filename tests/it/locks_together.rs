//! Several locks under one token: granted together or not at all, renewed and given back together, lost together.

use crate::harness::*;
use crate::locks::{EXPIRE, history, renew, revoke, state};
use cashbox::internals::error::ErrorName;
use cashbox::internals::lock::LockState;
use cashbox::internals::lock::event::LockEventKind;
use cashbox::internals::lock::lease::{GrantOrigin, ReleaseRequest};

#[test]
fn group_of_locks_is_granted_whole_or_not() {
    let book = book();
    let ben = book.acquire("b", "ben").unwrap().token;
    assert_eq!(book.acquire("a b c", "ann").unwrap_err().name, ErrorName::Locked);
    assert_eq!((state(&book, "a"), state(&book, "c")), (LockState::Free, LockState::Free));
    book.release("b", &ben).unwrap();
    let ann = book.acquire("a b c", "ann").unwrap().token;
    let fences: Vec<_> = ["a", "b", "c"].iter().map(|id| book.lock(id).unwrap().fence).collect();
    assert_eq!(fences, [ann.fence; 3]);
    assert_eq!(book.acquire("a b c", "ann").unwrap().origin, GrantOrigin::Replayed);
    book.advance(10);
    assert_eq!(renew(&book, "", &ann, None).unwrap().expires_in_ms, EXPIRE);
    assert!(["a", "b", "c"].iter().all(|id| book.lock(id).unwrap().renewals == 1));
    for _ in 0..2 {
        book.do_it(ReleaseRequest { id: None, token: ann.clone() }).result.unwrap();
        assert!(["a", "b", "c"].iter().all(|id| state(&book, id) == LockState::Free));
    }
    book.assert_sound();
}

#[test]
fn rest_of_group_is_released_together() {
    let book = book();
    let ann = book.acquire("a b", "ann").unwrap().token;
    book.release("a", &ann).unwrap();
    book.do_it(ReleaseRequest { id: None, token: ann.clone() }).result.unwrap();
    assert_eq!(state(&book, "b"), LockState::Free, "a release that succeeds has given everything back");
}

#[test]
fn release_of_group_frees_rest_and_names_lost() {
    let book = book();
    let ann = book.acquire("a b c", "ann").unwrap().token;
    revoke(&book, "b", ann.fence.0, Some(60_000)).unwrap();
    let before = book.number("SELECT clock_ms FROM lock_seq");
    let give_up = || book.do_it(ReleaseRequest { id: None, token: ann.clone() }).result.unwrap_err();
    let lost = give_up();
    assert_eq!(
        (lost.name, fact(&lost, "ended"), fact(&lost, "lock")),
        (ErrorName::LockLost, &"revoked".into(), &"b".into())
    );
    assert_eq!(["a", "b", "c"].map(|id| state(&book, id)), [LockState::Free, LockState::Revoked, LockState::Free]);
    assert_eq!(history(&book, "a").pop().unwrap().kind, LockEventKind::Released);
    let ben = book.acquire("a", "ben").unwrap().token;
    book.advance(1);
    assert_eq!(give_up(), lost, "a repeat gets the same");
    assert!(book.lock("a").is_some(), "and does not touch the next holder's lease");
    assert_eq!(book.number("SELECT clock_ms FROM lock_seq"), before);
    assert_eq!(book.release("c", &ann), Ok(()), "what was given back was given back");
    book.release("a", &ben).unwrap();
    book.assert_sound();
}

#[test]
fn group_token_is_refused_after_losing_one_lock() {
    let book = check("recharge alice 10 |");
    let ann = book.acquire("other wallet/alice", "ann").unwrap().token;
    book.submit(under(&ann), withdraw("alice", "1")).result.unwrap();
    revoke(&book, "other", 1, None).unwrap();
    assert_eq!(name(&book.submit(under(&ann), withdraw("alice", "1")).result), ErrorName::LockLost);
    assert_eq!(renew(&book, "", &ann, None).unwrap_err().name, ErrorName::LockLost);
    assert_eq!(book.balance("alice"), "9.00");
}
