//! Possession of a file by one process, and the watch over the files beside it: a test for each row of the table in
//! `store::possession`.

use crate::harness::*;
use crate::server::until;
use crate::shell::{Place, Serving};
use cashbox::Cashbox;
use rustix::fs::{CWD, Mode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The body of an answer to a request without a token.
pub fn get(server: &Serving, path: &str) -> String {
    exchange(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).1
}

/// Status and body.
pub fn exchange(server: &Serving, request: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(server.url.strip_prefix("http://").unwrap()) else {
        return (0, String::new());
    };
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // the server may be killed meanwhile
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// Recharges alice by 1.00 and gives the status.
pub fn recharge_one(server: &Serving, key: &str) -> u16 {
    let body = "{\"amount\":\"1\"}";
    let request = format!(
        "POST /v1/wallets/alice/recharge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(server, &request).0
}

/// The reasons why the server is degraded.
pub fn why(server: &Serving) -> Vec<String> {
    let health: Value = serde_json::from_str(&get(server, "/healthz")).unwrap();
    health["why"].as_array().unwrap().iter().map(|why| why.as_str().unwrap().to_owned()).collect()
}

pub fn until_degraded(server: &Serving, words: &str) {
    until(|| why(server).iter().any(|why| why.contains(words)));
}

fn kill(server: &mut Serving) {
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}

/// Answers before a damage under load.
const ANSWERED: usize = 20;

/// Recharges from four clients at once until `damage` is done and noticed, kills the server, and gives the keys that were
/// answered yes.
fn answered_under_load(server: &mut Serving, damage: impl FnOnce(), noticed: impl Fn(&Serving) -> bool) -> Vec<String> {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let yes = std::thread::scope(|scope| {
        let (stop, answered, server) = (&stop, &answered, &*server);
        let client = |number: u32| {
            let mut yes = Vec::new();
            for i in 0.. {
                if stop.load(Relaxed) {
                    break;
                }
                let key = format!("load-{number}-{i}");
                if recharge_one(server, &key) == 200 {
                    answered.fetch_add(1, Relaxed);
                    yes.push(key);
                }
            }
            yes
        };
        let clients: Vec<_> = (0..4).map(|number| scope.spawn(move || client(number))).collect();
        std::thread::sleep(Duration::from_millis(300));
        until(|| answered.load(Relaxed) > ANSWERED);
        damage();
        until(|| noticed(server));
        recharge_one(server, "later"); // the writer, which answers this, has moved the log into the file before
        kill_process(Pid::from_child(&server.child), Signal::KILL).unwrap();
        stop.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    server.child.wait().unwrap();
    yes
}

/// The keys of the changes in this file.
fn keys_in(file: &Path) -> Vec<String> {
    let conn = rusqlite::Connection::open(file).unwrap();
    let mut statement = conn.prepare("SELECT key FROM idempotency WHERE entry IS NOT NULL").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Fails if the file lacks one of these keys, or if they are few.
pub fn assert_none_missing(file: &Path, yes: &[String]) {
    assert!(yes.len() > ANSWERED, "{} answers", yes.len());
    let kept = keys_in(file);
    let missing: Vec<_> = yes.iter().filter(|key| !kept.contains(key)).collect();
    assert!(missing.is_empty(), "{} of {} answers are missing: {missing:?}", missing.len(), yes.len());
}

#[test]
fn log_deleted_under_load_loses_no_answer() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let log = place.path("cashbox.db-wal");
    let noticed = |server: &Serving| why(server).iter().any(|why| why.contains("(-wal) was deleted"));
    let yes = answered_under_load(&mut server, || fs::remove_file(&log).unwrap(), noticed);
    assert_none_missing(&place.db(), &yes);
    assert_eq!(place.run("verify").exit, 0, "what a restart finds is sound");
}

#[test]
fn log_replaced_under_load_loses_no_answer() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let (log, other) = (place.path("cashbox.db-wal"), place.path("other"));
    fs::write(&other, "").unwrap();
    let noticed = |server: &Serving| why(server).iter().any(|why| why.contains("(-wal) was deleted"));
    let yes = answered_under_load(&mut server, || fs::rename(&other, &log).unwrap(), noticed);
    assert_none_missing(&place.db(), &yes);
}

#[test]
fn log_deleted_refuses_changes_and_verify_beside() {
    let place = Place::new();
    let server = place.serve("--open");
    for i in 0..3 {
        assert_eq!(recharge_one(&server, &format!("before-{i}")), 200);
    }
    fs::remove_file(place.path("cashbox.db-wal")).unwrap();
    until_degraded(&server, "(-wal) was deleted");
    assert_eq!(recharge_one(&server, "after"), 500);
    let verify = place.run("verify");
    assert_eq!(verify.exit, 3, "{}{}", verify.out, verify.err);
    assert!(verify.err.contains("was deleted or replaced while process"), "{}", verify.err);
    assert_eq!(place.json("wallet alice")["balance"], "3.00", "reading goes on");
    let err = server.stop();
    assert_eq!(err.matches("degraded: the log (-wal) was deleted").count(), 1, "one line: {err}");
    assert_eq!(place.json("wallet alice")["balance"], "3.00");
    assert_eq!(place.run("verify").exit, 0);
    let server = place.serve("--open");
    assert_eq!(recharge_one(&server, "after"), 200, "a restart writes again");
}

/// Recharges, damages the log and recharges again, until that is not answered yes; then the process has to end. The log
/// holds what the file does not only between two checkpoints, which come 200 ms after a commit. What was answered yes
/// after a damage has to be there.
fn assert_damaged_log_ends_process(damage: impl Fn(&Serving, &Path, usize)) {
    let place = Place::new();
    place.json("recharge bob 1"); // the tables are in the file: a reader at the start may keep a checkpoint from its last pages
    let mut server = place.serve("--open");
    let log = place.path("cashbox.db-wal");
    let mut yes = Vec::new();
    let refused = (0..50).any(|i| {
        assert_eq!(recharge_one(&server, &format!("before-{i}")), 200);
        damage(&server, &log, i);
        let key = format!("after-{i}");
        match recharge_one(&server, &key) {
            200 => yes.push(key),
            status => assert_eq!(status, 500),
        }
        yes.len() == i
    });
    assert!(refused);
    let (exit, err) = server.wait();
    assert_eq!(exit, 5, "{err}");
    assert!(err.contains("the log (-wal) was emptied, cut or overwritten"), "{err}");
    assert_eq!(place.run("verify").exit, 0, "what is left is sound");
    let kept = keys_in(&place.db());
    assert!(yes.iter().all(|key| kept.contains(key)), "{yes:?}, and there are {kept:?}");
}

#[test]
fn log_emptied_is_not_answered_yes_and_ends_process() {
    assert_damaged_log_ends_process(|_, log, _| fs::write(log, "").unwrap());
}

#[test]
fn log_cut_is_not_answered_yes_and_ends_process() {
    for bytes in [100, 5_000] {
        assert_damaged_log_ends_process(|_, log, _| {
            let file = fs::OpenOptions::new().write(true).open(log).unwrap();
            file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        });
    }
}

#[test]
fn log_overwritten_by_older_copy_ends_process() {
    assert_damaged_log_ends_process(|server, log, i| {
        let copy = fs::read(log).unwrap();
        assert_eq!(recharge_one(server, &format!("more-{i}")), 200);
        fs::write(log, copy).unwrap();
    });
}

#[test]
fn log_replaced_by_older_copy_loses_no_answer() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let (log, other) = (place.path("cashbox.db-wal"), place.path("other"));
    let replace = || {
        fs::copy(&log, &other).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        fs::rename(&other, &log).unwrap();
    };
    let noticed = |server: &Serving| recharge_one(server, "probe") == 500 && !log.exists();
    let yes = answered_under_load(&mut server, replace, noticed);
    assert_none_missing(&place.db(), &yes);
    assert_eq!(place.run("verify").exit, 0);
}

#[test]
fn log_moved_behind_symlink_loses_no_answer() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let (log, other) = (place.path("cashbox.db-wal"), place.path("other"));
    let link = || {
        fs::rename(&log, &other).unwrap();
        std::os::unix::fs::symlink("other", &log).unwrap();
    };
    let noticed = |server: &Serving| recharge_one(server, "probe") == 500 && log.symlink_metadata().is_err();
    let yes = answered_under_load(&mut server, link, noticed);
    assert_none_missing(&place.db(), &yes);
    assert_eq!(place.json("recharge alice 1")["code"], 200, "SQLite follows no link to a log");
}

#[test]
fn log_moved_by_other_program_changes_nothing() {
    let place = Place::new();
    let server = place.serve("--open");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = rusqlite::Connection::open(place.db()).unwrap();
            other.busy_timeout(Duration::from_secs(5)).unwrap();
            while !stop.load(Relaxed) {
                for way in ["TRUNCATE", "RESTART"] {
                    let _ = other.query_row(&format!("PRAGMA wal_checkpoint({way})"), [], |_| Ok(())); // may be busy
                }
            }
        });
        let answers: Vec<_> = (0..100).map(|i| recharge_one(&server, &format!("k{i}"))).collect();
        stop.store(true, Relaxed);
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    });
    let other = rusqlite::Connection::open(place.db()).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(recharge_one(&server, "after"), 200, "the file is shorter, and nothing was cut off");
    assert_eq!(why(&server), Vec::<String>::new());
}

#[test]
fn index_deleted_or_replaced_refuses_changes() {
    for replaced in [false, true] {
        let place = Place::new();
        let server = place.serve("--open");
        assert_eq!(recharge_one(&server, "before"), 200);
        let (index, other) = (place.path("cashbox.db-shm"), place.path("other"));
        if replaced {
            fs::copy(&index, &other).unwrap();
            fs::rename(&other, &index).unwrap();
        } else {
            fs::remove_file(&index).unwrap();
        }
        until_degraded(&server, "(-shm) was deleted or replaced");
        assert_eq!(recharge_one(&server, "after"), 500);
        assert!(get(&server, "/metrics").contains("cashbox_degraded{why=\"index_gone\"} 1"));
        server.stop();
        let server = place.serve("--open");
        assert_eq!(recharge_one(&server, "after"), 200, "a restart writes again");
        drop(server);
        assert_eq!(place.run("verify").exit, 0);
        assert_eq!(place.json("wallet alice")["balance"], "2.00");
    }
}

#[test]
fn file_moved_under_load_loses_no_answer() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let elsewhere = place.path("elsewhere.db");
    let noticed = |server: &Serving| why(server).iter().any(|why| why.contains("moved, replaced or deleted"));
    let yes = answered_under_load(&mut server, || fs::rename(place.db(), &elsewhere).unwrap(), noticed);
    assert_none_missing(&elsewhere, &yes);
}

#[test]
fn file_moved_behind_symlink_loses_no_answer() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let elsewhere = place.path("data/cashbox.db");
    let link = || {
        fs::create_dir(place.path("data")).unwrap();
        fs::rename(place.db(), &elsewhere).unwrap();
        std::os::unix::fs::symlink("data/cashbox.db", place.db()).unwrap();
    };
    let yes = answered_under_load(&mut server, link, |server| recharge_one(server, "probe") == 500);
    assert_none_missing(&elsewhere, &yes);
    assert_eq!(place.json("recharge alice 1")["code"], 200, "the link leads to the whole file");
}

#[test]
fn file_cut_ends_process() {
    let place = Place::new();
    let mut server = place.serve("--open");
    assert_eq!(recharge_one(&server, "before"), 200);
    until(|| fs::metadata(place.db()).unwrap().len() > 8_192);
    std::thread::sleep(Duration::from_millis(600)); // a look
    let file = fs::OpenOptions::new().write(true).open(place.db()).unwrap();
    file.set_len(8_192).unwrap();
    let (exit, err) = server.wait();
    assert_eq!(exit, 5, "{err}");
    assert!(err.contains("the file was emptied or cut"), "{err}");
}

#[test]
fn file_emptied_ends_process() {
    let place = Place::new();
    let mut server = place.serve("--open");
    assert_eq!(recharge_one(&server, "before"), 200);
    fs::write(place.db(), "").unwrap();
    let (exit, err) = server.wait();
    assert_eq!(exit, 5, "{err}");
    assert!(err.contains("the file was emptied"), "{err}");
}

#[test]
fn file_linked_is_degraded_and_writing_goes_on() {
    let place = Place::new();
    let server = place.serve("--open");
    fs::hard_link(place.db(), place.path("other.db")).unwrap();
    until_degraded(&server, "another name");
    assert_eq!(recharge_one(&server, "a"), 200);
    assert_eq!(place.run("wallet alice --db other.db").exit, 3);
    fs::remove_file(place.path("other.db")).unwrap();
    until(|| why(&server).is_empty());
}

#[test]
fn file_missing_beside_log_is_refused_and_log_kept() {
    for empty in [false, true] {
        let place = Place::new();
        let mut server = place.serve("--open");
        assert_eq!(recharge_one(&server, "a"), 200);
        kill(&mut server);
        let log = fs::read(place.path("cashbox.db-wal")).unwrap();
        assert!(!log.is_empty());
        fs::remove_file(place.db()).unwrap();
        if empty {
            fs::write(place.db(), "").unwrap();
        }
        for line in ["recharge alice 1", "serve --listen 127.0.0.1:0", "lock acquire job"] {
            let output = place.run(line);
            assert_eq!(output.exit, 3, "{line}: {}{}", output.out, output.err);
            assert!(output.err.contains("cashbox.db-wal"), "{}", output.err);
            assert_eq!(fs::read(place.path("cashbox.db-wal")).unwrap(), log, "{line}");
            assert_eq!(place.db().exists(), empty, "{line}");
        }
        assert!(Cashbox::open(place.db()).is_err());
        assert_eq!(fs::read(place.path("cashbox.db-wal")).unwrap(), log);
    }
}

#[test]
fn companion_deleted_leaves_one_server_and_is_made_anew() {
    let place = Place::new();
    let server = place.serve("--open");
    for _ in 0..3 {
        fs::remove_file(place.path("cashbox.db-serve")).unwrap();
        let second = place.run("serve --listen 127.0.0.1:0");
        assert_eq!(second.exit, 3, "{}", second.out);
        assert!(second.err.contains(&server.url), "{}", second.err);
        assert_eq!(place.json("recharge alice 1")["code"], 200, "commands find it again");
    }
    fs::write(place.path("other"), "1\nhttp://127.0.0.1:1\nx\n").unwrap();
    fs::set_permissions(place.path("other"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(place.path("other"), place.path("cashbox.db-serve")).unwrap();
    until(|| fs::read_to_string(place.path("cashbox.db-serve")).unwrap().contains(&server.url));
    assert!(why(&server).is_empty());
}

#[test]
fn companion_that_is_pipe_link_or_folder_is_refused() {
    let place = Place::new();
    place.json("recharge alice 10");
    let companion = place.path("cashbox.db-serve");
    for name in ["pipe", "link", "folder"] {
        let _ = fs::remove_file(&companion);
        match name {
            "pipe" => rustix::fs::mkfifoat(CWD, &companion, Mode::from_raw_mode(0o600)).unwrap(),
            "link" => std::os::unix::fs::symlink("elsewhere", &companion).unwrap(),
            _ => fs::create_dir(&companion).unwrap(),
        }
        for line in ["withdraw alice 1", "serve --listen 127.0.0.1:0", "lock acquire job"] {
            let output = place.run(line);
            assert_eq!(output.exit, 3, "{name}, {line}: {}{}", output.out, output.err);
            assert!(output.err.contains("cashbox.db-serve"), "{name}, {line}: {}", output.err);
        }
    }
    fs::remove_dir(&companion).unwrap();
    assert_eq!(place.json("withdraw alice 1")["balance"], "9.00");
}

#[test]
fn companion_planted_by_other_account_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give files away
    }
    let place = Place::new();
    place.json("recharge alice 10");
    let companion = place.path("cashbox.db-serve");
    fs::write(&companion, "1\nhttp://127.0.0.1:1\ncbx_stolen\n").unwrap();
    fs::set_permissions(&companion, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&companion, Some(4_321), Some(4_321)).unwrap();
    let planter = fs::File::open(&companion).unwrap();
    planter.lock().unwrap();
    let output = place.run("withdraw alice 1");
    assert_eq!(output.exit, 3, "{}{}", output.out, output.err);
    assert!(output.err.contains("another account (user 4321)"), "{}", output.err);
}

#[test]
fn companion_readable_by_others_is_not_believed() {
    let place = Place::new();
    place.json("recharge alice 10");
    let companion = place.path("cashbox.db-serve");
    fs::write(&companion, "1\nhttp://127.0.0.1:1\ncbx_stolen\n").unwrap();
    fs::set_permissions(&companion, fs::Permissions::from_mode(0o644)).unwrap();
    let planter = fs::File::open(&companion).unwrap();
    planter.lock().unwrap();
    let export = place.run("export");
    assert_eq!(export.exit, 0, "{}", export.err);
}

#[test]
fn library_takes_and_holds_possession() {
    let place = Place::new();
    let cashbox = Cashbox::open(place.db()).unwrap();
    cashbox.recharge(&user_id("alice"), money("5")).unwrap();
    let again = Cashbox::open(place.db()).expect_err("it is open here");
    assert!(again.to_string().contains(&format!("process {}", std::process::id())), "{again}");
    let copy = place.path("copy.db");
    cashbox.backup(&copy).unwrap();
    let output = place.run("restore copy.db --replace");
    assert_eq!(output.exit, 3, "{}", output.out);
    assert!(output.err.contains(&format!("process {}", std::process::id())), "{}", output.err);
    fs::remove_file(place.path("cashbox.db-serve")).unwrap();
    let output = place.run("recharge alice 1");
    assert_eq!(output.exit, 3, "the inode is locked too: {}", output.out);
    cashbox.recharge(&user_id("alice"), money("1")).unwrap();
    drop(cashbox);
    assert_eq!(place.json("recharge alice 1")["balance"], "7.00");
}

#[test]
fn store_open_takes_and_holds_possession() {
    let book = check("recharge alice 10 | balance 10.00");
    let options = book.options.clone();
    let error = cashbox::internals::store::Store::open(&book.path(), &options).err().expect("it is open");
    assert!(error.to_string().contains("has held it"), "{error}");
    book.must(recharge("alice", "1"));
}

#[test]
fn server_that_cannot_prove_itself_gets_no_token() {
    let place = Place::new();
    place.json("recharge alice 10");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let companion = place.path("cashbox.db-serve");
    let token = "cbx_0123456789abcdef0123456789abcdef";
    fs::write(&companion, format!("1\nhttp://{}\ncbx_of_this_run_0123456789\n", listener.local_addr().unwrap()))
        .unwrap();
    let planter = fs::File::open(&companion).unwrap();
    planter.lock().unwrap();
    fs::write(place.path("tok"), token).unwrap();
    let seen = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4_096];
        let count = stream.read(&mut bytes).unwrap();
        let body = "{\"code\":200,\"msg\":\"ok\",\"status\":\"ok\",\"proof\":\"00\"}";
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8_lossy(&bytes[..count]).to_ascii_lowercase()
    });
    let output = place.run("withdraw alice 1 --token-file tok");
    assert_eq!(output.exit, 3, "{}{}", output.out, output.err);
    assert!(output.err.contains("is not the server that has this file"), "{}", output.err);
    let seen = seen.join().unwrap();
    assert!(seen.starts_with("get /healthz") && !seen.contains("cbx_") && !seen.contains("authorization"), "{seen}");
    drop(planter);
    assert_eq!(place.json("wallet alice")["balance"], "10.00");
}

#[test]
fn server_proves_itself_before_each_command() {
    let place = Place::new();
    let server = place.serve("");
    assert_eq!(place.json("recharge alice 10")["balance"], "10.00");
    let challenge = "ab".repeat(32);
    let ask = |header: &str| {
        exchange(&server, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n")).1
    };
    assert!(ask(&format!("Cashbox-Challenge: {challenge}\r\n")).contains("\"proof\":\""));
    assert!(!ask("Cashbox-Challenge: ab\r\n").contains("proof"));
    assert!(!ask("").contains("proof"));
}

#[test]
fn file_deleted_under_lock_holder_ends_command() {
    let place = Place::new();
    let holder = place.start(&["lock", "run", "job", "--ttl", "60s", "--db", "cashbox.db", "--", "sleep", "60"]);
    until(|| place.run("lock show job --json").out.contains("\"held\""));
    for ending in ["", "-wal", "-shm", "-serve"] {
        let _ = fs::remove_file(place.path(&format!("cashbox.db{ending}"))); // some are not there without a server
    }
    let second = place.run("lock run job --db cashbox.db -- true");
    assert_eq!(second.exit, 0, "{}", second.err);
    let begun = std::time::Instant::now();
    let output = holder.finish();
    assert_eq!(output.exit, 123, "{}", output.err);
    assert!(output.err.contains("its file was deleted, replaced or restored"), "{}", output.err);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn file_deleted_or_replaced_refuses_changes() {
    for other in [None, Some("another file")] {
        let place = Place::new();
        let server = place.serve("--open");
        assert_eq!(recharge_one(&server, "before"), 200);
        fs::remove_file(place.db()).unwrap();
        other.into_iter().for_each(|text| fs::write(place.db(), text).unwrap());
        assert_eq!(recharge_one(&server, "after"), 500);
        until_degraded(&server, "moved, replaced or deleted");
        assert_eq!(recharge_one(&server, "later"), 500);
        server.stop();
        assert_eq!(fs::read_to_string(place.db()).ok().as_deref(), other);
    }
}
