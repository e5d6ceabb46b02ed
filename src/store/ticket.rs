//! How a thread that asked gets its answers: it sleeps until the last one is there.

use super::Outcome;
use std::sync::{Arc, Condvar, Mutex};

/// The answers to some commands, as they come.
pub struct Ticket {
    answers: Mutex<Answers>,
    complete: Condvar,
}

struct Answers {
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
}

/// The right, and the duty, to give one of the answers. Dropped without giving it, that answer stays missing.
pub struct Promise {
    ticket: Arc<Ticket>,
    index: usize,
    kept: bool,
}

impl Ticket {
    /// A ticket for so many answers, and a promise for each.
    pub fn new(count: usize) -> (Arc<Ticket>, impl Iterator<Item = Promise>) {
        let answers = Mutex::new(Answers { outcomes: vec![None; count], missing: count });
        let ticket = Arc::new(Ticket { answers, complete: Condvar::new() });
        let promised = Arc::clone(&ticket);
        let promises = (0..count).map(move |index| Promise { ticket: Arc::clone(&promised), index, kept: false });
        (ticket, promises)
    }

    /// Sleeps until every promise was kept or dropped. What was dropped is `None`.
    pub fn wait(&self) -> Vec<Option<Outcome>> {
        let answers = self.answers.lock().expect("nobody panics holding this");
        let mut answers = self.complete.wait_while(answers, |answers| answers.missing > 0).expect("as above");
        std::mem::take(&mut answers.outcomes)
    }

    fn set(&self, index: usize, outcome: Option<Outcome>) {
        let mut answers = self.answers.lock().expect("nobody panics holding this");
        answers.outcomes[index] = outcome;
        answers.missing -= 1;
        let complete = answers.missing == 0;
        drop(answers); // whoever wakes finds the lock free
        if complete {
            self.complete.notify_one();
        }
    }
}

impl Promise {
    /// Gives the answer.
    pub fn keep(mut self, outcome: Outcome) {
        self.kept = true;
        self.ticket.set(self.index, Some(outcome));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.kept {
            self.ticket.set(self.index, None);
        }
    }
}
