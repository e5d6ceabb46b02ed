//! A private folder that goes when its process does: for `--memory`, for `lab` and for `bench`.
//!
//! That of `--memory` lies in memory where the system has such a place. A lock file inside says that somebody lives there;
//! a folder whose lock nobody holds is a dead process's, and goes when the next one moves in.

use crate::secret;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MEMORY: &str = "cashbox-memory-";
const LAB: &str = "cashbox-lab-";
const BENCH: &str = "cashbox-bench-";
const LOCK: &str = "lock";
/// What file systems in memory, tmpfs and ramfs, say of themselves.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// A folder of our own. Removed when dropped.
#[derive(Debug)]
pub struct TempFolder {
    path: PathBuf,
    /// Held as long as we live.
    _lock: File,
}

impl TempFolder {
    /// Makes a folder, in memory if there is a place for it, and removes what dead processes left.
    pub fn new() -> io::Result<TempFolder> {
        let in_memory = TempFolder::new_in(Path::new("/dev/shm"), MEMORY);
        in_memory.or_else(|_| TempFolder::new_in(&std::env::temp_dir(), MEMORY))
    }

    /// Makes a folder for `lab` in that place, and removes what dead ones left.
    pub fn for_lab(place: &Path) -> io::Result<TempFolder> {
        TempFolder::new_in(place, LAB)
    }

    /// Makes a folder for `bench` where temporary files go: a disk, unless the system or `TMPDIR` has it otherwise.
    pub fn for_bench() -> io::Result<TempFolder> {
        TempFolder::new_in(&std::env::temp_dir(), BENCH)
    }

    fn new_in(place: &Path, prefix: &str) -> io::Result<TempFolder> {
        remove_leftovers(place, prefix);
        loop {
            let path = place.join(format!("{prefix}{}", secret::random_hex::<8>()));
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK));
            // Somebody who cleans up may have found the folder before it was locked: then it is gone, or going.
            match lock {
                Ok(lock) if lock.try_lock().is_ok() && path.join(LOCK).exists() => {
                    return Ok(TempFolder { path, _lock: lock });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a database goes.
    pub fn database(&self) -> PathBuf {
        self.path.join("cashbox.db")
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // what stays is removed at the next start
    }
}

/// Whether what lies there is in memory, where nothing waits for a disk.
pub fn is_in_memory(place: &Path) -> bool {
    // A kind is a signed number on some machines, an unsigned one on others, of any width.
    rustix::fs::statfs(place).is_ok_and(|system| IN_MEMORY.contains(&(system.f_type as u32)))
}

fn remove_leftovers(place: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if is_ours(&entry, prefix) && remove_if_dead(&entry.path()) {
            crate::log::info("removed what a dead process left", &entry.path().display());
        }
    }
}

/// A folder, and not a link to one, that is named like ours and belongs to us.
fn is_ours(entry: &fs::DirEntry, prefix: &str) -> bool {
    let named = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(prefix));
    let owned = |data: fs::Metadata| data.is_dir() && data.uid() == rustix::process::geteuid().as_raw();
    named(&entry.file_name()) && entry.metadata().is_ok_and(owned)
}

/// Removes the folder if nobody holds its lock; holds it meanwhile, so that only one removes.
fn remove_if_dead(folder: &Path) -> bool {
    let lock = OpenOptions::new().write(true).open(folder.join(LOCK));
    lock.is_ok_and(|lock| lock.try_lock().is_ok() && fs::remove_dir_all(folder).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(place: &Path) -> usize {
        fs::read_dir(place).unwrap().count()
    }

    #[test]
    fn a_folder_goes_with_its_process() {
        let place = tempfile::tempdir().unwrap();
        let folder = TempFolder::new_in(place.path(), MEMORY).unwrap();
        fs::write(folder.database(), "money").unwrap();
        assert_eq!(fs::metadata(&folder.path).unwrap().mode() & 0o777, 0o700);
        drop(folder);
        assert_eq!(folders(place.path()), 0);
    }

    #[test]
    fn the_dead_are_removed_and_the_living_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let living = TempFolder::new_in(place.path(), MEMORY).unwrap();
        let dead = place.path().join(format!("{MEMORY}0123456789abcdef"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let unknown = place.path().join(format!("{MEMORY}without-a-lock"));
        fs::create_dir(&unknown).unwrap();
        let _second = TempFolder::new_in(place.path(), MEMORY).unwrap();
        assert!(!dead.exists() && living.path.exists() && unknown.exists());
        assert_eq!(folders(place.path()), 3);
    }
}
