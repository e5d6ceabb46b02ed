//! Work on whole files: copies, export and import of records, queries in SQL.

pub(crate) mod copy;
pub(crate) mod query;
pub(crate) mod record;
pub(crate) mod transfer;
