//! The newest entries in memory, for all clients that follow.
//!
//! While there are followers the writer adds what it has committed. A follower looks for entries behind the last one it has
//! seen. If they are all kept here, its filter is applied here; those that the writer could not add are read from the file,
//! once for all. One that is further behind reads the file, page by page, until it has caught up.

use crate::error::Error;
use crate::ledger::entry::Entry;
use crate::ledger::query::{self, Filter};
use crate::tx::{ChainHead, ReadTx};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most entries that are kept. With 20 looks a second, that is enough for 40,000 entries a second.
const KEPT_MAX: usize = 2_048;

/// Time between two reads of the file, so that many followers do not read once for each commit. Those that look between two
/// reads find the entries of the first.
const READS_EVERY: Duration = Duration::from_millis(5);

/// The newest entries, as far as they are known here.
#[derive(Debug)]
pub(crate) struct RecentEntries {
    kept: Mutex<Kept>,
    /// The number of the newest entry at the last look.
    newest_at_look: AtomicI64,
}

impl Default for RecentEntries {
    fn default() -> RecentEntries {
        RecentEntries { kept: Mutex::default(), newest_at_look: AtomicI64::new(i64::MIN) }
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// Consecutive numbers.
    entries: VecDeque<Arc<Entry>>,
    /// The time of the last read.
    read_at: Option<Instant>,
}

impl Kept {
    /// Forgets the oldest beyond the limit.
    fn limit(&mut self) {
        let excess = self.entries.len().saturating_sub(KEPT_MAX);
        self.entries.drain(..excess);
    }
}

/// The entries that one look has found.
#[derive(Debug)]
pub(crate) struct FollowedPage {
    /// Those that pass the filter.
    pub rows: Vec<Arc<Entry>>,
    /// The number of the last entry that was looked at.
    pub reached: i64,
    /// True if there may be more at once: it was read from the file, and not to its end.
    pub is_catching_up: bool,
}

impl FollowedPage {
    /// A page from the file: at most `limit` entries behind `after`.
    pub(crate) fn read(tx: &ReadTx<'_>, filter: &Filter, after: i64, limit: usize) -> Result<FollowedPage, Error> {
        let page = query::entries(tx, filter, Some(after), limit)?;
        let is_catching_up = page.next.is_some();
        Ok(FollowedPage { rows: page.rows.into_iter().map(Arc::new).collect(), reached: page.reached, is_catching_up })
    }
}

impl RecentEntries {
    /// Forgets all: the file has other contents.
    pub(crate) fn forget(&self) {
        std::mem::take(&mut *self.kept.lock().expect("mutex poisoned"));
    }

    /// True if a follower has looked since one of the newest entries was made, where `newest` is the newest number: then the
    /// writer adds those that it makes.
    pub(crate) fn is_followed(&self, newest: i64) -> bool {
        newest.saturating_sub(self.newest_at_look.load(Relaxed)) < KEPT_MAX as i64
    }

    /// Adds the entries that were committed behind `before` up to `newest`. `found` has them in any order, and may have
    /// others: such that were made long ago, or only tried. Adds nothing unless their hashes lead from `before` to `newest`; nor
    /// while a follower looks, because the writer waits for none: the next one reads what is missing.
    pub(crate) fn add(&self, before: &ChainHead, newest: &ChainHead, mut found: Vec<Entry>) {
        found.sort_by_key(|entry| entry.id.0);
        let (mut end, mut made) = (*before, Vec::new());
        for entry in found {
            if entry.id.0 == end.id + 1 && entry.hash == entry.hash_after(&end.hash) {
                end = ChainHead { id: entry.id.0, at: entry.at, hash: entry.hash };
                made.push(Arc::new(entry));
            }
        }
        let Ok(mut kept) = self.kept.try_lock() else { return };
        if end == *newest && kept.entries.back().is_none_or(|entry| entry.id.0 == before.id) {
            kept.entries.extend(made);
            kept.limit();
        }
    }

    /// At most `limit` entries behind the number `after` that pass the filter, where `newest` is the newest number. None:
    /// some of them are not kept any more.
    ///
    /// `read` gives the entries of the file behind a number, as many as it is asked for, in ascending order. It is called
    /// under the lock, so that those that look at the same moment read once.
    pub(crate) fn behind(
        &self,
        (after, newest): (i64, i64),
        now: Instant,
        filter: &Filter,
        limit: usize,
        read: impl FnOnce(i64, usize) -> Result<Vec<Entry>, Error>,
    ) -> Result<Option<FollowedPage>, Error> {
        let oldest = newest - KEPT_MAX as i64;
        if after < oldest {
            return Ok(None);
        }
        self.newest_at_look.store(newest, Relaxed);
        let mut guard = self.kept.lock().expect("mutex poisoned");
        let Kept { entries: kept, read_at } = &mut *guard;
        if kept.back().is_some_and(|entry| entry.id.0 < oldest) {
            kept.clear();
        }
        let end = kept.back().map_or(after, |entry| entry.id.0);
        if end < newest && (end <= after || read_at.is_none_or(|at| now - at >= READS_EVERY)) {
            *read_at = Some(now);
            kept.extend(read(end, (newest - end) as usize)?.into_iter().map(Arc::new));
            guard.limit();
        }
        let kept = &guard.entries;
        let Some(first) = kept.front().map(|entry| entry.id.0).filter(|first| *first <= after + 1) else {
            return Ok(None);
        };
        let mut page = FollowedPage { rows: Vec::new(), reached: after, is_catching_up: false };
        for entry in kept.range((after + 1 - first) as usize..) {
            page.reached = entry.id.0;
            if filter.passes(entry) {
                page.rows.push(Arc::clone(entry));
                if page.rows.len() == limit {
                    break;
                }
            }
        }
        Ok(Some(page))
    }
}
