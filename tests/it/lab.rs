//! The lab: strategies that lose money are shown to lose it, our lock never does, and nothing stays behind.

use crate::server::until;
use crate::shell::{CommandOutput, Place};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Small enough to be over soon.
const SMALL: &str = "--clients 8 --requests 40 --work 1 --retry 5 --grace 20";
/// A lease short enough to wait for, and long enough for others to come and go after it on a busy machine.
const SHORT: &str = "--expire 200";

/// With a lease that no holder outlives by accident.
const PATIENT: &str = "--expire 60000 --no-stall";

/// One whole run, and the chart it drew. All tests that look at one look at this one.
fn whole_run() -> &'static (Value, String) {
    static RUN: OnceLock<(Value, String)> = OnceLock::new();
    RUN.get_or_init(|| {
        let place = Place::new();
        let answer = place.json(&format!("lab {SMALL} {SHORT} --in . --svg chart.svg"));
        let chart = fs::read_to_string(place.path("chart.svg")).unwrap();
        fs::remove_file(place.path("chart.svg")).unwrap();
        assert_nothing_in(place.0.path());
        (answer, chart)
    })
}

fn row<'a>(answer: &'a Value, guard: &str, stalled: bool) -> &'a Value {
    let mut rows = answer["guards"].as_array().unwrap().iter();
    let found = rows.find(|row| row["guard"] == guard && row["stalled"] == stalled);
    found.unwrap_or_else(|| panic!("no row of {guard}, stalled {stalled}, in {answer}"))
}

#[track_caller]
fn assert_loses(answer: &Value, guard: &str, stalled: bool) {
    let row = row(answer, guard, stalled);
    assert_eq!(row["verdict"], "wrong", "{row}");
    assert!(row["lost_updates"].as_i64().unwrap() > 0, "{row}");
    assert_ne!(row["final_balance"], row["expected_balance"], "{row}");
}

#[track_caller]
fn assert_right(answer: &Value, guard: &str, stalled: bool) {
    let row = row(answer, guard, stalled);
    let shown = ["verdict", "final_balance", "expected_balance"].map(|field| row[field].as_str());
    assert_eq!(shown, [Some("right"), Some("0.00"), Some("0.00")], "{row}");
    let counted = ["yes", "errors", "lost_updates"].map(|field| row[field].as_i64());
    assert_eq!(counted, [Some(40), Some(0), Some(0)], "{row}");
}

#[track_caller]
fn assert_nothing_in(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn strategy_that_loses_money_is_shown() {
    let (answer, _) = whole_run();
    assert_loses(answer, "none", false);
    assert_loses(answer, "none", true);
    assert_loses(answer, "thread-two-processes", false);
    assert_loses(answer, "row-textbook", true);
}

#[test]
fn own_lock_loses_nothing_when_holder_stalls() {
    let (answer, _) = whole_run();
    for stalled in [false, true] {
        for guard in ["thread", "optimistic", "lease", "plain", "plain-http"] {
            assert_right(answer, guard, stalled);
        }
        for guard in ["lease", "plain", "plain-http"] {
            assert_eq!(row(answer, guard, stalled)["ledger_audit"], "clean");
        }
    }
    let refusals = row(answer, "lease", true)["refusals"].as_i64().unwrap();
    assert!(refusals >= 1, "a holder that stalled past its lease is refused, and begins anew");
}

#[test]
fn textbook_row_is_right_without_stall() {
    let answer = Place::new().json(&format!("lab {SMALL} {PATIENT} --only row-textbook"));
    assert_right(&answer, "row-textbook", false);
}

#[test]
fn lab_row_has_every_figure() {
    let (answer, _) = whole_run();
    assert_eq!(answer["interrupted"], false);
    let figures = ["wall_seconds", "requests_per_second", "p50_ms", "p99_ms", "max_ms", "refusals", "errors"];
    for row in answer["guards"].as_array().unwrap().iter().filter(|row| row["verdict"] != "not run") {
        assert!(figures.iter().all(|figure| row[*figure].is_number()), "{row}");
        assert_eq!((&row["clients"], &row["requests"], &row["work_ms"]), (&8.into(), &40.into(), &1.into()));
    }
}

#[cfg(not(feature = "redis"))]
#[test]
fn strategy_not_run_says_why() {
    for guard in ["redis", "redis-textbook"] {
        let row = row(&whole_run().0, guard, true);
        assert_eq!((&row["verdict"], &row["final_balance"]), (&"not run".into(), &Value::Null));
        assert!(row["why"].as_str().unwrap().contains("--features redis"), "{row}");
    }
}

#[test]
fn lab_table_marks_wrong_rows_and_fits_terminal() {
    let output = Place::new().run(&format!("lab {SMALL} --in . --no-stall --only none,redis,plain"));
    assert_eq!((output.exit, output.err.as_str()), (0, ""));
    assert!(output.out.lines().all(|line| line.chars().count() <= 120), "{}", output.out);
    let words = |guard: &str| {
        let line = output.out.lines().find(|line| line.starts_with(&format!("{guard} "))).unwrap();
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!((words("none")[1], words("none").last()), ("WRONG", Some(&"WRONG")));
    assert_eq!(words("plain").last(), Some(&"right"));
    assert_eq!(words("redis")[1..3], ["not", "run:"]);
    assert!(output.out.contains("86 s") && output.out.contains("9 s") && output.out.contains("Neither counts"));
}

/// Every tag that is opened is closed, in order; what is between is text.
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml.trim();
    while let Some((text, tag_on)) = rest.split_once('<') {
        assert!(!text.contains('>') && text.split('&').skip(1).all(|entity| entity.contains(';')), "{text}");
        let (tag, after) = tag_on.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            assert!(tag.matches('"').count() % 2 == 0, "{tag}");
            if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap());
            }
        }
    }
    assert_eq!((rest, open), ("", Vec::new()));
}

#[test]
fn lab_chart_is_well_formed_and_strikes_out_wrong() {
    let (answer, chart) = whole_run();
    assert_well_formed(chart);
    assert!(chart.starts_with("<svg ") && chart.contains("<title") && chart.contains("<desc"), "{chart}");
    let wrong = answer["guards"].as_array().unwrap().iter().filter(|row| row["verdict"] == "wrong").count();
    assert_eq!(chart.matches("class=\"strike\"").count(), wrong);
}

#[test]
fn lab_chart_does_not_replace_other_file() {
    let place = Place::new();
    place.json("recharge alice 5");
    let output = place.run("lab --svg cashbox.db");
    assert_eq!(
        (output.exit, output.err.as_str()),
        (2, "cashbox.db exists and is not a chart, so it is left alone: name a new file\n")
    );
    assert_eq!(place.json("wallet alice")["balance"], "5.00");
    for _ in 0..2 {
        place.json(&format!("lab {SMALL} --only plain --no-stall --svg chart.svg"));
        assert_well_formed(&fs::read_to_string(place.path("chart.svg")).unwrap());
    }
}

#[test]
fn lab_bad_input_is_one_sentence() {
    let place = Place::new();
    for (line, exit, sentence) in [
        ("--clients 0", 2, "--clients is between 1 and 10000, and 0 is not"),
        ("--requests 0", 2, "--requests is between 1 and 10000000, and 0 is not"),
        ("--redis http://127.0.0.1", 2, "a Redis is named as redis://HOST:PORT"),
        ("--redis redis://127.0.0.1:1", 3, "cannot reach Redis at 127.0.0.1:1: "),
        ("--in no/such/folder", 3, "cannot make a folder in no/such/folder: "),
        ("--svg no/such/folder/chart.svg", 3, "cannot write no/such/folder/chart.svg: "),
        ("--db cashbox.db", 2, "lab works on files of its own"),
        ("--only nothing", 2, "error: invalid value 'nothing'"),
        ("--original --retry 5", 2, "error: the argument"),
        ("--work 2h", 2, "error: invalid value '2h' for '--work <TIME>': this option takes 0s to 1h"),
    ] {
        let output = place.run(&format!("lab {line}"));
        assert_eq!((output.exit, output.out.as_str()), (exit, ""), "{line}");
        assert!(output.err.starts_with(sentence), "{line}: {}", output.err);
        assert!(output.err.lines().count() == 1 || output.err.starts_with("error: "), "{line}: {}", output.err);
    }
    assert_nothing_in(place.0.path());
}

#[test]
fn lab_refuses_more_clients_than_descriptors() {
    let place = Place::new();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 200 && exec \"$0\" lab --clients 100", env!("CARGO_BIN_EXE_cashbox")]);
    let output = CommandOutput::from(shell.current_dir(place.0.path()).output().unwrap());
    assert_eq!((output.exit, output.out.as_str(), output.err.lines().count()), (2, "", 1), "{}", output.err);
    assert!(output.err.starts_with("--clients 100 needs "), "{}", output.err);
}

#[test]
fn lab_stopped_by_signal_prints_partial_table() {
    let place = Place::new();
    let long = "lab --in . --clients 2 --requests 10000 --work 1 --only none,plain --no-stall";
    let lab = place.start(&long.split(' ').collect::<Vec<_>>());
    until(|| first_file_is_there(place.0.path()));
    lab.signal(Signal::INT);
    let output = lab.finish();
    assert_eq!(output.exit, 128 + 2, "{}{}", output.out, output.err);
    assert!(output.out.contains("Stopped before its end") && output.out.contains("not run: stopped"), "{}", output.out);
    assert_nothing_in(place.0.path());
}

fn first_file_is_there(place: &Path) -> bool {
    let folders = fs::read_dir(place).unwrap().flatten();
    folders.into_iter().any(|folder| folder.path().join("none-undisturbed/wallet.db-wal").exists())
}

#[test]
fn killed_lab_is_cleaned_up_by_next() {
    let place = Place::new();
    let long = "lab --in . --clients 2 --requests 1000000 --work 1 --only thread-two-processes";
    let lab = place.start(&long.split(' ').collect::<Vec<_>>());
    let file = |place: &Place| {
        let folder = fs::read_dir(place.0.path()).unwrap().flatten().next()?;
        Some(folder.path().join("thread-two-processes-undisturbed/wallet.db"))
    };
    until(|| file(&place).is_some_and(|file| processes_with(&file) == 2));
    let file = file(&place).unwrap();
    drop(lab); // killed
    until(|| processes_with(&file) == 0);
    assert!(file.exists());
    place.json(&format!("lab {SMALL} --in . --only plain --no-stall"));
    assert_nothing_in(place.0.path());
}

/// The number of processes that have the file open.
fn processes_with(file: &Path) -> usize {
    let file = fs::canonicalize(file).unwrap_or_default();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let open = |process: fs::DirEntry| {
        let mut open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        open.any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file))
    };
    processes.filter(|process| process.path().join("fd").exists()).map(open).filter(|has| *has).count()
}

/// With a Redis of the tests' own.
#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use crate::server::free_port;
    use std::net::TcpStream;
    use std::process::{Child, Command, Stdio};

    struct Redis {
        child: Child,
        port: u16,
        _folder: tempfile::TempDir,
    }

    impl Redis {
        fn start() -> Redis {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]);
            let child = command.arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            let child =
                child.expect("the tests of this feature start a redis-server (Debian: apt-get install redis-server)");
            until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
            Redis { child, port, _folder: folder }
        }
    }

    impl Drop for Redis {
        fn drop(&mut self) {
            let _ = self.child.kill(); // it may have ended
            let _ = self.child.wait();
        }
    }

    #[test]
    fn redis_lock_is_right_until_holder_stalls() {
        let (redis, place) = (Redis::start(), Place::new());
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let lab = format!("lab {SMALL} --in . --only redis,redis-textbook --redis {url}");
        let undisturbed = place.json(&format!("{lab} {PATIENT}"));
        assert_loses(&undisturbed, "redis-textbook", false);
        assert_right(&undisturbed, "redis", false);
        let stalled = place.json(&format!("{lab} {SHORT} --stall"));
        assert_loses(&stalled, "redis-textbook", true);
        assert_loses(&stalled, "redis", true);
        assert_nothing_in(place.0.path());
    }

    #[test]
    fn lab_refuses_server_that_is_not_redis() {
        let place = Place::new();
        let server = place.serve("--open");
        let url = server.url.replace("http", "redis");
        let output = place.run(&format!("lab {SMALL} --redis {url}"));
        assert_eq!((output.exit, output.err.lines().count()), (3, 1), "{}", output.err);
    }
}
