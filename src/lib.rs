#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(unreachable_pub)]
#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "the program uses more of it than the library")
)]
//! cashbox: an embedded wallet. Wallets, coupons and a lock table in one SQLite file, for a program in Rust through
//! [`Cashbox`], and for everything else through its HTTP server and its command line.
//!
//! # Tutorial
//!
//! **Open a file.** It is created if it is not there. The program has it alone until the last handle is dropped; a file
//! that is served or held by another process is refused, and the error names the server.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("cashbox.db");
//! use cashbox::{Cashbox, Money, UserId};
//!
//! let cashbox = Cashbox::open(&path)?;
//! let alice: UserId = "alice".parse()?;
//! let amount: Money = "300.00".parse()?; // exact text, or Money::from_cents(30_000); never a float
//!
//! let moved = cashbox.recharge(&alice, amount)?; // the first recharge creates the wallet
//! assert_eq!(moved.entry.to_balance.to_string(), "300.00");
//! # Ok(())
//! # }
//! ```
//!
//! When a method returns `Ok`, the change is on disk.
//!
//! **Move money.** The verbs are [`recharge`](Cashbox::recharge), [`withdraw`](Cashbox::withdraw),
//! [`pay`](Cashbox::pay), [`transfer`](Cashbox::transfer) and [`refund`](Cashbox::refund). Each makes one [`Entry`],
//! which is never edited: a mistake is refunded. A large enough recharge earns a [`Coupon`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
//! # let alice: cashbox::UserId = "alice".parse()?;
//! let coupon = cashbox.recharge(&alice, "300".parse()?)?.coupon.ok_or("no coupon earned")?;
//! let paid = cashbox.request().coupon(&coupon.code).pay(&alice, "300".parse()?)?;
//! assert_eq!(paid.entry.amount.to_string(), "250.00"); // the coupon takes 50.00 off
//!
//! cashbox.refund(paid.entry.id)?;
//! assert_eq!(cashbox.balance(&alice)?.to_string(), "300.00");
//! assert_eq!(cashbox.coupons(&alice)?.len(), 1); // the refund gave the coupon back
//! # Ok(())
//! # }
//! ```
//!
//! **Reserve money.** A [`hold`](Cashbox::hold) keeps an amount for a receiver until it is [captured](Cashbox::capture),
//! [voided](Cashbox::void) or expires. A wallet can be [frozen or closed](Cashbox::set_status), and have
//! [limits](RequestBuilder::set_limits). A [dry run](RequestBuilder::dry_run) of any of it changes nothing.
//!
//! **Ask again safely.** A request that may be repeated, after a crash or a lost answer, carries an idempotency key: the
//! same request under the same key has one effect and one answer.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
//! # let alice: cashbox::UserId = "alice".parse()?;
//! # cashbox.recharge(&alice, "50".parse()?)?;
//! for _ in 0..3 {
//!     cashbox.request().key("order-17").reference("order 17").withdraw(&alice, "20".parse()?)?;
//! }
//! assert_eq!(cashbox.balance(&alice)?.to_string(), "30.00");
//! # Ok(())
//! # }
//! ```
//!
//! **Match errors by name.** [`Error::name`] is stable, `detail` is a sentence for people, and the facts are for programs.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
//! # let alice: cashbox::UserId = "alice".parse()?;
//! # cashbox.recharge(&alice, "50".parse()?)?;
//! use cashbox::ErrorName;
//!
//! match cashbox.withdraw(&alice, "80".parse()?) {
//!     Ok(moved) => println!("left: {}", moved.entry.from_balance),
//!     Err(error) if error.name == ErrorName::InsufficientFunds => println!("{}", error.detail),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Hold a lock.** A [`Lease`] is released when it is dropped. A lock named `wallet/USER` keeps that wallet for the
//! requests that prove the lease; any other name is yours. A request under a lease that has ended is refused, however
//! late it arrives, because the lease is checked in the transaction that moves the money.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
//! # let alice: cashbox::UserId = "alice".parse()?;
//! # cashbox.recharge(&alice, "50".parse()?)?;
//! use std::time::Duration;
//!
//! let mut lease = cashbox.request().wait(Duration::from_secs(5)).lock(&"wallet/alice".parse()?, Duration::from_secs(60))?;
//! let balance = cashbox.balance(&alice)?;
//! if balance.cents() >= 2_000 {
//!     cashbox.request().under(lease.token()).withdraw(&alice, "20".parse()?)?;
//! }
//! lease.renew(Duration::from_secs(60))?; // for longer work
//! lease.release()?;
//! # Ok(())
//! # }
//! ```
//!
//! **Look back, audit, copy.** [`history`](Cashbox::history) reads entries page by page, [`verify`](Cashbox::verify) finds
//! nothing in a sound file, and [`backup`](Cashbox::backup) copies it while it is in use.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
//! # let alice: cashbox::UserId = "alice".parse()?;
//! # cashbox.recharge(&alice, "50".parse()?)?;
//! for entry in cashbox.history(&alice).take(10) {
//!     let entry = entry?;
//!     println!("{} {} {} -> {} {}", entry.id, entry.kind, entry.from, entry.to, entry.amount);
//! }
//! assert!(cashbox.verify()?.findings.is_empty());
//! cashbox.backup(folder.path().join("copy.db"))?;
//! # Ok(())
//! # }
//! ```
//!
//! **Serve it.** [`serve`](Cashbox::serve) starts the HTTP server in the same process, on the same file, until its handle is
//! dropped. Meanwhile `cashbox` on the command line finds it.
//!
//! A program that needs none of the command line leaves it out, and with it its dependencies:
//! `cashbox = { version = "0.1", default-features = false }`.
//!
//! # What always holds
//!
//! - Money only moves. The sum over all wallets is zero; a balance is the sum of its entries; an entry is never edited.
//! - An answer that says yes is on disk. A repeat under the same idempotency key is one effect and one answer.
//! - Time decides which client may take a lock, never which may write: a write under a lock checks, inside its own
//!   transaction, that the row still names the writer. Fences only grow.
//! - The audit asks for all of this and finds nothing, after anything.
//!
//! # The map
//!
//! For readers of the source, in reading order. An import points upwards in this list and never in a circle.
//!
//! | part | contains |
//! |---|---|
//! | `money` `id` `clock` `error` `secret` `log` | base: exact text and integer cents; names that can only be valid; the only reader of clocks; the table of errors |
//! | `tx` | `WriteTx` and `ReadTx`, the only way to SQL; having a `WriteTx` proves that the caller is the writer; the unit of work |
//! | `ledger` `lock` `token` `journal` | features: a rule and its SQL together. They do not know each other |
//! | `command` | the waist: every change is a command, and what it did is a receipt |
//! | `store` | one file, one writer with group commit, some readers |
//! | `store::possession` `store::file` `store::audit` | one process per file; backup, restore, export, import; every invariant as a question |
//! | `http` | requests become commands, receipts become responses; `http::conn` is HTTP/1.1 and knows nothing of wallets |
//! | `cashbox` | the front door of this library |
//! | `test_mode` `test_server` | `serve --test`: a manual clock, snapshots, faults and pauses; the same in a program's own tests |
//! | `cli` | the command line; `cli::lock_run` runs a command under a lock |
//! | `lab` `bench` | tools: the experiment with lock strategies; the load generator, which checks what it measured |
//!
//! A withdrawal goes this way and back: `http::conn::connection`, `http::routes`, `http::wallets`, `Store::submit`,
//! `store::writer`, `store::plain` (or `store::execute`), `command`, `ledger::verbs`, `ledger::post`, `tx`.
//!
//! # Words
//!
//! One word for one thing; a new noun is added here first.
//!
//! | word | means | not used for it |
//! |---|---|---|
//! | wallet; its settings | one user's balance, or a system one, `@…`; its name, metadata, status (open, frozen, closed) and limits | account, purse |
//! | recharge, withdraw, pay, transfer, refund | the verbs, everywhere the same | deposit, topup, debit |
//! | report, period, total | sums by kind of a span of time; an hour, a day, a month; a running sum that the file keeps for it | statistics |
//! | hold; capture, void, expire | money of a wallet reserved for a receiver; its three ends | authorization |
//! | dry run | a command that is answered and changes nothing | simulation |
//! | entry | one immutable movement `from → to` | transaction, posting |
//! | coupon, coupon kind, recharge tier, claim code | a user's right to a discount; its effect; the amount that earns it; a public text for which any user gets one | voucher, promotion |
//! | lock, lease, grant, holder, waiter | a name; one grant of it until a moment; its client; a client that waits for it | mutex, session, guard |
//! | lock token, fence, grace | the proof of a lease; its number; the time after its end in which no other client can take over | |
//! | access token, caller, role | a credential; the client that asks; what it may do | api key |
//! | idempotency key, record | a client's name for one request; what was answered under it | intention |
//! | command, receipt | what is to be done; what it did | work |
//! | request, reply | a command on its way to the writer; its answer on the way back | ticket, promise |
//! | batch, commit | commands of one transaction; the transaction's end | |
//! | plain run | money verbs carried out without savepoints, and taken back if one of them needs an undo | |
//! | unit of work | the rows of a batch that are in memory until they are written: the newest entry, the system wallets, the totals of the report | |
//! | journal, line | the record of every change that no entry explains; one of them, or the state that an audit has seen | log |
//! | waiters, lock notifier, watch permit | parked requests per lock; signals a change; one long poll | board, bell |
//! | recent entries, event stream | the newest entries in memory, for all that follow; entries sent as they are made | feed |
//! | deliveries | which answers to a grant reached a client | |
//! | target, transport error | where the command line sends a request; why no answer came | door |
//! | connection, permit, eviction, response mode | of the HTTP server | line |
//! | server for tests; fault, pause, point, snapshot | `serve --test`; what goes wrong with a request on purpose; a stop of one, and the place of it; a state that can be brought back | mock |
//! | commit hook | what a server for tests does around the commit of a request | |
//! | companion file | `FILE-serve`: which process serves the file | |
//! | transaction | the database's | business events |

#[cfg(feature = "cli")]
mod bench;
mod cashbox;
#[cfg(feature = "cli")]
mod cli;
mod clock;
mod command;
#[cfg(feature = "cli")]
mod console;
mod error;
mod http;
mod id;
mod journal;
#[cfg(feature = "cli")]
mod lab;
mod ledger;
mod lock;
mod log;
mod money;
mod secret;
mod store;
mod test_mode;
mod test_server;
mod token;
mod tx;

pub use cashbox::{Cashbox, History, Lease, RequestBuilder, ServerHandle};
pub use error::{Error, ErrorName};
pub use id::{CouponCode, EntryId, Fence, LockId, LockToken, UserId, WalletId};
pub use ledger::coupon::{Coupon, CouponState, CouponTerms, Discount};
pub use ledger::entry::{Entry, EntryKind};
pub use ledger::hold::{Hold, HoldState, HoldStep};
pub use ledger::settings::WalletSettings;
pub use ledger::verbs::Moved;
pub use ledger::{SpendingLimits, Wallet, WalletStatus};
pub use money::{Balance, Cents, Money};
pub use store::OpenError;
pub use store::audit::{AuditReport, Finding};
pub use store::file::copy::CopyError;

/// A server for tests of your own programs: see [`Server`](testing::Server).
pub mod testing {
    pub use crate::test_mode::{CrashPoint, FaultAction, PausePoint, RequestMatch};
    pub use crate::test_server::{RequestPause, TestServer as Server};
}

/// The one place that lists what the binary, the tests, the benches and the fuzz targets reach inside. Not part of the
/// library's interface: any of it may change with any version.
/// A test that needs another name adds it here.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "cli")]
    pub mod bench {
        pub use crate::bench::{
            BatchWithdraw, BenchCaller, BenchClient, BenchPlan, BenchServer, BenchWallet, HeldFlag, HoldPairs,
            KeyOrder, Latencies, LockPairs, MoveCents, ReadBalance, Workload, acquire_request, check_locks,
            check_wallets, clean_command, digits_with_commas, drive, open_wallets, release_request, with_commas,
        };
    }
    #[cfg(feature = "cli")]
    pub mod cli {
        pub use crate::cli::main;
    }
    pub mod clock {
        pub use crate::clock::{Clock, DayEdge, boot_offset_ms, parse_moment, parse_offset, parse_rfc3339, rfc3339};
    }
    pub mod command {
        pub use crate::command::{
            AdoptToken, AtomicBatch, ClaimCoupon, Command, GrantCoupon, MoneyCommand, NameBatch, Receipt,
            ReleaseUndelivered, RevokeToken, SetCouponKinds, SetTiers, TryEach, TypedCommand,
        };
    }
    pub mod error {
        pub use crate::error::{Error, ErrorName};
    }
    pub mod http {
        pub use crate::http::{App, Settings};
        pub mod auth {
            pub use crate::http::auth::check_origin;
        }
        pub mod batch {
            pub use crate::http::batch::split;
        }
        pub mod conn {
            pub use crate::http::conn::{
                Admission, Answer, Body, Fault, HttpRequest, Limits, Presence, RequestHead, Response, ResponseSender,
                Server, Service, has_end, listen, parse_head, raise_descriptor_limit,
            };
        }
        pub mod endpoint {
            pub use crate::http::endpoint::{Route, RouteBody};
            pub use crate::http::state::BODY_MAX;
        }
        pub mod problem_pages {
            pub use crate::http::problem_pages::texts;
        }
        pub mod fields {
            pub use crate::http::fields::{FieldValue, Fields};
        }
        pub mod request {
            pub use crate::http::request::{PageRequest, media_type};
        }
        pub mod routes {
            pub use crate::http::routes::{ROUTES, find, language};
        }
        pub mod wallets {
            pub use crate::http::wallets::PAY;
        }
    }
    pub mod id {
        pub use crate::id::{
            ClaimCode, CouponCode, EntryId, Fence, IdempotencyKey, LockId, LockSecret, LockToken, UserId, WalletId,
        };
    }
    pub mod ledger {
        pub use crate::ledger::{Note, SpendingLimits, WalletStatus, find_wallet, wallet};
        pub mod coupon {
            pub use crate::ledger::coupon::{
                Coupon, CouponKind, CouponState, CouponTerms, Discount, KindLimits, Tier, kinds, tiers,
            };
        }
        pub mod entry {
            pub use crate::ledger::entry::{Entry, EntryKind, entry};
        }
        pub mod hold {
            pub use crate::ledger::held;
            pub use crate::ledger::hold::{CaptureHold, Hold, HoldState, HoldStep, PlaceHold, VoidHold, hold};
        }
        pub mod query {
            pub use crate::ledger::query::{Filter, coupons, entries};
            pub use crate::ledger::wallet_list::{WalletFilter, wallets};
        }
        pub mod settings {
            pub use crate::ledger::settings::{CreateWallet, SetWallet, WalletSettings};
        }
        pub mod verbs {
            pub use crate::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
        }
    }
    pub mod journal {
        pub use crate::journal::{ChangeKind, JournalLine};
    }
    pub mod lock {
        pub use crate::lock::{Lock, LockFilter, LockPage, LockState, find, list};
        pub mod event {
            pub use crate::lock::event::{LockEvent, LockEventKind, of_lock};
        }
        pub mod lease {
            pub use crate::lock::lease::{
                AcquireRequest, Grant, GrantOrigin, ReleaseRequest, RenewRequest, Renewed, RevokeRequest,
            };
        }
    }
    pub mod money {
        pub use crate::money::{Balance, Cents, Money};
    }
    pub mod secret {
        pub use crate::secret::{hex, parse_hash, random_hex};
    }
    pub mod store {
        pub use crate::store::{Envelope, LOCAL, OpenMode, Options, Outcome, Reading, Store, WaitLimits};
        pub mod audit {
            pub use crate::store::audit::{AuditLine, Since, audit};
        }
        pub mod file {
            pub mod copy {
                pub use crate::store::file::copy::{CopyError, back_up, restore};
            }
            pub mod transfer {
                pub use crate::store::file::transfer::{ImportOptions, Source, import};
            }
        }
        pub mod schema {
            pub use crate::store::schema::{VERSION, rebuild_totals};
        }
    }
    pub mod token {
        pub use crate::token::{AccessToken, NewToken, Role, RotateToken, hash, is_secret};
    }
}
