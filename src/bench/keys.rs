//! Idempotency keys of the length of a UUID, written into a request that was rendered before.

use std::hash::{BuildHasher, RandomState};

const NAME: &str = "Idempotency-Key: ";

/// Where the keys of a request come from, and where they go.
#[derive(Debug)]
pub struct Keys {
    place: usize,
    state: u64,
    counted: bool,
}

impl Keys {
    const LENGTH: usize = 32;

    /// The header line that gives a request room for a key.
    pub fn room() -> String {
        format!("{NAME}{}\r\n", "0".repeat(Keys::LENGTH))
    }

    /// Keys for this request: random as most clients send them, or counted up.
    ///
    /// # Panics
    /// If the request was rendered without [`Keys::room`].
    pub fn new(request: &[u8], counted: bool) -> Keys {
        let place = request.windows(NAME.len()).position(|bytes| bytes == NAME.as_bytes());
        let place = place.expect("the request has room for a key") + NAME.len();
        let random = RandomState::new().hash_one(place);
        Keys { place, state: if counted { random & !0xffff_ffff } else { random }, counted }
    }

    /// Writes the next key into the request.
    pub fn put_next(&mut self, request: &mut [u8]) {
        let (first, second) = if self.counted {
            self.state += 1;
            (0, self.state)
        } else {
            (self.random(), self.random())
        };
        let digits =
            (0..16).map(|place| first >> (60 - 4 * place)).chain((0..16).map(|place| second >> (60 - 4 * place)));
        for (byte, digit) in request[self.place..][..Keys::LENGTH].iter_mut().zip(digits) {
            *byte = b"0123456789abcdef"[(digit & 15) as usize];
        }
    }

    /// SplitMix64: cheap, and it does not repeat within a run.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
