//! What everybody writes first: nothing at all, a lock in the process, a version in the row.

use super::client::LabClient;
use super::plain_file::PlainFile;
use super::{Attempt, LabResult, LockStrategy};
use crate::money::Balance;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Whoever was overtaken waits up to this long before it reads again, or all would overtake each other forever.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Reads, works, and writes over whatever was written meanwhile.
pub fn read_work_write(file: &PlainFile, client: &LabClient<'_>) -> LabResult<Attempt> {
    let seen = file.read()?;
    client.work();
    file.write(seen.less())?;
    Ok(Attempt::Yes)
}

/// No guard.
pub struct Nothing(pub PlainFile);

impl LockStrategy for Nothing {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        read_work_write(&self.0, client)
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.0.read()?.balance)
    }
}

/// One lock in the process. Another process has another.
pub struct Thread {
    file: PlainFile,
    lock: Mutex<()>,
}

impl Thread {
    pub fn new(file: PlainFile) -> Thread {
        Thread { file, lock: Mutex::new(()) }
    }
}

impl LockStrategy for Thread {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        read_work_write(&self.file, client)
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}

/// No lock: the write happens only if nobody has written since the read.
pub struct Optimistic(pub PlainFile);

impl LockStrategy for Optimistic {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let seen = self.0.read()?;
        client.work();
        if self.0.write_after(seen.version, seen.less())? {
            return Ok(Attempt::Yes);
        }
        client.jitter(BACK_OFF);
        Ok(Attempt::Again)
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.0.read()?.balance)
    }
}
