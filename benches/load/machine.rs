//! The machine in words, without names.

use crate::Got;
use std::fs::read_to_string;
use std::path::Path;
use std::thread::available_parallelism;

/// Memory is no disk: a commit there costs nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Cores, memory, the kind of file system under `folder`, and how busy the machine is before anything is measured.
pub fn in_words(folder: &Path) -> Got<String> {
    let cores = available_parallelism()?;
    let load = read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let kind = file_system(folder)?;
    if IN_MEMORY.contains(&kind.as_str()) {
        return Err(format!("the build folder is on {kind}, and durability is measured on a disk").into());
    }
    Ok(format!(
        "{cores} cores shared with the load generator, {} GiB memory, {kind}; load average {load} before",
        memory_gib()?
    ))
}

fn memory_gib() -> Got<u64> {
    let info = read_to_string("/proc/meminfo")?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"));
    let kib: u64 = total.ok_or("no MemTotal")?.trim().parse()?;
    Ok((kib + (1 << 19)) >> 20) // to the nearest
}

/// The kind of the mount that is nearest above the folder.
fn file_system(folder: &Path) -> Got<String> {
    let folder = folder.canonicalize()?;
    let mounts = read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let nearest =
        mounts.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.components().count());
    Ok(nearest.ok_or("the build folder is on no mount")?.1.to_owned())
}
