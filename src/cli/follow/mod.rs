//! `cashbox follow` and `cashbox history --follow`: entries in order, each as soon as it is made. A client of the public
//! API, in a process of its own: a server sends nothing anywhere by itself.
//!
//! [`follower`] reads the stream of entries and connects again whenever it ends; [`cursor_file`] keeps the place behind
//! the last entry that was dealt with; [`delivery`] has each entry tried until it succeeds, by a command or as a
//! [`webhook`].

mod command;
mod cursor_file;
mod delivery;
mod follower;
#[cfg(test)]
mod tests;
mod webhook;

pub(crate) use command::FollowArgs;
pub(crate) use follower::{EntrySink, StartPlace, follow, print_entry};
