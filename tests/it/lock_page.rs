//! The page `docs/locks.md`: each of its sentences names its test, and the recipes and limits that no other test knows.

use crate::shell::{IN_UNTIL_GO, Place, UNTIL_GO, lives};
use crate::source;
use rusqlite::Connection;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// Marks of sentences without a claim about the program: the meaning of a word, or advice.
const WITHOUT_TEST: [&str; 2] = ["(meaning)", "(advice)"];
/// The most of them.
const WITHOUT_TEST_MAX: usize = 40;

/// The page without its comments and its blocks of code: its sentences and the rows of its tables, each on one line.
fn sentences(page: &str) -> Vec<String> {
    let (mut blocks, mut block, mut is_code) = (Vec::new(), String::new(), false);
    for line in page.lines() {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        let begins = line.is_empty() || line.starts_with("- ") || line.starts_with('|') || line.starts_with('#');
        if begins || is_code || is_fence {
            blocks.push(std::mem::take(&mut block));
        }
        if !is_code && !is_fence && !line.starts_with('#') && !line.starts_with("<!--") {
            block = format!("{block} {}", line.trim_start_matches("- ").trim());
        }
    }
    blocks.push(block);
    let is_ruler = |block: &str| block.chars().all(|letter| "|- ".contains(letter));
    let blocks = blocks.iter().map(|block| block.trim()).filter(|block| !is_ruler(block));
    blocks.flat_map(|block| if block.starts_with('|') { vec![block.to_owned()] } else { split(block) }).collect()
}

/// Splits where a sentence ends and the next begins with a capital letter, code or a bracket.
fn split(block: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    for word in block.split(' ') {
        let ended = parts.last().expect("one is there").ends_with(['.', ':', ';', '!', '?']);
        if ended && word.starts_with(|letter: char| letter.is_ascii_uppercase() || "`*(".contains(letter)) {
            parts.push(String::new());
        }
        let part = parts.last_mut().expect("one is there");
        *part = format!("{part} {word}").trim().to_owned();
    }
    parts
}

/// `lock_page.txt` has each sentence of the page, and behind an arrow the tests of it. A changed sentence has to be listed anew, with a look at them.
#[test]
fn each_sentence_of_lock_page_names_its_tests() {
    let files = ["tests/it", "src"].map(|folder| source::files_in(folder, &["rs"])).concat();
    let functions = files.iter().flat_map(|(_, text)| text.split("\nfn ").skip(1));
    let tests: BTreeSet<&str> = functions.filter_map(|rest| rest.split('(').next()).collect();
    let listed = source::read("tests/it/lock_page.txt");
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for line in listed.lines().filter(|line| !line.is_empty()) {
        let (sentence, names) = line.split_once(" => ").unwrap_or_else(|| panic!("{line:?} has no arrow"));
        assert!(named.insert(sentence, names).is_none(), "{sentence:?} is listed twice");
    }
    let page = sentences(&source::read("docs/locks.md"));
    let unlisted: Vec<_> = page.iter().filter(|sentence| !named.contains_key(sentence.as_str())).collect();
    assert!(unlisted.is_empty(), "lock_page.txt does not have: {unlisted:#?}");
    let on_page: BTreeSet<&str> = page.iter().map(String::as_str).collect();
    let mut without = 0;
    for (sentence, names) in named {
        assert!(on_page.contains(sentence), "the page does not have {sentence:?} any more");
        if WITHOUT_TEST.contains(&names) {
            without += 1;
            continue;
        }
        for name in names.split(' ') {
            assert!(tests.contains(name), "{name} is not a test; it stands at {sentence:?}");
        }
    }
    assert!(without <= WITHOUT_TEST_MAX, "{without} sentences have no test");
    assert!(page.len() > 150, "the page was read");
}

/// The recipe for cron, which sends a letter for any output: none if it is held, the command's own if it ran.
#[test]
fn recipe_for_cron_is_silent_when_held() {
    let place = Place::new();
    let run = |script: &str| {
        let line = format!("{} lock run job -E 0 -- sh -c '{script} 2>&1' 2>/dev/null", env!("CARGO_BIN_EXE_cashbox"));
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", &line]).current_dir(place.path("")).env("CASHBOX_DB", "cashbox.db");
        let output = sh.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (exit, out, err) = run("(echo to an error >&2; exit 4)");
    assert_eq!((exit, out.as_str(), err.as_str()), (Some(4), "to an error\n", ""));
    let holder = place.lock_run("job", IN_UNTIL_GO);
    place.line_of("in");
    assert_eq!(run("echo ran"), (Some(0), String::new(), String::new()));
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(holder.finish().exit, 0);
}

#[test]
fn writer_that_holds_all_slots_excludes_readers() {
    let place = Place::new();
    let readers = [1, 2].map(|slot| {
        let reader = place.lock_run("data --slots 2", &format!("echo in > in.{slot}; {UNTIL_GO}"));
        place.line_of(&format!("in.{slot}"));
        reader
    });
    assert_eq!(place.lock_run("data/1 data/2", "true").finish().exit, 124);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(readers.map(|reader| reader.finish().exit), [0, 0]);
    fs::remove_file(place.path("go")).unwrap();
    let writer = place.lock_run("data/1 data/2", &format!("echo in > writing; {UNTIL_GO}"));
    place.line_of("writing");
    assert_eq!(place.lock_run("data --slots 2", "true").finish().exit, 124);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(writer.finish().exit, 0);
}

#[test]
fn run_inside_run_of_same_lock_waits_for_itself() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_cashbox");
    let inner = format!("{program} lock run job --wait 200ms -- true; echo $? > inner; echo $CASHBOX_LOCK_ID > held");
    assert_eq!(place.lock_run("job", &inner).finish().exit, 0);
    assert_eq!((place.line_of("inner").trim(), place.line_of("held").trim()), ("124", "job"));
}

/// A limit: what ends the command is the guard, and nothing else is there.
#[test]
fn command_outlives_wrapper_and_guard_killed_together() {
    let place = Place::new();
    let run = place.lock_run("job --ttl 1s --grace 0s", "echo $PPID > guard; echo $$ > own; exec sleep 60");
    let (guard, own) = (place.line_of("guard"), place.line_of("own"));
    run.signal(Signal::STOP); // it would kill the command when its guard is gone
    let kill = |pid: &str| std::process::Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success();
    assert!(kill(&guard));
    run.signal(Signal::KILL);
    assert_eq!(place.lock_run("job --wait 20s", "true").finish().exit, 0);
    assert!(lives(own.trim()));
    kill(&own);
}

/// A limit: the guard ends a process group.
#[test]
fn child_that_leaves_its_group_is_not_ended() {
    let place = Place::new();
    let run = place.lock_run(
        "job",
        "setsid sh -c 'echo $$ > left; exec sleep 60' > out 2>&1 & until [ -s left ]; do sleep 0.01; done",
    );
    assert_eq!(run.finish().exit, 0);
    let left = place.line_of("left");
    std::thread::sleep(Duration::from_millis(300));
    assert!(lives(left.trim()));
    let _ = std::process::Command::new("kill").args(["-9", left.trim()]).status();
}

/// The two examples of a fence elsewhere: a row, and a file for each lease.
#[test]
fn fence_elsewhere_refuses_late_writer() {
    let page = source::read("docs/locks.md");
    let sql = page.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let other = Connection::open_in_memory().unwrap();
    other.execute_batch("CREATE TABLE report (id, body, fence); INSERT INTO report VALUES (1, '', 0)").unwrap();
    let write = |body: &str, fence: i64| {
        other.execute(sql, rusqlite::named_params! { ":id": 1, ":body": body, ":fence": fence }).unwrap()
    };
    assert_eq!([write("first", 7), write("second", 8), write("late", 7), write("again", 8)], [1, 1, 0, 1]);
    let shell = page.split("```sh\n# Files").nth(1).unwrap().split("```").next().unwrap();
    let place = Place::new();
    for (fence, report) in [("7", "first"), ("12", "second"), ("7", "late")] {
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", &format!("# Files{shell}")]).current_dir(place.path(""));
        assert!(sh.env("CASHBOX_LOCK_FENCE", fence).env("REPORT", report).status().unwrap().success());
    }
    let mut files: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(fs::read_to_string(files.last().unwrap()).unwrap(), "second\n");
}

/// Another process that shows the token holds the lock.
#[test]
fn token_given_to_another_process_holds_lock() {
    let place = Place::new();
    let token = place.run("lock acquire job --ttl 30s").out;
    let mut other = std::process::Command::new("sh");
    other.args(["-c", &format!("{} lock renew job", env!("CARGO_BIN_EXE_cashbox"))]).current_dir(place.path(""));
    let renewed = other.env("CASHBOX_DB", "cashbox.db").env("CASHBOX_LOCK_TOKEN", token.trim()).status().unwrap();
    assert!(renewed.success());
    assert_eq!(place.json("lock show job")["renewals"], 1);
}
