//! A ledger in a database of PostgreSQL: one writer, whatever happens to it or to the database, and what is refused.

use crate::postgres::Postgres;
use crate::server::{Answer, Client, Server, until};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::thread::JoinHandle;

/// The exit code of a server that cannot write safely any more.
const DOUBT: i32 = 5;

/// A PostgreSQL with an empty database, and its URL.
fn database() -> Option<(Postgres, String)> {
    let postgres = Postgres::start()?;
    postgres.make("ledger");
    let url = postgres.url("ledger");
    Some((postgres, url))
}

fn cashbox(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cashbox"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASHBOX_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

/// The words of `serve` about a database that it refuses.
#[track_caller]
fn refusal(url: &str) -> String {
    let output = cashbox(&["serve", "--db", url, "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Recharges `alice` again and again, each time under a key of its own, until a request fails. Returns the keys that were
/// answered, each with its answer.
fn recharge_until_the_end(client: Client, name: &'static str) -> JoinHandle<Vec<(String, Value)>> {
    std::thread::spawn(move || {
        let mut answered = Vec::new();
        loop {
            let key = format!("{name}-{}", answered.len());
            let asking = client.ask("POST", "/v1/wallets/alice/recharge").header("Idempotency-Key", &key);
            let sent = std::panic::catch_unwind(|| asking.json(json!({ "amount": "1.00" })).send());
            match sent {
                Ok(answer) if answer.status == 200 => answered.push((key, answer.json)),
                _ => return answered,
            }
        }
    })
}

/// Every key that was answered is there once, with the answer that it had.
fn check_all_are_there(server: &Server, answered: &[(String, Value)]) {
    assert!(answered.len() > 5, "{} were answered", answered.len());
    for (key, answer) in answered {
        let asking = server.admin().ask("POST", "/v1/wallets/alice/recharge").header("Idempotency-Key", key);
        let again = asking.json(json!({ "amount": "1.00" })).send().is(200);
        assert!(again.was_replayed(), "{key}");
        assert_eq!(again.json, *answer, "{key}");
    }
}

#[test]
fn killed_server_has_kept_all_it_answered_in_postgresql() {
    let Some((_postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    let clients = ["a", "b", "c"].map(|name| recharge_until_the_end(server.admin(), name));
    until(|| server.admin().get("/v1/wallets/alice").json["entries"].as_i64().is_some_and(|count| count > 30));
    let server = server.killed_and_started_again();
    let answered: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    check_all_are_there(&server, &answered);
}

#[test]
fn writer_goes_on_after_postgresql_ended_its_sessions() {
    let Some((postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "5.00" })).is(200);
    let sessions =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'cashbox';";
    assert_eq!(postgres.psql("ledger", sessions).1, "");
    until(|| server.admin().post("/v1/wallets/alice/withdraw", json!({ "amount": "1.00" })).status == 200);
    assert_eq!(server.admin().get("/v1/wallets/alice").json["balance"], "4.00");
}

/// Locks the table of the wallets, and `then` does what it has to while a session of cashbox waits for it.
fn hold_up_at_wallets(postgres: &Postgres, then: &str, request: impl FnOnce() -> Answer) -> Answer {
    let is_waiting = "application_name = 'cashbox' AND wait_event_type = 'Lock'";
    let script = format!(
        "BEGIN; LOCK TABLE wallet;
         DO $$ BEGIN
             FOR turn IN 1..2000 LOOP
                 PERFORM pg_stat_clear_snapshot();
                 EXIT WHEN EXISTS (SELECT 1 FROM pg_stat_activity WHERE {is_waiting});
                 PERFORM pg_sleep(0.01);
             END LOOP;
             {then};
         END $$;
         COMMIT;"
    )
    .replace("WAITING", is_waiting);
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'wallet'::regclass AND mode = 'AccessExclusiveLock' AND granted;";
    std::thread::scope(|scope| {
        let holding = scope.spawn(|| postgres.psql("ledger", &script).1);
        until(|| postgres.psql("ledger", locked).0 == "1\n");
        let answer = request();
        assert_eq!(holding.join().unwrap(), "");
        answer
    })
}

#[test]
fn command_whose_session_ends_midway_is_done_anew() {
    let Some((postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "5.00" })).is(200);
    let ended = "PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE WAITING";
    let withdraw = || server.admin().post("/v1/wallets/alice/withdraw", json!({ "amount": "1.00" }));
    hold_up_at_wallets(&postgres, ended, withdraw).is(200);
    assert_eq!(server.admin().get("/v1/wallets/alice").json["balance"], "4.00");
}

#[test]
fn read_after_an_export_is_bounded_in_time() {
    let Some((postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "5.00" })).is(200);
    server.admin().get("/v1/export").is(200);
    // The bound is 10 seconds, and the table is locked for 13.
    let answer = hold_up_at_wallets(&postgres, "PERFORM pg_sleep(13)", || server.admin().get("/v1/wallets/alice"));
    assert_eq!((answer.status, answer.json["error"].as_str()), (503, Some("busy")), "{}", answer.json);
}

#[test]
fn reads_go_to_the_host_that_takes_writes() {
    let (Some((standby, first)), Some((_postgres, second))) = (database(), database()) else { return };
    let set = "ALTER DATABASE ledger SET default_transaction_read_only = on;";
    assert_eq!(standby.psql("postgres", set).1, "");
    let host = second.split_once('&').unwrap().1;
    let server = Server::on_database(&format!("{first}&{host}"));
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "5.00" })).is(200);
    assert_eq!(server.admin().get("/v1/wallets/alice").is(200).json["balance"], "5.00");
}

#[test]
fn second_writer_of_one_ledger_is_refused() {
    let Some((_postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    let why = refusal(&url);
    assert!(why.contains("another cashbox writes to it") && why.contains(&server.process().to_string()), "{why}");
}

#[test]
fn writer_that_lost_its_place_writes_nothing_and_ends() {
    let Some((postgres, url)) = database() else { return };
    let mut first = Server::on_database(&url);
    first.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "5.00" })).is(200);
    // The lock is lost with the session, and another program takes the writer's place.
    let sessions =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'cashbox';
                    UPDATE writer SET epoch = epoch + 1;";
    assert_eq!(postgres.psql("ledger", sessions).1, "");
    let refused = first.admin().post("/v1/wallets/alice/withdraw", json!({ "amount": "1.00" }));
    assert_eq!((refused.status, refused.json["error"].as_str()), (503, Some("busy")), "{}", refused.json);
    assert_eq!(first.exit_code(), Some(DOUBT), "{}", first.log());
    let second = Server::on_database(&url);
    assert_eq!(second.admin().get("/v1/wallets/alice").json["balance"], "5.00");
}

#[test]
fn replaced_writer_ends_while_new_one_lives() {
    let Some((postgres, url)) = database() else { return };
    let mut first = Server::on_database(&url);
    let sessions =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'cashbox';";
    assert_eq!(postgres.psql("ledger", sessions).1, "");
    let second = Server::on_database(&url);
    let refused = first.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "1.00" }));
    assert_eq!((refused.status, refused.json["error"].as_str()), (503, Some("busy")), "{}", refused.json);
    assert_eq!(first.exit_code(), Some(DOUBT), "{}", first.log());
    second.admin().post("/v1/wallets/alice/recharge", json!({ "amount": "1.00" })).is(200);
}

#[test]
fn server_without_its_database_is_degraded() {
    let Some((postgres, url)) = database() else { return };
    let mut server = Server::on_database(&url);
    assert_eq!(server.admin().get("/healthz").json["status"], "ok");
    drop(postgres);
    let health = server.admin().get("/healthz").json;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["why"], json!(["the database cannot be reached: nothing is read or written until it is there"]));
    server.leave_unaudited(); // its ledger is gone with the database
}

#[test]
fn commit_with_cancelled_wait_for_standby_is_not_answered_yes() {
    let Some((postgres, url)) = database() else { return };
    let mut server = Server::on_database(&url);
    let set = |names: &str| {
        let script = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}';\nSELECT pg_reload_conf();");
        assert_eq!(postgres.psql("ledger", &script).1, "");
    };
    set("absent");
    let client = server.admin();
    let asking = std::thread::spawn(move || {
        let asking = client.ask("POST", "/v1/wallets/alice/recharge").header("Idempotency-Key", "in-doubt");
        asking.json(json!({ "amount": "5.00" })).send()
    });
    let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep';";
    until(|| postgres.psql("ledger", &format!("SELECT count(*) {waiting}")).0 == "1\n");
    assert_eq!(postgres.psql("ledger", &format!("SELECT pg_cancel_backend(pid) {waiting}")).0, "t\n");
    let answer = asking.join().unwrap();
    assert_eq!((answer.status, answer.json["error"].as_str()), (500, Some("outcome_unknown")), "{}", answer.json);
    assert_eq!(server.exit_code(), Some(DOUBT), "{}", server.log());
    set("");
    let server = Server::on_database(&url);
    let asking = server.admin().ask("POST", "/v1/wallets/alice/recharge").header("Idempotency-Key", "in-doubt");
    asking.json(json!({ "amount": "5.00" })).send().is(200);
    assert_eq!(server.admin().get("/v1/wallets/alice").json["balance"], "5.00", "once, whatever became of the first");
}

#[test]
fn unsuitable_database_is_refused_in_words() {
    let Some((postgres, url)) = database() else { return };
    for (script, words) in [
        ("CREATE TABLE another (a int);", "a database of another application"),
        (
            "CREATE TABLE writer (one bigint, version bigint, epoch bigint, node text); INSERT INTO writer VALUES (1, 999, 0, '');",
            "written by a newer cashbox (version 999",
        ),
        ("ALTER DATABASE other SET default_transaction_read_only = on;", "takes writes"),
        ("ALTER DATABASE other SET synchronous_commit = off;", "synchronous_commit is off"),
        ("CREATE ROLE weak LOGIN;", "permission denied"),
    ] {
        postgres.make("other");
        assert_eq!(postgres.psql("other", script).1, "");
        let is_weak = script.contains("weak");
        let url =
            if is_weak { postgres.url("other").replace("user=postgres", "user=weak") } else { postgres.url("other") };
        let why = refusal(&url);
        assert!(why.contains(words), "{script}: {why}");
        assert_eq!(postgres.psql("postgres", "DROP DATABASE other;").1, "");
    }
    let why = refusal(&postgres.url("absent"));
    assert!(why.contains("there is no such database"), "{why}");
    let why = refusal("postgres://me:s3cret@127.0.0.1:1/ledger");
    assert!(why.contains("cannot be reached") && !why.contains("s3cret"), "{why}");
    let why = refusal("postgres://me:s3cret@127.0.0.1:x/ledger");
    assert!(why.contains("the URL is not valid") && !why.contains("s3cret"), "{why}");
    for (arguments, words) in [
        (["backup", "copy.db"].as_slice(), "pg_basebackup"),
        (&["restore", "copy.db"], "pg_basebackup"),
        (&["recharge", "alice", "5"], "--url"),
        (&["verify"], "it is empty"),
    ] {
        let output = cashbox(&[arguments, &["--db", &url]].concat());
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && why.contains(words), "{arguments:?}: {why}");
    }
}

#[test]
fn postgresql_refuses_what_the_program_never_does() {
    let Some((postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": "600.00" })).is(200);
    admin.post("/v1/wallets/alice/holds", json!({ "amount": "5.00", "expires_in_s": 600 })).is(201);
    let entry = "INSERT INTO entry (id, at, kind, from_wallet, to_wallet, amount, from_balance, to_balance, made_by, hash, fence) VALUES";
    for (change, words) in [
        ("UPDATE entry SET amount = 1".to_owned(), "an entry is never edited"),
        ("DELETE FROM entry".to_owned(), "an entry is never deleted"),
        ("TRUNCATE entry CASCADE".to_owned(), "never deleted"),
        (format!("{entry} (9, 0, 'recharge', '@bank', 'alice', 1, 0, 0, 'x', '', NULL)"), "comes after the last one"),
        (
            format!("{entry} (3, 9000000000000000, 'recharge', '@bank', 'alice', 1, 0, 0, 'x', '', NULL)"),
            "states both balances",
        ),
        (
            format!("{entry} (3, 9000000000000000, 'recharge', '@bank', 'alice', 1, -60001, 59501, 'x', '', 7)"),
            "foreign fence",
        ),
        (
            "UPDATE wallet SET balance = balance + 1, entries = entries + 1 WHERE id = 'alice'".to_owned(),
            "as the newest entry says",
        ),
        ("UPDATE wallet SET balance = balance + 1 WHERE id = '@bank'".to_owned(), "as the newest entry says"),
        ("INSERT INTO wallet (id, balance, created_at) VALUES ('eve', 1, 0)".to_owned(), "a wallet starts empty"),
        ("DELETE FROM wallet WHERE id = 'alice'".to_owned(), "never deleted"),
        ("UPDATE coupon SET percent_off = 99".to_owned(), "keeps the terms"),
        ("DELETE FROM coupon".to_owned(), "a coupon is never deleted"),
        ("UPDATE hold SET amount_left = 0".to_owned(), "a hold changes only"),
        ("DELETE FROM hold".to_owned(), "a hold is never deleted"),
        ("UPDATE lock_seq SET fence = -1".to_owned(), "goes back"),
        ("UPDATE journal SET at = 0".to_owned(), "a line of the journal is never edited"),
        (
            "INSERT INTO journal VALUES (99, 0, 'x', 'x', NULL, 0, '{}', sha256(''))".to_owned(),
            "comes after the last one",
        ),
    ] {
        let complaint = postgres.psql("ledger", &format!("{change};")).1;
        assert!(complaint.contains(words), "{change}: {complaint}");
    }
}

#[test]
fn copy_of_ledger_in_postgresql_has_hashes_of_its_server() {
    let Some((_postgres, url)) = database() else { return };
    let server = Server::on_database(&url);
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": "600.00" })).is(200);
    admin.post("/v1/wallets/alice/pay", json!({ "amount": "10.00" })).is(200);
    let line = admin.get("/v1/verify").is(200).json["line"].as_str().unwrap().to_owned();
    let output = cashbox(&["verify", "--db", &url, "--since", &line, "--unchanged"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(&line), "{text}");
    let exported = cashbox(&["export", "--db", &url]);
    assert!(exported.status.success());
    let over_http = admin.get("/v1/export").is(200);
    assert_eq!(
        String::from_utf8(exported.stdout).unwrap().lines().count(),
        String::from_utf8(over_http.body).unwrap().lines().count()
    );
}
