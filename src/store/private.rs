//! Files that only their owner can read, and whose they are.

use super::open_error::{OpenError, cannot_open};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

const OWNER_ALONE: u32 = 0o600;

/// Opens the file for reading and writing, and creates it if it is not there: no link to somewhere else, readable by its
/// owner alone, whoever made it. `of` is the database that it belongs to: made by root, it is its owner's.
pub fn create_private(file: &Path, of: &Path) -> Result<File, OpenError> {
    let owner = if file.exists() { None } else { owner_for(of) };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWNER_ALONE);
    let opened = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(file);
    let opened = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => OpenError::new("it is a symbolic link, and cashbox would write through it"),
        _ => cannot_open(error),
    })?;
    let data = opened.metadata()?;
    if !data.is_file() {
        return Err(OpenError::new("it is no ordinary file"));
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

/// What root makes for somebody else's database, or in somebody else's folder, is theirs: they have to open it.
fn owner_for(of: &Path) -> Option<(u32, u32)> {
    let data = of.metadata().or_else(|_| folder_of(of).metadata()).ok()?;
    rustix::process::geteuid().is_root().then(|| (data.uid(), data.gid()))
}

/// Whether the open file is the one that has that name now.
pub fn has_that_name(file: &File, name: &Path) -> bool {
    let identity = |data: io::Result<Metadata>| data.ok().map(|data| (data.dev(), data.ino()));
    identity(file.metadata()) == identity(name.symlink_metadata())
}

/// The folder a file is in.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file's name with something behind it.
pub fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}
