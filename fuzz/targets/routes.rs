//! Every route with any path, query or body: the first byte selects the route, the second the part that the rest is.
#![no_main]

mod app;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [first, second, rest @ ..] = bytes else { return };
    let (route, path) = app::route(*first);
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let is_valid_in_head = text.bytes().all(|byte| byte.is_ascii_graphic());
    match second % 4 {
        0 => app::ask(route.method, &path, "application/json", rest),
        1 => app::ask(route.method, &path, "application/x-www-form-urlencoded", rest),
        2 if is_valid_in_head => app::ask(route.method, &format!("{path}?{text}"), "application/json", b""),
        3 if is_valid_in_head => app::ask(route.method, &path.replace("alice", text), "application/json", b""),
        _ => {}
    }
});
