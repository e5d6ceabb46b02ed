//! The cursor file: one line with the place behind the last entry that was dealt with.
//!
//! It is replaced as a whole, by a file that is on disk: a process that is killed, and a machine that stops, leave the
//! place before or the one after. The file that is there is always locked by the process that uses it: the new one is
//! locked before it gets the name.

use crate::cli::output::CliError;
use crate::store::file::copy::sync_folder_of;
use crate::store::is_beside_database;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The first word of the file.
const MARK: &str = "cashbox-cursor-1";
/// The longest file that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// A cursor file that this process uses.
#[derive(Debug)]
pub(crate) struct CursorFile {
    path: PathBuf,
    /// The file that has the name now; it keeps the lock.
    file: File,
}

impl CursorFile {
    /// Locks the file, or an empty new one, and gives the place in it.
    pub(crate) fn open(path: &Path) -> Result<(CursorFile, Option<String>), CliError> {
        // A symlink stays, and what it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // It is replaced by another file of that name, which must not be a device (`/dev/null`) or part of a database.
        if is_beside_database(&path) || path.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir()) {
            return Err(is_other_file(&path));
        }
        let failed = |error| cannot("open", &path, &error);
        let mut file = loop {
            let file = options().open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let why = format!("the cursor file {} is in use by another `cashbox follow`", path.display());
                    return Err(CliError::usage(why));
                }
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, &error)),
            }
            // Between the two, another process may have replaced the file and ended.
            if is_at(&file, &path) {
                break file;
            }
        };
        let mut text = Vec::new();
        (&mut file).take(BYTES_MAX).read_to_end(&mut text).map_err(|error| cannot("read", &path, &error))?;
        let place = place(&text).map_err(|()| is_other_file(&path))?;
        Ok((CursorFile { path, file }, place))
    }

    /// Replaces the place. When this returns, it is on disk.
    pub(crate) fn write(&mut self, place: &str) -> Result<(), CliError> {
        self.replace(place).map_err(|error| cannot("write", &self.path, &error))
    }

    fn replace(&mut self, place: &str) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new_path = self.path.with_file_name(name);
        // One that a killed process left is in no use: this process has the lock.
        match fs::remove_file(&new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options().create_new(true).open(&new_path)?;
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(format!("{MARK} {place}\n").as_bytes())?;
        file.sync_data()?;
        fs::rename(&new_path, &self.path)?;
        self.file = file;
        sync_folder_of(&self.path) // a rename is not on disk before its folder is
    }
}

fn is_other_file(path: &Path) -> CliError {
    CliError::usage(format!(
        "{} is not a cursor file of `cashbox follow`, and is left as it is: name another file",
        path.display()
    ))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// True if the file has that name.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (own, there) = (file.metadata().map(id), fs::metadata(path).map(id));
    matches!((own, there), (Ok(own), Ok(there)) if own == there)
}

/// The place in a cursor file; none in an empty one, which was made and not written yet.
fn place(text: &[u8]) -> Result<Option<String>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).map_err(|_| ())?;
    let place = text.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(' ')?.strip_suffix('\n')).ok_or(())?;
    let is_place = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_place.then(|| Some(place.to_owned())).ok_or(())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::unreachable(format!("cannot {what} the cursor file {}: {error}", path.display()))
}
