//! Batches of withdrawals, each item under an idempotency key of its own.

use crate::money::{USERS, settle, settled, wallets};
use crate::report::{Outcome, figure};
use crate::run::{drive, ms, plan};
use crate::server::{Folder, Server};
use crate::{Got, Settings};
use cashbox::internals::bench::script::BatchWithdraw;

const ITEMS: usize = 1_000;
const CONNECTIONS: usize = 4;

/// Withdrawals, a thousand to a request.
pub fn batch(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let by_admin: Vec<_> = wallets.iter().map(|wallet| server.of_admin(wallet)).collect();
    let mut batches: Vec<BatchWithdraw> = (0..CONNECTIONS).map(|_| BatchWithdraw::new(&by_admin, ITEMS)).collect();
    let run = drive(&server, &mut batches, plan(settings))?;
    let done = settled(&batches, &mut wallets);
    let (checked, wrong) = settle(server, &wallets, done)?;
    Ok(Outcome {
        figures: vec![
            figure(format!("withdrawals in batches of {ITEMS}, {CONNECTIONS} connections"), run.rate, "/s"),
            figure("p50 of a batch", ms(&run.latencies, 500), "ms"),
            figure("p99 of a batch", ms(&run.latencies, 990), "ms"),
            figure("processor time of the server, each withdrawal", run.server_us, "µs").aside(),
        ],
        checked,
        wrong,
    })
}
