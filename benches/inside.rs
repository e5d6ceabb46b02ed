#![forbid(unsafe_code)]
//! The parts of the program, without sockets: `cargo bench --bench inside`.
//!
//! `CASHBOX_BENCH_ENTRIES=10000000` makes the file whose history is read as large as that; making it takes a while.

use cashbox::internals::http::conn::{Limits, parse_head};
use cashbox::internals::id::{IdempotencyKey, UserId, WalletId};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::entry::Entry;
use cashbox::internals::ledger::query::{Filter, entries};
use cashbox::internals::ledger::verbs::{Recharge, Withdraw};
use cashbox::internals::money::Money;
use cashbox::internals::store::{Envelope, Options, Store};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tempfile::TempDir;

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        divan::main();
    } else {
        eprintln!("measure with: cargo bench --bench inside"); // a test run measures nothing
    }
}

/// Wallets that are worked on.
const USERS: u64 = 100;
/// Entries in the file that is read, unless `CASHBOX_BENCH_ENTRIES` gives another number.
const ENTRIES: u64 = 100_000;
const STEP: u64 = 1_000;

#[divan::bench(args = ["0.01", "120", "1000000000000.00"])]
fn an_amount_in_and_out(bencher: Bencher<'_, '_>, text: &str) {
    bencher.bench(|| Money::parse(black_box(text)).expect("an amount").to_string());
}

#[divan::bench]
fn the_head_of_a_withdrawal(bencher: Bencher<'_, '_>) {
    const HEAD: &[u8] = b"POST /v1/wallets/user-042/withdraw HTTP/1.1\r\nHost: 127.0.0.1:8866\r\n\
        Authorization: Bearer cbx_0123456789abcdef0123456789abcdef0123456789a\r\nContent-Type: application/json\r\n\
        Idempotency-Key: 0123456789abcdef0123456789abcdef\r\nContent-Length: 17\r\n\r\n";
    let limits = Limits::default();
    bencher.bench(|| parse_head(black_box(HEAD), &limits).expect("a good head").expect("a whole one"));
}

/// A file on disk with money in its wallets, synced as a server's is.
struct Place {
    store: Store,
    _folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a folder");
        let store = Store::open(&folder.path().join("cashbox.db"), &Options::default()).expect("a new file");
        let amount = Money::parse("1000000000.00").expect("an amount");
        let recharge = |number| (Envelope::local(), Recharge { user: user(number), amount, note: Note::default() });
        let recharged = store.submit_all((0..USERS).map(recharge).collect());
        assert!(recharged.iter().all(|outcome| outcome.result.is_ok()));
        Place { store, _folder: folder }
    }

    /// Withdraws `count` single cents, each under a key of its own, in commits of at most 256.
    fn withdraw(&self, count: u64) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let withdraw = |_| {
            let number = NUMBER.fetch_add(1, Relaxed);
            let key =
                IdempotencyKey::parse(&format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).expect("a key");
            let envelope = Envelope { key: Some(key), ..Envelope::local() };
            (envelope, Withdraw { user: user(number % USERS), amount: Money::MIN, note: Note::default() })
        };
        let withdrawn = self.store.submit_all((0..count).map(withdraw).collect());
        assert!(withdrawn.iter().all(|outcome| outcome.result.is_ok()));
    }

    fn page(&self, filter: &Filter, after: Option<i64>) -> Vec<Entry> {
        self.store.read(|tx| entries(tx, filter, after, 50)).expect("a page").rows
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("user-{number:03}")).expect("a user")
}

#[divan::bench(args = [1, 10, 100, 1_000], sample_count = 30, sample_size = 1)]
fn commands_to_disk(bencher: Bencher<'_, '_>, count: u64) {
    let place = Place::new();
    bencher.counter(ItemsCount::new(count)).bench(|| place.withdraw(count));
}

static FULL: LazyLock<Place> = LazyLock::new(|| {
    let wanted =
        std::env::var("CASHBOX_BENCH_ENTRIES").map_or(ENTRIES, |count| count.parse().expect("a number of entries"));
    let place = Place::new();
    (0..wanted.div_ceil(STEP)).for_each(|_| place.withdraw(STEP));
    place
});

#[divan::bench]
fn the_hash_of_an_entry(bencher: Bencher<'_, '_>) {
    let entry = &FULL.page(&Filter::default(), None)[0];
    bencher.bench(|| black_box(entry).hash_after(black_box(&[7; 32])));
}

/// The newest page, one from the middle, and one by time and kind.
#[divan::bench(args = ["newest", "middle", "filtered"])]
fn a_page_of_50_of_a_wallet(bencher: Bencher<'_, '_>, which: &str) {
    let wallet = Some(WalletId::parse("user-042").expect("a wallet"));
    let last = FULL.page(&Filter::default(), None)[0].clone();
    let (filter, after) = match which {
        "newest" => (Filter { wallet, ..Filter::default() }, None),
        "middle" => (Filter { wallet, ..Filter::default() }, Some(last.id.0 / 2)),
        _ => (Filter { wallet, kind: Some(last.kind), until: Some(last.at - 1), ..Filter::default() }, None),
    };
    bencher.bench(|| FULL.page(&filter, after));
}
