//! The address of a Redis, and the test that one answers there.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const SCHEME: &str = "redis://";
const PORT: u16 = 6379;
/// Time for a server to answer.
const REDIS_TIME: Duration = Duration::from_secs(3);

/// A Redis server.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only the client library uses it"))]
    url: String,
    /// Host and port: what may be shown, while the URL may hold a password.
    at: String,
}

impl Redis {
    /// The default address of Redis.
    pub(crate) const DEFAULT_URL: &str = "redis://127.0.0.1:6379";

    /// Reads `redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]`.
    pub(crate) fn parse(url: &str) -> Result<Redis, &'static str> {
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
    pub(crate) fn at(&self) -> &str {
        &self.at
    }

    /// Connects and sends a greeting; the reason if there is no answer.
    pub(crate) fn reach(&self) -> Result<(), String> {
        let mut reason = "there is no such host".to_owned();
        for address in self.at.to_socket_addrs().into_iter().flatten() {
            match TcpStream::connect_timeout(&address, REDIS_TIME) {
                Ok(_) => return self.greet(),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    #[cfg(feature = "redis")]
    fn greet(&self) -> Result<(), String> {
        connect(self).map(drop).map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "redis"))]
    fn greet(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A connection that has answered.
#[cfg(feature = "redis")]
pub(crate) fn connect(redis: &Redis) -> ::redis::RedisResult<::redis::Connection> {
    let mut conn = ::redis::Client::open(redis.url.as_str())?.get_connection_with_timeout(REDIS_TIME)?;
    conn.set_read_timeout(Some(REDIS_TIME))?;
    ::redis::cmd("PING").exec(&mut conn)?;
    Ok(conn)
}
