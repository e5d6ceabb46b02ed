//! Work on whole files: the companion file, which says who serves a file; copies; records out of a file and into one;
//! questions in SQL.

pub mod companion;
pub mod copy;
pub mod query;
pub mod record;
pub mod transfer;
