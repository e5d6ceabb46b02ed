//! Tests of what only the command line's own modules can see.

use super::api_call::{ApiCall, WaitField};
use super::batch::{PART_BYTES_MAX, grouped, parts};
use super::bench::bench_target;
use super::input::{self, ChangeOptions};
use super::lab::lab_ms;
use super::output::{Exit, block, refusal_text, text};
use super::screen::{width, wrapped};
use super::table::{Cells, Column, cut, fitted, free_texts, numbers, table, words};
use super::target::check_url;
use super::temp_folder::{LOCK, MEMORY, TempFolder};
use super::*;
use crate::http::conn::reachable;
use clap::CommandFactory;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

const NO_OPTIONS: ChangeOptions = ChangeOptions { key: None, wait: None, lock_token: Vec::new() };

#[test]
fn command_line_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// Each page of the manual and each script is made of the definition, which has a text for each argument.
#[test]
fn every_command_and_option_has_help() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
        }
        command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn common_options_before_or_after_arguments_are_taken() {
    for line in ["cashbox --db a.db --json wallet alice", "cashbox wallet --json alice --db a.db"] {
        let common = parse(line).unwrap().common;
        assert_eq!((common.db, common.json), (Some("a.db".into()), true), "{line}");
    }
}

#[test]
fn lone_dash_and_negative_number_are_arguments() {
    // A negative amount is refused later, with the reason.
    assert!(parse("cashbox recharge - -").is_ok());
    assert!(parse("cashbox recharge alice -5").is_ok());
    assert!(parse("cashbox recharge alice -x").is_err());
}

#[test]
fn wrong_command_lines_exit_with_2() {
    for line in ["cashbox", "cashbox recharge alice", "cashbox wallet a b", "cashbox serve --log xml", "cashbox token"]
    {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn status_decides_exit_code() {
    let nothing = json!({});
    let exits = [201, 400, 402, 423, 503].map(|status| Exit::of(status, &nothing) as u8);
    assert_eq!(exits, [0, 2, 1, 1, 3]);
    assert_eq!(Exit::of(500, &nothing), Exit::Unreachable);
    assert_eq!(Exit::of(500, &json!({ "error": "outcome_unknown" })), Exit::Doubt);
    assert_eq!(Exit::of(500, &json!({ "error": "damaged" })), Exit::Damage);
}

#[test]
fn batch_exit_code_is_that_of_its_worst_item() {
    let batch =
        |codes: &[u16]| json!({ "results": codes.iter().map(|code| json!({ "code": code })).collect::<Vec<_>>() });
    assert_eq!(Exit::of(200, &batch(&[])), Exit::Done);
    assert_eq!(Exit::of(200, &batch(&[200, 402, 200])), Exit::Refused);
}

#[test]
fn path_segment_with_reserved_characters_is_encoded() {
    let call =
        ApiCall::get(&["v1", "wallets", "a/../b?c=d"]).query("kind", Some("pay&x=1")).query("since", None::<&str>);
    assert_eq!(call.uri, "/v1/wallets/a%2F..%2Fb%3Fc%3Dd?kind=pay%26x%3D1");
}

#[test]
fn wait_stands_where_the_route_looks_for_it() {
    let wait = Duration::from_millis(1_500);
    let acquire = ApiCall::lock("POST", &["v1", "locks", "a/b"], Some(json!({ "ttl_ms": 5, "holder": null })), None);
    let acquire = acquire.waiting(wait, WaitField::Body).with_wait(wait);
    assert_eq!(acquire.uri, "/v1/locks/a%2Fb");
    assert_eq!(String::from_utf8(acquire.body).unwrap(), r#"{"ttl_ms":5,"wait_ms":1500}"#);
    let watch = ApiCall::get(&["v1", "locks", "a"]).query("fence", Some(7)).waiting(wait, WaitField::Query);
    assert_eq!(watch.with_wait(Duration::ZERO).uri, "/v1/locks/a?fence=7&wait_ms=0");
    let money = ApiCall::post(&["v1"], json!({}), &NO_OPTIONS).with_wait(wait);
    assert_eq!(
        money.headers.last().unwrap(),
        &("Prefer", "wait=2".to_owned()),
        "rounded up: the header has whole seconds"
    );
}

#[test]
fn change_without_key_gets_a_random_one() {
    let key = || ApiCall::post(&["v1"], json!({}), &NO_OPTIONS).headers[0].clone();
    assert_eq!(key().0, "Idempotency-Key");
    assert_ne!(key(), key());
    let given = ChangeOptions { key: Some("mine".to_owned()), ..NO_OPTIONS };
    assert_eq!(ApiCall::delete(&["v1"], &given).headers[0].1, "mine");
}

#[test]
fn duration_in_each_form_is_taken() {
    let parse = input::milliseconds("0s", "36525d");
    for (text, ms) in [
        ("0", 0),
        ("5", 5_000),
        ("5s", 5_000),
        ("500ms", 500),
        ("1h30m", 5_400_000),
        ("90m", 5_400_000),
        ("24h", 86_400_000),
        ("2d", 172_800_000),
        ("1d12h", 129_600_000),
        ("4w", 2_419_200_000),
    ] {
        assert_eq!(parse(text), Ok(ms), "{text}");
    }
}

#[test]
fn malformed_duration_is_refused_with_the_forms() {
    let parse = input::duration("0s", "1d");
    for wrong in [
        "",
        "s",
        "1.5s",
        "-1s",
        "+1s",
        "10S",
        "10 s",
        "5x",
        "1mo",
        "1y",
        "5us",
        "5s ago",
        "PT5S",
        "3年",
        "٣s",
        "forever",
        "9223372036854775807h",
        "99999999999999999999",
    ] {
        let message = parse(wrong).expect_err(wrong);
        assert_eq!(
            message, "a duration is written as 5 (seconds), 5s, 500ms, 1h30m or 2d; this option takes 0s to 1d",
            "{wrong}"
        );
    }
}

#[test]
fn duration_outside_its_range_is_refused_with_the_range() {
    let parse = input::duration("1ms", "1d");
    assert!(parse("1ms").is_ok() && parse("1d").is_ok());
    for wrong in ["0s", "0", "25h", "86401", "100w"] {
        assert_eq!(parse(wrong).unwrap_err(), "this option takes 1ms to 1d", "{wrong}");
    }
}

#[test]
fn fraction_of_a_second_in_whole_seconds_is_refused() {
    let parse = input::seconds("1s", "36525d");
    assert_eq!(parse("30d"), Ok(2_592_000));
    assert_eq!(parse("1500ms").unwrap_err(), "this option takes whole seconds, 1s to 36525d");
}

#[test]
fn json_argument_is_taken_as_it_is() {
    assert_eq!(input::json(" [1]").unwrap(), json!([1]));
    assert!(input::json("[1").is_err());
    assert!(input::json("no-such-file").is_err());
}

#[test]
fn table_with_empty_column_leaves_it_out() {
    let rows = [
        json!({ "user_id": "alice", "balance": "120.00", "note": null }),
        json!({ "user_id": "李雷", "balance": "7.50", "note": null }),
    ];
    let columns = [words("USER", "user_id"), numbers("BALANCE", "balance"), words("NOTE", "note")];
    assert_eq!(table(&rows, &columns, ""), "USER   BALANCE\nalice   120.00\n李雷      7.50");
    assert_eq!(table(&[], &columns, "no wallets yet"), "no wallets yet");
}

#[test]
fn block_shows_fields_that_have_a_value() {
    let coupon = json!({ "code": "7K2Q", "amount_off": "50.00", "threshold": "300.00", "single_use": true });
    let body = json!({ "code": 200, "msg": "recharged", "balance": "300.00", "coupon": coupon, "entry": { "id": 1 } });
    let shown = block(&body, &["balance", "gross", "coupon", "entry"]);
    assert_eq!(shown, "recharged\n  balance  300.00\n  coupon   7K2Q  50.00 off from 300.00, once\n  entry    1");
}

#[test]
fn control_characters_in_text_are_escaped() {
    assert_eq!(text(&json!("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\n");
}

#[test]
fn refusal_is_one_line() {
    let refusal = json!({ "msg": "insufficient funds", "detail": "3.00 of 5.00" });
    assert_eq!(refusal_text(&refusal), "insufficient funds: 3.00 of 5.00");
    assert_eq!(refusal_text(&json!({ "msg": "nothing" })), "nothing");
}

#[test]
fn unspecified_address_is_reached_on_loopback() {
    assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
    assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
    assert_eq!(reachable("10.0.0.7:80".parse().unwrap()).to_string(), "10.0.0.7:80");
}

#[test]
fn listen_address_without_port_is_refused() {
    let parsed = |address| parse(&format!("cashbox serve --listen {address}"));
    assert!(parsed("127.0.0.1:0").is_ok());
    assert!(parsed("127.0.0.1").is_err());
}

#[test]
fn bench_url_leads_to_one_server() {
    let to = |url| bench_target(url, None).map(|target| target.address.to_string()).ok();
    assert_eq!(to("http://127.0.0.1:8866").as_deref(), Some("127.0.0.1:8866"));
    assert_eq!(to("http://127.0.0.1").as_deref(), Some("127.0.0.1:80"));
    assert_eq!(to("http://[::1]:99/behind/a/proxy").as_deref(), Some("[::1]:99"));
    for wrong in ["http://", "http://a b", "http://127.0.0.1:1/?q=1", "http://me@127.0.0.1", "http://127.0.0.1:x"] {
        assert_eq!(to(wrong), None, "{wrong}");
    }
}

#[test]
fn url_that_can_be_read_in_two_ways_is_refused() {
    for good in
        ["http://127.0.0.1:8866", "http://localhost", "http://[::1]:99/behind/a/proxy/", "http://my-host.lan:65535"]
    {
        assert_eq!(check_url(good), Ok(()), "{good}");
    }
    let wrong = "http:// http://127.0.0.1:88660 http://h:0 http://h: http://h:x http://h:+80 http://h:80:80 http://h?q \
                 http://h/?q=1 http://h/#f http://h:80#f http://me@h http://h:80@evil http://[::1 http://[::1]80 \
                 http://[h]:80 http://:80 http://h\\@evil http://h/ü https:// https://h:0 https://me@h h:80 nonsense";
    for wrong in wrong.split(' ') {
        assert!(check_url(wrong).is_err(), "{wrong}");
    }
    assert_eq!(check_url("https://h/wallets/").is_ok(), cfg!(feature = "tls"));
}

#[test]
fn hidden_characters_are_shown_by_number() {
    for (hidden, shown) in [
        ("job\u{202e}", "job\\u{202e}"),
        ("a\u{200b}b\u{ad}", "a\\u{200b}b\\u{ad}"),
        ("\u{feff}\u{7}", "\\u{feff}\\u{7}"),
    ] {
        assert_eq!(text(&json!(hidden)), shown);
    }
    assert_eq!(text(&json!("钱包 é")), "钱包 é");
}

#[test]
fn path_of_bench_url_begins_every_request() {
    let target = bench_target("http://127.0.0.1:1/wallets/", Some("cbx_x")).unwrap();
    let request = String::from_utf8(target.caller.request("GET", "/v1/verify", "", "")).unwrap();
    assert!(request.starts_with("GET /wallets/v1/verify HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{request}");
}

fn count_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn temp_folder_is_private_and_removed_when_dropped() {
    let place = tempfile::tempdir().unwrap();
    let folder = TempFolder::new_in(place.path(), MEMORY).unwrap();
    fs::write(folder.database(), "money").unwrap();
    assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
    drop(folder);
    assert_eq!(count_in(place.path()), 0);
}

#[test]
fn new_temp_folder_removes_only_those_of_dead_processes() {
    let place = tempfile::tempdir().unwrap();
    let living = TempFolder::new_in(place.path(), MEMORY).unwrap();
    let dead = place.path().join(format!("{MEMORY}0123456789abcdef"));
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join(LOCK), "").unwrap();
    let unknown = place.path().join(format!("{MEMORY}without-a-lock"));
    fs::create_dir(&unknown).unwrap();
    let _second = TempFolder::new_in(place.path(), MEMORY).unwrap();
    assert!(!dead.exists() && living.path().exists() && unknown.exists());
    assert_eq!(count_in(place.path()), 3);
}

#[test]
fn lab_milliseconds_have_a_decimal_below_ten() {
    assert_eq!([0, 2_149, 9_999, 12_345].map(lab_ms), ["0.0", "2.1", "9.9", "12"]);
}

#[test]
fn parts_hold_all_items_in_order() {
    let items: Vec<String> = (0..2_500).map(|number| number.to_string()).collect();
    let all = parts(&items);
    assert_eq!(all.iter().map(|part| part.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert_eq!(all.concat(), items);
    let long = "x".repeat(PART_BYTES_MAX / 2);
    assert_eq!(parts(&[long.clone(), long.clone(), long]).len(), 3);
}

#[test]
fn number_is_grouped_by_thousands() {
    assert_eq!([0, 7, 999, 1_000, 9_998, 1_234_567].map(grouped), ["0", "7", "999", "1,000", "9,998", "1,234,567"]);
}

/// A history of two entries at a terminal of that width.
fn history(most: usize) -> String {
    let row = |id: i64, reference: &str| json!({ "id": id, "at": "2019-01-31 12:00:00", "amount": "250.00", "reference": reference });
    let rows = [row(10, "a reference that is longer than most of them are"), row(9, "short")];
    let columns = [
        numbers("ENTRY", "id"),
        words("TIME", "at"),
        numbers("AMOUNT", "amount"),
        free_texts("REFERENCE", "reference"),
    ];
    let column = |column: &Column| {
        let cells = rows.iter().map(|row| text(&row[column.field]));
        Cells::new(std::iter::once(column.head.to_owned()).chain(cells).collect(), column.form)
    };
    fitted(columns.iter().map(column).collect(), Some(most), "…")
}

#[test]
fn table_fits_terminal() {
    for most in 10..120 {
        let table = history(most);
        let widest = table.lines().map(width).max().unwrap();
        assert!(widest <= most.max(30), "{most}: {widest}\n{table}");
    }
    assert_eq!(
        history(60),
        "ENTRY  TIME                 AMOUNT  REFERENCE\n   10  2019-01-31 12:00:00  250.00  a reference that is lon…\n    \
         9  2019-01-31 12:00:00  250.00  short"
    );
    assert_eq!(
        history(36).lines().take(5).collect::<Vec<_>>(),
        [
            "ENTRY      10",
            "TIME       2019-01-31 12:00:00",
            "AMOUNT     250.00",
            "REFERENCE  a reference that is long…",
            ""
        ]
    );
}

#[test]
fn wide_characters_are_cut_whole() {
    assert_eq!(cut("支付成功了吗", 7, "…"), "支付成…");
    assert_eq!(cut("支付", 4, "…"), "支付");
}

#[test]
fn long_value_is_broken_at_spaces() {
    assert_eq!(wrapped("one two three", None), "one two three");
    assert_eq!(wrapped("one two three", Some(8)), "one two\nthree");
    assert_eq!(wrapped("one two three", Some(3)), "one\ntwo\nthree", "a longer word stays whole");
    assert_eq!(wrapped("cbx_0123456789 陈陈陈 b", Some(8)), "cbx_0123456789\n陈陈陈 b");
    assert_eq!(wrapped("", Some(0)), "");
}
