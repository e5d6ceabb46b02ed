//! More rows of the table in `store::possession`: files that may not be written, other namespaces, a companion that is
//! replaced, and the lines that a fault leaves in the log.

use crate::possession::{exchange, get, recharge_one, until_degraded, why};
use crate::server::until;
use crate::shell::Place;
use rustix::fs::{CWD, FileType, Mode};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const OTHER_USER: u32 = 65_534;

/// A command in the folder by an account that may not write there: with its program, for root's is not to be read by it.
fn by_another_account(place: &Place, line: &str) -> std::process::Output {
    let program = place.path("cashbox");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_cashbox"), &program).unwrap();
    }
    let mut command = Command::new("setpriv");
    let account = OTHER_USER.to_string();
    command.args(["--reuid", &account, "--regid", &account, "--clear-groups"]).arg(program);
    command.args(line.split_whitespace()).current_dir(place.0.path()).env("CASHBOX_DB", "cashbox.db");
    command.output().unwrap()
}

#[test]
fn file_read_only_is_refused_for_writing_and_read() {
    if !geteuid().is_root() {
        return; // only root can run as another account
    }
    let place = Place::new();
    place.json("recharge alice 10");
    fs::remove_file(place.path("cashbox.db-serve")).unwrap();
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.db(), fs::Permissions::from_mode(0o444)).unwrap();
    let before = fs::read(place.db()).unwrap();
    for line in ["recharge alice 1", "serve --listen 127.0.0.1:0", "lock acquire job", "restore cashbox.db --db new.db"]
    {
        let output = by_another_account(&place, line);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{line}: {err}");
        assert!(err.contains("permission"), "{line}: {err}");
    }
    // Its own folder is not enough.
    let own = place.path("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    fs::copy(place.db(), own.join("cashbox.db")).unwrap();
    let output = by_another_account(&place, "recharge alice 1 --db own/cashbox.db");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it may not be written"));
    assert_eq!(fs::read_dir(&own).unwrap().count(), 2, "no log is left beside it");
    for line in ["wallets", "verify", "wallets --db own/cashbox.db", "verify --db own/cashbox.db"] {
        let output = by_another_account(&place, line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(fs::read(place.db()).unwrap(), before);
}

/// A command in a namespace of its own, after the words of `prepare`; none where this account may make none.
fn in_namespace(place: &Place, kind: &str, prepare: &str, line: &str) -> Option<std::process::Output> {
    if !Command::new("unshare").args([kind, "true"]).output().is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args([kind, "sh", "-c", &format!("{prepare} exec \"$0\" {line}"), env!("CARGO_BIN_EXE_cashbox")]);
    Some(command.current_dir(place.0.path()).output().unwrap())
}

#[test]
fn file_in_other_mount_namespace_has_one_process() {
    let place = Place::new();
    let server = place.serve("--open");
    assert_eq!(recharge_one(&server, "before"), 200);
    fs::create_dir(place.path("there")).unwrap();
    fs::write(place.path("empty"), "").unwrap();
    // The folder under another name, and its companion covered.
    let mount = "mount --bind . there && mount --bind empty there/cashbox.db-serve &&";
    let Some(output) = in_namespace(&place, "--mount", mount, "recharge alice 1 --db there/cashbox.db") else { return };
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("another program has held it"), "{err}");
    assert_eq!(place.json("wallet alice")["balance"], "1.00");
}

#[test]
fn file_mounted_by_itself_is_refused() {
    let place = Place::new();
    place.json("create alice");
    let mut server = place.serve("--open");
    for key in ["a", "b", "c"] {
        assert_eq!(recharge_one(&server, key), 200);
    }
    fs::create_dir(place.path("there")).unwrap();
    fs::write(place.path("there/other.db"), "").unwrap();
    let there = |line: &str| {
        let mount = "mount --bind cashbox.db there/other.db &&";
        let output = in_namespace(&place, "--mount", mount, &format!("{line} --db there/other.db"))?;
        Some((output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let looks = ["verify", "export", "backup there/copy.db", "sql 1"];
    for line in looks {
        let Some((exit, err)) = there(line) else { return };
        assert!(exit == 3 && err.contains("another program has it under another name"), "{line}: {exit} {err}");
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    for line in ["recharge bob 1", "serve --listen 127.0.0.1:0", "wallets", "lock acquire job", "restore cashbox.db"] {
        let Some((exit, err)) = there(line) else { return };
        assert!(exit == 3 && err.contains("mount the folder"), "{line}: {exit} {err}");
    }
    let Some((exit, err)) = there("verify") else { return };
    assert!(exit == 0 && err.contains("a log under its other name is not read here"), "{exit} {err}");
    assert_eq!(place.json("wallet alice")["balance"], "3.00", "its log was left alone");
    assert_eq!(place.run("verify").exit, 0);
}

#[test]
fn file_linked_is_not_read_without_its_log_while_served() {
    let place = Place::new();
    place.json("create alice");
    let mut server = place.serve("--open");
    fs::hard_link(place.db(), place.path("other.db")).unwrap();
    assert_eq!(recharge_one(&server, "in-the-log"), 200);
    for line in ["verify", "export", "backup copy.db", "sql 1"] {
        let output = place.run(&format!("{line} --db other.db"));
        assert_eq!(output.exit, 3, "{line}: {}", output.err);
        assert!(output.err.contains("another program has it under another name"), "{line}: {}", output.err);
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let output = place.run("verify --db other.db");
    assert!(output.exit == 0 && output.err.contains("is not read here"), "{} {}", output.exit, output.err);
}

#[test]
fn file_of_a_name_beside_another_is_refused() {
    let place = Place::new();
    place.json("recharge alice 10");
    for ending in ["-wal", "-shm", "-journal", "-serve"] {
        for line in ["recharge alice 1", "serve --listen 127.0.0.1:0", "lock acquire job", "restore cashbox.db"] {
            let before = fs::read_dir(place.0.path()).unwrap().count();
            let output = place.run(&format!("{line} --db other.db{ending}"));
            assert_eq!(output.exit, 3, "{line} {ending}: {}", output.err);
            assert!(output.err.contains("lies beside a database"), "{line} {ending}: {}", output.err);
            assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), before, "{line} {ending}");
        }
    }
}

#[test]
fn file_that_is_pipe_or_device_is_refused_for_writing() {
    let place = Place::new();
    rustix::fs::mknodat(CWD, place.path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    std::os::unix::fs::symlink("/dev/null", place.path("null")).unwrap();
    for name in ["pipe", "null"] {
        for line in ["recharge alice 1", "serve --listen 127.0.0.1:0"] {
            let output = place.run(&format!("{line} --db {name}"));
            assert_eq!(output.exit, 3, "{line} {name}: {}", output.err);
            assert!(output.err.contains("it is not an ordinary file"), "{line} {name}: {}", output.err);
        }
    }
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 2, "no companion is left beside them");
    assert!(!std::path::Path::new("/dev/null-serve").exists());
}

#[test]
fn server_in_other_network_namespace_is_not_reached() {
    let place = Place::new();
    let server = place.serve("--open");
    assert_eq!(recharge_one(&server, "before"), 200);
    let Some(output) = in_namespace(&place, "--net", "", "recharge alice 1 --db cashbox.db") else { return };
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains(&server.url), "{err}");
    assert_eq!(place.json("wallet alice")["balance"], "1.00");
}

#[test]
fn companion_replaced_by_other_kind_of_file_is_degraded() {
    let place = Place::new();
    let server = place.serve("--open");
    let companion = place.path("cashbox.db-serve");
    for (number, kind) in ["folder", "link", "pipe"].into_iter().enumerate() {
        fs::remove_file(&companion).unwrap();
        match kind {
            "folder" => fs::create_dir(&companion).unwrap(),
            "link" => std::os::unix::fs::symlink("elsewhere", &companion).unwrap(),
            _ => {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mkfifoat(rustix::fs::CWD, &companion, mode).unwrap();
            }
        }
        until_degraded(&server, "in the place of the companion file");
        assert!(get(&server, "/metrics").contains("cashbox_degraded{why=\"companion_foreign\"} 1"), "{kind}");
        assert_eq!(recharge_one(&server, &format!("k{number}")), 200, "{kind}: writing goes on");
        if kind == "folder" {
            fs::remove_dir(&companion).unwrap()
        } else {
            fs::remove_file(&companion).unwrap()
        }
        until(|| why(&server).is_empty());
        until(|| fs::read_to_string(&companion).is_ok_and(|text| text.contains(&server.url)));
    }
    assert!(!place.path("elsewhere").exists(), "nothing is written through the link");
    assert_eq!(place.json("wallet alice")["balance"], "3.00", "commands find the server again");
}

#[test]
fn degraded_state_is_one_log_line_in_and_out() {
    let place = Place::new();
    let server = place.serve("--open");
    assert_eq!(recharge_one(&server, "before"), 200);
    let (db, elsewhere, companion) = (place.db(), place.path("elsewhere.db"), place.path("cashbox.db-serve"));
    fs::hard_link(&db, &elsewhere).unwrap();
    until_degraded(&server, "another name");
    fs::remove_file(&elsewhere).unwrap();
    until(|| why(&server).is_empty());
    fs::rename(&db, &elsewhere).unwrap();
    until_degraded(&server, "moved, replaced or deleted");
    for n in 0..5 {
        assert_eq!(recharge_one(&server, &format!("moved-{n}")), 500, "a refused change adds no line");
    }
    fs::rename(&elsewhere, &db).unwrap();
    until(|| why(&server).is_empty());
    assert_eq!(recharge_one(&server, "moved-0"), 200, "it is back");
    fs::remove_file(&companion).unwrap();
    fs::create_dir(&companion).unwrap();
    until_degraded(&server, "companion");
    fs::remove_dir(&companion).unwrap();
    until(|| why(&server).is_empty());
    fs::remove_file(place.path("cashbox.db-shm")).unwrap();
    until_degraded(&server, "the log's index");
    assert_eq!(exchange(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 200);
    let log = server.stop();
    for (begun, ended) in [
        ("the file has another name too", "file_linked"),
        ("the file was moved, replaced or deleted", "file_moved"),
        ("another file stands in the place of the companion", "companion_foreign"),
        ("the log's index (-shm) was deleted", ""),
    ] {
        assert_eq!(log.matches(&format!("error degraded: {begun}")).count(), 1, "{begun}: {log}");
        if !ended.is_empty() {
            assert_eq!(log.matches(&format!("info no longer degraded: {ended}")).count(), 1, "{ended}: {log}");
        }
    }
}

#[test]
fn restore_onto_deleted_file_says_where_its_log_is_kept() {
    let place = Place::new();
    place.json("recharge alice 10");
    place.json("backup b.db");
    let mut server = place.serve("--open");
    assert_eq!(recharge_one(&server, "in-the-log"), 200);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let log = fs::read(place.path("cashbox.db-wal")).unwrap();
    assert!(!log.is_empty());
    fs::remove_file(place.db()).unwrap();
    let refused = place.run("restore b.db");
    assert_eq!(refused.exit, 1, "{}", refused.err);
    assert!(refused.err.contains("cashbox.db-wal is there already"), "{}", refused.err);
    let kept = place.json("restore b.db --replace")["kept"].as_str().expect("the log is kept").to_owned();
    assert!(kept.ends_with("-wal"), "{kept}");
    assert_eq!(fs::read(place.path(&kept)).unwrap(), log);
    assert_eq!(place.json("wallet alice")["balance"], "10.00");
}
