//! A large file: how fast it is audited, in how much memory, and what those who withdraw notice of a backup.

use crate::money::{USERS, drive_withdrawals, settle, wallets};
use crate::report::{Outcome, figure};
use crate::run::ms;
use crate::server::{Folder, Server};
use crate::start::fill;
use crate::{Got, Settings, usage};
use cashbox::internals::bench::report::count;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(10);
const MIB: f64 = 1_048_576.0;

/// Makes the file, audits it, and lets it work alone and while it is backed up.
pub fn trust(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let made = fill(&server, &mut wallets, settings.entries)?;
    let (_, mut wrong) = settle(server, &wallets, made)?;
    let size = folder.size()?;
    let (took, memory) = audit(&folder)?;

    let server = Server::start(&folder)?;
    let (alone, before) = drive_withdrawals(&server, &mut wallets, settings)?;
    let (over, backups) = (AtomicBool::new(false), AtomicU32::new(0));
    let (beside, after) = scope(|scope| {
        let backing_up = scope.spawn(|| {
            while !over.load(Relaxed) {
                back_up(&folder)?;
                backups.fetch_add(1, Relaxed);
            }
            Got::Ok(())
        });
        let driven = drive_withdrawals(&server, &mut wallets, settings);
        over.store(true, Relaxed);
        backing_up.join().expect("it does not panic")?;
        driven
    })?;
    let (checked, late) = settle(server, &wallets, before + after)?;
    wrong.extend(late);
    let backups = backups.load(Relaxed);
    Ok(Outcome {
        figures: vec![
            figure(format!("entries audited, of {}", count(made)), made as f64 / took.as_secs_f64(), "/s"),
            figure("in memory of", memory as f64 / MIB, "MiB"),
            figure(
                format!("p99 of withdrawals during backups of {:.0} MiB", size as f64 / MIB),
                ms(&beside.latencies, 990),
                "ms",
            ),
            figure("p99 without", ms(&alone.latencies, 990), "ms"),
            figure("withdrawals during them", beside.rate, "/s"),
            figure("without", alone.rate, "/s"),
        ],
        checked: format!("{backups} backups, each audited; {checked}"),
        wrong,
    })
}

/// How long the audit takes, and the most memory it has meanwhile.
fn audit(folder: &Folder) -> Got<(Duration, u64)> {
    let begun = Instant::now();
    let mut verify = folder
        .command()
        .arg("verify")
        .arg("--db")
        .arg(folder.file("cashbox.db"))
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let mut memory = 0;
    let exit = loop {
        memory = memory.max(usage::memory(verify.id()).unwrap_or(0)); // it may have ended
        if let Some(exit) = verify.try_wait()? {
            break exit;
        }
        sleep(LOOK_EVERY);
    };
    if exit.success() { Ok((begun.elapsed(), memory)) } else { Err(format!("the audit ended with {exit}").into()) }
}

fn back_up(folder: &Folder) -> Got<()> {
    let mut backup = folder.command();
    backup.arg("backup").arg(folder.file("backup.db")).arg("--replace").arg("--db").arg(folder.file("cashbox.db"));
    let said = backup.output()?;
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned().into()) }
}
