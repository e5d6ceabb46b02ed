//! Everything that is read from a short text: what is read is written again as it is kept, or it is refused.
#![no_main]

use cashbox::id::{CouponCode, EntryId, IdempotencyKey, LockId, LockToken, UserId, WalletId};
use cashbox::money::{Cents, Money};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(amount) = Money::parse(text) {
        assert!(amount >= Money::MIN && amount <= Money::MAX);
        assert_eq!(Money::parse(&amount.to_string()).expect("its own text"), amount);
        assert_eq!(Cents::parse(&amount.to_string()).expect("its own text").0, amount.cents());
    }
    if let Some(cents) = Cents::parse(text) {
        assert_eq!(Cents::parse(&cents.to_string()), Some(cents));
    }
    if let Ok(user) = UserId::parse(text) {
        assert_eq!(WalletId::parse(text).expect("a wallet too").as_str(), user.as_str());
        assert!(user.wallet().lock().is_some());
    }
    if let Some(token) = LockToken::parse(text) {
        assert!(LockToken::parse(&token.to_string()) == Some(token));
    }
    let _ = (CouponCode::parse(text), EntryId::parse(text), IdempotencyKey::parse(text), LockId::parse(text));
    let _ = (cashbox::clock::parse_rfc3339(text).map(cashbox::clock::rfc3339), cashbox::secret::parse_hash(text));
});
