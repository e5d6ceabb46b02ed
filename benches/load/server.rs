//! The program itself, as it is shipped, on a file of its own in a folder of its own; and what of it is measured and
//! checked from outside.

use crate::Got;
use crate::client::{Client, request};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cashbox");
/// An admin's access token, known to nobody else because the server listens on loopback and for some seconds.
pub const ADMIN: &str = "cbx_for-the-length-of-one-measurement";

/// A folder on disk with a file of cashbox's in it, gone at the end.
pub struct Folder(TempDir);

/// A running server.
pub struct Server {
    child: Child,
    db: PathBuf,
    pub address: SocketAddr,
    /// From starting the process to its `listening on`.
    pub started_in: Duration,
}

impl Folder {
    pub fn new() -> Got<Folder> {
        let folder = tempfile::Builder::new().prefix("load").tempdir_in(base())?;
        fs::write(folder.path().join("token"), ADMIN)?;
        Ok(Folder(folder))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Bytes of the database, which has no log beside it once its server is gone.
    pub fn size(&self) -> Got<u64> {
        Ok(fs::metadata(self.file("cashbox.db"))?.len())
    }

    /// Asks the kernel to forget what it holds of the file in memory.
    pub fn leave_memory(&self) -> Got<()> {
        let file = fs::File::open(self.file("cashbox.db"))?;
        file.sync_all()?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

/// Where the folders are: on the disk that is built on.
pub fn base() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

impl Server {
    pub fn start(folder: &Folder) -> Got<Server> {
        Server::start_with(folder, &[])
    }

    /// With more options.
    pub fn start_with(folder: &Folder, options: &[&str]) -> Got<Server> {
        let db = folder.file("cashbox.db");
        let mut command = clean_command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--db"]).arg(&db);
        command.arg("--token-file").arg(folder.file("token")).args(options).stdin(Stdio::null()).stdout(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let started_in = begun.elapsed();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let _ = child.kill();
            return Err(format!("the server did not start, it said {line:?} and {}", child.wait()?).into());
        };
        Ok(Server { address: address.parse()?, child, db, started_in })
    }

    /// A client, for what is not measured.
    pub fn client(&self) -> Got<Client> {
        Ok(Client::connect(self.address)?)
    }

    /// Money into a user's wallet, and an access token of the user's.
    pub fn open_wallet(&self, client: &mut Client, user: &str, amount: &str) -> Got<String> {
        let body = format!(r#"{{"amount":"{amount}"}}"#);
        let recharge = request("POST", &format!("/v1/wallets/{user}/recharge"), ADMIN, "", &body);
        client.ask(&recharge)?.must_be(200)?;
        let mint = request("POST", "/v1/tokens", ADMIN, "", &format!(r#"{{"role":"user","user":"{user}"}}"#));
        let answer = client.ask(&mint)?;
        answer.must_be(201)?;
        Ok(answer.field("token").ok_or("no token in the answer")?.to_owned())
    }

    /// The balance in cents.
    pub fn balance(&self, client: &mut Client, user: &str) -> Got<i64> {
        let answer = client.ask(&request("GET", &format!("/v1/wallets/{user}"), ADMIN, "", ""))?;
        answer.must_be(200)?;
        Ok(answer.field("balance").ok_or("no balance in the answer")?.replace('.', "").parse()?)
    }

    /// One of the server's own counters.
    pub fn counter(&self, client: &mut Client, name: &str) -> Got<f64> {
        let answer = client.ask(&request("GET", "/metrics", ADMIN, "", ""))?;
        answer.must_be(200)?;
        let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("no {name} in the metrics"))?.parse()?)
    }

    /// The process, for what `/proc` says of it.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as an operator would; an error if it does not end well.
    pub fn stop(mut self) -> Got<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let exit = self.child.wait()?;
        if exit.success() { Ok(()) } else { Err(format!("the server ended with {exit}").into()) }
    }

    /// Stops it and audits what it leaves; what is wrong, if anything.
    pub fn stop_and_audit(self) -> Got<Vec<String>> {
        let db = self.db.clone();
        let mut wrong: Vec<String> = self.stop().err().into_iter().map(|error| error.to_string()).collect();
        let verify = clean_command().args(["verify", "--db"]).arg(&db).output()?;
        if !verify.status.success() {
            wrong.push(format!("the audit found: {}", String::from_utf8_lossy(&verify.stdout).trim()));
        }
        Ok(wrong)
    }
}

impl Drop for Server {
    /// Where a run broke off. A server that was stopped is gone already, and this says nothing to it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program without the settings of whoever runs this.
pub fn clean_command() -> Command {
    let mut command = Command::new(PROGRAM);
    for setting in ["CASHBOX_DB", "CASHBOX_LISTEN", "CASHBOX_TOKEN", "CASHBOX_URL"] {
        command.env_remove(setting);
    }
    command
}
