//! Money under a lock: the lease that an entry is made under, and what is in the way of one.

use crate::harness::*;
use crate::locks::{EXPIRE, GRACE, history, renew, revoke, state};
use cashbox::internals::command::Receipt;
use cashbox::internals::error::ErrorName;
use cashbox::internals::lock::LockState;
use cashbox::internals::lock::event::LockEventKind;
use cashbox::internals::store::Envelope;

#[test]
fn entry_under_lock_carries_fence() {
    let book = check(
        "
        recharge alice 10 |
        recharge bob   10 |
        ",
    );
    let ann = book.acquire("wallet/alice", "ann").unwrap().token;
    let entry = moved(book.submit(under(&ann), withdraw("alice", "1")).result.unwrap()).entry;
    assert_eq!(entry.fence, Some(ann.fence));
    let entry = moved(book.submit(under(&ann), transfer("bob", "alice", "1")).result.unwrap()).entry;
    assert_eq!(entry.fence, Some(ann.fence));
    let refused = book.do_it(withdraw("alice", "1")).result.unwrap_err();
    assert_eq!((refused.name, fact(&refused, "holder")), (ErrorName::Locked, &"ann".into()));
    assert_eq!(name(&book.do_it(transfer("bob", "alice", "1")).result), ErrorName::Locked);
    assert_eq!(name(&book.do_it(refund(1, None)).result), ErrorName::Locked);
    assert_eq!(name(&book.do_it(batch(vec![withdraw("bob", "1"), withdraw("alice", "1")])).result), ErrorName::Locked);
    assert!(moved(book.must(withdraw("bob", "1"))).entry.fence.is_none());
    book.advance(EXPIRE + GRACE + 1);
    let late = moved(book.submit(under(&ann), withdraw("alice", "1")).result.unwrap()).entry;
    assert_eq!(late.fence, Some(ann.fence), "time never decides who may write");
    book.release("wallet/alice", &ann).unwrap();
    assert_eq!(name(&book.submit(under(&ann), withdraw("alice", "1")).result), ErrorName::LockLost);
    assert_eq!((book.balance("alice").as_str(), book.balance("bob").as_str()), ("9.00", "8.00"));
    book.assert_sound();
}

#[test]
fn entry_names_lease_of_wallet_or_job() {
    let book = check(
        "
        recharge alice 10 |
        recharge bob   10 |
        ",
    );
    let alice = book.acquire("wallet/alice", "ann").unwrap().token;
    let fence_of = |envelope: Envelope, command| moved(book.submit(envelope, command).result.unwrap()).entry.fence;
    assert_eq!(fence_of(under(&alice), withdraw("bob", "1")), None, "a lease of another wallet guards nothing here");
    let job = book.acquire("nightly", "job").unwrap().token;
    assert_eq!(fence_of(under(&job), withdraw("bob", "1")), Some(job.fence));
    let both = Envelope { tokens: vec![alice.clone(), job.clone()], ..Envelope::local() };
    assert_eq!(fence_of(both.clone(), withdraw("bob", "1")), Some(job.fence));
    assert_eq!(fence_of(both, withdraw("alice", "1")), Some(alice.fence));
    book.assert_sound();
}

#[test]
fn batch_entry_names_lease_of_its_own_wallet() {
    let book = check(
        "
        recharge alice 10 |
        recharge bob   10 |
        recharge carol 10 |
        ",
    );
    let (alice, bob) =
        (book.acquire("wallet/alice", "a").unwrap().token, book.acquire("wallet/bob", "b").unwrap().token);
    let tokens = vec![alice.clone(), bob.clone()];
    let all = ["alice", "bob", "carol"].map(|user| withdraw(user, "1")).to_vec();
    let done = book.submit(Envelope { tokens, ..Envelope::local() }, batch(all)).result.unwrap();
    let Receipt::Batch(receipts) = done else { panic!("{done:?}") };
    let fences: Vec<_> = receipts.into_iter().map(|moved| moved.entry.fence).collect();
    assert_eq!(fences, [Some(alice.fence), Some(bob.fence), None]);
    book.assert_sound();
}

#[test]
fn stale_lock_is_cleared_by_money_and_recorded() {
    let book = check("recharge alice 10 |");
    let ann = book.acquire("wallet/alice", "ann").unwrap().token;
    book.advance(EXPIRE + GRACE - 1);
    assert_eq!(name(&book.do_it(withdraw("alice", "1")).result), ErrorName::Locked);
    book.advance(1);
    assert_eq!(name(&book.do_it(withdraw("alice", "99")).result), ErrorName::InsufficientFunds);
    assert!(book.lock("wallet/alice").is_some(), "what is refused changes nothing");
    book.submit(by("tok-7", Envelope::local()), withdraw("alice", "1")).result.unwrap();
    assert_eq!(state(&book, "wallet/alice"), LockState::Free);
    let events: Vec<_> = history(&book, "wallet/alice").into_iter().map(|e| (e.kind, e.fence.0, e.by)).collect();
    let by = "tok-7".to_owned();
    assert_eq!(events[1..], [(LockEventKind::TakenOver, 2, by.clone()), (LockEventKind::Released, 2, by)]);
    let lost = renew(&book, "wallet/alice", &ann, None).unwrap_err();
    assert_eq!(fact(&lost, "ended"), "taken_over");
    book.assert_sound();
}

#[test]
fn money_under_lost_token_says_how_it_was_lost() {
    let book = check("recharge alice 10 |");
    let ann = book.acquire("wallet/alice", "ann").unwrap().token;
    revoke(&book, "wallet/alice", 1, Some(0)).unwrap();
    let lost = book.submit(under(&ann), withdraw("alice", "1")).result.unwrap_err();
    assert_eq!((lost.name, fact(&lost, "ended")), (ErrorName::LockLost, &"revoked".into()));
    assert_eq!(book.balance("alice"), "10.00");
}
