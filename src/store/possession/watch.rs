//! The watch over an open database's files: what is wrong with them, seen by their inodes.

use super::log_frames::LogFrames;
use super::possess::Possession;
use crate::clock::Clock;
use crate::log;
use crate::store::checkpoint;
use crate::store::disk::{FileId, identity, identity_of, with_ending};
use rusqlite::Connection;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Something is wrong with a file of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFault {
    /// The name is another file's, or no file's.
    FileMoved,
    /// The file was cut.
    FileEmptied,
    /// The file has another name too.
    FileLinked,
    /// The log's name is another file's, or no file's.
    LogGone,
    /// The log was cut or overwritten after commits were written to it.
    LogEmptied,
    /// The name of the log's index is another file's, or no file's.
    IndexGone,
    /// Another file, which cannot be used, stands in the place of the companion.
    CompanionForeign,
}

use FileFault::*;

impl FileFault {
    const ALL: [FileFault; 7] = [FileMoved, FileEmptied, FileLinked, LogGone, LogEmptied, IndexGone, CompanionForeign];

    /// The faults in a set.
    pub(crate) fn all_in(set: u8) -> impl Iterator<Item = FileFault> {
        FileFault::ALL.into_iter().filter(move |fault| set & fault.bit() != 0)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            FileMoved => "file_moved",
            FileEmptied => "file_emptied",
            FileLinked => "file_linked",
            LogGone => "log_gone",
            LogEmptied => "log_emptied",
            IndexGone => "index_gone",
            CompanionForeign => "companion_foreign",
        }
    }

    /// The fault, its effect, and the remedy.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            FileMoved => {
                "the file was moved, replaced or deleted while it is served, and nothing is written: put it back, or start again"
            }
            FileEmptied => "the file was emptied or cut while it is served; the process stops: restore a backup",
            FileLinked => {
                "the file has another name too (a hard link), under which it must not be opened: remove that name"
            }
            LogGone => {
                "the log (-wal) was deleted or replaced while the file is served, and nothing is written: start again"
            }
            LogEmptied => {
                "the log (-wal) was emptied, cut or overwritten while the file is served, and the newest entries may be lost; the process stops: start again, compare, and restore a backup if they are"
            }
            IndexGone => {
                "the log's index (-shm) was deleted or replaced while the file is served, and nothing is written: start again"
            }
            CompanionForeign => {
                "another file stands in the place of the companion file (-serve), so commands do not find this server: remove it"
            }
        }
    }

    /// True if nothing may be written.
    pub(crate) fn stops_writing(self) -> bool {
        !matches!(self, FileLinked | CompanionForeign)
    }

    /// True if nothing may be moved from the log into the file either: it would damage the file more.
    pub(crate) fn ends_process(self) -> bool {
        matches!(self, FileEmptied | LogEmptied)
    }

    /// True if commits that are only in the log would be lost with the process.
    pub(crate) fn endangers_log(self) -> bool {
        matches!(self, FileMoved | LogGone)
    }
}

/// The size of the database in bytes, as its newest commit has it.
const SIZE: &str = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";

/// The files of an open database, as they were when it was opened.
///
/// Measured on two cores: a look after a commit takes 14,900 instructions outside of the kernel, nearly all of them for
/// the checksums of two frames, and with its two `stat` and seven `pread` 8 µs of processor time, of which the two `stat`
/// take 2.4 µs. A command that has a commit for itself takes 250,900 instructions and one sync.
pub(crate) struct FileWatch {
    possession: Arc<Possession>,
    db: PathBuf,
    db_id: Option<FileId>,
    log: PathBuf,
    log_id: Option<FileId>,
    /// (No descriptor of the index is opened: closing one would end SQLite's locks.)
    log_frames: Option<LogFrames>,
    /// The file's length at the last look, in bytes.
    db_bytes: u64,
    /// True once the contents of a file for tests were replaced: then it becomes shorter, and longer again.
    may_shrink: bool,
    /// The pages in the log after the last commit that was looked at, and its salts then.
    pages: u64,
    salts: Option<[u8; 8]>,
    index: PathBuf,
    index_id: Option<FileId>,
}

impl FileWatch {
    /// The faults that a look after a commit sees.
    pub(crate) const SEEN_AFTER_COMMIT: u8 = 1 << FileMoved as u8
        | 1 << FileEmptied as u8
        | 1 << FileLinked as u8
        | 1 << LogGone as u8
        | 1 << LogEmptied as u8;

    /// The faults after which the process must end.
    pub(crate) const ENDS_PROCESS: u8 = 1 << FileEmptied as u8 | 1 << LogEmptied as u8;

    /// Of a database that a connection of this process has read.
    pub(crate) fn start(possession: Arc<Possession>) -> FileWatch {
        let db = possession.db().to_owned();
        let (log, index) = (with_ending(&db, "-wal"), with_ending(&db, "-shm"));
        let log_file = File::open(&log).ok();
        let log_id = log_file.as_ref().and_then(|file| file.metadata().ok()).map(|data| identity_of(&data));
        let (db_id, index_id) = (identity(&db), identity(&index));
        let log_frames = log_file.map(LogFrames::of);
        let salts = log_frames.as_ref().and_then(|log| log.salts().ok().flatten());
        FileWatch {
            possession,
            db_id,
            log_id,
            log_frames,
            db_bytes: 0,
            may_shrink: false,
            pages: 0,
            salts,
            index_id,
            db,
            log,
            index,
        }
    }

    /// Expects a file of any length from now on: its contents were replaced.
    pub(crate) fn let_it_shrink(&mut self) {
        self.may_shrink = true;
    }

    /// The set of faults now.
    pub(crate) fn look(&mut self, conn: &Connection) -> u8 {
        let mut faults = self.look_at_contents(conn);
        if identity(&self.index) != self.index_id {
            faults |= IndexGone.bit();
        }
        if faults & FileMoved.bit() == 0 && !self.possession.keep_companion() {
            faults |= CompanionForeign.bit();
        }
        faults
    }

    /// The set of faults right after a commit of this thread that wrote to the log: of the file and the log alone.
    pub(crate) fn look_after_commit(&mut self, conn: &Connection) -> u8 {
        let mut faults = self.look_at_contents(conn);
        let pages = checkpoint::pages_in_log();
        // The last page before the commit: where the log was cut, what was written since cannot be replayed.
        let before = self.pages.min(pages);
        let is_whole = || self.log_frames.as_ref().is_none_or(|log| log.is_whole(before) && log.is_whole(pages));
        let is_newer = || checkpoint::pages_in_index(conn).is_some_and(|now| now < pages);
        if !is_whole() && !is_newer() && !is_whole() {
            faults |= LogEmptied.bit();
        }
        self.pages = pages;
        self.salts = self.log_frames.as_ref().and_then(|log| log.salts().ok().flatten());
        faults
    }

    /// True if it is certain that nothing of the transaction whose commit has just failed, and which was rolled back, can
    /// come back: the log holds no commit behind the last one.
    pub(crate) fn is_surely_undone(&self, conn: &Connection) -> bool {
        if !conn.is_autocommit() || self.log_is_gone() {
            return false;
        }
        let (Some(log), Some(pages)) = (&self.log_frames, checkpoint::pages_in_index(conn)) else { return false };
        // The log was to start anew and still has its old header: nothing was written, and the old commits are in the file.
        let is_old = |salts| pages == 0 && self.salts.is_some() && salts == self.salts;
        match log.salts() {
            Ok(None) => true,
            Ok(salts) => is_old(salts) || matches!(log.has_commit_behind(pages), Ok(false)),
            Err(_) => false,
        }
    }

    /// True if the log's name is another file's, or no file's.
    fn log_is_gone(&self) -> bool {
        identity(&self.log) != self.log_id
    }

    fn look_at_contents(&mut self, conn: &Connection) -> u8 {
        let mut faults = match self.db.symlink_metadata() {
            Ok(data) if Some(identity_of(&data)) == self.db_id => {
                let emptied = if self.is_cut(conn, data.len()) { FileEmptied.bit() } else { 0 };
                emptied | if data.nlink() > 1 { FileLinked.bit() } else { 0 }
            }
            _ => FileMoved.bit(),
        };
        if self.log_is_gone() {
            faults |= LogGone.bit();
        }
        faults
    }

    /// True if the file is shorter than it was, and should not be: another program's VACUUM makes it shorter too.
    fn is_cut(&mut self, conn: &Connection, bytes: u64) -> bool {
        if bytes < self.db_bytes && !self.may_shrink {
            let should_be = conn.query_row(SIZE, [], |row| row.get::<_, i64>(0));
            if bytes == 0 || should_be.map_or(true, |should_be| bytes < should_be.unsigned_abs()) {
                return true;
            }
        }
        self.db_bytes = bytes;
        bytes == 0
    }

    /// Gives a log that stands in the place of this file's own another name: the next start would replay it. What this
    /// file's log held must have been moved into the file.
    pub(crate) fn put_foreign_log_aside(&self) {
        let Ok(data) = self.log.symlink_metadata() else { return };
        let is_own = Some(identity_of(&data)) == self.log_id;
        if is_own || data.len() == 0 || identity(&self.db) != self.db_id {
            return;
        }
        let aside = with_ending(&self.db, &format!(".foreign-{}-wal", Clock::Machine.wall_ms()));
        match std::fs::rename(&self.log, &aside) {
            Ok(()) => log::warn("a log that is not this file's lay beside it, and is put aside as", &aside.display()),
            Err(error) => log::error("a log that is not this file's lies beside it: remove it before a start", &error),
        }
    }

    /// The log's device and inode.
    pub(crate) fn log_id(&self) -> Option<FileId> {
        self.log_id
    }
}
