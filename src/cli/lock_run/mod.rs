//! `cashbox lock`: a lock held while a command runs, and one subcommand for each request of the lock API.
//!
//! `lock run` is two processes. The [`wrapper`] acquires and renews the lease; its child, the [`guard`], runs the command
//! and ends it in time, whatever happens to the wrapper. They speak the [`protocol`].
//!
//! In reading order: [`commands`] · [`follow`] · [`wrapper`] · [`acquire`] · [`lease`] · [`protocol`] · [`guard`] · [`terminal`].

mod acquire;
mod commands;
mod follow;
mod guard;
mod lease;
mod protocol;
mod terminal;
#[cfg(test)]
mod tests;
mod wrapper;

pub(crate) use commands::LockCommand;
pub(crate) use guard::GuardArgs;
pub(crate) use wrapper::{FAILED, RunArgs};
