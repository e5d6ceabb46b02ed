//! Storage that cannot be trusted: a commit that fails for another reason than a full disk. No client gets a yes that is
//! not on disk, each is asked to retry, and the process stops.

use crate::server::{ADMIN, TIMEOUT};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Starts the program with a limit on the size of its files (in blocks of 512 bytes): writing beyond it is an I/O error.
fn serve(folder: &Path, file_blocks: Option<u32>) -> (Child, String) {
    let limit = file_blocks.map_or(String::new(), |blocks| format!("trap '' XFSZ; ulimit -f {blocks}; "));
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
