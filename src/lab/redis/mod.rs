//! Which Redis, and whether it is there. The guards themselves are in `lock`, with the feature of that name.

use super::plain_file::PlainFile;
use super::{LabPlan, LabResult, LockStrategy};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

#[cfg(feature = "redis")]
mod lock;

const SCHEME: &str = "redis://";
const PORT: u16 = 6379;
/// How long a server may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(3);
#[cfg(not(feature = "redis"))]
const HOW_TO_BUILD: &str = "this build cannot talk to Redis; one that can: cargo run --release --features redis -- lab";

/// A Redis server.
#[derive(Clone, Debug)]
pub struct Redis {
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only the client library reads all of it"))]
    url: String,
    /// Host and port: what may be shown, while the URL may hold a password.
    at: String,
}

impl Redis {
    /// Where one usually is.
    pub const USUAL: &str = "redis://127.0.0.1:6379";

    /// Reads `redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]`.
    pub fn parse(url: &str) -> Result<Redis, &'static str> {
        const FORM: &str = "a Redis is named as redis://HOST:PORT";
        let rest = url.strip_prefix(SCHEME).ok_or(FORM)?;
        let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
        let at = server.rsplit_once('@').map_or(server, |(_, at)| at);
        let (host, port) = match at.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| FORM)?),
            _ => (at, PORT),
        };
        if host.is_empty() || host.contains(char::is_whitespace) || !database.bytes().all(|b| b.is_ascii_digit()) {
            return Err(FORM);
        }
        Ok(Redis { url: url.to_owned(), at: format!("{host}:{port}") })
    }

    /// Host and port.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Whether it is there and speaks; or why not.
    pub fn reach(&self) -> Result<(), String> {
        let mut why = "there is no such host".to_owned();
        for address in self.at.to_socket_addrs().into_iter().flatten() {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return self.greet(),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    #[cfg(feature = "redis")]
    fn greet(&self) -> Result<(), String> {
        lock::connect(self).map(drop).map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "redis"))]
    fn greet(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The guard `redis-textbook`.
#[cfg(feature = "redis")]
pub fn textbook(file: PlainFile, plan: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Ok(Box::new(lock::Textbook { file, line: lock::RedisConnections::new(plan)? }))
}

/// The guard `redis`.
#[cfg(feature = "redis")]
pub fn careful(file: PlainFile, plan: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Ok(Box::new(lock::Careful { file, line: lock::RedisConnections::new(plan)? }))
}

#[cfg(not(feature = "redis"))]
pub fn textbook(_: PlainFile, _: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Err(HOW_TO_BUILD.into())
}

#[cfg(not(feature = "redis"))]
pub fn careful(_: PlainFile, _: &LabPlan) -> LabResult<Box<dyn LockStrategy>> {
    Err(HOW_TO_BUILD.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_hides_the_password() {
        let at = |url| Redis::parse(url).map(|redis| redis.at);
        assert_eq!(at(Redis::USUAL).unwrap(), "127.0.0.1:6379");
        assert_eq!(at("redis://me:secret@host/3").unwrap(), "host:6379");
        assert_eq!(at("redis://[::1]:7").unwrap(), "[::1]:7");
        assert_eq!(at("redis://[::1]").unwrap(), "[::1]:6379");
        for bad in ["", "host", "http://host", "redis://", "redis://host:port", "redis://:1", "redis://host/x"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
