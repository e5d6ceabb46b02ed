//! Coupons with an end, with limits and for a claim code. On a store, and on the real program.

use crate::harness::*;
use crate::server::{Answer, Client, Server};
use crate::shell::Place;
use cashbox::internals::command::{Command, SetCouponKinds, SetTiers};
use cashbox::internals::error::ErrorName::*;
use cashbox::internals::id::ClaimCode;
use cashbox::internals::ledger::WalletStatus;
use cashbox::internals::ledger::coupon::{CouponKind, CouponTerms, Discount, KindLimits, Tier};
use cashbox::internals::ledger::settings::SetWallet;
use cashbox::internals::money::Cents;
use cashbox::internals::store::Envelope;
use serde_json::{Value, json};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn kind(name: &str, off: Discount, limits: KindLimits) -> CouponKind {
    let terms = CouponTerms::new(off, Cents(0), true);
    CouponKind { kind: name.to_owned(), terms, earned_zh: "券".to_owned(), earned_en: "one".to_owned(), limits }
}

/// Ten per cent off, once.
fn tenth(name: &str, limits: KindLimits) -> CouponKind {
    kind(name, Discount::Percent(10), limits)
}

fn code(text: &str) -> Option<ClaimCode> {
    Some(ClaimCode::parse(text).unwrap())
}

/// A book with these kinds and no tiers, and the wallets of alice and bob with 1000.00 each.
fn book_of(kinds: Vec<CouponKind>) -> Book {
    let book = book_with(|options| options.accept_clock = true);
    book.must(SetTiers(Vec::new()));
    book.must(SetCouponKinds(kinds));
    check_on(&book, "recharge alice 1000 | \n recharge bob 1000 |");
    book
}

#[test]
fn percentage_is_bounded_by_max_off() {
    let mut bounded = tenth("a", KindLimits::default());
    bounded.terms.max_off = Some(money("5"));
    bounded.terms.single_use = false;
    let book = book_of(vec![bounded]);
    check_on(
        &book,
        "
        grant alice a             | coupon a
        pay   alice 49.99 coupon a | discount 5.00
        pay   alice 40 coupon a   | discount 4.00
        pay   alice 500 coupon a  | discount 5.00 amount 495.00
        ",
    );
}

#[test]
fn coupon_ends_after_its_days_or_with_its_kind() {
    let now = book().clock.wall_ms();
    let until = now + 5 * DAY_MS;
    let by_days = KindLimits { valid_days: Some(2), ..KindLimits::default() };
    let by_kind = KindLimits { valid_days: Some(30), valid_until: Some(until), ..KindLimits::default() };
    let mut book = book_of(vec![tenth("days", by_days), tenth("kind", by_kind)]);
    let start = book.clock.wall_ms();
    check_on(&book, "grant alice days | coupon days\n grant alice kind | coupon kind\n grant bob days | coupon days");
    let ends: Vec<_> = book.coupons("alice").iter().map(|coupon| coupon.expires_at.unwrap()).collect();
    assert!(ends.contains(&until) && ends.contains(&(start + 2 * DAY_MS)), "{ends:?}");
    book.advance(2 * DAY_MS - 1);
    check_on(&book, "pay alice 10 coupon days | discount 1.00");
    book.advance(1);
    check_on(
        &book,
        "
        pay    bob 10 coupon days   | refused coupon_expired
        refund last                 | coupon days expired
        pay    alice 10 coupon days | refused coupon_expired
        pay    alice 10 coupon kind | discount 1.00
        grant  bob kind             | coupon kind
        ",
    );
    book.advance(until - book.clock.wall_ms());
    check_on(
        &book,
        "
        pay    bob 10 coupon kind   | refused coupon_expired
        grant  bob kind             | refused coupon_not_applicable
        ",
    );
    book.reopen();
    book.assert_sound();
}

#[test]
fn kind_is_given_only_between_its_dates() {
    let start = book().clock.wall_ms();
    let (from, until) = (start + DAY_MS, start + 2 * DAY_MS);
    let limits = KindLimits { valid_from: Some(from), valid_until: Some(until), ..KindLimits::default() };
    let claimed = KindLimits { claim_code: code("spring-24"), ..limits.clone() };
    let book = book_of(vec![tenth("a", limits), tenth("b", claimed)]);
    let refused =
        "grant alice a | refused coupon_not_applicable\n claim alice SPRING-24 | refused coupon_not_applicable";
    check_on(&book, refused);
    book.advance(from - book.clock.wall_ms());
    check_on(&book, "grant alice a | coupon a\n claim alice spring-24 | coupon b");
    book.advance(until - book.clock.wall_ms() - 1);
    check_on(&book, "grant alice a | coupon a");
    book.advance(1);
    check_on(&book, refused);
}

#[test]
fn limits_count_every_coupon_ever_given() {
    let total = KindLimits { total: Some(3), ..KindLimits::default() };
    let each = KindLimits { per_user: Some(2), ..KindLimits::default() };
    let book = book_of(vec![tenth("total", KindLimits::default()), tenth("each", each.clone())]);
    check_on(&book, "grant alice total | coupon total");
    book.must(SetCouponKinds(vec![tenth("each", each.clone())]));
    check_on(&book, "grant alice total | refused coupon_kind_not_found");
    book.must(SetCouponKinds(vec![tenth("total", total.clone()), tenth("each", each.clone())]));
    check_on(
        &book,
        "
        grant alice total | coupon total
        pay   alice 10 coupon total | discount 1.00
        grant bob   total | coupon total
        grant bob   total | refused coupon_limit
        grant alice each  | coupon each
        grant alice each  | coupon each
        grant alice each  | refused coupon_limit
        grant bob   each  | coupon each
        ",
    );
    let refused = book.do_it(grant("alice", "total")).result.unwrap_err();
    assert_eq!(fact(&refused, "limit"), 3);
    let lower = KindLimits { total: Some(1), per_user: Some(1), ..KindLimits::default() };
    book.must(SetCouponKinds(vec![tenth("total", lower.clone()), tenth("each", lower)]));
    check_on(&book, "grant carl total | refused wallet_not_found\n grant bob each | refused coupon_limit");
    book.must(SetCouponKinds(vec![tenth("total", KindLimits::default()), tenth("each", KindLimits::default())]));
    check_on(&book, "grant bob total | coupon total\n grant bob each | coupon each");
}

#[test]
fn recharge_succeeds_when_its_kind_is_used_up() {
    let limited = KindLimits { total: Some(2), per_user: Some(1), ..KindLimits::default() };
    let book = book_of(vec![tenth("a", limited)]);
    book.must(SetTiers(vec![Tier { from: money("10"), kind: Some("a".to_owned()) }]));
    check_on(
        &book,
        "
        recharge alice 10 | coupon a
        recharge alice 10 | coupon none balance 1020.00
        recharge bob   10 | coupon a
        recharge carl  10 | coupon none balance 10.00
        refund   3        |
        recharge bob   10 | coupon none
        ",
    );
    let plain = moved(book.do_it(recharge("dan", "10")).result.unwrap());
    assert_eq!((plain.coupon, plain.message, plain.created), (None, None, true));
    book.assert_sound();
}

#[test]
fn claim_gives_within_limits_and_once() {
    let spring =
        KindLimits { total: Some(3), per_user: Some(1), claim_code: code("SPRING24"), ..KindLimits::default() };
    let book = book_of(vec![tenth("spring", spring)]);
    check_on(
        &book,
        "
        claim alice spring24 | coupon spring
        claim alice SPRING24 | refused coupon_limit
        claim bob   Spring24 | coupon spring
        claim ghost SPRING24 | refused wallet_not_found
        claim ghost NONE     | refused wallet_not_found
        claim bob   NONE     | refused claim_code_not_found
        pay   bob 10 coupon spring | discount 1.00
        ",
    );
    check_on(&book, "recharge carl 1 |\n withdraw carl 1 |\n recharge dan 1 |");
    let set = |user: &str, status| SetWallet {
        user: user_id(user),
        name: None,
        status: Some(status),
        metadata: None,
        limit_per_payment: None,
        limit_per_day: None,
    };
    book.must(set("carl", WalletStatus::Closed));
    book.must(set("dan", WalletStatus::Frozen));
    check_on(
        &book,
        "
        claim carl SPRING24 | refused wallet_closed
        claim carl NONE     | refused wallet_closed
        claim dan  SPRING24 | coupon spring
        claim carl SPRING24 | refused wallet_closed
        ",
    );
    let names: Vec<_> = ["erin", "fred"].map(|user| book.do_it(recharge(user, "1")).result.unwrap()).into();
    assert_eq!(names.len(), 2);
    check_on(&book, "claim erin SPRING24 | refused coupon_limit");
}

#[test]
fn many_claims_at_once_give_exactly_the_limit() {
    const CLIENTS: usize = 100;
    const EACH: usize = 24; // every user claims twice, by two clients
    let spring =
        KindLimits { total: Some(1_000), per_user: Some(1), claim_code: code("SPRING24"), ..KindLimits::default() };
    let book = book_of(vec![tenth("spring", spring)]);
    let users: Vec<String> = (0..CLIENTS * EACH / 2).map(|number| format!("user-{number}")).collect();
    let wallets = users.iter().map(|user| (Envelope::local(), recharge(user, "1"))).collect();
    assert_eq!(book.count_done(wallets), users.len());
    let given = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (book, users, given) = (&book, &users, &given);
            scope.spawn(move || {
                let own = users.iter().cycle().skip(client * EACH / 2).take(EACH);
                let claims = own.map(|user| (Envelope::local(), claim(user, "SPRING24"))).collect();
                given.fetch_add(book.count_done(claims), std::sync::atomic::Ordering::Relaxed);
            });
        }
    });
    assert_eq!(given.into_inner(), 1_000);
    assert_eq!(book.number("SELECT count(*) FROM coupon WHERE kind = 'spring'"), 1_000);
    assert_eq!(book.number("SELECT count(DISTINCT user) FROM coupon WHERE kind = 'spring'"), 1_000);
    assert_eq!(name(&book.do_it(claim("alice", "SPRING24")).result), CouponLimit);
    book.assert_sound();
}

#[test]
fn tier_never_gives_kind_with_claim_code() {
    let claimed = || KindLimits { claim_code: code("ABC"), per_user: Some(1), ..KindLimits::default() };
    let book = book_of(vec![tenth("a", claimed()), tenth("b", KindLimits::default())]);
    let tier = |kind: &str| SetTiers(vec![Tier { from: money("10"), kind: Some(kind.to_owned()) }]);
    assert_eq!(name(&book.do_it(tier("a")).result), InvalidRequest);
    book.must(tier("b"));
    let both = SetCouponKinds(vec![tenth("a", KindLimits::default()), tenth("b", claimed())]);
    assert_eq!(name(&book.do_it(both).result), InvalidRequest);
    check_on(&book, "claim alice ABC | coupon a");
    let swapped = KindLimits { claim_code: code("XYZ"), ..claimed() };
    book.must(SetCouponKinds(vec![
        tenth("a", swapped.clone()),
        tenth("b", KindLimits::default()),
        tenth("c", claimed()),
    ]));
    book.must(SetCouponKinds(vec![tenth("a", claimed()), tenth("b", KindLimits::default()), tenth("c", swapped)]));
    check_on(&book, "claim alice XYZ | coupon c\n claim alice ABC | refused coupon_limit\n claim bob ABC | coupon a");
}

#[test]
fn new_fields_change_only_fingerprints_that_use_them() {
    let print = |kinds: Vec<CouponKind>| Command::from(SetCouponKinds(kinds)).fingerprint();
    let plain = || tenth("a", KindLimits::default());
    let limits = [
        KindLimits { valid_days: Some(1), ..KindLimits::default() },
        KindLimits { valid_from: Some(1), ..KindLimits::default() },
        KindLimits { valid_until: Some(1), ..KindLimits::default() },
        KindLimits { total: Some(1), ..KindLimits::default() },
        KindLimits { per_user: Some(1), ..KindLimits::default() },
        KindLimits { claim_code: code("ABC"), ..KindLimits::default() },
    ];
    let mut all: Vec<_> = limits.into_iter().map(|limits| print(vec![tenth("a", limits)])).collect();
    let mut bounded = plain();
    bounded.terms.max_off = Some(money("0.01"));
    all.extend([print(vec![bounded]), print(vec![plain()]), print(vec![plain(), plain()])]);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

fn set_kinds(client: &Client, kinds: Value) -> Answer {
    client.put("/v1/coupon-kinds", json!({ "coupon_kinds": kinds }))
}

#[test]
fn claim_over_http_is_for_oneself_or_by_staff() {
    let server = Server::start();
    let admin = server.admin();
    admin.put("/v1/tiers", json!({ "tiers": [] })).is(200);
    let spring = json!([{
        "kind": "spring", "percent_off": 50, "max_off": "20", "claim_code": "spring-24", "valid_days": 30,
        "limit_total": 2, "valid_until": "2099-12-31",
    }]);
    let set = set_kinds(&admin, spring).is(200);
    let row = &set.rows()[0];
    assert_eq!((&row["claim_code"], &row["limit_per_user"]), (&json!("SPRING-24"), &json!(1)));
    assert_eq!(row["valid_until"], "2099-12-31T23:59:59.999Z");
    set_kinds(&admin, json!(set.rows())).is(200);
    assert_eq!(admin.get("/v1/coupon-kinds").is(200).rows(), set.rows(), "what is listed can be set");
    let alice = server.user_with("alice", "100");
    server.user_with("bob", "100");
    let path = |user: &str| format!("/v1/wallets/{user}/coupons/claim");
    let claimed = alice.post(&path("alice"), json!({ "code": "Spring-24" })).is(200);
    assert_eq!(claimed.text("msg"), "claimed");
    assert_eq!((&claimed["coupon"]["max_off"], &claimed["coupon"]["state"]), (&json!("20.00"), &json!("usable")));
    assert!(claimed["coupon"]["expires_at"].is_string());
    alice.post(&path("bob"), json!({ "code": "spring-24" })).refuses(403, "forbidden");
    let limit = alice.post(&path("alice"), json!({ "code": "spring-24" })).refuses(409, "coupon_limit");
    assert_eq!(limit["limit"], 1);
    let unknown = alice.post(&path("alice"), json!({ "code": "autumn" })).refuses(404, "claim_code_not_found");
    assert!(!String::from_utf8_lossy(&unknown.body).contains("spring"));
    for wrong in [
        json!({}),
        json!({ "code": "" }),
        json!({ "code": "a b c" }),
        json!({ "code": "ab" }),
        json!({ "code": "é24" }),
    ] {
        alice.post(&path("alice"), wrong).refuses(400, "invalid_request");
    }
    let first = admin.post_once("k", &path("bob"), json!({ "code": "SPRING-24" })).is(200);
    let again = admin.post_once("k", &path("bob"), json!({ "code": "spring-24" })).is(200);
    assert!(again.was_replayed() && again.json == first.json);
    let code = claimed["coupon"]["code"].as_str().unwrap();
    let quote = alice.get(&format!("/v1/coupons/{code}/quote?amount=100")).is(200);
    assert_eq!((&quote["discount"], &quote["amount"]), (&json!("20.00"), &json!("80.00")));
    assert!(!String::from_utf8_lossy(&alice.get("/v1/wallets/alice/coupons").is(200).body).contains("claim"));
    alice.get("/v1/coupon-kinds").refuses(403, "forbidden");
}

#[test]
fn unreadable_limits_of_kinds_are_refused() {
    let server = Server::start();
    let admin = server.admin();
    let kind = |more: Value| {
        let mut kind = json!({ "kind": "a", "percent_off": 10 });
        kind.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kind
    };
    admin.put("/v1/tiers", json!({ "tiers": [] })).is(200);
    for more in [
        json!({ "valid_days": 0 }),
        json!({ "valid_days": 36_526 }),
        json!({ "valid_days": "soon" }),
        json!({ "valid_days": 1.5 }),
        json!({ "valid_from": "yesterday" }),
        json!({ "valid_until": "2026-13-01" }),
        json!({ "valid_from": "2027-01-02", "valid_until": "2027-01-01" }),
        json!({ "valid_until": "9999-12-31T23:59:59-00:01" }),
        json!({ "limit_total": 0 }),
        json!({ "limit_total": -1 }),
        json!({ "limit_per_user": 0 }),
        json!({ "claim_code": "ab" }),
        json!({ "claim_code": "with space" }),
        json!({ "claim_code": "A".repeat(33) }),
        json!({ "claim_code": "ÄBC" }),
        json!({ "given": 1 }),
    ] {
        set_kinds(&admin, json!([kind(more)])).refuses(400, "invalid_request");
    }
    set_kinds(&admin, json!([kind(json!({ "max_off": "0" }))])).refuses(400, "invalid_amount");
    let amount = json!([{ "kind": "a", "amount_off": "5", "max_off": "1" }]);
    set_kinds(&admin, amount).refuses(400, "invalid_request");
    let twice = json!([{ "kind": "a", "amount_off": "5", "claim_code": "abc" }, { "kind": "b", "amount_off": "5", "claim_code": "ABC" }]);
    set_kinds(&admin, twice).refuses(400, "invalid_request");
    assert_eq!(admin.get("/v1/coupon-kinds").is(200).rows().len(), 3);
}

#[test]
fn command_line_claims_and_export_keeps_limits() {
    let place = Place::new();
    place.json("recharge alice 50");
    place.json("recharge bob 50");
    place.json("tiers --set []");
    let kinds =
        r#"[{"kind":"s","percent_off":10,"max_off":"3","claim_code":"SPRING24","limit_total":2,"valid_days":3}]"#;
    place.json(&format!("coupon-kinds --set {kinds}"));
    let claimed = place.run("claim alice spring24");
    assert!(claimed.out.starts_with("claimed\n") && claimed.out.contains("at most 3.00"), "{}", claimed.out);
    assert_eq!(place.run("claim alice spring24").exit, 1);
    assert_eq!(place.run("claim alice x").exit, 2);
    assert!(place.run("coupon-kinds").out.contains("SPRING24"));
    let all = place.run("export").out;
    std::fs::write(place.path("all"), &all).unwrap();
    assert_eq!(place.json("import all --db new.db")["state_hash"], place.json("verify")["state_hash"]);
    assert_eq!(place.run("export --db new.db").out, all);
    place.json("claim bob spring24 --db new.db");
    place.json("create carl --db new.db");
    assert_eq!(place.run("claim carl spring24 --db new.db").exit, 1, "two were given");
    assert_eq!(place.run("verify --db new.db").exit, 0);
}

#[test]
fn coupons_of_all_users_are_listed_by_filter() {
    let server = Server::start();
    let admin = server.admin();
    for user in ["alice", "bob", "carl"] {
        server.user_with(user, "300");
        for kind in ["2", "3", "3"] {
            admin.post(&format!("/v1/wallets/{user}/coupons"), json!({ "kind": kind })).is(200);
        }
    }
    let coupons = admin.get("/v1/coupons?kind=3&user=bob").is(200);
    let code = coupons.rows()[0]["code"].as_str().unwrap().to_owned();
    admin.post("/v1/wallets/bob/pay", json!({ "amount": 20, "coupon": code })).is(200);
    admin.post("/v1/entries/3/refund", json!({})).is(200); // carl's recharge, which earned one of kind 1
    let listed = |query: &str| {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("/v1/coupons?{query}&limit=2&after={after}")).is(200);
            let row = |row: &Value| format!("{}{}", row["user_id"].as_str().unwrap(), row["kind"].as_str().unwrap());
            rows.extend(page.rows().iter().map(row));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return rows.join(" "),
            }
        }
    };
    assert_eq!(listed("kind=3"), "alice3 alice3 bob3 bob3 carl3 carl3");
    assert_eq!(listed("kind=3&state=used"), "bob3");
    assert_eq!(listed("state=used"), "bob3");
    assert_eq!(listed("state=taken_back"), "carl1");
    let code = admin.get("/v1/coupons?kind=1&user=bob").is(200).rows()[0]["code"].clone();
    let held = admin.post("/v1/wallets/bob/holds", json!({ "amount": 300, "coupon": code })).is(201);
    assert_eq!(listed("state=reserved"), "bob1");
    admin.post(&format!("/v1/holds/{}/void", held["hold"]["id"]), json!({})).is(200);
    assert_eq!(listed("state=reserved"), "");
    assert_eq!(listed("user=bob"), "bob1 bob2 bob3 bob3");
    assert_eq!(listed("user=bob&kind=3&state=usable"), "bob3");
    let free = admin.get("/v1/coupons?kind=3&user=alice").is(200).rows()[0]["code"].clone();
    admin.post("/v1/wallets/alice/holds", json!({ "amount": 20, "coupon": free })).is(201);
    assert_eq!(listed("state=reserved"), "alice3");
    assert_eq!(listed("user=alice&kind=3&state=usable"), "alice3");
    assert_eq!(listed("kind=9"), "");
    assert_eq!(listed("state=usable&kind=1"), "alice1 bob1");
    for wrong in ["state=odd", "user=a%20b", "kind=3&after=00", "name=x"] {
        assert_eq!(admin.get(&format!("/v1/coupons?{wrong}")).status, 400, "{wrong}");
    }
}
