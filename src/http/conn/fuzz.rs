//! What a fuzzer may know of this folder: a head is read the same however it arrives.

use super::connection::has_end;
use super::{Limits, RequestHead, head};

/// The head at the beginning of `data`, if there is a good one.
pub fn head(data: &[u8]) -> Option<RequestHead> {
    let limits = Limits::default();
    let (head, length) = head::parse(data, &limits).ok()??;
    let bytes = &data[..length];
    let (again, same) = head::parse(bytes, &limits).ok().flatten().expect("what stands behind a head changes nothing");
    assert_eq!(same, length);
    assert_eq!((&again.method, &again.path, &again.query), (&head.method, &head.path, &head.query));
    assert_eq!(again.content_length, head.content_length);
    for end in 0..length {
        assert!(!matches!(head::parse(&bytes[..end], &limits), Ok(Some(_))), "a part of a head is no head");
        assert!(has_end(bytes, end), "its end is noticed, however much was seen before");
    }
    assert!(head.path.starts_with('/') && head.header("transfer-encoding").is_none());
    assert!(head.headers("host").count() <= 1 && head.headers("content-length").count() <= 1);
    assert!(!bytes.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)));
    Some(head)
}
