#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! cashbox
pub mod clock;
pub mod command;
pub mod error;
pub mod id;
pub mod ledger;
pub mod lock;
pub mod log;
pub mod money;
pub mod secret;
pub mod store;
pub mod token;
pub mod tx;
