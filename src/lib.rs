//! cashbox: an embedded wallet in one binary.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod http;
