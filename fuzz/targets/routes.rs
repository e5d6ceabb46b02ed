//! Every route with whatever stands in its path, its query and its body: the first byte names the route, the second how
//! the rest is meant.
#![no_main]

mod place;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [first, second, rest @ ..] = bytes else { return };
    let (route, path) = place::route(*first);
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let can_stand_in_a_head = text.bytes().all(|byte| byte.is_ascii_graphic());
    match second % 4 {
        0 => place::ask(route.method, &path, "application/json", rest),
        1 => place::ask(route.method, &path, "application/x-www-form-urlencoded", rest),
        2 if can_stand_in_a_head => place::ask(route.method, &format!("{path}?{text}"), "application/json", b""),
        3 if can_stand_in_a_head => place::ask(route.method, &path.replace("alice", text), "application/json", b""),
        _ => {}
    }
});
