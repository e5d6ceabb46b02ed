//! The front door: a wallet file in the hands of a program that uses this library.

mod file;
mod handle;
mod request;

pub use file::{History, ServerHandle};
pub use handle::Cashbox;
pub use request::{Lease, RequestBuilder};
