//! Tests of what only the modules of the load generator can see.

use super::digits_with_commas;
use super::driver::Latencies;
use super::report::time_text;
use super::with_commas;
use std::time::Duration;

fn latencies(us: impl IntoIterator<Item = u64>) -> Latencies {
    us.into_iter().map(Duration::from_micros).collect()
}

#[test]
fn latency_is_kept_to_a_thousandth_of_itself() {
    for us in (0..10_000).chain((1..1_000).map(|step| step * 4_294_967)) {
        let shown = latencies([us]).at(1_000).unwrap();
        assert!(shown >= us && (shown - us) * 1_000 <= us, "{us} is shown as {shown}");
    }
    assert_eq!(latencies([u64::MAX]).at(500), Some(u32::MAX.into()));
}

#[test]
fn quantile_is_reached_by_its_share_of_latencies() {
    let hundred = latencies(1..=100);
    let at = [0, 500, 990, 999, 1_000].map(|per_mille| hundred.at(per_mille).unwrap());
    assert_eq!(at, [1, 50, 99, 100, 100]);
    assert_eq!(latencies([]).at(500), None);
    assert_eq!(latencies([3_000_000_007]).at(1_000), Some(3_000_000_007), "the longest is exact");
}

#[test]
fn merged_latencies_are_as_if_recorded_together() {
    let mut low = latencies(1..=50);
    low.merge(&latencies(51..=100));
    assert_eq!((low.at(500), low.at(1_000), low.count()), (Some(50), Some(100), 100));
}

#[test]
fn histogram_counts_each_latency_once() {
    assert_eq!(latencies([3, 4, 6, 30]).histogram(), [(5, 2), (10, 1), (20, 0), (50, 1)]);
    assert_eq!(latencies([]).histogram(), []);
}

#[test]
fn time_is_shown_in_the_unit_that_fits() {
    let shown = [7, 4_129, 41_290, 412_900, 5_000_000].map(time_text);
    assert_eq!(shown, ["7 µs", "4.12 ms", "41.2 ms", "412 ms", "5.0 s"]);
}

#[test]
fn thousands_are_separated_by_commas() {
    assert_eq!([7, 999, 1_000, 1_234_567].map(with_commas), ["7", "999", "1,000", "1,234,567"]);
    assert_eq!(digits_with_commas("12345.67"), "12,345.67");
}
