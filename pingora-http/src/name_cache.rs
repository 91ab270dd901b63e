//! Recently seen header names, one small cache per thread.
//!
//! Turning the bytes of a name into a [`HeaderName`] allocates for every name outside the [`http`]
//! crate's own list, and browsers send half a dozen of those with each request. This cache finds such a
//! name by its wire spelling, at the cost of a reference count.
//!
//! The cache is bounded: [`SETS`] times two names of at most [`LONGEST`] bytes. A peer that keeps sending
//! new names evicts entries, and achieves nothing else.

use http::header::HeaderName;
use std::cell::RefCell;

use crate::case_header_name::{CaseHeaderName, is_titled};

/// A power of two. With two ways, the dozen names of a typical request rarely evict each other.
const SETS: usize = 64;
/// Longer names are rare and would make the bound on memory worthless.
const LONGEST: usize = 64;

struct Slot {
    wire: CaseHeaderName,
    name: HeaderName,
    titled: bool,
}

/// Two names that share a set; the more recent one is first.
#[derive(Default)]
struct Set([Option<Slot>; 2]);

thread_local! {
    static CACHE: RefCell<Vec<Set>> = const { RefCell::new(Vec::new()) };
}

/// The name for the map, and whether `wire` is its canonical spelling. `None`: not a token.
#[inline]
pub(crate) fn name(wire: &[u8]) -> Option<(HeaderName, bool)> {
    with_slot(wire, |slot| (slot.name.clone(), slot.titled))
        .unwrap_or_else(|| Some((parse(wire)?, is_titled(wire))))
}

/// Returns a header name for these bytes, in any spelling. `None`: they are not a token (RFC 9110 section
/// 5.1).
///
/// Names outside the [`http`] crate's own list are shared with those that this thread saw recently, so
/// that they cost a reference count instead of an allocation.
#[inline]
pub fn header_name_from_slice(name: &[u8]) -> Option<HeaderName> {
    Some(self::name(name)?.0)
}

/// Like [`name`], with the spelling if it has to be stored.
#[inline]
pub(crate) fn name_and_case(wire: &[u8]) -> Option<(HeaderName, Option<CaseHeaderName>)> {
    with_slot(wire, |slot| {
        let case = (!slot.titled).then(|| slot.wire.clone());
        (slot.name.clone(), case)
    })
    .unwrap_or_else(|| {
        let case = (!is_titled(wire)).then(|| CaseHeaderName::copy_from_slice(wire));
        Some((parse(wire)?, case))
    })
}

/// Passes the slot of `wire` to `f`, filling it first if necessary. `None`: there is no slot for it (too
/// long, or the thread is ending). `Some(None)`: not a token.
#[inline]
fn with_slot<R>(wire: &[u8], f: impl FnOnce(&Slot) -> R) -> Option<Option<R>> {
    if wire.len() > LONGEST {
        return None;
    }
    CACHE
        .try_with(|cache| {
            let mut sets = cache.try_borrow_mut().ok()?;
            if sets.is_empty() {
                sets.resize_with(SETS, Set::default);
            }
            let set = sets.get_mut(index(wire))?;
            let mut known = set.0.iter().flatten();
            match known.find(|slot| slot.wire.as_slice() == wire) {
                Some(slot) => Some(Some(f(slot))),
                None => Some(fill(set, wire).map(f)),
            }
        })
        .ok()
        .flatten()
}

#[cold]
fn fill<'a>(set: &'a mut Set, wire: &[u8]) -> Option<&'a Slot> {
    let name = parse(wire)?;
    let [first, second] = &mut set.0;
    *second = first.take();
    Some(first.insert(Slot {
        wire: CaseHeaderName::copy_from_slice(wire),
        name,
        titled: is_titled(wire),
    }))
}

fn parse(wire: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(wire).ok()
}

/// The first and last eight bytes and the length distinguish real names well enough; a collision costs an
/// allocation.
#[inline]
fn index(wire: &[u8]) -> usize {
    let (head, tail) = match (wire.first_chunk::<8>(), wire.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (
            wire.iter().fold(0, |hash, &b| (hash << 8) | u64::from(b)),
            0,
        ),
    };
    let mixed =
        (head ^ tail.rotate_left(29) ^ wire.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (u64::BITS - SETS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_name_is_shared_from_its_second_use_on() {
        let (first, _) = name_and_case(b"sec-ch-ua-platform").unwrap();
        let (second, case) = name_and_case(b"sec-ch-ua-platform").unwrap();
        assert_eq!(first.as_str().as_ptr(), second.as_str().as_ptr());
        assert_eq!(case.unwrap().as_slice(), b"sec-ch-ua-platform");
    }

    #[test]
    fn a_name_is_made_of_any_spelling() {
        let custom = header_name_from_slice(b"x-shared-name").unwrap();
        let again = header_name_from_slice(b"x-shared-name").unwrap();
        assert_eq!(custom.as_str().as_ptr(), again.as_str().as_ptr());
        assert_eq!(header_name_from_slice(b"X-Shared-Name").unwrap(), custom);
        assert_eq!(
            header_name_from_slice(b"accept").unwrap(),
            http::header::ACCEPT
        );
        assert_eq!(header_name_from_slice(b"a b"), None);
    }

    #[test]
    fn spellings_of_one_name_do_not_mix() {
        for _ in 0..2 {
            assert!(name_and_case(b"X-Trace").unwrap().1.is_none());
            for wire in ["x-trace", "X-TRACE", "x-Trace"] {
                let (name, case) = name_and_case(wire.as_bytes()).unwrap();
                assert_eq!(name, "x-trace");
                assert_eq!(case.unwrap().as_slice(), wire.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_not_a_token_is_refused_and_not_remembered() {
        let long = [b' '; LONGEST + 1];
        for wire in [&b""[..], b"a b", b"a:", b"\xff", b"a\0", &long] {
            assert!(name(wire).is_none());
            assert!(name_and_case(wire).is_none());
        }
    }

    #[test]
    fn a_long_name_works_without_a_slot() {
        let wire = [b'x'; LONGEST + 1];
        let (name, case) = name_and_case(&wire).unwrap();
        assert_eq!(name.as_str().as_bytes(), wire);
        assert_eq!(case.unwrap().as_slice(), wire);
    }

    #[test]
    fn the_cache_stays_bounded() {
        for n in 0..10_000 {
            let wire = format!("x-{n}");
            assert_eq!(name(wire.as_bytes()).unwrap().0, *wire);
        }
        CACHE.with(|cache| assert_eq!(cache.borrow().len(), SETS));
    }
}
