//! The program as it was built, on a file of its own in a folder of its own; and what of it is only looked at here.

use crate::{Got, Settings};
use cashbox::internals::bench::client::BenchClient;
use cashbox::internals::bench::server::{BenchServer as Child, clean_command};
use cashbox::internals::bench::wallet::BenchWallet;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder on disk with a wallet file in it, and the build that serves that file. Removed when dropped.
pub struct Folder {
    folder: TempDir,
    program: PathBuf,
}

/// A running server.
pub struct Server(Child);

impl Folder {
    pub fn new(settings: &Settings) -> Got<Folder> {
        let folder = tempfile::Builder::new().prefix("load").tempdir_in(base())?;
        Ok(Folder { folder, program: settings.program.clone() })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Bytes of the database, which has no log beside it once its server is gone.
    pub fn size(&self) -> Got<u64> {
        Ok(fs::metadata(self.file("cashbox.db"))?.len())
    }

    /// The build, to be run beside its server.
    pub fn command(&self) -> Command {
        clean_command(&self.program)
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
        Ok(Server(Child::start(&folder.program, &folder.file("cashbox.db"), options)?))
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
