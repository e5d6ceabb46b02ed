//! The rows of the comparison in `docs/locks.md`: the same is done to `flock`, to Redis, to etcd and to `cashbox lock run`. A tool
//! that is not installed is left out.

use crate::server::{free_port, until};
use crate::shell::{Place, lives};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Ended when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program with a job that writes its process id and then works; returns it with the id.
fn start_job(place: &Place, mut wrapper: Command, mark: &str) -> (Ended, String) {
    wrapper
        .args(["sh", "-c", &format!("echo $$ > {mark}; sleep 30")])
        .current_dir(place.path(""))
        .stderr(Stdio::null());
    let wrapper = Ended(wrapper.spawn().unwrap());
    (wrapper, place.line_of(mark).trim().to_owned())
}

#[test]
fn killed_wrapper_ends_command_and_flock_does_not() {
    let place = Place::new();
    let (mut wrapper, command) = start_job(&place, place.command("lock run job --ttl 2s --grace 1s --"), "own");
    wrapper.0.kill().unwrap();
    until(|| !lives(&command));
    assert_eq!(place.run("lock run job --wait 20s -- true").exit, 0);
    if !is_installed("flock") {
        return;
    }
    let mut flock = Command::new("flock");
    flock.arg("job.lock");
    let (mut wrapper, command) = start_job(&place, flock, "flocked");
    wrapper.0.kill().unwrap();
    wrapper.0.wait().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(lives(&command), "it runs on");
    let next = Command::new("flock").args(["-n", "job.lock", "true"]).current_dir(place.path("")).status().unwrap();
    assert!(!next.success(), "and keeps the lock");
    let _ = Command::new("kill").args(["-9", &command]).status();
}

#[test]
fn quick_job_runs_once_per_period_and_under_flock_twice() {
    let place = Place::new();
    let run_twice = |command: &dyn Fn() -> Command, mark: &str| {
        for _ in 0..2 {
            let script = format!("echo ran >> {mark}");
            let status = command().args(["sh", "-c", &script]).current_dir(place.path("")).status();
            assert!(status.unwrap().success());
        }
        fs::read_to_string(place.path(mark)).unwrap().lines().count()
    };
    assert_eq!(run_twice(&|| place.command("lock run job --once-per 23h --"), "own"), 1);
    if is_installed("flock") {
        let flock = || {
            let mut flock = Command::new("flock");
            flock.args(["-n", "job.lock"]);
            flock
        };
        assert_eq!(run_twice(&flock, "flocked"), 2);
    }
}

/// An etcd server of one node in that folder, on a port of its own.
struct Etcd {
    server: Ended,
    urls: [String; 2],
    folder: std::path::PathBuf,
}

impl Etcd {
    /// None if it is not installed.
    fn start(place: &Place) -> Option<Etcd> {
        if !is_installed("etcd") || !is_installed("etcdctl") {
            return None;
        }
        let urls = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port()));
        let folder = place.path("");
        let etcd = Etcd { server: Etcd::spawn(&folder, &urls), urls, folder };
        etcd.until_healthy();
        Some(etcd)
    }

    fn spawn(folder: &std::path::Path, [clients, peers]: &[String; 2]) -> Ended {
        let mut command = Command::new("etcd");
        command.args(["--data-dir", "etcd", "--listen-client-urls", clients, "--advertise-client-urls", clients]);
        command.args(["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]);
        command.args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync"]);
        Ended(command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn until_healthy(&self) {
        let health = || self.command(&["endpoint", "health"]).stderr(Stdio::null()).stdout(Stdio::null()).status();
        until(|| health().unwrap().success());
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.urls[0]]).args(words).current_dir(&self.folder);
        command
    }

    fn lock(&self, ttl: &str) -> Command {
        self.command(&["lock", ttl, "job", "--"])
    }
}

#[test]
fn command_of_killed_etcdctl_runs_on_beside_the_next() {
    let place = Place::new();
    let Some(etcd) = Etcd::start(&place) else { return };
    let (mut wrapper, command) = start_job(&place, etcd.lock("--ttl=1"), "first");
    wrapper.0.kill().unwrap();
    wrapper.0.wait().unwrap();
    let (mut stalled, second) = start_job(&place, etcd.lock("--ttl=1"), "second");
    assert!(lives(&command), "both work");
    // One that stalls is overtaken, and its command goes on.
    let stopped = rustix::process::Pid::from_child(&stalled.0);
    rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
    let (_wrapper, third) = start_job(&place, etcd.lock("--ttl=30"), "third");
    assert!(lives(&second), "both work");
    stalled.0.kill().unwrap();
    for command in [command, second, third] {
        let _ = Command::new("kill").args(["-9", &command]).status();
    }
}

#[test]
fn etcd_keeps_lock_when_killed_and_serves_in_turn() {
    let place = Place::new();
    let Some(mut etcd) = Etcd::start(&place) else { return };
    let run_twice = (0..2).map(|_| etcd.lock("--ttl=30").args(["sh", "-c", "echo ran >> runs"]).status());
    assert!(run_twice.into_iter().all(|status| status.unwrap().success()));
    assert_eq!(fs::read_to_string(place.path("runs")).unwrap().lines().count(), 2, "a period has no meaning to it");
    let (first, command) = start_job(&place, etcd.lock("--ttl=30"), "first");
    let in_turn =
        |name: &str| Ended(etcd.lock("--ttl=30").args(["sh", "-c", &format!("echo {name} >> turns")]).spawn().unwrap());
    let mut waiting = Vec::new();
    for name in ["second", "third"] {
        waiting.push(in_turn(name));
        let keys = etcd.command(&["get", "job", "--prefix", "--keys-only"]);
        until_keys(keys, waiting.len() + 1);
    }
    etcd.server.0.kill().unwrap();
    etcd.server.0.wait().unwrap();
    etcd.server = Etcd::spawn(&etcd.folder, &etcd.urls);
    etcd.until_healthy();
    std::thread::sleep(Duration::from_millis(500));
    assert!(lives(&command) && !place.path("turns").exists(), "the first still has the lock");
    let _ = Command::new("kill").arg(&command).status();
    until(|| fs::read_to_string(place.path("turns")).is_ok_and(|turns| turns == "second\nthird\n"));
    drop(first);
}

fn until_keys(mut keys: Command, count: usize) {
    until(|| {
        let output = keys.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()).count() == count
    });
}

/// A Redis server on a socket in that folder.
struct Redis {
    server: Ended,
    socket: String,
    folder: std::path::PathBuf,
}

impl Redis {
    fn start(place: &Place) -> Redis {
        let (folder, socket) = (place.path(""), place.path("redis").to_string_lossy().into_owned());
        let redis = Redis { server: Redis::spawn(&folder, &socket), socket, folder };
        until(|| redis.ask(&["PING"]) == "PONG");
        redis
    }

    fn spawn(folder: &std::path::Path, socket: &str) -> Ended {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--unixsocket", socket, "--dir"]).arg(folder).stdout(Stdio::null());
        Ended(command.spawn().unwrap())
    }

    fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-s", &self.socket]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn kill_and_start_again(&mut self) {
        self.server.0.kill().unwrap();
        self.server.0.wait().unwrap();
        self.server = Redis::spawn(&self.folder, &self.socket);
        until(|| self.ask(&["PING"]) == "PONG");
    }
}

#[test]
fn late_holder_is_refused_and_at_redis_writes_on() {
    let place = Place::new();
    let late = place.json("lock acquire wallet/alice --ttl 50ms --grace 0s")["token"].as_str().unwrap().to_owned();
    place.run("recharge alice 10");
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(place.run("lock acquire wallet/alice --ttl 30s").exit, 0);
    let write = place.run(&format!("withdraw alice 1 --lock-token {late}"));
    assert!(write.exit == 1 && write.err.contains("start over"), "{}", write.err);
    assert_eq!(place.run(&format!("lock release wallet/alice --lock-token {late}")).exit, 1);
    assert_eq!(place.json("lock show wallet/alice")["state"], "held");
    if !is_installed("redis-server") || !is_installed("redis-cli") {
        return;
    }
    let redis = Redis::start(&place);
    assert_eq!(redis.ask(&["SET", "job", "first", "NX", "PX", "50"]), "OK");
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(redis.ask(&["SET", "job", "second", "NX", "PX", "30000"]), "OK");
    assert_eq!(redis.ask(&["SET", "balance", "by the first"]), "OK", "a late write");
    assert_eq!(redis.ask(&["DEL", "job"]), "1", "the first releases, as usual");
    assert_eq!(redis.ask(&["SET", "job", "third", "NX", "PX", "30000"]), "OK", "two hold it");
}

#[test]
fn lock_outlives_killed_server_and_at_redis_may_not() {
    let server = crate::server::Server::start();
    server.admin().post("/v1/locks/job", serde_json::json!({ "ttl_ms": 30_000 })).is(201);
    let server = server.killed_and_started_again();
    server.admin().post("/v1/locks/job", serde_json::json!({})).refuses(423, "locked");
    if !is_installed("redis-server") || !is_installed("redis-cli") {
        return;
    }
    let place = Place::new();
    let mut redis = Redis::start(&place);
    assert_eq!(redis.ask(&["SET", "job", "first", "NX", "PX", "30000"]), "OK");
    redis.kill_and_start_again();
    assert_eq!(redis.ask(&["SET", "job", "second", "NX", "PX", "30000"]), "OK", "the first still works under it");
}
