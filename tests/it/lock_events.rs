//! The events of a lock are kept for thirty days or to the newest thousand, whichever is more.

use crate::harness::*;
use cashbox::internals::lock::lease::GrantOrigin;
use cashbox::internals::lock::lease::ReleaseRequest;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Acquires and releases the lock that many times: two events each.
fn used(book: &Book, id: &str, times: usize) {
    let first = book.number("SELECT fence FROM lock_seq") + 1;
    let pairs = (first..).take(times).flat_map(|fence| {
        let name = format!("{id}{fence}");
        let token = book.token(fence, &name);
        [acquire(id, &name), ReleaseRequest { id: Some(lock_id(id)), token }.into()]
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
    let book = book();
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
