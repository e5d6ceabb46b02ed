//! A wall clock that jumps forward: its time is not written down for ever.

use super::harness::*;
use super::server::until;
use cashbox::internals::error::ErrorName;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const DAY_MS: i64 = 86_400_000;

fn refused(book: &Book) -> String {
    let error = book.do_it(recharge("alice", "1")).result.unwrap_err();
    assert_eq!(error.name, ErrorName::ClockJumped);
    let (now, expected) = (fact(&error, "wall_clock").as_str().unwrap(), fact(&error, "expected").as_str().unwrap());
    assert!(error.detail.contains(now) && error.detail.contains(expected), "{}", error.detail);
    format!("{now} {expected}")
}

#[test]
fn jumped_clock_is_refused_until_it_is_right_again() {
    let mut book = book();
    book.must(recharge("alice", "1"));
    book.advance(3 * DAY_MS); // the machine slept
    book.must(recharge("alice", "1"));
    let commits = book.stats().commits.load(Relaxed);
    book.clock.step_wall_ms(DAY_MS);
    assert_eq!(refused(&book), "2026-01-05T00:00:00.000Z 2026-01-04T00:00:00.000Z");
    assert_eq!(book.acquire("job", "first").unwrap_err().name, ErrorName::ClockJumped);
    book.reopen();
    assert_eq!(refused(&book), "2026-01-05T00:00:00.000Z 2026-01-04T00:00:00.000Z", "the next process knows it too");
    assert_eq!(book.balance("alice"), "2.00", "reading goes on");
    book.clock.step_wall_ms(-1);
    book.must(recharge("alice", "1"));
    assert!(commits > 0);
    book.assert_sound();
}

#[test]
fn machine_that_was_off_for_a_week_has_not_jumped() {
    let mut book = book();
    book.must(recharge("alice", "1"));
    book.close();
    book.clock.reboot();
    book.clock.step_wall_ms(7 * DAY_MS);
    book.open();
    book.must(recharge("alice", "1"));
    book.assert_sound();
}

#[test]
fn accepted_jump_is_the_time_from_then_on() {
    let mut book = book();
    book.must(recharge("alice", "1"));
    book.clock.step_wall_ms(30 * DAY_MS);
    refused(&book);
    book.options.accept_clock = true;
    book.reopen();
    until(|| book.stats().commits.load(Relaxed) > 0);
    book.options.accept_clock = false;
    book.reopen();
    book.must(recharge("alice", "1"));
    book.clock.step_wall_ms(30 * DAY_MS);
    refused(&book);
}

#[test]
fn clock_behind_newest_entry_may_be_corrected() {
    let book = book();
    book.must(recharge("alice", "1"));
    book.clock.step_wall_ms(-30 * DAY_MS);
    book.must(recharge("alice", "1"));
    book.clock.step_wall_ms(30 * DAY_MS);
    book.must(recharge("alice", "1"));
    book.assert_sound();
}

#[test]
fn clock_that_jumps_while_disk_is_waited_for_is_refused() {
    let book = book();
    book.must(recharge("alice", "1"));
    let other = rusqlite::Connection::open(book.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let request = scope.spawn(|| refused(&book));
        until(|| book.stats().busy_since_ms.load(Relaxed) > 0);
        std::thread::sleep(Duration::from_millis(300)); // the clock was looked at, and the file is waited for
        book.clock.step_wall_ms(2 * DAY_MS);
        other.execute_batch("ROLLBACK").unwrap();
        request.join().unwrap();
    });
    book.clock.step_wall_ms(-2 * DAY_MS);
    book.must(recharge("alice", "1"));
    book.assert_sound();
}
