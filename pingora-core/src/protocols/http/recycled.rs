//! Free lists of message heads, one for each worker, so that an idle connection holds no head.

use pingora_http::{RequestHeader, ResponseHeader};
use std::cell::RefCell;
use std::sync::LazyLock;

/// The number of heads of each kind that a worker keeps for later messages: 2 KB each as a rule, and less than 1 MB of each
/// kind with as many fields as are kept.
const KEPT: usize = 128;
/// The maximum field capacity of a head that is kept; larger heads are not worth their memory.
const ROOM: usize = 48;

// Boxed, because a head is moved in its box, which is a large part of the recycled memory.
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

/// A request header whose memory returns to the worker's free list: it is the largest allocation of
/// a request, and an idle connection needs none.
#[derive(Debug, Default)]
pub struct RecycledRequest(Option<Box<RequestHeader>>);

impl RecycledRequest {
    /// A copy of `other`.
    pub fn copy_of(other: &RequestHeader) -> Self {
        let mut copy = RecycledRequest::default();
        copy.get_mut().assign_from(other);
        copy
    }

    /// The header; an empty one if none was created yet.
    #[inline]
    pub fn get(&self) -> &RequestHeader {
        match &self.0 {
            Some(header) => header,
            None => &EMPTY,
        }
    }

    /// The header, mutable.
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

/// Returns a response header's memory to the current worker.
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

    /// A client that sends heads just under the limits must not leave workers with lists of large
    /// ones.
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
