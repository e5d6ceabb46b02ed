//! What happens to the wrapper of `lock run`.

use super::lease::{HeldLease, LeaseLoss};
use crate::cli::output::CliError;
use rustix::process::Signal;

/// What happens to the wrapper.
pub enum WrapperEvent {
    /// The guard said something, or, with none, is gone.
    Guard(Option<String>),
    /// We were sent a signal.
    Signal(Signal),
    /// The lease lasts until then.
    Renewed(i64),
    /// It is lost.
    Lost(LeaseLoss),
    /// The lock was asked for.
    Asked(Box<Result<AcquireOutcome, CliError>>),
}

/// What came of asking for the lock.
pub enum AcquireOutcome {
    /// A lease, and until when it lasts, in boot time.
    Lease(HeldLease, i64),
    /// A lease that was lost again before anything was done with it.
    Lost,
    /// Nothing in time, which has been said.
    Nothing,
    /// A signal came first, and nothing is held.
    Signalled(Signal),
}
