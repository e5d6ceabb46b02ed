//! Tests of what only the modules of the lab can see.

use super::chart::svg;
use super::load::Tally;
use super::redis::Redis;
use super::strategy::{LabPlan, StrategyKind};
use super::trial::{Figures, TrialRow, thousandths};
use crate::money::Balance;
use std::time::Duration;

fn figures(done: u64, balance: i64, expected: i64) -> Figures {
    let tally = Tally { took_us: (1..=done).collect(), wall_us: 1_234_000, ..Tally::default() };
    let (balance, expected) = (Balance::from_cents(balance), Balance::from_cents(expected));
    Figures { tally, balance, expected, audit: None }
}

#[test]
fn unexpected_balance_is_wrong_in_either_direction() {
    assert!(figures(10, 0, 0).is_right());
    assert!(!figures(10, 700, 0).is_right());
    assert!(!figures(10, 0, 100).is_right());
    assert_eq!(figures(10, 700, 0).lost_updates(), 7);
}

#[test]
fn damaged_ledger_is_wrong_despite_right_balance() {
    assert!(!Figures { audit: Some(vec!["a finding".to_owned()]), ..figures(1, 0, 0) }.is_right());
    assert!(Figures { audit: Some(Vec::new()), ..figures(1, 0, 0) }.is_right());
}

#[test]
fn percentiles_are_times_that_were_measured() {
    let hundred = figures(100, 0, 0);
    assert_eq!([50, 99, 100].map(|percent| hundred.percentile_us(percent)), [50, 99, 100]);
    assert_eq!(figures(1, 0, 0).percentile_us(50), 1);
    assert_eq!(figures(0, 0, 0).percentile_us(99), 0);
}

#[test]
fn numbers_keep_their_decimals() {
    assert_eq!(thousandths(1_050).to_string(), "1.05");
    assert_eq!(figures(2_468, 0, 0).per_second(), 2_000);
}

#[test]
fn chart_shows_foreign_text_without_markup() {
    let none = Duration::ZERO;
    let (expire, grace, redis) = (none, none, Err(String::new()));
    let plan = LabPlan { clients: 1, requests: 1, work: none, retry: none, expire, grace, seed: 1, redis };
    let row = TrialRow { kind: StrategyKind::Redis, stalled: true, figures: Err("<b> & \"\u{1}".to_owned()) };
    let chart = svg(&plan, &[row]);
    assert!(chart.contains("not run: &lt;b&gt; &amp; &quot; </text>"), "{chart}");
}

#[test]
fn redis_url_gives_address_without_password() {
    let at = |url| Redis::parse(url).map(|redis| redis.at().to_owned());
    assert_eq!(at(Redis::DEFAULT_URL).unwrap(), "127.0.0.1:6379");
    assert_eq!(at("redis://me:secret@host/3").unwrap(), "host:6379");
    assert_eq!(at("redis://[::1]:7").unwrap(), "[::1]:7");
    assert_eq!(at("redis://[::1]").unwrap(), "[::1]:6379");
    for bad in ["", "host", "http://host", "redis://", "redis://host:port", "redis://:1", "redis://host/x"] {
        assert!(at(bad).is_err(), "{bad}");
    }
}
