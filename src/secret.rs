//! Secrets and digests: randomness from the operating system, and SHA-256. Nothing is stored here.

use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A SHA-256 digest.
pub(crate) type Hash = [u8; 32];

/// Appends a field of what is hashed: its length as a big-endian u32 and its bytes. An absent one has the length 0xFFFFFFFF.
pub(crate) fn put_field(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            bytes.extend((value.len() as u32).to_be_bytes());
            bytes.extend(value);
        }
        None => bytes.extend(u32::MAX.to_be_bytes()),
    }
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// SHA-256 of fields that come one after another.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Adds a field: its length as a big-endian u32 and its bytes; 0xFFFFFFFF and no bytes for one that is absent.
    pub(crate) fn field(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.0.update((value.len() as u32).to_be_bytes());
                self.0.update(value);
            }
            None => self.0.update(u32::MAX.to_be_bytes()),
        }
    }

    /// The digest of all of them.
    pub(crate) fn finish(self) -> Hash {
        self.0.finalize().into()
    }

    /// The first half of it.
    pub(crate) fn finish_short(self) -> [u8; 16] {
        first_half(&self.finish())
    }
}

/// The first half of a SHA-256: enough to be unique, half the bytes to store.
pub(crate) fn sha256_short(bytes: &[u8]) -> [u8; 16] {
    first_half(&sha256(bytes))
}

fn first_half(hash: &Hash) -> [u8; 16] {
    std::array::from_fn(|i| hash[i])
}

/// `N` bytes that cannot be guessed.
///
/// # Panics
/// If the operating system has no randomness to give: nothing secret can be made then.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// `N` random bytes as lower-case hexadecimal.
pub fn random_hex<const N: usize>() -> String {
    hex(&random::<N>())
}

/// The source of the random bytes of a store.
#[derive(Clone, Debug, Default)]
pub enum Randomness {
    /// The operating system.
    #[default]
    System,
    /// A seed: the same bytes in every run. For tests of other programs, which nothing is kept secret from.
    Seeded(Arc<SeededBytes>),
}

/// Bytes that follow from a seed. Clones of [`Randomness`] draw from the same.
#[derive(Debug)]
pub struct SeededBytes {
    seed: u64,
    /// The number of draws so far.
    drawn: AtomicU64,
}

impl Randomness {
    /// The bytes that follow from that seed.
    pub(crate) fn seeded(seed: u64) -> Randomness {
        Randomness::Seeded(Arc::new(SeededBytes { seed, drawn: AtomicU64::new(0) }))
    }

    /// The next `N` bytes, 32 at most.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        match self {
            Randomness::System => random(),
            Randomness::Seeded(seeded) => {
                let drawn = seeded.drawn.fetch_add(1, SeqCst);
                let block = sha256(&[seeded.seed.to_be_bytes(), drawn.to_be_bytes()].concat());
                std::array::from_fn(|i| block[i])
            }
        }
    }

    /// The same as lower-case hexadecimal.
    pub(crate) fn hex<const N: usize>(&self) -> String {
        hex(&self.bytes::<N>())
    }

    /// The number of draws from a seed so far.
    pub(crate) fn drawn(&self) -> u64 {
        match self {
            Randomness::System => 0,
            Randomness::Seeded(seeded) => seeded.drawn.load(SeqCst),
        }
    }

    /// Goes on from that number of draws.
    pub(crate) fn go_on_from(&self, drawn: u64) {
        if let Randomness::Seeded(seeded) = self {
            seeded.drawn.store(drawn, SeqCst);
        }
    }
}

/// Reads a digest from its 64 hexadecimal digits.
pub fn parse_hash(text: &str) -> Option<Hash> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
