//! Numbers as PostgreSQL sends them.

use super::server::whole_number;

fn numeric(weight: i16, sign: u16, digits: &[u16]) -> Vec<u8> {
    let head = [digits.len() as u16, weight as u16, sign, 0];
    head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn whole_numbers_are_read_from_numeric() {
    for (raw, number) in [
        (numeric(0, 0, &[]), Some(0)),
        (numeric(0, 0, &[7]), Some(7)),
        (numeric(0, 0x4000, &[7]), Some(-7)),
        (numeric(1, 0, &[1]), Some(10_000)),
        (numeric(2, 0, &[1, 0, 5]), Some(100_000_005)),
        (numeric(4, 0, &[922, 3372, 368, 5477, 5807]), Some(i64::MAX)),
        (numeric(4, 0, &[922, 3372, 368, 5477, 5808]), None),
        (numeric(0, 0, &[1, 5000]), None),
        (numeric(0, 0xC000, &[]), None),
        (vec![0, 1], None),
    ] {
        assert_eq!(whole_number(&raw), number, "{raw:?}");
    }
}
