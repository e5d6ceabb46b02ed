//! Storage that fails: writing and syncing under the real program, by a file size limit or by `fiu-run` (Debian's
//! fiu-utils, run by `.ci/slow`). No client gets a yes that is not on disk.

use crate::crash::agent;
use crate::server::{ADMIN, TIMEOUT, until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The program with its calls of the system in our hands.
struct Patient {
    runner: Child,
    pid: u32,
    url: String,
    control: String,
}

impl Patient {
    fn start(folder: &Path) -> Patient {
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

    /// A recharge by 1.00 under the key of that number; none if there was no answer.
    fn recharge(&self, agent: &ureq::Agent, number: usize) -> Option<(u16, Value)> {
        let request = agent
            .post(format!("{}/v1/wallets/alice/recharge", self.url))
            .header("Authorization", format!("Bearer {ADMIN}"))
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", format!("k{number}"));
        let mut answer = request.send(r#"{"amount":"1.00"}"#).ok()?;
        let body = answer.body_mut().read_to_string().ok()?;
        Some((answer.status().as_u16(), serde_json::from_str(&body).unwrap()))
    }

    fn end(mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL); // it may have ended
        self.runner.wait().unwrap();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin"), ADMIN).unwrap();
    folder
}

fn verify(folder: &Path) {
    let verify = Command::new(env!("CARGO_BIN_EXE_cashbox")).arg("verify").current_dir(folder).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
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
    let yes = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!(yes > 10 && yes < 390, "{yes} of 400 were a yes");
    for (n, (status, body)) in answers.iter().enumerate() {
        assert!(*status == 200 || body["error"] == "storage_full", "{status} {body}");
        let again = patient.recharge(&agent, n).unwrap();
        assert_eq!(again.0, 200, "there is space again: {}", again.1);
        assert!(*status != 200 || again.1 == *body, "a yes stays what it was");
    }
    assert_eq!(patient.recharge(&agent, 400).unwrap().1["balance"], "401.00");
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
            assert_eq!(patient.recharge(&agent, done).unwrap().0, 200);
            done += 1;
        }
        for name in ["fdatasync", "fsync"] {
            patient.tell(&format!("enable_random name=posix/io/sync/{name},probability=0.5,failinfo=5")); // EIO
        }
        let doubtful = loop {
            match patient.recharge(&agent, done) {
                Some((200, _)) => done += 1,
                other => break other,
            }
        };
        let (status, body) = doubtful.expect("a doubtful answer came");
        assert_eq!((status, body["error"].as_str()), (500, Some("outcome_unknown")), "round {round}");
        until(|| patient.runner.try_wait().unwrap().is_some());
        assert_eq!(patient.runner.wait().unwrap().code(), Some(5), "storage cannot be trusted");
        verify(folder.path());
        let patient = Patient::start(folder.path());
        let begun = std::time::Instant::now();
        for n in 0..=done {
            let (status, body) = patient.recharge(&agent, n).unwrap();
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
            for (status, body) in &answers {
                *names.entry(body["error"].as_str().map_or(status.to_string(), str::to_owned)).or_default() += 1;
                assert!(body["error"] != "damaged", "{point} {error}: {body}");
            }
            eprintln!("{point} with error {error}: {names:?}");
            verify(folder.path());
            let patient = Patient::start(folder.path());
            for (n, (status, body)) in answers.iter().enumerate() {
                let again = patient.recharge(&agent, asked + n).unwrap();
                assert_eq!(again.0, 200, "{point} {error}: {}", again.1);
                assert!(*status != 200 || again.1 == *body, "{point} {error}: a yes stays what it was");
            }
            asked += answers.len();
            // The one without an answer too, if there was one.
            let last = patient.recharge(&agent, asked).unwrap();
            asked += 1;
            assert_eq!(last.1["balance"], format!("{asked}.00"), "{point} {error}: each key once");
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

/// The status of a recharge by 1.00 under a key, and the entry's number; 0 if there was no answer.
fn recharge(agent: &ureq::Agent, url: &str, key: &str) -> (u16, serde_json::Value) {
    let request = agent
        .post(format!("{url}/v1/wallets/alice/recharge"))
        .header("Authorization", format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", key);
    let Ok(mut answer) = request.send(r#"{"amount":"1.00"}"#) else { return (0, serde_json::Value::Null) };
    let body = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&body).unwrap())
}

#[test]
fn failed_commit_answers_unknown_and_ends_process() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin"), ADMIN).unwrap();
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
    let agent: ureq::Agent = config.build().into();

    let (mut process, url) = serve(folder.path(), Some(1_200));
    let mut yes = 0;
    let doubtful = loop {
        let (status, body) = recharge(&agent, &url, &format!("k{yes}"));
        if status != 200 {
            break (status, body);
        }
        yes += 1;
        assert!(yes < 10_000, "the limit was never met");
    };
    assert_eq!((doubtful.0, doubtful.1["error"].as_str()), (500, Some("outcome_unknown")));
    let begun = Instant::now();
    let code = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status.code();
        }
        assert!(begun.elapsed() < TIMEOUT, "the process goes on");
        std::thread::yield_now();
    };
    assert_eq!(code, Some(5), "storage cannot be trusted");

    let (mut process, url) = serve(folder.path(), None);
    for n in 0..=yes {
        let (status, body) = recharge(&agent, &url, &format!("k{n}"));
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["entry"]["to_balance"], format!("{}.00", n + 1), "each key has its one effect, in its order");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let verify =
        Command::new(env!("CARGO_BIN_EXE_cashbox")).args(["verify"]).current_dir(folder.path()).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}
