//! The place of the temporary files of an audit, which sorts more than it keeps in memory. Without a place the audit says
//! that, and not that the file is damaged.
//!
//! SQLite looks for a folder by itself: `SQLITE_TMPDIR`, `TMPDIR`, `/var/tmp`, `/usr/tmp`, `/tmp`, the working folder. It
//! takes the first that may be written, whatever is free there. So the first with space is chosen here: of `TMPDIR`,
//! `/var/tmp`, `/tmp`, the folder of the file and `/dev/shm`. The choice is SQLite's own for the whole process, which is
//! why only the first audit makes it.

use crate::error::{Error, ErrorName};
use crate::store::disk::{folder_of, with_ending};
use crate::store::reading::{has_room, temporary_places};
use rusqlite::Connection;
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The part of a file's size that its audit may write into temporary files: measured, a tenth at most.
const PART: u64 = 4;
/// A file up to this size, in bytes, is audited in memory if there is no place: it takes less than the file.
const IN_MEMORY_MAX: u64 = 48 * 1024 * 1024;

/// The sentence for an audit that has no space for its temporary files.
pub(super) const TOO_LITTLE: &str = "the audit has too little space for its temporary files, and nothing is known to be wrong with the file: set TMPDIR to a folder \
                                     with a quarter of the file's size free, and start again";

/// A place for temporary files.
pub(super) struct TempPlace {
    pub is_memory: bool,
}

impl TempPlace {
    /// Chooses the place for a file.
    pub(super) fn choose(file: &Path) -> Result<TempPlace, Error> {
        static CHOSEN: OnceLock<Option<PathBuf>> = OnceLock::new();
        let bytes = |file: &Path| file.metadata().map_or(0, |data| data.len());
        let bytes = bytes(file) + bytes(&with_ending(file, "-wal"));
        let chosen = CHOSEN.get_or_init(|| {
            let mut places = temporary_places();
            places.insert(places.len().min(3), folder_of(file).to_owned());
            places.into_iter().find(|place| is_usable(place, bytes / PART))
        });
        match chosen {
            Some(place) if is_usable(place, bytes / PART) => {
                set_temp_folder(place)?;
                Ok(TempPlace { is_memory: false })
            }
            _ if bytes <= IN_MEMORY_MAX => Ok(TempPlace { is_memory: true }),
            _ => Err(Error::new(ErrorName::StorageFull, TOO_LITTLE)),
        }
    }
}

fn is_usable(place: &Path, bytes: u64) -> bool {
    access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok() && has_room(place, bytes)
}

/// Sets the folder once: SQLite keeps one for all connections, and it must not change while one has temporary files.
fn set_temp_folder(place: &Path) -> Result<(), Error> {
    static SET: OnceLock<()> = OnceLock::new();
    if SET.get().is_none() {
        let absolute = std::path::absolute(place).map_err(Error::internal)?;
        let text = absolute.to_str().unwrap_or_default(); // SQLite looks by itself then
        Connection::open_in_memory()?.pragma_update(None, "temp_store_directory", text)?;
        let _ = SET.set(()); // a second audit may have set the same
    }
    Ok(())
}
