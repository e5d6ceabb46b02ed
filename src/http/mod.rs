//! The HTTP server: requests become commands and questions, receipts become responses. It decides nothing about money and
//! knows no SQL.
//!
//! The way of a request: [`conn`] (HTTP/1.1, nothing of wallets), [`routes`] (the table: finds the route, authenticates,
//! reads the fields), a file for each resource ([`wallets`], [`entries`], [`events`], [`coupons`], [`report`], [`locks`], [`batch`], [`tokens`], [`files`],
//! [`health`]), which submits a command to the store.

pub(crate) mod auth;
pub(crate) mod batch;
pub(crate) mod common_headers;
pub(crate) mod conn;
#[cfg(feature = "cli")]
mod console;
pub(crate) mod coupons;
pub(crate) mod dry_run;
pub(crate) mod endpoint;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod health;
mod holds;
mod journal;
pub(crate) mod locks;
#[cfg(test)]
mod openapi;
pub(crate) mod problem_pages;
pub(crate) mod problems;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod routes;
#[cfg(test)]
mod schemas;
mod settings;
pub(crate) mod state;
mod test_routes;
mod tested;
#[cfg(test)]
mod tests;
pub(crate) mod tokens;
pub(crate) mod wallets;

#[cfg(feature = "cli")]
pub(crate) use common_headers::is_origin;
#[cfg(feature = "cli")]
pub(crate) use console::FOLDER as CONSOLE_FOLDER;
#[cfg(feature = "cli")]
pub(crate) use health::DegradedLog;
pub use routes::App;
#[cfg(feature = "cli")]
pub(crate) use routes::{LocalResponse, openapi_document};
pub use state::Settings;
