//! A large file: the time to start on it, its audit, memory, bytes on disk, and withdrawals while it is backed up.

use crate::report::{Outcome, figure};
use crate::server::{Folder, Server, ms};
use crate::withdrawals::{USERS, drive_withdrawals, settle, settled, wallets};
use crate::{BenchResult, Settings, machine};
use cashbox::internals::bench::{BatchWithdraw, BenchWallet, Latencies, Workload, with_commas};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Items to a request while the file is made: the most there may be.
pub const STEP: u64 = 10_000;
/// Batches on their way at a time while the file is made.
const AT_ONCE: u64 = 2;
const STARTS: usize = 5;
/// Time after which a started server is idle.
const SETTLED: Duration = Duration::from_secs(1);
const MIB: f64 = 1024.0 * 1024.0;

/// Makes the file, starts on it several times, and then measures withdrawals.
pub fn start(settings: &Settings) -> BenchResult<Outcome> {
    let folder = Folder::new(settings)?;
    let mut server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let made = fill(&server, &mut wallets, settings.entries)?;
    let (_, mut wrong) = settle(server, &wallets, made)?;
    let size = folder.size()?;

    let (mut cold, mut warm) = (Latencies::default(), Latencies::default());
    for _ in 0..STARTS {
        folder.leave_memory()?;
        cold.record(start_once(&folder)?);
        warm.record(start_once(&folder)?);
    }
    server = Server::start(&folder)?;
    sleep(SETTLED);
    let idle = machine::memory(server.process_id())?;
    let (run, withdrawn) = drive_withdrawals(&server, &mut wallets, settings)?;
    let (checked, late) = settle(server, &wallets, withdrawn)?;
    wrong.extend(late);
    let grown = folder.size()?.saturating_sub(size);

    let entries = with_commas(made);
    Ok(Outcome {
        figures: vec![
            figure(format!("start with {entries} entries, none of the file in memory"), ms(&cold, 500), "ms"),
            figure("start again", ms(&warm, 500), "ms"),
            figure("resident memory, idle", idle as f64 / MIB, "MiB"),
            figure(
                format!("resident memory, {} busy connections", settings.connections),
                run.memory as f64 / MIB,
                "MiB",
            ),
            figure("durable withdrawals on that file", run.rate, "/s"),
            figure("on disk, a withdrawal of a batch with its key", size as f64 / made as f64, "bytes"),
            figure("on disk, a single withdrawal with its key", grown as f64 / withdrawn as f64, "bytes"),
        ],
        checked: format!("{entries} in batches and {checked}"),
        wrong,
    })
}

/// Withdraws at least `entries` cents in batches; their number.
pub fn fill(server: &Server, wallets: &mut [BenchWallet], entries: u64) -> BenchResult<u64> {
    let each = entries.div_ceil(STEP * AT_ONCE);
    let by_admin: Vec<_> = wallets.iter().map(|wallet| server.as_admin(wallet)).collect();
    let send = || {
        let (mut client, mut batch) = (server.connect()?, BatchWithdraw::new(&by_admin, STEP as usize));
        for _ in 0..each {
            let answer = client.exchange(batch.next_request())?;
            batch.handle(&answer)?;
        }
        BenchResult::Ok(batch)
    };
    let sent = scope(|scope| {
        let senders: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender does not panic"))
            .collect::<BenchResult<Vec<_>>>()
    })?;
    Ok(settled(&sent, wallets))
}

/// The time until the server listens.
fn start_once(folder: &Folder) -> BenchResult<Duration> {
    let server = Server::start(folder)?;
    let time = server.started_in;
    server.stop()?;
    Ok(time)
}

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Makes the file, audits it, and measures withdrawals alone and during backups.
pub fn trust(settings: &Settings) -> BenchResult<Outcome> {
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
            BenchResult::Ok(())
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
            figure(format!("entries audited, of {}", with_commas(made)), made as f64 / took.as_secs_f64(), "/s"),
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

/// The time the audit takes, and the most memory it has meanwhile.
fn audit(folder: &Folder) -> BenchResult<(Duration, u64)> {
    let begun = Instant::now();
    let mut verify =
        folder.command().arg("verify").arg("--db").arg(folder.file("cashbox.db")).stdout(Stdio::null()).spawn()?;
    let mut memory = 0;
    let exit = loop {
        memory = memory.max(machine::memory(verify.id()).unwrap_or(0)); // it may have ended
        if let Some(exit) = verify.try_wait()? {
            break exit;
        }
        sleep(LOOK_EVERY);
    };
    if exit.success() { Ok((begun.elapsed(), memory)) } else { Err(format!("the audit ended with {exit}").into()) }
}

fn back_up(folder: &Folder) -> BenchResult<()> {
    let mut backup = folder.command();
    backup.arg("backup").arg(folder.file("backup.db")).arg("--replace").arg("--db").arg(folder.file("cashbox.db"));
    let output = backup.output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}
