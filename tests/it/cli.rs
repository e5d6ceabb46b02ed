//! The real binary, as people and scripts use it: without a server, with one, and as one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::shell::{CommandOutput, Place, TIMEOUT};
use serde_json::{Value, json};

/// The only access token in a text.
fn token_in(text: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut found = text.match_indices("cbx_").map(|(at, _)| text[at..].split(|c| !plain(c)).next().unwrap());
    let token = found.next().unwrap_or_else(|| panic!("no access token in {text:?}"));
    assert_eq!(found.next(), None, "one access token, once");
    token
}

/// Every verb once, with the balances it should leave behind; `more` goes on every line.
fn every_verb(place: &Place, more: &str) {
    let json = |line: &str| place.json(&format!("{line} {more}"));
    let recharged = json("recharge alice 320 --reference rent --metadata a=b --metadata c=d");
    assert_eq!(recharged["balance"], "320.00");
    assert_eq!(recharged["entry"]["metadata"], serde_json::json!({ "a": "b", "c": "d" }));
    let coupon = recharged["coupon"]["code"].as_str().unwrap();
    assert_eq!(json(&format!("coupon {coupon} --quote 300"))["amount"], "250.00");
    let paid = json(&format!("pay alice 300 --coupon {coupon}"));
    assert_eq!((&paid["discount"], &paid["balance"]), (&json!("50.00"), &json!("70.00")));
    assert_eq!(json("recharge bob 5")["coupon"], Value::Null);
    assert_eq!(json("transfer alice bob 20")["balance"], "50.00");
    assert_eq!(json("withdraw bob 5.50")["balance"], "19.50");
    assert_eq!(json(&format!("refund {} 100", paid["entry"]["id"]))["balance"], "150.00");
    assert_eq!(json(&format!("coupon {coupon}"))["coupon"]["state"], "used");
    assert_eq!(json("grant bob 2")["coupon"]["percent_off"], 20);
    assert_eq!(json("coupons bob")["data"].as_array().unwrap().len(), 1);
    assert_eq!(json("wallet alice")["balance"], "150.00");
    assert_eq!(json("wallets")["data"].as_array().unwrap().len(), 5);
    assert_eq!(json("history alice")["data"].as_array().unwrap().len(), 4);
    assert_eq!(json("history alice --kind pay")["data"].as_array().unwrap().len(), 1);
    assert_eq!(json("history --limit 2 --all")["data"].as_array().unwrap().len(), 6);
    assert_eq!(json("entry 1")["entry"]["reference"], "rent");
    let tiers = json("tiers");
    assert_eq!(json(r#"tiers --set [{"from":"10","coupon_kind":"3"}]"#)["data"][0]["from"], "10.00");
    fs::write(place.0.path().join("tiers.json"), tiers.to_string()).unwrap();
    assert_eq!(json("tiers --set tiers.json")["data"], tiers["data"]);
    assert_eq!(json("coupon-kinds")["data"].as_array().unwrap().len(), 3);
    let minted = json("token create --user alice --expires 30d");
    assert_eq!(minted["role"], "user");
    assert!(minted["token"].as_str().unwrap().starts_with("cbx_"));
    let id = minted["id"].as_str().unwrap();
    assert!(json("token list")["data"].as_array().unwrap().iter().any(|token| token["id"] == id));
    assert_ne!(json(&format!("token revoke {id}"))["revoked_at"], Value::Null);
    assert_eq!(json("verify")["ok"], true);
}

#[test]
fn verbs_work_without_server() {
    let place = Place::new();
    every_verb(&place, "");
    assert_eq!(fs::metadata(place.db()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn verbs_work_through_server_of_file() {
    let place = Place::new();
    let server = place.serve("");
    every_verb(&place, "");
    assert_eq!(place.json("wallet alice"), place.json(&format!("wallet alice --db {}", place.db().display())));
    let err = server.stop();
    assert!(place.run("token list").out.contains("minted at start"));
    token_in(&err);
    assert_eq!(place.json("wallet alice")["balance"], "150.00", "what the server did is in the file");
}

#[test]
fn verbs_work_at_url() {
    let (here, there) = (Place::new(), Place::new());
    fs::write(here.0.path().join("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = there.serve(&format!("--token-file {}", here.0.path().join("token").display()));
    every_verb(&here, &format!("--url {} --token-file token", server.url));
    assert!(!here.db().exists());
    let refused = here.run(&format!("wallets --url {} --token cbx_someone-elses-token", server.url));
    assert_eq!(refused.exit, 1, "{}", refused.err);
    assert!(!server.stop().contains("cbx_"), "the operator's own token is enough");
}

#[test]
fn output_for_people_is_aligned_and_error_is_one_line() {
    let place = Place::new();
    let recharged = place.run("recharge alice 120");
    assert_eq!(recharged.exit, 0);
    assert!(recharged.out.contains("\n  balance  120.00\n"), "{}", recharged.out);
    let wallets = place.run("wallets").out;
    assert!(wallets.contains("alice    120.00        1"), "{wallets}");
    let refused = place.run("withdraw alice 500");
    assert_eq!((refused.exit, refused.out.as_str(), refused.err.lines().count()), (1, "", 1));
    assert!(refused.err.starts_with("insufficient funds: "), "{}", refused.err);
    let refused = place.run("withdraw alice 500 --json");
    let problem: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.exit, &problem["error"]), (1, &json!("insufficient_funds")));
}

#[test]
fn dash_argument_reads_line_of_standard_input() {
    let place = Place::new();
    assert_eq!(place.run_with_input("recharge - -", "alice\n12.50\n").exit, 0);
    assert!(place.run_with_input("wallet -", "alice\n").out.contains("12.50"));
    let batch = "{\"op\":\"recharge\",\"user\":\"bob\",\"amount\":\"1\"}\n{\"op\":\"withdraw\",\"user\":\"bob\",\"amount\":\"5\"}\n";
    let alone = place.run_with_input("batch -", batch);
    assert_eq!(alone.exit, 1, "an item was refused");
    assert_eq!(place.json("wallet bob")["balance"], "1.00");
    assert_eq!(place.run_with_input("batch --atomic", batch).exit, 1);
    assert_eq!(place.json("wallet bob")["balance"], "1.00", "all or nothing");
    let array = r#"[{"op":"recharge","user":"bob","amount":"1"}]"#;
    assert_eq!(place.run_with_input("batch", array).exit, 0);
}

#[test]
fn key_gives_same_answer_with_and_without_server() {
    let place = Place::new();
    let first = place.json("recharge alice 10 --key gift-1");
    let server = place.serve("");
    assert_eq!(place.json("recharge alice 10.00 --key gift-1"), first, "the file and its server know the same caller");
    assert_eq!(place.run("recharge alice 11 --key gift-1").exit, 1);
    server.stop();
    assert_eq!(place.json("wallet alice")["balance"], "10.00");
}

#[test]
fn exit_code_follows_outcome() {
    let place = Place::new();
    let missing = place.run("wallet alice");
    assert_eq!((missing.exit, missing.err.as_str()), (3, "cannot open cashbox.db: there is no such file\n"));
    assert_eq!(place.run("verify").exit, 3);
    assert!(!place.db().exists(), "looking creates nothing");
    place.json("recharge alice 10");
    for (line, exit) in [
        ("wallet alice", 0),
        ("wallet ghost", 1),
        ("recharge alice nan", 2),
        ("recharge alice -5", 2),
        ("recharge alice", 2),
        ("wallet alice --url http://127.0.0.1:1 --db cashbox.db", 2),
        ("wallet alice --url https://127.0.0.1:1", if cfg!(feature = "tls") { 3 } else { 2 }),
        ("wallet alice --url http://127.0.0.1:1", 3),
        ("wallet alice --db no/such/folder/cashbox.db", 3),
        ("recharge alice 1 --db no/such/folder/cashbox.db", 3),
        ("token create", 2),
        ("verify", 0),
    ] {
        let output = place.run(line);
        assert_eq!(output.exit, exit, "{line}: {}{}", output.out, output.err);
    }
    fs::write(place.0.path().join("text.db"), "this is not a database, and long enough to be looked at").unwrap();
    assert_eq!(place.run("wallet alice --db text.db").err, "cannot open text.db: it is not an SQLite database\n");
}

#[test]
fn verify_exits_4_on_damage() {
    let place = Place::new();
    let entry = place.json("recharge alice 10 --reference abcdefghijklmnopqrstuvwxyz")["entry"]["id"].clone();
    let mut bytes = fs::read(place.db()).unwrap();
    let reference = b"abcdefghijklmnopqrstuvwxyz";
    let at = bytes.windows(reference.len()).position(|window| window == reference).unwrap();
    bytes[at] = b'z';
    fs::write(place.db(), bytes).unwrap();
    let output = place.run("verify");
    assert_eq!(output.exit, 4, "{}{}", output.out, output.err);
    assert!(output.out.contains(&format!("entry {entry}")), "{}", output.out);
    let server = place.serve("--open");
    assert_eq!(place.run(&format!("verify --url {}", server.url)).exit, 4);
}

#[test]
fn second_server_names_the_first() {
    let place = Place::new();
    let server = place.serve("");
    let second = place.run("serve --listen 127.0.0.1:0");
    assert_eq!((second.exit, second.out.as_str()), (3, ""));
    assert!(second.err.contains(&server.url), "{}", second.err);
    assert!(second.err.contains(&server.child.id().to_string()), "{}", second.err);
    let companion = place.0.path().join("cashbox.db-serve");
    assert_eq!(fs::metadata(companion).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn killed_server_is_not_asked() {
    let place = Place::new();
    place.json("recharge alice 10");
    drop(place.serve("")); // killed: its companion still names it
    assert_eq!(place.json("wallet alice")["balance"], "10.00");
}

#[test]
fn repeat_is_same_caller_with_and_without_server() {
    let place = Place::new();
    place.json("recharge alice 100");
    fs::write(place.path("tok"), "cbx_the-admin-of-these-tests").unwrap();
    let server = place.serve("--token-file tok");
    let pay = || place.json("withdraw alice 10 --key pay-7 --token-file tok");
    let first = pay();
    server.stop();
    assert_eq!(pay(), first, "a repeat without the server");
    assert_eq!(place.json("wallet alice")["balance"], "90.00");
    let output = place.run("withdraw alice 10 --token cbx_unknown-to-this-file");
    assert!(output.exit == 1 && output.err.contains("unknown"), "{} {}", output.exit, output.err);
}

#[test]
fn dash_option_reads_line_of_standard_input() {
    let place = Place::new();
    for (key, balance) in [("k1", "1.00"), ("k2", "2.00"), ("k1", "1.00")] {
        let output = place.run_with_input("recharge alice 1 --key - --json", &format!("{key}\n"));
        let answer: serde_json::Value = serde_json::from_str(&output.out).unwrap();
        assert_eq!(answer["balance"], balance, "{key}");
    }
    let output = place.run_with_input("recharge - 5 --reference - --json", "till 7\nbob\n");
    let answer: serde_json::Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&answer["entry"]["to"], &answer["entry"]["reference"]), (&"bob".into(), &"till 7".into()));
}

#[test]
fn unwritable_output_exits_3() {
    let place = Place::new();
    place.json("recharge alice 100");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for line in [
        "wallets",
        "recharge alice 1 --json",
        "token create --role teller",
        "lock acquire x",
        "verify",
        "export",
        "sql",
    ] {
        let mut command = place.command(line);
        if line == "sql" {
            command.arg("SELECT 1");
        }
        let output = command.stdout(full()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(3) && err.contains("cannot be written"),
            "{line}: {:?} {err}",
            output.status
        );
        assert_eq!(err.contains("it was carried out"), line.starts_with(['r', 't', 'l']), "{line}: {err}");
    }
    let again = |options: &str| place.command(&format!("recharge alice 1 {options}")).stdout(full()).output().unwrap();
    let (done, tried) = (again("--key k1"), again("--dry-run"));
    let (done, tried) = (String::from_utf8_lossy(&done.stderr), String::from_utf8_lossy(&tried.stderr));
    assert!(done.contains("it was carried out") && done.contains("repeat it with --key k1"), "{done}");
    assert!(!tried.contains("carried out"), "{tried}");
    assert_eq!(place.json("recharge alice 1 --key k1")["balance"], "102.00");
    let refused = place.command("withdraw alice 999 --json").stdout(full()).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it was refused"));
}

#[test]
fn symlink_to_file_reaches_same_server() {
    let place = Place::new();
    place.json("recharge alice 10");
    std::os::unix::fs::symlink(place.db(), place.0.path().join("link.db")).unwrap();
    let _server = place.serve("");
    assert_eq!(place.run("serve --listen 127.0.0.1:0 --db link.db").exit, 3);
    assert_eq!(place.json("wallet alice --db link.db")["balance"], "10.00");
}

#[test]
fn serve_refuses_unsafe_options() {
    let place = Place::new();
    for line in [
        "serve --open --listen 0.0.0.0:0",
        "serve --listen nowhere",
        "serve --memory --db a.db",
        "serve --url http://127.0.0.1:1",
        "serve --max-connections 0",
        "serve --keep-keys 0",
    ] {
        assert_eq!(place.run(line).exit, 2, "{line}");
    }
    assert_eq!(place.run_with_input("serve --token-file -", "not a token\n").exit, 2);
    assert!(!place.db().exists());
    let open = place.serve("--open");
    assert_eq!(place.run(&format!("wallets --url {}", open.url)).exit, 0);
    let err = open.stop();
    assert!(err.contains("every local account") && !err.contains("cbx_"), "{err}");
}

/// Takes requests at `listener`, answers only the second of them, and gives back what was asked.
fn forgetful(listener: std::net::TcpListener) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        for number in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            let mut request = String::new();
            while !request.ends_with('}') {
                let count = stream.read(&mut bytes).unwrap();
                request += std::str::from_utf8(&bytes[..count]).unwrap();
            }
            asked.push(request);
            if number == 1 {
                let body = r#"{"code":200,"msg":"recharged","balance":"1.00"}"#;
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        }
        asked
    })
}

#[test]
fn lost_answer_is_retried_once_with_same_key() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = forgetful(listener);
    assert_eq!(place.json(&format!("recharge alice 1 --url {url}"))["balance"], "1.00");
    let asked = server.join().unwrap();
    assert!(asked[0].to_lowercase().contains("idempotency-key: cli-"), "{}", asked[0]);
    assert_eq!(asked[0], asked[1]);
}

#[test]
fn url_of_other_program_is_recognised() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let output = Place::new().run(&format!("wallets --url {url}"));
    other.join().unwrap();
    assert_eq!((output.exit, output.out.as_str()), (3, ""));
    assert!(output.err.contains("not in the words of cashbox"), "{}", output.err);
}

#[test]
fn flag_wins_over_environment() {
    let place = Place::new();
    place.json("recharge alice 1 --db here.db");
    let run = |line: &str| {
        CommandOutput::from(place.command(line).env("CASHBOX_URL", "http://127.0.0.1:1").output().unwrap()).exit
    };
    assert_eq!(run("wallet alice --db here.db"), 0);
    assert_eq!(run("wallet alice"), 3);
    let mut named = place.command("wallet alice");
    assert!(named.env("CASHBOX_DB", "here.db").output().unwrap().status.success());
}

#[test]
fn second_signal_ends_server_at_once() {
    let place = Place::new();
    let mut server = place.serve("--open");
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = std::net::TcpStream::connect(&address).unwrap();
    let head =
        "POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n";
    slow.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    let mut line = [0; 12];
    slow.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100", "the head has arrived");
    let begun = Instant::now();
    server.signal();
    crate::server::until(|| std::net::TcpStream::connect(&address).is_err()); // it has taken the first one
    assert!(server.child.try_wait().unwrap().is_none(), "the first one waits for requests in flight");
    server.signal();
    assert_eq!(server.wait().0, 128 + 15);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn admin_token_is_minted_once_and_works() {
    let place = Place::new();
    let token = token_in(&place.serve("").stop()).to_owned();
    let server = place.serve("");
    let mut command = place.command(&format!("wallets --url {}", server.url));
    assert!(command.env("CASHBOX_TOKEN", token).output().unwrap().status.success());
    assert!(!server.stop().contains("cbx_"), "the file holds a usable one");
}

#[test]
fn memory_server_leaves_nothing_behind() {
    let place = Place::new();
    let folders = |pid: u32| {
        let places = ["/dev/shm".into(), std::env::temp_dir()];
        let entries = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
        let open = |process: &str| {
            let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
            descriptors.filter_map(|fd| fs::read_link(fd.path()).ok()).collect::<Vec<_>>()
        };
        let (opened, inherited) = (open(&pid.to_string()), open("self")); // a script may hold a lock file for the tests
        let of_that_process =
            |path: &Path| opened.iter().any(|file| file.starts_with(path) && !inherited.contains(file));
        entries.map(|entry| entry.path()).filter(|path| of_that_process(path)).collect::<Vec<_>>()
    };
    let server = place.serve("--memory --open");
    assert_eq!(place.json(&format!("recharge alice 5 --url {}", server.url))["balance"], "5.00");
    let folders_of_server = folders(server.child.id());
    assert_eq!(folders_of_server.len(), 1, "{folders_of_server:?}");
    assert_eq!(fs::metadata(&folders_of_server[0]).unwrap().permissions().mode() & 0o777, 0o700);
    server.stop();
    assert!(!folders_of_server[0].exists());
    assert!(!place.db().exists());

    let killed = place.serve("--memory --open");
    let left = folders(killed.child.id());
    drop(killed);
    assert!(left[0].exists());
    place.serve("--memory --open").stop();
    assert!(!left[0].exists(), "the next one cleans up");
}

#[test]
fn waiting_command_without_server_leaves_file_free() {
    let place = Place::new();
    place.json("recharge alice 5");
    let server = place.serve("--open");
    let request = ureq::post(format!("{}/v1/locks/wallet/alice", server.url));
    request.send_form([("ttl_ms", "60000")]).unwrap();
    server.stop();
    let begun = Instant::now();
    let refused = place.run("withdraw alice 1 --wait 0");
    assert_eq!(refused.exit, 1, "{}", refused.err);
    let mut waiting = place.command("withdraw alice 1 --wait 2").stderr(Stdio::piped()).spawn().unwrap();
    while waiting.try_wait().unwrap().is_none() {
        assert_eq!(place.json("wallet alice")["balance"], "5.00");
    }
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < TIMEOUT);
}

#[test]
fn wait_below_a_second_is_not_cut_to_none() {
    let place = Place::new();
    place.json("recharge alice 5");
    place.run("lock acquire wallet/alice --ttl 1h");
    let waits = |line: &str| {
        let begun = Instant::now();
        let refused = place.run(line);
        assert_eq!(refused.exit, 1, "{line}: {}", refused.err);
        begun.elapsed()
    };
    assert!(waits("withdraw alice 1 --wait 300ms") >= Duration::from_millis(300));
    let _server = place.serve("--open");
    // A server counts whole seconds, so the wait is rounded up.
    assert!(waits("withdraw alice 1 --wait 300ms") >= Duration::from_millis(300));
}

#[test]
fn commands_on_one_file_take_turns() {
    let place = Place::new();
    let many: Vec<_> =
        (0..20).map(|_| place.command("recharge alice 1").stdout(Stdio::null()).spawn().unwrap()).collect();
    for mut command in many {
        assert!(command.wait().unwrap().success());
    }
    assert_eq!(place.json("wallet alice")["balance"], "20.00");
    assert_eq!(place.run("verify").exit, 0);
}
