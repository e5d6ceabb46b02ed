//! A ledger in a database of PostgreSQL, behind the feature `postgres`: who may write to it, its tables, and the way of its
//! rows to a file and back. The rules, their statements and the writer are those of a file.

mod address;
mod lead;
mod reading;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use address::ReadingSessions;
pub(crate) use address::ServerAddress;
pub(crate) use lead::{Lead, begin_batch};
pub(crate) use reading::copy_of;
pub(crate) use reading::{NO_BACKUP, copy, read, sessions};
