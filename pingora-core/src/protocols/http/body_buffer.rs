//! A copy of a request's body, kept for retries.

use crate::process::memory::{Held, fallible};
use bytes::{Bytes, BytesMut};

/// The maximum size of a body that is kept for retries, in bytes.
pub(crate) const RETRY_BUFFER_SIZE: usize = 64 * 1024;

/// Keeps the data that is written to it, up to a fixed size. Once the size is exceeded, nothing is
/// kept and the buffer is marked as truncated: half a body is never resent.
#[derive(Debug)]
pub struct FixedBuffer {
    buffer: BytesMut,
    capacity: usize,
    truncated: bool,
    held: Held,
}

impl FixedBuffer {
    /// A buffer for up to `capacity` bytes. Allocates on the first write.
    pub fn new(capacity: usize) -> Self {
        FixedBuffer {
            buffer: BytesMut::new(),
            capacity,
            truncated: false,
            held: Held::default(),
        }
    }

    /// Appends `data` completely. If it does not fit, or memory can't be allocated, drops everything and stays
    /// truncated.
    pub fn write_to_buffer(&mut self, data: &Bytes) {
        if self.truncated {
            return;
        }
        let fits = self.buffer.len() + data.len() <= self.capacity;
        if !fits || fallible::append(&mut self.buffer, data).is_err() {
            self.truncated = true;
            self.buffer = BytesMut::new();
        }
        self.held.set(self.buffer.capacity());
    }

    /// Clears the buffer.
    pub fn clear(&mut self) {
        self.truncated = false;
        self.buffer.clear();
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether more was written than fits.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Everything that was written; `None` if nothing was, or more than fits.
    pub fn get_buffer(&self) -> Option<Bytes> {
        (!self.truncated && !self.buffer.is_empty()).then(|| Bytes::copy_from_slice(&self.buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_all_or_nothing() {
        let mut buffer = FixedBuffer::new(8);
        assert_eq!(buffer.get_buffer(), None);
        buffer.write_to_buffer(&Bytes::from_static(b"1234"));
        buffer.write_to_buffer(&Bytes::from_static(b"5678"));
        assert_eq!(buffer.get_buffer().as_deref(), Some(&b"12345678"[..]));
        buffer.write_to_buffer(&Bytes::from_static(b"9"));
        assert!(buffer.is_truncated());
        assert_eq!(buffer.get_buffer(), None);
        buffer.write_to_buffer(&Bytes::from_static(b""));
        assert_eq!(buffer.get_buffer(), None);
        buffer.clear();
        assert!(!buffer.is_truncated() && buffer.is_empty());
    }
}
