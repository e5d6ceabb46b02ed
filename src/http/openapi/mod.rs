//! The description of the API, OpenAPI 3.1: `openapi.json` beside this file, which the program carries and `GET /openapi.json`
//! and `cashbox openapi` show. It is made here, in a test, from the route table, from the types that are serialised and
//! from the answers to a script of requests; every answer that any test reads is held against it.
//!
//! To add a route: a row in `routes`, a row in [`operations`], a line in the script of [`examples`], and then
//! `CASHBOX_GOLDEN=write cargo test -q --lib openapi`. A field says its bounds in its table (`within`, `one_of`, `like`,
//! `or`, `such_as`). A further member of an error has a line in [`refusals`].

mod document;
mod examples;
mod operations;
mod refusals;
mod tests;
