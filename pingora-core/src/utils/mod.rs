//! Small types that users of the framework know by these paths.

pub mod tls;

use bytes::Bytes;

/// A range in a buffer that is owned elsewhere: start and length, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufRef(pub usize, pub usize);

impl BufRef {
    /// The bytes of `buf` in this range; as many of them as there are.
    pub fn get<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        let start = self.0.min(buf.len());
        let end = self.0.saturating_add(self.1).min(buf.len());
        &buf[start..end]
    }

    /// The same as a shared slice of `buf`, without a copy.
    pub fn get_bytes(&self, buf: &Bytes) -> Bytes {
        buf.slice_ref(self.get(buf))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.1 == 0
    }

    /// `len` bytes from `start`.
    pub fn new(start: usize, len: usize) -> Self {
        BufRef(start, len)
    }
}

/// The ranges of a name and its value in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct KVRef {
    name: BufRef,
    value: BufRef,
}

impl KVRef {
    /// The name.
    pub fn get_name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.name.get(buf)
    }

    /// The value.
    pub fn get_value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.value.get(buf)
    }

    /// The name as a shared slice of `buf`.
    pub fn get_name_bytes(&self, buf: &Bytes) -> Bytes {
        self.name.get_bytes(buf)
    }

    /// The value as a shared slice of `buf`.
    pub fn get_value_bytes(&self, buf: &Bytes) -> Bytes {
        self.value.get_bytes(buf)
    }

    /// A name and a value, each by start and length.
    pub fn new(name_s: usize, name_len: usize, value_s: usize, value_len: usize) -> Self {
        KVRef {
            name: BufRef(name_s, name_len),
            value: BufRef(value_s, value_len),
        }
    }

    /// The range of the value.
    pub fn value(&self) -> &BufRef {
        &self.value
    }
}

/// An empty name and an empty value.
pub const EMPTY_KV_REF: KVRef = KVRef {
    name: BufRef(0, 0),
    value: BufRef(0, 0),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_part_of_its_buffer() {
        let buf = Bytes::from_static(b"Host: a");
        let kv = KVRef::new(0, 4, 6, 1);
        assert_eq!(kv.get_name(&buf), b"Host");
        assert_eq!(kv.get_value_bytes(&buf), "a");
        assert_eq!(kv.value().len(), 1);
        assert!(EMPTY_KV_REF.get_name_bytes(&buf).is_empty());
    }

    #[test]
    fn a_place_beyond_its_buffer_is_empty() {
        for place in [BufRef::new(9, 3), BufRef::new(usize::MAX, usize::MAX)] {
            assert_eq!(place.get(b"short"), b"");
        }
        assert_eq!(BufRef::new(3, 9).get(b"short"), b"rt");
    }
}
