//! Batches: the first byte says whether as NDJSON, and whether all or nothing.
#![no_main]

mod place;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let target = if first & 1 == 0 { "/v1/batch" } else { "/v1/batch?atomic=true" };
    let content_type = if first & 2 == 0 { "application/json" } else { "application/x-ndjson" };
    place::ask("POST", target, content_type, body);
});
