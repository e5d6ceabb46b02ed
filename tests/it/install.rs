//! The files of `docs/install`, given to the programs that they are for, as far as those are on this machine.

use crate::manual::is_installed;
use crate::server::{Server, free_port, until};
use crate::shell::{CommandOutput, Place, Running};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs/install", name].iter().collect()
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn run(program: &str, words: &[&str]) -> CommandOutput {
    CommandOutput::from(Command::new(program).args(words).output().unwrap())
}

#[test]
fn unit_leaves_service_little_to_misuse() {
    if is_installed("systemd-analyze") {
        let unit = file("cashbox.service");
        let words = ["security", "--offline=true", "--threshold=25", "--no-pager", unit.to_str().unwrap()];
        let analyzed = run("systemd-analyze", &words);
        assert!(analyzed.exit == 0 || analyzed.err.contains("unrecognized option"), "{}{}", analyzed.out, analyzed.err);
    }
}

#[test]
fn alerts_use_metrics_that_there_are() {
    let server = Server::start();
    server.admin().post("/v1/wallets/alice/recharge", serde_json::json!({ "amount": "5" })).is(200);
    let metrics = server.admin().get("/metrics").body;
    let metrics = String::from_utf8(metrics).unwrap();
    let alerts = text("alerts.yml");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named: BTreeSet<_> = alerts.split(|c| !is_part(c)).filter(|name| name.starts_with("cashbox_")).collect();
    assert!(named.len() > 4, "{named:?}");
    for name in named {
        assert!(metrics.contains(&format!("\n# TYPE {} ", name.trim_end_matches("_bucket"))), "{name}");
    }
    if is_installed("promtool") {
        let place = Place::new();
        std::fs::copy(file("alerts.yml"), place.path("alerts.yml")).unwrap();
        std::fs::write(place.path("token"), "cbx_0123456789abcdef").unwrap();
        let config =
            text("prometheus.yml").replace("/etc/prometheus/cashbox-token", place.path("token").to_str().unwrap());
        std::fs::write(place.path("prometheus.yml"), config).unwrap();
        let checked = run("promtool", &["check", "config", place.path("prometheus.yml").to_str().unwrap()]);
        assert_eq!(checked.exit, 0, "{}{}", checked.out, checked.err);
    }
}

fn certificate(name: &str) -> String {
    format!("{}/tests/it/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Sends requests over TLS through a proxy on that port to a server with the admin's token in `token`.
fn check_proxy(place: &Place, port: u16) {
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let ca = certificate("ca.pem");
    let token = std::fs::read_to_string(place.path("token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let curl = |words: &[&str]| {
        let ran = run(
            "curl",
            &[&["-sS", "-i", "--http1.1", "--max-time", "15", "--cacert", &ca, "-H", &bearer], words].concat(),
        );
        assert_eq!(ran.exit, 0, "{words:?}: {}", ran.err);
        ran.out.replace('\r', "")
    };
    let paid = curl(&["-H", &format!("Origin: {}", url("")), "-d", "amount=5", &url("/v1/wallets/alice/recharge")]);
    assert!(paid.contains("\"balance\":\"5.00\""), "a page of the same origin: {paid}");
    assert!(paid.to_ascii_lowercase().contains("\nx-request-id: "), "{paid}");
    let cross = curl(&["-H", "Origin: https://other.example", "-d", "amount=5", &url("/v1/wallets/alice/recharge")]);
    assert!(cross.starts_with("HTTP/1.1 403"), "{cross}");
    let item =
        format!("{{\"op\":\"recharge\",\"user\":\"bob\",\"amount\":\"1\",\"reference\":\"{}\"}}\n", "r".repeat(250));
    std::fs::write(place.path("batch"), item.repeat(9_000)).unwrap();
    let body = format!("@{}", place.path("batch").display());
    let batch =
        curl(&["-H", "Content-Type: application/x-ndjson", "-H", "Expect:", "--data-binary", &body, &url("/v1/batch")]);
    assert!(batch.contains("\"balance\":\"9000.00\""), "2.7 MB: {}", &batch[..batch.len().min(500)]);
    let none = curl(&[&url("/v1/entries?order=asc&after=&limit=1")]);
    let cursor = none.rsplit("\"cursor\":\"").next().unwrap().split('"').next().unwrap().to_owned();
    assert!(!cursor.contains('{'), "{none}");
}

#[test]
fn nginx_passes_requests_on() {
    if !is_installed("nginx") || !is_installed("curl") {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    let (port, folder) = (free_port(), place.0.path().display().to_string());
    let block = text("nginx.conf")
        .replace("127.0.0.1:8866", server.url.strip_prefix("http://").unwrap())
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"))
        .replace("server_name wallet.example", "server_name localhost")
        .replace("/etc/ssl/wallet.example.pem", &certificate("localhost.pem"))
        .replace("/etc/ssl/wallet.example.key", &certificate("localhost.key"));
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|name| format!("{name}_temp_path {folder}/{name};\n")).collect();
    let config = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{block}}}\n"
    );
    std::fs::write(place.path("nginx.conf"), config).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.args(["-e", "stderr", "-p", &folder, "-c", "nginx.conf"]);
    let _proxy = started(nginx, port);
    check_proxy(&place, port);
    server.stop();
}

#[test]
fn caddy_passes_requests_on() {
    if !is_installed("caddy") || !is_installed("curl") {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    let port = free_port();
    let (chain, key) = (certificate("localhost.pem"), certificate("localhost.key"));
    let block = text("Caddyfile")
        .replace("127.0.0.1:8866", server.url.strip_prefix("http://").unwrap())
        .replace("\nwallet.example {", &format!("\nhttps://localhost:{port} {{\n\ttls {chain} {key}"));
    std::fs::write(place.path("Caddyfile"), format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{block}"))
        .unwrap();
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(place.path("Caddyfile")).env("HOME", place.0.path());
    let _proxy = started(caddy, port);
    check_proxy(&place, port);
    server.stop();
}

/// A proxy that listens on that port.
fn started(mut command: Command, port: u16) -> Running {
    let proxy = Running::of({
        command.stdout(Stdio::null());
        command
    });
    until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    proxy
}

/// The paths that the pages name are there.
#[test]
fn image_and_page_name_files_that_exist() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md")).unwrap();
    for item in std::fs::read_dir(file("")).unwrap() {
        let name = item.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("(install/{name})")), "docs/install.md names {name}");
    }
}

#[test]
fn curl_sends_body_of_unknown_length() {
    if !is_installed("curl") {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    let send = |options: &str, path: &str, body: &str| {
        let line = format!(
            "printf '%s' \"$BODY\" | curl -sS -T - {options} -H 'Authorization: Bearer cbx_0123456789abcdef' {}{path}",
            server.url
        );
        let output = Command::new("sh").args(["-c", &line]).env("BODY", body).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let json = "-H 'Content-Type: application/json'";
    let recharged = send(&format!("-X POST {json}"), "/v1/wallets/alice/recharge", r#"{"amount":"5"}"#);
    assert_eq!(recharged["balance"], "5.00", "{recharged}");
    let withdrawn = send(json, "/wallet", r#"{"user_id":"alice","amount":"1"}"#);
    assert_eq!(withdrawn["balance"], "4.00", "{withdrawn}");
    let items = r#"{"op":"recharge","user":"alice","amount":"0.01"}"#.to_owned() + "\n";
    let batch = send("-X POST -H 'Content-Type: application/x-ndjson'", "/v1/batch", &items.repeat(2_000));
    assert_eq!(batch["results"][1_999]["balance"], "24.00", "more than one chunk");
    let refused = send("", "/wallet", r#"{"user_id":"alice","amount":"1"}"#);
    assert_eq!(refused["error"], "unsupported_media_type", "{refused}");
    assert!(refused["detail"].as_str().unwrap().starts_with("there is no Content-Type: send application/json"));
}
