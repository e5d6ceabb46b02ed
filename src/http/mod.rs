//! The HTTP server: requests become commands and questions, receipts become responses. It decides nothing about money and
//! knows no SQL.
//!
//! The way of a request: [`conn`] (HTTP/1.1, nothing of wallets), [`routes`] (the table: finds the route, authenticates,
//! reads the fields), a file for each resource ([`wallets`], [`coupons`], [`locks`], [`batch`], [`tokens`], [`files`],
//! [`health`]), which submits a command to the store.

pub mod auth;
pub mod batch;
pub mod conn;
pub mod coupons;
pub mod endpoint;
pub mod fields;
pub mod files;
pub mod health;
pub mod locks;
pub mod openapi;
pub mod problems;
pub mod request;
pub mod response;
pub mod routes;
pub mod state;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod wallets;

pub use routes::App;
pub use state::Settings;
