//! Looking never writes: not one byte of the file, its log or their folder changes, in whatever state they are; and a file
//! that cannot be read keeps its log.

use crate::shell::{CommandOutput, Place};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Every command that only reads. `OUT` is a file in another folder.
const LOOKS: &[&str] = &[
    "wallets",
    "wallet alice",
    "history alice",
    "coupons alice",
    "entry 1",
    "lock list",
    "lock show job",
    "token list",
    "tiers",
    "verify",
    "export",
    "sql SELECT(1)",
    "backup OUT",
];

/// A folder's files: bytes, and times of their last change; and that of the folder.
type Snapshot = BTreeMap<String, (Vec<u8>, i64, i64)>;

fn snapshot(folder: &Path) -> Snapshot {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let state = |path: &Path, bytes: Vec<u8>| {
        let data = path.metadata().unwrap();
        (bytes, data.mtime(), data.mtime_nsec())
    };
    let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut all: Snapshot = files.map(|path| (named(&path), state(&path, fs::read(&path).unwrap()))).collect();
    all.insert(".".to_owned(), state(folder, Vec::new()));
    all
}

/// The place of the file, and another one from which it is looked at.
struct Watched {
    file: Place,
    elsewhere: Place,
}

impl Watched {
    /// Two entries, and a lock. Closed, without a companion.
    fn new() -> Watched {
        let watched = Watched { file: Place::new(), elsewhere: Place::new() };
        for line in ["recharge alice 500", "withdraw alice 20", "lock acquire job --ttl 60"] {
            assert_eq!(watched.file.run(line).exit, 0, "{line}");
        }
        watched
    }

    /// The same, with 3 entries, of which the last is in the log that a killed server left.
    fn crashed() -> Watched {
        let watched = Watched::new();
        let server = watched.file.serve("");
        assert_eq!(watched.file.run("recharge bob 5").exit, 0);
        drop(server); // killed
        assert!(fs::metadata(watched.file.path("cashbox.db-wal")).unwrap().len() > 0);
        watched
    }

    fn look(&self, line: &str) -> CommandOutput {
        let db = self.file.db();
        let line = line.replace("OUT", &format!("out-{}.db", cashbox::internals::secret::random_hex::<4>()));
        self.elsewhere.run(&format!("{line} --db {}", db.display()))
    }

    /// Runs every looking command, of which each must change nothing. Returns their outputs.
    fn look_at_all(&self) -> Vec<(&'static str, CommandOutput)> {
        let folder = self.file.0.path();
        let mut outputs = Vec::new();
        for line in LOOKS {
            let before = snapshot(folder);
            let output = self.look(line);
            let after = snapshot(folder);
            let changed: Vec<_> =
                before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
            assert!(changed.is_empty(), "{line} changed {changed:?}");
            outputs.push((*line, output));
        }
        outputs
    }

    fn assert_all_read(&self, entries: &str) {
        for (line, output) in self.look_at_all() {
            assert_eq!(output.exit, 0, "{line}: {}{}", output.out, output.err);
        }
        let count = self.look("sql SELECT(count(*))FROM(entry) --json");
        assert!(count.out.contains(&format!("[[{entries}]]")), "{}{}", count.out, count.err);
        let verified = self.look("verify --json").out;
        assert!(verified.contains(&format!("\"entries\":{entries}")), "{verified}");
    }

    fn assert_all_refused(&self, exits: &[i32], why: &str) {
        for (line, output) in self.look_at_all() {
            assert!(exits.contains(&output.exit), "{line}: exit {}: {}", output.exit, output.err);
            assert!(output.err.contains(why), "{line}: {}", output.err);
            assert!(output.err.contains("cashbox.db-wal is there"), "{line} names the log: {}", output.err);
        }
    }
}

#[test]
fn closed_file_is_read_and_no_byte_changes() {
    Watched::new().assert_all_read("2");
}

#[test]
fn closed_file_without_companion_is_read_unchanged() {
    let watched = Watched::new();
    fs::remove_file(watched.file.path("cashbox.db-serve")).unwrap();
    watched.assert_all_read("2");
}

#[test]
fn crashed_file_is_read_with_its_log_unchanged() {
    let watched = Watched::crashed();
    watched.assert_all_read("3");
    assert_eq!(watched.file.run("wallet bob").exit, 0);
}

#[test]
fn crashed_file_without_index_is_read_unchanged() {
    let watched = Watched::crashed();
    fs::remove_file(watched.file.path("cashbox.db-shm")).unwrap();
    watched.assert_all_read("3");
}

#[test]
fn file_killed_in_first_commit_is_read_unchanged() {
    let (watched, other) = (Watched::new(), Place::new());
    let (db, copy) = (watched.file.db(), other.db());
    let reader = rusqlite::Connection::open(&db).unwrap();
    reader.query_row("SELECT count(*) FROM entry", [], |_| Ok(())).unwrap(); // makes an empty log and its index
    for ending in ["", "-shm"] {
        let beside = |file: &Path| format!("{}{ending}", file.display());
        fs::copy(beside(&db), beside(&copy)).unwrap();
    }
    let mut log = vec![0; 32 + 4_120];
    log[..20].copy_from_slice(b"\x37\x7f\x06\x82\x00\x2d\xe2\x18\0\0\x10\0\0\0\0\0salt");
    fs::write(other.path("cashbox.db-wal"), log).unwrap();
    let before = snapshot(other.0.path());
    let verify = watched.file.run(&format!("verify --db {}", copy.display()));
    assert_eq!(verify.exit, 0, "{}{}", verify.out, verify.err);
    assert!(snapshot(other.0.path()) == before);
}

#[test]
fn emptied_file_keeps_its_log_and_says_it_is_there() {
    let watched = Watched::crashed();
    fs::write(watched.file.db(), "").unwrap();
    watched.assert_all_refused(&[3], "it is empty");
    let log = fs::read(watched.file.path("cashbox.db-wal")).unwrap();
    for line in ["recharge alice 1", "serve --listen 127.0.0.1:0"] {
        let output = watched.file.run(line);
        assert_eq!(output.exit, 3, "{line}: {}", output.err);
        assert!(output.err.contains("cashbox.db-wal is there"), "{line}: {}", output.err);
        assert_eq!(fs::read(watched.file.path("cashbox.db-wal")).unwrap(), log, "{line}");
    }
}

#[test]
fn unreadable_file_keeps_its_log_and_says_it_is_there() {
    let watched = Watched::crashed();
    let mut bytes = fs::read(watched.file.db()).unwrap();
    bytes[0] = b'X';
    fs::write(watched.file.db(), bytes).unwrap();
    watched.assert_all_refused(&[3, 4], "it is not an SQLite database");
}

#[test]
fn cut_file_keeps_its_log() {
    let watched = Watched::crashed();
    let bytes = fs::read(watched.file.db()).unwrap();
    for length in [8, 100, 600, 4_096, bytes.len() / 2] {
        fs::write(watched.file.db(), &bytes[..length]).unwrap();
        for (line, output) in watched.look_at_all() {
            assert!(output.exit != 0 || length >= 600, "{line} of a file of {length} bytes: {}", output.out);
        }
        assert_ne!(watched.look("verify").exit, 0, "{length}");
    }
}

#[test]
fn restore_keeps_log_beside_file_put_aside() {
    for damage in ["", "X"] {
        let watched = Watched::crashed();
        assert_eq!(watched.file.run("backup sound.db").exit, 0);
        let log = fs::read(watched.file.path("cashbox.db-wal")).unwrap();
        fs::write(watched.file.db(), damage).unwrap();
        let output = watched.file.run("restore sound.db --replace --json");
        assert_eq!(output.exit, 0, "{}", output.err);
        let kept = serde_json::from_str::<serde_json::Value>(&output.out).unwrap()["kept"].as_str().unwrap().to_owned();
        assert_eq!(fs::read(watched.file.path(&kept)).unwrap(), damage.as_bytes());
        let kept_log = watched.file.path(&format!("{kept}-wal"));
        assert_eq!(fs::read(kept_log).unwrap(), log, "the last copy of what was answered");
        assert_eq!(watched.file.run("verify").exit, 0);
    }
}

#[test]
fn backup_over_unreadable_file_leaves_its_log() {
    let watched = Watched::crashed();
    let log = fs::read(watched.file.path("cashbox.db-wal")).unwrap();
    fs::write(watched.file.db(), "").unwrap();
    let other = Watched::new();
    let output = other.file.run(&format!("backup --replace {}", watched.file.db().display()));
    assert_eq!(output.exit, 2, "{}", output.err);
    assert!(output.err.contains("-wal"), "{}", output.err);
    assert_eq!(fs::read(watched.file.path("cashbox.db-wal")).unwrap(), log);
}

#[test]
fn file_of_older_version_is_read_and_not_upgraded() {
    let watched = Watched { file: Place::new(), elsewhere: Place::new() };
    fs::copy("tests/it/kept/version-1.db", watched.file.db()).unwrap();
    for (line, output) in watched.look_at_all() {
        let unknown = output.exit == 1 && output.err.contains("lock"); // there is no lock of that name
        assert!(output.exit == 0 || unknown, "{line}: {}{}", output.out, output.err);
    }
}

/// Runs the command in a mount namespace of its own, in which that folder is read-only; None where that is not permitted.
fn on_read_only_mount(folder: &Path, db: &Path, line: &str, cwd: &Path) -> Option<CommandOutput> {
    in_own_mounts("", folder, db, line, cwd)
}

/// The same, after more mounts.
fn in_own_mounts(mounts: &str, folder: &Path, db: &Path, line: &str, cwd: &Path) -> Option<CommandOutput> {
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} || exit 99; {mounts} exec ${{BIN:-{1}}} {2} --db {3}",
        folder.display(),
        env!("CARGO_BIN_EXE_cashbox"),
        line,
        db.display()
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).current_dir(cwd).output().ok()?;
    let output = CommandOutput::from(output);
    if output.exit == 99 || output.err.starts_with("unshare") { None } else { Some(output) }
}

#[test]
fn read_only_medium_is_read() {
    for state in ["closed", "crashed", "crashed, without its index"] {
        let watched = if state == "closed" { Watched::new() } else { Watched::crashed() };
        if state.ends_with("its index") {
            fs::remove_file(watched.file.path("cashbox.db-shm")).unwrap();
        }
        for (number, line) in LOOKS.iter().enumerate() {
            let line = line.replace("SELECT(1)", "'SELECT 1'").replace("OUT", &format!("out-{number}.db"));
            let folder = watched.file.0.path();
            let Some(output) = on_read_only_mount(folder, &watched.file.db(), &line, watched.elsewhere.0.path()) else {
                eprintln!("not tested: this account may not mount");
                return;
            };
            assert_eq!(output.exit, 0, "{state}: {line}: {}", output.err);
        }
    }
}

#[test]
fn audit_without_space_for_temporary_files_is_not_damage() {
    let watched = Watched::new();
    let conn = rusqlite::Connection::open(watched.file.db()).unwrap();
    let large = "CREATE TABLE large (a); INSERT INTO large VALUES (zeroblob(60000000)); DROP TABLE large";
    conn.execute_batch(large).unwrap(); // the file keeps its size
    drop(conn);
    let folder = watched.file.0.path();
    // The program and the file stay within reach when `/tmp` is covered.
    let small = format!(
        "{{ mount -t tmpfs tmpfs /mnt && mkdir /mnt/db && touch /mnt/cashbox && mount --bind {} /mnt/db && \
         mount -o remount,ro,bind /mnt/db && mount --bind {} /mnt/cashbox && cd /mnt/db; }} || exit 99; BIN=/mnt/cashbox; \
         for place in /var/tmp /dev/shm /tmp; do mount -t tmpfs -o size=1m tmpfs $place || exit 99; done;",
        folder.display(),
        env!("CARGO_BIN_EXE_cashbox")
    );
    let Some(output) = in_own_mounts(&small, folder, Path::new("cashbox.db"), "verify", folder) else {
        eprintln!("not tested: this account may not mount");
        return;
    };
    assert_eq!(output.exit, 3, "{}{}", output.out, output.err);
    assert!(output.err.contains("TMPDIR") && output.err.contains("nothing is known to be wrong"), "{}", output.err);
    assert_eq!(watched.look("verify").exit, 0);
}
