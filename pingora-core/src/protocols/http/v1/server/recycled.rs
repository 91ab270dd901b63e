use pingora_http::RequestHeader;
use std::cell::RefCell;
use std::sync::LazyLock;

/// How many request headers a worker keeps for the next requests.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Box<RequestHeader>>> = const { RefCell::new(Vec::new()) };
}

static EMPTY: LazyLock<RequestHeader> = LazyLock::new(RequestHeader::empty);

/// A request header whose memory goes back to the worker's free list: its map is the largest thing
/// that a request needs, and an idle connection needs none.
#[derive(Debug, Default)]
pub(super) struct RecycledRequest(Option<Box<RequestHeader>>);

impl RecycledRequest {
    /// The header; an empty one where none was made yet.
    #[inline]
    pub(super) fn get(&self) -> &RequestHeader {
        match &self.0 {
            Some(header) => header,
            None => &EMPTY,
        }
    }

    /// The header to be filled or changed.
    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut RequestHeader {
        self.0.get_or_insert_with(|| {
            FREE.with(|free| free.borrow_mut().pop())
                .unwrap_or_else(|| Box::new(RequestHeader::empty()))
        })
    }
}

impl Drop for RecycledRequest {
    fn drop(&mut self) {
        let Some(mut header) = self.0.take() else { return };
        header.reset();
        // The free list is gone while its thread ends.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(header);
            }
        });
    }
}
