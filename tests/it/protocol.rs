//! The lock protocol as a model, searched to its end: every order in which three clients, an admin, a write that
//! presents nothing, time, crashes and a network that loses, repeats and delays can act on one lock. The rules of
//! `src/lock` hold S1–S6 and S8 in all of them, and what must hold of rests; eight plausible rules that are not those of `src/lock` each
//! break the very guarantee they should.
//!
//! The model and the real thing:
//! - An operation is one transaction, so it is one step. One row per id (S1) is the primary key: `row` is an `Option`.
//! - A client may say at any time whatever it knows enough to say, and what it said may arrive at any time later, more
//!   than once, or never. So no message is ever "on its way": each may arrive from the moment it can be said. A holder
//!   that stalls is one whose messages arrive late; one that crashed says nothing more, and when it comes back it has
//!   another secret and is another client.
//! - An answer is heard at once or never. Who hears late is who stalls after hearing.
//! - Waiting (S9, S10, S12, L2) is order and deadlines, not who may write: `waiting.rs` tests it on the real code.

mod rules;
mod slots;

use rules::{Answer, CLIENTS, EXPIRE, Fence, File, GRACE, Message, REST, Rules, Secret, Start};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;
use std::hash::Hash;

/// Ticks in all, and restarts of the server.
const TICKS: u8 = 4;
const RESTARTS: u8 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    file: File,
    /// The clients that know they were granted the lock.
    heard: BTreeSet<Secret>,
    /// The textbook's: the fences of rows that a client has seen dead.
    seen_dead: BTreeSet<Fence>,
    ticks: u8,
    restarts: u8,
    /// The guarantees that a step has broken.
    broken: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    Tick,
    Arrives { message: Message, answer_is_heard: bool },
    Restart(Start),
}

impl World {
    /// Every message that a client may have sent.
    fn messages(&self) -> Vec<Message> {
        let mut all = vec![Message::WriteWithNothing];
        for secret in 0..CLIENTS {
            all.push(Message::Acquire(secret));
            if let Some(fence) = self.file.granted[secret].filter(|_| self.heard.contains(&secret)) {
                let (renew, write) = (Message::Renew(secret, fence), Message::Write(secret, fence));
                all.extend([renew, write, Message::Release(secret, fence)]);
            }
        }
        if self.file.revoked.is_none() {
            all.extend(self.file.granted.iter().flatten().map(|fence| Message::Revoke(*fence)));
        }
        all.extend(self.seen_dead.iter().map(|fence| Message::DeleteDead(*fence)));
        all
    }
}

const S2: &str = "S2: grants strictly increase in fence";
const S3: &str = "S3: neither counter nor lease time goes back, and no fence is beyond the counter";
const S4: &str = "S4: an entry is made only while the row carries exactly its secret and fence";
const S5: &str = "S5: no takeover before the lease and its grace are over";
const S6: &str = "S6: a lock changes hands only by release, a revoke that quotes its fence, or takeover";
const S8: &str = "S8: a repeat changes nothing";
const R1: &str = "R1: a released lock is granted to no client before its rest is over";
const R2: &str = "R2: nothing is written under a lease that was released";
const R3: &str = "R3: a rest is over so long after the grant";
const L1: &str =
    "L1, L4: whatever has happened, the lock can be had when a lease and its grace, or a rest, have passed";

/// The guarantees that are broken when a message turns the file from `before` into `after`.
fn broken_by(before: &File, message: Message, answer: Answer, after: &File) -> Vec<&'static str> {
    let mut broken = Vec::new();
    let mut guarantee = |name, holds: bool| {
        if !holds {
            broken.push(name)
        }
    };
    let highest = before.granted.iter().flatten().max().copied().unwrap_or(0);
    let lease = |file: &File| file.row.as_ref().map(|row| (row.fence, row.secret));
    let (was, is) = (lease(before), lease(after));
    if before.granted != after.granted {
        guarantee(S2, matches!(answer, Answer::Granted(fence) if fence > highest));
        guarantee(R1, before.rests_until.is_none_or(|until| before.now >= until));
    }
    let fences = after.granted.iter().flatten().chain(after.row.as_ref().map(|row| &row.fence));
    guarantee(S3, fences.max().is_none_or(|fence| *fence <= after.counter));
    for (secret, fence) in after.entries.difference(&before.entries) {
        guarantee(S4, was == Some((*fence, Some(*secret))));
        guarantee(R2, !before.released.contains(secret));
    }
    if answer == Answer::Held && before.row.as_ref().is_some_and(|row| row.rests) {
        guarantee(R3, before.rests_until.is_some_and(|until| before.now < until));
    }
    if let Some(row) = before.row.as_ref().filter(|_| was != is) {
        let is_stale = before.now >= row.stale_from() && before.real >= row.stale_from_real();
        let by_its_holder = matches!(message, Message::Release(secret, fence) if row.is_held_by(secret, fence));
        let revoked = message == Message::Revoke(row.fence);
        guarantee(S5, is_stale || !matches!(answer, Answer::Granted(_)));
        guarantee(S6, is_stale || by_its_holder || revoked);
    }
    let repeats = match message {
        Message::Acquire(secret) => before.granted[secret].is_some(),
        Message::Write(secret, fence) => before.entries.contains(&(secret, fence)),
        Message::Release(secret, _) => before.released.contains(&secret),
        _ => false,
    };
    guarantee(S8, !repeats || (was == is && before.granted == after.granted && before.entries == after.entries));
    broken
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
        actions.extend((world.ticks < TICKS).then_some(Action::Tick));
        for message in world.messages() {
            actions.push(Action::Arrives { message, answer_is_heard: false });
            let client_listens = matches!(message, Message::Acquire(_));
            actions.extend(client_listens.then_some(Action::Arrives { message, answer_is_heard: true }));
        }
        if world.restarts < RESTARTS {
            actions.extend([Start::SameBoot, Start::Reboot, Start::OtherMachine].map(Action::Restart));
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => {
                world.ticks += 1;
                (world.file.now, world.file.real) = (world.file.now + 1, world.file.real + 1);
            }
            Action::Restart(start) => {
                world.file.restart(*self, start);
                world.restarts += 1;
            }
            Action::Arrives { message, answer_is_heard } => {
                let answer = world.file.receive(*self, message);
                match (message, answer) {
                    (Message::Acquire(secret), Answer::Granted(_)) if answer_is_heard => {
                        world.heard.insert(secret);
                    }
                    (_, Answer::Dead(fence)) if answer_is_heard => {
                        world.seen_dead.insert(fence);
                    }
                    _ => {}
                }
                world.broken.extend(broken_by(&before.file, message, answer, &world.file));
            }
        }
        let File { counter, stored, now, .. } = world.file;
        if counter < before.file.counter || stored < before.file.stored || now < stored {
            world.broken.insert(S3);
        }
        Some(world).filter(|world| world != before)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always(S2, |_, world: &World| !world.broken.contains(S2)),
            Property::always(S3, |_, world: &World| !world.broken.contains(S3)),
            Property::always(S4, |_, world: &World| !world.broken.contains(S4)),
            Property::always(S5, |_, world: &World| !world.broken.contains(S5)),
            Property::always(S6, |_, world: &World| !world.broken.contains(S6)),
            Property::always(S8, |_, world: &World| !world.broken.contains(S8)),
            Property::always(R1, |_, world: &World| !world.broken.contains(R1)),
            Property::always(R2, |_, world: &World| !world.broken.contains(R2)),
            Property::always(R3, |_, world: &World| !world.broken.contains(R3)),
            Property::always(L1, |rules: &Rules, world: &World| {
                let mut later = world.file.clone();
                later.now += REST.max(EXPIRE + GRACE);
                matches!(later.acquire(*rules, CLIENTS), Answer::Granted(_) | Answer::Dead(_))
            }),
            Property::sometimes("a dead lease is taken over", |rules: &Rules, world: &World| {
                can_happen(*rules, world, |file, _, _, after| file.row.is_some() && file.granted != after.granted)
            }),
            Property::sometimes("a lock is granted when its rest is over", |rules: &Rules, world: &World| {
                can_happen(*rules, world, |file, _, _, after| {
                    file.row.as_ref().is_some_and(|row| row.rests) && file.granted != after.granted
                })
            }),
            Property::sometimes("a rest is revoked", |rules: &Rules, world: &World| {
                can_happen(*rules, world, |file, message, answer, _| {
                    let rests = file.row.as_ref().is_some_and(|row| row.rests);
                    rests && matches!(message, Message::Revoke(_)) && answer == Answer::Done
                })
            }),
            Property::sometimes("a renewal is late and counts", |rules: &Rules, world: &World| {
                can_happen(*rules, world, |file, message, answer, _| {
                    let expired = file.row.as_ref().is_some_and(|row| file.now >= row.stale_from());
                    expired && matches!(message, Message::Renew(..)) && answer == Answer::Done
                })
            }),
            Property::sometimes("a stale write is refused", |rules: &Rules, world: &World| {
                can_happen(*rules, world, |file, message, answer, _| {
                    file.row.is_some() && matches!(message, Message::Write(..)) && answer == Answer::Lost
                })
            }),
            Property::sometimes("a lease given back is given back again", |rules: &Rules, world: &World| {
                can_happen(*rules, world, |file, message, answer, _| {
                    let repeats = matches!(message, Message::Release(secret, _) if file.released.contains(&secret));
                    repeats && file.row.is_some() && answer == Answer::Done
                })
            }),
            Property::sometimes("an old lease is alive because the server was started again", |_, world: &World| {
                let row = world.file.row.as_ref();
                row.is_some_and(|row| {
                    row.restarted && world.ticks > EXPIRE + GRACE && world.file.now < row.stale_from()
                })
            }),
        ]
    }
}

/// True if a message that may arrive now does that to the file: as it is, the message, its answer, as it is then.
fn can_happen(rules: Rules, world: &World, what: fn(&File, Message, Answer, &File) -> bool) -> bool {
    world.messages().into_iter().any(|message| {
        let mut after = world.file.clone();
        let answer = after.receive(rules, message);
        what(&world.file, message, answer, &after)
    })
}

/// The search, which ends early when it has seen all of `broken` broken.
fn search<M>(rules: M, broken: &[&'static str]) -> impl Checker<M>
where
    M: Model<State: Clone + Hash + PartialEq + Send + Sync + 'static, Action: Clone + PartialEq>
        + Send
        + Sync
        + 'static,
{
    let enough = HasDiscoveries::AllOf(broken.iter().copied().collect());
    let search = rules.checker().threads(2);
    if broken.is_empty() { search.spawn_bfs().join() } else { search.finish_when(enough).spawn_bfs().join() }
}

#[test]
fn lock_rules_hold_in_every_order_of_events() {
    let search = search(Rules::Real, &[]);
    search.assert_properties();
    assert!(search.unique_state_count() > 50_000, "{} states are too few to mean much", search.unique_state_count());
}

#[test]
fn textbook_lock_fails_in_model() {
    search(Rules::Textbook, &[S4, S6]).assert_any_discovery(S6);
}

/// A renewal can come between the look at the dead row and its removal; and a late writer is not checked.
#[test]
fn compare_then_delete_fails_in_model() {
    search(Rules::CompareBeforeDelete, &[S4, S6]).assert_any_discovery(S4);
}

#[test]
fn write_without_row_check_fails_in_model() {
    search(Rules::UnguardedWrite, &[S4]).assert_any_discovery(S4);
}

#[test]
fn fence_from_old_row_repeats_in_model() {
    let search = search(Rules::FenceFromRow, &[]);
    search.assert_any_discovery(S2);
    for kept in [S3, S4, S5, S6, S8, R1, R2, R3, L1] {
        search.assert_no_discovery(kept);
    }
}

/// The holder could go on under a lease that it has released.
#[test]
fn rest_that_keeps_secret_fails_in_model() {
    search(Rules::RestKeepsSecret, &[R2]).assert_any_discovery(R2);
}

#[test]
fn rest_that_ends_at_start_fails_in_model() {
    search(Rules::RestEndsAtStart, &[R1]).assert_any_discovery(R1);
}

#[test]
fn rest_that_is_whole_again_fails_in_model() {
    search(Rules::RestIsWholeAgain, &[R3]).assert_any_discovery(R3);
}

/// A file that fails over to a machine that is long up would give away a lease that is held.
#[test]
fn uptime_of_other_machine_fails_in_model() {
    search(Rules::AnyUptimeCounts, &[S5]).assert_any_discovery(S5);
}
