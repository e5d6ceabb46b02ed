//! The real binary at a shell: a folder, commands in it, and a server of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::server::until;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes, unless it is broken.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// The part of a script that waits for a file `go`.
pub const UNTIL_GO: &str = "until [ -e go ]; do sleep 0.01; done";
/// A script that makes a file `in`, and waits for one `go`.
pub const IN_UNTIL_GO: &str = "echo in > in; until [ -e go ]; do sleep 0.01; done";

/// A folder with (or still without) a file in it.
pub struct Place(pub TempDir);

/// The result of a command.
pub struct CommandOutput {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn db(&self) -> PathBuf {
        self.0.path().join("cashbox.db")
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cashbox"));
        command.args(line.split_whitespace()).current_dir(self.0.path());
        for name in ["CASHBOX_DB", "CASHBOX_URL", "CASHBOX_TOKEN", "CASHBOX_LISTEN"] {
            command.env_remove(name);
        }
        command.env("CASHBOX_DB", "cashbox.db"); // a lock command makes no file that is not named
        command
    }

    pub fn run(&self, line: &str) -> CommandOutput {
        self.run_with_input(line, "")
    }

    /// With something on standard input.
    pub fn run_with_input(&self, line: &str, input: &str) -> CommandOutput {
        let mut command = self.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // some commands read none of it
        CommandOutput::from(child.wait_with_output().unwrap())
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The text of a file in the folder, once it ends a line.
    pub fn line_of(&self, name: &str) -> String {
        let text = || std::fs::read_to_string(self.path(name)).unwrap_or_default();
        until(|| text().ends_with('\n'));
        text().trim_end().to_owned()
    }

    /// A command with its words apart, which goes on in the background.
    pub fn start(&self, words: &[&str]) -> Running {
        let mut command = self.command("");
        command.args(words);
        Running::of(command)
    }

    /// `lock run LINE -- sh -c SCRIPT`, in the background.
    pub fn lock_run(&self, line: &str, script: &str) -> Running {
        let mut words = vec!["lock", "run"];
        words.extend(line.split_whitespace());
        words.extend(["--", "sh", "-c", script]);
        self.start(&words)
    }

    /// Says it with `--json`, expects it done, and reads the answer.
    pub fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json"));
        assert_eq!(output.exit, 0, "{line}: {}{}", output.out, output.err);
        serde_json::from_str(&output.out).unwrap()
    }

    pub fn serve(&self, options: &str) -> Serving {
        let mut command = self.command(&format!("serve --listen 127.0.0.1:0 {options}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("said {line:?}")).to_owned();
        Serving { child, url, out }
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> CommandOutput {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        CommandOutput { exit: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A command in the background. Killed when dropped, if it still runs.
pub struct Running(Option<Child>);

impl Running {
    /// Begins it.
    pub fn of(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    }

    /// Begins it, printing into that file.
    pub fn of_printing(mut command: Command, out: std::fs::File) -> Running {
        command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.0.as_ref().unwrap()), signal).unwrap();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// The number of its threads.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.0.as_ref().unwrap().id())).unwrap().count()
    }

    /// Its children.
    pub fn children(&self) -> Vec<String> {
        let id = self.0.as_ref().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// True while it runs.
    pub fn runs(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Its result, at its end.
    pub fn finish(mut self) -> CommandOutput {
        let begun = Instant::now();
        while self.runs() {
            assert!(begun.elapsed() < TIMEOUT, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        CommandOutput::from(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}

/// A server of this test. Killed when dropped, if it still runs.
pub struct Serving {
    pub child: Child,
    pub url: String,
    out: BufReader<std::process::ChildStdout>,
}

impl Serving {
    pub fn signal(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Its exit code, and what it said on standard error.
    pub fn wait(&mut self) -> (i32, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < TIMEOUT, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status.code().unwrap_or(-1), err)
    }

    pub fn stop(mut self) -> String {
        self.signal();
        let (exit, err) = self.wait();
        assert_eq!(exit, 0, "{err}");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line on standard output is all");
        err
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// True if a process is there; one that has ended and was not waited for by its parent is not.
pub fn lives(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}
