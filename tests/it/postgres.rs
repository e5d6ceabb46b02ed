//! A PostgreSQL of the tests' own: in a temporary folder, reached by its socket alone, gone with the test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running PostgreSQL. It ends when this is dropped, and also when the process of the tests ends in any other way.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    child: Child,
}

impl Postgres {
    /// Starts one; None, with a message, where PostgreSQL is not installed.
    pub fn start() -> Option<Postgres> {
        let Some(programs) = programs() else {
            say_skipped("PostgreSQL is not installed (on Debian: apt-get install postgresql)");
            return None;
        };
        // In memory, where there is such a place: a ledger is not kept in a PostgreSQL without `fsync`.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("cashbox-pg-").tempdir_in(place).unwrap();
        give_away(folder.path());
        let data = folder.path().join("data");
        // A locale with an order of its own, where there is one: then an order that depends on it is noticed.
        let made = unprivileged(&programs.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // The shell ends the server when the pipe to it is closed, which the end of this process does too, and removes the folder.
        let script =
            "trap '' INT; \"$@\" >&2 <&- & server=$!; read -r _; kill -QUIT $server; wait $server; rm -rf \"$0\"";
        let child = unprivileged(Path::new("sh"))
            .args(["-c", script])
            .arg(folder.path())
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "max_connections=400"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let postgres = Postgres { folder, programs, child };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !postgres.is_ready() {
            let log = std::fs::read_to_string(postgres.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(postgres)
    }

    /// The URL of a database in it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?user=postgres&host={}", self.folder.path().display())
    }

    /// Makes a database, unless it is there.
    pub fn make(&self, database: &str) {
        let made = self.psql("postgres", &format!("CREATE DATABASE \"{database}\";"));
        assert!(made.1.is_empty() || made.1.contains("already exists"), "{}", made.1);
    }

    fn is_ready(&self) -> bool {
        let asked = Command::new(self.programs.join("pg_isready")).arg("-q").arg("-h").arg(self.folder.path()).status();
        asked.unwrap().success()
    }

    /// Runs a script of SQL in a database. Returns what it printed (unaligned rows), and its complaints.
    pub fn psql(&self, database: &str, script: &str) -> (String, String) {
        let mut child = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", database, "-h"])
            .arg(self.folder.path())
            .args(["-v", "VERBOSITY=terse", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, script) = (child.stdin.take().unwrap(), script.to_owned());
        let writing = std::thread::spawn(move || input.write_all(script.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }
}

/// One for all tests, if they are to run on PostgreSQL: with `CASHBOX_TEST_DB=postgres`.
pub fn of_all_tests() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    let is_wanted =
        cfg!(feature = "postgres") && std::env::var("CASHBOX_TEST_DB").is_ok_and(|value| value == "postgres");
    SHARED.get_or_init(|| is_wanted.then(|| Postgres::start().expect("PostgreSQL is installed"))).as_ref()
}

/// The reason for tests with thousands of items in a batch.
pub const LARGE_BATCH: &str =
    "a large batch is a round trip for each of its statements, and takes longer than a test waits";

/// Says that a test is skipped, and why: to the standard error itself, since the messages of a test that passes are not
/// shown.
fn say_skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// True, with a message, if a test is not for a ledger in PostgreSQL.
pub fn is_not_for_it(why: &str) -> bool {
    let is_used = of_all_tests().is_some();
    if is_used {
        say_skipped(&format!("not on PostgreSQL: {why}"));
    }
    is_used
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The folder of PostgreSQL's programs.
fn programs() -> Option<PathBuf> {
    let debian =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(program).current_dir("/");
    command
}

/// Gives a folder to the user that PostgreSQL runs as.
fn give_away(folder: &Path) {
    if is_root() {
        assert!(Command::new("chown").arg("postgres").arg(folder).status().unwrap().success());
    }
}
