//! The slab of streams: reusable slots, found by number.

use super::stream::{Key, Stream};

/// Slots that are kept when no stream is left.
const KEPT: usize = 4;

/// All streams of a connection that are not forgotten yet.
///
/// The callers that insert bound its size.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// Number and slot of each stream, in increasing order: numbers only increase, so a new one is
    /// appended.
    index: Vec<(u32, u32)>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(crate) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(stream);
        }
        let at = self.index.partition_point(|(other, _)| *other < id);
        self.index.insert(at, (id, slot));
        Key { slot, id }
    }

    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        let at = self.index.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (id, slot) = *self.index.get(at)?;
        Some(Key { slot, id })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Stream> {
        let stream = self.slots.get(key.slot as usize)?.as_ref()?;
        (stream.id == key.id).then_some(stream)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        let stream = self.slots.get_mut(key.slot as usize)?.as_mut()?;
        (stream.id == key.id).then_some(stream)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Stream> {
        let place = self.slots.get_mut(key.slot as usize)?;
        let stream = place.take_if(|stream| stream.id == key.id)?;
        self.free.push(key.slot);
        if let Ok(at) = self.index.binary_search_by_key(&key.id, |(id, _)| *id) {
            self.index.remove(at);
        }
        if self.index.is_empty() && self.slots.len() > KEPT {
            *self = Streams::default();
        }
        Some(stream)
    }

    /// All existing streams, by increasing number.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let key = |(id, slot): &(u32, u32)| Key {
            id: *id,
            slot: *slot,
        };
        self.index.iter().map(key).collect()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::{ReceiveWindow, SendWindow};
    use super::*;

    fn stream(id: u32) -> Stream {
        Stream::new(id, ReceiveWindow::new(1), SendWindow::new(1))
    }

    #[test]
    fn a_place_is_used_again_and_its_old_name_is_not() {
        let mut streams = Streams::default();
        let first = streams.insert(stream(1));
        let second = streams.insert(stream(3));
        assert_eq!(streams.find(3), Some(second));
        assert!(streams.remove(first).is_some());
        assert!(streams.remove(first).is_none());
        let third = streams.insert(stream(5));
        assert_eq!(third.slot, first.slot);
        assert!(streams.get(first).is_none() && streams.get_mut(first).is_none());
        assert_eq!(streams.get(third).map(|stream| stream.id), Some(5));
        assert_eq!(streams.find(1), None);
        assert_eq!(streams.keys(), [second, third]);
        assert_eq!(streams.len(), 2);
    }

    #[test]
    fn memory_is_given_back_when_none_is_left() {
        let mut streams = Streams::default();
        let keys: Vec<_> = (0..100)
            .map(|n| streams.insert(stream(2 * n + 1)))
            .collect();
        for key in keys {
            streams.remove(key);
        }
        assert!(streams.is_empty());
        assert_eq!(streams.slots.capacity() + streams.free.capacity(), 0);
    }
}
