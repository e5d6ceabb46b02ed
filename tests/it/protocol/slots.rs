//! Several locks of which one is enough (`any`, `lock run --slots`), as a model searched to its end: two slots, three clients
//! that take either, in different orders, and one that wants the first alone. Each may ask, ask again, renew, release, or
//! say nothing more, while time passes and the server is started again. Six plausible rules that are not those of
//! `src/lock` each break the very guarantee they should.
//!
//! A release, a tick and the grants that follow from them are one transaction, so they are one step. What a token may do is
//! in the model of one lock: a slot is one.

use super::search;
use stateright::{Checker, Model, Property};
use std::collections::BTreeSet;

/// In ticks: the lease, and the grace after it.
const EXPIRE: u8 = 2;
const GRACE: u8 = 1;
const TICKS: u8 = 5;
const RESTARTS: u8 = 1;
const SLOTS: usize = 2;
/// The slots that each client takes, in its order.
const WANTED: [&[usize]; 4] = [&[0, 1], &[1, 0], &[0, 1], &[0]];

/// A client is known by its secret.
type Secret = usize;

/// The rules of `src/lock`, or one of the mutants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rules {
    Real,
    /// If no slot is free, the first is taken over.
    GrantsHeldSlot,
    /// Only the first slot has a grace.
    OneSlotHasGrace,
    /// A repeat under the same secret looks for a free slot.
    RepeatTakesAnother,
    /// A client waits in the queue of the first of its slots alone.
    WaitsForFirstAlone,
    /// The newest waiter gets the slot.
    LastComeFirst,
    /// Each slot counts its fences by itself.
    FenceOfSlot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    fence: u8,
    secret: Secret,
    renew_time: u8,
    restarted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    rows: [Option<Row>; SLOTS],
    counter: u8,
    /// The fences of all grants: `lock_event`.
    drawn: Vec<u8>,
    granted: [Option<(usize, u8)>; WANTED.len()],
    released: BTreeSet<Secret>,
    /// Those that wait, the first first.
    queue: Vec<Secret>,
    now: u8,
    restarts: u8,
    broken: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Tick,
    Ask(Secret),
    Renew(Secret),
    Release(Secret),
    Restart,
}

const N1: &str = "N1: a slot changes hands only by release, or when its lease and grace are over";
const N2: &str = "N2: a client has one slot at most";
const N3: &str = "N3: a slot is granted to the first of those that wait for it";
const N4: &str = "N4: no slot is free while a client waits for it";
const N5: &str = "N5: fences of all slots together only grow";
const N6: &str = "N6: a repeat changes nothing";

impl World {
    fn is_free(&self, rules: Rules, slot: usize) -> bool {
        let grace = if rules == Rules::OneSlotHasGrace && slot > 0 { 0 } else { GRACE };
        self.rows[slot].as_ref().is_none_or(|row| self.now >= row.renew_time + EXPIRE + grace)
    }

    fn holds(&self, secret: Secret, slot: usize) -> bool {
        self.rows[slot].as_ref().is_some_and(|row| row.secret == secret)
    }

    /// `lease::acquire_any`; false if none of its slots is free.
    fn take(&mut self, rules: Rules, secret: Secret) -> bool {
        let mut slot = WANTED[secret].iter().copied().find(|slot| self.is_free(rules, *slot));
        if rules == Rules::GrantsHeldSlot {
            slot = slot.or(Some(WANTED[secret][0]));
        }
        let Some(slot) = slot else { return false };
        let before = self.rows[slot].as_ref();
        if before.is_some_and(|row| self.now < row.renew_time + EXPIRE + GRACE) {
            self.broken.insert(N1);
        }
        let earlier = self.queue.iter().take_while(|other| **other != secret);
        if earlier.into_iter().any(|other| WANTED[*other].contains(&slot)) {
            self.broken.insert(N3);
        }
        let fence = match rules {
            Rules::FenceOfSlot => before.map_or(1, |row| row.fence + 1),
            _ => self.counter + 1,
        };
        if self.drawn.last().is_some_and(|last| *last >= fence) {
            self.broken.insert(N5);
        }
        self.counter = self.counter.max(fence);
        self.drawn.push(fence);
        self.rows[slot] = Some(Row { fence, secret, renew_time: self.now, restarted: false });
        if (0..SLOTS).filter(|slot| self.holds(secret, *slot)).count() > 1 {
            self.broken.insert(N2);
        }
        self.granted[secret] = Some((slot, fence));
        self.queue.retain(|other| *other != secret);
        true
    }

    /// `Executor::wake`: those that wait try, in their order.
    fn wake(&mut self, rules: Rules, freed: &[usize]) {
        let mut waiting = self.queue.clone();
        if rules == Rules::LastComeFirst {
            waiting.reverse();
        }
        for secret in waiting {
            let is_woken = match rules {
                Rules::WaitsForFirstAlone => freed.contains(&WANTED[secret][0]),
                _ => WANTED[secret].iter().any(|slot| freed.contains(slot)),
            };
            if is_woken {
                self.take(rules, secret);
            }
        }
    }

    fn ask(&mut self, rules: Rules, secret: Secret) {
        let repeats = self.granted[secret].is_some();
        if repeats && rules != Rules::RepeatTakesAnother || self.queue.contains(&secret) {
            return; // the same grant, 412 after its end, or the place in the queue
        }
        let before = self.rows.clone();
        if !self.take(rules, secret) && !repeats {
            self.queue.push(secret);
        }
        if repeats && before != self.rows {
            self.broken.insert(N6);
        }
    }

    fn renew(&mut self, secret: Secret) {
        let now = self.now;
        for row in self.rows.iter_mut().flatten().filter(|row| row.secret == secret) {
            (row.renew_time, row.restarted) = (now, false);
        }
    }

    fn release(&mut self, rules: Rules, secret: Secret) {
        let Some((slot, fence)) = self.granted[secret] else { return };
        if self.rows[slot].as_ref().is_some_and(|row| (row.secret, row.fence) == (secret, fence)) {
            self.rows[slot] = None;
            self.released.insert(secret);
            self.wake(rules, &[slot]);
        }
    }

    fn tick(&mut self, rules: Rules) {
        let was_free: Vec<bool> = (0..SLOTS).map(|slot| self.is_free(rules, slot)).collect();
        self.now += 1;
        let freed: Vec<usize> = (0..SLOTS).filter(|slot| !was_free[*slot] && self.is_free(rules, *slot)).collect();
        self.wake(rules, &freed);
    }

    /// Those that wait have to ask again, and a lease that is alive is whole again, once.
    fn restart(&mut self) {
        self.restarts += 1;
        self.queue.clear();
        let now = self.now;
        let live = |row: &&mut Row| now < row.renew_time + EXPIRE + GRACE && !row.restarted;
        for row in self.rows.iter_mut().flatten().filter(live) {
            (row.renew_time, row.restarted) = (now, true);
        }
    }

    /// True if one waits for a slot that is free.
    fn leaves_one_waiting(&self) -> bool {
        let free = |slot: &usize| self.is_free(Rules::Real, *slot);
        self.queue.iter().any(|secret| WANTED[*secret].iter().any(free))
    }
}

impl Model for Rules {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if !world.broken.is_empty() {
            return; // one broken guarantee is enough
        }
        actions.extend((world.now < TICKS).then_some(Action::Tick));
        actions.extend((world.restarts < RESTARTS).then_some(Action::Restart));
        for secret in 0..WANTED.len() {
            actions.extend([Action::Ask(secret), Action::Renew(secret), Action::Release(secret)]);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => world.tick(*self),
            Action::Ask(secret) => world.ask(*self, secret),
            Action::Renew(secret) => world.renew(secret),
            Action::Release(secret) => world.release(*self, secret),
            Action::Restart => world.restart(),
        }
        if world.leaves_one_waiting() {
            world.broken.insert(N4);
        }
        Some(world).filter(|world| world != before)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always(N1, |_, world: &World| !world.broken.contains(N1)),
            Property::always(N2, |_, world: &World| !world.broken.contains(N2)),
            Property::always(N3, |_, world: &World| !world.broken.contains(N3)),
            Property::always(N4, |_, world: &World| !world.broken.contains(N4)),
            Property::always(N5, |_, world: &World| !world.broken.contains(N5)),
            Property::always(N6, |_, world: &World| !world.broken.contains(N6)),
            Property::sometimes("both slots are held", |_, world: &World| world.rows.iter().all(Option::is_some)),
            Property::sometimes("a slot of a silent holder is taken over", |_, world: &World| {
                world.drawn.len() > SLOTS && world.released.is_empty()
            }),
            Property::sometimes("two wait while both are held", |_, world: &World| world.queue.len() == 2),
            Property::sometimes("one that wants either passes one that wants the first", |_, world: &World| {
                world.queue == [3] && world.granted.iter().flatten().count() == 3
            }),
        ]
    }
}

#[test]
fn rules_of_slots_hold_in_every_order_of_events() {
    let search = search(Rules::Real, &[]);
    search.assert_properties();
    assert!(search.unique_state_count() > 20_000, "{} states are too few to mean much", search.unique_state_count());
}

#[test]
fn slot_that_is_held_and_granted_fails_in_model() {
    search(Rules::GrantsHeldSlot, &[N1]).assert_any_discovery(N1);
}

#[test]
fn grace_of_one_slot_only_fails_in_model() {
    search(Rules::OneSlotHasGrace, &[N1]).assert_any_discovery(N1);
}

#[test]
fn repeat_that_takes_another_slot_fails_in_model() {
    search(Rules::RepeatTakesAnother, &[N2]).assert_any_discovery(N2);
}

#[test]
fn wait_for_first_slot_alone_fails_in_model() {
    search(Rules::WaitsForFirstAlone, &[N4]).assert_any_discovery(N4);
}

#[test]
fn newest_waiter_that_gets_slot_fails_in_model() {
    search(Rules::LastComeFirst, &[N3]).assert_any_discovery(N3);
}

#[test]
fn fences_counted_by_slot_fail_in_model() {
    search(Rules::FenceOfSlot, &[N5]).assert_any_discovery(N5);
}
