//! The one way to open the file for reading. It changes no byte of the file, of its log or of their folder.
//!
//! | there is | read through |
//! |---|---|
//! | a process that has the file | SQLite's own shared memory with that process |
//! | a process that has the file under another name (a link, a mount) | refused: the log is under that name |
//! | no log | the file alone (`immutable`), also on a read-only medium and as a backup |
//! | a log and its index (`-shm`), after a crash | the file and its log; the index is made in memory (`readonly_shm`) |
//! | a log without its index | a private copy of both in a temporary folder |
//! | a file of an older version, for requests and exports | a private copy that is upgraded |
//! | a log beside an empty or unreadable file | refused before SQLite opens it, because SQLite would delete or replay the log |
//! | rollback journal of an interrupted change | refused: it would have to be played back |
//!
//! The second and third hold only while no process begins to write. So the files are looked at before and after
//! ([`Reading::is_current`]), and [`read_whole`] reads once more if they have changed.

use super::connection::{Readers, connect, connect_to};
use super::disk::with_ending;
use super::options::OpenError;
use super::possession::{companion, has_two_names, is_held, refuse_two_names};
use super::schema;
use crate::clock::Clock;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The first bytes of each SQLite database.
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// Attempts to read a file that other processes write for a moment each; then it is read beside them.
const ATTEMPTS: u32 = 3;
/// Free space that a private copy leaves in its file system, in bytes.
const SPACE_LEFT: u64 = 16 * 1024 * 1024;

/// A file that is opened for reading, by one or several connections. It must outlive them.
#[derive(Clone)]
pub struct Reading {
    /// The file, or a URI of it, or its copy.
    target: PathBuf,
    flags: OpenFlags,
    /// The files as they were, if no process may write meanwhile.
    quiet: Option<(PathBuf, Stamps)>,
    _copy: Option<Arc<TempDir>>,
}

/// Device, inode, size and time of the last write, in seconds and nanoseconds, of the file, its log and its journal. (Not
/// the time of the last change of the inode: SQLite sets the owner of a log that root opens.)
type Stamps = [Option<[i64; 5]>; 3];

impl Reading {
    /// Opens the file in the way that its state needs.
    pub fn of(db: &Path) -> Result<Reading, OpenError> {
        let stamps = stamps(db);
        let file = Files::look(db)?;
        if companion::is_possessed(db) {
            return file.beside_writer();
        }
        file.refuse_unreadable()?;
        if has_two_names(db).is_some() && is_held(db) {
            return Err(OpenError::new(
                "another program has it under another name, and its log is there: use that name",
            ));
        }
        let quiet = Some((db.to_owned(), stamps));
        if file.journal_bytes > 0 {
            return Err(OpenError::new(format!(
                "a change to it was interrupted, and has to be undone by the journal beside it ({}) before it can be read: a command that writes, or `cashbox serve`, does that",
                with_ending(db, "-journal").display()
            )));
        }
        if file.log_bytes == 0 {
            return Ok(Reading { target: uri(db, "immutable=1"), flags: URI, quiet, _copy: None });
        }
        if file.has_index_of_its_log() {
            return Ok(Reading { target: uri(db, "readonly_shm=1"), flags: URI, quiet, _copy: None });
        }
        file.private_copy(stamps)
    }

    /// Opens the file for requests.
    pub(crate) fn for_requests(db: &Path) -> Result<Reading, OpenError> {
        refuse_two_names(db)?; // before its content, which looks damaged while the log under its other name is moved into it
        Reading::of_present_version(db)
    }

    /// Opens the file with the tables of the present version.
    pub(super) fn of_present_version(db: &Path) -> Result<Reading, OpenError> {
        let reading = Reading::of(db)?;
        if schema::check(&reading.connect()?)? == schema::VERSION {
            return Ok(reading);
        }
        let copy = match reading._copy {
            Some(_) => reading,
            None => Files::look(db)?.private_copy(stamps(db))?,
        };
        if copy._copy.is_some() {
            let mut conn = connect(&copy.target, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            schema::prepare(&mut conn, &Clock::Machine, |_| Ok(()))?;
        }
        Ok(copy)
    }

    /// Opens a connection that reads.
    pub fn connect(&self) -> Result<Connection, OpenError> {
        let conn = connect_to(&self.target, self.flags).map_err(|error| self.with_log(error.into()))?;
        if schema::check(&conn).map_err(|why| self.with_log(why))? == 0 {
            return Err(OpenError::new("it is empty"));
        }
        Ok(conn)
    }

    /// The connections of a store that only reads, for one call.
    pub(super) fn readers(&self) -> Readers {
        Readers::own(&self.target, self.flags)
    }

    /// True if no process has begun to write since it was opened, so that all that was read is of one moment. Beside a
    /// writer SQLite sees to that.
    pub fn is_current(&self) -> bool {
        self.quiet.as_ref().is_none_or(|(db, before)| stamps(db) == *before && !companion::is_possessed(db))
    }

    /// True if no process has the file.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.is_some() || self._copy.is_some()
    }

    /// The error; of a damaged file it mentions the log that may hold what the file has lost. Under another name the log is
    /// not found, so a file that seems damaged there may be sound.
    fn with_log(&self, why: OpenError) -> OpenError {
        let Some((db, stamps)) = &self.quiet else { return why };
        if why.is_damage()
            && let Some(two_names) = has_two_names(db)
        {
            return two_names;
        }
        match stamps {
            [_, Some(log), _] if log[2] > 0 && (why.is_damage() || why.is_not_a_database()) => {
                why.and(&log_is_there(db))
            }
            _ => why,
        }
    }
}

/// Reads the file by `read`, and again if another process has begun to write meanwhile: what it has read may then be of
/// two moments, or seem damaged.
pub(crate) fn read_whole<T, E>(
    db: &Path,
    open: impl Fn(&Path) -> Result<Reading, OpenError>,
    failed: impl Fn(OpenError) -> E,
    mut read: impl FnMut(&Reading) -> Result<T, E>,
) -> Result<T, E> {
    for _ in 0..ATTEMPTS {
        let reading = open(db).map_err(&failed)?;
        let result = read(&reading);
        if reading.is_current() {
            return result;
        }
    }
    read(&Files::look(db).and_then(|file| file.beside_writer()).map_err(&failed)?)
}

/// Refuses a missing, empty or unreadable file beside a log, before SQLite opens it: SQLite would delete or replay the log.
pub(crate) fn refuse_unreadable_beside_log(db: &Path) -> Result<(), OpenError> {
    if !db.exists() && with_ending(db, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
        return Err(OpenError::new(missing(db)));
    }
    match Files::look(db) {
        Ok(file) if file.log_bytes > 0 => file.refuse_unreadable(),
        _ => Ok(()),
    }
}

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY;
const URI: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_URI);

fn uri(db: &Path, option: &str) -> PathBuf {
    let absolute = std::path::absolute(db).unwrap_or_else(|_| db.to_owned());
    format!("file:{}?{option}", percent_encode(absolute.as_os_str().as_bytes(), NON_ALPHANUMERIC)).into()
}

/// The file and what lies beside it.
struct Files<'a> {
    db: &'a Path,
    bytes: u64,
    log_bytes: u64,
    journal_bytes: u64,
}

impl Files<'_> {
    fn look(db: &Path) -> Result<Files<'_>, OpenError> {
        let data = match db.metadata() {
            Ok(data) if data.is_file() => data,
            Ok(data) if data.is_dir() => return Err(OpenError::new("it is a folder")),
            Ok(_) => return Err(OpenError::new("it is not an ordinary file")),
            Err(_) => return Err(OpenError::new(missing(db))),
        };
        let real = db.canonicalize()?; // SQLite looks for the log beside the file that a symlink leads to
        let bytes = |ending| with_ending(&real, ending).metadata().map_or(0, |data| data.len());
        Ok(Files { db, bytes: data.len(), log_bytes: bytes("-wal"), journal_bytes: bytes("-journal") })
    }

    /// True if the index describes this log. A process that was killed in its first commit leaves an index of no log, with
    /// which SQLite waits ten seconds for another process to recover it.
    fn has_index_of_its_log(&self) -> bool {
        let salts = |ending, at| {
            let mut salts = [0; 8];
            File::open(with_ending(self.db, ending))?.read_exact_at(&mut salts, at).map(|()| salts)
        };
        matches!((salts("-shm", 32), salts("-wal", 16)), (Ok(index), Ok(log)) if index == log)
    }

    fn beside_writer(&self) -> Result<Reading, OpenError> {
        if self.bytes < HEADER.len() as u64 {
            self.refuse_empty()?; // SQLite would delete the log
        }
        companion::check_log_of_server(self.db)?;
        Ok(Reading { target: self.db.to_owned(), flags: READ_ONLY, quiet: None, _copy: None })
    }

    fn refuse_empty(&self) -> Result<(), OpenError> {
        let empty = if self.bytes == 0 { OpenError::new("it is empty") } else { OpenError::not_a_database() };
        Err(if self.log_bytes > 0 { empty.and(&log_is_there(self.db)) } else { empty })
    }

    /// Not called while this process has the file: closing it here would end SQLite's locks on it.
    fn refuse_unreadable(&self) -> Result<(), OpenError> {
        if self.bytes == 0 {
            return self.refuse_empty();
        }
        let mut header = [0; HEADER.len()];
        let read = File::open(self.db).and_then(|mut file| file.read_exact(&mut header));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(OpenError::new("this account has no permission to read it"))
            }
            Ok(()) if header == *HEADER => Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => {
                let why = OpenError::not_a_database();
                Err(if self.log_bytes > 0 { why.and(&log_is_there(self.db)) } else { why })
            }
        }
    }

    /// Copies the file and its log, as they are at one moment.
    fn private_copy(&self, before: Stamps) -> Result<Reading, OpenError> {
        let bytes = self.bytes + self.log_bytes;
        let no_room = |why: &str| {
            OpenError::new(format!(
                "it has to be read through a copy of {bytes} bytes, and {why}: set TMPDIR to a folder with that much space"
            ))
        };
        let folder = copy_folder(bytes).ok_or_else(|| no_room("no temporary folder has room for it"))?;
        let target = folder.path().join("cashbox.db");
        let copied = fs::copy(self.db, &target).and_then(|_| {
            fs::copy(with_ending(&self.db.canonicalize()?, "-wal"), with_ending(&target, "-wal")).or_else(if_missing)
        });
        if let Err(error) = copied {
            return Err(no_room(&error.to_string()));
        }
        if stamps(self.db) != before {
            return self.beside_writer();
        }
        Ok(Reading { target, flags: READ_ONLY, quiet: None, _copy: Some(Arc::new(folder)) })
    }
}

fn if_missing(error: std::io::Error) -> std::io::Result<u64> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(0) } else { Err(error) }
}

/// A private folder with room for a copy of that size.
fn copy_folder(bytes: u64) -> Option<TempDir> {
    temporary_places()
        .into_iter()
        .filter(|place| has_room(place, bytes))
        .find_map(|place| tempfile::Builder::new().prefix("cashbox-read-").tempdir_in(place).ok())
}

/// The folders for temporary files, the preferred one first.
pub(super) fn temporary_places() -> Vec<PathBuf> {
    vec![std::env::temp_dir(), "/var/tmp".into(), "/tmp".into(), "/dev/shm".into()]
}

/// True if that many bytes are free there, and some more.
pub(super) fn has_room(place: &Path, bytes: u64) -> bool {
    let free = |disk: rustix::fs::StatVfs| disk.f_bavail.saturating_mul(disk.f_frsize);
    rustix::fs::statvfs(place).is_ok_and(|disk| free(disk) >= bytes.saturating_add(SPACE_LEFT))
}

/// The reason for a file that is not there.
fn missing(db: &Path) -> String {
    let log = with_ending(db, "-wal");
    match log.metadata() {
        Ok(data) if data.len() > 0 => format!("there is no such file; {}", log_is_there(db)),
        _ => "there is no such file".to_owned(),
    }
}

fn log_is_there(db: &Path) -> String {
    let log = db.canonicalize().map_or_else(|_| with_ending(db, "-wal"), |real| with_ending(&real, "-wal"));
    format!(
        "its log {} is there and may hold the last copy of what was answered: keep both; `cashbox restore BACKUP --replace` \
         puts a backup in its place and keeps them under another name",
        log.display()
    )
}

fn stamps(db: &Path) -> Stamps {
    let real = db.canonicalize().unwrap_or_else(|_| db.to_owned());
    ["", "-wal", "-journal"].map(|ending| {
        let data = with_ending(&real, ending).metadata().ok()?;
        Some([data.dev() as i64, data.ino() as i64, data.size() as i64, data.mtime(), data.mtime_nsec()])
    })
}
