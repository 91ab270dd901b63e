//! The order in which streams write (RFC 9218).

use super::stream::Key;
use std::collections::VecDeque;

/// The urgency of a stream that signals none (RFC 9218 section 4.1).
pub(crate) const DEFAULT_URGENCY: u8 = 3;
/// Urgencies are 0 to 7; the lowest is served first.
const URGENCIES: usize = 8;

/// Streams that have something to write: sorted by urgency, in turn within the same urgency.
///
/// Bounded by the number of streams: each is in it at most once.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    queues: [VecDeque<Key>; URGENCIES],
    len: usize,
}

impl Ready {
    pub(crate) fn push(&mut self, key: Key, urgency: u8) {
        if let Some(queue) = self.queues.get_mut(usize::from(urgency).min(URGENCIES - 1)) {
            queue.push_back(key);
            self.len += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Key> {
        if self.len == 0 {
            return None;
        }
        let key = self.queues.iter_mut().find_map(VecDeque::pop_front)?;
        self.len -= 1;
        Some(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Releases memory if no stream is waiting.
    pub(crate) fn shrink(&mut self) {
        for queue in &mut self.queues {
            if queue.is_empty() && queue.capacity() > super::LITTLE {
                *queue = VecDeque::new();
            }
        }
    }
}

/// The urgency that a `priority` field asks for; the default if it contains none that is understood
/// (RFC 9218 section 4.1).
pub(crate) fn urgency_in(field: &[u8]) -> u8 {
    field
        .split(|byte| *byte == b',')
        .filter_map(|member| match member.trim_ascii() {
            [b'u', b'=', digit @ b'0'..=b'7'] => Some(digit - b'0'),
            _ => None,
        })
        .next_back()
        .unwrap_or(DEFAULT_URGENCY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> Key {
        Key { slot: id, id }
    }

    #[test]
    fn the_urgent_go_first_and_equals_take_turns() {
        let mut ready = Ready::default();
        for (id, urgency) in [(1, 3), (3, 3), (5, 0), (7, 7), (9, 200)] {
            ready.push(key(id), urgency);
        }
        let mut order = vec![];
        // Stream 1 has enough for two turns.
        while let Some(next) = ready.pop() {
            order.push(next.id);
            if order == [5, 1] {
                ready.push(next, 3);
            }
        }
        assert_eq!(order, [5, 1, 3, 1, 7, 9]);
        assert!(ready.is_empty());
    }

    /// RFC 9218 section 4.1.
    #[test]
    fn an_urgency_is_read_from_its_field() {
        let rows: &[(&[u8], u8)] = &[
            (b"", 3),
            (b"u=0", 0),
            (b"u=7, i", 7),
            (b"i, u=5", 5),
            (b"u=8", 3),
            (b"u=-1", 3),
            (b"u=1,u=2", 2),
            (b"x=1", 3),
            (b"u", 3),
        ];
        for (field, expected) in rows {
            assert_eq!(urgency_in(field), *expected, "{field:?}");
        }
    }
}
