//! One shard: a list whose items know their neighbours by index, and a map to find them.

use std::collections::HashMap;

#[derive(Debug)]
pub(crate) struct Shard<T> {
    index: HashMap<u64, usize>,
    /// The items in no order; `None` where one was taken out.
    items: Vec<Option<Item<T>>>,
    free: Vec<usize>,
    first: Option<usize>,
    last: Option<usize>,
}

#[derive(Debug)]
struct Item<T> {
    key: u64,
    data: T,
    weight: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl<T> Shard<T> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Shard {
            index: HashMap::with_capacity(capacity),
            items: Vec::with_capacity(capacity),
            free: Vec::new(),
            first: None,
            last: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        Some(&self.item(*self.index.get(&key)?)?.data)
    }

    pub(crate) fn weight_mut(&mut self, key: u64) -> Option<&mut usize> {
        let at = *self.index.get(&key)?;
        Some(&mut self.item_mut(at)?.weight)
    }

    /// Puts an item in front; returns the one that had this key, and its weight.
    pub(crate) fn put(&mut self, key: u64, data: T, weight: usize) -> Option<(T, usize)> {
        let old = self.remove(key);
        let at = self.store(key, data, weight);
        self.link_first(at);
        old
    }

    /// Puts an item at the end, unless there is one with this key.
    pub(crate) fn put_last(&mut self, key: u64, data: T, weight: usize) -> bool {
        if self.index.contains_key(&key) {
            return false;
        }
        let at = self.store(key, data, weight);
        let last = self.last.replace(at);
        if let Some(item) = self.item_mut(at) {
            item.before = last;
        }
        match last.and_then(|last| self.item_mut(last)) {
            Some(item) => item.after = Some(at),
            None => self.first = Some(at),
        }
        true
    }

    /// Puts an item in front, unless it is among the first `top`. Whether there is one.
    pub(crate) fn promote(&mut self, key: u64, top: usize) -> bool {
        let Some(&at) = self.index.get(&key) else {
            return false;
        };
        let mut next = self.first;
        // The first one is in front already.
        for _ in 0..top.max(1) {
            if next == Some(at) {
                return true;
            }
            next = next.and_then(|next| self.item(next)?.after);
        }
        self.unlink(at);
        self.link_first(at);
        true
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<(T, usize)> {
        let at = self.index.remove(&key)?;
        self.unlink(at);
        let item = self.items.get_mut(at)?.take()?;
        self.free.push(at);
        Some((item.data, item.weight))
    }

    pub(crate) fn remove_last(&mut self) -> Option<(T, usize)> {
        let key = self.item(self.last?)?.key;
        self.remove(key)
    }

    pub(crate) fn last(&self) -> Option<(&T, usize)> {
        let item = self.item(self.last?)?;
        Some((&item.data, item.weight))
    }

    /// From the first to the last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&T, usize)> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let item = self.item(next?)?;
            next = item.after;
            Some((&item.data, item.weight))
        })
    }

    fn item(&self, at: usize) -> Option<&Item<T>> {
        self.items.get(at)?.as_ref()
    }

    fn item_mut(&mut self, at: usize) -> Option<&mut Item<T>> {
        self.items.get_mut(at)?.as_mut()
    }

    /// Stores an item without neighbours.
    fn store(&mut self, key: u64, data: T, weight: usize) -> usize {
        let item = Some(Item {
            key,
            data,
            weight,
            before: None,
            after: None,
        });
        let free = self.free.pop();
        let at = free.unwrap_or(self.items.len());
        match self.items.get_mut(at) {
            Some(slot) => *slot = item,
            None => self.items.push(item),
        }
        self.index.insert(key, at);
        at
    }

    fn link_first(&mut self, at: usize) {
        let first = self.first.replace(at);
        if let Some(item) = self.item_mut(at) {
            item.before = None;
            item.after = first;
        }
        match first.and_then(|first| self.item_mut(first)) {
            Some(item) => item.before = Some(at),
            None => self.last = Some(at),
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some(item) = self.item(at) else { return };
        let (before, after) = (item.before, item.after);
        match before.and_then(|before| self.item_mut(before)) {
            Some(item) => item.after = after,
            None => self.first = after,
        }
        match after.and_then(|after| self.item_mut(after)) {
            Some(item) => item.before = before,
            None => self.last = before,
        }
    }
}
