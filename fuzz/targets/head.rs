//! The reader of request heads: whatever the bytes, a head, a fault, or not whole yet; and never past what there is.
#![no_main]

use cashbox::http::wire::{Limits, parse_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((head, length))) = parse_head(bytes, &Limits::default()) {
        assert!(length <= bytes.len());
        assert!(!head.method.is_empty() && !head.path.chars().any(char::is_control));
        let whole = parse_head(&bytes[..length], &Limits::default()).expect("the same head").expect("whole");
        assert_eq!((whole.0.method, whole.0.path, whole.1), (head.method, head.path, length));
        for less in 0..length {
            assert!(!matches!(parse_head(&bytes[..less], &Limits::default()), Ok(Some(_))), "whole at {less} already");
        }
    }
});
