//! Database files in their file system: created for their owner alone, known by their inodes, and not written when the
//! disk is nearly full. Reading goes on.

use super::options::{OpenError, cannot_open};
use crate::error::{Error, ErrorName};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// The floor if none is given: 256 MiB, or 5 % of a smaller disk.
const MIN_FREE_MAX: u64 = 256 * 1024 * 1024;
/// Time between two looks.
const LOOK_AGAIN_MS: i64 = 250;

/// Free space, as of the last look.
pub(crate) struct Space {
    file: PathBuf,
    min_free: Option<u64>,
    looked_at_ms: Option<i64>,
    /// Free bytes at the last look.
    pub free: u64,
    floor: u64,
}

impl Space {
    /// Watches the file and the file system that it is on.
    pub(crate) fn new(file: &Path, min_free: Option<u64>) -> Space {
        Space { file: file.to_owned(), min_free, looked_at_ms: None, free: u64::MAX, floor: 0 }
    }

    /// Refuses to write when less than the floor is free.
    pub(crate) fn check(&mut self, boot_ms: i64) -> Result<(), Error> {
        if self.looked_at_ms.is_none_or(|at| boot_ms - at >= LOOK_AGAIN_MS) {
            self.looked_at_ms = Some(boot_ms);
            self.look();
        }
        if self.free >= self.floor {
            return Ok(());
        }
        let detail = format!("{} bytes are free and {} must stay so; reading goes on", self.free, self.floor);
        Err(Error::new(ErrorName::StorageFull, detail))
    }

    /// Refuses to write that many bytes more if less than the floor would be free then.
    pub(crate) fn check_room_for(&mut self, bytes: u64) -> Result<(), Error> {
        self.look();
        if self.free >= self.floor.saturating_add(bytes) {
            return Ok(());
        }
        let detail = format!("a copy takes {bytes} bytes; {} are free and {} must stay so", self.free, self.floor);
        Err(Error::new(ErrorName::StorageFull, detail))
    }

    /// Looks now.
    pub(super) fn look(&mut self) {
        let Ok(disk) = rustix::fs::statvfs(folder_of(&self.file)) else { return };
        self.free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let five_percent = disk.f_blocks.saturating_mul(disk.f_frsize) / 20;
        self.floor = self.min_free.unwrap_or(MIN_FREE_MAX.min(five_percent));
    }
}

/// Device and inode of a file.
pub(crate) type FileId = (u64, u64);

/// The file that has the name now, if one does. A symlink is a file of its own: SQLite follows none to a log.
pub(crate) fn identity(file: &Path) -> Option<FileId> {
    file.symlink_metadata().ok().map(|data| identity_of(&data))
}

/// The file that the metadata is of.
pub(crate) fn identity_of(data: &Metadata) -> FileId {
    (data.dev(), data.ino())
}

/// Endings of the names of files that lie beside a database.
const BESIDE: [&[u8]; 4] = [b"-wal", b"-shm", b"-journal", b"-serve"];
/// The reason why a file of such a name is not opened or written as a database.
pub(super) const BESIDE_DATABASE: &str = "a file of such a name lies beside a database and is part of it";

/// True if that is the name of a file beside a database.
pub(crate) fn is_beside_database(file: &Path) -> bool {
    BESIDE.iter().any(|ending| file.as_os_str().as_bytes().ends_with(ending))
}

const OWNER_ALONE: u32 = 0o600;

/// Opens the file for reading and writing, and creates it if it is not there. It must not be a link to another file, and
/// is made readable by its owner alone. `of` is the database that it belongs to: if root makes the file, it gets that
/// owner.
pub(crate) fn create_private(file: &Path, of: &Path) -> Result<File, OpenError> {
    let owner = if file.exists() { None } else { owner_for(of) };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWNER_ALONE);
    let opened = options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(file);
    let opened = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => OpenError::new("it is a symbolic link, and cashbox would write through it"),
        _ => cannot_open(error),
    })?;
    let data = opened.metadata()?;
    if !data.is_file() {
        return Err(OpenError::new("it is not an ordinary file"));
    }
    if data.nlink() > 1 {
        return Err(OpenError::new("it has another name too (a hard link), and cashbox would write into that file"));
    }
    if data.mode() & 0o777 != OWNER_ALONE {
        opened.set_permissions(Permissions::from_mode(OWNER_ALONE))?;
    }
    if let Some((user, group)) = owner {
        fchown(&opened, Some(user), Some(group))?;
    }
    Ok(opened)
}

/// The owner of the database or, if there is none yet, of its folder: must be able to open what root makes there.
pub(super) fn owner_for(of: &Path) -> Option<(u32, u32)> {
    let data = of.metadata().or_else(|_| folder_of(of).metadata()).ok()?;
    rustix::process::geteuid().is_root().then(|| (data.uid(), data.gid()))
}

/// True if the open file is the one that has that name now.
pub(crate) fn has_that_name(file: &File, name: &Path) -> bool {
    let identity = |data: io::Result<Metadata>| data.ok().map(|data| identity_of(&data));
    identity(file.metadata()) == identity(name.symlink_metadata())
}

/// The folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file's path with `ending` added.
pub(crate) fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}
