//! The file and its rules as `src/lock` has them, each function named after the one it stands for; and eight mutants.

use std::collections::BTreeSet;

/// In ticks: the lease, the grace after it, and the delay after a revoke.
pub const EXPIRE: u8 = 2;
pub const GRACE: u8 = 1;
const DELAY: u8 = 1;
/// In ticks: the time from its grant in which a lock rests once it is released.
pub const REST: u8 = 4;
/// Ticks for which another machine, to which the file is moved, has been on.
const OTHER_UPTIME: u8 = 5;
/// The number of clients, each with one secret.
pub const CLIENTS: usize = 3;

/// A client is known by its secret.
pub type Secret = usize;
pub type Fence = u8;

/// The rules of `src/lock`, or one of the mutants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rules {
    Real,
    /// Create; on conflict compare `create_time` with now − expiry; delete the dead row by id, and try again.
    Textbook,
    /// The same, but every delete compares the fence first.
    CompareBeforeDelete,
    /// Taken over in place, but a write does not ask whether the row still names the writer.
    UnguardedWrite,
    /// The next fence is one more than that of the row, if there is a row.
    FenceFromRow,
    /// A lock that rests keeps the secret of its last holder.
    RestKeepsSecret,
    /// A start of the server removes the lock that rests, as it has no holder.
    RestEndsAtStart,
    /// A start of the server lets the lock rest for its whole time again, as it does with leases.
    RestIsWholeAgain,
    /// After a start lease time goes on with the machine's uptime, whichever machine that is.
    AnyUptimeCounts,
}

/// A start of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// The machine has been on all the time.
    SameBoot,
    /// The machine was off, and has been on again for a tick.
    Reboot,
    /// The file was moved to a machine that has been on for long.
    OtherMachine,
}

/// `lock`: the row. `secret` is none once revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub fence: Fence,
    pub secret: Option<Secret>,
    pub create_time: u8,
    pub renew_time: u8,
    pub restarted: bool,
    /// `is_released`: it rests until `REST` after its grant.
    pub rests: bool,
    /// Times of the grant and of the last renewal by a perfect clock.
    pub create_real: u8,
    pub renew_real: u8,
}

impl Row {
    /// `Lock::stale_from`; a revoked row has `expire_ms` 0 and its delay as grace.
    pub fn stale_from(&self) -> u8 {
        match self.secret {
            _ if self.rests => self.create_time + REST,
            Some(_) => self.renew_time + EXPIRE + GRACE,
            None => self.renew_time + DELAY,
        }
    }

    /// The same by a perfect clock.
    pub fn stale_from_real(&self) -> u8 {
        match self.secret {
            _ if self.rests => self.create_real + REST,
            Some(_) => self.renew_real + EXPIRE + GRACE,
            None => self.renew_real + DELAY,
        }
    }

    pub fn is_held_by(&self, secret: Secret, fence: Fence) -> bool {
        self.secret == Some(secret) && self.fence == fence
    }
}

/// The file, and the lease clock of the process that serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct File {
    pub row: Option<Row>,
    /// `lock_seq.fence`, and `lock_seq.clock_ms`: the highest lease time used.
    pub counter: Fence,
    pub stored: u8,
    /// `lock_event`: what each secret was granted (one more is for the client that comes last), and which were given back.
    pub granted: [Option<Fence>; CLIENTS + 1],
    pub released: BTreeSet<Secret>,
    pub revoked: Option<Fence>,
    /// The entries made under a lease, by whom; once each, as each write has its idempotency key.
    pub entries: BTreeSet<(Secret, Fence)>,
    /// Lease time now, and what a perfect clock shows.
    pub now: u8,
    pub real: u8,
    /// Lease time until which the lock must rest.
    pub rests_until: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    Acquire(Secret),
    Renew(Secret, Fence),
    Write(Secret, Fence),
    Release(Secret, Fence),
    /// By an admin who saw that fence.
    Revoke(Fence),
    /// Money moved by a client that presents no token.
    WriteWithNothing,
    /// The textbook's second step, by a client that saw that fence in a dead row.
    DeleteDead(Fence),
}

/// The answer to a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    Granted(Fence),
    Done,
    Held,
    Lost,
    /// The textbook's: there is a dead row with that fence.
    Dead(Fence),
}

impl File {
    /// `grant::acquire`, with `repeat` before it.
    pub fn acquire(&mut self, rules: Rules, secret: Secret) -> Answer {
        if let Some(fence) = self.granted[secret] {
            let holds = self.row.as_ref().is_some_and(|row| row.is_held_by(secret, fence));
            return if holds { Answer::Granted(fence) } else { Answer::Lost };
        }
        let in_place = !matches!(rules, Rules::Textbook | Rules::CompareBeforeDelete);
        match &self.row {
            Some(row) if self.now < row.stale_from() => return Answer::Held,
            Some(dead) if !in_place => return Answer::Dead(dead.fence),
            _ => {}
        }
        let fence = self.draw_fence(rules);
        self.row = Some(self.new_row(fence, Some(secret)));
        self.granted[secret] = Some(fence);
        self.rests_until = None;
        Answer::Granted(fence)
    }

    fn new_row(&self, fence: Fence, secret: Option<Secret>) -> Row {
        let (create_time, create_real) = (self.now, self.real);
        let (renew_time, renew_real) = (create_time, create_real);
        Row { fence, secret, create_time, renew_time, restarted: false, rests: false, create_real, renew_real }
    }

    /// `grant::draw_fence`: the counter outlives every row, and lease time is stored with it.
    fn draw_fence(&mut self, rules: Rules) -> Fence {
        self.stored = self.stored.max(self.now);
        if rules == Rules::FenceFromRow {
            let fence = self.row.as_ref().map_or(1, |row| row.fence + 1);
            self.counter = self.counter.max(fence);
            return fence;
        }
        self.counter += 1;
        self.counter
    }

    /// `grant::renew`: late is early enough while the row still names the holder.
    fn renew(&mut self, secret: Secret, fence: Fence) -> Answer {
        let (now, real) = (self.now, self.real);
        let Some(row) = self.row.as_mut().filter(|row| row.is_held_by(secret, fence)) else { return Answer::Lost };
        (row.renew_time, row.renew_real, row.restarted) = (now, real, false);
        self.stored = self.stored.max(now);
        Answer::Done
    }

    /// `guard::guard` with a token, and the money's entry in the same transaction.
    fn write(&mut self, rules: Rules, secret: Secret, fence: Fence) -> Answer {
        let guarded = !matches!(rules, Rules::Textbook | Rules::CompareBeforeDelete | Rules::UnguardedWrite);
        if guarded && !self.row.as_ref().is_some_and(|row| row.is_held_by(secret, fence)) {
            return if self.entries.contains(&(secret, fence)) { Answer::Done } else { Answer::Lost };
        }
        self.entries.insert((secret, fence));
        Answer::Done
    }

    /// `guard::guard` without a token: held is held, and a stale lock in the way is cleared away (`clear_away`).
    fn write_with_nothing(&mut self, rules: Rules) -> Answer {
        match &self.row {
            Some(row) if self.now < row.stale_from() => return Answer::Held,
            Some(_) => {
                self.draw_fence(rules);
                self.row = None;
            }
            None => {}
        }
        Answer::Done
    }

    /// `end::release`, repeats included. The first client's lease has `min_hold_ms`. The textbook deletes whatever is there.
    fn release(&mut self, rules: Rules, secret: Secret, fence: Fence) -> Answer {
        let held = self.row.as_ref().is_some_and(|row| row.is_held_by(secret, fence));
        if held || rules == Rules::Textbook {
            let now = self.now;
            let rest = self.row.take().filter(|row| secret == 0 && now < row.create_time + REST);
            self.rests_until = rest.as_ref().map(|row| row.create_time + REST);
            let secret_left = if rules == Rules::RestKeepsSecret { Some(secret) } else { None };
            self.row = rest.map(|row| Row { rests: true, secret: secret_left, ..row });
            self.released.insert(secret);
            self.stored = self.stored.max(self.now);
        }
        if self.released.contains(&secret) { Answer::Done } else { Answer::Lost }
    }

    /// `end::revoke`: a fence of its own, no secret, and the row stays.
    fn revoke(&mut self, rules: Rules, seen: Fence) -> Answer {
        let now = self.now;
        let has_lease = |row: &Row| row.secret.is_some() || row.rests && now < row.stale_from();
        if !self.row.as_ref().is_some_and(|row| row.fence == seen && has_lease(row)) {
            return Answer::Lost;
        }
        let fence = self.draw_fence(rules);
        self.row = Some(self.new_row(fence, None));
        self.revoked = Some(seen);
        self.rests_until = None;
        Answer::Done
    }

    fn delete_dead(&mut self, rules: Rules, seen: Fence) -> Answer {
        if rules == Rules::Textbook || self.row.as_ref().is_some_and(|row| row.fence == seen) {
            self.row = None;
        }
        Answer::Done
    }

    pub fn receive(&mut self, rules: Rules, message: Message) -> Answer {
        match message {
            Message::Acquire(secret) => self.acquire(rules, secret),
            Message::Renew(secret, fence) => self.renew(secret, fence),
            Message::Write(secret, fence) => self.write(rules, secret, fence),
            Message::Release(secret, fence) => self.release(rules, secret, fence),
            Message::Revoke(fence) => self.revoke(rules, fence),
            Message::WriteWithNothing => self.write_with_nothing(rules),
            Message::DeleteDead(fence) => self.delete_dead(rules, fence),
        }
    }

    /// The server dies and another starts: `LeaseClock::load`, then `restart_leases`. After a reboot of the same machine
    /// lease time goes on from the highest that was stored, with the time since; on another machine without.
    pub fn restart(&mut self, rules: Rules, start: Start) {
        match start {
            Start::SameBoot => {}
            Start::Reboot => (self.now, self.real) = (self.stored + 1, self.real + 1),
            Start::OtherMachine if rules == Rules::AnyUptimeCounts => self.now = self.stored + OTHER_UPTIME,
            Start::OtherMachine => self.now = self.stored,
        }
        let (now, real) = (self.now, self.real);
        let live = self.row.as_mut().filter(|row| now < row.stale_from() && row.secret.is_some() && !row.restarted);
        if let Some(row) = live {
            (row.renew_time, row.renew_real, row.restarted) = (now, real, true);
        }
        match rules {
            Rules::RestEndsAtStart => self.row = self.row.take().filter(|row| !row.rests),
            Rules::RestIsWholeAgain => self.row.iter_mut().for_each(|row| {
                if row.rests {
                    row.create_time = now;
                }
            }),
            _ => {}
        }
        self.stored = self.stored.max(now);
    }
}
