//! Work on whole files: possession, copies, export and import of records, queries in SQL.

pub mod companion;
pub mod copy;
pub mod query;
pub mod record;
pub mod transfer;
