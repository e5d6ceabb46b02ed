//! The only way to SQL. A rule gets a [`ReadTx`] or a [`WriteTx`] and never a connection; having a [`WriteTx`]
//! proves that you are the writer. Both lead to [`Tables`]. A wallet is read from the tables only with a [`ReadTx`]: the
//! writer keeps some in its [`Unit`].
//!
//! Statements are prepared once and kept. Parameters are numbered (`$1`), which other engines understand as well; and
//! they first appear in the order of their numbers, because to SQLite `$1` is a name and names are numbered as they come.

mod file;
#[cfg(feature = "postgres")]
pub(crate) mod server;
mod stored;
#[cfg(all(test, feature = "postgres"))]
mod tests;

use crate::error::Error;
use crate::id::WalletId;
use crate::money::Balance;
use crate::secret::{Hash, Randomness};
use file::{KeepStatements, KeptStatements};
use rusqlite::{Connection, Statement};
#[cfg(feature = "postgres")]
use server::Session;
use std::cell::{Cell, Ref, RefCell};
use std::ops::Deref;

pub(crate) use file::{StorageFault, prepare_read};
pub(crate) use rusqlite::ToSql;
pub(crate) use stored::{Row, RowResult, unreadable};

/// The values of a statement's parameters, in the order of their numbers.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::tx::ToSql),*] as &[&dyn $crate::tx::ToSql]
    };
}
pub(crate) use params;

/// The writer's connection to where the ledger is kept.
pub(crate) enum Engine {
    /// A file.
    File(Connection),
    /// A database of PostgreSQL.
    #[cfg(feature = "postgres")]
    Server(Box<Session>),
}

/// The writer's statements, and where the rules draw from.
pub(crate) struct Statements<'conn> {
    /// The engine that they are prepared by.
    pub engine: &'conn Engine,
    /// Those of a file; a session keeps its own.
    kept: Option<KeptStatements<'conn>>,
    randomness: Randomness,
}

impl<'conn> Statements<'conn> {
    /// None is prepared yet.
    pub(crate) fn new(engine: &'conn Engine, randomness: Randomness) -> Statements<'conn> {
        let kept = match engine {
            Engine::File(conn) => Some(KeptStatements::new(conn)),
            #[cfg(feature = "postgres")]
            Engine::Server(_) => None,
        };
        Statements { engine, kept, randomness }
    }

    fn link(&self) -> Link<'_> {
        match (&self.kept, self.engine) {
            (Some(kept), _) => Link::Writer(kept),
            (None, engine) => engine.view().link,
        }
    }
}

impl Engine {
    /// The tables outside of a transaction: each statement sees the newest commit.
    pub(crate) fn view(&self) -> ReadTx<'_> {
        match self {
            Engine::File(conn) => ReadTx::new(conn),
            #[cfg(feature = "postgres")]
            Engine::Server(session) => ReadTx::of_session(session),
        }
    }
}

/// The connection that a statement runs on.
#[derive(Clone, Copy)]
enum Link<'conn> {
    /// A reader's, to a file; it keeps its statements.
    Reader(&'conn Connection),
    /// The writer's, to a file.
    Writer(&'conn dyn KeepStatements),
    /// A session, which keeps its statements.
    #[cfg(feature = "postgres")]
    Server(&'conn Session),
}

/// The tables of the ledger, as a transaction sees them.
pub struct Tables<'conn> {
    link: Link<'conn>,
}

impl Tables<'_> {
    /// The first row, if there is one.
    pub fn one<T>(
        &self,
        sql: &'static str,
        params: &[&dyn ToSql],
        map: impl FnOnce(&Row<'_>) -> RowResult<T>,
    ) -> Result<Option<T>, Error> {
        #[cfg(feature = "postgres")]
        if let Link::Server(session) = self.link {
            let rows = session.rows(sql, params)?;
            return Ok(rows.first().map(|row| map(&row.into())).transpose()?);
        }
        self.with(sql, |statement| {
            let mut rows = statement.query(params)?;
            rows.next()?.map(|row| map(&row.into())).transpose()
        })
    }

    /// Every row.
    pub fn all<T>(
        &self,
        sql: &'static str,
        params: &[&dyn ToSql],
        mut map: impl FnMut(&Row<'_>) -> RowResult<T>,
    ) -> Result<Vec<T>, Error> {
        #[cfg(feature = "postgres")]
        if let Link::Server(session) = self.link {
            let rows = session.rows(sql, params)?;
            return Ok(rows.iter().map(|row| map(&row.into())).collect::<RowResult<_>>()?);
        }
        self.with(sql, |statement| statement.query_map(params, |row| map(&row.into()))?.collect())
    }

    fn with<T>(&self, sql: &'static str, call: impl FnOnce(&mut Statement<'_>) -> RowResult<T>) -> Result<T, Error> {
        let statements = match self.link {
            Link::Reader(conn) => return Ok(call(&mut *prepare_read(conn, sql)?)?),
            Link::Writer(statements) => statements,
            #[cfg(feature = "postgres")]
            Link::Server(_) => return Err(Error::internal("a session has no statements of SQLite's")),
        };
        let (mut call, mut result) = (Some(call), None);
        statements.with(sql, &mut |statement| {
            result = call.take().map(|call| call(statement)).transpose()?;
            Ok(())
        })?;
        Ok(result.expect("a statement that was prepared is called"))
    }
}

/// A consistent view of the ledger.
pub struct ReadTx<'conn>(Tables<'conn>);

impl<'conn> ReadTx<'conn> {
    /// A view through `conn`, whose transaction the store has begun.
    pub(crate) fn new(conn: &'conn Connection) -> Self {
        ReadTx(Tables { link: Link::Reader(conn) })
    }

    /// A view through a session, whose transaction the store has begun.
    #[cfg(feature = "postgres")]
    pub(crate) fn of_session(session: &'conn Session) -> Self {
        ReadTx(Tables { link: Link::Server(session) })
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

/// The write transaction. There is one at a time in the whole ledger.
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
        let tables = Tables { link: statements.link() };
        let (writes, is_dry_run, randomness) = (Cell::new(0), Cell::new(false), &statements.randomness);
        WriteTx { tables, now, unit: RefCell::new(unit), writes, is_dry_run, randomness }
    }

    /// The source of codes and secrets.
    pub(crate) fn randomness(&self) -> &Randomness {
        self.randomness
    }

    /// Runs one statement. Returns the number of rows it changed.
    pub(crate) fn execute(&self, sql: &'static str, params: &[&dyn ToSql]) -> Result<usize, Error> {
        self.writes.set(self.writes.get() + 1);
        #[cfg(feature = "postgres")]
        if let Link::Server(session) = self.tables.link {
            return session.execute(sql, params);
        }
        self.tables.with(sql, |statement| statement.execute(params))
    }

    /// Runs a statement that begins, takes back or ends a part of the transaction.
    pub(crate) fn control(&self, sql: &'static str) -> Result<(), Error> {
        #[cfg(feature = "postgres")]
        if let Link::Server(session) = self.tables.link {
            return session.control(sql);
        }
        self.execute(sql, &[]).map(drop)
    }

    /// Runs a statement that must change exactly one row.
    ///
    /// # Panics
    /// If it changed another number of rows: only a fault of this program can cause that.
    pub(crate) fn execute_one(&self, sql: &'static str, params: &[&dyn ToSql]) -> Result<(), Error> {
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
