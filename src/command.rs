//! The waist: every change to the file is a [`Command`], and what it did is a [`Receipt`].
//!
//! A command is what the client said and nothing else — no clock, no new ids — so that the same request is always
//! the same canonical text. [`apply`] is the one place that knows which rule a command means.

use crate::error::Error;
use crate::id::{CouponCode, EntryId, LockId, LockToken, UserId, WalletId};
use crate::ledger::coupon::{Coupon, CouponKind, Discount, Tier};
use crate::ledger::{self, Attribution, Moved, Note};
use crate::lock::{self, AcquireRequest, Authority, Grant, Lock, Renewed, RevokeRequest};
use crate::money::Money;
use crate::secret::{self, Hash};
use crate::token::{self, AccessToken, MintedToken, NewToken};
use crate::tx::{ReadTx, WriteTx};
use std::collections::BTreeSet;

/// Something a client wants changed.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the words of the field, explained where the rules are")]
pub enum Command {
    /// Money from the outside world into a wallet.
    Recharge { user: UserId, amount: Money, note: Note },
    /// Money from a wallet to the outside world.
    Withdraw { user: UserId, amount: Money, note: Note },
    /// Money for something bought; `amount` is the price before the coupon.
    Pay { user: UserId, to: WalletId, amount: Money, coupon: Option<CouponCode>, note: Note },
    /// Money from one wallet to another.
    Transfer { from: WalletId, to: WalletId, amount: Money, note: Note },
    /// An earlier entry's money back; no amount means all that is left.
    Refund { entry: EntryId, amount: Option<Money>, note: Note },
    /// A coupon for a user.
    GrantCoupon { user: UserId, kind: String },
    /// Other recharge tiers.
    SetTiers(Vec<Tier>),
    /// Other coupon kinds.
    SetCouponKinds(Vec<CouponKind>),
    /// A new access token.
    MintToken(NewToken),
    /// An admin's access token whose secret the operator chose: its hash. Taken once; a repeat changes nothing.
    AdoptToken(Hash),
    /// An access token's end.
    RevokeToken(String),
    /// All of these or none.
    Batch(Vec<Command>),
    /// The name of a batch whose items follow, each for itself: what tells it from other batches. Does nothing more.
    NameBatch([u8; 16]),
    /// A lock, or several together.
    Acquire(AcquireRequest),
    /// A lease made whole again; without an id, all that were granted together.
    Renew { id: Option<LockId>, token: LockToken, expire_ms: Option<i64> },
    /// A lease given back.
    Release { id: Option<LockId>, token: LockToken },
    /// A lease taken away.
    Revoke(RevokeRequest),
    /// A lease given back because its grant could not be told to anybody.
    ReleaseUndelivered(LockToken),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipt {
    /// Money moved.
    Moved(Box<Moved>),
    /// A coupon was granted.
    Coupon(Coupon),
    /// The tiers are these now.
    Tiers(Vec<Tier>),
    /// The coupon kinds are these now.
    CouponKinds(Vec<CouponKind>),
    /// An access token was minted.
    Minted(Box<MintedToken>),
    /// An access token was taken as the operator chose it.
    Adopted(AccessToken),
    /// An access token was revoked.
    TokenRevoked(AccessToken),
    /// All of a batch was done.
    Batch(Vec<Receipt>),
    /// The batch has its name.
    Named,
    /// A lease was granted.
    Granted(Grant),
    /// A lease is whole again.
    Renewed(Renewed),
    /// A lease was given back.
    Released,
    /// A lease was taken away; the row as it is now.
    Revoked(Box<Lock>),
}

/// What came of trying a command.
pub enum Verdict {
    /// The answer, and the locks whose waiters must look again. What was written stays, even if the answer is an error.
    Done(Result<Receipt, Error>, Vec<LockId>),
    /// Somebody holds this lock. Whatever was written must be rolled back.
    Held(LockId),
}

/// Carries the command out for `by`, under the lock tokens presented with it.
pub fn apply(tx: &WriteTx<'_>, command: &Command, by: &str, tokens: &[LockToken]) -> Result<Verdict, Error> {
    match command {
        Command::Acquire(ask) => Ok(match lock::acquire(tx, ask, by)? {
            Ok(grant) => Verdict::Done(Ok(Receipt::Granted(grant)), Vec::new()),
            Err(id) => Verdict::Held(id),
        }),
        Command::Release { id, token } => {
            let released = lock::release(tx, id.as_ref(), token, by)?;
            Ok(Verdict::Done(released.lost.map_or(Ok(Receipt::Released), Err), released.freed))
        }
        Command::ReleaseUndelivered(token) => {
            Ok(Verdict::Done(Ok(Receipt::Released), lock::release(tx, None, token, by)?.freed))
        }
        Command::Renew { id, token, expire_ms } => {
            let (renewed, ids) = lock::renew(tx, id.as_ref(), token, *expire_ms)?;
            Ok(Verdict::Done(Ok(Receipt::Renewed(renewed)), ids))
        }
        Command::Revoke(revoke) => {
            let lock = lock::revoke(tx, revoke, by)?;
            Ok(Verdict::Done(Ok(Receipt::Revoked(Box::new(lock))), vec![revoke.id.clone()]))
        }
        _ => match lock::check(tx, tokens, &locks_needed(tx, command)?, by)? {
            Ok(authority) => Ok(Verdict::Done(Ok(carry_out(tx, command, by, &authority)?), authority.freed)),
            Err(id) => Ok(Verdict::Held(id)),
        },
    }
}

fn carry_out(tx: &WriteTx<'_>, command: &Command, by: &str, authority: &Authority) -> Result<Receipt, Error> {
    let moved = |moved: Moved| Receipt::Moved(Box::new(moved));
    let no_lease = authority.leases.is_empty();
    let fence = if no_lease { None } else { authority.fence_for(&locks_needed(tx, command)?) };
    let act = &Attribution { by: by.to_owned(), fence };
    match command {
        Command::Recharge { user, amount, note } => ledger::recharge::recharge(tx, user, *amount, note, act).map(moved),
        Command::Withdraw { user, amount, note } => ledger::withdraw::withdraw(tx, user, *amount, note, act).map(moved),
        Command::Pay { user, to, amount, coupon, note } => {
            ledger::pay::pay(tx, user, to, *amount, coupon.as_ref(), note, act).map(moved)
        }
        Command::Transfer { from, to, amount, note } => {
            ledger::transfer::transfer(tx, from, to, *amount, note, act).map(moved)
        }
        Command::Refund { entry, amount, note } => ledger::refund::refund(tx, *entry, *amount, note, act).map(moved),
        Command::GrantCoupon { user, kind } => ledger::coupon::grant_kind(tx, user, kind).map(Receipt::Coupon),
        Command::SetTiers(tiers) => ledger::coupon::set_tiers(tx, tiers).map(|()| Receipt::Tiers(tiers.clone())),
        Command::SetCouponKinds(kinds) => {
            ledger::coupon::set_kinds(tx, kinds).map(|()| Receipt::CouponKinds(kinds.clone()))
        }
        Command::MintToken(wanted) => {
            token::mint(tx, wanted, token::new_secret()).map(|minted| Receipt::Minted(Box::new(minted)))
        }
        Command::AdoptToken(hash) => token::adopt(tx, hash).map(Receipt::Adopted),
        Command::RevokeToken(id) => token::revoke(tx, id).map(Receipt::TokenRevoked),
        Command::Batch(items) => {
            let done = items
                .iter()
                .enumerate()
                .map(|(index, item)| carry_out(tx, item, by, authority).map_err(|error| error.with("index", index)));
            done.collect::<Result<_, _>>().map(Receipt::Batch)
        }
        Command::NameBatch(_) => Ok(Receipt::Named),
        Command::Acquire(_)
        | Command::Renew { .. }
        | Command::Release { .. }
        | Command::Revoke(_)
        | Command::ReleaseUndelivered(_) => {
            unreachable!("what changes a lock is applied above and is no batch item")
        }
    }
}

/// The locks of the users' wallets a command touches, the payer's first: each must be proved by a token or held by
/// nobody. (Which is asked first makes no difference: nothing is held while waiting.)
pub fn locks_needed(tx: &ReadTx<'_>, command: &Command) -> Result<Vec<LockId>, Error> {
    let locks = |wallets: &[&WalletId]| wallets.iter().filter_map(|wallet| wallet.lock()).collect();
    Ok(match command {
        Command::Recharge { user, .. } | Command::Withdraw { user, .. } => locks(&[&user.wallet()]),
        Command::Pay { user, to, .. } => locks(&[&user.wallet(), to]),
        Command::Transfer { from, to, .. } => locks(&[from, to]),
        Command::Refund { entry, .. } => match ledger::entry::entry(tx, *entry) {
            Ok(original) => locks(&[&original.to, &original.from]),
            Err(_) => Vec::new(), // said in its turn: locks come before wallets
        },
        Command::Batch(items) => {
            let mut all = BTreeSet::new();
            for item in items {
                all.extend(locks_needed(tx, item)?);
            }
            all.into_iter().collect()
        }
        Command::Acquire(ask) => ask.ids.clone(),
        _ => Vec::new(),
    })
}

impl Command {
    /// Whether its answer carries a secret, or it repeats by one: such an answer is never stored.
    pub fn answers_with_a_secret(&self) -> bool {
        matches!(
            self,
            Command::MintToken(_)
                | Command::AdoptToken(_)
                | Command::Acquire(_)
                | Command::Renew { .. }
                | Command::Release { .. }
                | Command::ReleaseUndelivered(_)
        )
    }

    /// Names the wish for a lock: asking again with the same secret is the same wish.
    pub fn acquire_key(&self) -> Option<[u8; 16]> {
        let Command::Acquire(ask) = self else { return None };
        let mut text = Canonical(Vec::new());
        text.verb("acquire").field(ask.secret.as_str());
        for id in &ask.ids {
            text.field(id);
        }
        Some(secret::sha256_short(&text.0))
    }

    /// The same 16 bytes for the same request, however it was written (`120` or `120.00`, form or JSON).
    pub fn fingerprint(&self) -> [u8; 16] {
        secret::sha256_short(&self.canonical())
    }

    /// Verb and fields, each with its length before it, so that no two commands read the same.
    fn canonical(&self) -> Vec<u8> {
        let mut text = Canonical(Vec::with_capacity(128));
        self.write(&mut text);
        text.0
    }

    fn write(&self, text: &mut Canonical) {
        match self {
            Command::Recharge { user, amount, note } => text.verb("recharge").field(user).field(amount).note(note),
            Command::Withdraw { user, amount, note } => text.verb("withdraw").field(user).field(amount).note(note),
            Command::Pay { user, to, amount, coupon, note } => {
                text.verb("pay").field(user).field(to).field(amount).optional(coupon.as_ref()).note(note)
            }
            Command::Transfer { from, to, amount, note } => {
                text.verb("transfer").field(from).field(to).field(amount).note(note)
            }
            Command::Refund { entry, amount, note } => {
                text.verb("refund").field(entry.0).optional(amount.as_ref()).note(note)
            }
            Command::GrantCoupon { user, kind } => text.verb("coupon").field(user).field(kind),
            Command::SetTiers(tiers) => {
                text.verb("tiers");
                for tier in tiers {
                    text.field(tier.from).optional(tier.kind.as_ref());
                }
                text
            }
            Command::SetCouponKinds(kinds) => {
                text.verb("coupon-kinds");
                for CouponKind { kind, terms, earned_zh, earned_en } in kinds {
                    match terms.off {
                        Discount::Amount(amount) => text.field(kind).field("amount").field(amount),
                        Discount::Percent(percent) => text.field(kind).field("percent").field(percent),
                    };
                    text.field(terms.threshold).field(terms.single_use).field(earned_zh).field(earned_en);
                }
                text
            }
            Command::RevokeToken(id) => text.verb("revoke-token").field(id),
            Command::Batch(items) => {
                text.verb("batch").field(items.len());
                items.iter().for_each(|item| item.write(text));
                text
            }
            Command::Revoke(RevokeRequest { id, fence, delay_ms, reason }) => {
                text.verb("revoke").field(id).field(fence.0).optional(delay_ms.as_ref()).optional(reason.as_ref())
            }
            Command::NameBatch(items) => text.verb("name-batch").field(secret::hex(items)),
            Command::MintToken(_)
            | Command::AdoptToken(_)
            | Command::Acquire(_)
            | Command::Renew { .. }
            | Command::Release { .. }
            | Command::ReleaseUndelivered(_) => {
                unreachable!("an answer with a secret is never stored, so nothing is compared")
            }
        };
    }
}

struct Canonical(Vec<u8>);

impl Canonical {
    fn verb(&mut self, verb: &str) -> &mut Canonical {
        self.field(verb)
    }

    fn field(&mut self, value: impl std::fmt::Display) -> &mut Canonical {
        let value = value.to_string();
        self.0.extend((value.len() as u32).to_be_bytes());
        self.0.extend(value.as_bytes());
        self
    }

    fn optional(&mut self, value: Option<impl std::fmt::Display>) -> &mut Canonical {
        match value {
            Some(value) => self.field(value),
            None => {
                self.0.extend(u32::MAX.to_be_bytes());
                self
            }
        }
    }

    fn note(&mut self, note: &Note) -> &mut Canonical {
        self.optional(note.reference.as_ref()).optional(note.metadata.as_ref())
    }
}
