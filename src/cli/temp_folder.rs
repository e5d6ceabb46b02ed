//! Private folders that are removed with their process: for `serve --memory`, for `lab` and for `bench`.
//!
//! The folder of `--memory` lies in memory where the system has such a place. Its process holds the lock file inside; a
//! folder whose lock is free was left by a dead process, and is removed when the next folder is made. (Crates for
//! temporary folders leave the folder of a killed process.)

use crate::secret;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(crate) const MEMORY: &str = "cashbox-memory-";
const LAB: &str = "cashbox-lab-";
const BENCH: &str = "cashbox-bench-";
pub(crate) const LOCK: &str = "lock";
/// The kinds of file systems in memory: tmpfs and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// A folder of this process. Removed when dropped.
#[derive(Debug)]
pub(crate) struct TempFolder {
    path: PathBuf,
    /// Held until the folder is dropped.
    _lock: File,
}

impl TempFolder {
    /// Makes a folder, in memory if there is a place for it, and removes what dead processes left.
    pub(crate) fn new() -> io::Result<TempFolder> {
        let in_memory = TempFolder::new_in(Path::new("/dev/shm"), MEMORY);
        in_memory.or_else(|_| TempFolder::new_in(&std::env::temp_dir(), MEMORY))
    }

    /// Makes a folder for `lab` in that place, and removes what dead processes left.
    pub(crate) fn for_lab(place: &Path) -> io::Result<TempFolder> {
        TempFolder::new_in(place, LAB)
    }

    /// Makes a folder for `bench` where temporary files go: a disk, unless the system or `TMPDIR` names another place.
    pub(crate) fn for_bench() -> io::Result<TempFolder> {
        TempFolder::new_in(&std::env::temp_dir(), BENCH)
    }

    pub(crate) fn new_in(place: &Path, prefix: &str) -> io::Result<TempFolder> {
        remove_leftovers(place, prefix);
        loop {
            let path = place.join(format!("{prefix}{}", secret::random_hex::<8>()));
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK));
            // A process that removes leftovers may have found the folder before it was locked: then another is made.
            match lock {
                Ok(lock) if lock.try_lock().is_ok() && path.join(LOCK).exists() => {
                    return Ok(TempFolder { path, _lock: lock });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a database in it.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("cashbox.db")
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // what stays is removed at the next start
    }
}

/// True for a place in memory, where a commit does not wait for a disk.
pub(crate) fn is_in_memory(place: &Path) -> bool {
    // The kind is signed on some machines, unsigned on others, and of any width.
    rustix::fs::statfs(place).is_ok_and(|system| IN_MEMORY.contains(&(system.f_type as u32)))
}

fn remove_leftovers(place: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if is_own(&entry, prefix) && remove_if_dead(&entry.path()) {
            crate::log::info("removed what a dead process left", &entry.path().display());
        }
    }
}

/// A folder, and not a link to one, with that prefix and of this user.
fn is_own(entry: &fs::DirEntry, prefix: &str) -> bool {
    let named = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(prefix));
    let owned = |data: fs::Metadata| data.is_dir() && data.uid() == rustix::process::geteuid().as_raw();
    named(&entry.file_name()) && entry.metadata().is_ok_and(owned)
}

/// Removes the folder if its lock is free, holding it meanwhile, so that only one process removes.
fn remove_if_dead(folder: &Path) -> bool {
    let lock = OpenOptions::new().write(true).open(folder.join(LOCK));
    lock.is_ok_and(|lock| lock.try_lock().is_ok() && fs::remove_dir_all(folder).is_ok())
}
