//! `serve --test`: a server for tests of other programs. Its clock is manual, its secrets follow from a seed, whole states of
//! it are kept and brought back, and its answers can be made late, wrong or lost on purpose.
//!
//! [`TestMode`] is what a server has besides its store: the log of its requests, the faults and the pauses that wait for
//! one, the snapshots. `http::test_routes` asks it about each request; the writer meets it through a commit hook.

mod fault;
mod matching;
mod pause;
mod request_log;
mod state;

pub(crate) use fault::FaultJson;
pub use fault::{CrashPoint, FaultAction};
pub use matching::RequestMatch;
pub(crate) use matching::{ArrivedRequest, is_beside};
pub(crate) use pause::PauseJson;
pub use pause::PausePoint;
pub(crate) use request_log::{LoggedRequest, short_text};
pub(crate) use state::{PAUSE_MAX, SnapshotJson, TestMode};
