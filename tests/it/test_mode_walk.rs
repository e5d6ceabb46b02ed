//! A server for tests, walked at random: requests under faults and pauses, clocks, states kept and brought back. Each request is
//! asked again under its key until it is answered, and a plain map says what every wallet must hold.

use super::dice::Dice;
use super::server::{Answer, Asking, Client};
use cashbox::testing::{FaultAction, PausePoint, RequestMatch, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const USERS: [&str; 2] = ["alice", "bob"];
const STEPS: usize = 200;
const HOLD_S: i64 = 60;
/// More faults than are ever planned at once, each for two requests.
const TRIES_MAX: usize = 2 * STEPS;
/// Keys are kept for 30 days.
const KEY_MS: i64 = 29 * 86_400_000;

/// The contents that the file must have.
#[derive(Clone, Default)]
struct Model {
    cents: [i64; 2],
    /// By number: the user, the amount, and the time at which it expires.
    holds: BTreeMap<i64, (usize, i64, i64)>,
    /// Requests that were answered, and when.
    asked: Vec<(Asking, i64)>,
    now_ms: i64,
}

struct Walk {
    server: Server,
    admin: Client,
    dice: Dice,
    model: Model,
    kept: BTreeMap<String, Model>,
}

/// The answer; None if the connection was closed instead.
fn answered(asking: &Asking) -> Option<Answer> {
    let stream = asking.begin();
    let is_open = stream.peek(&mut [0]).is_ok_and(|count| count > 0);
    is_open.then(|| asking.read(stream))
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

impl Walk {
    /// Asks until a rule has answered.
    fn until_answered(&mut self, asking: &Asking) -> Answer {
        for _ in 0..TRIES_MAX {
            match answered(asking) {
                Some(answer) if [200, 201, 402, 404, 409].contains(&answer.status) => return answer,
                Some(answer) => assert!([500, 503].contains(&answer.status), "{answer:?}"),
                None => {}
            }
        }
        panic!("no answer")
    }

    /// A change under a key of its own. True if it was done.
    fn change(&mut self, step: usize, path: &str, body: Value) -> (bool, Answer) {
        let asking = self.admin.ask("POST", path).header("Idempotency-Key", &format!("step-{step}")).json(body);
        let answer = self.until_answered(&asking);
        self.model.asked.push((asking, self.model.now_ms));
        (answer.status < 300, answer)
    }

    fn step(&mut self, step: usize) {
        let (user, cents) = (self.dice.below(2), 1 + self.dice.below(5_000) as i64);
        let path = |verb: &str| format!("/v1/wallets/{}/{verb}", USERS[user]);
        let amount = money(cents);
        match self.dice.below(13) {
            0 | 1 => {
                assert!(self.change(step, &path("recharge"), json!({ "amount": "50" })).0);
                self.model.cents[user] += 5_000;
            }
            2 => {
                let done = self.change(step, &path("withdraw"), json!({ "amount": amount })).0;
                assert_eq!(done, self.model.cents[user] >= cents);
                self.model.cents[user] -= if done { cents } else { 0 };
            }
            3 => {
                let body = json!({ "amount": amount, "to": USERS[1 - user] });
                if self.change(step, &path("transfer"), body).0 {
                    self.model.cents[user] -= cents;
                    self.model.cents[1 - user] += cents;
                }
            }
            4 => {
                let (done, answer) =
                    self.change(step, &path("holds"), json!({ "amount": amount, "expires_in_s": HOLD_S }));
                if done {
                    self.model.cents[user] -= cents;
                    let number = answer["entry"]["id"].as_i64().unwrap();
                    self.model.holds.insert(number, (user, cents, self.model.now_ms + HOLD_S * 1_000));
                }
            }
            5 => {
                let Some((hold, (user, cents, _))) = self.model.holds.pop_first() else { return };
                let end = *self.dice.pick(&["capture", "void"]);
                assert!(self.change(step, &format!("/v1/holds/{hold}/{end}"), json!({})).0);
                self.model.cents[user] += if end == "void" { cents } else { 0 };
            }
            6 => {
                let effects = [
                    FaultAction::DropBefore,
                    FaultAction::DropAfter,
                    FaultAction::StorageFull,
                    FaultAction::OutcomeUnknown,
                    FaultAction::Delay(1),
                ];
                let effect = *self.dice.pick(&effects);
                self.server.fault(posts(), effect).unwrap();
            }
            7 => {
                let at = *self.dice.pick(&["arrival", "before_commit", "after_commit"]);
                let pause = json!({ "at": at, "longest_ms": 1 + self.dice.below(5), "match": { "method": "POST" } });
                self.admin.post("/test/pauses", pause).is(201);
            }
            8 => {
                let name = format!("state-{}", self.dice.below(3));
                self.server.keep(&name).unwrap();
                self.kept.insert(name, self.model.clone());
            }
            9 => {
                let Some((name, model)) = self.kept.last_key_value() else { return };
                self.server.restore(name).unwrap();
                self.model = model.clone();
            }
            10 if self.dice.one_in(3) => {
                self.server.reset().unwrap();
                self.model = Model::default();
            }
            11 => self.advance(),
            12 => self.ask_again(),
            _ => self.stop_inside(step, user),
        }
    }

    fn advance(&mut self) {
        let ms = *self.dice.pick(&[1_000, 30_000, HOLD_S * 1_000 - 1, HOLD_S * 1_000, 9 * 86_400_000]);
        self.server.advance(Duration::from_millis(ms.unsigned_abs())).unwrap();
        let model = &mut self.model;
        model.now_ms += ms;
        let Model { holds, cents, now_ms, .. } = model;
        holds.retain(|_, (user, held, end)| {
            let is_open = *end > *now_ms;
            cents[*user] += if is_open { 0 } else { *held };
            is_open
        });
    }

    /// Asks again what was answered before: nothing changes.
    fn ask_again(&mut self) {
        let Some((asking, at)) = self.model.asked.first().cloned() else { return };
        if self.model.now_ms - at < KEY_MS {
            assert!(self.until_answered(&asking).was_replayed());
        }
        self.model.asked.remove(0);
    }

    /// A recharge stands inside its transaction; its client disconnects.
    fn stop_inside(&mut self, step: usize, user: usize) {
        self.admin.ask("DELETE", "/test/pauses").send().is(204); // an older one would stop it
        let key = RequestMatch { key: Some(format!("step-{step}")), ..RequestMatch::default() };
        let pause = self.server.pause(key, PausePoint::BeforeCommit).unwrap();
        let path = format!("/v1/wallets/{}/recharge", USERS[user]);
        let asking = self.admin.ask("POST", &path).header("Idempotency-Key", &format!("step-{step}"));
        drop(asking.json(json!({ "amount": "0.07" })).begin());
        // Or a fault ends it. It has come either way, and not only after the contents were replaced.
        if pause.wait(Duration::from_secs(20)) {
            assert!(self.server.keep("never").is_err() && self.server.advance(Duration::from_secs(1)).is_err());
        }
        pause.release();
        assert!(self.change(step, &path, json!({ "amount": "0.07" })).0);
        self.model.cents[user] += 7;
    }

    fn check(&self) {
        for (user, cents) in USERS.iter().zip(self.model.cents) {
            let wallet = self.admin.get(&format!("/v1/wallets/{user}"));
            let balance = if wallet.status == 404 { "0.00".to_owned() } else { wallet.is(200).text("balance") };
            assert_eq!(balance, money(cents), "{user}");
        }
    }
}

fn posts() -> RequestMatch {
    RequestMatch { method: Some("POST".to_owned()), ..RequestMatch::default() }
}

#[test]
fn random_walk_keeps_all_money_where_it_belongs() {
    for dice in Dice::runs(0..2) {
        let server = Server::start_with(7);
        let admin = Client { address: server.address(), token: Some(server.token().to_owned()) };
        let mut walk = Walk { server, admin, dice, model: Model::default(), kept: BTreeMap::new() };
        for step in 0..STEPS {
            walk.step(step);
            if step % 5 == 0 {
                walk.check();
            }
        }
        walk.check();
        assert_eq!(walk.admin.get("/v1/verify").is(200)["findings"], json!([]));
    }
}
