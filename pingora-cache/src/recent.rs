//! Digests that this thread has made before: what is popular is asked for again and again, and the digest is the
//! dearest step of a look-up in memory.
//!
//! The texts are compared as a whole, so a digest is always that of its text, and a collision costs a digest.

use crate::key::HashBinary;
use std::cell::RefCell;
use std::thread::LocalKey;

/// As many texts are remembered in each table, by each thread.
const PLACES: usize = 64;
/// Longer texts, in bytes, are not remembered.
const LONGEST: usize = 512;

thread_local! {
    /// Those of keys.
    static KEYS: RefCell<Table> = const { RefCell::new(Table(Vec::new())) };
    /// Those of variants.
    static VARIANTS: RefCell<Table> = const { RefCell::new(Table(Vec::new())) };
}

/// The digest of a key's text, which `make` makes.
pub(crate) fn of_key(text: &[u8], make: impl FnOnce() -> HashBinary) -> HashBinary {
    remembered(&KEYS, text, make)
}

/// The digest that `make` makes of what `text` says of a variant.
pub(crate) fn of_variant(text: &[u8], make: impl FnOnce() -> HashBinary) -> HashBinary {
    remembered(&VARIANTS, text, make)
}

fn remembered(
    table: &'static LocalKey<RefCell<Table>>,
    text: &[u8],
    make: impl FnOnce() -> HashBinary,
) -> HashBinary {
    let known = table.try_with(|table| table.try_borrow().ok()?.find(text));
    if let Ok(Some(digest)) = known {
        return digest;
    }
    let digest = make();
    // A thread that ends remembers nothing more.
    let _ = table.try_with(|table| {
        if let Ok(mut table) = table.try_borrow_mut() {
            table.note(text, digest);
        }
    });
    digest
}

/// A text has one place, where the last one stays.
struct Table(Vec<(Vec<u8>, HashBinary)>);

impl Table {
    fn find(&self, text: &[u8]) -> Option<HashBinary> {
        let (known, digest) = self.0.get(place(text))?;
        (known == text).then_some(*digest)
    }

    fn note(&mut self, text: &[u8], digest: HashBinary) {
        if text.len() > LONGEST {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(PLACES, Default::default);
        }
        if let Some((known, remembered)) = self.0.get_mut(place(text)) {
            known.clear();
            known.extend_from_slice(text);
            *remembered = digest;
        }
    }
}

/// Spreads texts that differ in a few bytes.
fn place(text: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let words = words.iter().chain(std::iter::once(&last));
    let sum = words.fold(text.len() as u64, |sum, word| {
        (sum.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD)
    });
    // The upper bits depend on all.
    usize::try_from(sum >> 32).unwrap_or(0) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::hash_key;

    #[test]
    fn a_digest_is_made_once_and_stays_that_of_its_text() {
        let made = std::cell::Cell::new(0);
        let digest = |text: &[u8]| {
            of_key(text, || {
                made.set(made.get() + 1);
                hash_key(text)
            })
        };
        for _ in 0..3 {
            assert_eq!(digest(b"one"), hash_key("one"));
        }
        assert_eq!(made.get(), 1);
        // More than there is room for.
        for number in 0..10 * PLACES {
            let text = format!("GET https://one.example/{number}");
            assert_eq!(digest(text.as_bytes()), hash_key(&text));
            assert_eq!(digest(text.as_bytes()), hash_key(&text));
        }
        assert_eq!(made.get(), 1 + 10 * PLACES);
        assert_eq!(digest(b""), hash_key(""));
    }

    #[test]
    fn long_texts_are_not_kept() {
        let text = vec![7; LONGEST + 1];
        for _ in 0..2 {
            assert_eq!(of_key(&text, || [1; 16]), [1; 16]);
        }
        assert_eq!(of_key(&text, || [2; 16]), [2; 16]);
    }

    #[test]
    fn keys_and_variants_have_nothing_in_common() {
        assert_eq!(of_key(b"same", || [1; 16]), [1; 16]);
        assert_eq!(of_variant(b"same", || [2; 16]), [2; 16]);
        assert_eq!(of_key(b"same", || [3; 16]), [1; 16]);
    }

    #[test]
    fn texts_are_spread() {
        let mut places = [false; PLACES];
        for number in 0..4 * PLACES {
            let text = format!("GET https://one.example/articles/{number}.html");
            places[place(text.as_bytes())] = true;
        }
        assert!(places.iter().filter(|is_used| **is_used).count() > PLACES / 2);
    }
}
