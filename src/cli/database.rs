//! `--db` as the URL of a database in PostgreSQL, in place of a file.

use super::files::FileVerb;
use super::input::{CommonOptions, environment_text};
use super::output::{CliError, Exit};
#[cfg(feature = "postgres")]
use crate::store::server::{ServerAddress, copy_of};
use std::path::Path;

/// The reason why such a URL is refused, in a program without the feature.
pub(crate) const NOT_BUILT_IN: &str =
    "this program was built without PostgreSQL; build it with: cargo build --release --features postgres";

/// The advice for a command that changes something, or asks what a server knows.
const THROUGH_SERVER: &str = "a ledger in PostgreSQL is reached through its server: start `cashbox serve --db postgres://…`, and give \
                              this command --url, such as --url http://127.0.0.1:8866";
const NO_BACKUP: &str = "a ledger in PostgreSQL is backed up and restored by PostgreSQL's own tools: pg_basebackup with an archive of \
                         its log, or pg_dump";

/// True if `--db` names a database in PostgreSQL, and not a file.
pub(crate) fn is_server(db: &Path) -> bool {
    db.to_str().is_some_and(|db| db.starts_with("postgres://") || db.starts_with("postgresql://"))
}

/// Refuses a name that is meant for a database but is not a URL of one, before a message repeats it with its password.
pub(crate) fn check_name(db: &Path) -> Result<(), CliError> {
    let name = db.to_string_lossy().to_ascii_lowercase();
    let scheme =
        name.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let is_meant = scheme || name.starts_with("postgres:") || name.contains("password=");
    if !is_meant || is_server(db) {
        return Ok(());
    }
    Err(CliError::usage(
        "--db is not the URL of a database: postgres://USER@HOST:PORT/DATABASE, with the password in PGPASSWORD; or the name of a file",
    ))
}

/// Refuses a command that needs a file or a server, and is given a database in PostgreSQL.
pub(crate) fn refuse(common: &CommonOptions) -> Result<(), CliError> {
    let has_url = common.url.is_some() || common.db.is_none() && environment_text("CASHBOX_URL").is_some();
    if has_url || !is_server(&common.file()) {
        return Ok(());
    }
    Err(CliError::usage(if cfg!(feature = "postgres") { THROUGH_SERVER } else { NOT_BUILT_IN }))
}

/// Carries out a verb of the whole ledger on a copy of one moment of it, if it only reads.
pub(crate) fn run(verb: &FileVerb, common: &CommonOptions) -> Result<Exit, CliError> {
    match verb {
        _ if !cfg!(feature = "postgres") => Err(CliError::usage(NOT_BUILT_IN)),
        FileVerb::Backup(_) | FileVerb::Restore(_) => Err(CliError::usage(NO_BACKUP)),
        FileVerb::Import(_) => Err(CliError::usage(THROUGH_SERVER)),
        FileVerb::Verify(_) | FileVerb::Export(_) | FileVerb::Sql(_) => run_on_copy(verb, common),
    }
}

#[cfg(feature = "postgres")]
fn run_on_copy(verb: &FileVerb, common: &CommonOptions) -> Result<Exit, CliError> {
    let address = ServerAddress::of(&common.file()).expect("a URL of PostgreSQL's was found");
    let address = address.map_err(|why| CliError::cannot_open(Path::new("the database in PostgreSQL"), &why))?;
    let copied = copy_of(&address).map_err(|why| CliError::cannot_open(Path::new(address.name()), &why))?;
    let (file, _folder) = copied;
    verb.run(&CommonOptions { db: Some(file), ..common.clone() })
}

#[cfg(not(feature = "postgres"))]
fn run_on_copy(_: &FileVerb, _: &CommonOptions) -> Result<Exit, CliError> {
    Err(CliError::usage(NOT_BUILT_IN))
}
