//! The ledger as records, out of one file and into another; and questions in SQL.

use crate::shell::Place;
use std::fs;

/// A place whose file has seen every kind of entry, coupons, a lease and a key.
fn lived_in() -> Place {
    let place = Place::new();
    for line in [
        "recharge alice 320 --key first --reference a,\"b\"",
        "recharge bob 100",
        "transfer alice bob 50",
        "refund 3 20",
        "refund 2",
        "pay alice 1.01",
        "withdraw bob 0.01",
        "grant bob 2",
    ] {
        place.json(line);
    }
    let token = place.run("lock acquire job --ttl 1h").out;
    place.json(&format!("withdraw bob 1 --lock-token {}", token.trim()));
    place
}

/// The names of files that begin so.
fn names_beside(place: &Place, begins: &str) -> Vec<String> {
    let names = fs::read_dir(place.0.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(begins)).collect()
}

#[test]
fn export_then_import_keeps_hashes() {
    let place = lived_in();
    let exported = place.run("export");
    assert_eq!(exported.exit, 0, "{}", exported.err);
    fs::write(place.path("all.ndjson"), &exported.out).unwrap();
    let before = place.json("verify");

    let tried = place.json("import all.ndjson --db new.db --dry-run");
    assert_eq!(tried["state_hash"], before["state_hash"]);
    assert_eq!(names_beside(&place, "new.db"), Vec::<String>::new());
    let imported = place.json("import all.ndjson --db new.db");
    for hash in ["last_hash", "state_hash", "entries", "wallets"] {
        assert_eq!(imported[hash], before[hash], "{hash}");
    }
    assert_eq!(place.run("export --db new.db").out, exported.out);
    assert_eq!(place.run("import all.ndjson --db new.db").exit, 1, "it is there now");
    let server = place.serve("--open --db new.db");
    assert_eq!(place.json("import all.ndjson --db new.db --dry-run")["state_hash"], before["state_hash"]);
    server.stop();
    assert_eq!(place.run_with_input("import - --db new.db --replace", &exported.out).exit, 0);
    place.json("recharge alice 500 --db new.db");
    assert_eq!(place.run("verify --db new.db").exit, 0);
    let (old, new) = (place.run("lock acquire x --json"), place.run("lock acquire x --json --db new.db"));
    let fence = |output: &str| serde_json::from_str::<serde_json::Value>(output).unwrap()["fence"].as_i64().unwrap();
    assert!(fence(&new.out) > fence(&old.out), "fences go on above all that were given");
    place.json("import all.ndjson --db new.db --replace");
    let newer = place.run("lock acquire x --json --db new.db");
    assert!(fence(&newer.out) > fence(&new.out), "in the file that is replaced, too");
}

#[test]
fn export_of_first_version_is_imported() {
    let place = lived_in();
    let before = place.json("verify");
    let second = place.run("export").out;
    let first = second.replacen("\"version\":2", "\"version\":1", 1);
    let first = first.replace("\"hold\":null,\"hold_to\":null,\"hold_until\":null,", "");
    assert!(first.len() < second.len());
    fs::write(place.path("first.ndjson"), first).unwrap();
    let imported = place.json("import first.ndjson --db new.db");
    assert_eq!((&imported["last_hash"], &imported["state_hash"]), (&before["last_hash"], &before["state_hash"]));
    assert_eq!(place.run("export --db new.db").out, second);
}

#[test]
fn kind_valid_until_last_day_of_9999_is_imported() {
    let place = lived_in();
    place.json("tiers --set []");
    place.json(r#"coupon-kinds --set [{"kind":"spring","percent_off":10,"valid_until":"9999-12-31"}]"#);
    let listed = place.json("coupon-kinds")["data"][0]["valid_until"].clone();
    assert_eq!(listed, "9999-12-31T23:59:59.999Z");
    place.json("grant alice spring");
    let exported = place.run("export").out;
    fs::write(place.path("all.ndjson"), &exported).unwrap();
    assert_eq!(place.json("import all.ndjson --db new.db")["state_hash"], place.json("verify")["state_hash"]);
    assert_eq!(place.run("export --db new.db").out, exported);
}

#[test]
fn two_exports_at_once_work_and_clean_up() {
    let place = lived_in();
    let server = place.serve("--open");
    let left = ["cashbox.db.export-0123abcd.partial", "cashbox.db.Ab01cd23.partial"].map(|name| place.path(name));
    let other = ["cashbox.db.mine.partial", "other.db.Ab01cd23.partial"].map(|name| place.path(name));
    left.iter().chain(&other).for_each(|file| fs::write(file, "of a process that was killed").unwrap());
    let alone = place.run("export").out;
    assert!(!left.iter().any(|file| file.exists()) && other.iter().all(|file| file.exists()));
    let both = [place.start(&["export"]), place.start(&["export"])].map(|export| export.finish());
    assert!(both.iter().all(|output| output.exit == 0 && output.out == alone), "{} {}", both[0].err, both[1].err);
    server.stop();
}

#[test]
fn export_beside_server_is_the_same() {
    let place = lived_in();
    let alone = place.run("export").out;
    let server = place.serve("--open");
    assert_eq!(place.run("export").out, alone);
    server.stop();
    let names: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("export")), "{names:?}");
}

#[test]
fn export_of_table_is_csv() {
    let place = lived_in();
    let wallets = place.run("export --csv wallets").out;
    let mut lines = wallets.split("\r\n");
    assert_eq!(lines.next(), Some("user_id,balance,entries,created_at"));
    assert!(lines.next().unwrap().starts_with("@bank,-"), "{wallets}");
    let entries = place.run("export --csv entries").out;
    assert_eq!(entries.lines().count(), 9);
    assert!(entries.contains(",\"a,\"\"b\"\"\","), "{entries}");
    assert!(place.run("export --csv coupons").out.starts_with("code,user_id,kind,"));
    assert_eq!(place.run("export --csv locks").exit, 2);
}

const TABLES: [&str; 5] = ["entries", "coupons", "wallets", "tiers", "coupon-kinds"];

/// Each table as a file of its own, and how they are named.
fn tables(place: &Place) -> String {
    for table in TABLES {
        fs::write(place.path(&format!("{table}.csv")), place.run(&format!("export --csv {table}")).out).unwrap();
    }
    TABLES.map(|table| format!("{table}.csv")).join(" ")
}

#[test]
fn import_of_tables_in_any_order_keeps_hashes() {
    let place = lived_in();
    let (files, before) = (tables(&place), place.json("verify"));
    let imported = place.json(&format!("import {files} --db new.db"));
    for hash in ["last_hash", "state_hash", "entries", "wallets"] {
        assert_eq!(imported[hash], before[hash], "{hash}");
    }
    assert_eq!(place.run("export --db new.db").out, place.run("export").out);

    // A spreadsheet begins with a mark of its own, ends lines in its own way, and has moved a column.
    let moved = |line: &str| line.rsplit_once(',').map(|(rest, last)| format!("{last},{rest}\n")).unwrap();
    let wallets: String = fs::read_to_string(place.path("wallets.csv")).unwrap().lines().map(moved).collect();
    fs::write(place.path("wallets.csv"), format!("\u{feff}{wallets}")).unwrap();
    assert_eq!(place.json(&format!("import {files} --db moved.db"))["state_hash"], before["state_hash"]);

    // Without tiers and kinds, those of a new file; coupons keep the terms they were granted under.
    assert_eq!(
        place.json("import wallets.csv entries.csv coupons.csv --db few.db")["state_hash"],
        before["state_hash"]
    );
    assert_eq!(place.json("tiers --db few.db"), place.json("tiers"));
}

#[test]
fn import_refuses_wrong_or_unrelated_tables() {
    let place = lived_in();
    tables(&place);
    fs::write(place.path("all.ndjson"), place.run("export").out).unwrap();
    let entries = fs::read_to_string(place.path("entries.csv")).unwrap();
    fs::write(place.path("short.csv"), entries.replacen(",320.00,", ",", 1)).unwrap();
    fs::write(place.path("number.csv"), entries.replacen(",320.00,", ",3.2e2,", 1)).unwrap();
    fs::write(place.path("columns.csv"), entries.replacen("amount", "sum", 1)).unwrap();
    fs::write(place.path("empty.csv"), "").unwrap();
    for (files, exit, sentence) in [
        ("wallets.csv wallets.csv", 2, "two of these are the same table"),
        ("all.ndjson wallets.csv", 2, "all of a ledger: import it alone"),
        ("coupon-kinds.csv", 2, "coupon kinds come with their tiers"),
        ("coupons.csv wallets.csv short.csv", 2, "short.csv, row 2: it has 19 cells, and there are 20 columns"),
        ("coupons.csv wallets.csv number.csv", 2, "number.csv, row 2: \"3.2e2\" is not a valid amount"),
        ("columns.csv", 2, "columns.csv, line 1: it begins neither with"),
        ("empty.csv", 2, "empty.csv, line 1: there is nothing to import"),
        ("entries.csv", 2, "entries come with their wallets and coupons"),
        ("wallets.csv entries.csv", 2, "entries come with their wallets and coupons"),
        ("wallets.csv", 4, "a balance is the sum of its entries"),
        ("wallets.csv none.csv", 3, "cannot read none.csv"),
    ] {
        let output = place.run(&format!("import {files} --db new.db"));
        assert!(output.exit == exit && output.err.contains(sentence), "{files}: {} {}", output.exit, output.err);
        assert_eq!(names_beside(&place, "new.db"), Vec::<String>::new(), "{files}");
    }
}

#[test]
fn export_from_url_is_the_same_bytes() {
    let place = lived_in();
    let (all, entries) = (place.run("export").out, place.run("export --csv entries").out);
    let server = place.serve("--open");
    assert_eq!(place.run(&format!("export --url {}", server.url)).out, all);
    assert_eq!(place.run(&format!("export --csv entries --url {}", server.url)).out, entries);
    server.stop();
    let names = fs::read_dir(place.0.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains("export") || name.contains("partial")).count(), 0);
}

#[test]
fn import_refuses_unsound_ledger() {
    let place = lived_in();
    let good = place.run("export").out;
    let records = good.lines().count() - 2;
    let (end, fewer) = (format!("\"records\":{records}"), format!("\"records\":{}", records - 1));
    let with = |line: &str| good.replacen("{\"record\":\"end\"", &format!("{line}\n{{\"record\":\"end\""), 1);
    let line_of = |what: &str| good.lines().position(|line| line.contains(what)).unwrap() + 1;
    let cases = [
        (String::new(), 2, "line 1: there is nothing to import".to_owned()),
        (
            "{\"record\":\"cashbox\",\"version\":3}\n".to_owned(),
            2,
            "line 1: this program knows versions 1 to 2".to_owned(),
        ),
        (good.lines().skip(1).collect::<Vec<_>>().join("\n"), 2, "line 1: the first line".to_owned()),
        (format!("{good}not JSON\n"), 2, "it is not a JSON object".to_owned()),
        (with("{\"record\":\"gift\"}"), 2, "there are no records of kind \"gift\"".to_owned()),
        (with("{\"a\":1}"), 2, "it has no field `record`".to_owned()),
        (with(&"x".repeat(300_000)), 2, "it is longer than any record".to_owned()),
        (good.lines().take(records + 1).collect::<Vec<_>>().join("\n"), 2, "it is cut off".to_owned()),
        (format!("{good}{{\"record\":\"end\",\"records\":{records}}}\n"), 2, "it stands behind the end".to_owned()),
        (good.replace(&end, &fewer), 2, format!("{} records should stand before it, and {records} do", records - 1)),
        (
            good.replacen("{\"record\":\"coupon\",\"code\":\"", "{\"record\":\"coupon\",\"code\":\"x", 1),
            2,
            "is not a valid code".to_owned(),
        ),
        (good.replace("\"uses\":0", "\"used\":0"), 2, "has no field \"used\"".to_owned()),
        (
            good.replacen("\"refunds\":3,", "", 1),
            2,
            format!("line {}: the field refunds is missing", line_of("\"refunds\":3")),
        ),
        (good.replacen("\"amount\":\"320.00\"", "\"amount\":320.00", 1), 2, "320.0 is not a valid amount".to_owned()),
        (good.replacen("\"amount\":\"320.00\"", "\"amount\":\"-320.00\"", 1), 2, "it cannot be inserted".to_owned()),
        (
            good.replacen("\"user_id\":\"alice\"", "\"user_id\":\"a b\"", 1),
            2,
            "\"a b\" is not a valid user_id".to_owned(),
        ),
        (
            good.replacen("\"amount\":\"320.00\"", "\"amount\":\"320.01\"", 1),
            4,
            "each hash covers its entry".to_owned(),
        ),
        (
            good.replacen("\"balance\":\"270", "\"balance\":\"271", 1).replacen(
                "\"balance\":\"288",
                "\"balance\":\"289",
                1,
            ),
            4,
            "a balance is the sum".to_owned(),
        ),
        (
            good.lines()
                .filter(|line| !line.contains("\"id\":6,"))
                .collect::<Vec<_>>()
                .join("\n")
                .replace(&end, &fewer),
            4,
            "without gaps".to_owned(),
        ),
    ];
    for (records, exit, sentence) in cases {
        let output = place.run_with_input("import - --db new.db", &records);
        assert_eq!(output.exit, exit, "{sentence}: {}", output.err);
        assert!(output.err.contains(&sentence), "{}\nshould say: {sentence}", output.err);
        assert_eq!(names_beside(&place, "new.db"), Vec::<String>::new(), "{sentence}");
    }
    assert_eq!(place.run("import none.ndjson --db new.db").exit, 3);
    assert_eq!(place.run("export --url http://127.0.0.1:1").exit, 3);
}

#[test]
fn sql_query_answers_and_changes_nothing() {
    let place = lived_in();
    let output = place.run_with_input("sql -", "SELECT kind, count(*) AS times FROM entry GROUP BY 1 ORDER BY 1");
    assert_eq!(
        output.out,
        "kind      times\npay           1\nrecharge      2\nrefund        2\ntransfer      1\nwithdraw      2\n"
    );
    let json = place.run_with_input("sql - --json", "SELECT 1 AS a, NULL, x'ff', 'b'").out;
    assert_eq!(json.trim(), r#"{"columns":["a","NULL","x'ff'","'b'"],"rows":[[1,null,"ff","b"]],"more":false}"#);
    let before = place.json("verify")["state_hash"].clone();
    for (question, sentence) in [
        ("DELETE FROM entry", "it would change the file"),
        ("VACUUM INTO 'copy.db'", "it would change the file"),
        ("PRAGMA journal_mode = DELETE", "it would change the file"),
        ("ATTACH 'new.db' AS new", "unable to open"),
        ("SELECT 1; SELECT 2", "Multiple statements"),
        ("SELECT missing", "no such column: missing"),
        ("", "this cannot be asked"),
    ] {
        let output = place.run_with_input("sql -", question);
        assert!(output.exit == 2 && output.err.contains(sentence), "{question}: {} {}", output.exit, output.err);
    }
    assert_eq!(place.json("verify")["state_hash"], before);
    assert!(!place.path("copy.db").exists() && !place.path("new.db").exists());
}

#[test]
fn import_says_shortly_what_is_wrong_with_a_record() {
    let place = Place::new();
    place.json("recharge alice 120");
    let exported = place.run("export").out;
    let long = "x".repeat(100_000);
    for (from, to, exit, words) in [
        ("\"refunds\":null", "\"refunds\":0", 4, "a record names one that is not there"),
        ("\"record\":\"entry\"", &format!("\"record\":\"{long}\""), 2, "there are no records of kind"),
        ("\"refunds\":null", &format!("\"refunds\":\"{long}\""), 2, "is not a valid refunds"),
        ("\"refunds\":null", &format!("\"refunds\":null,\"{long}\":1"), 2, "has no field"),
    ] {
        let changed = exported.replacen(from, to, 1);
        assert_ne!(changed, exported);
        fs::write(place.path("all.ndjson"), changed).unwrap();
        let output = place.run("import all.ndjson --db new.db");
        assert_eq!(output.exit, exit, "{words}: {}", output.err);
        assert!(output.err.contains(words) && output.err.contains("nothing was imported"), "{words}: {}", output.err);
        assert!(output.err.len() < 500, "{words}: {} bytes", output.err.len());
        assert!(!place.path("new.db").exists(), "{words}");
    }
    let output = place.run("import /dev/zero --db new.db"); // without end
    assert!(output.exit == 2 && output.err.contains("it begins neither"), "{} {}", output.exit, output.err);
}

#[test]
fn tables_with_any_line_ends_are_imported() {
    let place = Place::new();
    place.json("recharge alice 120");
    place.json("withdraw alice 20");
    let tables = ["wallets", "entries", "coupons"];
    let hash = place.json("verify")["last_hash"].clone();
    for end in ["\r\n", "\n", "\r"] {
        for table in tables {
            let text = place.run(&format!("export --csv {table}")).out.replace("\r\n", end);
            fs::write(place.path(table), text).unwrap();
        }
        assert_eq!(place.run("import wallets entries coupons --db new.db --replace").exit, 0, "{end:?}");
        assert_eq!(place.json("verify --db new.db")["last_hash"], hash, "{end:?}");
    }
}
