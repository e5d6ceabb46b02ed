//! The lock row as it is usually written, each step as found in the tutorials.
//!
//! Three things are wrong with it, and all three need a holder that is slow: a dead row is deleted by its name, so that
//! of two who saw it dead the second deletes the first one's new row; it is released by its name, so that a holder who
//! comes late deletes somebody else's; and the write asks nobody whether the lock is still held.

use super::client::LabClient;
use super::naive::read_work_write;
use super::plain_file::PlainFile;
use super::{Attempt, LabPlan, LabResult, LockStrategy};
use crate::clock::Clock;
use crate::money::Balance;
use std::time::Duration;

/// A lock row with a time of creation.
pub struct RowTextbook {
    file: PlainFile,
    retry: Duration,
    expire_ms: i64,
    grace: Duration,
}

impl RowTextbook {
    pub fn new(file: PlainFile, plan: &LabPlan) -> RowTextbook {
        RowTextbook { file, retry: plan.retry, expire_ms: plan.expire.as_millis() as i64, grace: plan.grace }
    }

    /// Whether the lock was had, and not everybody told to stop.
    fn acquire(&self, client: &LabClient<'_>) -> LabResult<bool> {
        while !client.is_stopped() {
            let now = Clock::Machine.wall_ms();
            if self.file.insert_lock(now)? {
                return Ok(true);
            }
            let dead = self.file.lock_create_time()?.is_some_and(|create_time| create_time < now - self.expire_ms);
            if dead {
                client.sleep(self.grace);
                self.file.delete_lock()?;
            } else {
                client.sleep(self.retry);
            }
        }
        Ok(false)
    }
}

impl LockStrategy for RowTextbook {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        if !self.acquire(client)? {
            return Ok(Attempt::Stopped);
        }
        let answer = read_work_write(&self.file, client);
        self.file.delete_lock()?;
        answer
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}
