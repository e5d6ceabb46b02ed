//! The real program on a temporary file and a free port, and a client that forgives nothing: every answer it reads is
//! held against `/openapi.json` as well.

use crate::postgres;
use cashbox::internals::http::routes;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::{Index, IndexMut};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes, unless it is broken.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks for what others are about to do the machine is theirs.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The admin's access token, chosen by the operator.
pub const ADMIN: &str = "cbx_the-admin-of-these-tests";

/// A running `cashbox serve`, ended when dropped; and what it leaves is audited, whatever a test was about.
pub struct Server {
    process: Child,
    address: SocketAddr,
    /// The file and what else belongs to this server.
    pub folder: TempDir,
    flags: Vec<String>,
    /// The file, or the URL of a database.
    db: OsString,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    pub fn with(flags: &[&str]) -> Server {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("admin"), ADMIN).unwrap();
        Server::on(folder, flags.iter().map(|flag| (*flag).to_owned()).collect())
    }

    /// On the `cashbox.db` of that folder, which it makes if there is none.
    pub fn in_folder(folder: TempDir) -> Server {
        std::fs::write(folder.path().join("admin"), ADMIN).unwrap();
        Server::on(folder, Vec::new())
    }

    /// On a database of a PostgreSQL.
    #[cfg(feature = "postgres")]
    pub fn on_database(url: &str) -> Server {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("admin"), ADMIN).unwrap();
        Server::of(url.into(), folder, Vec::new())
    }

    fn on(folder: TempDir, flags: Vec<String>) -> Server {
        Server::of(db_of(folder.path()), folder, flags)
    }

    fn of(db: OsString, folder: TempDir, flags: Vec<String>) -> Server {
        let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cashbox"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASHBOX_")) {
            command.env_remove(name);
        }
        command.arg("serve").arg("--db").arg(&db).args(["--listen", "127.0.0.1:0"]);
        command.arg("--token-file").arg(folder.path().join("admin")).args(&flags).current_dir(folder.path());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let log = std::fs::read_to_string(folder.path().join("log"));
            panic!("the server says {line:?}, and {log:?}");
        };
        Server { process, address, folder, flags, db }
    }

    /// Killed on the spot, and started again on the same file.
    pub fn killed_and_started_again(mut self) -> Server {
        self.end();
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        Server::of(std::mem::take(&mut self.db), folder, std::mem::take(&mut self.flags))
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Its exit code, at its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    fn end(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        self.process.wait().unwrap();
    }

    /// The process, for what `/proc` says of it.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// These very bytes on a connection of their own, and what comes back until it closes.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    /// A client with that access token.
    pub fn client(&self, token: &str) -> Client {
        Client { address: self.address, token: Some(token.to_owned()) }
    }

    pub fn anonymous(&self) -> Client {
        Client { address: self.address, token: None }
    }

    pub fn admin(&self) -> Client {
        self.client(ADMIN)
    }

    /// A client whose new access token has that role.
    pub fn role(&self, role: &str) -> Client {
        self.mint(json!({ "role": role })).0
    }

    /// A client who is that user.
    pub fn user(&self, user: &str) -> Client {
        self.mint(json!({ "role": "user", "user": user })).0
    }

    /// A client with a new access token, and the token's id.
    pub fn mint(&self, wanted: Value) -> (Client, String) {
        let minted = self.admin().post("/v1/tokens", wanted).is(201);
        (self.client(minted["token"].as_str().unwrap()), minted.text("id"))
    }

    /// A user with a wallet that holds so much.
    pub fn user_with(&self, user: &str, amount: &str) -> Client {
        let client = self.user(user);
        self.admin().post(&format!("/v1/wallets/{user}/recharge"), json!({ "amount": amount })).is(200);
        client
    }

    /// Its ledger is not there any more, so its end is without the audit.
    #[cfg(feature = "postgres")]
    pub fn leave_unaudited(&mut self) {
        self.db.clear();
    }

    /// Every byte the server keeps on disk.
    pub fn bytes_on_disk(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for file in ["cashbox.db", "cashbox.db-wal"] {
            if let Ok(mut file) = File::open(self.folder.path().join(file)) {
                file.read_to_end(&mut bytes).unwrap();
            }
        }
        bytes
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if self.db.to_string_lossy().starts_with("postgres:") && !std::thread::panicking() {
            let mut verify = Command::new(env!("CARGO_BIN_EXE_cashbox"));
            let verified = verify.arg("verify").arg("--db").arg(&self.db).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
            return;
        }
        let file = self.folder.path().join("cashbox.db");
        if file.exists() && !std::thread::panicking() {
            let report = cashbox::internals::store::audit::audit(&file, None, &mut |_, _| {}).expect("the audit runs");
            assert_eq!(report.findings, [], "what the server leaves is sound");
        }
    }
}

/// A port that no process listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The ledger of that folder: its file, or a database with the folder's name.
fn db_of(folder: &Path) -> OsString {
    let Some(postgres) = postgres::of_all_tests() else { return folder.join("cashbox.db").into() };
    let name = folder.file_name().unwrap().to_string_lossy();
    postgres.make(&name);
    postgres.url(&name).into()
}

/// Who asks: an address and an access token.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Client {
    pub fn ask(&self, method: &str, path: &str) -> Asking {
        let asking = Asking {
            address: self.address,
            method: method.to_owned(),
            target: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        match &self.token {
            Some(token) => asking.header("Authorization", &format!("Bearer {token}")),
            None => asking,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path).json(body).send()
    }

    /// A post under an idempotency key.
    pub fn post_once(&self, key: &str, path: &str, body: Value) -> Answer {
        self.ask("POST", path).header("Idempotency-Key", key).json(body).send()
    }

    pub fn balance(&self, user: &str) -> String {
        self.get(&format!("/v1/wallets/{user}")).is(200).text("balance")
    }
}

/// A request that is being written.
#[derive(Clone)]
pub struct Asking {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asking {
    pub fn header(mut self, name: &str, value: &str) -> Asking {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn json(self, body: impl ToString) -> Asking {
        self.body("application/json", body.to_string().as_bytes())
    }

    pub fn form(self, body: &str) -> Asking {
        self.body("application/x-www-form-urlencoded", body.as_bytes())
    }

    pub fn body(mut self, content_type: &str, body: &[u8]) -> Asking {
        self.body = body.to_vec();
        self.header("Content-Type", content_type)
    }

    /// Sent and not read: the caller can read the answer from the stream, or close it.
    pub fn begin(&self) -> TcpStream {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.keeps_alive() {
            text += "Connection: close\r\n";
        }
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            text += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n", self.body.len());
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let _ = stream.write_all(&[text.as_bytes(), &self.body].concat()); // a server may answer before it is all sent
        stream
    }

    /// The answer that comes on the stream.
    pub fn read(&self, mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        while !(self.keeps_alive() && is_whole(&bytes)) {
            let mut more = [0; 8 * 1024];
            match stream.read(&mut more).unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target)) {
                0 => break,
                count => bytes.extend_from_slice(&more[..count]),
            }
        }
        let answer = Answer::parse(&bytes, self.method == "HEAD");
        super::http_openapi::hold_against_its_description(&self.method, &self.target, &answer);
        answer
    }

    pub fn send(&self) -> Answer {
        self.read(self.begin())
    }

    /// True for changes: their answers come from another thread unless the connection ends after them.
    fn keeps_alive(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// True if the bytes are a whole response with a length.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0)
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub json: Value,
}

impl Answer {
    pub fn parse(bytes: &[u8], head_only: bool) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("this is not an HTTP response: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap();
        let mut answer = Answer { status, head, body: bytes[end + 4..].to_vec(), json: Value::Null };
        if answer.header("transfer-encoding") == Some("chunked") && !head_only {
            answer.body = unchunked(&answer.body);
        } else if let Some(length) = answer.header("content-length").filter(|_| !head_only) {
            assert_eq!(length, answer.body.len().to_string(), "the body is as long as the head says");
        }
        answer.json = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn was_replayed(&self) -> bool {
        self.header("Idempotency-Replayed") == Some("true")
    }

    /// A good answer of that status.
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.header("content-type") == Some("application/json") && self.json.get("openapi").is_none() {
            assert_eq!(self.json["code"], status, "every answer has its code");
            assert!(self.json["msg"].is_string(), "every answer has a msg");
        }
        self
    }

    /// A problem of that status and name, with every member a problem has.
    #[track_caller]
    pub fn refuses(self, status: u16, name: &str) -> Answer {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!((self.status, self.json["error"].as_str()), (status, Some(name)), "{body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{body}");
        assert_eq!(self.json["type"], format!("/problems/{name}"), "{body}");
        assert_eq!((&self.json["status"], &self.json["code"]), (&json!(status), &json!(status)), "{body}");
        for member in ["title", "detail", "msg"] {
            assert!(self.json[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {body}");
        }
        self
    }

    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        self.json[field].as_str().unwrap_or_else(|| panic!("{field} in {}", self.json)).to_owned()
    }

    pub fn rows(&self) -> &Vec<Value> {
        self.json["data"].as_array().unwrap()
    }
}

impl Index<&str> for Answer {
    type Output = Value;
    fn index(&self, field: &str) -> &Value {
        &self.json[field]
    }
}

impl IndexMut<&str> for Answer {
    fn index_mut(&mut self, field: &str) -> &mut Value {
        &mut self.json[field]
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk has a size line");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        body.extend(&bytes[line + 2..line + 2 + size]);
        bytes = &bytes[line + 2 + size + 2..];
        if size == 0 {
            return body;
        }
    }
}

/// Waits for what another thread or process is about to do.
#[track_caller]
pub fn until(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !happened() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The names of an object's fields, in order.
pub fn fields(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The description of the API.
pub fn description() -> &'static Value {
    static DESCRIPTION: OnceLock<Value> = OnceLock::new();
    DESCRIPTION.get_or_init(|| {
        let text = include_str!("../../src/http/openapi/openapi.json");
        serde_json::from_str(text).expect("the description is JSON")
    })
}

/// The pattern of the route that a request is for, as the description writes it.
pub fn described_path(method: &str, target: &str) -> Option<String> {
    let path = target.split('?').next().unwrap_or_default();
    let (number, _) = routes::find(method, path).ok()?;
    Some(routes::ROUTES[number].path.replace("...}", "}"))
}
