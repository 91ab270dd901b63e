//! Determines the slots of a key.

use std::hash::{BuildHasher, Hash, RandomState};

/// The shape of a sketch, and the secret that determines the slots of keys.
#[derive(Debug)]
pub(crate) struct Rows {
    hashes: usize,
    slots: usize,
    secret: RandomState,
}

impl Rows {
    /// At least one row of one slot.
    pub(crate) fn new(hashes: usize, slots: usize) -> Self {
        Rows {
            hashes: hashes.max(1),
            slots: slots.max(1),
            secret: RandomState::new(),
        }
    }

    /// The total number of slots in all rows.
    pub(crate) fn cells(&self) -> usize {
        self.hashes.saturating_mul(self.slots)
    }

    pub(crate) fn hash<T: Hash + ?Sized>(&self, key: &T) -> u64 {
        self.secret.hash_one(key)
    }

    /// One slot of `cells` for each row.
    pub(crate) fn of<'a, C>(&self, hash: u64, cells: &'a [C]) -> impl Iterator<Item = &'a C> {
        let slots = self.slots;
        (0..self.hashes).filter_map(move |row| cells.get(row * slots + place(hash, row, slots)))
    }
}

/// A slot of this row, from 0 to `slots - 1`. The places in two rows are independent: the hash is mixed
/// again for each (with the finalizer of the generator SplitMix64).
fn place(hash: u64, row: usize, slots: usize) -> usize {
    let mut mixed = hash.wrapping_add((row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // The upper half of the product is evenly distributed over the slots, without a division.
    ((u128::from(mixed) * slots as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_slot_in_each_row() {
        let rows = Rows::new(4, 10);
        let cells: Vec<usize> = (0..rows.cells()).collect();
        for key in 0..100 {
            let found: Vec<usize> = rows.of(rows.hash(&key), &cells).copied().collect();
            let rows: Vec<usize> = found.iter().map(|cell| cell / 10).collect();
            assert_eq!(rows, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn keys_that_share_a_slot_in_one_row_part_in_others() {
        let (slots, mut shared) = (64, 0);
        for hash in 0..20_000_u64 {
            let first = place(hash, 0, slots) == place(1 << 40, 0, slots);
            let second = place(hash, 1, slots) == place(1 << 40, 1, slots);
            shared += usize::from(first && second);
        }
        // 20,000 / 64² = 4.9 are expected.
        assert!(shared < 30, "{shared}");
    }
}
