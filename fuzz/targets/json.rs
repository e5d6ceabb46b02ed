//! Bodies of fields, as JSON: the first byte names the route.
#![no_main]

mod place;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let (route, path) = place::route(*first);
    place::ask(route.method, &path, "application/json", body);
});
