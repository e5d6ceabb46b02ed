//! Two requests that cross: whatever the point at which the first stands while the other overtakes it, both are answered, and
//! the file is left, as if one had come after the other. By the pauses of a server for tests, so nothing is left to luck.

use super::server::{Answer, Asking, Client};
use cashbox::testing::{PausePoint, RequestMatch, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(2);
const START: &str = "start";

/// A server whose present state is where each race begins.
struct Race {
    server: Server,
    admin: Client,
}

/// The two answers, each with its head, and all that the file holds then.
#[derive(Debug, PartialEq)]
struct End {
    first: String,
    second: String,
    file: String,
}

fn text(answer: &Answer) -> String {
    // The ids of requests follow from the order of arrival, and so does the last use of a token, which is kept in memory.
    let is_compared = |line: &&str| !line.starts_with("X-Request-Id") && !line.starts_with("Content-Length");
    let body = String::from_utf8_lossy(&answer.body);
    let body = body.split_once(",\"last_used_at\"").map_or(&*body, |(before, _)| before);
    format!("{}\n{body}", answer.head.lines().filter(is_compared).collect::<Vec<_>>().join("\n"))
}

fn begin(prepare: impl FnOnce(&Client)) -> Race {
    let server = Server::start();
    let admin = Client { address: server.address(), token: Some(server.token().to_owned()) };
    prepare(&admin);
    server.keep(START).unwrap();
    Race { server, admin }
}

/// A request under a key of its own.
fn post(client: &Client, key: &str, path: &str, body: Value) -> Asking {
    client.ask("POST", path).header("Idempotency-Key", key).header("Prefer", "wait=0").json(body)
}

impl Race {
    fn end(&self, first: &Answer, second: &Answer) -> End {
        let verified = self.admin.get("/v1/verify").is(200);
        assert_eq!(verified["findings"], json!([]));
        let locks = self.admin.get("/v1/lock-events").is(200).json;
        // Hashes of all entries, of the journal and of what both come to.
        End { first: text(first), second: text(second), file: format!("{locks}\n{}", verified["line"]) }
    }

    /// One after the other.
    fn in_turn(&self, first: &Asking, second: &Asking) -> End {
        self.server.restore(START).unwrap();
        let answers = [first.send(), second.send()];
        self.end(&answers[0], &answers[1])
    }

    /// The second is sent while the first stands at that point. Where it stands inside its transaction, the first goes on
    /// before the answer to the second is read.
    fn crossing(&self, first: &Asking, point: PausePoint, second: &Asking) -> End {
        self.server.restore(START).unwrap();
        let pause = self.server.pause(RequestMatch::default(), point).unwrap();
        let standing = first.begin();
        assert!(pause.wait(LONG), "it comes to {point:?}");
        let sent = second.begin();
        if point == PausePoint::BeforeCommit {
            std::thread::sleep(SHORT); // the second comes to the writer meanwhile; later is sound as well
            pause.release();
            let answers = [first.read(standing), second.read(sent)];
            return self.end(&answers[0], &answers[1]);
        }
        let overtaking = second.read(sent);
        pause.release();
        self.end(&first.read(standing), &overtaking)
    }

    /// Each of the requests against each other one.
    fn run(&self, rivals: &[(&str, Asking)]) {
        let pairs = || (0..rivals.len()).flat_map(|a| (0..rivals.len()).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let in_turn: BTreeMap<_, End> =
            pairs().map(|(a, b)| ((a, b), self.in_turn(&rivals[a].1, &rivals[b].1))).collect();
        for (a, b) in pairs() {
            let ((first_name, first), (second_name, second)) = (&rivals[a], &rivals[b]);
            let what = format!("{first_name} and {second_name}");
            let (after, before) = (&in_turn[&(a, b)], &in_turn[&(b, a)]);
            assert!(after.first.starts_with("HTTP/1.1 2"), "{what}: {after:?}"); // else it comes to no commit
            let overtaken = self.crossing(first, PausePoint::Arrival, second);
            assert_eq!((&overtaken.first, &overtaken.second), (&before.second, &before.first), "{what}");
            assert_eq!(overtaken.file, before.file, "{what}");
            assert_eq!(&self.crossing(first, PausePoint::BeforeCommit, second), after, "{what}");
            assert_eq!(&self.crossing(first, PausePoint::AfterCommit, second), after, "{what}");
        }
    }
}

/// Alice has 380.00 and a coupon that takes 50.00 off 300.00; 100.00 more are in hold 4.
fn money(admin: &Client) -> String {
    let earned = admin.post("/v1/wallets/alice/recharge", json!({ "amount": "300" })).is(200);
    (0..2).for_each(|_| _ = admin.post("/v1/wallets/alice/recharge", json!({ "amount": "90" })).is(200));
    admin.post("/v1/wallets/alice/holds", json!({ "amount": "100", "expires_in_s": 60 })).is(201);
    admin.post("/v1/wallets/bob", json!({})).is(201);
    earned["coupon"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn requests_for_the_last_money_end_as_in_turn() {
    let mut coupon = String::new();
    let race = begin(|admin| coupon = money(admin));
    let ask = |key: &str, path: &str, body: Value| post(&race.admin, key, path, body);
    race.run(&[
        ("withdraw", ask("a", "/v1/wallets/alice/withdraw", json!({ "amount": "380" }))),
        ("pay", ask("c", "/v1/wallets/alice/pay", json!({ "amount": "300", "coupon": coupon }))),
        ("hold", ask("e", "/v1/wallets/alice/holds", json!({ "amount": "300", "coupon": coupon }))),
        ("refund", ask("f", "/v1/entries/1/refund", json!({}))),
        ("freeze", race.admin.ask("PATCH", "/v1/wallets/alice").json(json!({ "status": "frozen" }))),
    ]);
}

#[test]
fn requests_that_end_a_hold_end_as_in_turn() {
    let race = begin(|admin| _ = money(admin));
    let ask = |key: &str, path: &str, body: Value| post(&race.admin, key, path, body);
    race.run(&[
        ("capture", ask("a", "/v1/holds/4/capture", json!({}))),
        ("part", ask("b", "/v1/holds/4/capture", json!({ "amount": "60", "final": false }))),
        ("other part", ask("c", "/v1/holds/4/capture", json!({ "amount": "70", "final": false }))),
        ("void", ask("d", "/v1/holds/4/void", json!({}))),
    ]);
    race.run(&[
        ("refund", ask("e", "/v1/entries/2/refund", json!({ "amount": "50" }))),
        ("refund again", ask("f", "/v1/entries/2/refund", json!({ "amount": "60" }))),
    ]);
}

#[test]
fn requests_under_one_key_end_as_in_turn() {
    let race = begin(|admin| _ = money(admin));
    let ask = |user: &str, amount: &str| {
        post(&race.admin, "k", &format!("/v1/wallets/{user}/withdraw"), json!({ "amount": amount }))
    };
    let again = post(&race.admin, "k", "/v1/wallets/alice/recharge", json!({ "amount": "300" }));
    race.run(&[
        ("one", ask("alice", "10")),
        ("double", ask("alice", "10")),
        ("other", ask("alice", "11")),
        ("verb", again),
    ]);
}

#[test]
fn claims_and_settings_end_as_in_turn() {
    let mut tag = String::new();
    let mut teller = String::new();
    let race = begin(|admin| {
        money(admin);
        let kinds = json!([
            { "kind": "spring", "percent_off": 50, "claim_code": "SPRING", "limit_total": 1 },
            { "kind": "1", "amount_off": "50", "threshold": "300" },
            { "kind": "2", "percent_off": 20 },
            { "kind": "3", "amount_off": "10" },
        ]);
        admin.put("/v1/coupon-kinds", json!({ "coupon_kinds": kinds })).is(200);
        tag = admin.get("/v1/tiers").is(200).header("ETag").unwrap().to_owned();
        teller = admin.post("/v1/tokens", json!({ "role": "teller" })).is(201).text("token");
    });
    let teller = Client { token: Some(teller), ..race.admin.clone() };
    let id = race.admin.get("/v1/tokens").is(200).rows()[0]["id"].as_str().unwrap().to_owned();
    let tiers = |from: &str| {
        let asking = race.admin.ask("PUT", "/v1/tiers").header("If-Match", &tag);
        asking.json(json!({ "tiers": [{ "from": from, "coupon_kind": "3" }] }))
    };
    let claim = json!({ "code": "SPRING" });
    let claims = [
        ("claim", post(&race.admin, "a", "/v1/wallets/alice/coupons/claim", claim.clone())),
        ("other claim", post(&race.admin, "b", "/v1/wallets/bob/coupons/claim", claim)),
    ];
    race.run(&[
        claims[1].clone(),
        ("close", race.admin.ask("PATCH", "/v1/wallets/bob").json(json!({ "status": "closed" }))),
        ("transfer", post(&teller, "c", "/v1/wallets/alice/transfer", json!({ "to": "bob", "amount": "1" }))),
        ("revoke", race.admin.ask("DELETE", &format!("/v1/tokens/{id}"))),
    ]);
    race.run(&claims);
    race.run(&[("tiers", tiers("7")), ("other tiers", tiers("8"))]);
}

#[test]
fn requests_for_one_lock_end_as_in_turn() {
    let (mut held, mut fence) = (String::new(), Value::Null);
    let race = begin(|admin| {
        money(admin);
        let grant = admin.post("/v1/locks/wallet/alice", json!({ "ttl_ms": 1_000, "grace_ms": 0 })).is(201);
        (held, fence) = (grant.text("token"), grant["fence"].clone());
    });
    let with =
        |method: &str, path: &str| race.admin.ask(method, path).header("Lock-Token", &held).header("Prefer", "wait=0");
    let acquire = |id: &str, holder: &str| race.admin.ask("POST", id).json(json!({ "holder": holder }));
    let rivals = |late: bool| {
        let mut all = vec![
            ("pay", with("POST", "/v1/wallets/alice/pay").json(json!({ "amount": "1" }))),
            ("renew", with("PATCH", "/v1/locks/wallet/alice").json(json!({ "ttl_ms": 60_000 }))),
            ("release", with("DELETE", "/v1/locks/wallet/alice")),
            (
                "revoke",
                race.admin.ask("POST", "/v1/locks/wallet/alice/revoke").json(json!({ "fence": fence, "delay_ms": 0 })),
            ),
        ];
        if late {
            all.push(("take over", acquire("/v1/locks/wallet/alice", "ben")));
            all.push(("pay without it", post(&race.admin, "k", "/v1/wallets/alice/pay", json!({ "amount": "2" }))));
        }
        all
    };
    race.run(&rivals(false));
    race.server.restore(START).unwrap();
    race.server.advance(Duration::from_secs(1)).unwrap();
    race.server.keep(START).unwrap();
    race.run(&rivals(true)); // the lease is over, and any client may take the lock
    let both = |ids: Value| race.admin.ask("POST", "/v1/locks").json(json!({ "ids": ids }));
    race.run(&[
        ("a and b", both(json!(["a", "b"]))),
        ("b and a", both(json!(["b", "a"]))),
        ("a", acquire("/v1/locks/a", "ben")),
        ("any", race.admin.ask("POST", "/v1/locks").json(json!({ "any": ["b", "c"] }))),
    ]);
}
