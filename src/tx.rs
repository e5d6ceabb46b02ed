//! The only way to SQL. A rule gets a [`ReadTx`] or a [`WriteTx`] and never a connection; having a [`WriteTx`]
//! proves that you are the writer. Both lead to [`Tables`]. A wallet is read from the tables only with a [`ReadTx`]: the
//! writer keeps some in its [`Unit`].
//!
//! Statements are prepared once and kept. Parameters are numbered (`$1`), which other engines understand as well; and
//! they first appear in the order of their numbers, because to SQLite `$1` is a name and names are numbered as they come.

use crate::error::{Error, ErrorName};
use crate::id::{ClaimCode, CouponCode, EntryId, Fence, IdempotencyKey, LockId, UserId, WalletId};
use crate::money::{Balance, Money};
use crate::secret::{Hash, Randomness};
use nix::errno::Errno;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, PrepFlags, Statement, StatementStatus};
use std::cell::{Cell, Ref, RefCell};
use std::ops::Deref;

pub(crate) use rusqlite::{Row, ToSql, params};

/// The result of a row mapper.
pub(crate) type RowResult<T> = rusqlite::Result<T>;

/// The error of a row mapper for a column whose value this program never writes: the file is damaged.
pub(crate) fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, "not what belongs here".into())
}

/// The writer's statements, each prepared once and found by the address of its text: no text is hashed or compared.
pub(crate) struct Statements<'conn> {
    /// The connection that they are prepared for.
    pub conn: &'conn Connection,
    kept: RefCell<Vec<(TextAddress, Statement<'conn>)>>,
    randomness: Randomness,
}

/// Address and length of a text of the program.
type TextAddress = (usize, usize);

impl<'conn> Statements<'conn> {
    /// None is prepared yet. `randomness`: where the rules draw from.
    pub(crate) fn new(conn: &'conn Connection, randomness: Randomness) -> Statements<'conn> {
        Statements { conn, kept: RefCell::default(), randomness }
    }
}

/// Hides the lifetime of the statements.
trait KeepStatements {
    fn with(&self, sql: &'static str, call: &mut dyn FnMut(&mut Statement<'_>) -> RowResult<()>) -> RowResult<()>;
}

impl KeepStatements for Statements<'_> {
    /// A statement in use is taken out, so that the call may use others.
    fn with(&self, sql: &'static str, call: &mut dyn FnMut(&mut Statement<'_>) -> RowResult<()>) -> RowResult<()> {
        let address = (sql.as_ptr() as usize, sql.len());
        let found = {
            let mut kept = self.kept.borrow_mut();
            let index = kept.iter().position(|(own, _)| *own == address);
            index.map(|index| kept.swap_remove(index).1)
        };
        let mut statement = match found {
            Some(statement) => statement,
            // Persistent, or it would use up the small memory that SQLite keeps for short-lived ones.
            None => checked(self.conn.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?, sql),
        };
        let done = call(&mut statement);
        self.kept.borrow_mut().push((address, statement));
        done
    }
}

/// A statement that its connection keeps, with no steps counted yet: SQLite holds the steps of all runs of a statement
/// against the bound of one, so that one of many short reads would be refused.
pub(crate) fn prepare_read<'conn>(conn: &'conn Connection, sql: &str) -> RowResult<CachedStatement<'conn>> {
    let statement = conn.prepare_cached(sql)?;
    statement.reset_status(StatementStatus::VmStep);
    Ok(statement)
}

/// The tables of the file, as a transaction sees them.
pub struct Tables<'conn> {
    conn: &'conn Connection,
    /// The writer's statements; a reader's are kept by its connection.
    statements: Option<&'conn dyn KeepStatements>,
}

impl Tables<'_> {
    fn with<T>(&self, sql: &'static str, call: impl FnOnce(&mut Statement<'_>) -> RowResult<T>) -> Result<T, Error> {
        let Some(statements) = self.statements else {
            let mut statement = prepare_read(self.conn, sql)?;
            return Ok(call(&mut statement)?);
        };
        let (mut call, mut result) = (Some(call), None);
        statements.with(sql, &mut |statement| {
            result = call.take().map(|call| call(statement)).transpose()?;
            Ok(())
        })?;
        Ok(result.expect("a statement that was prepared is called"))
    }

    /// The first row, if there is one.
    pub fn one<T>(
        &self,
        sql: &'static str,
        params: impl rusqlite::Params,
        map: impl FnOnce(&Row<'_>) -> RowResult<T>,
    ) -> Result<Option<T>, Error> {
        self.with(sql, |statement| {
            let mut rows = statement.query(params)?;
            rows.next()?.map(map).transpose()
        })
    }

    /// Every row.
    pub fn all<T>(
        &self,
        sql: &'static str,
        params: impl rusqlite::Params,
        map: impl FnMut(&Row<'_>) -> RowResult<T>,
    ) -> Result<Vec<T>, Error> {
        self.with(sql, |statement| statement.query_map(params, map)?.collect())
    }
}

fn checked<'conn>(statement: Statement<'conn>, sql: &str) -> Statement<'conn> {
    debug_assert!(
        (1..=statement.parameter_count()).all(|n| statement.parameter_name(n) == Some(&format!("${n}"))),
        "parameters appear in the order of their numbers: {sql}"
    );
    statement
}

/// A consistent view of the file.
pub struct ReadTx<'conn>(Tables<'conn>);

impl<'conn> ReadTx<'conn> {
    /// A view through `conn`, whose transaction the store has begun.
    pub(crate) fn new(conn: &'conn Connection) -> Self {
        ReadTx(Tables { conn, statements: None })
    }
}

impl<'conn> Deref for ReadTx<'conn> {
    type Target = Tables<'conn>;
    fn deref(&self) -> &Tables<'conn> {
        &self.0
    }
}

/// The time of a batch of writes: read once, after its transaction has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since 1970, for people.
    pub wall_ms: i64,
    /// Lease time, for locks: it never goes back.
    pub lease_ms: i64,
}

/// The newest entry, which the next one is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainHead {
    /// Its number, 0 before the first.
    pub id: i64,
    /// Its time.
    pub at: i64,
    /// Its hash.
    pub hash: Hash,
}

/// The newest line of the journal, which the next one is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalHead {
    /// Its number, 0 before the first.
    pub seq: i64,
    /// Its time.
    pub at: i64,
    /// Its hash.
    pub hash: Hash,
}

/// A system wallet in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemWallet {
    pub balance: Balance,
    /// The number of entries that moved it.
    pub entries: i64,
    /// True if its row is not written yet.
    pub is_changed: bool,
}

/// The number of totals of the report.
pub(crate) const TOTALS: usize = 13;

/// A running total of the report: from the first entry on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunningTotal {
    /// The number of entries.
    pub count: i64,
    /// Cents. They may pass 64 bits.
    pub sum: i128,
}

/// The running totals of the report up to the newest entry, in the order that the ledger gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunningTotals {
    pub all: [RunningTotal; TOTALS],
    /// The quarter of an hour, numbered from 1970, whose rows were written last.
    pub written: i64,
    /// One bit for each total that is not written yet.
    pub changed: u16,
}

/// The unit of work: the part of a batch that is kept in memory until it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// The newest entry.
    pub head: ChainHead,
    /// The system wallets that were read, in the order of [`WalletId::SYSTEM`].
    pub system: [Option<SystemWallet>; WalletId::SYSTEM.len()],
    /// The newest entry at the time when the system wallets were written.
    pub written_up_to: i64,
    /// The wall time of the newest note of the time, once it was read.
    pub newest_note_ms: Option<i64>,
    /// The totals of the report.
    pub totals: RunningTotals,
    /// True if any wallet has settings that a movement must keep to. None: not looked up yet.
    pub has_rules: Option<bool>,
    /// The lease time at which the first of the holds is due that the batch has made or ended.
    pub due_ms: Option<i64>,
    /// The newest line of the journal, once it was looked up.
    pub journal: Option<JournalHead>,
}

/// The write transaction. There is one at a time in the whole file.
pub(crate) struct WriteTx<'conn> {
    tables: Tables<'conn>,
    now: Now,
    unit: RefCell<Unit>,
    /// The number of statements that wrote.
    writes: Cell<u64>,
    is_dry_run: Cell<bool>,
    randomness: &'conn Randomness,
}

impl<'conn> WriteTx<'conn> {
    /// For the writer alone, which has begun the transaction and will end it.
    pub(crate) fn new(statements: &'conn Statements<'_>, now: Now, head: ChainHead, totals: RunningTotals) -> Self {
        let unit = Unit {
            head,
            system: Default::default(),
            written_up_to: head.id,
            newest_note_ms: None,
            totals,
            has_rules: None,
            due_ms: None,
            journal: None,
        };
        let tables = Tables { conn: statements.conn, statements: Some(statements) };
        let (writes, is_dry_run, randomness) = (Cell::new(0), Cell::new(false), &statements.randomness);
        WriteTx { tables, now, unit: RefCell::new(unit), writes, is_dry_run, randomness }
    }

    /// The source of codes and secrets.
    pub(crate) fn randomness(&self) -> &Randomness {
        self.randomness
    }

    /// Runs one statement. Returns the number of rows it changed.
    pub(crate) fn execute(&self, sql: &'static str, params: impl rusqlite::Params) -> Result<usize, Error> {
        self.writes.set(self.writes.get() + 1);
        self.tables.with(sql, |statement| statement.execute(params))
    }

    /// Runs a statement that must change exactly one row.
    ///
    /// # Panics
    /// If it changed another number of rows: only a fault of this program can cause that.
    pub(crate) fn execute_one(&self, sql: &'static str, params: impl rusqlite::Params) -> Result<(), Error> {
        let changed = self.execute(sql, params)?;
        assert_eq!(changed, 1, "a row that was just read exists: {sql}");
        Ok(())
    }

    /// True while a command is tried that will be taken back.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.is_dry_run.get()
    }

    /// Begins or ends a dry run.
    pub(crate) fn set_dry_run(&self, is_dry_run: bool) {
        self.is_dry_run.set(is_dry_run);
    }

    /// The time of this transaction.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// Wall time, never before that of the newest entry, in milliseconds: the time that age is measured from.
    pub(crate) fn steady_wall_ms(&self) -> i64 {
        self.now.wall_ms.max(self.chain_head().at)
    }

    /// The newest entry.
    pub(crate) fn chain_head(&self) -> ChainHead {
        self.unit.borrow().head
    }

    /// The number of statements so far that wrote.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// Notes a lease time at which a hold is due.
    pub(crate) fn note_due(&self, due_ms: i64) {
        self.change_unit(|unit| unit.due_ms = unit.due_ms.into_iter().chain([due_ms]).min());
    }

    /// The part of the batch in memory, as it is now.
    pub(crate) fn unit(&self) -> Ref<'_, Unit> {
        self.unit.borrow()
    }

    /// Changes the part of the batch in memory.
    pub(crate) fn change_unit(&self, change: impl FnOnce(&mut Unit)) {
        change(&mut self.unit.borrow_mut());
    }

    /// Sets the part of the batch in memory as it was where the tables are rolled back to.
    pub(crate) fn set_unit(&self, unit: Unit) {
        self.unit.replace(unit);
    }
}

impl<'conn> Deref for WriteTx<'conn> {
    type Target = Tables<'conn>;
    fn deref(&self) -> &Tables<'conn> {
        &self.tables
    }
}

#[doc(hidden)]
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        if let Some(fault) = StorageFault::of(&error) {
            return fault.error(error);
        }
        match error.sqlite_error_code() {
            Some(_) if extended_code(&error) == NO_TEMP_FOLDER => {
                let detail = "there is no folder for temporary files: set TMPDIR to one with space";
                Error::new(ErrorName::StorageFull, detail).caused_by(error)
            }
            Some(ErrorCode::OperationInterrupted) => {
                Error::new(ErrorName::Busy, "this would read too much at once; narrow it down").caused_by(error)
            }
            None if is_unreadable(&error) => Error::damaged(error),
            _ => Error::internal(error),
        }
    }
}

/// The reason for an error of SQLite's that lies in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageFault {
    /// The disk is full.
    DiskFull,
    /// A quota, or the limit on the size of a file (`ulimit -f`), is reached.
    LimitReached,
    /// Reading failed.
    ReadFailed,
    /// Writing failed, or syncing, or another call.
    WriteFailed,
    /// The file holds something else than it should.
    Damaged,
}

impl StorageFault {
    /// The fault that the error is about, if it is one of these. Called right after the call that failed, in its thread:
    /// SQLite does not say why the operating system refused to write, and reports a failed read as damage; `errno` knows.
    pub(crate) fn of(error: &rusqlite::Error) -> Option<StorageFault> {
        match (error.sqlite_error_code()?, extended_code(error)) {
            (ErrorCode::DiskFull, _) => Some(StorageFault::DiskFull),
            (_, NO_TEMP_FOLDER) => None,
            (_, READ_FAILED | SHORT_READ) => Some(StorageFault::ReadFailed),
            (ErrorCode::SystemIoFailure, _) => match Errno::last() {
                Errno::ENOSPC => Some(StorageFault::DiskFull),
                Errno::EDQUOT | Errno::EFBIG => Some(StorageFault::LimitReached),
                _ => Some(StorageFault::WriteFailed),
            },
            (ErrorCode::DatabaseCorrupt, _) if Errno::last() == Errno::EIO => {
                Errno::clear(); // real damage may be found later in this thread
                Some(StorageFault::ReadFailed)
            }
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Some(StorageFault::Damaged),
            _ => None,
        }
    }

    /// SQLite's error for a full disk, for one that is only supposed to be full.
    pub(crate) fn full_disk() -> rusqlite::Error {
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        rusqlite::Error::SqliteFailure(full, Some("a fault that was asked for".to_owned()))
    }

    /// True for an error of such a kind.
    pub(crate) fn is_it(error: &rusqlite::Error) -> bool {
        use ErrorCode::*;
        matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure | DatabaseCorrupt | NotADatabase))
    }

    /// The error for a client.
    pub(crate) fn error(self, cause: rusqlite::Error) -> Error {
        match self {
            StorageFault::DiskFull => Error::new(ErrorName::StorageFull, NO_SPACE).caused_by(cause),
            StorageFault::LimitReached => Error::new(ErrorName::StorageFull, LIMIT_REACHED).caused_by(cause),
            StorageFault::ReadFailed => Error::disk_failed("reading failed"),
            StorageFault::WriteFailed => Error::disk_failed(cause),
            StorageFault::Damaged => Error::damaged(cause),
        }
    }
}

const NO_SPACE: &str = "there is no space left to write; reading goes on";
const LIMIT_REACHED: &str =
    "a quota or the limit on the size of a file (ulimit -f) is reached, so it cannot be written; reading goes on";

// SQLite's extended codes of I/O errors.
const READ_FAILED: i32 = 10 | 1 << 8;
const SHORT_READ: i32 = 10 | 2 << 8;
/// There is no folder for a temporary file.
const NO_TEMP_FOLDER: i32 = 10 | 25 << 8;

/// SQLite's extended code of the error; 0 if it is not SQLite's.
pub(crate) fn extended_code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code)
}

/// Returns whether a column holds a value that this program never writes.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::*;
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// Ids are stored as the text they are.
macro_rules! stored_as_text {
    ($($kind:ty),*) => {$(
        #[doc(hidden)]
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.as_str()))
            }
        }
    )*};
}
stored_as_text!(UserId, WalletId, CouponCode, ClaimCode, IdempotencyKey, LockId);

/// Numbers and amounts are stored as the integers they are.
macro_rules! stored_as_integer {
    ($($kind:ty, $number:expr;)*) => {$(
        #[doc(hidden)]
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let number: fn(&$kind) -> i64 = $number;
                Ok(ToSqlOutput::from(number(self)))
            }
        }
    )*};
}
stored_as_integer! {
    Money, |it| it.cents();
    Balance, |it| it.cents();
    EntryId, |it| it.0;
    Fence, |it| it.0;
}

/// Values in the file were valid when they were written; a file with others is damaged.
macro_rules! read_back {
    ($($kind:ty, $stored:ty, $read:expr;)*) => {$(
        #[doc(hidden)]
        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let read: fn($stored) -> Option<$kind> = $read;
                read(<$stored>::column_result(value)?).ok_or(FromSqlError::InvalidType)
            }
        }
    )*};
}
read_back! {
    UserId, String, |text| UserId::parse(&text).ok();
    WalletId, String, |text| Some(WalletId::stored(text));
    CouponCode, String, |text| CouponCode::parse(&text).ok();
    ClaimCode, String, |text| ClaimCode::parse(&text).ok();
    LockId, String, |text| LockId::stored(&text);
    Money, i64, Money::from_cents;
    Balance, i64, |cents| Some(Balance::from_cents(cents));
    EntryId, i64, |id| Some(EntryId(id));
    Fence, i64, |fence| Some(Fence(fence));
}
