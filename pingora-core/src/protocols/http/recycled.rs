//! Free lists of message heads, one for each worker: an idle connection holds no head.

use pingora_http::{RequestHeader, ResponseHeader};
use std::cell::RefCell;
use std::sync::LazyLock;

/// How many heads of each kind a worker keeps for the next messages.
const KEPT: usize = 64;
/// The most fields that a head which is kept has room for: one that had more is not worth its memory.
const ROOM: usize = 48;

// Boxed, because a head travels in its box, which is a large part of what is recycled.
#[allow(clippy::vec_box)]
mod free {
    use super::{RefCell, RequestHeader, ResponseHeader};

    thread_local! {
        pub(super) static REQUESTS: RefCell<Vec<Box<RequestHeader>>> =
            const { RefCell::new(Vec::new()) };
        pub(super) static RESPONSES: RefCell<Vec<Box<ResponseHeader>>> =
            const { RefCell::new(Vec::new()) };
    }
}
use free::{REQUESTS, RESPONSES};

static EMPTY: LazyLock<RequestHeader> = LazyLock::new(RequestHeader::empty);

/// A request header whose memory goes back to the worker's free list: it is the largest thing that
/// a request needs, and an idle connection needs none.
#[derive(Debug, Default)]
pub struct RecycledRequest(Option<Box<RequestHeader>>);

impl RecycledRequest {
    /// A copy of `other`.
    pub fn copy_of(other: &RequestHeader) -> Self {
        let mut copy = RecycledRequest::default();
        copy.get_mut().assign_from(other);
        copy
    }

    /// The header; an empty one where none was made yet.
    #[inline]
    pub fn get(&self) -> &RequestHeader {
        match &self.0 {
            Some(header) => header,
            None => &EMPTY,
        }
    }

    /// The header to be filled or changed.
    #[inline]
    pub fn get_mut(&mut self) -> &mut RequestHeader {
        self.0.get_or_insert_with(|| {
            REQUESTS
                .with(|free| free.borrow_mut().pop())
                .unwrap_or_else(|| Box::new(RequestHeader::empty()))
        })
    }
}

impl Drop for RecycledRequest {
    fn drop(&mut self) {
        let Some(mut header) = self.0.take() else {
            return;
        };
        if header.is_larger_than(ROOM) {
            return;
        }
        header.reset();
        // The free list is gone while its thread ends.
        let _ = REQUESTS.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(header);
            }
        });
    }
}

/// An empty response header, from the worker's free list if it has one.
pub(crate) fn take_response() -> Box<ResponseHeader> {
    RESPONSES
        .with(|free| free.borrow_mut().pop())
        .unwrap_or_else(|| Box::new(ResponseHeader::empty()))
}

/// Gives a response header's memory back to the worker that happens to run.
pub(crate) fn give_response(mut header: Box<ResponseHeader>) {
    if header.is_larger_than(ROOM) {
        return;
    }
    header.reset();
    let _ = RESPONSES.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT {
            free.push(header);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever sends heads just under the limits must not leave workers with lists of large ones.
    #[test]
    fn a_head_that_has_grown_large_is_not_kept() {
        let rows = [(40, "-", true), (120, "-", false), (120, "", false)];
        for (fields, distinct, is_kept) in rows {
            REQUESTS.take();
            RESPONSES.take();
            let mut request = RecycledRequest::default();
            let mut response = take_response();
            for n in 0..fields {
                let name = match distinct {
                    "" => "x".to_string(),
                    _ => format!("x{distinct}{n}"),
                };
                request.get_mut().append_header(name.clone(), "1").unwrap();
                response.append_header(name, "1").unwrap();
            }
            drop(request);
            give_response(response);
            let kept = (REQUESTS.take().len(), RESPONSES.take().len());
            assert_eq!(kept, (usize::from(is_kept), usize::from(is_kept)));
        }
    }
}
