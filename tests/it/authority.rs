//! Authority at the moment of the write: an access token is checked again when its command is carried out. And ids in which
//! a hidden character makes one look like another.

use super::damage::spoil;
use super::harness::{Book, acquire, book, by, keyed, lock_id, name, recharge, waiting, withdraw};
use super::server::{Server, until};
use cashbox::internals::command::{Command, RevokeToken};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::{LockId, UserId};
use cashbox::internals::lock;
use cashbox::internals::store::Envelope;
use cashbox::internals::token::{AccessToken, NewToken, Role};
use serde_json::json;
use std::sync::Arc;

/// A new access token.
pub fn minted(book: &Book, role: Role, user: Option<&str>, expires_in_s: Option<i64>) -> Arc<AccessToken> {
    let user = user.map(|user| UserId::parse(user).unwrap());
    Arc::new(book.must(NewToken { role, user, prefix: None, expires_in_s, note: None }).token)
}

pub fn with(token: &Arc<AccessToken>, envelope: Envelope) -> Envelope {
    Envelope { access_token: Some(Arc::clone(token)), ..by(token.caller(), envelope) }
}

fn revoke(token: &AccessToken) -> RevokeToken {
    RevokeToken(token.id.clone())
}

#[test]
fn revoked_token_moves_nothing_of_parked_requests() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let (alice, id) = server.mint(json!({ "role": "user", "user": "alice" }));
    let lock = admin.post("/v1/locks/wallet/alice", json!({})).is(201).text("token");
    let asking = |key: &str| {
        let asking = alice.ask("PUT", "/wallet").header("Prefer", "wait=30");
        asking.header("Idempotency-Key", key).form("money=1")
    };
    let parked: Vec<_> = ["a", "b", "c"].map(|key| (asking(key), asking(key).begin())).into_iter().collect();
    until(|| admin.get("/v1/locks/wallet/alice").is(200)["queue"] == 3);
    admin.ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    admin.ask("DELETE", "/v1/locks/wallet/alice").header("Lock-Token", &lock).send().is(204);
    for (asking, stream) in parked {
        asking.read(stream).refuses(401, "unauthenticated");
    }
    assert_eq!(admin.balance("alice"), "50.00");
    let again =
        server.user("alice").ask("PUT", "/wallet").header("Idempotency-Key", "a").form("money=1").send().is(200);
    assert!(!again.was_replayed(), "the refusal was not stored");
}

#[test]
fn revoked_or_expired_token_carries_nothing_out() {
    let book = book();
    book.must(recharge("alice", "50"));
    let revoked = minted(&book, Role::Teller, None, None);
    let expired = minted(&book, Role::User, Some("alice"), Some(60));
    assert!(book.submit(with(&expired, keyed("k")), withdraw("alice", "1")).result.is_ok());
    book.must(revoke(&revoked));
    book.advance(60_000);
    let another_role =
        Arc::new(AccessToken { role: Role::Admin, ..(*minted(&book, Role::Teller, None, None)).clone() });
    for token in [&revoked, &expired, &another_role] {
        let commands =
            [withdraw("alice", "1"), recharge("alice", "1"), acquire("job", "a"), Command::from(revoke(token))];
        for command in commands {
            let outcome = book.submit(with(token, keyed("k")), command);
            assert_eq!((name(&outcome.result), outcome.replayed), (ErrorName::Unauthenticated, false));
        }
    }
    assert!(book.lock("job").is_none());
    assert_eq!(book.balance("alice"), "49.00");
    book.assert_sound();
}

#[test]
fn items_behind_revocation_are_refused() {
    let book = book();
    let token = minted(&book, Role::Admin, None, None);
    let item = |command: Command| (with(&token, Envelope::local()), command);
    let items = vec![item(recharge("alice", "1")), item(revoke(&token).into()), item(recharge("alice", "1"))];
    let names: Vec<_> =
        book.submit_all(items).iter().map(|outcome| outcome.result.as_ref().err().map(|e| e.name)).collect();
    assert_eq!(names, [None, None, Some(ErrorName::Unauthenticated)]);
    assert_eq!(book.balance("alice"), "1.00");
}

#[test]
fn waiter_of_revoked_token_gets_no_lock() {
    let book = book();
    let first = book.acquire("job", "first").unwrap();
    let (revoked, good) = (minted(&book, Role::Teller, None, None), minted(&book, Role::Teller, None, None));
    std::thread::scope(|scope| {
        let book = &book;
        let waits = |token: &Arc<AccessToken>| {
            let envelope = with(token, waiting(30_000));
            scope.spawn(move || book.submit(envelope, acquire("job", "second")).result)
        };
        let refused = waits(&revoked);
        book.until_parked(1);
        let granted = waits(&good);
        until(|| book.stats().commands.load(std::sync::atomic::Ordering::Relaxed) >= 5);
        book.must(revoke(&revoked));
        book.release("job", &first.token).unwrap();
        assert_eq!(name(&refused.join().unwrap()), ErrorName::Unauthenticated);
        assert!(granted.join().unwrap().is_ok(), "the same request under another token is served");
    });
    assert_eq!(book.lock("job").map(|lock| lock.id), Some(lock_id("job")));
}

#[test]
fn hidden_character_is_refused_in_ids_and_read_in_old_ones() {
    for hidden in [
        "\u{ad}", "\u{61c}", "\u{200b}", "\u{200f}", "\u{2028}", "\u{202e}", "\u{2060}", "\u{2069}", "\u{feff}",
        "\u{7}",
    ] {
        assert!(LockId::parse(&format!("job{hidden}")).is_err(), "{hidden:?}");
    }
    assert!(LockId::parse("nächtlicher Lauf 夜间").is_ok());
    let book = book();
    book.acquire("job", "first").unwrap();
    let event = "INSERT INTO lock_event SELECT seq + 1, id, what, e.fence, previous_fence, e.secret_hash, e.holder, made_by, \
                 reason, lease_ms, at FROM lock_event e JOIN lock";
    let renamed = "UPDATE lock SET id = 'job' || char(8238)";
    spoil(&book.path(), |conn| conn.execute_batch(&format!("{renamed}; {event}")).unwrap());
    let ids = book.read(|tx| lock::list(tx, &Default::default(), "", 10)).unwrap().rows;
    assert_eq!(ids.iter().map(|lock| lock.id.as_str()).collect::<Vec<_>>(), ["job\u{202e}"]);
    book.assert_sound();
}
