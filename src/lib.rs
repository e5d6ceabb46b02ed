//! cashbox: an embedded wallet in one binary.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
pub mod cli;
pub mod clock;
pub mod command;
pub mod error;
pub mod http;
pub mod id;
pub mod ledger;
pub mod lock;
pub mod log;
pub mod money;
pub mod secret;
pub mod store;
pub mod token;
pub mod tx;
