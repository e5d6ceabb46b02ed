//! Random waiting for one lock, compared with a plain queue: who is granted and who is refused, in which order and at
//! which moment. Nothing is granted after a deadline or to a closed connection, the first come is the first served,
//! every grant is whole, and every request is answered.

use crate::dice::Dice;
use crate::harness::*;
use crate::waiting::Dismissed;
use cashbox::internals::command::{Command, Receipt};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::Fence;
use cashbox::internals::lock::lease::{AcquireRequest, RevokeRequest};
use cashbox::internals::store::{Envelope, Outcome};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Duration;

const STEPS: usize = 60;
const TIMEOUT: Duration = Duration::from_secs(15);

/// A request in the queue.
struct Waiter {
    name: String,
    deadline: i64,
    request: AcquireRequest,
    is_here: Arc<AtomicBool>,
}

/// The holder of the lock; without a name once it was revoked.
struct Holder {
    name: Option<String>,
    fence: i64,
    stale_from: i64,
}

/// The answer that the model expects for a request: a fence, or a refusal.
type Expected = (String, Result<i64, ErrorName>);

/// The answer that a request got.
type Answer = (String, Outcome);

/// The queue, without a database.
#[derive(Default)]
struct Model {
    fence: i64,
    holder: Option<Holder>,
    queue: Vec<Waiter>,
    expected: Vec<Expected>,
}

impl Model {
    fn is_free(&self, now: i64) -> bool {
        self.holder.as_ref().is_none_or(|holder| now >= holder.stale_from)
    }

    fn grant(&mut self, name: String, request: &AcquireRequest, now: i64) {
        self.fence += 1;
        let stale_from = now + request.expire_ms + request.grace_ms;
        self.expected.push((name.clone(), Ok(self.fence)));
        self.holder = Some(Holder { name: Some(name), fence: self.fence, stale_from });
    }

    /// The lock may have become free, or something was done to it: it goes to the first who is in time and still here,
    /// and closed ones before that one are forgotten. Then each whose time is over is refused.
    fn look(&mut self, now: i64, something_was_done: bool) {
        if something_was_done || self.is_free(now) {
            while let Some(first) = self.queue.first() {
                let (is_here, in_time) = (first.is_here.load(SeqCst), first.deadline > now);
                if is_here && in_time && !self.is_free(now) {
                    break;
                }
                let first = self.queue.remove(0);
                match (is_here, in_time) {
                    (false, _) => {}
                    (true, false) => self.expected.push((first.name, Err(ErrorName::Locked))),
                    (true, true) => self.grant(first.name, &first.request, now),
                }
            }
        }
        for late in self.queue.extract_if(.., |waiter| waiter.deadline <= now) {
            if late.is_here.load(SeqCst) {
                self.expected.push((late.name, Err(ErrorName::Locked)));
            }
        }
    }
}

/// One random run.
struct Run<'scope, 'env> {
    book: &'env Book,
    scope: &'scope Scope<'scope, 'env>,
    answers: (Sender<Answer>, Receiver<Answer>),
    heard: HashMap<String, Outcome>,
    model: Model,
    dice: Dice,
}

impl Run<'_, '_> {
    fn step(&mut self, number: usize) {
        let now = self.book.lease_ms();
        match self.dice.below(10) {
            0..=4 => self.client_asks(number, now),
            5..=6 => {
                let ms = *self.dice.pick(&[1, 5, 20, 40]);
                self.book.advance(ms);
                self.model.look(now + ms, false);
            }
            7 => self.the_holder_lets_go(now),
            8 => self.the_holder_is_revoked(now),
            _ => self.client_leaves(),
        }
        self.compare();
    }

    fn client_asks(&mut self, number: usize, now: i64) {
        let name = format!("w{number}");
        let expire_ms = *self.dice.pick(&[1, 10, 30]);
        let request = AcquireRequest { expire_ms, grace_ms: *self.dice.pick(&[0, 5]), ..ask("job", &name) };
        let wait_ms = *self.dice.pick(&[1, 20, 50]);
        let is_here = Arc::new(AtomicBool::new(true));
        let alive = Arc::clone(&is_here);
        let envelope = Envelope { alive: Some(Arc::new(move || alive.load(SeqCst))), ..waiting(wait_ms) };
        let (book, answers, command) = (self.book, self.answers.0.clone(), Command::Acquire(request.clone()));
        let called = name.clone();
        self.scope.spawn(move || answers.send((called, book.submit(envelope, command))).is_ok());
        if self.model.is_free(now) {
            self.model.grant(name, &request, now);
        } else {
            self.model.queue.push(Waiter { name, deadline: now + wait_ms, request, is_here });
        }
    }

    fn the_holder_lets_go(&mut self, now: i64) {
        let Some(Holder { name: Some(name), fence, .. }) = &self.model.holder else { return };
        self.book.release("job", &self.book.token(*fence, name)).unwrap();
        self.model.holder = None;
        self.model.look(now, true);
    }

    fn the_holder_is_revoked(&mut self, now: i64) {
        let Some(Holder { name: Some(_), fence, .. }) = self.model.holder else { return };
        let delay_ms = *self.dice.pick(&[0, 15]);
        let revoke = RevokeRequest { id: lock_id("job"), fence: Fence(fence), delay_ms: Some(delay_ms), reason: None };
        self.book.must(revoke);
        self.model.fence += 1;
        self.model.holder = Some(Holder { name: None, fence: self.model.fence, stale_from: now + delay_ms });
        self.model.look(now, true);
    }

    fn client_leaves(&mut self) {
        if !self.model.queue.is_empty() {
            let place = self.dice.below(self.model.queue.len());
            self.model.queue[place].is_here.store(false, SeqCst);
        }
    }

    /// Each request gets the answer that the model expects, no other does, and the row is the last grant, whole.
    fn compare(&mut self) {
        for (name, expected) in std::mem::take(&mut self.model.expected) {
            let outcome = self.answer_of(&name);
            let got = outcome.result.map(|receipt| match receipt {
                Receipt::Granted(grant) => grant.token.fence.0,
                other => panic!("{other:?}"),
            });
            assert_eq!(got.map_err(|error| error.name), expected, "{name}");
        }
        self.book.until_parked(self.model.queue.len() as u64);
        let (lock, holder) = (self.book.lock("job"), self.model.holder.as_ref());
        assert_eq!(
            lock.map(|lock| (lock.fence.0, lock.stale_from())),
            holder.map(|holder| (holder.fence, holder.stale_from))
        );
    }

    /// The answer to that request. Several that are answered at the same moment may come in any order.
    fn answer_of(&mut self, name: &str) -> Outcome {
        while !self.heard.contains_key(name) {
            let (who, outcome) = self.answers.1.recv_timeout(TIMEOUT).expect("every request is answered");
            self.heard.insert(who, outcome);
        }
        self.heard.remove(name).expect("it was just heard")
    }

    /// Answers beyond those that the model expects are refusals to closed connections.
    fn no_other_was_granted(mut self) {
        self.heard.extend(self.answers.1.try_iter());
        assert!(self.heard.values().all(|outcome| outcome.result.is_err()), "{:?}", self.heard);
    }
}

#[test]
fn random_waiting_agrees_with_plain_queue() {
    for dice in Dice::runs(0..15) {
        let book = book();
        std::thread::scope(|scope| {
            let (answers, heard) = (channel(), HashMap::new());
            let mut run = Run { book: &book, scope, answers, heard, model: Model::default(), dice };
            let _dismissed = Dismissed(&book);
            for number in 0..STEPS {
                run.step(number);
            }
            for _ in 0..STEPS {
                book.advance(40);
                run.model.look(book.lease_ms(), false);
                run.compare();
            }
            assert!(run.model.queue.is_empty(), "every request is answered in the end");
            run.no_other_was_granted();
        });
        book.assert_sound();
    }
}
