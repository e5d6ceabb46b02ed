//! Queries, cursors and paths: the first byte names the route, and what stands in the gaps and behind `?` is the rest.
#![no_main]

mod place;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some((first, rest)) = text.split_at_checked(1) else { return };
    let (route, path) = place::route(first.as_bytes()[0]);
    if rest.contains(|c: char| c.is_control() || c == ' ') || !rest.is_ascii() {
        return; // no head can hold it
    }
    place::ask(route.method, &format!("{path}?{rest}"), "application/json", b"");
    place::ask("GET", &format!("/v1/entries?after={rest}"), "", b"");
    place::ask(route.method, &path.replace("alice", rest), "application/json", b"");
});
