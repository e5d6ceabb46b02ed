//! Batches of withdrawals, each item under an idempotency key of its own.

use crate::client::{Answer, request};
use crate::fleet::{Script, drive};
use crate::money::{Keys, USERS, Wallet, settle, wallets};
use crate::report::{Outcome, figure};
use crate::server::{ADMIN, Folder, Server};
use crate::{Got, Settings};

const ITEMS: u64 = 1_000;
const CONNECTIONS: usize = 4;

/// Sends batches of cents, an equal share from every wallet.
pub struct Batch {
    request: Vec<u8>,
    keys: Keys,
    items: u64,
    pub done: u64,
}

impl Batch {
    /// `items` is a multiple of the number of wallets. Item `i` of a batch under the key `K` has the key `K/i`.
    pub fn new(wallets: &[Wallet], items: u64) -> Batch {
        let rows = wallets.iter().cycle().take(items as usize);
        let rows: Vec<_> =
            rows.map(|wallet| format!(r#"{{"op":"withdraw","user":"{}","amount":"0.01"}}"#, wallet.user)).collect();
        let key = format!("Idempotency-Key: {}\r\n", "0".repeat(Keys::LENGTH));
        let request = request("POST", "/v1/batch", ADMIN, &key, &format!("[{}]", rows.join(",")));
        Batch { keys: Keys::new(&request, false), request, items, done: 0 }
    }

    /// Notes what the balances must be after `done` items.
    pub fn expect(wallets: &mut [Wallet], done: u64) -> Got<()> {
        let each = i64::try_from(done / wallets.len() as u64)?;
        wallets.iter_mut().for_each(|wallet| wallet.expected -= each);
        Ok(())
    }
}

impl Script for Batch {
    fn next(&mut self) -> &[u8] {
        self.keys.put_next(&mut self.request);
        &self.request
    }

    fn heard(&mut self, answer: &Answer<'_>) -> std::io::Result<u64> {
        answer.must_be(200)?;
        let yes = answer.body.matches(r#""code":200"#).count() as u64 - 1; // the batch's own
        if yes != self.items {
            return Err(std::io::Error::other(format!("{yes} of {} items were done", self.items)));
        }
        self.done += yes;
        Ok(yes)
    }
}

/// Withdrawals, a thousand to a request.
pub fn batch(settings: &Settings) -> Got<Outcome> {
    let folder = Folder::new()?;
    let server = Server::start(&folder)?;
    let mut wallets = wallets(&server, USERS)?;
    let mut batches: Vec<Batch> = (0..CONNECTIONS).map(|_| Batch::new(&wallets, ITEMS)).collect();
    let run = drive(&server, &mut batches, settings.plan())?;
    let done = batches.iter().map(|batch| batch.done).sum();
    Batch::expect(&mut wallets, done)?;
    let (checked, wrong) = settle(server, &wallets, done)?;
    Ok(Outcome {
        figures: vec![
            figure(format!("withdrawals in batches of {ITEMS}, {CONNECTIONS} connections"), run.rate, "/s"),
            figure("p50 of a batch", run.latencies.ms(0.5), "ms"),
            figure("p99 of a batch", run.latencies.ms(0.99), "ms"),
            figure("processor time of the server, each withdrawal", run.server_us, "µs"),
        ],
        checked,
        wrong,
    })
}
