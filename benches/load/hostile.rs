//! Strangers who hold connections and say nothing, or a byte now and then: what the honest notice of them.

use crate::money::{USERS, drive_withdrawals, settle, wallets};
use crate::report::{Outcome, figure};
use crate::run::ms;
use crate::server::{Folder, Server};
use crate::{Got, Settings};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::Duration;

const IDLE: usize = 800;
const DRIPPING: usize = 200;
/// Room for them and for the honest.
const LIMITS: [&str; 2] = ["--max-connections", "2048"];
const DROP_EVERY: Duration = Duration::from_millis(100);

/// Withdrawals alone, and then beside the strangers.
pub fn hostile(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new(settings)?;
    let server = Server::start_with(&folder, &LIMITS)?;
    let mut wallets = wallets(&server, USERS)?;
    let (alone, before) = drive_withdrawals(&server, &mut wallets, settings)?;
    let over = AtomicBool::new(false);
    let (address, over_now) = (server.site.address, &over);
    let driven = scope(|scope| {
        let idle = (0..IDLE).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
        scope.spawn(move || drip(address, over_now));
        let driven = drive_withdrawals(&server, &mut wallets, settings);
        over.store(true, Relaxed);
        drop(idle);
        driven
    });
    let (beside, after) = driven?;
    let (checked, wrong) = settle(server, &wallets, before + after)?;
    Ok(Outcome {
        figures: vec![
            figure(
                format!("durable withdrawals beside {IDLE} idle and {DRIPPING} dripping connections"),
                beside.rate,
                "/s",
            ),
            figure("without them", alone.rate, "/s"),
            figure("p99 beside them", ms(&beside.latencies, 990), "ms"),
            figure("p99 without them", ms(&alone.latencies, 990), "ms"),
        ],
        checked,
        wrong,
    })
}

/// Sends heads that never end, a byte at a time, on many connections; comes again when the server has enough of one.
fn drip(address: SocketAddr, over: &AtomicBool) {
    let mut dripping: Vec<Option<TcpStream>> = (0..DRIPPING).map(|_| None).collect();
    while !over.load(Relaxed) {
        for stranger in &mut dripping {
            let still = stranger.as_mut().is_some_and(|stream| stream.write_all(b"G").is_ok());
            if !still {
                *stranger = TcpStream::connect(address).ok();
            }
        }
        sleep(DROP_EVERY);
    }
}
