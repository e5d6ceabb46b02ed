//! Locks that are acquired and released at once, again and again.

use super::client::{BenchCaller, BenchClient, BenchResponse};
use super::fleet::Script;
use super::script::Work;
use super::wallet::BenchWallet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// How long one waits for a lock that others of the run have.
const WAIT_MS: u32 = 60_000;

/// Acquires a lock and releases it.
#[derive(Debug)]
pub struct LockPairs {
    caller: BenchCaller,
    target: String,
    acquire: Vec<u8>,
    release: Option<Vec<u8>>,
    held: HeldFlag,
    fence: i64,
    done: u64,
    wrong: Option<String>,
}

/// Whether somebody of the run has the lock: the grant is here, and the release not yet sent. So never two.
pub type HeldFlag = Arc<AtomicBool>;

impl LockPairs {
    /// On the lock of that name. Who shares the lock shares `held`.
    pub fn new(caller: &BenchCaller, id: &str, held: &HeldFlag) -> LockPairs {
        let target = format!("/v1/locks/{id}");
        let acquire = acquire(caller, &target, WAIT_MS);
        let (caller, held) = (caller.clone(), Arc::clone(held));
        LockPairs { caller, target, acquire, release: None, held, fence: 0, done: 0, wrong: None }
    }
}

impl Script for LockPairs {
    fn next(&mut self) -> &[u8] {
        &self.acquire
    }

    fn heard(&mut self, answer: &BenchResponse<'_>) -> io::Result<u64> {
        if self.release.take().is_some() {
            answer.must_be(204)?;
            self.done += 1;
            return Ok(1);
        }
        self.release = Some(release(&self.caller, &self.target, answer)?);
        let fence = answer.number("fence").unwrap_or_default();
        if self.held.swap(true, SeqCst) {
            self.wrong = Some(format!("{} had two holders at once", self.target));
        } else if fence <= self.fence {
            self.wrong = Some(format!("{} was granted under fence {fence} after {}", self.target, self.fence));
        }
        self.fence = fence;
        Ok(0)
    }

    fn follow_up(&mut self) -> Option<&[u8]> {
        let release = self.release.as_deref()?;
        self.held.store(false, SeqCst);
        Some(release)
    }
}

impl Work for LockPairs {
    fn done(&self) -> u64 {
        self.done
    }

    fn settle(&self, _: &mut [BenchWallet]) {}

    fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }
}

/// A request for a lock.
pub fn acquire(caller: &BenchCaller, target: &str, wait_ms: u32) -> Vec<u8> {
    caller.request("POST", target, "", &format!(r#"{{"ttl_ms":60000,"wait_ms":{wait_ms}}}"#))
}

/// Gives back what was granted by this answer.
pub fn release(caller: &BenchCaller, target: &str, granted: &BenchResponse<'_>) -> io::Result<Vec<u8>> {
    granted.must_be(201)?;
    let token = granted.header("lock-token").ok_or_else(|| io::Error::other("a grant without a token"))?;
    Ok(caller.request("DELETE", target, &format!("Lock-Token: {token}\r\n"), ""))
}

/// Whether a lock whose name begins so was left behind. What is wrong, in words.
pub fn check(client: &mut BenchClient, caller: &BenchCaller, prefix: &str) -> io::Result<Vec<String>> {
    let answer = client.ask(&caller.request("GET", &format!("/v1/locks?prefix={prefix}"), "", ""))?;
    answer.must_be(200)?;
    let left = !answer.body.contains(r#""data":[]"#);
    Ok(if left { vec!["a lock was left behind".to_owned()] } else { Vec::new() })
}
