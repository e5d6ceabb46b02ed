//! Input as editors, spreadsheets and people write it: byte order marks, blank lines, many operations, dates, formulas.

use crate::shell::Place;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn byte_order_mark_is_skipped_everywhere() {
    let place = Place::new();
    let mark = "\u{feff}";
    let line = r#"{"op":"recharge","user":"alice","amount":"1"}"#;
    for (text, count) in [(format!("{mark}{line}\n{line}\n"), 2), (format!("{mark}[{line}]"), 1)] {
        let done = place.run_with_input("batch", &text);
        assert_eq!(
            (done.exit, done.err.lines().last().unwrap()),
            (0, format!("{count} done").as_str()),
            "{}",
            done.err
        );
    }
    assert_eq!(place.run_with_input("wallet -", &format!("{mark}alice\n")).exit, 0);
    fs::write(place.path("marked"), place.run("export").out.replacen('{', &format!("{mark}{{"), 1) + "\n \n").unwrap();
    assert_eq!(place.run("import marked --db new.db").exit, 0);
    for table in ["wallets", "entries", "coupons"] {
        fs::write(place.path(table), mark.to_owned() + &place.run(&format!("export --csv {table}")).out).unwrap();
    }
    assert_eq!(place.run("import wallets entries coupons --db tables.db").exit, 0);
    fs::write(place.path("token"), format!("{mark}cbx_0123456789abcdef\r\n")).unwrap();
    let server = place.serve("--token-file token");
    let there = format!("--url {} --token-file token", server.url);
    assert_eq!(place.run(&format!("wallet alice {there}")).exit, 0);
    let sent = place.run_with_input(&format!("batch {there}"), &format!("{mark}{line}\n"));
    assert_eq!(sent.exit, 0, "{}", sent.err);
    server.stop();
}

#[test]
fn batch_of_any_size_is_sent_in_parts() {
    let place = Place::new();
    let mut lines = String::new();
    for number in 0..10_100 {
        let amount = if number == 10_050 { "99999" } else { "0.01" };
        let op = if number == 10_050 { "withdraw" } else { "recharge" };
        lines += &format!("{{\"op\":\"{op}\",\"user\":\"alice\",\"amount\":\"{amount}\"}}\n");
    }
    let server = place.serve("");
    let done = place.run_with_input("batch --key many", &lines);
    assert_eq!(done.exit, 1, "{}", done.err);
    assert_eq!(done.err, "10,099 done, 1 refused\n");
    assert_eq!(done.out.lines().count(), 2, "the refused one: {}", done.out);
    assert!(done.out.lines().last().unwrap().trim_start().starts_with("10050   402"), "{}", done.out);
    let again = place.run_with_input("batch --key many --json", &lines);
    assert_eq!(again.err, "10,099 done, 1 refused (answered before)\n");
    let all: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(all["results"].as_array().unwrap().len(), 10_100);
    assert_eq!(place.json("wallet alice")["balance"], "100.99", "once");
    let atomic = place.run_with_input("batch --atomic", &lines);
    assert_eq!(atomic.exit, 2);
    assert!(atomic.err.contains("at most 10000 items"), "{}", atomic.err);
    server.stop();
}

#[test]
fn dates_and_durations_ago_are_times() {
    let place = Place::new();
    place.run("recharge alice 5");
    let count = |options: &str| place.json(&format!("history {options}"))["data"].as_array().unwrap().len();
    for options in
        ["--since today", "--since yesterday", "--since 10m", "--until today", "--until now", "--since 2026-01-31"]
    {
        assert_eq!(count(options), 1, "{options}");
    }
    for options in
        ["--until yesterday", "--until 1h", "--until 2019-01-31", "--since 9999-01-01", "--until 2019-01-31T12:00"]
    {
        assert_eq!(count(options), 0, "{options}");
    }
    assert_eq!(place.json("wallet alice --as-of yesterday")["balance"], "0.00");
    assert_eq!(place.json("wallet alice --as-of today")["balance"], "5.00");
    for wrong in ["soon", "2026-13-01", "2026-02-30", "10x", "-5m"] {
        let output = place.run(&format!("history --since={wrong}"));
        assert_eq!(output.exit, 2, "{wrong}");
        assert!(output.err.contains("a time is written as"), "{}", output.err);
    }
}

#[test]
fn formula_in_csv_is_marked_and_import_undoes_it() {
    let place = Place::new();
    let formulas = ["=HYPERLINK(1)", "+1", "-1", "@SUM", "'=1", "＝1", "\n=1", "\t=1", "\r=1"];
    for reference in
        formulas.into_iter().chain(["'tis", "plain", "\u{1b}[2J", "\u{7}", "\u{9b}2J", "a\r\nb", " =1", "\u{feff}x"])
    {
        let output = place.start(&["recharge", "alice", "1", &format!("--reference={reference}")]).finish();
        assert_eq!(output.exit, 0, "{}", output.err);
    }
    for table in ["wallets", "entries", "coupons"] {
        fs::write(place.path(table), place.run(&format!("export --csv {table}")).out).unwrap();
    }
    let entries = fs::read_to_string(place.path("entries")).unwrap();
    for cell in [
        ",'=HYPERLINK(1),",
        ",'+1,",
        ",'-1,",
        ",'@SUM,",
        ",''=1,",
        ",'＝1,",
        ",\"'\n=1\",",
        ",'\t=1,",
        ",\"'\r=1\",",
        ",'tis,",
        ",plain,",
    ] {
        assert!(entries.contains(cell), "{cell}: {entries}");
    }
    assert!(entries.contains(",@bank,alice,"), "names cannot be formulas");
    let before = place.json("verify");
    assert_eq!(place.json("import wallets entries coupons --db new.db")["last_hash"], before["last_hash"]);
}

#[test]
fn words_for_what_was_done_before() {
    let place = Place::new();
    place.run("recharge alice 10 --key k");
    assert!(place.run("recharge alice 10 --key k").out.starts_with("recharged (answered before)\n"));
    place.run("withdraw alice 50 --key w");
    assert!(place.run("withdraw alice 50 --key w").err.ends_with("needs 50.00 (answered before)\n"));
    assert!(place.run("wallet ghost").err.contains("\"ghost\" has no wallet"));
    place.run("withdraw alice 2");
    place.run("refund 2 0.50");
    place.run("refund 2");
    let entry = place.run("entry 2").out;
    assert!(entry.contains("refunded by   3, 4\n"), "{entry}");
    assert!(!place.run("entry 1").out.contains("refunded by"));
}

#[test]
fn backup_and_restore_look_before_they_act() {
    let place = Place::new();
    place.run("recharge alice 10");
    for line in ["backup -", "restore -"] {
        let output = place.run(line);
        assert_eq!(output.exit, 2, "{line}");
        assert!(output.err.contains("and not a stream"), "{}", output.err);
    }
    let server = place.serve("");
    let missing = place.run("restore nofile");
    assert_eq!((missing.exit, missing.err.starts_with("cannot read nofile: ")), (3, true), "{}", missing.err);
    let log = server.stop();
    assert!(log.contains(&format!("info serving: {}", place.db().canonicalize().unwrap().display())), "{log}");
}

#[test]
fn port_with_digit_too_many_is_refused_and_nothing_sent() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    fs::write(place.path("tok"), "cbx_0123456789abcdef0123456789abcdef").unwrap();
    let bare = |rest: &str| format!("http://127.0.0.1:{port}{rest}");
    let beyond = format!("http://127.0.0.1:{}", u32::from(port) + 65_536); // that port, to a program that cuts it to 16 bits
    let urls = ["http://127.0.0.1:88660".to_owned(), beyond, bare("0000"), bare("?x=1"), bare("#x"), bare("/?x=1")];
    for url in urls {
        for line in ["wallets", "recharge alice 1"] {
            let output = place.run(&format!("{line} --token-file tok --url {url}"));
            assert_eq!(output.exit, 2, "{url}: {}", output.err);
            assert!(output.err.contains("is not a valid URL of a server"), "{url}: {}", output.err);
            assert!(!output.err.contains("cbx_"), "{url}: {}", output.err);
        }
    }
    assert!(listener.accept().is_err(), "nothing was sent");
}

#[test]
fn batch_of_csv_is_one_operation_per_row() {
    let place = Place::new();
    let table = "\u{feff}op,user,amount,to,entry,reference,metadata[shop],metadata[till],key\r\n\
                 recharge,alice,100,,,\"a, \"\"quoted\"\" one\",north,1,k-1\r\n\
                 transfer,alice,30.00,bob,,,,,\r\n\r\n\
                 withdraw,alice,500,,,,,,\r\n\
                 refund,,10,,2,'=x,,,\r\n\
                 ,,,,,,,,\r\n";
    fs::write(place.path("day.CSV"), table).unwrap();
    place.run("recharge bob 1");
    let done = place.run("batch day.CSV --key monday");
    assert_eq!((done.exit, &*done.err), (1, "3 done, 1 refused\n"), "{}", done.out);
    let entry = place.json("entry 2")["entry"].clone();
    assert_eq!((&entry["amount"], &entry["reference"]), (&"100.00".into(), &"a, \"quoted\" one".into()));
    assert_eq!(entry["metadata"], serde_json::json!({ "shop": "north", "till": "1" }));
    let again = place.run_with_input("batch --csv --key monday", table);
    assert_eq!(again.err, "3 done, 1 refused (answered before)\n");
    assert_eq!(place.json("wallet alice")["balance"], "60.00", "once");
    let quoted = "op,entry,metadata,reference\nrefund,3,\"{\"\"why\"\":\"\"wrong\"\"}\",'=x\n";
    assert_eq!(place.run_with_input("batch --csv", quoted).exit, 0);
    let entry = place.json("entry 5")["entry"].clone();
    assert_eq!((&entry["metadata"]["why"], &entry["reference"]), (&"wrong".into(), &"=x".into()));
}

#[test]
fn table_that_is_not_a_batch_is_refused_whole() {
    let place = Place::new();
    place.run("recharge alice 100");
    for (table, why) in [
        ("", "its first line has to name the columns"),
        ("user,amount\nalice,5\n", "its first line has to name the columns"),
        ("op;user;amount\nwithdraw;alice;5\n", "\"op;user;amount\" is not a field of an operation"),
        ("op,user,amount,note\nwithdraw,alice,5,\n", "\"note\" is not a field of an operation"),
        ("op,user,amount,amount\nwithdraw,alice,5,6\n", "two columns are called \"amount\""),
        ("op,user,amount\nwithdraw,alice,5\nwithdraw,alice\n", "line 3 has 2 cells, and the first line 3"),
        ("op,user,amount\nwithdraw,alice,1,50\n", "line 2 has 4 cells, and the first line 3"),
        ("op,user,amount,metadata\nwithdraw,alice,5,shop\n", "line 2: its metadata is not a JSON object"),
        (
            "op,user,amount,metadata,metadata[a]\nwithdraw,alice,5,\"{}\",1\nwithdraw,alice,5,[1],\n",
            "line 3: its metadata is not",
        ),
    ] {
        let refused = place.run_with_input("batch --csv", table);
        assert_eq!(refused.exit, 2, "{table}: {}", refused.out);
        let (begin, end) = ("this table is not a batch: ", "; nothing was sent\n");
        assert!(refused.err.starts_with(begin) && refused.err.ends_with(end), "{table}: {}", refused.err);
        assert!(refused.err.contains(why), "{table}: {}", refused.err);
    }
    assert_eq!(place.run("batch missing.csv").exit, 3);
    fs::write(place.path("latin.csv"), b"op,user\nrecharge,\xe9\n").unwrap();
    assert_eq!(place.run("batch latin.csv").exit, 3);
    assert_eq!(place.run_with_input("batch --csv", "op,user,amount\n").out, "nothing to do\n");
    assert_eq!(place.json("wallet alice")["balance"], "100.00");
}

#[test]
fn list_as_lines_goes_on_over_pages() {
    let place = Place::new();
    let items: String =
        (1..=1_205).map(|n| format!("{{\"op\":\"recharge\",\"user\":\"u{n}\",\"amount\":\"1\"}}\n")).collect();
    assert_eq!(place.run_with_input("batch", &items).exit, 0);
    let ids = |line: &str, field: &str| -> Vec<String> {
        let printed = place.run(line);
        assert_eq!(printed.exit, 0, "{line}: {}", printed.err);
        let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()[field].to_string();
        printed.out.lines().map(row).collect()
    };
    let numbers = |range: std::ops::RangeInclusive<u32>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(ids("history --order asc --ndjson --all", "id"), numbers(1..=1_205));
    assert_eq!(ids("history --order asc --ndjson", "id"), numbers(1..=50));
    assert_eq!(ids("history --order asc --ndjson --limit 7", "id"), numbers(1..=7));
    assert_eq!(ids("wallets --prefix u12 --ndjson", "user_id").len(), 17, "u12, u120 to u129, u1200 to u1205");
    let row = place.run("history --limit 1 --ndjson").out;
    assert_eq!(row.trim_end(), place.json("history --limit 1")["data"][0].to_string(), "as HTTP has it");
    assert!(place.run("history --limit 1 --ndjson").err.contains("--after "));
    assert_eq!(place.run("history --ndjson --limit 1001").exit, 2);
    assert_eq!(place.run("history ghost --ndjson").exit, place.run("history ghost").exit);
}

#[test]
fn secret_is_first_line_of_file_without_end() {
    let place = Place::new();
    for line in ["wallets --token-file /dev/zero", "withdraw alice 1 --lock-token @/dev/zero"] {
        let begun = Instant::now();
        let output = place.run(&format!("{line} --url http://127.0.0.1:1"));
        assert_eq!(output.exit, 2, "{line}: {}", output.err);
        assert!(begun.elapsed() < Duration::from_secs(10), "{line}: it is not read to its end");
    }
    let output = place.run("serve --listen 127.0.0.1:0 --token-file /dev/zero");
    assert_eq!(output.exit, 2, "{}", output.err);
    fs::write(place.path("token"), [b"cbx_0123456789abcdef\n".as_slice(), &[0xff; 10_000]].concat()).unwrap();
    let server = place.serve("--token-file token");
    assert_eq!(place.run(&format!("wallets --url {} --token-file token", server.url)).exit, 0);
}

#[test]
fn name_meant_for_database_is_refused_without_its_password() {
    let place = Place::new();
    let names = [
        "postgers://cash:s3cret@db/l",
        "POSTGRES://cash:s3cret@db/l",
        "postgres:/cash:s3cret@db/l",
        "host=db password=s3cret",
    ];
    for name in names {
        for command in ["serve --listen 127.0.0.1:0", "wallets", "verify"] {
            let output = place.command(command).env("CASHBOX_DB", name).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{name}: {words}");
            assert!(words.contains("--db is not the URL of a database") && !words.contains("s3cret"), "{words}");
        }
    }
}
