//! Random lock traffic, compared with a plain model of the table after every step; and what must hold of fences and
//! time whatever happens.

use crate::dice::Dice;
use crate::harness::*;
use cashbox::command::{Command, Receipt};
use cashbox::error::Name;
use cashbox::id::{Fence, LockToken};
use cashbox::lock::query::{What, events};
use cashbox::lock::{Ask, How, Renewed, Revoke};
use cashbox::store::Envelope;
use std::collections::{BTreeMap, BTreeSet};

const IDS: [&str; 4] = ["a", "b", "wallet/ann", "wallet/ben"];
const SECRETS: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];

#[derive(Clone, Debug, PartialEq)]
struct Lease {
    fence: i64,
    /// None once revoked.
    secret: Option<String>,
    create: i64,
    renew: i64,
    expire: i64,
    grace: i64,
    max_hold: Option<i64>,
    /// How many were granted together.
    ids: usize,
}

impl Lease {
    fn is_stale(&self, now: i64) -> bool {
        now >= self.renew + self.expire + self.grace
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    fence: i64,
    secret: String,
    ids: Vec<String>,
}

/// The table, without a database.
#[derive(Clone, Default)]
struct Model {
    fence: i64,
    rows: BTreeMap<String, Lease>,
    granted: BTreeMap<(String, String), i64>,
    released: BTreeSet<(String, i64)>,
    tokens: Vec<Token>,
}

impl Model {
    fn holds(&self, id: &str, token: &Token) -> bool {
        let lease = self.rows.get(id);
        lease.is_some_and(|lease| lease.fence == token.fence && lease.secret.as_ref() == Some(&token.secret))
    }

    fn holds_all(&self, token: &Token) -> bool {
        token.ids.iter().all(|id| self.holds(id, token))
    }

    fn acquire(&mut self, ask: &Ask, secret: &str, now: i64) -> Result<How, Name> {
        let ids: Vec<String> = ask.ids.iter().map(|id| id.to_string()).collect();
        if let Some(fence) = self.granted.get(&(ids[0].clone(), secret.to_owned())) {
            let token = Token { fence: *fence, secret: secret.to_owned(), ids };
            return if self.holds_all(&token) { Ok(How::Replayed) } else { Err(Name::LockLost) };
        }
        if ids.iter().any(|id| self.rows.get(id).is_some_and(|lease| !lease.is_stale(now))) {
            return Err(Name::Locked);
        }
        self.fence += 1;
        let over = ids.iter().any(|id| self.rows.contains_key(id));
        for id in &ids {
            let lease = Lease {
                fence: self.fence,
                secret: Some(secret.to_owned()),
                create: now,
                renew: now,
                expire: ask.expire_ms,
                grace: ask.grace_ms,
                max_hold: ask.max_hold_ms,
                ids: ids.len(),
            };
            self.rows.insert(id.clone(), lease);
            self.granted.insert((id.clone(), secret.to_owned()), self.fence);
        }
        self.tokens.push(Token { fence: self.fence, secret: secret.to_owned(), ids });
        Ok(if over { How::TakenOver } else { How::Created })
    }

    fn renew(&mut self, id: Option<&str>, token: &Token, expire: Option<i64>, now: i64) -> Result<Renewed, Name> {
        let ids = id.map_or(token.ids.clone(), |id| vec![id.to_owned()]);
        if !ids.iter().all(|id| self.holds(id, token)) {
            return Err(Name::LockLost);
        }
        let mut renewed = Renewed { expires_in_ms: i64::MAX, late: false };
        for id in ids {
            let lease = self.rows.get_mut(&id).unwrap();
            let ceiling = lease.max_hold.map_or(i64::MAX, |max| lease.create + max);
            if now >= ceiling {
                return Err(Name::MaxHold);
            }
            renewed.late |= now >= lease.renew + lease.expire;
            lease.expire = expire.unwrap_or(lease.expire).min(ceiling - now);
            lease.renew = now;
            renewed.expires_in_ms = renewed.expires_in_ms.min(lease.expire);
        }
        Ok(renewed)
    }

    fn release(&mut self, id: Option<&str>, token: &Token) -> Result<(), Name> {
        let ids = id.map_or(token.ids.clone(), |id| vec![id.to_owned()]);
        for id in ids.iter().filter(|id| token.ids.contains(id)) {
            if self.holds(id, token) {
                self.rows.remove(id);
                self.released.insert((id.clone(), token.fence));
            }
        }
        let was_released = |id| self.released.contains(&(id, token.fence));
        if ids.into_iter().all(was_released) { Ok(()) } else { Err(Name::LockLost) }
    }

    fn revoke(&mut self, id: &str, fence: i64, delay: Option<i64>, now: i64) -> Result<(), Name> {
        let next = self.fence + 1;
        let lease = self.rows.get_mut(id).ok_or(Name::LockNotFound)?;
        if lease.fence != fence || lease.secret.is_none() {
            return Err(Name::LockChanged);
        }
        let grace = delay.unwrap_or(lease.grace.max(10_000));
        *lease = Lease { fence: next, secret: None, renew: now, expire: 0, grace, ..lease.clone() };
        self.fence = next;
        Ok(())
    }

    /// The fence that the entry of a withdrawal from ann's wallet carries.
    fn withdraw(&mut self, tokens: &[Token], now: i64) -> Result<Option<i64>, Name> {
        if !tokens.iter().all(|token| self.holds_all(token)) {
            return Err(Name::LockLost);
        }
        if let Some(own) = tokens.iter().find(|token| token.ids.iter().any(|id| id == "wallet/ann")) {
            return Ok(Some(own.fence));
        }
        match self.rows.get("wallet/ann") {
            Some(lease) if !lease.is_stale(now) => return Err(Name::Locked),
            Some(_) => {
                self.fence += 1;
                self.rows.remove("wallet/ann");
            }
            None => {}
        }
        Ok(tokens.iter().find(|token| token.ids.iter().any(|id| !id.starts_with("wallet/"))).map(|token| token.fence))
    }
}

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
        match self.dice.below(20) {
            0..=5 => self.acquire(),
            6..=8 => self.renew(),
            9..=10 => self.release(),
            11 => self.revoke(),
            12..=14 => self.withdraw(),
            15..=17 => self.advance(),
            18 => self.reopen(),
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
        let mut wish = ask(&IDS[first..first + together].join(" "), &name);
        wish.expire_ms = *self.dice.pick(&[1, 50, 100]);
        wish.grace_ms = *self.dice.pick(&[0, 30]);
        wish.max_hold_ms = *self.dice.pick(&[None, Some(150)]);
        let said = self.model.acquire(&wish, &name, self.now);
        let answer = self.book.acquire_as(wish.clone());
        assert_eq!(answer.as_ref().map(|grant| grant.how).map_err(|error| error.name), said, "{wish:?}");
        if let Ok(grant) = answer.as_ref().filter_new() {
            assert_eq!(
                (grant.token.fence.0, grant.expires_in_ms),
                (self.model.fence, wish.expire_ms),
                "whole, and newest"
            );
        }
        format!("{name} asks for {:?}", wish.ids)
    }

    fn renew(&mut self) -> String {
        let Some(token) = self.token() else { return String::new() };
        let (id, expire_ms) = (self.one_of(&token), *self.dice.pick(&[None, None, Some(70)]));
        let before = self.model.clone();
        let said = self.model.renew(id.as_deref(), &token, expire_ms, self.now);
        if said.is_err() {
            self.model = before;
        }
        let command = Command::Renew { id: id.as_deref().map(lock_id), token: self.real(&token), expire_ms };
        let answer = self.book.do_it(command).result.map_err(|error| error.name);
        assert_eq!(answer, said.map(Receipt::Renewed), "{token:?} {id:?}");
        format!("renew {token:?} {id:?}")
    }

    fn release(&mut self) -> String {
        let Some(token) = self.token() else { return String::new() };
        let id = self.one_of(&token);
        let said = self.model.release(id.as_deref(), &token);
        let command = Command::Release { id: id.as_deref().map(lock_id), token: self.real(&token) };
        let answer = self.book.do_it(command).result.map_err(|error| error.name);
        assert_eq!(answer, said.map(|()| Receipt::Released), "{token:?} {id:?}");
        format!("release {token:?} {id:?}")
    }

    fn revoke(&mut self) -> String {
        let id = *self.dice.pick(&IDS);
        let seen = self.model.rows.get(id).map_or(1, |lease| lease.fence);
        let fence = if self.dice.one_in(4) { seen - 1 } else { seen };
        let delay_ms = *self.dice.pick(&[None, Some(0), Some(40)]);
        let said = self.model.revoke(id, fence, delay_ms, self.now);
        let revoke = Revoke { id: lock_id(id), fence: Fence(fence), delay_ms, reason: None };
        let answer = self.book.do_it(Command::Revoke(revoke)).result;
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
                ids: lock.ids as usize,
            });
            assert_eq!(lease.as_ref(), self.model.rows.get(id), "the row of {id}");
        }
        assert_eq!(self.book.number("SELECT fence FROM lock_seq"), self.model.fence);
    }

    /// Every change of hands of every lock is on record, with fences that only grow.
    fn compare_events(&self) {
        for id in IDS {
            let mut all = self.book.read(|tx| events(tx, &lock_id(id), i64::MAX, 10_000)).unwrap();
            all.reverse();
            let mut holder: Option<i64> = None;
            let mut last = 0;
            for event in all {
                match event.what {
                    What::Created => assert_eq!((holder, event.previous_fence), (None, None)),
                    What::TakenOver | What::Revoked => {
                        assert_eq!(event.previous_fence.map(|f| f.0), holder, "{event:?}")
                    }
                    What::Released => assert_eq!(Some(event.fence.0), holder, "{event:?}"),
                }
                let released = event.what == What::Released;
                assert!(if released { event.fence.0 == last } else { event.fence.0 > last }, "{event:?} after {last}");
                last = event.fence.0;
                holder = (!released).then_some(last);
            }
            assert_eq!(holder, self.model.rows.get(id).map(|lease| lease.fence), "how {id} stands");
        }
        self.book.assert_sound();
    }
}

/// The grants that are new and not repeats.
trait FilterNew<'a> {
    fn filter_new(self) -> Result<&'a cashbox::lock::Grant, ()>;
}

impl<'a> FilterNew<'a> for Result<&'a cashbox::lock::Grant, &'a cashbox::error::Error> {
    fn filter_new(self) -> Result<&'a cashbox::lock::Grant, ()> {
        self.map_err(drop).and_then(|grant| if grant.how == How::Replayed { Err(()) } else { Ok(grant) })
    }
}

#[test]
fn random_lock_traffic_agrees_with_a_plain_table() {
    for dice in Dice::runs(0..20) {
        let book = check("recharge ann 99 |");
        let now = book.lease_ms();
        let mut run = Run { book, model: Model::default(), dice, now, named: 0 };
        for step in 0..150 {
            let told = run.step();
            eprintln!("{step}: T {} {told}", run.now); // shown only for a run that fails
            run.compare();
        }
        run.compare_events();
    }
}
