//! Exposed to the fuzz targets until they have left `src`.

use super::{Limits, RequestHead, has_end, parse_head};

/// The head at the beginning of `data`, if there is a good one.
pub fn head(data: &[u8]) -> Option<RequestHead> {
    let limits = Limits::default();
    let (head, length) = parse_head(data, &limits).ok()??;
    let bytes = &data[..length];
    let (again, same) = parse_head(bytes, &limits).ok().flatten().expect("bytes behind a head change nothing");
    assert_eq!(same, length);
    assert_eq!((&again.method, &again.path, &again.query), (&head.method, &head.path, &head.query));
    assert_eq!(again.content_length, head.content_length);
    for end in 0..length {
        assert!(!matches!(parse_head(&bytes[..end], &limits), Ok(Some(_))), "a part of a head is not a head");
        assert!(has_end(bytes, end), "its end is noticed, however much was seen before");
    }
    assert!(head.path.starts_with('/') && head.header("transfer-encoding").is_none());
    assert!(head.headers("host").count() <= 1 && head.headers("content-length").count() <= 1);
    assert!(!bytes.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)));
    Some(head)
}
