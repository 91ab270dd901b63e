//! Determines which peers are the same for the connection pool.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// A fast hash with a secret.
///
/// This hash alone decides which connection is handed out, and parts of its input (the server name,
/// for example) may come from clients. It must therefore be impossible to compute a collision from
/// outside, so each process draws its own secret. Each word is mixed by the upper and lower half of
/// a 128-bit product.
pub(super) struct IdentityHasher {
    state: u64,
    secret: u64,
}

impl IdentityHasher {
    pub(super) fn new() -> Self {
        static SECRETS: OnceLock<(u64, u64)> = OnceLock::new();
        // Odd, so that multiplying a word by the secret loses no information.
        let (state, secret) = *SECRETS.get_or_init(|| {
            let random = || RandomState::new().hash_one(0u8);
            (random(), random() | 1)
        });
        IdentityHasher { state, secret }
    }

    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.secret);
        self.state = (product as u64) ^ ((product >> 64) as u64).rotate_left(23) ^ self.secret;
    }
}

impl Hasher for IdentityHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length distinguishes "a" from "a\0".
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64).rotate_right(8));
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * 0x9e37_79b9_7f4a_7c15;
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::Hash;

    fn hash(value: impl Hash) -> u64 {
        let mut hasher = IdentityHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn equal_values_have_equal_hashes_and_others_do_not() {
        assert_eq!(hash(("a.example", 80u16)), hash(("a.example", 80u16)));
        let mut seen = HashSet::new();
        for n in 0..10_000u32 {
            assert!(seen.insert(hash(format!("host-{n}.example"))));
            assert!(seen.insert(hash(n)));
        }
        assert_ne!(hash("a"), hash("a\0"));
        assert_ne!(hash(("ab", "c")), hash(("a", "bc")));
    }
}
