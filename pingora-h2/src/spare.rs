//! Maps of fields, and boxes of heads, that messages no longer need, for the next ones on the same thread: the largest
//! allocations that decoding a head takes.

use crate::head::Head;
use http::HeaderMap;
use std::cell::RefCell;

/// Enough for nearly all messages, so that a map does not have to grow.
const USUAL_FIELDS: usize = 12;
/// The most maps that a thread keeps: 1.7 KB each as a rule, 7 KB at most, so less than 2 MB for a thread, however many
/// connections it has. A request holds two or three.
const MOST: usize = 256;
/// A map with room for more than this is not worth its memory.
const ROOM: usize = 48;

/// The most heads that a thread keeps: 0.3 KB each with what their flat fields take, 4 KB at most, so 0.6 MB.
const MOST_BOXES: usize = 128;

// Boxed, because the boxes are the memory that is used again.
#[allow(clippy::vec_box)]
mod kept {
    use super::{Head, HeaderMap, RefCell};

    thread_local! {
        pub(super) static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
        pub(super) static HEADS: RefCell<Vec<Box<Head>>> = const { RefCell::new(Vec::new()) };
    }
}
use kept::{HEADS, MAPS};

/// An empty head.
pub fn take_head() -> Box<Head> {
    let kept = HEADS.try_with(|heads| heads.try_borrow_mut().ok()?.pop());
    kept.ok().flatten().unwrap_or_default()
}

/// A head in a box of its own.
pub(crate) fn boxed_head(head: Head) -> Box<Head> {
    let mut boxed = take_head();
    let flat = std::mem::take(&mut boxed.flat);
    *boxed = head;
    if boxed.flat.is_empty() {
        boxed.flat = flat;
    }
    boxed
}

/// Keeps the memory of a head: its box, its map and its flat fields. What was in them is dropped.
pub fn give_head(mut head: Box<Head>) {
    give_fields(std::mem::take(&mut head.fields));
    let flat = std::mem::take(&mut head.flat).emptied();
    *head = Head {
        flat,
        ..Head::default()
    };
    let _ = HEADS.try_with(|heads| {
        if let Ok(mut heads) = heads.try_borrow_mut()
            && heads.len() < MOST_BOXES
        {
            heads.push(head);
        }
    });
}

/// An empty map with room for the usual number of fields.
pub fn take_fields() -> HeaderMap {
    let kept = MAPS.try_with(|maps| maps.try_borrow_mut().ok()?.pop());
    kept.ok().flatten().unwrap_or_else(|| {
        let mut fields = HeaderMap::new();
        // This can only fail for sizes that no list reaches.
        let _ = fields.try_reserve(USUAL_FIELDS);
        fields
    })
}

/// Keeps the memory of a map; its fields are dropped.
pub fn give_fields(mut fields: HeaderMap) {
    // The capacity does not tell of values that share a name.
    let room = fields.capacity();
    if !(USUAL_FIELDS..=ROOM).contains(&room) || fields.len() > ROOM {
        return;
    }
    fields.clear();
    let _ = MAPS.try_with(|maps| {
        if let Ok(mut maps) = maps.try_borrow_mut()
            && maps.len() < MOST
        {
            maps.push(fields);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::{COOKIE, HeaderName};

    #[test]
    fn what_is_given_is_taken_again_and_empty() {
        MAPS.take();
        let mut fields = take_fields();
        assert!(fields.capacity() >= USUAL_FIELDS);
        fields.insert(COOKIE, HeaderValue::from_static("a=b"));
        give_fields(fields);
        assert_eq!(MAPS.with_borrow(Vec::len), 1);
        assert!(take_fields().is_empty());
        assert_eq!(MAPS.with_borrow(Vec::len), 0);
    }

    #[test]
    fn boxes_are_used_again_and_bounded() {
        HEADS.take();
        let head = || Head {
            fields: HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("a=b"))]),
            ..Head::default()
        };
        let many: Vec<_> = (0..1000).map(|_| boxed_head(head())).collect();
        many.into_iter().for_each(give_head);
        assert_eq!(HEADS.with_borrow(Vec::len), MOST_BOXES);
        assert!(HEADS.with_borrow(|heads| heads.iter().all(|head| head.fields.is_empty())));
        assert_eq!(boxed_head(head()).fields.len(), 1);
        assert_eq!(HEADS.with_borrow(Vec::len), MOST_BOXES - 1);
    }

    /// Neither many maps nor large ones stay, in whatever way a client makes them large.
    #[test]
    fn memory_does_not_grow_with_what_clients_send() {
        MAPS.take();
        give_fields(HeaderMap::new());
        let mut wide = take_fields();
        let mut deep = take_fields();
        for n in 0..100 {
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            wide.insert(name, HeaderValue::from_static("1"));
            deep.append(COOKIE, HeaderValue::from_static("a=b"));
        }
        give_fields(wide);
        give_fields(deep);
        assert_eq!(MAPS.with_borrow(Vec::len), 0);
        let many: Vec<_> = (0..1000).map(|_| take_fields()).collect();
        many.into_iter().for_each(give_fields);
        assert_eq!(MAPS.with_borrow(Vec::len), MOST);
    }
}
