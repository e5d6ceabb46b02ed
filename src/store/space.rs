//! Whether anything may be written: not with too little free space, and not into a file that has lost its name, for
//! nobody would find it again. Reading goes on.

use super::private::folder_of;
use crate::error::{Error, ErrorName};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MIN_FREE_MAX: u64 = 256 * 1024 * 1024;
const LOOK_EVERY_MS: i64 = 250;

/// Looks at the file system now and then.
pub struct Space {
    file: PathBuf,
    /// The file that had the name at first.
    identity: Option<(u64, u64)>,
    min_free: Option<u64>,
    looked_at_ms: Option<i64>,
    /// Free bytes at the last look.
    pub free: u64,
    floor: u64,
    /// Whether the name was another file's, or nobody's, at the last look.
    pub file_is_gone: bool,
}

impl Space {
    /// Watches the file and the file system that it is on.
    pub fn new(file: &Path, min_free: Option<u64>) -> Space {
        let identity = identity(file);
        let file = file.to_owned();
        Space { file, identity, min_free, looked_at_ms: None, free: u64::MAX, floor: 0, file_is_gone: false }
    }

    /// Refuses to write when less than the floor is free, or when the file is not where it was.
    pub fn check(&mut self, boot_ms: i64) -> Result<(), Error> {
        if self.looked_at_ms.is_none_or(|at| boot_ms - at >= LOOK_EVERY_MS) {
            self.looked_at_ms = Some(boot_ms);
            self.look();
            self.file_is_gone = identity(&self.file) != self.identity;
        }
        if self.file_is_gone {
            let detail = "the file was moved, replaced or deleted while it is served: put it back, or start again";
            return Err(Error::new(ErrorName::Damaged, detail));
        }
        if self.free >= self.floor {
            return Ok(());
        }
        let detail = format!("{} bytes are free and {} must stay so; reading goes on", self.free, self.floor);
        Err(Error::new(ErrorName::StorageFull, detail))
    }

    /// Refuses to write that many bytes more if less than the floor would be free then.
    pub fn check_room_for(&mut self, bytes: u64) -> Result<(), Error> {
        self.look();
        if self.free >= self.floor.saturating_add(bytes) {
            return Ok(());
        }
        let detail = format!("a copy takes {bytes} bytes; {} are free and {} must stay so", self.free, self.floor);
        Err(Error::new(ErrorName::StorageFull, detail))
    }

    fn look(&mut self) {
        let Ok(disk) = rustix::fs::statvfs(folder_of(&self.file)) else { return };
        self.free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let five_percent = disk.f_blocks.saturating_mul(disk.f_frsize) / 20;
        self.floor = self.min_free.unwrap_or(MIN_FREE_MAX.min(five_percent));
    }
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    file.metadata().ok().map(|data| (data.dev(), data.ino()))
}
