//! The address of a database: a URL that is never shown with its password, and sessions of two kinds at it.

use crate::store::options::OpenError;
use crate::tx::server::{Session, text_of};
use postgres::Config;
use postgres::config::{Host, TargetSessionAttrs};
use std::path::Path;
use std::time::Duration;

/// The longest wait for a connection to one host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection whose other end does not answer is found lost after these: idle time, pause, and count of questions.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(2);
const KEEPALIVES: u32 = 3;
/// The same time for what was sent and is not acknowledged: meanwhile the questions are not asked.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(11);
/// The most time for one statement of a request that reads, in milliseconds.
const READ_MS_MAX: u32 = 10_000;

/// The beginnings of a URL of PostgreSQL's.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// A database of PostgreSQL.
#[derive(Clone)]
pub(crate) struct ServerAddress {
    config: Config,
    name: String,
}

impl ServerAddress {
    /// The database that `--db` names, if it is a URL and not a file.
    pub(crate) fn of(db: &Path) -> Option<Result<ServerAddress, OpenError>> {
        let url = db.to_str().filter(|url| SCHEMES.iter().any(|scheme| url.starts_with(scheme)))?;
        Some(ServerAddress::parse(url))
    }

    fn parse(url: &str) -> Result<ServerAddress, OpenError> {
        // The client's own complaint may repeat a part of the URL, and so of the password.
        let form = "write postgres://USER@HOST:PORT/DATABASE, with several HOST:PORT separated by commas; a password goes into the \
                    URL's query or user part with reserved characters percent-encoded, or into PGPASSWORD";
        let mut config: Config = url.parse().map_err(|_| OpenError::new(format!("the URL is not valid: {form}")))?;
        if config.get_dbname().is_none() {
            return Err(OpenError::new(format!("the URL names no database: {form}")));
        }
        if config.get_hosts().is_empty() {
            return Err(OpenError::new(format!("the URL names no host: {form}")));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_PAUSE).keepalives_retries(KEEPALIVES);
        config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
        config.application_name("cashbox");
        let hosts: Vec<String> = config.get_hosts().iter().map(host_name).collect();
        let name = format!("database {} at {}", config.get_dbname().unwrap_or_default(), hosts.join(","));
        Ok(ServerAddress { config, name })
    }

    /// Names the database for people: without user and password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A session that can write: at the host that takes writes, if several are named.
    pub(super) fn writing(&self) -> Result<Session, OpenError> {
        let mut config = self.config.clone();
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        Session::connect(config).map_err(unreachable)
    }

    /// A session that reads: if several hosts are named, at the one that takes writes. A standby may not have what was
    /// answered a moment ago.
    pub(super) fn reading(&self) -> Result<Session, OpenError> {
        let mut config = self.config.clone();
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let session = Session::connect(config).map_err(unreachable)?;
        session.script(&format!("SET default_transaction_read_only = on; SET statement_timeout = {READ_MS_MAX}"))?;
        Ok(session)
    }
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    }
}

/// The error of an attempt to connect that failed.
fn unreachable(error: postgres::Error) -> OpenError {
    let text = text_of(&error);
    match error.code().map(postgres::error::SqlState::code) {
        Some("28P01" | "28000") => OpenError::new(format!("the database refuses this user or its password: {text}")),
        Some("3D000") => OpenError::new(format!("there is no such database: {text}; make it with createdb")),
        _ if text.contains("read-write") || text.contains("read-only") || text.contains("does not allow writes") => {
            OpenError::new("none of its hosts takes writes: they are standbys, or read only")
        }
        _ => OpenError::new(format!("the database cannot be reached: {text}")),
    }
}

/// Keeps the sessions that requests read through.
pub(crate) struct ReadingSessions(pub ServerAddress);

impl r2d2::ManageConnection for ReadingSessions {
    type Connection = Session;
    type Error = OpenError;

    fn connect(&self) -> Result<Session, OpenError> {
        self.0.reading()
    }

    fn is_valid(&self, _: &mut Session) -> Result<(), OpenError> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.is_closed()
    }
}
