//! The handle of an open wallet file: opening, the verbs in their short form, reading, copying, serving.

use super::file::{History, OpenFile, ServerHandle};
use super::request::{Lease, RequestBuilder};
use crate::error::Error;
use crate::id::{EntryId, LockId, UserId, WalletId};
use crate::ledger::coupon::Coupon;
use crate::ledger::hold::{self, Hold, HoldFilter, HoldState};
use crate::ledger::settings::{self, WalletSettings};
use crate::ledger::verbs::Moved;
use crate::ledger::{self, Wallet, WalletStatus};
use crate::money::{Balance, Cents, Money};
use crate::store::audit::{self, AuditReport};
use crate::store::file::copy::{self, CopyError};
use crate::store::{OpenError, OpenMode, Options, Store};
use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An open wallet file. Clones are handles of the same one; it is closed when the last of them is dropped.
///
/// One process has the file at a time: while it is open here, `cashbox serve` and other programs cannot open it, and
/// `cashbox` on the command line reaches it only while [`Cashbox::serve`] runs. Every method may be called from any
/// thread. A method that changes something returns when the change is on disk.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("cashbox.db");
/// use cashbox::{Cashbox, UserId};
///
/// let cashbox = Cashbox::open(&path)?;
/// let alice: UserId = "alice".parse()?;
/// cashbox.recharge(&alice, "120".parse()?)?;
/// assert_eq!(cashbox.balance(&alice)?.to_string(), "120.00");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cashbox {
    file: Arc<OpenFile>,
}

impl Cashbox {
    /// Opens the file, and creates it (readable by its owner alone) if it is not there. A file of an earlier version
    /// is upgraded; a copy from before the upgrade stays beside it.
    ///
    /// Takes possession by operating system's locks on the companion file `PATH-serve` and on the file itself, and holds
    /// them until it is closed: no server, command, `restore` or other handle has the file meanwhile. A command that
    /// holds the file for one operation is waited for, 5 seconds at most. Leases of locks that have not ended last their
    /// whole time again, because their holders could not renew them meanwhile.
    ///
    /// # Errors
    /// [`OpenError`]: another process serves the file or holds it, it is not a cashbox file, it is of a newer version,
    /// it is damaged, or it may not be written.
    pub fn open(path: impl AsRef<Path>) -> Result<Cashbox, OpenError> {
        let path = path.as_ref();
        let options = Options { mode: OpenMode::Server, ..Options::default() };
        let store = Arc::new(Store::open(path, &options).map_err(|error| error.at(path))?);
        Ok(Cashbox { file: Arc::new(OpenFile { store, serving: Mutex::new(()) }) })
    }

    /// Begins a request with an idempotency key, a reference, a coupon, lock tokens or a time to wait.
    pub fn request(&self) -> RequestBuilder<'_> {
        RequestBuilder::new(&self.file)
    }

    /// Moves money from the outside world into the user's wallet, which the first recharge creates. A large enough
    /// amount earns a coupon: see [`Moved::coupon`].
    ///
    /// # Errors
    /// As [`RequestBuilder::recharge`].
    pub fn recharge(&self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().recharge(user, amount)
    }

    /// Moves money from the user's wallet to the outside world.
    ///
    /// # Errors
    /// As [`RequestBuilder::withdraw`].
    pub fn withdraw(&self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().withdraw(user, amount)
    }

    /// Pays `amount` for something bought: from the user's wallet to `@sales`.
    ///
    /// # Errors
    /// As [`RequestBuilder::pay`].
    pub fn pay(&self, user: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().pay(user, amount)
    }

    /// Moves money from one user's wallet to another's.
    ///
    /// # Errors
    /// As [`RequestBuilder::transfer`].
    pub fn transfer(&self, from: &UserId, to: &UserId, amount: Money) -> Result<Moved, Error> {
        self.request().transfer(from, to, amount)
    }

    /// Gives back what is left of an earlier movement.
    ///
    /// # Errors
    /// As [`RequestBuilder::refund`].
    pub fn refund(&self, entry: EntryId) -> Result<Moved, Error> {
        self.request().refund(entry)
    }

    /// Reserves `amount` of the user's wallet for `@sales` until it is captured or voided, or expires: 1 second to 365 days from
    /// now. Then what is left goes back by itself, while the file is open. The hold is named by the number of its entry.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
    /// # let alice: cashbox::UserId = "alice".parse()?;
    /// use std::time::Duration;
    ///
    /// cashbox.recharge(&alice, "50".parse()?)?;
    /// let hold = cashbox.hold(&alice, "20".parse()?, Duration::from_secs(7_200))?.entry.id;
    /// assert_eq!((cashbox.balance(&alice)?.to_string(), cashbox.held(&alice)?.to_string()), ("30.00".into(), "20.00".into()));
    ///
    /// cashbox.request().reference("light broken").capture_part(hold, "15".parse()?)?;
    /// assert_eq!(cashbox.balance(&alice)?.to_string(), "35.00"); // 5.00 went back
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RequestBuilder::hold`].
    pub fn hold(&self, user: &UserId, amount: Money, expires: Duration) -> Result<Moved, Error> {
        self.request().hold(user, amount, expires)
    }

    /// Moves all that is left of a hold to its receiver.
    ///
    /// # Errors
    /// As [`RequestBuilder::capture`].
    pub fn capture(&self, hold: EntryId) -> Result<Moved, Error> {
        self.request().capture(hold)
    }

    /// Gives back all that is left of a hold.
    ///
    /// # Errors
    /// As [`RequestBuilder::void`].
    pub fn void(&self, hold: EntryId) -> Result<Moved, Error> {
        self.request().void(hold)
    }

    /// Gives the user a coupon of the kind with that claim code, in any case.
    ///
    /// # Errors
    /// As [`RequestBuilder::claim_coupon`].
    pub fn claim_coupon(&self, user: &UserId, claim_code: &str) -> Result<Coupon, Error> {
        self.request().claim_coupon(user, claim_code)
    }

    /// Freezes the user's wallet (money may come in, and none goes out), closes it (nothing moves) or opens it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
    /// # let alice: cashbox::UserId = "alice".parse()?;
    /// use cashbox::{ErrorName, SpendingLimits, WalletStatus};
    ///
    /// cashbox.recharge(&alice, "50".parse()?)?;
    /// cashbox.set_status(&alice, WalletStatus::Frozen)?; // the card was lost
    /// assert_eq!(cashbox.pay(&alice, "1".parse()?).unwrap_err().name, ErrorName::WalletFrozen);
    /// cashbox.set_status(&alice, WalletStatus::Open)?;
    ///
    /// cashbox.request().set_limits(&alice, SpendingLimits { per_payment: None, per_day: Some("15".parse()?) })?;
    /// cashbox.pay(&alice, "10".parse()?)?;
    /// assert_eq!(cashbox.pay(&alice, "6".parse()?).unwrap_err().name, ErrorName::LimitExceeded);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RequestBuilder::set_status`].
    pub fn set_status(&self, user: &UserId, status: WalletStatus) -> Result<WalletSettings, Error> {
        self.request().set_status(user, status)
    }

    /// Grants the user a coupon of that kind.
    ///
    /// # Errors
    /// As [`RequestBuilder::grant_coupon`].
    pub fn grant_coupon(&self, user: &UserId, kind: &str) -> Result<Coupon, Error> {
        self.request().grant_coupon(user, kind)
    }

    /// Acquires the lock for `ttl`, 1 millisecond to 24 hours, if it is free now.
    ///
    /// # Errors
    /// As [`RequestBuilder::lock`].
    pub fn lock(&self, id: &LockId, ttl: Duration) -> Result<Lease, Error> {
        self.request().lock(id, ttl)
    }

    /// The balance of a wallet: a user's, or one of the system's.
    ///
    /// # Errors
    /// `wallet_not_found` before the user's first recharge.
    pub fn balance(&self, wallet: impl Into<WalletId>) -> Result<Balance, Error> {
        Ok(self.wallet(wallet)?.balance)
    }

    /// A wallet as it is now.
    ///
    /// # Errors
    /// `wallet_not_found` before the user's first recharge.
    pub fn wallet(&self, wallet: impl Into<WalletId>) -> Result<Wallet, Error> {
        let id = wallet.into();
        self.file.store.read(|tx| ledger::wallet(tx, &id))
    }

    /// The name, status, metadata and limits of a user's wallet.
    ///
    /// # Errors
    /// `wallet_not_found` if the user has no wallet.
    pub fn settings(&self, user: &UserId) -> Result<WalletSettings, Error> {
        self.file.store.read(|tx| {
            let wallet = ledger::wallet(tx, &user.wallet())?;
            settings::settings(tx, &wallet.id)
        })
    }

    /// The amount that is reserved of a user's money, besides the balance.
    ///
    /// # Errors
    /// `busy` if too much is being read.
    pub fn held(&self, user: &UserId) -> Result<Cents, Error> {
        self.file.store.read(|tx| ledger::held(tx, &user.wallet()))
    }

    /// The holds on a user's wallet that can be captured now, newest first: 1,000 at most, for a wallet has no more.
    ///
    /// # Errors
    /// `busy` if too much is being read.
    pub fn holds(&self, user: &UserId) -> Result<Vec<Hold>, Error> {
        let (filter, store) =
            (HoldFilter { wallet: Some(user.wallet()), state: Some(HoldState::Open) }, &self.file.store);
        store.read(|tx| {
            let (now, mut all, mut after) = (store.now(tx)?, Vec::new(), None);
            loop {
                let page = hold::list(tx, &filter, &now, after, HOLDS_STEP)?;
                all.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    return Ok(all);
                }
            }
        })
    }

    /// The hold of that number, open or over.
    ///
    /// # Errors
    /// `hold_not_found` if the entry does not begin a hold.
    pub fn find_hold(&self, hold: EntryId) -> Result<Hold, Error> {
        self.file.store.read(|tx| hold::hold(tx, hold))
    }

    /// The coupons that the user can pay with now, newest first, 1,000 at most.
    ///
    /// # Errors
    /// `busy` if too much is being read.
    pub fn coupons(&self, user: &UserId) -> Result<Vec<Coupon>, Error> {
        let wall_ms = self.file.store.clock().wall_ms();
        self.file
            .store
            .read(|tx| ledger::query::usable_coupons(tx, user, ledger::query::steady_ms(tx, wall_ms)?, COUPONS_MAX))
    }

    /// The entries of a wallet, newest first, read page by page. Entries made meanwhile are not among them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
    /// # let alice: cashbox::UserId = "alice".parse()?;
    /// cashbox.recharge(&alice, "10".parse()?)?;
    /// cashbox.withdraw(&alice, "4".parse()?)?;
    /// let balances: Vec<String> =
    ///     cashbox.history(&alice).map(|entry| Ok(entry?.from_balance.to_string())).collect::<Result<_, cashbox::Error>>()?;
    /// assert_eq!(balances, ["6.00", "-10.00"]); // the second is of @bank, which the recharge came from
    /// # Ok(())
    /// # }
    /// ```
    pub fn history(&self, wallet: impl Into<WalletId>) -> History {
        History::new(&self.file, wallet.into())
    }

    /// Audits the file: balances, sums, the hash chain, coupons, locks, idempotency records, and SQLite's own
    /// structures. Nothing is changed, and other requests go on meanwhile. A sound file has no
    /// [`findings`](AuditReport::findings).
    ///
    /// # Errors
    /// `damaged` if the file cannot be read to its end.
    pub fn verify(&self) -> Result<AuditReport, Error> {
        audit::audit(self.file.store.path(), None, &mut |_, _| {})
    }

    /// Writes a copy of the file, as it is at one moment, to `target`, audits it, and only then gives it its name.
    /// Other requests go on meanwhile.
    ///
    /// # Errors
    /// [`CopyError`]: `target` is there already, cannot be written, or the file is damaged.
    pub fn backup(&self, target: impl AsRef<Path>) -> Result<AuditReport, CopyError> {
        copy::back_up(self.file.store.path(), target.as_ref(), false, &mut |_, _| {})
    }

    /// Serves the file over HTTP, as `cashbox serve` does, until the handle is dropped. Port 0 is any free one. The
    /// methods of [`Cashbox`] go on working, and `cashbox` on the command line finds the server by the file.
    ///
    /// # Errors
    /// The address cannot be resolved or is in use, or the file is served by this process already.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
    /// let server = cashbox.serve("127.0.0.1:0")?;
    /// println!("curl -H 'Authorization: Bearer {}' {}/v1/wallets", server.token(), server.url());
    /// server.stop();
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve(&self, address: impl ToSocketAddrs) -> io::Result<ServerHandle> {
        let address = address.to_socket_addrs()?.next().ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidInput, "the address has no IP address; write it as ADDR:PORT")
        })?;
        ServerHandle::start(&self.file, address)
    }
}

impl std::fmt::Debug for Cashbox {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Cashbox({})", self.file.store.path().display())
    }
}

/// The most coupons that [`Cashbox::coupons`] gives.
const COUPONS_MAX: usize = 1_000;

/// Holds that are read in one step.
const HOLDS_STEP: usize = 200;
