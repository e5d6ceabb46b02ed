//! Random lock traffic, compared with a plain model of the table after every step; and what must hold of fences and
//! time whatever happens.
//!
//! The tests of each guarantee of the lock table (`protocol` searches a model; the rest is the real code):
//!
//! | guarantee | here | and elsewhere |
//! |---|---|---|
//! | S1 one row per id | – | the primary key |
//! | S2 grants increase in fence | `compare_events` | `protocol`, `locks::fences_grow_…`, `crash_locks` |
//! | S3 the counter is above every fence, nothing goes back | `compare`, `reopen` | `protocol`, `locks::lease_time_goes_on_after_reboot` |
//! | S4 no stale write | `withdraw` | `protocol`, `locks_money`, `audit` (the file's own triggers) |
//! | S5 no takeover too early | `acquire` | `protocol`, `locks::expired_lease_…` |
//! | S6 no other change of hands | `compare`, `compare_events` | `protocol`, `locks::revoke_ends_only_…` |
//! | S7 the money | `compare_events` (the audit) | `model_money`, `crash` |
//! | S8 a repeat changes nothing | `and_again` | `protocol`, `keys`, `crash_locks` |
//! | S9 no grant too late or without a client | – | `model_waiting`, `waiting::waiter_…`, `waiting::disconnected_…` |
//! | S10 a grant is whole | `acquire` | `model_waiting`, `waiting::grant_after_wait_lasts_its_full_time` |
//! | S11 reads change nothing | `look` | `locks::reading_locks_changes_nothing`, `cli` |
//! | S12 first come, first served | – | `model_waiting`, `waiting` |
//! | L1 a silent holder's lock can be had | `everything_can_be_had` | `protocol`, `model_waiting` |
//! | L2 every waiter is answered | – | `model_waiting`, `waiting::waiter_is_refused_at_its_deadline`, `failing_disk` |
//! | L3 two renewals of three are enough | – | `locks::two_answers_of_three_keep_lock` |
//! | L4 something can always be granted | `everything_can_be_had` | `protocol` |

mod table;

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::command::TypedCommand;
use cashbox::internals::error::Error;
use cashbox::internals::id::{Fence, LockToken};
use cashbox::internals::lock::event::{LockEventKind, of_lock as events};
use cashbox::internals::lock::lease::{Grant, GrantOrigin, ReleaseRequest, RenewRequest, RevokeRequest};
use cashbox::internals::lock::{Lock, LockFilter, LockState, list};
use cashbox::internals::store::Envelope;
use table::{Lease, Model, Token};

const IDS: [&str; 4] = ["a", "b", "wallet/ann", "wallet/ben"];
const SECRETS: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];

/// One random run: the book, the model, and the lease time that was seen last.
struct Run {
    book: Book,
    model: Model,
    dice: Dice,
    now: i64,
    named: usize,
}

impl Run {
    fn step(&mut self) -> String {
        self.now = self.book.lease_ms();
        match self.dice.below(21) {
            0..=5 => self.acquire(),
            6..=8 => self.renew(),
            9..=10 => self.release(),
            11 => self.revoke(),
            12..=14 => self.withdraw(),
            15..=17 => self.advance(),
            18 => self.reopen(),
            19 => self.look(),
            _ => {
                self.book.clock.step_wall_ms(self.dice.below(2_000_000) as i64 - 1_000_000);
                "the wall clock steps".to_owned()
            }
        }
    }

    fn real(&self, token: &Token) -> LockToken {
        self.book.token(token.fence, &token.secret)
    }

    fn token(&mut self) -> Option<Token> {
        let all = self.model.tokens.clone();
        if all.is_empty() {
            return None;
        }
        let recent = &all[all.len().saturating_sub(4)..];
        Some(if self.dice.one_in(6) { self.dice.pick(&all).clone() } else { self.dice.pick(recent).clone() })
    }

    fn one_of(&mut self, token: &Token) -> Option<String> {
        if self.dice.one_in(2) { None } else { Some(self.dice.pick(&token.ids).clone()) }
    }

    fn acquire(&mut self) -> String {
        let first = self.dice.below(IDS.len());
        let together = if self.dice.one_in(3) { 1 + self.dice.below(IDS.len() - first) } else { 1 };
        let name = if self.dice.one_in(3) {
            self.dice.pick(&SECRETS).to_string()
        } else {
            self.named += 1;
            format!("n{}", self.named)
        };
        let mut request = ask(&IDS[first..first + together].join(" "), &name);
        request.expire_ms = *self.dice.pick(&[1, 50, 100]);
        request.grace_ms = *self.dice.pick(&[0, 30]);
        request.max_hold_ms = *self.dice.pick(&[None, Some(150)]);
        request.min_hold_ms = *self.dice.pick(&[None, None, Some(120)]);
        request.any = self.dice.one_in(4);
        let said = match request.any {
            true => self.model.acquire_any(&request, &name, self.now),
            false => self.model.acquire(&request, &name, self.now),
        };
        let answer = self.book.acquire_as(request.clone());
        assert_eq!(answer.as_ref().map(|grant| grant.origin).map_err(|error| error.name), said, "{request:?}");
        if let Some(grant) = answer.ok().filter(|grant| grant.origin != GrantOrigin::Replayed) {
            let (fence, whole) = (self.model.fence, request.expire_ms);
            assert_eq!((grant.token.fence.0, grant.expires_in_ms), (fence, whole), "whole, and newest");
            let again = self.and_again(request.clone());
            let replayed = Grant { origin: GrantOrigin::Replayed, previous: None, ..grant };
            assert_eq!(again, Ok(replayed));
        }
        format!("{name} asks for {:?}", request.ids)
    }

    fn renew(&mut self) -> String {
        let Some(token) = self.token() else { return String::new() };
        let (id, expire_ms) = (self.one_of(&token), *self.dice.pick(&[None, None, Some(70)]));
        let before = self.model.clone();
        let said = self.model.renew(id.as_deref(), &token, expire_ms, self.now);
        if said.is_err() {
            self.model = before;
        }
        let command = RenewRequest { id: id.as_deref().map(lock_id), token: self.real(&token), expire_ms };
        let answer = self.book.do_it(command).result.map_err(|error| error.name);
        assert_eq!(answer, said, "{token:?} {id:?}");
        format!("renew {token:?} {id:?}")
    }

    fn release(&mut self) -> String {
        let Some(token) = self.token() else { return String::new() };
        let id = self.one_of(&token);
        let min_hold_ms = *self.dice.pick(&[None, None, Some(0)]);
        let said = self.model.release(id.as_deref(), &token, min_hold_ms, self.now);
        let command = ReleaseRequest { id: id.as_deref().map(lock_id), token: self.real(&token), min_hold_ms };
        let answer = self.book.do_it(command.clone()).result;
        assert_eq!(self.and_again(command), answer);
        assert_eq!(answer.map_err(|error| error.name), said, "{token:?} {id:?}");
        format!("release {token:?} {id:?}")
    }

    fn revoke(&mut self) -> String {
        let id = *self.dice.pick(&IDS);
        let seen = self.model.rows.get(id).map_or(1, |lease| lease.fence);
        let fence = if self.dice.one_in(4) { seen - 1 } else { seen };
        let delay_ms = *self.dice.pick(&[None, Some(0), Some(40)]);
        let said = self.model.revoke(id, fence, delay_ms, self.now);
        let revoke = RevokeRequest { id: lock_id(id), fence: Fence(fence), delay_ms, reason: None };
        let answer = self.book.do_it(revoke.clone()).result;
        assert_eq!(self.and_again(revoke), answer);
        assert_eq!(answer.map(drop).map_err(|error| error.name), said, "{id} {fence}");
        format!("revoke {id} {fence} {delay_ms:?}")
    }

    fn withdraw(&mut self) -> String {
        let tokens: Vec<Token> = (0..self.dice.below(3)).filter_map(|_| self.token()).collect();
        let said = self.model.withdraw(&tokens, self.now);
        let envelope = Envelope { tokens: tokens.iter().map(|token| self.real(token)).collect(), ..Envelope::local() };
        let answer = self.book.submit(envelope, withdraw("ann", "0.01")).result;
        let fence = answer.map(|receipt| moved(receipt).entry.fence.map(|fence| fence.0));
        assert_eq!(fence.map_err(|error| error.name), said, "{tokens:?}");
        format!("withdraw under {tokens:?}")
    }

    /// The answer to a repeat, which changes nothing.
    fn and_again<C: TypedCommand>(&self, command: C) -> Result<C::Receipt, Error> {
        let before = self.everything();
        let answer = self.book.do_it(command).result;
        assert_eq!(self.everything(), before, "a repeat changes nothing");
        answer
    }

    /// Looking at everything, which changes nothing.
    fn look(&self) -> String {
        let before = self.everything();
        for id in IDS {
            self.book.read(|tx| events(tx, &lock_id(id), i64::MAX, 10)).unwrap();
        }
        let filter = LockFilter { state: Some(LockState::Stale), now: self.now, ..LockFilter::default() };
        self.book.read(|tx| list(tx, &filter, "", 10)).unwrap();
        let (rows, [fence, _, events]) = self.everything(); // the writer notes the time by itself
        assert_eq!((rows, fence, events), (before.0, before.1[0], before.1[2]));
        "a look".to_owned()
    }

    /// All there is to know of locks: the rows, the counter and time, and how many events there are (none is edited).
    fn everything(&self) -> (Vec<Option<Lock>>, [i64; 3]) {
        let numbers =
            ["SELECT fence FROM lock_seq", "SELECT clock_ms FROM lock_seq", "SELECT count(*) FROM lock_event"];
        (IDS.iter().map(|id| self.book.lock(id)).collect(), numbers.map(|sql| self.book.number(sql)))
    }

    fn advance(&mut self) -> String {
        let ms = *self.dice.pick(&[1, 20, 30, 50, 100, 200, 10_000]);
        self.book.advance(ms);
        assert_eq!(self.book.lease_ms(), self.now + ms);
        format!("{ms} ms pass")
    }

    fn reopen(&mut self) -> String {
        self.book.close();
        let reboots = self.dice.one_in(3);
        let stored = self.book.number("SELECT clock_ms FROM lock_seq");
        if reboots {
            self.book.clock.reboot();
        }
        self.book.open();
        assert_eq!(self.book.lease_ms(), if reboots { stored } else { self.now }, "lease time goes on");
        format!("reopened, rebooted: {reboots}")
    }

    /// The table is the model's; the counter is its counter; and the events tell the same story.
    fn compare(&self) {
        for id in IDS {
            let row = self.book.lock(id);
            let lease = row.as_ref().map(|lock| Lease {
                fence: lock.fence.0,
                secret: self
                    .model
                    .rows
                    .get(id)
                    .and_then(|lease| lease.secret.clone())
                    .filter(|_| lock.secret_hash.is_some()),
                create: lock.create_time,
                renew: lock.renew_time,
                expire: lock.expire_ms,
                grace: lock.grace_ms,
                max_hold: lock.max_hold_ms,
                min_hold: lock.min_hold_ms,
                ids: lock.ids as usize,
            });
            assert_eq!(lease.as_ref(), self.model.rows.get(id), "the row of {id}");
        }
        assert_eq!(self.book.number("SELECT fence FROM lock_seq"), self.model.fence);
        let highest = "SELECT max(fence) FROM (SELECT fence FROM lock UNION ALL SELECT fence FROM entry \
                       UNION ALL SELECT fence FROM lock_event UNION ALL SELECT 0)";
        assert!(self.book.number(highest) <= self.model.fence, "no fence is beyond the counter");
    }

    /// Every change of hands of every lock is on record, with fences that only grow.
    fn compare_events(&self) {
        for id in IDS {
            let mut all = self.book.read(|tx| events(tx, &lock_id(id), i64::MAX, 10_000)).unwrap();
            all.reverse();
            let (mut holder, mut rested): (Option<i64>, Option<i64>) = (None, None);
            let mut last = 0;
            for event in all {
                match event.kind {
                    LockEventKind::Created => assert_eq!((holder, event.previous_fence), (None, None)),
                    LockEventKind::TakenOver => assert_eq!(event.previous_fence.map(|f| f.0), holder, "{event:?}"),
                    LockEventKind::Revoked => {
                        assert_eq!(event.previous_fence.map(|f| f.0), holder.or(rested), "{event:?}")
                    }
                    LockEventKind::Released => assert_eq!(Some(event.fence.0), holder, "{event:?}"),
                }
                let released = event.kind == LockEventKind::Released;
                assert!(if released { event.fence.0 == last } else { event.fence.0 > last }, "{event:?} after {last}");
                last = event.fence.0;
                (holder, rested) = if released { (None, Some(last)) } else { (Some(last), None) };
            }
            let lease = self.model.rows.get(id).filter(|lease| !lease.is_released());
            assert_eq!(holder, lease.map(|lease| lease.fence), "how {id} stands");
        }
        self.book.assert_sound();
    }

    /// After the longest lease and grace of this run, a rest, or a revoke's delay, without a request, every lock can be acquired.
    fn everything_can_be_had(&self) {
        self.book.advance(10_000);
        for id in IDS {
            self.book.acquire(id, "last").unwrap();
        }
    }
}

#[test]
fn random_lock_traffic_agrees_with_plain_table() {
    for dice in Dice::runs(0..20) {
        let book = check("recharge ann 99 |");
        let now = book.lease_ms();
        let mut run = Run { book, model: Model::default(), dice, now, named: 0 };
        for step in 0..150 {
            let line = run.step();
            eprintln!("{step}: T {} {line}", run.now); // shown only for a run that fails
            run.compare();
        }
        run.compare_events();
        run.everything_can_be_had();
    }
}
