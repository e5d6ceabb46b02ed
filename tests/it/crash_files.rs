//! Commands that copy, replace or upgrade a whole file, killed at any moment, and files that are damaged under a server
//! with load. At every moment one whole file has the name, the other one is beside it, and no answer is missing.

use crate::crash::rounds;
use crate::dice::Dice;
use crate::shell::{Place, Running};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Kills of each command, unless `CASHBOX_TORTURE_ROUNDS` gives their number.
const ROUNDS: usize = 4;
/// Requests that a killed server has answered.
const ANSWERED: usize = 3;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/kept");

/// A backup and an export of one state, and a file of a later state whose server was killed: part of it is in its log.
fn killed_server() -> Place {
    let place = Place::new();
    let item = |n| format!(r#"{{"op":"recharge","user":"u{}","amount":"1"}}"#, n % 50) + "\n";
    let batch: String = (0..500).map(item).collect();
    assert_eq!(place.run_with_input("batch -", &batch).exit, 0);
    place.json("backup b.db");
    fs::write(place.path("b.ndjson"), place.run("export").out).unwrap();
    let server = place.serve("--open");
    (0..ANSWERED).for_each(|n| drop(place.json(&format!("withdraw u1 1 --key k{n}"))));
    drop(server);
    assert_ne!(fs::metadata(place.path("cashbox.db-wal")).unwrap().len(), 0);
    place
}

fn copy_of(place: &Place) -> Place {
    let copy = Place::new();
    for item in fs::read_dir(place.0.path()).unwrap().map(Result::unwrap) {
        fs::copy(item.path(), copy.path(item.file_name().to_str().unwrap())).unwrap();
    }
    copy
}

/// The state hash of a file that the audit finds nothing in.
fn state(place: &Place, file: &str) -> String {
    place.json(&format!("verify --db {file}"))["state_hash"].as_str().unwrap().to_owned()
}

fn begins(place: &Place, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(place.0.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Runs the command on a copy of the place, kills it at any moment of the time it takes, and has the rest checked, until
/// there were that many kills.
fn killed(place: &Place, line: &str, check: impl Fn(&Place)) {
    let words: Vec<_> = line.split_whitespace().collect();
    let start = |place: &Place| -> (Running, Instant) { (place.start(&words), Instant::now()) };
    let (whole, begun) = start(&copy_of(place));
    whole.finish();
    let mut takes = begun.elapsed();
    let mut dice = Dice::seeded_by("CASHBOX_SEED", rounds(ROUNDS) as u64);
    let mut kills = 0;
    while kills < rounds(ROUNDS) {
        let place = copy_of(place);
        let (mut command, begun) = start(&place);
        std::thread::sleep(takes.mul_f64(dice.below(1_000) as f64 / 1_000.0));
        if command.runs() {
            command.signal(Signal::KILL);
        }
        if command.finish().exit == -1 {
            kills += 1;
            check(&place);
        } else {
            takes = begun.elapsed().min(takes.mul_f64(0.95)).max(Duration::from_millis(1));
        }
    }
    eprintln!("{kills} kills of {line}");
}

/// Kills a command that replaces the file by `b.db`'s state.
fn replacing_killed_keeps_both_files(line: &str) {
    let place = killed_server();
    let (old, new) = (state(&place, "cashbox.db"), state(&place, "b.db"));
    assert_ne!(old, new);
    killed(&place, line, |place| {
        let again = copy_of(place);
        let now = state(place, "cashbox.db");
        let beside = ["cashbox.db.replaced-", "cashbox.db.replacing-"].map(|prefix| begins(place, prefix)).concat();
        let mut kept: Vec<_> =
            beside.iter().filter(|name| !name.ends_with("-wal")).map(|name| state(place, name)).collect();
        kept.push(now.clone());
        assert!(kept.contains(&old) && kept.iter().all(|state| [&old, &new].contains(&state)), "{beside:?}");
        assert_eq!(state(place, "b.db"), new, "the source is as it was");
        if now == old {
            for n in 0..ANSWERED {
                place.json(&format!("withdraw u1 1 --key k{n}"));
            }
            assert_eq!(state(place, "cashbox.db"), old, "what was answered is there, and done once");
        }
        again.json(line);
        assert_eq!(state(&again, "cashbox.db"), new, "asked again it is done");
        assert!(!begins(&again, "").iter().any(|name| name.ends_with(".partial")));
    });
}

#[test]
fn killed_restore_keeps_both_files() {
    replacing_killed_keeps_both_files("restore b.db --replace");
}

#[test]
fn killed_import_keeps_both_files() {
    replacing_killed_keeps_both_files("import b.ndjson --replace");
}

#[test]
fn killed_backup_leaves_old_or_new_copy() {
    let place = killed_server();
    let (live, old) = (state(&place, "cashbox.db"), state(&place, "b.db"));
    killed(&place, "backup b.db --replace", |place| {
        assert_eq!(state(place, "cashbox.db"), live);
        let copy = state(place, "b.db");
        assert!(copy == old || copy == live);
        place.json("backup b.db --replace");
        assert_eq!(state(place, "b.db"), live);
        assert!(!begins(place, "").iter().any(|name| name.ends_with(".partial")));
    });
}

#[test]
fn killed_upgrade_keeps_old_file_and_its_money() {
    for version in fs::read_dir(KEPT).unwrap().map(|item| item.unwrap().path()) {
        let place = Place::new();
        fs::copy(&version, place.db()).unwrap();
        let before = state(&place, "cashbox.db");
        let alice = place.json("wallet alice")["balance"].clone();
        killed(&place, "recharge new 1 --key go-on", |place| {
            for kept in begins(place, "cashbox.db.version-") {
                if !kept.contains("partial") {
                    assert_eq!(state(place, &kept), before, "a copy under that name is whole");
                }
            }
            assert_eq!(place.json("recharge new 1 --key go-on")["balance"], "1.00", "once");
            assert_eq!(place.json("wallet alice")["balance"], alice);
            state(place, "cashbox.db");
            assert!(is_newest(&version) || !begins(place, "cashbox.db.version-").is_empty());
        });
    }
}

fn is_newest(version: &Path) -> bool {
    version.ends_with(format!("version-{}.db", cashbox::internals::store::schema::VERSION))
}
