//! The program as it was built, on a file of its own in a folder of its own; and what of it is only looked at here.

use crate::Got;
use cashbox::internals::bench::client::BenchClient;
use cashbox::internals::bench::server::{BenchServer as Child, clean_command};
use cashbox::internals::bench::wallet::BenchWallet;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cashbox");

/// A folder on disk with a file of cashbox's in it, gone at the end.
pub struct Folder(TempDir);

/// A running server.
pub struct Server(Child);

impl Folder {
    pub fn new() -> Got<Folder> {
        Ok(Folder(tempfile::Builder::new().prefix("load").tempdir_in(base())?))
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

impl Deref for Server {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl Server {
    pub fn start(folder: &Folder) -> Got<Server> {
        Server::start_with(folder, &[])
    }

    /// With more options.
    pub fn start_with(folder: &Folder, options: &[&str]) -> Got<Server> {
        Ok(Server(Child::start(Path::new(PROGRAM), &folder.file("cashbox.db"), options)?))
    }

    /// A request of the admin's.
    pub fn request(&self, method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
        self.site.caller.request(method, target, headers, body)
    }

    /// The same wallet, worked with by the admin.
    pub fn of_admin(&self, wallet: &BenchWallet) -> BenchWallet {
        BenchWallet { caller: self.site.caller.clone(), ..wallet.clone() }
    }

    /// One of the server's own counters.
    pub fn counter(&self, client: &mut BenchClient, name: &str) -> Got<f64> {
        let answer = client.ask(&self.request("GET", "/metrics", "", ""))?;
        answer.must_be(200)?;
        let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("no {name} in the metrics"))?.parse()?)
    }

    pub fn stop(self) -> Got<()> {
        Ok(self.0.stop()?)
    }

    /// Stops it and audits what it leaves; what is wrong, if anything.
    pub fn stop_and_audit(self) -> Got<Vec<String>> {
        Ok(self.0.stop_and_audit()?)
    }
}

/// The program, to be run beside a server.
pub fn command() -> Command {
    clean_command(Path::new(PROGRAM))
}
