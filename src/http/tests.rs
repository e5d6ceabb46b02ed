//! The route table, the choice of a language, hosts and origins, and the memory of large bodies, without a socket.

use super::auth::{is_own_host, is_own_origin};
use super::conn::{BodyMemory, Fault};
use super::fields::Fields;
use super::request::wanted_language;
use super::response::Language;
use super::routes::{ROUTES, find};
use super::state::{BODY_MAX, LARGE_BYTES_MAX, LargeBodies};
use crate::error::ErrorName;

fn at(method: &str, path: &str) -> (&'static str, Vec<String>) {
    let (index, params) = find(method, path).unwrap();
    (ROUTES[index].path, params)
}

#[test]
fn path_finds_its_route_and_params() {
    assert_eq!(at("POST", "/v1/wallets/alice/pay"), ("/v1/wallets/{user}/pay", vec!["alice".to_owned()]));
    assert_eq!(at("HEAD", "/healthz").0, "/healthz");
    assert_eq!(at("GET", "/v1/wallets/a%2Eb").1, ["a.b"]);
}

#[test]
fn lock_id_with_slashes_ends_in_a_verb_only_if_escaped() {
    assert_eq!(at("POST", "/v1/locks/wallet/alice").1, ["wallet/alice"]);
    assert_eq!(at("POST", "/v1/locks/a/b/revoke"), ("/v1/locks/{id...}/revoke", vec!["a/b".to_owned()]));
    assert_eq!(find("POST", "/v1/locks/a/events").unwrap_err().name, ErrorName::MethodNotAllowed);
    assert_eq!(find("DELETE", "/v1/locks/a/revoke").unwrap_err().name, ErrorName::MethodNotAllowed);
    assert_eq!(at("POST", "/v1/locks/a%2Frevoke"), ("/v1/locks/{id...}", vec!["a/revoke".to_owned()]));
}

#[test]
fn unknown_path_or_method_is_refused() {
    assert_eq!(find("GET", "/nothing").unwrap_err().name, ErrorName::NotFound);
    for nameless in ["/v1/wallets/", "/v1/locks/", "/v1/locks//events"] {
        assert_eq!(find("GET", nameless).unwrap_err().name, ErrorName::NotFound, "{nameless}");
    }
    let wrong = find("PATCH", "/wallet").unwrap_err();
    assert_eq!(wrong.name, ErrorName::MethodNotAllowed);
    assert!(wrong.detail.contains("GET, HEAD, OPTIONS, POST, PUT"), "{}", wrong.detail);
}

#[test]
fn escape_that_is_not_whole_is_refused() {
    for path in
        ["/v1/locks/50%", "/v1/locks/%zz", "/v1/locks/%2", "/v1/locks/a%2/b", "/v1/wallets/%zz", "/v1/entries/%"]
    {
        assert_eq!(find("GET", path).unwrap_err().name, ErrorName::InvalidRequest, "{path}");
    }
    assert_eq!(at("GET", "/v1/locks/50%25%e4%BA%86").1, ["50%了"]);
    for query in ["prefix=50%", "prefix=%zz", "prefix=%2", "%zz=1", "prefix=a%+b", "prefix=%2%35"] {
        assert_eq!(Fields::from_query(query, &[]).unwrap_err().name, ErrorName::InvalidRequest, "{query}");
    }
    assert_eq!(Fields::from_query("prefix=50%25", &[]).unwrap().peek("prefix"), Some("50%"));
}

#[test]
fn language_wanted_most_is_picked() {
    let wanted = |lists: &[&str], default| wanted_language(lists.iter().copied(), default);
    let (zh, en) = (Language::Zh, Language::En);
    assert_eq!(wanted(&["en"], zh), en);
    assert_eq!(wanted(&["de, zh-CN;q=0.5, en;q=0.4"], en), zh);
    assert_eq!(wanted(&["en;Q=0.1, zh;q=0.5"], en), zh);
    assert_eq!(wanted(&["en;q=0.1", "zh"], en), zh);
    assert_eq!(wanted(&["zh;q=0, en;q=0.1"], zh), en);
    assert_eq!(wanted(&["zh;q=0"], zh), en);
    assert_eq!((wanted(&["fr, *"], zh), wanted(&[], en)), (zh, en));
}

#[test]
fn host_is_own_if_address_or_configured_name() {
    let names = ["shop.local".to_owned()];
    let own = "127.0.0.1:8866 10.0.0.7 [::1]:80 [::1] localhost LOCALHOST:1 localhost. localhost.:80 localhost: shop.local:8866 shop.local.";
    for own in own.split(' ') {
        assert!(is_own_host(own, &names), "{own}");
    }
    let others = "evil.example localhost.evil.example:8866 127.0.0.1.evil.example [::1]evil.example [::1 \
                  localhost:80@evil [::1]:80@evil localhost@evil evil@localhost localhost:80:80 localhost:99999 \
                  localhost:x localhost:+80 localhost.. . [localhost] [127.0.0.1] ::1 ";
    for other in others.split(' ') {
        assert!(!is_own_host(other, &names), "{other}");
    }
}

#[test]
fn origin_is_own_if_equal_to_host() {
    assert!(is_own_origin("http://localhost:8866", "localhost:8866"));
    assert!(is_own_origin("https://shop.local", "shop.local"));
    assert!(!is_own_origin("null", "localhost:8866"));
    assert!(!is_own_origin("http://localhost:9999", "localhost:8866"));
}

#[test]
fn large_bodies_are_limited_by_caller_and_in_all() {
    let bodies = LargeBodies::default();
    let eighth = LARGE_BYTES_MAX / 8;
    let mut reserved = Vec::new();
    for caller in ["ann", "ben"] {
        reserved.extend((0..4).map(|_| bodies.reserve(caller, eighth).unwrap()));
        assert!(bodies.reserve(caller, 1).is_err(), "{caller} has a half");
    }
    assert!(bodies.reserve("eve", 1).is_err(), "nothing is left");
    reserved.truncate(6);
    assert!(bodies.reserve("eve", eighth).is_ok());
    reserved.clear();
    assert!(bodies.by_caller().is_empty());
}

#[test]
fn chunked_body_is_counted_while_it_grows() {
    let bodies = LargeBodies::default();
    let mut one = bodies.reserve("ann", 0).unwrap();
    one.grow_to(BODY_MAX).unwrap();
    assert!(bodies.by_caller().is_empty(), "a small body is not counted");
    one.grow_to(LARGE_BYTES_MAX / 4).unwrap();
    let mut two = bodies.reserve("ann", LARGE_BYTES_MAX / 4).unwrap();
    assert_eq!(one.grow_to(LARGE_BYTES_MAX / 4 + 1), Err(Fault::OutOfBodyMemory));
    assert_eq!(two.grow_to(LARGE_BYTES_MAX / 4), Ok(()), "it has that much");
    drop(two);
    one.grow_to(LARGE_BYTES_MAX / 2).unwrap();
    assert_eq!(bodies.by_caller()["ann"], LARGE_BYTES_MAX / 2);
    drop(one);
    assert!(bodies.by_caller().is_empty());
}
