//! A large file: how soon a server is there, what memory it takes, what a withdrawal takes on disk.

use crate::money::{USERS, drive_withdrawals, settle, settled, wallets};
use crate::report::{Outcome, figure};
use crate::run::ms;
use crate::server::{Folder, Server};
use crate::{Got, Settings, usage};
use cashbox::internals::bench::fleet::Script;
use cashbox::internals::bench::latencies::Latencies;
use cashbox::internals::bench::report::count;
use cashbox::internals::bench::script::BatchWithdraw;
use cashbox::internals::bench::wallet::BenchWallet;
use std::thread::{scope, sleep};
use std::time::Duration;

/// Items to a request while the file is made: the most there may be.
pub const STEP: u64 = 10_000;
/// Batches on their way at a time while the file is made.
const AT_ONCE: u64 = 2;
const STARTS: usize = 5;
/// After this an idle server has done what it does after a start.
const SETTLED: Duration = Duration::from_secs(1);
const MIB: f64 = 1024.0 * 1024.0;

/// Makes the file, starts on it several times, and then lets it work.
pub fn start(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let mut server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let made = fill(&server, &mut wallets, settings.entries)?;
    let (_, mut wrong) = settle(server, &wallets, made)?;
    let size = folder.size()?;

    let (mut cold, mut warm) = (Latencies::default(), Latencies::default());
    for _ in 0..STARTS {
        folder.leave_memory()?;
        cold.add(start_once(&folder)?);
        warm.add(start_once(&folder)?);
    }
    server = Server::start(&folder)?;
    sleep(SETTLED);
    let idle = usage::memory(server.process())?;
    let (run, withdrawn) = drive_withdrawals(&server, &mut wallets, settings)?;
    let (checked, late) = settle(server, &wallets, withdrawn)?;
    wrong.extend(late);
    let grown = folder.size()?.saturating_sub(size);

    let entries = count(made);
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

/// Withdraws at least `entries` cents in batches; how many it were.
pub fn fill(server: &Server, wallets: &mut [BenchWallet], entries: u64) -> Got<u64> {
    let each = entries.div_ceil(STEP * AT_ONCE);
    let by_admin: Vec<_> = wallets.iter().map(|wallet| server.of_admin(wallet)).collect();
    let send = || {
        let (mut client, mut batch) = (server.client()?, BatchWithdraw::new(&by_admin, STEP as usize));
        for _ in 0..each {
            let answer = client.ask(batch.next())?;
            batch.heard(&answer)?;
        }
        Got::Ok(batch)
    };
    let sent = scope(|scope| {
        let senders: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().expect("a sender does not panic")).collect::<Got<Vec<_>>>()
    })?;
    Ok(settled(&sent, wallets))
}

/// The time until it listened.
fn start_once(folder: &Folder) -> Got<Duration> {
    let server = Server::start(folder)?;
    let time = server.started_in;
    server.stop()?;
    Ok(time)
}
