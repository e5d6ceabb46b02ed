//! Storage that fails: writing and syncing under the real program, by a file size limit or by `fiu-run` (Debian's
//! fiu-utils, run by `.ci/slow`). No client gets a yes that is not on disk.

use crate::crash::agent;
use crate::server::{ADMIN, TIMEOUT, until};
use crate::shell::Place;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// An answer to a recharge.
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub replayed: bool,
}

/// A recharge by 1.00 under a key; none if there was no answer.
pub fn recharge(agent: &ureq::Agent, url: &str, user: &str, key: &str) -> Option<Answer> {
    let request = agent
        .post(format!("{url}/v1/wallets/{user}/recharge"))
        .header("Authorization", format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", key);
    let mut answer = request.send(r#"{"amount":"1.00"}"#).ok()?;
    let replayed = answer.headers().get("Idempotency-Replayed").is_some();
    let body = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).unwrap();
    Some(Answer { status: answer.status().as_u16(), body, replayed })
}

/// The program with its calls of the system in our hands.
pub struct Patient {
    pub runner: Child,
    pub pid: u32,
    pub url: String,
    pub control: String,
}

impl Patient {
    pub fn start(folder: &Path) -> Patient {
        let control = folder.join("control").to_str().unwrap().to_owned();
        let mut runner = Command::new("fiu-run")
            .args(["-x", "-f", &control, env!("CARGO_BIN_EXE_cashbox"), "serve"])
            .args(["--listen", "127.0.0.1:0", "--token-file", "admin"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("fiu-run is installed (Debian: fiu-utils)");
        let mut line = String::new();
        BufReader::new(runner.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said {line:?}")).to_owned();
        let companion = std::fs::read_to_string(folder.join("cashbox.db-serve")).unwrap();
        let pid = companion.lines().next().unwrap().parse().unwrap();
        Patient { runner, pid, url, control }
    }

    /// Has calls of that name fail, or succeed again.
    fn tell(&self, what: &str) {
        let sent = Command::new("fiu-ctrl").args(["-f", &self.control, "-c", what, &self.pid.to_string()]).output();
        let sent = sent.unwrap();
        assert!(sent.status.success() && sent.stderr.is_empty(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    /// A recharge of alice under the key of that number; none if there was no answer.
    pub fn recharge(&self, agent: &ureq::Agent, number: usize) -> Option<Answer> {
        recharge(agent, &self.url, "alice", &format!("k{number}"))
    }

    pub fn end(mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL); // it may have ended
        self.runner.wait().unwrap();
    }
}

pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin"), ADMIN).unwrap();
    folder
}

pub fn verify(folder: &Path) {
    let verify = Command::new(env!("CARGO_BIN_EXE_cashbox")).arg("verify").current_dir(folder).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}

/// Repeats the requests from the key of number `first` on, which had these answers, and one more, which may have had none:
/// each of all keys has had its effect once. Gives the number of keys.
pub fn assert_each_key_once(patient: &Patient, agent: &ureq::Agent, first: usize, answers: &[Answer]) -> usize {
    for (number, answer) in (first..).zip(answers) {
        let again = patient.recharge(agent, number).expect("an answer");
        assert_eq!(again.status, 200, "{}", again.body);
        if answer.status == 200 {
            assert!(again.replayed && again.body == answer.body, "a yes stays what it was: {}", again.body);
        } else if answer.body["error"] != "outcome_unknown" {
            assert!(!again.replayed, "what was refused was not done: {} {}", answer.body, again.body);
        }
    }
    let keys = first + answers.len() + 1;
    let last = patient.recharge(agent, keys - 1).expect("an answer");
    assert_eq!(last.body["balance"], format!("{keys}.00"), "each key once");
    keys
}

#[test]
#[ignore = "needs fiu-run: .ci/slow"]
fn write_without_space_is_refused_and_nothing_is_lost() {
    let (folder, agent) = (folder(), agent());
    let patient = Patient::start(folder.path());
    for call in ["pwrite", "pwrite64"] {
        patient.tell(&format!("enable_random name=posix/io/rw/{call},probability=0.05,failinfo=28")); // ENOSPC
    }
    let answers: Vec<_> = (0..400).map(|n| patient.recharge(&agent, n).expect("an answer")).collect();
    for call in ["pwrite", "pwrite64"] {
        patient.tell(&format!("disable name=posix/io/rw/{call}"));
    }
    let yes = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(yes > 10 && yes < 390, "{yes} of 400 were a yes");
    for Answer { status, body, .. } in &answers {
        assert!(*status == 200 || body["error"] == "storage_full", "{status} {body}");
    }
    assert_each_key_once(&patient, &agent, 0, &answers);
    patient.end();
    verify(folder.path());
}

#[test]
#[ignore = "needs fiu-run: .ci/slow"]
fn failed_sync_answers_unknown_and_keeps_answered() {
    let (folder, agent) = (folder(), agent());
    let mut done = 0;
    for round in 0..6 {
        let mut patient = Patient::start(folder.path());
        for _ in 0..20 {
            assert_eq!(patient.recharge(&agent, done).unwrap().status, 200);
            done += 1;
        }
        for name in ["fdatasync", "fsync"] {
            patient.tell(&format!("enable_random name=posix/io/sync/{name},probability=0.5,failinfo=5")); // EIO
        }
        let doubtful = loop {
            match patient.recharge(&agent, done) {
                Some(Answer { status: 200, .. }) => done += 1,
                other => break other,
            }
        };
        let Answer { status, body, .. } = doubtful.expect("a doubtful answer came");
        assert_eq!((status, body["error"].as_str()), (500, Some("outcome_unknown")), "round {round}");
        until(|| patient.runner.try_wait().unwrap().is_some());
        assert_eq!(patient.runner.wait().unwrap().code(), Some(5), "storage cannot be trusted");
        verify(folder.path());
        let patient = Patient::start(folder.path());
        let begun = std::time::Instant::now();
        for n in 0..=done {
            let Answer { status, body, .. } = patient.recharge(&agent, n).unwrap();
            assert_eq!((status, &body["balance"]), (200, &Value::from(format!("{}.00", n + 1))), "{body}");
            assert!(begun.elapsed() < TIMEOUT);
        }
        done += 1;
        patient.end();
    }
    verify(folder.path());
}

/// Failure points of fiu, with the error number that each gives; `reduce` makes a call do less than it was asked for.
const FAULTS: [(&str, i32); 14] = [
    ("rw/pread", 5),         // EIO
    ("rw/pread", 4),         // EINTR
    ("rw/pread/reduce", 0),  //
    ("rw/pwrite", 5),        // EIO
    ("rw/pwrite", 28),       // ENOSPC
    ("rw/pwrite", 27),       // EFBIG
    ("rw/pwrite", 122),      // EDQUOT
    ("rw/pwrite", 4),        // EINTR
    ("rw/pwrite/reduce", 0), //
    ("rw/ftruncate", 5),     // EIO
    ("sync/fdatasync", 5),   // EIO
    ("sync/fsync", 28),      // ENOSPC
    ("oc/open", 24),         // EMFILE
    ("dir/unlink", 5),       // EIO
];
/// Requests under each fault, if the process goes on so long.
const REQUESTS: usize = 200;

#[test]
#[ignore = "needs fiu-run: .ci/slow"]
fn any_fault_under_load_loses_no_answer() {
    let (folder, agent) = (folder(), agent());
    let mut asked = 0;
    for round in 0..crate::crash::rounds(1) {
        for (point, error) in FAULTS {
            let patient = Patient::start(folder.path());
            let mut answers = Vec::new();
            for n in 0..REQUESTS {
                if n == 10 {
                    let probability = [0.02, 0.1, 0.4][round % 3];
                    patient.tell(&format!(
                        "enable_random name=posix/io/{point},probability={probability},failinfo={error}"
                    ));
                }
                let Some(answer) = patient.recharge(&agent, asked + n) else { break };
                answers.push(answer);
                if n % 8 == 0 {
                    let reading = agent.get(format!("{}/v1/entries?limit=200", patient.url));
                    let _ = reading.header("Authorization", format!("Bearer {ADMIN}")).call(); // reads pages
                }
            }
            patient.end();
            let mut names = std::collections::BTreeMap::<String, usize>::new();
            for Answer { status, body, .. } in &answers {
                *names.entry(body["error"].as_str().map_or(status.to_string(), str::to_owned)).or_default() += 1;
                assert!(body["error"] != "damaged", "{point} {error}: {body}");
            }
            eprintln!("{point} with error {error}: {names:?}");
            verify(folder.path());
            let patient = Patient::start(folder.path());
            asked = assert_each_key_once(&patient, &agent, asked, &answers);
            patient.end();
        }
    }
    verify(folder.path());
}

#[test]
#[ignore = "needs fiu-run: .ci/slow"]
fn failed_read_of_header_is_not_damage() {
    let place = crate::shell::Place::new();
    place.json("recharge alice 1");
    let mut command = Command::new("fiu-run");
    command.args(["-x", "-f", "", "-c", "enable name=posix/io/rw/read,failinfo=5", env!("CARGO_BIN_EXE_cashbox")]);
    let output = command.arg("verify").current_dir(place.0.path()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(!err.contains("database"), "{err}");
}

/// Starts the program with a limit on the size of its files (in blocks of 512 bytes): writing beyond it is an I/O error.
fn serve(folder: &Path, file_blocks: Option<u32>) -> (Child, String) {
    let limit = file_blocks.map_or(String::new(), |blocks| format!("ulimit -f {blocks}; "));
    let mut process = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("{limit}exec \"$0\" serve --listen 127.0.0.1:0 --token-file admin 2>/dev/null"))
        .arg(env!("CARGO_BIN_EXE_cashbox"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url =
        line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("the server says {line:?}")).to_owned();
    (process, url)
}

/// A command under a limit on the size of files, in blocks of 512 bytes.
fn run_limited(place: &Place, blocks: u32, line: &str) -> Output {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" $1"), env!("CARGO_BIN_EXE_cashbox"), line]);
    command.current_dir(place.0.path()).output().unwrap()
}

#[test]
fn copy_beyond_file_size_limit_is_full_disk() {
    let place = Place::new();
    let item = |n| format!(r#"{{"op":"recharge","user":"u{}","amount":"1"}}"#, n % 50) + "\n";
    let batch: String = (0..10_000).map(item).collect();
    assert_eq!(place.run_with_input("batch -", &batch).exit, 0);
    std::fs::write(place.path("all.ndjson"), place.run("export").out).unwrap();
    place.json("backup b.db");
    let before = std::fs::read(place.db()).unwrap();
    let whole = before.len() as u32 / 512;
    for line in ["import all.ndjson --replace", "import all.ndjson --dry-run", "restore b.db --replace", "backup c.db"]
    {
        for blocks in [20, whole / 3] {
            let output = run_limited(&place, blocks, line);
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{line} with {blocks}: {err}");
            assert!(err.contains("there is no space left") || err.contains("ulimit -f"), "{line} with {blocks}: {err}");
            assert_eq!(std::fs::read(place.db()).unwrap(), before, "{line}");
        }
    }
    let names =
        || std::fs::read_dir(place.0.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    assert!(!names().any(|name| name.contains("partial") || name.contains("replac") || name == "c.db"));
}

/// A command of which a part of the reads fails with an I/O error.
fn run_with_failing_reads(place: &Place, probability: f64, line: &str) -> Output {
    let failing: String = ["read", "pread"]
        .map(|call| format!(" -c 'enable_random name=posix/io/rw/{call},probability={probability},failinfo=5'"))
        .concat();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec fiu-run -x{failing} \"$0\" $1"), env!("CARGO_BIN_EXE_cashbox"), line]);
    command.current_dir(place.0.path()).output().unwrap()
}

#[test]
#[ignore = "needs fiu-run: .ci/slow"]
fn failed_reads_of_files_are_not_damage() {
    let place = Place::new();
    let item = |n| format!(r#"{{"op":"recharge","user":"u{}","amount":"1"}}"#, n % 50) + "\n";
    let batch: String = (0..2_000).map(item).collect();
    assert_eq!(place.run_with_input("batch -", &batch).exit, 0);
    std::fs::write(place.path("all.ndjson"), place.run("export").out).unwrap();
    place.json("backup b.db");
    let lines = ["verify", "backup c.db --replace", "restore b.db --replace", "import all.ndjson --replace", "export"];
    let mut failed = 0;
    for round in 0..crate::crash::rounds(4) {
        let probability = [0.001, 0.005, 0.02, 0.2][round % 4];
        for line in lines {
            let output = run_with_failing_reads(&place, probability, line);
            let err = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 3)), "{line} with {probability}: {code:?} {err}");
            assert!(!err.contains("damaged") && !err.contains("sound"), "{line} with {probability}: {err}");
            failed += usize::from(code == Some(3));
            assert_eq!(place.json("verify")["entries"], 2_000);
        }
    }
    eprintln!("{failed} commands failed");
}

#[test]
fn file_size_limit_is_full_disk_and_loses_nothing() {
    let folder = folder();
    let agent = agent();
    let (mut process, url) = serve(folder.path(), Some(640));
    let mut answers = Vec::new();
    let mut refused_again = 0;
    while refused_again < 20 {
        let answer = recharge(&agent, &url, "alice", &format!("k{}", answers.len())).expect("an answer");
        let Answer { status, body, .. } = answer;
        assert!(status == 200 || body["error"] == "storage_full", "{status} {body}");
        if status == 503 {
            assert!(body["detail"].as_str().unwrap().contains("ulimit -f"), "{body}");
            refused_again += 1;
            std::thread::sleep(std::time::Duration::from_millis(20));
            let read = agent.get(format!("{url}/v1/wallets/alice")).header("Authorization", format!("Bearer {ADMIN}"));
            assert_eq!(read.call().unwrap().status().as_u16(), 200, "reading goes on");
        } else {
            refused_again = 0; // the log was moved into the file, and starts anew
        }
        answers.push(status);
        assert!(answers.len() < 10_000, "the limit was never met");
    }
    let came_back = answers.windows(2).filter(|pair| pair[0] == 503 && pair[1] == 200).count();
    assert!(came_back > 0, "a log that is full and moved into the file does not end writing");
    assert!(process.try_wait().unwrap().is_none(), "the process goes on");
    process.kill().unwrap();
    process.wait().unwrap();
    verify(folder.path());

    let (mut process, url) = serve(folder.path(), None);
    let mut balance = answers.iter().filter(|status| **status == 200).count();
    for (n, status) in answers.iter().enumerate() {
        balance += usize::from(*status != 200);
        let again = recharge(&agent, &url, "alice", &format!("k{n}")).expect("an answer");
        assert_eq!(again.status, 200, "{}", again.body);
        if *status != 200 {
            assert_eq!(again.body["entry"]["to_balance"], format!("{balance}.00"), "it was not done before");
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();
    verify(folder.path());
}
