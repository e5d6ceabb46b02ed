//! The file at the shell, and what lies beside it: its owner, its server, and that reading changes nothing.

use crate::shell::Place;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn companion_probe_does_not_look_like_server() {
    let place = Place::new();
    place.json("recharge alice 10");
    drop(place.serve("")); // killed: its companion still names it
    let looking = fs::File::open(place.path("cashbox.db-serve")).unwrap();
    looking.lock_shared().unwrap();
    let waiting = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let opened = |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|path| path.ends_with("cashbox.db-serve"));
    let files = || fs::read_dir(format!("/proc/{}/fd", waiting.id())).unwrap().flatten();
    crate::server::until(|| files().any(opened));
    looking.unlock().unwrap();
    crate::server::until(|| fs::read_to_string(place.path("cashbox.db-serve")).unwrap().contains("http://"));
    assert_eq!(place.json("wallet alice")["balance"], "10.00");
}

#[test]
fn companion_file_is_private_and_follows_no_link() {
    let place = Place::new();
    place.json("recharge alice 10");
    let companion = place.path("cashbox.db-serve");
    fs::set_permissions(&companion, fs::Permissions::from_mode(0o644)).unwrap();
    let server = place.serve("");
    assert_eq!(fs::metadata(&companion).unwrap().permissions().mode() & 0o777, 0o600, "a token of this run is in it");
    server.stop();
    fs::remove_file(&companion).unwrap();
    fs::write(place.path("treasure"), "gold").unwrap();
    std::os::unix::fs::symlink("treasure", &companion).unwrap();
    let output = place.run("wallet alice");
    assert!(output.exit == 3 && output.err.contains("it is a symbolic link"), "{} {}", output.exit, output.err);
    assert_eq!(fs::read_to_string(place.path("treasure")).unwrap(), "gold");
}

#[test]
fn open_refuses_file_with_hard_link() {
    let place = Place::new();
    place.json("recharge alice 100");
    fs::hard_link(place.db(), place.path("other.db")).unwrap();
    for line in ["withdraw alice 100", "withdraw alice 100 --db other.db", "serve --listen 127.0.0.1:0"] {
        let output = place.run(line);
        assert!(output.exit == 3 && output.err.contains("another name too"), "{line}: {} {}", output.exit, output.err);
    }
    fs::remove_file(place.path("other.db")).unwrap();
    assert_eq!(place.json("withdraw alice 100")["balance"], "0.00");
}

#[test]
fn files_made_by_root_belong_to_owner_of_database() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return; // only root can give files away
    }
    let place = Place::new();
    let other = Some(4_321);
    chown(place.0.path(), other, other).unwrap();
    place.json("recharge alice 100");
    place.json("backup copy.db");
    place.json("restore copy.db --replace");
    for name in ["cashbox.db", "cashbox.db-serve", "copy.db"] {
        assert_eq!(Some(fs::metadata(place.path(name)).unwrap().uid()), other, "{name}");
    }
}

#[test]
fn reading_leaves_file_unchanged_after_reboot() {
    let place = Place::new();
    place.json("recharge alice 100 --key k");
    place.json("lock acquire job --ttl 1h");
    let conn = rusqlite::Connection::open(place.db()).unwrap();
    conn.execute("UPDATE lock_seq SET boot_id = 'another machine'", []).unwrap();
    drop(conn);
    let before = fs::read(place.db()).unwrap();
    for line in ["wallet alice", "wallets", "history", "lock show job", "lock list", "tiers", "token list"] {
        place.json(line);
        assert_eq!(fs::metadata(place.path("cashbox.db-wal")).map_or(0, |log| log.len()), 0, "{line}");
        assert!(fs::read(place.db()).unwrap() == before, "{line}");
    }
    fs::write(place.path("empty.db"), "").unwrap();
    let output = place.run("wallets --db empty.db");
    assert!(output.exit == 3 && output.err.contains("it is empty"), "{} {}", output.exit, output.err);
    assert_eq!(fs::read(place.path("empty.db")).unwrap(), b"");
}

#[test]
fn impossible_lease_clock_is_damage() {
    let place = Place::new();
    place.json("recharge alice 100");
    let conn = rusqlite::Connection::open(place.db()).unwrap();
    conn.execute("UPDATE lock_seq SET boot_offset_ms = 9223372036854775807, boot_id = ''", []).unwrap();
    drop(conn);
    for line in ["serve --listen 127.0.0.1:0", "recharge alice 1", "wallet alice", "lock acquire x", "verify"] {
        let output = place.run(line);
        assert_eq!(output.exit, 4, "{line}: {}{}", output.out, output.err);
    }
}
