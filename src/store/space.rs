//! Free space: too little of it, and nothing is written while reading goes on.

use crate::error::{Error, Name};
use std::path::{Path, PathBuf};

const MIN_FREE_MAX: u64 = 256 * 1024 * 1024;
const LOOK_EVERY_MS: i64 = 250;

/// Looks at the file system now and then.
pub struct Space {
    folder: PathBuf,
    min_free: Option<u64>,
    looked_at_ms: Option<i64>,
    /// Free bytes at the last look.
    pub free: u64,
    floor: u64,
}

impl Space {
    /// Watches the file system that the file is on.
    pub fn new(file: &Path, min_free: Option<u64>) -> Space {
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        Space { folder, min_free, looked_at_ms: None, free: u64::MAX, floor: 0 }
    }

    /// Refuses to write when less than the floor is free.
    pub fn check(&mut self, boot_ms: i64) -> Result<(), Error> {
        if self.looked_at_ms.is_none_or(|at| boot_ms - at >= LOOK_EVERY_MS) {
            self.looked_at_ms = Some(boot_ms);
            self.look();
        }
        if self.free >= self.floor {
            return Ok(());
        }
        let detail = format!("{} bytes are free and {} must stay so; reading goes on", self.free, self.floor);
        Err(Error::new(Name::StorageFull, detail))
    }

    /// Refuses to write that many bytes more if less than the floor would be free then.
    pub fn check_room_for(&mut self, bytes: u64) -> Result<(), Error> {
        self.look();
        if self.free >= self.floor.saturating_add(bytes) {
            return Ok(());
        }
        let detail = format!("a copy takes {bytes} bytes; {} are free and {} must stay so", self.free, self.floor);
        Err(Error::new(Name::StorageFull, detail))
    }

    fn look(&mut self) {
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return };
        self.free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let five_percent = disk.f_blocks.saturating_mul(disk.f_frsize) / 20;
        self.floor = self.min_free.unwrap_or(MIN_FREE_MAX.min(five_percent));
    }
}
