//! The suites of `docs/testing/` pass, each where its interpreter is installed, and the page shows the files as they are.
//! `.ci/run` installs what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the suites, in which an interpreter may leave what it likes.
fn suites() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(root().join("docs/testing")).unwrap().map(|file| file.unwrap().path()) {
        if file.is_file() {
            std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    folder
}

/// A command in that folder that finds the program, and no file or server of this machine's account.
fn command(program: &Path, folder: &TempDir) -> Command {
    let own = Path::new(env!("CARGO_BIN_EXE_cashbox")).parent().unwrap();
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASHBOX_")) {
        command.env_remove(name);
    }
    command.env("PATH", format!("{}:{}", own.display(), std::env::var("PATH").unwrap())).current_dir(folder.path());
    command
}

/// The first of these programs that runs with those arguments.
fn installed(programs: &[PathBuf], arguments: &[&str]) -> Option<PathBuf> {
    let runs =
        |program: &&PathBuf| Command::new(program).args(arguments).output().is_ok_and(|ran| ran.status.success());
    let found = programs.iter().find(runs).cloned();
    if found.is_none() {
        eprintln!("{programs:?} {arguments:?}: not installed, so its suite is not run");
    }
    found
}

#[track_caller]
fn passes(mut command: Command) -> String {
    let ran = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{command:?}\n{text}");
    text
}

#[test]
fn bash_suite_passes() {
    let folder = suites();
    let mut bash = command(Path::new("bash"), &folder);
    bash.arg("shop.sh");
    passes(bash);
}

#[test]
fn pytest_suite_passes_in_parallel() {
    let pythons = [root().join("target/pytest/bin/python"), "python3".into()];
    let Some(python) = installed(&pythons, &["-c", "import pytest"]) else { return };
    let folder = suites();
    let mut pytest = command(&python, &folder);
    pytest.args(["-m", "pytest", "-q"]);
    if installed(std::slice::from_ref(&python), &["-c", "import xdist"]).is_some() {
        pytest.args(["-n", "2"]);
    }
    assert!(passes(pytest).contains("5 passed"));
}

#[test]
fn node_suite_passes() {
    let Some(node) = installed(&["node".into()], &["--test", "--help"]) else { return };
    let folder = suites();
    let mut suite = command(&node, &folder);
    suite.arg("--test");
    assert!(passes(suite).contains("pass 5"));
}

#[test]
fn jest_suite_passes() {
    let Some(jest) = installed(&[root().join("target/jest/node_modules/.bin/jest")], &["--version"]) else { return };
    let folder = suites();
    std::fs::write(folder.path().join("package.json"), "{}").unwrap();
    let mut suite = command(&jest, &folder);
    suite.args(["--testMatch", "**/shop.jest.js"]);
    assert!(passes(suite).contains("5 passed"));
}

#[test]
fn go_suite_passes() {
    let Some(go) = installed(&["go".into()], &["version"]) else { return };
    let folder = suites();
    let mut suite = command(&go, &folder);
    suite.args(["test", "cashbox_test.go"]).env("GOFLAGS", "-mod=mod").env("GOCACHE", folder.path().join("cache"));
    passes(suite);
}

/// A block of the page that stands behind the name of a file of `docs/testing/` is that file.
#[test]
fn page_shows_files_as_they_are() {
    let page = std::fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let mut count = 0;
    for shown in page.split("<!-- the file testing/").skip(1) {
        let (name, rest) = shown.split_once(" -->\n```").unwrap();
        let (block, _) = rest.split_once('\n').unwrap().1.split_once("\n```").unwrap();
        let file = std::fs::read_to_string(root().join("docs/testing").join(name)).unwrap();
        assert_eq!(block.trim_end(), file.trim_end(), "{name}");
        count += 1;
    }
    assert!(count >= 2, "files are shown");
}
