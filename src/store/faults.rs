//! The part of the writer that decides whether it may write: the space on the disk, the faults of the database's files, a
//! wall clock that has jumped. It looks before a batch and after its commit.

use super::checkpoint;
use super::execute::BatchLost;
use super::possession::{FileFault, FileWatch};
use super::stats;
use super::writer::{WriterState, unknown};
use crate::error::{Error, ErrorName};
use crate::tx::Engine;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl WriterState {
    /// Refuses to write after a commit of unknown outcome, without space, or into a file that is not there any more.
    pub(super) fn check_writable(&mut self) -> Result<(), Error> {
        if self.for_tests
            && let Some(space) = &mut self.space
        {
            space.look(); // its clock stands still
        }
        let boot_ms = self.clock.boot_ms();
        let space = self.space.as_mut().map_or(Ok(()), |space| space.check(boot_ms));
        stats::set(&self.stats.free_bytes, self.space.as_ref().map_or(u64::MAX, |space| space.free));
        let too_little = matches!(&space, Err(error) if error.name == ErrorName::StorageFull);
        self.stats.storage_full.store(too_little || self.disk_is_full, Relaxed);
        let fault = FileFault::all_in(self.stats.file_faults.load(Relaxed)).find(|fault| fault.stops_writing());
        // Space comes last: below the floor some commands are carried out.
        let damaged = fault.map(|fault| Error::new(ErrorName::Damaged, fault.sentence()));
        let jumped = self.wall_jump.check(self.clock.wall_ms()).err();
        self.stats.set_clock_jump(jumped.as_ref().map(|error| error.detail.clone()));
        self.unknown_outcome.clone().or(damaged).or(jumped).or(space.err()).map_or(Ok(()), Err)
    }

    pub(super) fn has_fault(&self, is_such: fn(FileFault) -> bool) -> bool {
        FileFault::all_in(self.stats.file_faults.load(Relaxed)).any(is_such)
    }

    /// Looks at the files of the database.
    pub(super) fn look_again(&mut self, engine: &Engine) {
        self.looked_at = Instant::now();
        if let (Some(conn), Some(files)) = (engine.file(), &mut self.files) {
            let faults = files.look(conn);
            self.note_faults(conn, faults);
        }
    }

    /// True if the log of the file shows that the commit did not get there.
    pub(super) fn is_surely_undone(&self, engine: &Engine) -> bool {
        engine.file().zip(self.files.as_ref()).is_some_and(|(conn, files)| files.is_surely_undone(conn))
    }

    /// Logs each fault of the files once, and its end; saves what it endangers.
    pub(super) fn note_faults(&mut self, conn: &Connection, faults: u8) {
        self.looked_at = Instant::now();
        let before = self.stats.file_faults.load(Relaxed);
        let faults = faults | before & FileWatch::ENDS_PROCESS;
        self.stats.file_faults.store(faults, Relaxed);
        for fault in FileFault::all_in(faults & !before) {
            crate::log::error("degraded", &fault.sentence());
        }
        for fault in FileFault::all_in(before & !faults) {
            crate::log::info("no longer degraded", &fault.label());
        }
        if self.has_fault(FileFault::ends_process) {
            let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true); // the log is kept as it is
            self.unknown_outcome.get_or_insert_with(|| unknown("a file of the database was emptied or cut"));
            self.stats.outcome_unknown.store(true, Relaxed);
        } else if !self.has_fault(FileFault::endangers_log) {
            self.log_is_saved = false;
        } else if !self.log_is_saved {
            self.log_is_saved = checkpoint::move_all(conn);
        }
        if self.log_is_saved
            && let Some(files) = &self.files
        {
            files.put_foreign_log_aside();
        }
    }

    /// Refuses to answer yes for a commit that would be lost with this process, or that the file's name does not lead to.
    pub(super) fn check_kept(&mut self, engine: &Engine) -> Result<(), BatchLost> {
        let (Some(conn), Some(files)) = (engine.file(), &mut self.files) else { return Ok(()) };
        if !checkpoint::has_written() {
            return Ok(());
        }
        let faults = files.look_after_commit(conn);
        // Those that are only looked for before a commit.
        let others = self.stats.file_faults.load(Relaxed) & !FileWatch::SEEN_AFTER_COMMIT;
        self.log_is_saved = false;
        self.note_faults(conn, faults | others);
        let moved = FileFault::all_in(faults).any(|fault| fault == FileFault::FileMoved);
        match &self.unknown_outcome {
            Some(error) => Err(BatchLost(error.clone())),
            None if moved || self.has_fault(FileFault::endangers_log) && !self.log_is_saved => {
                Err(BatchLost(unknown("a file of the database was moved or deleted during the commit")))
            }
            None => Ok(()),
        }
    }

    /// Notes whether the disk is full.
    pub(super) fn note_space(&mut self, full: Option<&Error>) {
        self.disk_is_full = full.is_some();
        self.stats.storage_full.store(full.is_some(), Relaxed);
    }
}
