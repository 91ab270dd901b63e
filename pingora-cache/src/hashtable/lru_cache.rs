//! A map of bounded size.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that, when it is full, forgets the entry that has not been used for longest. Each use costs two steps
/// in an ordered tree of as many entries as there are.
#[derive(Debug)]
pub struct LruCache<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// The keys by the number of their last use.
    order: BTreeMap<u64, K>,
    uses: u64,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, V> LruCache<K, V> {
    /// An empty map of at most `capacity` entries, and at least one.
    pub fn new(capacity: usize) -> Self {
        LruCache {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            // In the middle, so that there is room for older ones.
            uses: 1 << 62,
            capacity: capacity.max(1),
        }
    }

    /// The value of a key, which counts as a use.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.get_mut(key).map(|value| &*value)
    }

    /// The value of a key, which counts as a use.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        if let Some(key) = self.order.remove(used) {
            self.uses += 1;
            *used = self.uses;
            self.order.insert(self.uses, key);
        }
        Some(value)
    }

    /// The value of a key, which doesn't count as a use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        Some(&self.entries.get(key)?.1)
    }

    /// Whether the key is there, which doesn't count as a use.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Sets the value of a key, which counts as a use; returns the one that it had. If the map is full, the
    /// entry that has not been used for longest is forgotten.
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        let old = self.pop(&key);
        while self.entries.len() >= self.capacity && self.pop_lru().is_some() {}
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.entries.insert(key, (self.uses, value));
        old
    }

    /// Puts an entry if it is forgotten first. `false` if the key is there, which then stays as it is, or if the map
    /// is full.
    pub fn put_oldest(&mut self, key: K, value: V) -> bool {
        if self.entries.contains_key(&key) || self.entries.len() >= self.capacity {
            return false;
        }
        let first = self.order.first_key_value().map(|(used, _)| *used);
        let before = first.unwrap_or(self.uses).saturating_sub(1);
        self.order.insert(before, key.clone());
        self.entries.insert(key, (before, value));
        true
    }

    /// Makes room for so many more entries.
    pub fn reserve(&mut self, additional: usize) {
        self.entries.reserve(additional);
    }

    /// The entry that has not been used for longest, which stays.
    pub fn peek_lru(&self) -> Option<(&K, &V)> {
        let (_, key) = self.order.first_key_value()?;
        Some((key, self.peek(key)?))
    }

    /// The entries, the last used one first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let keys = self.order.values().rev();
        keys.filter_map(|key| Some((key, self.peek(key)?)))
    }

    /// Forgets a key; returns its value.
    pub fn pop(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.remove(key)?;
        self.order.remove(&used);
        Some(value)
    }

    /// Forgets the entry that has not been used for longest, and returns it.
    pub fn pop_lru(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let (_, value) = self.entries.remove(&key)?;
        Some((key, value))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The most entries that there may be.
    pub fn cap(&self) -> usize {
        self.capacity
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_uses() {
        let mut cache = LruCache::new(2);
        assert_eq!(cache.put("a", 1), None);
        assert_eq!(cache.put("b", 2), None);
        assert_eq!(cache.put("a", 3), Some(1));
        assert_eq!(cache.put("c", 4), None);
        assert!(!cache.contains(&"b"));
        assert_eq!(cache.peek(&"a"), Some(&3));
        *cache.get_mut(&"a").unwrap() = 5;
        assert_eq!(cache.pop_lru(), Some(("c", 4)));
        assert_eq!(cache.pop(&"a"), Some(5));
        assert!(cache.is_empty() && cache.order.is_empty());
        assert_eq!(cache.pop_lru(), None);
        cache.put("d", 1);
        cache.clear();
        assert_eq!((cache.len(), cache.cap()), (0, 2));
    }

    #[test]
    fn older_ones_go_behind() {
        let mut cache = LruCache::new(3);
        assert!(cache.put_oldest("b", 2) && cache.put_oldest("a", 1));
        assert!(!cache.put_oldest("b", 9));
        cache.put("c", 3);
        assert!(!cache.put_oldest("z", 0));
        let order: Vec<_> = cache.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(order, [("c", 3), ("b", 2), ("a", 1)]);
        assert_eq!(cache.peek_lru(), Some((&"a", &1)));
    }

    #[test]
    fn there_is_room_for_one_at_least() {
        let mut cache = LruCache::new(0);
        cache.put(1, 1);
        cache.put(2, 2);
        assert_eq!((cache.len(), cache.get(&2)), (1, Some(&2)));
    }
}
