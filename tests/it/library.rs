//! The library as a program uses it: [`cashbox::Cashbox`] and what it gives.

use cashbox::{Cashbox, ErrorName, HoldState, LockId, SpendingLimits, UserId, WalletId, WalletStatus};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

struct Opened {
    cashbox: Cashbox,
    folder: tempfile::TempDir,
    alice: UserId,
    bob: UserId,
}

fn opened() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let cashbox = Cashbox::open(folder.path().join("cashbox.db")).unwrap();
    Opened { cashbox, folder, alice: "alice".parse().unwrap(), bob: "bob".parse().unwrap() }
}

fn money(text: &str) -> cashbox::Money {
    text.parse().unwrap()
}

fn wallet_lock() -> LockId {
    "wallet/alice".parse().unwrap()
}

/// Sends a GET with an access token, and returns the whole answer.
fn get(server: &cashbox::ServerHandle, path: &str) -> String {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", server.token()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn verbs_of_the_library_move_money_and_coupons() {
    let Opened { folder: _folder, cashbox, alice, bob, .. } = opened();
    let coupon = cashbox.recharge(&alice, money("300")).unwrap().coupon.unwrap();
    cashbox.recharge(&bob, money("1")).unwrap();
    assert_eq!(cashbox.coupons(&alice).unwrap(), std::slice::from_ref(&coupon));
    let paid = cashbox.request().coupon(&coupon.code).pay(&alice, money("300")).unwrap();
    assert_eq!(paid.entry.from_balance.to_string(), "50.00");
    cashbox.transfer(&alice, &bob, money("20")).unwrap();
    cashbox.request().pay_user(&alice, &bob, money("5")).unwrap();
    cashbox.withdraw(&bob, money("6")).unwrap();
    cashbox.request().refund_part(paid.entry.id, money("50")).unwrap();
    cashbox.refund(paid.entry.id).unwrap();
    let granted = cashbox.grant_coupon(&bob, &coupon.kind).unwrap();
    assert_eq!(cashbox.coupons(&bob).unwrap(), [granted]);
    assert_eq!(cashbox.balance(&alice).unwrap().to_string(), "275.00");
    assert_eq!(cashbox.wallet(&bob).unwrap().entries, 4);
    assert_eq!(cashbox.balance(WalletId::SALES).unwrap().to_string(), "0.00");
    assert_eq!(cashbox.verify().unwrap().findings, []);
}

#[test]
fn holds_of_the_library_are_captured_and_voided() {
    let Opened { folder: _folder, cashbox, alice, bob, .. } = opened();
    let coupon = cashbox.recharge(&alice, money("100")).unwrap().coupon.unwrap();
    cashbox.recharge(&bob, money("1")).unwrap();
    let hold = cashbox.request().reference("bike 7").hold_for(&alice, &bob, money("20"), MINUTE).unwrap().entry.id;
    let other = cashbox.request().coupon(&coupon.code).hold(&alice, money("30"), MINUTE).unwrap().entry.id;
    let numbers: Vec<_> = cashbox.holds(&alice).unwrap().iter().map(|hold| hold.id).collect();
    assert_eq!((numbers, cashbox.held(&alice).unwrap().to_string()), (vec![other, hold], "40.00".to_owned()));
    let part = cashbox.request().keep_rest().capture_part(hold, money("5")).unwrap();
    assert_eq!(part.hold.unwrap().hold.left.0, 1_500);
    let last = cashbox.request().capture_part(hold, money("10")).unwrap().hold.unwrap();
    assert_eq!((last.hold.ended, last.released.unwrap().amount), (Some(HoldState::Captured), money("5")));
    assert_eq!(cashbox.capture(hold).unwrap_err().name, ErrorName::HoldNotOpen);
    cashbox.void(other).unwrap();
    assert_eq!(cashbox.find_hold(other).unwrap().ended, Some(HoldState::Voided));
    let again = cashbox.hold(&alice, money("85"), MINUTE).unwrap().entry.id;
    cashbox.capture(again).unwrap();
    assert_eq!(cashbox.balance(&alice).unwrap().to_string(), "0.00");
    assert!(cashbox.holds(&alice).unwrap().is_empty());
    for expires in [Duration::from_millis(999), Duration::from_secs(31_536_001)] {
        assert_eq!(cashbox.hold(&bob, money("1"), expires).unwrap_err().name, ErrorName::InvalidRequest);
    }
    assert_eq!(cashbox.find_hold(hold.to_string().parse().unwrap()).unwrap().captured.0, 1_500);
    assert_eq!(cashbox.verify().unwrap().findings, []);
}

#[test]
fn settings_of_the_library_bound_what_leaves() {
    let Opened { folder: _folder, cashbox, alice, bob, .. } = opened();
    cashbox.request().create_wallet(&alice).unwrap();
    assert_eq!(cashbox.request().create_wallet(&alice).unwrap_err().name, ErrorName::WalletExists);
    cashbox.recharge(&alice, money("50")).unwrap();
    let named = cashbox.request().set_name(&alice, Some(" Alice B. ")).unwrap();
    assert_eq!(named.name.as_deref(), Some("Alice B."));
    let limits = SpendingLimits { per_payment: Some(money("20")), per_day: Some(money("30")) };
    cashbox.request().set_limits(&alice, limits).unwrap();
    assert_eq!(cashbox.withdraw(&alice, money("20.01")).unwrap_err().name, ErrorName::LimitExceeded);
    cashbox.withdraw(&alice, money("20")).unwrap();
    assert_eq!(cashbox.hold(&alice, money("11"), MINUTE).unwrap_err().name, ErrorName::LimitExceeded);
    cashbox.set_status(&alice, WalletStatus::Frozen).unwrap();
    assert_eq!(cashbox.pay(&alice, money("1")).unwrap_err().name, ErrorName::WalletFrozen);
    assert_eq!(cashbox.set_status(&alice, WalletStatus::Closed).unwrap_err().name, ErrorName::WalletNotEmpty);
    let settings = cashbox.settings(&alice).unwrap();
    assert_eq!((settings.status, settings.limits), (WalletStatus::Frozen, limits));
    assert_eq!(cashbox.settings(&bob).unwrap_err().name, ErrorName::WalletNotFound);
    assert_eq!(cashbox.claim_coupon(&alice, "spring").unwrap_err().name, ErrorName::ClaimCodeNotFound);
    assert_eq!(cashbox.claim_coupon(&alice, "?").unwrap_err().name, ErrorName::InvalidRequest);
}

#[test]
fn dry_run_of_the_library_changes_nothing() {
    let Opened { folder: _folder, cashbox, alice, .. } = opened();
    let tried = cashbox.request().dry_run().recharge(&alice, money("300")).unwrap();
    assert!(tried.created && tried.coupon.is_some());
    assert_eq!(cashbox.balance(&alice).unwrap_err().name, ErrorName::WalletNotFound);
    cashbox.recharge(&alice, money("10")).unwrap();
    let lease = cashbox.lock(&wallet_lock(), MINUTE).unwrap();
    let waiting = cashbox.request().dry_run().wait(MINUTE).withdraw(&alice, money("1"));
    assert_eq!(waiting.unwrap_err().name, ErrorName::Locked);
    lease.release().unwrap();
    let tried = cashbox.request().dry_run().key("k").hold(&alice, money("4"), MINUTE).unwrap();
    assert_eq!(tried.entry.from_balance.to_string(), "6.00");
    cashbox.request().key("k").hold(&alice, money("5"), MINUTE).unwrap();
    let try_again = || cashbox.request().dry_run();
    for refused in [
        try_again().grant_coupon(&alice, "3").map(drop),
        try_again().create_wallet(&alice).map(drop),
        try_again().set_name(&alice, None).map(drop),
        try_again().lock(&wallet_lock(), MINUTE).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().name, ErrorName::InvalidRequest);
    }
    assert_eq!((cashbox.wallet(&alice).unwrap().entries, cashbox.holds(&alice).unwrap().len()), (2, 1));
}

#[test]
fn transfer_to_the_same_wallet_is_refused() {
    let Opened { folder: _folder, cashbox, alice, .. } = opened();
    cashbox.recharge(&alice, money("5")).unwrap();
    for refused in [
        cashbox.transfer(&alice, &alice, money("1")),
        cashbox.request().pay_user(&alice, &alice, money("1")),
        cashbox.request().reference("x".repeat(256)).withdraw(&alice, money("1")),
        cashbox.request().metadata("", "empty name").withdraw(&alice, money("1")),
        cashbox.request().key("with space").withdraw(&alice, money("1")),
    ] {
        assert_eq!(refused.unwrap_err().name, ErrorName::InvalidRequest);
    }
    assert_eq!(cashbox.wallet(&alice).unwrap().entries, 1);
}

#[test]
fn repeat_under_one_key_has_one_effect() {
    let Opened { folder: _folder, cashbox, alice, .. } = opened();
    let first = cashbox.request().key("k1").reference("r").metadata("a", "b").recharge(&alice, money("5")).unwrap();
    let again = cashbox.request().key("k1").reference("r").metadata("a", "b").recharge(&alice, money("5")).unwrap();
    assert_eq!(first, again);
    assert_eq!(first.entry.metadata.as_deref(), Some(r#"{"a":"b"}"#));
    let other = cashbox.request().key("k1").recharge(&alice, money("6")).unwrap_err();
    assert_eq!(other.name, ErrorName::IdempotencyKeyReused);
}

#[test]
fn history_gives_every_entry_once_newest_first() {
    let Opened { folder: _folder, cashbox, alice, bob, .. } = opened();
    cashbox.recharge(&alice, money("500")).unwrap();
    cashbox.recharge(&bob, money("1")).unwrap();
    for _ in 0..249 {
        cashbox.withdraw(&alice, money("1")).unwrap();
    }
    let mut history = cashbox.history(&alice);
    let newest = history.next().unwrap().unwrap();
    cashbox.withdraw(&alice, money("1")).unwrap(); // after the history began
    let numbers: Vec<i64> =
        std::iter::once(newest).chain(history.map(Result::unwrap)).map(|entry| entry.id.0).collect();
    let expected: Vec<i64> = (3..=251).rev().chain([1]).collect();
    assert_eq!(numbers, expected);
    assert_eq!(cashbox.history(&UserId::parse("ghost").unwrap()).count(), 0);
}

#[test]
fn dropped_lease_releases_its_lock() {
    let Opened { folder: _folder, cashbox, alice, .. } = opened();
    cashbox.recharge(&alice, money("50")).unwrap();
    let lease = cashbox.lock(&wallet_lock(), MINUTE).unwrap();
    assert!(lease.remaining() > MINUTE / 2 && lease.remaining() <= MINUTE);
    assert_eq!(cashbox.withdraw(&alice, money("1")).unwrap_err().name, ErrorName::Locked);
    let moved = cashbox.request().under(lease.token()).withdraw(&alice, money("1")).unwrap();
    assert_eq!(moved.entry.fence, Some(lease.fence()));
    drop(lease);
    cashbox.withdraw(&alice, money("1")).unwrap();
}

#[test]
fn released_lease_proves_nothing_afterwards() {
    let Opened { folder: _folder, cashbox, alice, .. } = opened();
    cashbox.recharge(&alice, money("50")).unwrap();
    let mut lease = cashbox.lock(&wallet_lock(), MINUTE).unwrap();
    lease.renew(2 * MINUTE).unwrap();
    assert!(lease.remaining() > MINUTE);
    let (token, fence) = (lease.token().clone(), lease.fence());
    lease.release().unwrap();
    let lost = cashbox.request().under(&token).withdraw(&alice, money("1")).unwrap_err();
    assert_eq!(lost.name, ErrorName::LockLost);
    let next = cashbox.lock(&wallet_lock(), MINUTE).unwrap();
    assert!(next.fence() > fence);
    let many: Vec<LockId> = (0..17).map(|number| format!("job {number}").parse().unwrap()).collect();
    for refused in [
        cashbox.request().lock_all(&many, MINUTE),
        cashbox.request().lock_all(&[], MINUTE),
        cashbox.request().holder("x".repeat(256)).lock(&many[0], MINUTE),
    ] {
        assert_eq!(refused.unwrap_err().name, ErrorName::InvalidRequest);
    }
    for ttl in [Duration::ZERO, Duration::from_secs(86_401)] {
        let refused = cashbox.lock(&"other".parse().unwrap(), ttl).unwrap_err();
        assert_eq!(refused.name, ErrorName::InvalidRequest);
    }
}

#[test]
fn waiting_lock_is_granted_when_released() {
    let Opened { folder: _folder, cashbox, .. } = opened();
    let ids: [LockId; 2] = ["b".parse().unwrap(), "a".parse().unwrap()];
    let both = cashbox.request().holder("first").lock_all(&ids, MINUTE).unwrap();
    let refused = cashbox.lock(&ids[0], MINUTE).unwrap_err();
    assert_eq!(refused.name, ErrorName::Locked);
    assert!(refused.detail.contains("first"), "{refused}");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| cashbox.request().wait(MINUTE).lock(&ids[0], MINUTE).unwrap());
        both.release().unwrap();
        waiting.join().unwrap().release().unwrap();
    });
}

#[test]
fn open_file_is_refused_to_another_server() {
    let Opened { folder, cashbox, alice, .. } = opened();
    cashbox.recharge(&alice, money("5")).unwrap();
    let path = folder.path().join("cashbox.db");
    let server = cashbox.serve("127.0.0.1:0").unwrap();
    let refused = Cashbox::open(&path).unwrap_err().to_string();
    assert!(
        refused.starts_with(&format!("cannot open {}: the server at {}", path.display(), server.url())),
        "{refused}"
    );
    assert_eq!(cashbox.serve("127.0.0.1:0").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    server.stop();
    drop(cashbox);
    let reopened = Cashbox::open(&path).unwrap();
    assert_eq!(reopened.balance(&alice).unwrap().to_string(), "5.00");
}

#[test]
fn served_file_answers_http_and_the_library() {
    let Opened { folder: _folder, cashbox, alice, .. } = opened();
    let server = cashbox.serve("127.0.0.1:0").unwrap();
    cashbox.recharge(&alice, money("5")).unwrap();
    let answer = get(&server, "/v1/wallets/alice");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""balance":"5.00""#), "{answer}");
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err(), "the server has stopped");
    cashbox.recharge(&alice, money("5")).unwrap();
    cashbox.serve("127.0.0.1:0").unwrap().stop();
}

#[test]
fn stopped_server_ends_http_waiting_only() {
    let Opened { folder: _folder, cashbox, .. } = opened();
    let id: LockId = "job".parse().unwrap();
    let server = cashbox.serve("127.0.0.1:0").unwrap();
    let lease = cashbox.lock(&id, MINUTE).unwrap();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let body = r#"{"wait_ms":60000}"#;
    write!(
        socket,
        "POST /v1/locks/job HTTP/1.0\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.token(),
        body.len()
    )
    .unwrap();
    while !get(&server, "/v1/locks/job").contains(r#""queue":1"#) {}
    thread::scope(|scope| {
        let waiting = scope.spawn(|| cashbox.request().wait(MINUTE).lock(&id, MINUTE).unwrap());
        while !get(&server, "/v1/locks/job").contains(r#""queue":2"#) {}
        let begun = Instant::now();
        server.stop();
        assert!(begun.elapsed() < Duration::from_secs(5), "stopping did not wait for the lock");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        lease.release().unwrap();
        waiting.join().unwrap().release().unwrap();
    });
}

#[test]
fn backup_of_the_library_opens_as_a_file() {
    let Opened { folder, cashbox, alice, .. } = opened();
    cashbox.recharge(&alice, money("5")).unwrap();
    let target = folder.path().join("copy.db");
    let report = cashbox.backup(&target).unwrap();
    assert_eq!((report.entries, report.findings.len()), (1, 0));
    cashbox.backup(&target).unwrap_err();
    let copy = Cashbox::open(&target).unwrap();
    assert_eq!(copy.balance(&alice).unwrap().to_string(), "5.00");
}
