//! The commands that the writer has not carried out yet, and the share of them that one commit takes.
//!
//! A commit is bounded by movements of money and by bytes, so that a request waits for a bounded time whatever stands
//! beside it, and so that SQLite's cache holds what a commit changes. A *large* command (an atomic batch of many items) has
//! a commit for itself, and the others have the next one. Commands that came together are carried out in their order, and
//! take turns with those of other requests.

use super::reply::send;
use super::request::{Request, Work};
use crate::error::Error;
use std::collections::VecDeque;

/// The most movements in one commit: more would only lengthen the wait of the first.
const MOVEMENTS_MAX: usize = 256;
/// The most bytes of notes in one commit.
const BYTES_MAX: usize = 1024 * 1024;
/// The most commands of one batch in a row while others wait.
const TURN: usize = 64;

/// The work of one commit so far.
#[derive(Default)]
pub(super) struct Share {
    work: Work,
    /// Commands of the present group in a row.
    turn: usize,
}

impl Share {
    fn add(&mut self, work: Work) -> bool {
        let sum = Work { movements: self.work.movements + work.movements, bytes: self.work.bytes + work.bytes };
        let fits = self.work.movements == 0 || sum.movements <= MOVEMENTS_MAX && sum.bytes <= BYTES_MAX;
        if fits {
            self.work = sum;
        }
        fits
    }
}

/// The commands in the order in which they are to be carried out.
#[derive(Default)]
pub(super) struct Backlog {
    /// Commands that came together; no group is empty.
    groups: VecDeque<VecDeque<Request>>,
    large: VecDeque<Request>,
    /// True if the last commit was one of small commands.
    large_is_next: bool,
}

impl Backlog {
    /// Adds commands that came together.
    pub(super) fn push(&mut self, requests: Vec<Request>) {
        match &requests[..] {
            [] => {}
            [only] if only.work.is_large() => self.large.extend(requests),
            _ => self.groups.push_back(requests.into()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.large.is_empty()
    }

    /// True if there is enough for a commit.
    pub(super) fn is_enough(&self) -> bool {
        self.groups.len() + self.large.len() >= MOVEMENTS_MAX
    }

    /// The large command that has the next commit for itself: every second commit, or every one if nothing else waits.
    pub(super) fn next_large(&mut self) -> Option<Request> {
        let is_next = self.large_is_next || self.groups.is_empty();
        let large = if is_next { self.large.pop_front() } else { None };
        self.large_is_next = large.is_none();
        large
    }

    /// The next small command, if there is room for it in the commit.
    pub(super) fn next(&mut self, share: &mut Share) -> Option<Request> {
        let group = self.groups.front_mut()?;
        if !share.add(group.front()?.work) {
            return None;
        }
        let next = group.pop_front();
        share.turn += 1;
        if group.is_empty() {
            self.groups.pop_front();
            share.turn = 0;
        } else if share.turn == TURN {
            self.groups.rotate_left(1);
            share.turn = 0;
        }
        next
    }

    /// Puts those back that must not share a commit: a request with a hook has one of its own.
    pub(super) fn put_back_at_hook(&mut self, requests: &mut VecDeque<Request>) {
        if let Some(place) = requests.iter().position(Request::has_hook) {
            self.put_back(requests.split_off(place.max(1)));
        }
    }

    /// Puts commands back that were taken and not carried out: they are the next ones.
    pub(super) fn put_back(&mut self, requests: VecDeque<Request>) {
        if !requests.is_empty() {
            self.groups.push_front(requests);
        }
    }

    /// Answers that error to all but those that are carried out with little space left. Returns whether any is left.
    pub(super) fn keep_urgent(&mut self, error: &Error) -> bool {
        let (urgent, refused): (Vec<Request>, Vec<Request>) = self.drain().partition(|one| one.command.is_urgent());
        refused.into_iter().for_each(|request| _ = send(request.replies, error.clone().into()));
        let any = !urgent.is_empty();
        self.push(urgent);
        any
    }

    /// Takes all out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Request> + use<> {
        let groups = std::mem::take(&mut self.groups);
        groups.into_iter().flatten().chain(std::mem::take(&mut self.large))
    }
}
