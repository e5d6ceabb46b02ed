//! The plain run: batches carried out without savepoints come to the same file and the same answers as with them, also
//! when one has to be taken back.

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::command::{Command, NameBatch, Receipt};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::{CouponCode, EntryId, WalletId};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::verbs::{Pay, Refund};
use cashbox::internals::lock::lease::Grant;
use cashbox::internals::store::{Envelope, Outcome};
use std::sync::atomic::Ordering::Relaxed;

const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
const AMOUNTS: [&str; 7] = ["0.01", "1", "99", "100", "300", "500", "1000000000000"];

/// A book, and what is random in it: equal places in two books stand for each other.
struct Side {
    book: Book,
    coupons: Vec<CouponCode>,
    leases: Vec<Grant>,
}

impl Side {
    fn new(always_savepoints: bool) -> Side {
        let book = book_with(|options| options.always_savepoints = always_savepoints);
        Side { book, coupons: Vec::new(), leases: Vec::new() }
    }

    /// Learns the codes and the leases, then writes the answers without them.
    fn learn(&mut self, outcomes: &[Outcome]) -> Vec<String> {
        for receipt in
            outcomes.iter().filter(|outcome| !outcome.replayed).filter_map(|outcome| outcome.result.as_ref().ok())
        {
            match receipt {
                Receipt::Moved(moved) => self.coupons.extend(moved.coupon.iter().map(|coupon| coupon.code.clone())),
                Receipt::Batch(all) => {
                    self.coupons.extend(all.iter().flat_map(|moved| &moved.coupon).map(|coupon| coupon.code.clone()));
                }
                Receipt::Coupon(coupon) => self.coupons.push(coupon.code.clone()),
                Receipt::Granted(grant) => self.leases.push(grant.clone()),
                _ => {}
            }
        }
        outcomes.iter().map(|outcome| self.without_codes(&without_hashes(&format!("{outcome:?}")))).collect()
    }

    fn without_codes(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, code) in self.coupons.iter().enumerate() {
            text = replace_word(&text, code.as_str(), &format!("coupon-{number}"));
        }
        for grant in &self.leases {
            text = text.replace(&grant.token.incarnation, "incarnation");
        }
        text
    }

    /// Every row, but for hashes, what is random, and the times of writing of system wallets.
    fn rows(&self) -> Vec<String> {
        let tables = [
            "SELECT 'wallet', id, balance, entries, CASE WHEN id NOT LIKE '@%' THEN newest END, created_at FROM wallet",
            "SELECT id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, coupon, gross, \
             discount, refunds, reference, fence, hold, hold_to, hold_until FROM entry",
            "SELECT 'hold', id, wallet, captured, amount_left, until, due_ms, ended FROM hold",
            "SELECT 'total', quarter, what, count, sum FROM report_total",
            "SELECT code, user, kind, uses, earned_by, taken_by, granted_at FROM coupon",
            "SELECT 'supply', length, given FROM code_supply",
            "SELECT caller, key, at, entry, outcome FROM idempotency",
            "SELECT id, fence, create_time, renew_time, ids FROM lock",
            "SELECT seq, lock_id, what, fence, previous_fence, holder FROM lock_event",
            "SELECT 'fence', fence, clock_ms FROM lock_seq",
        ];
        let conn = self.book.raw();
        let mut all = Vec::new();
        for sql in tables {
            let mut statement = conn.prepare(sql).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let row: Vec<_> = (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap())).collect();
                all.push(row.join(" "));
            }
        }
        let texts = |row: &String| self.without_codes(&as_text(row));
        let mut all: Vec<String> = all.iter().map(texts).collect();
        all.sort();
        all
    }
}

/// Replaces a word, but no part of a longer one: the four signs of a code may also be digits of an amount.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        let is_part = before.ends_with(|c: char| c.is_ascii_alphanumeric())
            || after.starts_with(|c: char| c.is_ascii_alphanumeric());
        replaced = replaced + before + if is_part { word } else { by };
        rest = after;
    }
    replaced + rest
}

/// The bytes of a text as it is shown for debugging, read back.
fn as_text(row: &str) -> String {
    let mut text = row.to_owned();
    while let Some((before, rest)) = text.split_once("Text([") {
        let (bytes, after) = rest.split_once("])").expect("a list of bytes ends");
        let bytes: Vec<u8> = bytes.split(", ").filter_map(|byte| byte.parse().ok()).collect();
        text = format!("{before}{}{after}", String::from_utf8(bytes).unwrap());
    }
    text
}

fn without_hashes(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("hash: [") {
        kept += before;
        rest = after.split_once(']').expect("a list of bytes ends").1;
    }
    kept + rest
}

/// A choice of the dice: the same for both sides, which fill in their own codes and tokens.
struct Choice {
    key: Option<String>,
    caller: bool,
    lease: Option<usize>,
    what: usize,
    users: (usize, usize),
    amount: &'static str,
    number: usize,
}

fn choice(dice: &mut Dice) -> Choice {
    let first = dice.below(USERS.len());
    Choice {
        key: (!dice.one_in(3)).then(|| format!("k{}", dice.below(60))),
        caller: dice.one_in(6),
        lease: dice.one_in(5).then(|| dice.below(8)),
        what: dice.below(40),
        users: (first, (first + 1 + dice.below(USERS.len() - 1)) % USERS.len()),
        amount: AMOUNTS[dice.below(AMOUNTS.len())],
        number: dice.below(60),
    }
}

impl Side {
    fn request(&self, choice: &Choice) -> (Envelope, Command) {
        let mut envelope = choice.key.as_ref().map_or_else(Envelope::local, |key| keyed(key));
        if choice.caller {
            envelope = by("ann", envelope);
        }
        if let Some(lease) = choice.lease.and_then(|number| self.leases.iter().rev().nth(number)) {
            envelope.tokens = vec![lease.token.clone()];
        }
        (envelope, self.command(choice))
    }

    fn command(&self, choice: &Choice) -> Command {
        let (user, other) = (USERS[choice.users.0], USERS[choice.users.1]);
        let (amount, number) = (choice.amount, choice.number);
        let entry = number as i64;
        let money = |what| match what {
            0..=11 => recharge(user, amount),
            12..=16 => withdraw(user, amount),
            17..=20 => transfer(user, other, amount),
            21..=24 => {
                let coupon = self.coupons.get(number % 8).cloned();
                let to = if number % 2 == 0 { WalletId::SALES } else { wallet_id(other) };
                Pay { user: user_id(user), to, gross: money(amount), coupon, note: Note::default() }.into()
            }
            25 => transfer("@sales", "@bank", amount),
            26 if number % 3 == 0 => hold_for(user, other, amount, 3_600),
            26 if number % 3 == 1 => capture(entry, Some(amount), number % 2 == 0),
            26 => void(entry),
            _ => Refund { entry: EntryId(entry), amount: None, note: Note::default() }.into(),
        };
        match choice.what {
            30 => batch(vec![recharge(user, amount), transfer(user, other, "1"), withdraw(user, amount)]),
            31 => grant(user, "1"),
            32 => acquire(&format!("wallet/{user}"), user),
            33 => acquire(&format!("wallet/{user} wallet/{other}"), other),
            34 => NameBatch([number as u8; 16]).into(),
            what => money(what),
        }
    }
}

#[test]
fn random_batches_come_to_the_same_both_ways() {
    let (mut plain, mut taken_back) = (0, 0);
    for mut dice in Dice::runs(0..30) {
        let (mut fast, mut careful) = (Side::new(false), Side::new(true));
        for round in 0..12 {
            // Every third batch is of money alone.
            let choices: Vec<Choice> = (0..1 + dice.below(20))
                .map(|_| Choice { what: dice.below(if round % 3 == 0 { 30 } else { 40 }), ..choice(&mut dice) })
                .collect();
            let answers = [&mut fast, &mut careful].map(|side| {
                let outcomes = side.book.submit_all(choices.iter().map(|choice| side.request(choice)).collect());
                side.learn(&outcomes)
            });
            assert_eq!(answers[0], answers[1]);
            for (fast, careful) in fast.rows().iter().zip(&careful.rows()) {
                assert_eq!(fast, careful);
            }
            assert_eq!(fast.rows().len(), careful.rows().len());
            let ms = if dice.one_in(3) { 66_000 } else { 10 };
            fast.book.advance(ms);
            careful.book.advance(ms);
        }
        fast.book.assert_sound();
        careful.book.assert_sound();
        plain += fast.book.stats().plain.load(Relaxed);
        taken_back += fast.book.stats().taken_back.load(Relaxed);
        assert_eq!(careful.book.stats().plain.load(Relaxed), 0);
    }
    assert!(plain > 500 && taken_back > 5, "{plain} plain, {taken_back} taken back");
}

/// The names of the errors, `ok` for none.
fn names(outcomes: &[Outcome]) -> Vec<&'static str> {
    outcomes.iter().map(|outcome| outcome.result.as_ref().map_or_else(|error| error.name.as_str(), |_| "ok")).collect()
}

fn all(commands: Vec<Command>) -> Vec<(Envelope, Command)> {
    commands.into_iter().enumerate().map(|(number, command)| (keyed(&format!("a{number}")), command)).collect()
}

#[test]
fn refusals_of_plain_batch_are_not_taken_back() {
    let book = check("recharge alice 10 |");
    let before = book.stats().plain.load(Relaxed);
    let sent = all(vec![
        withdraw("alice", "1"),
        withdraw("alice", "100"),
        withdraw("stranger", "1"),
        refund(99, None),
        recharge("alice", "1000000000000"),
        recharge("bob", "5"),
    ]);
    let answers = book.submit_all(sent.clone());
    assert_eq!(names(&answers), ["ok", "insufficient_funds", "wallet_not_found", "entry_not_found", "ok", "ok"]);
    assert_eq!(book.stats().taken_back.load(Relaxed), 0);
    assert_eq!(book.stats().plain.load(Relaxed), before + 6);
    let again = book.submit_all(sent);
    assert!(again.iter().all(|answer| answer.replayed), "refusals are recorded too");
    book.assert_sound();
}

#[test]
fn panic_in_plain_batch_costs_its_own_command() {
    let book = check("recharge alice 10 |");
    book.raw().execute("INSERT INTO code_supply (length) VALUES (13)", []).unwrap(); // `draw_code` panics
    let answers = book.submit_all(all(vec![withdraw("alice", "1"), recharge("bob", "100"), withdraw("alice", "2")]));
    assert_eq!(names(&answers), ["ok", "internal", "ok"]);
    assert_eq!(book.stats().taken_back.load(Relaxed), 1);
    assert_eq!((book.balance("alice"), book.balance("@bank")), ("7.00".to_owned(), "-7.00".to_owned()));
    assert!(book.read(|tx| cashbox::internals::ledger::find_wallet(tx, &wallet_id("bob"))).unwrap().is_none());
    book.raw().execute("DELETE FROM code_supply WHERE length = 13", []).unwrap();
    book.assert_sound();
}

#[test]
fn failure_after_writing_costs_its_own_command() {
    let book = check("recharge alice 10 |");
    // A foreign trigger fails the record of one key, after its entry was written.
    let trigger =
        "CREATE TRIGGER mine BEFORE INSERT ON idempotency WHEN NEW.key = 'a1' BEGIN SELECT RAISE(FAIL, 'no'); END";
    book.raw().execute_batch(trigger).unwrap();
    let answers = book.submit_all(all(vec![withdraw("alice", "1"), withdraw("alice", "2"), withdraw("alice", "3")]));
    assert_eq!(names(&answers), ["ok", "internal", "ok"]);
    assert_eq!((book.balance("alice"), book.balance("@bank")), ("6.00".to_owned(), "-6.00".to_owned()));
    assert_eq!(book.stats().taken_back.load(Relaxed), 1);
    book.raw().execute_batch("DROP TRIGGER mine").unwrap();
    book.assert_sound();
}

#[test]
fn stale_lock_in_plain_batch_is_taken_over() {
    let book = check("recharge alice 10 |\n recharge bob 10 |");
    book.acquire("wallet/alice", "ann").unwrap();
    let commands = || all(vec![withdraw("bob", "1"), withdraw("alice", "1"), withdraw("bob", "2")]);
    assert_eq!(names(&book.submit_all(commands())), ["ok", "locked", "ok"]);
    assert_eq!(book.stats().taken_back.load(Relaxed), 0, "one that meets a held lock is set aside");
    book.advance(65_000);
    let answers = book.submit_all(commands());
    assert_eq!(names(&answers), ["ok", "ok", "ok"]);
    assert_eq!(answers.iter().map(|answer| answer.replayed).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(book.stats().taken_back.load(Relaxed), 1);
    assert!(book.lock("wallet/alice").is_none());
    assert_eq!((book.balance("alice"), book.balance("bob")), ("9.00".to_owned(), "7.00".to_owned()));
    book.assert_sound();
}

#[test]
fn command_set_aside_waits_and_its_repeat_joins_it() {
    let book = check("recharge alice 10 |\n recharge bob 10 |");
    let lease = book.acquire("wallet/alice", "ann").unwrap();
    std::thread::scope(|scope| {
        let wait = |key: &str, command| (Envelope { wait_ms: 30_000, ..keyed(key) }, command);
        let sent = vec![
            wait("x", withdraw("alice", "1")),
            wait("y", withdraw("bob", "1")),
            wait("x", withdraw("alice", "1")),
            wait("x", withdraw("bob", "5")),
            wait("z", withdraw("alice", "2")),
        ];
        let waiting = scope.spawn(|| book.submit_all(sent));
        book.until_parked(2);
        assert_eq!(book.balance("bob"), "9.00", "the others were carried out");
        book.release("wallet/alice", &lease.token).unwrap();
        let answers = waiting.join().unwrap();
        assert_eq!(names(&answers), ["ok", "ok", "ok", "idempotency_key_reused", "ok"]);
        assert_eq!(
            answers.iter().map(|answer| answer.replayed).collect::<Vec<_>>(),
            [false, false, true, false, false]
        );
    });
    assert_eq!((book.balance("alice"), book.balance("bob")), ("7.00".to_owned(), "9.00".to_owned()));
    assert_eq!(book.stats().taken_back.load(Relaxed), 0);
    book.assert_sound();
}

#[test]
fn full_disk_in_plain_batch_leaves_all_or_nothing() {
    for room in 0..14 {
        let mut book = check("recharge alice 1000 |");
        let pages = u32::try_from(book.number("SELECT page_count FROM pragma_page_count()")).unwrap();
        book.close();
        book.options.max_pages = Some(pages + room);
        book.open();
        let sent = all((0..120).map(|_| withdraw("alice", "1")).collect());
        let answers = book.submit_all(sent.clone());
        let done = answers.iter().filter(|answer| answer.result.is_ok()).count();
        assert!(answers.iter().all(|a| a.result.is_ok() || name(&a.result) == ErrorName::StorageFull), "{answers:?}");
        assert_eq!(book.balance("alice"), format!("{}.00", 1_000 - done));
        book.assert_sound();
        book.close();
        book.options.max_pages = None;
        book.open();
        assert!(book.submit_all(sent).iter().all(|answer| answer.result.is_ok()));
        assert_eq!(book.balance("alice"), "880.00", "each key has its one effect");
        book.assert_sound();
    }
}

#[test]
fn broken_reference_at_commit_is_a_definite_no() {
    let book = check("recharge alice 10 |");
    let raw = book.raw();
    raw.execute_batch(
        "CREATE TABLE mine (wallet TEXT REFERENCES wallet (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER break_it AFTER INSERT ON entry WHEN NEW.reference = 'break' BEGIN INSERT INTO mine VALUES ('eve'); END",
    )
    .unwrap();
    let broken = cashbox::internals::ledger::verbs::Withdraw {
        user: user_id("alice"),
        amount: money("1"),
        note: Note::new(Some("break".to_owned()), Default::default()).unwrap(),
    };
    let refused = book.submit(keyed("k"), Command::from(broken.clone()));
    assert_eq!(name(&refused.result), ErrorName::Internal);
    assert!(!book.stats().outcome_unknown.load(Relaxed), "it is known that nothing was done");
    assert_eq!(book.balance("alice"), "10.00");
    raw.execute_batch("DROP TRIGGER break_it; DROP TABLE mine").unwrap();
    assert!(!book.submit(keyed("k"), Command::from(broken)).replayed);
    assert_eq!(book.balance("alice"), "9.00");
    book.assert_sound();
}

#[test]
fn write_of_system_wallet_agrees_with_its_entries() {
    let book = check("recharge alice 10 |\n recharge bob 10 |\n transfer alice bob 1 |");
    let raw = book.raw();
    let withdraw = |from: &str| {
        format!(
            "INSERT INTO entry SELECT max(id) + 1, 9e15, 'withdraw', '{from}', '@bank', 100, \
             (SELECT balance - 100 FROM wallet WHERE id = '{from}'), \
             (SELECT to_balance FROM entry WHERE to_wallet = '@bank' ORDER BY id DESC LIMIT 1) + 100, \
             'eve', NULL, NULL, NULL, NULL, NULL, NULL, NULL, zeroblob(32), NULL, NULL, NULL FROM entry; \
             UPDATE wallet SET balance = balance - 100, entries = entries + 1 WHERE id = '{from}';"
        )
    };
    check_on(&book, "withdraw alice 1 |");
    raw.execute_batch(&format!("BEGIN; {} {}", withdraw("alice"), withdraw("bob"))).unwrap();
    let newest = "(SELECT max(id) FROM entry)";
    for wrong in [
        format!("balance = balance + 100, entries = entries + 2, newest = {newest}"),
        format!("balance = balance + 200, entries = entries + 1, newest = {newest}"),
        format!("balance = balance + 200, entries = entries + 2, newest = {newest} - 1"),
        "balance = balance + 200, entries = entries + 2".to_owned(),
        format!("balance = balance + 100, entries = entries + 1, newest = {newest} - 1"),
        format!("newest = {newest}"),
    ] {
        let refused = raw.execute_batch(&format!("UPDATE wallet SET {wrong} WHERE id = '@bank'")).expect_err(&wrong);
        assert!(refused.to_string().contains("a balance changes only as"), "{wrong}: {refused}");
    }
    let right = format!(
        "UPDATE wallet SET balance = balance + 200, entries = entries + 2, newest = {newest} WHERE id = '@bank'"
    );
    raw.execute_batch(&right).unwrap();
    raw.execute_batch(&format!("UPDATE wallet SET newest = {newest} WHERE id = '@sales'")).expect("it moved nothing");
    raw.execute_batch("ROLLBACK").unwrap();
    check_on(&book, "withdraw bob 1 | balance 10.00");
    book.assert_sound();
}

#[test]
fn idle_system_wallet_is_written_now_and_then() {
    let book = check("recharge alice 1000 |\n recharge bob 1 |");
    let transfers =
        |count| book.submit_all((0..count).map(|_| (Envelope::local(), transfer("alice", "bob", "0.01"))).collect());
    for _ in 0..9 {
        assert!(transfers(250).iter().all(|answer| answer.result.is_ok()));
    }
    let behind =
        book.number("SELECT (SELECT max(id) FROM entry) - min(newest) FROM wallet WHERE id >= '@' AND id < 'A'");
    assert!(behind < 1_024 + 256, "the trigger would read {behind} entries");
    check_on(&book, "pay alice 1 |");
    book.assert_sound();
}
