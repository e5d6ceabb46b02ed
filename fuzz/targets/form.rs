#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cashbox::internals::http::fuzz::form(data));
