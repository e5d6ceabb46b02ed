//! The program without sockets, on a new file in memory where the system has such a folder.

use cashbox::internals::http::{endpoint::Route, routes::ROUTES};
use cashbox::internals::http::{App, Settings};
use cashbox::internals::store::{Options, Store};
use std::sync::LazyLock;

static APP: LazyLock<App> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm"); // the file need not survive
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let options = Options { min_free: Some(0), ..Options::default() };
    let store = Store::open(&folder.keep().join("cashbox.db"), &options).expect("a new file");
    let settings = Settings { open: true, ..Settings::default() };
    let app = App::new(store, settings);
    let wallet = |user: &str| {
        let body = br#"{"amount":"500"}"#.to_vec();
        app.answer_local("POST", &format!("/v1/wallets/{user}/recharge"), &[("content-type", "application/json")], body)
    };
    assert_eq!((wallet("alice").status, wallet("bob").status), (200, 200));
    app
});

/// The route that a byte selects, and its path with values in place of its parameters.
pub fn route(byte: u8) -> (&'static Route, String) {
    let route = &ROUTES[usize::from(byte) % ROUTES.len()];
    let path = route.path.replace("{user}", "alice").replace("{id...}", "wallet/alice").replace("{id}", "1");
    (route, path.replace("{code}", "7K2Q"))
}

/// Sends a request that does not wait; any response but an internal error is accepted.
pub fn ask(method: &str, target: &str, content_type: &str, body: &[u8]) {
    let headers = [("content-type", content_type), ("prefer", "wait=0")];
    let answer = APP.answer_local(method, target, &headers, body.to_vec());
    assert_ne!(answer.status, 500, "{method} {target}: {}", String::from_utf8_lossy(&answer.body));
}
