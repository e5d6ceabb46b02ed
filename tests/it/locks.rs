//! The lock table: acquiring, keeping, writing under a lock; several locks under one token; events. Time is moved by hand.

use crate::harness::*;
use cashbox::internals::error::{Error, ErrorName};
use cashbox::internals::id::{Fence, LockToken};
use cashbox::internals::lock::event::{LockEvent, LockEventKind, of_lock as events};
use cashbox::internals::lock::lease::{
    AcquireRequest, GrantOrigin, ReleaseRequest, RenewRequest, Renewed, RevokeRequest,
};
use cashbox::internals::lock::{Lock, LockState};
use cashbox::internals::store::OpenMode;

pub const EXPIRE: i64 = 60_000;
pub const GRACE: i64 = 5_000;

pub fn renew(book: &Book, id: &str, token: &LockToken, expire_ms: Option<i64>) -> Result<Renewed, Error> {
    let id = (!id.is_empty()).then(|| lock_id(id));
    book.do_it(RenewRequest { id, token: token.clone(), expire_ms }).result
}

pub fn revoke(book: &Book, id: &str, fence: i64, delay_ms: Option<i64>) -> Result<Lock, Error> {
    let reason = Some("because".to_owned());
    book.do_it(RevokeRequest { id: lock_id(id), fence: Fence(fence), delay_ms, reason }).result
}

pub fn history(book: &Book, id: &str) -> Vec<LockEvent> {
    let mut events = book.read(|tx| events(tx, &lock_id(id), i64::MAX, 100)).unwrap();
    events.reverse();
    events
}

pub fn state(book: &Book, id: &str) -> LockState {
    book.lock(id).map_or(LockState::Free, |lock| lock.state(book.lease_ms()))
}

#[test]
fn lock_has_one_holder_and_refusal_names_it() {
    let book = book();
    let grant = book.acquire("job", "ann").unwrap();
    assert_eq!((grant.origin, grant.expires_in_ms, grant.previous), (GrantOrigin::Created, EXPIRE, None));
    book.advance(1_000);
    let refused = book.acquire("job", "ben").unwrap_err();
    assert_eq!(refused.name, ErrorName::Locked);
    assert_eq!(fact(&refused, "holder"), "ann");
    assert_eq!(fact(&refused, "fence"), 1);
    assert_eq!(fact(&refused, "state"), "held");
    assert_eq!(fact(&refused, "queue"), 0);
    assert!(book.acquire("Job", "ben").is_ok(), "ids are case-sensitive");
    book.release("job", &grant.token).unwrap();
    assert_eq!(state(&book, "job"), LockState::Free);
    assert_eq!(book.acquire("job", "ben").unwrap().origin, GrantOrigin::Created);
    book.assert_sound();
}

#[test]
fn expired_lease_is_in_grace_then_stale() {
    let book = book();
    book.acquire("job", "ann").unwrap();
    book.advance(EXPIRE - 1);
    assert_eq!(state(&book, "job"), LockState::Held);
    book.advance(1);
    assert_eq!(state(&book, "job"), LockState::Grace);
    assert_eq!(fact(&book.acquire("job", "ben").unwrap_err(), "state"), "grace");
    book.advance(GRACE - 1);
    assert_eq!(book.acquire("job", "ben").unwrap_err().name, ErrorName::Locked);
    book.advance(1);
    assert_eq!(state(&book, "job"), LockState::Stale);
    let grant = book.acquire("job", "ben").unwrap();
    assert_eq!((grant.origin, grant.expires_in_ms), (GrantOrigin::TakenOver, EXPIRE));
    let previous = grant.previous.unwrap();
    assert_eq!((previous.fence, previous.holder.as_str()), (Fence(1), "ann"));
    book.assert_sound();
}

#[test]
fn expired_lease_without_grace_is_stale_at_once() {
    let book = book();
    book.acquire_as(AcquireRequest { grace_ms: 0, expire_ms: 1, ..ask("job", "ann") }).unwrap();
    assert!(book.acquire("job", "ben").is_err());
    book.advance(1);
    assert_eq!(book.acquire("job", "ben").unwrap().origin, GrantOrigin::TakenOver);
}

#[test]
fn fences_grow_across_all_changes_and_reopening() {
    let mut book = book();
    let first = book.acquire("job", "one").unwrap();
    book.release("job", &first.token).unwrap();
    let second = book.acquire("job", "two").unwrap();
    book.advance(EXPIRE + GRACE);
    let third = book.acquire("job", "three").unwrap();
    revoke(&book, "job", third.token.fence.0, Some(0)).unwrap();
    let revoked = book.lock("job").unwrap().fence;
    book.reopen();
    let fifth = book.acquire("job", "five").unwrap();
    let other = book.acquire("other", "six").unwrap();
    let fences = [first.token.fence, second.token.fence, third.token.fence, revoked, fifth.token.fence];
    assert!(fences.is_sorted_by(|a, b| a < b) && other.token.fence > fifth.token.fence, "{fences:?}");
    let events: Vec<_> = history(&book, "job").iter().map(|event| (event.kind, event.fence.0)).collect();
    use LockEventKind::*;
    let expected = [(Created, 1), (Released, 1), (Created, 2), (TakenOver, 3), (Revoked, 4), (TakenOver, 5)];
    assert_eq!(events, expected);
    book.assert_sound();
}

#[test]
fn late_renewal_counts_until_takeover() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    book.advance(EXPIRE - 1);
    assert_eq!(renew(&book, "job", &ann, None), Ok(Renewed { expires_in_ms: EXPIRE, late: false }));
    book.advance(EXPIRE);
    assert_eq!(renew(&book, "job", &ann, None), Ok(Renewed { expires_in_ms: EXPIRE, late: true }));
    book.advance(10 * EXPIRE);
    assert_eq!(renew(&book, "job", &ann, Some(5)), Ok(Renewed { expires_in_ms: 5, late: true }));
    assert_eq!(book.lock("job").unwrap().renewals, 3);
    book.advance(5 + GRACE);
    book.acquire("job", "ben").unwrap();
    assert_eq!(renew(&book, "job", &ann, None).unwrap_err().name, ErrorName::LockLost);
    book.assert_sound();
}

#[test]
fn two_answers_of_three_keep_lock() {
    let book = book();
    let ann = book.acquire_as(AcquireRequest { grace_ms: 0, ..ask("job", "ann") }).unwrap().token;
    for third in 1..=60 {
        for _ in 0..10 {
            book.advance(EXPIRE / 30);
            assert_eq!(book.acquire("job", "ben").unwrap_err().name, ErrorName::Locked);
        }
        if third % 3 != 0 {
            assert_eq!(renew(&book, "job", &ann, None), Ok(Renewed { expires_in_ms: EXPIRE, late: false }));
        }
    }
}

#[test]
fn renewal_beyond_max_hold_is_refused() {
    let book = book();
    let ann = book.acquire_as(AcquireRequest { max_hold_ms: Some(100_000), ..ask("job", "ann") }).unwrap().token;
    book.advance(50_000);
    assert_eq!(renew(&book, "job", &ann, None).unwrap().expires_in_ms, 50_000);
    book.advance(49_999);
    assert_eq!(renew(&book, "job", &ann, None).unwrap().expires_in_ms, 1);
    book.advance(1);
    assert_eq!(renew(&book, "job", &ann, None).unwrap_err().name, ErrorName::MaxHold);
    assert!(book.acquire("job", "ben").is_err(), "the grace is still the holder's");
    book.release("job", &ann).unwrap();
}

#[test]
fn same_secret_asked_again_is_same_grant() {
    let mut book = book();
    let first = book.acquire("job", "ann").unwrap();
    book.advance(10_000);
    book.reopen();
    let before = book.lock("job");
    let again = book.acquire("job", "ann").unwrap();
    assert_eq!(
        (again.origin, &again.token, again.expires_in_ms),
        (GrantOrigin::Replayed, &first.token, EXPIRE - 10_000)
    );
    assert_eq!(book.lock("job"), before, "a repeat changes nothing");
    assert_eq!(history(&book, "job").len(), 1);
    book.advance(2 * EXPIRE);
    assert_eq!(book.acquire("job", "ann").unwrap().expires_in_ms, 0, "late, and not taken over");
}

#[test]
fn secret_of_ended_lease_is_never_new_grant() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    book.release("job", &ann).unwrap();
    let lost = book.acquire("job", "ann").unwrap_err();
    assert_eq!(lost.name, ErrorName::LockLost);
    assert_eq!(fact(&lost, "ended"), "released");
    assert_eq!(state(&book, "job"), LockState::Free);
    book.acquire("job", "ben").unwrap();
    assert_eq!(book.acquire("job", "ann").unwrap_err().name, ErrorName::LockLost);
    assert!(book.acquire("other", "ann").is_ok(), "of another lock it is a new secret");
}

#[test]
fn repeated_release_is_accepted() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    for _ in 0..3 {
        assert_eq!(book.release("job", &ann), Ok(()));
    }
    let ben = book.acquire("job", "ben").unwrap().token;
    assert_eq!(book.release("job", &ann), Ok(()));
    assert!(book.lock("job").is_some(), "the repeat did not touch the next holder's lease");
    let forged = LockToken { secret: secret("eve"), ..ben.clone() };
    let older = LockToken { fence: Fence(1), ..ben.clone() };
    let elsewhere = LockToken { incarnation: "other".to_owned(), ..ben };
    for wrong in [forged, older, elsewhere] {
        assert_eq!(book.release("job", &wrong).unwrap_err().name, ErrorName::LockLost);
        assert_eq!(renew(&book, "job", &wrong, None).unwrap_err().name, ErrorName::LockLost);
    }
}

#[test]
fn lost_lock_refusal_says_how_and_when() {
    let book = book();
    let at = |book: &Book| cashbox::internals::clock::rfc3339(book.clock.wall_ms());
    let ann = book.acquire("job", "ann").unwrap().token;
    book.advance(EXPIRE + GRACE);
    let ben = book.acquire("job", "ben").unwrap().token;
    let lost = renew(&book, "job", &ann, None).unwrap_err();
    assert_eq!(fact(&lost, "ended"), "taken_over");
    assert_eq!(fact(&lost, "at"), &at(&book));
    assert_eq!((fact(&lost, "fence_given"), fact(&lost, "fence_now")), (&1.into(), &2.into()));
    assert_eq!(book.release("job", &ann).unwrap_err(), lost, "a release says the same");

    revoke(&book, "job", 2, None).unwrap();
    let revoked_at = at(&book);
    book.advance(3);
    for lost in [renew(&book, "job", &ben, None).unwrap_err(), book.release("job", &ben).unwrap_err()] {
        assert_eq!((fact(&lost, "ended"), fact(&lost, "at")), (&"revoked".into(), &revoked_at.clone().into()));
    }
    book.advance(10_000);
    let cat = book.acquire("job", "cat").unwrap().token;
    book.release("job", &cat).unwrap();
    let lost = renew(&book, "job", &cat, None).unwrap_err();
    assert_eq!((fact(&lost, "ended"), fact(&lost, "fence_now")), (&"released".into(), &serde_json::Value::Null));
}

#[test]
fn revoke_ends_only_lease_that_was_seen() {
    let book = book();
    assert_eq!(revoke(&book, "job", 1, None).unwrap_err().name, ErrorName::LockNotFound);
    book.acquire("job", "ann").unwrap();
    let changed = revoke(&book, "job", 7, None).unwrap_err();
    assert_eq!((changed.name, fact(&changed, "fence")), (ErrorName::LockChanged, &1.into()));
    revoke(&book, "job", 1, Some(20)).unwrap();
    let revoked = book.lock("job");
    assert!(revoke(&book, "job", 1, Some(20)).is_ok() && book.lock("job") == revoked, "a repeat changes nothing");
    assert_eq!(revoke(&book, "job", 1, Some(0)).unwrap_err().name, ErrorName::LockChanged);
    assert_eq!(revoke(&book, "job", 2, Some(0)).unwrap_err().name, ErrorName::LockChanged, "it is nobody's any more");
    let event = history(&book, "job").pop().unwrap();
    assert_eq!(
        (event.kind, event.previous_fence, event.reason.as_deref()),
        (LockEventKind::Revoked, Some(Fence(1)), Some("because"))
    );
}

#[test]
fn revoked_lock_stays_taken_for_delay() {
    for (delay, grace, expected) in
        [(Some(0), GRACE, 0), (Some(7), GRACE, 7), (None, GRACE, 10_000), (None, 30_000, 30_000)]
    {
        let book = book();
        book.acquire_as(AcquireRequest { grace_ms: grace, ..ask("job", "ann") }).unwrap();
        revoke(&book, "job", 1, delay).unwrap();
        if expected > 0 {
            book.advance(expected - 1);
            assert_eq!(state(&book, "job"), LockState::Revoked);
            assert_eq!(fact(&book.acquire("job", "ben").unwrap_err(), "state"), "revoked");
            book.advance(1);
        }
        assert_eq!(book.acquire("job", "ben").unwrap().origin, GrantOrigin::TakenOver, "after {delay:?}");
    }
}

#[test]
fn reading_locks_changes_nothing() {
    let book = book();
    book.acquire("job", "ann").unwrap();
    let eye = book.raw();
    let version = || eye.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    book.clock.advance_ms(EXPIRE + GRACE);
    assert_eq!(state(&book, "job"), LockState::Stale);
    history(&book, "job");
    book.read(|tx| cashbox::internals::lock::list(tx, &Default::default(), "", 10)).unwrap();
    assert_eq!(version(), before);
}

#[test]
fn step_of_wall_clock_leaves_leases() {
    for step in [-400 * 86_400_000, 400 * 86_400_000] {
        let book = book_with(|options| options.accept_clock = true);
        let ann = book.acquire("job", "ann").unwrap().token;
        book.clock.step_wall_ms(step);
        book.look_at_time();
        assert_eq!(book.acquire("job", "ben").unwrap_err().name, ErrorName::Locked);
        assert_eq!(renew(&book, "job", &ann, None), Ok(Renewed { expires_in_ms: EXPIRE, late: false }));
        book.advance(EXPIRE + GRACE);
        assert_eq!(book.acquire("job", "ben").unwrap().origin, GrantOrigin::TakenOver);
        book.assert_sound();
    }
}

#[test]
fn lease_time_goes_on_after_reboot() {
    let mut book = book();
    book.advance(1_000_000);
    let ann = book.acquire("job", "ann").unwrap().token;
    book.advance(10_000);
    renew(&book, "job", &ann, None).unwrap();
    let before = book.lease_ms();
    book.close();
    book.clock.reboot();
    book.open();
    assert_eq!(book.lease_ms(), before);
    assert_eq!(book.acquire("job", "ben").unwrap_err().name, ErrorName::Locked);
    book.advance(EXPIRE + GRACE - 1);
    assert!(book.acquire("job", "ben").is_err());
    book.advance(1);
    assert_eq!(book.acquire("job", "ben").unwrap().origin, GrantOrigin::TakenOver);
    book.assert_sound();
}

#[test]
fn file_refuses_other_secret_under_same_fence() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    let raw = book.raw();
    for change in ["secret_hash = zeroblob(32)", "id = 'other'"] {
        let refused = raw.execute(&format!("UPDATE lock SET {change}"), []).unwrap_err();
        assert!(refused.to_string().contains("a higher fence"), "{change}: {refused}");
    }
    renew(&book, "job", &ann, None).unwrap();
    raw.execute("UPDATE lock SET secret_hash = NULL", []).unwrap();
    let given = raw.execute("UPDATE lock SET secret_hash = zeroblob(32)", []);
    assert!(given.is_err(), "a lock without a holder gets one by a higher fence alone");
}

#[test]
fn time_since_reboot_counts_on_same_machine_only() {
    for same_machine in [true, false] {
        let mut book = book();
        book.advance(1_000_000);
        book.acquire("job", "ann").unwrap();
        let before = book.lease_ms();
        book.close();
        if same_machine {
            book.clock.reboot();
            book.clock.advance_ms(EXPIRE + GRACE);
        } else {
            book.clock.move_to_other_machine(EXPIRE + GRACE);
        }
        book.open();
        assert_eq!(book.lease_ms() - before, if same_machine { EXPIRE + GRACE } else { 0 });
        let taken = book.acquire("job", "ben");
        assert_eq!(taken.is_ok(), same_machine, "a machine that was on before gives no lease away");
        book.close();
        book.open();
        assert_eq!(book.lease_ms() - before, if same_machine { EXPIRE + GRACE } else { 0 }, "counted once");
        book.assert_sound();
    }
}

#[test]
fn file_ahead_of_boot_time_goes_on_at_once() {
    let mut book = book();
    book.acquire("job", "ann").unwrap();
    book.close();
    book.raw().execute("UPDATE lock_seq SET clock_ms = clock_ms + 1000000", []).unwrap();
    let stored = book.number("SELECT clock_ms FROM lock_seq");
    book.open();
    assert_eq!(book.lease_ms(), stored);
    book.advance(1);
    assert_eq!(book.acquire("job", "ben").unwrap().origin, GrantOrigin::TakenOver);
    assert_eq!(book.number("SELECT clock_ms FROM lock_seq"), stored + 1);
}

#[test]
fn starting_server_restores_lease_once_per_renewal() {
    let mut book = book_with(|options| options.mode = OpenMode::Server);
    let left = |book: &Book, id: &str| book.lock(id).unwrap().expires() - book.lease_ms();
    let ann = book.acquire("plain", "ann").unwrap().token;
    book.acquire_as(AcquireRequest { max_hold_ms: Some(70_000), ..ask("bounded", "ben") }).unwrap();
    book.acquire("revoked", "cat").unwrap();
    revoke(&book, "revoked", 3, Some(60_000)).unwrap();
    book.acquire_as(AcquireRequest { expire_ms: 1_000, grace_ms: 0, ..ask("stale", "dan") }).unwrap();
    book.advance(50_000);
    book.reopen();
    assert_eq!((left(&book, "plain"), left(&book, "bounded")), (EXPIRE, 20_000));
    assert_eq!(state(&book, "stale"), LockState::Stale);
    book.advance(10_000);
    book.reopen();
    assert_eq!((left(&book, "plain"), left(&book, "bounded")), (EXPIRE - 10_000, 10_000));
    assert_eq!(state(&book, "revoked"), LockState::Stale);
    renew(&book, "plain", &ann, None).unwrap();
    book.advance(10_000);
    book.reopen();
    assert_eq!(left(&book, "plain"), EXPIRE);
    book.assert_sound();
}

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
        book.do_it(ReleaseRequest { id: None, token: ann.clone(), min_hold_ms: None }).result.unwrap();
        assert!(["a", "b", "c"].iter().all(|id| state(&book, id) == LockState::Free));
    }
    book.assert_sound();
}

#[test]
fn rest_of_group_is_released_together() {
    let book = book();
    let ann = book.acquire("a b", "ann").unwrap().token;
    book.release("a", &ann).unwrap();
    book.do_it(ReleaseRequest { id: None, token: ann.clone(), min_hold_ms: None }).result.unwrap();
    assert_eq!(state(&book, "b"), LockState::Free, "a release that succeeds has given everything back");
}

#[test]
fn release_of_group_frees_rest_and_names_lost() {
    let book = book();
    let ann = book.acquire("a b c", "ann").unwrap().token;
    revoke(&book, "b", ann.fence.0, Some(60_000)).unwrap();
    let before = book.number("SELECT clock_ms FROM lock_seq");
    let give_up = || book.do_it(ReleaseRequest { id: None, token: ann.clone(), min_hold_ms: None }).result.unwrap_err();
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

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Acquires and releases the lock that many times: two events each.
fn used(book: &Book, id: &str, times: usize) {
    let first = book.number("SELECT fence FROM lock_seq") + 1;
    let pairs = (first..).take(times).flat_map(|fence| {
        let name = format!("{id}{fence}");
        let token = book.token(fence, &name);
        [acquire(id, &name), ReleaseRequest { id: Some(lock_id(id)), token, min_hold_ms: None }.into()]
    });
    let answers =
        book.submit_all(pairs.map(|command| (cashbox::internals::store::Envelope::local(), command)).collect());
    assert!(answers.iter().all(|answer| answer.result.is_ok()));
}

fn count(book: &Book, id: &str) -> i64 {
    book.number(&format!("SELECT count(*) FROM lock_event WHERE lock_id = '{id}'"))
}

/// The number of events after each of the steps.
fn swept(book: &Book, id: &str, steps: usize) -> Vec<i64> {
    let step = |_| {
        book.advance(50);
        book.must(recharge("bob", "1"));
        count(book, id)
    };
    (0..steps).map(step).collect()
}

#[test]
fn old_events_beyond_thousand_are_swept_in_steps() {
    let book = book();
    used(&book, "busy", 520);
    used(&book, "quiet", 2);
    book.clock.advance_ms(30 * DAY_MS - 50); // nothing reads before `swept` does
    assert_eq!(swept(&book, "busy", 1), [1_040], "thirty days old is not older than that");
    book.clock.advance_ms(HOUR_MS - 50); // the sweeper rests after each round
    let left = swept(&book, "busy", 4);
    assert_eq!(left, [1_024, 1_008, 1_000, 1_000], "sixteen a step, and never fewer than a thousand are left");
    for _ in 0..2 {
        swept(&book, "busy", 80);
        book.advance(HOUR_MS);
    }
    assert_eq!((count(&book, "busy"), count(&book, "quiet")), (1_000, 4));
    assert_eq!(book.acquire("busy", "next").unwrap().token.fence.0, 523, "fences do not come from the events");
    book.assert_sound();
}

#[test]
fn young_events_and_live_leases_are_kept() {
    let book = book();
    let ann = book.acquire("job", "ann").unwrap().token;
    used(&book, "busy", 520);
    book.advance(29 * DAY_MS);
    used(&book, "busy", 520);
    book.advance(2 * DAY_MS);
    for _ in 0..2 {
        swept(&book, "busy", 140);
        book.advance(HOUR_MS);
    }
    assert_eq!(count(&book, "busy"), 1_040, "the older half is gone, the younger is all there");
    let again = book.acquire("job", "ann").unwrap();
    assert_eq!((again.origin, again.token), (GrantOrigin::Replayed, ann));
    book.assert_sound();
}

#[test]
fn event_dated_by_wrong_clock_stays_harmless() {
    let book = book_with(|options| options.accept_clock = true);
    used(&book, "busy", 5);
    book.clock.step_wall_ms(400 * DAY_MS);
    used(&book, "busy", 1);
    book.clock.step_wall_ms(-400 * DAY_MS);
    used(&book, "busy", 514);
    book.advance(31 * DAY_MS);
    swept(&book, "busy", 80);
    assert_eq!(count(&book, "busy"), 1_002, "all beyond the thousand but the grant and the release of next year");
}

#[test]
fn database_refuses_changing_kept_events() {
    let book = book();
    used(&book, "busy", 501);
    let raw = book.raw();
    assert!(raw.execute("DELETE FROM lock_event WHERE seq = 3", []).is_err());
    assert_eq!(raw.execute("DELETE FROM lock_event WHERE seq <= 2", []).unwrap(), 2);
    assert!(raw.execute("UPDATE lock_event SET holder = 'eve' WHERE seq = 9", []).is_err());
}
