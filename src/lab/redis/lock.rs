//! Locks in Redis, with the wallet in a plain file: as many write it, and as its documentation has it.
//!
//! Both have a key of their own per run, which goes by itself.

use super::{LabPlan, LabResult, LockStrategy, PATIENCE, Redis};
use crate::lab::Attempt;
use crate::lab::client::LabClient;
use crate::lab::naive::read_work_write;
use crate::lab::plain_file::PlainFile;
use crate::money::Balance;
use crate::secret;
use ::redis::{Connection, Script, cmd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Deletes the key if it still is the caller's.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// A connection that says something back.
pub fn connect(redis: &Redis) -> LabResult<Connection> {
    let mut conn = ::redis::Client::open(redis.url.as_str())?.get_connection_with_timeout(PATIENCE)?;
    conn.set_read_timeout(Some(PATIENCE))?;
    cmd("PING").exec(&mut conn)?;
    Ok(conn)
}

/// A connection per client, and the key they fight over.
pub struct RedisConnections {
    conns: Vec<Mutex<Connection>>,
    key: String,
    expire: Duration,
    retry: Duration,
}

impl RedisConnections {
    pub fn new(plan: &LabPlan) -> LabResult<RedisConnections> {
        let redis = plan.redis.as_ref().map_err(Clone::clone)?;
        let conns = (0..plan.clients).map(|_| connect(redis).map(Mutex::new)).collect::<LabResult<_>>();
        let conns = conns.map_err(|error| format!("Redis at {}: {error}", redis.at()))?;
        let key = format!("cashbox-lab:{}", secret::random_hex::<8>());
        Ok(RedisConnections { conns, key, expire: plan.expire, retry: plan.retry })
    }

    fn of(&self, client: &LabClient<'_>) -> MutexGuard<'_, Connection> {
        self.conns[client.number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `SETNX` without a look at its answer, then `EXPIRE`, then `DEL`: everybody always has this lock.
pub struct Textbook {
    pub file: PlainFile,
    pub line: RedisConnections,
}

impl LockStrategy for Textbook {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let mut conn = self.line.of(client);
        cmd("SETNX").arg(&self.line.key).arg(1).exec(&mut conn)?;
        cmd("EXPIRE").arg(&self.line.key).arg(self.line.expire.as_millis().div_ceil(1_000) as u64).exec(&mut conn)?;
        let answer = read_work_write(&self.file, client);
        cmd("DEL").arg(&self.line.key).exec(&mut conn)?;
        answer
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}

/// `SET NX PX` with a random value, and a script that deletes nobody else's. What it cannot do is keep a holder whose
/// lease has ended from writing: there is no fence.
pub struct Careful {
    pub file: PlainFile,
    pub line: RedisConnections,
}

impl LockStrategy for Careful {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let RedisConnections { key, expire, retry, .. } = &self.line;
        let mut conn = self.line.of(client);
        let value = secret::random_hex::<16>();
        loop {
            let mut set = cmd("SET");
            set.arg(key).arg(&value).arg("NX").arg("PX").arg(expire.as_millis() as u64);
            if set.query::<Option<String>>(&mut conn)?.is_some() {
                break;
            }
            client.jitter(*retry);
            if client.is_stopped() {
                return Ok(Attempt::Stopped);
            }
        }
        let answer = read_work_write(&self.file, client);
        Script::new(RELEASE).key(key).arg(&value).invoke::<u64>(&mut conn)?;
        answer
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}
