//! The watch over an open database's files: what is wrong with them, seen by their inodes.

use super::possess::Possession;
use crate::store::disk::{FileId, identity, identity_of, with_ending};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Something is wrong with a file of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFault {
    /// The name is another file's, or no file's.
    FileMoved,
    /// The file was cut to nothing.
    FileEmptied,
    /// The file has another name too.
    FileLinked,
    /// The log's name is another file's, or no file's.
    LogGone,
    /// The log was cut to nothing after commits were written to it.
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
            FileEmptied => "the file was emptied while it is served; the process stops: restore a backup",
            FileLinked => {
                "the file has another name too (a hard link), under which it must not be opened: remove that name"
            }
            LogGone => {
                "the log (-wal) was deleted or replaced while the file is served, and nothing is written: start again"
            }
            LogEmptied => "the log (-wal) was emptied while the file is served; the process stops: restore a backup",
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

/// The files of an open database, as they were when it was opened.
pub(crate) struct FileWatch {
    possession: Arc<Possession>,
    db: PathBuf,
    db_id: Option<FileId>,
    log: PathBuf,
    log_id: Option<FileId>,
    /// For reading its header. (No descriptor of the index is opened: closing one would end SQLite's locks.)
    log_file: Option<File>,
    index: PathBuf,
    index_id: Option<FileId>,
}

/// First bytes of a log, without the last bit, which is the byte order of its checksums.
const LOG_MAGIC: u32 = 0x377f_0682;

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
        FileWatch { possession, db_id: identity(&db), log_id, log_file, index_id: identity(&index), db, log, index }
    }

    /// The set of faults now.
    pub(crate) fn look(&self) -> u8 {
        let mut faults = self.look_at_contents();
        if identity(&self.index) != self.index_id {
            faults |= IndexGone.bit();
        }
        if faults & FileMoved.bit() == 0 && !self.possession.keep_companion() {
            faults |= CompanionForeign.bit();
        }
        faults
    }

    /// The set of faults right after a commit that wrote to the log: of the file and the log alone.
    pub(crate) fn look_after_commit(&self) -> u8 {
        let mut faults = self.look_at_contents();
        let mut magic = [0; 4];
        let read = self.log_file.as_ref().map(|log| log.read_exact_at(&mut magic, 0));
        let is_log = read.is_none_or(|read| read.is_ok() && u32::from_be_bytes(magic) & !1 == LOG_MAGIC);
        if !is_log {
            faults |= LogEmptied.bit();
        }
        faults
    }

    fn look_at_contents(&self) -> u8 {
        let mut faults = match self.db.metadata() {
            Ok(data) if Some(identity_of(&data)) == self.db_id => {
                let emptied = if data.len() == 0 { FileEmptied.bit() } else { 0 };
                emptied | if data.nlink() > 1 { FileLinked.bit() } else { 0 }
            }
            _ => FileMoved.bit(),
        };
        if identity(&self.log) != self.log_id {
            faults |= LogGone.bit();
        }
        faults
    }

    /// The log's device and inode.
    pub(crate) fn log_id(&self) -> Option<FileId> {
        self.log_id
    }
}
