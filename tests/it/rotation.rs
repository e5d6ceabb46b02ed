//! Rotation: another secret for the same caller, by an admin or by a changed `--token-file`.

use super::authority::{minted, with};
use super::harness::{book, keyed, name, recharge, waiting, withdraw};
use super::server::{Client, Server};
use super::shell::Place;
use cashbox::internals::command::AdoptToken;
use cashbox::internals::error::ErrorName;
use cashbox::internals::store::Envelope;
use cashbox::internals::token::{self, Role, RotateToken};
use serde_json::json;
use std::fs;

#[test]
fn rotated_token_is_same_caller_with_another_secret() {
    let server = Server::start();
    let admin = server.admin();
    admin.post("/v1/wallets/alice/recharge", json!({ "amount": 50 })).is(200);
    let (old, id) = server.mint(json!({ "role": "teller", "note": "till" }));
    let pay = json!({ "amount": 10 });
    old.post_once("pay-1", "/v1/wallets/alice/withdraw", pay.clone()).is(200);
    let rotated = admin.post(&format!("/v1/tokens/{id}/rotate"), json!({})).is(200);
    assert_eq!((rotated.text("id"), rotated.text("role"), rotated.text("note")), (id, "teller".into(), "till".into()));
    let new = server.client(&rotated.text("token"));
    assert!(new.post_once("pay-1", "/v1/wallets/alice/withdraw", pay).is(200).was_replayed());
    assert_eq!(new.balance("alice"), "40.00");
    let refused = old.get("/v1/wallets/alice");
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    refused.refuses(401, "unauthenticated");
}

#[test]
fn overlap_keeps_two_secrets_and_no_third() {
    let server = Server::start();
    let (first, id) = server.mint(json!({ "role": "auditor" }));
    let rotate = |overlap: i64| {
        let rotated = server.admin().post(&format!("/v1/tokens/{id}/rotate"), json!({ "overlap_s": overlap })).is(200);
        server.client(&rotated.text("token"))
    };
    let second = rotate(600);
    let accepts = |clients: [&Client; 2]| clients.into_iter().for_each(|client| _ = client.get("/v1/wallets").is(200));
    accepts([&first, &second]);
    let third = rotate(600);
    first.get("/v1/wallets").refuses(401, "unauthenticated");
    accepts([&second, &third]);
    server.admin().ask("DELETE", &format!("/v1/tokens/{id}")).send().is(200);
    for client in [&second, &third] {
        client.get("/v1/wallets").refuses(401, "unauthenticated");
    }
    server.admin().post(&format!("/v1/tokens/{id}/rotate"), json!({})).refuses(400, "invalid_request");
}

#[test]
fn overlap_ends_when_its_time_is_over() {
    let book = book();
    let old = minted(&book, Role::Admin, None, None);
    let rotated = book.must(RotateToken { id: old.id.clone(), overlap_s: 60 });
    let new = std::sync::Arc::new(rotated.token);
    for (after_ms, old_is_refused) in [(0, false), (59_999, false), (1, true)] {
        book.advance(after_ms);
        assert_eq!(book.submit(with(&old, keyed("k")), recharge("alice", "1")).result.is_err(), old_is_refused);
        assert!(book.submit(with(&new, keyed("k")), recharge("alice", "1")).result.is_ok());
    }
    assert_eq!(book.balance("alice"), "1.00");
    book.assert_sound();
}

#[test]
fn parked_request_of_replaced_secret_is_refused() {
    let book = book();
    book.must(recharge("alice", "5"));
    let token = minted(&book, Role::Teller, None, None);
    let held = book.acquire("wallet/alice", "holder").unwrap();
    std::thread::scope(|scope| {
        let parked = scope.spawn(|| book.submit(with(&token, waiting(30_000)), withdraw("alice", "1")));
        book.until_parked(1);
        book.must(RotateToken { id: token.id.clone(), overlap_s: 0 });
        book.release("wallet/alice", &held.token).unwrap();
        assert_eq!(name(&parked.join().unwrap().result), ErrorName::Unauthenticated);
    });
    assert_eq!(book.balance("alice"), "5.00");
}

#[test]
fn token_that_rotates_itself_needs_overlap() {
    let server = Server::start();
    let (own, id) = server.mint(json!({ "role": "admin" }));
    let path = format!("/v1/tokens/{id}/rotate");
    let refused = own.post(&path, json!({ "overlap_s": 59 })).refuses(400, "invalid_request");
    assert_eq!(refused["field"], "overlap_s");
    own.post(&path, json!({ "overlap_s": 60 })).is(200);
    own.get("/v1/tokens").is(200);
    for bad in [json!({ "overlap_s": -1 }), json!({ "overlap_s": 604_801 }), json!({ "overlap": 1 })] {
        server.admin().post(&path, bad).refuses(400, "invalid_request");
    }
    server.admin().post_once("k", &path, json!({})).refuses(400, "invalid_request");
    server.admin().post("/v1/tokens/tok:none/rotate", json!({})).refuses(404, "token_not_found");
}

#[test]
fn secret_given_at_start_rotates_one_before() {
    let book = book();
    let adopt = |secret: &str| book.submit(Envelope::local(), AdoptToken(token::hash(secret))).result;
    let first = adopt("cbx_first-of-these-secrets").unwrap();
    assert_eq!(adopt("cbx_first-of-these-secrets").unwrap().id, first.id, "a repeat changes nothing");
    let second = adopt("cbx_second-of-these-secrets").unwrap();
    assert_eq!(second.id, first.id, "the same caller");
    assert_eq!(name(&adopt("cbx_first-of-these-secrets")), ErrorName::InvalidRequest);
    book.must(cashbox::internals::command::RevokeToken(first.id.clone()));
    assert_eq!(name(&adopt("cbx_second-of-these-secrets")), ErrorName::InvalidRequest);
    let third = adopt("cbx_third-of-these-secrets").unwrap();
    assert_ne!(third.id, first.id, "a revoked token gets no other secret");
    let teller = minted(&book, Role::Teller, None, None);
    let refused = book.submit(Envelope::local(), AdoptToken(teller.secret_hash)).result;
    assert_eq!(name(&refused), ErrorName::InvalidRequest);
    book.assert_sound();
}

#[test]
fn server_refuses_to_start_with_replaced_secret() {
    let place = Place::new();
    place.json("recharge alice 50");
    for secret in ["cbx_first-of-these-secrets", "cbx_second-of-these-secrets"] {
        fs::write(place.path("admin"), secret).unwrap();
        let server = place.serve("--token-file admin");
        place.json(&format!("withdraw alice 1 --key same --url {} --token-file admin", server.url));
        server.stop();
    }
    assert_eq!(place.json("wallet alice")["balance"], "49.00", "both secrets are one caller");
    fs::write(place.path("admin"), "cbx_first-of-these-secrets").unwrap();
    let refused = place.run("serve --listen 127.0.0.1:0 --token-file admin");
    assert_eq!(refused.exit, 2);
    assert!(refused.err.contains("was replaced") && !refused.err.contains("cbx_"), "{}", refused.err);
    let id = place.json("token list")["data"][0]["id"].as_str().unwrap().to_owned();
    place.json(&format!("token revoke {id}"));
    fs::write(place.path("admin"), "cbx_second-of-these-secrets").unwrap();
    assert_eq!(place.run("serve --listen 127.0.0.1:0 --token-file admin").exit, 2);
}

#[test]
fn rotate_command_prints_new_secret_once() {
    let place = Place::new();
    let id = place.json("token create --role teller")["id"].as_str().unwrap().to_owned();
    let rotated = place.json(&format!("token rotate {id} --overlap 10m"));
    assert!(rotated["token"].as_str().unwrap().starts_with("cbx_") && rotated["id"] == *id);
    assert_eq!(place.run(&format!("token rotate {id} --overlap 8d")).exit, 2);
    assert_eq!(place.run("token rotate tok:none").exit, 1);
}
