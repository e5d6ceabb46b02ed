//! Strategies that lock in Redis, with the wallet in a plain file.

use super::client::LabClient;
use super::plain_file::{PlainFile, read_work_write};
use super::redis::connect;
use super::strategy::{Attempt, LabPlan, LabResult, LockStrategy};
use crate::money::Balance;
use crate::secret;
use ::redis::{Connection, Script, cmd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Script that deletes the key if it still is the caller's.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// A connection for each client, and the key of the lock. Each run has a key of its own, which expires.
pub(crate) struct RedisConnections {
    conns: Vec<Mutex<Connection>>,
    key: String,
    expire: Duration,
    retry: Duration,
}

impl RedisConnections {
    pub(crate) fn new(plan: &LabPlan) -> LabResult<RedisConnections> {
        let redis = plan.redis.as_ref().map_err(Clone::clone)?;
        let conns = (0..plan.clients).map(|_| connect(redis).map(Mutex::new)).collect::<::redis::RedisResult<_>>();
        let conns = conns.map_err(|error| format!("Redis at {}: {error}", redis.at()))?;
        let key = format!("cashbox-lab:{}", secret::random_hex::<8>());
        Ok(RedisConnections { conns, key, expire: plan.expire, retry: plan.retry })
    }

    fn of(&self, client: &LabClient<'_>) -> MutexGuard<'_, Connection> {
        self.conns[client.number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock as many write it: `SETNX` whose answer is ignored, then `EXPIRE`, then `DEL`. Every client always gets it.
pub(crate) struct RedisTextbook {
    pub file: PlainFile,
    pub connections: RedisConnections,
}

impl LockStrategy for RedisTextbook {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let mut conn = self.connections.of(client);
        cmd("SETNX").arg(&self.connections.key).arg(1).exec(&mut conn)?;
        cmd("EXPIRE")
            .arg(&self.connections.key)
            .arg(self.connections.expire.as_millis().div_ceil(1_000) as u64)
            .exec(&mut conn)?;
        let answer = read_work_write(&self.file, client);
        cmd("DEL").arg(&self.connections.key).exec(&mut conn)?;
        answer
    }

    fn balance(&self) -> LabResult<Balance> {
        Ok(self.file.read()?.balance)
    }
}

/// The lock as the documentation of Redis has it: `SET NX PX` with a random value, and a script that deletes only the
/// caller's own key. It cannot keep a holder whose lease has ended from writing, because it has no fence.
pub(crate) struct RedisRandomValue {
    pub file: PlainFile,
    pub connections: RedisConnections,
}

impl LockStrategy for RedisRandomValue {
    fn withdraw(&self, client: &mut LabClient<'_>) -> LabResult<Attempt> {
        let RedisConnections { key, expire, retry, .. } = &self.connections;
        let mut conn = self.connections.of(client);
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
