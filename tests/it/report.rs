//! `GET /v1/report`: against a plain sum over the entries, in every kind of period; and what it refuses.

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::clock::{parse_rfc3339, rfc3339};
use cashbox::internals::http::{App, Settings};
use cashbox::internals::ledger::entry::{Entry, EntryKind};
use cashbox::internals::ledger::query::{Filter, entries};
use cashbox::internals::store::{Envelope, Options, Store};
use serde_json::{Value, json};
use std::collections::HashMap;

const KINDS: [&str; 5] = ["recharge", "withdraw", "pay", "transfer", "refund"];

/// An HTTP server without a socket, over a file whose clock is moved by hand.
struct Local {
    app: App,
    options: Options,
    folder: tempfile::TempDir,
}

impl Local {
    fn new() -> Local {
        let folder = tempfile::tempdir().unwrap();
        let clock = cashbox::internals::clock::Clock::manual();
        let options = Options { clock, min_free: Some(0), accept_clock: true, ..Options::default() };
        let app = App::new(Store::open(&folder.path().join("cashbox.db"), &options).unwrap(), Settings::default());
        Local { app, options, folder }
    }

    fn reopen(self) -> Local {
        self.app.store().close();
        let store = Store::open(&self.folder.path().join("cashbox.db"), &self.options).unwrap();
        Local { app: App::new(store, Settings::default()), ..self }
    }

    fn get(&self, target: &str) -> (u16, Value) {
        let answer = self.app.answer_local("GET", target, &[], Vec::new());
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    #[track_caller]
    fn report(&self, query: &str) -> Value {
        let (status, body) = self.get(&format!("/v1/report?{query}"));
        assert_eq!(status, 200, "{query}: {body}");
        body
    }

    #[track_caller]
    fn refused(&self, query: &str) -> String {
        let (status, body) = self.get(&format!("/v1/report?{query}"));
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{query}: {body}");
        body["detail"].as_str().unwrap().to_owned()
    }

    fn entries(&self) -> Vec<Entry> {
        let filter = Filter { ascending: true, ..Filter::default() };
        self.app.store().read(|tx| entries(tx, &filter, None, 100_000)).unwrap().rows
    }

    fn assert_sound(&self) {
        let file = self.folder.path().join("cashbox.db");
        let report = cashbox::internals::store::audit::audit(&file, None, &mut |_, _| {}).unwrap();
        assert_eq!(report.findings, []);
    }
}

fn text(cents: i64) -> Value {
    json!(cashbox::internals::money::Cents(cents).to_string())
}

/// Checks every row of the report against the entries themselves.
#[track_caller]
fn compare(report: &Value, entries: &[Entry], wallet: Option<&str>) {
    let kind_of: HashMap<i64, EntryKind> = entries.iter().map(|entry| (entry.id.0, entry.kind)).collect();
    let moves = |entry: &&Entry| wallet.is_none_or(|own| [entry.from.as_str(), entry.to.as_str()].contains(&own));
    let balance = |is_own: &dyn Fn(&str) -> bool, until: i64| -> i64 {
        let before = entries.iter().filter(|entry| entry.at < until);
        let change = |entry: &Entry| {
            let cents = entry.amount.cents();
            i64::from(is_own(entry.to.as_str())) * cents - i64::from(is_own(entry.from.as_str())) * cents
        };
        before.map(change).sum()
    };
    let rows = report["data"].as_array().unwrap();
    let time = |row: &Value, name: &str| parse_rfc3339(row[name].as_str().unwrap()).unwrap();
    for row in rows.iter().chain([report].map(|whole| whole)) {
        let (since, until) = (time(row, "since"), time(row, "until"));
        let own: Vec<&Entry> =
            entries.iter().filter(|entry| (since..until).contains(&entry.at)).filter(moves).collect();
        let sums = if row == report { &row["total"] } else { row };
        for kind in KINDS {
            let of_kind = || own.iter().filter(|entry| entry.kind.as_str() == kind);
            assert_eq!(sums["count"][kind], of_kind().count(), "{kind} in {row}");
            assert_eq!(sums[kind], text(of_kind().map(|entry| entry.amount.cents()).sum()), "{kind} in {row}");
        }
        let discount = own.iter().map(|entry| entry.discount.map_or(0, |discount| discount.0)).sum();
        let refunded = |entry: &&&Entry| entry.refunds.is_some_and(|original| kind_of[&original.0] == EntryKind::Pay);
        let pay_refunded: i64 = own.iter().filter(refunded).map(|entry| entry.amount.cents()).sum();
        let paid: i64 = own.iter().filter(|entry| entry.kind == EntryKind::Pay).map(|entry| entry.amount.cents()).sum();
        assert_eq!(sums["discount"], text(discount), "{row}");
        assert_eq!(sums["pay_refunded"], text(pay_refunded), "{row}");
        assert_eq!(sums["takings"], text(paid - pay_refunded), "{row}");
        for (name, at) in [("opening", since), ("closing", until)] {
            match wallet {
                Some(wallet) => assert_eq!(row[name]["balance"], text(balance(&|id| id == wallet, at)), "{row}"),
                None => {
                    assert_eq!(row[name]["users"], text(balance(&|id| !id.starts_with('@'), at)), "{name}: {row}");
                    assert_eq!(row[name]["sales"], text(balance(&|id| id == "@sales", at)), "{name}: {row}");
                    assert_eq!(row[name]["holds"], "0.00");
                }
            }
        }
    }
    assert!(
        rows.windows(2).all(|pair| pair[0]["until"] == pair[1]["since"] && pair[0]["closing"] == pair[1]["opening"])
    );
    assert_eq!((&rows[0]["since"], &rows[rows.len() - 1]["until"]), (&report["since"], &report["until"]));
}

#[test]
fn report_is_sum_over_entries() {
    for mut dice in Dice::runs(0..6) {
        let mut local = Local::new();
        for _ in 0..120 {
            match dice.below(12) {
                0 => local.options.clock.advance_ms(dice.below(40 * 86_400_000) as i64),
                1 => local.options.clock.step_wall_ms(-(dice.below(7_200_000) as i64)),
                2 => local = local.reopen(),
                _ => local.options.clock.advance_ms(dice.below(3_600_000) as i64),
            }
            let commands = (0..1 + dice.below(4)).map(|_| {
                let (user, other) = (*dice.pick(&["ann", "ben", "cat"]), *dice.pick(&["ann", "ben", "cat"]));
                let amount = format!("{}.{:02}", 1 + dice.below(600), dice.below(100));
                let entries = local.entries();
                let coupon = dice
                    .pick(
                        &entries
                            .iter()
                            .map(|entry| entry.coupon.clone())
                            .collect::<Vec<_>>()
                            .into_iter()
                            .chain([None])
                            .collect::<Vec<_>>(),
                    )
                    .clone();
                let command = match dice.below(6) {
                    0 | 1 => recharge(user, &amount),
                    2 => withdraw(user, &amount),
                    3 => pay(user, &amount, coupon.as_ref()),
                    4 if user != other => transfer(user, other, &amount),
                    _ => refund(1 + dice.below(entries.len().max(1)) as i64, None),
                };
                (Envelope::local(), command)
            });
            let commands: Vec<_> = commands.collect();
            local.app.store().submit_all(commands);
        }
        let entries = local.entries();
        let (first, last) = (rfc3339(entries[0].at), rfc3339(entries[entries.len() - 1].at));
        let span = format!("since={first}&until={last}");
        for query in ["by=month", "by=month&tz=%2B05:45", "by=day", "by=day&tz=-09:30"] {
            let (status, report) = local.get(&format!("/v1/report?{span}&{query}"));
            if status == 200 {
                compare(&report, &entries, None);
            } else {
                assert!(
                    query.contains("day") && report["detail"].as_str().unwrap().contains("1000 periods"),
                    "{report}"
                );
            }
        }
        for wallet in ["ann", "@sales", "@bank"] {
            compare(&local.report(&format!("{span}&by=month&wallet={wallet}")), &entries, Some(wallet));
        }
        let at = parse_rfc3339(&rfc3339(dice.pick(&entries).at)).unwrap();
        let near = format!("since={}&until={}", rfc3339(at - 40_000_000), rfc3339(at + 40_000_000));
        compare(&local.report(&format!("{near}&by=hour&tz=%2B08:00")), &entries, None);
        compare(&local.report(&format!("{near}&by=hour&wallet=ben")), &entries, Some("ben"));
        let mut bounds: Vec<i64> = (0..20).map(|_| (at / 900_000 + dice.below(400) as i64 - 200) * 900_000).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let bounds: Vec<String> = bounds.into_iter().map(rfc3339).collect();
        compare(&local.report(&format!("bounds={}", bounds.join(","))), &entries, None);
        compare(&local.report(&format!("bounds={}&wallet=cat", bounds.join(","))), &entries, Some("cat"));
        local.assert_sound();
        let local = local.reopen();
        compare(&local.report(&format!("{span}&by=month")), &entries, None);
    }
}

#[test]
fn wallet_as_of_is_count_over_entries() {
    for mut dice in Dice::runs(0..8) {
        let local = Local::new();
        let has_payouts = dice.below(4) > 0; // without them and refunds the totals of the report are enough
        for _ in 0..150 {
            if dice.below(4) == 0 {
                local.options.clock.advance_ms(dice.below(2_000_000) as i64);
            }
            let (user, other) = (*dice.pick(&["ann", "ben"]), *dice.pick(&["ann", "ben"]));
            let amount = format!("{}.00", 1 + dice.below(300));
            let any = 1 + dice.below(local.entries().len().max(1)) as i64;
            let command = match dice.below(10) {
                0..3 => recharge(user, &amount),
                3 => withdraw(user, &amount),
                4 => pay(user, &amount, None),
                5 if user != other => transfer(user, other, &amount),
                6 => hold(user, &amount, 600),
                7 => capture(any, None, true),
                8 if has_payouts => transfer("@sales", "@bank", &amount),
                _ if has_payouts => refund(any, None),
                _ => pay(user, "1.00", None),
            };
            local.app.store().submit_all(vec![(Envelope::local(), command)]);
        }
        let entries = local.entries();
        let times = entries.iter().flat_map(|entry| [entry.at - 1, entry.at]).chain([0, i64::MAX / 2_000_000]);
        for at in times {
            for wallet in ["ann", "@sales", "@holds", "@bank"] {
                let own: Vec<&Entry> = entries
                    .iter()
                    .filter(|entry| entry.at <= at && [entry.from.as_str(), entry.to.as_str()].contains(&wallet))
                    .collect();
                let balance = own.last().map_or(0, |entry| {
                    let balance = if entry.to.as_str() == wallet { entry.to_balance } else { entry.from_balance };
                    balance.cents()
                });
                let (status, then) = local.get(&format!("/v1/wallets/{wallet}?as_of={}", rfc3339(at)));
                let found = (status, &then["balance"], &then["entries"]);
                assert_eq!(found, (200, &text(balance), &json!(own.len())), "{wallet} as of {at}");
            }
        }
        local.assert_sound();
    }
}

#[test]
fn report_widens_to_whole_periods_of_its_zone() {
    let local = Local::new(); // 2026-01-01T00:00:00Z
    local.app.store().submit(Envelope::local(), recharge("ann", "5")).result.unwrap();
    let ends = |query: &str| {
        let report = local.report(query);
        let rows = report["data"].as_array().unwrap().len();
        (report["since"].as_str().unwrap().to_owned(), report["until"].as_str().unwrap().to_owned(), rows)
    };
    let expected = |since: &str, until: &str, rows| (format!("{since}:00.000Z"), format!("{until}:00.000Z"), rows);
    assert_eq!(ends(""), expected("2026-01-01T00:00", "2026-01-02T00:00", 1), "today");
    assert_eq!(ends("tz=-00:15"), expected("2025-12-31T00:15", "2026-01-01T00:15", 1));
    assert_eq!(ends("by=month&tz=%2B08:00"), expected("2025-12-31T16:00", "2026-01-31T16:00", 1));
    assert_eq!(ends("by=month&tz=-08:00"), expected("2025-12-01T08:00", "2026-01-01T08:00", 1));
    assert_eq!(ends("since=2026-02-28&until=2026-02-28"), expected("2026-02-28T00:00", "2026-03-01T00:00", 1));
    assert_eq!(ends("since=2024-02-10&until=2024-03-01&by=month"), expected("2024-02-01T00:00", "2024-04-01T00:00", 2));
    let hours = "since=2026-01-01T10:59:59.999Z&until=2026-01-01T11:00:00Z&by=hour";
    assert_eq!(ends(hours), expected("2026-01-01T10:00", "2026-01-01T12:00", 2));
    assert_eq!(ends("until=2026-01-05&by=day"), expected("2026-01-05T00:00", "2026-01-06T00:00", 1));
    assert_eq!(ends("since=1969-12-31&until=1970-01-01&by=day"), expected("1969-12-31T00:00", "1970-01-02T00:00", 2));
    let report = local.report("tz=%2B08:00");
    assert_eq!(
        (&report["tz"], &report["by"], &report["total"]["recharge"]),
        (&json!("+08:00"), &json!("day"), &json!("5.00"))
    );
    assert_eq!(local.report("since=9998-12-01&until=9999-11-30&by=month")["data"].as_array().unwrap().len(), 12);
    assert_eq!(local.report("since=1943-01-01&by=month")["data"].as_array().unwrap().len(), 997);
}

#[test]
fn report_refuses_what_it_cannot_sum() {
    let local = Local::new();
    local.app.store().submit(Envelope::local(), recharge("ann", "5")).result.unwrap();
    let many = vec!["2026-01-01T00:00:00Z"; 401].join(",");
    for (query, why) in [
        ("since=0000-01-01&until=9999-11-30", "1000 periods"),
        ("since=0000-01-01&until=9999-11-30&by=month", "1000 periods"),
        ("since=2026-01-01&until=2026-03-01&by=hour", "1000 periods"),
        ("since=9999-12-31&until=9999-12-31", "year 10000"),
        ("by=week", "by is hour"),
        ("by=", "by is hour"),
        ("tz=Europe/Paris", "offset"),
        ("tz=+08:00", "%2B"),
        ("tz=%2B08:07", "quarters"),
        ("since=2026-02-01&until=2026-01-01", "after until"),
        ("since=yesterday", "a time such as"),
        ("bounds=2026-01-01T00:00:00Z", "2 to 400"),
        ("bounds=", "a time such as"),
        ("bounds=2026-01-01T00:00:00Z,2026-01-01T00:00:00Z", "rising"),
        ("bounds=2026-01-02T00:00:00Z,2026-01-01T00:00:00Z", "rising"),
        ("bounds=2026-01-01T00:00:00Z,2026-01-01T00:10:00Z", "quarters"),
        ("bounds=2026-01-01T00:00:00Z,2026-01-01T00:15:00.001Z", "quarters"),
        ("bounds=2026-01-01T00:00:00Z,2026-01-02T00:00:00Z&by=day", "leave by out"),
        ("bounds=2026-01-01T00:00:00Z,2026-01-02T00:00:00Z&tz=Z", "leave tz out"),
        (&format!("bounds={many}"), "2 to 400"),
        ("limit=5", "no field"),
    ] {
        let detail = local.refused(query);
        assert!(detail.contains(why), "{query}: {detail}");
    }
    assert_eq!(local.get("/v1/report?wallet=ghost").0, 404);
    assert_eq!(local.get("/v1/report?wallet=a/b").0, 400);
}

#[test]
fn total_beyond_64_bits_is_kept_exactly() {
    let mut book = check("recharge alice 10 | balance 10.00");
    book.close();
    let sum = i128::from(i64::MAX) * 1_000;
    book.raw().execute("UPDATE report_total SET sum = $1 WHERE what = 'recharge'", [sum.to_string()]).unwrap();
    book.open();
    book.must(recharge("alice", "1.00"));
    let kept: String =
        book.raw().query_row("SELECT sum FROM report_total WHERE what = 'recharge'", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, (sum + 100).to_string());
    let found = book.findings();
    assert!(found.len() == 1 && found[0].starts_with("the report's totals are those of the entries: "), "{found:?}");
}

#[test]
fn totals_are_written_once_in_a_commit() {
    let mut book = check("recharge alice 100 | coupon 3");
    let before = book.number("SELECT count(*) FROM report_total");
    let refused = (Envelope::local(), withdraw("alice", "1000"));
    let mut sent: Vec<_> = (0..10).map(|_| (Envelope::local(), withdraw("alice", "1"))).collect();
    sent.insert(5, refused);
    book.submit_all(sent);
    assert_eq!(book.number("SELECT count(*) FROM report_total"), before + 1, "a total of withdrawals came");
    assert_eq!(book.number("SELECT count FROM report_total WHERE what = 'withdraw'"), 10);
    book.assert_sound();
    book.advance(900_000);
    book.must(withdraw("alice", "1"));
    let all = "SELECT count(*) FROM report_total WHERE quarter = (SELECT max(quarter) FROM report_total)";
    assert_eq!(book.number(all), before + 1, "a new quarter of an hour has all totals");
    book.reopen();
    book.must(refund(2, None));
    book.assert_sound();
}
