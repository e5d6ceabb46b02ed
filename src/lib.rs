#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! cashbox: an embedded wallet in one binary. Wallets, coupons and a lock table in one SQLite file, behind a synchronous
//! HTTP server that `curl` can use.
//!
//! # The map, in reading order
//!
//! *Base, which knows nothing below it:* `money` (exact text, integer cents) · `id` (names that can only be valid) ·
//! `clock` (the only reader of clocks) · `error` (what can go wrong, by name) · `secret` (randomness, SHA-256) ·
//! `log` (lines for the operator) · `tx` (the thin door to SQL).
//!
//! *Features, a rule and its SQL together:* `ledger` (wallets, entries, coupons) · `lock` (leases, fences, the guard) ·
//! `token` (who may do what). They do not know each other.
//!
//! *The waist:* `command` — every change is a command, what it did is a receipt.
//!
//! *The store:* `store` — one file, one writer with group commit, a few readers, the audit.
//!
//! *Faces:* `http` and `cli`. They have no opinion about money: they build a command, submit it, show the receipt.
//! `lab` tries them beside other ways to guard a balance.
//! `bench` is none of them: it is a client, who measures a server and then checks it.
//!
//! # What always holds
//!
//! - Money only moves. The sum over all wallets is zero; a balance is the sum of its entries; an entry is never edited.
//! - A yes is on disk before it is said. A repeat under the same idempotency key is one effect and one answer.
//! - Time decides who may take a lock, never who may write: a write under a lock checks, inside its own transaction,
//!   that the row still names the writer. Fences only grow.
//! - `store::audit` asks after all of it and finds nothing, after anything.
//!
//! # Words
//!
//! *wallet*: one user's balance, or the system's (`@…`). *recharge, withdraw, pay, transfer, refund*: the verbs. *entry*:
//! one immutable movement `from → to`. *coupon*: a user's right to a discount; *coupon kind*: what it does; *recharge
//! tier*: what earns it. *lock*: a name; *lease*: one grant of it; *lock token*: the proof of a lease; *fence*: its
//! number; *grace*: the time after its end in which nobody else may take over. *access token*: a credential.
//! *idempotency key*: a client's name for one intention.
//!
//! # An example
//!
//! ```
//! use cashbox::internals::ledger::{Note, verbs::Recharge};
//! use cashbox::internals::{id::UserId, money::Money, store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let store = store::Store::open(&folder.path().join("cashbox.db"), &store::Options::default())?;
//! let recharge = Recharge { user: UserId::parse("alice")?, amount: Money::parse("120")?, note: Note::default() };
//! let moved = store.submit(store::Envelope::local(), recharge).result?;
//! assert_eq!(moved.entry.to_balance.to_string(), "120.00");
//! assert!(moved.coupon.is_some(), "a recharge of 120 earns a coupon");
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "cli")]
mod bench;
mod cashbox;
#[cfg(feature = "cli")]
mod cli;
mod clock;
mod command;
mod error;
mod http;
mod id;
#[cfg(feature = "cli")]
mod lab;
mod ledger;
mod lock;
mod log;
mod money;
mod secret;
mod store;
mod token;
mod tx;

pub use cashbox::{Cashbox, History, Lease, RequestBuilder, ServerHandle};
pub use error::{Error, ErrorName};
pub use id::{CouponCode, EntryId, Fence, LockId, LockToken, UserId, WalletId};
pub use ledger::Wallet;
pub use ledger::coupon::{Coupon, CouponState, CouponTerms, Discount};
pub use ledger::entry::{Entry, EntryKind};
pub use ledger::verbs::Moved;
pub use money::{Balance, Cents, Money};
pub use store::OpenError;
pub use store::audit::{AuditReport, Finding};
pub use store::file::copy::CopyError;

/// The one place that lists what the binary, the tests, the benches and the fuzz targets reach inside. Not part of the
/// library's interface: any of it may change with any version.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "cli")]
    pub mod bench {
        pub use crate::bench::*;
    }
    #[cfg(feature = "cli")]
    pub mod cli {
        pub use crate::cli::*;
    }
    pub mod clock {
        pub use crate::clock::*;
    }
    pub mod command {
        pub use crate::command::*;
    }
    pub mod error {
        pub use crate::error::*;
    }
    pub mod http {
        pub use crate::http::*;
    }
    pub mod id {
        pub use crate::id::*;
    }
    #[cfg(feature = "cli")]
    pub mod lab {
        pub use crate::lab::*;
    }
    pub mod ledger {
        pub use crate::ledger::*;
    }
    pub mod lock {
        pub use crate::lock::*;
    }
    pub mod log {
        pub use crate::log::*;
    }
    pub mod money {
        pub use crate::money::*;
    }
    pub mod secret {
        pub use crate::secret::*;
    }
    pub mod store {
        pub use crate::store::*;
    }
    pub mod token {
        pub use crate::token::*;
    }
    pub mod tx {
        pub use crate::tx::*;
    }
}
